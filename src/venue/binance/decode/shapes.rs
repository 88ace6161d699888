//! What Binance's messages look like: spot and USD-M in one table where their members differ only by some.
//!
//! Source: spot documents of 2026-07-21, USD-M connector and notices of 2026-08; orders as recorded on the wire.

use crate::venue::shape::{orders, shape};

shape! {
    /// `<symbol>@trade`.
    mod trade {
        KIND = "e" needs Word(words!["trade"]);
        EVENT_TIME = "E" needs Time;
        SYMBOL = "s" needs Symbol;
        ID = "t" needs Int;
        PRICE = "p" needs Decimal;
        QTY = "q" needs Decimal;
        BUYER_ORDER = "b" may Ignored(J::Int);
        SELLER_ORDER = "a" may Ignored(J::Int);
        TRADE_TIME = "T" needs Time;
        IS_BUYER_MAKER = "m" needs Bool;
        IGNORE = "M" may Ignored(J::Bool);
        EXECUTION = "X" may Ignored(J::Usual("MARKET"));
        FAMILY = "st" may Ignored(J::Int);
        PAIR = "ps" may Ignored(J::Text);
    }
}

shape! {
    /// `<symbol>@bookTicker` and `!bookTicker`. Spot has neither `e` nor any time.
    mod quote {
        KIND = "e" may Word(words!["bookTicker"]);
        UPDATE_ID = "u" needs Int;
        EVENT_TIME = "E" may Time;
        MATCHING_TIME = "T" may Time;
        SYMBOL = "s" needs Symbol;
        PAIR = "ps" may Ignored(J::Text);
        BID_PRICE = "b" needs Price;
        BID_QTY = "B" needs Decimal;
        ASK_PRICE = "a" needs Price;
        ASK_QTY = "A" needs Decimal;
        FAMILY = "st" may Ignored(J::Int);
    }
}

shape! {
    /// `<symbol>@aggTrade`.
    mod agg_trade {
        KIND = "e" needs Word(words!["aggTrade"]);
        EVENT_TIME = "E" needs Time;
        SYMBOL = "s" needs Symbol;
        ID = "a" needs Int;
        PRICE = "p" needs Decimal;
        QTY = "q" needs Decimal;
        QTY_WITHOUT_RPI = "nq" may Decimal;
        FIRST_TRADE_ID = "f" needs NextInt;
        LAST_TRADE_ID = "l" needs NextInt;
        TRADE_TIME = "T" needs Time;
        IS_BUYER_MAKER = "m" needs Bool;
        IGNORE = "M" may Ignored(J::Bool);
        FAMILY = "st" may Ignored(J::Int);
    }
}

shape! {
    /// `<symbol>@ticker`, `!ticker@arr`. USD-M has no `x`, `b`, `B`, `a`, `A`.
    mod ticker {
        KIND = "e" needs Word(words!["24hrTicker"]);
        EVENT_TIME = "E" needs Time;
        SYMBOL = "s" needs Symbol;
        CHANGE = "p" may Ignored(J::Text);
        CHANGE_PERCENT = "P" needs Decimal;
        WEIGHTED_AVERAGE = "w" needs Price;
        PRICE_BEFORE = "x" may Ignored(J::Price);
        LAST_PRICE = "c" needs Price;
        LAST_QTY = "Q" needs Decimal;
        BID_PRICE = "b" may Price;
        BID_QTY = "B" may Decimal;
        ASK_PRICE = "a" may Price;
        ASK_QTY = "A" may Decimal;
        OPEN = "o" needs Price;
        HIGH = "h" needs Price;
        LOW = "l" needs Price;
        VOLUME = "v" needs Decimal;
        TURNOVER = "q" needs Decimal;
        OPEN_TIME = "O" may Ignored(J::Int);
        CLOSE_TIME = "C" may Ignored(J::Int);
        FIRST_TRADE_ID = "F" may Ignored(J::Int);
        LAST_TRADE_ID = "L" may Ignored(J::Int);
        TRADE_COUNT = "n" needs Int;
        FAMILY = "st" may Ignored(J::Int);
    }
}

shape! {
    /// `<symbol>@miniTicker`, `!miniTicker@arr`.
    mod mini_ticker {
        KIND = "e" needs Word(words!["24hrMiniTicker"]);
        EVENT_TIME = "E" needs Time;
        SYMBOL = "s" needs Symbol;
        LAST_PRICE = "c" needs Price;
        OPEN = "o" needs Price;
        HIGH = "h" needs Price;
        LOW = "l" needs Price;
        VOLUME = "v" needs Decimal;
        TURNOVER = "q" needs Decimal;
        FAMILY = "st" may Ignored(J::Int);
    }
}

