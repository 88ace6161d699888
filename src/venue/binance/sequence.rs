//! How Binance's depth messages follow each other.

use crate::book::{Repair, SequenceRule, Verdict, by_furthest, by_range};
use crate::market::{BookKind, SequenceIds};

/// Spot: each message covers the ids from `U` to `u`, and each id belongs to one symbol's book alone.
///
/// Source: Binance spot, "How to manage a local order book correctly": the first message applied to a snapshot has `U` <=
/// `lastUpdateId` + 1 <= `u`; each one after it has `U` = the `u` before + 1; a message whose `u` is not above is old.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SpotSequence;

impl SequenceRule for SpotSequence {
    fn repair(&self) -> Repair {
        Repair::NeedSnapshot
    }

    #[inline]
    fn judge(&self, last: Option<&SequenceIds>, kind: BookKind, ids: &SequenceIds) -> Verdict {
        match (kind, last) {
            (BookKind::Delta, Some(last)) => by_range(last, ids),
            (BookKind::Delta, None) => Verdict::NeedSnapshot,
            (BookKind::Snapshot | BookKind::Partial, _) => by_furthest(last, ids),
        }
    }
}

/// USD-M: ids are shared by all symbols, so `U` jumps; `pu` names the `u` of the message before.
///
/// A message covers all that changed in its book behind `pu` up to `u`. So it follows wherever `pu` <= the book's id < `u`:
/// at `u` every level it names has the quantity it names, and no other changed. That holds where `pu` is the id before, as
/// in one unbroken stream, and where it lies further back: behind a snapshot, or where a message of another connection was
/// cut elsewhere.
///
/// Source: Binance USD-M, "How to manage a local order book correctly": the first message applied has `U` <= `lastUpdateId` <=
/// `u`; each one after it has `pu` = the `u` before. Streams are also seen to begin with `pu` = `lastUpdateId`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UsdmSequence;

impl SequenceRule for UsdmSequence {
    fn repair(&self) -> Repair {
        Repair::NeedSnapshot
    }

    #[inline]
    fn judge(&self, last: Option<&SequenceIds>, kind: BookKind, ids: &SequenceIds) -> Verdict {
        match (kind, last) {
            (BookKind::Delta, Some(last)) => match ids.previous {
                _ if ids.last <= last.last => Verdict::Skip,
                Some(previous) if previous <= last.last => Verdict::Apply,
                // Without `pu` nobody can tell.
                Some(_) | None => Verdict::Gap,
            },
            (BookKind::Delta, None) => Verdict::NeedSnapshot,
            (BookKind::Snapshot | BookKind::Partial, _) => by_furthest(last, ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u64) -> SequenceIds {
        SequenceIds { first: last, last, ..SequenceIds::default() }
    }

    #[test]
    fn a_spot_message_follows_where_its_range_holds_the_next_id() {
        let judge = |book: u64, first, last| {
            SpotSequence.judge(Some(&at(book)), BookKind::Delta, &SequenceIds { first, last, ..SequenceIds::default() })
        };
        assert_eq!(judge(100, 101, 101), Verdict::Apply);
        assert_eq!(judge(100, 90, 101), Verdict::Apply, "the snapshot lies within the message");
        assert_eq!(judge(100, 101, 130), Verdict::Apply);
        assert_eq!(judge(100, 102, 130), Verdict::Gap);
        assert_eq!(judge(100, 90, 100), Verdict::Skip);
        assert_eq!(judge(100, 90, 99), Verdict::Skip);
        assert_eq!(judge(u64::MAX, u64::MAX, u64::MAX), Verdict::Skip);
        assert_eq!(judge(u64::MAX - 1, u64::MAX, u64::MAX), Verdict::Apply);
        assert_eq!(SpotSequence.judge(None, BookKind::Delta, &at(5)), Verdict::NeedSnapshot);
    }

    #[test]
    fn a_usdm_message_follows_where_the_one_before_it_lies_no_further_than_the_book() {
        let judge = |book: u64, first, last, previous| {
            let ids = SequenceIds { first, last, previous, cross: None };
            UsdmSequence.judge(Some(&at(book)), BookKind::Delta, &ids)
        };
        assert_eq!(judge(100, 150, 160, Some(100)), Verdict::Apply, "ids are shared: they jump");
        assert_eq!(judge(100, 95, 160, Some(90)), Verdict::Apply, "the snapshot lies within the message");
        assert_eq!(judge(100, 150, 160, Some(90)), Verdict::Apply, "the snapshot lies between two of its ids");
        assert_eq!(judge(100, 150, 160, Some(140)), Verdict::Gap);
        assert_eq!(judge(100, 101, 160, Some(101)), Verdict::Gap, "one that rises by one is no chain here");
        assert_eq!(judge(100, 95, 100, Some(90)), Verdict::Skip);
        assert_eq!(judge(100, 101, 110, None), Verdict::Gap, "a member that is not there proves nothing");
        assert_eq!(UsdmSequence.judge(None, BookKind::Delta, &at(5)), Verdict::NeedSnapshot);
    }

    #[test]
    fn a_partial_book_replaces_and_an_older_one_does_not() {
        let judge = |last: Option<u64>, id| {
            let last = last.map(at);
            let verdicts = [
                SpotSequence.judge(last.as_ref(), BookKind::Partial, &at(id)),
                UsdmSequence.judge(last.as_ref(), BookKind::Partial, &at(id)),
            ];
            assert_eq!(verdicts[0], verdicts[1]);
            verdicts[0]
        };
        assert_eq!(judge(None, 7), Verdict::Reset);
        assert_eq!(judge(Some(6), 7), Verdict::Reset);
        assert_eq!(judge(Some(7), 7), Verdict::Reset, "nothing changed between the two");
        assert_eq!(judge(Some(8), 7), Verdict::Skip);
    }
}
