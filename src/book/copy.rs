//! What crosses between a hot core and the cold side of a book: a snapshot on its way in, a copy on its way out.
//!
//! ```text
//! cold side ── BookSnapshot: fetched, at the symbol's scales ──► Books::snapshot
//!           ◄─ BookCopy: room made by who asked ─────────────── filled on the hot core, which takes no memory for it
//! ```

use super::sequence::{Repair, SequenceRule};
use super::slot::{Slot, Ticket};
use crate::market::{
    BookKind, BookState, BookUpdate, Level, Meta, Received, SequenceIds, Side, Symbol, VenueTime, touch,
};

/// A snapshot that was fetched by a request of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BookSnapshot {
    /// Whose book.
    pub symbol: Symbol,
    /// Of the fetch that it answers.
    pub ticket: Ticket,
    /// The id that it stands at: first and last are the same.
    pub ids: SequenceIds,
    /// How many levels a side were asked for.
    pub depth: u16,
    /// When its answer was read.
    pub received: Received,
    /// When the venue published it, if it says.
    pub event_time: Option<VenueTime>,
    /// Bids at the symbol's scales, in the venue's order.
    pub bids: Vec<Level>,
    /// Asks at the symbol's scales, in the venue's order.
    pub asks: Vec<Level>,
}

impl BookSnapshot {
    /// As a message.
    #[must_use]
    pub fn update(&self) -> BookUpdate<'_> {
        let Self { symbol, ids, depth, received, event_time, .. } = *self;
        BookUpdate {
            meta: Meta { symbol, received, event_time, matching_time: None },
            kind: BookKind::Snapshot,
            ids,
            depth,
            state: None,
            bids: &self.bids,
            asks: &self.asks,
        }
    }
}

/// A copy of one book, or that none is kept. Made by who asks, with room for what it asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BookCopy {
    /// Whose book.
    pub symbol: Symbol,
    /// Levels a side that were asked for.
    pub depth: usize,
    /// Whether it can be trusted. `None`: no book is kept of the symbol.
    pub state: Option<BookState>,
    /// What must be done to make it live.
    pub needs: Option<Repair>,
    /// The ids that it stands at; none while nothing has come.
    pub ids: Option<SequenceIds>,
    /// When it was copied.
    pub copied: Received,
    /// Its best bids, best first.
    pub bids: Vec<Level>,
    /// Its best asks, best first.
    pub asks: Vec<Level>,
    /// How many of the bids, from the best on, lie in the known range: between those behind them others may be missing.
    pub bids_known: usize,
    /// The same of the asks.
    pub asks_known: usize,
}

impl BookCopy {
    /// An empty one with room for so many levels a side, brought in.
    #[must_use]
    pub fn new(symbol: Symbol, depth: usize) -> Self {
        Self {
            symbol,
            depth,
            state: None,
            needs: None,
            ids: None,
            copied: Received::default(),
            bids: touch::vec(depth),
            asks: touch::vec(depth),
            bids_known: 0,
            asks_known: 0,
        }
    }

    /// Copies what is kept of the symbol, as much as there is room for: takes no memory.
    pub fn fill<R: SequenceRule>(&mut self, slot: Option<&Slot<R>>, copied: Received) {
        self.copied = copied;
        let view = slot.map(Slot::view);
        self.state = view.map(|view| view.state);
        self.needs = slot.and_then(Slot::needs);
        self.ids = view.and_then(|view| view.ids);
        for (side, levels, known) in
            [(Side::Buy, &mut self.bids, &mut self.bids_known), (Side::Sell, &mut self.asks, &mut self.asks_known)]
        {
            levels.clear();
            *known = 0;
            let Some(view) = view else { continue };
            let room = self.depth.min(levels.capacity());
            levels.extend(view.book.held(side).take(room));
            *known = view.book.levels(side).take(room).count();
        }
    }
}
