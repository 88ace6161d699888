//! The request/response client: runs one [`RequestMachine`] over one WebSocket connection, on the cold side.
//!
//! ```text
//! RequestClient (cloned at will) ──lock──► RequestMachine ◄──lock── one task: connect, recv, send, timers, close
//!      ▲ oneshot: how it ended              │ wake ─────────────────►  ▲ socket
//!      └────────────────────────────────────┘                         └──► Receiver: messages that answer nothing
//! ```
//! A caller asks the machine itself, under a lock that nobody holds while waiting, and waits for its end; the task performs
//! what the machine decides. So nothing can be lost between the two: every request ends by the machine's rules, a future
//! that is dropped takes its request with it, and a task that ends, even by the end of its runtime, ends them all.

use crate::control::{
    BudgetId, BudgetKey, BudgetLimits, Codec, Credentials, HeaderLogin, Moment, NotPermitted, NotSent, Outcome, Permit,
    RequestAction, RequestEnd, RequestEvent, RequestMachine, RequestMachineSettings, RequestRefusal, RequestReport,
    RequestStatus, RequestTicket, RestAnswer, State, Ticket, Transmit,
};
use crate::hot::{mono_now, wall_now_ns};
use crate::market::MonoNs;
use crate::net::{
    ConnectError, ConnectOptions, Message, SharedGovernor, TokenBootstrap, TokenError, WebSocketConnection,
    WebSocketError, WebSocketOptions, host_of,
};
use bytes::Bytes;
use futures_util::FutureExt;
use serde::Serialize;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::{Future, pending};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use url::Url;

/// The header of a client's frame at its longest (RFC 6455 section 5.2).
const FRAME_HEADER_BYTES_MAX: usize = 14;

/// What to connect to, how to log in, and how big everything is.
#[derive(Clone, Debug)]
pub struct RequestClientOptions {
    /// The connection's name in outputs.
    pub name: String,
    /// What to connect to.
    pub connect: ConnectOptions,
    /// Sizes of the connection.
    pub sizes: WebSocketOptions,
    /// How it behaves.
    pub machine: RequestMachineSettings,
    /// Headers that are signed afresh for each upgrade, and whose they are.
    pub header_login: Option<(&'static HeaderLogin, Credentials)>,
    /// A token that is asked for afresh before each connect.
    pub token: Option<TokenBootstrap>,
    /// Who is asked before each connect, and told of those that are refused; what the venue allows one address.
    pub governor: Option<(Arc<SharedGovernor>, BudgetLimits)>,
    /// How long a request may take, from asking to its answer.
    pub request_timeout: Duration,
    /// Messages that answer nothing and may wait to be read; those beyond are counted and dropped.
    pub unsolicited_max: usize,
}

impl RequestClientOptions {
    /// Defaults: no governor, 10 s a request, 1,024 unread messages, and those of [`RequestMachineSettings::new`].
    #[must_use]
    pub fn new(name: impl Into<String>, url: Url, codec: Arc<dyn Codec>) -> Self {
        // Connections need different seeds, or they all come back at the same instant.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            name: name.into(),
            connect: ConnectOptions::new(url),
            sizes: WebSocketOptions::default(),
            machine: RequestMachineSettings::new(codec, seed),
            header_login: None,
            token: None,
            governor: None,
            request_timeout: Duration::from_secs(10),
            unsolicited_max: 1_024,
        }
    }
}

/// Why a request has no result.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The venue refused it.
    #[error("refused: {0}")]
    Refused(RequestRefusal),
    /// No answer came in time. It may have been done.
    #[error("no answer within {timeout:?}; it may have been done")]
    TimedOut {
        /// The time-out.
        timeout: Duration,
    },
    /// The connection went after it was sent. It may have been done.
    #[error("the connection went after it was sent, it may have been done: {reason}")]
    Unknown {
        /// How the connection went.
        reason: String,
    },
    /// It never left. It has not been done.
    #[error("not sent: {0}")]
    NotSent(NotSent),
    /// The result is JSON that cannot be represented: a number beyond all types, most likely.
    #[error("the result cannot be read: {what}")]
    Result {
        /// What is wrong with it.
        what: String,
    },
}

