//! From an event to the strategy's function: one bit, one load and one indirect call.
//!
//! ```text
//! event ──► its symbol's bit: has it the common function? ─┬─ yes ─► the kind's common function ──────┬─► fn(&mut S, &Event)
//!                                                          └─ no ──► table, indexed by Symbol ────────┘
//!           every empty slot already holds the fallback: no branch, no Option, no dyn
//! ```
//! Most strategies have one function for all symbols of a kind. Its address lies beside the bits, of which a line holds those
//! of 512 symbols; of the table a line holds eight. So what a symbol needs that was quiet is near, for others have needed it.
//!
//! Called by the core for every event. Registration happens on the core's thread, where a symbol is added.
//!
//! Of a book there are two: `on_book_delta` gets each message of it as it came, `on_book` the book that the engine keeps of
//! them, after it took a message (or a snapshot) or turned. One message calls them in this order, with the book's state after
//! it in both. Where each leg has a book of its own, `on_book_delta` gets the messages of one leg, with the state of that leg's
//! book, and `on_book` the furthest of the books. A message counts as unrouted where its symbol has neither, or where only `on_book` is there and no book is kept.

use crate::book::BookEvent;
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{
    AggTrade, BookUpdate, EventKind, Gap, Kline, Liquidation, MarkPrice, Quote, Symbol, Ticker, Trade,
};
use std::cell::Cell;

const _: () = assert!(SYMBOL_COUNT_MAX.is_power_of_two(), "a mask keeps an index inside a table");

thread_local! {
    /// Events that reached a stock fallback on this thread. A handler's signature has no room for a counter, and a
    /// routed event must not pay for one.
    static UNROUTED: Cell<u64> = const { Cell::new(0) };
}

/// Takes the number of events that found no handler on this thread since the last call.
#[inline]
pub(crate) fn take_unrouted() -> u64 {
    UNROUTED.with(|count| count.replace(0))
}

/// Counts an event that found no handler on this thread.
pub(super) fn count_unrouted() {
    UNROUTED.with(|count| count.set(count.get() + 1));
}

/// What an empty slot holds: counts the event.
fn unrouted<S, E: ?Sized>(_state: &mut S, _event: &E) {
    count_unrouted();
}

/// The fallback of a book's messages: they carry a lifetime of their own, which a generic `E` cannot.
fn unrouted_book_delta<S>(_state: &mut S, _event: &BookUpdate<'_>) {
    count_unrouted();
}

