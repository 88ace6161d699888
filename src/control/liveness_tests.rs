use super::*;
use crate::control::{SlotSet, SubscriptionSettings, Subscriptions};
use crate::market::Venue;
use crate::venue::protocol;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const S: u64 = 1_000_000_000;
const SAMPLE: u64 = S / 2;
const MUST: Expectation = Expectation::within(Duration::from_secs(30));

fn slots(count: usize) -> Vec<SlotId> {
    let streams: Vec<Box<str>> = (0..count).map(|n| format!("s{n}").into()).collect();
    let limits = protocol(Venue::BinanceSpot).limits();
    let subscriptions =
        Subscriptions::new(protocol(Venue::BinanceSpot), limits, SubscriptionSettings::default(), streams).unwrap();
    subscriptions.slots(SlotSet::Wanted).map(|(slot, _)| slot).collect()
}

/// A connection whose slots speak as the test says, sampled twice a second.
struct Bench {
    liveness: Liveness,
    slots: Vec<SlotId>,
    now: u64,
    /// What the hot core would have stored.
    last_data: Vec<MonoNs>,
    said: Vec<(u64, Verdict)>,
}

impl Bench {
    fn new(count: usize) -> Self {
        Self::with(LivenessSettings::default(), count)
    }

    fn with(settings: LivenessSettings, count: usize) -> Self {
        let liveness = Liveness::new(settings, count);
        Self { liveness, slots: slots(count), now: 1_000 * S, last_data: vec![MonoNs(0); count], said: Vec::new() }
    }

    /// Connected, with every slot acknowledged.
    fn up(count: usize, expectation: Expectation) -> Self {
        let mut bench = Self::new(count);
        bench.connect(expectation);
        bench
    }

    fn connect(&mut self, expectation: Expectation) {
        self.liveness.connected(MonoNs(self.now));
        (0..self.slots.len()).for_each(|slot| self.subscribe(slot, expectation));
    }

    fn subscribe(&mut self, slot: usize, expectation: Expectation) {
        self.liveness.sent(self.slots[slot], expectation, MonoNs(self.now));
        self.liveness.acknowledged(self.slots[slot], MonoNs(self.now));
    }

    /// Time passes, sample by sample; `speaks` gives a slot's last data, if it has any new, for each sample.
    fn run(&mut self, seconds: u64, mut speaks: impl FnMut(usize, u64) -> Option<u64>) {
        for _ in 0..seconds * S / SAMPLE {
            self.now += SAMPLE;
            for slot in 0..self.slots.len() {
                if let Some(at) = speaks(slot, self.now) {
                    self.last_data[slot] = MonoNs(at);
                }
                self.liveness.seen(self.slots[slot], self.last_data[slot], MonoNs(self.now));
            }
            self.poll();
        }
    }

    /// These slots speak all the time, the others not at all.
    fn run_with(&mut self, seconds: u64, speaking: &[usize]) {
        self.run(seconds, |slot, now| speaking.contains(&slot).then_some(now));
    }

    fn poll(&mut self) {
        let (said, now) = (&mut self.said, self.now);
        self.liveness.poll(MonoNs(now), &mut |verdict| said.push((now / S, verdict)));
        assert!(self.liveness.next_timer().is_none_or(|at| at.0 > now), "all that was due is done");
    }

    fn said(&mut self) -> Vec<(u64, Verdict)> {
        std::mem::take(&mut self.said)
    }

    fn repairs(&mut self) -> Vec<(u64, Repair)> {
        let repair = |(at, verdict)| match verdict {
            Verdict::Repair(repair) => Some((at, repair)),
            _ => None,
        };
        self.said().into_iter().filter_map(repair).collect()
    }
}

