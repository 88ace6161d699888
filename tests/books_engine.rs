//! Books of a whole engine: real sockets to the embedded exchange, REST for snapshots, and the exchange's own book as the
//! truth.
//!
//! ```text
//! sim (tape: the market lives by itself; paused, it is compared) ◄── ws, http ──► engine: hot core keeps, cold side repairs
//!   tape(): every level, the id        faults: one stream silent (a gap), old, late and refused answers, cuts
//! ```
//! A book that is told to be live is the truth at its id, and one that is not is told, with a reason, and becomes live again.

#[path = "support/stage.rs"]
#[expect(dead_code, reason = "the engine itself is waited for here, by a wait of its own")]
mod stage;

use stage::{PATIENCE, config, runtime, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickwire::prelude::*;
use tickwire::sim::{self, Faults, Kill, SimHandle, SimOptions, Source};
use tickwire::telemetry::{BookReport, BooksStatus, ControlEvent, Happening};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

const SYMBOLS: u32 = 4;
const VENUES: [Venue; 3] = [Venue::BinanceSpot, Venue::BinanceUsdm, Venue::BybitLinear];

fn is_binance(venue: Venue) -> bool {
    matches!(venue, Venue::BinanceSpot | Venue::BinanceUsdm)
}

fn channel(venue: Venue) -> &'static str {
    if is_binance(venue) { "depth@100ms" } else { "orderbook.50" }
}

/// An exchange and an engine that keeps a book of every symbol of these venues.
struct Stage {
    runtime: Runtime,
    exchange: SimHandle,
    engine: RunningEngine,
    events: broadcast::Receiver<Arc<ControlEvent>>,
}

#[derive(Default)]
struct Nothing;

fn on_symbol(_: &mut Nothing, _: &mut Router<Nothing>, _: &SymbolSpec) {}

impl Stage {
    fn new(venues: &[Venue], faults: &str) -> Self {
        Self::with(venues, faults, |_| {})
    }

    fn with(venues: &[Venue], faults: &str, change: impl Fn(&mut ConnectionConfig)) -> Self {
        Self::of(venues, SYMBOLS, faults, change)
    }

    fn of(venues: &[Venue], symbols: u32, faults: &str, change: impl Fn(&mut ConnectionConfig)) -> Self {
        let runtime = runtime();
        let options = SimOptions {
            venues: venues.to_vec(),
            source: Source::Synthetic { seed: 11, rate: 1_000.0, symbols },
            is_tape: true,
            faults: Faults::parse(faults, 1).unwrap(),
            ..SimOptions::default()
        };
        let exchange = runtime.block_on(sim::start(options)).unwrap();
        let connections = venues.iter().map(|&venue| {
            let symbols = exchange.symbols(venue);
            let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
            let mut connection =
                ConnectionConfig::new(venue.name(), venue).subscribed_to(&symbols, &[channel(venue)]).unwrap();
            connection.reconnect.base = Duration::from_millis(20);
            connection.reconnect.cap = Duration::from_millis(100);
            connection.rotation.overlap = Duration::from_millis(300);
            change(&mut connection);
            connection
        });
        let config = config(connections.collect(), exchange.endpoints());
        let builder = Engine::builder(config).strategy("nothing", || Strategy { state: Nothing, on_symbol });
        let engine = builder.start().unwrap();
        let events = engine.handle().events();
        Self { runtime, exchange, engine, events }
    }

    fn status(&self) -> BooksStatus {
        let handle = self.engine.handle();
        self.runtime.block_on(async move { handle.status().await }).books
    }

    /// Waits until so many books are live, and known as deep as asked for.
    fn until_live(&self, books: usize) -> BooksStatus {
        until(&self.runtime, "every book is live and deep", || {
            let status = self.status();
            let (live, deep) = status.venues.iter().fold((0, 0), |sum, venue| (sum.0 + venue.live, sum.1 + venue.deep));
            let is_all = status.books.len() == books && (live, deep) == (books as u64, books as u64);
            if is_all && status.books.iter().all(|book| book.state == "live") {
                Ok(status)
            } else {
                Err(format!("{status:#?}"))
            }
        })
    }

    /// Lets the market stand still, waits until every book of the engine is that of the exchange, and lets it live on.
    fn assert_true(&self, venues: &[Venue]) {
        self.stand_still(venues);
        self.exchange.pause_tape(false);
    }

