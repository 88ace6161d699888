//! The process as a whole: hot cores, cold cores, reports. `engine.toml`, or what follows from the connections.

use super::place::Places;
use super::reader::{Section, Source, nearest};
use super::{ConnectionConfig, Host, LaneConfig, lane};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a hot core does between packets.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Idle {
    /// Sleeps in the kernel until a socket or a ring has something. Costs no CPU, and a wake-up per burst.
    #[default]
    Park,
    /// Never blocks: the whole CPU, for the shortest wait.
    Spin,
    /// Asks the kernel to run others between two visits; for cores that are shared.
    Yield,
}

impl Idle {
    /// The word used in TOML and in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Spin => "spin",
            Self::Yield => "yield",
        }
    }
}

/// Whether the process's memory is locked: kept from being written to a disk, and from being read from one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum LockMemory {
    /// Locked; where the system does not allow it, that is a warning.
    #[default]
    Try,
    /// Locked, or the engine does not start.
    Require,
    /// Left to the kernel.
    Off,
}

impl LockMemory {
    /// The words used in TOML.
    pub(super) const WORDS: [(&str, Self); 3] = [("try", Self::Try), ("require", Self::Require), ("off", Self::Off)];

    /// The word used in TOML and in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Try => "try",
            Self::Require => "require",
            Self::Off => "off",
        }
    }
}

/// How a hot core that never sleeps looks for bytes on its sockets.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Wait {
    /// By the number of its sockets now: by a read of each where they are few, otherwise by asking the kernel.
    #[default]
    Auto,
    /// A read of each socket in turn.
    Recv,
    /// One `epoll_wait` in front, which never waits.
    Epoll,
}

impl Wait {
    /// The word used in TOML and in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Recv => "recv",
            Self::Epoll => "epoll",
        }
    }
}

/// One hot core.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CoreConfig {
    /// CPU number the thread is pinned to.
    pub cpu: usize,
    /// Between packets.
    pub idle: Idle,
    /// How it looks for bytes; a core that parks always asks the kernel.
    pub wait: Wait,
    /// Name of the compiled-in strategy; `None` where no file names one and the caller chooses.
    pub strategy: Option<String>,
}

impl CoreConfig {
    /// A parked core on this CPU, with the strategy of the caller's choice.
    #[must_use]
    pub const fn new(cpu: usize) -> Self {
        Self { cpu, idle: Idle::Park, wait: Wait::Auto, strategy: None }
    }
}

/// A stamped message pays some hundred nanoseconds where its histograms have left the cache: of one in 64 that is one or two
/// a message.
const LATENCY_SAMPLE_EVERY_DEFAULT: u32 = 64;

/// Settings of the whole process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EngineConfig {
    /// Hot cores, each CPU once. Never empty once checked.
    pub cores: Vec<CoreConfig>,
    /// Strategies on threads beside the hot cores.
    pub lanes: Vec<LaneConfig>,
    /// CPU numbers for every other thread. Never empty once checked.
    pub cold_cores: Vec<usize>,
    /// Time between two reports.
    pub report_interval: Duration,
    /// One message of a connection in this many is stamped on its way to the handler; 1 stamps all, 0 none.
    pub latency_sample_every: u32,
    /// Ask the kernel when it received what a hot core reads.
    pub kernel_stamps: bool,
    /// Where the control socket is made; `None`: there is none.
    pub control_socket: Option<PathBuf>,
    /// Watching the hot cores.
    pub watchdog: WatchdogConfig,
    /// The process-wide budgets.
    pub governor: GovernorConfig,
    /// How long `halted` may be believed after the control plane last said so.
    pub halted_lease: Duration,
    /// What is done about memory that the kernel may take away.
    pub lock_memory: LockMemory,
    /// The host is looked at once at the start, and what is bad for a hot core is logged.
    pub host_check: bool,
}

/// How the cold side watches each hot core's beat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WatchdogConfig {
    /// A hot core that has not come around for this long is an event, with the message it was on.
    pub overrun: Duration,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self { overrun: Duration::from_millis(100) }
    }
}

/// What one process may ask of a venue from one address, beside the venue's own limits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GovernorConfig {
    /// Share of the connects a venue allows an address, for this process.
    pub connect_share_percent: u32,
    /// Connects a second to one venue, at most.
    pub connects_per_second: u32,
    /// Requests (subscribes and others) a second to one venue over all connections, at most.
    pub requests_per_second: u32,
}

impl Default for GovernorConfig {
    fn default() -> Self {
        Self { connect_share_percent: 80, connects_per_second: 10, requests_per_second: 50 }
    }
}

