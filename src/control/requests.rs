//! The table of requests under way: ids, deadlines, and how each one ended. Owned by the request machine.
//!
//! ```text
//! open ─► waiting ─sent─► on its way ─answer───────► Answered | Refused
//!   │        │                │ ├────deadline──────► TimedOut        (its id is remembered: the answer is late)
//!   │        │                │ └────socket gone───► Unknown         (done or not: nobody can say)
//!   └────────┴─deadline, close, no room, no id─────► NotSent         (surely not done: it may be asked again)
//! ```
//! Every request ends exactly once. The table holds at most `pending_max`; the ids of requests that have ended are
//! remembered, at most `remembered_max` of them, so that an answer that comes late, one that comes twice and one that
//! nobody asked for are told apart. Knows no socket and no text.

use super::codec::{Reply, ReplyTo, RequestId, RequestRefusal};
use super::{AuthRefusal, after};
use crate::market::MonoNs;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// How big the table is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestSettings {
    /// Requests under way, waiting ones included.
    pub pending_max: usize,
    /// Ids of ended requests that are remembered, the oldest forgotten first.
    pub remembered_max: usize,
}

impl Default for RequestSettings {
    fn default() -> Self {
        Self { pending_max: 1_024, remembered_max: 4_096 }
    }
}

/// One request, for as long as the process lives. Never given twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestTicket(pub(super) u64);

/// Why a request was surely not sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotSent {
    /// The table is full.
    #[error("{pending_max} requests are under way already")]
    TableFull {
        /// The limit.
        pending_max: usize,
    },
    /// Too many messages wait for the connection.
    #[error("{queued_max} messages wait already")]
    QueueFull {
        /// The limit.
        queued_max: usize,
    },
    /// The message is longer than the connection takes.
    #[error("a message of {length_bytes} bytes: at most {length_bytes_max} are sent")]
    TooLong {
        /// Its length.
        length_bytes: usize,
        /// The limit.
        length_bytes_max: usize,
    },
    /// A request of this id is under way, or one that timed out could still be answered.
    #[error("the id {id} is in use")]
    IdInUse {
        /// The id.
        id: RequestId,
    },
    /// A text that is no request, or has no id its answer could be known by.
    #[error("no request with an id: its answer could not be told from another")]
    NoId,
    /// The parameters cannot be written as JSON.
    #[error("the parameters are no JSON: {what}")]
    Params {
        /// What is wrong with them.
        what: String,
    },
    /// Its time ran out before the connection was ready for it.
    #[error("its time ran out before it could be sent")]
    NotInTime,
    /// The connection is being closed, or is.
    #[error("the connection is closed")]
    Closed,
    /// The connection was given up.
    #[error("the connection was given up: {reason}")]
    GaveUp {
        /// Why the last attempt failed.
        reason: String,
    },
    /// The venue does not let us in.
    #[error(transparent)]
    AuthRefused(#[from] AuthRefusal),
}

/// How a request ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// With a result: JSON text.
    Answered(String),
    /// With the venue's refusal.
    Refused(RequestRefusal),
    /// No answer came in time. It may have been done.
    TimedOut,
    /// The connection went after it was sent. It may have been done.
    Unknown {
        /// How the connection went.
        reason: String,
    },
    /// It never left. It has not been done.
    NotSent(NotSent),
}

/// A request that has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Which one.
    pub ticket: RequestTicket,
    /// How.
    pub outcome: Outcome,
}

/// What became of all requests so far.
///
/// `opened` is the sum of `answered`, `refused`, `timed_out`, `unknown`, `not_sent`, `abandoned`, and those under way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct RequestCounters {
    /// Asked for.
    pub opened: u64,
    /// Given to the socket.
    pub sent: u64,
    /// Ended by a result.
    pub answered: u64,
    /// Ended by a refusal.
    pub refused: u64,
    /// Ended by their deadline after they were sent.
    pub timed_out: u64,
    /// Ended by the end of their connection after they were sent.
    pub unknown: u64,
    /// Ended before they were sent.
    pub not_sent: u64,
    /// Let go of by who asked.
    pub abandoned: u64,
    /// Answers to requests that had timed out or been let go of.
    pub late_answers: u64,
    /// Answers to requests that were answered already.
    pub repeated_answers: u64,
    /// Answers to nothing that is known.
    pub unmatched_answers: u64,
}

/// A request under way, as outputs show it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PendingRequest {
    /// Its id, a text in quotes.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Milliseconds since it was asked for.
    pub age_ms: u64,
    /// Milliseconds until its deadline.
    pub left_ms: u64,
    /// True once it was given to the socket.
    pub is_sent: bool,
}

#[derive(Debug)]
struct Pending {
    id: RequestId,
    method: Box<str>,
    opened_at: MonoNs,
    deadline: MonoNs,
    is_sent: bool,
}

/// How a remembered request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Past {
    /// Answered or refused: another answer repeats it.
    Answered,
    /// Timed out or abandoned: an answer is late.
    Unanswered,
}

