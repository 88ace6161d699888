//! Tests of the frame cursor: every error by name, every cut, and tungstenite as the independent encoder.

use super::*;
use proptest::prelude::*;
use std::io;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame as PeerFrame, FrameHeader};
use tokio_tungstenite::tungstenite::{Message as PeerMessage, WebSocket};

/// What a cursor yielded, owned.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Yielded {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

fn owned(frame: Frame<'_>) -> Yielded {
    match frame {
        Frame::Message(Message { kind: DataKind::Text, payload }) => Yielded::Text(payload.to_vec()),
        Frame::Message(Message { kind: DataKind::Binary, payload }) => Yielded::Binary(payload.to_vec()),
        Frame::Ping(payload) => Yielded::Ping(payload.to_vec()),
        Frame::Pong(payload) => Yielded::Pong(payload.to_vec()),
        Frame::Close(code, reason) => Yielded::Close(code, reason.to_owned()),
    }
}

/// Feeds `chunks`, draining after each as a connection does.
fn fed<'c>(
    cursor: &mut FrameCursor,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<Vec<Yielded>, (Vec<Yielded>, FrameError)> {
    let mut buffer = ReadBuffer::new();
    let mut yielded = Vec::new();
    for mut chunk in chunks {
        while !chunk.is_empty() {
            buffer.compact();
            let (now, later) = chunk.split_at(chunk.len().min(VISIT_BYTES_MAX));
            assert!(buffer.append(now), "a partial frame never blocks the next read");
            chunk = later;
            loop {
                match cursor.next_frame(&mut buffer) {
                    Ok(Some(frame)) => yielded.push(owned(frame)),
                    Ok(None) => break,
                    Err(error) => return Err((yielded, error)),
                }
            }
        }
    }
    Ok(yielded)
}

fn all(bytes: &[u8]) -> Result<Vec<Yielded>, FrameError> {
    fed(&mut FrameCursor::new(1 << 20, false), [bytes]).map_err(|(_, error)| error)
}

fn strict(bytes: &[u8]) -> Result<Vec<Yielded>, FrameError> {
    fed(&mut FrameCursor::new(1 << 20, true), [bytes]).map_err(|(_, error)| error)
}

/// A server's frame as tungstenite writes it.
fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
    PeerFrame::from_payload(header, payload.to_vec().into()).format(&mut bytes).expect("a vector takes it");
    bytes
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), true, payload)
}

fn first(is_final: bool, payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), is_final, payload)
}

fn more(is_final: bool, payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Continue), is_final, payload)
}

fn ping(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Control(Control::Ping), true, payload)
}

fn close_frame(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Control(Control::Close), true, payload)
}

/// The error, its text, its close code and its counter's name, in one line each.
fn refused(bytes: &[u8], error: FrameError, close_code: u16, name: &str, words: &str) {
    assert_eq!(all(bytes), Err(error), "{name}");
    assert_eq!(strict(bytes), Err(error), "{name}, strict");
    assert_eq!((error.close_code(), error.name()), (close_code, name));
    assert!(error.to_string().contains(words), "{error}");
    // Told at the same byte however the bytes come.
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    let result = fed(&mut FrameCursor::new(1 << 20, false), single).map_err(|(_, error)| error);
    assert_eq!(result, Err(error), "{name}, byte by byte");
}

#[test]
fn a_frame_split_at_any_byte_is_yielded_exactly_once() {
    for length in [0, 1, 125, 126, 127, 300] {
        let payload = vec![b'x'; length];
        let bytes = text(&payload);
        for split in 0..=bytes.len() {
            for strict_utf8 in [false, true] {
                let mut cursor = FrameCursor::new(1 << 20, strict_utf8);
                let yielded = fed(&mut cursor, [&bytes[..split], &bytes[split..]]);
                assert_eq!(yielded, Ok(vec![Yielded::Text(payload.clone())]), "{length} bytes split at byte {split}");
            }
        }
    }
}

