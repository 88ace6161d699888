//! Tests of a connection over real loopback sockets; the other end is tungstenite, or raw bytes where it must misbehave.

use super::*;
use crate::hot::frame::DataKind;
use crate::limits::VISIT_BYTES_MAX;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as PeerError, Message as PeerMessage, WebSocket};

/// A connected pair of sockets: ours, the peer's. The peer's blocks, but not for ever.
fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (theirs, _) = listener.accept().expect("accepts");
    theirs.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    (ours, theirs)
}

fn connection(socket: TcpStream, settings: &ConnectionSettings) -> HotConnection {
    HotConnection::new(Stream::plain(socket).expect("non-blocking"), b"", settings).expect("a connection")
}

fn pair() -> (HotConnection, TcpStream) {
    let (ours, theirs) = sockets();
    (connection(ours, &ConnectionSettings::default()), theirs)
}

fn peer(socket: TcpStream) -> WebSocket<TcpStream> {
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    WebSocket::from_raw_socket(socket, Role::Server, Some(config))
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

/// The next message, or why there is none.
fn receive(connection: &mut HotConnection) -> Result<(DataKind, Vec<u8>), Closed> {
    until(|| {
        if let Some(message) = connection.next_message().transpose() {
            return Some(message.map(|message| (message.kind, message.payload.to_vec())));
        }
        connection.read(VISIT_BYTES_MAX).err().map(Err)
    })
}

fn receive_text(connection: &mut HotConnection) -> String {
    let (kind, payload) = receive(connection).expect("a message");
    assert_eq!(kind, DataKind::Text);
    String::from_utf8(payload).expect("text")
}

/// How the connection ends, whatever comes before.
fn ending(connection: &mut HotConnection) -> Closed {
    let closed = until(|| receive(connection).err());
    assert_eq!(connection.next_message().err(), Some(closed), "given again");
    assert_eq!(connection.read(1).err(), Some(closed), "given again");
    assert_eq!(connection.send_text(b"x"), Err(SendError::Closed(closed)));
    closed
}

#[test]
fn a_connection_can_move_to_its_core() {
    fn moves<T: Send>() {}
    moves::<HotConnection>();
}

#[test]
fn messages_cross_in_both_directions_and_are_counted() {
    let (mut connection, socket) = pair();
    let mut peer = peer(socket);
    peer.send(PeerMessage::text("hello")).expect("sent");
    peer.send(PeerMessage::binary(vec![0xFF; 300])).expect("sent");
    assert_eq!(receive_text(&mut connection), "hello");
    assert_eq!(receive(&mut connection), Ok((DataKind::Binary, vec![0xFF; 300])));
    connection.send_text(b"subscribe").expect("queued");
    connection.send_binary(&[1, 2, 3]).expect("queued");
    assert_eq!(peer.read().expect("read"), PeerMessage::text("subscribe"));
    assert_eq!(peer.read().expect("read"), PeerMessage::binary(vec![1, 2, 3]));
    let counters = *connection.counters();
    assert_eq!((counters.messages, counters.messages_sent), (2, 2));
    assert_eq!((counters.bytes_received, counters.bytes_sent), (7 + 304, 15 + 9));
    assert!(connection.has_buffered(), "until it is seen to be drained");
    assert!(connection.next_message().expect("open").is_none());
    assert!(!connection.wants_write() && !connection.has_buffered());
}

#[test]
fn a_ping_is_answered_with_its_payload_between_the_fragments_of_a_message() {
    let (mut connection, mut socket) = pair();
    socket.write_all(b"\x01\x01a\x89\x03hey\x80\x01b").expect("written");
    assert_eq!(receive_text(&mut connection), "ab");
    assert!(connection.next_message().expect("open").is_none());
    assert_eq!(peer(socket).read().expect("read"), PeerMessage::Pong("hey".into()));
    let counters = connection.counters();
    assert_eq!((counters.pings_received, counters.pongs_sent, counters.fragments), (1, 1, 2));
}

#[test]
fn our_ping_gets_its_pong() {
    let (mut connection, socket) = pair();
    let mut peer = peer(socket);
    connection.send_ping(b"beat").expect("queued");
    assert_eq!(peer.read().expect("read"), PeerMessage::Ping("beat".into()));
    peer.flush().expect("the pong is sent");
    until(|| {
        connection.read(VISIT_BYTES_MAX).expect("open");
        assert!(connection.next_message().expect("open").is_none());
        (connection.counters().pongs_received == 1).then_some(())
    });
    let refused = connection.send_ping(&[0; 126]);
    assert_eq!(refused, Err(SendError::ControlTooLong { payload_bytes: 126 }));
}

#[test]
fn the_peers_close_is_answered_with_its_code() {
    let (mut connection, socket) = pair();
    let mut peer = peer(socket);
    peer.close(Some(CloseFrame { code: CloseCode::Restart, reason: "maintenance".into() })).expect("sent");
    let closed = ending(&mut connection);
    assert_eq!(closed, Closed { code: Some(1012), by: ClosedBy::Peer });
    assert!(closed.is_clean());
    assert_eq!((closed.reason_name(), connection.close_reason()), ("closed_by_peer", "maintenance"));
    assert_eq!(closed.to_string(), "closed by the peer (code 1012)");
    let Ok(PeerMessage::Close(Some(answer))) = peer.read() else { panic!("a close frame") };
    assert_eq!(answer.code, CloseCode::Restart);
    assert!(matches!(peer.read(), Err(PeerError::ConnectionClosed)));
}

#[test]
fn a_close_without_a_code_is_answered_without_one_and_nothing_behind_it_is_read() {
    let (mut connection, mut socket) = pair();
    socket.write_all(b"\x88\x00\x81\x04late").expect("written");
    assert_eq!(ending(&mut connection), Closed { code: None, by: ClosedBy::Peer });
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("read");
    assert_eq!((answer.len(), &answer[..2]), (6, &[0x88, 0x80][..]));
    assert_eq!(connection.counters().messages, 0);
}

#[test]
fn our_close_ends_with_the_peers_answer_and_what_it_sent_before_is_delivered() {
    let (mut connection, socket) = pair();
    let mut peer = peer(socket);
    connection.start_close(1000, &"\u{E9}".repeat(100));
    connection.start_close(1001, "a second time");
    assert_eq!(connection.send_text(b"x"), Err(SendError::Closing));
    peer.write(PeerMessage::text("crossing")).expect("queued");
    let Ok(PeerMessage::Close(Some(frame))) = peer.read() else { panic!("a close frame") };
    assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Normal, "\u{E9}".repeat(61).as_str()));
    peer.flush().expect_err("closed after its answer");
    assert_eq!(receive_text(&mut connection), "crossing");
    let closed = ending(&mut connection);
    assert_eq!(closed, Closed { code: Some(1000), by: ClosedBy::Us });
    assert!(closed.is_clean());
}

