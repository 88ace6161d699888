//! When each subscription last spoke: one word a leg, stored by the hot core after every read, sampled by the cold side.
//!
//! ```text
//! symbol 0                           symbol 1
//! | kind 0     | kind 1     | ... 31 | kind 0 ...          ns on CLOCK_MONOTONIC; 0: never
//! | leg 0 to 3 | leg 0 to 3 |        |
//! ```
//! A leg is one of the connections that may carry a subscription at the same time. An event that is not delivered
//! because another leg had brought it counts all the same: it proves that this leg speaks. A control-plane message has
//! no event, so none counts.

use crate::limits::{LEG_PLACES, SYMBOL_COUNT_MAX};
use crate::market::table::Table;
use crate::market::{MonoNs, StreamKind, Symbol};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Words of one symbol.
const STRIDE: usize = StreamKind::COUNT * LEG_PLACES;
/// Words of all.
const WORD_COUNT: usize = SYMBOL_COUNT_MAX * STRIDE;

const _: () = assert!(StreamKind::COUNT.is_power_of_two(), "a mask keeps a kind of stream inside its symbol");

/// The last data of every (symbol, kind of stream, leg) of one core. One writer: the core.
pub struct Pulses(Table<AtomicU64, WORD_COUNT>);

impl std::fmt::Debug for Pulses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulses").finish_non_exhaustive()
    }
}

impl Default for Pulses {
    fn default() -> Self {
        Self::new()
    }
}

impl Pulses {
    /// A table in which nobody has spoken: 16 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self(Table::zeroed())
    }

    /// The events of these marks came; takes them. On the writer's thread only.
    #[inline]
    pub(super) fn mark_all(&self, marks: &mut Marks, at: MonoNs) {
        for &word in &marks.words[..marks.count] {
            self.0[word as usize & (WORD_COUNT - 1)].store(at.0, Relaxed);
        }
        marks.count = 0;
    }

    /// When the last event came on this leg, or zero. From any thread.
    #[must_use]
    pub fn last_data(&self, symbol: Symbol, stream_kind: StreamKind, leg: u8) -> MonoNs {
        MonoNs(self.0[index(symbol, stream_kind.index(), leg)].load(Relaxed))
    }
}

/// Marks of events that came with one read: all have its stamp, and go into the table after the read's last message.
///
/// A symbol is known to the processor late: it has just been written, in two bytes, and is read back as part of sixteen. A
/// store whose address waits for it holds up the next message, a store of the symbol itself does not.
/// `cargo bench --bench deliver`, trade/alone: 76 ns with such a store for each event, 70 like this, 70 without any.
pub(super) struct Marks {
    words: [u32; MARKS_MAX],
    count: usize,
    /// Marks that may wait now: all, or none while the next event is to be stopped at.
    count_max: usize,
}

/// Marks that wait at most; before the next event they go into the table.
const MARKS_MAX: usize = 128;

const _: () = assert!(MARKS_MAX.is_power_of_two(), "a mask keeps a mark inside");
const _: () =
    assert!(WORD_COUNT.is_power_of_two() && WORD_COUNT <= 1 << 32, "a mask keeps a word inside, a u32 names it");

impl Marks {
    pub(super) const fn new() -> Self {
        Self { words: [0; MARKS_MAX], count: 0, count_max: MARKS_MAX }
    }

    /// True where the next event has to be stopped at: no other mark may wait, or [`Self::stop_at_next`] said so.
    #[inline]
    pub(super) const fn is_full(&self) -> bool {
        self.count >= self.count_max
    }

    /// The next event finds it full, though it need not be: one branch of an event serves both.
    pub(super) const fn stop_at_next(&mut self) {
        self.count_max = 0;
    }

    /// True from [`Self::stop_at_next`] to [`Self::go_on`].
    pub(super) const fn is_stopped(&self) -> bool {
        self.count_max == 0
    }

    /// Ends what [`Self::stop_at_next`] began.
    pub(super) const fn go_on(&mut self) {
        self.count_max = MARKS_MAX;
    }

    /// True if an event of this stream is among those marked before the last one, on whichever leg.
    pub(super) fn has_earlier(&self, symbol: Symbol, stream_kind: StreamKind) -> bool {
        let of_stream = index(symbol, stream_kind.index(), 0) / LEG_PLACES;
        let earlier = &self.words[..self.count.saturating_sub(1)];
        earlier.iter().any(|&word| word as usize / LEG_PLACES == of_stream)
    }