/// The table.
///
/// Invariant: `pending`, `by_id` and `deadlines` hold the same requests.
#[derive(Debug)]
pub struct Requests {
    settings: RequestSettings,
    pending: BTreeMap<RequestTicket, Pending>,
    by_id: HashMap<RequestId, RequestTicket>,
    deadlines: BTreeSet<(MonoNs, RequestTicket)>,
    past: HashMap<RequestId, (Past, RequestTicket)>,
    /// Oldest first. One whose ticket is not the one in `past` stands for an id that was used again.
    past_order: VecDeque<(RequestId, RequestTicket)>,
    next_ticket: u64,
    next_id: u64,
    counters: RequestCounters,
}

impl Requests {
    /// An empty table.
    #[must_use]
    pub fn new(settings: RequestSettings) -> Self {
        Self {
            settings,
            pending: BTreeMap::new(),
            by_id: HashMap::new(),
            deadlines: BTreeSet::new(),
            past: HashMap::new(),
            past_order: VecDeque::new(),
            next_ticket: 1,
            next_id: 1,
            counters: RequestCounters::default(),
        }
    }

    /// An id that no request has. Never given twice.
    pub fn fresh_id(&mut self) -> u64 {
        loop {
            let id = self.next_id;
            self.next_id += 1;
            let key = RequestId::Number(id);
            if !self.by_id.contains_key(&key) && !self.past.contains_key(&key) {
                return id;
            }
        }
    }

    /// A request is asked for. It ends when `timeout` has passed, at the latest.
    ///
    /// # Errors
    /// [`NotSent`]: the table is full, or the id in use. The ticket has ended, then.
    pub fn open(
        &mut self,
        id: RequestId,
        method: &str,
        timeout: Duration,
        now: MonoNs,
    ) -> Result<RequestTicket, (RequestTicket, NotSent)> {
        let ticket = self.next_ticket();
        self.counters.opened += 1;
        let refusal = if self.pending.len() >= self.settings.pending_max {
            Some(NotSent::TableFull { pending_max: self.settings.pending_max })
        } else if self.is_in_use(&id) {
            Some(NotSent::IdInUse { id: id.clone() })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.counters.not_sent += 1;
            return Err((ticket, refusal));
        }
        let deadline = after(now, timeout);
        self.deadlines.insert((deadline, ticket));
        self.by_id.insert(id.clone(), ticket);
        // An id that was answered may be used again; what the past knew of it would make its answer a repetition.
        self.past.remove(&id);
        self.pending.insert(ticket, Pending { id, method: method.into(), opened_at: now, deadline, is_sent: false });
        Ok(ticket)
    }

    /// A request that is refused before it has an id, or any other place in the table.
    pub fn refuse(&mut self) -> RequestTicket {
        self.counters.opened += 1;
        self.counters.not_sent += 1;
        self.next_ticket()
    }

    /// The request is given to the socket now. False if it has ended: then it must not be.
    pub fn sent(&mut self, ticket: RequestTicket) -> bool {
        match self.pending.get_mut(&ticket) {
            Some(pending) if !pending.is_sent => {
                pending.is_sent = true;
                self.counters.sent += 1;
                true
            }
            _ => false,
        }
    }

    /// True while the request has not ended.
    #[must_use]
    pub fn is_pending(&self, ticket: RequestTicket) -> bool {
        self.pending.contains_key(&ticket)
    }

    /// True if an answer to this would end a request.
    #[must_use]
    pub fn is_expected(&self, to: &ReplyTo) -> bool {
        self.meant_by(to).is_some()
    }

    /// An answer came. `None`, and a counter, if it ends no request.
    pub fn answered(&mut self, reply: Reply) -> Option<Ended> {
        let Some(ticket) = self.meant_by(&reply.to) else {
            let past = match &reply.to {
                ReplyTo::Id(id) => self.past.get(id).map(|(past, _)| *past),
                ReplyTo::OldestOf(_) | ReplyTo::Oldest | ReplyTo::Nobody => None,
            };
            match past {
                Some(Past::Unanswered) => self.counters.late_answers += 1,
                Some(Past::Answered) => self.counters.repeated_answers += 1,
                None => self.counters.unmatched_answers += 1,
            }
            return None;
        };
        self.close(ticket, Some(Past::Answered));
        let outcome = match reply.outcome {
            Ok(result) => {
                self.counters.answered += 1;
                Outcome::Answered(result)
            }
            Err(refusal) => {
                self.counters.refused += 1;
                Outcome::Refused(refusal)
            }
        };
        Some(Ended { ticket, outcome })
    }

    /// Ends what should have ended by `now`.
    pub fn expire(&mut self, now: MonoNs, ended: &mut Vec<Ended>) {
        while let Some(&(deadline, ticket)) = self.deadlines.first()
            && deadline <= now
        {
            let is_sent = self.pending.get(&ticket).is_some_and(|pending| pending.is_sent);
            self.close(ticket, is_sent.then_some(Past::Unanswered));
            let outcome = if is_sent {
                self.counters.timed_out += 1;
                Outcome::TimedOut
            } else {
                self.counters.not_sent += 1;
                Outcome::NotSent(NotSent::NotInTime)
            };
            ended.push(Ended { ticket, outcome });
        }
    }

