//! Ties the rooms: builds the process from a configuration, starts it, reports on it, stops it.
//!
//! ```text
//! main thread      Engine::start ─────────────► RunningEngine: report, failure, stop
//!                       │ spawns
//! hot threads      one Core a CPU, pinned                          (hot)
//!                       ▲ rings
//! cold runtime     one link a core ◄─► one driver a socket         (control, net)
//!                  one listing a venue                             (net)
//! ```
//! Cold threads are confined to the cold CPUs and never inherit a hot thread's mask.

mod affinity;
mod client;
mod driver;
mod link;
mod listing;
mod plan;
mod report;
mod slots;

use crate::config::{Config, Idle, Transport};
use crate::control::GovernorSettings;
use crate::hot::{self, Command, Core, CoreSettings, CoreStats, HotPorts, PanicReport, Strategy};
use crate::limits::CONNECTION_COUNT_MAX;
use crate::market::{Instrument, Symbol, SymbolSpec, SymbolTableError, Venue};
use crate::net::{RestError, SharedGovernor, TlsError};
use crate::strategy;
use crate::telemetry::{Failure, FailureKind, Report, current_thread_id, thread_allocations};
use driver::{Driver, SharedStatus};
use listing::{ListingHandle, Symbols, VenueListing};
use plan::{SocketPlan, TlsConfigs};
use slots::SlotTable;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub use affinity::{available_cpus, confine_to};
pub use client::{RequestClient, RequestClientOptions, RequestClientStatus, RequestError};

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A core names a strategy that nobody registered.
    #[error("core {cpu}: no strategy is called `{name}`: one of {known}")]
    UnknownStrategy {
        /// The core's CPU.
        cpu: usize,
        /// The name found.
        name: String,
        /// The names there are.
        known: String,
    },
    /// More sockets on one core than it can watch.
    #[error("core {cpu}: {sockets} sockets: at most {CONNECTION_COUNT_MAX} are allowed on one core")]
    TooManySockets {
        /// The core's CPU.
        cpu: usize,
        /// Sockets planned.
        sockets: usize,
    },
    /// A connection names a CPU that is no hot core.
    #[error("connection `{connection}`: CPU {cpu} is not a hot core")]
    NoSuchCore {
        /// The connection.
        connection: String,
        /// The CPU it names.
        cpu: usize,
    },
    /// Streams that no set of connections can carry.
    #[error("connection `{connection}`: {error}")]
    Plan {
        /// The connection.
        connection: String,
        /// Why.
        error: crate::control::PlanError,
    },
    /// Trust could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A venue's REST host cannot be asked.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// A hot thread could not be pinned or started.
    #[error("core {cpu}: {error}")]
    Core {
        /// The core's CPU.
        cpu: usize,
        /// What the system says.
        error: io::Error,
    },
    /// The cold runtime could not be started.
    #[error("cold runtime: {0}")]
    Runtime(io::Error),
}

/// What a factory is given to start one hot thread.
struct CoreParts {
    cpu: usize,
    settings: CoreSettings,
    ports: HotPorts,
    stats: Arc<CoreStats>,
    started: std_mpsc::Sender<io::Result<()>>,
    ended: std_mpsc::Sender<(usize, Option<Box<PanicReport>>)>,
}

type Factory = Arc<dyn Fn(CoreParts) -> io::Result<()> + Send + Sync>;

/// What a strategy shows besides its handlers: kept by the engine, asked for the final report.
type Summary = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Starts here: [`Engine::builder`].
#[derive(Debug)]
pub struct Engine;

/// Collects strategies, then starts.
pub struct EngineBuilder {
    config: Config,
    factories: BTreeMap<String, Factory>,
    summaries: Arc<Mutex<Vec<Summary>>>,
    default_strategy: String,
}

impl Engine {
    /// A builder with the compiled-in strategies.
    #[must_use]
    pub fn builder(config: Config) -> EngineBuilder {
        let builder = EngineBuilder {
            config,
            factories: BTreeMap::new(),
            summaries: Arc::default(),
            default_strategy: strategy::NAMES[0].to_owned(),
        };
        builder.strategy("null", strategy::null).with_spread().with_print()
    }
}

