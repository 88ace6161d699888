//! The planner alone, then a seeded simulation of it with a venue, its budget and its faults.

use super::super::{BudgetKey, BudgetLimits, GovernorSettings, RestAnswer};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const MINUTE: Duration = Duration::from_secs(60);
const SHALLOW: SnapshotDepth = SnapshotDepth { levels: 100, weight: 5 };
const DEEP: SnapshotDepth = SnapshotDepth { levels: 5_000, weight: 250 };

fn symbol(at: usize) -> Symbol {
    Symbol::new(at).unwrap()
}

fn ms(at: u64) -> MonoNs {
    MonoNs(at * 1_000_000)
}

/// A planner with a governor of one budget: the venue's weight a minute, of which half is ours.
struct Bench {
    governor: Governor,
    budget: BudgetId,
    planner: Snapshots,
    actions: Vec<SnapshotAction>,
}

impl Bench {
    fn new(weight: u32, settings: SnapshotSettings) -> Self {
        let mut governor = Governor::new(GovernorSettings::default());
        let limits = BudgetLimits {
            connects: None,
            requests_per_second: None,
            rest_weight: Some((weight, MINUTE)),
            rest_share_percent: 50,
            forbidden_for: None,
        };
        let budget = governor.budget(BudgetKey { host: "venue".into(), source: None }, limits);
        Self { governor, budget, planner: Snapshots::new(settings), actions: Vec::new() }
    }

    fn keep(&mut self, at: usize, depths: &[SnapshotDepth], now: MonoNs) {
        let plan = BookPlan { symbol: symbol(at), budget: self.budget, core: 0, heaviness: 1, depths: depths.to_vec() };
        self.planner.keep(plan, now);
    }

    fn seen(&mut self, at: usize, state: BookState, needs: Option<Repair>, activity: u64, now: MonoNs) {
        self.planner.seen(symbol(at), BookSeen { state, needs, activity }, now, &mut self.actions);
    }

    fn needs(&mut self, at: usize, activity: u64, now: MonoNs) {
        self.seen(at, BookState::Waiting, Some(Repair::NeedSnapshot), activity, now);
    }

    fn poll(&mut self, now: MonoNs) {
        self.planner.poll(&mut self.governor, now, &mut self.actions);
    }

    fn ended(&mut self, at: usize, fetch: Fetch, end: FetchEnd, now: MonoNs) {
        self.planner.ended(symbol(at), fetch, end, now, &mut self.actions);
    }

    /// What was begun since the last look: symbol, fetch, levels.
    fn begun(&mut self) -> Vec<(usize, Fetch, u16)> {
        let taken = std::mem::take(&mut self.actions);
        let begun = taken.into_iter().filter_map(|action| match action {
            SnapshotAction::Begin { fetch, symbol, levels } => Some((symbol.index(), fetch, levels)),
            _ => None,
        });
        begun.collect()
    }

    fn told(&mut self) -> Vec<SnapshotReport> {
        let taken = std::mem::take(&mut self.actions);
        let told = taken.into_iter().filter_map(|action| match action {
            SnapshotAction::Told(report) => Some(report),
            _ => None,
        });
        told.collect()
    }
}

const JOINED: FetchEnd = FetchEnd::Joined { levels: 0 };

#[test]
fn the_busiest_books_go_first_and_no_more_than_there_are_buffers() {
    let settings = SnapshotSettings { holds_per_core: 2, ..SnapshotSettings::default() };
    let mut bench = Bench::new(6_000, settings);
    for (at, activity) in [(0, 3), (1, 9), (2, 0), (3, 7)] {
        bench.keep(at, &[SHALLOW], ms(0));
        bench.needs(at, activity, ms(1));
    }
    bench.poll(ms(1));
    let begun = bench.begun();
    assert_eq!(begun.iter().map(|one| one.0).collect::<Vec<_>>(), [1, 3]);
    bench.poll(ms(2));
    assert!(bench.begun().is_empty(), "both buffers are lent");
    bench.ended(1, begun[0].1, JOINED, ms(3));
    bench.poll(ms(3));
    assert_eq!(bench.begun().iter().map(|one| one.0).collect::<Vec<_>>(), [0]);
}

