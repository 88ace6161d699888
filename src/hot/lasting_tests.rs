//! Tests of legs that last: two or three of them with delays and batches of their own, each of which comes, is lost, comes
//! again in the same place, and is succeeded, in any order.

use super::super::arbitrate::AHEAD_COUNT_MAX;
use super::tests::bring as bring_event;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const FAILOVER: Duration = Duration::from_secs(2);

fn symbol() -> Symbol {
    Symbol::new(5).unwrap()
}

fn place(at: usize) -> Place {
    Place::new(u8::try_from(at).unwrap()).unwrap()
}

fn legs(venue: Venue, stream_kind: StreamKind, count: usize) -> Overlap {
    let mut overlap = Overlap::of_legs(1, venue, FAILOVER, [stream_kind]);
    for at in 0..count {
        overlap.slots[at] = Some(u16::try_from(at).unwrap());
        overlap.join(place(at), None);
    }
    overlap
}

/// What one leg does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The leg in this place brings its next event.
    Event(usize),
    /// It is lost: what it had not brought yet it never brings.
    Lost(usize),
    /// Another comes in its place, `skipped` positions of the truth behind or beyond what the furthest leg has brought.
    Again { at: usize, behind: usize },
}

fn step(count: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => (0..count).prop_map(Step::Event),
        1 => (0..count).prop_map(Step::Lost),
        2 => (0..count, 0_usize..6).prop_map(|(at, behind)| Step::Again { at, behind }),
    ]
}

/// Two or three legs and what they do. At the end all that are on bring all that they have.
fn plays() -> impl Strategy<Value = (usize, Vec<Step>)> {
    (2_usize..=3).prop_flat_map(|count| (Just(count), vec(step(count), 0..400)))
}

/// A leg as the play drives it: the position of its next event in its own feed.
#[derive(Clone, Copy)]
struct Playing {
    is_on: bool,
    next: usize,
}

/// An event: the leg, what it is, whether it was delivered at once, and of a chained book the batches that were then.
type Played<E> = (usize, E, bool, Vec<(u64, u64)>);

