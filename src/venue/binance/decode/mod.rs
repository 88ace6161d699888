//! Binance messages to events, spot and USD-M.
//!
//! ```text
//! message ─► tier one: {"stream":"…@trade|…bookTicker","data":{…}} or the bare payload ─► event
//!               │ not as expected
//!               ▼
//!            tier two: wrapper off, then by `e`; where there is no `e`, by the members and the stream's name
//! ```
//! Both forms are taken on every connection, because `SET_PROPERTY combined` can turn one into the other while it runs.
//! Times are milliseconds: the engine never asks for `timeUnit=MICROSECOND`.

mod build;
pub(in crate::venue) use build::interval;
mod shapes;
#[cfg(test)]
mod tests;

use self::shapes::{
    QuoteShape, TradeShape, agg_trade, candle, depth, force_order, kline, liquidation_order, mark_price, mini_ticker,
    partial_depth, quote, ticker, trade,
};
use crate::market::{BookKind, BookUpdate, Quote, Received, Trade, Venue};
use crate::venue::decode::DecoderScratch;
use crate::venue::fields::{Context, LevelScratch, slot_time};
use crate::venue::scan::{Cursor, Reader, expect};
use crate::venue::shape::{Expectation, Learned, Shape, Slots};
use crate::venue::tape::Document;
use crate::venue::{DecodeError, Decoded, Form, HotSymbols, Reason, Sink, Tier};

/// One connection's decoder.
#[derive(Debug)]
pub struct Decoder {
    venue: Venue,
    /// The one stream of a raw connection, if it carries one only.
    raw_stream: Option<Box<str>>,
    trade: Expectation,
    quote: Expectation,
}

/// What tier one can tell a message to be before it walks it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Trade,
    Quote,
}

impl Decoder {
    pub(in crate::venue) fn new(venue: Venue, _form: Form, raw_stream: Option<&str>) -> Self {
        Self { venue, raw_stream: raw_stream.map(Box::from), trade: Expectation::new(), quote: Expectation::new() }
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
        if self.scan(message, &context, sink).is_some() {
            return Ok(Decoded::Data(Tier::One));
        }
        self.decode_any(message, &context, scratch, sink)
    }

    /// Tier one: the whole message, or nothing.
    #[inline(always)]
    fn scan<S: Sink>(&mut self, message: &[u8], context: &Context<'_>, sink: &mut S) -> Option<()> {
        let mut cursor = Cursor::new(message);
        let (expected, end): (_, &[u8]) = if cursor.literal(b"{\"stream\":\"").is_some() {
            let stream = cursor.text()?;
            cursor.literal(b",\"data\":")?;
            (expected_on(stream)?, b"}")
        } else {
            (self.expected_bare(message)?, b"")
        };
        match expected {
            Expected::Trade => {
                let event = expect::<TradeShape, _>(&mut self.trade, &mut cursor, end, &mut TradeReader(context))?;
                if !cursor.is_at_end() {
                    return None;
                }
                sink.trade(&event);
            }
            Expected::Quote => {
                let event = expect::<QuoteShape, _>(&mut self.quote, &mut cursor, end, &mut QuoteReader(context))?;
                if !cursor.is_at_end() {
                    return None;
                }
                sink.quote(&event);
            }
        }
        Some(())
    }