#[test]
fn every_book_is_live_before_any_is_deepened_and_a_buffer_is_left_for_repairs() {
    let settings = SnapshotSettings { holds_per_core: 2, ..SnapshotSettings::default() };
    let mut bench = Bench::new(6_000, settings);
    for at in 0..3 {
        bench.keep(at, &[SHALLOW, DEEP], ms(0));
        bench.needs(at, 0, ms(0));
    }
    let mut order = Vec::new();
    for turn in 0..20 {
        bench.poll(ms(turn));
        let begun = bench.begun();
        if turn >= 2 && begun.iter().all(|one| one.2 == 5_000) {
            assert!(begun.len() <= 1, "one buffer stays free");
        }
        for (at, fetch, levels) in begun {
            order.push((at, levels));
            bench.ended(at, fetch, JOINED, ms(turn));
        }
    }
    assert_eq!(order, [(0, 100), (1, 100), (2, 100), (0, 5_000), (1, 5_000), (2, 5_000)]);
    assert_eq!(bench.planner.known_levels(symbol(2)), Some(5_000));
    let status = bench.planner.status(bench.budget, ms(20));
    assert_eq!((status.live, status.deep, status.begun, status.joined, status.weight), (3, 3, 6, 6, 765));
}

#[test]
fn what_books_that_are_still_expected_will_take_is_not_used_for_deepening_for_two_windows() {
    let mut bench = Bench::new(6_000, SnapshotSettings::default()); // 3,000 are ours
    for at in 0..500 {
        bench.keep(at, &[SHALLOW, DEEP], ms(0));
    }
    let run = |bench: &mut Bench, now: MonoNs| {
        bench.poll(now);
        bench.begun().into_iter().fold(0, |count, (at, fetch, levels)| {
            bench.ended(at, fetch, JOINED, now);
            count + usize::from(levels == 5_000)
        })
    };
    // Their streams come up a few at a time.
    let mut deepened = 0;
    for at in 0..400 {
        bench.needs(at, 0, ms(at as u64));
        deepened += run(&mut bench, ms(at as u64));
    }
    for turn in 0..100 {
        deepened += run(&mut bench, ms(400 + turn));
    }
    assert_eq!((deepened, bench.governor.status(ms(500)).budgets[0].rest.used), (0, 400 * 5));
    // Of the other hundred nothing has come, and may never: they are waited for no longer.
    let later = ms(2 * 60_000);
    let deepened: usize = (0..100).map(|turn| run(&mut bench, MonoNs(later.0 + turn * 1_000_000))).sum();
    assert_eq!(deepened, 9, "nine times 250 of 2,250");
}

#[test]
fn a_repair_takes_the_place_in_the_line_that_a_deepening_waits_in() {
    let settings = SnapshotSettings { deepening_percent: 100, ..SnapshotSettings::default() };
    let mut bench = Bench::new(600, settings); // 300 are ours
    bench.keep(0, &[SHALLOW, DEEP], ms(0));
    bench.keep(1, &[SHALLOW, SnapshotDepth { levels: 1_000, weight: 50 }], ms(0));
    for at in 0..2 {
        bench.needs(at, 0, ms(0));
    }
    bench.poll(ms(0));
    for (at, fetch, _) in bench.begun() {
        bench.ended(at, fetch, JOINED, ms(1));
    }
    bench.poll(ms(1));
    let begun = bench.begun();
    assert_eq!(begun.iter().map(|one| (one.0, one.2)).collect::<Vec<_>>(), [(0, 5_000)], "260 of 300: 50 must wait");
    // The one that is live breaks: 5 fit, and nothing else is asked.
    bench.seen(1, BookState::Stale(StaleReason::Gap), Some(Repair::NeedSnapshot), 5, ms(20_000));
    bench.poll(ms(20_000));
    assert_eq!(bench.begun().iter().map(|one| (one.0, one.2)).collect::<Vec<_>>(), [(1, 100)]);
    assert_eq!(bench.governor.status(ms(20_000)).budgets[0].rest.used, 265);
}

#[test]
fn the_part_of_the_budget_that_is_for_repairs_is_never_used_for_deepening() {
    let mut bench = Bench::new(6_000, SnapshotSettings::default()); // 3,000 are ours, 2,250 for deepening
    for at in 0..30 {
        bench.keep(at, &[SHALLOW, DEEP], ms(0));
        bench.needs(at, 0, ms(0));
    }
    for turn in 0..300 {
        bench.poll(ms(turn));
        for (at, fetch, _) in bench.begun() {
            bench.ended(at, fetch, JOINED, ms(turn));
        }
    }
    let status = bench.planner.status(bench.budget, ms(300));
    assert_eq!((status.live, status.deep), (30, 9), "nine times 250");
    assert_eq!(bench.governor.status(ms(300)).budgets[0].rest.used, 30 * 5 + 9 * 250);
    let wake = bench.planner.next_timer().unwrap();
    assert!(wake > ms(59_000) && wake <= ms(60_300), "it goes on when the window has passed: {wake:?}");
}