#[test]
fn what_was_left_in_the_buffer_by_an_earlier_read_is_never_a_part_of_a_frame() {
    for left in [0, 1, 2, 125, 126, 127, 128, 0x81, 255] {
        for length in [0, 1, 2, 125, 126, 127, 300] {
            let mut buffer = ReadBuffer::new();
            let mut cursor = FrameCursor::new(1 << 20, false);
            assert!(buffer.append(&[left; 1_000]));
            buffer.consume(1_000);
            buffer.compact();
            let payload = vec![b'a'; length];
            let (last, before) = text(&payload).split_last().map(|(last, before)| (*last, before.to_vec())).unwrap();
            for (at, byte) in before.iter().enumerate() {
                assert!(buffer.append(&[*byte]));
                assert_eq!(cursor.next_frame(&mut buffer), Ok(None), "{} of {length}, {left} behind", at + 1);
            }
            assert!(buffer.append(&[last]));
            let frame = cursor.next_frame(&mut buffer).map(|frame| frame.map(owned));
            assert_eq!(frame, Ok(Some(Yielded::Text(payload))));
            assert_eq!(cursor.next_frame(&mut buffer), Ok(None), "once");
        }
    }
}

#[test]
fn several_frames_in_one_read_are_yielded_in_order() {
    let bytes = [text(b"one"), ping(b"p"), frame(OpCode::Data(Data::Binary), true, &[0xFF]), text(b"")].concat();
    let expected = [
        Yielded::Text(b"one".to_vec()),
        Yielded::Ping(b"p".to_vec()),
        Yielded::Binary(vec![0xFF]),
        Yielded::Text(Vec::new()),
    ];
    assert_eq!(all(&bytes), Ok(expected.to_vec()));
}

#[test]
fn fragments_are_joined_and_control_frames_between_them_come_at_once() {
    let bytes = [first(false, b"ab"), ping(b"1"), more(false, b""), ping(b"2"), more(true, b"cd"), text(b"e")].concat();
    let expected = [
        Yielded::Ping(b"1".to_vec()),
        Yielded::Ping(b"2".to_vec()),
        Yielded::Text(b"abcd".to_vec()),
        Yielded::Text(b"e".to_vec()),
    ];
    assert_eq!(strict(&bytes), Ok(expected.to_vec()));
}

#[test]
fn a_message_longer_than_the_read_buffer_comes_whole_and_so_does_the_next_one() {
    for length in [IN_PLACE_BYTES_MAX - 10, IN_PLACE_BYTES_MAX + 1, READ_BUFFER_BYTES, 1 << 20] {
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
        let bytes = [text(b"before"), text(&payload), text(b"behind")].concat();
        for chunk_bytes in [1_000, 65_536] {
            let yielded = fed(&mut FrameCursor::new(1 << 20, true), bytes.chunks(chunk_bytes)).expect("valid");
            let expected = [b"before".to_vec(), payload.clone(), b"behind".to_vec()].map(Yielded::Text);
            assert!(yielded == expected, "{length} bytes in chunks of {chunk_bytes}");
        }
    }
}

#[test]
fn the_spill_is_padded_and_never_grows() {
    let mut cursor = FrameCursor::new(100, false);
    let capacity = cursor.spill.capacity();
    let mut buffer = ReadBuffer::new();
    for _ in 0..3 {
        assert!(buffer.append(&[first(false, &[b'a'; 60]), more(true, &[b'b'; 40])].concat()));
        let Ok(Some(Frame::Message(message))) = cursor.next_frame(&mut buffer) else { panic!("a message") };
        assert_eq!(message.payload.len(), 100);
        assert_eq!(cursor.spill.len(), 100 + READ_PADDING_BYTES);
    }
    assert_eq!(cursor.spill.capacity(), capacity);
    assert_eq!(cursor.fragment_total(), 6);
}

