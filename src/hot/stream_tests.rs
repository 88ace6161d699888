//! Tests of the TLS stream against a real rustls server over loopback, whoever opens the records: one record a call,
//! however the bytes come.

use super::*;
use crate::hot::connection::{Closed, ClosedBy, ConnectionSettings, HotConnection};
use crate::limits::{READ_BUFFER_BYTES, VISIT_BYTES_MAX};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message as PeerMessage, WebSocket};

/// The server's end: rustls' buffered connection, and its socket.
pub(in crate::hot) struct Peer {
    pub(in crate::hot) tls: ServerConnection,
    socket: TcpStream,
}

impl Peer {
    /// The records of these pieces, one each (more where a piece is longer than a record).
    fn records(&mut self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut ciphertext = Vec::new();
        for piece in pieces {
            self.tls.writer().write_all(piece).expect("room");
            while self.tls.wants_write() {
                self.tls.write_tls(&mut ciphertext).expect("a vector takes it");
            }
        }
        ciphertext
    }

    pub(in crate::hot) fn say(&mut self, pieces: &[&[u8]]) {
        let ciphertext = self.records(pieces);
        self.socket.write_all(&ciphertext).expect("written");
    }

    /// Reads exactly these many plaintext bytes.
    fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut plaintext = vec![0; count];
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.socket);
        stream.read_exact(&mut plaintext).expect("heard");
        plaintext
    }
}

/// Repeats `act` until it answers; a test that hangs fails instead.
fn until<T>(mut act: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = act() {
            return value;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "nothing came");
        thread::yield_now();
    }
}

/// Bytes of the record that these bytes begin with, if it is whole.
fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low, body @ ..] = bytes else { return None };
    let body_bytes = usize::from(u16::from_be_bytes([*high, *low]));
    (body.len() >= body_bytes).then_some(5 + body_bytes)
}

/// The client's handshake, blocking, as the cold side does it, shown one record after the other: the session and the
/// ciphertext it did not see.
fn shake_hands(socket: &mut TcpStream, config: ClientConfig) -> (UnbufferedClientConnection, Vec<u8>) {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut session = UnbufferedClientConnection::new(Arc::new(config), name).expect("a session");
    let (mut incoming, mut outgoing, mut shown) = (Vec::new(), Vec::new(), 0);
    loop {
        let UnbufferedStatus { discard, state } = session.process_tls_records(&mut incoming[..shown]);
        let (mut wants_more, mut is_done) = (false, false);
        match state.expect("a handshake") {
            ConnectionState::EncodeTlsData(mut data) => {
                let mut record = vec![0; 32 * 1024];
                let encoded = data.encode(&mut record).expect("room");
                outgoing.extend_from_slice(&record[..encoded]);
            }
            ConnectionState::TransmitTlsData(data) => {
                socket.write_all(&outgoing).expect("written");
                outgoing.clear();
                data.done();
            }
            ConnectionState::BlockedHandshake => wants_more = true,
            ConnectionState::WriteTraffic(_) => is_done = true,
            other => panic!("unexpected {other:?}"),
        }
        incoming.drain(..discard);
        shown -= discard;
        if is_done {
            return (session, incoming);
        }
        if let (true, Some(bytes)) = (wants_more, record_bytes(&incoming[shown..])) {
            shown += bytes;
        } else if wants_more {
            let mut bytes = [0; 4096];
            let count = socket.read(&mut bytes).expect("read");
            assert!(count > 0, "the server closed");
            incoming.extend_from_slice(&bytes[..count]);
        }
    }
}

/// A client after its handshake, with what it has read too much, and the server's end.
fn handshaken(
    version: &'static SupportedProtocolVersion,
    record_bytes_max: Option<usize>,
) -> (TcpStream, UnbufferedClientConnection, Vec<u8>, Peer) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a server");
    server.max_fragment_size = record_bytes_max;
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).expect("a root");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let mut ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (mut socket, _) = listener.accept().expect("accepts");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    let server = thread::spawn(move || {
        let mut tls = ServerConnection::new(Arc::new(server)).expect("a session");
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut socket).expect("a handshake");
        }
        tls.set_buffer_limit(None);
        Peer { tls, socket }
    });
    let (session, ciphertext) = shake_hands(&mut ours, client);
    (ours, session, ciphertext, server.join().expect("a peer"))
}

