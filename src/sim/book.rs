//! One true order book: what every message of a synthetic symbol is derived from.
//!
//! ```text
//! slot   0 ........ floor ........ best bid | best ask ........ ceiling ........ 1023
//!        bids, always there        bids that come and go   asks ...   asks, always there
//! ```
//! Prices live on 1,024 slots around the starting price; the walk is pulled back to the middle, so it never leaves
//! them. Every slot remembers the update that changed it last, on each side, so that the changes since any update can
//! be told, however long ago. Called by the synthetic market; knows no venue and no clock.

use super::text::Rng;
use std::collections::VecDeque;

/// Price slots of a book.
pub(super) const SLOTS: usize = 1024;
/// Bids at or below this slot, and asks at or above its mirror, never go away.
const FLOOR: usize = 192;
const CEILING: usize = SLOTS - 1 - FLOOR;
const MIDDLE: usize = SLOTS / 2;
/// Changes remembered in order; older ones are found by a scan.
const LOG: usize = 256;

/// One side, by slot.
#[derive(Debug)]
struct Half {
    qty: Box<[u64; SLOTS]>,
    changed: Box<[u64; SLOTS]>,
}

impl Half {
    fn empty() -> Self {
        Self { qty: Box::new([0; SLOTS]), changed: Box::new([0; SLOTS]) }
    }
}

/// A level: its slot and quantity in units.
pub(super) type SlotLevel = (u16, u64);

/// A taker's order that met one resting level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Execution {
    pub(super) is_buy: bool,
    pub(super) slot: u16,
    /// Quantities of the resting orders it filled; `fill_count` of them.
    pub(super) fills: [u64; 3],
    pub(super) fill_count: u8,
}

impl Execution {
    pub(super) fn fills(&self) -> &[u64] {
        &self.fills[..usize::from(self.fill_count)]
    }
    pub(super) fn qty(&self) -> u64 {
        self.fills().iter().sum()
    }
}

/// The changes between two updates.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Id of the first change, if it is still remembered.
    pub(super) first_id: Option<u64>,
    pub(super) bids: Vec<SlotLevel>,
    pub(super) asks: Vec<SlotLevel>,
}

/// Invariant: `best_bid < best_ask`, both slots are filled, and no filled bid is above `best_bid`, no ask below `best_ask`.
#[derive(Debug)]
pub(super) struct Book {
    bids: Half,
    asks: Half,
    best_bid: usize,
    best_ask: usize,
    update_id: u64,
    /// Most that one update adds to the id: 1 where ids are per symbol, more where they are shared.
    id_jump_max: u64,
    /// Most units of quantity a level is given.
    qty_max: u64,
    log: VecDeque<(u64, u16, bool)>,
}

impl Book {
    pub(super) fn new(rng: &mut Rng, qty_max: u64, id_jump_max: u64) -> Self {
        let (mut bids, mut asks) = (Half::empty(), Half::empty());
        let (best_bid, best_ask) = (MIDDLE - 1, MIDDLE);
        for slot in 0..SLOTS {
            let is_kept = slot <= FLOOR || slot >= CEILING || slot == best_bid || slot == best_ask;
            if is_kept || rng.percent(80) {
                let half = if slot <= best_bid { &mut bids } else { &mut asks };
                half.qty[slot] = 1 + rng.below(qty_max);
            }
        }
        let update_id = 1_000_000_000 + rng.below(1 << 32);
        Self { bids, asks, best_bid, best_ask, update_id, id_jump_max, qty_max, log: VecDeque::with_capacity(LOG) }
    }

    pub(super) fn update_id(&self) -> u64 {
        self.update_id
    }

    #[expect(clippy::cast_possible_truncation, reason = "a slot is below 1,024")]
    pub(super) fn best_bid(&self) -> SlotLevel {
        (self.best_bid as u16, self.bids.qty[self.best_bid])
    }

    #[expect(clippy::cast_possible_truncation, reason = "a slot is below 1,024")]
    pub(super) fn best_ask(&self) -> SlotLevel {
        (self.best_ask as u16, self.asks.qty[self.best_ask])
    }

    /// The best `depth` levels of a side, best first.
    #[expect(clippy::cast_possible_truncation, reason = "a slot is below 1,024")]
    pub(super) fn top(&self, is_bid: bool, depth: usize, out: &mut Vec<SlotLevel>) {
        out.clear();
        let level = |half: &Half, slot: usize| (half.qty[slot] > 0).then_some((slot as u16, half.qty[slot]));
        if is_bid {
            out.extend((0..=self.best_bid).rev().filter_map(|slot| level(&self.bids, slot)).take(depth));
        } else {
            out.extend((self.best_ask..SLOTS).filter_map(|slot| level(&self.asks, slot)).take(depth));
        }
    }

