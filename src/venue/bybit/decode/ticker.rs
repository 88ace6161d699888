//! Bybit's tickers, whole: a snapshot, then deltas in which an absent member means "unchanged".
//!
//! ```text
//! symbol ──places──► 1-based place ──tickers──► the ticker as merged so far on this connection
//!                                      spare──► the one that is being merged: a copy of what is known, then changed; kept, it is
//!                                               the symbol's, and the one that was the symbol's is the spare
//! ```
//! Merged per connection, not per core: of two connections that carry the same symbol the slower one would otherwise
//! put old values back. Forgotten when the connection starts anew.

use super::shapes::ticker;
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{Decimal, Meta, Ticker, TickerFields};
use crate::venue::fields::{Listed, decimal, price, qty, time};
use crate::venue::isa::Isa;
use crate::venue::number::Number;
use crate::venue::shape::Slots;
use crate::venue::{DecodeError, Reason};

/// Ticker topics that one connection can carry: 21,000 characters of arguments, none shorter than `tickers.X`. Beyond
/// it (a venue that raises its limit) the list grows once, where the snapshot comes.
const TICKER_COUNT: usize = 21_000 / "tickers.X".len();

/// The tickers of one connection.
///
/// Invariant: no symbol's place is the spare's, which is among `tickers` or just behind them.
#[derive(Debug)]
pub(super) struct Tickers {
    /// Place in `tickers` plus one, by symbol; 0 before its snapshot.
    places: Box<[u16]>,
    /// Reserved, not touched, until symbols come.
    tickers: Vec<Ticker>,
    spare: usize,
    /// Whether the spare is a ticker that was merged and not kept yet.
    is_merged: bool,
}

impl Tickers {
    pub(super) fn new() -> Self {
        Self {
            places: vec![0; SYMBOL_COUNT_MAX].into_boxed_slice(),
            tickers: Vec::with_capacity(TICKER_COUNT + 1),
            spare: 0,
            is_merged: false,
        }
    }

    /// Forgets every snapshot.
    pub(super) fn clear(&mut self) {
        self.places.fill(0);
        self.tickers.clear();
        self.spare = 0;
        self.is_merged = false;
    }

    /// Forgets what an attempt left that nobody kept.
    #[inline(always)]
    pub(super) fn restart(&mut self) {
        self.is_merged = false;
    }

    /// What is known of a symbol once this message is merged into it; nothing is kept yet. Times and the sequence are the caller's
    /// to fill in.
    ///
    /// # Errors
    /// [`Reason::NoSnapshot`] for a delta without a snapshot before it; a value's own error.
    #[inline(always)]
    pub(super) fn merge<I: Isa>(
        &mut self,
        slots: &Slots<'_>,
        is_snapshot: bool,
        meta: Meta,
        listed: Listed<I>,
    ) -> Result<&mut Ticker, DecodeError> {
        self.is_merged = false;
        let place = usize::from(self.places[listed.symbol.index()]);
        match place.checked_sub(1).filter(|_| !is_snapshot) {
            // Both are there: a symbol's place was a spare once.
            Some(known_at) if self.spare < self.tickers.len() => {
                self.tickers.copy_within(known_at..=known_at, self.spare)
            }
            Some(known_at) => self.tickers.extend_from_within(known_at..=known_at),
            None if !is_snapshot => return Err(DecodeError::new(Reason::NoSnapshot, "type")),
            None => match self.tickers.get_mut(self.spare) {
                Some(spare) => *spare = Ticker::unknown(meta),
                None => self.tickers.push(Ticker::unknown(meta)),
            },
        }
        let merged = &mut self.tickers[self.spare];
        merged.meta = meta;
        apply(merged, slots, listed)?;
        self.is_merged = true;
        Ok(merged)
    }

    /// This message's, if it was merged.
    #[inline(always)]
    pub(super) fn merged_mut(&mut self) -> Option<&mut Ticker> {
        self.tickers.get_mut(self.spare).filter(|_| self.is_merged)
    }

    /// Keeps this message's for the next change: it is what is known of its symbol now.
    #[inline(always)]
    pub(super) fn keep(&mut self) -> Option<&Ticker> {
        let merged_at = self.spare;
        let merged = self.tickers.get(merged_at).filter(|_| self.is_merged)?;
        let place = &mut self.places[merged.meta.symbol.index()];
        self.spare = if *place == 0 { self.tickers.len() } else { usize::from(*place) - 1 };
        // At most one more than SYMBOL_COUNT_MAX, which limits.rs holds below u16::MAX.
        *place = u16::try_from(merged_at + 1).unwrap_or(u16::MAX);
        self.is_merged = false;
        Some(merged)
    }
}

