//! The plan by which missing trades are fetched: which page next, when again, and what became of each id. Sans-IO; one plan for
//! one hole, driven by the engine.
//!
//! ```text
//! first ............ next ............ last
//!      │  fetched or   │  to be asked    │         next_page ─► Ask ─► take(id).. ─► page_ended ─► next_page ─► ... Done
//!      │  not there    │  for            │                       └──► failed ──► Wait ──► Ask, or Done
//! ```
//! Invariant: every id of the hole is either to be asked for, fetched, or counted with the reason why it was not. Ids are taken
//! in rising order, each once.

use super::after;
use crate::market::MonoNs;
use std::time::Duration;

/// Tries in a row that bring nothing, at most.
const ATTEMPTS_MAX: u32 = 3;

/// Wait before the second try; twice as long before each further one. A venue's REST side knows of a trade a moment later than
/// its stream.
const RETRY_FIRST: Duration = Duration::from_millis(250);

/// Why an id that was missing was not refilled.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NotRefilled {
    /// Refilling is off: `refill_trades_max = 0`.
    Off,
    /// The venue does not offer these trades by id, or not without a key.
    NotOffered,
    /// It lay before the last `refill_trades_max` ids of its hole.
    TooMany,
    /// Too many refills were waiting already.
    QueueFull,
    /// Its turn came when the trades were history already.
    TooLate,
    /// The venue holds us off, and for longer than a refill is worth.
    HeldOff,
    /// The venue refused by its limits: HTTP 429 or 418.
    RateLimited,
    /// The venue refused otherwise.
    Refused,
    /// No answer came in time, three times.
    TimedOut,
    /// The request failed otherwise, three times.
    Failed,
    /// The answer could not be read.
    Unreadable,
    /// The venue answered, and did not have it.
    NotThere,
}

impl NotRefilled {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::Off,
        Self::NotOffered,
        Self::TooMany,
        Self::QueueFull,
        Self::TooLate,
        Self::HeldOff,
        Self::RateLimited,
        Self::Refused,
        Self::TimedOut,
        Self::Failed,
        Self::Unreadable,
        Self::NotThere,
    ];

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NotOffered => "not_offered",
            Self::TooMany => "too_many",
            Self::QueueFull => "queue_full",
            Self::TooLate => "too_late",
            Self::HeldOff => "held_off",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::Unreadable => "unreadable",
            Self::NotThere => "not_there",
        }
    }

    /// True where another try may help.
    const fn is_passing(self) -> bool {
        matches!(self, Self::TimedOut | Self::Failed | Self::NotThere)
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefillStep {
    /// Ask for so many ids from this one on.
    Ask {
        /// The first.
        first: u64,
        /// How many, at most a page.
        count: u32,
    },
    /// Ask again then.
    Wait(MonoNs),
    /// Nothing is left to be asked for.
    Done,
}

/// One hole's plan. See the module.
#[derive(Clone, Debug)]
pub struct RefillPlan {
    /// The next id to be asked for; above `last`: none.
    next: u64,
    last: u64,
    is_over: bool,
    page_max: u32,
    attempts: u32,
    wait_until: Option<MonoNs>,
    /// Something was taken since the page began.
    has_taken: bool,
    fetched: u64,
    not_refilled: [u64; NotRefilled::ALL.len()],
}

impl RefillPlan {
    /// A plan for the ids from `first` to `last`, of which the last `trades_max` are fetched, in pages of at most `page_max`.
    #[must_use]
    pub fn new(first: u64, last: u64, trades_max: u64, page_max: u32) -> Self {
        let mut plan = Self {
            next: first,
            last,
            is_over: first > last,
            page_max: page_max.max(1),
            attempts: 0,
            wait_until: None,
            has_taken: false,
            fetched: 0,
            not_refilled: [0; NotRefilled::ALL.len()],
        };
        if trades_max == 0 {
            plan.give_up(NotRefilled::Off);
        } else if !plan.is_over && last - first >= trades_max {
            let skipped = last - first - trades_max + 1;
            plan.next += skipped;
            plan.count(NotRefilled::TooMany, skipped);
        }
        plan
    }

    /// What to do now.
    #[must_use]
    pub fn step(&self, now: MonoNs) -> RefillStep {
        if self.is_over {
            return RefillStep::Done;
        }
        if let Some(until) = self.wait_until.filter(|&until| until > now) {
            return RefillStep::Wait(until);
        }
        let left = self.last - self.next;
        let count = u32::try_from(left.saturating_add(1)).unwrap_or(u32::MAX).min(self.page_max);
        RefillStep::Ask { first: self.next, count }
    }

    /// An answer begins.
    pub fn page_began(&mut self) {
        self.has_taken = false;
    }

    /// True if this id of an answer is one to be delivered. Those of one answer come by rising id.
    pub fn take(&mut self, id: u64) -> bool {
        if self.is_over || id < self.next || id > self.last {
            return false;
        }
        self.count(NotRefilled::NotThere, id - self.next);
        self.fetched += 1;
        self.has_taken = true;
        self.advance(id);
        true
    }

    fn advance(&mut self, id: u64) {
        if id == self.last {
            self.is_over = true;
        } else {
            self.next = id + 1;
        }
    }

    /// The answer has ended.
    pub fn page_ended(&mut self, now: MonoNs) {
        if self.has_taken {
            (self.attempts, self.wait_until) = (0, None);
        } else {
            self.failed(NotRefilled::NotThere, now);
        }
    }

    /// The question had no answer that could be used.
    pub fn failed(&mut self, why: NotRefilled, now: MonoNs) {
        if self.is_over {
            return;
        }
        self.attempts += 1;
        if !why.is_passing() || self.attempts >= ATTEMPTS_MAX {
            return self.give_up(why);
        }
        self.wait_until = Some(after(now, RETRY_FIRST * 2_u32.pow(self.attempts - 1)));
    }

    /// Its turn has come, after it waited for this long: longer than the patience, and nothing is asked for.
    pub fn turn_came(&mut self, waited: Duration, patience: Duration) {
        if waited > patience {
            self.give_up(NotRefilled::TooLate);
        }
    }

    /// Nothing more is asked for.
    pub fn give_up(&mut self, why: NotRefilled) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.count(why, (self.last - self.next).saturating_add(1));
        }
    }

    fn count(&mut self, why: NotRefilled, count: u64) {
        let counted = &mut self.not_refilled[why as usize];
        *counted = counted.saturating_add(count);
    }

    /// Ids that were fetched.
    #[must_use]
    pub const fn fetched(&self) -> u64 {
        self.fetched
    }

    /// Ids that were not, by reason; reasons that did not occur are left out.
    pub fn not_refilled(&self) -> impl Iterator<Item = (NotRefilled, u64)> + '_ {
        NotRefilled::ALL.into_iter().map(|why| (why, self.not_refilled[why as usize])).filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
#[path = "refill_tests.rs"]
mod tests;
