//! How often one subscription speaks, and how long a silence of it means something. Owned by its slot in `liveness`.
//!
//! ```text
//! last data at:  t0 ──gap──► t1 ──gap──► t2 ────────── ...     learned: mean of the gaps, and the longest of late
//!                                        └─ limit ──► silent
//!
//! limit = clamp(max(factor · mean, 3 · longest), min, max), and never fewer than 15 mean gaps
//! ```
//! Only the time of the last message is known, and only when it is sampled, so a gap is what lies between two samples
//! that differ: for a busy symbol it is about the sampling period, however many messages there were. The mean is that of
//! the first 64 gaps, then an exponential one of that weight: shorter ones mistake a busy minute for the symbol's nature.
//! The longest fades by half in 30 minutes: messages come in bursts, and a lull that was survived is no news.
//!
//! A [`Pool`] is the same question asked of a whole connection, whose subscriptions may be too new to be judged alone.

use super::liveness::LivenessSettings;
use crate::market::MonoNs;
use std::time::Duration;

/// Gaps in the mean.
const WINDOW: u32 = 64;

/// Gaps to be seen before a silence is judged.
const OBSERVATIONS_MIN: u32 = 16;

/// And time to be watched: the first burst of a quiet symbol is not its rate.
const WATCHED_NS_MIN: u64 = 60_000_000_000;

/// A silence is this many of the longest gaps at least.
const LONGEST_FACTOR: u64 = 3;

/// And this many mean gaps, even where that is more than the longest limit: at random arrivals one gap in three million
/// is longer. A symbol that speaks every ten minutes is not silent after ten.
const MEAN_GAPS_MIN: u64 = 15;

/// In this time the longest gap loses half its length.
const HALF_LIFE_NS: f64 = 1.8e12;

/// What is known of one subscription's rate. It is the symbol's own, so it outlives a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Rate {
    mean_ns: u64,
    longest_ns: u64,
    observations: u32,
    watched_ns: u64,
}

impl Rate {
    /// This long lay between two messages.
    pub(super) fn learn(&mut self, gap_ns: u64) {
        self.observations = self.observations.saturating_add(1);
        self.watched_ns = self.watched_ns.saturating_add(gap_ns);
        let weight = u64::from(self.observations.min(WINDOW));
        self.mean_ns = if gap_ns >= self.mean_ns {
            self.mean_ns + (gap_ns - self.mean_ns) / weight
        } else {
            self.mean_ns - (self.mean_ns - gap_ns) / weight
        };
        self.longest_ns = faded(self.longest_ns, gap_ns).max(gap_ns);
    }

    /// The mean gap; `None` until it is known.
    pub(super) fn mean_ns(&self) -> Option<u64> {
        let is_known = self.observations >= OBSERVATIONS_MIN && self.watched_ns >= WATCHED_NS_MIN;
        is_known.then_some(self.mean_ns)
    }

    /// How long a silence is still none; `None` until anything is known of the rate. What spoke often, but not for long
    /// enough to know how it goes on, has the longest limit.
    pub(super) fn limit_ns(&self, settings: &LivenessSettings) -> Option<u64> {
        let (min, max) = (nanos(settings.fresh_min), nanos(settings.fresh_max));
        let Some(mean_ns) = self.mean_ns() else {
            return (self.observations >= OBSERVATIONS_MIN).then(|| max.max(self.mean_ns * MEAN_GAPS_MIN));
        };
        let by_mean = mean_ns.saturating_mul(u64::from(settings.factor));
        let by_longest = self.longest_ns.saturating_mul(LONGEST_FACTOR);
        let limit = by_mean.max(by_longest).min(max).max(min);
        Some(limit.max(mean_ns.saturating_mul(MEAN_GAPS_MIN)))
    }
}

/// How often any subscription of a connection spoke, since it is up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pool {
    first: Option<MonoNs>,
    last: MonoNs,
    /// But for each subscription's first.
    messages: u64,
}

impl Pool {
    /// Some subscription spoke at this time. Its first message is no evidence of a rate: many are snapshots.
    pub(super) fn spoke(&mut self, at: MonoNs, is_its_first: bool) {
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(at);
        self.messages += u64::from(!is_its_first);
    }

    /// True if all of them together have been silent for too long at this time. Never before they have said
    /// 16 messages behind their first ones.
    pub(super) fn is_silent(&self, at: MonoNs, settings: &LivenessSettings) -> bool {
        let Some(first) = self.first.filter(|_| self.messages >= u64::from(OBSERVATIONS_MIN)) else { return false };
        let mean_ns = self.last.since_ns(first) / self.messages;
        at.since_ns(self.last) > nanos(settings.fresh_max).max(mean_ns.saturating_mul(MEAN_GAPS_MIN))
    }
}

/// Nanoseconds, saturating at 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate; the product of a length and a factor from 0 to 1 is a length again"
)]
fn faded(longest_ns: u64, elapsed_ns: u64) -> u64 {
    (longest_ns as f64 * (-(elapsed_ns as f64) / HALF_LIFE_NS).exp2()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    fn learned(gap_ns: u64, count: u32) -> Rate {
        let mut rate = Rate::default();
        (0..count).for_each(|_| rate.learn(gap_ns));
        rate
    }

    fn limit_s(rate: &Rate) -> Option<u64> {
        rate.limit_ns(&LivenessSettings::default()).map(|ns| ns / S)
    }

    #[test]
    fn the_limit_follows_the_gap_between_its_bounds_and_never_falls_below_fifteen_gaps() {
        for (gap_ms, limit) in [(100, 5), (500, 10), (1_000, 20), (20_000, 400), (35_000, 600), (60_000, 900)] {
            assert_eq!(limit_s(&learned(gap_ms * 1_000_000, 1_000)), Some(limit), "{gap_ms} ms");
        }
    }

    #[test]
    fn nothing_is_known_before_sixteen_gaps_and_before_a_minute_only_the_longest_limit_holds() {
        assert_eq!(limit_s(&learned(3_600 * S, 15)), None);
        assert_eq!(limit_s(&learned(3_600 * S, 16)), Some(15 * 3_600));
        assert_eq!(limit_s(&learned(S / 2, 15)), None);
        assert_eq!(limit_s(&learned(S / 2, 16)), Some(600));
        assert_eq!(limit_s(&learned(S / 2, 119)), Some(600));
        assert_eq!(limit_s(&learned(S / 2, 120)), Some(10));
    }

    #[test]
    fn a_lull_widens_the_limit_for_a_while() {
        let mut rate = learned(S / 2, 1_000);
        rate.learn(30 * S);
        assert_eq!(limit_s(&rate), Some(90));
        (0..3_600).for_each(|_| rate.learn(S / 2));
        assert_eq!(limit_s(&rate), Some(44), "half an hour later");
        (0..7_200 * 3).for_each(|_| rate.learn(S / 2));
        assert_eq!(limit_s(&rate), Some(10), "forgotten");
    }

    proptest! {
        #[test]
        fn the_mean_stays_within_the_gaps_it_was_made_of(gaps in proptest::collection::vec(any::<u64>(), 1..200)) {
            let mut rate = Rate::default();
            for &gap in &gaps {
                rate.learn(gap);
            }
            prop_assert!(gaps.iter().min().unwrap() <= &rate.mean_ns && &rate.mean_ns <= gaps.iter().max().unwrap());
            prop_assert!(rate.limit_ns(&LivenessSettings::default()).is_none_or(|limit| limit >= 5 * S));
        }
    }
}
