//! The truth: one symbol's market, every state it ever had by id, and what a venue of some kind says of it.
//!
//! ```text
//! step ─► State ─► states[(epoch, id)]          what a book must be at that id
//!            └─► Leg: the changes since its last message, as one message in the venue's way to count
//! ```

use crate::random::Random;
use tickwire::book::{Book, ChecksumForm};
use tickwire::market::{BookKind, Level, Price, Qty, SequenceIds, Side};

/// Prices of a market: few, so that much happens at each.
pub(crate) const SLOTS: usize = 48;
const BEST_ASK_AT_FIRST: usize = SLOTS / 2;

/// Levels a side of a channel that has a window.
pub(crate) const WINDOW: u16 = 10;

/// How a venue counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Dialect {
    BinanceSpot,
    BinanceUsdm,
    Bybit,
    /// No ids at all; a checksum with each message, and nothing of what falls out of the window. Kraken's manner.
    Checksummed,
}

impl Dialect {
    pub(crate) const ALL: [Self; 4] = [Self::BinanceSpot, Self::BinanceUsdm, Self::Bybit, Self::Checksummed];

    /// A channel with a window, that begins with a snapshot of its own.
    pub(crate) const fn has_window(self) -> bool {
        matches!(self, Self::Bybit | Self::Checksummed)
    }

    pub(crate) const fn window(self) -> u16 {
        if self.has_window() { WINDOW } else { 0 }
    }
}

/// Quantities by side and price slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct State {
    qty: [[i64; SLOTS]; 2],
}

impl State {
    /// A side's levels in slots, best first.
    pub(crate) fn ordered(&self, side: Side) -> impl Iterator<Item = (usize, i64)> + '_ {
        (0..SLOTS)
            .map(move |at| if side == Side::Buy { SLOTS - 1 - at } else { at })
            .map(move |slot| (slot, self.qty[side as usize][slot]))
            .filter(|level| level.1 > 0)
    }

    /// The best levels of a side alone.
    fn cut(&self, depth: usize) -> Self {
        let mut cut = Self { qty: [[0; SLOTS]; 2] };
        for side in [Side::Buy, Side::Sell] {
            for (slot, qty) in self.ordered(side).take(depth) {
                cut.qty[side as usize][slot] = qty;
            }
        }
        cut
    }
}

/// A price slot as a price; `tick` is the symbol's tick, which may change.
pub(crate) fn price(slot: usize, tick: i64) -> Price {
    Price::from_mantissa((1_000 + i64::try_from(slot).unwrap()) * tick)
}

fn qty(random: &mut Random) -> i64 {
    i64::try_from(random.between(1, 9)).unwrap()
}

fn shuffle<T>(random: &mut Random, list: &mut [T]) {
    for at in (1..list.len()).rev() {
        list.swap(at, random.index(at + 1));
    }
}

fn levels(side: &[(usize, i64)], tick: i64) -> Vec<Level> {
    side.iter().map(|&(slot, qty)| Level { price: price(slot, tick), qty: Qty::from_mantissa(qty) }).collect()
}

/// What a venue sends, or answers: prices in slots until it is read.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) epoch: u32,
    pub(crate) kind: BookKind,
    pub(crate) ids: SequenceIds,
    pub(crate) depth: u16,
    sides: [Vec<(usize, i64)>; 2],
    pub(crate) checksum: Option<u32>,
}

impl Message {
    /// Bids and asks with this tick.
    pub(crate) fn levels(&self, tick: i64) -> [Vec<Level>; 2] {
        [levels(&self.sides[0], tick), levels(&self.sides[1], tick)]
    }
}

/// One connection's view of the market: what it has said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leg {
    /// The last id it spoke of; 0: nothing.
    sent: u64,
    epoch: u32,
    is_subscribed: bool,
}

/// Where a numbering begins: each one far below the one before, and no two near each other.
fn first_id(epoch: u32) -> u64 {
    1_000_000_000 - 10_000_000 * u64::from(epoch)
}

/// One symbol's market on one venue.
pub(crate) struct Market {
    pub(crate) dialect: Dialect,
    state: State,
    best_ask: usize,
    pub(crate) id: u64,
    pub(crate) epoch: u32,
    /// (epoch, id, state, the change that led there), in their order.
    states: Vec<(u32, u64, State, (Side, usize))>,
}

