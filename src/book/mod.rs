//! Level-2 books, and the seam of sequence rules that keep them true. Sans-IO: bytes, time and snapshots come in as arguments.
//!
//! ```text
//!                     ┌──────────────── Slot: one symbol's book ───────────────┐
//! BookUpdate ──► Books│ SequenceRule (the venue's) ─► Verdict ─► Book ─► checks │──► Outcome: what the strategy is told,
//!  (decoded)   by     │                                  │ two Ladders           │            what repair is needed
//! snapshot ───► symbol│ Hold: changes kept while a snapshot is fetched          │
//!  (fetched)          └─────────────────────────────────────────────────────────┘
//! ```
//! - `ladder`: one side of a book. `levels`: a book of two of them, with a known range. `read`: what a strategy asks of it.
//! - `sequence`: the seam. A venue says in its own folder how its messages follow each other. `checksum`: CRC32 over digits.
//! - `hold`: a bounded buffer. `slot`: Waiting, Live, Stale and the edges between them. `books`: all slots of a hot core.
//! - `event`: what a strategy is told of a kept book. `copy`: a snapshot on its way in, a copy of a book on its way out.
//!
//! After construction nothing here allocates, frees, locks or asks a clock. A book that is not live is never served as if it
//! were: what a [`View`] gives comes with its state, and what lies outside of the known range is [`Known::Unknown`].

mod books;
mod checksum;
mod copy;
mod event;
mod hold;
mod ladder;
mod levels;
mod read;
mod sequence;
mod slot;
mod sorted;
#[cfg(test)]
mod tests;

pub use crate::market::{BookState, StaleReason};
pub use books::{BookCounts, Books, FetchError};
pub use checksum::ChecksumForm;
pub use copy::{BookCopy, BookSnapshot};
pub use event::BookEvent;
pub use hold::Hold;
pub use levels::{Book, Changes};
pub use read::{Filled, Known, Top};
pub use sequence::{Repair, SequenceRule, Verdict, by_furthest, by_number, by_previous, by_range};
pub use slot::{BookSettings, Outcome, Slot, Step, Ticket, View};
