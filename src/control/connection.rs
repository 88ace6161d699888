//! One connection's control plane: session, subscriptions, heartbeat, reconnect and pace put together.
//!
//! ```text
//! Event + now ─► session edge ─► what is due (retry, timeouts, heartbeat, requests) ─► Action*
//!                                                                                      next_timer: when to call again
//! ```
//! The caller performs the actions and reports what came of them. Every [`Action::Connect`] begins a new epoch; events
//! of an earlier epoch's socket must not be handed in, so the caller tags its sockets with [`ConnectionMachine::epoch`].
//! After [`Action::Drop`] the socket is forgotten: its end need not be reported. Does no I/O and reads no clock.

use super::report::{Report, Status};
use super::sends::{SendQueue, SendRefused};
use super::turn::Turn;
use super::{
    AuthReply, Authentication, Backoff, Beat, BudgetId, Cause, Edge, Governor, HeartbeatMonitor, HeartbeatSettings,
    Leg, Moment, Operation, Pacer, Ping, PlanError, ReconnectSettings, RestAnswer, Secret, Session, SlotId, SlotSet,
    State, SubscriptionCounters, SubscriptionSettings, Subscriptions, after,
};
use super::{Expectation, Liveness, LivenessSettings, Verdict};
use crate::limits::SAMPLE_BYTES;
use crate::market::{MonoNs, Venue};
use crate::venue::{AckResult, ControlMessage, Limits, Protocol, protocol};
use std::time::Duration;

/// How one connection behaves.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// The venue.
    pub venue: Venue,
    /// What the venue allows, with the operator's overrides.
    pub limits: Limits,
    /// How to subscribe.
    pub subscriptions: SubscriptionSettings,
    /// How to stay alive.
    pub heartbeat: HeartbeatSettings,
    /// How to come back.
    pub reconnect: ReconnectSettings,
    /// When a silent subscription is an alarm.
    pub liveness: LivenessSettings,
    /// First data of a per-symbol channel that speaks by itself (books, quotes, tickers, candles) within this time after
    /// the ack; `None`: it may stay away.
    pub first_data_within: Option<Duration>,
    /// The same for trades; `None`: nobody may be trading.
    pub first_trade_within: Option<Duration>,
    /// How long a close handshake may take before the socket is dropped.
    pub close_timeout: Duration,
    /// How to log in, made afresh on every connect; `None` where nothing is to be proven.
    pub auth: Option<Authentication>,
    /// How long the answer to a login may take.
    pub auth_timeout: Duration,
}

impl ConnectionSettings {
    /// The venue's documented values, and a jitter of its own by `seed`.
    #[must_use]
    pub fn of_venue(venue: Venue, seed: u64) -> Self {
        Self {
            venue,
            limits: protocol(venue).limits(),
            subscriptions: SubscriptionSettings::default(),
            heartbeat: HeartbeatSettings::of_venue(protocol(venue).heartbeat()),
            reconnect: ReconnectSettings { seed, ..ReconnectSettings::default() },
            liveness: LivenessSettings::default(),
            first_data_within: Some(LivenessSettings::default().first_data_within),
            first_trade_within: None,
            close_timeout: Duration::from_millis(100),
            auth: None,
            auth_timeout: Duration::from_secs(5),
        }
    }
}

