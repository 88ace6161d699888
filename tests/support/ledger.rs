//! A strategy's own ledger beside the exchange's tape: what of the truth came, how often, and in which order.
//!
//! ```text
//! tape (the truth) ──► leg A, skewed ──►┐
//!                 └──► leg B, skewed ──►┴─ Engine ──► ledger == the tape's trade ids, books that chain, quotes that rise
//! ```
//! Each connection of the embedded exchange is told the same trades at its own moments (`leg-skew`) and batches Binance's
//! depth for itself, so the legs really differ.

#![allow(dead_code, reason = "each program of tests uses what it needs of it")]

#[path = "stage.rs"]
pub(crate) mod stage;

use stage::{config, runtime, until};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tickwire::market::{BookKind, TradeId, Uuid};
use tickwire::prelude::*;
use tickwire::sim::{self, Faults, SimHandle, SimOptions, Source};
use tickwire::telemetry::{ControlEvent, Happening};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

pub(crate) const SYMBOLS: u32 = 5;

/// What the strategy saw of one symbol.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) trades: Vec<TradeId>,
    pub(crate) quotes: u64,
    pub(crate) last_quote: u64,
    pub(crate) quotes_back: u64,
    /// The same number a second time.
    pub(crate) quotes_twice: u64,
    pub(crate) books: u64,
    pub(crate) last_book: Option<u64>,
    pub(crate) snapshots: u64,
    /// Book events that follow on nothing: what was before, and what came.
    pub(crate) gaps: Vec<String>,
    pub(crate) others: u64,
    pub(crate) kept: Kept,
}

/// What the strategy was told of the book that the engine keeps of a symbol.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) told: u64,
    is_live: bool,
    /// How far it is: Bybit's `seq`, the last id elsewhere.
    reach: u64,
    /// Times that it turned from live to anything else.
    pub(crate) stale: u64,
    /// Times that it went back while it was live.
    pub(crate) back: u64,
}

impl Kept {
    fn note(&mut self, event: &BookEvent<'_>) {
        let reach = event.view.ids.map_or(0, |ids| ids.cross.unwrap_or(ids.last));
        let is_live = event.live().is_some();
        self.told += 1;
        self.stale += u64::from(self.is_live && !is_live);
        self.back += u64::from(self.is_live && is_live && reach < self.reach);
        (self.is_live, self.reach) = (is_live, reach);
    }
}

pub(crate) type Ledger = Arc<Mutex<BTreeMap<usize, Seen>>>;

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
            seen.quotes_twice += u64::from(quote.update_id == seen.last_quote);
            seen.last_quote = quote.update_id;
        });
    });
    router.on_book_delta(spec.symbol, |keeper, book| keeper.note(book.meta.symbol, |seen| on_book(seen, book)));
    router.on_book(spec.symbol, |keeper, event| keeper.note(event.meta.symbol, |seen| seen.kept.note(event)));
    router.on_ticker(spec.symbol, |keeper, event| keeper.note(event.meta.symbol, |seen| seen.others += 1));
    router.on_kline(spec.symbol, |keeper, event| keeper.note(event.meta.symbol, |seen| seen.others += 1));
    router.on_agg_trade(spec.symbol, |keeper, event| keeper.note(event.meta.symbol, |seen| seen.others += 1));
}

/// A trade's id as the decoder reads the venue's text.
fn read(text: &str) -> TradeId {
    let is_uuid = text.len() == 36 && text.contains('-');
    match text.parse() {
        Ok(number) => TradeId::Number(number),
        Err(_) if is_uuid => TradeId::Uuid(Uuid::from_bits(u128::from_str_radix(&text.replace('-', ""), 16).unwrap())),
        Err(_) => panic!("`{text}` is no number and no UUID"),
    }
}

pub(crate) fn channels(venue: Venue) -> &'static [&'static str] {
    match venue {
        Venue::BinanceSpot | Venue::BinanceUsdm => &["trade", "bookTicker", "depth@100ms", "ticker", "kline_1m"],
        Venue::BybitSpot | Venue::BybitLinear => &["publicTrade", "orderbook.1", "orderbook.50", "tickers", "kline.1"],
    }
}

