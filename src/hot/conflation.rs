//! Quotes that wait for what lies behind them: of each symbol only the newest is delivered.
//!
//! ```text
//! one visit: q(A,1) t(A) q(B,1) q(A,2) b(A) ─► t(A) b(A) q(A,2) q(B,1)       1 folded
//! ```
//! Only where `conflate_quotes` is set, and only what is received and opened already: nothing is waited for. A quote behind
//! which nothing whole lies is delivered at once. A held one is delivered when the visit to its socket has no more: behind the
//! trades, books and other events of that visit, whose order among themselves stays. Allocates in `new` alone.

use crate::limits::{HELD_QUOTE_COUNT_MAX, SYMBOL_COUNT_MAX};
use crate::market::{Quote, Symbol, touch};

/// No quote of the symbol is held.
const NONE: u16 = u16::MAX;

const _: () = assert!(HELD_QUOTE_COUNT_MAX < NONE as usize, "a place is a u16, and one value is left over");

/// The quotes that are held on one core.
///
/// Invariant: `places[symbol]` is the place of the symbol's quote in `held` from `next` on, or `NONE`.
pub(super) struct Conflation {
    held: Vec<Quote>,
    next: usize,
    places: Box<[u16]>,
}

/// What became of a quote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Held {
    /// It waits.
    New,
    /// It waits in the place of an older one, which is folded into it.
    Replacing,
    /// There is no room: it is to be delivered now.
    Full,
}

impl Conflation {
    pub(super) fn new() -> Self {
        Self {
            held: touch::vec(HELD_QUOTE_COUNT_MAX),
            next: 0,
            places: vec![NONE; SYMBOL_COUNT_MAX].into_boxed_slice(),
        }
    }

    /// True while none is held.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn place(&mut self, symbol: Symbol) -> &mut u16 {
        &mut self.places[symbol.index()]
    }

    /// Holds a quote, the newest of its symbol.
    pub(super) fn hold(&mut self, quote: &Quote) -> Held {
        let count = self.held.len();
        let place = self.place(quote.meta.symbol);
        if *place != NONE {
            let at = usize::from(*place);
            self.held[at] = *quote;
            return Held::Replacing;
        }
        let Some(at) = u16::try_from(count).ok().filter(|_| count < HELD_QUOTE_COUNT_MAX) else { return Held::Full };
        *place = at;
        self.held.push(*quote);
        Held::New
    }

    /// Takes the next one, in the order in which their symbols were first held.
    pub(super) fn take(&mut self) -> Option<Quote> {
        let Some(quote) = self.held.get(self.next).copied() else {
            self.held.clear();
            self.next = 0;
            return None;
        };
        self.next += 1;
        *self.place(quote.meta.symbol) = NONE;
        Some(quote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Level, Meta, Received};
    use proptest::prelude::*;

    fn quote(symbol: usize, update_id: u64) -> Quote {
        let symbol = Symbol::new(symbol).unwrap();
        let meta = Meta { symbol, received: Received::default(), event_time: None, matching_time: None };
        Quote { meta, bid: Level::default(), ask: Level::default(), update_id, sequence: None }
    }

    #[test]
    fn where_no_room_is_left_only_held_symbols_are_held_on() {
        let mut conflation = Conflation::new();
        for symbol in 0..HELD_QUOTE_COUNT_MAX {
            assert_eq!(conflation.hold(&quote(symbol, 1)), Held::New);
        }
        assert_eq!(conflation.hold(&quote(HELD_QUOTE_COUNT_MAX, 1)), Held::Full);
        assert_eq!(conflation.hold(&quote(7, 2)), Held::Replacing);
        let taken: Vec<_> = std::iter::from_fn(|| conflation.take()).collect();
        assert_eq!(taken.len(), HELD_QUOTE_COUNT_MAX);
        assert_eq!(taken[7].update_id, 2);
        assert!(conflation.is_empty());
        assert_eq!(conflation.hold(&quote(HELD_QUOTE_COUNT_MAX, 2)), Held::New);
    }

    proptest! {
        #[test]
        fn of_any_quotes_the_newest_of_each_symbol_comes_out_once_and_the_others_are_counted(
            visits in proptest::collection::vec(proptest::collection::vec(0_usize..20, 0..60), 1..6)
        ) {
            let (mut conflation, mut number) = (Conflation::new(), 0);
            for visit in visits {
                let (mut newest, mut order, mut folded) = (std::collections::BTreeMap::new(), Vec::new(), 0);
                for symbol in &visit {
                    number += 1;
                    let held = conflation.hold(&quote(*symbol, number));
                    if newest.insert(*symbol, number).is_none() {
                        prop_assert_eq!(held, Held::New);
                        order.push(*symbol);
                    } else {
                        prop_assert_eq!(held, Held::Replacing);
                        folded += 1;
                    }
                }
                let taken: Vec<_> = std::iter::from_fn(|| conflation.take()).collect();
                prop_assert_eq!(taken.len() + folded, visit.len());
                let expected: Vec<_> = order.iter().map(|symbol| quote(*symbol, newest[symbol])).collect();
                prop_assert_eq!(taken, expected);
            }
        }
    }
}