/// Which of them open records of which version.
const VERSIONS_AND_OPENERS: [(&SupportedProtocolVersion, RecordOpener); 3] =
    [(&TLS13, RecordOpener::Rustls), (&TLS12, RecordOpener::Rustls), (&TLS13, RecordOpener::InPlace)];

/// Both of them.
const OPENERS: [RecordOpener; 2] = [RecordOpener::Rustls, RecordOpener::InPlace];

fn stream_by(
    opener: RecordOpener,
    socket: TcpStream,
    session: UnbufferedClientConnection,
    ciphertext: &[u8],
) -> Stream {
    let stream = match opener {
        RecordOpener::Rustls => Stream::tls(socket, session, ciphertext),
        RecordOpener::InPlace => {
            let mut records = InPlaceRecords::new(session, ciphertext.to_vec()).expect("TLS 1.3");
            // As the cold side hands it over.
            assert!(records.hand_over(&ReadBuffer::new()).is_empty());
            Stream::tls_in_place(socket, Box::new(records))
        }
    };
    stream.expect("non-blocking")
}

pub(in crate::hot) fn pair(opener: RecordOpener) -> (Stream, Peer) {
    let (socket, session, ciphertext, peer) = handshaken(&TLS13, None);
    (stream_by(opener, socket, session, &ciphertext), peer)
}

/// The next outcome that is not "nothing now".
fn next(stream: &mut Stream, buffer: &mut ReadBuffer) -> Result<ReadOutcome, StreamError> {
    until(|| match stream.read(buffer, VISIT_BYTES_MAX) {
        Ok(ReadOutcome::WouldBlock) => None,
        outcome => Some(outcome),
    })
}

/// Takes what is pending.
fn taken(buffer: &mut ReadBuffer) -> Vec<u8> {
    let bytes = buffer.pending().to_vec();
    buffer.take(0, bytes.len());
    bytes
}

/// Reads until `count` plaintext bytes have come.
fn read_exactly(stream: &mut Stream, count: usize) -> Vec<u8> {
    let (mut buffer, mut bytes) = (ReadBuffer::new(), Vec::new());
    while bytes.len() < count {
        assert!(matches!(next(stream, &mut buffer), Ok(ReadOutcome::Bytes(_))));
        bytes.extend(taken(&mut buffer));
    }
    bytes
}

#[test]
fn a_burst_of_a_hundred_records_is_delivered_one_by_one() {
    for opener in OPENERS {
        let (mut stream, mut peer) = pair(opener);
        let pieces: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; 1 + usize::from(number)]).collect();
        peer.say(&pieces.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut buffer = ReadBuffer::new();
        let mut unread_socket_count = 0;
        for piece in &pieces {
            unread_socket_count += u32::from(stream.has_buffered(&buffer));
            assert_eq!(next(&mut stream, &mut buffer), Ok(ReadOutcome::Bytes(piece.len())));
            assert_eq!(&taken(&mut buffer), piece);
        }
        assert!(unread_socket_count > 0, "records were opened without a look at the socket");
        assert!(!stream.has_buffered(&buffer));
        assert_eq!(stream.read(&mut buffer, VISIT_BYTES_MAX), Ok(ReadOutcome::WouldBlock));
    }
}