/// What one client knows, for outputs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RequestClientStatus {
    /// The connection's name.
    pub name: String,
    /// Scheme, host and port.
    pub host: String,
    /// Messages that answered nothing and were dropped, because nobody read them in time.
    pub unsolicited_dropped: u64,
    /// Everything else.
    #[serde(flatten)]
    pub machine: RequestStatus,
}

/// How far it is.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Phase {
    Waiting,
    Ready,
    Over(RequestEnd),
}

/// What the machine wants of the task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Intent {
    Connect,
    Close { code: u16 },
    Drop,
}

/// The machine, and what belongs to its actions.
struct Inner {
    machine: RequestMachine,
    waiters: HashMap<RequestTicket, oneshot::Sender<Outcome>>,
    intents: VecDeque<Intent>,
}

struct Shared {
    name: String,
    host: String,
    inner: Mutex<Inner>,
    /// Wakes the task: there is something to send, or its timer has moved.
    wake: Notify,
    phase: watch::Sender<Phase>,
    unsolicited_dropped: AtomicU64,
}

/// A request/response connection. Cloned at will; it closes when the last clone is dropped.
#[derive(Clone)]
pub struct RequestClient {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
    request_timeout: Duration,
}

impl fmt::Debug for RequestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestClient").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// Closes the connection when nobody can ask any more.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.handle(RequestEvent::Stop);
    }
}

impl RequestClient {
    /// Starts a connection on the runtime of the caller, and goes on connecting until it is closed. Requests may be made at
    /// once: they wait until it is ready. The receiver gives the messages that answer nothing, in order.
    #[must_use]
    pub fn connect(mut options: RequestClientOptions) -> (Self, mpsc::Receiver<Message>) {
        // What the machine lets through must fit the socket's write buffer, header included.
        let fits = options.sizes.write_buffer_bytes.saturating_sub(FRAME_HEADER_BYTES_MAX);
        options.machine.message_bytes_max = options.machine.message_bytes_max.min(fits);
        let (unsolicited, receiver) = mpsc::channel(options.unsolicited_max.max(1));
        let inner = Inner {
            machine: RequestMachine::new(options.machine.clone()),
            waiters: HashMap::new(),
            intents: VecDeque::new(),
        };
        let shared = Arc::new(Shared {
            name: options.name.clone(),
            host: host_of(&options.connect.url),
            inner: Mutex::new(inner),
            wake: Notify::new(),
            phase: watch::Sender::new(Phase::Waiting),
            unsolicited_dropped: AtomicU64::new(0),
        });
        let request_timeout = options.request_timeout;
        let task = Task { shared: Arc::clone(&shared), options, unsolicited };
        tokio::spawn(task.run());
        (Self { _owner: Arc::new(Owner(Arc::clone(&shared))), shared, request_timeout }, receiver)
    }

    /// The same connection with another time for each request.
    #[must_use]
    pub fn with_timeout(&self, request_timeout: Duration) -> Self {
        Self { request_timeout, ..self.clone() }
    }

    /// Waits until requests are sent, which may be never: a venue that is down is tried again and again.
    ///
    /// # Errors
    /// [`RequestEnd`]: it is over.
    pub async fn ready(&self) -> Result<(), RequestEnd> {
        match self.phase(|phase| *phase != Phase::Waiting).await {
            Phase::Over(end) => Err(end),
            Phase::Waiting | Phase::Ready => Ok(()),
        }
    }

