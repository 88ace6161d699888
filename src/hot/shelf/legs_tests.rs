//! Tests of books of legs: by a model of a venue, of legs that lag, lose messages, are cut, fall silent and are subscribed again,
//! that what is published is true, never goes back and is live whenever some leg's book is; and the edges one by one.

use super::*;
use crate::book::BookSettings;
use crate::hot::board::Board;
use crate::market::{Backlog, Meta, Price, Qty, Received, SequenceIds, Venue};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

/// Levels a side that the model's venue has.
const LEVELS: i64 = 6;
const DEPTH: u16 = 50;

fn symbol() -> Symbol {
    Symbol::new(9).unwrap()
}

fn slot(crossed_updates_max: u32) -> Slot<VenueSequence> {
    let settings = BookSettings { top_levels: 2, crossed_updates_max, ..BookSettings::for_depth(DEPTH) };
    Slot::new(symbol(), DEPTH, VenueSequence::of(Venue::BybitLinear), settings)
}

/// A shelf that keeps one symbol's book for so many legs.
fn shelf(legs: usize) -> Shelf {
    let mut shelf = Shelf::new(Arc::new(Board::new()));
    shelf.add(Box::new(slot(0)), MonoNs(1));
    assert!(shelf.add_legs(Box::new(LegBooks::new(symbol(), legs - 1, || slot(0)))).is_none());
    shelf
}

/// What each change of the truth sets: side (bids first), distance from the middle, quantity.
fn change(seq: u64) -> (usize, i64, i64) {
    let mixed = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let qty = if mixed.is_multiple_of(3) { 0 } else { i64::try_from(seq).unwrap() };
    (usize::try_from(mixed / 3 % 2).unwrap(), i64::try_from(mixed / 6 % 6).unwrap(), qty)
}

type Sides = [[i64; 6]; 2];

/// The venue's book at a `seq`: quantities by side and distance.
fn truth(seq: u64) -> Sides {
    (1..=seq).map(change).fold([[0; 6]; 2], |mut sides, (side, at, qty)| {
        sides[side][usize::try_from(at).unwrap()] = qty;
        sides
    })
}

fn level(side: usize, at: i64, qty: i64) -> Level {
    let price = if side == 0 { 1_000 - at } else { 1_001 + at };
    Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) }
}

/// The levels by which one book differs from another.
fn differing(from: &Sides, to: &Sides) -> [Vec<Level>; 2] {
    std::array::from_fn(|side| {
        let pairs = (0..LEVELS).zip(from[side].iter().zip(&to[side]));
        pairs.filter(|(_, (before, now))| before != now).map(|(at, (_, &now))| level(side, at, now)).collect()
    })
}

fn levels(sides: &Sides) -> [Vec<Level>; 2] {
    differing(&[[0; 6]; 2], sides)
}

/// The best `count` levels of both sides.
fn best(sides: &Sides, count: usize) -> [Vec<Level>; 2] {
    levels(sides).map(|side| side.into_iter().take(count).collect())
}

fn meta(now: MonoNs) -> Meta {
    let received = Received { mono: now, wall_ns: 0, backlog: Backlog::NONE };
    Meta { symbol: symbol(), received, event_time: None, matching_time: None }
}

/// A message about the truth at `seq`.
fn tell(
    shelf: &mut Shelf,
    from: (u16, u8),
    kind: BookKind,
    (u, seq): (u64, u64),
    [bids, asks]: &[Vec<Level>; 2],
    now: MonoNs,
) -> Taken {
    let ids = SequenceIds { first: u, last: u, previous: None, cross: Some(seq) };
    let update = BookUpdate { meta: meta(now), kind, ids, depth: DEPTH, state: None, bids, asks };
    shelf.update(from, &update).expect("it is kept")
}

fn snapshot(shelf: &mut Shelf, from: u8, u: u64, seq: u64, now: u64) -> Taken {
    let from = (u16::from(from), from);
    tell(shelf, from, BookKind::Snapshot, (u, seq), &levels(&truth(seq)), MonoNs(now))
}

