//! Several connections with the same subscriptions: each event reaches the strategy once.
//!
//! ```text
//! leg in place 0 ──►┐ by its kind's identity (arbitrate):
//! leg in place 1 ──►┤   id in the window? further than the last? does it join? who leads?  ──► router
//! leg in place 2 ──►┘
//!
//! a rotation   BeginOverlap ─ successor attached, subscribed ─ Promote ─ old leg closed, Lost ─ grace ─ EndOverlap
//! legs         BeginOverlap ─ each leg joins with its attachment and leaves with its loss, successors among them ─ EndOverlap
//! ```
//! Control decides when; this decides per event. What each identity means here:
//!
//! - *Trade id*: an event is delivered unless its id is in the window, whichever leg brings it, in any order.
//! - *Furthest*: delivered if its id lies above the last one delivered. A leg whose numbers start again at 1 starts a new
//!   numbering; the other legs' old numbers are behind it.
//! - *Chain*: a batch of absolute quantities covers the ids from its start to its last. It is delivered if it starts at or
//!   before the id that follows the last one delivered, and reaches beyond. Batches of all legs may be mixed: at the batch's
//!   last id every level it names has the quantity it names, whatever of the batch was applied before, and levels it does not
//!   name did not change within it. So after each delivered batch the book is the venue's at that id, however the legs cut
//!   their batches. A batch that starts further on is *ahead*: it waits (early), because another leg will bring what lies
//!   between; only where none can (each is gone, never spoke, is ahead itself, or says nothing while many batches come) what
//!   waits is delivered with the gap before it, and the book's own sequence rule finds it.
//! - *Snapshot*: one leg leads each book. A successor takes over at its first snapshot of it, any other leg at its first
//!   snapshot after the leader was lost; where the engine keeps a book of each leg (shelf), at its next message, which is
//!   given as a whole book. Those books take the messages of every leg, delivered or not, and the furthest is published.
//! - *None*: one leg leads each subscription: a successor from its first event after the promotion on, any other leg once
//!   the leader is gone, or has said nothing while another spoke for as long as the overlap allows.
//!
//! Tables are allocated and brought in by [`Overlap::new`] and [`Overlap::of_legs`], on the cold side, and go back there
//! whole: nothing here allocates, frees or clears.

use super::arbitrate::{Led, Legs, Place, State, Verdict};
use super::early::Early;
use super::stats::{ConnectionStats, Counter};
use super::window::{Inserted, Window, brought_in};
use crate::limits::{LEG_PLACES, LEGGED_SOCKET_COUNT_MAX, OVERLAP_COUNT_MAX, SYMBOL_COUNT_MAX};
use crate::market::{
    AggTrade, BookKind, BookUpdate, Kline, Liquidation, MarkPrice, MonoNs, Quote, StreamKind, Symbol, Ticker, Trade,
    TradeId, Venue,
};
use crate::venue::{Identity, identity};
use std::sync::Arc;
use std::time::Duration;

/// Place of the old connection of a rotation, and of the new one.
const LEADER: Place = Place::new(0).expect("below LEG_PLACES");
const SUCCESSOR: Place = Place::new(1).expect("below LEG_PLACES");

/// What becomes of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Judgement {
    /// It is delivered.
    Deliver,
    /// It is not.
    Drop,
    /// It waits, as [`Overlap::wait`] has it.
    Keep,
    /// It is delivered behind what waits of its book, as [`Overlap::wait`] has it.
    KeepAndRelease,
}

/// What tells an event from others of its subscription, as far as its kind of stream has an identity.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Id(TradeId),
    Number(u64),
    Book { kind: BookKind, start: u64, last: u64 },
    Nothing,
}

/// What the cold side may see of an overlap: written by the core, read by anyone.
#[derive(Debug, Default)]
pub struct OverlapProgress {
    /// Chained books (by symbol and kind of stream) of which the successor's changes lie ahead: another leg must bring what
    /// is between. While this is not 0, letting the old leg go may open a gap. Counted from the last successor's coming on.
    pub unjoined: Counter,
    /// Chained books of which the successor's changes have joined. A book that did not change is in neither count.
    pub joined: Counter,
    /// Subscriptions without identity that a successor leads.
    pub leads_passed: Counter,
}