/// Drives `count` legs. `feed(at, position)`: the event of a leg, `None` behind the last. `begins(at, other, position)`: the
/// position at which a leg begins that comes when another is at `position`. Every event in the order of play.
fn play<E: Copy>(
    overlap: &mut Overlap,
    (count, steps): &(usize, Vec<Step>),
    stream_kind: StreamKind,
    stats: &ConnectionStats,
    feed: impl Fn(usize, usize) -> Option<(Mark, E)>,
    begins: impl Fn(usize, usize, usize) -> usize,
) -> Vec<Played<E>> {
    let mut legs = vec![Playing { is_on: true, next: 0 }; *count];
    let mut played = Vec::new();
    let mut now = MonoNs(1_000);
    let mut bring = |overlap: &mut Overlap, legs: &mut Vec<Playing>, at: usize, played: &mut Vec<_>| {
        let Some((mark, event)) = feed(at, legs[at].next).filter(|_| legs[at].is_on) else { return false };
        legs[at].next += 1;
        now.0 += 1_000;
        let (is_delivered, batches) = bring_event(overlap, place(at), symbol(), stream_kind, (mark, now), stats);
        played.push((at, event, is_delivered, batches));
        true
    };
    for &step in steps {
        match step {
            Step::Event(at) => {
                bring(overlap, &mut legs, at, &mut played);
            }
            // One stays: with nobody on, nobody brings anything.
            Step::Lost(at) if legs[at].is_on && legs.iter().filter(|leg| leg.is_on).count() > 1 => {
                legs[at].is_on = false;
                let _ = overlap.leave(place(at));
            }
            Step::Again { at, behind } if !legs[at].is_on => {
                let on = (0..*count).filter(|&other| legs[other].is_on);
                let furthest = on.max_by_key(|&other| legs[other].next).unwrap();
                let next = begins(at, furthest, legs[furthest].next.saturating_sub(behind));
                legs[at] = Playing { is_on: true, next };
                overlap.slots[at] = Some(u16::try_from(at).unwrap());
                overlap.join(place(at), None);
            }
            Step::Lost(_) | Step::Again { .. } => {}
        }
    }
    let mut is_left = true;
    while is_left {
        is_left = false;
        for at in 0..*count {
            is_left |= bring(overlap, &mut legs, at, &mut played);
        }
    }
    played
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn of_trades_what_any_leg_brought_is_delivered_once(
        plays in plays(),
        orders in [Just((0..120_u64).collect::<Vec<_>>()).prop_shuffle(), Just((0..120_u64).collect::<Vec<_>>()).prop_shuffle(), Just((0..120_u64).collect::<Vec<_>>()).prop_shuffle()],
    ) {
        let stats = ConnectionStats::default();
        let mut overlap = legs(Venue::BybitLinear, StreamKind::TRADE, plays.0);
        let feed = |at: usize, position: usize| {
            let &id = orders[at].get(position)?;
            Some((Mark::Id(TradeId::Hash(id.wrapping_mul(0x9e37_79b9_7f4a_7c15))), id))
        };
        let played = play(&mut overlap, &plays, StreamKind::TRADE, &stats, feed, |_, _, position| position);
        let brought: BTreeSet<u64> = played.iter().map(|played| played.1).collect();
        let delivered: Vec<u64> = played.iter().filter(|played| played.2).map(|played| played.1).collect();
        prop_assert_eq!(delivered.len(), brought.len(), "none twice");
        prop_assert_eq!(delivered.iter().copied().collect::<BTreeSet<_>>(), brought, "none lost");
        prop_assert_eq!((stats.won.get(), stats.won.get() + stats.lost.get()), (delivered.len() as u64, played.len() as u64));
        let lags: u64 = stats.lag.filled().map(|(_, count)| count).sum();
        prop_assert_eq!((lags, stats.window_evictions.get()), (stats.lost.get(), 0), "when each was won is known");
    }

    #[test]
    fn of_quotes_the_furthest_is_delivered_and_nothing_goes_back(
        plays in plays(),
        keep in [vec(any::<bool>(), 120), vec(any::<bool>(), 120), vec(any::<bool>(), 120)],
    ) {
        let stats = ConnectionStats::default();
        let mut overlap = legs(Venue::BinanceSpot, StreamKind::QUOTE, plays.0);
        // Each leg is told some of the numbers, in its own words.
        let told: Vec<Vec<u64>> =
            keep.iter().map(|keep| (1..=120_u64).filter(|&n| keep[usize::try_from(n - 1).unwrap()]).collect()).collect();
        let feed = |at: usize, position: usize| told[at].get(position).map(|&n| (Mark::Number(9_000 + n), n));
        let begins = |at: usize, _, position: usize| position.min(told[at].len());
        let mut furthest = 0;
        for (at, n, is_delivered, _) in play(&mut overlap, &plays, StreamKind::QUOTE, &stats, feed, begins) {
            prop_assert_eq!(is_delivered, n > furthest, "leg {}: {} after {}", at, n, furthest);
            furthest = furthest.max(n);
        }
    }

    #[test]
    fn mixed_batches_are_the_venues_book_after_each_and_a_gap_is_told_only_where_no_leg_could_fill_it(
        plays in plays(),
        venue in prop_oneof![Just(Venue::BinanceSpot), Just(Venue::BinanceUsdm)],
        lengths in [vec(1_u64..6, 1..8), vec(1_u64..6, 1..8), vec(1_u64..6, 1..8)],
    ) {
        // Two legs that bring all of it again, id by id, stay below the repeats in a row that mean a new numbering.
        const LAST: u64 = 100;
        let cut: Vec<Vec<(u64, u64)>> = lengths.iter().map(|lengths| batches(LAST, lengths)).collect();
        let played = play_cut(venue, &plays, &cut, LAST);
        let mut book: Option<BTreeMap<u64, u64>> = None;
        let mut last = 0;
        let is_lossy = plays.1.iter().any(|step| matches!(step, Step::Lost(_)));
        let mut brought = Vec::new();
        for (_, batch, _, delivered) in &played {
            brought.push(*batch);
            for &(start, end) in delivered {
                prop_assert!(end > last, "nothing goes back");
                if start > last + 1 {
                    prop_assert!(last == 0 || is_lossy, "a gap from {} to {} though all legs had all", last, start);
                    let is_there = last > 0 && brought.iter().any(|&(start, end)| start <= last + 1 && end > last);
                    prop_assert!(!is_there, "a gap from {} to {}, and what is between has been brought", last, start);
                    book = None;
                }
                let book = book.get_or_insert_with(|| book_at(start - 1));
                let mut changed = book_at(end);
                changed.retain(|_, updated| (start..=end).contains(updated));
                book.extend(changed);
                last = end;
                prop_assert_eq!(&*book, &book_at(end), "after {}..{}", start, end);
            }
        }
        prop_assert_eq!(last, LAST, "the end was reached");
    }

    #[test]
    fn a_trade_or_a_quote_is_delivered_as_its_first_copy_comes_whichever_leg_brings_it(
        plays in plays(),
        stream_kind in prop_oneof![Just(StreamKind::TRADE), Just(StreamKind::AGG_TRADE), Just(StreamKind::QUOTE)],
    ) {
        let stats = ConnectionStats::default();
        let mut overlap = legs(Venue::BinanceSpot, stream_kind, plays.0);
        // Each leg has the same messages in the same order, at its own pace.
        let feed = |_, position: usize| {
            let id = 9_000 + position as u64;
            let mark = if stream_kind == StreamKind::QUOTE { Mark::Number(id) } else { Mark::Id(TradeId::Number(id)) };
            (position < 120).then_some((mark, id))
        };
        let mut come = BTreeSet::new();
        for (at, id, is_delivered, _) in play(&mut overlap, &plays, stream_kind, &stats, feed, |_, _, position| position) {
            prop_assert_eq!(is_delivered, come.insert(id), "{} by leg {}", id, at);
        }
    }

    #[test]
    fn a_batch_is_delivered_as_it_comes_or_as_what_it_joins_to_comes_and_never_behind_a_leg_alone(
        plays in plays(),
        venue in prop_oneof![Just(Venue::BinanceSpot), Just(Venue::BinanceUsdm)],
        lengths in [vec(1_u64..6, 1..8), vec(1_u64..6, 1..8), vec(1_u64..6, 1..8)],
        hole in prop_oneof![Just(0..0), (20_u64..60, 1_u64..12).prop_map(|(start, length)| start..start + length)],
        has_hole in [any::<bool>(), any::<bool>(), any::<bool>()],
    ) {
        // As above.
        const LAST: u64 = 80;
        let cut: Vec<Vec<(u64, u64)>> = (0..3).map(|at| {
            let mut batches = batches(LAST, &lengths[at]);
            batches.retain(|&(start, last)| !has_hole[at] || last < hole.start || start >= hole.end);
            batches
        }).collect();
        let is_lossy = plays.1.iter().any(|step| matches!(step, Step::Lost(_)));
        let (mut last, mut brought) = (0, Vec::new());
        for (at, batch, _, delivered) in play_cut(venue, &plays, &cut, LAST) {
            brought.push(batch);
            last = delivered.last().map_or(last, |delivered| delivered.1);
            let held = brought.iter().find(|&&(start, end)| start <= last + 1 && end > last);
            prop_assert_eq!(held, None, "it came, it joins to {}, and it waits", last);
            // Without a hole a leg never waits for another: by itself it would not have been sooner.
            prop_assert!(is_lossy || has_hole[at] || last >= batch.1, "leg {} alone is at {}, all are at {}", at, batch.1, last);
        }
    }

    #[test]
    fn a_hole_of_one_leg_is_filled_by_another_and_one_of_all_is_handed_on(
        count in 2_usize..=3,
        lengths in [vec(1_u64..6, 1..8), vec(1_u64..6, 1..8), vec(1_u64..6, 1..8)],
        hole in (20_u64..30, 1_u64..12),
        has_hole in [any::<bool>(), any::<bool>(), any::<bool>()],
        picks in vec(0_usize..3, 0..200),
    ) {
        const LAST: u64 = 60;
        let missing = hole.0..hole.0 + hole.1;
        let cut: Vec<Vec<(u64, u64)>> = (0..count).map(|at| {
            let mut batches = batches(LAST, &lengths[at]);
            batches.retain(|&(start, last)| !has_hole[at] || last < missing.start || start >= missing.end);
            batches
        }).collect();
        // Each has spoken before the hole, and none is so far in front that the others are given up.
        let mut steps: Vec<Step> = (0..count).map(Step::Event).collect();
        steps.extend(picks.iter().filter(|&&at| at < count).map(|&at| Step::Event(at)));
        let stats = ConnectionStats::default();
        let mut overlap = legs(Venue::BinanceSpot, StreamKind::BOOK, count);
        let feed = |at: usize, position: usize| {
            let &(start, last) = cut[at].get(position)?;
            Some((Mark::Book { kind: BookKind::Delta, start, last }, (start, last)))
        };
        let played = play(&mut overlap, &(count, steps), StreamKind::BOOK, &stats, feed, |_, _, position| position);
        let (mut last, mut gaps) = (0, 0);
        let mut run = (0, 0);
        let mut run_max = 0;
        for (at, _, _, delivered) in &played {
            run = if run.0 == *at { (*at, run.1 + 1) } else { (*at, 1) };
            run_max = run_max.max(run.1);
            for &(start, end) in delivered {
                gaps += u32::from(last > 0 && start > last + 1);
                prop_assert!(end > last);
                last = end;
            }
        }
        prop_assert_eq!(last, LAST);
        if !has_hole[..count].iter().all(|&has_hole| has_hole) && run_max <= usize::from(AHEAD_COUNT_MAX) {
            prop_assert_eq!(gaps, 0, "one leg had it all");
        }
    }

    #[test]
    fn a_book_with_snapshots_of_its_own_is_never_mixed_whoever_comes_and_goes(
        plays in plays(),
        silences in vec(prop::bool::weighted(0.02), 400),
    ) {
        let stats = ConnectionStats::default();
        let kind = StreamKind::of_depth(50);
        let mut overlap = legs(Venue::BybitLinear, kind, plays.0);
        // Each leg's numbers are its own: position in its stream, and a snapshot wherever it begins and where `silences` says.
        let begun = std::cell::RefCell::new(BTreeMap::from([(0_usize, 0_usize), (1, 0), (2, 0)]));
        let feed = |at: usize, position: usize| {
            if position >= 120 {
                return None;
            }
            let is_first = begun.borrow()[&at] == position;
            let book = if is_first || silences[at * 120 + position] { BookKind::Snapshot } else { BookKind::Delta };
            Some((Mark::Book { kind: book, start: 1, last: 1 }, (position, book)))
        };
        let begins = |at: usize, _, position: usize| {
            begun.borrow_mut().insert(at, position);
            position
        };
        let mut before: Option<(usize, usize)> = None;
        let mut delivered = 0;
        for (at, (position, kind), is_delivered, _) in play(&mut overlap, &plays, kind, &stats, feed, begins) {
            if is_delivered {
                let joins = kind == BookKind::Snapshot || position > 0 && before == Some((at, position - 1));
                prop_assert!(joins, "leg {} at {} after {:?}", at, position, before);
                before = Some((at, position));
                delivered += 1;
            }
        }
        prop_assert!(delivered > 0);
    }
}