/// The change from one `seq` to another, by this number of the leg's own.
fn delta(shelf: &mut Shelf, from: u8, u: u64, (before, seq): (u64, u64), now: u64) -> Taken {
    let levels = differing(&truth(before), &truth(seq));
    tell(shelf, (u16::from(from), from), BookKind::Delta, (u, seq), &levels, MonoNs(now))
}

fn cut(shelf: &mut Shelf, from: u8, now: u64) -> Option<Step> {
    shelf.cut_off_leg(symbol(), u16::from(from), MonoNs(now))
}

/// State and `seq` as published; what is live is the truth there.
fn published(shelf: &Shelf) -> (BookState, u64) {
    let view = shelf.view(symbol()).unwrap();
    let seq = view.ids.and_then(|ids| ids.cross).unwrap_or(0);
    if view.state.is_live() {
        let held = [Side::Buy, Side::Sell].map(|side| view.book.levels(side).collect::<Vec<_>>());
        assert_eq!(held, levels(&truth(seq)), "at {seq}");
    }
    let row = shelf.board.get(symbol()).unwrap();
    assert_eq!(row.state, view.state, "the board says the same");
    (view.state, seq)
}

const LIVE: BookState = BookState::Live;
const CUT: BookState = BookState::Stale(StaleReason::Disconnected);

fn is_applied(taken: Taken) -> bool {
    matches!(taken, Taken { own: BookState::Live, news: Some(Step::Applied(_)) })
}

const QUIET: Taken = Taken { own: LIVE, news: None };
const WITHOUT_BOOK: Taken = Taken { own: BookState::Waiting, news: None };

#[test]
fn the_furthest_is_published_and_one_that_lags_tells_nothing() {
    let mut shelf = shelf(2);
    assert!(matches!(snapshot(&mut shelf, 0, 70, 10, 1).news, Some(Step::Rebuilt(_))));
    assert_eq!(snapshot(&mut shelf, 1, 3, 8, 2), QUIET);
    assert_eq!(delta(&mut shelf, 1, 4, (8, 10), 3), QUIET, "as far is not further");
    assert!(is_applied(delta(&mut shelf, 1, 5, (10, 11), 4)));
    assert_eq!((published(&shelf), shelf.feeder(symbol())), ((LIVE, 11), 1));
    assert!(is_applied(delta(&mut shelf, 0, 71, (10, 14), 5)));
    assert_eq!((published(&shelf), shelf.feeder(symbol())), ((LIVE, 14), 0));
    assert_eq!(delta(&mut shelf, 1, 6, (11, 13), 6), QUIET);
    assert_eq!((shelf.counts.takeovers, shelf.counts.beside, shelf.counts.without_book), (2, 3, 0));
    let row = shelf.board.get(symbol()).unwrap();
    assert_eq!((row.legs_in_need, row.messages, row.since), (0, 6, MonoNs(1)), "since it is live");
}

#[test]
fn a_leg_that_is_lost_costs_nothing_where_another_is_as_far_and_waits_for_one_that_is_not() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 0, 1, 10, 1);
    snapshot(&mut shelf, 1, 1, 10, 1);
    assert_eq!(cut(&mut shelf, 0, 2), None, "the other is as far");
    assert_eq!((published(&shelf), shelf.feeder(symbol())), ((LIVE, 10), 1));
    // It comes back further on, and is lost: the book stays as it stands.
    snapshot(&mut shelf, 0, 9, 14, 3);
    assert_eq!(published(&shelf), (LIVE, 14));
    assert_eq!(cut(&mut shelf, 0, 4), None);
    assert_eq!(published(&shelf), (LIVE, 14));
    assert_eq!(delta(&mut shelf, 1, 2, (10, 13), 5), QUIET);
    assert_eq!(published(&shelf), (LIVE, 14));
    assert!(is_applied(delta(&mut shelf, 1, 3, (13, 15), 6)), "it has come further");
    assert_eq!(published(&shelf), (LIVE, 15));
    assert_eq!(cut(&mut shelf, 1, 7), Some(Step::Stale(StaleReason::Disconnected)), "nobody is left");
    assert_eq!(published(&shelf), (CUT, 15));
    assert!(
        matches!(snapshot(&mut shelf, 1, 1, 12, 8).news, Some(Step::Rebuilt(_))),
        "from stale it may begin anywhere"
    );
}