/// How a connection takes part in an overlap that lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Joining {
    /// The overlap's id.
    pub id: u32,
    /// The number of the leg that it is to succeed: [`Feed::leg`](super::Feed::leg) of that one.
    pub successor_of: Option<u8>,
}

/// The value of `Overlap::tables` for a kind of stream without states.
const NO_TABLE: u8 = u8::MAX;

/// The tables by which the events of one set of legs are told apart. Made and freed on the cold side.
pub struct Overlap {
    legs: Legs,
    identities: [Identity; StreamKind::COUNT],
    /// By kind of stream: which table of `states` is its.
    tables: [u8; StreamKind::COUNT],
    states: Box<[State]>,
    window: Option<Window>,
    /// Batches that wait, where there are chained books.
    early: Option<Early>,
    progress: Arc<OverlapProgress>,
    id: u32,
    slots: [Option<u16>; LEG_PLACES],
    /// Books with snapshots of their own, by the place that leads them.
    led: Led,
    /// The successor of a rotation is still to come.
    is_awaiting: bool,
    /// It has no end of its own: legs come and go.
    is_lasting: bool,
}

impl std::fmt::Debug for Overlap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlap")
            .field("id", &self.id)
            .field("slots", &self.slots)
            .field("legs", &self.legs)
            .field("is_lasting", &self.is_lasting)
            .finish_non_exhaustive()
    }
}