/// Levels of a made-up book.
const PRICES: u64 = 6;

/// The venue's book after update `id`: each update sets one level.
fn book_at(id: u64) -> BTreeMap<u64, u64> {
    (1..=id).map(|id| (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).rem_euclid(PRICES)).zip(1..=id).collect()
}

/// [`play`] of a chained book whose ids up to `last` each leg cuts for itself. Whoever comes again begins in the middle.
fn play_cut(venue: Venue, plays: &(usize, Vec<Step>), cut: &[Vec<(u64, u64)>], last: u64) -> Vec<Played<(u64, u64)>> {
    let feed = |at: usize, position: usize| {
        let &(start, last) = cut[at].get(position)?;
        Some((Mark::Book { kind: BookKind::Delta, start, last }, (start, last)))
    };
    let begins = |at: usize, other: usize, position: usize| {
        let id = cut[other].get(position).map_or(last, |batch| batch.0);
        cut[at].partition_point(|batch| batch.1 < id)
    };
    let mut overlap = legs(venue, StreamKind::BOOK, plays.0);
    play(&mut overlap, plays, StreamKind::BOOK, &ConnectionStats::default(), feed, begins)
}

/// Ids from 1 to `last`, cut into batches by these lengths.
fn batches(last: u64, lengths: &[u64]) -> Vec<(u64, u64)> {
    let (mut start, mut batches) = (1, Vec::new());
    for length in lengths.iter().cycle() {
        let end = (start + length - 1).min(last);
        batches.push((start, end));
        start = end + 1;
        if start > last {
            break;
        }
    }
    batches
}

