//! The hot half of a venue: the bytes of one message become typed events.

use super::elements::{Elements, MARK_PRICE_COUNT_MAX, TICKER_COUNT_MAX};
use super::fields::LevelScratch;
use super::isa::{self, Cpu, Isas};
use super::levels::BookHead;
use super::row::Row;
use super::tape::JsonScratch;
use super::{Form, binance, bybit};
use crate::limits::READ_PADDING_BYTES;
use crate::market::{
    AggTrade, BookUpdate, Kline, Liquidation, MarkPrice, Quote, Received, Symbol, SymbolIndex, SymbolSpec, Ticker,
    Trade, ValueError, Venue,
};
use std::ops::{Deref, DerefMut};

/// One message's bytes, with [`READ_PADDING_BYTES`] readable bytes behind them that belong to whatever follows: so that a
/// decoder can load whole registers anywhere in the message.
#[derive(Debug)]
pub struct Payload<'a> {
    padded: &'a mut [u8],
    length: usize,
}

impl<'a> Payload<'a> {
    /// The message in the first `length` bytes. `None` if fewer than [`READ_PADDING_BYTES`] lie behind them.
    #[inline]
    #[must_use]
    pub fn new(padded: &'a mut [u8], length: usize) -> Option<Self> {
        (length <= padded.len() && padded.len() - length >= READ_PADDING_BYTES).then_some(Self { padded, length })
    }

    /// Appends the padding to a message of one's own, and gives it. Allocates if the vector has no room for it.
    pub fn of_vec(message: &'a mut Vec<u8>) -> Self {
        let length = message.len();
        message.resize(length + READ_PADDING_BYTES, 0);
        Self { padded: message, length }
    }

    /// The message, for as long as the bytes are lent.
    #[inline]
    #[must_use]
    pub fn into_bytes(self) -> &'a mut [u8] {
        &mut self.padded[..self.length]
    }

    /// The message and what is readable behind it.
    #[inline(always)]
    pub(super) fn padded(&self) -> &[u8] {
        self.padded
    }

    /// How much is readable behind the message.
    #[inline(always)]
    pub(super) fn behind(&self) -> usize {
        self.padded.len() - self.length
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.padded[..self.length]
    }
}

impl DerefMut for Payload<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.padded[..self.length]
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Payload<'_> {}

/// Receives what a message says, in the message's order. The hot core's router, a test's ledger, a bench's counter.
pub trait Sink {
    /// A fill.
    fn trade(&mut self, event: &Trade);
    /// An aggregate of fills.
    fn agg_trade(&mut self, event: &AggTrade);
    /// Best bid and ask.
    fn quote(&mut self, event: &Quote);
    /// Rolling statistics, merged.
    fn ticker(&mut self, event: &Ticker);
    /// Book levels.
    fn book(&mut self, event: &BookUpdate<'_>);
    /// A candle.
    fn kline(&mut self, event: &Kline);
    /// Mark, index, funding.
    fn mark_price(&mut self, event: &MarkPrice);
    /// A liquidation.
    fn liquidation(&mut self, event: &Liquidation);
    /// One element of a message that could not become an event, where the rest of the message could
    /// (an unknown symbol in an all-market array).
    fn refused(&mut self, reason: Reason);
    /// Whether [`DecoderScratch::pristine`] is to have the message when an element of it was refused for this reason. Asked where
    /// it would be copied for that alone.
    fn wants_sample(&self, _reason: Reason) -> bool {
        true
    }
}

/// Why a message, or one element of it, gave no event. The index of a counter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Reason {
    /// Not JSON.
    NotJson,
    /// JSON of no shape the venue's decoder knows.
    UnknownShape,
    /// A documented member is missing.
    MissingField,
    /// A member has another type than documented, or an enumerated text nobody documented.
    WrongType,
    /// A symbol that was never added to this core.
    UnknownSymbol,
    /// A price or quantity that is not exactly on its symbol's grid.
    OffGrid,
    /// A number that is not one, leaves its integer, or is a quantity below zero.
    BadNumber,
    /// More levels than the scratch holds.
    TooManyLevels,
    /// A change for a ticker whose snapshot never came on this connection.
    NoSnapshot,
}

