//! What becomes of one event that several legs may bring, by its kind's identity: the rules alone, one function each.
//!
//! ```text
//! State of (symbol, kind of stream) ─┐
//! Legs: who is on, who succeeds whom ┼─► furthest │ chain │ snapshot │ unidentified ─► Verdict
//! the event's mark, its place, now ──┘
//! ```
//! Called by [`super::legs`] for every event of a connection that has legs, all the time. A state is one cache line; nothing
//! here allocates, frees or clears. What a leg that has gone had said is forgotten when another speaks in its place, not
//! before: places carry a generation.

use super::legs::OverlapProgress;
use crate::limits::LEG_PLACES;
use crate::market::{BookKind, MonoNs};

/// Which of an overlap's legs: below `LEG_PLACES`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place(u8);

impl Place {
    /// `None` beyond the last.
    pub(super) const fn new(index: u8) -> Option<Self> {
        if (index as usize) < LEG_PLACES { Some(Self(index)) } else { None }
    }

    /// The mask changes nothing and lets the compiler drop bounds checks.
    pub(super) const fn index(self) -> usize {
        self.0 as usize & (LEG_PLACES - 1)
    }

    const fn bit(self) -> u8 {
        1 << self.index()
    }

    /// Every place.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..LEG_PLACES).map(|at| Self(u8::try_from(at).expect("LEG_PLACES is small")))
    }
}

/// The value of a predecessor or a speaker where there is none.
const NOBODY: u8 = u8::MAX;

/// Who is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Legs {
    /// By place: how many legs it has had. One that never had any: 0.
    generations: [u8; LEG_PLACES],
    /// By place: the place of the leg that this one is to succeed.
    predecessors: [u8; LEG_PLACES],
    /// Places whose leg is on its core.
    on: u8,
    /// Places whose leg is promoted over its predecessor.
    promoted: u8,
    /// Places whose leg came as a successor.
    succeeding: u8,
    /// Speaks of what has no state.
    lead: u8,
    /// Changes with every successor.
    turn: u8,
    /// The last of them.
    successor: u8,
    /// How long a leg that leads may be silent while another speaks, before that one leads.
    failover_ns: u64,
}

impl Legs {
    /// Nobody. `failover_ns`: see there.
    pub(super) const fn new(failover_ns: u64) -> Self {
        Self {
            generations: [0; LEG_PLACES],
            predecessors: [NOBODY; LEG_PLACES],
            on: 0,
            promoted: 0,
            succeeding: 0,
            lead: NOBODY,
            turn: 0,
            successor: NOBODY,
            failover_ns,
        }
    }

    /// A leg comes, as the successor of another or as one of its own right.
    pub(super) fn join(&mut self, place: Place, predecessor: Option<Place>) {
        let generation = &mut self.generations[place.index()];
        *generation = generation.checked_add(1).unwrap_or(1);
        self.predecessors[place.index()] = predecessor.map_or(NOBODY, |predecessor| predecessor.0);
        self.promoted &= !place.bit();
        self.on |= place.bit();
        self.succeeding &= !place.bit();
        if predecessor.is_some() {
            self.succeeding |= place.bit();
            self.turn = self.turn.wrapping_add(1);
            self.successor = place.0;
        }
        if !self.is_lead_on() {
            self.lead = place.0;
        }
    }

    /// A leg is gone: whoever was to succeed it stands for itself now.
    pub(super) fn leave(&mut self, place: Place) {
        self.on &= !place.bit();
        if self.lead == place.0 {
            let heir = Place::all().find(|&other| self.is_on(other) && self.predecessors[other.index()] == place.0);
            let next = heir.or_else(|| Place::all().find(|&other| self.is_on(other)));
            self.lead = next.map_or(place.0, |next| next.0);
        }
        for predecessor in &mut self.predecessors {
            if *predecessor == place.0 {
                *predecessor = NOBODY;
            }
        }
    }

    /// This leg speaks instead of its predecessor, from its next event of each subscription on.
    pub(super) fn promote(&mut self, place: Place) {
        self.promoted |= place.bit();
        if self.predecessors[place.index()] == self.lead {
            self.lead = place.0;
        }
    }

    pub(super) const fn is_on(&self, place: Place) -> bool {
        self.on & place.bit() != 0
    }

