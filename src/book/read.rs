//! What a strategy asks of a book, each with an answer for "that is not known".

use super::levels::Book;
use crate::market::{Level, Price, Qty, Side};

/// An answer, or that it cannot be told: what it depends on lies beyond what the snapshot covered, or was cut by the depth
/// kept. *Unknown* is not *empty*.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Known<T> {
    /// It is this.
    Known(T),
    /// It cannot be told from what has come so far.
    Unknown,
}

impl<T> Known<T> {
    /// The answer, if there is one.
    #[inline]
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown => None,
        }
    }

    /// True if it cannot be told.
    #[inline]
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    #[inline]
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Known(value) => Known::Known(change(value)),
            Self::Unknown => Known::Unknown,
        }
    }
}

/// How many of the best levels were written, and what is behind them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Top {
    /// Levels written, best first. Nothing is missing between them.
    pub count: usize,
    /// True if fewer were written than there was room for because what is behind them is not known; false if there are no
    /// others, or as many as asked.
    pub is_cut: bool,
}

/// What a taker's order of some quantity would meet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Filled {
    /// The worst price it would reach.
    pub price: Price,
    /// What it would be worth: the sum of price times quantity, a mantissa at the price's and the quantity's scale together.
    pub notional: i128,
    /// Levels it would touch.
    pub level_count: usize,
}

impl Book {
    /// The best level of a side: the highest bid or the lowest ask. `Known(None)`: the side is empty.
    #[inline]
    #[must_use]
    pub fn best(&self, side: Side) -> Known<Option<Level>> {
        let ladder = self.side(side);
        match ladder.best_held() {
            Some(level) if ladder.is_known(level.price) => Known::Known(Some(level)),
            None if ladder.is_whole() => Known::Known(None),
            Some(_) | None => Known::Unknown,
        }
    }

    /// The best bid.
    #[inline]
    #[must_use]
    pub fn best_bid(&self) -> Known<Option<Level>> {
        self.best(Side::Buy)
    }

    /// The best ask.
    #[inline]
    #[must_use]
    pub fn best_ask(&self) -> Known<Option<Level>> {
        self.best(Side::Sell)
    }

    /// The levels of a side from the best to the end of the known range, best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = Level> + '_ {
        let ladder = self.side(side);
        ladder.iter().take_while(|level| ladder.is_known(level.price))
    }

    /// All levels of a side that are held, best first: those beyond the known range come last, and between them others may
    /// be missing.
    pub fn held(&self, side: Side) -> impl Iterator<Item = Level> + '_ {
        self.side(side).iter()
    }

    /// How far a side is known from its best: to this price, or, with `Known(None)`, to its end. `Unknown`: not at all.
    #[must_use]
    pub fn known_to(&self, side: Side) -> Known<Option<Price>> {
        let ladder = self.side(side);
        match ladder.known_to() {
            None if !ladder.is_whole() => Known::Unknown,
            price => Known::Known(price),
        }
    }

    /// Writes the best levels of a side, best first, as many as there is room for and are known.
    #[inline]
    pub fn top(&self, side: Side, out: &mut [Level]) -> Top {
        let count = self.side(side).copy_known(out);
        Top { count, is_cut: count < out.len() && !self.side(side).is_whole() }
    }

    /// The quantity at a price: zero if there is no level.
    #[must_use]
    pub fn qty_at(&self, side: Side, price: Price) -> Known<Qty> {
        let ladder = self.side(side);
        if ladder.is_known(price) {
            Known::Known(ladder.find(price).map_or(Qty::ZERO, |level| level.qty))
        } else {
            Known::Unknown
        }
    }

    /// The quantity of all levels from the best to this price, itself included: a mantissa at the quantity's scale.
    #[must_use]
    pub fn qty_to(&self, side: Side, price: Price) -> Known<i128> {
        let ladder = self.side(side);
        if !ladder.is_known(price) {
            return Known::Unknown;
        }
        let is_within = |level: &Level| match side {
            Side::Buy => level.price >= price,
            Side::Sell => level.price <= price,
        };
        Known::Known(ladder.iter().take_while(is_within).map(|level| i128::from(level.qty.mantissa())).sum())
    }

    /// What an order of this quantity would meet on a side. `Known(None)`: the whole side has less. Nothing is met by nothing:
    /// a quantity of zero or less reaches the best level and is worth nothing.
    #[must_use]
    pub fn price_for(&self, side: Side, qty: Qty) -> Known<Option<Filled>> {
        let (mut missing, mut notional, mut level_count) = (i128::from(qty.mantissa()).max(0), 0_i128, 0);
        for level in self.levels(side) {
            let taken = missing.min(i128::from(level.qty.mantissa()));
            notional += taken * i128::from(level.price.mantissa());
            missing -= taken;
            level_count += 1;
            if missing == 0 {
                return Known::Known(Some(Filled { price: level.price, notional, level_count }));
            }
        }
        if self.side(side).is_whole() { Known::Known(None) } else { Known::Unknown }
    }

    /// How much heavier the bids are than the asks among the best `levels` of each: from 1 (bids only) to -1 (asks only).
    /// `Known(None)`: there is nothing on either side. A ratio for people and signals: not exact.
    #[must_use]
    pub fn imbalance(&self, levels: usize) -> Known<Option<f64>> {
        let (Known::Known(bids), Known::Known(asks)) =
            (self.qty_of(Side::Buy, levels), self.qty_of(Side::Sell, levels))
        else {
            return Known::Unknown;
        };
        #[expect(clippy::cast_precision_loss, reason = "a ratio, said to be inexact")]
        let ratio = |part: i128, whole: i128| part as f64 / whole as f64;
        Known::Known((bids + asks > 0).then(|| ratio(bids - asks, bids + asks)))
    }

    /// The quantity of the best `levels` of a side.
    fn qty_of(&self, side: Side, levels: usize) -> Known<i128> {
        let (mut sum, mut count) = (0, 0);
        for level in self.levels(side).take(levels) {
            sum += i128::from(level.qty.mantissa());
            count += 1;
        }
        if count == levels || self.side(side).is_whole() { Known::Known(sum) } else { Known::Unknown }
    }

    /// How far apart the best are, a mantissa at the price's scale; zero or less where the book is locked or crossed.
    /// `Known(None)`: a side is empty.
    #[must_use]
    pub fn spread(&self) -> Known<Option<i128>> {
        let Known::Known(bid) = self.best_bid() else { return Known::Unknown };
        self.best_ask().map(|ask| {
            bid.zip(ask).map(|(bid, ask)| i128::from(ask.price.mantissa()) - i128::from(bid.price.mantissa()))
        })
    }
}
