//! The levels of a side that lie far from its best: one array in order, the best of them at the end.
//!
//! ```text
//! |  free  | worst ............. best |  free  |
//! 0      start                       end    capacity
//! ```
//! Both ends are free, so that the worst is dropped and the best is added without moving any other. Knows keys only.

use crate::market::touch;

/// A level by its key, which rises towards the best on both sides of a book.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Keyed {
    pub(super) key: i64,
    pub(super) qty: i64,
}

/// Levels from the best that are searched first.
const STEP_MIN: usize = 16;

/// Free places beyond the levels there may be, so that they are seldom moved to make room at one end.
const ROOM: usize = 64;

/// Invariant: `start <= end <= levels.len()`; keys in `start..end` rise strictly, their quantities are above zero.
#[derive(Clone, Debug)]
pub(super) struct Sorted {
    levels: Box<[Keyed]>,
    start: usize,
    end: usize,
}

impl Sorted {
    /// Room for so many levels.
    pub(super) fn new(level_count_max: usize) -> Self {
        Self { levels: touch::filled(Keyed::default(), level_count_max + ROOM), start: 0, end: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.levels)
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Keyed] {
        &self.levels[self.start..self.end]
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Takes these levels, worst first, instead of what was there; gives the room they are to be written to.
    pub(super) fn refilled(&mut self, count: usize) -> &mut [Keyed] {
        // In the middle: levels will come at both ends.
        self.start = (self.levels.len() - count) / 2;
        self.end = self.start + count;
        &mut self.levels[self.start..self.end]
    }

    pub(super) fn find(&self, key: i64) -> Option<Keyed> {
        let held = self.as_slice();
        held.get(held.partition_point(|level| level.key < key)).copied().filter(|level| level.key == key)
    }

    /// Drops so many of the worst; gives the best of those.
    pub(super) fn drop_worst(&mut self, count: usize) -> Keyed {
        self.start += count;
        self.levels[self.start - 1]
    }

    /// Adds one that is better than all.
    pub(super) fn push_best(&mut self, level: Keyed) {
        debug_assert!(self.as_slice().last().is_none_or(|best| best.key < level.key));
        if self.end == self.levels.len() {
            self.make_room();
        }
        self.levels[self.end] = level;
        self.end += 1;
    }

    pub(super) fn pop_best(&mut self) {
        self.end -= 1;
    }

    /// Sets the quantity at a key, zero removes; true if anything changed.
    pub(super) fn set(&mut self, level: Keyed) -> bool {
        let at = self.position(level.key);
        match self.levels[at..self.end].first_mut() {
            Some(found) if found.key == level.key => {
                if level.qty > 0 {
                    let is_other = found.qty != level.qty;
                    found.qty = level.qty;
                    return is_other;
                }
                self.remove(at);
                true
            }
            _ if level.qty <= 0 => false,
            _ => {
                self.insert(at, level);
                true
            }
        }
    }

    /// Where this key is, or belongs. Most changes are near the best: steps from there, each four times the one before,
    /// until they are past it.
    #[inline]
    fn position(&self, key: i64) -> usize {
        let held = self.as_slice();
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
    fn insert(&mut self, mut at: usize, level: Keyed) {
        let moves_better = self.end - at <= at - self.start || self.start == 0;
        if moves_better {
            if self.end == self.levels.len() {
                at -= self.make_room();
            }
            self.levels.copy_within(at..self.end, at + 1);
            self.end += 1;
        } else {
            self.levels.copy_within(self.start..at, self.start - 1);
            self.start -= 1;
            at -= 1;
        }
        self.levels[at] = level;
    }

    /// Moves all levels to the beginning; how far they moved. There are fewer of them than places.
    #[cold]
    fn make_room(&mut self) -> usize {
        let moved = self.start;
        debug_assert!(moved > 0);
        self.levels.copy_within(self.start..self.end, 0);
        self.end -= moved;
        self.start = 0;
        moved
    }
}
