//! Bybit v5 messages to events: spot and linear, public topics.
//!
//! ```text
//! {"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":…,"data":[ {…}, {…} ]}
//!  └─ envelope: what, when ─────────────────────────────┘        └─ the data: by topic
//!
//! tier one: what each topic is expected to look like          tier two: the same in any order (any_order.rs); what that
//!                                                             refuses, from the tape
//! ```
//! An answer to a request (`success`, `op`, `ret_msg`) is never taken for data, whatever else it carries.

mod shapes;
#[cfg(test)]
mod tests;
mod ticker;
mod tier_one;

use self::shapes::{
    BookShape, CandleShape, EnvelopeShape, KlineEnvelopeShape, LiquidationShape, OldLiquidationShape, QuoteShape,
    SNAPSHOT, TickerEnvelopeShape, TradeShape, book, candle, envelope, liquidation, old_liquidation, quote, trade,
};
use self::ticker::Tickers;
use self::tier_one::{Scan, ScanAnyOrder};
use crate::market::{
    BookKind, BookUpdate, Decimal, Kline, KlineInterval, Level, Liquidation, Quote, Received, SequenceIds, Side,
    Ticker, Trade, Venue, VenueTime,
};
use crate::venue::any_order::InAnyOrder;
use crate::venue::decode::{DecoderScratch, Found};
use crate::venue::fields::{Context, Known, LevelScratch, decimals, level_of, slot_time, touch};
use crate::venue::isa::{Isa, Isas, Portable};
use crate::venue::number::{Number, parse_uint, trade_id};
use crate::venue::shape::{Expectation, Learned, Member, Shape, Slots};
use crate::venue::tape::Document;
use crate::venue::{DecodeError, Decoded, HotSymbols, Payload, Reason, Sink, Tier};

/// One connection's decoder.
#[derive(Debug)]
pub struct Decoder {
    venue: Venue,
    /// None: every message goes to the tape.
    isas: Option<Isas>,
    orders: Orders,
    tickers: Tickers,
}

/// The orders of members that one connection expects: of each envelope, and of what is in it.
#[derive(Debug)]
struct Orders {
    trades: Expectation,
    trade: Expectation,
    quotes: Expectation,
    quote: Expectation,
    books: Expectation,
    book: Expectation,
    tickers: Expectation,
    ticker: Expectation,
    klines: Expectation,
    candle: Expectation,
    liquidations: Expectation,
    liquidation: Expectation,
    /// Of a topic that is no longer sent: apart from those that are.
    old_liquidations: Box<Expectation>,
    old_liquidation: Box<Expectation>,
}

impl Decoder {
    pub(in crate::venue) fn new(venue: Venue, isas: Option<Isas>) -> Self {
        let orders = Orders {
            trades: Expectation::new(),
            trade: Expectation::new(),
            quotes: Expectation::new(),
            quote: Expectation::new(),
            books: Expectation::new(),
            book: Expectation::new(),
            tickers: Expectation::new(),
            // What changed differs from message to message: only the envelope's order can be expected again.
            ticker: Expectation::of_documents(),
            klines: Expectation::new(),
            candle: Expectation::new(),
            liquidations: Expectation::new(),
            liquidation: Expectation::new(),
            old_liquidations: Box::new(Expectation::new()),
            old_liquidation: Box::new(Expectation::new()),
        };
        Self { venue, isas, orders, tickers: Tickers::new() }
    }

    #[inline]
    pub(in crate::venue) fn decode<S: Sink>(
        &mut self,
        message: Payload<'_>,
        received: &Received,
        symbols: &HotSymbols,
        scratch: &mut DecoderScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let known = Known { received, symbols: symbols.of(self.venue) };
        if let Some(isas) = self.isas
            && let Some(found) = self.scan(isas, &message, &known, scratch)
        {
            self.give(found, &message, scratch, sink);
            return Ok(Decoded::Data(Tier::One));
        }
        self.decode_otherwise(message, &known, scratch, sink)
    }

    /// Tier two, of a message that tier one refused or that nothing is expected of.
    #[cold]
    #[inline(never)]
    fn decode_otherwise<S: Sink>(
        &mut self,
        mut message: Payload<'_>,
        known: &Known<'_>,
        scratch: &mut DecoderScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        if let Some(isas) = self.isas
            && let Some(found) = self.scan_any_order(isas, &message, known, scratch)
        {
            self.give(found, &message, scratch, sink);
            return Ok(Decoded::Data(Tier::TwoAfterOne));
        }
        let context = Context::new(Portable, known);
        self.decode_any(&mut message, &context, scratch, sink)
    }

