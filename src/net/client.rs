//! The cold-path WebSocket client: tokio-tungstenite over tokio TCP or tokio-rustls. For low-rate and request/response
//! connections; the engine owns one in a cold task, and market data from it crosses a ring to its core.
//!
//! ```text
//! connect ──► recv ──► Message ... ──► None (closing handshake done; why is in `close_reason`)
//!              │ a ping has been answered when it is given     └─► WebSocketError (the peer was told its close code)
//! ```
//! Never offers an extension. Holds at most one message, of at most `max_message_bytes`.

use super::connect::{ConnectError, ConnectOptions, Granted, Step, Timings, TlsFailure};
use super::dial::{Dialled, Target, dial, within};
use super::handover::HandoverIo;
use super::upgrade;
use crate::limits::{MESSAGE_BYTES_DEFAULT, WRITE_BUFFER_BYTES};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

/// Bytes of encoded messages after which tungstenite writes before it is flushed. Every send here flushes.
const EAGER_WRITE_BYTES: usize = 16 * 1024;

/// Sizes of one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WebSocketOptions {
    /// Bytes of the read buffer. tungstenite zeroes all of it before every read: its own default of 128 KiB costs
    /// 400 ns a read. tokio-rustls fills all of it before it returns: with 128 KiB the first frame of a burst waits
    /// until the whole burst is decrypted. So small, and no smaller than a burst is worth.
    pub read_buffer_bytes: usize,
    /// Encoded messages that may wait for the socket, in bytes: the longest message that can be sent, and its header.
    pub write_buffer_bytes: usize,
    /// Longest message accepted, fragments joined.
    pub max_message_bytes: usize,
    /// How long the peer may take to end a closing handshake.
    pub close_timeout: Duration,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        Self {
            read_buffer_bytes: 16 * 1024,
            write_buffer_bytes: WRITE_BUFFER_BYTES,
            max_message_bytes: MESSAGE_BYTES_DEFAULT,
            close_timeout: Duration::from_secs(1),
        }
    }
}

/// A message. Cloning shares the bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// Text, valid UTF-8.
    Text(Utf8Bytes),
    /// Bytes.
    Binary(Bytes),
    /// A ping. Received: it has been answered already, and is given as a sign of life.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
}

/// Why a connection was closed in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloseReason {
    /// The close code; 1005 where the peer sent none (RFC 6455 section 7.1.5).
    pub code: u16,
    /// The peer's words.
    pub reason: String,
}

/// Why a connection ended otherwise, or a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// The peer broke the protocol, sent bad UTF-8, or a message over the limit; it was told this close code.
    #[error("{host}: the server broke the protocol, closed with code {code}: {source}")]
    Protocol {
        /// Scheme, host and port.
        host: String,
        /// The close code sent: 1002, 1007 or 1009.
        code: u16,
        /// What it did.
        source: Box<tungstenite::Error>,
    },
    /// The connection ended without a closing handshake.
    #[error("{host}: the connection was lost: {source}")]
    Lost {
        /// Scheme, host and port.
        host: String,
        /// How.
        source: Box<tungstenite::Error>,
    },
    /// The peer did not end the closing handshake in time.
    #[error("{host}: closing handshake: no end after the time-out of {timeout:?}")]
    CloseTimedOut {
        /// Scheme, host and port.
        host: String,
        /// The time-out.
        timeout: Duration,
    },
    /// The message does not fit the write buffer. It was not sent; the connection goes on.
    #[error("{host}: the message does not fit the write buffer of {write_buffer_bytes} bytes")]
    TooLong {
        /// Scheme, host and port.
        host: String,
        /// The write buffer.
        write_buffer_bytes: usize,
    },
    /// The connection has ended already.
    #[error("{host}: the connection is closed")]
    Closed {
        /// Scheme, host and port.
        host: String,
    },
}

/// One WebSocket connection on the cold runtime.
pub struct WebSocketConnection {
    socket: WebSocketStream<ColdStream>,
    options: WebSocketOptions,
    host: String,
    peer: SocketAddr,
    local: SocketAddr,
    granted: Granted,
    timings: Timings,
    closed: Option<CloseReason>,
    /// Set while a failure is being told to the peer, so that a `recv` dropped meanwhile loses nothing.
    failure: Option<Failure>,
    is_over: bool,
}

struct Failure {
    code: CloseCode,
    source: Box<tungstenite::Error>,
}

