//! How late an event is that several legs bring, beside each leg alone and beside the same legs unjudged.
//!
//! ```text
//! this thread: sends each copy when it is due ──► one socket a leg ──► a core on a CPU of its own ─► handler: stamps it
//!
//! a message's time ─(the leg's delay)─► due ─► written ─► in the kernel ─► read ─► judged ─► handled
//! ├──────────────────────────────── latency ──────────────────────────────────────────────┤
//!                                            ├────────────── transit ─────────────────────┤   from its first copy
//! ```
//! Delays are drawn by a seed: a floor, a tail, and now and then a stall; a leg keeps the order of its messages, as a
//! connection does. All contenders of a round have the same messages and the same delays. Who sends on several legs has more to
//! write than who sends on one, and is later with it: `apart` pays for that as `merged` does.

use crate::stage::{SYMBOL_COUNT, add_symbols, attach, begin_legs, connected, mark_leg, push, symbol_name};
use crate::words::{BASE, Kind, mixed};
use hdrhistogram::Histogram;
use std::hint::spin_loop;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tickwire::engine::{available_cpus, confine_to};
use tickwire::hot::{
    ColdPorts, Command, ConnectionStats, Core, CoreSettings, CoreStats, Idle, Router, Strategy, mono_now, ports,
};
use tickwire::market::{BookUpdate, Quote, Symbol, SymbolSpec, Trade, TradeId};
use tickwire::telemetry::Percentiles;

/// From one message to the next on average, ns: 20,000 a second on each leg.
const PERIOD_NS: u64 = 50_000;
/// The least delay of a leg, ns.
const DELAY_NS_MIN: u64 = 20_000;
/// The tail's mean, ns.
const DELAY_TAIL_NS: f64 = 60_000.0;
/// One message in so many finds its leg stalled, for up to so long, ns.
const STALL_EVERY: u64 = 200;
const STALL_NS_MAX: u64 = 2_000_000;
/// Messages that warm up and are not counted.
pub(crate) const WARM_UP: usize = 100;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// This leg by itself, on a core that has no other.
    Alone(usize),
    /// All legs on one core that is not told that they are legs: each carries symbols of its own. The first copy of each
    /// message counts: what arbitration could at best come to, with the same sockets, bytes and visits.
    Apart,
    /// All legs, judged.
    Merged,
}

/// When each message of a round is due on each leg, ns from its beginning.
struct Schedule {
    /// By message: the venue's own time of it.
    sent_ns: Vec<u64>,
    /// By leg and message.
    due_ns: Vec<Vec<u64>>,
}

/// An even number in 0..1.
fn even(n: u64, salt: u64) -> f64 {
    (mixed(n, salt) & 0xffff_ffff) as f64 / 4_294_967_296.0
}

/// A time of the exponential distribution.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few means, and never below zero")]
fn exponential(mean: f64, even: f64) -> u64 {
    (-mean * (1.0 - even).ln()) as u64
}

impl Schedule {
    fn new(seed: u64, legs: usize, messages: usize) -> Self {
        let mut sent_ns = Vec::with_capacity(messages);
        let mut now = 0;
        for n in 0..messages as u64 {
            now += exponential(PERIOD_NS as f64, even(n ^ (seed << 24), 100));
            sent_ns.push(now);
        }
        let due_ns = (0..legs as u64).map(|leg| {
            let mut before = 0;
            let due = |(n, &sent): (u64, &u64)| {
                let of = |salt| even(n ^ (seed << 24), 10 * leg + salt);
                let is_stalled = mixed(n ^ (seed << 24), 10 * leg + 3).is_multiple_of(STALL_EVERY);
                let stall = if is_stalled { mixed(n, 10 * leg + 4) % STALL_NS_MAX } else { 0 };
                before = before.max(sent + DELAY_NS_MIN + exponential(DELAY_TAIL_NS, of(1)) + stall);
                before
            };
            (0..).zip(&sent_ns).map(due).collect()
        });
        let due_ns = due_ns.collect();
        Self { sent_ns, due_ns }
    }
}

/// One row: a kind, so many legs, and a way; and the percentiles of all rounds.
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) legs: usize,
    pub(crate) way: Way,
    latency_ns: Histogram<u64>,
    transit_ns: Histogram<u64>,
}

/// What became of one round: by message, when it was handled first, ns from the round's beginning.
pub(crate) struct Ran {
    handled_ns: Vec<u64>,
}

impl Contender {
    /// Every leg alone, all apart, and all merged.
    pub(crate) fn all(kind: Kind, legs: usize) -> Vec<Self> {
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        let ways = (0..legs).map(Way::Alone).chain([Way::Apart, Way::Merged]);
        let contender = |way| Self { kind, legs, way, latency_ns: histogram(), transit_ns: histogram() };
        ways.map(contender).collect()
    }

