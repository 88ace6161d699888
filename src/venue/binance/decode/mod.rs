//! Binance messages to events, spot and USD-M.
//!
//! ```text
//! message ─► tier one: {"stream":"…@trade|…bookTicker","data":{…}} or the bare payload ─► event
//!               │ not as expected
//!               ▼
//!            tier two: the same shapes in any order (any_order.rs) ─► event
//!               │ not plain, or no known shape
//!               ▼
//!            the tape: wrapper off, then by `e`; where there is no `e`, by the members and the stream's name
//! ```
//! An array of tickers, mini tickers or mark prices is read by the same tiers, element by element (elements.rs).
//! Both forms are taken on every connection, because `SET_PROPERTY combined` can turn one into the other while it runs.
//! Times are milliseconds: the engine never asks for `timeUnit=MICROSECOND`.

#[cfg(test)]
mod array_tests;
mod build;
pub(in crate::venue) use build::interval;
mod shapes;
#[cfg(test)]
mod tests;
mod tier_one;

use self::shapes::{
    AggTradeShape, CandleShape, DepthShape, ForceOrderShape, KlineShape, LiquidationOrderShape, MarkPriceShape,
    MiniTickerShape, PartialDepthShape, QuoteShape, TickerShape, TradeShape, agg_trade, candle, depth, force_order,
    kline, liquidation_order, mark_price, mini_ticker, partial_depth, quote, ticker, trade,
};
use self::tier_one::Scan;
use crate::market::{BookKind, BookUpdate, Received, Venue};
use crate::venue::any_order::InAnyOrder;
use crate::venue::decode::{DecoderScratch, Found};
use crate::venue::fields::{Context, Known, LevelScratch, slot_time};
use crate::venue::isa::{Isas, Portable};
use crate::venue::number::Number;
use crate::venue::shape::{Expectation, Shape, Slots};
use crate::venue::tape::Document;
use crate::venue::{DecodeError, Decoded, HotSymbols, Payload, Reason, Sink, Tier};

/// One connection's decoder.
#[derive(Debug)]
pub struct Decoder {
    venue: Venue,
    /// None: every message goes to the tape.
    isas: Option<Isas>,
    /// The one stream of a raw connection, if it carries one only.
    raw_stream: Option<Box<str>>,
    orders: Orders,
}

/// The orders of members that one connection expects.
#[derive(Debug)]
struct Orders {
    trade: Expectation,
    quote: Expectation,
    depth: Expectation,
    partial_depth: Expectation,
    agg_trade: Expectation,
    ticker: Expectation,
    mini_ticker: Expectation,
    kline: Expectation,
    candle: Expectation,
    mark_price: Expectation,
    force_order: Expectation,
    liquidation_order: Expectation,
}