    /// What changed after update `since`: absolute quantities, zero for a level that is gone. Bids best first, asks too.
    #[expect(clippy::cast_possible_truncation, reason = "a slot is below 1,024")]
    pub(super) fn changes_since(&self, since: u64, out: &mut Changes) {
        out.first_id = None;
        out.bids.clear();
        out.asks.clear();
        if self.log.front().is_some_and(|&(oldest, ..)| oldest <= since + 1) || self.log.len() < LOG {
            let start = self.log.partition_point(|&(id, ..)| id <= since);
            out.first_id = self.log.get(start).map(|&(id, ..)| id);
            for &(id, slot, is_bid) in self.log.iter().skip(start) {
                let (half, side) = if is_bid { (&self.bids, &mut out.bids) } else { (&self.asks, &mut out.asks) };
                // A slot that changed again later is told once, at its last change.
                if half.changed[usize::from(slot)] == id {
                    side.push((slot, half.qty[usize::from(slot)]));
                }
            }
            out.bids.sort_unstable_by_key(|&(slot, _)| u16::MAX - slot);
            out.asks.sort_unstable_by_key(|&(slot, _)| slot);
        } else {
            let changed =
                |half: &Half, slot: usize| (half.changed[slot] > since).then_some((slot as u16, half.qty[slot]));
            out.bids.extend((0..SLOTS).rev().filter_map(|slot| changed(&self.bids, slot)));
            out.asks.extend((0..SLOTS).filter_map(|slot| changed(&self.asks, slot)));
        }
    }

    /// Lets the market live for one moment: at least one level changes. Returns the execution, if one happened.
    pub(super) fn step(&mut self, rng: &mut Rng) -> Option<Execution> {
        let spread = self.best_ask - self.best_bid;
        let choice = rng.below(100);
        if spread > 4 || (spread > 1 && choice < 20) {
            self.improve(rng);
            None
        } else if choice < 40 {
            Some(self.execute(rng, None))
        } else {
            self.modify(rng);
            None
        }
    }

    /// Changes the best level of one side.
    pub(super) fn touch_top(&mut self, rng: &mut Rng) {
        if self.best_ask - self.best_bid > 4 {
            self.improve(rng);
            return;
        }
        let is_bid = rng.percent(50);
        let slot = if is_bid { self.best_bid } else { self.best_ask };
        let qty = self.other_qty(rng, is_bid, slot);
        self.set(rng, is_bid, slot, qty);
    }

    /// A taker's order against the best level; `is_buy` is chosen if not given.
    pub(super) fn execute(&mut self, rng: &mut Rng, is_buy: Option<bool>) -> Execution {
        let middle = usize::midpoint(self.best_bid, self.best_ask);
        // The farther the price has gone, the more takers bring it back.
        let buy_percent = (50 + 100 * MIDDLE / SLOTS).saturating_sub(100 * middle / SLOTS) as u64;
        let is_buy = is_buy.unwrap_or_else(|| rng.percent(buy_percent));
        let slot = if is_buy { self.best_ask } else { self.best_bid };
        let resting = if is_buy { self.asks.qty[slot] } else { self.bids.qty[slot] };
        let may_clear = if is_buy { slot < CEILING } else { slot > FLOOR };
        let taken =
            if may_clear && (resting == 1 || rng.percent(30)) { resting } else { 1 + rng.below(resting.max(2) - 1) };
        // A level that never goes away was refilled behind the trade.
        let left = if may_clear { resting - taken } else { (resting - taken).max(1) };
        self.set(rng, !is_buy, slot, left);
        let mut fills = [taken, 0, 0];
        let mut fill_count = 1;
        while fill_count < 3 && fills[usize::from(fill_count) - 1] > 1 && rng.percent(35) {
            let at = usize::from(fill_count);
            let moved = 1 + rng.below(fills[at - 1] - 1);
            fills[at - 1] -= moved;
            fills[at] = moved;
            fill_count += 1;
        }
        Execution { is_buy, slot: u16::try_from(slot).expect("below 1,024"), fills, fill_count }
    }

    /// A new order inside the spread.
    fn improve(&mut self, rng: &mut Rng) {
        let middle = usize::midpoint(self.best_bid, self.best_ask);
        let is_bid = if middle.abs_diff(MIDDLE) > 128 { middle < MIDDLE } else { rng.percent(50) };
        let gap = self.best_ask - self.best_bid - 1;
        let inside = 1 + rng.index(gap);
        let slot = if is_bid { self.best_bid + inside } else { self.best_ask - inside };
        let qty = 1 + rng.below(self.qty_max);
        self.set(rng, is_bid, slot, qty);
    }

