//! `tls`: from a received TLS 1.3 record to its frame, in memory, AES-128-GCM, one frame of 150 bytes a record.
//!
//! ```text
//! floor            the AEAD alone, in place, by a loop that knows every record to be of one length
//! in place         this engine's record layer and frame cursor, as `tls.records = "in_place"` has them
//! rustls           the same with rustls' unbuffered client, as `tls.records = "rustls"` has them
//! tokio-rustls     its `poll_read` into the same buffer, before the same cursor
//!
//! cargo bench --bench tls                     400 batches of each
//! cargo bench --bench tls -- --test           a few, to see that it lives
//! ```
//! "bulk" receives up to 64 KiB at a time, "one a read" is what a socket gives at market pace. Each contender copies what it
//! receives once, in the place of `recv`. Contenders take turns batch by batch and the turn rotates; times are of the
//! thread's CPU, medians over batches. Sealing is not timed. Each answer is checked.

#[path = "../fuzz/bodies/tls_peer.rs"]
mod tls_peer;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tickwire::hot::frame::{Frame, FrameCursor};
use tickwire::hot::read_buffer::ReadBuffer;
use tickwire::hot::tls::RustlsRecords;
use tickwire::hot::{InPlaceRecords, ReadOutcome, Records};
use tickwire::limits::{MESSAGE_BYTES_DEFAULT, VISIT_BYTES_MAX};
use tls_peer::{Key, Peer, SUITES, configs, handshaken, session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PAYLOAD_BYTES: usize = 150;
const FRAME_BYTES: usize = PAYLOAD_BYTES + 4;
/// Header, frame, type, tag.
const RECORD_BYTES: usize = 5 + FRAME_BYTES + 1 + 16;
/// Records of one batch.
const BATCH: usize = 512;

/// How many messages, and the sum of their first and last bytes.
type Answer = (usize, u64);

fn add(answer: &mut Answer, payload: &[u8]) {
    answer.0 += 1;
    answer.1 += u64::from(payload[0]) + u64::from(payload[payload.len() - 1]);
}

fn frames() -> Vec<Vec<u8>> {
    let frame = |number: usize| {
        let mut frame = vec![0x81, 126, 0, u8::try_from(PAYLOAD_BYTES).expect("below 256")];
        frame.extend((0..PAYLOAD_BYTES).map(|at| b'a' + u8::try_from((at + number) % 26).expect("below 26")));
        frame
    };
    (0..BATCH).map(frame).collect()
}

/// One way from ciphertext to frames.
trait Contender {
    /// The next records of its session, one a frame.
    fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8>;
    /// Opens them as they come, in pieces of at most so many bytes.
    fn open(&mut self, wire: &[u8], piece_bytes: usize) -> Answer;
}

struct Floor {
    sealing: Key,
    opening: Key,
    buffer: Vec<u8>,
}

impl Contender for Floor {
    fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|frame| self.sealing.seal(tls_peer::APPLICATION_DATA, frame, 0)).collect()
    }

    fn open(&mut self, wire: &[u8], piece_bytes: usize) -> Answer {
        let mut answer = (0, 0);
        for piece in wire.chunks(piece_bytes / RECORD_BYTES * RECORD_BYTES) {
            self.buffer[..piece.len()].copy_from_slice(piece);
            for record in self.buffer[..piece.len()].chunks_mut(RECORD_BYTES) {
                let inner = self.opening.open_in_place(record);
                add(&mut answer, &inner[4..FRAME_BYTES]);
            }
        }
        answer
    }
}

struct Ours<R> {
    records: R,
    peer: Peer,
    buffer: ReadBuffer,
    cursor: FrameCursor,
}

impl<R> Ours<R> {
    fn new((records, peer): (R, Peer)) -> Self {
        Self { records, peer, buffer: ReadBuffer::new(), cursor: FrameCursor::new(MESSAGE_BYTES_DEFAULT, false) }
    }
}

fn drain(cursor: &mut FrameCursor, buffer: &mut ReadBuffer, answer: &mut Answer) {
    while let Some(frame) = cursor.next_frame(buffer).expect("valid frames") {
        let Frame::Message(message) = frame else { panic!("only messages were sent") };
        add(answer, &message.payload);
    }
}

impl<R: Records> Contender for Ours<R> {
    fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|frame| self.peer.data(frame)).collect()
    }

    fn open(&mut self, wire: &[u8], piece_bytes: usize) -> Answer {
        let Self { records, buffer, cursor, .. } = self;
        let (mut answer, mut rest) = ((0, 0), wire);
        while !rest.is_empty() {
            let free = records.free(buffer).expect("room");
            let count = free.len().min(piece_bytes).min(rest.len());
            free[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            records.received(buffer, count);
            // As the hot core does it: one record, its frames, and only then the next.
            loop {
                match records.open_next(buffer).expect("authentic") {
                    Some(ReadOutcome::Bytes(_)) => drain(cursor, buffer, &mut answer),
                    Some(outcome) => panic!("{outcome:?}"),
                    None => break,
                }
                if !records.has_record(buffer) {
                    break;
                }
            }
        }
        answer
    }
}

/// The two directions of a connection in memory.
#[derive(Default)]
struct Wires {
    to_client: VecDeque<Vec<u8>>,
    to_server: Vec<u8>,
}

