//! The truth about gaps, by the strategy's own ledger: what is missing is told where it is missing, and comes refilled, once.
//!
//! ```text
//! tape (the truth) ──► ws, cut or lossy ──► Engine ──► ledger: 104 105 │Gap 106..108│ 109 106r 110 107r 108r ...
//!                 └──► REST, by id ───────────┘                └──► sorted: every id of the tape, once
//! ```

#[path = "support/stage.rs"]
mod stage;

use stage::{config, next_event, runtime, until};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tickwire::market::{StreamKind, TradeId};
use tickwire::prelude::*;
use tickwire::sim::{self, Faults, Kill, SimHandle, SimOptions, Source};
use tickwire::telemetry::{ConnectionReport, Happening};
use tokio::runtime::Runtime;

const SPOT: Venue = Venue::BinanceSpot;
const USDM: Venue = Venue::BinanceUsdm;
const SYMBOLS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Live(TradeId),
    Refilled(TradeId),
    Told(Gap),
}

type Ledger = Arc<Mutex<BTreeMap<usize, Vec<Entry>>>>;

struct Keeper(Ledger);

impl Keeper {
    fn note(&self, symbol: Symbol, entry: Entry) {
        self.0.lock().unwrap().entry(symbol.index()).or_default().push(entry);
    }
}

fn on_symbol(_: &mut Keeper, router: &mut Router<Keeper>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |keeper, trade| {
        let entry = if trade.is_refilled { Entry::Refilled(trade.id) } else { Entry::Live(trade.id) };
        keeper.note(trade.meta.symbol, entry);
    });
    router.on_agg_trade(spec.symbol, |keeper, trade| {
        let id = TradeId::Number(trade.id);
        keeper.note(trade.meta.symbol, if trade.is_refilled { Entry::Refilled(id) } else { Entry::Live(id) });
    });
    router.on_gap(spec.symbol, |keeper, gap| keeper.note(gap.meta.symbol, Entry::Told(*gap)));
}

struct Stage {
    runtime: Runtime,
    exchange: SimHandle,
    engine: RunningEngine,
    ledger: Ledger,
    venue: Venue,
}

impl Stage {
    fn new(venue: Venue, channels: &[&str], faults: &str, change: impl FnOnce(&mut ConnectionConfig)) -> Self {
        let runtime = runtime();
        let options = SimOptions {
            venues: vec![venue],
            source: Source::Synthetic { seed: 5, rate: 1_500.0, symbols: u32::try_from(SYMBOLS).unwrap() },
            faults: Faults::parse(faults, 3).unwrap(),
            is_tape: true,
            ..SimOptions::default()
        };
        let exchange = runtime.block_on(sim::start(options)).unwrap();
        let symbols = exchange.symbols(venue);
        let names: Vec<&str> = symbols.iter().map(String::as_str).collect();
        let mut connection = ConnectionConfig::new("one", venue).subscribed_to(&names, channels).unwrap();
        connection.rotation.overlap = Duration::from_millis(500);
        connection.rotation.jitter = Duration::ZERO;
        connection.reconnect.base = Duration::from_millis(50);
        connection.reconnect.cap = Duration::from_millis(100);
        change(&mut connection);
        let ledger = Ledger::default();
        let of_strategy = Arc::clone(&ledger);
        let engine = Engine::builder(config(vec![connection], exchange.endpoints()))
            .strategy("ledger", move || Strategy { state: Keeper(Arc::clone(&of_strategy)), on_symbol })
            .start()
            .unwrap();
        let stage = Self { runtime, exchange, engine, ledger, venue };
        stage.until_more(20);
        stage
    }

    fn report(&self) -> ConnectionReport {
        self.engine.report().connections.remove(0)
    }

