//! Thousands of subscriptions: what `tickwire check --plan` says is what then happens, at the start and once more when
//! every connection was reset at once.
//!
//! ```text
//! TOML ──► check --plan --json: sockets, requests, streams ──┐
//!   └────► Engine ──► sim: sockets, requests, streams ───────┴─ the same, within every limit, heavy symbols first
//! ```

#[path = "support/stage.rs"]
mod stage;

use serde_json::Value;
use stage::{runtime, stream, until};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use tickwire::config::{self, EndpointOverrides};
use tickwire::engine::available_cpus;
use tickwire::prelude::*;
use tickwire::sim::{self, Kill, SimHandle, SimOptions, Source};
use tickwire::telemetry::ConnectionReport;
use tokio::runtime::Runtime;

/// Symbols at the end of the list that are made heavy: without their weight they would be asked for last.
const HEAVY: usize = 8;

struct Nothing;

fn on_symbol(_: &mut Nothing, router: &mut Router<Nothing>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |_, _| {});
    router.on_quote(spec.symbol, |_, _| {});
    router.on_ticker(spec.symbol, |_, _| {});
    router.on_book_delta(spec.symbol, |_, _| {});
}

/// A file with these symbols, the last of them heavy.
fn write_toml(venue: Venue, symbols: &[String], channels: &[&str]) -> PathBuf {
    let weights: String = symbols[symbols.len() - HEAVY..].iter().map(|symbol| format!("{symbol} = 50\n")).collect();
    let cpu = available_cpus().last().copied().expect("this thread runs on some CPU");
    let text = format!(
        "[[connection]]\nname = \"all\"\nvenue = \"{venue}\"\ncore = {cpu}\nsymbols = {symbols:?}\n\
         channels = {channels:?}\n[connection.subscription.weights]\n{weights}\n\
         [connection.reconnect]\nbase_ms = 20\n"
    );
    let path = std::env::temp_dir().join(format!("tickwire-scale-{}-{venue}.toml", std::process::id()));
    std::fs::write(&path, text).expect("a file of our own");
    path
}

/// One socket of the printed plan.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Planned {
    requests: u64,
    streams: usize,
}

fn planned(path: &PathBuf) -> Vec<Planned> {
    let program = env!("CARGO_BIN_EXE_tickwire");
    let done = Command::new(program).args(["check", "--plan", "--json"]).arg(path).output().expect("it runs");
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let plan: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(plan["violations"], serde_json::json!([]));
    let number = |value: &Value| value.as_u64().expect("a whole number");
    let sockets = plan["connections"].as_array().expect("a list").iter().map(|socket| Planned {
        requests: number(&socket["requests"]),
        streams: usize::try_from(number(&socket["streams"])).expect("a small one"),
    });
    sockets.collect()
}

/// The exchange's view, checked as it grows until it is whole: on each socket the heavy streams come before any other.
fn until_subscribed(
    runtime: &Runtime,
    exchange: &SimHandle,
    venue: Venue,
    wanted: &BTreeSet<String>,
    heavy: &[String],
) {
    let heavy: BTreeSet<&String> = heavy.iter().collect();
    let mut growing = 0;
    let what = format!("{venue}: {} streams, each once", wanted.len());
    let views = until(runtime, &what, || {
        let views = exchange.subscriptions(venue);
        let all: Vec<&String> = views.iter().flatten().collect();
        let set: BTreeSet<&String> = all.iter().copied().collect();
        assert_eq!(set.len(), all.len(), "{venue}: no stream is on two sockets");
        let is_whole = set.len() == wanted.len();
        growing += u32::from(!is_whole && !all.is_empty());
        // A socket that has begun has its heavy streams first: those it is ever to have are among its first request's.
        let begun = views.iter().filter(|view| !view.is_empty());
        let without = begun.filter(|view| !view.iter().any(|stream| heavy.contains(stream))).count();
        assert_eq!(without, 0, "{venue}: a socket began without its heavy symbols");
        if is_whole { Ok(views.clone()) } else { Err(format!("{} of {}", set.len(), wanted.len())) }
    });
    // Bybit states no pace: there all requests leave at once, and may all be there at the first look.
    assert!(growing > 0 || venue == Venue::BybitLinear, "{venue}: it was watched while it grew");
    assert_eq!(&views.into_iter().flatten().collect::<BTreeSet<_>>(), wanted);
}

