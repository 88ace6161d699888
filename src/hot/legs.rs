//! Two connections with the same subscriptions: each event reaches the strategy once.
//!
//! ```text
//! old leg  (leader)    ──►┐ by its kind's identity:
//! new leg  (successor) ──►┘   id in the window? further than the last? does it join? who leads?  ──► router
//!
//! BeginOverlap ─ successor attached, subscribed ─ Promote ─ old leg closed, Lost ─ grace ─ EndOverlap
//! ```
//! Control decides when; this decides per event. What each identity means here:
//!
//! - *Trade id*: an event is delivered unless its id is in the window, whichever leg brings it, in any order.
//! - *Furthest*: delivered if its id lies above the last one delivered. A leg whose numbers start again at 1 starts a new
//!   numbering; the other leg's old numbers are behind it.
//! - *Chain*: a batch of absolute quantities covers the ids from its start to its last. It is delivered if it starts at or
//!   before the id that follows the last one delivered, and reaches beyond. Batches of both legs may be mixed: at the batch's
//!   last id every level it names has the quantity it names, whatever of the batch was applied before, and levels it does not
//!   name did not change within it. So after each delivered batch the book is the venue's at that id, however the legs cut
//!   their batches. A batch that starts further on is *ahead*: not delivered, because the other leg will bring what lies
//!   between; only where it cannot (it is gone, never spoke, is ahead itself, or says nothing while many batches come) the
//!   gap is handed on, and the book's own sequence rule finds it.
//! - *Snapshot*: the old leg leads until the new one's first snapshot of that book; from then on only the new one is heard.
//! - *None*: the old leg leads until the promotion; then the new one from its first event of that subscription on.
//!
//! Where one leg is lost the other leads at once. Tables are allocated and brought in by [`Overlap::new`], on the cold
//! side, and go back there whole: nothing here allocates, frees or clears.

use super::stats::{ConnectionStats, Counter};
use super::window::{Inserted, Window, brought_in};
use crate::limits::{OVERLAP_COUNT_MAX, SYMBOL_COUNT_MAX};
use crate::market::{
    AggTrade, BookKind, BookUpdate, Kline, Liquidation, MarkPrice, Quote, StreamKind, Symbol, Ticker, Trade, TradeId,
    Venue,
};
use crate::venue::{Identity, identity};
use std::sync::Arc;

/// Which of the two connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// The old one.
    Leader,
    /// The new one.
    Successor,
}

impl Side {
    const fn index(self) -> usize {
        self as usize
    }

    const fn other(self) -> Self {
        match self {
            Self::Leader => Self::Successor,
            Self::Successor => Self::Leader,
        }
    }
}

/// Whether a leg is on its core.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presence {
    Awaited,
    On,
    Gone,
}

/// What tells an event from others of its subscription, as far as its kind of stream has an identity.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Id(TradeId),
    Number(u64),
    Book { kind: BookKind, start: u64, last: u64 },
    Nothing,
}

/// What becomes of an event during an overlap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// The strategy gets it.
    Deliver,
    /// It does not: the other leg brought it, or leads this subscription.
    Repeated,
    /// It does not: what lies between the last delivered and this one has not come yet.
    Ahead,
}

/// What the cold side may see of an overlap: written by the core, read by anyone.
#[derive(Debug, Default)]
pub struct OverlapProgress {
    /// Chained books (by symbol and kind of stream) of which the successor's changes lie ahead: the old leg must bring what
    /// is between. While this is not 0, letting the old leg go would open a gap.
    pub unjoined: Counter,
    /// Chained books of which the successor's changes have joined. A book that did not change is in neither count.
    pub joined: Counter,
    /// Books with snapshots of their own that the successor leads.
    pub snapshots_passed: Counter,
    /// Subscriptions without identity that the successor leads.
    pub leads_passed: Counter,
}

/// What is known of one (symbol, kind of stream). All zero: nothing.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Id of the last delivered.
    last: u64,
    /// By leg. Furthest: its last id, or, while it has not spoken, the last of a numbering that the other leg has left.
    /// Chain: the furthest of its ids that was not delivered.
    seen: [u64; 2],
    /// By leg. Furthest: in which numbering it is. Chain: its batches ahead since the other leg last spoke.
    epochs: [u8; 2],
    /// The numbering of `last`.
    epoch: u8,
    /// A set of the flags below.
    flags: u8,
}

