//! Performs what one connection's relay decides: the bridge between control, net and the connection's core.
//!
//! ```text
//!              Relay (control, sans-IO): one socket, during a rotation two
//!   events ▲                                  │ actions
//!          │   connect result, control message,   ▼ connect, send, ping, close, drop, begin overlap, promote
//!          │   lost, timer, stop, commands
//!        legs.rs: net::connect ─► Attach ─► core's ring
//! ```
//! One task a connection. Holds no state of its own but what is under way.

use super::group::Seat;
use super::legs::{self, Attached, Connecting, LegIo, Link, PulseAt, Said, next, pulse_of};
use super::link::SlotNotice;
use super::listing::Listing;
use super::overlap::OverlapIo;
use super::plan::SocketPlan;
use super::refill::RefillHandle;
use super::shared::{CoreLink, Move, Shared};
use super::status::SharedStatus;
use crate::control::{
    Action, BudgetId, Context, Event, Leg, Relay, RelayAction, RelayEvent, Report, SlotId, SlotSet, State,
};
use crate::hot::{Attachment, Command, ConnectionStats, Feed, HotConnection, mono_now, wall_now_ns};
use crate::limits::READ_PADDING_BYTES;
use crate::market::{Backlog, MonoNs, Received, StreamKind};
use crate::net::{ConnectError, Established, Message, WebSocketConnection, connect};
use crate::telemetry::{ConnectionStatus, Happening, SampleReport};
use crate::venue::{DecodeError, Decoder, protocol};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How often the last data of every subscription is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// How long a cold connection's socket may refuse what is to be sent.
const SEND_WAIT: Duration = Duration::from_secs(1);

/// How long a peer has to answer our close frame.
const CLOSE_WAIT: Duration = Duration::from_millis(80);

/// What a driver is asked to do while it runs.
#[derive(Debug)]
pub(super) enum DriverCommand {
    /// Want these streams too.
    Subscribe(Vec<Box<str>>),
    /// Want these streams no longer. The answer comes once the venue sends none of them on this connection any more.
    Unsubscribe(Vec<Box<str>>, oneshot::Sender<()>),
    /// Send this text as it is.
    Send(String, oneshot::Sender<Result<(), String>>),
    /// Subscribe this stream again, and no other; where a place is named, only if the socket that speaks is in it.
    Resubscribe { stream: Box<str>, place: Option<u8> },
    /// Drop the socket and make it again.
    Reconnect,
    /// Replace the socket, make before break.
    Rotate(oneshot::Sender<Result<(), String>>),
    /// Go on with these settings: from the next socket on.
    Plan(Box<SocketPlan>),
    /// Tell everything that is known.
    Status(oneshot::Sender<ConnectionStatus>),
    /// Close, and end. Answered, or dropped, by whoever has it: nobody owes this connection any more.
    Remove(oneshot::Sender<()>),
}

/// One connection's task, before it runs.
pub(super) struct Driver {
    pub(super) plan: SocketPlan,
    pub(super) shared: Arc<Shared>,
    pub(super) core: CoreLink,
    /// Every core: the books of a venue may be on others.
    pub(super) cores: Arc<[CoreLink]>,
    pub(super) stats: Arc<ConnectionStats>,
    pub(super) status: SharedStatus,
    pub(super) listing: watch::Receiver<Listing>,
    pub(super) refills: RefillHandle,
    pub(super) commands: mpsc::Receiver<DriverCommand>,
    /// True once the engine stops.
    pub(super) stop: watch::Receiver<bool>,
    /// What was asked for before the venue's symbols were known: done once they are.
    pub(super) early: Vec<DriverCommand>,
    /// Set where it is one of several legs.
    pub(super) seat: Option<Seat>,
}

/// One connection's task at work.
struct Running {
    driver: Driver,
    relay: Relay,
    budget: BudgetId,
    legs: Vec<LegIo>,
    actions: Vec<RelayAction>,
    /// Who waits for streams to be gone.
    waiting_gone: Vec<(Vec<Box<str>>, oneshot::Sender<()>)>,
    sample_at: tokio::time::Instant,
    /// A socket has been ready since it came up: the connection counts as up.
    was_ready: bool,
    overlap: OverlapIo,
    /// Changes whenever a place in a budget's line came up earlier.
    moved_up: watch::Receiver<u64>,
}

/// What happened, as the select sees it.
enum Happened {
    Said(Leg, Said),
    Command(Option<DriverCommand>),
    Timer,
    Sample,
    Stop,
}