impl Overlap {
    /// The tables of a rotation from the connection in slot `leader` to the one that will be in slot `successor`, of these
    /// kinds of stream. Allocates and brings in 12.6 MB where one has trade ids, and a megabyte for every other.
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
        let mut overlap = Self::with_tables(id, venue, Some(LEADER), u64::MAX, stream_kinds);
        overlap.legs.join(LEADER, None);
        (overlap.slots[LEADER.index()], overlap.slots[SUCCESSOR.index()]) = (Some(leader), Some(successor));
        overlap.is_awaiting = true;
        overlap
    }

    /// The tables of connections that carry these kinds of stream together for as long as they are wanted: each joins with
    /// its attachment, by [`Feed::joining`](super::Feed::joining). As large as those of a rotation.
    ///
    /// Kinds of stream that are not named here have one speaker at a time, until that is lost. A leg that leads what has no
    /// identity loses the lead after `failover` without an event of it, while another leg has one.
    #[must_use]
    pub fn of_legs(
        id: u32,
        venue: Venue,
        failover: Duration,
        stream_kinds: impl IntoIterator<Item = StreamKind>,
    ) -> Self {
        let failover_ns = u64::try_from(failover.as_nanos()).unwrap_or(u64::MAX);
        Self { is_lasting: true, ..Self::with_tables(id, venue, None, failover_ns, stream_kinds) }
    }

    fn with_tables(
        id: u32,
        venue: Venue,
        leader: Option<Place>,
        failover_ns: u64,
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
        let has_chains = identities.contains(&Identity::Chain);
        Self {
            legs: Legs::new(failover_ns),
            identities,
            tables,
            states: brought_in(State::other(), State::led_by(leader), count),
            window: has_ids.then(Window::new),
            early: has_chains.then(Early::new),
            progress: Arc::default(),
            id,
            slots: [None; LEG_PLACES],
            led: Led::default(),
            is_awaiting: false,
            is_lasting: false,
        }
    }

    /// The caller's id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The slots of a rotation's two connections; `None` for legs, which join with their attachments.
    #[must_use]
    pub fn rotation(&self) -> Option<[u16; 2]> {
        let of = |place: Place| self.slots[place.index()].filter(|_| !self.is_lasting);
        of(LEADER).zip(of(SUCCESSOR)).map(|(leader, successor)| [leader, successor])
    }

    /// How far it is, to be read while the core has it.
    #[must_use]
    pub fn progress(&self) -> Arc<OverlapProgress> {
        Arc::clone(&self.progress)
    }

    /// A leg comes.
    fn join(&mut self, place: Place, predecessor: Option<Place>) {
        // What waits of a time before which nobody was there would come behind an outage as if it were of now.
        if let Some(early) = self.early.as_mut().filter(|_| self.legs.is_alone(place) && !self.legs.is_on(place)) {
            early.forget();
        }
        self.legs.join(place, predecessor);
        self.led.joined(place);
        self.is_awaiting = false;
        if predecessor.is_some() {
            self.progress.unjoined.set(0);
            self.progress.joined.set(0);
        }
    }

    /// A leg is lost. Where another is on that it left something to: the slot of that one, and whether there are books with
    /// snapshots of their own among it.
    fn leave(&mut self, place: Place) -> Option<(u16, bool)> {
        let other = self.legs.other(place);
        let was_successor = self.legs.predecessor(place).is_some_and(|predecessor| other == Some(predecessor));
        // Of legs, the one that was told may be lost before it leads: whoever is left is told again.
        let has_led_book = self.led.lost(place);
        self.legs.leave(place);
        self.slots[place.index()] = None;
        let slot = self.slots[other?.index()]?;
        // In a rotation the successor goes on with the old leg's books by its own snapshots, unasked.
        (was_successor || self.is_lasting && has_led_book).then_some((slot, has_led_book))
    }

    fn promote(&mut self, place: Place) {
        self.legs.promote(place);
    }

    /// True if what this leg brings of a book joins what was delivered of it, now that another leg is lost. An old leg is
    /// subscribed, another where it has spoken or was promoted. Where it says something else than was thought, the book's own
    /// sequence rule finds it.
    fn goes_on(&self, place: Place, symbol: Symbol, stream_kind: StreamKind) -> bool {
        let Some(state) = self.states.get(self.position(symbol, stream_kind)) else { return false };
        let joins = match self.identities[stream_kind.index()] {
            // What waits lies behind a hole that this leg does not fill.
            Identity::Chain => state.is_joined(place),
            Identity::Furthest => true,
            // Its changes are of its own snapshot: the other's book is nothing to them.
            Identity::Snapshot | Identity::TradeId | Identity::None => false,
        };
        let is_old = !self.is_lasting && place == LEADER;
        let is_subscribed = is_old || self.legs.is_promoted(place) || state.has_spoken(place, &self.legs);
        self.legs.is_on(place) && is_subscribed && joins
    }

    /// What becomes of an event that the leg in this place brought, and the count of it.
    #[inline]
    pub(super) fn judge(
        &mut self,
        place: Place,
        symbol: Symbol,
        stream_kind: StreamKind,
        (mark, now): (Mark, MonoNs),
        stats: &ConnectionStats,
    ) -> Judgement {
        let identity = self.identities[stream_kind.index()];
        let verdict = self.verdict(place, symbol, stream_kind, (mark, now), stats);
        let is_race = self.is_lasting && matches!(identity, Identity::TradeId | Identity::Furthest | Identity::Chain);
        match verdict {
            Verdict::Deliver => {
                stats.won.add(u64::from(is_race));
                return Judgement::Deliver;
            }
            Verdict::Ahead => {
                stats.ahead.add(1);
                let waits = identity == Identity::Chain;
                return if waits { Judgement::Keep } else { Judgement::Drop };
            }
            Verdict::AfterWaiting => {
                stats.ahead.add(1);
                return Judgement::KeepAndRelease;
            }
            Verdict::Repeated(won_at) => {
                stats.repeated.add(1);
                if is_race {
                    stats.lost.add(1);
                    if let Some(won_at) = won_at {
                        let lag_ns = now.since_ns(won_at);
                        stats.lag_ns.add(lag_ns);
                        stats.lag.record(lag_ns);
                    }
                }
            }
        }
        Judgement::Drop
    }

    /// True where this leg may lead a book with snapshots of its own that nobody leads any more, or whose leader is silent, if its
    /// own book of it is kept and live. To be asked behind [`judge`](Self::judge) of its message.
    #[inline]
    pub(super) fn may_lead(&self, place: Place, symbol: Symbol, stream_kind: StreamKind, now: MonoNs) -> bool {
        self.identities[stream_kind.index()] == Identity::Snapshot
            && self
                .states
                .get(self.position(symbol, stream_kind))
                .is_some_and(|state| state.may_lead(&self.legs, place, now))
    }

    /// This leg leads the book from here on.
    pub(super) fn lead(&mut self, place: Place, symbol: Symbol, stream_kind: StreamKind) {
        let at = self.position(symbol, stream_kind);
        if let Some(state) = self.states.get_mut(at) {
            let _ = state.lead(&self.legs, place, &mut self.led);
        }
    }

    /// A trade was delivered that no leg brought: one that brings it yet repeats it.
    pub(super) fn remember(&mut self, symbol: Symbol, stream_kind: StreamKind, id: TradeId, now: MonoNs) {
        if let Some(window) = &mut self.window {
            let _ = window.insert(symbol, stream_kind, id, now);
        }
    }

    /// True where something may wait of this book.
    #[inline]
    pub(super) fn has_waiting(&self, symbol: Symbol, stream_kind: StreamKind) -> bool {
        self.states.get(self.position(symbol, stream_kind)).is_some_and(State::has_waiting)
    }

    /// A batch of a book of which some wait, as it was judged: it waits too, or those go to `deliver` that it has brought the
    /// book to.
    #[cold]
    #[inline(never)]
    pub(super) fn wait(
        &mut self,
        update: &BookUpdate<'_>,
        judgement: Judgement,
        mut deliver: impl FnMut(&BookUpdate<'_>),
    ) {
        if judgement != Judgement::Deliver {
            self.keep(update);
        }
        if judgement == Judgement::Keep {
            return;
        }
        let (symbol, now) = (update.meta.symbol, update.meta.received.mono);
        let is_forced = judgement == Judgement::KeepAndRelease;
        while let Some(waited) = self.release(symbol, update.stream_kind(), (now, is_forced)) {
            deliver(&waited);
        }
    }

    fn keep(&mut self, update: &BookUpdate<'_>) {
        if let (Some(early), Mark::Book { start, .. }) = (&mut self.early, update.mark()) {
            early.keep(update, start);
        }
    }

    /// The next batch of this book that has waited and is to be delivered now: one that joins what was delivered; where
    /// `is_forced` any, the first one first.
    fn release(
        &mut self,
        symbol: Symbol,
        stream_kind: StreamKind,
        (now, is_forced): (MonoNs, bool),
    ) -> Option<BookUpdate<'_>> {
        let at = self.position(symbol, stream_kind);
        let (state, early) = (self.states.get_mut(at)?, self.early.as_mut()?);
        let Some(waiting) = early.first(symbol, stream_kind, state.last()) else {
            state.none_waits();
            return None;
        };
        let (start, last) = waiting.ids;
        if start > state.last().saturating_add(1) && !is_forced {
            return None;
        }
        state.release(&self.legs, last, now, &self.progress);
        early.take(waiting)
    }

    /// Where the state of a book or another subscription is; beyond all where it has none.
    #[inline]
    fn position(&self, symbol: Symbol, stream_kind: StreamKind) -> usize {
        usize::from(self.tables[stream_kind.index()]) * SYMBOL_COUNT_MAX + symbol.index()
    }

    #[inline]
    fn verdict(
        &mut self,
        place: Place,
        symbol: Symbol,
        stream_kind: StreamKind,
        (mark, now): (Mark, MonoNs),
        stats: &ConnectionStats,
    ) -> Verdict {
        let identity = self.identities[stream_kind.index()];
        if let (Mark::Id(id), Identity::TradeId, Some(window)) = (mark, identity, &mut self.window) {
            // Nobody is left to bring it again: it need not be remembered, and pushes out none that is.
            let is_last = !self.is_lasting && !self.is_awaiting && self.legs.is_alone(place);
            return if is_last {
                known(window, symbol, stream_kind, id, now)
            } else {
                race(window, symbol, stream_kind, id, now, stats)
            };
        }
        let at = self.position(symbol, stream_kind);
        let Some(state) = self.states.get_mut(at) else {
            return if self.legs.leads(place) { Verdict::Deliver } else { Verdict::Repeated(None) };
        };
        let (legs, progress) = (&self.legs, &*self.progress);
        match (identity, mark) {
            (Identity::Furthest, Mark::Number(id) | Mark::Book { last: id, .. }) => {
                state.furthest(legs, place, id, now)
            }
            (Identity::Chain, Mark::Book { start, last, .. }) => state.chain(legs, place, (start, last), now, progress),
            (Identity::Snapshot, Mark::Book { kind, .. }) => state.snapshot(legs, place, kind, now, &mut self.led),
            _ => state.unidentified(legs, place, now, progress),
        }
    }

    /// The place of a slot whose leg is not gone: a slot that was lost belongs to a stranger.
    fn place_of(&self, slot: u16) -> Option<Place> {
        Place::all().find(|place| self.slots[place.index()] == Some(slot))
    }
}

