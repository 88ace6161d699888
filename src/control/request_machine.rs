//! One request/response connection's control plane: session, login, heartbeat, reconnect, the queue of what waits to be
//! sent, and the table of what was asked. Driven by `engine::RequestClient`, by tests and by any simulation.
//!
//! ```text
//! request, send ─► queue ──Ready──► poll_transmit ─► socket          next_timer: when to call again
//!                    │ table        ▲ login first, on every connect
//! Event + now ──► session edge ─► what is due ─► Action*: connect, close, drop, a request has ended, ...
//! ```
//! The caller performs the actions, sends what [`poll_transmit`](RequestMachine::poll_transmit) gives for as long as the
//! socket takes it, and reports what came of it; events of a socket that is gone must not be handed in. Nothing but the
//! login and pings leaves before the connection is `Ready`. Does no I/O and reads no clock: the wall clock, which logins
//! need, comes with the event.

use super::auth::{AuthRefusal, AuthReply, Authentication, Moment};
use super::codec::{Codec, RequestId};
use super::requests::{
    Ended, NotSent, Outcome, PendingRequest, RequestCounters, RequestSettings, RequestTicket, Requests,
};
use super::{
    Backoff, Beat, Cause, Edge, HeartbeatMonitor, HeartbeatSettings, Pacer, Ping, PingSettings, ReconnectSettings,
    Secret, Session, State, after,
};
use crate::limits::WRITE_BUFFER_BYTES;
use crate::market::MonoNs;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The header of a client's frame at its longest (RFC 6455 section 5.2).
const FRAME_HEADER_BYTES: usize = 14;

/// How one request/response connection behaves.
#[derive(Clone, Debug)]
pub struct RequestMachineSettings {
    /// The venue's rule of requests and answers.
    pub codec: Arc<dyn Codec>,
    /// Who logs in after each upgrade; `None`: nobody.
    pub authentication: Option<Authentication>,
    /// How long the answer to the login may take.
    pub auth_timeout: Duration,
    /// How big the table is.
    pub requests: RequestSettings,
    /// Messages that may wait for the connection, requests included.
    pub queued_max: usize,
    /// How long a message without a request's deadline may wait for the connection: one that comes too late may do harm.
    pub send_wait: Duration,
    /// Longest message in bytes.
    pub message_bytes_max: usize,
    /// Messages a second that the venue allows on one connection; `None` where it states no limit.
    pub messages_per_second: Option<u32>,
    /// How to stay alive.
    pub heartbeat: HeartbeatSettings,
    /// The venue's own ping, where the heartbeat sends [`Ping::Text`].
    pub ping_text: String,
    /// How to come back. Without an `auth_wait`, a login that is refused for good ends the connection.
    pub reconnect: ReconnectSettings,
    /// How long a close handshake may take before the socket is dropped.
    pub close_timeout: Duration,
}

