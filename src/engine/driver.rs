//! Performs what one connection's state machine decides: the bridge between control, net and the connection's core.
//!
//! ```text
//!            ConnectionMachine (control, sans-IO)
//!   events ▲                                  │ actions
//!          │   connect result, control message,   ▼ connect, send, ping, close, drop
//!          │   lost, timer, stop
//!        net::connect ─► Attach ─► core's ring      (transport hot)
//!        WebSocketConnection ─► Message ─► ring     (transport cold)
//! ```
//! One task a connection. Holds no state of its own but what is under way.

use super::link::SlotNotice;
use super::listing::Listing;
use super::plan::SocketPlan;
use super::slots::{SlotLease, SlotTable};
use crate::control::{Action, ConnectionMachine, Event, Report, State, Status};
use crate::hot::{Attachment, Command, ConnectionStats, Feed, HotConnection, SocketStats, mono_now, wall_now_ns};
use crate::market::{MonoNs, Received};
use crate::net::{ConnectError, Established, Granted, Message, Timings, WebSocketConnection, connect};
use crate::telemetry::SampleReport;
use crate::venue::{DecodeError, Decoder};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What a driver tells the reports. Cold: locked a few times a second.
#[derive(Clone, Debug, Default)]
pub(super) struct DriverStatus {
    pub(super) machine: Option<Status>,
    /// It could not even begin: nothing is left to subscribe.
    pub(super) has_failed: bool,
    pub(super) last_error: Option<String>,
    pub(super) samples: Vec<SampleReport>,
    pub(super) established: Option<String>,
    /// Lost connections and failed connects by reason.
    pub(super) losses: BTreeMap<&'static str, u64>,
    /// Streams of symbols that the venue does not list: wanted, never asked for.
    pub(super) unlisted_streams: usize,
    /// Protocol pings of a cold connection.
    pub(super) cold_pings: u64,
}

/// A status with its one writer.
pub(super) type SharedStatus = Arc<Mutex<DriverStatus>>;

enum Link {
    Hot(Box<Established>),
    Cold(Box<WebSocketConnection>),
}

type Connecting = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

/// One connection's task.
pub(super) struct Driver {
    pub(super) plan: SocketPlan,
    pub(super) core: mpsc::Sender<Command>,
    /// The slots of the connection's core, the one taken now, and what is heard of any of them.
    pub(super) slots: SlotTable,
    pub(super) lease: Option<SlotLease>,
    pub(super) hearer: mpsc::UnboundedSender<SlotNotice>,
    pub(super) notices: mpsc::UnboundedReceiver<SlotNotice>,
    pub(super) stats: Arc<ConnectionStats>,
    /// The counters of the socket in force.
    pub(super) socket: Arc<SocketStats>,
    pub(super) status: SharedStatus,
    pub(super) listing: watch::Receiver<Listing>,
    /// True once the engine stops.
    pub(super) stop: watch::Receiver<bool>,
}

/// What happened, as the select sees it.
enum Happened {
    Connected(Result<Link, ConnectError>),
    Notice(SlotNotice),
    Cold(Result<Option<Cold>, String>),
    Timer,
    Stop,
    Ended,
}

