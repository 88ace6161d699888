//! Make before break: one logical connection, carried by one socket, and during a hand-over by two.
//!
//! ```text
//! Alone ──age, notice, command──► LeadIn ──► Overlap ─────────────────────────────────────► Grace ──► Alone
//!   ▲                             ids are    successor connects, subscribes, is confirmed    repeats are
//!   │                             remembered and speaks ─► Promote ─► the old one closes     still looked for
//!   └── the successor came to nothing: the old socket never noticed
//!
//! the old socket is lost meanwhile: the successor is the connection, however far it is
//! ```
//! Both sockets are told apart as [`Leg`]s. Control emits when the overlap begins, when the lead passes and when the
//! overlap ends; the hot core decides for each event which leg delivers it. Owned by one driver (or by the simulation);
//! knows no socket, clock or randomness but the seed in its settings.

use super::{
    Action, ConnectionMachine, ConnectionSettings, Context, Event, PlanError, Report, Silence, SlotSet, State, Status,
    after,
};
use crate::market::MonoNs;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;

/// A socket of one logical connection, numbered from 1 in the order of their making. Never reused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Leg(u32);

impl Leg {
    /// The first socket of a connection.
    pub const FIRST: Self = Self(1);

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The one that is made after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Which of the two places it has on the hot core: two legs that live at once differ in it.
    #[must_use]
    pub const fn parity(self) -> u8 {
        (self.0 & 1) as u8
    }
}

/// When and how a socket is replaced by another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RotationSettings {
    /// Age at which a socket is replaced; `None`: never for its age.
    pub after: Option<Duration>,
    /// Up to this much earlier, at random: connections made together must not rotate together.
    pub jitter: Duration,
    /// How long what the old socket delivers is remembered before the successor connects.
    pub lead_in: Duration,
    /// How long both carry everything before the lead passes, and again before the old one goes.
    pub overlap: Duration,
    /// How long the successor may take until it is confirmed and speaks.
    pub overlap_max: Duration,
    /// How long repeats are still looked for after the old one is gone.
    pub grace: Duration,
    /// How long to wait after a rotation that came to nothing.
    pub retry: Duration,
    /// Whether the venue's word that it is about to go begins a rotation; otherwise it ends the connection.
    pub on_notice: bool,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for RotationSettings {
    fn default() -> Self {
        Self {
            after: None,
            jitter: Duration::from_secs(1_800),
            lead_in: Duration::from_secs(1),
            overlap: Duration::from_secs(2),
            overlap_max: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            retry: Duration::from_secs(300),
            on_notice: true,
            seed: 0,
        }
    }
}

