//! What Bybit's messages look like: the envelope of every topic, and the data in it.
//!
//! Source: v5 documents of 2026-07-24; orders as documented and as recorded on the wire (they differ by category).

use crate::venue::shape::{Member, Shape, shape};

/// The words of an envelope's `type`, in the order of their slot values.
pub(super) const SNAPSHOT: u64 = 0;

shape! {
    /// What stands around every topic's data.
    mod envelope {
        TOPIC = "topic" needs Text;
        TYPE = "type" may Word(&["snapshot", "delta"]);
        TIME = "ts" may Int;
        DATA = "data" needs Nested;
        CROSS_SEQUENCE = "cs" may Int;
        MATCHING_TIME = "cts" may Int;
    }
}

/// [`envelope`], for tier one.
#[derive(Debug)]
pub(super) struct EnvelopeShape;

impl Shape for EnvelopeShape {
    const MEMBERS: &'static [Member] = envelope::MEMBERS;
    const ORDERS: &'static [&'static [usize]] = &[
        // Futures trades.
        &[envelope::TOPIC, envelope::TYPE, envelope::TIME, envelope::DATA, envelope::MATCHING_TIME],
        // Spot, and depth 1 everywhere.
        &[envelope::TOPIC, envelope::TIME, envelope::TYPE, envelope::DATA, envelope::MATCHING_TIME],
    ];
}

shape! {
    /// One trade of `publicTrade.<symbol>`.
    mod trade {
        TRADE_TIME = "T" needs Int;
        SYMBOL = "s" needs Text;
        TAKER = "S" needs Word(&["Buy", "Sell"]);
        QTY = "v" needs Decimal;
        PRICE = "p" needs Decimal;
        TICK_DIRECTION = "L" may Ignored(J::Text);
        ID = "i" needs Text;
        IS_BLOCK = "BT" may Bool;
        IS_RPI = "RPI" may Bool;
        SEQUENCE = "seq" may Int;
    }
}

/// [`trade`], for tier one.
#[derive(Debug)]
pub(super) struct TradeShape;

impl Shape for TradeShape {
    const MEMBERS: &'static [Member] = trade::MEMBERS;
    const ORDERS: &'static [&'static [usize]] = &[
        // Linear.
        &[
            trade::TRADE_TIME,
            trade::SYMBOL,
            trade::TAKER,
            trade::QTY,
            trade::PRICE,
            trade::TICK_DIRECTION,
            trade::ID,
            trade::IS_BLOCK,
            trade::IS_RPI,
            trade::SEQUENCE,
        ],
        // Spot.
        &[
            trade::ID,
            trade::TRADE_TIME,
            trade::PRICE,
            trade::QTY,
            trade::TAKER,
            trade::SEQUENCE,
            trade::SYMBOL,
            trade::IS_BLOCK,
            trade::IS_RPI,
        ],
    ];
}

shape! {
    /// The data of `orderbook.1.<symbol>`.
    mod quote {
        SYMBOL = "s" needs Text;
        BID = "b" needs Touch;
        ASK = "a" needs Touch;
        UPDATE_ID = "u" needs Int;
        SEQUENCE = "seq" may Int;
    }
}

/// [`quote`], for tier one.
#[derive(Debug)]
pub(super) struct QuoteShape;

impl Shape for QuoteShape {
    const MEMBERS: &'static [Member] = quote::MEMBERS;
    const ORDERS: &'static [&'static [usize]] =
        &[&[quote::SYMBOL, quote::BID, quote::ASK, quote::UPDATE_ID, quote::SEQUENCE]];
}

shape! {
    /// The data of `orderbook.<depth>.<symbol>`.
    mod book {
        SYMBOL = "s" needs Text;
        BIDS = "b" needs Levels;
        ASKS = "a" needs Levels;
        UPDATE_ID = "u" needs Int;
        SEQUENCE = "seq" may Int;
    }
}

shape! {
    /// One candle of `kline.<interval>.<symbol>`; only the topic names the symbol.
    mod candle {
        OPEN_TIME = "start" needs Int;
        CLOSE_TIME = "end" needs Int;
        INTERVAL = "interval" needs Text;
        OPEN = "open" needs Decimal;
        CLOSE = "close" needs Decimal;
        HIGH = "high" needs Decimal;
        LOW = "low" needs Decimal;
        VOLUME = "volume" needs Decimal;
        TURNOVER = "turnover" needs Decimal;
        IS_CLOSED = "confirm" needs Bool;
        MATCHING_TIME = "timestamp" may Int;
    }
}

shape! {
    /// One liquidation of `allLiquidation.<symbol>`; the side is the position's.
    mod liquidation {
        TIME = "T" needs Int;
        SYMBOL = "s" needs Text;
        POSITION = "S" needs Word(&["Buy", "Sell"]);
        QTY = "v" needs Decimal;
        PRICE = "p" needs Decimal;
    }
}

shape! {
    /// The data of the deprecated `liquidation.<symbol>`; the side is the position's too.
    mod old_liquidation {
        TIME = "time" may Int;
        UPDATED_TIME = "updatedTime" may Int;
        SYMBOL = "symbol" needs Text;
        POSITION = "side" needs Word(&["Buy", "Sell"]);
        QTY = "size" may Decimal;
        OLD_QTY = "qty" may Decimal;
        PRICE = "price" needs Decimal;
    }
}

shape! {
    /// The data of `tickers.<symbol>`: all of it in a snapshot, what changed in a delta.
    mod ticker {
        SYMBOL = "symbol" needs Text;
        LAST_PRICE = "lastPrice" may Decimal;
        BID_PRICE = "bid1Price" may Decimal;
        BID_QTY = "bid1Size" may Decimal;
        ASK_PRICE = "ask1Price" may Decimal;
        ASK_QTY = "ask1Size" may Decimal;
        OPEN = "prevPrice24h" may Decimal;
        HIGH = "highPrice24h" may Decimal;
        LOW = "lowPrice24h" may Decimal;
        VOLUME = "volume24h" may Decimal;
        TURNOVER = "turnover24h" may Decimal;
        CHANGE_RATIO = "price24hPcnt" may Decimal;
        MARK_PRICE = "markPrice" may Decimal;
        INDEX_PRICE = "indexPrice" may Decimal;
        USD_INDEX_PRICE = "usdIndexPrice" may Decimal;
        FUNDING_RATE = "fundingRate" may Decimal;
        NEXT_FUNDING_TIME = "nextFundingTime" may Decimal;
        OPEN_INTEREST = "openInterest" may Decimal;
        OPEN_INTEREST_VALUE = "openInterestValue" may Decimal;
    }
}