impl Driver {
    /// Runs until the engine stops, or the connection is closed for good.
    pub(super) async fn run(mut self) {
        self.note_up(false);
        let Some(unlisted) = self.symbols_known().await else { return self.leave().await };
        // Before anything is subscribed: a book that begins with a snapshot on the stream must not miss it.
        self.shared.books.settle(&self.shared, &self.cores).await;
        let streams = self.plan.streams_without(&unlisted);
        let unlisted_streams = self.plan.stream_count() - streams.len();
        self.status.lock().unwrap_or_else(PoisonError::into_inner).unlisted_streams = unlisted_streams;
        for name in unlisted.iter().filter(|name| self.plan.names(name)) {
            self.note_error(format!("{name} is not in the venue's instrument list"));
        }
        if streams.is_empty() && unlisted_streams > 0 {
            tracing::error!(connection = %self.plan.name, "nothing is left to subscribe: not connected");
            self.note_failed();
            return self.leave().await;
        }
        let relay = match Relay::new(self.plan.control.clone(), self.plan.rotation.clone(), streams) {
            Ok(relay) => relay,
            Err(error) => {
                tracing::error!(connection = %self.plan.name, %error, "nothing to subscribe");
                self.note_error(error.to_string());
                self.note_failed();
                return self.leave().await;
            }
        };
        if let Some(seat) = &self.seat {
            seat.begin(&self.core).await;
        }
        let budget = self.shared.budget(&self.plan);
        let moved_up = self.shared.governor.moved_up();
        let sample_at = tokio::time::Instant::now() + SAMPLE_EVERY;
        let running = Running {
            driver: self,
            relay,
            budget,
            legs: Vec::new(),
            actions: Vec::new(),
            waiting_gone: Vec::new(),
            sample_at,
            was_ready: false,
            overlap: OverlapIo::default(),
            moved_up,
        };
        running.run().await;
    }