#[test]
fn the_four_bits_are_set_one_after_the_other_and_fall_with_the_connection() {
    let mut bench = Bench::new(2);
    let slot = bench.slots[0];
    let bits = |bench: &Bench| {
        let Bits { sent, acknowledged, first_data, fresh } = bench.liveness.bits(slot);
        [sent, acknowledged, first_data, fresh]
    };
    bench.liveness.sent(slot, MUST, MonoNs(bench.now));
    assert_eq!(bits(&bench), [false; 4], "nothing is sent on a connection that is down");
    bench.liveness.connected(MonoNs(bench.now));
    bench.liveness.acknowledged(slot, MonoNs(bench.now));
    assert_eq!(bits(&bench), [false; 4], "an ack of nothing");
    bench.liveness.sent(slot, MUST, MonoNs(bench.now));
    assert_eq!(bits(&bench), [true, false, false, false]);
    bench.liveness.acknowledged(slot, MonoNs(bench.now));
    assert_eq!(bits(&bench), [true, true, false, false]);
    bench.run_with(1, &[0]);
    assert_eq!(bits(&bench), [true; 4]);
    let counts = LivenessCounts { sent: 1, acknowledged: 1, first_data: 1, fresh: 1, silent: 0 };
    assert_eq!(bench.liveness.counts(), counts);
    bench.run_with(200, &[0]);
    bench.run_with(11, &[]);
    assert_eq!(bits(&bench), [true, true, true, false], "it stopped");
    bench.liveness.disconnected();
    assert_eq!(bits(&bench), [false; 4]);
}

#[test]
fn data_from_before_the_connect_is_no_first_data() {
    let mut bench = Bench::up(1, MUST);
    bench.last_data[0] = MonoNs(bench.now - 1);
    bench.run_with(1, &[]);
    assert!(!bench.liveness.bits(bench.slots[0]).first_data);
    bench.run_with(1, &[0]);
    assert!(bench.liveness.bits(bench.slots[0]).first_data);
}

#[test]
fn an_acknowledged_slot_without_data_has_a_name_and_climbs_the_ladder_of_repairs() {
    let mut bench = Bench::up(2, MUST);
    bench.run_with(30, &[0]);
    assert_eq!(bench.said(), []);
    bench.run_with(20_000, &[0]);
    let (slot, said) = (bench.slots[1], bench.said());
    let silent = Verdict::Silent { slot, kind: SilentKind::NeverSpoke, since: MonoNs(1_000 * S) };
    assert_eq!(said[0], (1_030, silent));
    let repairs: Vec<_> = said.iter().map(|(at, verdict)| (at - 1_030, *verdict)).collect();
    assert_eq!(repairs[1], (0, Verdict::Repair(Repair::Resubscribe(slot))));
    assert_eq!(repairs[2], (30, Verdict::Repair(Repair::Move(slot))));
    assert!(repairs[3..].iter().all(|(_, verdict)| *verdict == Verdict::Repair(Repair::Resubscribe(slot))));
    let waits: Vec<_> = repairs[2..].windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert_eq!(waits, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600, 3_600], "doubled up to an hour");
    let silences: Vec<_> = bench.liveness.silent().collect();
    assert_eq!(
        silences,
        [Silence { slot, kind: SilentKind::NeverSpoke, since: MonoNs(1_000 * S), repairs: 12 }],
        "still named"
    );
    assert_eq!(
        bench.liveness.counters(),
        LivenessCounters { never_spoke: 1, resubscribes: 11, moves: 1, ..LivenessCounters::default() }
    );
}

#[test]
fn data_ends_a_silence() {
    let mut bench = Bench::up(2, MUST);
    bench.run_with(40, &[0]);
    bench.said();
    bench.run_with(1, &[0, 1]);
    let (slot, kind) = (bench.slots[1], SilentKind::NeverSpoke);
    let recovered = Verdict::Recovered { slot, kind, silent_ns: 40 * S + SAMPLE };
    assert_eq!(bench.said(), [(1_040, recovered)]);
    assert_eq!(bench.liveness.silent().count(), 0);
    assert_eq!((bench.liveness.counters().recovered, bench.liveness.next_timer()), (1, None));
}

