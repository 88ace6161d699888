//! Recorded runs over a real socket: every contiguous capture of a book that the engine's venues have, played by the embedded
//! exchange (Binance's REST snapshot with it), kept by the engine, and rebuilt here from the same lines with plain maps and
//! `serde_json`. After every message the best bid and ask are the same, in the end every level; where a `bookTicker` has the id
//! of a depth message the two agree.
//!
//! ```text
//! lines ─┬─► sim ─ ws, http ─► engine: on_book after every message, the whole book in the end ─┐
//!        └─► serde_json ─► two BTreeMaps ──────────────────────────────────────────────────────┴─► equal
//! ```
//! Needs `TICKWIRE_FRAMES`, the folder with the recorded frames; skips without it, unless `CI` is `true`.

#[path = "support/folder.rs"]
mod folder;
#[path = "books/rebuild.rs"]
mod rebuild;
#[path = "support/recorded.rs"]
#[allow(dead_code, reason = "only where the frames are is asked for here")]
mod recorded;
#[path = "support/stage.rs"]
#[expect(dead_code, reason = "the ends of recordings are waited for here")]
mod stage;

use folder::Folder;
use rebuild::{Pair, Rebuild, number};
use recorded::frames;
use serde_json::Value;
use stage::{PATIENCE, config, runtime};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tickwire::book::{BookEvent, Step};
use tickwire::prelude::*;
use tickwire::sim::{self, Pace, SimHandle, SimOptions, Source};
use tickwire::telemetry::BookReport;
use tokio::runtime::Runtime;

/// A capture: its venue, folder, book channel and symbols.
struct Capture {
    venue: Venue,
    folder: &'static str,
    channel: &'static str,
    symbols: &'static [&'static str],
}

const CAPTURES: [Capture; 4] = [
    Capture { venue: Venue::BinanceSpot, folder: "binance", channel: "depth@100ms", symbols: &["BTCUSDT"] },
    Capture { venue: Venue::BinanceUsdm, folder: "binance_usdm", channel: "depth@0ms", symbols: &["BTCUSDT"] },
    Capture { venue: Venue::BybitSpot, folder: "bybit_spot", channel: "orderbook.200", symbols: &["BTCUSDT"] },
    Capture {
        venue: Venue::BybitLinear,
        folder: "bybit_linear",
        channel: "orderbook.200",
        symbols: &["BTCUSDT", "ETHUSDT", "SOLUSDT"],
    },
];

/// How many times as fast as recorded.
const PACE: f64 = 20.0;

/// Recorded time that is put behind the first message: the snapshot comes meanwhile, as it did when it was recorded. Without it
/// a recording that is played faster would have passed the id of its one snapshot before that could be asked for.
const PAUSE_US: u64 = 30_000_000;

impl Capture {
    fn is_binance(&self) -> bool {
        matches!(self.venue, Venue::BinanceSpot | Venue::BinanceUsdm)
    }

