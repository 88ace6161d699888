//! Tier one: a message as its channel is expected to send it, wholly, or nothing. And with [`any_order`] the first half of tier
//! two: the same shapes in whatever order.

use super::shapes::{
    AggTradeShape, CandleShape, DepthShape, ForceOrderShape, KlineShape, LiquidationOrderShape, MarkPriceShape,
    MiniTickerShape, PartialDepthShape, QuoteShape, TickerShape, TradeShape, depth, force_order, kline, partial_depth,
};
use super::{Orders, build};
use crate::market::{AggTrade, BookKind, Kline, Liquidation, MarkPrice, Quote, Ticker, Trade};
use crate::venue::any_order;
use crate::venue::cursor::Cursor;
use crate::venue::decode::{DecoderScratch, Found, Payload};
use crate::venue::fields::{Context, Known, Listed, slot_time};
use crate::venue::isa::{Isa, Portable, WINDOW, Work, fetch_message};
use crate::venue::levels::{BookHead, Sides};
use crate::venue::number::Number;
use crate::venue::row::Row;
use crate::venue::scan::{Apart, End, Reader, expect, expect_array, messages, reader};
use crate::venue::shape::{Expectation, Named, Shape, Slots};

/// What tier one can tell a message to be before it walks it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Trade,
    Quote,
    Depth,
    PartialDepth,
    AggTrade,
    Ticker,
    MiniTicker,
    Kline,
    MarkPrice,
    ForceOrder,
    /// An array of such elements.
    Tickers,
    MiniTickers,
    MarkPrices,
}

impl Expected {
    /// What an array is whose first element is this; `None` where none is known of such elements.
    fn of_elements(self) -> Option<Self> {
        match self {
            Self::Ticker => Some(Self::Tickers),
            Self::MiniTicker => Some(Self::MiniTickers),
            Self::MarkPrice => Some(Self::MarkPrices),
            _ => None,
        }
    }
}

/// Tier one: the whole message, or nothing.
pub(super) struct Scan<'s> {
    pub(super) orders: &'s mut Orders,
    pub(super) raw_stream: &'s Option<Box<str>>,
    pub(super) message: &'s Payload<'s>,
    pub(super) known: &'s Known<'s>,
    pub(super) scratch: &'s mut DecoderScratch,
}

impl Work for Scan<'_> {
    type Output = Option<Found>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, isa: I) -> Option<Found> {
        if const { I::IS_ANY_ORDER } {
            return self.run_any_order(isa);
        }
        let padded = self.message.padded();
        fetch_message(padded);
        let mut cursor = Cursor::new(padded);
        let is_wrapped = cursor.literal(b"{\"stream\":\"").is_some();
        let mut context = Context::new(isa, self.known);
        let mut stream = &b""[..];
        if is_wrapped {
            // Most streams' names are the symbol's in lower case, an `@` and the channel's. What is known of the symbol is asked for
            // here: in a small message that is as long before it is needed as can be.
            let window = cursor.rest().first_chunk()?;
            let name_length = isa.marks(window, b'@').trailing_zeros() as usize;
            if matches!(name_length, 1..WINDOW) {
                let place = context.fetch_key(isa.key(window, name_length), name_length);
                context = Context { name_length, place, ..context };
                if isa.plain_end(window) > name_length
                    && let Some(found) = self.run_ahead(&context, cursor, name_length + 1)
                {
                    return found;
                }
            }
            stream = cursor.name(isa)?.text();
            cursor.literal(b",\"data\":")?;
        } else if let Some(raw_stream) = self.raw_stream.as_deref() {
            stream = raw_stream.as_bytes();
        }
        let walk = &mut Walk { scan: self, context: &context, at: padded.len() - cursor.ahead(), is_wrapped, stream };
        let expected = match expected_by_start(cursor.rest()) {
            Some(expected) => expected,
            None => expected_otherwise(cursor.rest(), stream, walk.scan.orders)?,
        };
        walk.run(expected)
    }
}

