//! From slots to values: what every venue's builders share.
//!
//! Slots hold what a message says; these functions say what it means (a grid price, a time, a symbol), and name the
//! member where it means nothing. Called by the builders of both tiers; allocates nothing.

use super::isa::{Isa, Portable, WINDOW, fetch_one};
use super::number::Number;
use super::shape::{Named, Slots};
use super::tape::Document;
use super::{DecodeError, Reason};
use crate::limits::LEVEL_COUNT_MAX;
use crate::market::{Decimal, Level, Meta, Price, Qty, Received, Symbol, SymbolIndex, VenueTime};

/// What is known of a message besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Where it was written once, for all messages of a read: what is copied into an event just after it was written there
    /// word by word makes the copy wait.
    pub(super) received: &'a Received,
    /// Those of the message's venue.
    pub(super) symbols: &'a SymbolIndex,
}

/// [`Known`], and how bytes are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a, I = Portable> {
    pub(super) isa: I,
    pub(super) known: &'a Known<'a>,
    /// Bytes of the symbol's name, most probably; 0 where nothing says so.
    pub(super) name_length: usize,
    /// Where the symbols' index most probably has it; 0 where nothing says so.
    pub(super) place: usize,
}

/// A symbol and its scales, and how its numbers are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed<I> {
    pub(super) isa: I,
    pub(super) symbol: Symbol,
    pub(super) price_scale: u8,
    pub(super) qty_scale: u8,
}

impl<'c, I: Isa> Context<'c, I> {
    /// Of a message of which nothing is known yet.
    #[inline(always)]
    pub(super) fn new(isa: I, known: &'c Known<'c>) -> Self {
        Self { isa, known, name_length: 0, place: 0 }
    }

    /// The symbol of the name in a slot: as the walk has found it out, for a shape has one name.
    #[inline(always)]
    pub(super) fn listed_in(
        &self,
        slots: &Slots<'_>,
        slot: usize,
        field: &'static str,
    ) -> Result<Listed<I>, DecodeError> {
        match slots.named {
            Named::Found(symbol, (price_scale, qty_scale)) => {
                Ok(Listed { isa: self.isa, symbol, price_scale, qty_scale })
            }
            Named::Near(place) => self.listed_at(place, slots.number(slot), field),
        }
    }

    /// The symbol of this name.
    #[inline(always)]
    pub(super) fn listed(&self, name: Number<'_>, field: &'static str) -> Result<Listed<I>, DecodeError> {
        self.listed_at(self.fetch(name), name, field)
    }

    #[inline(always)]
    fn listed_at(&self, place: usize, name: Number<'_>, field: &'static str) -> Result<Listed<I>, DecodeError> {
        let found = self.known.symbols.find_packed_at(place, name.key(self.isa), name.text());
        let (symbol, (price_scale, qty_scale)) = found.ok_or(DecodeError::new(Reason::UnknownSymbol, field))?;
        Ok(Listed { isa: self.isa, symbol, price_scale, qty_scale })
    }

    /// What is known of this name, which a walk has just come over; `None` where nothing is.
    #[inline(always)]
    pub(super) fn known_as(&self, name: Number<'_>) -> Option<Named> {
        let (symbol, scales) = self.known.symbols.find_packed_at(self.fetch(name), name.key(self.isa), name.text())?;
        Some(Named::Found(symbol, scales))
    }

    /// The bytes of the name at this window's beginning, fifteen at most, and what is known of it, if it is where the index most probably
    /// has it: then nothing but that and its closing quote has to be looked at.
    #[inline(always)]
    pub(super) fn known_ahead(&self, window: &[u8; WINDOW]) -> Option<(usize, Named)> {
        let length = self.name_length;
        let known = self.known.symbols.plain_at(self.place, length)?;
        let is_here = window.get(length) == Some(&b'"') && self.isa.is_key(window, length, known.key());
        let (symbol, scales) = known.listed();
        is_here.then_some((length, Named::Found(symbol, scales)))
    }

    /// Where it is to be looked up later.
    #[inline(always)]
    pub(super) fn fetched(&self, name: Number<'_>) -> Named {
        Named::Near(self.fetch(name))
    }

    /// Where [`Self::listed_in`] is to look first for this name, and asks for that, so that it is near by then.
    #[inline(always)]
    pub(super) fn fetch(&self, name: Number<'_>) -> usize {
        if self.place != 0 { self.place } else { self.fetch_key(name.key(self.isa), name.text().len()) }
    }

    /// The same for a name of this length whose first sixteen bytes these are.
    #[inline(always)]
    pub(super) fn fetch_key(&self, key: u128, length: usize) -> usize {
        let (at, place) = self.known.symbols.first_place(key, length);
        fetch_one(place);
        at
    }

    /// What every event carries.
    #[inline(always)]
    pub(super) fn meta(
        &self,
        listed: Listed<I>,
        event_time: Option<VenueTime>,
        matching_time: Option<VenueTime>,
    ) -> Meta {
        Meta { symbol: listed.symbol, received: *self.known.received, event_time, matching_time }
    }
}

/// A time in milliseconds since the epoch; zero is "not told".
#[inline(always)]
pub(super) fn time(ms: u64, field: &'static str) -> Result<Option<VenueTime>, DecodeError> {
    match i64::try_from(ms) {
        Ok(ms) if ms <= VenueTime::MS_MAX => Ok(VenueTime::from_ms(ms)),
        _ => Err(DecodeError::new(Reason::BadNumber, field)),
    }
}

