//! The book beside a model of plain maps: whatever is done to both, they hold the same levels, and what the book says it
//! knows is true of the whole market.

use super::*;
use crate::market::{Level, Price, Qty, Side};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];

fn level(price: i64, qty: i64) -> Level {
    Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) }
}

fn pair(level: Level) -> (i64, i64) {
    (level.price.mantissa(), level.qty.mantissa())
}

/// A whole side of the market, by price.
type Market = BTreeMap<i64, i64>;

/// The levels of a side, best first.
fn ordered(side: Side, market: &Market) -> Vec<(i64, i64)> {
    let levels = market.iter().map(|(&price, &qty)| (price, qty));
    match side {
        Side::Buy => levels.rev().collect(),
        Side::Sell => levels.collect(),
    }
}

fn is_no_worse(side: Side, price: i64, than: i64) -> bool {
    match side {
        Side::Buy => price >= than,
        Side::Sell => price <= than,
    }
}

fn set(market: &mut Market, (price, qty): (i64, i64)) {
    if qty == 0 {
        market.remove(&price);
    } else {
        market.insert(price, qty);
    }
}

/// What a side of a book must hold and know, kept without any art.
#[derive(Clone, Debug)]
struct Model {
    side: Side,
    held: Market,
    /// Every level of the market at or before this price is held; `None`: every level is.
    known_to: Option<i64>,
    depth_kept: usize,
}

impl Model {
    fn snapshot(side: Side, market: &Market, depth: usize, depth_kept: usize) -> Self {
        let all = ordered(side, market);
        let sent = if depth == 0 { &all[..] } else { &all[..all.len().min(depth)] };
        let known_to = (depth > 0 && sent.len() == depth).then(|| sent[depth - 1].0);
        let mut model = Self { side, held: sent.iter().copied().collect(), known_to, depth_kept };
        model.cut();
        model
    }

    fn cut(&mut self) {
        while self.held.len() > self.depth_kept {
            let worst = ordered(self.side, &self.held).last().copied().unwrap().0;
            self.held.remove(&worst);
            if self.known_to.is_none_or(|known_to| is_no_worse(self.side, worst, known_to)) {
                self.known_to = Some(if self.side == Side::Buy { worst + 1 } else { worst - 1 });
            }
        }
    }

    fn is_known(&self, price: i64) -> bool {
        self.known_to.is_none_or(|known_to| is_no_worse(self.side, price, known_to))
    }
}

/// What a side says it knows is true of the whole market; every read says the same as a plain loop over the market.
fn assert_true(book: &Book, side: Side, market: &Market) {
    let truth = ordered(side, market);
    let (known, is_whole): (Vec<_>, bool) = match book.known_to(side) {
        Known::Known(None) => (truth.clone(), true),
        Known::Known(Some(to)) => {
            (truth.iter().copied().filter(|&(price, _)| is_no_worse(side, price, to.mantissa())).collect(), false)
        }
        Known::Unknown => (Vec::new(), false),
    };
    assert_eq!(book.levels(side).map(pair).collect::<Vec<_>>(), known, "{side:?}");
    let best = match known.first() {
        Some(&best) => Known::Known(Some(best)),
        None if is_whole => Known::Known(None),
        None => Known::Unknown,
    };
    assert_eq!(book.best(side).known().map(|best| best.map(pair)), best.known());
    for room in [0, 1, 3, 100] {
        let mut out = vec![Level::default(); room];
        let top = book.top(side, &mut out);
        let expected: Vec<_> = known.iter().copied().take(room).collect();
        assert_eq!(out[..top.count].iter().copied().map(pair).collect::<Vec<_>>(), expected);
        assert_eq!(top.is_cut, expected.len() < room && !is_whole);
    }
    for price in -2..45 {
        let inside = match book.known_to(side) {
            Known::Known(to) => to.is_none_or(|to| is_no_worse(side, price, to.mantissa())),
            Known::Unknown => false,
        };
        let qty = market.get(&price).copied().unwrap_or(0);
        let to: i128 =
            truth.iter().filter(|level| is_no_worse(side, level.0, price)).map(|level| i128::from(level.1)).sum();
        let price = Price::from_mantissa(price);
        assert_eq!(book.qty_at(side, price).known().map(Qty::mantissa), inside.then_some(qty));
        assert_eq!(book.qty_to(side, price).known(), inside.then_some(to));
    }
    for qty in [0, 1, 4, 17, 300] {
        let (mut missing, mut notional, mut expected) = (i128::from(qty), 0, None);
        for (at, &(price, there)) in known.iter().enumerate() {
            let taken = missing.min(i128::from(there));
            notional += taken * i128::from(price);
            missing -= taken;
            if missing == 0 {
                expected = Some(Filled { price: Price::from_mantissa(price), notional, level_count: at + 1 });
                break;
            }
        }
        let expected = if expected.is_some() || is_whole { Known::Known(expected) } else { Known::Unknown };
        assert_eq!(book.price_for(side, Qty::from_mantissa(qty)), expected, "{qty} of {known:?}");
    }
}

