//! Any conversation of a TLS 1.3 server, authentic or not, in any pieces, through the record layer that opens in place,
//! against what RFC 8446 says must come of it. The body of the fuzz target and of its seeded test.
//!
//! ```text
//! input: suite, piece, what the reader leaves, then acts: data, padding, empty records, tickets, key updates, alerts,
//!        forbidden types, flipped bits, headers that are none
//! ```
//! The oracle knows each act: the plaintext that may come, and the error, if any, that ends it. Not a byte of plaintext
//! more or less, not another error, and the answers the peer is owed.

use super::tls_peer::{ALERT, APPLICATION_DATA, HANDSHAKE, Peer, SUITES, session};
use tickwire::hot::read_buffer::ReadBuffer;
use tickwire::hot::{InPlaceRecords, ReadOutcome, Records, StreamError};

/// Empty records, key updates and warnings that may follow each other.
const IDLE_RECORDS_MAX: u32 = 32;
/// Most plaintext of a record, and most bytes behind its header.
const PLAINTEXT_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 16 * 1024 + 256;
/// A reader leaves at most this much: what the frame cursor leaves.
const LEFT_BYTES_MAX: usize = 60_000;

/// Takes the input apart; zeros once it is used up.
struct Input<'i>(&'i [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn word(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }
}

/// What must come of it.
#[derive(Default)]
struct Oracle {
    plaintext: Vec<u8>,
    /// `Ok`: close_notify.
    end: Option<Result<(), StreamError>>,
    idle: u32,
    key_updates: u64,
    tickets: u64,
    /// Key updates of ours that the peer is owed.
    answers: usize,
    is_midway: bool,
    /// The alert that tells the peer what it did.
    alert: Option<u8>,
}

impl Oracle {
    fn refuse(&mut self, error: StreamError, alert: u8) {
        (self.end, self.alert) = (Some(Err(error)), Some(alert));
    }

    fn idle(&mut self) -> bool {
        self.idle += 1;
        if self.idle > IDLE_RECORDS_MAX {
            self.refuse(StreamError::TlsProtocol, 10);
        }
        self.idle <= IDLE_RECORDS_MAX
    }
}

/// The server's side of the conversation, and what must come of it.
struct Scene {
    peer: Peer,
    wire: Vec<u8>,
    oracle: Oracle,
    said: u8,
}

impl Scene {
    fn data(&mut self, length_bytes: usize, padding_bytes: usize) {
        self.said = self.said.wrapping_add(1);
        let content: Vec<u8> = (0..length_bytes).map(|at| self.said.wrapping_mul(31) ^ at.to_le_bytes()[0]).collect();
        self.wire.extend(self.peer.sealing.seal(APPLICATION_DATA, &content, padding_bytes));
        if length_bytes + padding_bytes > PLAINTEXT_BYTES_MAX {
            self.oracle.refuse(StreamError::TlsBadRecord, 22);
        } else if self.oracle.is_midway {
            self.oracle.refuse(StreamError::TlsProtocol, 10);
        } else if length_bytes > 0 {
            self.oracle.plaintext.extend(content);
            self.oracle.idle = 0;
        } else {
            self.oracle.idle();
        }
    }

    /// A handshake message in records of this many bytes.
    fn handshake(&mut self, message: &[u8], piece_bytes: usize) {
        for piece in message.chunks(piece_bytes) {
            self.wire.extend(self.peer.sealing.seal(HANDSHAKE, piece, 0));
        }
    }

    fn key_update(&mut self, is_requested: bool, piece_bytes: usize) {
        self.handshake(&[24, 0, 0, 1, u8::from(is_requested)], piece_bytes);
        self.peer.next_sealing_key();
        if self.oracle.idle() {
            self.oracle.key_updates += 1;
            self.oracle.answers += usize::from(is_requested);
        }
    }

