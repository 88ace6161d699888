//! Bybit v5 messages to events: spot and linear, public topics.
//!
//! ```text
//! {"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":…,"data":[ {…}, {…} ]}
//!  └─ envelope: what, when ─────────────────────────────┘        └─ the data: by topic
//!
//! tier one: publicTrade, orderbook.1          tier two: every topic, any order
//! ```
//! An answer to a request (`success`, `op`, `ret_msg`) is never taken for data, whatever else it carries.

mod shapes;
#[cfg(test)]
mod tests;
mod ticker;

use self::shapes::{
    EnvelopeShape, QuoteShape, SNAPSHOT, TradeShape, book, candle, envelope, liquidation, old_liquidation, quote, trade,
};
use self::ticker::Tickers;
use crate::market::{
    BookKind, BookUpdate, Kline, KlineInterval, Liquidation, Quote, Received, SequenceIds, Side, Trade, Venue,
    VenueTime,
};
use crate::venue::decode::{DecoderScratch, TRADE_COUNT_MAX};
use crate::venue::fields::{Context, LevelScratch, decimal, price, qty, slot_time, touch};
use crate::venue::number::{parse_uint, trade_id};
use crate::venue::scan::{Cursor, Reader, expect};
use crate::venue::shape::{Expectation, Learned, Member, Shape, Slots};
use crate::venue::tape::Document;
use crate::venue::{DecodeError, Decoded, HotSymbols, Reason, Sink, Tier};

/// One connection's decoder.
#[derive(Debug)]
pub struct Decoder {
    venue: Venue,
    trades: Expectation,
    trade: Expectation,
    quotes: Expectation,
    quote: Expectation,
    tickers: Tickers,
}

impl Decoder {
    pub(in crate::venue) fn new(venue: Venue) -> Self {
        Self {
            venue,
            trades: Expectation::new(),
            trade: Expectation::new(),
            quotes: Expectation::new(),
            quote: Expectation::new(),
            tickers: Tickers::new(),
        }
    }

    #[inline]
    pub(in crate::venue) fn decode<S: Sink>(
        &mut self,
        message: &mut [u8],
        received: Received,
        symbols: &HotSymbols,
        scratch: &mut DecoderScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let context = Context { venue: self.venue, received, symbols };
        if self.scan(message, &context, &mut scratch.trades, sink).is_some() {
            return Ok(Decoded::Data(Tier::One));
        }
        self.decode_any(message, &context, scratch, sink)
    }

    pub(in crate::venue) fn connection_started(&mut self) {
        self.tickers.clear();
    }

    /// Tier one: the whole message, or nothing.
    #[inline(always)]
    fn scan<S: Sink>(
        &mut self,
        message: &[u8],
        context: &Context<'_>,
        trades: &mut Vec<Trade>,
        sink: &mut S,
    ) -> Option<()> {
        let topic = message.strip_prefix(b"{\"topic\":\"");
        if topic.is_some_and(|topic| topic.starts_with(b"publicTrade.")) {
            return self.scan_trades(message, context, trades, sink);
        }
        if topic.is_some_and(|topic| topic.starts_with(b"orderbook.1.")) {
            return self.scan_quote(message, context, sink);
        }
        // A learned order may begin with any member.
        if topic.is_none() && self.trades.expects_learned(EnvelopeShape::ORDERS.len()) {
            return self.scan_trades(message, context, trades, sink);
        }
        if topic.is_none() && self.quotes.expects_learned(EnvelopeShape::ORDERS.len()) {
            return self.scan_quote(message, context, sink);
        }
        None
    }

    #[inline(always)]
    fn scan_trades<S: Sink>(
        &mut self,
        message: &[u8],
        context: &Context<'_>,
        trades: &mut Vec<Trade>,
        sink: &mut S,
    ) -> Option<()> {
        let mut cursor = Cursor::new(message);
        let mut reader = TradesReader { context, trades, order: &mut self.trade };
        expect::<EnvelopeShape, _>(&mut self.trades, &mut cursor, b"", &mut reader)?;
        if !cursor.is_at_end() {
            return None;
        }
        trades.iter().for_each(|event| sink.trade(event));
        Some(())
    }