#[test]
fn failures_double_the_wait_of_that_symbol_alone_up_to_the_cap() {
    let mut bench = Bench::new(60_000, SnapshotSettings::default());
    for at in 0..2 {
        bench.keep(at, &[SHALLOW], ms(0));
        bench.needs(at, 0, ms(0));
    }
    let (mut now, mut tries) = (0, Vec::new());
    for _ in 0..11 {
        bench.poll(ms(now));
        for (at, fetch, _) in bench.begun() {
            let end = if at == 0 { FetchEnd::Failed } else { JOINED };
            if at == 0 {
                tries.push(now);
            }
            bench.ended(at, fetch, end, ms(now));
        }
        bench.poll(ms(now));
        assert!(bench.begun().is_empty(), "not again at once");
        now = bench.planner.next_timer().unwrap().0 / 1_000_000;
    }
    let waits: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
}

#[test]
fn what_is_kept_stays_for_a_snapshot_that_was_too_old_and_goes_when_the_wait_is_long() {
    let mut bench = Bench::new(60_000, SnapshotSettings::default());
    bench.keep(0, &[SHALLOW], ms(0));
    bench.needs(0, 0, ms(0));
    let (mut now, mut ends) = (0, Vec::new());
    for turn in 0..6 {
        bench.poll(ms(now));
        let [(_, fetch, _)] = bench.begun()[..] else { panic!("one try") };
        bench.ended(0, fetch, FetchEnd::NotJoined(StaleReason::SnapshotTooOld), ms(now));
        let has_ended = bench.actions.contains(&SnapshotAction::End { symbol: symbol(0) });
        ends.push(has_ended);
        assert_eq!(bench.planner.holds[0], usize::from(!has_ended), "turn {turn}");
        bench.poll(ms(now));
        bench.actions.clear();
        now = bench.planner.next_timer().unwrap().0 / 1_000_000;
    }
    assert_eq!(ends, [false, false, false, false, true, true], "0.5, 1, 2, 4 s, then longer than 5");
}

#[test]
fn a_book_that_breaks_as_soon_as_it_is_live_is_not_repaired_as_fast_as_it_breaks() {
    let mut bench = Bench::new(60_000, SnapshotSettings::default());
    bench.keep(0, &[SHALLOW], ms(0));
    bench.needs(0, 0, ms(0));
    let (mut now, mut tries) = (0, Vec::new());
    while now < 60_000 {
        bench.poll(ms(now));
        if let [(_, fetch, _)] = bench.begun()[..] {
            tries.push(now);
            bench.ended(0, fetch, JOINED, ms(now));
            bench.seen(0, BookState::Stale(StaleReason::Crossed), Some(Repair::NeedSnapshot), 0, ms(now + 10));
        }
        now += 10;
    }
    assert!(tries.len() <= 8, "{tries:?}");
    // One that was well for long has a clean record.
    let last = *tries.last().unwrap();
    let mut bench = Bench::new(60_000, SnapshotSettings::default());
    bench.keep(0, &[SHALLOW], ms(0));
    bench.seen(0, BookState::Live, None, 0, ms(last));
    bench.seen(0, BookState::Stale(StaleReason::Gap), Some(Repair::NeedSnapshot), 0, ms(last + 20_000));
    bench.poll(ms(last + 20_000));
    assert_eq!(bench.begun().len(), 1, "at once");
}

#[test]
fn a_range_that_was_used_up_is_asked_for_deeper() {
    let mut bench = Bench::new(60_000, SnapshotSettings::default());
    bench.keep(0, &[SHALLOW, DEEP], ms(0));
    bench.needs(0, 0, ms(0));
    bench.poll(ms(0));
    let (_, fetch, _) = bench.begun()[0];
    bench.ended(0, fetch, JOINED, ms(1));
    bench.seen(0, BookState::Stale(StaleReason::RangeExhausted), Some(Repair::NeedSnapshot), 0, ms(2));
    bench.poll(ms(2));
    assert_eq!(bench.begun().iter().map(|one| one.2).collect::<Vec<_>>(), [5_000]);
}

#[test]
fn a_book_that_was_given_more_than_was_asked_for_or_all_there_is_needs_no_deeper_snapshot() {
    for (levels, deeper) in [(100, 1), (4_999, 1), (5_000, 0), (FetchEnd::WHOLE, 0)] {
        let mut bench = Bench::new(60_000, SnapshotSettings::default());
        bench.keep(0, &[SHALLOW, DEEP], ms(0));
        bench.needs(0, 0, ms(0));
        bench.poll(ms(0));
        let (_, fetch, _) = bench.begun()[0];
        bench.ended(0, fetch, FetchEnd::Joined { levels }, ms(1));
        bench.poll(ms(1));
        assert_eq!(bench.begun().len(), deeper, "{levels} levels");
    }
}

