//! Damaged messages: whatever is wrong with one, the scanner of every kind of instructions, in the expected order and in any
//! order, either reads it as the tape of a JSON parser says, or leaves it to that. Never a misread.
//!
//! ```text
//!                       ┌─► the expected order, each kind of instructions ─┐
//! seed ─► damage ─► message ─► any order (a space in front)                ├─► the same events ─┐
//!                       ├─► the tape (`Decoder::without_expectation`) ─────┘                    ├─► the same, in text
//!                       └─► `support/reading.rs` ───────────────────────────────────────────────┘
//! ```
//! The first three share what builds an event of a message's members, so they cannot contradict each other about what a
//! member means. The fourth can: it is `serde_json` and the exchanges' documents, and calls nothing of `tickwire::venue`.
//! What a scanner takes it must read, and read the same. It may refuse what only the tape reads, where the documents do not
//! say what it means; where it does not it must agree with the tape too.
//!
//! Seeds are one message or more of every channel of the four venues, written here to the documented shapes, and the
//! recorded ones where `TICKWIRE_FRAMES` names their folder. A space in front of a message keeps the scanner from it and
//! changes nothing else. `TICKWIRE_MUTANTS` says how many; the default takes some seconds.

#[path = "support/fields.rs"]
mod fields;
#[path = "support/reading.rs"]
mod reading;
#[path = "support/recorded.rs"]
mod recorded;

use fields::Grid;
use reading::{Fields, Json, Reading};
use recorded::messages;
use std::collections::BTreeMap;
use tickwire::market::{
    AggTrade, Backlog, BookKind, BookUpdate, Kline, Level, Liquidation, MarkPrice, Meta, MonoNs, Quote, Received,
    SequenceIds, SymbolTable, Ticker, Trade, Venue,
};
use tickwire::venue::{
    Cpu, DecodeError, Decoded, Decoder, DecoderScratch, Form, HotSymbols, Payload, Reason, Sink, Tier,
};

const RECEIVED: Received = Received { mono: MonoNs(7), wall_ns: 11, backlog: Backlog::NONE };

/// The symbols that are listed, by their index, and the decimals of their prices and quantities.
const SYMBOLS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];
const SCALES: (u8, u8) = (4, 8);

#[derive(Debug, PartialEq)]
enum Event {
    Trade(Trade),
    AggTrade(AggTrade),
    Quote(Quote),
    Ticker(Ticker),
    Book(Meta, BookKind, SequenceIds, u16, Vec<Level>, Vec<Level>),
    Kline(Kline),
    MarkPrice(MarkPrice),
    Liquidation(Liquidation),
    Refused(Reason),
}

impl Event {
    /// As the second reading says it; `None` for what it has no word for.
    fn fields(&self) -> Option<Fields> {
        let grid = |meta: &Meta| {
            assert_eq!(meta.received, RECEIVED, "the stamp is handed on");
            Grid { name: SYMBOLS[meta.symbol.index()], price_scale: SCALES.0, qty_scale: SCALES.1 }
        };
        Some(match self {
            Self::Trade(event) => fields::trade(&grid(&event.meta), event),
            Self::AggTrade(event) => fields::agg_trade(&grid(&event.meta), event),
            Self::Quote(event) => fields::quote(&grid(&event.meta), event),
            Self::Ticker(event) => fields::ticker(&grid(&event.meta), event),
            Self::Book(meta, kind, ids, depth, bids, asks) => {
                let (meta, kind, ids, depth) = (*meta, *kind, *ids, *depth);
                fields::book(&grid(&meta), &BookUpdate { meta, kind, ids, depth, state: None, bids, asks })
            }
            Self::Kline(event) => fields::kline(&grid(&event.meta), event),
            Self::MarkPrice(event) => fields::mark_price(&grid(&event.meta), event),
            Self::Liquidation(event) => fields::liquidation(&grid(&event.meta), event),
            Self::Refused(_) => return None,
        })
    }
}

#[derive(Default)]
struct Ledger(Vec<Event>);

