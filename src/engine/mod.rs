//! Ties the rooms: builds the process from a configuration, starts it, reports on it, stops it.
//!
//! ```text
//! main thread      Engine::start ─────────────► RunningEngine: report, failure, handle, stop
//!                       │ spawns
//! hot threads      one Core a CPU, pinned ─► lanes                 (hot)
//!                       ▲ rings
//! cold runtime     one link a core ◄─► one driver a socket, or a leg of one (group: what legs agree on)  (control, net)
//!                  one listing and one refiller a venue, one manager, one keeper of books, one watchdog  (net)
//!                  ▲ Handle, control socket
//! ```
//! Cold threads are confined to the cold CPUs and never inherit a hot thread's mask.

mod affinity;
mod books;
pub mod client;
mod clients;
mod driver;
mod ended;
mod group;
mod handle;
mod host;
mod lanes;
mod legs;
mod link;
mod listing;
mod managed;
mod manager;
mod memory;
mod overlap;
mod plan;
mod refill;
mod report;
mod shared;
mod slots;
mod status;
mod ticks;
mod watchdog;

use crate::config::{Config, Idle, LaneConfig, Wait};
use crate::control::GovernorSettings;
use crate::hot::lanes::{LanePhase, LaneSet, Partition};
use crate::hot::{self, Core, CoreSettings, CoreStats, Halted, HotPorts, Strategy};
use crate::limits::{BOOK_LEVEL_COUNT_MAX, CONNECTION_COUNT_MAX};
use crate::market::{Instrument, Symbol, SymbolSpec, SymbolTableError, Venue};
use crate::net::{ControlSocket, ControlSocketError, ControlSocketOptions, RestError, SharedGovernor, TlsError};
use crate::strategy;
use crate::telemetry::{BookReport, EventBus, Failure, FailureKind, Report, current_thread_id, thread_allocations};
use ended::{Ended, EndedThread};
use lanes::{LaneHandle, LaneParts, Starter};
use listing::Symbols;
use manager::Manager;
use plan::TlsConfigs;
use shared::{CoreLink, Shared, Whole};
use slots::SlotTable;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc, watch};

pub use affinity::{available_cpus, confine_to};
pub use client::{RequestClient, RequestClientOptions, RequestClientStatus, RequestError};
pub use handle::{Handle, HandleError};
pub use host::{host_question, hot_core};

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
    /// A `[[lane]]` names a strategy that nobody registered.
    #[error("lane {lane}: no strategy is called `{name}`: one of {known}")]
    UnknownLaneStrategy {
        /// The lane.
        lane: String,
        /// The name found.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A partition is for lanes that no `[[lane]]` names.
    #[error("a partition was given for lanes `{name}`, and the configuration has none of that name")]
    NoSuchLane {
        /// The name.
        name: String,
    },
    /// A lane's thread could not be pinned or started.
    #[error("lane {name}: {error}")]
    Lane {
        /// The lane.
        name: String,
        /// What the system says.
        error: io::Error,
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
    /// A setting that cannot be.
    #[error("connection `{connection}`: {what}")]
    Settings {
        /// The connection.
        connection: String,
        /// What is wrong with it.
        what: String,
    },
    /// The control socket cannot be made.
    #[error(transparent)]
    ControlSocket(#[from] ControlSocketError),
    /// Trust could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A venue's REST host cannot be asked.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// Memory could not be locked, and had to be.
    #[error("lock_memory = \"require\": {0}")]
    LockMemory(String),
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
    ended: std_mpsc::Sender<EndedThread>,
}

/// What a strategy is to run on.
enum Parts {
    /// A hot core, and the lanes beside it.
    Core(CoreParts, Vec<LaneSet>),
    Lane(LaneParts),
}

type Factory = Arc<dyn Fn(Parts) -> io::Result<()> + Send + Sync>;

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
    partitions: BTreeMap<String, Partition>,
    halted: Halted,
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
            partitions: BTreeMap::new(),
            halted: Halted::new(),
        };
        builder.strategy("null", strategy::null).with_spread().with_print()
    }
}

