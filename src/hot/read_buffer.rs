//! One connection's received bytes: a fixed, padded buffer that the stream fills and the frame cursor consumes.
//!
//! ```text
//! | consumed | received, not parsed | free to receive into | padding |
//! 0        parsed                 filled        READ_BUFFER_BYTES
//! ```
//! Where TLS records are opened in it, ciphertext is received behind the plaintext, and each record becomes plaintext where
//! it lies:
//!
//! ```text
//! | consumed | plaintext, not parsed | done with | ciphertext | free to receive into | padding |
//! 0        parsed                 filled       sealed      received      READ_BUFFER_BYTES
//! ```
//! Does no I/O and never allocates after `new`.

use crate::limits::{READ_BUFFER_BYTES, READ_PADDING_BYTES};
use crate::market::touch;
use std::ops::Range;

/// Received bytes of one connection.
///
/// Invariant: `parsed <= filled <= READ_BUFFER_BYTES`, and the allocation is `READ_PADDING_BYTES` longer, so that
/// the bytes behind `filled` can always be read. `sealed <= received <= READ_BUFFER_BYTES`; where they differ, there is
/// ciphertext, and `filled <= sealed`.
#[derive(Debug)]
pub struct ReadBuffer {
    bytes: Box<[u8]>,
    parsed: usize,
    filled: usize,
    sealed: usize,
    received: usize,
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadBuffer {
    /// An empty buffer: the only allocation it ever makes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; READ_BUFFER_BYTES + READ_PADDING_BYTES].into_boxed_slice(),
            parsed: 0,
            filled: 0,
            sealed: 0,
            received: 0,
        }
    }

    /// Brings its memory in, on the thread that will read into it: nothing changes.
    pub(super) fn touch(&mut self) {
        touch::bytes(&mut self.bytes);
    }

    /// The bytes received and not consumed yet.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.parsed..self.filled]
    }

    /// Bytes that can be received before the buffer is full.
    #[inline]
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        READ_BUFFER_BYTES - self.filled
    }

    /// Makes room: moves what is pending to the front.
    ///
    /// Called before a read and not after the parse: most reads end on a frame boundary, so that there is nothing to
    /// move, and the bytes of the last message stay where its borrower left them.
    #[inline]
    pub fn compact(&mut self) {
        if self.parsed == self.filled {
            self.parsed = 0;
            self.filled = 0;
        } else if self.parsed > 0 {
            self.move_to_front();
        }
    }

    /// The free part, at most `bytes_max` of it. Report what was received into it with [`Self::received`].
    #[inline]
    pub fn free(&mut self, bytes_max: usize) -> &mut [u8] {
        let end = self.filled.saturating_add(bytes_max).min(READ_BUFFER_BYTES);
        &mut self.bytes[self.filled..end]
    }

    /// `bytes` of the free part now hold received bytes.
    #[inline]
    pub fn received(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.free_bytes());
        self.filled = (self.filled + bytes).min(READ_BUFFER_BYTES);
    }

    /// Appends bytes that were received elsewhere (a TLS record's payload, the rest of the upgrade's segment).
    /// False, and nothing is appended, where they do not fit. Not while there is ciphertext.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        debug_assert_eq!(self.sealed, self.received);
        if bytes.len() > self.free_bytes() {
            return false;
        }
        self.bytes[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        true
    }

    /// Consumes the first `bytes` of what is pending.
    pub fn consume(&mut self, bytes: usize) {
        self.take(bytes, 0);
    }

    /// Consumes `header_bytes` and `length_bytes` behind them; the answer is where the latter lie, for [`Self::at`].
    #[inline]
    pub(super) fn take(&mut self, header_bytes: usize, length_bytes: usize) -> usize {
        let start = self.parsed + header_bytes;
        debug_assert!(start + length_bytes <= self.filled);
        self.parsed = start + length_bytes;
        start
    }

    /// The bytes at a place that [`Self::take`] gave, until the next [`Self::compact`].
    #[inline]
    pub(super) fn at(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.bytes[range]
    }

    /// All of the memory, padding included, in which the places lie that [`Self::take`] gave since the last
    /// [`Self::compact`].
    #[inline(always)]
    pub(super) fn whole(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// True where nothing is pending.
    #[inline(always)]
    pub(super) fn is_drained(&self) -> bool {
        self.parsed == self.filled
    }

    /// The next four bytes, of which only those that are pending were received.
    #[inline(always)]
    pub(super) fn ahead(&self) -> Option<[u8; 4]> {
        self.bytes.get(self.parsed..)?.first_chunk().copied()
    }

    /// As [`Self::take`]; `None`, and nothing is consumed, where fewer bytes are pending.
    #[inline(always)]
    pub(super) fn take_whole(&mut self, header_bytes: usize, length_bytes: usize) -> Option<usize> {
        let start = self.parsed + header_bytes;
        let end = start + length_bytes;
        if end > self.filled {
            return None;
        }
        self.parsed = end;
        Some(start)
    }

    /// The ciphertext received and not opened.
    #[inline]
    #[must_use]
    pub(super) fn ciphertext(&self) -> &[u8] {
        &self.bytes[self.sealed..self.received]
    }

    /// Room for ciphertext, at most `bytes_max` of it. Report what was received into it with
    /// [`Self::ciphertext_received`]. What is pending and the ciphertext behind it move to the front first, as in
    /// [`Self::compact`]: a part of a frame, a part of a record, each moved again only once it has grown on from there.
    #[inline]
    pub(super) fn free_for_ciphertext(&mut self, bytes_max: usize) -> &mut [u8] {
        if self.parsed == self.filled && self.sealed == self.received {
            (self.parsed, self.filled, self.sealed, self.received) = (0, 0, 0, 0);
        } else {
            self.close_ranks();
        }
        let end = self.received.saturating_add(bytes_max).min(READ_BUFFER_BYTES);
        &mut self.bytes[self.received..end]
    }

    /// `bytes` of the room for ciphertext now hold received bytes.
    #[inline]
    pub(super) fn ciphertext_received(&mut self, bytes: usize) {
        debug_assert!(bytes <= READ_BUFFER_BYTES - self.received);
        self.received = (self.received + bytes).min(READ_BUFFER_BYTES);
    }

    /// The first `record_bytes` of the ciphertext, to be opened where they lie.
    #[inline]
    pub(super) fn first_record(&mut self, record_bytes: usize) -> &mut [u8] {
        &mut self.bytes[self.sealed..self.received][..record_bytes]
    }

    /// The first `record_bytes` of the ciphertext were a record, and `length_bytes` from `offset` on are its plaintext,
    /// verified: they are pending now.
    #[inline]
    pub(super) fn opened(&mut self, record_bytes: usize, offset: usize, length_bytes: usize) {
        debug_assert!(offset + length_bytes <= record_bytes);
        let start = self.sealed + offset;
        if self.parsed == self.filled {
            (self.parsed, self.filled) = (start, start + length_bytes);
        } else {
            self.join(start, length_bytes);
        }
        self.skip_ciphertext(record_bytes);
    }

    /// The first `bytes` of the ciphertext are done with.
    #[inline]
    pub(super) fn skip_ciphertext(&mut self, bytes: usize) {
        self.sealed += bytes;
        debug_assert!(self.sealed <= self.received);
    }

    /// A frame is cut between records: the shorter of its two parts moves to the longer.
    #[inline(never)]
    fn join(&mut self, start: usize, length_bytes: usize) {
        let pending_bytes = self.filled - self.parsed;
        if pending_bytes <= length_bytes {
            self.bytes.copy_within(self.parsed..self.filled, start - pending_bytes);
            (self.parsed, self.filled) = (start - pending_bytes, start + length_bytes);
        } else {
            self.bytes.copy_within(start..start + length_bytes, self.filled);
            self.filled += length_bytes;
        }
    }

    /// Moves what is pending to the front and the ciphertext behind it.
    #[inline(never)]
    fn close_ranks(&mut self) {
        self.compact();
        let ciphertext_bytes = self.received - self.sealed;
        if self.sealed > self.filled {
            self.bytes.copy_within(self.sealed..self.received, self.filled);
        }
        (self.sealed, self.received) = (self.filled, self.filled + ciphertext_bytes);
    }

    #[cold]
    fn move_to_front(&mut self) {
        self.bytes.copy_within(self.parsed..self.filled, 0);
        self.filled -= self.parsed;
        self.parsed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_frame_moves_to_the_front_and_keeps_its_bytes() {
        let mut buffer = ReadBuffer::new();
        assert!(buffer.append(b"wholepart"));
        assert_eq!(buffer.take(0, 5), 0);
        buffer.compact();
        assert_eq!(buffer.pending(), b"part");
        assert_eq!(buffer.free_bytes(), READ_BUFFER_BYTES - 4);
    }

    #[test]
    fn an_empty_buffer_has_all_its_room_again() {
        let mut buffer = ReadBuffer::new();
        let room = buffer.free(usize::MAX).len();
        assert_eq!(room, READ_BUFFER_BYTES);
        buffer.received(room);
        assert_eq!(buffer.free_bytes(), 0);
        assert!(!buffer.append(b"x"));
        buffer.take(0, room);
        buffer.compact();
        assert_eq!(buffer.free_bytes(), READ_BUFFER_BYTES);
    }

    #[test]
    fn the_budget_bounds_the_room_and_the_padding_is_never_room() {
        let mut buffer = ReadBuffer::new();
        assert_eq!(buffer.free(10).len(), 10);
        buffer.received(READ_BUFFER_BYTES - 3);
        assert_eq!(buffer.free(10).len(), 3);
        buffer.received(3);
        assert!(buffer.at(READ_BUFFER_BYTES..READ_BUFFER_BYTES + READ_PADDING_BYTES).iter().all(|b| *b == 0));
    }

    /// A record whose ciphertext is its own plaintext, `offset` bytes into it, and `behind` bytes behind that.
    fn record(number: u8, offset: usize, length_bytes: usize, behind: usize) -> (Vec<u8>, Vec<u8>) {
        let plaintext: Vec<u8> = (0..length_bytes).map(|at| number ^ at.to_le_bytes()[0]).collect();
        ([&vec![0xEE; offset][..], &plaintext, &vec![0xEE; behind]].concat(), plaintext)
    }

    fn receive(buffer: &mut ReadBuffer, bytes: &[u8]) {
        buffer.free_for_ciphertext(bytes.len()).copy_from_slice(bytes);
        buffer.ciphertext_received(bytes.len());
    }

    #[test]
    fn a_record_becomes_pending_where_it_lies_and_the_shorter_part_of_a_cut_frame_moves() {
        for (pending_bytes, moves_pending) in [(0, false), (3, true), (20, true), (21, false), (90, false)] {
            let mut buffer = ReadBuffer::new();
            let (first, before) = record(1, 5, 100, 17);
            let (second, behind) = record(2, 5, 20, 17);
            receive(&mut buffer, &[first, second].concat());
            buffer.opened(122, 5, 100);
            assert_eq!(buffer.take(0, 100 - pending_bytes), 5, "nothing has moved");
            buffer.opened(42, 5, 20);
            assert_eq!(buffer.pending(), [&before[100 - pending_bytes..], &behind].concat());
            // Where the first byte of the second record was, and where its plaintext would end beside the first's.
            let ends = if pending_bytes == 0 || moves_pending { 122 + 5 + 20 } else { 105 + 20 };
            assert_eq!(buffer.take(0, pending_bytes + 20) + pending_bytes + 20, ends, "{pending_bytes} pending");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_received_opened_and_consumed_comes_out_once_and_in_order(
            records in proptest::collection::vec((0_usize..40, 0_usize..2_000, 0_usize..300), 1..80),
            pieces in proptest::collection::vec(1_usize..5_000, 1..40),
            leaves in proptest::collection::vec(0_usize..3_000, 1..40),
        ) {
            let (mut wire, mut expected, mut sizes) = (Vec::new(), Vec::new(), std::collections::VecDeque::new());
            for (number, (offset, length_bytes, behind)) in records.into_iter().enumerate() {
                let (bytes, plaintext) = record(number.to_le_bytes()[0], offset, length_bytes, behind);
                sizes.push_back((bytes.len(), offset, length_bytes));
                wire.extend(bytes);
                expected.extend(plaintext);
            }
            let (mut buffer, mut taken, mut rest) = (ReadBuffer::new(), Vec::new(), &wire[..]);
            for turn in 0.. {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at(pieces[turn % pieces.len()].min(rest.len()));
                receive(&mut buffer, piece);
                rest = behind;
                while let Some(&(record_bytes, offset, length_bytes)) = sizes.front()
                    && buffer.ciphertext().len() >= record_bytes
                {
                    sizes.pop_front();
                    buffer.opened(record_bytes, offset, length_bytes);
                    let count = buffer.pending().len().saturating_sub(leaves[turn % leaves.len()]);
                    taken.extend_from_slice(&buffer.pending()[..count]);
                    buffer.consume(count);
                }
            }
            taken.extend_from_slice(buffer.pending());
            proptest::prop_assert!(taken == expected);
        }
    }
}