    #[inline(always)]
    fn scan_quote<S: Sink>(&mut self, message: &[u8], context: &Context<'_>, sink: &mut S) -> Option<()> {
        let mut cursor = Cursor::new(message);
        let mut reader = QuoteReader { context, event: None, order: &mut self.quote };
        let event = expect::<EnvelopeShape, _>(&mut self.quotes, &mut cursor, b"", &mut reader)?;
        if !cursor.is_at_end() {
            return None;
        }
        sink.quote(&event);
        Some(())
    }

    /// Tier two.
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
            let mut learned = Learned::new();
            let mut outer = Slots::new();
            document.fill(0, envelope::MEMBERS, &mut outer, Some(&mut learned))?;
            self.topic(document, &outer, learned, context, levels, sink)
        })
    }

    /// The data of one message, by its topic.
    fn topic<S: Sink>(
        &mut self,
        document: &Document<'_>,
        outer: &Slots<'_>,
        learned: Learned,
        context: &Context<'_>,
        levels: &mut LevelScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let (channel, rest) = split_at_point(outer.text(envelope::TOPIC));
        let data = usize::try_from(outer.int(envelope::DATA)).unwrap_or(usize::MAX);
        match channel {
            b"publicTrade" => return self.trades(document, data, outer, learned, context, sink),
            b"orderbook" => {
                let (depth, _) = split_at_point(rest);
                let depth = parse_uint(depth).and_then(|depth| u16::try_from(depth).ok());
                match depth.ok_or(DecodeError::new(Reason::UnknownShape, "topic"))? {
                    1 => return self.best(document, data, outer, learned, context, sink),
                    depth => read_book(document, data, outer, depth, context, levels, sink)?,
                }
            }
            b"tickers" => self.merge_ticker(document, data, outer, context, sink)?,
            b"kline" => {
                let (_, name) = split_at_point(rest);
                let event_time = slot_time(outer, envelope::TIME, "ts")?;
                each(document, data, candle::MEMBERS, sink, |slots, sink| {
                    sink.kline(&build_kline(slots, name, event_time, context)?);
                    Ok(())
                })?;
            }
            b"allLiquidation" => {
                let event_time = slot_time(outer, envelope::TIME, "ts")?;
                each(document, data, liquidation::MEMBERS, sink, |slots, sink| {
                    sink.liquidation(&build_liquidation(slots, event_time, context)?);
                    Ok(())
                })?;
            }
            b"liquidation" => {
                let slots = filled(document, data, old_liquidation::MEMBERS)?;
                let event_time = slot_time(outer, envelope::TIME, "ts")?;
                sink.liquidation(&build_old_liquidation(&slots, event_time, context)?);
            }
            _ => return Err(DecodeError::new(Reason::UnknownShape, "topic")),
        }
        Ok(Decoded::Data(Tier::TwoOnly))
    }

    fn trades<S: Sink>(
        &mut self,
        document: &Document<'_>,
        data: usize,
        outer: &Slots<'_>,
        learned: Learned,
        context: &Context<'_>,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let event_time = trades_time(outer)?;
        let mut is_whole = true;
        for element in document.elements(data).ok_or(DecodeError::new(Reason::WrongType, "data"))? {
            let mut learned = Learned::new();
            let mut slots = Slots::new();
            let event = document
                .fill(element, trade::MEMBERS, &mut slots, Some(&mut learned))
                .and_then(|()| build_trade(&slots, context));
            match event {
                Ok(mut event) => {
                    event.meta.event_time = event_time;
                    sink.trade(&event);
                    self.trade.learn(learned, TradeShape::ORDERS);
                }
                Err(error) => {
                    is_whole = false;
                    sink.refused(error.reason);
                }
            }
        }
        if !is_whole {
            // What was refused has its own counter: the shape may well be the expected one.
            return Ok(Decoded::Data(Tier::TwoOnly));
        }
        self.trades.learn(learned, EnvelopeShape::ORDERS);
        Ok(Decoded::Data(Tier::TwoAfterOne))
    }

    fn best<S: Sink>(
        &mut self,
        document: &Document<'_>,
        data: usize,
        outer: &Slots<'_>,
        learned: Learned,
        context: &Context<'_>,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let mut data_learned = Learned::new();
        let mut slots = Slots::new();
        document.fill(data, quote::MEMBERS, &mut slots, Some(&mut data_learned))?;
        sink.quote(&with_envelope(build_quote(&slots, context)?, outer)?);
        self.quote.learn(data_learned, QuoteShape::ORDERS);
        self.quotes.learn(learned, EnvelopeShape::ORDERS);
        Ok(Decoded::Data(Tier::TwoAfterOne))
    }

    fn merge_ticker<S: Sink>(
        &mut self,
        document: &Document<'_>,
        data: usize,
        outer: &Slots<'_>,
        context: &Context<'_>,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let slots = filled(document, data, ticker_members())?;
        let listed = context.listed(slots.text(shapes::ticker::SYMBOL), "symbol")?;
        let is_snapshot =
            outer.int_if(envelope::TYPE).ok_or(DecodeError::new(Reason::MissingField, "type"))? == SNAPSHOT;
        let meta = context.meta(listed, slot_time(outer, envelope::TIME, "ts")?, None);
        let sequence = outer.int_if(envelope::CROSS_SEQUENCE);
        sink.ticker(self.tickers.merge(&slots, is_snapshot, sequence, meta, listed)?);
        Ok(())
    }
}