impl<'s> Scan<'s> {
    /// Walks the payload of a wrapper's `stream` whose channel's name begins so many bytes on, behind a symbol's: of the commonest
    /// alone, of whose messages nobody has to know more of the stream (of a partial book its levels). What the payload truly is its
    /// walk finds. `None` where the channel is another.
    #[inline(always)]
    fn run_ahead<I: Isa>(
        &mut self,
        context: &Context<'s, I>,
        mut cursor: Cursor<'_>,
        length: usize,
    ) -> Option<Option<Found>> {
        /// Finds one by the first eight bytes of its name and what follows it: as a number, for bytes would be compared one by one.
        macro_rules! channel {
            ($($start:literal of $name:literal => $expected:ident,)*) => {
                let start = u64::from_le_bytes(*cursor.rest().first_chunk()?);
                $(if start == const { u64::from_le_bytes(*$start) } {
                    cursor.literal(concat!($name, "\",\"data\":").as_bytes())?;
                    let at = self.message.padded().len() - cursor.ahead();
                    return Some(Walk { scan: self, context, at, is_wrapped: true, stream: b"" }.run(Expected::$expected));
                })*
            };
        }
        cursor.skip(length)?;
        channel! {
            b"trade\",\"" of "trade" => Trade,
            b"bookTick" of "bookTicker" => Quote,
            b"depth@10" of "depth@100ms" => Depth,
            b"aggTrade" of "aggTrade" => AggTrade,
            b"ticker\"," of "ticker" => Ticker,
            b"miniTick" of "miniTicker" => MiniTicker,
            b"markPric" of "markPrice" => MarkPrice,
            b"kline_1m" of "kline_1m" => Kline,
        }
        None
    }

    /// Tier two, of the same shapes: a wrapper begins with its `stream`, all else may stand anywhere.
    #[inline(always)]
    fn run_any_order<I: Isa>(&mut self, isa: I) -> Option<Found> {
        let context = Context::new(isa, self.known);
        let padded = self.message.padded();
        let mut cursor = Cursor::new(padded);
        let (is_wrapped, stream) = match wrapped_stream(isa, &mut cursor)? {
            Some(stream) => (true, stream),
            None => (false, self.raw_stream.as_deref().map_or(&b""[..], str::as_bytes)),
        };
        let expected = expected_anywhere(isa, cursor)?;
        Walk { scan: self, context: &context, at: padded.len() - cursor.ahead(), is_wrapped, stream }.run(expected)
    }
}

/// The name in a wrapper's `stream`, with the cursor at its `data` then; or at the message's begin where it is none.
#[inline(always)]
fn wrapped_stream<'a, I: Isa>(isa: I, cursor: &mut Cursor<'a>) -> Option<Option<&'a [u8]>> {
    let mut ahead = *cursor;
    if ahead.token(isa, b"{").is_none() {
        return Some(None);
    }
    if ahead.literal(b"\"stream\":\"").is_none() {
        if any_order::key(isa, &mut ahead)?.0 != b"stream" {
            return Some(None);
        }
        ahead.literal(b"\"")?;
    }
    let stream = ahead.name(isa)?.text();
    while any_order::goes_on(&mut ahead)? {
        let (key, _) = any_order::key(isa, &mut ahead)?;
        if key == b"data" {
            *cursor = ahead;
            return Some(Some(stream));
        }
        any_order::skip_unknown(isa, key, &mut ahead)?;
    }
    None
}

/// What a payload is, by its `e` wherever that stands, of an array by its first element's; without one by the members that only
/// spot's messages have.
#[inline(always)]
fn expected_anywhere<I: Isa>(isa: I, mut cursor: Cursor<'_>) -> Option<Expected> {
    cursor.space();
    if cursor.rest().starts_with(b"{\"e\":\"")
        && let Some(expected) = expected_by_start(cursor.rest())
    {
        return Some(expected);
    }
    if cursor.token(isa, b"{").is_none() {
        return expected_of_array(cursor);
    }
    let (mut count, mut has_update_id, mut has_symbol) = (0, false, false);
    loop {
        let (key, _) = any_order::key(isa, &mut cursor)?;
        match key {
            b"e" => {
                cursor.literal(b"\"")?;
                return expected_of(cursor.text(isa)?.text());
            }
            // An `e` behind it is foreign to that shape.
            b"lastUpdateId" => return Some(Expected::PartialDepth),
            b"u" => has_update_id = true,
            b"s" => has_symbol = true,
            _ => {}
        }
        count += 1;
        // So begins spot's; an `e` behind it must be a quote's.
        let is_quote = has_update_id && has_symbol;
        if is_quote && count == 2 {
            return Some(Expected::Quote);
        }
        any_order::skip_value(isa, &mut cursor)?;
        if !any_order::goes_on(&mut cursor)? {
            return is_quote.then_some(Expected::Quote);
        }
    }
}

