//! Tests of a core that keeps books, turned by hand, with real loopback sockets: what its strategy is told in which order, what
//! the board says, and what becomes of a book whose connection is lost.

use super::super::super::board::BookStatus;
use super::super::super::connection::ConnectionSettings;
use super::super::super::legs::{Joining, Overlap};
use super::super::super::poller::Poller;
use super::super::super::ring::{Attachment, ColdPorts, Command, Feed, ports};
use super::super::super::router::Router;
use super::super::super::stats::{ConnectionStats, CoreStats};
use super::super::super::stream::Stream;
use super::super::{CoreSettings, HotConnection, Idle, Strategy};
use super::*;
use crate::book::{BookSettings, FetchError, Repair, Step, Ticket};
use crate::limits::BOOK_FETCH_COUNT_MAX;
use crate::market::{
    BookKind, BookState, BookUpdate, Level, Price, Qty, SequenceIds, StreamKind, SymbolSpec, SymbolTable, Trade, Venue,
};
use crate::venue::{Decoder, Form};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A call of a handler.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Call {
    /// Symbol, last id, state.
    Delta(usize, u64, Option<BookState>),
    /// Symbol, last id of the book, state, whether it was replaced.
    Book(usize, u64, BookState, bool),
}

const LIVE: Option<BookState> = Some(BookState::Live);
const WAITING: Option<BookState> = Some(BookState::Waiting);

const fn stale(reason: StaleReason) -> Option<BookState> {
    Some(BookState::Stale(reason))
}

#[derive(Debug, Default)]
struct Told {
    calls: Vec<Call>,
    /// The best bid as `on_book` last read it.
    best_bid: Option<Level>,
    /// Of the last message.
    last_kind: Option<BookKind>,
    panics: bool,
}

fn on_delta(told: &mut Told, update: &BookUpdate<'_>) {
    told.last_kind = Some(update.kind);
    told.calls.push(Call::Delta(update.meta.symbol.index(), update.ids.last, update.state));
}

fn on_book(told: &mut Told, event: &BookEvent<'_>) {
    assert!(!told.panics, "asked to");
    let last = event.view.ids.map_or(0, |ids| ids.last);
    let is_rebuilt = matches!(event.step, Step::Rebuilt(_));
    told.calls.push(Call::Book(event.meta.symbol.index(), last, event.state(), is_rebuilt));
    told.best_bid = event.live().and_then(|book| book.best_bid().known().flatten());
}

fn on_both(_: &mut Told, router: &mut Router<Told>, spec: &SymbolSpec) {
    router.on_book_delta(spec.symbol, on_delta);
    router.on_book(spec.symbol, on_book);
}

struct Rig {
    core: Core<Told>,
    cold: ColdPorts,
    stats: Arc<CoreStats>,
    venue: Venue,
    symbols: [Symbol; 2],
    connection: Arc<ConnectionStats>,
}

impl Rig {
    /// A core that keeps the books of two symbols, from this venue's stream of changes.
    fn new(venue: Venue) -> Self {
        let mut rig = Self::bare(venue, on_both);
        for symbol in rig.symbols {
            rig.keep(symbol);
        }
        rig
    }

    fn bare(venue: Venue, on_symbol: fn(&mut Told, &mut Router<Told>, &SymbolSpec)) -> Self {
        let (hot, cold) = ports().expect("descriptors");
        let stats = Arc::new(CoreStats::new(0));
        let strategy = Strategy { state: Told::default(), on_symbol };
        let settings = CoreSettings { idle: Idle::Yield, ..CoreSettings::default() };
        let core = Core::new(settings, hot, Arc::clone(&stats), strategy).expect("a poller");
        let mut table = SymbolTable::default();
        let symbols = ["BTCUSDT", "ETHUSDT"].map(|name| table.add(venue, name, 2, 3, None).expect("room"));
        let mut rig = Self { core, cold, stats, venue, symbols, connection: Arc::default() };
        for symbol in symbols {
            rig.tell(Command::AddSymbol(Box::new(table.spec(symbol).expect("just added").clone())));
        }
        rig
    }

    fn depth(&self) -> u16 {
        if self.venue == Venue::BinanceSpot { 0 } else { 50 }
    }

    fn slot(&self, symbol: Symbol) -> Box<Slot<VenueSequence>> {
        let depth = self.depth();
        let settings = BookSettings { depth_kept: 100, ..BookSettings::for_depth(depth) };
        Box::new(Slot::new(symbol, depth, VenueSequence::of(self.venue), settings))
    }

    fn keep(&mut self, symbol: Symbol) {
        let slot = self.slot(symbol);
        self.tell(Command::AddBook(slot));
    }

    fn tell(&mut self, command: Command) {
        self.cold.push(command).expect("room in the ring");
        self.core.turn();
    }

    fn attach(&mut self, slot: u16, leg: u8) -> TcpStream {
        self.attach_to(slot, leg, None)
    }