const fn ticker_members() -> &'static [Member] {
    shapes::ticker::MEMBERS
}

/// Tier one's trade message: every element of its array becomes a trade in the core's scratch.
struct TradesReader<'s, 'c> {
    context: &'s Context<'c>,
    trades: &'s mut Vec<Trade>,
    order: &'s mut Expectation,
}

impl<'a> Reader<'a> for TradesReader<'_, '_> {
    type Event = ();

    #[inline(always)]
    fn restart(&mut self) {
        self.trades.clear();
    }

    #[inline(never)]
    fn nested(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        cursor.literal(b"[")?;
        loop {
            let event = expect::<TradeShape, _>(self.order, cursor, b"", &mut TradeReader(self.context))?;
            if self.trades.len() == TRADE_COUNT_MAX {
                return None;
            }
            self.trades.push(event);
            if cursor.literal(b",").is_none() {
                return cursor.literal(b"]");
            }
        }
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<()> {
        let event_time = trades_time(slots).ok()?;
        self.trades.iter_mut().for_each(|event| event.meta.event_time = event_time);
        Some(())
    }
}

/// One trade of the array.
struct TradeReader<'s, 'c>(&'s Context<'c>);

impl<'a> Reader<'a> for TradeReader<'_, '_> {
    type Event = Trade;

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<Trade> {
        build_trade(slots, self.0).ok()
    }
}

/// Tier one's quote message.
struct QuoteReader<'s, 'c> {
    context: &'s Context<'c>,
    event: Option<Quote>,
    order: &'s mut Expectation,
}

impl<'a> Reader<'a> for QuoteReader<'_, '_> {
    type Event = Quote;

    #[inline(always)]
    fn restart(&mut self) {
        self.event = None;
    }