impl EngineBuilder {
    /// Registers a strategy of one's own under a name. `make` runs on each hot core or lane that uses it, before its loop.
    /// The last one registered by this is what cores and lanes without a strategy of their own use.
    #[must_use]
    pub fn strategy<S: 'static>(mut self, name: &str, make: impl Fn() -> Strategy<S> + Send + Sync + 'static) -> Self {
        let make = Arc::new(make);
        let factory = move |parts: Parts| {
            let make = Arc::clone(&make);
            lanes::spawn(parts, move || make())
        };
        self.factories.insert(name.to_owned(), Arc::new(factory));
        self.default_strategy = name.to_owned();
        self
    }

    /// What cores and lanes use that name no strategy.
    #[must_use]
    pub fn default_strategy(mut self, name: &str) -> Self {
        self.default_strategy = name.to_owned();
        self
    }

    /// Which of the threads of the `[[lane]]` of this name an event goes to, instead of what its `by` says.
    #[must_use]
    pub fn lane_partition(mut self, lane: &str, partition: Partition) -> Self {
        self.partitions.insert(lane.to_owned(), partition);
        self
    }

    /// The flag by which a strategy asks, with one atomic load, whether some connection is down that should be up: to be
    /// cloned into its state.
    ///
    /// ```no_run
    /// # use tickwire::prelude::*;
    /// use tickwire::hot::Halted;
    ///
    /// struct Mine {
    ///     halted: Halted,
    /// }
    ///
    /// fn on_quote(mine: &mut Mine, quote: &Quote) {
    ///     if mine.halted.is_halted(quote.meta.received.mono) {
    ///         return; // no order now
    ///     }
    /// }
    ///
    /// fn on_symbol(_mine: &mut Mine, router: &mut Router<Mine>, spec: &SymbolSpec) {
    ///     router.on_quote(spec.symbol, on_quote);
    /// }
    ///
    /// # fn start(config: Config) -> Result<RunningEngine, tickwire::engine::EngineError> {
    /// let builder = Engine::builder(config);
    /// let halted = builder.halted();
    /// let make = move || Strategy { state: Mine { halted: halted.clone() }, on_symbol };
    /// builder.strategy("mine", make).start()
    /// # }
    /// ```
    #[must_use]
    pub fn halted(&self) -> Halted {
        self.halted.clone()
    }

    fn with_spread(mut self) -> Self {
        let summaries = Arc::clone(&self.summaries);
        let factory = move |parts: Parts| {
            let (strategy, table) = strategy::spread();
            let summary: Summary = Arc::new(move || (!table.rows().is_empty()).then(|| table.summary(12)));
            summaries.lock().unwrap_or_else(PoisonError::into_inner).push(summary);
            lanes::spawn(parts, move || strategy)
        };
        self.factories.insert("spread".to_owned(), Arc::new(factory));
        self
    }

    fn with_print(mut self) -> Self {
        let summaries = Arc::clone(&self.summaries);
        let cold_cores = self.config.engine.cold_cores.clone();
        let factory = move |parts: Parts| {
            let cold_cores = cold_cores.clone();
            let (strategy, printer) = strategy::print(io::BufWriter::new(io::stderr()), move || {
                let _ = confine_to(&cold_cores);
            })?;
            let summary: Summary = Arc::new(move || {
                let dropped = printer.dropped();
                (dropped > 0).then(|| format!("print: {dropped} events found the ring full and were not printed\n"))
            });
            summaries.lock().unwrap_or_else(PoisonError::into_inner).push(summary);
            lanes::spawn(parts, move || strategy)
        };
        self.factories.insert("print".to_owned(), Arc::new(factory));
        self
    }

    /// Starts the hot threads, their lanes and the cold runtime. Returns once every hot thread is pinned and in its loop;
    /// the connections come after that.
    ///
    /// # Errors
    /// [`EngineError`]: nothing is left running.
    pub fn start(self) -> Result<RunningEngine, EngineError> {
        affinity::keep_freed_memory();
        self.check_plans()?;
        memory::lock(self.config.engine.lock_memory)?;
        tracing::info!(instructions = crate::venue::Cpu::best().name(), "decoders chosen");
        let (ended_in, ended) = std_mpsc::channel();
        let mut cores = Vec::new();
        let mut threads = Vec::new();
        let mut cold_ports = Vec::new();
        let mut lanes = Vec::new();
        let starter = Starter { engine: &self.config.engine, partitions: &self.partitions, ended: &ended_in };
        for core in &self.config.engine.cores {
            let sets = starter.start(core, &mut lanes, |lane| self.lane_factory(lane))?;
            let (stats, cold) = self.start_core(core, sets, ended_in.clone())?;
            threads.push(report::Thread::new(Arc::clone(&stats)));
            cores.push(stats);
            cold_ports.push(cold);
        }
        let runtime = cold_runtime(&self.config.engine.cold_cores).map_err(EngineError::Runtime)?;
        if self.config.engine.host_check {
            let question = host_question(&self.config);
            runtime.spawn_blocking(move || host::warn(&question));
        }
        let cold_failure = ColdFailure::default();
        let (books, of_books) = books::BookDesk::new();
        let links = start_links(&runtime, &cores, cold_ports, &lanes, (&books, &cold_failure));
        let (moves_in, moves) = mpsc::unbounded_channel();
        let engine = &self.config.engine;
        let events = EventBus::new();
        let shared = Arc::new(Shared {
            governor: SharedGovernor::new(governor_settings(&engine.governor)),
            whole: Whole::new(self.halted.clone(), engine.halted_lease, events.clone()),
            events,
            symbols: Symbols::default(),
            books,
            moves: moves_in,
            requests_per_second: engine.governor.requests_per_second,
            kernel_stamps: engine.kernel_stamps,
            lanes,
            beats: watchdog::Beats::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let manager = Arc::new(Manager::new(
            self.config.clone(),
            Arc::clone(&shared),
            links.clone(),
            runtime.handle().clone(),
            stopped.clone(),
            Arc::clone(&cold_failure),
        ));
        manager.connect_all()?;
        let started = Instant::now();
        let threads: Arc<[report::Thread]> = threads.into();
        let handle = self.handle(&runtime, &manager, Arc::clone(&threads), started)?;
        let supervise = |name: &str, task: Tended| {
            runtime.spawn(supervised(name.to_owned(), task, Arc::clone(&cold_failure)));
        };
        let keeper = books::Keeper::new(Arc::clone(&manager), of_books, stopped);
        supervise("the keeper of books", Box::pin(keeper.run()));
        supervise("the mover of subscriptions", Box::pin(Arc::clone(&manager).run_moves(moves)));
        supervise("the watchdog", Box::pin(watchdog::run(Arc::clone(&shared), links.clone(), engine.watchdog.overrun)));
        supervise("the lease of the halted flag", Box::pin(renew_lease(Arc::clone(&shared))));
        Ok(RunningEngine {
            started,
            cores: links,
            threads,
            manager,
            handle,
            halted: self.halted,
            stop,
            cold_failure,
            runtime: Some(runtime),
            ended: Mutex::new(Ended { from_threads: ended, panic: None, cores: 0, lanes: 0 }),
            summaries: self.summaries,
        })
    }

    /// Starts one hot thread. Returns once it is pinned and in its loop.
    fn start_core(
        &self,
        core: &crate::config::CoreConfig,
        lanes: Vec<LaneSet>,
        ended: std_mpsc::Sender<EndedThread>,
    ) -> Result<(Arc<CoreStats>, hot::ColdPorts), EngineError> {
        let (factory, _) = self
            .factory(core.strategy.as_deref())
            .map_err(|(name, known)| EngineError::UnknownStrategy { cpu: core.cpu, name, known })?;
        let stats = Arc::new(CoreStats::new(core.cpu));
        let at_core = |error| EngineError::Core { cpu: core.cpu, error };
        let (hot_ports, cold) = hot::ports().map_err(at_core)?;
        let (started_in, started) = std_mpsc::channel();
        let parts = CoreParts {
            cpu: core.cpu,
            settings: CoreSettings {
                idle: match core.idle {
                    Idle::Spin => hot::Idle::Spin,
                    Idle::Yield => hot::Idle::Yield,
                    Idle::Park => hot::Idle::Park,
                },
                wait: match core.wait {
                    Wait::Auto => hot::Wait::Auto,
                    Wait::Recv => hot::Wait::Recv,
                    Wait::Epoll => hot::Wait::Epoll,
                },
                latency_sample_every: self.config.engine.latency_sample_every,
                thread_allocations,
            },
            ports: hot_ports,
            stats: Arc::clone(&stats),
            started: started_in,
            ended,
        };
        factory(Parts::Core(parts, lanes)).map_err(at_core)?;
        started.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended at once"))).map_err(at_core)?;
        Ok((stats, cold))
    }

    /// The handle, the request connections behind it, and the control socket in front of it.
    fn handle(
        &self,
        runtime: &Runtime,
        manager: &Arc<Manager>,
        threads: Arc<[report::Thread]>,
        started: Instant,
    ) -> Result<Handle, EngineError> {
        let _inside = runtime.enter();
        let clients = clients::connect_all(
            &self.config.requests,
            &manager.shared.governor,
            manager.shared.requests_per_second,
            &mut TlsConfigs::default(),
        )?;
        let (texts, _) = broadcast::channel(handle::TEXTS_BACKLOG);
        let handle = Handle {
            manager: Arc::clone(manager),
            clients: Arc::new(Mutex::new(clients)),
            started,
            threads,
            strategies: self.factories.keys().cloned().collect(),
            texts,
            events_dropped: Arc::default(),
        };
        runtime.spawn(handle.clone().write_events());
        if let Some(path) = &self.config.engine.control_socket {
            let socket = ControlSocket::bind(ControlSocketOptions::at(path))?;
            runtime.spawn(socket.serve(Arc::new(handle.clone())));
        }
        Ok(handle)
    }

    /// Finds out before anything is started what cannot be connected.
    fn check_plans(&self) -> Result<(), EngineError> {
        let cores = &self.config.engine.cores;
        for lane in &self.config.engine.lanes {
            self.lane_factory(lane)?;
        }
        let is_there = |name: &&String| self.config.engine.lanes.iter().any(|lane| lane.name == **name);
        if let Some(name) = self.partitions.keys().find(|name| !is_there(name)) {
            return Err(EngineError::NoSuchLane { name: name.clone() });
        }
        let mut sockets: Vec<usize> = cores.iter().map(|_| 0).collect();
        let mut tls = TlsConfigs::default();
        for connection in &self.config.connections {
            let core = cores
                .iter()
                .position(|core| core.cpu == connection.core)
                .ok_or_else(|| EngineError::NoSuchCore { connection: connection.name.clone(), cpu: connection.core })?;
            let planned = plan::sockets(connection, core, &mut tls)?;
            sockets[core] += planned.iter().map(|(_, legs)| legs.len()).sum::<usize>();
            if sockets[core] > CONNECTION_COUNT_MAX {
                return Err(EngineError::TooManySockets { cpu: connection.core, sockets: sockets[core] });
            }
        }
        Ok(())
    }

    fn lane_factory(&self, lane: &LaneConfig) -> Result<(Factory, String), EngineError> {
        let unknown = |(name, known)| EngineError::UnknownLaneStrategy { lane: lane.name.clone(), name, known };
        self.factory(lane.strategy.as_deref()).map_err(unknown)
    }

    /// A strategy's factory and its name; where there is none, the name and those there are.
    fn factory(&self, name: Option<&str>) -> Result<(Factory, String), (String, String)> {
        let name = name.unwrap_or(&self.default_strategy).to_owned();
        match self.factories.get(&name) {
            Some(factory) => Ok((Arc::clone(factory), name)),
            None => Err((name, self.factories.keys().map(String::as_str).collect::<Vec<_>>().join(", "))),
        }
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
                let _ = ended.send(EndedThread::Core { cpu, panic });
            }
        }
    };
    std::thread::Builder::new().name(format!("hot-{cpu}")).spawn(run).map(drop)
}

