//! `[[lane]]`: a strategy on threads beside a hot core, for handlers that are too slow for it.

use super::engine::list;
use super::exchange::{NAME_ALLOWED, is_name};
use super::place::{Place, Places};
use super::reader::{Section, Source, nearest};
use super::{ConnectionConfig, EngineConfig, Host, Idle};
use crate::hot::lanes::{LaneIdle, Partition, Policy, by_kind, by_symbol};
use crate::limits::{
    LANE_BYTES_MAX, LANE_LEVELS_DEFAULT, LANE_SLOTS_DEFAULT, LANE_SLOTS_MAX, LANE_THREADS_MAX, LEVEL_COUNT_MAX,
};
use crate::market::Level;
use std::cell::RefCell;
use std::time::Duration;

/// Which of its threads an event goes to.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum LaneBy {
    /// A symbol's events all to one.
    #[default]
    Symbol,
    /// A kind's events all to one.
    Kind,
}

impl LaneBy {
    /// The word used in TOML and in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Symbol => "symbol",
            Self::Kind => "kind",
        }
    }

    /// The function that it stands for.
    #[must_use]
    pub fn partition(self) -> Partition {
        match self {
            Self::Symbol => by_symbol,
            Self::Kind => by_kind,
        }
    }
}

/// Lanes that run one strategy on the events of one hot core.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LaneConfig {
    /// Its name in every report; its threads are NAME-0, NAME-1, ...
    pub name: String,
    /// Name of the strategy; `None` where no file names one and the caller chooses.
    pub strategy: Option<String>,
    /// CPU of the hot core whose events it gets.
    pub core: usize,
    /// Threads, each a lane of its own.
    pub threads: usize,
    /// Which thread an event goes to, where the program brings no function for it.
    pub by: LaneBy,
    /// CPU of each thread; empty: all of them on the cold cores, unpinned.
    pub cpus: Vec<usize>,
    /// When a lane is full.
    pub policy: Policy,
    /// Events that each lane holds at most.
    pub slots: usize,
    /// Levels of a book, both sides together, that a slot has room for.
    pub levels: usize,
    /// When nothing waits.
    pub idle: LaneIdle,
    /// Every how many events the hop from the core to the lane is timed.
    pub hop_sample_every: u32,
    /// A lane that has been on one event for this long is told of.
    pub overrun: Duration,
}

/// Time between two looks of a lane that sleeps.
const SLEEP_DEFAULT: Duration = Duration::from_micros(100);

impl LaneConfig {
    /// One thread on the events of this hot core, with the strategy of the caller's choice.
    #[must_use]
    pub fn new(name: &str, core: usize) -> Self {
        Self {
            name: name.to_owned(),
            strategy: None,
            core,
            threads: 1,
            by: LaneBy::Symbol,
            cpus: Vec::new(),
            policy: Policy::DropOldest,
            slots: LANE_SLOTS_DEFAULT,
            levels: LANE_LEVELS_DEFAULT,
            idle: LaneIdle::Sleep(SLEEP_DEFAULT),
            hop_sample_every: 16,
            overrun: Duration::from_secs(1),
        }
    }

    /// Every value, in one line.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Self { name, strategy, core, threads, by, cpus, policy, slots, levels, idle, hop_sample_every, overrun } =
            self;
        let strategy = strategy.as_deref().unwrap_or("the default");
        let pinned = if cpus.is_empty() { "the cold cores".to_owned() } else { list(cpus) };
        let (by, policy, idle, overrun_ms) = (by.name(), policy.name(), idle_in_words(*idle), overrun.as_millis());
        format!(
            "{name}: strategy {strategy}, events of core {core}, {threads} threads by {by} on {pinned}, {policy}, \
             {slots} slots of {levels} levels, {idle}, one hop in {hop_sample_every}, overrun {overrun_ms} ms"
        )
    }

    /// Bytes that one of its threads takes for the levels of books, all slots together.
    #[must_use]
    pub const fn level_bytes(&self) -> usize {
        self.slots.saturating_mul(self.levels).saturating_mul(size_of::<Level>())
    }
}

/// What a lane does when nothing waits, in words.
pub(super) fn idle_in_words(idle: LaneIdle) -> String {
    match idle {
        LaneIdle::Spin => "spin".to_owned(),
        LaneIdle::Yield => "yield".to_owned(),
        LaneIdle::Sleep(time) => format!("sleep {} us", time.as_micros()),
    }
}

