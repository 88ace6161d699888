//! Tier one: a message as its channel is expected to send it, wholly, or nothing.

use super::shapes::{
    BookShape, CandleShape, EnvelopeShape, KlineEnvelopeShape, LiquidationShape, QuoteShape, SNAPSHOT,
    TickerEnvelopeShape, TickerShape, TradeShape, book, envelope,
};
use super::ticker::Tickers;
use crate::market::{BookKind, Kline, Liquidation, Quote, SequenceIds, Symbol, Ticker, Trade, VenueTime};
use crate::venue::decode::{Events, Found, KLINE_COUNT_MAX, LIQUIDATION_COUNT_MAX, TRADE_COUNT_MAX};
use crate::venue::fields::{Context, Known, LevelScratch, Listed, slot_time};
use crate::venue::isa::{Isa, Work};
use crate::venue::levels::{BookHead, Sides};
use crate::venue::number::parse_uint;
use crate::venue::scan::{Apart, Cursor, End, Reader, expect, messages, reader};
use crate::venue::shape::{Expectation, Shape, Slots};

use super::{
    Orders, book_ids, build_kline, build_liquidation, build_quote, build_ticker, build_trade, split_at_point,
    trades_time, with_envelope,
};

/// What tier one can tell a message to be before it walks it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Trades,
    Quote,
    Book,
    Ticker,
    Kline,
    Liquidations,
}

/// Tier one: the whole message, or nothing.
pub(super) struct Scan<'s> {
    pub(super) orders: &'s mut Orders,
    pub(super) tickers: &'s mut Tickers,
    pub(super) known: &'s Known<'s>,
    pub(super) padded: &'s [u8],
    pub(super) behind: usize,
    pub(super) levels: &'s mut LevelScratch,
    pub(super) events: &'s mut Events,
}

impl Work for Scan<'_> {
    type Output = Option<Found>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, isa: I) -> Option<Found> {
        let context = Context { isa, known: self.known };
        let padded = self.padded;
        let expected = match expected_by_start(padded) {
            Some(expected) => expected,
            None => expected_otherwise(padded, self.orders)?,
        };
        let end = End::Message { is_wrapped: false, behind: self.behind };
        let walk = &mut Walk { scan: self, context: &context, end };
        match expected {
            Expected::Trades => isa.run(&mut Apart(walk, Trades)),
            Expected::Quote => isa.run(&mut Apart(walk, Quotes)),
            Expected::Book => isa.run(&mut Apart(walk, Books)),
            Expected::Ticker => isa.run(&mut Apart(walk, TickerChanges)),
            Expected::Kline => isa.run(&mut Apart(walk, Klines)),
            Expected::Liquidations => isa.run(&mut Apart(walk, Liquidations)),
        }
    }
}

/// What the walk of a channel's message is given.
struct Walk<'w, 's, I> {
    scan: &'w mut Scan<'s>,
    context: &'w Context<'s, I>,
    end: End,
}