/// Waits until every subscription has its bits: sent, acknowledged, first data.
fn until_spoken(engine: &RunningEngine, streams: usize) {
    let begun = std::time::Instant::now();
    loop {
        let handle = engine.handle();
        let status = engine.block_on(async move { handle.status().await }).expect("it runs");
        let all = || status.connections.iter().flat_map(|connection| &connection.subscriptions);
        let spoken = all().filter(|one| one.sent && one.acknowledged && one.first_data).count();
        if spoken == streams && all().count() == streams {
            for budget in &status.governor {
                assert!(budget.connects_max.is_none_or(|max| budget.connects_used <= max), "{budget:?}");
            }
            return;
        }
        let quiet: Vec<_> = all().filter(|one| !one.first_data).take(3).collect();
        assert!(begun.elapsed() < stage::PATIENCE, "{spoken} of {streams} have spoken; not: {quiet:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// What was asked for so far, against the plan: `times` over.
fn assert_as_planned(exchange: &SimHandle, venue: Venue, plan: &[Planned], times: u64) {
    let stats = exchange.stats();
    let stats = stats.venue(venue).unwrap();
    assert!(stats.limit_violations.values().all(|&count| count == 0), "{:?}", stats.limit_violations);
    let bad = (stats.duplicate_subscriptions, stats.request_errors, stats.rate_limit_closes);
    assert_eq!(bad, (0, 0, 0), "{venue}: {stats:?}");
    let requests: u64 = plan.iter().map(|socket| socket.requests).sum();
    assert_eq!(stats.subscribe_requests, times * requests, "{venue}: requests as planned, {times} times");
    let mut carried: Vec<usize> = exchange.subscriptions(venue).iter().map(BTreeSet::len).collect();
    let mut wanted: Vec<usize> = plan.iter().map(|socket| socket.streams).collect();
    carried.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(carried, wanted, "{venue}: streams a socket as planned");
}

fn as_planned_and_back_again(venue: Venue, symbol_count: u32, channels: &[&str]) {
    let runtime = runtime();
    let source = Source::Synthetic { seed: 9, rate: 6_000.0, symbols: symbol_count };
    let options = SimOptions { venues: vec![venue], source, ..SimOptions::default() };
    let exchange = runtime.block_on(sim::start(options)).unwrap();
    let symbols = exchange.symbols(venue);
    assert_eq!(symbols.len(), symbol_count as usize);
    let path = write_toml(venue, &symbols, channels);
    let plan = planned(&path);
    let mut config =
        config::load(std::slice::from_ref(&path), None, &["nothing"]).unwrap_or_else(|errors| panic!("{errors}"));
    std::fs::remove_file(&path).expect("still there");
    let endpoints = serde_json::to_string(exchange.endpoints()).unwrap();
    config.point_at(&EndpointOverrides::parse(&endpoints).unwrap()).unwrap();
    let streams = |symbols: &[String]| -> Vec<String> {
        symbols.iter().flat_map(|symbol| channels.iter().map(move |channel| stream(venue, channel, symbol))).collect()
    };
    let (wanted, heavy) = (streams(&symbols).into_iter().collect(), streams(&symbols[symbols.len() - HEAVY..]));
    let engine =
        Engine::builder(config).strategy("nothing", || Strategy { state: Nothing, on_symbol }).start().unwrap();
    until_subscribed(&runtime, &exchange, venue, &wanted, &heavy);
    until_spoken(&engine, wanted.len());
    assert_as_planned(&exchange, venue, &plan, 1);
    exchange.kill_connections(venue, Kill::Reset);
    until(&runtime, "every connection was lost and is back", || {
        let report = engine.report();
        let is_back = |one: &ConnectionReport| one.is_ready() && one.reconnects == 1;
        if report.connections.iter().all(is_back) { Ok(()) } else { Err(report.to_json()) }
    });
    until_spoken(&engine, wanted.len());
    assert_as_planned(&exchange, venue, &plan, 2);
    let report = engine.stop();
    assert_eq!(report.connections.len(), plan.len());
    let bad = |one: &ConnectionReport| one.unparsed + one.unrouted + one.subscriptions.refused + one.acks_unmatched;
    assert_eq!(report.connections.iter().map(bad).sum::<u64>(), 0, "{}", report.to_json());
}

#[test]
fn fifteen_hundred_symbols_of_binance_spot_are_subscribed_as_planned_and_again_after_a_reset_of_all() {
    as_planned_and_back_again(Venue::BinanceSpot, 1_500, &["bookTicker", "depth@100ms"]);
}

#[test]
fn three_hundred_symbols_of_bybit_linear_are_subscribed_as_planned_and_again_after_a_reset_of_all() {
    as_planned_and_back_again(Venue::BybitLinear, 300, &["orderbook.1", "orderbook.50", "tickers"]);
}