fn ms(at: u64) -> MonoNs {
    MonoNs(at * 1_000_000)
}

#[test]
fn who_leads_what_has_no_identity_is_failed_over_by_loss_at_once_and_by_silence_after_a_while() {
    let stats = ConnectionStats::default();
    let mut overlap = legs(Venue::BinanceSpot, StreamKind::TICKER, 3);
    let comes = |overlap: &mut Overlap, at: usize, at_ms: u64| {
        bring_event(overlap, place(at), symbol(), StreamKind::TICKER, (Mark::Nothing, ms(at_ms)), &stats).0
    };
    assert!(comes(&mut overlap, 1, 10), "who speaks first leads");
    assert!(!comes(&mut overlap, 0, 20) && !comes(&mut overlap, 2, 20));
    // A slow stream: between two of the leader's much more passes than the failover, and the others come before it.
    for minute in 1..5 {
        assert!(!comes(&mut overlap, 0, minute * 60_000) && !comes(&mut overlap, 2, minute * 60_000 + 1));
        assert!(comes(&mut overlap, 1, minute * 60_000 + 2));
    }
    assert!(!comes(&mut overlap, 0, 290_000), "the leader's last, for all that is known");
    assert!(!comes(&mut overlap, 0, 300_000), "the leader may be late");
    assert!(!comes(&mut overlap, 2, 301_999), "still");
    assert!(comes(&mut overlap, 2, 302_000), "for two seconds others spoke, and the leader did not");
    assert!(!comes(&mut overlap, 1, 302_001), "the old leader is one of the others now");
    assert!(comes(&mut overlap, 2, 302_002));
    let _ = overlap.leave(place(2));
    assert!(comes(&mut overlap, 0, 302_003), "a leader that is gone is not waited for");
    assert!(!comes(&mut overlap, 1, 302_004));
    overlap.join(place(2), None);
    assert!(!comes(&mut overlap, 2, 302_005), "who comes again does not lead again");
    assert_eq!((stats.won.get(), stats.lost.get()), (0, 0), "no race");
}

