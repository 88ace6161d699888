//! One WebSocket connection of the embedded exchange, from the accept to its end.
//!
//! ```text
//! TCP ─► TLS? ─► upgrade (path checked) ─► loop { kill · request · recorded batch · synthetic tick · ping } ─► close
//! ```
//! Bounded: the socket's buffer, one batch, and 5 seconds of patience with a client that does not read.

use super::exchange::{Batch, Client, Exchange, Feed, stopped};
use super::faults::Kill;
use super::line::Lines;
use super::protocol::Session;
use super::stats::count;
use super::tls::MaybeTls;
use crate::market::{EventKind, Venue};
use futures_util::{SinkExt, StreamExt};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// How long the upgrade may take.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may leave our writes standing.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a closing handshake may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// Bybit cuts a connection after this long without anything.
const IDLE_PATIENCE: Duration = Duration::from_secs(600);
/// Largest message a client may send.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

type Socket = WebSocketStream<MaybeTls>;

/// Serves an accepted connection to its end.
pub(super) async fn serve(exchange: Arc<Exchange>, tcp: TcpStream, acceptor: Option<TlsAcceptor>, number: u64) {
    let Ok(mut stream) = MaybeTls::accept(tcp, acceptor.as_ref()).await else {
        count(&exchange.counters.upgrades_refused);
        return;
    };
    let (is_cut, cut_after) = {
        let mut faults = exchange.faults.lock().expect("no holder panics");
        (faults.takes_upgrade(exchange.venue, number), faults.cut_after(exchange.venue, number))
    };
    if is_cut {
        count(&exchange.counters.connections_killed);
        // The client must have asked before half of an answer means anything to it.
        let _ = timeout(UPGRADE_PATIENCE, stream.read(&mut [0; 4096])).await;
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Prot").await;
        let _ = stream.flush().await;
        stream.reset_on_drop();
        return;
    }
    let Some((socket, session)) = upgrade(&exchange, stream, number).await else {
        count(&exchange.counters.upgrades_refused);
        return;
    };
    let (kill, kills) = mpsc::channel(4);
    let (frames, batches) = mpsc::channel(4);
    let client = Arc::new(Client { session: Mutex::new(session), kill, frames });
    exchange.enter(number, Arc::clone(&client));
    let connection = Connection::new(&exchange, &client, number, cut_after);
    connection.run(socket, kills, batches).await;
    exchange.leave(number);
}

async fn upgrade(exchange: &Exchange, stream: MaybeTls, number: u64) -> Option<(Socket, Session)> {
    let mut session = None;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
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
    match timeout(UPGRADE_PATIENCE, accepted).await {
        Ok(Ok(socket)) => session.map(|session| (socket, session)),
        _ => None,
    }
}

/// Why a connection ends.
enum End {
    /// The client said so, or is gone.
    Gone,
    /// We close it with this code and text.
    Close(u16, &'static str),
    /// It is reset, behind half of a frame or at once.
    Kill(Kill),
    /// It is cut inside this message, behind so many bytes of its payload.
    Cut(Utf8Bytes, usize),
    /// It did not read for [`WRITE_PATIENCE`].
    Slow,
    /// It did not answer.
    Silent,
}

const STOPPED: End = End::Close(1001, "the exchange stops");

/// What one turn of the loop leads to.
enum Turn {
    Done(ControlFlow<End>),
    Send(Batch),
}

struct Connection<'a> {
    exchange: &'a Exchange,
    client: &'a Client,
    lines: Option<Lines>,
    /// Payload bytes until this connection is to be cut.
    cut_in: Option<u64>,
    /// When the client's latest messages came, for the venue's limit on them.
    arrivals: VecDeque<Instant>,
    last_heard: Instant,
    last_pong: Instant,
    paced_since: Instant,
    paced_count: u64,
}

