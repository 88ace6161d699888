//! What Bybit's messages look like: the envelope of every topic, and the data in it.
//!
//! Source: v5 documents of 2026-07-24; orders as documented and as recorded on the wire (they differ by category).

use crate::venue::shape::{orders, shape};

/// The words of an envelope's `type`, in the order of their slot values.
pub(super) const SNAPSHOT: u64 = 0;

shape! {
    /// What stands around every topic's data.
    mod envelope {
        TOPIC = "topic" needs Topic;
        TYPE = "type" may Case(words!["snapshot", "delta"]);
        TIME = "ts" may Time;
        DATA = "data" needs Nested;
        CROSS_SEQUENCE = "cs" may Int;
        MATCHING_TIME = "cts" may Time;
    }
}

shape! {
    /// One trade of `publicTrade.<symbol>`.
    mod trade {
        TRADE_TIME = "T" needs Time;
        SYMBOL = "s" needs Symbol;
        TAKER = "S" needs Word(words!["Buy", "Sell"]);
        QTY = "v" needs Decimal;
        PRICE = "p" needs Decimal;
        TICK_DIRECTION = "L" may Ignored(J::Text);
        ID = "i" needs Id;
        IS_BLOCK = "BT" may Flag;
        IS_RPI = "RPI" may Flag;
        SEQUENCE = "seq" may Int;
    }
}

shape! {
    /// The data of `orderbook.1.<symbol>`.
    mod quote {
        SYMBOL = "s" needs Symbol;
        BID = "b" needs Touch;
        ASK = "a" needs Touch;
        UPDATE_ID = "u" needs Int;
        SEQUENCE = "seq" may Int;
    }
}

shape! {
    /// The data of `orderbook.<depth>.<symbol>`.
    mod book {
        SYMBOL = "s" needs Symbol;
        BIDS = "b" needs Levels;
        ASKS = "a" needs Levels;
        UPDATE_ID = "u" needs Int;
        SEQUENCE = "seq" may Int;
    }
}

shape! {
    /// One candle of `kline.<interval>.<symbol>`; only the topic names the symbol.
    mod candle {
        OPEN_TIME = "start" needs Time;
        CLOSE_TIME = "end" needs Time;
        INTERVAL = "interval" needs Text;
        OPEN = "open" needs Price;
        CLOSE = "close" needs Price;
        HIGH = "high" needs Price;
        LOW = "low" needs Price;
        VOLUME = "volume" needs Decimal;
        TURNOVER = "turnover" needs Decimal;
        IS_CLOSED = "confirm" needs Flag;
        MATCHING_TIME = "timestamp" may Time;
    }
}

shape! {
    /// One liquidation of `allLiquidation.<symbol>`; the side is the position's.
    mod liquidation {
        TIME = "T" needs Time;
        SYMBOL = "s" needs Symbol;
        POSITION = "S" needs Word(words!["Buy", "Sell"]);
        QTY = "v" needs Decimal;
        PRICE = "p" needs Decimal;
    }
}

shape! {
    /// The data of the deprecated `liquidation.<symbol>`; the side is the position's too.
    mod old_liquidation {
        TIME = "time" may Time;
        UPDATED_TIME = "updatedTime" may Time;
        SYMBOL = "symbol" needs Symbol;
        POSITION = "side" needs Word(words!["Buy", "Sell"]);
        QTY = "size" may Decimal;
        OLD_QTY = "qty" may Decimal;
        PRICE = "price" needs Decimal;
    }
}