#[test]
fn other_snapshots_are_taken_from_the_next_on_and_what_is_known_stays_known() {
    let mut bench = Bench::new(60_000, SnapshotSettings::default());
    bench.keep(0, &[SHALLOW], ms(0));
    bench.needs(0, 0, ms(0));
    bench.poll(ms(0));
    let (_, fetch, _) = bench.begun()[0];
    bench.ended(0, fetch, JOINED, ms(1));
    bench.planner.change(symbol(0), 1, vec![SnapshotDepth { levels: 50, weight: 5 }, SHALLOW], ms(2));
    bench.poll(ms(2));
    assert!(bench.begun().is_empty(), "100 levels are known");
    bench.planner.change(symbol(0), 1, vec![SHALLOW, DEEP], ms(3));
    bench.poll(ms(3));
    let [(_, fetch, 5_000)] = bench.begun()[..] else { panic!("a deeper one") };
    // Changed once more while it is under way, to fewer.
    bench.planner.change(symbol(0), 1, vec![SHALLOW], ms(4));
    bench.ended(0, fetch, FetchEnd::Joined { levels: 5_000 }, ms(5));
    bench.poll(ms(5));
    let status = bench.planner.status(bench.budget, ms(5));
    assert_eq!((status.live, status.deep, status.in_flight), (1, 1, 0));
}

#[test]
fn a_cut_connection_ends_the_try_and_the_answer_that_comes_later_changes_nothing() {
    let mut bench = Bench::new(60_000, SnapshotSettings::default());
    bench.keep(0, &[SHALLOW], ms(0));
    bench.needs(0, 0, ms(0));
    bench.poll(ms(0));
    let (_, fetch, _) = bench.begun()[0];
    bench.seen(0, BookState::Stale(StaleReason::Disconnected), None, 0, ms(5));
    let end = SnapshotAction::End { symbol: symbol(0) };
    assert!(
        bench.actions.contains(&end),
        "the core may have begun to keep changes only after the cut: {:?}",
        bench.actions
    );
    bench.actions.clear();
    bench.seen(0, BookState::Stale(StaleReason::Disconnected), None, 0, ms(5));
    assert!(bench.actions.is_empty(), "once");
    bench.poll(ms(5));
    assert!(bench.begun().is_empty(), "nothing is asked for until the stream is back");
    assert_eq!((bench.planner.holds[0], bench.planner.status(bench.budget, ms(5)).in_flight), (0, 0));
    bench.ended(0, fetch, JOINED, ms(6));
    assert_eq!(bench.planner.status(bench.budget, ms(6)).live, 0);
    bench.seen(0, BookState::Stale(StaleReason::Disconnected), Some(Repair::NeedSnapshot), 0, ms(900));
    bench.poll(ms(900));
    assert_eq!(bench.begun().len(), 1, "at once: a cut is not the book's fault");
}

#[test]
fn a_core_without_a_buffer_is_asked_again_only_after_a_while_for_each_try_costs_its_weight() {
    let mut bench = Bench::new(60_000, SnapshotSettings::default());
    bench.keep(0, &[SHALLOW], ms(0));
    bench.needs(0, 0, ms(0));
    let mut tries = Vec::new();
    for now in (0..2_000).step_by(10) {
        bench.poll(ms(now));
        for (_, fetch, _) in bench.begun() {
            tries.push(now);
            bench.ended(0, fetch, FetchEnd::NoHold, ms(now));
            assert_eq!(bench.planner.holds[0], 0, "none was lent");
        }
    }
    assert_eq!(tries, [0, 500, 1_000, 1_500]);
    assert_eq!(bench.governor.status(ms(2_000)).budgets[0].rest.used, 20);
}