/// `last` is known.
const IS_KNOWN: u8 = 1;
/// By leg, shifted by its index: it has spoken.
const HAS_SPOKEN: u8 = 2;
/// The successor leads.
const HAS_PASSED: u8 = 8;
/// Counted as unjoined.
const IS_UNJOINED: u8 = 16;
/// Counted as joined.
const IS_JOINED: u8 = 32;

impl State {
    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    const fn has_spoken(&self, side: Side) -> bool {
        self.has(HAS_SPOKEN << side.index())
    }

    /// Sets a flag; true if it was not set.
    fn raise(&mut self, flag: u8) -> bool {
        let was = self.has(flag);
        self.flags |= flag;
        !was
    }

    /// Removes a flag; true if it was set.
    fn drop_flag(&mut self, flag: u8) -> bool {
        let was = self.has(flag);
        self.flags &= !flag;
        was
    }

    fn deliver(&mut self, last: u64) -> Verdict {
        self.last = last;
        self.flags |= IS_KNOWN;
        Verdict::Deliver
    }
}

/// Batches in a row that may lie ahead while the other leg says nothing of the book: three seconds of the common stream of
/// ten a second. An old leg that is half-open must not keep its successor silent for longer.
const AHEAD_COUNT_MAX: u8 = 32;

/// The value of `Overlap::tables` for a kind of stream without states.
const NO_TABLE: u8 = u8::MAX;

/// The tables by which one rotation's events are told apart. Made and freed on the cold side.
pub struct Overlap {
    id: u32,
    slots: [u16; 2],
    presence: [Presence; 2],
    is_promoted: bool,
    identities: [Identity; StreamKind::COUNT],
    /// By kind of stream: which table of `states` is its.
    tables: [u8; StreamKind::COUNT],
    states: Box<[State]>,
    window: Option<Window>,
    progress: Arc<OverlapProgress>,
}

impl std::fmt::Debug for Overlap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlap")
            .field("id", &self.id)
            .field("slots", &self.slots)
            .field("presence", &self.presence)
            .field("is_promoted", &self.is_promoted)
            .finish_non_exhaustive()
    }
}

impl Overlap {
    /// The tables of a rotation from the connection in slot `leader` to the one that will be in slot `successor`, of these
    /// kinds of stream. Allocates and brings in 10.6 MB where one has trade ids, and half a megabyte for every other.
    ///
    /// Those that are not named here (a subscription added while the overlap is on) have one speaker: the leader until the
    /// promotion, the successor after it.
    ///
    /// `id` is the caller's, for [`super::Command::EndOverlap`]; no two overlaps of a core under way may share one. To be
    /// sent at least a second before the successor subscribes, so that what the leader brings meanwhile is known.
    #[must_use]
    pub fn new(
        id: u32,
        venue: Venue,
        leader: u16,
        successor: u16,
        stream_kinds: impl IntoIterator<Item = StreamKind>,
    ) -> Self {
        let mut identities = [Identity::None; StreamKind::COUNT];
        let mut tables = [NO_TABLE; StreamKind::COUNT];
        let mut table_count = 0_u8;
        let mut has_ids = false;
        for stream_kind in stream_kinds {
            let index = stream_kind.index();
            identities[index] = identity(venue, stream_kind);
            if identities[index] == Identity::TradeId {
                has_ids = true;
            } else if tables[index] == NO_TABLE {
                tables[index] = table_count;
                table_count += 1;
            }
        }
        let count = usize::from(table_count) * SYMBOL_COUNT_MAX;
        let states = brought_in(State { epoch: 1, ..State::default() }, State::default(), count);
        Self {
            id,
            slots: [leader, successor],
            presence: [Presence::On, Presence::Awaited],
            is_promoted: false,
            identities,
            tables,
            states,
            window: has_ids.then(Window::new),
            progress: Arc::default(),
        }
    }

    /// The caller's id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The slot of the old connection.
    #[must_use]
    pub const fn leader(&self) -> u16 {
        self.slots[Side::Leader.index()]
    }

    /// The slot of the new connection.
    #[must_use]
    pub const fn successor(&self) -> u16 {
        self.slots[Side::Successor.index()]
    }

    /// How far it is, to be read while the core has it.
    #[must_use]
    pub fn progress(&self) -> Arc<OverlapProgress> {
        Arc::clone(&self.progress)
    }

    pub(super) fn attached(&mut self, side: Side) {
        self.presence[side.index()] = Presence::On;
    }

    pub(super) fn lost(&mut self, side: Side) {
        self.presence[side.index()] = Presence::Gone;
    }

    pub(super) fn promote(&mut self) {
        self.is_promoted = true;
    }

