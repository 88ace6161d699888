//! What a venue says happened. Every event carries who, when (venue and here) and its sequence ids.

use super::{BookState, Decimal, Price, Qty, Received, Symbol, VenueTime};
use std::ops::{BitOr, BitOrAssign};

/// What every event carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Meta {
    /// The symbol.
    pub symbol: Symbol,
    /// When the read that brought its last byte returned.
    pub received: Received,
    /// When the venue published it, if the message says.
    pub event_time: Option<VenueTime>,
    /// When the venue's matching engine did it, if the message says.
    pub matching_time: Option<VenueTime>,
}

/// The kinds of event, one routing table each.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum EventKind {
    /// [`Trade`].
    Trade,
    /// [`AggTrade`].
    AggTrade,
    /// [`Quote`].
    Quote,
    /// [`Ticker`].
    Ticker,
    /// [`BookUpdate`].
    Book,
    /// [`Kline`].
    Kline,
    /// [`MarkPrice`].
    MarkPrice,
    /// [`Liquidation`].
    Liquidation,
    /// [`BookEvent`](crate::book::BookEvent): what became of a book that the engine keeps.
    KeptBook,
    /// [`Gap`](super::Gap): told by the engine, sent by no venue.
    Gap,
}

impl EventKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Trade,
        Self::AggTrade,
        Self::Quote,
        Self::Ticker,
        Self::Book,
        Self::Kline,
        Self::MarkPrice,
        Self::Liquidation,
        Self::KeptBook,
        Self::Gap,
    ];
}

/// A side of the market.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// Buying.
    Buy,
    /// Selling.
    Sell,
}

/// A UUID: 128 bits, kept as two words. A `u128` would make everything around it begin at a multiple of 16: a trade would
/// be 128 bytes, and is 112.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uuid {
    high: u64,
    low: u64,
}

impl Uuid {
    /// From its bits, the first digit of its text uppermost.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn from_bits(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// Its bits.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }
}

impl std::fmt::Display for Uuid {
    /// As RFC 9562, section 4, writes it: lower-case digits, 8-4-4-4-12.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { high, low } = self;
        let [first, second, third] = [high >> 32, high >> 16 & 0xffff, high & 0xffff];
        write!(f, "{first:08x}-{second:04x}-{third:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
    }
}

/// A trade's identity on its venue.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TradeId {
    /// A number (Binance, Bybit spot).
    Number(u64),
    /// A UUID (Bybit futures).
    Uuid(Uuid),
    /// Any other text: a 64-bit hash (FNV-1a) of its bytes.
    Hash(u64),
}

/// One fill.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trade {
    /// Who and when.
    pub meta: Meta,
    /// The venue's id.
    pub id: TradeId,
    /// Price on the symbol's grid.
    pub price: Price,
    /// Quantity on the symbol's grid.
    pub qty: Qty,
    /// Which side took liquidity. Binance's `m` (buyer is maker) means the taker sold.
    pub taker: Side,
    /// The venue's cross sequence (Bybit `seq`), if it gives one.
    pub sequence: Option<u64>,
    /// A block trade, negotiated off the book (Bybit `BT`).
    pub is_block: bool,
    /// Filled against a retail-price-improvement order (Bybit `RPI`).
    pub is_rpi: bool,
    /// It did not come on its stream: it was missing there, and was fetched by REST. It comes late, behind the
    /// [`Gap`](super::Gap) that told of it; `meta.received` is when the answer came.
    pub is_refilled: bool,
}

/// The fills of one taker order at one price (Binance aggTrade).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AggTrade {
    /// Who and when.
    pub meta: Meta,
    /// Aggregate id (`a`).
    pub id: u64,
    /// Price on the symbol's grid.
    pub price: Price,
    /// Quantity on the symbol's grid.
    pub qty: Qty,
    /// Quantity without retail-price-improvement fills (`nq`, USD-M since 2026), if the message says.
    pub qty_without_rpi: Option<Qty>,
    /// Which side took liquidity.
    pub taker: Side,
    /// First trade id in the aggregate (`f`).
    pub first_trade_id: u64,
    /// Last trade id in the aggregate (`l`).
    pub last_trade_id: u64,
    /// As [`Trade::is_refilled`].
    pub is_refilled: bool,
}

/// One price level. Quantity zero: the level is gone, or the side is empty.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Level {
    /// Price on the symbol's grid.
    pub price: Price,
    /// Quantity at the price, absolute.
    pub qty: Qty,
}

/// Best bid and ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quote {
    /// Who and when.
    pub meta: Meta,
    /// Best bid; quantity zero if there is none.
    pub bid: Level,
    /// Best ask; quantity zero if there is none.
    pub ask: Level,
    /// Book update id (`u`).
    pub update_id: u64,
    /// Cross sequence (Bybit `seq`), if the venue gives one.
    pub sequence: Option<u64>,
}