    /// Gives what was found: a ticker is merged here, and kept; all else lies in the scratch.
    #[inline(always)]
    fn give<S: Sink>(&mut self, found: Found, message: &[u8], scratch: &mut DecoderScratch, sink: &mut S) {
        match found {
            Found::Ticker => self.tickers.keep().into_iter().for_each(|merged| sink.ticker(merged)),
            found => scratch.give(found, message, sink),
        }
    }

    /// Tier one. Not generic, so that it is compiled once and not once for every sink.
    fn scan(
        &mut self,
        isas: Isas,
        message: &Payload<'_>,
        known: &Known<'_>,
        scratch: &mut DecoderScratch,
    ) -> Option<Found> {
        self.scanner(message, known, scratch).run(isas)
    }

    /// Tier two's first half.
    #[cold]
    #[inline(never)]
    fn scan_any_order(
        &mut self,
        isas: Isas,
        message: &Payload<'_>,
        known: &Known<'_>,
        scratch: &mut DecoderScratch,
    ) -> Option<Found> {
        isas.run(&mut InAnyOrder(&mut ScanAnyOrder(self.scanner(message, known, scratch))))
    }

    #[inline(always)]
    fn scanner<'s>(
        &'s mut self,
        message: &'s Payload<'_>,
        known: &'s Known<'_>,
        scratch: &'s mut DecoderScratch,
    ) -> Scan<'s> {
        Scan { decoder: self, message, known, scratch }
    }

    pub(in crate::venue) fn connection_started(&mut self) {
        self.tickers.clear();
    }

    /// Tier two's second half: the tape.
    #[inline(never)]
    fn decode_any<S: Sink>(
        &mut self,
        message: &mut [u8],
        context: &Context<'_>,
        scratch: &mut DecoderScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let DecoderScratch { json, levels, .. } = scratch;
        json.read(message, |document| {
            let has = |wanted: &str| document.members(0).any(|(key, _)| key == wanted);
            if ["success", "op", "ret_msg", "retCode"].into_iter().any(has) {
                return Ok(Decoded::Control);
            }
            if !has("topic") {
                return Err(DecodeError::new(Reason::UnknownShape, "topic"));
            }
            let (outer, order) = document.filled(0, envelope::MEMBERS)?;
            self.topic(document, &outer, order, context, levels, sink)
        })
    }

    /// The data of one message, by its topic.
    fn topic<S: Sink>(
        &mut self,
        document: &Document<'_>,
        outer: &Slots<'_>,
        order: Learned,
        context: &Context<'_>,
        levels: &mut LevelScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let no_topic = DecodeError::new(Reason::UnknownShape, "topic");
        let (channel, rest) = split_at_point(outer.text(envelope::TOPIC)).ok_or(no_topic)?;
        let data = usize::try_from(outer.int(envelope::DATA)).unwrap_or(usize::MAX);
        match channel {
            b"publicTrade" => {
                let event_time = trades_time(outer)?;
                let is_whole = each(document, data, trade::MEMBERS, sink, |slots, order, sink| {
                    let mut place = None;
                    let event = build_trade(slots, context, &mut place)?;
                    event.meta.event_time = event_time;
                    sink.trade(event);
                    self.orders.trade.learn(order, TradeShape::ORDERS);
                    Ok(())
                })?;
                return Ok(learn_whole(is_whole, &mut self.orders.trades, order, EnvelopeShape::ORDERS));
            }
            b"orderbook" => match depth_of(rest).ok_or(no_topic)? {
                1 => {
                    let (slots, data_order) = document.filled(data, quote::MEMBERS)?;
                    let mut place = None;
                    let event = build_quote(&slots, context, &mut place)?;
                    add_envelope(event, outer)?;
                    sink.quote(event);
                    self.orders.quote.learn(data_order, QuoteShape::ORDERS);
                    self.orders.quotes.learn(order, EnvelopeShape::ORDERS);
                }
                depth => {
                    let data_order = read_book(document, data, outer, depth, context, levels, sink)?;
                    self.orders.book.learn(data_order, BookShape::ORDERS);
                    self.orders.books.learn(order, EnvelopeShape::ORDERS);
                }
            },
            b"tickers" => {
                let (slots, _) = document.filled(data, shapes::ticker::MEMBERS)?;
                let is_snapshot =
                    outer.int_if(envelope::TYPE).ok_or(DecodeError::new(Reason::MissingField, "type"))? == SNAPSHOT;
                let read = build_ticker(&slots, context, is_snapshot, &mut self.tickers)?;
                read.meta.event_time = slot_time(outer, envelope::TIME, "ts")?;
                read.sequence = outer.int_if(envelope::CROSS_SEQUENCE);
                self.tickers.keep().into_iter().for_each(|merged| sink.ticker(merged));
                self.orders.tickers.learn(order, TickerEnvelopeShape::ORDERS);
            }
            b"kline" => {
                let (_, name) = split_at_point(rest).ok_or(no_topic)?;
                let event_time = slot_time(outer, envelope::TIME, "ts")?;
                let is_whole = each(document, data, candle::MEMBERS, sink, |slots, order, sink| {
                    let mut place = None;
                    let event = build_kline(slots, context, name, &mut place)?;
                    event.meta.event_time = event_time;
                    sink.kline(event);
                    self.orders.candle.learn(order, CandleShape::ORDERS);
                    Ok(())
                })?;
                return Ok(learn_whole(is_whole, &mut self.orders.klines, order, KlineEnvelopeShape::ORDERS));
            }
            b"allLiquidation" => {
                let event_time = slot_time(outer, envelope::TIME, "ts")?;
                let is_whole = each(document, data, liquidation::MEMBERS, sink, |slots, order, sink| {
                    let mut place = None;
                    let event = build_liquidation(slots, context, &mut place)?;
                    event.meta.event_time = event_time;
                    sink.liquidation(event);
                    self.orders.liquidation.learn(order, LiquidationShape::ORDERS);
                    Ok(())
                })?;
                return Ok(learn_whole(is_whole, &mut self.orders.liquidations, order, EnvelopeShape::ORDERS));
            }
            b"liquidation" => {
                let (slots, data_order) = document.filled(data, old_liquidation::MEMBERS)?;
                let mut place = None;
                let event = build_old_liquidation(&slots, context, &mut place)?;
                event.meta.event_time = slot_time(outer, envelope::TIME, "ts")?;
                sink.liquidation(event);
                self.orders.old_liquidation.learn(data_order, OldLiquidationShape::ORDERS);
                self.orders.old_liquidations.learn(order, EnvelopeShape::ORDERS);
            }
            _ => return Err(no_topic),
        }
        Ok(Decoded::Data(Tier::TwoAfterOne))
    }
}

