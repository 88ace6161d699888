//! Hot cores that share nothing, and lanes beside them, on the whole engine over real sockets.
//!
//! ```text
//! sim, or a server by script ── ws ──► hot core ─► its own handlers ─► a list    both lists agree, event by event
//!                                              └─► lanes ────────────► a list
//! ```

#[expect(dead_code, reason = "reports are waited for here, by the other module")]
#[path = "support/stage.rs"]
mod stage;
mod venue_server;

use stage::{config, next_event, runtime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tickwire::config::{CoreConfig, EndpointOverrides, EngineConfig, LaneBy, LaneConfig};
use tickwire::engine::{EngineError, available_cpus};
use tickwire::hot::lanes::{LaneIdle, Policy};
use tickwire::prelude::*;
use tickwire::sim::{self, SimHandle, SimOptions, Source};
use tickwire::telemetry::{FailureKind, Happening, LaneReport, Report};
use tokio::runtime::Runtime;
use venue_server::{Session, VenueServer, until};

/// What a handler was given: the thread it ran on, kind, symbol, and a number that tells the event from others.
type Seen = (String, EventKind, Symbol, u64);

/// The state of every strategy here: where its handlers tell what they were given.
struct Tells(Sender<Seen>);

fn tell(tells: &Tells, kind: EventKind, symbol: Symbol, number: u64) {
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    // A test that has seen enough listens no more.
    let _ = tells.0.send((thread, kind, symbol, number));
}

fn on_trade(tells: &mut Tells, trade: &Trade) {
    let number = match trade.id {
        TradeId::Number(id) | TradeId::Hash(id) => id,
        TradeId::Uuid(id) => id
            .bits()
            .to_ne_bytes()
            .chunks(8)
            .fold(0, |sum, half| sum ^ u64::from_ne_bytes(half.try_into().expect("eight bytes"))),
    };
    tell(tells, EventKind::Trade, trade.meta.symbol, number);
}

fn on_quote(tells: &mut Tells, quote: &Quote) {
    tell(tells, EventKind::Quote, quote.meta.symbol, quote.update_id);
}

/// A number of all that a book says, so that a level that was lost or mixed up shows.
fn on_book(tells: &mut Tells, book: &BookUpdate<'_>) {
    let levels = book.bids.iter().chain(book.asks);
    let mixed = levels.fold(book.ids.last, |mixed, level| {
        let words = [level.price.mantissa().cast_unsigned(), level.qty.mantissa().cast_unsigned()];
        words.into_iter().fold(mixed, |mixed, word| mixed.rotate_left(7) ^ word)
    });
    tell(tells, EventKind::Book, book.meta.symbol, mixed.rotate_left(u32::try_from(book.bids.len()).unwrap()));
}

fn on_symbol(_: &mut Tells, router: &mut Router<Tells>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, on_trade);
    router.on_quote(spec.symbol, on_quote);
    router.on_book_delta(spec.symbol, on_book);
}

/// A strategy's `make` whose states all tell the same receiver.
fn telling(sender: Sender<Seen>) -> impl Fn() -> Strategy<Tells> + Send + Sync + 'static {
    let sender = Mutex::new(sender);
    move || Strategy { state: Tells(sender.lock().unwrap().clone()), on_symbol }
}

/// All that was told, in order, by thread.
fn by_thread(told: &Receiver<Seen>) -> BTreeMap<String, Vec<(EventKind, Symbol, u64)>> {
    let mut by_thread = BTreeMap::<String, Vec<_>>::new();
    for (thread, kind, symbol, number) in told.try_iter() {
        by_thread.entry(thread).or_default().push((kind, symbol, number));
    }
    by_thread
}

fn exchange(runtime: &Runtime, venues: &[Venue]) -> SimHandle {
    let source = Source::Synthetic { seed: 11, rate: 2_000.0, symbols: 6 };
    runtime.block_on(sim::start(SimOptions { venues: venues.to_vec(), source, ..SimOptions::default() })).unwrap()
}

fn connection(name: &str, venue: Venue, symbols: &[String], channels: &[&str]) -> ConnectionConfig {
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    ConnectionConfig::new(name, venue).subscribed_to(&symbols, channels).unwrap()
}

fn ended(engine: RunningEngine) -> Report {
    let report = engine.stop();
    assert!(report.failure.is_none(), "{}", report.to_json());
    report
}

fn adds_up(lane: &LaneReport) -> bool {
    lane.sent == lane.delivered + lane.lost() + lane.waiting
}

// ---------------------------------------------------------------------------------------------- many cores

