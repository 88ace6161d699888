//! Recorded frames end to end: the embedded exchange plays every WebSocket frame of the four venues over `wss`, flat
//! out; the engine receives, decodes and routes them; a strategy writes down what it was given. It must be exactly what
//! an independent reading of the same JSON gives: counts, sums and the whole sequence, by symbol and kind.
//!
//! ```text
//! TICKWIRE_FRAMES ──► sim (Source::Frames) ── wss ──► Engine ──► handlers ──► Log ─┐
//!                └──► serde_json, by the exchanges' documents ──► Expected ────────┴──► equal
//! ```
//! Skips without `TICKWIRE_FRAMES`, unless `CI` is `true`.

#[path = "support/fields.rs"]
mod fields;
#[path = "support/reading.rs"]
mod reading;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/stage.rs"]
mod stage;

use fields::Grid;
use reading::{Fields, Json, Reading};
use recorded::{frames, messages};
use stage::{config, runtime, until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tickwire::config::{ConnectionConfig, Transport};
use tickwire::hot::RecordOpener;
use tickwire::prelude::*;
use tickwire::sim::{self, Pace, SimOptions, Source, TlsMode};
use tickwire::telemetry::{ConnectionReport, Report};
use tickwire::venue::Form;

/// The venues and their folders.
const FOLDERS: [(Venue, &str); 4] = [
    (Venue::BinanceSpot, "binance"),
    (Venue::BinanceUsdm, "binance_usdm"),
    (Venue::BybitSpot, "bybit_spot"),
    (Venue::BybitLinear, "bybit_linear"),
];

/// What is not played: file, a part of its lines (all of them where empty), and why. `_arrival_order.csv` holds no
/// messages: it is the order the others are played in.
const EXCLUDED: [(&str, &str, &str); 4] = [
    ("binance/rest_depth_snapshot_BTCUSDT.jsonl", "", "a REST body"),
    ("binance_usdm/rest_depth_snapshot_BTCUSDT.jsonl", "", "a REST body"),
    ("bybit_linear/liquidation.single.jsonl", "\"liquidation.BTCUSD\"", "an inverse contract"),
    ("bybit_linear/liquidation.single.jsonl", "\"liquidation.ETHUSD\"", "an inverse contract"),
];

// ---------------------------------------------------------------------------------------- what the strategy was given

type Log = Arc<Mutex<Vec<(Venue, Fields)>>>;

/// A strategy that writes everything down.
struct Recorder {
    specs: BTreeMap<usize, SymbolSpec>,
    log: Log,
}

macro_rules! handlers {
    ($($on:ident, $kind:ident, $event:ty;)*) => {
        $(fn $on(recorder: &mut Recorder, event: &$event) {
            let spec = &recorder.specs[&event.meta.symbol.index()];
            assert_eq!(spec.symbol, event.meta.symbol);
            assert!(event.meta.received.mono.0 > 0 && event.meta.received.wall_ns > 0, "every event is stamped");
            let grid = Grid { name: &spec.name, price_scale: spec.price_scale, qty_scale: spec.qty_scale };
            recorder.log.lock().unwrap().push((spec.venue, fields::$kind(&grid, event)));
        })*

        fn on_symbol(recorder: &mut Recorder, router: &mut Router<Recorder>, spec: &SymbolSpec) {
            recorder.specs.insert(spec.symbol.index(), spec.clone());
            $(router.$on(spec.symbol, $on);)*
        }
    };
}

handlers! {
    on_trade, trade, Trade;
    on_agg_trade, agg_trade, AggTrade;
    on_quote, quote, Quote;
    on_ticker, ticker, Ticker;
    on_book_delta, book, BookUpdate<'_>;
    on_kline, kline, Kline;
    on_mark_price, mark_price, MarkPrice;
    on_liquidation, liquidation, Liquidation;
}

// ------------------------------------------------------------------------------------------- what it should have been

/// Venue, symbol, kind.
type Key = (Venue, String, String);

/// What the frames say, read without the engine.
#[derive(Default)]
struct Expected {
    /// The events of a symbol and kind, by the stream they come on: within a stream the order holds.
    events: BTreeMap<Key, BTreeMap<String, Vec<Fields>>>,
    /// Frames that hold them, by venue.
    frames: BTreeMap<Venue, u64>,
    /// Recorded acknowledgements, which every connection of the venue gets.
    acks: BTreeMap<Venue, u64>,
    streams: BTreeMap<Venue, BTreeSet<String>>,
    /// Lines left out, by file.
    excluded: BTreeMap<String, u64>,
}

fn key(venue: Venue, event: &Fields) -> Key {
    (venue, event["symbol"].clone(), event["kind"].clone())
}

fn line_count(file: &str) -> u64 {
    let Some(root) = frames() else { return 0 };
    fs::read_to_string(root.join(file)).unwrap().lines().count() as u64
}

fn expected() -> Expected {
    let mut expected = Expected::default();
    for (venue, folder) in FOLDERS {
        let mut reading = Reading::default();
        for (file, lines) in messages(folder) {
            for line in lines {
                if EXCLUDED.iter().any(|(excluded, part, _)| *excluded == file && line.contains(part)) {
                    *expected.excluded.entry(file.clone()).or_default() += 1;
                    continue;
                }
                let message = Json::parse(&line).unwrap_or_else(|| panic!("{file}: no JSON: {line}"));
                let stream = message.get("stream").text().or(message.get("topic").text());
                let stream = stream.unwrap_or_else(|| panic!("{file}: neither stream nor topic in {line}")).to_owned();
                *expected.frames.entry(venue).or_default() += 1;
                let events = reading.read(venue, &message);
                for event in events.unwrap_or_else(|| panic!("{file}: no document describes {line}")) {
                    let of_key = expected.events.entry(key(venue, &event)).or_default();
                    of_key.entry(stream.clone()).or_default().push(event);
                }
                expected.streams.entry(venue).or_default().insert(stream);
            }
        }
        let is_bybit = matches!(venue, Venue::BybitSpot | Venue::BybitLinear);
        let acks = if is_bybit { line_count(&format!("{folder}/subscribe_ack.jsonl")) } else { 0 };
        expected.acks.insert(venue, acks);
    }
    for (file, part, _) in EXCLUDED {
        if part.is_empty() {
            expected.excluded.insert(file.to_owned(), line_count(file));
        }
    }
    expected
}

/// A stream's symbol and channel in the venue's words; no symbol where it is of the whole market.
fn parts(venue: Venue, stream: &str) -> (Option<String>, String) {
    match venue {
        Venue::BinanceSpot | Venue::BinanceUsdm if stream.starts_with('!') => (None, stream.to_owned()),
        Venue::BinanceSpot | Venue::BinanceUsdm => {
            let (symbol, channel) = stream.split_once('@').unwrap();
            (Some(symbol.to_uppercase()), channel.to_owned())
        }
        Venue::BybitSpot | Venue::BybitLinear => {
            let (channel, symbol) = stream.rsplit_once('.').unwrap();
            (Some(symbol.to_owned()), channel.to_owned())
        }
    }
}

/// Connections that want exactly these streams: one for all symbols that share their channels.
fn connections(venue: Venue, streams: &BTreeSet<String>, form: Form, transport: Transport) -> Vec<ConnectionConfig> {
    let mut channels: BTreeMap<(Option<String>, bool), BTreeSet<String>> = BTreeMap::new();
    for stream in streams {
        let (symbol, channel) = parts(venue, stream);
        // A bare partial depth does not say whose it is: only a connection of its own tells.
        let is_alone = form == Form::Raw && channel == "depth20";
        channels.entry((symbol, is_alone)).or_default().insert(channel);
    }
    let mut symbols: Vec<(BTreeSet<String>, Vec<String>)> = Vec::new();
    for ((symbol, is_alone), channels) in channels {
        match symbols.iter_mut().find(|(of_others, _)| !is_alone && *of_others == channels) {
            Some((_, symbols)) => symbols.extend(symbol),
            None => symbols.push((channels, symbol.into_iter().collect())),
        }
    }
    let connection = |(number, (channels, symbols)): (usize, (BTreeSet<String>, Vec<String>))| {
        let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
        let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
        let name = format!("{venue}-{number}");
        let connection = ConnectionConfig::new(name, venue).subscribed_to(&symbols, &channels).unwrap();
        ConnectionConfig { form, transport, ..connection }
    };
    symbols.into_iter().enumerate().map(connection).collect()
}

// ------------------------------------------------------------------------------------------------ one beside the other

/// The sum of every number of these events, by field: exact, in units of 10^-18. What is no number is left out.
fn sums<'a>(events: impl IntoIterator<Item = &'a Fields>) -> BTreeMap<&'static str, i128> {
    let mut sums = BTreeMap::new();
    for (name, text) in events.into_iter().flatten() {
        // Levels are written `price x quantity`, one behind the other.
        for number in text.split([' ', 'x']) {
            let Ok(decimal) = Decimal::parse(number.as_bytes()) else { continue };
            let Some(missing) = 18_u32.checked_sub(decimal.scale().into()) else { continue };
            if let Some(units) = decimal.mantissa().checked_mul(10_i128.pow(missing)) {
                *sums.entry(*name).or_default() += units;
            }
        }
    }
    sums
}