#[test]
fn ciphertext_that_comes_byte_by_byte_is_opened_when_its_record_is_whole() {
    for (version, opener) in VERSIONS_AND_OPENERS {
        let (socket, session, ciphertext, mut peer) = handshaken(version, None);
        let mut stream = stream_by(opener, socket, session, &ciphertext);
        let mut buffer = ReadBuffer::new();
        let ciphertext = peer.records(&[b"first", b"second"]);
        for byte in ciphertext {
            peer.socket.write_all(&[byte]).expect("written");
            let outcome = stream.read(&mut buffer, VISIT_BYTES_MAX).expect("open");
            assert!(matches!(outcome, ReadOutcome::WouldBlock | ReadOutcome::Bytes(_)));
        }
        while buffer.pending().len() < 11 {
            assert!(matches!(next(&mut stream, &mut buffer), Ok(ReadOutcome::Bytes(_))));
        }
        assert_eq!(buffer.pending(), b"firstsecond", "{version:?} {opener:?}");
    }
}

#[test]
fn a_frame_that_straddles_records_is_one_message() {
    for opener in OPENERS {
        let (socket, session, ciphertext, mut peer) = handshaken(&TLS13, Some(64));
        let stream = stream_by(opener, socket, session, &ciphertext);
        let mut connection = HotConnection::new(stream, b"", &ConnectionSettings::default()).expect("a connection");
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(5_000).collect();
        let frame = [&[0x81, 126][..], &5_000_u16.to_be_bytes(), &payload].concat();
        peer.say(&[&[&frame[..], &frame].concat()]);
        for _ in 0..2 {
            let received = until(|| {
                if let Some(message) = connection.next_message().expect("open") {
                    return Some(message.payload.to_vec());
                }
                connection.read(VISIT_BYTES_MAX).expect("open");
                None
            });
            assert!(received == payload);
        }
    }
}

#[test]
fn key_updates_of_both_sides_are_followed() {
    for opener in OPENERS {
        let (mut stream, mut peer) = pair(opener);
        for round in 0..3_u8 {
            peer.tls.refresh_traffic_keys().expect("TLS 1.3");
            peer.say(&[&[round; 10]]);
            assert_eq!(read_exactly(&mut stream, 10), [round; 10]);
            // rustls' server asks for ours in return: it goes with the next write.
            assert_eq!(stream.write(&[round; 20]), Ok(20));
            assert_eq!(peer.hear(20), [round; 20]);
        }
    }
}

#[test]
fn ciphertext_the_handshake_left_is_opened_before_the_socket_is_read() {
    for opener in OPENERS {
        let (mut socket, session, mut ciphertext, mut peer) = handshaken(&TLS13, None);
        let sent = peer.records(&[b"with", b"the", b"handshake"]);
        peer.socket.write_all(&sent).expect("written");
        // All of it is read by the cold side, tickets included, until the last record is there.
        while !ciphertext.ends_with(&sent) {
            let mut bytes = [0; 4096];
            let count = socket.read(&mut bytes).expect("read");
            ciphertext.extend_from_slice(&bytes[..count]);
        }
        let mut stream = stream_by(opener, socket, session, &ciphertext);
        let mut buffer = ReadBuffer::new();
        assert!(stream.has_buffered(&buffer), "although the socket is silent");
        for piece in ["with", "the", "handshake"] {
            assert_eq!(stream.read(&mut buffer, VISIT_BYTES_MAX), Ok(ReadOutcome::Bytes(piece.len())));
            assert_eq!(taken(&mut buffer), piece.as_bytes());
        }
        assert!(!stream.has_buffered(&buffer));
    }
}

#[test]
fn a_hand_over_inside_a_ticket_that_spans_records_is_followed() {
    for opener in OPENERS {
        let mut cut = 0;
        loop {
            // Records of 64 bytes, so that every ticket spans several and rustls joins them where they lie.
            let (mut socket, session, mut ciphertext, mut peer) = handshaken(&TLS13, Some(64));
            let sent = peer.records(&[b"x"]);
            peer.socket.write_all(&sent).expect("written");
            let handshake_left_bytes = ciphertext.len();
            while !ciphertext.ends_with(&sent) {
                let mut bytes = [0; 4096];
                let count = socket.read(&mut bytes).expect("read");
                ciphertext.extend_from_slice(&bytes[..count]);
            }
            let (handed, rest) = ciphertext.split_at((handshake_left_bytes + cut).min(ciphertext.len()));
            let mut stream = stream_by(opener, socket, session, handed);
            assert_eq!(stream.write(b"hello"), Ok(5), "cut at {cut}");
            peer.socket.write_all(rest).expect("written");
            assert_eq!(read_exactly(&mut stream, 1), b"x", "cut at {cut}");
            assert_eq!(peer.hear(5), b"hello", "cut at {cut}");
            if rest.is_empty() {
                break;
            }
            cut += 29;
        }
    }
}

