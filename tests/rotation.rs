//! A rotation under load, by the strategy's own ledger: from the first trade to the last, none lost and none repeated.
//!
//! ```text
//! tape (the truth) ──► leg A, skewed ──►┐
//!                 └──► leg B, skewed ──►┴─ Engine: one hand-over after the other ──► ledger == the tape's trade ids
//! ```
//! Each connection of the embedded exchange is told the same trades at its own moments (`leg-skew`) and batches Binance's
//! depth for itself, so the legs really differ.

#[path = "support/stage.rs"]
mod stage;

use stage::{config, runtime, until};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tickwire::market::{BookKind, TradeId};
use tickwire::prelude::*;
use tickwire::sim::{self, Faults, Kill, SimHandle, SimOptions, Source};
use tickwire::telemetry::{ControlEvent, Happening};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

const SYMBOLS: u32 = 5;

/// What the strategy saw of one symbol.
#[derive(Default)]
struct Seen {
    trades: Vec<TradeId>,
    quotes: u64,
    last_quote: u64,
    quotes_back: u64,
    books: u64,
    last_book: Option<u64>,
    snapshots: u64,
    /// Book events that follow on nothing: what was before, and what came.
    gaps: Vec<String>,
    others: u64,
}

type Ledger = Arc<Mutex<BTreeMap<usize, Seen>>>;

struct Keeper {
    ledger: Ledger,
}

impl Keeper {
    fn note(&self, symbol: Symbol, note: impl FnOnce(&mut Seen)) {
        note(self.ledger.lock().unwrap().entry(symbol.index()).or_default());
    }
}

fn on_book(seen: &mut Seen, book: &BookUpdate<'_>) {
    let ids = book.ids;
    seen.books += 1;
    if book.kind == BookKind::Snapshot {
        seen.snapshots += 1;
    } else {
        // Bybit: u is one more. Binance spot: U <= last + 1 <= u. USD-M: the event before, or one that overlaps.
        let follows = seen.last_book.is_none_or(|last| match ids.previous {
            Some(previous) => previous <= last && last < ids.last,
            None => ids.first <= last + 1 && last < ids.last,
        });
        if !follows {
            seen.gaps.push(format!("{:?} then {ids:?}", seen.last_book));
        }
    }
    seen.last_book = Some(ids.last);
}

fn on_symbol(_: &mut Keeper, router: &mut Router<Keeper>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |keeper, trade| keeper.note(trade.meta.symbol, |seen| seen.trades.push(trade.id)));
    router.on_quote(spec.symbol, |keeper, quote| {
        keeper.note(quote.meta.symbol, |seen| {
            seen.quotes += 1;
            seen.quotes_back += u64::from(quote.update_id < seen.last_quote);
            seen.last_quote = quote.update_id;
        });
    });
    router.on_book_delta(spec.symbol, |keeper, book| keeper.note(book.meta.symbol, |seen| on_book(seen, book)));
    router.on_ticker(spec.symbol, |keeper, event| keeper.note(event.meta.symbol, |seen| seen.others += 1));
    router.on_kline(spec.symbol, |keeper, event| keeper.note(event.meta.symbol, |seen| seen.others += 1));
    router.on_agg_trade(spec.symbol, |keeper, event| keeper.note(event.meta.symbol, |seen| seen.others += 1));
}

/// A trade's id as the decoder reads the venue's text.
fn read(text: &str) -> TradeId {
    let is_uuid = text.len() == 36 && text.contains('-');
    match text.parse() {
        Ok(number) => TradeId::Number(number),
        Err(_) if is_uuid => TradeId::Uuid(u128::from_str_radix(&text.replace('-', ""), 16).unwrap()),
        Err(_) => panic!("`{text}` is no number and no UUID"),
    }
}

fn channels(venue: Venue) -> &'static [&'static str] {
    match venue {
        Venue::BinanceSpot | Venue::BinanceUsdm => &["trade", "bookTicker", "depth@100ms", "ticker", "kline_1m"],
        Venue::BybitSpot | Venue::BybitLinear => &["publicTrade", "orderbook.1", "orderbook.50", "tickers", "kline.1"],
    }
}

/// An exchange on a tape and an engine at it.
struct Stage {
    runtime: Runtime,
    exchange: SimHandle,
    engine: RunningEngine,
    events: broadcast::Receiver<Arc<ControlEvent>>,
    happened: Vec<Happening>,
    ledger: Ledger,
    venue: Venue,
    symbols: Vec<String>,
}

