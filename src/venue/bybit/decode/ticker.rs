//! Bybit's tickers, whole: a snapshot, then deltas in which an absent member means "unchanged".
//!
//! ```text
//! symbol ──places──► 1-based place ──tickers──► the ticker as merged so far on this connection
//!                                      spare──► a snapshot that is being read; kept, it is the symbol's, and the one that was
//!                                               the symbol's is the spare
//!                                     change──► a delta that is being read; kept, what it says is written into its symbol's
//! ```
//! Merged per connection, not per core: of two connections that carry the same symbol the slower one would otherwise
//! put old values back. Forgotten when the connection starts anew.

use super::shapes::ticker;
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{Backlog, Decimal, Level, Meta, MonoNs, Received, Symbol, Ticker, TickerFields};
use crate::venue::fields::{Listed, decimal, decimals, level_of, price, qty, time};
use crate::venue::isa::Isa;
use crate::venue::number::Number;
use crate::venue::shape::Slots;
use crate::venue::{DecodeError, Reason};

/// Ticker topics that one connection can carry: 21,000 characters of arguments, none shorter than `tickers.X`. Beyond
/// it (a venue that raises its limit) the list grows once, where the snapshot comes.
const TICKER_COUNT: usize = 21_000 / "tickers.X".len();

/// The members of which most deltas have none.
const STATISTICS: u32 = set(&[
    ticker::OPEN,
    ticker::HIGH,
    ticker::LOW,
    ticker::VOLUME,
    ticker::TURNOVER,
    ticker::CHANGE_RATIO,
    ticker::MARK_PRICE,
    ticker::INDEX_PRICE,
    ticker::USD_INDEX_PRICE,
    ticker::FUNDING_RATE,
    ticker::NEXT_FUNDING_TIME,
    ticker::OPEN_INTEREST,
    ticker::OPEN_INTEREST_VALUE,
]);
const BID: u32 = set(&[ticker::BID_PRICE, ticker::BID_QTY]);
const ASK: u32 = set(&[ticker::ASK_PRICE, ticker::ASK_QTY]);

const fn set(slots: &[usize]) -> u32 {
    let (mut set, mut at) = (0, 0);
    while at < slots.len() {
        set |= 1 << slots[at];
        at += 1;
    }
    set
}

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
    /// Who and when of the last delta, and the values of those members that `said` names: all else is of earlier ones.
    change: Box<Ticker>,
    said: Said,
    read: Read,
}

/// What was read and is not kept yet.
#[derive(Clone, Copy, Debug)]
enum Read {
    Nothing,
    Snapshot,
    /// Of the ticker there.
    Change(usize),
}

/// What one message says.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// The members whose values it brings, as a set of slots.
    members: u32,
    /// What is known by it.
    told: TickerFields,
    /// What is no longer known.
    cleared: TickerFields,
}

impl Said {
    const NOTHING: Self = Self { members: 0, told: TickerFields::NONE, cleared: TickerFields::NONE };

    #[inline(always)]
    fn has(self, members: u32) -> bool {
        self.members & members != 0
    }

    /// What is known after it of what was known before it.
    #[inline(always)]
    fn known(self, before: TickerFields) -> TickerFields {
        TickerFields((before.0 | self.told.0) & !self.cleared.0)
    }
}

impl Tickers {
    pub(super) fn new() -> Self {
        let symbol = const { Symbol::new(0).expect("there is room for one") };
        let received = Received { mono: MonoNs(0), wall_ns: 0, backlog: Backlog::NONE };
        Self {
            places: vec![0; SYMBOL_COUNT_MAX].into_boxed_slice(),
            tickers: Vec::with_capacity(TICKER_COUNT + 1),
            spare: 0,
            change: Box::new(Ticker::unknown(Meta { symbol, received, event_time: None, matching_time: None })),
            said: Said::NOTHING,
            read: Read::Nothing,
        }
    }

    /// Forgets every snapshot.
    pub(super) fn clear(&mut self) {
        self.places.fill(0);
        self.tickers.clear();
        self.spare = 0;
        self.read = Read::Nothing;
    }

    /// Forgets what an attempt left that nobody kept.
    #[inline(always)]
    pub(super) fn restart(&mut self) {
        self.read = Read::Nothing;
    }

