//! What one connection is to be subscribed to, and what of it the venue has confirmed. Owned by the connection machine.
//!
//! ```text
//!                  next_request            ack ok
//! wanted, unsent ───────────────► pending ─────────► active ──no longer wanted──► UNSUBSCRIBE ──► gone
//!      ▲  ▲                        │    │ refused, alone
//!      │  └──── no answer in time ─┤    ├────────────► refused (with the venue's words)
//!      │                           │    └ refused, in a batch: both halves are asked again, until the bad one is alone
//!      │                           └ nor to any retry: Unanswered, and the connection is to be given up
//!      └── disconnected(): pending and active; what the venue refused stays refused
//! ```
//! A slot is one stream: a channel of one symbol, or an all-market channel. Invariants: `pending`, `active` and `queued`
//! never share a slot, so no stream is asked for while it is live or being asked for; what was asked for and never
//! answered may be live, so it is unsubscribed before it is forgotten. Sends nothing itself, and knows no clock.

use super::after;
use crate::market::MonoNs;
use crate::venue::{Ack, Limits, Refusal};
use fixedbitset::FixedBitSet;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// Quotes and comma around an argument. Whether the venue counts them is not documented, so they are counted.
const ARG_CHARS_OVERHEAD: usize = 3;

/// How subscriptions are asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubscriptionSettings {
    /// Streams a request names at most; the venue's own limit holds beside it.
    pub batch_streams_max: u32,
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
            ack_timeout: Duration::from_secs(5),
            retries_max: 3,
            in_flight_max: 16,
            messages_per_second: None,
            share_percent: 80,
        }
    }
}

/// Streams that cannot be planned on a connection.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to subscribe to.
    #[error("no stream to subscribe to: at least one channel, and a symbol where the channel is per symbol")]
    Empty,
    /// The same stream twice.
    #[error("stream `{stream}` twice on one connection: once is allowed")]
    Duplicate {
        /// Its name.
        stream: String,
    },
    /// More streams than a connection carries.
    #[error("{count} streams on one connection: the venue allows {limit}")]
    TooManyStreams {
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// More characters of arguments than a connection may send.
    #[error("{chars} characters of stream names on one connection: the venue allows {limit}")]
    TooManyChars {
        /// How many, quotes and commas counted.
        chars: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A configured limit above the venue's.
    #[error("{found} streams per connection configured: the venue allows {limit}, and at least 1 is needed")]
    OverLimit {
        /// Configured.
        found: u32,
        /// The venue's.
        limit: u32,
    },
}

/// Position of a stream in its connection's dense table. Never reused while the connection's machine lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SlotId(u32);

impl SlotId {
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
#[derive(Debug)]
pub struct Request<'a> {
    /// What it asks.
    pub operation: Operation,
    /// For these streams.
    pub streams: Vec<&'a str>,
}

/// What an ack did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AckOutcome {
    /// It answered a request; its streams are confirmed (or ended).
    Confirmed,
    /// It refused a batch, which is asked for again in halves.
    Split,
    /// It refused one stream.
    Refused(SlotId),
    /// It answered nothing that awaits an answer: late, doubled or not ours. It changed nothing.
    Unmatched,
}

/// A request that was not answered, nor any of its retries: what the venue sends on this connection is unknown, and only
/// a new connection makes it known. It is no refusal: the venue said nothing against these streams.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unanswered {
    /// What it asked.
    pub operation: Operation,
    /// The first stream it named.
    pub stream: String,
    /// How many streams it named.
    pub stream_count: usize,
    /// How often it was sent.
    pub tries: u64,
    /// How long each try waited.
    pub ack_timeout: Duration,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match self.operation {
            Operation::Subscribe => "subscribe",
            Operation::Unsubscribe => "unsubscribe",
        };
        let others = others(self.stream_count);
        let (stream, tries, each_ms) = (&self.stream, self.tries, self.ack_timeout.as_millis());
        write!(
            f,
            "the venue answers no request: {operation} {stream}{others}, no answer in {tries} tries of {each_ms} ms"
        )
    }
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

/// Invariant: every slot of a batch is in `pending` while the batch is in flight, and in `queued` while it waits.
#[derive(Debug)]
struct Batch {
    operation: Operation,
    slots: Vec<SlotId>,
    timeouts: u32,
    /// An earlier request for these slots was never answered: the venue may have done what it asked.
    may_be_live: bool,
}

