//! The venues this build speaks to.

use std::fmt;
use std::str::FromStr;

/// One exchange product line with its own WebSocket endpoint and its own symbols. `BTCUSDT` on spot and on futures
/// are two symbols, so spot and futures are two venues.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Venue {
    /// Binance spot.
    BinanceSpot,
    /// Binance USD-M futures.
    BinanceUsdm,
    /// Bybit v5 spot.
    BybitSpot,
    /// Bybit v5 linear (USDT and USDC perpetuals and futures).
    BybitLinear,
}

impl Venue {
    /// Every venue, in the order of their indexes.
    pub const ALL: [Self; 4] = [Self::BinanceSpot, Self::BinanceUsdm, Self::BybitSpot, Self::BybitLinear];

    /// The name used in TOML and in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BinanceSpot => "binance-spot",
            Self::BinanceUsdm => "binance-usdm",
            Self::BybitSpot => "bybit-spot",
            Self::BybitLinear => "bybit-linear",
        }
    }

    /// Position in [`Venue::ALL`], for dense tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Venue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|venue| venue.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|venue| venue.name()).collect();
            format!("unknown venue `{text}`: one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_venue_is_found_by_its_name_and_stands_at_its_index() {
        for (index, venue) in Venue::ALL.into_iter().enumerate() {
            assert_eq!(venue.name().parse(), Ok(venue));
            assert_eq!(venue.index(), index);
        }
    }

    #[test]
    fn an_unknown_venue_is_refused_with_the_list_of_known_ones() {
        let error = "binance".parse::<Venue>().unwrap_err();
        assert!(error.contains("`binance`") && error.contains("binance-spot"), "{error}");
    }
}
