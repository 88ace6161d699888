//! The whole engine against an exchange that misbehaves: what it says of itself while things are wrong, and that both
//! sides agree when they are right again.
//!
//! ```text
//! sim with faults ◄── real sockets ──► Engine ──► events, status, a ledger of trades
//!        └── subscriptions(), stats() ── agree() ──┘   wanted minus refused, nothing twice, no limit broken
//! ```
//! No time is measured here: what is waited for is a fact, and a wait is judged by what the engine says it waits.

#[path = "support/stage.rs"]
#[expect(dead_code, reason = "both sides and the events are looked at together here, by a wait of its own")]
mod stage;

use stage::{PATIENCE, config, next_event, runtime, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tickwire::config::{Config, EndpointOverrides, Idle};
use tickwire::hot::Halted;
use tickwire::market::TradeId;
use tickwire::prelude::*;
use tickwire::sim::{self, Faults, Kill, SimHandle, SimOptions, Source, TlsMode, VenueStats};
use tickwire::telemetry::{ConnectionReport, ControlEvent, EngineStatus, Happening, Report};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

const SPOT: Venue = Venue::BinanceSpot;
const LINEAR: Venue = Venue::BybitLinear;
const SYMBOLS: u32 = 10;

const fn channels(venue: Venue) -> [&'static str; 2] {
    if matches!(venue, Venue::BinanceSpot | Venue::BinanceUsdm) {
        ["trade", "bookTicker"]
    } else {
        ["publicTrade", "tickers"]
    }
}

fn streams(venue: Venue, symbols: &[String]) -> BTreeSet<String> {
    symbols.iter().flat_map(|symbol| channels(venue).map(|channel| stream(venue, channel, symbol))).collect()
}

fn faults(spec: &str) -> Faults {
    Faults::parse(spec, 1).unwrap()
}

fn options(venue: Venue, spec: &str) -> SimOptions {
    let source = Source::Synthetic { seed: 7, rate: 1_000.0, symbols: SYMBOLS };
    SimOptions { venues: vec![venue], source, faults: faults(spec), ..SimOptions::default() }
}

/// A connection for these symbols with short times.
fn connection(name: &str, venue: Venue, symbols: &[String]) -> ConnectionConfig {
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let mut connection = ConnectionConfig::new(name, venue).subscribed_to(&symbols, &channels(venue)).unwrap();
    connection.subscription.batch = 5;
    connection.subscription.ack_timeout = Duration::from_secs(1);
    connection.reconnect.base = Duration::from_millis(20);
    connection.reconnect.cap = Duration::from_millis(200);
    connection.liveness.first_data = Some(Duration::from_secs(2));
    connection.liveness.stale_min = Duration::from_secs(2);
    connection.rotation.overlap = Duration::from_millis(300);
    connection
}

/// Every trade's number, by symbol, in the order in which the handler saw them.
type Trades = Arc<Mutex<BTreeMap<usize, Vec<u64>>>>;

#[derive(Default)]
struct Ledger {
    trades: Trades,
}

fn on_trade(ledger: &mut Ledger, trade: &Trade) {
    if let TradeId::Number(id) = trade.id {
        ledger.trades.lock().unwrap().entry(trade.meta.symbol.index()).or_default().push(id);
    }
}

fn on_symbol(_: &mut Ledger, router: &mut Router<Ledger>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, on_trade);
    router.on_quote(spec.symbol, |_, _| {});
    router.on_ticker(spec.symbol, |_, _| {});
}

fn start(connections: Vec<ConnectionConfig>, endpoints: &sim::Endpoints) -> (RunningEngine, Trades) {
    let trades = Trades::default();
    let builder = Engine::builder(config(connections, endpoints));
    let ledger = Arc::clone(&trades);
    let make = move || Strategy { state: Ledger { trades: Arc::clone(&ledger) }, on_symbol };
    (builder.strategy("ledger", make).start().unwrap(), trades)
}

/// Both sides at one moment.
struct Seen {
    report: Report,
    status: EngineStatus,
    views: Vec<BTreeSet<String>>,
    stats: VenueStats,
}

impl Seen {
    fn socket(&self, name: &str) -> Option<&ConnectionReport> {
        self.report.connections.iter().find(|connection| connection.name.starts_with(name))
    }

    /// The streams the engine itself calls silent.
    fn silent(&self) -> BTreeSet<String> {
        let rows = self.status.connections.iter().flat_map(|connection| &connection.subscriptions);
        rows.filter(|row| row.is_silent()).map(|row| row.stream.clone()).collect()
    }

    fn struck(&self, fault: &str) -> u64 {
        self.stats.faults.get(fault).copied().unwrap_or(0)
    }

