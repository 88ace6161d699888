//! 100,000 messages through an echo server and back, in order, none lost: over `ws` and `wss`, by both transports.
//!
//! ```text
//! numbered messages ──► client ──► tokio-tungstenite echo server ──► client ──► compared with what was sent
//!                       └─ at most WINDOW under way: the client never waits for the server with its own reading stopped
//! ```

#[path = "support/certificate.rs"]
mod certificate;

use certificate::certificate;
use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::path::PathBuf;
use tickwire::hot::{ClosedBy, ConnectionSettings, DataKind, HotConnection, Poller, ReadOutcome, RecordOpener, Waker};
use tickwire::limits::VISIT_BYTES_MAX;
use tickwire::net::{ConnectOptions, Message, WebSocketConnection, WebSocketOptions, client_config, connect};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use url::Url;

const MESSAGE_COUNT: usize = 100_000;

/// Messages under way at most. 64 of the longest, 4 KiB, are less than a socket's buffers hold.
const WINDOW: usize = 64;

/// Message `number`: text or binary, its number first, of a length that visits every header size below 64 KiB.
fn message(number: usize, out: &mut Vec<u8>) -> DataKind {
    out.clear();
    out.extend_from_slice(number.to_string().as_bytes());
    let length = match number % 1000 {
        0 => 4096,
        1..10 => 120 + number % 10,
        rest => rest % 257,
    };
    let fill = b'a' + u8::try_from(number % 26).unwrap();
    out.resize(out.len().max(length), fill);
    if number.is_multiple_of(3) { DataKind::Binary } else { DataKind::Text }
}

struct EchoServer {
    runtime: Runtime,
    options: ConnectOptions,
    ca_file: Option<PathBuf>,
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        if let Some(path) = &self.ca_file {
            std::fs::remove_file(path).unwrap();
        }
    }
}

impl EchoServer {
    /// Serves one connection on threads of its own.
    fn start(tls: Option<RecordOpener>, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let Some(opener) = tls else {
            runtime.spawn(async move { echo(accept(listener).await).await });
            return Self { runtime, options: options("ws", address), ca_file: None };
        };
        let (config, ca) = certificate("127.0.0.1");
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        runtime.spawn(async move { echo(acceptor.accept(accept(listener).await).await.unwrap()).await });
        let path =
            std::env::temp_dir().join(format!("tickwire-echo-{}-{name}-{}.pem", std::process::id(), opener.name()));
        std::fs::write(&path, ca).unwrap();
        let mut options = options("wss", address);
        options.tls = Some(client_config(Some(&path)).unwrap());
        options.opener = opener;
        Self { runtime, options, ca_file: Some(path) }
    }
}

fn options(scheme: &str, address: SocketAddr) -> ConnectOptions {
    ConnectOptions::new(Url::parse(&format!("{scheme}://{address}/echo")).unwrap())
}

async fn accept(listener: TcpListener) -> TcpStream {
    let (socket, _peer) = listener.accept().await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

async fn echo(socket: impl AsyncRead + AsyncWrite + Unpin) {
    let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            socket.send(message).await.unwrap();
        }
    }
}

fn through_the_hot_connection(tls: Option<RecordOpener>) {
    let server = EchoServer::start(tls, "hot");
    let established = server.runtime.block_on(connect(&server.options)).unwrap();
    assert_eq!(established.opener(), tls);
    let settings = ConnectionSettings { strict_utf8: true, ..ConnectionSettings::default() };
    let mut connection = HotConnection::new(established.stream, &established.leftover, &settings).unwrap();
    let waker = Waker::new().unwrap();
    let mut poller = Poller::new(&waker).unwrap();
    poller.add(connection.raw_fd(), 0, false).unwrap();

    let (mut sent, mut received, mut expected) = (0, 0, Vec::new());
    let closed = loop {
        while sent < MESSAGE_COUNT && sent - received < WINDOW {
            match message(sent, &mut expected) {
                DataKind::Text => connection.send_text(&expected).unwrap(),
                DataKind::Binary => connection.send_binary(&expected).unwrap(),
            }
            sent += 1;
        }
        let outcome = match connection.read(VISIT_BYTES_MAX) {
            Ok(outcome) => outcome,
            Err(closed) => break closed,
        };
        let drained = loop {
            match connection.next_message() {
                Ok(Some(found)) => {
                    assert_eq!(found.kind, message(received, &mut expected), "message {received}");
                    assert_eq!(found.payload[..], expected[..], "message {received}");
                    received += 1;
                    if received == MESSAGE_COUNT {
                        connection.start_close(1000, "");
                    }
                }
                Ok(None) => break None,
                Err(closed) => break Some(closed),
            }
        };
        if let Some(closed) = drained {
            break closed;
        }
        if outcome == ReadOutcome::WouldBlock && !connection.has_buffered() {
            poller.modify(connection.raw_fd(), 0, connection.wants_write()).unwrap();
            poller.wait(1_000);
        }
    };
    assert_eq!((closed.by, closed.code), (ClosedBy::Us, Some(1000)), "{closed}");
    assert_eq!((sent, received), (MESSAGE_COUNT, MESSAGE_COUNT));
}

fn through_the_cold_client(tls: Option<RecordOpener>) {
    let server = EchoServer::start(tls, "cold");
    server.runtime.block_on(async {
        let mut socket = WebSocketConnection::connect(&server.options, &WebSocketOptions::default()).await.unwrap();
        let (mut sent, mut received, mut expected) = (0, 0, Vec::new());
        while received < MESSAGE_COUNT {
            while sent < MESSAGE_COUNT && sent - received < WINDOW {
                let next = match message(sent, &mut expected) {
                    DataKind::Text => Message::Text(String::from_utf8(expected.clone()).unwrap().into()),
                    DataKind::Binary => Message::Binary(expected.clone().into()),
                };
                socket.send(next).await.unwrap();
                sent += 1;
            }
            let found = socket.recv().await.unwrap().unwrap();
            let (kind, payload) = match &found {
                Message::Text(text) => (DataKind::Text, text.as_bytes()),
                Message::Binary(bytes) => (DataKind::Binary, &bytes[..]),
                other => panic!("message {received}: {other:?}"),
            };
            assert_eq!(kind, message(received, &mut expected), "message {received}");
            assert_eq!(payload, expected, "message {received}");
            received += 1;
        }
        assert_eq!(socket.close(1000).await.unwrap().code, 1000);
    });
}

#[test]
fn a_hundred_thousand_messages_come_back_in_order_by_the_hot_connection_over_ws() {
    through_the_hot_connection(None);
}

#[test]
fn a_hundred_thousand_messages_come_back_in_order_by_the_hot_connection_over_wss() {
    through_the_hot_connection(Some(RecordOpener::Rustls));
}

#[test]
fn a_hundred_thousand_messages_come_back_in_order_from_records_that_are_opened_in_place() {
    through_the_hot_connection(Some(RecordOpener::InPlace));
}

#[test]
fn a_hundred_thousand_messages_come_back_in_order_by_the_cold_client_over_ws() {
    through_the_cold_client(None);
}

#[test]
fn a_hundred_thousand_messages_come_back_in_order_by_the_cold_client_over_wss() {
    through_the_cold_client(Some(RecordOpener::Rustls));
}
