//! The sequence rule of each venue, chosen once for each book.

use super::binance::sequence::{SpotSequence, UsdmSequence};
use super::bybit::sequence::BybitSequence;
use crate::book::{Repair, SequenceRule, Verdict};
use crate::market::{BookKind, SequenceIds, Venue};

/// The rule of a venue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VenueSequence {
    /// Binance spot: ranges of ids.
    BinanceSpot(SpotSequence),
    /// Binance USD-M: the id before.
    BinanceUsdm(UsdmSequence),
    /// Bybit: numbers that rise by one, from a snapshot of the stream itself.
    Bybit(BybitSequence),
}

impl VenueSequence {
    /// The rule of this venue's books.
    #[must_use]
    pub const fn of(venue: Venue) -> Self {
        match venue {
            Venue::BinanceSpot => Self::BinanceSpot(SpotSequence),
            Venue::BinanceUsdm => Self::BinanceUsdm(UsdmSequence),
            Venue::BybitSpot | Venue::BybitLinear => Self::Bybit(BybitSequence),
        }
    }
}

impl SequenceRule for VenueSequence {
    fn repair(&self) -> Repair {
        match self {
            Self::BinanceSpot(rule) => rule.repair(),
            Self::BinanceUsdm(rule) => rule.repair(),
            Self::Bybit(rule) => rule.repair(),
        }
    }

    #[inline]
    fn judge(&self, last: Option<&SequenceIds>, kind: BookKind, ids: &SequenceIds) -> Verdict {
        match self {
            Self::BinanceSpot(rule) => rule.judge(last, kind, ids),
            Self::BinanceUsdm(rule) => rule.judge(last, kind, ids),
            Self::Bybit(rule) => rule.judge(last, kind, ids),
        }
    }
    #[inline]
    fn reach(&self, ids: &SequenceIds) -> u64 {
        match self {
            Self::BinanceSpot(rule) => rule.reach(ids),
            Self::BinanceUsdm(rule) => rule.reach(ids),
            Self::Bybit(rule) => rule.reach(ids),
        }
    }
}