#[test]
fn a_successor_takes_its_own_predecessors_lead_and_no_other_legs() {
    let stats = ConnectionStats::default();
    for led_by in [0, 1] {
        let mut overlap = legs(Venue::BinanceSpot, StreamKind::TICKER, 2);
        let comes = |overlap: &mut Overlap, at: usize| {
            bring_event(overlap, place(at), symbol(), StreamKind::TICKER, (Mark::Nothing, ms(1)), &stats).0
        };
        assert!(comes(&mut overlap, led_by));
        overlap.join(place(2), Some(place(0)));
        assert!(!comes(&mut overlap, 2), "not promoted");
        overlap.promote(place(2));
        assert_eq!(comes(&mut overlap, 2), led_by == 0);
        assert!(!comes(&mut overlap, 0));
        let _ = overlap.leave(place(0));
        assert_eq!(comes(&mut overlap, 2), led_by == 0);
        assert_eq!(comes(&mut overlap, 1), led_by == 1);
    }
}

#[test]
fn how_many_books_a_successor_has_not_joined_is_counted_anew_for_each() {
    let stats = ConnectionStats::default();
    let mut overlap = legs(Venue::BinanceSpot, StreamKind::BOOK, 2);
    let progress = overlap.progress();
    let comes = |overlap: &mut Overlap, at: usize, start: u64, last: u64| {
        let mark = Mark::Book { kind: BookKind::Delta, start, last };
        bring_event(overlap, place(at), symbol(), StreamKind::BOOK, (mark, ms(1)), &stats).0
    };
    assert!(comes(&mut overlap, 0, 1, 10) && !comes(&mut overlap, 1, 5, 10));
    for round in 0..3 {
        let base = 100 * round;
        overlap.join(place(2), Some(place(0)));
        assert_eq!((progress.unjoined.get(), progress.joined.get()), (0, 0), "round {round}");
        assert!(!comes(&mut overlap, 2, base + 51, base + 60), "ahead");
        assert_eq!((progress.unjoined.get(), progress.joined.get()), (1, 0), "round {round}");
        assert!(comes(&mut overlap, 1, base + 11, base + 70));
        assert_eq!((progress.unjoined.get(), progress.joined.get()), (0, 1), "round {round}");
        let _ = overlap.leave(place(2));
        assert!(comes(&mut overlap, 1, base + 71, base + 110));
    }
}

