//! `spread`: per symbol the spread and the imbalance of the best prices; per instrument the difference between its
//! symbols on several venues.
//!
//! ```text
//! quote ─► touch of the symbol ─► spread, imbalance ─► difference to each symbol of the same instrument
//!                                        └── published in SpreadTable, read by anyone ──┘
//! ```
//! State is preallocated for every symbol: a handler allocates nothing.

use crate::hot::{Counter, Router, Strategy};
use crate::limits::{INSTRUMENT_COUNT_MAX, SYMBOL_COUNT_MAX};
use crate::market::{BookKind, BookUpdate, Level, Quote, Symbol, SymbolSpec, Ticker, TickerFields, Venue};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// No symbol: the end of a ring that has not begun.
const NONE: u16 = u16::MAX;

/// What the strategy publishes for one symbol. Written by one core; a reader may see values a quote apart.
#[derive(Debug, Default)]
struct Published {
    quotes: Counter,
    spread_ticks: Counter,
    /// As the bits of an `f64`.
    imbalance: Counter,
    /// Largest difference of the mid price to another symbol of the instrument, in basis points; bits of an `f64`, not a
    /// number while there is none.
    difference_bp: Counter,
}

/// The published figures, and the names to print them with.
#[derive(Debug)]
pub struct SpreadTable {
    rows: Box<[Published]>,
    /// Written when a symbol is added, read by a report: never by a handler.
    names: Mutex<Vec<(Symbol, Venue, Arc<str>)>>,
}

/// One symbol's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadRow {
    /// Venue and native name.
    pub name: String,
    /// Quotes seen.
    pub quotes: u64,
    /// Ask minus bid in units of the price scale; negative while the book is crossed.
    pub spread_ticks: i64,
    /// (bid quantity - ask quantity) / (bid quantity + ask quantity), from -1 to 1.
    pub imbalance: f64,
    /// Largest difference of the mid price to the instrument's other symbols, basis points; `None` without another that
    /// has had a quote.
    pub difference_bp: Option<f64>,
}

impl SpreadTable {
    /// Every symbol that has had a quote, in the order of addition.
    #[must_use]
    pub fn rows(&self) -> Vec<SpreadRow> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names
            .iter()
            .filter_map(|(symbol, venue, name)| {
                let row = &self.rows[symbol.index()];
                let quotes = row.quotes.get();
                (quotes > 0).then(|| SpreadRow {
                    name: format!("{venue} {name}"),
                    quotes,
                    spread_ticks: row.spread_ticks.get().cast_signed(),
                    imbalance: f64::from_bits(row.imbalance.get()),
                    difference_bp: Some(f64::from_bits(row.difference_bp.get())).filter(|bp| bp.is_finite()),
                })
            })
            .collect()
    }

    /// The rows as a table, the busiest symbols first, at most `count`.
    #[must_use]
    pub fn summary(&self, count: usize) -> String {
        let mut rows = self.rows();
        rows.sort_by_key(|row| std::cmp::Reverse(row.quotes));
        let mut text = format!(
            "{:<28} {:>10} {:>12} {:>10} {:>14}\n",
            "symbol", "quotes", "spread ticks", "imbalance", "difference bp"
        );
        for row in rows.iter().take(count) {
            let _ = writeln!(
                text,
                "{:<28} {:>10} {:>12} {:>10.3} {:>14}",
                row.name,
                row.quotes,
                row.spread_ticks,
                row.imbalance,
                row.difference_bp.map_or_else(|| "-".to_owned(), |bp| format!("{bp:.2}"))
            );
        }
        if rows.len() > count {
            let _ = writeln!(text, "... and {} more symbols", rows.len() - count);
        }
        text
    }
}

/// The state of `spread`.
#[derive(Debug)]
pub struct Spread {
    mids: Box<[f64]>,
    half_ticks: Box<[f64]>,
    /// Symbols that have had a quote: slower channels no longer speak for them.
    has_quotes: bitvec::array::BitArray<[u64; SYMBOL_COUNT_MAX / 64]>,
    /// The symbols of one instrument form a ring.
    next_of_instrument: Box<[u16]>,
    first_of_instrument: Box<[u16]>,
    table: Arc<SpreadTable>,
}

