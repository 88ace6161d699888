//! What one connection is to be subscribed to, and what of it the venue has confirmed. Owned by the connection machine.
//!
//! ```text
//! request_subscription     batch_requests           confirm
//! wanted, unsent ───────────────► pending ─────────► active ──no longer wanted, or to be renewed──► UNSUBSCRIBE ──► gone
//!      ▲  ▲                        │    │ refused, alone
//!      │  └──── no answer in time ─┤    ├────────────► refused (with the venue's words)
//!      │                           │    └ refused, in a batch: both halves are asked again, until the bad one is alone
//!      │                           └ nor to any retry: Unanswered, and the connection is to be given up
//!      └── disconnected(): pending and active; what the venue refused stays refused
//! ```
//! A slot is one stream: a channel of one symbol, or an all-market channel; slots are asked for in their order, so the
//! caller gives the heaviest streams first. Invariants: `pending`, `active` and `queued` never share a slot, so no stream
//! is asked for while it is live or being asked for; what was asked for and never answered may be live, so it is
//! unsubscribed before it is forgotten. After start-up only a stream never heard of before allocates (its name), and
//! what is told to people: [`Unanswered`] and errors. Sends nothing itself, and knows no clock.

use super::connection_room::{arg_chars, check_limits};
use super::names::Names;
use super::slot_list::{Links, SlotList, Slots};
use super::unanswered::{Others, Unanswered};
use super::{PlanError, RequestRoom, after};
use crate::limits::{SAMPLE_BYTES, SYMBOL_NAME_BYTES_MAX};
use crate::market::MonoNs;
use crate::venue::{Ack, AckResult, Limits, Protocol, Refusal, arg_bytes};
use fixedbitset::FixedBitSet;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Bytes kept of the last refusal: a stream's name and the venue's words.
const REFUSAL_BYTES_MAX: usize = SYMBOL_NAME_BYTES_MAX + SAMPLE_BYTES;

/// How subscriptions are asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubscriptionSettings {
    /// Streams a request names at most; the venue's own limit holds beside it.
    pub batch_streams_max: u32,
    /// Bytes of one request's frame, at most; the venue's own limit holds beside it. `None`: only the venue's.
    pub request_bytes_max: Option<u32>,
    /// How long a request waits for its answer.
    pub ack_timeout: Duration,
    /// How often an unanswered request is asked again.
    pub retries_max: u32,
    /// Requests that may await their answers at once.
    pub in_flight_max: u32,
    /// Messages a second; the venue's own limit holds beside it. `None`: only the venue's.
    pub messages_per_second: Option<u32>,
    /// Share of the messages a second that requests may use, in percent. The rest is for pings and pongs.
    pub share_percent: u8,
}

impl Default for SubscriptionSettings {
    fn default() -> Self {
        Self {
            batch_streams_max: 200,
            request_bytes_max: None,
            ack_timeout: Duration::from_secs(5),
            retries_max: 3,
            in_flight_max: 16,
            messages_per_second: None,
            share_percent: 80,
        }
    }
}

/// Position of a stream in its connection's dense table. Never reused while the connection's machine lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SlotId(pub(super) u32);

impl SlotId {
    /// The slot at a position: below [`Subscriptions::len`], or it names nothing.
    ///
    /// # Panics
    /// Where the position is no `u32`: no connection has so many streams.
    #[must_use]
    pub fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("a slot's index is a u32"))
    }

    /// Position in the table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The sets a slot can be in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotSet {
    /// The operator wants it.
    Wanted,
    /// Wanted, and neither sent, confirmed nor refused.
    Unsent,
    /// In a request that awaits its answer.
    Pending,
    /// Confirmed.
    Active,
    /// Refused, in the venue's own words.
    Refused,
}

/// What a request asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Start these streams.
    Subscribe,
    /// End these streams.
    Unsubscribe,
}