impl WebSocketConnection {
    /// Connects, shakes hands and upgrades. Tries once. Dropping the future closes the socket.
    ///
    /// # Errors
    /// [`ConnectError`], one variant for each step.
    pub async fn connect(options: &ConnectOptions, sizes: &WebSocketOptions) -> Result<Self, ConnectError> {
        let target = Target::of(options)?;
        let request = upgrade::request(options, &target)?;
        let Dialled { socket, peer, local, granted, mut timings } = dial(options, &target).await?;
        let stream =
            if target.is_secure {
                let started = Instant::now();
                let (config, name) = target.tls(options)?;
                let timeout = options.timeouts.tls;
                let connecting = tokio_rustls::TlsConnector::from(config).connect(name, socket);
                let stream = within(Step::Tls, timeout, &target, connecting).await?.map_err(|error| {
                    ConnectError::Tls { host: target.label.clone(), timeout, source: tls_failure(error) }
                })?;
                timings.tls = started.elapsed();
                ColdStream::Tls(Box::new(stream))
            } else {
                ColdStream::Plain(socket)
            };
        let started = Instant::now();
        let mut io = HandoverIo::new(stream);
        upgrade::upgrade(&mut io, request, &target, options.timeouts.upgrade).await?;
        timings.upgrade = started.elapsed();
        let (stream, leftover) = io.into_parts();
        let config = WebSocketConfig::default()
            .read_buffer_size(sizes.read_buffer_bytes)
            .write_buffer_size(EAGER_WRITE_BYTES.min(sizes.write_buffer_bytes / 2))
            .max_write_buffer_size(sizes.write_buffer_bytes.max(1))
            .max_message_size(Some(sizes.max_message_bytes))
            .max_frame_size(Some(sizes.max_message_bytes));
        let socket = WebSocketStream::from_partially_read(stream, leftover, Role::Client, Some(config)).await;
        let (host, options) = (target.label, *sizes);
        let (closed, failure, is_over) = (None, None, false);
        Ok(Self { socket, options, host, peer, local, granted, timings, closed, failure, is_over })
    }

    /// Sends a message: returns once the socket has taken it. Dropped before that, the message may still go out with
    /// the next send.
    ///
    /// # Errors
    /// [`WebSocketError::TooLong`] leaves the connection as it was; any other ends it.
    pub async fn send(&mut self, message: Message) -> Result<(), WebSocketError> {
        let message = match message {
            Message::Text(text) => tungstenite::Message::Text(text),
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
            Message::Ping(bytes) => tungstenite::Message::Ping(bytes),
            Message::Pong(bytes) => tungstenite::Message::Pong(bytes),
        };
        if self.is_over || self.closed.is_some() || self.failure.is_some() {
            return Err(WebSocketError::Closed { host: self.host.clone() });
        }
        self.socket.send(message).await.map_err(|error| match error {
            tungstenite::Error::WriteBufferFull(_) => {
                WebSocketError::TooLong { host: self.host.clone(), write_buffer_bytes: self.options.write_buffer_bytes }
            }
            error => {
                self.is_over = true;
                WebSocketError::Lost { host: self.host.clone(), source: Box::new(error) }
            }
        })
    }

    /// The next message, or `None` after a closing handshake ([`close_reason`](Self::close_reason) says why). Pings are
    /// answered. Cancel safe: a `recv` dropped before it is ready has taken nothing.
    ///
    /// # Errors
    /// [`WebSocketError`]: the connection ended in another way. Where the peer was at fault it has been told, by the
    /// close code of RFC 6455 section 7.4.1.
    pub async fn recv(&mut self) -> Result<Option<Message>, WebSocketError> {
        loop {
            if self.failure.is_some() {
                return Err(self.tell_failure().await);
            }
            if self.closed.is_some() {
                return self.finish_close().await.map(|()| None);
            }
            if self.is_over {
                return Err(WebSocketError::Closed { host: self.host.clone() });
            }
            match self.socket.next().await {
                Some(Ok(tungstenite::Message::Text(text))) => return Ok(Some(Message::Text(text))),
                Some(Ok(tungstenite::Message::Binary(bytes))) => return Ok(Some(Message::Binary(bytes))),
                Some(Ok(tungstenite::Message::Ping(bytes))) => {
                    // The pong is queued; a flush that cannot finish now is taken up by the next read.
                    return Ok(Some(Message::Ping(bytes)));
                }
                Some(Ok(tungstenite::Message::Pong(bytes))) => return Ok(Some(Message::Pong(bytes))),
                Some(Ok(tungstenite::Message::Close(frame))) => self.note_close(frame),
                // Only made by who writes raw frames.
                Some(Ok(tungstenite::Message::Frame(_))) => {}
                Some(Err(error)) => self.note_error(error)?,
                None => {
                    self.is_over = true;
                    return Err(WebSocketError::Closed { host: self.host.clone() });
                }
            }
        }
    }

