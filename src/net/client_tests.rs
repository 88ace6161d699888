//! The cold client over real loopback sockets.

use super::*;
use crate::net::testing::{ServedOne, TestCa, echo, frame, options, read_request, serve_one, switching_protocols};
use tokio::io::AsyncWriteExt;

async fn echo_server(is_secure: bool) -> (ConnectOptions, ServedOne<()>) {
    if !is_secure {
        let (address, served) = serve_one(echo).await;
        return (options("ws", address), served);
    }
    let ca = TestCa::new();
    let acceptor = ca.acceptor("127.0.0.1");
    let (address, served) =
        serve_one(async move |socket: TcpStream| echo(acceptor.accept(socket).await.unwrap()).await).await;
    (ConnectOptions { tls: Some(ca.client()), ..options("wss", address) }, served)
}

/// Upgrades by hand, sends `frames` in the segment of the 101, and returns what the client sent until it closed.
async fn scripted(frames: Vec<u8>) -> (ConnectOptions, ServedOne<Vec<u8>>) {
    let (address, served) = serve_one(async move |mut socket: TcpStream| {
        let request = read_request(&mut socket).await;
        let mut wire = switching_protocols(&request);
        wire.extend_from_slice(&frames);
        socket.write_all(&wire).await.unwrap();
        let mut sent = vec![0; 256];
        let count = socket.read(&mut sent).await.unwrap();
        sent.truncate(count);
        sent
    })
    .await;
    (options("ws", address), served)
}

/// The opcode and the payload of a masked frame of up to 125 bytes.
fn unmasked(frame: &[u8]) -> (u8, Vec<u8>) {
    let length = usize::from(frame[1] & 0x7F);
    let payload = frame[6..6 + length].iter().enumerate().map(|(at, byte)| byte ^ frame[2 + at % 4]).collect();
    (frame[0] & 0x0F, payload)
}

#[tokio::test]
async fn ten_thousand_messages_come_back_in_order_plain_and_over_tls() {
    for is_secure in [false, true] {
        let (options, served) = echo_server(is_secure).await;
        let mut socket = WebSocketConnection::connect(&options, &WebSocketOptions::default()).await.unwrap();
        assert_eq!(socket.read_buffer_capacity(), 16 * 1024);
        for number in 0..10_000_u32 {
            let text = format!("{number}:{}", "x".repeat(number as usize % 300));
            let message = if number % 2 == 0 { Message::Text(text.into()) } else { Message::Binary(text.into()) };
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.recv().await.unwrap(), Some(message));
        }
        let reason = socket.close(1000).await.unwrap();
        assert_eq!(reason.code, 1000);
        served.await.unwrap();
    }
}