#[test]
fn a_write_while_records_wait_opens_none_of_them() {
    for opener in OPENERS {
        let (mut stream, mut peer) = pair(opener);
        peer.say(&[b"one", b"two", b"three"]);
        let mut buffer = ReadBuffer::new();
        assert_eq!(next(&mut stream, &mut buffer), Ok(ReadOutcome::Bytes(3)));
        assert_eq!(stream.write(b"in between"), Ok(10));
        assert_eq!(peer.hear(10), b"in between");
        assert_eq!(buffer.pending(), b"one");
        assert_eq!(next(&mut stream, &mut buffer), Ok(ReadOutcome::Bytes(3)));
        assert_eq!(next(&mut stream, &mut buffer), Ok(ReadOutcome::Bytes(5)));
        assert_eq!(buffer.pending(), b"onetwothree");
    }
}

#[test]
fn a_record_with_one_bit_changed_is_refused_and_the_peer_is_told() {
    for opener in OPENERS {
        let (mut stream, mut peer) = pair(opener);
        let mut ciphertext = peer.records(&[b"authentic"]);
        *ciphertext.last_mut().expect("bytes") ^= 1;
        peer.socket.write_all(&ciphertext).expect("written");
        let mut buffer = ReadBuffer::new();
        assert_eq!(next(&mut stream, &mut buffer), Err(StreamError::TlsBadRecord));
        assert_eq!(StreamError::TlsBadRecord.name(), "tls_bad_record");
        assert!(buffer.pending().is_empty());
        let error = peer.tls.complete_io(&mut peer.socket).expect_err("an alert");
        assert!(error.to_string().contains("fatal alert"), "{error}");
    }
}

#[test]
fn a_record_longer_than_the_protocol_allows_is_refused() {
    for opener in OPENERS {
        let (mut stream, mut peer) = pair(opener);
        peer.socket.write_all(&[0x17, 3, 3, 0xFF, 0xFF]).expect("written");
        peer.socket.write_all(&[0; 30_000]).expect("written");
        let mut buffer = ReadBuffer::new();
        let closed = until(|| stream.read(&mut buffer, VISIT_BYTES_MAX).err());
        assert_eq!(closed, StreamError::TlsBadRecord);
    }
}

#[test]
fn close_notify_and_a_bare_end_both_end_the_stream_after_what_came_before() {
    for opener in OPENERS {
        for is_notified in [true, false] {
            let (mut stream, mut peer) = pair(opener);
            peer.say(&[b"last"]);
            if is_notified {
                peer.tls.send_close_notify();
                peer.tls.write_tls(&mut peer.socket).expect("written");
            } else {
                drop(peer);
            }
            let mut buffer = ReadBuffer::new();
            assert_eq!(next(&mut stream, &mut buffer), Ok(ReadOutcome::Bytes(4)));
            assert_eq!(next(&mut stream, &mut buffer), Ok(ReadOutcome::End));
            assert_eq!(next(&mut stream, &mut buffer), Ok(ReadOutcome::End));
        }
    }
}

#[test]
fn shutting_down_says_close_notify() {
    for opener in OPENERS {
        let (mut stream, mut peer) = pair(opener);
        stream.shut_down();
        let mut rest = Vec::new();
        let mut server = rustls::Stream::new(&mut peer.tls, &mut peer.socket);
        assert_eq!(server.read_to_end(&mut rest).expect("a notified end, not a truncation"), 0);
    }
}