struct Pipe(Rc<RefCell<Wires>>);

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let wires = &mut *self.0.borrow_mut();
        let Some(piece) = wires.to_client.front_mut() else { return Poll::Pending };
        let count = piece.len().min(out.remaining());
        out.put_slice(&piece[..count]);
        if count == piece.len() {
            wires.to_client.pop_front();
        } else {
            piece.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.borrow_mut().to_server.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct TokioRustls {
    server: rustls::ServerConnection,
    wires: Rc<RefCell<Wires>>,
    client: tokio_rustls::client::TlsStream<Pipe>,
    buffer: ReadBuffer,
    cursor: FrameCursor,
}

impl TokioRustls {
    fn new() -> Self {
        let configs = configs(SUITES[0]);
        let wires = Rc::new(RefCell::new(Wires::default()));
        let mut server = rustls::ServerConnection::new(configs.server).expect("a session");
        server.set_buffer_limit(None);
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&configs.client));
        let name = "localhost".try_into().expect("a name");
        let mut connecting = Box::pin(connector.connect(name, Pipe(Rc::clone(&wires))));
        let mut context = Context::from_waker(Waker::noop());
        let client = loop {
            if let Poll::Ready(client) = connecting.as_mut().poll(&mut context) {
                break client.expect("a handshake");
            }
            let said = std::mem::take(&mut wires.borrow_mut().to_server);
            let mut said = &said[..];
            while !said.is_empty() {
                server.read_tls(&mut said).expect("a slice gives all");
                server.process_new_packets().expect("a handshake");
            }
            let mut answer = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut answer).expect("a vector takes all");
            }
            wires.borrow_mut().to_client.push_back(answer);
        };
        let said = std::mem::take(&mut wires.borrow_mut().to_server);
        server.read_tls(&mut &said[..]).expect("a slice gives all");
        server.process_new_packets().expect("a handshake");
        let cursor = FrameCursor::new(MESSAGE_BYTES_DEFAULT, false);
        Self { server, wires, client, buffer: ReadBuffer::new(), cursor }
    }
}

impl Contender for TokioRustls {
    fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for frame in frames {
            self.server.writer().write_all(frame).expect("no limit");
            while self.server.wants_write() {
                self.server.write_tls(&mut wire).expect("a vector takes all");
            }
        }
        wire
    }

    fn open(&mut self, wire: &[u8], piece_bytes: usize) -> Answer {
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = (0, 0);
        for piece in wire.chunks(piece_bytes) {
            self.wires.borrow_mut().to_client.push_back(piece.to_vec());
            loop {
                self.buffer.compact();
                let mut free = ReadBuf::new(self.buffer.free(VISIT_BYTES_MAX));
                match Pin::new(&mut self.client).poll_read(&mut context, &mut free) {
                    Poll::Ready(outcome) => outcome.expect("authentic"),
                    Poll::Pending => break,
                }
                let count = free.filled().len();
                self.buffer.received(count);
                drain(&mut self.cursor, &mut self.buffer, &mut answer);
            }
        }
        answer
    }
}

/// CPU time of this thread, ns.
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result, and nothing keeps it.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(outcome, 0, "every Linux has the clock");
    u64::try_from(time.tv_sec).expect("positive") * 1_000_000_000 + u64::try_from(time.tv_nsec).expect("positive")
}

/// ns a record of each contender, medians over batches.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a batch")]
fn measure(contenders: &mut [(&str, Box<dyn Contender>)], piece_bytes: usize, batches: usize) -> Vec<f64> {
    let frames = frames();
    let mut expected = (0, 0);
    for frame in &frames {
        add(&mut expected, &frame[4..]);
    }
    let mut times = vec![Vec::new(); contenders.len()];
    for batch in 0..batches {
        for turn in 0..contenders.len() {
            let at = (turn + batch) % contenders.len();
            let (name, contender) = &mut contenders[at];
            let wire = contender.seal(&frames);
            assert_eq!(wire.len(), BATCH * RECORD_BYTES);
            let started = thread_cpu_ns();
            let answer = contender.open(&wire, piece_bytes);
            times[at].push(thread_cpu_ns() - started);
            assert_eq!(answer, expected, "{name}");
        }
    }
    let median = |mut times: Vec<u64>| {
        times.sort_unstable();
        times[times.len() / 2] as f64 / BATCH as f64
    };
    times.into_iter().map(median).collect()
}

#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
fn main() {
    let batches = if std::env::args().any(|argument| argument == "--test") { 3 } else { 400 };
    let floor = Floor { sealing: Key::known(), opening: Key::known(), buffer: vec![0; VISIT_BYTES_MAX] };
    let (client, peer) = handshaken(0);
    let by_rustls = RustlsRecords::new(client, &[]).expect("nothing was handed over");
    let mut contenders: Vec<(&str, Box<dyn Contender>)> = vec![
        ("floor: AEAD in place", Box::new(floor)),
        ("tickwire, in place", Box::new(Ours::<InPlaceRecords>::new(session(0)))),
        ("tickwire, rustls", Box::new(Ours::new((by_rustls, peer)))),
        ("tokio-rustls", Box::new(TokioRustls::new())),
    ];
    println!(
        "a TLS 1.3 record of {FRAME_BYTES} bytes to its frame, AES-128-GCM ({batches} batches of {BATCH}, medians)"
    );
    println!("{:<22} {:>12} {:>7}   {:>12} {:>7}", "", "bulk, ns", "ratio", "one a read", "ratio");
    let bulk = measure(&mut contenders, VISIT_BYTES_MAX, batches);
    let paced = measure(&mut contenders, RECORD_BYTES, batches);
    for (at, (name, _)) in contenders.iter().enumerate() {
        let (bulk_ratio, paced_ratio) = (bulk[at] / bulk[0], paced[at] / paced[0]);
        println!("{name:<22} {:>12.1} {bulk_ratio:>7.2}   {:>12.1} {paced_ratio:>7.2}", bulk[at], paced[at]);
    }
}