    /// True if the successor led a book with snapshots of its own.
    pub(super) fn has_snapshot_passed(&self) -> bool {
        self.progress.snapshots_passed.get() > 0
    }

    /// True if what this leg brings of a book joins what was delivered of it, now that the other leg is lost. The old leg is
    /// subscribed, the new one where it has spoken or was promoted. Where it says something else than was thought, the book's
    /// own sequence rule finds it.
    fn goes_on(&self, side: Side, symbol: Symbol, stream_kind: StreamKind) -> bool {
        let table = usize::from(self.tables[stream_kind.index()]) * SYMBOL_COUNT_MAX;
        let Some(state) = self.states.get(table + symbol.index()) else { return false };
        let is_subscribed = side == Side::Leader || self.is_promoted || state.has_spoken(side);
        let joins = match self.identities[stream_kind.index()] {
            Identity::Chain => state.seen[side.index()] <= state.last,
            Identity::Furthest => true,
            // Its changes are of its own snapshot: the other's book is nothing to them.
            Identity::Snapshot | Identity::TradeId | Identity::None => false,
        };
        self.is_on(side) && is_subscribed && joins
    }

    fn is_on(&self, side: Side) -> bool {
        self.presence[side.index()] == Presence::On
    }

    /// What becomes of an event that this leg brought, and the count of it.
    #[cold]
    #[inline(never)]
    pub(super) fn judge(
        &mut self,
        side: Side,
        symbol: Symbol,
        stream_kind: StreamKind,
        mark: Mark,
        stats: &ConnectionStats,
    ) -> bool {
        match self.verdict(side, symbol, stream_kind, mark, stats) {
            Verdict::Deliver => return true,
            Verdict::Repeated => stats.repeated.add(1),
            Verdict::Ahead => stats.ahead.add(1),
        }
        false
    }

    fn verdict(
        &mut self,
        side: Side,
        symbol: Symbol,
        stream_kind: StreamKind,
        mark: Mark,
        stats: &ConnectionStats,
    ) -> Verdict {
        if let (Mark::Id(id), Some(window)) = (mark, &mut self.window)
            && self.identities[stream_kind.index()] == Identity::TradeId
        {
            // Nobody is left to bring it again: it need not be remembered, and pushes out none that is.
            if self.presence[side.other().index()] == Presence::Gone {
                let is_known = window.contains(symbol, stream_kind, id);
                return if is_known { Verdict::Repeated } else { Verdict::Deliver };
            }
            return match window.insert(symbol, stream_kind, id) {
                Inserted::Known => Verdict::Repeated,
                Inserted::New => Verdict::Deliver,
                Inserted::Evicting => {
                    stats.window_evictions.add(1);
                    Verdict::Deliver
                }
            };
        }
        let is_alone = !self.is_on(side.other());
        let table = usize::from(self.tables[stream_kind.index()]) * SYMBOL_COUNT_MAX;
        let Some(state) = self.states.get_mut(table + symbol.index()) else {
            let leader = if self.is_promoted { Side::Successor } else { Side::Leader };
            return if is_alone || side == leader { Verdict::Deliver } else { Verdict::Repeated };
        };
        let progress = &*self.progress;
        match (self.identities[stream_kind.index()], mark) {
            (Identity::Furthest, Mark::Number(id) | Mark::Book { last: id, .. }) => furthest(state, side, id),
            (Identity::Chain, Mark::Book { start, last, .. }) => chain(state, side, (start, last), is_alone, progress),
            (Identity::Snapshot, Mark::Book { kind, .. }) => snapshot(state, side, kind, is_alone, progress),
            _ => unidentified(state, side, self.is_promoted, is_alone, progress),
        }
    }
}

fn furthest(state: &mut State, side: Side, id: u64) -> Verdict {
    let at = side.index();
    if !state.has_spoken(side) {
        // Where the other leg's numbering started again before this one spoke, `seen` is where the old one ended: its late
        // numbers lie there, those of the new one near its last.
        if state.seen[at] != 0 && id.abs_diff(state.seen[at]) < id.abs_diff(state.last) {
            return Verdict::Repeated;
        }
        state.raise(HAS_SPOKEN << at);
        state.epochs[at] = state.epoch;
    } else if id < state.seen[at] && (id == 1 || state.epochs[at] < state.epoch) {
        // Its numbering starts again; where the other leg's did before, any fall says so.
        state.epochs[at] = state.epochs[at].saturating_add(1);
    }
    state.seen[at] = id;
    if state.epochs[at] > state.epoch {
        state.epoch = state.epochs[at];
        if !state.has_spoken(side.other()) {
            state.seen[side.other().index()] = state.last;
        }
        return state.deliver(id);
    }
    if state.epochs[at] == state.epoch && (!state.has(IS_KNOWN) || id > state.last) {
        return state.deliver(id);
    }
    Verdict::Repeated
}

