//! Recorded runs: every contiguous capture of a book, decoded by the engine and kept by its books, beside a second keeping of
//! plain maps that reads the same lines with `serde_json`. After every message both have the same best bid and ask, and in the
//! end the same levels.
//!
//! ```text
//! line ─┬─► Decoder ─► BookUpdate ─► Books (rule, buffer, state) ─► best, levels ─┐
//!       └─► serde_json ─► two BTreeMaps ──────────────────────────► best, levels ─┴─► equal
//! ```
//! Needs `TICKWIRE_FRAMES`, the folder with the recorded frames; skips without it, unless `CI` is `true`.

#[path = "books/rebuild.rs"]
mod rebuild;
#[path = "support/recorded.rs"]
#[allow(dead_code, reason = "only where the frames are is asked for here")]
mod recorded;

use rebuild::{Pair, Rebuild, SCALE, number};
use recorded::frames;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use tickwire::book::{BookSettings, BookState, Books, Changes, Outcome, Repair, Slot, StaleReason, Step, Ticket};
use tickwire::market::{
    AggTrade, Backlog, BookKind, BookUpdate, Kline, Level, Liquidation, MarkPrice, Meta, MonoNs, Price, Qty, Quote,
    Received, SequenceIds, Side, Symbol, SymbolTable, Ticker, Trade, Venue,
};
use tickwire::venue::{Decoder, DecoderScratch, Form, HotSymbols, Payload, Reason, Sink, VenueSequence};

const RECEIVED: Received = Received { mono: MonoNs(7), wall_ns: 11, backlog: Backlog::NONE };

/// A book event that owns its levels.
#[derive(Clone, Debug)]
struct Owned {
    meta: Meta,
    kind: BookKind,
    ids: SequenceIds,
    depth: u16,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

impl Owned {
    fn update(&self) -> BookUpdate<'_> {
        BookUpdate {
            meta: self.meta,
            kind: self.kind,
            ids: self.ids,
            depth: self.depth,
            state: None,
            bids: &self.bids,
            asks: &self.asks,
        }
    }
}

/// What the decoder gave.
#[derive(Debug, Default)]
struct Ledger {
    books: Vec<Owned>,
    quotes: Vec<Quote>,
}

impl Sink for Ledger {
    fn book(&mut self, event: &BookUpdate<'_>) {
        let BookUpdate { meta, kind, ids, depth, bids, asks, .. } = *event;
        self.books.push(Owned { meta, kind, ids, depth, bids: bids.to_vec(), asks: asks.to_vec() });
    }
    fn quote(&mut self, event: &Quote) {
        self.quotes.push(*event);
    }
    fn trade(&mut self, event: &Trade) {
        panic!("{event:?}");
    }
    fn agg_trade(&mut self, event: &AggTrade) {
        panic!("{event:?}");
    }
    fn ticker(&mut self, event: &Ticker) {
        panic!("{event:?}");
    }
    fn kline(&mut self, event: &Kline) {
        panic!("{event:?}");
    }
    fn mark_price(&mut self, event: &MarkPrice) {
        panic!("{event:?}");
    }
    fn liquidation(&mut self, event: &Liquidation) {
        panic!("{event:?}");
    }
    fn refused(&mut self, reason: Reason) {
        panic!("{reason:?}");
    }
}

/// Scales of every symbol here: the finest grid recorded.
const PRICE_SCALE: u8 = 8;
const QTY_SCALE: u8 = 8;

/// A mantissa of a grid here as a number of the second keeping.
fn widened(mantissa: i64) -> i128 {
    i128::from(mantissa) * 10_i128.pow(u32::try_from(SCALE).unwrap() - u32::from(PRICE_SCALE))
}

fn pair(level: Level) -> Pair {
    (widened(level.price.mantissa()), widened(level.qty.mantissa()))
}

/// One folder of recorded frames: its symbols, and its lines decoded.
struct Capture {
    venue: Venue,
    folder: &'static str,
    symbols: BTreeMap<&'static str, Symbol>,
    lines: Vec<String>,
    books: Vec<Owned>,
    quotes: Vec<Quote>,
}

