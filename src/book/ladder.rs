//! One side of a book: its levels in one array, the best at the end, so that a change near the touch moves few of them.
//!
//! ```text
//! |  free  | worst ........................... best |  free  |
//! 0      start                                     end    capacity
//!              ▲ known_from: from here to the best nothing is missing
//! ```
//! A level is found by its key, which rises towards the best on both sides: the price of a bid, the complement of an ask's.
//! Both ends are free, so that the worst is dropped and the best is added without moving any other.

use crate::market::{Level, Price, Qty, Side};

/// What a change did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// Nothing: the level is as it was, or was not there, or lies beyond the depth kept.
    None,
    /// The level at this distance from the best (0: the best itself) came, went or has another quantity.
    At(usize),
}

/// A level by its key.
#[derive(Clone, Copy, Debug, Default)]
struct Keyed {
    key: i64,
    qty: i64,
}

/// Levels from the best that are searched first.
const STEP_MIN: usize = 16;

/// Free places of a side, at least.
const ROOM_MIN: usize = 64;

/// `known_from` of a side of which nothing is known.
const NOTHING_KNOWN: i64 = i64::MAX;
/// `known_from` of a side that is known to its end.
const ALL_KNOWN: i64 = i64::MIN;

/// Invariant: `start <= end <= levels.len()`; keys in `start..end` rise strictly, their quantities are above zero. After a batch
/// there are at most `depth_kept` of them; within it there may be more, because venues name what comes before what goes.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    levels: Box<[Keyed]>,
    start: usize,
    end: usize,
    depth_kept: usize,
    known_from: i64,
    /// A level was dropped within this batch because there was no room: what the venue says of its window holds no more.
    has_dropped: bool,
    /// All bits set on the asks' side: a price is turned into its key, and back, by one exclusive or.
    mask: i64,
}

impl Ladder {
    /// A side of which nothing is known, that keeps `depth_kept` levels from batch to batch and has room for `room` more within
    /// one, or for levels to move in.
    pub(super) fn new(side: Side, depth_kept: usize, room: usize) -> Self {
        let depth_kept = depth_kept.max(1);
        let capacity = depth_kept + room.max(ROOM_MIN);
        let mask = match side {
            Side::Buy => 0,
            Side::Sell => -1,
        };
        let levels = vec![Keyed::default(); capacity].into_boxed_slice();
        Self { levels, start: 0, end: 0, depth_kept, known_from: NOTHING_KNOWN, has_dropped: false, mask }
    }

