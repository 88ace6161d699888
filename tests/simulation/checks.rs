//! What must hold: after every step, for every request, and at the end of every quiet period. A check that fails panics
//! with what it saw; the seed's runner catches it and tells the seed.

use super::link::Link;
use super::world::World;
use crate::{MINUTE, MS, SECOND};
use std::collections::BTreeSet;
use tickwire::control::{Leg, SlotSet, State};
use tickwire::market::MonoNs;

/// Data that a connection has had when it is known how often it speaks.
const SPOKEN_MIN: u64 = 17;

/// A stop takes no longer.
const STOP_MAX: u64 = 150 * MS;

impl World {
    /// After every step, for the connection it was a step of. `is_eventful`: something was done, so that all is looked at.
    pub(crate) fn check_step(&mut self, at: usize, is_eventful: bool) {
        let now = self.now;
        let link = &mut self.links[at];
        assert!(link.timer > now, "a timer that is due already would spin");
        check_rotation(link, now);
        if let Some(stopped_at) = link.stopped_at {
            let is_late = now > stopped_at + STOP_MAX && !link.relay.is_over();
            assert!(!is_late, "not closed {} ms after a stop", (now - stopped_at) / MS);
        }
        if is_eventful {
            check_machines(link);
            check_sockets(link);
            self.check_twice(at);
            self.check_lines();
        }
    }

    /// No slot is subscribed twice, as the venue sees it, unless a rotation is under way.
    pub(crate) fn check_twice(&self, at: usize) {
        let link = &self.links[at];
        if link.sockets.len() < 2 || link.relay.is_rotating() {
            return;
        }
        for (place, stream) in link.streams.iter().enumerate() {
            let open = link.sockets.iter().filter(|socket| socket.is_open());
            let count = open.filter(|socket| socket.carried[place].is_live).count();
            assert!(count < 2, "{} is live on {count} sockets, and nothing rotates", stream.name);
        }
    }

    /// A connection that falls silent as a whole, with its pings answered, is found out, whenever it does: by the longest
    /// limit at the latest, where it spoke often enough that something could be known.
    pub(crate) fn check_silence(&mut self, at: usize, serial: u64) {
        let now = self.now;
        let link = &mut self.links[at];
        let Some(socket) = link.socket(serial) else { return };
        if !socket.is_all_silent() {
            socket.silent_since = None;
            return;
        }
        let since = *socket.silent_since.get_or_insert(now);
        let (leg, is_known) = (socket.leg, socket.spoken >= SPOKEN_MIN);
        let (current, machine) = link.relay.current();
        let is_left_alone = current == leg && machine.state() == State::Ready && !link.relay.is_rotating();
        // A silence counts up to the last byte that was heard, and that may be as old as a connection that is not stale.
        let longest = super::host::nanos(link.settings.liveness.fresh_max) + link.dialect.dead_after() + MINUTE;
        if !is_known || !is_left_alone || now - since <= longest {
            return;
        }
        let socket = link.sockets.iter().find(|socket| socket.serial == serial).expect("just seen");
        let silent: BTreeSet<&str> = machine.silences().map(|(stream, _)| stream).collect();
        for (carried, stream) in socket.carried.iter().zip(&link.streams) {
            let has_spoken = carried.is_live && carried.last_data > 0 && stream.is_busy();
            let name = stream.name.as_str();
            assert!(
                !has_spoken || silent.contains(name),
                "{name} is silent for {} s, and nobody noticed",
                (now - since) / SECOND
            );
        }
    }

    /// Nobody leaves a place in a line behind.
    fn check_lines(&self) {
        // Every machine waits for one connect or one request at most: never for more than there are sockets to be.
        if !self.steps.is_multiple_of(64) {
            return;
        }
        let machines: usize = self.links.iter().map(|link| link.relay.machines().count()).sum();
        for budget in self.governor.status(MonoNs(self.now)).budgets {
            let waiting = budget.connects.waiting + budget.requests.waiting;
            assert!(waiting <= machines, "{}: {waiting} places in the lines of {machines} machines", budget.host);
        }
    }

