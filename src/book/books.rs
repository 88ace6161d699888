//! All books of one hot core.
//!
//! ```text
//! symbol ──► slots[symbol] ──► Slot        holds: a few buffers, lent to the books whose snapshots are under way
//! ```

use super::hold::Hold;
use super::sequence::{Repair, SequenceRule};
use super::slot::{Outcome, Slot, Step, Ticket, View};
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{BookUpdate, StaleReason, Symbol};

/// What became of all messages of a core's books.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BookCounts {
    /// Applied to a live book.
    pub applied: u64,
    /// Books that became live, or were replaced by the venue.
    pub rebuilt: u64,
    /// Had all been in the book before.
    pub skipped: u64,
    /// Kept for a snapshot.
    pub held: u64,
    /// Of no use to a book that is not live.
    pub ignored: u64,
    /// Snapshots that came too late or too early to be of use.
    pub late: u64,
    /// Buffers that began anew because a change did not follow the one before, or the numbering started again.
    pub hold_gaps: u64,
    /// Buffers that began anew because they were full.
    pub hold_overflows: u64,
    /// Times a book turned stale, or was not made live by a snapshot, by [`StaleReason`].
    pub stale: [u64; StaleReason::ALL.len()],
}

impl BookCounts {
    /// How often for this reason.
    #[must_use]
    pub const fn stale_for(&self, reason: StaleReason) -> u64 {
        self.stale[reason as usize]
    }

    #[inline]
    fn count(&mut self, step: Step) {
        match step {
            Step::Applied(_) => self.applied += 1,
            Step::Rebuilt(_) => self.rebuilt += 1,
            Step::Skipped => self.skipped += 1,
            Step::Ignored => self.ignored += 1,
            Step::Late => self.late += 1,
            Step::Stale(reason) => self.stale[reason as usize] += 1,
            Step::Held { restarted } => {
                self.held += 1;
                match restarted {
                    None => {}
                    Some(StaleReason::HoldOverflow) => self.hold_overflows += 1,
                    Some(_) => self.hold_gaps += 1,
                }
            }
        }
    }
}

/// Why changes cannot be kept for a snapshot now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// No book is kept of this symbol.
    #[error("no book is kept of this symbol")]
    NoBook,
    /// All buffers are lent: as many snapshots are under way as the core was made for.
    #[error("all buffers are lent to books whose snapshots are under way")]
    NoHold,
}

/// The books of one hot core, by symbol. What it holds comes from the cold side and goes back there: nothing here allocates
/// or frees after [`Books::new`].
#[derive(Debug)]
pub struct Books<R> {
    slots: Box<[Option<Box<Slot<R>>>]>,
    #[expect(clippy::vec_box, reason = "a slot borrows the box: a pointer passes, not the buffer")]
    holds: Vec<Box<Hold>>,
    counts: BookCounts,
}

impl<R: SequenceRule> Books<R> {
    /// No books, and buffers for as many snapshots as may be under way at a time.
    #[must_use]
    pub fn new(hold_count: usize) -> Self {
        let slots = (0..SYMBOL_COUNT_MAX).map(|_| None).collect();
        Self { slots, holds: (0..hold_count).map(|_| Box::new(Hold::new())).collect(), counts: BookCounts::default() }
    }

    /// Keeps this book from now on; gives back the one that was kept of the symbol before.
    pub fn add(&mut self, slot: Box<Slot<R>>) -> Option<Box<Slot<R>>> {
        let symbol = slot.symbol();
        let replaced = self.remove(symbol);
        self.slots[symbol.index()] = Some(slot);
        replaced
    }

    /// Keeps this symbol's book no longer, and gives it back.
    pub fn remove(&mut self, symbol: Symbol) -> Option<Box<Slot<R>>> {
        let mut slot = self.slots[symbol.index()].take()?;
        self.holds.extend(slot.end_fetch());
        Some(slot)
    }

    /// What is kept of this symbol.
    #[inline]
    #[must_use]
    pub fn slot(&self, symbol: Symbol) -> Option<&Slot<R>> {
        self.slots[symbol.index()].as_deref()
    }