    fn attach_to(&mut self, slot: u16, leg: u8, overlap: Option<u32>) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (peer, _) = listener.accept().expect("accepts");
        let stream = Stream::plain(ours).expect("non-blocking");
        let connection = HotConnection::new(stream, b"", &ConnectionSettings::default()).expect("a connection");
        let decoder = Decoder::new(self.venue, Form::Combined, None);
        let joining = overlap.map(|id| Joining { id, successor_of: None });
        let feed = Feed { leg, joining, ..Feed::new(slot, decoder, Arc::clone(&self.connection)) };
        self.tell(Command::Attach(Box::new(Attachment { connection, feed })));
        peer
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            self.core.turn();
            assert!(started.elapsed() < Duration::from_secs(20), "{what}: it did not come");
        }
    }

    /// Sends a message and turns until the core has read it.
    fn say(&mut self, peer: &mut TcpStream, message: &str) {
        let frames = self.connection.frames.get() + 1;
        let length = u16::try_from(message.len()).expect("a short message").to_be_bytes();
        assert!(message.len() >= 126, "a frame of the middle length");
        peer.write_all(&[&[0x81, 126, length[0], length[1]], message.as_bytes()].concat()).expect("written");
        self.until("a message", |rig| rig.connection.frames.get() == frames);
        assert_eq!(self.connection.unparsed.get(), 0, "{message}");
    }

    /// A batch that covers these ids: the best bid gets the last id as its quantity.
    fn batch(&mut self, peer: &mut TcpStream, at: usize, first: u64, last: u64) {
        let name = ["BTCUSDT", "ETHUSDT"][at];
        let message = if self.venue == Venue::BinanceSpot {
            let stream = name.to_ascii_lowercase();
            format!(
                r#"{{"stream":"{stream}@depth@100ms","data":{{"e":"depthUpdate","E":1700000000000,"s":"{name}","U":{first},"u":{last},"b":[["100.00","{last}.000"]],"a":[]}}}}"#
            )
        } else {
            bybit(name, "delta", last)
        };
        self.say(peer, &message);
    }

    fn snapshot_message(&mut self, peer: &mut TcpStream, at: usize, id: u64) {
        let message = bybit(["BTCUSDT", "ETHUSDT"][at], "snapshot", id);
        self.say(peer, &message);
    }

    fn begin_fetch(&mut self, at: usize) -> Result<Ticket, FetchError> {
        let symbol = self.symbols[at];
        self.tell(Command::BeginFetch { symbol });
        let begun = self.notices().into_iter().find_map(|notice| match notice {
            Notice::FetchBegun { symbol: of, begun } if of == symbol => Some(begun),
            _ => None,
        });
        begun.expect("it is answered")
    }

    /// What became of a snapshot at this id.
    fn snapshot(&mut self, at: usize, ticket: Ticket, id: u64) -> Option<Step> {
        let level = |price, qty| Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) };
        let snapshot = BookSnapshot {
            symbol: self.symbols[at],
            ticket,
            ids: SequenceIds { first: id, last: id, previous: None, cross: None },
            depth: 5,
            received: Received::default(),
            event_time: None,
            bids: vec![level(10_000, 1), level(9_999, 2)],
            asks: vec![level(10_001, 3)],
        };
        self.tell(Command::Snapshot(Box::new(snapshot)));
        let taken = self.notices().into_iter().find_map(|notice| match notice {
            Notice::SnapshotTaken { step, .. } => Some(step),
            _ => None,
        });
        taken.expect("it is answered")
    }

    /// Makes both books live: Binance's at id 10, Bybit's at id 10 of the first peer's snapshot.
    fn live(&mut self, peer: &mut TcpStream) {
        for at in 0..2 {
            if self.venue == Venue::BinanceSpot {
                self.batch(peer, at, 9, 10);
                let ticket = self.begin_fetch(at).expect("a buffer is free");
                assert!(matches!(self.snapshot(at, ticket, 10), Some(Step::Rebuilt(_))));
            } else {
                self.snapshot_message(peer, at, 10);
            }
        }
        self.core.desk.state.calls.clear();
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.core.turn();
        std::iter::from_fn(|| self.cold.pop()).collect()
    }

    fn status(&self, at: usize) -> BookStatus {
        self.stats.board.get(self.symbols[at]).expect("it is kept")
    }

    fn calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.core.desk.state.calls)
    }

    fn drop_connection(&mut self, slot: u16) {
        self.tell(Command::Close { slot, code: 0 });
    }

    /// (waiting, live, stale) as housekeeping publishes them.
    fn published(&mut self) -> [u64; 3] {
        self.core.housekeeping(self.core.clock.ticks());
        let books = &self.stats.books;
        [&books.waiting, &books.live, &books.stale].map(super::super::super::stats::Counter::get)
    }
}

fn bybit(name: &str, kind: &str, id: u64) -> String {
    format!(
        r#"{{"topic":"orderbook.50.{name}","type":"{kind}","ts":1672304484978,"data":{{"s":"{name}","b":[["100.00","{id}.000"]],"a":[["100.01","1.000"]],"u":{id},"seq":{id}}},"cts":1672304484976}}"#
    )
}

#[test]
fn a_message_goes_to_its_book_first_then_to_on_book_delta_and_then_to_on_book() {
    let mut rig = Rig::new(Venue::BinanceSpot);
    let mut peer = rig.attach(0, 0);
    assert_eq!(rig.status(0).needs, None, "without a stream a snapshot is of no use");
    rig.batch(&mut peer, 0, 1, 2);
    assert_eq!(rig.calls(), [Call::Delta(0, 2, WAITING)], "nothing has changed that could be read");
    assert_eq!((rig.status(0).needs, rig.status(0).messages), (Some(Repair::NeedSnapshot), 1));
    let ticket = rig.begin_fetch(0).unwrap();
    rig.batch(&mut peer, 0, 3, 4);
    rig.batch(&mut peer, 0, 5, 6);
    rig.calls();
    assert!(matches!(rig.snapshot(0, ticket, 4), Some(Step::Rebuilt(_))));
    assert_eq!(rig.calls(), [Call::Book(0, 6, BookState::Live, true)]);
    assert_eq!(rig.core.desk.state.best_bid.unwrap().qty, Qty::from_mantissa(6_000));
    rig.batch(&mut peer, 0, 7, 8);
    assert_eq!(rig.calls(), [Call::Delta(0, 8, LIVE), Call::Book(0, 8, BookState::Live, false)]);
    rig.batch(&mut peer, 0, 7, 8);
    assert_eq!(rig.calls(), [Call::Delta(0, 8, LIVE)], "the same once more changes nothing");
    let status = rig.status(0);
    assert_eq!((status.state, status.needs, status.sequence), (BookState::Live, None, 8));
    assert_eq!((rig.published(), rig.stats.books.applied.get()), ([1, 1, 0], 1));
    assert_eq!((rig.stats.books.held.get(), rig.stats.books.rebuilt.get(), rig.stats.books.skipped.get()), (2, 1, 1));
}

