//! Ways from the ciphertext of TLS 1.3 records to their frames, in memory, AES-128-GCM: what `benches/tls.rs` and the race
//! in `benches/peers` both measure. Each contender copies what it receives once, in the place of `recv`.

use crate::tls_peer::{APPLICATION_DATA, Key, Peer, SUITES, configs};
use std::cell::RefCell;
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tickwire::hot::frame::{Frame, FrameCursor};
use tickwire::hot::read_buffer::ReadBuffer;
use tickwire::hot::{ReadOutcome, Records};
use tickwire::limits::{MESSAGE_BYTES_DEFAULT, VISIT_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PAYLOAD_BYTES: usize = 150;
pub(crate) const FRAME_BYTES: usize = PAYLOAD_BYTES + 4;
/// Header, frame, type, tag.
pub(crate) const RECORD_BYTES: usize = 5 + FRAME_BYTES + 1 + 16;
/// Records of one batch.
pub(crate) const BATCH: usize = 512;

/// How many messages, and the sum of their first and last bytes.
pub(crate) type Answer = (usize, u64);

pub(crate) fn add(answer: &mut Answer, payload: &[u8]) {
    answer.0 += 1;
    answer.1 += u64::from(payload[0]) + u64::from(payload[payload.len() - 1]);
}

/// The frames of one batch, all different.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let frame = |number: usize| {
        let mut frame = vec![0x81, 126, 0, u8::try_from(PAYLOAD_BYTES).expect("below 256")];
        frame.extend((0..PAYLOAD_BYTES).map(|at| b'a' + u8::try_from((at + number) % 26).expect("below 26")));
        frame
    };
    (0..BATCH).map(frame).collect()
}

/// What there is to be seen in these frames.
pub(crate) fn answer_of(frames: &[Vec<u8>]) -> Answer {
    let mut answer = (0, 0);
    frames.iter().for_each(|frame| add(&mut answer, &frame[4..]));
    answer
}

/// One way from ciphertext to frames.
pub(crate) trait Contender {
    /// The next records of its session, one a frame.
    fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8>;
    /// Opens them as they come, in pieces of at most so many bytes.
    fn open(&mut self, wire: &[u8], piece_bytes: usize) -> Answer;
}

/// The AEAD alone, in place, by a loop that knows every record to be of one length.
pub(crate) struct Floor {
    sealing: Key,
    opening: Key,
    buffer: Vec<u8>,
}

impl Floor {
    pub(crate) fn new() -> Self {
        Self { sealing: Key::known(), opening: Key::known(), buffer: vec![0; VISIT_BYTES_MAX] }
    }
}

impl Contender for Floor {
    fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|frame| self.sealing.seal(APPLICATION_DATA, frame, 0)).collect()
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

/// This engine's record layer, either of them, and its frame cursor.
pub(crate) struct Ours<R> {
    records: R,
    peer: Peer,
    buffer: ReadBuffer,
    cursor: FrameCursor,
}

impl<R> Ours<R> {
    pub(crate) fn new((records, peer): (R, Peer)) -> Self {
        Self { records, peer, buffer: ReadBuffer::new(), cursor: FrameCursor::new(MESSAGE_BYTES_DEFAULT, false) }
    }
}

pub(crate) fn drain(cursor: &mut FrameCursor, buffer: &mut ReadBuffer, answer: &mut Answer) {
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

/// The two directions of a connection in memory. The client is given no more than what has come so far.
#[derive(Default)]
pub(crate) struct Wires {
    to_client: Vec<u8>,
    taken: usize,
    come: usize,
    to_server: Vec<u8>,
}

pub(crate) struct Pipe(Rc<RefCell<Wires>>);

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let wires = &mut *self.0.borrow_mut();
        let count = (wires.come - wires.taken).min(out.remaining());
        if count == 0 {
            return Poll::Pending;
        }
        out.put_slice(&wires.to_client[wires.taken..][..count]);
        wires.taken += count;
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

/// The server's end of a session whose client is tokio-rustls', and what lies between them.
pub(crate) struct Server {
    session: rustls::ServerConnection,
    wires: Rc<RefCell<Wires>>,
}

impl Server {
    /// Both ends after their handshake.
    pub(crate) fn with_client() -> (Self, tokio_rustls::client::TlsStream<Pipe>) {
        let configs = configs(SUITES[0]);
        let wires = Rc::new(RefCell::new(Wires::default()));
        let mut session = rustls::ServerConnection::new(configs.server).expect("a session");
        session.set_buffer_limit(None);
        let mut server = Self { session, wires };
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&configs.client));
        let name = "localhost".try_into().expect("a name");
        let mut connecting = Box::pin(connector.connect(name, Pipe(Rc::clone(&server.wires))));
        let mut context = Context::from_waker(Waker::noop());
        let client = loop {
            if let Poll::Ready(client) = connecting.as_mut().poll(&mut context) {
                break client.expect("a handshake");
            }
            server.hear();
            let mut answer = Vec::new();
            server.write(&mut answer);
            server.bring(&answer);
            server.come(answer.len());
        };
        server.hear();
        (server, client)
    }

    fn hear(&mut self) {
        let said = std::mem::take(&mut self.wires.borrow_mut().to_server);
        let mut said = &said[..];
        while !said.is_empty() {
            self.session.read_tls(&mut said).expect("a slice gives all");
            self.session.process_new_packets().expect("a handshake");
        }
    }

    fn write(&mut self, wire: &mut Vec<u8>) {
        while self.session.wants_write() {
            self.session.write_tls(wire).expect("a vector takes all");
        }
    }

    /// The next records of the session, one a frame.
    pub(crate) fn seal(&mut self, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for frame in frames {
            self.session.writer().write_all(frame).expect("no limit");
            self.write(&mut wire);
        }
        self.bring(&wire);
        wire
    }

    /// What is to come to the client, which was given all that came before.
    fn bring(&mut self, wire: &[u8]) {
        let wires = &mut *self.wires.borrow_mut();
        assert_eq!(wires.taken, wires.to_client.len(), "the client reads all that comes");
        wires.to_client.clear();
        wires.to_client.extend_from_slice(wire);
        (wires.taken, wires.come) = (0, 0);
    }

    /// So many bytes more have come, or all.
    pub(crate) fn come(&self, bytes: usize) {
        let wires = &mut *self.wires.borrow_mut();
        wires.come = wires.to_client.len().min(wires.come + bytes);
    }
}
