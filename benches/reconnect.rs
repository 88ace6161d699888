//! `reconnect/<class>`: how long a connection is away, by what took it: 50 losses of each class, over real sockets.
//!
//! ```text
//! loss ──► Reconnecting (found, by the peer's word or by a timer) ──► connect, upgrade, subscribe ──► Ready
//! └──────────── found ────────────┘                                                                   │
//! └──────────────────────────────────────── back ─────────────────────────────────────────────────────┘
//!
//! cargo bench --bench reconnect                  50 losses of each class
//! cargo bench --bench reconnect -- reset         one class
//! cargo bench --bench reconnect -- stop          how long an engine takes to stop, by the state it is in
//! cargo bench --bench reconnect -- --test        one loss of each, to see that it lives
//! ```
//! The engine runs with its defaults but for these: no wait is made longer by the loss before it (strategy `fixed`), and
//! where only a timer finds the loss, the ping goes out after 1 s and its answer may take 1 s. `back` counts from the loss
//! to `Ready` of the same connection: 20 streams confirmed by the venue.

#[path = "../tests/support/stage.rs"]
mod stage;

use stage::{config, next_event, runtime, until};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickwire::config::ReconnectStrategy;
use tickwire::prelude::*;
use tickwire::sim::{self, Faults, Kill, SimHandle, SimOptions, Source};
use tickwire::telemetry::{ControlEvent, Happening};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

const VENUE: Venue = Venue::BybitLinear;
const LOSSES: usize = 50;

type Events = broadcast::Receiver<Arc<ControlEvent>>;

struct Class {
    name: &'static str,
    kills: &'static [Kill],
    /// Nobody says that it is lost: the heartbeat finds it.
    is_found_by_timer: bool,
}

const fn class(name: &'static str, kills: &'static [Kill]) -> Class {
    Class { name, kills, is_found_by_timer: false }
}

const CLASSES: [Class; 8] = [
    class("reset", &[Kill::Reset]),
    class("mid_frame", &[Kill::MidFrame]),
    class("close_1000", &[Kill::Close(1_000)]),
    class("close_1001", &[Kill::Close(1_001)]),
    class("mid_handshake", &[Kill::MidHandshake, Kill::Reset]),
    class("before_the_ack", &[Kill::MidBatch, Kill::Reset]),
    Class { is_found_by_timer: true, ..class("half_open", &[Kill::HalfOpen]) },
    Class { is_found_by_timer: true, ..class("deaf", &[Kill::Deaf]) },
];

struct Nothing;

fn on_symbol(_: &mut Nothing, router: &mut Router<Nothing>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |_, _| {});
    router.on_ticker(spec.symbol, |_, _| {});
}

fn start(class: &Class, exchange: &SimHandle) -> RunningEngine {
    let symbols = exchange.symbols(VENUE);
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let mut connection =
        ConnectionConfig::new("one", VENUE).subscribed_to(&symbols, &["publicTrade", "tickers"]).expect("channels");
    connection.reconnect.strategy = ReconnectStrategy::Fixed;
    if class.is_found_by_timer {
        (connection.heartbeat.interval, connection.heartbeat.timeout) =
            (Duration::from_secs(1), Duration::from_secs(1));
    }
    let config = config(vec![connection], exchange.endpoints());
    let make = || Strategy { state: Nothing, on_symbol };
    Engine::builder(config).strategy("nothing", make).start().expect("it starts")
}

/// When the next event that fits was heard of.
fn next(runtime: &Runtime, events: &mut Events, what: &str, fits: impl Fn(&Happening) -> bool) -> Instant {
    next_event(runtime, events, what, |happening| fits(happening).then(Instant::now))
}

/// Median and worst, in milliseconds.
fn figures(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    (ms(times[times.len() / 2]), ms(*times.last().expect("one at least")))
}

fn measure(class: &Class, losses: usize) {
    let runtime = runtime();
    let source = Source::Synthetic { seed: 7, rate: 500.0, symbols: 10 };
    let options = SimOptions { venues: vec![VENUE], source, ..SimOptions::default() };
    let exchange = runtime.block_on(sim::start(options)).expect("it starts");
    let engine = start(class, &exchange);
    let mut events = engine.handle().events();
    next(&runtime, &mut events, "ready at first", |what| matches!(what, Happening::Ready));
    let (mut found, mut back) = (Vec::new(), Vec::new());
    for _ in 0..losses {
        let lost_at = Instant::now();
        class.kills.iter().for_each(|&kill| exchange.kill_connections(VENUE, kill));
        let at = next(&runtime, &mut events, "lost", |what| matches!(what, Happening::Reconnecting { .. }));
        found.push(at - lost_at);
        let at = next(&runtime, &mut events, "ready again", |what| matches!(what, Happening::Ready));
        back.push(at - lost_at);
    }
    let report = engine.stop();
    assert!(report.failure.is_none(), "{}", report.to_json());
    runtime.block_on(exchange.stop());
    let ((found_p50, found_max), (back_p50, back_max)) = (figures(found), figures(back));
    let name = class.name;
    let mut out = std::io::stdout();
    writeln!(out, "reconnect/{name:<16} losses {losses:>3}  found p50 {found_p50:>9.1} ms max {found_max:>9.1} ms  back p50 {back_p50:>9.1} ms max {back_max:>9.1} ms")
        .expect("stdout");
}