#[test]
fn reserved_bits_are_refused() {
    for (byte, bits) in [(0xC1, 0b100), (0xA1, 0b010), (0x91, 0b001), (0xF1, 0b111), (0xC9, 0b100)] {
        refused(&[byte, 0], FrameError::ReservedBits { bits }, 1002, "reserved_bits", "extension");
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        refused(&[0x80 | opcode, 0], FrameError::ReservedOpcode { opcode }, 1002, "reserved_opcode", "allowed are");
    }
}

#[test]
fn a_masked_frame_is_refused() {
    refused(&[0x81, 0x81, 1, 2, 3, 4, 5], FrameError::Masked, 1002, "masked", "must not mask");
    refused(&[0x89, 0x80, 1, 2, 3, 4], FrameError::Masked, 1002, "masked", "must not mask");
}

#[test]
fn a_fragmented_control_frame_is_refused() {
    for opcode in [0x8, 0x9, 0xA] {
        let error = FrameError::ControlFragmented { opcode };
        refused(&[opcode, 0], error, 1002, "control_fragmented", "must be whole");
    }
}

#[test]
fn a_control_frame_over_125_bytes_is_refused() {
    for (opcode, length) in [(0x8, 126), (0x9, 126), (0xA, 127)] {
        let error = FrameError::ControlTooLong { opcode, length };
        refused(&[0x80 | opcode, length, 0, 126], error, 1002, "control_too_long", "at most 125");
    }
    assert_eq!(all(&ping(&[7; 125])), Ok(vec![Yielded::Ping(vec![7; 125])]));
}

#[test]
fn a_length_that_is_not_minimal_is_refused() {
    for length in [0_u16, 1, 125] {
        let [high, low] = length.to_be_bytes();
        let error = FrameError::LengthNotMinimal { length_bytes: length.into(), form_bits: 16 };
        let bytes = [&[0x82, 126, high, low][..], &[0; 125]].concat();
        refused(&bytes, error, 1002, "length_not_minimal", "shortest form");
    }
    for length in [0_u64, 126, 0xFFFF] {
        let error = FrameError::LengthNotMinimal { length_bytes: length, form_bits: 64 };
        let bytes = [&[0x81, 127][..], &length.to_be_bytes()].concat();
        refused(&bytes, error, 1002, "length_not_minimal", "shortest form");
    }
}

#[test]
fn a_length_with_its_top_bit_set_is_refused() {
    let length_bytes = 1_u64 << 63 | 70_000;
    let bytes = [&[0x82, 127][..], &length_bytes.to_be_bytes()].concat();
    refused(&bytes, FrameError::LengthTopBit { length_bytes }, 1002, "length_top_bit", "top bit");
}

#[test]
fn a_continuation_without_a_message_is_refused_also_after_a_whole_fragmented_one() {
    let error = FrameError::UnexpectedContinuation;
    refused(&more(true, b"x"), error, 1002, "unexpected_continuation", "without a message");
    let bytes = [first(false, b"a"), more(true, b"b"), more(true, b"c")].concat();
    refused(&bytes, error, 1002, "unexpected_continuation", "without a message");
}

#[test]
fn a_new_message_inside_a_fragmented_one_is_refused() {
    for (next, opcode) in [(text(b"b"), 0x1), (frame(OpCode::Data(Data::Binary), false, b"b"), 0x2)] {
        let bytes = [first(false, b"a"), ping(b""), next].concat();
        let error = FrameError::InterruptedMessage { opcode };
        refused(&bytes, error, 1002, "interrupted_message", "inside a fragmented message");
    }
}