impl Stage {
    fn new(venue: Venue, rate: f64, faults: &str, change: impl FnOnce(&mut ConnectionConfig)) -> Self {
        let runtime = runtime();
        let options = SimOptions {
            venues: vec![venue],
            source: Source::Synthetic { seed: 11, rate, symbols: SYMBOLS },
            faults: Faults::parse(faults, 3).unwrap(),
            is_tape: true,
            ..SimOptions::default()
        };
        let exchange = runtime.block_on(sim::start(options)).unwrap();
        let symbols = exchange.symbols(venue);
        let names: Vec<&str> = symbols.iter().map(String::as_str).collect();
        let mut connection = ConnectionConfig::new("one", venue).subscribed_to(&names, channels(venue)).unwrap();
        connection.rotation.overlap = Duration::from_millis(500);
        connection.rotation.jitter = Duration::ZERO;
        connection.reconnect.base = Duration::from_millis(20);
        connection.reconnect.cap = Duration::from_millis(100);
        change(&mut connection);
        let ledger = Ledger::default();
        let of_strategy = Arc::clone(&ledger);
        let engine = Engine::builder(config(vec![connection], exchange.endpoints()))
            .strategy("ledger", move || Strategy { state: Keeper { ledger: Arc::clone(&of_strategy) }, on_symbol })
            .start()
            .unwrap();
        let events = engine.handle().events();
        let mut stage = Self { runtime, exchange, engine, events, happened: Vec::new(), ledger, venue, symbols };
        stage.until_speaking(1);
        stage
    }

    /// Waits until `sockets` are open at the exchange, the engine is ready and every symbol has traded.
    fn until_speaking(&mut self, sockets: usize) {
        until(&self.runtime, "data flows", || {
            let report = self.engine.report();
            let spoken = self.ledger.lock().unwrap().values().filter(|seen| seen.trades.len() > 20).count();
            let open = self.exchange.subscriptions(self.venue).len();
            let is_ready = report.connections.iter().all(tickwire::telemetry::ConnectionReport::is_ready);
            let is_so = is_ready && spoken == self.symbols.len() && open >= sockets;
            if is_so { Ok(()) } else { Err(format!("{spoken} symbols, {open} open; {}", report.to_json())) }
        });
    }

    /// What has happened so far.
    fn happened(&mut self) -> &[Happening] {
        while let Ok(event) = self.events.try_recv() {
            self.happened.push(event.what.clone());
        }
        &self.happened
    }

