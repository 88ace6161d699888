//! Tier one: a message as its channel is expected to send it, wholly, or nothing. And with [`any_order`] the first half of tier
//! two: the same shapes in whatever order.

use super::shapes::{
    BookShape, CandleShape, EnvelopeShape, KlineEnvelopeShape, LiquidationShape, OldLiquidationShape, QuoteShape,
    SNAPSHOT, TickerEnvelopeShape, TickerShape, TradeShape, book, envelope,
};
use super::ticker::Tickers;
use crate::market::{BookKind, Kline, Liquidation, Quote, Trade, VenueTime};
use crate::venue::any_order;
use crate::venue::cursor::Cursor;
use crate::venue::decode::{DecoderScratch, Found, Payload};
use crate::venue::fields::{Context, Known, Listed, slot_time};
use crate::venue::isa::{Isa, Isas, WINDOW, Work, fetch_message};
use crate::venue::levels::{BookHead, Sides};
use crate::venue::number::Number;
use crate::venue::row::Row;
use crate::venue::scan::{Apart, End, Reader, expect, expect_array, messages, reader};
use crate::venue::shape::{Expectation, Named, Shape, Slots};

use super::{
    Decoder, Orders, add_envelope, book_depth, book_ids, build_kline, build_liquidation, build_old_liquidation,
    build_quote, build_ticker, build_trade, split_at_point, trades_time,
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
    OldLiquidations,
}

/// Tier one: the whole message, or nothing.
pub(super) struct Scan<'s> {
    pub(super) decoder: &'s mut Decoder,
    pub(super) message: &'s Payload<'s>,
    pub(super) known: &'s Known<'s>,
    pub(super) scratch: &'s mut DecoderScratch,
}

/// Walks a message as what it is expected to be.
macro_rules! walked {
    ($scan:expr, $expected:expr, $isa:expr) => {
        match $expected {
            Expected::Trades => $isa.run(&mut Apart($scan, Trades)),
            Expected::Quote => $isa.run(&mut Apart($scan, Quotes)),
            Expected::Book => $isa.run(&mut Apart($scan, Books)),
            Expected::Ticker => $isa.run(&mut Apart($scan, TickerChanges)),
            Expected::Kline => $isa.run(&mut Apart($scan, Klines)),
            Expected::Liquidations => $isa.run(&mut Apart($scan, Liquidations)),
            Expected::OldLiquidations => $isa.run(&mut Apart($scan, OldLiquidations)),
        }
    };
}

impl Scan<'_> {
    /// Tier one. What the message is its first bytes say, for which no instructions need be chosen.
    #[inline(always)]
    pub(super) fn run(&mut self, isas: Isas) -> Option<Found> {
        let padded = self.message.padded();
        fetch_message(padded);
        let expected = match expected_by_start(padded) {
            Some(expected) => expected,
            None => expected_otherwise(padded, &self.decoder.orders)?,
        };
        walked!(self, expected, isas)
    }
}

/// Tier two, of the same shapes.
pub(super) struct ScanAnyOrder<'s>(pub(super) Scan<'s>);

impl Work for ScanAnyOrder<'_> {
    type Output = Option<Found>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, isa: I) -> Option<Found> {
        let expected = expected_anywhere(isa, Cursor::new(self.0.message.padded()))?;
        walked!(&mut self.0, expected, isa)
    }
}

