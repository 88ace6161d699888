//! One socket, as the venue and the hot core see it.
//!
//! ```text
//! Connecting ──► Open ──► Closing ──► forgotten
//!                 live: what the venue sends on it            told: what the machine must know of that
//!                 mute: half-open, nothing passes             silent: acknowledged, and nothing comes
//! ```

use super::dialect::Dialect;
use crate::SECOND;
use std::collections::VecDeque;
use tickwire::control::{Leg, SlotId};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Connecting,
    Open,
    /// We have sent our close frame.
    Closing,
}

/// One stream on one socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// The venue has it among this socket's subscriptions.
    pub(crate) is_live: bool,
    /// And its ack was heard in time: asking again would be a fault of ours.
    pub(crate) is_told: bool,
    /// The venue sends nothing of it, though it should.
    pub(crate) is_silent: bool,
    /// When its last data came.
    pub(crate) last_data: u64,
    /// What of that the machine was told last.
    pub(crate) sampled: u64,
    /// Its place in the machine's table, once known.
    pub(crate) slot: Option<SlotId>,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) leg: Leg,
    /// Its number in the world: tells late deliveries of another socket from its own.
    pub(crate) serial: u64,
    pub(crate) phase: Phase,
    pub(crate) carried: Vec<Carried>,
    /// One way, to us always the same. What we send may be held up beyond it, and keeps its order.
    pub(crate) latency: u64,
    /// When the last thing we sent is there.
    reached_at: u64,
    /// Samples that brought data of some stream behind its first.
    pub(crate) spoken: u64,
    /// Since when every stream on it has been silent.
    pub(crate) silent_since: Option<u64>,
    pub(crate) opened_at: u64,
    /// When the venue cuts it for its age.
    pub(crate) cut_at: u64,
    pub(crate) next_server_ping: u64,
    pub(crate) last_byte: u64,
    pub(crate) messages: u64,
    /// Since when nothing passes in either direction, if so.
    pub(crate) mute_since: Option<u64>,
    /// It answers no request any more.
    pub(crate) is_dumb: bool,
    /// The venue has accepted its login.
    pub(crate) is_logged_in: bool,
    /// Something was done to it that may cost it a stream without any fault of ours.
    pub(crate) is_blemished: bool,
    /// The answer that goes out next is not before this, where the order tells whose it is.
    pub(crate) last_answer: u64,
    sends: VecDeque<u64>,
}

impl Socket {
    pub(crate) fn new(leg: Leg, serial: u64, stream_count: usize, latency: u64) -> Self {
        Self {
            leg,
            serial,
            phase: Phase::Connecting,
            carried: vec![Carried::default(); stream_count],
            latency,
            opened_at: 0,
            cut_at: u64::MAX,
            next_server_ping: u64::MAX,
            last_byte: 0,
            messages: 0,
            mute_since: None,
            is_dumb: false,
            is_logged_in: false,
            is_blemished: false,
            reached_at: 0,
            spoken: 0,
            silent_since: None,
            last_answer: 0,
            sends: VecDeque::new(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// True if data of this stream reaches the hot core.
    pub(crate) fn hears(&self, stream: usize) -> bool {
        let carried = &self.carried[stream];
        self.phase == Phase::Open && self.mute_since.is_none() && carried.is_live && !carried.is_silent
    }

    /// We send a message, a request, a ping or a pong, and it is held up so long on its way: when it is there. The venue
    /// counts it then.
    pub(crate) fn reach(&mut self, dialect: Dialect, now: u64, held_up: u64) -> u64 {
        self.reached_at = self.reached_at.max(now + self.latency + held_up);
        self.count_message(dialect, self.reached_at);
        self.reached_at
    }

    fn count_message(&mut self, dialect: Dialect, now: u64) {
        let Some(limit) = dialect.messages_a_second() else { return };
        while self.sends.front().is_some_and(|&at| at + SECOND <= now) {
            self.sends.pop_front();
        }
        self.sends.push_back(now);
        let count = self.sends.len();
        assert!(count <= limit, "{dialect:?}: {count} messages within a second, the venue allows {limit}");
    }

    /// The venue takes a SUBSCRIBE: what it says.
    pub(crate) fn subscribe(
        &mut self,
        dialect: Dialect,
        streams: &[usize],
        name: impl Fn(usize) -> String,
        is_bad: impl Fn(usize) -> bool,
    ) -> Result<(), String> {
        for &stream in streams {
            let carried = &self.carried[stream];
            assert!(!carried.is_told, "{} asked for while it is live and we were told so", name(stream));
        }
        let bad = streams.iter().find(|&&stream| is_bad(stream));
        let twice = streams.iter().find(|&&stream| self.carried[stream].is_live);
        match (bad, twice) {
            (Some(&bad), _) if dialect.is_binance() => return Err(format!("Invalid request: {}", name(bad))),
            (Some(&bad), _) => return Err(format!("error:handler not found,topic:{}", name(bad))),
            (_, Some(&twice)) if !dialect.is_binance() => {
                return Err(format!("error:already subscribed,topic:{}", name(twice)));
            }
            _ => {}
        }
        for &stream in streams {
            self.carried[stream].is_live = true;
        }
        let count = self.live_count();
        assert!(dialect.streams_max().is_none_or(|max| count <= max), "{dialect:?}: {count} streams on one connection");
        let live = (0..self.carried.len()).filter(|&stream| self.carried[stream].is_live);
        // With the quotes and the comma around each: whether the venue counts them is not documented.
        let chars: usize = live.map(|stream| name(stream).chars().count() + 3).sum();
        assert!(dialect.chars_max().is_none_or(|max| chars <= max), "{dialect:?}: {chars} characters of arguments");
        Ok(())
    }

    /// The venue takes an UNSUBSCRIBE: what it says.
    pub(crate) fn unsubscribe(&mut self, dialect: Dialect, streams: &[usize]) -> Result<(), String> {
        if !dialect.is_binance() && streams.iter().any(|&stream| !self.carried[stream].is_live) {
            return Err("error:topic not subscribed".to_owned());
        }
        for &stream in streams {
            let carried = &mut self.carried[stream];
            (carried.is_live, carried.is_told, carried.is_silent) = (false, false, false);
        }
        Ok(())
    }

    /// True if every stream that the venue has on it is silent.
    pub(crate) fn is_all_silent(&self) -> bool {
        let mut live = self.carried.iter().filter(|carried| carried.is_live).peekable();
        live.peek().is_some() && live.all(|carried| carried.is_silent)
    }

    pub(crate) fn live_count(&self) -> usize {
        self.carried.iter().filter(|carried| carried.is_live).count()
    }
}