#[test]
fn symbols_spread_over_two_cores_are_seen_by_the_state_of_their_own_core_alone_each_in_order() {
    let cpus = available_cpus();
    let &[first, second, ..] = cpus.as_slice() else {
        eprintln!("skipped: this machine gives {} CPU, two are needed", cpus.len());
        return;
    };
    let runtime = runtime();
    let venues = [Venue::BinanceSpot, Venue::BybitLinear];
    let exchange = exchange(&runtime, &venues);
    let (mut connections, mut core_of) = (Vec::new(), BTreeMap::new());
    for (venue, channels) in venues.into_iter().zip([["trade", "bookTicker"], ["publicTrade", "orderbook.1"]]) {
        let symbols = exchange.symbols(venue);
        let halves = symbols.split_at(symbols.len() / 2);
        for (core, half) in [(first, halves.0), (second, halves.1)] {
            core_of.extend(half.iter().map(|name| ((venue, name.clone()), core)));
            let name = format!("{}-{core}", venue.name());
            connections.push(ConnectionConfig { core, ..connection(&name, venue, half, &channels) });
        }
    }
    let cores = vec![CoreConfig::new(first), CoreConfig::new(second)];
    // Each core has a lane of its own, too: what a lane gets is its core's.
    let lanes =
        [first, second].map(|cpu| LaneConfig { policy: Policy::Block, ..LaneConfig::new(&format!("of-{cpu}"), cpu) });
    let engine = EngineConfig { cores, lanes: lanes.to_vec(), ..EngineConfig::default() };
    let mut config = Config::from_parts(connections, engine).unwrap();
    let endpoints = serde_json::to_string(exchange.endpoints()).unwrap();
    config.point_at(&EndpointOverrides::parse(&endpoints).unwrap()).unwrap();
    let (sender, told) = channel();
    let engine = Engine::builder(config).strategy("tells", telling(sender)).start().unwrap();
    until(&engine, "events of every connection", |report| {
        report.connections.len() == 4 && report.connections.iter().all(|connection| connection.events > 500)
    });
    let specs = engine.symbols();
    let report = ended(engine);
    let seen = by_thread(&told);
    let threads: Vec<&str> = seen.keys().map(String::as_str).collect();
    let mut expected: Vec<String> = [first, second].iter().map(|cpu| format!("hot-{cpu}")).collect();
    expected.extend([first, second].iter().map(|cpu| format!("lane-of-{cpu}-0")));
    expected.sort();
    assert_eq!(threads, expected);
    for cpu in [first, second] {
        let hot = &seen[&format!("hot-{cpu}")];
        let of_lane = &seen[&format!("lane-of-{cpu}-0")];
        assert!(hot.starts_with(of_lane), "the core's own lane has what the core has, in its order");
        let lane = report.lanes.iter().find(|lane| lane.core == cpu).expect("one a core");
        assert_eq!(of_lane.len() as u64 + lane.waiting, hot.len() as u64, "but for what was left: {lane:?}");
        let symbols: BTreeSet<usize> = hot.iter().map(|(_, symbol, _)| symbol.index()).collect();
        let of_core = specs.iter().filter(|spec| core_of[&(spec.venue, spec.name.to_string())] == cpu);
        assert_eq!(
            symbols,
            of_core.map(|spec| spec.symbol.index()).collect(),
            "every symbol of the core, and no other"
        );
        // Binance numbers trades by symbol: each stream is in order.
        for spec in specs.iter().filter(|spec| spec.venue == Venue::BinanceSpot) {
            let trades = hot.iter().filter(|(kind, symbol, _)| (*kind, *symbol) == (EventKind::Trade, spec.symbol));
            assert!(trades.map(|(_, _, id)| id).is_sorted_by(|one, next| one < next), "{}", spec.name);
        }
    }
    let events: u64 = report.connections.iter().map(|connection| connection.events).sum();
    let hot: usize = [first, second].iter().map(|cpu| seen[&format!("hot-{cpu}")].len()).sum();
    assert_eq!(hot as u64, events, "every event once, on one core");
    runtime.block_on(exchange.stop());
}

// ---------------------------------------------------------------------------------------------- lanes

/// Which lane of two has an event: trades and books by symbol, quotes all in the second.
fn own_partition(kind: EventKind, symbol: Symbol) -> usize {
    if kind == EventKind::Quote { 1 } else { symbol.index() }
}

