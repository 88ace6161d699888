//! Batches of chained books that came early: what lies between them and the book is still on another leg.
//!
//! ```text
//! entries │ symbol, ids, since ... │ ...  a ring: the oldest goes first        levels │ bids, asks │ bids, asks │ ...  likewise
//! ```
//! A batch waits here until the book has come to it, and is then delivered behind what brought it there; so a leg that is
//! in front wins as far as it can, and nothing that any leg has brought is lost when another is cut. Rare: looked at only for
//! books that are known to have something here. Allocated whole by `new`, on the cold side.

use crate::limits::{EARLY_BATCH_COUNT, EARLY_LEVEL_COUNT};
use crate::market::{BookUpdate, Level, Price, Qty, StreamKind, Symbol};

/// One batch that waits.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Without its levels.
    update: BookUpdate<'static>,
    stream_kind: StreamKind,
    /// The first id that it covers.
    start: u64,
    at: usize,
    bids: usize,
    asks: usize,
}

impl Entry {
    const fn end(&self) -> usize {
        self.at + self.bids + self.asks
    }
}

/// See the module.
pub(super) struct Early {
    entries: Box<[Option<Entry>]>,
    /// The next entry to be written; the oldest, if there is one.
    next: usize,
    levels: Box<[Level]>,
    /// The next level to be written.
    free: usize,
}

/// What waits of one book.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Waiting {
    index: usize,
    /// The first id that it covers, and the last.
    pub(super) ids: (u64, u64),
}

impl Early {
    /// Nothing waits. Half a megabyte, every page brought in.
    pub(super) fn new() -> Self {
        let one = Level { price: Price::from_mantissa(1), qty: Qty::from_mantissa(1) };
        Self {
            entries: vec![None; EARLY_BATCH_COUNT].into_boxed_slice(),
            next: 0,
            levels: super::window::brought_in(one, Level::default(), EARLY_LEVEL_COUNT),
            free: 0,
        }
    }

    /// Keeps a batch that covers the ids from `start` on. The oldest make room; one that is longer than all the room is not
    /// kept.
    #[cold]
    pub(super) fn keep(&mut self, update: &BookUpdate<'_>, start: u64) {
        let (bids, asks) = (update.bids.len(), update.asks.len());
        if bids + asks > self.levels.len() {
            return;
        }
        let at = if self.free + bids + asks > self.levels.len() { 0 } else { self.free };
        let entry = Entry {
            update: BookUpdate { bids: &[], asks: &[], ..*update },
            stream_kind: update.stream_kind(),
            start,
            at,
            bids,
            asks,
        };
        for known in self
            .entries
            .iter_mut()
            .filter(|known| known.is_some_and(|known| known.at < entry.end() && at < known.end()))
        {
            *known = None;
        }
        self.levels[at..at + bids].copy_from_slice(update.bids);
        self.levels[at + bids..entry.end()].copy_from_slice(update.asks);
        self.free = entry.end();
        self.entries[self.next] = Some(entry);
        self.next = (self.next + 1) % self.entries.len();
    }

    /// Nothing waits any more.
    #[cold]
    pub(super) fn forget(&mut self) {
        self.entries.fill(None);
    }

    /// Of what waits of this book and goes beyond `last`: the one that starts first. What does not go beyond is forgotten.
    #[cold]
    pub(super) fn first(&mut self, symbol: Symbol, stream_kind: StreamKind, last: u64) -> Option<Waiting> {
        let mut first: Option<Waiting> = None;
        for (index, slot) in self.entries.iter_mut().enumerate() {
            let Some(entry) = slot else { continue };
            if entry.update.meta.symbol != symbol || entry.stream_kind != stream_kind {
                continue;
            }
            let ids = (entry.start, entry.update.ids.last);
            if ids.1 <= last {
                *slot = None;
            } else if first.is_none_or(|first| ids < first.ids) {
                first = Some(Waiting { index, ids });
            }
        }
        first
    }