impl RequestMachineSettings {
    /// No login, 1,024 requests and messages, 10 s for a login and for a send to wait, protocol pings every 15 s that must
    /// be answered within 10 s, and a jitter of its own by `seed`.
    #[must_use]
    pub fn new(codec: Arc<dyn Codec>, seed: u64) -> Self {
        Self {
            codec,
            authentication: None,
            auth_timeout: Duration::from_secs(10),
            requests: RequestSettings::default(),
            queued_max: 1_024,
            send_wait: Duration::from_secs(10),
            message_bytes_max: WRITE_BUFFER_BYTES - FRAME_HEADER_BYTES,
            messages_per_second: None,
            heartbeat: HeartbeatSettings {
                pings: vec![PingSettings { ping: Ping::Protocol, interval: Duration::from_secs(15) }],
                timeout: Duration::from_secs(10),
                silence_max: None,
                server_ping: None,
            },
            ping_text: "ping".to_owned(),
            reconnect: ReconnectSettings { seed, auth_wait: None, ..ReconnectSettings::default() },
            close_timeout: Duration::from_millis(100),
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum RequestEvent<'a> {
    /// The operator wants the connection up.
    Start,
    /// The upgrade is done.
    Connected {
        /// The wall clock: milliseconds since the Unix epoch, for the login.
        wall_ms: u64,
    },
    /// The connect failed.
    ConnectFailed {
        /// Why.
        reason: &'a str,
        /// How long the venue asked us to stay away, if it did.
        retry_after: Option<Duration>,
        /// True where the venue refused who we are (HTTP 401 to signed headers): there is no next attempt.
        is_auth_refusal: bool,
    },
    /// A text or binary message.
    Message(&'a [u8]),
    /// A ping or pong frame.
    Seen,
    /// The socket is gone.
    Lost {
        /// How it went.
        reason: &'a str,
        /// The close code, where the venue took leave.
        close_code: Option<u16>,
    },
    /// The time of [`RequestMachine::next_timer`] has come.
    Timer,
    /// The operator wants the connection down.
    Stop,
    /// The close handshake is done.
    Closed,
}

/// What the caller is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestAction {
    /// Connect and upgrade, headers and tokens made afresh.
    Connect,
    /// Begin the close handshake.
    Close {
        /// The close code.
        code: u16,
    },
    /// Let go of the socket, or of the connect under way, at once.
    Drop,
    /// Tell who asked.
    Ended(Ended),
    /// The message that was just handed in answers nothing: it is for whoever listens.
    Unsolicited,
    /// Tell whom it concerns.
    Report(RequestReport),
}

/// What a person may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestReport {
    /// The upgrade is done.
    Connected,
    /// The venue has let us in.
    Authenticated,
    /// Requests are sent from now on.
    Ready,
    /// The venue does not let us in; if it may at another time, `Reconnecting` follows.
    AuthRefused(AuthRefusal),
    /// The connection was lost; the next attempt follows.
    Reconnecting {
        /// Failures in a row, from 1.
        attempt: u32,
        /// Wait before the attempt.
        delay: Duration,
        /// Why it was lost.
        reason: String,
    },
    /// Over.
    Closed(RequestEnd),
}

/// Why it is over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestEnd {
    /// It was asked to close.
    Closed,
    /// No attempt is left.
    GaveUp {
        /// Why the last one failed.
        reason: String,
    },
    /// The venue does not let us in.
    AuthRefused(AuthRefusal),
}

impl RequestEnd {
    fn not_sent(&self) -> NotSent {
        match self {
            Self::Closed => NotSent::Closed,
            Self::GaveUp { reason } => NotSent::GaveUp { reason: reason.clone() },
            Self::AuthRefused(refusal) => NotSent::AuthRefused(refusal.clone()),
        }
    }
}

/// What is to be sent now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transmit {
    /// The login: a text that is never shown.
    Login(Secret),
    /// A text.
    Text(String),
    /// A WebSocket ping frame.
    ProtocolPing,
}

/// What one request/response connection's control plane knows, for outputs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RequestStatus {
    /// Where it stands.
    pub state: &'static str,
    /// Failures in a row.
    pub attempt: u32,
    /// Requests under way, the oldest first.
    pub pending: Vec<PendingRequest>,
    /// Messages that wait for the connection, requests included.
    pub queued: usize,
    /// What became of all requests so far.
    pub requests: RequestCounters,
    /// Messages without an answer that were given to the socket.
    pub sends: u64,
    /// Messages without an answer that waited too long, or until the end, and were dropped.
    pub sends_dropped: u64,
    /// Messages that answered nothing.
    pub unsolicited: u64,
    /// Upgrades done.
    pub connects: u64,
    /// Logins accepted.
    pub logins: u64,
    /// Logins refused.
    pub logins_refused: u64,
    /// The last refusal of a login.
    pub last_login_refusal: Option<String>,
    /// Answers to our ping texts.
    pub pongs: u64,
    /// The server's ping texts.
    pub server_pings: u64,
    /// Events that the state had no use for.
    pub illegal_events: u64,
    /// Why the connection was last lost.
    pub last_loss: Option<String>,
}

#[derive(Debug)]
struct Queued {
    text: String,
    /// The request it is; `None` for a message without an answer.
    ticket: Option<RequestTicket>,
    /// When a message without an answer has waited too long.
    expires_at: MonoNs,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sends: u64,
    sends_dropped: u64,
    unsolicited: u64,
    connects: u64,
    logins: u64,
    logins_refused: u64,
    pongs: u64,
    server_pings: u64,
}

