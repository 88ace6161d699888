//! The seam of sequence rules: how a venue's messages about one book follow each other.
//!
//! ```text
//! ids of the last one applied ─┐
//! kind and ids of this one ────┴─► SequenceRule::judge ─► Apply | Skip | Gap | NeedSnapshot | Reset
//! ```
//! A venue writes its rule in its own folder, of the ways to count that stand here:
//!
//! | the message names | function | who counts so |
//! | --- | --- | --- |
//! | the first and the last id it covers | [`by_range`] | Binance spot, Gate, KuCoin |
//! | its own id and the one before | [`by_previous`] | Binance USD-M, OKX, Bitget, Deribit, HTX, Lighter (nonces) |
//! | a number that rises by one | [`by_number`] | Bybit, Kraken futures, Gate's and KuCoin's newer channels |
//! | an id, and it is complete in itself | [`by_furthest`] | partial books |
//! | nothing but a checksum | [`SequenceRule::verify`] | Kraken spot |
//!
//! Where a number counts the messages of a whole connection (Coinbase), the connection counts, and every book of it is
//! quarantined by [`super::Books::quarantine`].

use super::levels::Book;
use crate::market::{BookKind, SequenceIds};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// It follows: apply it.
    Apply,
    /// All it says is in the book already.
    Skip,
    /// Something between the book and it is missing.
    Gap,
    /// It changes a book that is not there.
    NeedSnapshot,
    /// It is a whole book: it replaces what was there, whatever that was.
    Reset,
}

/// How a book that is stale becomes true again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Repair {
    /// A snapshot is fetched by a request of its own, while changes are kept.
    NeedSnapshot,
    /// The one topic is unsubscribed and subscribed again: its first message is a snapshot.
    Resubscribe,
}

impl Repair {
    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeedSnapshot => "need_snapshot",
            Self::Resubscribe => "resubscribe",
        }
    }
}

/// How the messages of one channel about one book follow each other.
pub trait SequenceRule {
    /// How a book under this rule is repaired.
    fn repair(&self) -> Repair;

    /// What becomes of a message. `last`: the ids of the message or snapshot that the book stands at; `None` while there is no
    /// book that could be continued.
    fn judge(&self, last: Option<&SequenceIds>, kind: BookKind, ids: &SequenceIds) -> Verdict;

    /// How far a book with these ids is, comparable with that of another connection: of two books of one stream the one with the
    /// higher number is the later. By default the last id, which such venues count once for everybody.
    #[inline]
    fn reach(&self, ids: &SequenceIds) -> u64 {
        ids.last
    }

    /// True if the book's levels give the checksum that came with the message just applied. Venues without checksums have
    /// nothing to compare.
    fn verify(&self, book: &Book, checksum: u32) -> bool {
        let _ = (book, checksum);
        true
    }
}

/// By the first and the last id that a message covers: it follows if the id behind the book's is among them. One that begins
/// earlier is sound too: quantities are absolute, and at its last id every level it names has the quantity it names.
#[inline]
#[must_use]
pub fn by_range(last: &SequenceIds, ids: &SequenceIds) -> Verdict {
    if ids.last <= last.last {
        Verdict::Skip
    } else if ids.first <= last.last.saturating_add(1) {
        Verdict::Apply
    } else {
        Verdict::Gap
    }
}

/// By the id of the message before: it follows if that is the book's, exactly, even where the numbering starts again behind
/// it. Repeats of what the book has are skipped.
#[inline]
#[must_use]
pub fn by_previous(last: &SequenceIds, ids: &SequenceIds) -> Verdict {
    if ids.previous == Some(last.last) {
        Verdict::Apply
    } else if ids.previous.is_some() && ids.last <= last.last {
        Verdict::Skip
    } else {
        Verdict::Gap
    }
}

/// By a number that rises by one from message to message.
#[inline]
#[must_use]
pub fn by_number(last: &SequenceIds, ids: &SequenceIds) -> Verdict {
    if ids.last <= last.last {
        Verdict::Skip
    } else if ids.last - last.last == 1 {
        Verdict::Apply
    } else {
        Verdict::Gap
    }
}

/// By an id of messages that are complete in themselves: the furthest is the book.
#[inline]
#[must_use]
pub fn by_furthest(last: Option<&SequenceIds>, ids: &SequenceIds) -> Verdict {
    if last.is_some_and(|last| ids.last < last.last) { Verdict::Skip } else { Verdict::Reset }
}
