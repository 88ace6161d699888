//! Where a message's time goes: stamps of one message in N, the histograms that they end in, and what stamping costs.
//!
//! ```text
//! kernel ──► read ──► decrypted ──► framed ──► decoded ──► handled
//!  by config  every read  over TLS    └── one message in N, at distances that vary around N ──┘
//! ```
//! The message that is not stamped pays a countdown and its branch: what else has to be looked at is behind branches that
//! were there before (a full table of marks, an element that was refused). Written by the core, read by anyone. Every
//! histogram is the core's, not a connection's: sixteen connections share the lines that one keeps in the cache.

use super::clock::{Clock, Ticks};
use super::stats::{Counter, Histogram};
use crate::market::Received;
use crate::venue::Reasons;

/// Distance to the next message to be stamped where the one that was due had no event for a handler, at most.
const RETRY_AFTER: u32 = 8;

/// Times between the stamps of one core's messages, ns.
#[derive(Debug, Default)]
pub struct Stages {
    /// From the kernel's stamp of a read's last segment, on CLOCK_REALTIME, to the return of the read. Of every read, where
    /// it was asked for.
    pub kernel_to_read: Histogram,
    /// Kernel stamps later than our own: one of the two clocks is off. They count as 0.
    pub kernel_ahead: Counter,
    /// From the return of the read to the record opened, over TLS: of reads whose first message is stamped. It waits behind
    /// the records that came with the same read.
    pub read_to_decrypted: Histogram,
    /// From the return of the read to the message's frame found: it waits behind the messages that came with the same read.
    pub read_to_framed: Histogram,
    /// From there to the message's first event, decoded and about to be given to its handler.
    pub framed_to_decoded: Histogram,
    /// From there to the return of the message's last handler. Of a message with several events: decoding the others too.
    pub decoded_to_handled: Histogram,
}

impl Stages {
    /// Every stage's name in the outputs, and its histogram, in the order of a message's way.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &Histogram); 5] {
        [
            ("kernel_to_read", &self.kernel_to_read),
            ("read_to_decrypted", &self.read_to_decrypted),
            ("read_to_framed", &self.read_to_framed),
            ("framed_to_decoded", &self.framed_to_decoded),
            ("decoded_to_handled", &self.decoded_to_handled),
        ]
    }

    /// A read returned at `read_wall_ns` what the kernel had received at `kernel_ns`, both on CLOCK_REALTIME.
    pub(super) fn received(&self, kernel_ns: i64, read_wall_ns: i64) {
        match u64::try_from(read_wall_ns.saturating_sub(kernel_ns)) {
            Ok(waited_ns) => self.kernel_to_read.record(waited_ns),
            Err(_) => {
                self.kernel_ahead.add(1);
                self.kernel_to_read.record(0);
            }
        }
    }
}

/// Which of a connection's messages are stamped, and the stamps of the one that is.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Reasons of which a refused message was kept.
    pub(super) reasons_kept: Reasons,
    /// Messages until the next that is stamped, which it counts.
    until: u32,
    /// The state of a generator of distances.
    chance: u32,
    framed: Ticks,
    decoded: Option<Ticks>,
}

impl Default for Sampler {
    /// The first message is due: a connection of few messages has a figure too.
    fn default() -> Self {
        Self {
            reasons_kept: Reasons::default(),
            until: 1,
            chance: 0x9e37_79b9,
            framed: Ticks::default(),
            decoded: None,
        }
    }
}

impl Sampler {
    /// Counts a message. True for one to be stamped: [`Self::framed`] follows.
    #[inline]
    pub(super) fn count(&mut self) -> bool {
        self.until = self.until.wrapping_sub(1);
        self.until == 0
    }

    /// True where the next message is to be stamped.
    #[inline]
    pub(super) const fn is_next_due(&self) -> bool {
        self.until == 1
    }

