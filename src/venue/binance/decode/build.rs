//! One builder per event kind: slots in, an event in its place out. Both tiers use them.

use super::shapes::{
    agg_trade, candle, depth, liquidation_order, mark_price, mini_ticker, partial_depth, quote, ticker, trade,
};
use crate::market::{
    AggTrade, Decimal, Kline, KlineInterval, Level, Liquidation, MarkPrice, Meta, Quote, SequenceIds, Side, Ticker,
    TickerFields, Trade, TradeId,
};
use crate::venue::fields::{Context, Listed, decimal, decimal_if, decimals, level_of, price, qty, slot_time};
use crate::venue::isa::Isa;
use crate::venue::number::{Number, parse_uint};
use crate::venue::shape::Slots;
use crate::venue::{DecodeError, Reason};

/// Binance's `m`: the buyer was the maker, so the taker sold.
#[inline(always)]
fn taker(is_buyer_maker: u64) -> Side {
    if is_buyer_maker == 1 { Side::Sell } else { Side::Buy }
}

#[inline(always)]
pub(super) fn build_trade<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<Trade>,
) -> Result<&'p mut Trade, DecodeError> {
    let listed = context.listed_in(slots, trade::SYMBOL, "s")?;
    let event_time = slot_time(slots, trade::EVENT_TIME, "E")?;
    let matching_time = slot_time(slots, trade::TRADE_TIME, "T")?;
    let numbers = (slots.number(trade::PRICE), slots.number(trade::QTY));
    let Level { price, qty } = level_of(numbers, listed, ("p", "q"))?;
    Ok(place.insert(Trade {
        meta: context.meta(listed, event_time, matching_time),
        id: TradeId::Number(slots.int(trade::ID)),
        price,
        qty,
        taker: taker(slots.int(trade::IS_BUYER_MAKER)),
        sequence: None,
        is_block: false,
        is_rpi: false,
        is_refilled: false,
    }))
}

#[inline(always)]
pub(super) fn build_quote<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<Quote>,
) -> Result<&'p mut Quote, DecodeError> {
    let listed = context.listed_in(slots, quote::SYMBOL, "s")?;
    let event_time = slot_time(slots, quote::EVENT_TIME, "E")?;
    let matching_time = slot_time(slots, quote::MATCHING_TIME, "T")?;
    let bid = (slots.number(quote::BID_PRICE), slots.number(quote::BID_QTY));
    let ask = (slots.number(quote::ASK_PRICE), slots.number(quote::ASK_QTY));
    let [bid, ask] = [level_of(bid, listed, ("b", "B"))?, level_of(ask, listed, ("a", "A"))?];
    Ok(place.insert(Quote {
        meta: context.meta(listed, event_time, matching_time),
        bid,
        ask,
        update_id: slots.int(quote::UPDATE_ID),
        sequence: None,
    }))
}

#[inline(always)]
pub(super) fn build_agg_trade<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<AggTrade>,
) -> Result<&'p mut AggTrade, DecodeError> {
    let listed = context.listed_in(slots, agg_trade::SYMBOL, "s")?;
    let event_time = slot_time(slots, agg_trade::EVENT_TIME, "E")?;
    let matching_time = slot_time(slots, agg_trade::TRADE_TIME, "T")?;
    let qty_without_rpi = match slots.number(agg_trade::QTY_WITHOUT_RPI) {
        number if number.text().is_empty() => None,
        number => Some(qty(number, listed, "nq")?),
    };
    let numbers = (slots.number(agg_trade::PRICE), slots.number(agg_trade::QTY));
    let Level { price, qty } = level_of(numbers, listed, ("p", "q"))?;
    Ok(place.insert(AggTrade {
        meta: context.meta(listed, event_time, matching_time),
        id: slots.int(agg_trade::ID),
        price,
        qty,
        qty_without_rpi,
        taker: taker(slots.int(agg_trade::IS_BUYER_MAKER)),
        first_trade_id: slots.int(agg_trade::FIRST_TRADE_ID),
        last_trade_id: slots.int(agg_trade::LAST_TRADE_ID),
        is_refilled: false,
    }))
}

/// What every ticker has.
const MINI_TICKER: TickerFields = TickerFields::LAST_PRICE
    .union(TickerFields::OPEN)
    .union(TickerFields::HIGH)
    .union(TickerFields::LOW)
    .union(TickerFields::VOLUME)
    .union(TickerFields::TURNOVER);

/// What a whole one has, but for the touch.
const TICKER: TickerFields = MINI_TICKER
    .union(TickerFields::LAST_QTY)
    .union(TickerFields::TRADE_COUNT)
    .union(TickerFields::WEIGHTED_AVERAGE)
    .union(TickerFields::CHANGE_RATIO);