/// Reads an array of independent elements; a bad one is refused alone. True if none was.
fn each<S: Sink>(
    document: &Document<'_>,
    data: usize,
    members: &'static [Member],
    sink: &mut S,
    mut publish: impl FnMut(&Slots<'_>, Learned, &mut S) -> Result<(), DecodeError>,
) -> Result<bool, DecodeError> {
    let mut is_whole = true;
    for element in document.elements(data).ok_or(DecodeError::new(Reason::WrongType, "data"))? {
        let filled = document.filled(element, members);
        if let Err(error) = filled.and_then(|(slots, order)| publish(&slots, order, sink)) {
            is_whole = false;
            sink.refused(error.reason);
        }
    }
    Ok(is_whole)
}

/// What an array that was read element by element was. What was refused in it has its own counter: the shape may well be
/// the expected one.
fn learn_whole(
    is_whole: bool,
    envelope: &mut Expectation,
    order: Learned,
    known: &'static [&'static [usize]],
) -> Decoded {
    if !is_whole {
        return Decoded::Data(Tier::TwoOnly);
    }
    envelope.learn(order, known);
    Decoded::Data(Tier::TwoAfterOne)
}

/// `orderbook.50.BTCUSDT` is `orderbook` and `50.BTCUSDT`; `None` where there is no point.
fn split_at_point(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == b'.')?;
    Some((&text[..at], &text[at + 1..]))
}

/// [`depth_of`] of a book's topic. The depths that the venue has are compared, not parsed.
#[inline(always)]
fn book_depth(topic: &[u8]) -> Option<u16> {
    let rest = topic.strip_prefix(b"orderbook.")?;
    match rest {
        [b'5', b'0', b'.', ..] => Some(50),
        [b'2', b'0', b'0', b'.', ..] => Some(200),
        [b'5', b'0', b'0', b'.', ..] => Some(500),
        [b'1', b'0', b'0', b'0', b'.', ..] => Some(1_000),
        _ => depth_of(rest),
    }
}

/// Levels a side by what stands behind a topic's `orderbook.`: `50.BTCUSDT`. A topic that ends in its number may have been cut
/// short, and is none.
#[cold]
fn depth_of(rest: &[u8]) -> Option<u16> {
    let (depth, _) = split_at_point(rest)?;
    parse_uint(depth).and_then(|levels| u16::try_from(levels).ok())
}

/// A position's or a taker's side: the words are `Buy`, `Sell`.
fn side(word: u64) -> Side {
    if word == 0 { Side::Buy } else { Side::Sell }
}