#[derive(Debug)]
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
    batch_len_max: usize,
    names: Vec<Box<str>>,
    index: HashMap<Box<str>, SlotId>,
    wanted: FixedBitSet,
    pending: FixedBitSet,
    active: FixedBitSet,
    refused: FixedBitSet,
    /// In a batch that waits in `queue` to be asked again.
    queued: FixedBitSet,
    reasons: HashMap<SlotId, Refusal>,
    /// In the order sent, so the front has the earliest deadline.
    in_flight: VecDeque<InFlight>,
    queue: VecDeque<Batch>,
    counters: SubscriptionCounters,
    last_refusal: Option<String>,
}

impl Subscriptions {
    /// A connection that is to carry these streams. It may be empty, and grow while it runs.
    ///
    /// # Errors
    /// [`PlanError`]: a stream twice, or more than one connection carries.
    pub fn new(limits: Limits, settings: SubscriptionSettings, streams: Vec<Box<str>>) -> Result<Self, PlanError> {
        let venue_max = limits.args_per_request.unwrap_or(u32::MAX);
        let batch_len_max = usize::try_from(settings.batch_streams_max.min(venue_max).max(1)).unwrap_or(usize::MAX);
        let mut this = Self {
            settings,
            limits,
            batch_len_max,
            names: Vec::with_capacity(streams.len()),
            index: HashMap::with_capacity(streams.len()),
            wanted: FixedBitSet::new(),
            pending: FixedBitSet::new(),
            active: FixedBitSet::new(),
            refused: FixedBitSet::new(),
            queued: FixedBitSet::new(),
            reasons: HashMap::new(),
            in_flight: VecDeque::new(),
            queue: VecDeque::new(),
            counters: SubscriptionCounters::default(),
            last_refusal: None,
        };
        for stream in streams {
            if this.index.contains_key(&stream) {
                return Err(PlanError::Duplicate { stream: stream.into() });
            }
            let slot = this.slot(&stream);
            this.wanted.insert(slot.index());
        }
        this.check_room(0, 0)?;
        Ok(this)
    }

    /// Wants a stream. One that was refused is asked for again; one that is wanted already changes nothing.
    ///
    /// # Errors
    /// [`PlanError`]: the connection has no room for it.
    pub fn add(&mut self, stream: &str) -> Result<SlotId, PlanError> {
        let known = self.index.get(stream).copied();
        if !known.is_some_and(|slot| self.occupies(slot.index())) {
            self.check_room(1, arg_chars(stream))?;
        }
        let slot = self.slot(stream);
        self.wanted.insert(slot.index());
        self.refused.set(slot.index(), false);
        self.reasons.remove(&slot);
        Ok(slot)
    }

    /// No longer wants a stream. `None` if it was not wanted.
    pub fn remove(&mut self, stream: &str) -> Option<SlotId> {
        let slot = *self.index.get(stream)?;
        if !self.wanted.contains(slot.index()) {
            return None;
        }
        self.wanted.set(slot.index(), false);
        self.refused.set(slot.index(), false);
        self.reasons.remove(&slot);
        Some(slot)
    }

    /// The slot of a stream, if it was ever wanted.
    #[must_use]
    pub fn find(&self, stream: &str) -> Option<SlotId> {
        self.index.get(stream).copied()
    }
    /// STUB
    pub fn resubscribe(&mut self, _slot: SlotId) {}
    /// STUB
    pub fn refuse_known(&mut self) {}

