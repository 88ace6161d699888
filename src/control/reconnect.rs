//! How long to wait before the next attempt. Owned by the connection machine.
//!
//! ```text
//! failed_for(cause) ──► offset + max(backoff, what the cause asks for)          None: give up
//!
//! backoff   exponential  uniform(0 ..= min(cap, base · factor^(failures - 1)))  at full jitter
//!           fixed        base, and up to a tenth of it
//!           none         for the first retry after a healthy stretch, by option; when a healthy venue said it was going
//! cause     Network      nothing                   Policy (1008)          10 to 20 s
//!           Refused      Retry-After, + up to 1/10 TryLater (1012, 1013)  1 to 5 s
//!           AuthRefused  a long wait, or the end   GoingAway              nothing
//! ```
//! `failures` is 0 only after data has flowed for `stable_after`: a connect that succeeds proves nothing, and a venue
//! that accepts and cuts would be stormed if success reset the count. Every wait has jitter, so that connections which
//! fell together do not come back together.

use crate::market::MonoNs;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// What a retry without backoff waits at most, beside the offset.
const PROMPT_WAIT_MAX: Duration = Duration::from_millis(100);

/// A connection cut for breaking a rule (close code 1008; Binance: too many messages a second) stays away this long at
/// least, and up to twice as long: one that comes back at once is cut again, and the address is banned in the end.
const POLICY_WAIT_MIN: Duration = Duration::from_secs(10);

/// A venue that restarts (close code 1012) or asks for a later try (1013) is left alone for this long.
const TRY_LATER_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// A wait that was asked for is made longer by up to this part of it.
const SPREAD_DIVISOR: u32 = 10;

/// How the waits grow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RetryStrategy {
    /// By `factor` with each failure, from `base` to `cap`.
    Exponential,
    /// Not at all: `base` each time, and up to a tenth of it.
    Fixed,
    /// There is no next attempt.
    Never,
}

/// How to come back.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconnectSettings {
    /// How the waits grow.
    pub strategy: RetryStrategy,
    /// Longest wait before the first attempt after a loss.
    pub base: Duration,
    /// By how much the longest wait grows with each failure; at least 1.
    pub factor: f64,
    /// No backoff is longer. What a venue asks for may be.
    pub cap: Duration,
    /// Failures in a row after which to give up; `None`: never.
    pub attempts_max: Option<u32>,
    /// Part of each backoff that is random, from 0 to 1. At 1 ("full jitter") it is anything up to its longest.
    pub jitter: f64,
    /// Added to every wait: a socket is never asked for sooner than this after the last one was lost.
    pub offset: Duration,
    /// The first retry after a healthy stretch has no backoff, only the offset and at most 100 ms of jitter.
    pub immediate_first: bool,
    /// How long to stay away after a refused login, and up to a tenth longer; `None`: give up. A wrong key does not get
    /// right by asking often, and venues lock keys that are tried too often.
    pub auth_wait: Option<Duration>,
    /// Data must flow this long on one connection before earlier failures are forgotten: the healthy stretch.
    pub stable_after: Duration,
    /// Seed of the jitter. Connections need different seeds, or they all come back at the same instant.
    pub seed: u64,
}

