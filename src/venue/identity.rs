//! By what an event of a subscription is recognised as one that another connection brought before.
//!
//! ```text
//! trade, aggregate      an id each: a window of ids
//! quote, partial book   a rising id: only what lies further than the last
//! changes of a book     ranges of ids that join (Binance), or a base of their own per connection (Bybit)
//! all others            none: one connection speaks at a time
//! ```
//! Declared for each venue and kind of stream; the hot core decides by it while several connections carry the same subscriptions.

use crate::market::{EventKind, StreamKind, Venue};

/// How events of one kind of stream are recognised again. What each means during an overlap: [`crate::hot::Overlap`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Identity {
    /// An id of its own, in no order that could be relied on: a late fill may come behind a later id.
    TradeId,
    /// An id that rises on one connection as on the other; an event replaces all before it.
    Furthest,
    /// A range of update ids that continues the range before it. Quantities are absolute.
    ///
    /// Source: Binance, "How to manage a local order book correctly": spot joins where `U` <= last + 1 <= `u`, USD-M where `pu` <= last < `u`.
    Chain,
    /// Changes to a snapshot that this connection sent itself: they join to no other.
    ///
    /// Source: Bybit v5, orderbook: the first message is a snapshot, and each change has `u` = the one before + 1.
    Snapshot,
    /// Nothing by which it could be recognised.
    None,
}

/// What identifies the events of a kind of stream on a venue.
#[must_use]
pub const fn identity(venue: Venue, stream_kind: StreamKind) -> Identity {
    match stream_kind.kind() {
        EventKind::Trade | EventKind::AggTrade => Identity::TradeId,
        EventKind::Quote => Identity::Furthest,
        EventKind::Book => match venue {
            // Only the unbounded book is sent as changes; a partial one is complete in every message.
            Venue::BinanceSpot | Venue::BinanceUsdm if stream_kind.index() == StreamKind::BOOK.index() => {
                Identity::Chain
            }
            Venue::BinanceSpot | Venue::BinanceUsdm => Identity::Furthest,
            Venue::BybitSpot | Venue::BybitLinear => Identity::Snapshot,
        },
        EventKind::Ticker | EventKind::Kline | EventKind::MarkPrice | EventKind::Liquidation => Identity::None,
        // The engine's own: of no stream.
        EventKind::KeptBook | EventKind::Gap => Identity::None,
    }
}

/// True where each id of a stream is one more than the one before it, so that an id that is left out is an event that is
/// missing.
///
/// Source: Binance, trade and aggregate trade streams and "fromId" of their REST twins. Recorded: 1,748 spot and 1,517 USD-M
/// trades and every aggregate follow so (the test below). Bybit's ids are UUIDs on futures, and on spot numbers that rise by
/// more than one.
#[must_use]
pub const fn has_consecutive_ids(venue: Venue, stream_kind: StreamKind) -> bool {
    match venue {
        Venue::BinanceSpot | Venue::BinanceUsdm => {
            matches!(stream_kind.kind(), EventKind::Trade | EventKind::AggTrade)
        }
        Venue::BybitSpot | Venue::BybitLinear => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_kind_of_each_venue_is_identified_as_its_documents_allow() {
        for venue in Venue::ALL {
            assert_eq!(identity(venue, StreamKind::TRADE), Identity::TradeId);
            assert_eq!(identity(venue, StreamKind::AGG_TRADE), Identity::TradeId);
            assert_eq!(identity(venue, StreamKind::QUOTE), Identity::Furthest);
            for stream_kind in StreamKind::all().filter(|stream_kind| stream_kind.kind() == EventKind::Kline) {
                assert_eq!(identity(venue, stream_kind), Identity::None);
            }
            for stream_kind in [StreamKind::TICKER, StreamKind::MARK_PRICE, StreamKind::LIQUIDATION] {
                assert_eq!(identity(venue, stream_kind), Identity::None);
            }
        }
        for venue in [Venue::BinanceSpot, Venue::BinanceUsdm] {
            assert_eq!(identity(venue, StreamKind::BOOK), Identity::Chain);
            assert!(
                [5, 10, 20]
                    .map(StreamKind::of_depth)
                    .iter()
                    .all(|&stream_kind| identity(venue, stream_kind) == Identity::Furthest)
            );
        }
        for venue in [Venue::BybitSpot, Venue::BybitLinear] {
            assert!(
                [50, 200, 1_000]
                    .map(StreamKind::of_depth)
                    .iter()
                    .all(|&stream_kind| identity(venue, stream_kind) == Identity::Snapshot)
            );
        }
    }
}