#[test]
fn a_held_book_is_told_stale_when_the_last_live_leg_is_lost_or_none_comes_as_far_within_a_second() {
    for is_late in [false, true] {
        let mut shelf = shelf(2);
        snapshot(&mut shelf, 1, 1, 4, 1);
        snapshot(&mut shelf, 0, 1, 10, 1);
        // A number is left out.
        assert_eq!(delta(&mut shelf, 0, 3, (11, 12), 2), Taken { own: BookState::Stale(StaleReason::Gap), news: None });
        assert_eq!((published(&shelf), shelf.board.get(symbol()).unwrap().legs_in_need), ((LIVE, 10), 0b1));
        assert_eq!(delta(&mut shelf, 1, 2, (4, 5), 2 + LEG_BOOK_WAIT_NS), QUIET, "not yet");
        let gap = Some(Step::Stale(StaleReason::Gap));
        if is_late {
            assert_eq!(delta(&mut shelf, 1, 3, (5, 6), 3 + LEG_BOOK_WAIT_NS), QUIET, "more may lie behind it");
            assert_eq!(shelf.next_overdue(0, MonoNs(4 + LEG_BOOK_WAIT_NS)), Some((symbol(), gap)));
            assert_eq!(published(&shelf), (BookState::Stale(StaleReason::Gap), 10));
            let next = delta(&mut shelf, 1, 4, (6, 7), 5 + LEG_BOOK_WAIT_NS);
            assert!(matches!(next.news, Some(Step::Rebuilt(_))), "{next:?}");
            assert_eq!(published(&shelf), (LIVE, 7));
        } else {
            assert_eq!(cut(&mut shelf, 1, 3), gap);
            assert_eq!(published(&shelf), (BookState::Stale(StaleReason::Gap), 10));
        }
        // Its own snapshot makes it live again.
        snapshot(&mut shelf, 0, 77, 20, 6 + LEG_BOOK_WAIT_NS);
        assert_eq!((published(&shelf), shelf.board.get(symbol()).unwrap().legs_in_need), ((LIVE, 20), 0));
    }
}

#[test]
fn behind_a_stale_book_a_leg_that_says_nothing_is_not_believed() {
    const HOUR: u64 = 3_600_000_000_000;
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 1, 1, 5, 1);
    snapshot(&mut shelf, 0, 1, 10, 1);
    // A number is left out, an hour after the other leg has spoken last.
    let gap = BookState::Stale(StaleReason::Gap);
    assert_eq!(delta(&mut shelf, 0, 3, (11, 12), HOUR), Taken { own: gap, news: None });
    let told = shelf.next_overdue(0, MonoNs(HOUR + LEG_BOOK_WAIT_NS + 1));
    assert_eq!(told, Some((symbol(), Some(Step::Stale(StaleReason::Gap)))));
    let next = delta(&mut shelf, 0, 4, (12, 13), HOUR + LEG_BOOK_WAIT_NS + 2);
    assert_eq!((next, published(&shelf)), (Taken { own: gap, news: None }, (gap, 10)), "not a book of an hour ago");
    assert!(matches!(delta(&mut shelf, 1, 2, (5, 14), 2 * HOUR).news, Some(Step::Rebuilt(_))), "it speaks");
    assert_eq!(published(&shelf), (LIVE, 14));
}