    /// This symbol's book, with what is known about it.
    #[inline]
    #[must_use]
    pub fn view(&self, symbol: Symbol) -> Option<View<'_>> {
        self.slot(symbol).map(Slot::view)
    }

    /// Every book.
    pub fn iter(&self) -> impl Iterator<Item = &Slot<R>> {
        self.slots.iter().flatten().map(|slot| &**slot)
    }

    /// What became of all messages.
    #[must_use]
    pub const fn counts(&self) -> &BookCounts {
        &self.counts
    }

    /// Takes the next message about some book. `checksum`: the one that came with it, if the venue sends any. `None`: no book
    /// is kept of this symbol's stream.
    #[inline]
    pub fn update(&mut self, update: &BookUpdate<'_>, checksum: Option<u32>) -> Option<Outcome> {
        let slot = self.slots[update.meta.symbol.index()].as_deref_mut()?;
        if slot.stream_kind() != update.stream_kind() {
            return None;
        }
        let outcome = slot.update(update, checksum);
        self.counts.count(outcome.step);
        Some(outcome)
    }

    /// A book that is kept beside these, of another leg, takes its next message; counted like theirs.
    #[inline]
    pub fn update_beside(&mut self, beside: &mut Slot<R>, update: &BookUpdate<'_>) -> Outcome {
        let outcome = beside.update(update, None);
        self.counts.count(outcome.step);
        outcome
    }

    /// Marks a book stale that is kept beside these; counted like theirs.
    pub fn quarantine_beside(&mut self, beside: &mut Slot<R>, reason: StaleReason) -> Outcome {
        let outcome = beside.quarantine(reason);
        self.counts.count(outcome.step);
        outcome
    }

    /// Exchanges the book of a symbol for one of it that is kept beside these.
    #[inline]
    pub fn exchange(&mut self, beside: &mut Box<Slot<R>>) {
        let Some(slot) = &mut self.slots[beside.symbol().index()] else { return };
        // Its buffer is lent to what is kept here.
        self.holds.extend(slot.end_fetch());
        std::mem::swap(slot, beside);
    }

    /// A snapshot of this symbol's book is about to be asked for: changes are kept from now on. The request must be sent
    /// after this. Asked again before an answer came, it keeps what is kept.
    ///
    /// # Errors
    /// [`FetchError`]: nothing is kept; ask again when another snapshot has come.
    pub fn begin_fetch(&mut self, symbol: Symbol) -> Result<Ticket, FetchError> {
        let slot = self.slots[symbol.index()].as_deref_mut().ok_or(FetchError::NoBook)?;
        if slot.is_holding() {
            return Ok(slot.repeat_fetch());
        }
        Ok(slot.begin_fetch(self.holds.pop().ok_or(FetchError::NoHold)?))
    }

    /// No snapshot of this symbol will come: its buffer is free for another.
    pub fn end_fetch(&mut self, symbol: Symbol) {
        let slot = self.slots[symbol.index()].as_deref_mut();
        self.holds.extend(slot.and_then(Slot::end_fetch));
    }

    /// The snapshot that was asked for. `None`: no book is kept of this symbol. Where the book is live then, its buffer is free
    /// for another; until then changes go on being kept for the next snapshot.
    pub fn snapshot(&mut self, ticket: Ticket, update: &BookUpdate<'_>) -> Option<Outcome> {
        let slot = self.slots[update.meta.symbol.index()].as_deref_mut()?;
        let outcome = slot.snapshot(ticket, update);
        if slot.ticket() == ticket && slot.state().is_live() {
            self.holds.extend(slot.end_fetch());
        }
        self.counts.count(outcome.step);
        Some(outcome)
    }

    /// Marks a symbol's book stale from outside, and ends its fetch. `None`: no book is kept of it.
    pub fn quarantine(&mut self, symbol: Symbol, reason: StaleReason) -> Option<Outcome> {
        self.told(symbol, |slot| slot.quarantine(reason))
    }

    /// The symbol's tick or lot has changed: its fetch ends too. `None`: no book is kept of it.
    pub fn tick_changed(&mut self, symbol: Symbol) -> Option<Outcome> {
        self.told(symbol, Slot::tick_changed)
    }

    fn told(&mut self, symbol: Symbol, tell: impl FnOnce(&mut Slot<R>) -> Outcome) -> Option<Outcome> {
        let slot = self.slots[symbol.index()].as_deref_mut()?;
        let outcome = tell(slot);
        self.holds.extend(slot.end_fetch());
        self.counts.count(outcome.step);
        Some(outcome)
    }

    /// Books that are not live, and what each of them needs.
    pub fn repairs(&self) -> impl Iterator<Item = (Symbol, Repair)> {
        self.iter().filter_map(|slot| Some((slot.symbol(), slot.needs()?)))
    }
}
