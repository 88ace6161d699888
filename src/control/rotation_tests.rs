use super::*;
use crate::control::Governor;
use crate::market::Venue;
use serde_json::Value;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A relay, a clock, and what its sockets were told.
struct Bench {
    relay: Relay,
    now: MonoNs,
    governor: Governor,
    budget: crate::control::BudgetId,
    reports: Vec<Report>,
    /// Everything but sends and reports, in order.
    log: Vec<RelayAction>,
    /// Whether the peer answers our close frames.
    answers_close: bool,
}

impl Bench {
    fn new(settings: RotationSettings, streams: &[&str]) -> Self {
        let streams = streams.iter().map(|&stream| stream.into()).collect();
        let connection = ConnectionSettings::of_venue(Venue::BinanceSpot, 1);
        let relay = Relay::new(connection, settings, streams).unwrap();
        let mut governor = Governor::default();
        let budget = crate::control::connection::unlimited(&mut governor);
        Self { relay, now: MonoNs(SECOND), governor, budget, reports: Vec::new(), log: Vec::new(), answers_close: true }
    }

    fn up(settings: RotationSettings, streams: &[&str]) -> Self {
        let mut bench = Self::new(settings, streams);
        bench.event(RelayEvent::Start);
        bench.connect(Leg(1));
        bench.speak(Leg(1), 1);
        bench
    }