#[test]
fn a_slot_that_owes_nothing_is_never_silent_and_one_that_owes_its_rate_only_when_it_stops() {
    for (expectation, kinds) in [
        (Expectation::NONE, vec![]),
        (Expectation::RATE, vec![SilentKind::Stopped]),
        (MUST, vec![SilentKind::NeverSpoke, SilentKind::Stopped]),
    ] {
        let mut bench = Bench::new(2);
        bench.connect(expectation);
        bench.run_with(600, &[0]);
        bench.run_with(600, &[0, 1]);
        bench.run_with(600, &[0]);
        let kind = |(_, verdict)| match verdict {
            Verdict::Silent { kind, .. } => Some(kind),
            _ => None,
        };
        assert_eq!(bench.said().into_iter().filter_map(kind).collect::<Vec<_>>(), kinds, "{expectation:?}");
        assert!(!bench.liveness.bits(bench.slots[1]).fresh, "the bit tells what is, owed or not");
    }
}

#[test]
fn a_busy_slot_that_stops_is_silent_since_its_last_data() {
    let mut bench = Bench::up(3, MUST);
    bench.run_with(300, &[0, 1, 2]);
    let stopped_at = bench.now;
    bench.run_with(10, &[0, 1]);
    assert_eq!(bench.said(), []);
    bench.run_with(1, &[0, 1]);
    let (slot, kind) = (bench.slots[2], SilentKind::Stopped);
    assert_eq!(bench.said()[0].1, Verdict::Silent { slot, kind, since: MonoNs(stopped_at) });
    assert_eq!(bench.liveness.fresh_limit(slot), Some(Duration::from_secs(10)));
}

#[test]
fn where_most_of_a_connection_is_silent_the_connection_is_repaired_and_no_slot_alone() {
    for (count, speaking, is_connection) in [
        (4, vec![0], true),
        (4, vec![0, 1], false),
        (2, vec![], true),
        (2, vec![0], false),
        (1, vec![], false),
        (100, (0..49).collect::<Vec<_>>(), true),
        (100, (0..50).collect(), false),
    ] {
        let mut bench = Bench::up(count, MUST);
        bench.run_with(31, &speaking);
        let silent = count - speaking.len();
        assert_eq!(bench.liveness.counts().silent, silent, "each is named");
        let repairs = bench.repairs();
        if is_connection {
            assert_eq!(repairs, [(1_030, Repair::Connection)], "{count}, {speaking:?}");
        } else {
            assert_eq!(repairs.len(), silent, "{count}, {speaking:?}");
            assert!(repairs.iter().all(|(_, repair)| matches!(repair, Repair::Resubscribe(_))));
        }
    }
}

#[test]
fn busy_slots_that_stop_together_are_the_connections_fault_whatever_the_quiet_ones_do() {
    let mut bench = Bench::up(8, MUST);
    let quiet = |slot: usize, now: u64| slot < 5 && now.is_multiple_of(20 * S);
    bench.run(3_600, |slot, now| (slot >= 5 || quiet(slot, now)).then_some(now));
    assert_eq!(bench.said(), []);
    bench.run_with(12, &[]);
    assert_eq!(bench.repairs().iter().map(|(_, repair)| *repair).collect::<Vec<_>>(), [Repair::Connection]);
}

#[test]
fn a_connection_that_stays_silent_is_repaired_again_only_after_a_growing_wait() {
    let mut bench = Bench::up(4, MUST);
    for _ in 0..400 {
        bench.run_with(40, &[]);
        if bench.said.iter().any(|(_, verdict)| *verdict == Verdict::Repair(Repair::Connection)) {
            bench.connect(MUST);
        }
    }
    let repairs = bench.repairs();
    assert!(repairs.iter().all(|(_, repair)| *repair == Repair::Connection));
    let waits: Vec<_> = repairs.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(waits.iter().enumerate().all(|(n, &wait)| wait >= 3_600.min(30 << n)), "{waits:?}");
    assert!(repairs.len() > 5, "but it is repaired again");
    bench.run_with(4_000, &[0, 1, 2, 3]);
    bench.said();
    bench.run_with(20, &[]);
    assert_eq!(bench.repairs().len(), 1, "after a healthy stretch at once");
}

#[test]
fn slots_that_a_new_connection_did_not_help_are_no_reason_for_another() {
    let mut bench = Bench::up(5, MUST);
    bench.run_with(31, &[0]);
    assert_eq!(bench.repairs(), [(1_030, Repair::Connection)]);
    bench.connect(MUST);
    bench.run_with(4_000, &[0]);
    assert!(!bench.repairs().iter().any(|(_, repair)| *repair == Repair::Connection));
    assert_eq!(bench.liveness.counters().moves, 4, "each is repaired alone");
}