#[test]
fn an_oversized_message_is_refused_from_its_header_and_across_fragments() {
    let limit = |bytes: &[u8]| fed(&mut FrameCursor::new(1_000, false), [bytes]).map_err(|(_, error)| error);
    let error = |length_bytes| FrameError::MessageTooBig { length_bytes, length_bytes_max: 1_000 };
    assert_eq!(limit(&text(&[b'x'; 1_000])), Ok(vec![Yielded::Text(vec![b'x'; 1_000])]));
    assert_eq!(limit(&text(&[b'x'; 1_001])), Err(error(1_001)));
    assert_eq!(limit(&text(&[b'x'; 1_001])[..4]), Err(error(1_001)), "before the payload has arrived");
    let joined = [first(false, &[b'x'; 600]), more(true, &[b'x'; 401])].concat();
    assert_eq!(limit(&joined), Err(error(1_001)));
    assert_eq!(limit(&joined[..608]), Err(error(1_001)), "before the second payload has arrived");
    let huge = [&[0x82, 127][..], &(u64::MAX >> 1).to_be_bytes()].concat();
    assert_eq!(limit(&huge), Err(error(u64::MAX >> 1)));
    assert_eq!((error(1_001).close_code(), error(1_001).name()), (1009, "message_too_big"));
    assert!(error(1_001).to_string().contains("at most 1000"), "{}", error(1_001));
}

#[test]
fn endless_empty_fragments_are_refused() {
    let count = usize::try_from(FRAGMENT_COUNT_MAX).expect("a usize holds it");
    let mut bytes = first(false, b"");
    bytes.extend(more(false, b"").repeat(count - 1));
    assert_eq!(all(&bytes), Ok(Vec::new()), "the limit itself is allowed");
    bytes.extend(more(true, b""));
    let error = FrameError::TooManyFragments { count_max: FRAGMENT_COUNT_MAX };
    assert_eq!(all(&bytes), Err(error));
    assert_eq!((error.close_code(), error.name()), (1009, "too_many_fragments"));
}

#[test]
fn text_that_is_not_utf8_is_refused_in_strict_mode_and_left_to_the_caller_otherwise() {
    let bad = b"ab\xC3\x28";
    for bytes in [text(bad), [first(false, b"a"), more(true, b"b\xC3\x28")].concat()] {
        assert_eq!(strict(&bytes), Err(FrameError::InvalidUtf8 { offset: 2 }));
        assert_eq!(all(&bytes), Ok(vec![Yielded::Text(bad.to_vec())]));
    }
    assert_eq!(strict(&text(b"cut \xE2\x82")), Err(FrameError::InvalidUtf8 { offset: 4 }));
    let cut_by_the_end = [first(false, b"a\xE2"), more(true, b"\x82")].concat();
    assert_eq!(strict(&cut_by_the_end), Err(FrameError::InvalidUtf8 { offset: 1 }));
    let binary = frame(OpCode::Data(Data::Binary), true, bad);
    assert_eq!(strict(&binary), Ok(vec![Yielded::Binary(bad.to_vec())]), "binary is not text");
    let error = FrameError::InvalidUtf8 { offset: 2 };
    assert_eq!((error.close_code(), error.name()), (1007, "invalid_utf8"));
}

#[test]
fn a_character_may_be_cut_between_fragments_and_reads() {
    let euro = "\u{20AC}".as_bytes();
    let bytes = [first(false, &euro[..1]), more(false, &euro[1..2]), ping(b""), more(true, &euro[2..])].concat();
    for chunk_bytes in [1, 2, 3, bytes.len()] {
        let yielded = fed(&mut FrameCursor::new(100, true), bytes.chunks(chunk_bytes));
        assert_eq!(yielded, Ok(vec![Yielded::Ping(Vec::new()), Yielded::Text(euro.to_vec())]));
    }
}