/// The time in a slot, if the member was there.
#[inline(always)]
pub(super) fn slot_time(slots: &Slots<'_>, slot: usize, field: &'static str) -> Result<Option<VenueTime>, DecodeError> {
    match slots.int_if(slot) {
        Some(ms) => time(ms, field),
        None => Ok(None),
    }
}

/// A price on the symbol's grid.
#[inline(always)]
pub(super) fn price<I: Isa>(number: Number<'_>, listed: Listed<I>, field: &'static str) -> Result<Price, DecodeError> {
    match number.grid(listed.isa, listed.price_scale) {
        Ok(mantissa) => Ok(Price::from_mantissa(mantissa)),
        Err(error) => Err(DecodeError::value(error, field)),
    }
}

/// A quantity on the symbol's grid.
#[inline(always)]
pub(super) fn qty<I: Isa>(number: Number<'_>, listed: Listed<I>, field: &'static str) -> Result<Qty, DecodeError> {
    match number.unsigned_grid(listed.isa, listed.qty_scale) {
        Ok(mantissa) => Ok(Qty::from_mantissa(mantissa)),
        Err(error) => Err(DecodeError::value(error, field)),
    }
}

/// A level on the symbol's grid.
#[inline(always)]
pub(super) fn level_of<I: Isa>(
    (price_number, qty_number): (Number<'_>, Number<'_>),
    listed: Listed<I>,
    (price_field, qty_field): (&'static str, &'static str),
) -> Result<Level, DecodeError> {
    let scales = (listed.price_scale, listed.qty_scale);
    match Number::grids([price_number, qty_number], listed.isa, scales) {
        Ok([price, qty]) => Ok(Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) }),
        Err((0, error)) => Err(DecodeError::value(error, price_field)),
        Err((_, error)) => Err(DecodeError::value(error, qty_field)),
    }
}

/// The best level in a [`super::shape::Kind::Touch`]; zeros for an empty side.
#[inline(always)]
pub(super) fn touch<I: Isa>(
    slots: &Slots<'_>,
    slot: usize,
    listed: Listed<I>,
    field: &'static str,
) -> Result<Level, DecodeError> {
    if slots.int(slot) == 0 {
        return Ok(Level::default());
    }
    level_of((slots.number(slot), slots.more(slot)), listed, (field, field))
}

/// A value with its own scale, into its place.
#[inline(always)]
pub(super) fn decimal(
    number: Number<'_>,
    isa: impl Isa,
    place: &mut Decimal,
    field: &'static str,
) -> Result<(), DecodeError> {
    match number.decimal(isa, place) {
        Ok(()) => Ok(()),
        Err(error) => Err(DecodeError::value(error, field)),
    }
}

/// Two of them, at once.
#[inline(always)]
pub(super) fn decimals(
    numbers: [Number<'_>; 2],
    isa: impl Isa,
    places: [&mut Decimal; 2],
    fields: [&'static str; 2],
) -> Result<(), DecodeError> {
    match Number::decimals(numbers, isa, places) {
        Ok(()) => Ok(()),
        Err((at, error)) => Err(DecodeError::value(error, fields[at])),
    }
}

/// A value with its own scale into its place, which is empty before; it stays so where the member was absent or empty.
#[inline(always)]
pub(super) fn decimal_if(
    slots: &Slots<'_>,
    slot: usize,
    isa: impl Isa,
    place: &mut Option<Decimal>,
    field: &'static str,
) -> Result<(), DecodeError> {
    let number = slots.number(slot);
    if number.text().is_empty() {
        return Ok(());
    }
    decimal(number, isa, place.insert(Decimal::ZERO), field)
}

/// The levels of one core's book updates, both sides in one buffer, reused.
#[derive(Debug)]
pub(super) struct LevelScratch {
    levels: Box<[Level]>,
}

impl LevelScratch {
    /// Room for [`LEVEL_COUNT_MAX`].
    pub(super) fn new() -> Self {
        Self { levels: vec![Level::default(); LEVEL_COUNT_MAX].into_boxed_slice() }
    }

    /// What is not filled yet.
    #[inline(always)]
    pub(super) fn room(&mut self, filled: usize) -> &mut [Level] {
        self.levels.get_mut(filled..).unwrap_or_default()
    }

    /// Levels that were read.
    #[inline(always)]
    pub(super) fn between(&self, start: usize, end: usize) -> &[Level] {
        self.levels.get(start..end).unwrap_or_default()
    }

    /// Reads both sides, given as (node, member name): bids and asks.
    pub(super) fn read<I: Isa>(
        &mut self,
        document: &Document<'_>,
        bids: (u64, &'static str),
        asks: (u64, &'static str),
        listed: Listed<I>,
    ) -> Result<(&[Level], &[Level]), DecodeError> {
        let bid_count = self.read_side(document, 0, bids, listed)?;
        let count = self.read_side(document, bid_count, asks, listed)?;
        Ok(self.levels[..count].split_at(bid_count))
    }

    /// Appends one side behind the first `filled` levels; how many are filled then.
    fn read_side<I: Isa>(
        &mut self,
        document: &Document<'_>,
        mut filled: usize,
        (node, field): (u64, &'static str),
        listed: Listed<I>,
    ) -> Result<usize, DecodeError> {
        let wrong_type = DecodeError::new(Reason::WrongType, field);
        let node = usize::try_from(node).map_err(|_| wrong_type)?;
        for element in document.elements(node).ok_or(wrong_type)? {
            let (price, qty) = document.level(element).ok_or(wrong_type)?;
            let place = self.levels.get_mut(filled).ok_or(DecodeError::new(Reason::TooManyLevels, field))?;
            *place = level_of((Number::unread(price), Number::unread(qty)), listed, (field, field))?;
            filled += 1;
        }
        Ok(filled)
    }
}
