//! The second, independent keeping of a book: plain maps from `serde_json` texts, no rule, no limit, no known range.
//!
//! Prices and quantities are whole numbers at ten decimals, read here from their text.

use serde_json::Value;
use std::collections::BTreeMap;

/// Decimals of every number here.
pub(crate) const SCALE: usize = 10;

/// A price or quantity text as a whole number at [`SCALE`] decimals.
pub(crate) fn number(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= SCALE, "{text}");
    format!("{whole}{fraction:0<SCALE$}").parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// (price, quantity).
pub(crate) type Pair = (i128, i128);

/// A book as two maps by price.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rebuild {
    pub(crate) bids: BTreeMap<i128, i128>,
    pub(crate) asks: BTreeMap<i128, i128>,
}

impl Rebuild {
    /// Levels are arrays whose first two members are texts.
    pub(crate) fn apply(&mut self, bids: &Value, asks: &Value) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in levels.as_array().into_iter().flatten() {
                let (price, qty) = (number(level[0].as_str().unwrap()), number(level[1].as_str().unwrap()));
                if qty == 0 {
                    side.remove(&price);
                } else {
                    side.insert(price, qty);
                }
            }
        }
    }

    /// The bids, best first.
    pub(crate) fn bids(&self) -> impl Iterator<Item = Pair> + '_ {
        self.bids.iter().rev().map(|(&price, &qty)| (price, qty))
    }

    /// The asks, best first.
    pub(crate) fn asks(&self) -> impl Iterator<Item = Pair> + '_ {
        self.asks.iter().map(|(&price, &qty)| (price, qty))
    }
}