#[test]
fn a_topic_is_asked_for_again_a_few_at_a_time_and_after_a_while_once_more() {
    let settings = SnapshotSettings { resubscribes_max: 2, ..SnapshotSettings::default() };
    let mut bench = Bench::new(600, settings);
    let gap = BookState::Stale(StaleReason::Gap);
    for (at, activity) in [(0, 1), (1, 8), (2, 5)] {
        bench.keep(at, &[], ms(0));
        bench.seen(at, gap, Some(Repair::Resubscribe), activity, ms(0));
    }
    let asked = |bench: &mut Bench| {
        let taken = std::mem::take(&mut bench.actions);
        let symbols = taken.iter().filter_map(|action| match action {
            SnapshotAction::Resubscribe { symbol } => Some(symbol.index()),
            _ => None,
        });
        symbols.collect::<Vec<_>>()
    };
    bench.poll(ms(0));
    assert_eq!(asked(&mut bench), [1, 2]);
    bench.seen(2, BookState::Live, None, 5, ms(100));
    bench.poll(ms(100));
    assert_eq!(asked(&mut bench), [0]);
    bench.poll(ms(10_000));
    assert!(asked(&mut bench).is_empty(), "1 has failed, and waits");
    bench.poll(ms(10_500));
    assert_eq!(asked(&mut bench), [1]);
    assert_eq!(bench.governor.status(ms(10_500)).budgets[0].rest.used, 0, "no weight");
}

#[test]
fn a_snapshot_that_costs_more_than_our_share_is_said_and_not_asked_for() {
    let mut bench = Bench::new(100, SnapshotSettings::default()); // 50 are ours
    bench.keep(0, &[SHALLOW, DEEP], ms(0));
    bench.needs(0, 0, ms(0));
    bench.poll(ms(0));
    let (_, fetch, _) = bench.begun()[0];
    bench.ended(0, fetch, JOINED, ms(1));
    bench.poll(ms(1));
    let told = bench.told();
    let heavy = SnapshotReport::TooHeavy { symbol: symbol(0), levels: 5_000, weight: 250, budget: 50 };
    assert!(told.contains(&heavy), "{told:?}");
    bench.poll(ms(120_000));
    assert!(bench.begun().is_empty());
    let status = bench.planner.status(bench.budget, ms(120_000));
    assert_eq!((status.live, status.deep), (1, 1), "as deep as we can afford");
}

#[test]
fn what_happens_is_told_once_with_the_time_that_it_took() {
    let mut bench = Bench::new(6_000, SnapshotSettings::default());
    bench.keep(0, &[SHALLOW], ms(0));
    bench.needs(0, 0, ms(10));
    bench.poll(ms(10));
    let (_, fetch, _) = bench.begun()[0];
    bench.ended(0, fetch, JOINED, ms(40));
    bench.seen(0, BookState::Live, None, 3, ms(41));
    bench.poll(ms(41));
    let after_ms = Duration::from_millis;
    let [live, all] = bench.told()[..] else { panic!("two things") };
    assert_eq!(live, SnapshotReport::Live { symbol: symbol(0), after: after_ms(40) });
    assert!(matches!(all, SnapshotReport::AllLive { books: 1, took, .. } if took == after_ms(41)), "{all:?}");
    bench.seen(0, BookState::Stale(StaleReason::Gap), Some(Repair::NeedSnapshot), 9, ms(20_000));
    bench.poll(ms(20_000));
    let fetch = match bench.actions[..] {
        [
            SnapshotAction::Told(SnapshotReport::Stale { reason: StaleReason::Gap, .. }),
            SnapshotAction::Begin { fetch, .. },
        ] => fetch,
        ref other => panic!("{other:?}"),
    };
    bench.actions.clear();
    bench.ended(0, fetch, JOINED, ms(20_120));
    bench.poll(ms(20_120));
    let repaired = SnapshotReport::Repaired { symbol: symbol(0), reason: StaleReason::Gap, after: after_ms(120) };
    assert_eq!(bench.told(), [repaired]);
}

#[test]
fn five_hundred_books_are_reckoned_by_their_weights() {
    let mut bench = Bench::new(6_000, SnapshotSettings::default());
    for at in 0..500 {
        bench.keep(at, &[SHALLOW, DEEP], ms(0));
    }
    let Estimate { books, weight, budget, live_in, deep_weight, deep_in } =
        bench.planner.estimate(bench.budget, &bench.governor);
    assert_eq!((books, weight, budget, deep_weight), (500, 2_500, Some(3_000), 125_000));
    assert!(live_in < Duration::from_secs(20), "one window holds them all: {live_in:?}");
    // 2,250 of 3,000 a minute: 125,000 are 56 minutes; with the whole venue's 6,000 they would be 21.
    assert!((3_300..3_500).contains(&deep_in.as_secs()), "{deep_in:?}");
    // What is done already is not reckoned again when one more joins.
    for at in 0..500 {
        bench.needs(at, 0, ms(0));
    }
    for turn in 0..100 {
        bench.poll(ms(turn));
        for (at, fetch, _) in bench.begun() {
            bench.ended(at, fetch, FetchEnd::Joined { levels: FetchEnd::WHOLE }, ms(turn));
        }
    }
    bench.keep(500, &[SHALLOW, DEEP], ms(100));
    let Estimate { books, weight, deep_weight, .. } = bench.planner.estimate(bench.budget, &bench.governor);
    assert_eq!((books, weight, deep_weight), (1, 5, 250));
}