#[test]
fn lanes_of_every_partition_get_each_event_of_their_core_once_and_in_its_order() {
    let runtime = runtime();
    let exchange = exchange(&runtime, &[Venue::BinanceSpot]);
    let symbols = exchange.symbols(Venue::BinanceSpot);
    let channels = ["trade", "bookTicker", "depth@100ms", "depth20@100ms"];
    let mut config = config(vec![connection("one", Venue::BinanceSpot, &symbols, &channels)], exchange.endpoints());
    let lane = |name: &str, threads, by| LaneConfig {
        threads,
        by,
        policy: Policy::Block,
        levels: 2_000,
        ..LaneConfig::new(name, config.engine.cores[0].cpu)
    };
    let lanes = [
        lane("whole", 1, LaneBy::Symbol),
        lane("symbols", 3, LaneBy::Symbol),
        lane("kinds", 3, LaneBy::Kind),
        lane("own", 2, LaneBy::Kind),
    ];
    let idles = [LaneIdle::Yield, LaneIdle::Sleep(Duration::from_micros(50))].into_iter().cycle();
    config.engine.lanes = lanes.into_iter().zip(idles).map(|(lane, idle)| LaneConfig { idle, ..lane }).collect();
    let (sender, told) = channel();
    let engine = Engine::builder(config)
        .lane_partition("own", own_partition)
        .strategy("tells", telling(sender))
        .start()
        .unwrap();
    until(&engine, "events of every kind", |report| report.events() > 5_000);
    let report = ended(engine);
    let seen = by_thread(&told);
    let hot_name = format!("hot-{}", report.hot_threads[0].core);
    let hot = &seen[&hot_name];
    let of = |thread: &str, is_of: &dyn Fn(EventKind, Symbol) -> bool| {
        let expected: Vec<_> = hot.iter().copied().filter(|(kind, symbol, _)| is_of(*kind, *symbol)).collect();
        assert!(!expected.is_empty(), "{thread}: the market has events for it");
        let found = seen.get(&format!("lane-{thread}")).map_or(&[][..], Vec::as_slice);
        assert!(expected.starts_with(found), "{thread}: {} of the core's {}", found.len(), expected.len());
        let lane = report.lanes.iter().find(|lane| lane.lane == thread).expect("it is reported");
        assert_eq!(found.len() as u64 + lane.waiting, expected.len() as u64, "but for what was left: {lane:?}");
    };
    of("whole-0", &|_, _| true);
    for thread in 0..3 {
        of(&format!("symbols-{thread}"), &|_, symbol| symbol.index() % 3 == thread);
    }
    of("kinds-0", &|kind, _| (kind as usize).is_multiple_of(3));
    of("kinds-1", &|kind, _| kind as usize % 3 == 1);
    of("kinds-2", &|kind, _| kind as usize % 3 == 2);
    for thread in 0..2 {
        of(&format!("own-{thread}"), &|kind, symbol| own_partition(kind, symbol) % 2 == thread);
    }
    assert_eq!(report.lanes.len(), 9);
    for lane in &report.lanes {
        assert!(adds_up(lane) && lane.lost() == 0, "{lane:?}");
        assert!(lane.holds_core && lane.hop_ns.max > 0 && lane.waiting_max > 0, "{lane:?}");
    }
    let connection = &report.connections[0];
    assert_eq!((connection.unrouted, connection.unparsed, connection.reconnects), (0, 0, 0));
    runtime.block_on(exchange.stop());
}

#[test]
fn a_strategy_moves_to_a_lane_by_its_name_and_what_only_it_wants_is_routed() {
    let runtime = runtime();
    let exchange = exchange(&runtime, &[Venue::BinanceSpot]);
    let symbols = exchange.symbols(Venue::BinanceSpot);
    let channels = ["trade", "bookTicker"];
    let mut config = config(vec![connection("one", Venue::BinanceSpot, &symbols, &channels)], exchange.endpoints());
    let cpu = config.engine.cores[0].cpu;
    config.engine.cores[0].strategy = Some("quotes".to_owned());
    let lane =
        LaneConfig { strategy: Some("spread".to_owned()), policy: Policy::Block, ..LaneConfig::new("view", cpu) };
    config.engine.lanes = vec![lane];
    let quotes = || Strategy::<()> { state: (), on_symbol: |_, router, spec| router.on_quote(spec.symbol, |_, _| {}) };
    let engine = Engine::builder(config).strategy("quotes", quotes).start().unwrap();
    until(&engine, "quotes and trades", |report| report.events() > 2_000);
    let status = runtime.block_on(engine.handle().status());
    assert_eq!((status.lanes[0].report.lane.as_str(), status.lanes[0].report.strategy.as_str()), ("view-0", "spread"));
    let text = tickwire::telemetry::status_text(&status);
    assert!(text.contains("view-0") && text.contains("block"), "{text}");
    let summaries = engine.summaries();
    let report = ended(engine);
    assert_eq!(summaries.len(), 1, "the lane's, as it would be the core's");
    assert!(summaries[0].contains(&symbols[0]), "{summaries:?}");
    let (lane, connection) = (&report.lanes[0], &report.connections[0]);
    assert!(adds_up(lane) && lane.lost() == 0, "{lane:?}");
    // The spread takes no trades, and nobody else does.
    assert_eq!(connection.events - connection.unrouted, lane.sent, "{lane:?}, {connection:?}");
    runtime.block_on(exchange.stop());
}