/// The same of an array, whose first element must be an object.
#[cold]
#[inline(never)]
fn expected_of_array(mut cursor: Cursor<'_>) -> Option<Expected> {
    cursor.literal(b"[")?;
    cursor.space();
    if cursor.rest().first() != Some(&b'{') {
        return None;
    }
    // A function of its own is not compiled for the reader's instructions.
    expected_anywhere(Portable, cursor)?.of_elements()
}

/// What a payload with this `e` is.
#[inline(always)]
fn expected_of(kind: &[u8]) -> Option<Expected> {
    Some(match kind {
        b"trade" => Expected::Trade,
        b"bookTicker" => Expected::Quote,
        b"depthUpdate" => Expected::Depth,
        b"aggTrade" => Expected::AggTrade,
        b"24hrTicker" => Expected::Ticker,
        b"24hrMiniTicker" => Expected::MiniTicker,
        b"kline" => Expected::Kline,
        b"markPriceUpdate" => Expected::MarkPrice,
        b"forceOrder" => Expected::ForceOrder,
        _ => return None,
    })
}

impl<'s, I: Isa> Walk<'_, 's, I> {
    /// Walks the payload as what it is expected to be.
    #[inline(always)]
    fn run(&mut self, expected: Expected) -> Option<Found> {
        let (isa, walk) = (self.context.isa, self);
        match expected {
            Expected::Trade => isa.run(&mut Apart(walk, Trades)),
            Expected::Quote => isa.run(&mut Apart(walk, Quotes)),
            Expected::Depth => isa.run(&mut Apart(walk, Depths)),
            Expected::PartialDepth => isa.run(&mut Apart(walk, PartialDepths)),
            Expected::AggTrade => isa.run(&mut Apart(walk, AggTrades)),
            Expected::Ticker => isa.run(&mut Apart(walk, OneTicker)),
            Expected::MiniTicker => isa.run(&mut Apart(walk, OneMiniTicker)),
            Expected::Kline => isa.run(&mut Apart(walk, Klines)),
            Expected::MarkPrice => isa.run(&mut Apart(walk, OneMarkPrice)),
            Expected::ForceOrder => isa.run(&mut Apart(walk, ForceOrders)),
            Expected::Tickers => isa.run(&mut Apart(walk, Tickers)),
            Expected::MiniTickers => isa.run(&mut Apart(walk, MiniTickers)),
            Expected::MarkPrices => isa.run(&mut Apart(walk, MarkPrices)),
        }
    }
}

/// What the walk of a channel's message is given: single words, for what was just written in pieces and is copied whole
/// makes the copy wait.
struct Walk<'w, 's, I> {
    scan: &'w mut Scan<'s>,
    context: &'w Context<'s, I>,
    /// Where the payload begins.
    at: usize,
    is_wrapped: bool,
    /// The stream's name; empty where nobody knows it, or has to: then a book is of changes.
    stream: &'s [u8],
}

impl<'s, I> Walk<'_, 's, I> {
    /// The payload, and what must stand behind it. Made in every channel's walk, where it stays in registers.
    #[inline(always)]
    fn open(&self) -> Option<(Cursor<'s>, End)> {
        let cursor = Cursor::new(self.scan.message.padded().get(self.at..)?);
        Some((cursor, End::Message { is_wrapped: self.is_wrapped, behind: self.scan.message.behind() }))
    }
}

