//! What the planner of snapshots is told, and what it says: settings, plans, tries and their ends, actions, reports, figures.
//!
//! Values only; the rules are in `snapshots`.

use super::governor::BudgetId;
use crate::book::Repair;
use crate::market::{BookState, StaleReason, Symbol};
use serde::Serialize;
use std::time::Duration;

/// How fetches are paced, for all books alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotSettings {
    /// Buffers of changes that each hot core has: as many snapshots may be under way for its books.
    pub holds_per_core: usize,
    /// Snapshots of one budget under way at a time.
    pub in_flight_max: usize,
    /// Topics of one budget that are subscribed again at a time.
    pub resubscribes_max: usize,
    /// Part of our budget that deepening may use; what is left is for repairs.
    pub deepening_percent: u8,
    /// Wait after the first failure of a symbol; each further one doubles it.
    pub backoff_base: Duration,
    /// The longest wait between two tries of a symbol.
    pub backoff_cap: Duration,
    /// A book that was live for this long has no failures.
    pub stable_after: Duration,
    /// A snapshot that has not come by then will not.
    pub fetch_within: Duration,
    /// A topic that is not live by then, after it was asked for again, has failed.
    pub resubscribe_within: Duration,
    /// What is kept of a book whose snapshot did not join stays for a next try within this time.
    pub kept_for: Duration,
    /// How long one snapshot is reckoned to take, where the plan is told beforehand.
    pub round_trip: Duration,
}

impl SnapshotSettings {
    /// The wait before the next try behind so many failures in a row before this one.
    #[must_use]
    pub fn backoff(&self, failures: u32) -> Duration {
        self.backoff_base.saturating_mul(1 << failures.min(16)).min(self.backoff_cap)
    }
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        Self {
            holds_per_core: 8,
            in_flight_max: 8,
            resubscribes_max: 20,
            deepening_percent: 75,
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(60),
            stable_after: Duration::from_secs(10),
            fetch_within: Duration::from_secs(60),
            resubscribe_within: Duration::from_secs(10),
            kept_for: Duration::from_secs(5),
            round_trip: Duration::from_millis(200),
        }
    }
}

/// What one snapshot asks for, and what the venue takes for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotDepth {
    /// Levels a side.
    pub levels: u16,
    /// Weight of the request.
    pub weight: u32,
}

/// A book to be looked after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BookPlan {
    /// Whose.
    pub symbol: Symbol,
    /// What its requests come from.
    pub budget: BudgetId,
    /// Position of the hot core that keeps it.
    pub core: usize,
    /// How heavy its symbol is, as the operator says: breaks ties between books of which nothing has come.
    pub heaviness: u32,
    /// The snapshots to ask for, shallow first; none where the stream brings its own.
    pub depths: Vec<SnapshotDepth>,
}

/// What the board says of a book.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BookSeen {
    /// Whether it can be trusted.
    pub state: BookState,
    /// What it takes to make it live.
    pub needs: Option<Repair>,
    /// Changes applied so far: who has more is busier.
    pub activity: u64,
}

/// One try to repair or deepen a book. A later one makes it worthless.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fetch(pub(super) u64);

/// How a try ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FetchEnd {
    /// The book is live with it.
    Joined {
        /// Levels a side that came; [`WHOLE`](Self::WHOLE) where the venue had fewer than were asked for.
        levels: u16,
    },
    /// It was of no use: a live book is further, or its state has changed meanwhile. Nothing is kept for it any more.
    Late,
    /// The book is not live with it, for this reason; what is kept stays kept.
    NotJoined(StaleReason),
    /// No answer, or none that can be used.
    Failed,
    /// The core has no buffer left: nothing was asked.
    NoHold,
    /// The core keeps no such book: nothing was asked.
    NoBook,
}

impl FetchEnd {
    /// Nothing lies behind what came.
    pub const WHOLE: u16 = u16::MAX;
}

/// What is to be done, or told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SnapshotAction {
    /// Let changes be kept, then ask for a snapshot: its weight is granted and counted.
    Begin {
        /// The try.
        fetch: Fetch,
        /// Whose book.
        symbol: Symbol,
        /// Levels a side.
        levels: u16,
    },
    /// Subscribe this book's topic again, and no other.
    Resubscribe {
        /// Whose book.
        symbol: Symbol,
    },
    /// No snapshot will come for what is kept.
    End {
        /// Whose book.
        symbol: Symbol,
    },
    /// Something happened that somebody may want to know.
    Told(SnapshotReport),
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SnapshotReport {
    /// A book is live for the first time.
    Live {
        /// Whose.
        symbol: Symbol,
        /// Since it is kept.
        after: Duration,
    },
    /// A book that was live is not any more.
    Stale {
        /// Whose.
        symbol: Symbol,
        /// Why.
        reason: StaleReason,
    },
    /// A book is live again.
    Repaired {
        /// Whose.
        symbol: Symbol,
        /// Why it was not.
        reason: StaleReason,
        /// For how long.
        after: Duration,
    },
    /// A try failed; the next one comes after this wait.
    Failed {
        /// Whose.
        symbol: Symbol,
        /// Failures in a row.
        failures: u32,
        /// Until the next try.
        wait: Duration,
    },
    /// One snapshot of this book costs more than our whole share: it is not asked for.
    TooHeavy {
        /// Whose.
        symbol: Symbol,
        /// Levels a side.
        levels: u16,
        /// What it costs.
        weight: u32,
        /// Our share of a window.
        budget: u64,
    },
    /// Every book of a budget is live, for the first time since one was added.
    AllLive {
        /// The budget.
        budget: BudgetId,
        /// Books.
        books: usize,
        /// Since the first of them is kept.
        took: Duration,
        /// What was reckoned beforehand.
        planned: Duration,
    },
    /// Every book of a budget is known to the depth that is asked for, for the first time since one was added.
    AllDeep {
        /// The budget.
        budget: BudgetId,
        /// Books.
        books: usize,
        /// Since the first of them is kept.
        took: Duration,
        /// What was reckoned beforehand.
        planned: Duration,
    },
}

/// What it takes to make every book of a budget live.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Estimate {
    /// Books that need a request, or several.
    pub books: usize,
    /// Weight of their first snapshots.
    pub weight: u64,
    /// Our share of the venue's window; `None`: it states no limit.
    pub budget: Option<u64>,
    /// Until all are live.
    pub live_in: Duration,
    /// Weight of the deeper ones.
    pub deep_weight: u64,
    /// Until all are known as deep as asked for.
    pub deep_in: Duration,
}

/// The books of one budget, as they stand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct SnapshotStatus {
    /// Books looked after.
    pub books: usize,
    /// Live ones.
    pub live: usize,
    /// Live and known to the depth that is asked for.
    pub deep: usize,
    /// Snapshots under way.
    pub in_flight: usize,
    /// Topics that were subscribed again and are not live yet.
    pub resubscribing: usize,
    /// Books that wait after a failure.
    pub backing_off: usize,
    /// Snapshots begun since the start.
    pub begun: u64,
    /// Weight of them.
    pub weight: u64,
    /// Those that made a book live, or deeper.
    pub joined: u64,
    /// Those that failed, did not join, or were of no use.
    pub failed: u64,
    /// Topics subscribed again since the start.
    pub resubscribed: u64,
    /// From the first book to all live, as reckoned, in milliseconds.
    pub planned_ms: Option<u64>,
    /// The same, measured.
    pub took_ms: Option<u64>,
    /// From the first book to all as deep as asked for, as reckoned, in milliseconds.
    pub deep_planned_ms: Option<u64>,
    /// The same, measured.
    pub deep_took_ms: Option<u64>,
}