    /// Everything is up, and the exchange and the engine's status say the same: all of `wanted`, none twice, and exactly
    /// `refused` is refused.
    fn agrees(&self, wanted: &BTreeSet<String>, refused: &BTreeSet<String>) -> bool {
        let live: Vec<&String> = self.views.iter().flatten().collect();
        let rows = || self.status.connections.iter().flat_map(|connection| &connection.subscriptions);
        let confirmed = rows().filter(|row| row.acknowledged && row.refused.is_none()).map(|row| row.stream.clone());
        let said_refused = rows().filter(|row| row.refused.is_some()).map(|row| row.stream.clone());
        let expected: BTreeSet<String> = wanted.difference(refused).cloned().collect();
        self.report.connections.iter().all(ConnectionReport::is_ready)
            && !self.status.halted
            && self.status.connections.iter().all(|connection| connection.state == "ready")
            && live.len() == expected.len()
            && live.into_iter().cloned().collect::<BTreeSet<_>>() == expected
            && confirmed.collect::<BTreeSet<_>>() == expected
            && said_refused.collect::<BTreeSet<_>>() == *refused
    }
}

struct Stage {
    runtime: Runtime,
    exchange: SimHandle,
    venue: Venue,
    wanted: BTreeSet<String>,
    symbols: Vec<String>,
    engine: RunningEngine,
    trades: Trades,
    receiver: broadcast::Receiver<Arc<ControlEvent>>,
    events: Vec<Arc<ControlEvent>>,
}

impl Stage {
    fn new(venue: Venue, options: SimOptions, change: impl Fn(&mut ConnectionConfig)) -> Self {
        Self::with(venue, options, |symbols| {
            let mut one = connection("one", venue, symbols);
            change(&mut one);
            vec![one]
        })
    }

    fn with(venue: Venue, options: SimOptions, connections: impl Fn(&[String]) -> Vec<ConnectionConfig>) -> Self {
        let runtime = runtime();
        let exchange = runtime.block_on(sim::start(options)).unwrap();
        let symbols = exchange.symbols(venue);
        let (engine, trades) = start(connections(&symbols), exchange.endpoints());
        let receiver = engine.handle().events();
        let wanted = streams(venue, &symbols);
        Self { runtime, exchange, venue, wanted, symbols, engine, trades, receiver, events: Vec::new() }
    }

    fn look(&mut self) -> Seen {
        while let Ok(event) = self.receiver.try_recv() {
            self.events.push(event);
        }
        Seen {
            report: self.engine.report(),
            status: self.runtime.block_on(self.engine.handle().status()),
            views: self.exchange.subscriptions(self.venue),
            stats: self.exchange.stats().venue(self.venue).unwrap().clone(),
        }
    }

