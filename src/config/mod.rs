//! TOML in, checked types out.
//!
//! ```text
//! configs/*.toml ──► reader (types, unknown keys) ──► exchange, engine (defaults laid under) ──► check ──► Config
//! built in code ────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Called by the command line and by `engine`, once. Every error of every file is found before any is returned, each
//! with file, line, key, what was found and what is allowed. Connects to nothing, and repeats no header's value.

mod check;
mod connection;
mod describe;
mod endpoints;
mod engine;
mod error;
mod exchange;
mod place;
mod reader;
mod secret;
#[cfg(test)]
mod tests;

pub use connection::{
    BATCH_DEFAULT, ConnectionConfig, HeartbeatConfig, InstrumentConfig, LimitsConfig, ReconnectConfig,
    ReconnectStrategy, SocketConfig, SubscriptionConfig, TimeoutsConfig, TlsConfig, Transport,
};
pub use describe::describe;
pub use endpoints::{EndpointError, EndpointOverrides, VenueEndpoints};
pub use engine::{CoreConfig, EngineConfig, Idle};
pub use error::{ConfigError, ConfigErrors};
pub use secret::{Header, Secret};

use exchange::Placed;
use place::{Place, Places};
use reader::Source;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// One exchange's file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExchangeConfig {
    /// Its name, which `tickwire check` shows beside each of its connections.
    pub name: String,
    /// Where it was read; empty for a configuration built in code.
    pub file: PathBuf,
}

/// A configuration whose every value has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The exchanges, in the order of their files.
    pub exchanges: Vec<ExchangeConfig>,
    /// Every connection, in the order of files and tables. Never empty.
    pub connections: Vec<ConnectionConfig>,
    /// The process.
    pub engine: EngineConfig,
}

/// What a configuration is checked against: this machine, this build, this environment.
struct Host<'a> {
    /// CPUs this process may use.
    cpus: Vec<usize>,
    /// Compiled-in strategies; `None` where the caller brings its own.
    strategies: Option<&'a [&'a str]>,
    /// The value of an environment variable.
    environment: &'a dyn Fn(&str) -> Option<String>,
}

/// Numbers of the CPUs this process may use, lowest first.
fn cpus() -> Vec<usize> {
    let mut cpus: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}

/// Reads and checks exchange files, and the engine's file if there is one: by `engine`, or among `paths`, where it is
/// known by its keys or by the name `engine.toml` (so that `configs/*.toml` may name all of them). `strategies` are the
/// names this build has.
///
/// # Errors
/// Everything that is wrong, in all files together.
pub fn load(paths: &[PathBuf], engine: Option<&Path>, strategies: &[&str]) -> Result<Config, ConfigErrors> {
    let environment = |variable: &str| std::env::var(variable).ok();
    load_on(paths, engine, &Host { cpus: cpus(), strategies: Some(strategies), environment: &environment })
}

