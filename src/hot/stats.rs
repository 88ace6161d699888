//! What a hot core publishes: counters and histograms, each with one named writer, read by anyone.
//!
//! A counter is an `AtomicU64` that only its core writes, with a relaxed load and a relaxed store: on x86-64 and ARM64
//! the same two instructions as for a plain integer, no locked one. So nothing has to be copied out in housekeeping. What
//! is counted of every message is published when its read ends, what is rare at once: a reader may see two counters a
//! read apart, never a torn one. What one core writes lies on cache lines of its own, so that two cores share nothing:
//! a line that both write would go to and fro between them for every message.

use super::board::Board;
use super::pulse::Pulses;
use super::shelf::BookStats;
use super::stages::{Stages, StampCost, evict};
use crate::market::{EventKind, GapReason, Symbol};
use crate::venue::Reason;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};

/// A count with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, on the writer's thread only.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Replaces, on the writer's thread only.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value, from any thread.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Sub-buckets of each power of two: a value is known to 1/32, about 3 %.
const SUB_BITS: u32 = 5;
const SUB_COUNT: usize = 1 << SUB_BITS;
/// Values below 32 have a bucket each; every power of two above has 32.
const BUCKET_COUNT: usize = SUB_COUNT + (64 - SUB_BITS as usize) * SUB_COUNT;
const _: () = assert!(BUCKET_COUNT * 8 <= 16 * 1024, "a hot histogram is 16 KiB at most");

/// A log-linear histogram of nanoseconds over the whole range of a `u64`, 15 KiB, of which a steady stream touches a
/// few lines. One writer.
pub struct Histogram {
    buckets: Box<[Counter; BUCKET_COUNT]>,
    max: Counter,
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("max", &self.max.get()).finish_non_exhaustive()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([const { Counter(AtomicU64::new(0)) }; BUCKET_COUNT]), max: Counter::default() }
    }
}

impl Histogram {
    /// Counts one value, on the writer's thread only.
    #[inline]
    pub fn record(&self, value: u64) {
        self.buckets[bucket_of(value)].add(1);
        if value > self.max.get() {
            self.max.set(value);
        }
    }

    /// Brings its memory in, on the writer's thread: a rare value is no time to wait for the kernel. Changes nothing.
    fn touch(&self) {
        // Half of the smallest page apart, so that none is left out.
        self.buckets.iter().step_by(256).chain(self.buckets.last()).for_each(|bucket| bucket.add(0));
    }

    /// Empties it, on the writer's thread only.
    pub(super) fn clear(&self) {
        self.buckets.iter().chain([&self.max]).for_each(|counter| counter.set(0));
    }

    /// Puts all of it out of the caches; changes nothing.
    pub(super) fn evict(&self) {
        evict(&*self.buckets);
        evict(self);
    }