    /// Lets the market stand still, and waits until every book of the engine is that of the exchange: nothing is on its way.
    fn stand_still(&self, venues: &[Venue]) {
        self.exchange.pause_tape(true);
        until(&self.runtime, "the engine's books are the exchange's", || {
            let (books, rows) = (self.engine.books(), self.status().books);
            assert!(!books.is_empty());
            for book in books.iter().filter(|book| venues.iter().any(|venue| venue.name() == book.venue)) {
                let row = rows.iter().find(|row| (&row.venue, &row.symbol) == (&book.venue, &book.symbol));
                self.is_true(book, &row.ok_or("a book without a row")?.stream)?;
            }
            Ok(())
        });
    }

    /// Waits for the first event that `pick` takes.
    fn next<T>(&mut self, what: &str, pick: impl Fn(&str, &Happening) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            while let Ok(event) = self.events.try_recv() {
                if let Some(taken) = pick(&event.connection, &event.what) {
                    return taken;
                }
            }
            assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
            a_moment(&self.runtime);
        }
    }

    /// Waits until books of a venue are told stale, and gives why and whose.
    fn next_stale(&mut self, venue: Venue) -> (String, Vec<String>) {
        self.next("a stale book", |connection, what| match what {
            Happening::BooksStale { reason, symbols } if connection == venue.name() => {
                Some((reason.clone(), symbols.clone()))
            }
            _ => None,
        })
    }

    fn is_true(&self, book: &BookReport, stream: &str) -> Result<(), String> {
        let venue: Venue = book.venue.parse().unwrap();
        let truth = self.exchange.tape(venue, &book.symbol).expect("somebody has asked for it");
        let said = |what: &str| Err(format!("{} {}: {what}", book.venue, book.symbol));
        if book.state != "live" {
            return said(&format!("{} {:?}", book.state, book.reason));
        }
        let depth = match stream {
            partial if partial.ends_with("@depth20") => 20,
            _ if is_binance(venue) => usize::MAX,
            _ => 50,
        };
        if is_binance(venue) && book.sequence != Some(truth.update_id) {
            return said(&format!("at {:?}, the exchange at {}", book.sequence, truth.update_id));
        }
        for (levels, known, truth) in
            [(&book.bids, book.bids_known, &truth.bids), (&book.asks, book.asks_known, &truth.asks)]
        {
            let ours: Vec<_> = levels.iter().map(|[price, qty]| (plain(price), plain(qty))).collect();
            let theirs: Vec<_> = truth.iter().take(depth).map(|(price, qty)| (plain(price), plain(qty))).collect();
            if ours != theirs {
                return said(&format!("{} levels, the exchange has {}", ours.len(), theirs.len()));
            }
            if known != ours.len() {
                return said(&format!("{known} of {} known", ours.len()));
            }
        }
        Ok(())
    }

    /// What was told of books since the last call.
    fn told(&mut self) -> Vec<(String, Happening)> {
        let events = std::iter::from_fn(|| self.events.try_recv().ok());
        events.map(|event| (event.connection.clone(), event.what.clone())).collect()
    }

    /// Symbols told stale, by connection and reason.
    fn told_stale(&mut self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let mut stale: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for (connection, what) in self.told() {
            if let Happening::BooksStale { reason, symbols } = what {
                stale.entry((connection, reason)).or_default().extend(symbols);
            }
        }
        stale
    }

    fn end(self) {
        let report = self.engine.stop();
        assert!(report.failure.is_none(), "{}", report.to_json());
        let stats = self.runtime.block_on(self.exchange.stop());
        for (venue, stats) in &stats.venues {
            let violations: Vec<_> = stats.limit_violations.iter().filter(|(_, count)| **count > 0).collect();
            assert!(violations.is_empty(), "{venue}: {violations:?}");
        }
    }
}

/// Waits until `look` says `Ok`, looking again every few milliseconds; it may wait for the engine itself, outside of any runtime.
fn until<T>(runtime: &Runtime, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}; last seen: {seen}"),
        }
        a_moment(runtime);
    }
}

/// Between two looks.
fn a_moment(runtime: &Runtime) {
    runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
}

