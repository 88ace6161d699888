//! Arbitrary bytes in arbitrary pieces through the frame cursor, against tungstenite's client on the same bytes.
//!
//! The first byte is the length of a piece. Whatever the cursor yields before it refuses, tungstenite must yield too;
//! where it refuses nothing, tungstenite must yield nothing more. Run it with `cargo +nightly fuzz run frame`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io;
use tickwire::hot::frame::{DataKind, Frame, FrameCursor, Message};
use tickwire::hot::read_buffer::ReadBuffer;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message as PeerMessage, WebSocket};

/// Longest message: below what either side would need megabytes for.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Opcode, close code, payload.
type Yielded = (u8, Option<u16>, Vec<u8>);

/// These bytes and then "nothing now"; what is written is dropped.
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

/// What the cursor yields up to a close frame, and whether it refused nothing.
fn ours(bytes: &[u8], piece_bytes: usize) -> (Vec<Yielded>, bool) {
    let mut cursor = FrameCursor::new(MESSAGE_BYTES_MAX, true);
    let mut buffer = ReadBuffer::new();
    let mut yielded = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        buffer.compact();
        assert!(buffer.append(piece), "a partial frame never blocks the next read");
        loop {
            let frame = match cursor.next_frame(&mut buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return (yielded, false),
            };
            let is_close = matches!(frame, Frame::Close(..));
            yielded.push(match frame {
                Frame::Message(Message { kind: DataKind::Text, payload }) => (0x1, None, payload.to_vec()),
                Frame::Message(Message { kind: DataKind::Binary, payload }) => (0x2, None, payload.to_vec()),
                Frame::Ping(payload) => (0x9, None, payload.to_vec()),
                Frame::Pong(payload) => (0xA, None, payload.to_vec()),
                // IANA has registered 1014; tungstenite does not know it yet and reports what it answers instead.
                Frame::Close(Some(1014), _) => (0x8, Some(1002), b"Protocol violation".to_vec()),
                Frame::Close(code, reason) => (0x8, code, reason.as_bytes().to_vec()),
            });
            if is_close {
                return (yielded, true);
            }
        }
    }
    (yielded, true)
}

/// What tungstenite's client yields up to a close frame or an error.
fn theirs(bytes: &[u8]) -> Vec<Yielded> {
    let mut socket = WebSocket::from_raw_socket(Source(bytes), Role::Client, None);
    let mut yielded = Vec::new();
    while let Ok(message) = socket.read() {
        let is_close = message.is_close();
        yielded.push(match message {
            PeerMessage::Text(text) => (0x1, None, text.as_bytes().to_vec()),
            PeerMessage::Binary(payload) => (0x2, None, payload.to_vec()),
            PeerMessage::Ping(payload) => (0x9, None, payload.to_vec()),
            PeerMessage::Pong(payload) => (0xA, None, payload.to_vec()),
            PeerMessage::Close(None) => (0x8, None, Vec::new()),
            PeerMessage::Close(Some(close)) => (0x8, Some(close.code.into()), close.reason.as_bytes().to_vec()),
            PeerMessage::Frame(_) => panic!("a read never gives a bare frame"),
        });
        if is_close {
            break;
        }
    }
    yielded
}

fuzz_target!(|input: &[u8]| {
    let Some((piece_bytes, bytes)) = input.split_first() else { return };
    let (ours, is_accepted) = ours(bytes, usize::from(*piece_bytes).max(1));
    let theirs = theirs(bytes);
    if is_accepted {
        assert_eq!(ours, theirs);
    } else {
        assert!(theirs.starts_with(&ours), "{ours:?} against {theirs:?}");
    }
});
