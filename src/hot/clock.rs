//! The core's clock: the time-stamp counter, re-anchored to CLOCK_MONOTONIC and CLOCK_REALTIME.
//!
//! ```text
//!   ticks ──(x slope)──► CLOCK_MONOTONIC ──(+ offset)──► CLOCK_REALTIME
//!            ▲ both corrected by `reanchor`, called in the loop's housekeeping
//! ```
//! A stamp costs one counter read and one multiplication, no call. Between two anchors the slope is constant; an anchor
//! corrects the slope so that the error found is gone by the next one, so the clock does not run backwards. An error over
//! a millisecond is no drift (a suspended machine, a paused virtual one, a counter that was reset): the clock steps to
//! the truth at once, in either direction, and counts the step.
//! Where the processor does not promise an invariant counter, every reading is a `clock_gettime`.

use crate::market::{Backlog, MonoNs, Received};

/// A raw reading of the counter. Only the clock that gave it can say what it means.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticks(u64);

/// Where ticks are read: the same in every clock of the process, so that a stamp may be taken by one who has no clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct TickSource {
    is_counter: bool,
}

impl TickSource {
    /// What this machine allows. Cold: asks the processor, and may read a file.
    pub(super) fn detect() -> Self {
        Self { is_counter: has_invariant_counter() }
    }

    /// The counter now.
    #[inline]
    pub(super) fn ticks(self) -> Ticks {
        Ticks(if self.is_counter { counter() } else { mono_now().0 })
    }
}

/// An error larger than this is a step, not a drift.
const STEP_NS: u64 = 1_000_000;

