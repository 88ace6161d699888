//! What the cold side tells a core of its books, and what a lost connection does to them.
//!
//! ```text
//! command, lost connection ─► Shelf ─► Outcome ─► is it news? ─► Router ─► on_book
//!                                   └► board ─► cold side woken
//! ```
//! Rare: once for each book, snapshot or loss.

use super::super::legs::Role;
use super::super::ring::{Notice, Spent};
use super::super::shelf::LegBooks;
use super::Core;
use crate::book::{BookCopy, BookEvent, BookSnapshot, Outcome, Slot, Step};
use crate::market::{EventKind, Meta, MonoNs, Received, StaleReason, Symbol};
use crate::venue::VenueSequence;

impl<S> Core<S> {
    fn now(&self) -> Received {
        self.clock.received(self.clock.ticks())
    }

    #[cold]
    pub(super) fn add_book(&mut self, slot: Box<Slot<VenueSequence>>) {
        self.remove_book(slot.symbol());
        let now = self.now();
        self.desk.shelf.add(slot, now.mono);
        self.wake_if_changed();
    }

    #[cold]
    pub(super) fn add_leg_books(&mut self, books: Box<LegBooks>) {
        if let Some(rest) = self.desk.shelf.add_legs(books) {
            self.outbox.deliver(Notice::Spent(Spent::LegBooks(rest)));
        }
    }

    /// A live book that goes is told once as what it is from now on: cut off.
    #[cold]
    pub(super) fn remove_book(&mut self, symbol: Symbol) {
        self.quarantine(symbol, StaleReason::Disconnected);
        if let Some(slot) = self.desk.shelf.remove(symbol) {
            self.outbox.deliver(Notice::Spent(Spent::Book(slot)));
        }
        if let Some(books) = self.desk.shelf.remove_legs(symbol) {
            self.outbox.deliver(Notice::Spent(Spent::LegBooks(books)));
        }
        self.wake_if_changed();
    }

    #[cold]
    pub(super) fn begin_fetch(&mut self, symbol: Symbol) {
        let begun = self.desk.shelf.begin_fetch(symbol);
        self.outbox.deliver(Notice::FetchBegun { symbol, begun });
    }

    #[cold]
    pub(super) fn take_snapshot(&mut self, snapshot: Box<BookSnapshot>) {
        let now = self.now();
        let outcome = self.desk.shelf.snapshot(&snapshot, now.mono);
        let meta = snapshot.update().meta;
        self.outbox.deliver(Notice::SnapshotTaken { step: outcome.map(|outcome| outcome.step), snapshot });
        self.tell_book(news(outcome), meta);
    }

    #[cold]
    pub(super) fn quarantine(&mut self, symbol: Symbol, reason: StaleReason) {
        let now = self.now();
        let outcome = self.desk.shelf.quarantine(symbol, reason, now.mono);
        self.tell_book(news(outcome), found(symbol, now));
    }

    #[cold]
    pub(super) fn tick_changed(&mut self, symbol: Symbol) {
        let now = self.now();
        let outcome = self.desk.shelf.tick_changed(symbol, now.mono);
        self.tell_book(news(outcome), found(symbol, now));
    }

    #[cold]
    pub(super) fn read_book(&mut self, mut copy: Box<BookCopy>) {
        let now = self.now();
        self.desk.shelf.copy(&mut copy, now);
        self.outbox.deliver(Notice::BookRead(copy));
    }

    /// The connection in this slot is gone: every book that it fed is cut off, but for those with which the other leg of its
    /// overlap goes on. Where each leg has a book of its own, that one alone is.
    #[cold]
    pub(super) fn lose_books(&mut self, slot: u16, role: Option<Role>) {
        let mut from = 0;
        while let Some(symbol) = self.desk.shelf.fed_by(slot, from) {
            from = symbol.index() + 1;
            if self.desk.shelf.is_of_legs(symbol) {
                let now = self.now();
                let news = self.desk.shelf.cut_off_leg(symbol, slot, now.mono);
                self.tell_book(news, found(symbol, now));
                continue;
            }
            let other = self
                .desk
                .shelf
                .stream_kind(symbol)
                .zip(role)
                .and_then(|(stream_kind, role)| self.desk.overlaps.carries_on(role, symbol, stream_kind));
            match other {
                Some(other) => self.desk.shelf.carry(symbol, other),
                None => self.quarantine(symbol, StaleReason::Disconnected),
            }
        }
    }

    /// Tells of the books that no leg has gone on with in time.
    pub(super) fn tell_overdue_books(&mut self, mono: MonoNs) {
        if !self.desk.shelf.may_be_held() {
            return;
        }
        let (now, mut from) = (self.now(), 0);
        while let Some((symbol, news)) = self.desk.shelf.next_overdue(from, mono) {
            from = symbol.index() + 1;
            self.tell_book(news, found(symbol, now));
        }
    }

    /// Tells the strategy what became of a book, if it is news, and the cold side, if its row has changed.
    fn tell_book(&mut self, news: Option<Step>, meta: Meta) {
        self.wake_if_changed();
        let Some(step) = news else { return };
        let Some(view) = self.desk.shelf.view(meta.symbol) else { return };
        let feeder = self.desk.shelf.feeder(meta.symbol);
        self.stats.current.at_event(feeder, EventKind::KeptBook, meta.symbol);
        self.desk.router.book(&mut self.desk.state, &BookEvent { meta, step, view });
        self.stats.current.at_nothing();
    }

    fn wake_if_changed(&mut self) {
        if self.desk.shelf.take_changed() {
            self.outbox.waker.wake();
        }
    }
}

/// What became of a book, if a strategy is told.
fn news(outcome: Option<Outcome>) -> Option<Step> {
    outcome.filter(Outcome::is_news).map(|outcome| outcome.step)
}

/// Who and when, of what no message did.
const fn found(symbol: Symbol, received: Received) -> Meta {
    Meta { symbol, received, event_time: None, matching_time: None }
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