fn assert_imbalance(book: &Book, levels: usize) {
    let sum = |side| {
        let known: Vec<i64> = book.levels(side).take(levels).map(|level| level.qty.mantissa()).collect();
        let is_enough = known.len() == levels || book.known_to(side) == Known::Known(None);
        is_enough.then(|| known.iter().sum::<i64>())
    };
    let expected = sum(Side::Buy).zip(sum(Side::Sell)).map(|(bids, asks)| {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        (bids + asks > 0).then(|| (bids - asks) as f64 / (bids + asks) as f64)
    });
    assert_eq!(book.imbalance(levels).known(), expected);
}

/// A batch of changes by side, as the venue sends it.
type Batch = [Vec<(i64, i64)>; 2];

fn levels(changes: &[(i64, i64)]) -> Vec<Level> {
    changes.iter().map(|&(price, qty)| level(price, qty)).collect()
}

fn side_changes(max: usize) -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((0_i64..43, prop_oneof![2 => Just(0_i64), 3 => 1_i64..9]), 0..max)
}

fn batches(max: usize) -> impl Strategy<Value = Vec<Batch>> {
    prop::collection::vec([side_changes(max), side_changes(max)], 1..24)
}

fn market() -> impl Strategy<Value = [Market; 2]> {
    let side = || prop::collection::btree_map(0_i64..43, 1_i64..9, 0..40);
    [side(), side()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_book_holds_what_the_model_holds_and_knows_no_more_than_is_true(
        mut market in market(),
        depth in 0_u16..50,
        depth_kept in 1_usize..50,
        batches in batches(20),
    ) {
        let mut book = Book::new(depth_kept, 5);
        for side in SIDES {
            assert_eq!(book.known_to(side), Known::Unknown, "nothing has come");
            assert_true(&book, side, &market[side as usize]);
        }
        let sent = SIDES.map(|side| {
            let all = levels(&ordered(side, &market[side as usize]));
            let count = if depth == 0 { all.len() } else { all.len().min(usize::from(depth)) };
            all[..count].to_vec()
        });
        book.replace(&sent[0], &sent[1], depth);
        let mut models =
            SIDES.map(|side| Model::snapshot(side, &market[side as usize], usize::from(depth), depth_kept));
        for batch in std::iter::once([Vec::new(), Vec::new()]).chain(batches) {
            let touch = SIDES.map(|side| book.held(side).next());
            let tops = SIDES.map(|side| book.held(side).take(5).collect::<Vec<_>>());
            let changes = book.apply(&levels(&batch[0]), &levels(&batch[1]), 0);
            for side in SIDES {
                let at = side as usize;
                for &change in &batch[at] {
                    set(&mut market[at], change);
                    set(&mut models[at].held, change);
                }
                models[at].cut();
                assert_eq!(book.held(side).map(pair).collect::<Vec<_>>(), ordered(side, &models[at].held));
                // A side of which a snapshot brought nothing is unknown, or empty.
                let is_nothing = depth > 0 && sent[at].len() == usize::from(depth) && sent[at].is_empty();
                assert!(!is_nothing);
                assert_eq!(book.known_to(side).known().map(|to| to.map(Price::mantissa)), Some(models[at].known_to));
                for price in [0, 20, 42] {
                    assert_eq!(book.qty_at(side, Price::from_mantissa(price)).is_unknown(), !models[at].is_known(price));
                }
                assert_true(&book, side, &market[at]);
                let (best, top) =
                    [(Changes::BEST_BID, Changes::TOP_BIDS), (Changes::BEST_ASK, Changes::TOP_ASKS)][at];
                assert_eq!(changes.contains(best), book.held(side).next() != touch[at]);
                assert!(changes.contains(top) || book.held(side).take(5).eq(tops[at].iter().copied()));
            }
            let [bid, ask] = SIDES.map(|side| book.held(side).next().map(|level| level.price));
            let reaches = |bid: Option<Price>, ask: Option<Price>| bid.zip(ask).is_some_and(|(bid, ask)| bid >= ask);
            let [bid_before, ask_before] = touch.map(|level| level.map(|level| level.price));
            assert_eq!(changes.contains(Changes::CROSSED), reaches(bid, ask));
            assert_eq!(changes.contains(Changes::THROUGH_ASKS), reaches(bid, ask_before));
            assert_eq!(changes.contains(Changes::THROUGH_BIDS), reaches(bid_before, ask));
            for levels in [0, 1, 4, 60] {
                assert_imbalance(&book, levels);
            }
        }
    }

    /// `says_what_falls_out`: Bybit deletes the levels that fall out of the window; Kraken says nothing of them.
    #[test]
    fn a_book_of_a_window_is_the_best_of_the_market_whether_the_venue_says_what_falls_out_or_not(
        mut market in market(),
        window in 1_u16..20,
        says_what_falls_out in any::<bool>(),
        is_reversed in any::<bool>(),
        batches in batches(12),
    ) {
        let depth = usize::from(window);
        let best = |side: Side, market: &[Market; 2]| -> Market {
            ordered(side, &market[side as usize]).into_iter().take(depth).collect()
        };
        let mut book = Book::for_window(window, depth, 5);
        let sent = SIDES.map(|side| levels(&ordered(side, &best(side, &market))));
        book.replace(&sent[0], &sent[1], window);
        for batch in batches {
            let before = SIDES.map(|side| best(side, &market));
            for side in SIDES {
                batch[side as usize].iter().for_each(|&change| set(&mut market[side as usize], change));
            }
            let message = SIDES.map(|side| {
                let (old, new, all) = (&before[side as usize], best(side, &market), &market[side as usize]);
                let gone = old.keys().filter(|price| !new.contains_key(price));
                let gone = gone.filter(|price| says_what_falls_out || !all.contains_key(price)).map(|&price| (price, 0));
                let came = new.iter().filter(|&(price, qty)| old.get(price) != Some(qty)).map(|(&price, &qty)| (price, qty));
                let mut changes: Vec<_> = came.chain(gone).collect();
                if is_reversed {
                    changes.reverse();
                }
                levels(&changes)
            });
            book.apply(&message[0], &message[1], window);
            for side in SIDES {
                assert_eq!(book.held(side).map(pair).collect::<Vec<_>>(), ordered(side, &best(side, &market)));
                // What it says of its end may be less than could be said, never more.
                assert_true(&book, side, &market[side as usize]);
                assert!(book.best(side).known().is_some() || market[side as usize].is_empty());
            }
        }
    }

    #[test]
    fn what_no_venue_should_send_leaves_a_book_that_says_nothing_untrue(
        mut market in market(),
        depth_kept in 1_usize..12,
        // More in one message than there is room for, unordered, some twice.
        flood in prop::collection::vec((-300_i64..300, 0_i64..9), 200..900),
        batches in batches(30),
    ) {
        let mut book = Book::new(depth_kept, 5);
        let sent = SIDES.map(|side| levels(&ordered(side, &market[side as usize])));
        // Worst first, and each level twice.
        let disordered = sent.map(|levels| levels.iter().rev().chain(levels.iter()).copied().collect::<Vec<_>>());
        book.replace(&disordered[0], &disordered[1], 0);
        for batch in [[flood.clone(), flood]].into_iter().chain(batches) {
            book.apply(&levels(&batch[0]), &levels(&batch[1]), 0);
            for side in SIDES {
                batch[side as usize].iter().for_each(|&change| set(&mut market[side as usize], change));
                assert!(book.held(side).count() <= depth_kept);
                assert_true(&book, side, &market[side as usize]);
            }
        }
    }
}

/// How a price goes on: by small steps, by large ones, or anywhere.
fn walk() -> impl Strategy<Value = Vec<(i64, Vec<(i64, i64)>)>> {
    let step = prop_oneof![6 => -40_i64..40, 3 => -3_000_i64..3_000, 1 => -200_000_i64..200_000];
    let near = prop_oneof![6 => 0_i64..60, 3 => 0_i64..5_000, 1 => 0_i64..100_000];
    let change = (near, prop_oneof![2 => Just(0_i64), 3 => 1_i64..9]);
    prop::collection::vec((step, prop::collection::vec(change, 0..25)), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn levels_are_the_same_wherever_the_price_goes(walk in walk(), start in prop_oneof![Just(0_i64), Just(i64::MAX), Just(-i64::MAX), any::<i64>()]) {
        let mut book = Book::new(5_000, 10);
        book.replace(&[], &[], 0);
        let (mut middle, mut markets) = (start, [Market::new(), Market::new()]);
        for (step, changes) in walk {
            middle = middle.saturating_add(step).clamp(-i64::MAX, i64::MAX);
            let tops = SIDES.map(|side| book.held(side).take(10).collect::<Vec<_>>());
            let batch = SIDES.map(|side| {
                // The price has passed these: they go, in whatever order.
                let gone = markets[side as usize].keys().copied().filter(|&price| (side == Side::Buy) == (price > middle));
                let gone: Vec<_> = gone.map(|price| (price, 0)).collect();
                let placed = changes.iter().map(|&(distance, qty)| {
                    let price = if side == Side::Buy { middle.saturating_sub(distance) } else { middle.saturating_add(distance) };
                    (price.max(-i64::MAX), qty)
                });
                placed.chain(gone).collect::<Vec<_>>()
            });
            for side in SIDES {
                batch[side as usize].iter().for_each(|&change| set(&mut markets[side as usize], change));
            }
            let changes = book.apply(&levels(&batch[0]), &levels(&batch[1]), 0);
            for side in SIDES {
                let truth = ordered(side, &markets[side as usize]);
                assert_eq!(book.held(side).map(pair).collect::<Vec<_>>(), truth);
                assert_eq!(book.best(side).known().unwrap().map(pair), truth.first().copied());
                for &(price, qty) in &truth {
                    assert_eq!(book.qty_at(side, Price::from_mantissa(price)), Known::Known(Qty::from_mantissa(qty)));
                }
                let top = [Changes::TOP_BIDS, Changes::TOP_ASKS][side as usize];
                assert!(changes.contains(top) || book.held(side).take(10).eq(tops[side as usize].iter().copied()));
            }
            let counts = (markets[0].len(), markets[1].len());
            assert_eq!(book.level_counts(), counts);
        }
    }
}

#[test]
fn a_books_memory_is_there_before_its_first_level_comes() {
    let faults = || {
        // SAFETY: a rusage is made of integers: all zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is a valid rusage for the whole call.
        assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) }, 0);
        usage.ru_minflt + usage.ru_majflt
    };
    let depth = crate::limits::BOOK_LEVEL_COUNT_MAX;
    // Far apart, so that most are beyond the window, and in every place of it once the touch has moved through.
    let side = |sign: i64| (1..=10_000).map(|at| level(1_000_000 + sign * at * 3, 1)).collect::<Vec<_>>();
    let (bids, asks) = (side(-1), side(1));
    let use_all = |book: &mut Book| {
        book.replace(&bids, &asks, 0);
        for at in 0..4_096 {
            book.apply(&[level(1_000_000 + at, 1)], &[level(1_000_000 + at, 0)], 0);
        }
    };
    // The first brings in the program's own pages. It stays, so that the second gets memory of its own.
    let mut first = Book::new(depth, 10);
    use_all(&mut first);
    let mut second = Book::new(depth, 10);
    let before = faults();
    use_all(&mut second);
    assert_eq!(faults() - before, 0);
    assert_eq!(first.level_counts(), second.level_counts());
}