impl Market {
    pub(crate) fn new(dialect: Dialect, random: &mut Random) -> Self {
        let mut state = State { qty: [[0; SLOTS]; 2] };
        for slot in 0..SLOTS {
            let side = if slot < BEST_ASK_AT_FIRST { Side::Buy } else { Side::Sell };
            if random.percent(75) {
                state.qty[side as usize][slot] = qty(random);
            }
        }
        let id = first_id(1);
        Self { dialect, state, best_ask: BEST_ASK_AT_FIRST, id, epoch: 1, states: vec![(1, id, state, (Side::Buy, 0))] }
    }

    /// The market at an id; `None` where it never was.
    pub(crate) fn at(&self, epoch: u32, id: u64) -> Option<&State> {
        let behind = self.states.partition_point(|state| (state.0, state.1) <= (epoch, id));
        let (found, _, state, _) = self.states.get(behind.checked_sub(1)?)?;
        (*found == epoch).then_some(state)
    }

    /// Levels a side that a book shows of it.
    pub(crate) fn depth(&self) -> usize {
        if self.dialect.has_window() { usize::from(WINDOW) } else { SLOTS }
    }

    fn set(&mut self, random: &mut Random, side: Side, slot: usize, qty: i64) {
        self.id += if self.dialect == Dialect::BinanceUsdm { random.between(1, 30) } else { 1 };
        self.state.qty[side as usize][slot] = qty;
        self.states.push((self.epoch, self.id, self.state, (side, slot)));
    }

    /// One moment: a level changes, or the price moves a step and takes the level that is in the way.
    pub(crate) fn step(&mut self, random: &mut Random) {
        let side = if random.percent(50) { Side::Buy } else { Side::Sell };
        if random.percent(12) {
            let is_up = if self.best_ask <= 12 { true } else { self.best_ask < SLOTS - 12 && random.percent(50) };
            let (taken, filled, slot) =
                if is_up { (Side::Sell, Side::Buy, self.best_ask) } else { (Side::Buy, Side::Sell, self.best_ask - 1) };
            self.best_ask = if is_up { self.best_ask + 1 } else { self.best_ask - 1 };
            self.set(random, taken, slot, 0);
            let qty = qty(random);
            self.set(random, filled, slot, qty);
            return;
        }
        let distance = if random.percent(75) { random.index(4) } else { random.index(SLOTS) };
        let slot = match side {
            Side::Buy => (self.best_ask - 1).saturating_sub(distance),
            Side::Sell => (self.best_ask + distance).min(SLOTS - 1),
        };
        let qty = if random.percent(35) { 0 } else { qty(random) };
        self.set(random, side, slot, qty);
    }

    /// The venue's numbering starts again, far below.
    pub(crate) fn restart(&mut self) {
        self.epoch += 1;
        self.id = if self.dialect == Dialect::Bybit { 0 } else { first_id(self.epoch) };
        if self.dialect != Dialect::Bybit {
            self.states.push((self.epoch, self.id, self.state, (Side::Buy, 0)));
        }
    }

    /// The answer to a request for a snapshot of this depth, by a server that is `lag` changes behind.
    pub(crate) fn answer(&self, depth: u16, lag: usize) -> Message {
        let &(epoch, id, state, _) = &self.states[(self.states.len() - 1).saturating_sub(lag)];
        let side = |side| state.ordered(side).take(usize::from(depth)).collect();
        let ids = SequenceIds { first: id, last: id, previous: None, cross: None };
        let sides = [side(Side::Buy), side(Side::Sell)];
        Message { epoch, kind: BookKind::Snapshot, ids, depth, sides, checksum: None }
    }

    /// A connection begins to hear of the market now.
    pub(crate) fn subscribed(&self, leg: &mut Leg) {
        *leg = Leg { sent: self.id, epoch: self.epoch, is_subscribed: true };
        if self.dialect.has_window() {
            // Its first message will be a snapshot.
            leg.sent = 0;
        }
    }

    /// What the venue sends on this connection now: what has changed since it last spoke. `wants_snapshot`: where it may
    /// choose, it sends the whole book.
    pub(crate) fn message(&self, leg: &mut Leg, random: &mut Random, wants_snapshot: bool) -> Option<Message> {
        if !leg.is_subscribed || (leg.sent, leg.epoch) == (self.id, self.epoch) {
            return None;
        }
        let message = if self.dialect.has_window() {
            self.windowed(leg, random, wants_snapshot)
        } else {
            self.ranged(leg, random)
        };
        (leg.sent, leg.epoch) = (self.id, self.epoch);
        Some(message)
    }