impl Driver {
    /// Runs until the engine stops.
    pub(super) async fn run(mut self) {
        let Some(unlisted) = self.symbols_known().await else { return };
        let streams = self.plan.streams_without(&unlisted);
        let unlisted_streams = self.plan.stream_count() - streams.len();
        self.status.lock().unwrap_or_else(PoisonError::into_inner).unlisted_streams = unlisted_streams;
        for name in unlisted.iter().filter(|name| self.plan.names(name)) {
            self.note_error(format!("{name} is not in the venue's instrument list"));
        }
        if streams.is_empty() {
            tracing::error!(connection = %self.plan.name, "nothing is left to subscribe: not connected");
            return self.note_failed();
        }
        let mut machine = match ConnectionMachine::new(self.plan.control.clone(), streams) {
            Ok(machine) => machine,
            Err(error) => {
                tracing::error!(connection = %self.plan.name, %error, "nothing to subscribe");
                self.note_error(error.to_string());
                return self.note_failed();
            }
        };
        let mut actions = Vec::new();
        let mut governor = crate::control::Governor::default();
        let budget = governor.budget(
            crate::control::BudgetKey::of(&self.plan.connect.url, None),
            crate::control::BudgetLimits::of(crate::venue::protocol(self.plan.venue)),
        );
        macro_rules! context {
            () => {
                &mut crate::control::Context { wall_ms: 0, governor: &mut governor, budget }
            };
        }
        let mut connecting: Option<Connecting> = None;
        let mut cold: Option<Box<WebSocketConnection>> = None;
        // Every attachment ends with one notice of its loss. Those that we caused by dropping are no news.
        let mut is_attached = false;
        let mut own_losses = 0_u32;
        let mut cold_seen = MonoNs(0);
        machine.handle(Event::Start, mono_now(), context!(), &mut actions);
        loop {
            while !actions.is_empty() {
                for action in std::mem::take(&mut actions) {
                    if self.perform(action, &mut connecting, &mut cold, (&mut is_attached, &mut own_losses)).await
                        == Performed::Closed
                    {
                        machine.handle(Event::Closed, mono_now(), context!(), &mut actions);
                    }
                }
            }
            // What the reports show of a connection that is told to stop is how it was until then.
            if !*self.stop.borrow() {
                self.publish(&machine);
            } else if machine.state() == State::Closed {
                return;
            }
            let happened = self.next(machine.next_timer(), connecting.as_mut(), cold.as_deref_mut()).await;
            let now = mono_now();
            if machine.state().is_up() {
                let last_seen = cold_seen.max(MonoNs(self.socket.last_seen_ns.get()));
                let messages = self.socket.data_messages.get();
                machine.handle(Event::DataSeen { last_seen, messages }, now, context!(), &mut actions);
            }
            match happened {
                Happened::Connected(result) => {
                    connecting = None;
                    match result {
                        Ok(link) => {
                            is_attached =
                                self.attach(link, &mut cold, &mut machine, now, context!(), &mut actions).await;
                        }
                        Err(error) => {
                            let text = error.to_string();
                            tracing::warn!(connection = %self.plan.name, error = %text, "connect failed");
                            let retry_after = match &error {
                                ConnectError::Refused { retry_after, .. } => *retry_after,
                                _ => None,
                            };
                            self.note_loss("connect_failed", text.clone());
                            machine.handle(
                                Event::ConnectFailed { reason: &text, retry_after, status: None },
                                now,
                                context!(),
                                &mut actions,
                            );
                        }
                    }
                }
                Happened::Notice(SlotNotice::Lost { .. }) if own_losses > 0 => own_losses -= 1,
                Happened::Notice(SlotNotice::Lost { .. }) if *self.stop.borrow() => {
                    is_attached = false;
                    self.lease = None;
                    machine.handle(Event::Closed, now, context!(), &mut actions);
                }
                Happened::Notice(SlotNotice::Lost { name, reason }) => {
                    is_attached = false;
                    self.lease = None;
                    tracing::warn!(connection = %self.plan.name, reason, "connection lost");
                    self.note_loss(name, reason.clone());
                    machine.handle(Event::Lost { reason: &reason, code: None }, now, context!(), &mut actions);
                }
                // What a connection that we dropped still had to say concerns nobody: its loss comes before anything of
                // the next one.
                Happened::Notice(SlotNotice::Control(_)) if own_losses > 0 => {}
                Happened::Notice(SlotNotice::Control(message)) => {
                    machine.handle(Event::Message(&message), now, context!(), &mut actions);
                }
                Happened::Notice(SlotNotice::Sample { error, message_bytes, sample }) => {
                    self.keep_sample(error, message_bytes, &sample);
                }
                Happened::Notice(SlotNotice::LeadReturned { has_snapshot_passed }) => {
                    tracing::error!(connection = %self.plan.name, has_snapshot_passed, "a rotation that nobody began");
                }
                Happened::Notice(SlotNotice::OverlapRefused) => {
                    tracing::error!(connection = %self.plan.name, "an overlap that nobody began was refused");
                }
                Happened::Notice(SlotNotice::Unsent(text)) => {
                    // What becomes of the connection, its loss says: this is why a request has no answer.
                    tracing::warn!(connection = %self.plan.name, bytes = text.len(), "not sent: the connection is closing");
                }
                Happened::Cold(Ok(Some(Cold::Data(payload)))) => self.forward(payload).await,
                Happened::Cold(Ok(Some(Cold::SignOfLife))) => {
                    cold_seen = now;
                    self.status.lock().unwrap_or_else(PoisonError::into_inner).cold_pings += 1;
                }
                Happened::Cold(ended) => {
                    cold = None;
                    self.drop_attachment(&mut is_attached, &mut own_losses).await;
                    let (name, reason) = match ended {
                        Err(reason) => ("cold_connection_failed", reason),
                        Ok(_) => ("closed_by_peer", "closed by the peer".to_owned()),
                    };
                    self.note_loss(name, reason.clone());
                    machine.handle(Event::Lost { reason: &reason, code: None }, now, context!(), &mut actions);
                }
                Happened::Timer => machine.handle(Event::Timer, now, context!(), &mut actions),
                Happened::Stop => machine.handle(Event::Stop, now, context!(), &mut actions),
                Happened::Ended => {
                    if let Some(connection) = cold {
                        let _ = tokio::time::timeout(CLOSE_WAIT, connection.close(1000)).await;
                    }
                    return;
                }
            }
        }
    }