impl Capture {
    /// `None` where there are no recorded frames.
    fn read(venue: Venue, folder: &'static str, names: &[&'static str]) -> Option<Self> {
        let root = frames()?.join(folder);
        let mut table = SymbolTable::default();
        let mut hot = HotSymbols::new();
        let mut symbols = BTreeMap::new();
        for &name in names {
            let symbol = table.add(venue, name, PRICE_SCALE, QTY_SCALE, None).unwrap();
            hot.add(table.spec(symbol).unwrap());
            symbols.insert(name, symbol);
        }
        let decoded = |file: &str| {
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let (mut decoder, mut scratch) = (Decoder::new(venue, Form::Combined, None), DecoderScratch::new());
            let mut ledger = Ledger::default();
            for line in &lines {
                let mut bytes = line.clone().into_bytes();
                decoder
                    .decode(Payload::of_vec(&mut bytes), &RECEIVED, &hot, &mut scratch, &mut ledger)
                    .unwrap_or_else(|error| panic!("{folder}/{file}: {error}: {line}"));
            }
            (lines, ledger)
        };
        let (lines, Ledger { books, .. }) = decoded("depth_delta.jsonl");
        assert_eq!(books.len(), lines.len(), "{folder}: a book event a line");
        let (_, Ledger { quotes, .. }) = decoded("book_ticker.jsonl");
        Some(Self { venue, folder, symbols, lines, books, quotes })
    }

    fn books(&self, settings: impl Fn(u16) -> BookSettings) -> Books<VenueSequence> {
        let mut books = Books::new(2);
        for &symbol in self.symbols.values() {
            let depth = self.books[0].depth;
            books.add(Box::new(Slot::new(symbol, depth, VenueSequence::of(self.venue), settings(depth))));
        }
        books
    }

    /// The REST snapshot of the folder: as an event, as its text says, and how many depth messages came before it.
    fn snapshot(&self) -> (Owned, Value, usize) {
        let root = frames().unwrap().join(self.folder);
        let (name, &symbol) = self.symbols.iter().next().unwrap();
        let body = fs::read_to_string(root.join(format!("rest_depth_snapshot_{name}.jsonl"))).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        let levels = |side: &str| {
            let mantissa = |text: &Value| {
                let wide = number(text.as_str().unwrap());
                i64::try_from(wide / 10_i128.pow(u32::try_from(SCALE).unwrap() - u32::from(PRICE_SCALE))).unwrap()
            };
            let level = |level: &Value| Level {
                price: Price::from_mantissa(mantissa(&level[0])),
                qty: Qty::from_mantissa(mantissa(&level[1])),
            };
            body[side].as_array().unwrap().iter().map(level).collect::<Vec<Level>>()
        };
        let last = body["lastUpdateId"].as_u64().unwrap();
        let (bids, asks) = (levels("bids"), levels("asks"));
        let snapshot = Owned {
            meta: Meta { symbol, received: RECEIVED, event_time: None, matching_time: None },
            kind: BookKind::Snapshot,
            ids: SequenceIds { first: last, last, previous: None, cross: None },
            depth: u16::try_from(bids.len().max(asks.len())).unwrap(),
            bids,
            asks,
        };
        let order = fs::read_to_string(root.join("_arrival_order.csv")).unwrap();
        let before = order
            .lines()
            .take_while(|row| !row.ends_with(",rest_depth_snapshot"))
            .filter(|row| row.ends_with(",depth_delta"))
            .count();
        (snapshot, body, before)
    }
}

/// Both keepings have the same best bid and ask.
fn assert_same_touch(books: &Books<VenueSequence>, symbol: Symbol, rebuild: &Rebuild, line: &str) {
    let view = books.view(symbol).unwrap();
    let book = view.live().unwrap_or_else(|| panic!("{:?}: {line}", view.state));
    let best = |side| book.best(side).known().expect("the touch is known").map(pair);
    assert_eq!(best(Side::Buy), rebuild.bids().next(), "{line}");
    assert_eq!(best(Side::Sell), rebuild.asks().next(), "{line}");
}

/// Both keepings have the same levels, all of them.
fn assert_same_levels(books: &Books<VenueSequence>, symbol: Symbol, rebuild: &Rebuild) {
    let book = books.view(symbol).unwrap().live().expect("live in the end");
    let held = |side| book.held(side).map(pair).collect::<Vec<Pair>>();
    assert_eq!(held(Side::Buy), rebuild.bids().collect::<Vec<_>>());
    assert_eq!(held(Side::Sell), rebuild.asks().collect::<Vec<_>>());
}

/// The data of a line, of whichever venue.
fn data(line: &str) -> Value {
    let mut message: Value = serde_json::from_str(line).unwrap();
    message["data"].take()
}

/// What a recorded Binance run came to.
#[derive(Debug, Default)]
struct Run {
    live_messages: usize,
    meetings: usize,
}

