//! A TLS 1.3 record of one frame to that frame, in memory, AES-128-GCM: all contenders open it with the same cipher's code.
//!
//! "tickwire" opens records where they lie, its default; beside it what it does with `tls.records = "rustls"`.

use crate::race::{Contender, Course, OURS, Raced, run};
use crate::tls_contenders::{self, Answer, BATCH, Floor, Ours, Pipe, RECORD_BYTES, Server, add, answer_of, frames};
use crate::tls_peer::{handshaken, session};
use fastwebsockets::WebSocket;
use futures_util::{FutureExt, StreamExt};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tickwire::hot::InPlaceRecords;
use tickwire::hot::tls::RustlsRecords;
use tickwire::limits::VISIT_BYTES_MAX;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// A contender, and the batch that its server has sealed for it.
struct Batch<C> {
    contender: C,
    frames: Vec<Vec<u8>>,
    expected: Answer,
    wire: Vec<u8>,
    piece_bytes: usize,
}

impl<C: tls_contenders::Contender> Course for Batch<C> {
    fn pull(&mut self) -> u64 {
        self.wire = self.contender.seal(&self.frames);
        self.wire.len() as u64
    }

    fn pass(&mut self, _order: &[u32]) -> u64 {
        let answer = self.contender.open(&self.wire, self.piece_bytes);
        assert_eq!(answer, self.expected, "every payload whole");
        answer.1
    }
}

struct Tungstenite {
    server: Server,
    socket: WebSocketStream<TlsStream<Pipe>>,
}

impl Tungstenite {
    fn new(read_buffer_size: usize) -> Self {
        let (server, client) = Server::with_client();
        let config = WebSocketConfig::default().read_buffer_size(read_buffer_size);
        let socket = WebSocketStream::from_raw_socket(client, Role::Client, Some(config));
        Self { server, socket: socket.now_or_never().expect("it waits for nothing") }
    }
}

impl tls_contenders::Contender for Tungstenite {
    fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8> {
        self.server.seal(frames)
    }

    fn open(&mut self, wire: &[u8], piece_bytes: usize) -> Answer {
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = (0, 0);
        for _ in wire.chunks(piece_bytes) {
            self.server.come(piece_bytes);
            while let Poll::Ready(message) = self.socket.poll_next_unpin(&mut context) {
                add(&mut answer, &message.expect("no end").expect("valid frames").into_data());
            }
        }
        answer
    }
}

struct Fast {
    server: Server,
    socket: WebSocket<TlsStream<Pipe>>,
}

impl Fast {
    fn new() -> Self {
        let (server, client) = Server::with_client();
        Self { server, socket: WebSocket::after_handshake(client, fastwebsockets::Role::Client) }
    }
}

impl tls_contenders::Contender for Fast {
    fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8> {
        self.server.seal(frames)
    }

    fn open(&mut self, wire: &[u8], piece_bytes: usize) -> Answer {
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = (0, 0);
        for _ in wire.chunks(piece_bytes) {
            self.server.come(piece_bytes);
            while let Poll::Ready(frame) = pin!(self.socket.read_frame()).poll(&mut context) {
                add(&mut answer, &frame.expect("valid frames").payload);
            }
        }
        answer
    }
}

/// The race with one record a read, or with as many as a read brings.
pub(crate) fn race(is_bulk: bool, rounds: usize) -> Raced {
    let (case, piece_bytes) =
        if is_bulk { ("150 B, 64 KiB a read", VISIT_BYTES_MAX) } else { ("150 B, one record a read", RECORD_BYTES) };
    fn course<'a, C: tls_contenders::Contender + 'a>(contender: C, piece_bytes: usize) -> Box<dyn Course + 'a> {
        let frames = frames();
        let expected = answer_of(&frames);
        Box::new(Batch { contender, frames, expected, wire: Vec::new(), piece_bytes })
    }
    let (client, peer) = handshaken(0);
    let by_rustls = RustlsRecords::new(client, &[]).expect("nothing was handed over");
    let in_place = Ours::<InPlaceRecords>::new(session(0));
    let own = env!("CARGO_PKG_VERSION");
    let mut contenders = [
        Contender { name: OURS, version: own, course: course(in_place, piece_bytes) },
        Contender {
            name: "tickwire, by rustls",
            version: own,
            course: course(Ours::new((by_rustls, peer)), piece_bytes),
        },
        Contender {
            name: "tokio-tungstenite, 4 KiB buffer",
            version: "0.30",
            course: course(Tungstenite::new(4 << 10), piece_bytes),
        },
        Contender {
            name: "tokio-tungstenite as shipped",
            version: "0.30",
            course: course(Tungstenite::new(128 << 10), piece_bytes),
        },
        Contender { name: "fastwebsockets", version: "0.10", course: course(Fast::new(), piece_bytes) },
        Contender { name: "floor:AEAD in place", version: "", course: course(Floor::new(), piece_bytes) },
    ];
    run("tls", case, BATCH, rounds, &mut contenders)
}