impl Reason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 9] = [
        Self::NotJson,
        Self::UnknownShape,
        Self::MissingField,
        Self::WrongType,
        Self::UnknownSymbol,
        Self::OffGrid,
        Self::BadNumber,
        Self::TooManyLevels,
        Self::NoSnapshot,
    ];

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::UnknownShape => "unknown_shape",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::UnknownSymbol => "unknown_symbol",
            Self::OffGrid => "off_grid",
            Self::BadNumber => "bad_number",
            Self::TooManyLevels => "too_many_levels",
            Self::NoSnapshot => "no_snapshot",
        }
    }
}

/// A set of reasons.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reasons(u16);

impl Reasons {
    /// With this one.
    #[inline]
    pub fn insert(&mut self, reason: Reason) {
        self.0 |= 1 << reason as u16;
    }

    /// True if it has this one.
    #[inline]
    #[must_use]
    pub fn contains(self, reason: Reason) -> bool {
        self.0 & 1 << reason as u16 != 0
    }

    /// Those that it has, in the order of the counters.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.contains(*reason))
    }
}

/// A message that gave no event at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}{}{}", .reason.name(), if .field.is_empty() { "" } else { ": " }, .field)]
pub struct DecodeError {
    /// Why.
    pub reason: Reason,
    /// The member concerned, as the venue names it; empty where there is none.
    pub field: &'static str,
}

impl DecodeError {
    /// An error with the member it concerns.
    #[must_use]
    pub const fn new(reason: Reason, field: &'static str) -> Self {
        Self { reason, field }
    }

    /// What a value's error means for the message.
    #[must_use]
    pub const fn value(error: ValueError, field: &'static str) -> Self {
        let reason = match error {
            ValueError::OffGrid { .. } => Reason::OffGrid,
            ValueError::Empty | ValueError::NotANumber { .. } | ValueError::Overflow => Reason::BadNumber,
        };
        Self { reason, field }
    }
}

/// Which tier decoded a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tier {
    /// The expected-shape scanner.
    One,
    /// Any JSON, where that is no drift: an array without elements (Binance), or one of which an element was refused, which has its own
    /// counter and is all that tier one need have refused it for (Bybit).
    TwoOnly,
    /// Any JSON, after the expected shape was refused: schema drift, an alarm.
    TwoAfterOne,
}

/// What a message was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decoded {
    /// Market data; its events went to the sink.
    Data(Tier),
    /// A control-plane message (ack, error, pong, notice): the cold side reads it.
    Control,
}

/// The symbols a hot core knows, by venue: from name bytes to id and its scales, which are read on every event.
#[derive(Debug)]
#[repr(align(64))]
pub struct HotSymbols {
    index: [SymbolIndex; Venue::ALL.len()],
}

impl Default for HotSymbols {
    fn default() -> Self {
        Self::new()
    }
}

impl HotSymbols {
    /// No symbols. Allocates all it will ever use.
    #[must_use]
    pub fn new() -> Self {
        Self { index: Venue::ALL.map(|_| SymbolIndex::new()) }
    }

    /// Adds a symbol under its native name and under that name in lower case (Binance's stream names). Adding it again
    /// updates its scales. Does nothing where another symbol has the name.
    pub fn add(&mut self, spec: &SymbolSpec) {
        let index = &mut self.index[spec.venue.index()];
        index.insert(&spec.name, spec.symbol);
        index.set_scales(&spec.name, spec.symbol, (spec.price_scale, spec.qty_scale));
    }

    /// The symbol of a native name.
    #[inline]
    #[must_use]
    pub fn find(&self, venue: Venue, name: &[u8]) -> Option<Symbol> {
        self.index[venue.index()].find(name)
    }

    /// Asks for the lines on which the indexes say where they lie: for the first name of a message they are read before its slot
    /// can be asked for, and by then its decoder has only just said which of them is meant.
    #[inline(always)]
    fn fetch(&self) {
        isa::fetch_all(self);
    }

