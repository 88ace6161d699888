//! Bybit's tickers, whole: a snapshot, then deltas in which an absent member means "unchanged".
//!
//! ```text
//! symbol ──places──► 1-based place ──tickers──► the ticker as merged so far on this connection
//! ```
//! Merged per connection, not per core: of two connections that carry the same symbol the slower one would otherwise
//! put old values back. Forgotten when the connection starts anew.

use super::shapes::ticker;
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{Decimal, Meta, Symbol, Ticker, TickerFields};
use crate::venue::fields::{Listed, decimal, price, qty, time};
use crate::venue::number::{Number, parse_uint};
use crate::venue::shape::Slots;
use crate::venue::{DecodeError, Reason};

/// Ticker topics that one connection can carry: 21,000 characters of arguments, none shorter than `tickers.X`. Beyond
/// it (a venue that raises its limit) the list grows once, where the snapshot comes.
const TICKER_COUNT: usize = 21_000 / "tickers.X".len();

/// The tickers of one connection.
#[derive(Debug)]
pub(super) struct Tickers {
    /// Place in `tickers` plus one, by symbol; 0 before its snapshot.
    places: Box<[u16]>,
    /// Reserved, not touched, until symbols come.
    tickers: Vec<Ticker>,
}

impl Tickers {
    pub(super) fn new() -> Self {
        Self { places: vec![0; SYMBOL_COUNT_MAX].into_boxed_slice(), tickers: Vec::with_capacity(TICKER_COUNT) }
    }

    /// Forgets every snapshot.
    pub(super) fn clear(&mut self) {
        self.places.fill(0);
        self.tickers.clear();
    }

    /// Merges one message into what is known of its symbol. A message that is refused changes nothing.
    ///
    /// # Errors
    /// [`Reason::NoSnapshot`] for a delta without a snapshot before it; a value's own error.
    pub(super) fn merge(
        &mut self,
        slots: &Slots<'_>,
        is_snapshot: bool,
        sequence: Option<u64>,
        meta: Meta,
        listed: Listed,
    ) -> Result<&Ticker, DecodeError> {
        let place = usize::from(self.places[listed.symbol.index()]);
        let known = place.checked_sub(1).and_then(|place| self.tickers.get(place));
        let mut merged = match known {
            _ if is_snapshot => Ticker::unknown(meta),
            Some(known) => Ticker { meta, changed: TickerFields::NONE, ..*known },
            None => return Err(DecodeError::new(Reason::NoSnapshot, "type")),
        };
        merged.sequence = sequence;
        apply(&mut merged, slots, listed)?;
        Ok(self.keep(listed.symbol, merged))
    }

    fn keep(&mut self, symbol: Symbol, merged: Ticker) -> &Ticker {
        let place = &mut self.places[symbol.index()];
        if *place == 0 {
            self.tickers.push(merged);
            // At most SYMBOL_COUNT_MAX places, which limits.rs holds below u16::MAX.
            *place = u16::try_from(self.tickers.len()).unwrap_or(u16::MAX);
        }
        let kept = &mut self.tickers[usize::from(*place) - 1];
        *kept = merged;
        kept
    }
}

/// Writes what the message carries. An empty text takes a value back to "not known".
fn apply(merged: &mut Ticker, slots: &Slots<'_>, listed: Listed) -> Result<(), DecodeError> {
    let mut fields = Fields { changed: TickerFields::NONE, cleared: TickerFields::NONE, slots };
    if let Some(text) = fields.text(ticker::LAST_PRICE, TickerFields::LAST_PRICE) {
        merged.last_price = price(Number::unread(text), listed, "lastPrice")?;
    }
    if let Some(text) = fields.text(ticker::BID_PRICE, TickerFields::BID) {
        merged.bid.price = price(Number::unread(text), listed, "bid1Price")?;
    }
    if let Some(text) = fields.text(ticker::BID_QTY, TickerFields::BID) {
        merged.bid.qty = qty(Number::unread(text), listed, "bid1Size")?;
    }
    if let Some(text) = fields.text(ticker::ASK_PRICE, TickerFields::ASK) {
        merged.ask.price = price(Number::unread(text), listed, "ask1Price")?;
    }
    if let Some(text) = fields.text(ticker::ASK_QTY, TickerFields::ASK) {
        merged.ask.qty = qty(Number::unread(text), listed, "ask1Size")?;
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
    if let Some(text) = fields.text(ticker::NEXT_FUNDING_TIME, TickerFields::NEXT_FUNDING_TIME) {
        let ms = parse_uint(text).ok_or(DecodeError::new(Reason::BadNumber, "nextFundingTime"))?;
        merged.next_funding_time = time(ms, "nextFundingTime")?;
    }
    if slots.has_other {
        fields.changed |= TickerFields::OTHER;
    }
    merged.changed = fields.changed;
    merged.known = TickerFields((merged.known.0 & !fields.cleared.0) | (fields.changed.0 & !fields.cleared.0));
    Ok(())
}

/// What one message changed so far.
struct Fields<'s, 'a> {
    changed: TickerFields,
    cleared: TickerFields,
    slots: &'s Slots<'a>,
}

impl<'a> Fields<'_, 'a> {
    /// The member's text, if it is there and not empty.
    fn text(&mut self, slot: usize, field: TickerFields) -> Option<&'a [u8]> {
        if !self.slots.has(slot) {
            return None;
        }
        self.changed |= field;
        let text = self.slots.text(slot);
        if text.is_empty() {
            self.cleared |= field;
            return None;
        }
        Some(text)
    }

    fn decimal(&mut self, slot: usize, field: TickerFields, place: &mut Decimal) -> Result<(), DecodeError> {
        if let Some(text) = self.text(slot, field) {
            *place = decimal(text, ticker::MEMBERS[slot].key)?;
        }
        Ok(())
    }
}