#[test]
fn the_message_that_opens_a_gap_is_told_as_stale_once_and_the_other_book_goes_on() {
    let mut rig = Rig::new(Venue::BinanceSpot);
    let mut peer = rig.attach(0, 0);
    rig.live(&mut peer);
    rig.batch(&mut peer, 0, 11, 11);
    rig.calls();
    let changes = rig.stats.board.changes();
    let mut poller = Poller::new(rig.cold.waker()).expect("a poller");
    rig.cold.waker().about_to_sleep();
    rig.batch(&mut peer, 0, 13, 13);
    assert!(poller.wait(0) == 0 && poller.has_waker(), "the cold side is woken");
    rig.cold.waker().drain();
    let gap = stale(StaleReason::Gap);
    assert_eq!(rig.calls(), [Call::Delta(0, 13, gap), Call::Book(0, 11, BookState::Stale(StaleReason::Gap), false)]);
    assert!(rig.stats.board.changes() > changes);
    assert_eq!((Some(rig.status(0).state), rig.status(0).needs), (gap, Some(Repair::NeedSnapshot)));
    rig.batch(&mut peer, 0, 14, 14);
    assert_eq!(rig.calls(), [Call::Delta(0, 14, gap)], "told once");
    rig.cold.waker().about_to_sleep();
    rig.batch(&mut peer, 1, 11, 11);
    assert!(poller.wait(0) == 0 && !poller.has_waker(), "that is no news for it");
    assert_eq!(rig.calls(), [Call::Delta(1, 11, LIVE), Call::Book(1, 11, BookState::Live, false)]);
    assert_eq!(rig.published(), [0, 1, 1]);
    assert_eq!(rig.stats.books.stale_by_reason[StaleReason::Gap as usize].get(), 1);
    let ticket = rig.begin_fetch(0).unwrap();
    assert!(matches!(rig.snapshot(0, ticket, 14), Some(Step::Rebuilt(_))));
    assert_eq!(rig.calls(), [Call::Book(0, 14, BookState::Live, true)]);
}

#[test]
fn a_lost_connection_cuts_off_the_books_it_fed_and_no_other() {
    let mut rig = Rig::new(Venue::BinanceSpot);
    let mut first = rig.attach(0, 0);
    rig.live(&mut first);
    // The second symbol is another connection's from here on.
    let mut second = rig.attach(1, 0);
    rig.batch(&mut second, 1, 11, 12);
    rig.batch(&mut first, 1, 11, 12);
    rig.calls();
    rig.drop_connection(0);
    let cut = BookState::Stale(StaleReason::Disconnected);
    assert_eq!(rig.calls(), [Call::Book(0, 10, cut, false)], "who repeats what another brought feeds nothing");
    assert_eq!((rig.status(0).state, rig.status(0).needs), (cut, None), "there is no stream to join");
    assert_eq!(rig.status(1).state, BookState::Live);
    // The peer ends this one.
    drop(second);
    rig.until("the end of a connection", |rig| !rig.core.desk.state.calls.is_empty());
    assert_eq!(rig.calls(), [Call::Book(1, 12, cut, false)]);
    assert_eq!(rig.published(), [0, 0, 2]);
    assert_eq!(rig.stats.books.stale_by_reason[StaleReason::Disconnected as usize].get(), 2);
    let mut third = rig.attach(0, 0);
    rig.batch(&mut third, 0, 30, 31);
    assert_eq!(rig.calls(), [Call::Delta(0, 31, Some(cut))]);
    assert_eq!(rig.status(0).needs, Some(Repair::NeedSnapshot), "the stream is back");
}

#[test]
fn a_book_that_waits_for_its_snapshot_is_cut_off_too_and_the_snapshot_is_late() {
    let mut rig = Rig::new(Venue::BinanceSpot);
    let mut peer = rig.attach(0, 0);
    rig.batch(&mut peer, 0, 1, 2);
    let ticket = rig.begin_fetch(0).unwrap();
    rig.drop_connection(0);
    assert_eq!(rig.snapshot(0, ticket, 2), Some(Step::Late), "it would be live without a stream");
    assert_eq!(rig.status(0).state, BookState::Stale(StaleReason::Disconnected));
}

