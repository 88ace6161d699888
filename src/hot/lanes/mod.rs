//! Lanes: threads beside a hot core, for handlers that are too slow for it.
//!
//! ```text
//! hot core                                            lane thread (one of a set's)
//! event ─► hot handler ─► which lane? ─► copy ─► queue ─► Router<L> ─► fn(&mut L, &Event)
//!          (laned.rs)     one load a set  slot.rs  queue.rs     thread.rs
//!                ▲                          ◄── emptied slots ──┘
//!                └── wants: which kinds of a symbol the lane has handlers for (stats.rs)
//! ```
//! A lane runs a [`Strategy`](super::Strategy), the same thing that a core runs: state, `on_symbol`, functions over the
//! state. Within a lane events come in the order in which the core had them; lanes run beside each other.
//! One thing a lane does not get: a kept book changes while a lane would read it, so `on_book` is the core's alone, and a
//! lane's strategy that asks for it ends with a panic that says so. The messages of a book cross, with the book's state.
//! The core's side never locks, allocates, sleeps or makes a system call; under [`Policy::Block`] it waits for a full lane,
//! and that is what the policy gives up. The lane's side never wakes or is woken: it looks, as [`LaneIdle`] says how.

mod laned;
mod pool;
mod queue;
mod slot;
mod stats;
mod thread;

#[cfg(test)]
mod tests;

pub use laned::{LaneSender, LaneSet, Laned, Partition, by_kind, by_symbol, with_lanes};
pub use stats::{LaneCounts, LanePhase, LaneStats};
pub use thread::{LanePanic, LaneReceiver, LaneThread};

use crate::market::SymbolSpec;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// What happens to an event that finds its lane full.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Policy {
    /// A newer event of the same symbol and stream takes the place of one that still waits, full or not: a slow lane sees
    /// the newest of each and never a backlog. For quotes, tickers and whole books; of changes and trades it loses some.
    Latest,
    /// The event that has waited longest gives way.
    #[default]
    DropOldest,
    /// The hot core waits until there is room. Nothing is lost, and everything behind the core waits with it.
    Block,
}

impl Policy {
    /// The word used in TOML and in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::DropOldest => "drop_oldest",
            Self::Block => "block",
        }
    }
}

/// What a lane does when nothing waits. The core never wakes it: a wake-up would be a system call of the core's.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LaneIdle {
    /// Looks again at once: one whole CPU.
    Spin,
    /// Gives the CPU to another runnable thread, then looks again.
    Yield,
    /// Sleeps this long, then looks again.
    Sleep(Duration),
}

/// How a lane is made.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// Its name in every report.
    pub name: String,
    /// Name of its strategy.
    pub strategy: String,
    /// CPU of the hot core whose events it gets.
    pub core: usize,
    /// CPU its thread is pinned to, if it is.
    pub cpu: Option<usize>,
    /// When it is full.
    pub policy: Policy,
    /// Events that it holds at most: those that wait and the one in its handler. At least 2.
    pub slots: usize,
    /// Levels of a book that a slot has room for, both sides together.
    pub levels: usize,
    /// When nothing waits.
    pub idle: LaneIdle,
    /// Every how many events the hop is timed.
    pub hop_sample_every: u32,
}

/// The ends of one lane.
#[derive(Debug)]
pub struct LaneEnds {
    /// What the hot core sends by.
    pub sender: LaneSender,
    /// What its thread receives by.
    pub receiver: LaneReceiver,
    /// By this the cold side tells it of symbols, always before it tells the core.
    pub symbols: Sender<Box<SymbolSpec>>,
    /// What both sides count.
    pub stats: Arc<LaneStats>,
}

/// Makes a lane: takes all the memory that its events will ever use, and touches it.
///
/// # Panics
/// With fewer than two slots.
#[must_use]
pub fn lane(settings: LaneSettings) -> LaneEnds {
    assert!(settings.slots >= 2, "one event in the handler and one that waits");
    let (sending, receiving) = queue::queue(settings.policy, settings.slots, settings.levels);
    let (symbols, told) = channel();
    let idle = settings.idle;
    let stats = Arc::new(LaneStats::new(settings));
    LaneEnds {
        sender: LaneSender::new(sending, Arc::clone(&stats)),
        receiver: LaneReceiver::new(receiving, told, idle, Arc::clone(&stats)),
        symbols,
        stats,
    }
}