fn chain(
    state: &mut State,
    side: Side,
    (start, last): (u64, u64),
    is_alone: bool,
    progress: &OverlapProgress,
) -> Verdict {
    let other = side.other();
    state.raise(HAS_SPOKEN << side.index());
    state.epochs[other.index()] = 0;
    let is_known = state.has(IS_KNOWN);
    if is_known && last <= state.last {
        settle(state, side == Side::Successor, progress);
        return Verdict::Repeated;
    }
    let joins = is_known && start <= state.last.saturating_add(1);
    // The other leg cannot bring what is missing: it is not there, has fallen silent, never spoke of this book, or lies ahead
    // itself. Before the first event only the old leg knows where the chain is.
    let is_beyond_help = is_alone
        || state.epochs[side.index()] >= AHEAD_COUNT_MAX
        || if is_known {
            !state.has_spoken(other) || state.seen[other.index()] > state.last
        } else {
            side == Side::Leader
        };
    if !joins && !is_beyond_help {
        state.seen[side.index()] = last;
        state.epochs[side.index()] += 1;
        if side == Side::Successor && !state.has(IS_JOINED) && state.raise(IS_UNJOINED) {
            progress.unjoined.add(1);
        }
        return Verdict::Ahead;
    }
    let verdict = state.deliver(last);
    settle(state, side == Side::Successor, progress);
    verdict
}

/// Counts a chained book's successor as joined once it is. `has_met`: an event of it was delivered or known.
fn settle(state: &mut State, has_met: bool, progress: &OverlapProgress) {
    let is_overtaken = state.has(IS_UNJOINED) && state.last >= state.seen[Side::Successor.index()];
    if has_met || is_overtaken {
        if state.drop_flag(IS_UNJOINED) {
            progress.unjoined.set(progress.unjoined.get() - 1);
        }
        if state.raise(IS_JOINED) {
            progress.joined.add(1);
        }
    }
}

fn snapshot(state: &mut State, side: Side, kind: BookKind, is_alone: bool, progress: &OverlapProgress) -> Verdict {
    let is_base = kind != BookKind::Delta;
    match side {
        Side::Successor => {
            if is_base && state.raise(HAS_PASSED) {
                progress.snapshots_passed.add(1);
            }
            if is_alone || state.has(HAS_PASSED) { Verdict::Deliver } else { Verdict::Repeated }
        }
        Side::Leader if !state.has(HAS_PASSED) => Verdict::Deliver,
        Side::Leader if !is_alone => Verdict::Repeated,
        // The lead came back: this leg's changes join to no snapshot until it sends its own.
        Side::Leader if is_base => {
            state.drop_flag(HAS_PASSED);
            Verdict::Deliver
        }
        Side::Leader => Verdict::Ahead,
    }
}

fn unidentified(
    state: &mut State,
    side: Side,
    is_promoted: bool,
    is_alone: bool,
    progress: &OverlapProgress,
) -> Verdict {
    if side == Side::Successor && (is_promoted || is_alone) && state.raise(HAS_PASSED) {
        progress.leads_passed.add(1);
    }
    let leads = match side {
        Side::Leader => !state.has(HAS_PASSED),
        Side::Successor => state.has(HAS_PASSED),
    };
    if leads || is_alone { Verdict::Deliver } else { Verdict::Repeated }
}

/// An event of a subscription that two legs may carry.
pub(super) trait Marked {
    /// What tells it from others.
    fn mark(&self) -> Mark;
}

macro_rules! marked {
    ($($event:ty, |$this:ident| $mark:expr;)*) => {
        $(impl Marked for $event {
            #[inline]
            fn mark(&self) -> Mark {
                let $this = self;
                $mark
            }
        })*
    };
}

marked! {
    Trade, |event| Mark::Id(event.id);
    AggTrade, |event| Mark::Id(TradeId::Number(event.id));
    Quote, |event| Mark::Number(event.update_id);
    // USD-M's ids jump within a batch: it starts behind the last of the batch before, which it names.
    BookUpdate<'_>, |event| Mark::Book {
        kind: event.kind,
        start: event.ids.previous.map_or(event.ids.first, |previous| previous.saturating_add(1)),
        last: event.ids.last,
    };
    Ticker, |_event| Mark::Nothing;
    Kline, |_event| Mark::Nothing;
    MarkPrice, |_event| Mark::Nothing;
    Liquidation, |_event| Mark::Nothing;
}