#[test]
fn strict_mode_fails_at_the_first_impossible_byte_not_at_the_end_of_the_frame() {
    for length in [100, 1_000, IN_PLACE_BYTES_MAX + 100] {
        let mut payload = vec![b'x'; length];
        payload[50..52].copy_from_slice(b"\xF4\x90");
        let bytes = text(&payload);
        let header_bytes = bytes.len() - length;
        let mut cursor = FrameCursor::new(1 << 20, true);
        let up_to = |end: usize| bytes[..header_bytes + end].chunks(7);
        assert_eq!(fed(&mut cursor, up_to(51)), Ok(Vec::new()), "{length}: F4 alone may become a character");
        let mut cursor = FrameCursor::new(1 << 20, true);
        let result = fed(&mut cursor, up_to(52)).map_err(|(_, error)| error);
        assert_eq!(result, Err(FrameError::InvalidUtf8 { offset: 50 }), "{length}");
    }
}

#[test]
fn a_close_frame_has_no_payload_or_a_valid_code_and_a_utf8_reason() {
    assert_eq!(all(&close_frame(b"")), Ok(vec![Yielded::Close(None, String::new())]));
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        let bytes = close_frame(&[&code.to_be_bytes()[..], b"why"].concat());
        assert_eq!(all(&bytes), Ok(vec![Yielded::Close(Some(code), "why".to_owned())]));
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let error = FrameError::InvalidCloseCode { code };
        refused(&close_frame(&code.to_be_bytes()), error, 1002, "invalid_close_code", "1000-1003");
    }
    refused(&close_frame(b"\x03"), FrameError::CloseLengthOne, 1002, "close_length_one", "1 byte");
    let error = FrameError::CloseReasonNotUtf8 { offset: 2 };
    refused(&close_frame(b"\x03\xE8ok\xFF"), error, 1007, "close_reason_not_utf8", "byte 2");
}

#[test]
fn names_are_distinct_and_each_error_has_its_own() {
    let mut names = FrameError::ALL_NAMES.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FrameError::ALL_NAMES.len());
    assert_eq!(FrameError::CloseReasonNotUtf8 { offset: 0 }.index(), FrameError::ALL_NAMES.len() - 1);
}

/// A fragment's payload, and the ping behind it.
type Fragment = (Vec<u8>, Option<Vec<u8>>);

/// One message of a random conversation: its fragments, pings between them, and how it is cut is drawn apart.
fn message() -> impl Strategy<Value = (bool, Vec<Fragment>)> {
    let payload = prop_oneof![
        8 => prop::collection::vec(b' '..b'~', 0..200),
        1 => prop::collection::vec(b' '..b'~', 60_000..70_000),
    ];
    let control = prop::option::weighted(0.3, prop::collection::vec(any::<u8>(), 0..=125));
    (any::<bool>(), prop::collection::vec((payload, control), 1..4))
}

/// These bytes and then "nothing now", for tungstenite to read; what it writes is dropped.
struct Source<'b>(&'b [u8]);

impl io::Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(out) }
    }
}

impl io::Write for Source<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite's client yields of these bytes, up to the first close frame or error.
fn as_tungstenite_reads(bytes: &[u8]) -> Vec<Yielded> {
    let mut socket = WebSocket::from_raw_socket(Source(bytes), Role::Client, None);
    let mut yielded = Vec::new();
    while let Ok(message) = socket.read() {
        yielded.push(match message {
            PeerMessage::Text(text) => Yielded::Text(text.as_bytes().to_vec()),
            PeerMessage::Binary(payload) => Yielded::Binary(payload.to_vec()),
            PeerMessage::Ping(payload) => Yielded::Ping(payload.to_vec()),
            PeerMessage::Pong(payload) => Yielded::Pong(payload.to_vec()),
            PeerMessage::Close(None) => Yielded::Close(None, String::new()),
            PeerMessage::Close(Some(close)) => Yielded::Close(Some(close.code.into()), close.reason.to_string()),
            PeerMessage::Frame(_) => panic!("a read never gives a bare frame"),
        });
        if matches!(yielded.last(), Some(Yielded::Close(..))) {
            break;
        }
    }
    yielded
}