    /// Largest value recorded.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max.get()
    }

    /// Every filled bucket as (its largest value, its count), rising. From any thread.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64)> + Clone {
        self.buckets
            .iter()
            .enumerate()
            .map(|(bucket, count)| (bucket_max(bucket), count.get()))
            .filter(|&(_, count)| count > 0)
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the shift leaves a number below 64")]
fn bucket_of(value: u64) -> usize {
    if value < SUB_COUNT as u64 {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - SUB_BITS;
    // 32 <= value >> shift < 64: the power's own 32 buckets, after those of the smaller powers.
    SUB_COUNT + shift as usize * SUB_COUNT + ((value >> shift) as usize - SUB_COUNT)
}

fn bucket_max(bucket: usize) -> u64 {
    if bucket < SUB_COUNT {
        return bucket as u64;
    }
    let (shift, sub) = ((bucket - SUB_COUNT) / SUB_COUNT, (bucket - SUB_COUNT) % SUB_COUNT);
    let lowest = ((SUB_COUNT + sub) as u64) << shift;
    lowest + ((1_u64 << shift) - 1)
}

/// One logical connection's counters. Written by the core that owns the connection, for as long as the connection is
/// wanted: reconnecting goes on counting, and during a rotation both legs count here (one core owns both: one writer).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ConnectionStats {
    /// Data messages received (text or binary, fragments joined).
    pub frames: Counter,
    /// Bytes of their payloads.
    pub bytes: Counter,
    /// Events given to the router.
    pub events: Counter,
    /// Control-plane messages (acks, errors, pongs, notices), handed to the cold side.
    pub control_messages: Counter,
    /// Control-plane messages that could not be handed over: ring or pool was full, or the message too long.
    pub control_dropped: Counter,
    /// Messages that gave no event, and elements of arrays that did not, except unknown symbols.
    pub unparsed: Counter,
    /// Events without a handler, and elements of unknown symbols.
    pub unrouted: Counter,
    /// Messages of a stream with an expected shape that did not have it.
    pub tier_two: Counter,
    /// By [`Reason`].
    pub reasons: [Counter; Reason::ALL.len()],
    /// Events that were not delivered because another leg had brought them, or led their subscription.
    pub repeated: Counter,
    /// Events with an identity that this leg brought first, where it is one of several.
    pub won: Counter,
    /// Events with an identity that another leg had brought before, or something further. Counted in `repeated` too.
    pub lost: Counter,
    /// How long after another leg this one brought what both brought, ns, all together. As many as `lag` counts.
    pub lag_ns: Counter,
    /// Changes of a book that joined to nothing yet when they came: they wait for what another leg brings, or a fresh
    /// snapshot is awaited.
    pub ahead: Counter,
    /// Trade ids that left the window for newer ones: such a trade would not be recognised again.
    pub window_evictions: Counter,
    /// Markers of holes by [`GapReason`].
    pub gaps: [Counter; GapReason::ALL.len()],
    /// Interruptions of a stream of trades after which its ids went on where they had stopped: not marked.
    pub gaps_without_loss: Counter,
    /// Holes that one leg of an overlap left and the other filled before they were told.
    pub gaps_filled: Counter,
    /// Ids that were missing when their hole was told.
    pub ids_missing: Counter,
    /// Trades and aggregates that came late on their stream and lay in a hole: delivered.
    pub ids_late: Counter,
    /// Trades and aggregates whose id lay at or before the last one of their stream, and in no hole: delivered.
    pub ids_back: Counter,
    /// Missing trades and aggregates that were delivered refilled.
    pub ids_refilled: Counter,
    /// Trades and aggregates that came on their stream after they had been refilled: not delivered.
    pub refills_repeated: Counter,
    /// Refilled ones that had come on their stream meanwhile, or were never missing: not delivered.
    pub refills_unneeded: Counter,
    /// Missing ids of holes for which the core had no room: told, and not refilled.
    pub refills_without_room: Counter,
    /// Quotes that were not delivered because a newer one of their symbol lay behind them.
    pub quotes_folded: Counter,
    /// Protocol pings received.
    pub pings: Counter,
    /// Key updates of the server that were followed, where TLS records are opened in place.
    pub key_updates: Counter,
    /// Session tickets that reached the hot core there, too late to be stored.
    pub tickets_dropped: Counter,
    /// Events whose venue time lies after our receive stamp: a clock is off.
    pub from_the_future: Counter,
    /// From the return of the read to the return of the last handler of a message, ns: of the messages that are stamped.
    pub read_to_handler: Histogram,
    /// How long nobody had looked at the socket when a visit began, ns: the time in which the core was busy elsewhere, the
    /// handlers of this very socket included. Time spent in a wait that watches the socket does not count.
    pub visit_gap: Histogram,
    /// From the venue's event time to the receive stamp, ns on two clocks.
    pub venue_age: Histogram,
    /// How long after another leg this one brought what both brought, ns between the two reads.
    pub lag: Histogram,
}

impl ConnectionStats {
    /// Brings the memory of its histograms in, on the writer's thread. Changes nothing.
    pub(super) fn touch(&self) {
        for histogram in [&self.read_to_handler, &self.visit_gap, &self.venue_age, &self.lag] {
            histogram.touch();
        }
    }
}

