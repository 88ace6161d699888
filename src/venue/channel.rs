//! Channels: which data a subscription asks for, in the venue's own words.

use super::{binance, bybit};
use crate::market::{StreamKind, Venue};

/// What a channel's messages become.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ChannelKind {
    /// Single fills.
    Trade,
    /// Fills joined by taker order and price.
    AggTrade,
    /// Best bid and ask.
    Quote,
    /// Rolling statistics.
    Ticker,
    /// Book changes (Bybit: with their snapshots), to this many levels a side; 0 where unbounded.
    Depth {
        /// Levels a side.
        levels: u16,
    },
    /// Best levels, complete in every message.
    PartialDepth {
        /// Levels a side.
        levels: u16,
    },
    /// Candles.
    Kline,
    /// Mark, index and funding.
    MarkPrice,
    /// Liquidations.
    Liquidation,
}

/// Whether a channel is subscribed once per symbol or once for the whole market.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ChannelScope {
    /// One stream per symbol.
    PerSymbol,
    /// One stream for every symbol of the venue (Binance `!ticker@arr`).
    AllMarket,
}

/// One channel of one venue, as its native name writes it: `trade`, `depth@100ms`, `kline_1m`, `!ticker@arr` on
/// Binance; `publicTrade`, `orderbook.50`, `kline.1`, `tickers` on Bybit.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Channel {
    /// The venue.
    pub venue: Venue,
    /// What its messages become.
    pub kind: ChannelKind,
    /// Per symbol or for the whole market.
    pub scope: ChannelScope,
    /// The native name, without the symbol.
    pub native: Box<str>,
}

impl Channel {
    /// True for a book that begins with a snapshot on its own connection and goes on by changes to it (Bybit): it can be
    /// taken over from another connection only at a snapshot.
    #[must_use]
    pub const fn is_snapshot_book(&self) -> bool {
        matches!((self.venue, self.kind), (Venue::BybitSpot | Venue::BybitLinear, ChannelKind::Depth { .. }))
    }
}

/// A channel name the venue does not have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{venue} has no channel `{name}`: {allowed}")]
pub struct ChannelError {
    /// The venue.
    pub venue: Venue,
    /// The name given.
    pub name: String,
    /// What the venue has, as one sentence.
    pub allowed: &'static str,
}

impl Channel {
    /// Reads a channel's native name.
    ///
    /// # Errors
    /// [`ChannelError`], which lists what the venue has.
    pub fn parse(venue: Venue, name: &str) -> Result<Self, ChannelError> {
        super::protocol(venue).channel(name)
    }

    /// The kind of stream of its events, the same as each of them says of itself.
    #[must_use]
    pub fn stream_kind(&self) -> StreamKind {
        match self.kind {
            ChannelKind::Trade => StreamKind::TRADE,
            ChannelKind::AggTrade => StreamKind::AGG_TRADE,
            ChannelKind::Quote => StreamKind::QUOTE,
            ChannelKind::Ticker => StreamKind::TICKER,
            ChannelKind::Depth { levels } | ChannelKind::PartialDepth { levels } => StreamKind::of_depth(levels),
            ChannelKind::MarkPrice => StreamKind::MARK_PRICE,
            ChannelKind::Liquidation => StreamKind::LIQUIDATION,
            ChannelKind::Kline => {
                // `kline_1m` on Binance, `kline.60` on Bybit.
                let interval = self.native.rsplit(['_', '.']).next().unwrap_or_default().as_bytes();
                let interval = match self.venue {
                    Venue::BinanceSpot | Venue::BinanceUsdm => binance::decode::interval(interval),
                    Venue::BybitSpot | Venue::BybitLinear => bybit::decode::interval(interval),
                };
                interval.map_or(StreamKind::KLINE_OTHER, StreamKind::of_interval)
            }
        }
    }
}