    /// Waits until `is` holds of both sides and of the events so far.
    fn wait(&mut self, what: &str, mut is: impl FnMut(&Seen, &[Arc<ControlEvent>]) -> bool) -> Seen {
        let begun = Instant::now();
        loop {
            let seen = self.look();
            if is(&seen, &self.events) {
                return seen;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "not in {PATIENCE:?}: {what}; events {:#?}; views {:?}; stats {:?}; {}; {:?}",
                self.events,
                seen.views,
                seen.stats,
                seen.report.to_json(),
                seen.status
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_event(&mut self, what: &str, is: impl Fn(&Happening) -> bool) -> Seen {
        self.wait(what, |_, events| events.iter().any(|event| is(&event.what)))
    }

    fn count(&self, is: impl Fn(&Happening) -> bool) -> usize {
        self.events.iter().filter(|event| is(&event.what)).count()
    }

    fn wait_agreed(&mut self, refused: &BTreeSet<String>) -> Seen {
        let wanted = self.wanted.clone();
        self.wait("both sides agree", |seen, _| seen.agrees(&wanted, refused))
    }

    /// The engine came back to what is wanted without breaking a rule of the venue on the way.
    fn finish(mut self, refused: &BTreeSet<String>) -> VenueStats {
        self.wait_agreed(refused);
        let report = self.engine.stop();
        assert!(report.failure.is_none(), "{}", report.to_json());
        let stats = self.runtime.block_on(self.exchange.stop()).venue(self.venue).unwrap().clone();
        assert!(stats.limit_violations.is_empty(), "{stats:?}");
        assert_eq!((stats.duplicate_subscriptions, stats.rate_limit_closes), (0, 0), "{stats:?}");
        stats
    }
}

fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

/// The streams that `Silent` events named.
fn named_silent(events: &[Arc<ControlEvent>]) -> BTreeSet<String> {
    let named = events.iter().filter_map(|event| match &event.what {
        Happening::Silent { stream, .. } => Some(stream.clone()),
        _ => None,
    });
    named.collect()
}

fn is_repair(happening: &Happening, of: &str, by: &str) -> bool {
    matches!(happening, Happening::Repairing { stream, how } if stream == of && how == by)
}

#[test]
fn an_acknowledged_stream_that_stays_silent_is_named_and_resubscribed_alone() {
    const SILENT: &str = "ethusdt@bookTicker";
    let mut stage = Stage::new(SPOT, options(SPOT, &format!("silent-stream={SILENT}")), |_| {});
    let before = stage.wait_agreed(&none());
    let requests = before.stats.subscribe_requests;
    stage.wait_event("resubscribed", |happening| is_repair(happening, SILENT, "resubscribe"));
    // A look may fall between the new request and its ack, when nothing is owed.
    let only: BTreeSet<String> = [SILENT.to_owned()].into();
    stage.wait("the status names it and no other", |seen, _| seen.silent() == only);
    let asked_again = |seen: &Seen, _: &[Arc<ControlEvent>]| seen.stats.subscribe_requests > requests;
    stage.wait("it is asked for again", asked_again);
    stage.exchange.set_faults(&Faults::default());
    let recovered =
        |happening: &Happening| matches!(happening, Happening::Recovered { stream, .. } if stream == SILENT);
    let seen = stage.wait_event("recovered", recovered);
    assert_eq!(named_silent(&stage.events), only);
    assert_eq!(seen.stats.subscribe_requests, requests + 1, "the others are left alone");
    assert_eq!(seen.stats.connections_accepted, 1);
    stage.wait("nothing is silent", |seen, _| seen.silent().is_empty());
    stage.finish(&none());
}

#[test]
fn a_stream_that_a_resubscribe_does_not_wake_is_moved_to_another_connection() {
    const SILENT: &str = "ethusdt@bookTicker";
    let mut stage = Stage::new(SPOT, options(SPOT, &format!("silent-stream={SILENT}#1")), |_| {});
    stage.wait_agreed(&none());
    let moved = |happening: &Happening| matches!(happening, Happening::Moved { stream, .. } if stream == SILENT);
    stage.wait_event("moved", moved);
    let seen = stage.wait("it speaks there", |seen, _| seen.views.len() == 2 && seen.silent().is_empty());
    assert_eq!(stage.count(|happening| is_repair(happening, SILENT, "resubscribe")), 1);
    assert_eq!(stage.count(|happening| is_repair(happening, SILENT, "move")), 1);
    assert_eq!(named_silent(&stage.events), [SILENT.to_owned()].into());
    assert_eq!(seen.stats.connections_accepted, 2, "the old one is kept");
    stage.finish(&none());
}

/// The connection is replaced, once, and no stream of it is repaired alone.
fn is_replaced_once(mut stage: Stage) -> VenueStats {
    let seen = stage.wait("a second connection", |seen, _| seen.stats.connections_accepted > 1);
    assert!(!seen.report.connections.is_empty());
    stage.wait_agreed(&none());
    stage.wait("nothing is silent", |seen, _| seen.silent().is_empty() && seen.views.len() == 1);
    assert_eq!(stage.count(|happening| matches!(happening, Happening::Repairing { .. })), 0, "{:#?}", stage.events);
    let stats = stage.finish(&none());
    assert_eq!(stats.connections_accepted, 2, "one action");
    stats
}

#[test]
fn a_connection_of_which_most_is_silent_is_replaced_and_its_streams_are_not_repaired_one_by_one() {
    let symbols = sim_symbols(SPOT);
    let spec: Vec<String> = symbols[..7].iter().map(|symbol| format!("silent-stream={symbol}#1")).collect();
    let stage = Stage::new(SPOT, options(SPOT, &spec.join(",")), |one| {
        one.liveness.trade_first_data = one.liveness.first_data;
        // In one request, so that no look finds the streams of a first one silent and those of another not yet.
        one.subscription.batch = 20;
    });
    is_replaced_once(stage);
}

#[test]
fn a_connection_that_answers_pings_and_sends_no_data_is_replaced() {
    let mut options = options(SPOT, "silent-connection#1");
    // Pongs are messages too, of which the venue allows five a second.
    options.ping_interval = Some(Duration::from_secs(1));
    let stats = is_replaced_once(Stage::new(SPOT, options, |one| one.subscription.batch = 20));
    assert!(stats.pongs_received > 1, "{stats:?}");
    assert_eq!(stats.faults["silent-connection"], 1, "that is what it was replaced for");
}

#[test]
fn a_connection_that_stops_before_its_rates_are_known_is_replaced() {
    let mut options = options(SPOT, "silent-after=2000#1");
    options.ping_interval = Some(Duration::from_secs(1));
    let stats = is_replaced_once(Stage::new(SPOT, options, |one| {
        one.subscription.batch = 20;
        one.liveness.stale_max = one.liveness.stale_min;
    }));
    assert_eq!(stats.faults["silent-after"], 1, "that is what it was replaced for");
}

/// The symbols that the exchange lists with these options.
fn sim_symbols(venue: Venue) -> Vec<String> {
    let runtime = runtime();
    let exchange = runtime.block_on(sim::start(options(venue, ""))).unwrap();
    let symbols = exchange.symbols(venue);
    runtime.block_on(exchange.stop());
    symbols
}

#[test]
fn answers_that_come_late_twice_or_in_another_order_change_nothing() {
    for venue in [SPOT, LINEAR] {
        let spec = "ack-delay=100ms..300ms#1,ack-twice#2,ack-reorder#3";
        let mut stage = Stage::new(venue, options(venue, spec), |one| one.subscription.batch = 4);
        let seen = stage.wait_agreed(&none());
        for fault in ["ack-delay", "ack-twice", "ack-reorder"] {
            assert_eq!(seen.struck(fault), 1, "{venue}: {fault}");
        }
        assert_eq!(seen.stats.subscribe_requests, 5, "{venue}: each is asked once");
        stage.finish(&none());
    }
}

#[test]
fn a_request_whose_answer_is_lost_is_asked_again_alone_and_nothing_is_live_twice() {
    for venue in [SPOT, LINEAR] {
        let mut stage = Stage::new(venue, options(venue, "ack-loss#2"), |one| one.subscription.batch = 4);
        let seen = stage.wait_agreed(&none());
        assert_eq!(seen.struck("ack-loss"), 1, "{venue}");
        assert_eq!(seen.stats.connections_accepted, 1, "{venue}: nothing is torn down for it");
        // The exchange has these four and nobody was told: to ask again is the only way to know, and changes nothing there.
        // Bybit refuses what it has, and names one topic: the four are halved until each of them was named.
        let (requests, repeats) = if venue == SPOT { (1, 4) } else { (7, 12) };
        assert_eq!(seen.stats.subscribe_requests, 5 + requests, "{venue}: five, and what was asked again");
        assert_eq!(seen.stats.duplicate_subscriptions, repeats, "{venue}: its four streams and no other");
        let report = stage.engine.stop();
        assert!(report.failure.is_none(), "{}", report.to_json());
        let stats = stage.runtime.block_on(stage.exchange.stop()).venue(venue).unwrap().clone();
        assert!(stats.limit_violations.is_empty() && stats.rate_limit_closes == 0, "{stats:?}");
    }
}

#[test]
fn one_bad_symbol_in_a_batch_is_refused_by_name_and_the_others_are_confirmed() {
    for venue in [SPOT, LINEAR] {
        let symbol = sim_symbols(venue)[3].clone();
        let refused: BTreeSet<String> = channels(venue).map(|channel| stream(venue, channel, &symbol)).into();
        let stage = Stage::new(venue, options(venue, &format!("bad-stream={symbol}")), |_| {});
        let stats = stage.finish(&refused);
        assert!(stats.request_errors > 0, "{stats:?}");
    }
}

#[test]
fn a_half_open_connection_is_found_by_its_timer_and_replaced() {
    let mut stage = Stage::new(LINEAR, options(LINEAR, ""), |one| {
        one.heartbeat.interval = Duration::from_secs(1);
        one.heartbeat.timeout = Duration::from_secs(1);
    });
    stage.wait_agreed(&none());
    stage.exchange.kill_connections(LINEAR, Kill::HalfOpen);
    stage.wait("another connection", |seen, _| seen.stats.connections_accepted == 2);
    // The exchange never learns that it was left: only the second connection's view is asked.
    let wanted = stage.wanted.clone();
    let seen = stage.wait("the new one is whole", |seen, _| {
        seen.views.last() == Some(&wanted) && seen.report.connections.iter().all(ConnectionReport::is_ready)
    });
    assert_eq!(seen.status.connections[0].heartbeat.stale, 1, "{:?}", seen.status);
    assert!(!seen.status.halted);
    let lost = stage.count(|happening| matches!(happening, Happening::Reconnecting { .. }));
    assert_eq!(lost, 1, "{:#?}", stage.events);
}

/// The exchange as a process of its own, which can be stopped as a whole. Ends with its owner.
struct Process {
    child: Child,
    /// Open as long as it runs: it ends where nobody reads it any more.
    _out: BufReader<ChildStdout>,
}

impl Process {
    /// Serves what [`options`] does; with its endpoints.
    fn start(venue: Venue) -> (Self, EndpointOverrides) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
        let (name, symbols) = (venue.to_string(), SYMBOLS.to_string());
        command.args(["sim", "--venues", &name, "--rate", "1000", "--symbols", &symbols, "--duration", "120"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("its endpoints");
        (Self { child, _out: out }, EndpointOverrides::parse(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill").success());
    }

    /// Ends it, and gives what it counted.
    fn end(mut self, venue: Venue) -> serde_json::Value {
        self.signal("-TERM");
        let mut summary = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut summary).expect("UTF-8");
        let prefix = format!("served {venue} ");
        let counters = summary.lines().find_map(|line| line.strip_prefix(&prefix));
        let counters = counters.unwrap_or_else(|| panic!("a summary: {summary}"));
        serde_json::from_str(counters).expect("its counters are JSON")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that is stopped dies of this too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_exchange_that_is_frozen_is_found_by_the_timer_and_come_back_to_when_it_thaws() {
    // Stopped, its kernel still acknowledges every byte and completes every TCP connect: only a timer finds it.
    let (exchange, endpoints) = Process::start(LINEAR);
    let symbols = sim_symbols(LINEAR);
    let mut one = connection("one", LINEAR, &symbols);
    (one.heartbeat.interval, one.heartbeat.timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    one.core = *tickwire::engine::available_cpus().last().expect("this thread runs on some CPU");
    let mut config = Config::from_connections(vec![one]).unwrap_or_else(|errors| panic!("{errors}"));
    config.point_at(&endpoints).unwrap();
    let make = || Strategy { state: Ledger::default(), on_symbol };
    let engine = Engine::builder(config).strategy("ledger", make).start().unwrap();
    let (runtime, mut events) = (runtime(), engine.handle().events());
    let mut wait = |what: &str, is: &dyn Fn(&Happening) -> bool| {
        next_event(&runtime, &mut events, what, |happening| is(happening).then(|| happening.clone()))
    };
    wait("ready", &|what| matches!(what, Happening::Ready));
    exchange.signal("-STOP");
    let lost = wait("a loss", &|what| matches!(what, Happening::Reconnecting { .. }));
    assert!(matches!(&lost, Happening::Reconnecting { reason, .. } if reason.starts_with("stale")), "{lost:?}");
    let again = wait("a connect that comes to nothing", &|what| matches!(what, Happening::Reconnecting { .. }));
    assert!(matches!(&again, Happening::Reconnecting { attempt, .. } if *attempt > 1), "{again:?}");
    exchange.signal("-CONT");
    wait("ready again", &|what| matches!(what, Happening::Ready));
    let report = engine.stop();
    assert!(report.failure.is_none(), "{}", report.to_json());
    let stats = exchange.end(LINEAR);
    assert_eq!((&stats["duplicate_subscriptions"], &stats["rate_limit_closes"]), (&0.into(), &0.into()), "{stats}");
}

/// Holds the hot thread in a trade until it is let go: the sender's end is dropped.
struct Held {
    until_let_go: Receiver<()>,
    hold: fn(&Receiver<()>),
}

fn on_held_symbol(_: &mut Held, router: &mut Router<Held>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |state: &mut Held, _: &Trade| (state.hold)(&state.until_let_go));
}

/// An overrun, as it is told: cause, what it is on, milliseconds, and whether it is over.
type Overrun = (String, String, u64, bool);

fn overrun(happening: &Happening) -> Option<Overrun> {
    match happening {
        Happening::Overrun { cause, on, for_ms, is_over, .. } => Some((cause.clone(), on.clone(), *for_ms, *is_over)),
        _ => None,
    }
}

/// The causes that are told of a handler that holds its thread like this: while it lasts, and when it is over.
fn held_by(hold: fn(&Receiver<()>)) -> [String; 2] {
    let runtime = runtime();
    let exchange = runtime.block_on(sim::start(options(SPOT, ""))).unwrap();
    let symbols = exchange.symbols(SPOT);
    let (let_go, until_let_go) = channel();
    let until_let_go = Mutex::new(Some(until_let_go));
    let make = move || {
        let until_let_go = until_let_go.lock().unwrap().take().expect("one core, one strategy");
        Strategy { state: Held { until_let_go, hold }, on_symbol: on_held_symbol }
    };
    let config = config(vec![connection("one", SPOT, &symbols)], exchange.endpoints());
    let engine = Engine::builder(config).strategy("held", make).start().unwrap();
    let mut events = engine.handle().events();
    let mut wait = |what: &str, is_over_wanted: bool| {
        let fits = |(_, on, _, is_over): &Overrun| *is_over == is_over_wanted && on.starts_with("Trade of");
        next_event(&runtime, &mut events, what, |happening| overrun(happening).filter(fits))
    };
    let (begun_cause, on, begun_ms, _) = wait("an overrun", false);
    assert!(on.contains("connection one") && symbols.iter().any(|symbol| on.contains(symbol.as_str())), "{on}");
    drop(let_go);
    let (cause, over, lasted_ms, _) = wait("its end", true);
    assert_eq!(over, on);
    assert!(lasted_ms >= begun_ms && begun_ms > 0, "{begun_ms} ms, then {lasted_ms} ms");
    let status = runtime.block_on(engine.handle().status());
    assert!(status.cores[0].overruns >= 1, "{status:?}");
    let report = engine.stop();
    assert!(report.failure.is_none(), "{}", report.to_json());
    runtime.block_on(exchange.stop());
    [begun_cause, cause]
}

#[test]
fn a_handler_that_does_not_return_is_told_of_with_the_event_it_is_on_and_again_when_it_is_over() {
    let causes = held_by(|until_let_go| {
        while until_let_go.try_recv() == Err(TryRecvError::Empty) {
            std::hint::spin_loop();
        }
    });
    // On a machine that is busy it may in truth not have had its core for most of the time.
    assert!(causes.iter().all(|cause| cause == "handler" || cause == "core_taken"), "{causes:?}");
}

#[test]
fn a_handler_that_waits_for_something_is_told_apart_from_one_that_works() {
    let causes = held_by(|until_let_go| assert!(until_let_go.recv().is_err(), "nothing is sent"));
    assert_eq!(causes, ["blocked", "blocked"]);
}

/// Once it is told to, its thread runs only where nobody else wants the CPU (SCHED_IDLE, sched(7)).
struct Yielding {
    yields: Arc<AtomicBool>,
    is_yielding: bool,
}

fn on_yielding_symbol(_: &mut Yielding, router: &mut Router<Yielding>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |state: &mut Yielding, _: &Trade| {
        if !state.is_yielding && state.yields.load(Ordering::Relaxed) {
            state.is_yielding = true;
            let nothing = libc::sched_param { sched_priority: 0 };
            // SAFETY: 0 is the calling thread, and `nothing` is a valid parameter for the whole call.
            let lowered = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const nothing) };
            assert_eq!(lowered, 0, "a thread may lower itself");
        }
    });
}

#[test]
fn a_core_that_was_taken_away_is_told_apart_from_a_handler_that_works() {
    let runtime = runtime();
    let exchange = runtime.block_on(sim::start(options(SPOT, ""))).unwrap();
    let symbols = exchange.symbols(SPOT);
    let mut config = config(vec![connection("one", SPOT, &symbols)], exchange.endpoints());
    config.engine.cores[0].idle = Idle::Spin;
    config.engine.watchdog.overrun = Duration::from_millis(60);
    let cpu = config.engine.cores[0].cpu;
    let yields = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&yields);
    let make = move || {
        let state = Yielding { yields: Arc::clone(&told), is_yielding: false };
        Strategy { state, on_symbol: on_yielding_symbol }
    };
    let engine = Engine::builder(config).strategy("yielding", make).start().unwrap();
    let mut events = engine.handle().events();
    next_event(&runtime, &mut events, "ready", |happening| matches!(happening, Happening::Ready).then_some(()));
    yields.store(true, Ordering::Relaxed);
    let is_wanted = AtomicBool::new(true);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(core_affinity::set_for_current(core_affinity::CoreId { id: cpu }));
            while is_wanted.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let is_taken = |overrun: &Overrun| overrun.0 == "core_taken";
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            next_event(&runtime, &mut events, "a core taken", |happening| overrun(happening).filter(is_taken))
        }));
        is_wanted.store(false, Ordering::Relaxed);
        seen
    });
    let (_, _, stood_ms, _) = seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert!(stood_ms >= 60, "{stood_ms}");
    let report = engine.stop();
    assert!(report.failure.is_none(), "{}", report.to_json());
    runtime.block_on(exchange.stop());
}

