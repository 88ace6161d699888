//! Validates UTF-8 as it arrives: a text cut at any byte, refused at the first byte that no continuation can save.
//!
//! ```text
//! ... validated ... | tail: up to 3 bytes of a character that is not complete yet |
//! ```
//! Called by the frame cursor's strict mode only. Never allocates.

/// A text that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct Utf8Stream {
    tail: [u8; 4],
    tail_bytes: usize,
    /// Bytes of the text up to the tail.
    valid_bytes: usize,
}

/// Offset in bytes, from the start of the text, of the first character that is not one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotUtf8 {
    pub(super) offset: usize,
}

impl Utf8Stream {
    /// Begins a new text.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// The next piece. An error as soon as no further byte could make the text valid.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.tail_bytes > 0 {
            let Some((first, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.tail[self.tail_bytes] = *first;
            self.tail_bytes += 1;
            match std::str::from_utf8(&self.tail[..self.tail_bytes]) {
                Ok(_) => {
                    self.valid_bytes += self.tail_bytes;
                    self.tail_bytes = 0;
                }
                // `error_len` is `None` only where the end came inside a character that is right so far; a fourth
                // byte decides every character, so the tail never outgrows its array.
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8 { offset: self.valid_bytes }),
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => self.valid_bytes += piece.len(),
            Err(error) => {
                self.valid_bytes += error.valid_up_to();
                if error.error_len().is_some() {
                    return Err(NotUtf8 { offset: self.valid_bytes });
                }
                let tail = &piece[error.valid_up_to()..];
                self.tail[..tail.len()].copy_from_slice(tail);
                self.tail_bytes = tail.len();
            }
        }
        Ok(())
    }

    /// The text has ended: an error where it ends inside a character.
    pub(super) fn finish(&self) -> Result<(), NotUtf8> {
        if self.tail_bytes == 0 { Ok(()) } else { Err(NotUtf8 { offset: self.valid_bytes }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(text: &[u8], piece_bytes: usize) -> Result<(), NotUtf8> {
        let mut stream = Utf8Stream::default();
        for piece in text.chunks(piece_bytes) {
            stream.push(piece)?;
        }
        stream.finish()
    }

    #[test]
    fn every_pair_and_every_interesting_triple_and_quadruple_agrees_with_the_standard_library_in_any_pieces() {
        let edges =
            [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5];
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for first in 0..=255_u8 {
            texts.extend((0..=255_u8).map(|second| vec![first, second]));
        }
        for a in edges {
            for b in edges {
                for c in edges {
                    texts.push(vec![a, b, c]);
                    texts.extend(edges.map(|d| vec![a, b, c, d]));
                }
            }
        }
        for text in texts {
            let expected = std::str::from_utf8(&text).map(|_| ()).map_err(|e| NotUtf8 { offset: e.valid_up_to() });
            for piece_bytes in 1..=text.len() {
                assert_eq!(in_pieces(&text, piece_bytes), expected, "{text:02x?} in pieces of {piece_bytes}");
            }
        }
    }

    #[test]
    fn an_impossible_prefix_fails_before_the_character_is_complete() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(b"ab\xF4"), Ok(()));
        assert_eq!(stream.push(b"\x90"), Err(NotUtf8 { offset: 2 }));
    }
}
