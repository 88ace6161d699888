//! A world of one seed: the clock, the calendar, and the way of every event into the control plane and of every action
//! out of it.
//!
//! ```text
//!            ┌──────────── the earliest of ────────────┐
//! calendar (deliveries, mischief, orders)   timers   tick (twice a second)
//!            └────────► Relay::handle ─► RelayAction ─► sockets, calendar ─► checks ┘
//! ```
//! Nothing here knows real time, threads or the order of a hash table: a seed is a day, always the same one.

use super::dialect::{Dialect, HostName};
use super::faults::Faults;
use super::host::{Host, RestTurn, nanos};
use super::link::{Doing, Link};
use super::random::Random;
use super::socket::{Phase, Socket};
use crate::{MS, SECOND};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tickwire::control::{Action, Context, Event, Governor, Leg, RelayAction, RelayEvent, Report, RestAnswer};
use tickwire::market::MonoNs;

/// Events kept to be told of when a seed fails.
const RING_MAX: usize = 60;

/// What we send is held up this long at most: the pace of a connection makes room for 200 ms.
const HELD_UP_MAX: u64 = 199 * MS;

/// Something that comes over one socket.
#[derive(Debug)]
pub(crate) enum Delivery {
    Connected,
    ConnectFailed {
        reason: &'static str,
        status: Option<u16>,
        retry_after: Option<Duration>,
    },
    Request {
        text: Vec<u8>,
        sent_at: u64,
    },
    /// Every stream on it falls silent.
    Hush,
    Answer {
        text: Vec<u8>,
        confirms: Vec<usize>,
        refuses: Option<usize>,
        until: u64,
    },
    /// The answer to a login; one that refuses for good.
    LoginAnswer {
        text: Vec<u8>,
        is_refused: bool,
    },
    Pong,
    Notice,
    Cut {
        code: Option<u16>,
    },
    Closed,
}

/// What the operator wants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Subscribe,
    Unsubscribe,
    /// Unsubscribe this stream, at the very moment at which its request is given up and asked again.
    Abandon(usize),
    Resubscribe,
    /// Unsubscribe and subscribe at once.
    Flip,
    Rotate,
    Reconnect,
    Stop,
}

/// What is in the calendar.
#[derive(Debug)]
pub(crate) enum Happening {
    Start {
        link: usize,
    },
    Socket {
        link: usize,
        serial: u64,
        delivery: Delivery,
    },
    /// A connect that was given up says so at last.
    Abandoned {
        link: usize,
        leg: Leg,
    },
    Mischief {
        link: usize,
    },
    Order {
        link: usize,
        order: Option<Order>,
    },
    Outage {
        host: usize,
    },
    WallStep,
    Rest {
        host: usize,
    },
    RestTurn {
        host: usize,
        turn: RestTurn,
    },
    RestAnswer {
        host: usize,
        answer: RestAnswer,
    },
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) steps: u64,
    pub(crate) random: Random,
    pub(crate) governor: Governor,
    pub(crate) hosts: Vec<Host>,
    pub(crate) links: Vec<Link>,
    pub(crate) faults: Faults,
    pub(crate) is_hostile: bool,
    /// Long enough into a quiet period that nothing of the hostile one is left.
    pub(crate) is_well: bool,
    /// Where the venue cuts sooner than it documents.
    pub(crate) age_max: Option<u64>,
    /// How long this world lives.
    pub(crate) day: u64,
    pub(crate) wall_step_ms: i64,
    pub(crate) ring: VecDeque<String>,
    /// What happened, and how often: a day on which nothing happens tests nothing.
    pub(crate) seen: BTreeMap<String, u64>,
    calendar: BTreeMap<(u64, u64), Happening>,
    next_order: u64,
    next_serial: u64,
    tick_at: u64,
    actions: Vec<RelayAction>,
}