    /// One round, with the delays of this seed.
    pub(crate) fn round(&mut self, seed: u64, messages: usize) -> Ran {
        let schedule = Schedule::new(seed, self.legs, messages);
        let (handled_ns, written_ns) = run(self.kind, self.way, &schedule);
        for n in WARM_UP..messages {
            let first = written_ns.iter().map(|leg| leg[n]).min().expect("a leg");
            record(&mut self.latency_ns, handled_ns[n].saturating_sub(schedule.sent_ns[n]));
            record(&mut self.transit_ns, handled_ns[n].saturating_sub(first));
        }
        Ran { handled_ns }
    }

    fn name(&self) -> String {
        let (legs, kind) = (self.legs, self.kind.name());
        match self.way {
            Way::Alone(leg) => format!("legs/{legs}/{kind}/alone/{}", leg + 1),
            Way::Apart => format!("legs/{legs}/{kind}/apart"),
            Way::Merged => format!("legs/{legs}/{kind}/merged"),
        }
    }
}

/// What a merged stream cannot be better than.
pub(crate) struct Floor {
    /// The least of the delays that were drawn for each message: as if nothing took any time.
    drawn_ns: Histogram<u64>,
    /// The least latency of each message by whichever leg alone, each with a core to itself.
    alone_ns: Histogram<u64>,
}

impl Floor {
    pub(crate) fn new() -> Self {
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        Self { drawn_ns: histogram(), alone_ns: histogram() }
    }

    /// Of one round's legs, each alone.
    pub(crate) fn record(&mut self, seed: u64, legs: usize, alone: &[Ran]) {
        let messages = alone[0].handled_ns.len();
        let schedule = Schedule::new(seed, legs, messages);
        for n in WARM_UP..messages {
            let first = alone.iter().map(|ran| ran.handled_ns[n]).min().expect("a leg");
            record(&mut self.alone_ns, first.saturating_sub(schedule.sent_ns[n]));
            let due = schedule.due_ns.iter().map(|leg| leg[n]).min().expect("a leg");
            record(&mut self.drawn_ns, due - schedule.sent_ns[n]);
        }
    }
}

fn record(histogram: &mut Histogram<u64>, ns: u64) {
    histogram.record(ns).expect("the range grows by itself");
}