/// Where a slot's overlap is, and which side of it the slot is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Role {
    at: u8,
    side: Side,
}

/// The overlaps of one core.
#[derive(Debug, Default)]
pub(super) struct Overlaps([Option<Box<Overlap>>; OVERLAP_COUNT_MAX]);

impl Overlaps {
    /// Takes an overlap, and gives the roles of its leader and successor. `has` tells whether the core has a slot now.
    ///
    /// # Errors
    /// The overlap, where there is no room, one of its slots is in another, or its id is taken.
    pub(super) fn begin(
        &mut self,
        mut overlap: Box<Overlap>,
        has: impl Fn(u16) -> bool,
    ) -> Result<[Role; 2], Box<Overlap>> {
        let [leader, successor] = overlap.slots;
        let is_clash = |other: &Overlap| {
            other.id == overlap.id || [leader, successor].iter().any(|&slot| other.side_of(slot).is_some())
        };
        if leader == successor || self.0.iter().flatten().any(|other| is_clash(other)) {
            return Err(overlap);
        }
        let Some(at) = self.0.iter().position(Option::is_none) else { return Err(overlap) };
        if !has(leader) {
            overlap.lost(Side::Leader);
        }
        if has(successor) {
            overlap.attached(Side::Successor);
        }
        self.0[at] = Some(overlap);
        let at = u8::try_from(at).expect("OVERLAP_COUNT_MAX is small");
        Ok([Role { at, side: Side::Leader }, Role { at, side: Side::Successor }])
    }

    /// The role of a slot that is being attached.
    pub(super) fn attach(&mut self, slot: u16) -> Option<Role> {
        for (at, overlap) in self.0.iter_mut().enumerate() {
            if let Some(overlap) = overlap
                && overlap.side_of(slot) == Some(Side::Successor)
            {
                overlap.attached(Side::Successor);
                return Some(Role { at: u8::try_from(at).expect("OVERLAP_COUNT_MAX is small"), side: Side::Successor });
            }
        }
        None
    }

    /// The leg in this role is lost. Where it was the successor and the leader is there, the leader's slot and whether a
    /// book with snapshots of its own had passed.
    pub(super) fn lose(&mut self, role: Role) -> Option<(u16, bool)> {
        let overlap = self.0[usize::from(role.at)].as_deref_mut()?;
        overlap.lost(role.side);
        (role.side == Side::Successor && overlap.is_on(Side::Leader))
            .then(|| (overlap.leader(), overlap.has_snapshot_passed()))
    }

    /// The slot of the leg that goes on with a book which the one in this role fed until it was lost, if one does: it brings
    /// what follows, so the book stays true.
    pub(super) fn carries_on(&self, role: Role, symbol: Symbol, stream_kind: StreamKind) -> Option<u16> {
        let overlap = self.0[usize::from(role.at)].as_deref()?;
        let other = role.side.other();
        overlap.goes_on(other, symbol, stream_kind).then(|| overlap.slots[other.index()])
    }

    /// Promotes the successor in this slot; false if there is none.
    pub(super) fn promote(&mut self, slot: u16) -> bool {
        let found = self.0.iter_mut().flatten().find(|overlap| overlap.side_of(slot) == Some(Side::Successor));
        found.map(|overlap| overlap.promote()).is_some()
    }

    /// Gives an overlap back.
    pub(super) fn end(&mut self, id: u32) -> Option<Box<Overlap>> {
        self.0.iter_mut().find(|overlap| overlap.as_ref().is_some_and(|overlap| overlap.id == id))?.take()
    }

    /// The overlap of a role, and the side.
    #[inline]
    pub(super) fn get(&mut self, role: Role) -> Option<(&mut Overlap, Side)> {
        self.0[usize::from(role.at) % OVERLAP_COUNT_MAX].as_deref_mut().map(|overlap| (overlap, role.side))
    }
}

impl Overlap {
    /// The side of a slot whose leg is not gone: a slot that was lost belongs to a stranger.
    fn side_of(&self, slot: u16) -> Option<Side> {
        [Side::Leader, Side::Successor].into_iter().find(|side| {
            let at = side.index();
            self.slots[at] == slot && self.presence[at] != Presence::Gone
        })
    }
}

#[cfg(test)]
#[path = "legs_tests.rs"]
mod tests;