impl Default for ReconnectSettings {
    fn default() -> Self {
        Self {
            strategy: RetryStrategy::Exponential,
            base: Duration::from_millis(250),
            factor: 2.0,
            cap: Duration::from_secs(30),
            attempts_max: None,
            jitter: 1.0,
            offset: Duration::ZERO,
            immediate_first: false,
            auth_wait: Some(Duration::from_secs(300)),
            stable_after: Duration::from_secs(10),
            seed: 0,
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The network, or a venue that gave no reason of the kinds below.
    Network,
    /// The upgrade was refused by HTTP (429, 418, 403, 5xx).
    Refused {
        /// How long the venue asked us to stay away (`Retry-After`, RFC 9110 section 10.2.3). Has no cap: Binance bans
        /// an address that comes back early for up to three days.
        retry_after: Option<Duration>,
    },
    /// The login was refused.
    AuthRefused,
    /// The server said that it goes, by notice (Binance `serverShutdown`) or by close code 1001.
    GoingAway,
    /// Close code 1008: a rule of the venue was broken, most often its messages a second.
    Policy,
    /// Close code 1012 (service restart) or 1013 (try again later).
    TryLater,
}

impl Cause {
    /// What a close code says.
    ///
    /// Source: RFC 6455 section 7.4.1, and IANA's WebSocket close code registry.
    #[must_use]
    pub const fn of_close_code(code: u16) -> Self {
        match code {
            1_001 => Self::GoingAway,
            1_008 => Self::Policy,
            1_012 | 1_013 => Self::TryLater,
            _ => Self::Network,
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
    /// Data flowed for `stable_after` on the present connection.
    is_healthy: bool,
}

impl Backoff {
    /// No failure yet.
    #[must_use]
    pub fn new(settings: ReconnectSettings) -> Self {
        let random = StdRng::seed_from_u64(settings.seed);
        Self { settings, random, failures: 0, data_since: None, is_healthy: false }
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
            self.is_healthy = true;
        }
    }

    /// A connect failed or a connection was lost, for no reason but the network. See [`failed_for`](Self::failed_for).
    pub fn failed(&mut self) -> Option<Duration> {
        self.failed_for(Cause::Network)
    }

    /// A connect failed or a connection was lost. Returns the wait before the next attempt, or `None` if none is left.
    pub fn failed_for(&mut self, cause: Cause) -> Option<Duration> {
        let was_healthy = std::mem::take(&mut self.is_healthy);
        self.data_since = None;
        self.failures = self.failures.saturating_add(1);
        let is_over = self.settings.attempts_max.is_some_and(|max| self.failures > max);
        if is_over || self.settings.strategy == RetryStrategy::Never {
            return None;
        }
        // A venue that says at every connect that it is going away is not healthy, and meets the backoff.
        let is_prompt = was_healthy && (self.settings.immediate_first || cause == Cause::GoingAway);
        let backoff = if is_prompt { self.random_up_to(PROMPT_WAIT_MAX) } else { self.backoff() };
        let asked = match cause {
            Cause::Network | Cause::GoingAway | Cause::Refused { retry_after: None } => Duration::ZERO,
            Cause::Refused { retry_after: Some(wait) } => self.spread(wait),
            Cause::AuthRefused => self.settings.auth_wait.map(|wait| self.spread(wait))?,
            Cause::Policy => POLICY_WAIT_MIN + self.random_up_to(POLICY_WAIT_MIN),
            Cause::TryLater => TRY_LATER_WAIT.0 + self.random_up_to(TRY_LATER_WAIT.1 - TRY_LATER_WAIT.0),
        };
        Some(self.settings.offset.saturating_add(backoff.max(asked)))
    }

    /// What the failures have earned.
    fn backoff(&mut self) -> Duration {
        if self.settings.strategy == RetryStrategy::Fixed {
            return self.spread(self.settings.base);
        }
        // In nanoseconds of a u64 (584 years), so that no cap makes the multiplication overflow.
        let wait_max = self.wait_max(self.failures).min(Duration::from_nanos(u64::MAX));
        let random = wait_max.mul_f64(self.settings.jitter.clamp(0.0, 1.0)).min(wait_max);
        (wait_max - random) + self.random_up_to(random)
    }

    /// Longest backoff after this many failures.
    fn wait_max(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.settings.base.as_secs_f64() * self.settings.factor.max(1.0).powi(exponent);
        // Infinity after enough failures, and NaN where the base is zero: the cap holds for both.
        Duration::try_from_secs_f64(seconds).map_or(self.settings.cap, |wait| wait.min(self.settings.cap))
    }

    /// This long at least, and up to a tenth longer.
    fn spread(&mut self, wait: Duration) -> Duration {
        wait.saturating_add(self.random_up_to(wait / SPREAD_DIVISOR))
    }

    fn random_up_to(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.random_range(0..=nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAUSES: [Cause; 6] = [
        Cause::Network,
        Cause::Refused { retry_after: Some(Duration::from_secs(1)) },
        Cause::AuthRefused,
        Cause::GoingAway,
        Cause::Policy,
        Cause::TryLater,
    ];

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

    fn healthy(settings: ReconnectSettings) -> Backoff {
        let mut backoff = Backoff::new(settings);
        backoff.data_seen(ms(0));
        backoff.data_seen(ms(10_000));
        backoff
    }

    fn long(seed: u64) -> ReconnectSettings {
        let minute = Duration::from_secs(60);
        ReconnectSettings { base: minute, cap: minute, jitter: 0.0, seed, ..ReconnectSettings::default() }
    }

    fn short(seed: u64) -> ReconnectSettings {
        ReconnectSettings { base: Duration::ZERO, cap: Duration::ZERO, seed, ..ReconnectSettings::default() }
    }

    #[test]
    fn a_strategy_of_never_does_not_come_back() {
        for cause in CAUSES {
            let settings = ReconnectSettings { strategy: RetryStrategy::Never, ..ReconnectSettings::default() };
            assert_eq!(healthy(settings).failed_for(cause), None, "{cause:?}");
        }
    }

    #[test]
    fn a_fixed_wait_stays_the_same_but_for_a_tenth() {
        let base = Duration::from_secs(10);
        let mut backoff = Backoff::new(ReconnectSettings { strategy: RetryStrategy::Fixed, base, ..long(3) });
        let waits: Vec<_> = (0..50).map(|_| backoff.failed().unwrap()).collect();
        assert!(waits.iter().all(|&wait| wait >= base && wait <= base.mul_f64(1.1)), "{waits:?}");
        assert_ne!(waits[0], waits[1]);
    }

    #[test]
    fn the_offset_comes_before_every_attempt() {
        let offset = Duration::from_secs(7);
        for cause in CAUSES {
            for is_healthy in [false, true] {
                let settings = ReconnectSettings { offset, immediate_first: true, ..short(4) };
                let mut backoff = if is_healthy { healthy(settings) } else { Backoff::new(settings) };
                assert!(backoff.failed_for(cause).unwrap() >= offset, "{cause:?}");
            }
        }
    }

    #[test]
    fn only_the_first_retry_after_a_healthy_stretch_is_immediate_and_only_by_option() {
        let minute = Duration::from_secs(60);
        let mut backoff = healthy(ReconnectSettings { immediate_first: true, ..long(5) });
        assert!(backoff.failed().unwrap() <= PROMPT_WAIT_MAX);
        assert_eq!(backoff.failed(), Some(minute), "nothing healthy in between");
        backoff.data_seen(ms(20_000));
        backoff.data_seen(ms(20_500));
        assert_eq!(backoff.failed(), Some(minute), "half a second of data is no healthy stretch");
        assert_eq!(Backoff::new(ReconnectSettings { immediate_first: true, ..long(5) }).failed(), Some(minute));
        assert_eq!(healthy(long(5)).failed(), Some(minute), "not asked for");
    }

    #[test]
    fn a_server_that_goes_is_followed_at_once_unless_it_does_nothing_but_go() {
        let mut backoff = healthy(long(6));
        assert!(backoff.failed_for(Cause::GoingAway).unwrap() <= PROMPT_WAIT_MAX);
        assert_eq!(backoff.failed_for(Cause::GoingAway), Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_cause_raises_the_shortest_wait_and_never_lowers_a_longer_backoff() {
        let s = Duration::from_secs;
        for (cause, min, max) in [
            (Cause::Network, s(0), s(0)),
            (Cause::Refused { retry_after: None }, s(0), s(0)),
            (Cause::Refused { retry_after: Some(s(100_000)) }, s(100_000), s(110_000)),
            (Cause::AuthRefused, s(300), s(330)),
            (Cause::Policy, s(10), s(20)),
            (Cause::TryLater, s(1), s(5)),
        ] {
            for seed in 0..50 {
                for is_healthy in [false, true] {
                    let settings = ReconnectSettings { immediate_first: is_healthy, ..short(seed) };
                    let mut backoff = if is_healthy { healthy(settings) } else { Backoff::new(settings) };
                    let wait = backoff.failed_for(cause).unwrap();
                    let prompt = if is_healthy { PROMPT_WAIT_MAX } else { s(0) };
                    assert!(wait >= min && wait <= max + prompt, "{cause:?}: {wait:?}");
                }
                assert!(Backoff::new(long(seed)).failed_for(cause).unwrap() >= min.max(s(60)), "{cause:?}");
            }
        }
    }

    #[test]
    fn a_refused_login_can_be_the_end_and_nothing_else_with_it() {
        let settings = ReconnectSettings { auth_wait: None, ..ReconnectSettings::default() };
        for cause in CAUSES {
            let wait = healthy(settings.clone()).failed_for(cause);
            assert_eq!(wait.is_none(), cause == Cause::AuthRefused, "{cause:?}");
        }
    }

    #[test]
    fn a_close_code_is_read_as_the_registry_has_it() {
        for (code, cause) in [
            (1_000, Cause::Network),
            (1_001, Cause::GoingAway),
            (1_006, Cause::Network),
            (1_008, Cause::Policy),
            (1_011, Cause::Network),
            (1_012, Cause::TryLater),
            (1_013, Cause::TryLater),
            (4_000, Cause::Network),
        ] {
            assert_eq!(Cause::of_close_code(code), cause, "{code}");
        }
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

        #[test]
        fn no_cause_and_no_settings_make_a_wait_shorter_than_the_offset_or_a_panic(
            seed: u64, which in 0..6_usize, offset_s: u64, asked_s: u64, jitter in -1.0..2.0_f64, is_fixed: bool,
        ) {
            let strategy = if is_fixed { RetryStrategy::Fixed } else { RetryStrategy::Exponential };
            let (offset, asked) = (Duration::from_secs(offset_s), Duration::from_secs(asked_s));
            let cause = if which == 1 { Cause::Refused { retry_after: Some(asked) } } else { CAUSES[which] };
            let mut backoff = Backoff::new(ReconnectSettings { strategy, offset, jitter, seed, ..ReconnectSettings::default() });
            for _ in 0..5 {
                let wait = backoff.failed_for(cause).unwrap();
                prop_assert!(wait >= offset);
                prop_assert!(which != 1 || wait >= asked);
            }
        }
    }
}