    /// Asks for something: `params` as the venue has them, `()` for none. Dropped before it ends, the request is let go of.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::NotSent`] alone says that it was not done.
    pub async fn request(&self, method: &str, params: impl Serialize) -> Result<Value, RequestError> {
        let params = serde_json::value::to_raw_value(&params);
        let timeout = self.request_timeout;
        let result = self
            .ask(|machine, now, actions| match &params {
                Ok(params) if params.get() == "null" => machine.request(method, None, timeout, now, actions),
                Ok(params) => machine.request(method, Some(params), timeout, now, actions),
                Err(error) => machine.refuse(NotSent::Params { what: error.to_string() }, actions),
            })
            .await?;
        serde_json::from_str(&result).map_err(|error| RequestError::Result { what: error.to_string() })
    }

    /// The same with a text that the caller has written, its id included. The result is JSON text.
    ///
    /// # Errors
    /// [`RequestError`]; [`NotSent::NoId`] and [`NotSent::IdInUse`] where the answer could not be told from another.
    pub async fn request_raw(&self, text: impl Into<String>) -> Result<String, RequestError> {
        let (text, timeout) = (text.into(), self.request_timeout);
        self.ask(|machine, now, actions| machine.request_raw(text, timeout, now, actions)).await
    }

    /// Sends a text that has no answer. It leaves as soon as the connection is ready, or is dropped, and counted, after the
    /// machine's `send_wait`.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn send(&self, text: impl Into<String>) -> Result<(), NotSent> {
        let sent = self.shared.inner().machine.send(text.into(), mono_now());
        self.shared.wake.notify_one();
        sent
    }

    /// The same with what serialises to JSON.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn send_json(&self, message: &impl Serialize) -> Result<(), NotSent> {
        match serde_json::to_string(message) {
            Ok(text) => self.send(text),
            Err(error) => Err(NotSent::Params { what: error.to_string() }),
        }
    }

    /// Closes for good: ends every request at once, then shakes hands. Returns when the socket is gone.
    pub async fn close(&self) -> RequestEnd {
        self.shared.handle(RequestEvent::Stop);
        match self.phase(|phase| matches!(phase, Phase::Over(_))).await {
            Phase::Over(end) => end,
            Phase::Waiting | Phase::Ready => RequestEnd::Closed,
        }
    }

    /// True while requests are sent at once.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.inner().machine.state() == State::Ready
    }

    /// What it knows.
    #[must_use]
    pub fn status(&self) -> RequestClientStatus {
        RequestClientStatus {
            name: self.shared.name.clone(),
            host: self.shared.host.clone(),
            unsolicited_dropped: self.shared.unsolicited_dropped.load(Ordering::Relaxed),
            machine: self.shared.inner().machine.status(mono_now()),
        }
    }

    async fn phase(&self, is_so: impl FnMut(&Phase) -> bool) -> Phase {
        let mut phase = self.shared.phase.subscribe();
        // `shared` keeps the sender alive.
        phase.wait_for(is_so).await.map_or(Phase::Over(RequestEnd::Closed), |phase| phase.clone())
    }

    /// Asks the machine and waits for the end.
    async fn ask(
        &self,
        open: impl FnOnce(&mut RequestMachine, MonoNs, &mut Vec<RequestAction>) -> RequestTicket,
    ) -> Result<String, RequestError> {
        let (sender, receiver) = oneshot::channel();
        let guard = {
            let mut inner = self.shared.inner();
            let mut actions = Vec::new();
            let ticket = open(&mut inner.machine, mono_now(), &mut actions);
            inner.waiters.insert(ticket, sender);
            self.shared.apply(&mut inner, actions);
            Waiting { shared: &self.shared, ticket }
        };
        self.shared.wake.notify_one();
        let outcome = receiver.await;
        drop(guard);
        match outcome {
            Ok(Outcome::Answered(result)) => Ok(result),
            Ok(Outcome::Refused(refusal)) => Err(RequestError::Refused(refusal)),
            Ok(Outcome::TimedOut) => Err(RequestError::TimedOut { timeout: self.request_timeout }),
            Ok(Outcome::Unknown { reason }) => Err(RequestError::Unknown { reason }),
            Ok(Outcome::NotSent(why)) => Err(RequestError::NotSent(why)),
            // Nobody but the machine's end takes a sender away.
            Err(_) => Err(RequestError::NotSent(NotSent::Closed)),
        }
    }
}

