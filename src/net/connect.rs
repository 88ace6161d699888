//! One connection, from its URL to the hand-over. Called by the engine when `control` asks for a connection.
//!
//! ```text
//! Step::Dns ──► Step::Connect ──► Step::Tls (wss) ──► Step::Upgrade ──► Established ──► hot::HotConnection::new
//!  each with its own time-out, its own error, its own place in `Timings`
//! ```
//! Dropping the future at any point closes the socket: every resource is owned by it. Never tries twice: when to try
//! again is `control::reconnect`'s to say. Errors name host, step and time-out, and never a header's value, a path or a
//! query: those may hold keys.

use super::dial::{Dialled, Target, dial, within};
use super::handover::HandoverIo;
use super::tls::TlsError;
use super::tls_stream::TlsIo;
use super::upgrade;
use crate::hot::{RecordOpener, Stream};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::http::Request;
use url::Url;

pub use crate::control::Secret;

/// TCP keep-alive: what finds a peer that went without a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keepalive {
    /// Silence before the first probe. Whole seconds count.
    pub idle: Duration,
    /// Between probes. Whole seconds count.
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead.
    pub probe_count: u32,
}

/// Socket options, all set before connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SocketOptions {
    /// TCP_NODELAY: small writes go out at once.
    pub nodelay: bool,
    /// SO_RCVBUF in bytes. `None` leaves the kernel's autotuning on; setting it ends it.
    pub receive_buffer_bytes: Option<usize>,
    /// SO_SNDBUF in bytes. `None` leaves the kernel's autotuning on; setting it ends it.
    pub send_buffer_bytes: Option<usize>,
    /// TCP keep-alive; `None` leaves it off.
    pub keepalive: Option<Keepalive>,
    /// The local address to connect from; `None` lets the kernel choose.
    pub source_address: Option<IpAddr>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
            keepalive: None,
            source_address: None,
        }
    }
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Resolving the name.
    pub dns: Duration,
    /// TCP, all addresses together.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From the upgrade request to the last byte of the response head.
    pub upgrade: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let each = Duration::from_secs(5);
        Self { dns: each, connect: each, tls: each, upgrade: each }
    }
}

/// What to connect to, and how. Its `Debug` shows neither path nor query: those may hold keys.
#[derive(Clone)]
pub struct ConnectOptions {
    /// `ws://` or `wss://`, without user information.
    pub url: Url,
    /// Own headers of the upgrade request, sent as they stand. Those the upgrade itself sets are refused.
    pub headers: Vec<(String, Secret)>,
    /// Socket options.
    pub socket: SocketOptions,
    /// Addresses that are tried after all others that the name resolves to.
    pub avoided: Vec<IpAddr>,
    /// Time-outs.
    pub timeouts: Timeouts,
    /// Trust, from [`client_config`](super::client_config). Only `wss` needs it. Share one between connections: session
    /// tickets live in it.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Who is to open the TLS records of [`connect`]. In place where that can be, by rustls where it cannot:
    /// [`Established::opener`] and [`Established::obstacle`] say what it came to. A cold connection's are rustls' always.
    pub opener: RecordOpener,
}

impl ConnectOptions {
    /// Defaults: no headers, nodelay, autotuned buffers, 5 s a step, no TLS configuration, records opened by rustls.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            headers: Vec::new(),
            socket: SocketOptions::default(),
            avoided: Vec::new(),
            timeouts: Timeouts::default(),
            tls: None,
            opener: RecordOpener::default(),
        }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("host", &host_of(&self.url))
            .field("headers", &self.headers)
            .field("socket", &self.socket)
            .field("timeouts", &self.timeouts)
            .field("opener", &self.opener)
            .finish_non_exhaustive()
    }
}

/// Scheme, host and port: what an output may show of a URL.
#[must_use]
pub fn host_of(url: &Url) -> String {
    let scheme = url.scheme();
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{scheme}://{host}:{port}"),
        (Some(host), None) => format!("{scheme}://{host}"),
        (None, _) => format!("{scheme}:"),
    }
}

/// What the kernel made of the socket options, read back after connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Granted {
    /// SO_RCVBUF in bytes. Linux reports twice what was asked for, for its own bookkeeping, capped by `rmem_max`.
    pub receive_buffer_bytes: usize,
    /// SO_SNDBUF in bytes. Linux reports twice what was asked for, capped by `wmem_max`.
    pub send_buffer_bytes: usize,
    /// TCP_NODELAY.
    pub nodelay: bool,
}