/// What a strategy that asks before each of its trades is told: each time the answer is another.
struct Asking {
    halted: Halted,
    was: Option<bool>,
    told: Sender<bool>,
}

fn on_asking_symbol(_: &mut Asking, router: &mut Router<Asking>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |state: &mut Asking, trade: &Trade| {
        let is_halted = state.halted.is_halted(trade.meta.received.mono);
        if state.was.replace(is_halted) != Some(is_halted) {
            // The test has heard enough where nobody listens.
            let _ = state.told.send(is_halted);
        }
    });
}

#[test]
fn a_handler_is_told_halted_while_another_connection_is_down_and_no_longer() {
    let runtime = runtime();
    let options = SimOptions { venues: vec![SPOT, LINEAR], ..options(SPOT, "") };
    let exchange = runtime.block_on(sim::start(options)).unwrap();
    let asked = exchange.symbols(SPOT);
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let asking = ConnectionConfig::new("asking", SPOT).subscribed_to(&asked, &["trade"]).unwrap();
    let mut other = connection("other", LINEAR, &exchange.symbols(LINEAR));
    // Long enough for many trades of the other's.
    (other.reconnect.base, other.reconnect.cap) = (Duration::from_millis(500), Duration::from_millis(500));
    let config = config(vec![asking, other], exchange.endpoints());
    let builder = Engine::builder(config);
    let halted = builder.halted();
    let (told, answers) = channel();
    let make = move || {
        let state = Asking { halted: halted.clone(), was: None, told: told.clone() };
        Strategy { state, on_symbol: on_asking_symbol }
    };
    let engine = builder.strategy("asking", make).start().unwrap();
    let mut events = engine.handle().events();
    let mut wait = |what: &str, fits: fn(&Happening) -> bool| {
        next_event(&runtime, &mut events, what, |happening| fits(happening).then_some(()));
    };
    let until = |wanted: bool| while answers.recv_timeout(PATIENCE).expect("another answer") != wanted {};
    until(false);
    exchange.kill_connections(LINEAR, Kill::Reset);
    wait(
        "halted",
        |happening| matches!(happening, Happening::Halted { connections } if connections.len() == 1 && connections[0].starts_with("other")),
    );
    until(true);
    wait("resumed", |happening| matches!(happening, Happening::Resumed { .. }));
    until(false);
    let report = engine.stop();
    assert!(report.failure.is_none(), "{}", report.to_json());
    runtime.block_on(exchange.stop());
}

