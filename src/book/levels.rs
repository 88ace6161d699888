//! A price-aggregated book of two sides, and what a batch of changes did to it.

use super::ladder::Ladder;
use super::read::Known;
use crate::market::{Level, Price, Side};
use std::ops::{BitOr, BitOrAssign};

/// What a batch did to a book: a set of the facts below.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(transparent)]
pub struct Changes(u8);

impl Changes {
    /// Nothing that a reader could see.
    pub const NONE: Self = Self(0);
    /// The best bid has another price or quantity, came or went.
    pub const BEST_BID: Self = Self(1);
    /// The best ask has another price or quantity, came or went.
    pub const BEST_ASK: Self = Self(1 << 1);
    /// A level changed among the best bids, as many as the book was told to watch. Set where in doubt: after a replacement.
    pub const TOP_BIDS: Self = Self(1 << 2);
    /// A level changed among the best asks, as many as the book was told to watch. Set where in doubt: after a replacement.
    pub const TOP_ASKS: Self = Self(1 << 3);
    /// The market went up through the asks: the best bid is at or above what was the best ask before.
    pub const THROUGH_ASKS: Self = Self(1 << 4);
    /// The market went down through the bids: the best ask is at or below what was the best bid before.
    pub const THROUGH_BIDS: Self = Self(1 << 5);
    /// The best bid is at the price of the best ask now, or above it.
    pub const CROSSED: Self = Self(1 << 6);
    /// A level changed somewhere.
    pub const ANY: Self = Self(1 << 7);

    /// True if every fact of `other` is in this set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if a fact of `other` is in this set.
    #[inline]
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// True if the best of either side moved.
    #[inline]
    #[must_use]
    pub const fn is_best_moved(self) -> bool {
        self.intersects(Self(Self::BEST_BID.0 | Self::BEST_ASK.0))
    }

    /// True if a level among the watched best of either side changed.
    #[inline]
    #[must_use]
    pub const fn is_top_moved(self) -> bool {
        self.intersects(Self(Self::TOP_BIDS.0 | Self::TOP_ASKS.0))
    }