/// How long the first calibration looks at both clocks.
const CALIBRATION_NS: u64 = 5_000_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct Clock {
    source: TickSource,
    anchor_ticks: u64,
    anchor_mono_ns: u64,
    /// Nanoseconds a tick, in units of 2^-32.
    slope: u64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC.
    wall_offset_ns: i64,
    /// First anchor, for the long-run slope.
    origin_ticks: u64,
    origin_mono_ns: u64,
    /// Largest error an anchor found so far, for the report.
    error_ns_max: u64,
    steps: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// Calibrates against the system's clocks for five milliseconds.
    #[must_use]
    pub fn new() -> Self {
        let source = TickSource::detect();
        let is_counter = source.is_counter;
        let (origin_ticks, origin_mono_ns, wall_ns) = sample(is_counter);
        let mut clock = Self {
            source,
            anchor_ticks: origin_ticks,
            anchor_mono_ns: origin_mono_ns,
            slope: 1 << 32,
            wall_offset_ns: offset(wall_ns, origin_mono_ns),
            origin_ticks,
            origin_mono_ns,
            error_ns_max: 0,
            steps: 0,
        };
        if is_counter {
            let (ticks, mono_ns) = loop {
                let (ticks, mono_ns, _) = sample(true);
                if mono_ns - origin_mono_ns >= CALIBRATION_NS {
                    break (ticks, mono_ns);
                }
                std::hint::spin_loop();
            };
            clock.slope = slope_between(origin_ticks, origin_mono_ns, ticks, mono_ns);
            clock.anchor_ticks = ticks;
            clock.anchor_mono_ns = mono_ns;
        }
        clock
    }

    /// The counter now.
    #[inline]
    #[must_use]
    pub fn ticks(&self) -> Ticks {
        self.source.ticks()
    }

    /// What a reading means on CLOCK_MONOTONIC.
    #[inline]
    #[must_use]
    pub fn mono(&self, at: Ticks) -> MonoNs {
        MonoNs(self.anchor_mono_ns + self.ns_between(self.anchor_ticks, at.0))
    }

    /// The stamp of an event received at a reading.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_wrap, reason = "the monotonic clock reaches 2^63 ns after 292 years of uptime")]
    pub fn received(&self, at: Ticks) -> Received {
        let mono = self.mono(at);
        Received { mono, wall_ns: mono.0 as i64 + self.wall_offset_ns, backlog: Backlog::NONE }
    }

    /// Nanoseconds from one reading to a later one; zero if it is not later.
    #[inline]
    #[must_use]
    pub fn elapsed_ns(&self, from: Ticks, to: Ticks) -> u64 {
        self.ns_between(from.0, to.0)
    }

    /// Nanoseconds on CLOCK_REALTIME at a reading.
    #[must_use]
    pub fn wall_ns(&self, at: Ticks) -> i64 {
        self.received(at).wall_ns
    }

    /// Compares with the system's clocks and corrects. Housekeeping: every 10 ms to 1 s.
    pub fn reanchor(&mut self) {
        let (ticks, mono_ns, wall_ns) = sample(self.source.is_counter);
        self.correct(ticks, mono_ns, wall_ns);
    }

    /// Largest difference between this clock and CLOCK_MONOTONIC that an anchor found, in ns.
    #[must_use]
    pub const fn error_ns_max(&self) -> u64 {
        self.error_ns_max
    }

    /// Times the clock stepped because it was more than a millisecond off.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    fn correct(&mut self, ticks: u64, mono_ns: u64, wall_ns: i64) {
        self.wall_offset_ns = offset(wall_ns, mono_ns);
        if !self.source.is_counter {
            self.anchor_ticks = ticks;
            self.anchor_mono_ns = mono_ns;
            return;
        }
        let predicted = self.mono(Ticks(ticks)).0;
        let error = offset(i64::try_from(mono_ns).unwrap_or(i64::MAX), predicted);
        self.error_ns_max = self.error_ns_max.max(error.unsigned_abs());
        let interval_ns = predicted - self.anchor_mono_ns;
        self.anchor_ticks = ticks;
        if error.unsigned_abs() > STEP_NS || ticks < self.origin_ticks {
            // The long run begins anew: one that spans the break would measure it as a rate.
            self.steps += 1;
            self.anchor_mono_ns = mono_ns;
            self.origin_ticks = ticks;
            self.origin_mono_ns = mono_ns;
            return;
        }
        let long_run = match ticks - self.origin_ticks {
            // After a step there is no long run yet.
            0 => self.slope,
            _ => slope_between(self.origin_ticks, self.origin_mono_ns, ticks, mono_ns),
        };
        self.anchor_mono_ns = predicted;
        // Close the error over an interval as long as the last one, changing the rate by a tenth at most.
        let interval = i64::try_from(interval_ns.max(1)).unwrap_or(i64::MAX);
        let correction = i128::from(long_run) * i128::from(error) / i128::from(interval);
        let bound = i128::from(long_run / 10);
        let slope = i128::from(long_run) + correction.clamp(-bound, bound);
        self.slope = u64::try_from(slope).unwrap_or(long_run);
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a span of 2^64 ns is 584 years")]
    fn ns_between(&self, from: u64, to: u64) -> u64 {
        let ticks = to.saturating_sub(from);
        if self.source.is_counter { ((u128::from(ticks) * u128::from(self.slope)) >> 32) as u64 } else { ticks }
    }
}

/// CLOCK_MONOTONIC now, for the cold side: comparable with every stamp of every core.
#[must_use]
pub fn mono_now() -> MonoNs {
    let time = system_time(libc::CLOCK_MONOTONIC);
    MonoNs(u64::try_from(time).unwrap_or(0))
}

/// CLOCK_REALTIME now, nanoseconds since the Unix epoch.
#[must_use]
pub fn wall_now_ns() -> i64 {
    system_time(libc::CLOCK_REALTIME)
}

fn offset(later: i64, earlier: u64) -> i64 {
    later.saturating_sub(i64::try_from(earlier).unwrap_or(i64::MAX))
}

fn slope_between(from_ticks: u64, from_ns: u64, to_ticks: u64, to_ns: u64) -> u64 {
    let ticks = u128::from(to_ticks.saturating_sub(from_ticks).max(1));
    u64::try_from((u128::from(to_ns.saturating_sub(from_ns)) << 32) / ticks).unwrap_or(1 << 32).max(1)
}

/// Both clocks and the counter at one instant: the counter read around the system's clock, the closest of three tries.
fn sample(is_counter: bool) -> (u64, u64, i64) {
    let mut best = (u64::MAX, 0, 0, 0);
    for _ in 0..3 {
        let before = if is_counter { counter() } else { mono_now().0 };
        let mono_ns = mono_now().0;
        let wall_ns = wall_now_ns();
        let after = if is_counter { counter() } else { mono_ns };
        let width = after.saturating_sub(before);
        if width < best.0 {
            // The monotonic clock was read first: it belongs to the first half of the interval.
            best = (width, before + width / 4, mono_ns, wall_ns);
        }
    }
    if is_counter { (best.1, best.2, best.3) } else { (best.2, best.2, best.3) }
}