    fn lines(&self, root: &Path, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(root.join(self.folder).join(file)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Writes the capture's book messages, quotes and snapshot below `to`, in the order in which they arrived.
    fn copy(&self, root: &Path, to: &Path) {
        let (from, to) = (root.join(self.folder), to.join(self.folder));
        fs::create_dir_all(&to).unwrap();
        let files: &[&str] = if self.is_binance() { &["depth_delta", "book_ticker"] } else { &["depth_delta"] };
        for file in files {
            fs::copy(from.join(format!("{file}.jsonl")), to.join(format!("{file}.jsonl"))).unwrap();
        }
        if self.is_binance() {
            let snapshot = format!("rest_depth_snapshot_{}.jsonl", self.symbols[0]);
            fs::copy(from.join(&snapshot), to.join(&snapshot)).unwrap();
        }
        let order = fs::read_to_string(from.join("_arrival_order.csv")).unwrap();
        let (mut rows, mut has_begun) = (vec!["recv_offset_us,channel".to_owned()], false);
        for row in order.lines().skip(1) {
            let (offset, channel) = row.split_once(',').unwrap();
            if files.contains(&channel) {
                let pause = if has_begun { PAUSE_US } else { 0 };
                rows.push(format!("{},{channel}", offset.parse::<u64>().unwrap() + pause));
                has_begun |= channel == "depth_delta";
            }
        }
        fs::write(to.join("_arrival_order.csv"), rows.join("\n")).unwrap();
    }

    /// The second keeping: after each message that is news, by symbol and id, the best bid and ask; and every level in the end.
    fn rebuilt(&self, root: &Path) -> Rebuilt {
        let mut rebuilt = Rebuilt::default();
        let mut snapshot_id = 0;
        if self.is_binance() {
            let body = self.lines(root, &format!("rest_depth_snapshot_{}.jsonl", self.symbols[0])).remove(0);
            snapshot_id = body["lastUpdateId"].as_u64().unwrap();
            let book = rebuilt.books.entry(self.symbols[0].to_owned()).or_default();
            book.0.apply(&body["bids"], &body["asks"]);
        }
        for line in self.lines(root, "depth_delta.jsonl") {
            let data = &line["data"];
            let (symbol, id) = (data["s"].as_str().unwrap().to_owned(), data["u"].as_u64().unwrap());
            if self.is_binance() && id <= snapshot_id {
                continue;
            }
            let (book, last) = rebuilt.books.entry(symbol.clone()).or_default();
            if line["type"] == "snapshot" {
                *book = Rebuild::default();
            }
            book.apply(&data["b"], &data["a"]);
            *last = id;
            rebuilt.touches.push((symbol, id, [book.bids().next(), book.asks().next()]));
        }
        rebuilt
    }
}

#[derive(Default)]
struct Rebuilt {
    touches: Vec<(String, u64, [Option<Pair>; 2])>,
    /// The book, and the id of its last message.
    books: BTreeMap<String, (Rebuild, u64)>,
}

fn play(runtime: &Runtime, captures: &[&Capture], dir: &Path) -> SimHandle {
    let options = SimOptions {
        venues: captures.iter().map(|capture| capture.venue).collect(),
        source: Source::Frames { dir: dir.to_owned(), pace: Pace::Multiple(PACE) },
        ..SimOptions::default()
    };
    runtime.block_on(sim::start(options)).unwrap()
}

fn wait_playback(runtime: &Runtime, exchange: &SimHandle, venue: Venue) {
    let played = runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange.wait_playback(venue)).await });
    played.unwrap_or_else(|_| panic!("{venue} was not played in {PATIENCE:?}"));
}

/// What the strategy was told: of each book, its id and best levels; of each quote, its id and levels. As texts' numbers.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Ears>>);

#[derive(Default)]
struct Ears {
    scales: BTreeMap<Symbol, (String, u8, u8)>,
    touches: Vec<(String, u64, [Option<Pair>; 2])>,
    quotes: BTreeMap<u64, [Option<Pair>; 2]>,
    turned_stale: usize,
}

impl Ears {
    fn pair(&self, symbol: Symbol, level: Level) -> Pair {
        let (_, price_scale, qty_scale) = &self.scales[&symbol];
        let text = |decimal: Decimal| number(&decimal.to_string());
        (text(level.price.at_scale(*price_scale)), text(level.qty.at_scale(*qty_scale)))
    }
}

fn on_symbol(heard: &mut Heard, router: &mut Router<Heard>, spec: &SymbolSpec) {
    let mut ears = heard.0.lock().unwrap();
    ears.scales.insert(spec.symbol, (spec.name.to_string(), spec.price_scale, spec.qty_scale));
    router.on_book(spec.symbol, on_book);
    router.on_quote(spec.symbol, on_quote);
}

fn on_book(heard: &mut Heard, event: &BookEvent<'_>) {
    let mut ears = heard.0.lock().unwrap();
    let symbol = event.meta.symbol;
    ears.turned_stale += usize::from(matches!(event.step, Step::Stale(_)));
    let Some(book) = event.live() else { return };
    let best = |side| book.best(side).known().flatten().map(|level| ears.pair(symbol, level));
    let touch = [best(Side::Buy), best(Side::Sell)];
    let (name, id) = (ears.scales[&symbol].0.clone(), event.view.ids.unwrap().last);
    ears.touches.push((name, id, touch));
}

fn on_quote(heard: &mut Heard, quote: &Quote) {
    let mut ears = heard.0.lock().unwrap();
    let touch = [quote.bid, quote.ask].map(|level| Some(ears.pair(quote.meta.symbol, level)));
    ears.quotes.insert(quote.update_id, touch);
}