    /// When [`expire`](Self::expire) has something to end at the earliest.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonoNs> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The socket is gone: what was sent is unknown, and no answer to it can come any more. What was not sent stays.
    pub fn disconnected(&mut self, reason: &str, ended: &mut Vec<Ended>) {
        let sent: Vec<RequestTicket> = self.tickets(true).collect();
        for ticket in sent {
            self.close(ticket, None);
            self.counters.unknown += 1;
            ended.push(Ended { ticket, outcome: Outcome::Unknown { reason: reason.to_owned() } });
        }
        self.past.clear();
        self.past_order.clear();
    }

    /// What was not sent never will be.
    pub fn refuse_unsent(&mut self, why: &NotSent, ended: &mut Vec<Ended>) {
        let unsent: Vec<RequestTicket> = self.tickets(false).collect();
        for ticket in unsent {
            self.refuse_one(ticket, why.clone(), ended);
        }
    }

    /// This one was not sent and never will be.
    pub fn refuse_one(&mut self, ticket: RequestTicket, why: NotSent, ended: &mut Vec<Ended>) {
        if self.close(ticket, None) {
            self.counters.not_sent += 1;
            ended.push(Ended { ticket, outcome: Outcome::NotSent(why) });
        }
    }

    /// Who asked no longer wants to know. False if the request has ended already.
    pub fn abandon(&mut self, ticket: RequestTicket) -> bool {
        let is_sent = self.pending.get(&ticket).is_some_and(|pending| pending.is_sent);
        let is_pending = self.close(ticket, is_sent.then_some(Past::Unanswered));
        self.counters.abandoned += u64::from(is_pending);
        is_pending
    }

    /// Requests under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// True while no request is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Each request under way, the oldest first.
    #[must_use]
    pub fn pending(&self, now: MonoNs) -> Vec<PendingRequest> {
        let shown = |pending: &Pending| PendingRequest {
            id: pending.id.to_string(),
            method: pending.method.to_string(),
            age_ms: now.since_ns(pending.opened_at) / 1_000_000,
            left_ms: pending.deadline.since_ns(now) / 1_000_000,
            is_sent: pending.is_sent,
        };
        self.pending.values().map(shown).collect()
    }

    /// What became of all requests so far.
    #[must_use]
    pub const fn counters(&self) -> RequestCounters {
        self.counters
    }

    fn next_ticket(&mut self) -> RequestTicket {
        let ticket = RequestTicket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    /// True if an answer with this id could be another request's.
    fn is_in_use(&self, id: &RequestId) -> bool {
        self.by_id.contains_key(id) || matches!(self.past.get(id), Some((Past::Unanswered, _)))
    }

    /// The request that an answer ends. One that was never sent cannot have been answered.
    fn meant_by(&self, to: &ReplyTo) -> Option<RequestTicket> {
        let mut sent = self.pending.iter().filter(|(_, pending)| pending.is_sent);
        match to {
            ReplyTo::Id(id) => {
                self.by_id.get(id).copied().filter(|ticket| self.pending.get(ticket).is_some_and(|sent| sent.is_sent))
            }
            ReplyTo::OldestOf(method) => sent.find(|(_, pending)| pending.method == *method).map(|(ticket, _)| *ticket),
            ReplyTo::Oldest => sent.next().map(|(ticket, _)| *ticket),
            ReplyTo::Nobody => None,
        }
    }

    fn tickets(&self, is_sent: bool) -> impl Iterator<Item = RequestTicket> {
        self.pending.iter().filter(move |(_, pending)| pending.is_sent == is_sent).map(|(ticket, _)| *ticket)
    }

    /// Takes a request out of the table. False if it is not there.
    fn close(&mut self, ticket: RequestTicket, past: Option<Past>) -> bool {
        let Some(Pending { id, deadline, .. }) = self.pending.remove(&ticket) else { return false };
        self.deadlines.remove(&(deadline, ticket));
        self.by_id.remove(&id);
        if let Some(past) = past {
            self.remember(id, past, ticket);
        }
        debug_assert_eq!(self.pending.len(), self.by_id.len());
        debug_assert_eq!(self.pending.len(), self.deadlines.len());
        true
    }

    fn remember(&mut self, id: RequestId, past: Past, ticket: RequestTicket) {
        self.past_order.push_back((id.clone(), ticket));
        self.past.insert(id, (past, ticket));
        while self.past_order.len() > self.settings.remembered_max {
            let Some((id, ticket)) = self.past_order.pop_front() else { return };
            if self.past.get(&id).is_some_and(|(_, of)| *of == ticket) {
                self.past.remove(&id);
            }
        }
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
