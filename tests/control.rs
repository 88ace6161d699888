//! A running engine is changed through its handle, and by its files: the exchange's own view is the witness.
//!
//! ```text
//! Handle: subscribe, unsubscribe, add, remove, reconnect, reload ──► engine ──► sim.subscriptions() == what was asked for
//! ```

#[path = "support/stage.rs"]
mod stage;

use stage::{config, runtime, stream, until};
use std::collections::BTreeSet;
use std::path::PathBuf;
use tickwire::config::EndpointOverrides;
use tickwire::engine::available_cpus;
use tickwire::prelude::*;
use tickwire::sim::{self, SimHandle, SimOptions, Source};
use tokio::runtime::Runtime;

const VENUE: Venue = Venue::BinanceSpot;
const CHANNELS: [&str; 2] = ["trade", "bookTicker"];

struct Nothing;

fn on_symbol(_: &mut Nothing, router: &mut Router<Nothing>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |_, _| {});
    router.on_quote(spec.symbol, |_, _| {});
}

fn exchange(runtime: &Runtime) -> (SimHandle, Vec<String>) {
    let source = Source::Synthetic { seed: 7, rate: 500.0, symbols: 10 };
    let options = SimOptions { venues: vec![VENUE], source, ..SimOptions::default() };
    let exchange = runtime.block_on(sim::start(options)).unwrap();
    let symbols = exchange.symbols(VENUE);
    (exchange, symbols)
}

fn streams(symbols: &[String], channels: &[&str]) -> BTreeSet<String> {
    symbols.iter().flat_map(|symbol| channels.iter().map(|channel| stream(VENUE, channel, symbol))).collect()
}

fn connection(name: &str, symbols: &[String]) -> ConnectionConfig {
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    ConnectionConfig::new(name, VENUE).subscribed_to(&symbols, &CHANNELS).unwrap()
}

/// Waits until the exchange has exactly these sets of streams, one for each socket, and the engine says that all is well.
fn until_agreed(runtime: &Runtime, exchange: &SimHandle, engine: &RunningEngine, wanted: &[BTreeSet<String>]) {
    let mut wanted = wanted.to_vec();
    wanted.sort();
    until(runtime, "both sides agree", || {
        let mut views = exchange.subscriptions(VENUE);
        views.retain(|view| !view.is_empty());
        views.sort();
        let report = engine.report();
        let is_well = report.connections.iter().all(tickwire::telemetry::ConnectionReport::is_ready);
        if views == wanted && is_well { Ok(()) } else { Err(format!("{views:?}, {}", report.to_json())) }
    });
}

fn end(runtime: &Runtime, engine: RunningEngine, exchange: SimHandle) {
    let report = engine.stop();
    assert!(report.failure.is_none(), "{}", report.to_json());
    let stats = runtime.block_on(exchange.stop()).venue(VENUE).unwrap().clone();
    assert_eq!((stats.duplicate_subscriptions, stats.rate_limit_closes, stats.request_errors), (0, 0, 0), "{stats:?}");
    assert!(stats.limit_violations.is_empty(), "{stats:?}");
}

#[test]
fn what_a_handle_asks_for_is_so_at_the_exchange_and_what_cannot_be_is_refused_by_name() {
    let runtime = runtime();
    let (exchange, symbols) = exchange(&runtime);
    let both = config(vec![connection("one", &symbols[..8]), connection("two", &symbols[9..])], exchange.endpoints());
    let two = both.connections[1].clone();
    let one = config(vec![connection("one", &symbols[..8])], exchange.endpoints());
    let engine = Engine::builder(one).strategy("nothing", || Strategy { state: Nothing, on_symbol }).start().unwrap();
    let handle = engine.handle();
    until_agreed(&runtime, &exchange, &engine, &[streams(&symbols[..8], &CHANNELS)]);

    let added = runtime.block_on(handle.subscribe("one", &CHANNELS, &[&symbols[8]])).unwrap();
    assert_eq!(BTreeSet::from_iter(added), streams(&symbols[8..9], &CHANNELS), "unknown at the start");
    until_agreed(&runtime, &exchange, &engine, &[streams(&symbols[..9], &CHANNELS)]);
    let again = runtime.block_on(handle.subscribe("one", &CHANNELS, &[&symbols[8]])).unwrap();
    assert!(again.is_empty(), "it is wanted already: {again:?}");

    runtime.block_on(handle.unsubscribe("one", &CHANNELS, &[&symbols[0]])).unwrap();
    until_agreed(&runtime, &exchange, &engine, &[streams(&symbols[1..9], &CHANNELS)]);

    let error = runtime.block_on(handle.subscribe("one", &["trade"], &["NOSUCHUSDT"])).unwrap_err().to_string();
    assert!(error.contains("NOSUCHUSDT"), "{error}");
    let error = runtime.block_on(handle.subscribe("nobody", &["trade"], &[&symbols[1]])).unwrap_err().to_string();
    assert!(error.contains("nobody"), "{error}");

    runtime.block_on(handle.add(vec![two])).unwrap();
    let apart = [streams(&symbols[1..9], &CHANNELS), streams(&symbols[9..], &CHANNELS)];
    until_agreed(&runtime, &exchange, &engine, &apart);
    let error = runtime.block_on(handle.subscribe("one", &["trade"], &[&symbols[9]])).unwrap_err().to_string();
    assert!(error.contains(&symbols[9]) || error.contains("two"), "one stream is on one connection: {error}");

    runtime.block_on(handle.reconnect("one")).unwrap();
    until(&runtime, "another socket", || match exchange.stats().venue(VENUE).unwrap().connections_accepted {
        3 => Ok(()),
        other => Err(other.to_string()),
    });
    until_agreed(&runtime, &exchange, &engine, &apart);

    const LIST: &str = r#"{"method":"LIST_SUBSCRIPTIONS","id":77}"#;
    let heard = || exchange.stats().venue(VENUE).unwrap().requests_received;
    let before = heard();
    runtime.block_on(handle.send_to("two", LIST)).unwrap();
    until(
        &runtime,
        "a text of the operator's",
        || if heard() == before + 1 { Ok(()) } else { Err(heard().to_string()) },
    );
    assert_eq!(runtime.block_on(handle.broadcast(Some(VENUE), LIST)), 2, "each socket takes it");
    until(&runtime, "it on both", || if heard() == before + 3 { Ok(()) } else { Err(heard().to_string()) });
    assert_eq!(runtime.block_on(handle.broadcast(Some(Venue::BybitSpot), LIST)), 0, "no socket of that venue");
    let error = runtime.block_on(handle.send_to("nobody", LIST)).unwrap_err().to_string();
    assert!(error.contains("nobody"), "{error}");

    runtime.block_on(handle.remove("two")).unwrap();
    until_agreed(&runtime, &exchange, &engine, &apart[..1]);
    let error = runtime.block_on(handle.remove("two")).unwrap_err().to_string();
    assert!(error.contains("two"), "{error}");
    assert_eq!(handle.halted_connections(), Vec::<String>::new());
    end(&runtime, engine, exchange);
}

