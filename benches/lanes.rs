//! `lanes/<what>`: what it costs the hot core to send an event to a lane, and how long the event is on its way, beside the rings
//! and channels that it would use instead.
//!
//! ```text
//! cost:     bursts of events that fit, timed on the sending thread alone; the other side empties between two bursts
//! latency:  one event at a time, stamped; the receiver stamps as its handler begins, and the next is sent after that
//!
//! cargo bench --bench lanes               rounds of every row, interleaved and rotated
//! cargo bench --bench lanes -- --test     a few events of each, to see that it lives
//! ```
//! Cost: `lane` is all that a lane adds to a core's own handler: the look whether the lane wants the event, the copy, the hand
//! over, the counters, a stamp of one event in 16. `rtrb` pushes the same event by value into a bare ring, `crossbeam` and `mpsc`
//! send it into a bounded channel; a channel that has a sleeper also pays for waking it, which `mpsc/asleep` shows.
//! Latency: both threads are pinned to CPUs of their own where there are two. `spin`: the receiver looks without a pause, as a
//! lane with `idle = "spin"` does. `sleep`: it sleeps 100 us when it finds nothing, as a lane does by default.

use hdrhistogram::Histogram;
use rtrb::RingBuffer;
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tickwire::engine::{available_cpus, confine_to};
use tickwire::hot::lanes::{
    LaneEnds, LaneIdle, LanePhase, LaneSet, LaneSettings, LaneStats, LaneThread, Laned, Policy, by_symbol, lane,
    with_lanes,
};
use tickwire::hot::{Router, Strategy};
use tickwire::market::{
    BookKind, BookUpdate, Level, Meta, Price, Qty, Received, SequenceIds, Side, Symbol, SymbolSpec, Trade, TradeId,
    Venue,
};
use tickwire::telemetry::Percentiles;

/// Events of one timed burst, and what every ring and channel holds.
const BURST: usize = 256;
const SLOTS: usize = 1_024;
/// Levels of the book that is sent, both sides together.
const BOOK_LEVELS: usize = 40;

/// Symbols take turns: a burst has one event of each, so that none takes the place of another.
fn symbol(id: u64) -> Symbol {
    Symbol::new(usize::try_from(id).expect("a small number") % BURST).expect("below the limit")
}

fn trade(id: u64) -> Trade {
    Trade {
        meta: Meta { symbol: symbol(id), received: Received::default(), event_time: None, matching_time: None },
        id: TradeId::Number(id),
        price: Price::from_mantissa(6_724_112),
        qty: Qty::from_mantissa(350_000),
        taker: Side::Sell,
        sequence: None,
        is_block: false,
        is_rpi: false,
        is_refilled: false,
    }
}

fn spec(id: u64) -> SymbolSpec {
    let name = format!("S{id}USDT").into();
    SymbolSpec { symbol: symbol(id), venue: Venue::BinanceSpot, name, price_scale: 2, qty_scale: 8, instrument: None }
}

/// What the receiving side notes: events so far, and ns since `epoch` when the last one's handler began.
#[derive(Default)]
struct Noted {
    count: AtomicU64,
    at_ns: AtomicU64,
}

struct Receiver {
    noted: Arc<Noted>,
    epoch: Instant,
}

impl Receiver {
    fn note(&self) {
        self.noted.at_ns.store(ns(self.epoch.elapsed()), Ordering::Relaxed);
        let count = self.noted.count.load(Ordering::Relaxed);
        self.noted.count.store(count + 1, Ordering::Release);
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("below a century")
}

fn on_symbol(_: &mut Receiver, router: &mut Router<Receiver>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |receiver, trade| {
        black_box(trade);
        receiver.note();
    });
    router.on_book_delta(spec.symbol, |receiver, book| {
        black_box(book);
        receiver.note();
    });
}

/// How the receiving side waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waits {
    Spin,
    Sleep,
    /// In the channel's own blocking receive.
    Blocked,
}