#[test]
fn unknown_is_not_empty() {
    let mut book = Book::new(10, 5);
    assert_eq!(book.best_bid(), Known::Unknown);
    assert_eq!(book.spread(), Known::Unknown);
    assert_eq!(book.imbalance(1), Known::Unknown);
    book.replace(&[], &[level(5, 1)], 0);
    assert_eq!(book.best_bid(), Known::Known(None), "the venue says that there is none");
    assert_eq!(book.spread(), Known::Known(None));
    assert_eq!(book.imbalance(3), Known::Known(Some(-1.0)));
    book.replace(&[level(4, 1), level(3, 1)], &[level(5, 1), level(6, 1)], 2);
    assert_eq!(book.spread(), Known::Known(Some(1)));
    book.apply(&[level(4, 0), level(3, 0)], &[], 0);
    assert_eq!(book.best_bid(), Known::Unknown, "behind the two that were sent there may be others");
    assert_eq!(
        book.qty_at(Side::Buy, Price::from_mantissa(3)),
        Known::Known(Qty::ZERO),
        "these two are gone, that is known"
    );
    assert_eq!(book.qty_at(Side::Buy, Price::from_mantissa(2)), Known::Unknown);
    book.apply(&[level(1, 7)], &[], 0);
    assert_eq!(book.best_bid(), Known::Unknown, "one that came by need not be the best");
    assert_eq!(book.held(Side::Buy).map(pair).collect::<Vec<_>>(), [(1, 7)]);
    book.clear();
    assert_eq!(book.best_ask(), Known::Unknown);
    assert_eq!(book.level_counts(), (0, 0));
}

