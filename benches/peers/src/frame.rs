//! Cutting messages out of received bytes, handed out one frame a read, as a market at its usual pace does.

use crate::messages;
use crate::race::{Contender, OURS, Raced, run};
use futures_util::FutureExt;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tickwire::hot::frame::{Frame, FrameCursor};
use tickwire::hot::read_buffer::ReadBuffer;
use tickwire::limits::MESSAGE_BYTES_DEFAULT;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::WebSocket;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

const FRAMES: usize = 512;

/// Frames without end: the same block again and again, one frame a read.
struct Source {
    bytes: Vec<u8>,
    frame_bytes: usize,
    given: usize,
}

impl Source {
    fn new(payload_bytes: usize) -> Self {
        let mut bytes = Vec::new();
        for number in 0..FRAMES {
            let payload: Vec<u8> = (0..payload_bytes).map(|at| b'a' + ((at + number) % 26) as u8).collect();
            messages::frame(&payload, &mut bytes);
        }
        Self { bytes, frame_bytes: payload_bytes + 4, given: 0 }
    }

    fn next(&mut self) -> &[u8] {
        let frame = &self.bytes[self.given..][..self.frame_bytes];
        self.given += self.frame_bytes;
        // No remainder: a division would be in everybody's time.
        if self.given == self.bytes.len() {
            self.given = 0;
        }
        frame
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let frame = self.next();
        out[..frame.len()].copy_from_slice(frame);
        Ok(frame.len())
    }
}

impl Write for Source {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let frame = self.next();
        out.put_slice(frame);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Source {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What is to be seen of a payload: its length and both ends.
fn seen(payload: &[u8]) -> u64 {
    payload.len() as u64 + u64::from(payload[0]) + u64::from(payload[payload.len() - 1])
}

/// The race at one payload size.
pub(crate) fn race(payload_bytes: usize, rounds: usize) -> Raced {
    let expected: u64 = Source::new(payload_bytes).bytes.chunks(payload_bytes + 4).map(|frame| seen(&frame[4..])).sum();
    let check = move |sum: u64| {
        assert_eq!(sum, expected, "every payload whole, and in its order");
        sum
    };

    let (mut source, mut buffer) = (Source::new(payload_bytes), ReadBuffer::new());
    let mut cursor = FrameCursor::new(MESSAGE_BYTES_DEFAULT, false);
    let ours = move |order: &[u32]| {
        let (mut sum, mut left) = (0, order.len());
        while left > 0 {
            buffer.compact();
            let count = source.read(buffer.free(64 * 1024)).expect("it always has some");
            buffer.received(count);
            while let Some(frame) = cursor.next_frame(&mut buffer).expect("valid frames") {
                let Frame::Message(message) = frame else { panic!("only messages were sent") };
                sum += seen(&message.payload);
                left -= 1;
            }
        }
        check(sum)
    };

    let tungstenite = |read_buffer_size: usize| {
        let config = WebSocketConfig::default().read_buffer_size(read_buffer_size);
        let mut socket = WebSocket::from_raw_socket(Source::new(payload_bytes), Role::Client, Some(config));
        move |order: &[u32]| {
            let next = |_: &u32| seen(&socket.read().expect("valid frames").into_data());
            check(order.iter().map(next).sum())
        }
    };

    let mut fast = fastwebsockets::WebSocket::after_handshake(Source::new(payload_bytes), fastwebsockets::Role::Client);
    let fast = move |order: &[u32]| {
        let next = |_: &u32| {
            let frame = fast.read_frame().now_or_never().expect("never pending").expect("valid frames");
            seen(&frame.payload)
        };
        check(order.iter().map(next).sum())
    };

    let mut floor = Source::new(payload_bytes);
    let mut copy = vec![0; payload_bytes + 4];
    let floor = move |order: &[u32]| {
        let next = |_: &u32| {
            let count = floor.read(&mut copy).expect("it always has some");
            seen(&std::hint::black_box(&copy)[4..count])
        };
        check(order.iter().map(next).sum())
    };

    let mut contenders = [
        Contender { name: OURS, version: env!("CARGO_PKG_VERSION"), course: Box::new(ours) },
        Contender { name: "tokio-tungstenite, 4 KiB buffer", version: "0.30", course: Box::new(tungstenite(4 << 10)) },
        Contender { name: "tokio-tungstenite as shipped", version: "0.30", course: Box::new(tungstenite(128 << 10)) },
        Contender { name: "fastwebsockets", version: "0.10", course: Box::new(fast) },
        Contender { name: "floor:copy", version: "", course: Box::new(floor) },
    ];
    run("frame", &format!("{payload_bytes} B, one a read"), FRAMES, rounds, &mut contenders)
}
