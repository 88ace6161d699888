//! What arbitration costs: one message, from the read buffer to its handler or to where it is left out.
//!
//! ```text
//! the core's own thread:  marker │ messages of one chunk, under 64 KiB │ marker ──► first leg, then the same on the second
//!                         the clock starts at one marker and stops at the other
//! ```
//! A chunk fits one read, so no system call and no second thread is in a figure.

use crate::stage::{SYMBOL_COUNT, add_symbols, attach, begin_legs, connected, mark_leg, push, symbol_name};
use crate::words::Kind;
use hdrhistogram::Histogram;
use std::collections::HashSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;
use tickwire::hot::{
    ColdPorts, Command, ConnectionStats, Core, CoreSettings, CoreStats, Idle, Router, Strategy, ports,
};
use tickwire::market::{BookUpdate, Quote, Symbol, SymbolSpec, Ticker, Trade, TradeId};
use tickwire::telemetry::Percentiles;

/// Below what a core reads in one visit, and what a loopback socket takes at once.
const CHUNK_BYTES_MAX: usize = 60_000;
/// Chunks of a round that warm caches and predictors and are not counted.
pub(crate) const WARM_UP: usize = 5;

/// Who finds the repeats.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// There are none: one connection.
    Alone,
    /// The core, of two legs.
    Legs,
    /// The strategy, of two connections that know nothing of each other: a set of all ids so far, which is never cleared, for
    /// trades; the last number of each symbol for quotes and depth.
    ByHand,
}

/// A kind and a way, and what came of them.
pub(crate) struct Contender {
    kind: Kind,
    way: Way,
    /// ns of a message, by chunk: brought first, and brought again.
    ns: [Histogram<u64>; 2],
}

impl Contender {
    /// Every kind in every way that it can go.
    pub(crate) fn all() -> Vec<Self> {
        let ways = |kind| match kind {
            Kind::Trade | Kind::Quote | Kind::Depth => &[Way::Alone, Way::Legs, Way::ByHand][..],
            // A strategy is not told which connection an event came on: it cannot follow one of them.
            Kind::BybitBook | Kind::None => &[Way::Alone, Way::Legs],
        };
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        let contender = |kind, way| Self { kind, way, ns: [histogram(), histogram()] };
        Kind::ALL.into_iter().flat_map(|kind| ways(kind).iter().map(move |&way| contender(kind, way))).collect()
    }

    /// One round, on a core of its own on this thread.
    pub(crate) fn round(&mut self, chunks: usize) {
        let chunk_ns = round(self.kind, self.way, chunks);
        for (histogram, chunk_ns) in self.ns.iter_mut().zip(chunk_ns) {
            for message_ns in chunk_ns.into_iter().skip(WARM_UP) {
                histogram.record(message_ns).expect("the range grows by itself");
            }
        }
    }

    fn rows(&self) -> Vec<(String, &Histogram<u64>)> {
        let row = |what: &str, histogram| (format!("legs/arbitrate/{}/{what}", self.kind.name()), histogram);
        let [first, again] = &self.ns;
        match self.way {
            Way::Alone => vec![row("alone", first)],
            Way::Legs => vec![row("won", first), row("lost", again)],
            Way::ByHand => vec![row("won/by_hand", first), row("lost/by_hand", again)],
        }
    }
}

/// ns of a message in the median chunk: of a connection alone, of one that wins, of one that loses.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) alone: u64,
    pub(crate) won: u64,
    pub(crate) lost: u64,
}

/// What arbitration of this kind cost.
pub(crate) fn cost(contenders: &[Contender], kind: Kind) -> Cost {
    let p50 = |way, at: usize| {
        let mut known = contenders.iter();
        let found = known.find(|contender| (contender.kind, contender.way) == (kind, way)).expect("it ran");
        Percentiles::of(&found.ns[at]).p50
    };
    Cost { alone: p50(Way::Alone, 0), won: p50(Way::Legs, 0), lost: p50(Way::Legs, 1) }
}

#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
pub(crate) fn print(contenders: &[Contender]) {
    println!("one message, read to empty handler or left out, ns: means of chunks; beside one connection without legs");
    println!(
        "{:<38} {:>7} {:>6} {:>6} {:>6} {:>6} {:>8} {:>7}",
        "", "chunks", "min", "p50", "p99", "p99.9", "max", "ratio"
    );
    for contender in contenders {
        let alone = cost(contenders, contender.kind).alone;
        for (name, histogram) in contender.rows() {
            let Percentiles { p50, p99, p999, max } = Percentiles::of(histogram);
            let (chunks, min, ratio) = (histogram.len(), histogram.min(), p50 as f64 / alone as f64);
            println!("{name:<38} {chunks:>7} {min:>6} {p50:>6} {p99:>6} {p999:>6} {max:>8} {ratio:>7.2}");
        }
    }
}

/// The strategy's state, and with it the venue: what a marker's handler needs to send the next chunk.
struct Mine {
    kind: Kind,
    way: Way,
    cold: ColdPorts,
    /// The other ends.
    peers: Vec<TcpStream>,
    /// Whose chunk is under way.
    peer: usize,
    chunks_left: usize,
    chunk: Vec<u8>,
    /// Number of the next message, and of the chunk's messages.
    next: u64,
    count: u64,
    markers: u64,
    started: Option<Instant>,
    /// Events that were new.
    taken: u64,
    /// By hand: ids, and the last number of each symbol.
    ids: HashSet<(Symbol, TradeId)>,
    lasts: Vec<u64>,
    /// ns of a message, by chunk of each peer.
    message_ns: [Vec<u64>; 2],
}