/// A caller that waits. Dropped early it takes its request with it.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: RequestTicket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut inner = self.shared.inner();
        // Ended already: the waiter went with the end.
        if inner.waiters.remove(&self.ticket).is_some() {
            inner.machine.abandon(self.ticket);
        }
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an event to the machine and does what needs no socket. True if the message is for whoever listens.
    fn handle(&self, event: RequestEvent<'_>) -> bool {
        let mut inner = self.inner();
        let mut actions = Vec::new();
        inner.machine.handle(event, mono_now(), &mut actions);
        let is_unsolicited = self.apply(&mut inner, actions);
        drop(inner);
        self.wake.notify_one();
        is_unsolicited
    }

    fn apply(&self, inner: &mut Inner, actions: Vec<RequestAction>) -> bool {
        let mut is_unsolicited = false;
        for action in actions {
            match action {
                RequestAction::Connect => inner.intents.push_back(Intent::Connect),
                RequestAction::Close { code } => inner.intents.push_back(Intent::Close { code }),
                RequestAction::Drop => inner.intents.push_back(Intent::Drop),
                RequestAction::Unsolicited => is_unsolicited = true,
                RequestAction::Ended(ended) => {
                    if let Some(waiter) = inner.waiters.remove(&ended.ticket) {
                        // A caller that has just gone wants to know no more.
                        let _ = waiter.send(ended.outcome);
                    }
                }
                RequestAction::Report(report) => self.report(&report),
            }
        }
        is_unsolicited
    }

    fn report(&self, report: &RequestReport) {
        let connection = &self.name;
        match report {
            RequestReport::Connected => tracing::info!(%connection, "connected"),
            RequestReport::Authenticated => tracing::info!(%connection, "authenticated"),
            RequestReport::AuthRefused(refusal) => tracing::error!(%connection, "{refusal}"),
            RequestReport::Ready => {
                self.phase.send_replace(Phase::Ready);
                tracing::info!(%connection, "ready");
            }
            RequestReport::Reconnecting { attempt, delay, reason } => {
                self.phase.send_replace(Phase::Waiting);
                let delay_ms = delay.as_millis();
                tracing::warn!(%connection, attempt, delay_ms, reason, "reconnecting");
            }
            RequestReport::Closed(end) => {
                self.phase.send_replace(Phase::Over(end.clone()));
                tracing::info!(%connection, ?end, "closed");
            }
        }
    }
}

/// Why a connect failed.
enum Failure {
    NotPermitted(NotPermitted),
    Token(TokenError),
    Connect(ConnectError),
}

impl Failure {
    /// The HTTP status, where that was the answer, and how long the server asks us to stay away.
    fn refusal(&self) -> Option<(u16, Option<Duration>)> {
        match self {
            Self::Token(TokenError::Refused { status, retry_after, .. })
            | Self::Connect(ConnectError::Refused { status, retry_after, .. }) => Some((*status, *retry_after)),
            Self::NotPermitted(_) | Self::Token(_) | Self::Connect(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted(error) => error.fmt(f),
            Self::Token(error) => error.fmt(f),
            Self::Connect(error) => error.fmt(f),
        }
    }
}

/// A place in the governor's line that is given back unless it is redeemed.
struct Place<'a> {
    governor: &'a SharedGovernor,
    ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.governor.lock().cancel(ticket, mono_now());
        }
    }
}

/// The one task of a client.
struct Task {
    shared: Arc<Shared>,
    options: RequestClientOptions,
    unsolicited: mpsc::Sender<Message>,
}

