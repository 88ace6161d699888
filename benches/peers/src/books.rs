//! A book kept of a venue's changes: every recorded message of a capture applied in its order, and the best of both sides
//! read after each.
//!
//! The contenders are given each message's levels in the numbers that they hold, so that no decoding is in their time. All end
//! with the best that two maps end with, or nothing is measured. "tickwire" finds what changed and what is known on the way;
//! "tickwire, in sequence" judges each message by the venue's rule besides, as a hot core does.

use crate::race::{Contender, Course, OURS, Raced, run};
use crate::recorded_book::{Capture, Sides};
use barter_data::books::{Level as BarterLevel, OrderBook};
use barter_data::subscription::book::OrderBookEvent;
use hftbacktest::depth::{BTreeMarketDepth, HashMapMarketDepth, L2MarketDepth, MarketDepth, ROIVectorMarketDepth};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use std::collections::BTreeMap;
use std::hint::black_box;
use tickwire::book::{Book, BookSettings, Hold, Slot};
use tickwire::limits::BOOK_LEVEL_COUNT_MAX;
use tickwire::market::{
    Backlog, BookKind, BookUpdate, Level, Meta, MonoNs, Received, SequenceIds, Side, Symbol, Venue,
};
use tickwire::venue::VenueSequence;

/// The best price of both sides, as mantissas.
type Touch = [i64; 2];

/// A book, begun by the snapshot, and its messages in its own numbers.
trait Kept: Sized {
    type Message;

    fn begin(capture: &Capture) -> Self;
    fn message(capture: &Capture, sides: &Sides) -> Self::Message;
    fn apply(&mut self, message: &Self::Message);
    fn touch(&self) -> Touch;
}

/// One pass is every message once, whatever order is asked for: changes of a book have but one.
struct Replay<'a, K: Kept> {
    capture: &'a Capture,
    messages: Vec<K::Message>,
    book: Option<K>,
}

impl<'a, K: Kept + 'a> Replay<'a, K> {
    fn contender(name: &'static str, version: &'static str, capture: &'a Capture) -> Contender<'a> {
        let messages: Vec<K::Message> = capture.messages.iter().map(|sides| K::message(capture, sides)).collect();
        let mut book = K::begin(capture);
        messages.iter().for_each(|message| book.apply(message));
        assert_eq!(book.touch(), last_touch(capture), "{name}, {}", capture.name);
        Contender { name, version, course: Box::new(Replay { capture, messages, book: Some(book) }) }
    }
}

impl<K: Kept> Course for Replay<'_, K> {
    fn pull(&mut self) -> u64 {
        self.book = Some(K::begin(self.capture));
        0
    }

    fn pass(&mut self, _order: &[u32]) -> u64 {
        let Some(book) = &mut self.book else { return 0 };
        self.messages.iter().fold(0, |sum, message| {
            book.apply(black_box(message));
            let [bid, ask] = book.touch();
            sum.wrapping_add(bid.cast_unsigned()).wrapping_add(ask.cast_unsigned())
        })
    }
}

// ---------------------------------------------------------------------------------------------- contenders

impl Kept for Book {
    type Message = Sides;

    fn begin(capture: &Capture) -> Self {
        let mut book = Self::new(BOOK_LEVEL_COUNT_MAX, 10);
        book.replace(&capture.snapshot[0], &capture.snapshot[1], 0);
        book
    }

    fn message(_capture: &Capture, sides: &Sides) -> Sides {
        sides.clone()
    }

    fn apply(&mut self, [bids, asks]: &Sides) {
        black_box(Self::apply(self, bids, asks, 0));
    }

    fn touch(&self) -> Touch {
        [Side::Buy, Side::Sell].map(|side| {
            let best = self.best(side).known().flatten();
            best.map_or(0, |level| level.price.mantissa())
        })
    }
}

/// The engine's book with its rule around it.
struct InSequence {
    slot: Slot<VenueSequence>,
    id: u64,
}

