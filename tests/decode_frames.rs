//! Recorded frames of the four venues, decoded by the engine and read a second time, independently, with `serde_json`
//! and the exchanges' documents: both must say the same, field by field.
//!
//! The second reading is `support/reading.rs` and calls nothing of `tickwire::venue`. Both sides end as a list of
//! (field, text), numbers as decimal text without trailing zeros, so nothing is compared through a float.
//!
//! Needs `TICKWIRE_FRAMES`, the folder with the recorded frames; skips without it, unless `CI` is `true`.

#[path = "support/fields.rs"]
mod fields;
#[path = "support/reading.rs"]
mod reading;
#[path = "support/recorded.rs"]
mod recorded;

use fields::Grid;
use reading::{Fields, Json, Reading};
use recorded::{frames, messages};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use tickwire::market::{
    AggTrade, Backlog, BookUpdate, Kline, Liquidation, MarkPrice, Meta, MonoNs, Quote, Received, StreamKind,
    SymbolSpec, SymbolTable, Ticker, Trade, Venue,
};
use tickwire::venue::{Channel, Decoded, Decoder, DecoderScratch, Form, HotSymbols, Payload, Reason, Sink, Tier};

const RECEIVED: Received = Received { mono: MonoNs(7), wall_ns: 11, backlog: Backlog::NONE };

/// What the engine said.
struct Ledger<'a> {
    table: &'a SymbolTable,
    names: &'a HashMap<usize, String>,
    events: Vec<Fields>,
    refused: Vec<Reason>,
    /// Of each event, in their order.
    stream_kinds: Vec<StreamKind>,
}

impl Ledger<'_> {
    fn grid(&self, meta: &Meta) -> Grid<'_> {
        assert_eq!(meta.received, RECEIVED, "the stamp is handed on");
        let spec = self.table.spec(meta.symbol).expect("the symbol of an event is known");
        let SymbolSpec { price_scale, qty_scale, .. } = *spec;
        Grid { name: &self.names[&meta.symbol.index()], price_scale, qty_scale }
    }
}

impl Sink for Ledger<'_> {
    fn trade(&mut self, event: &Trade) {
        self.stream_kinds.push(event.stream_kind());
        self.events.push(fields::trade(&self.grid(&event.meta), event));
    }

    fn agg_trade(&mut self, event: &AggTrade) {
        self.stream_kinds.push(event.stream_kind());
        self.events.push(fields::agg_trade(&self.grid(&event.meta), event));
    }

    fn quote(&mut self, event: &Quote) {
        self.stream_kinds.push(event.stream_kind());
        self.events.push(fields::quote(&self.grid(&event.meta), event));
    }

    fn ticker(&mut self, event: &Ticker) {
        self.stream_kinds.push(event.stream_kind());
        self.events.push(fields::ticker(&self.grid(&event.meta), event));
    }

    fn book(&mut self, event: &BookUpdate<'_>) {
        self.stream_kinds.push(event.stream_kind());
        self.events.push(fields::book(&self.grid(&event.meta), event));
    }

    fn kline(&mut self, event: &Kline) {
        self.stream_kinds.push(event.stream_kind());
        self.events.push(fields::kline(&self.grid(&event.meta), event));
    }

    fn mark_price(&mut self, event: &MarkPrice) {
        self.stream_kinds.push(event.stream_kind());
        self.events.push(fields::mark_price(&self.grid(&event.meta), event));
    }

    fn liquidation(&mut self, event: &Liquidation) {
        self.stream_kinds.push(event.stream_kind());
        self.events.push(fields::liquidation(&self.grid(&event.meta), event));
    }

    fn refused(&mut self, reason: Reason) {
        self.refused.push(reason);
    }
}

#[derive(Debug, Default, PartialEq)]
struct Tiers {
    one: usize,
    two_only: usize,
    two_after_one: usize,
}

