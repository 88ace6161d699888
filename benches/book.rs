//! `book/<capture>/apply/{1,10,100}/<structure>`: so many recorded changes to a book of both sides, in ns a batch; `.../best`,
//! `.../top10`: one read of both sides; `book/read/*`, `book/snapshot`, `sync/<capture>/update`: what only the engine's book
//! has. `sync/<venue>/{in_sequence,behind,gap}`: what a venue's rule takes to judge one message, in ns, beside
//! `sync/high_water_mark`, which is what is written where no rule is: it tells what is old, and no gap.
//!
//! The changes are those of the recorded captures, in their order, cut anew into batches of 1, 10 and 100 levels, applied to
//! the recorded snapshot, again and again from its beginning. Beside the engine's book (a window indexed by price, with a sorted
//! array for what lies far from the best) stand `btree` (two `BTreeMap`s) and two structures that lost against it: `array` (one
//! sorted array, the best at its end) and `chunks` (sorted runs of up to 64 levels, found by the first of each). All end with
//! the same levels, or nothing is measured. Prints the memory of books first.
//!
//! Needs `TICKWIRE_FRAMES`, the folder with the recorded frames; without it, only the rules are measured.

#[path = "shared/recorded_book.rs"]
mod recorded_book;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use recorded_book::Sides;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tickwire::book::{Book, BookSettings, Hold, SequenceRule, Slot, Verdict};
use tickwire::limits::{BOOK_LEVEL_COUNT_MAX, HOLD_LEVEL_COUNT, HOLD_UPDATE_COUNT, SYMBOL_COUNT_MAX};
use tickwire::market::{
    Backlog, BookKind, BookUpdate, Level, Meta, MonoNs, Qty, Received, SequenceIds, Side, Symbol, Venue,
};
use tickwire::venue::VenueSequence;

/// (key, quantity), the key rising towards the best: the price of a bid, the complement of an ask's.
type Keyed = (i64, i64);

/// One side of a book in some structure.
trait Ladder: Clone {
    fn new() -> Self;
    fn set(&mut self, key: i64, qty: i64);
    fn best(&self) -> Option<Keyed>;
    /// The best levels, best first.
    fn each_best(&self, count: usize, take: impl FnMut(Keyed));
}

/// A book of both sides, in whichever structure.
trait Kept: Clone {
    fn new() -> Self;
    fn apply(&mut self, bids: &[Level], asks: &[Level]);
    fn touch(&self) -> [Option<Keyed>; 2];
    /// The sum of the quantities of ten levels a side.
    fn top10(&self) -> i64;
    /// Every level of a side, best first.
    fn levels(&self, side: Side) -> Vec<Keyed>;
}

#[derive(Clone)]
struct Pair<L>([L; 2]);

fn key(side: Side, level: &Level) -> i64 {
    if side == Side::Buy { level.price.mantissa() } else { !level.price.mantissa() }
}

impl<L: Ladder> Kept for Pair<L> {
    fn new() -> Self {
        Self([L::new(), L::new()])
    }

    fn apply(&mut self, bids: &[Level], asks: &[Level]) {
        for level in bids {
            self.0[0].set(key(Side::Buy, level), level.qty.mantissa());
        }
        for level in asks {
            self.0[1].set(key(Side::Sell, level), level.qty.mantissa());
        }
    }

    fn touch(&self) -> [Option<Keyed>; 2] {
        [self.0[0].best(), self.0[1].best()]
    }

    fn top10(&self) -> i64 {
        let mut sum = 0;
        self.0.iter().for_each(|side| side.each_best(10, |level| sum += level.1));
        sum
    }

    fn levels(&self, side: Side) -> Vec<Keyed> {
        let mut levels = Vec::new();
        self.0[side as usize].each_best(usize::MAX, |level| levels.push(level));
        levels
    }
}

impl Kept for Book {
    fn new() -> Self {
        Self::new(BOOK_LEVEL_COUNT_MAX, 10)
    }