impl Spread {
    fn touch(&mut self, symbol: Symbol, bid: Level, ask: Level) {
        let index = symbol.index();
        let row = &self.table.rows[index];
        row.quotes.add(1);
        let (bid_qty, ask_qty) = (bid.qty.to_f64(0), ask.qty.to_f64(0));
        if bid_qty <= 0.0 || ask_qty <= 0.0 {
            return;
        }
        row.spread_ticks.set(ask.price.mantissa().saturating_sub(bid.price.mantissa()).cast_unsigned());
        row.imbalance.set(((bid_qty - ask_qty) / (bid_qty + ask_qty)).to_bits());
        let mid = (bid.price.to_f64(0) + ask.price.to_f64(0)) * self.half_ticks[index];
        self.mids[index] = mid;
        row.difference_bp.set(self.largest_difference_bp(index, mid).to_bits());
    }

    fn largest_difference_bp(&self, index: usize, mid: f64) -> f64 {
        let mut largest = f64::NAN;
        let mut other = usize::from(self.next_of_instrument[index]);
        while other != index && other != usize::from(NONE) {
            if self.mids[other] > 0.0 {
                let difference = (mid / self.mids[other] - 1.0) * 1e4;
                if largest.is_nan() || difference.abs() > largest.abs() {
                    largest = difference;
                }
            }
            other = usize::from(self.next_of_instrument[other]);
        }
        largest
    }
}

fn on_quote(state: &mut Spread, quote: &Quote) {
    state.has_quotes.set(quote.meta.symbol.index(), true);
    state.touch(quote.meta.symbol, quote.bid, quote.ask);
}

/// Bybit futures' ticker carries the best prices too; they count where no quote channel is subscribed.
fn on_ticker(state: &mut Spread, ticker: &Ticker) {
    if state.has_quotes[ticker.meta.symbol.index()] {
        return;
    }
    let touch = TickerFields::BID | TickerFields::ASK;
    let changed = TickerFields(ticker.changed.0 & touch.0);
    if ticker.known.contains(touch) && changed != TickerFields::NONE {
        state.touch(ticker.meta.symbol, ticker.bid, ticker.ask);
    }
}

/// A whole book names its best levels first; it counts where no quote channel is subscribed.
fn on_book(state: &mut Spread, update: &BookUpdate<'_>) {
    if let (BookKind::Snapshot | BookKind::Partial, Some(&bid), Some(&ask)) =
        (update.kind, update.bids.first(), update.asks.first())
        && !state.has_quotes[update.meta.symbol.index()]
    {
        state.touch(update.meta.symbol, bid, ask);
    }
}

fn ignore<E: ?Sized>(_state: &mut Spread, _event: &E) {}

fn on_symbol(state: &mut Spread, router: &mut Router<Spread>, spec: &SymbolSpec) {
    let symbol = spec.symbol;
    let index = symbol.index();
    state.half_ticks[index] = 0.5 / 10_f64.powi(i32::from(spec.price_scale));
    if let Some((instrument, _)) = &spec.instrument
        && state.next_of_instrument[index] == NONE
    {
        let id = u16::try_from(index).expect("a symbol's index is a u16");
        let first = &mut state.first_of_instrument[instrument.index()];
        if *first == NONE {
            *first = id;
            state.next_of_instrument[index] = id;
        } else {
            let first = usize::from(*first);
            state.next_of_instrument[index] = state.next_of_instrument[first];
            state.next_of_instrument[first] = id;
        }
    }
    router.on_quote(symbol, on_quote);
    router.on_ticker(symbol, on_ticker);
    router.on_book_delta(symbol, on_book);
    router.on_trade(symbol, ignore);
    router.on_agg_trade(symbol, ignore);
    router.on_kline(symbol, ignore);
    router.on_mark_price(symbol, ignore);
    router.on_liquidation(symbol, ignore);
    // Once per symbol, at its addition: the one moment when a strategy may lock. There is room for every symbol.
    let mut names = state.table.names.lock().unwrap_or_else(PoisonError::into_inner);
    names.push((symbol, spec.venue, Arc::clone(&spec.name)));
}

