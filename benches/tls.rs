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

#[path = "shared/tls_contenders.rs"]
mod tls_contenders;
#[path = "../fuzz/bodies/tls_peer.rs"]
mod tls_peer;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tickwire::hot::InPlaceRecords;
use tickwire::hot::frame::FrameCursor;
use tickwire::hot::read_buffer::ReadBuffer;
use tickwire::hot::tls::RustlsRecords;
use tickwire::limits::{MESSAGE_BYTES_DEFAULT, VISIT_BYTES_MAX};
use tls_contenders::{
    Answer, BATCH, Contender, FRAME_BYTES, Floor, Ours, Pipe, RECORD_BYTES, Server, answer_of, drain, frames,
};
use tls_peer::{handshaken, session};
use tokio::io::{AsyncRead, ReadBuf};

struct TokioRustls {
    server: Server,
    client: tokio_rustls::client::TlsStream<Pipe>,
    buffer: ReadBuffer,
    cursor: FrameCursor,
}

impl TokioRustls {
    fn new() -> Self {
        let (server, client) = Server::with_client();
        Self { server, client, buffer: ReadBuffer::new(), cursor: FrameCursor::new(MESSAGE_BYTES_DEFAULT, false) }
    }
}

impl Contender for TokioRustls {
    fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8> {
        self.server.seal(frames)
    }

    fn open(&mut self, wire: &[u8], piece_bytes: usize) -> Answer {
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = (0, 0);
        for _ in wire.chunks(piece_bytes) {
            self.server.come(piece_bytes);
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
    let expected = answer_of(&frames);
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
    let (client, peer) = handshaken(0);
    let by_rustls = RustlsRecords::new(client, &[]).expect("nothing was handed over");
    let mut contenders: Vec<(&str, Box<dyn Contender>)> = vec![
        ("floor: AEAD in place", Box::new(Floor::new())),
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