/// Fails unless `given` is made of these sequences, each in its own order.
fn assert_interleaved(key: &Key, streams: &BTreeMap<String, Vec<Fields>>, given: &[Fields]) {
    let mut left: Vec<&[Fields]> = streams.values().map(Vec::as_slice).collect();
    for (index, event) in given.iter().enumerate() {
        let next = left.iter_mut().find(|events| events.first() == Some(event));
        let Some(next) = next else {
            let awaited: Vec<_> = left.iter().filter_map(|events| events.first()).collect();
            panic!("{key:?}: event {index} is {event:?}; awaited was one of {awaited:?}");
        };
        *next = &next[1..];
    }
    assert!(left.iter().all(|events| events.is_empty()), "{key:?}: {} events never came", left.concat().len());
}

fn of_venue(report: &Report, venue: Venue) -> Vec<&ConnectionReport> {
    report.connections.iter().filter(|connection| connection.venue == venue.name()).collect()
}

/// Plays everything to an engine that receives it in this way, and compares.
fn play(form: Form, transport: Transport, records: RecordOpener) {
    let Some(dir) = frames() else { return };
    let expected = expected();
    let runtime = runtime();
    let options = SimOptions {
        tls: TlsMode::On,
        source: Source::Frames { dir, pace: Pace::FlatOut },
        // A machine that is busy may take long between the first subscription and the last.
        start_quiet: Duration::from_secs(2),
        ..SimOptions::default()
    };
    let exchange = runtime.block_on(sim::start(options)).unwrap();
    let mut wanted: Vec<ConnectionConfig> =
        FOLDERS.iter().flat_map(|(venue, _)| connections(*venue, &expected.streams[venue], form, transport)).collect();
    wanted.iter_mut().for_each(|connection| connection.tls.records = records);
    let log = Log::default();
    let of_strategy = Arc::clone(&log);
    let engine = Engine::builder(config(wanted, exchange.endpoints()))
        .strategy("recorder", move || Strategy {
            state: Recorder { specs: BTreeMap::new(), log: Arc::clone(&of_strategy) },
            on_symbol,
        })
        .start()
        .unwrap();

    for (venue, _) in FOLDERS {
        until(&runtime, &format!("{venue} plays"), || {
            let stats = exchange.stats();
            let stats = stats.venue(venue).unwrap();
            if stats.playback_finished { Ok(()) } else { Err(format!("{stats:?}; {}", engine.report().to_json())) }
        });
        until(&runtime, &format!("{venue}: every message arrives"), || {
            let sent = exchange.stats().venue(venue).unwrap().messages_sent;
            let report = engine.report();
            let frames: u64 = of_venue(&report, venue).iter().map(|connection| connection.frames).sum();
            if frames == sent { Ok(()) } else { Err(format!("{frames} of {sent}: {}", report.to_json())) }
        });
    }
    let subscribed: BTreeMap<_, _> = FOLDERS.map(|(venue, _)| (venue, exchange.subscriptions(venue))).into();
    let running = engine.report();
    let report = engine.stop();
    let stats = runtime.block_on(exchange.stop());

    // What the engine was given.
    let mut given: BTreeMap<Key, Vec<Fields>> = BTreeMap::new();
    for (venue, event) in log.lock().unwrap().drain(..) {
        given.entry(key(venue, &event)).or_default().push(event);
    }
    let counts = |events: &BTreeMap<Key, Vec<Fields>>| -> BTreeMap<Key, usize> {
        events.iter().map(|(key, events)| (key.clone(), events.len())).collect()
    };
    let flat: BTreeMap<Key, Vec<Fields>> = expected
        .events
        .iter()
        .map(|(key, streams)| (key.clone(), streams.values().flatten().cloned().collect()))
        .collect();
    assert_eq!(counts(&given), counts(&flat), "events by venue, symbol and kind");
    for (key, streams) in &expected.events {
        assert_eq!(sums(&given[key]), sums(streams.values().flatten()), "sums of {key:?}");
        assert_interleaved(key, streams, &given[key]);
    }

    // What the exchange says it did.
    let excluded = |part: &str| EXCLUDED.iter().find(|(file, _, _)| *file == part).unwrap().2;
    let mut left_out: BTreeMap<String, u64> = BTreeMap::new();
    for (venue, _) in FOLDERS {
        let stats = stats.venue(venue).unwrap();
        for exclusion in &stats.exclusions {
            *left_out.entry(exclusion.file.clone()).or_default() += exclusion.lines;
            assert!(exclusion.reason.contains(excluded(&exclusion.file)), "{exclusion:?}");
        }
        let frames = expected.frames[&venue] + expected.acks[&venue];
        assert_eq!((stats.frames_total, stats.frames_played, stats.frames_unsent), (frames, frames, 0), "{venue}");
        assert_eq!((stats.request_errors, stats.slow_clients_dropped), (0, 0), "{venue}: {stats:?}");
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for ((of, _, kind), events) in &flat {
            if *of == venue {
                *kinds.entry(kind.clone()).or_default() += events.len() as u64;
            }
        }
        assert_eq!(stats.events_sent, kinds, "{venue}: events sent, by kind");
        let views = &subscribed[&venue];
        let streams: BTreeSet<String> = views.iter().flatten().cloned().collect();
        assert_eq!(streams, expected.streams[&venue], "{venue}: subscriptions");
        assert_eq!(views.iter().map(BTreeSet::len).sum::<usize>(), streams.len(), "{venue}: each stream once");
    }
    assert_eq!(left_out, expected.excluded, "what is left out");

    // What the engine says of itself.
    for connection in &running.connections {
        let subscriptions = &connection.subscriptions;
        assert!(connection.is_ready(), "{}", running.to_json());
        assert_eq!(
            (subscriptions.active, subscriptions.pending, subscriptions.refused),
            (subscriptions.wanted, 0, 0),
            "{connection:?}"
        );
    }
    for connection in &report.connections {
        let wrong = (connection.unparsed, connection.unrouted, connection.tier_two, connection.reconnects);
        assert_eq!(wrong, (0, 0, 0, 0), "{connection:?}");
        let opener = (transport == Transport::Hot).then(|| records.name());
        assert_eq!((connection.tls.as_deref(), connection.tls_fallbacks), (opener, 0));
    }
    for (venue, _) in FOLDERS {
        let connections = of_venue(&report, venue);
        let total = |of: fn(&ConnectionReport) -> u64| connections.iter().map(|connection| of(connection)).sum::<u64>();
        // Recorded acknowledgements reach every connection beside the answers to its own requests, and mean nothing there.
        let control = stats.venue(venue).unwrap().requests_received + expected.acks[&venue] * connections.len() as u64;
        assert_eq!(total(|connection| connection.control_messages), control, "{venue}");
        assert_eq!(total(|connection| connection.frames), expected.frames[&venue] + control, "{venue}");
        let events: usize = flat.iter().filter(|((of, _, _), _)| *of == venue).map(|(_, events)| events.len()).sum();
        assert_eq!(total(|connection| connection.events), events as u64, "{venue}");
    }
}

#[test]
fn every_recorded_frame_over_wss_gives_exactly_the_events_its_json_says() {
    play(Form::Combined, Transport::Hot, RecordOpener::Rustls);
}

#[test]
fn every_recorded_frame_without_its_wrapper_gives_the_same_events() {
    play(Form::Raw, Transport::Hot, RecordOpener::Rustls);
}

#[test]
fn every_recorded_frame_over_the_cold_transport_gives_the_same_events() {
    play(Form::Combined, Transport::Cold, RecordOpener::Rustls);
}

#[test]
fn every_recorded_frame_from_records_that_are_opened_in_place_gives_the_same_events() {
    play(Form::Combined, Transport::Hot, RecordOpener::InPlace);
}