fn system_time(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the whole call, and the clock ids used exist on every Linux.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    debug_assert_eq!(result, 0);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor and has no memory effect; user space may be forbidden to use it
    // (CR4.TSD), and then `has_invariant_counter` would have died on its first call, at start-up.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "x86_64")]
fn has_invariant_counter() -> bool {
    use core::arch::x86_64::__cpuid;
    // CPUID leaf 0x8000_0007, EDX bit 8: the counter runs at one rate in every power state (Intel SDM 18.17.1).
    let is_promised = __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0;
    // A hypervisor may hide the bit; the kernel knows better and lists it.
    is_promised || std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("nonstop_tsc"))
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    mono_now().0
}

#[cfg(not(target_arch = "x86_64"))]
fn has_invariant_counter() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_at(ticks: u64, mono_ns: u64) -> Clock {
        Clock {
            source: TickSource { is_counter: true },
            anchor_ticks: ticks,
            anchor_mono_ns: mono_ns,
            slope: 1 << 31,
            wall_offset_ns: 0,
            origin_ticks: ticks,
            origin_mono_ns: mono_ns,
            error_ns_max: 0,
            steps: 0,
        }
    }

    #[test]
    fn readings_never_run_backwards_across_anchors() {
        let mut clock = Clock::new();
        let mut last = clock.mono(clock.ticks());
        for round in 0..20_000 {
            if round % 100 == 0 {
                clock.reanchor();
            }
            let now = clock.mono(clock.ticks());
            assert!(now >= last, "{now:?} after {last:?}");
            last = now;
        }
    }

    #[test]
    fn the_clock_lies_between_two_readings_of_the_system_clock_within_its_error() {
        let mut clock = Clock::new();
        for _ in 0..50 {
            clock.reanchor();
            let before = mono_now();
            let here = clock.mono(clock.ticks());
            let after = mono_now();
            let slack = clock.error_ns_max() + 100_000;
            assert!(here.0 + slack >= before.0 && here.0 <= after.0 + slack, "{before:?} {here:?} {after:?}");
        }
    }

    #[test]
    fn an_anchor_closes_a_small_error_within_the_next_interval() {
        // Two ticks a nanosecond; the system's clock is 1,000 ns ahead after 10 ms.
        let mut clock = clock_at(0, 0);
        clock.correct(20_000_000, 10_001_000, 0);
        assert_eq!(clock.mono(Ticks(20_000_000)).0, 10_000_000, "no step");
        let next = clock.mono(Ticks(40_000_000)).0;
        assert!(next.abs_diff(20_002_000) < 10, "caught up with the drift: {next}");
    }

    #[test]
    fn a_break_of_either_clock_is_a_step_to_the_truth_and_no_rate() {
        let mut clock = clock_at(0, 0);
        clock.correct(20_000_000, 5_000_000_000, 0);
        assert_eq!(clock.mono(Ticks(20_000_000)).0, 5_000_000_000, "the system's clock ran on");
        // An hour of ticks during which the monotonic clock stood still, as in a suspend.
        clock.correct(7_200_000_000_000, 5_010_000_000, 0);
        assert_eq!(clock.mono(Ticks(7_200_000_000_000)).0, 5_010_000_000, "the counter ran on");
        clock.correct(7_200_020_000_000, 5_020_000_000, 0);
        assert_eq!(clock.mono(Ticks(7_200_040_000_000)).0, 5_030_000_000, "the rate is what it was");
        // A counter that begins anew.
        clock.correct(1_000, 5_040_000_000, 0);
        assert_eq!(clock.mono(Ticks(1_000)).0, 5_040_000_000);
        assert_eq!(clock.steps(), 3);
    }

    #[test]
    fn the_wall_clock_follows_a_step_at_the_next_anchor() {
        let mut clock = clock_at(0, 1_000);
        clock.correct(2_000, 2_000, 500_000);
        assert_eq!(clock.wall_ns(Ticks(2_000)), 500_000);
    }
}