impl<'a> Connection<'a> {
    fn new(exchange: &'a Exchange, client: &'a Client, number: u64, cut_in: Option<u64>) -> Self {
        let now = Instant::now();
        let mut lines = None;
        if let Feed::Synthetic { market, seed, .. } = &exchange.feed {
            let mut new = Lines::new(exchange.venue, *seed, number);
            let session = client.session.lock().expect("no holder panics");
            let names: Vec<String> = session.subscriptions().iter().cloned().collect();
            new.add(&names, &session, &mut market.lock().expect("no holder panics"));
            lines = Some(new);
        }
        if !client.session.lock().expect("no holder panics").subscriptions().is_empty() {
            exchange.note_request();
        }
        Self {
            exchange,
            client,
            lines,
            cut_in,
            arrivals: VecDeque::new(),
            last_heard: now,
            last_pong: now,
            paced_since: now,
            paced_count: 0,
        }
    }

    fn is_binance(&self) -> bool {
        matches!(self.exchange.venue, Venue::BinanceSpot | Venue::BinanceUsdm)
    }

    async fn run(mut self, mut socket: Socket, mut kills: mpsc::Receiver<Kill>, mut batches: mpsc::Receiver<Batch>) {
        let (ping_every, pong_within) = self.ping_times();
        let mut pings = interval(ping_every);
        let mut ticks = interval(self.tick());
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // The first tick of an interval is due at once.
        pings.tick().await;
        let mut stop = self.exchange.stop.clone();
        let end = loop {
            let is_live = self.lines.as_ref().is_some_and(Lines::is_live);
            let turn = tokio::select! { biased;
                () = stopped(&mut stop) => Turn::Done(ControlFlow::Break(STOPPED)),
                Some(kill) = kills.recv() => Turn::Done(ControlFlow::Break(End::Kill(kill))),
                message = socket.next() => match message {
                    Some(Ok(message)) => Turn::Done(self.hear(&mut socket, message).await),
                    _ => Turn::Done(ControlFlow::Break(End::Gone)),
                },
                _ = pings.tick() => Turn::Done(self.ping(&mut socket, pong_within).await),
                Some(batch) = batches.recv() => Turn::Send(batch),
                _ = ticks.tick(), if is_live => Turn::Send(self.speak()),
            };
            let turn = match turn {
                Turn::Done(turn) => turn,
                // A client that does not read must not keep us from being stopped.
                Turn::Send(batch) => tokio::select! { biased;
                    () = stopped(&mut stop) => ControlFlow::Break(STOPPED),
                    Some(kill) = kills.recv() => ControlFlow::Break(End::Kill(kill)),
                    turn = self.send(&mut socket, &batch.messages, &batch.events) => turn,
                },
            };
            if let ControlFlow::Break(end) = turn {
                break end;
            }
        };
        self.end(socket, end).await;
    }

    /// How often the venue pings, and how long it waits for a pong.
    fn ping_times(&self) -> (Duration, Duration) {
        let minute = Duration::from_secs(60);
        match (self.exchange.ping_interval, self.exchange.venue) {
            (Some(every), _) => (every, 3 * every),
            (None, Venue::BinanceSpot) => (minute / 3, minute),
            (None, Venue::BinanceUsdm) => (3 * minute, 10 * minute),
            // Bybit never pings; the tick only looks for silence.
            (None, _) => (minute, minute),
        }
    }

    /// A millisecond, or as long as one message takes at a low rate.
    fn tick(&self) -> Duration {
        match &self.exchange.feed {
            Feed::Synthetic { rate, .. } if *rate > 0.0 => Duration::from_secs_f64((1.0 / rate).clamp(0.001, 0.1)),
            _ => Duration::from_secs(3_600),
        }
    }

    async fn ping(&mut self, socket: &mut Socket, pong_within: Duration) -> ControlFlow<End> {
        if !self.is_binance() {
            let is_idle = self.last_heard.elapsed() > IDLE_PATIENCE
                && self.client.session.lock().expect("no holder panics").subscriptions().is_empty();
            return if is_idle { ControlFlow::Break(End::Silent) } else { ControlFlow::Continue(()) };
        }
        if self.last_pong.elapsed() > pong_within {
            return ControlFlow::Break(End::Silent);
        }
        let payload = wall_ns().to_string();
        match timeout(WRITE_PATIENCE, socket.send(Message::Ping(payload.into_bytes().into()))).await {
            Ok(Ok(())) => {
                count(&self.exchange.counters.pings_sent);
                ControlFlow::Continue(())
            }
            Ok(Err(_)) => ControlFlow::Break(End::Gone),
            Err(_) => ControlFlow::Break(End::Slow),
        }
    }