shape! {
    /// `<symbol>@depth`, and on USD-M `<symbol>@depth5|10|20` too.
    mod depth {
        KIND = "e" needs Word(words!["depthUpdate"]);
        EVENT_TIME = "E" needs Time;
        MATCHING_TIME = "T" may Time;
        SYMBOL = "s" needs Symbol;
        PAIR = "ps" may Ignored(J::Text);
        FIRST_ID = "U" needs Int;
        LAST_ID = "u" needs NextInt;
        PREVIOUS_ID = "pu" may NextInt;
        BIDS = "b" needs Levels;
        ASKS = "a" needs Levels;
        FAMILY = "st" may Ignored(J::Int);
    }
}

shape! {
    /// Spot `<symbol>@depth5|10|20`: neither symbol nor time.
    mod partial_depth {
        LAST_ID = "lastUpdateId" needs Int;
        BIDS = "bids" needs Levels;
        ASKS = "asks" needs Levels;
    }
}

shape! {
    /// `<symbol>@kline_<interval>`, around the candle.
    mod kline {
        KIND = "e" needs Word(words!["kline"]);
        EVENT_TIME = "E" needs Time;
        SYMBOL = "s" needs Symbol;
        CANDLE = "k" needs Nested;
        FAMILY = "st" may Ignored(J::Int);
    }
}

shape! {
    /// The candle of a kline.
    mod candle {
        OPEN_TIME = "t" needs Time;
        CLOSE_TIME = "T" needs Time;
        SYMBOL = "s" may Ignored(J::Text);
        INTERVAL = "i" needs Text;
        FIRST_TRADE_ID = "f" may Ignored(J::Int);
        LAST_TRADE_ID = "L" may Ignored(J::Int);
        OPEN = "o" needs Price;
        CLOSE = "c" needs Price;
        HIGH = "h" needs Price;
        LOW = "l" needs Price;
        VOLUME = "v" needs Decimal;
        TRADE_COUNT = "n" needs Int;
        IS_CLOSED = "x" needs Flag;
        TURNOVER = "q" needs Decimal;
        TAKER_BUY_VOLUME = "V" needs Decimal;
        TAKER_BUY_TURNOVER = "Q" may Ignored(J::Text);
        IGNORE = "B" may Ignored(J::Usual("0"));
    }
}

shape! {
    /// USD-M `<symbol>@markPrice`, `!markPrice@arr`.
    mod mark_price {
        KIND = "e" needs Word(words!["markPriceUpdate"]);
        EVENT_TIME = "E" needs Time;
        SYMBOL = "s" needs Symbol;
        MARK = "p" needs Price;
        MARK_AVERAGE = "ap" may Price;
        INDEX = "i" may Price;
        SETTLEMENT = "P" may Price;
        FUNDING_RATE = "r" may Decimal;
        NEXT_FUNDING_TIME = "T" may Time;
        FAMILY = "st" may Ignored(J::Int);
    }
}

shape! {
    /// USD-M `<symbol>@forceOrder`, `!forceOrder@arr`, around the order.
    mod force_order {
        KIND = "e" needs Word(words!["forceOrder"]);
        EVENT_TIME = "E" needs Time;
        ORDER = "o" needs Nested;
        FAMILY = "st" may Ignored(J::Int);
    }
}

shape! {
    /// The order that closes a liquidated position: its side is the opposite of the position's.
    mod liquidation_order {
        SYMBOL = "s" needs Symbol;
        SIDE = "S" needs Word(words!["SELL", "BUY"]);
        ORDER_TYPE = "o" may Ignored(J::Usual("LIMIT"));
        TIME_IN_FORCE = "f" may Ignored(J::Usual("IOC"));
        QTY = "q" needs Decimal;
        PRICE = "p" needs Price;
        AVERAGE_PRICE = "ap" may Price;
        STATUS = "X" may Ignored(J::Usual("FILLED"));
        LAST_FILLED = "l" may Ignored(J::Price);
        FILLED = "z" may Ignored(J::Price);
        TRADE_TIME = "T" may Time;
    }
}