#[test]
fn a_successor_goes_on_with_rates_silences_and_repairs_and_is_not_replaced_for_the_same_silence() {
    let mut bench = Bench::up(8, MUST);
    bench.run_with(100, &[0]);
    assert!(bench.repairs().contains(&(1_030, Repair::Connection)));
    let limit = bench.liveness.fresh_limit(bench.slots[0]);
    let predecessor = std::mem::replace(&mut bench.liveness, Liveness::new(LivenessSettings::default(), 8));
    bench.liveness.inherit(&predecessor, Some);
    bench.connect(MUST);
    assert_eq!((bench.liveness.fresh_limit(bench.slots[0]), bench.liveness.counts().silent), (limit, 7));
    bench.run_with(3_600, &[0]);
    let repairs = bench.repairs();
    assert!(repairs.iter().all(|(_, repair)| *repair != Repair::Connection), "{repairs:?}");
    bench.run_with(1, &[0, 1]);
    assert!(matches!(bench.said()[..], [(_, Verdict::Recovered { slot, .. })] if slot == bench.slots[1]));
    bench.liveness.absorb(&predecessor);
    assert_eq!(bench.liveness.counters().never_spoke, 7, "each silence is counted once");
}

#[test]
fn where_nothing_at_all_is_heard_no_subscription_is_blamed() {
    let mut bench = Bench::up(4, MUST);
    bench.run_with(300, &[0, 1, 2]);
    bench.liveness.heard(MonoNs(bench.now));
    bench.said();
    bench.run_with(300, &[]);
    assert_eq!(bench.said(), [], "half-open: the heartbeat finds it");
    // A pong comes: the connection lives, and its slots do not.
    bench.liveness.heard(MonoNs(bench.now));
    bench.run_with(1, &[]);
    assert_eq!(bench.liveness.counts().silent, 4);
}

#[test]
fn a_lost_connection_raises_nothing_and_its_silences_end_with_data() {
    let mut bench = Bench::up(4, MUST);
    bench.run_with(31, &[0, 1, 2]);
    assert_eq!(bench.repairs().len(), 1);
    bench.liveness.disconnected();
    bench.run_with(3_600, &[]);
    assert_eq!((bench.said(), bench.liveness.next_timer()), (vec![], None));
    assert_eq!(bench.liveness.counts().silent, 1, "still named");
    bench.connect(MUST);
    bench.run_with(20, &[0, 1, 2]);
    assert_eq!(bench.said(), [], "the new ack gives it its time");
    bench.run_with(1, &[3]);
    assert!(matches!(bench.said()[..], [(_, Verdict::Recovered { .. })]));
}

#[test]
fn a_silence_that_was_not_told_of_is_forgotten_with_the_connection() {
    let mut bench = Bench::up(1, MUST);
    bench.now += 31 * S;
    bench.liveness.seen(bench.slots[0], MonoNs(0), MonoNs(bench.now));
    bench.liveness.disconnected();
    bench.poll();
    assert_eq!(bench.said(), []);
}

#[test]
fn a_retried_ack_restarts_the_wait_and_data_that_came_before_it_still_counts() {
    let mut bench = Bench::up(2, MUST);
    for _ in 0..10 {
        bench.run_with(25, &[0]);
        bench.subscribe(1, MUST);
    }
    assert_eq!(bench.said(), []);
    bench.run_with(1, &[0, 1]);
    bench.subscribe(1, MUST);
    bench.run_with(3_600, &[0]);
    assert_eq!(bench.said(), [], "one message in an hour is no rate");
    assert!(bench.liveness.bits(bench.slots[1]).first_data);
}

#[test]
fn a_resubscribed_slot_has_its_time_before_the_next_repair_and_must_speak_again() {
    let mut bench = Bench::up(2, MUST);
    bench.run_with(31, &[0]);
    let slot = bench.slots[1];
    assert_eq!(bench.repairs(), [(1_030, Repair::Resubscribe(slot))]);
    bench.run_with(20, &[0]);
    bench.subscribe(1, MUST);
    bench.run_with(29, &[0]);
    assert_eq!(bench.repairs(), []);
    bench.run_with(1, &[0]);
    assert_eq!(bench.repairs(), [(1_081, Repair::Move(slot))]);
}