/// What a machine may use while it takes an event.
#[derive(Debug)]
pub struct Context<'a> {
    /// The wall clock, milliseconds since the Unix epoch: for what is signed or stamped on the wire, never for a timer.
    pub wall_ms: i64,
    /// The process's budgets.
    pub governor: &'a mut Governor,
    /// The one that this connection's host and source address share.
    pub budget: BudgetId,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The operator wants the connection up.
    Start,
    /// The upgrade is done and the hot core has the socket.
    Connected,
    /// The connect failed.
    ConnectFailed {
        /// Why.
        reason: &'a str,
        /// How long the venue asked us to stay away (`Retry-After` of HTTP 429 and 418, RFC 9110 §10.2.3), if it did.
        /// The next attempt waits this long even where the backoff would wait less, and has no cap: Binance bans an
        /// address that comes back early for up to three days.
        retry_after: Option<Duration>,
        /// The HTTP status of a refused upgrade, if it came to that.
        status: Option<u16>,
    },
    /// A message that is no market data.
    Message(&'a [u8]),
    /// What the hot core saw: when the last byte came, and how many market-data messages came on this connection.
    DataSeen {
        /// When the last byte of any kind came.
        last_seen: MonoNs,
        /// Market-data messages so far.
        messages: u64,
    },
    /// The socket is gone.
    Lost {
        /// Why.
        reason: &'a str,
        /// The close code of the venue's close frame, if it sent one.
        code: Option<u16>,
    },
    /// The time of [`ConnectionMachine::next_timer`] has come.
    Timer,
    /// The operator wants this stream.
    Subscribe(&'a str),
    /// The operator no longer wants this stream.
    Unsubscribe(&'a str),
    /// This live stream is to be ended and asked for again.
    Resubscribe(&'a str),
    /// The socket is to be let go, and made again without a wait.
    Reconnect(&'a str),
    /// The operator wants the connection down.
    Stop,
    /// The close handshake is done, or a connect under way was abandoned.
    Closed,
}

impl Event<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Connected => "connected",
            Self::ConnectFailed { .. } => "connect_failed",
            Self::Message(_) => "message",
            Self::DataSeen { .. } => "data_seen",
            Self::Lost { .. } => "lost",
            Self::Timer => "timer",
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Resubscribe(_) => "resubscribe",
            Self::Reconnect(_) => "reconnect",
            Self::Stop => "stop",
            Self::Closed => "closed",
        }
    }
}

/// What the caller is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Connect and upgrade, everything made afresh.
    Connect,
    /// Send this text message.
    Send(Vec<u8>),
    /// Send this text message, which holds our credentials.
    Login(Secret),
    /// Send a WebSocket ping frame.
    ProtocolPing,
    /// Begin the close handshake.
    Close {
        /// The close code.
        code: u16,
    },
    /// Let go of the socket, or of the connect under way, at once.
    Drop,
    /// Tell whom it concerns.
    Report(Report),
}

/// Ids of two sockets of one logical connection never meet.
const ID_STEP: u64 = 1 << 32;

/// The control plane of one connection.
#[derive(Debug)]
pub struct ConnectionMachine {
    pub(super) protocol: ProtocolRef,
    pub(super) liveness: Liveness,
    /// What each slot owes, in the order of the slots.
    pub(super) expectations: Vec<Expectation>,
    pub(super) first_within: FirstWithin,
    pub(super) verdicts: Vec<Verdict>,
    close_timeout: Duration,
    auth: Option<Authentication>,
    auth_timeout: Duration,
    /// The id of the login under way.
    login_id: u64,
    session: Session,
    pub(super) subscriptions: Subscriptions,
    heartbeat: HeartbeatMonitor,
    backoff: Backoff,
    pacer: Pacer,
    /// When to connect again (reconnecting), to connect at last (connecting, where the budget made it wait), to send the
    /// next request (up), or to drop the socket (closing).
    deadline: Option<MonoNs>,
    /// What the next connect waits for, while it waits.
    connect_turn: Turn,
    /// The same for the next request.
    request_turn: Turn,
    sends: SendQueue,
    /// The id of the next request or ping. Never repeated, so an answer from an earlier connection matches nothing.
    next_id: u64,
    epoch: u64,
    messages_seen: u64,
    connected_count: u64,
    /// Of the sockets that this one took over from.
    reconnects_before: u64,
    counters_before: SubscriptionCounters,
    pings_sent: u64,
    pongs: u64,
    stale: u64,
    unknown_control: u64,
    last_unknown_control: Option<String>,
    last_loss: Option<String>,
}

/// How long first data may take, by kind of channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstWithin {
    pub(super) data: Option<Duration>,
    pub(super) trade: Option<Duration>,
}

/// The venue's protocol, with the `Debug` the machine needs.
#[derive(Clone, Copy)]
pub(super) struct ProtocolRef(pub(super) &'static dyn Protocol);

impl std::fmt::Debug for ProtocolRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.venue())
    }
}