    fn apply(&mut self, bids: &[Level], asks: &[Level]) {
        black_box(Self::apply(self, bids, asks, 0));
    }

    fn touch(&self) -> [Option<Keyed>; 2] {
        [Side::Buy, Side::Sell]
            .map(|side| self.best(side).known().flatten().map(|level| (key(side, &level), level.qty.mantissa())))
    }

    fn top10(&self) -> i64 {
        let mut out = [Level::default(); 10];
        [Side::Buy, Side::Sell]
            .map(|side| {
                let top = self.top(side, &mut out);
                out[..top.count].iter().map(|level| level.qty.mantissa()).sum::<i64>()
            })
            .iter()
            .sum()
    }

    fn levels(&self, side: Side) -> Vec<Keyed> {
        self.held(side).map(|level| (key(side, &level), level.qty.mantissa())).collect()
    }
}

impl Ladder for BTreeMap<i64, i64> {
    fn new() -> Self {
        Self::default()
    }

    fn set(&mut self, key: i64, qty: i64) {
        if qty == 0 {
            self.remove(&key);
        } else {
            self.insert(key, qty);
        }
    }

    fn best(&self) -> Option<Keyed> {
        self.last_key_value().map(|(&key, &qty)| (key, qty))
    }

    fn each_best(&self, count: usize, mut take: impl FnMut(Keyed)) {
        self.iter().rev().take(count).for_each(|(&key, &qty)| take((key, qty)));
    }
}

/// Sets a quantity in a sorted array, the best at its end.
fn set_sorted(levels: &mut Vec<Keyed>, key: i64, qty: i64) {
    let at = levels.partition_point(|level| level.0 < key);
    match levels.get_mut(at).filter(|level| level.0 == key) {
        Some(_) if qty == 0 => _ = levels.remove(at),
        Some(level) => level.1 = qty,
        None if qty != 0 => levels.insert(at, (key, qty)),
        None => {}
    }
}

/// One sorted array, the best at its end.
impl Ladder for Vec<Keyed> {
    fn new() -> Self {
        Self::with_capacity(BOOK_LEVEL_COUNT_MAX)
    }

    fn set(&mut self, key: i64, qty: i64) {
        set_sorted(self, key, qty);
    }

    fn best(&self) -> Option<Keyed> {
        self.last().copied()
    }

    fn each_best(&self, count: usize, take: impl FnMut(Keyed)) {
        self.iter().rev().take(count).copied().for_each(take);
    }
}

const CHUNK_LEVELS: usize = 64;

/// Sorted runs, found by the key of the first level of each.
#[derive(Clone)]
struct Chunks {
    firsts: Vec<i64>,
    chunks: Vec<Vec<Keyed>>,
}

impl Ladder for Chunks {
    fn new() -> Self {
        Self { firsts: vec![i64::MIN], chunks: vec![Vec::with_capacity(CHUNK_LEVELS)] }
    }

    fn set(&mut self, key: i64, qty: i64) {
        let at = self.firsts.partition_point(|&first| first <= key) - 1;
        let chunk = &mut self.chunks[at];
        set_sorted(chunk, key, qty);
        if chunk.len() == CHUNK_LEVELS {
            let mut upper = Vec::with_capacity(CHUNK_LEVELS);
            upper.extend(chunk.drain(CHUNK_LEVELS / 2..));
            self.firsts.insert(at + 1, upper[0].0);
            self.chunks.insert(at + 1, upper);
        } else if chunk.is_empty() && at > 0 {
            self.firsts.remove(at);
            self.chunks.remove(at);
        }
    }

    fn best(&self) -> Option<Keyed> {
        self.chunks.iter().rev().find_map(|chunk| chunk.last().copied())
    }

    fn each_best(&self, count: usize, take: impl FnMut(Keyed)) {
        self.chunks.iter().rev().flat_map(|chunk| chunk.iter().rev()).copied().take(count).for_each(take);
    }
}