/// One way to another thread: sends, and says what the other side has noted.
struct Way {
    send: Box<dyn FnMut(u64)>,
    noted: Arc<Noted>,
    sent: u64,
    /// Ends the other side.
    end: Box<dyn FnOnce()>,
}

impl Way {
    fn wait_until_empty(&self) {
        while self.noted.count.load(Ordering::Acquire) < self.sent {
            std::thread::yield_now();
        }
    }

    /// ns an event of a burst, on this side alone. Calling the closure costs all of them the same.
    fn burst(&mut self) -> u64 {
        self.wait_until_empty();
        let started = Instant::now();
        for _ in 0..BURST {
            (self.send)(self.sent);
            self.sent += 1;
        }
        ns(started.elapsed()) / BURST as u64
    }

    /// ns from just before one event is sent to the beginning of its handler.
    fn hop(&mut self, epoch: Instant) -> u64 {
        let sent_ns = ns(epoch.elapsed());
        (self.send)(self.sent);
        self.sent += 1;
        while self.noted.count.load(Ordering::Acquire) < self.sent {
            spin_loop();
        }
        self.noted.at_ns.load(Ordering::Relaxed).saturating_sub(sent_ns)
    }
}

fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        confine_to(&[cpu]).expect("a CPU of this process");
    }
}

/// A receiving thread that runs `step` until it is told to end; a step that found nothing waits.
fn receiving(
    cpu: Option<usize>,
    waits: Waits,
    mut step: impl FnMut(&Receiver) -> bool + Send + 'static,
    receiver: Receiver,
    is_over: Arc<AtomicU64>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        pin(cpu);
        while is_over.load(Ordering::Relaxed) == 0 {
            if !step(&receiver) {
                match waits {
                    Waits::Spin => spin_loop(),
                    Waits::Sleep => std::thread::sleep(Duration::from_micros(100)),
                    Waits::Blocked => {}
                }
            }
        }
    })
}

fn by_lane(policy: Policy, waits: Waits, book: bool, cpu: Option<usize>, epoch: Instant) -> Way {
    let idle = if waits == Waits::Spin { LaneIdle::Spin } else { LaneIdle::Sleep(Duration::from_micros(100)) };
    let settings = LaneSettings {
        name: "bench-0".to_owned(),
        strategy: "bench".to_owned(),
        core: 0,
        cpu: None,
        policy,
        slots: SLOTS,
        levels: 512,
        idle,
        hop_sample_every: 16,
    };
    let LaneEnds { sender, receiver, symbols, stats } = lane(settings);
    (0..BURST as u64).for_each(|id| symbols.send(Box::new(spec(id))).expect("the lane is there"));
    let noted = Arc::<Noted>::default();
    let state = Receiver { noted: Arc::clone(&noted), epoch };
    let thread = std::thread::spawn(move || {
        pin(cpu);
        LaneThread::new(receiver, Strategy { state, on_symbol }).run().map(drop).expect("no handler panics");
    });
    let set = LaneSet::new(vec![sender], by_symbol);
    // A core's own strategy without a handler: what is left is what a lane costs.
    let nothing: Strategy<()> = Strategy { state: (), on_symbol: |_, _, _| {} };
    let Strategy { state: mut laned, on_symbol } = with_lanes(nothing, vec![set]);
    let mut router = Router::<Laned<()>>::new();
    (0..BURST as u64).for_each(|id| on_symbol(&mut laned, &mut router, &spec(id)));
    let send: Box<dyn FnMut(u64)> = if book {
        let levels = vec![Level { price: Price::from_mantissa(1), qty: Qty::from_mantissa(2) }; BOOK_LEVELS];
        Box::new(move |id| {
            let (bids, asks) = levels.split_at(BOOK_LEVELS / 2);
            let ids = SequenceIds { first: id, last: id, previous: None, cross: None };
            let book =
                BookUpdate { meta: trade(id).meta, kind: BookKind::Delta, ids, depth: 0, state: None, bids, asks };
            router.book_delta(&mut laned, black_box(&book));
        })
    } else {
        Box::new(move |id| router.trade(&mut laned, black_box(&trade(id))))
    };
    let stats_at_end = Arc::clone(&stats);
    let end = move || {
        stats.enter(LanePhase::Draining);
        thread.join().expect("it ended");
        check(&stats_at_end);
    };
    Way { send, noted, sent: 0, end: Box::new(end) }
}