#[test]
fn in_a_rotation_a_chained_book_stays_live_where_the_successor_joins_and_is_cut_off_where_it_does_not() {
    for (joins, is_promoted) in [(true, false), (false, true), (false, false)] {
        let mut rig = Rig::new(Venue::BinanceSpot);
        let mut old = rig.attach(3, 0);
        rig.live(&mut old);
        rig.tell(Command::BeginOverlap(Box::new(Overlap::new(1, Venue::BinanceSpot, 3, 8, [StreamKind::BOOK]))));
        rig.batch(&mut old, 0, 11, 12);
        let mut new = rig.attach(8, 1);
        rig.calls();
        if joins {
            // Cut elsewhere, and beyond the old leg's last: the book takes it.
            rig.batch(&mut new, 0, 12, 14);
            assert_eq!(rig.calls(), [Call::Delta(0, 14, LIVE), Call::Book(0, 14, BookState::Live, false)]);
            rig.batch(&mut old, 0, 13, 15);
            assert_eq!(rig.calls(), [Call::Delta(0, 15, LIVE), Call::Book(0, 15, BookState::Live, false)]);
        } else if !is_promoted {
            rig.batch(&mut new, 0, 14, 14);
            assert_eq!(rig.calls(), [], "it lies ahead");
        }
        if is_promoted {
            rig.tell(Command::Promote { slot: 8 });
        }
        rig.drop_connection(3);
        let cut = BookState::Stale(StaleReason::Disconnected);
        if joins || is_promoted {
            // Of the second symbol nothing came from the successor: only the promotion says that it is subscribed.
            let expected = if is_promoted { vec![] } else { vec![Call::Book(1, 10, cut, false)] };
            assert_eq!(rig.calls(), expected);
            let last = rig.status(0).sequence;
            rig.batch(&mut new, 0, last, last + 1);
            assert_eq!(rig.calls(), [Call::Delta(0, last + 1, LIVE), Call::Book(0, last + 1, BookState::Live, false)]);
            rig.tell(Command::EndOverlap { id: 1 });
            rig.drop_connection(8);
            assert!(rig.calls().contains(&Call::Book(0, last + 1, cut, false)), "the successor feeds it");
        } else {
            assert_eq!(rig.calls(), [Call::Book(0, 12, cut, false), Call::Book(1, 10, cut, false)]);
        }
    }
}

#[test]
fn where_the_successor_is_lost_the_old_leg_goes_on_with_a_chained_book() {
    let mut rig = Rig::new(Venue::BinanceSpot);
    let mut old = rig.attach(3, 0);
    rig.live(&mut old);
    rig.tell(Command::BeginOverlap(Box::new(Overlap::new(1, Venue::BinanceSpot, 3, 8, [StreamKind::BOOK]))));
    let mut new = rig.attach(8, 1);
    rig.batch(&mut old, 0, 11, 12);
    rig.batch(&mut new, 0, 12, 14);
    rig.calls();
    rig.drop_connection(8);
    rig.batch(&mut old, 0, 13, 13);
    rig.batch(&mut old, 0, 14, 15);
    assert_eq!(rig.calls(), [Call::Delta(0, 15, LIVE), Call::Book(0, 15, BookState::Live, false)]);
}

#[test]
fn in_a_rotation_a_book_with_snapshots_of_its_own_is_the_successors_from_its_snapshot_on() {
    let mut rig = Rig::new(Venue::BybitLinear);
    let mut old = rig.attach(3, 0);
    rig.live(&mut old);
    rig.tell(Command::BeginOverlap(Box::new(Overlap::new(1, Venue::BybitLinear, 3, 8, [StreamKind::of_depth(50)]))));
    let mut new = rig.attach(8, 1);
    rig.batch(&mut old, 0, 11, 11);
    rig.batch(&mut new, 0, 41, 41);
    rig.calls();
    rig.snapshot_message(&mut new, 0, 40);
    assert_eq!(rig.calls(), [Call::Delta(0, 40, LIVE), Call::Book(0, 40, BookState::Live, true)]);
    rig.batch(&mut old, 0, 12, 12);
    rig.batch(&mut new, 0, 41, 41);
    assert_eq!(rig.calls(), [Call::Delta(0, 41, LIVE), Call::Book(0, 41, BookState::Live, false)]);
    let cut = BookState::Stale(StaleReason::Disconnected);
    rig.drop_connection(3);
    assert_eq!(rig.calls(), [Call::Book(1, 10, cut, false)], "of the second the successor has no snapshot");
    rig.snapshot_message(&mut new, 1, 7);
    assert_eq!(rig.calls(), [Call::Delta(1, 7, LIVE), Call::Book(1, 7, BookState::Live, true)]);
}