    /// The frame of a message that is due is found. False where no message is to be stamped at all (`every` is 0).
    pub(super) fn framed(&mut self, every: u32, clock: &Clock) -> bool {
        self.until = match every {
            0 => u32::MAX,
            every => self.distance(every),
        };
        self.decoded = None;
        self.framed = clock.ticks();
        every > 0
    }

    /// An event of the message is decoded; the first one's stamp counts.
    pub(super) fn decoded(&mut self, clock: &Clock) {
        self.decoded.get_or_insert_with(|| clock.ticks());
    }

    /// The message's last handler has returned, or there was none: then no stamp counts, and another message is due soon.
    pub(super) fn handled(
        &mut self,
        came: (Option<Ticks>, Received),
        clock: &Clock,
        stages: &Stages,
        whole: &Histogram,
    ) {
        let handled = clock.ticks();
        let Some(decoded) = self.decoded.take() else {
            self.until = self.until.min(RETRY_AFTER);
            return;
        };
        let since_read = |at: Ticks| match came {
            (Some(read_at), _) => clock.elapsed_ns(read_at, at),
            // Read on the cold side, by another clock.
            (None, received) => clock.mono(at).since_ns(received.mono),
        };
        stages.read_to_framed.record(since_read(self.framed));
        stages.framed_to_decoded.record(clock.elapsed_ns(self.framed, decoded));
        stages.decoded_to_handled.record(clock.elapsed_ns(decoded, handled));
        whole.record(since_read(handled));
    }

    /// A distance from 1 to 2 `every` - 1, `every` on average: a stream with a rhythm of its own is not met at the same beat
    /// each time. By xorshift (Marsaglia 2003).
    fn distance(&mut self, every: u32) -> u32 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        let distances = u64::from(every.saturating_mul(2).saturating_sub(1));
        1 + ((u64::from(self.chance) * distances) >> 32) as u32
    }
}

/// What stamping costs on one core, in picoseconds: measured on its thread before the loop begins.
#[derive(Debug, Default)]
pub struct StampCost {
    /// One message of a connection in this many is stamped; 0: none.
    pub every: Counter,
    /// One reading of the counter, beside which the others stand.
    pub counter_ps: Counter,
    /// All that a stamped message pays: three stamps, their histograms, the next distance. In the cache.
    pub hot_ps: Counter,
    /// The same with every line it touches in memory only; 0 where this machine cannot say.
    pub cold_ps: Counter,
}

/// Repetitions of a figure, whose median counts: a thread that was interrupted once gives the same.
const ROUNDS: usize = 15;
/// Readings, or stamped messages, of one repetition.
const ROUND_COUNT: u32 = 64;

impl StampCost {
    /// Measures, in less than a millisecond, on histograms that nobody has used yet; leaves them empty.
    #[cold]
    pub(super) fn measure(&self, every: u32, clock: &Clock, stages: &Stages) {
        let mut sampler = Sampler::default();
        let received = clock.received(clock.ticks());
        // The fourth histogram of a stamped message is its connection's; no connection is there yet.
        let mut stamped = || {
            let read_at = clock.ticks();
            sampler.framed(every.max(1), clock);
            sampler.decoded(clock);
            sampler.handled((Some(read_at), received), clock, stages, &stages.kernel_to_read);
        };
        let counter_ps = median_ps(clock, ROUND_COUNT, || {
            for _ in 0..ROUND_COUNT {
                std::hint::black_box(clock.ticks());
            }
        });
        // The stamp at its beginning is the measurement's own: a message has it from its read.
        let own = |ps: u64| ps.saturating_sub(counter_ps);
        let hot_ps = median_ps(clock, ROUND_COUNT, || (0..ROUND_COUNT).for_each(|_| stamped()));
        self.every.set(every.into());
        self.counter_ps.set(counter_ps);
        self.hot_ps.set(own(hot_ps));
        if evict(clock) {
            let mut cold_ps: [u64; ROUNDS] = std::array::from_fn(|_| {
                stages.all().into_iter().for_each(|(_, histogram)| histogram.evict());
                evict(clock);
                let before = clock.ticks();
                stamped();
                // The two readings around it are one reading too many.
                own(own(clock.elapsed_ns(before, clock.ticks()) * 1_000))
            });
            cold_ps.sort_unstable();
            self.cold_ps.set(cold_ps[ROUNDS / 2]);
        }
        stages.all().into_iter().for_each(|(_, histogram)| histogram.clear());
    }
}

