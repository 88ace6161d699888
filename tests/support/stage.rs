//! An embedded exchange and an engine in one process, over real sockets, and the means to wait for what they say.
//!
//! ```text
//! sim (a runtime of its own) ◄── ws or wss on loopback ──► engine        until(): asks both until they say what is wanted
//! ```
//! Never waits without a deadline, and never for a time where it can wait for a fact.

use std::sync::Arc;
use std::time::Duration;
use tickwire::config::{Config, ConnectionConfig, EndpointOverrides};
use tickwire::engine::available_cpus;
use tickwire::market::Venue;
use tickwire::sim::Endpoints;
use tickwire::telemetry::{ControlEvent, Happening};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

/// No answer within this is a failure; nothing is waited for this long when things go well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The exchange's threads. The engine has its own: it must be stopped from outside of any runtime.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// These connections at these endpoints, on a CPU that exists.
#[allow(dead_code, reason = "not every program of tests makes its configuration by hand")]
pub(crate) fn config(mut connections: Vec<ConnectionConfig>, endpoints: &Endpoints) -> Config {
    let cpu = *available_cpus().last().expect("this thread runs on some CPU");
    connections.iter_mut().for_each(|connection| connection.core = cpu);
    let mut config = Config::from_connections(connections).unwrap_or_else(|errors| panic!("{errors}"));
    let endpoints = EndpointOverrides::parse(&serde_json::to_string(endpoints).unwrap()).unwrap();
    config.point_at(&endpoints).unwrap();
    config
}

/// Waits until `look` says `Ok`, looking again every few milliseconds, and gives what it said; fails with what it said
/// last where that takes longer than [`PATIENCE`].
pub(crate) fn until<T>(runtime: &Runtime, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    runtime.block_on(async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        // A look that takes longer than that is followed by a pause all the same: it may hold what the engine waits for.
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = String::new();
        let looking = async {
            loop {
                looks.tick().await;
                match look() {
                    Ok(found) => return found,
                    Err(seen) => last = seen,
                }
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(found) => found,
            Err(_) => panic!("not in {PATIENCE:?}: {what}; last seen: {last}"),
        }
    })
}

/// A stream's name, spelled out here as the venues' documents do.
#[allow(dead_code, reason = "not every program of tests names streams")]
pub(crate) fn stream(venue: Venue, channel: &str, symbol: &str) -> String {
    match venue {
        Venue::BinanceSpot | Venue::BinanceUsdm => format!("{}@{channel}", symbol.to_lowercase()),
        Venue::BybitSpot | Venue::BybitLinear => format!("{channel}.{symbol}"),
    }
}

/// Waits until `pick` takes an event, and gives what it took; fails where that takes longer than [`PATIENCE`].
#[allow(dead_code, reason = "not every program of tests waits for events")]
pub(crate) fn next_event<T>(
    runtime: &Runtime,
    events: &mut broadcast::Receiver<Arc<ControlEvent>>,
    what: &str,
    pick: impl Fn(&Happening) -> Option<T>,
) -> T {
    let hearing = async {
        loop {
            let event = events.recv().await.expect("the engine runs, and says little");
            if let Some(taken) = pick(&event.what) {
                return taken;
            }
        }
    };
    let heard = runtime.block_on(async { tokio::time::timeout(PATIENCE, hearing).await });
    heard.unwrap_or_else(|_| panic!("not in {PATIENCE:?}: {what}"))
}