/// What happened to a logical connection.
#[derive(Clone, Copy, Debug)]
pub enum RelayEvent<'a> {
    /// The operator wants it up.
    Start,
    /// The operator wants it down.
    Stop,
    /// The time of [`Relay::next_timer`] has come.
    Timer,
    /// The operator wants this stream.
    Subscribe(&'a str),
    /// The operator no longer wants this stream.
    Unsubscribe(&'a str),
    /// This live stream is to be ended and asked for again: what was heard of it does not continue.
    Resubscribe(&'a str),
    /// The socket is to be replaced now, make before break.
    Rotate(&'a str),
    /// The socket is to be dropped and made again, break before make.
    Reconnect(&'a str),
    /// The overlap that was to begin could not: the rotation does not come about.
    NotOverlapped(&'a str),
    /// Something happened to one of its sockets.
    Leg(Leg, Event<'a>),
}

/// What the caller is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RelayAction {
    /// Something on one socket.
    Leg(Leg, Action),
    /// From now on what either of these sockets delivers is remembered, and given once.
    BeginOverlap {
        /// The socket that speaks.
        leader: Leg,
        /// The one that will.
        successor: Leg,
    },
    /// Where events have no identity, the successor speaks from its next one on.
    Promote(Leg),
    /// Nothing is remembered any more.
    EndOverlap,
    /// Tell whom it concerns.
    Report(Report),
}

/// Which socket of a relay is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Current,
    Successor,
    Leaving,
}

/// What a machine wishes its relay to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wish {
    GoingAway,
    Replace,
}

#[derive(Debug)]
struct Socket {
    leg: Leg,
    machine: ConnectionMachine,
    /// When its upgrade was done; `None` while it is down.
    up_since: Option<MonoNs>,
}

#[derive(Debug)]
enum Phase {
    /// One socket.
    Alone,
    /// The successor waits until enough is remembered.
    LeadIn { successor: Box<Socket>, start_at: MonoNs, reason: String, since: MonoNs },
    /// The successor lives.
    Overlap(Box<Overlap>),
    /// The old socket is gone or going; the successor may still repeat it.
    Grace { until: MonoNs },
}

#[derive(Debug)]
struct Overlap {
    successor: Socket,
    reason: String,
    since: MonoNs,
    give_up_at: MonoNs,
    /// When the successor was first found confirmed and speaking.
    whole_since: Option<MonoNs>,
    promoted_at: Option<MonoNs>,
    /// The hand-over is due and waits for this: until then at the latest.
    held_until: Option<MonoNs>,
    /// It was connected once.
    was_up: bool,
}

/// What a relay has done so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RelayCounters {
    /// Sockets replaced, make before break.
    pub rotations: u64,
    /// Successors that took over because the old socket was lost under them.
    pub takeovers: u64,
    /// Rotations that came to nothing.
    pub rotations_failed: u64,
    /// Hand-overs whose chained channels had not all joined when the old socket went.
    pub unjoined: u64,
    /// Events of sockets that are gone.
    pub stale_events: u64,
}

/// What a relay knows, for outputs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelayStatus {
    /// The socket that speaks, with the counts of those before it.
    pub machine: Status,
    /// Sockets replaced.
    pub counters: RelayCounters,
    /// From the begin of an overlap to its end.
    pub is_rotating: bool,
}

/// One logical connection. See the module.
#[derive(Debug)]
pub struct Relay {
    connection: ConnectionSettings,
    settings: RotationSettings,
    random: StdRng,
    current: Socket,
    phase: Phase,
    /// The old socket in its closing handshake.
    leaving: Option<Box<Socket>>,
    next_leg: Leg,
    /// When the present socket is to be replaced.
    rotate_at: Option<MonoNs>,
    /// What for, where that is not its age: a replacement that came to nothing is tried again.
    again: Option<String>,
    /// Subscriptions of the old socket that the successor's chain has not met yet, as the hot core last said.
    unjoined: u32,
    /// No rotation may begin: another leg of the same streams is being replaced.
    is_held: bool,
    is_stopping: bool,
    is_over: bool,
    counters: RelayCounters,
    scratch: Vec<Action>,
}

impl Relay {
    /// A connection that is to carry these streams.
    ///
    /// # Errors
    /// [`PlanError`]: a stream twice, or more than one connection carries.
    pub fn new(
        connection: ConnectionSettings,
        settings: RotationSettings,
        streams: Vec<Box<str>>,
    ) -> Result<Self, PlanError> {
        let machine = ConnectionMachine::new(connection.clone(), streams)?;
        let random = StdRng::seed_from_u64(settings.seed);
        Ok(Self {
            connection,
            settings,
            random,
            current: Socket { leg: Leg::FIRST, machine, up_since: None },
            phase: Phase::Alone,
            leaving: None,
            next_leg: Leg::FIRST.next(),
            rotate_at: None,
            again: None,
            unjoined: 0,
            is_held: false,
            is_stopping: false,
            is_over: false,
            counters: RelayCounters::default(),
            scratch: Vec::new(),
        })
    }

    /// Takes one event and appends what is to be done. Whatever is due at `now` is done too.
    pub fn handle(
        &mut self,
        event: RelayEvent<'_>,
        now: MonoNs,
        context: &mut Context<'_>,
        actions: &mut Vec<RelayAction>,
    ) {
        match event {
            RelayEvent::Start => self.give(Role::Current, Event::Start, now, context, actions),
            RelayEvent::Stop => self.on_stop(now, context, actions),
            RelayEvent::Timer => {}
            RelayEvent::Subscribe(stream) => self.on_streams(Event::Subscribe(stream), now, context, actions),
            RelayEvent::Unsubscribe(stream) => self.on_streams(Event::Unsubscribe(stream), now, context, actions),
            RelayEvent::Resubscribe(stream) => {
                self.give(Role::Current, Event::Resubscribe(stream), now, context, actions);
            }
            // Put off, not refused: it is due as soon as it may begin.
            RelayEvent::Rotate(reason) if self.is_held && !self.is_rotating() && !self.is_stopping => {
                (self.rotate_at, self.again) = (Some(now), Some(reason.to_owned()));
            }
            RelayEvent::Rotate(reason) => self.begin(reason, self.settings.lead_in, now, actions),
            RelayEvent::Reconnect(reason) => {
                self.give(Role::Current, Event::Reconnect(reason), now, context, actions);
            }
            RelayEvent::NotOverlapped(why) => self.on_not_overlapped(why, now, context, actions),
            RelayEvent::Leg(leg, event) => match self.role(leg) {
                Some(role) => self.give(role, event, now, context, actions),
                None => self.counters.stale_events += 1,
            },
        }
        self.advance(now, context, actions);
    }

    /// When [`RelayEvent::Timer`] is due; `None` while only an event can change anything.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonoNs> {
        if self.is_over {
            return None;
        }
        let rotate_at = self.rotate_at.filter(|_| self.can_rotate());
        let of_phase = match &self.phase {
            Phase::Alone => rotate_at,
            Phase::LeadIn { start_at, .. } => Some(*start_at),
            Phase::Grace { until } => Some(*until),
            Phase::Overlap(overlap) => {
                [overlap.successor.machine.next_timer(), self.overlap_timer(overlap)].into_iter().flatten().min()
            }
        };
        let leaving = self.leaving.as_ref().and_then(|socket| socket.machine.next_timer());
        [self.current.machine.next_timer(), of_phase, leaving].into_iter().flatten().min()
    }

    /// The connection as it speaks now.
    #[must_use]
    pub const fn current(&self) -> (Leg, &ConnectionMachine) {
        (self.current.leg, &self.current.machine)
    }

    /// The successor, while there is one that was told to connect.
    #[must_use]
    pub fn successor(&self) -> Option<(Leg, &ConnectionMachine)> {
        match &self.phase {
            Phase::Overlap(overlap) => Some((overlap.successor.leg, &overlap.successor.machine)),
            _ => None,
        }
    }

    /// Every socket's machine: the current one first, then the successor, then the one that leaves.
    pub fn machines(&self) -> impl Iterator<Item = (Leg, &ConnectionMachine)> {
        let leaving = self.leaving.as_ref().map(|socket| (socket.leg, &socket.machine));
        [Some(self.current()), self.successor(), leaving].into_iter().flatten()
    }

    /// The machine of a leg, to be told what its subscriptions' last data were.
    pub fn machine_mut(&mut self, leg: Leg) -> Option<&mut ConnectionMachine> {
        match self.role(leg)? {
            Role::Current => Some(&mut self.current.machine),
            Role::Successor => match &mut self.phase {
                Phase::Overlap(overlap) => Some(&mut overlap.successor.machine),
                _ => None,
            },
            Role::Leaving => self.leaving.as_mut().map(|socket| &mut socket.machine),
        }
    }

    /// The hot core's word on how many chained subscriptions the successor has not joined yet.
    pub const fn note_unjoined(&mut self, count: u32) {
        self.unjoined = count;
    }

    /// While true no rotation begins; what becomes due meanwhile begins afterwards, at the next event or timer.
    pub const fn set_held(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// From the next socket on, these hold.
    pub fn set_settings(&mut self, connection: ConnectionSettings, settings: RotationSettings) {
        self.connection = connection;
        self.settings = settings;
        if let Some(since) = self.current.up_since {
            self.schedule(since);
        }
    }

    /// True once it was told to stop.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// What is known of it, over all its sockets.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        RelayStatus { machine: self.current.machine.status(), counters: self.counters, is_rotating: self.is_rotating() }
    }

    /// True once it is closed for good.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// True from the begin of an overlap to its end.
    #[must_use]
    pub const fn is_rotating(&self) -> bool {
        !matches!(self.phase, Phase::Alone)
    }

    /// When the present socket is to be replaced for its age, if it is.
    #[must_use]
    pub const fn rotates_at(&self) -> Option<MonoNs> {
        self.rotate_at
    }

    /// When the present socket came up; `None` while it is down.
    #[must_use]
    pub const fn up_since(&self) -> Option<MonoNs> {
        self.current.up_since
    }

    /// What it has done so far.
    #[must_use]
    pub const fn counters(&self) -> RelayCounters {
        self.counters
    }

    fn role(&self, leg: Leg) -> Option<Role> {
        if self.current.leg == leg {
            return Some(Role::Current);
        }
        if self.successor().is_some_and(|(successor, _)| successor == leg) {
            return Some(Role::Successor);
        }
        self.leaving.as_ref().is_some_and(|socket| socket.leg == leg).then_some(Role::Leaving)
    }

    fn can_rotate(&self) -> bool {
        let is_alone = matches!(self.phase, Phase::Alone) && self.leaving.is_none();
        is_alone && !self.is_stopping && !self.is_held && self.current.machine.state() == State::Ready
    }

    /// When an overlap goes on by itself.
    fn overlap_timer(&self, overlap: &Overlap) -> Option<MonoNs> {
        if self.is_stopping {
            // Both say goodbye, each by its own timer: a hand-over that is due would only be asked about for nothing.
            return None;
        }
        let since = overlap.promoted_at.or(overlap.whole_since);
        match since {
            // What it waits for comes with an event.
            Some(_) if overlap.held_until.is_some() => overlap.held_until,
            Some(since) => Some(after(since, self.settings.overlap)),
            None => Some(overlap.give_up_at),
        }
    }

    /// Hands an event to one machine, and its actions on.
    fn give(
        &mut self,
        role: Role,
        event: Event<'_>,
        now: MonoNs,
        context: &mut Context<'_>,
        actions: &mut Vec<RelayAction>,
    ) {
        let mut made = std::mem::take(&mut self.scratch);
        let socket = match (role, &mut self.phase) {
            (Role::Current, _) => &mut self.current,
            (Role::Successor, Phase::Overlap(overlap)) => &mut overlap.successor,
            (Role::Leaving, _) if self.leaving.is_some() => self.leaving.as_mut().expect("just seen"),
            _ => return,
        };
        let was_up = socket.machine.state().is_up();
        socket.machine.handle(event, now, context, &mut made);
        let is_up = socket.machine.state().is_up();
        if is_up != was_up {
            socket.up_since = is_up.then_some(now);
        }
        let leg = socket.leg;
        if role == Role::Current && is_up && !was_up {
            self.schedule(now);
        }
        let mut notice = None;
        for action in made.drain(..) {
            match action {
                Action::Report(report) => notice = self.pass_on(role, leg, report, actions).or(notice),
                action => actions.push(RelayAction::Leg(leg, action)),
            }
        }
        self.scratch = made;
        match notice {
            Some(Wish::GoingAway) => self.on_notice(now, context, actions),
            Some(Wish::Replace) => self.on_mostly_silent(now, context, actions),
            None => {}
        }
    }

    /// Passes a machine's report on, if it concerns anybody. What the relay itself is to do about it is returned.
    fn pass_on(&mut self, role: Role, leg: Leg, report: Report, actions: &mut Vec<RelayAction>) -> Option<Wish> {
        let report = match report {
            Report::Connected { .. } => Report::Connected { leg },
            Report::Authenticated { .. } => Report::Authenticated { leg },
            report => report,
        };
        match (role, report) {
            (_, report @ (Report::Connected { .. } | Report::Authenticated { .. })) => {
                actions.push(RelayAction::Report(report));
            }
            (Role::Current, Report::GoingAway) => return Some(Wish::GoingAway),
            (Role::Current, Report::MostlySilent) => return Some(Wish::Replace),
            // Two sockets carry it already: the successor may mend what the old one lacks.
            (Role::Current, Report::MoveWanted { .. }) if self.is_rotating() => {}
            (Role::Current, Report::Reconnecting { reason, .. } | Report::GaveUp { reason })
                if self.has_successor() =>
            {
                // The successor takes over: nobody waits for this socket any more.
                actions.push(RelayAction::Report(Report::Disconnected { reason }));
            }
            (Role::Current, Report::Closed) => {}
            (Role::Current, report) | (_, report @ Report::Refused { .. }) => actions.push(RelayAction::Report(report)),
            (Role::Successor, Report::Reconnecting { attempt, delay, reason }) => {
                actions.push(RelayAction::Report(Report::SuccessorFailed { attempt, delay, reason }));
            }
            (Role::Successor | Role::Leaving, _) => {}
        }
        None
    }

    const fn has_successor(&self) -> bool {
        matches!(self.phase, Phase::LeadIn { .. } | Phase::Overlap(_))
    }

    fn on_notice(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<RelayAction>) {
        const WORDS: &str = "the venue is going away";
        if self.has_successor() || self.is_stopping || self.is_held {
            // Where it is held, the other legs carry on when the venue goes.
            return;
        }
        if self.settings.on_notice && matches!(self.phase, Phase::Alone) && self.current.machine.state().is_up() {
            // No lead time is promised: the connect itself takes long enough for ids to be remembered.
            self.begin(WORDS, Duration::ZERO, now, actions);
        } else {
            self.give(Role::Current, Event::Reconnect(WORDS), now, context, actions);
        }
    }

    fn on_not_overlapped(&mut self, why: &str, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<RelayAction>) {
        match &mut self.phase {
            Phase::LeadIn { reason, .. } => {
                let reason = std::mem::take(reason);
                self.phase = Phase::Alone;
                self.counters.rotations_failed += 1;
                self.try_again(reason, now);
                actions.push(RelayAction::Report(Report::NotRotated { reason: why.to_owned() }));
            }
            Phase::Overlap(_) => self.fail(why, now, context, actions),
            Phase::Alone | Phase::Grace { .. } => {}
        }
    }

    /// Most of the connection is silent: a new one beside it, or instead of it.
    fn on_mostly_silent(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<RelayAction>) {
        const WORDS: &str = "most of its subscriptions are silent";
        if self.is_rotating() || self.is_stopping || self.is_held {
            return;
        }
        self.begin(WORDS, self.settings.lead_in, now, actions);
        if !self.is_rotating() {
            self.give(Role::Current, Event::Reconnect(WORDS), now, context, actions);
        }
    }

    fn on_streams(&mut self, event: Event<'_>, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<RelayAction>) {
        self.give(Role::Current, event, now, context, actions);
        match &mut self.phase {
            Phase::Overlap(_) => {
                // What there is no room for was said once already.
                let reported = actions.len();
                self.give(Role::Successor, event, now, context, actions);
                let mut at = 0;
                actions.retain(|action| {
                    at += 1;
                    at <= reported || !matches!(action, RelayAction::Report(Report::Refused { .. }))
                });
            }
            Phase::LeadIn { successor, .. } => successor.machine.handle(event, now, context, &mut self.scratch),
            Phase::Alone | Phase::Grace { .. } => {}
        }
        self.scratch.clear();
    }

    fn on_stop(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<RelayAction>) {
        self.is_stopping = true;
        self.give(Role::Current, Event::Stop, now, context, actions);
        if matches!(self.phase, Phase::LeadIn { .. }) {
            self.phase = Phase::Alone;
            actions.push(RelayAction::EndOverlap);
        }
        self.give(Role::Successor, Event::Stop, now, context, actions);
        // One that is leaving was told so when it began to.
    }

    /// Begins a hand-over.
    fn begin(&mut self, reason: &str, lead_in: Duration, now: MonoNs, actions: &mut Vec<RelayAction>) {
        let refusal = if self.is_stopping {
            Some("it is stopping")
        } else if self.is_rotating() || self.leaving.is_some() {
            Some("a rotation is under way")
        } else if !self.current.machine.state().is_up() {
            Some("it is not connected")
        } else {
            None
        };
        if let Some(why) = refusal {
            actions.push(RelayAction::Report(Report::NotRotated { reason: why.to_owned() }));
            return;
        }
        let mut connection = self.connection.clone();
        connection.reconnect.seed = self.random.random();
        let streams = self.current.machine.subscriptions().slots(SlotSet::Wanted);
        let streams: Vec<Box<str>> = streams.map(|(_, name)| name.into()).collect();
        let Ok(mut machine) = ConnectionMachine::new(connection, streams) else {
            unreachable!("what one connection carries, another one carries")
        };
        machine.inherit(&self.current.machine);
        let leg = self.next_leg;
        self.next_leg = leg.next();
        let successor = Box::new(Socket { leg, machine, up_since: None });
        actions.push(RelayAction::BeginOverlap { leader: self.current.leg, successor: leg });
        actions.push(RelayAction::Report(Report::Rotating { reason: reason.to_owned() }));
        self.unjoined = 0;
        self.phase = Phase::LeadIn { successor, start_at: after(now, lead_in), reason: reason.to_owned(), since: now };
    }

    /// When the socket that has just come up is to be replaced.
    fn schedule(&mut self, now: MonoNs) {
        self.again = None;
        self.rotate_at = self.settings.after.map(|age| {
            let jitter_ns = u64::try_from(self.settings.jitter.min(age / 2).as_nanos()).unwrap_or(u64::MAX);
            let early = Duration::from_nanos(self.random.random_range(0..=jitter_ns));
            after(now, age.saturating_sub(early))
        });
    }

    /// Does what is due.
    fn advance(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<RelayAction>) {
        for role in [Role::Current, Role::Successor, Role::Leaving] {
            self.give(role, Event::Timer, now, context, actions);
        }
        if self.leaving.as_ref().is_some_and(|socket| socket.machine.state() == State::Closed) {
            self.leaving = None;
        }
        if matches!(self.phase, Phase::Grace { until } if until <= now) {
            self.phase = Phase::Alone;
            actions.push(RelayAction::EndOverlap);
        }
        // What became due before that is begun now: nothing else asks for it again.
        if self.rotate_at.is_some_and(|at| at <= now) && self.can_rotate() {
            self.rotate_at = None;
            let reason = self.again.take();
            self.begin(reason.as_deref().unwrap_or("its age"), self.settings.lead_in, now, actions);
        }
        match std::mem::replace(&mut self.phase, Phase::Alone) {
            Phase::LeadIn { successor, start_at, reason, since }
                if start_at <= now || !self.current.machine.state().is_up() =>
            {
                let give_up_at = after(now, self.settings.overlap_max);
                let successor = *successor;
                let overlap = Overlap {
                    successor,
                    reason,
                    since,
                    give_up_at,
                    whole_since: None,
                    promoted_at: None,
                    held_until: None,
                    was_up: false,
                };
                self.phase = Phase::Overlap(Box::new(overlap));
                self.give(Role::Successor, Event::Start, now, context, actions);
                self.advance_overlap(now, context, actions);
            }
            Phase::Overlap(overlap) => {
                self.phase = Phase::Overlap(overlap);
                self.advance_overlap(now, context, actions);
            }
            phase => self.phase = phase,
        }
        self.end_if_over(actions);
    }

    fn advance_overlap(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<RelayAction>) {
        let Phase::Overlap(overlap) = &mut self.phase else { return };
        let state = overlap.successor.machine.state();
        if self.is_stopping {
            if state == State::Closed {
                self.phase = Phase::Alone;
                actions.push(RelayAction::EndOverlap);
            }
            return;
        }
        if !self.current.machine.state().is_up() {
            return self.take_over(now, actions);
        }
        if state == State::Closed {
            return self.fail("the successor gave up", now, context, actions);
        }
        if overlap.was_up && !state.is_up() {
            // Lost again: as if it had never been. The hot core has given the lead back by itself.
            return self.fail("the successor was lost", now, context, actions);
        }
        overlap.was_up |= state.is_up();
        if state == State::Ready && overlap.successor.machine.speaks_for(&self.current.machine) {
            overlap.whole_since.get_or_insert(now);
        }
        let is_late = overlap.give_up_at <= now;
        match (overlap.promoted_at, overlap.whole_since) {
            (None, None) if is_late && state == State::Ready => overlap.whole_since = Some(now),
            (None, None) if is_late => {
                self.fail("the successor was not confirmed in time", now, context, actions);
            }
            (None, Some(since)) if after(since, self.settings.overlap) <= now => {
                overlap.promoted_at = Some(now);
                let leg = overlap.successor.leg;
                actions.push(RelayAction::Promote(leg));
            }
            (Some(at), _) if after(at, self.settings.overlap) <= now => {
                // A stream asked for since it was found whole: the old socket may be the only one that has it.
                let settle_until = after(overlap.give_up_at, self.settings.overlap_max);
                overlap.held_until = match (self.unjoined > 0 && !is_late, state == State::Ready) {
                    (true, _) => Some(overlap.give_up_at),
                    (false, false) if now < settle_until => Some(settle_until),
                    (false, _) => return self.hand_over(now, context, actions),
                };
            }
            _ => {}
        }
    }

    /// The successor speaks for all: the old socket says goodbye.
    fn hand_over(&mut self, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<RelayAction>) {
        let Phase::Overlap(overlap) = std::mem::replace(&mut self.phase, Phase::Alone) else { return };
        let mut old = std::mem::replace(&mut self.current, overlap.successor);
        let (from, to) = (old.leg, self.current.leg);
        tell_silences(&old.machine, &self.current.machine, now, actions);
        self.current.machine.absorb(&mut old.machine);
        self.leaving = Some(Box::new(old));
        self.counters.rotations += 1;
        self.counters.unjoined += u64::from(self.unjoined > 0);
        self.phase = Phase::Grace { until: after(now, self.settings.grace) };
        self.schedule(self.current.up_since.unwrap_or(now));
        self.give(Role::Leaving, Event::Stop, now, context, actions);
        let took = Duration::from_nanos(now.since_ns(overlap.since));
        let (reason, unjoined) = (overlap.reason, self.unjoined);
        actions.push(RelayAction::Report(Report::Rotated { from, to, took, reason, unjoined }));
    }

    /// The old socket was lost: the successor is the connection, however far it is.
    fn take_over(&mut self, now: MonoNs, actions: &mut Vec<RelayAction>) {
        let Phase::Overlap(overlap) = std::mem::replace(&mut self.phase, Phase::Alone) else { return };
        let mut old = std::mem::replace(&mut self.current, overlap.successor);
        self.counters.takeovers += 1;
        tell_silences(&old.machine, &self.current.machine, now, actions);
        self.current.machine.absorb(&mut old.machine);
        self.phase = Phase::Grace { until: after(now, self.settings.grace) };
        match self.current.up_since {
            Some(since) => self.schedule(since),
            None => self.rotate_at = None,
        }
        let took = Duration::from_nanos(now.since_ns(overlap.since));
        let (from, to, reason, unjoined) = (old.leg, self.current.leg, overlap.reason, self.unjoined);
        actions.push(RelayAction::Report(Report::Rotated { from, to, took, reason, unjoined }));
    }

    /// The successor came to nothing.
    fn fail(&mut self, why: &str, now: MonoNs, context: &mut Context<'_>, actions: &mut Vec<RelayAction>) {
        let Phase::Overlap(mut overlap) = std::mem::replace(&mut self.phase, Phase::Alone) else { return };
        self.counters.rotations_failed += 1;
        let leg = overlap.successor.leg;
        overlap.successor.machine.handle(Event::Stop, now, context, &mut self.scratch);
        for action in self.scratch.drain(..) {
            if !matches!(action, Action::Report(_)) {
                actions.push(RelayAction::Leg(leg, action));
            }
        }
        let Overlap { successor, reason, .. } = *overlap;
        self.leaving = (successor.machine.state() != State::Closed).then(|| Box::new(successor));
        self.try_again(reason, now);
        self.phase = Phase::Grace { until: after(now, self.settings.grace) };
        actions.push(RelayAction::Report(Report::NotRotated { reason: why.to_owned() }));
    }

    /// Later, and not when all that failed with this one do; what becomes due before that stays due.
    fn try_again(&mut self, reason: String, now: MonoNs) {
        let jitter_ns = u64::try_from(self.settings.retry.as_nanos() / 4).unwrap_or(u64::MAX);
        let wait = self.settings.retry + Duration::from_nanos(self.random.random_range(0..=jitter_ns));
        let at = after(now, wait);
        if self.rotate_at.is_none_or(|due| due <= now || due > at) {
            (self.rotate_at, self.again) = (Some(at), Some(reason));
        }
    }

    fn end_if_over(&mut self, actions: &mut Vec<RelayAction>) {
        let is_alone = !self.has_successor() && self.leaving.is_none();
        if !self.is_over && is_alone && self.current.machine.state() == State::Closed {
            self.is_over = true;
            if matches!(self.phase, Phase::Grace { .. }) {
                self.phase = Phase::Alone;
                actions.push(RelayAction::EndOverlap);
            }
            actions.push(RelayAction::Report(Report::Closed));
        }
    }
}

/// What a successor found silent or speaking while nobody listened to it, said when it takes over.
fn tell_silences(old: &ConnectionMachine, new: &ConnectionMachine, now: MonoNs, actions: &mut Vec<RelayAction>) {
    let silent_for = |silence: &Silence| Duration::from_nanos(now.since_ns(silence.since));
    let (before, after): (BTreeMap<&str, Silence>, BTreeMap<&str, Silence>) =
        (old.silences().collect(), new.silences().collect());
    for (&stream, silence) in before.iter().filter(|(stream, _)| !after.contains_key(*stream)) {
        let report = Report::Recovered { stream: stream.to_owned(), silent: silent_for(silence) };
        actions.push(RelayAction::Report(report));
    }
    for (&stream, silence) in after.iter().filter(|(stream, _)| !before.contains_key(*stream)) {
        let (kind, silent) = (silence.kind, silent_for(silence));
        actions.push(RelayAction::Report(Report::Silent { stream: stream.to_owned(), kind, silent }));
    }
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