impl EngineBuilder {
    /// Registers a strategy of one's own under a name. `make` runs on each hot core that uses it, before its loop. The
    /// last one registered by this is what cores without a strategy of their own use.
    #[must_use]
    pub fn strategy<S: 'static>(mut self, name: &str, make: impl Fn() -> Strategy<S> + Send + Sync + 'static) -> Self {
        let make = Arc::new(make);
        let factory = move |parts: CoreParts| {
            let make = Arc::clone(&make);
            spawn_core(parts, move || make())
        };
        self.factories.insert(name.to_owned(), Arc::new(factory));
        self.default_strategy = name.to_owned();
        self
    }

    /// What cores use that name no strategy.
    #[must_use]
    pub fn default_strategy(mut self, name: &str) -> Self {
        self.default_strategy = name.to_owned();
        self
    }

    fn with_spread(mut self) -> Self {
        let summaries = Arc::clone(&self.summaries);
        let factory = move |parts: CoreParts| {
            let (strategy, table) = strategy::spread();
            let summary: Summary = Arc::new(move || (!table.rows().is_empty()).then(|| table.summary(12)));
            summaries.lock().unwrap_or_else(PoisonError::into_inner).push(summary);
            spawn_core(parts, move || strategy)
        };
        self.factories.insert("spread".to_owned(), Arc::new(factory));
        self
    }

    fn with_print(mut self) -> Self {
        let summaries = Arc::clone(&self.summaries);
        let cold_cores = self.config.engine.cold_cores.clone();
        let factory = move |parts: CoreParts| {
            let cold_cores = cold_cores.clone();
            let (strategy, printer) = strategy::print(io::BufWriter::new(io::stderr()), move || {
                let _ = confine_to(&cold_cores);
            })?;
            let summary: Summary = Arc::new(move || {
                let dropped = printer.dropped();
                (dropped > 0).then(|| format!("print: {dropped} events found the ring full and were not printed\n"))
            });
            summaries.lock().unwrap_or_else(PoisonError::into_inner).push(summary);
            spawn_core(parts, move || strategy)
        };
        self.factories.insert("print".to_owned(), Arc::new(factory));
        self
    }

    /// Starts the hot threads and the cold runtime. Returns once every hot thread is pinned and in its loop; the
    /// connections come after that.
    ///
    /// # Errors
    /// [`EngineError`]: nothing is left running.
    pub fn start(self) -> Result<RunningEngine, EngineError> {
        affinity::keep_freed_memory();
        let mut by_core = self.plans()?;
        let (ended_in, ended) = std_mpsc::channel();
        let mut cores = Vec::new();
        let mut threads = Vec::new();
        let mut cold_ports = Vec::new();
        for core in &self.config.engine.cores {
            let factory = self.factory(core.cpu, core.strategy.as_deref())?;
            let stats = Arc::new(CoreStats::new(core.cpu));
            let at_core = |error| EngineError::Core { cpu: core.cpu, error };
            let (hot_ports, cold) = hot::ports().map_err(at_core)?;
            let (started_in, started) = std_mpsc::channel();
            factory(CoreParts {
                cpu: core.cpu,
                settings: CoreSettings {
                    idle: match core.idle {
                        Idle::Spin => hot::Idle::Spin,
                        Idle::Yield => hot::Idle::Yield,
                        Idle::Park => hot::Idle::Park,
                    },
                    latency_sample_every: self.config.engine.latency_sample_every,
                    thread_allocations,
                },
                ports: hot_ports,
                stats: Arc::clone(&stats),
                started: started_in,
                ended: ended_in.clone(),
            })
            .map_err(at_core)?;
            started.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended at once"))).map_err(at_core)?;
            threads.push(report::Thread::new(Arc::clone(&stats)));
            cores.push(stats);
            cold_ports.push(cold);
        }
        let runtime = cold_runtime(&self.config.engine.cold_cores).map_err(EngineError::Runtime)?;
        let symbols = Symbols::default();
        let cold_failure = ColdFailure::default();
        let mut commands = Vec::new();
        let mut slots = Vec::new();
        for (index, ports) in cold_ports.into_iter().enumerate() {
            let (command_in, command_out) = mpsc::channel(link::COMMAND_QUEUE);
            let table = SlotTable::new();
            slots.push(table.clone());
            let pulses = Arc::clone(&cores[index].pulses);
            let cpu = cores[index].cpu;
            let link = async move {
                if let Err(error) = link::run(ports, command_out, table, pulses).await {
                    panic!("its rings failed: {error}");
                }
            };
            runtime.spawn(supervised(format!("the link to core {cpu}"), link, Arc::clone(&cold_failure)));
            commands.push(command_in);
        }
        let governor = SharedGovernor::new(GovernorSettings::default());
        let listings = self.listings(&runtime, &governor, &commands, &symbols, &cold_failure)?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut sockets = Vec::new();
        let mut drivers = tokio::task::JoinSet::new();
        for (plans, slots) in by_core.drain(..).zip(&slots) {
            for plan in plans {
                let stats = Arc::default();
                let (hearer, notices) = mpsc::unbounded_channel();
                let status = SharedStatus::default();
                sockets.push(report::Socket {
                    name: plan.name.clone(),
                    venue: plan.venue,
                    transport: match plan.transport {
                        Transport::Hot => "hot",
                        Transport::Cold => "cold",
                    },
                    stats: Arc::clone(&stats),
                    status: Arc::clone(&status),
                });
                let core = commands[plan.core].clone();
                let listing = listings[&plan.venue].progress();
                let stop = stopped.clone();
                let name = format!("the driver of {}", plan.name);
                let driver = Driver {
                    plan,
                    core,
                    slots: slots.clone(),
                    lease: None,
                    hearer,
                    notices,
                    stats,
                    socket: Arc::default(),
                    status,
                    listing,
                    stop,
                };
                drivers.spawn_on(supervised(name, driver.run(), Arc::clone(&cold_failure)), runtime.handle());
            }
        }
        Ok(RunningEngine {
            started: Instant::now(),
            cores,
            threads,
            sockets,
            slots,
            symbols,
            commands,
            stop,
            drivers,
            cold_failure,
            runtime: Some(runtime),
            ended: Mutex::new(Ended { from_threads: ended, panic: None, count: 0 }),
            summaries: self.summaries,
        })
    }

    /// The sockets of each core, in the order of the engine's cores.
    fn plans(&self) -> Result<Vec<Vec<SocketPlan>>, EngineError> {
        let cores = &self.config.engine.cores;
        let mut by_core: Vec<Vec<SocketPlan>> = cores.iter().map(|_| Vec::new()).collect();
        let mut tls = TlsConfigs::default();
        for connection in &self.config.connections {
            let core = cores
                .iter()
                .position(|core| core.cpu == connection.core)
                .ok_or_else(|| EngineError::NoSuchCore { connection: connection.name.clone(), cpu: connection.core })?;
            let plans = plan::sockets(connection, core, &mut tls)?;
            by_core[core].extend(plans);
            let sockets = by_core[core].len();
            if sockets > CONNECTION_COUNT_MAX {
                return Err(EngineError::TooManySockets { cpu: connection.core, sockets });
            }
        }
        Ok(by_core)
    }

    fn factory(&self, cpu: usize, name: Option<&str>) -> Result<Factory, EngineError> {
        let name = name.unwrap_or(&self.default_strategy);
        self.factories.get(name).map(Arc::clone).ok_or_else(|| EngineError::UnknownStrategy {
            cpu,
            name: name.to_owned(),
            known: self.factories.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// Starts one listing a venue, and gives what to ask it by.
    fn listings(
        &self,
        runtime: &Runtime,
        governor: &Arc<SharedGovernor>,
        commands: &[mpsc::Sender<Command>],
        symbols: &Symbols,
        cold_failure: &ColdFailure,
    ) -> Result<HashMap<Venue, ListingHandle>, EngineError> {
        let mut tls = TlsConfigs::default();
        let mut listings = HashMap::new();
        for venue in Venue::ALL {
            let connections: Vec<_> =
                self.config.connections.iter().filter(|connection| connection.venue == venue).collect();
            let Some(first) = connections.first() else { continue };
            let rest = listing::governed_rest(first, tls.get(first.tls.ca_file.as_ref())?, governor)?;
            let cores = self.config.engine.cores.iter().zip(commands);
            let cores = cores
                .filter(|(core, _)| connections.iter().any(|connection| connection.core == core.cpu))
                .map(|(_, commands)| commands.clone())
                .collect();
            let (listing, handle) = VenueListing::new(&connections, rest, cores, Arc::clone(symbols));
            let name = format!("the listing of {venue}");
            runtime.spawn(supervised(name, listing.run(), Arc::clone(cold_failure)));
            listings.insert(venue, handle);
        }
        Ok(listings)
    }
}

impl std::fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBuilder").field("strategies", &self.factories.keys()).finish_non_exhaustive()
    }
}