/// One request to be written in the venue's words.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What it asks.
    pub operation: Operation,
    /// For these streams.
    pub streams: Streams<'a>,
}

impl Request<'_> {
    /// Writes it to `out` (cleared first) in the venue's words. Allocates only where `out` is too small.
    pub fn write(mut self, protocol: &dyn Protocol, id: u64, out: &mut Vec<u8>) {
        match self.operation {
            Operation::Subscribe => protocol.write_subscribe(id, &mut self.streams, out),
            Operation::Unsubscribe => protocol.write_unsubscribe(id, &mut self.streams, out),
        }
    }
}

/// The streams of one request, in the order of their slots.
#[derive(Clone, Debug)]
pub struct Streams<'a> {
    names: &'a Names,
    slots: Slots<'a>,
}

impl<'a> Iterator for Streams<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.slots.next().map(|slot| self.names.get(slot))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.slots.size_hint()
    }
}

impl ExactSizeIterator for Streams<'_> {}

impl Streams<'_> {
    /// The slots themselves.
    pub fn slots(&self) -> impl Iterator<Item = SlotId> {
        self.slots.clone()
    }
}

/// What an ack did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AckOutcome {
    /// It answered a request, or one stream of it: what it speaks of is confirmed (or ended).
    Confirmed,
    /// It refused a batch, which is asked for again in halves.
    Split,
    /// It refused one stream.
    Refused(SlotId),
    /// It refused some streams of a request by name and confirmed the others.
    Partial {
        /// How many it refused; [`Subscriptions::take_refused`] says which.
        refused: usize,
    },
    /// It answered nothing that awaits an answer: late, doubled or not ours. It changed nothing.
    Unmatched,
}

/// What happened so far, over all connections of the machine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SubscriptionCounters {
    /// Requests sent.
    pub requests: u64,
    /// Acks that answered a request, refusals included.
    pub acks: u64,
    /// Acks that answered none.
    pub acks_unmatched: u64,
    /// Requests the venue refused.
    pub requests_refused: u64,
    /// Requests nobody answered in time.
    pub timeouts: u64,
    /// Refused batches that were split.
    pub splits: u64,
}

impl SubscriptionCounters {
    /// Adds what was counted elsewhere.
    pub(super) const fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.acks += other.acks;
        self.acks_unmatched += other.acks_unmatched;
        self.requests_refused += other.requests_refused;
        self.timeouts += other.timeouts;
        self.splits += other.splits;
    }

    /// Both together.
    pub(super) const fn sum(mut self, other: &Self) -> Self {
        self.add(other);
        self
    }
}

/// Invariant: every slot of a batch is in `pending` while the batch is in flight, and in `queued` while it waits; so a
/// slot is in one batch at most.
#[derive(Clone, Copy, Debug)]
struct Batch {
    operation: Operation,
    slots: SlotList,
    timeouts: u32,
    /// An earlier request for these slots was never answered: the venue may have done what it asked.
    may_be_live: bool,
}

impl Batch {
    /// True if the venue has nothing of it: what is no longer wanted of it needs no request.
    fn is_idle(&self) -> bool {
        self.operation == Operation::Subscribe && !self.may_be_live
    }
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    id: u64,
    deadline: MonoNs,
    batch: Batch,
}

/// The subscriptions of one connection.
#[derive(Debug)]
pub struct Subscriptions {
    settings: SubscriptionSettings,
    limits: Limits,
    room: RequestRoom,
    names: Names,
    links: Links,
    wanted: FixedBitSet,
    pending: FixedBitSet,
    active: FixedBitSet,
    refused: FixedBitSet,
    /// In a batch that waits in `queue` to be asked again.
    queued: FixedBitSet,
    /// Active, and to be ended and asked for anew.
    renewing: FixedBitSet,
    /// Refused, and not yet given out by `take_refused`.
    untold: FixedBitSet,
    /// By slot.
    reasons: Vec<Option<Refusal>>,
    /// In the order sent, so the front has the earliest deadline.
    in_flight: VecDeque<InFlight>,
    queue: VecDeque<Batch>,
    counters: SubscriptionCounters,
    /// Empty before the first refusal; never longer than `REFUSAL_BYTES_MAX`, which it has room for from the start.
    last_refusal: String,
}