/// One socket's counters: made anew for every attachment, so that what it says is of this socket alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct SocketStats {
    /// When its core took it, in ns on CLOCK_MONOTONIC; 0 before that.
    pub connected_ns: Counter,
    /// When the last byte came, in ns on CLOCK_MONOTONIC; 0 before the first.
    pub last_seen_ns: Counter,
    /// Messages that were no control-plane messages. Published once a read.
    pub data_messages: Counter,
}

/// What a core is on: one word, stored by the core before a message and before each of its events, read by anyone.
///
/// ```text
/// bits 0..16  slot + 1; 0: nothing     bits 16..24  event kind + 1; 0: none yet     bits 24..40  symbol
/// ```
#[derive(Debug, Default)]
pub struct Current(AtomicU64);

impl Current {
    #[inline]
    pub(super) fn at_message(&self, slot: u16) {
        self.0.store(u64::from(slot) + 1, Relaxed);
    }

    #[inline]
    pub(super) fn at_event(&self, slot: u16, kind: EventKind, symbol: Symbol) {
        let event = (kind as u64 + 1) << 16 | (symbol.index() as u64) << 24;
        self.0.store((u64::from(slot) + 1) | event, Relaxed);
    }

    #[inline]
    pub(super) fn at_nothing(&self) {
        self.0.store(0, Relaxed);
    }

    /// What the core is on, from any thread; `None` between reads. Between two messages of a read: the one before.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the fields of the word, cut out of it")]
    pub fn get(&self) -> Option<Doing> {
        let word = self.0.load(Relaxed);
        let slot = (word as u16).checked_sub(1)?;
        let kind = usize::from((word >> 16) as u8).checked_sub(1).and_then(|kind| EventKind::ALL.get(kind));
        let symbol = Symbol::new(usize::from((word >> 24) as u16));
        Some(Doing { slot, event: kind.copied().zip(symbol) })
    }
}

/// The message, and of it the event, that a core is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Doing {
    /// The slot of the connection that the message came from; the number of none where a book's state changed without one.
    pub slot: u16,
    /// Kind and symbol of the event whose handler was called last; `None` before the message's first.
    pub event: Option<(EventKind, Symbol)>,
}

/// A core's sign of life. A core that runs turns all the time, a parked one at least every 50 ms: two readings further
/// apart than that with the same `turns` are of a core that was taken away, or held by what `current` names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beat {
    /// Turns of its loop.
    pub turns: u64,
    /// What it is on.
    pub current: Option<Doing>,
}

/// One hot thread's counters, and the flags by which the cold side wakes it.
#[derive(Debug)]
#[repr(align(128))]
pub struct CoreStats {
    /// CPU the thread is pinned to.
    pub cpu: usize,
    /// Kernel id of the thread; 0 before it runs.
    pub thread_id: AtomicI32,
    /// True once the thread is pinned and in its loop.
    pub is_running: AtomicBool,
    /// Data messages of all its connections.
    pub messages: Counter,
    /// Turns of the loop, the beat a watchdog watches.
    pub turns: Counter,
    /// Heap allocations of the thread since its loop began, if the process counts them.
    pub allocations: Counter,
    /// Largest error of the core's clock against CLOCK_MONOTONIC, ns.
    pub clock_error_ns_max: Counter,
    /// Times the core's clock stepped because it was more than a millisecond off.
    pub clock_steps: Counter,
    /// Where the time of its stamped messages went.
    pub stages: Stages,
    /// What stamping costs on it.
    pub stamp_cost: StampCost,
    /// When each of its subscriptions last spoke.
    pub pulses: Arc<Pulses>,
    /// How each of its books is.
    pub board: Arc<Board>,
    /// What became of them.
    pub books: BookStats,
    /// What the thread is on, for its watchdog and for the report of a panic.
    pub current: Current,
    /// Texts and pings that were not sent: their slot was empty, or its connection closing.
    pub sends_dropped: Counter,
    /// Messages of a cold connection whose slot was not its own (any more).
    pub messages_dropped: Counter,
    /// Overlaps that were given back at once: no room, or a slot or id that is in another.
    pub overlaps_refused: Counter,
    /// Promotions and ends of overlaps that the core does not have.
    pub overlaps_unknown: Counter,
    /// Attachments that were given back: their slot was taken, or is none.
    pub attachments_refused: Counter,
}