/// Starts a pinned thread whose core runs what `make` gives.
fn spawn_core<S: 'static>(parts: CoreParts, make: impl FnOnce() -> Strategy<S> + Send + 'static) -> io::Result<()> {
    let CoreParts { cpu, settings, ports, stats, started, ended } = parts;
    let run = move || {
        let core = affinity::pin_to_one(cpu).and_then(|()| {
            // Without it the report lacks the kernel's counts of this thread, and says so.
            stats.thread_id.store(current_thread_id().unwrap_or(0), Ordering::Relaxed);
            Core::new(settings, ports, stats, make())
        });
        match core {
            Err(error) => drop(started.send(Err(error))),
            Ok(core) => {
                let _ = started.send(Ok(()));
                let panic = core.run().err();
                let _ = ended.send((cpu, panic));
            }
        }
    };
    std::thread::Builder::new().name(format!("hot-{cpu}")).spawn(run).map(drop)
}

/// The first failure of the cold side.
type ColdFailure = Arc<Mutex<Option<Failure>>>;

/// Runs a task of the cold side to its end; a panic in it is a failure of the engine, not a silence.
async fn supervised(name: String, task: impl Future<Output = ()> + Send + 'static, failure: ColdFailure) {
    if let Err(error) = tokio::spawn(task).await
        && error.is_panic()
    {
        let message = format!("{name} failed: {error}");
        tracing::error!("{message}");
        let failed = Failure { kind: FailureKind::Runtime, message };
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failed);
    }
}