    /// Those of one venue.
    #[inline(always)]
    pub(super) fn of(&self, venue: Venue) -> &SymbolIndex {
        &self.index[venue.index()]
    }
}

/// Scratch of one hot core, shared by its connections' decoders: parser buffers, levels, trades of one message.
/// Allocates all it needs in `new`.
#[derive(Debug)]
pub struct DecoderScratch {
    pub(super) json: JsonScratch,
    pub(super) levels: LevelScratch,
    pub(super) events: Events,
}

/// What tier one found in a message, until it is given to the sink: so that the scanner is compiled once and not once for
/// every sink, and an event stays where it was built. Which of them a message left is said by what found it.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) trade: Option<Trade>,
    pub(super) quote: Option<Quote>,
    pub(super) agg_trade: Option<AggTrade>,
    pub(super) ticker: Option<Ticker>,
    pub(super) book: Option<BookHead>,
    pub(super) mark_price: Option<MarkPrice>,
    pub(super) tickers: Elements<Ticker>,
    pub(super) mark_prices: Elements<MarkPrice>,
    pub(super) trades: Row<Trade>,
    pub(super) klines: Row<Kline>,
    pub(super) liquidations: Row<Liquidation>,
}

/// Which of [`Events`] tier one left; a ticker of Bybit's is merged when it is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Trade,
    Quote,
    AggTrade,
    Ticker,
    Book,
    MarkPrice,
    /// The elements of an array.
    Tickers,
    /// The elements of an array.
    MarkPrices,
    Trades,
    Klines,
    Liquidations,
}

impl Events {
    /// Room for what one message may have.
    fn new() -> Self {
        Self {
            trade: None,
            quote: None,
            agg_trade: None,
            ticker: None,
            book: None,
            mark_price: None,
            tickers: Elements::new(TICKER_COUNT_MAX),
            mark_prices: Elements::new(MARK_PRICE_COUNT_MAX),
            trades: Row::new(TRADE_COUNT_MAX),
            klines: Row::new(KLINE_COUNT_MAX),
            liquidations: Row::new(LIQUIDATION_COUNT_MAX),
        }
    }
}

impl Default for DecoderScratch {
    fn default() -> Self {
        Self::new()
    }
}

impl DecoderScratch {
    /// Scratch for one core.
    #[must_use]
    pub fn new() -> Self {
        Self { json: JsonScratch::new(), levels: LevelScratch::new(), events: Events::new() }
    }

    /// The last message that was parsed as any JSON, as it came. Every [`DecodeError`] comes from there, so right after one
    /// these are the bytes that caused it, however far they were rewritten since. So it is of a message with an element that
    /// was refused, where the sink said so ([`Sink::wants_sample`]).
    /// Empty where the message never came there.
    #[must_use]
    pub fn pristine(&self) -> &[u8] {
        self.json.pristine()
    }

    /// A message is about to be decoded: what an earlier one left is no longer its pristine copy.
    #[inline]
    pub fn begin(&mut self) {
        self.json.forget();
    }

    /// Gives a sink what was found in a message. Inlined, for what it costs to call it is much of what a trade costs.
    #[inline(always)]
    pub(super) fn give<S: Sink>(&mut self, found: Found, message: &[u8], sink: &mut S) {
        let Self { events, levels, .. } = self;
        match found {
            Found::Trade => events.trade.iter().for_each(|event| sink.trade(event)),
            Found::Quote => events.quote.iter().for_each(|event| sink.quote(event)),
            Found::AggTrade => events.agg_trade.iter().for_each(|event| sink.agg_trade(event)),
            Found::Ticker => events.ticker.iter().for_each(|event| sink.ticker(event)),
            Found::Book => events.book.iter().for_each(|head| sink.book(&head.update(levels))),
            Found::MarkPrice => events.mark_price.iter().for_each(|event| sink.mark_price(event)),
            Found::Tickers | Found::MarkPrices => self.give_elements(found, message, sink),
            Found::Trades => events.trades.iter().for_each(|event| sink.trade(event)),
            Found::Klines => events.klines.iter().for_each(|event| sink.kline(event)),
            Found::Liquidations => events.liquidations.iter().for_each(|event| sink.liquidation(event)),
        }
    }