    /// Waits for the venue's symbols, telling the reports why it takes long. `None` when the engine stops.
    async fn symbols_known(&mut self) -> Option<Arc<std::collections::BTreeSet<String>>> {
        loop {
            let listing = self.listing.borrow_and_update().clone();
            if listing.is_known {
                return Some(listing.unlisted);
            }
            if let Some(error) = listing.error {
                self.note_error(error.to_string());
            }
            tokio::select! {
                changed = self.listing.changed() => changed.ok()?,
                _ = self.stop.changed() => return None,
            }
        }
    }

    async fn next(
        &mut self,
        timer: Option<MonoNs>,
        connecting: Option<&mut Connecting>,
        cold: Option<&mut WebSocketConnection>,
    ) -> Happened {
        let wait = timer.map(|at| Duration::from_nanos(at.since_ns(mono_now())));
        tokio::select! {
            biased;
            stopped = self.stop.changed() => stopped.map_or(Happened::Ended, |()| Happened::Stop),
            notice = self.notices.recv() => notice.map_or(Happened::Ended, Happened::Notice),
            result = async { match connecting { Some(future) => future.await, None => std::future::pending().await } } => {
                Happened::Connected(result)
            }
            message = async { match cold { Some(connection) => receive(connection).await, None => std::future::pending().await } } => {
                Happened::Cold(message)
            }
            () = async { match wait { Some(wait) => tokio::time::sleep(wait).await, None => std::future::pending().await } } => {
                Happened::Timer
            }
        }
    }

    async fn perform(
        &mut self,
        action: Action,
        connecting: &mut Option<Connecting>,
        cold: &mut Option<Box<WebSocketConnection>>,
        (is_attached, own_losses): (&mut bool, &mut u32),
    ) -> Performed {
        match action {
            Action::Connect => *connecting = Some(self.connecting()),
            Action::Send(text) => match cold {
                Some(connection) => {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    self.send_cold(connection, Message::Text(text.into())).await;
                }
                None => self.command_slot(|slot| Command::Send { slot, text }).await,
            },
            Action::ProtocolPing => match cold {
                Some(connection) => {
                    self.send_cold(connection, Message::Ping(Default::default())).await;
                }
                None => self.command_slot(|slot| Command::Ping { slot }).await,
            },
            Action::Close { code } => match cold.take() {
                Some(connection) => {
                    let _ = tokio::time::timeout(CLOSE_WAIT, connection.close(code)).await;
                    self.drop_attachment(is_attached, own_losses).await;
                    return Performed::Closed;
                }
                None => self.command_slot(|slot| Command::Close { slot, code }).await,
            },
            Action::Drop => {
                if *is_attached && !*self.stop.borrow() {
                    // What for, the report that follows says.
                    self.count_loss("given_up_by_us");
                }
                *connecting = None;
                *cold = None;
                self.drop_attachment(is_attached, own_losses).await;
            }
            Action::Report(report) => {
                let text = describe(&report);
                match &report {
                    Report::Refused { .. } | Report::GaveUp { .. } => {
                        tracing::error!(connection = %self.plan.name, "{text}");
                        self.note_error(text);
                    }
                    Report::Reconnecting { reason, .. } => {
                        tracing::warn!(connection = %self.plan.name, "{text}");
                        self.note_error(reason.clone());
                    }
                    _ => {
                        tracing::info!(connection = %self.plan.name, "{text}");
                    }
                }
            }
        }
        Performed::Done
    }