/// Tokio on the cold CPUs only. Two workers: the control plane is rarely busy, and never on one thing.
fn cold_runtime(cold_cores: &[usize]) -> io::Result<Runtime> {
    let cpus = cold_cores.to_vec();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("cold")
        .enable_all()
        .on_thread_start(move || {
            if let Err(error) = confine_to(&cpus) {
                tracing::warn!(%error, ?cpus, "a cold thread could not be confined to its CPUs");
            }
        })
        .build()
}

#[derive(Debug)]
struct Ended {
    from_threads: std_mpsc::Receiver<(usize, Option<Box<PanicReport>>)>,
    panic: Option<Failure>,
    count: usize,
}

/// How long `stop` takes at most: closing handshakes are given 80 ms, on either side.
const STOP_WAIT: Duration = Duration::from_millis(130);

/// An engine at work.
pub struct RunningEngine {
    started: Instant,
    cores: Vec<Arc<CoreStats>>,
    threads: Vec<report::Thread>,
    sockets: Vec<report::Socket>,
    /// Of each core, in the order of `cores`.
    slots: Vec<SlotTable>,
    symbols: Symbols,
    commands: Vec<mpsc::Sender<Command>>,
    stop: tokio::sync::watch::Sender<bool>,
    drivers: tokio::task::JoinSet<()>,
    cold_failure: ColdFailure,
    runtime: Option<Runtime>,
    ended: Mutex<Ended>,
    summaries: Arc<Mutex<Vec<Summary>>>,
}