/// One moment of the simulated world.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Moment {
    /// The core lends a buffer and says so; then the request goes out.
    Begun {
        at: usize,
        fetch: Fetch,
        levels: u16,
    },
    /// The request is at the venue.
    Asked {
        at: usize,
        fetch: Fetch,
        levels: u16,
    },
    /// Its answer, or that none came, is here.
    Answered {
        at: usize,
        fetch: Fetch,
        status: u16,
        wait_ms: u64,
        is_old: bool,
    },
    /// The core has taken the snapshot.
    Taken {
        at: usize,
        fetch: Fetch,
        is_old: bool,
    },
    /// A gap, or a cut of the whole connection.
    Breaks {
        at: usize,
    },
    Cut,
    Back {
        at: usize,
    },
    /// A time-out of a request that nobody answers.
    Lost {
        at: usize,
        fetch: Fetch,
    },
    /// The planner asked to be called.
    Timer,
}

/// A book as its core has it.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    is_live: bool,
    reason: Option<StaleReason>,
    needs: bool,
    is_holding: bool,
    /// The last fetch begun; another's answer is late.
    ticket: Option<Fetch>,
}

struct World {
    bench: Bench,
    chance: u64,
    now: u64,
    moments: BTreeSet<(u64, u64, Moment)>,
    number: u64,
    books: Vec<Truth>,
    holds: usize,
    /// What the venue counted: when, and how much.
    counted: Vec<(u64, u32)>,
    /// Nothing may reach it before, but what was on its way.
    away_until: u64,
    told_away_at: u64,
    timer_at: u64,
    faults_until: u64,
    seen: BTreeSet<&'static str>,
}

/// Our half of the venue's 1,200 a minute.
const VENUE_WEIGHT: u32 = 1_200;
const FAULTS_MS: u64 = 300_000;
const END_MS: u64 = 900_000;
/// A request that was never answered has failed by then.
const TIME_OUT_MS: u64 = 10_000;

