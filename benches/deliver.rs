//! `deliver/<kind>/<overlap>`: one message from the read buffer to an empty handler: frame, decode, pulse, (legs,) route.
//!
//! ```text
//! peer ── one chunk, under 64 KiB ──► socket ─► Core::run, on this very thread ─► handlers
//!   ▲                                                                    │
//!   └── the next chunk, unmeasured ◄── second marker of a chunk ◄────────┘   first marker: the clock starts
//!
//! cargo bench --bench deliver                                    30 rounds of each row, interleaved
//! cargo bench --bench deliver -- --row trade/alone --chunks 50   one row, to count its instructions
//! cargo bench --bench deliver -- --every 1                       every message stamped; 64: one in 64, the default; 0: none
//! cargo bench --bench deliver -- --test                          a few messages of each, to see that it lives
//! ```
//! A chunk fits one read and is timed between the quotes of a marker symbol at its ends, so no system call and no second
//! thread is in the figure: it is what a message costs once its bytes are here. `a_read_each`: every message comes in a
//! read of its own, and from the end of its write to its handler counts, the read's system call included. `alone`: no
//! overlap is on. `leader`: one
//! is on, and the leader brings each event first. `repeated`: the successor brings what the leader brought before. `won` and
//! `lost`: the same of two legs that last, whose wins, losses and lag are counted. `kept`: the
//! core keeps the books, of some 500 levels a side; each message of five levels a side is applied before its handler is called.
//! Instructions, which a noisy neighbour does not change: run a row with two values of `--chunks` under
//! `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='deliver::run' --toggle-collect='deliver::next_chunk'`;
//! the difference, by the messages of the chunks between them, is one message's. The row says how many a chunk has.

use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickwire::book::{BookEvent, BookSettings, BookSnapshot, Slot};
use tickwire::hot::{
    Attachment, ColdPorts, Command, ConnectionSettings, ConnectionStats, Core, CoreSettings, CoreStats, Feed,
    HotConnection, Idle, Joining, Notice, Overlap, Router, Strategy, Stream, ports,
};
use tickwire::market::{
    BookUpdate, Level, Price, Qty, Quote, Received, SequenceIds, StreamKind, Symbol, SymbolSpec, SymbolTable, Trade,
    Venue,
};
use tickwire::telemetry::Percentiles;
use tickwire::venue::{Decoder, Form, VenueSequence};

/// Below what a core reads in one visit, and what a loopback socket takes at once.
const CHUNK_BYTES_MAX: usize = 60_000;
/// Symbols whose messages take turns.
const SYMBOL_COUNT: u64 = 16;
/// Chunks of a round that warm caches and predictors and are not timed.
const WARM_UP: usize = 5;
/// Messages of a row that reads each by itself, for every chunk of the other rows.
const SINGLES_A_CHUNK: usize = 20;
const MARKER: &str = "MARKUSDT";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Trade,
    Quote,
    Book,
    KeptBook,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Legs {
    Alone,
    Leader,
    Repeated,
    Won,
    Lost,
}

impl Legs {
    /// The second connection brings the same.
    const fn is_behind(self) -> bool {
        matches!(self, Self::Repeated | Self::Lost)
    }

    const fn is_lasting(self) -> bool {
        matches!(self, Self::Won | Self::Lost)
    }
}

struct Row {
    name: &'static str,
    kind: Kind,
    legs: Legs,
    /// Each message comes in a read of its own, which is timed with it.
    is_single: bool,
}

