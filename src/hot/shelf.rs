//! The books of one core, and which connection feeds each: what the loop does with them, and what of it is published.
//!
//! ```text
//! BookUpdate that passed ─► Shelf::update ─► the book takes it, its feeder is noted ─► Outcome ─► router
//! connection lost        ─► fed_by        ─► carried on by another leg? feeder : stale
//! commands               ─► snapshot, quarantine, ...
//!                                └─► Board (at once)     BookStats (in housekeeping)
//! ```
//! Allocates all it will ever use in [`Shelf::new`]; the books come from the cold side and go back there.

use super::board::Board;
use super::stats::Counter;
use crate::book::{BookCopy, BookCounts, BookSnapshot, Books, FetchError, Outcome, Slot, Ticket, View};
use crate::limits::{BOOK_FETCH_COUNT_MAX, SYMBOL_COUNT_MAX};
use crate::market::{BookState, BookUpdate, MonoNs, Received, StaleReason, StreamKind, Symbol, touch};
use crate::venue::VenueSequence;
use std::sync::Arc;

/// The slot of no connection: nothing has fed the book yet, or what did is gone.
pub(super) const NO_SLOT: u16 = u16::MAX - 1;

/// See the module.
pub(super) struct Shelf {
    books: Books<VenueSequence>,
    /// By symbol: the slot whose message the book took last.
    feeders: Box<[u16]>,
    board: Arc<Board>,
    states: States,
    /// The board has changed since the cold side was woken.
    has_changed: bool,
}

/// How many books are in each state.
#[derive(Clone, Copy, Debug, Default)]
struct States {
    waiting: u64,
    live: u64,
    stale: u64,
}

impl States {
    fn count(&mut self, state: BookState) -> &mut u64 {
        match state {
            BookState::Waiting => &mut self.waiting,
            BookState::Live => &mut self.live,
            BookState::Stale(_) => &mut self.stale,
        }
    }
}

