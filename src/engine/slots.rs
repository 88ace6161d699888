//! Which connection has which slot of a core: given out when a connection is ready, taken back when the core has let go.
//!
//! ```text
//! driver: take ─► lease ─► Attach ...................... drop lease ─┐ both: the slot is free again
//! link:            notices of the slot ─► its hearer     Lost ───────┘
//! ```
//! A slot is given again only after the core's `Lost` was forwarded and its holder has let go of the lease: neither can
//! then still mean the connection that had it before. The longest free one is given first.

use super::link::SlotNotice;
use crate::limits::CONNECTION_COUNT_MAX;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// The slots of one core. A handle: clones mean the same table. Cold: locked per attachment and per notice.
#[derive(Clone, Debug)]
pub(super) struct SlotTable(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    entries: Vec<Option<Entry>>,
    /// Free slots, the longest free first.
    free: VecDeque<u16>,
    /// Notices of slots that nobody has.
    unheard: u64,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    hearer: mpsc::UnboundedSender<SlotNotice>,
    is_leased: bool,
    is_on_core: bool,
}

/// A slot and the right to command it, until dropped.
#[derive(Debug)]
pub(super) struct SlotLease {
    table: SlotTable,
    slot: u16,
}

impl SlotTable {
    /// A table of free slots.
    pub(super) fn new() -> Self {
        let count = u16::try_from(CONNECTION_COUNT_MAX).expect("slots are numbered by a u16");
        let entries = (0..count).map(|_| None).collect();
        Self(Arc::new(Mutex::new(Inner { entries, free: (0..count).collect(), unheard: 0 })))
    }

    /// A free slot for the connection called `name`, whose notices `hearer` gets from now on. `None`: all are taken.
    pub(super) fn take(&self, name: &Arc<str>, hearer: mpsc::UnboundedSender<SlotNotice>) -> Option<SlotLease> {
        let mut inner = self.lock();
        let slot = inner.free.pop_front()?;
        inner.entries[usize::from(slot)] =
            Some(Entry { name: Arc::clone(name), hearer, is_leased: true, is_on_core: false });
        drop(inner);
        Some(SlotLease { table: self.clone(), slot })
    }

    /// Forwards a notice to the connection that has the slot; after `Lost` the core has let go of it.
    pub(super) fn forward(&self, slot: u16, notice: SlotNotice) {
        let mut inner = self.lock();
        let is_lost = matches!(notice, SlotNotice::Lost { .. });
        let Some(entry) = inner.entries.get_mut(usize::from(slot)).and_then(Option::as_mut) else {
            inner.unheard += 1;
            tracing::error!(slot, ?notice, "a notice of a slot that no connection has");
            return;
        };
        // A hearer that has ended no longer cares.
        let _ = entry.hearer.send(notice);
        if is_lost {
            entry.is_on_core = false;
            inner.free_if_over(slot);
        }
    }

    /// Who has the slot.
    pub(super) fn name(&self, slot: u16) -> Option<Arc<str>> {
        let inner = self.lock();
        inner.entries.get(usize::from(slot))?.as_ref().map(|entry| Arc::clone(&entry.name))
    }

    /// Slots that are taken.
    pub(super) fn taken(&self) -> usize {
        CONNECTION_COUNT_MAX - self.lock().free.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn free_if_over(&mut self, slot: u16) {
        let entry = &mut self.entries[usize::from(slot)];
        if entry.as_ref().is_some_and(|entry| !entry.is_leased && !entry.is_on_core) {
            *entry = None;
            self.free.push_back(slot);
        }
    }
}

impl SlotLease {
    /// The slot's number on its core.
    pub(super) fn slot(&self) -> u16 {
        self.slot
    }

    /// To be called when the attachment is on its way to the core: from then on a `Lost` will come.
    pub(super) fn attached(&self) {
        if let Some(entry) = &mut self.table.lock().entries[usize::from(self.slot)] {
            entry.is_on_core = true;
        }
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        let mut inner = self.table.lock();
        if let Some(entry) = &mut inner.entries[usize::from(self.slot)] {
            entry.is_leased = false;
        }
        inner.free_if_over(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> SlotNotice {
        SlotNotice::Lost { name: "dropped", reason: "dropped by us".into(), code: None }
    }

    #[test]
    fn a_slot_is_free_again_once_its_loss_was_forwarded_and_its_holder_has_let_go() {
        let table = SlotTable::new();
        for lease_first in [true, false] {
            let (hearer, mut heard) = mpsc::unbounded_channel();
            let lease = table.take(&"a".into(), hearer).unwrap();
            let slot = lease.slot();
            lease.attached();
            assert_eq!(table.name(slot).as_deref(), Some("a"));
            if lease_first {
                drop(lease);
                assert_eq!(table.taken(), 1, "the core still has it");
                table.forward(slot, lost());
            } else {
                table.forward(slot, lost());
                assert_eq!(table.taken(), 1, "its holder could still command it");
                drop(lease);
            }
            assert_eq!(table.taken(), 0);
            assert_eq!(table.name(slot), None);
            assert!(matches!(heard.try_recv(), Ok(SlotNotice::Lost { .. })));
        }
    }

    #[test]
    fn a_lease_that_was_never_attached_is_given_back_by_dropping_it() {
        let table = SlotTable::new();
        drop(table.take(&"a".into(), mpsc::unbounded_channel().0));
        assert_eq!(table.taken(), 0);
    }

    #[test]
    fn there_are_as_many_slots_as_a_core_has_and_no_two_are_the_same() {
        let table = SlotTable::new();
        let leases: Vec<_> = std::iter::from_fn(|| table.take(&"a".into(), mpsc::unbounded_channel().0)).collect();
        let slots: std::collections::BTreeSet<_> = leases.iter().map(SlotLease::slot).collect();
        assert_eq!((leases.len(), slots.len()), (CONNECTION_COUNT_MAX, CONNECTION_COUNT_MAX));
        drop(leases);
        assert_eq!(table.taken(), 0);
    }

    #[test]
    fn a_slot_just_freed_is_the_last_to_be_given_again() {
        let table = SlotTable::new();
        let take = || table.take(&"a".into(), mpsc::unbounded_channel().0).unwrap().slot();
        let first = take();
        assert!((1..CONNECTION_COUNT_MAX).all(|_| take() != first));
        assert_eq!(take(), first);
    }

    #[test]
    fn a_notice_of_a_slot_that_nobody_has_is_counted_and_reaches_nobody() {
        let table = SlotTable::new();
        let (hearer, mut heard) = mpsc::unbounded_channel();
        let lease = table.take(&"a".into(), hearer).unwrap();
        table.forward(lease.slot() + 1, lost());
        table.forward(u16::MAX, lost());
        assert!(heard.try_recv().is_err());
        assert_eq!(table.lock().unheard, 2);
    }
}