#[inline]
fn race(
    window: &mut Window,
    symbol: Symbol,
    stream_kind: StreamKind,
    id: TradeId,
    now: MonoNs,
    stats: &ConnectionStats,
) -> Verdict {
    match window.insert(symbol, stream_kind, id, now) {
        Inserted::Known(at) => Verdict::Repeated(Some(at)),
        Inserted::New => Verdict::Deliver,
        Inserted::Evicting => {
            stats.window_evictions.add(1);
            Verdict::Deliver
        }
    }
}

#[cold]
fn known(window: &Window, symbol: Symbol, stream_kind: StreamKind, id: TradeId, now: MonoNs) -> Verdict {
    window.find(symbol, stream_kind, id, now).map_or(Verdict::Deliver, |at| Verdict::Repeated(Some(at)))
}

/// An event of a subscription that several legs may carry.
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

/// Where a slot's overlap is, and its place in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Role {
    at: u8,
    place: Place,
}

/// Room for the overlaps of one core: rotations, and legs.
const ROOM: usize = (OVERLAP_COUNT_MAX + LEGGED_SOCKET_COUNT_MAX).next_power_of_two();

/// The overlaps of one core.
#[derive(Debug)]
pub(super) struct Overlaps(Box<[Option<Box<Overlap>>; ROOM]>);

