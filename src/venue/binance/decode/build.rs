//! One builder per event kind: slots in, event out. Tier one uses the first two, tier two all.

use super::shapes::{
    agg_trade, candle, depth, liquidation_order, mark_price, mini_ticker, partial_depth, quote, ticker, trade,
};
use crate::market::{
    AggTrade, Decimal, Kline, KlineInterval, Level, Liquidation, MarkPrice, Quote, SequenceIds, Side, Ticker,
    TickerFields, Trade, TradeId,
};
use crate::venue::fields::{Context, Listed, decimal, decimal_if, level_of, price, qty, slot_time};
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
pub(super) fn build_trade<I: Isa>(slots: &Slots<'_>, context: &Context<'_, I>) -> Result<Trade, DecodeError> {
    let listed = context.listed_in(slots, trade::SYMBOL, "s")?;
    let event_time = slot_time(slots, trade::EVENT_TIME, "E")?;
    let matching_time = slot_time(slots, trade::TRADE_TIME, "T")?;
    let numbers = (slots.number(trade::PRICE), slots.number(trade::QTY));
    let Level { price, qty } = level_of(numbers, listed, ("p", "q"))?;
    Ok(Trade {
        meta: context.meta(listed, event_time, matching_time),
        id: TradeId::Number(slots.int(trade::ID)),
        price,
        qty,
        taker: taker(slots.int(trade::IS_BUYER_MAKER)),
        sequence: None,
        is_block: false,
        is_rpi: false,
        is_refilled: false,
    })
}

#[inline(always)]
pub(super) fn build_quote<I: Isa>(slots: &Slots<'_>, context: &Context<'_, I>) -> Result<Quote, DecodeError> {
    let listed = context.listed_in(slots, quote::SYMBOL, "s")?;
    let event_time = slot_time(slots, quote::EVENT_TIME, "E")?;
    let matching_time = slot_time(slots, quote::MATCHING_TIME, "T")?;
    let bid = (slots.number(quote::BID_PRICE), slots.number(quote::BID_QTY));
    let ask = (slots.number(quote::ASK_PRICE), slots.number(quote::ASK_QTY));
    let [bid, ask] = [level_of(bid, listed, ("b", "B"))?, level_of(ask, listed, ("a", "A"))?];
    Ok(Quote {
        meta: context.meta(listed, event_time, matching_time),
        bid,
        ask,
        update_id: slots.int(quote::UPDATE_ID),
        sequence: None,
    })
}

#[inline(always)]
pub(super) fn build_agg_trade<I: Isa>(slots: &Slots<'_>, context: &Context<'_, I>) -> Result<AggTrade, DecodeError> {
    let listed = context.listed_in(slots, agg_trade::SYMBOL, "s")?;
    let event_time = slot_time(slots, agg_trade::EVENT_TIME, "E")?;
    let matching_time = slot_time(slots, agg_trade::TRADE_TIME, "T")?;
    let qty_without_rpi = match slots.number(agg_trade::QTY_WITHOUT_RPI) {
        number if number.text().is_empty() => None,
        number => Some(qty(number, listed, "nq")?),
    };
    Ok(AggTrade {
        meta: context.meta(listed, event_time, matching_time),
        id: slots.int(agg_trade::ID),
        price: price(slots.number(agg_trade::PRICE), listed, "p")?,
        qty: qty(slots.number(agg_trade::QTY), listed, "q")?,
        qty_without_rpi,
        taker: taker(slots.int(agg_trade::IS_BUYER_MAKER)),
        first_trade_id: slots.int(agg_trade::FIRST_TRADE_ID),
        last_trade_id: slots.int(agg_trade::LAST_TRADE_ID),
        is_refilled: false,
    })
}

/// Sets a statistic that a ticker must carry.
#[inline(always)]
fn set(
    fields: &mut TickerFields,
    field: TickerFields,
    place: &mut Decimal,
    number: Number<'_>,
    isa: impl Isa,
    key: &'static str,
) -> Result<(), DecodeError> {
    *place = decimal(number, isa, key)?;
    *fields |= field;
    Ok(())
}