impl Sink for Ledger {
    fn trade(&mut self, event: &Trade) {
        self.0.push(Event::Trade(*event));
    }
    fn agg_trade(&mut self, event: &AggTrade) {
        self.0.push(Event::AggTrade(*event));
    }
    fn quote(&mut self, event: &Quote) {
        self.0.push(Event::Quote(*event));
    }
    fn ticker(&mut self, event: &Ticker) {
        self.0.push(Event::Ticker(*event));
    }
    fn book(&mut self, event: &BookUpdate<'_>) {
        let BookUpdate { meta, kind, ids, depth, bids, asks, .. } = *event;
        self.0.push(Event::Book(meta, kind, ids, depth, bids.to_vec(), asks.to_vec()));
    }
    fn kline(&mut self, event: &Kline) {
        self.0.push(Event::Kline(*event));
    }
    fn mark_price(&mut self, event: &MarkPrice) {
        self.0.push(Event::MarkPrice(*event));
    }
    fn liquidation(&mut self, event: &Liquidation) {
        self.0.push(Event::Liquidation(*event));
    }
    fn refused(&mut self, reason: Reason) {
        self.0.push(Event::Refused(reason));
    }
    fn wants_sample(&self, _reason: Reason) -> bool {
        // So that a copy says that the tape read it.
        false
    }
}

/// A generator of numbers (SplitMix64): a failing seed is the whole story.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

const BINANCE: &[&str] = &[
    r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,"p":"16500.10","q":"0.250","T":1672515782130,"m":true,"M":true}}"#,
    r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,"p":"16500.10","q":"0.250","b":88,"a":50,"T":1672515782130,"m":false,"M":true}}"#,
    r#"{"e":"trade","E":1672515782136,"T":1672515782130,"s":"BTCUSDT","t":12345,"p":"16500.10","q":"0.250","X":"MARKET","m":false,"st":1,"ps":"BTCUSDT"}"#,
    r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1672515782136,"s":"BTCUSDT","a":12345,"p":"0.01","q":"100","f":100,"l":105,"T":1672515782130,"m":true,"M":true}}"#,
    r#"{"e":"aggTrade","E":1672515782136,"a":12345,"s":"BTCUSDT","p":"0.01","q":"100","nq":"90","f":100,"l":105,"T":1672515782130,"m":true,"st":1}"#,
    r#"{"stream":"btcusdt@bookTicker","data":{"u":400900217,"s":"BTCUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}}"#,
    r#"{"e":"bookTicker","u":400900217,"E":1568014460893,"T":1568014460891,"s":"BTCUSDT","b":"25.35","B":"31.21","a":"25.36","A":"40.66","st":1,"ps":"BTCUSDT"}"#,
    r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1672515782136,"s":"BTCUSDT","U":157,"u":160,"b":[["61737.63000000","0.02400000"],["61737.00000000","10.00000000"],["9.5","0"]],"a":[]}}"#,
    r#"{"stream":"btcusdt@depth20@100ms","data":{"e":"depthUpdate","E":123456789,"T":123456788,"s":"BTCUSDT","ps":"BTCUSDT","st":1,"U":157,"u":160,"pu":149,"b":[["0.24","10"]],"a":[["0.26","100"],["0.27","5.5"]]}}"#,
    r#"{"stream":"btcusdt@depth5","data":{"lastUpdateId":160,"bids":[["0.24","10"],["0.23","1.5"]],"asks":[["0.26","100"],["0.27","7"]]}}"#,
    r#"{"e":"24hrTicker","E":1672515782136,"s":"BTCUSDT","p":"0.0015","P":"-0.786","w":"0.0018","x":"0.0009","c":"0.25","Q":"10","b":"0.24","B":"10","a":"0.26","A":"100","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}"#,
    r#"{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","E":1672515782136,"s":"BTCUSDT","c":"0.25","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18"}}"#,
    r#"{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1672515782136,"s":"BTCUSDT","k":{"t":1672515780000,"T":1672515839999,"s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}}"#,
    r#"{"stream":"btcusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","P":"11784.25641265","i":"11784.62659091","r":"0.00038167","T":1562306400000}}"#,
    r#"{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","ap":"11794.15","i":"11784.62659091","P":"11784.25641265","r":"","T":0,"st":1}"#,
    r#"{"stream":"btcusdt@forceOrder","data":{"e":"forceOrder","E":1568014460893,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014","p":"9910","ap":"9910.12","X":"FILLED","l":"0.014","z":"0.014","T":1568014460893}}}"#,
    r#"{"stream":"!ticker@arr","data":[{"e":"24hrTicker","E":1653813900353,"s":"XRPUSDT","p":"213.70","P":"0.740","w":"28973.36","c":"29093.90","Q":"0.017","o":"28880.20","h":"29265.70","l":"28755.00","v":"173254.241","q":"5019757418.36","O":1653727500000,"C":1653813900348,"F":2299852977,"L":2301666553,"n":1813560},{"e":"24hrTicker","E":1653813900353,"s":"BTCUSDT","p":"213.70","P":"0.740","w":"28973.36","x":"0.0009","c":"29093.90","Q":"0.017","b":"0.24","B":"10","a":"0.26","A":"100","o":"28880.20","h":"29265.70","l":"28755.00","v":"173254.241","q":"5019757418.36","O":1653727500000,"C":1653813900348,"F":2299852977,"L":2301666553,"n":1813560}]}"#,
    r#"[{"e":"24hrMiniTicker","E":1672515782136,"s":"ETHUSDT","c":"0.0025","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18"},{"e":"24hrMiniTicker","E":1672515782136,"s":"币USDT","c":"0.0025","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18","st":2},{"e":"24hrMiniTicker","E":1672515782136,"s":"BTCUSDT","c":"5","o":"4","h":"6","l":"3","v":"7","q":"35"}]"#,
    r#"{"stream":"!markPrice@arr@1s","data":[{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","ap":"11784.50","i":"11784.62659091","P":"11784.25641265","r":"-0.00038167","T":1562306400000,"st":1},{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT_260327","p":"11794.15000000","i":"","P":"11784.25641265","r":"","T":0},{"e":"markPriceUpdate","E":1562305380000,"s":"ETHUSDT","p":"1794.15","P":"1784.2","i":"1784.6","r":"0.0001","T":1562306400000}]}"#,
];