/// The levels of a report as the second keeping has them.
fn pairs(levels: &[[String; 2]]) -> Vec<Pair> {
    levels.iter().map(|[price, qty]| (number(price), number(qty))).collect()
}

fn assert_same_levels(report: &BookReport, rebuilt: &Rebuilt) {
    let (rebuild, last) = &rebuilt.books[&report.symbol];
    let of = format!("{} {}", report.venue, report.symbol);
    assert_eq!((report.state.as_str(), report.sequence), ("live", Some(*last)), "{of}");
    assert!(report.bids_known > 0 && report.asks_known > 0, "{of}");
    assert!(pairs(&report.bids) == rebuild.bids().collect::<Vec<_>>(), "{of}: bids");
    assert!(pairs(&report.asks) == rebuild.asks().collect::<Vec<_>>(), "{of}: asks");
}

fn run(capture: &Capture) {
    let Some(root) = frames() else { return };
    let folder = Folder::new();
    capture.copy(&root, &folder.0);
    let rebuilt = capture.rebuilt(&root);
    let runtime = runtime();
    let exchange = play(&runtime, &[capture], &folder.0);
    let mut channels = vec![capture.channel];
    channels.extend(capture.is_binance().then_some("bookTicker"));
    let connection = ConnectionConfig::new("one", capture.venue).subscribed_to(capture.symbols, &channels).unwrap();
    let heard = Heard::default();
    let of_strategy = heard.clone();
    let builder = Engine::builder(config(vec![connection], exchange.endpoints()));
    let builder = builder.strategy("heard", move || Strategy { state: of_strategy.clone(), on_symbol });
    let engine = builder.start().unwrap();
    wait_playback(&runtime, &exchange, capture.venue);
    let began = Instant::now();
    let books = loop {
        let books = engine.books();
        let is_last = |book: &BookReport| book.sequence == Some(rebuilt.books[&book.symbol].1);
        if books.len() == capture.symbols.len() && books.iter().all(is_last) {
            break books;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{:?}",
            books.iter().map(|book| (&book.state, book.sequence)).collect::<Vec<_>>()
        );
    };
    books.iter().for_each(|book| assert_same_levels(book, &rebuilt));
    let report = engine.stop();
    assert!(report.failure.is_none(), "{}", report.to_json());
    drop(runtime.block_on(exchange.stop()));
    let ears = heard.0.lock().unwrap();
    // Whatever the snapshot was joined by is told with it, as one; all that follows is told message by message.
    let told: BTreeMap<(&str, u64), &[Option<Pair>; 2]> =
        ears.touches.iter().map(|(symbol, id, touch)| ((symbol.as_str(), *id), touch)).collect();
    let mut compared = 0;
    for (symbol, id, touch) in &rebuilt.touches {
        let ours = told.get(&(symbol.as_str(), *id)).unwrap_or_else(|| panic!("{symbol} at {id}: nothing was told"));
        assert_eq!(*ours, touch, "{symbol} at {id}");
        compared += 1;
    }
    assert!(compared > 250, "{compared} messages");
    if capture.is_binance() {
        let meetings = rebuilt.touches.iter().filter_map(|(_, id, touch)| Some((ears.quotes.get(id)?, touch, id)));
        let mut met = 0;
        for (quote, touch, id) in meetings {
            assert_eq!(quote, touch, "the quote of {id}");
            met += 1;
        }
        assert!(met > 0, "no quote has the id of a depth message");
    }
    // Those that are stopped with the engine are told too: nothing before.
    assert!(ears.turned_stale <= capture.symbols.len(), "{}", ears.turned_stale);
}

#[test]
fn binance_spots_capture_is_the_same_over_a_socket_after_every_message() {
    run(&CAPTURES[0]);
}

#[test]
fn binance_usdms_capture_is_the_same_over_a_socket_after_every_message() {
    run(&CAPTURES[1]);
}

#[test]
fn bybits_captures_are_the_same_over_a_socket_after_every_message() {
    run(&CAPTURES[2]);
    run(&CAPTURES[3]);
}