/// Waits for the wait that the engine announces for this reason, and gives it in milliseconds.
fn announced_wait(stage: &mut Stage, reason_part: &str) -> u64 {
    let delay_of = |happening: &Happening| match happening {
        Happening::Reconnecting { delay_ms, reason, .. } if reason.contains(reason_part) => Some(*delay_ms),
        _ => None,
    };
    stage.wait_event(reason_part, |happening| delay_of(happening).is_some());
    stage.events.iter().find_map(|event| delay_of(&event.what)).unwrap()
}

#[test]
fn a_connection_closed_for_breaking_a_rule_stays_away_for_ten_seconds_at_least() {
    let mut stage = Stage::new(SPOT, options(SPOT, ""), |_| {});
    stage.wait_agreed(&none());
    stage.exchange.kill_connections(SPOT, Kill::Close(1008));
    let delay_ms = announced_wait(&mut stage, "1008");
    assert!((10_000..=20_000).contains(&delay_ms), "{delay_ms}");
    let seen = stage.wait("it is said to be down", |seen, _| seen.status.halted);
    assert_eq!(seen.status.halted_connections.len(), 1);
    assert!(seen.status.halted_connections[0].reason.contains("1008"), "{:?}", seen.status);
    assert_eq!(stage.finish(&none()).connections_accepted, 2);
}