impl<'s, I: Isa> Walk<'_, 's, I> {
    /// The context of a payload whose stream is of no symbol: what stands before its `@` is none's name.
    #[inline(always)]
    fn of_no_symbol(&self) -> Context<'s, I> {
        Context::new(self.context.isa, self.context.known)
    }
}

messages! {
    Walk<'_, '_, J>, J;
    Trades |walk| -> Trade {
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, context, .. } = walk;
        expect::<TradeShape, _>(&mut orders.trade, cursor, end, &mut TradeReader { context, place: &mut scratch.events.trade })?;
    }
    Quotes |walk| -> Quote {
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, context, .. } = walk;
        expect::<QuoteShape, _>(&mut orders.quote, cursor, end, &mut QuoteReader { context, place: &mut scratch.events.quote })?;
    }
    Depths |walk| -> Book {
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, context, stream, .. } = walk;
        let (_, depth) = partial_levels_of(stream, context.name_length)?;
        let place = &mut scratch.events.book;
        let reader = &mut DepthReader { context, sides: Sides::new(&mut scratch.levels), listed: None, depth, place };
        expect::<DepthShape, _>(&mut orders.depth, cursor, end, reader)?;
    }
    PartialDepths |walk| -> Book {
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, context, stream, .. } = walk;
        let (name, depth) = partial_levels_of(stream, context.name_length).filter(|&(_, depth)| depth != 0)?;
        let listed = context.listed(Number::unread(name), "stream").ok()?;
        let place = &mut scratch.events.book;
        let reader = &mut PartialDepthReader { context, sides: Sides::new(&mut scratch.levels), listed, depth, place };
        expect::<PartialDepthShape, _>(&mut orders.partial_depth, cursor, end, reader)?;
    }
    AggTrades |walk| -> AggTrade {
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, context, .. } = walk;
        expect::<AggTradeShape, _>(&mut orders.agg_trade, cursor, end, &mut AggTradeReader { context, place: &mut scratch.events.agg_trade })?;
    }
    OneTicker |walk| -> Ticker {
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, context, .. } = walk;
        expect::<TickerShape, _>(&mut orders.ticker, cursor, end, &mut TickerReader { context, place: &mut scratch.events.ticker })?;
    }
    OneMiniTicker |walk| -> Ticker {
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, context, .. } = walk;
        expect::<MiniTickerShape, _>(&mut orders.mini_ticker, cursor, end, &mut MiniTickerReader { context, place: &mut scratch.events.ticker })?;
    }
    Klines |walk| -> Klines {
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, context, .. } = walk;
        let reader = &mut KlineReader { context, events: &mut scratch.events.klines, order: &mut orders.candle };
        expect::<KlineShape, _>(&mut orders.kline, cursor, end, reader)?;
    }
    OneMarkPrice |walk| -> MarkPrice {
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, context, .. } = walk;
        expect::<MarkPriceShape, _>(&mut orders.mark_price, cursor, end, &mut MarkPriceReader { context, place: &mut scratch.events.mark_price })?;
    }
    ForceOrders |walk| -> Liquidations {
        // `!forceOrder@arr` names no symbol before its `@`.
        let context = match walk.stream {
            [b'!', ..] => &walk.of_no_symbol(),
            _ => walk.context,
        };
        let (cursor, end) = walk.open()?;
        let Walk { scan: Scan { orders, scratch, .. }, .. } = walk;
        let events = &mut scratch.events.liquidations;
        let reader = &mut ForceOrderReader { context, events, order: &mut orders.liquidation_order };
        expect::<ForceOrderShape, _>(&mut orders.force_order, cursor, end, reader)?;
    }
    Tickers |walk| -> Tickers {
        let (cursor, end) = walk.open()?;
        let context = &walk.of_no_symbol();
        let Walk { scan: Scan { orders, scratch, .. }, .. } = walk;
        let elements = &mut scratch.events.tickers;
        elements.clear();
        expect_array::<TickerShape, _>(&mut orders.ticker, cursor, end, &mut TickersReader { context, elements })?;
    }
    MiniTickers |walk| -> Tickers {
        let (cursor, end) = walk.open()?;
        let context = &walk.of_no_symbol();
        let Walk { scan: Scan { orders, scratch, .. }, .. } = walk;
        let elements = &mut scratch.events.tickers;
        elements.clear();
        expect_array::<MiniTickerShape, _>(&mut orders.mini_ticker, cursor, end, &mut MiniTickersReader { context, elements })?;
    }
    MarkPrices |walk| -> MarkPrices {
        let (cursor, end) = walk.open()?;
        let context = &walk.of_no_symbol();
        let Walk { scan: Scan { orders, scratch, .. }, .. } = walk;
        let elements = &mut scratch.events.mark_prices;
        elements.clear();
        expect_array::<MarkPriceShape, _>(&mut orders.mark_price, cursor, end, &mut MarkPricesReader { context, elements })?;
    }
}

