//! One message to its numbers: tickwire's decoder, and the usual libraries with types written for the very message.
//!
//! A library's contender borrows its texts, parses prices and quantities as `f64`, and looks no symbol up: it does less than
//! tickwire, which also resolves the symbol and checks that each number lies on its grid. Every contender's answer is
//! compared with what the generator knows of every message before anything is timed.

use crate::messages::{Arena, Case, Message, Truth, message, universe};
use crate::race::{Contender, OURS, Over, Row, run};
use serde::Deserialize;
use std::hint::black_box;
use tickwire::limits::READ_PADDING_BYTES;
use tickwire::market::{
    AggTrade, Backlog, BookUpdate, Kline, Level, Liquidation, MarkPrice, Meta, MonoNs, Quote, Received, SymbolTable, Ticker,
    Trade, Venue,
};
use tickwire::venue::{Cpu, Decoder, DecoderScratch, Form, HotSymbols, Payload, Reason, Sink};

/// What all messages of a race take together, at most: they stay in the second cache.
const BYTES_MAX: usize = 384 << 10;
const MESSAGES_MAX: usize = 1_024;
const RECEIVED: Received = Received { mono: MonoNs(1), wall_ns: 1, backlog: Backlog::NONE };

// ---------------------------------------------------------------------------------------------- tickwire

/// Sums what it is given, as a strategy would use it.
#[derive(Default)]
struct Sum(u64);

/// Keeps what it is given, to be compared.
#[derive(Default)]
struct Kept(Truth);

/// What both sinks are given of an event.
trait Heard {
    fn heard(&mut self, meta: &Meta, number: u64, levels: [&[Level]; 2]);
}

impl Heard for Sum {
    fn heard(&mut self, meta: &Meta, number: u64, levels: [&[Level]; 2]) {
        let levels = levels.into_iter().flatten().map(|level| (level.price.mantissa() ^ level.qty.mantissa()) as u64);
        self.0 = levels.fold(self.0 ^ number ^ meta.symbol.index() as u64, u64::wrapping_add);
    }
}

impl Heard for Kept {
    fn heard(&mut self, meta: &Meta, number: u64, levels: [&[Level]; 2]) {
        let levels = levels.into_iter().flatten().map(|level| (level.price.mantissa(), level.qty.mantissa()));
        self.0 = Truth { symbol: meta.symbol.index(), number, levels: levels.collect() };
    }
}

macro_rules! sink {
    ($($sink:ty),*) => {
        $(impl Sink for $sink {
            fn trade(&mut self, event: &Trade) {
                let time_ms = event.meta.matching_time.map_or(0, |time| time.ns() as u64 / 1_000_000);
                self.heard(&event.meta, time_ms, [&[Level { price: event.price, qty: event.qty }], &[]]);
            }
            fn quote(&mut self, event: &Quote) {
                self.heard(&event.meta, event.update_id, [&[event.bid], &[event.ask]]);
            }
            fn book(&mut self, event: &BookUpdate<'_>) {
                self.heard(&event.meta, event.ids.last, [event.bids, event.asks]);
            }
            fn agg_trade(&mut self, _event: &AggTrade) {}
            fn ticker(&mut self, _event: &Ticker) {}
            fn kline(&mut self, _event: &Kline) {}
            fn mark_price(&mut self, _event: &MarkPrice) {}
            fn liquidation(&mut self, _event: &Liquidation) {}
            fn refused(&mut self, reason: Reason) {
                panic!("refused: {reason:?}");
            }
        })*
    };
}

sink!(Sum, Kept);

struct Engine {
    decoder: Decoder,
    symbols: HotSymbols,
    scratch: DecoderScratch,
}