    /// Reads a message; nothing is kept yet. Times and the sequence are the caller's to fill in, in what is given.
    ///
    /// # Errors
    /// [`Reason::NoSnapshot`] for a delta without a snapshot before it; a value's own error.
    #[inline(always)]
    pub(super) fn read<I: Isa>(
        &mut self,
        slots: &Slots<'_>,
        is_snapshot: bool,
        meta: Meta,
        listed: Listed<I>,
    ) -> Result<&mut Ticker, DecodeError> {
        self.read = Read::Nothing;
        let (into, read) = if is_snapshot {
            match self.tickers.get_mut(self.spare) {
                Some(spare) => *spare = Ticker::unknown(meta),
                None => self.tickers.push(Ticker::unknown(meta)),
            }
            (&mut self.tickers[self.spare], Read::Snapshot)
        } else {
            let place = usize::from(self.places[listed.symbol.index()]);
            let known_at = place.checked_sub(1).ok_or(DecodeError::new(Reason::NoSnapshot, "type"))?;
            (&mut *self.change, Read::Change(known_at))
        };
        into.meta = meta;
        self.said = read_into(into, slots, listed)?;
        self.read = read;
        Ok(into)
    }

    /// This message's, if it was read.
    #[inline(always)]
    pub(super) fn read_mut(&mut self) -> Option<&mut Ticker> {
        match self.read {
            Read::Nothing => None,
            Read::Snapshot => self.tickers.get_mut(self.spare),
            Read::Change(_) => Some(&mut self.change),
        }
    }

    /// Keeps this message's for the next change: its symbol's ticker, merged.
    #[inline(always)]
    pub(super) fn keep(&mut self) -> Option<&Ticker> {
        match std::mem::replace(&mut self.read, Read::Nothing) {
            Read::Nothing => None,
            Read::Snapshot => {
                let kept_at = self.spare;
                let kept = self.tickers.get_mut(kept_at)?;
                kept.known = self.said.known(TickerFields::NONE);
                let place = &mut self.places[kept.meta.symbol.index()];
                self.spare = if *place == 0 { self.tickers.len() } else { usize::from(*place) - 1 };
                // At most one more than SYMBOL_COUNT_MAX, which limits.rs holds below u16::MAX.
                *place = u16::try_from(kept_at + 1).unwrap_or(u16::MAX);
                self.tickers.get(kept_at)
            }
            Read::Change(known_at) => {
                let known = self.tickers.get_mut(known_at)?;
                merge(known, &self.change, self.said);
                Some(known)
            }
        }
    }
}

/// Writes into what is known what a delta says.
#[inline(always)]
fn merge(known: &mut Ticker, change: &Ticker, said: Said) {
    known.meta = change.meta;
    known.changed = change.changed;
    known.known = said.known(known.known);
    known.sequence = change.sequence;
    macro_rules! merge {
        ($($place:ident $(. $part:ident)? by $members:expr;)*) => {
            $(if said.has($members) {
                known.$place$(.$part)? = change.$place$(.$part)?;
            })*
        };
    }
    merge! {
        last_price by 1 << ticker::LAST_PRICE;
        bid.price by 1 << ticker::BID_PRICE;
        bid.qty by 1 << ticker::BID_QTY;
        ask.price by 1 << ticker::ASK_PRICE;
        ask.qty by 1 << ticker::ASK_QTY;
    }
    if !said.has(STATISTICS) {
        return;
    }
    merge! {
        open by 1 << ticker::OPEN;
        high by 1 << ticker::HIGH;
        low by 1 << ticker::LOW;
        volume by 1 << ticker::VOLUME;
        turnover by 1 << ticker::TURNOVER;
        change_ratio by 1 << ticker::CHANGE_RATIO;
        mark_price by 1 << ticker::MARK_PRICE;
        index_price by set(&[ticker::INDEX_PRICE, ticker::USD_INDEX_PRICE]);
        funding_rate by 1 << ticker::FUNDING_RATE;
        next_funding_time by 1 << ticker::NEXT_FUNDING_TIME;
        open_interest by 1 << ticker::OPEN_INTEREST;
        open_interest_value by 1 << ticker::OPEN_INTEREST_VALUE;
    }
}