orders! {
    /// Spot as it comes; as it came with the orders' ids, and USD-M as documented; USD-M as it comes.
    TradeShape of trade:
        [KIND EVENT_TIME SYMBOL ID PRICE QTY TRADE_TIME IS_BUYER_MAKER IGNORE]
        [KIND EVENT_TIME SYMBOL ID PRICE QTY BUYER_ORDER SELLER_ORDER TRADE_TIME IS_BUYER_MAKER IGNORE FAMILY PAIR]
        [KIND EVENT_TIME TRADE_TIME SYMBOL ID PRICE QTY EXECUTION IS_BUYER_MAKER FAMILY PAIR];
    /// Spot; USD-M as recorded in 2022 and 2024; USD-M as documented in 2026.
    QuoteShape of quote:
        [UPDATE_ID SYMBOL BID_PRICE BID_QTY ASK_PRICE ASK_QTY]
        [KIND UPDATE_ID SYMBOL PAIR BID_PRICE BID_QTY ASK_PRICE ASK_QTY MATCHING_TIME EVENT_TIME FAMILY]
        [KIND UPDATE_ID EVENT_TIME MATCHING_TIME SYMBOL BID_PRICE BID_QTY ASK_PRICE ASK_QTY FAMILY PAIR];
    /// Spot, and USD-M as documented in 2024; USD-M as it comes.
    AggTradeShape of agg_trade:
        [KIND EVENT_TIME SYMBOL ID PRICE QTY QTY_WITHOUT_RPI FIRST_TRADE_ID LAST_TRADE_ID TRADE_TIME IS_BUYER_MAKER IGNORE FAMILY]
        [KIND EVENT_TIME ID SYMBOL PRICE QTY QTY_WITHOUT_RPI FIRST_TRADE_ID LAST_TRADE_ID TRADE_TIME IS_BUYER_MAKER FAMILY];
    /// Spot, and USD-M as recorded; USD-M as documented in 2026.
    DepthShape of depth:
        [KIND EVENT_TIME MATCHING_TIME SYMBOL FIRST_ID LAST_ID PREVIOUS_ID BIDS ASKS]
        [KIND EVENT_TIME MATCHING_TIME SYMBOL PAIR FAMILY FIRST_ID LAST_ID PREVIOUS_ID BIDS ASKS];
    /// Spot.
    PartialDepthShape of partial_depth:
        [LAST_ID BIDS ASKS];

    /// Spot, and USD-M without the touch.
    TickerShape of ticker:
        [KIND EVENT_TIME SYMBOL CHANGE CHANGE_PERCENT WEIGHTED_AVERAGE PRICE_BEFORE LAST_PRICE LAST_QTY BID_PRICE BID_QTY ASK_PRICE
         ASK_QTY OPEN HIGH LOW VOLUME TURNOVER OPEN_TIME CLOSE_TIME FIRST_TRADE_ID LAST_TRADE_ID TRADE_COUNT FAMILY];
    /// Spot and USD-M.
    MiniTickerShape of mini_ticker:
        [KIND EVENT_TIME SYMBOL LAST_PRICE OPEN HIGH LOW VOLUME TURNOVER FAMILY];
    /// Spot and USD-M.
    KlineShape of kline:
        [KIND EVENT_TIME SYMBOL CANDLE FAMILY];
    /// Spot and USD-M.
    CandleShape of candle:
        [OPEN_TIME CLOSE_TIME SYMBOL INTERVAL FIRST_TRADE_ID LAST_TRADE_ID OPEN CLOSE HIGH LOW VOLUME TRADE_COUNT IS_CLOSED
         TURNOVER TAKER_BUY_VOLUME TAKER_BUY_TURNOVER IGNORE];
    /// As documented in 2026; as recorded before the average and the order of the index changed.
    MarkPriceShape of mark_price:
        [KIND EVENT_TIME SYMBOL MARK MARK_AVERAGE INDEX SETTLEMENT FUNDING_RATE NEXT_FUNDING_TIME FAMILY]
        [KIND EVENT_TIME SYMBOL MARK SETTLEMENT INDEX FUNDING_RATE NEXT_FUNDING_TIME];
    /// USD-M.
    ForceOrderShape of force_order:
        [KIND EVENT_TIME ORDER FAMILY];
    /// USD-M.
    LiquidationOrderShape of liquidation_order:
        [SYMBOL SIDE ORDER_TYPE TIME_IN_FORCE QTY PRICE AVERAGE_PRICE STATUS LAST_FILLED FILLED TRADE_TIME];
}