    /// The next request, which the caller sends at once with this id; `None` if nothing is left to ask, or enough
    /// requests await their answers. Ids must be new for every request.
    pub fn next_request(&mut self, id: u64, now: MonoNs) -> Option<Request<'_>> {
        if !self.has_room_in_flight() {
            return None;
        }
        let batch = self.next_queued().or_else(|| self.next_new())?;
        for slot in &batch.slots {
            debug_assert!(!self.pending.contains(slot.index()), "asked for while being asked for");
            self.active.set(slot.index(), false);
            self.pending.insert(slot.index());
        }
        self.counters.requests += 1;
        self.in_flight.push_back(InFlight { id, deadline: after(now, self.settings.ack_timeout), batch });
        let batch = &self.in_flight.back().expect("just pushed").batch;
        let streams = batch.slots.iter().map(|slot| &*self.names[slot.index()]).collect();
        Some(Request { operation: batch.operation, streams })
    }

    /// An answer came. `is_already_live`: the venue refused because the stream is live already.
    pub fn on_ack(&mut self, ack: Ack, is_already_live: bool) -> AckOutcome {
        let position = match ack.id {
            Some(id) => self.in_flight.iter().position(|request| request.id == id),
            None if self.in_flight.is_empty() => None,
            None => Some(0),
        };
        let Some(request) = position.and_then(|position| self.in_flight.remove(position)) else {
            self.counters.acks_unmatched += 1;
            return AckOutcome::Unmatched;
        };
        self.counters.acks += 1;
        match ack.result {
            Ok(()) => {
                self.confirm(&request.batch);
                AckOutcome::Confirmed
            }
            Err(refusal) => self.refuse(request.batch, refusal, is_already_live),
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
                    stream: self.names[batch.slots[0].index()].to_string(),
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
        self.pending.clear();
        self.active.clear();
        self.queued.clear();
        self.in_flight.clear();
        self.queue.clear();
    }

    /// When [`expire`](Self::expire) has something to do.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonoNs> {
        self.in_flight.front().map(|request| request.deadline)
    }

    /// True if [`next_request`](Self::next_request) would give a request.
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
        match set {
            SlotSet::Wanted => self.wanted.count_ones(..),
            SlotSet::Pending => self.pending.count_ones(..),
            SlotSet::Active => self.active.count_ones(..),
            SlotSet::Refused => self.refused.count_ones(..),
            SlotSet::Unsent => self.slots(set).count(),
        }
    }

    /// The slots of a set, with their streams' names, in the order of their ids.
    pub fn slots(&self, set: SlotSet) -> impl Iterator<Item = (SlotId, &str)> {
        self.names.iter().zip(0..).filter_map(move |(name, id)| {
            let slot = SlotId(id);
            self.is_in(slot, set).then_some((slot, &**name))
        })
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

    /// The refused streams and the venue's words, in the order of their slots.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &Refusal)> {
        self.slots(SlotSet::Refused).filter_map(|(slot, name)| Some((name, self.reasons.get(&slot)?)))
    }

    /// A slot's stream.
    #[must_use]
    pub fn stream(&self, slot: SlotId) -> &str {
        &self.names[slot.index()]
    }

    /// Why a slot was refused.
    #[must_use]
    pub fn reason(&self, slot: SlotId) -> Option<&Refusal> {
        self.reasons.get(&slot)
    }

    /// The last refusal, of a batch or of one stream, with the first stream it named.
    #[must_use]
    pub fn last_refusal(&self) -> Option<&str> {
        self.last_refusal.as_deref()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> SubscriptionCounters {
        self.counters
    }

    fn has_room_in_flight(&self) -> bool {
        self.in_flight.len() < usize::try_from(self.settings.in_flight_max.max(1)).unwrap_or(usize::MAX)
    }

    fn has_work(&self) -> bool {
        let asks = |operation| self.due(operation).next().is_some();
        !self.queue.is_empty() || asks(Operation::Subscribe) || asks(Operation::Unsubscribe)
    }

    /// Slots that were never asked about since the connection is up, and should be.
    fn due(&self, operation: Operation) -> impl Iterator<Item = SlotId> {
        let from = if operation == Operation::Subscribe { &self.wanted } else { &self.active };
        from.ones()
            .filter(move |&at| {
                let is_free = !self.pending.contains(at) && !self.queued.contains(at);
                is_free
                    && match operation {
                        Operation::Subscribe => !self.active.contains(at) && !self.refused.contains(at),
                        Operation::Unsubscribe => !self.wanted.contains(at),
                    }
            })
            .filter_map(|at| u32::try_from(at).ok().map(SlotId))
    }

    fn next_new(&self) -> Option<Batch> {
        // Ends first: they make room for what starts.
        [Operation::Unsubscribe, Operation::Subscribe].into_iter().find_map(|operation| {
            let slots: Vec<_> = self.due(operation).take(self.batch_len_max).collect();
            (!slots.is_empty()).then_some(Batch { operation, slots, timeouts: 0, may_be_live: false })
        })
    }

    fn next_queued(&mut self) -> Option<Batch> {
        while let Some(mut batch) = self.queue.pop_front() {
            for slot in &batch.slots {
                self.queued.set(slot.index(), false);
            }
            if batch.operation == Operation::Subscribe {
                let may_be_live = batch.may_be_live;
                batch.slots.retain(|slot| {
                    let is_wanted = self.wanted.contains(slot.index());
                    // Unwanted by now, but perhaps live: taken for live, it is unsubscribed.
                    self.active.set(slot.index(), !is_wanted && may_be_live);
                    is_wanted
                });
            }
            if !batch.slots.is_empty() {
                return Some(batch);
            }
        }
        // What was just taken for live is due as an unsubscribe.
        None
    }

    fn enqueue(&mut self, batch: Batch) {
        for slot in &batch.slots {
            self.pending.set(slot.index(), false);
            self.queued.insert(slot.index());
        }
        self.queue.push_back(batch);
    }

    fn confirm(&mut self, batch: &Batch) {
        for slot in &batch.slots {
            self.pending.set(slot.index(), false);
            self.active.set(slot.index(), batch.operation == Operation::Subscribe);
        }
    }

    fn refuse(&mut self, mut batch: Batch, refusal: Refusal, is_already_live: bool) -> AckOutcome {
        self.counters.requests_refused += 1;
        let first = batch.slots[0];
        if batch.slots.len() > 1 {
            self.counters.splits += 1;
            self.note_refusal(first, batch.slots.len(), &refusal);
            let tail = batch.slots.split_off(batch.slots.len() / 2);
            // The venue is answering: the halves start with all their retries.
            batch.timeouts = 0;
            let tail = Batch { slots: tail, ..batch };
            self.enqueue(batch);
            self.enqueue(tail);
            return AckOutcome::Split;
        }
        self.pending.set(first.index(), false);
        if batch.operation == Operation::Unsubscribe {
            // The venue does not have it: that is what was asked for.
            return AckOutcome::Confirmed;
        }
        if is_already_live {
            self.active.insert(first.index());
            return AckOutcome::Confirmed;
        }
        self.note_refusal(first, 1, &refusal);
        if self.wanted.contains(first.index()) {
            self.refused.insert(first.index());
            self.reasons.insert(first, refusal);
        }
        AckOutcome::Refused(first)
    }

    fn note_refusal(&mut self, first: SlotId, count: usize, refusal: &Refusal) {
        self.last_refusal = Some(format!("{}{}: {refusal}", self.names[first.index()], others(count)));
    }

    /// The slot of a stream, made if it is new.
    fn slot(&mut self, stream: &str) -> SlotId {
        if let Some(&slot) = self.index.get(stream) {
            return slot;
        }
        let slot = SlotId(u32::try_from(self.names.len()).expect("fewer streams than a u32 counts fit in memory"));
        self.names.push(stream.into());
        self.index.insert(stream.into(), slot);
        let len = self.names.len();
        for set in [&mut self.wanted, &mut self.pending, &mut self.active, &mut self.refused, &mut self.queued] {
            set.grow(len);
        }
        slot
    }

    /// True if a slot takes room on the connection: wanted, or live, or perhaps live.
    fn occupies(&self, at: usize) -> bool {
        [&self.wanted, &self.pending, &self.active, &self.queued].into_iter().any(|set| set.contains(at))
    }

    fn check_room(&self, more_streams: usize, more_chars: usize) -> Result<(), PlanError> {
        let occupied = || (0..self.names.len()).filter(|&at| self.occupies(at));
        let count = occupied().count() + more_streams;
        let chars = occupied().map(|at| arg_chars(&self.names[at])).sum::<usize>() + more_chars;
        check_limits(&self.limits, count, chars)
    }
}

