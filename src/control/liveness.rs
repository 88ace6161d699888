//! Whether what was subscribed to speaks: four bits a subscription, an alarm with a name, and a repair. Owned by the
//! connection machine.
//!
//! ```text
//! sent ──► acknowledged ──► first data ──► fresh ◄──────────────┐
//!               │ none within the         │ none for longer than │ data
//!               │ expected time           │ its rate allows      │
//!               ▼                         ▼                      │
//!         Silent(NeverSpoke)        Silent(Stopped) ─────────────┘ Recovered
//!
//! repairs   Resubscribe ──30 s──► Move ──60 s──► Resubscribe ──120 s──► ... ──1 h──►      one slot after the other
//!           Connection, instead, where most of the connection's slots are silent
//! ```
//! The hot core stores when each subscription's last data came, one store a message; the caller samples these times,
//! about twice a second, with [`heard`](Liveness::heard) and [`seen`](Liveness::seen), and polls afterwards. Only what
//! `seen` tells counts as data: no ack, no pong. What counts as long is learned from each subscription's own rate (room
//! `rate`): a quiet symbol is no alarm, a busy one that stops is. Where a whole connection stops before the rates of its
//! subscriptions are known, that of all of them together counts.
//!
//! A silence is measured up to the last byte that the connection heard, not up to now: where nothing at all is heard the
//! connection is the heartbeat's concern, and no subscription is blamed. Invariants: `fresh` is within `first_data`, and
//! that and `acknowledged` are within `sent`. Knows no clock; allocates nothing once there is room for the slots.

use super::rate::{Pool, Rate, nanos};
use super::{SlotId, after};
use crate::market::MonoNs;
use fixedbitset::FixedBitSet;
use std::time::Duration;

/// A slot without data for this many of its mean gaps is late: evidence about its connection, not an alarm.
const LATE_GAPS: u64 = 3;

/// Fewer silent slots are never the connection's fault.
const CONNECTION_SILENT_MIN: usize = 2;

/// When a silence is an alarm, and what is done about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LivenessSettings {
    /// A silence is an alarm after this many mean gaps between messages.
    pub factor: u32,
    /// But not before.
    pub fresh_min: Duration,
    /// And after this long at the latest, unless that is fewer than 15 mean gaps.
    pub fresh_max: Duration,
    /// How long after the ack a subscription that must speak may take for its first data.
    pub first_data_within: Duration,
    /// The connection is repaired instead of its slots where more than this share of them is silent, in percent.
    pub connection_share_percent: u8,
    /// Wait between the first two repairs; each later one waits twice as long as the one before.
    pub backoff_base: Duration,
    /// No wait between repairs is longer.
    pub backoff_cap: Duration,
    /// Whether repairs are asked for. Silences are named either way.
    pub is_repairing: bool,
}

impl Default for LivenessSettings {
    fn default() -> Self {
        Self {
            factor: 20,
            fresh_min: Duration::from_secs(5),
            fresh_max: Duration::from_secs(600),
            first_data_within: Duration::from_secs(30),
            connection_share_percent: 50,
            backoff_base: Duration::from_secs(30),
            backoff_cap: Duration::from_secs(3_600),
            is_repairing: true,
        }
    }
}

/// What a subscription owes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expectation {
    /// First data within this time after the ack; `None`: there may be none for ever (trades of a dead symbol).
    pub first_data_within: Option<Duration>,
    /// Once its rate is known, it goes on at about that rate. False: it comes and goes (liquidations).
    pub keeps_its_rate: bool,
}

impl Expectation {
    /// May stay silent for ever, and may fall silent: liquidations.
    pub const NONE: Self = Self { first_data_within: None, keeps_its_rate: false };
    /// May stay silent for ever, but not fall silent while it is busy: trades.
    pub const RATE: Self = Self { first_data_within: None, keeps_its_rate: true };

    /// Speaks within this time, and goes on: books, tickers, candles.
    #[must_use]
    pub const fn within(first_data_within: Duration) -> Self {
        Self { first_data_within: Some(first_data_within), keeps_its_rate: true }
    }

    const fn is_any(self) -> bool {
        self.first_data_within.is_some() || self.keeps_its_rate
    }
}