#[inline(always)]
pub(super) fn build_ticker<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<Ticker>,
) -> Result<&'p mut Ticker, DecodeError> {
    let isa = context.isa;
    let listed = context.listed_in(slots, ticker::SYMBOL, "s")?;
    let event_time = slot_time(slots, ticker::EVENT_TIME, "E")?;
    let mut fields = TICKER;
    if has_side(slots, BID) {
        fields |= TickerFields::BID;
    }
    if has_side(slots, ASK) {
        fields |= TickerFields::ASK;
    }
    let event = ticker_in(place, context.meta(listed, event_time, None), fields, slots);
    event.last_price = price(slots.number(ticker::LAST_PRICE), listed, "c")?;
    event.last_qty = qty(slots.number(ticker::LAST_QTY), listed, "Q")?;
    event.trade_count = slots.int(ticker::TRADE_COUNT);
    side(slots, BID, listed, &mut event.bid, "b")?;
    side(slots, ASK, listed, &mut event.ask, "a")?;
    decimals(
        [slots.number(ticker::OPEN), slots.number(ticker::HIGH)],
        isa,
        [&mut event.open, &mut event.high],
        ["o", "h"],
    )?;
    decimals(
        [slots.number(ticker::VOLUME), slots.number(ticker::TURNOVER)],
        isa,
        [&mut event.volume, &mut event.turnover],
        ["v", "q"],
    )?;
    decimals(
        [slots.number(ticker::LOW), slots.number(ticker::WEIGHTED_AVERAGE)],
        isa,
        [&mut event.low, &mut event.weighted_average],
        ["l", "w"],
    )?;
    let mut percent = Decimal::ZERO;
    decimal(slots.number(ticker::CHANGE_PERCENT), isa, &mut percent, "P")?;
    event.change_ratio = Decimal::new(percent.mantissa(), percent.scale() + 2);
    Ok(event)
}

#[inline(always)]
pub(super) fn build_mini_ticker<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<Ticker>,
) -> Result<&'p mut Ticker, DecodeError> {
    let isa = context.isa;
    let listed = context.listed_in(slots, mini_ticker::SYMBOL, "s")?;
    let event_time = slot_time(slots, mini_ticker::EVENT_TIME, "E")?;
    let event = ticker_in(place, context.meta(listed, event_time, None), MINI_TICKER, slots);
    event.last_price = price(slots.number(mini_ticker::LAST_PRICE), listed, "c")?;
    decimals(
        [slots.number(mini_ticker::OPEN), slots.number(mini_ticker::HIGH)],
        isa,
        [&mut event.open, &mut event.high],
        ["o", "h"],
    )?;
    decimal(slots.number(mini_ticker::LOW), isa, &mut event.low, "l")?;
    decimals(
        [slots.number(mini_ticker::VOLUME), slots.number(mini_ticker::TURNOVER)],
        isa,
        [&mut event.volume, &mut event.turnover],
        ["v", "q"],
    )?;
    Ok(event)
}

/// A ticker in its place, of which all these fields are to be written. Every Binance ticker is whole: what it carries is all that is
/// known. Where the place has one that carries the same, nothing else of it was ever written, and four hundred bytes of zeros need
/// not be written again: so nobody but who builds here may write to such a place.
#[inline(always)]
fn ticker_in<'p>(
    place: &'p mut Option<Ticker>,
    meta: Meta,
    mut fields: TickerFields,
    slots: &Slots<'_>,
) -> &'p mut Ticker {
    if slots.has_other {
        fields |= TickerFields::OTHER;
    }
    if place.as_ref().is_none_or(|event| event.known != fields) {
        *place = None;
    }
    let event = place.get_or_insert_with(|| Ticker { changed: fields, known: fields, ..Ticker::unknown(meta) });
    event.meta = meta;
    event
}

/// The members of one side of a spot ticker: price and quantity.
type TickerSide = (usize, usize);

const BID: TickerSide = (ticker::BID_PRICE, ticker::BID_QTY);
const ASK: TickerSide = (ticker::ASK_PRICE, ticker::ASK_QTY);

/// Whether a ticker has this side. Half a level is none.
#[inline(always)]
fn has_side(slots: &Slots<'_>, (price_slot, qty_slot): TickerSide) -> bool {
    slots.has(price_slot) && slots.has(qty_slot)
}

/// One side of a spot ticker, if it is there.
#[inline(always)]
fn side<I: Isa>(
    slots: &Slots<'_>,
    side: TickerSide,
    listed: Listed<I>,
    place: &mut Level,
    field: &'static str,
) -> Result<(), DecodeError> {
    let (price_slot, qty_slot) = side;
    if has_side(slots, side) {
        *place = level_of((slots.number(price_slot), slots.number(qty_slot)), listed, (field, field))?;
    } else if slots.has(price_slot) {
        // No level, but a number it must be.
        price(slots.number(price_slot), listed, field)?;
    } else if slots.has(qty_slot) {
        qty(slots.number(qty_slot), listed, field)?;
    }
    Ok(())
}

pub(super) fn depth_ids(slots: &Slots<'_>) -> SequenceIds {
    SequenceIds {
        first: slots.int(depth::FIRST_ID),
        last: slots.int(depth::LAST_ID),
        previous: slots.int_if(depth::PREVIOUS_ID),
        cross: None,
    }
}

