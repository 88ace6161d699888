//! TOML in, checked types out.
//!
//! ```text
//! configs/*.toml ──► reader (types, unknown keys) ──► exchange, engine (defaults laid under) ──► check ──► Config
//! built in code ────────────────────────────────────────────────────────────────────────────────┘
//! Config ──► reload: the same files again, or one more ──► Config ──► diff: what an engine takes, and what it refuses
//! ```
//! Called by the command line and by `engine`, once. Every error of every file is found before any is returned, each
//! with file, line, key, what was found and what is allowed. Connects to nothing, and repeats no header's value.

mod apply;
mod book;
mod check;
mod check_upkeep;
mod connection;
mod describe;
mod diff;
mod endpoints;
mod engine;
mod error;
mod exchange;
mod header;
mod lane;
mod legs;
mod place;
mod plan;
mod reader;
mod reload;
mod request;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_lanes;
#[cfg(test)]
mod tests_upkeep;
mod upkeep;

pub use crate::control::Secret;
pub use book::{BookConfig, book_depth, is_better_book};
pub use connection::{
    BATCH_DEFAULT, ConnectionConfig, InstrumentConfig, LimitsConfig, Separate, SocketConfig, SubscriptionConfig,
    TimeoutsConfig, TlsConfig, Transport,
};
pub use describe::describe;
pub use diff::{Difference, Effect, RefusedChange, SettingChange, StreamName, StreamsChange, SymbolMove};
pub use endpoints::{EndpointError, EndpointOverrides, VenueEndpoints};
pub use engine::{CoreConfig, EngineConfig, GovernorConfig, Idle, LockMemory, Wait, WatchdogConfig};
pub use error::{ConfigError, ConfigErrors};
pub use header::Header;
pub use lane::{LaneBy, LaneConfig};
pub use legs::{LegsConfig, RaceConfig};
pub use plan::{ConfigPlan, PlannedSocket};
pub use reload::ReloadError;
pub use request::{RequestCodec, RequestConfig};
pub use upkeep::{
    AuthConfig, Credential, HeartbeatConfig, LivenessConfig, ReconnectConfig, ReconnectStrategy, RestConfig,
    RotationConfig, ServerPing,
};

use exchange::Placed;
use place::{Place, Places};
use reader::Source;
use request::PlacedRequest;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One exchange's file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExchangeConfig {
    /// Its name, which `tickwire check` shows beside each of its connections.
    pub name: String,
    /// Where it was read; empty for a configuration built in code.
    pub file: PathBuf,
}

/// The files a configuration was read from, so that they can be read again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigFiles {
    /// Exchange files, and the engine's file where it stands among them. Empty for a configuration built in code.
    pub configs: Vec<PathBuf>,
    /// The engine's file, where it was named apart.
    pub engine: Option<PathBuf>,
}

/// A configuration whose every value has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The exchanges, in the order of their files.
    pub exchanges: Vec<ExchangeConfig>,
    /// Every connection, in the order of files and tables. Never empty.
    pub connections: Vec<ConnectionConfig>,
    /// Every request/response connection, in the order of files and tables.
    pub requests: Vec<RequestConfig>,
    /// The process.
    pub engine: EngineConfig,
    /// Where all of it was read.
    pub files: ConfigFiles,
    /// The endpoints that replaced those of the files ([`Config::point_at`]).
    pub endpoints: Option<EndpointOverrides>,
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