    /// Takes one out. Its levels stay in place until the next is kept.
    #[cold]
    pub(super) fn take(&mut self, waiting: Waiting) -> Option<BookUpdate<'_>> {
        let Entry { update, at, bids, asks, .. } = self.entries[waiting.index].take()?;
        let (bids, asks) = self.levels[at..at + bids + asks].split_at(bids);
        Some(BookUpdate { bids, asks, ..update })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{BookKind, Meta, Received, SequenceIds};

    fn level(n: usize) -> Level {
        Level { price: Price::from_mantissa(i64::try_from(n).unwrap()), qty: Qty::from_mantissa(7) }
    }

    fn symbol(index: usize) -> Symbol {
        Symbol::new(index).unwrap()
    }

    /// Keeps a batch of these ids and numbers of levels.
    fn keep(early: &mut Early, index: usize, (first, last): (u64, u64), (bids, asks): (usize, usize)) {
        let levels: Vec<Level> = (0..bids + asks).map(level).collect();
        let meta = Meta { symbol: symbol(index), received: Received::default(), event_time: None, matching_time: None };
        let ids = SequenceIds { first, last, previous: None, cross: None };
        let update = BookUpdate {
            meta,
            kind: BookKind::Delta,
            ids,
            depth: 0,
            state: None,
            bids: &levels[..bids],
            asks: &levels[bids..],
        };
        early.keep(&update, first);
    }

    fn ids(early: &mut Early, index: usize, last: u64) -> Option<(u64, u64)> {
        early.first(symbol(index), StreamKind::BOOK, last).map(|waiting| waiting.ids)
    }

    #[test]
    fn what_waits_of_a_book_comes_out_whole_in_its_order_and_what_the_book_has_passed_is_forgotten() {
        let mut early = Early::new();
        keep(&mut early, 1, (30, 40), (3, 2));
        keep(&mut early, 2, (1, 9), (1, 0));
        keep(&mut early, 1, (11, 20), (0, 4));
        keep(&mut early, 1, (15, 29), (2, 2));
        assert_eq!(ids(&mut early, 3, 0), None);
        assert_eq!(ids(&mut early, 1, 10), Some((11, 20)));
        assert_eq!(ids(&mut early, 1, 20), Some((15, 29)));
        let waiting = early.first(symbol(1), StreamKind::BOOK, 29).unwrap();
        let update = early.take(waiting).unwrap();
        let levels: Vec<Level> = (0..5).map(level).collect();
        assert_eq!((update.bids, update.asks), (&levels[..3], &levels[3..]));
        assert_eq!((update.ids.first, update.ids.last), (30, 40));
        assert_eq!(early.take(waiting), None, "twice");
        assert_eq!(ids(&mut early, 1, 0), None);
        assert_eq!(ids(&mut early, 2, 0), Some((1, 9)), "another book's are its own");
    }

    #[test]
    fn where_there_is_no_room_the_oldest_go_and_no_batch_has_the_levels_of_another() {
        let mut early = Early::new();
        for n in 0..3 * EARLY_BATCH_COUNT as u64 {
            // Lengths that meet neither ring's end evenly.
            keep(&mut early, 1, (n + 1, n + 1), (usize::try_from(n % 97).unwrap(), 13));
            let Some(waiting) = early.first(symbol(1), StreamKind::BOOK, 0) else { panic!("the newest is there") };
            assert!(waiting.ids.0 + EARLY_BATCH_COUNT as u64 > n, "at most so many");
            let newest = early.first(symbol(1), StreamKind::BOOK, n).unwrap();
            let update = early.take(newest).unwrap();
            assert_eq!(
                update.bids.iter().chain(update.asks).copied().collect::<Vec<_>>(),
                (0..update.bids.len() + 13).map(level).collect::<Vec<_>>()
            );
            keep(&mut early, 1, (n + 1, n + 1), (usize::try_from(n % 97).unwrap(), 13));
        }
        keep(&mut early, 2, (1, 1), (EARLY_LEVEL_COUNT, 1));
        assert_eq!(ids(&mut early, 2, 0), None, "longer than all the room");
        keep(&mut early, 2, (1, 1), (EARLY_LEVEL_COUNT, 0));
        assert_eq!(ids(&mut early, 2, 0), Some((1, 1)));
        assert_eq!(ids(&mut early, 1, 0), None, "it took the room of all");
    }
}