/// Plays one Binance capture with its REST snapshot; compares after every message.
fn play_binance(capture: &Capture) -> Run {
    let symbol = *capture.symbols.values().next().unwrap();
    let mut books = capture.books(BookSettings::for_depth);
    let (snapshot, body, before) = capture.snapshot();
    let quotes: BTreeMap<u64, &Quote> = capture.quotes.iter().map(|quote| (quote.update_id, quote)).collect();
    let ticket = books.begin_fetch(symbol).unwrap();
    let (mut run, mut rebuild, mut kept) = (Run::default(), Rebuild::default(), Vec::new());
    for (at, (line, event)) in capture.lines.iter().zip(&capture.books).enumerate() {
        if at == before {
            assert_eq!(books.view(symbol).unwrap().state, BookState::Waiting);
            let outcome = books.snapshot(ticket, &snapshot.update()).unwrap();
            assert!(matches!(outcome, Outcome { step: Step::Rebuilt(_), repair: None, .. }), "{outcome:?}");
            rebuild.apply(&body["bids"], &body["asks"]);
            for data in std::mem::take(&mut kept) {
                apply_newer(&mut rebuild, &data, snapshot.ids.last);
            }
        }
        let outcome = books.update(&event.update(), None).expect("a book is kept of it");
        let data = data(line);
        if at < before {
            assert_eq!(outcome.step, Step::Held { restarted: None }, "{line}");
            assert_eq!(outcome.repair, (at == 0).then_some(Repair::NeedSnapshot), "said once");
            kept.push(data);
            continue;
        }
        assert!(matches!(outcome, Outcome { step: Step::Applied(_) | Step::Skipped, repair: None, .. }), "{outcome:?}");
        apply_newer(&mut rebuild, &data, snapshot.ids.last);
        assert_same_touch(&books, symbol, &rebuild, line);
        run.live_messages += 1;
        if let Some(quote) = quotes.get(&event.ids.last) {
            let touch = [rebuild.bids().next(), rebuild.asks().next()];
            assert_eq!([Some(pair(quote.bid)), Some(pair(quote.ask))], touch, "the same update: {line}");
            run.meetings += 1;
        }
    }
    assert!(before > 0, "changes were kept while the snapshot was fetched");
    assert_same_levels(&books, symbol, &rebuild);
    let ids = books.view(symbol).unwrap().ids.unwrap();
    assert_eq!(ids.last, capture.books.last().unwrap().ids.last);
    run
}

/// What is in the snapshot is not applied to it again.
fn apply_newer(rebuild: &mut Rebuild, data: &Value, snapshot_id: u64) {
    if data["u"].as_u64().unwrap() > snapshot_id {
        rebuild.apply(&data["b"], &data["a"]);
    }
}

/// Plays one Bybit capture; compares after every message.
fn play_bybit(capture: &Capture) {
    let mut books = capture.books(BookSettings::for_depth);
    let mut rebuilds: BTreeMap<Symbol, Rebuild> = BTreeMap::new();
    for (line, event) in capture.lines.iter().zip(&capture.books) {
        let symbol = event.meta.symbol;
        let outcome = books.update(&event.update(), None).expect("a book is kept of it");
        let rebuild = rebuilds.entry(symbol).or_default();
        if event.kind == BookKind::Snapshot {
            *rebuild = Rebuild::default();
            assert!(matches!(outcome.step, Step::Rebuilt(_)), "{outcome:?}");
        } else {
            assert!(matches!(outcome.step, Step::Applied(_)), "{outcome:?}");
        }
        assert_eq!(outcome.repair, None);
        let data = data(line);
        rebuild.apply(&data["b"], &data["a"]);
        assert_same_touch(&books, symbol, rebuild, line);
    }
    assert_eq!(rebuilds.len(), capture.symbols.len(), "every symbol was there");
    for (&symbol, rebuild) in &rebuilds {
        assert_same_levels(&books, symbol, rebuild);
        let (bids, asks) = books.view(symbol).unwrap().book.level_counts();
        assert_eq!((bids, asks), (200, 200), "the channel's depth");
    }
}

const BYBIT_LINEAR: [&str; 3] = ["BTCUSDT", "ETHUSDT", "SOLUSDT"];

fn binance_spot() -> Option<Capture> {
    Capture::read(Venue::BinanceSpot, "binance", &["BTCUSDT"])
}

fn binance_usdm() -> Option<Capture> {
    Capture::read(Venue::BinanceUsdm, "binance_usdm", &["BTCUSDT"])
}

fn bybit_linear() -> Option<Capture> {
    Capture::read(Venue::BybitLinear, "bybit_linear", &BYBIT_LINEAR)
}

fn bybit_spot() -> Option<Capture> {
    Capture::read(Venue::BybitSpot, "bybit_spot", &["BTCUSDT"])
}