impl Subscriptions {
    /// A connection that is to carry these streams, asked for in this order. It may be empty, and grow while it runs.
    ///
    /// # Errors
    /// [`PlanError`]: a stream twice, more than one connection carries, or a name too long for a request.
    pub fn new(
        protocol: &dyn Protocol,
        limits: Limits,
        settings: SubscriptionSettings,
        streams: Vec<Box<str>>,
    ) -> Result<Self, PlanError> {
        let names = Names::new(streams).map_err(|stream| PlanError::Duplicate { stream })?;
        let mut this = Self {
            settings,
            limits,
            room: RequestRoom::of(protocol, &limits, &settings),
            names,
            links: Links::default(),
            wanted: FixedBitSet::new(),
            pending: FixedBitSet::new(),
            active: FixedBitSet::new(),
            refused: FixedBitSet::new(),
            queued: FixedBitSet::new(),
            renewing: FixedBitSet::new(),
            untold: FixedBitSet::new(),
            reasons: Vec::new(),
            in_flight: VecDeque::new(),
            queue: VecDeque::new(),
            counters: SubscriptionCounters::default(),
            last_refusal: String::with_capacity(REFUSAL_BYTES_MAX),
        };
        this.grow();
        for slot in (0..).map(SlotId).take(this.names.len()) {
            this.room.check(this.names.get(slot), 1, this.names.arg_bytes(slot))?;
        }
        this.wanted.insert_range(..);
        this.check_room(0, 0)?;
        Ok(this)
    }

    /// Wants a stream. One that was refused is asked for again; one that is wanted already changes nothing. Allocates
    /// only for a stream it has never heard of.
    ///
    /// # Errors
    /// [`PlanError`]: the connection has no room for it.
    pub fn request_subscription(&mut self, stream: &str) -> Result<SlotId, PlanError> {
        if let Some(slot) = self.names.find(stream) {
            self.request_slot(slot)?;
            return Ok(slot);
        }
        self.check_room(1, arg_chars(stream))?;
        self.room.check(stream, 1, arg_bytes(stream))?;
        let slot = self.names.intern(stream);
        self.grow();
        self.wanted.insert(slot.index());
        Ok(slot)
    }

    /// Wants the stream of a slot, as [`request_subscription`](Self::request_subscription) does.
    ///
    /// # Errors
    /// [`PlanError`]: the connection has no room for it.
    pub fn request_slot(&mut self, slot: SlotId) -> Result<(), PlanError> {
        if !self.occupies(slot.index()) {
            self.check_room(1, arg_chars(self.names.get(slot)))?;
        }
        self.wanted.insert(slot.index());
        self.pardon(slot);
        Ok(())
    }

    /// Notes a refusal that the venue gave elsewhere: a wanted stream is then not asked for here again.
    pub fn refuse_known(&mut self, stream: &str, refusal: Refusal) {
        if let Some(slot) = self.names.find(stream).filter(|slot| self.wanted.contains(slot.index())) {
            self.refused.insert(slot.index());
            self.reasons[slot.index()] = Some(refusal);
        }
    }

    /// No longer wants a stream. `None` if it was not wanted.
    pub fn remove(&mut self, stream: &str) -> Option<SlotId> {
        let slot = self.names.find(stream)?;
        if !self.wanted.contains(slot.index()) {
            return None;
        }
        self.wanted.set(slot.index(), false);
        self.pardon(slot);
        self.drop_from_queue(slot);
        Some(slot)
    }

