//! What became of an array's elements that stand each for itself: Binance's whole market in one message.
//!
//! ```text
//! elements   BTCUSDT   XRPUSDT          ETHUSDT
//! outcomes   None      UnknownSymbol    None         one a byte, for every element
//! events     BTCUSDT                    ETHUSDT      of the symbols that somebody asked for
//! ```
//! Filled by tier one while it walks, given to the sink when the last byte was as expected. Allocates in `new` alone.

use super::row::Row;
use super::{DecodeError, Reason, Reasons, Sink};
use crate::market::touch;

/// Tickers of one message that the expected-shape scanner takes. Spot lists some 3,500 symbols, about half of them halted, and an
/// array has those that changed; USD-M lists some 900 with the family that shares its arrays.
pub(super) const TICKER_COUNT_MAX: usize = 4_096;

/// Mark prices of one message that it takes: USD-M's alone.
pub(super) const MARK_PRICE_COUNT_MAX: usize = 2_048;

/// The elements of one array, in their order.
///
/// Invariant: as many events as outcomes that are none, and at most `count_max` outcomes.
#[derive(Debug)]
pub(super) struct Elements<E> {
    count_max: usize,
    /// Why an element has no event; of one that has, nothing.
    outcomes: Vec<Option<Reason>>,
    refused: Reasons,
    events: Row<E>,
}

impl<E> Elements<E> {
    /// Room for so many.
    pub(super) fn new(count_max: usize) -> Self {
        Self { count_max, outcomes: touch::vec(count_max), refused: Reasons::default(), events: Row::new(count_max) }
    }

    /// No element yet.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.outcomes.clear();
        self.refused = Reasons::default();
        self.events.clear();
    }

    /// Where the next element's event is to be built; `None` where there is no room for it.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<&mut Option<E>> {
        self.events.next()
    }

    /// What the next element became. `None`, and nothing changed, where there is no room for it.
    #[inline(always)]
    pub(super) fn push(&mut self, built: Result<(), DecodeError>) -> Option<()> {
        if self.outcomes.len() >= self.count_max {
            return None;
        }
        let refusal = built.err().map(|error| error.reason);
        match refusal {
            Some(reason) => self.refused.insert(reason),
            None => self.events.keep(),
        }
        self.outcomes.push(refusal);
        Some(())
    }

    /// Why those that have no event have none.
    pub(super) fn refused(&self) -> Reasons {
        self.refused
    }

    /// Gives all of them to a sink, events by `give`.
    pub(super) fn give<S: Sink>(&self, sink: &mut S, give: fn(&mut S, &E)) {
        let mut events = self.events.iter();
        for outcome in &self.outcomes {
            match outcome {
                Some(reason) => sink.refused(*reason),
                None => events.next().into_iter().for_each(|event| give(sink, event)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_order_and_the_one_that_has_no_room_changes_nothing() {
        let mut elements = Elements::new(3);
        let built = |elements: &mut Elements<u8>, event| {
            *elements.next()? = Some(event);
            elements.push(Ok(()))
        };
        let refused = |elements: &mut Elements<u8>| {
            // What was begun before its error was found.
            *elements.next()? = Some(0);
            elements.push(Err(DecodeError::new(Reason::UnknownSymbol, "s")))
        };
        for _ in 0..2 {
            elements.clear();
            assert_eq!(elements.refused(), Reasons::default());
            assert_eq!([built(&mut elements, 5), refused(&mut elements), built(&mut elements, 7)], [Some(()); 3]);
            assert_eq!([built(&mut elements, 9), refused(&mut elements)], [None; 2]);
            assert_eq!(elements.refused().iter().collect::<Vec<_>>(), [Reason::UnknownSymbol]);
            assert_eq!(elements.events.iter().copied().collect::<Vec<_>>(), [5, 7]);
            assert_eq!(elements.outcomes, [None, Some(Reason::UnknownSymbol), None]);
        }
    }
}