    /// Closes: sends a close frame with this code, waits for the peer's for at most `close_timeout`, and drops what
    /// comes before it.
    ///
    /// # Errors
    /// [`WebSocketError`]: the handshake was not completed. The socket is closed either way.
    pub async fn close(mut self, code: u16) -> Result<CloseReason, WebSocketError> {
        let timeout = self.options.close_timeout;
        let host = self.host.clone();
        let closing = async {
            let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::default() };
            if let Err(source) = self.socket.close(Some(frame)).await {
                return Err(WebSocketError::Lost { host: self.host.clone(), source: Box::new(source) });
            }
            while self.recv().await?.is_some() {}
            self.closed.take().ok_or_else(|| WebSocketError::Closed { host: self.host.clone() })
        };
        match tokio::time::timeout(timeout, closing).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(WebSocketError::CloseTimedOut { host, timeout }),
        }
    }

    /// Why the peer closed, once it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// Bytes of the read buffer.
    #[must_use]
    pub fn read_buffer_capacity(&self) -> usize {
        self.socket.get_config().read_buffer_size
    }

    /// The address connected to.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The address connected from.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What the kernel granted.
    #[must_use]
    pub fn granted(&self) -> Granted {
        self.granted
    }

    /// How long each step of connecting took.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.timings
    }

    fn note_close(&mut self, frame: Option<CloseFrame>) {
        // This very answer is how tungstenite reports a code that may not be sent (RFC 6455 section 7.4), after it has
        // queued 1002 as the reply.
        let forbidden =
            |frame: &CloseFrame| frame.code == CloseCode::Protocol && frame.reason.as_str() == "Protocol violation";
        if frame.as_ref().is_some_and(forbidden) {
            let source = Box::new(ProtocolError::InvalidCloseSequence.into());
            self.failure = Some(Failure { code: CloseCode::Protocol, source });
            return;
        }
        self.closed = Some(match frame {
            Some(frame) => CloseReason { code: frame.code.into(), reason: frame.reason.as_str().to_owned() },
            None => CloseReason { code: CloseCode::Status.into(), reason: String::new() },
        });
    }

    /// Sorts an error into the peer's fault, which is kept to be told, and a loss, which is returned.
    fn note_error(&mut self, error: tungstenite::Error) -> Result<(), WebSocketError> {
        let code = match &error {
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            tungstenite::Error::Protocol(_) => Some(CloseCode::Protocol),
            tungstenite::Error::Utf8(_) => Some(CloseCode::Invalid),
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(CloseCode::Size),
            _ => None,
        };
        let source = Box::new(error);
        match code {
            Some(code) => {
                self.failure = Some(Failure { code, source });
                Ok(())
            }
            None => {
                self.is_over = true;
                Err(WebSocketError::Lost { host: self.host.clone(), source })
            }
        }
    }

    /// Sends the close frame a failure calls for, then reads until the peer closes: a socket closed with bytes unread
    /// resets, and a reset may overtake the close frame.
    async fn tell_failure(&mut self) -> WebSocketError {
        let code = self.failure.as_ref().map_or(CloseCode::Protocol, |failure| failure.code);
        let telling = async {
            let frame = CloseFrame { code, reason: Utf8Bytes::default() };
            // Where a close frame is queued already (the answer to one with a forbidden code) there is no second one, and
            // that one has still to be flushed.
            let is_told = self.socket.close(Some(frame)).await.is_ok() || self.socket.flush().await.is_ok();
            if is_told {
                let mut scrap = [0; 4096];
                while matches!(self.socket.get_mut().read(&mut scrap).await, Ok(count) if count > 0) {}
            }
        };
        // The failure is what is reported; a peer that will not hear of it adds nothing.
        let _told_or_not = tokio::time::timeout(self.options.close_timeout, telling).await;
        self.is_over = true;
        let host = self.host.clone();
        match self.failure.take() {
            Some(Failure { code, source }) => WebSocketError::Protocol { host, code: code.into(), source },
            None => WebSocketError::Closed { host },
        }
    }

    /// Lets the reply to a close frame out and waits for the server to close the socket (RFC 6455 section 7.1.1: it is
    /// the server that closes first), for as long as `close_timeout`.
    async fn finish_close(&mut self) -> Result<(), WebSocketError> {
        if self.is_over {
            return Ok(());
        }
        let timeout = self.options.close_timeout;
        let ended = tokio::time::timeout(timeout, self.socket.next()).await;
        self.is_over = true;
        match ended {
            Ok(Some(Err(tungstenite::Error::Protocol(ProtocolError::ReceivedAfterClosing)))) => {
                let source = Box::new(ProtocolError::ReceivedAfterClosing.into());
                Err(WebSocketError::Protocol { host: self.host.clone(), code: CloseCode::Protocol.into(), source })
            }
            // Both close frames have passed: how the socket goes after that is no matter.
            _ => Ok(()),
        }
    }
}

/// What tokio-rustls wraps into an `io::Error`, unwrapped.
fn tls_failure(error: io::Error) -> TlsFailure {
    match error.downcast::<rustls::Error>() {
        Ok(error) => TlsFailure::Tls(error),
        Err(error) => TlsFailure::Io(error),
    }
}

/// TCP, or TLS over it.
enum ColdStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for ColdStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, out),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, out),
        }
    }
}

impl AsyncWrite for ColdStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
