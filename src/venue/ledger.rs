//! What the decoders' unit tests share: a sink that keeps everything, a few symbols, one call. Tests only.

use super::{Cpu, DecodeError, Decoded, Decoder, DecoderScratch, Form, HotSymbols, Payload, Reason, Sink};
use crate::limits::READ_PADDING_BYTES;
use crate::market::{
    AggTrade, Backlog, BookKind, BookUpdate, Kline, Level, Liquidation, MarkPrice, Meta, MonoNs, Quote, Received,
    SequenceIds, SymbolTable, Ticker, Trade, Venue,
};

/// The stamp of every message in these tests.
pub(super) const RECEIVED: Received = Received { mono: MonoNs(3), wall_ns: 5, backlog: Backlog::NONE };

/// An event that owns its levels.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    Trade(Trade),
    AggTrade(AggTrade),
    Quote(Quote),
    Ticker(Box<Ticker>),
    Book { meta: Meta, kind: BookKind, ids: SequenceIds, depth: u16, bids: Vec<Level>, asks: Vec<Level> },
    Kline(Box<Kline>),
    MarkPrice(Box<MarkPrice>),
    Liquidation(Liquidation),
    Refused(Reason),
}

/// Everything a message gave, in order.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) events: Vec<Event>,
}

impl Sink for Ledger {
    fn trade(&mut self, event: &Trade) {
        self.events.push(Event::Trade(*event));
    }
    fn agg_trade(&mut self, event: &AggTrade) {
        self.events.push(Event::AggTrade(*event));
    }
    fn quote(&mut self, event: &Quote) {
        self.events.push(Event::Quote(*event));
    }
    fn ticker(&mut self, event: &Ticker) {
        self.events.push(Event::Ticker(Box::new(*event)));
    }
    fn book(&mut self, event: &BookUpdate<'_>) {
        self.events.push(Event::Book {
            meta: event.meta,
            kind: event.kind,
            ids: event.ids,
            depth: event.depth,
            bids: event.bids.to_vec(),
            asks: event.asks.to_vec(),
        });
    }
    fn kline(&mut self, event: &Kline) {
        self.events.push(Event::Kline(Box::new(*event)));
    }
    fn mark_price(&mut self, event: &MarkPrice) {
        self.events.push(Event::MarkPrice(Box::new(*event)));
    }
    fn liquidation(&mut self, event: &Liquidation) {
        self.events.push(Event::Liquidation(*event));
    }
    fn refused(&mut self, reason: Reason) {
        self.events.push(Event::Refused(reason));
    }
}

/// One connection of one venue, with `BTCUSDT` and `ETHUSDT` at two price decimals and three quantity decimals.
pub(super) struct Bench {
    pub(super) decoder: Decoder,
    pub(super) scratch: DecoderScratch,
    pub(super) symbols: HotSymbols,
}

impl Bench {
    pub(super) fn new(venue: Venue, raw_stream: Option<&str>) -> Self {
        Self::with_cpu(venue, raw_stream, Cpu::best())
    }

    /// [`Self::new`] for these instructions.
    pub(super) fn with_cpu(venue: Venue, raw_stream: Option<&str>, cpu: Cpu) -> Self {
        Self::of(Decoder::with_cpu(venue, Form::Combined, raw_stream, cpu), venue)
    }

    /// One whose decoder reads everything from the tape.
    pub(super) fn of_tape(venue: Venue, raw_stream: Option<&str>) -> Self {
        Self::of(Decoder::without_expectation(venue, Form::Combined, raw_stream), venue)
    }

    fn of(decoder: Decoder, venue: Venue) -> Self {
        Self { decoder, scratch: DecoderScratch::new(), symbols: HotSymbols::new() }
            .knowing(venue, &["BTCUSDT", "ETHUSDT"])
    }

    /// The same with these symbols and no others.
    pub(super) fn knowing(mut self, venue: Venue, names: &[&str]) -> Self {
        let mut table = SymbolTable::default();
        self.symbols = HotSymbols::new();
        for name in names {
            let symbol = table.add(venue, name, 2, 3, None).unwrap();
            self.symbols.add(table.spec(symbol).unwrap());
        }
        self
    }

    /// Decodes one message.
    pub(super) fn decode(&mut self, message: impl AsRef<[u8]>) -> (Result<Decoded, DecodeError>, Vec<Event>) {
        self.decode_before(message.as_ref(), &[])
    }

    /// Decodes one message that has these bytes behind it, and zeros behind them.
    pub(super) fn decode_before(
        &mut self,
        message: &[u8],
        behind: &[u8],
    ) -> (Result<Decoded, DecodeError>, Vec<Event>) {
        let mut ledger = Ledger::default();
        let mut bytes = [message, behind, &[0; READ_PADDING_BYTES]].concat();
        let message = Payload::new(&mut bytes, message.len()).unwrap();
        let decoded = self.decoder.decode(message, &RECEIVED, &self.symbols, &mut self.scratch, &mut ledger);
        (decoded, ledger.events)
    }

    /// The reason of a message that is refused and gives nothing.
    pub(super) fn refusal(&mut self, message: impl AsRef<[u8]>) -> (Reason, &'static str) {
        let message = message.as_ref();
        let (decoded, events) = self.decode(message);
        assert_eq!(events, [], "nothing of a refused message is given");
        let error = decoded.unwrap_err();
        assert_eq!(self.scratch.pristine(), message, "the caller can keep a sample");
        (error.reason, error.field)
    }
}