impl Engine {
    fn new(case: Case, names: &[String], cpu: Cpu) -> Self {
        let venue = match case {
            Case::BinanceSpotTrade | Case::BinanceSpotQuote => Venue::BinanceSpot,
            Case::BinanceUsdmDepth50 => Venue::BinanceUsdm,
            Case::BybitLinearTrade | Case::BybitLinearDelta5 | Case::BybitLinearSnapshot100 => Venue::BybitLinear,
        };
        let mut table = SymbolTable::default();
        let mut symbols = HotSymbols::new();
        for name in names {
            let symbol = table.add(venue, name, 2, 3, None).expect("room for it");
            symbols.add(table.spec(symbol).expect("just added"));
        }
        Self { decoder: Decoder::with_cpu(venue, Form::Combined, None, cpu), symbols, scratch: DecoderScratch::new() }
    }

    /// Decodes the message in front of its padding.
    fn decode(&mut self, padded: &mut [u8], sink: &mut impl Sink) {
        self.scratch.begin();
        let length = padded.len() - READ_PADDING_BYTES;
        let text = Payload::new(padded, length).expect("it is padded");
        let decoded = self.decoder.decode(text, &RECEIVED, &self.symbols, &mut self.scratch, sink);
        decoded.expect("generated to be decoded");
    }
}

// ---------------------------------------------------------------------------------------------- types for the libraries

/// What a message's type, as a user writes it, says.
trait Typed {
    fn symbol(&self) -> &str;
    fn number(&self) -> u64;
    fn levels(&self, each: impl FnMut(f64, f64));
}

fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

type Pairs<'a> = Vec<[&'a str; 2]>;

fn pairs(lists: [&Pairs<'_>; 2], mut each: impl FnMut(f64, f64)) {
    for [price, qty] in lists.into_iter().flatten() {
        each(number(price), number(qty));
    }
}

#[derive(Deserialize)]
struct Combined<T> {
    data: T,
}

#[derive(Deserialize)]
struct SpotTrade<'a> {
    s: &'a str,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: u64,
    t: u64,
    m: bool,
}

impl Typed for SpotTrade<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        black_box((self.t, self.m));
        self.time
    }
    fn levels(&self, mut each: impl FnMut(f64, f64)) {
        each(number(self.p), number(self.q));
    }
}

#[derive(Deserialize)]
struct SpotQuote<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_qty: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_qty: &'a str,
}

impl Typed for SpotQuote<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        self.u
    }
    fn levels(&self, mut each: impl FnMut(f64, f64)) {
        each(number(self.b), number(self.bid_qty));
        each(number(self.a), number(self.ask_qty));
    }
}

#[derive(Deserialize)]
struct Book<'a> {
    s: &'a str,
    u: u64,
    #[serde(borrow)]
    b: Pairs<'a>,
    #[serde(borrow)]
    a: Pairs<'a>,
}

impl Typed for Book<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        self.u
    }
    fn levels(&self, each: impl FnMut(f64, f64)) {
        pairs([&self.b, &self.a], each);
    }
}

#[derive(Deserialize)]
struct BybitTrade<'a> {
    #[serde(rename = "T")]
    time: u64,
    s: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
    v: &'a str,
    p: &'a str,
    i: &'a str,
    seq: u64,
}

impl Typed for Vec<BybitTrade<'_>> {
    fn symbol(&self) -> &str {
        self[0].s
    }
    fn number(&self) -> u64 {
        self[0].time
    }
    fn levels(&self, mut each: impl FnMut(f64, f64)) {
        for trade in self {
            black_box((trade.side, trade.i, trade.seq));
            each(number(trade.p), number(trade.v));
        }
    }
}

/// What a typed message adds to the sum of a pass.
fn used(message: &impl Typed) -> u64 {
    let mut sum = message.number() ^ message.symbol().len() as u64;
    message.levels(|price, qty| sum = sum.wrapping_add(price.to_bits() ^ qty.to_bits()));
    sum
}

fn checked(message: &impl Typed, truth: &Truth, names: &[String]) {
    let mut levels = Vec::new();
    message.levels(|price, qty| levels.push(((price * 100.0).round() as i64, (qty * 1_000.0).round() as i64)));
    let symbol = names.iter().position(|name| name == message.symbol()).expect("a name of the universe");
    assert_eq!(Truth { symbol, number: message.number(), levels }, *truth);
}