impl Mine {
    fn take_further(&mut self, symbol: Symbol, number: u64) {
        let last = &mut self.lasts[symbol.index()];
        if number > *last {
            *last = number;
            self.taken += 1;
        }
    }
}

fn on_marker(mine: &mut Mine, _quote: &Quote) {
    match mine.started.take() {
        None => mine.started = Some(Instant::now()),
        Some(started) => {
            let taken_ns = u64::try_from(started.elapsed().as_nanos()).expect("below a century");
            mine.message_ns[mine.peer].push(taken_ns / mine.count);
            next_chunk(mine);
        }
    }
}

/// Sends the same messages to the next peer, or the next ones to the first; or lets the core end.
fn next_chunk(mine: &mut Mine) {
    while mine.cold.pop().is_some() {}
    if mine.peer + 1 < mine.peers.len() {
        mine.peer += 1;
        mine.next -= mine.count;
    } else {
        mine.peer = 0;
        mine.chunks_left -= 1;
    }
    if mine.chunks_left == 0 {
        push(&mut mine.cold, Command::Stop);
    } else {
        send_chunk(mine);
    }
}

fn send_chunk(mine: &mut Mine) {
    mine.chunk.clear();
    mine.count = 0;
    let leg = mine.peer as u64;
    mine.markers += 1;
    mark_leg(mine.kind, leg, mine.markers, &mut mine.chunk);
    loop {
        let end = mine.chunk.len();
        let n = mine.next;
        mine.kind.frame(&symbol_name(0, n), n / SYMBOL_COUNT, &mut mine.chunk);
        if mine.chunk.len() > CHUNK_BYTES_MAX {
            mine.chunk.truncate(end);
            break;
        }
        mine.next += 1;
        mine.count += 1;
    }
    mine.markers += 1;
    mark_leg(mine.kind, leg, mine.markers, &mut mine.chunk);
    mine.peers[mine.peer].write_all(&mine.chunk).expect("the core reads");
}

fn on_symbol(mine: &mut Mine, router: &mut Router<Mine>, spec: &SymbolSpec) {
    let symbol = spec.symbol;
    if spec.name.starts_with("MARK") {
        return router.on_quote(symbol, on_marker);
    }
    match (mine.kind, mine.way) {
        (Kind::Trade, Way::ByHand) => router.on_trade(symbol, |mine: &mut Mine, trade: &Trade| {
            mine.taken += u64::from(mine.ids.insert((trade.meta.symbol, trade.id)));
        }),
        (Kind::Quote, Way::ByHand) => router.on_quote(symbol, |mine: &mut Mine, quote: &Quote| {
            mine.take_further(quote.meta.symbol, quote.update_id);
        }),
        (Kind::Depth, Way::ByHand) => router.on_book_delta(symbol, |mine: &mut Mine, book: &BookUpdate<'_>| {
            mine.take_further(book.meta.symbol, book.ids.last);
        }),
        (Kind::Trade, _) => router.on_trade(symbol, |mine: &mut Mine, _: &Trade| mine.taken += 1),
        (Kind::Quote, _) => router.on_quote(symbol, |mine: &mut Mine, _: &Quote| mine.taken += 1),
        (Kind::Depth | Kind::BybitBook, _) => {
            router.on_book_delta(symbol, |mine: &mut Mine, _: &BookUpdate<'_>| mine.taken += 1);
        }
        (Kind::None, _) => router.on_ticker(symbol, |mine: &mut Mine, _: &Ticker| mine.taken += 1),
    }
}

/// ns of a message by chunk, of both connections.
fn round(kind: Kind, way: Way, chunks: usize) -> [Vec<u64>; 2] {
    let (hot, mut cold) = ports().expect("descriptors");
    let core_stats = Arc::new(CoreStats::new(0));
    let stats = Arc::new(ConnectionStats::default());
    let count = if way == Way::Alone { 1 } else { 2 };
    add_symbols(&mut cold, kind, 1, count);
    if way == Way::Legs {
        begin_legs(&mut cold, kind);
    }
    let mut peers = Vec::new();
    for leg in 0..count {
        let (ours, peer) = connected();
        attach(&mut cold, kind, u8::try_from(leg).expect("small"), way == Way::Legs, ours, &stats);
        peers.push(peer);
    }
    let mut state = Mine {
        kind,
        way,
        peers,
        cold,
        peer: 0,
        chunks_left: chunks,
        chunk: Vec::with_capacity(2 * CHUNK_BYTES_MAX),
        next: 0,
        count: 0,
        markers: 0,
        started: None,
        taken: 0,
        // No message is shorter than 126 bytes: it never grows while it is timed.
        ids: HashSet::with_capacity(if way == Way::ByHand { chunks * CHUNK_BYTES_MAX / 126 } else { 0 }),
        lasts: vec![0; usize::try_from(SYMBOL_COUNT).expect("small")],
        message_ns: [const { Vec::new() }; 2],
    };
    send_chunk(&mut state);
    let settings = CoreSettings { idle: Idle::Spin, ..CoreSettings::default() };
    let core = Core::new(settings, hot, core_stats, Strategy { state, on_symbol }).expect("a poller");
    let mine = core.run().expect("no handler panics");
    assert_eq!(mine.taken, mine.next, "{kind:?}, {way:?}: each message once");
    let again = if way == Way::Legs { mine.next } else { 0 };
    assert_eq!((stats.repeated.get(), stats.ahead.get(), stats.unparsed.get()), (again, 0, 0), "{kind:?}, {way:?}");
    if way == Way::Legs && matches!(kind, Kind::Trade | Kind::Quote | Kind::Depth) {
        assert_eq!((stats.won.get(), stats.lost.get()), (mine.next + mine.markers, mine.next), "{kind:?}");
    }
    mine.message_ns
}