const BYBIT: &[&str] = &[
    r#"{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","tickDirection":"PlusTick","price24hPcnt":"0.017103","lastPrice":"17216.00","prevPrice24h":"16926.50","highPrice24h":"17281.50","lowPrice24h":"16915.00","prevPrice1h":"17238.00","markPrice":"17217.33","indexPrice":"17227.36","openInterest":"68744.761","openInterestValue":"1183601235.91","turnover24h":"1570383121.943499","volume24h":"91705.276","nextFundingTime":"1673280000000","fundingRate":"-0.000212","bid1Price":"17215.50","bid1Size":"84.489","ask1Price":"17216.00","ask1Size":"83.020"},"cs":24987956059,"ts":1673272861686}"#,
    r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false},{"T":1672304486865,"s":"ETHUSDT","S":"Sell","v":"1","p":"1.5","L":"PlusTick","i":"7","BT":true,"RPI":true,"seq":5}]}"#,
    r#"{"topic":"publicTrade.BTCUSDT","ts":1672304486868,"type":"snapshot","data":[{"i":"2290000000068683542","T":1672304486866,"p":"16578.50","v":"0.03","S":"Buy","seq":177400507,"s":"BTCUSDT","BT":false,"RPI":true}]}"#,
    r#"{"topic":"orderbook.1.BTCUSDT","ts":1672304486868,"type":"snapshot","data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[],"u":18521288,"seq":7961638724},"cts":1672304486860}"#,
    r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["16493.50","0"]],"a":[["16611.00","0.029"],["16612.00","0.213"],["16613","1"]],"u":177400507,"seq":66544703342},"cts":1672304484976}"#,
    r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","fundingRate":"","bid1Size":"1","ask1Price":"17216.00"},"cs":24987956060,"ts":1673272861786}"#,
    r#"{"topic":"kline.5.BTCUSDT","data":[{"start":1672324800000,"end":1672325099999,"interval":"5","open":"16649.5","close":"16677","high":"16677","low":"16608","volume":"2.081","turnover":"34666.4005","confirm":false,"timestamp":1672324988882}],"ts":1672324988882,"type":"snapshot"}"#,
    r#"{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1739502303204,"data":[{"T":1739502302929,"s":"BTCUSDT","S":"Sell","v":"2","p":"0.04"},{"T":1739502302929,"s":"ETHUSDT","S":"Buy","v":"2.5","p":"0.05"}]}"#,
    r#"{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1672304486868,"data":{"s":"BTCUSDT","b":[["16493.50","0.006"],["16493.00","1"]],"a":[["16494.00","2"],["16494.5","0.1"],["16495.00","3"]],"u":18521288,"seq":7961638724}}"#,
    r#"{"topic":"liquidation.BTCUSDT","data":{"symbol":"BTCUSDT","side":"Sell","price":"45212.50","qty":"0.009","time":1632123952732}}"#,
    r#"{"topic":"liquidation.BTCUSDT","type":"snapshot","ts":1703485237953,"data":{"price":"45212.50","side":"Buy","size":"0.009","symbol":"BTCUSDT","updatedTime":1703485237953}}"#,
];