/// Picoseconds of one of `count`, the median of some rounds.
fn median_ps(clock: &Clock, count: u32, mut round: impl FnMut()) -> u64 {
    let mut rounds: [u64; ROUNDS] = std::array::from_fn(|_| {
        let before = clock.ticks();
        round();
        clock.elapsed_ns(before, clock.ticks()) * 1_000 / u64::from(count)
    });
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

/// Puts a value's bytes out of every cache; changes nothing. False where the processor has no such instruction.
#[cfg(target_arch = "x86_64")]
pub(super) fn evict<T: ?Sized>(value: &T) -> bool {
    let first = std::ptr::from_ref(value).cast::<u8>();
    let bytes = size_of_val(value);
    // The last byte too: a value need not begin where a line does.
    for offset in (0..bytes).step_by(CACHE_LINE_BYTES).chain(bytes.checked_sub(1)) {
        let line = first.wrapping_add(offset);
        // SAFETY: `line` is the address of a byte of `value`; CLFLUSH is a part of SSE2, which every x86-64 processor has,
        // and changes no byte.
        unsafe { core::arch::x86_64::_mm_clflush(line) };
    }
    // SAFETY: orders memory, nothing else; a part of SSE2.
    unsafe { core::arch::x86_64::_mm_mfence() };
    true
}

/// Puts a value's bytes out of every cache; changes nothing. False where the processor has no such instruction.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn evict<T: ?Sized>(_value: &T) -> bool {
    false
}