shape! {
    /// The data of `tickers.<symbol>`: all of it in a snapshot, what changed in a delta.
    mod ticker {
        SYMBOL = "symbol" needs Symbol;
        LAST_PRICE = "lastPrice" may Price;
        BID_PRICE = "bid1Price" may Decimal;
        BID_QTY = "bid1Size" may Decimal;
        ASK_PRICE = "ask1Price" may Decimal;
        ASK_QTY = "ask1Size" may Decimal;
        OPEN = "prevPrice24h" may Price;
        HIGH = "highPrice24h" may Price;
        LOW = "lowPrice24h" may Price;
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
        TICK_DIRECTION = "tickDirection" may Ignored(J::Text);
        HOUR_OPEN = "prevPrice1h" may Ignored(J::Price);
        FUNDING_HOURS = "fundingIntervalHour" may Ignored(J::Usual("8"));
        FUNDING_CAP = "fundingCap" may Ignored(J::Text);
        SIDE_INTEREST = "singleOpenInterest" may Ignored(J::Text);
        SIDE_INTEREST_VALUE = "singleOpenInterestValue" may Ignored(J::Text);
        PRE_OPEN_PRICE = "preOpenPrice" may Ignored(J::Text);
        PRE_QTY = "preQty" may Ignored(J::Text);
        PRE_LISTING_PHASE = "curPreListingPhase" may Ignored(J::Text);
    }
}

orders! {
    /// Trades and liquidations of futures (the deprecated ones with less around them), and books of both categories as documented;
    /// spot's, and every depth 1.
    EnvelopeShape of envelope:
        [TOPIC TYPE TIME DATA MATCHING_TIME]
        [TOPIC TIME TYPE DATA MATCHING_TIME];
    /// Linear; spot.
    TradeShape of trade:
        [TRADE_TIME SYMBOL TAKER QTY PRICE TICK_DIRECTION ID IS_BLOCK IS_RPI SEQUENCE]
        [ID TRADE_TIME PRICE QTY TAKER SEQUENCE SYMBOL IS_BLOCK IS_RPI];
    /// Both categories.
    QuoteShape of quote:
        [SYMBOL BID ASK UPDATE_ID SEQUENCE];
    /// Both categories.
    BookShape of book:
        [SYMBOL BIDS ASKS UPDATE_ID SEQUENCE];

    /// Futures; spot.
    TickerEnvelopeShape of envelope:
        [TOPIC TYPE DATA CROSS_SEQUENCE TIME]
        [TOPIC TIME TYPE CROSS_SEQUENCE DATA];
    /// Futures; spot.
    KlineEnvelopeShape of envelope:
        [TOPIC DATA TIME TYPE]
        [TYPE TOPIC DATA TIME];
    /// Both categories.
    CandleShape of candle:
        [OPEN_TIME CLOSE_TIME INTERVAL OPEN CLOSE HIGH LOW VOLUME TURNOVER IS_CLOSED MATCHING_TIME];
    /// Futures.
    LiquidationShape of liquidation:
        [TIME SYMBOL POSITION QTY PRICE];
    /// As it came; as it was documented last.
    OldLiquidationShape of old_liquidation:
        [SYMBOL POSITION PRICE OLD_QTY TIME]
        [PRICE POSITION QTY SYMBOL UPDATED_TIME];
    /// Linear as it comes (a change has one side's interest last); linear as documented; spot.
    TickerShape of ticker:
        [SYMBOL
         (TICK_DIRECTION CHANGE_RATIO LAST_PRICE OPEN HIGH LOW HOUR_OPEN MARK_PRICE INDEX_PRICE OPEN_INTEREST OPEN_INTEREST_VALUE
          TURNOVER VOLUME FUNDING_HOURS FUNDING_CAP SIDE_INTEREST SIDE_INTEREST_VALUE NEXT_FUNDING_TIME FUNDING_RATE)
         unless BID_PRICE ASK_PRICE:
         BID_PRICE BID_QTY ASK_PRICE ASK_QTY SIDE_INTEREST SIDE_INTEREST_VALUE PRE_OPEN_PRICE PRE_QTY PRE_LISTING_PHASE]
        [SYMBOL TICK_DIRECTION CHANGE_RATIO LAST_PRICE OPEN HIGH LOW HOUR_OPEN MARK_PRICE INDEX_PRICE OPEN_INTEREST OPEN_INTEREST_VALUE
         TURNOVER VOLUME NEXT_FUNDING_TIME FUNDING_RATE BID_PRICE BID_QTY ASK_PRICE ASK_QTY FUNDING_HOURS]
        [SYMBOL LAST_PRICE HIGH LOW OPEN VOLUME TURNOVER CHANGE_RATIO USD_INDEX_PRICE];
}
