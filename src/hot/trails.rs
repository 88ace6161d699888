//! The last ids of every stream of trades, so that a hole is found when the first event behind it comes.
//!
//! ```text
//! id ─► row of (symbol, trade or aggregate): one more than the last? ─► yes: one store, and on
//!                                             └─ no ─► #[cold] step: first? a hole? late? back? a repeat of a refilled one?
//! holes:   opened (the other leg of an overlap may fill it) ─► told ─► refilled, id by id, or given up
//! pending: other streams that were interrupted, one bit each, until they speak again
//! ```
//! What a venue's ids mean is [`has_consecutive_ids`]; where they are not consecutive, any id follows any other, and only an
//! interruption leaves a hole, of unknown size. An id lies in at most one hole, and leaves it when it is delivered, live or
//! refilled: that is why none comes twice. Called by the delivery of events and by the core. Allocates in `new` alone.

use crate::limits::{HOLE_COUNT_MAX, SYMBOL_COUNT_MAX};
use crate::market::table::{Table, Zeroed};
use crate::market::{Gap, GapReason, MonoNs, StreamKind, Symbol, SymbolSpec, TradeId, Uuid, touch};
use crate::venue::has_consecutive_ids;

/// Streams of one symbol that have a row: trades and aggregates.
const STRIDE: usize = 2;
const ROW_COUNT: usize = SYMBOL_COUNT_MAX * STRIDE;

const _: () = assert!(ROW_COUNT.is_power_of_two(), "a mask keeps an index inside the table");
const _: () =
    assert!(StreamKind::TRADE.index() == 0 && StreamKind::AGG_TRADE.index() == 1, "their numbers are the rows'");

/// The last id of one stream. Both halves zero: none came yet.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Row {
    /// The id, or its lower half. Every bit is turned while the stream is interrupted: no id follows that.
    low: u64,
    high: u64,
    /// All ones where the next id has to be one more; zero where any follows any.
    mask: u64,
    note: u64,
}

// SAFETY: integers, of which zero is a value, and none of them has a destructor.
unsafe impl Zeroed for Row {}

/// The venue's ids are consecutive.
const IS_CONSECUTIVE: u64 = 1;
/// Interrupted since the last event.
const IS_INTERRUPTED: u64 = 2;
/// By a new subscription, not by the loss of the connection.
const IS_RESUBSCRIBED: u64 = 4;
/// Above this: the last overlap in which an eviction was told.
const OVERLAP_SHIFT: u32 = 32;

impl Row {
    const fn has(&self, flag: u64) -> bool {
        self.note & flag != 0
    }

    const fn last(&self) -> (u64, u64) {
        if self.has(IS_INTERRUPTED) { (!self.low, self.high) } else { (self.low, self.high) }
    }

    fn is_known(&self) -> bool {
        self.last() != (0, 0)
    }

    fn set(&mut self, low: u64, high: u64) {
        self.note &= !(IS_INTERRUPTED | IS_RESUBSCRIBED);
        self.mask = if self.has(IS_CONSECUTIVE) { u64::MAX } else { 0 };
        (self.low, self.high) = (low, high);
    }
}

/// Which trades or aggregates are missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MissingIds {
    /// The symbol.
    pub symbol: Symbol,
    /// Trades or aggregates.
    pub stream_kind: StreamKind,
    /// First missing id.
    pub first: u64,
    /// Last missing id.
    pub last: u64,
}

impl MissingIds {
    /// How many they are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last - self.first + 1
    }

    fn holds(&self, symbol: Symbol, stream_kind: StreamKind, id: u64) -> bool {
        (self.symbol, self.stream_kind) == (symbol, stream_kind) && (self.first..=self.last).contains(&id)
    }
}

/// Ids that have not come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub(super) ids: MissingIds,
    /// The slot whose event is the first behind it.
    pub(super) slot: u16,
    /// Its marker, as it stands.
    pub(super) gap: Gap,
    /// Set while the other leg may still fill it: since when.
    opened: Option<MonoNs>,
}

/// What an event is whose id does not simply follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The first of its stream.
    First,
    /// The stream was interrupted, and goes on where it had stopped.
    WithoutLoss,
    /// Ids were left out.
    Jump { before: TradeId, missing: MissingIds, reason: GapReason },
    /// The stream was interrupted, and its ids do not say what is missing.
    Unknown { before: TradeId, reason: GapReason },
    /// It lay in a hole.
    Filled {
        /// It was the last that the hole missed, and nobody was told of the hole.
        is_whole: bool,
    },
    /// Its id lies at or before the last one, in no hole. The strategy may have had it: nothing says.
    Back,
    /// It was refilled: the strategy has had it.
    Repeated,
}

