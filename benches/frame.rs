//! What it costs to cut a message out of received bytes: this engine's cursor, and tungstenite on the same bytes.
//!
//! `frame/next/150B` is a trade, `frame/next/1500B` a depth update. "bulk" hands out up to 64 KiB a read, "one per read"
//! is what a socket gives at market pace. Each iteration takes the whole block of frames, and checks their count and the
//! sum of their first and last bytes.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::io::{self, Read, Write};
use tickwire::hot::frame::{Frame, FrameCursor};
use tickwire::hot::read_buffer::ReadBuffer;
use tickwire::limits::{MESSAGE_BYTES_DEFAULT, VISIT_BYTES_MAX};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, WebSocket};

const FRAME_COUNT: usize = 512;

/// A block of frames, given out in reads of at most `read_bytes`, then "would block".
struct Source {
    bytes: Vec<u8>,
    given: usize,
    read_bytes: usize,
}

impl Source {
    fn new(payload_bytes: usize, is_bulk: bool) -> Self {
        let mut bytes = Vec::new();
        for number in 0..FRAME_COUNT {
            bytes.extend([0x81, 126]);
            bytes.extend(u16::try_from(payload_bytes).expect("a 16-bit length").to_be_bytes());
            let start = bytes.len();
            bytes.extend((0..payload_bytes).map(|i| b'a' + u8::try_from(i % 26).expect("below 26")));
            bytes[start] = b'A' + u8::try_from(number % 26).expect("below 26");
        }
        let read_bytes = if is_bulk { VISIT_BYTES_MAX } else { payload_bytes + 4 };
        Self { bytes, given: 0, read_bytes }
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = &self.bytes[self.given..];
        if left.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = left.len().min(self.read_bytes).min(out.len());
        out[..count].copy_from_slice(&left[..count]);
        self.given += count;
        Ok(count)
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

/// How many messages, and the sum of their first and last bytes.
type Answer = (usize, u64);

fn add(answer: &mut Answer, payload: &[u8]) {
    answer.0 += 1;
    answer.1 += u64::from(payload[0]) + u64::from(payload[payload.len() - 1]);
}

fn by_cursor(source: &mut Source, buffer: &mut ReadBuffer, cursor: &mut FrameCursor) -> Answer {
    source.given = 0;
    let mut answer = (0, 0);
    loop {
        buffer.compact();
        let Ok(count) = source.read(buffer.free(VISIT_BYTES_MAX)) else { return answer };
        buffer.received(count);
        while let Some(frame) = cursor.next_frame(buffer).expect("valid frames") {
            let Frame::Message(message) = frame else { panic!("only messages were sent") };
            add(&mut answer, &message.payload);
        }
    }
}

fn by_tungstenite(socket: &mut WebSocket<Source>) -> Answer {
    socket.get_mut().given = 0;
    let mut answer = (0, 0);
    loop {
        match socket.read() {
            Ok(message) => add(&mut answer, &message.into_data()),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return answer,
            Err(error) => panic!("{error}"),
        }
    }
}

fn frame_next(criterion: &mut Criterion) {
    for payload_bytes in [150, 1_500] {
        let mut group = criterion.benchmark_group(format!("frame/next/{payload_bytes}B"));
        group.throughput(Throughput::Elements(FRAME_COUNT as u64));
        for (pace, is_bulk) in [("bulk", true), ("one per read", false)] {
            let mut source = Source::new(payload_bytes, is_bulk);
            let expected = expected(&source, payload_bytes);

            for (name, strict_utf8) in [("cursor", false), ("cursor, strict UTF-8", true)] {
                let mut buffer = ReadBuffer::new();
                let mut cursor = FrameCursor::new(MESSAGE_BYTES_DEFAULT, strict_utf8);
                group.bench_function(BenchmarkId::new(name, pace), |bencher| {
                    bencher.iter(|| {
                        let answer = by_cursor(black_box(&mut source), &mut buffer, &mut cursor);
                        assert_eq!(answer, expected);
                    });
                });
            }

            for (name, buffer_bytes) in [("tungstenite, 128K buffer", 128 * 1024), ("tungstenite, 4K buffer", 4 * 1024)]
            {
                let config = WebSocketConfig::default().read_buffer_size(buffer_bytes);
                let source = Source::new(payload_bytes, is_bulk);
                let mut socket = WebSocket::from_raw_socket(source, Role::Client, Some(config));
                group.bench_function(BenchmarkId::new(name, pace), |bencher| {
                    bencher.iter(|| {
                        let answer = by_tungstenite(black_box(&mut socket));
                        assert_eq!(answer, expected);
                    });
                });
            }
        }
        group.finish();
    }
}

fn expected(source: &Source, payload_bytes: usize) -> Answer {
    let mut answer = (0, 0);
    for frame in source.bytes.chunks(payload_bytes + 4) {
        add(&mut answer, &frame[4..]);
    }
    answer
}

criterion_group!(benches, frame_next);
criterion_main!(benches);