#[test]
fn a_slot_that_falls_silent_again_and_again_does_not_start_the_ladder_anew() {
    let mut bench = Bench::up(3, MUST);
    bench.run_with(600, &[0, 1, 2]);
    let mut repairs = Vec::new();
    for _ in 0..200 {
        bench.run_with(60, &[0, 1]);
        bench.run_with(1, &[0, 1, 2]);
        repairs.extend(bench.repairs());
    }
    let moves = repairs.iter().filter(|(_, repair)| matches!(repair, Repair::Move(_))).count();
    assert!(repairs.len() < 15 && moves == 1, "{repairs:?}");
    bench.run_with(7_300, &[0, 1, 2]);
    bench.said();
    bench.run_with(700, &[0, 1]);
    assert_eq!(bench.repairs()[0].1, Repair::Resubscribe(bench.slots[2]), "well for long, it starts afresh");
}

#[test]
fn a_moved_slot_takes_its_rate_and_its_repairs_with_it() {
    let mut bench = Bench::up(2, MUST);
    bench.run_with(600, &[0, 1]);
    bench.run_with(41, &[0]);
    let limit = bench.liveness.fresh_limit(bench.slots[1]);
    assert!(matches!(bench.repairs()[..], [(_, Repair::Resubscribe(_)), (_, Repair::Move(_))]));
    let learned = bench.liveness.ended(bench.slots[1]);
    assert_eq!((bench.liveness.counts().silent, bench.liveness.counts().sent), (0, 1));
    let mut other = Bench::up(2, MUST);
    other.liveness.carry(other.slots[1], learned, MonoNs(other.now));
    assert_eq!(other.liveness.fresh_limit(other.slots[1]), limit);
    other.run_with(100, &[0]);
    assert_eq!(other.repairs(), [(1_060, Repair::Resubscribe(other.slots[1]))], "not moved back");
}

#[test]
fn without_repairs_a_silence_is_named_all_the_same() {
    let settings = LivenessSettings { is_repairing: false, ..LivenessSettings::default() };
    let mut bench = Bench::with(settings, 4);
    bench.connect(MUST);
    bench.run_with(3_600, &[]);
    assert_eq!(bench.said().len(), 4);
    assert_eq!((bench.liveness.counts().silent, bench.liveness.next_timer()), (4, None));
}

#[test]
fn an_ended_slot_is_no_longer_watched_and_one_beyond_the_room_makes_room() {
    let mut bench = Bench::up(3, MUST);
    bench.liveness.ended(bench.slots[1]);
    bench.run_with(40, &[0, 2]);
    assert_eq!(bench.said(), []);
    let beyond = slots(500)[499];
    assert_eq!((bench.liveness.ended(beyond), bench.liveness.bits(beyond)), (Learned::default(), Bits::default()));
    bench.liveness.sent(beyond, MUST, MonoNs(bench.now));
    assert!(bench.liveness.bits(beyond).sent);
}

/// When the last message before `now` came, if one came in the sample's time: arrivals at random, `rate` a second.
fn poisson(random: &mut StdRng, rate: f64, now: u64) -> Option<u64> {
    let age_s = -(1.0 - random.random::<f64>()).ln() / rate;
    let age = Duration::try_from_secs_f64(age_s).ok()?;
    Some(nanos(age)).filter(|&age| age < SAMPLE).map(|age| now - age)
}

/// A hundred a second down to one in ten minutes.
const RATES: [f64; 10] = [100.0, 10.0, 2.0, 1.0, 0.2, 1.0 / 15.0, 1.0 / 40.0, 1.0 / 60.0, 1.0 / 180.0, 1.0 / 600.0];