    /// Messages the venue takes from a client in one second, if it limits them.
    fn arrivals_max(&self) -> Option<usize> {
        match self.exchange.venue {
            Venue::BinanceSpot => Some(5),
            Venue::BinanceUsdm => Some(10),
            _ => None,
        }
    }

    async fn hear(&mut self, socket: &mut Socket, message: Message) -> ControlFlow<End> {
        let now = Instant::now();
        self.last_heard = now;
        let counters = &self.exchange.counters;
        if let (Some(arrivals_max), false) = (self.arrivals_max(), message.is_close()) {
            self.arrivals.push_back(now);
            while self.arrivals.front().is_some_and(|&first| now - first >= Duration::from_secs(1)) {
                self.arrivals.pop_front();
            }
            if self.arrivals.len() > arrivals_max {
                count(&counters.rate_limit_closes);
                return ControlFlow::Break(End::Close(1008, "too many messages in one second"));
            }
        }
        match message {
            Message::Text(text) => self.answer(socket, &text).await,
            Message::Ping(_) => {
                count(&counters.pings_received);
                // The pong was queued by the read; it leaves with the next write, which is now.
                match timeout(WRITE_PATIENCE, socket.flush()).await {
                    Ok(Ok(())) => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(End::Gone),
                }
            }
            Message::Pong(payload) => {
                count(&counters.pongs_received);
                // An unsolicited, empty pong does not save the connection.
                if !payload.is_empty() {
                    self.last_pong = now;
                }
                ControlFlow::Continue(())
            }
            Message::Close(_) => ControlFlow::Break(End::Gone),
            Message::Binary(_) | Message::Frame(_) => {
                count(&counters.requests_received);
                count(&counters.request_errors);
                ControlFlow::Break(End::Close(1003, "text only"))
            }
        }
    }

    async fn answer(&mut self, socket: &mut Socket, text: &str) -> ControlFlow<End> {
        let counters = &self.exchange.counters;
        count(&counters.requests_received);
        let outcome = {
            let mut session = self.client.session.lock().expect("no holder panics");
            let outcome = match &mut *session {
                Session::Binance(session) => session.handle(text),
                Session::Bybit(session) => session.handle(text, |topic| self.exchange.is_topic(topic)),
            };
            if let (Some(lines), Feed::Synthetic { market, .. }) = (&mut self.lines, &self.exchange.feed) {
                let was_live = lines.is_live();
                if !outcome.removed.is_empty() {
                    lines.remove(&outcome.removed);
                }
                if !outcome.added.is_empty() {
                    lines.add(&outcome.added, &session, &mut market.lock().expect("no holder panics"));
                }
                if !was_live {
                    (self.paced_since, self.paced_count) = (Instant::now(), 0);
                }
            }
            outcome
        };
        self.exchange.note_request();
        if outcome.is_error {
            count(&counters.request_errors);
        }
        if outcome.is_subscribe {
            let request = counters.subscribe_requests.fetch_add(1, Ordering::Relaxed) + 1;
            if self.exchange.faults.lock().expect("no holder panics").takes_batch(self.exchange.venue, request) {
                return ControlFlow::Break(End::Kill(Kill::Reset));
            }
        }
        self.send(socket, &[outcome.reply.into()], &[]).await
    }