fn trade(price: &str, id: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":{id},"p":"{price}","q":"0.00100000","T":1700000000000,"m":true,"M":true}}}}"#
    )
}

/// A server that sends `count` trades of one symbol, then waits for the engine to close.
fn trades(count: u64) -> (VenueServer, ConnectionConfig) {
    let server = VenueServer::start(move |_, session: &mut Session| {
        session.confirm_subscription();
        (0..count).for_each(|id| session.send(trade("100.00", id)));
        session.close_code();
    });
    let connection = server.connection("one", Venue::BinanceSpot, &["BTCUSDT"], &["trade"]);
    (server, connection)
}

/// A configuration whose core runs nothing and whose lanes run the strategy of the test.
fn with_lane(connection: ConnectionConfig, lane: impl FnOnce(&mut LaneConfig)) -> Config {
    let mut config = Config::from_connections(vec![connection]).unwrap();
    let mut one = LaneConfig::new("slow", config.engine.cores[0].cpu);
    lane(&mut one);
    config.engine.cores[0].strategy = Some("null".to_owned());
    config.engine.lanes = vec![one];
    config
}

fn panic_at_three(_: &mut (), trade: &Trade) {
    assert!(trade.id != TradeId::Number(3), "the id is three");
}

#[test]
fn a_lanes_handler_that_panics_is_reported_with_its_event_and_the_engine_stops_cleanly() {
    let (_server, connection) = trades(6);
    let config = with_lane(connection, |_| {});
    let make =
        || Strategy::<()> { state: (), on_symbol: |_, router, spec| router.on_trade(spec.symbol, panic_at_three) };
    let engine = Engine::builder(config).strategy("fragile", make).start().unwrap();
    until(&engine, "the failure", |report| report.failure.is_some());
    let failure = engine.failure().expect("just seen");
    assert_eq!(failure.kind, FailureKind::HandlerPanicked);
    let begins = "a handler panicked on Trade of binance-spot BTCUSDT, lane slow-0: the id is three; event: Trade { ";
    assert!(failure.message.starts_with(begins) && failure.message.contains("id: Number(3)"), "{}", failure.message);
    until(&engine, "the core goes on", |report| report.connections[0].events == 6);
    let report = engine.stop();
    assert_eq!(report.failure, Some(failure));
    let lane = &report.lanes[0];
    assert!(adds_up(lane) && lane.delivered == 3 && lane.sent == 6, "{lane:?}");
}

/// Holds its lane in a trade until the sender's end is dropped.
struct Held(Receiver<()>);

fn held(until_let_go: Receiver<()>) -> impl Fn() -> Strategy<Held> + Send + Sync + 'static {
    let until_let_go = Mutex::new(Some(until_let_go));
    move || {
        let state = Held(until_let_go.lock().unwrap().take().expect("one lane"));
        let on_symbol = |_: &mut Held, router: &mut Router<Held>, spec: &SymbolSpec| {
            router.on_trade(spec.symbol, |held: &mut Held, _| {
                let _ = held.0.recv();
            });
        };
        Strategy { state, on_symbol }
    }
}

#[test]
fn a_lane_whose_handler_overruns_is_named_with_its_event_and_again_when_it_is_over() {
    let runtime = runtime();
    let (go_in, go) = channel::<()>();
    let go = Mutex::new(go);
    let server = VenueServer::start(move |_, session| {
        session.confirm_subscription();
        let _ = go.lock().unwrap().recv();
        session.send(trade("100.00", 1));
        session.close_code();
    });
    let connection = server.connection("one", Venue::BinanceSpot, &["BTCUSDT"], &["trade"]);
    let config = with_lane(connection, |lane| lane.overrun = Duration::from_millis(60));
    let (let_go, until_let_go) = channel();
    let engine = Engine::builder(config).strategy("held", held(until_let_go)).start().unwrap();
    let mut events = engine.handle().events();
    drop(go_in);
    let mut wait = |what: &str, is_over_wanted: bool| {
        next_event(&runtime, &mut events, what, |happening| match happening {
            Happening::LaneOverrun { lane, on, cause, is_over, .. } if *is_over == is_over_wanted => {
                Some((lane.clone(), on.clone(), cause.clone()))
            }
            _ => None,
        })
    };
    let expected = ("slow-0".to_owned(), "Trade of binance-spot BTCUSDT".to_owned(), "blocked".to_owned());
    assert_eq!(wait("an overrun", false), expected);
    drop(let_go);
    assert_eq!(wait("its end", true), expected);
    let status = runtime.block_on(engine.handle().status());
    assert!(status.lanes[0].overruns >= 1 && status.lanes[0].overrun_ms_max >= 60, "{status:?}");
    assert_eq!(status.cores[0].overruns, 0, "the core was not held up");
    ended(engine);
}