impl Default for Overlaps {
    fn default() -> Self {
        Self(Box::new([const { None }; ROOM]))
    }
}

/// A joining leg that the core has no overlap for, or whose place in it is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotJoined;

impl Overlaps {
    /// Takes an overlap, and gives its slots with their roles. `has` tells whether the core has a slot now.
    ///
    /// # Errors
    /// The overlap, where there is no room, one of its slots is in another, or its id is taken.
    pub(super) fn begin(
        &mut self,
        mut overlap: Box<Overlap>,
        has: impl Fn(u16) -> bool,
    ) -> Result<[Option<(u16, Role)>; 2], Box<Overlap>> {
        let slots = overlap.rotation();
        let alike = self.0.iter().flatten().filter(|other| other.is_lasting == overlap.is_lasting).count();
        let most = if overlap.is_lasting { LEGGED_SOCKET_COUNT_MAX } else { OVERLAP_COUNT_MAX };
        let is_clash = |other: &Overlap| {
            other.id == overlap.id || slots.iter().flatten().any(|&slot| other.place_of(slot).is_some())
        };
        let is_one_slot = slots.is_some_and(|[leader, successor]| leader == successor);
        if is_one_slot || alike == most || self.0.iter().flatten().any(|other| is_clash(other)) {
            return Err(overlap);
        }
        let Some(at) = self.0.iter().position(Option::is_none) else { return Err(overlap) };
        let role = |place| Role { at: u8::try_from(at).expect("ROOM is small"), place };
        let roles = slots.map(|[leader, successor]| {
            if !has(leader) {
                let _ = overlap.leave(LEADER);
            }
            if has(successor) {
                overlap.join(SUCCESSOR, Some(LEADER));
            }
            [(leader, role(LEADER)), (successor, role(SUCCESSOR))]
        });
        self.0[at] = Some(overlap);
        Ok(roles.map_or([None; 2], |roles| roles.map(Some)))
    }