/// The event time of a trade message, whose envelope must be a trade's.
#[inline(always)]
fn trades_time(outer: &Slots<'_>) -> Result<Option<VenueTime>, DecodeError> {
    must_be_snapshot(outer, b"publicTrade.")?;
    slot_time(outer, envelope::TIME, "ts")
}

/// The times of its envelope to a quote.
#[inline(always)]
fn add_envelope(event: &mut Quote, outer: &Slots<'_>) -> Result<(), DecodeError> {
    must_be_snapshot(outer, b"orderbook.1.")?;
    event.meta.event_time = slot_time(outer, envelope::TIME, "ts")?;
    event.meta.matching_time = slot_time(outer, envelope::MATCHING_TIME, "cts")?;
    Ok(())
}

/// Trades and depth 1 come as snapshots only; a delta of either would mean something nobody documented.
#[inline(always)]
fn must_be_snapshot(outer: &Slots<'_>, topic: &[u8]) -> Result<(), DecodeError> {
    if !outer.text(envelope::TOPIC).starts_with(topic) {
        return Err(DecodeError::new(Reason::UnknownShape, "topic"));
    }
    match outer.int_if(envelope::TYPE) {
        Some(SNAPSHOT) => Ok(()),
        Some(_) => Err(DecodeError::new(Reason::WrongType, "type")),
        None => Err(DecodeError::new(Reason::MissingField, "type")),
    }
}

/// A trade, but for its event time, which stands in the envelope.
#[inline(always)]
fn build_trade<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<Trade>,
) -> Result<&'p mut Trade, DecodeError> {
    let listed = context.listed_in(slots, trade::SYMBOL, "s")?;
    let matching_time = slot_time(slots, trade::TRADE_TIME, "T")?;
    let numbers = (slots.number(trade::PRICE), slots.number(trade::QTY));
    let Level { price, qty } = level_of(numbers, listed, ("p", "v"))?;
    Ok(place.insert(Trade {
        meta: context.meta(listed, None, matching_time),
        id: trade_id(context.isa, slots.text(trade::ID)),
        price,
        qty,
        taker: side(slots.int(trade::TAKER)),
        sequence: slots.int_if(trade::SEQUENCE),
        is_block: slots.int(trade::IS_BLOCK) == 1,
        is_rpi: slots.int(trade::IS_RPI) == 1,
        is_refilled: false,
    }))
}

/// A quote, but for its times, which stand in the envelope.
#[inline(always)]
fn build_quote<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<Quote>,
) -> Result<&'p mut Quote, DecodeError> {
    let listed = context.listed_in(slots, quote::SYMBOL, "s")?;
    Ok(place.insert(Quote {
        meta: context.meta(listed, None, None),
        bid: touch(slots, quote::BID, listed, "b")?,
        ask: touch(slots, quote::ASK, listed, "a")?,
        update_id: slots.int(quote::UPDATE_ID),
        sequence: slots.int_if(quote::SEQUENCE),
    }))
}

#[inline(always)]
fn book_ids(slots: &Slots<'_>) -> SequenceIds {
    let update_id = slots.int(book::UPDATE_ID);
    SequenceIds { first: update_id, last: update_id, previous: None, cross: slots.int_if(book::SEQUENCE) }
}

fn read_book<S: Sink>(
    document: &Document<'_>,
    data: usize,
    outer: &Slots<'_>,
    depth: u16,
    context: &Context<'_>,
    levels: &mut LevelScratch,
    sink: &mut S,
) -> Result<Learned, DecodeError> {
    let (slots, order) = document.filled(data, book::MEMBERS)?;
    let listed = context.listed_in(&slots, book::SYMBOL, "s")?;
    let kind = match outer.int_if(envelope::TYPE) {
        Some(SNAPSHOT) => BookKind::Snapshot,
        Some(_) => BookKind::Delta,
        None => return Err(DecodeError::new(Reason::MissingField, "type")),
    };
    let event_time = slot_time(outer, envelope::TIME, "ts")?;
    let matching_time = slot_time(outer, envelope::MATCHING_TIME, "cts")?;
    let (bids, asks) = levels.read(document, (slots.int(book::BIDS), "b"), (slots.int(book::ASKS), "a"), listed)?;
    sink.book(&BookUpdate {
        meta: context.meta(listed, event_time, matching_time),
        kind,
        ids: book_ids(&slots),
        depth,
        state: None,
        bids,
        asks,
    });
    Ok(order)
}