    fn act(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=4 => {
                let length_bytes = usize::from(input.byte());
                self.data(length_bytes.max(1), usize::from(input.byte() % 4));
            }
            5 => self.data((input.word() % PLAINTEXT_BYTES_MAX).max(1), 0),
            6 => {
                // From the longest allowed to beyond it: the type takes a byte, the tag 16.
                let length_bytes = PLAINTEXT_BYTES_MAX - usize::from(input.byte() % 8);
                self.data(length_bytes, usize::from(input.byte() % 16));
            }
            7 => self.data(0, usize::from(input.byte() % 4)),
            8 => {
                let body = vec![7; input.word() % 3_000];
                let [_, high, middle, low] = u32::try_from(body.len()).expect("short").to_be_bytes();
                self.handshake(&[&[4, high, middle, low], &body[..]].concat(), 1 + input.word() % 400);
                self.oracle.tickets += 1;
            }
            9 => self.key_update(input.byte() % 2 == 1, 5),
            10 => self.key_update(input.byte() % 2 == 1, 1 + usize::from(input.byte() % 5)),
            11 => self.forbidden(input),
            12 => self.tampered(input),
            13 => self.no_record(input),
            14 => {
                self.wire.extend(self.peer.sealing.seal(ALERT, &[1, 90], 0));
                self.oracle.idle();
            }
            _ => {
                let description = input.byte();
                self.wire.extend(self.peer.sealing.seal(ALERT, &[2, description], 0));
                self.oracle.end = match description {
                    0 => Some(Ok(())),
                    90 => {
                        self.oracle.idle();
                        return;
                    }
                    description => Some(Err(StreamError::TlsAlert { description })),
                };
            }
        }
    }

    /// An authentic record that the protocol forbids.
    fn forbidden(&mut self, input: &mut Input<'_>) {
        let choice = input.byte() % 10;
        if choice == 9 {
            self.handshake(&[4, 0, 0, 9, 1], 1 + usize::from(input.byte() % 5));
            self.oracle.is_midway = true;
            return self.data(usize::from(input.byte() % 3), 0);
        }
        let (kind, content, error, alert): (u8, &[u8], _, _) = match choice {
            0 => (0, &[], StreamError::TlsProtocol, 10),
            1 => (20, &[1], StreamError::TlsProtocol, 10),
            2 => (24, b"beat", StreamError::TlsProtocol, 10),
            3 => (HANDSHAKE, &[], StreamError::TlsProtocol, 10),
            4 => (HANDSHAKE, &[24, 0, 0, 1, 2], StreamError::TlsBadRecord, 47),
            5 => (HANDSHAKE, &[24, 0, 0, 2, 0, 0], StreamError::TlsBadRecord, 50),
            6 => (HANDSHAKE, &[0, 0, 0, 0], StreamError::TlsProtocol, 10),
            7 => (ALERT, &[2], StreamError::TlsBadRecord, 50),
            // A key update that does not end its record.
            _ => (HANDSHAKE, &[24, 0, 0, 1, 0, 4], StreamError::TlsProtocol, 10),
        };
        self.wire.extend(self.peer.sealing.seal(kind, content, 0));
        self.oracle.refuse(error, alert);
    }

    /// A record of which one bit is another than the peer sealed.
    fn tampered(&mut self, input: &mut Input<'_>) {
        let mut record = self.peer.data(&vec![b'x'; 1 + usize::from(input.byte())]);
        // Not the length: what that does depends on what follows.
        let places: Vec<usize> = (1..record.len()).filter(|at| !(3..5).contains(at)).collect();
        let at = places[input.word() % places.len()];
        record[at] ^= 1 << (input.byte() % 8);
        self.wire.extend(record);
        self.oracle.refuse(StreamError::TlsBadRecord, 20);
    }

    fn no_record(&mut self, input: &mut Input<'_>) {
        let (kind, body_bytes) = match input.byte() % 3 {
            0 => (input.byte(), BODY_BYTES_MAX),
            1 => (APPLICATION_DATA, BODY_BYTES_MAX + 1 + input.word() % 40_000),
            _ => (APPLICATION_DATA, usize::from(input.byte() % 17)),
        };
        let [high, low] = u16::try_from(body_bytes).expect("below 65536").to_be_bytes();
        self.wire.extend([kind, 3, 3, high, low]);
        self.wire.extend(vec![0x5A; body_bytes]);
        match (kind, body_bytes) {
            (APPLICATION_DATA, BODY_BYTES_MAX) => self.oracle.refuse(StreamError::TlsBadRecord, 20),
            (APPLICATION_DATA, ..=16) => self.oracle.refuse(StreamError::TlsBadRecord, 50),
            (APPLICATION_DATA, _) => self.oracle.refuse(StreamError::TlsBadRecord, 22),
            _ => self.oracle.refuse(StreamError::TlsProtocol, 10),
        }
    }
}