const ROWS: [Row; 18] = [
    Row { name: "trade/alone", kind: Kind::Trade, legs: Legs::Alone, is_single: false },
    Row { name: "trade/a_read_each", kind: Kind::Trade, legs: Legs::Alone, is_single: true },
    Row { name: "trade/leader", kind: Kind::Trade, legs: Legs::Leader, is_single: false },
    Row { name: "trade/repeated", kind: Kind::Trade, legs: Legs::Repeated, is_single: false },
    Row { name: "trade/won", kind: Kind::Trade, legs: Legs::Won, is_single: false },
    Row { name: "trade/lost", kind: Kind::Trade, legs: Legs::Lost, is_single: false },
    Row { name: "quote/alone", kind: Kind::Quote, legs: Legs::Alone, is_single: false },
    Row { name: "quote/a_read_each", kind: Kind::Quote, legs: Legs::Alone, is_single: true },
    Row { name: "quote/leader", kind: Kind::Quote, legs: Legs::Leader, is_single: false },
    Row { name: "quote/repeated", kind: Kind::Quote, legs: Legs::Repeated, is_single: false },
    Row { name: "quote/won", kind: Kind::Quote, legs: Legs::Won, is_single: false },
    Row { name: "quote/lost", kind: Kind::Quote, legs: Legs::Lost, is_single: false },
    Row { name: "book/alone", kind: Kind::Book, legs: Legs::Alone, is_single: false },
    Row { name: "book/kept", kind: Kind::KeptBook, legs: Legs::Alone, is_single: false },
    Row { name: "book/leader", kind: Kind::Book, legs: Legs::Leader, is_single: false },
    Row { name: "book/repeated", kind: Kind::Book, legs: Legs::Repeated, is_single: false },
    Row { name: "book/won", kind: Kind::Book, legs: Legs::Won, is_single: false },
    Row { name: "book/lost", kind: Kind::Book, legs: Legs::Lost, is_single: false },
];

/// The strategy's state, and with it the venue: what a marker's handler needs to send the next chunk.
struct Mine {
    kind: Kind,
    is_single: bool,
    cold: ColdPorts,
    /// The other ends: the leader's, and the successor's if there is one.
    peers: Vec<TcpStream>,
    /// Chunks still to be sent to the last peer.
    chunks_left: usize,
    /// Whose chunk is under way.
    peer: usize,
    chunk: Vec<u8>,
    /// Number of the next message, and of the chunk's messages.
    next: u64,
    count: u64,
    markers: u64,
    started: Option<Instant>,
    /// Events that reached their handler, the markers left out.
    handled: u64,
    /// ns of a message, by chunk of the last peer.
    message_ns: Vec<u64>,
}

fn on_trade(mine: &mut Mine, _trade: &Trade) {
    mine.handled += 1;
    if mine.is_single {
        handled_alone(mine);
    }
}

fn on_quote(mine: &mut Mine, _quote: &Quote) {
    mine.handled += 1;
    if mine.is_single {
        handled_alone(mine);
    }
}

/// From the end of one write, through what follows the handler before, to the handler of the next message.
fn handled_alone(mine: &mut Mine) {
    let started = mine.started.take().expect("it was sent");
    next_chunk(mine, u64::try_from(started.elapsed().as_nanos()).expect("below a century"));
    mine.started = Some(Instant::now());
}

fn on_book(mine: &mut Mine, _book: &BookUpdate<'_>) {
    mine.handled += 1;
}

/// Whether a book is told of once more, as cut off, depends on how the core's end finds its connection.
fn on_kept_book(mine: &mut Mine, event: &BookEvent<'_>) {
    mine.handled += u64::from(event.view.state.is_live());
}

fn on_marker(mine: &mut Mine, _quote: &Quote) {
    match mine.started.take() {
        None => mine.started = Some(Instant::now()),
        Some(started) => {
            let taken_ns = u64::try_from(started.elapsed().as_nanos()).expect("below a century");
            next_chunk(mine, taken_ns);
        }
    }
}

/// A chunk has been handled: notes its time and sends the next, or lets the core end.
#[inline(never)]
fn next_chunk(mine: &mut Mine, taken_ns: u64) {
    while let Some(notice) = mine.cold.pop() {
        answer(mine, &notice);
    }
    if mine.peer + 1 < mine.peers.len() {
        mine.peer += 1;
        // The same messages, between markers of their own.
        mine.next -= mine.count;
    } else {
        mine.message_ns.push(taken_ns / mine.count);
        mine.chunks_left -= 1;
        mine.peer = 0;
    }
    if mine.chunks_left == 0 {
        mine.cold.push(Command::Stop).expect("room in the ring");
    } else {
        send_chunk(mine);
    }
}

