//! `null`: takes every event and does nothing, to measure the way to a handler.

use crate::hot::{Router, Strategy};
use crate::market::SymbolSpec;

fn ignore<E: ?Sized>(_state: &mut (), _event: &E) {}

fn on_symbol(_state: &mut (), router: &mut Router<()>, spec: &SymbolSpec) {
    let symbol = spec.symbol;
    router.on_trade(symbol, ignore);
    router.on_agg_trade(symbol, ignore);
    router.on_quote(symbol, ignore);
    router.on_ticker(symbol, ignore);
    router.on_book_delta(symbol, |_, _| {});
    router.on_book(symbol, |_, _| {});
    router.on_kline(symbol, ignore);
    router.on_mark_price(symbol, ignore);
    router.on_liquidation(symbol, ignore);
    router.on_gap(symbol, ignore);
}

/// The strategy `null`.
#[must_use]
pub fn null() -> Strategy<()> {
    Strategy { state: (), on_symbol }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{EventKind, Symbol, Venue};

    #[test]
    fn every_kind_of_event_has_a_handler() {
        let mut router = Router::new();
        let spec = SymbolSpec {
            symbol: Symbol::new(9).unwrap(),
            venue: Venue::BybitSpot,
            name: "BTCUSDT".into(),
            price_scale: 1,
            qty_scale: 6,
            instrument: None,
        };
        on_symbol(&mut (), &mut router, &spec);
        for kind in EventKind::ALL {
            assert_eq!(router.registered_count(kind), 1, "{kind:?}");
        }
    }
}