    /// An event came. Not to be called while it is full.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a word is below WORD_COUNT")]
    pub(super) fn add(&mut self, symbol: Symbol, stream_kind: StreamKind, leg: u8) {
        debug_assert!(!self.is_full(), "the first mark would be overwritten");
        self.words[self.count & (MARKS_MAX - 1)] = index(symbol, stream_kind.index(), leg) as u32;
        self.count = self.count.wrapping_add(1);
    }
}

/// The masks change nothing (each part is below its count) and let the compiler drop the bounds check.
#[inline]
fn index(symbol: Symbol, stream_kind: usize, leg: u8) -> usize {
    (symbol.index() & (SYMBOL_COUNT_MAX - 1)) * STRIDE
        + (stream_kind & (StreamKind::COUNT - 1)) * LEG_PLACES
        + (usize::from(leg) & (LEG_PLACES - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(pulses: &Pulses, symbol: Symbol, stream_kind: StreamKind, leg: u8, at: MonoNs) {
        let mut marks = Marks::new();
        marks.add(symbol, stream_kind, leg);
        pulses.mark_all(&mut marks, at);
    }

    #[test]
    fn every_symbol_stream_kind_and_leg_has_a_word_of_its_own() {
        let pulses = Pulses::new();
        let symbols = [0, 1, 2, SYMBOL_COUNT_MAX - 1].map(|at| Symbol::new(at).unwrap());
        let all = || {
            symbols.into_iter().flat_map(|symbol| {
                StreamKind::all().flat_map(move |stream_kind| [0, 1, 2, 3].map(|leg| (symbol, stream_kind, leg)))
            })
        };
        for (symbol, stream_kind, leg) in all() {
            assert_eq!(pulses.last_data(symbol, stream_kind, leg), MonoNs(0), "before the first");
        }
        for (at, (symbol, stream_kind, leg)) in all().enumerate() {
            mark(&pulses, symbol, stream_kind, leg, MonoNs(at as u64 + 1));
        }
        for (at, (symbol, stream_kind, leg)) in all().enumerate() {
            assert_eq!(pulses.last_data(symbol, stream_kind, leg), MonoNs(at as u64 + 1));
        }
    }

    #[test]
    fn the_marks_of_a_read_come_into_the_table_together_or_before_where_they_are_too_many() {
        let (pulses, mut marks) = (Pulses::new(), Marks::new());
        let symbols: Vec<Symbol> = (0..2 * MARKS_MAX + 3).map(|at| Symbol::new(at).unwrap()).collect();
        let marked = |pulses: &Pulses| {
            let has_spoken = |&&symbol: &&Symbol| pulses.last_data(symbol, StreamKind::QUOTE, 1) != MonoNs(0);
            symbols.iter().filter(has_spoken).count()
        };
        for (added, &symbol) in symbols.iter().enumerate() {
            assert_eq!(marked(&pulses), added.saturating_sub(1) / MARKS_MAX * MARKS_MAX, "with {added} added");
            if marks.is_full() {
                pulses.mark_all(&mut marks, MonoNs(7));
            }
            marks.add(symbol, StreamKind::QUOTE, 1);
        }
        pulses.mark_all(&mut marks, MonoNs(7));
        assert_eq!(marked(&pulses), symbols.len());
        pulses.mark_all(&mut marks, MonoNs(9));
        assert!(
            symbols.iter().all(|&symbol| pulses.last_data(symbol, StreamKind::QUOTE, 1) == MonoNs(7)),
            "none waited"
        );
    }

    #[test]
    fn marks_that_are_told_to_stop_are_full_until_they_are_told_to_go_on() {
        let (pulses, mut marks) = (Pulses::new(), Marks::new());
        let symbol = Symbol::new(3).unwrap();
        marks.stop_at_next();
        assert!(marks.is_full() && marks.is_stopped());
        marks.go_on();
        assert!(!marks.is_full() && !marks.is_stopped());
        for _ in 0..MARKS_MAX {
            marks.add(symbol, StreamKind::TRADE, 0);
        }
        assert!(marks.is_full() && !marks.is_stopped(), "really full");
        marks.stop_at_next();
        marks.go_on();
        assert!(marks.is_full(), "and still");
        pulses.mark_all(&mut marks, MonoNs(1));
        assert!(!marks.is_full());
    }
}
