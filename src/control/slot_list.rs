//! Lists of slots that share one table of links. Owned by the subscription store, whose batches they are.
//!
//! ```text
//! next   [ 3 | . | 4 | 2 | . | .. ]        list 0 ► 3 ► 2 ► 4, list 1
//! ```
//! A slot is in one list at most, so a table with one link a slot holds every list there can be: forming, halving and
//! dropping a list allocates nothing.

use super::SlotId;

/// No slot.
const END: u32 = u32::MAX;

/// One list; empty where `len` is 0. Copied freely: the links are the [`Links`]'s.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotList {
    head: u32,
    tail: u32,
    len: usize,
}

impl SlotList {
    pub(super) const EMPTY: Self = Self { head: END, tail: END, len: 0 };

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The first slot of a list that is not empty.
    pub(super) fn first(&self) -> SlotId {
        debug_assert_ne!(self.len, 0, "an empty list has no first slot");
        SlotId(self.head)
    }
}

/// The links of all lists, by slot.
#[derive(Debug, Default)]
pub(super) struct Links {
    next: Vec<u32>,
}

impl Links {
    /// Makes room for this many slots.
    pub(super) fn grow(&mut self, slot_count: usize) {
        self.next.resize(slot_count, END);
    }

    /// Appends a slot that is in no list.
    pub(super) fn push(&mut self, list: &mut SlotList, slot: SlotId) {
        self.next[slot.index()] = END;
        if list.len == 0 {
            list.head = slot.0;
        } else {
            self.next[list.tail as usize] = slot.0;
        }
        list.tail = slot.0;
        list.len += 1;
    }

    /// Cuts a list behind its first `len` slots, at least one and not all, and gives the rest.
    pub(super) fn split_off(&mut self, list: &mut SlotList, len: usize) -> SlotList {
        debug_assert!((1..list.len).contains(&len), "both halves have a slot");
        let last = self.iter(*list).nth(len - 1).expect("shorter than the list");
        let tail = SlotList { head: self.next[last.index()], tail: list.tail, len: list.len - len };
        self.next[last.index()] = END;
        *list = SlotList { head: list.head, tail: last.0, len };
        tail
    }

    /// Keeps the slots that `keep` says, in their order.
    pub(super) fn retain(&mut self, list: &mut SlotList, mut keep: impl FnMut(SlotId) -> bool) {
        let (mut kept, mut at) = (SlotList::EMPTY, list.head);
        while at != END {
            let next = self.next[at as usize];
            if keep(SlotId(at)) {
                self.push(&mut kept, SlotId(at));
            }
            at = next;
        }
        *list = kept;
    }

    /// The slots of a list, in their order.
    pub(super) fn iter(&self, list: SlotList) -> Slots<'_> {
        Slots { next: &self.next, at: list.head, left: list.len }
    }
}

/// The slots of one list.
#[derive(Clone, Debug)]
pub(super) struct Slots<'a> {
    next: &'a [u32],
    at: u32,
    left: usize,
}

impl Iterator for Slots<'_> {
    type Item = SlotId;

    fn next(&mut self) -> Option<SlotId> {
        self.left = self.left.checked_sub(1)?;
        let slot = SlotId(self.at);
        self.at = self.next[slot.index()];
        Some(slot)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Slots<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lists_that_share_their_links_never_touch_each_other(
            of in proptest::collection::vec(0..2_usize, 1..60),
            cut in any::<proptest::sample::Index>(),
            kept in any::<u64>(),
        ) {
            let mut links = Links::default();
            links.grow(of.len());
            let (mut lists, mut models) = ([SlotList::EMPTY; 2], [Vec::new(), Vec::new()]);
            for (slot, &list) in (0..).map(SlotId).zip(&of) {
                links.push(&mut lists[list], slot);
                models[list].push(slot);
            }
            let [mut first, second] = lists;
            if first.len() > 1 {
                let at = 1 + cut.index(first.len() - 1);
                let tail = links.split_off(&mut first, at);
                let rest = models[0].split_off(at);
                prop_assert_eq!(links.iter(tail).collect::<Vec<_>>(), rest);
            }
            let keep = |slot: SlotId| kept >> (slot.0 % 64) & 1 == 1;
            links.retain(&mut first, keep);
            models[0].retain(|&slot| keep(slot));
            prop_assert_eq!(links.iter(first).collect::<Vec<_>>(), models[0].clone());
            prop_assert_eq!(first.len(), models[0].len());
            prop_assert_eq!(links.iter(second).collect::<Vec<_>>(), models[1].clone());
        }
    }
}