#[test]
fn a_full_read_buffer_takes_no_record_and_loses_none() {
    for opener in OPENERS {
        let (mut stream, mut peer) = pair(opener);
        peer.say(&[b"kept"]);
        let mut buffer = ReadBuffer::new();
        assert!(buffer.append(&vec![0; READ_BUFFER_BYTES - 20]));
        for _ in 0..10 {
            assert_eq!(stream.read(&mut buffer, VISIT_BYTES_MAX), Ok(ReadOutcome::WouldBlock));
        }
        taken(&mut buffer);
        assert_eq!(next(&mut stream, &mut buffer), Ok(ReadOutcome::Bytes(4)));
        assert_eq!(buffer.pending(), b"kept");
    }
}

#[test]
fn what_a_slow_peer_does_not_take_waits_and_arrives_whole() {
    for opener in OPENERS {
        let (mut stream, mut peer) = pair(opener);
        let socket = socket2::SockRef::from(stream.socket());
        socket.set_send_buffer_size(8 * 1024).expect("a small send buffer");
        let plaintext: Vec<u8> = (0..=250_u8).cycle().take(4_000_000).collect();
        let mut accepted = stream.write(&plaintext).expect("open");
        assert!(accepted < plaintext.len() && stream.has_unsent());
        assert_eq!(stream.write(&plaintext[accepted..]), Ok(0), "nothing is accepted before the remainder is sent");
        let reader = thread::spawn(move || peer.hear(4_000_000));
        until(|| {
            accepted += stream.write(&plaintext[accepted..]).expect("open");
            (accepted == plaintext.len() && stream.flush().expect("open")).then_some(())
        });
        assert!(reader.join().expect("heard") == plaintext);
        assert!(!stream.has_unsent());
    }
}

#[test]
fn a_connection_over_tls_echoes_and_closes() {
    for (version, opener) in VERSIONS_AND_OPENERS {
        let (socket, session, ciphertext, Peer { tls, socket: theirs }) = handshaken(version, None);
        let stream = stream_by(opener, socket, session, &ciphertext);
        let settings = ConnectionSettings { write_buffer_bytes: 1 << 20, ..ConnectionSettings::default() };
        let mut connection = HotConnection::new(stream, b"", &settings).expect("a connection");
        let server = thread::spawn(move || {
            let mut peer = WebSocket::from_raw_socket(StreamOwned::new(tls, theirs), Role::Server, None);
            for length in [1, 100, 1_000, 100_000, 300_000] {
                let text = "x".repeat(length);
                peer.send(PeerMessage::Ping("p".into())).expect("sent");
                peer.send(PeerMessage::text(text.clone())).expect("sent");
                assert_eq!(peer.read().expect("read"), PeerMessage::Pong("p".into()));
                assert_eq!(peer.read().expect("read"), PeerMessage::text(text));
            }
            peer.close(None).expect("sent");
            while peer.read().is_ok() {}
        });
        let closed = until(|| {
            connection.flush().expect("open");
            let message = match connection.next_message() {
                Ok(Some(message)) => message.payload.to_vec(),
                Ok(None) => return connection.read(VISIT_BYTES_MAX).err(),
                Err(closed) => return Some(closed),
            };
            connection.send_text(&message).expect("fits");
            None
        });
        assert_eq!(closed, Closed { code: None, by: ClosedBy::Peer });
        server.join().expect("the server saw what it wanted");
    }
}