/// The fallback of kept books counts nothing: the messages that changed them were counted where nobody took those either.
fn unheard_book<S>(_state: &mut S, _event: &BookEvent<'_>) {}

/// A marker is no event of a venue's: a strategy that asks for none is missing none, and what it missed is counted as a gap.
fn unrouted_gap<S>(_state: &mut S, _event: &Gap) {}

/// A bit for each symbol.
type Bits = bitvec::array::BitArray<[u64; SYMBOL_COUNT_MAX / 64]>;

/// One kind's functions by symbol.
///
/// Invariant: `registered` is the number of slots whose bit in `is_registered` is set; every other slot holds `fallback`. A slot
/// whose bit in `is_common` is set holds `common`.
struct Table<F: Copy> {
    /// The fallback, where the strategy has given one or has registered nothing yet; else what it registered first.
    common: F,
    is_common: Bits,
    slots: Box<[F; SYMBOL_COUNT_MAX]>,
    is_registered: Bits,
    /// True for one address. A function may have several, and two functions one: what is called is the same either way.
    is_same: fn(F, F) -> bool,
    fallback: F,
    /// The strategy has given a fallback of its own.
    has_own_fallback: bool,
    registered: usize,
}

impl<F: Copy> Table<F> {
    fn new(fallback: F, is_same: fn(F, F) -> bool) -> Self {
        let slots: Box<[F]> = vec![fallback; SYMBOL_COUNT_MAX].into_boxed_slice();
        let Ok(slots) = slots.try_into() else { unreachable!("the vector has SYMBOL_COUNT_MAX elements") };
        Self {
            common: fallback,
            is_common: !Bits::ZERO,
            slots,
            is_registered: Bits::ZERO,
            is_same,
            fallback,
            has_own_fallback: false,
            registered: 0,
        }
    }

    #[inline]
    fn get(&self, symbol: Symbol) -> F {
        // The mask changes nothing (a Symbol is below SYMBOL_COUNT_MAX) and lets the compiler drop the bounds checks.
        let index = symbol.index() & (SYMBOL_COUNT_MAX - 1);
        let is_common = self.is_common.as_raw_slice()[index / 64] >> (index % 64) & 1 == 1;
        // The compiler chooses between the two addresses, and loads from one: what is not needed is not waited for.
        if is_common { self.common } else { self.slots[index] }
    }

    fn put(&mut self, symbol: Symbol, function: F) {
        self.slots[symbol.index()] = function;
        self.is_common.set(symbol.index(), (self.is_same)(function, self.common));
    }

    fn register(&mut self, symbol: Symbol, handler: F) {
        if self.registered == 0 && !self.has_own_fallback {
            self.common = handler;
            self.is_common = if (self.is_same)(self.fallback, handler) { !Bits::ZERO } else { Bits::ZERO };
        }
        self.put(symbol, handler);
        if !self.is_registered.replace(symbol.index(), true) {
            self.registered += 1;
        }
    }

    fn unregister(&mut self, symbol: Symbol) -> bool {
        self.put(symbol, self.fallback);
        let was = self.is_registered.replace(symbol.index(), false);
        self.registered -= usize::from(was);
        was
    }

    /// 64 symbols' bits, set where an event reaches a handler or a fallback of the strategy's.
    #[inline]
    fn taken_word(&self, word: usize) -> u64 {
        if self.has_own_fallback { u64::MAX } else { self.is_registered.as_raw_slice()[word % (SYMBOL_COUNT_MAX / 64)] }
    }

    fn set_fallback(&mut self, fallback: F) {
        self.fallback = fallback;
        self.has_own_fallback = true;
        for index in self.is_registered.iter_zeros() {
            self.slots[index] = fallback;
        }
        self.common = fallback;
        self.is_common = !self.is_registered;
        for index in self.is_registered.iter_ones() {
            self.is_common.set(index, (self.is_same)(self.slots[index], fallback));
        }
    }
}

macro_rules! router {
    ($($kind:ident, $event:ty, $field:ident, $on:ident, $otherwise:ident, $deliver:ident, $stock:ident;)*) => {
        /// Dense tables of functions, one a kind of event, over the strategy's state `S`.
        pub struct Router<S> {
            $($field: Table<fn(&mut S, &$event)>,)*
        }

        impl<S> Default for Router<S> {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<S> Router<S> {
            /// A router without handlers: every event is counted as unrouted. Allocates all it will ever use.
            #[must_use]
            pub fn new() -> Self {
                Self { $($field: Table::new($stock, |one, other| std::ptr::fn_addr_eq(one, other)),)* }
            }

            $(
                #[doc = concat!("Calls `handler` for every [`", stringify!($kind), "`](crate::market::EventKind::", stringify!($kind), ") event of `symbol`, instead of what was there.")]
                pub fn $on(&mut self, symbol: Symbol, handler: fn(&mut S, &$event)) {
                    self.$field.register(symbol, handler);
                }

                #[doc = concat!("Calls `handler` for [`", stringify!($kind), "`](crate::market::EventKind::", stringify!($kind), ") events of every symbol without a handler of its own. They no longer count as unrouted.")]
                pub fn $otherwise(&mut self, handler: fn(&mut S, &$event)) {
                    self.$field.set_fallback(handler);
                }

                /// Routes one event.
                #[inline]
                pub fn $deliver(&self, state: &mut S, event: &$event) {
                    (self.$field.get(event.meta.symbol))(state, event);
                }
            )*

            /// Gives a slot back to the fallback; false if nothing was registered there.
            pub fn unregister(&mut self, kind: EventKind, symbol: Symbol) -> bool {
                match kind {
                    $(EventKind::$kind => self.$field.unregister(symbol),)*
                }
            }

            /// True if an event of this kind and symbol reaches a handler, or a fallback that the strategy has given.
            #[inline]
            #[must_use]
            pub fn takes(&self, kind: EventKind, symbol: Symbol) -> bool {
                self.taken_word(kind, symbol.index() / 64) >> (symbol.index() % 64) & 1 == 1
            }

            /// True if an event of this kind, of some symbol, reach a handler or a fallback that the strategy has given.
            pub(super) fn takes_any(&self, kind: EventKind) -> bool {
                match kind {
                    $(EventKind::$kind => self.$field.has_own_fallback || self.$field.registered > 0,)*
                }
            }

            /// The same for the 64 symbols from `64 * word` on, a bit for each.
            #[inline]
            pub(super) fn taken_word(&self, kind: EventKind, word: usize) -> u64 {
                match kind {
                    $(EventKind::$kind => self.$field.taken_word(word),)*
                }
            }

            /// Symbols with a handler for this kind.
            #[must_use]
            pub fn registered_count(&self, kind: EventKind) -> usize {
                match kind {
                    $(EventKind::$kind => self.$field.registered,)*
                }
            }
        }

        impl<S> std::fmt::Debug for Router<S> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("Router")$(.field(stringify!($field), &self.$field.registered))*.finish()
            }
        }
    };
}