/// How a subscription is silent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SilentKind {
    /// Acknowledged, and no data since.
    NeverSpoke,
    /// It spoke, and no longer does.
    Stopped,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repair {
    /// Unsubscribe and subscribe this slot.
    Resubscribe(SlotId),
    /// Subscribe it on another connection, then end it here.
    Move(SlotId),
    /// Replace the connection: most of its slots are silent.
    Connection,
}

/// What [`Liveness::poll`] has to say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// A subscription is silent. Said once for each silence.
    Silent {
        /// Which.
        slot: SlotId,
        /// How.
        kind: SilentKind,
        /// Since its ack, or since its last data.
        since: MonoNs,
    },
    /// A subscription that was said to be silent has data again.
    Recovered {
        /// Which.
        slot: SlotId,
        /// How it was silent.
        kind: SilentKind,
        /// For how long.
        silent_ns: u64,
    },
    /// Something is to be done.
    Repair(Repair),
}

/// The four bits of a subscription.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bits {
    /// Asked for on the present connection.
    pub sent: bool,
    /// Confirmed by the venue.
    pub acknowledged: bool,
    /// Data came, on the present connection and since the last repair.
    pub first_data: bool,
    /// And the last of it is no older than its rate allows, as far as that is known.
    pub fresh: bool,
}

/// How many subscriptions have each bit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LivenessCounts {
    /// Asked for.
    pub sent: usize,
    /// Confirmed.
    pub acknowledged: usize,
    /// With data.
    pub first_data: usize,
    /// With recent data.
    pub fresh: usize,
    /// Said to be silent and not recovered.
    pub silent: usize,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LivenessCounters {
    /// Silences of subscriptions that had not spoken.
    pub never_spoke: u64,
    /// Silences of subscriptions that had.
    pub stopped: u64,
    /// Silences that data ended.
    pub recovered: u64,
    /// Repairs of one subscription asked for.
    pub resubscribes: u64,
    /// Moves asked for.
    pub moves: u64,
    /// Repairs of the connection asked for.
    pub connection_repairs: u64,
}

/// A silence, for outputs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Silence {
    /// Which subscription.
    pub slot: SlotId,
    /// How.
    pub kind: SilentKind,
    /// Since its ack, or since its last data.
    pub since: MonoNs,
    /// Repairs asked for and of no use.
    pub repairs: u32,
}

/// What is known of a subscription that leaves its connection, to be handed to the next by [`Liveness::carry`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Learned {
    rate: Rate,
    repairs: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    id: SlotId,
    expectation: Expectation,
    /// Data that is no younger does not count: the connect, or when it was sent.
    counts_from: MonoNs,
    acknowledged_at: MonoNs,
    /// On the present connection.
    last_data: Option<MonoNs>,
    rate: Rate,
    /// Of the present or the last silence.
    kind: SilentKind,
    since: MonoNs,
    /// Repairs asked for since it was last well for a while.
    repairs: u32,
    /// Not before, while it is silent.
    repair_at: MonoNs,
    /// When data ended the last silence, if it did.
    recovered_at: Option<MonoNs>,
}

impl Slot {
    fn new(id: SlotId) -> Self {
        Self {
            id,
            expectation: Expectation::NONE,
            counts_from: MonoNs(0),
            acknowledged_at: MonoNs(0),
            last_data: None,
            rate: Rate::default(),
            kind: SilentKind::NeverSpoke,
            since: MonoNs(0),
            repairs: 0,
            repair_at: MonoNs(0),
            recovered_at: None,
        }
    }
}

/// The liveness of one connection's subscriptions.
#[derive(Debug)]
pub struct Liveness {
    settings: LivenessSettings,
    /// By slot index; `None`: never sent. The sets below are as long.
    slots: Vec<Option<Slot>>,
    sent: FixedBitSet,
    acknowledged: FixedBitSet,
    first_data: FixedBitSet,
    fresh: FixedBitSet,
    silent: FixedBitSet,
    /// The silences that `poll` has told of.
    told: FixedBitSet,
    /// Silent through a repair of the connection.
    outlasted: FixedBitSet,
    /// `None` while the connection is down.
    connected_at: Option<MonoNs>,
    /// When the connection's last byte came, if it was told.
    heard_at: Option<MonoNs>,
    /// All subscriptions of the present connection together.
    pool: Pool,
    sampled_at: MonoNs,
    polled_at: MonoNs,
    connection_repairs: u32,
    connection_repair_at: MonoNs,
    counters: LivenessCounters,
}