/// The rest of a request of which one stream is named.
fn others(count: usize) -> String {
    if count > 1 { format!(" and {} more", count - 1) } else { String::new() }
}

/// What one stream's name counts against the venue's characters per connection.
pub(super) fn arg_chars(stream: &str) -> usize {
    stream.chars().count() + ARG_CHARS_OVERHEAD
}

/// Whether one connection carries so many streams of so many characters.
pub(super) fn check_limits(limits: &Limits, count: usize, chars: usize) -> Result<(), PlanError> {
    let as_usize = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    if let Some(limit) = limits.streams_per_connection.map(as_usize).filter(|&limit| count > limit) {
        return Err(PlanError::TooManyStreams { count, limit });
    }
    if let Some(limit) = limits.args_chars_per_connection.map(as_usize).filter(|&limit| chars > limit) {
        return Err(PlanError::TooManyChars { chars, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        streams_per_connection: Some(1_024),
        args_per_request: Some(10),
        args_chars_per_connection: Some(21_000),
        messages_per_second: Some(5),
        connects: None,
        connection_age_max: None,
    };

    fn streams(count: usize) -> Vec<Box<str>> {
        (0..count).map(|n| format!("s{n}@trade").into()).collect()
    }

    fn subscriptions(count: usize) -> Subscriptions {
        Subscriptions::new(LIMITS, SubscriptionSettings::default(), streams(count)).unwrap()
    }

    fn ok(id: u64) -> Ack {
        Ack { id: Some(id), result: Ok(()) }
    }

    fn refused(id: u64) -> Ack {
        Ack { id: Some(id), result: Err(Refusal { code: Some(2), message: "Invalid topic".to_owned() }) }
    }

    fn s(seconds: u64) -> MonoNs {
        MonoNs(seconds * 1_000_000_000)
    }

    /// Sends one request and gives its streams.
    fn send(subscriptions: &mut Subscriptions, id: u64, at: MonoNs) -> Option<(Operation, Vec<String>)> {
        let request = subscriptions.next_request(id, at)?;
        Some((request.operation, request.streams.into_iter().map(str::to_owned).collect()))
    }

    fn counts(subscriptions: &Subscriptions) -> [usize; 5] {
        [SlotSet::Wanted, SlotSet::Unsent, SlotSet::Pending, SlotSet::Active, SlotSet::Refused]
            .map(|set| subscriptions.count(set))
    }

    #[test]
    fn batches_hold_what_the_venue_and_the_operator_both_allow() {
        let mut ten = subscriptions(25);
        let lens: Vec<_> = (1..).map_while(|id| send(&mut ten, id, s(0))).map(|(_, names)| names.len()).collect();
        assert_eq!(lens, [10, 10, 5]);
        let unlimited = Limits { args_per_request: None, ..LIMITS };
        let mut default = Subscriptions::new(unlimited, SubscriptionSettings::default(), streams(450)).unwrap();
        let lens: Vec<_> = (1..).map_while(|id| send(&mut default, id, s(0))).map(|(_, names)| names.len()).collect();
        assert_eq!(lens, [200, 200, 50]);
    }

    #[test]
    fn an_ack_confirms_exactly_its_own_batch() {
        let mut all = subscriptions(25);
        for id in 1..=3 {
            send(&mut all, id, s(0)).unwrap();
        }
        assert_eq!(all.on_ack(ok(2), false), AckOutcome::Confirmed);
        assert_eq!(counts(&all), [25, 0, 15, 10, 0]);
        let active: Vec<_> = all.slots(SlotSet::Active).map(|(slot, _)| slot.index()).collect();
        assert_eq!(active, (10..20).collect::<Vec<_>>());
        assert!(!all.is_settled());
        all.on_ack(ok(1), false);
        all.on_ack(ok(3), false);
        assert_eq!(counts(&all), [25, 0, 0, 25, 0]);
        assert!(all.is_settled());
    }

    #[test]
    fn an_ack_without_an_id_confirms_the_oldest_request() {
        let mut all = subscriptions(20);
        send(&mut all, 1, s(0)).unwrap();
        send(&mut all, 2, s(0)).unwrap();
        all.on_ack(Ack { id: None, result: Ok(()) }, false);
        let active: Vec<_> = all.slots(SlotSet::Active).map(|(slot, _)| slot.index()).collect();
        assert_eq!(active, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn an_ack_that_is_unknown_late_or_doubled_confirms_nothing() {
        let mut all = subscriptions(5);
        assert_eq!(all.on_ack(ok(1), false), AckOutcome::Unmatched);
        assert_eq!(all.on_ack(Ack { id: None, result: Ok(()) }, false), AckOutcome::Unmatched);
        send(&mut all, 7, s(0)).unwrap();
        assert_eq!(all.on_ack(ok(8), false), AckOutcome::Unmatched);
        assert_eq!(all.expire(s(5)), None);
        assert_eq!(all.on_ack(ok(7), false), AckOutcome::Unmatched, "late");
        assert_eq!(counts(&all), [5, 5, 0, 0, 0]);
        send(&mut all, 9, s(6)).unwrap();
        assert_eq!(all.on_ack(ok(9), false), AckOutcome::Confirmed);
        assert_eq!(all.on_ack(ok(9), false), AckOutcome::Unmatched, "doubled");
        assert_eq!((all.counters().acks, all.counters().acks_unmatched, all.counters().timeouts), (1, 5, 1));
    }

    #[test]
    fn nothing_is_asked_for_twice_while_it_is_asked_for_or_live() {
        let mut all = subscriptions(3);
        send(&mut all, 1, s(0)).unwrap();
        all.add("s1@trade").unwrap();
        assert_eq!(send(&mut all, 2, s(0)), None);
        all.on_ack(ok(1), false);
        all.add("s1@trade").unwrap();
        assert_eq!(send(&mut all, 3, s(0)), None);
        assert!(all.is_settled());
    }

    #[test]
    fn one_bad_symbol_in_a_batch_ends_alone_and_refused_and_the_rest_is_active() {
        for bad in 0..10 {
            let mut all = subscriptions(10);
            let (bad_name, mut id) = (format!("s{bad}@trade"), 0);
            while !all.is_settled() {
                id += 1;
                let (_, names) = send(&mut all, id, s(id)).unwrap();
                all.on_ack(if names.contains(&bad_name) { refused(id) } else { ok(id) }, false);
            }
            assert_eq!(counts(&all), [10, 0, 0, 9, 1], "bad {bad}");
            let refusals: Vec<_> = all.refusals().map(|(name, why)| format!("{name}: {why}")).collect();
            assert_eq!(refusals, [format!("{bad_name}: Invalid topic (code 2)")]);
            assert!(id <= 9, "halving ten to one takes at most nine requests, took {id}");
        }
    }

    #[test]
    fn a_request_nobody_answers_is_asked_again_and_then_the_connection_is_at_fault_not_its_streams() {
        let mut all = subscriptions(3);
        send(&mut all, 1, s(0)).unwrap();
        for id in 2..=4 {
            assert_eq!(all.expire(s(id * 10)), None, "before try {id}");
            assert_eq!(send(&mut all, id, s(id * 10)).unwrap().0, Operation::Subscribe, "try {id}");
        }
        assert_eq!(all.expire(s(44)), None, "the last try has its time too");
        let unanswered = all.expire(s(45)).unwrap();
        let expected = "the venue answers no request: subscribe s0@trade and 2 more, no answer in 4 tries of 5000 ms";
        assert_eq!(unanswered.to_string(), expected);
        assert_eq!((all.count(SlotSet::Refused), all.last_refusal(), all.counters().timeouts), (0, None, 4));
        // The next connection starts from nothing: every stream, every retry.
        all.disconnected();
        assert_eq!(counts(&all), [3, 3, 0, 0, 0]);
        assert_eq!(send(&mut all, 5, s(60)).unwrap().1.len(), 3);
        assert_eq!(all.expire(s(65)), None, "the retries are counted anew");
        send(&mut all, 6, s(66)).unwrap();
        all.on_ack(ok(6), false);
        assert_eq!(counts(&all), [3, 0, 0, 3, 0]);
    }

    #[test]
    fn an_unsubscribe_nobody_answers_says_so_too() {
        let mut all = subscriptions(1);
        send(&mut all, 1, s(0)).unwrap();
        all.on_ack(ok(1), false);
        all.remove("s0@trade").unwrap();
        for id in 2..=4 {
            assert_eq!(send(&mut all, id, s(id * 10)).unwrap().0, Operation::Unsubscribe);
            assert_eq!(all.expire(s(id * 10 + 5)), None);
        }
        send(&mut all, 5, s(50)).unwrap();
        let unanswered = all.expire(s(55)).unwrap();
        assert_eq!((unanswered.operation, unanswered.stream_count), (Operation::Unsubscribe, 1));
        assert!(unanswered.to_string().contains("unsubscribe s0@trade, no answer in 4 tries"), "{unanswered}");
    }

    #[test]
    fn a_disconnect_makes_all_unsent_but_what_was_refused() {
        let mut all = subscriptions(11);
        send(&mut all, 1, s(0)).unwrap();
        all.on_ack(ok(1), false);
        send(&mut all, 2, s(0)).unwrap();
        all.on_ack(refused(2), false);
        assert_eq!(counts(&all), [11, 0, 0, 10, 1]);
        all.disconnected();
        assert_eq!(counts(&all), [11, 10, 0, 0, 1]);
        let (_, names) = send(&mut all, 3, s(1)).unwrap();
        assert_eq!(names.len(), 10);
        assert!(!names.contains(&"s10@trade".to_owned()));
        // Only the operator asks for a refused stream again.
        all.add("s10@trade").unwrap();
        assert_eq!(send(&mut all, 4, s(1)).unwrap().1, ["s10@trade"]);
    }

    #[test]
    fn a_stream_removed_while_it_is_asked_for_is_unsubscribed_once_confirmed() {
        let mut all = subscriptions(2);
        send(&mut all, 1, s(0)).unwrap();
        all.remove("s1@trade").unwrap();
        assert_eq!(send(&mut all, 2, s(0)), None, "nothing is known of it yet");
        all.on_ack(ok(1), false);
        assert_eq!(send(&mut all, 2, s(0)), Some((Operation::Unsubscribe, vec!["s1@trade".to_owned()])));
        // Wanted again meanwhile: first the answer, then a new subscription.
        all.add("s1@trade").unwrap();
        assert_eq!(send(&mut all, 3, s(0)), None);
        all.on_ack(ok(2), false);
        assert_eq!(send(&mut all, 3, s(0)), Some((Operation::Subscribe, vec!["s1@trade".to_owned()])));
    }

    #[test]
    fn a_stream_removed_after_an_unanswered_request_may_be_live_and_is_unsubscribed() {
        let mut all = subscriptions(2);
        send(&mut all, 1, s(0)).unwrap();
        assert_eq!(all.expire(s(5)), None);
        all.remove("s0@trade").unwrap();
        assert_eq!(send(&mut all, 2, s(5)), Some((Operation::Subscribe, vec!["s1@trade".to_owned()])));
        assert_eq!(send(&mut all, 3, s(5)), Some((Operation::Unsubscribe, vec!["s0@trade".to_owned()])));
    }

    #[test]
    fn a_retry_that_meets_its_own_subscription_is_confirmed_by_it() {
        let mut all = subscriptions(1);
        send(&mut all, 1, s(0)).unwrap();
        assert_eq!(all.expire(s(5)), None);
        send(&mut all, 2, s(5)).unwrap();
        assert_eq!(all.on_ack(refused(2), true), AckOutcome::Confirmed);
        assert_eq!(counts(&all), [1, 0, 0, 1, 0]);
    }

    #[test]
    fn what_one_connection_cannot_carry_is_an_error_with_both_numbers() {
        let new = |count| Subscriptions::new(LIMITS, SubscriptionSettings::default(), streams(count));
        assert_eq!(new(1_025).unwrap_err(), PlanError::TooManyStreams { count: 1_025, limit: 1_024 });
        let long: Vec<Box<str>> = (0..50).map(|n| format!("{n:0>500}").into()).collect();
        let error = Subscriptions::new(LIMITS, SubscriptionSettings::default(), long).unwrap_err();
        assert_eq!(error, PlanError::TooManyChars { chars: 25_150, limit: 21_000 });
        let twice = vec!["a".into(), "b".into(), "a".into()];
        let error = Subscriptions::new(LIMITS, SubscriptionSettings::default(), twice).unwrap_err();
        assert_eq!(error, PlanError::Duplicate { stream: "a".to_owned() });
        let mut full = new(1_024).unwrap();
        assert!(matches!(full.add("one@more"), Err(PlanError::TooManyStreams { count: 1_025, .. })));
        full.remove("s3@trade").unwrap();
        full.add("one@more").unwrap();
        assert_eq!(full.remove("never@there"), None);
    }

    #[test]
    fn only_so_many_requests_await_their_answers_at_once() {
        let settings = SubscriptionSettings { in_flight_max: 2, ..SubscriptionSettings::default() };
        let mut all = Subscriptions::new(LIMITS, settings, streams(30)).unwrap();
        assert!(send(&mut all, 1, s(0)).is_some() && send(&mut all, 2, s(0)).is_some());
        assert!(!all.has_request());
        assert_eq!(send(&mut all, 3, s(0)), None);
        all.on_ack(ok(1), false);
        assert!(send(&mut all, 3, s(0)).is_some());
    }
}