#[test]
fn a_leg_that_comes_back_to_a_book_in_need_is_asked_for() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 0, 1, 10, 1);
    snapshot(&mut shelf, 1, 1, 10, 1);
    assert_eq!(cut(&mut shelf, 1, 2), None);
    shelf.tick_changed(symbol(), MonoNs(3));
    let in_need = |shelf: &Shelf| shelf.board.get(symbol()).unwrap().legs_in_need;
    assert_eq!(in_need(&shelf), 0b01, "nobody is there to subscribe the other");
    delta(&mut shelf, 1, 9, (10, 11), 4);
    assert_eq!(in_need(&shelf), 0b11, "its snapshot was not for this book");
}

#[test]
fn a_gap_of_one_leg_asks_for_that_leg_alone_and_is_told_to_nobody() {
    let mut shelf = shelf(3);
    for leg in 0..3 {
        snapshot(&mut shelf, leg, 1, 10, 1);
    }
    shelf.take_changed();
    assert_eq!(delta(&mut shelf, 1, 3, (10, 12), 2), Taken { own: BookState::Stale(StaleReason::Gap), news: None });
    assert!(shelf.take_changed(), "the cold side is woken");
    assert_eq!((published(&shelf), shelf.board.get(symbol()).unwrap().legs_in_need), ((LIVE, 10), 0b010));
    assert!(is_applied(delta(&mut shelf, 2, 2, (10, 12), 3)));
    assert_eq!(delta(&mut shelf, 0, 4, (11, 12), 3).news, None);
    let row = shelf.board.get(symbol()).unwrap();
    assert_eq!((row.legs_in_need, row.needs, row.since), (0b011, None, MonoNs(1)));
    assert_eq!(cut(&mut shelf, 0, 4), None);
    assert_eq!(shelf.board.get(symbol()).unwrap().legs_in_need, 0b010, "a lost one subscribes by itself");
}

#[test]
fn a_numbering_that_starts_again_moves_nothing_back() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 0, 900, 10, 1);
    snapshot(&mut shelf, 1, 900, 10, 1);
    // As the venue says it: `u` is 1, `seq` goes on, whatever the message calls itself.
    let whole = levels(&truth(12));
    let taken = tell(&mut shelf, (1, 1), BookKind::Delta, (1, 12), &whole, MonoNs(2));
    assert!(matches!(taken.news, Some(Step::Rebuilt(_))));
    assert_eq!(published(&shelf), (LIVE, 12));
    assert_eq!(delta(&mut shelf, 0, 901, (10, 11), 3), QUIET, "the old numbering is behind");
    assert!(is_applied(delta(&mut shelf, 0, 902, (11, 13), 4)));
    assert!(is_applied(delta(&mut shelf, 1, 2, (12, 14), 5)));
    assert_eq!(published(&shelf), (LIVE, 14));
}

#[test]
fn where_seq_itself_falls_on_every_leg_the_book_is_told_stale_once_and_goes_on() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 0, 900, 110, 1);
    snapshot(&mut shelf, 1, 900, 100, 1);
    assert_eq!(snapshot(&mut shelf, 1, 1, 3, 2), QUIET, "the other is further");
    let taken = snapshot(&mut shelf, 0, 1, 4, 3);
    assert_eq!(taken, Taken { own: LIVE, news: Some(Step::Stale(StaleReason::WentBack)) });
    assert_eq!(published(&shelf).0, BookState::Stale(StaleReason::WentBack));
    let taken = delta(&mut shelf, 1, 2, (3, 5), 4);
    assert!(matches!(taken.news, Some(Step::Rebuilt(changes)) if changes.contains(IN_DOUBT)), "{taken:?}");
    assert_eq!(published(&shelf), (LIVE, 5));
    assert!(is_applied(delta(&mut shelf, 0, 2, (4, 6), 5)));
    assert_eq!(published(&shelf), (LIVE, 6));
}

