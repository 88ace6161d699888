//! A hot core that keeps books, over real sockets, plain and TLS: with gaps, snapshots, quarantine and reads its thread takes no
//! memory, and once warm not even a page that it has.
//!
//! ```text
//! server thread: changes, now and then one left out ─► ws or wss ─► hot core ─► on_book_delta, on_book: every read
//!                                                     test: looks at the board ─► BeginFetch, Snapshot, Quarantine, ReadBook
//! ```

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/faults.rs"]
mod faults;
mod venue_server;

use certificate::certificate;
use faults::faults;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tickwire::book::{
    BookCopy, BookEvent, BookSettings, BookSnapshot, BookState, Changes, Repair, Slot, StaleReason, Step, Ticket,
};
use tickwire::hot::{
    Attachment, ColdPorts, Command, ConnectionSettings, ConnectionStats, Core, CoreSettings, CoreStats, Feed,
    HotConnection, Idle, Notice, RecordOpener, Router, Spent, Strategy, ports,
};
use tickwire::market::{
    BookUpdate, Level, Price, Qty, Received, SequenceIds, Side, Symbol, SymbolSpec, SymbolTable, Venue,
};
use tickwire::net::{ConnectOptions, client_config, connect};
use tickwire::telemetry::{CountingAllocator, is_counting, thread_allocations};
use tickwire::venue::{Decoder, Form, VenueSequence};
use venue_server::{PATIENCE, Session, VenueServer, frame};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// FIN and text.
const TEXT: u8 = 0x81;
/// Messages of each book.
const COUNT: u64 = 30_000;
/// One in this many is left out.
const GAP_EVERY: u64 = 2_000;
/// Levels a side of a message, and of a snapshot.
const LEVELS: u64 = 20;
const SNAPSHOT_LEVELS: u64 = 200;
/// Messages before the thread counts as warm.
const WARM_UP: u64 = 8_000;
/// Names of the books' symbols.
const NAMES: [&str; 2] = ["BTCUSDT", "ETHUSDT"];

/// The strategy: it reads all there is to read, and notes what its thread has taken.
#[derive(Default)]
struct Reader {
    deltas: u64,
    books: u64,
    /// Calls of `on_book` with a book that turned stale.
    stale: u64,
    /// The state that the last `on_book` of each symbol told.
    told: [Option<BookState>; 2],
    sum: i128,
    warm_faults: u64,
    last_faults: u64,
}

fn on_delta(reader: &mut Reader, update: &BookUpdate<'_>) {
    reader.deltas += 1;
    assert!(update.state.is_some(), "a book is kept of both");
    reader.last_faults = faults();
    if reader.deltas <= WARM_UP {
        reader.warm_faults = reader.last_faults;
    }
}

fn on_book(reader: &mut Reader, event: &BookEvent<'_>) {
    reader.books += 1;
    let told = &mut reader.told[event.meta.symbol.index()];
    let Some(book) = event.live() else {
        assert_ne!(told.replace(event.state()), Some(event.state()), "each turn is told once");
        reader.stale += 1;
        return;
    };
    *told = Some(event.state());
    assert!(event.changes().contains(Changes::ANY) || matches!(event.step, Step::Applied(_)));
    let mut out = [Level::default(); 10];
    for side in [Side::Buy, Side::Sell] {
        let best = book.best(side).known().flatten().expect("a live book has a best");
        reader.sum += i128::try_from(book.top(side, &mut out).count).expect("ten at most");
        reader.sum += book.qty_to(side, best.price).known().expect("the best is known");
        reader.sum +=
            book.price_for(side, Qty::from_mantissa(50)).known().flatten().map_or(0, |filled| filled.notional);
    }
    assert!(book.spread().known().flatten().expect("two sides") > 0, "not crossed");
    reader.sum += i128::from(book.imbalance(5).known().flatten().is_some());
}

fn on_symbol(_: &mut Reader, router: &mut Router<Reader>, spec: &SymbolSpec) {
    router.on_book_delta(spec.symbol, on_delta);
    router.on_book(spec.symbol, on_book);
}

/// The price of the level so far from the touch, in hundredths.
fn price(is_bid: bool, distance: u64) -> u64 {
    if is_bid { 10_000 - distance } else { 10_001 + distance }
}