/// How long each step took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Timings {
    /// Resolving the name; zero for an address.
    pub dns: Duration,
    /// TCP, failed addresses included.
    pub tcp: Duration,
    /// TLS; zero for `ws`.
    pub tls: Duration,
    /// The upgrade.
    pub upgrade: Duration,
}

/// A connection that has been upgraded and is ready for a hot core.
pub struct Established {
    /// Socket and, for `wss`, TLS session with the ciphertext already received.
    pub stream: Stream,
    /// Plaintext that came behind the 101: the first frames, perhaps.
    pub leftover: Vec<u8>,
    /// The address connected to.
    pub peer: SocketAddr,
    /// The address connected from.
    pub local: SocketAddr,
    /// What the kernel granted.
    pub granted: Granted,
    /// How long each step took.
    pub timings: Timings,
    /// `TLSv1_3`; `None` for `ws`.
    pub tls_version: Option<String>,
    /// `TLS13_AES_128_GCM_SHA256`; `None` for `ws`.
    pub tls_cipher: Option<String>,
    /// Why rustls opens the records although they were to be opened in place.
    pub obstacle: Option<&'static str>,
}

impl Established {
    /// Who opens its TLS records; `None` for `ws`.
    #[must_use]
    pub fn opener(&self) -> Option<RecordOpener> {
        self.stream.opener()
    }
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established")
            .field("leftover_bytes", &self.leftover.len())
            .field("peer", &self.peer)
            .field("local", &self.local)
            .field("granted", &self.granted)
            .field("timings", &self.timings)
            .field("tls_version", &self.tls_version)
            .field("tls_cipher", &self.tls_cipher)
            .field("opener", &self.opener())
            .field("obstacle", &self.obstacle)
            .finish_non_exhaustive()
    }
}

/// A step of connecting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Resolving the name.
    Dns,
    /// TCP.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The WebSocket upgrade.
    Upgrade,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "DNS look-up",
            Self::Connect => "TCP connect",
            Self::Tls => "TLS handshake",
            Self::Upgrade => "WebSocket upgrade",
        })
    }
}

/// One address that could not be connected to.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// Why a TLS handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsFailure {
    /// The socket's failure.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// rustls': certificate, version, alert.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
}

