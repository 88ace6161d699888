//! What a hot core publishes: counters and histograms, each with one named writer, read by anyone.
//!
//! A counter is an `AtomicU64` that only its core writes, with a relaxed load and a relaxed store: on x86-64 and ARM64
//! the same two instructions as for a plain integer, no locked one. So nothing has to be copied out in housekeeping,
//! and a reader sees every message within nanoseconds. A reader may see two counters a message apart, never a torn one.

use crate::limits::CONNECTION_COUNT_MAX;
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

/// One connection's counters. Written by the core that owns the connection, for as long as the process lives:
/// reconnecting goes on counting.
#[derive(Debug, Default)]
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
    /// Protocol pings received.
    pub pings: Counter,
    /// When the last byte came, in ns on CLOCK_MONOTONIC; 0 before the first.
    pub last_seen_ns: Counter,
    /// Events whose venue time lies after our receive stamp: a clock is off.
    pub from_the_future: Counter,
    /// From the return of the read to the return of the last handler of a message, ns.
    pub read_to_handler: Histogram,
    /// How long nobody had looked at the socket when a visit began, ns: the time in which the core was busy elsewhere, the
    /// handlers of this very socket included. Time spent in a wait that watches the socket does not count.
    pub visit_gap: Histogram,
    /// From the venue's event time to the receive stamp, ns on two clocks.
    pub venue_age: Histogram,
}

/// One hot thread's counters, and the flags by which the cold side wakes it.
#[derive(Debug)]
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
    /// By connection slot.
    pub connections: Box<[Arc<ConnectionStats>]>,
}

impl CoreStats {
    /// Counters for one core with this many connections.
    #[must_use]
    pub fn new(cpu: usize, connection_count: usize) -> Self {
        assert!(connection_count <= CONNECTION_COUNT_MAX);
        Self {
            cpu,
            thread_id: AtomicI32::new(0),
            is_running: AtomicBool::new(false),
            messages: Counter::default(),
            turns: Counter::default(),
            allocations: Counter::default(),
            clock_error_ns_max: Counter::default(),
            clock_steps: Counter::default(),
            connections: (0..connection_count).map(|_| Arc::default()).collect(),
        }
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
        }
        assert_eq!(histogram.filled().map(|(_, count)| count).sum::<u64>(), 4);
        assert_eq!(histogram.filled().next(), Some((3, 2)));
        assert_eq!(histogram.max(), 1_000_003);
    }
}