    /// What a bare payload begins like.
    #[inline(always)]
    fn expected_bare(&self, message: &[u8]) -> Option<Expected> {
        if message.starts_with(b"{\"e\":\"trade\"") {
            return Some(Expected::Trade);
        }
        if message.starts_with(b"{\"u\":") || message.starts_with(b"{\"e\":\"bookTicker\"") {
            return Some(Expected::Quote);
        }
        // A learned order may begin with any member.
        if self.trade.expects_learned(TradeShape::ORDERS.len()) {
            return Some(Expected::Trade);
        }
        self.quote.expects_learned(QuoteShape::ORDERS.len()).then_some(Expected::Quote)
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
        for element in elements {
            match self.single(document, element, stream, context, levels, sink) {
                Ok(Decoded::Data(_)) => {}
                Ok(Decoded::Control) => sink.refused(Reason::UnknownShape),
                Err(error) => sink.refused(error.reason),
            }
        }
        Ok(Decoded::Data(Tier::TwoOnly))
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
            "trade" => return self.learn_trade(document, node, context, sink),
            "bookTicker" => return self.learn_quote(document, node, context, sink),
            "depthUpdate" => depth_update(document, node, stream, context, levels, sink)?,
            "aggTrade" => {
                let slots = filled(document, node, agg_trade::MEMBERS)?;
                sink.agg_trade(&build::build_agg_trade(&slots, context)?);
            }
            "24hrTicker" => {
                let slots = filled(document, node, ticker::MEMBERS)?;
                sink.ticker(&build::build_ticker(&slots, context)?);
            }
            "24hrMiniTicker" => {
                let slots = filled(document, node, mini_ticker::MEMBERS)?;
                sink.ticker(&build::build_mini_ticker(&slots, context)?);
            }
            "kline" => {
                let outer = filled(document, node, kline::MEMBERS)?;
                let slots = filled(document, nested(&outer, kline::CANDLE), candle::MEMBERS)?;
                sink.kline(&build::build_kline(&outer, &slots, context)?);
            }
            "markPriceUpdate" => {
                let slots = filled(document, node, mark_price::MEMBERS)?;
                sink.mark_price(&build::build_mark_price(&slots, context)?);
            }
            "forceOrder" => {
                let outer = filled(document, node, force_order::MEMBERS)?;
                let slots = filled(document, nested(&outer, force_order::ORDER), liquidation_order::MEMBERS)?;
                let event_time = slot_time(&outer, force_order::EVENT_TIME, "E")?;
                sink.liquidation(&build::build_liquidation(event_time, &slots, context)?);
            }
            "serverShutdown" => return Ok(Decoded::Control),
            _ => return Err(DecodeError::new(Reason::UnknownShape, "e")),
        }
        Ok(Decoded::Data(Tier::TwoOnly))
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
            partial_depth(document, node, stream, context, levels, sink)?;
            return Ok(Decoded::Data(Tier::TwoOnly));
        }
        if has("u") && has("s") {
            return self.learn_quote(document, node, context, sink);
        }
        if ["result", "code", "error"].into_iter().any(has) {
            return Ok(Decoded::Control);
        }
        Err(DecodeError::new(Reason::UnknownShape, ""))
    }

    fn learn_trade<S: Sink>(
        &mut self,
        document: &Document<'_>,
        node: usize,
        context: &Context<'_>,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let mut learned = Learned::new();
        let mut slots = Slots::new();
        document.fill(node, trade::MEMBERS, &mut slots, Some(&mut learned))?;
        sink.trade(&build::build_trade(&slots, context)?);
        self.trade.learn(learned, TradeShape::ORDERS);
        Ok(Decoded::Data(Tier::TwoAfterOne))
    }

    fn learn_quote<S: Sink>(
        &mut self,
        document: &Document<'_>,
        node: usize,
        context: &Context<'_>,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        let mut learned = Learned::new();
        let mut slots = Slots::new();
        document.fill(node, quote::MEMBERS, &mut slots, Some(&mut learned))?;
        sink.quote(&build::build_quote(&slots, context)?);
        self.quote.learn(learned, QuoteShape::ORDERS);
        Ok(Decoded::Data(Tier::TwoAfterOne))
    }
}

/// Tier one's trades.
struct TradeReader<'s, 'c>(&'s Context<'c>);

impl<'a> Reader<'a> for TradeReader<'_, '_> {
    type Event = Trade;

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<Trade> {
        build::build_trade(slots, self.0).ok()
    }
}

/// Tier one's quotes.
struct QuoteReader<'s, 'c>(&'s Context<'c>);

impl<'a> Reader<'a> for QuoteReader<'_, '_> {
    type Event = Quote;

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<Quote> {
        build::build_quote(slots, self.0).ok()
    }
}

/// What a stream of this name carries, where tier one knows it.
#[inline(always)]
fn expected_on(stream: &[u8]) -> Option<Expected> {
    if stream.ends_with(b"@trade") {
        return Some(Expected::Trade);
    }
    (stream.ends_with(b"@bookTicker") || stream == b"!bookTicker").then_some(Expected::Quote)
}

fn filled<'d>(
    document: &Document<'d>,
    node: usize,
    members: &'static [crate::venue::shape::Member],
) -> Result<Slots<'d>, DecodeError> {
    let mut slots = Slots::new();
    document.fill(node, members, &mut slots, None)?;
    Ok(slots)
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

fn depth_update<S: Sink>(
    document: &Document<'_>,
    node: usize,
    stream: &str,
    context: &Context<'_>,
    levels: &mut LevelScratch,
    sink: &mut S,
) -> Result<(), DecodeError> {
    let levels_of_stream = partial_levels(stream)?;
    let slots = filled(document, node, depth::MEMBERS)?;
    let listed = context.listed(slots.text(depth::SYMBOL), "s")?;
    let event_time = slot_time(&slots, depth::EVENT_TIME, "E")?;
    let matching_time = slot_time(&slots, depth::MATCHING_TIME, "T")?;
    let (bids, asks) = levels.read(document, (slots.int(depth::BIDS), "b"), (slots.int(depth::ASKS), "a"), listed)?;
    sink.book(&BookUpdate {
        meta: context.meta(listed, event_time, matching_time),
        kind: if levels_of_stream == 0 { BookKind::Delta } else { BookKind::Partial },
        ids: build::depth_ids(&slots),
        depth: levels_of_stream,
        bids,
        asks,
    });
    Ok(())
}

/// Spot's partial depth: only the stream's name says whose it is.
fn partial_depth<S: Sink>(
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
    let listed = context.listed(name.as_bytes(), "stream")?;
    let slots = filled(document, node, partial_depth::MEMBERS)?;
    let bids = (slots.int(partial_depth::BIDS), "bids");
    let (bids, asks) = levels.read(document, bids, (slots.int(partial_depth::ASKS), "asks"), listed)?;
    sink.book(&BookUpdate {
        meta: context.meta(listed, None, None),
        kind: BookKind::Partial,
        ids: build::partial_depth_ids(&slots),
        depth,
        bids,
        asks,
    });
    Ok(())
}
