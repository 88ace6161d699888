//! What became of a core's books, as every output has it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The books that a hot core keeps, and what became of the messages about them. Of books: how many there are now; after a stop,
/// how many there were. Of messages and snapshots: totals.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct BooksReport {
    /// Books that can be trusted.
    pub live: u64,
    /// Books of which nothing has come yet.
    pub waiting: u64,
    /// Books that cannot be trusted.
    pub stale: u64,
    /// Messages applied to a live book.
    pub applied: u64,
    /// Books that became live, or were replaced by the venue.
    pub rebuilt: u64,
    /// Messages that had all been in the book before.
    pub skipped: u64,
    /// Messages kept for a snapshot that is under way.
    pub held: u64,
    /// Messages of no use to a book that is not live.
    pub ignored: u64,
    /// Snapshots that came too late or too early to be of use.
    pub late: u64,
    /// Times the messages kept for a snapshot were forgotten because one did not follow the one before.
    pub hold_gaps: u64,
    /// Times they were forgotten because there was no room for more.
    pub hold_overflows: u64,
    /// Of the applied and rebuilt, those of a leg's own book that was not the published one with it: another leg's was as far.
    pub beside: u64,
    /// Times another leg's book was published from then on.
    pub takeovers: u64,
    /// Messages of legs for which there was no book of their own.
    pub without_book: u64,
    /// Times a book turned stale, or was not made live by a snapshot, by reason (`gap`, `checksum`, `crossed`,
    /// `snapshot_too_old`, `hold_overflow`, `no_snapshot`, `went_back`, `range_exhausted`, `tick_changed`, `disconnected`); a
    /// reason that never occurred is absent.
    pub stale_reasons: BTreeMap<String, u64>,
}

impl BooksReport {
    /// Books that are kept.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.live + self.waiting + self.stale
    }

    /// True if there is something to show.
    pub(super) fn is_used(&self) -> bool {
        self.kept() > 0 || *self != Self::default()
    }
}