/// A recorded book, cut anew.
struct Capture {
    name: &'static str,
    snapshot: Sides,
    changes: Vec<(Side, Level)>,
}

impl Capture {
    fn of(recorded: recorded_book::Capture) -> Self {
        let changes = recorded.messages.into_iter().flat_map(|[bids, asks]| {
            let side = |side, levels: Vec<Level>| levels.into_iter().map(move |level| (side, level));
            side(Side::Buy, bids).chain(side(Side::Sell, asks))
        });
        Self { name: recorded.name, snapshot: recorded.snapshot, changes: changes.collect() }
    }

    /// The changes in batches of so many levels.
    fn batches(&self, levels: usize) -> Vec<Sides> {
        let batch = |changes: &[(Side, Level)]| {
            let of = |side| changes.iter().filter(|change| change.0 == side).map(|change| change.1).collect();
            [of(Side::Buy), of(Side::Sell)]
        };
        self.changes.chunks(levels).map(batch).collect()
    }

    fn begun<K: Kept>(&self) -> K {
        let mut kept = K::new();
        kept.apply(&self.snapshot[0], &self.snapshot[1]);
        kept
    }

    fn ended<K: Kept>(&self) -> K {
        let mut kept: K = self.begun();
        self.batches(10).iter().for_each(|[bids, asks]| kept.apply(bids, asks));
        kept
    }
}

/// A Book is begun by its snapshot: of a book that never had one nothing is known.
fn begun_book(capture: &Capture) -> Book {
    let mut book = Book::new(BOOK_LEVEL_COUNT_MAX, 10);
    book.replace(&capture.snapshot[0], &capture.snapshot[1], 0);
    book
}

fn measure<K: Kept>(c: &mut Criterion, capture: &Capture, structure: &str, begun: &K) {
    let expected: Pair<BTreeMap<i64, i64>> = capture.ended();
    let mut ended = begun.clone();
    capture.batches(10).iter().for_each(|[bids, asks]| ended.apply(bids, asks));
    for side in [Side::Buy, Side::Sell] {
        assert_eq!(ended.levels(side), expected.levels(side), "{structure}, {side:?}");
    }
    assert_eq!((ended.touch(), ended.top10()), (expected.touch(), expected.top10()), "{structure}");
    for levels in [1, 10, 100] {
        let batches = capture.batches(levels);
        let mut group = c.benchmark_group(format!("book/{}/apply/{levels}", capture.name));
        group.throughput(Throughput::Elements(levels as u64));
        group.bench_function(BenchmarkId::from_parameter(structure), |b| {
            b.iter_custom(|iterations| {
                let (mut left, mut spent) = (usize::try_from(iterations).unwrap(), Duration::ZERO);
                while left > 0 {
                    let (mut kept, count) = (begun.clone(), left.min(batches.len()));
                    let start = Instant::now();
                    for [bids, asks] in &batches[..count] {
                        kept.apply(black_box(bids), black_box(asks));
                    }
                    spent += start.elapsed();
                    black_box(kept.touch());
                    left -= count;
                }
                spent
            });
        });
        group.finish();
    }
    let mut group = c.benchmark_group(format!("book/{}", capture.name));
    group.bench_function(format!("best/{structure}"), |b| b.iter(|| black_box(&ended).touch()));
    group.bench_function(format!("top10/{structure}"), |b| b.iter(|| black_box(&ended).top10()));
    group.finish();
}

/// A message with this id that follows the one before.
fn message<'a>(id: u64, kind: BookKind, bids: &'a [Level], asks: &'a [Level]) -> BookUpdate<'a> {
    let received = Received { mono: MonoNs(1), wall_ns: 1, backlog: Backlog::NONE };
    let symbol = Symbol::new(0).expect("small");
    let meta = Meta { symbol, received, event_time: None, matching_time: None };
    let ids = SequenceIds { first: id, last: id, previous: Some(id - 1), cross: None };
    BookUpdate { meta, kind, ids, depth: 0, state: None, bids, asks }
}