/// Update ids of a book event, as the venue's sequence rule needs them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SequenceIds {
    /// First update id in the event (Binance `U`; elsewhere equal to `last`).
    pub first: u64,
    /// Last update id in the event (`u`, `lastUpdateId`).
    pub last: u64,
    /// Last update id of the event before (USD-M `pu`), if the venue gives it.
    pub previous: Option<u64>,
    /// Cross sequence (Bybit `seq`), if the venue gives it.
    pub cross: Option<u64>,
}

/// What the levels of a [`BookUpdate`] are.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BookKind {
    /// Changes: each level's quantity is absolute, zero deletes.
    Delta,
    /// The whole book to the channel's depth; replaces what was there (Bybit snapshots).
    Snapshot,
    /// The best levels of each side, complete in itself, not a base for deltas (Binance depth5/10/20).
    Partial,
}

/// Book levels that changed, or all of them. The slices lie in the core's scratch and are valid during the call only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BookUpdate<'a> {
    /// Who and when.
    pub meta: Meta,
    /// What the levels are.
    pub kind: BookKind,
    /// The venue's update ids.
    pub ids: SequenceIds,
    /// Depth of the channel in levels a side; 0 where the channel is unbounded (Binance diff depth).
    pub depth: u16,
    /// Of the book that the engine keeps of this stream, with this message taken: [`BookState::Live`] says that the message
    /// is in it. Where each leg has a book of its own (Bybit), of that of the leg that brought the message. `None` where it
    /// keeps none.
    pub state: Option<BookState>,
    /// Bids, in the venue's order.
    pub bids: &'a [Level],
    /// Asks, in the venue's order.
    pub asks: &'a [Level],
}

/// Length of a kline, in the venues' units.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KlineInterval {
    /// Seconds.
    Seconds(u16),
    /// Minutes.
    Minutes(u16),
    /// Hours.
    Hours(u16),
    /// Days.
    Days(u16),
    /// Weeks.
    Weeks(u16),
    /// Months.
    Months(u16),
}

/// One candle, closed or still forming.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kline {
    /// Who and when.
    pub meta: Meta,
    /// Length.
    pub interval: KlineInterval,
    /// First instant covered.
    pub open_time: Option<VenueTime>,
    /// Last instant covered.
    pub close_time: Option<VenueTime>,
    /// First price. Off-grid type: a long candle may reach back to another tick size.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Volume in base (or contracts).
    pub volume: Decimal,
    /// Volume in quote.
    pub turnover: Decimal,
    /// Number of trades, if the venue says (Binance `n`).
    pub trade_count: Option<u64>,
    /// Base volume bought by takers, if the venue says (Binance `V`).
    pub taker_buy_volume: Option<Decimal>,
    /// True once the candle will not change any more.
    pub is_closed: bool,
}

/// Mark price, index and funding (Binance USD-M; Bybit sends these in its ticker).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MarkPrice {
    /// Who and when.
    pub meta: Meta,
    /// Mark price.
    pub mark: Decimal,
    /// Index price, if given.
    pub index: Option<Decimal>,
    /// Estimated settlement price, if given (`P`, meaningful in the last hour).
    pub settlement: Option<Decimal>,
    /// Moving average of the mark price, if given (`ap`).
    pub mark_average: Option<Decimal>,
    /// Funding rate per interval, if given and not empty.
    pub funding_rate: Option<Decimal>,
    /// Next funding time, if given.
    pub next_funding_time: Option<VenueTime>,
}

/// A position liquidated by the venue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Liquidation {
    /// Who and when.
    pub meta: Meta,
    /// Side of the position that was liquidated: `Buy` is a long. Binance names the order's side, which is the
    /// opposite, and is turned round here; Bybit names the position's.
    pub position: Side,
    /// Price on the symbol's grid: the order's (Binance `p`) or the bankruptcy price (Bybit `p`).
    pub price: Price,
    /// Quantity on the symbol's grid.
    pub qty: Qty,
    /// Average fill price, if given (Binance `ap`).
    pub average_price: Option<Decimal>,
}

/// A set of ticker fields.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(transparent)]
pub struct TickerFields(pub u32);

macro_rules! ticker_fields {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl TickerFields {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
        }
    };
}