    fn connecting(&self) -> Connecting {
        let options = self.plan.connect.clone();
        match self.plan.cold {
            None => Box::pin(async move { connect(&options).await.map(|done| Link::Hot(Box::new(done))) }),
            Some(cold) => Box::pin(async move {
                WebSocketConnection::connect(&options, &cold).await.map(|done| Link::Cold(Box::new(done)))
            }),
        }
    }

    /// Hands a fresh connection to its core, then tells the machine. True if the core has it.
    async fn attach(
        &mut self,
        link: Link,
        cold: &mut Option<Box<WebSocketConnection>>,
        machine: &mut ConnectionMachine,
        now: MonoNs,
        context: &mut crate::control::Context<'_>,
        actions: &mut Vec<Action>,
    ) -> bool {
        let decoder = Decoder::new(self.plan.venue, self.plan.form, self.plan.raw_stream.as_deref());
        let Some(lease) = self.slots.take(&self.plan.name.as_str().into(), self.hearer.clone()) else {
            let reason = "every slot of the core is taken";
            machine.handle(Event::ConnectFailed { reason, retry_after: None, status: None }, now, context, actions);
            return false;
        };
        let feed = Feed::new(lease.slot(), decoder, Arc::clone(&self.stats));
        self.socket = Arc::clone(&feed.socket);
        match link {
            Link::Cold(connection) => {
                self.note_established(describe_cold(&connection));
                *cold = Some(connection);
                lease.attached();
                self.command(Command::AttachCold(Box::new(feed))).await;
            }
            Link::Hot(established) => {
                self.note_established(describe_established(&established));
                let settings = self.plan.hot_settings();
                match HotConnection::new(established.stream, &established.leftover, &settings) {
                    Ok(connection) => {
                        lease.attached();
                        self.command(Command::Attach(Box::new(Attachment { connection, feed }))).await;
                    }
                    Err(error) => {
                        machine.handle(
                            Event::ConnectFailed { reason: &error.to_string(), retry_after: None, status: None },
                            now,
                            context,
                            actions,
                        );
                        return false;
                    }
                }
            }
        }
        self.lease = Some(lease);
        machine.handle(Event::Connected, now, context, actions);
        true
    }

    /// Takes the slot back from the core, whatever its connection is doing.
    async fn drop_attachment(&mut self, is_attached: &mut bool, own_losses: &mut u32) {
        if std::mem::take(is_attached) {
            *own_losses += 1;
            self.command_slot(|slot| Command::Close { slot, code: 0 }).await;
            self.lease = None;
        }
    }

    /// Sends on a cold connection. A failure is told by the next receive too; a peer that takes nothing is not waited for.
    async fn send_cold(&self, connection: &mut WebSocketConnection, message: Message) {
        let sent = tokio::time::timeout(SEND_WAIT, connection.send(message)).await;
        let failed = match sent {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the peer takes nothing of what is sent".to_owned(),
        };
        tracing::warn!(connection = %self.plan.name, error = failed, "not sent");
        self.note_loss("send_failed", failed);
    }

    /// One message of a cold connection, to the core that owns its symbols.
    async fn forward(&mut self, payload: Vec<u8>) {
        let received = Received { mono: mono_now(), wall_ns: wall_now_ns() };
        self.command_slot(|slot| Command::Message { slot, payload, received }).await;
    }

    async fn command(&self, command: Command) {
        // A core that has ended takes no more commands: the engine is stopping.
        let _ = self.core.send(command).await;
    }

