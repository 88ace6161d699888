//! Events of one message, in the order in which they came.
//!
//! ```text
//! next() ──► the place behind those there are, to build in        keep() ──► what was built there is one of them
//! ```
//! An event of hundreds of bytes that is built elsewhere is copied for nothing. Allocates in `new` alone.

use crate::market::touch;
use std::hint::cold_path;

/// The events.
///
/// Invariant: the first `count` places have one each.
#[derive(Debug)]
pub(super) struct Row<E> {
    places: Box<[Option<E>]>,
    count: usize,
}

impl<E> Row<E> {
    /// Room for so many.
    pub(super) fn new(count_max: usize) -> Self {
        let mut places = touch::vec(count_max);
        places.resize_with(count_max, || None);
        Self { places: places.into_boxed_slice(), count: 0 }
    }

    /// No event yet.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Where the next one is to be built, with whatever is there; `None` where there is no room for it.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<&mut Option<E>> {
        self.places.get_mut(self.count)
    }

    /// What was built in the next place is one of them: asked only behind that, for the place may have an earlier message's.
    #[inline(always)]
    pub(super) fn keep(&mut self) {
        self.count += usize::from(matches!(self.places.get(self.count), Some(Some(_))));
    }

    /// The last one.
    #[inline(always)]
    pub(super) fn last_mut(&mut self) -> Option<&mut E> {
        self.places.get_mut(self.count.checked_sub(1)?)?.as_mut()
    }

    /// All of them.
    #[inline(always)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &E> {
        self.places.iter().take(self.count).flatten()
    }

    /// Changes all of them. Mostly there is one.
    #[inline(always)]
    pub(super) fn change(&mut self, mut change: impl FnMut(&mut E)) {
        let Some((first, others)) = self.places.get_mut(..self.count).and_then(<[_]>::split_first_mut) else { return };
        first.iter_mut().for_each(&mut change);
        if !others.is_empty() {
            cold_path();
            others.iter_mut().flatten().for_each(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_and_not_kept_is_none_of_them_and_there_is_room_for_so_many() {
        let mut row = Row::new(2);
        for _ in 0..2 {
            row.clear();
            assert_eq!(row.last_mut(), None);
            assert_eq!(row.iter().count(), 0);
            *row.next().unwrap() = Some(5);
            assert_eq!(row.iter().count(), 0, "not kept");
            row.keep();
            *row.next().unwrap() = Some(6);
            *row.next().unwrap() = Some(7);
            row.keep();
            assert_eq!(row.next(), None);
            assert_eq!(row.last_mut(), Some(&mut 7));
            row.keep();
            row.change(|event| *event += 1);
            assert_eq!(row.iter().copied().collect::<Vec<_>>(), [6, 8]);
        }
    }

    #[test]
    fn a_place_in_which_nothing_was_built_is_not_kept() {
        let mut row = Row::<u8>::new(2);
        row.keep();
        assert_eq!(row.iter().count(), 0);
    }
}