fn load_on(paths: &[PathBuf], engine_path: Option<&Path>, host: &Host<'_>) -> Result<Config, ConfigErrors> {
    let mut errors = Vec::new();
    let (mut exchanges, mut placed) = (Vec::new(), Vec::new());
    let mut engine: Option<(EngineConfig, Places)> = None;
    let named = engine_path.filter(|engine| !paths.iter().any(|path| path == engine));
    for path in paths.iter().map(PathBuf::as_path).chain(named) {
        let source = match Source::open(path) {
            Ok(source) => source,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if let Some(document) = source.document() {
            let root = document.as_table();
            if Some(path) == engine_path || engine::is_engine_file(&source, root) {
                let file = Place { file: Some(path.to_owned()), line: Some(1), key: String::new() };
                if let Some((_, first)) = &engine {
                    let first = first.of("").file.unwrap_or_default();
                    let found = format!("a second engine file, after {}", first.display());
                    source.push(file.error(found, "one engine file"));
                }
                let places = RefCell::new(Places::new(file));
                let read = engine::read(&source, root, &places, host);
                engine.get_or_insert((read, places.into_inner()));
            } else {
                let (name, read) = exchange::read(&source, root, host);
                exchanges.push(ExchangeConfig { name, file: path.to_owned() });
                placed.extend(read);
            }
        }
        errors.extend(source.into_errors());
    }
    if exchanges.is_empty() && errors.is_empty() {
        let file = Place { file: paths.first().cloned(), ..Place::default() };
        errors.push(file.error("no exchange file", "at least one file with a [[connection]]"));
    }
    finish(exchanges, placed, engine, host, errors)
}

/// Lays the connections and the engine together, checks all of it, and gives it out if nothing is wrong.
fn finish(
    exchanges: Vec<ExchangeConfig>,
    mut placed: Vec<Placed>,
    engine: Option<(EngineConfig, Places)>,
    host: &Host<'_>,
    mut errors: Vec<ConfigError>,
) -> Result<Config, ConfigErrors> {
    let (mut engine, places) = engine.unwrap_or_default();
    let names_cores = !engine.cores.is_empty();
    if let Some(first) = engine.cores.first() {
        // A connection of a file that names no core goes to the first hot core there is.
        let silent = placed.iter_mut().filter(|placed| placed.places.is_from_file() && !placed.places.has("core"));
        silent.for_each(|placed| placed.connection.core = first.cpu);
    } else {
        let mut cpus: Vec<usize> = placed.iter().map(|placed| placed.connection.core).collect();
        cpus.sort_unstable();
        cpus.dedup();
        engine.cores = cpus.into_iter().map(CoreConfig::new).collect();
    }
    errors.extend(check::check(&placed, &engine, names_cores, host));
    if names_cores {
        engine::check(&engine, &places, host, &mut errors);
    } else {
        // Each of these cores is a connection's, and was checked where that connection names it.
        let settings = EngineConfig { cores: Vec::new(), ..engine.clone() };
        engine::check(&settings, &places, host, &mut errors);
    }
    if engine.cold_cores.is_empty() {
        engine.cold_cores = engine::remaining(&host.cpus, &engine.cores);
    }
    ConfigErrors::gather(errors)?;
    let connections = placed.into_iter().map(|placed| placed.connection).collect();
    Ok(Config { exchanges, connections, engine })
}

impl Config {
    /// A configuration built in code, held to the same rules as a file; one parked hot core per distinct `core`.
    ///
    /// # Errors
    /// Everything that is wrong, without file and line.
    pub fn from_connections(connections: Vec<ConnectionConfig>) -> Result<Self, ConfigErrors> {
        Self::from_parts(connections, EngineConfig::default())
    }

    /// As [`Config::from_connections`], with the settings of the process. Where `engine` names no core, or no cold core,
    /// they follow from the connections.
    ///
    /// # Errors
    /// Everything that is wrong, without file and line.
    pub fn from_parts(connections: Vec<ConnectionConfig>, engine: EngineConfig) -> Result<Self, ConfigErrors> {
        let host = Host { cpus: cpus(), strategies: None, environment: &|_| None };
        let mut errors = Vec::new();
        if connections.is_empty() {
            errors.push(Place::default().error("no connection", "at least one connection"));
        }
        let mut exchanges: Vec<ExchangeConfig> = Vec::new();
        for connection in &connections {
            if exchanges.iter().all(|exchange| exchange.name != connection.exchange) {
                exchanges.push(ExchangeConfig { name: connection.exchange.clone(), file: PathBuf::new() });
            }
        }
        let named = |connection: ConnectionConfig| {
            let key = format!("connection[{}]", connection.name);
            Placed { connection, places: Places::new(Place { key, ..Place::default() }) }
        };
        let placed = connections.into_iter().map(named).collect();
        finish(exchanges, placed, Some((engine, Places::default())), &host, errors)
    }
}