#[test]
fn where_each_leg_has_a_book_the_furthest_is_told_and_who_leads_the_changes_is_followed_by_a_whole_book() {
    let mut rig = Rig::new(Venue::BybitLinear);
    let (symbol, make) = (rig.symbols[0], |rig: &Rig| LegBooks::new(rig.symbols[0], 1, || *rig.slot(rig.symbols[0])));
    rig.tell(Command::AddLegBooks(Box::new(make(&rig))));
    let kinds = [StreamKind::of_depth(50)];
    let overlap = Overlap::of_legs(7, Venue::BybitLinear, Duration::from_secs(2), kinds);
    rig.tell(Command::BeginOverlap(Box::new(overlap)));
    let [mut first, mut second] = [0, 1].map(|leg| rig.attach_to(leg.into(), leg, Some(7)));
    rig.snapshot_message(&mut first, 0, 10);
    assert_eq!(rig.calls(), [Call::Delta(0, 10, LIVE), Call::Book(0, 10, BookState::Live, true)]);
    rig.snapshot_message(&mut second, 0, 9);
    rig.batch(&mut second, 0, 10, 10);
    assert_eq!(rig.calls(), [], "as far is not further, and the first leads the changes");
    rig.batch(&mut second, 0, 11, 11);
    assert_eq!(rig.calls(), [Call::Book(0, 11, BookState::Live, false)]);
    assert_eq!(rig.core.desk.state.best_bid.unwrap().qty, Qty::from_mantissa(11_000));
    rig.batch(&mut first, 0, 11, 11);
    assert_eq!(rig.calls(), [Call::Delta(0, 11, LIVE)]);
    rig.drop_connection(0);
    assert_eq!((rig.calls(), rig.status(0).state), (vec![], BookState::Live), "that costs nothing");
    rig.batch(&mut second, 0, 12, 12);
    assert_eq!(rig.calls(), [Call::Delta(0, 12, LIVE), Call::Book(0, 12, BookState::Live, false)]);
    assert_eq!(rig.core.desk.state.last_kind, Some(BookKind::Snapshot), "its changes follow a whole book");
    rig.batch(&mut second, 0, 13, 13);
    assert_eq!(rig.core.desk.state.last_kind, Some(BookKind::Delta));
    rig.calls();
    rig.batch(&mut second, 0, 15, 15);
    let gap = BookState::Stale(StaleReason::Gap);
    assert_eq!(rig.calls(), [Call::Delta(0, 15, Some(gap)), Call::Book(0, 13, gap, false)], "nobody else has it");
    assert_eq!((rig.status(0).needs, rig.status(0).legs_in_need), (Some(Repair::Resubscribe), 0b10));
    // Another leg brings it, in the place of the lost one.
    let mut third = rig.attach_to(2, 0, Some(7));
    rig.snapshot_message(&mut third, 0, 14);
    assert_eq!(rig.calls(), [Call::Book(0, 14, BookState::Live, true)]);
    assert_eq!((rig.published(), rig.stats.books.takeovers.get(), rig.stats.books.beside.get()), ([1, 1, 0], 2, 3));
    rig.tell(Command::RemoveBook { symbol });
    let spent = |notice: &Notice| matches!(notice, Notice::Spent(Spent::LegBooks(_)));
    assert_eq!(rig.notices().iter().filter(|notice| spent(notice)).count(), 1);
    rig.tell(Command::AddLegBooks(Box::new(make(&rig))));
    assert_eq!(rig.notices().iter().filter(|notice| spent(notice)).count(), 1, "no book is kept");
}

#[test]
fn where_the_successor_of_such_a_book_is_lost_the_old_leg_does_not_go_on_with_it() {
    let mut rig = Rig::new(Venue::BybitLinear);
    let mut old = rig.attach(3, 0);
    rig.live(&mut old);
    let kinds = [StreamKind::of_depth(50)];
    rig.tell(Command::BeginOverlap(Box::new(Overlap::new(1, Venue::BybitLinear, 3, 8, kinds))));
    let mut new = rig.attach(8, 1);
    rig.snapshot_message(&mut new, 0, 40);
    rig.calls();
    rig.drop_connection(8);
    let cut = BookState::Stale(StaleReason::Disconnected);
    assert_eq!(rig.calls(), [Call::Book(0, 40, cut, false)], "and the one that it did not lead goes on");
    rig.batch(&mut old, 0, 12, 12);
    assert_eq!(rig.calls(), [], "its changes are of another snapshot");
    rig.snapshot_message(&mut old, 0, 60);
    assert_eq!(rig.calls(), [Call::Delta(0, 60, LIVE), Call::Book(0, 60, BookState::Live, true)]);
}

#[test]
fn a_command_that_turns_a_book_tells_on_book_once_and_a_book_that_goes_comes_back_whole() {
    let mut rig = Rig::new(Venue::BinanceSpot);
    let mut peer = rig.attach(0, 0);
    rig.live(&mut peer);
    let [symbol, other] = rig.symbols;
    for (command, reason, id) in [
        (Command::Quarantine { symbol, reason: StaleReason::Crossed }, StaleReason::Crossed, 10),
        (Command::Quarantine { symbol, reason: StaleReason::Crossed }, StaleReason::Crossed, 10),
        (Command::TickChanged { symbol }, StaleReason::TickChanged, 0),
        (Command::Quarantine { symbol, reason: StaleReason::Disconnected }, StaleReason::Disconnected, 0),
    ] {
        let is_news = rig.status(0).state != BookState::Stale(reason);
        rig.tell(command);
        let expected = Call::Book(0, id, BookState::Stale(reason), false);
        assert_eq!(rig.calls(), if is_news { vec![expected] } else { vec![] });
        assert_eq!(rig.status(0).state, BookState::Stale(reason));
    }
    assert_eq!(rig.published(), [0, 1, 1]);
    rig.notices();
    rig.tell(Command::RemoveBook { symbol: other });
    assert_eq!(rig.calls(), [Call::Book(1, 10, BookState::Stale(StaleReason::Disconnected), false)]);
    assert!(matches!(&rig.notices()[..], [Notice::Spent(Spent::Book(slot))] if slot.symbol() == other));
    assert_eq!(rig.stats.board.get(other), None);
    rig.tell(Command::RemoveBook { symbol: other });
    assert!(rig.notices().is_empty() && rig.calls().is_empty());
    rig.batch(&mut peer, 1, 11, 11);
    assert_eq!(rig.calls(), [Call::Delta(1, 11, None)]);
    rig.keep(symbol);
    assert!(matches!(&rig.notices()[..], [Notice::Spent(Spent::Book(slot))] if slot.symbol() == symbol));
    assert_eq!((rig.status(0).state, rig.status(0).messages), (BookState::Waiting, 0));
    assert_eq!(rig.published(), [1, 0, 0]);
}

