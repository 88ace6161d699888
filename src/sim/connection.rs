//! One open WebSocket connection of the embedded exchange, to its end.
//!
//! ```text
//! loop { stop · kill · new faults · due (age, outbox) · request · ping · recorded batch · synthetic tick } ─► close
//!
//! mode   Open ──► HalfOpen   reads nothing, writes nothing, the socket stays
//!             └─► Deaf       reads everything, writes nothing
//! ```
//! Bounded: the socket's buffer, one batch, the outbox, and 5 seconds of patience with a client that does not read.

use super::bybit_private::AuthEnd;
use super::exchange::{Batch, Client, Exchange, Feed, stopped};
use super::faults::{ConnectionFaults, Fault, Kill, RequestFaults, Span};
use super::handshake::Socket;
use super::json_rpc;
use super::line::Lines;
use super::outbox::Outbox;
use super::protocol::{Outcome, Session};
use super::stats::{Violation, count};
use super::text::Rng;
use crate::market::{EventKind, Venue};
use futures_util::{SinkExt, StreamExt};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// How long a client may leave our writes standing.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a closing handshake may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// Bybit cuts a connection after this long without anything.
const IDLE_PATIENCE: Duration = Duration::from_secs(600);
/// How long an answer waits for another one to go first.
const REORDER_PATIENCE: Duration = Duration::from_secs(1);
/// Messages a tape gives one connection in one turn.
const FOLLOW_COUNT_MAX: usize = 4_096;

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

const GO_ON: Turn = Turn::Done(ControlFlow::Continue(()));

/// Whether the connection still reads and writes.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Mode {
    Open,
    HalfOpen,
    Deaf,
}

/// What came in.
enum Heard {
    Message(Message),
    /// Bytes that nobody looks at.
    Nothing,
    Gone,
}

/// What others want of a connection.
pub(super) struct Orders {
    pub(super) kills: mpsc::Receiver<Kill>,
    pub(super) batches: mpsc::Receiver<Batch>,
}

pub(super) struct Connection<'a> {
    exchange: &'a Exchange,
    client: &'a Client,
    number: u64,
    lines: Option<Lines>,
    faults: ConnectionFaults,
    mode: Mode,
    outbox: Outbox,
    skew: Rng,
    opened: Instant,
    is_notice_sent: bool,
    is_json_rpc: bool,
    /// Bytes of payload sent.
    payload: u64,
    /// Data messages sent.
    data_sent: u64,
    /// Data messages there were for it, those that were left out among them.
    data_made: u64,
    is_silence_noted: bool,
    /// When the client's latest messages came, for the venue's limit on them.
    arrivals: VecDeque<Instant>,
    last_heard: Instant,
    last_pong: Instant,
    paced_since: Instant,
    paced_count: u64,
}

impl<'a> Connection<'a> {
    pub(super) fn new(exchange: &'a Exchange, client: &'a Client, number: u64) -> Self {
        let now = Instant::now();
        let faults = exchange.faults.lock().expect("no holder panics").of_connection(exchange.venue, number);
        let session = client.session.lock().expect("no holder panics");
        let mut lines = None;
        if let Feed::Synthetic { market, seed, .. } = &exchange.feed {
            let mut new = Lines::new(exchange.venue, *seed, number);
            let names: Vec<String> = session.subscriptions().iter().cloned().collect();
            new.add(&names, &session, &mut market.lock().expect("no holder panics"), &faults);
            lines = Some(new);
        }
        if !session.subscriptions().is_empty() {
            exchange.note_request();
        }
        let is_json_rpc = matches!(*session, Session::JsonRpc(_));
        drop(session);
        let skew = Rng::new(faults.seed ^ 0x736B_6577, number);
        let mut connection = Self {
            exchange,
            client,
            number,
            lines,
            faults,
            mode: Mode::Open,
            outbox: Outbox::default(),
            skew,
            opened: now,
            is_notice_sent: false,
            is_json_rpc,
            payload: 0,
            data_sent: 0,
            data_made: 0,
            is_silence_noted: false,
            arrivals: VecDeque::new(),
            last_heard: now,
            last_pong: now,
            paced_since: now,
            paced_count: 0,
        };
        connection.measure();
        connection
    }