/// The client's side: what it read, and how it ended.
struct Reader {
    records: InPlaceRecords,
    buffer: ReadBuffer,
    plaintext: Vec<u8>,
    sent: Vec<u8>,
    end: Option<Result<(), StreamError>>,
    left_bytes: usize,
}

impl Reader {
    /// Opens all that is received, and takes what is pending but for `left_bytes`.
    fn drain(&mut self) {
        loop {
            let opened = self.records.open_next(&mut self.buffer);
            self.sent.extend_from_slice(self.records.outgoing().used());
            let sent_bytes = self.records.outgoing().used().len();
            self.records.outgoing_mut().discard(sent_bytes);
            match opened {
                Ok(Some(ReadOutcome::Bytes(bytes))) => assert!(bytes > 0 && self.buffer.pending().len() >= bytes),
                Ok(Some(ReadOutcome::WouldBlock)) => {}
                Ok(Some(ReadOutcome::End)) => return self.end = Some(Ok(())),
                Ok(None) => return,
                Err(error) => return self.end = Some(Err(error)),
            }
            let pending = self.buffer.pending();
            let taken = pending.len().saturating_sub(self.left_bytes);
            self.plaintext.extend_from_slice(&pending[..taken]);
            self.buffer.consume(taken);
        }
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.end.is_none() {
            let free = self.records.free(&mut self.buffer).expect("no limit of its own");
            assert!(!free.is_empty(), "a partial frame and a partial record never block the next read");
            let count = free.len().min(bytes.len());
            free[..count].copy_from_slice(&bytes[..count]);
            self.records.received(&mut self.buffer, count);
            bytes = &bytes[count..];
            self.drain();
        }
    }
}

/// One case.
pub(crate) fn run(input: &[u8]) {
    let mut input = Input(input);
    let (mut records, peer) = session(usize::from(input.byte()) % SUITES.len());
    let buffer = ReadBuffer::new();
    assert!(records.hand_over(&buffer).is_empty());
    let piece_bytes = 1 + input.word() % 40_000;
    let left_bytes = input.word() % LEFT_BYTES_MAX;
    let mut scene = Scene { peer, wire: Vec::new(), oracle: Oracle::default(), said: 0 };
    while !input.0.is_empty() && scene.oracle.end.is_none() && scene.wire.len() < 1 << 20 {
        scene.act(&mut input);
    }
    let Scene { mut peer, mut wire, oracle, .. } = scene;
    if oracle.end.is_some() {
        // Nothing behind the end may come through.
        wire.extend(peer.data(b"behind the end"));
    }

    let mut reader = Reader { records, buffer, plaintext: Vec::new(), sent: Vec::new(), end: None, left_bytes };
    for piece in wire.chunks(piece_bytes) {
        reader.receive(piece);
    }
    reader.plaintext.extend_from_slice(reader.buffer.pending());
    assert_eq!(reader.end, oracle.end);
    assert!(reader.plaintext == oracle.plaintext, "{} bytes for {}", reader.plaintext.len(), oracle.plaintext.len());
    let counts = reader.records.take_counts().unwrap_or_default();
    assert_eq!((counts.key_updates, counts.tickets_dropped), (oracle.key_updates, oracle.tickets));

    let mut expected = vec![(HANDSHAKE, vec![24, 0, 0, 1, 0]); oracle.answers];
    expected.extend(oracle.alert.map(|description| (ALERT, vec![2, description])));
    assert_eq!(peer.hear(&reader.sent), expected);
    if !matches!(reader.end, Some(Err(_))) {
        assert_eq!(reader.records.seal(b"still heard"), Ok(11));
        assert_eq!(peer.hear(reader.records.outgoing().used()), [(APPLICATION_DATA, b"still heard".to_vec())]);
    }
    // What has ended stays so.
    if let Some(end) = reader.end {
        let again = reader.records.open_next(&mut reader.buffer);
        assert_eq!(again, end.map(|()| Some(ReadOutcome::End)));
    }
}