#[test]
fn our_close_ends_with_the_end_of_the_stream_too() {
    let (mut connection, socket) = pair();
    connection.start_close(1000, "");
    drop(peer(socket));
    let closed = until(|| receive(&mut connection).err());
    // The peer closed over our unread close frame: the kernel answers that with a reset, or the end comes first.
    assert!(matches!(closed.by, ClosedBy::Us | ClosedBy::Transport(StreamError::Io { .. })), "{closed}");
    let (mut connection, mut socket) = pair();
    connection.start_close(1000, "");
    let mut close_frame = [0; 8];
    socket.read_exact(&mut close_frame).expect("read");
    drop(socket);
    assert_eq!(ending(&mut connection), Closed { code: None, by: ClosedBy::Us });
}

#[test]
fn a_protocol_error_is_told_to_the_peer_with_its_code_and_counted_by_name() {
    for (bytes, code, name) in [
        (&b"\xC1\x00"[..], CloseCode::Protocol, "reserved_bits"),
        (b"\x81\x02\xC3\x28", CloseCode::Invalid, "invalid_utf8"),
        (b"\x81\x7E\x27\x11", CloseCode::Size, "message_too_big"),
        (b"\x80\x00", CloseCode::Protocol, "unexpected_continuation"),
        (b"\x88\x01\x03", CloseCode::Protocol, "close_length_one"),
    ] {
        let (ours, mut socket) = sockets();
        let settings =
            ConnectionSettings { max_message_bytes: 10_000, strict_utf8: true, ..ConnectionSettings::default() };
        let mut connection = connection(ours, &settings);
        socket.write_all(&[b"\x81\x02ok", bytes].concat()).expect("written");
        assert_eq!(receive_text(&mut connection), "ok");
        let closed = ending(&mut connection);
        assert!(matches!(closed.by, ClosedBy::Protocol(_)) && !closed.is_clean(), "{closed}");
        assert_eq!((closed.reason_name(), closed.code), (name, Some(code.into())));
        let Ok(PeerMessage::Close(Some(frame))) = peer(socket).read() else { panic!("a close frame for {name}") };
        assert_eq!(frame.code, code);
    }
}

