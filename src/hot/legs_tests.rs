//! Tests of the rules of a rotation: two legs with delays and batches of their own, in any interleaving, either of which may
//! be lost. Those of legs that last are in `lasting_tests`.

use super::super::arbitrate::AHEAD_COUNT_MAX;
use super::*;
use crate::market::Uuid;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const BOOK_50: StreamKind = StreamKind::of_depth(50);

fn symbol() -> Symbol {
    Symbol::new(3).unwrap()
}

const NOW: MonoNs = MonoNs(1_000_000_000);

/// Which of the two connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Leader,
    Successor,
}

impl Side {
    const fn index(self) -> usize {
        self as usize
    }

    const fn other(self) -> Self {
        match self {
            Self::Leader => Self::Successor,
            Self::Successor => Self::Leader,
        }
    }

    const fn place(self) -> Place {
        match self {
            Self::Leader => LEADER,
            Self::Successor => SUCCESSOR,
        }
    }
}

fn overlap(venue: Venue, stream_kind: StreamKind) -> Overlap {
    let mut overlap = Overlap::new(1, venue, 0, 1, [stream_kind]);
    overlap.join(SUCCESSOR, Some(LEADER));
    overlap
}

fn judge(
    overlap: &mut Overlap,
    side: Side,
    symbol: Symbol,
    stream_kind: StreamKind,
    mark: Mark,
    stats: &ConnectionStats,
) -> bool {
    bring(overlap, side.place(), symbol, stream_kind, (mark, NOW), stats).0
}

/// An event comes, as the core has it: whether it is delivered now, and of a chained book all batches that are.
pub(super) fn bring(
    overlap: &mut Overlap,
    place: Place,
    symbol: Symbol,
    stream_kind: StreamKind,
    (mark, now): (Mark, MonoNs),
    stats: &ConnectionStats,
) -> (bool, Vec<(u64, u64)>) {
    let judgement = overlap.judge(place, symbol, stream_kind, (mark, now), stats);
    let Mark::Book { kind, start, last } = mark else {
        return (judgement == Judgement::Deliver, Vec::new());
    };
    let received = crate::market::Received { mono: now, ..Default::default() };
    let meta = crate::market::Meta { symbol, received, event_time: None, matching_time: None };
    let ids = crate::market::SequenceIds { first: start, last, previous: None, cross: None };
    let update = BookUpdate { meta, kind, ids, depth: 0, state: None, bids: &[], asks: &[] };
    let mut delivered = Vec::new();
    if judgement == Judgement::Deliver {
        delivered.push((start, last));
    }
    if judgement != Judgement::Drop && overlap.has_waiting(symbol, stream_kind) {
        overlap.wait(&update, judgement, |waited| delivered.push((waited.ids.first, waited.ids.last)));
    }
    (delivered.contains(&(start, last)), delivered)
}

/// One step of a play.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// The leg's next event comes.
    Event(Side),
    Lost(Side),
    Promote,
}

/// What both legs carry, in the order in which it comes: by `picks` first, then all that is left. What is to happen at a
/// position happens before the event of that position.
fn steps(counts: [usize; 2], picks: &[bool], at: &[(usize, Step)]) -> Vec<Step> {
    let mut left = counts;
    let mut lost = [false; 2];
    let mut steps = Vec::new();
    let mut picks = picks.iter();
    for position in 0.. {
        for &(_, step) in at.iter().filter(|(when, _)| *when == position) {
            steps.push(step);
            if let Step::Lost(side) = step {
                lost[side.index()] = true;
            }
        }
        let can = |side: Side| left[side.index()] > 0 && !lost[side.index()];
        let wanted = if picks.next().copied().unwrap_or(false) { Side::Successor } else { Side::Leader };
        let side = if can(wanted) { wanted } else { wanted.other() };
        if !can(side) {
            return steps;
        }
        left[side.index()] -= 1;
        steps.push(Step::Event(side));
    }
    steps
}

/// An event: the side that brought it, its position on that side, and whether it was delivered.
type Played = (Side, usize, bool);

/// A batch of a book: the side that brought it, its position on that side, and the batches that were delivered then.
type Batched = (Side, usize, Vec<(u64, u64)>);