/// Where the bytes stand that are outside every string, and what bracket depth they have.
fn outside_strings(message: &[u8]) -> Vec<(usize, usize)> {
    let (mut places, mut depth, mut is_inside, mut is_escaped) = (Vec::new(), 0_usize, false, false);
    for (at, &byte) in message.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_inside => is_escaped = true,
            b'"' => is_inside = !is_inside,
            _ if is_inside => {}
            b'{' | b'[' => {
                depth += 1;
                places.push((at, depth));
            }
            b'}' | b']' => {
                places.push((at, depth));
                depth = depth.saturating_sub(1);
            }
            _ => places.push((at, depth)),
        }
    }
    places
}

/// The same message with the members of one of its objects (or the elements of one of its arrays) in another order.
fn rearrange(message: &mut Vec<u8>, chance: &mut Chance) {
    let places = outside_strings(message);
    let openings: Vec<_> = places.iter().filter(|&&(at, _)| matches!(message[at], b'{' | b'[')).collect();
    if openings.is_empty() {
        return;
    }
    let &(start, depth) = openings[chance.below(openings.len())];
    let ends = |&&(at, at_depth): &&(usize, usize)| at > start && at_depth == depth;
    let mut commas: Vec<usize> = Vec::new();
    let mut close = None;
    for &(at, _) in places.iter().filter(ends) {
        match message[at] {
            b',' => commas.push(at),
            b'}' | b']' => {
                close = Some(at);
                break;
            }
            _ => {}
        }
    }
    let Some(close) = close else { return };
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut from = start + 1;
    for end in commas.into_iter().chain([close]) {
        parts.push(message[from..end].to_vec());
        from = end + 1;
    }
    for at in (1..parts.len()).rev() {
        parts.swap(at, chance.below(at + 1));
    }
    message.splice(start + 1..close, parts.join(&b','));
}

/// The same message with white space in it.
fn space(message: &mut Vec<u8>, chance: &mut Chance) {
    for (at, _) in outside_strings(message).into_iter().rev() {
        if matches!(message[at], b'{' | b'}' | b'[' | b']' | b',' | b':') {
            let side = chance.below(2);
            let space: &[u8] = [&b""[..], b" ", b"\n", b"\t \r"][chance.below(4)];
            message.splice(at + side..at + side, space.iter().copied());
        }
    }
}

/// The same message with `null` for one of its scalars.
fn nullify(message: &mut Vec<u8>, chance: &mut Chance) {
    let places = outside_strings(message);
    let colons: Vec<usize> = (0..places.len()).filter(|&place| message[places[place].0] == b':').collect();
    if colons.is_empty() {
        return;
    }
    let place = colons[chance.below(colons.len())];
    let end = places[place + 1..].iter().find(|&&(at, _)| matches!(message[at], b',' | b'}' | b']' | b'{' | b'['));
    if let Some(&(end, _)) = end.filter(|&&(at, _)| !matches!(message[at], b'{' | b'[')) {
        message.splice(places[place].0 + 1..end, *b"null");
    }
}

/// Another form of a message, then damaged in one way or two; sometimes only one of both.
fn damage(message: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let form = chance.below(13);
    if matches!(form, 0..=2) {
        rearrange(message, chance);
    }
    if matches!(form, 2 | 3) {
        space(message, chance);
    }
    if form == 12 {
        nullify(message, chance);
    }
    if (4..12).contains(&form) || chance.below(2) == 0 {
        hurt(message, other, chance);
    }
}

/// Damages a message in one way or two.
fn hurt(message: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    const TELLING: &[u8] = b"\"\\{}[],:.-+eE0123456789 \n\x00\x1f\x7f\x80\xfftfnullSBab@";
    for _ in 0..=chance.below(2) {
        let at = chance.below(message.len());
        let byte = if chance.below(4) == 0 { chance.byte() } else { TELLING[chance.below(TELLING.len())] };
        match chance.below(8) {
            0..=2 => message[at] = byte,
            3 => message[at] = message[at].wrapping_add(1),
            4 if message.len() > 1 => {
                message.remove(at);
            }
            5 => message.insert(at, byte),
            // A piece of it twice, cut out, or of another message.
            6 => {
                let end = (at + 1 + chance.below(40)).min(message.len());
                let piece: Vec<u8> = if chance.below(2) == 0 { message[at..end].to_vec() } else { Vec::new() };
                let to = chance.below(message.len());
                message.splice(to..to.min(message.len()), piece);
            }
            _ => {
                let start = chance.below(other.len());
                let end = (start + 1 + chance.below(30)).min(other.len());
                let until = (at + chance.below(30)).min(message.len());
                message.splice(at..until, other[start..end].iter().copied());
            }
        }
        if message.is_empty() {
            message.push(byte);
        }
    }
}