#[test]
fn a_refused_upgrade_holds_every_connection_of_the_address_until_retry_after() {
    let mut stage = Stage::with(SPOT, options(SPOT, ""), |symbols| {
        let (left, right) = symbols.split_at(5);
        vec![connection("one", SPOT, left), connection("two", SPOT, right)]
    });
    stage.wait_agreed(&none());
    stage.exchange.set_faults(&faults("upgrade-429=5s"));
    let handle = stage.engine.handle();
    stage.runtime.block_on(handle.reconnect("one")).unwrap();
    let delay_ms = announced_wait(&mut stage, "429");
    assert!(delay_ms >= 4_000, "{delay_ms}");
    stage.runtime.block_on(handle.reconnect("two")).unwrap();
    let seen = stage.wait("the other one waits too", |seen, _| {
        seen.socket("two").is_some_and(|two| !two.is_ready())
            && seen.status.governor.iter().any(|budget| budget.blocked_for_ms.is_some())
    });
    assert!(seen.status.halted && seen.struck("upgrade-refused") == 1, "{:?}", seen.stats);
    let stats = stage.finish(&none());
    assert_eq!(stats.faults["upgrade-refused"], 1, "nobody asked again before its time");
}

#[test]
fn a_ban_while_the_instruments_are_asked_for_is_waited_out() {
    // Longer than a few looks take: a connection without its symbols lets a status wait.
    let mut stage = Stage::new(SPOT, options(SPOT, "rest-418=12s"), |_| {});
    let seen = stage.wait("the ban is named", |seen, _| {
        seen.report.connections[0].last_error.as_ref().is_some_and(|error| error.contains("418"))
    });
    assert!(seen.status.halted && seen.stats.connections_accepted == 0, "{:?}", seen.status);
    assert!(seen.status.governor.iter().any(|budget| budget.blocked_for_ms.is_some()), "{:?}", seen.status);
    let stats = stage.finish(&none());
    assert_eq!(stats.faults["rest-refused"], 1, "it was asked once while banned");
}

