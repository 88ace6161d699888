//! The whole way of a message on a hot core, from the read buffer to an empty handler, beside its decoding alone.
//!
//! ```text
//! venue ── one chunk, under 64 KiB ──► socket ─► Core::run, on this very thread ─► handlers
//!   ▲                                                                  │
//!   └── the next chunk, not timed ◄── second marker of a chunk ◄───────┘   first marker: the clock starts
//! ```
//! A chunk fits one read and is timed between quotes of a marker's symbol at its ends, so no system call is in the figure.
//! Counters, liveness and the stamps of one message in 64 are on, as they are by default. The messages decoded alone are the
//! same, in the same order, and lie one behind the other, too.

use crate::engine::{Engine, Sum};
use crate::messages::{Arena, Case, Listing, Message, frame, generated};
use crate::race::{OURS, Outcome, Raced, median, rows};
use std::hint::black_box;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;
use tickwire::hot::{
    Attachment, ColdPorts, Command, ConnectionSettings, ConnectionStats, Core, CoreSettings, CoreStats, Feed,
    HotConnection, Idle, Router, Strategy, Stream, ports,
};
use tickwire::market::{Quote, SymbolSpec, SymbolTable, Trade, Venue};
use tickwire::telemetry::thread_allocations;
use tickwire::venue::{Cpu, Decoder, Form};

const CASE: Case = Case::BinanceSpotTrade;
/// Below what a core reads in one visit, and what a loopback socket takes at once.
const CHUNK_BYTES_MAX: usize = 50_000;
/// Chunks of a slice; the first few warm up what there is to warm.
const CHUNKS: usize = 40;
const WARM_UP: usize = 5;
const MARKER: &str = "MARKUSDT";

struct Mine {
    cold: ColdPorts,
    venue: TcpStream,
    /// What is sent of them next.
    chunks: Vec<Vec<u8>>,
    next: usize,
    started: Option<(Instant, u64)>,
    handled: usize,
    chunk_ns: Vec<u64>,
    allocations: u64,
}

impl Mine {
    fn send(&mut self) {
        self.venue.write_all(&self.chunks[self.next]).expect("the core reads");
        self.next += 1;
    }
}

fn on_trade(mine: &mut Mine, _trade: &Trade) {
    mine.handled += 1;
}

fn on_marker(mine: &mut Mine, _quote: &Quote) {
    let Some((started, allocations)) = mine.started.take() else {
        mine.started = Some((Instant::now(), thread_allocations()));
        return;
    };
    mine.chunk_ns.push(u64::try_from(started.elapsed().as_nanos()).expect("below a century"));
    mine.allocations += thread_allocations() - allocations;
    while mine.cold.pop().is_some() {}
    if mine.next == mine.chunks.len() {
        mine.cold.push(Command::Stop).expect("room in the ring");
    } else {
        mine.send();
    }
}

fn on_symbol(_mine: &mut Mine, router: &mut Router<Mine>, spec: &SymbolSpec) {
    if &*spec.name == MARKER {
        router.on_quote(spec.symbol, on_marker);
    } else {
        router.on_trade(spec.symbol, on_trade);
    }
}

/// The frames of the messages, between two of the marker.
fn chunk(messages: &[Message]) -> Vec<u8> {
    let mut chunk = Vec::new();
    let mark = |chunk: &mut Vec<u8>, number: u32| {
        let text = format!(
            r#"{{"stream":"markusdt@bookTicker","data":{{"u":{number},"s":"{MARKER}","b":"1.00000000","B":"1.00000000","a":"2.00000000","A":"1.00000000"}}}}"#
        );
        frame(text.as_bytes(), chunk);
    };
    mark(&mut chunk, 1);
    messages.iter().for_each(|message| frame(&message.text, &mut chunk));
    mark(&mut chunk, 2);
    chunk
}