impl EngineConfig {
    /// What follows from the connections: one parked hot core per distinct `core` among them, everything else on the
    /// remaining CPUs (on all of them, where none remains).
    #[must_use]
    pub fn for_connections(connections: &[ConnectionConfig]) -> Self {
        let cpus: BTreeSet<usize> = connections.iter().map(|connection| connection.core).collect();
        let mut engine = Self { cores: Vec::new(), cold_cores: Vec::new(), ..Self::default() };
        engine.cores = cpus.into_iter().map(CoreConfig::new).collect();
        engine.cold_cores = remaining(&super::cpus(), &engine.cores);
        engine
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cores: Vec::new(),
            lanes: Vec::new(),
            cold_cores: Vec::new(),
            report_interval: Duration::from_secs(5),
            latency_sample_every: LATENCY_SAMPLE_EVERY_DEFAULT,
            kernel_stamps: false,
            control_socket: None,
            watchdog: WatchdogConfig::default(),
            governor: GovernorConfig::default(),
            halted_lease: Duration::from_secs(1),
            lock_memory: LockMemory::default(),
            host_check: true,
        }
    }
}

/// The CPUs that are nobody's hot core, or all of them.
pub(super) fn remaining(cpus: &[usize], cores: &[CoreConfig]) -> Vec<usize> {
    let free: Vec<usize> = cpus.iter().copied().filter(|cpu| cores.iter().all(|core| core.cpu != *cpu)).collect();
    if free.is_empty() { cpus.to_vec() } else { free }
}

/// Keys an engine file may have, and an exchange file may not.
const KEYS: [&str; 12] = [
    "core",
    "lane",
    "cold_cores",
    "report_interval_s",
    "latency_sample_every",
    "kernel_stamps",
    "control_socket",
    "watchdog",
    "governor",
    "halted_lease_ms",
    "lock_memory",
    "host_check",
];

/// True for a file that is the process's, not an exchange's: it has one of the engine's keys and none of an exchange's,
/// or is called `engine.toml`. So `tickwire check configs/*.toml` needs no thought about which is which.
pub(super) fn is_engine_file(source: &Source, root: &toml_edit::Table) -> bool {
    let has = |keys: &[&str]| keys.iter().any(|key| root.contains_key(key));
    let is_named = source.file.file_name().is_some_and(|name| name == "engine.toml");
    (is_named || has(&KEYS)) && !has(&["exchange", "connection", "defaults", "request"])
}

/// Reads an engine file. `cores` stays empty where the file names none.
pub(super) fn read(
    source: &Source,
    root: &toml_edit::Table,
    places: &RefCell<Places>,
    host: &Host<'_>,
) -> EngineConfig {
    let mut engine = EngineConfig::default();
    let mut section = Section::new(source, root, 1, "", places);
    for (index, (table, line)) in section.tables("core").into_iter().enumerate() {
        let mut core = section.element("core", index, table, line);
        // A CPU the file names later is refused as named twice, with its line: nothing is moved silently.
        let free = host.cpus.iter().find(|cpu| engine.cores.iter().all(|other| other.cpu != **cpu));
        let mut config = CoreConfig::new(free.copied().unwrap_or(0));
        core.count("cpu", &mut config.cpu);
        let words = [("park", Idle::Park), ("spin", Idle::Spin), ("yield", Idle::Yield)];
        core.choice("idle", &words, &mut config.idle);
        let words = [Wait::Auto, Wait::Recv, Wait::Epoll];
        core.choice("wait", &words.map(|word| (word.name(), word)), &mut config.wait);
        config.strategy = core.text("strategy");
        core.finish();
        engine.cores.push(config);
    }
    engine.lanes = lane::read(source, &mut section, places);
    if let Some(elements) = section.list("cold_cores", "a list of CPU numbers: [0, 1]") {
        if elements.is_empty() {
            source.push(places.borrow().of("cold_cores").error("[]", "at least one CPU number"));
        }
        for (value, place) in elements {
            match value.as_integer().and_then(|cpu| usize::try_from(cpu).ok()) {
                Some(cpu) => engine.cold_cores.push(cpu),
                None => source.push(place.error(format!("a value of type {}", value.type_name()), "a CPU number")),
            }
        }
    }
    section.seconds("report_interval_s", &mut engine.report_interval);
    section.count("latency_sample_every", &mut engine.latency_sample_every);
    section.flag("kernel_stamps", &mut engine.kernel_stamps);
    section.path("control_socket", &mut engine.control_socket);
    section.millis("halted_lease_ms", &mut engine.halted_lease);
    section.choice("lock_memory", &LockMemory::WORDS, &mut engine.lock_memory);
    section.flag("host_check", &mut engine.host_check);
    if let Some(mut watchdog) = section.table("watchdog") {
        watchdog.millis("overrun_ms", &mut engine.watchdog.overrun);
        watchdog.finish();
    }
    if let Some(mut governor) = section.table("governor") {
        governor.count("connect_share_percent", &mut engine.governor.connect_share_percent);
        governor.count("connects_per_second", &mut engine.governor.connects_per_second);
        governor.count("requests_per_second", &mut engine.governor.requests_per_second);
        governor.finish();
    }
    section.finish();
    engine
}

