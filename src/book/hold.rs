//! Changes kept while a snapshot is fetched: in order, without a gap, and no more than there is room for.
//!
//! ```text
//! heads   | ids, kind, where its levels lie | ... |      512 of them
//! levels  | bids asks | bids asks | ...           |      16,384 of them
//! ```
//! Where a change does not follow the one before, or has no room, all that was kept is forgotten and it begins anew: the end
//! of the stream is what a snapshot that is still to come will join.

use crate::limits::{HOLD_LEVEL_COUNT, HOLD_UPDATE_COUNT};
use crate::market::{BookKind, BookUpdate, Level, SequenceIds, touch};

/// A kept change but for its levels.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: BookKind,
    ids: SequenceIds,
    checksum: Option<u32>,
    /// Where its bids begin, where its asks do, and where those end.
    bids_at: usize,
    asks_at: usize,
    end: usize,
}

/// A kept change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<'a> {
    pub(super) kind: BookKind,
    pub(super) ids: &'a SequenceIds,
    pub(super) checksum: Option<u32>,
    pub(super) bids: &'a [Level],
    pub(super) asks: &'a [Level],
}

/// A bounded buffer of changes. One serves one book at a time; a hot core has a few, lent to the books whose snapshots are
/// under way. Never allocates after [`Hold::new`].
#[derive(Debug)]
pub struct Hold {
    heads: Vec<Head>,
    levels: Vec<Level>,
    has_overflown: bool,
}

impl Default for Hold {
    fn default() -> Self {
        Self::new()
    }
}

impl Hold {
    /// Room for what one book may have to keep, its memory brought in.
    #[must_use]
    pub fn new() -> Self {
        Self { heads: touch::vec(HOLD_UPDATE_COUNT), levels: touch::vec(HOLD_LEVEL_COUNT), has_overflown: false }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.restart();
        self.has_overflown = false;
    }

    /// Forgets what was kept; not whether it overflowed.
    pub(super) fn restart(&mut self) {
        self.heads.clear();
        self.levels.clear();
    }

    /// True if it was full once since it was lent: what it has kept begins later than it might.
    pub(super) fn has_overflown(&self) -> bool {
        self.has_overflown
    }

    /// The ids of the last one kept.
    pub(super) fn last(&self) -> Option<&SequenceIds> {
        self.heads.last().map(|head| &head.ids)
    }

    /// Keeps a change behind the others; false if there was no room and it begins anew with this one.
    pub(super) fn push(&mut self, update: &BookUpdate<'_>, checksum: Option<u32>) -> bool {
        let level_count = update.bids.len() + update.asks.len();
        let has_room = self.heads.len() < HOLD_UPDATE_COUNT && self.levels.len() + level_count <= HOLD_LEVEL_COUNT;
        if !has_room {
            self.has_overflown = true;
            self.restart();
            if level_count > HOLD_LEVEL_COUNT {
                return false;
            }
        }
        let bids_at = self.levels.len();
        self.levels.extend_from_slice(update.bids);
        let asks_at = self.levels.len();
        self.levels.extend_from_slice(update.asks);
        let end = self.levels.len();
        self.heads.push(Head { kind: update.kind, ids: update.ids, checksum, bids_at, asks_at, end });
        has_room
    }

    /// What was kept, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Held<'_>> {
        self.heads.iter().map(|head| Held {
            kind: head.kind,
            ids: &head.ids,
            checksum: head.checksum,
            bids: &self.levels[head.bids_at..head.asks_at],
            asks: &self.levels[head.asks_at..head.end],
        })
    }
}