/// ns of each chunk of so many messages, and allocations of all, through a core of its own.
fn through_a_core(names: &[String], messages: &[Message], count: usize, cpu: Cpu) -> (Vec<u64>, u64) {
    let (hot, mut cold) = ports().expect("descriptors");
    let core_stats = Arc::new(CoreStats::new(0));
    let stats = Arc::new(ConnectionStats::default());
    let mut table = SymbolTable::default();
    for name in names.iter().map(|name| &**name).chain([MARKER]) {
        let symbol = table.add(Venue::BinanceSpot, name, 2, 3, None).expect("room");
        cold.push(Command::AddSymbol(Box::new(table.spec(symbol).expect("just added").clone()))).expect("room");
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (venue, _) = listener.accept().expect("accepts");
    venue.set_nodelay(true).expect("a socket");
    let stream = Stream::plain(ours).expect("non-blocking");
    let connection = HotConnection::new(stream, b"", &ConnectionSettings::default()).expect("a connection");
    let decoder = Decoder::with_cpu(Venue::BinanceSpot, Form::Combined, None, cpu);
    let feed = Feed::new(0, decoder, Arc::clone(&stats));
    cold.push(Command::Attach(Box::new(Attachment { connection, feed }))).expect("room");
    let mut state = Mine {
        cold,
        venue,
        chunks: messages.chunks(count).map(chunk).collect(),
        next: 0,
        started: None,
        handled: 0,
        chunk_ns: Vec::with_capacity(CHUNKS),
        allocations: 0,
    };
    state.send();
    let settings = CoreSettings { idle: Idle::Spin, ..CoreSettings::default() };
    let core = Core::new(settings, hot, core_stats, Strategy { state, on_symbol }).expect("a poller");
    let mine = core.run().expect("no handler panics");
    assert_eq!(mine.handled, messages.len(), "each event reached its handler once");
    assert_eq!((stats.unparsed.get(), stats.unrouted.get()), (0, 0));
    (mine.chunk_ns, mine.allocations)
}

/// The race over a universe of so many symbols.
pub(crate) fn race(symbols: usize, slices: usize, cpu: Cpu) -> Raced {
    let listing = Listing::generated(CASE, symbols);
    let names = &listing.names[..];
    // All are different: a trade that comes again is another matter.
    let count = generated(CASE, names, usize::MAX >> 1, CHUNK_BYTES_MAX).len();
    let messages = &generated(CASE, names, CHUNKS * count, usize::MAX)[..];
    let mut engine = Engine::new(&listing, cpu);
    let arena = |messages: &[Message]| Arena::new(messages.iter().map(|message| &message.text[..]));
    let mut arenas: Vec<Arena> = messages.chunks(count).map(arena).collect();
    let (mut core_ns, mut decode_ns, mut allocated) = (Vec::new(), Vec::new(), [0, 0]);
    for slice in 0..2 * slices {
        if slice % 2 == 0 {
            let (chunk_ns, allocations) = through_a_core(names, messages, count, cpu);
            core_ns.extend(chunk_ns.into_iter().skip(WARM_UP).map(|ns| ns as f64 / count as f64));
            allocated[0] += allocations;
            continue;
        }
        for (pass, arena) in arenas.iter_mut().enumerate() {
            black_box(arena.pull());
            let before = thread_allocations();
            let started = Instant::now();
            let mut sum = Sum::default();
            for at in (0..).take(count) {
                engine.decode(arena.padded_mut(at), &mut sum);
            }
            black_box(sum.0);
            if pass >= WARM_UP {
                decode_ns.push(started.elapsed().as_nanos() as f64 / count as f64);
            }
            allocated[1] += thread_allocations() - before;
        }
    }
    let messages_taken = (slices * messages.len()) as f64;
    let outcome = |name, version, mut ns: Vec<f64>, allocated: u64| Outcome {
        name,
        version,
        ns: median(&mut ns),
        allocations: allocated as f64 / messages_taken,
    };
    let outcomes = [
        outcome(OURS, env!("CARGO_PKG_VERSION"), core_ns, allocated[0]),
        outcome("floor:decoding alone", "", decode_ns, allocated[1]),
    ];
    let case = format!("{}, {symbols} symbols", CASE.name());
    Raced { rows: rows("path", &case, &outcomes), panel: None }
}