impl TlsFailure {
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            Self::Tls(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Why there is no connection. Every variant names the host and, where there is one, the step and its time-out.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be connected to.
    #[error("{host}: {what}")]
    Url {
        /// Scheme, host and port.
        host: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// One of the configured headers cannot be sent. Its value is not shown.
    #[error("{host}: header `{name}`: {what}")]
    Header {
        /// Scheme, host and port.
        host: String,
        /// The header's name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No TLS configuration was given, and the default one cannot be built.
    #[error("{host}: {source}")]
    TlsConfig {
        /// Scheme, host and port.
        host: String,
        /// Why.
        source: TlsError,
    },
    /// The name does not resolve.
    #[error("{host}: DNS look-up (time-out {timeout:?}): {source}")]
    Dns {
        /// Scheme, host and port.
        host: String,
        /// The step's time-out.
        timeout: Duration,
        /// The resolver's answer.
        source: io::Error,
    },
    /// No address could be connected to.
    #[error("{host}: TCP connect (time-out {timeout:?}): {}", joined(.attempts))]
    Connect {
        /// Scheme, host and port.
        host: String,
        /// The step's time-out.
        timeout: Duration,
        /// Each address tried, in order.
        attempts: Vec<Attempt>,
    },
    /// The TLS handshake failed.
    #[error("{host}: TLS handshake (time-out {timeout:?}): {source}")]
    Tls {
        /// Scheme, host and port.
        host: String,
        /// The step's time-out.
        timeout: Duration,
        /// Why.
        source: TlsFailure,
    },
    /// The server's answer is no upgrade.
    #[error("{host}: WebSocket upgrade (time-out {timeout:?}): {source}")]
    Upgrade {
        /// Scheme, host and port.
        host: String,
        /// The step's time-out.
        timeout: Duration,
        /// Why.
        source: Box<tungstenite::Error>,
    },
    /// The server switched on an extension that was not offered (RFC 6455 section 9.1: fail the connection).
    #[error("{host}: WebSocket upgrade: the server chose the extension `{found}`, none was offered")]
    Extension {
        /// Scheme, host and port.
        host: String,
        /// What it chose.
        found: String,
    },
    /// The server answered with another status than 101.
    #[error("{host}: WebSocket upgrade: HTTP status {status}{}{}", retry_text(.retry_after), body_text(.body))]
    Refused {
        /// Scheme, host and port.
        host: String,
        /// The HTTP status.
        status: u16,
        /// How long the server asks us to stay away.
        retry_after: Option<Duration>,
        /// The beginning of the body, at most [`SAMPLE_BYTES`](crate::limits::SAMPLE_BYTES) bytes.
        body: String,
    },
    /// A step took too long.
    #[error("{host}: {step}: no end after the time-out of {timeout:?}")]
    TimedOut {
        /// Scheme, host and port.
        host: String,
        /// The step.
        step: Step,
        /// Its time-out.
        timeout: Duration,
    },
    /// The upgraded socket could not be taken out of the cold runtime.
    #[error("{host}: hand-over to the hot core: {source}")]
    HandOver {
        /// Scheme, host and port.
        host: String,
        /// Why.
        source: io::Error,
    },
}

fn joined(attempts: &[Attempt]) -> String {
    let texts: Vec<String> =
        attempts.iter().map(|attempt| format!("{}: {}", attempt.address, attempt.source)).collect();
    if texts.is_empty() { "the name has no address".to_owned() } else { texts.join("; ") }
}

pub(super) fn retry_text(retry_after: &Option<Duration>) -> String {
    retry_after.map(|wait| format!(", retry after {} s", wait.as_secs())).unwrap_or_default()
}

pub(super) fn body_text(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {}", body.escape_debug()) }
}

/// Connects, shakes hands and upgrades. Tries once.
///
/// # Errors
/// [`ConnectError`], one variant for each step.
///
/// Source: RFC 6455 section 4.1 for the upgrade.
pub async fn connect(options: &ConnectOptions) -> Result<Established, ConnectError> {
    let target = Target::of(options)?;
    let request = upgrade::request(options, &target)?;
    let Dialled { socket, peer, local, granted, mut timings } = dial(options, &target).await?;
    let hand_over = |source| ConnectError::HandOver { host: target.label.clone(), source };

    if !target.is_secure {
        let started = Instant::now();
        let (socket, leftover) = upgraded(socket, request, &target, options.timeouts.upgrade).await?;
        timings.upgrade = started.elapsed();
        let stream = socket.into_std().and_then(Stream::plain).map_err(hand_over)?;
        let (tls_version, tls_cipher, obstacle) = (None, None, None);
        return Ok(Established { stream, leftover, peer, local, granted, timings, tls_version, tls_cipher, obstacle });
    }

    let started = Instant::now();
    let (config, name) = target.tls(options)?;
    let may_extract = config.enable_secret_extraction;
    let timeout = options.timeouts.tls;
    let failed = |source| ConnectError::Tls { host: target.label.clone(), timeout, source };
    let io = within(Step::Tls, timeout, &target, TlsIo::handshake(socket, config, name)).await?.map_err(failed)?;
    timings.tls = started.elapsed();
    let (tls_version, tls_cipher) = io.negotiated();
    let obstacle = match options.opener {
        RecordOpener::Rustls => None,
        RecordOpener::InPlace if !may_extract => Some("the TLS configuration keeps its secrets"),
        RecordOpener::InPlace => io.obstacle(),
    };

    let started = Instant::now();
    let (stream, leftover) = if options.opener == RecordOpener::InPlace && obstacle.is_none() {
        let io = io.into_in_place().map_err(|error| failed(error.into()))?;
        let (io, mut leftover) = upgraded(io, request, &target, options.timeouts.upgrade).await?;
        let parts = io.into_parts();
        leftover.extend_from_slice(&parts.plaintext);
        let socket = parts.socket.into_std();
        (socket.and_then(|socket| Stream::tls_in_place(socket, parts.records)).map_err(hand_over)?, leftover)
    } else {
        let (io, mut leftover) = upgraded(io, request, &target, options.timeouts.upgrade).await?;
        let parts = io.into_parts();
        leftover.extend_from_slice(&parts.plaintext);
        let socket = parts.socket.into_std();
        let stream = socket.and_then(|socket| Stream::tls(socket, parts.session, &parts.ciphertext));
        (stream.map_err(hand_over)?, leftover)
    };
    timings.upgrade = started.elapsed();
    Ok(Established { stream, leftover, peer, local, granted, timings, tls_version, tls_cipher, obstacle })
}

/// Upgrades, and gives the stream back with the plaintext behind the 101.
async fn upgraded<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    request: Request<()>,
    target: &Target,
    timeout: Duration,
) -> Result<(S, Vec<u8>), ConnectError> {
    let mut io = HandoverIo::new(io);
    upgrade::upgrade(&mut io, request, target, timeout).await?;
    Ok(io.into_parts())
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