    /// True where no other leg is on.
    pub(super) const fn is_alone(&self, place: Place) -> bool {
        self.on & !place.bit() == 0
    }

    /// True for the leg that speaks of what has no state.
    pub(super) const fn leads(&self, place: Place) -> bool {
        self.lead == place.0
    }

    pub(super) fn predecessor(&self, place: Place) -> Option<Place> {
        Place::new(self.predecessors[place.index()])
    }

    /// A leg that is on and not this one, the predecessor first.
    pub(super) fn other(&self, place: Place) -> Option<Place> {
        let is_on = |&other: &Place| other != place && self.is_on(other);
        self.predecessor(place).filter(is_on).or_else(|| Place::all().find(is_on))
    }

    const fn is_lead_on(&self) -> bool {
        self.lead != NOBODY && self.on & (1 << self.lead) != 0
    }

    const fn generation(&self, place: Place) -> u8 {
        self.generations[place.index()]
    }

    /// True where this leg was told to succeed that one, whether promoted or not.
    const fn succeeds(&self, place: Place, other: u8) -> bool {
        self.predecessors[place.index()] == other && other != NOBODY
    }

    /// True for a leg that came as a successor, whatever has become of the one before it.
    const fn has_succeeded(&self, place: Place) -> bool {
        self.succeeding & place.bit() != 0
    }

    pub(super) const fn is_promoted(&self, place: Place) -> bool {
        self.promoted & place.bit() != 0
    }

    const fn is_successor(&self, place: Place) -> bool {
        self.successor == place.0
    }
}

/// Books with snapshots of their own, by who leads them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Led {
    /// By the place that leads.
    by: [u32; LEG_PLACES],
    /// Left by legs that were lost, and led by nobody since.
    left: u32,
}

impl Led {
    /// A leg comes into this place.
    pub(super) const fn joined(&mut self, place: Place) {
        self.by[place.index()] = 0;
    }

    /// The leg in this place is lost. True where some book has nobody who leads it now.
    pub(super) const fn lost(&mut self, place: Place) -> bool {
        self.left += std::mem::replace(&mut self.by[place.index()], 0);
        self.left > 0
    }
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// The strategy gets it.
    Deliver,
    /// It does not: another leg brought it, at this time where that is known, or leads this subscription.
    Repeated(Option<MonoNs>),
    /// It does not yet: what lies between the last delivered and this one has not come.
    Ahead,
    /// It does, but first what waits of its book: nobody brings any more what lies between.
    AfterWaiting,
}

/// What is known of one (symbol, kind of stream): one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct State {
    /// Id of the last delivered.
    last: u64,
    /// With an identity: when the last was delivered. Without: since when others speak and the speaker does not; 0: it does.
    at: u64,
    /// By place. Furthest: its last id, or, while it has not spoken, the last of a numbering that another leg has left.
    /// Chain: the furthest of its ids that was not delivered.
    seen: [u64; LEG_PLACES],
    /// By place. Furthest: in which numbering it is; 0: it has not spoken.
    epochs: [u8; LEG_PLACES],
    /// By place: the generation that has spoken last.
    generations: [u8; LEG_PLACES],
    /// Furthest: the numbering of `last`.
    epoch: u8,
    /// Place of the leg that leads, and which generation of it.
    speaker: u8,
    speaker_generation: u8,
    /// Chain: batches in a row that lay ahead. Furthest: numbers in a row that seemed to be of an old numbering, on a leg alone.
    aheads: u8,
    /// Chain: batches in a row that lay behind.
    behinds: u8,
    /// Without an identity: places that have spoken since the speaker did.
    heard: u8,
    /// The turn that the flags below are of.
    turn: u8,
    flags: u8,
}

const _: () = assert!(size_of::<State>() == 64, "a state is one cache line");
const _: () =
    assert!(LEG_PLACES.is_power_of_two() && LEG_PLACES <= 8, "a mask keeps a place inside, a byte holds them");

/// `last` is known.
const IS_KNOWN: u8 = 1;
/// Counted as unjoined.
const IS_UNJOINED: u8 = 2;
/// Counted as joined.
const IS_JOINED: u8 = 4;
/// Batches of it wait for what they join to.
const HAS_WAITING: u8 = 8;

/// Batches in a row that may lie ahead while no leg that is not ahead says anything of the book: three seconds of the common
/// stream of ten a second. A leg that is half-open must not keep the others silent for longer.
pub(super) const AHEAD_COUNT_MAX: u8 = 32;