#[test]
fn where_a_leg_is_lost_that_led_books_of_snapshots_another_is_told_to_begin_anew() {
    let stats = ConnectionStats::default();
    let kind = StreamKind::of_depth(50);
    let mut overlap = legs(Venue::BybitLinear, kind, 2);
    let comes = |overlap: &mut Overlap, at: usize, book| {
        let mark = Mark::Book { kind: book, start: 1, last: 1 };
        bring_event(overlap, place(at), symbol(), kind, (mark, ms(1)), &stats).0
    };
    assert!(!comes(&mut overlap, 1, BookKind::Delta), "joins to nothing");
    assert!(comes(&mut overlap, 0, BookKind::Snapshot) && !comes(&mut overlap, 1, BookKind::Snapshot));
    assert!(comes(&mut overlap, 0, BookKind::Delta) && !comes(&mut overlap, 1, BookKind::Delta));
    assert_eq!(overlap.leave(place(0)), Some((1, true)));
    assert!(!comes(&mut overlap, 1, BookKind::Delta), "until it has sent a snapshot");
    overlap.slots[0] = Some(7);
    overlap.join(place(0), None);
    assert!(!comes(&mut overlap, 0, BookKind::Delta), "whoever comes again led nothing");
    assert!(comes(&mut overlap, 1, BookKind::Snapshot) && comes(&mut overlap, 1, BookKind::Delta));
    assert_eq!(overlap.leave(place(0)), None, "who led nothing leaves nothing");
    overlap.slots[0] = Some(7);
    overlap.join(place(0), None);
    assert_eq!(overlap.leave(place(1)), Some((7, true)));
    overlap.slots[1] = Some(8);
    overlap.join(place(1), None);
    assert_eq!(overlap.leave(place(0)), Some((8, true)), "the one that was told was lost before it led");
}

