//! What the cold side sees of a core's books: a row for each symbol, written by the core, read by anyone.
//!
//! ```text
//! hot core ── a book's state or need changed ─► row, then `changes` + 1, then the cold side is woken
//!          ── a message of it came           ─► row: its id, one more message
//! cold side: `changes` is another? ─► looks at the rows it cares for
//! ```
//! What a row says is how it is, not what happened: who looks late misses nothing that still matters. Of the whole table only
//! the pages of symbols with a book are ever touched.

use super::stats::Counter;
use crate::book::{Repair, SequenceRule, Slot};
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{BookState, MonoNs, StaleReason, Symbol};
use std::sync::atomic::{AtomicU64, Ordering};

/// One symbol's row. All zero: no book is kept.
#[derive(Debug)]
struct Row {
    /// See [`word`].
    word: AtomicU64,
    since: Counter,
    sequence: Counter,
    messages: Counter,
}

/// A book as its core last wrote it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BookStatus {
    /// Whether it can be trusted.
    pub state: BookState,
    /// What must be done to make it live, until it is.
    pub needs: Option<Repair>,
    /// Legs whose own books are to be subscribed again, by place, one bit each; none where legs have no books of their own.
    pub legs_in_need: u8,
    /// Since when state and need are these.
    pub since: MonoNs,
    /// The last id in the book; 0 while nothing has come.
    pub sequence: u64,
    /// Messages of its stream since it is kept, whatever became of them.
    pub messages: u64,
}

