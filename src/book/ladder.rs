//! One side of a book. Levels near the best lie in a window that is indexed by price, so that a change is one store; those
//! far from it lie in order in an array.
//!
//! ```text
//!  key:   worse ────────────────────────────────────────────────────────► better
//!         Sorted  | a | b | c |   Window  | 0 | qty | 0 | 0 | qty | 0 | ... |
//!                                        base       (4,096 ticks)       base + 4,096
//!                       bits     0    1   0   0    1   0        a word for 64 ticks, and one bit for each word
//!           ▲ known_from: from here to the best nothing is missing
//! ```
//! A level is found by its key, which rises towards the best on both sides: the price of a bid, the complement of an ask's.
//! No level is beyond the window: it moves with the best, by whole words, when that comes near one of its ends.

use super::sorted::{Keyed, Sorted};
use crate::market::{Level, Price, Qty, Side, touch};

/// Prices of a window, in the symbol's smallest steps.
const WINDOW_TICKS: usize = 64 * 64;
const WORDS: usize = WINDOW_TICKS / 64;

/// Where the best is put when the window moves: most changes are behind it, a quarter of the room is for prices to come.
const BEST_PLACE: usize = WINDOW_TICKS * 3 / 4;
/// Below this place the best has gone so far that the window follows.
const BEST_PLACE_MIN: usize = WINDOW_TICKS / 4;

/// `known_from` of a side of which nothing is known.
const NOTHING_KNOWN: i64 = i64::MAX;
/// `known_from` of a side that is known to its end.
const ALL_KNOWN: i64 = i64::MIN;

/// Quantities by tick from `base` on. Invariant: a bit is set where, and only where, a quantity is above zero, and a bit of
/// `words` where a word of `bits` is not zero; `count` is how many there are.
#[derive(Clone, Debug)]
struct Window {
    base: i64,
    qty: Box<[i64; WINDOW_TICKS]>,
    bits: [u64; WORDS],
    words: u64,
    count: usize,
}

impl Window {
    fn new() -> Self {
        let qty = touch::filled(0, WINDOW_TICKS).try_into().expect("as long as it was made");
        Self { base: 0, qty, bits: [0; WORDS], words: 0, count: 0 }
    }

    /// The place of a key, if it is in the window.
    #[inline]
    fn place(&self, key: i64) -> Option<usize> {
        // The window ends at `i64::MAX` at the latest, so a key below it wraps to a distance that is too large.
        let distance = key.wrapping_sub(self.base).cast_unsigned();
        usize::try_from(distance).ok().filter(|&place| place < WINDOW_TICKS)
    }

    #[inline]
    fn at(&self, place: usize) -> Keyed {
        #[expect(clippy::cast_possible_wrap, reason = "below 4,096")]
        let key = self.base + place as i64;
        Keyed { key, qty: self.qty[place % WINDOW_TICKS] }
    }

    /// Sets a quantity, zero removes; true if anything changed. Whether a level comes, changes or goes cannot be foreseen, so
    /// nothing here branches on it.
    #[inline]
    fn set(&mut self, place: usize, qty: i64) -> bool {
        let (place, qty) = (place % WINDOW_TICKS, qty.max(0));
        let before = std::mem::replace(&mut self.qty[place], qty);
        let (word, bit) = (place / 64, place % 64);
        let is_there = u64::from(qty != 0);
        let bits = self.bits[word] & !(1 << bit) | is_there << bit;
        self.bits[word] = bits;
        self.words = self.words & !(1 << word) | u64::from(bits != 0) << word;
        self.count = self.count + usize::from(qty != 0) - usize::from(before != 0);
        before != qty
    }

    /// The place of the best.
    #[inline]
    fn best(&self) -> Option<usize> {
        let word = self.words.checked_ilog2()? as usize;
        Some(word * 64 + (self.bits[word % WORDS].checked_ilog2()? as usize))
    }

    /// The place of the worst.
    #[inline]
    fn worst(&self) -> Option<usize> {
        let word = (self.words != 0).then(|| self.words.trailing_zeros() as usize)?;
        Some(word * 64 + self.bits[word % WORDS].trailing_zeros() as usize)
    }

    /// The key of the level with so many better ones.
    #[inline]
    fn key_at_rank(&self, mut rank: usize) -> Option<i64> {
        let mut words = self.words;
        loop {
            let word = words.checked_ilog2()? as usize;
            let mut bits = self.bits[word % WORDS];
            let count = bits.count_ones() as usize;
            if rank < count {
                for _ in 0..rank {
                    bits &= !(1 << bits.ilog2());
                }
                return Some(self.at(word * 64 + bits.ilog2() as usize).key);
            }
            rank -= count;
            words &= !(1 << word);
        }
    }