impl Liveness {
    /// Down, with room for this many slots.
    #[must_use]
    pub fn new(settings: LivenessSettings, capacity: usize) -> Self {
        let set = FixedBitSet::with_capacity(capacity);
        Self {
            settings,
            slots: vec![None; capacity],
            sent: set.clone(),
            acknowledged: set.clone(),
            first_data: set.clone(),
            fresh: set.clone(),
            silent: set.clone(),
            told: set.clone(),
            outlasted: set,
            connected_at: None,
            heard_at: None,
            pool: Pool::default(),
            sampled_at: MonoNs(0),
            polled_at: MonoNs(0),
            connection_repairs: 0,
            connection_repair_at: MonoNs(0),
            counters: LivenessCounters::default(),
        }
    }

    /// Makes room for this many slots. A slot beyond the room makes room when it is sent.
    pub fn reserve(&mut self, capacity: usize) {
        if capacity > self.slots.len() {
            self.slots.resize(capacity, None);
            for set in [&mut self.sent, &mut self.acknowledged, &mut self.first_data, &mut self.fresh] {
                set.grow(capacity);
            }
            for set in [&mut self.silent, &mut self.told, &mut self.outlasted] {
                set.grow(capacity);
            }
        }
    }

    /// The upgrade is done. Nothing is sent on it yet, and no earlier data counts.
    pub fn connected(&mut self, now: MonoNs) {
        self.disconnected();
        self.connected_at = Some(now);
    }

    /// The connection is gone: no subscription can be blamed. Those that were said to be silent are so until data comes.
    pub fn disconnected(&mut self) {
        self.connected_at = None;
        self.heard_at = None;
        self.pool = Pool::default();
        for set in [&mut self.sent, &mut self.acknowledged, &mut self.first_data, &mut self.fresh] {
            set.clear();
        }
        self.silent.intersect_with(&self.told);
        for slot in self.slots.iter_mut().flatten() {
            slot.last_data = None;
        }
    }

    /// A slot was asked for. Sent again (a retry, a repair), its ack is awaited anew. The unsubscribe of a
    /// [`Repair::Resubscribe`] is no end: [`ended`](Self::ended) would forget which repairs were tried.
    pub fn sent(&mut self, id: SlotId, expectation: Expectation, now: MonoNs) {
        let Some(connected_at) = self.connected_at else { return };
        let index = id.index();
        self.reserve(index + 1);
        let slot = self.slots[index].get_or_insert_with(|| Slot::new(id));
        slot.expectation = expectation;
        if !self.sent.put(index) {
            slot.counts_from = now.max(connected_at);
            slot.last_data = None;
        }
        self.acknowledged.remove(index);
        // What a repair was asked for must speak again; a retry of a lost ack has nothing to prove twice.
        if self.silent.contains(index) {
            self.first_data.remove(index);
            self.fresh.remove(index);
        }
    }

    /// The venue confirmed a slot: the wait for its first data begins.
    pub fn acknowledged(&mut self, id: SlotId, now: MonoNs) {
        let index = id.index();
        if !self.sent.contains(index) {
            return;
        }
        self.acknowledged.insert(index);
        let Some(slot) = self.slots[index].as_mut() else { return };
        slot.acknowledged_at = now;
        let wait = slot.expectation.first_data_within.unwrap_or(self.settings.first_data_within);
        slot.repair_at = slot.repair_at.max(after(now, wait));
    }

    /// A slot is no longer wanted here, or was refused. Its silence, if any, ends untold. Returns what is known of it.
    pub fn ended(&mut self, id: SlotId) -> Learned {
        let index = id.index();
        for set in [&mut self.sent, &mut self.acknowledged, &mut self.first_data, &mut self.fresh] {
            remove(set, index);
        }
        for set in [&mut self.silent, &mut self.told, &mut self.outlasted] {
            remove(set, index);
        }
        let slot = self.slots.get_mut(index).and_then(Option::take);
        slot.map(|slot| Learned { rate: slot.rate, repairs: slot.repairs }).unwrap_or_default()
    }

    /// A slot that was sent here carries on what another connection knew of it. If it is silent here too, its repairs go
    /// on where they were.
    pub fn carry(&mut self, id: SlotId, learned: Learned, now: MonoNs) {
        let repair_at = after(now, self.settings.wait(learned.repairs));
        if let Some(slot) = self.slots.get_mut(id.index()).and_then(Option::as_mut) {
            (slot.rate, slot.repairs, slot.repair_at) = (learned.rate, learned.repairs, repair_at);
        }
    }