    /// Waits until every symbol has so many more live trades.
    fn until_more(&self, more: usize) {
        let count = || -> Vec<usize> {
            let ledger = self.ledger.lock().unwrap();
            ledger
                .values()
                .map(|entries| entries.iter().filter(|entry| matches!(entry, Entry::Live(_))).count())
                .collect()
        };
        let before: usize = if count().len() < SYMBOLS { 0 } else { count().into_iter().max().unwrap_or(0) };
        until(&self.runtime, "trades of every symbol", || {
            let now = count();
            let is_so = now.len() == SYMBOLS && now.iter().all(|&now| now >= before + more);
            if is_so { Ok(()) } else { Err(format!("{before} and then {now:?}: {:?}", self.report())) }
        });
    }

    /// Cuts the connection, and waits until it speaks again.
    fn cut(&self) {
        let reconnects = self.report().reconnects;
        self.exchange.kill_connections(self.venue, Kill::Reset);
        until(&self.runtime, "it is connected again", || {
            let report = self.report();
            let is_so = report.reconnects > reconnects && report.is_ready();
            if is_so { Ok(()) } else { Err(format!("{report:?}")) }
        });
        self.until_more(20);
    }

    /// Waits until every missing id is refilled, late, or counted as not refilled.
    fn until_settled(&self) -> ConnectionReport {
        until(&self.runtime, "every refill is answered", || {
            let report = self.report();
            let not: u64 = report.ids_not_refilled.values().sum();
            let is_so = report.ids_refilled + report.ids_late + not == report.ids_missing;
            if is_so { Ok(report) } else { Err(format!("{report:?}")) }
        })
    }

    /// Each symbol's entries, once the tape has stood still and its last trade has come.
    fn drained(&self) -> Vec<Vec<Entry>> {
        self.exchange.pause_tape(true);
        // A core that has to wait for its CPU says nothing for a while, and goes on.
        let (mut before, mut looks) = (0, 0);
        until(&self.runtime, "nothing more comes", || {
            let events = self.report().events;
            looks = if std::mem::replace(&mut before, events) == events { looks + 1 } else { 0 };
            if looks == 20 { Ok(()) } else { Err(format!("{events} events")) }
        });
        self.until_settled();
        let ledger = self.ledger.lock().unwrap();
        ledger.values().cloned().collect()
    }
}

fn number(id: TradeId) -> u64 {
    let TradeId::Number(number) = id else { panic!("{id:?}") };
    number
}

fn gaps(entries: &[Entry]) -> Vec<Gap> {
    entries.iter().filter_map(|entry| if let Entry::Told(gap) = entry { Some(*gap) } else { None }).collect()
}

/// Every id from the first to the last once, live or refilled; and each marker stands where it says, before what refills it.
fn assert_whole(entries: &[Entry]) -> u64 {
    let mut ids: Vec<u64> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Live(id) | Entry::Refilled(id) => Some(number(*id)),
            Entry::Told(_) => None,
        })
        .collect();
    ids.sort_unstable();
    for pair in ids.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "each id once, none left out");
    }
    assert_markers(entries);
    entries.iter().filter(|entry| matches!(entry, Entry::Refilled(_))).count() as u64
}

/// Each marker has the true ids, and every refilled trade lies in the hole of one before it.
fn assert_markers(entries: &[Entry]) {
    let (mut last, mut holes): (Option<u64>, Vec<(u64, u64)>) = (None, Vec::new());
    let mut expected_next = None;
    for entry in entries {
        match entry {
            Entry::Live(id) => {
                let id = number(*id);
                assert!(expected_next.take().is_none_or(|next| next == id), "the marker stands before {id}");
                assert!(last.is_none_or(|last| id > last), "live ids rise");
                last = Some(id);
            }
            Entry::Told(gap) => {
                let (before, after) = (number(gap.before.unwrap()), number(gap.after.unwrap()));
                assert_eq!(Some(before), last, "{gap:?}");
                assert_eq!(gap.missing, Some(after - before - 1), "{gap:?}");
                assert!(gap.meta.received != Received::default());
                holes.push((before, after));
                expected_next = Some(after);
            }
            Entry::Refilled(id) => {
                let id = number(*id);
                assert!(holes.iter().any(|&(before, after)| before < id && id < after), "{id} was not told of");
            }
        }
    }
}