    /// The messages that are due by now.
    fn speak(&mut self) -> Batch {
        let (mut messages, mut events) = (Vec::new(), Vec::new());
        let (Some(lines), Feed::Synthetic { market, rate, .. }) = (&mut self.lines, &self.exchange.feed) else {
            return Batch { messages, events, _written: None };
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and neither is negative"
        )]
        let due = (self.paced_since.elapsed().as_secs_f64() * rate) as u64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and neither is negative"
        )]
        let second = rate.ceil() as u64;
        let behind = due.saturating_sub(self.paced_count);
        let now_due = behind.min(second.max(1));
        self.exchange.counters.messages_late.fetch_add(behind - now_due, Ordering::Relaxed);
        self.paced_count = due.max(self.paced_count);
        let session = self.client.session.lock().expect("no holder panics");
        let mut market = market.lock().expect("no holder panics");
        let mut skipped = 0;
        let now_due = usize::try_from(now_due).unwrap_or(usize::MAX);
        lines.speak(&mut market, &session, wall_ns(), now_due, |text, kind, emitted| {
            messages.push(Utf8Bytes::try_from(text).expect("the exchange writes UTF-8"));
            events.push((kind, emitted.events));
            skipped += emitted.lost;
        });
        self.exchange.counters.events_skipped.fetch_add(skipped, Ordering::Relaxed);
        Batch { messages, events, _written: None }
    }

    /// Writes messages, each a frame of its own, and flushes once behind the last.
    async fn send(
        &mut self,
        socket: &mut Socket,
        messages: &[Utf8Bytes],
        events: &[(EventKind, u64)],
    ) -> ControlFlow<End> {
        if messages.is_empty() {
            return ControlFlow::Continue(());
        }
        let mut written = 0;
        let writes = async {
            for message in messages {
                if let Some(left) = &mut self.cut_in {
                    let length = message.len() as u64;
                    if length > *left {
                        let inside = usize::try_from(*left).expect("shorter than a message");
                        return Some(End::Cut(message.clone(), inside));
                    }
                    *left -= length;
                }
                if socket.feed(Message::Text(message.clone())).await.is_err() {
                    return Some(End::Gone);
                }
                written += 1;
            }
            socket.flush().await.err().map(|_| End::Gone)
        };
        let end = timeout(WRITE_PATIENCE, writes).await.unwrap_or(Some(End::Slow));
        self.exchange.counters.messages_sent.fetch_add(written, Ordering::Relaxed);
        if end.is_none() {
            for &(kind, events) in events {
                self.exchange.counters.add_events(kind, events);
            }
        }
        end.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    async fn end(self, mut socket: Socket, end: End) {
        let counters = &self.exchange.counters;
        match end {
            End::Gone => {
                // Answers the client's close frame, if that is how it went.
                let _ = timeout(CLOSE_PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
                let _ = timeout(CLOSE_PATIENCE, socket.get_mut().shutdown()).await;
            }
            End::Close(code, reason) => close(&mut socket, code, reason).await,
            End::Kill(Kill::Close(code)) => {
                count(&counters.connections_killed);
                close(&mut socket, code, "closed on request").await;
            }
            End::Kill(Kill::MidFrame) => {
                count(&counters.connections_killed);
                cut(&mut socket, &"{\"cut\":\"half of this never comes\"}".into(), 16).await;
            }
            End::Kill(_) => {
                count(&counters.connections_killed);
                socket.get_mut().reset_on_drop();
            }
            End::Cut(message, inside) => {
                count(&counters.connections_killed);
                cut(&mut socket, &message, inside).await;
            }
            End::Slow => {
                count(&counters.slow_clients_dropped);
                socket.get_mut().reset_on_drop();
            }
            End::Silent => {
                count(&counters.silent_clients_dropped);
                close(&mut socket, 1008, "no pong").await;
            }
        }
    }
}

/// The closing handshake, ours first.
async fn close(socket: &mut Socket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
    let handshake = async {
        socket.close(Some(frame)).await?;
        while let Some(message) = socket.next().await {
            message?;
        }
        socket.get_mut().shutdown().await.map_err(Into::into)
    };
    // A client that does not answer is dropped; there is nobody left to tell.
    let _: Result<Result<(), tokio_tungstenite::tungstenite::Error>, _> = timeout(CLOSE_PATIENCE, handshake).await;
}

/// Writes the head of `message`'s frame and `inside` bytes of its payload, then resets.
async fn cut(socket: &mut Socket, message: &Utf8Bytes, inside: usize) {
    let mut half = vec![0x81];
    let length = message.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < 126 => half.push(length),
        (_, Ok(length)) => {
            half.push(126);
            half.extend(length.to_be_bytes());
        }
        _ => {
            half.push(127);
            half.extend((length as u64).to_be_bytes());
        }
    }
    half.extend(&message.as_bytes()[..inside.min(length)]);
    let writes = async {
        socket.flush().await.ok()?;
        socket.get_mut().write_all(&half).await.ok()?;
        socket.get_mut().flush().await.ok()
    };
    let _ = timeout(CLOSE_PATIENCE, writes).await;
    socket.get_mut().reset_on_drop();
}

fn wall_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
