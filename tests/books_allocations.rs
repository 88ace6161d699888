//! Books allocate nothing after they were made: counted by the allocator itself, over every edge a book has.
//!
//! ```text
//! changes kept ─► snapshot ─► live, 20,000 messages, all reads ─► gap ─► kept ─► snapshot ─► ... ─► tick ─► cut ─► given back
//! ```

use tickwire::book::{BookSettings, Books, ChecksumForm, FetchError, Slot, StaleReason, Step};
use tickwire::market::{
    Backlog, BookKind, BookUpdate, Level, Meta, MonoNs, Price, Qty, Received, SequenceIds, Side, Symbol, Venue,
};
use tickwire::telemetry::{CountingAllocator, is_counting, thread_allocations};
use tickwire::venue::VenueSequence;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Levels a side of a snapshot, and of the books.
const DEPTH: u16 = 1_000;

fn level(price: i64, qty: i64) -> Level {
    Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) }
}

/// A message of some levels around the touch and far from it, some of them deletions.
fn changes(n: i64, is_bid: bool) -> [Level; 40] {
    std::array::from_fn(|at| {
        let at = i64::try_from(at).expect("small");
        let distance = 1 + (n * 7 + at * at * 3) % 1_500;
        let price = if is_bid { 1_000_000 - distance } else { 1_000_000 + distance };
        level(price, (n + at) % 5)
    })
}

fn update(symbol: Symbol, kind: BookKind, ids: SequenceIds, depth: u16, [bids, asks]: [&[Level]; 2]) -> BookUpdate<'_> {
    let received = Received { mono: MonoNs(1), wall_ns: 1, backlog: Backlog::NONE };
    let meta = Meta { symbol, received, event_time: None, matching_time: None };
    BookUpdate { meta, kind, ids, depth, state: None, bids, asks }
}

fn ids(last: u64) -> SequenceIds {
    SequenceIds { first: last, last, previous: Some(last - 1), cross: None }
}

/// One message of a stream whose ids rise by one; it keeps the touch where it is.
fn feed(books: &mut Books<VenueSequence>, symbol: Symbol, depth: u16, id: u64) -> Step {
    let n = i64::try_from(id).expect("small");
    let [mut bids, mut asks] = [changes(n, true), changes(n, false)];
    (bids[0], asks[0]) = (level(1_000_000, 1 + n % 3), level(1_000_001, 1 + n % 4));
    books.update(&update(symbol, BookKind::Delta, ids(id), depth, [&bids, &asks]), None).expect("it has a book").step
}

/// Every read there is; their answers are summed, so that none is left out.
fn read_all(books: &Books<VenueSequence>, symbol: Symbol, out: &mut [Level; 10]) -> i128 {
    let view = books.view(symbol).expect("it has a book");
    let book = view.book;
    let mut sum = i128::from(view.live().is_some());
    for side in [Side::Buy, Side::Sell] {
        let best = book.best(side).known().flatten().map_or(0, |best| best.price.mantissa());
        sum += i128::from(best) + book.held(side).count() as i128 + book.levels(side).count() as i128;
        sum += book.top(side, out).count as i128;
        sum += book.qty_to(side, Price::from_mantissa(best)).known().unwrap_or(0);
        sum += book.price_for(side, Qty::from_mantissa(50)).known().flatten().map_or(0, |filled| filled.notional);
        sum += i128::from(book.qty_at(side, Price::from_mantissa(best)).known().map_or(0, Qty::mantissa));
    }
    sum += i128::from(book.imbalance(10).known().flatten().is_some()) + book.spread().known().flatten().unwrap_or(0);
    sum + i128::from(ChecksumForm::OKX.of(book, 2, 3)) + books.repairs().count() as i128
}

#[test]
fn books_allocate_nothing_on_any_edge_after_they_were_made() {
    assert!(is_counting(), "the allocator of this program counts");
    let [spot, usdm, bybit] = [0, 1, 2].map(|index| Symbol::new(index).expect("small"));
    let mut books = Books::new(2);
    for (symbol, venue, depth) in
        [(spot, Venue::BinanceSpot, 0), (usdm, Venue::BinanceUsdm, 0), (bybit, Venue::BybitSpot, 200)]
    {
        let settings = BookSettings { depth_kept: 1_000, ..BookSettings::for_depth(depth) };
        books.add(Box::new(Slot::new(symbol, depth, VenueSequence::of(venue), settings)));
    }
    let snapshot: [Vec<Level>; 2] = [
        (0..i64::from(DEPTH)).map(|at| level(1_000_000 - at, 1)).collect(),
        (0..i64::from(DEPTH)).map(|at| level(1_000_001 + at, 1)).collect(),
    ];
    let window = [&snapshot[0][..200], &snapshot[1][..200]];
    let mut out = [Level::default(); 10];
    let (mut id, mut seen, mut sum) = (100_u64, [0_u64; 4], 0_i128);

    let before = thread_allocations();
    for round in 0..20 {
        for symbol in [spot, usdm] {
            let ticket = books.begin_fetch(symbol).expect("a buffer is free");
            // The other of the two buffers, and none is left.
            assert!(books.begin_fetch(bybit).is_ok());
            assert_eq!(books.begin_fetch(Symbol::new(9).expect("small")), Err(FetchError::NoBook));
            books.end_fetch(bybit);
            let from = id;
            // In every fourth round more is kept than there is room for.
            for _ in 0..if round % 4 == 0 { 700 } else { 50 } {
                id += 1;
                seen[0] += u64::from(matches!(feed(&mut books, symbol, 0, id), Step::Held { .. }));
            }
            let sides = [&snapshot[0][..], &snapshot[1][..]];
            let old = update(symbol, BookKind::Snapshot, ids(from - 50), DEPTH, sides);
            let refused = books.snapshot(ticket, &old).expect("it has a book").step;
            seen[1] += u64::from(matches!(refused, Step::Stale(_)));
            let new = update(symbol, BookKind::Snapshot, ids(id - 10), DEPTH, sides);
            let taken = books.snapshot(ticket, &new).expect("it has a book").step;
            assert!(matches!(taken, Step::Rebuilt(_)), "{taken:?}");
        }
        books.update(&update(bybit, BookKind::Snapshot, ids(id), 200, window), None);
        for message in 0..1_000 {
            id += 1;
            for (symbol, depth) in [(usdm, 0), (bybit, 200)] {
                let step = feed(&mut books, symbol, depth, id);
                assert!(matches!(step, Step::Applied(_)), "{step:?}");
                seen[2] += 1;
                if message % 50 == 0 {
                    sum += read_all(&books, symbol, &mut out);
                }
            }
        }
        for (symbol, depth) in [(spot, 0), (usdm, 0), (bybit, 200)] {
            assert!(matches!(feed(&mut books, symbol, depth, id + 5), Step::Stale(StaleReason::Gap)));
            seen[3] += 1;
        }
        id += 5;
        books.tick_changed(spot);
        books.quarantine(bybit, StaleReason::Disconnected);
    }
    let allocations = thread_allocations() - before;

    assert!(seen.iter().all(|&count| count >= 40), "{seen:?}");
    assert!(books.counts().hold_overflows > 0 && sum != 0);
    assert_eq!(allocations, 0, "in {} messages applied, {seen:?}", books.counts().applied);
}

#[test]
fn the_count_would_see_an_allocation() {
    assert!(is_counting());
    let before = thread_allocations();
    let books = Books::<VenueSequence>::new(1);
    assert!(thread_allocations() > before && books.iter().count() == 0);
}