    /// Gives an event, acknowledges every subscription that it caused, and keeps the rest of what was to be done.
    fn event(&mut self, event: RelayEvent<'_>) {
        let mut actions = Vec::new();
        let mut context = Context { wall_ms: 0, governor: &mut self.governor, budget: self.budget };
        self.relay.handle(event, self.now, &mut context, &mut actions);
        for action in actions {
            match action {
                RelayAction::Report(report) => self.reports.push(report),
                RelayAction::Leg(leg, Action::Send(text)) => {
                    let request: Value = serde_json::from_slice(&text).unwrap();
                    let ack = format!(r#"{{"result":null,"id":{}}}"#, request["id"]);
                    self.event(RelayEvent::Leg(leg, Event::Message(ack.as_bytes())));
                }
                RelayAction::Leg(leg, Action::Close { code }) if self.answers_close => {
                    self.log.push(RelayAction::Leg(leg, Action::Close { code }));
                    self.event(RelayEvent::Leg(leg, Event::Closed));
                }
                action => self.log.push(action),
            }
        }
    }

    fn connect(&mut self, leg: Leg) {
        self.event(RelayEvent::Leg(leg, Event::Connected));
    }

    fn speak(&mut self, leg: Leg, messages: u64) {
        let last_seen = self.now;
        if let Some(machine) = self.relay.machine_mut(leg) {
            let slots: Vec<_> = machine.subscriptions().slots(SlotSet::Active).map(|(slot, _)| slot).collect();
            for slot in slots {
                machine.seen(slot, last_seen, last_seen);
            }
        }
        self.event(RelayEvent::Leg(leg, Event::DataSeen { last_seen, messages }));
    }

    fn lose(&mut self, leg: Leg) {
        self.event(RelayEvent::Leg(leg, Event::Lost { reason: "reset by peer", code: None }));
    }

    /// Lets so much time pass, each timer in its turn; sockets that are up keep speaking.
    fn pass(&mut self, seconds: u64) {
        let end = self.now.0 + seconds * SECOND;
        let mut messages = 1_000;
        while self.now.0 < end {
            let due = self.relay.next_timer().map_or(u64::MAX, |at| at.0);
            let step = end.min(self.now.0 + SECOND / 2);
            assert!(due > self.now.0, "a timer that is due already would spin");
            self.now = MonoNs(due.min(step));
            let legs: Vec<_> = self.relay.machines().filter(|(_, m)| m.state().is_up()).map(|(leg, _)| leg).collect();
            messages += 1;
            for leg in legs {
                self.speak(leg, messages);
            }
            self.event(RelayEvent::Timer);
        }
    }

    fn take_log(&mut self) -> Vec<String> {
        self.log.drain(..).map(|action| format!("{action:?}")).collect()
    }
}

fn by_age(seconds: u64) -> RotationSettings {
    RotationSettings {
        after: Some(Duration::from_secs(seconds)),
        jitter: Duration::ZERO,
        ..RotationSettings::default()
    }
}

#[test]
fn a_socket_of_age_is_replaced_by_one_that_is_confirmed_and_speaks_before_it_goes() {
    let mut bench = Bench::up(by_age(60), &["a@trade", "b@trade"]);
    assert_eq!(bench.take_log(), ["Leg(Leg(1), Connect)"]);
    bench.pass(59);
    assert!(!bench.relay.is_rotating());
    bench.pass(1);
    assert_eq!(bench.take_log(), ["BeginOverlap { leader: Leg(1), successor: Leg(2) }"]);
    bench.pass(1);
    assert_eq!(bench.take_log(), ["Leg(Leg(2), Connect)"], "after the lead-in");
    bench.connect(Leg(2));
    assert_eq!(bench.relay.current().0, Leg(1), "confirmed is not enough");
    bench.pass(3);
    assert_eq!(bench.take_log(), ["Promote(Leg(2))"]);
    assert_eq!(bench.relay.current().0, Leg(1), "both speak for a while");
    bench.pass(2);
    assert_eq!(bench.take_log(), ["Leg(Leg(1), Close { code: 1000 })"]);
    assert_eq!(bench.relay.current().0, Leg(2));
    bench.pass(5);
    assert_eq!(bench.take_log(), ["EndOverlap"]);
    assert!(matches!(
        bench.reports.last(),
        Some(Report::Rotated { from: Leg(1), to: Leg(2), unjoined: 0, reason, .. }) if reason == "its age"
    ));
    assert_eq!(bench.relay.counters().rotations, 1);
    assert_eq!(bench.relay.current().1.status().active, 2);
}

#[test]
fn a_successor_that_never_connects_leaves_the_old_socket_as_it_was_and_is_tried_again_later() {
    let mut bench = Bench::up(by_age(60), &["a@trade"]);
    bench.pass(61);
    let mut failures = 0;
    while bench.relay.is_rotating() && failures < 100 {
        if bench.log.iter().any(|action| matches!(action, RelayAction::Leg(Leg(2), Action::Connect))) {
            bench.log.clear();
            failures += 1;
            bench.event(RelayEvent::Leg(
                Leg(2),
                Event::ConnectFailed { reason: "refused", retry_after: None, status: None },
            ));
        }
        bench.pass(1);
    }
    assert!((2..20).contains(&failures), "{failures} attempts within the longest wait");
    assert_eq!((bench.relay.current().0, bench.relay.counters().rotations_failed), (Leg(1), 1));
    assert_eq!(bench.relay.current().1.state(), State::Ready);
    assert!(bench.reports.iter().any(|report| matches!(report, Report::NotRotated { .. })));
    bench.log.clear();
    bench.pass(300);
    assert!(bench.take_log().iter().any(|line| line.contains("successor: Leg(3)")), "tried again");
}

#[test]
fn the_loss_of_the_old_socket_makes_the_successor_the_connection_however_far_it_is() {
    for is_connected in [false, true] {
        let mut bench = Bench::up(by_age(60), &["a@trade"]);
        bench.pass(61);
        if is_connected {
            bench.connect(Leg(2));
        }
        bench.take_log();
        bench.lose(Leg(1));
        assert_eq!(bench.relay.current().0, Leg(2));
        assert_eq!(bench.take_log(), [] as [&str; 0], "no second connect");
        assert_eq!(bench.relay.counters().takeovers, 1);
        if !is_connected {
            bench.connect(Leg(2));
        }
        bench.pass(1);
        assert_eq!(bench.relay.current().1.state(), State::Ready, "connected before: {is_connected}");
        bench.pass(6);
        assert!(!bench.relay.is_rotating());
        let reconnecting = bench.reports.iter().filter(|report| matches!(report, Report::Reconnecting { .. })).count();
        assert_eq!(reconnecting, 0, "the connection was never without a socket under way");
    }
}

#[test]
fn a_notice_begins_a_rotation_at_once_and_the_cut_that_follows_is_no_reconnect() {
    let mut bench = Bench::up(RotationSettings::default(), &["a@trade"]);
    bench.take_log();
    bench.event(RelayEvent::Leg(Leg(1), Event::Message(br#"{"e":"serverShutdown","E":1}"#)));
    let log = bench.take_log();
    assert_eq!(log, ["BeginOverlap { leader: Leg(1), successor: Leg(2) }", "Leg(Leg(2), Connect)"]);
    bench.event(RelayEvent::Leg(Leg(1), Event::Message(br#"{"e":"serverShutdown","E":1}"#)));
    assert_eq!(bench.take_log(), [] as [&str; 0], "said twice, heard once");
    bench.lose(Leg(1));
    bench.connect(Leg(2));
    assert_eq!((bench.relay.current().0, bench.relay.current().1.state()), (Leg(2), State::Ready));
}

#[test]
fn a_notice_where_rotation_is_off_ends_the_connection_and_it_comes_back() {
    let settings = RotationSettings { on_notice: false, ..RotationSettings::default() };
    let mut bench = Bench::up(settings, &["a@trade"]);
    bench.take_log();
    bench.event(RelayEvent::Leg(Leg(1), Event::Message(br#"{"e":"serverShutdown","E":1}"#)));
    assert_eq!(bench.take_log()[0], "Leg(Leg(1), Drop)");
    assert!(matches!(bench.relay.current().1.state(), State::Reconnecting { .. } | State::Connecting));
}

#[test]
fn a_successor_lost_after_it_was_promoted_leaves_the_old_socket_in_charge_and_another_one_is_tried_later() {
    let mut bench = Bench::up(by_age(60), &["a@trade"]);
    bench.pass(61);
    bench.connect(Leg(2));
    bench.pass(3);
    assert!(bench.take_log().contains(&"Promote(Leg(2))".to_owned()));
    bench.lose(Leg(2));
    bench.pass(6);
    assert_eq!(bench.relay.current().0, Leg(1), "a socket that is down takes nothing over");
    assert_eq!(bench.take_log(), ["EndOverlap"], "the tables know a successor that is gone");
    bench.pass(300);
    bench.connect(Leg(3));
    bench.pass(5);
    assert_eq!(bench.relay.current().0, Leg(3));
}

#[test]
fn a_replacement_that_no_core_took_is_tried_again_for_its_own_reason_and_not_at_the_moment_of_all_others() {
    let mut waits = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let settings = RotationSettings { after: None, seed, ..by_age(100) };
        let retry = settings.retry;
        let mut bench = Bench::up(settings, &["a@trade"]);
        bench.event(RelayEvent::Rotate("asked for"));
        bench.event(RelayEvent::NotOverlapped("too many at once"));
        let (now, again_at) = (bench.now, bench.relay.rotates_at().unwrap());
        let wait = Duration::from_nanos(again_at.since_ns(now));
        assert!((retry..=retry + retry / 4).contains(&wait), "{wait:?}");
        waits.insert(wait);
        bench.reports.clear();
        bench.pass((retry + retry / 4).as_secs() + 1);
        let is_ours = |report: &Report| matches!(report, Report::Rotating { reason } if reason == "asked for");
        assert!(bench.reports.iter().any(is_ours), "{:?}", bench.reports);
    }
    assert_eq!(waits.len(), 8, "each at its own moment");
}

#[test]
fn an_age_that_passed_during_a_rotation_that_failed_is_due_with_its_next_try() {
    let mut bench = Bench::up(RotationSettings { jitter: Duration::ZERO, ..by_age(100) }, &["a@trade"]);
    bench.pass(98);
    bench.event(RelayEvent::Rotate("asked for"));
    bench.pass(3);
    bench.event(RelayEvent::NotOverlapped("too many at once"));
    let (now, retry) = (bench.now, by_age(100).retry);
    assert!(bench.relay.rotates_at().unwrap() >= after(now, retry));
    assert!(bench.relay.next_timer().is_none_or(|at| at > now));
}

#[test]
fn an_age_that_passes_while_repeats_of_a_rotation_that_failed_are_looked_for_is_due_when_that_ends() {
    // Up at 1 s, told so at 31 s, given up at 62 s, of age at 64 s, and repeats are looked for up to 67 s.
    let mut bench = Bench::up(by_age(63), &["a@trade"]);
    bench.pass(30);
    bench.event(RelayEvent::Rotate("told so"));
    bench.pass(34);
    while let Some(at) = bench.relay.next_timer().filter(|at| at.0 < 90 * SECOND) {
        assert!(at > bench.now, "a timer that is due already would spin");
        bench.now = at;
        bench.event(RelayEvent::Timer);
    }
    let rotating = |report: &&Report| matches!(report, Report::Rotating { reason } if reason == "its age");
    assert_eq!(bench.reports.iter().filter(rotating).count(), 1, "{:?}", bench.reports);
}

#[test]
fn streams_added_and_removed_while_two_sockets_live_are_so_on_both() {
    let mut bench = Bench::up(by_age(60), &["a@trade", "b@trade"]);
    bench.pass(60);
    bench.event(RelayEvent::Subscribe("c@trade"));
    bench.pass(1);
    bench.connect(Leg(2));
    bench.event(RelayEvent::Subscribe("d@trade"));
    bench.event(RelayEvent::Unsubscribe("a@trade"));
    bench.pass(2);
    for (leg, machine) in bench.relay.machines() {
        let active: Vec<_> = machine.subscriptions().slots(SlotSet::Active).map(|(_, name)| name).collect();
        assert_eq!(active, ["b@trade", "c@trade", "d@trade"], "{leg:?}");
    }
}

#[test]
fn what_cannot_rotate_says_why() {
    let why = |bench: &mut Bench| {
        bench.event(RelayEvent::Rotate("asked for"));
        match bench.reports.pop() {
            Some(Report::NotRotated { reason }) => reason,
            other => format!("{other:?}"),
        }
    };
    let mut down = Bench::new(RotationSettings::default(), &["a@trade"]);
    assert_eq!(why(&mut down), "it is not connected");
    let mut twice = Bench::up(RotationSettings::default(), &["a@trade"]);
    twice.event(RelayEvent::Rotate("asked for"));
    assert_eq!(why(&mut twice), "a rotation is under way");
    let mut over = Bench::up(RotationSettings::default(), &["a@trade"]);
    over.event(RelayEvent::Stop);
    assert_eq!(why(&mut over), "it is stopping");
}

#[test]
fn a_stop_in_any_phase_closes_every_socket_within_the_close_timeout() {
    for (seconds, is_connected) in [(10, false), (60, false), (61, false), (61, true), (64, true), (66, true)] {
        let mut bench = Bench::up(by_age(60), &["a@trade"]);
        bench.pass(seconds.min(61));
        if is_connected {
            bench.connect(Leg(2));
            bench.pass(seconds - 61);
        }
        bench.answers_close = false;
        bench.event(RelayEvent::Stop);
        let stopped_at = bench.now;
        while let Some(at) = bench.relay.next_timer() {
            bench.now = at;
            bench.event(RelayEvent::Timer);
        }
        assert!(bench.relay.is_over(), "{seconds} s, {is_connected}");
        assert!(bench.now.since_ns(stopped_at) <= 100 * MS, "{seconds} s, {is_connected}");
        let closed = bench.reports.iter().filter(|report| matches!(report, Report::Closed)).count();
        assert_eq!(closed, 1);
    }
}

#[test]
fn a_stop_just_before_the_lead_passes_leaves_no_timer_that_is_due_already() {
    let mut bench = Bench::up(by_age(60), &["a@trade"]);
    bench.pass(61);
    bench.connect(Leg(2));
    bench.pass(1);
    bench.now = MonoNs(bench.relay.next_timer().unwrap().0 - 50 * MS);
    bench.answers_close = false;
    bench.event(RelayEvent::Stop);
    while let Some(at) = bench.relay.next_timer() {
        assert!(at > bench.now, "a timer that is due already would spin");
        bench.now = at;
        bench.event(RelayEvent::Timer);
    }
    assert!(bench.relay.is_over());
}

#[test]
fn a_stop_while_the_old_socket_says_goodbye_is_no_news_to_it() {
    let mut bench = Bench::up(by_age(60), &["a@trade"]);
    bench.pass(61);
    bench.connect(Leg(2));
    bench.answers_close = false;
    while bench.relay.current().0 == Leg(1) {
        bench.now = MonoNs(bench.now.0 + 10 * MS);
        bench.speak(Leg(2), 7);
        bench.speak(Leg(1), 7);
    }
    bench.event(RelayEvent::Stop);
    let (leg, leaving) = bench.relay.machines().last().unwrap();
    assert_eq!((leg, leaving.session().illegal_count()), (Leg(1), 0), "{:?}", leaving.session().last_illegal());
}

#[test]
fn a_hand_over_waits_for_what_was_asked_for_since_and_for_chains_that_have_not_joined_and_asks_for_no_timer_meanwhile()
{
    let mut bench = Bench::up(by_age(60), &["a@trade"]);
    bench.pass(61);
    bench.connect(Leg(2));
    bench.relay.note_unjoined(1);
    // Each timer in its turn, none of them due already.
    bench.pass(10);
    assert_eq!(bench.relay.current().0, Leg(1), "a chain has not joined");
    let mut actions = Vec::new();
    let mut context = Context { wall_ms: 0, governor: &mut bench.governor, budget: bench.budget };
    bench.relay.handle(RelayEvent::Subscribe("b@trade"), bench.now, &mut context, &mut actions);
    bench.relay.note_unjoined(0);
    bench.pass(3);
    assert_eq!(bench.relay.current().0, Leg(1), "nobody has answered for b@trade yet");
    for action in actions {
        if let RelayAction::Leg(leg, Action::Send(text)) = action {
            let request: Value = serde_json::from_slice(&text).unwrap();
            let ack = format!(r#"{{"result":null,"id":{}}}"#, request["id"]);
            bench.event(RelayEvent::Leg(leg, Event::Message(ack.as_bytes())));
        }
    }
    assert_eq!(bench.relay.current().0, Leg(2), "both have it");
}

#[test]
fn an_event_of_a_socket_that_is_gone_is_counted_and_changes_nothing() {
    let mut bench = Bench::up(RotationSettings::default(), &["a@trade"]);
    bench.lose(Leg(9));
    assert_eq!(bench.relay.counters().stale_events, 1);
    assert_eq!(bench.relay.current().1.state(), State::Ready);
}

#[test]
fn a_rotation_that_is_held_begins_once_it_is_not_and_nothing_spins_meanwhile() {
    for asked in [false, true] {
        let settings = if asked { RotationSettings::default() } else { by_age(10) };
        let mut bench = Bench::up(settings, &["btcusdt@trade"]);
        bench.take_log();
        bench.relay.set_held(true);
        if asked {
            bench.event(RelayEvent::Rotate("asked for"));
        }
        bench.pass(60);
        assert_eq!(bench.take_log(), Vec::<String>::new(), "asked {asked}");
        assert_eq!(bench.relay.counters(), RelayCounters::default());
        bench.relay.set_held(false);
        bench.event(RelayEvent::Timer);
        assert_eq!(bench.take_log(), ["BeginOverlap { leader: Leg(1), successor: Leg(2) }"], "asked {asked}");
    }
}