#[test]
fn commands_about_a_book_that_is_not_kept_are_answered_and_change_nothing() {
    let mut rig = Rig::bare(Venue::BinanceSpot, on_both);
    let symbol = rig.symbols[0];
    assert_eq!(rig.begin_fetch(0), Err(FetchError::NoBook));
    rig.tell(Command::EndFetch { symbol });
    rig.tell(Command::Quarantine { symbol, reason: StaleReason::Gap });
    rig.tell(Command::TickChanged { symbol });
    rig.keep(symbol);
    let ticket = rig.begin_fetch(0).unwrap();
    rig.tell(Command::RemoveBook { symbol });
    rig.calls();
    assert_eq!(rig.snapshot(0, ticket, 5), None);
    rig.tell(Command::ReadBook(Box::new(BookCopy::new(symbol, 3))));
    assert!(matches!(&rig.notices()[..], [.., Notice::BookRead(copy)] if copy.state.is_none()));
    assert!(rig.calls().is_empty());
}

#[test]
fn as_many_snapshots_may_be_under_way_as_there_are_buffers() {
    let (hot, mut cold) = ports().expect("descriptors");
    let strategy = Strategy { state: Told::default(), on_symbol: on_both };
    let mut core = Core::new(
        CoreSettings { idle: Idle::Yield, ..CoreSettings::default() },
        hot,
        Arc::new(CoreStats::new(0)),
        strategy,
    )
    .expect("a poller");
    let symbols: Vec<Symbol> = (0..=BOOK_FETCH_COUNT_MAX).map(|at| Symbol::new(at).unwrap()).collect();
    for &symbol in &symbols {
        let settings = BookSettings { depth_kept: 10, ..BookSettings::for_depth(0) };
        let slot = Slot::new(symbol, 0, VenueSequence::of(Venue::BinanceUsdm), settings);
        cold.push(Command::AddBook(Box::new(slot))).expect("room");
        cold.push(Command::BeginFetch { symbol }).expect("room");
    }
    cold.push(Command::EndFetch { symbol: symbols[0] }).expect("room");
    cold.push(Command::BeginFetch { symbol: *symbols.last().unwrap() }).expect("room");
    core.turn();
    let begun: Vec<bool> = std::iter::from_fn(|| cold.pop())
        .filter_map(|notice| match notice {
            Notice::FetchBegun { begun, .. } => Some(begun.is_ok()),
            _ => None,
        })
        .collect();
    let expected = [&[true; BOOK_FETCH_COUNT_MAX][..], &[false, true]].concat();
    assert_eq!(begun, expected);
}

#[test]
fn a_copy_has_what_there_was_room_for_and_says_how_the_book_is() {
    let mut rig = Rig::new(Venue::BinanceSpot);
    let mut peer = rig.attach(0, 0);
    rig.live(&mut peer);
    let symbol = rig.symbols[0];
    for (depth, bids, asks) in [(0, 0, 0), (1, 1, 1), (2, 2, 1), (9, 2, 1)] {
        rig.tell(Command::ReadBook(Box::new(BookCopy::new(symbol, depth))));
        let notices = rig.notices();
        let [.., Notice::BookRead(copy)] = &notices[..] else { panic!("{notices:?}") };
        assert_eq!((copy.bids.len(), copy.asks.len()), (bids, asks), "{copy:?}");
        assert_eq!((copy.bids_known, copy.asks_known), (bids, asks), "the snapshot was whole");
        assert_eq!((copy.state, copy.ids.map(|ids| ids.last), copy.needs), (LIVE, Some(10), None));
        assert!(copy.copied.mono.0 > 0 && copy.bids.is_sorted_by(|better, worse| better.price > worse.price));
    }
}

#[test]
fn a_symbol_without_a_book_or_another_stream_of_one_that_has_one_is_told_as_it_came() {
    let mut rig = Rig::bare(Venue::BinanceSpot, on_both);
    let symbol = rig.symbols[0];
    let settings = BookSettings::for_depth(5);
    let slot = Slot::new(symbol, 5, VenueSequence::of(Venue::BinanceSpot), settings);
    rig.tell(Command::AddBook(Box::new(slot)));
    let mut peer = rig.attach(0, 0);
    rig.batch(&mut peer, 0, 1, 2);
    rig.batch(&mut peer, 1, 3, 4);
    assert_eq!(rig.calls(), [Call::Delta(0, 2, None), Call::Delta(1, 4, None)]);
    assert_eq!(rig.status(0).messages, 0);
}

#[test]
fn a_message_counts_as_unrouted_where_neither_its_handler_nor_a_kept_book_has_it() {
    let only_book: fn(&mut Told, &mut Router<Told>, &SymbolSpec) =
        |_, router, spec| router.on_book(spec.symbol, on_book);
    let only_trades: fn(&mut Told, &mut Router<Told>, &SymbolSpec) =
        |_, router, spec| router.on_trade(spec.symbol, |_, _: &Trade| {});
    for (on_symbol, unrouted) in [(only_book, [0, 1]), (only_trades, [1, 2])] {
        let mut rig = Rig::bare(Venue::BinanceSpot, on_symbol);
        let mut peer = rig.attach(0, 0);
        rig.keep(rig.symbols[0]);
        for (at, expected) in unrouted.into_iter().enumerate() {
            rig.batch(&mut peer, at, 1, 2);
            assert_eq!(rig.connection.unrouted.get(), expected);
        }
    }
}