#[test]
fn symbols_that_speak_at_random_are_one_alarm_at_most_in_two_hundred_days_of_symbols() {
    let mut alarms = 0;
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bench = Bench::up(RATES.len(), Expectation::RATE);
        bench.run(86_400, |slot, now| poisson(&mut random, RATES[slot], now));
        alarms += bench.liveness.counters().stopped;
        // All that could have been judged was: the quietest has 144 messages a day.
        assert!(bench.slots.iter().all(|&slot| bench.liveness.fresh_limit(slot).is_some()));
    }
    assert!(alarms <= 1, "{alarms}");
}

#[test]
fn a_stop_is_found_within_its_limit_and_a_sample_and_for_ten_a_second_within_fifteen_seconds() {
    for seed in 0..10 {
        for (slot, max_s) in [(0, 12), (1, 15), (2, 30), (3, 60), (4, 300)] {
            let mut random = StdRng::seed_from_u64(seed);
            let mut bench = Bench::up(RATES.len(), Expectation::RATE);
            bench.run(7_200, |slot, now| poisson(&mut random, RATES[slot], now));
            bench.said();
            let (limit, stopped_at) = (bench.liveness.fresh_limit(bench.slots[slot]).unwrap(), bench.last_data[slot].0);
            while bench.liveness.counters().stopped == 0 {
                assert!(bench.now - stopped_at < nanos(limit) + 2 * SAMPLE, "seed {seed}, slot {slot}: {limit:?}");
                bench.run(1, |other, now| (other != slot).then(|| poisson(&mut random, RATES[other], now))?);
            }
            assert!(
                bench.now - stopped_at <= max_s * S,
                "seed {seed}, slot {slot}: {} ms",
                (bench.now - stopped_at) / 1_000_000
            );
        }
    }
}

#[test]
fn a_connection_that_stops_in_its_first_seconds_is_silent_after_the_longest_limit_and_replaced() {
    let mut bench = Bench::up(8, MUST);
    bench.run_with(2, &[0, 1, 2, 3, 4, 5, 6, 7]);
    let stopped_at = bench.now;
    bench.run_with(600, &[]);
    assert_eq!(bench.said(), []);
    bench.run_with(1, &[]);
    let counts = bench.liveness.counts();
    assert_eq!((counts.silent, counts.fresh), (8, 0));
    let (slot, kind) = (bench.slots[0], SilentKind::Stopped);
    assert_eq!(bench.said[0].1, Verdict::Silent { slot, kind, since: MonoNs(stopped_at) });
    assert_eq!(bench.repairs(), [(1_602, Repair::Connection)]);
    bench.connect(MUST);
    bench.run_with(1, &[0, 1, 2, 3, 4, 5, 6, 7]);
    let counts = bench.liveness.counts();
    assert_eq!((counts.silent, counts.fresh), (0, 8), "they speak again");
}

#[test]
fn one_slot_that_stops_in_its_first_minute_is_silent_after_the_longest_limit() {
    let mut bench = Bench::up(3, MUST);
    bench.run_with(20, &[0, 1, 2]);
    let stopped_at = bench.now;
    bench.run_with(600, &[0, 1]);
    assert_eq!(bench.said(), []);
    bench.run_with(1, &[0, 1]);
    let (slot, kind) = (bench.slots[2], SilentKind::Stopped);
    assert_eq!(bench.said()[0].1, Verdict::Silent { slot, kind, since: MonoNs(stopped_at) });
}

#[test]
fn quiet_slots_together_are_no_alarm_either() {
    let mut bench = Bench::up(8, MUST);
    bench.run_with(1, &[0, 1, 2, 3, 4, 5, 6]);
    bench.run(1, |slot, now| (slot == 7).then_some(now));
    bench.run(48 * 3_600, |slot, now| now.is_multiple_of((400 + 10 * slot as u64) * S).then_some(now));
    assert_eq!(bench.said(), []);
}

#[test]
fn one_message_an_hour_is_never_an_alarm_within_the_hour() {
    let mut bench = Bench::up(1, MUST);
    bench.run_with(1, &[0]);
    bench.run(48 * 3_600, |_, now| now.is_multiple_of(3_600 * S).then_some(now));
    assert_eq!(bench.said(), []);
}