/// The books of one core. One writer: the core.
pub struct Board {
    rows: Box<[Row; SYMBOL_COUNT_MAX]>,
    changes: AtomicU64,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("changes", &self.changes()).finish_non_exhaustive()
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Board {
    /// A board without books. 512 KiB of address space; memory comes with the books.
    #[must_use]
    pub fn new() -> Self {
        let rows = Box::<[Row; SYMBOL_COUNT_MAX]>::new_zeroed();
        // SAFETY: a row is made of `AtomicU64`s, which have the size and bit validity of a `u64`, of which zero is a value.
        let rows = unsafe { rows.assume_init() };
        Self { rows, changes: AtomicU64::new(0) }
    }

    /// A symbol's book; `None` where none is kept. From any thread.
    #[must_use]
    pub fn get(&self, symbol: Symbol) -> Option<BookStatus> {
        let row = self.row(symbol);
        let (state, needs, legs_in_need) = of_word(row.word.load(Ordering::Acquire))?;
        let (since, sequence, messages) = (MonoNs(row.since.get()), row.sequence.get(), row.messages.get());
        Some(BookStatus { state, needs, legs_in_need, since, sequence, messages })
    }

    /// Rises whenever a book's state or need changes, a book comes or goes. What the rows say behind a reading of it is no
    /// older than the change it counts. From any thread.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    #[inline]
    fn row(&self, symbol: Symbol) -> &Row {
        // The mask changes nothing (a Symbol is below SYMBOL_COUNT_MAX) and lets the compiler drop the bounds check.
        &self.rows[symbol.index() & (SYMBOL_COUNT_MAX - 1)]
    }

    /// A book is kept from now on, and this is how it is. On the writer's thread only, as all below.
    pub(super) fn begin<R: SequenceRule>(&self, slot: &Slot<R>, at: MonoNs) {
        let row = self.row(slot.symbol());
        row.sequence.set(0);
        row.messages.set(0);
        self.note(slot, (slot.state(), slot.needs(), 0), at);
    }

    /// A book is no longer kept.
    pub(super) fn end(&self, symbol: Symbol) {
        self.row(symbol).word.store(0, Ordering::Release);
        self.changed();
    }

    /// A message of a kept book came.
    #[inline]
    pub(super) fn message<R: SequenceRule>(&self, slot: &Slot<R>) {
        let row = self.row(slot.symbol());
        row.messages.add(1);
        row.sequence.set(slot.view().ids.map_or(0, |ids| ids.last));
    }

    /// A book's state or need may have changed, or those of its legs.
    pub(super) fn note<R: SequenceRule>(
        &self,
        slot: &Slot<R>,
        (state, needs, legs_in_need): (BookState, Option<Repair>, u8),
        at: MonoNs,
    ) {
        let row = self.row(slot.symbol());
        row.sequence.set(slot.view().ids.map_or(0, |ids| ids.last));
        row.since.set(at.0);
        row.word.store(word(state, needs, legs_in_need), Ordering::Release);
        self.changed();
    }

    fn changed(&self) {
        self.changes.store(self.changes.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// The word of a row: bits 0..2 are 1 waiting, 2 live, 3 stale; 8..16 why stale; 16..18 are 1 for a snapshot, 2 for
/// resubscribing; 24..32 the legs in need.
const fn word(state: BookState, needs: Option<Repair>, legs_in_need: u8) -> u64 {
    let state = match state {
        BookState::Waiting => 1,
        BookState::Live => 2,
        BookState::Stale(reason) => 3 | (reason as u64) << 8,
    };
    let needs = match needs {
        None => 0,
        Some(Repair::NeedSnapshot) => 1,
        Some(Repair::Resubscribe) => 2,
    };
    state | needs << 16 | (legs_in_need as u64) << 24
}

fn of_word(word: u64) -> Option<(BookState, Option<Repair>, u8)> {
    let state = match word & 3 {
        0 => return None,
        1 => BookState::Waiting,
        2 => BookState::Live,
        _ => BookState::Stale(*StaleReason::ALL.get(usize::try_from(word >> 8 & 0xff).ok()?)?),
    };
    let needs = match word >> 16 & 3 {
        1 => Some(Repair::NeedSnapshot),
        2 => Some(Repair::Resubscribe),
        _ => None,
    };
    Some((state, needs, u8::try_from(word >> 24 & 0xff).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::BookSettings;
    use crate::market::Venue;
    use crate::venue::VenueSequence;

    #[test]
    fn every_state_and_need_comes_back_from_its_word_as_it_was() {
        let stale = StaleReason::ALL.map(BookState::Stale);
        for state in [BookState::Waiting, BookState::Live].into_iter().chain(stale) {
            for needs in [None, Some(Repair::NeedSnapshot), Some(Repair::Resubscribe)] {
                for legs in [0, 1, 0b1010, u8::MAX] {
                    assert_eq!(of_word(word(state, needs, legs)), Some((state, needs, legs)));
                }
            }
        }
        assert_eq!(of_word(0), None);
    }

    #[test]
    fn a_row_is_there_while_its_book_is_kept_and_every_change_is_counted() {
        let board = Board::new();
        let symbols = [0, 1, SYMBOL_COUNT_MAX - 1].map(|at| Symbol::new(at).unwrap());
        for (at, symbol) in symbols.into_iter().enumerate() {
            assert_eq!(board.get(symbol), None);
            let rule = VenueSequence::of(Venue::BinanceSpot);
            let mut slot = Slot::new(symbol, 5, rule, BookSettings::for_depth(5));
            let before = board.changes();
            board.begin(&slot, MonoNs(7));
            board.message(&slot);
            let status = board.get(symbol).unwrap();
            assert_eq!((status.state, status.since, status.messages), (BookState::Waiting, MonoNs(7), 1));
            slot.quarantine(StaleReason::Crossed);
            board.note(&slot, (slot.state(), slot.needs(), 0b10), MonoNs(9));
            let status = board.get(symbol).unwrap();
            assert_eq!(status.state, BookState::Stale(StaleReason::Crossed));
            assert_eq!((status.needs, status.since), (Some(Repair::NeedSnapshot), MonoNs(9)));
            assert_eq!(status.legs_in_need, 0b10);
            board.end(symbol);
            assert_eq!((board.get(symbol), board.changes() - before), (None, 3), "symbol {at}");
        }
    }
}