#[test]
fn binance_spot_is_the_same_after_every_message_and_agrees_with_its_quotes() {
    let Some(capture) = binance_spot() else { return };
    let run = play_binance(&capture);
    assert!(run.live_messages > 900 && run.meetings > 0, "{run:?}");
}

#[test]
fn binance_usdm_is_the_same_after_every_message_and_agrees_with_its_quotes() {
    let Some(capture) = binance_usdm() else { return };
    let run = play_binance(&capture);
    assert!(run.live_messages > 700 && run.meetings > 0, "{run:?}");
}

#[test]
fn binance_coinm_whose_messages_are_the_same_is_kept_by_the_rule_of_usdm() {
    let Some(capture) = Capture::read(Venue::BinanceUsdm, "binance_coinm", &["BTCUSD_PERP"]) else { return };
    let run = play_binance(&capture);
    assert!(run.live_messages > 300, "{run:?}");
}

#[test]
fn bybit_books_of_one_connection_are_the_same_after_every_message() {
    let Some(capture) = bybit_linear() else { return };
    play_bybit(&capture);
    play_bybit(&bybit_spot().unwrap());
}

/// The steps of one message after the other, from the first that follows the snapshot.
fn steps(capture: &Capture, events: &[Owned]) -> (Books<VenueSequence>, Vec<Step>) {
    let symbol = *capture.symbols.values().next().unwrap();
    let mut books = capture.books(BookSettings::for_depth);
    if capture.venue != Venue::BybitSpot {
        let (snapshot, _, before) = capture.snapshot();
        let ticket = books.begin_fetch(symbol).unwrap();
        for event in &capture.books[..before] {
            books.update(&event.update(), None);
        }
        books.snapshot(ticket, &snapshot.update());
        assert!(books.view(symbol).unwrap().state.is_live());
    }
    let steps = events.iter().map(|event| books.update(&event.update(), None).unwrap().step).collect();
    (books, steps)
}

/// The three captures of one symbol, each from the message behind its snapshot.
fn single_captures() -> Vec<(Capture, Vec<Owned>)> {
    let Some(spot) = binance_spot() else { return Vec::new() };
    let mut captures = Vec::new();
    for capture in [spot, binance_usdm().unwrap(), bybit_spot().unwrap()] {
        let from = if capture.venue == Venue::BybitSpot { 0 } else { capture.snapshot().2 };
        let events = capture.books[from..].to_vec();
        captures.push((capture, events));
    }
    captures
}

#[test]
fn a_message_left_out_is_found_at_the_next_one_and_the_book_stays_where_it_stood() {
    for (capture, mut events) in single_captures() {
        let symbol = *capture.symbols.values().next().unwrap();
        let gone = events.remove(100);
        let before = events[99].ids;
        let (books, steps) = steps(&capture, &events);
        assert!(steps[..100].iter().all(|step| matches!(step, Step::Applied(_) | Step::Rebuilt(_) | Step::Skipped)));
        assert_eq!(steps[100], Step::Stale(StaleReason::Gap), "{:?} without {:?}", events[100].ids, gone.ids);
        assert!(steps[101..].iter().all(|&step| step == Step::Ignored), "nothing is applied behind a gap");
        let view = books.view(symbol).unwrap();
        assert_eq!((view.state, view.ids), (BookState::Stale(StaleReason::Gap), Some(before)));
        assert!(view.live().is_none());
        assert_eq!(books.repairs().count(), 1);
        assert_eq!(books.counts().stale_for(StaleReason::Gap), 1);
    }
}

#[test]
fn messages_that_come_twice_change_nothing() {
    for (capture, events) in single_captures() {
        let symbol = *capture.symbols.values().next().unwrap();
        let (once, _) = steps(&capture, &events);
        // A snapshot that comes again would be one that the venue has sent again: it counts.
        let twice: Vec<Owned> = events
            .iter()
            .flat_map(|event| std::iter::repeat_n(event.clone(), if event.kind == BookKind::Delta { 2 } else { 1 }))
            .collect();
        let (again, steps) = steps(&capture, &twice);
        assert!(steps.iter().filter(|&&step| step == Step::Skipped).count() >= events.len() - 1);
        for side in [Side::Buy, Side::Sell] {
            let [once, again] = [&once, &again].map(|books| books.view(symbol).unwrap().live().unwrap());
            assert!(once.held(side).eq(again.held(side)));
        }
    }
}