/// The control plane of one request/response connection.
#[derive(Debug)]
pub struct RequestMachine {
    settings: RequestMachineSettings,
    session: Session,
    requests: Requests,
    heartbeat: HeartbeatMonitor,
    backoff: Backoff,
    pacer: Pacer,
    nonces: StdRng,
    queue: VecDeque<Queued>,
    /// The login under way: its id, and the message until it is sent.
    login: Option<(u64, Option<Secret>)>,
    /// Our pings that wait for the socket, one of a kind.
    pings_due: VecDeque<Ping>,
    /// The answer to the server's last ping text, until the socket takes it.
    answer_due: Option<String>,
    /// Both clocks at the last upgrade.
    connected_at: (u64, MonoNs),
    /// When to connect again (reconnecting), to give the login up (authenticating) or to drop the socket (closing).
    deadline: Option<MonoNs>,
    /// Set once it will not come back.
    end: Option<RequestEnd>,
    counts: Counts,
    last_login_refusal: Option<String>,
    last_loss: Option<String>,
}

impl RequestMachine {
    /// A connection that was never started.
    #[must_use]
    pub fn new(settings: RequestMachineSettings) -> Self {
        Self {
            session: Session::new(),
            requests: Requests::new(settings.requests),
            heartbeat: HeartbeatMonitor::new(settings.heartbeat.clone()),
            backoff: Backoff::new(settings.reconnect.clone()),
            pacer: Pacer::new(settings.messages_per_second, 100),
            // Another stream of numbers than the jitter's.
            nonces: StdRng::seed_from_u64(!settings.reconnect.seed),
            queue: VecDeque::new(),
            login: None,
            pings_due: VecDeque::new(),
            answer_due: None,
            connected_at: (0, MonoNs(0)),
            deadline: None,
            end: None,
            counts: Counts::default(),
            last_login_refusal: None,
            last_loss: None,
            settings,
        }
    }

    /// Takes one event and appends what is to be done. Whatever is due at `now` is done too, so a late or a spurious
    /// timer does no harm.
    pub fn handle(&mut self, event: RequestEvent<'_>, now: MonoNs, actions: &mut Vec<RequestAction>) {
        let state = self.session.state();
        match event {
            RequestEvent::Start => {
                if self.session.take(Edge::Start) {
                    actions.push(RequestAction::Connect);
                }
            }
            RequestEvent::Connected { wall_ms } => self.on_connected(wall_ms, now, actions),
            RequestEvent::ConnectFailed { reason, is_auth_refusal: true, .. } if state == State::Connecting => {
                let refusal = AuthRefusal { code: Some(401), message: reason.to_owned(), is_retryable: false };
                self.on_refused(refusal, now, actions);
            }
            RequestEvent::ConnectFailed { reason, retry_after, .. } if state == State::Connecting => {
                let cause = retry_after.map_or(Cause::Network, |wait| Cause::Refused { retry_after: Some(wait) });
                self.lose(reason, cause, now, actions);
            }
            RequestEvent::Lost { reason, close_code } if state.is_up() => {
                self.lose(reason, close_code.map_or(Cause::Network, Cause::of_close_code), now, actions);
            }
            RequestEvent::Closed if state.is_up() => self.lose("closed by the venue", Cause::Network, now, actions),
            RequestEvent::ConnectFailed { .. } | RequestEvent::Lost { .. } | RequestEvent::Closed => {
                if self.session.take(Edge::Closed) {
                    self.closed(actions);
                }
            }
            RequestEvent::Message(bytes) if state.is_up() => self.on_message(bytes, now, actions),
            RequestEvent::Seen if state.is_up() => self.seen(now),
            // What came before the peer heard of the close is of no use any more, and no fault.
            RequestEvent::Message(_) | RequestEvent::Seen if state == State::Closing => {}
            RequestEvent::Message(_) => self.session.note_illegal("message"),
            RequestEvent::Seen => self.session.note_illegal("seen"),
            RequestEvent::Timer => {}
            RequestEvent::Stop => self.on_stop(now, actions),
        }
        self.advance(now, actions);
    }