/// The program, as a script would run it.
fn tickwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Ended if the test gives up before.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// True for a file that is not whole yet.
fn is_part(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().ends_with(".part")
}

#[test]
fn the_program_writes_every_book_at_its_end_and_tells_each_while_it_runs() {
    let Some(root) = frames() else { return };
    let folder = Folder::new();
    let at = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let captures: Vec<&Capture> = CAPTURES.iter().collect();
    captures.iter().for_each(|capture| capture.copy(&root, &folder.0));
    let runtime = runtime();
    let exchange = play(&runtime, &captures, &folder.0);
    let connections = captures.iter().map(|capture| {
        let symbols = capture.symbols.iter().map(|symbol| format!("\"{symbol}\"")).collect::<Vec<_>>().join(", ");
        let venue = capture.venue.name();
        let channel = capture.channel;
        format!("[[connection]]\nname = \"{venue}\"\nvenue = \"{venue}\"\nsymbols = [{symbols}]\nchannels = [\"{channel}\"]\n")
    });
    fs::write(at("venues.toml"), connections.collect::<String>()).unwrap();
    fs::write(at("engine.toml"), format!("control_socket = \"{}\"\n", at("sock"))).unwrap();
    fs::write(at("endpoints.json"), serde_json::to_string(exchange.endpoints()).unwrap()).unwrap();
    let (venues, engine, endpoints, out) =
        (at("venues.toml"), at("engine.toml"), at("endpoints.json"), at("books.jsonl"));
    let arguments =
        ["run", &venues, "--engine", &engine, "--endpoints", &endpoints, "--books-out", &out, "--strategy", "null"];
    let child = tickwire(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut child = Child(child);
    captures.iter().for_each(|capture| wait_playback(&runtime, &exchange, capture.venue));
    let rebuilt: Vec<Rebuilt> = captures.iter().map(|capture| capture.rebuilt(&root)).collect();
    let socket = at("sock");
    let ctl = |words: &[&str]| {
        let output = tickwire(&[&["ctl", "--socket", &socket], words].concat()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // What was played last is on its way.
    let began = Instant::now();
    for (capture, rebuilt) in captures.iter().zip(&rebuilt) {
        for symbol in capture.symbols {
            let venue = capture.venue.name();
            let last = rebuilt.books[*symbol].1;
            loop {
                let line = ctl(&["book", venue, symbol, "--depth", "4", "--json"]);
                let book: BookReport = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
                if book.sequence == Some(last) {
                    assert_eq!((book.venue.as_str(), book.symbol.as_str(), book.bids.len()), (venue, *symbol, 4));
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "{line}, {last} is the last");
                runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
            }
        }
    }
    let ladder = ctl(&["book", "binance-spot", "BTCUSDT", "--depth", "2"]);
    assert!(ladder.starts_with("binance-spot BTCUSDT  live, at ") && ladder.matches("ask").count() == 2, "{ladder}");
    let status = ctl(&["status"]);
    assert!(status.contains("BOOKS") && status.contains("binance-usdm"), "{status}");
    assert!(Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_dir(&folder.0).unwrap().filter(|entry| is_part(entry.as_ref().unwrap())).count(), 0);
    let text = fs::read_to_string(&out).unwrap();
    let books: Vec<BookReport> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<(&str, &str)> = books.iter().map(|book| (book.venue.as_str(), book.symbol.as_str())).collect();
    let expected = [
        ("binance-spot", "BTCUSDT"),
        ("binance-usdm", "BTCUSDT"),
        ("bybit-linear", "BTCUSDT"),
        ("bybit-linear", "ETHUSDT"),
        ("bybit-linear", "SOLUSDT"),
        ("bybit-spot", "BTCUSDT"),
    ];
    assert_eq!(names, expected, "one line a book");
    for line in text.lines() {
        let keys: Vec<String> = serde_json::from_str::<BTreeMap<String, Value>>(line).unwrap().into_keys().collect();
        assert_eq!(keys, ["asks", "asks_known", "bids", "bids_known", "sequence", "state", "symbol", "venue"]);
    }
    for book in &books {
        let at = captures.iter().position(|capture| capture.venue.name() == book.venue).unwrap();
        assert_same_levels(book, &rebuilt[at]);
    }
    drop(runtime.block_on(exchange.stop()));
}