messages! {
    Trades |walk| -> Trades {
        let Walk { scan: Scan { orders, padded, events, .. }, context, end } = walk;
        let reader = &mut TradesReader { context, events: &mut events.trades, order: &mut orders.trade };
        expect::<EnvelopeShape, _>(&mut orders.trades, Cursor::new(padded), *end, reader)?;
    }
    Quotes |walk| -> Quote {
        let Walk { scan: Scan { orders, padded, events, .. }, context, end } = walk;
        let reader = &mut QuoteReader { context, event: None, order: &mut orders.quote, place: &mut events.quote };
        expect::<EnvelopeShape, _>(&mut orders.quotes, Cursor::new(padded), *end, reader)?;
    }
    Books |walk| -> Book {
        let Walk { scan: Scan { orders, padded, levels, events, .. }, context, end, .. } = walk;
        let (sides, place) = (Sides::new(levels), &mut events.book);
        let reader = &mut BookReader { context, sides, head: None, order: &mut orders.book, place };
        expect::<EnvelopeShape, _>(&mut orders.books, Cursor::new(padded), *end, reader)?;
    }
    TickerChanges |walk| -> Ticker {
        let Walk { scan: Scan { orders, tickers, padded, events, .. }, context, end } = walk;
        let reader = &mut TickerReader { context, tickers, merged: None, order: &mut orders.ticker };
        let ((symbol, merged), _) =
            expect::<TickerEnvelopeShape, _>(&mut orders.tickers, Cursor::new(padded), *end, reader)?;
        tickers.keep(symbol, merged);
        events.ticker = Some(merged);
    }
    Klines |walk| -> Klines {
        let Walk { scan: Scan { orders, padded, events, .. }, context, end } = walk;
        let reader = &mut KlinesReader { context, events: &mut events.klines, order: &mut orders.candle };
        expect::<KlineEnvelopeShape, _>(&mut orders.klines, Cursor::new(padded), *end, reader)?;
    }
    Liquidations |walk| -> Liquidations {
        let Walk { scan: Scan { orders, padded, events, .. }, context, end } = walk;
        let events = &mut events.liquidations;
        let reader = &mut LiquidationsReader { context, events, order: &mut orders.liquidation };
        expect::<EnvelopeShape, _>(&mut orders.liquidations, Cursor::new(padded), *end, reader)?;
    }
}

/// What a message is that begins like this; `None` if its first member is no topic.
#[inline(always)]
fn expected_by_start(message: &[u8]) -> Option<Expected> {
    const fn word(text: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*text)
    }
    const TRADES: u64 = word(b"publicTr");
    const BOOKS: u64 = word(b"orderboo");
    const TICKERS: u64 = word(b"tickers.");
    const LIQUIDATIONS: u64 = word(b"allLiqui");
    let (start, topic) = message.split_first_chunk::<10>()?;
    if start != b"{\"topic\":\"" {
        return None;
    }
    match u64::from_le_bytes(*topic.first_chunk()?) {
        TRADES => Some(Expected::Trades),
        BOOKS if topic.starts_with(b"orderbook.1.") => Some(Expected::Quote),
        BOOKS => Some(Expected::Book),
        TICKERS => Some(Expected::Ticker),
        LIQUIDATIONS => Some(Expected::Liquidations),
        _ => topic.starts_with(b"kline.").then_some(Expected::Kline),
    }
}

/// Spot's candles name their type first, and a learned order may begin with any member.
#[cold]
#[inline(never)]
fn expected_otherwise(message: &[u8], orders: &Orders) -> Option<Expected> {
    if message.starts_with(b"{\"type\":\"snapshot\",\"topic\":\"kline.") {
        return Some(Expected::Kline);
    }
    if message.starts_with(b"{\"topic\":") {
        return None;
    }
    let learned = [
        (Expected::Trades, &orders.trades, EnvelopeShape::ORDERS.len()),
        (Expected::Quote, &orders.quotes, EnvelopeShape::ORDERS.len()),
        (Expected::Book, &orders.books, EnvelopeShape::ORDERS.len()),
        (Expected::Ticker, &orders.tickers, TickerEnvelopeShape::ORDERS.len()),
        (Expected::Kline, &orders.klines, KlineEnvelopeShape::ORDERS.len()),
        (Expected::Liquidations, &orders.liquidations, EnvelopeShape::ORDERS.len()),
    ];
    learned
        .into_iter()
        .find(|(_, order, known_count)| order.expects_learned(*known_count))
        .map(|(expected, ..)| expected)
}