    /// Asks for something: the codec writes it, with an id of its own. The answer, or why there is none, comes as
    /// [`RequestAction::Ended`] with this ticket, at once where it cannot be sent.
    pub fn request(
        &mut self,
        method: &str,
        params: Option<&RawValue>,
        timeout: Duration,
        now: MonoNs,
        actions: &mut Vec<RequestAction>,
    ) -> RequestTicket {
        let id = self.requests.fresh_id();
        let mut text = String::new();
        self.settings.codec.write(id, method, params, &mut text);
        self.open(RequestId::Number(id), method, text, timeout, now, actions)
    }

    /// The same with a text that the caller has written, its id included.
    pub fn request_raw(
        &mut self,
        text: String,
        timeout: Duration,
        now: MonoNs,
        actions: &mut Vec<RequestAction>,
    ) -> RequestTicket {
        match self.settings.codec.request_id(&text) {
            Some((id, method)) => self.open(id, &method, text, timeout, now, actions),
            None => self.refuse(NotSent::NoId, actions),
        }
    }

    /// Refuses a request that could not even be written.
    pub fn refuse(&mut self, why: NotSent, actions: &mut Vec<RequestAction>) -> RequestTicket {
        let ticket = self.requests.refuse();
        actions.push(RequestAction::Ended(Ended { ticket, outcome: Outcome::NotSent(why) }));
        ticket
    }

    /// Sends a text that has no answer, as soon as the connection is ready.
    ///
    /// # Errors
    /// [`NotSent`]: too long, too many wait, or it is over.
    pub fn send(&mut self, text: String, now: MonoNs) -> Result<(), NotSent> {
        self.admit(&text)?;
        let expires_at = after(now, self.settings.send_wait);
        self.queue.push_back(Queued { text, ticket: None, expires_at });
        Ok(())
    }

    /// Who asked no longer wants to know.
    pub fn abandon(&mut self, ticket: RequestTicket) {
        if self.requests.abandon(ticket) {
            self.queue.retain(|queued| queued.ticket != Some(ticket));
        }
    }

    /// What the socket is to take next, if anything. What is given counts as sent.
    pub fn poll_transmit(&mut self, now: MonoNs) -> Option<Transmit> {
        if !self.session.state().is_up() {
            return None;
        }
        let transmit = if let Some(message) = self.login.as_mut().and_then(|(_, message)| message.take()) {
            Some(Transmit::Login(message))
        } else if let Some(answer) = self.answer_due.take() {
            Some(Transmit::Text(answer))
        } else if let Some(ping) = self.pings_due.pop_front() {
            Some(self.written_ping(&ping, now))
        } else if self.session.state() == State::Ready && self.pacer.next_at(now) <= now {
            self.dequeue()
        } else {
            None
        };
        if transmit.is_some() {
            self.pacer.sent(now);
        }
        transmit
    }

    /// True if [`poll_transmit`](Self::poll_transmit) has something to give.
    #[must_use]
    pub fn has_transmit(&mut self, now: MonoNs) -> bool {
        let is_login_due = self.login.as_ref().is_some_and(|(_, message)| message.is_some());
        let is_queue_due =
            self.session.state() == State::Ready && !self.queue.is_empty() && self.pacer.next_at(now) <= now;
        let is_heartbeat_due = self.answer_due.is_some() || !self.pings_due.is_empty();
        self.session.state().is_up() && (is_login_due || is_heartbeat_due || is_queue_due)
    }

    /// When [`RequestEvent::Timer`] is due, or [`poll_transmit`](Self::poll_transmit) has more to give; `None` while only
    /// an event can change anything.
    #[must_use]
    pub fn next_timer(&mut self, now: MonoNs) -> Option<MonoNs> {
        let is_ready = self.session.state() == State::Ready;
        let paced = (is_ready && !self.queue.is_empty()).then(|| self.pacer.next_at(now)).filter(|&at| at > now);
        let expiring = self.queue.iter().find(|queued| queued.ticket.is_none()).map(|queued| queued.expires_at);
        let timers = [self.deadline, self.heartbeat.next_timer(), self.requests.next_timer(), paced, expiring];
        timers.into_iter().flatten().min()
    }