/// A state in which an engine is told to stop.
struct StopState {
    name: &'static str,
    /// What the exchange does from the start.
    faults: &'static str,
    /// Brings a started engine there.
    reach: fn(&mut Stopping),
}

/// An engine on its way to the state in which it is to be stopped.
struct Stopping {
    runtime: Runtime,
    /// Gone where the state needs it.
    exchange: Option<SimHandle>,
    engine: RunningEngine,
    events: Events,
}

const STOPS: [StopState; 7] = [
    StopState { name: "listing", faults: "rest-hang", reach: |to| to.until_struck("rest-delayed") },
    StopState { name: "upgrade_hangs", faults: "hang-upgrade", reach: |to| to.until_struck("hang-upgrade") },
    StopState { name: "ready", faults: "", reach: Stopping::until_ready },
    StopState { name: "rotating", faults: "", reach: Stopping::until_two_are_up },
    StopState { name: "half_open", faults: "", reach: |to| to.ready_then(Kill::HalfOpen) },
    StopState { name: "deaf", faults: "", reach: |to| to.ready_then(Kill::Deaf) },
    StopState { name: "reconnecting", faults: "", reach: Stopping::until_nobody_answers },
];

impl Stopping {
    fn until_ready(&mut self) {
        next(&self.runtime, &mut self.events, "ready", |what| matches!(what, Happening::Ready));
    }

    fn ready_then(&mut self, kill: Kill) {
        self.until_ready();
        self.exchange().kill_connections(VENUE, kill);
    }

    /// The successor has its subscriptions, the old one is still there.
    fn until_two_are_up(&mut self) {
        self.until_ready();
        self.runtime.block_on(self.engine.handle().rotate("one")).expect("it has one");
        let up = || self.exchange().subscriptions(VENUE).iter().filter(|streams| !streams.is_empty()).count();
        until(&self.runtime, "two are up", || if up() == 2 { Ok(()) } else { Err(up().to_string()) });
    }

    fn until_nobody_answers(&mut self) {
        self.until_ready();
        self.runtime.block_on(self.exchange.take().expect("once").stop());
        let again = |what: &Happening| matches!(what, Happening::Reconnecting { attempt, .. } if *attempt > 1);
        next(&self.runtime, &mut self.events, "a connect that fails", again);
    }

    /// The exchange has done what it was asked to do wrong.
    fn until_struck(&mut self, fault: &str) {
        let faults = || self.exchange().stats().venue(VENUE).expect("it is served").faults.clone();
        let is_struck = || faults().get(fault).is_some_and(|&count| count > 0);
        until(&self.runtime, fault, || if is_struck() { Ok(()) } else { Err(format!("{:?}", faults())) });
    }

    fn exchange(&self) -> &SimHandle {
        self.exchange.as_ref().expect("still there")
    }
}

/// How long an engine takes to stop: close frames sent, threads joined.
fn measure_stop(state: &StopState, stops: usize) {
    let mut took = Vec::new();
    for _ in 0..stops {
        let runtime = runtime();
        let source = Source::Synthetic { seed: 7, rate: 500.0, symbols: 10 };
        let faults = Faults::parse(state.faults, 1).expect("a fault of the exchange's");
        let options = SimOptions { venues: vec![VENUE], source, faults, ..SimOptions::default() };
        let exchange = runtime.block_on(sim::start(options)).expect("it starts");
        let engine = start(&CLASSES[0], &exchange);
        let events = engine.handle().events();
        let mut stopping = Stopping { runtime, exchange: Some(exchange), engine, events };
        (state.reach)(&mut stopping);
        let Stopping { runtime, exchange, engine, .. } = stopping;
        let told_at = Instant::now();
        let report = engine.stop();
        took.push(told_at.elapsed());
        assert!(report.failure.is_none(), "{}", report.to_json());
        if let Some(exchange) = exchange {
            runtime.block_on(exchange.stop());
        }
    }
    let (p50, max) = figures(took);
    let name = state.name;
    writeln!(std::io::stdout(), "stop/{name:<21} stops  {stops:>3}  took p50 {p50:>10.1} ms max {max:>9.1} ms")
        .expect("stdout");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_trial = arguments.iter().any(|argument| argument == "--test");
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let losses = if is_trial { 1 } else { LOSSES };
    for class in CLASSES.iter().filter(|class| names.is_empty() || names.iter().any(|name| class.name == *name)) {
        measure(class, losses);
    }
    if names.is_empty() || names.iter().any(|asked| *asked == "stop") {
        STOPS.iter().for_each(|state| measure_stop(state, losses));
    }
}
