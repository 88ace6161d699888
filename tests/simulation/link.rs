//! One logical connection: the relay under test, its sockets, what its operator wants, and the ledger of its streams.
//!
//! ```text
//! market ─seq─► socket (leader) ──┐
//!        ─seq─► socket (successor)┴─► delivered: who may speak, by BeginOverlap / Promote / EndOverlap
//!                                     a seq that no speaking socket heard is lost: by whose fault?
//! ```

use super::dialect::Dialect;
use super::random::Random;
use super::socket::Socket;
use std::collections::BTreeMap;
use tickwire::control::{ConnectionSettings, Leg, Relay, RotationSettings};

/// One stream of the market, and what became of its messages.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    mean_gap: u64,
    next_at: u64,
    /// The number of its last message.
    seq: u64,
    last_at: u64,
    /// The venue has no such stream.
    pub(crate) is_bad: bool,
    /// Its messages have numbers: whichever socket is first delivers. Otherwise one socket speaks.
    pub(crate) has_identity: bool,
    pub(crate) is_wanted: bool,
    /// The legs that know that the venue refuses it: none of them asks again unless the operator does.
    pub(crate) refused_to: Vec<Leg>,
    /// It was asked to end, for a moment at least: on each of two sockets at most, and until then it may.
    pub(crate) may_end_until: u64,
    /// Messages reach the strategy, as things stand.
    pub(crate) is_covered: bool,
    /// Numbers that reached the strategy, and those that did not though the stream was wanted.
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
}

/// A stream's messages since the last look.
struct Arrived {
    count: u64,
    last_at: u64,
}

impl Stream {
    fn new(name: String, random: &mut Random, now: u64) -> Self {
        let mean_gap = random.pick(&[300, 700, 2_000, 5_000, 20_000, 120_000]) * crate::MS;
        Self {
            name,
            mean_gap,
            next_at: now + random.wait(mean_gap),
            seq: 0,
            last_at: 0,
            is_bad: random.percent(4),
            has_identity: random.percent(60),
            is_wanted: false,
            refused_to: Vec::new(),
            may_end_until: 0,
            is_covered: false,
            delivered: 0,
            lost: 0,
        }
    }

    /// It speaks often enough that a silence of ten minutes is none of its own.
    pub(crate) const fn is_busy(&self) -> bool {
        self.mean_gap <= 5 * crate::SECOND
    }

    /// Lets the market go on up to `now`.
    fn advance(&mut self, now: u64, random: &mut Random) -> Arrived {
        let before = self.seq;
        while self.next_at <= now {
            self.seq += 1;
            self.last_at = self.next_at;
            self.next_at += random.wait(self.mean_gap);
        }
        Arrived { count: self.seq - before, last_at: self.last_at }
    }
}

/// Why an event is handed in: whose doing it is if a stream is no longer heard afterwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Doing {
    /// The venue or the network failed.
    Fault,
    /// The operator asked for it.
    Operator,
    /// The control plane went on by itself.
    Own,
}

/// A request that ends a stream waits for its turn, and for an overlap to end.
pub(crate) const END_WITHIN: u64 = 2 * crate::MINUTE;

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) dialect: Dialect,
    pub(crate) host: usize,
    pub(crate) settings: ConnectionSettings,
    pub(crate) rotation: RotationSettings,
    pub(crate) relay: Relay,
    pub(crate) streams: Vec<Stream>,
    pub(crate) index: BTreeMap<String, usize>,
    pub(crate) sockets: Vec<Socket>,
    /// When the relay wants to be called.
    pub(crate) timer: u64,
    /// A leg may not connect before: its last wait.
    pub(crate) not_before: Vec<(Leg, u64)>,
    /// What the leg's last failure asked for, until it is reported.
    pub(crate) asked_wait: Option<(Leg, u64)>,
    /// The close code that ended its last socket.
    pub(crate) close_code: Option<u16>,
    /// Who may speak: the leader, and while an overlap lasts the successor.
    pub(crate) speakers: (Leg, Option<Leg>),
    pub(crate) is_promoted: bool,
    pub(crate) rotating_since: Option<u64>,
    /// Since when nothing bad happened to it.
    pub(crate) stopped_at: Option<u64>,
    next_data: u64,
}

impl Link {
    pub(crate) fn new(
        dialect: Dialect,
        host: usize,
        (settings, rotation): (ConnectionSettings, RotationSettings),
        mut streams: Vec<Stream>,
    ) -> Self {
        for stream in &mut streams {
            (stream.is_covered, stream.may_end_until) = (false, 0);
            stream.refused_to.clear();
        }
        let wanted = streams.iter().filter(|stream| stream.is_wanted).map(|stream| stream.name.as_str().into());
        let relay = Relay::new(settings.clone(), rotation.clone(), wanted.collect()).expect("within the limits");
        let index = streams.iter().enumerate().map(|(at, stream)| (stream.name.clone(), at)).collect();
        let (leader, _) = relay.current();
        Self {
            dialect,
            host,
            settings,
            rotation,
            relay,
            streams,
            index,
            sockets: Vec::new(),
            timer: u64::MAX,
            not_before: Vec::new(),
            asked_wait: None,
            close_code: None,
            speakers: (leader, None),
            is_promoted: false,
            rotating_since: None,
            stopped_at: None,
            next_data: 0,
        }
    }