/// The core of a lane of a file that names none, until [`complete`] says it.
const FIRST_CORE: usize = usize::MAX;

/// Keys of a `[[lane]]`.
const KEYS: [&str; 13] = [
    "name",
    "strategy",
    "core",
    "threads",
    "by",
    "cpus",
    "policy",
    "slots",
    "levels",
    "idle",
    "sleep_us",
    "hop_sample_every",
    "overrun_ms",
];

/// Reads every `[[lane]]`.
pub(super) fn read(source: &Source, section: &mut Section<'_>, places: &RefCell<Places>) -> Vec<LaneConfig> {
    let mut lanes: Vec<LaneConfig> = Vec::new();
    for (index, (table, line)) in section.tables("lane").into_iter().enumerate() {
        let mut lane = section.element("lane", index, table, line);
        let mut config = LaneConfig::new("", FIRST_CORE);
        // A key that is not there stands where its table begins.
        for key in KEYS.into_iter().filter(|key| !lane.has(key)) {
            let here = lane.here();
            let place = Place { key: format!("{}.{key}", here.key), ..here };
            places.borrow_mut().insert(format!("lane[{index}].{key}"), place);
        }
        config.strategy = lane.text("strategy");
        config.name = lane.text("name").or_else(|| config.strategy.clone()).unwrap_or_else(|| "lane".to_owned());
        lane.count("core", &mut config.core);
        lane.count("threads", &mut config.threads);
        lane.choice("by", &[("symbol", LaneBy::Symbol), ("kind", LaneBy::Kind)], &mut config.by);
        if let Some(cpus) = lane.list("cpus", "a list of CPU numbers: [2, 3]") {
            for (value, place) in cpus {
                match value.as_integer().and_then(|cpu| usize::try_from(cpu).ok()) {
                    Some(cpu) => config.cpus.push(cpu),
                    None => source.push(place.error(format!("a value of type {}", value.type_name()), "a CPU number")),
                }
            }
        }
        let policies = [Policy::Latest, Policy::DropOldest, Policy::Block].map(|policy| (policy.name(), policy));
        lane.choice("policy", &policies, &mut config.policy);
        lane.count("slots", &mut config.slots);
        lane.count("levels", &mut config.levels);
        let mut sleep_us = 100_u64;
        lane.count("sleep_us", &mut sleep_us);
        config.idle = LaneIdle::Sleep(Duration::from_micros(sleep_us));
        let words = [("sleep", config.idle), ("yield", LaneIdle::Yield), ("spin", LaneIdle::Spin)];
        lane.choice("idle", &words, &mut config.idle);
        lane.count("hop_sample_every", &mut config.hop_sample_every);
        lane.millis("overrun_ms", &mut config.overrun);
        lane.finish();
        lanes.push(config);
    }
    lanes
}

/// A lane of a file that names no core gets the events of the first.
pub(super) fn complete(engine: &mut EngineConfig) {
    let Some(first) = engine.cores.first() else { return };
    for lane in engine.lanes.iter_mut().filter(|lane| lane.core == FIRST_CORE) {
        lane.core = first.cpu;
    }
}

/// Checks the lanes against the hot cores, this machine, this build, and the streams that their cores carry.
pub(super) fn check(
    engine: &EngineConfig,
    connections: &[&ConnectionConfig],
    places: &Places,
    host: &Host<'_>,
    errors: &mut Vec<super::ConfigError>,
) {
    for (index, lane) in engine.lanes.iter().enumerate() {
        let mut one = One { engine, lane, index, places, errors };
        one.names(host);
        one.cpus(host);
        one.sizes(connections);
    }
}

struct One<'a> {
    engine: &'a EngineConfig,
    lane: &'a LaneConfig,
    index: usize,
    places: &'a Places,
    errors: &'a mut Vec<super::ConfigError>,
}

