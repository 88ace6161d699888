//! Texts that a program or an operator sends on a market-data connection: released once everything is subscribed, at the
//! venue's pace, and not kept for ever. Owned by the connection machine.
//!
//! ```text
//! queue ──► waits until the connection is ready ──► pace ──► sent
//!    └── full: refused at once                └── older than 30 s: dropped, counted
//! ```

use super::after;
use crate::market::MonoNs;
use std::collections::VecDeque;
use std::time::Duration;

/// Texts that may wait.
const QUEUED_MAX: usize = 1_024;

/// How long a text may wait for the connection. One that comes later is more likely to harm than to help.
const KEPT: Duration = Duration::from_secs(30);

/// Why a text was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendRefused {
    /// Too many wait already.
    #[error("{QUEUED_MAX} texts wait for the connection already")]
    Full,
    /// The connection is closing, or closed for good.
    #[error("the connection is closed")]
    Closed,
}

/// The texts that wait.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    waiting: VecDeque<(MonoNs, String)>,
    dropped: u64,
}

impl SendQueue {
    pub(super) fn push(&mut self, text: String, now: MonoNs) -> Result<(), SendRefused> {
        if self.waiting.len() == QUEUED_MAX {
            return Err(SendRefused::Full);
        }
        self.waiting.push_back((now, text));
        Ok(())
    }

    /// Drops what has waited too long. True if something is left.
    pub(super) fn expire(&mut self, now: MonoNs) -> bool {
        while self.waiting.front().is_some_and(|(since, _)| after(*since, KEPT) <= now) {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        !self.waiting.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<String> {
        self.waiting.pop_front().map(|(_, text)| text)
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Goes on with what another connection did not come to.
    pub(super) fn take_over(&mut self, other: &mut Self) {
        other.waiting.append(&mut self.waiting);
        self.waiting = std::mem::take(&mut other.waiting);
        self.dropped += std::mem::take(&mut other.dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> MonoNs {
        MonoNs(seconds * 1_000_000_000)
    }

    #[test]
    fn texts_leave_in_their_order_and_old_ones_not_at_all() {
        let mut queue = SendQueue::default();
        for (text, at) in [("a", 0), ("b", 10), ("c", 20)] {
            queue.push(text.to_owned(), s(at)).unwrap();
        }
        assert!(queue.expire(s(39)));
        assert_eq!((queue.pop().as_deref(), queue.dropped()), (Some("b"), 1), "a waited for 30 s");
        assert!(!queue.expire(s(50)) && queue.pop().is_none());
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn a_full_queue_refuses_and_a_successor_goes_on_with_all_of_it() {
        let (mut old, mut new) = (SendQueue::default(), SendQueue::default());
        for _ in 0..QUEUED_MAX {
            old.push("x".to_owned(), s(1)).unwrap();
        }
        assert_eq!(old.push("x".to_owned(), s(1)), Err(SendRefused::Full));
        new.push("last".to_owned(), s(2)).unwrap();
        new.take_over(&mut old);
        let texts: Vec<_> = std::iter::from_fn(|| new.pop()).collect();
        assert_eq!((texts.len(), texts.last().map(String::as_str)), (QUEUED_MAX + 1, Some("last")));
    }
}
