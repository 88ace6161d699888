//! What a lane publishes, what it wants, and how the cold side ends it.
//!
//! ```text
//! core writes: sent, dropped, ...      | cache lines of their own
//! lane writes: delivered, hops, ...    |
//! lane writes: wants, 16 bits a symbol ─► core reads it for each event
//! engine writes: phase ──► lane, and a core that waits for it
//! ```
//! Of every event that was sent: delivered, dropped, replaced, too long, or still there; nothing else becomes of one.

use super::super::stats::{Beat, Counter, Current, Histogram};
use super::LaneSettings;
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{EventKind, Symbol};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU16, Ordering};

/// How far a lane's life has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum LanePhase {
    /// It runs.
    Running,
    /// The engine is stopping: the core waits for this lane no more.
    Closing,
    /// No event comes any more: it delivers what waits, then ends.
    Draining,
    /// It ends before the next event.
    Cut,
}

impl LanePhase {
    const ALL: [Self; 4] = [Self::Running, Self::Closing, Self::Draining, Self::Cut];
}

/// What became of a lane's events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LaneCounts {
    /// Events that the core had for it.
    pub sent: u64,
    /// Those whose handler has returned, the fallback's among them.
    pub delivered: u64,
    /// Those lost because it was full.
    pub dropped: u64,
    /// Those of which a newer one of their symbol and stream came while they waited.
    pub replaced: u64,
    /// Books with more levels than a slot has room for.
    pub too_long: u64,
    /// Those that wait, are in the handler, or hold the core. After the lane has ended: what was left.
    pub waiting: u64,
}

/// What the core counts. One writer: the core.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Sent {
    pub(super) sent: Counter,
    pub(super) dropped: Counter,
    pub(super) replaced: Counter,
    pub(super) too_long: Counter,
    pub(super) blocked: Counter,
    pub(super) blocked_ns: Counter,
}

/// What the lane counts. One writer: the lane.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Taken {
    pub(super) delivered: Counter,
    pub(super) unrouted: Counter,
    pub(super) waiting_max: Counter,
    pub(super) turns: Counter,
    pub(super) current: Current,
}

/// One lane's counters and flags, read by anyone.
#[derive(Debug)]
pub struct LaneStats {
    settings: LaneSettings,
    pub(super) core: Sent,
    pub(super) lane: Taken,
    /// From the core's hand-over to the call of the handler, ns, of one event in `hop_sample_every`.
    pub hop: Histogram,
    /// Kernel id of the thread; 0 before it runs.
    pub thread_id: AtomicI32,
    /// True while the thread is in its loop.
    pub is_running: AtomicBool,
    phase: AtomicU8,
    /// For each symbol a bit for each kind of event: set where an event is wanted, or nothing is known yet.
    wants: Box<[AtomicU16; SYMBOL_COUNT_MAX]>,
}

const _: () = assert!(EventKind::ALL.len() <= 16, "a word of 16 bits has one for each kind");

impl LaneStats {
    pub(super) fn new(settings: LaneSettings) -> Self {
        let wants: Box<[AtomicU16]> = (0..SYMBOL_COUNT_MAX).map(|_| AtomicU16::new(u16::MAX)).collect();
        let Ok(wants) = wants.try_into() else { unreachable!("it has SYMBOL_COUNT_MAX elements") };
        Self {
            settings,
            core: Sent::default(),
            lane: Taken::default(),
            hop: Histogram::default(),
            thread_id: AtomicI32::new(0),
            is_running: AtomicBool::new(false),
            phase: AtomicU8::new(LanePhase::Running as u8),
            wants,
        }
    }

    /// How it was made.
    #[must_use]
    pub const fn settings(&self) -> &LaneSettings {
        &self.settings
    }

    /// What became of its events. They add up, at whatever moment they are read.
    #[must_use]
    pub fn counts(&self) -> LaneCounts {
        // Parts before their whole: what is sent in between waits, and no part is more than the whole.
        let (delivered, too_long) = (self.lane.delivered.get(), self.core.too_long.get());
        let (dropped, replaced) = (self.core.dropped.get(), self.core.replaced.get());
        let sent = self.core.sent.get();
        let waiting = sent.saturating_sub(delivered + dropped + replaced + too_long);
        LaneCounts { sent, delivered, dropped, replaced, too_long, waiting }
    }

    /// Times the core waited for it.
    #[must_use]
    pub fn blocked(&self) -> u64 {
        self.core.blocked.get()
    }

    /// How long the core waited for it, in ns, all together.
    #[must_use]
    pub fn blocked_ns(&self) -> u64 {
        self.core.blocked_ns.get()
    }

    /// Delivered events without a handler.
    #[must_use]
    pub fn unrouted(&self) -> u64 {
        self.lane.unrouted.get()
    }

    /// Most events that waited at a time, as counted where a backlog begins and then once in sixteen events.
    #[must_use]
    pub fn waiting_max(&self) -> u64 {
        self.lane.waiting_max.get()
    }

    /// The thread's sign of life. A lane turns for every event and every look: at least once in its sleep.
    #[must_use]
    pub fn beat(&self) -> Beat {
        Beat { turns: self.lane.turns.get(), current: self.lane.current.get() }
    }

    /// How far its life has come.
    #[must_use]
    pub fn phase(&self) -> LanePhase {
        LanePhase::ALL[usize::from(self.phase.load(Ordering::Acquire)).min(LanePhase::ALL.len() - 1)]
    }

    /// Brings its life forward; never back.
    pub fn enter(&self, phase: LanePhase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// True if the lane has a handler for this, or has not said yet.
    #[inline]
    pub(super) fn wants(&self, kind: EventKind, symbol: Symbol) -> bool {
        // The mask changes nothing (a Symbol is below SYMBOL_COUNT_MAX) and lets the compiler drop the bounds check.
        self.wants[symbol.index() & (SYMBOL_COUNT_MAX - 1)].load(Ordering::Relaxed) & bit(kind) != 0
    }

    /// Says which kinds of a symbol the lane has handlers for. By the lane only.
    pub(super) fn set_wants(&self, symbol: Symbol, kinds: impl Iterator<Item = EventKind>) {
        let bits = kinds.fold(0, |bits, kind| bits | bit(kind));
        self.wants[symbol.index()].store(bits, Ordering::Relaxed);
    }
}

#[inline]
const fn bit(kind: EventKind) -> u16 {
    1 << kind as u8
}