/// Reads and edges that only the engine's book has.
fn measure_book(c: &mut Criterion, capture: &Capture) {
    let mut book = begun_book(capture);
    capture.batches(10).iter().for_each(|[bids, asks]| _ = book.apply(bids, asks, 0));
    let tenth = book.levels(Side::Sell).nth(10).expect("more than ten levels").price;
    let mut group = c.benchmark_group(format!("book/{}/read", capture.name));
    group.bench_function("qty_to_10th", |b| b.iter(|| black_box(&book).qty_to(Side::Sell, black_box(tenth))));
    let qty = Qty::from_mantissa(i64::try_from(book.qty_to(Side::Sell, tenth).known().expect("known")).expect("small"));
    group.bench_function("price_for_10", |b| b.iter(|| black_box(&book).price_for(Side::Sell, black_box(qty))));
    group.bench_function("imbalance_10", |b| b.iter(|| black_box(&book).imbalance(10)));
    group.finish();
    let [bids, asks] = &capture.snapshot;
    c.bench_function(&format!("book/{}/snapshot/{}", capture.name, bids.len() + asks.len()), |b| {
        b.iter(|| book.replace(black_box(bids), black_box(asks), 0));
    });

    // The slot around the book: the venue's rule, what changed, the checks. Beside `apply/10`.
    let batches = capture.batches(10);
    let symbol = Symbol::new(0).expect("small");
    c.bench_function(&format!("sync/{}/update/10", capture.name), |b| {
        b.iter_custom(|iterations| {
            let (mut left, mut spent) = (usize::try_from(iterations).unwrap(), Duration::ZERO);
            while left > 0 {
                // Batches cut anew cross on their way: that is measured, not judged.
                let settings = BookSettings { crossed_updates_max: u32::MAX, ..BookSettings::for_depth(0) };
                let mut slot = Slot::new(symbol, 0, VenueSequence::of(Venue::BinanceUsdm), settings);
                let ticket = slot.begin_fetch(Box::new(Hold::new()));
                let outcome = slot.snapshot(ticket, &message(1, BookKind::Snapshot, bids, asks));
                slot.end_fetch();
                assert!(slot.state().is_live(), "{outcome:?}");
                let count = left.min(batches.len());
                let start = Instant::now();
                for ([bids, asks], id) in batches[..count].iter().zip(2..) {
                    black_box(slot.update(black_box(&message(id, BookKind::Delta, bids, asks)), None));
                }
                spent += start.elapsed();
                assert!(slot.state().is_live());
                left -= count;
            }
            spent
        });
    });
}

/// Messages of one pass over a rule.
const SYNC_COUNT: u64 = 1_024;

/// The ids of a book's `n`-th message, each of which follows the one before.
fn sync_ids(venue: Venue, n: u64) -> SequenceIds {
    let (first, last) = (10 * n + 1, 10 * n + 10);
    match venue {
        Venue::BinanceSpot => SequenceIds { first, last, previous: None, cross: None },
        // Ids are of all symbols: those of one do not touch.
        Venue::BinanceUsdm => SequenceIds { first: first + 5, last, previous: Some(10 * n), cross: None },
        Venue::BybitSpot | Venue::BybitLinear => SequenceIds { first: n, last: n, previous: None, cross: Some(first) },
    }
}