router! {
    Trade, Trade, trades, on_trade, otherwise_trade, trade, unrouted;
    AggTrade, AggTrade, agg_trades, on_agg_trade, otherwise_agg_trade, agg_trade, unrouted;
    Quote, Quote, quotes, on_quote, otherwise_quote, quote, unrouted;
    Ticker, Ticker, tickers, on_ticker, otherwise_ticker, ticker, unrouted;
    Book, BookUpdate<'_>, book_deltas, on_book_delta, otherwise_book_delta, book_delta, unrouted_book_delta;
    Kline, Kline, klines, on_kline, otherwise_kline, kline, unrouted;
    MarkPrice, MarkPrice, mark_prices, on_mark_price, otherwise_mark_price, mark_price, unrouted;
    Liquidation, Liquidation, liquidations, on_liquidation, otherwise_liquidation, liquidation, unrouted;
    KeptBook, BookEvent<'_>, books, on_book, otherwise_book, book, unheard_book;
    Gap, Gap, gaps, on_gap, otherwise_gap, gap, unrouted_gap;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Level, Meta, Received};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn quote(index: usize) -> Quote {
        Quote {
            meta: Meta {
                symbol: Symbol::new(index).unwrap(),
                received: Received::default(),
                event_time: None,
                matching_time: None,
            },
            bid: Level::default(),
            ask: Level::default(),
            update_id: 0,
            sequence: None,
        }
    }

    fn first(log: &mut Vec<&'static str>, _: &Quote) {
        log.push("first");
    }

    fn second(log: &mut Vec<&'static str>, _: &Quote) {
        log.push("second");
    }

    fn other(log: &mut Vec<&'static str>, _: &Quote) {
        log.push("other");
    }

    #[test]
    fn an_event_without_a_handler_is_counted_not_delivered() {
        take_unrouted();
        let router = Router::<Vec<&'static str>>::new();
        let mut log = Vec::new();
        router.quote(&mut log, &quote(5));
        assert_eq!((log.len(), take_unrouted()), (0, 1));
        assert!(!router.takes(EventKind::Quote, Symbol::new(5).unwrap()));
    }

    #[test]
    fn unregistering_gives_the_slot_back_to_the_fallback_in_force() {
        take_unrouted();
        let mut router = Router::new();
        let mut log = Vec::new();
        let symbol = Symbol::new(3).unwrap();
        router.on_quote(symbol, first);
        router.otherwise_quote(other);
        router.quote(&mut log, &quote(3));
        router.quote(&mut log, &quote(4));
        assert!(router.unregister(EventKind::Quote, symbol));
        assert!(!router.unregister(EventKind::Quote, symbol), "twice");
        router.quote(&mut log, &quote(3));
        assert_eq!(log, ["first", "other", "other"]);
        assert!(router.takes(EventKind::Quote, symbol), "by the fallback");
        assert_eq!(take_unrouted(), 0);
    }

    #[test]
    fn the_last_symbol_of_the_table_routes_like_the_first() {
        let mut router = Router::new();
        let mut log = Vec::new();
        for index in [0, SYMBOL_COUNT_MAX - 1] {
            router.on_quote(Symbol::new(index).unwrap(), first);
            router.quote(&mut log, &quote(index));
        }
        assert_eq!(log, ["first", "first"]);
        let takes = |index| router.takes(EventKind::Quote, Symbol::new(index).unwrap());
        assert!(takes(0) && !takes(1) && !takes(SYMBOL_COUNT_MAX - 2) && takes(SYMBOL_COUNT_MAX - 1));
    }

    /// Symbols whose function is not looked up in the table.
    fn near(router: &Router<Vec<&'static str>>) -> Vec<usize> {
        let all = (0..SYMBOL_COUNT_MAX).filter(|&index| router.quotes.is_common[index]);
        all.take(5).collect()
    }

    #[test]
    fn the_function_that_a_strategy_has_for_all_symbols_is_the_common_one_and_others_are_their_symbols_own() {
        let mut router = Router::new();
        assert_eq!(near(&router), [0, 1, 2, 3, 4], "all have the stock fallback");
        for (index, function) in [(1, first as fn(&mut Vec<_>, &Quote)), (3, second), (4, first)] {
            router.on_quote(Symbol::new(index).unwrap(), function);
        }
        assert_eq!(near(&router), [1, 4], "what was registered first");
        router.otherwise_quote(other);
        assert_eq!(near(&router), [0, 2, 5, 6, 7], "all but those that have their own");
        assert!(router.unregister(EventKind::Quote, Symbol::new(3).unwrap()));
        assert_eq!(near(&router), [0, 2, 3, 5, 6]);
        router.otherwise_quote(second);
        assert_eq!(near(&router), [0, 2, 3, 5, 6]);
        let mut log = Vec::new();
        (0..6).for_each(|index| router.quote(&mut log, &quote(index)));
        assert_eq!(log, ["second", "first", "second", "second", "first", "second"]);
    }

    proptest! {
        #[test]
        fn any_sequence_of_registrations_routes_as_a_map_would(steps in proptest::collection::vec((0_usize..40, 0_u8..7), 1..200)) {
            let mut router = Router::new();
            let mut map: HashMap<usize, &'static str> = HashMap::new();
            let mut otherwise = "";
            take_unrouted();
            for (index, step) in steps {
                let symbol = Symbol::new(index).unwrap();
                match step {
                    0 => { router.on_quote(symbol, first); map.insert(index, "first"); }
                    1 => { router.on_quote(symbol, second); map.insert(index, "second"); }
                    4 => { router.otherwise_quote(second); otherwise = "second"; }
                    5 => { router.otherwise_quote(other); otherwise = "other"; }
                    2 => { prop_assert_eq!(router.unregister(EventKind::Quote, symbol), map.remove(&index).is_some()); }
                    _ => {
                        let mut log = Vec::new();
                        router.quote(&mut log, &quote(index));
                        log.insert(0, "");
                        let expected = map.get(&index).copied().unwrap_or(otherwise);
                        // Before there is a fallback of the strategy's, an event without a handler is counted.
                        prop_assert_eq!(log.last(), Some(&expected));
                        prop_assert_eq!(take_unrouted(), u64::from(expected.is_empty()));
                    }
                }
                prop_assert_eq!(router.registered_count(EventKind::Quote), map.len());
                prop_assert!(!router.takes(EventKind::Trade, symbol));
                prop_assert_eq!(router.takes(EventKind::Quote, symbol), map.contains_key(&index) || !otherwise.is_empty());
            }
        }
    }
}
