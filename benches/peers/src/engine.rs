//! tickwire's decoder, as a hot core holds it, and sinks that use or keep what it gives.

use crate::messages::{Case, Truth};
use tickwire::limits::READ_PADDING_BYTES;
use tickwire::market::{
    AggTrade, Backlog, BookUpdate, Kline, Level, Liquidation, MarkPrice, Meta, MonoNs, Quote, Received, SymbolTable,
    Ticker, Trade,
};
use tickwire::venue::{Cpu, Decoded, Decoder, DecoderScratch, Form, HotSymbols, Payload, Reason, Sink, Tier};

const RECEIVED: Received = Received { mono: MonoNs(1), wall_ns: 1, backlog: Backlog::NONE };

/// Sums what it is given, as a strategy would use it.
#[derive(Default)]
pub(crate) struct Sum(pub(crate) u64);

/// Keeps what it is given, to be compared.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Truth);

/// What a sink is given of an event, whatever its kind.
pub(crate) trait Heard {
    fn heard(&mut self, meta: &Meta, number: u64, levels: [&[Level]; 2]);
}

impl Heard for Sum {
    fn heard(&mut self, meta: &Meta, number: u64, levels: [&[Level]; 2]) {
        let levels = levels.into_iter().flatten().map(|level| (level.price.mantissa() ^ level.qty.mantissa()) as u64);
        self.0 = levels.fold(self.0 ^ number ^ meta.symbol.index() as u64, u64::wrapping_add);
    }
}

impl Heard for Kept {
    fn heard(&mut self, meta: &Meta, number: u64, levels: [&[Level]; 2]) {
        let levels = levels.into_iter().flatten().map(|level| (level.price.mantissa(), level.qty.mantissa()));
        self.0 = Truth { symbol: meta.symbol.index(), number, levels: levels.collect() };
    }
}

macro_rules! sink {
    ($($sink:ty),*) => {
        $(impl Sink for $sink {
            fn trade(&mut self, event: &Trade) {
                let time_ms = event.meta.matching_time.map_or(0, |time| time.ns() as u64 / 1_000_000);
                self.heard(&event.meta, time_ms, [&[Level { price: event.price, qty: event.qty }], &[]]);
            }
            fn quote(&mut self, event: &Quote) {
                self.heard(&event.meta, event.update_id, [&[event.bid], &[event.ask]]);
            }
            fn book(&mut self, event: &BookUpdate<'_>) {
                self.heard(&event.meta, event.ids.last, [event.bids, event.asks]);
            }
            fn agg_trade(&mut self, _event: &AggTrade) {}
            fn ticker(&mut self, _event: &Ticker) {}
            fn kline(&mut self, _event: &Kline) {}
            fn mark_price(&mut self, _event: &MarkPrice) {}
            fn liquidation(&mut self, _event: &Liquidation) {}
            fn refused(&mut self, reason: Reason) {
                panic!("refused: {reason:?}");
            }
        })*
    };
}

sink!(Sum, Kept);

/// A decoder, and what it knows of the universe.
pub(crate) struct Engine {
    decoder: Decoder,
    symbols: HotSymbols,
    scratch: DecoderScratch,
}

impl Engine {
    pub(crate) fn new(case: Case, names: &[String], cpu: Cpu) -> Self {
        let venue = case.venue();
        let mut table = SymbolTable::default();
        let mut symbols = HotSymbols::new();
        for name in names {
            let symbol = table.add(venue, name, 2, 3, None).expect("room for it");
            symbols.add(table.spec(symbol).expect("just added"));
        }
        Self { decoder: Decoder::with_cpu(venue, Form::Combined, None, cpu), symbols, scratch: DecoderScratch::new() }
    }

    /// Decodes the message in front of its padding, and says by which tier.
    pub(crate) fn decode(&mut self, padded: &mut [u8], sink: &mut impl Sink) -> Tier {
        self.scratch.begin();
        let length = padded.len() - READ_PADDING_BYTES;
        let text = Payload::new(padded, length).expect("it is padded");
        let decoded = self.decoder.decode(text, &RECEIVED, &self.symbols, &mut self.scratch, sink);
        let Decoded::Data(tier) = decoded.expect("generated to be decoded") else { panic!("no market data") };
        tier
    }
}