/// Checks what an engine file, or a program, says against this machine and this build.
pub(super) fn check(engine: &EngineConfig, places: &Places, host: &Host<'_>, errors: &mut Vec<super::ConfigError>) {
    let mut refuse = |key: &str, found: String, allowed: String| errors.push(places.of(key).error(found, allowed));
    let cpus = format!("a CPU this process may use: {}", list(&host.cpus));
    for (index, core) in engine.cores.iter().enumerate() {
        let key = format!("core[{index}].cpu");
        if !host.cpus.contains(&core.cpu) {
            refuse(&key, format!("CPU {}", core.cpu), cpus.clone());
        } else if engine.cores[..index].iter().any(|other| other.cpu == core.cpu) {
            refuse(&key, format!("CPU {}, a second time", core.cpu), "each CPU in one [[core]]".into());
        }
        if core.idle == Idle::Park && core.wait != Wait::Auto {
            let found = format!("\"{}\", of a core that parks", core.wait.name());
            let allowed = "\"auto\", or `idle` \"spin\" or \"yield\": a core that parks always asks the kernel";
            refuse(&format!("core[{index}].wait"), found, allowed.into());
        }
        if let (Some(strategy), Some(known)) = (&core.strategy, host.strategies)
            && !known.contains(&strategy.as_str())
        {
            let meant = nearest(strategy, known).map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
            let allowed = format!("{meant}this build has {}", known.join(", "));
            refuse(&format!("core[{index}].strategy"), format!("\"{strategy}\""), allowed);
        }
    }
    for (index, cpu) in engine.cold_cores.iter().enumerate() {
        let key = format!("cold_cores[{index}]");
        let spins = engine.cores.iter().any(|core| core.cpu == *cpu && core.idle == Idle::Spin);
        if !host.cpus.contains(cpu) {
            refuse(&key, format!("CPU {cpu}"), cpus.clone());
        } else if spins && engine.cold_cores.len() == 1 && host.cpus.len() > 1 {
            let found = format!("CPU {cpu}, where a hot core spins");
            refuse(&key, found, "another CPU: a spinning core leaves no time for others".into());
        }
    }
    let interval = engine.report_interval;
    if interval < Duration::from_millis(100) || interval > Duration::from_secs(86_400) {
        refuse("report_interval_s", interval.as_secs_f64().to_string(), "0.1 to 86400 seconds".into());
    }
    if engine.latency_sample_every > LATENCY_SAMPLE_EVERY_MAX {
        let allowed = format!("0 to {LATENCY_SAMPLE_EVERY_MAX}: 1 stamps every message, 0 none");
        refuse("latency_sample_every", engine.latency_sample_every.to_string(), allowed);
    }
    check_budgets(engine, &mut refuse);
    if let Some(path) = &engine.control_socket {
        let bytes = path.as_os_str().len();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if bytes > SOCKET_PATH_BYTES_MAX || path.file_name().is_none() {
            let allowed = format!("the path of a socket: 1 to {SOCKET_PATH_BYTES_MAX} bytes");
            refuse("control_socket", format!("a path of {bytes} bytes"), allowed);
        } else if !folder.is_dir() {
            refuse(
                "control_socket",
                format!("{}: no such folder", folder.display()),
                "a path in a folder that exists".into(),
            );
        }
    }
}

/// One message in a million is one a minute of a busy connection.
const LATENCY_SAMPLE_EVERY_MAX: u32 = 1_000_000;

/// Longest path a Unix socket can have (`sun_path`, with the closing zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;

fn check_budgets(engine: &EngineConfig, refuse: &mut impl FnMut(&str, String, String)) {
    let EngineConfig { governor, watchdog, halted_lease, .. } = engine;
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    for (key, value, range, what) in [
        ("watchdog.overrun_ms", ms(watchdog.overrun), 60..=60_000, "milliseconds"),
        ("halted_lease_ms", ms(*halted_lease), 100..=60_000, "milliseconds"),
        ("governor.connect_share_percent", governor.connect_share_percent.into(), 1..=100, "percent"),
        ("governor.connects_per_second", governor.connects_per_second.into(), 1..=1_000, "connects a second"),
        ("governor.requests_per_second", governor.requests_per_second.into(), 1..=10_000, "requests a second"),
    ] {
        if !range.contains(&value) {
            refuse(key, value.to_string(), format!("{} to {} {what}", range.start(), range.end()));
        }
    }
}

pub(super) fn list(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