#[inline(always)]
pub(super) fn build_ticker<I: Isa>(slots: &Slots<'_>, context: &Context<'_, I>) -> Result<Ticker, DecodeError> {
    let listed = context.listed_in(slots, ticker::SYMBOL, "s")?;
    let event_time = slot_time(slots, ticker::EVENT_TIME, "E")?;
    let mut event = Ticker::unknown(context.meta(listed, event_time, None));
    let mut fields = TickerFields::LAST_PRICE | TickerFields::LAST_QTY | TickerFields::TRADE_COUNT;
    event.last_price = price(slots.number(ticker::LAST_PRICE), listed, "c")?;
    event.last_qty = qty(slots.number(ticker::LAST_QTY), listed, "Q")?;
    event.trade_count = slots.int(ticker::TRADE_COUNT);
    if let Some(bid) = side(slots, ticker::BID_PRICE, ticker::BID_QTY, listed, "b")? {
        event.bid = bid;
        fields |= TickerFields::BID;
    }
    if let Some(ask) = side(slots, ticker::ASK_PRICE, ticker::ASK_QTY, listed, "a")? {
        event.ask = ask;
        fields |= TickerFields::ASK;
    }
    set(&mut fields, TickerFields::OPEN, &mut event.open, slots.number(ticker::OPEN), context.isa, "o")?;
    set(&mut fields, TickerFields::HIGH, &mut event.high, slots.number(ticker::HIGH), context.isa, "h")?;
    set(&mut fields, TickerFields::LOW, &mut event.low, slots.number(ticker::LOW), context.isa, "l")?;
    set(&mut fields, TickerFields::VOLUME, &mut event.volume, slots.number(ticker::VOLUME), context.isa, "v")?;
    set(&mut fields, TickerFields::TURNOVER, &mut event.turnover, slots.number(ticker::TURNOVER), context.isa, "q")?;
    let average = slots.number(ticker::WEIGHTED_AVERAGE);
    set(&mut fields, TickerFields::WEIGHTED_AVERAGE, &mut event.weighted_average, average, context.isa, "w")?;
    let percent = decimal(slots.number(ticker::CHANGE_PERCENT), context.isa, "P")?;
    event.change_ratio = Decimal::new(percent.mantissa(), percent.scale() + 2);
    fields |= TickerFields::CHANGE_RATIO;
    finish_ticker(event, fields, slots)
}

#[inline(always)]
pub(super) fn build_mini_ticker<I: Isa>(slots: &Slots<'_>, context: &Context<'_, I>) -> Result<Ticker, DecodeError> {
    let listed = context.listed_in(slots, mini_ticker::SYMBOL, "s")?;
    let event_time = slot_time(slots, mini_ticker::EVENT_TIME, "E")?;
    let mut event = Ticker::unknown(context.meta(listed, event_time, None));
    let mut fields = TickerFields::LAST_PRICE;
    event.last_price = price(slots.number(mini_ticker::LAST_PRICE), listed, "c")?;
    set(&mut fields, TickerFields::OPEN, &mut event.open, slots.number(mini_ticker::OPEN), context.isa, "o")?;
    set(&mut fields, TickerFields::HIGH, &mut event.high, slots.number(mini_ticker::HIGH), context.isa, "h")?;
    set(&mut fields, TickerFields::LOW, &mut event.low, slots.number(mini_ticker::LOW), context.isa, "l")?;
    set(&mut fields, TickerFields::VOLUME, &mut event.volume, slots.number(mini_ticker::VOLUME), context.isa, "v")?;
    set(
        &mut fields,
        TickerFields::TURNOVER,
        &mut event.turnover,
        slots.number(mini_ticker::TURNOVER),
        context.isa,
        "q",
    )?;
    finish_ticker(event, fields, slots)
}

