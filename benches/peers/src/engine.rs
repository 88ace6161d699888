//! tickwire's decoder, as a hot core holds it, and sinks that use or keep what it gives.

use crate::messages::{Listing, Truth};
use tickwire::limits::READ_PADDING_BYTES;
use tickwire::market::{
    AggTrade, Backlog, BookUpdate, Decimal, Kline, Level, Liquidation, MarkPrice, Meta, MonoNs, Quote, Received,
    SymbolTable, Ticker, TickerFields, Trade, VenueTime,
};
use tickwire::venue::{Cpu, Decoded, Decoder, DecoderScratch, Form, HotSymbols, Payload, Reason, Sink, Tier};

const RECEIVED: Received = Received { mono: MonoNs(1), wall_ns: 1, backlog: Backlog::NONE };

/// Sums what it is given, as a strategy would use it.
#[derive(Default)]
pub(crate) struct Sum(pub(crate) u64);

/// Keeps what it is given, to be compared.
pub(crate) struct Kept {
    grids: Vec<(u8, u8)>,
    said: Truth,
}

impl Kept {
    /// What these symbols' numbers mean it knows from their list.
    pub(crate) fn new(listing: &Listing) -> Self {
        Self { grids: listing.grids.clone(), said: Truth::default() }
    }

    /// What came since it was last asked.
    pub(crate) fn take(&mut self) -> Truth {
        std::mem::take(&mut self.said)
    }
}

/// What a sink is given of an event, whatever its kind: who, a whole number and the levels, then number by number what else
/// it has. Nothing is put into a list for it, which would cost more than some numbers.
pub(crate) trait Heard {
    fn heard(&mut self, meta: &Meta, number: u64, levels: [&[Level]; 2]);
    fn other(&mut self, number: Decimal);
    /// What of a ticker it asks for.
    fn wanted(event: &Ticker) -> TickerFields;
}

impl Heard for Sum {
    fn heard(&mut self, meta: &Meta, number: u64, levels: [&[Level]; 2]) {
        let levels = levels.into_iter().flatten().map(|level| (level.price.mantissa() ^ level.qty.mantissa()) as u64);
        self.0 = levels.fold(self.0 ^ number ^ meta.symbol.index() as u64, u64::wrapping_add);
    }

    fn other(&mut self, number: Decimal) {
        self.0 = self.0.wrapping_add(number.mantissa() as u64 ^ u64::from(number.scale()));
    }

    /// What the message says, as every other contender's sum has it; what was said before it is in its event, too.
    fn wanted(event: &Ticker) -> TickerFields {
        event.changed
    }
}

impl Heard for Kept {
    fn heard(&mut self, meta: &Meta, number: u64, levels: [&[Level]; 2]) {
        let symbol = meta.symbol.index();
        let (price_scale, qty_scale) = self.grids[symbol];
        if self.said.symbols.last() != Some(&symbol) {
            self.said.symbols.push(symbol);
        }
        self.said.number = self.said.number.wrapping_add(number);
        for level in levels.into_iter().flatten() {
            self.other(level.price.at_scale(price_scale));
            self.other(level.qty.at_scale(qty_scale));
        }
    }

    fn other(&mut self, number: Decimal) {
        self.said.numbers.push(number);
    }

    fn wanted(event: &Ticker) -> TickerFields {
        event.known
    }
}

fn ms(time: Option<VenueTime>) -> u64 {
    time.map_or(0, |time| time.ns() as u64 / 1_000_000)
}

/// The levels of a ticker: last trade, bid, ask; zeros for what is not wanted.
fn touch(event: &Ticker, wanted: TickerFields) -> [Level; 3] {
    let last = Level { price: event.last_price, qty: event.last_qty };
    [(TickerFields::LAST_PRICE, last), (TickerFields::BID, event.bid), (TickerFields::ASK, event.ask)]
        .map(|(field, level)| if wanted.contains(field) { level } else { Level::default() })
}