    fn is_binance(&self) -> bool {
        matches!(self.exchange.venue, Venue::BinanceSpot | Venue::BinanceUsdm)
    }

    pub(super) async fn run(mut self, mut socket: Socket, mut orders: Orders, is_corked: bool) {
        let (ping_every, pong_within) = self.ping_times();
        let mut pings = interval(ping_every);
        let mut ticks = interval(self.tick());
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // The first tick of an interval is due at once.
        pings.tick().await;
        let mut stop = self.exchange.stop.clone();
        let mut ordered = self.exchange.faults_changed.subscribe();
        if is_corked && self.first_words(&mut socket).await.is_break() {
            return self.end(socket, End::Gone).await;
        }
        let end = loop {
            let now = Instant::now();
            if let ControlFlow::Break(end) = self.age(now) {
                break end;
            }
            let wake_at = self.wake_at();
            let mode = self.mode;
            let is_live = mode == Mode::Open && self.lines.as_ref().is_some_and(Lines::is_live);
            let turn = tokio::select! { biased;
                () = stopped(&mut stop) => Turn::Done(ControlFlow::Break(STOPPED)),
                Some(kill) = orders.kills.recv() => Turn::Done(self.obey(kill)),
                Ok(()) = ordered.changed() => { self.order(); GO_ON }
                () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => self.due(),
                heard = next(&mut socket, mode), if mode != Mode::HalfOpen => match heard {
                    Heard::Message(message) => Turn::Done(self.hear(&mut socket, message).await),
                    Heard::Nothing => GO_ON,
                    Heard::Gone => Turn::Done(ControlFlow::Break(End::Gone)),
                },
                _ = pings.tick(), if mode == Mode::Open => Turn::Done(self.ping(&mut socket, pong_within).await),
                Some(batch) = orders.batches.recv() => self.queue(batch),
                _ = ticks.tick(), if is_live => { let batch = self.speak(0); self.queue(batch) }
            };
            let turn = match turn {
                Turn::Done(turn) => turn,
                // A client that does not read must not keep us from being stopped.
                Turn::Send(batch) => tokio::select! { biased;
                    () = stopped(&mut stop) => ControlFlow::Break(STOPPED),
                    Some(kill) = orders.kills.recv() => self.obey(kill),
                    turn = self.send(&mut socket, &batch.messages, &batch.events) => turn,
                },
            };
            if let ControlFlow::Break(end) = turn {
                break end;
            }
        };
        self.end(socket, end).await;
    }

    /// Fills the segment of the 101, which is held back until now: with data, or with a ping where there is none.
    async fn first_words(&mut self, socket: &mut Socket) -> ControlFlow<End> {
        let batch = if self.lines.as_ref().is_some_and(Lines::is_live) { self.speak(1) } else { Batch::default() };
        let ended = if batch.messages.is_empty() {
            let ping = Message::Ping(wall_ns().to_string().into_bytes().into());
            count(&self.exchange.counters.pings_sent);
            socket.send(ping).await.is_err()
        } else {
            self.send(socket, &batch.messages, &batch.events).await.is_break()
        };
        socket.get_mut().uncork();
        if ended || socket.get_mut().flush().await.is_err() {
            return ControlFlow::Break(End::Gone);
        }
        ControlFlow::Continue(())
    }