/// Ours up to the close frame, behind which nothing counts, in tungstenite's words.
fn up_to_close(mut yielded: Vec<Yielded>) -> Vec<Yielded> {
    if let Some(close) = yielded.iter().position(|frame| matches!(frame, Yielded::Close(..))) {
        yielded.truncate(close + 1);
        // IANA has registered 1014 (bad gateway); tungstenite does not know it yet and reports what it answers instead.
        if matches!(yielded[close], Yielded::Close(Some(1014), _)) {
            yielded[close] = Yielded::Close(Some(1002), "Protocol violation".to_owned());
        }
    }
    yielded
}

/// Frames of mostly valid headers over short payloads: most conversations get somewhere, many break a rule.
fn frame_like() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        3 => prop::collection::vec(b' '..b'~', 0..140),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => (any::<u8>(), prop::collection::vec(b'a'..=b'z', 0..5)).prop_map(|(low, reason)| {
            [&[0x03, low][..], &reason].concat()
        }),
    ];
    (first, payload, prop::option::weighted(0.03, any::<u8>())).prop_map(|(first, payload, wrong_length)| {
        let short = u8::try_from(payload.len()).expect("below 256");
        let mut bytes = if short < 126 { vec![first, short] } else { vec![first, 126, 0, short] };
        if let Some(wrong_length) = wrong_length {
            bytes[1] = wrong_length;
        }
        bytes.extend(payload);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tungstenite_reads_the_same_in_every_conversation_the_cursor_accepts(
        frames in prop::collection::vec(frame_like(), 1..12),
        chunk_bytes in 1..100_usize,
    ) {
        let bytes = frames.concat();
        let theirs = as_tungstenite_reads(&bytes);
        match fed(&mut FrameCursor::new(1 << 20, true), bytes.chunks(chunk_bytes)) {
            Ok(ours) => prop_assert_eq!(up_to_close(ours), theirs),
            // The cursor may refuse earlier, never read something else before it does.
            Err((ours, _)) => {
                let ours = up_to_close(ours);
                prop_assert!(theirs.starts_with(&ours), "{:?} against {:?}", ours, theirs);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_conversation_cut_at_any_bytes_gives_the_same_messages(
        messages in prop::collection::vec(message(), 1..8),
        cuts in prop::collection::vec(1..4_000_usize, 1..60),
        strict_utf8 in any::<bool>(),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (is_text, fragments) in messages {
            let mut joined = Vec::new();
            let count = fragments.len();
            for (index, (payload, ping_payload)) in fragments.into_iter().enumerate() {
                let data = match (index, is_text) {
                    (0, true) => Data::Text,
                    (0, false) => Data::Binary,
                    _ => Data::Continue,
                };
                bytes.extend(frame(OpCode::Data(data), index + 1 == count, &payload));
                joined.extend(payload);
                if index + 1 == count {
                    let joined = std::mem::take(&mut joined);
                    expected.push(if is_text { Yielded::Text(joined) } else { Yielded::Binary(joined) });
                }
                if let Some(payload) = ping_payload {
                    bytes.extend(ping(&payload));
                    expected.push(Yielded::Ping(payload));
                }
            }
        }
        let (mut chunks, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts {
            let (chunk, behind) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = behind;
        }
        chunks.push(rest);
        let yielded = fed(&mut FrameCursor::new(1 << 20, strict_utf8), chunks);
        prop_assert!(yielded == Ok(expected));
    }

    #[test]
    fn any_bytes_give_the_same_answer_however_they_are_cut(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x81), Just(0x01), Just(0x80), Just(0x89), 0..6_u8], 0..300),
        chunk_bytes in 1..40_usize,
        strict_utf8 in any::<bool>(),
    ) {
        let whole = fed(&mut FrameCursor::new(2_000, strict_utf8), [&bytes[..]]);
        let cut = fed(&mut FrameCursor::new(2_000, strict_utf8), bytes.chunks(chunk_bytes));
        prop_assert_eq!(whole, cut);
    }
}