type Tended = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn governor_settings(config: &crate::config::GovernorConfig) -> GovernorSettings {
    GovernorSettings {
        connect_share_percent: u8::try_from(config.connect_share_percent).unwrap_or(100),
        connects_per_second: config.connects_per_second,
        ..GovernorSettings::default()
    }
}

/// Starts the link of each core, and gives what the cold side commands and reads it by.
fn start_links(
    runtime: &Runtime,
    cores: &[Arc<CoreStats>],
    ports: Vec<hot::ColdPorts>,
    lanes: &[LaneHandle],
    (books, cold_failure): (&books::BookDesk, &ColdFailure),
) -> Vec<CoreLink> {
    let links = cores.iter().zip(ports).map(|(stats, ports)| {
        let (commands, received) = mpsc::channel(link::COMMAND_QUEUE);
        let slots = SlotTable::new();
        let link = {
            let slots = slots.clone();
            let symbols = lanes::senders(lanes, stats.cpu);
            let books = link::BookSide { board: Arc::clone(&stats.board), desk: books.clone() };
            async move {
                if let Err(error) = link::run(ports, received, slots, symbols, books).await {
                    panic!("its rings failed: {error}");
                }
            }
        };
        let cpu = stats.cpu;
        runtime.spawn(supervised(format!("the link to core {cpu}"), link, Arc::clone(cold_failure)));
        CoreLink { cpu, commands, slots, pulses: Arc::clone(&stats.pulses), stats: Arc::clone(stats) }
    });
    links.collect()
}