#[test]
fn a_connection_killed_inside_a_frame_is_an_end_without_close() {
    let (mut connection, mut socket) = pair();
    socket.write_all(b"\x81\x05whole\x81\x7E\x01\x00part").expect("written");
    drop(socket);
    assert_eq!(receive_text(&mut connection), "whole");
    let closed = ending(&mut connection);
    assert_eq!(closed, Closed { code: None, by: ClosedBy::End });
    assert!(!closed.is_clean());
    assert_eq!(closed.reason_name(), "end_without_close");
}

#[test]
fn a_reset_connection_is_a_transport_error() {
    let (mut connection, socket) = pair();
    let socket = socket2::Socket::from(socket);
    socket.set_linger(Some(Duration::ZERO)).expect("linger");
    drop(socket);
    let closed = ending(&mut connection);
    assert_eq!(closed.reason_name(), "connection_reset");
    assert!(closed.to_string().contains("os error 104"), "{closed}");
}

#[test]
fn what_arrived_behind_the_upgrade_is_read_first() {
    let (ours, mut socket) = sockets();
    let stream = Stream::plain(ours).expect("non-blocking");
    let settings = ConnectionSettings::default();
    let mut connection = HotConnection::new(stream, b"\x81\x05first\x81\x06sec", &settings).expect("a connection");
    assert!(connection.has_buffered(), "although the socket is silent");
    assert_eq!(receive_text(&mut connection), "first");
    assert!(connection.next_message().expect("open").is_none());
    assert!(!connection.has_buffered(), "a part of a frame is nothing to wake for");
    socket.write_all(b"ond").expect("written");
    assert_eq!(receive_text(&mut connection), "second");

    let (ours, _socket) = sockets();
    let stream = Stream::plain(ours).expect("non-blocking");
    let error = HotConnection::new(stream, &vec![0; 200_000], &settings).expect_err("too much");
    assert!(error.to_string().contains("200000 bytes behind the upgrade: at most 131072"), "{error}");
}