#[test]
fn a_cut_connection_leaves_one_marker_a_symbol_and_the_refill_makes_the_ledger_whole() {
    for (venue, channel, stream_kind) in [
        (SPOT, "trade", StreamKind::TRADE),
        (SPOT, "aggTrade", StreamKind::AGG_TRADE),
        (USDM, "aggTrade", StreamKind::AGG_TRADE),
    ] {
        let stage = Stage::new(venue, &[channel], "", |_| {});
        stage.cut();
        let ledger = stage.drained();
        let report = stage.report();
        let mut refilled = 0;
        for entries in &ledger {
            let gaps = gaps(entries);
            assert_eq!(gaps.len(), 1, "{venue} {channel}: {gaps:?}");
            assert_eq!((gaps[0].reason, gaps[0].stream_kind), (GapReason::ConnectionLost, stream_kind));
            // The reconnect waits for half of 50 ms and more.
            assert!(gaps[0].outage_ns > 20_000_000, "{:?}", gaps[0]);
            refilled += assert_whole(entries);
        }
        assert!(refilled > 0);
        assert_eq!((report.ids_missing, report.ids_refilled, report.ids_late), (refilled, refilled, 0), "{report:?}");
        assert_eq!(report.gaps, BTreeMap::from([("connection_lost".to_owned(), SYMBOLS as u64)]));
        assert!(report.ids_not_refilled.is_empty());
        let of_sim = stage.runtime.block_on(stage.exchange.stop());
        assert!(of_sim.venue(venue).unwrap().limit_violations.values().all(|&count| count == 0), "{of_sim:?}");
    }
}

#[test]
fn a_message_that_is_left_out_on_a_standing_connection_is_found_and_refilled() {
    let stage = Stage::new(SPOT, &["trade"], "lose-every=40", |_| {});
    stage.until_more(200);
    stage.exchange.set_faults(&Faults::default());
    stage.until_more(20);
    let ledger = stage.drained();
    let report = stage.report();
    let mut refilled = 0;
    for entries in &ledger {
        assert!(gaps(entries).iter().all(|gap| gap.reason == GapReason::IdJump));
        refilled += assert_whole(entries);
    }
    assert_eq!((report.reconnects, report.ids_missing, report.ids_refilled), (0, refilled, refilled), "{report:?}");
    assert!(refilled >= 10, "{refilled}");
}

#[test]
fn a_refused_refill_is_counted_with_its_reason_and_told_and_live_trades_go_on() {
    for (fault, reasons) in [("rest-400", &["refused"][..]), ("rest-429=600s", &["rate_limited", "held_off"])] {
        let stage = Stage::new(SPOT, &["trade"], "", |_| {});
        let mut events = stage.engine.handle().events();
        stage.exchange.set_faults(&Faults::parse(fault, 3).unwrap());
        stage.cut();
        let told = next_event(&stage.runtime, &mut events, "the refill is told of", |what| match what {
            Happening::Refilled { fetched, not_refilled, .. } => Some((*fetched, not_refilled.clone())),
            _ => None,
        });
        assert!(told.0 == 0 && told.1.contains(reasons[0]), "{told:?}");
        let report = stage.until_settled();
        assert_eq!(report.ids_refilled, 0);
        assert_eq!(
            report.ids_not_refilled.keys().collect::<std::collections::BTreeSet<_>>(),
            reasons.iter().map(|why| (*why).to_owned()).collect::<std::collections::BTreeSet<_>>().iter().collect()
        );
        for entries in stage.drained() {
            assert_eq!(gaps(&entries).len(), 1);
            assert_markers(&entries);
            assert!(!entries.iter().any(|entry| matches!(entry, Entry::Refilled(_))));
        }
    }
}