impl World {
    pub(crate) fn empty(random: Random, faults: Faults, day: u64) -> Self {
        let mut governor = Governor::default();
        let hosts = HostName::ALL.iter().map(|&name| Host::new(name, &mut governor)).collect();
        Self {
            now: SECOND,
            steps: 0,
            random,
            governor,
            hosts,
            links: Vec::new(),
            faults,
            is_hostile: true,
            is_well: false,
            age_max: None,
            day,
            wall_step_ms: 0,
            ring: VecDeque::with_capacity(RING_MAX),
            seen: BTreeMap::new(),
            calendar: BTreeMap::new(),
            next_order: 0,
            next_serial: 1,
            tick_at: SECOND,
            actions: Vec::new(),
        }
    }

    pub(crate) fn host_of(dialect: Dialect) -> usize {
        HostName::ALL.iter().position(|&name| name == dialect.host()).expect("every host is listed")
    }

    /// The time of day as the venue has it.
    pub(crate) fn true_wall_ms(&self) -> i64 {
        1_790_000_000_000 + i64::try_from(self.now / MS).expect("a day fits")
    }

    pub(crate) fn schedule(&mut self, at: u64, happening: Happening) {
        self.next_order += 1;
        self.calendar.insert((at, self.next_order), happening);
    }

    pub(crate) fn deliver(&mut self, link: usize, serial: u64, at: u64, delivery: Delivery) {
        self.schedule(at, Happening::Socket { link, serial, delivery });
    }