    /// A successor of another connection, before it connects: it goes on with what was learned there, with the silences
    /// that were told of there, and with when the next repair is due. `ours` is a slot of the other as one of this.
    pub fn inherit(&mut self, predecessor: &Self, ours: impl Fn(SlotId) -> Option<SlotId>) {
        for slot in predecessor.slots.iter().flatten() {
            let Some(id) = ours(slot.id) else { continue };
            let (from, to) = (slot.id.index(), id.index());
            self.reserve(to + 1);
            self.slots[to] = Some(Slot { last_data: None, recovered_at: None, id, ..*slot });
            let is_told = predecessor.told.contains(from) && predecessor.silent.contains(from);
            self.silent.set(to, is_told);
            self.told.set(to, is_told);
            self.outlasted.set(to, is_told && predecessor.outlasted.contains(from));
        }
        self.connection_repairs = predecessor.connection_repairs;
        self.connection_repair_at = predecessor.connection_repair_at;
    }

    /// Goes on with the counts of a connection that it took over from.
    pub(super) const fn absorb(&mut self, predecessor: &Self) {
        let (ours, theirs) = (&mut self.counters, &predecessor.counters);
        ours.never_spoke += theirs.never_spoke;
        ours.stopped += theirs.stopped;
        ours.recovered += theirs.recovered;
        ours.resubscribes += theirs.resubscribes;
        ours.moves += theirs.moves;
        ours.connection_repairs += theirs.connection_repairs;
    }

    /// The connection's last byte of any kind came at `last_byte`: silences count up to then. Told before the slots of a
    /// sample; where it never is, they count up to the sample.
    pub fn heard(&mut self, last_byte: MonoNs) {
        if self.connected_at.is_some() {
            self.heard_at = self.heard_at.max(Some(last_byte));
        }
    }

    /// Sampled at `now`: a slot's last data came at `last_data`, or [`MonoNs`] zero if it never had any.
    pub fn seen(&mut self, id: SlotId, last_data: MonoNs, now: MonoNs) {
        let index = id.index();
        if !self.sent.contains(index) {
            return;
        }
        let Some(slot) = self.slots[index].as_mut() else { return };
        self.sampled_at = self.sampled_at.max(now);
        if last_data > slot.last_data.unwrap_or(slot.counts_from) {
            let was_silent = self.silent.contains(index);
            if let Some(before) = slot.last_data {
                let gap = last_data.since_ns(before);
                // An outage is not the symbol's rate. A lull that was taken for one is, so something is learned of it.
                let limit = slot.rate.limit_ns(&self.settings).filter(|_| was_silent).unwrap_or(u64::MAX);
                slot.rate.learn(gap.min(limit));
            }
            let before = slot.last_data.replace(last_data);
            self.pool.spoke(last_data, before.is_none());
            self.first_data.insert(index);
            if was_silent {
                self.silent.remove(index);
                slot.recovered_at = Some(last_data);
            }
        }
        self.judge(index);
    }

    /// Sets the bits of a slot by its last sample.
    fn judge(&mut self, index: usize) {
        let horizon = self.horizon();
        let Some(slot) = self.slots[index].as_mut() else { return };
        let (last_data, is_acknowledged) = (slot.last_data, self.acknowledged.contains(index));
        let silence = match last_data.filter(|_| self.first_data.contains(index)) {
            Some(last_data) => {
                let limit = slot.rate.limit_ns(&self.settings);
                let is_fresh = limit.is_none_or(|limit| horizon.since_ns(last_data) <= limit);
                self.fresh.set(index, is_fresh);
                (!is_fresh && slot.expectation.keeps_its_rate).then_some((SilentKind::Stopped, last_data))
            }
            None => {
                let waited_ns = horizon.since_ns(slot.acknowledged_at);
                let is_overdue = slot.expectation.first_data_within.is_some_and(|within| waited_ns > nanos(within));
                is_overdue.then_some((SilentKind::NeverSpoke, slot.acknowledged_at))
            }
        };
        let Some((kind, since)) = silence.filter(|_| is_acknowledged) else { return };
        // Silent again before anybody heard that it had recovered: the same silence goes on.
        if !self.silent.put(index) && !self.told.contains(index) {
            (slot.kind, slot.since) = (kind, since);
        }
    }