/// Nothing was lost: what fits is delivered under every policy.
fn check(stats: &LaneStats) {
    let counts = stats.counts();
    assert_eq!(counts.delivered, counts.sent, "{counts:?}");
    assert_eq!((stats.blocked(), stats.unrouted()), (0, 0), "{counts:?}");
}

fn by_rtrb(waits: Waits, cpu: Option<usize>, epoch: Instant) -> Way {
    let (mut producer, mut consumer) = RingBuffer::<Trade>::new(SLOTS);
    let noted = Arc::<Noted>::default();
    let is_over = Arc::<AtomicU64>::default();
    let step = move |receiver: &Receiver| {
        let popped = consumer.pop();
        if let Ok(trade) = &popped {
            black_box(trade);
            receiver.note();
        }
        popped.is_ok()
    };
    let receiver = Receiver { noted: Arc::clone(&noted), epoch };
    let thread = receiving(cpu, waits, step, receiver, Arc::clone(&is_over));
    let send = move |id| producer.push(*black_box(&trade(id))).expect("it fits");
    let end = move || {
        is_over.store(1, Ordering::Relaxed);
        thread.join().expect("it ended");
    };
    Way { send: Box::new(send), noted, sent: 0, end: Box::new(end) }
}

fn by_crossbeam(waits: Waits, cpu: Option<usize>, epoch: Instant) -> Way {
    let (sender, channel) = crossbeam_channel::bounded::<Trade>(SLOTS);
    let take = move || if waits == Waits::Blocked { channel.recv().ok() } else { channel.try_recv().ok() };
    by_channel(waits, cpu, epoch, take, move |trade| sender.try_send(trade).expect("it fits"))
}

fn by_mpsc(waits: Waits, cpu: Option<usize>, epoch: Instant) -> Way {
    let (sender, channel) = sync_channel::<Trade>(SLOTS);
    let take = move || if waits == Waits::Blocked { channel.recv().ok() } else { channel.try_recv().ok() };
    by_channel(waits, cpu, epoch, take, move |trade| sender.try_send(trade).expect("it fits"))
}

fn by_channel(
    waits: Waits,
    cpu: Option<usize>,
    epoch: Instant,
    take: impl Fn() -> Option<Trade> + Send + 'static,
    put: impl Fn(Trade) + 'static,
) -> Way {
    let noted = Arc::<Noted>::default();
    let is_over = Arc::<AtomicU64>::default();
    let step = move |receiver: &Receiver| {
        let taken = take();
        if let Some(trade) = &taken {
            black_box(trade);
            receiver.note();
        }
        taken.is_some()
    };
    let receiver = Receiver { noted: Arc::clone(&noted), epoch };
    let thread = receiving(cpu, waits, step, receiver, Arc::clone(&is_over));
    // With the closure the sender goes, which ends a receiver that is blocked.
    let send = move |id| put(*black_box(&trade(id)));
    let end = move || {
        is_over.store(1, Ordering::Relaxed);
        thread.join().expect("it ended");
    };
    Way { send: Box::new(send), noted, sent: 0, end: Box::new(end) }
}

/// What a row measures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    /// ns an event on the sender's side.
    Cost,
    /// ns one event is on its way.
    Latency,
}

struct Row {
    name: &'static str,
    what: What,
    way: fn(Option<usize>, Instant) -> Way,
}