    pub(crate) fn saw(&mut self, what: &str) {
        match self.seen.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.seen.insert(what.to_owned(), 1)),
        }
    }

    pub(crate) fn note(&mut self, link: usize, text: std::fmt::Arguments<'_>) {
        let mut line =
            if self.ring.len() >= RING_MAX { self.ring.pop_front().unwrap_or_default() } else { String::new() };
        line.clear();
        let at = self.now;
        std::fmt::Write::write_fmt(
            &mut line,
            format_args!("{:>7}.{:03} s  #{link} {text}", at / SECOND, at % SECOND / MS),
        )
        .expect("a text takes what is written");
        self.ring.push_back(line);
    }

    /// True so often in a thousand while the day is hostile.
    pub(crate) fn fails(&mut self, permille: u64) -> bool {
        self.is_hostile && self.random.permille(permille)
    }

    /// Goes on until this time.
    pub(crate) fn run_until(&mut self, until: u64) {
        loop {
            let timer = self.links.iter().map(|link| link.timer).min().unwrap_or(u64::MAX);
            let planned = self.calendar.first_key_value().map_or(u64::MAX, |(&(at, _), _)| at);
            let next = planned.min(timer).min(self.tick_at);
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            if planned == next {
                let (_, happening) = self.calendar.pop_first().expect("just seen");
                self.happen(happening);
            } else if timer == next {
                let link = self.links.iter().position(|link| link.timer == next).expect("just seen");
                self.handle(link, RelayEvent::Timer, Doing::Own);
            } else {
                self.tick_at += SECOND / 2;
                self.tick();
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start { link } => self.start(link),
            Happening::Socket { link, serial, delivery } => self.on_delivery(link, serial, delivery),
            Happening::Abandoned { link, leg } => self.on_abandoned(link, leg),
            Happening::Mischief { link } => self.mischief(link),
            Happening::Order { link, order } => self.order(link, order),
            Happening::Outage { host } => self.outage(host),
            Happening::WallStep => self.step_wall(),
            Happening::Rest { host } => self.rest(host),
            Happening::RestTurn { host, turn } => self.rest_turn(host, turn),
            Happening::RestAnswer { host, answer } => self.rest_answered(host, answer),
        }
    }

    /// Hands an event in, performs what comes of it, and looks whether all is as it must be.
    pub(crate) fn handle(&mut self, at: usize, event: RelayEvent<'_>, doing: Doing) {
        self.steps += 1;
        let now = MonoNs(self.now);
        let wall_ms = self.true_wall_ms() + self.wall_step_ms;
        let link = &mut self.links[at];
        link.sync(self.now, &mut self.random);
        let was_blemished = link.is_blemished();
        let mut actions = std::mem::take(&mut self.actions);
        let mut context = Context { wall_ms, governor: &mut self.governor, budget: self.hosts[link.host].streams };
        link.relay.handle(event, now, &mut context, &mut actions);
        link.timer = link.relay.next_timer().map_or(u64::MAX, |timer| timer.0);
        let is_eventful = !actions.is_empty();
        for action in actions.drain(..) {
            self.perform(at, action);
        }
        self.actions = actions;
        let link = &mut self.links[at];
        link.asked_wait = None;
        if is_eventful || doing != Doing::Own {
            link.cover(doing, was_blemished, self.now);
        }
        self.check_step(at, is_eventful);
    }

    fn perform(&mut self, at: usize, action: RelayAction) {
        match action {
            RelayAction::Leg(leg, action) => self.perform_on_leg(at, leg, action),
            RelayAction::BeginOverlap { leader, successor } => {
                self.note(at, format_args!("  -> begin overlap {} {}", leader.number(), successor.number()));
                let link = &mut self.links[at];
                assert_eq!(link.speakers, (leader, None), "an overlap begins where one is under way");
                (link.speakers, link.is_promoted) = ((leader, Some(successor)), false);
                link.rotating_since = None;
                for stream in link.streams.iter_mut().filter(|stream| stream.refused_to.contains(&leader)) {
                    stream.refused_to.push(successor);
                }
                self.tempt(at);
            }
            RelayAction::Promote(leg) => {
                self.note(at, format_args!("  -> promote {}", leg.number()));
                let link = &mut self.links[at];
                assert_eq!(link.speakers.1, Some(leg), "the lead passes to the successor");
                link.is_promoted = true;
                self.tempt(at);
            }
            RelayAction::EndOverlap => {
                self.note(at, format_args!("  -> end overlap"));
                let link = &mut self.links[at];
                assert!(link.speakers.1.is_some(), "an overlap ends that never began");
                (link.speakers, link.is_promoted) = ((link.relay.current().0, None), false);
            }
            RelayAction::Report(report) => self.on_report(at, &report),
        }
    }

    fn perform_on_leg(&mut self, at: usize, leg: Leg, action: Action) {
        let now = self.now;
        match action {
            Action::Connect => self.connect(at, leg),
            Action::Send(text) => self.send(at, leg, text),
            Action::Login(text) => self.send(at, leg, text.reveal().as_bytes().to_vec()),
            Action::ProtocolPing => {
                let held_up = self.held_up();
                let link = &mut self.links[at];
                let dialect = link.dialect;
                let Some(socket) = link.socket_of(leg) else { panic!("a ping on a socket that is gone") };
                let there = socket.reach(dialect, now, held_up);
                let (serial, back) = (socket.serial, there + socket.latency);
                self.deliver(at, serial, back, Delivery::Pong);
            }
            Action::Close { code } => {
                self.note(at, format_args!("  -> {} close {code}", leg.number()));
                let is_answered = !self.fails(200);
                let link = &mut self.links[at];
                let Some(socket) = link.socket_of(leg) else { panic!("a close of a socket that is gone") };
                socket.phase = Phase::Closing;
                let (serial, back, is_mute) = (socket.serial, now + 2 * socket.latency, socket.mute_since.is_some());
                if is_answered && !is_mute {
                    self.deliver(at, serial, back, Delivery::Closed);
                }
                self.tempt(at);
            }
            Action::Drop => {
                self.note(at, format_args!("  -> {} drop", leg.number()));
                let link = &mut self.links[at];
                let was_connecting = link.socket_of(leg).is_some_and(|socket| socket.phase == Phase::Connecting);
                link.forget(leg);
                if was_connecting && self.random.percent(50) {
                    let at_time = now + self.random.between(0, 50) * MS;
                    self.schedule(at_time, Happening::Abandoned { link: at, leg });
                }
            }
            Action::Report(report) => panic!("a relay passes reports on by itself: {report:?}"),
        }
    }

    fn connect(&mut self, at: usize, leg: Leg) {
        self.note(at, format_args!("  -> {} connect", leg.number()));
        let latency = self.random.between(5, 80) * MS;
        let link = &mut self.links[at];
        assert!(link.socket_of(leg).is_none(), "a connect while a connect or a socket of leg {} is open", leg.number());
        if let Some(&(_, not_before)) = link.not_before.iter().find(|(waiting, _)| *waiting == leg) {
            assert!(self.now >= not_before, "back {} ms before the wait is over", (not_before - self.now) / MS);
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let socket = Socket::new(leg, serial, link.streams.len(), latency);
        link.sockets.push(socket);
        let host = link.host;
        self.hosts[host].connect_asked(self.now);
        let (wait, delivery) = self.connect_outcome(host, latency);
        self.deliver(at, serial, self.now + wait, delivery);
        self.tempt(at);
    }

    fn send(&mut self, at: usize, leg: Leg, text: Vec<u8>) {
        let (now, held_up) = (self.now, self.held_up());
        let link = &mut self.links[at];
        let (dialect, host) = (link.dialect, link.host);
        let Some(socket) = link.socket_of(leg) else { panic!("a message on a socket that is gone") };
        assert!(socket.is_open(), "a message on a socket that is not open");
        let there = socket.reach(dialect, now, held_up);
        let serial = socket.serial;
        if text.windows(9).any(|part| part.eq_ignore_ascii_case(b"subscribe")) {
            self.hosts[host].request_sent(now);
        }
        self.note(at, format_args!("  -> {} send {}", leg.number(), short(&text)));
        self.deliver(at, serial, there, Delivery::Request { text, sent_at: now });
    }

    fn on_report(&mut self, at: usize, report: &Report) {
        let words = format!("{report:?}");
        self.saw(words.split([' ', '{']).next().unwrap_or_default());
        self.note(at, format_args!("  -> {}", shortest(&words)));
        match report {
            Report::Reconnecting { attempt, delay, reason } => {
                // How we found out, where the venue and the kernel said nothing.
                if let Some(cause) =
                    ["the venue answers no request", "stale", "login"].iter().find(|&&cause| reason.starts_with(cause))
                {
                    self.saw(cause);
                }
                let leg = self.links[at].relay.current().0;
                self.check_wait(at, leg, *attempt, nanos(*delay));
                self.tempt(at);
            }
            Report::SuccessorFailed { attempt, delay, .. } => {
                if let Some((leg, _)) = self.links[at].relay.successor() {
                    self.check_wait(at, leg, *attempt, nanos(*delay));
                }
            }
            Report::Refused { stream, reason } => {
                let link = &mut self.links[at];
                let stream = &mut link.streams[link.index[stream]];
                if reason.contains("the venue allows") {
                    stream.is_wanted = false;
                } else {
                    assert!(
                        stream.is_bad,
                        "{} counts as refused, and the venue never refused it: {reason}",
                        stream.name
                    );
                }
            }
            Report::Resubscribing { stream } => {
                let now = self.now;
                let link = &mut self.links[at];
                link.sync(now, &mut self.random);
                link.repair(stream, now);
            }
            Report::Closed => {
                let link = &self.links[at];
                assert!(link.relay.is_over() && link.sockets.is_empty(), "closed while a socket is open");
                assert!(link.stopped_at.is_some(), "closed though nobody asked for it");
                let wait = self.random.between(1, 60) * SECOND;
                self.schedule(self.now + wait, Happening::Start { link: at });
            }
            _ => {}
        }
    }

    fn on_abandoned(&mut self, at: usize, leg: Leg) {
        let link = &self.links[at];
        let is_closing = |(of, machine): (Leg, &tickwire::control::ConnectionMachine)| {
            of == leg && machine.state() == tickwire::control::State::Closing
        };
        if link.relay.machines().any(is_closing) {
            let event = Event::ConnectFailed { reason: "abandoned", retry_after: None, status: None };
            self.handle(at, RelayEvent::Leg(leg, event), Doing::Own);
        }
    }

    /// Twice a second: what the hot core saw, and what the venue does by the clock.
    fn tick(&mut self) {
        for at in 0..self.links.len() {
            self.links[at].sync(self.now, &mut self.random);
            let mut place = 0;
            while let Some(socket) = self.links[at].sockets.get(place) {
                let serial = socket.serial;
                if socket.is_open() {
                    self.tick_socket(at, serial);
                }
                // Gone meanwhile: the next one has its place.
                place += usize::from(self.links[at].sockets.get(place).is_some_and(|socket| socket.serial == serial));
            }
        }
    }

    fn tick_socket(&mut self, at: usize, serial: u64) {
        let (now, held_up) = (self.now, self.held_up());
        let link = &mut self.links[at];
        let dialect = link.dialect;
        let socket = link.socket(serial).expect("just seen");
        if now >= socket.cut_at && socket.mute_since.is_none() {
            self.check_age_cut(at);
            self.saw("cut for its age");
            return self.cut(at, serial, None);
        }
        if let Some(since) = socket.mute_since {
            let silent = now - socket.last_byte.max(since);
            assert!(
                silent <= dialect.dead_after() + 2 * SECOND,
                "leg {}: half-open for {} s, and nobody noticed",
                socket.leg.number(),
                silent / SECOND
            );
        } else if now >= socket.next_server_ping {
            // The hot core answers at once; the pong counts as our message.
            socket.next_server_ping += dialect.server_ping_every().expect("only where the server pings");
            socket.last_byte = now;
            socket.reach(dialect, now, held_up);
        }
        let (leg, last_seen, messages) = (socket.leg, MonoNs(socket.last_byte), socket.messages);
        self.sample(at, serial, leg);
        if self.links[at].relay.is_rotating() && self.random.percent(20) {
            // The hot core tells how many chains have not joined: some while the day is hostile, at last none.
            let unjoined = if self.fails(400) { 2 } else { 0 };
            self.links[at].relay.note_unjoined(unjoined);
        }
        self.handle(at, RelayEvent::Leg(leg, Event::DataSeen { last_seen, messages }), Doing::Own);
        self.check_silence(at, serial);
    }

    /// For how long what is sent now is held up on its way.
    fn held_up(&mut self) -> u64 {
        if self.random.percent(10) { self.random.between(0, HELD_UP_MAX) } else { 0 }
    }

    /// Tells the machine of each subscription's last data.
    fn sample(&mut self, at: usize, serial: u64, leg: Leg) {
        let now = MonoNs(self.now);
        let link = &mut self.links[at];
        let Some(machine) = link.relay.machine_mut(leg) else { panic!("leg {} is unknown to its relay", leg.number()) };
        let socket = link.sockets.iter_mut().find(|socket| socket.serial == serial).expect("just seen");
        let spoken = &mut socket.spoken;
        for (carried, stream) in socket.carried.iter_mut().zip(&link.streams) {
            if !carried.is_live || carried.last_data == 0 {
                continue;
            }
            if carried.slot.is_none() {
                carried.slot = machine.subscriptions().slot(&stream.name);
            }
            if let Some(slot) = carried.slot {
                let before = std::mem::replace(&mut carried.sampled, carried.last_data);
                *spoken += u64::from(before > 0 && before < carried.last_data);
                machine.seen(slot, MonoNs(carried.last_data), now);
            }
        }
    }

    /// The socket ends: the venue or the network did it.
    pub(crate) fn cut(&mut self, at: usize, serial: u64, code: Option<u16>) {
        let link = &mut self.links[at];
        let Some(socket) = link.socket(serial) else { return };
        let (leg, phase) = (socket.leg, socket.phase);
        if phase == Phase::Connecting {
            return;
        }
        self.note(at, format_args!("{} cut {code:?}", leg.number()));
        let link = &mut self.links[at];
        link.sync(self.now, &mut self.random);
        link.forget(leg);
        link.close_code = code;
        let event = match phase {
            Phase::Closing => Event::Closed,
            _ => Event::Lost { reason: "the peer is gone", code },
        };
        self.handle(at, RelayEvent::Leg(leg, event), Doing::Fault);
        self.links[at].close_code = None;
    }
}

fn short(text: &[u8]) -> String {
    shortest(&String::from_utf8_lossy(text))
}

fn shortest(text: &str) -> String {
    let start: String = text.chars().take(140).collect();
    if start.len() < text.len() { format!("{start}...") } else { start }
}
