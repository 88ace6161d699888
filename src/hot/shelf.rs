//! The books of one core, and which connection feeds each: what the loop does with them, and what of it is published.
//!
//! ```text
//! BookUpdate that passed ─► Shelf::update ─► the book takes it, its feeder is noted ─► Outcome ─► router
//!   of a leg             ─► the leg's own book (legs) ─► is it the furthest? published, Taken ─► router
//! connection lost        ─► fed_by        ─► carried on by another leg? feeder : stale
//! commands               ─► snapshot, quarantine, ...
//!                                └─► Board (at once)     BookStats (in housekeeping)
//! ```
//! - `legs`: one book of each leg of a stream whose changes join to their own connection's last message only.
//!
//! Allocates all it will ever use in [`Shelf::new`]; the books come from the cold side and go back there.

mod legs;

use super::board::Board;
use super::stats::Counter;
use crate::book::{BookCopy, BookCounts, BookSnapshot, Books, FetchError, Outcome, Slot, Step, Ticket, View};
use crate::limits::{BOOK_FETCH_COUNT_MAX, SYMBOL_COUNT_MAX};
use crate::market::{BookState, BookUpdate, Level, MonoNs, Received, StaleReason, StreamKind, Symbol, touch};
use crate::venue::VenueSequence;
use std::sync::Arc;

pub use legs::LegBooks;

/// The slot of no connection: nothing has fed the book yet, or what did is gone.
pub(super) const NO_SLOT: u16 = u16::MAX - 1;

/// See the module.
pub(super) struct Shelf {
    books: Books<VenueSequence>,
    /// By symbol: the slot whose message the book took last.
    feeders: Box<[u16]>,
    /// By symbol: the books beside, where each leg has one of its own.
    legs: Box<[Option<Box<LegBooks>>]>,
    counts: LegCounts,
    /// Some published book may wait for a leg that is as far.
    may_be_held: bool,
    /// Room for the bids and asks of a book that is told as a whole.
    whole: [Vec<Level>; 2],
    board: Arc<Board>,
    states: States,
    /// The board has changed since the cold side was woken.
    has_changed: bool,
}

/// What became of the messages of legs that have books of their own.
#[derive(Clone, Copy, Debug, Default)]
struct LegCounts {
    beside: u64,
    takeovers: u64,
    without_book: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Taken {
    /// The state of the book that took it: the published one, or its leg's own.
    pub(super) own: BookState,
    /// What a strategy is told of the published book, if it is told.
    pub(super) news: Option<Step>,
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
            legs: (0..SYMBOL_COUNT_MAX).map(|_| None).collect(),
            counts: LegCounts::default(),
            may_be_held: false,
            whole: legs::whole_room(),
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

    /// This symbol's book, as it is published.
    #[inline]
    pub(super) fn view(&self, symbol: Symbol) -> Option<View<'_>> {
        let view = self.books.view(symbol)?;
        Some(match &self.legs[symbol.index()] {
            None => view,
            Some(legs) => View { state: legs.published(view.state), ..view },
        })
    }

    /// The stream that this symbol's book is made of.
    pub(super) fn stream_kind(&self, symbol: Symbol) -> Option<StreamKind> {
        self.books.slot(symbol).map(Slot::stream_kind)
    }

    /// The slot that feeds this symbol's book.
    pub(super) fn feeder(&self, symbol: Symbol) -> u16 {
        self.feeders[symbol.index()]
    }

    /// The book takes a message that the connection in this slot brought, the leg in this place. `None`: no book is kept of its
    /// stream.
    #[inline]
    pub(super) fn update(&mut self, (slot, leg): (u16, u8), update: &BookUpdate<'_>) -> Option<Taken> {
        let symbol = update.meta.symbol;
        if self.has_legs(update) {
            return self.update_of_leg((slot, leg), update);
        }
        // None of the venues sends a checksum.
        let outcome = self.books.update(update, None)?;
        let book = self.books.slot(symbol)?;
        self.board.message(book);
        let taken = Taken { own: book.state(), news: outcome.is_news().then_some(outcome.step) };
        // Whoever repeats what another has brought feeds nothing.
        if outcome.feeds() {
            self.feeders[symbol.index()] = slot;
        }
        if outcome.has_turned || outcome.repair.is_some() {
            self.note(symbol, update.meta.received.mono);
        }
        Some(taken)
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
        let before = self.view(symbol)?.state;
        self.tell_legs(symbol, |book| book.quarantine(reason));
        let outcome = self.books.quarantine(symbol, reason)?;
        if reason == StaleReason::Disconnected {
            self.feeders[symbol.index()] = NO_SLOT;
        }
        self.note(symbol, at);
        Some(Outcome { has_turned: before != BookState::Stale(reason), ..outcome })
    }

    /// See [`Books::tick_changed`].
    pub(super) fn tick_changed(&mut self, symbol: Symbol, at: MonoNs) -> Option<Outcome> {
        let before = self.view(symbol)?.state;
        self.tell_legs(symbol, Slot::tick_changed);
        let outcome = self.books.tick_changed(symbol)?;
        self.note(symbol, at);
        Some(Outcome { has_turned: before != BookState::Stale(StaleReason::TickChanged), ..outcome })
    }

    /// Copies a book.
    pub(super) fn copy(&self, copy: &mut BookCopy, at: Received) {
        copy.fill(self.books.slot(copy.symbol), at);
        if let Some(legs) = &self.legs[copy.symbol.index()] {
            copy.state = copy.state.map(|state| legs.published(state));
            copy.needs = copy.needs.filter(|_| !copy.state.is_some_and(BookState::is_live));
        }
    }

    /// The next symbol, from this index on, whose book the connection in this slot feeds.
    pub(super) fn fed_by(&self, slot: u16, from: usize) -> Option<Symbol> {
        let is_fed =
            |at: &usize| self.feeders[*at] == slot || self.legs[*at].as_ref().is_some_and(|legs| legs.is_fed_by(slot));
        Symbol::new((from..self.feeders.len()).find(is_fed)?)
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
        let (Some(slot), Some(view)) = (self.books.slot(symbol), self.view(symbol)) else { return };
        let (state, legs_in_need) = (view.state, self.legs_in_need(symbol));
        let needs = slot.needs().filter(|_| !state.is_live());
        if let Some(before) = self.board.get(symbol)
            && (before.state, before.needs, before.legs_in_need) != (state, needs, legs_in_need)
        {
            *self.states.count(before.state) -= 1;
            *self.states.count(state) += 1;
            let since = if (before.state, before.needs) == (state, needs) { before.since } else { at };
            self.board.note(slot, (state, needs, legs_in_need), since);
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
        let LegCounts { beside, takeovers, without_book } = self.counts;
        stats.beside.set(beside);
        stats.takeovers.set(takeovers);
        stats.without_book.set(without_book);
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
    /// Of the applied and rebuilt, those of a leg's own book that was not the published one with it: another leg's was as far.
    pub beside: Counter,
    /// Times another leg's book was published from then on.
    pub takeovers: Counter,
    /// Messages of legs for which there was no book of their own.
    pub without_book: Counter,
    /// Times a book turned stale, or was not made live by a snapshot, by [`StaleReason`]; where legs have books of their own, each
    /// of them, told or not.
    pub stale_by_reason: [Counter; StaleReason::ALL.len()],
}