    /// A command to the slot taken now; without one there is nothing to command.
    async fn command_slot(&self, command: impl FnOnce(u16) -> Command) {
        if let Some(lease) = &self.lease {
            self.command(command(lease.slot())).await;
        }
    }

    fn publish(&self, machine: &ConnectionMachine) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).machine = Some(machine.status());
    }

    fn note_error(&self, error: String) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).last_error = Some(error);
    }

    fn note_loss(&self, name: &'static str, reason: String) {
        self.count_loss(name);
        self.note_error(reason);
    }

    fn count_loss(&self, name: &'static str) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner).losses.entry(name).or_default() += 1;
    }

    fn note_failed(&self) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).has_failed = true;
    }

    fn note_established(&self, what: String) {
        tracing::info!(connection = %self.plan.name, "{what}");
        self.status.lock().unwrap_or_else(PoisonError::into_inner).established = Some(what);
    }

    fn keep_sample(&self, error: DecodeError, message_bytes: usize, sample: &[u8]) {
        let text = String::from_utf8_lossy(sample).into_owned();
        tracing::warn!(connection = %self.plan.name, %error, sample = %text, "a message gave no event");
        let reason = error.reason.name();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.samples.retain(|sample| sample.reason != reason);
        status.samples.push(SampleReport {
            reason: reason.to_owned(),
            field: error.field.to_owned(),
            message_bytes: message_bytes as u64,
            text,
        });
    }
}

/// What an action left behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Performed {
    Done,
    /// The connection is closed already: no notice will come.
    Closed,
}

/// A report in words, for the log.
fn describe(report: &Report) -> String {
    match report {
        Report::Connected => "connected".to_owned(),
        Report::Ready => "ready: every wanted subscription is confirmed or refused".to_owned(),
        Report::Reconnecting { attempt, delay, reason } => {
            format!("reconnecting, attempt {attempt} in {} ms: {reason}", delay.as_millis())
        }
        Report::Refused { stream, reason } => format!("subscription {stream} refused: {reason}"),
        Report::GaveUp { reason } => format!("gave up: {reason}"),
        Report::Closed => "closed".to_owned(),
        other => format!("{other:?}"),
    }
}

/// How long a cold connection's socket may refuse what is to be sent.
const SEND_WAIT: Duration = Duration::from_secs(1);

/// How long a peer has to answer our close frame.
const CLOSE_WAIT: Duration = Duration::from_millis(80);

/// What a cold connection gave.
enum Cold {
    Data(Vec<u8>),
    /// A ping, answered already, or a pong.
    SignOfLife,
}

/// What a cold connection gives next; `None` after its closing handshake.
async fn receive(connection: &mut WebSocketConnection) -> Result<Option<Cold>, String> {
    match connection.recv().await {
        Ok(Some(Message::Text(text))) => Ok(Some(Cold::Data(text.as_bytes().to_vec()))),
        Ok(Some(Message::Binary(bytes))) => Ok(Some(Cold::Data(bytes.to_vec()))),
        Ok(Some(Message::Ping(_) | Message::Pong(_))) => Ok(Some(Cold::SignOfLife)),
        Ok(None) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// An established connection in words: where it goes, what the kernel granted, how long each step took.
fn describe_established(done: &Established) -> String {
    let tls = match (&done.tls_version, &done.tls_cipher) {
        (Some(version), Some(cipher)) => format!("{version} {cipher}"),
        _ => "no TLS".to_owned(),
    };
    describe_socket((done.local, done.peer), &tls, done.granted, done.timings)
}

fn describe_cold(done: &WebSocketConnection) -> String {
    describe_socket((done.local(), done.peer()), "on the cold side", done.granted(), done.timings())
}

fn describe_socket((local, peer): (SocketAddr, SocketAddr), how: &str, granted: Granted, timings: Timings) -> String {
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    format!(
        "connected {local} to {peer}, {how}; receive buffer {} bytes, send buffer {} bytes, nodelay {}; dns {} tcp {} tls {} \
         upgrade {} ms",
        granted.receive_buffer_bytes,
        granted.send_buffer_bytes,
        granted.nodelay,
        ms(timings.dns),
        ms(timings.tcp),
        ms(timings.tls),
        ms(timings.upgrade)
    )
}