messages! {
    Scan<'_>;
    Trades |scan, isa| -> Trades {
        let (context, message) = (&Context::new(isa, scan.known), scan.message);
        let Scan { decoder: Decoder { orders, .. }, scratch, .. } = scan;
        let reader = &mut TradesReader { context, padded: message.padded(), events: &mut scratch.events.trades, order: &mut orders.trade };
        expect::<EnvelopeShape, _>(&mut orders.trades, Cursor::new(message.padded()), End::whole(message.behind()), reader)?;
    }
    Quotes |scan, isa| -> Quote {
        let (context, message) = (&Context::new(isa, scan.known), scan.message);
        let Scan { decoder: Decoder { orders, .. }, scratch, .. } = scan;
        let reader = &mut QuoteReader { context, padded: message.padded(), order: &mut orders.quote, place: &mut scratch.events.quote };
        expect::<EnvelopeShape, _>(&mut orders.quotes, Cursor::new(message.padded()), End::whole(message.behind()), reader)?;
    }
    Books |scan, isa| -> Book {
        let (context, message) = (&Context::new(isa, scan.known), scan.message);
        let Scan { decoder: Decoder { orders, .. }, scratch, .. } = scan;
        let (sides, place) = (Sides::new(&mut scratch.levels), &mut scratch.events.book);
        let reader = &mut BookReader { context, padded: message.padded(), sides, order: &mut orders.book, place };
        expect::<EnvelopeShape, _>(&mut orders.books, Cursor::new(message.padded()), End::whole(message.behind()), reader)?;
    }
    TickerChanges |scan, isa| -> Ticker {
        let (context, message) = (&Context::new(isa, scan.known), scan.message);
        let Scan { decoder: Decoder { orders, tickers, .. }, .. } = scan;
        let reader = &mut TickerReader { context, padded: message.padded(), tickers, order: &mut orders.ticker };
        expect::<TickerEnvelopeShape, _>(&mut orders.tickers, Cursor::new(message.padded()), End::whole(message.behind()), reader)?;
    }
    Klines |scan, isa| -> Klines {
        let (context, message) = (&Context::new(isa, scan.known), scan.message);
        let Scan { decoder: Decoder { orders, .. }, scratch, .. } = scan;
        let reader = &mut KlinesReader { context, padded: message.padded(), events: &mut scratch.events.klines, order: &mut orders.candle };
        expect::<KlineEnvelopeShape, _>(&mut orders.klines, Cursor::new(message.padded()), End::whole(message.behind()), reader)?;
    }
    Liquidations |scan, isa| -> Liquidations {
        let (context, message) = (&Context::new(isa, scan.known), scan.message);
        let Scan { decoder: Decoder { orders, .. }, scratch, .. } = scan;
        let events = &mut scratch.events.liquidations;
        let reader = &mut LiquidationsReader { context, padded: message.padded(), events, order: &mut orders.liquidation };
        expect::<EnvelopeShape, _>(&mut orders.liquidations, Cursor::new(message.padded()), End::whole(message.behind()), reader)?;
    }
    OldLiquidations |scan, isa| -> Liquidations {
        let (context, message) = (&Context::new(isa, scan.known), scan.message);
        let Scan { decoder: Decoder { orders, .. }, scratch, .. } = scan;
        let events = &mut scratch.events.liquidations;
        let reader = &mut OldLiquidationsReader { context, padded: message.padded(), events, order: &mut orders.old_liquidation };
        expect::<EnvelopeShape, _>(&mut orders.old_liquidations, Cursor::new(message.padded()), End::whole(message.behind()), reader)?;
    }
}

/// What a message is that begins like this; `None` if its first member is no topic.
#[inline(always)]
fn expected_by_start(message: &[u8]) -> Option<Expected> {
    let (start, topic) = message.split_first_chunk::<10>()?;
    if start != b"{\"topic\":\"" {
        return None;
    }
    expected_of(topic)
}

/// What a message is whose topic begins so, with whatever stands behind it.
#[inline(always)]
fn expected_of(topic: &[u8]) -> Option<Expected> {
    const fn word(text: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*text)
    }
    const TRADES: u64 = word(b"publicTr");
    const BOOKS: u64 = word(b"orderboo");
    const TICKERS: u64 = word(b"tickers.");
    const LIQUIDATIONS: u64 = word(b"allLiqui");
    match u64::from_le_bytes(*topic.first_chunk()?) {
        TRADES => Some(Expected::Trades),
        BOOKS if topic.starts_with(b"orderbook.1.") => Some(Expected::Quote),
        BOOKS => Some(Expected::Book),
        TICKERS => Some(Expected::Ticker),
        LIQUIDATIONS => Some(Expected::Liquidations),
        _ if topic.starts_with(b"kline.") => Some(Expected::Kline),
        _ => topic.starts_with(b"liquidation.").then_some(Expected::OldLiquidations),
    }
}

/// What a message is, by its topic wherever that stands.
#[inline(always)]
fn expected_anywhere<I: Isa>(isa: I, mut cursor: Cursor<'_>) -> Option<Expected> {
    cursor.token(isa, b"{")?;
    if cursor.literal(b"\"topic\":\"").is_some() {
        return expected_of(cursor.rest());
    }
    loop {
        let (key, _) = any_order::key(isa, &mut cursor)?;
        if key == b"topic" {
            cursor.literal(b"\"")?;
            return expected_of(cursor.rest());
        }
        any_order::skip_value(isa, &mut cursor)?;
        if !any_order::goes_on(&mut cursor)? {
            return None;
        }
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
        (Expected::OldLiquidations, &orders.old_liquidations, EnvelopeShape::ORDERS.len()),
    ];
    learned
        .into_iter()
        .find(|(_, order, known_count)| order.expects_learned(*known_count))
        .map(|(expected, ..)| expected)
}