#[test]
fn a_notice_before_a_cut_loses_no_trade() {
    let mut options = options(SPOT, "shutdown-notice=2s#1,close-1001=5s#1");
    options.is_tape = true;
    let mut stage = Stage::new(SPOT, options, |_| {});
    stage.wait_agreed(&none());
    stage.wait_event("rotated", |happening| matches!(happening, Happening::Rotated { .. }));
    let successor_alone =
        |seen: &Seen, _: &[Arc<ControlEvent>]| seen.stats.connections_accepted == 2 && seen.stats.connections_open == 1;
    stage.wait("the successor alone", successor_alone);
    stage.wait_agreed(&none());
    assert_eq!(stage.count(|happening| matches!(happening, Happening::Reconnecting { .. })), 0);
    stage.exchange.pause_tape(true);
    let specs = stage.engine.symbols();
    for symbol in stage.symbols.clone() {
        let at = specs.iter().find(|spec| *spec.name == *symbol).unwrap().symbol.index();
        let last = stage.exchange.tape(SPOT, &symbol).unwrap().last_trade;
        let trades = Arc::clone(&stage.trades);
        let has_last = move |_: &Seen, _: &[Arc<ControlEvent>]| {
            trades.lock().unwrap().get(&at).is_some_and(|ids| ids.last() == Some(&last))
        };
        stage.wait(&format!("{symbol}'s last trade"), has_last);
        let trades = stage.trades.lock().unwrap();
        let ids = &trades[&at];
        assert_eq!(*ids, (ids[0]..=last).collect::<Vec<_>>(), "{symbol}: every trade once, in order");
    }
    stage.finish(&none());
}