/// Plays the steps with the batches of a chained book.
fn play_book(
    overlap: &mut Overlap,
    cut: &[Vec<(u64, u64)>; 2],
    (at, steps): (&mut [usize; 2], &[Step]),
    stats: &ConnectionStats,
) -> Vec<Batched> {
    let mut played = Vec::new();
    for &step in steps {
        match step {
            Step::Lost(side) => drop(overlap.leave(side.place())),
            Step::Promote => overlap.promote(SUCCESSOR),
            Step::Event(side) => {
                let position = at[side.index()];
                at[side.index()] += 1;
                let (start, last) = cut[side.index()][position];
                let mark = Mark::Book { kind: BookKind::Delta, start, last };
                let delivered = bring(overlap, side.place(), symbol(), StreamKind::BOOK, (mark, NOW), stats).1;
                played.push((side, position, delivered));
            }
        }
    }
    played
}

fn play(
    overlap: &mut Overlap,
    stream_kind: StreamKind,
    feeds: &[Vec<Mark>; 2],
    steps: &[Step],
    stats: &ConnectionStats,
) -> Vec<Played> {
    play_and_hear(overlap, stream_kind, feeds, steps, stats).0
}

/// Plays the steps; every event, and what the other leg is told of the loss of one.
fn play_and_hear(
    overlap: &mut Overlap,
    stream_kind: StreamKind,
    feeds: &[Vec<Mark>; 2],
    steps: &[Step],
    stats: &ConnectionStats,
) -> (Vec<Played>, Option<(u16, bool)>) {
    let mut at = [0; 2];
    let mut played = Vec::new();
    let mut told = None;
    for &step in steps {
        match step {
            Step::Lost(side) => told = overlap.leave(side.place()),
            Step::Promote => overlap.promote(SUCCESSOR),
            Step::Event(side) => {
                let position = at[side.index()];
                at[side.index()] += 1;
                let mark = feeds[side.index()][position];
                played.push((side, position, judge(overlap, side, symbol(), stream_kind, mark, stats)));
            }
        }
    }
    (played, told)
}

fn loss() -> impl Strategy<Value = Vec<(usize, Step)>> {
    prop_oneof![
        Just(Vec::new()),
        (0_usize..80, any::<bool>())
            .prop_map(|(at, leader)| vec![(at, Step::Lost(if leader { Side::Leader } else { Side::Successor }))]),
    ]
}

