//! The client's outbound frames: header, masking key, masked payload, written into a buffer the caller owns.
//!
//! Called by the outbound queue, once per control write. Does no I/O and never allocates.
//! Source: RFC 6455 sections 5.2 and 5.3.

/// What a frame carries (RFC 6455 section 5.2). Continuation frames are not sent: the client never fragments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Opcode {
    /// UTF-8 text.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xA,
}

/// Most payload bytes of a control frame (RFC 6455 section 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// Most bytes of a control frame on its way out: header, masking key, payload.
pub const CONTROL_FRAME_BYTES_MAX: usize = frame_bytes(CONTROL_PAYLOAD_BYTES_MAX);

/// Bytes on the wire of a client frame with this many payload bytes.
#[must_use]
pub const fn frame_bytes(payload_bytes: usize) -> usize {
    let header_bytes = match payload_bytes {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    };
    header_bytes + 4 + payload_bytes
}

/// Writes one whole masked frame to the front of `out` and returns its length, [`frame_bytes`] of the payload's.
///
/// # Panics
/// Where `out` is shorter than that: the caller has asked [`frame_bytes`] before.
pub fn write_frame(opcode: Opcode, payload: &[u8], key: [u8; 4], out: &mut [u8]) -> usize {
    let frame_bytes = frame_bytes(payload.len());
    let out = &mut out[..frame_bytes];
    // 0x80 in the first byte: FIN; in the second: masked.
    out[0] = 0x80 | opcode as u8;
    let length = (payload.len() as u64).to_be_bytes();
    let header_bytes = match length {
        [0, 0, 0, 0, 0, 0, 0, short @ 0..=125] => {
            out[1] = 0x80 | short;
            2
        }
        [0, 0, 0, 0, 0, 0, high, low] => {
            out[1..4].copy_from_slice(&[0x80 | 126, high, low]);
            4
        }
        _ => {
            out[1] = 0x80 | 127;
            out[2..10].copy_from_slice(&length);
            10
        }
    };
    out[header_bytes..header_bytes + 4].copy_from_slice(&key);
    mask_into(payload, key, &mut out[header_bytes + 4..]);
    frame_bytes
}

/// Copies `payload` to `out`, masked (RFC 6455 section 5.3), eight bytes a step. Both have the same length.
fn mask_into(payload: &[u8], key: [u8; 4], out: &mut [u8]) {
    debug_assert_eq!(payload.len(), out.len());
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks::<8>();
    let (out_words, out_rest) = out.as_chunks_mut::<8>();
    for (word, out_word) in words.iter().zip(out_words) {
        *out_word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    // Eight is a multiple of the key's four, so that the rest begins with the key's first byte again.
    for ((byte, out_byte), key_byte) in rest.iter().zip(out_rest).zip(key.iter().cycle()) {
        *out_byte = byte ^ key_byte;
    }
}

/// Masking keys: SplitMix64 from a seed the cold side drew from the operating system.
///
/// The RFC wants keys that an application on the page cannot predict, against poisoned proxies (section 10.3). There is
/// no such application here, and a call to the operating system for each frame would leave the hot core.
#[derive(Debug)]
pub struct MaskKeys {
    state: u64,
}

impl MaskKeys {
    /// Keys from this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next key.
    pub fn next_key(&mut self) -> [u8; 4] {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let [a, b, c, d, ..] = mixed.to_be_bytes();
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

    /// The frame as tungstenite's parser reads it: (first byte, unmasked payload).
    fn read_back(frame: &[u8]) -> (u8, Vec<u8>) {
        let mut cursor = Cursor::new(frame);
        let (header, length) = FrameHeader::parse(&mut cursor).expect("a header").expect("whole");
        let start = usize::try_from(cursor.position()).expect("small");
        let key = header.mask.expect("a client's frame is masked");
        assert_eq!(length, (frame.len() - start) as u64);
        let payload = frame[start..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        (u8::from(header.is_final) << 7 | u8::from(header.opcode), payload)
    }

    #[test]
    fn a_frame_of_any_length_form_is_read_back_by_an_independent_parser() {
        let mut keys = MaskKeys::new(7);
        for length in (0..300).chain([65_534, 65_535, 65_536, 65_537, 200_001]) {
            let payload: Vec<u8> = (0..=250_u8).cycle().step_by(7).take(length).collect();
            let mut out = vec![0xEE; frame_bytes(length) + 3];
            let written = write_frame(Opcode::Binary, &payload, keys.next_key(), &mut out);
            assert_eq!(written, frame_bytes(length));
            assert_eq!(&out[written..], [0xEE; 3], "nothing behind the frame is touched");
            assert_eq!(read_back(&out[..written]), (0x82, payload), "payload of {length} bytes");
        }
    }

    #[test]
    fn keys_differ_from_frame_to_frame_and_from_seed_to_seed() {
        let mut keys = MaskKeys::new(1);
        let mut drawn: Vec<_> = (0..1_000).map(|_| keys.next_key()).collect();
        drawn.extend(MaskKeys::new(2).next_key().chunks(4).map(|key| <[u8; 4]>::try_from(key).expect("four")));
        let count = drawn.len();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), count);
    }
}