/// Numbers of the CPUs this process may use, lowest first: as they were when first asked. A running engine confines its
/// threads, and reads its files again on one of them.
fn cpus() -> Vec<usize> {
    static CPUS: OnceLock<Vec<usize>> = OnceLock::new();
    let ask = || {
        let mut cpus: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        cpus.sort_unstable();
        cpus
    };
    CPUS.get_or_init(ask).clone()
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

/// Reads and checks the engine's file alone, whatever strategies it names: for who only looks for its control socket.
///
/// # Errors
/// Everything that is wrong in it.
pub fn load_engine(path: &Path) -> Result<EngineConfig, ConfigErrors> {
    let host = Host { cpus: cpus(), strategies: None, environment: &|_| None };
    let source = Source::open(path).map_err(|error| ConfigErrors::gather(vec![error]).unwrap_err())?;
    let mut engine = EngineConfig::default();
    let mut errors = Vec::new();
    if let Some(document) = source.document() {
        let places = RefCell::new(Places::new(source.place(1, "")));
        engine = engine::read(&source, document.as_table(), &places, &host);
        engine::check(&engine, &places.into_inner(), &host, &mut errors);
    }
    errors.splice(0..0, source.into_errors());
    ConfigErrors::gather(errors)?;
    Ok(engine)
}

fn load_on(paths: &[PathBuf], engine_path: Option<&Path>, host: &Host<'_>) -> Result<Config, ConfigErrors> {
    let mut errors = Vec::new();
    let mut parts = Parts::default();
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
                if let Some((_, first)) = &parts.engine {
                    let first = first.of("").file.unwrap_or_default();
                    let found = format!("a second engine file, after {}", first.display());
                    source.push(file.error(found, "one engine file"));
                }
                let places = RefCell::new(Places::new(file));
                let read = engine::read(&source, root, &places, host);
                parts.engine.get_or_insert((read, places.into_inner()));
            } else {
                let read = exchange::read(&source, root, host);
                parts.exchanges.push(ExchangeConfig { name: read.name, file: path.to_owned() });
                parts.placed.extend(read.placed);
                parts.requests.extend(read.requests);
            }
        }
        errors.extend(source.into_errors());
    }
    if parts.placed.is_empty() && errors.is_empty() {
        let file = Place { file: paths.first().cloned(), ..Place::default() };
        let found = if parts.exchanges.is_empty() { "no exchange file" } else { "no connection" };
        errors.push(file.error(found, "at least one file with a [[connection]]"));
    }
    let files = ConfigFiles { configs: paths.to_vec(), engine: engine_path.map(Path::to_owned) };
    Ok(Config { files, ..parts.finish(host, errors)? })
}

/// What was read, before it is checked together.
#[derive(Default)]
struct Parts {
    exchanges: Vec<ExchangeConfig>,
    placed: Vec<Placed>,
    requests: Vec<PlacedRequest>,
    engine: Option<(EngineConfig, Places)>,
}

impl Parts {
    /// Lays the connections and the engine together, checks all of it, and gives it out if nothing is wrong.
    fn finish(self, host: &Host<'_>, mut errors: Vec<ConfigError>) -> Result<Config, ConfigErrors> {
        let Self { exchanges, mut placed, requests, engine } = self;
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
        check_upkeep::check_requests(&requests, &placed, &mut errors);
        if names_cores {
            engine::check(&engine, &places, host, &mut errors);
        } else {
            // Each of these cores is a connection's, and was checked where that connection names it.
            let settings = EngineConfig { cores: Vec::new(), ..engine.clone() };
            engine::check(&settings, &places, host, &mut errors);
        }
        lane::complete(&mut engine);
        let connections: Vec<&ConnectionConfig> = placed.iter().map(|placed| &placed.connection).collect();
        lane::check(&engine, &connections, &places, host, &mut errors);
        if engine.cold_cores.is_empty() {
            engine.cold_cores = engine::remaining(&host.cpus, &engine.cores);
        }
        ConfigErrors::gather(errors)?;
        let connections = placed.into_iter().map(|placed| placed.connection).collect();
        let requests = requests.into_iter().map(|placed| placed.request).collect();
        Ok(Config { exchanges, connections, requests, engine, files: ConfigFiles::default(), endpoints: None })
    }
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
        let placed = connections.into_iter().map(Placed::in_code).collect();
        let engine = Some((engine, Places::default()));
        Parts { exchanges, placed, requests: Vec::new(), engine }.finish(&host, errors)
    }

    /// The same configuration with these request connections instead of its own.
    ///
    /// # Errors
    /// What is wrong with them, without file and line.
    pub fn with_requests(self, requests: Vec<RequestConfig>) -> Result<Self, ConfigErrors> {
        let named = |request: RequestConfig| {
            let key = format!("request[{}]", request.name);
            PlacedRequest { request, places: Places::new(Place { key, ..Place::default() }) }
        };
        let placed: Vec<PlacedRequest> = requests.into_iter().map(named).collect();
        let connections: Vec<Placed> = self.connections.iter().cloned().map(Placed::in_code).collect();
        let mut errors = Vec::new();
        check_upkeep::check_requests(&placed, &connections, &mut errors);
        ConfigErrors::gather(errors)?;
        Ok(Self { requests: placed.into_iter().map(|placed| placed.request).collect(), ..self })
    }
}