    #[inline(never)]
    fn nested(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        self.event = Some(expect::<QuoteShape, _>(self.order, cursor, b"", &mut QuoteDataReader(self.context))?);
        Some(())
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<Quote> {
        with_envelope(self.event?, slots).ok()
    }
}

/// The data of a quote message.
struct QuoteDataReader<'s, 'c>(&'s Context<'c>);

impl<'a> Reader<'a> for QuoteDataReader<'_, '_> {
    type Event = Quote;

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<Quote> {
        build_quote(slots, self.0).ok()
    }
}

/// Reads an array of independent elements; a bad one is refused alone.
fn each<S: Sink>(
    document: &Document<'_>,
    data: usize,
    members: &'static [Member],
    sink: &mut S,
    mut publish: impl FnMut(&Slots<'_>, &mut S) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for element in document.elements(data).ok_or(DecodeError::new(Reason::WrongType, "data"))? {
        if let Err(error) = filled(document, element, members).and_then(|slots| publish(&slots, sink)) {
            sink.refused(error.reason);
        }
    }
    Ok(())
}

fn filled<'d>(document: &Document<'d>, node: usize, members: &'static [Member]) -> Result<Slots<'d>, DecodeError> {
    let mut slots = Slots::new();
    document.fill(node, members, &mut slots, None)?;
    Ok(slots)
}

/// `orderbook.50.BTCUSDT` is `orderbook` and `50.BTCUSDT`.
fn split_at_point(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
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

/// A quote with the times of its envelope.
#[inline(always)]
fn with_envelope(mut event: Quote, outer: &Slots<'_>) -> Result<Quote, DecodeError> {
    must_be_snapshot(outer, b"orderbook.1.")?;
    event.meta.event_time = slot_time(outer, envelope::TIME, "ts")?;
    event.meta.matching_time = slot_time(outer, envelope::MATCHING_TIME, "cts")?;
    Ok(event)
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
fn build_trade(slots: &Slots<'_>, context: &Context<'_>) -> Result<Trade, DecodeError> {
    let listed = context.listed(slots.text(trade::SYMBOL), "s")?;
    let matching_time = slot_time(slots, trade::TRADE_TIME, "T")?;
    Ok(Trade {
        meta: context.meta(listed, None, matching_time),
        id: trade_id(slots.text(trade::ID)),
        price: price(slots.number(trade::PRICE), listed, "p")?,
        qty: qty(slots.number(trade::QTY), listed, "v")?,
        taker: side(slots.int(trade::TAKER)),
        sequence: slots.int_if(trade::SEQUENCE),
        is_block: slots.int(trade::IS_BLOCK) == 1,
        is_rpi: slots.int(trade::IS_RPI) == 1,
    })
}

/// A quote, but for its times, which stand in the envelope.
#[inline(always)]
fn build_quote(slots: &Slots<'_>, context: &Context<'_>) -> Result<Quote, DecodeError> {
    let listed = context.listed(slots.text(quote::SYMBOL), "s")?;
    Ok(Quote {
        meta: context.meta(listed, None, None),
        bid: touch(slots, quote::BID, listed, "b")?,
        ask: touch(slots, quote::ASK, listed, "a")?,
        update_id: slots.int(quote::UPDATE_ID),
        sequence: slots.int_if(quote::SEQUENCE),
    })
}

fn read_book<S: Sink>(
    document: &Document<'_>,
    data: usize,
    outer: &Slots<'_>,
    depth: u16,
    context: &Context<'_>,
    levels: &mut LevelScratch,
    sink: &mut S,
) -> Result<(), DecodeError> {
    let slots = filled(document, data, book::MEMBERS)?;
    let listed = context.listed(slots.text(book::SYMBOL), "s")?;
    let kind = match outer.int_if(envelope::TYPE) {
        Some(SNAPSHOT) => BookKind::Snapshot,
        Some(_) => BookKind::Delta,
        None => return Err(DecodeError::new(Reason::MissingField, "type")),
    };
    let event_time = slot_time(outer, envelope::TIME, "ts")?;
    let matching_time = slot_time(outer, envelope::MATCHING_TIME, "cts")?;
    let update_id = slots.int(book::UPDATE_ID);
    let (bids, asks) = levels.read(document, (slots.int(book::BIDS), "b"), (slots.int(book::ASKS), "a"), listed)?;
    sink.book(&BookUpdate {
        meta: context.meta(listed, event_time, matching_time),
        kind,
        ids: SequenceIds { first: update_id, last: update_id, previous: None, cross: slots.int_if(book::SEQUENCE) },
        depth,
        bids,
        asks,
    });
    Ok(())
}

fn build_kline(
    slots: &Slots<'_>,
    name: &[u8],
    event_time: Option<VenueTime>,
    context: &Context<'_>,
) -> Result<Kline, DecodeError> {
    let listed = context.listed(name, "topic")?;
    let matching_time = slot_time(slots, candle::MATCHING_TIME, "timestamp")?;
    let interval = interval(slots.text(candle::INTERVAL)).ok_or(DecodeError::new(Reason::WrongType, "interval"))?;
    Ok(Kline {
        meta: context.meta(listed, event_time, matching_time),
        interval,
        open_time: slot_time(slots, candle::OPEN_TIME, "start")?,
        close_time: slot_time(slots, candle::CLOSE_TIME, "end")?,
        open: decimal(slots.text(candle::OPEN), "open")?,
        high: decimal(slots.text(candle::HIGH), "high")?,
        low: decimal(slots.text(candle::LOW), "low")?,
        close: decimal(slots.text(candle::CLOSE), "close")?,
        volume: decimal(slots.text(candle::VOLUME), "volume")?,
        turnover: decimal(slots.text(candle::TURNOVER), "turnover")?,
        trade_count: None,
        taker_buy_volume: None,
        is_closed: slots.int(candle::IS_CLOSED) == 1,
    })
}

/// `1` to `720` minutes, or `D`, `W`, `M`.
/// A candle's length as the venue writes it: minutes without a unit, `D`, `W`, `M`.
pub(in crate::venue) fn interval(text: &[u8]) -> Option<KlineInterval> {
    match text {
        b"D" => Some(KlineInterval::Days(1)),
        b"W" => Some(KlineInterval::Weeks(1)),
        b"M" => Some(KlineInterval::Months(1)),
        minutes => Some(KlineInterval::Minutes(u16::try_from(parse_uint(minutes)?).ok()?)),
    }
}

fn build_liquidation(
    slots: &Slots<'_>,
    event_time: Option<VenueTime>,
    context: &Context<'_>,
) -> Result<Liquidation, DecodeError> {
    let listed = context.listed(slots.text(liquidation::SYMBOL), "s")?;
    let matching_time = slot_time(slots, liquidation::TIME, "T")?;
    Ok(Liquidation {
        meta: context.meta(listed, event_time, matching_time),
        position: side(slots.int(liquidation::POSITION)),
        price: price(slots.number(liquidation::PRICE), listed, "p")?,
        qty: qty(slots.number(liquidation::QTY), listed, "v")?,
        average_price: None,
    })
}

/// The deprecated topic named its quantity `size` (with `updatedTime`), and before that `qty` (with `time`).
fn build_old_liquidation(
    slots: &Slots<'_>,
    event_time: Option<VenueTime>,
    context: &Context<'_>,
) -> Result<Liquidation, DecodeError> {
    let listed = context.listed(slots.text(old_liquidation::SYMBOL), "symbol")?;
    let time_slot =
        if slots.has(old_liquidation::TIME) { old_liquidation::TIME } else { old_liquidation::UPDATED_TIME };
    let qty_slot = if slots.has(old_liquidation::QTY) { old_liquidation::QTY } else { old_liquidation::OLD_QTY };
    if !slots.has(qty_slot) {
        return Err(DecodeError::new(Reason::MissingField, "size"));
    }
    let matching_time = slot_time(slots, time_slot, "updatedTime")?;
    Ok(Liquidation {
        meta: context.meta(listed, event_time, matching_time),
        position: side(slots.int(old_liquidation::POSITION)),
        price: price(slots.number(old_liquidation::PRICE), listed, "price")?,
        qty: qty(slots.number(qty_slot), listed, "size")?,
        average_price: None,
    })
}
