//! How Bybit's book messages follow each other.

use crate::book::{Repair, SequenceRule, Verdict, by_number};
use crate::market::{BookKind, SequenceIds};

/// The topic begins with a snapshot, and each change has the `u` before + 1. A snapshot replaces the book at any moment,
/// whatever its `u`; so does a message with `u` = 1, whatever it calls itself: the venue's service has started again. Where
/// that one was lost, the next have a `u` that looks old, but a `seq` that is new: `seq` rises whatever `u` does.
///
/// Source: Bybit v5, orderbook: "Process snapshot/delta", and `seq`: "smaller seq, earlier generated".
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BybitSequence;

impl SequenceRule for BybitSequence {
    fn repair(&self) -> Repair {
        Repair::Resubscribe
    }

    #[inline]
    fn judge(&self, last: Option<&SequenceIds>, kind: BookKind, ids: &SequenceIds) -> Verdict {
        match (kind, last) {
            (BookKind::Snapshot | BookKind::Partial, _) => Verdict::Reset,
            (BookKind::Delta, _) if ids.last == 1 => Verdict::Reset,
            (BookKind::Delta, Some(last)) => match by_number(last, ids) {
                Verdict::Skip if last.cross.zip(ids.cross).is_some_and(|(book, this)| this > book) => Verdict::Gap,
                verdict => verdict,
            },
            (BookKind::Delta, None) => Verdict::NeedSnapshot,
        }
    }

    /// By `seq`, which the matching engine counts: a smaller one was generated earlier, whichever connection brings it and
    /// however that one cut its messages. `u` counts the messages of a topic as its server sends them, and starts again at 1 with
    /// the service: nothing says that two connections agree on it. A message without `seq` is as far as none.
    #[inline]
    fn reach(&self, ids: &SequenceIds) -> u64 {
        ids.cross.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_follows_by_one_and_a_snapshot_or_the_first_id_replaces() {
        let at = |last: u64| SequenceIds { first: last, last, ..SequenceIds::default() };
        let judge = |last: Option<u64>, kind, id| BybitSequence.judge(last.map(at).as_ref(), kind, &at(id));
        assert_eq!(judge(Some(7), BookKind::Delta, 8), Verdict::Apply);
        assert_eq!(judge(Some(7), BookKind::Delta, 7), Verdict::Skip);
        assert_eq!(judge(Some(7), BookKind::Delta, 6), Verdict::Skip);
        assert_eq!(judge(Some(7), BookKind::Delta, 9), Verdict::Gap);
        assert_eq!(judge(None, BookKind::Delta, 9), Verdict::NeedSnapshot);
        for last in [None, Some(3), Some(7), Some(900)] {
            assert_eq!(judge(last, BookKind::Snapshot, 7), Verdict::Reset);
            assert_eq!(judge(last, BookKind::Delta, 1), Verdict::Reset, "the service has started again");
        }
        assert_eq!(judge(Some(u64::MAX), BookKind::Delta, u64::MAX), Verdict::Skip);
    }

    #[test]
    fn books_of_two_connections_are_compared_by_seq_whatever_their_numbers_of_messages_are() {
        let reach = |last, cross| BybitSequence.reach(&SequenceIds { first: last, last, previous: None, cross });
        assert!(reach(1, Some(901)) > reach(70_000, Some(900)), "the service has started again");
        assert_eq!(reach(5, Some(900)), reach(7, Some(900)), "cut elsewhere");
        assert!(reach(9, None) < reach(1, Some(1)));
    }

    #[test]
    fn a_change_that_looks_old_and_is_new_is_of_another_numbering() {
        let at = |last: u64, cross| SequenceIds { first: last, last, previous: None, cross };
        let judge = |id, cross| BybitSequence.judge(Some(&at(7, Some(900))), BookKind::Delta, &at(id, cross));
        assert_eq!(judge(2, Some(901)), Verdict::Gap, "the first message of the numbering was lost");
        assert_eq!(judge(7, Some(900)), Verdict::Skip, "the same once more");
        assert_eq!(judge(6, Some(850)), Verdict::Skip);
        assert_eq!(judge(6, None), Verdict::Skip);
        assert_eq!(judge(8, Some(901)), Verdict::Apply);
    }
}