fn update<'a>(id: u64, kind: BookKind, [bids, asks]: &'a Sides) -> BookUpdate<'a> {
    let received = Received { mono: MonoNs(1), wall_ns: 1, backlog: Backlog::NONE };
    let symbol = Symbol::new(0).expect("small");
    let meta = Meta { symbol, received, event_time: None, matching_time: None };
    let ids = SequenceIds { first: id, last: id, previous: Some(id - 1), cross: None };
    BookUpdate { meta, kind, ids, depth: 0, state: None, bids, asks }
}

impl Kept for InSequence {
    type Message = Sides;

    fn begin(capture: &Capture) -> Self {
        let symbol = Symbol::new(0).expect("small");
        let mut slot = Slot::new(symbol, 0, VenueSequence::of(Venue::BinanceUsdm), BookSettings::for_depth(0));
        let ticket = slot.begin_fetch(Box::new(Hold::new()));
        slot.snapshot(ticket, &update(1, BookKind::Snapshot, &capture.snapshot));
        slot.end_fetch();
        assert!(slot.state().is_live());
        Self { slot, id: 1 }
    }

    fn message(_capture: &Capture, sides: &Sides) -> Sides {
        sides.clone()
    }

    fn apply(&mut self, sides: &Sides) {
        self.id += 1;
        black_box(self.slot.update(&update(self.id, BookKind::Delta, sides), None));
    }

    fn touch(&self) -> Touch {
        assert!(self.slot.state().is_live());
        Kept::touch(self.slot.view().book)
    }
}

/// A map a side, from price to quantity: what is written first by most.
struct Maps([BTreeMap<i64, i64>; 2]);

impl Maps {
    fn set(map: &mut BTreeMap<i64, i64>, level: &Level) {
        if level.qty.mantissa() == 0 {
            map.remove(&level.price.mantissa());
        } else {
            map.insert(level.price.mantissa(), level.qty.mantissa());
        }
    }
}

impl Kept for Maps {
    type Message = Sides;

    fn begin(capture: &Capture) -> Self {
        let mut maps = Self([BTreeMap::new(), BTreeMap::new()]);
        maps.apply(&capture.snapshot);
        maps
    }

    fn message(_capture: &Capture, sides: &Sides) -> Sides {
        sides.clone()
    }

    fn apply(&mut self, sides: &Sides) {
        for (map, levels) in self.0.iter_mut().zip(sides) {
            levels.iter().for_each(|level| Self::set(map, level));
        }
    }

    fn touch(&self) -> Touch {
        let [bids, asks] = &self.0;
        [bids.last_key_value(), asks.first_key_value()].map(|best| best.map_or(0, |(&price, _)| price))
    }
}

struct Barter {
    book: OrderBook,
    price_scale: u32,
}

fn barter_book(capture: &Capture, sides: &Sides) -> OrderBook {
    let (price_scale, qty_scale) = capture.scales;
    let [bids, asks] = sides.each_ref().map(|levels| {
        let level = |level: &Level| BarterLevel {
            price: Decimal::new(level.price.mantissa(), price_scale.into()),
            amount: Decimal::new(level.qty.mantissa(), qty_scale.into()),
        };
        levels.iter().map(level).collect::<Vec<_>>()
    });
    OrderBook::new(0, None, bids, asks)
}

impl Kept for Barter {
    type Message = OrderBookEvent;

    fn begin(capture: &Capture) -> Self {
        Self { book: barter_book(capture, &capture.snapshot), price_scale: capture.scales.0.into() }
    }

    fn message(capture: &Capture, sides: &Sides) -> OrderBookEvent {
        OrderBookEvent::Update(barter_book(capture, sides))
    }

    fn apply(&mut self, message: &OrderBookEvent) {
        self.book.update(message);
    }

    fn touch(&self) -> Touch {
        let best = [self.book.bids().best(), self.book.asks().best()];
        best.map(|best| {
            // A decimal's mantissa is at its own scale, which is the capture's.
            best.filter(|best| best.price.scale() == self.price_scale)
                .and_then(|best| best.price.mantissa().to_i64())
                .unwrap_or(0)
        })
    }
}

