//! The venue's messages a second, on one connection. Owned by the connection machine; asked before every request, told
//! of every message.
//!
//! ```text
//! |<---- 1.2 s ---->|
//! x  x x      x     now        4 in the window of 5: room for one more, but it is kept for pings and pongs
//! ```
//! A sliding window, not a bucket: no second, wherever it starts, ever holds more than the budget. The second is the
//! venue's, by its clock: messages that bunch up on their way by up to 200 ms are within the budget there too.

use super::{SubscriptionSettings, after};
use crate::market::MonoNs;
use crate::venue::Limits;
use std::collections::VecDeque;
use std::time::Duration;

/// The venue's second, and by how much a message may be later than the ones that follow it: two bursts sent a second apart
/// arrive within one second if the first is held up on its way, and the venue cuts who sends so many.
const WINDOW: Duration = Duration::from_millis(1_200);

/// Messages sent within the last window, and how many there may be.
#[derive(Debug)]
pub struct Pacer {
    /// Requests a second; `None` where the venue states no limit.
    budget: Option<usize>,
    sent: VecDeque<MonoNs>,
}

impl Pacer {
    /// A pacer for a venue that allows this many messages a second, of which requests may use `share_percent`, at
    /// least one.
    #[must_use]
    pub fn new(messages_per_second: Option<u32>, share_percent: u8) -> Self {
        let budget = messages_per_second.map(|rate| {
            let share = u64::from(rate) * u64::from(share_percent.min(100)) / 100;
            usize::try_from(share.max(1)).unwrap_or(usize::MAX)
        });
        Self { budget, sent: VecDeque::new() }
    }

    /// The stricter of the venue's pace and the operator's, of which requests may use their share.
    #[must_use]
    pub fn of(limits: &Limits, settings: &SubscriptionSettings) -> Self {
        let rate = settings.messages_per_second.into_iter().chain(limits.messages_per_second).min();
        Self::new(rate, settings.share_percent)
    }

    /// Requests a second; `None` where nobody limits them.
    #[must_use]
    pub fn budget(&self) -> Option<u32> {
        self.budget.map(|budget| u32::try_from(budget).unwrap_or(u32::MAX))
    }

    /// A new connection has a new budget.
    pub fn reset(&mut self) {
        self.sent.clear();
    }

    /// When the next request may go: `now`, or later.
    pub fn next_at(&mut self, now: MonoNs) -> MonoNs {
        while self.sent.front().is_some_and(|&at| after(at, WINDOW) <= now) {
            self.sent.pop_front();
        }
        match self.budget {
            Some(budget) if self.sent.len() >= budget => after(self.sent[self.sent.len() - budget], WINDOW),
            _ => now,
        }
    }

    /// A message went out: a request, or a ping or pong, which never wait.
    pub fn sent(&mut self, now: MonoNs) {
        if self.budget.is_some() {
            self.sent.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(at: u64) -> MonoNs {
        MonoNs(at * 1_000_000)
    }

    #[test]
    fn requests_use_their_share_and_pings_take_from_it() {
        let mut pacer = Pacer::new(Some(5), 80);
        for at in [0, 10, 20, 30] {
            assert_eq!(pacer.next_at(ms(at)), ms(at));
            pacer.sent(ms(at));
        }
        assert_eq!(pacer.next_at(ms(40)), ms(1_200));
        pacer.sent(ms(40)); // a ping
        assert_eq!(pacer.next_at(ms(50)), ms(1_210));
        assert_eq!(pacer.next_at(ms(1_210)), ms(1_210));
    }

    #[test]
    fn a_venue_without_a_limit_never_waits_and_keeps_no_list() {
        let mut pacer = Pacer::new(None, 80);
        for _ in 0..1_000 {
            assert_eq!(pacer.next_at(ms(1)), ms(1));
            pacer.sent(ms(1));
        }
        assert!(pacer.sent.is_empty());
    }

    proptest! {
        #[test]
        fn no_second_of_the_venue_holds_more_than_the_budget_however_messages_bunch_up_on_the_way(
            rate in 1..20_u32,
            steps in proptest::collection::vec((0..400_u64, 0..200_u64), 1..200),
        ) {
            let mut pacer = Pacer::new(Some(rate), 100);
            let (mut now, mut arrivals) = (0, Vec::new());
            for (step, delay) in steps {
                now += step;
                if pacer.next_at(ms(now)) == ms(now) {
                    pacer.sent(ms(now));
                    // TCP keeps their order.
                    arrivals.push((now + delay).max(arrivals.last().copied().unwrap_or(0)));
                }
            }
            for &first in &arrivals {
                let within = arrivals.iter().filter(|&&at| (first..first + 1_000).contains(&at)).count();
                prop_assert!(within <= rate as usize, "{within} of {rate} in the second from {first}");
            }
        }

        #[test]
        fn no_second_holds_more_than_the_budget(rate in 1..20_u32, share in 0..=100_u8, steps in proptest::collection::vec(0..400_u64, 1..200)) {
            let mut pacer = Pacer::new(Some(rate), share);
            let budget = (u64::from(rate) * u64::from(share) / 100).max(1);
            let (mut now, mut sent) = (0, Vec::new());
            for step in steps {
                now += step;
                if pacer.next_at(ms(now)) == ms(now) {
                    pacer.sent(ms(now));
                    sent.push(now);
                }
                let within = sent.iter().filter(|&&at| at + 1_000 > now).count() as u64;
                prop_assert!(within <= budget);
            }
        }
    }
}