    /// Every level that changed, as it is now, by a range of ids.
    fn ranged(&self, leg: &Leg, random: &mut Random) -> Message {
        let from = self.states.partition_point(|state| (state.0, state.1) <= (leg.epoch, leg.sent));
        let new = &self.states[from..];
        // Behind a restart the first message covers what is new since then.
        let (first, previous) = if leg.epoch == self.epoch {
            (new.first().map_or(self.id, |state| state.1), leg.sent)
        } else {
            (first_id(self.epoch) + 1, first_id(self.epoch))
        };
        let mut sides = [Vec::new(), Vec::new()];
        for &(.., (side, slot)) in new {
            let changed = (slot, self.state.qty[side as usize][slot]);
            if !sides[side as usize].contains(&changed) {
                sides[side as usize].push(changed);
            }
        }
        for side in &mut sides {
            shuffle(random, side);
        }
        let (first, previous) = match self.dialect {
            Dialect::BinanceUsdm => (first, Some(previous)),
            _ => (previous + 1, None),
        };
        let ids = SequenceIds { first, last: self.id, previous, cross: None };
        Message { epoch: self.epoch, kind: BookKind::Delta, ids, depth: 0, sides, checksum: None }
    }

    /// What is different in the window, or the window.
    fn windowed(&self, leg: &Leg, random: &mut Random, wants_snapshot: bool) -> Message {
        let depth = usize::from(WINDOW);
        let new = self.state.cut(depth);
        let is_snapshot = leg.sent == 0 || leg.epoch != self.epoch || wants_snapshot;
        let sides = [Side::Buy, Side::Sell].map(|side| {
            if is_snapshot {
                return new.ordered(side).collect();
            }
            let old = self.at(leg.epoch, leg.sent).expect("it was sent").cut(depth).qty[side as usize];
            let falls_out = |slot: usize| new.qty[side as usize][slot] == 0 && self.state.qty[side as usize][slot] > 0;
            let is_told = |slot: usize| self.dialect == Dialect::Bybit || !falls_out(slot);
            let changed = (0..SLOTS).filter(|&slot| old[slot] != new.qty[side as usize][slot] && is_told(slot));
            let mut changed: Vec<_> = changed.map(|slot| (slot, new.qty[side as usize][slot])).collect();
            shuffle(random, &mut changed);
            changed
        });
        // Some say of the first message behind a restart that it is a change; its id alone says what it is.
        let calls_itself_delta = self.dialect == Dialect::Bybit && self.id == 1 && random.percent(30);
        let kind = if is_snapshot && !calls_itself_delta { BookKind::Snapshot } else { BookKind::Delta };
        // Rises whatever the numbering does.
        let cross = (self.dialect == Dialect::Bybit).then_some(u64::from(self.epoch) << 32 | self.id);
        let ids = SequenceIds { first: self.id, last: self.id, previous: None, cross };
        let checksum = (self.dialect == Dialect::Checksummed).then(|| checksum(&new));
        Message { epoch: self.epoch, kind, ids, depth: WINDOW, sides, checksum }
    }

    /// Moments between two messages of a channel whose number counts messages are one.
    pub(crate) fn settle(&mut self, before: u64) {
        if self.dialect == Dialect::Bybit && self.id > before + 1 {
            let (epoch, last) = (self.epoch, *self.states.last().unwrap());
            self.states.retain(|state| state.0 < epoch || state.1 <= before);
            self.id = before + 1;
            self.states.push((epoch, self.id, last.2, last.3));
        }
    }
}

/// The form of checksum that the made-up venue uses, over more levels than its window has.
pub(crate) const CHECKSUM: ChecksumForm = ChecksumForm::OKX;

/// A checksum over a window is one over the book that holds it. The tick is not in it: it is 1 where checksums are.
fn checksum(state: &State) -> u32 {
    let mut book = Book::for_window(WINDOW, usize::from(WINDOW), 1);
    let side = |side| levels(&state.ordered(side).collect::<Vec<_>>(), 1);
    book.replace(&side(Side::Buy), &side(Side::Sell), WINDOW);
    CHECKSUM.of(&book, 0, 0)
}
