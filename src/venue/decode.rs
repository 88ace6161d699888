//! The hot half of a venue: the bytes of one message become typed events.

use super::fields::LevelScratch;
use super::tape::JsonScratch;
use super::{Form, binance, bybit};
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{
    AggTrade, BookUpdate, Kline, Liquidation, MarkPrice, Quote, Received, Symbol, SymbolIndex, SymbolSpec, Ticker,
    Trade, ValueError, Venue,
};

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
    /// Any JSON, on a stream that has no tier one (yet).
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

/// The symbols a hot core knows, by venue: from name bytes to id, and each id's scales. Scales are read on every event.
#[derive(Debug)]
pub struct HotSymbols {
    index: [SymbolIndex; Venue::ALL.len()],
    /// (price scale, quantity scale) by symbol index.
    scales: Box<[(u8, u8)]>,
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
        Self {
            index: Venue::ALL.map(|_| SymbolIndex::new()),
            scales: vec![(0, 0); SYMBOL_COUNT_MAX].into_boxed_slice(),
        }
    }

    /// Adds a symbol under its native name and under that name in lower case (Binance's stream names). Adding it again
    /// updates its scales.
    pub fn add(&mut self, spec: &SymbolSpec) {
        self.scales[spec.symbol.index()] = (spec.price_scale, spec.qty_scale);
        self.index[spec.venue.index()].insert(&spec.name, spec.symbol);
    }

    /// The symbol of a native name.
    #[inline]
    #[must_use]
    pub fn find(&self, venue: Venue, name: &[u8]) -> Option<Symbol> {
        self.index[venue.index()].find(name)
    }

    /// Price scale and quantity scale of a symbol.
    #[inline]
    #[must_use]
    pub fn scales(&self, symbol: Symbol) -> (u8, u8) {
        self.scales[symbol.index()]
    }
}

/// Scratch of one hot core, shared by its connections' decoders: parser buffers, levels, trades of one message.
/// Allocates all it needs in `new`.
#[derive(Debug)]
pub struct DecoderScratch {
    pub(super) json: JsonScratch,
    pub(super) levels: LevelScratch,
    pub(super) trades: Vec<Trade>,
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
        Self { json: JsonScratch::new(), levels: LevelScratch::new(), trades: Vec::with_capacity(TRADE_COUNT_MAX) }
    }

    /// The last message that tier two read, as it came. Every [`DecodeError`] comes from tier two, so right after one
    /// these are the bytes that caused it, however far they were rewritten since.
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
}

/// Trades of one message that the expected-shape scanner takes. Source: Bybit v5, publicTrade: at most 1,024.
pub(super) const TRADE_COUNT_MAX: usize = 1_024;

/// One connection's decoder: chosen when the connection is made, so that no message asks which venue it is from.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per connection, made once; a box would be one more load per message"
)]
pub enum Decoder {
    /// Binance spot or USD-M.
    Binance(binance::decode::Decoder),
    /// Bybit v5.
    Bybit(bybit::decode::Decoder),
}

impl Decoder {
    /// A decoder for one connection. `raw_stream`: on a raw Binance connection that carries exactly one stream, that
    /// stream's name, because partial depth does not name its symbol.
    #[must_use]
    pub fn new(venue: Venue, form: Form, raw_stream: Option<&str>) -> Self {
        match venue {
            Venue::BinanceSpot | Venue::BinanceUsdm => {
                Self::Binance(binance::decode::Decoder::new(venue, form, raw_stream))
            }
            Venue::BybitSpot | Venue::BybitLinear => Self::Bybit(bybit::decode::Decoder::new(venue)),
        }
    }

    /// Decodes one message in place and gives its events to `sink`, all of them stamped `received`.
    ///
    /// `message` may be rewritten (tier two unescapes strings in place).
    ///
    /// # Errors
    /// [`DecodeError`]: the message gave no event. A message is decoded wholly before its first event is given, except
    /// arrays of independent elements, whose bad elements are refused one by one through [`Sink::refused`].
    #[inline]
    pub fn decode<S: Sink>(
        &mut self,
        message: &mut [u8],
        received: Received,
        symbols: &HotSymbols,
        scratch: &mut DecoderScratch,
        sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
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