/// The `n`-th trade's id, of any kind.
fn trade_id(n: u64, kind: u8) -> TradeId {
    match kind {
        0 => TradeId::Number(50_093_239_000 + n),
        1 => TradeId::Uuid(Uuid::from_bits(u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(n))),
        _ => TradeId::Hash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn of_trades_none_is_lost_and_none_comes_twice(
        kind in 0_u8..3,
        order in [Just((0..40_u64).collect::<Vec<_>>()).prop_shuffle(), Just((0..40_u64).collect::<Vec<_>>()).prop_shuffle()],
        from in 0_usize..20,
        picks in vec(any::<bool>(), 0..80),
        loss in loss(),
    ) {
        // Each leg has an order of its own: late fills behind later ids on either.
        let ids = [order[0].clone(), order[1][from..].to_vec()];
        let feeds = ids.clone().map(|ids| ids.iter().map(|&n| Mark::Id(trade_id(n, kind))).collect::<Vec<_>>());
        let stats = ConnectionStats::default();
        let steps = steps([feeds[0].len(), feeds[1].len()], &picks, &loss);
        let played = play(&mut overlap(Venue::BybitLinear, StreamKind::TRADE), StreamKind::TRADE, &feeds, &steps, &stats);
        let of = |&(side, at, _): &(Side, usize, bool)| ids[side.index()][at];
        let carried: BTreeSet<u64> = played.iter().map(of).collect();
        let delivered: Vec<u64> = played.iter().filter(|played| played.2).map(of).collect();
        prop_assert_eq!(delivered.iter().copied().collect::<BTreeSet<_>>(), carried, "none lost");
        prop_assert_eq!(delivered.len() as u64 + stats.repeated.get(), played.len() as u64, "each counted");
        prop_assert_eq!(delivered.iter().collect::<BTreeSet<_>>().len(), delivered.len(), "none twice");
        prop_assert_eq!((stats.ahead.get(), stats.window_evictions.get()), (0, 0));
    }

    #[test]
    fn of_quotes_the_furthest_is_always_the_one_delivered_and_none_comes_twice(
        keep in [vec(any::<bool>(), 60), vec(any::<bool>(), 60)],
        from in 0_usize..30,
        restart in prop_oneof![Just(None), (31_usize..60).prop_map(Some)],
        picks in vec(any::<bool>(), 0..120),
        loss in loss(),
    ) {
        // Position in the venue's order to its id; at a restart every leg is told id 1.
        let id = |n: usize| restart.filter(|&restart| n >= restart).map_or(1_000 + n as u64, |restart| (n - restart + 1) as u64);
        let kept = |leg: usize, from: usize| {
            let wanted = |&n: &usize| n == from || keep[leg][n] || Some(n) == restart;
            (from..60).filter(wanted).collect::<Vec<_>>()
        };
        let positions = [kept(0, 0), kept(1, from)];
        let feeds = positions.clone().map(|positions| positions.iter().map(|&n| Mark::Number(id(n))).collect::<Vec<_>>());
        // The successor's first comes before the restart: it is subscribed in the numbering in force.
        let mut steps = steps([feeds[0].len(), feeds[1].len()], &picks, &loss);
        if let Some(at) = steps.iter().position(|&step| step == Step::Event(Side::Successor)) {
            let first = steps.remove(at);
            steps.insert(0, first);
        }
        let stats = ConnectionStats::default();
        let played = play(&mut overlap(Venue::BybitSpot, StreamKind::QUOTE), StreamKind::QUOTE, &feeds, &steps, &stats);
        let mut furthest = None;
        for (side, at, is_delivered) in played {
            let position = positions[side.index()][at];
            let is_new = furthest.is_none_or(|furthest| position > furthest);
            prop_assert_eq!(is_delivered, is_new, "{:?} {} after {:?}", side, position, furthest);
            furthest = furthest.max(Some(position));
        }
    }
}

#[test]
fn an_equal_id_on_either_leg_is_a_repeat_and_a_numbering_that_starts_again_is_taken_once() {
    let stats = ConnectionStats::default();
    let mut overlap = overlap(Venue::BybitLinear, StreamKind::QUOTE);
    let mut comes = |side, id| judge(&mut overlap, side, symbol(), StreamKind::QUOTE, Mark::Number(id), &stats);
    use Side::{Leader, Successor};
    let told = [
        (Leader, 500, true),
        (Successor, 500, false),
        (Leader, 500, false),
        (Leader, 1, true),
        (Leader, 1, false),
        (Successor, 501, false),
        (Leader, 2, true),
        (Successor, 1, false),
        (Successor, 2, false),
        (Successor, 3, true),
        (Leader, 3, false),
        (Successor, 1, true),
    ];
    for (at, (side, id, is_delivered)) in told.into_iter().enumerate() {
        assert_eq!(comes(side, id), is_delivered, "step {at}: {side:?} {id}");
    }
}

#[test]
fn a_late_quote_of_a_leg_that_had_not_spoken_yet_does_not_go_back_behind_a_new_numbering() {
    use Side::{Leader, Successor};
    for late in [(Leader, 1_000, false), (Leader, 999, false), (Leader, 2, true)] {
        let stats = ConnectionStats::default();
        let mut overlap = overlap(Venue::BybitLinear, StreamKind::QUOTE);
        let told = [
            (Successor, 1_000, true),
            (Successor, 1, true),
            late,
            (Leader, 3, true),
            (Successor, 3, false),
            (Leader, 4, true),
        ];
        for (at, (side, id, is_delivered)) in told.into_iter().enumerate() {
            let is = judge(&mut overlap, side, symbol(), StreamKind::QUOTE, Mark::Number(id), &stats);
            assert_eq!(is, is_delivered, "{late:?}, step {at}: {side:?} {id}");
        }
    }
}

/// Levels of a made-up book.
const PRICES: u64 = 6;

/// The venue's book after update `id`: each update sets one level.
fn book_at(id: u64) -> BTreeMap<u64, u64> {
    (1..=id).map(|id| (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).rem_euclid(PRICES)).zip(1..=id).collect()
}

/// Ids cut into batches by these lengths, from `first` to `last`.
fn batches(first: u64, last: u64, lengths: &[u64]) -> Vec<(u64, u64)> {
    let mut lengths = lengths.iter().cycle();
    let mut start = first;
    let mut batches = Vec::new();
    while start <= last {
        let end = (start + lengths.next().unwrap() - 1).min(last);
        batches.push((start, end));
        start = end + 1;
    }
    batches
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn mixed_batches_of_two_legs_are_the_venues_book_after_each_of_them(
        venue in prop_oneof![Just(Venue::BinanceSpot), Just(Venue::BinanceUsdm)],
        lengths in [vec(1_u64..6, 1..8), vec(1_u64..6, 1..8)],
        from in 1_u64..40,
        picks in vec(any::<bool>(), 0..160),
        loss in loss(),
    ) {
        const LAST: u64 = 80;
        let cut = [batches(1, LAST, &lengths[0]), batches(from, LAST, &lengths[1])];
        let stats = ConnectionStats::default();
        let mut overlap = overlap(venue, StreamKind::BOOK);
        let progress = overlap.progress();
        let steps = steps([cut[0].len(), cut[1].len()], &picks, &loss);
        let lost_at = steps.iter().position(|step| matches!(step, Step::Lost(_))).unwrap_or(steps.len());
        let mut at = [0; 2];
        let mut played = play_book(&mut overlap, &cut, (&mut at, &steps[..lost_at]), &stats);
        // What the successor still lacks when the old leg goes: control waits for this to be nothing.
        let unjoined = progress.unjoined.get();
        let before = played.len();
        played.extend(play_book(&mut overlap, &cut, (&mut at, &steps[lost_at..]), &stats));
        let mut book = None;
        let mut last = 0;
        let mut run = (Side::Leader, 0);
        let mut brought = Vec::new();
        for (at, (side, position, delivered)) in played.iter().enumerate() {
            let (start, end) = cut[side.index()][*position];
            brought.push((start, end));
            run = if run.0 == *side { (*side, run.1 + 1) } else { (*side, 1) };
            for &(start, end) in delivered {
                prop_assert!(end > last, "nothing goes back");
                let book = book.get_or_insert_with(|| book_at(start - 1));
                if start > last + 1 && last > 0 {
                    // Only where the old leg went before it had brought what the successor lacks.
                    // Or says nothing while many come.
                    let is_excused = run.1 > usize::from(AHEAD_COUNT_MAX)
                        || at >= before && matches!(steps[lost_at], Step::Lost(Side::Leader)) && (unjoined > 0 || from > last + 1);
                    prop_assert!(is_excused, "a gap from {last} to {start}");
                    let is_there = brought.iter().any(|&(start, end)| start <= last + 1 && end > last);
                    prop_assert!(!is_there, "a gap from {last} to {start}, and what is between has been brought");
                    *book = book_at(start - 1);
                }
                let mut changed: BTreeMap<u64, u64> = book_at(end);
                changed.retain(|_, updated| (start..=end).contains(updated));
                book.extend(changed);
                last = end;
                prop_assert_eq!(&*book, &book_at(end), "after the batch {}..{}", start, end);
            }
        }
        let is_left_behind = unjoined > 0 && played.len() == before;
        let is_first_lost = matches!(steps.get(lost_at), Some(Step::Lost(Side::Leader))) && played.iter().all(|played| played.0 == Side::Leader);
        prop_assert!(last == LAST || is_first_lost || is_left_behind, "the end was reached: {last}");
        let is_own = |(side, position, delivered): &&Batched| delivered.contains(&cut[side.index()][*position]);
        let not_at_once = played.len() - played.iter().filter(is_own).count();
        prop_assert!(stats.repeated.get() + stats.ahead.get() >= not_at_once as u64);
    }

    #[test]
    fn a_gap_that_both_legs_have_is_handed_on_and_one_of_a_single_leg_is_closed_by_the_other(
        lengths in [vec(1_u64..6, 1..8), vec(1_u64..6, 1..8)],
        gap in (20_u64..30, 1_u64..12),
        leader_has_it in any::<bool>(),
        successor_has_it in any::<bool>(),
        picks in vec(any::<bool>(), 0..160),
    ) {
        // Fewer behind the gap than make a leg that says nothing one that is given up.
        const LAST: u64 = 50;
        let missing = gap.0..gap.0 + gap.1;
        let feed = |lengths: &[u64], has_gap: bool| {
            let mut batches = batches(1, LAST, lengths);
            batches.retain(|&(start, last)| !has_gap || last < missing.start || start >= missing.end);
            batches
        };
        let cut = [feed(&lengths[0], leader_has_it), feed(&lengths[1], successor_has_it)];
        let stats = ConnectionStats::default();
        let mut overlap = overlap(Venue::BinanceSpot, StreamKind::BOOK);
        // Both have spoken before the gap comes.
        let mut steps = steps([cut[0].len(), cut[1].len()], &picks, &[]);
        for side in [Side::Successor, Side::Leader] {
            let at = steps.iter().position(|&step| step == Step::Event(side)).unwrap();
            let first = steps.remove(at);
            steps.insert(0, first);
        }
        let played = play_book(&mut overlap, &cut, (&mut [0; 2], &steps), &stats);
        let mut last = 0;
        let mut gaps = 0;
        for &(start, end) in played.iter().flat_map(|played| &played.2) {
            gaps += u32::from(start > last + 1);
            prop_assert!(end > last);
            last = end;
        }
        prop_assert_eq!(last, LAST);
        if !(leader_has_it && successor_has_it) {
            prop_assert_eq!(gaps, 0, "one leg had it all");
        }
    }
}

#[test]
fn while_the_successor_lies_ahead_the_count_says_so_and_once_it_joins_the_count_is_gone() {
    let stats = ConnectionStats::default();
    let mut overlap = overlap(Venue::BinanceUsdm, StreamKind::BOOK);
    let progress = overlap.progress();
    let mut comes = |side, start, last| {
        let mark = Mark::Book { kind: BookKind::Delta, start, last };
        judge(&mut overlap, side, symbol(), StreamKind::BOOK, mark, &stats)
    };
    assert!(!comes(Side::Successor, 110, 120), "before the old leg's first nobody knows where the chain is");
    assert_eq!((progress.unjoined.get(), progress.joined.get()), (1, 0));
    assert!(comes(Side::Leader, 100, 105));
    assert_eq!((progress.unjoined.get(), progress.joined.get()), (1, 0));
    assert!(comes(Side::Leader, 106, 125));
    assert_eq!((progress.unjoined.get(), progress.joined.get()), (0, 1), "the old leg has brought what lay between");
    assert!(comes(Side::Successor, 121, 130), "it goes beyond what is known, and joins");
    assert!(!comes(Side::Leader, 126, 130));
    assert_eq!((stats.ahead.get(), stats.repeated.get()), (1, 1));
}

#[test]
fn an_old_leg_that_has_fallen_silent_holds_a_book_up_for_so_many_batches_and_no_longer() {
    let stats = ConnectionStats::default();
    let mut overlap = overlap(Venue::BinanceSpot, StreamKind::BOOK);
    let mut comes = |side, start, last| {
        let mark = Mark::Book { kind: BookKind::Delta, start, last };
        judge(&mut overlap, side, symbol(), StreamKind::BOOK, mark, &stats)
    };
    let most = u64::from(AHEAD_COUNT_MAX);
    for known in [false, true] {
        for at in 0..most {
            assert!(!comes(Side::Successor, 1_000 + at, 1_000 + at), "known {known}, batch {at}");
        }
        if !known {
            assert!(comes(Side::Leader, 10, 20), "it speaks after all, and the count begins anew");
        }
    }
    assert!(comes(Side::Successor, 1_000 + most, 1_000 + most));
    assert!(comes(Side::Successor, 1_001 + most, 1_001 + most), "and joins from then on");
    assert!(!comes(Side::Leader, 21, 30), "what is behind now");
    assert_eq!(stats.ahead.get(), 2 * most + 1, "the one behind which the others went, too");
}

#[test]
fn a_batch_says_where_it_starts_by_its_first_id_or_by_the_one_before_it() {
    let event = |first, previous| BookUpdate {
        meta: crate::market::Meta {
            symbol: symbol(),
            received: crate::market::Received::default(),
            event_time: None,
            matching_time: None,
        },
        kind: BookKind::Delta,
        ids: crate::market::SequenceIds { first, last: 160, previous, cross: None },
        depth: 0,
        state: None,
        bids: &[],
        asks: &[],
    };
    assert!(matches!(event(157, None).mark(), Mark::Book { start: 157, last: 160, .. }));
    assert!(matches!(event(157, Some(149)).mark(), Mark::Book { start: 150, last: 160, .. }));
}

/// A book's messages on one connection: a snapshot, then changes, with snapshots in between where `restarts` says so.
fn based(first: u64, count: u64, restarts: &[bool]) -> Vec<(BookKind, u64)> {
    let mut id = first;
    let mut feed = vec![(BookKind::Snapshot, first)];
    for at in 1..count {
        let is_snapshot = restarts.get(usize::try_from(at).unwrap()).copied().unwrap_or(false);
        id = if is_snapshot { 1 } else { id + 1 };
        feed.push((if is_snapshot { BookKind::Snapshot } else { BookKind::Delta }, id));
    }
    feed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_book_with_snapshots_of_its_own_is_never_mixed_and_its_chain_is_never_broken(
        restarts in [vec(prop::bool::weighted(0.1), 40), vec(prop::bool::weighted(0.1), 40)],
        joined in 0_u64..30,
        picks in vec(any::<bool>(), 0..80),
        loss in loss(),
    ) {
        let told = [based(1_000, 40, &restarts[0]), based(1_000 + joined, 40, &restarts[1])];
        let marks = |feed: &Vec<(BookKind, u64)>| {
            feed.iter().map(|&(kind, last)| Mark::Book { kind, start: last, last }).collect::<Vec<_>>()
        };
        let feeds = [marks(&told[0]), marks(&told[1])];
        let stats = ConnectionStats::default();
        let mut overlap = overlap(Venue::BybitLinear, BOOK_50);
        let steps = steps([40, 40], &picks, &loss);
        let (played, heard) = play_and_hear(&mut overlap, BOOK_50, &feeds, &steps, &stats);
        let is_lost = |side| steps.contains(&Step::Lost(side));
        let mut before: Option<(Side, u64)> = None;
        let mut has_passed = false;
        for &(side, at, is_delivered) in &played {
            let (kind, id) = told[side.index()][at];
            has_passed |= side == Side::Successor;
            if side == Side::Successor {
                prop_assert!(is_delivered, "its first is a snapshot: from then on it leads");
            } else if !has_passed {
                prop_assert!(is_delivered, "alone");
            }
            if is_delivered {
                // The old leg's changes join to its own first snapshot, which came before the overlap.
                let is_joined = before == Some((side, id.wrapping_sub(1))) || kind == BookKind::Snapshot;
                prop_assert!(is_joined, "{:?} {} after {:?}", side, id, before);
                before = Some((side, id));
            }
        }
        if has_passed && is_lost(Side::Successor) {
            prop_assert_eq!(heard, Some((0, true)), "control is told that these books must be subscribed again");
        }
        let delivered = played.iter().filter(|played| played.2).count() as u64;
        prop_assert_eq!(delivered + stats.repeated.get() + stats.ahead.get(), played.len() as u64);
    }

    #[test]
    fn without_identity_one_leg_speaks_at_a_time_and_the_lead_passes_once(
        picks in vec(any::<bool>(), 0..60),
        promoted in 0_usize..60,
        loss in loss(),
    ) {
        let feeds = [vec![Mark::Nothing; 30], vec![Mark::Nothing; 30]];
        let stats = ConnectionStats::default();
        let mut at = loss;
        at.push((promoted, Step::Promote));
        let steps = steps([30, 30], &picks, &at);
        let mut overlap = overlap(Venue::BinanceSpot, StreamKind::TICKER);
        let played = play(&mut overlap, StreamKind::TICKER, &feeds, &steps, &stats);
        let (mut is_promoted, mut has_passed, mut lost) = (false, false, [false; 2]);
        let mut events = played.iter();
        for step in steps {
            match step {
                Step::Promote => is_promoted = true,
                Step::Lost(side) => lost[side.index()] = true,
                Step::Event(side) => {
                    let &(_, _, is_delivered) = events.next().unwrap();
                    has_passed |= side == Side::Successor && (is_promoted || lost[0]);
                    let leads = match side {
                        Side::Leader => !has_passed || lost[1],
                        Side::Successor => has_passed,
                    };
                    prop_assert_eq!(is_delivered, leads, "{:?}", side);
                }
            }
        }
    }
}

#[test]
fn a_stream_kind_that_the_overlap_was_not_told_of_has_one_speaker() {
    for stream_kind in [StreamKind::TRADE, StreamKind::BOOK, StreamKind::TICKER] {
        let stats = ConnectionStats::default();
        let mut overlap = overlap(Venue::BinanceSpot, StreamKind::QUOTE);
        let mark = Mark::Id(TradeId::Number(1));
        assert!(judge(&mut overlap, Side::Leader, symbol(), stream_kind, mark, &stats));
        assert!(!judge(&mut overlap, Side::Successor, symbol(), stream_kind, mark, &stats));
        overlap.promote(SUCCESSOR);
        assert!(!judge(&mut overlap, Side::Leader, symbol(), stream_kind, mark, &stats));
        assert!(judge(&mut overlap, Side::Successor, symbol(), stream_kind, mark, &stats));
        let _ = overlap.leave(Side::Successor.place());
        assert!(judge(&mut overlap, Side::Leader, symbol(), stream_kind, mark, &stats));
    }
}

#[test]
fn symbols_do_not_share_what_is_known_of_them() {
    let stats = ConnectionStats::default();
    let mut overlap = overlap(Venue::BinanceSpot, StreamKind::QUOTE);
    for index in [0, 1, SYMBOL_COUNT_MAX - 1] {
        let symbol = Symbol::new(index).unwrap();
        assert!(judge(&mut overlap, Side::Leader, symbol, StreamKind::QUOTE, Mark::Number(7), &stats));
        assert!(!judge(&mut overlap, Side::Successor, symbol, StreamKind::QUOTE, Mark::Number(7), &stats));
    }
}

#[test]
fn a_core_has_room_for_so_many_overlaps_and_a_slot_is_in_one_at_a_time() {
    let mut overlaps = Overlaps::default();
    let of = |id: u32, leader, successor| Box::new(Overlap::new(id, Venue::BybitSpot, leader, successor, []));
    for id in 0..u32::try_from(OVERLAP_COUNT_MAX).unwrap() {
        let first = u16::try_from(2 * id).unwrap();
        overlaps.begin(of(id, first, first + 1), |_| true).unwrap();
    }
    assert_eq!(overlaps.begin(of(99, 98, 99), |_| true).unwrap_err().id(), 99, "no room");
    assert_eq!(overlaps.end(3).unwrap().id(), 3);
    assert!(overlaps.end(3).is_none(), "twice");
    for (id, leader, successor, why) in
        [(0, 98, 99, "the id"), (50, 1, 99, "a slot"), (50, 98, 4, "a slot"), (50, 98, 98, "one slot for both")]
    {
        assert!(overlaps.begin(of(id, leader, successor), |_| true).is_err(), "{why}");
    }
    assert!(overlaps.begin(of(50, 98, 99), |_| true).is_ok());
    assert!(!overlaps.promote(98), "the old leg");
    assert!(overlaps.promote(99));
}

#[test]
fn the_slot_of_a_leg_that_is_gone_belongs_to_a_stranger() {
    let mut overlaps = Overlaps::default();
    let overlap = Box::new(Overlap::new(1, Venue::BybitSpot, 10, 11, []));
    let [Some((10, leader)), Some((11, successor))] = overlaps.begin(overlap, |slot| slot == 10).unwrap() else {
        panic!("both have a role")
    };
    assert_eq!(overlaps.attach(11, 1, None), Ok(Some(successor)));
    assert_eq!(overlaps.lose(successor), Some((10, false)), "the old leg leads again");
    assert_eq!(overlaps.attach(11, 1, None), Ok(None));
    assert!(!overlaps.promote(11));
    assert_eq!(overlaps.lose(leader), None);
}

#[test]
fn once_the_other_leg_is_gone_its_trades_are_still_known_and_new_ones_push_none_out() {
    let stats = ConnectionStats::default();
    let mut overlap = overlap(Venue::BinanceSpot, StreamKind::TRADE);
    let judge = |overlap: &mut Overlap, side, n| {
        judge(overlap, side, symbol(), StreamKind::TRADE, Mark::Id(TradeId::Number(n)), &stats)
    };
    for n in 0..1_000 {
        assert!(judge(&mut overlap, Side::Leader, n));
    }
    let _ = overlap.leave(Side::Leader.place());
    // More than the window holds, by the one that is left; what the other had brought is known to the end.
    for n in 1_000..2 * crate::limits::TRADE_WINDOW_IDS as u64 {
        assert!(judge(&mut overlap, Side::Successor, n));
    }
    for n in 0..1_000 {
        assert!(!judge(&mut overlap, Side::Successor, n), "trade {n} came from the leg that is gone");
    }
    assert_eq!((stats.window_evictions.get(), stats.repeated.get()), (0, 1_000));
}