impl One<'_> {
    fn refuse(&mut self, key: &str, found: impl std::fmt::Display, allowed: impl std::fmt::Display) {
        self.errors.push(self.places.of(&format!("lane[{}].{key}", self.index)).error(found, allowed));
    }

    fn range(&mut self, key: &str, value: usize, range: std::ops::RangeInclusive<usize>, what: &str) {
        if !range.contains(&value) {
            self.refuse(key, value, format!("{} to {} {what}", range.start(), range.end()));
        }
    }

    fn names(&mut self, host: &Host<'_>) {
        let Self { engine, lane, index, .. } = *self;
        if !is_name(&lane.name) {
            self.refuse("name", format!("\"{}\"", lane.name), NAME_ALLOWED);
        } else if engine.lanes[..index].iter().any(|other| other.name == lane.name) {
            self.refuse("name", format!("\"{}\", a second time", lane.name), "each [[lane]] by a name of its own");
        }
        if let (Some(strategy), Some(known)) = (&lane.strategy, host.strategies)
            && !known.contains(&strategy.as_str())
        {
            let meant = nearest(strategy, known).map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
            self.refuse("strategy", format!("\"{strategy}\""), format!("{meant}this build has {}", known.join(", ")));
        }
    }

    fn cpus(&mut self, host: &Host<'_>) {
        let Self { engine, lane, .. } = *self;
        let hot: Vec<usize> = engine.cores.iter().map(|core| core.cpu).collect();
        if !hot.contains(&lane.core) {
            self.refuse("core", format!("CPU {}", lane.core), format!("a hot core's CPU: {}", list(&hot)));
        }
        self.range("threads", lane.threads, 1..=LANE_THREADS_MAX, "threads");
        if !lane.cpus.is_empty() && lane.cpus.len() != lane.threads {
            let allowed = format!("one for each of its threads ({}), or no list", lane.threads);
            self.refuse("cpus", format!("{} CPUs", lane.cpus.len()), allowed);
        }
        for (at, cpu) in lane.cpus.iter().enumerate() {
            let key = format!("cpus[{at}]");
            let spins = engine.cores.iter().any(|core| core.cpu == *cpu && core.idle == Idle::Spin);
            if !host.cpus.contains(cpu) {
                self.refuse(&key, format!("CPU {cpu}"), format!("a CPU this process may use: {}", list(&host.cpus)));
            } else if spins {
                let allowed = "another CPU: a spinning core leaves no time for others";
                self.refuse(&key, format!("CPU {cpu}, where a hot core spins"), allowed);
            } else if lane.idle == LaneIdle::Spin && hot.contains(cpu) {
                let allowed = "another CPU: a spinning lane leaves no time for the core";
                self.refuse(&key, format!("CPU {cpu}, which is a hot core's"), allowed);
            }
        }
        if lane.idle == LaneIdle::Spin && lane.cpus.is_empty() {
            let allowed = "\"sleep\" or \"yield\", or `cpus`: one that spins has a CPU of its own";
            self.refuse("idle", "\"spin\" without `cpus`", allowed);
        }
    }

    fn sizes(&mut self, connections: &[&ConnectionConfig]) {
        let lane = self.lane;
        self.range("slots", lane.slots, 2..=LANE_SLOTS_MAX, "events");
        self.range("levels", lane.levels, 0..=LEVEL_COUNT_MAX, "levels");
        if lane.level_bytes() > LANE_BYTES_MAX {
            let found =
                format!("{} slots of {} levels: {} MB a thread", lane.slots, lane.levels, lane.level_bytes() >> 20);
            self.refuse("levels", found, format!("at most {} MB a thread", LANE_BYTES_MAX >> 20));
        }
        let own = connections.iter().filter(|connection| connection.core == lane.core);
        let streams: usize = own.map(|connection| connection.stream_count()).sum();
        if lane.policy == Policy::Latest && lane.slots < streams + 2 {
            let found = format!("{} slots for {streams} streams of core {}", lane.slots, lane.core);
            let allowed =
                format!("{} or more: the newest of each stream, one in the handler, one to write", streams + 2);
            self.refuse("slots", found, allowed);
        }
        if let LaneIdle::Sleep(time) = lane.idle {
            let us = usize::try_from(time.as_micros()).unwrap_or(usize::MAX);
            self.range("sleep_us", us, 1..=100_000, "microseconds");
        }
        if lane.hop_sample_every == 0 {
            self.refuse("hop_sample_every", 0, "1 or more: 1 times every event");
        }
        let overrun_ms = usize::try_from(lane.overrun.as_millis()).unwrap_or(usize::MAX);
        self.range("overrun_ms", overrun_ms, 60..=600_000, "milliseconds");
        if let LaneIdle::Sleep(time) = lane.idle
            && time * 2 >= lane.overrun
        {
            let allowed = "more than twice `sleep_us`: a lane that sleeps is not one that overruns";
            self.refuse("overrun_ms", overrun_ms, allowed);
        }
    }
}
