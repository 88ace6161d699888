//! The handshake messages that may follow a handshake, joined from the records they come in.
//!
//! ```text
//! | type | length, 3 bytes | body ..         NewSessionTicket: kept, or only counted through    KeyUpdate: one byte
//! ```
//! A message may span records, and a record hold several messages (RFC 8446 section 5.1). Nothing is stored but a ticket,
//! and that only where it is wanted: on the cold side.

use super::in_place::Refused;

/// Types of handshake messages (RFC 8446 section 4).
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Type and length.
const HEAD_BYTES: usize = 4;

/// Body of a message, at most: rustls refuses a longer one in the handshake.
const BODY_BYTES_MAX: usize = 0xFFFF;

/// A whole message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PostHandshake {
    /// A session ticket; its body is [`Joiner::ticket`].
    Ticket,
    /// The peer's next record is sealed with its next key; it may want ours to change too.
    KeyUpdate {
        /// An answer is wanted.
        is_requested: bool,
    },
}

/// Joins messages.
///
/// Invariant: `head_bytes <= HEAD_BYTES`; while it is less, `left_bytes` is 0.
#[derive(Debug)]
pub(super) struct Joiner {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    left_bytes: usize,
    /// The last byte of the body that came.
    last: u8,
    ticket: Option<Vec<u8>>,
}

impl Joiner {
    /// Keeps the bodies of tickets.
    pub(super) fn keeping_tickets() -> Self {
        Self { head: [0; HEAD_BYTES], head_bytes: 0, left_bytes: 0, last: 0, ticket: Some(Vec::new()) }
    }

    /// Keeps no tickets from now on.
    pub(super) fn forget_tickets(&mut self) {
        self.ticket = None;
    }

    /// The body of the ticket just joined, if it was kept from its beginning.
    pub(super) fn ticket(&self) -> Option<&[u8]> {
        self.ticket.as_deref()
    }

    /// True while a message has begun and not ended: nothing else may come between (RFC 8446 section 5.1).
    pub(super) fn is_midway(&self) -> bool {
        self.head_bytes > 0
    }

    /// Takes bytes off `fragment` until a message is whole; `None` once the fragment is used up.
    pub(super) fn next(&mut self, fragment: &mut &[u8]) -> Result<Option<PostHandshake>, Refused> {
        while self.head_bytes < HEAD_BYTES {
            let Some((&byte, rest)) = fragment.split_first() else { return Ok(None) };
            *fragment = rest;
            self.head[self.head_bytes] = byte;
            self.head_bytes += 1;
            if self.head_bytes == HEAD_BYTES {
                self.begin()?;
            }
        }
        let (body, rest) = fragment.split_at(self.left_bytes.min(fragment.len()));
        *fragment = rest;
        self.left_bytes -= body.len();
        self.last = body.last().copied().unwrap_or(self.last);
        if let Some(ticket) = &mut self.ticket {
            ticket.extend_from_slice(body);
        }
        if self.left_bytes > 0 {
            return Ok(None);
        }
        self.head_bytes = 0;
        match (self.head[0], self.last) {
            (NEW_SESSION_TICKET, _) => Ok(Some(PostHandshake::Ticket)),
            (_, value @ 0..=1) => Ok(Some(PostHandshake::KeyUpdate { is_requested: value == 1 })),
            _ => Err(Refused::ILLEGAL_PARAMETER),
        }
    }

    /// The head is whole: is it one of the two messages there are, and of a length it may have?
    fn begin(&mut self) -> Result<(), Refused> {
        let [kind, high, middle, low] = self.head;
        self.left_bytes = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if let Some(ticket) = &mut self.ticket {
            ticket.clear();
        }
        match (kind, self.left_bytes) {
            (NEW_SESSION_TICKET, 0..=BODY_BYTES_MAX) | (KEY_UPDATE, 1) => Ok(()),
            (NEW_SESSION_TICKET | KEY_UPDATE, _) => Err(Refused::DECODE_ERROR),
            _ => Err(Refused::UNEXPECTED_MESSAGE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(bytes: &[u8], piece_bytes: usize) -> Result<Vec<(PostHandshake, Vec<u8>)>, Refused> {
        let (mut joiner, mut messages) = (Joiner::keeping_tickets(), Vec::new());
        for mut piece in bytes.chunks(piece_bytes) {
            while let Some(message) = joiner.next(&mut piece)? {
                messages.push((message, joiner.ticket().expect("kept").to_vec()));
            }
            assert!(piece.is_empty());
        }
        assert!(!joiner.is_midway());
        Ok(messages)
    }

    #[test]
    fn messages_split_anywhere_and_several_in_one_record_are_joined() {
        let bytes = [&[4, 0, 0, 3, b'a', b'b', b'c'][..], &[24, 0, 0, 1, 1], &[4, 0, 0, 0], &[24, 0, 0, 1, 0]].concat();
        for piece_bytes in 1..=bytes.len() {
            let messages = joined(&bytes, piece_bytes).expect("well-formed");
            assert_eq!(messages[0], (PostHandshake::Ticket, b"abc".to_vec()), "pieces of {piece_bytes}");
            assert_eq!(messages[1].0, PostHandshake::KeyUpdate { is_requested: true });
            assert_eq!(messages[2], (PostHandshake::Ticket, Vec::new()));
            assert_eq!(messages[3].0, PostHandshake::KeyUpdate { is_requested: false });
        }
    }

    #[test]
    fn what_may_not_follow_a_handshake_is_refused_by_its_head() {
        for (head, refused) in [
            (&[1, 0, 0, 1, 0][..], Refused::UNEXPECTED_MESSAGE),
            (&[0, 0, 0, 0], Refused::UNEXPECTED_MESSAGE),
            (&[13, 0, 0, 0], Refused::UNEXPECTED_MESSAGE),
            (&[24, 0, 0, 0], Refused::DECODE_ERROR),
            (&[24, 0, 0, 2], Refused::DECODE_ERROR),
            (&[4, 1, 0, 0], Refused::DECODE_ERROR),
            (&[24, 0, 0, 1, 2], Refused::ILLEGAL_PARAMETER),
            (&[24, 0, 0, 1, 255], Refused::ILLEGAL_PARAMETER),
        ] {
            for piece_bytes in 1..=head.len() {
                assert_eq!(joined(head, piece_bytes), Err(refused), "{head:?}");
            }
        }
    }

    #[test]
    fn a_ticket_that_is_not_kept_is_counted_through() {
        let mut joiner = Joiner::keeping_tickets();
        assert_eq!(joiner.next(&mut &[4, 0, 0, 5, 1, 2][..]), Ok(None));
        joiner.forget_tickets();
        assert!(joiner.is_midway());
        let mut rest = &[3, 4, 5, 24][..];
        assert_eq!(joiner.next(&mut rest), Ok(Some(PostHandshake::Ticket)));
        assert_eq!((joiner.ticket(), rest), (None, &[24][..]));
    }
}