/// A connection lags behind another by this many trades of one symbol at most: minutes of the busiest.
const LAG_IDS_MAX: u64 = 1_000_000;

/// See the module.
pub(super) struct Trails {
    rows: Table<Row, ROW_COUNT>,
    /// The last id that lay behind its stream's last one, by row: two in a row that follow one another are a new numbering.
    backs: Box<[u64]>,
    /// By symbol, a bit for each interrupted stream without a row; and for those that were subscribed again.
    pending: Box<[u32; SYMBOL_COUNT_MAX]>,
    resubscribed: Box<[u32; SYMBOL_COUNT_MAX]>,
    pending_count: usize,
    holes: Vec<Hole>,
    opened_count: usize,
    /// Ids that were refilled, the last ranges of them.
    refilled: Vec<MissingIds>,
    next_refilled: usize,
    /// Holes whose refill is to be asked for.
    asked: Vec<Hole>,
}

/// Where a stream's row is, if it has one.
#[inline]
fn row_of(symbol: Symbol, stream_kind: StreamKind) -> usize {
    // The mask changes nothing where the stream has a row, and lets the compiler drop the bounds check.
    (symbol.index() * STRIDE + stream_kind.index()) & (ROW_COUNT - 1)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn halves(id: TradeId) -> (u64, u64) {
    match id {
        TradeId::Number(number) => (number, 0),
        TradeId::Uuid(uuid) => (uuid.bits() as u64, (uuid.bits() >> 64) as u64),
        TradeId::Hash(hash) => (hash, 0),
    }
}

/// An id of the same kind as `like`.
const fn whole(like: TradeId, (low, high): (u64, u64)) -> TradeId {
    match like {
        TradeId::Number(_) => TradeId::Number(low),
        TradeId::Uuid(_) => TradeId::Uuid(Uuid::from_bits((high as u128) << 64 | low as u128)),
        TradeId::Hash(_) => TradeId::Hash(low),
    }
}

impl Trails {
    /// Of no symbol yet. The rows' 2 MiB and the holes' are there; the rest comes with the symbols.
    pub(super) fn new() -> Self {
        Self {
            rows: Table::zeroed(),
            backs: vec![0; ROW_COUNT].into_boxed_slice(),
            pending: zeroed(),
            resubscribed: zeroed(),
            pending_count: 0,
            holes: touch::vec(HOLE_COUNT_MAX),
            opened_count: 0,
            refilled: touch::vec(HOLE_COUNT_MAX),
            next_refilled: 0,
            asked: touch::vec(HOLE_COUNT_MAX),
        }
    }

    /// From now on this symbol's trades are followed. Brings its rows in.
    pub(super) fn add(&mut self, spec: &SymbolSpec) {
        for stream_kind in [StreamKind::TRADE, StreamKind::AGG_TRADE] {
            let is_consecutive = has_consecutive_ids(spec.venue, stream_kind);
            let row = Row { note: u64::from(is_consecutive) * IS_CONSECUTIVE, ..Row::default() };
            let at = row_of(spec.symbol, stream_kind);
            self.rows[at] = row;
            self.rows[at].set(0, 0);
            self.backs[at] = 0;
        }
        self.pending[spec.symbol.index()] = 0;
    }

    /// Notes that this id came. False, and nothing is noted, where it does not follow: [`Self::step`] says what it is.
    #[inline]
    pub(super) fn follows(&mut self, symbol: Symbol, stream_kind: StreamKind, id: TradeId) -> bool {
        let (low, high) = halves(id);
        let row = &mut self.rows[row_of(symbol, stream_kind)];
        let follows = (low.wrapping_sub(1) ^ row.low) & row.mask == 0;
        if follows {
            (row.low, row.high) = (low, high);
        }
        follows
    }

    /// What an id is that does not follow. `is_shared`: other connections bring this stream too.
    pub(super) fn step(&mut self, symbol: Symbol, stream_kind: StreamKind, id: TradeId, is_shared: bool) -> Step {
        let at = row_of(symbol, stream_kind);
        let (low, high) = halves(id);
        let row = &mut self.rows[at];
        if !row.is_known() {
            row.set(low, high);
            return Step::First;
        }
        let (is_interrupted, before) = (row.has(IS_INTERRUPTED), row.last());
        let reason = match (is_interrupted, row.has(IS_RESUBSCRIBED)) {
            (true, true) => GapReason::Resubscribed,
            (true, false) => GapReason::ConnectionLost,
            (false, _) => GapReason::IdJump,
        };
        if !row.has(IS_CONSECUTIVE) {
            row.set(low, high);
            return Step::Unknown { before: whole(id, before), reason };
        }
        let last = before.0;
        if low <= last {
            return self.late(at, (symbol, stream_kind), low, is_shared);
        }
        row.set(low, high);
        if low == last + 1 {
            return if is_interrupted { Step::WithoutLoss } else { Step::First };
        }
        let missing = MissingIds { symbol, stream_kind, first: last + 1, last: low - 1 };
        Step::Jump { before: whole(id, before), missing, reason }
    }

    fn late(&mut self, at: usize, (symbol, stream_kind): (Symbol, StreamKind), id: u64, is_shared: bool) -> Step {
        if let Some(is_whole) = self.fill(symbol, stream_kind, id) {
            return Step::Filled { is_whole };
        }
        if self.refilled.iter().any(|ids| ids.holds(symbol, stream_kind, id)) {
            return Step::Repeated;
        }
        // A connection that lags behind another brings what came before that one's first, one after the other.
        if is_shared && self.rows[at].low - id <= LAG_IDS_MAX {
            return Step::Back;
        }
        // A venue that starts its numbers again goes on from there; a single one that is late changes nothing.
        let back = std::mem::replace(&mut self.backs[at], id);
        if back != 0 && back.wrapping_add(1) == id {
            self.backs[at] = 0;
            self.rows[at].set(id, 0);
        }
        Step::Back
    }

    /// This id has come: it leaves the hole it lies in. `None` where it lies in none; else whether it was the last of a hole
    /// that nobody was told of.
    pub(super) fn fill(&mut self, symbol: Symbol, stream_kind: StreamKind, id: u64) -> Option<bool> {
        let at = self.holes.iter().position(|hole| hole.ids.holds(symbol, stream_kind, id))?;
        let hole = &mut self.holes[at];
        if hole.ids.first == hole.ids.last {
            let filled = self.remove(at);
            let is_left = |hole: &Hole| hole.opened.is_some() && hole.gap == filled.gap;
            return Some(filled.opened.is_some() && !self.holes.iter().any(is_left));
        }
        if id == hole.ids.first {
            hole.ids.first += 1;
        } else if id == hole.ids.last {
            hole.ids.last -= 1;
        } else {
            let mut behind = *hole;
            behind.ids.first = id + 1;
            hole.ids.last = id - 1;
            // Where no room is left, what lies behind is given up: told as missing, never refilled.
            if self.holes.len() < HOLE_COUNT_MAX {
                self.opened_count += usize::from(behind.opened.is_some());
                self.holes.push(behind);
            }
        }
        Some(false)
    }

    fn remove(&mut self, at: usize) -> Hole {
        let hole = self.holes.swap_remove(at);
        self.opened_count -= usize::from(hole.opened.is_some());
        hole
    }

    /// A hole that the other leg may still fill. False where there is no room for it: it is to be told at once.
    pub(super) fn open(&mut self, ids: MissingIds, slot: u16, gap: Gap, at: MonoNs) -> bool {
        let has_room = self.holes.len() < HOLE_COUNT_MAX;
        if has_room {
            self.holes.push(Hole { ids, slot, gap, opened: Some(at) });
            self.opened_count += 1;
        }
        has_room
    }

    /// A hole that was told: it is kept, and its refill is to be asked for. Another one that was told makes room for it where
    /// there is none: its refill may never have been answered. Gives how many ids are not asked for, or no longer waited for.
    pub(super) fn ask(&mut self, ids: MissingIds, slot: u16, gap: Gap) -> u64 {
        let mut without_room = 0;
        if self.holes.len() == HOLE_COUNT_MAX
            && let Some(at) = self.holes.iter().position(|hole| hole.opened.is_none())
        {
            without_room += self.remove(at).ids.count();
        }
        let has_room = self.holes.len() < HOLE_COUNT_MAX && self.asked.len() < HOLE_COUNT_MAX;
        if has_room {
            let hole = Hole { ids, slot, gap, opened: None };
            self.holes.push(hole);
            self.asked.push(hole);
        } else {
            without_room += ids.count();
        }
        without_room
    }

    /// The next hole whose refill is to be asked for.
    pub(super) fn next_asked(&mut self) -> Option<(u16, MissingIds)> {
        self.asked.pop().map(|hole| (hole.slot, hole.ids))
    }

    /// True while some hole waits for the other leg.
    pub(super) const fn has_opened(&self) -> bool {
        self.opened_count > 0
    }

    /// Takes the next hole that waits for the other leg and need not wait any more, its marker brought up to date.
    pub(super) fn next_overdue(&mut self, is_overdue: impl Fn(&Hole, MonoNs) -> bool) -> Option<Hole> {
        if !self.has_opened() {
            return None;
        }
        let is_due = |hole: &Hole| hole.opened.is_some_and(|opened| is_overdue(hole, opened));
        let at = self.holes.iter().position(is_due)?;
        let mut hole = self.remove(at);
        let MissingIds { first, last, .. } = hole.ids;
        hole.gap.before = Some(TradeId::Number(first - 1));
        hole.gap.after = Some(TradeId::Number(last + 1));
        hole.gap.missing = Some(hole.ids.count());
        Some(hole)
    }

    /// A refilled id, to be delivered: false where it has come meanwhile, or was never missing.
    pub(super) fn refill(&mut self, symbol: Symbol, stream_kind: StreamKind, id: u64) -> bool {
        if self.fill(symbol, stream_kind, id).is_none() {
            return false;
        }
        let newest = (self.next_refilled + HOLE_COUNT_MAX - 1) % HOLE_COUNT_MAX;
        if let Some(range) = self.refilled.get_mut(newest)
            && (range.symbol, range.stream_kind) == (symbol, stream_kind)
            && range.last.wrapping_add(1) == id
        {
            range.last = id;
            return true;
        }
        let range = MissingIds { symbol, stream_kind, first: id, last: id };
        if self.refilled.len() < HOLE_COUNT_MAX {
            self.refilled.push(range);
        } else {
            self.refilled[self.next_refilled] = range;
        }
        self.next_refilled = (self.next_refilled + 1) % HOLE_COUNT_MAX;
        true
    }

    /// No more of these ids will be refilled. Gives how many are still missing.
    pub(super) fn end_refill(&mut self, ids: MissingIds) -> u64 {
        let mut left = 0;
        let mut at = 0;
        while let Some(hole) = self.holes.get(at) {
            let is_of = (hole.ids.symbol, hole.ids.stream_kind) == (ids.symbol, ids.stream_kind)
                && hole.opened.is_none()
                && ids.first <= hole.ids.first
                && hole.ids.last <= ids.last;
            if is_of {
                left += self.remove(at).ids.count();
            } else {
                at += 1;
            }
        }
        left
    }

    /// This stream was interrupted: its next event comes behind a hole. `has_spoken`: it had events before.
    pub(super) fn interrupt(
        &mut self,
        symbol: Symbol,
        stream_kind: StreamKind,
        is_resubscribed: bool,
        has_spoken: bool,
    ) {
        if stream_kind.index() < STRIDE {
            let row = &mut self.rows[row_of(symbol, stream_kind)];
            if row.is_known() && !row.has(IS_INTERRUPTED) {
                row.low = !row.low;
                row.mask = u64::MAX;
                row.note |= IS_INTERRUPTED | if is_resubscribed { IS_RESUBSCRIBED } else { 0 };
            }
        } else if has_spoken {
            let bit = 1 << stream_kind.index();
            let (pending, resubscribed) = (&mut self.pending[symbol.index()], &mut self.resubscribed[symbol.index()]);
            if *pending & bit == 0 {
                *pending |= bit;
                *resubscribed = (*resubscribed & !bit) | if is_resubscribed { bit } else { 0 };
                self.pending_count += 1;
            }
        }
    }

    /// True while some stream without a row has not spoken since it was interrupted.
    #[inline]
    pub(super) const fn is_watchful(&self) -> bool {
        self.pending_count > 0
    }

    /// Why a stream without a row was interrupted, if it was: once, at its first event behind.
    pub(super) fn take_pending(&mut self, symbol: Symbol, stream_kind: StreamKind) -> Option<GapReason> {
        let bit = 1 << stream_kind.index();
        let pending = &mut self.pending[symbol.index()];
        if *pending & bit == 0 {
            return None;
        }
        *pending &= !bit;
        self.pending_count -= 1;
        let is_resubscribed = self.resubscribed[symbol.index()] & bit != 0;
        Some(if is_resubscribed { GapReason::Resubscribed } else { GapReason::ConnectionLost })
    }

    /// An id of this stream left the window of an overlap. True the first time in it.
    pub(super) fn evicted(&mut self, symbol: Symbol, stream_kind: StreamKind, overlap: u32) -> bool {
        let row = &mut self.rows[row_of(symbol, stream_kind)];
        let told = row.note >> OVERLAP_SHIFT;
        row.note = (row.note & u64::from(u32::MAX)) | u64::from(overlap) << OVERLAP_SHIFT;
        told != u64::from(overlap)
    }
}

fn zeroed() -> Box<[u32; SYMBOL_COUNT_MAX]> {
    let Ok(words) = vec![0; SYMBOL_COUNT_MAX].into_boxed_slice().try_into() else {
        unreachable!("the vector has SYMBOL_COUNT_MAX elements")
    };
    words
}

#[cfg(test)]
#[path = "trails_tests.rs"]
mod tests;