#[test]
fn a_snapshot_that_is_older_than_what_was_published_leaves_it_to_a_leg_that_is_as_far() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 0, 1, 20, 1);
    snapshot(&mut shelf, 1, 1, 20, 1);
    assert_eq!(snapshot(&mut shelf, 0, 9, 15, 2), QUIET, "subscribed again at a server that lags");
    assert_eq!((published(&shelf), shelf.feeder(symbol())), ((LIVE, 20), 1));
    assert!(is_applied(delta(&mut shelf, 0, 10, (15, 21), 3)));
    assert_eq!(published(&shelf), (LIVE, 21));
}

#[test]
fn a_book_whose_levels_are_wrong_is_never_held() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 1, 1, 5, 1);
    snapshot(&mut shelf, 0, 1, 10, 1);
    let crossed = [vec![level(1, 3, 7)], vec![]];
    let taken = tell(&mut shelf, (0, 0), BookKind::Delta, (2, 11), &crossed, MonoNs(2));
    assert_eq!(taken.news, Some(Step::Stale(StaleReason::Crossed)), "the other has not come as far");
    assert!(matches!(delta(&mut shelf, 1, 2, (5, 6), 3).news, Some(Step::Rebuilt(_))));
    assert_eq!(published(&shelf), (LIVE, 6));
    snapshot(&mut shelf, 0, 1, 6, 4);
    let taken = tell(&mut shelf, (1, 1), BookKind::Delta, (3, 7), &crossed, MonoNs(5));
    assert_eq!(taken, Taken { own: BookState::Stale(StaleReason::Crossed), news: None }, "the other is as far");
    assert_eq!((published(&shelf), shelf.feeder(symbol())), ((LIVE, 6), 0));
}

#[test]
fn a_leg_without_a_book_is_counted_and_takes_that_of_one_that_is_lost() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 0, 1, 10, 1);
    snapshot(&mut shelf, 1, 1, 11, 1);
    assert_eq!(delta(&mut shelf, 2, 1, (39, 40), 2), WITHOUT_BOOK);
    assert_eq!((published(&shelf), shelf.counts.without_book), ((LIVE, 11), 1));
    assert_eq!(cut(&mut shelf, 0, 3), None);
    assert!(matches!(snapshot(&mut shelf, 2, 2, 41, 4).news, Some(Step::Rebuilt(_))));
    assert_eq!(published(&shelf), (LIVE, 41));
    // More of them, as for a rotation; what there is no room for comes back, and so do all in the end.
    assert!(shelf.add_legs(Box::new(LegBooks::new(symbol(), 1, || slot(0)))).unwrap().books().next().is_none());
    snapshot(&mut shelf, 3, 1, 42, 5);
    assert_eq!((published(&shelf), shelf.counts.without_book), ((LIVE, 42), 1));
    let more = shelf.add_legs(Box::new(LegBooks::new(symbol(), 3, || slot(0)))).unwrap();
    assert_eq!(more.books().count(), 2);
    assert!(shelf.remove(symbol()).is_some());
    assert_eq!(shelf.remove_legs(symbol()).unwrap().books().count(), 3);
    assert_eq!(shelf.add_legs(Box::new(LegBooks::new(symbol(), 1, || slot(0)))).unwrap().books().count(), 1, "no book");
}

#[test]
fn streams_that_have_moved_to_other_sockets_take_the_books_that_were_fed_longest_ago() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 0, 1, 10, 1);
    snapshot(&mut shelf, 1, 1, 10, 1);
    // Nobody is lost: the old sockets are there, and carry other streams.
    let told = |shelf: &mut Shelf, from: (u16, u8), kind, u, seq: u64, now| {
        let levels =
            if kind == BookKind::Delta { differing(&truth(seq - 1), &truth(seq)) } else { levels(&truth(seq)) };
        tell(shelf, from, kind, (u, seq), &levels, MonoNs(now))
    };
    assert_eq!(told(&mut shelf, (6, 0), BookKind::Delta, 2, 11, 2), WITHOUT_BOOK, "a change has nothing to join");
    assert!(matches!(told(&mut shelf, (6, 0), BookKind::Snapshot, 1, 12, 3).news, Some(Step::Rebuilt(_))));
    assert!(matches!(told(&mut shelf, (7, 1), BookKind::Snapshot, 1, 13, 4).news, Some(Step::Rebuilt(_))));
    assert_eq!(told(&mut shelf, (6, 0), BookKind::Delta, 2, 13, 5), QUIET);
    assert!(is_applied(told(&mut shelf, (7, 1), BookKind::Delta, 2, 14, 6)));
    assert_eq!((published(&shelf), shelf.counts.without_book), ((LIVE, 14), 1));
    assert_eq!(cut(&mut shelf, 0, 7), None, "it feeds none any more");
    assert!(shelf.fed_by(0, 0).is_none() && shelf.fed_by(1, 0).is_none());
}