    /// A resting level grows, shrinks, comes or goes.
    fn modify(&mut self, rng: &mut Rng) {
        let is_bid = rng.percent(50);
        let distance = if rng.percent(80) { rng.index(12) } else { rng.index(160) };
        let slot = if is_bid { self.best_bid - distance } else { self.best_ask + distance };
        let half = if is_bid { &self.bids } else { &self.asks };
        let may_clear = if is_bid { slot > FLOOR } else { slot < CEILING };
        let qty =
            if half.qty[slot] > 0 && may_clear && rng.percent(30) { 0 } else { self.other_qty(rng, is_bid, slot) };
        self.set(rng, is_bid, slot, qty);
    }

    /// A quantity that is neither zero nor the present one.
    fn other_qty(&self, rng: &mut Rng, is_bid: bool, slot: usize) -> u64 {
        let present = if is_bid { self.bids.qty[slot] } else { self.asks.qty[slot] };
        let qty = 1 + rng.below(self.qty_max);
        if qty == present { qty + 1 } else { qty }
    }

    fn set(&mut self, rng: &mut Rng, is_bid: bool, slot: usize, qty: u64) {
        self.update_id += if self.id_jump_max > 1 { 1 + rng.below(self.id_jump_max) } else { 1 };
        let half = if is_bid { &mut self.bids } else { &mut self.asks };
        half.qty[slot] = qty;
        half.changed[slot] = self.update_id;
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back((self.update_id, u16::try_from(slot).expect("below 1,024"), is_bid));
        if is_bid {
            self.best_bid = if qty > 0 { self.best_bid.max(slot) } else { self.best_bid };
            while self.bids.qty[self.best_bid] == 0 {
                self.best_bid -= 1;
            }
        } else {
            self.best_ask = if qty > 0 { self.best_ask.min(slot) } else { self.best_ask };
            while self.asks.qty[self.best_ask] == 0 {
                self.best_ask += 1;
            }
        }
        debug_assert!(self.best_bid < self.best_ask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_book_is_never_crossed_and_never_leaves_its_slots_in_a_million_steps() {
        let mut rng = Rng::new(7, 0);
        let mut book = Book::new(&mut rng, 1_000, 1);
        let (mut lowest, mut highest, mut executions) = (SLOTS, 0, 0);
        for _ in 0..1_000_000 {
            let before = book.update_id();
            executions += usize::from(book.step(&mut rng).is_some());
            assert_eq!(book.update_id(), before + 1);
            assert!(book.best_bid < book.best_ask && book.best_bid().1 > 0 && book.best_ask().1 > 0);
            lowest = lowest.min(book.best_bid);
            highest = highest.max(book.best_ask);
        }
        assert!(lowest >= FLOOR && highest <= CEILING, "{lowest}..{highest}");
        assert!(highest - lowest > 20, "the price walks: {lowest}..{highest}");
        assert!(executions > 100_000, "{executions}");
    }

    #[test]
    fn the_changes_since_any_update_rebuild_the_book() {
        let mut rng = Rng::new(3, 9);
        let mut book = Book::new(&mut rng, 50, 40);
        let (mut bids, mut asks) = (Vec::new(), Vec::new());
        for steps in [1, 2, 10, 200, 300, 5_000] {
            let since = book.update_id();
            book.top(true, SLOTS, &mut bids);
            book.top(false, SLOTS, &mut asks);
            let mut sides: [BTreeMap<u16, u64>; 2] = [bids.iter().copied().collect(), asks.iter().copied().collect()];
            for _ in 0..steps {
                book.step(&mut rng);
            }
            let mut changes = Changes::default();
            book.changes_since(since, &mut changes);
            for (side, changed) in sides.iter_mut().zip([&changes.bids, &changes.asks]) {
                for &(slot, qty) in changed {
                    if qty == 0 {
                        side.remove(&slot)
                    } else {
                        side.insert(slot, qty)
                    };
                }
            }
            book.top(true, SLOTS, &mut bids);
            book.top(false, SLOTS, &mut asks);
            assert!(sides[0].iter().rev().eq(bids.iter().map(|(slot, qty)| (slot, qty))), "bids after {steps} steps");
            assert!(sides[1].iter().eq(asks.iter().map(|(slot, qty)| (slot, qty))), "asks after {steps} steps");
        }
    }

    #[test]
    fn an_execution_takes_from_the_best_level_what_it_fills() {
        let mut rng = Rng::new(1, 2);
        let mut book = Book::new(&mut rng, 9, 1);
        for _ in 0..10_000 {
            let (bid, ask) = (book.best_bid(), book.best_ask());
            let execution = book.execute(&mut rng, None);
            let resting = if execution.is_buy { ask } else { bid };
            assert_eq!(execution.slot, resting.0);
            assert!(execution.qty() > 0 && execution.fills().iter().all(|&fill| fill > 0));
            book.step(&mut rng);
        }
    }
}
