//! A cut that no socket tells of: the link goes down, or the route leads nowhere, in a network of the test's own.
//!
//! ```text
//! this test ──► unshare: a network namespace with nothing but its loopback ──► this program again: exchange and engine
//!                                                                              ip link set lo down ──► only timers find it
//! ```
//! Needs a kernel that lets us have a namespace, `unshare` and `ip`; where one of them is missing the test says that it
//! skipped.

#[path = "support/stage.rs"]
#[expect(dead_code, reason = "the events are waited for here")]
mod stage;

use stage::{config, next_event, runtime};
use std::process::Command;
use std::time::Duration;
use tickwire::prelude::*;
use tickwire::sim::{self, SimOptions, Source};
use tickwire::telemetry::Happening;

const VENUE: Venue = Venue::BybitLinear;

/// How a link is cut, and mended again.
const CUTS: [(&str, &[&str], &[&str]); 2] = [
    ("the link is down", &["link set lo down"], &["link set lo up"]),
    (
        "the route leads nowhere",
        &["route del local 127.0.0.1 table local", "route replace blackhole 127.0.0.1/32 table local"],
        &["route del blackhole 127.0.0.1/32 table local", "route add local 127.0.0.1 dev lo src 127.0.0.1 table local"],
    ),
];

/// Set for the run inside of the namespace.
const INSIDE: &str = "TICKWIRE_CUT_INSIDE";

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("ip");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

struct Nothing;

fn on_symbol(_: &mut Nothing, router: &mut Router<Nothing>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |_, _| {});
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn a_cut_that_no_socket_tells_of_is_found_by_the_timer_and_what_was_wanted_comes_back() {
    if std::env::var_os(INSIDE).is_some() {
        return cut_and_mend();
    }
    let can = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).output();
    if !can.as_ref().is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: no network namespace can be had here: {can:?}");
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command.arg("-rn").arg(program).args(["--exact", "--nocapture"]).env(INSIDE, "1");
    command.arg("a_cut_that_no_socket_tells_of_is_found_by_the_timer_and_what_was_wanted_comes_back");
    let done = command.output().expect("unshare");
    let (out, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("1 passed"), "{out}\n{error}");
}

fn cut_and_mend() {
    ip("link set lo up");
    let runtime = runtime();
    let source = Source::Synthetic { seed: 7, rate: 500.0, symbols: 10 };
    let options = SimOptions { venues: vec![VENUE], source, ..SimOptions::default() };
    let exchange = runtime.block_on(sim::start(options)).unwrap();
    let symbols = exchange.symbols(VENUE);
    let names: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let mut connection = ConnectionConfig::new("one", VENUE).subscribed_to(&names, &["publicTrade"]).unwrap();
    (connection.heartbeat.interval, connection.heartbeat.timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    (connection.reconnect.base, connection.reconnect.cap) = (Duration::from_millis(50), Duration::from_millis(500));
    let make = || Strategy { state: Nothing, on_symbol };
    let config = config(vec![connection], exchange.endpoints());
    let engine = Engine::builder(config).strategy("nothing", make).start().unwrap();
    let mut events = engine.handle().events();
    let mut wait = |what: &str, is: &dyn Fn(&Happening) -> bool| {
        next_event(&runtime, &mut events, what, |happening| is(happening).then(|| happening.clone()))
    };
    wait("ready at first", &|what| matches!(what, Happening::Ready));
    for (name, cut, mend) in CUTS {
        cut.iter().for_each(|arguments| ip(arguments));
        let lost = wait(name, &|what| matches!(what, Happening::Reconnecting { .. }));
        assert!(
            matches!(&lost, Happening::Reconnecting { reason, .. } if reason.starts_with("stale")),
            "{name}: {lost:?}"
        );
        let again = wait("a connect that fails", &|what| matches!(what, Happening::Reconnecting { .. }));
        assert!(matches!(&again, Happening::Reconnecting { attempt, .. } if *attempt > 1), "{name}: {again:?}");
        mend.iter().for_each(|arguments| ip(arguments));
        wait("ready again", &|what| matches!(what, Happening::Ready));
        let status = runtime.block_on(engine.handle().status());
        let rows = &status.connections[0].subscriptions;
        assert!(rows.len() == 10 && rows.iter().all(|row| row.acknowledged), "{name}: {rows:?}");
    }
    let report = engine.stop();
    assert!(report.failure.is_none(), "{}", report.to_json());
    let stats = runtime.block_on(exchange.stop()).venue(VENUE).unwrap().clone();
    assert_eq!((stats.duplicate_subscriptions, stats.rate_limit_closes), (0, 0), "{stats:?}");
}