impl World {
    fn new(seed: u64, books: usize) -> Self {
        let settings = SnapshotSettings { holds_per_core: 3, in_flight_max: 4, ..SnapshotSettings::default() };
        let mut world = Self {
            bench: Bench::new(VENUE_WEIGHT, settings),
            chance: seed,
            now: 0,
            moments: BTreeSet::new(),
            number: 0,
            books: vec![Truth::default(); books],
            holds: settings.holds_per_core,
            counted: Vec::new(),
            away_until: 0,
            told_away_at: 0,
            timer_at: 0,
            faults_until: FAULTS_MS,
            seen: BTreeSet::new(),
        };
        for at in 0..books {
            world.bench.keep(at, &[SHALLOW, SnapshotDepth { levels: 1_000, weight: 50 }], ms(0));
            let begins = world.below(3_000);
            world.at(begins, Moment::Back { at });
        }
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn at(&mut self, wait_ms: u64, moment: Moment) {
        self.number += 1;
        self.moments.insert((self.now + wait_ms, self.number, moment));
    }

    fn is_faulty(&self) -> bool {
        self.now < self.faults_until
    }

    /// Tells the planner what the board says of a book.
    fn board(&mut self, at: usize) {
        let book = self.books[at];
        let state = match (book.is_live, book.reason) {
            (true, _) => BookState::Live,
            (false, None) => BookState::Waiting,
            (false, Some(reason)) => BookState::Stale(reason),
        };
        let needs = book.needs.then_some(Repair::NeedSnapshot);
        self.bench.seen(at, state, needs, at as u64 % 7, ms(self.now));
    }

    fn step(&mut self, moment: Moment) {
        match moment {
            Moment::Timer => {}
            Moment::Back { at } => {
                self.books[at].needs = !self.books[at].is_live;
                self.board(at);
            }
            Moment::Breaks { at } => {
                if self.books[at].is_live {
                    let reason = if self.below(4) == 0 { StaleReason::RangeExhausted } else { StaleReason::Gap };
                    let book = &mut self.books[at];
                    (book.is_live, book.reason, book.needs) = (false, Some(reason), true);
                    self.board(at);
                }
            }
            Moment::Cut => self.cut(),
            Moment::Begun { at, fetch, levels } => {
                if !self.books[at].is_holding {
                    assert!(self.holds > 0, "the planner knows how many buffers there are");
                    self.holds -= 1;
                    self.books[at].is_holding = true;
                }
                self.books[at].ticket = Some(fetch);
                let wait = self.below(30);
                self.at(wait, Moment::Asked { at, fetch, levels });
            }
            Moment::Asked { at, fetch, levels } => self.asked(at, fetch, levels),
            Moment::Answered { at, fetch, status, wait_ms, is_old } => {
                let retry_after = (wait_ms > 0).then(|| Duration::from_millis(wait_ms));
                let answer = RestAnswer { status, used_weight: None, retry_after };
                let budget = self.bench.budget;
                self.bench.governor.rest_answered(budget, answer, ms(self.now));
                if matches!(status, 418 | 429) {
                    self.told_away_at = self.now;
                    self.away_until = self.away_until.max(self.now + wait_ms.max(1_000));
                }
                if status == 200 {
                    let wait = self.below(5);
                    self.at(wait, Moment::Taken { at, fetch, is_old });
                } else {
                    self.bench.ended(at, fetch, FetchEnd::Failed, ms(self.now));
                }
            }
            Moment::Lost { at, fetch } => self.bench.ended(at, fetch, FetchEnd::Failed, ms(self.now)),
            Moment::Taken { at, fetch, is_old } => self.taken(at, fetch, is_old),
        }
    }

    /// The connection is cut: every book is stale, every buffer is free.
    fn cut(&mut self) {
        self.seen.insert("cut");
        for at in 0..self.books.len() {
            self.holds += usize::from(self.books[at].is_holding);
            self.books[at] = Truth { reason: Some(StaleReason::Disconnected), ..Truth::default() };
            self.board(at);
            let wait = 200 + self.below(2_000);
            self.at(wait, Moment::Back { at });
        }
    }

    /// The venue counts, and answers somehow.
    fn asked(&mut self, at: usize, fetch: Fetch, levels: u16) {
        let weight = if levels == 100 { 5 } else { 50 };
        assert!(
            self.now >= self.away_until || self.told_away_at + 100 > self.now,
            "asked at {} though told to stay away until {}",
            self.now,
            self.away_until
        );
        self.counted.push((self.now, weight));
        let from = self.now.saturating_sub(59_900);
        let used: u32 = self.counted.iter().filter(|one| one.0 > from).map(|one| one.1).sum();
        assert!(used <= VENUE_WEIGHT / 2 + 2 * 50, "{used} in one window: over our share and what was on its way");
        assert!(used < VENUE_WEIGHT, "a 429 would be earned");
        let latency = 20 + self.below(180);
        let kind = if self.is_faulty() { self.below(100) } else { 99 };
        let answered = |status, wait_ms, is_old| Moment::Answered { at, fetch, status, wait_ms, is_old };
        match kind {
            0..3 => {
                self.seen.insert("429");
                let wait_ms = 1_000 * (1 + self.below(20));
                self.at(latency, answered(429, wait_ms, false));
            }
            3 => {
                self.seen.insert("418");
                self.at(latency, answered(418, 120_000, false));
            }
            4..10 => {
                self.seen.insert("503");
                self.at(latency, answered(503, 0, false));
            }
            10..16 => {
                self.seen.insert("slow");
                let slow = 1_000 + self.below(8_000);
                self.at(slow, answered(200, 0, false));
            }
            16..22 => {
                self.seen.insert("lost");
                self.at(TIME_OUT_MS, Moment::Lost { at, fetch });
            }
            22..35 => {
                self.seen.insert("old");
                self.at(latency, answered(200, 0, true));
            }
            _ => self.at(latency, answered(200, 0, false)),
        }
    }

    /// The core takes a snapshot, as `book::Slot` does.
    fn taken(&mut self, at: usize, fetch: Fetch, is_old: bool) {
        let end = if self.books[at].ticket != Some(fetch) || (self.books[at].is_live && is_old) {
            FetchEnd::Late
        } else if is_old {
            self.books[at].reason = Some(StaleReason::SnapshotTooOld);
            FetchEnd::NotJoined(StaleReason::SnapshotTooOld)
        } else {
            let book = &mut self.books[at];
            (book.is_live, book.reason, book.needs) = (true, None, false);
            JOINED
        };
        if self.books[at].ticket == Some(fetch) && self.books[at].is_live {
            self.holds += usize::from(std::mem::take(&mut self.books[at].is_holding));
        }
        self.board(at);
        self.bench.ended(at, fetch, end, ms(self.now));
        if self.books[at].is_live && self.is_faulty() && self.below(3) == 0 {
            let wait = self.below(60_000);
            self.at(wait, Moment::Breaks { at });
        }
    }

    fn perform(&mut self) {
        self.bench.poll(ms(self.now));
        for action in std::mem::take(&mut self.bench.actions) {
            match action {
                SnapshotAction::Begin { fetch, symbol, levels } => {
                    self.at(1, Moment::Begun { at: symbol.index(), fetch, levels });
                }
                SnapshotAction::End { symbol } => {
                    let book = &mut self.books[symbol.index()];
                    self.holds += usize::from(std::mem::take(&mut book.is_holding));
                }
                SnapshotAction::Resubscribe { .. } => panic!("this venue repairs by snapshots"),
                SnapshotAction::Told(SnapshotReport::AllDeep { .. }) => drop(self.seen.insert("all deep")),
                SnapshotAction::Told(_) => {}
            }
        }
        if let Some(at) = self.bench.planner.next_timer() {
            let at = at.0.div_ceil(1_000_000).max(self.now + 1);
            if self.timer_at <= self.now || at < self.timer_at {
                self.timer_at = at;
                self.at(at - self.now, Moment::Timer);
            }
        }
    }

    fn run(&mut self) {
        let cuts = self.below(3);
        for _ in 0..cuts {
            let at = self.below(FAULTS_MS);
            self.at(at, Moment::Cut);
        }
        let mut steps = 0;
        while let Some((at, _, moment)) = self.moments.pop_first() {
            steps += 1;
            assert!(steps < 2_000_000, "it goes round and round");
            if at > END_MS {
                break;
            }
            self.now = at;
            self.step(moment);
            self.perform();
        }
        // The faults are long over: a minute of backoff, two minutes of a ban, and the weight of every book twice.
        let dead: Vec<usize> = (0..self.books.len()).filter(|&at| !self.books[at].is_live).collect();
        assert!(dead.is_empty(), "never repaired: {dead:?}");
        let status = self.bench.planner.status(self.bench.budget, ms(self.now));
        assert_eq!((status.live, status.deep), (self.books.len(), self.books.len()), "{status:?}");
        assert_eq!((status.in_flight, self.holds), (0, 3), "every buffer is back");
    }
}

#[test]
fn whatever_the_venue_does_the_budget_is_kept_and_every_book_is_live_in_the_end() {
    let seeds: u64 = std::env::var("TICKWIRE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut seen = BTreeSet::new();
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, 5 + usize::try_from(seed % 40).unwrap());
            world.run();
            world.seen
        });
        match result {
            Ok(of_world) => seen.extend(of_world),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    let expected = ["418", "429", "503", "all deep", "cut", "lost", "old", "slow"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected, "a simulation without faults proves nothing");
}