/// A file of ours, gone at the end.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tickwire-control-{}.toml", std::process::id()));
        std::fs::write(&path, text).expect("a file of our own");
        Self(path)
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a file of our own");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn toml(connections: &[(&str, &[String])]) -> String {
    let cpu = available_cpus().last().copied().expect("this thread runs on some CPU");
    let one = |(name, symbols): &(&str, &[String])| {
        format!(
            "[[connection]]\nname = \"{name}\"\nvenue = \"{VENUE}\"\ncore = {cpu}\nsymbols = {symbols:?}\n\
             channels = {CHANNELS:?}\n"
        )
    };
    connections.iter().map(one).collect()
}

#[test]
fn a_reload_adds_drops_and_moves_what_differs_and_leaves_the_rest_alone() {
    let runtime = runtime();
    let (exchange, symbols) = exchange(&runtime);
    let file = File::new(&toml(&[("one", &symbols[..4]), ("two", &symbols[4..6])]));
    let mut config = tickwire::config::load(std::slice::from_ref(&file.0), None, &["nothing"]).unwrap();
    let endpoints = serde_json::to_string(exchange.endpoints()).unwrap();
    config.point_at(&EndpointOverrides::parse(&endpoints).unwrap()).unwrap();
    let engine =
        Engine::builder(config).strategy("nothing", || Strategy { state: Nothing, on_symbol }).start().unwrap();
    let handle = engine.handle();
    let views = |ranges: &[std::ops::Range<usize>]| -> Vec<BTreeSet<String>> {
        ranges.iter().map(|range| streams(&symbols[range.clone()], &CHANNELS)).collect()
    };
    until_agreed(&runtime, &exchange, &engine, &views(&[0..4, 4..6]));

    let difference = runtime.block_on(handle.reload(false)).unwrap();
    assert!(!difference.is_live() && difference.refused.is_empty(), "nothing differs: {difference}");

    // Symbol 3 moves to `two`, 5 goes, and `three` is new.
    file.write(&toml(&[("one", &symbols[..3]), ("two", &symbols[3..5]), ("three", &symbols[6..8])]));
    let difference = runtime.block_on(handle.reload(true)).unwrap();
    assert_eq!(difference.added, ["three"], "{difference}");
    until_agreed(&runtime, &exchange, &engine, &views(&[0..4, 4..6]));
    runtime.block_on(handle.reload(false)).unwrap();
    until_agreed(&runtime, &exchange, &engine, &views(&[0..3, 3..5, 6..8]));
    assert_eq!(exchange.stats().venue(VENUE).unwrap().connections_accepted, 3, "those that stay are not made again");

    file.write("[[connection]]\nname = \"one\"\n");
    let error = runtime.block_on(handle.reload(false)).unwrap_err().to_string();
    assert!(error.contains("venue"), "what is missing is named: {error}");
    until_agreed(&runtime, &exchange, &engine, &views(&[0..3, 3..5, 6..8]));

    file.write(&toml(&[("two", &symbols[3..5])]));
    runtime.block_on(handle.reload(false)).unwrap();
    until_agreed(&runtime, &exchange, &engine, &[streams(&symbols[3..5], &CHANNELS)]);
    // Both sides agree before the cold side has heard of the last end.
    until(&runtime, "what was removed is not missed", || match handle.halted_connections() {
        halted if halted.is_empty() => Ok(()),
        halted => Err(format!("{halted:?}")),
    });
    end(&runtime, engine, exchange);
}