    /// Takes over the faults ordered now.
    fn order(&mut self) {
        let venue = self.exchange.venue;
        self.faults = self.exchange.faults.lock().expect("no holder panics").of_connection(venue, self.number);
        if let Some(lines) = &mut self.lines {
            lines.silence(&self.faults);
        }
        self.is_silence_noted = false;
        let is_half_open_ordered =
            self.faults.find(|fault| matches!(fault, Fault::HalfOpen(_)).then_some(())).is_some();
        if self.mode == Mode::HalfOpen && !is_half_open_ordered {
            // What a client sent meanwhile is still in the socket. A deaf connection has lost its place in the frames.
            self.mode = Mode::Open;
        }
        self.measure();
    }

    /// Applies the measures that replace the venue's own.
    fn measure(&mut self) {
        let limit = self.faults.find(|fault| match fault {
            Fault::StreamLimit(count) => Some(*count as usize),
            _ => None,
        });
        if let (Some(limit), Session::Binance(session)) =
            (limit, &mut *self.client.session.lock().expect("no holder panics"))
        {
            session.stream_count_max = limit;
        }
    }

    fn obey(&mut self, kill: Kill) -> ControlFlow<End> {
        match kill {
            Kill::Notice => self.notice(),
            Kill::HalfOpen => self.mode = Mode::HalfOpen,
            Kill::Deaf => self.mode = Mode::Deaf,
            _ => return ControlFlow::Break(End::Kill(kill)),
        }
        ControlFlow::Continue(())
    }