pub(super) fn partial_depth_ids(slots: &Slots<'_>) -> SequenceIds {
    let last = slots.int(partial_depth::LAST_ID);
    SequenceIds { first: last, last, previous: None, cross: None }
}

/// A candle of the symbol that the message around it names, but for its event time, which stands there too.
#[inline(always)]
pub(super) fn build_kline<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    symbol: Number<'_>,
    place: &'p mut Option<Kline>,
) -> Result<&'p mut Kline, DecodeError> {
    let isa = context.isa;
    let listed = context.listed(symbol, "s")?;
    let interval = interval(slots.text(candle::INTERVAL)).ok_or(DecodeError::new(Reason::WrongType, "i"))?;
    let event = place.insert(Kline {
        meta: context.meta(listed, None, None),
        interval,
        open_time: slot_time(slots, candle::OPEN_TIME, "t")?,
        close_time: slot_time(slots, candle::CLOSE_TIME, "T")?,
        open: Decimal::ZERO,
        high: Decimal::ZERO,
        low: Decimal::ZERO,
        close: Decimal::ZERO,
        volume: Decimal::ZERO,
        turnover: Decimal::ZERO,
        trade_count: Some(slots.int(candle::TRADE_COUNT)),
        taker_buy_volume: None,
        is_closed: slots.int(candle::IS_CLOSED) == 1,
    });
    decimals(
        [slots.number(candle::OPEN), slots.number(candle::HIGH)],
        isa,
        [&mut event.open, &mut event.high],
        ["o", "h"],
    )?;
    decimals(
        [slots.number(candle::LOW), slots.number(candle::CLOSE)],
        isa,
        [&mut event.low, &mut event.close],
        ["l", "c"],
    )?;
    decimals(
        [slots.number(candle::VOLUME), slots.number(candle::TURNOVER)],
        isa,
        [&mut event.volume, &mut event.turnover],
        ["v", "q"],
    )?;
    let taker_buy_volume = event.taker_buy_volume.insert(Decimal::ZERO);
    decimal(slots.number(candle::TAKER_BUY_VOLUME), isa, taker_buy_volume, "V")?;
    Ok(event)
}

/// `1s`, `15m`, `4h`, `3d`, `1w`, `1M`.
pub(in crate::venue) fn interval(text: &[u8]) -> Option<KlineInterval> {
    let (unit, count) = text.split_last()?;
    let count = u16::try_from(parse_uint(count)?).ok()?;
    match unit {
        b's' => Some(KlineInterval::Seconds(count)),
        b'm' => Some(KlineInterval::Minutes(count)),
        b'h' => Some(KlineInterval::Hours(count)),
        b'd' => Some(KlineInterval::Days(count)),
        b'w' => Some(KlineInterval::Weeks(count)),
        b'M' => Some(KlineInterval::Months(count)),
        _ => None,
    }
}

#[inline(always)]
pub(super) fn build_mark_price<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<MarkPrice>,
) -> Result<&'p mut MarkPrice, DecodeError> {
    let isa = context.isa;
    let listed = context.listed_in(slots, mark_price::SYMBOL, "s")?;
    let event_time = slot_time(slots, mark_price::EVENT_TIME, "E")?;
    let event = place.insert(MarkPrice {
        meta: context.meta(listed, event_time, None),
        mark: Decimal::ZERO,
        index: None,
        settlement: None,
        mark_average: None,
        funding_rate: None,
        next_funding_time: slot_time(slots, mark_price::NEXT_FUNDING_TIME, "T")?,
    });
    decimal(slots.number(mark_price::MARK), isa, &mut event.mark, "p")?;
    decimal_if(slots, mark_price::INDEX, isa, &mut event.index, "i")?;
    decimal_if(slots, mark_price::SETTLEMENT, isa, &mut event.settlement, "P")?;
    decimal_if(slots, mark_price::MARK_AVERAGE, isa, &mut event.mark_average, "ap")?;
    decimal_if(slots, mark_price::FUNDING_RATE, isa, &mut event.funding_rate, "r")?;
    Ok(event)
}

/// A liquidation, but for its event time, which stands around its order.
#[inline(always)]
pub(super) fn build_liquidation<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<Liquidation>,
) -> Result<&'p mut Liquidation, DecodeError> {
    let listed = context.listed_in(slots, liquidation_order::SYMBOL, "s")?;
    let matching_time = slot_time(slots, liquidation_order::TRADE_TIME, "T")?;
    // The order sells what a long held: SELL, the first word, is a liquidated long.
    let position = if slots.int(liquidation_order::SIDE) == 0 { Side::Buy } else { Side::Sell };
    let numbers = (slots.number(liquidation_order::PRICE), slots.number(liquidation_order::QTY));
    let Level { price, qty } = level_of(numbers, listed, ("p", "q"))?;
    let event = place.insert(Liquidation {
        meta: context.meta(listed, None, matching_time),
        position,
        price,
        qty,
        average_price: None,
    });
    decimal_if(slots, liquidation_order::AVERAGE_PRICE, context.isa, &mut event.average_price, "ap")?;
    Ok(event)
}