    /// Where the connection stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.session.state()
    }

    /// Why it will not come back, once that is so.
    #[must_use]
    pub const fn end(&self) -> Option<&RequestEnd> {
        self.end.as_ref()
    }

    /// Everything it knows.
    #[must_use]
    pub fn status(&self, now: MonoNs) -> RequestStatus {
        RequestStatus {
            state: self.session.state().name(),
            attempt: self.backoff.failures(),
            pending: self.requests.pending(now),
            queued: self.queue.len(),
            requests: self.requests.counters(),
            sends: self.counts.sends,
            sends_dropped: self.counts.sends_dropped,
            unsolicited: self.counts.unsolicited,
            connects: self.counts.connects,
            logins: self.counts.logins,
            logins_refused: self.counts.logins_refused,
            last_login_refusal: self.last_login_refusal.clone(),
            pongs: self.counts.pongs,
            server_pings: self.counts.server_pings,
            illegal_events: self.session.illegal_count(),
            last_loss: self.last_loss.clone(),
        }
    }

    fn open(
        &mut self,
        id: RequestId,
        method: &str,
        text: String,
        timeout: Duration,
        now: MonoNs,
        actions: &mut Vec<RequestAction>,
    ) -> RequestTicket {
        if let Err(why) = self.admit(&text) {
            return self.refuse(why, actions);
        }
        match self.requests.open(id, method, timeout, now) {
            Ok(ticket) => {
                self.queue.push_back(Queued { text, ticket: Some(ticket), expires_at: MonoNs(u64::MAX) });
                ticket
            }
            Err((ticket, why)) => {
                actions.push(RequestAction::Ended(Ended { ticket, outcome: Outcome::NotSent(why) }));
                ticket
            }
        }
    }

    /// Whether a text may join the queue.
    fn admit(&self, text: &str) -> Result<(), NotSent> {
        let (length_bytes_max, queued_max) = (self.settings.message_bytes_max, self.settings.queued_max);
        match &self.end {
            Some(end) => Err(end.not_sent()),
            None if text.len() > length_bytes_max => {
                Err(NotSent::TooLong { length_bytes: text.len(), length_bytes_max })
            }
            None if self.queue.len() >= queued_max => Err(NotSent::QueueFull { queued_max }),
            None => Ok(()),
        }
    }

    fn written_ping(&mut self, ping: &Ping, now: MonoNs) -> Transmit {
        match ping {
            Ping::Protocol => Transmit::ProtocolPing,
            Ping::Text => Transmit::Text(self.settings.ping_text.clone()),
            Ping::Template(template) => {
                let (wall_ms, since) = self.connected_at;
                let wall_ms = wall_ms.saturating_add(now.since_ns(since) / 1_000_000);
                let (id, mut text) = (self.requests.fresh_id(), Vec::new());
                template.write(id, wall_ms, &mut text);
                Transmit::Text(String::from_utf8_lossy(&text).into_owned())
            }
        }
    }

    fn dequeue(&mut self) -> Option<Transmit> {
        while let Some(queued) = self.queue.pop_front() {
            let is_wanted = match queued.ticket {
                Some(ticket) => self.requests.sent(ticket),
                None => {
                    self.counts.sends += 1;
                    true
                }
            };
            if is_wanted {
                return Some(Transmit::Text(queued.text));
            }
        }
        None
    }

    fn on_connected(&mut self, wall_ms: u64, now: MonoNs, actions: &mut Vec<RequestAction>) {
        if !self.session.take(Edge::Connected) {
            return;
        }
        self.counts.connects += 1;
        self.connected_at = (wall_ms, now);
        self.heartbeat.connected(now);
        self.pacer.reset();
        actions.push(RequestAction::Report(RequestReport::Connected));
        match &self.settings.authentication {
            None => self.ready(actions),
            Some(authentication) => {
                let id = self.requests.fresh_id();
                let moment = Moment { wall_ms, nonce: self.nonces.random(), id };
                self.login = Some((id, Some(authentication.message(moment))));
                self.deadline = Some(after(now, self.settings.auth_timeout));
                self.session.take(Edge::Authenticate);
            }
        }
    }

    fn ready(&mut self, actions: &mut Vec<RequestAction>) {
        self.session.take(Edge::Settled);
        actions.push(RequestAction::Report(RequestReport::Ready));
    }

    /// A sign of life. Once ready every one of them is data to the backoff: a quiet line that answers pings is a good one.
    fn seen(&mut self, now: MonoNs) {
        self.heartbeat.seen(now);
        if self.session.state() == State::Ready {
            self.backoff.data_seen(now);
        }
    }

    fn on_message(&mut self, bytes: &[u8], now: MonoNs, actions: &mut Vec<RequestAction>) {
        self.seen(now);
        if self.session.state() == State::Authenticating
            && let (Some(authentication), Some((id, None))) = (&self.settings.authentication, &self.login)
        {
            match authentication.read(*id, bytes) {
                AuthReply::Accepted => return self.on_accepted(actions),
                AuthReply::Refused(refusal) => return self.on_refused(refusal, now, actions),
                AuthReply::NotMine => {}
            }
        }
        let mut answer = Vec::new();
        if self.heartbeat.answer(bytes, &mut answer) {
            self.counts.server_pings += 1;
            self.answer_due = Some(String::from_utf8_lossy(&answer).into_owned());
            return;
        }
        let mut replies = Vec::new();
        let is_only_replies = self.settings.codec.read(bytes, &mut replies);
        let is_pong = self.settings.codec.is_pong(bytes);
        for reply in replies {
            // The answer to our heartbeat is no answer to a request, unless one asks for just that.
            if is_pong && !self.requests.is_expected(&reply.to) {
                self.counts.pongs += 1;
            } else {
                actions.extend(self.requests.answered(reply).map(RequestAction::Ended));
            }
        }
        if is_only_replies {
            return;
        }
        if is_pong {
            self.counts.pongs += 1;
        } else {
            self.counts.unsolicited += 1;
            actions.push(RequestAction::Unsolicited);
        }
    }

    fn on_accepted(&mut self, actions: &mut Vec<RequestAction>) {
        self.login = None;
        self.deadline = None;
        self.counts.logins += 1;
        self.session.take(Edge::Authenticated);
        actions.push(RequestAction::Report(RequestReport::Authenticated));
        self.ready(actions);
    }

    fn on_refused(&mut self, refusal: AuthRefusal, now: MonoNs, actions: &mut Vec<RequestAction>) {
        self.counts.logins_refused += 1;
        self.last_login_refusal = Some(refusal.to_string());
        actions.push(RequestAction::Report(RequestReport::AuthRefused(refusal.clone())));
        let is_up = self.session.state().is_up();
        if refusal.is_retryable || self.settings.reconnect.auth_wait.is_some() {
            if is_up {
                actions.push(RequestAction::Drop);
            }
            let cause = if refusal.is_retryable { Cause::Network } else { Cause::AuthRefused };
            return self.lose(&refusal.to_string(), cause, now, actions);
        }
        if is_up {
            self.session.take(Edge::Stop);
            return self.close(RequestEnd::AuthRefused(refusal), now, actions);
        }
        self.session.take(Edge::GiveUp);
        self.over(RequestEnd::AuthRefused(refusal), actions);
    }

    fn on_stop(&mut self, now: MonoNs, actions: &mut Vec<RequestAction>) {
        let state = self.session.state();
        // Asked twice is asked once.
        if self.end.is_some() || !self.session.take(Edge::Stop) {
            return;
        }
        if state.is_up() {
            return self.close(RequestEnd::Closed, now, actions);
        }
        if self.session.state() == State::Closing {
            // A connect is under way: there is nobody to take leave of.
            actions.push(RequestAction::Drop);
            self.session.take(Edge::Closed);
        }
        self.over(RequestEnd::Closed, actions);
    }

    /// Begins the close handshake; whoever waits is told now.
    fn close(&mut self, end: RequestEnd, now: MonoNs, actions: &mut Vec<RequestAction>) {
        actions.push(RequestAction::Close { code: 1_000 });
        self.disconnected("closed by us", actions);
        self.deadline = Some(after(now, self.settings.close_timeout));
        self.finish(end, actions);
    }

    /// The socket is gone, and another attempt follows if one is left.
    fn lose(&mut self, reason: &str, cause: Cause, now: MonoNs, actions: &mut Vec<RequestAction>) {
        self.disconnected(reason, actions);
        self.last_loss = Some(reason.to_owned());
        let Some(delay) = self.backoff.failed_for(cause) else {
            self.session.take(Edge::GiveUp);
            return self.over(RequestEnd::GaveUp { reason: reason.to_owned() }, actions);
        };
        let attempt = self.backoff.failures();
        self.session.take(Edge::Lost { attempt });
        self.deadline = Some(after(now, delay));
        let report = RequestReport::Reconnecting { attempt, delay, reason: reason.to_owned() };
        actions.push(RequestAction::Report(report));
    }

    /// Forgets the socket.
    fn disconnected(&mut self, reason: &str, actions: &mut Vec<RequestAction>) {
        let mut ended = Vec::new();
        self.requests.disconnected(reason, &mut ended);
        actions.extend(ended.into_iter().map(RequestAction::Ended));
        self.heartbeat.disconnected();
        self.login = None;
        self.pings_due.clear();
        self.answer_due = None;
        self.deadline = None;
    }

    /// It will not come back: what waits is told so.
    fn finish(&mut self, end: RequestEnd, actions: &mut Vec<RequestAction>) {
        let mut ended = Vec::new();
        self.requests.refuse_unsent(&end.not_sent(), &mut ended);
        actions.extend(ended.into_iter().map(RequestAction::Ended));
        let sends = self.queue.iter().filter(|queued| queued.ticket.is_none()).count();
        self.counts.sends_dropped += u64::try_from(sends).unwrap_or(u64::MAX);
        self.queue.clear();
        self.end = Some(end);
    }

    fn over(&mut self, end: RequestEnd, actions: &mut Vec<RequestAction>) {
        self.disconnected("closed by us", actions);
        self.finish(end, actions);
        self.closed(actions);
    }

    fn closed(&mut self, actions: &mut Vec<RequestAction>) {
        self.deadline = None;
        let end = self.end.clone().unwrap_or(RequestEnd::Closed);
        actions.push(RequestAction::Report(RequestReport::Closed(end)));
    }

    /// Does what is due.
    fn advance(&mut self, now: MonoNs, actions: &mut Vec<RequestAction>) {
        let mut ended = Vec::new();
        self.requests.expire(now, &mut ended);
        if !ended.is_empty() {
            let requests = &self.requests;
            self.queue.retain(|queued| queued.ticket.is_none_or(|ticket| requests.is_pending(ticket)));
            actions.extend(ended.into_iter().map(RequestAction::Ended));
        }
        let before = self.queue.len();
        self.queue.retain(|queued| queued.expires_at > now);
        self.counts.sends_dropped += u64::try_from(before - self.queue.len()).unwrap_or(u64::MAX);

        let is_due = self.deadline.is_some_and(|deadline| deadline <= now);
        match self.session.state() {
            State::Reconnecting { .. } if is_due => {
                self.deadline = None;
                self.session.take(Edge::Retry);
                actions.push(RequestAction::Connect);
            }
            State::Authenticating if is_due => {
                actions.push(RequestAction::Drop);
                let reason = format!("no answer to the login within {:?}", self.settings.auth_timeout);
                self.lose(&reason, Cause::Network, now, actions);
            }
            State::Closing if is_due => {
                actions.push(RequestAction::Drop);
                self.session.take(Edge::Closed);
                self.closed(actions);
            }
            _ => {}
        }
        while let Some(beat) = self.heartbeat.poll(now) {
            match beat {
                // One of a kind is enough, where the socket has not taken the last one yet.
                Beat::Ping(ping) if self.pings_due.contains(&ping) => {}
                Beat::Ping(ping) => self.pings_due.push_back(ping),
                Beat::Stale { silent_ns } => {
                    actions.push(RequestAction::Drop);
                    let reason = format!("silent for {:?}", Duration::from_nanos(silent_ns));
                    return self.lose(&reason, Cause::Network, now, actions);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "request_machine_tests.rs"]
mod tests;