    /// Gives the elements of an array, and keeps the message where one was refused and somebody wants to see it.
    #[cold]
    #[inline(never)]
    fn give_elements<S: Sink>(&mut self, found: Found, message: &[u8], sink: &mut S) {
        let Self { events: Events { tickers, mark_prices, .. }, json, .. } = self;
        let refused = if found == Found::Tickers { tickers.refused() } else { mark_prices.refused() };
        if refused.iter().any(|reason| sink.wants_sample(reason)) {
            json.keep(message);
        }
        match found {
            Found::Tickers => tickers.give(sink, S::ticker),
            _ => mark_prices.give(sink, S::mark_price),
        }
    }
}

/// Trades of one message that the expected-shape scanner takes. Source: Bybit v5, publicTrade: at most 1,024.
pub(super) const TRADE_COUNT_MAX: usize = 1_024;

/// Liquidations of one message that the expected-shape scanner takes; no document bounds them.
pub(super) const LIQUIDATION_COUNT_MAX: usize = 256;

/// Candles of one message that the expected-shape scanner takes: a closed one and the next come together.
pub(super) const KLINE_COUNT_MAX: usize = 16;

/// One connection's decoder: chosen when the connection is made, so that no message asks which venue it is from.
#[derive(Debug)]
pub enum Decoder {
    /// Binance spot or USD-M.
    Binance(binance::decode::Decoder),
    /// Bybit v5.
    Bybit(bybit::decode::Decoder),
}

impl Decoder {
    /// A decoder for one connection, for this machine's best instructions. `raw_stream`: on a raw Binance connection that
    /// carries exactly one stream, that stream's name, because partial depth does not name its symbol.
    #[must_use]
    pub fn new(venue: Venue, form: Form, raw_stream: Option<&str>) -> Self {
        Self::with_cpu(venue, form, raw_stream, Cpu::best())
    }

    /// [`Self::new`] for these instructions, or for the best that this machine has instead.
    #[must_use]
    pub fn with_cpu(venue: Venue, _form: Form, raw_stream: Option<&str>, cpu: Cpu) -> Self {
        Self::with_isas(venue, raw_stream, Some(Isas::new(cpu)))
    }

    /// A decoder that expects nothing: every message is parsed as any JSON by simd-json and looked up in what that made of it.
    /// Slower by multiples; what the others are compared with.
    #[must_use]
    pub fn without_expectation(venue: Venue, _form: Form, raw_stream: Option<&str>) -> Self {
        Self::with_isas(venue, raw_stream, None)
    }

    fn with_isas(venue: Venue, raw_stream: Option<&str>, isas: Option<Isas>) -> Self {
        match venue {
            Venue::BinanceSpot | Venue::BinanceUsdm => {
                Self::Binance(binance::decode::Decoder::new(venue, raw_stream, isas))
            }
            Venue::BybitSpot | Venue::BybitLinear => Self::Bybit(bybit::decode::Decoder::new(venue, isas)),
        }
    }

    /// Decodes one message in place and gives its events to `sink`, all of them stamped `received`.
    ///
    /// The message may be rewritten (tier two unescapes strings in place).
    ///
    /// # Errors
    /// [`DecodeError`]: the message gave no event. A message is decoded wholly before its first event is given, except
    /// arrays of independent elements, whose bad elements are refused one by one through [`Sink::refused`].
    #[inline]
    pub fn decode<S: Sink>(
        &mut self,
        message: Payload<'_>,
        received: &Received,
        symbols: &HotSymbols,
        scratch: &mut DecoderScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        symbols.fetch();
        match self {
            Self::Binance(decoder) => decoder.decode(message, received, symbols, scratch, sink),
            Self::Bybit(decoder) => decoder.decode(message, received, symbols, scratch, sink),
        }
    }

    /// Forgets what depends on one connection's life: merged tickers need a snapshot again.
    pub fn connection_started(&mut self) {
        match self {
            Self::Binance(_) => {}
            Self::Bybit(decoder) => decoder.connection_started(),
        }
    }
}