    /// The venue's word that it goes down; Binance's only.
    fn notice(&mut self) {
        let is_combined = match &*self.client.session.lock().expect("no holder panics") {
            Session::Binance(session) => session.is_combined,
            _ => return,
        };
        let event = format!(r#"{{"e":"serverShutdown","E":{}}}"#, wall_ns() / 1_000_000);
        let text = if is_combined { format!(r#"{{"stream":"!serverShutdown","data":{event}}}"#) } else { event };
        count(&self.exchange.counters.notices_sent);
        self.outbox.answer_at(Instant::now(), text.into(), false);
    }

    /// Ages at which something happens: reset, close, notice, half-open, deaf.
    fn ages(&self) -> [Option<Duration>; 5] {
        let age = |pick: fn(&Fault) -> Option<Duration>| self.faults.find(pick);
        let is_open = self.mode == Mode::Open;
        [
            age(|fault| if let Fault::Reset(at) = fault { Some(*at) } else { None }),
            self.faults.close().map(|close| close.0).filter(|_| is_open),
            age(|fault| if let Fault::ShutdownNotice(at) = fault { Some(*at) } else { None })
                .filter(|_| is_open && !self.is_notice_sent),
            age(|fault| if let Fault::HalfOpen(at) = fault { Some(*at) } else { None }).filter(|_| is_open),
            age(|fault| if let Fault::Deaf(at) = fault { Some(*at) } else { None }).filter(|_| is_open),
        ]
    }

    /// What the connection's age brings.
    fn age(&mut self, now: Instant) -> ControlFlow<End> {
        let age = now.saturating_duration_since(self.opened);
        let [reset, close, notice, half_open, deaf] = self.ages().map(|at| at.filter(|&at| age >= at));
        let counters = &self.exchange.counters;
        if let Some(at) = reset {
            counters.strike(&Fault::Reset(at));
            return ControlFlow::Break(End::Kill(Kill::Reset));
        }
        if let Some(at) = notice {
            counters.strike(&Fault::ShutdownNotice(at));
            self.is_notice_sent = true;
            self.notice();
        }
        if let (Some(at), Some((_, code))) = (close, self.faults.close()) {
            counters.strike(&Fault::Close { at, code });
            return ControlFlow::Break(End::Kill(Kill::Close(code)));
        }
        if let Some(at) = half_open {
            counters.strike(&Fault::HalfOpen(at));
            self.mode = Mode::HalfOpen;
        } else if let Some(at) = deaf {
            counters.strike(&Fault::Deaf(at));
            self.mode = Mode::Deaf;
        }
        ControlFlow::Continue(())
    }

    /// When an age is reached, or something in the outbox is due.
    fn wake_at(&self) -> Option<Instant> {
        let ages = self.ages().into_iter().flatten().map(|at| self.opened + at);
        ages.chain(self.outbox.next_at().filter(|_| self.mode == Mode::Open)).min()
    }

    fn due(&mut self) -> Turn {
        if self.mode != Mode::Open {
            return GO_ON;
        }
        Turn::Send(self.outbox.take_due(Instant::now()))
    }

    /// Data on its way out: kept back by silence, late by the leg's skew.
    fn queue(&mut self, mut batch: Batch) -> Turn {
        let counters = &self.exchange.counters;
        let lost = self.faults.find(|fault| match fault {
            Fault::LoseEvery(every) => fault.index().map(|index| ((*every).max(1), index)),
            _ => None,
        });
        if let Some((every, index)) = lost {
            let made = self.data_made;
            let is_kept = |at: usize| !(made + at as u64 + 1).is_multiple_of(every);
            let mut at = 0..;
            batch.events.retain(|_| at.next().is_some_and(is_kept));
            let (mut at, before) = (0.., batch.messages.len());
            batch.messages.retain(|_| at.next().is_some_and(is_kept));
            (batch.messages.len()..before).for_each(|_| counters.strike_at(index));
            counters.messages_suppressed.fetch_add((before - batch.messages.len()) as u64, Ordering::Relaxed);
            self.data_made += before as u64;
        }
        let silence = self.faults.find(|fault| match fault {
            Fault::SilentConnection => Some((0, fault.index())),
            Fault::SilentAfter(count) => Some((*count, fault.index())),
            _ => None,
        });
        let sent_max = match (self.mode, silence) {
            (Mode::Open, None) => u64::MAX,
            (Mode::Open, Some((count, _))) => count,
            _ => 0,
        };
        let allowed = usize::try_from(sent_max.saturating_sub(self.data_sent)).unwrap_or(usize::MAX);
        if batch.messages.len() > allowed {
            let suppressed = (batch.messages.len() - allowed) as u64;
            counters.messages_suppressed.fetch_add(suppressed, Ordering::Relaxed);
            if let (Some((_, Some(index))), false) = (silence, self.is_silence_noted) {
                counters.strike_at(index);
                self.is_silence_noted = true;
            }
            batch.messages.truncate(allowed);
            batch.events.truncate(allowed);
        }
        if batch.messages.is_empty() {
            return GO_ON;
        }
        self.data_sent += batch.messages.len() as u64;
        let skew = self.faults.find(|fault| if let Fault::LegSkew(span) = fault { Some(*span) } else { None });
        match skew {
            None if !self.outbox.has_data() => Turn::Send(batch),
            skew => {
                let delay = skew.unwrap_or(Span::exactly(Duration::ZERO)).draw(&mut self.skew);
                self.outbox.data_at(Instant::now() + delay, batch);
                GO_ON
            }
        }
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
            Feed::Synthetic { is_tape: true, .. } => Duration::from_millis(1),
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
            _ if self.is_json_rpc => None,
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
                counters.violate(Violation::MessagesPerSecond);
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
        let (outcome, struck) = self.handle(text);
        self.exchange.note_request();
        if outcome.is_error {
            count(&counters.request_errors);
        }
        counters.duplicate_subscriptions.fetch_add(outcome.duplicates, Ordering::Relaxed);
        if let Some(violation) = outcome.violation {
            counters.violate(violation);
        }
        if struck.is_cut {
            counters.strike(&Fault::CutBeforeAck);
            return ControlFlow::Break(End::Kill(Kill::Reset));
        }
        if let Some(code) = outcome.close {
            return ControlFlow::Break(End::Close(code, "closed on request"));
        }
        let now_due = self.reply(outcome, &struck);
        self.send(socket, &now_due, &[]).await
    }

    /// Lets the venue act on a request; tells what happens to its answer.
    fn handle(&mut self, text: &str) -> (Outcome, RequestFaults) {
        let (exchange, counters, venue) = (self.exchange, &self.exchange.counters, self.exchange.venue);
        let mut session = self.client.session.lock().expect("no holder panics");
        // Held over the answer, so that two connections never take one number.
        let mut faults = exchange.faults.lock().expect("no holder panics");
        let subscribe_request = counters.subscribe_requests.load(Ordering::Relaxed) + 1;
        let bad_streams = faults.bad_streams(venue, subscribe_request);
        let outcome = match &mut *session {
            Session::Binance(session) => session.handle(text, &bad_streams),
            Session::Bybit(session) => session.handle(text, &bad_streams, |topic| exchange.is_topic(topic)),
            Session::JsonRpc(_) => return (json_rpc::handle(text), RequestFaults::default()),
            Session::BybitPrivate(session) => {
                let struck = faults.of_auth(venue, counters.auth_requests.load(Ordering::Relaxed) + 1);
                let outcome = session.handle(text, &exchange.credentials, wall_ns() / 1_000_000, struck.is_refused);
                let Some(end) = outcome.auth else { return (outcome, RequestFaults::default()) };
                count(&counters.auth_requests);
                if struck.is_refused {
                    counters.strike(&Fault::RefuseAuth);
                }
                count(match end {
                    AuthEnd::Accepted => &counters.auth_accepted,
                    AuthEnd::Malformed => &counters.auth_malformed,
                    AuthEnd::Expired => &counters.auth_expired,
                    AuthEnd::WrongSignature => &counters.auth_wrong_signature,
                });
                return (outcome, struck);
            }
        };
        let mut struck = RequestFaults::default();
        if outcome.is_subscribe {
            count(&counters.subscribe_requests);
            struck = faults.of_request(venue, subscribe_request);
        }
        drop(faults);
        if outcome.is_bad_stream {
            let is_every = bad_streams.iter().any(|bad| bad == "*");
            counters.strike(&if is_every { Fault::RefuseSubscribe } else { Fault::BadStream(String::new()) });
        }
        if let (Some(lines), Feed::Synthetic { market, .. }) = (&mut self.lines, &exchange.feed) {
            let was_live = lines.is_live();
            if !outcome.removed.is_empty() {
                lines.remove(&outcome.removed);
            }
            if !outcome.added.is_empty() {
                lines.add(&outcome.added, &session, &mut market.lock().expect("no holder panics"), &self.faults);
            }
            if !was_live {
                (self.paced_since, self.paced_count) = (Instant::now(), 0);
            }
        }
        (outcome, struck)
    }

    /// What of an answer is sent now; the rest goes to the outbox, or nowhere.
    fn reply(&mut self, outcome: Outcome, struck: &RequestFaults) -> Vec<Utf8Bytes> {
        let (counters, now) = (&self.exchange.counters, Instant::now());
        if outcome.reply.is_empty() {
            return Vec::new();
        }
        let is_auth = outcome.auth.is_some();
        if struck.is_lost {
            counters.strike(&if is_auth { Fault::LoseAuth } else { Fault::LoseAck });
            return Vec::new();
        }
        let reply = Utf8Bytes::from(outcome.reply);
        let mut replies = vec![reply.clone()];
        if struck.is_doubled {
            counters.strike(&Fault::DoubleAck);
            replies.push(reply);
        }
        if struck.is_reordered {
            counters.strike(&Fault::ReorderAck);
            let at = now + REORDER_PATIENCE;
            replies.into_iter().for_each(|reply| self.outbox.answer_at(at, reply, true));
            return Vec::new();
        }
        if let Some(delay) = struck.delay.or(outcome.delay) {
            if let Some(delay) = struck.delay {
                let span = Span::exactly(delay);
                counters.strike(&if is_auth { Fault::DelayAuth(span) } else { Fault::DelayAck(span) });
            }
            replies.into_iter().for_each(|reply| self.outbox.answer_at(now + delay, reply, false));
            return Vec::new();
        }
        replies.extend(self.outbox.take_held());
        replies
    }

    /// The messages that are due by now, at least `count_min` while the market is pulled.
    fn speak(&mut self, count_min: u64) -> Batch {
        let mut batch = Batch::default();
        let counters = &self.exchange.counters;
        let (Some(lines), Feed::Synthetic { market, rate, is_tape, .. }) = (&mut self.lines, &self.exchange.feed)
        else {
            return batch;
        };
        let session = self.client.session.lock().expect("no holder panics");
        let mut skipped = 0;
        let take = |text: bytes::Bytes, kind, emitted: super::line::Emitted| {
            batch.messages.push(Utf8Bytes::try_from(text).expect("the exchange writes UTF-8"));
            batch.events.push((kind, emitted.events));
            skipped += emitted.lost;
        };
        if *is_tape {
            let mut market = market.lock().expect("no holder panics");
            lines.follow(&mut market, &session, wall_ns(), FOLLOW_COUNT_MAX, take);
        } else {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, and neither is negative"
            )]
            let (due, second) = ((self.paced_since.elapsed().as_secs_f64() * rate) as u64, rate.ceil() as u64);
            let behind = due.saturating_sub(self.paced_count).max(count_min);
            let now_due = behind.min(second.max(1));
            counters.messages_late.fetch_add(behind - now_due, Ordering::Relaxed);
            self.paced_count = due.max(self.paced_count);
            let now_due = usize::try_from(now_due).unwrap_or(usize::MAX);
            lines.speak(&mut market.lock().expect("no holder panics"), &session, wall_ns(), now_due, take);
        }
        counters.events_skipped.fetch_add(skipped, Ordering::Relaxed);
        let (suppressed, struck) = lines.take_suppressed();
        counters.messages_suppressed.fetch_add(suppressed, Ordering::Relaxed);
        struck.into_iter().for_each(|fault| counters.strike_at(fault));
        batch
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
        let cut_at = self.faults.find(|fault| if let Fault::CutMidFrame(at) = fault { Some(*at) } else { None });
        let writes = async {
            for message in messages {
                let length = message.len() as u64;
                if let Some(cut_at) = cut_at.filter(|&cut_at| self.payload + length > cut_at) {
                    let inside = cut_at.saturating_sub(self.payload).min(length);
                    return Some(End::Cut(message.clone(), usize::try_from(inside).unwrap_or(0)));
                }
                self.payload += length;
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
        if self.mode != Mode::Open && !matches!(end, End::Gone) {
            // It has nothing to say any more, not even a close.
            if matches!(end, End::Kill(_)) {
                count(&counters.connections_killed);
            }
            return socket.get_mut().stream.reset_on_drop();
        }
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
                socket.get_mut().stream.reset_on_drop();
            }
            End::Cut(message, inside) => {
                count(&counters.connections_killed);
                counters.strike(&Fault::CutMidFrame(0));
                cut(&mut socket, &message, inside).await;
            }
            End::Slow => {
                count(&counters.slow_clients_dropped);
                socket.get_mut().stream.reset_on_drop();
            }
            End::Silent => {
                count(&counters.silent_clients_dropped);
                close(&mut socket, 1008, "no pong").await;
            }
        }
    }
}

/// What comes in next. A deaf connection's bytes are read and not looked at: a look would answer a ping.
async fn next(socket: &mut Socket, mode: Mode) -> Heard {
    if mode == Mode::Deaf {
        return match socket.get_mut().read(&mut [0; 4096]).await {
            Ok(1..) => Heard::Nothing,
            _ => Heard::Gone,
        };
    }
    match socket.next().await {
        Some(Ok(message)) => Heard::Message(message),
        _ => Heard::Gone,
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
    socket.get_mut().stream.reset_on_drop();
}

/// Nanoseconds since the epoch.
pub(super) fn wall_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