    /// With the facts of `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without the facts of `other`.
    #[inline]
    #[must_use]
    pub(super) const fn but(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// This fact if it holds, else nothing.
    #[inline]
    fn when(self, holds: bool) -> Self {
        if holds { self } else { Self::NONE }
    }
}

impl BitOr for Changes {
    type Output = Self;
    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Changes {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The level-2 book of one symbol: mantissas at the symbol's scales, absolute quantities.
///
/// Each side is known from its best to some price: all of it, or what a snapshot covered, or what the depth kept has left.
/// Levels beyond that are held as the venue names them (up to the depth kept), but no read relies on them: between two of
/// them there may be others.
#[derive(Clone, Debug)]
pub struct Book {
    bids: Ladder,
    asks: Ladder,
    top_levels: usize,
    /// By side: the key from which a change is one among the best. A level that is not among them comes to be only where one
    /// of those changes, so it holds until one does.
    top_from: [i64; 2],
}

impl Book {
    /// A book of which nothing is known, with room for this many levels a side. `top_levels`: how many of the best levels of
    /// a side [`Changes::TOP_BIDS`] and [`Changes::TOP_ASKS`] speak of. Allocates all it will ever use.
    ///
    /// A side that has more levels than are kept loses the worst, and what is known of it ends there until the next snapshot:
    /// keep what the venue sends, unless memory is short.
    #[must_use]
    pub fn new(depth_kept: usize, top_levels: usize) -> Self {
        Self::with_room(depth_kept, depth_kept / 4, top_levels)
    }

    /// [`Self::new`] for a channel that keeps each side at `window` levels: one message may name as many new ones before those
    /// that go.
    #[must_use]
    pub fn for_window(window: u16, depth_kept: usize, top_levels: usize) -> Self {
        Self::with_room(depth_kept, usize::from(window), top_levels)
    }

    fn with_room(depth_kept: usize, room: usize, top_levels: usize) -> Self {
        let ladder = |side| Ladder::new(side, depth_kept, room);
        Self { bids: ladder(Side::Buy), asks: ladder(Side::Sell), top_levels, top_from: [i64::MIN; 2] }
    }

    #[inline]
    pub(super) fn side(&self, side: Side) -> &Ladder {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    /// Bytes that it holds on the heap, used or not.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bids.bytes() + self.asks.bytes()
    }

    /// Sets the quantities at these prices, zero removes; in any order. `window`: the channel keeps each side at its best so
    /// many levels and does not name those that fall out behind them; 0 where it names every change.
    #[inline]
    pub fn apply(&mut self, bids: &[Level], asks: &[Level], window: u16) -> Changes {
        let before = self.touch();
        let [bids_from, asks_from] = self.top_from;
        let mut changes = apply_side(&mut self.bids, bids, bids_from, Changes::TOP_BIDS);
        changes |= apply_side(&mut self.asks, asks, asks_from, Changes::TOP_ASKS);
        for side in [&mut self.bids, &mut self.asks] {
            if window > 0 {
                side.cut_to_window(usize::from(window));
            }
            side.cut();
        }
        if changes.is_top_moved() {
            self.watch_top();
        }
        changes | self.compared(before)
    }

    /// Takes these levels instead of all that were there. `depth`: how many levels a side were asked for, or the channel has;
    /// a side that has as many may have others behind them, which are unknown. 0: the snapshot is whole.
    ///
    /// Levels come best first from every venue; any other order is understood, more slowly.
    pub fn replace(&mut self, bids: &[Level], asks: &[Level], depth: u16) -> Changes {
        let before = self.touch();
        let is_whole = |levels: &[Level]| depth == 0 || levels.len() < usize::from(depth);
        self.bids.replace(bids, is_whole(bids));
        self.asks.replace(asks, is_whole(asks));
        self.watch_top();
        Changes::ANY | Changes::TOP_BIDS | Changes::TOP_ASKS | self.compared(before)
    }

    /// What a reader of `before` finds different here, the two being books of one symbol at two of its ids. The best and the
    /// watched levels are compared; that some level is another is taken for granted.
    #[must_use]
    pub fn differences(&self, before: &Self) -> Changes {
        let count = self.top_levels;
        let is_other = |side| !self.side(side).iter().take(count).eq(before.side(side).iter().take(count));
        Changes::ANY
            | Changes::TOP_BIDS.when(is_other(Side::Buy))
            | Changes::TOP_ASKS.when(is_other(Side::Sell))
            | self.compared(before.touch())
    }

    /// Forgets everything: nothing is known.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
        self.watch_top();
    }

    /// Finds anew from where on a change is one among the best.
    #[inline]
    fn watch_top(&mut self) {
        self.top_from = match self.top_levels.checked_sub(1) {
            Some(last) => [self.bids.key_at_rank(last), self.asks.key_at_rank(last)],
            None => [i64::MAX; 2],
        };
    }

    #[inline]
    fn touch(&self) -> [Option<Level>; 2] {
        [self.bids.best_held(), self.asks.best_held()]
    }

    /// What is different at the touch.
    #[inline]
    fn compared(&self, [bid_before, ask_before]: [Option<Level>; 2]) -> Changes {
        let [bid, ask] = self.touch();
        let price = |level: Option<Level>| level.map(|level| level.price);
        let reaches = |bid: Option<Price>, ask: Option<Price>| bid.zip(ask).is_some_and(|(bid, ask)| bid >= ask);
        Changes::BEST_BID.when(bid != bid_before)
            | Changes::BEST_ASK.when(ask != ask_before)
            | Changes::THROUGH_ASKS.when(reaches(price(bid), price(ask_before)))
            | Changes::THROUGH_BIDS.when(reaches(price(bid_before), price(ask)))
            | Changes::CROSSED.when(reaches(price(bid), price(ask)))
    }

    /// True if the best of both sides can be told, though it may be that there is none.
    #[inline]
    pub(super) fn is_touch_known(&self) -> bool {
        self.best(Side::Buy) != Known::Unknown && self.best(Side::Sell) != Known::Unknown
    }

    /// Levels held a side (bids, asks), those beyond the known range among them.
    #[must_use]
    pub fn level_counts(&self) -> (usize, usize) {
        (self.bids.len(), self.asks.len())
    }
}

#[inline]
fn apply_side(ladder: &mut Ladder, levels: &[Level], top_from: i64, top: Changes) -> Changes {
    let mut changes = Changes::NONE;
    for &level in levels {
        if let Some(key) = ladder.set(level) {
            changes |= Changes::ANY | top.when(key >= top_from);
        }
    }
    changes
}
