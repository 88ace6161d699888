//! The core's side: a strategy with lanes beside it is a strategy like any other, whose functions first call its own handlers
//! and then hand the event to the lanes that want it.
//!
//! ```text
//! Core<Laned<S>> ─► fn quote(&mut Laned<S>, &Quote) ─► Router<S> ─► fn(&mut S, &Quote)     if S has a handler
//!                                                   └► each set: which lane, by table ─► send, if the lane wants it
//! ```
//! A core without lanes knows nothing of them and pays nothing.

use super::super::clock::{Clock, Ticks};
use super::super::core::Strategy;
use super::super::router::{Router, count_unrouted};
use super::Policy;
use super::pool::Place;
use super::queue::Sending;
use super::slot::Crosses;
use super::stats::{LanePhase, LaneStats};
use crate::book::BookEvent;
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{
    AggTrade, BookUpdate, EventKind, Gap, Kline, Liquidation, MarkPrice, Quote, Symbol, SymbolSpec, Ticker, Trade,
};
use std::sync::Arc;

/// Which lane of a set has the events of this kind of a symbol: any number, of which the remainder by the count of lanes is
/// taken. Asked once for each kind of each symbol, so that the order within a lane is the order of the core.
pub type Partition = fn(EventKind, Symbol) -> usize;

/// Each symbol's events in one lane, symbols spread evenly.
#[must_use]
pub fn by_symbol(_kind: EventKind, symbol: Symbol) -> usize {
    symbol.index()
}

/// Each kind of event in one lane, whatever the symbol.
#[must_use]
pub fn by_kind(kind: EventKind, _symbol: Symbol) -> usize {
    kind as usize
}

/// Hot looks at a full lane before the core offers its CPU to others: the lane may be waiting for this very one.
const LOOKS_BEFORE_YIELD: u32 = 1_000;

/// The core's end of one lane.
#[derive(Debug)]
pub struct LaneSender {
    queue: Sending,
    stats: Arc<LaneStats>,
    levels_max: usize,
    policy: Policy,
    hop_sample_every: u32,
    until_sample: u32,
    clock: Clock,
}

impl LaneSender {
    pub(super) fn new(queue: Sending, stats: Arc<LaneStats>) -> Self {
        let settings = stats.settings();
        let (levels_max, policy) = (settings.levels, settings.policy);
        let hop_sample_every = settings.hop_sample_every.max(1);
        Self { queue, stats, levels_max, policy, hop_sample_every, until_sample: 1, clock: Clock::new() }
    }

    /// Sends a copy of an event. Waits for nothing, but for room under [`Policy::Block`].
    #[inline]
    pub(super) fn send<E: Crosses>(&mut self, event: &E) {
        self.stats.core.sent.add(1);
        if event.level_count() > self.levels_max {
            return self.stats.core.too_long.add(1);
        }
        let place = match self.queue.place() {
            Some(place) => place,
            None => match self.make_room() {
                Some(place) => place,
                None => return self.stats.core.dropped.add(1),
            },
        };
        self.fill(place, event);
    }

    #[inline]
    fn fill<E: Crosses>(&mut self, mut place: Place, event: &E) {
        self.until_sample -= 1;
        let sent = if self.until_sample == 0 {
            self.until_sample = self.hop_sample_every;
            self.clock.ticks()
        } else {
            Ticks::default()
        };
        let slot = self.queue.slot(&mut place);
        event.cross(slot);
        slot.sent = sent;
        let has_replaced = self.queue.put(place, event.meta().symbol, event.stream_kind());
        self.stats.core.replaced.add(u64::from(has_replaced));
    }

    /// A place in a full lane, as its policy has it; `None`: the event is lost.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self) -> Option<Place> {
        match self.policy {
            // The newest of more streams than there are slots: the configuration is to have more.
            Policy::Latest => None,
            Policy::DropOldest => loop {
                if let Some(place) = self.queue.oldest() {
                    self.stats.core.dropped.add(1);
                    return Some(place);
                }
                // None waits: the lane has taken them all, and given back all but the one in its handler.
                if let Some(place) = self.queue.place() {
                    return Some(place);
                }
            },
            Policy::Block => self.wait_for_room(),
        }
    }

    fn wait_for_room(&mut self) -> Option<Place> {
        let began = self.clock.ticks();
        self.stats.core.blocked.add(1);
        let mut looks = 0;
        let place = loop {
            let place = self.queue.place();
            if place.is_some() || self.stats.phase() != LanePhase::Running {
                break place;
            }
            looks += 1;
            if looks % LOOKS_BEFORE_YIELD == 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        };
        self.stats.core.blocked_ns.add(self.clock.elapsed_ns(began, self.clock.ticks()));
        place
    }
}

/// No lane of the set has this kind of this symbol: it is not known yet.
const NO_LANE: u8 = u8::MAX;

/// Lanes that run one strategy and share a core's events.
#[derive(Debug)]
pub struct LaneSet {
    lanes: Box<[LaneSender]>,
    partition: Partition,
    /// For each symbol a byte for each kind: its lane.
    lane_of: Box<[[u8; EventKind::ALL.len()]; SYMBOL_COUNT_MAX]>,
}