const ROWS: [Row; 16] = [
    Row {
        name: "cost/lane/drop_oldest",
        what: What::Cost,
        way: |c, e| by_lane(Policy::DropOldest, Waits::Spin, false, c, e),
    },
    Row { name: "cost/lane/block", what: What::Cost, way: |c, e| by_lane(Policy::Block, Waits::Spin, false, c, e) },
    Row { name: "cost/lane/latest", what: What::Cost, way: |c, e| by_lane(Policy::Latest, Waits::Spin, false, c, e) },
    Row {
        name: "cost/lane/book of 40",
        what: What::Cost,
        way: |c, e| by_lane(Policy::DropOldest, Waits::Spin, true, c, e),
    },
    Row { name: "cost/rtrb", what: What::Cost, way: |c, e| by_rtrb(Waits::Spin, c, e) },
    Row { name: "cost/crossbeam", what: What::Cost, way: |c, e| by_crossbeam(Waits::Spin, c, e) },
    Row { name: "cost/mpsc", what: What::Cost, way: |c, e| by_mpsc(Waits::Spin, c, e) },
    Row { name: "cost/mpsc/asleep", what: What::Cost, way: |c, e| by_mpsc(Waits::Blocked, c, e) },
    Row {
        name: "latency/lane/spin",
        what: What::Latency,
        way: |c, e| by_lane(Policy::DropOldest, Waits::Spin, false, c, e),
    },
    Row {
        name: "latency/lane/latest",
        what: What::Latency,
        way: |c, e| by_lane(Policy::Latest, Waits::Spin, false, c, e),
    },
    Row {
        name: "latency/lane/sleep",
        what: What::Latency,
        way: |c, e| by_lane(Policy::DropOldest, Waits::Sleep, false, c, e),
    },
    Row { name: "latency/rtrb/spin", what: What::Latency, way: |c, e| by_rtrb(Waits::Spin, c, e) },
    Row { name: "latency/crossbeam/spin", what: What::Latency, way: |c, e| by_crossbeam(Waits::Spin, c, e) },
    Row { name: "latency/crossbeam/blocked", what: What::Latency, way: |c, e| by_crossbeam(Waits::Blocked, c, e) },
    Row { name: "latency/mpsc/spin", what: What::Latency, way: |c, e| by_mpsc(Waits::Spin, c, e) },
    Row { name: "latency/mpsc/blocked", what: What::Latency, way: |c, e| by_mpsc(Waits::Blocked, c, e) },
];

/// One turn of a row: values in ns.
fn turn(row: &Row, count: usize, receiver_cpu: Option<usize>, into: &mut Histogram<u64>) {
    const WARM_UP: usize = 8;
    let epoch = Instant::now();
    let mut way = (row.way)(receiver_cpu, epoch);
    for at in 0..count + WARM_UP {
        let value = match row.what {
            What::Cost => way.burst(),
            What::Latency => way.hop(epoch),
        };
        if at >= WARM_UP {
            into.record(value).expect("the range grows by itself");
        }
    }
    let Way { send, end, .. } = way;
    drop(send);
    end();
}

#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (rounds, bursts, hops) = if is_test { (1, 4, 20) } else { (20, 500, 5_000) };
    let cpus = available_cpus();
    let (own, other) = match cpus.as_slice() {
        [own, other, ..] => (Some(*own), Some(*other)),
        _ => (None, None),
    };
    pin(own);
    let mut histograms = ROWS.map(|_| Histogram::<u64>::new(3).expect("three digits are allowed"));
    for round in 0..rounds {
        for at in 0..ROWS.len() {
            let at = (at + round) % ROWS.len();
            let count = if ROWS[at].what == What::Cost { bursts } else { hops };
            turn(&ROWS[at], count, other, &mut histograms[at]);
        }
    }
    println!("cost: ns an event on the sender's side, means of {BURST}; latency: ns from send to handler");
    println!("{:<26} {:>8} {:>7} {:>7} {:>8} {:>8} {:>10}", "", "samples", "min", "p50", "p99", "p99.9", "max");
    for (row, histogram) in ROWS.iter().zip(&histograms) {
        let Percentiles { p50, p99, p999, max } = Percentiles::of(histogram);
        let (name, samples, min) = (row.name, histogram.len(), histogram.min());
        println!("{name:<26} {samples:>8} {min:>7} {p50:>7} {p99:>8} {p999:>8} {max:>10}");
    }
}