    /// Ends a subscription that is active and asks for it anew: first an UNSUBSCRIBE, and once that is answered a
    /// SUBSCRIBE, so that never two are live. False, and nothing changes, if the slot is not both wanted and active.
    pub fn resubscribe(&mut self, slot: SlotId) -> bool {
        let is_live = self.wanted.contains(slot.index()) && self.active.contains(slot.index());
        if is_live {
            self.renewing.insert(slot.index());
        }
        is_live
    }

    /// Forms the next request, which the caller sends at once with this id; `None` if nothing is left to ask, or enough
    /// requests await their answers. Ids must be new for every request. Never allocates.
    pub fn batch_requests(&mut self, id: u64, now: MonoNs) -> Option<Request<'_>> {
        if !self.has_room_in_flight() {
            return None;
        }
        let batch = match self.next_queued() {
            Some(batch) => batch,
            None => self.next_new()?,
        };
        for slot in self.links.iter(batch.slots) {
            debug_assert!(!self.pending.contains(slot.index()), "asked for while being asked for");
            self.active.set(slot.index(), false);
            self.renewing.set(slot.index(), false);
            self.pending.insert(slot.index());
        }
        self.counters.requests += 1;
        self.in_flight.push_back(InFlight { id, deadline: after(now, self.settings.ack_timeout), batch });
        let streams = Streams { names: &self.names, slots: self.links.iter(batch.slots) };
        Some(Request { operation: batch.operation, streams })
    }

    /// An answer came. `is_already_live`: the venue refused because the stream is live already. Never allocates.
    pub fn confirm(&mut self, ack: Ack, is_already_live: bool) -> AckOutcome {
        match ack.result {
            AckResult::Stream { stream, result } => self.confirm_stream(ack.id, &stream, result, is_already_live),
            AckResult::Accepted => match self.answered(ack.id) {
                Some(batch) => self.confirm_batch(&batch),
                None => AckOutcome::Unmatched,
            },
            AckResult::Refused(refusal) => match self.answered(ack.id) {
                Some(batch) => self.refuse(batch, refusal, is_already_live),
                None => AckOutcome::Unmatched,
            },
            AckResult::Partial { failed } => match self.answered(ack.id) {
                Some(batch) => self.confirm_partly(batch, failed, is_already_live),
                None => AckOutcome::Unmatched,
            },
        }
    }

    /// Takes back what was not answered in time, to ask it again. After the last retry it says so: the connection is
    /// then to be given up, with [`disconnected`](Self::disconnected).
    #[must_use]
    pub fn expire(&mut self, now: MonoNs) -> Option<Unanswered> {
        let mut unanswered = None;
        while self.in_flight.front().is_some_and(|request| request.deadline <= now) {
            let mut batch = self.in_flight.pop_front().expect("just seen").batch;
            self.counters.timeouts += 1;
            batch.timeouts += 1;
            batch.may_be_live = true;
            if batch.timeouts > self.settings.retries_max {
                unanswered.get_or_insert_with(|| Unanswered {
                    operation: batch.operation,
                    stream: self.names.get(batch.slots.first()).to_owned(),
                    stream_count: batch.slots.len(),
                    tries: u64::from(batch.timeouts),
                    ack_timeout: self.settings.ack_timeout,
                });
            }
            self.enqueue(batch);
        }
        unanswered
    }

    /// The connection is gone and everything on it: what is wanted and not refused is unsent again. A refusal is always
    /// the venue's own word, so it outlives the connection; that a request was not answered does not.
    pub fn disconnected(&mut self) {
        for set in [&mut self.pending, &mut self.active, &mut self.queued, &mut self.renewing] {
            set.clear();
        }
        self.in_flight.clear();
        self.queue.clear();
    }

    /// The next slot that was refused and not given out yet, until there is none: whoever is concerned is to be told.
    pub fn take_refused(&mut self) -> Option<SlotId> {
        let at = self.untold.minimum()?;
        self.untold.set(at, false);
        u32::try_from(at).ok().map(SlotId)
    }

    /// When [`expire`](Self::expire) has something to do.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonoNs> {
        self.in_flight.front().map(|request| request.deadline)
    }

    /// True if [`batch_requests`](Self::batch_requests) would give a request.
    #[must_use]
    pub fn has_request(&self) -> bool {
        self.has_room_in_flight() && self.has_work()
    }

    /// True if every wanted slot is active or refused, no other is live, and nothing awaits an answer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && !self.has_work()
    }

    /// How many slots are in a set.
    #[must_use]
    pub fn count(&self, set: SlotSet) -> usize {
        self.words(set).map(|word| word.count_ones() as usize).sum()
    }

    /// The slots of a set, with their streams' names, in the order of their ids.
    pub fn slots(&self, set: SlotSet) -> impl Iterator<Item = (SlotId, &str)> {
        (0..)
            .map(SlotId)
            .take(self.names.len())
            .filter(move |&slot| self.is_in(slot, set))
            .map(|slot| (slot, self.stream(slot)))
    }

    /// True if a slot is in a set.
    #[must_use]
    pub fn is_in(&self, slot: SlotId, set: SlotSet) -> bool {
        let at = slot.index();
        match set {
            SlotSet::Wanted => self.wanted.contains(at),
            SlotSet::Pending => self.pending.contains(at),
            SlotSet::Active => self.active.contains(at),
            SlotSet::Refused => self.refused.contains(at),
            SlotSet::Unsent => {
                self.wanted.contains(at)
                    && !self.pending.contains(at)
                    && !self.active.contains(at)
                    && !self.refused.contains(at)
            }
        }
    }

    /// True while the venue may send a slot's stream on this connection: confirmed, asked for, or asked for and never
    /// answered.
    #[must_use]
    pub fn may_be_live(&self, slot: SlotId) -> bool {
        [&self.pending, &self.active, &self.queued].into_iter().any(|set| set.contains(slot.index()))
    }

    /// Requests that await their answers, in the order sent: id, what it asks, for how many streams, since when, and the
    /// first stream.
    pub fn in_flight(&self) -> impl Iterator<Item = (u64, Operation, usize, MonoNs, &str)> {
        let timeout_ns = u64::try_from(self.settings.ack_timeout.as_nanos()).unwrap_or(u64::MAX);
        self.in_flight.iter().map(move |request| {
            let (slots, sent_at) = (request.batch.slots, MonoNs(request.deadline.0.saturating_sub(timeout_ns)));
            (request.id, request.batch.operation, slots.len(), sent_at, self.names.get(slots.first()))
        })
    }

    /// The refused streams and the venue's words, in the order of their slots.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &Refusal)> {
        self.slots(SlotSet::Refused).filter_map(|(slot, name)| Some((name, self.reason(slot)?)))
    }

    /// Slots there are, wanted or not: ids are below this.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True if no stream was ever asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.len() == 0
    }

    /// A stream's slot, if it was ever asked for.
    #[must_use]
    pub fn slot(&self, stream: &str) -> Option<SlotId> {
        self.names.find(stream)
    }

    /// A slot's stream.
    #[must_use]
    pub fn stream(&self, slot: SlotId) -> &str {
        self.names.get(slot)
    }

    /// Why a slot was refused.
    #[must_use]
    pub fn reason(&self, slot: SlotId) -> Option<&Refusal> {
        self.reasons[slot.index()].as_ref()
    }

    /// The last refusal, of a batch or of one stream, with the first stream it named; a long one is cut.
    #[must_use]
    pub fn last_refusal(&self) -> Option<&str> {
        (!self.last_refusal.is_empty()).then_some(&*self.last_refusal)
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> SubscriptionCounters {
        self.counters
    }

    fn in_flight_max(&self) -> usize {
        usize::try_from(self.settings.in_flight_max.max(1)).unwrap_or(usize::MAX)
    }

    fn has_room_in_flight(&self) -> bool {
        self.in_flight.len() < self.in_flight_max()
    }

    fn has_work(&self) -> bool {
        let asks = |operation| self.next_due(operation, 0).is_some();
        !self.queue.is_empty() || asks(Operation::Subscribe) || asks(Operation::Unsubscribe)
    }

    /// The words of a set, a bit a slot.
    fn words(&self, set: SlotSet) -> impl Iterator<Item = usize> {
        (0..self.wanted.as_slice().len()).map(move |at| {
            let of = |set: &FixedBitSet| set.as_slice()[at];
            match set {
                SlotSet::Wanted => of(&self.wanted),
                SlotSet::Pending => of(&self.pending),
                SlotSet::Active => of(&self.active),
                SlotSet::Refused => of(&self.refused),
                SlotSet::Unsent => of(&self.wanted) & !(of(&self.pending) | of(&self.active) | of(&self.refused)),
            }
        })
    }

    /// One word of the slots that nobody asks about at present, and somebody should.
    fn due_word(&self, operation: Operation, at: usize) -> usize {
        let of = |set: &FixedBitSet| set.as_slice()[at];
        let is_free = !(of(&self.pending) | of(&self.queued));
        is_free
            & match operation {
                Operation::Subscribe => of(&self.wanted) & !(of(&self.active) | of(&self.refused)),
                Operation::Unsubscribe => of(&self.active) & (!of(&self.wanted) | of(&self.renewing)),
            }
    }

    /// The first due slot at `from` or behind it.
    fn next_due(&self, operation: Operation, from: usize) -> Option<usize> {
        const BITS: usize = usize::BITS as usize;
        let words = self.wanted.as_slice().len();
        let mut behind = usize::MAX << (from % BITS);
        for at in from / BITS..words {
            let word = self.due_word(operation, at) & behind;
            if word != 0 {
                return Some(at * BITS + word.trailing_zeros() as usize);
            }
            behind = usize::MAX;
        }
        None
    }

    fn next_new(&mut self) -> Option<Batch> {
        // Ends first: they make room for what starts.
        for operation in [Operation::Unsubscribe, Operation::Subscribe] {
            let (mut slots, mut bytes, mut from) = (SlotList::EMPTY, 0, 0);
            while let Some(at) = self.next_due(operation, from) {
                let slot = SlotId(u32::try_from(at).expect("a slot's index is a u32"));
                let more = self.names.arg_bytes(slot);
                if !self.room.takes(slots.len(), bytes, more) {
                    break;
                }
                self.links.push(&mut slots, slot);
                (bytes, from) = (bytes + more, at + 1);
            }
            if slots.len() > 0 {
                return Some(Batch { operation, slots, timeouts: 0, may_be_live: false });
            }
        }
        None
    }

    fn next_queued(&mut self) -> Option<Batch> {
        while let Some(mut batch) = self.queue.pop_front() {
            for slot in self.links.iter(batch.slots) {
                self.queued.set(slot.index(), false);
            }
            if batch.operation == Operation::Subscribe {
                let (wanted, active, may_be_live) = (&self.wanted, &mut self.active, batch.may_be_live);
                self.links.retain(&mut batch.slots, |slot| {
                    let is_wanted = wanted.contains(slot.index());
                    // Unwanted by now, but perhaps live: taken for live, it is unsubscribed.
                    active.set(slot.index(), !is_wanted && may_be_live);
                    is_wanted
                });
            }
            if batch.slots.len() > 0 {
                return Some(batch);
            }
        }
        // What was just taken for live is due as an unsubscribe.
        None
    }

    /// To be asked again: what is still wanted of it, and what may be live. So every batch that waits has something to ask.
    fn enqueue(&mut self, mut batch: Batch) {
        let (pending, queued, wanted) = (&mut self.pending, &mut self.queued, &self.wanted);
        let is_idle = batch.is_idle();
        self.links.retain(&mut batch.slots, |slot| {
            pending.set(slot.index(), false);
            let has_use = !is_idle || wanted.contains(slot.index());
            queued.set(slot.index(), has_use);
            has_use
        });
        if batch.slots.len() > 0 {
            self.queue.push_back(batch);
        }
    }

    /// A slot that nobody wants any more is not asked for again, unless the venue may have done what it never answered.
    fn drop_from_queue(&mut self, slot: SlotId) {
        if !self.queued.contains(slot.index()) {
            return;
        }
        let holds = |batch: &Batch| batch.is_idle() && self.links.iter(batch.slots).any(|of| of == slot);
        let Some(at) = self.queue.iter().position(holds) else { return };
        self.queued.set(slot.index(), false);
        self.links.retain(&mut self.queue[at].slots, |of| of != slot);
        if self.queue[at].slots.len() == 0 {
            self.queue.remove(at);
        }
    }

    /// The request that an answer with this id is for; without an id, the oldest. It no longer waits.
    fn answered(&mut self, id: Option<u64>) -> Option<Batch> {
        let position = match id {
            Some(id) => self.in_flight.iter().position(|request| request.id == id),
            None => Some(0),
        };
        let request = position.and_then(|position| self.in_flight.remove(position));
        match request {
            Some(_) => self.counters.acks += 1,
            None => self.counters.acks_unmatched += 1,
        }
        request.map(|request| request.batch)
    }

    fn confirm_batch(&mut self, batch: &Batch) -> AckOutcome {
        for slot in self.links.iter(batch.slots) {
            self.pending.set(slot.index(), false);
            self.active.set(slot.index(), batch.operation == Operation::Subscribe);
        }
        AckOutcome::Confirmed
    }

    /// The venue took all of a batch but what it names.
    fn confirm_partly(
        &mut self,
        mut batch: Batch,
        failed: Vec<(String, Refusal)>,
        is_already_live: bool,
    ) -> AckOutcome {
        let (len, mut refused, mut stranger) = (batch.slots.len(), 0, None);
        for (stream, refusal) in failed {
            let slot = self.names.find(&stream).filter(|&slot| self.links.iter(batch.slots).any(|of| of == slot));
            let Some(slot) = slot else {
                stranger = Some(refusal);
                continue;
            };
            self.links.retain(&mut batch.slots, |of| of != slot);
            let outcome = self.refuse_slot(batch.operation, slot, refusal, is_already_live);
            refused += usize::from(matches!(outcome, AckOutcome::Refused(_)));
        }
        match stranger {
            // It names nothing that was asked for: who failed is found out as with any refusal.
            Some(refusal) if batch.slots.len() == len => return self.refuse(batch, refusal, is_already_live),
            _ => self.counters.requests_refused += u64::from(batch.slots.len() < len),
        }
        self.confirm_batch(&batch);
        if refused == 0 { AckOutcome::Confirmed } else { AckOutcome::Partial { refused } }
    }

    /// The venue answered for one stream of a request; the others still wait.
    fn confirm_stream(
        &mut self,
        id: Option<u64>,
        stream: &str,
        result: Result<(), Refusal>,
        is_already_live: bool,
    ) -> AckOutcome {
        let slot = self.names.find(stream).filter(|slot| self.pending.contains(slot.index()));
        let position = slot.and_then(|slot| {
            self.in_flight.iter().position(|request| {
                id.is_none_or(|id| request.id == id) && self.links.iter(request.batch.slots).any(|of| of == slot)
            })
        });
        let (Some(slot), Some(position)) = (slot, position) else {
            self.counters.acks_unmatched += 1;
            return AckOutcome::Unmatched;
        };
        self.counters.acks += 1;
        let batch = &mut self.in_flight[position].batch;
        self.links.retain(&mut batch.slots, |of| of != slot);
        let (operation, is_over) = (batch.operation, batch.slots.len() == 0);
        if is_over {
            self.in_flight.remove(position);
        }
        match result {
            Err(refusal) => {
                self.counters.requests_refused += 1;
                self.refuse_slot(operation, slot, refusal, is_already_live)
            }
            Ok(()) => {
                self.pending.set(slot.index(), false);
                self.active.set(slot.index(), operation == Operation::Subscribe);
                AckOutcome::Confirmed
            }
        }
    }

    fn refuse(&mut self, mut batch: Batch, refusal: Refusal, is_already_live: bool) -> AckOutcome {
        self.counters.requests_refused += 1;
        let (first, len) = (batch.slots.first(), batch.slots.len());
        if len == 1 {
            return self.refuse_slot(batch.operation, first, refusal, is_already_live);
        }
        self.counters.splits += 1;
        self.note_refusal(first, len, &refusal);
        let tail = self.links.split_off(&mut batch.slots, len / 2);
        // The venue is answering: the halves start with all their retries.
        batch.timeouts = 0;
        self.enqueue(batch);
        self.enqueue(Batch { slots: tail, ..batch });
        AckOutcome::Split
    }

    /// The venue refused one stream, and no other with it.
    fn refuse_slot(
        &mut self,
        operation: Operation,
        slot: SlotId,
        refusal: Refusal,
        is_already_live: bool,
    ) -> AckOutcome {
        self.pending.set(slot.index(), false);
        if operation == Operation::Unsubscribe {
            // The venue does not have it: that is what was asked for.
            return AckOutcome::Confirmed;
        }
        if is_already_live {
            self.active.insert(slot.index());
            return AckOutcome::Confirmed;
        }
        self.note_refusal(slot, 1, &refusal);
        if self.wanted.contains(slot.index()) {
            self.refused.insert(slot.index());
            self.untold.insert(slot.index());
            self.reasons[slot.index()] = Some(refusal);
        }
        AckOutcome::Refused(slot)
    }

    fn note_refusal(&mut self, first: SlotId, count: usize, refusal: &Refusal) {
        self.last_refusal.clear();
        let mut note = Note(&mut self.last_refusal);
        // Its end is where it is full.
        let _ = write!(note, "{}{}: {refusal}", self.names.get(first), Others(count));
    }

    /// A refusal no longer holds.
    fn pardon(&mut self, slot: SlotId) {
        self.refused.set(slot.index(), false);
        self.untold.set(slot.index(), false);
        self.reasons[slot.index()] = None;
    }

    /// Makes room for every slot there is in whatever is kept by slot. No two batches share a slot and none is empty, so
    /// there are never more batches than slots.
    fn grow(&mut self) {
        let len = self.names.len();
        for set in [
            &mut self.wanted,
            &mut self.pending,
            &mut self.active,
            &mut self.refused,
            &mut self.queued,
            &mut self.renewing,
            &mut self.untold,
        ] {
            set.grow(len);
        }
        self.links.grow(len);
        self.reasons.resize(len, None);
        self.queue.reserve(len - self.queue.len());
        self.in_flight.reserve(len.min(self.in_flight_max()).saturating_sub(self.in_flight.len()));
    }

    /// True if a slot takes room on the connection: wanted, or live, or perhaps live.
    fn occupies(&self, at: usize) -> bool {
        [&self.wanted, &self.pending, &self.active, &self.queued].into_iter().any(|set| set.contains(at))
    }

    fn check_room(&self, more_streams: usize, more_chars: usize) -> Result<(), PlanError> {
        let occupied = || (0..).map(SlotId).take(self.names.len()).filter(|slot| self.occupies(slot.index()));
        let count = occupied().count() + more_streams;
        let chars = occupied().map(|slot| arg_chars(self.names.get(slot))).sum::<usize>() + more_chars;
        check_limits(&self.limits, count, chars)
    }
}

/// A text that is cut where its room ends, instead of growing.
struct Note<'a>(&'a mut String);

impl fmt::Write for Note<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = REFUSAL_BYTES_MAX - self.0.len();
        let cut = text.floor_char_boundary(room);
        self.0.push_str(&text[..cut]);
        if cut < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