impl Drop for Task {
    fn drop(&mut self) {
        // Without the task nobody would end what is under way: the runtime may have ended first.
        self.shared.handle(RequestEvent::Stop);
        if self.shared.inner().machine.state() == State::Closing {
            self.shared.handle(RequestEvent::Closed);
        }
    }
}

impl Task {
    /// Runs until the machine is closed.
    async fn run(self) {
        self.shared.handle(RequestEvent::Start);
        let mut socket: Option<WebSocketConnection> = None;
        loop {
            let intent = self.shared.inner().intents.pop_front();
            match (intent, &mut socket) {
                (Some(Intent::Connect), _) => socket = self.connect().await,
                (Some(Intent::Drop), _) => socket = None,
                (Some(Intent::Close { code }), _) => {
                    if let Some(socket) = socket.take() {
                        self.close(socket, code).await;
                    }
                }
                (None, _) if self.shared.inner().machine.state() == State::Closed => return,
                (None, Some(open)) => {
                    if !self.exchange(open).await {
                        socket = None;
                    }
                }
                (None, None) => {
                    let _never_done = self.meanwhile(pending::<()>(), false).await;
                }
            }
        }
    }

    /// Waits for `work` and serves the machine's timers meanwhile. `None` as soon as the machine wants something of the
    /// socket, is closed, or, if `yields_to_sends`, has something to send: `work` is dropped then.
    async fn meanwhile<T>(&self, work: impl Future<Output = T>, yields_to_sends: bool) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let timer = {
                let now = mono_now();
                let mut inner = self.shared.inner();
                let is_over = inner.machine.state() == State::Closed;
                if is_over || !inner.intents.is_empty() || (yields_to_sends && inner.machine.has_transmit(now)) {
                    return None;
                }
                inner.machine.next_timer(now).map(|at| Duration::from_nanos(at.since_ns(now)))
            };
            let timer = async {
                match timer {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                done = &mut work => return Some(done),
                () = timer => {
                    self.shared.handle(RequestEvent::Timer);
                }
                () = self.shared.wake.notified() => {}
            }
        }
    }

    async fn connect(&self) -> Option<WebSocketConnection> {
        match self.meanwhile(self.establish(), false).await? {
            Ok(socket) => {
                self.shared.handle(RequestEvent::Connected { wall_ms: wall_ms() });
                Some(socket)
            }
            Err(failure) => {
                let (reason, refusal) = (failure.to_string(), failure.refusal());
                let retry_after = refusal.and_then(|(_, retry_after)| retry_after);
                if let (Some((governor, budget)), Some((status, _))) = (self.budget(), refusal) {
                    // What holds for this address holds for every connection on it.
                    let answer = RestAnswer { status, used_weight: None, retry_after };
                    governor.lock().rest_answered(budget, answer, mono_now());
                }
                let is_auth_refusal =
                    self.options.header_login.is_some() && refusal.is_some_and(|(status, _)| status == 401);
                self.shared.handle(RequestEvent::ConnectFailed { reason: &reason, retry_after, is_auth_refusal });
                None
            }
        }
    }

    /// The governor, and the budget of the host that is connected to.
    fn budget(&self) -> Option<(&SharedGovernor, BudgetId)> {
        let (governor, limits) = self.options.governor.as_ref()?;
        let connect = &self.options.connect;
        let key = BudgetKey::of(&connect.url, connect.socket.source_address);
        let budget = governor.lock().budget(key, *limits);
        Some((governor, budget))
    }

    /// Waits for the governor's permit to connect, however long.
    async fn permitted(&self) -> Result<(), NotPermitted> {
        let Some((governor, budget)) = self.budget() else { return Ok(()) };
        let mut place = Place { governor, ticket: None };
        let mut moved_up = governor.moved_up();
        loop {
            let now = mono_now();
            let permit = {
                let mut governor = governor.lock();
                let redeemed = place.ticket.take().and_then(|ticket| governor.redeem(ticket, now));
                redeemed.unwrap_or_else(|| governor.connect(budget, now))
            };
            let wait = match permit {
                Permit::Now => return Ok(()),
                Permit::Refused(why) => return Err(why),
                Permit::At { at, ticket } => {
                    place.ticket = Some(ticket);
                    Duration::from_nanos(at.since_ns(now))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // The governor outlives this: it does not end.
                _ = moved_up.changed() => {}
            }
        }
    }

    /// Headers signed, token asked for, connected: all of it afresh.
    async fn establish(&self) -> Result<WebSocketConnection, Failure> {
        self.permitted().await.map_err(Failure::NotPermitted)?;
        let mut connect = self.options.connect.clone();
        let signed = self.options.header_login.as_ref().map(|(login, credentials)| {
            login.headers(credentials, Moment { wall_ms: wall_ms(), nonce: mono_now().0, id: 0 })
        });
        match (&self.options.token, signed) {
            // Where both are there it is the token's request that is signed.
            (Some(token), signed) => {
                let mut token = token.clone();
                token.headers.extend(signed.into_iter().flatten());
                connect.url = token.run(&connect.url).await.map_err(Failure::Token)?;
            }
            (None, signed) => connect.headers.extend(signed.into_iter().flatten()),
        }
        WebSocketConnection::connect(&connect, &self.options.sizes).await.map_err(Failure::Connect)
    }

    /// Sends or receives one message. False once the socket is of no use any more.
    async fn exchange(&self, socket: &mut WebSocketConnection) -> bool {
        let transmit = self.shared.inner().machine.poll_transmit(mono_now());
        let received = match transmit {
            Some(transmit) => {
                let message = match transmit {
                    Transmit::Login(message) => Message::Text(message.reveal().into()),
                    Transmit::Text(text) => Message::Text(text.into()),
                    Transmit::ProtocolPing => Message::Ping(Bytes::new()),
                };
                match self.meanwhile(socket.send(message), false).await {
                    // What has come meanwhile is read before the next is sent: a caller that never stops asking must not
                    // keep its answers from being read.
                    Some(Ok(())) => socket.recv().now_or_never(),
                    Some(Err(error)) => Some(Err(error)),
                    None => None,
                }
            }
            None => self.meanwhile(socket.recv(), true).await,
        };
        match received {
            None => true,
            Some(Ok(Some(message))) => {
                self.on_message(message);
                true
            }
            Some(Ok(None)) => {
                let (code, words) = socket.close_reason().map_or((0, ""), |why| (why.code, why.reason.as_str()));
                let reason = format!("closed by the venue with code {code} {words}");
                let (reason, close_code) = (reason.trim_end(), Some(code));
                self.shared.handle(RequestEvent::Lost { reason, close_code });
                false
            }
            Some(Err(error)) => {
                self.lost(&error);
                false
            }
        }
    }

    fn lost(&self, error: &WebSocketError) {
        self.shared.handle(RequestEvent::Lost { reason: &error.to_string(), close_code: None });
    }

    fn on_message(&self, message: Message) {
        let is_unsolicited = match &message {
            Message::Text(text) => self.shared.handle(RequestEvent::Message(text.as_bytes())),
            Message::Binary(bytes) => self.shared.handle(RequestEvent::Message(bytes)),
            Message::Ping(_) | Message::Pong(_) => self.shared.handle(RequestEvent::Seen),
        };
        // Full, or nobody listens.
        if is_unsolicited && self.unsolicited.try_send(message).is_err() {
            self.shared.unsolicited_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Shakes hands for as long as the machine waits for it.
    async fn close(&self, socket: WebSocketConnection, code: u16) {
        if self.meanwhile(socket.close(code), false).await.is_some() {
            self.shared.handle(RequestEvent::Closed);
        }
    }
}

/// Now, in milliseconds since the Unix epoch.
fn wall_ms() -> u64 {
    u64::try_from(wall_now_ns() / 1_000_000).unwrap_or(0)
}