#[test]
fn a_venue_that_resets_again_and_again_is_asked_ever_less_often_within_its_budget() {
    let mut stage = Stage::new(SPOT, options(SPOT, "reset-every=200ms"), |one| {
        one.reconnect.jitter = 0.01;
        one.reconnect.cap = Duration::from_secs(5);
    });
    let is_loss = |happening: &Happening| matches!(happening, Happening::Reconnecting { .. });
    let losses = |events: &[Arc<ControlEvent>]| events.iter().filter(|event| is_loss(&event.what)).count();
    let seen = stage.wait("six losses", |_, events| losses(events) >= 6);
    stage.exchange.set_faults(&Faults::default());
    let waits: Vec<(u32, u64)> = stage
        .events
        .iter()
        .filter_map(|event| match event.what {
            Happening::Reconnecting { attempt, delay_ms, .. } => Some((attempt, delay_ms)),
            _ => None,
        })
        .collect();
    for pair in waits.windows(2) {
        assert_eq!(pair[1].0, pair[0].0 + 1, "{waits:?}: a connect that succeeds does not reset the count");
        assert!(pair[1].1 > pair[0].1, "{waits:?}");
    }
    for budget in &seen.status.governor {
        assert!(budget.connects_max.is_none_or(|most| budget.connects_used <= most), "{budget:?}");
    }
    stage.finish(&none());
}

#[test]
fn a_connect_that_hangs_ends_by_the_time_out_of_its_step_which_is_named() {
    for (fault, step) in [("hang-tls", "TLS handshake"), ("hang-upgrade", "WebSocket upgrade")] {
        let mut options = options(SPOT, "");
        options.tls = TlsMode::On;
        let mut stage = Stage::new(SPOT, options, |one| {
            one.timeouts.tls = Duration::from_millis(500);
            one.timeouts.upgrade = Duration::from_millis(500);
        });
        stage.wait_agreed(&none());
        stage.exchange.set_faults(&faults(fault));
        stage.exchange.kill_connections(SPOT, Kill::Reset);
        announced_wait(&mut stage, &format!("{step}: no end after the time-out of 500ms"));
        let seen = stage.look();
        assert!(seen.status.halted && seen.struck(fault) > 0, "{:?}", seen.status);
        stage.exchange.set_faults(&Faults::default());
        stage.finish(&none());
    }
}