impl RunningEngine {
    /// Totals since the start. From any thread; disturbs no hot core beyond a few cache lines.
    #[must_use]
    pub fn report(&self) -> Report {
        let symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner).len();
        report::report(self.started.elapsed(), &self.sockets, &self.threads, symbols, self.failure())
    }

    /// What the strategies show of themselves: one text each.
    #[must_use]
    pub fn summaries(&self) -> Vec<String> {
        let summaries = self.summaries.lock().unwrap_or_else(PoisonError::into_inner);
        summaries.iter().filter_map(|summary| summary()).collect()
    }

    /// Set once a handler panicked or a hot thread ended by itself: the engine is to be stopped.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok((cpu, panic)) = ended.from_threads.try_recv() {
            ended.note(cpu, panic, self);
        }
        let of_hot = ended.panic.clone();
        drop(ended);
        let of_cold = || self.cold_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        of_hot.or_else(of_cold).or_else(|| self.all_closed())
    }

    /// An engine whose every connection is over for good has nothing left to do, and says so.
    fn all_closed(&self) -> Option<Failure> {
        let is_stopping = *self.stop.borrow();
        if is_stopping || self.sockets.is_empty() || !self.sockets.iter().all(report::Socket::is_over) {
            return None;
        }
        let reasons: Vec<String> = self.sockets.iter().map(report::Socket::last_words).collect();
        let message = format!("every connection is closed for good: {}", reasons.join("; "));
        Some(Failure { kind: FailureKind::Runtime, message })
    }

    /// The symbols known so far.
    #[must_use]
    pub fn symbols(&self) -> Vec<SymbolSpec> {
        self.symbols.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Makes a symbol known while the engine runs: it gets an id, every hot core learns it, and each strategy's
    /// `on_symbol` is called for it there. Adding a known one changes nothing. It is not subscribed by this: it is for
    /// what arrives already, as a new listing does on an all-market channel.
    ///
    /// # Errors
    /// [`SymbolTableError`]: no id is left, or the name or a scale is out of bounds.
    pub fn add_symbol(
        &self,
        venue: Venue,
        name: &str,
        (price_scale, qty_scale): (u8, u8),
        instrument: Option<Instrument>,
    ) -> Result<Symbol, SymbolTableError> {
        let mut symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = symbols.find(venue, name) {
            return Ok(known);
        }
        let symbol = symbols.add(venue, name, price_scale, qty_scale, instrument)?;
        let spec = symbols.spec(symbol).cloned();
        drop(symbols);
        if let (Some(spec), Some(runtime)) = (spec, &self.runtime) {
            for commands in &self.commands {
                let (commands, spec) = (commands.clone(), Box::new(spec.clone()));
                // A queue that is full is waited for, but not by the caller.
                runtime.spawn(async move { drop(commands.send(Command::AddSymbol(spec)).await) });
            }
        }
        Ok(symbol)
    }

    /// Closes every connection with its closing handshake, ends every thread, and gives the final report. Within
    /// 150 ms, whatever the peers do; a hot thread that a handler holds is left behind.
    #[must_use]
    pub fn stop(mut self) -> Report {
        self.shut_down();
        Report { is_final: true, ..self.report() }
    }

    fn shut_down(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // The kernel forgets a thread's counts with the thread.
        let _ = self.report();
        // First the drivers: a loss that we cause is then no loss. They close what lives on the cold side.
        self.stop.send_replace(true);
        let deadline = Instant::now() + STOP_WAIT;
        for commands in &self.commands {
            let commands = commands.clone();
            // A queue that is full is waited for, by a task of its own: the other cores stop meanwhile.
            runtime.spawn(async move { drop(commands.send(Command::Stop).await) });
        }
        loop {
            let waited = {
                let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
                if ended.count == self.cores.len() {
                    break;
                }
                let result = ended.from_threads.recv_timeout(deadline.saturating_duration_since(Instant::now()));
                if let Ok((cpu, panic)) = result {
                    ended.note_stopping(cpu, panic, self);
                    true
                } else {
                    false
                }
            };
            if !waited {
                tracing::error!("a hot thread did not end in time: a handler holds it");
                break;
            }
        }
        let drivers = async { while self.drivers.join_next().await.is_some() {} };
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = runtime.block_on(async { tokio::time::timeout(left, drivers).await });
        runtime.shutdown_background();
    }
}

impl Ended {
    /// A thread that ended although nobody stopped it.
    fn note(&mut self, cpu: usize, panic: Option<Box<PanicReport>>, engine: &RunningEngine) {
        self.count += 1;
        let failure = match panic {
            Some(panic) => Failure { kind: FailureKind::HandlerPanicked, message: engine.describe(cpu, &panic) },
            None => {
                Failure { kind: FailureKind::Runtime, message: format!("the hot thread of CPU {cpu} ended by itself") }
            }
        };
        tracing::error!("{}", failure.message);
        self.panic.get_or_insert(failure);
    }

    fn note_stopping(&mut self, cpu: usize, panic: Option<Box<PanicReport>>, engine: &RunningEngine) {
        match panic {
            Some(panic) => self.note(cpu, Some(panic), engine),
            None => self.count += 1,
        }
    }
}

impl RunningEngine {
    /// A panic in words: which handler, on what event of which symbol, and the message it came in.
    fn describe(&self, cpu: usize, panic: &PanicReport) -> String {
        let event = panic.event.map_or_else(
            || "outside of an event".to_owned(),
            |(kind, symbol)| {
                let symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
                let name = symbols
                    .spec(symbol)
                    .map_or_else(|| symbol.to_string(), |spec| format!("{} {}", spec.venue, spec.name));
                format!("on {kind:?} of {name}")
            },
        );
        let table = self.cores.iter().position(|core| core.cpu == cpu).map(|core| &self.slots[core]);
        let connection = panic.slot.zip(table).and_then(|(slot, table)| table.name(slot));
        let connection = connection.as_deref().unwrap_or("no connection");
        format!(
            "a handler panicked {event}, connection {connection}, CPU {cpu}: {}; message: {}",
            panic.what,
            String::from_utf8_lossy(&panic.message)
        )
    }
}

impl Drop for RunningEngine {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl std::fmt::Debug for RunningEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningEngine").field("sockets", &self.sockets.len()).finish_non_exhaustive()
    }
}