#[test]
fn a_peer_that_pings_and_never_reads_neither_blocks_nor_grows_us() {
    let (ours, mut socket) = sockets();
    socket2::SockRef::from(&ours).set_send_buffer_size(8 * 1024).expect("a small send buffer");
    let mut connection = connection(ours, &ConnectionSettings::default());
    let free_bytes = connection.free_send_bytes();
    const PINGS: u32 = 50_000;
    let flood = thread::spawn(move || {
        let mut bytes = Vec::new();
        for number in 0..PINGS {
            bytes.extend([0x89, 125]);
            bytes.extend([0; 121]);
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(b"\x81\x04done");
        socket.write_all(&bytes).expect("we are read although we read nothing");
        socket
    });
    assert_eq!(receive_text(&mut connection), "done");
    let socket = flood.join().expect("written");
    let counters = *connection.counters();
    assert_eq!(counters.pings_received, u64::from(PINGS));
    assert!(counters.pings_superseded > 0 && counters.pongs_sent < u64::from(PINGS), "{counters:?}");
    assert!(connection.wants_write());
    assert!(free_bytes - connection.free_send_bytes() <= 131, "one pong waits, no more");

    // When the peer reads at last, the latest ping is answered.
    let mut peer = peer(socket);
    let mut pongs = 0;
    until(|| {
        connection.flush().expect("open");
        let Ok(PeerMessage::Pong(payload)) = peer.read() else { panic!("a pong") };
        pongs += 1;
        (payload[121..] == (PINGS - 1).to_be_bytes()).then_some(())
    });
    assert_eq!(pongs, connection.counters().pongs_sent);
    assert_eq!(pongs + counters.pings_superseded, u64::from(PINGS), "each ping was answered or counted");
}

#[test]
fn messages_that_do_not_fit_are_refused_whole_and_those_accepted_arrive_intact() {
    let (ours, socket) = sockets();
    socket2::SockRef::from(&ours).set_send_buffer_size(8 * 1024).expect("a small send buffer");
    let settings = ConnectionSettings { write_buffer_bytes: 50_000, ..ConnectionSettings::default() };
    let mut connection = connection(ours, &settings);
    let refused = connection.send_binary(&[0; 50_001]);
    assert_eq!(refused, Err(SendError::Full { frame_bytes: 50_009, free_bytes: 50_000 }));
    let mut accepted = 0_u32;
    let error = until(|| {
        let message = [&accepted.to_be_bytes()[..], &[0x5A; 3_000]].concat();
        let result = connection.send_binary(&message);
        accepted += u32::from(result.is_ok());
        result.err()
    });
    assert!(matches!(error, SendError::Full { frame_bytes: 3_012, free_bytes } if free_bytes < 3_012), "{error}");
    assert!(connection.wants_write());
    let reader = thread::spawn(move || {
        let mut peer = peer(socket);
        for number in 0..accepted {
            let message = peer.read().expect("read").into_data();
            assert_eq!((&message[..4], message.len()), (&number.to_be_bytes()[..], 3_004));
        }
    });
    until(|| connection.flush().expect("open").then_some(()));
    reader.join().expect("all arrived");
    assert_eq!(connection.free_send_bytes(), 50_000);
}

#[test]
fn a_message_of_many_megabytes_is_echoed_where_the_settings_allow_it() {
    let (ours, socket) = sockets();
    let size = 3 << 20;
    let settings = ConnectionSettings {
        max_message_bytes: size,
        write_buffer_bytes: frame_bytes(size),
        strict_utf8: true,
        ..ConnectionSettings::default()
    };
    let mut connection = connection(ours, &settings);
    let echoed = thread::spawn(move || {
        let mut peer = peer(socket);
        let text: String = ('a'..='z').cycle().take(size).collect();
        peer.send(PeerMessage::text(text.clone())).expect("sent");
        peer.read().expect("read").into_text().expect("text").as_str() == text
    });
    let text = receive_text(&mut connection);
    connection.send_text(text.as_bytes()).expect("fits");
    until(|| connection.flush().expect("open").then_some(()));
    assert!(echoed.join().expect("echoed"));
}

#[test]
fn a_write_that_fails_does_not_hide_what_the_peer_said_before() {
    let (mut connection, mut socket) = pair();
    socket.write_all(b"\x81\x04last\x88\x02\x03\xE9").expect("written");
    drop(socket);
    let error = until(|| connection.send_text(b"anyone there?").err());
    assert!(matches!(error, SendError::Closed(Closed { by: ClosedBy::Transport(_), .. })), "{error}");
    assert!(connection.flush().is_err() && !connection.wants_write());
    assert_eq!(receive_text(&mut connection), "last");
    assert_eq!(ending(&mut connection), Closed { code: Some(1001), by: ClosedBy::Peer });
}

#[test]
fn an_abandoned_connection_says_what_waits_and_ends_the_stream() {
    let (mut connection, mut socket) = pair();
    connection.send_text(b"bye").expect("queued");
    connection.abandon();
    let mut said = Vec::new();
    socket.read_to_end(&mut said).expect("an end, not a reset");
    assert_eq!(said.len(), 9);
}
