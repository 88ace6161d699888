//! What is known of a kept book, in words that every room has: whether it can be trusted, and why not.
//!
//! ```text
//! Waiting ──► Live ◄──► Stale(reason)       the edges are in `book`; every event and every read of a book carries where it is
//! ```

use std::fmt;

/// Why a book cannot be trusted. The index of a counter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum StaleReason {
    /// Messages are missing between the book and the one that came.
    Gap,
    /// The levels do not give the checksum that came with them.
    Checksum,
    /// The best bid is at or above the best ask, for more messages than are tolerated.
    Crossed,
    /// The snapshot ends before the kept changes begin.
    SnapshotTooOld,
    /// The snapshot ends before the kept changes begin, because there was no room for earlier ones.
    HoldOverflow,
    /// A change of a book that never came, where the channel begins with a snapshot.
    NoSnapshot,
    /// So many messages in a row lay behind the book that the venue's numbering must have started again.
    WentBack,
    /// The price has left what the snapshot covered, or what the depth kept has left: the best is not known any more.
    RangeExhausted,
    /// The symbol's tick or lot has changed: what the book holds is at other scales.
    TickChanged,
    /// The connection that carried it is gone, or the subscription ended.
    Disconnected,
}

impl StaleReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 10] = [
        Self::Gap,
        Self::Checksum,
        Self::Crossed,
        Self::SnapshotTooOld,
        Self::HoldOverflow,
        Self::NoSnapshot,
        Self::WentBack,
        Self::RangeExhausted,
        Self::TickChanged,
        Self::Disconnected,
    ];

    /// True where a book that was live until now holds what it held: what was found is about what comes next. Where its levels
    /// themselves are in doubt they are no longer the venue's at any id.
    #[must_use]
    pub const fn leaves_levels_true(self) -> bool {
        match self {
            Self::Gap
            | Self::SnapshotTooOld
            | Self::HoldOverflow
            | Self::NoSnapshot
            | Self::WentBack
            | Self::Disconnected => true,
            Self::Checksum | Self::Crossed | Self::RangeExhausted | Self::TickChanged => false,
        }
    }

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Checksum => "checksum",
            Self::Crossed => "crossed",
            Self::SnapshotTooOld => "snapshot_too_old",
            Self::HoldOverflow => "hold_overflow",
            Self::NoSnapshot => "no_snapshot",
            Self::WentBack => "went_back",
            Self::RangeExhausted => "range_exhausted",
            Self::TickChanged => "tick_changed",
            Self::Disconnected => "disconnected",
        }
    }
}

impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a book can be trusted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BookState {
    /// Nothing has come yet.
    Waiting,
    /// It is the venue's book at its ids.
    Live,
    /// It was that once, or never; for this reason it is not now.
    Stale(StaleReason),
}

impl BookState {
    /// True if the book can be trusted.
    #[inline]
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Live)
    }

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Stale(_) => "stale",
        }
    }

    /// Why it is stale, if it is.
    #[must_use]
    pub const fn reason(self) -> Option<StaleReason> {
        match self {
            Self::Stale(reason) => Some(reason),
            Self::Waiting | Self::Live => None,
        }
    }
}