impl Decoder {
    pub(in crate::venue) fn new(venue: Venue, raw_stream: Option<&str>, isas: Option<Isas>) -> Self {
        let orders = Orders {
            trade: Expectation::new(),
            quote: Expectation::new(),
            depth: Expectation::new(),
            partial_depth: Expectation::new(),
            agg_trade: Expectation::new(),
            ticker: Expectation::new(),
            mini_ticker: Expectation::new(),
            kline: Expectation::new(),
            candle: Expectation::new(),
            mark_price: Expectation::new(),
            force_order: Expectation::new(),
            liquidation_order: Expectation::new(),
        };
        Self { venue, isas, raw_stream: raw_stream.map(Box::from), orders }
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
            scratch.give(found, &message, sink);
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
            scratch.give(found, &message, sink);
            return Ok(Decoded::Data(Tier::TwoAfterOne));
        }
        let context = Context::new(Portable, known);
        self.decode_any(&mut message, &context, scratch, sink)
    }

    /// Tier one. Not generic, so that it is compiled once and not once for every sink.
    fn scan(
        &mut self,
        isas: Isas,
        message: &Payload<'_>,
        known: &Known<'_>,
        scratch: &mut DecoderScratch,
    ) -> Option<Found> {
        isas.run(&mut self.scanner(message, known, scratch))
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
        isas.run(&mut InAnyOrder(&mut self.scanner(message, known, scratch)))
    }

    #[inline(always)]
    fn scanner<'s>(
        &'s mut self,
        message: &'s Payload<'_>,
        known: &'s Known<'_>,
        scratch: &'s mut DecoderScratch,
    ) -> Scan<'s> {
        Scan { orders: &mut self.orders, raw_stream: &self.raw_stream, message, known, scratch }
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
            let mut stream = None;
            let mut data = None;
            for (key, node) in document.members(0) {
                match key {
                    "stream" => stream = document.string(node),
                    "data" => data = Some(node),
                    _ => {}
                }
            }
            match (stream, data) {
                (Some(stream), Some(data)) => self.payload(document, data, stream, context, levels, sink),
                _ => {
                    // Taken out for the call, because the payload may teach this decoder an order.
                    let raw_stream = self.raw_stream.take();
                    let stream = raw_stream.as_deref().unwrap_or("");
                    let decoded = self.payload(document, 0, stream, context, levels, sink);
                    self.raw_stream = raw_stream;
                    decoded
                }
            }
        })
    }

    /// One payload, or an array of independent ones.
    fn payload<S: Sink>(
        &mut self,
        document: &Document<'_>,
        node: usize,
        stream: &str,
        context: &Context<'_>,
        levels: &mut LevelScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let Some(elements) = document.elements(node) else {
            return self.single(document, node, stream, context, levels, sink);
        };
        let mut tier = Tier::TwoOnly;
        for element in elements {
            tier = Tier::TwoAfterOne;
            match self.single(document, element, stream, context, levels, sink) {
                Ok(Decoded::Data(_)) => {}
                Ok(Decoded::Control) => sink.refused(Reason::UnknownShape),
                Err(error) => sink.refused(error.reason),
            }
        }
        Ok(Decoded::Data(tier))
    }

    /// One payload, by its `e`.
    fn single<S: Sink>(
        &mut self,
        document: &Document<'_>,
        node: usize,
        stream: &str,
        context: &Context<'_>,
        levels: &mut LevelScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let Some((_, kind)) = document.members(node).filter(|(key, _)| *key == "e").last() else {
            return self.without_kind(document, node, stream, context, levels, sink);
        };
        match document.string(kind).ok_or(DecodeError::new(Reason::WrongType, "e"))? {
            "trade" => {
                let (slots, order) = document.filled(node, trade::MEMBERS)?;
                sink.trade(build::build_trade(&slots, context, &mut None)?);
                self.orders.trade.learn(order, TradeShape::ORDERS);
            }
            "bookTicker" => self.quote(document, node, context, sink)?,
            "depthUpdate" => self.depth_update(document, node, stream, context, levels, sink)?,
            "aggTrade" => {
                let (slots, order) = document.filled(node, agg_trade::MEMBERS)?;
                sink.agg_trade(build::build_agg_trade(&slots, context, &mut None)?);
                self.orders.agg_trade.learn(order, AggTradeShape::ORDERS);
            }
            "24hrTicker" => {
                let (slots, order) = document.filled(node, ticker::MEMBERS)?;
                sink.ticker(build::build_ticker(&slots, context, &mut None)?);
                self.orders.ticker.learn(order, TickerShape::ORDERS);
            }
            "24hrMiniTicker" => {
                let (slots, order) = document.filled(node, mini_ticker::MEMBERS)?;
                sink.ticker(build::build_mini_ticker(&slots, context, &mut None)?);
                self.orders.mini_ticker.learn(order, MiniTickerShape::ORDERS);
            }
            "kline" => {
                let (outer, outer_order) = document.filled(node, kline::MEMBERS)?;
                let (slots, order) = document.filled(nested(&outer, kline::CANDLE), candle::MEMBERS)?;
                let mut place = None;
                let event = build::build_kline(&slots, context, outer.number(kline::SYMBOL), &mut place)?;
                event.meta.event_time = slot_time(&outer, kline::EVENT_TIME, "E")?;
                sink.kline(event);
                self.orders.kline.learn(outer_order, KlineShape::ORDERS);
                self.orders.candle.learn(order, CandleShape::ORDERS);
            }
            "markPriceUpdate" => {
                let (slots, order) = document.filled(node, mark_price::MEMBERS)?;
                sink.mark_price(build::build_mark_price(&slots, context, &mut None)?);
                self.orders.mark_price.learn(order, MarkPriceShape::ORDERS);
            }
            "forceOrder" => {
                let (outer, outer_order) = document.filled(node, force_order::MEMBERS)?;
                let (slots, order) = document.filled(nested(&outer, force_order::ORDER), liquidation_order::MEMBERS)?;
                let mut place = None;
                let event = build::build_liquidation(&slots, context, &mut place)?;
                event.meta.event_time = slot_time(&outer, force_order::EVENT_TIME, "E")?;
                sink.liquidation(event);
                self.orders.force_order.learn(outer_order, ForceOrderShape::ORDERS);
                self.orders.liquidation_order.learn(order, LiquidationOrderShape::ORDERS);
            }
            "serverShutdown" => return Ok(Decoded::Control),
            _ => return Err(DecodeError::new(Reason::UnknownShape, "e")),
        }
        Ok(Decoded::Data(Tier::TwoAfterOne))
    }

    /// A payload without `e`: spot's book ticker and partial depth, or a control message.
    fn without_kind<S: Sink>(
        &mut self,
        document: &Document<'_>,
        node: usize,
        stream: &str,
        context: &Context<'_>,
        levels: &mut LevelScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let has = |wanted: &str| document.members(node).any(|(key, _)| key == wanted);
        if has("lastUpdateId") {
            self.partial_depth(document, node, stream, context, levels, sink)?;
            return Ok(Decoded::Data(Tier::TwoAfterOne));
        }
        if has("u") && has("s") {
            self.quote(document, node, context, sink)?;
            return Ok(Decoded::Data(Tier::TwoAfterOne));
        }
        if ["result", "code", "error"].into_iter().any(has) {
            return Ok(Decoded::Control);
        }
        Err(DecodeError::new(Reason::UnknownShape, ""))
    }

    fn quote<S: Sink>(
        &mut self,
        document: &Document<'_>,
        node: usize,
        context: &Context<'_>,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let (slots, order) = document.filled(node, quote::MEMBERS)?;
        sink.quote(build::build_quote(&slots, context, &mut None)?);
        self.orders.quote.learn(order, QuoteShape::ORDERS);
        Ok(())
    }

    fn depth_update<S: Sink>(
        &mut self,
        document: &Document<'_>,
        node: usize,
        stream: &str,
        context: &Context<'_>,
        levels: &mut LevelScratch,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let levels_of_stream = partial_levels(stream)?;
        let (slots, order) = document.filled(node, depth::MEMBERS)?;
        let listed = context.listed_in(&slots, depth::SYMBOL, "s")?;
        let event_time = slot_time(&slots, depth::EVENT_TIME, "E")?;
        let matching_time = slot_time(&slots, depth::MATCHING_TIME, "T")?;
        let (bids, asks) =
            levels.read(document, (slots.int(depth::BIDS), "b"), (slots.int(depth::ASKS), "a"), listed)?;
        sink.book(&BookUpdate {
            meta: context.meta(listed, event_time, matching_time),
            kind: if levels_of_stream == 0 { BookKind::Delta } else { BookKind::Partial },
            ids: build::depth_ids(&slots),
            depth: levels_of_stream,
            state: None,
            bids,
            asks,
        });
        self.orders.depth.learn(order, DepthShape::ORDERS);
        Ok(())
    }

    /// Spot's partial depth: only the stream's name says whose it is.
    fn partial_depth<S: Sink>(
        &mut self,
        document: &Document<'_>,
        node: usize,
        stream: &str,
        context: &Context<'_>,
        levels: &mut LevelScratch,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let depth = partial_levels(stream)?;
        if depth == 0 {
            // A REST snapshot, or a raw connection that was not told its stream: nobody knows the symbol.
            return Err(DecodeError::new(Reason::UnknownShape, "stream"));
        }
        let name = stream.split('@').next().unwrap_or(stream);
        let listed = context.listed(Number::unread(name.as_bytes()), "stream")?;
        let (slots, order) = document.filled(node, partial_depth::MEMBERS)?;
        let bids = (slots.int(partial_depth::BIDS), "bids");
        let (bids, asks) = levels.read(document, bids, (slots.int(partial_depth::ASKS), "asks"), listed)?;
        sink.book(&BookUpdate {
            meta: context.meta(listed, None, None),
            kind: BookKind::Partial,
            ids: build::partial_depth_ids(&slots),
            depth,
            state: None,
            bids,
            asks,
        });
        self.orders.partial_depth.learn(order, PartialDepthShape::ORDERS);
        Ok(())
    }
}

/// The node in a slot; one that no tape reaches where the slot is no node.
fn nested(slots: &Slots<'_>, slot: usize) -> usize {
    usize::try_from(slots.int(slot)).unwrap_or(usize::MAX)
}

/// What a stream's name says of a depth message: how many levels a partial book has; 0 for changes.
///
/// # Errors
/// [`Reason::UnknownShape`] for `rpiDepth`, which looks the same and holds other orders.
fn partial_levels(stream: &str) -> Result<u16, DecodeError> {
    let Some((_, channel)) = stream.split_once('@') else { return Ok(0) };
    let name = channel.split('@').next().unwrap_or(channel);
    match name.strip_prefix("depth") {
        Some("") => Ok(0),
        Some(levels) => levels.parse().map_err(|_| DecodeError::new(Reason::UnknownShape, "stream")),
        None => Err(DecodeError::new(Reason::UnknownShape, "stream")),
    }
}