    /// A pool of streams, most of them wanted.
    pub(crate) fn streams_of(
        dialect: Dialect,
        number: usize,
        (wanted, spare): (usize, usize),
        random: &mut Random,
        now: u64,
    ) -> Vec<Stream> {
        let name = |at| dialect.stream(number, at);
        let mut streams: Vec<_> = (0..wanted + spare).map(|at| Stream::new(name(at), random, now)).collect();
        for stream in &mut streams[..wanted] {
            stream.is_wanted = true;
        }
        streams
    }

    pub(crate) fn socket(&mut self, serial: u64) -> Option<&mut Socket> {
        self.sockets.iter_mut().find(|socket| socket.serial == serial)
    }

    pub(crate) fn socket_of(&mut self, leg: Leg) -> Option<&mut Socket> {
        self.sockets.iter_mut().find(|socket| socket.leg == leg)
    }

    /// Forgets a socket. False if there was none.
    pub(crate) fn forget(&mut self, leg: Leg) -> bool {
        let before = self.sockets.len();
        self.sockets.retain(|socket| socket.leg != leg);
        self.sockets.len() < before
    }

    /// Lets the market go on: what the hot core hears, and what reaches the strategy.
    pub(crate) fn sync(&mut self, now: u64, random: &mut Random) {
        if self.next_data > now {
            return;
        }
        let mut next_data = u64::MAX;
        for (at, stream) in self.streams.iter_mut().enumerate() {
            if stream.next_at <= now {
                let arrived = stream.advance(now, random);
                if stream.is_covered {
                    stream.delivered += arrived.count;
                } else if stream.is_wanted && !stream.is_bad {
                    stream.lost += arrived.count;
                }
                for socket in self.sockets.iter_mut().filter(|socket| socket.hears(at)) {
                    socket.carried[at].last_data = arrived.last_at;
                    socket.messages += arrived.count;
                    socket.last_byte = socket.last_byte.max(arrived.last_at);
                }
            }
            next_data = next_data.min(stream.next_at);
        }
        self.next_data = next_data;
    }

    /// True if some socket that may speak hears this stream.
    fn covers(&self, stream: usize) -> bool {
        let (leader, successor) = self.speakers;
        let heard_by = |leg: Leg| self.sockets.iter().any(|socket| socket.leg == leg && socket.hears(stream));
        let is_leader_heard = heard_by(leader);
        let is_successor_heard = successor.is_some_and(heard_by);
        if self.streams[stream].has_identity || successor.is_none() {
            return is_leader_heard || is_successor_heard;
        }
        // One speaks, and where it is gone the other one does.
        let has_socket = |leg: Leg| self.sockets.iter().any(|socket| socket.leg == leg && socket.is_open());
        match self.is_promoted {
            true => is_successor_heard || is_leader_heard,
            false => is_leader_heard || (is_successor_heard && !has_socket(leader)),
        }
    }

    /// Up, and neither rotating nor on its way.
    pub(crate) fn is_settled(&self) -> bool {
        !self.relay.is_rotating() && self.relay.current().1.state() == tickwire::control::State::Ready
    }

    /// True if some socket is hurt, so that a stream may go unheard without any fault of ours.
    pub(crate) fn is_blemished(&self) -> bool {
        self.sockets.iter().any(|socket| socket.is_blemished)
    }

    /// Works out anew which streams reach the strategy. One that no longer does, though nothing was wrong with any of
    /// its sockets and nobody asked for it, was let go by our own mistake.
    pub(crate) fn cover(&mut self, doing: Doing, was_blemished: bool, now: u64) {
        let is_excused = doing != Doing::Own || was_blemished;
        for at in 0..self.streams.len() {
            let is_covered = self.covers(at);
            let stream = &mut self.streams[at];
            let was_covered = std::mem::replace(&mut stream.is_covered, is_covered);
            if was_covered && !is_covered && !is_excused && stream.is_wanted {
                assert!(
                    now < stream.may_end_until,
                    "{} was let go though its socket was well and nobody asked for it: its data is lost",
                    stream.name
                );
            }
        }
    }

    /// A repair ends a stream and asks for it again: only where it has said nothing for a while on a socket that has it, as
    /// far as the last sample tells. What it says while the request is on its way is lost with good reason.
    pub(crate) fn repair(&mut self, stream: &str, now: u64) {
        let at = self.index[stream];
        // The one that spoke, and while the lead passes in this very step the one that will.
        let is_silent = self.sockets.iter().any(|socket| now - socket.carried[at].sampled > 5 * crate::SECOND);
        assert!(is_silent || self.sockets.is_empty(), "{stream} is repaired, and speaks");
        self.streams[at].may_end_until = now + END_WITHIN;
    }

    /// What the venue should have: what is wanted, without what it does not have.
    pub(crate) fn expected(&self) -> Vec<&str> {
        let good = self.streams.iter().filter(|stream| stream.is_wanted && !stream.is_bad);
        good.map(|stream| stream.name.as_str()).collect()
    }

    /// What it must have refused.
    pub(crate) fn refusable(&self) -> Vec<&str> {
        let bad = self.streams.iter().filter(|stream| stream.is_wanted && stream.is_bad);
        bad.map(|stream| stream.name.as_str()).collect()
    }
}