/// What a venue's rule takes for each message of a stream: one that it applies all of, one that lies behind the book whole,
/// one of which each message lies behind a hole, where the rule knows of holes.
fn measure_rule(
    c: &mut Criterion,
    (name, knows_holes): (&str, bool),
    venue: Venue,
    judge: impl Fn(&SequenceIds, &SequenceIds) -> Verdict,
) {
    let stream: Vec<SequenceIds> = (2..2 + SYNC_COUNT).map(|n| sync_ids(venue, n)).collect();
    let cases = [
        ("in_sequence", sync_ids(venue, 1), Verdict::Apply),
        ("behind", sync_ids(venue, 2 + SYNC_COUNT), Verdict::Skip),
        // Its end lies before that of the message before the first.
        ("gap", sync_ids(venue, 0), Verdict::Gap),
    ];
    let mut group = c.benchmark_group(format!("sync/{name}"));
    group.throughput(Throughput::Elements(SYNC_COUNT));
    for (case, begun, expected) in cases.into_iter().filter(|case| knows_holes || case.2 != Verdict::Gap) {
        let pass = || {
            let mut last = begun;
            let mut found = 0;
            for ids in black_box(&stream) {
                let verdict = judge(&last, ids);
                found += u64::from(verdict == expected);
                if verdict == Verdict::Apply {
                    last = *ids;
                }
            }
            found
        };
        assert_eq!(pass(), SYNC_COUNT, "{name}, {case}: every message is judged so");
        group.bench_function(case, |b| b.iter(pass));
    }
    group.finish();
}

fn measure_rules(c: &mut Criterion) {
    for venue in [Venue::BinanceSpot, Venue::BinanceUsdm, Venue::BybitLinear] {
        let rule = VenueSequence::of(venue);
        measure_rule(c, (venue.name(), true), venue, |last, ids| {
            black_box(&rule).judge(Some(last), BookKind::Delta, ids)
        });
    }
    let mark = |last: &SequenceIds, ids: &SequenceIds| {
        if ids.last > last.last { Verdict::Apply } else { Verdict::Skip }
    };
    measure_rule(c, ("high_water_mark", false), Venue::BinanceSpot, mark);
}

#[expect(clippy::print_stderr, reason = "a bench's figures")]
fn print_memory() {
    let kilobytes = |bytes: usize| bytes / 1_024;
    eprintln!("memory of a book, and of 2,000, by levels a side:");
    for levels in [1_000, 5_000, BOOK_LEVEL_COUNT_MAX] {
        let slot = Slot::new(
            Symbol::new(0).expect("small"),
            0,
            VenueSequence::of(Venue::BinanceSpot),
            BookSettings { depth_kept: levels, ..BookSettings::for_depth(0) },
        );
        let bytes = slot.view().book.heap_bytes() + size_of::<Slot<VenueSequence>>();
        eprintln!("  {levels:>6}: {:>5} KiB  2,000: {:>6} KiB", kilobytes(bytes), kilobytes(2_000 * bytes));
    }
    let hold = HOLD_LEVEL_COUNT * size_of::<Level>() + HOLD_UPDATE_COUNT * size_of::<BookUpdate<'_>>();
    let table = SYMBOL_COUNT_MAX * size_of::<usize>();
    eprintln!(
        "  a core's table: {} KiB; a buffer for one snapshot under way: some {} KiB",
        kilobytes(table),
        kilobytes(hold)
    );
}

#[expect(clippy::print_stderr, reason = "says why nothing is measured")]
fn book(c: &mut Criterion) {
    print_memory();
    measure_rules(c);
    let Some(root) = std::env::var_os("TICKWIRE_FRAMES").map(PathBuf::from) else {
        eprintln!("only the rules are measured: TICKWIRE_FRAMES is not set");
        return;
    };
    for capture in recorded_book::Capture::all(&root).map(Capture::of) {
        measure(c, &capture, "book", &begun_book(&capture));
        measure::<Pair<BTreeMap<i64, i64>>>(c, &capture, "btree", &capture.begun());
        measure::<Pair<Vec<Keyed>>>(c, &capture, "array", &capture.begun());
        measure::<Pair<Chunks>>(c, &capture, "chunks", &capture.begun());
        measure_book(c, &capture);
    }
}

criterion_group!(benches, book);
criterion_main!(benches);
