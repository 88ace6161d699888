//! `tickwire demo`: the embedded exchange and the engine in one process, over real sockets.
//!
//! ```text
//! sim (its own runtime) ◄── ws or wss on loopback ──► engine ──► run_loop
//! ```

use super::args::DemoArguments;
use super::exit::CommandError;
use super::run::run_config;
use super::signals::Signals;
use crate::config::{Config, ConnectionConfig, CoreConfig, EndpointOverrides, EngineConfig};
use crate::engine::{available_cpus, confine_to};
use crate::market::Venue;
use crate::sim::{self, SimHandle, SimOptions, Source, TlsMode};
use anyhow::Context as _;
use std::time::Duration;

/// One product line of each exchange, and the channels that show every tier of the path.
const CONNECTIONS: [(&str, Venue, &[&str]); 2] = [
    ("binance", Venue::BinanceSpot, &["trade", "bookTicker", "depth@100ms"]),
    ("bybit", Venue::BybitLinear, &["publicTrade", "orderbook.1", "orderbook.50", "tickers"]),
];

/// Between two reports, where `--interval` does not say.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

/// Runs until the end that was asked for.
pub(super) fn run(arguments: &DemoArguments, signals: &mut Signals) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("embedded-exchange")
        .enable_all()
        .on_thread_start(|| {
            // The engine's hot core takes the first CPU: the exchange keeps off it where there is another.
            let cpus = available_cpus();
            let _ = confine_to(cpus.get(1..).unwrap_or_default());
        })
        .build()
        .context("runtime of the embedded exchange")
        .map_err(CommandError::Runtime)?;
    let options = SimOptions {
        venues: CONNECTIONS.map(|(_, venue, _)| venue).into(),
        tls: if arguments.tls { TlsMode::On } else { TlsMode::Off },
        source: Source::Synthetic { seed: arguments.seed, rate: arguments.rate, symbols: u32::from(arguments.symbols) },
        ..SimOptions::default()
    };
    let exchange =
        runtime.block_on(sim::start(options)).context("the embedded exchange").map_err(CommandError::Runtime)?;
    let config = config(arguments, &exchange).map_err(CommandError::Configuration)?;
    let ended = run_config(config, &arguments.report, (Some(arguments.duration), None), signals, |builder| {
        builder.default_strategy(arguments.report.strategy_or_default())
    });
    // The engine has closed its connections; what the exchange still holds ends with the process.
    runtime.shutdown_background();
    ended
}

/// Every symbol the exchange lists, on one hot core.
fn config(arguments: &DemoArguments, exchange: &SimHandle) -> anyhow::Result<Config> {
    let mut connections = Vec::with_capacity(CONNECTIONS.len());
    for (name, venue, channels) in CONNECTIONS {
        let symbols = exchange.symbols(venue);
        let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
        connections.push(ConnectionConfig::new(name, venue).subscribed_to(&symbols, channels)?);
    }
    let mut engine = EngineConfig { report_interval: INTERVAL_DEFAULT, ..EngineConfig::for_connections(&connections) };
    for core in &mut engine.cores {
        *core = CoreConfig { idle: arguments.idle.into(), ..core.clone() };
    }
    let mut config = Config::from_parts(connections, engine)?;
    let endpoints = serde_json::to_string(exchange.endpoints())?;
    config.point_at(&EndpointOverrides::parse(&endpoints)?)?;
    Ok(config)
}