    /// The role of a slot that is being attached: in the overlap it joins, or as the successor that one waits for.
    ///
    /// # Errors
    /// [`NotJoined`]: its events would be delivered beside those of the other legs.
    pub(super) fn attach(&mut self, slot: u16, leg: u8, joining: Option<Joining>) -> Result<Option<Role>, NotJoined> {
        let mut known = self.0.iter_mut().enumerate();
        let found = known.find_map(|(at, overlap)| {
            let overlap = overlap.as_deref_mut()?;
            let is_it = match joining {
                Some(joining) => overlap.is_lasting && overlap.id == joining.id,
                None => overlap.is_awaiting && overlap.place_of(slot) == Some(SUCCESSOR),
            };
            is_it.then_some((u8::try_from(at).expect("ROOM is small"), overlap))
        });
        let (at, overlap, place, predecessor) = match (found, joining) {
            (Some((at, overlap)), Some(joining)) => {
                let place = Place::new(leg).filter(|&place| !overlap.legs.is_on(place)).ok_or(NotJoined)?;
                (at, overlap, place, joining.successor_of.and_then(Place::new))
            }
            (Some((at, overlap)), None) => (at, overlap, SUCCESSOR, Some(LEADER)),
            (None, Some(_)) => return Err(NotJoined),
            (None, None) => return Ok(None),
        };
        overlap.slots[place.index()] = Some(slot);
        overlap.join(place, predecessor.filter(|&predecessor| predecessor != place));
        Ok(Some(Role { at, place }))
    }

    /// The leg in this role is lost. Where it was a successor and the leader is there, or led what another leg has to begin
    /// anew: the slot of that one, and whether books with snapshots of their own are concerned.
    pub(super) fn lose(&mut self, role: Role) -> Option<(u16, bool)> {
        self.0[usize::from(role.at)].as_deref_mut()?.leave(role.place)
    }

    /// The slot of the leg that goes on with a book which the one in this role fed until it was lost, if one does: it brings
    /// what follows, so the book stays true.
    pub(super) fn carries_on(&self, role: Role, symbol: Symbol, stream_kind: StreamKind) -> Option<u16> {
        let overlap = self.0[usize::from(role.at)].as_deref()?;
        let others = Place::all().filter(|&other| other != role.place);
        let goes_on = |&other: &Place| overlap.goes_on(other, symbol, stream_kind);
        others.filter(goes_on).find_map(|other| overlap.slots[other.index()])
    }

    /// Promotes the successor in this slot; false if there is none.
    pub(super) fn promote(&mut self, slot: u16) -> bool {
        let found = self.0.iter_mut().flatten().find_map(|overlap| {
            let place = overlap.place_of(slot)?;
            (overlap.is_lasting || place == SUCCESSOR).then_some((overlap, place))
        });
        found.map(|(overlap, place)| overlap.promote(place)).is_some()
    }

    /// Gives an overlap back.
    pub(super) fn end(&mut self, id: u32) -> Option<Box<Overlap>> {
        self.0.iter_mut().find(|overlap| overlap.as_ref().is_some_and(|overlap| overlap.id == id))?.take()
    }

    /// The overlap of a role, and the place.
    #[inline]
    pub(super) fn get(&mut self, role: Role) -> Option<(&mut Overlap, Place)> {
        self.0[usize::from(role.at) & (ROOM - 1)].as_deref_mut().map(|overlap| (overlap, role.place))
    }
}

#[cfg(test)]
#[path = "legs_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "lasting_tests.rs"]
mod lasting_tests;