#[tokio::test]
async fn frames_in_the_segment_of_the_101_arrive_pings_are_answered_and_the_close_code_is_told() {
    let mut frames = frame(0x81, b"one");
    frames.extend_from_slice(&frame(0x89, b"beat"));
    frames.extend_from_slice(&frame(0x82, b"two"));
    frames.extend_from_slice(&frame(0x88, b"\x03\xE9bye"));
    let (options, served) = scripted(frames).await;
    let mut socket = WebSocketConnection::connect(&options, &WebSocketOptions::default()).await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), Some(Message::Text("one".into())));
    assert_eq!(socket.recv().await.unwrap(), Some(Message::Ping("beat".into())));
    assert_eq!(socket.recv().await.unwrap(), Some(Message::Binary("two".into())));
    assert_eq!(socket.recv().await.unwrap(), None);
    assert_eq!(socket.close_reason(), Some(&CloseReason { code: 1001, reason: "bye".to_owned() }));
    assert_eq!(socket.recv().await.unwrap(), None);
    let error = socket.send(Message::Text("late".into())).await.unwrap_err();
    assert!(matches!(error, WebSocketError::Closed { .. }), "{error}");
    assert_eq!(unmasked(&served.await.unwrap()), (0xA, b"beat".to_vec()));
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_told_so_by_its_close_code() {
    let (mut masked, long) = (frame(0x81, b"x"), frame(0x82, &[0; 101]));
    masked[1] |= 0x80;
    masked.extend_from_slice(&[0; 4]);
    for (what, frames, code) in [
        ("reserved bit", frame(0xC1, b"x"), 1002_u16),
        ("reserved opcode", frame(0x83, b"x"), 1002),
        ("masked", masked, 1002),
        ("fragmented ping", frame(0x09, b"x"), 1002),
        ("continuation of nothing", frame(0x80, b"x"), 1002),
        ("close code 1005", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("close frame of one byte", frame(0x88, b"\x03"), 1002),
        ("bad UTF-8", frame(0x81, b"\xFF"), 1007),
        ("over the limit", long, 1009),
    ] {
        let (options, served) = scripted(frames).await;
        let sizes = WebSocketOptions { max_message_bytes: 100, ..WebSocketOptions::default() };
        let mut socket = WebSocketConnection::connect(&options, &sizes).await.unwrap();
        let error = socket.recv().await.unwrap_err();
        let WebSocketError::Protocol { code: told, .. } = error else { panic!("{what}: {error}") };
        assert_eq!(told, code, "{what}");
        let (opcode, payload) = unmasked(&served.await.unwrap());
        assert_eq!((opcode, &payload[..2]), (0x8, &code.to_be_bytes()[..]), "{what}");
        assert!(matches!(socket.recv().await, Err(WebSocketError::Closed { .. })), "{what}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_without_a_word_is_lost_not_closed() {
    let (address, served) = serve_one(async move |mut socket: TcpStream| {
        let request = read_request(&mut socket).await;
        socket.write_all(&switching_protocols(&request)).await.unwrap();
        socket.write_all(&frame(0x81, b"whole")).await.unwrap();
        socket.write_all(&frame(0x81, b"half")[..3]).await.unwrap();
    })
    .await;
    let mut socket = WebSocketConnection::connect(&options("ws", address), &WebSocketOptions::default()).await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), Some(Message::Text("whole".into())));
    let error = socket.recv().await.unwrap_err();
    assert!(matches!(error, WebSocketError::Lost { .. }), "{error}");
    served.await.unwrap();
}

#[tokio::test]
async fn a_message_over_the_write_buffer_is_refused_and_the_connection_goes_on() {
    let (options, served) = echo_server(false).await;
    let sizes = WebSocketOptions { write_buffer_bytes: 1000, ..WebSocketOptions::default() };
    let mut socket = WebSocketConnection::connect(&options, &sizes).await.unwrap();
    let error = socket.send(Message::Binary(vec![0; 1001].into())).await.unwrap_err();
    assert!(error.to_string().contains("write buffer of 1000 bytes"), "{error}");
    socket.send(Message::Text("short".into())).await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), Some(Message::Text("short".into())));
    socket.close(1000).await.unwrap();
    served.await.unwrap();
}

/// Polls a future once, and drops it.
fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    std::pin::pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_recv_dropped_while_it_waits_has_taken_nothing() {
    let (options, served) = echo_server(false).await;
    let mut socket = WebSocketConnection::connect(&options, &WebSocketOptions::default()).await.unwrap();
    for _ in 0..100 {
        assert!(poll_once(socket.recv()).is_pending());
    }
    socket.send(Message::Text("kept".into())).await.unwrap();
    for _ in 0..100 {
        if let Poll::Ready(received) = poll_once(socket.recv()) {
            assert_eq!(received.unwrap(), Some(Message::Text("kept".into())));
            socket.send(Message::Text("kept".into())).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    socket.close(1000).await.unwrap();
    served.await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_ends_the_closing_handshake_is_given_up_on() {
    let (address, served) = serve_one(async move |mut socket: TcpStream| {
        let request = read_request(&mut socket).await;
        socket.write_all(&switching_protocols(&request)).await.unwrap();
        socket.read_to_end(&mut Vec::new()).await.unwrap_or_default()
    })
    .await;
    let sizes = WebSocketOptions { close_timeout: Duration::from_millis(50), ..WebSocketOptions::default() };
    let socket = WebSocketConnection::connect(&options("ws", address), &sizes).await.unwrap();
    let error = socket.close(1000).await.unwrap_err();
    assert!(matches!(error, WebSocketError::CloseTimedOut { .. }), "{error}");
    served.await.unwrap();
}
