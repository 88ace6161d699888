//! How long to wait before the next attempt: exponential, with full jitter and a cap. Owned by the connection machine.
//!
//! ```text
//! wait = uniform(0 ..= min(cap, base · factor^(failures - 1)))      failures = 0 only after data flowed for stable_after
//! ```
//! A connect that succeeds proves nothing: a venue that accepts and cuts would be stormed if success reset the count.

use crate::market::MonoNs;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// How to come back.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconnectSettings {
    /// Longest wait before the first attempt after a loss.
    pub base: Duration,
    /// By how much the longest wait grows with each failure; at least 1.
    pub factor: f64,
    /// No wait is longer.
    pub cap: Duration,
    /// Failures in a row after which to give up; `None`: never.
    pub attempts_max: Option<u32>,
    /// Part of each wait that is random, from 0 to 1. At 1 ("full jitter") a wait is anything up to its longest.
    pub jitter: f64,
    /// Data must flow this long on one connection before earlier failures are forgotten.
    pub stable_after: Duration,
    /// Seed of the jitter. Connections need different seeds, or they all come back at the same instant.
    pub seed: u64,
}

impl Default for ReconnectSettings {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            factor: 2.0,
            cap: Duration::from_secs(30),
            attempts_max: None,
            jitter: 1.0,
            stable_after: Duration::from_secs(10),
            seed: 0,
        }
    }
}

/// The failures of one connection, and the wait they have earned.
#[derive(Debug)]
pub struct Backoff {
    settings: ReconnectSettings,
    random: StdRng,
    failures: u32,
    data_since: Option<MonoNs>,
}

impl Backoff {
    /// No failure yet.
    #[must_use]
    pub fn new(settings: ReconnectSettings) -> Self {
        let random = StdRng::seed_from_u64(settings.seed);
        Self { settings, random, failures: 0, data_since: None }
    }

    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Market data came at `at`. Once it has flowed for `stable_after`, earlier failures are forgotten.
    pub fn data_seen(&mut self, at: MonoNs) {
        let since = *self.data_since.get_or_insert(at);
        if u128::from(at.since_ns(since)) >= self.settings.stable_after.as_nanos() {
            self.failures = 0;
        }
    }

    /// A connect failed or a connection was lost. Returns the wait before the next attempt, or `None` if none is left.
    pub fn failed(&mut self) -> Option<Duration> {
        self.data_since = None;
        self.failures = self.failures.saturating_add(1);
        if self.settings.attempts_max.is_some_and(|max| self.failures > max) {
            return None;
        }
        let wait_max = self.wait_max(self.failures);
        let nanos = u64::try_from(wait_max.as_nanos()).unwrap_or(u64::MAX);
        let random = Duration::from_nanos(nanos).mul_f64(self.settings.jitter.clamp(0.0, 1.0));
        let random = u64::try_from(random.as_nanos()).unwrap_or(nanos).min(nanos);
        Some(Duration::from_nanos(nanos - random + self.random.random_range(0..=random)))
    }

    /// Longest wait after this many failures.
    fn wait_max(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.settings.base.as_secs_f64() * self.settings.factor.max(1.0).powi(exponent);
        // Infinity after enough failures, and NaN where the base is zero: the cap holds for both.
        Duration::try_from_secs_f64(seconds).map_or(self.settings.cap, |wait| wait.min(self.settings.cap))
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
    fn the_longest_wait_doubles_up_to_the_cap() {
        let backoff = Backoff::new(ReconnectSettings::default());
        let waits: Vec<_> = (1..=9).map(|failures| backoff.wait_max(failures).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.wait_max(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn failures_are_forgotten_only_after_data_has_flowed_for_a_while() {
        let mut backoff = Backoff::new(ReconnectSettings::default());
        for _ in 0..5 {
            backoff.failed();
        }
        backoff.data_seen(ms(0));
        backoff.data_seen(ms(9_999));
        assert_eq!(backoff.failures(), 5);
        backoff.failed();
        // The next connection starts its own stretch of data.
        backoff.data_seen(ms(20_000));
        backoff.data_seen(ms(29_999));
        assert_eq!(backoff.failures(), 6);
        backoff.data_seen(ms(30_000));
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn after_the_last_attempt_there_is_none() {
        let mut backoff = Backoff::new(ReconnectSettings { attempts_max: Some(2), ..ReconnectSettings::default() });
        assert!(backoff.failed().is_some());
        assert!(backoff.failed().is_some());
        assert_eq!(backoff.failed(), None);
    }

    #[test]
    fn two_connections_with_two_seeds_do_not_come_back_together() {
        let waits = |seed| {
            let mut backoff = Backoff::new(ReconnectSettings { seed, ..ReconnectSettings::default() });
            (0..10).map(|_| backoff.failed().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1), "a seed replays");
        assert_ne!(waits(1), waits(2));
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_its_bound(seed: u64, base_ms in 0..100_000_u64, factor in -3.0..10.0_f64, cap_ms in 0..100_000_u64) {
            let cap = Duration::from_millis(cap_ms);
            let settings = ReconnectSettings { base: Duration::from_millis(base_ms), factor, cap, seed, ..ReconnectSettings::default() };
            let mut backoff = Backoff::new(settings);
            for failures in 1..60 {
                let wait = backoff.failed().unwrap();
                prop_assert!(wait <= backoff.wait_max(failures) && wait <= cap);
            }
        }
    }
}