/// A decimal without the zeros behind its point that say nothing.
fn plain(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

#[test]
fn every_book_turns_live_is_deepened_and_is_the_exchanges_own() {
    let mut stage = Stage::new(&VENUES, "");
    let status = stage.until_live(VENUES.len() * SYMBOLS as usize);
    stage.assert_true(&VENUES);
    for row in &status.books {
        let is_fetched = row.venue.starts_with("binance");
        assert_eq!(row.known_levels, is_fetched.then_some(1_000), "{row:?}");
        assert!(row.messages > 0 && row.sequence.is_some() && row.reason.is_none(), "{row:?}");
    }
    for venue in status.venues.iter().filter(|venue| venue.venues[0].starts_with("binance")) {
        // A shallow snapshot each, and a deeper one where the first had not all.
        assert!(venue.joined >= venue.books && venue.joined <= 2 * venue.books, "{venue:?}");
        assert!(venue.planned_ms.is_some() && venue.took_ms.is_some(), "{venue:?}");
    }
    let told = stage.told();
    let planned = told.iter().filter(|(_, what)| matches!(what, Happening::BooksPlanned { .. })).count();
    let all_live = told.iter().filter(|(_, what)| matches!(what, Happening::BooksAllLive { .. })).count();
    assert_eq!((planned, all_live), (2, 3), "a plan for each budget that is asked for snapshots: {told:?}");
    assert!(stage.told_stale().is_empty());
    // One book by name, cut to what is asked for.
    let handle = stage.engine.handle();
    let symbol = stage.exchange.symbols(Venue::BinanceSpot)[0].clone();
    let book = stage.runtime.block_on(handle.book(Venue::BinanceSpot, &symbol, 3)).unwrap();
    assert_eq!((book.bids.len(), book.asks.len(), book.bids_known), (3, 3, 3));
    let error = stage.runtime.block_on(handle.book(Venue::BinanceSpot, "NOSUCHUSDT", 3)).unwrap_err().to_string();
    assert!(error.contains("no book is kept of NOSUCHUSDT on binance-spot"), "{error}");
    stage.end();
}

#[test]
fn a_gap_on_one_stream_makes_that_book_stale_and_is_repaired_while_the_others_stay_live() {
    let mut stage = Stage::new(&VENUES, "");
    let books = VENUES.len() * SYMBOLS as usize;
    stage.until_live(books);
    for venue in VENUES {
        let symbol = stage.exchange.symbols(venue)[1].clone();
        // A snapshot that nothing has followed yet would be found too old by what follows the gap.
        let messages = |stage: &Stage| {
            let books = stage.status().books;
            let row = books.iter().find(|row| row.venue == venue.name() && row.symbol == symbol);
            row.map_or(0, |row| row.messages)
        };
        let so_far = messages(&stage);
        until(&stage.runtime, "the stream has met its snapshot", || match messages(&stage) - so_far {
            0..3 => Err("few".to_owned()),
            _ => Ok(()),
        });
        stage.told();
        let suppressed = |stage: &Stage| stage.exchange.stats().venue(venue).unwrap().messages_suppressed;
        let before = suppressed(&stage);
        let fault = format!("{}:silent-stream={}", venue.name(), stream(venue, channel(venue), &symbol));
        stage.exchange.set_faults(&Faults::parse(&fault, 1).unwrap());
        until(&stage.runtime, "messages are kept back", || match suppressed(&stage) - before {
            0..3 => Err(fault.clone()),
            _ => Ok(()),
        });
        stage.exchange.set_faults(&Faults::default());
        let (mut stale, mut repaired) = (BTreeMap::<String, BTreeSet<String>>::new(), false);
        let patience = Instant::now();
        while !repaired {
            assert!(patience.elapsed() < PATIENCE, "{venue}: {stale:?}");
            for (connection, what) in stage.told() {
                match what {
                    Happening::BooksStale { reason, symbols } => {
                        assert_eq!(connection, venue.name());
                        stale.entry(reason).or_default().extend(symbols);
                    }
                    Happening::BooksRepaired { reason, symbols, .. } => {
                        assert_eq!((connection.as_str(), reason.as_str()), (venue.name(), "gap"));
                        repaired |= symbols == [symbol.clone()];
                    }
                    _ => {}
                }
            }
            a_moment(&stage.runtime);
        }
        let only = BTreeMap::from([("gap".to_owned(), BTreeSet::from([symbol]))]);
        assert_eq!(stale, only, "{venue}: that one alone, for that reason");
    }
    stage.until_live(books);
    stage.assert_true(&VENUES);
    stage.end();
}

#[test]
fn old_late_and_refused_snapshots_are_asked_for_again_until_the_book_is_true() {
    // Request 1 is the instrument list; then each symbol's first ones.
    let faults = "depth-old#2-5,rest-503#6-7,rest-delay=300ms..600ms#8-9";
    let mut stage = Stage::new(&[Venue::BinanceSpot], faults);
    let status = stage.until_live(SYMBOLS as usize);
    let [venue] = &status.venues[..] else { panic!("one budget") };
    assert!(venue.failed >= 2, "{venue:?}");
    stage.assert_true(&[Venue::BinanceSpot]);
    let struck = stage.exchange.stats().venue(Venue::BinanceSpot).unwrap().faults.clone();
    assert!(struck["depth-old"] > 0 && struck["rest-refused"] > 0 && struck["rest-delayed"] > 0, "{struck:?}");
    // Found when its snapshot comes, or by the next message where nothing was kept until then.
    let is_found = |(_, what): &(String, Happening)| match what {
        Happening::BooksStale { reason, .. } => reason == "snapshot_too_old",
        _ => false,
    };
    assert!(
        venue.failed > 2 || stage.told().iter().any(is_found),
        "an old snapshot is not taken for the book: {venue:?}"
    );
    stage.end();
}

#[test]
fn after_a_429_nothing_is_asked_until_the_venue_allows_it() {
    let stage = Stage::new(&[Venue::BinanceUsdm], "rest-429=2500ms#2-");
    stage.until_live(SYMBOLS as usize);
    let stats = stage.exchange.stats();
    let struck = stats.venue(Venue::BinanceUsdm).unwrap().faults["rest-refused"];
    assert!(struck > 0 && struck <= u64::from(SYMBOLS), "those that were on their way, and no more: {struck}");
    stage.assert_true(&[Venue::BinanceUsdm]);
    stage.end();
}

#[test]
fn a_lost_connection_makes_its_books_stale_and_the_next_one_makes_them_live() {
    let mut stage = Stage::new(&VENUES, "");
    let books = VENUES.len() * SYMBOLS as usize;
    stage.until_live(books);
    stage.told();
    stage.exchange.kill_connections(Venue::BinanceSpot, Kill::Reset);
    stage.exchange.kill_connections(Venue::BybitLinear, Kill::MidFrame);
    let mut repaired: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut stale: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let patience = Instant::now();
    while repaired.values().map(BTreeSet::len).sum::<usize>() < 2 * SYMBOLS as usize {
        assert!(patience.elapsed() < PATIENCE, "{stale:?} {repaired:?}");
        for (connection, what) in stage.told() {
            match what {
                Happening::BooksStale { reason, symbols } => {
                    stale.entry((connection, reason)).or_default().extend(symbols);
                }
                Happening::BooksRepaired { symbols, .. } => repaired.entry(connection).or_default().extend(symbols),
                _ => {}
            }
        }
        a_moment(&stage.runtime);
    }
    for venue in [Venue::BinanceSpot, Venue::BybitLinear] {
        let all: BTreeSet<String> = stage.exchange.symbols(venue).into_iter().collect();
        assert_eq!(stale.get(&(venue.name().to_owned(), "disconnected".to_owned())), Some(&all), "{stale:?}");
        assert_eq!(repaired[venue.name()], all);
    }
    assert!(!stale.keys().any(|(connection, _)| connection == "binance-usdm"), "{stale:?}");
    stage.until_live(books);
    stage.assert_true(&VENUES);
    stage.end();
}

#[test]
fn a_rotation_leaves_every_book_true() {
    let mut stage = Stage::new(&VENUES, "");
    let books = VENUES.len() * SYMBOLS as usize;
    stage.until_live(books);
    stage.told();
    let handle = stage.engine.handle();
    for venue in VENUES {
        stage.runtime.block_on(handle.rotate(venue.name())).unwrap();
    }
    let mut rotated = BTreeSet::new();
    let mut stale = BTreeSet::new();
    let patience = Instant::now();
    while rotated.len() < VENUES.len() {
        assert!(patience.elapsed() < PATIENCE, "{rotated:?}");
        for (connection, what) in stage.told() {
            match what {
                Happening::Rotated { .. } => drop(rotated.insert(connection)),
                Happening::BooksStale { reason, .. } => drop(stale.insert((connection, reason))),
                _ => {}
            }
        }
        a_moment(&stage.runtime);
    }
    stage.until_live(books);
    stage.assert_true(&VENUES);
    // The successor's messages join the old one's, or it has a book of its own: nothing was lost and nothing repaired.
    assert!(stale.is_empty(), "{stale:?}");
    stage.end();
}

#[test]
fn with_legs_that_are_cut_and_fall_silent_in_turn_each_book_of_bybit_is_live_throughout_and_the_exchanges_own() {
    let venues = [Venue::BybitLinear];
    let skew = "leg-skew=0..20ms";
    let mut stage = Stage::with(&venues, skew, |connection| connection.legs.count = 2);
    stage.until_live(SYMBOLS as usize);
    stage.told();
    let set = |stage: &Stage, fault: &str| {
        stage.exchange.set_faults(&Faults::parse(&format!("{skew}{fault}"), 1).unwrap());
    };
    let messages = |stage: &Stage| stage.status().books.iter().map(|book| book.messages).collect::<Vec<_>>();
    // A leg that is lost costs nothing where the other has its books: each begins with its snapshots.
    let until_both_speak = |stage: &Stage| {
        let frames = || stage.engine.report().connections.iter().map(|one| one.frames).collect::<Vec<_>>();
        let before = frames();
        until(&stage.runtime, "both legs speak of every symbol", || {
            let now = frames();
            let is_so = now.len() == 2 && now.iter().zip(&before).all(|(now, before)| *now > before + 200);
            if is_so { Ok(()) } else { Err(format!("{before:?}, then {now:?}")) }
        });
    };
    let symbol = stage.exchange.symbols(Venue::BybitLinear)[0].clone();
    for (fault, count) in [
        (",reset-every=1ms#1".to_owned(), 40),
        (format!(",silent-stream=orderbook.50.{symbol}#2"), 40),
        (",reset-every=1ms#2".to_owned(), 40),
        (format!(",silent-stream=orderbook.50.{symbol}#3"), 40),
    ] {
        until_both_speak(&stage);
        let before = messages(&stage);
        set(&stage, &fault);
        until(&stage.runtime, "every book goes on", || {
            let now = messages(&stage);
            if now.iter().zip(&before).all(|(now, before)| *now > before + count) {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        });
        set(&stage, "");
        until(&stage.runtime, "every leg is up, and its own books are live", || {
            let handle = stage.engine.handle();
            let status = stage.runtime.block_on(async move { handle.status().await });
            let is_up = status.connections.iter().all(|one| one.state == "ready");
            let in_need: u64 = status.books.books.iter().map(|book| book.legs_in_need).sum();
            if is_up && in_need == 0 { Ok(()) } else { Err(format!("{status:#?}")) }
        });
        stage.assert_true(&venues);
    }
    let told = stage.told();
    let is_stale = |(_, what): &(String, Happening)| matches!(what, Happening::BooksStale { .. });
    assert!(!told.iter().any(is_stale), "{told:?}");
    assert!(told.iter().any(|(_, what)| matches!(what, Happening::Reconnecting { .. })), "{told:?}");
    stage.end();
}

#[test]
fn books_come_and_go_with_their_streams_while_the_engine_runs() {
    let stage = Stage::with(&[Venue::BinanceSpot, Venue::BybitLinear], "", |connection| {
        connection.symbols.truncate(2);
    });
    stage.until_live(4);
    let handle = stage.engine.handle();
    let (spot, linear) = (stage.exchange.symbols(Venue::BinanceSpot), stage.exchange.symbols(Venue::BybitLinear));
    let channels = [channel(Venue::BinanceSpot)];
    stage.runtime.block_on(handle.subscribe("binance-spot", &channels, &[&spot[2]])).unwrap();
    stage.runtime.block_on(handle.subscribe("bybit-linear", &[channel(Venue::BybitLinear)], &[&linear[2]])).unwrap();
    let status = stage.until_live(6);
    assert!(status.books.iter().any(|book| book.symbol == spot[2] && book.venue == "binance-spot"));
    stage.runtime.block_on(handle.unsubscribe("binance-spot", &channels, &[&spot[0]])).unwrap();
    let status = stage.until_live(5);
    assert!(!status.books.iter().any(|book| book.symbol == spot[0] && book.venue == "binance-spot"));
    let error = stage.runtime.block_on(handle.book(Venue::BinanceSpot, &spot[0], 5)).unwrap_err().to_string();
    assert!(error.contains("no book is kept"), "{error}");
    stage.assert_true(&[Venue::BinanceSpot, Venue::BybitLinear]);
    // A partial book of the same symbol is not what its book is made of; without the other channel it is.
    stage.runtime.block_on(handle.subscribe("binance-spot", &["depth20"], &[&spot[1]])).unwrap();
    let made_of = |status: &BooksStatus| {
        let row = status.books.iter().find(|book| book.symbol == spot[1] && book.venue == "binance-spot");
        row.map(|row| row.stream.clone()).unwrap()
    };
    assert_eq!(made_of(&stage.status()), stream(Venue::BinanceSpot, "depth@100ms", &spot[1]));
    stage.runtime.block_on(handle.unsubscribe("binance-spot", &channels, &[&spot[1]])).unwrap();
    assert_eq!(made_of(&stage.until_live(5)), stream(Venue::BinanceSpot, "depth20", &spot[1]));
    stage.runtime.block_on(handle.remove("bybit-linear")).unwrap();
    let status = stage.until_live(2);
    assert!(status.books.iter().all(|book| book.venue == "binance-spot"), "{status:?}");
    // A connection that joins: its symbols are listed, its books made, before it is subscribed.
    let mut two = ConnectionConfig::new("two", Venue::BinanceSpot).subscribed_to(&[&spot[3]], &["depth"]).unwrap();
    let now = handle.config();
    two.core = now.connections[0].core;
    (two.url, two.rest_url) = (now.connections[0].url.clone(), now.connections[0].rest_url.clone());
    stage.runtime.block_on(handle.add(vec![two])).unwrap();
    let status = stage.until_live(3);
    assert!(status.books.iter().any(|book| book.symbol == spot[3] && book.connection == "two"));
    stage.assert_true(&[Venue::BinanceSpot]);
    stage.end();
}

#[test]
fn a_reload_that_changes_how_books_are_looked_after_leaves_them_live_and_one_that_changes_them_makes_them_anew() {
    let folder = std::env::temp_dir().join(format!("tickwire-books-engine-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("x.toml");
    let runtime = runtime();
    let options = SimOptions {
        venues: vec![Venue::BinanceSpot],
        source: Source::Synthetic { seed: 11, rate: 1_000.0, symbols: SYMBOLS },
        is_tape: true,
        ..SimOptions::default()
    };
    let exchange = runtime.block_on(sim::start(options)).unwrap();
    let symbols = exchange.symbols(Venue::BinanceSpot).join("\", \"");
    let write = |book: &str| {
        let text = format!(
            "[[connection]]\nname = \"binance-spot\"\nvenue = \"binance-spot\"\nsymbols = [\"{symbols}\"]\nchannels = [\"depth\"]\n{book}"
        );
        std::fs::write(&path, text).unwrap();
    };
    write("book.snapshot_depth = 100\n");
    let mut config = tickwire::config::load(std::slice::from_ref(&path), None, &["nothing"]).unwrap();
    let endpoints = serde_json::to_string(exchange.endpoints()).unwrap();
    config.point_at(&tickwire::config::EndpointOverrides::parse(&endpoints).unwrap()).unwrap();
    let builder = Engine::builder(config).strategy("nothing", || Strategy { state: Nothing, on_symbol });
    let engine = builder.start().unwrap();
    let events = engine.handle().events();
    let mut stage = Stage { runtime, exchange, engine, events };
    let status = stage.until_live(SYMBOLS as usize);
    assert!(status.books.iter().all(|book| book.known_levels == Some(100)), "{status:?}");
    let handle = stage.engine.handle();
    let reload = |stage: &Stage, book: &str| {
        write(book);
        let handle = handle.clone();
        stage.runtime.block_on(async move { handle.reload(false).await }).unwrap()
    };
    stage.told();
    let difference = reload(&stage, "book.snapshot_depth = 500\nsubscription.weights.BTCUSDT = 9\n");
    assert!(difference.to_string().contains("book.snapshot_depth 100 -> 500, at once"), "{difference}");
    until(&stage.runtime, "every book is deeper", || {
        let books = stage.status().books;
        let is_deeper = books.iter().all(|book| book.state == "live" && book.known_levels == Some(500));
        if is_deeper { Ok(()) } else { Err(format!("{books:?}")) }
    });
    assert!(stage.told_stale().is_empty(), "they were live all the time");
    // A reload asks for the instrument list again, too; by itself the engine would not do so for an hour.
    stage.stand_still(&[Venue::BinanceSpot]);
    let symbol = stage.exchange.symbols(Venue::BinanceSpot)[0].clone();
    assert!(stage.exchange.change_tick(Venue::BinanceSpot, &symbol, 1));
    assert!(reload(&stage, "book.snapshot_depth = 500\nsubscription.weights.BTCUSDT = 9\n").is_empty());
    assert_eq!(stage.next_stale(Venue::BinanceSpot), ("tick_changed".to_owned(), vec![symbol]));
    stage.exchange.pause_tape(false);
    stage.until_live(SYMBOLS as usize);
    reload(&stage, "book.snapshot_depth = 500\nbook.depth = 600\n");
    stage.until_live(SYMBOLS as usize);
    until(&stage.runtime, "every book is cut to its depth", || {
        let books = stage.engine.books();
        let is_cut = books.len() == SYMBOLS as usize
            && books.iter().all(|book| book.state == "live" && book.bids.len() <= 600 && !book.bids.is_empty());
        if is_cut { Ok(()) } else { Err(format!("{} books", books.len())) }
    });
    reload(&stage, "book.keep = false\n");
    until(&stage.runtime, "no book is kept", || {
        let books = stage.status().books;
        if books.is_empty() && stage.engine.books().is_empty() { Ok(()) } else { Err(format!("{books:?}")) }
    });
    stage.end();
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn five_hundred_books_are_live_by_one_window_of_the_budget_and_no_429_is_earned() {
    const BOOKS: u32 = 500;
    let stage = Stage::of(&[Venue::BinanceSpot], BOOKS, "", |connection| connection.book.depth = Some(1_000));
    let venue = until(&stage.runtime, "every book is live", || {
        let status = stage.status();
        match status.venues.first() {
            Some(venue) if venue.live == u64::from(BOOKS) && venue.took_ms.is_some() => Ok(venue.clone()),
            _ => Err(format!("{:?}", status.venues)),
        }
    });
    let (planned_ms, took_ms) = (venue.planned_ms.unwrap(), venue.took_ms.unwrap());
    eprintln!("{BOOKS} books live after {took_ms} ms, reckoned {planned_ms} ms; weight so far {}", venue.weight);
    // 5 each of the 3,000 that are ours, and of the rest the first deeper ones.
    assert!(venue.weight >= 5 * u64::from(BOOKS) && venue.weight <= 3_000, "{venue:?}");
    // The exchange's own limit was not met: `end` looks.
    stage.end();
}

#[test]
fn where_no_book_is_wanted_none_is_kept_and_nothing_is_fetched() {
    let stage = Stage::with(&[Venue::BinanceSpot], "", |connection| connection.book.keep = false);
    until(&stage.runtime, "data flows", || match stage.engine.report().connections[0].events {
        0..50 => Err("few".to_owned()),
        _ => Ok(()),
    });
    assert_eq!((stage.status(), stage.engine.books().len()), (BooksStatus::default(), 0));
    let requests = stage.exchange.stats().venue(Venue::BinanceSpot).unwrap().rest_requests;
    assert_eq!(requests, 1, "the instrument list");
    stage.end();
}

#[test]
fn a_tick_that_the_venue_changes_is_told_and_that_book_alone_is_rebuilt_at_the_new_one() {
    let relist = Some(Duration::from_secs(1));
    let mut stage = Stage::with(&VENUES, "", |connection| connection.rest.relist = relist);
    let books = VENUES.len() * SYMBOLS as usize;
    stage.until_live(books);
    for venue in VENUES {
        stage.told();
        let symbol = stage.exchange.symbols(venue)[1].clone();
        // The changes before the new tick are at the old one.
        stage.stand_still(&VENUES);
        assert!(stage.exchange.change_tick(venue, &symbol, 1));
        let (connection, changes) = stage.next("the changed tick", |connection, what| match what {
            Happening::TicksChanged { changes } => Some((connection.to_owned(), changes.clone())),
            _ => None,
        });
        let [change] = &changes[..] else { panic!("one symbol: {changes:?}") };
        assert_eq!((connection.as_str(), change.symbol.as_str()), (venue.name(), symbol.as_str()));
        let ticks = (change.tick_before.as_deref(), change.tick.as_deref());
        assert_eq!((ticks, &change.lot_before), ((Some("0.01"), Some("0.1")), &change.lot), "{venue}");
        assert_eq!(stage.next_stale(venue), ("tick_changed".to_owned(), vec![symbol.clone()]), "{venue}: it alone");
        stage.exchange.pause_tape(false);
        let repaired = stage.next("the book is live again", |_, what| match what {
            Happening::BooksStale { reason, symbols } => panic!("{venue}: {reason}: {symbols:?}"),
            Happening::BooksRepaired { reason, symbols, .. } => Some((reason.clone(), symbols.clone())),
            _ => None,
        });
        assert_eq!(repaired, ("tick_changed".to_owned(), vec![symbol]), "{venue}");
    }
    stage.until_live(books);
    stage.assert_true(&VENUES);
    let report = stage.engine.report();
    assert_eq!(report.hot_threads[0].books.stale_reasons, BTreeMap::from([("tick_changed".to_owned(), 3)]));
    assert_eq!(report.lists.len(), VENUES.len());
    for list in &report.lists {
        assert_eq!((list.ticks_changed, list.ticks_too_fine, list.lists_failed), (1, 0, 0), "{list:?}");
        assert!(list.lists >= 2, "{list:?}");
    }
    let unparsed: Vec<u64> = report.connections.iter().map(|connection| connection.unparsed).collect();
    assert_eq!(unparsed, [0, 0, 0], "a coarser tick fits the scales");
    stage.end();
}

#[test]
fn a_tick_finer_than_the_scale_is_told_what_does_not_fit_is_refused_and_its_book_is_not_served() {
    let venues = [Venue::BinanceSpot, Venue::BybitLinear];
    let relist = Some(Duration::from_secs(1));
    let mut stage = Stage::with(&venues, "", |connection| connection.rest.relist = relist);
    let books = venues.len() * SYMBOLS as usize;
    stage.until_live(books);
    let symbol = stage.exchange.symbols(venues[0])[1].clone();
    for venue in venues {
        stage.told();
        stage.stand_still(&[venue]);
        assert!(stage.exchange.change_tick(venue, &symbol, 4));
        let too_fine = stage.next("the tick is too fine", |connection, what| match what {
            Happening::TicksTooFine { symbols } => Some((connection.to_owned(), symbols.clone())),
            _ => None,
        });
        assert_eq!(too_fine, (venue.name().to_owned(), vec![symbol.clone()]));
        assert_eq!(stage.next_stale(venue), ("tick_changed".to_owned(), vec![symbol.clone()]));
        stage.exchange.pause_tape(false);
        until(&stage.runtime, "prices that do not fit are refused and counted", || {
            let report = stage.engine.report();
            let connection = report.connections.iter().find(|connection| connection.venue == venue.name());
            match connection.and_then(|connection| connection.unparsed_reasons.get("off_grid")) {
                Some(3..) => Ok(()),
                _ => Err(format!("{:?}", connection.map(|connection| &connection.unparsed_reasons))),
            }
        });
    }
    // A status whose books could not be told in time has none.
    let rows = until(&stage.runtime, "the books are told", || {
        let books = stage.status().books;
        if books.is_empty() { Err(String::new()) } else { Ok(books) }
    });
    for book in &rows {
        assert_eq!(book.state == "live", book.symbol != symbol, "{book:?}");
    }
    until(&stage.runtime, "a snapshot says why the book cannot be rebuilt", || {
        let books = stage.status().books;
        let row = books.iter().find(|book| book.symbol == symbol && book.venue == "binance-spot");
        let error = row.and_then(|row| row.last_error.clone()).unwrap_or_default();
        if error.contains("depth snapshot of") { Ok(()) } else { Err(error) }
    });
    let lists = stage.engine.report().lists;
    assert!(lists.iter().all(|list| list.ticks_too_fine == 1), "{lists:?}");
    let handle = stage.engine.handle();
    let status = stage.runtime.block_on(async move { handle.status().await });
    assert_eq!(status.lists.len(), 2);
    assert!(tickwire::telemetry::status_text(&status).contains("TOO FINE"));
    // Back at a tick that it can be read at, the book is the exchange's again.
    for venue in venues {
        assert!(stage.exchange.change_tick(venue, &symbol, 2));
    }
    until(&stage.runtime, "the lists say so", || {
        let lists = stage.engine.report().lists;
        if lists.iter().all(|list| list.ticks_too_fine == 0) { Ok(()) } else { Err(format!("{lists:?}")) }
    });
    stage.until_live(books);
    stage.assert_true(&venues);
    stage.end();
}

#[test]
fn a_symbol_that_is_halted_and_trades_again_is_told_and_its_book_stays() {
    let relist = Some(Duration::from_secs(1));
    let mut stage = Stage::with(&[Venue::BybitLinear], "", |connection| connection.rest.relist = relist);
    stage.until_live(SYMBOLS as usize);
    let symbol = stage.exchange.symbols(Venue::BybitLinear)[2].clone();
    assert!(stage.exchange.set_trading(Venue::BybitLinear, &symbol, false));
    let halted = stage.next("halted", |_, what| match what {
        Happening::NotTrading { reason, symbols } => Some((reason.clone(), symbols.clone())),
        _ => None,
    });
    assert_eq!(halted, ("halted".to_owned(), vec![symbol.clone()]));
    assert_eq!(stage.engine.report().lists[0].not_trading, 1);
    assert!(stage.exchange.set_trading(Venue::BybitLinear, &symbol, true));
    let again = stage.next("trading again", |_, what| match what {
        Happening::TradingAgain { symbols } => Some(symbols.clone()),
        Happening::BooksStale { reason, symbols } => panic!("{reason}: {symbols:?}"),
        _ => None,
    });
    assert_eq!(again, [symbol]);
    stage.end();
}