/// Gives a kept book its snapshot, during the first chunks.
fn answer(mine: &mut Mine, notice: &Notice) {
    let &Notice::FetchBegun { symbol, begun } = notice else { return };
    let command = match begun {
        Ok(ticket) => {
            // Of a message at most one further on than the symbol's last: what is skipped until then is counted.
            let id = 10 * (mine.next / SYMBOL_COUNT) + 10;
            let level = |price| vec![Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(1) }];
            Command::Snapshot(Box::new(BookSnapshot {
                symbol,
                ticket,
                ids: SequenceIds { first: id, last: id, previous: None, cross: None },
                depth: 1_000,
                received: Received::default(),
                event_time: None,
                bids: level(6_100_000),
                asks: level(6_101_000),
            }))
        }
        // All buffers are lent.
        Err(_) => Command::BeginFetch { symbol },
    };
    mine.cold.push(command).expect("room in the ring");
}

fn send_chunk(mine: &mut Mine) {
    mine.chunk.clear();
    mine.count = 0;
    if !mine.is_single {
        mark(mine);
    }
    let mut text = String::new();
    loop {
        text.clear();
        message(&mut text, mine.kind, mine.next);
        if mine.chunk.len() + text.len() > CHUNK_BYTES_MAX {
            break;
        }
        frame(&mut mine.chunk, &text);
        mine.next += 1;
        mine.count += 1;
        if mine.is_single {
            break;
        }
    }
    if !mine.is_single {
        mark(mine);
    }
    mine.peers[mine.peer].write_all(&mine.chunk).expect("the core reads");
}

fn mark(mine: &mut Mine) {
    mine.markers += 1;
    let mut text = String::new();
    quote(&mut text, MARKER, mine.markers);
    frame(&mut mine.chunk, &text);
}

fn frame(chunk: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("a short message").to_be_bytes();
    assert!(text.len() >= 126, "a frame of the middle length");
    chunk.extend_from_slice(&[0x81, 126, length[0], length[1]]);
    chunk.extend_from_slice(text.as_bytes());
}

fn symbol_name(n: u64) -> String {
    format!("{}BCUSDT", char::from(b'A' + u8::try_from(n % SYMBOL_COUNT).expect("below 16")))
}

/// A message in its venue's words; numbers vary as a market's do, in constant lengths.
fn message(text: &mut String, kind: Kind, n: u64) {
    let name = symbol_name(n);
    let stream = name.to_ascii_lowercase();
    let time = 1_700_000_000_000 + n;
    let written = match kind {
        Kind::Trade => write!(
            text,
            r#"{{"stream":"{stream}@trade","data":{{"e":"trade","E":{time},"s":"{name}","t":{},"p":"{}.{:02}000000","q":"0.{:05}000","T":{time},"m":{},"M":true}}}}"#,
            // Each symbol counts for itself: an id that is left out would be a hole.
            3_735_683_259 + n / SYMBOL_COUNT,
            61_000 + mixed(n, 1) % 1_000,
            mixed(n, 2) % 100,
            1 + mixed(n, 3) % 99_999,
            mixed(n, 4).is_multiple_of(2),
        ),
        Kind::Quote => return quote(text, &name, n),
        Kind::Book | Kind::KeptBook => write!(
            text,
            r#"{{"stream":"{stream}@depth@100ms","data":{{"e":"depthUpdate","E":{time},"s":"{name}","U":{},"u":{},"b":[{}],"a":[{}]}}}}"#,
            // Ten ids a batch, each symbol's joining its last.
            10 * (n / SYMBOL_COUNT) + 1,
            10 * (n / SYMBOL_COUNT) + 10,
            levels(n, 61_000, 5),
            levels(n + 1, 61_010, 5),
        ),
    };
    written.expect("a string takes all");
}

fn quote(text: &mut String, name: &str, n: u64) {
    let (price, qty) = (61_000 + mixed(n, 1) % 1_000, 1 + mixed(n, 2) % 99_999);
    write!(
        text,
        r#"{{"stream":"{}@bookTicker","data":{{"u":{},"s":"{name}","b":"{price}.01000000","B":"0.{qty:05}000","a":"{price}.02000000","A":"0.{qty:05}000"}}}}"#,
        name.to_ascii_lowercase(),
        50_093_239_212 + n,
    )
    .expect("a string takes all");
}