#[test]
fn a_book_of_fewer_levels_is_the_best_of_the_whole_one_as_far_as_it_is_known() {
    let Some(spot) = binance_spot() else { return };
    for capture in [spot, binance_usdm().unwrap()] {
        let symbol = *capture.symbols.values().next().unwrap();
        let (snapshot, body, before) = capture.snapshot();
        for depth_kept in [25, 100, 400, 1_000] {
            let mut books = capture.books(|depth| BookSettings { depth_kept, ..BookSettings::for_depth(depth) });
            let mut rebuild = Rebuild::default();
            rebuild.apply(&body["bids"], &body["asks"]);
            let ticket = books.begin_fetch(symbol).unwrap();
            let (mut compared, mut ended) = (0, None);
            for (line, event) in capture.lines.iter().zip(&capture.books).take(before) {
                books.update(&event.update(), None);
                apply_newer(&mut rebuild, &data(line), snapshot.ids.last);
            }
            books.snapshot(ticket, &snapshot.update());
            for (line, event) in capture.lines.iter().zip(&capture.books).skip(before) {
                let outcome = books.update(&event.update(), None).unwrap();
                apply_newer(&mut rebuild, &data(line), snapshot.ids.last);
                let view = books.view(symbol).unwrap();
                let Some(book) = view.live() else {
                    ended = Some(outcome.step);
                    break;
                };
                for (side, mut truth) in [
                    (Side::Buy, Box::new(rebuild.bids()) as Box<dyn Iterator<Item = Pair>>),
                    (Side::Sell, Box::new(rebuild.asks())),
                ] {
                    let (bids, asks) = book.level_counts();
                    assert!(bids.max(asks) <= depth_kept);
                    for level in book.levels(side) {
                        assert_eq!(Some(pair(level)), truth.next(), "{depth_kept} levels, {side:?}: {line}");
                        compared += 1;
                    }
                }
            }
            assert!(compared > 100, "{depth_kept}: {compared}");
            // Few levels are soon used up; that is said, and nothing wrong is.
            assert!(
                ended.is_none_or(|step| step == Step::Stale(StaleReason::RangeExhausted)),
                "{depth_kept}: {ended:?}"
            );
            assert!(depth_kept < 1_000 || ended.is_none(), "as many as the snapshot had are enough");
        }
    }
}

#[test]
fn what_changed_is_told_as_the_two_books_before_and_after_say() {
    for (capture, events) in single_captures() {
        let symbol = *capture.symbols.values().next().unwrap();
        let (mut books, _) = steps(&capture, &[]);
        let top = |books: &Books<VenueSequence>, side| -> Vec<Level> {
            books.view(symbol).unwrap().book.held(side).take(10).collect()
        };
        let mut told = BTreeMap::new();
        for event in &events {
            let before = [Side::Buy, Side::Sell].map(|side| top(&books, side));
            let Step::Applied(changes) = books.update(&event.update(), None).unwrap().step else { continue };
            let after = [Side::Buy, Side::Sell].map(|side| top(&books, side));
            for (side, (best, whole)) in
                [(Changes::BEST_BID, Changes::TOP_BIDS), (Changes::BEST_ASK, Changes::TOP_ASKS)].into_iter().enumerate()
            {
                assert_eq!(changes.contains(best), before[side].first() != after[side].first(), "{:?}", event.ids);
                // A level that came and went within one message leaves no trace but this.
                assert!(changes.contains(whole) || before[side] == after[side], "{:?}", event.ids);
                *told.entry(whole == Changes::TOP_BIDS).or_insert(0) += usize::from(before[side] != after[side]);
            }
            let price = |top: &[Level]| top.first().unwrap().price;
            assert_eq!(changes.contains(Changes::THROUGH_ASKS), price(&after[0]) >= price(&before[1]));
            assert_eq!(changes.contains(Changes::THROUGH_BIDS), price(&after[1]) <= price(&before[0]));
            assert!(!changes.contains(Changes::CROSSED));
        }
        assert!(told.values().all(|&count| count > 10), "{told:?}");
    }
}

#[test]
fn a_snapshot_of_another_fetch_is_not_taken() {
    let Some(capture) = binance_spot() else { return };
    let symbol = *capture.symbols.values().next().unwrap();
    let (snapshot, _, _) = capture.snapshot();
    let mut books = capture.books(BookSettings::for_depth);
    let first: Ticket = books.begin_fetch(symbol).unwrap();
    let second = books.begin_fetch(symbol).unwrap();
    assert_ne!(first, second);
    assert_eq!(books.snapshot(first, &snapshot.update()).unwrap().step, Step::Late);
    assert_eq!(books.view(symbol).unwrap().state, BookState::Waiting);
    assert!(matches!(books.snapshot(second, &snapshot.update()).unwrap().step, Step::Rebuilt(_)));
    assert_eq!((books.counts().late, books.counts().rebuilt), (1, 1));
}