    fn until_happened(&mut self, what: &str, is_it: impl Fn(&[Happening]) -> bool) {
        let begun = Instant::now();
        while !is_it(self.happened()) {
            assert!(begun.elapsed() < stage::PATIENCE, "not yet: {what}; {:?}", self.happened);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn rotations(&mut self) -> usize {
        rotated(self.happened())
    }

    /// Asks for a rotation, and waits until each of the connection's sockets has been replaced and its overlap is over.
    fn rotate(&mut self) {
        let wanted = self.rotations() + self.engine.report().connections.len();
        let handle = self.engine.handle();
        let asked = self.engine.block_on(async move { handle.rotate("one").await });
        asked.expect("it runs").expect("it may rotate");
        self.until_happened("rotated", |all| rotated(all) >= wanted);
        self.until_calm();
    }

    /// Waits until no rotation is under way.
    fn until_calm(&mut self) {
        let begun = Instant::now();
        loop {
            let handle = self.engine.handle();
            let status = self.engine.block_on(async move { handle.status().await }).expect("it runs");
            if !status.connections.iter().any(|connection| connection.rotation.is_running) {
                return;
            }
            assert!(begun.elapsed() < stage::PATIENCE, "still rotating: {status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks for a rotation, and waits until both sockets carry everything and have done so for a while.
    fn rotate_until_both_speak(&mut self) {
        let handle = self.engine.handle();
        self.engine.block_on(async move { handle.rotate("one").await }).expect("it runs").expect("it may rotate");
        let (exchange, venue) = (&self.exchange, self.venue);
        until(&self.runtime, "two sockets, subscribed", || {
            let views = exchange.subscriptions(venue);
            if views.len() == 2 && views[0] == views[1] { Ok(()) } else { Err(format!("{views:?}")) }
        });
        let repeated = |stage: &Self| stage.engine.report().connections.iter().map(|one| one.repeated).sum::<u64>();
        let before = repeated(self);
        until(&self.runtime, "both speak", || {
            let more = repeated(self) - before;
            if more > 500 { Ok(()) } else { Err(format!("{more} repeated")) }
        });
    }

    /// Resets one connection, counted from 1 as the exchange accepted them; the delays stay.
    fn reset(&self, number: u64) {
        let faults = format!("leg-skew=0..20ms,reset-every=1ms#{number}");
        self.exchange.set_faults(&Faults::parse(&faults, 3).unwrap());
    }

    /// Stands the tape still and waits until the ledger has every symbol's last trade.
    fn drained(&mut self) {
        self.exchange.pause_tape(true);
        let known = self.engine.symbols();
        until(&self.runtime, "the last trade of every symbol", || {
            let ledger = self.ledger.lock().unwrap();
            for name in &self.symbols {
                let tape = self.exchange.tape(self.venue, name).unwrap();
                let last = read(&tape.trade_id(tape.last_trade).unwrap());
                let spec = known.iter().find(|spec| &*spec.name == name.as_str()).unwrap();
                let seen = &ledger[&spec.symbol.index()];
                // In an overlap the faster leg decides; the last few may come in another order.
                if !seen.trades.iter().rev().take(2_000).any(|&id| id == last) {
                    return Err(format!("{name}: {} trades", seen.trades.len()));
                }
            }
            Ok(())
        });
        // The other leg may still be telling what is known: it must change nothing.
        std::thread::sleep(Duration::from_millis(50));
    }

    /// Compares the ledger with the tape.
    fn assert_whole(&mut self) {
        self.drained();
        let ledger = self.ledger.lock().unwrap();
        for spec in self.engine.symbols().iter().filter(|spec| self.symbols.iter().any(|name| name == &*spec.name)) {
            let (venue, seen) = (self.venue, &ledger[&spec.symbol.index()]);
            let tape = self.exchange.tape(venue, &spec.name).unwrap();
            let numbers: HashMap<TradeId, u64> = (tape.first_trade..=tape.last_trade)
                .map(|number| (read(&tape.trade_id(number).unwrap()), number))
                .collect();
            let mut heard: Vec<u64> = seen.trades.iter().map(|id| numbers[id]).collect();
            heard.sort_unstable();
            let count = heard.len();
            heard.dedup();
            assert_eq!(heard.len(), count, "{venue} {}: none is repeated", spec.name);
            let span = heard[count - 1] - heard[0] + 1;
            assert_eq!(heard[count - 1], tape.last_trade, "{venue} {}: up to the last", spec.name);
            assert_eq!(span, count as u64, "{venue} {}: none is lost", spec.name);
            assert_eq!(seen.gaps, Vec::<String>::new(), "{venue} {}: the book chains", spec.name);
            assert_eq!(seen.quotes_back, 0, "{venue} {}: quotes never go back", spec.name);
            assert!(seen.quotes > 0 && seen.books > 0 && seen.others > 0, "{venue} {}: every channel spoke", spec.name);
        }
    }
}

fn rotated(all: &[Happening]) -> usize {
    all.iter().filter(|what| matches!(what, Happening::Rotated { .. })).count()
}

/// What the counters and the events say after `rotations` hand-overs.
fn assert_counted(stage: &mut Stage, rotations: usize) {
    let happened = stage.happened().to_vec();
    assert_eq!(rotated(&happened), rotations, "{happened:?}");
    let is_joined = |what: &Happening| !matches!(what, Happening::Rotated { unjoined: 1.., .. });
    assert!(happened.iter().all(is_joined), "{happened:?}");
    assert!(!happened.iter().any(|what| matches!(what, Happening::Disconnected { .. })), "{happened:?}");
    let report = stage.engine.report();
    let sum = |of: fn(&tickwire::telemetry::ConnectionReport) -> u64| report.connections.iter().map(of).sum::<u64>();
    assert!(sum(|one| one.repeated) > 0, "what both brought was told apart: {}", report.to_json());
    let bad = (sum(|one| one.window_evictions), sum(|one| one.reconnects), sum(|one| one.unparsed));
    assert_eq!(bad, (0, 0, 0), "{}", report.to_json());
}

/// Three hand-overs in a row, asked for.
fn rotate_in_a_row(venue: Venue) {
    let mut stage = Stage::new(venue, 2_000.0, "leg-skew=0..20ms", |_| {});
    let sockets = stage.engine.report().connections.len();
    for _ in 0..3 {
        stage.rotate();
    }
    stage.assert_whole();
    assert_counted(&mut stage, 3 * sockets);
}

#[test]
fn binance_spot_rotated_three_times_loses_and_repeats_nothing() {
    rotate_in_a_row(Venue::BinanceSpot);
}

#[test]
fn usdm_rotated_three_times_loses_and_repeats_nothing() {
    rotate_in_a_row(Venue::BinanceUsdm);
}

#[test]
fn bybit_spot_rotated_three_times_loses_and_repeats_nothing() {
    rotate_in_a_row(Venue::BybitSpot);
}

#[test]
fn bybit_linear_rotated_three_times_loses_and_repeats_nothing() {
    rotate_in_a_row(Venue::BybitLinear);
}

#[test]
fn a_connection_of_age_and_one_with_notice_are_rotated_by_themselves() {
    let aged = |connection: &mut ConnectionConfig| connection.rotation.after = Some(Duration::from_secs(2));
    let mut stage = Stage::new(Venue::BinanceSpot, 2_000.0, "leg-skew=0..20ms", aged);
    stage.until_happened("two by age", |all| rotated(all) >= 2);
    stage.assert_whole();
    drop(stage);
    let mut stage = Stage::new(Venue::BinanceSpot, 2_000.0, "leg-skew=0..20ms", |_| {});
    stage.exchange.kill_connections(Venue::BinanceSpot, Kill::Notice);
    stage.until_happened("by notice", |all| rotated(all) == 1);
    stage.assert_whole();
    assert_counted(&mut stage, 1);
}

#[test]
fn twenty_thousand_messages_a_second_on_each_of_two_connections_lose_and_repeat_nothing() {
    let mut stage = Stage::new(Venue::BinanceSpot, 20_000.0, "leg-skew=0..20ms", |connection| {
        connection.rotation.overlap = Duration::from_secs(1);
    });
    let frames = |stage: &Stage| stage.engine.report().connections.iter().map(|one| one.frames).sum::<u64>();
    stage.rotate_until_both_speak();
    let (before, begun) = (frames(&stage), Instant::now());
    stage.until_happened("rotated", |all| rotated(all) == 1);
    let rate = (frames(&stage) - before) as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{rate:.0} messages a second on two connections during the overlap, as the engine counts frames");
    stage.assert_whole();
    assert_counted(&mut stage, 1);
}

#[test]
fn an_old_socket_lost_in_the_overlap_takes_nothing_with_it() {
    for venue in [Venue::BinanceSpot, Venue::BybitSpot, Venue::BybitLinear] {
        let mut stage = Stage::new(venue, 2_000.0, "leg-skew=0..20ms", |connection| {
            connection.rotation.overlap = Duration::from_secs(5);
        });
        stage.rotate_until_both_speak();
        stage.reset(1);
        stage.until_happened("the successor took over", |all| rotated(all) == 1);
        stage.until_calm();
        stage.assert_whole();
        assert_eq!(stage.exchange.subscriptions(venue).len(), 1, "{venue}");
    }
}

#[test]
fn a_successor_lost_in_the_overlap_leaves_the_old_socket_whole_and_its_books_begin_afresh() {
    for venue in [Venue::BinanceSpot, Venue::BybitSpot, Venue::BybitLinear] {
        let mut stage = Stage::new(venue, 2_000.0, "leg-skew=0..20ms", |connection| {
            connection.rotation.overlap = Duration::from_secs(5);
        });
        let snapshots = |stage: &Stage| stage.ledger.lock().unwrap().values().map(|seen| seen.snapshots).sum::<u64>();
        stage.rotate_until_both_speak();
        let before = snapshots(&stage);
        stage.reset(2);
        stage.until_happened("it came to nothing", |all| {
            all.iter().any(|what| matches!(what, Happening::NotRotated { .. }))
        });
        stage.until_calm();
        if venue != Venue::BinanceSpot {
            let begun = Instant::now();
            while snapshots(&stage) < before + u64::from(SYMBOLS) {
                assert!(begun.elapsed() < stage::PATIENCE, "{venue}: {} snapshots", snapshots(&stage) - before);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        stage.assert_whole();
        assert_eq!(rotated(stage.happened()), 0, "{venue}");
        // The next one is made as if nothing had been.
        stage.exchange.pause_tape(false);
        stage.rotate();
        stage.assert_whole();
    }
}