/// One connection of every kind of instructions, and one that the scanner never sees a message of.
struct Readers {
    /// For each kind of instructions the reader of the expected shape, and one that never sees it.
    scanners: Vec<(Cpu, Decoder, Decoder)>,
    /// Reads every message as any JSON.
    tape: Decoder,
    scratch: DecoderScratch,
    symbols: HotSymbols,
    /// Messages that the reader of any order took itself.
    taken_in_any_order: usize,
    venue: Venue,
    /// Shares nothing with those above.
    independent: Reading,
    /// Messages that it read as they did.
    confirmed: usize,
}

type Answer = (Result<Decoded, DecodeError>, Vec<Event>);

impl Readers {
    fn new(venue: Venue) -> Self {
        let mut table = SymbolTable::default();
        let mut symbols = HotSymbols::new();
        for name in SYMBOLS {
            let symbol = table.add(venue, name, SCALES.0, SCALES.1, None).unwrap();
            symbols.add(table.spec(symbol).unwrap());
        }
        let here = Cpu::ALL.into_iter().filter(|cpu| cpu.is_here());
        let scanner = |cpu| Decoder::with_cpu(venue, Form::Combined, None, cpu);
        let scanners = here.map(|cpu| (cpu, scanner(cpu), scanner(cpu))).collect();
        let tape = Decoder::without_expectation(venue, Form::Combined, None);
        let (scratch, independent) = (DecoderScratch::new(), Reading::default());
        Self { scanners, tape, scratch, symbols, taken_in_any_order: 0, venue, independent, confirmed: 0 }
    }

    /// Reads a message in all ways; panics where they differ. True if the scanner took it.
    fn read(&mut self, message: &[u8]) -> bool {
        let expected = decode(&mut self.tape, message, &self.symbols, &mut self.scratch);
        let spaced = [b" ", message].concat();
        let (mut is_taken, mut is_taken_in_any_order) = (false, false);
        for (cpu, scanner, other) in &mut self.scanners {
            let what = || format!("{cpu:?}: {}", String::from_utf8_lossy(message));
            let answer = decode(scanner, message, &self.symbols, &mut self.scratch);
            assert_eq!(answer.1, expected.1, "{}", what());
            if answer.0 == Ok(Decoded::Data(Tier::One)) {
                is_taken = true;
                assert!(matches!(expected.0, Ok(Decoded::Data(_))), "{:?} of {}", expected.0, what());
            } else {
                assert_eq!(answer.0, expected.0, "{}", what());
            }
            let answer = decode(other, &spaced, &self.symbols, &mut self.scratch);
            assert_eq!(answer, expected, "in any order, {}", what());
            // Only what the tape read leaves a copy.
            let is_scanned = answer.0.is_ok() && self.scratch.pristine().is_empty();
            self.taken_in_any_order += usize::from(is_scanned);
            is_taken_in_any_order |= is_scanned;
        }
        if matches!(expected.0, Ok(Decoded::Data(_))) {
            self.confirm(message, &expected.1, is_taken || is_taken_in_any_order);
        }
        is_taken
    }

    /// Lays what the readers said beside the independent reading, which must have one of what a scanner took. What only the
    /// tape read it may refuse. Which symbols are listed, and their grids, it does not know: of an element that was refused it
    /// may say anything.
    fn confirm(&mut self, message: &[u8], events: &[Event], is_scanned: bool) {
        let independent = std::str::from_utf8(message).ok().and_then(Json::parse);
        let independent = independent.and_then(|message| self.read_independently(&message));
        let events: Vec<Option<Fields>> = events.iter().map(Event::fields).collect();
        let is_whole = |elements: &Vec<Option<Fields>>| elements.iter().all(Option::is_some);
        match independent {
            Some(independent) if is_scanned || is_whole(&events) && is_whole(&independent) => {
                assert_eq!(events.len(), independent.len(), "{}", String::from_utf8_lossy(message));
                for (event, independent) in events.iter().zip(&independent).filter(|(event, _)| event.is_some()) {
                    assert_eq!(event, independent, "{}", String::from_utf8_lossy(message));
                }
                self.confirmed += 1;
            }
            independent => {
                let message = String::from_utf8_lossy(message);
                assert!(!is_scanned, "taken as {events:?}, independently {independent:?}: {message}");
                self.begin_anew();
            }
        }
    }