/// Prices and quantities in floats, by side.
struct Floats {
    levels: [Vec<(f64, f64)>; 2],
}

fn floats(capture: &Capture, sides: &Sides) -> Floats {
    let (price_scale, qty_scale) = capture.scales;
    let of = |level: &Level| (level.price.to_f64(price_scale), level.qty.to_f64(qty_scale));
    Floats { levels: sides.each_ref().map(|levels| levels.iter().map(of).collect()) }
}

/// A book that is made of its tick, its lot and the range of prices that it is wanted for.
trait Ticked: L2MarketDepth + MarketDepth {
    fn new(tick: f64, lot: f64, range: [f64; 2]) -> Self;
}

impl Ticked for BTreeMarketDepth {
    fn new(tick: f64, lot: f64, _range: [f64; 2]) -> Self {
        Self::new(tick, lot)
    }
}

impl Ticked for HashMapMarketDepth {
    fn new(tick: f64, lot: f64, _range: [f64; 2]) -> Self {
        Self::new(tick, lot)
    }
}

impl Ticked for ROIVectorMarketDepth {
    fn new(tick: f64, lot: f64, [low, high]: [f64; 2]) -> Self {
        Self::new(tick, lot, low, high)
    }
}

impl<D: Ticked> Kept for D {
    type Message = Floats;

    fn begin(capture: &Capture) -> Self {
        let (price_scale, qty_scale) = capture.scales;
        let unit = |scale: u8| 10_f64.powi(-i32::from(scale));
        let prices = || capture.snapshot.iter().flatten().map(|level| level.price.to_f64(price_scale));
        let range = [prices().fold(f64::INFINITY, f64::min), prices().fold(0.0, f64::max)];
        let mut depth = <D as Ticked>::new(unit(price_scale), unit(qty_scale), range);
        depth.apply(&floats(capture, &capture.snapshot));
        depth
    }

    fn message(capture: &Capture, sides: &Sides) -> Floats {
        floats(capture, sides)
    }

    fn apply(&mut self, message: &Floats) {
        let [bids, asks] = &message.levels;
        for &(price, qty) in bids {
            black_box(self.update_bid_depth(price, qty, 0));
        }
        for &(price, qty) in asks {
            black_box(self.update_ask_depth(price, qty, 0));
        }
    }

    fn touch(&self) -> Touch {
        [self.best_bid_tick(), self.best_ask_tick()]
    }
}

/// The best of both sides after the last message, by two maps.
fn last_touch(capture: &Capture) -> Touch {
    let mut maps = Maps::begin(capture);
    capture.messages.iter().for_each(|sides| maps.apply(sides));
    maps.touch()
}

/// One race over a capture.
pub(crate) fn race(capture: &Capture, rounds: usize) -> Raced {
    const HFTBACKTEST: &str = "0.9";
    const BARTER: &str = "0.13";
    let levels: usize = capture.messages.iter().flatten().map(Vec::len).sum();
    let case = format!("{}, {} levels a message", capture.name, levels.div_ceil(capture.messages.len()));
    let mut contenders = [
        Replay::<Book>::contender(OURS, env!("CARGO_PKG_VERSION"), capture),
        Replay::<InSequence>::contender("tickwire, in sequence", env!("CARGO_PKG_VERSION"), capture),
        Replay::<Maps>::contender("two BTreeMaps", "std", capture),
        Replay::<Barter>::contender("barter-data", BARTER, capture),
        Replay::<BTreeMarketDepth>::contender("hftbacktest, tree", HFTBACKTEST, capture),
        Replay::<HashMapMarketDepth>::contender("hftbacktest, hash map", HFTBACKTEST, capture),
        Replay::<ROIVectorMarketDepth>::contender("hftbacktest, vector of a range", HFTBACKTEST, capture),
    ];
    run("book", &case, capture.messages.len(), rounds, &mut contenders)
}