#[test]
fn the_records_of_one_receive_share_its_stamp_and_the_kernels_is_given_with_the_first() {
    for opener in OPENERS {
        let (mut stream, mut peer) = pair(opener);
        stream.stamp_in_kernel().expect("a TCP socket");
        let mut buffer = ReadBuffer::new();
        let mut has_stamp = false;
        // The kernel begins to stamp a moment after it is asked, and a write may come in two receives.
        for _ in 0..10_000 {
            peer.say(&[b"one", b"two", b"three"]);
            let mut stamps = Vec::new();
            let mut is_one_receive = true;
            for piece in ["one", "two", "three"] {
                is_one_receive &= piece == "one" || stream.has_buffered(&buffer);
                assert_eq!(next(&mut stream, &mut buffer), Ok(ReadOutcome::Bytes(piece.len())));
                assert_eq!(taken(&mut buffer), piece.as_bytes());
                stamps.push((stream.received_at(), stream.take_kernel_stamp().is_some()));
            }
            assert!(stamps.is_sorted_by_key(|stamp| stamp.0), "{stamps:?}");
            if is_one_receive {
                assert!(stamps.iter().all(|stamp| stamp.0 == stamps[0].0), "{stamps:?}");
                assert!(!stamps[1].1 && !stamps[2].1, "once: {stamps:?}");
            }
            has_stamp |= is_one_receive && stamps[0].1;
            if has_stamp {
                break;
            }
        }
        assert!(has_stamp, "the kernel stamps");
    }
}

#[test]
fn what_the_handshake_had_received_is_stamped_when_it_is_taken() {
    for opener in OPENERS {
        let (mut socket, session, mut ciphertext, mut peer) = handshaken(&TLS13, None);
        let sent = peer.records(&[b"early"]);
        peer.socket.write_all(&sent).expect("written");
        while !ciphertext.ends_with(&sent) {
            let mut bytes = [0; 4096];
            let count = socket.read(&mut bytes).expect("read");
            ciphertext.extend_from_slice(&bytes[..count]);
        }
        let mut stream = stream_by(opener, socket, session, &ciphertext);
        let made_at = stream.received_at();
        let mut buffer = ReadBuffer::new();
        assert_eq!(stream.read(&mut buffer, VISIT_BYTES_MAX), Ok(ReadOutcome::Bytes(5)));
        assert!(stream.received_at() > made_at, "no earlier than the core had it");
        assert_eq!(stream.take_kernel_stamp(), None);
    }
}

#[test]
fn a_key_of_ours_that_has_sealed_its_share_is_changed_before_the_next_record() {
    let (socket, session, ciphertext, mut peer) = handshaken(&TLS13, None);
    let mut records = InPlaceRecords::new(session, ciphertext).expect("TLS 1.3");
    assert_eq!(records.sealed_records_max(), (1 << 24) - 4, "AES-GCM's, RFC 8446 section 5.5");
    records.limit_sealed_records(3);
    let mut stream = Stream::tls_in_place(socket, Box::new(records)).expect("non-blocking");
    for round in 0..20_u8 {
        assert_eq!(stream.write(&[round; 5]), Ok(5));
        assert_eq!(peer.hear(5), [round; 5]);
    }
    // It asked for no change of the peer's key, and the peer made none.
    peer.say(&[b"same key"]);
    assert_eq!(read_exactly(&mut stream, 8), b"same key");
}

#[test]
fn a_session_that_has_opened_records_behind_its_handshake_is_not_taken_over() {
    let (mut socket, mut session, mut ciphertext, mut peer) = handshaken(&TLS13, None);
    let sent = peer.records(&[b"x"]);
    peer.socket.write_all(&sent).expect("written");
    while !ciphertext.ends_with(&sent) {
        let mut bytes = [0; 4096];
        let count = socket.read(&mut bytes).expect("read");
        ciphertext.extend_from_slice(&bytes[..count]);
    }
    let UnbufferedStatus { state, .. } = session.process_tls_records(&mut ciphertext);
    assert!(matches!(state, Ok(ConnectionState::ReadTraffic(_))));
    let error = InPlaceRecords::new(session, Vec::new()).expect_err("tickets were opened");
    assert!(error.to_string().contains("rustls has opened records behind the handshake"), "{error}");
}

#[test]
fn a_session_of_tls_1_2_says_why_it_is_not_taken_over() {
    let (_socket, session, ciphertext, _peer) = handshaken(&TLS12, None);
    assert_eq!(InPlaceRecords::obstacle(&session), Some("the server speaks no TLS 1.3"));
    let error = InPlaceRecords::new(session, ciphertext).expect_err("TLS 1.2");
    assert!(error.to_string().contains("speaks no TLS 1.3"), "{error}");
}
