//! What a connection has to say and the socket has not taken yet: one fixed buffer of encoded frames, and the latest
//! ping that still wants its pong.
//!
//! ```text
//! | written | frames waiting | free for messages | room kept for one pong and one close frame |
//! 0       start            end          data_bytes_max                             bytes.len()
//! ```
//! At most one pong waits in the buffer and one more as a remembered payload, so that a peer that pings and never reads
//! can neither block nor grow this side. Does no I/O and never allocates after `new`.

use super::encode::{CONTROL_FRAME_BYTES_MAX, CONTROL_PAYLOAD_BYTES_MAX, MaskKeys, Opcode, frame_bytes, write_frame};
use crate::market::touch;

/// Frames that wait for the socket.
///
/// Invariant: `start <= end <= bytes.len()`; messages alone never reach into the room kept for control frames.
#[derive(Debug)]
pub(super) struct Outbound {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    data_bytes_max: usize,
    masks: MaskKeys,
    /// Payload of the latest ping that has no pong in the buffer yet.
    ping: [u8; CONTROL_PAYLOAD_BYTES_MAX],
    ping_bytes: Option<usize>,
    /// Bytes queued and written since the start, and where the last queued pong ends.
    queued_total: u64,
    written_total: u64,
    pong_end: u64,
}

impl Outbound {
    /// Room for `data_bytes_max` bytes of encoded messages.
    pub(super) fn new(data_bytes_max: usize, mask_seed: u64) -> Self {
        let mut bytes = vec![0; data_bytes_max + 2 * CONTROL_FRAME_BYTES_MAX].into_boxed_slice();
        // Here and not on the hot thread: it is written rarely, and is twice as large as what is read into.
        touch::bytes(&mut bytes);
        Self {
            bytes,
            start: 0,
            end: 0,
            data_bytes_max,
            masks: MaskKeys::new(mask_seed),
            ping: [0; CONTROL_PAYLOAD_BYTES_MAX],
            ping_bytes: None,
            queued_total: 0,
            written_total: 0,
            pong_end: 0,
        }
    }

    /// Bytes of encoded messages that still fit.
    pub(super) fn free_bytes(&self) -> usize {
        self.data_bytes_max.saturating_sub(self.end - self.start)
    }

    /// The bytes that wait.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// True while anything waits, a remembered ping included.
    pub(super) fn is_waiting(&self) -> bool {
        self.start < self.end || self.ping_bytes.is_some()
    }

    /// The socket took this many of the waiting bytes.
    pub(super) fn written(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.end - self.start);
        self.start += bytes;
        self.written_total += bytes as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Queues a message; false, and nothing is queued, where it does not fit.
    pub(super) fn queue_message(&mut self, opcode: Opcode, payload: &[u8]) -> bool {
        let fits = frame_bytes(payload.len()) <= self.free_bytes();
        if fits {
            self.queue(opcode, payload);
        }
        fits
    }

    /// Queues the connection's one close frame.
    pub(super) fn queue_close(&mut self, payload: &[u8]) {
        // No pong may follow a close frame.
        self.ping_bytes = None;
        self.queue(Opcode::Close, payload);
    }

    /// Remembers a ping. True where an earlier one is forgotten for it (RFC 6455 section 5.5.3 allows that).
    pub(super) fn remember_ping(&mut self, payload: &[u8]) -> bool {
        self.ping[..payload.len()].copy_from_slice(payload);
        self.ping_bytes.replace(payload.len()).is_some()
    }

    /// Queues the pong of the remembered ping, unless an earlier pong still waits. True where one was queued.
    pub(super) fn queue_pong(&mut self) -> bool {
        if self.written_total < self.pong_end {
            return false;
        }
        let Some(ping_bytes) = self.ping_bytes.take() else { return false };
        let ping = self.ping;
        self.queue(Opcode::Pong, &ping[..ping_bytes]);
        self.pong_end = self.queued_total;
        true
    }

    /// Forgets all that waits: the socket will take nothing any more.
    pub(super) fn clear(&mut self) {
        (self.start, self.end, self.ping_bytes) = (0, 0, None);
        self.written_total = self.queued_total;
    }

    fn queue(&mut self, opcode: Opcode, payload: &[u8]) {
        if self.bytes.len() - self.end < frame_bytes(payload.len()) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let key = self.masks.next_key();
        let written = write_frame(opcode, payload, key, &mut self.bytes[self.end..]);
        self.end += written;
        self.queued_total += written as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_still_has_room_for_one_pong_and_one_close_and_for_no_message() {
        let mut outbound = Outbound::new(100, 1);
        assert!(outbound.queue_message(Opcode::Text, &[b'x'; 94]));
        assert_eq!(outbound.free_bytes(), 0);
        assert!(!outbound.queue_message(Opcode::Text, b""));
        assert!(!outbound.remember_ping(&[1; 125]));
        assert!(outbound.queue_pong());
        outbound.queue_close(&[2; 125]);
        assert_eq!(outbound.waiting().len(), 100 + 2 * CONTROL_FRAME_BYTES_MAX);
    }

    #[test]
    fn of_many_pings_one_pong_waits_in_the_buffer_and_the_latest_is_remembered() {
        let mut outbound = Outbound::new(100, 1);
        let mut superseded = 0;
        for ping in 0..100_u8 {
            superseded += u32::from(outbound.remember_ping(&[ping; 125]));
            outbound.queue_pong();
        }
        assert_eq!(outbound.waiting().len(), CONTROL_FRAME_BYTES_MAX);
        assert_eq!(superseded, 98, "the first is queued, the last remembered");
        outbound.written(CONTROL_FRAME_BYTES_MAX);
        assert!(outbound.queue_pong());
        let frame = outbound.waiting();
        assert_eq!(frame[6] ^ frame[2], 99, "the latest ping's payload");
    }

    #[test]
    fn what_waits_moves_to_the_front_where_the_end_has_no_room() {
        let mut outbound = Outbound::new(400, 1);
        for turn in 0..50_u8 {
            assert!(outbound.queue_message(Opcode::Binary, &[turn; 142]), "turn {turn}");
            let frame = &outbound.waiting()[outbound.waiting().len() - 150..];
            assert_eq!(frame[..2], [0x82, 0x80 | 126], "turn {turn}");
            assert!(frame[8..].iter().zip(frame[4..8].iter().cycle()).all(|(byte, key)| byte ^ key == turn));
            // A byte is left each turn, so that the waiting part walks to the end of the buffer.
            outbound.written(outbound.waiting().len() - 1);
        }
    }
}
