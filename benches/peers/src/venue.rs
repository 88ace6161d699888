//! The other end of a socket: a thread that writes trades as a venue does, at a pace or without a pause.

use crate::messages::{Case, FIRST_TIME_MS, Message, frame, generated, universe};
use crate::tls_peer::{APPLICATION_DATA, Key, Peer};
use crate::typed::nearest;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use tickwire::hot::mono_now;

pub(crate) const CASE: Case = Case::BinanceSpotTrade;
pub(crate) const SYMBOLS: usize = 20;
/// One message every 50 microseconds: a busy symbol, never a queue.
const PACE_NS: u64 = 50_000;

/// What is sent over one connection.
pub(crate) struct Load {
    pub(crate) names: Vec<String>,
    /// Each message, framed.
    pub(crate) frames: Vec<Vec<u8>>,
    /// All of them, one behind the other.
    pub(crate) block: Vec<u8>,
    pub(crate) total: usize,
    pub(crate) is_paced: bool,
    pub(crate) expected: Sums,
}

/// What the handlers must have seen: sums, each in the order of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    /// Prices and quantities in units of the grid.
    pub(crate) units: i64,
    /// Prices and quantities as floating point.
    pub(crate) floats: f64,
    /// First and last byte of each payload.
    pub(crate) ends: u64,
}

impl Load {
    /// So many messages, at the pace or without a pause. Each comes once: a trade that comes again is another matter.
    pub(crate) fn new(total: usize, is_paced: bool) -> Self {
        let names = universe(SYMBOLS);
        let messages = generated(CASE, &names, total, usize::MAX);
        let framed = |message: &Message| {
            let mut bytes = Vec::new();
            frame(&message.text, &mut bytes);
            bytes
        };
        let frames: Vec<Vec<u8>> = messages.iter().map(framed).collect();
        let mut expected = Sums::default();
        for Message { text, truth, .. } in &messages {
            for number in &truth.numbers {
                expected.units = expected.units.wrapping_add(i64::try_from(number.mantissa()).expect("small"));
                expected.floats += nearest(*number);
            }
            expected.ends += u64::from(text[0]) + u64::from(text[text.len() - 1]);
        }
        Self { names, block: frames.concat(), frames, total, is_paced, expected }
    }

    /// Place of a trade among the messages, by its time.
    pub(crate) fn at(time_ms: u64) -> usize {
        usize::try_from(time_ms - FIRST_TIME_MS).expect("a time of this load")
    }

    /// Bytes of a message, the mean.
    pub(crate) fn message_bytes(&self) -> usize {
        self.block.len() / self.frames.len() - 4
    }
}

/// The server's end of TLS.
pub(crate) enum Session {
    Plain,
    /// Of a client that made its handshake in memory.
    Peer(Box<Peer>),
    /// A key that both ends know.
    Known(Box<Key>),
    /// Of a client that makes its handshake over the socket.
    Rustls(Box<rustls::ServerConnection>),
}

impl Session {
    fn begin(&mut self, socket: &mut TcpStream) {
        if let Self::Rustls(session) = self {
            while session.is_handshaking() {
                session.complete_io(socket).expect("a handshake");
            }
        }
    }

    /// The bytes that carry a frame, one record each.
    fn seal(&mut self, frame: &[u8], wire: &mut Vec<u8>) {
        wire.clear();
        match self {
            Self::Plain => wire.extend_from_slice(frame),
            Self::Peer(peer) => wire.extend(peer.data(frame)),
            Self::Known(key) => wire.extend(key.seal(APPLICATION_DATA, frame, 0)),
            Self::Rustls(session) => {
                session.writer().write_all(frame).expect("room");
                while session.wants_write() {
                    session.write_tls(wire).expect("a vector takes all");
                }
            }
        }
    }
}

/// Sends the load; `sent` is given each message's time, ns on CLOCK_MONOTONIC, just before it is written.
pub(crate) fn serve(mut socket: TcpStream, mut session: Session, load: &Load, sent: &[AtomicU64]) {
    socket.set_nodelay(true).expect("a socket");
    session.begin(&mut socket);
    if !load.is_paced {
        for _ in 0..load.total / load.frames.len() {
            socket.write_all(&load.block).expect("the client reads");
        }
        return;
    }
    let mut wire = Vec::new();
    // The client comes to its loop meanwhile.
    let mut due = mono_now().0 + 10_000_000;
    for (frame, sent) in load.frames.iter().zip(sent) {
        session.seal(frame, &mut wire);
        while mono_now().0 < due {
            std::hint::spin_loop();
        }
        // What was held up is not caught up with: a queue is no pace.
        due = due.max(mono_now().0 - PACE_NS) + PACE_NS;
        sent.store(mono_now().0, Ordering::Release);
        socket.write_all(&wire).expect("the client reads");
    }
}