/// Writes what the message carries. An empty text takes a value back to "not known". A side of the touch becomes known by a
/// message with both its price and its size: with one of them the other would be zero, or what an emptied side had before.
#[inline(always)]
fn apply<I: Isa>(merged: &mut Ticker, slots: &Slots<'_>, listed: Listed<I>) -> Result<(), DecodeError> {
    let mut fields = Fields { isa: listed.isa, changed: TickerFields::NONE, cleared: TickerFields::NONE, slots };
    if let Some(number) = fields.number(ticker::LAST_PRICE, TickerFields::LAST_PRICE) {
        merged.last_price = price(number, listed, "lastPrice")?;
    }
    if let Some(number) = fields.number(ticker::BID_PRICE, TickerFields::BID) {
        merged.bid.price = price(number, listed, "bid1Price")?;
    }
    if let Some(number) = fields.number(ticker::BID_QTY, TickerFields::BID) {
        merged.bid.qty = qty(number, listed, "bid1Size")?;
    }
    if let Some(number) = fields.number(ticker::ASK_PRICE, TickerFields::ASK) {
        merged.ask.price = price(number, listed, "ask1Price")?;
    }
    if let Some(number) = fields.number(ticker::ASK_QTY, TickerFields::ASK) {
        merged.ask.qty = qty(number, listed, "ask1Size")?;
    }
    fields.decimal(ticker::OPEN, TickerFields::OPEN, &mut merged.open)?;
    fields.decimal(ticker::HIGH, TickerFields::HIGH, &mut merged.high)?;
    fields.decimal(ticker::LOW, TickerFields::LOW, &mut merged.low)?;
    fields.decimal(ticker::VOLUME, TickerFields::VOLUME, &mut merged.volume)?;
    fields.decimal(ticker::TURNOVER, TickerFields::TURNOVER, &mut merged.turnover)?;
    fields.decimal(ticker::CHANGE_RATIO, TickerFields::CHANGE_RATIO, &mut merged.change_ratio)?;
    fields.decimal(ticker::MARK_PRICE, TickerFields::MARK_PRICE, &mut merged.mark_price)?;
    fields.decimal(ticker::INDEX_PRICE, TickerFields::INDEX_PRICE, &mut merged.index_price)?;
    fields.decimal(ticker::USD_INDEX_PRICE, TickerFields::INDEX_PRICE, &mut merged.index_price)?;
    fields.decimal(ticker::FUNDING_RATE, TickerFields::FUNDING_RATE, &mut merged.funding_rate)?;
    fields.decimal(ticker::OPEN_INTEREST, TickerFields::OPEN_INTEREST, &mut merged.open_interest)?;
    let value = &mut merged.open_interest_value;
    fields.decimal(ticker::OPEN_INTEREST_VALUE, TickerFields::OPEN_INTEREST_VALUE, value)?;
    if let Some(number) = fields.number(ticker::NEXT_FUNDING_TIME, TickerFields::NEXT_FUNDING_TIME) {
        let ms = number.uint(listed.isa).ok_or(DecodeError::new(Reason::BadNumber, "nextFundingTime"))?;
        merged.next_funding_time = time(ms, "nextFundingTime")?;
    }
    if slots.has_other {
        fields.changed |= TickerFields::OTHER;
    }
    merged.changed = fields.changed;
    let told = fields.changed.0 & !half_sides(slots).0;
    merged.known = TickerFields((merged.known.0 | told) & !fields.cleared.0);
    Ok(())
}

/// The sides of the touch of which this message has a price without a size, or a size without a price.
#[inline(always)]
fn half_sides(slots: &Slots<'_>) -> TickerFields {
    let mut half = TickerFields::NONE;
    if slots.has(ticker::BID_PRICE) != slots.has(ticker::BID_QTY) {
        half |= TickerFields::BID;
    }
    if slots.has(ticker::ASK_PRICE) != slots.has(ticker::ASK_QTY) {
        half |= TickerFields::ASK;
    }
    half
}

/// What one message changed so far.
struct Fields<'s, 'a, I> {
    isa: I,
    changed: TickerFields,
    cleared: TickerFields,
    slots: &'s Slots<'a>,
}

impl<'a, I: Isa> Fields<'_, 'a, I> {
    /// The member's number, if it is there and not empty.
    #[inline(always)]
    fn number(&mut self, slot: usize, field: TickerFields) -> Option<Number<'a>> {
        let number = self.slots.number_if(slot)?;
        self.changed |= field;
        if number.text().is_empty() {
            self.cleared |= field;
            return None;
        }
        Some(number)
    }

    #[inline(always)]
    fn decimal(&mut self, slot: usize, field: TickerFields, place: &mut Decimal) -> Result<(), DecodeError> {
        if let Some(number) = self.number(slot, field) {
            decimal(number, self.isa, place, ticker::MEMBERS[slot].key)?;
        }
        Ok(())
    }
}
