//! The slots of a lane, and the right to one of them.
//!
//! ```text
//! slots:  | 0 | 1 | 2 | 3 |        each has exactly one Place, and a Place is in exactly one of:
//! Place:  core's stack ─► being written ─► queue ─► lane's handler ─► given back ─► core's stack
//! ```
//! Invariant: for each slot there is at most one [`Place`], or one number in an atomic that will become it. A `Place` moves
//! and is never copied, so who has it may read and write the slot, and nobody else can.

use super::slot::Slot;
use std::cell::UnsafeCell;
use std::sync::Arc;

/// The right to one slot of a pool.
#[derive(Debug)]
pub(super) struct Place(u32);

impl Place {
    /// The number by which it crosses an atomic. Whoever takes that number out makes the place of it again.
    pub(super) const fn into_raw(self) -> u32 {
        self.0
    }

    /// A place that had become a number.
    ///
    /// # Safety
    /// `raw` came from [`Place::into_raw`] of a place of the same pool, and has been made a place again by nobody since.
    pub(super) const unsafe fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pool {
    slots: Box<[UnsafeCell<Slot>]>,
}

// SAFETY: a slot is reached through its only `Place`, and a `Place` is with one thread at a time: what carries it from one to
// the other (rtrb's rings; a number published by a Release and taken behind an Acquire) orders the writes of the one before
// the reads of the other. `Slot` is `Send`.
unsafe impl Sync for Pool {}

impl Pool {
    /// `count` slots with room for `levels` each, and the places of all of them.
    pub(super) fn new(count: usize, levels: usize) -> (Arc<Self>, Vec<Place>) {
        let slots: Box<[_]> = (0..count).map(|_| UnsafeCell::new(Slot::new(levels))).collect();
        let count = u32::try_from(count).expect("slots are bounded by the configuration");
        // The last comes first off the stack: the low numbers are used first.
        (Arc::new(Self { slots }), (0..count).rev().map(Place).collect())
    }

    /// The slot of a place, to read.
    #[inline]
    pub(super) fn get<'a>(&'a self, place: &'a Place) -> &'a Slot {
        let slot = self.slots[place.0 as usize].get();
        // SAFETY: by the module's invariant `place` is the only right to this slot; it is borrowed for as long as the slot.
        unsafe { &*slot }
    }

    /// The slot of a place, to write.
    #[inline]
    pub(super) fn get_mut<'a>(&'a self, place: &'a mut Place) -> &'a mut Slot {
        let slot = self.slots[place.0 as usize].get();
        // SAFETY: by the module's invariant `place` is the only right to this slot; it is borrowed exclusively for as long
        // as the slot.
        unsafe { &mut *slot }
    }
}