/// An exchange on a tape and an engine at it.
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) exchange: SimHandle,
    pub(crate) engine: RunningEngine,
    pub(crate) events: broadcast::Receiver<Arc<ControlEvent>>,
    pub(crate) happened: Vec<Happening>,
    pub(crate) ledger: Ledger,
    pub(crate) venue: Venue,
    pub(crate) symbols: Vec<String>,
}

impl Stage {
    pub(crate) fn new(venue: Venue, rate: f64, faults: &str, change: impl FnOnce(&mut ConnectionConfig)) -> Self {
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
    pub(crate) fn until_speaking(&mut self, sockets: usize) {
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
    pub(crate) fn happened(&mut self) -> &[Happening] {
        while let Ok(event) = self.events.try_recv() {
            self.happened.push(event.what.clone());
        }
        &self.happened
    }

    pub(crate) fn until_happened(&mut self, what: &str, is_it: impl Fn(&[Happening]) -> bool) {
        let begun = Instant::now();
        while !is_it(self.happened()) {
            assert!(begun.elapsed() < stage::PATIENCE, "not yet: {what}; {:?}", self.happened);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn rotations(&mut self) -> usize {
        rotated(self.happened())
    }

    /// Asks for a rotation, and waits until each of the connection's sockets has been replaced and its overlap is over.
    pub(crate) fn rotate(&mut self) {
        let wanted = self.rotations() + self.engine.report().connections.len();
        let handle = self.engine.handle();
        let asked = self.engine.block_on(async move { handle.rotate("one").await });
        asked.expect("it runs").expect("it may rotate");
        self.until_happened("rotated", |all| rotated(all) >= wanted);
        self.until_calm();
    }

    /// Waits until no rotation is under way.
    pub(crate) fn until_calm(&mut self) {
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
    pub(crate) fn rotate_until_both_speak(&mut self) {
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
    pub(crate) fn reset(&self, number: u64) {
        let faults = format!("leg-skew=0..20ms,reset-every=1ms#{number}");
        self.exchange.set_faults(&Faults::parse(&faults, 3).unwrap());
    }

    /// Stands the tape still and waits until the ledger has every symbol's last trade.
    pub(crate) fn drained(&mut self) {
        self.exchange.pause_tape(true);
        let known = self.engine.symbols();
        let happened = format!("{:?}", self.happened());
        until(&self.runtime, "the last trade of every symbol", || {
            for name in &self.symbols {
                // Asked before the ledger is locked: it takes a while, and whoever notes a trade waits for the ledger.
                let tape = self.exchange.tape(self.venue, name).unwrap();
                let last = read(&tape.trade_id(tape.last_trade).unwrap());
                let spec = known.iter().find(|spec| &*spec.name == name.as_str()).unwrap();
                let ledger = self.ledger.lock().unwrap();
                let seen = &ledger[&spec.symbol.index()];
                // In an overlap the faster leg decides; the last few may come in another order.
                if !seen.trades.iter().rev().take(2_000).any(|&id| id == last) {
                    let (venue, report, views) =
                        (self.venue, self.engine.report().to_json(), self.exchange.subscriptions(self.venue));
                    return Err(format!(
                        "{venue} {name}: {} trades, the last {:?}, not {last:?}; {report}; {views:?}; before: {happened}",
                        seen.trades.len(),
                        seen.trades.last(),
                    ));
                }
            }
            Ok(())
        });
        // The other leg may still be telling what is known: it must change nothing.
        std::thread::sleep(Duration::from_millis(50));
    }

    /// Compares the ledger with the tape.
    pub(crate) fn assert_whole(&mut self) {
        self.drained();
        // A copy: whoever notes an event waits for the ledger.
        let ledger = self.ledger.lock().unwrap().clone();
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
            assert_eq!(seen.kept.back, 0, "{venue} {}: a live book never goes back", spec.name);
            assert_eq!(seen.quotes_back, 0, "{venue} {}: quotes never go back", spec.name);
            assert!(seen.quotes > 0 && seen.books > 0 && seen.others > 0, "{venue} {}: every channel spoke", spec.name);
        }
    }
}

pub(crate) fn rotated(all: &[Happening]) -> usize {
    all.iter().filter(|what| matches!(what, Happening::Rotated { .. })).count()
}

/// What the counters and the events say after `rotations` hand-overs.
pub(crate) fn assert_counted(stage: &mut Stage, rotations: usize) {
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