impl ConnectionMachine {
    /// A connection that is to carry these streams.
    ///
    /// # Errors
    /// [`PlanError`]: a stream twice, or more than one connection carries.
    pub fn new(settings: ConnectionSettings, streams: Vec<Box<str>>) -> Result<Self, PlanError> {
        Ok(Self {
            liveness: Liveness::new(settings.liveness, streams.len()),
            expectations: Vec::with_capacity(streams.len()),
            first_within: FirstWithin { data: settings.first_data_within, trade: settings.first_trade_within },
            verdicts: Vec::new(),
            protocol: ProtocolRef(protocol(settings.venue)),
            close_timeout: settings.close_timeout,
            auth: settings.auth,
            auth_timeout: settings.auth_timeout,
            login_id: 0,
            session: Session::new(),
            subscriptions: Subscriptions::new(
                protocol(settings.venue),
                settings.limits,
                settings.subscriptions,
                streams,
            )?,
            heartbeat: HeartbeatMonitor::new(settings.heartbeat),
            backoff: Backoff::new(settings.reconnect),
            pacer: Pacer::of(&settings.limits, &settings.subscriptions),
            deadline: None,
            connect_turn: Turn::None,
            request_turn: Turn::None,
            sends: SendQueue::default(),
            next_id: 1,
            epoch: 0,
            messages_seen: 0,
            connected_count: 0,
            reconnects_before: 0,
            counters_before: SubscriptionCounters::default(),
            pings_sent: 0,
            pongs: 0,
            stale: 0,
            unknown_control: 0,
            last_unknown_control: None,
            last_loss: None,
        })
    }