impl CoreStats {
    /// Counters for one core.
    #[must_use]
    pub fn new(cpu: usize) -> Self {
        Self {
            cpu,
            thread_id: AtomicI32::new(0),
            is_running: AtomicBool::new(false),
            messages: Counter::default(),
            turns: Counter::default(),
            allocations: Counter::default(),
            clock_error_ns_max: Counter::default(),
            clock_steps: Counter::default(),
            stages: Stages::default(),
            stamp_cost: StampCost::default(),
            pulses: Arc::default(),
            board: Arc::default(),
            books: BookStats::default(),
            current: Current::default(),
            sends_dropped: Counter::default(),
            messages_dropped: Counter::default(),
            overlaps_refused: Counter::default(),
            overlaps_unknown: Counter::default(),
            attachments_refused: Counter::default(),
        }
    }

    /// The thread's sign of life, from any thread.
    #[must_use]
    pub fn beat(&self) -> Beat {
        Beat { turns: self.turns.get(), current: self.current.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_whose_largest_is_at_most_a_thirty_second_above() {
        let mut values: Vec<u64> = (0..2_000).collect();
        values.extend((0..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + power / 3]
        }));
        values.push(u64::MAX);
        for value in values {
            let top = bucket_max(bucket_of(value));
            assert!(top >= value, "{value}");
            assert!(top - value <= value / 32, "{value} in a bucket up to {top}");
            assert_eq!(bucket_of(top), bucket_of(value), "{value}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKET_COUNT - 1);
    }

    #[test]
    fn a_histogram_counts_what_it_was_given_and_keeps_the_exact_maximum() {
        let histogram = Histogram::default();
        for value in [3, 3, 1_000, 1_000_003] {
            histogram.record(value);
            histogram.touch();
        }
        assert_eq!(histogram.filled().map(|(_, count)| count).sum::<u64>(), 4);
        assert_eq!(histogram.filled().next(), Some((3, 2)));
        assert_eq!(histogram.max(), 1_000_003);
    }

    #[test]
    fn what_two_cores_write_never_lies_on_one_cache_line() {
        fn lines<T>(counters: impl Fn() -> T) {
            // Lines are fetched in pairs: 128 bytes. A size is a multiple of its alignment, so nothing else is on the last.
            assert!(align_of::<T>() >= 128, "{}", std::any::type_name::<T>());
            let all: Vec<Arc<T>> = (0..8).map(|_| Arc::new(counters())).collect();
            let mut pairs: Vec<usize> = all.iter().map(|one| Arc::as_ptr(one).addr() / 128).collect();
            pairs.sort_unstable();
            assert!(pairs.windows(2).all(|two| two[1] - two[0] >= size_of::<T>() / 128));
        }
        lines(SocketStats::default);
        lines(ConnectionStats::default);
        lines(|| CoreStats::new(0));
    }

    #[test]
    fn what_a_core_is_on_is_read_as_it_was_written() {
        let current = Current::default();
        assert_eq!(current.get(), None);
        for slot in [0, 1, 255, u16::MAX - 1] {
            current.at_message(slot);
            assert_eq!(current.get(), Some(Doing { slot, event: None }));
            for kind in EventKind::ALL {
                for index in [0, 1, crate::limits::SYMBOL_COUNT_MAX - 1] {
                    let symbol = Symbol::new(index).unwrap();
                    current.at_event(slot, kind, symbol);
                    assert_eq!(current.get(), Some(Doing { slot, event: Some((kind, symbol)) }));
                }
            }
        }
        current.at_nothing();
        assert_eq!(current.get(), None);
    }
}