proptest! {
    #[test]
    fn no_window_holds_more_than_our_share_and_every_need_is_met_as_soon_as_it_allows(
        books in 1..120_usize,
        weight in 40..2_000_u32,
        trip_ms in 1..400_u64,
    ) {
        let mut bench = Bench::new(weight, SnapshotSettings::default());
        for at in 0..books {
            bench.keep(at, &[SHALLOW], ms(0));
            bench.needs(at, (at % 5) as u64, ms(0));
        }
        let share = u64::from(weight / 2);
        let planned = bench.planner.estimate(bench.budget, &bench.governor);
        let mut asked: Vec<u64> = Vec::new();
        let mut under_way: BTreeSet<(u64, usize, Fetch)> = BTreeSet::new();
        let (mut now, mut live, mut steps) = (0, 0, 0);
        while live < books {
            steps += 1;
            prop_assert!(steps < 10_000);
            bench.poll(ms(now));
            for (at, fetch, _) in bench.begun() {
                asked.push(now);
                under_way.insert((now + trip_ms, at, fetch));
            }
            let answer = under_way.first().map(|one| one.0);
            let timer = bench.planner.next_timer().map(|at| at.0.div_ceil(1_000_000).max(now + 1));
            now = answer.into_iter().chain(timer).min().expect("something is to come");
            while let Some(&(at_ms, at, fetch)) = under_way.first() && at_ms <= now {
                under_way.pop_first();
                bench.ended(at, fetch, JOINED, ms(now));
                live += 1;
            }
        }
        for &from in &asked {
            let used: u64 = asked.iter().filter(|&&at| at >= from && at < from + 60_000).map(|_| 5).sum();
            prop_assert!(used <= share, "{used} of {share} in the minute from {from}");
        }
        let trips = (books as u64).div_ceil(8) * trip_ms.max(200);
        prop_assert!(now <= u64::try_from(planned.live_in.as_millis()).unwrap() + trips + 1_000, "{now} ms, {planned:?}");
    }
}