impl Shelf {
    /// No books. `board`: where the cold side sees them.
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self {
            books: Books::new(BOOK_FETCH_COUNT_MAX),
            feeders: touch::filled(NO_SLOT, SYMBOL_COUNT_MAX),
            board,
            states: States::default(),
            has_changed: false,
        }
    }

    /// True if a book is kept of this message's stream.
    #[inline]
    pub(super) fn keeps(&self, update: &BookUpdate<'_>) -> bool {
        self.books.slot(update.meta.symbol).is_some_and(|slot| slot.stream_kind() == update.stream_kind())
    }

    /// This symbol's book.
    #[inline]
    pub(super) fn view(&self, symbol: Symbol) -> Option<View<'_>> {
        self.books.view(symbol)
    }

    /// The stream that this symbol's book is made of.
    pub(super) fn stream_kind(&self, symbol: Symbol) -> Option<StreamKind> {
        self.books.slot(symbol).map(Slot::stream_kind)
    }

    /// The slot that feeds this symbol's book.
    pub(super) fn feeder(&self, symbol: Symbol) -> u16 {
        self.feeders[symbol.index()]
    }

    /// The book takes a message that the connection in this slot brought. `None`: no book is kept of its stream.
    #[inline]
    pub(super) fn update(&mut self, slot: u16, update: &BookUpdate<'_>) -> Option<Outcome> {
        let symbol = update.meta.symbol;
        // None of the venues sends a checksum.
        let outcome = self.books.update(update, None)?;
        self.board.message(self.books.slot(symbol)?);
        // Whoever repeats what another has brought feeds nothing.
        if outcome.feeds() {
            self.feeders[symbol.index()] = slot;
        }
        if outcome.has_turned || outcome.repair.is_some() {
            self.note(symbol, update.meta.received.mono);
        }
        Some(outcome)
    }

    /// Keeps this book from now on. None is kept of its symbol.
    pub(super) fn add(&mut self, slot: Box<Slot<VenueSequence>>, at: MonoNs) {
        debug_assert!(self.books.slot(slot.symbol()).is_none(), "the one before was given back");
        self.feeders[slot.symbol().index()] = NO_SLOT;
        *self.states.count(slot.state()) += 1;
        self.board.begin(&slot, at);
        self.has_changed = true;
        self.books.add(slot);
    }

    /// Keeps this symbol's book no longer.
    pub(super) fn remove(&mut self, symbol: Symbol) -> Option<Box<Slot<VenueSequence>>> {
        let slot = self.books.remove(symbol)?;
        self.feeders[symbol.index()] = NO_SLOT;
        *self.states.count(slot.state()) -= 1;
        self.board.end(symbol);
        self.has_changed = true;
        Some(slot)
    }

    /// See [`Books::begin_fetch`].
    pub(super) fn begin_fetch(&mut self, symbol: Symbol) -> Result<Ticket, FetchError> {
        self.books.begin_fetch(symbol)
    }

    /// See [`Books::end_fetch`].
    pub(super) fn end_fetch(&mut self, symbol: Symbol) {
        self.books.end_fetch(symbol);
    }

    /// See [`Books::snapshot`].
    pub(super) fn snapshot(&mut self, snapshot: &BookSnapshot, at: MonoNs) -> Option<Outcome> {
        let outcome = self.books.snapshot(snapshot.ticket, &snapshot.update())?;
        self.note(snapshot.symbol, at);
        Some(outcome)
    }

    /// See [`Books::quarantine`]. A book that is cut off has no feeder until a message comes again.
    pub(super) fn quarantine(&mut self, symbol: Symbol, reason: StaleReason, at: MonoNs) -> Option<Outcome> {
        let outcome = self.books.quarantine(symbol, reason)?;
        if reason == StaleReason::Disconnected {
            self.feeders[symbol.index()] = NO_SLOT;
        }
        self.note(symbol, at);
        Some(outcome)
    }

    /// See [`Books::tick_changed`].
    pub(super) fn tick_changed(&mut self, symbol: Symbol, at: MonoNs) -> Option<Outcome> {
        let outcome = self.books.tick_changed(symbol)?;
        self.note(symbol, at);
        Some(outcome)
    }

    /// Copies a book.
    pub(super) fn copy(&self, copy: &mut BookCopy, at: Received) {
        copy.fill(self.books.slot(copy.symbol), at);
    }

    /// The next symbol, from this index on, whose book the connection in this slot feeds.
    pub(super) fn fed_by(&self, slot: u16, from: usize) -> Option<Symbol> {
        let rest = self.feeders.get(from..)?;
        Symbol::new(from + rest.iter().position(|&feeder| feeder == slot)?)
    }

    /// The connection in this slot feeds the book from now on.
    pub(super) fn carry(&mut self, symbol: Symbol, slot: u16) {
        self.feeders[symbol.index()] = slot;
    }

    /// True if the board has changed since the last call: the cold side is to be woken.
    #[inline]
    pub(super) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.has_changed, false)
    }

    /// [`Self::take_changed`] that leaves it.
    #[inline]
    pub(super) const fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// A book's state or need may be another than its row says.
    #[cold]
    fn note(&mut self, symbol: Symbol, at: MonoNs) {
        let Some(slot) = self.books.slot(symbol) else { return };
        if let Some(before) = self.board.get(symbol)
            && (before.state, before.needs) != (slot.state(), slot.needs())
        {
            *self.states.count(before.state) -= 1;
            *self.states.count(slot.state()) += 1;
            self.board.note(slot, at);
            self.has_changed = true;
        }
    }

    /// Publishes what is counted.
    pub(super) fn publish(&self, stats: &BookStats) {
        let States { waiting, live, stale } = self.states;
        stats.waiting.set(waiting);
        stats.live.set(live);
        stats.stale.set(stale);
        let BookCounts { applied, rebuilt, skipped, held, ignored, late, hold_gaps, hold_overflows, stale } =
            *self.books.counts();
        stats.applied.set(applied);
        stats.rebuilt.set(rebuilt);
        stats.skipped.set(skipped);
        stats.held.set(held);
        stats.ignored.set(ignored);
        stats.late.set(late);
        stats.hold_gaps.set(hold_gaps);
        stats.hold_overflows.set(hold_overflows);
        stats.stale_by_reason.iter().zip(stale).for_each(|(counter, count)| counter.set(count));
    }
}

/// What became of a core's books, as of its last housekeeping; while the core stops, as of when it was told to.
#[derive(Debug, Default)]
pub struct BookStats {
    /// Books of which nothing has come yet.
    pub waiting: Counter,
    /// Books that can be trusted.
    pub live: Counter,
    /// Books that cannot.
    pub stale: Counter,
    /// Messages applied to a live book.
    pub applied: Counter,
    /// Books that became live, or were replaced by the venue.
    pub rebuilt: Counter,
    /// Messages that had all been in the book before.
    pub skipped: Counter,
    /// Messages kept for a snapshot.
    pub held: Counter,
    /// Messages of no use to a book that is not live.
    pub ignored: Counter,
    /// Snapshots that came too late or too early to be of use.
    pub late: Counter,
    /// Buffers that began anew because a change did not follow the one before.
    pub hold_gaps: Counter,
    /// Buffers that began anew because they were full.
    pub hold_overflows: Counter,
    /// Times a book turned stale, or was not made live by a snapshot, by [`StaleReason`].
    pub stale_by_reason: [Counter; StaleReason::ALL.len()],
}