type Quantile = (&'static str, fn(&Percentiles) -> u64);

const QUANTILES: [Quantile; 3] = [("p50", |of| of.p50), ("p99", |of| of.p99), ("p99.9", |of| of.p999)];

#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
fn beside(quantile: &str, what: &str, merged: u64, other: u64) {
    let (more, ratio) = (i128::from(merged) - i128::from(other), merged as f64 / other as f64);
    println!("    {quantile:<6} {what:<39} {merged:>8} - {other:>8} = {more:>9}   ratio {ratio:.3}");
}

/// The percentiles of one kind with so many legs, and merged beside the floor and the cost of arbitration.
#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
pub(crate) fn print(contenders: &[Contender], floor: &Floor, cost: crate::cost::Cost) {
    let row = |name: &str, latency: &Histogram<u64>, transit: Option<&Histogram<u64>>| {
        let of = |histogram: &Histogram<u64>| {
            let Percentiles { p50, p99, p999, .. } = Percentiles::of(histogram);
            format!("{:>9} {:>9} {:>9}", p50, p99, p999)
        };
        println!("{name:<28} {:>8} {} {}", latency.len(), of(latency), transit.map(of).unwrap_or_default());
    };
    for contender in contenders {
        row(&contender.name(), &contender.latency_ns, Some(&contender.transit_ns));
    }
    let (legs, kind) = (contenders[0].legs, contenders[0].kind.name());
    row(&format!("legs/{legs}/{kind}/least of alone"), &floor.alone_ns, None);
    row(&format!("legs/{legs}/{kind}/least drawn"), &floor.drawn_ns, None);
    let of = |way| contenders.iter().find(|contender| contender.way == way).expect("it ran");
    let (merged, apart) = (of(Way::Merged), of(Way::Apart));
    for (name, of) in QUANTILES {
        let of = |histogram: &Histogram<u64>| of(&Percentiles::of(histogram));
        let alone = contenders.iter().filter(|contender| matches!(contender.way, Way::Alone(_)));
        let better = alone.map(|contender| of(&contender.latency_ns)).min().expect("a leg");
        let (latency, transit) = (of(&merged.latency_ns), of(&merged.transit_ns));
        beside(name, "latency, merged - the better leg alone", latency, better);
        beside(name, "latency, merged - least of alone", latency, of(&floor.alone_ns));
        beside(name, "latency, merged - apart", latency, of(&apart.latency_ns));
        beside(name, "transit, merged - apart", transit, of(&apart.transit_ns));
    }
    let crate::cost::Cost { alone, won, lost } = cost;
    let judged = i128::from(won) - i128::from(alone);
    println!(
        "    measured cost of arbitration: won {won} - alone {alone} = {judged} a message; one that loses takes {lost}"
    );
}

/// The strategy's state.
struct Mine {
    kind: Kind,
    cold: ColdPorts,
    legs: usize,
    /// By set and message: when it was handled; 0: not yet.
    handled_ns: Vec<Vec<u64>>,
    /// By symbol: the number of its next message.
    next: Vec<u64>,
    twice: u64,
    out_of_order: u64,
    marks: usize,
    /// Told to the sender: how many marks have come.
    told: Arc<AtomicU64>,
}

impl Mine {
    fn handled(&mut self, symbol: Symbol, k: u64) {
        let now = mono_now().0;
        let (set, at) = (symbol.index() as u64 / SYMBOL_COUNT, symbol.index() as u64 % SYMBOL_COUNT);
        let n = usize::try_from(k * SYMBOL_COUNT + at).expect("a message of the schedule");
        let slot = &mut self.handled_ns[usize::try_from(set).expect("small")][n];
        self.twice += u64::from(*slot != 0);
        *slot = now;
        let next = &mut self.next[symbol.index()];
        self.out_of_order += u64::from(k != *next);
        *next = k + 1;
    }

    /// A leg is there, or has brought its last.
    fn marked(&mut self) {
        self.marks += 1;
        self.told.store(self.marks as u64, Ordering::Release);
        while self.cold.pop().is_some() {}
        if self.marks == 2 * self.legs {
            push(&mut self.cold, Command::Stop);
        }
    }
}

fn on_symbol(mine: &mut Mine, router: &mut Router<Mine>, spec: &SymbolSpec) {
    if spec.name.starts_with("MARK") {
        return router.on_quote(spec.symbol, |mine: &mut Mine, _: &Quote| mine.marked());
    }
    match mine.kind {
        Kind::Trade => router.on_trade(spec.symbol, |mine: &mut Mine, trade: &Trade| {
            let TradeId::Number(id) = trade.id else { panic!("Binance numbers its trades") };
            mine.handled(trade.meta.symbol, id - BASE - 1);
        }),
        Kind::Quote => router.on_quote(spec.symbol, |mine: &mut Mine, quote: &Quote| {
            mine.handled(quote.meta.symbol, quote.update_id - BASE - 1);
        }),
        Kind::Depth => router.on_book_delta(spec.symbol, |mine: &mut Mine, book: &BookUpdate<'_>| {
            mine.handled(book.meta.symbol, (book.ids.last - BASE) / 10 - 1);
        }),
        Kind::BybitBook | Kind::None => unreachable!("they are not raced: one leg leads"),
    }
}

/// The CPUs of the core and of the sender, where there are two.
fn cpus() -> Option<[usize; 2]> {
    match available_cpus()[..] {
        [.., sender, core] => Some([core, sender]),
        _ => None,
    }
}

fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        confine_to(&[cpu]).expect("a CPU of this process");
    }
}

/// By message, when it was first handled; by leg and message, when it was written. ns from the round's beginning.
fn run(kind: Kind, way: Way, schedule: &Schedule) -> (Vec<u64>, Vec<Vec<u64>>) {
    let (messages, all) = (schedule.sent_ns.len(), 0..schedule.due_ns.len());
    let on: Vec<usize> = all.filter(|&leg| !matches!(way, Way::Alone(only) if only != leg)).collect();
    let is_apart = way == Way::Apart;
    let sets = if is_apart { on.len() } else { 1 };
    let (ours, mut peers): (Vec<_>, Vec<_>) = on.iter().map(|_| connected()).unzip();
    let told = Arc::new(AtomicU64::new(0));
    let stats = Arc::new(ConnectionStats::default());
    let two = cpus();
    let core = {
        let (told, stats) = (Arc::clone(&told), Arc::clone(&stats));
        std::thread::spawn(move || {
            pin(two.map(|[core, _]| core));
            let idle = if two.is_some() { Idle::Spin } else { Idle::Yield };
            turn((kind, idle), way == Way::Merged, (sets, messages), ours, &told, &stats)
        })
    };
    let copies: Vec<Vec<Vec<u8>>> = (0..sets as u64).map(|set| frames(kind, set, messages)).collect();
    let frame = |leg: usize, n: usize| &copies[if is_apart { leg } else { 0 }][n];
    let due: Vec<&[u64]> = on.iter().map(|&leg| &schedule.due_ns[leg][..]).collect();
    let sending = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            pin(two.map(|[_, sender]| sender));
            // Without a CPU of its own it lets the core turn.
            let wait = if two.is_some() { spin_loop } else { std::thread::yield_now };
            send((kind, wait), &mut peers, &due, frame, &told)
        });
        sender.join().expect("the core reads")
    });
    let (begun, written_ns) = sending;
    let mine = core.join().expect("the core ends");
    assert_eq!((mine.twice, mine.out_of_order), (0, 0), "{kind:?}, {way:?}: each once, and in order");
    let handled = mine.handled_ns.iter().flatten().filter(|&&at| at != 0).count();
    assert_eq!(handled, sets * messages, "{kind:?}, {way:?}: none is lost");
    assert_eq!((stats.unparsed.get(), stats.ahead.get(), stats.window_evictions.get()), (0, 0, 0));
    if way == Way::Merged {
        let (won, lost) = (stats.won.get(), stats.lost.get());
        let marks = 2 * on.len() as u64;
        assert_eq!(won, messages as u64 + marks, "{kind:?}: one leg wins each");
        assert_eq!(won + lost, (on.len() * messages) as u64 + marks, "{kind:?}: the others lose it");
    } else {
        assert_eq!((stats.won.get(), stats.lost.get(), stats.repeated.get()), (0, 0, 0));
    }
    let first = |n: usize| mine.handled_ns.iter().map(|set| set[n]).min().expect("a set");
    ((0..messages).map(|n| first(n).saturating_sub(begun)).collect(), written_ns)
}