/// Gives a sink what else it wants of a ticker, in the order in which it is compared.
#[inline(always)]
fn statistics(event: &Ticker, wanted: TickerFields, sink: &mut impl Heard) {
    let mut told = |field, number| {
        if wanted.contains(field) {
            sink.other(number);
        }
    };
    let whole = |number: u64| Decimal::new(number.into(), 0);
    told(TickerFields::OPEN, event.open);
    told(TickerFields::HIGH, event.high);
    told(TickerFields::LOW, event.low);
    told(TickerFields::VOLUME, event.volume);
    told(TickerFields::TURNOVER, event.turnover);
    told(TickerFields::CHANGE_RATIO, event.change_ratio);
    told(TickerFields::WEIGHTED_AVERAGE, event.weighted_average);
    told(TickerFields::TRADE_COUNT, whole(event.trade_count));
    told(TickerFields::MARK_PRICE, event.mark_price);
    told(TickerFields::INDEX_PRICE, event.index_price);
    told(TickerFields::FUNDING_RATE, event.funding_rate);
    told(TickerFields::NEXT_FUNDING_TIME, whole(ms(event.next_funding_time)));
    told(TickerFields::OPEN_INTEREST, event.open_interest);
    told(TickerFields::OPEN_INTEREST_VALUE, event.open_interest_value);
}

macro_rules! sink {
    ($($sink:ty),*) => {
        $(impl Sink for $sink {
            fn trade(&mut self, event: &Trade) {
                let fill = Level { price: event.price, qty: event.qty };
                self.heard(&event.meta, ms(event.meta.matching_time), [&[fill], &[]]);
            }
            fn agg_trade(&mut self, event: &AggTrade) {
                let fill = Level { price: event.price, qty: event.qty };
                let ids = event.id.wrapping_add(event.first_trade_id).wrapping_add(event.last_trade_id);
                self.heard(&event.meta, ids.wrapping_add(ms(event.meta.matching_time)), [&[fill], &[]]);
            }
            fn quote(&mut self, event: &Quote) {
                self.heard(&event.meta, event.update_id, [&[event.bid], &[event.ask]]);
            }
            fn book(&mut self, event: &BookUpdate<'_>) {
                self.heard(&event.meta, event.ids.last, [event.bids, event.asks]);
            }
            fn ticker(&mut self, event: &Ticker) {
                let wanted = Self::wanted(event);
                self.heard(&event.meta, ms(event.meta.event_time), [&touch(event, wanted), &[]]);
                statistics(event, wanted, self);
            }
            fn kline(&mut self, event: &Kline) {
                let times = ms(event.open_time).wrapping_add(ms(event.close_time));
                let number = times.wrapping_add(event.trade_count.unwrap_or(0)).wrapping_add(event.is_closed.into());
                self.heard(&event.meta, number, [&[], &[]]);
                self.other(event.open);
                self.other(event.high);
                self.other(event.low);
                self.other(event.close);
                self.other(event.volume);
                self.other(event.turnover);
                event.taker_buy_volume.into_iter().for_each(|number| self.other(number));
            }
            fn mark_price(&mut self, event: &MarkPrice) {
                self.heard(&event.meta, ms(event.next_funding_time), [&[], &[]]);
                self.other(event.mark);
                event.index.into_iter().for_each(|number| self.other(number));
                event.settlement.into_iter().for_each(|number| self.other(number));
                event.mark_average.into_iter().for_each(|number| self.other(number));
                event.funding_rate.into_iter().for_each(|number| self.other(number));
            }
            fn liquidation(&mut self, event: &Liquidation) {
                let fill = Level { price: event.price, qty: event.qty };
                self.heard(&event.meta, ms(event.meta.matching_time), [&[fill], &[]]);
                event.average_price.into_iter().for_each(|number| self.other(number));
            }
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
    pub(crate) fn new(listing: &Listing, cpu: Cpu) -> Self {
        let venue = listing.venue;
        let mut table = SymbolTable::default();
        let mut symbols = HotSymbols::new();
        for (name, &(price_scale, qty_scale)) in listing.names.iter().zip(&listing.grids) {
            // A message that says whose it is by its stream's name alone has it in lower case.
            let name = name.to_ascii_uppercase();
            let symbol = table.add(venue, &name, price_scale, qty_scale, None).expect("room for it");
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
        let Decoded::Data(tier) = decoded.expect("checked to be decoded") else { panic!("no market data") };
        tier
    }
}