reader!(TradeReader() -> Trade = build_trade);
reader!(QuoteDataReader() -> Quote = build_quote);
reader!(CandleReader(name: &'r [u8]) -> Kline = build_kline);
reader!(LiquidationReader() -> Liquidation = build_liquidation);

/// Walks an array of objects, each of which becomes an event in `events`, which never grows.
#[inline(always)]
fn walk_array<'a, S: Shape, R: Reader<'a>>(
    order: &mut Expectation,
    cursor: &mut Cursor<'a>,
    reader: &mut R,
    events: &mut Vec<R::Event>,
    count_max: usize,
) -> Option<()> {
    cursor.literal(b"[")?;
    loop {
        let (event, ahead) = expect::<S, _>(order, *cursor, End::Open, reader)?;
        *cursor = ahead;
        if events.len() >= count_max.min(events.capacity()) {
            return None;
        }
        events.push(event);
        if cursor.literal(b",").is_none() {
            return cursor.literal(b"]");
        }
    }
}

/// A quote message.
struct QuoteReader<'s, 'c, I> {
    context: &'s Context<'c, I>,
    event: Option<Quote>,
    order: &'s mut Expectation,
    place: &'s mut Option<Quote>,
}

impl<'a, I: Isa> Reader<'a> for QuoteReader<'_, '_, I> {
    type Isa = I;
    type Event = ();

    #[inline(always)]
    fn isa(&self) -> I {
        self.context.isa
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.event = None;
    }

    #[inline(always)]
    fn nested(&mut self, _outer: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        let reader = &mut QuoteDataReader { context: self.context };
        let (event, ahead) = expect::<QuoteShape, _>(self.order, *cursor, End::Open, reader)?;
        self.event = Some(event);
        *cursor = ahead;
        Some(())
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<()> {
        *self.place = Some(with_envelope(self.event?, slots).ok()?);
        Some(())
    }
}

/// A book message.
struct BookReader<'s, 'c, I> {
    context: &'s Context<'c, I>,
    sides: Sides<'s>,
    head: Option<(Listed<I>, SequenceIds)>,
    order: &'s mut Expectation,
    place: &'s mut Option<BookHead>,
}

impl<'a, I: Isa> Reader<'a> for BookReader<'_, '_, I> {
    type Isa = I;
    type Event = ();

    #[inline(always)]
    fn isa(&self) -> I {
        self.context.isa
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.head = None;
    }

    #[inline(always)]
    fn nested(&mut self, _outer: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        let reader = &mut BookDataReader { context: self.context, sides: &mut self.sides, listed: None };
        let (event, ahead) = expect::<BookShape, _>(self.order, *cursor, End::Open, reader)?;
        self.head = Some(event);
        *cursor = ahead;
        Some(())
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<()> {
        let (listed, ids) = self.head?;
        let (channel, rest) = split_at_point(slots.text(envelope::TOPIC));
        let depth = u16::try_from(parse_uint(split_at_point(rest).0)?).ok()?;
        if channel != b"orderbook" || depth == 1 {
            return None;
        }
        let kind = if slots.int_if(envelope::TYPE)? == SNAPSHOT { BookKind::Snapshot } else { BookKind::Delta };
        let event_time = slot_time(slots, envelope::TIME, "ts").ok()?;
        let matching_time = slot_time(slots, envelope::MATCHING_TIME, "cts").ok()?;
        let meta = self.context.meta(listed, event_time, matching_time);
        *self.place = Some(BookHead { meta, kind, ids, depth, places: self.sides.places() });
        Some(())
    }
}

/// The data of a book message.
struct BookDataReader<'r, 's, 'c, I> {
    context: &'r Context<'c, I>,
    sides: &'r mut Sides<'s>,
    listed: Option<Listed<I>>,
}

impl<'a, I: Isa> Reader<'a> for BookDataReader<'_, '_, '_, I> {
    type Isa = I;
    type Event = (Listed<I>, SequenceIds);

    #[inline(always)]
    fn isa(&self) -> I {
        self.context.isa
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.sides.restart();
        self.listed = None;
    }

    #[inline(always)]
    fn levels(&mut self, slot: usize, slots: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        let listed = match self.listed {
            Some(listed) => listed,
            None => self.context.listed(slots.number(book::SYMBOL), "s").ok()?,
        };
        self.listed = Some(listed);
        self.sides.read(usize::from(slot == book::ASKS), listed, cursor)
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<Self::Event> {
        Some((self.listed?, book_ids(slots)))
    }
}

reader!(TickerDataReader(tickers: &'r Tickers, is_snapshot: bool) -> (Symbol, Ticker) = build_ticker);

/// A ticker message: what is known once it is merged, kept only when the whole message was as expected.
struct TickerReader<'s, 'c, I> {
    context: &'s Context<'c, I>,
    tickers: &'s Tickers,
    merged: Option<(Symbol, Ticker)>,
    order: &'s mut Expectation,
}

impl<'a, I: Isa> Reader<'a> for TickerReader<'_, '_, I> {
    type Isa = I;
    type Event = (Symbol, Ticker);

    #[inline(always)]
    fn isa(&self) -> I {
        self.context.isa
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.merged = None;
    }

    #[inline(always)]
    fn nested(&mut self, outer: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        let is_snapshot = outer.int_if(envelope::TYPE)? == SNAPSHOT;
        let reader = &mut TickerDataReader { context: self.context, tickers: self.tickers, is_snapshot };
        let (event, ahead) = expect::<TickerShape, _>(self.order, *cursor, End::Open, reader)?;
        self.merged = Some(event);
        *cursor = ahead;
        Some(())
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<Self::Event> {
        let (symbol, mut merged) = self.merged?;
        if split_at_point(slots.text(envelope::TOPIC)).0 != b"tickers" {
            return None;
        }
        merged.meta.event_time = slot_time(slots, envelope::TIME, "ts").ok()?;
        merged.sequence = slots.int_if(envelope::CROSS_SEQUENCE);
        Some((symbol, merged))
    }
}

/// Writes a [`Reader`] of a message whose data is an array: every element becomes an event in the core's scratch, and gets the
/// event time that `$time` takes from the envelope, which must be such a message's.
macro_rules! array_reader {
    ($name:ident of $event:ty: $shape:ty, at most $count_max:expr, |$this:ident, $outer:ident| $element:expr, |$slots:ident| $time:expr) => {
        struct $name<'s, 'c, I> {
            context: &'s Context<'c, I>,
            events: &'s mut Vec<$event>,
            order: &'s mut Expectation,
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
            fn nested(&mut self, $outer: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
                let $this = &*self;
                let reader = &mut $element;
                walk_array::<$shape, _>(self.order, cursor, reader, self.events, $count_max)
            }

            #[inline(always)]
            fn build(&mut self, $slots: &Slots<'a>) -> Option<()> {
                let event_time = $time?;
                self.events.iter_mut().for_each(|event| event.meta.event_time = event_time);
                Some(())
            }
        }
    };
}

array_reader!(TradesReader of Trade: TradeShape, at most TRADE_COUNT_MAX,
    |this, _outer| TradeReader { context: this.context }, |slots| trades_time(slots).ok());
array_reader!(KlinesReader of Kline: CandleShape, at most KLINE_COUNT_MAX,
    |this, outer| CandleReader { context: this.context, name: split_at_point(split_at_point(outer.text(envelope::TOPIC)).1).1 },
    |slots| time_of(slots, b"kline"));
array_reader!(LiquidationsReader of Liquidation: LiquidationShape, at most LIQUIDATION_COUNT_MAX,
    |this, _outer| LiquidationReader { context: this.context }, |slots| time_of(slots, b"allLiquidation"));

/// The event time of a message of this channel.
#[inline(always)]
fn time_of(outer: &Slots<'_>, channel: &[u8]) -> Option<Option<VenueTime>> {
    if split_at_point(outer.text(envelope::TOPIC)).0 != channel {
        return None;
    }
    slot_time(outer, envelope::TIME, "ts").ok()
}