fn frames(kind: Kind, set: u64, messages: usize) -> Vec<Vec<u8>> {
    let frame = |n: u64| {
        let mut frame = Vec::new();
        kind.frame(&symbol_name(set, n), n / SYMBOL_COUNT, &mut frame);
        frame
    };
    (0..messages as u64).map(frame).collect()
}

/// The core, on this thread, until every leg has brought all.
fn turn(
    (kind, idle): (Kind, Idle),
    is_merged: bool,
    (sets, messages): (usize, usize),
    ours: Vec<TcpStream>,
    told: &Arc<AtomicU64>,
    stats: &Arc<ConnectionStats>,
) -> Mine {
    let (hot, mut cold) = ports().expect("descriptors");
    let core_stats = Arc::new(CoreStats::new(0));
    let legs = ours.len();
    add_symbols(&mut cold, kind, sets as u64, legs as u64);
    if is_merged {
        begin_legs(&mut cold, kind);
    }
    for (leg, ours) in (0..).zip(ours) {
        attach(&mut cold, kind, leg, is_merged, ours, stats);
    }
    let symbols = sets * usize::try_from(SYMBOL_COUNT).expect("small");
    let state = Mine {
        kind,
        cold,
        legs,
        handled_ns: vec![vec![0; messages]; sets],
        next: vec![0; symbols],
        twice: 0,
        out_of_order: 0,
        marks: 0,
        told: Arc::clone(told),
    };
    let settings = CoreSettings { idle, latency_sample_every: 64, ..CoreSettings::default() };
    let core = Core::new(settings, hot, core_stats, Strategy { state, on_symbol }).expect("a poller");
    core.run().expect("no handler panics")
}

/// Sends each copy when it is due. The beginning, and by leg and message when its write began, ns from there.
fn send<'a>(
    (kind, wait): (Kind, fn()),
    peers: &mut [TcpStream],
    due: &[&[u64]],
    frame: impl Fn(usize, usize) -> &'a Vec<u8>,
    told: &AtomicU64,
) -> (u64, Vec<Vec<u64>>) {
    let mut plan: Vec<(u64, usize, usize)> = Vec::new();
    for (leg, due) in due.iter().enumerate() {
        plan.extend((0..).zip(*due).map(|(n, &due)| (due, leg, n)));
    }
    // A leg's messages keep their order where two are due at once.
    plan.sort_unstable_by_key(|&(due, leg, n)| (due, n, leg));
    let mut written_ns: Vec<Vec<u64>> = due.iter().map(|due| vec![0; due.len()]).collect();
    let mark_all = |number, peers: &mut [TcpStream]| {
        for (leg, peer) in (0..).zip(peers) {
            let mut marker = Vec::new();
            mark_leg(kind, leg, number, &mut marker);
            peer.write_all(&marker).expect("the core reads");
        }
    };
    mark_all(1, peers);
    let legs = peers.len() as u64;
    while told.load(Ordering::Acquire) < legs {
        std::thread::yield_now();
    }
    let begun = mono_now().0;
    for (due, leg, n) in plan {
        let mut now = mono_now().0 - begun;
        while now < due {
            wait();
            now = mono_now().0 - begun;
        }
        written_ns[leg][n] = now;
        peers[leg].write_all(frame(leg, n)).expect("the core reads");
    }
    mark_all(2, peers);
    (begun, written_ns)
}