#[test]
fn what_a_lane_cannot_deliver_when_the_engine_stops_is_reported_as_left_and_the_stop_does_not_wait_for_it() {
    for policy in [Policy::DropOldest, Policy::Block] {
        let (_server, connection) = trades(50);
        let config = with_lane(connection, |lane| (lane.policy, lane.slots) = (policy, 8));
        let (let_go, until_let_go) = channel();
        let engine = Engine::builder(config).strategy("held", held(until_let_go)).start().unwrap();
        let report = until(&engine, "a full lane", |report| {
            report.lanes.first().is_some_and(|lane| lane.waiting >= 8 && lane.dropped + lane.blocked > 0)
        });
        assert_eq!(report.lanes[0].delivered, 0);
        let report = ended(engine);
        let lane = &report.lanes[0];
        assert!(adds_up(lane) && lane.delivered == 0 && lane.waiting == 8, "{policy:?}: {lane:?}");
        assert!(lane.dropped > 0, "what came while it was full, or held the core at the stop: {policy:?}: {lane:?}");
        assert_eq!(lane.holds_core, policy == Policy::Block);
        drop(let_go);
    }
}

#[test]
fn what_waits_in_a_lane_is_delivered_before_the_stop_ends() {
    const COUNT: u64 = 500;
    let (_server, connection) = trades(COUNT);
    // A sleep that is longer than the messages take: most of them wait when the engine is stopped.
    let config = with_lane(connection, |lane| lane.idle = LaneIdle::Sleep(Duration::from_millis(5)));
    let (sender, told) = channel();
    let engine = Engine::builder(config).strategy("tells", telling(sender)).start().unwrap();
    until(&engine, "every message", |report| report.connections[0].events == COUNT);
    let report = ended(engine);
    let lane = &report.lanes[0];
    assert_eq!((lane.delivered, lane.waiting), (COUNT, 0), "{lane:?}");
    let ids: Vec<u64> = told.try_iter().map(|(_, _, _, id)| id).collect();
    assert_eq!(ids, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn a_lane_that_cannot_be_is_refused_before_anything_is_started() {
    let (_server, connection) = trades(0);
    let config = with_lane(connection, |lane| lane.strategy = Some("nobody".to_owned()));
    let error = Engine::builder(config.clone()).start().map(drop).unwrap_err();
    let words = "lane slow: no strategy is called `nobody`: one of null, print, spread";
    assert!(matches!(error, EngineError::UnknownLaneStrategy { .. }) && error.to_string() == words, "{error}");
    let mut config = config;
    config.engine.lanes[0].strategy = None;
    let error = Engine::builder(config.clone()).lane_partition("fast", own_partition).start().map(drop).unwrap_err();
    assert!(error.to_string().contains("lanes `fast`"), "{error}");
    config.engine.lanes[0].cpus = vec![4_095];
    let error = Engine::builder(config).start().map(drop).unwrap_err().to_string();
    assert!(error.starts_with("lane slow-0: ") && error.contains("4095"), "{error}");
}

/// A lane's state is made where the lane runs, and is its own.
#[test]
fn every_lane_has_a_state_of_its_own_made_on_its_thread() {
    let (_server, connection) = trades(0);
    let mut config = with_lane(connection, |lane| lane.threads = 3);
    config.engine.lanes[0].cpus = vec![config.engine.cold_cores[0]; 3];
    let made = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&made);
    let make = move || {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        noted.lock().unwrap().push((thread, available_cpus()));
        Strategy::<()> { state: (), on_symbol: |_, _, _| {} }
    };
    let pinned = vec![config.engine.cold_cores[0]];
    let engine = Engine::builder(config).strategy("noted", make).start().unwrap();
    ended(engine);
    let mut made = made.lock().unwrap().clone();
    made.sort();
    let expected = [0, 1, 2].map(|thread| (format!("lane-slow-{thread}"), pinned.clone()));
    assert_eq!(made, expected);
}