    /// Where all that spoke have fallen silent together, each of them is, however little is known of its own rate.
    fn judge_together(&mut self) {
        if !self.pool.is_silent(self.horizon(), &self.settings) {
            return;
        }
        for index in self.first_data.intersection(&self.acknowledged) {
            let Some(slot) = self.slots[index].as_mut().filter(|slot| slot.expectation.keeps_its_rate) else {
                continue;
            };
            let Some(since) = slot.last_data.filter(|_| slot.rate.mean_ns().is_none()) else { continue };
            self.fresh.remove(index);
            if !self.silent.put(index) && !self.told.contains(index) {
                (slot.kind, slot.since) = (SilentKind::Stopped, since);
            }
        }
    }

    /// Up to when silences count.
    fn horizon(&self) -> MonoNs {
        self.heard_at.map_or(self.sampled_at, |heard| heard.min(self.sampled_at))
    }

    /// Tells what is new and asks for the repairs that are due.
    pub fn poll(&mut self, now: MonoNs, say: &mut impl FnMut(Verdict)) {
        self.polled_at = now;
        // Where nothing is heard any more, no repair of a slot is due either.
        let heard_at = self.heard_at.map_or(now, |heard| heard.min(now));
        self.judge_together();
        self.tell(heard_at, say);
        if self.silent.is_clear() && now >= self.connection_repair_at {
            self.connection_repairs = 0;
        }
        if !self.repairable().any(|slot| slot.repair_at <= heard_at) {
            return;
        }
        if self.is_connection_silent() {
            self.repair_connection(heard_at, now, say);
        } else {
            self.repair_slots(heard_at, now, say);
        }
    }

