//! A server that says exactly what a test tells it to: a venue's upgrade and acks, then any bytes, well-formed or not.
//!
//! ```text
//! engine ──► listener ──► one thread a connection: upgrade ─► the test's script, with the connection's number
//! ```
//! Blocking sockets on threads of their own, and nothing of the engine's: what the engine does is seen from outside.

#![allow(dead_code, reason = "each test program uses what it needs of this module")]

use serde_json::Value;
use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tickwire::config::{ConnectionConfig, InstrumentConfig};
use tickwire::engine::RunningEngine;
use tickwire::market::Venue;
use tickwire::telemetry::Report;
use tokio_tungstenite::tungstenite::{self, Error, Message, WebSocket};
use url::Url;

/// Nothing is waited for this long when things go well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A plain socket, or TLS over one.
trait Io: Read + Write + Send {}
impl<T: Read + Write + Send> Io for T {}

/// One connection of the engine, as the server's script sees it.
pub(crate) struct Session {
    socket: WebSocket<Box<dyn Io>>,
}

impl Session {
    /// Reads requests until the first one, and confirms it. Gives the streams it names.
    pub(crate) fn confirm_subscription(&mut self) -> Vec<String> {
        loop {
            let Ok(message) = self.socket.read() else { return Vec::new() };
            let Message::Text(text) = message else { continue };
            let request: Value = serde_json::from_str(&text).expect("a request is JSON");
            let (streams, answer) = if request["method"] == "SUBSCRIBE" {
                (&request["params"], format!(r#"{{"result":null,"id":{}}}"#, request["id"]))
            } else if request["op"] == "subscribe" {
                let id = &request["req_id"];
                let answer = format!(r#"{{"success":true,"ret_msg":"","conn_id":"c","req_id":{id},"op":"subscribe"}}"#);
                (&request["args"], answer)
            } else {
                continue;
            };
            self.socket.send(Message::text(answer)).expect("the engine reads the ack");
            let names = streams.as_array().expect("a list of streams").iter();
            return names.map(|name| name.as_str().expect("a stream's name").to_owned()).collect();
        }
    }

    /// Sends one text message.
    pub(crate) fn send(&mut self, text: impl Display) {
        // The engine may have gone, which the test sees elsewhere.
        let _ = self.socket.send(Message::text(text.to_string()));
    }

    /// Reads a Binance request and answers it with what `answer` makes of its id.
    pub(crate) fn answer_request(&mut self, answer: impl Fn(&Value) -> String) {
        while let Ok(message) = self.socket.read() {
            if let Message::Text(text) = message {
                let request: Value = serde_json::from_str(&text).expect("a request is JSON");
                self.send(answer(&request["id"]));
                return;
            }
        }
    }

    /// Sends bytes as they are, framed or not. False once the engine has gone.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.socket.get_mut().write_all(bytes).is_ok()
    }

    /// Reads until the engine closes: its close code, or `None` where it went without a close frame.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => code = frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return code,
                Err(error) => {
                    return match error {
                        // Bytes of ours that the engine did not read turn its end into a reset.
                        Error::Io(_) | Error::Protocol(_) => code,
                        other => panic!("the engine broke the protocol: {other}"),
                    };
                }
            }
        }
    }
}

/// A listener on loopback; it ends when this is dropped.
pub(crate) struct VenueServer {
    address: SocketAddr,
    scheme: &'static str,
    is_over: Arc<AtomicBool>,
}

impl VenueServer {
    /// Runs `script` for every connection, with its number from 0.
    pub(crate) fn start(script: impl Fn(usize, &mut Session) + Send + Sync + 'static) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").expect("a port"), None, script)
    }

    /// The same over TLS. Each write of a script is at least one record.
    pub(crate) fn start_tls(
        config: Arc<rustls::ServerConfig>,
        script: impl Fn(usize, &mut Session) + Send + Sync + 'static,
    ) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").expect("a port"), Some(config), script)
    }

    /// The same with receive buffers of a few kilobytes, so that a script that does not read soon stops the engine's writes.
    pub(crate) fn start_narrow(script: impl Fn(usize, &mut Session) + Send + Sync + 'static) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("before listening, so that accepted sockets have it");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        socket.listen(16).expect("a listener");
        Self::listen(socket.into(), None, script)
    }

    fn listen(
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        script: impl Fn(usize, &mut Session) + Send + Sync + 'static,
    ) -> Self {
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let address = listener.local_addr().expect("bound");
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                let stream = stream.expect("a connection");
                let (script, tls) = (Arc::clone(&script), tls.clone());
                std::thread::spawn(move || {
                    stream.set_nodelay(true).expect("a TCP socket");
                    let stream: Box<dyn Io> = match tls {
                        None => Box::new(stream),
                        Some(tls) => {
                            let session = rustls::ServerConnection::new(tls).expect("a configuration that works");
                            Box::new(rustls::StreamOwned::new(session, stream))
                        }
                    };
                    // The engine may be stopped while it connects.
                    let Ok(socket) = tungstenite::accept(stream) else { return };
                    script(number, &mut Session { socket });
                });
            }
        });
        Self { address, scheme, is_over }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("{}://{}", self.scheme, self.address)).expect("a URL")
    }

    /// A connection of the engine to this server, coming back at once when it is lost. Every symbol has two decimals of price
    /// and five of quantity.
    pub(crate) fn connection(&self, name: &str, venue: Venue, symbols: &[&str], channels: &[&str]) -> ConnectionConfig {
        let mut config =
            ConnectionConfig::new(name, venue).subscribed_to(symbols, channels).expect("the venue's channels");
        config.url = self.url();
        config.reconnect.base = Duration::from_millis(1);
        config.reconnect.cap = Duration::from_millis(20);
        let stated = |symbol: &&str| InstrumentConfig {
            symbol: (*symbol).to_owned(),
            price_scale: 2,
            qty_scale: 5,
            instrument: None,
        };
        config.instruments = symbols.iter().map(stated).collect();
        config
    }
}

impl Drop for VenueServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the listener, which looks at the flag.
        drop(TcpStream::connect(self.address));
    }
}

/// One unmasked frame of a server: `first` is its FIN bit, reserved bits and opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => bytes.push(length),
        _ => {
            bytes.push(126);
            bytes.extend_from_slice(&u16::try_from(payload.len()).expect("below 64 KiB").to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Waits until the engine's report is as it should be.
pub(crate) fn until(engine: &RunningEngine, what: &str, is_so: impl Fn(&Report) -> bool) -> Report {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report = engine.report();
        if is_so(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "not seen in {PATIENCE:?}: {what}\n{}", report.to_json());
        // Reports are read, not announced.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