reader!(TradeReader() = build_trade => some Trade);
reader!(QuoteDataReader() = build_quote => Option<Quote>);
reader!(CandleReader(name: &'r [u8]) = build_kline => some Kline);
reader!(LiquidationReader() = build_liquidation => some Liquidation);
reader!(OldLiquidationReader() = build_old_liquidation => some Liquidation);

/// What the topic says of the symbol's name, which it ends with: its length and its place. `padded` is the message that the topic
/// is a part of.
#[inline(always)]
fn named_by<I: Isa>(context: &Context<'_, I>, topic: Number<'_>, padded: &[u8]) -> (usize, usize) {
    let name_length = topic.length_behind(context.isa, b'.');
    let end = (topic.text().as_ptr().addr() + topic.text().len()).wrapping_sub(padded.as_ptr().addr());
    let window = padded.get(end.wrapping_sub(name_length)..).and_then(<[u8]>::first_chunk);
    let place = match window {
        Some(window) if matches!(name_length, 1..=WINDOW) => {
            context.fetch_key(context.isa.key(window, name_length), name_length)
        }
        _ => 0,
    };
    (name_length, place)
}

/// With what the topic has said.
#[inline(always)]
fn of_topic<'c, I: Isa>(context: &Context<'c, I>, outer: &Slots<'_>) -> Context<'c, I> {
    let (name_length, place) = outer.topic;
    Context { name_length, place, ..*context }
}

/// Writes the part of a [`Reader`] that hears of the topic.
macro_rules! hears_the_topic {
    ($number:ty) => {
        #[inline(always)]
        fn topic(&self, topic: $number) -> (usize, usize) {
            named_by(self.context, topic, self.padded)
        }
    };
}

/// A quote message.
struct QuoteReader<'s, 'c, I> {
    context: &'s Context<'c, I>,
    padded: &'s [u8],
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
        *self.place = None;
    }

    hears_the_topic!(Number<'a>);

    #[inline(always)]
    fn nested(&mut self, outer: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        let context = &of_topic(self.context, outer);
        let reader = &mut QuoteDataReader { context, place: self.place };
        let (_, ahead) = expect::<QuoteShape, _>(self.order, *cursor, End::Open, reader)?;
        *cursor = ahead;
        Some(())
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<()> {
        add_envelope(self.place.as_mut()?, slots).ok()
    }
}

/// A book message.
struct BookReader<'s, 'c, I> {
    context: &'s Context<'c, I>,
    padded: &'s [u8],
    sides: Sides<'s>,
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
        *self.place = None;
    }

    hears_the_topic!(Number<'a>);

    #[inline(always)]
    fn nested(&mut self, outer: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        let (sides, place) = (&mut self.sides, &mut *self.place);
        let context = &of_topic(self.context, outer);
        let reader = &mut BookDataReader { context, sides, listed: None, place };
        let (_, ahead) = expect::<BookShape, _>(self.order, *cursor, End::Open, reader)?;
        *cursor = ahead;
        Some(())
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<()> {
        let head = self.place.as_mut()?;
        let depth = book_depth(slots.text(envelope::TOPIC)).filter(|&depth| depth != 1)?;
        head.kind = if slots.int_if(envelope::TYPE)? == SNAPSHOT { BookKind::Snapshot } else { BookKind::Delta };
        head.depth = depth;
        head.meta.event_time = slot_time(slots, envelope::TIME, "ts").ok()?;
        head.meta.matching_time = slot_time(slots, envelope::MATCHING_TIME, "cts").ok()?;
        Some(())
    }
}

/// The data of a book message: the book, but for what its envelope says.
struct BookDataReader<'r, 's, 'c, I> {
    context: &'r Context<'c, I>,
    sides: &'r mut Sides<'s>,
    listed: Option<Listed<I>>,
    place: &'r mut Option<BookHead>,
}

impl<'a, I: Isa> Reader<'a> for BookDataReader<'_, '_, '_, I> {
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
        slots.has(book::SYMBOL)
    }

    #[inline(always)]
    fn levels(&mut self, slot: usize, slots: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        let listed = match self.listed {
            Some(listed) => listed,
            None => self.context.listed_in(slots, book::SYMBOL, "s").ok()?,
        };
        self.listed = Some(listed);
        self.sides.read(usize::from(slot == book::ASKS), listed, cursor)
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<()> {
        *self.place = Some(BookHead {
            meta: self.context.meta(self.listed?, None, None),
            kind: BookKind::Delta,
            ids: book_ids(slots),
            depth: 0,
            places: self.sides.places(),
        });
        Some(())
    }
}

reader!(TickerDataReader(is_snapshot: bool) = build_ticker => Tickers);

/// A ticker message: what it says, merged into what is known only when the whole message was as expected.
struct TickerReader<'s, 'c, I> {
    context: &'s Context<'c, I>,
    padded: &'s [u8],
    tickers: &'s mut Tickers,
    order: &'s mut Expectation,
}

impl<'a, I: Isa> Reader<'a> for TickerReader<'_, '_, I> {
    type Isa = I;
    type Event = ();

    #[inline(always)]
    fn isa(&self) -> I {
        self.context.isa
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.tickers.restart();
    }

    hears_the_topic!(Number<'a>);

    #[inline(always)]
    fn is_ready(&self, slots: &Slots<'a>) -> bool {
        slots.has(envelope::TYPE)
    }

    #[inline(always)]
    fn nested(&mut self, outer: &Slots<'a>, cursor: &mut Cursor<'a>) -> Option<()> {
        let is_snapshot = outer.int_if(envelope::TYPE)? == SNAPSHOT;
        let context = &of_topic(self.context, outer);
        let reader = &mut TickerDataReader { context, is_snapshot, place: self.tickers };
        ((), *cursor) = expect::<TickerShape, _>(self.order, *cursor, End::Open, reader)?;
        Some(())
    }

    #[inline(always)]
    fn build(&mut self, slots: &Slots<'a>) -> Option<Self::Event> {
        let read = self.tickers.read_mut()?;
        read.meta.event_time = time_of(slots, b"tickers.")?;
        read.sequence = slots.int_if(envelope::CROSS_SEQUENCE);
        Some(())
    }
}

/// Writes a [`Reader`] of a message of one event or more: `$walk` builds them from the data, in the core's scratch, and gives the
/// cursor behind it; each gets the event time that `$time` takes from the envelope, which must be such a message's.
macro_rules! row_reader {
    ($name:ident of $event:ty, |$this:ident, $outer:ident, $cursor:ident| $walk:expr, |$slots:ident| $time:expr) => {
        struct $name<'s, 'c, I> {
            context: &'s Context<'c, I>,
            padded: &'s [u8],
            events: &'s mut Row<$event>,
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

            hears_the_topic!(Number<'a>);

            #[inline(always)]
            fn is_ready(&self, slots: &Slots<'a>) -> bool {
                slots.has(envelope::TOPIC)
            }

            #[inline(always)]
            fn nested(&mut self, $outer: &Slots<'a>, $cursor: &mut Cursor<'a>) -> Option<()> {
                let $this = self;
                *$cursor = $walk;
                Some(())
            }

            #[inline(always)]
            fn build(&mut self, $slots: &Slots<'a>) -> Option<()> {
                let event_time = $time?;
                self.events.change(|event| event.meta.event_time = event_time);
                Some(())
            }
        }
    };
}

row_reader!(TradesReader of Trade,
    |this, outer, cursor| {
        let reader = &mut TradeReader { context: &of_topic(this.context, outer), events: this.events };
        expect_array::<TradeShape, _>(this.order, *cursor, End::Open, reader)?
    },
    |slots| trades_time(slots).ok());
row_reader!(KlinesReader of Kline,
    |this, outer, cursor| {
        let (_, name) = split_at_point(outer.text(envelope::TOPIC).strip_prefix(b"kline.")?)?;
        let reader = &mut CandleReader { context: &of_topic(this.context, outer), events: this.events, name };
        expect_array::<CandleShape, _>(this.order, *cursor, End::Open, reader)?
    },
    |slots| time_of(slots, b"kline."));
row_reader!(LiquidationsReader of Liquidation,
    |this, outer, cursor| {
        let reader = &mut LiquidationReader { context: &of_topic(this.context, outer), events: this.events };
        expect_array::<LiquidationShape, _>(this.order, *cursor, End::Open, reader)?
    },
    |slots| time_of(slots, b"allLiquidation."));
row_reader!(OldLiquidationsReader of Liquidation,
    |this, outer, cursor| {
        let reader = &mut OldLiquidationReader { context: &of_topic(this.context, outer), events: this.events };
        expect::<OldLiquidationShape, _>(this.order, *cursor, End::Open, reader)?.1
    },
    |slots| time_of(slots, b"liquidation."));

/// The event time of a message whose topic begins so.
#[inline(always)]
fn time_of(outer: &Slots<'_>, topic: &[u8]) -> Option<Option<VenueTime>> {
    if !outer.text(envelope::TOPIC).starts_with(topic) {
        return None;
    }
    slot_time(outer, envelope::TIME, "ts").ok()
}
