//! A WebSocket connection of the embedded exchange until it is open: TCP, TLS, the upgrade, and what goes wrong there.
//!
//! ```text
//! TCP ─► (hang) ─► TLS? ─► (hang · slow · cut) ─► connects per address? ─► path? ─► 101 ─► connection.rs
//!                                                   429 · 403               404    (held back for the first frame)
//! ```
//! Bounded: 10 seconds for each step, 10 minutes for a hung one.

use super::connection::{self, Connection};
use super::exchange::{Client, Exchange, stopped};
use super::faults::{Fault, Span};
use super::limiter::Limit;
use super::protocol::Session;
use super::stats::{Violation, count};
use super::tls::MaybeTls;
use crate::market::Venue;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// How long the upgrade may take.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection that is never answered is kept.
const HANG_PATIENCE: Duration = Duration::from_secs(600);
/// Largest message a client may send.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Connects per address.
///
/// Source: binance-spot-api-docs, web-socket-streams.md (300 per 5 minutes; assumed for USD-M); bybit-exchange/docs
/// v5/ws/connect (500 per 5 minutes).
const CONNECTS_BINANCE: u32 = 300;
const CONNECTS_BYBIT: u32 = 500;
const CONNECTS_WINDOW: Duration = Duration::from_secs(300);

pub(super) type Socket = WebSocketStream<Corked>;

/// A stream that can hold back what is written, so that the 101 leaves together with the first frame.
pub(super) struct Corked {
    pub(super) stream: MaybeTls,
    held: Vec<u8>,
    is_corked: bool,
}

