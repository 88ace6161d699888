//! A book in the words of the outputs: exact decimal texts at its symbol's scales.

use crate::book::BookCopy;
use crate::market::{Level, SymbolSpec};
use crate::telemetry::BookReport;

/// A copy as text; `None`: the core did not give one.
pub(in super::super) fn report_of(spec: &SymbolSpec, copy: Option<&BookCopy>) -> BookReport {
    let empty = BookReport {
        venue: spec.venue.name().to_owned(),
        symbol: spec.name.to_string(),
        state: "unread".to_owned(),
        ..BookReport::default()
    };
    let Some((copy, state)) = copy.and_then(|copy| Some((copy, copy.state?))) else { return empty };
    let texts = |levels: &[Level]| {
        let text = |level: &Level| {
            [level.price.at_scale(spec.price_scale).to_string(), level.qty.at_scale(spec.qty_scale).to_string()]
        };
        levels.iter().map(text).collect()
    };
    BookReport {
        state: state.name().to_owned(),
        reason: state.reason().map(|reason| reason.name().to_owned()),
        sequence: copy.ids.map(|ids| ids.last),
        bids: texts(&copy.bids),
        asks: texts(&copy.asks),
        bids_known: copy.bids_known,
        asks_known: copy.asks_known,
        ..empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{BookState, Price, Qty, SequenceIds, StaleReason, SymbolTable, Venue};

    #[test]
    fn a_book_is_one_line_of_exact_texts() {
        let mut table = SymbolTable::default();
        let symbol = table.add(Venue::BinanceSpot, "BTCUSDT", 2, 5, None).unwrap();
        let spec = table.spec(symbol).unwrap();
        let level = |price, qty| Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) };
        let mut copy = BookCopy::new(symbol, 2);
        copy.state = Some(BookState::Live);
        copy.ids = Some(SequenceIds { first: 7, last: 9, ..SequenceIds::default() });
        (copy.bids, copy.bids_known) = (vec![level(6_183_763, 378_826), level(5, 1)], 1);
        let line = serde_json::to_string(&report_of(spec, Some(&copy))).unwrap();
        let expected = r#"{"venue":"binance-spot","symbol":"BTCUSDT","state":"live","sequence":9,"bids":[["61837.63","3.78826"],["0.05","0.00001"]],"asks":[],"bids_known":1,"asks_known":0}"#;
        assert_eq!(line, expected);
        copy.state = Some(BookState::Stale(StaleReason::Gap));
        let stale = report_of(spec, Some(&copy));
        assert_eq!((stale.state.as_str(), stale.reason.as_deref()), ("stale", Some("gap")));
        assert_eq!(report_of(spec, None).state, "unread");
        assert_eq!(
            serde_json::from_str::<BookReport>(&line).unwrap(),
            report_of(
                spec,
                Some(&{
                    copy.state = Some(BookState::Live);
                    copy
                })
            )
        );
    }
}