    /// The levels, best first.
    fn iter(&self) -> Descending<'_> {
        Descending { window: self, words: self.words, bits: 0, word: 0, left: self.count }
    }

    fn clear(&mut self) {
        self.qty.fill(0);
        self.bits.fill(0);
        (self.words, self.count) = (0, 0);
    }

    /// Begins at another key; what was at a place is so many words further now. What leaves the window must have left before.
    fn shift(&mut self, base: i64, words: usize, is_up: bool) {
        let ticks = words * 64;
        if is_up {
            self.qty.copy_within(ticks.., 0);
            self.qty[WINDOW_TICKS - ticks..].fill(0);
            self.bits.copy_within(words.., 0);
            self.bits[WORDS - words..].fill(0);
            self.words = self.words.checked_shr(u32::try_from(words).unwrap_or(u32::MAX)).unwrap_or(0);
        } else {
            self.qty.copy_within(..WINDOW_TICKS - ticks, ticks);
            self.qty[..ticks].fill(0);
            self.bits.copy_within(..WORDS - words, words);
            self.bits[..words].fill(0);
            self.words = self.words.checked_shl(u32::try_from(words).unwrap_or(u32::MAX)).unwrap_or(0);
        }
        self.base = base;
    }
}

/// The levels of a window, best first.
struct Descending<'a> {
    window: &'a Window,
    words: u64,
    bits: u64,
    word: usize,
    left: usize,
}

impl Iterator for Descending<'_> {
    type Item = Keyed;

    #[inline]
    fn next(&mut self) -> Option<Keyed> {
        if self.bits == 0 {
            self.word = self.words.checked_ilog2()? as usize;
            self.words &= !(1 << self.word);
            self.bits = self.window.bits[self.word % WORDS];
        }
        let bit = self.bits.checked_ilog2()? as usize;
        self.bits &= !(1 << bit);
        self.left -= 1;
        Some(self.window.at(self.word * 64 + bit))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Invariant: every key of `far` is below the window's first, none is beyond its last. After a batch there are at most
/// `depth_kept` levels; within it there may be more, because venues name what comes before what goes.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    window: Window,
    far: Sorted,
    depth_kept: usize,
    /// Levels there may be within a batch.
    level_count_max: usize,
    known_from: i64,
    /// The best as the last batch left it: what is read most is found once.
    best: Option<Keyed>,
    /// A level was dropped within this batch because there was no room: what the venue says of its window holds no more.
    has_dropped: bool,
    /// All bits set on the asks' side: a price is turned into its key, and back, by one exclusive or.
    mask: i64,
}

impl Ladder {
    /// A side of which nothing is known, that keeps `depth_kept` levels from batch to batch and has room for `room` more within
    /// one.
    pub(super) fn new(side: Side, depth_kept: usize, room: usize) -> Self {
        let depth_kept = depth_kept.max(1);
        let level_count_max = depth_kept + room.max(64);
        let mask = match side {
            Side::Buy => 0,
            Side::Sell => -1,
        };
        Self {
            window: Window::new(),
            far: Sorted::new(level_count_max + 1),
            depth_kept,
            level_count_max,
            known_from: NOTHING_KNOWN,
            best: None,
            has_dropped: false,
            mask,
        }
    }