    /// Takes one event and appends what is to be done. Whatever is due at `now` is done too, so a late or a spurious
    /// timer does no harm.
    pub fn handle(&mut self, event: Event<'_>, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        match event {
            Event::Start => self.on_start(now, context, actions),
            Event::Connected => self.on_connected(now, context, actions),
            Event::ConnectFailed { reason, retry_after, status } if self.session.state() == State::Connecting => {
                self.on_connect_failed(reason, (status, retry_after), now, context, actions);
            }
            Event::Lost { reason, code } if self.session.state().is_up() => {
                let cause = code.map_or(Cause::Network, Cause::of_close_code);
                self.lose(reason, cause, now, context, actions);
            }
            Event::Closed if self.session.state().is_up() => {
                self.lose("closed by the venue", Cause::Network, now, context, actions);
            }
            Event::ConnectFailed { .. } | Event::Lost { .. } | Event::Closed => {
                if self.session.take(Edge::Closed) {
                    self.over(actions);
                }
            }
            Event::Message(bytes) if self.session.state().is_up() => self.on_message(bytes, now, context, actions),
            Event::DataSeen { last_seen, messages } if self.session.state().is_up() => {
                self.on_data_seen(last_seen, messages);
            }
            // What the hot core sent before it heard of the close is of no use any more, and no fault.
            Event::Message(_) | Event::DataSeen { .. } if self.session.state() == State::Closing => {}
            Event::Message(_) | Event::DataSeen { .. } => self.session.note_illegal(event.name()),
            Event::Timer => {}
            Event::Subscribe(stream) => self.on_subscribe(stream, actions),
            Event::Unsubscribe(stream) => {
                if self.subscriptions.remove(stream).is_none() {
                    self.session.note_illegal(event.name());
                }
            }
            Event::Resubscribe(stream) => self.on_resubscribe(stream),
            Event::Reconnect(reason) => self.on_reconnect(reason, now, context, actions),
            Event::Stop => self.on_stop(now, context, actions),
        }
        self.advance(now, context, actions);
    }

    /// A successor begins with what its predecessor knows: what the venue refused there is not asked for again.
    pub fn inherit(&mut self, predecessor: &Self) {
        for (stream, refusal) in predecessor.subscriptions.refusals() {
            self.subscriptions.refuse_known(stream, refusal.clone());
        }
        let Self { liveness, subscriptions, .. } = self;
        liveness.inherit(&predecessor.liveness, |slot| subscriptions.slot(predecessor.subscriptions.stream(slot)));
        self.next_id = predecessor.next_id + ID_STEP;
    }

    /// A successor that took over goes on with its predecessor's counts, and with the texts it did not come to.
    pub fn absorb(&mut self, predecessor: &mut Self) {
        self.sends.take_over(&mut predecessor.sends);
        self.liveness.absorb(&predecessor.liveness);
        self.reconnects_before += predecessor.reconnects_before + predecessor.connected_count.saturating_sub(1);
        self.pings_sent += predecessor.pings_sent;
        self.pongs += predecessor.pongs;
        self.stale += predecessor.stale;
        self.unknown_control += predecessor.unknown_control;
        self.counters_before.add(&predecessor.counters_before);
        self.counters_before.add(&predecessor.subscriptions.counters());
        for (ours, theirs) in [
            (&mut self.last_unknown_control, &predecessor.last_unknown_control),
            (&mut self.last_loss, &predecessor.last_loss),
        ] {
            if ours.is_none() {
                ours.clone_from(theirs);
            }
        }
    }

    /// Sends a text once everything is subscribed, at the venue's pace; the next event does it.
    ///
    /// # Errors
    /// [`SendRefused`]: it will not be sent.
    pub fn queue_send(&mut self, text: String, now: MonoNs) -> Result<(), SendRefused> {
        match self.session.state() {
            State::Closing | State::Closed => Err(SendRefused::Closed),
            _ => self.sends.push(text, now),
        }
    }

    /// When [`Event::Timer`] is due; `None` while only an event can change anything.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonoNs> {
        match self.session.state() {
            State::Connecting | State::Reconnecting { .. } | State::Closing | State::Authenticating => self.deadline,
            // `advance` has sent what could be sent, so a request that is left waits for its `deadline`.
            State::Connected | State::Ready => {
                let of_rooms =
                    [self.heartbeat.next_timer(), self.subscriptions.next_timer(), self.liveness.next_timer()];
                of_rooms.into_iter().chain([self.deadline]).flatten().min()
            }
            State::Disconnected | State::Closed => None,
        }
    }

    /// How many connects were asked for: the number of the present socket.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the connection stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.session.state()
    }

    /// The subscriptions, to be read.
    #[must_use]
    pub const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// The session, to be read.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// What is known.
    #[must_use]
    pub fn status(&self) -> Status {
        let count = |set| self.subscriptions.count(set);
        Status {
            venue: self.protocol.0.venue(),
            state: self.session.state(),
            attempt: self.backoff.failures(),
            wanted: count(SlotSet::Wanted),
            unsent: count(SlotSet::Unsent),
            pending: count(SlotSet::Pending),
            active: count(SlotSet::Active),
            refused: count(SlotSet::Refused),
            subscriptions: self.counters_before.sum(&self.subscriptions.counters()),
            liveness: self.liveness.counts(),
            silences: self.liveness.counters(),
            reconnects: self.reconnects_before + self.connected_count.saturating_sub(1),
            pings_sent: self.pings_sent,
            sends_dropped: self.sends.dropped(),
            pongs: self.pongs,
            stale: self.stale,
            unknown_control: self.unknown_control,
            last_unknown_control: self.last_unknown_control.clone(),
            illegal_events: self.session.illegal_count(),
            last_illegal_event: self.session.last_illegal(),
            last_refusal: self.subscriptions.last_refusal().map(str::to_owned),
            last_loss: self.last_loss.clone(),
        }
    }

    fn on_connect_failed(
        &mut self,
        reason: &str,
        (status, retry_after): (Option<u16>, Option<Duration>),
        now: MonoNs,
        context: &mut Context<'_>,
        actions: &mut Vec<Action>,
    ) {
        if let Some(status) = status {
            // What holds for this address holds for every connection on it.
            let answer = RestAnswer { status, used_weight: None, retry_after };
            context.governor.rest_answered(context.budget, answer, now);
        }
        let cause =
            if status.is_some() || retry_after.is_some() { Cause::Refused { retry_after } } else { Cause::Network };
        self.lose(reason, cause, now, context, actions);
    }

    fn on_start(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        if self.session.take(Edge::Start) {
            self.connect(now, context, actions);
        }
    }

    /// Drops the socket and makes a new one. What is not up is on its way already.
    fn on_reconnect(&mut self, reason: &str, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        if self.session.state().is_up() {
            self.abandon(reason, now, context, actions);
        }
    }

    fn on_resubscribe(&mut self, stream: &str) {
        if let Some(slot) = self.subscriptions.slot(stream) {
            self.subscriptions.resubscribe(slot);
        }
    }

    fn on_connected(&mut self, now: MonoNs, context: &Context<'_>, actions: &mut Vec<Action>) {
        if self.session.take(Edge::Connected) {
            self.connected_count += 1;
            self.messages_seen = 0;
            self.pacer.reset();
            self.heartbeat.connected(now);
            self.liveness.connected(now);
            actions.push(Action::Report(Report::Connected { leg: Leg::FIRST }));
            self.log_in(now, context, actions);
        } else if !self.session.state().is_up() {
            // A connect that was already given up came through after all: nobody wants its socket.
            actions.push(Action::Drop);
        }
    }

    /// Sends our credentials, where there are any: signed for this moment, on this connection.
    fn log_in(&mut self, now: MonoNs, context: &Context<'_>, actions: &mut Vec<Action>) {
        if self.auth.is_none() {
            return;
        }
        self.session.take(Edge::Authenticate);
        self.deadline = Some(after(now, self.auth_timeout));
        let id = self.take_id();
        self.login_id = id;
        let wall_ms = u64::try_from(context.wall_ms).unwrap_or_default();
        let moment = Moment { wall_ms, nonce: wall_ms.rotate_left(20) ^ id, id };
        if let Some(auth) = &self.auth {
            actions.push(Action::Login(auth.message(moment)));
            self.pacer.sent(now);
        }
    }

    /// What a message says while our credentials are being looked at. True if it was about them.
    fn on_login_message(
        &mut self,
        bytes: &[u8],
        now: MonoNs,
        context: &mut Context<'_>,
        actions: &mut Vec<Action>,
    ) -> bool {
        let reply = self.auth.as_ref().map_or(AuthReply::NotMine, |auth| auth.read(self.login_id, bytes));
        match reply {
            AuthReply::NotMine => return false,
            AuthReply::Accepted => {
                self.deadline = None;
                self.session.take(Edge::Authenticated);
                actions.push(Action::Report(Report::Authenticated { leg: Leg::FIRST }));
            }
            AuthReply::Refused(refusal) => {
                let cause = if refusal.is_retryable { Cause::Network } else { Cause::AuthRefused };
                actions.push(Action::Drop);
                self.lose(&refusal.to_string(), cause, now, context, actions);
            }
        }
        true
    }

    fn on_message(&mut self, bytes: &[u8], now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        if self.session.state() == State::Authenticating && self.on_login_message(bytes, now, context, actions) {
            return;
        }
        let mut answer = Vec::new();
        if self.heartbeat.answer(bytes, &mut answer) {
            return self.send(answer, now, actions);
        }
        match self.protocol.0.control_message(bytes) {
            ControlMessage::Ack(ack) => {
                let is_already_live = match &ack.result {
                    AckResult::Refused(refusal) | AckResult::Stream { result: Err(refusal), .. } => {
                        self.protocol.0.is_already_subscribed(refusal)
                    }
                    _ => false,
                };
                self.subscriptions.confirm(ack, is_already_live);
                while let Some(slot) = self.subscriptions.take_refused() {
                    self.report_refused(slot, actions);
                }
            }
            ControlMessage::Pong => self.pongs += 1,
            ControlMessage::GoingAway => actions.push(Action::Report(Report::GoingAway)),
            ControlMessage::PingText(answer) => self.send(answer.into_bytes(), now, actions),
            ControlMessage::Unknown => {
                self.unknown_control += 1;
                let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
                self.last_unknown_control = Some(String::from_utf8_lossy(sample).into_owned());
            }
        }
    }

    fn on_data_seen(&mut self, last_seen: MonoNs, messages: u64) {
        self.heartbeat.seen(last_seen);
        self.liveness.heard(last_seen);
        // Pongs move `last_seen` too: only new messages show that data flows.
        if messages > self.messages_seen {
            self.backoff.data_seen(last_seen);
        }
        self.messages_seen = messages;
    }

    fn on_subscribe(&mut self, stream: &str, actions: &mut Vec<Action>) {
        if let Err(error) = self.subscriptions.request_subscription(stream) {
            let report = Report::Refused { stream: stream.to_owned(), reason: error.to_string() };
            actions.push(Action::Report(report));
        }
    }

    fn on_stop(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        let before = self.session.state();
        if !self.session.take(Edge::Stop) {
            return;
        }
        self.forget_socket(now, context);
        if self.connect_turn.cancel(now, context) {
            // It only waited for its turn: nothing is under way.
            self.session.take(Edge::Closed);
        }
        if self.session.state() == State::Closed {
            return self.over(actions);
        }
        self.deadline = Some(after(now, self.close_timeout));
        actions.push(if before.is_up() { Action::Close { code: 1_000 } } else { Action::Drop });
    }

    /// Does what is due.
    fn advance(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        let is_due = self.deadline.is_some_and(|deadline| deadline <= now);
        match self.session.state() {
            State::Reconnecting { .. } if is_due => {
                self.session.take(Edge::Retry);
                self.connect(now, context, actions);
            }
            State::Connecting if is_due && self.connect_turn.is_waiting() => self.connect(now, context, actions),
            State::Closing if is_due => {
                actions.push(Action::Drop);
                self.session.take(Edge::Closed);
                self.over(actions);
            }
            State::Authenticating if is_due => {
                let reason = format!("login: no answer in {} ms", self.auth_timeout.as_millis());
                self.abandon(&reason, now, context, actions);
            }
            State::Connected | State::Ready => self.tend(now, context, actions),
            _ => {}
        }
    }

    /// What a connection that is up needs: answers awaited too long, heartbeat, requests, and whether all is settled.
    fn tend(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        if let Some(unanswered) = self.subscriptions.expire(now) {
            return self.abandon(&unanswered.to_string(), now, context, actions);
        }
        while let Some(beat) = self.heartbeat.poll(now) {
            match beat {
                Beat::Stale { silent_ns } => {
                    self.stale += 1;
                    let reason = format!("stale: no byte for {} ms", silent_ns / 1_000_000);
                    return self.abandon(&reason, now, context, actions);
                }
                Beat::Ping(ping) => self.ping(&ping, now, context, actions),
            }
        }
        self.know_expectations();
        self.note_acks(now);
        self.judge(now, actions);
        self.pump(now, context, actions);
        self.settle(actions);
        self.release(now, actions);
    }

    fn ping(&mut self, ping: &Ping, now: MonoNs, context: &Context<'_>, actions: &mut Vec<Action>) {
        self.pings_sent += 1;
        if *ping == Ping::Protocol {
            self.pacer.sent(now);
            return actions.push(Action::ProtocolPing);
        }
        let (id, mut text) = (self.take_id(), Vec::new());
        let is_written = match ping {
            Ping::Template(template) => {
                template.write(id, u64::try_from(context.wall_ms).unwrap_or_default(), &mut text);
                true
            }
            _ => self.protocol.0.write_ping(id, &mut text),
        };
        if is_written {
            self.send(text, now, actions);
        }
    }

    /// Sends the requests that the pace allows; sets `deadline` to when the next may go.
    fn pump(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        self.deadline = None;
        while self.subscriptions.has_request() {
            let at = self.pacer.next_at(now);
            let ask = |context: &mut Context<'_>| context.governor.request(context.budget, now);
            let at = if at > now { at } else { self.request_turn.take(now, context, ask).unwrap_or(now) };
            if at > now {
                self.deadline = Some(at);
                return;
            }
            let id = self.take_id();
            let Some(request) = self.subscriptions.batch_requests(id, now) else { return };
            for slot in request.streams.slots().filter(|_| request.operation == Operation::Subscribe) {
                let expectation = self.expectations.get(slot.index()).copied().unwrap_or(Expectation::RATE);
                self.liveness.sent(slot, expectation, now);
            }
            let mut text = Vec::new();
            request.write(self.protocol.0, id, &mut text);
            self.send(text, now, actions);
        }
    }

    /// Sends what waited for the connection to be ready.
    fn release(&mut self, now: MonoNs, actions: &mut Vec<Action>) {
        while self.session.state() == State::Ready && self.sends.expire(now) {
            let at = self.pacer.next_at(now);
            if at > now {
                self.deadline = Some(self.deadline.map_or(at, |deadline| deadline.min(at)));
                return;
            }
            if let Some(text) = self.sends.pop() {
                self.send(text.into_bytes(), now, actions);
            }
        }
    }

    fn settle(&mut self, actions: &mut Vec<Action>) {
        match (self.session.state(), self.subscriptions.is_settled()) {
            (State::Connected, true) => {
                self.session.take(Edge::Settled);
                actions.push(Action::Report(Report::Ready));
            }
            (State::Ready, false) => {
                self.session.take(Edge::Unsettled);
            }
            _ => {}
        }
    }

    fn report_refused(&self, slot: SlotId, actions: &mut Vec<Action>) {
        // Without a reason it is no longer wanted: nobody is to be told.
        if let Some(reason) = self.subscriptions.reason(slot) {
            let stream = self.subscriptions.stream(slot).to_owned();
            actions.push(Action::Report(Report::Refused { stream, reason: reason.to_string() }));
        }
    }

    fn send(&mut self, text: Vec<u8>, now: MonoNs, actions: &mut Vec<Action>) {
        self.pacer.sent(now);
        actions.push(Action::Send(text));
    }

    fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Connects as soon as the process's budget allows it.
    fn connect(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        let ask = |context: &mut Context<'_>| context.governor.connect(context.budget, now);
        match self.connect_turn.take(now, context, ask) {
            None => self.connect_now(actions),
            Some(at) => self.deadline = Some(at),
        }
    }

    fn connect_now(&mut self, actions: &mut Vec<Action>) {
        self.deadline = None;
        self.epoch += 1;
        actions.push(Action::Connect);
    }

    /// Lets go of a socket that may still be open, and comes back.
    fn abandon(&mut self, reason: &str, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        actions.push(Action::Drop);
        self.lose(reason, Cause::Network, now, context, actions);
    }

    /// Comes back after the wait that the failures have earned, or the one the venue asked for if that is longer.
    fn lose(&mut self, reason: &str, cause: Cause, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<Action>) {
        self.forget_socket(now, context);
        self.last_loss = Some(reason.to_owned());
        let reason = reason.to_owned();
        match self.backoff.failed_for(cause) {
            Some(delay) => {
                let attempt = self.backoff.failures();
                self.session.take(Edge::Lost { attempt });
                self.deadline = Some(after(now, delay));
                actions.push(Action::Report(Report::Reconnecting { attempt, delay, reason }));
            }
            None => {
                self.session.take(Edge::GiveUp);
                actions.push(Action::Report(Report::GaveUp { reason }));
                self.over(actions);
            }
        }
    }

    fn forget_socket(&mut self, now: MonoNs, context: &mut Context<'_>) {
        self.deadline = None;
        self.request_turn.cancel(now, context);
        self.subscriptions.disconnected();
        self.heartbeat.disconnected();
        self.liveness.disconnected();
    }

    fn over(&mut self, actions: &mut Vec<Action>) {
        self.deadline = None;
        actions.push(Action::Report(Report::Closed));
    }
}

/// A budget that never makes anybody wait.
#[cfg(test)]
pub(super) fn unlimited(governor: &mut Governor) -> BudgetId {
    use super::{BudgetKey, BudgetLimits, GovernorSettings};
    *governor = Governor::new(GovernorSettings { connects_per_second: u32::MAX, ..GovernorSettings::default() });
    let limits = BudgetLimits {
        connects: None,
        requests_per_second: None,
        rest_weight: None,
        rest_share_percent: 100,
        forbidden_for: None,
    };
    governor.budget(BudgetKey { host: "test".into(), source: None }, limits)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