#[test]
fn a_symbol_that_slows_down_a_hundredfold_is_an_alarm_a_few_times_and_then_no_more() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bench = Bench::up(1, Expectation::RATE);
        bench.run(3_600, |_, now| poisson(&mut random, 2.0, now));
        assert_eq!(bench.said(), []);
        bench.run(1_200, |_, now| poisson(&mut random, 0.02, now));
        let stopped = bench.liveness.counters().stopped;
        assert!(stopped <= 4, "seed {seed}: {stopped}");
        bench.run(86_400, |_, now| poisson(&mut random, 0.02, now));
        assert_eq!(bench.liveness.counters().stopped, stopped, "seed {seed}: learned");
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Connected,
    Disconnected,
    Sent(usize, u8),
    Acknowledged(usize),
    Ended(usize),
    Data(usize),
    Heard,
    Sample,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let slot = 0..6_usize;
    prop_oneof![
        1 => Just(Op::Connected),
        1 => Just(Op::Disconnected),
        4 => (slot.clone(), 0..3_u8).prop_map(|(slot, kind)| Op::Sent(slot, kind)),
        4 => slot.clone().prop_map(Op::Acknowledged),
        1 => slot.clone().prop_map(Op::Ended),
        8 => slot.prop_map(Op::Data),
        1 => Just(Op::Heard),
        8 => Just(Op::Sample),
        4 => (0..120 * S).prop_map(Op::Wait),
    ]
}

impl Bench {
    fn apply(&mut self, op: Op) {
        let now = MonoNs(self.now);
        match op {
            Op::Connected => self.liveness.connected(now),
            Op::Disconnected => self.liveness.disconnected(),
            Op::Sent(slot, kind) => {
                let expectation = [MUST, Expectation::RATE, Expectation::NONE][usize::from(kind)];
                self.liveness.sent(self.slots[slot], expectation, now);
            }
            Op::Acknowledged(slot) => self.liveness.acknowledged(self.slots[slot], now),
            Op::Ended(slot) => {
                let _ = self.liveness.ended(self.slots[slot]);
            }
            Op::Data(slot) => self.last_data[slot] = now,
            Op::Heard => self.liveness.heard(now),
            Op::Sample => {
                for slot in 0..self.slots.len() {
                    self.liveness.seen(self.slots[slot], self.last_data[slot], now);
                }
                self.poll();
            }
            Op::Wait(ns) => {
                self.now += ns;
                self.poll();
            }
        }
    }

    fn check(&self) {
        for &slot in &self.slots {
            let Bits { sent, acknowledged, first_data, fresh } = self.liveness.bits(slot);
            assert!(sent || !acknowledged && !first_data);
            assert!(first_data || !fresh);
        }
    }
}

/// Each silence is told of once, each end after it; repairs of a slot come within its silence.
fn check_said(said: &[(u64, Verdict)], counters: LivenessCounters) {
    let count = |is: fn(&Verdict) -> bool| said.iter().filter(|(_, verdict)| is(verdict)).count() as u64;
    let silences = count(|verdict| matches!(verdict, Verdict::Silent { .. }));
    let recoveries = count(|verdict| matches!(verdict, Verdict::Recovered { .. }));
    assert_eq!((silences, recoveries), (counters.never_spoke + counters.stopped, counters.recovered));
    assert!(recoveries <= silences);
    let repairs = counters.resubscribes + counters.moves + counters.connection_repairs;
    assert_eq!(count(|verdict| matches!(verdict, Verdict::Repair(_))), repairs);
    let connection: Vec<_> =
        said.iter().filter(|(_, verdict)| *verdict == Verdict::Repair(Repair::Connection)).collect();
    assert!(connection.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 29), "one a backoff: {connection:?}");
}

proptest! {
    #[test]
    fn whatever_happens_the_bits_stay_within_each_other_and_all_that_was_said_was_counted(ops in proptest::collection::vec(op(), 1..400)) {
        let mut bench = Bench::new(6);
        bench.liveness.connected(MonoNs(bench.now));
        for op in ops {
            bench.apply(op);
            bench.check();
        }
        let counters = bench.liveness.counters();
        check_said(&bench.said(), counters);
        prop_assert!(bench.liveness.silent().count() <= 6);
    }
}
