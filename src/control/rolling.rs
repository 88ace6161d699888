//! What one use of a budget has taken within the window, held to a part of our share: so that what can wait leaves room for what
//! cannot.

use super::after;
use crate::market::MonoNs;
use std::collections::VecDeque;
use std::time::Duration;

/// See the module. Never reads a clock.
#[derive(Debug, Default)]
pub struct Rolling {
    spent: VecDeque<(MonoNs, u32)>,
}

impl Rolling {
    /// When to ask again for this weight; `None`: it is within `percent` of the share now. What is more than that by itself goes
    /// alone in its window: it would never go otherwise.
    pub fn free_at(
        &mut self,
        (share, window): (u64, Duration),
        percent: u8,
        weight: u32,
        now: MonoNs,
    ) -> Option<MonoNs> {
        let used = self.used(window, now);
        let most = share * u64::from(percent.min(100)) / 100;
        self.first_free_at(window).filter(|_| used + u64::from(weight) > most)
    }

    /// What was taken within the last window.
    pub fn used(&mut self, window: Duration, now: MonoNs) -> u64 {
        while self.spent.front().is_some_and(|&(at, _)| after(at, window) <= now) {
            self.spent.pop_front();
        }
        self.spent.iter().map(|&(_, weight)| u64::from(weight)).sum()
    }

    /// When the first of it is a window old.
    #[must_use]
    pub fn first_free_at(&self, window: Duration) -> Option<MonoNs> {
        self.spent.front().map(|&(at, _)| after(at, window))
    }

    /// This weight is taken now.
    pub fn spend(&mut self, weight: u32, now: MonoNs) {
        self.spent.push_back((now, weight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn s(at: u64) -> MonoNs {
        MonoNs(at * 1_000_000_000)
    }

    #[test]
    fn what_is_over_the_part_waits_until_what_was_taken_first_is_a_window_old() {
        let mut rolling = Rolling::default();
        let share = (400, WINDOW);
        for at in 0..4 {
            assert_eq!(rolling.free_at(share, 25, 25, s(at)), None);
            rolling.spend(25, s(at));
        }
        assert_eq!(rolling.free_at(share, 25, 25, s(5)), Some(s(60)));
        assert_eq!(rolling.free_at(share, 25, 25, s(60)), None);
        assert_eq!(rolling.free_at(share, 25, 26, s(60)), Some(s(61)));
        assert_eq!(rolling.free_at(share, 25, 101, s(70)), None, "alone in its window");
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_part_and_nobody_waits_for_longer_than_a_window(
            share in 1_u64..4_000, percent in 0_u8..=100, asks in proptest::collection::vec((1_u32..60, 0_u64..20), 1..120)
        ) {
            let (mut rolling, mut now, mut taken) = (Rolling::default(), s(1), Vec::new());
            for (weight, pause) in asks {
                now = after(now, Duration::from_secs(pause));
                let asked_at = now;
                while let Some(at) = rolling.free_at((share, WINDOW), percent, weight, now) {
                    prop_assert!(at > now);
                    now = at;
                }
                prop_assert!(now <= after(asked_at, WINDOW));
                rolling.spend(weight, now);
                taken.push((now, u64::from(weight)));
            }
            for &(from, _) in &taken {
                let inside: Vec<u64> =
                    taken.iter().filter(|one| one.0 >= from && one.0 < after(from, WINDOW)).map(|one| one.1).collect();
                let used: u64 = inside.iter().sum();
                prop_assert!(used <= share * u64::from(percent) / 100 || inside.len() == 1, "{used} of {share}");
            }
        }
    }
}