    /// The wait a failure has earned: never shorter than the venue asked for, never longer than its bound.
    pub(crate) fn check_wait(&mut self, at: usize, leg: Leg, attempt: u32, delay: u64) {
        let now = self.now;
        let link = &mut self.links[at];
        let asked = link.asked_wait.filter(|&(of, _)| of == leg).map_or(0, |(_, wait)| wait);
        assert!(delay >= asked, "back in {} ms, and the venue asked for {} ms", delay / MS, asked / MS);
        let reconnect = &link.settings.reconnect;
        let (base, cap) = (super::host::nanos(reconnect.base), super::host::nanos(reconnect.cap));
        let backoff = (base << attempt.saturating_sub(1).min(20)).min(cap);
        // What a close code asks for (a rule broken: up to 20 s; restart, try later: up to 5 s), and the spread of what
        // the venue asked for.
        let by_code = match link.close_code {
            Some(1_008) => 20 * SECOND,
            Some(1_012 | 1_013) => 5 * SECOND,
            _ => 0,
        };
        let bound = backoff.max(asked + asked / 10).max(by_code);
        assert!(delay <= bound, "attempt {attempt} waits {} ms, its bound is {} ms", delay / MS, bound / MS);
        link.not_before.retain(|&(of, _)| of != leg);
        link.not_before.push((leg, now + delay));
        if link.not_before.len() > 4 {
            link.not_before.remove(0);
        }
    }

    /// A request is within the venue's limits and on the right path, and names each stream once.
    pub(crate) fn check_request(&self, at: usize, names: &[String], streams: &[usize]) {
        let dialect = self.links[at].dialect;
        assert!(!names.is_empty(), "a request for nothing");
        assert!(dialect.args_max().is_none_or(|max| names.len() <= max), "{dialect:?}: {} arguments", names.len());
        assert!(names.len() <= 200, "{} streams in one request: the venue may be silent about them", names.len());
        let distinct: BTreeSet<_> = streams.iter().collect();
        assert_eq!(distinct.len(), streams.len(), "a stream twice in one request");
        let wrong = names.iter().find(|name| !dialect.carries(name));
        assert!(wrong.is_none(), "{dialect:?}: {wrong:?} does not come on this path, whatever the ack says");
    }

    /// A socket is about to be cut for its age.
    pub(crate) fn check_age_cut(&self, at: usize) {
        let rotates = self.links[at].rotation.after.is_some();
        assert!(!(rotates && self.is_well), "cut for its age, though it rotates and nothing was in its way");
    }

    /// At the end of a quiet period.
    pub(crate) fn check_quiet(&self) {
        for (number, link) in self.links.iter().enumerate() {
            check_link_quiet(number, link);
        }
        for budget in self.governor.status(MonoNs(self.now)).budgets {
            let waiting = (budget.connects.waiting, budget.requests.waiting);
            assert_eq!(waiting, (0, 0), "{}: places in a line that nobody waits for", budget.host);
        }
    }

    /// At the end of the day.
    pub(crate) fn check_over(&self) {
        for (number, link) in self.links.iter().enumerate() {
            assert!(link.relay.is_over(), "#{number} is not over at the end of the day");
            assert_eq!(link.relay.next_timer(), None, "#{number} is over and wants to be called");
        }
    }
}

fn check_rotation(link: &mut Link, now: u64) {
    if !link.relay.is_rotating() {
        link.rotating_since = None;
        return;
    }
    let since = *link.rotating_since.get_or_insert(now);
    let rotation = &link.rotation;
    // A successor that is late, and then something added meanwhile that is not confirmed yet.
    let parts = [rotation.lead_in, 2 * rotation.overlap_max, 2 * rotation.overlap, rotation.grace];
    let longest = super::host::nanos(parts.into_iter().sum()) + 5 * SECOND;
    assert!(now - since <= longest, "a rotation hangs for {} s", (now - since) / SECOND);
}