impl LaneSet {
    /// A set of these lanes.
    ///
    /// # Panics
    /// Without a lane, or with more than 254.
    #[must_use]
    pub fn new(lanes: Vec<LaneSender>, partition: Partition) -> Self {
        assert!(!lanes.is_empty() && lanes.len() < usize::from(NO_LANE), "a lane's number is a byte");
        let lane_of: Box<[_]> = vec![[NO_LANE; EventKind::ALL.len()]; SYMBOL_COUNT_MAX].into_boxed_slice();
        let Ok(lane_of) = lane_of.try_into() else { unreachable!("it has SYMBOL_COUNT_MAX elements") };
        Self { lanes: lanes.into_boxed_slice(), partition, lane_of }
    }

    fn add_symbol(&mut self, symbol: Symbol) {
        let count = self.lanes.len();
        self.lane_of[symbol.index()] = EventKind::ALL.map(|kind| {
            u8::try_from((self.partition)(kind, symbol) % count).expect("below the count of lanes, which fits a byte")
        });
    }

    /// Sends an event to its lane. True if the lane wants it.
    #[inline]
    fn send<E: Crosses>(&mut self, event: &E) -> bool {
        let symbol = event.meta().symbol;
        // The mask changes nothing (a Symbol is below SYMBOL_COUNT_MAX) and lets the compiler drop the bounds check.
        let lane = self.lane_of[symbol.index() & (SYMBOL_COUNT_MAX - 1)][E::KIND as usize];
        let Some(lane) = self.lanes.get_mut(usize::from(lane)) else { return false };
        let is_wanted = lane.stats.wants(E::KIND, symbol);
        if is_wanted {
            lane.send(event);
        }
        is_wanted
    }
}

/// The state of a strategy with lanes beside it.
#[derive(Debug)]
pub struct Laned<S> {
    state: S,
    router: Router<S>,
    on_symbol: fn(&mut S, &mut Router<S>, &SymbolSpec),
    sets: Box<[LaneSet]>,
}

/// The same strategy, with sets of lanes that get its core's events after its own handlers.
#[must_use]
pub fn with_lanes<S>(strategy: Strategy<S>, sets: Vec<LaneSet>) -> Strategy<Laned<S>> {
    let Strategy { state, on_symbol } = strategy;
    let state = Laned { state, router: Router::new(), on_symbol, sets: sets.into_boxed_slice() };
    Strategy { state, on_symbol: Laned::on_symbol }
}

impl<S> Laned<S> {
    /// Hands an event to the lanes. `is_taken`: a handler of the core's own has it.
    #[inline]
    fn share<E: Crosses>(&mut self, event: &E, mut is_taken: bool) {
        for set in &mut self.sets {
            is_taken |= set.send(event);
        }
        // A marker that nobody asked for is no event that nobody had.
        if !is_taken && E::KIND as u8 != EventKind::Gap as u8 {
            count_unrouted();
        }
    }

    /// A message of a book. Where one is kept of it, it is for the strategy's `on_book` too.
    fn book_delta(&mut self, update: &BookUpdate<'_>) {
        let symbol = update.meta.symbol;
        let mut is_taken = self.router.takes(EventKind::Book, symbol);
        if is_taken {
            self.router.book_delta(&mut self.state, update);
        }
        is_taken |= update.state.is_some() && self.router.takes(EventKind::KeptBook, symbol);
        self.share(update, is_taken);
    }

    /// A kept book is the core's own: it is read where it lies, and lanes get the messages that it is made of.
    fn book(&mut self, event: &BookEvent<'_>) {
        self.router.book(&mut self.state, event);
    }
}

macro_rules! laned {
    ($($kind:ident, $event:ty, $deliver:ident, $on:ident;)*) => {
        impl<S> Laned<S> {
            fn on_symbol(&mut self, outer: &mut Router<Self>, spec: &SymbolSpec) {
                (self.on_symbol)(&mut self.state, &mut self.router, spec);
                self.sets.iter_mut().for_each(|set| set.add_symbol(spec.symbol));
                $(outer.$on(spec.symbol, Self::$deliver);)*
                outer.on_book_delta(spec.symbol, Self::book_delta);
                outer.on_book(spec.symbol, Self::book);
            }

            $(
                fn $deliver(&mut self, event: &$event) {
                    let is_taken = self.router.takes(EventKind::$kind, event.meta.symbol);
                    if is_taken {
                        self.router.$deliver(&mut self.state, event);
                    }
                    self.share(event, is_taken);
                }
            )*
        }
    };
}

laned! {
    Trade, Trade, trade, on_trade;
    AggTrade, AggTrade, agg_trade, on_agg_trade;
    Quote, Quote, quote, on_quote;
    Ticker, Ticker, ticker, on_ticker;
    Kline, Kline, kline, on_kline;
    MarkPrice, MarkPrice, mark_price, on_mark_price;
    Liquidation, Liquidation, liquidation, on_liquidation;
    Gap, Gap, gap, on_gap;
}