ticker_fields! {
    /// `last_price`.
    LAST_PRICE = 0;
    /// `last_qty`.
    LAST_QTY = 1;
    /// `bid`. Known once one message has told both its price and its quantity; half of an unknown one stays unknown.
    BID = 2;
    /// `ask`, as `bid`.
    ASK = 3;
    /// `open`.
    OPEN = 4;
    /// `high`.
    HIGH = 5;
    /// `low`.
    LOW = 6;
    /// `volume`.
    VOLUME = 7;
    /// `turnover`.
    TURNOVER = 8;
    /// `change_ratio`.
    CHANGE_RATIO = 9;
    /// `weighted_average`.
    WEIGHTED_AVERAGE = 10;
    /// `mark_price`.
    MARK_PRICE = 11;
    /// `index_price`.
    INDEX_PRICE = 12;
    /// `funding_rate`.
    FUNDING_RATE = 13;
    /// `next_funding_time`.
    NEXT_FUNDING_TIME = 14;
    /// `open_interest`.
    OPEN_INTEREST = 15;
    /// `open_interest_value`.
    OPEN_INTEREST_VALUE = 16;
    /// `trade_count`.
    TRADE_COUNT = 17;
    /// Some field the venue sends and the engine does not carry (Bybit `tickDirection`, `fundingCap`, ...).
    OTHER = 31;
}

impl TickerFields {
    /// No field.
    pub const NONE: Self = Self(0);

    /// True if every field of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The fields of both sets: `|` for constants.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for TickerFields {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for TickerFields {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The rolling statistics of a symbol, whole: where the venue sends changes only (Bybit futures) they were merged on
/// the hot core. A field means something only if `known` holds it; `changed` says what this message brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticker {
    /// Who and when.
    pub meta: Meta,
    /// Fields this message carried.
    pub changed: TickerFields,
    /// Fields that have a value, by this message or by one before it on this subscription.
    pub known: TickerFields,
    /// Cross sequence (Bybit `cs`), if given.
    pub sequence: Option<u64>,
    /// Last trade's price.
    pub last_price: Price,
    /// Last trade's quantity.
    pub last_qty: Qty,
    /// Best bid.
    pub bid: Level,
    /// Best ask.
    pub ask: Level,
    /// Price 24 hours ago. Off-grid type, as are all statistics: the tick may have been another then.
    pub open: Decimal,
    /// Highest price in 24 hours.
    pub high: Decimal,
    /// Lowest price in 24 hours.
    pub low: Decimal,
    /// Base volume in 24 hours.
    pub volume: Decimal,
    /// Quote volume in 24 hours.
    pub turnover: Decimal,
    /// Change in 24 hours as a ratio, `0.01` is one percent (Binance's `P` is in percent and is divided by 100).
    pub change_ratio: Decimal,
    /// Volume-weighted average price in 24 hours.
    pub weighted_average: Decimal,
    /// Mark price.
    pub mark_price: Decimal,
    /// Index price (Bybit spot: the USD index).
    pub index_price: Decimal,
    /// Funding rate per interval.
    pub funding_rate: Decimal,
    /// Next funding time.
    pub next_funding_time: Option<VenueTime>,
    /// Open interest, in base (or contracts), both sides.
    pub open_interest: Decimal,
    /// Open interest in quote.
    pub open_interest_value: Decimal,
    /// Number of trades in 24 hours.
    pub trade_count: u64,
}

impl Ticker {
    /// A ticker of which nothing is known yet.
    #[must_use]
    pub const fn unknown(meta: Meta) -> Self {
        Self {
            meta,
            changed: TickerFields::NONE,
            known: TickerFields::NONE,
            sequence: None,
            last_price: Price::ZERO,
            last_qty: Qty::ZERO,
            bid: Level { price: Price::ZERO, qty: Qty::ZERO },
            ask: Level { price: Price::ZERO, qty: Qty::ZERO },
            open: Decimal::ZERO,
            high: Decimal::ZERO,
            low: Decimal::ZERO,
            volume: Decimal::ZERO,
            turnover: Decimal::ZERO,
            change_ratio: Decimal::ZERO,
            weighted_average: Decimal::ZERO,
            mark_price: Decimal::ZERO,
            index_price: Decimal::ZERO,
            funding_rate: Decimal::ZERO,
            next_funding_time: None,
            open_interest: Decimal::ZERO,
            open_interest_value: Decimal::ZERO,
            trade_count: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_the_bits_and_the_text_that_it_was_made_of() {
        for text in ["a9188a0a-82bc-50de-be60-03eedbe3cdd7", "00000000-0000-0000-0000-000000000001"] {
            let bits = u128::from_str_radix(&text.replace('-', ""), 16).unwrap();
            let uuid = Uuid::from_bits(bits);
            assert_eq!((uuid.bits(), uuid.to_string().as_str()), (bits, text));
        }
    }

    #[test]
    fn no_event_begins_at_a_multiple_of_more_than_eight() {
        assert_eq!(
            [align_of::<Trade>(), align_of::<Quote>(), align_of::<BookUpdate<'_>>(), align_of::<Decimal>()],
            [8; 4]
        );
        assert_eq!([align_of::<Ticker>(), align_of::<Kline>(), align_of::<MarkPrice>()], [8; 3]);
        assert_eq!((size_of::<Trade>(), size_of::<Decimal>()), (112, 24));
    }
}