/// The strategy `spread`, and the table it publishes to.
#[must_use]
pub fn spread() -> (Strategy<Spread>, Arc<SpreadTable>) {
    let table = Arc::new(SpreadTable {
        rows: (0..SYMBOL_COUNT_MAX)
            .map(|_| {
                let row = Published::default();
                row.difference_bp.set(f64::NAN.to_bits());
                row
            })
            .collect(),
        names: Mutex::new(Vec::with_capacity(SYMBOL_COUNT_MAX)),
    });
    let state = Spread {
        mids: vec![0.0; SYMBOL_COUNT_MAX].into_boxed_slice(),
        half_ticks: vec![0.0; SYMBOL_COUNT_MAX].into_boxed_slice(),
        has_quotes: bitvec::array::BitArray::ZERO,
        next_of_instrument: vec![NONE; SYMBOL_COUNT_MAX].into_boxed_slice(),
        first_of_instrument: vec![NONE; INSTRUMENT_COUNT_MAX].into_boxed_slice(),
        table: Arc::clone(&table),
    };
    (Strategy { state, on_symbol }, table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Instrument, InstrumentKind, Meta, Price, Qty, Received, SymbolTable, Venue};

    fn quote(symbol: Symbol, bid: (i64, i64), ask: (i64, i64)) -> Quote {
        let level = |(price, qty)| Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) };
        Quote {
            meta: Meta { symbol, received: Received::default(), event_time: None, matching_time: None },
            bid: level(bid),
            ask: level(ask),
            update_id: 1,
            sequence: None,
        }
    }

    fn with_symbols(symbols: &[(Venue, u8)]) -> (Spread, Router<Spread>, Arc<SpreadTable>) {
        let mut specs = SymbolTable::default();
        let (Strategy { mut state, on_symbol }, table) = spread();
        let mut router = Router::new();
        for &(venue, scale) in symbols {
            let btc = Instrument { base: "BTC".into(), quote: "USDT".into(), kind: InstrumentKind::Spot };
            let symbol = specs.add(venue, "BTCUSDT", scale, 3, Some(btc)).unwrap();
            on_symbol(&mut state, &mut router, specs.spec(symbol).unwrap());
        }
        (state, router, table)
    }

    #[test]
    fn spread_and_imbalance_are_of_the_last_quote() {
        let (mut state, router, table) = with_symbols(&[(Venue::BinanceSpot, 2)]);
        router.quote(&mut state, &quote(Symbol::new(0).unwrap(), (10_000, 3), (10_010, 1)));
        let row = &table.rows()[0];
        assert_eq!((row.quotes, row.spread_ticks), (1, 10));
        assert!((row.imbalance - 0.5).abs() < 1e-12);
    }

    #[test]
    fn two_venues_of_one_instrument_are_compared_across_their_scales() {
        let (mut state, router, table) = with_symbols(&[(Venue::BinanceSpot, 2), (Venue::BybitSpot, 1)]);
        router.quote(&mut state, &quote(Symbol::new(0).unwrap(), (10_000, 1), (10_000, 1)));
        router.quote(&mut state, &quote(Symbol::new(1).unwrap(), (1_001, 1), (1_001, 1)));
        let rows = table.rows();
        assert_eq!(rows[0].difference_bp, None, "nothing to compare with yet");
        assert!(rows[1].difference_bp.is_some_and(|bp| (bp - 10.0).abs() < 1e-6), "{rows:?}");
        assert!(table.summary(1).contains("1 more symbols"), "{}", table.summary(1));
    }

    #[test]
    fn an_empty_side_leaves_the_last_figures() {
        let (mut state, router, table) = with_symbols(&[(Venue::BinanceSpot, 2)]);
        let symbol = Symbol::new(0).unwrap();
        router.quote(&mut state, &quote(symbol, (100, 1), (102, 1)));
        router.quote(&mut state, &quote(symbol, (100, 1), (0, 0)));
        assert_eq!(table.rows()[0].spread_ticks, 2);
    }
}