/// The libraries' contenders over messages of this type, each checked on every message first.
macro_rules! libraries {
    ($contenders:expr, $messages:expr, $names:expr, $type:ty) => {{
        let (messages, names) = ($messages, $names);
        for Message { text, truth } in messages {
            checked(&serde_json::from_slice::<Combined<$type>>(text).expect("JSON").data, truth, names);
            checked(&sonic_rs::from_slice::<Combined<$type>>(text).expect("JSON").data, truth, names);
            let mut copy = text.clone();
            checked(&simd_json::serde::from_slice::<Combined<$type>>(&mut copy).expect("JSON").data, truth, names);
            assert_eq!(copy, *text, "nothing is escaped, so nothing is rewritten: no copy has to be charged");
        }
        let arena = Arena::new(messages.iter().map(|message| &message.text[..]));
        let by_serde = Over(arena.clone(), |arena: &mut Arena, at| {
            used(&serde_json::from_slice::<Combined<$type>>(arena.text(at)).expect("JSON").data)
        });
        let by_sonic = Over(arena.clone(), |arena: &mut Arena, at| {
            used(&sonic_rs::from_slice::<Combined<$type>>(arena.text(at)).expect("JSON").data)
        });
        let mut buffers = simd_json::Buffers::new(16 << 10);
        let by_simd = Over(arena, move |arena: &mut Arena, at| {
            let text = arena.text_mut(at);
            let message = simd_json::serde::from_slice_with_buffers::<Combined<$type>>(text, &mut buffers);
            used(&message.expect("JSON").data)
        });
        $contenders.extend([
            Contender { name: "serde_json, &str and f64", version: "1.0", course: Box::new(by_serde) },
            Contender { name: "sonic-rs, &str and f64", version: "0.5", course: Box::new(by_sonic) },
            Contender { name: "simd-json, &str and f64", version: "0.19", course: Box::new(by_simd) },
        ]);
    }};
}

/// The race of one case over a universe of so many symbols.
pub(crate) fn race(case: Case, symbols: usize, rounds: usize, cpu: Cpu) -> Vec<Row> {
    let names = universe(symbols);
    let names = &names[..];
    let mut messages: Vec<Message> = Vec::new();
    let mut bytes = 0;
    for n in 0..MESSAGES_MAX as u64 {
        let message = message(case, n, names);
        bytes += message.text.len();
        if bytes > BYTES_MAX {
            break;
        }
        messages.push(message);
    }
    let messages = &messages[..];

    let mut arena = Arena::new(messages.iter().map(|message| &message.text[..]));
    let mut engine = Engine::new(case, names, cpu);
    for (at, message) in (0..).zip(messages) {
        let mut kept = Kept::default();
        engine.decode(arena.padded_mut(at), &mut kept);
        assert_eq!(kept.0, message.truth);
    }
    let floor = Over(arena.clone(), |arena: &mut Arena, at| {
        u64::from(arena.text(at).iter().fold(0_u8, |sum, byte| sum ^ byte))
    });
    let ours = Over(arena, move |arena: &mut Arena, at| {
        let mut sum = Sum::default();
        engine.decode(arena.padded_mut(at), &mut sum);
        sum.0
    });
    let mut contenders = vec![
        Contender { name: OURS, version: env!("CARGO_PKG_VERSION"), course: Box::new(ours) },
        Contender { name: "floor:every byte once", version: "", course: Box::new(floor) },
    ];
    match case {
        Case::BinanceSpotTrade => libraries!(contenders, messages, names, SpotTrade<'_>),
        Case::BinanceSpotQuote => libraries!(contenders, messages, names, SpotQuote<'_>),
        Case::BybitLinearTrade => libraries!(contenders, messages, names, Vec<BybitTrade<'_>>),
        Case::BinanceUsdmDepth50 | Case::BybitLinearDelta5 | Case::BybitLinearSnapshot100 => {
            libraries!(contenders, messages, names, Book<'_>);
        }
    }
    run("decode", &format!("{}, {symbols} symbols", case.name()), messages.len(), rounds, &mut contenders)
}