    /// Levels held, those beyond the known range among them.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Bytes of the levels' array.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.levels)
    }

    #[inline]
    fn held(&self) -> &[Keyed] {
        &self.levels[self.start..self.end]
    }

    #[inline]
    fn level(&self, keyed: Keyed) -> Level {
        Level { price: Price::from_mantissa(keyed.key ^ self.mask), qty: Qty::from_mantissa(keyed.qty) }
    }

    #[inline]
    fn key(&self, price: Price) -> i64 {
        price.mantissa() ^ self.mask
    }

    /// The best level held, whether it is known to be the best or not.
    #[inline]
    pub(super) fn best_held(&self) -> Option<Level> {
        self.held().last().map(|&keyed| self.level(keyed))
    }

    /// True if nothing is missing from the best to this price, itself included.
    #[inline]
    pub(super) fn is_known(&self, price: Price) -> bool {
        self.known_from != NOTHING_KNOWN && self.key(price) >= self.known_from
    }

    /// True if nothing is missing at all: behind the worst level there is none.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.known_from == ALL_KNOWN
    }

    /// The last price from the best that is known; `None` where nothing is, or all.
    pub(super) fn known_to(&self) -> Option<Price> {
        let is_price = self.known_from != NOTHING_KNOWN && self.known_from != ALL_KNOWN;
        is_price.then(|| Price::from_mantissa(self.known_from ^ self.mask))
    }

    /// The levels held, best first; those beyond the known range come last.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = Level> + '_ {
        self.held().iter().rev().map(|&keyed| self.level(keyed))
    }

    /// The level at this price.
    pub(super) fn find(&self, price: Price) -> Option<Level> {
        let key = self.key(price);
        let held = self.held();
        let at = held.partition_point(|level| level.key < key);
        held.get(at).filter(|level| level.key == key).map(|&keyed| self.level(keyed))
    }

    /// Forgets everything: nothing is known.
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
        self.known_from = NOTHING_KNOWN;
    }

    /// Takes a whole side instead of what was there. `is_whole`: the venue says that there are no other levels; otherwise
    /// what lies beyond the worst of them is unknown. The venues send the best first; any order is understood.
    pub(super) fn replace(&mut self, levels: &[Level], is_whole: bool) {
        self.clear();
        self.known_from = ALL_KNOWN;
        if !self.place(levels) {
            self.clear();
            self.known_from = ALL_KNOWN;
            levels.iter().for_each(|&level| _ = self.set(level));
            self.cut();
        }
        // Where levels were cut, what is known ends before them already.
        if !is_whole && self.is_whole() {
            self.known_to_the_worst();
        }
    }

    /// Beyond the worst level held nothing is known. Of a side without levels nothing is.
    fn known_to_the_worst(&mut self) {
        self.known_from = self.held().first().map_or(NOTHING_KNOWN, |worst| worst.key);
    }

    /// Writes levels that come best first without a repetition; false, with the side in disorder, if they do not.
    fn place(&mut self, levels: &[Level]) -> bool {
        let kept = levels.len().min(self.depth_kept);
        // In the middle of the room: levels will come at both ends.
        self.start = (self.levels.len() - kept) / 2;
        self.end = self.start + kept;
        let mut better = None;
        for (place, level) in self.levels[self.start..self.end].iter_mut().rev().zip(levels) {
            let key = level.price.mantissa() ^ self.mask;
            if level.qty <= Qty::ZERO || better.is_some_and(|better| key >= better) {
                return false;
            }
            *place = Keyed { key, qty: level.qty.mantissa() };
            better = Some(key);
        }
        if let Some(cut) = levels.get(kept) {
            // What follows is behind the best only if it is in order too.
            if better.is_some_and(|better| self.key(cut.price) >= better) {
                return false;
            }
            self.known_from = self.key(cut.price) + 1;
        }
        true
    }

    /// Ends a batch: no more levels than are kept. Where the worst go, what is known ends before them.
    #[inline]
    pub(super) fn cut(&mut self) {
        if self.len() > self.depth_kept {
            self.start = self.end - self.depth_kept;
            let dropped = self.levels[self.start - 1].key;
            self.cut_at(dropped);
        }
        self.has_dropped = false;
    }

    /// Ends a batch of a channel that keeps a side at its best `depth` levels: the venue does not say which levels fall out
    /// behind. While it has as many, they are all there are from the best to the worst of them.
    #[inline]
    pub(super) fn cut_to_window(&mut self, depth: usize) {
        if self.len() >= depth {
            self.start = self.end - depth;
            let known_from = self.known_from;
            self.known_to_the_worst();
            if self.has_dropped {
                self.known_from = self.known_from.max(known_from);
            }
        }
    }

    /// Sets the quantity at a price; zero removes it.
    #[inline]
    pub(super) fn set(&mut self, level: Level) -> Effect {
        let (key, qty) = (self.key(level.price), level.qty.mantissa());
        let at = self.position(key);
        let rank = self.end - at;
        match self.levels[at..self.end].first_mut() {
            Some(found) if found.key == key => {
                if qty <= 0 {
                    self.remove(at);
                    return Effect::At(rank - 1);
                }
                if found.qty == qty {
                    return Effect::None;
                }
                found.qty = qty;
                Effect::At(rank - 1)
            }
            _ if qty <= 0 => Effect::None,
            _ => self.insert(at, Keyed { key, qty }, rank),
        }
    }

    /// Where this key is, or belongs. Most changes are near the best: steps from there, each four times the one before,
    /// until they are past it.
    #[inline]
    fn position(&self, key: i64) -> usize {
        let held = self.held();
        let (mut low, mut high) = (0, held.len());
        let mut step = STEP_MIN;
        while step < held.len() {
            let at = held.len() - step;
            if held[at].key < key {
                low = at + 1;
                break;
            }
            high = at;
            step *= 4;
        }
        self.start + low + held[low..high].partition_point(|level| level.key < key)
    }

    /// Removes a level, moving whichever of its sides is the shorter.
    #[inline]
    fn remove(&mut self, at: usize) {
        if self.end - at <= at - self.start {
            self.levels.copy_within(at + 1..self.end, at);
            self.end -= 1;
        } else {
            self.levels.copy_within(self.start..at, self.start + 1);
            self.start += 1;
        }
    }

    #[inline]
    fn insert(&mut self, mut at: usize, level: Keyed, rank: usize) -> Effect {
        if self.len() == self.levels.len() {
            // No room for one more: the worst is dropped, which may be this one.
            self.has_dropped = true;
            if at == self.start {
                self.cut_at(level.key);
                return Effect::None;
            }
            let dropped = self.levels[self.start].key;
            self.start += 1;
            self.cut_at(dropped);
        }
        let (before, behind) = (at - self.start, self.end - at);
        if (behind <= before || self.start == 0) && self.end == self.levels.len() {
            at -= self.make_room();
        }
        if behind <= before || self.start == 0 {
            self.levels.copy_within(at..self.end, at + 1);
            self.end += 1;
        } else {
            self.levels.copy_within(self.start..at, self.start - 1);
            self.start -= 1;
            at -= 1;
        }
        self.levels[at] = level;
        Effect::At(rank)
    }

    /// There is a level with this key that is not held: what is known ends before it.
    #[inline]
    fn cut_at(&mut self, key: i64) {
        if key >= self.known_from {
            self.known_from = key + 1;
        }
    }

    /// Moves all levels to the beginning; how far they moved. Seldom: there is room for many more at the end then.
    #[cold]
    fn make_room(&mut self) -> usize {
        let moved = self.start;
        self.levels.copy_within(self.start..self.end, 0);
        self.end -= moved;
        self.start = 0;
        moved
    }
}