    /// When [`poll`](Self::poll) has something to say at the earliest, unless a sample comes before.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonoNs> {
        if self.silent != self.told {
            return Some(self.sampled_at);
        }
        // What is due and waits for the connection to be heard waits for a sample.
        self.repairable().map(|slot| slot.repair_at).filter(|&at| at > self.polled_at).min()
    }

    /// The four bits of a slot.
    #[must_use]
    pub fn bits(&self, id: SlotId) -> Bits {
        let index = id.index();
        Bits {
            sent: self.sent.contains(index),
            acknowledged: self.acknowledged.contains(index),
            first_data: self.first_data.contains(index),
            fresh: self.fresh.contains(index),
        }
    }

    /// How many subscriptions have each bit.
    #[must_use]
    pub fn counts(&self) -> LivenessCounts {
        LivenessCounts {
            sent: self.sent.count_ones(..),
            acknowledged: self.acknowledged.count_ones(..),
            first_data: self.first_data.count_ones(..),
            fresh: self.fresh.count_ones(..),
            silent: self.told.count_ones(..),
        }
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> LivenessCounters {
        self.counters
    }

    /// The silences told of and not ended.
    pub fn silent(&self) -> impl Iterator<Item = Silence> {
        let slots = self.told.ones().filter_map(|index| self.slots[index].as_ref());
        slots.map(|slot| Silence { slot: slot.id, kind: slot.kind, since: slot.since, repairs: slot.repairs })
    }

    /// How long a slot may be without data until it is silent; `None` while its rate is not known.
    #[must_use]
    pub fn fresh_limit(&self, id: SlotId) -> Option<Duration> {
        let slot = self.slots.get(id.index())?.as_ref()?;
        slot.rate.limit_ns(&self.settings).map(Duration::from_nanos)
    }

    fn tell(&mut self, heard_at: MonoNs, say: &mut impl FnMut(Verdict)) {
        if self.silent == self.told {
            return;
        }
        for index in self.told.difference(&self.silent) {
            let Some(slot) = &self.slots[index] else { continue };
            let silent_ns = slot.recovered_at.unwrap_or(heard_at).since_ns(slot.since);
            self.counters.recovered += 1;
            self.outlasted.remove(index);
            say(Verdict::Recovered { slot: slot.id, kind: slot.kind, silent_ns });
        }
        let settings = self.settings;
        for index in self.silent.difference(&self.told) {
            let Some(slot) = &mut self.slots[index] else { continue };
            *match slot.kind {
                SilentKind::NeverSpoke => &mut self.counters.never_spoke,
                SilentKind::Stopped => &mut self.counters.stopped,
            } += 1;
            // Repairs start afresh only for a slot that was well for as long as its next repair would have waited.
            let wait = nanos(settings.wait(slot.repairs));
            if slot.recovered_at.take().is_some_and(|at| heard_at.since_ns(at) >= wait) {
                (slot.repairs, slot.repair_at) = (0, heard_at);
            } else if slot.repairs == 0 {
                slot.repair_at = heard_at;
            }
            say(Verdict::Silent { slot: slot.id, kind: slot.kind, since: slot.since });
        }
        self.told.clear();
        self.told.union_with(&self.silent);
    }

    /// The silent slots that a repair could help: confirmed on a connection that is up.
    fn repairable(&self) -> impl Iterator<Item = &Slot> {
        let is_repairing = self.settings.is_repairing;
        let slots = self.silent.intersection(&self.acknowledged).filter_map(|index| self.slots[index].as_ref());
        slots.filter(move |_| is_repairing)
    }

    /// Whether most of the slots that should have spoken since the latest silence began have not. A slot too quiet for
    /// that to be known counts on neither side.
    fn is_connection_silent(&self) -> bool {
        let since = self.repairable().map(|slot| slot.since).max().unwrap_or_default();
        let (mut silent, mut outlasted, mut alive) = (0, 0, 0);
        for index in self.acknowledged.ones() {
            let Some(slot) = self.slots[index].as_ref().filter(|slot| slot.expectation.is_any()) else { continue };
            if self.silent.contains(index) && self.outlasted.contains(index) {
                outlasted += 1;
            } else if self.silent.contains(index) || self.is_late(slot) {
                silent += 1;
            } else if slot.last_data.is_some_and(|last_data| last_data > since) {
                alive += 1;
            }
        }
        // What a new connection did not help is no reason for another one while other slots speak.
        if alive == 0 {
            silent += outlasted;
        }
        silent >= CONNECTION_SILENT_MIN
            && silent * 100 > usize::from(self.settings.connection_share_percent) * (silent + alive)
    }

    fn is_late(&self, slot: &Slot) -> bool {
        let (Some(last_data), Some(mean_ns)) = (slot.last_data, slot.rate.mean_ns()) else { return false };
        slot.expectation.keeps_its_rate && self.horizon().since_ns(last_data) > mean_ns.saturating_mul(LATE_GAPS)
    }

    fn repair_connection(&mut self, heard_at: MonoNs, now: MonoNs, say: &mut impl FnMut(Verdict)) {
        if now >= self.connection_repair_at {
            self.connection_repairs = self.connection_repairs.saturating_add(1);
            self.connection_repair_at = after(now, self.settings.wait(self.connection_repairs));
            self.counters.connection_repairs += 1;
            self.outlasted.union_with(&self.silent);
            say(Verdict::Repair(Repair::Connection));
        }
        let later = after(now, self.settings.wait(1));
        for index in self.silent.intersection(&self.acknowledged) {
            if let Some(slot) = self.slots[index].as_mut().filter(|slot| slot.repair_at <= heard_at) {
                slot.repair_at = later;
            }
        }
    }

    fn repair_slots(&mut self, heard_at: MonoNs, now: MonoNs, say: &mut impl FnMut(Verdict)) {
        let settings = self.settings;
        for index in self.silent.intersection(&self.acknowledged) {
            let Some(slot) = self.slots[index].as_mut().filter(|slot| slot.repair_at <= heard_at) else { continue };
            let repair = if slot.repairs == 1 {
                self.counters.moves += 1;
                Repair::Move(slot.id)
            } else {
                self.counters.resubscribes += 1;
                Repair::Resubscribe(slot.id)
            };
            slot.repairs = slot.repairs.saturating_add(1);
            slot.repair_at = after(now, settings.wait(slot.repairs));
            say(Verdict::Repair(repair));
        }
    }
}

impl LivenessSettings {
    /// How long the next repair waits after this many; never zero, so that no two are asked for at once.
    fn wait(&self, repairs: u32) -> Duration {
        let doubled = self.backoff_base.saturating_mul(2_u32.saturating_pow(repairs.saturating_sub(1)));
        doubled.min(self.backoff_cap).max(Duration::from_secs(1))
    }
}

/// Out of a set that may be shorter.
fn remove(set: &mut FixedBitSet, index: usize) {
    if index < set.len() {
        set.remove(index);
    }
}

#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