/// Writes what the message carries. An empty text takes a value back to "not known". A side of the touch becomes known by a
/// message with both its price and its size: with one of them the other would be zero, or what an emptied side had before.
#[inline(always)]
fn read_into<I: Isa>(into: &mut Ticker, slots: &Slots<'_>, listed: Listed<I>) -> Result<Said, DecodeError> {
    let mut fields = Fields { isa: listed.isa, changed: TickerFields::NONE, said: Said::NOTHING, slots };
    if let Some(number) = fields.number(ticker::LAST_PRICE, TickerFields::LAST_PRICE) {
        into.last_price = price(number, listed, "lastPrice")?;
    }
    if slots.has_any(BID) {
        fields.side([ticker::BID_PRICE, ticker::BID_QTY], TickerFields::BID, listed, &mut into.bid)?;
    }
    if slots.has_any(ASK) {
        fields.side([ticker::ASK_PRICE, ticker::ASK_QTY], TickerFields::ASK, listed, &mut into.ask)?;
    }
    if slots.has_any(STATISTICS) {
        fields.decimals(
            [ticker::OPEN, ticker::HIGH],
            [TickerFields::OPEN, TickerFields::HIGH],
            [&mut into.open, &mut into.high],
        )?;
        fields.decimals(
            [ticker::LOW, ticker::VOLUME],
            [TickerFields::LOW, TickerFields::VOLUME],
            [&mut into.low, &mut into.volume],
        )?;
        // Spot's is mostly longer than what two are read from at once.
        fields.decimal(ticker::TURNOVER, TickerFields::TURNOVER, &mut into.turnover)?;
        fields.decimal(ticker::CHANGE_RATIO, TickerFields::CHANGE_RATIO, &mut into.change_ratio)?;
        fields.decimals(
            [ticker::MARK_PRICE, ticker::INDEX_PRICE],
            [TickerFields::MARK_PRICE, TickerFields::INDEX_PRICE],
            [&mut into.mark_price, &mut into.index_price],
        )?;
        fields.decimal(ticker::USD_INDEX_PRICE, TickerFields::INDEX_PRICE, &mut into.index_price)?;
        fields.decimal(ticker::FUNDING_RATE, TickerFields::FUNDING_RATE, &mut into.funding_rate)?;
        fields.decimals(
            [ticker::OPEN_INTEREST, ticker::OPEN_INTEREST_VALUE],
            [TickerFields::OPEN_INTEREST, TickerFields::OPEN_INTEREST_VALUE],
            [&mut into.open_interest, &mut into.open_interest_value],
        )?;
        if let Some(number) = fields.number(ticker::NEXT_FUNDING_TIME, TickerFields::NEXT_FUNDING_TIME) {
            let ms = number.uint(listed.isa).ok_or(DecodeError::new(Reason::BadNumber, "nextFundingTime"))?;
            into.next_funding_time = time(ms, "nextFundingTime")?;
        }
    }
    if slots.has_other {
        fields.changed |= TickerFields::OTHER;
    }
    into.changed = fields.changed;
    Ok(Said { told: TickerFields(fields.changed.0 & !half_sides(slots).0), ..fields.said })
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

/// What one message says so far.
struct Fields<'s, 'a, I> {
    isa: I,
    changed: TickerFields,
    said: Said,
    slots: &'s Slots<'a>,
}

impl<'a, I: Isa> Fields<'_, 'a, I> {
    /// The member's number, if it is there and not empty: then it is one of those that are said.
    #[inline(always)]
    fn number(&mut self, slot: usize, field: TickerFields) -> Option<Number<'a>> {
        let number = self.slots.number_if(slot)?;
        self.changed |= field;
        if number.text().is_empty() {
            self.said.cleared |= field;
            return None;
        }
        self.said.members |= 1 << slot;
        Some(number)
    }

    #[inline(always)]
    fn decimal(&mut self, slot: usize, field: TickerFields, place: &mut Decimal) -> Result<(), DecodeError> {
        if let Some(number) = self.number(slot, field) {
            decimal(number, self.isa, place, ticker::MEMBERS[slot].key)?;
        }
        Ok(())
    }

    /// Two that mostly come together.
    #[inline(always)]
    fn decimals(
        &mut self,
        [first_slot, second_slot]: [usize; 2],
        [first_field, second_field]: [TickerFields; 2],
        [first, second]: [&mut Decimal; 2],
    ) -> Result<(), DecodeError> {
        let keys = [ticker::MEMBERS[first_slot].key, ticker::MEMBERS[second_slot].key];
        match (self.number(first_slot, first_field), self.number(second_slot, second_field)) {
            (Some(one), Some(other)) => decimals([one, other], self.isa, [first, second], keys),
            (Some(number), None) => decimal(number, self.isa, first, keys[0]),
            (None, Some(number)) => decimal(number, self.isa, second, keys[1]),
            (None, None) => Ok(()),
        }
    }

    /// A side of the touch.
    #[inline(always)]
    fn side(
        &mut self,
        [price_slot, qty_slot]: [usize; 2],
        field: TickerFields,
        listed: Listed<I>,
        place: &mut Level,
    ) -> Result<(), DecodeError> {
        let keys = (ticker::MEMBERS[price_slot].key, ticker::MEMBERS[qty_slot].key);
        match (self.number(price_slot, field), self.number(qty_slot, field)) {
            (Some(price), Some(qty)) => *place = level_of((price, qty), listed, keys)?,
            (Some(number), None) => place.price = price(number, listed, keys.0)?,
            (None, Some(number)) => place.qty = qty(number, listed, keys.1)?,
            (None, None) => {}
        }
        Ok(())
    }
}