#[test]
fn a_message_of_a_cold_connection_feeds_its_book_and_its_loss_cuts_it_off() {
    let mut rig = Rig::new(Venue::BybitLinear);
    let decoder = Decoder::new(Venue::BybitLinear, Form::Combined, None);
    let feed = Feed::new(5, decoder, Arc::clone(&rig.connection));
    rig.tell(Command::AttachCold(Box::new(feed)));
    let payload = bybit("BTCUSDT", "snapshot", 4).into_bytes();
    rig.tell(Command::Message { slot: 5, payload, received: Received::default() });
    assert_eq!(rig.calls(), [Call::Delta(0, 4, LIVE), Call::Book(0, 4, BookState::Live, true)]);
    rig.drop_connection(5);
    assert_eq!(rig.calls(), [Call::Book(0, 4, BookState::Stale(StaleReason::Disconnected), false)]);
}

#[test]
fn a_handler_that_panics_on_a_book_is_named_whatever_turned_it() {
    for by_command in [true, false] {
        let mut rig = Rig::new(Venue::BinanceSpot);
        let mut peer = rig.attach(6, 0);
        rig.live(&mut peer);
        rig.core.desk.state.panics = true;
        let symbol = rig.symbols[0];
        if by_command {
            rig.cold.push(Command::Quarantine { symbol, reason: StaleReason::Disconnected }).expect("room");
        } else {
            rig.cold.push(Command::Close { slot: 6, code: 0 }).expect("room");
        }
        let panic = rig.core.run().expect_err("it panics");
        assert_eq!((panic.what.as_str(), panic.event), ("asked to", Some((EventKind::KeptBook, symbol))));
        assert!(panic.message.is_empty(), "no message did it");
    }
}

#[test]
fn what_is_published_of_the_books_while_a_core_stops_is_how_they_were_until_then() {
    // The cold side may close a connection before the core is told to stop.
    for is_closed_before in [false, true] {
        let mut rig = Rig::new(Venue::BinanceSpot);
        let mut peer = rig.attach(0, 0);
        rig.live(&mut peer);
        if is_closed_before {
            rig.tell(Command::Stopping);
            rig.drop_connection(0);
        }
        rig.tell(Command::Stop);
        drop(peer);
        rig.until("the end of the connection", |rig| rig.core.has_stopped());
        let cut = BookState::Stale(StaleReason::Disconnected);
        assert_eq!(rig.calls(), [Call::Book(0, 10, cut, false), Call::Book(1, 10, cut, false)], "the strategy is told");
        assert_eq!(rig.published(), [0, 2, 0]);
        assert_eq!(rig.stats.books.stale_by_reason[StaleReason::Disconnected as usize].get(), 0);
    }
}

// ---------------------------------------------------------------------------------------------- by chance

/// Prices of the venue's bids, in hundredths, and the quantity each of its changes sets: the change of id `n` is the n-th.
const PRICES: [i64; 5] = [10_000, 9_999, 9_998, 9_997, 9_996];

fn change(id: u64) -> (usize, u64) {
    let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (usize::try_from(mixed % 5).expect("small"), if mixed.is_multiple_of(3) { 0 } else { id })
}

/// The venue's bids at an id: a quantity for each price.
fn truth(id: u64) -> [u64; 5] {
    (1..=id).map(change).fold([0; 5], |mut bids, (at, qty)| {
        bids[at] = qty;
        bids
    })
}

/// A leg: its slot, its other end, and the next id that it will send.
struct Leg {
    slot: u16,
    peer: TcpStream,
    next: u64,
}

/// A venue, one or two legs of a connection, and a core, at odds with each other.
struct Chance {
    rig: Rig,
    random: rand::rngs::StdRng,
    venue: u64,
    legs: Vec<Leg>,
    next_slot: u16,
    overlap: Option<u32>,
    overlap_count: u32,
    fetch: Option<(Ticket, u64)>,
    /// Batches are left out.
    is_lossy: bool,
}

impl Chance {
    fn new(seed: u64) -> Self {
        let mut rig = Rig::bare(Venue::BinanceSpot, on_both);
        rig.keep(rig.symbols[0]);
        let random = rand::SeedableRng::seed_from_u64(seed);
        let (legs, is_lossy) = (Vec::new(), true);
        Self { rig, random, venue: 10, legs, next_slot: 0, overlap: None, overlap_count: 0, fetch: None, is_lossy }
    }

    fn one_in(&mut self, count: u32) -> bool {
        rand::RngExt::random_range(&mut self.random, 0..count) == 0
    }

    fn attach(&mut self) {
        let slot = self.next_slot;
        self.next_slot = (slot + 1) % 64;
        let leg = u8::try_from(slot % 2).expect("a bit");
        let peer = self.rig.attach(slot, leg);
        self.legs.push(Leg { slot, peer, next: self.venue + 1 });
    }