fn check_machines(link: &Link) {
    for (leg, machine) in link.relay.machines() {
        let leg = leg.number();
        let session = machine.session();
        assert_eq!(session.illegal_count(), 0, "leg {leg}: an illegal event, {:?}", session.last_illegal());
        let subscriptions = machine.subscriptions();
        let count = |set| subscriptions.count(set);
        let settings = &link.settings.subscriptions;
        let in_flight = subscriptions.in_flight().count();
        assert!(in_flight <= settings.in_flight_max as usize, "leg {leg}: {in_flight} requests await their answers");
        let is_up = machine.state().is_up();
        assert!(
            is_up || (in_flight, count(SlotSet::Pending), count(SlotSet::Active)) == (0, 0, 0),
            "leg {leg} is down, and what was asked on it is not forgotten"
        );
        if machine.state() == State::Ready {
            assert!(
                subscriptions.is_settled() && count(SlotSet::Unsent) == 0,
                "leg {leg}: ready, and not all is asked"
            );
        }
    }
}

/// Every socket belongs to a machine that knows it, and a connection that is not over has something under way.
fn check_sockets(link: &Link) {
    for socket in &link.sockets {
        let leg = socket.leg.number();
        let Some((_, machine)) = link.relay.machines().find(|(of, _)| *of == socket.leg) else {
            panic!("the socket of leg {leg} is open, and its relay has forgotten it");
        };
        let state = machine.state();
        let fits = match socket.phase {
            super::socket::Phase::Connecting => state == State::Connecting,
            super::socket::Phase::Open => state.is_up(),
            super::socket::Phase::Closing => state == State::Closing,
        };
        assert!(fits, "leg {leg}: its socket is {:?} and its machine {}", socket.phase, state.name());
    }
    let is_idle = link.sockets.is_empty() && link.timer == u64::MAX;
    let is_to_be_idle = link.relay.is_over() || link.relay.current().1.state() == State::Disconnected;
    assert!(
        !is_idle || is_to_be_idle,
        "nothing will ever happen again in state {}",
        link.relay.current().1.state().name()
    );
}

fn check_link_quiet(number: usize, link: &Link) {
    let (leg, machine) = link.relay.current();
    let (state, status) = (machine.state(), machine.status());
    assert_eq!(state, State::Ready, "#{number} after a quiet period, lost last: {:?}", status.last_loss);
    assert!(!link.relay.is_rotating(), "#{number}: a rotation hangs");
    assert_eq!(link.sockets.len(), 1, "#{number}: one socket");
    let socket = &link.sockets[0];
    assert_eq!((socket.leg, socket.mute_since), (leg, None), "#{number}: the socket that speaks");
    let names = |set| -> BTreeSet<&str> { machine.subscriptions().slots(set).map(|(_, name)| name).collect() };
    let of_venue: BTreeSet<&str> =
        link.streams.iter().zip(&socket.carried).filter(|(_, c)| c.is_live).map(|(s, _)| s.name.as_str()).collect();
    let expected: BTreeSet<&str> = link.expected().into_iter().collect();
    let refusable: BTreeSet<&str> = link.refusable().into_iter().collect();
    let wanted: BTreeSet<&str> = expected.union(&refusable).copied().collect();
    assert_eq!(names(SlotSet::Wanted), wanted, "#{number}: what is wanted is what was ordered");
    assert_eq!(of_venue, expected, "#{number}: the venue's view is what is wanted, without what it does not have");
    assert_eq!(names(SlotSet::Active), expected, "#{number}: and so is ours");
    assert_eq!(names(SlotSet::Refused), refusable, "#{number}: every bad stream is refused, and no other");
    for (name, reason) in machine.subscriptions().refusals() {
        let is_quoted = reason.message.contains(name) || reason.message.contains("Invalid");
        assert!(is_quoted, "#{number}: {name} refused in the venue's words: {reason}");
    }
    assert_eq!(machine.subscriptions().in_flight().count(), 0, "#{number}: every request has ended");
    for stream in link.streams.iter().filter(|stream| stream.is_wanted && !stream.is_bad) {
        assert!(stream.is_covered, "#{number}: {} does not reach the strategy", stream.name);
    }
}