#[test]
fn a_core_takes_legs_as_they_come_and_refuses_those_that_have_no_place() {
    let mut overlaps = Overlaps::default();
    let joining = |id| Some(Joining { id, successor_of: None });
    assert_eq!(overlaps.attach(4, 0, joining(9)), Err(NotJoined), "before its overlap");
    let made = Overlap::of_legs(9, Venue::BinanceSpot, FAILOVER, []);
    assert_eq!(overlaps.begin(Box::new(made), |_| true).unwrap(), [None; 2]);
    let first = overlaps.attach(4, 0, joining(9)).unwrap().unwrap();
    assert_eq!(overlaps.attach(5, 0, joining(9)), Err(NotJoined), "the place is taken");
    assert_eq!(overlaps.attach(5, 4, joining(9)), Err(NotJoined), "there is no such place");
    assert_eq!(overlaps.attach(5, 1, None), Ok(None), "a stranger");
    let successor = overlaps.attach(6, 1, Some(Joining { id: 9, successor_of: Some(0) })).unwrap().unwrap();
    assert!(overlaps.promote(6) && !overlaps.promote(5));
    assert_eq!(overlaps.lose(first), None);
    assert_eq!(overlaps.attach(4, 0, joining(9)).unwrap(), Some(first), "the place is free again");
    let rotation = Box::new(Overlap::new(10, Venue::BinanceSpot, 6, 8, []));
    assert!(overlaps.begin(rotation, |_| true).is_err(), "a leg is in no other overlap");
    for id in 0..u32::try_from(LEGGED_SOCKET_COUNT_MAX - 1).unwrap() {
        let made = Overlap::of_legs(100 + id, Venue::BinanceSpot, FAILOVER, []);
        overlaps.begin(Box::new(made), |_| true).unwrap();
    }
    let made = Overlap::of_legs(99, Venue::BinanceSpot, FAILOVER, []);
    assert!(overlaps.begin(Box::new(made), |_| true).is_err(), "no room");
    let rotation = Box::new(Overlap::new(10, Venue::BinanceSpot, 7, 8, []));
    assert!(overlaps.begin(rotation, |_| true).is_ok(), "rotations have a room of their own");
    assert!(overlaps.end(9).is_some() && overlaps.get(successor).is_none());
}

#[test]
fn a_trade_that_was_fetched_elsewhere_is_a_repeat_on_whichever_leg_brings_it_yet() {
    let stats = ConnectionStats::default();
    let mut overlap = legs(Venue::BinanceSpot, StreamKind::TRADE, 2);
    overlap.remember(symbol(), StreamKind::TRADE, TradeId::Number(7), ms(1));
    for (at, id, is_delivered) in [(0, 7, false), (1, 7, false), (1, 6, true), (0, 6, false)] {
        let mark = Mark::Id(TradeId::Number(id));
        let comes = bring_event(&mut overlap, place(at), symbol(), StreamKind::TRADE, (mark, ms(2)), &stats);
        assert_eq!(comes.0, is_delivered, "trade {id} on leg {at}");
    }
}

#[test]
fn quotes_whose_numbers_start_again_while_every_leg_is_cut_are_heard_at_once() {
    let stats = ConnectionStats::default();
    let mut overlap = legs(Venue::BybitLinear, StreamKind::QUOTE, 2);
    let bring = |overlap: &mut Overlap, at, id| {
        let comes = bring_event(overlap, place(at), symbol(), StreamKind::QUOTE, (Mark::Number(id), ms(1)), &stats);
        comes.0
    };
    assert!(bring(&mut overlap, 0, 18_000_000) && !bring(&mut overlap, 1, 18_000_000));
    for at in [0, 1] {
        overlap.leave(place(at));
    }
    for at in [0, 1] {
        overlap.join(place(at), None);
    }
    // The first that is heard of the new numbering need not be its first.
    assert_eq!([7, 8, 9].map(|id| bring(&mut overlap, 0, id)), [true; 3]);
    assert_eq!([8, 9, 10].map(|id| bring(&mut overlap, 1, id)), [false, false, true]);
    overlap.leave(place(1));
    overlap.join(place(1), None);
    assert!(bring(&mut overlap, 1, 1), "one says by itself that the numbering is new");
}

#[test]
fn a_chain_whose_numbers_start_again_is_heard_after_a_while() {
    let stats = ConnectionStats::default();
    let mut overlap = legs(Venue::BinanceSpot, StreamKind::BOOK, 2);
    let mut delivered = Vec::new();
    for id in [9_000_u64].into_iter().chain(1..400) {
        let mark = Mark::Book { kind: BookKind::Delta, start: id, last: id };
        if bring_event(&mut overlap, place(0), symbol(), StreamKind::BOOK, (mark, ms(1)), &stats).0 {
            delivered.push(id);
        }
    }
    assert_eq!(delivered[0], 9_000);
    assert_eq!(delivered[1..], (256..400).collect::<Vec<u64>>()[..], "from the first behind the patience on");
}
