//! Which leg of a connection keeps losing, and is to be replaced.
//!
//! ```text
//! counts of each leg ──► window ends: share of wins, mean lag ──► bad │ good │ neither ──► so many bad ones ──► replace it
//!                                                                 +1    0      as before          └── then hold off, for all
//! ```
//! A leg is bad in a window if it won at most a share of what it raced, *and* was late by more than a bound: to lose by a
//! microsecond costs nothing. It is good again only beyond twice the share or below half of the bound. Windows of too few
//! events say nothing. After a replacement no leg of the connection is judged for a while, longer each time the new one is
//! no better. Owned by the legs of one socket together; knows no clock.

use crate::market::MonoNs;
use std::time::Duration;

/// When a leg counts as losing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RaceSettings {
    /// Whether legs are replaced at all.
    pub is_replacing: bool,
    /// Time over which wins and losses are compared.
    pub window: Duration,
    /// A leg that won at most this share of what it raced, in percent, may be losing,
    pub share_percent_max: u8,
    /// if it was also this late on average.
    pub lag_min: Duration,
    /// Windows in which it has to lose before it is replaced.
    pub windows: u32,
    /// Fewer events than this in a window say nothing.
    pub raced_min: u64,
    /// After a replacement none follows for this long; for twice as long each time that the new one was no better.
    pub hold_off: Duration,
}

impl Default for RaceSettings {
    fn default() -> Self {
        Self {
            is_replacing: true,
            window: Duration::from_secs(60),
            share_percent_max: 5,
            lag_min: Duration::from_millis(1),
            windows: 5,
            raced_min: 200,
            hold_off: Duration::from_secs(1_800),
        }
    }
}

/// What a leg has won and lost, ever.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RaceCounts {
    /// Events that it brought first.
    pub won: u64,
    /// Events that another had brought.
    pub lost: u64,
    /// How late it was, ns, over all of them of which that is known.
    pub lag_ns: u64,
    /// How many those are.
    pub lags: u64,
}

impl RaceCounts {
    const fn since(self, before: Self) -> Self {
        Self {
            won: self.won.saturating_sub(before.won),
            lost: self.lost.saturating_sub(before.lost),
            lag_ns: self.lag_ns.saturating_sub(before.lag_ns),
            lags: self.lags.saturating_sub(before.lags),
        }
    }

    const fn raced(self) -> u64 {
        self.won + self.lost
    }

    /// On average; 0 where none is known.
    fn lag(self) -> Duration {
        Duration::from_nanos(self.lag_ns.checked_div(self.lags).unwrap_or_default())
    }
}

/// A leg that is to be replaced, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Losing {
    /// What it won of its last window, in percent.
    pub share_percent: u64,
    /// How late it was in it, on average.
    pub lag: Duration,
    /// Windows in which it lost.
    pub windows: u32,
}