impl Corked {
    /// From the next flush on everything is written.
    pub(super) fn uncork(&mut self) {
        self.is_corked = false;
    }

    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Corked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Corked {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_corked {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_held(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_corked {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_held(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Serves an accepted connection to its end.
pub(super) async fn serve(exchange: Arc<Exchange>, tcp: TcpStream, acceptor: Option<TlsAcceptor>, number: u64) {
    let address = tcp.peer_addr().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip());
    if strikes(&exchange, number, &Fault::HangTls) {
        hang(&exchange, tcp).await;
        return;
    }
    let Ok(mut stream) = MaybeTls::accept(tcp, acceptor.as_ref()).await else {
        count(&exchange.counters.upgrades_refused);
        return;
    };
    if strikes(&exchange, number, &Fault::HangUpgrade) {
        hang(&exchange, stream).await;
        return;
    }
    if exchange.faults.lock().expect("no holder panics").takes_upgrade(exchange.venue, number) {
        count(&exchange.counters.connections_killed);
        exchange.counters.strike(&Fault::CutUpgrade);
        // The client must have asked before half of an answer means anything to it.
        let _ = timeout(UPGRADE_PATIENCE, stream.read(&mut [0; 4096])).await;
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Prot").await;
        let _ = stream.flush().await;
        stream.reset_on_drop();
        return;
    }
    let delay = {
        let faults = exchange.faults.lock().expect("no holder panics");
        let span = faults.find(exchange.venue, number, |fault| match fault {
            Fault::SlowUpgrade(span) => Some(*span),
            _ => None,
        });
        span.map(|span| faults.draw(span, exchange.venue, number))
    };
    if let Some(delay) = delay {
        exchange.counters.strike(&Fault::SlowUpgrade(Span::exactly(delay)));
        let mut stop = exchange.stop.clone();
        tokio::select! { biased;
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
    let refusal = refusal(&exchange, address, number);
    let is_corked = refusal.is_none() && strikes(&exchange, number, &Fault::UpgradeWithFrame);
    let stream = Corked { stream, held: Vec::new(), is_corked };
    let Some((socket, session)) = upgrade(&exchange, stream, number, refusal).await else {
        count(&exchange.counters.upgrades_refused);
        return;
    };
    let (kill, kills) = mpsc::channel(4);
    let (frames, batches) = mpsc::channel(4);
    let client = Arc::new(Client { session: Mutex::new(session), kill, frames });
    exchange.enter(number, Arc::clone(&client));
    let connection = Connection::new(&exchange, &client, number);
    connection.run(socket, connection::Orders { kills, batches }, is_corked).await;
    exchange.leave(number);
}

/// Whether a fault without a value strikes this connection; counted if it does.
fn strikes(exchange: &Exchange, number: u64, wanted: &Fault) -> bool {
    let faults = exchange.faults.lock().expect("no holder panics");
    let is_struck = faults.find(exchange.venue, number, |fault| (fault == wanted).then_some(())).is_some();
    if is_struck {
        exchange.counters.strike(wanted);
    }
    is_struck
}

/// Reads and never answers, until the client goes.
async fn hang(exchange: &Exchange, mut stream: impl AsyncRead + Unpin) {
    let mut stop = exchange.stop.clone();
    let mut buffer = [0; 4096];
    let listening = async { while matches!(stream.read(&mut buffer).await, Ok(1..)) {} };
    tokio::select! { biased;
        () = stopped(&mut stop) => {}
        _ = timeout(HANG_PATIENCE, listening) => {}
    }
}

/// The status this upgrade is refused with, and what `Retry-After` says.
fn refusal(exchange: &Exchange, address: IpAddr, number: u64) -> Option<(u16, Option<Duration>)> {
    let now = Instant::now();
    let is_binance = matches!(exchange.venue, Venue::BinanceSpot | Venue::BinanceUsdm);
    let (ordered, limit) = {
        let faults = exchange.faults.lock().expect("no holder panics");
        let ordered = faults.find(exchange.venue, number, |fault| match fault {
            Fault::RefuseUpgrade { status, window } => faults.is_within(*window, now).map(|left| (*status, left)),
            _ => None,
        });
        let limit = faults.find(exchange.venue, number, |fault| match fault {
            Fault::ConnectLimit(count, window) => Some(Limit { count: *count, window: *window }),
            _ => None,
        });
        (ordered, limit)
    };
    let count = if is_binance { CONNECTS_BINANCE } else { CONNECTS_BYBIT };
    let limit = limit.unwrap_or(Limit { count, window: CONNECTS_WINDOW });
    let admitted = exchange.connects.lock().expect("no holder panics").admit(address, limit, now);
    if let Some((status, left)) = ordered {
        exchange.counters.strike(&Fault::RefuseUpgrade { status, window: None });
        return Some((status, matches!(status, 418 | 429 | 503).then_some(left)));
    }
    let wait = admitted.err()?;
    exchange.counters.violate(Violation::ConnectsPerAddress);
    Some(if is_binance { (429, Some(wait)) } else { (403, None) })
}

/// Whole seconds, rounded up, at least one: the venue counts in nothing finer.
pub(super) fn retry_after(wait: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(wait.as_millis().div_ceil(1_000).max(1)).unwrap_or(u64::MAX))
}

async fn upgrade(
    exchange: &Exchange,
    stream: Corked,
    number: u64,
    refused: Option<(u16, Option<Duration>)>,
) -> Option<(Socket, Session)> {
    let mut session = None;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        if let Some((status, wait)) = refused {
            let mut refusal = ErrorResponse::new(Some(format!("{} refuses with {status}", exchange.venue)));
            *refusal.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            if let Some(wait) = wait {
                refusal.headers_mut().insert(header::RETRY_AFTER, retry_after(wait));
            }
            return Err(refusal);
        }
        let uri = request.uri();
        session = Session::open(exchange.venue, uri.path(), uri.query(), number);
        if session.is_some() {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some(format!("{} has no stream at {}", exchange.venue, uri.path())));
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        Err(refusal)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(64 * 1024)
        .max_write_buffer_size(8 * 1024 * 1024)
        .max_message_size(Some(REQUEST_BYTES_MAX))
        .max_frame_size(Some(REQUEST_BYTES_MAX));
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, check, Some(config));
    let mut stop = exchange.stop.clone();
    tokio::select! { biased;
        () = stopped(&mut stop) => None,
        accepted = timeout(UPGRADE_PATIENCE, accepted) => match accepted {
            Ok(Ok(socket)) => session.map(|session| (socket, session)),
            _ => None,
        }
    }
}