#[test]
fn what_is_held_or_behind_is_settled_in_time_though_nothing_comes() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 1, 1, 5, 1);
    snapshot(&mut shelf, 0, 1, 10, 1);
    assert!(!shelf.may_be_held());
    assert_eq!(cut(&mut shelf, 0, 2), None);
    assert!(shelf.may_be_held());
    assert_eq!(shelf.next_overdue(0, MonoNs(2 + LEG_BOOK_WAIT_NS)), None, "not yet");
    let told = shelf.next_overdue(0, MonoNs(3 + LEG_BOOK_WAIT_NS));
    assert_eq!(told, Some((symbol(), Some(Step::Stale(StaleReason::Disconnected)))));
    assert_eq!(published(&shelf), (CUT, 10));
    assert_eq!((shelf.next_overdue(0, MonoNs(9 + LEG_BOOK_WAIT_NS)), shelf.may_be_held()), (None, false));
    assert!(matches!(delta(&mut shelf, 1, 2, (5, 6), 4).news, Some(Step::Rebuilt(_))), "it speaks");
    // One that has gone back.
    assert_eq!(snapshot(&mut shelf, 1, 1, 4, 5).news, Some(Step::Stale(StaleReason::WentBack)));
    assert!(matches!(shelf.next_overdue(0, MonoNs(6)), Some((_, Some(Step::Rebuilt(_))))));
    assert_eq!(published(&shelf), (LIVE, 4));
}

#[test]
fn what_is_said_of_the_symbol_from_outside_is_said_of_every_legs_book() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 1, 1, 5, 1);
    snapshot(&mut shelf, 0, 1, 10, 1);
    cut(&mut shelf, 0, 2);
    let outcome = shelf.quarantine(symbol(), StaleReason::Disconnected, MonoNs(3)).unwrap();
    assert!(outcome.is_news(), "what was held was live");
    assert_eq!(published(&shelf).0, CUT);
    assert_eq!(
        delta(&mut shelf, 1, 2, (5, 6), 4).own,
        BookState::Stale(StaleReason::NoSnapshot),
        "its own is stale too"
    );
    snapshot(&mut shelf, 1, 1, 11, 5);
    assert_eq!(published(&shelf), (LIVE, 11));
    assert!(shelf.tick_changed(symbol(), MonoNs(6)).unwrap().is_news());
    assert_eq!(published(&shelf).0, BookState::Stale(StaleReason::TickChanged));
    let in_need = |shelf: &Shelf| shelf.board.get(symbol()).unwrap().legs_in_need;
    assert_eq!(in_need(&shelf), 0b10, "the other has no leg that could be subscribed again");
    assert_eq!(delta(&mut shelf, 0, 5, (12, 13), 7).news, None);
    snapshot(&mut shelf, 0, 6, 13, 8);
    assert_eq!((published(&shelf), in_need(&shelf)), ((LIVE, 13), 0b10));
}

#[test]
fn a_book_takes_so_much_memory_for_each_leg() {
    let kib = |depth| {
        let settings = BookSettings::for_depth(depth);
        Slot::new(symbol(), depth, VenueSequence::of(Venue::BybitSpot), settings).heap_bytes().div_ceil(1_024)
    };
    assert_eq!([50, 200, 1_000].map(kib), [70, 79, 129], "as the README has it");
}