    /// Levels held, those beyond the known range among them.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.window.count + self.far.len()
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.window.qty) + self.far.bytes()
    }

    #[inline]
    fn level(&self, keyed: Keyed) -> Level {
        Level { price: Price::from_mantissa(keyed.key ^ self.mask), qty: Qty::from_mantissa(keyed.qty) }
    }

    #[inline]
    fn key(&self, price: Price) -> i64 {
        price.mantissa() ^ self.mask
    }

    /// The best level held, whether it is known to be the best or not. Of a batch that has not ended: as it was before.
    #[inline]
    pub(super) fn best_held(&self) -> Option<Level> {
        self.best.map(|keyed| self.level(keyed))
    }

    #[inline]
    fn find_best(&self) -> Option<Keyed> {
        let near = self.window.best().map(|place| self.window.at(place));
        near.or_else(|| self.far.as_slice().last().copied())
    }

    fn worst_held(&self) -> Option<Keyed> {
        let near = || self.window.worst().map(|place| self.window.at(place));
        self.far.as_slice().first().copied().or_else(near)
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
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = Level> + '_ {
        self.window.iter().chain(self.far.as_slice().iter().rev().copied()).map(|keyed| self.level(keyed))
    }

    /// Writes the best levels, as far as they are known and there is room; how many.
    #[inline]
    pub(super) fn copy_known(&self, out: &mut [Level]) -> usize {
        let mut places = out.iter_mut();
        let mut write = |keyed: Keyed| match places.next() {
            Some(place) if keyed.key >= self.known_from => {
                *place = self.level(keyed);
                true
            }
            _ => false,
        };
        let mut count = 0;
        let mut words = self.window.words;
        while let Some(word) = words.checked_ilog2().map(|word| word as usize) {
            words &= !(1 << word);
            let mut bits = self.window.bits[word % WORDS];
            while bits != 0 {
                let bit = bits.ilog2() as usize;
                bits &= !(1 << bit);
                if !write(self.window.at(word * 64 + bit)) {
                    return count;
                }
                count += 1;
            }
        }
        count + self.far.as_slice().iter().rev().take_while(|&&keyed| write(keyed)).count()
    }

    /// The level at this price.
    pub(super) fn find(&self, price: Price) -> Option<Level> {
        let key = self.key(price);
        let keyed = match self.window.place(key) {
            Some(place) => Some(self.window.at(place)).filter(|level| level.qty > 0),
            None => self.far.find(key),
        };
        keyed.map(|keyed| self.level(keyed))
    }

    /// Forgets everything: nothing is known.
    pub(super) fn clear(&mut self) {
        self.window.clear();
        self.far.clear();
        self.best = None;
        self.known_from = NOTHING_KNOWN;
        self.has_dropped = false;
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
        }
        self.cut();
        // Where levels were cut, what is known ends before them already.
        if !is_whole && self.is_whole() {
            self.known_to_the_worst();
        }
    }

    /// Beyond the worst level held nothing is known. Of a side without levels nothing is.
    fn known_to_the_worst(&mut self) {
        self.known_from = self.worst_held().map_or(NOTHING_KNOWN, |worst| worst.key);
    }

    /// Writes levels that come best first without a repetition; false, with the side in disorder, if they do not.
    fn place(&mut self, levels: &[Level]) -> bool {
        let Some(best) = levels.first() else { return true };
        let is_in_order = levels.iter().all(|level| level.qty > Qty::ZERO)
            && levels.windows(2).all(|pair| self.key(pair[0].price) > self.key(pair[1].price));
        if !is_in_order {
            return false;
        }
        let kept = &levels[..levels.len().min(self.depth_kept)];
        self.window.base = base_for(self.key(best.price));
        let near_count = kept.iter().take_while(|level| self.window.place(self.key(level.price)).is_some()).count();
        let (near, far) = kept.split_at(near_count);
        for level in near {
            let place = self.window.place(self.key(level.price)).unwrap_or(0);
            self.window.set(place, level.qty.mantissa());
        }
        let mask = self.mask;
        for (place, level) in self.far.refilled(far.len()).iter_mut().rev().zip(far) {
            *place = Keyed { key: level.price.mantissa() ^ mask, qty: level.qty.mantissa() };
        }
        if let Some(cut) = levels.get(kept.len()) {
            self.known_from = self.key(cut.price) + 1;
        }
        true
    }

    /// Sets the quantity at a price; zero removes it. The level's key if anything changed.
    #[inline]
    pub(super) fn set(&mut self, level: Level) -> Option<i64> {
        let (key, qty) = (self.key(level.price), level.qty.mantissa());
        let is_changed = match self.window.place(key) {
            Some(place) => self.window.set(place, qty),
            None => self.set_outside(Keyed { key, qty }),
        };
        if self.len() > self.level_count_max {
            self.drop_for_room();
        }
        is_changed.then_some(key)
    }

    /// Sets a quantity before the window, or beyond it: then it moves there.
    #[inline(never)]
    fn set_outside(&mut self, level: Keyed) -> bool {
        if level.key < self.window.base {
            return self.far.set(level);
        }
        if level.qty <= 0 {
            return false;
        }
        self.move_window(level.key);
        let place = self.window.place(level.key).unwrap_or(0);
        self.window.set(place, level.qty)
    }

    /// The key of the level that has so many better ones; a change at that key or above is one among the best. Where there
    /// are not so many, every change is.
    #[inline]
    pub(super) fn key_at_rank(&self, rank: usize) -> i64 {
        let far = || self.far.as_slice().iter().rev().nth(rank.wrapping_sub(self.window.count)).map(|level| level.key);
        self.window.key_at_rank(rank).or_else(far).unwrap_or(i64::MIN)
    }

    /// There was no room for one more level within a batch: the worst is dropped.
    #[cold]
    fn drop_for_room(&mut self) {
        self.has_dropped = true;
        if let Some(dropped) = self.drop_worst(1) {
            self.cut_at(dropped);
        }
    }

    /// Drops so many of the worst; the key of the best of them.
    fn drop_worst(&mut self, count: usize) -> Option<i64> {
        let far_count = count.min(self.far.len());
        let mut dropped = (far_count > 0).then(|| self.far.drop_worst(far_count).key);
        for _ in far_count..count {
            let place = self.window.worst()?;
            dropped = Some(self.window.at(place).key);
            self.window.set(place, 0);
        }
        dropped
    }

    /// There is a level with this key that is not held: what is known ends before it.
    #[inline]
    fn cut_at(&mut self, key: i64) {
        if key >= self.known_from {
            self.known_from = key + 1;
        }
    }

    /// Ends a batch: no more levels than are kept, and the window where the best is. Where the worst go, what is known ends
    /// before them.
    #[inline]
    pub(super) fn cut(&mut self) {
        if self.len() > self.depth_kept
            && let Some(dropped) = self.drop_worst(self.len() - self.depth_kept)
        {
            self.cut_at(dropped);
        }
        self.has_dropped = false;
        if self.far.len() > 0 && self.window.best().is_none_or(|place| place < BEST_PLACE_MIN) {
            self.follow_best();
        }
        self.best = self.find_best();
    }

    /// Ends a batch of a channel that keeps a side at its best `depth` levels: the venue does not say which levels fall out
    /// behind. While it has as many, they are all there are from the best to the worst of them.
    #[inline]
    pub(super) fn cut_to_window(&mut self, depth: usize) {
        if self.len() >= depth {
            self.drop_worst(self.len() - depth);
            let known_from = self.known_from;
            self.known_to_the_worst();
            if self.has_dropped {
                self.known_from = self.known_from.max(known_from);
            }
        }
    }

    /// The best has gone down to where the window ends, or below.
    #[cold]
    fn follow_best(&mut self) {
        if let Some(best) = self.find_best() {
            self.move_window(best.key);
        }
    }

    /// Moves the window so that the best, at this key, has its place in it. Levels pass from it to those in order, or back.
    #[cold]
    fn move_window(&mut self, best: i64) {
        let (from, to) = (i128::from(self.window.base), i128::from(base_for(best)));
        let words = (to - from).unsigned_abs() / 64;
        match usize::try_from(words).ok().filter(|&words| words < WORDS) {
            Some(words) => {
                #[expect(clippy::cast_possible_wrap, reason = "below 4,096")]
                let ticks = (words * 64) as i64;
                let is_up = to > from;
                if is_up {
                    self.leave_below(self.window.base + ticks);
                }
                let base = if is_up { self.window.base + ticks } else { self.window.base - ticks };
                self.window.shift(base, words, is_up);
            }
            None => {
                self.leave_below(i64::MAX);
                self.window.base = base_for(best);
            }
        }
        while let Some(&level) = self.far.as_slice().last()
            && let Some(place) = self.window.place(level.key)
        {
            self.far.pop_best();
            self.window.set(place, level.qty);
        }
    }

    /// Levels of the window below this key go to those in order.
    fn leave_below(&mut self, key: i64) {
        while let Some(place) = self.window.worst() {
            let level = self.window.at(place);
            if level.key >= key {
                break;
            }
            self.window.set(place, 0);
            self.far.push_best(level);
        }
    }
}

/// Where a window begins whose best is this: always whole words from where any other begins.
fn base_for(best: i64) -> i64 {
    #[expect(clippy::cast_possible_wrap, reason = "small")]
    const BELOW: i64 = BEST_PLACE as i64;
    #[expect(clippy::cast_possible_wrap, reason = "small")]
    const BASE_MAX: i64 = i64::MAX - (WINDOW_TICKS as i64 - 1);
    const _: () = assert!(BASE_MAX & 63 == 0, "the last window begins with a whole word too");
    best.saturating_sub(BELOW).min(BASE_MAX) & !63
}