    fn read_independently(&mut self, message: &Json) -> Option<Vec<Option<Fields>>> {
        match self.venue {
            Venue::BinanceSpot | Venue::BinanceUsdm => self.independent.binance_each(message),
            venue => self.independent.read(venue, message).map(|events| events.into_iter().map(Some).collect()),
        }
    }

    /// As on a new connection: what a ticker's changes are merged into may not be the same any more. Snapshots of every
    /// symbol follow, so that there is something to be changed.
    fn begin_anew(&mut self) {
        if !matches!(self.venue, Venue::BybitSpot | Venue::BybitLinear) {
            return;
        }
        let scanners = self.scanners.iter_mut().flat_map(|(_, scanner, other)| [scanner, other]);
        scanners.chain([&mut self.tape]).for_each(Decoder::connection_started);
        self.independent = Reading::default();
        let counts = (self.taken_in_any_order, self.confirmed);
        for name in SYMBOLS {
            assert!(self.read(BYBIT[0].replace("BTCUSDT", name).as_bytes()), "the first seed is a ticker's snapshot");
        }
        // These were no mutants.
        (self.taken_in_any_order, self.confirmed) = counts;
    }
}

fn decode(decoder: &mut Decoder, message: &[u8], symbols: &HotSymbols, scratch: &mut DecoderScratch) -> Answer {
    let mut bytes = message.to_vec();
    let mut ledger = Ledger::default();
    scratch.begin();
    let decoded = decoder.decode(Payload::of_vec(&mut bytes), &RECEIVED, symbols, scratch, &mut ledger);
    (decoded, ledger.0)
}

fn mutant_count() -> usize {
    match std::env::var("TICKWIRE_MUTANTS") {
        Ok(count) => count.parse().expect("TICKWIRE_MUTANTS is a number"),
        Err(_) => 120_000,
    }
}

/// The recorded messages of a folder, a few of each file, with the names of the symbols that the test lists.
fn recorded_seeds(folder: &str) -> Vec<String> {
    let files: BTreeMap<_, _> = messages(folder).into_iter().collect();
    files.into_values().flat_map(|lines| lines.into_iter().take(5)).filter(|line| line.len() < 4_000).collect()
}

/// A thread's stack that decoding is content with whatever is optimised: half of what threads have by default.
const STACK_BYTES: usize = 1 << 20;

fn survive(venue: Venue, written: &'static [&'static str], folder: &'static str) {
    let thread =
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || survive_here(venue, written, folder));
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

fn survive_here(venue: Venue, written: &[&str], folder: &str) {
    let mut readers = Readers::new(venue);
    for seed in written {
        assert!(readers.read(seed.as_bytes()), "the scanner takes it whole: {seed}");
    }
    let seeds: Vec<String> = written.iter().map(|&seed| seed.to_owned()).chain(recorded_seeds(folder)).collect();
    let mut chance = Chance(0x7e57 + venue as u64);
    let (count, mut taken) = (mutant_count() / 4, 0);
    for _ in 0..count {
        let mut message = seeds[chance.below(seeds.len())].clone().into_bytes();
        let other = seeds[chance.below(seeds.len())].as_bytes();
        damage(&mut message, other, &mut chance);
        taken += usize::from(readers.read(&message));
    }
    let in_any_order = readers.taken_in_any_order / readers.scanners.len();
    let confirmed = readers.confirmed;
    eprintln!(
        "{venue}: of {count} damaged messages {taken} were still of the expected shape, {in_any_order} of a known one; \
         {confirmed} were confirmed by an independent reading"
    );
    assert!(taken > count / 100, "{taken} of {count}");
    assert!(in_any_order > taken, "{in_any_order} of {count}");
    assert!(confirmed >= in_any_order, "{confirmed} of {in_any_order}");
}

#[test]
fn a_damaged_binance_spot_message_is_never_misread() {
    survive(Venue::BinanceSpot, BINANCE, "binance");
}

#[test]
fn a_damaged_binance_usdm_message_is_never_misread() {
    survive(Venue::BinanceUsdm, BINANCE, "binance_usdm");
}

#[test]
fn a_damaged_bybit_spot_message_is_never_misread() {
    survive(Venue::BybitSpot, BYBIT, "bybit_spot");
}

#[test]
fn a_damaged_bybit_linear_message_is_never_misread() {
    survive(Venue::BybitLinear, BYBIT, "bybit_linear");
}