#[test]
fn a_legs_book_is_told_as_a_whole_where_it_is_live_and_keeps_what_its_stream_does() {
    let mut shelf = shelf(2);
    snapshot(&mut shelf, 0, 1, 10, 1);
    snapshot(&mut shelf, 1, 7, 30, 1);
    let like = BookUpdate {
        meta: meta(MonoNs(2)),
        kind: BookKind::Delta,
        ids: SequenceIds::default(),
        depth: DEPTH,
        state: None,
        bids: &[],
        asks: &[],
    };
    for (from, u, seq) in [(0, 1, 10), (1, 7, 30)] {
        let whole = shelf.whole(from, &like).unwrap();
        assert_eq!((whole.kind, whole.ids.last, whole.state), (BookKind::Snapshot, u, Some(LIVE)));
        assert_eq!([whole.bids.to_vec(), whole.asks.to_vec()], levels(&truth(seq)));
    }
    assert!(shelf.whole(2, &like).is_none(), "it has none");
    cut(&mut shelf, 0, 2);
    assert!(shelf.whole(0, &like).is_none());
}

// ---------------------------------------------------------------------------------------------- by chance

/// A leg as the venue sees it.
#[derive(Clone, Copy, Debug)]
struct Leg {
    /// Its connection's slot; none while it is lost.
    slot: Option<u16>,
    /// Number and `seq` of its last message, sent or left out.
    u: u64,
    seq: u64,
    /// Its topic says nothing until it is subscribed again.
    is_silent: bool,
}

struct Chance {
    shelf: Shelf,
    random: StdRng,
    now: u64,
    venue: u64,
    next_slot: u16,
    legs: Vec<Leg>,
    /// The last that the strategy was told: state and `seq`.
    told: (BookState, u64),
    /// What is published is behind for the moment.
    was_back: bool,
    turns: [u64; 3],
}

impl Chance {
    fn new(seed: u64, count: usize) -> Self {
        let leg = Leg { slot: None, u: 0, seq: 0, is_silent: false };
        Self {
            shelf: shelf(count),
            random: StdRng::seed_from_u64(seed),
            now: 1,
            venue: 20,
            next_slot: 0,
            legs: vec![leg; count],
            told: (BookState::Waiting, 0),
            was_back: false,
            turns: [0; 3],
        }
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.random.random_range(0..count) == 0
    }

    /// A snapshot of a server that may lag.
    fn snapshot(&mut self, at: usize, u: u64) {
        let seq = self.venue - self.random.random_range(0..4_u64);
        let Some(slot) = self.legs[at].slot else { return };
        self.legs[at] = Leg { slot: Some(slot), u, seq, is_silent: false };
        let from = (slot, u8::try_from(at).unwrap());
        let now = MonoNs(self.now);
        let taken = tell(&mut self.shelf, from, BookKind::Snapshot, (u, seq), &levels(&truth(seq)), now);
        self.check(taken.news, "a snapshot");
    }

    fn send(&mut self, at: usize) {
        let Leg { slot: Some(slot), u, seq, is_silent: false } = self.legs[at] else { return };
        if seq == self.venue {
            return;
        }
        let to = self.random.random_range(seq + 1..=self.venue);
        (self.legs[at].u, self.legs[at].seq) = (u + 1, to);
        if self.one_in(40) {
            return;
        }
        let levels = differing(&truth(seq), &truth(to));
        let from = (slot, u8::try_from(at).unwrap());
        let taken = tell(&mut self.shelf, from, BookKind::Delta, (u + 1, to), &levels, MonoNs(self.now));
        self.check(taken.news, "a change");
    }