/// Says again and again that nothing is down, while that is so.
async fn renew_lease(shared: Arc<Shared>) {
    let mut renewals = tokio::time::interval(shared.whole.renew_every());
    loop {
        renewals.tick().await;
        shared.whole.renew();
    }
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

/// How long `stop` takes at most: closing handshakes are given 80 ms, on either side.
const STOP_WAIT: Duration = Duration::from_millis(130);

/// How long lanes may deliver what waits in them when the engine stops, of that time.
const LANE_WAIT: Duration = Duration::from_millis(100);

/// An engine at work.
pub struct RunningEngine {
    started: Instant,
    cores: Vec<CoreLink>,
    threads: Arc<[report::Thread]>,
    manager: Arc<Manager>,
    handle: Handle,
    halted: Halted,
    stop: watch::Sender<bool>,
    cold_failure: ColdFailure,
    runtime: Option<Runtime>,
    ended: Mutex<Ended>,
    summaries: Arc<Mutex<Vec<Summary>>>,
}

impl RunningEngine {
    /// Totals since the start. From any thread; disturbs no hot core beyond a few cache lines.
    #[must_use]
    pub fn report(&self) -> Report {
        let symbols = self.lock_symbols().len();
        report::report(
            self.started.elapsed(),
            &self.manager.rows(),
            &self.threads,
            &self.manager.shared.lanes,
            (symbols, self.is_halted()),
            self.manager.lists(),
            self.failure(),
        )
    }

    /// Every book as it is now, all levels that are held, by venue and symbol. A book whose core does not answer within two
    /// seconds is there, as `unread`.
    #[must_use]
    pub fn books(&self) -> Vec<BookReport> {
        let handle = self.handle.clone();
        self.block_on(async move { handle.books(BOOK_LEVEL_COUNT_MAX).await }).unwrap_or_default()
    }

    /// Gives every book as [`books`](Self::books) does, one after the other, and how many are still to come, until it is told
    /// to stop: of two thousand deep ones a few are in memory at a time. `give` runs where the engine waits for its cores: it
    /// must not ask this engine for anything itself.
    pub fn for_each_book(&self, give: impl FnMut(BookReport, usize) -> ControlFlow<()>) {
        // Without a runtime the engine has stopped, and keeps none.
        let _ = self.block_on(self.handle.for_each_book(BOOK_LEVEL_COUNT_MAX, give));
    }

    /// The handle, to change and ask it while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// True while some connection is down that should be up.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted.is_halted(hot::mono_now())
    }

    /// Waits for something of the [`handle`](Self::handle), from a thread that is not a runtime's.
    pub fn block_on<F: Future>(&self, future: F) -> Option<F::Output> {
        Some(self.runtime.as_ref()?.block_on(future))
    }

    fn lock_symbols(&self) -> std::sync::MutexGuard<'_, crate::market::SymbolTable> {
        self.manager.shared.symbols.lock().unwrap_or_else(PoisonError::into_inner)
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
        while let Ok(thread) = ended.from_threads.try_recv() {
            ended.note(thread, self);
        }
        let of_hot = ended.panic.clone();
        drop(ended);
        let of_cold = || self.cold_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        of_hot.or_else(of_cold).or_else(|| self.all_closed())
    }

    /// An engine whose every connection is over for good has nothing left to do, and says so.
    fn all_closed(&self) -> Option<Failure> {
        let is_stopping = *self.stop.borrow();
        let sockets = self.manager.rows();
        if is_stopping || sockets.is_empty() || !sockets.iter().all(|socket| socket.is_over()) {
            return None;
        }
        let reasons: Vec<String> = sockets.iter().map(|socket| socket.last_words()).collect();
        let message = format!("every connection is closed for good: {}", reasons.join("; "));
        Some(Failure { kind: FailureKind::Runtime, message })
    }

    /// The symbols known so far.
    #[must_use]
    pub fn symbols(&self) -> Vec<SymbolSpec> {
        self.lock_symbols().iter().cloned().collect()
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
        let mut symbols = self.lock_symbols();
        if let Some(known) = symbols.find(venue, name) {
            return Ok(known);
        }
        let symbol = symbols.add(venue, name, price_scale, qty_scale, instrument)?;
        let spec = symbols.spec(symbol).cloned();
        drop(symbols);
        if let (Some(spec), Some(runtime)) = (spec, &self.runtime) {
            for core in &self.cores {
                let (commands, spec) = (core.commands.clone(), Box::new(spec.clone()));
                // A queue that is full is waited for, but not by the caller.
                runtime.spawn(async move { drop(commands.send(hot::Command::AddSymbol(spec)).await) });
            }
        }
        Ok(symbol)
    }

    /// Closes every connection with its closing handshake, ends every thread, and gives the final report. Within
    /// 150 ms, whatever the peers do; a thread that a handler holds is left behind. Lanes deliver what waits in them, for
    /// 100 ms at most; what was left then is each lane's `waiting` in the report.
    #[must_use]
    pub fn stop(mut self) -> Report {
        self.shut_down();
        Report { is_final: true, ..self.report() }
    }

    fn shut_down(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // The kernel forgets a thread's counts with the thread.
        let _ = self.report();
        // No strategy shall think that all is well while everything closes.
        self.manager.shared.whole.end();
        // Before any of the drivers closes a connection: what is cut off for that is no news of a book. A queue that is full has
        // `Stop` to say it.
        for core in &self.cores {
            let _ = core.commands.try_send(hot::Command::Stopping);
        }
        // First the drivers: a loss that we cause is then no loss. They close what lives on the cold side.
        self.stop.send_replace(true);
        let started = Instant::now();
        let deadline = started + STOP_WAIT;
        self.lanes_enter(LanePhase::Closing);
        for core in &self.cores {
            let commands = core.commands.clone();
            // A queue that is full is waited for, by a task of its own: the other cores stop meanwhile.
            runtime.spawn(async move { drop(commands.send(hot::Command::Stop).await) });
        }
        if !self.wait_for_threads(deadline, |ended| ended.cores == self.cores.len()) {
            tracing::error!("a hot thread did not end in time: a handler holds it");
        }
        // Nothing is sent any more.
        self.lanes_enter(LanePhase::Draining);
        let lane_count = self.manager.shared.lanes.len();
        if !self.wait_for_threads(started + LANE_WAIT, |ended| ended.lanes == lane_count) {
            for lane in self.manager.shared.lanes.iter().filter(|lane| lane.stats.counts().waiting > 0) {
                let (lane, waiting) = (&lane.stats.settings().name, lane.stats.counts().waiting);
                tracing::warn!(lane, waiting, "a lane did not deliver in time what waited in it");
            }
        }
        self.lanes_enter(LanePhase::Cut);
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = runtime.block_on(async { tokio::time::timeout(left, self.end_cold()).await });
        runtime.shutdown_background();
    }
}

impl RunningEngine {
    fn lanes_enter(&self, phase: LanePhase) {
        self.manager.shared.lanes.iter().for_each(|lane| lane.stats.enter(phase));
    }

    /// Waits until every driver has ended and every request connection is closed.
    async fn end_cold(&self) {
        let clients = std::mem::take(&mut *self.handle.clients.lock().unwrap_or_else(PoisonError::into_inner));
        let closing = clients.into_iter().map(|client| async move { drop(client.close().await) });
        tokio::join!(self.manager.join(), futures_util::future::join_all(closing));
    }
}

impl Drop for RunningEngine {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl std::fmt::Debug for RunningEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningEngine").field("cores", &self.cores.len()).finish_non_exhaustive()
    }
}