    /// A leg sends what it has, or part of it, or loses it.
    fn send(&mut self, at: usize) {
        let Leg { next, .. } = self.legs[at];
        if next > self.venue {
            return;
        }
        let last = rand::RngExt::random_range(&mut self.random, next..=self.venue);
        self.legs[at].next = last + 1;
        if self.is_lossy && self.one_in(12) {
            return;
        }
        let bids = truth(last);
        let mut touched: Vec<usize> = (next..=last).map(|id| change(id).0).collect();
        touched.sort_unstable();
        touched.dedup();
        let levels: Vec<String> = touched
            .into_iter()
            .map(|at| format!(r#"["{}.{:02}","{}.000"]"#, PRICES[at] / 100, PRICES[at] % 100, bids[at]))
            .collect();
        let message = format!(
            r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":{next},"u":{last},"b":[{}],"a":[]}}}}"#,
            levels.join(",")
        );
        let mut peer = self.legs[at].peer.try_clone().expect("a descriptor");
        self.rig.say(&mut peer, &message);
    }

    fn lose(&mut self, at: usize) {
        let leg = self.legs.remove(at);
        self.rig.drop_connection(leg.slot);
    }

    fn rotate(&mut self) {
        let (Some(leader), None) = (self.legs.first().map(|leg| leg.slot), self.overlap) else { return };
        self.overlap_count += 1;
        let overlap = Overlap::new(self.overlap_count, Venue::BinanceSpot, leader, self.next_slot, [StreamKind::BOOK]);
        self.rig.tell(Command::BeginOverlap(Box::new(overlap)));
        self.overlap = Some(self.overlap_count);
    }

    fn snapshot(&mut self) {
        match self.fetch.take() {
            None => {
                if self.rig.status(0).needs == Some(Repair::NeedSnapshot) {
                    let ticket = self.rig.begin_fetch(0).expect("a buffer is free");
                    self.fetch = Some((ticket, self.venue));
                }
            }
            Some((ticket, asked_at)) => {
                let from = if self.is_lossy { asked_at.saturating_sub(4) } else { asked_at };
                let id = rand::RngExt::random_range(&mut self.random, from..=self.venue);
                let level = |price, qty: u64| Level {
                    price: Price::from_mantissa(price),
                    qty: Qty::from_mantissa(1_000 * qty.cast_signed()),
                };
                let bids = truth(id).into_iter().zip(PRICES).filter(|&(qty, _)| qty > 0);
                let snapshot = BookSnapshot {
                    symbol: self.rig.symbols[0],
                    ticket,
                    ids: SequenceIds { first: id, last: id, previous: None, cross: None },
                    depth: 10,
                    received: Received::default(),
                    event_time: None,
                    bids: bids.map(|(qty, price)| level(price, qty)).collect(),
                    asks: vec![level(10_001, 1)],
                };
                self.rig.tell(Command::Snapshot(Box::new(snapshot)));
            }
        }
    }

    fn step(&mut self) {
        self.venue += rand::RngExt::random_range(&mut self.random, 0..3_u64);
        if self.legs.is_empty() || (self.overlap.is_some() && self.legs.len() < 2 && self.one_in(4)) {
            self.attach();
        }
        for at in 0..self.legs.len() {
            self.send(at);
        }
        self.snapshot();
        if self.one_in(12) {
            self.rotate();
        }
        if self.one_in(12) && self.legs.len() == 2 {
            self.rig.tell(Command::Promote { slot: self.legs[1].slot });
        }
        if self.is_lossy && self.one_in(25) && !self.legs.is_empty() {
            let at = rand::RngExt::random_range(&mut self.random, 0..self.legs.len());
            self.lose(at);
        }
        if self.one_in(12)
            && self.legs.len() == 1
            && let Some(id) = self.overlap.take()
        {
            self.rig.tell(Command::EndOverlap { id });
        }
    }

    /// A live book is the venue's at its id, its strategy knows its state, and somebody feeds it.
    fn check(&mut self, what: &str) {
        let view = self.rig.core.desk.shelf.view(self.rig.symbols[0]).expect("it is kept");
        let told = self.rig.core.desk.state.calls.iter().rev().find_map(|call| match call {
            Call::Book(_, _, state, _) => Some(*state),
            Call::Delta(..) => None,
        });
        assert_eq!(told.unwrap_or(BookState::Waiting), view.state, "{what}: the last it was told");
        assert_eq!(self.rig.status(0).state, view.state, "{what}: the board");
        if !view.state.is_live() {
            return;
        }
        let last = view.ids.expect("a live book stands somewhere").last;
        let expected = truth(last);
        for (price, qty) in PRICES.into_iter().zip(expected) {
            let held = view.book.qty_at(crate::market::Side::Buy, Price::from_mantissa(price)).known();
            assert_eq!(held, Some(Qty::from_mantissa(1_000 * qty.cast_signed())), "{what}: at {price}, id {last}");
        }
        let feeder = self.rig.core.desk.shelf.feeder(self.rig.symbols[0]);
        assert!(self.legs.iter().any(|leg| leg.slot == feeder), "{what}: live, and fed by nobody: {feeder}");
    }
}

#[test]
fn through_losses_gaps_and_rotations_a_live_book_is_the_venues_and_is_fed_and_all_is_repaired_in_the_end() {
    let seeds = std::env::var("TICKWIRE_BOOK_SEEDS").map_or(25, |seeds| seeds.parse().expect("a count"));
    let (mut live, mut turns) = (0, [0_u64; StaleReason::ALL.len()]);
    for seed in 0..seeds {
        let mut chance = Chance::new(seed);
        for step in 0..120 {
            chance.step();
            chance.check(&format!("seed {seed}, step {step}"));
            live += u64::from(chance.rig.status(0).state.is_live());
        }
        chance.is_lossy = false;
        let repaired = (0..60).any(|step| {
            chance.venue += 1;
            chance.step();
            chance.check(&format!("seed {seed}, repair {step}"));
            chance.rig.status(0).state.is_live()
        });
        assert!(repaired, "seed {seed}: {:?}", chance.rig.status(0));
        chance.rig.published();
        for (turns, count) in turns.iter_mut().zip(&chance.rig.stats.books.stale_by_reason) {
            *turns += count.get();
        }
    }
    let of = |reason: StaleReason| turns[reason as usize];
    assert!(live > seeds * 20, "mostly it is live: {live}");
    assert!(of(StaleReason::Gap) > 0 && of(StaleReason::Disconnected) > 0, "{turns:?}");
}