/// Numbers that a leg lags behind another, at most.
const LAG_COUNT_MAX: u64 = 1_000;

impl State {
    /// Nothing is known, and this place's first leg leads, or whoever speaks first.
    pub(super) fn led_by(place: Option<Place>) -> Self {
        Self {
            last: 0,
            at: 0,
            seen: [0; LEG_PLACES],
            epochs: [0; LEG_PLACES],
            generations: [0; LEG_PLACES],
            epoch: 1,
            speaker: place.map_or(NOBODY, |place| place.0),
            speaker_generation: 1,
            aheads: 0,
            behinds: 0,
            heard: 0,
            turn: 0,
            flags: 0,
        }
    }

    /// Something that is not a new state: for bringing memory in.
    pub(super) fn other() -> Self {
        Self { last: u64::MAX, ..Self::led_by(None) }
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
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

    /// True if the leg that is in this place now has spoken here.
    pub(super) const fn has_spoken(&self, place: Place, legs: &Legs) -> bool {
        self.generations[place.index()] == legs.generation(place)
    }

    /// The leg in this place speaks. What another said in it is forgotten.
    #[inline]
    fn meet(&mut self, place: Place, legs: &Legs) {
        if !self.has_spoken(place, legs) {
            self.generations[place.index()] = legs.generation(place);
            (self.seen[place.index()], self.epochs[place.index()]) = (0, 0);
        }
    }

    fn deliver(&mut self, last: u64, now: MonoNs) -> Verdict {
        (self.last, self.at, self.behinds) = (last, now.0, 0);
        self.flags |= IS_KNOWN;
        Verdict::Deliver
    }

    /// Another leg's, the same one or one behind it.
    const fn repeated(&self, id: u64) -> Verdict {
        Verdict::Repeated(if id == self.last { Some(MonoNs(self.at)) } else { None })
    }

    /// The furthest id speaks. A leg whose numbers start again at 1 starts a new numbering; the others' old numbers are behind.
    #[inline]
    pub(super) fn furthest(&mut self, legs: &Legs, place: Place, id: u64, now: MonoNs) -> Verdict {
        self.meet(place, legs);
        let at = place.index();
        if self.epochs[at] == 0 {
            // Where another leg's numbering started again before this one spoke, `seen` is where the old one ended: its late
            // numbers lie there, those of the new one near its last.
            let is_late = self.seen[at] != 0 && id.abs_diff(self.seen[at]) < id.abs_diff(self.last);
            if is_late && self.aheads < u8::MAX {
                // A new numbering may have come near to where the old one ended: what is alone is believed after a while.
                self.aheads += u8::from(legs.is_alone(place));
                return self.repeated(id);
            }
            self.aheads = 0;
            self.epochs[at] = self.epoch;
            // Where `seen` is known, another leg's numbering has started again already: this is the same one.
            if self.has(IS_KNOWN) && self.seen[at] == 0 && self.begins_anew(legs, place, id) {
                self.epochs[at] = self.epoch.saturating_add(1);
            }
        } else if id < self.seen[at] && (id == 1 || self.epochs[at] < self.epoch) {
            // Its numbering starts again; where another leg's did before, any fall says so.
            self.epochs[at] = self.epochs[at].saturating_add(1);
        }
        self.seen[at] = id;
        if self.epochs[at] > self.epoch {
            return self.renumbered(legs, place, id, now);
        }
        if self.epochs[at] == self.epoch && (!self.has(IS_KNOWN) || id > self.last) {
            return self.deliver(id, now);
        }
        self.repeated(id)
    }

    /// A leg's first number is of a new numbering where it lies behind the last one delivered and is the first of one, or lies
    /// so far behind that no leg lags so much while nobody else speaks whose numbers would say otherwise.
    #[cold]
    fn begins_anew(&self, legs: &Legs, place: Place, id: u64) -> bool {
        let speaks = |other: Place| {
            other != place
                && legs.is_on(other)
                && self.has_spoken(other, legs)
                && self.epochs[other.index()] == self.epoch
        };
        let is_far_behind = id < self.last / 2 && self.last - id > LAG_COUNT_MAX;
        id < self.last && (id == 1 || is_far_behind && !Place::all().any(speaks))
    }

    /// This leg is the first in a new numbering.
    #[cold]
    fn renumbered(&mut self, legs: &Legs, place: Place, id: u64, now: MonoNs) -> Verdict {
        self.epoch = self.epochs[place.index()];
        for other in Place::all().filter(|&other| other != place) {
            let at = other.index();
            if !self.has_spoken(other, legs) || self.epochs[at] == 0 {
                self.generations[at] = legs.generation(other);
                (self.seen[at], self.epochs[at]) = (self.last, 0);
            }
        }
        self.deliver(id, now)
    }

    /// Batches of absolute quantities, from `start` to `last`: those that join or overlap what was delivered, and go beyond.
    #[inline]
    pub(super) fn chain(
        &mut self,
        legs: &Legs,
        place: Place,
        (start, last): (u64, u64),
        now: MonoNs,
        progress: &OverlapProgress,
    ) -> Verdict {
        self.meet(place, legs);
        let is_known = self.has(IS_KNOWN);
        if is_known && last <= self.last {
            self.aheads = 0;
            self.settle(legs, legs.is_successor(place), progress);
            self.behinds = self.behinds.saturating_add(1);
            if self.behinds == u8::MAX {
                // So many in a row without a new one: the venue's numbering has started again. The next is where it is now.
                self.flags &= !(IS_KNOWN | HAS_WAITING);
            }
            return self.repeated(last);
        }
        let joins = is_known && start <= self.last.saturating_add(1);
        if !joins {
            if !self.is_beyond_help(legs, place) {
                return self.lies_ahead(legs, place, last, progress);
            }
            // What an old leg says first is where the chain is, whatever of it its successor has brought before.
            if self.has(HAS_WAITING) && (is_known || legs.has_succeeded(place)) {
                return Verdict::AfterWaiting;
            }
        }
        self.aheads = 0;
        let verdict = self.deliver(last, now);
        self.settle(legs, legs.is_successor(place), progress);
        verdict
    }

    /// No other leg can bring what is missing: each is not there, never spoke of this book, or lies ahead itself; or nothing
    /// has come from it for long. Before the first event only the old leg of a rotation knows where the chain is.
    #[cold]
    fn is_beyond_help(&self, legs: &Legs, place: Place) -> bool {
        let cannot_help = |other: Place| {
            let is_there = other != place && legs.is_on(other);
            !is_there || !self.has_spoken(other, legs) || self.seen[other.index()] > self.last
        };
        legs.is_alone(place)
            || self.aheads >= AHEAD_COUNT_MAX
            || match self.has(IS_KNOWN) {
                true => Place::all().all(cannot_help),
                false => legs.predecessor(place).is_none(),
            }
    }

    #[cold]
    fn lies_ahead(&mut self, legs: &Legs, place: Place, last: u64, progress: &OverlapProgress) -> Verdict {
        self.seen[place.index()] = last;
        self.aheads += 1;
        self.flags |= HAS_WAITING;
        if legs.is_successor(place) {
            self.enter_turn(legs);
            if !self.has(IS_JOINED) && self.raise(IS_UNJOINED) {
                progress.unjoined.add(1);
            }
        }
        Verdict::Ahead
    }

    /// What was counted for an earlier successor counts no more.
    #[inline]
    fn enter_turn(&mut self, legs: &Legs) {
        if self.turn != legs.turn {
            self.turn = legs.turn;
            self.flags &= !(IS_UNJOINED | IS_JOINED);
        }
    }

    /// Counts a chained book's successor as joined once it is. `has_met`: an event of it was delivered or known.
    #[inline]
    fn settle(&mut self, legs: &Legs, has_met: bool, progress: &OverlapProgress) {
        self.enter_turn(legs);
        let is_overtaken = self.has(IS_UNJOINED)
            && Place::new(legs.successor).is_some_and(|successor| self.last >= self.seen[successor.index()]);
        if has_met || is_overtaken {
            if self.drop_flag(IS_UNJOINED) {
                progress.unjoined.set(progress.unjoined.get() - 1);
            }
            if self.raise(IS_JOINED) {
                progress.joined.add(1);
            }
        }
    }

    /// True where the leg in this place does not lie ahead of what was delivered.
    pub(super) const fn is_joined(&self, place: Place) -> bool {
        self.seen[place.index()] <= self.last
    }

    /// True where batches of it may wait.
    pub(super) const fn has_waiting(&self) -> bool {
        self.has(HAS_WAITING)
    }

    /// Nothing of it waits any more.
    pub(super) const fn none_waits(&mut self) {
        self.flags &= !HAS_WAITING;
    }

    /// Id of the last delivered.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// A batch that waited is delivered.
    pub(super) fn release(&mut self, legs: &Legs, last: u64, now: MonoNs, progress: &OverlapProgress) {
        self.aheads = 0;
        let _ = self.deliver(last, now);
        self.settle(legs, false, progress);
    }

    const fn speaks(&self, place: Place, legs: &Legs) -> bool {
        self.speaker == place.0 && self.speaker_generation == legs.generation(place)
    }

    fn has_speaker(&self, legs: &Legs) -> bool {
        Place::new(self.speaker).is_some_and(|speaker| legs.is_on(speaker) && self.speaks(speaker, legs))
    }

    /// The speaker says nothing while this leg does, for as long as it may. A leg's first event since the speaker's last may
    /// be that same one: its second tells that the speaker is late.
    fn is_speaker_silent(&mut self, legs: &Legs, place: Place, now: MonoNs) -> bool {
        if self.heard & place.bit() == 0 {
            self.heard |= place.bit();
        } else if self.at == 0 {
            self.at = now.0;
        }
        self.at != 0 && now.0.saturating_sub(self.at) >= legs.failover_ns
    }

    /// The speaker speaks.
    const fn is_heard(&mut self) -> Verdict {
        (self.at, self.heard) = (0, 0);
        Verdict::Deliver
    }

    /// Speaks from here on.
    fn speak(&mut self, place: Place, legs: &Legs) -> Verdict {
        (self.speaker, self.speaker_generation) = (place.0, legs.generation(place));
        self.is_heard()
    }

    /// Deltas of one leg are net of that leg's own last message: one leg speaks, and another takes over at a snapshot of its
    /// own alone: a successor at its first, any other where the speaker is gone or silent. `led`: books by who leads them.
    pub(super) fn snapshot(
        &mut self,
        legs: &Legs,
        place: Place,
        kind: BookKind,
        now: MonoNs,
        led: &mut Led,
    ) -> Verdict {
        if self.speaks(place, legs) {
            return self.is_heard();
        }
        let has_speaker = self.has_speaker(legs);
        let may_take = !has_speaker || legs.succeeds(place, self.speaker) || self.is_speaker_silent(legs, place, now);
        if may_take && kind != BookKind::Delta {
            return self.lead(legs, place, led);
        }
        // Without a speaker this leg's changes join to no snapshot until it sends its own.
        if has_speaker { Verdict::Repeated(None) } else { Verdict::Ahead }
    }

    /// True where this leg could begin with a snapshot now, but that it brought none: the event was just judged.
    #[inline]
    pub(super) fn may_lead(&self, legs: &Legs, place: Place, now: MonoNs) -> bool {
        let is_silent = self.at != 0 && now.0.saturating_sub(self.at) >= legs.failover_ns;
        !self.speaks(place, legs) && (is_silent || !self.has_speaker(legs))
    }

    /// Leads this book from here on.
    pub(super) fn lead(&mut self, legs: &Legs, place: Place, led: &mut Led) -> Verdict {
        if let Some(before) = Place::new(self.speaker).filter(|_| self.has_speaker(legs)) {
            led.by[before.index()] = led.by[before.index()].saturating_sub(1);
        } else if self.speaker != NOBODY {
            led.left = led.left.saturating_sub(1);
        }
        led.by[place.index()] += 1;
        self.speak(place, legs)
    }

    /// Without an identity one leg speaks, until it is gone, succeeded, or silent while another speaks.
    pub(super) fn unidentified(
        &mut self,
        legs: &Legs,
        place: Place,
        now: MonoNs,
        progress: &OverlapProgress,
    ) -> Verdict {
        if self.speaks(place, legs) {
            return self.is_heard();
        }
        let is_succeeded = legs.succeeds(place, self.speaker) && legs.is_promoted(place);
        if !self.has_speaker(legs) || is_succeeded || self.is_speaker_silent(legs, place, now) {
            if legs.is_successor(place) {
                progress.leads_passed.add(1);
            }
            return self.speak(place, legs);
        }
        Verdict::Repeated(None)
    }
}