    /// Waits for the venue's symbols, telling the reports why it takes long. `None` when the engine stops, or nobody wants
    /// the connection any more.
    async fn symbols_known(&mut self) -> Option<Arc<BTreeSet<String>>> {
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
                command = self.commands.recv() => self.on_early(command?)?,
            }
        }
    }

    /// Does what can be done before anything is connected, and keeps the rest. `None` where this was the end.
    fn on_early(&mut self, command: DriverCommand) -> Option<()> {
        const WAITS: &str = "it waits for the venue's instrument list";
        match command {
            DriverCommand::Remove(done) => {
                self.note_forgotten();
                let _ = done.send(());
                return None;
            }
            DriverCommand::Status(reply) => {
                drop(reply.send(super::status::bare(&self.plan.name, self.plan.venue, "listing")))
            }
            DriverCommand::Send(_, reply) | DriverCommand::Rotate(reply) => drop(reply.send(Err(WAITS.to_owned()))),
            DriverCommand::Unsubscribe(streams, reply) => {
                // Nothing is live yet.
                let _ = reply.send(());
                self.early.push(DriverCommand::Unsubscribe(streams, oneshot::channel().0));
            }
            // There is no socket to drop, and nothing to subscribe again.
            DriverCommand::Reconnect | DriverCommand::Resubscribe { .. } => {}
            command => self.early.push(command),
        }
        Some(())
    }

    /// Tells whether it is up to whoever wants to know whether the engine is whole.
    fn note_up(&self, is_up: bool) {
        let whole = &self.shared.whole;
        match (&self.seat, is_up) {
            (Some(seat), is_up) => seat.tell(is_up, whole),
            (None, true) => whole.up(&self.plan.name),
            (None, false) => whole.down(&self.plan.name),
        }
    }

    /// It is missing to nobody any more.
    fn note_forgotten(&self) {
        match &self.seat {
            Some(seat) => seat.forget(&self.shared.whole),
            None => self.shared.whole.forget(&self.plan.name),
        }
    }

    /// It ends: where it was a leg, the others go on without it.
    async fn leave(&self) {
        if let Some(seat) = &self.seat {
            seat.end(&self.core).await;
        }
    }

    fn connecting(&self) -> Connecting {
        let mut options = self.plan.connect.clone();
        if let Some(seat) = &self.seat {
            options.avoided = seat.avoided();
        }
        match self.plan.cold {
            None => Box::pin(async move { connect(&options).await.map(|done| Link::Hot(Box::new(done))) }),
            Some(cold) => Box::pin(async move {
                WebSocketConnection::connect(&options, &cold).await.map(|done| Link::Cold(Box::new(done)))
            }),
        }
    }

    async fn command(&self, command: Command) {
        // A core that has ended takes no more commands: the engine is stopping.
        let _ = self.core.commands.send(command).await;
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
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

    fn note_opener(&self, established: &Established) {
        if let Some(obstacle) = established.obstacle {
            tracing::warn!(connection = %self.plan.name, "TLS records stay with rustls, which allocates: {obstacle}");
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.opener = established.opener();
        status.tls_fallbacks += u64::from(established.obstacle.is_some());
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

impl Running {
    async fn run(mut self) {
        self.apply(RelayEvent::Start);
        for command in std::mem::take(&mut self.driver.early) {
            self.on_command(command).await;
        }
        loop {
            self.perform_all().await;
            self.tell_gone();
            // What the reports show of a connection that is told to stop is how it was until then.
            if !self.driver.is_stopping() {
                self.publish();
            }
            if self.relay.is_over() {
                return self.ended().await;
            }
            let happened = self.wait().await;
            // A cold connection's messages are many, and change nothing here.
            if let Happened::Said(leg, Said::Data(payload)) = happened {
                self.forward(leg, payload).await;
                continue;
            }
            self.see();
            match happened {
                Happened::Said(leg, said) => self.on_said(leg, said).await,
                Happened::Command(Some(command)) => self.on_command(command).await,
                Happened::Command(None) | Happened::Stop => self.apply(RelayEvent::Stop),
                Happened::Timer => self.apply(RelayEvent::Timer),
                Happened::Sample => self.sample(),
            }
        }
    }

    fn apply(&mut self, event: RelayEvent<'_>) {
        let wall_ms = wall_now_ns() / 1_000_000;
        let Driver { seat, shared, .. } = &mut self.driver;
        // Legs are told apart all the time: a successor is one more, in a place of its own, and there is one such place.
        let mut turn = seat.as_mut().map(Seat::turn);
        if let Some(turn) = &turn {
            self.relay.set_held(turn.is_held());
        }
        let mut governor = shared.governor.lock();
        let mut context = Context { wall_ms, governor: &mut governor, budget: self.budget };
        let known = self.actions.len();
        self.relay.handle(event, mono_now(), &mut context, &mut self.actions);
        let begun = self.actions[known..].iter().find_map(|action| match action {
            RelayAction::BeginOverlap { leader, successor } => Some((*leader, *successor)),
            _ => None,
        });
        if let (Some(turn), Some((leader, successor))) = (&mut turn, begun) {
            turn.take(leader, successor);
        }
    }

    async fn wait(&mut self) -> Happened {
        // A socket that always has something to say must not hold up what is due: a sample does all of it.
        if self.sample_at <= tokio::time::Instant::now() {
            return Happened::Sample;
        }
        let wait = self.relay.next_timer().map(|at| Duration::from_nanos(at.since_ns(mono_now())));
        tokio::select! {
            biased;
            changed = self.driver.stop.changed(), if !self.relay.is_stopping() => {
                let _ = changed;
                Happened::Stop
            }
            command = self.driver.commands.recv(), if !self.relay.is_stopping() => Happened::Command(command),
            (leg, said) = next(&mut self.legs) => Happened::Said(leg, said),
            () = async { match wait { Some(wait) => tokio::time::sleep(wait).await, None => std::future::pending().await } } => {
                Happened::Timer
            }
            Ok(()) = self.moved_up.changed() => Happened::Timer,
            () = tokio::time::sleep_until(self.sample_at) => Happened::Sample,
        }
    }

    /// Tells the relay when each socket's last byte came, and how many data messages it had.
    fn see(&mut self) {
        for at in 0..self.legs.len() {
            let LegIo { leg, attached: Some(attached), .. } = &self.legs[at] else { continue };
            let last_seen = attached.cold_seen.max(MonoNs(attached.socket.last_seen_ns.get()));
            let (leg, messages) = (*leg, attached.socket.data_messages.get());
            if self.relay.machine_mut(leg).is_some_and(|machine| machine.state().is_up()) {
                self.apply(RelayEvent::Leg(leg, Event::DataSeen { last_seen, messages }));
            }
        }
    }

    /// Looks at the last data of every subscription.
    fn sample(&mut self) {
        self.sample_at = tokio::time::Instant::now() + SAMPLE_EVERY;
        let now = mono_now();
        let Self { legs, relay, driver, overlap, .. } = self;
        for LegIo { leg, attached, .. } in legs.iter_mut() {
            let (Some(attached), Some(machine)) = (attached, relay.machine_mut(*leg)) else { continue };
            if !machine.state().is_up() {
                continue;
            }
            let known = machine.subscriptions().len();
            for at in attached.pulses.len()..known {
                let stream = machine.subscriptions().stream(SlotId::at(at));
                attached.pulses.push(pulse_of(&driver.shared, &driver.plan, stream));
            }
            let connected_at = MonoNs(attached.socket.connected_ns.get());
            for (at, pulse) in attached.pulses.iter_mut().enumerate() {
                if *pulse == PulseAt::Nowhere {
                    // Its symbol may have become known since.
                    *pulse = pulse_of(&driver.shared, &driver.plan, machine.subscriptions().stream(SlotId::at(at)));
                }
                let pulse = *pulse;
                // Where nobody can see its data, nobody can say that there is none.
                if pulse == PulseAt::Nowhere {
                    continue;
                }
                let last = driver.core.last_data(driver.plan.venue, &driver.shared, pulse, attached.place);
                // What came on an earlier socket is not this one's. None at all is told too: that is how a stream that
                // never spoke is found.
                let last = if last > connected_at { last } else { MonoNs(0) };
                machine.seen(SlotId::at(at), last, now);
            }
        }
        let unjoined = driver.seat.as_ref().map_or_else(|| overlap.unjoined(), Seat::unjoined);
        if let Some(unjoined) = unjoined {
            relay.note_unjoined(unjoined);
        }
        let losing = driver.seat.as_mut().and_then(|seat| seat.race(&driver.stats, now));
        match losing {
            Some(losing) => self.apply(RelayEvent::Rotate(&losing.to_string())),
            None => self.apply(RelayEvent::Timer),
        }
    }

    async fn on_said(&mut self, leg: Leg, said: Said) {
        match said {
            Said::Connected(Ok(link)) => self.attach(leg, link).await,
            Said::Connected(Err(error)) => self.on_connect_failed(leg, &error),
            Said::Notice(SlotNotice::Lost { name, reason, code }) => self.on_lost(leg, name, &reason, code).await,
            Said::Notice(SlotNotice::Control(message)) => {
                self.apply(RelayEvent::Leg(leg, Event::Message(&message)));
            }
            Said::Notice(SlotNotice::Sample { error, message_bytes, sample }) => {
                self.driver.keep_sample(error, message_bytes, &sample);
            }
            Said::Notice(SlotNotice::Missing(ids)) => {
                if let Some(slot) = self.slot(leg) {
                    self.driver.ask_for_refill(slot, ids).await;
                }
            }
            Said::Notice(SlotNotice::Unsent(bytes)) => {
                // What becomes of the connection, its loss says: this is why a request has no answer.
                let connection = &self.driver.plan.name;
                tracing::warn!(%connection, bytes, "not sent: the connection is closing");
            }
            Said::Notice(SlotNotice::LeadReturned { has_snapshot_passed }) => {
                if has_snapshot_passed {
                    self.resubscribe_books().await;
                }
            }
            Said::Notice(SlotNotice::OverlapRefused) => {
                self.overlap = OverlapIo::default();
                self.apply(RelayEvent::NotOverlapped("its core has too many rotations under way"));
            }
            Said::SignOfLife => {
                if let Some(attached) = self.attached(leg) {
                    attached.cold_seen = mono_now();
                }
                self.driver.status.lock().unwrap_or_else(PoisonError::into_inner).cold_pings += 1;
            }
            Said::ColdEnded(name, reason, code) => {
                self.let_go(leg).await;
                self.on_lost(leg, name, &reason, code).await;
            }
            Said::Data(payload) => self.forward(leg, payload).await,
        }
    }

    fn on_connect_failed(&mut self, leg: Leg, error: &ConnectError) {
        let text = error.to_string();
        tracing::warn!(connection = %self.driver.plan.name, error = %text, "connect failed");
        let (retry_after, status) = match error {
            ConnectError::Refused { retry_after, status, .. } => (*retry_after, Some(*status)),
            _ => (None, None),
        };
        self.driver.note_loss("connect_failed", text.clone());
        self.apply(RelayEvent::Leg(leg, Event::ConnectFailed { reason: &text, retry_after, status }));
    }

    async fn on_lost(&mut self, leg: Leg, name: &'static str, reason: &str, code: Option<u16>) {
        if let Some(io) = self.legs.iter_mut().find(|io| io.leg == leg) {
            io.attached = None;
        }
        self.tell_interrupted().await;
        // An end that we asked for is no loss.
        let is_loss = self.relay.machine_mut(leg).is_some_and(|machine| machine.state().is_up());
        if is_loss && !self.driver.is_stopping() {
            tracing::warn!(connection = %self.driver.plan.name, reason, "connection lost");
            self.driver.note_loss(name, reason.to_owned());
        }
        self.apply(RelayEvent::Leg(leg, Event::Lost { reason, code }));
    }

    /// The successor was lost before it took over, or a leg was: the book topics that it led go on nowhere. Where a book of them
    /// is kept with all levels, each leg has its own, and another that is live leads from its next message on: those stay.
    async fn resubscribe_books(&mut self) {
        let protocol = protocol(self.driver.plan.venue);
        let (_, machine) = self.relay.current();
        let books = machine.subscriptions().slots(SlotSet::Active).filter(|(_, stream)| {
            let channel = protocol.channel_of(stream).map(|(channel, _)| channel);
            channel.is_some_and(|channel| channel.is_snapshot_book())
        });
        let is_whole = |stream: &str| match pulse_of(&self.driver.shared, &self.driver.plan, stream) {
            PulseAt::Symbol(symbol, _) => self.driver.shared.books.is_whole(symbol, stream, &self.driver.core),
            PulseAt::Market(_) | PulseAt::Nowhere => false,
        };
        let books = books.filter(|(_, stream)| !is_whole(stream));
        let books: Vec<Box<str>> = books.map(|(_, stream)| stream.into()).collect();
        if let Some(command) = self.driver.interruption(books.iter().map(|stream| &**stream), true) {
            self.driver.command(command).await;
        }
        for stream in books {
            self.apply(RelayEvent::Resubscribe(&stream));
        }
    }

    async fn on_command(&mut self, command: DriverCommand) {
        match command {
            DriverCommand::Subscribe(streams) => {
                for stream in &streams {
                    self.apply(RelayEvent::Subscribe(stream));
                }
            }
            DriverCommand::Unsubscribe(streams, reply) => {
                for stream in &streams {
                    self.apply(RelayEvent::Unsubscribe(stream));
                }
                self.waiting_gone.push((streams, reply));
            }
            DriverCommand::Send(text, reply) => {
                let (leg, _) = self.relay.current();
                let queued = self.relay.machine_mut(leg).map(|machine| machine.queue_send(text, mono_now()));
                let sent = match queued {
                    Some(Ok(())) => Ok(()),
                    Some(Err(error)) => Err(error.to_string()),
                    None => Err("the connection is gone".to_owned()),
                };
                let _ = reply.send(sent);
                self.apply(RelayEvent::Timer);
            }
            DriverCommand::Resubscribe { stream, place } => {
                let speaks = self.relay.current().0;
                let own = self.attached(speaks).map(|attached| attached.place);
                if place.is_none() || place == own {
                    self.apply(RelayEvent::Resubscribe(&stream));
                }
            }
            DriverCommand::Reconnect => self.apply(RelayEvent::Reconnect("asked for")),
            DriverCommand::Rotate(reply) => {
                self.apply(RelayEvent::Rotate("asked for"));
                let refusal = self.actions.iter().find_map(|action| match action {
                    RelayAction::Report(Report::NotRotated { reason }) => Some(reason.clone()),
                    _ => None,
                });
                let _ = reply.send(refusal.map_or(Ok(()), Err));
            }
            DriverCommand::Plan(plan) => {
                self.relay.set_settings(plan.control.clone(), plan.rotation.clone());
                if let Some(seat) = &self.driver.seat {
                    seat.set_race(plan.race());
                }
                self.driver.plan = *plan;
            }
            DriverCommand::Status(reply) => {
                let _ = reply.send(super::status::connection(&self.driver, &self.relay, &self.legs));
            }
            DriverCommand::Remove(done) => {
                self.apply(RelayEvent::Stop);
                let _ = done.send(());
            }
        }
    }

    async fn perform_all(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.perform(action).await;
            }
        }
        // A socket that the relay has forgotten is nobody's.
        for leg in self.legs.iter().map(|io| io.leg).collect::<Vec<_>>() {
            if self.relay.machines().all(|(known, _)| known != leg) {
                self.let_go(leg).await;
                self.legs.retain(|io| io.leg != leg);
            }
        }
        if let Some(seat) = &mut self.driver.seat {
            seat.tidy(&self.relay);
        }
    }

    async fn perform(&mut self, action: RelayAction) {
        match action {
            RelayAction::Leg(leg, action) => self.perform_on(leg, action).await,
            RelayAction::BeginOverlap { leader, successor } => self.begin_overlap(leader, successor).await,
            RelayAction::Promote(leg) => {
                if let Some(slot) = self.slot(leg) {
                    self.driver.command(Command::Promote { slot }).await;
                }
            }
            RelayAction::EndOverlap => {
                if let Some(command) = self.overlap.end() {
                    self.driver.command(command).await;
                }
            }
            RelayAction::Report(report) => self.report(report).await,
        }
    }

    async fn perform_on(&mut self, leg: Leg, action: Action) {
        match action {
            Action::Connect => {
                let connecting = self.driver.connecting();
                self.leg(leg).connecting = Some(connecting);
            }
            Action::Send(text) => self.send(leg, text).await,
            Action::Login(text) => self.send(leg, text.reveal().as_bytes().to_vec()).await,
            Action::ProtocolPing => match self.attached(leg).and_then(|attached| attached.cold.as_mut()) {
                Some(_) => self.send_cold(leg, Message::Ping(Default::default())).await,
                None => {
                    if let Some(slot) = self.slot(leg) {
                        self.driver.command(Command::Ping { slot }).await;
                    }
                }
            },
            Action::Close { code } => self.close(leg, code).await,
            Action::Drop => {
                let is_attached = self.attached(leg).is_some();
                if is_attached && !self.driver.is_stopping() {
                    // What for, the report that follows says.
                    self.driver.count_loss("given_up_by_us");
                }
                self.let_go(leg).await;
            }
            Action::Report(report) => self.report(report).await,
        }
    }

    /// Tells what a report says. A silent stream that is subscribed again, here or elsewhere, is interrupted, unless another
    /// leg goes on with it.
    async fn report(&mut self, report: Report) {
        if let Report::Resubscribing { stream } | Report::MoveWanted { stream } = &report
            && !self.driver.seat.as_ref().is_some_and(Seat::is_backed_up)
            && let Some(command) = self.driver.interruption(std::iter::once(&**stream), true)
        {
            self.driver.command(command).await;
        }
        self.tell(report);
    }

    async fn close(&mut self, leg: Leg, code: u16) {
        let cold = self.attached(leg).and_then(|attached| attached.cold.take());
        match (cold, self.slot(leg)) {
            (Some(connection), _) => {
                let _ = tokio::time::timeout(CLOSE_WAIT, connection.close(code)).await;
                self.let_go(leg).await;
                self.apply(RelayEvent::Leg(leg, Event::Closed));
            }
            (None, Some(slot)) => self.driver.command(Command::Close { slot, code }).await,
            (None, None) => self.apply(RelayEvent::Leg(leg, Event::Closed)),
        }
    }

    /// Hands a fresh connection to its core, then tells the relay.
    async fn attach(&mut self, leg: Leg, link: Link) {
        let driver = &self.driver;
        let Some((lease, notices)) = self.overlap.place(leg, &driver.core, &driver.plan.name) else {
            let reason = "every slot of the core is taken";
            return self.apply(RelayEvent::Leg(leg, Event::ConnectFailed { reason, retry_after: None, status: None }));
        };
        let plan = &driver.plan;
        let decoder = Decoder::new(plan.venue, plan.form, plan.raw_stream.as_deref());
        let mut feed = Feed::new(lease.slot(), decoder, Arc::clone(&driver.stats));
        feed.leg = leg.parity();
        feed.conflates_quotes = plan.conflate_quotes;
        if let Some(seat) = &driver.seat {
            let Some((place, joining)) = seat.joining(leg, &self.relay) else {
                let reason = "its legs have no room on the core";
                let event = Event::ConnectFailed { reason, retry_after: None, status: None };
                return self.apply(RelayEvent::Leg(leg, event));
            };
            (feed.leg, feed.joining) = (place, Some(joining));
        }
        let (place, peer) = (feed.leg, link.peer());
        feed.server_ping = plan.control.heartbeat.server_ping.as_ref().map(|rule| Box::new(rule.ping().clone()));
        let socket = Arc::clone(&feed.socket);
        let mut cold = None;
        let command = match link {
            Link::Cold(connection) => {
                driver.note_established(legs::describe_cold(&connection));
                cold = Some(connection);
                Command::AttachCold(Box::new(feed))
            }
            Link::Hot(established) => {
                driver.note_established(legs::describe_established(&established));
                driver.note_opener(&established);
                let settings = plan.hot_settings(driver.shared.kernel_stamps);
                match HotConnection::new(established.stream, &established.leftover, &settings) {
                    Ok(connection) => Command::Attach(Box::new(Attachment { connection, feed })),
                    Err(error) => {
                        // The next attempt is to find the slot that the overlap knows.
                        self.overlap.give_back(leg, (lease, notices));
                        let reason = &error.to_string();
                        let event = Event::ConnectFailed { reason, retry_after: None, status: None };
                        return self.apply(RelayEvent::Leg(leg, event));
                    }
                }
            }
        };
        lease.attached();
        driver.command(command).await;
        let cold_seen = MonoNs(0);
        if let Some(seat) = &mut self.driver.seat {
            seat.connected(peer, &self.driver.stats, mono_now());
        }
        self.leg(leg).attached = Some(Attached { lease, notices, socket, cold, cold_seen, place, pulses: Vec::new() });
        self.apply(RelayEvent::Leg(leg, Event::Connected));
    }

    /// Takes the slot back from the core, whatever its connection is doing, and forgets a connect under way.
    async fn let_go(&mut self, leg: Leg) {
        let Some(io) = self.legs.iter_mut().find(|io| io.leg == leg) else { return };
        io.connecting = None;
        if let Some(attached) = io.attached.take() {
            self.driver.command(Command::Close { slot: attached.lease.slot(), code: 0 }).await;
            self.tell_interrupted().await;
        }
    }

    /// A socket is gone. Tells the core which streams nothing brings any more: before another socket is attached, so that the
    /// first event it brings of each is known to come behind a hole. A stream that another socket's subscription holds goes on,
    /// and so do all of a leg's while another leg is up.
    async fn tell_interrupted(&mut self) {
        if self.driver.is_stopping() {
            return;
        }
        let interruption = {
            let is_attached = |leg: Leg| self.legs.iter().any(|io| io.leg == leg && io.attached.is_some());
            let goes_on: BTreeSet<&str> = self
                .relay
                .machines()
                .filter(|(leg, _)| is_attached(*leg))
                .flat_map(|(_, machine)| machine.subscriptions().slots(SlotSet::Active).map(|(_, stream)| stream))
                .collect();
            let wanted = self.relay.current().1.subscriptions().slots(SlotSet::Wanted).map(|(_, stream)| stream);
            let interrupted: Vec<&str> = wanted.filter(|stream| !goes_on.contains(stream)).collect();
            if interrupted.is_empty() || self.driver.seat.as_ref().is_some_and(|seat| !seat.was_last_up()) {
                return;
            }
            self.driver.interruption(interrupted.into_iter(), false)
        };
        if let Some(command) = interruption {
            self.driver.command(command).await;
        }
    }

    /// A successor is to come, which needs books of its own, and tables where it has no place among legs.
    async fn begin_overlap(&mut self, leader: Leg, successor: Leg) {
        let streams: Vec<Box<str>> = {
            let wanted = self.relay.current().1.subscriptions().slots(SlotSet::Wanted);
            wanted.map(|(_, stream)| stream.into()).collect()
        };
        let Driver { plan, shared, cores, .. } = &self.driver;
        shared.books.make_spares(plan.venue, &streams, cores).await;
        if self.driver.seat.is_some() {
            return;
        }
        let protocol = protocol(self.driver.plan.venue);
        let kinds = streams.iter().filter_map(|stream| Some(protocol.channel_of(stream)?.0.stream_kind()));
        let stream_kinds: BTreeSet<StreamKind> = kinds.collect();
        let of = (self.driver.plan.venue, stream_kinds);
        let begun = match self.slot(leader) {
            Some(slot) => self.overlap.begin(&self.driver.core, &self.driver.plan.name, of, slot, successor).await,
            None => None,
        };
        match begun {
            Some(command) => self.driver.command(command).await,
            None => self.apply(RelayEvent::NotOverlapped("its core has no slot left for a successor")),
        }
    }

    async fn send(&mut self, leg: Leg, text: Vec<u8>) {
        if self.attached(leg).is_some_and(|attached| attached.cold.is_some()) {
            let text = String::from_utf8_lossy(&text).into_owned();
            self.send_cold(leg, Message::Text(text.into())).await;
        } else if let Some(slot) = self.slot(leg) {
            self.driver.command(Command::Send { slot, text }).await;
        }
    }

    /// Sends on a cold connection. A failure is told by the next receive too; a peer that takes nothing is not waited for.
    async fn send_cold(&mut self, leg: Leg, message: Message) {
        let Some(connection) = self.attached(leg).and_then(|attached| attached.cold.as_mut()) else { return };
        let failed = match tokio::time::timeout(SEND_WAIT, connection.send(message)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the peer takes nothing of what is sent".to_owned(),
        };
        tracing::warn!(connection = %self.driver.plan.name, error = failed, "not sent");
        self.driver.note_loss("send_failed", failed);
    }

    /// One message of a cold connection, to the core that owns its symbols.
    async fn forward(&mut self, leg: Leg, mut payload: Vec<u8>) {
        if let Some(slot) = self.slot(leg) {
            // The core puts its padding behind the message and must not allocate for it.
            payload.reserve(READ_PADDING_BYTES);
            let received = Received { mono: mono_now(), wall_ns: wall_now_ns(), backlog: Backlog::NONE };
            self.driver.command(Command::Message { slot, payload, received }).await;
        }
    }

    fn leg(&mut self, leg: Leg) -> &mut LegIo {
        let at = self.legs.iter().position(|io| io.leg == leg).unwrap_or_else(|| {
            self.legs.push(LegIo::new(leg));
            self.legs.len() - 1
        });
        &mut self.legs[at]
    }

    fn attached(&mut self, leg: Leg) -> Option<&mut Attached> {
        self.legs.iter_mut().find(|io| io.leg == leg)?.attached.as_mut()
    }

    fn slot(&self, leg: Leg) -> Option<u16> {
        Some(self.legs.iter().find(|io| io.leg == leg)?.attached.as_ref()?.lease.slot())
    }

    /// Answers whoever waits for streams that are gone now.
    fn tell_gone(&mut self) {
        let relay = &self.relay;
        let is_live = |stream: &str| {
            relay.machines().any(|(_, machine)| {
                let subscriptions = machine.subscriptions();
                subscriptions.slot(stream).is_some_and(|slot| subscriptions.may_be_live(slot))
            })
        };
        for (streams, reply) in std::mem::take(&mut self.waiting_gone) {
            if streams.iter().any(|stream| is_live(stream)) {
                self.waiting_gone.push((streams, reply));
            } else {
                let _ = reply.send(());
            }
        }
    }

    fn publish(&mut self) {
        let state = self.relay.current().1.state();
        self.was_ready = state == State::Ready || (self.was_ready && state.is_up());
        self.driver.note_up(self.was_ready);
        let status = self.relay.status();
        self.driver.status.lock().unwrap_or_else(PoisonError::into_inner).relay = Some(status);
    }

    /// Says what a report tells, to whom it concerns.
    fn tell(&self, report: Report) {
        let driver = &self.driver;
        if let Report::MoveWanted { stream } = &report {
            let (from, stream) = (driver.plan.name.clone(), stream.as_str().into());
            // The engine is stopping where nobody moves anything any more.
            let _ = driver.shared.moves.send(Move { from, stream });
        }
        let Some(happening) = super::status::happening(report) else { return };
        match &happening {
            Happening::Refused { .. } | Happening::GaveUp { .. } => driver.note_error(happening.to_string()),
            Happening::Reconnecting { reason, .. } | Happening::SuccessorFailed { reason, .. } => {
                driver.note_error(reason.clone());
            }
            _ => {}
        }
        driver.shared.events.publish(&driver.plan.name, happening);
    }

    async fn ended(self) {
        // A connection that is closed because we wanted it so is not missing.
        let is_wanted = !self.relay.is_stopping();
        if is_wanted {
            self.driver.note_up(false);
        } else {
            self.driver.note_forgotten();
        }
        self.driver.leave().await;
        if !self.driver.is_stopping() {
            let status = self.relay.status();
            self.driver.status.lock().unwrap_or_else(PoisonError::into_inner).relay = Some(status);
        }
    }
}