fn levels(n: u64, from: u64, count: u64) -> String {
    let level =
        |at| format!(r#"["{}.{:02}000000","0.{:05}000"]"#, from + at, mixed(n, at) % 100, mixed(n, at) % 99_999);
    (0..count).map(level).collect::<Vec<_>>().join(",")
}

/// A number that looks like chance, the same in every run.
fn mixed(n: u64, salt: u64) -> u64 {
    let mixed = (n ^ (salt << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

fn on_symbol(mine: &mut Mine, router: &mut Router<Mine>, spec: &SymbolSpec) {
    match (&*spec.name, mine.kind) {
        (MARKER, _) => router.on_quote(spec.symbol, on_marker),
        (_, Kind::Trade) => router.on_trade(spec.symbol, on_trade),
        (_, Kind::Quote) => router.on_quote(spec.symbol, on_quote),
        (_, Kind::KeptBook) => router.on_book(spec.symbol, on_kept_book),
        (_, Kind::Book) => router.on_book_delta(spec.symbol, on_book),
    }
}

/// A connection of the core in this slot, and its other end.
fn attach(cold: &mut ColdPorts, slot: u16, stats: &Arc<ConnectionStats>, legs: Legs) -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (peer, _) = listener.accept().expect("accepts");
    peer.set_nodelay(true).expect("a socket");
    let stream = Stream::plain(ours).expect("non-blocking");
    let connection = HotConnection::new(stream, b"", &ConnectionSettings::default()).expect("a connection");
    let decoder = Decoder::new(Venue::BinanceSpot, Form::Combined, None);
    let joining = legs.is_lasting().then_some(Joining { id: 1, successor_of: None });
    let feed = Feed { leg: u8::from(slot == 1), joining, ..Feed::new(slot, decoder, Arc::clone(stats)) };
    cold.push(Command::Attach(Box::new(Attachment { connection, feed }))).expect("room in the ring");
    peer
}

/// Has a symbol's book kept, and asks for its snapshot.
fn keep(cold: &mut ColdPorts, symbol: Symbol) {
    let settings = BookSettings { depth_kept: 1_000, ..BookSettings::for_depth(0) };
    let slot = Slot::new(symbol, 0, VenueSequence::of(Venue::BinanceSpot), settings);
    cold.push(Command::AddBook(Box::new(slot))).expect("room in the ring");
    cold.push(Command::BeginFetch { symbol }).expect("room in the ring");
}

/// One round of one row, one message in `every` stamped: ns of a message by chunk, and messages of the last chunk.
fn round(row: &Row, chunks: usize, every: u32) -> (Vec<u64>, u64) {
    let chunks = if row.is_single { chunks * SINGLES_A_CHUNK } else { chunks };
    let (hot, mut cold) = ports().expect("descriptors");
    let core_stats = Arc::new(CoreStats::new(0));
    let stats = Arc::new(ConnectionStats::default());
    let mut table = SymbolTable::default();
    for name in (0..SYMBOL_COUNT).map(symbol_name).chain([MARKER.to_owned()]) {
        let symbol = table.add(Venue::BinanceSpot, &name, 2, 5, None).expect("room");
        let spec = table.spec(symbol).expect("just added").clone();
        cold.push(Command::AddSymbol(Box::new(spec))).expect("room in the ring");
        if row.kind == Kind::KeptBook && name != MARKER {
            keep(&mut cold, symbol);
        }
    }
    let stream_kinds = [StreamKind::TRADE, StreamKind::QUOTE, StreamKind::BOOK];
    if row.legs.is_lasting() {
        let overlap = Overlap::of_legs(1, Venue::BinanceSpot, Duration::from_secs(2), stream_kinds);
        cold.push(Command::BeginOverlap(Box::new(overlap))).expect("room in the ring");
    }
    let mut peers = vec![attach(&mut cold, 0, &stats, row.legs)];
    if row.legs != Legs::Alone {
        if !row.legs.is_lasting() {
            let overlap = Overlap::new(1, Venue::BinanceSpot, 0, 1, stream_kinds);
            cold.push(Command::BeginOverlap(Box::new(overlap))).expect("room in the ring");
        }
        let successor = attach(&mut cold, 1, &stats, row.legs);
        // The leader's row has the successor there and silent.
        peers.push(successor);
    }
    let silent = if row.legs.is_behind() || row.legs == Legs::Alone { None } else { peers.pop() };
    let mut state = Mine {
        kind: row.kind,
        is_single: row.is_single,
        cold,
        peers,
        chunks_left: chunks,
        peer: 0,
        chunk: Vec::with_capacity(2 * CHUNK_BYTES_MAX),
        next: 0,
        count: 0,
        markers: 0,
        started: None,
        handled: 0,
        message_ns: Vec::with_capacity(chunks),
    };
    send_chunk(&mut state);
    state.started = state.is_single.then(Instant::now);
    let settings = CoreSettings { idle: Idle::Spin, latency_sample_every: every, ..CoreSettings::default() };
    let core = Core::new(settings, hot, Arc::clone(&core_stats), Strategy { state, on_symbol }).expect("a poller");
    let mine = run(core);
    drop(silent);
    let books = &core_stats.books;
    let unheard = books.held.get() + books.ignored.get() + books.skipped.get();
    let snapshots = books.rebuilt.get();
    if row.kind == Kind::KeptBook {
        assert_eq!((books.live.get(), snapshots), (SYMBOL_COUNT, SYMBOL_COUNT), "each is live");
    }
    assert_eq!(mine.handled + unheard, mine.next + snapshots, "each event reached its handler once");
    let repeated = if row.legs.is_behind() { mine.next } else { 0 };
    assert_eq!((stats.repeated.get(), stats.ahead.get(), stats.unparsed.get()), (repeated, 0, 0));
    assert_eq!(stats.ids_missing.get(), 0, "nothing is left out");
    (mine.message_ns, mine.count)
}

/// A function of its own, so that a profile can begin where it does.
#[inline(never)]
fn run(core: Core<Mine>) -> Mine {
    core.run().expect("no handler panics")
}

/// The value behind a flag of the command line.
fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let number = |name, default| argument(name).map_or(default, |text| text.parse().expect("a number"));
    let rounds = number("--rounds", if is_test { 1 } else { 30 });
    let chunks = number("--chunks", if is_test { WARM_UP + 1 } else { 200 });
    let every = argument("--every").map_or(64, |text| text.parse().expect("a number"));
    let only = argument("--row");
    if let Some(row) = ROWS.iter().find(|row| only.as_deref() == Some(row.name)) {
        let (message_ns, count) = round(row, chunks, every);
        println!("{}: {} chunks, {count} messages in the last", row.name, message_ns.len());
        return;
    }
    assert!(only.is_none(), "no row has this name");
    let mut histograms = ROWS.map(|_| Histogram::<u64>::new(3).expect("three digits are allowed"));
    for round_index in 0..rounds {
        for at in 0..ROWS.len() {
            let row = (at + round_index) % ROWS.len();
            for message_ns in round(&ROWS[row], chunks, every).0.into_iter().skip(WARM_UP) {
                histograms[row].record(message_ns).expect("the range grows by itself");
            }
        }
    }
    println!(
        "one message, read to empty handler, ns: means of chunks ({rounds} rounds of {chunks}, one message in {every} stamped)"
    );
    println!("{:<16} {:>7} {:>6} {:>6} {:>6} {:>6} {:>9}", "", "chunks", "min", "p50", "p99", "p99.9", "max");
    for (row, histogram) in ROWS.iter().zip(&histograms) {
        let Percentiles { p50, p99, p999, max } = Percentiles::of(histogram);
        let (name, chunks, min) = (row.name, histogram.len(), histogram.min());
        println!("{name:<16} {chunks:>7} {min:>6} {p50:>6} {p99:>6} {p999:>6} {max:>9}");
    }
}