/// Bytes of a cache line on the processors that have CLFLUSH.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::MonoNs;

    fn count(histogram: &Histogram) -> u64 {
        histogram.filled().map(|(_, count)| count).sum()
    }

    /// Messages until each of so many that are stamped.
    fn distances(every: u32, stamped: usize) -> Vec<u32> {
        let (mut sampler, clock) = (Sampler::default(), Clock::new());
        let next = |sampler: &mut Sampler| {
            let mut messages = 1;
            while !sampler.count() {
                messages += 1;
            }
            assert!(sampler.framed(every, &clock));
            messages
        };
        (0..stamped).map(|_| next(&mut sampler)).collect()
    }

    #[test]
    fn the_first_message_is_stamped_and_then_one_in_so_many_at_distances_that_vary() {
        for every in [1, 2, 3, 64, 1_000] {
            let distances = distances(every, 4_000);
            assert_eq!(distances[0], 1, "the first");
            assert!(distances[1..].iter().all(|&distance| (1..2 * every).contains(&distance)), "{every}");
            let mean = f64::from(distances[1..].iter().sum::<u32>()) / 3_999.0;
            assert!((mean / f64::from(every) - 1.0).abs() < 0.05, "one in {every}: {mean}");
            let different = distances.iter().collect::<std::collections::BTreeSet<_>>().len();
            assert!(different >= usize::try_from(every).unwrap().min(64), "one in {every}: {different} distances");
        }
    }

    #[test]
    fn the_longest_distance_does_not_wrap_and_zero_stamps_none() {
        let (mut sampler, clock) = (Sampler::default(), Clock::new());
        assert!(sampler.count() && sampler.framed(u32::MAX, &clock));
        assert!(sampler.until > 0);
        let mut off = Sampler::default();
        assert!(off.count() && !off.framed(0, &clock));
        assert!((0..100_000).all(|_| !off.count()));
    }

    #[test]
    fn a_stamped_message_ends_in_every_histogram_once_and_the_parts_are_at_most_the_whole() {
        let (clock, stages, whole) = (Clock::new(), Stages::default(), Histogram::default());
        let mut sampler = Sampler::default();
        let read_at = clock.ticks();
        assert!(sampler.count() && sampler.framed(1, &clock));
        sampler.decoded(&clock);
        let first = sampler.decoded;
        sampler.decoded(&clock);
        assert_eq!(sampler.decoded, first, "the first event's stamp counts");
        sampler.handled((Some(read_at), clock.received(read_at)), &clock, &stages, &whole);
        let parts = [&stages.read_to_framed, &stages.framed_to_decoded, &stages.decoded_to_handled];
        assert!(parts.into_iter().chain([&whole]).all(|histogram| count(histogram) == 1));
        // Three roundings down, and the whole's own.
        assert!(parts.into_iter().map(Histogram::max).sum::<u64>() <= whole.max() + 1);
        assert_eq!((count(&stages.kernel_to_read), count(&stages.read_to_decrypted)), (0, 0));
    }

    #[test]
    fn a_message_of_the_cold_side_is_measured_from_its_stamp_there() {
        let (clock, stages, whole) = (Clock::new(), Stages::default(), Histogram::default());
        let mut sampler = Sampler::default();
        let now = clock.mono(clock.ticks());
        let received = Received { mono: MonoNs(now.0 - 5_000_000), wall_ns: 0, backlog: crate::market::Backlog::NONE };
        assert!(sampler.count() && sampler.framed(1, &clock));
        sampler.decoded(&clock);
        sampler.handled((None, received), &clock, &stages, &whole);
        assert!(stages.read_to_framed.max() >= 5_000_000 && whole.max() >= stages.read_to_framed.max());
    }

    #[test]
    fn a_message_without_an_event_counts_in_none_and_another_is_due_soon() {
        let (clock, stages, whole) = (Clock::new(), Stages::default(), Histogram::default());
        let mut sampler = Sampler::default();
        let read_at = clock.ticks();
        assert!(sampler.count() && sampler.framed(1_000_000, &clock));
        sampler.handled((Some(read_at), clock.received(read_at)), &clock, &stages, &whole);
        assert!(stages.all().into_iter().all(|(_, histogram)| count(histogram) == 0) && count(&whole) == 0);
        assert!((1..=RETRY_AFTER).any(|_| sampler.count()), "within {RETRY_AFTER} messages");
    }

    #[test]
    fn a_kernel_stamp_that_is_ahead_counts_as_none_and_is_counted() {
        let stages = Stages::default();
        stages.received(1_000, 6_000);
        stages.received(1_000, 1_000);
        stages.received(7_000, 6_999);
        stages.received(i64::MAX, i64::MIN);
        assert_eq!((count(&stages.kernel_to_read), stages.kernel_ahead.get()), (4, 2));
        assert_eq!(stages.kernel_to_read.max(), 5_000);
    }

    #[test]
    fn what_stamping_costs_is_measured_and_nothing_of_it_stays_in_the_histograms() {
        let (cost, stages) = (StampCost::default(), Stages::default());
        for every in [0, 1, 64] {
            cost.measure(every, &Clock::new(), &stages);
            assert_eq!(cost.every.get(), u64::from(every));
            assert!(cost.counter_ps.get() > 0 && cost.hot_ps.get() > 0);
            assert_eq!(cost.cold_ps.get() > 0, cfg!(target_arch = "x86_64"));
            assert!(stages.all().into_iter().all(|(_, histogram)| count(histogram) == 0 && histogram.max() == 0));
        }
    }

    #[test]
    fn evicting_changes_no_byte_of_any_length() {
        for length in [0, 1, 63, 64, 65, 1_000] {
            let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let before = bytes.clone();
            evict(bytes.as_slice());
            assert_eq!(bytes, before);
        }
    }
}
