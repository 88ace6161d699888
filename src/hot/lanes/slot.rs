//! One event on its way to a lane: a copy, with room beside it for the levels of a book.
//!
//! A book's levels lie in the core's scratch and are its own only during the call: they are copied into memory that the slot
//! has had since the start. A book with more levels than that does not cross: it is counted, never cut.

use super::super::clock::Ticks;
use super::super::delivery::Routed;
use super::super::router::Router;
use crate::market::{
    AggTrade, BookKind, BookState, BookUpdate, EventKind, Gap, Kline, Level, Liquidation, MarkPrice, Meta, Quote,
    SequenceIds, Ticker, Trade,
};
use std::fmt;

/// An event without what it borrows.
#[derive(Clone, Copy, Debug)]
enum Crossing {
    Trade(Trade),
    AggTrade(AggTrade),
    Quote(Quote),
    Ticker(Ticker),
    Book(BookHead),
    Kline(Kline),
    MarkPrice(MarkPrice),
    Liquidation(Liquidation),
    Gap(Gap),
}

/// A [`BookUpdate`] but for its levels: the slot has those, bids first.
#[derive(Clone, Copy, Debug)]
struct BookHead {
    meta: Meta,
    kind: BookKind,
    ids: SequenceIds,
    depth: u16,
    state: Option<BookState>,
    bids: usize,
    asks: usize,
}

/// Room for one event. What the lane reads of it lies together, from a line's beginning on: a trade is two lines.
#[repr(C, align(128))]
pub(super) struct Slot {
    /// When it was sent, where its hop is timed; else zero.
    pub(super) sent: Ticks,
    event: Option<Crossing>,
    levels: Box<[Level]>,
}

const _: () = assert!(
    std::mem::offset_of!(Slot, event) + size_of::<Trade>() + size_of::<u64>() <= 128,
    "a trade, what says that it is one, and when it was sent"
);

impl Slot {
    /// An empty one, its memory touched.
    pub(super) fn new(levels: usize) -> Self {
        Self { sent: Ticks::default(), event: None, levels: vec![Level::default(); levels].into_boxed_slice() }
    }

    /// Calls the handler that the event is for. An empty slot calls none.
    pub(super) fn deliver<L>(&self, router: &Router<L>, state: &mut L) {
        let Some(event) = &self.event else { return };
        match event {
            Crossing::Trade(event) => router.trade(state, event),
            Crossing::AggTrade(event) => router.agg_trade(state, event),
            Crossing::Quote(event) => router.quote(state, event),
            Crossing::Ticker(event) => router.ticker(state, event),
            Crossing::Book(head) => router.book_delta(state, &self.book(head)),
            Crossing::Kline(event) => router.kline(state, event),
            Crossing::MarkPrice(event) => router.mark_price(state, event),
            Crossing::Liquidation(event) => router.liquidation(state, event),
            Crossing::Gap(event) => router.gap(state, event),
        }
    }

    fn book(&self, head: &BookHead) -> BookUpdate<'_> {
        let BookHead { meta, kind, ids, depth, state, bids, asks } = *head;
        let (bids, rest) = self.levels.split_at(bids);
        BookUpdate { meta, kind, ids, depth, state, bids, asks: &rest[..asks] }
    }

    /// Kind and symbol of the event; `None` of an empty slot.
    pub(super) fn what(&self) -> Option<(EventKind, &Meta)> {
        Some(match self.event.as_ref()? {
            Crossing::Trade(event) => (EventKind::Trade, &event.meta),
            Crossing::AggTrade(event) => (EventKind::AggTrade, &event.meta),
            Crossing::Quote(event) => (EventKind::Quote, &event.meta),
            Crossing::Ticker(event) => (EventKind::Ticker, &event.meta),
            Crossing::Book(event) => (EventKind::Book, &event.meta),
            Crossing::Kline(event) => (EventKind::Kline, &event.meta),
            Crossing::MarkPrice(event) => (EventKind::MarkPrice, &event.meta),
            Crossing::Liquidation(event) => (EventKind::Liquidation, &event.meta),
            Crossing::Gap(event) => (EventKind::Gap, &event.meta),
        })
    }
}

impl fmt::Debug for Slot {
    /// The event as its handler sees it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.event {
            None => f.write_str("nothing"),
            Some(Crossing::Trade(event)) => event.fmt(f),
            Some(Crossing::AggTrade(event)) => event.fmt(f),
            Some(Crossing::Quote(event)) => event.fmt(f),
            Some(Crossing::Ticker(event)) => event.fmt(f),
            Some(Crossing::Book(head)) => self.book(head).fmt(f),
            Some(Crossing::Kline(event)) => event.fmt(f),
            Some(Crossing::MarkPrice(event)) => event.fmt(f),
            Some(Crossing::Liquidation(event)) => event.fmt(f),
            Some(Crossing::Gap(event)) => event.fmt(f),
        }
    }
}

/// An event that can cross to a lane.
pub(super) trait Crosses: Routed {
    /// Levels that it needs room for.
    fn level_count(&self) -> usize;

    /// Copies it into a slot, which has room for its levels.
    fn cross(&self, slot: &mut Slot);
}

macro_rules! crosses {
    ($($kind:ident),*) => {
        $(impl Crosses for $kind {
            #[inline]
            fn level_count(&self) -> usize {
                0
            }

            #[inline]
            fn cross(&self, slot: &mut Slot) {
                slot.event = Some(Crossing::$kind(*self));
            }
        })*
    };
}

crosses!(Trade, AggTrade, Quote, Ticker, Kline, MarkPrice, Liquidation, Gap);

impl Crosses for BookUpdate<'_> {
    #[inline]
    fn level_count(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    #[inline]
    fn cross(&self, slot: &mut Slot) {
        let Self { meta, kind, ids, depth, state, bids, asks } = *self;
        slot.levels[..bids.len()].copy_from_slice(bids);
        slot.levels[bids.len()..bids.len() + asks.len()].copy_from_slice(asks);
        let head = BookHead { meta, kind, ids, depth, state, bids: bids.len(), asks: asks.len() };
        slot.event = Some(Crossing::Book(head));
    }
}