/// The channel that a message's stream or topic names.
fn channel_of(venue: Venue, line: &str) -> Channel {
    let message: serde_json::Value = serde_json::from_str(line).unwrap();
    let name = match (message["stream"].as_str(), message["topic"].as_str()) {
        (Some(stream), _) if stream.starts_with('!') => stream,
        (Some(stream), _) => stream.split_once('@').expect("a symbol and a channel").1,
        (None, topic) => topic.and_then(|topic| topic.rsplit_once('.')).expect("a channel and a symbol").0,
    };
    Channel::parse(venue, name).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Decodes every message of a folder both ways; how many of each file's messages each tier took.
fn compare(venue: Venue, folder: &str) -> BTreeMap<String, Tiers> {
    compare_files(venue, folder, &messages(folder))
}

fn compare_files(venue: Venue, folder: &str, files: &[(String, Vec<String>)]) -> BTreeMap<String, Tiers> {
    let mut reading = Reading::default();
    let mut read = |line: &String| {
        let events = Json::parse(line).and_then(|message| reading.read(venue, &message));
        events.unwrap_or_else(|| panic!("no document describes {line}"))
    };
    let expected: Vec<Vec<Vec<Fields>>> =
        files.iter().map(|(_, lines)| lines.iter().map(&mut read).collect()).collect();
    let mut table = SymbolTable::default();
    let mut symbols = HotSymbols::new();
    let mut names = HashMap::new();
    for (name, (price_scale, qty_scale)) in &reading.grids {
        let symbol = table.add(venue, name, *price_scale, *qty_scale, None).unwrap();
        symbols.add(table.spec(symbol).unwrap());
        names.insert(symbol.index(), name.clone());
    }
    let mut scratch = DecoderScratch::new();
    let mut tiers = BTreeMap::new();
    for ((file, lines), expected) in files.iter().zip(&expected) {
        let mut decoder = Decoder::new(venue, Form::Combined, None);
        let counts: &mut Tiers = tiers.entry(file.clone()).or_default();
        for (line, expected) in lines.iter().zip(expected) {
            let mut ledger = Ledger {
                table: &table,
                names: &names,
                events: Vec::new(),
                refused: Vec::new(),
                stream_kinds: Vec::new(),
            };
            let mut bytes = line.clone().into_bytes();
            match decoder.decode(Payload::of_vec(&mut bytes), &RECEIVED, &symbols, &mut scratch, &mut ledger) {
                Ok(Decoded::Data(Tier::One)) => counts.one += 1,
                Ok(Decoded::Data(Tier::TwoOnly)) => counts.two_only += 1,
                Ok(Decoded::Data(Tier::TwoAfterOne)) => counts.two_after_one += 1,
                other => panic!("{file}: {other:?} for {line}"),
            }
            assert_eq!(&ledger.events, expected, "{file}: {line}");
            assert_eq!(ledger.refused, [], "{file}: {line}");
            // The documents' examples name streams that their payloads are not of: a candle of 1m on `kline_8h`.
            if !folder.starts_with("docs_examples/") {
                let stream_kind = channel_of(venue, line).stream_kind();
                assert!(
                    ledger.stream_kinds.iter().all(|&found| found == stream_kind),
                    "{file}: not on {stream_kind}: {line}"
                );
            }
        }
    }
    tiers
}

/// Every message came through tier one.
fn assert_tier_one(tiers: &BTreeMap<String, Tiers>) {
    for (file, counts) in tiers {
        let total = counts.one + counts.two_only + counts.two_after_one;
        assert!(total > 0, "{file} is empty");
        assert_eq!(*counts, Tiers { one: total, ..Tiers::default() }, "{file}");
    }
}

#[test]
fn binance_spot_frames_mean_what_the_documents_say() {
    assert_tier_one(&compare(Venue::BinanceSpot, "binance"));
}

#[test]
fn binance_usdm_frames_mean_what_the_documents_say() {
    assert_tier_one(&compare(Venue::BinanceUsdm, "binance_usdm"));
}

/// The recorded elements of one kind, from the arrays and from the messages of one symbol.
fn elements(folders: [&str; 2], kind: &str) -> Vec<String> {
    let lines = folders.into_iter().flat_map(messages).flat_map(|(_, lines)| lines);
    let begin = format!(r#"{{"e":"{kind}""#);
    let of_kind = lines.filter_map(|line| {
        let end = line.rfind('}')?;
        let start = line.find(&begin)?;
        // One brace closes the wrapper, if there is one.
        let element = if start == 0 { &line[..=end] } else { line[start..end].trim_end_matches(']') };
        Some(element.to_owned())
    });
    of_kind.collect()
}

#[test]
fn recorded_elements_in_one_array_mean_what_the_documents_say() {
    for (venue, folders) in [
        (Venue::BinanceSpot, ["binance", "docs_examples/binance"]),
        (Venue::BinanceUsdm, ["binance_usdm", "docs_examples/binance_usdm"]),
    ] {
        for (kind, stream) in [
            ("24hrTicker", "!ticker@arr"),
            ("24hrMiniTicker", "!miniTicker@arr"),
            ("markPriceUpdate", "!markPrice@arr"),
        ] {
            let elements = elements(folders, kind);
            if elements.is_empty() {
                continue;
            }
            // Each of them first, in the middle and last.
            let line = |turn: usize| {
                let elements: Vec<_> = elements.iter().cycle().skip(turn).take(3 * elements.len()).cloned().collect();
                format!(r#"{{"stream":"{stream}","data":[{}]}}"#, elements.join(","))
            };
            let files = vec![(format!("arrays/{kind}"), (0..elements.len()).map(line).collect())];
            assert_tier_one(&compare_files(venue, folders[0], &files));
        }
    }
}

#[test]
fn bybit_spot_frames_mean_what_the_documents_say() {
    assert_tier_one(&compare(Venue::BybitSpot, "bybit_spot"));
}

#[test]
fn bybit_linear_frames_mean_what_the_documents_say() {
    assert_tier_one(&compare(Venue::BybitLinear, "bybit_linear"));
}

#[test]
fn the_documents_own_examples_mean_what_they_say() {
    assert_tier_one(&compare(Venue::BinanceSpot, "docs_examples/binance"));
    assert_tier_one(&compare(Venue::BinanceUsdm, "docs_examples/binance_usdm"));
    assert_tier_one(&compare(Venue::BybitSpot, "docs_examples/bybit_spot"));
    assert_tier_one(&compare(Venue::BybitLinear, "docs_examples/bybit_linear"));
}

#[test]
fn answers_and_refusals_are_control_messages_and_rest_bodies_are_no_data() {
    let Some(root) = frames() else { return };
    let mut scratch = DecoderScratch::new();
    let (symbols, table) = (HotSymbols::new(), SymbolTable::default());
    let names = HashMap::new();
    let decode = |scratch: &mut DecoderScratch, venue, line: &str| {
        let mut ledger =
            Ledger { table: &table, names: &names, events: Vec::new(), refused: Vec::new(), stream_kinds: Vec::new() };
        let decoded = Decoder::new(venue, Form::Combined, None).decode(
            Payload::of_vec(&mut line.to_owned().into_bytes()),
            &RECEIVED,
            &symbols,
            scratch,
            &mut ledger,
        );
        assert_eq!((ledger.events.len(), ledger.refused.len()), (0, 0), "{line}");
        decoded
    };
    for (venue, file) in [
        (Venue::BybitSpot, "bybit_spot/subscribe_ack.jsonl"),
        (Venue::BybitLinear, "bybit_linear/subscribe_ack.jsonl"),
        (Venue::BybitLinear, "docs_examples/bybit_linear/subscribe_ack.jsonl"),
        (Venue::BybitLinear, "docs_examples/bybit_linear/error.jsonl"),
    ] {
        for line in fs::read_to_string(root.join(file)).unwrap().lines() {
            assert_eq!(decode(&mut scratch, venue, line), Ok(Decoded::Control), "{line}");
        }
    }
    for (venue, folder) in [(Venue::BinanceSpot, "binance"), (Venue::BinanceUsdm, "binance_usdm")] {
        let body = fs::read_to_string(root.join(folder).join("rest_depth_snapshot_BTCUSDT.jsonl")).unwrap();
        assert_eq!(decode(&mut scratch, venue, body.trim()).unwrap_err().reason, Reason::UnknownShape);
    }
    let deltas = fs::read_to_string(root.join("docs_examples/bybit_linear/depth_delta.jsonl")).unwrap();
    let delta = deltas.lines().find(|line| line.contains("\"type\":\"delta\"")).unwrap();
    let mut listed = HotSymbols::new();
    let mut table = SymbolTable::default();
    let symbol = table.add(Venue::BybitLinear, "BTCUSDT", 2, 3, None).unwrap();
    listed.add(table.spec(symbol).unwrap());
    let mut ledger =
        Ledger { table: &table, names: &names, events: Vec::new(), refused: Vec::new(), stream_kinds: Vec::new() };
    let refused = Decoder::new(Venue::BybitLinear, Form::Combined, None).decode(
        Payload::of_vec(&mut delta.to_owned().into_bytes()),
        &RECEIVED,
        &listed,
        &mut scratch,
        &mut ledger,
    );
    assert_eq!(refused.unwrap_err().reason, Reason::WrongType);
}