reader!(TradeReader() = build::build_trade => Option<Trade>);
reader!(QuoteReader() = build::build_quote => Option<Quote>);
reader!(AggTradeReader() = build::build_agg_trade => Option<AggTrade>);
reader!(TickerReader() = build::build_ticker => Option<Ticker>);
reader!(MiniTickerReader() = build::build_mini_ticker => Option<Ticker>);
reader!(MarkPriceReader() = build::build_mark_price => Option<MarkPrice>);
reader!(TickersReader = build::build_ticker => each Ticker);
reader!(MiniTickersReader = build::build_mini_ticker => each Ticker);
reader!(MarkPricesReader = build::build_mark_price => each MarkPrice);
reader!(CandleReader(symbol: Number<'r>) = build::build_kline => some Kline);
reader!(OrderReader() = build::build_liquidation => some Liquidation);

/// A book's changes, or a partial book that names its symbol.
struct DepthReader<'r, 'c, I> {
    context: &'r Context<'c, I>,
    sides: Sides<'r>,
    listed: Option<Listed<I>>,
    /// Levels a side of a partial book; 0 for changes.
    depth: u16,
    place: &'r mut Option<BookHead>,
}

impl<'a, I: Isa> Reader<'a> for DepthReader<'_, '_, I> {
    type Isa = I;
    type Event = ();

    #[inline(always)]
    fn isa(&self) -> I {
        self.context.isa
    }

    #[inline(always)]
    fn name_length(&self) -> usize {
        self.context.name_length
    }

    #[inline(always)]
    fn known_ahead(&self, window: &[u8; WINDOW]) -> Option<(usize, Named)> {
        self.context.known_ahead(window)
    }

    #[inline(always)]
    fn named(&self, name: Number<'a>) -> Option<Named> {
        self.context.known_as(name)
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.sides.restart();
        self.listed = None;
    }

    #[inline(always)]
    fn is_ready(&self, slots: &Slots<'a>) -> bool {
        slots.has(depth::SYMBOL)
    }

    #[inline(always)]
    fn levels(&mut self, slot: usize, slots: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        let listed = match self.listed {
            Some(listed) => listed,
            None => self.context.listed_in(slots, depth::SYMBOL, "s").ok()?,
        };
        self.listed = Some(listed);
        self.sides.read(usize::from(slot == depth::ASKS), listed, cursor)
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<()> {
        let event_time = slot_time(slots, depth::EVENT_TIME, "E").ok()?;
        let matching_time = slot_time(slots, depth::MATCHING_TIME, "T").ok()?;
        *self.place = Some(BookHead {
            meta: self.context.meta(self.listed?, event_time, matching_time),
            kind: if self.depth == 0 { BookKind::Delta } else { BookKind::Partial },
            ids: build::depth_ids(slots),
            depth: self.depth,
            places: self.sides.places(),
        });
        Some(())
    }
}

/// Spot's partial book, whose symbol the stream's name says.
struct PartialDepthReader<'r, 'c, I> {
    context: &'r Context<'c, I>,
    sides: Sides<'r>,
    listed: Listed<I>,
    depth: u16,
    place: &'r mut Option<BookHead>,
}

impl<'a, I: Isa> Reader<'a> for PartialDepthReader<'_, '_, I> {
    type Isa = I;
    type Event = ();

    #[inline(always)]
    fn isa(&self) -> I {
        self.context.isa
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.sides.restart();
    }

    #[inline(always)]
    fn levels(&mut self, slot: usize, _slots: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        self.sides.read(usize::from(slot == partial_depth::ASKS), self.listed, cursor)
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<()> {
        *self.place = Some(BookHead {
            meta: self.context.meta(self.listed, None, None),
            kind: BookKind::Partial,
            ids: build::partial_depth_ids(slots),
            depth: self.depth,
            places: self.sides.places(),
        });
        Some(())
    }
}

/// Writes a [`Reader`] of a message around the one object that its event is built from, which may need a member before it.
macro_rules! around {
    ($name:ident of $event:ident: $shape:ty, behind [$($needed:expr)?], |$context:ident, $events:ident, $outer:ident| $inner:expr, $time:expr) => {
        struct $name<'r, 'c, I> {
            context: &'r Context<'c, I>,
            events: &'r mut Row<$event>,
            order: &'r mut Expectation,
        }

        impl<'a, I: Isa> Reader<'a> for $name<'_, '_, I> {
            type Isa = I;
            type Event = ();

            #[inline(always)]
            fn isa(&self) -> I {
                self.context.isa
            }

            #[inline(always)]
            fn restart(&mut self) {
                self.events.clear();
            }

            #[inline(always)]
            fn is_ready(&self, _slots: &Slots<'a>) -> bool {
                true $(&& _slots.has($needed))?
            }

            #[inline(always)]
            fn nested(&mut self, $outer: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
                // Another object under the same key would be another event.
                self.events.clear();
                let ($context, $events) = (self.context, &mut *self.events);
                ((), *cursor) = expect::<$shape, _>(self.order, *cursor, End::Open, &mut $inner)?;
                Some(())
            }

            #[inline(always)]
            fn build(&mut self, slots: &Slots<'a>) -> Option<()> {
                self.events.last_mut()?.meta.event_time = slot_time(slots, $time, "E").ok()?;
                Some(())
            }
        }
    };
}

around!(KlineReader of Kline: CandleShape, behind [kline::SYMBOL],
    |context, events, outer| CandleReader { context, events, symbol: outer.number(kline::SYMBOL) }, kline::EVENT_TIME);
around!(ForceOrderReader of Liquidation: LiquidationOrderShape, behind [],
    |context, events, _outer| OrderReader { context, events }, force_order::EVENT_TIME);

/// What a payload is that begins like this; `None` if its first member is another one.
#[inline(always)]
fn expected_by_start(payload: &[u8]) -> Option<Expected> {
    const fn word(text: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*text)
    }
    const TRADE: u64 = word(b"trade\",\"");
    const QUOTE: u64 = word(b"bookTick");
    const DEPTH: u64 = word(b"depthUpd");
    const AGG_TRADE: u64 = word(b"aggTrade");
    const TICKER: u64 = word(b"24hrTick");
    const MINI_TICKER: u64 = word(b"24hrMini");
    const KLINE: u64 = word(b"kline\",\"");
    const MARK_PRICE: u64 = word(b"markPric");
    const FORCE_ORDER: u64 = word(b"forceOrd");
    let (start, rest) = payload.split_first_chunk::<6>()?;
    if start == b"{\"e\":\"" {
        return match u64::from_le_bytes(*rest.first_chunk()?) {
            TRADE => Some(Expected::Trade),
            QUOTE => Some(Expected::Quote),
            DEPTH => Some(Expected::Depth),
            AGG_TRADE => Some(Expected::AggTrade),
            TICKER => Some(Expected::Ticker),
            MINI_TICKER => Some(Expected::MiniTicker),
            KLINE => Some(Expected::Kline),
            MARK_PRICE => Some(Expected::MarkPrice),
            FORCE_ORDER => Some(Expected::ForceOrder),
            _ => None,
        };
    }
    if payload.starts_with(b"{\"u\":") {
        return Some(Expected::Quote);
    }
    payload.starts_with(b"{\"lastUpdateId\":").then_some(Expected::PartialDepth)
}

/// An array is what its first element is. A learned order may begin with any member: by the stream's name, and without one by
/// what has been learned.
#[cold]
#[inline(never)]
fn expected_otherwise(payload: &[u8], stream: &[u8], orders: &Orders) -> Option<Expected> {
    let Some(elements) = payload.strip_prefix(b"[") else { return expected_by_learning(stream, orders) };
    match expected_by_start(elements) {
        Some(expected) => expected.of_elements(),
        None => expected_by_learning(stream, orders)?.of_elements(),
    }
}

fn expected_by_learning(stream: &[u8], orders: &Orders) -> Option<Expected> {
    if !stream.is_empty() {
        return expected_on(stream, orders);
    }
    let learned = [
        (Expected::Trade, &orders.trade, TradeShape::ORDERS.len()),
        (Expected::Quote, &orders.quote, QuoteShape::ORDERS.len()),
        (Expected::Depth, &orders.depth, DepthShape::ORDERS.len()),
        (Expected::AggTrade, &orders.agg_trade, AggTradeShape::ORDERS.len()),
        (Expected::Ticker, &orders.ticker, TickerShape::ORDERS.len()),
        (Expected::MiniTicker, &orders.mini_ticker, MiniTickerShape::ORDERS.len()),
        (Expected::Kline, &orders.kline, KlineShape::ORDERS.len()),
        (Expected::MarkPrice, &orders.mark_price, MarkPriceShape::ORDERS.len()),
        (Expected::ForceOrder, &orders.force_order, ForceOrderShape::ORDERS.len()),
    ];
    learned
        .into_iter()
        .find(|(_, order, known_count)| order.expects_learned(*known_count))
        .map(|(expected, ..)| expected)
}

/// What a stream of this name carries.
fn expected_on(stream: &[u8], orders: &Orders) -> Option<Expected> {
    // The whole market's are named after their channel, and some have `@arr` behind it.
    let channel = match (stream.strip_prefix(b"!"), stream.iter().position(|&byte| byte == b'@')) {
        (Some(market), _) => market.split(|&byte| byte == b'@').next()?,
        (None, Some(at)) => &stream[at + 1..],
        (None, None) => return None,
    };
    Some(match channel {
        b"trade" => Expected::Trade,
        b"bookTicker" => Expected::Quote,
        b"aggTrade" => Expected::AggTrade,
        b"ticker" => Expected::Ticker,
        b"miniTicker" => Expected::MiniTicker,
        b"forceOrder" => Expected::ForceOrder,
        // Only spot's partial books have members of their own.
        channel if channel.starts_with(b"depth") => {
            let is_partial = orders.partial_depth.expects_learned(PartialDepthShape::ORDERS.len());
            if is_partial { Expected::PartialDepth } else { Expected::Depth }
        }
        channel if channel.starts_with(b"kline_") => Expected::Kline,
        channel if channel.starts_with(b"markPrice") => Expected::MarkPrice,
        _ => return None,
    })
}

/// The symbol's name and [`partial_levels`] of the names that there are; `None` for any other. `name_length` is where the stream's first
/// `@` stands; 0 where nobody knows.
#[inline(always)]
fn partial_levels_of(stream: &[u8], name_length: usize) -> Option<(&[u8], u16)> {
    if stream.is_empty() {
        return Some((stream, 0));
    }
    let stream = match stream {
        [name @ .., b'@', b'1' | b'2' | b'5', b'0' | b'5', b'0', b'm', b's'] | [name @ .., b'@', b'0', b'm', b's'] => {
            name
        }
        name => name,
    };
    let (name, levels) = match stream {
        [name @ .., b'@', b'd', b'e', b'p', b't', b'h'] => (name, 0),
        [name @ .., b'@', b'd', b'e', b'p', b't', b'h', b'5'] => (name, 5),
        [name @ .., b'@', b'd', b'e', b'p', b't', b'h', b'1', b'0'] => (name, 10),
        [name @ .., b'@', b'd', b'e', b'p', b't', b'h', b'2', b'0'] => (name, 20),
        _ => return None,
    };
    // Only the first `@` ends a symbol.
    let is_first = name.len() == name_length;
    debug_assert!(!is_first || !name.contains(&b'@'));
    (is_first || !name.contains(&b'@')).then_some((name, levels))
}
