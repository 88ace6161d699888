//! The core's way out of its ring: notices, pooled buffers, and a queue for what must arrive although the ring is full.
//!
//! ```text
//! core ──► waiting (in order) ──► ring ──► cold side        lost, spent, unsent, sample: must arrive
//!      ──────────────────────────► ring                     control message: dropped and counted where there is no room
//!                                                           hole to be refilled: stays where it is until there is room
//! ```

use super::poller::Waker;
use super::ring::Notice;
use super::stats::ConnectionStats;
use super::trails::Trails;
use crate::limits::{CONTROL_MESSAGE_BYTES, SAMPLE_BYTES};
use crate::venue::DecodeError;
use rtrb::Producer;
use std::collections::VecDeque;
use std::sync::Arc;

/// The core's way out. What must arrive waits for room; what may be lost is counted.
pub(super) struct Outbox {
    pub(super) notices: Producer<Notice>,
    pub(super) waker: Arc<Waker>,
    pub(super) pool: Vec<Vec<u8>>,
    /// Notices on their way, in their order. Stays short unless the ring is full; bounded by what the core owns:
    /// connections, and commands in the ring.
    pub(super) waiting: VecDeque<Notice>,
}

impl Outbox {
    pub(super) fn deliver(&mut self, notice: Notice) {
        self.waiting.push_back(notice);
        self.retry();
    }

    pub(super) fn retry(&mut self) {
        while let Some(notice) = self.waiting.pop_front() {
            if let Err(rtrb::PushError::Full(notice)) = self.notices.push(notice) {
                self.waiting.push_front(notice);
                break;
            }
            self.waker.wake();
        }
    }

    /// Asks for refills while there is room, so that they are never what others wait behind: what is not asked for yet stays in
    /// its table, which is bounded and counts what it has no room for.
    pub(super) fn ask(&mut self, trails: &mut Trails) {
        while self.waiting.is_empty()
            && !self.notices.is_full()
            && let Some((slot, ids)) = trails.next_asked()
        {
            self.deliver(Notice::Missing { slot, ids });
        }
    }

    #[cold]
    pub(super) fn control(&mut self, slot: u16, message: &[u8], stats: &ConnectionStats) {
        stats.control_messages.add(1);
        if message.len() <= CONTROL_MESSAGE_BYTES
            && let Some(mut buffer) = self.pool.pop()
        {
            buffer.extend_from_slice(message);
            match self.notices.push(Notice::Control { slot, message: buffer }) {
                Ok(()) => return self.waker.wake(),
                Err(rtrb::PushError::Full(Notice::Control { mut message, .. })) => {
                    message.clear();
                    self.pool.push(message);
                }
                Err(rtrb::PushError::Full(_)) => unreachable!("a ring gives back what it was given"),
            }
        }
        stats.control_dropped.add(1);
    }

    /// True if the sample is on its way.
    pub(super) fn sample(&mut self, slot: u16, error: DecodeError, message: &[u8]) -> bool {
        let Some(mut buffer) = self.pool.pop() else { return false };
        buffer.extend_from_slice(&message[..message.len().min(SAMPLE_BYTES)]);
        self.deliver(Notice::Sample { slot, error, message_bytes: message.len(), sample: buffer });
        true
    }
}