#[test]
fn the_ends_of_what_a_price_can_be_are_prices() {
    let (low, high) = (-i64::MAX, i64::MAX);
    let mut book = Book::new(4, 2);
    let sent = [level(high - 1, i64::MAX), level(0, 1), level(low, i64::MAX)];
    let asks: Vec<Level> = sent.iter().rev().copied().collect();
    book.replace(&sent, &asks, 3);
    for side in SIDES {
        let end = if side == Side::Buy { low } else { high - 1 };
        assert_eq!(book.known_to(side), Known::Known(Some(Price::from_mantissa(end))));
        assert_eq!(book.qty_to(side, Price::from_mantissa(end)), Known::Known(2 * i128::from(i64::MAX) + 1));
        let filled = book.price_for(side, Qty::from_mantissa(i64::MAX)).known().flatten().unwrap();
        assert_eq!(filled.level_count, 1);
    }
    assert!(book.spread().known().flatten().unwrap() < -i128::from(i64::MAX));
    let flood: Vec<Level> =
        (0..500).map(|at| level(high - 2 * at, 1)).chain((0..500).map(|at| level(low + 2 * at, 1))).collect();
    book.apply(&flood, &flood, 0);
    for side in SIDES {
        assert_eq!(book.held(side).count(), 4);
    }
}