    fn step(&mut self) {
        self.now += 1_000_000;
        self.venue += self.random.random_range(0..3_u64);
        let in_need = self.shelf.board.get(symbol()).unwrap().legs_in_need;
        for at in 0..self.legs.len() {
            let leg = self.legs[at];
            match leg.slot {
                None if self.one_in(8) => {
                    self.next_slot += 1;
                    self.legs[at].slot = Some(self.next_slot);
                    let u = self.random.random_range(2..500);
                    self.snapshot(at, u);
                }
                None => {}
                Some(slot) if self.one_in(60) => {
                    self.legs[at].slot = None;
                    let news = self.shelf.cut_off_leg(symbol(), slot, MonoNs(self.now));
                    self.check(news, "a loss");
                }
                Some(_) if (in_need >> at & 1 == 1 || leg.is_silent) && self.one_in(6) => {
                    let u = self.random.random_range(2..500);
                    self.snapshot(at, u);
                }
                Some(_) if self.one_in(60) => self.legs[at].is_silent = true,
                Some(_) if self.one_in(60) => self.snapshot(at, 1),
                Some(_) => self.send(at),
            }
        }
    }

    fn check(&mut self, news: Option<Step>, what: &str) {
        let (state, seq) = published(&self.shelf);
        let (told_state, told_seq) = self.told;
        let what = format!("{what} at {}: {:?} then {:?}, {news:?}", self.now, self.told, (state, seq));
        if state.is_live() && told_state.is_live() {
            assert!(seq >= told_seq, "it goes back: {what}");
        }
        let (now, before) = (truth(seq), truth(told_seq));
        match news {
            None => {
                assert_eq!(state, told_state, "{what}");
                assert!(!state.is_live() || best(&now, 9) == best(&before, 9), "{what}");
            }
            Some(Step::Stale(reason)) => assert_eq!(state, BookState::Stale(reason), "{what}"),
            Some(Step::Applied(changes) | Step::Rebuilt(changes)) => {
                assert_eq!(state, LIVE, "{what}");
                let [bids, asks] = [0, 1].map(|side| best(&now, 1)[side] != best(&before, 1)[side]);
                let [top_bids, top_asks] = [0, 1].map(|side| best(&now, 2)[side] != best(&before, 2)[side]);
                if told_state.is_live() {
                    let said = [Changes::BEST_BID, Changes::BEST_ASK].map(|fact| changes.contains(fact));
                    assert_eq!(said, [bids, asks], "{what}");
                }
                assert!(!top_bids || changes.contains(Changes::TOP_BIDS), "{what}");
                assert!(!top_asks || changes.contains(Changes::TOP_ASKS), "{what}");
            }
            Some(other) => panic!("{other:?}: {what}"),
        }
        let legs = self.shelf.legs[symbol().index()].as_ref().unwrap();
        let own = self.shelf.books.slot(symbol()).unwrap();
        let live = || legs.books().map(|beside| &*beside.book).chain([own]).filter(|book| book.state().is_live());
        let is_back = state == BookState::Stale(StaleReason::WentBack);
        assert!(state.is_live() == (live().count() > 0) || is_back && !self.was_back, "{what}");
        assert!(!state.is_live() || live().all(|book| book.reach() <= seq), "the furthest is published: {what}");
        self.was_back = is_back;
        self.turns[if state.is_live() { usize::from(!own.state().is_live()) } else { 2 }] += 1;
        self.told = (state, seq);
    }
}

#[test]
fn by_any_history_what_is_published_is_true_never_goes_back_and_is_live_where_some_legs_book_is() {
    let seeds = std::env::var("TICKWIRE_BOOK_SEEDS").map_or(25, |seeds| seeds.parse().expect("a count"));
    let mut turns = [0; 3];
    let mut takeovers = 0;
    for seed in 0..seeds {
        for count in 2..=4 {
            let mut chance = Chance::new(seed, count);
            (0..300).for_each(|_| chance.step());
            turns = std::array::from_fn(|at| turns[at] + chance.turns[at]);
            takeovers += chance.shelf.counts.takeovers;
            assert_eq!(chance.shelf.counts.without_book, 0);
        }
    }
    let [live, held, stale] = turns;
    assert!(
        live > 20 * held && held > seeds && stale > 0 && takeovers > 20 * seeds,
        "{turns:?}, {takeovers} takeovers"
    );
}