/// The message that covers one id: the best of each side, and others of which some go.
fn message(text: &mut String, name: &str, id: u64) {
    let side = |text: &mut String, is_bid| {
        for at in 0..LEVELS {
            let distance = if at == 0 { 0 } else { 1 + (id * 7 + at * at) % (SNAPSHOT_LEVELS - 1) };
            let price = price(is_bid, distance);
            let qty = if at == 0 { 1 + id % 9 } else { (id + at) % 4 };
            let comma = if at == 0 { "" } else { "," };
            write!(text, r#"{comma}["{}.{:02}","0.{qty:03}"]"#, price / 100, price % 100).expect("a string takes all");
        }
    };
    let stream = name.to_ascii_lowercase();
    write!(
        text,
        r#"{{"stream":"{stream}@depth@100ms","data":{{"e":"depthUpdate","E":1700000000000,"s":"{name}","U":{id},"u":{id},"b":["#
    )
    .expect("a string takes all");
    side(text, true);
    text.push_str(r#"],"a":["#);
    side(text, false);
    text.push_str("]}}");
}

/// What the server and the cold side know of each other.
#[derive(Debug)]
struct Shared {
    core: Arc<CoreStats>,
    /// The id up to which the venue's books are.
    sent: AtomicU64,
    may_end: AtomicBool,
}

impl Shared {
    fn new() -> Arc<Self> {
        let core = Arc::new(CoreStats::new(0));
        Arc::new(Self { core, sent: AtomicU64::new(0), may_end: AtomicBool::new(false) })
    }
}

/// Messages that the core may be behind: a snapshot that is hundreds ahead of its stream looks like another numbering.
const BEHIND_MAX: u64 = 100;

/// Sends both books' messages, and says how far it is before it sends.
fn serve(session: &mut Session, shared: &Shared) {
    let (mut text, mut message_count) = (String::new(), 0);
    for id in 1..=COUNT {
        let mut bytes = Vec::new();
        for (at, name) in (0..).zip(NAMES) {
            if id % GAP_EVERY == at {
                continue;
            }
            text.clear();
            message(&mut text, name, id);
            bytes.extend(frame(TEXT, text.as_bytes()));
            message_count += 1;
        }
        while message_count - shared.core.messages.get() > BEHIND_MAX && !shared.may_end.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        shared.sent.store(id, Ordering::Release);
        if !session.send_raw(&bytes) {
            return;
        }
    }
    while !shared.may_end.load(Ordering::Acquire) {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn snapshot(symbol: Symbol, ticket: Ticket, id: u64) -> Box<BookSnapshot> {
    let side = |is_bid| {
        (0..SNAPSHOT_LEVELS)
            .map(|distance| Level {
                price: Price::from_mantissa(price(is_bid, distance).cast_signed()),
                qty: Qty::from_mantissa(1),
            })
            .collect()
    };
    Box::new(BookSnapshot {
        symbol,
        ticket,
        ids: SequenceIds { first: id, last: id, previous: None, cross: None },
        depth: 200,
        received: Received::default(),
        event_time: None,
        bids: side(true),
        asks: side(false),
    })
}

fn push(cold: &mut ColdPorts, command: Command) {
    cold.push(command).expect("room in the ring");
}

/// What the cold side saw.
#[derive(Debug, Default)]
struct Seen {
    fetches: u64,
    rebuilt: u64,
    asked: u64,
    copies: u64,
    levels: usize,
}

/// Fetches what the board says is needed, reads and quarantines now and then, until every message was read.
fn look_after(cold: &mut ColdPorts, shared: &Shared, symbols: [Symbol; 2]) -> Seen {
    let stats = &shared.core;
    let (mut seen, mut is_fetching, mut round) = (Seen::default(), [false; 2], 0_u64);
    let deadline = Instant::now() + 4 * PATIENCE;
    let all = 2 * COUNT - 2 * (COUNT / GAP_EVERY);
    loop {
        while let Some(notice) = cold.pop() {
            match notice {
                Notice::FetchBegun { symbol, begun } => {
                    let ticket = begun.expect("a buffer is free");
                    push(cold, Command::Snapshot(snapshot(symbol, ticket, shared.sent.load(Ordering::Acquire))));
                }
                Notice::SnapshotTaken { step, snapshot } => {
                    seen.rebuilt += u64::from(matches!(step, Some(Step::Rebuilt(_))));
                    is_fetching[snapshot.symbol.index()] = false;
                }
                Notice::BookRead(copy) => {
                    seen.copies += 1;
                    seen.levels = seen.levels.max(copy.bids.len() + copy.asks.len());
                }
                Notice::Spent(Spent::Book(_)) => panic!("no book was removed"),
                _ => {}
            }
        }
        for symbol in symbols {
            // Its command may still be on its way.
            let Some(status) = stats.board.get(symbol) else { continue };
            let is_needed = status.needs == Some(Repair::NeedSnapshot);
            if is_needed && !std::mem::replace(&mut is_fetching[symbol.index()], true) {
                seen.fetches += 1;
                push(cold, Command::BeginFetch { symbol });
            }
        }
        let is_whole = stats.messages.get() == all;
        let is_live = symbols.iter().all(|&symbol| stats.board.get(symbol).is_some_and(|book| book.state.is_live()));
        // What was asked for before a read was done before it.
        if is_whole && is_live && seen.copies > 0 && seen.copies == seen.asked {
            return seen;
        }
        round += 1;
        if !is_whole && round % 128 == 0 {
            push(cold, Command::Quarantine { symbol: symbols[1], reason: StaleReason::Crossed });
        }
        if !is_whole && round % 16 == 0 {
            seen.asked += 1;
            push(cold, Command::ReadBook(Box::new(BookCopy::new(symbols[0], 500))));
        }
        assert!(Instant::now() < deadline, "{seen:?}, {} of {all} messages", stats.messages.get());
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn run(server: &VenueServer, tls: Option<Arc<rustls::ClientConfig>>, shared: &Shared) {
    assert!(is_counting(), "the allocator of this program counts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let opener = RecordOpener::InPlace;
    let is_tls = tls.is_some();
    let options = ConnectOptions { tls, opener, ..ConnectOptions::new(server.url()) };
    let established = runtime.block_on(connect(&options)).expect("it connects");
    assert_eq!(established.opener(), is_tls.then_some(opener));
    let connection =
        HotConnection::new(established.stream, &established.leftover, &ConnectionSettings::default()).expect("made");

    let (hot, mut cold) = ports().expect("descriptors");
    let (core_stats, stats) = (Arc::clone(&shared.core), Arc::new(ConnectionStats::default()));
    let mut table = SymbolTable::default();
    let symbols = NAMES.map(|name| table.add(Venue::BinanceSpot, name, 2, 3, None).expect("room"));
    for symbol in symbols {
        push(&mut cold, Command::AddSymbol(Box::new(table.spec(symbol).expect("just added").clone())));
        let rule = VenueSequence::of(Venue::BinanceSpot);
        push(&mut cold, Command::AddBook(Box::new(Slot::new(symbol, 0, rule, BookSettings::for_depth(0)))));
    }
    let decoder = Decoder::new(Venue::BinanceSpot, Form::Combined, None);
    let feed = Feed::new(0, decoder, Arc::clone(&stats));
    push(&mut cold, Command::Attach(Box::new(Attachment { connection, feed })));
    let settings = CoreSettings { idle: Idle::Park, thread_allocations, ..CoreSettings::default() };
    let of_core = Arc::clone(&core_stats);
    let core = std::thread::spawn(move || {
        let strategy = Strategy { state: Reader::default(), on_symbol };
        Core::new(settings, hot, of_core, strategy).expect("a poller").run().expect("no handler panics")
    });
    // The program's own pages are brought in too: a rare path is run for the first time when it is needed.
    // SAFETY: mlockall takes flags and no pointer; it changes where pages lie, not what they hold.
    let is_locked = unsafe { libc::mlockall(libc::MCL_CURRENT) } == 0;
    let seen = look_after(&mut cold, shared, symbols);
    push(&mut cold, Command::Stop);
    let reader = core.join().expect("it ends");
    // Not before: what is published is how the books were when the core was told to stop, not when the server went.
    shared.may_end.store(true, Ordering::Release);

    let books = &core_stats.books;
    let reason = |reason: StaleReason| books.stale_by_reason[reason as usize].get();
    let gaps = reason(StaleReason::Gap) + reason(StaleReason::SnapshotTooOld);
    eprintln!(
        "{seen:?}: {} applied, {} held, {} rebuilt, {gaps} gaps",
        books.applied.get(),
        books.held.get(),
        books.rebuilt.get()
    );
    assert_eq!((stats.unparsed.get(), stats.unrouted.get(), stats.tier_two.get()), (0, 0, 0));
    assert_eq!(reader.deltas, stats.events.get(), "every message reached on_book_delta");
    assert!(gaps > 0 && reason(StaleReason::Crossed) > 0 && reader.stale > 0, "books turned stale");
    assert!(seen.rebuilt > 1 && books.applied.get() > 0 && reader.sum != 0, "and live, and were read");
    assert_eq!((books.live.get(), books.stale.get()), (2, 0), "as they were when the core was told to stop");
    assert_eq!(reader.told.map(|state| state.map(BookState::reason)), [Some(Some(StaleReason::Disconnected)); 2]);
    assert!(seen.levels > 300, "a copy has what is kept");
    assert_eq!(core_stats.allocations.get(), 0, "of the core's thread, from its first turn to its last");
    let faults = reader.last_faults - reader.warm_faults;
    if is_locked {
        assert_eq!(faults, 0, "page faults behind message {WARM_UP}");
    } else {
        eprintln!(
            "{faults} page faults behind message {WARM_UP}, the program's own pages among them: memory is not locked"
        );
    }
}

#[test]
fn over_ws_kept_books_take_no_memory_whatever_becomes_of_them() {
    let shared = Shared::new();
    let far = Arc::clone(&shared);
    let server = VenueServer::start(move |_, session| serve(session, &far));
    run(&server, None, &shared);
}

#[test]
fn over_wss_kept_books_take_no_memory_whatever_becomes_of_them() {
    let (tls, ca) = certificate("127.0.0.1");
    let ca_file = std::env::temp_dir().join(format!("tickwire-books-{}.pem", std::process::id()));
    std::fs::write(&ca_file, ca).expect("a file of our own");
    let client = client_config(Some(&ca_file)).expect("a certificate to trust");
    std::fs::remove_file(&ca_file).expect("still there");
    let shared = Shared::new();
    let far = Arc::clone(&shared);
    let server = VenueServer::start_tls(tls, move |_, session| serve(session, &far));
    run(&server, Some(client), &shared);
}
