//! Trades asked for by id, where a stream has left some out: the question, and what the answer holds. Cold: once for a hole.

use super::Protocol;
use crate::market::{AggTrade, Received, StreamKind, SymbolSpec, Trade, Venue};

/// What a venue answered: events of one kind, flagged as refilled.
#[derive(Clone, Debug, PartialEq)]
pub enum TradeBatch {
    /// Single fills.
    Trades(Vec<Trade>),
    /// Fills joined by taker order and price.
    AggTrades(Vec<AggTrade>),
}

impl TradeBatch {
    /// Nothing of this kind of stream.
    #[must_use]
    pub fn empty(stream_kind: StreamKind) -> Self {
        if stream_kind == StreamKind::AGG_TRADE { Self::AggTrades(Vec::new()) } else { Self::Trades(Vec::new()) }
    }

    /// How many it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Trades(trades) => trades.len(),
            Self::AggTrades(trades) => trades.len(),
        }
    }

    /// True if it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends those of another batch of the same kind that `is_wanted`, by rising id; a batch of the other kind has none.
    pub fn take_from(&mut self, other: Self, mut is_wanted: impl FnMut(u64) -> bool) {
        match (self, other) {
            (Self::Trades(all), Self::Trades(mut page)) => {
                page.sort_by_key(|trade| number(trade.id));
                all.extend(page.into_iter().filter(|trade| number(trade.id).is_some_and(&mut is_wanted)));
            }
            (Self::AggTrades(all), Self::AggTrades(mut page)) => {
                page.sort_by_key(|trade| trade.id);
                all.extend(page.into_iter().filter(|trade| is_wanted(trade.id)));
            }
            _ => {}
        }
    }
}

const fn number(id: crate::market::TradeId) -> Option<u64> {
    match id {
        crate::market::TradeId::Number(number) => Some(number),
        _ => None,
    }
}

/// A question for trades.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TradesQuery {
    /// Path and query.
    pub path: String,
    /// Its REST weight.
    pub weight: u32,
}

/// An answer that cannot be read. Nothing of it is used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("trades of {venue}: {what}")]
pub struct TradesError {
    /// The venue.
    pub venue: Venue,
    /// What is wrong, with the place.
    pub what: String,
}

/// True where this venue offers trades by id to anybody: at least some of its streams' can be asked for.
#[must_use]
pub const fn offers_trades(venue: Venue) -> bool {
    matches!(venue, Venue::BinanceSpot | Venue::BinanceUsdm)
}

/// How to ask a venue for so many trades from an id on. `None`: it offers that to nobody, or not without a key.
#[must_use]
pub fn trades_query(
    protocol: &dyn Protocol,
    stream_kind: StreamKind,
    symbol: &str,
    first_id: u64,
    count: u32,
) -> Option<TradesQuery> {
    let venue = protocol.venue();
    if !offers_trades(venue) {
        return None;
    }
    super::binance::trades::query(venue, stream_kind, symbol, first_id, count)
}

/// Trades that one answer holds at most, at any venue that offers them.
pub const TRADES_PAGE_MAX: u32 = 1_000;

/// Reads the answer to a [`trades_query`]: stamped `received`, on the symbol's grid.
///
/// # Errors
/// [`TradesError`]: not the documented shape, or a value that does not lie on the grid.
pub fn read_trades(
    stream_kind: StreamKind,
    spec: &SymbolSpec,
    body: &[u8],
    received: Received,
) -> Result<TradeBatch, TradesError> {
    super::binance::trades::read(stream_kind, spec, body, received)
        .map_err(|what| TradesError { venue: spec.venue, what })
}
