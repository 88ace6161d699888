//! Starts the lanes beside each hot core, and ends them.
//!
//! ```text
//! config [[lane]] ─► one thread a lane: pinned or on the cold CPUs, running a strategy by its name
//!                └─► a LaneSet for the core's thread      └─► LaneHandle: symbols, counters, the end
//! ```

use super::affinity::{confine_to, pin_to_one};
use super::{EndedThread, EngineError, Factory, Parts, spawn_core};
use crate::config::{CoreConfig, EngineConfig, LaneConfig};
use crate::hot::Strategy;
use crate::hot::lanes::{
    LaneEnds, LanePhase, LaneReceiver, LaneSet, LaneSettings, LaneStats, LaneThread, Partition, lane, with_lanes,
};
use crate::market::SymbolSpec;
use crate::telemetry::current_thread_id;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

/// One lane, as the cold side tells it of symbols, reads it and ends it. Dropped, it ends it.
#[derive(Debug)]
pub(super) struct LaneHandle {
    pub(super) stats: Arc<LaneStats>,
    pub(super) overrun: Duration,
    symbols: std_mpsc::Sender<Box<SymbolSpec>>,
}

impl Drop for LaneHandle {
    fn drop(&mut self) {
        self.stats.enter(LanePhase::Cut);
    }
}

/// By this the link to a core tells its lanes of a symbol.
#[derive(Debug, Default)]
pub(super) struct SymbolSenders(Vec<std_mpsc::Sender<Box<SymbolSpec>>>);

impl SymbolSenders {
    /// Tells every lane of a symbol that its core will be told of.
    pub(super) fn tell(&self, spec: &SymbolSpec) {
        for lane in &self.0 {
            // One that has ended wants no symbols.
            let _ = lane.send(Box::new(spec.clone()));
        }
    }
}

/// Where the lanes of a core are told of symbols.
pub(super) fn senders(lanes: &[LaneHandle], cpu: usize) -> SymbolSenders {
    let of_core = lanes.iter().filter(|lane| lane.stats.settings().core == cpu);
    SymbolSenders(of_core.map(|lane| lane.symbols.clone()).collect())
}

/// What a factory is given to start one lane's thread.
pub(super) struct LaneParts {
    receiver: LaneReceiver,
    stats: Arc<LaneStats>,
    /// Position among all lanes of the engine.
    index: usize,
    cold_cores: Vec<usize>,
    started: std_mpsc::Sender<io::Result<()>>,
    ended: std_mpsc::Sender<EndedThread>,
}

/// What lanes are started with.
pub(super) struct Starter<'a> {
    pub(super) engine: &'a EngineConfig,
    pub(super) partitions: &'a BTreeMap<String, Partition>,
    pub(super) ended: &'a std_mpsc::Sender<EndedThread>,
}

impl Starter<'_> {
    /// Starts the lanes of a core. Each is in its loop when this returns, and in `lanes`.
    pub(super) fn start(
        &self,
        core: &CoreConfig,
        lanes: &mut Vec<LaneHandle>,
        factory: impl Fn(&LaneConfig) -> Result<(Factory, String), EngineError>,
    ) -> Result<Vec<LaneSet>, EngineError> {
        let mut sets = Vec::new();
        for config in self.engine.lanes.iter().filter(|config| config.core == core.cpu) {
            let (factory, strategy) = factory(config)?;
            let mut senders = Vec::new();
            for thread in 0..config.threads {
                let LaneEnds { sender, receiver, symbols, stats } = lane(settings(config, thread, &strategy));
                let (started_in, started) = std_mpsc::channel();
                let parts = LaneParts {
                    receiver,
                    stats: Arc::clone(&stats),
                    index: lanes.len(),
                    cold_cores: self.engine.cold_cores.clone(),
                    started: started_in,
                    ended: self.ended.clone(),
                };
                let started = factory(Parts::Lane(parts)).and_then(|()| {
                    started.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended at once")))
                });
                let name = stats.settings().name.clone();
                started.map_err(|error| EngineError::Lane { name, error })?;
                lanes.push(LaneHandle { stats, overrun: config.overrun, symbols });
                senders.push(sender);
            }
            let partition = self.partitions.get(&config.name).copied().unwrap_or_else(|| config.by.partition());
            sets.push(LaneSet::new(senders, partition));
        }
        Ok(sets)
    }
}

fn settings(config: &LaneConfig, thread: usize, strategy: &str) -> LaneSettings {
    LaneSettings {
        name: format!("{}-{thread}", config.name),
        strategy: strategy.to_owned(),
        core: config.core,
        cpu: config.cpus.get(thread).copied(),
        policy: config.policy,
        slots: config.slots,
        levels: config.levels,
        idle: config.idle,
        hop_sample_every: config.hop_sample_every,
    }
}

/// Starts what a strategy is to run on: a hot core, with or without lanes beside it, or a lane.
pub(super) fn spawn<S: 'static>(parts: Parts, make: impl FnOnce() -> Strategy<S> + Send + 'static) -> io::Result<()> {
    match parts {
        Parts::Core(parts, lanes) if lanes.is_empty() => spawn_core(parts, make),
        Parts::Core(parts, lanes) => spawn_core(parts, move || with_lanes(make(), lanes)),
        Parts::Lane(parts) => spawn_lane(parts, make),
    }
}

fn spawn_lane<L: 'static>(parts: LaneParts, make: impl FnOnce() -> Strategy<L> + Send + 'static) -> io::Result<()> {
    let LaneParts { receiver, stats, index, cold_cores, started, ended } = parts;
    let name = format!("lane-{}", stats.settings().name);
    let run = move || {
        let placed = match stats.settings().cpu {
            Some(cpu) => pin_to_one(cpu),
            None => confine_to(&cold_cores),
        };
        if let Err(error) = placed {
            return drop(started.send(Err(error)));
        }
        stats.thread_id.store(current_thread_id().unwrap_or(0), Ordering::Relaxed);
        let lane = LaneThread::new(receiver, make());
        let _ = started.send(Ok(()));
        let panic = lane.run().err();
        let _ = ended.send(EndedThread::Lane { index, panic });
    };
    std::thread::Builder::new().name(name).spawn(run).map(drop)
}