#[test]
fn of_a_hole_no_more_is_fetched_than_the_configuration_allows() {
    for (trades_max, reason) in [(0, "off"), (3, "too_many")] {
        let stage = Stage::new(SPOT, &["trade"], "", |connection| connection.refill_trades_max = trades_max);
        stage.cut();
        let ledger = stage.drained();
        let report = stage.report();
        let missing: u64 = ledger.iter().flat_map(|entries| gaps(entries)).map(|gap| gap.missing.unwrap()).sum();
        let not_refilled: u64 = report.ids_not_refilled.values().sum();
        assert_eq!(report.ids_not_refilled.keys().collect::<Vec<_>>(), [reason]);
        assert_eq!((report.ids_missing, report.ids_refilled), (missing, missing - not_refilled));
        for entries in &ledger {
            assert_markers(entries);
            let gap = gaps(entries)[0];
            let refilled: Vec<u64> = entries
                .iter()
                .filter_map(|entry| if let Entry::Refilled(id) = entry { Some(number(*id)) } else { None })
                .collect();
            let after = number(gap.after.unwrap());
            let expected: Vec<u64> = (after - u64::from(trades_max).min(gap.missing.unwrap())..after).collect();
            assert_eq!(refilled, expected, "the last of it");
        }
    }
}

#[test]
fn every_stream_of_every_venue_is_marked_after_an_outage_and_what_is_unknown_is_not_made_up() {
    for (venue, channels, streams) in [
        (SPOT, &["trade", "bookTicker", "ticker"][..], [StreamKind::TRADE, StreamKind::QUOTE, StreamKind::TICKER]),
        (
            Venue::BybitSpot,
            &["publicTrade", "orderbook.1", "tickers"],
            [StreamKind::TRADE, StreamKind::QUOTE, StreamKind::TICKER],
        ),
        (
            Venue::BybitLinear,
            &["publicTrade", "orderbook.50", "tickers"],
            [StreamKind::TRADE, StreamKind::of_depth(50), StreamKind::TICKER],
        ),
    ] {
        let stage = Stage::new(venue, channels, "", |_| {});
        let spoken = |stage: &Stage| stage.report().events;
        let before = spoken(&stage);
        until(&stage.runtime, "more of everything", || {
            if spoken(&stage) > before + 1_000 { Ok(()) } else { Err(String::new()) }
        });
        stage.cut();
        until(&stage.runtime, "a marker of every stream", || {
            let ledger = stage.ledger.lock().unwrap();
            let told = |stream_kind: StreamKind| {
                ledger.values().all(|entries| gaps(entries).iter().any(|gap| gap.stream_kind == stream_kind))
            };
            if streams.into_iter().all(told) { Ok(()) } else { Err(format!("{:?}", stage.report())) }
        });
        for entries in stage.ledger.lock().unwrap().values() {
            for gap in gaps(entries) {
                let context = format!("{venue}: {gap:?}");
                assert_eq!(gap.reason, GapReason::ConnectionLost, "{context}");
                assert_eq!(gap.missing.is_some(), venue == SPOT && gap.stream_kind == StreamKind::TRADE, "{context}");
                assert_eq!(gap.before.is_some(), gap.stream_kind == StreamKind::TRADE, "{context}");
                assert_eq!(gap.after.is_some(), gap.stream_kind != StreamKind::TICKER, "{context}");
                assert!(gap.outage_ns > 0, "{context}");
            }
            let kinds: Vec<StreamKind> = gaps(entries).iter().map(|gap| gap.stream_kind).collect();
            assert_eq!(kinds.len(), 3, "one each: {kinds:?}");
        }
    }
}

#[test]
fn a_rotation_leaves_no_marker_although_its_sockets_lag_each_other() {
    let stage = Stage::new(SPOT, &["trade", "aggTrade"], "leg-skew=0..20ms", |_| {});
    let rotations = stage.report().rotations;
    let handle = stage.engine.handle();
    stage.engine.block_on(async move { handle.rotate("one").await }).expect("it runs").expect("it may rotate");
    until(&stage.runtime, "rotated", || {
        let report = stage.report();
        if report.rotations > rotations { Ok(()) } else { Err(format!("{report:?}")) }
    });
    stage.until_more(50);
    let report = stage.report();
    assert!(report.repeated > 0, "both spoke");
    assert_eq!(
        (report.gaps.len(), report.ids_missing, report.ids_refilled, report.ids_back),
        (0, 0, 0, 0),
        "{report:?}"
    );
}