impl std::fmt::Display for Losing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { share_percent, lag, windows } = self;
        write!(f, "it keeps losing: {share_percent} % won, {lag:?} late on average, {windows} windows long")
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Runner {
    /// The window's begin, with the counts then; `None` before the first.
    window: Option<(MonoNs, RaceCounts)>,
    /// Windows in which it lost, since it was last good.
    bad: u32,
    /// Times it was replaced since it was last good.
    replaced: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Race {
    settings: RaceSettings,
    runners: Vec<Runner>,
    /// No leg is replaced before this.
    hold_until: MonoNs,
}

/// Doublings of the hold-off.
const DOUBLINGS_MAX: u32 = 5;

impl Race {
    /// Of so many legs.
    #[must_use]
    pub fn new(settings: RaceSettings, legs: usize) -> Self {
        Self { settings, runners: vec![Runner::default(); legs], hold_until: MonoNs(0) }
    }

    /// From the next window on, these hold.
    pub const fn set_settings(&mut self, settings: RaceSettings) {
        self.settings = settings;
    }

    /// A leg has a new socket: what the old one lost is not held against it.
    pub fn renewed(&mut self, leg: usize, counts: RaceCounts, now: MonoNs) {
        if let Some(runner) = self.runners.get_mut(leg) {
            (runner.window, runner.bad) = (Some((now, counts)), 0);
        }
    }

    /// Takes what a leg has won and lost until now; as often as one likes. `Some`: it is to be replaced.
    pub fn sample(&mut self, leg: usize, counts: RaceCounts, now: MonoNs) -> Option<Losing> {
        let settings = self.settings;
        let runner = self.runners.get_mut(leg)?;
        let (begun, before) = *runner.window.get_or_insert((now, counts));
        if Duration::from_nanos(now.since_ns(begun)) < settings.window {
            return None;
        }
        runner.window = Some((now, counts));
        let window = counts.since(before);
        if window.raced() < settings.raced_min.max(1) {
            return None;
        }
        let (won, share) = (u128::from(window.won) * 100, u128::from(settings.share_percent_max));
        let raced = u128::from(window.raced());
        if won > 2 * share * raced || window.lag() < settings.lag_min / 2 {
            (runner.bad, runner.replaced) = (0, 0);
        }
        if won > share * raced || window.lag() < settings.lag_min {
            return None;
        }
        runner.bad = runner.bad.saturating_add(1);
        if runner.bad < settings.windows.max(1) || now < self.hold_until || !settings.is_replacing {
            return None;
        }
        let share_percent = window.won * 100 / window.raced();
        let losing = Losing { share_percent, lag: window.lag(), windows: runner.bad };
        let hold_off = settings.hold_off * 2_u32.pow(runner.replaced.min(DOUBLINGS_MAX));
        runner.bad = 0;
        runner.replaced = runner.replaced.saturating_add(1);
        self.hold_until = super::after(now, hold_off);
        Some(losing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn settings() -> RaceSettings {
        RaceSettings { windows: 3, hold_off: Duration::from_secs(600), ..RaceSettings::default() }
    }

    /// Two legs, minute by minute: what the second won of 1,000 in percent, and how late it was where it lost.
    fn minutes(settings: RaceSettings, told: &[(u64, u64)]) -> Vec<(usize, usize)> {
        let mut race = Race::new(settings, 2);
        let mut counts = [RaceCounts::default(); 2];
        let mut replaced = Vec::new();
        for (leg, &counts) in counts.iter().enumerate() {
            assert_eq!(race.sample(leg, counts, MonoNs(SECOND)), None, "nothing is known yet");
        }
        for (minute, &(percent, lag_us)) in told.iter().enumerate() {
            let now = MonoNs(SECOND + (minute as u64 + 1) * 60 * SECOND);
            for (leg, won) in [(0, 1_000 - 10 * percent), (1, 10 * percent)] {
                let lost = 1_000 - won;
                counts[leg].won += won;
                counts[leg].lost += lost;
                counts[leg].lags += lost;
                counts[leg].lag_ns += lost * lag_us * 1_000;
                if let Some(losing) = race.sample(leg, counts[leg], now) {
                    assert!(losing.share_percent <= u64::from(settings.share_percent_max));
                    replaced.push((minute, leg));
                    race.renewed(leg, counts[leg], now);
                }
            }
        }
        replaced
    }

    #[test]
    fn a_leg_that_loses_window_after_window_is_replaced_and_then_none_is_for_a_while_twice_as_long_each_time() {
        let told = [(2, 5_000); 60];
        assert_eq!(minutes(settings(), &told), [(2, 1), (12, 1), (32, 1)], "after 3 minutes, 10 more, 20 more");
    }

    #[test]
    fn to_lose_by_little_is_no_loss_and_one_good_window_forgives_those_before() {
        assert_eq!(minutes(settings(), &[(0, 200); 60]), []);
        let mostly: Vec<(u64, u64)> = (0..60).map(|at| if at % 3 == 2 { (11, 5_000) } else { (0, 5_000) }).collect();
        assert_eq!(minutes(settings(), &mostly), []);
        // Between the two bounds nothing is forgiven and nothing added.
        let between: Vec<(u64, u64)> = (0..6).map(|at| if at % 2 == 1 { (8, 5_000) } else { (0, 5_000) }).collect();
        assert_eq!(minutes(settings(), &between), [(4, 1)]);
        assert_eq!(minutes(RaceSettings { is_replacing: false, ..settings() }, &[(0, 5_000); 60]), []);
    }

    #[test]
    fn windows_of_few_events_and_a_new_socket_say_nothing() {
        let mut race = Race::new(settings(), 1);
        let counts = |lost: u64| RaceCounts { won: 0, lost, lag_ns: lost * 9_000_000, lags: lost };
        for minute in 0..20 {
            let at = MonoNs(SECOND + minute * 60 * SECOND);
            assert_eq!(race.sample(0, counts(minute * 100), at), None, "100 a minute are too few");
        }
        let mut lost = 2_000;
        for minute in 20..60 {
            lost += 1_000;
            let at = MonoNs(SECOND + minute * 60 * SECOND);
            assert_eq!(race.sample(0, counts(lost), at), None, "renewed every other minute");
            if minute % 2 == 0 {
                race.renewed(0, counts(lost), at);
            }
        }
        assert_eq!(race.sample(1, counts(lost), MonoNs(u64::MAX)), None, "there is no such leg");
    }

    proptest! {
        #[test]
        fn nobody_is_replaced_without_cause_or_before_the_hold_off_has_passed_and_whoever_always_loses_is(
            told in vec((0_u64..=100, 0_u64..20_000), 0..80),
            windows in 1_u32..6,
            share in 1_u8..30,
        ) {
            let settings = RaceSettings { windows, share_percent_max: share, ..settings() };
            let replaced = minutes(settings, &told);
            let share = u64::from(share);
            let is_bad = |minute: usize, leg: usize| {
                let won = if leg == 1 { told[minute].0 } else { 100 - told[minute].0 };
                won <= share && told[minute].1 >= 1_000
            };
            let is_good = |minute: usize, leg: usize| {
                let won = if leg == 1 { told[minute].0 } else { 100 - told[minute].0 };
                won > 2 * share || told[minute].1 < 500
            };
            for pair in replaced.windows(2) {
                prop_assert!(pair[1].0 - pair[0].0 >= 10, "{:?}", replaced);
            }
            for (at, &(minute, leg)) in replaced.iter().enumerate() {
                let since = replaced[..at].iter().filter(|before| before.1 == leg).map(|before| before.0 + 1).max();
                let good = (0..=minute).rev().find(|&before| is_good(before, leg)).map(|before| before + 1);
                let from = since.max(good).unwrap_or(0);
                let bad = (from..=minute).filter(|&minute| is_bad(minute, leg)).count();
                prop_assert!(bad >= windows as usize, "leg {} in minute {}: {} bad since {}", leg, minute, bad, from);
            }
            for leg in 0..2 {
                let run = (0..told.len()).rev().take_while(|&minute| is_bad(minute, leg)).count();
                // Longer than what is needed and any hold-off of both legs can be.
                if run >= windows as usize && replaced.is_empty() {
                    prop_assert!(false, "leg {} lost the last {} windows", leg, run);
                }
            }
        }
    }
}