#[inline(always)]
fn build_kline<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    name: &[u8],
    place: &'p mut Option<Kline>,
) -> Result<&'p mut Kline, DecodeError> {
    let isa = context.isa;
    let listed = context.listed(Number::unread(name), "topic")?;
    let matching_time = slot_time(slots, candle::MATCHING_TIME, "timestamp")?;
    let interval = interval(slots.text(candle::INTERVAL)).ok_or(DecodeError::new(Reason::WrongType, "interval"))?;
    let event = place.insert(Kline {
        meta: context.meta(listed, None, matching_time),
        interval,
        open_time: slot_time(slots, candle::OPEN_TIME, "start")?,
        close_time: slot_time(slots, candle::CLOSE_TIME, "end")?,
        open: Decimal::ZERO,
        high: Decimal::ZERO,
        low: Decimal::ZERO,
        close: Decimal::ZERO,
        volume: Decimal::ZERO,
        turnover: Decimal::ZERO,
        trade_count: None,
        taker_buy_volume: None,
        is_closed: slots.int(candle::IS_CLOSED) == 1,
    });
    decimals(
        [slots.number(candle::OPEN), slots.number(candle::HIGH)],
        isa,
        [&mut event.open, &mut event.high],
        ["open", "high"],
    )?;
    decimals(
        [slots.number(candle::LOW), slots.number(candle::CLOSE)],
        isa,
        [&mut event.low, &mut event.close],
        ["low", "close"],
    )?;
    decimals(
        [slots.number(candle::VOLUME), slots.number(candle::TURNOVER)],
        isa,
        [&mut event.volume, &mut event.turnover],
        ["volume", "turnover"],
    )?;
    Ok(event)
}

/// A candle's length as the venue writes it: minutes without a unit, `D`, `W`, `M`.
pub(in crate::venue) fn interval(text: &[u8]) -> Option<KlineInterval> {
    match text {
        b"D" => Some(KlineInterval::Days(1)),
        b"W" => Some(KlineInterval::Weeks(1)),
        b"M" => Some(KlineInterval::Months(1)),
        minutes => Some(KlineInterval::Minutes(u16::try_from(parse_uint(minutes)?).ok()?)),
    }
}

#[inline(always)]
fn build_liquidation<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<Liquidation>,
) -> Result<&'p mut Liquidation, DecodeError> {
    let listed = context.listed_in(slots, liquidation::SYMBOL, "s")?;
    let matching_time = slot_time(slots, liquidation::TIME, "T")?;
    let numbers = (slots.number(liquidation::PRICE), slots.number(liquidation::QTY));
    let Level { price, qty } = level_of(numbers, listed, ("p", "v"))?;
    Ok(place.insert(Liquidation {
        meta: context.meta(listed, None, matching_time),
        position: side(slots.int(liquidation::POSITION)),
        price,
        qty,
        average_price: None,
    }))
}

/// The deprecated topic named its quantity `size` (with `updatedTime`), and before that `qty` (with `time`).
#[inline(always)]
fn build_old_liquidation<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    place: &'p mut Option<Liquidation>,
) -> Result<&'p mut Liquidation, DecodeError> {
    let listed = context.listed_in(slots, old_liquidation::SYMBOL, "symbol")?;
    let time_slot =
        if slots.has(old_liquidation::TIME) { old_liquidation::TIME } else { old_liquidation::UPDATED_TIME };
    let qty_slot = if slots.has(old_liquidation::QTY) { old_liquidation::QTY } else { old_liquidation::OLD_QTY };
    if !slots.has(qty_slot) {
        return Err(DecodeError::new(Reason::MissingField, "size"));
    }
    if !slots.has(time_slot) {
        return Err(DecodeError::new(Reason::MissingField, "updatedTime"));
    }
    let matching_time = slot_time(slots, time_slot, "updatedTime")?;
    let numbers = (slots.number(old_liquidation::PRICE), slots.number(qty_slot));
    let Level { price, qty } = level_of(numbers, listed, ("price", "size"))?;
    Ok(place.insert(Liquidation {
        meta: context.meta(listed, None, matching_time),
        position: side(slots.int(old_liquidation::POSITION)),
        price,
        qty,
        average_price: None,
    }))
}

/// What this message says of a ticker, but for what stands in the envelope; to be kept.
#[inline(always)]
fn build_ticker<'p, I: Isa>(
    slots: &Slots<'_>,
    context: &Context<'_, I>,
    is_snapshot: bool,
    tickers: &'p mut Tickers,
) -> Result<&'p mut Ticker, DecodeError> {
    let listed = context.listed_in(slots, shapes::ticker::SYMBOL, "symbol")?;
    tickers.read(slots, is_snapshot, context.meta(listed, None, None), listed)
}