/// Every Binance ticker is whole: what it carries is all that is known.
#[inline(always)]
fn finish_ticker(mut event: Ticker, mut fields: TickerFields, slots: &Slots<'_>) -> Result<Ticker, DecodeError> {
    if slots.has_other {
        fields |= TickerFields::OTHER;
    }
    event.changed = fields;
    event.known = fields;
    Ok(event)
}

/// One side of a spot ticker, if it is there.
#[inline(always)]
fn side<I: Isa>(
    slots: &Slots<'_>,
    price_slot: usize,
    qty_slot: usize,
    listed: Listed<I>,
    field: &'static str,
) -> Result<Option<Level>, DecodeError> {
    if !slots.has(price_slot) || !slots.has(qty_slot) {
        return Ok(None);
    }
    level_of((slots.number(price_slot), slots.number(qty_slot)), listed, (field, field)).map(Some)
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
pub(super) fn build_kline<I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    symbol: Number<'_>,
) -> Result<Kline, DecodeError> {
    let listed = context.listed(symbol, "s")?;
    let interval = interval(slots.text(candle::INTERVAL)).ok_or(DecodeError::new(Reason::WrongType, "i"))?;
    Ok(Kline {
        meta: context.meta(listed, None, None),
        interval,
        open_time: slot_time(slots, candle::OPEN_TIME, "t")?,
        close_time: slot_time(slots, candle::CLOSE_TIME, "T")?,
        open: decimal(slots.number(candle::OPEN), context.isa, "o")?,
        high: decimal(slots.number(candle::HIGH), context.isa, "h")?,
        low: decimal(slots.number(candle::LOW), context.isa, "l")?,
        close: decimal(slots.number(candle::CLOSE), context.isa, "c")?,
        volume: decimal(slots.number(candle::VOLUME), context.isa, "v")?,
        turnover: decimal(slots.number(candle::TURNOVER), context.isa, "q")?,
        trade_count: Some(slots.int(candle::TRADE_COUNT)),
        taker_buy_volume: Some(decimal(slots.number(candle::TAKER_BUY_VOLUME), context.isa, "V")?),
        is_closed: slots.int(candle::IS_CLOSED) == 1,
    })
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
pub(super) fn build_mark_price<I: Isa>(slots: &Slots<'_>, context: &Context<'_, I>) -> Result<MarkPrice, DecodeError> {
    let listed = context.listed_in(slots, mark_price::SYMBOL, "s")?;
    let event_time = slot_time(slots, mark_price::EVENT_TIME, "E")?;
    Ok(MarkPrice {
        meta: context.meta(listed, event_time, None),
        mark: decimal(slots.number(mark_price::MARK), context.isa, "p")?,
        index: decimal_if(slots, mark_price::INDEX, context.isa, "i")?,
        settlement: decimal_if(slots, mark_price::SETTLEMENT, context.isa, "P")?,
        mark_average: decimal_if(slots, mark_price::MARK_AVERAGE, context.isa, "ap")?,
        funding_rate: decimal_if(slots, mark_price::FUNDING_RATE, context.isa, "r")?,
        next_funding_time: slot_time(slots, mark_price::NEXT_FUNDING_TIME, "T")?,
    })
}

/// A liquidation, but for its event time, which stands around its order.
#[inline(always)]
pub(super) fn build_liquidation<I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
) -> Result<Liquidation, DecodeError> {
    let listed = context.listed_in(slots, liquidation_order::SYMBOL, "s")?;
    let matching_time = slot_time(slots, liquidation_order::TRADE_TIME, "T")?;
    // The order sells what a long held: SELL, the first word, is a liquidated long.
    let position = if slots.int(liquidation_order::SIDE) == 0 { Side::Buy } else { Side::Sell };
    Ok(Liquidation {
        meta: context.meta(listed, None, matching_time),
        position,
        price: price(slots.number(liquidation_order::PRICE), listed, "p")?,
        qty: qty(slots.number(liquidation_order::QTY), listed, "q")?,
        average_price: decimal_if(slots, liquidation_order::AVERAGE_PRICE, context.isa, "ap")?,
    })
}
