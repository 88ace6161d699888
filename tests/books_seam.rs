//! The seam of sequence rules fits venues that are not there yet: recorded books of OKX, Bitget and Kraken, each message with
//! its checksum; and recorded chains of Deribit, Lighter, Kraken futures, Gate and KuCoin. Their rules stand here, made of the
//! seam's parts; their messages are read with `serde_json`.
//!
//! Needs `TICKWIRE_FRAMES`, the folder with the recorded frames; skips without it, unless `CI` is `true`.

#[path = "support/recorded.rs"]
#[allow(dead_code, reason = "only where the frames are is asked for here")]
mod recorded;

use recorded::frames;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use tickwire::book::{
    Book, BookSettings, BookState, ChecksumForm, Repair, SequenceRule, Slot, StaleReason, Step, Verdict, by_number,
    by_previous, by_range,
};
use tickwire::market::{
    Backlog, BookKind, BookUpdate, Level, Meta, MonoNs, Price, Qty, Received, SequenceIds, Side, Symbol, parse_fixed,
};

fn meta() -> Meta {
    let received = Received { mono: MonoNs(1), wall_ns: 1, backlog: Backlog::NONE };
    Meta { symbol: Symbol::new(0).unwrap(), received, event_time: None, matching_time: None }
}

/// No ids at all: a checksum is what there is. So Kraken; so OKX and Bitget when these were recorded.
#[derive(Clone, Copy, Debug)]
struct Summed {
    form: ChecksumForm,
    price_scale: u8,
    qty_scale: u8,
}

impl SequenceRule for Summed {
    fn repair(&self) -> Repair {
        Repair::Resubscribe
    }

    fn judge(&self, last: Option<&SequenceIds>, kind: BookKind, _ids: &SequenceIds) -> Verdict {
        match (kind, last) {
            (BookKind::Snapshot | BookKind::Partial, _) => Verdict::Reset,
            (BookKind::Delta, Some(_)) => Verdict::Apply,
            (BookKind::Delta, None) => Verdict::NeedSnapshot,
        }
    }

    fn verify(&self, book: &Book, checksum: u32) -> bool {
        self.form.of(book, self.price_scale, self.qty_scale) == checksum
    }
}

/// A message as it was recorded: levels as texts.
#[derive(Clone, Debug)]
struct Message {
    symbol: String,
    kind: BookKind,
    bids: Vec<(String, String)>,
    asks: Vec<(String, String)>,
    checksum: Option<u32>,
}

fn texts(levels: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    levels.as_array().into_iter().flatten().map(|level| (text(&level[0]), text(&level[1]))).collect()
}

fn lines(path: &str) -> Vec<Value> {
    let Some(root) = frames() else { return Vec::new() };
    let content = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    content.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// OKX and Bitget: `action`, and one element of data.
fn of_action(message: &Value) -> Message {
    let data = &message["data"][0];
    Message {
        symbol: message["arg"]["instId"].as_str().unwrap().to_owned(),
        kind: if message["action"] == "snapshot" { BookKind::Snapshot } else { BookKind::Delta },
        bids: texts(&data["bids"]),
        asks: texts(&data["asks"]),
        // Stated as a signed number.
        checksum: data["checksum"].as_i64().map(|sum| i32::try_from(sum).unwrap().cast_unsigned()),
    }
}

/// Kraken v1: an array; a message that changes both sides has an object for each.
fn of_kraken(message: &Value) -> Message {
    let parts: Vec<&Value> = message.as_array().unwrap().iter().filter(|part| part.is_object()).collect();
    let side = |whole: &str, changed: &str| {
        parts.iter().flat_map(|part| texts(&part[whole]).into_iter().chain(texts(&part[changed]))).collect()
    };
    Message {
        symbol: message.as_array().unwrap().last().unwrap().as_str().unwrap().to_owned(),
        kind: if parts.iter().any(|part| part["as"].is_array()) { BookKind::Snapshot } else { BookKind::Delta },
        bids: side("bs", "b"),
        asks: side("as", "a"),
        checksum: parts.iter().find_map(|part| part["c"].as_str()).map(|sum| sum.parse().unwrap()),
    }
}

fn decimals(texts: impl Iterator<Item = String>) -> u8 {
    let decimals = texts.map(|text| text.split_once('.').map_or(0, |(_, decimals)| decimals.len()));
    u8::try_from(decimals.max().unwrap_or(0)).unwrap()
}

/// A symbol's book under its checksum.
struct Run {
    slot: Slot<Summed>,
    depth: u16,
    verified: usize,
}

impl Run {
    fn new(messages: &[Message], symbol: &str, form: ChecksumForm, depth: u16) -> Self {
        let levels = || messages.iter().filter(|m| m.symbol == symbol).flat_map(|m| m.bids.iter().chain(&m.asks));
        let price_scale = decimals(levels().map(|level| level.0.clone()));
        let qty_scale = decimals(levels().map(|level| level.1.clone()));
        let rule = Summed { form, price_scale, qty_scale };
        let settings = BookSettings::for_depth(depth);
        Self { slot: Slot::new(Symbol::new(0).unwrap(), depth, rule, settings), depth, verified: 0 }
    }

    fn step(&mut self, rule: Summed, message: &Message) -> Step {
        let levels = |texts: &[(String, String)]| -> Vec<Level> {
            let level = |(price, qty): &(String, String)| Level {
                price: Price::from_mantissa(parse_fixed(price.as_bytes(), rule.price_scale).unwrap()),
                qty: Qty::from_mantissa(parse_fixed(qty.as_bytes(), rule.qty_scale).unwrap()),
            };
            texts.iter().map(level).collect()
        };
        let (bids, asks) = (levels(&message.bids), levels(&message.asks));
        let update = BookUpdate {
            meta: meta(),
            kind: message.kind,
            ids: SequenceIds::default(),
            depth: self.depth,
            state: None,
            bids: &bids,
            asks: &asks,
        };
        let outcome = self.slot.update(&update, message.checksum);
        self.verified += usize::from(message.checksum.is_some() && self.slot.state().is_live());
        outcome.step
    }
}

/// Plays every symbol of a file; how many checksums were found right, by symbol.
fn verified(messages: &[Message], form: ChecksumForm, depth: u16) -> BTreeMap<String, usize> {
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    for message in messages {
        let run =
            runs.entry(message.symbol.clone()).or_insert_with(|| Run::new(messages, &message.symbol, form, depth));
        let rule = *run.slot.rule();
        let step = run.step(rule, message);
        assert!(matches!(step, Step::Applied(_) | Step::Rebuilt(_)), "{}: {step:?}", message.symbol);
    }
    runs.into_iter().map(|(symbol, run)| (symbol, run.verified)).collect()
}

#[test]
fn every_checksum_of_okx_is_that_of_the_book() {
    let messages: Vec<Message> = lines("okx/depth_delta.jsonl").iter().map(of_action).collect();
    let verified = verified(&messages, ChecksumForm::OKX, 400);
    assert!(messages.is_empty() || verified.len() == 2 && verified.values().sum::<usize>() == messages.len());
}

#[test]
fn every_checksum_of_bitget_is_that_of_the_book() {
    for path in ["bitget_v1_mix/depth_delta.jsonl", "bitget_v1_spot/depth_delta.jsonl"] {
        let messages: Vec<Message> = lines(path).iter().map(of_action).collect();
        let verified: usize = verified(&messages, ChecksumForm::BITGET, 0).values().sum();
        assert!(messages.is_empty() || verified > 50 && verified == messages.len(), "{path}: {verified}");
    }
}

#[test]
fn every_checksum_of_kraken_is_that_of_the_book_cut_to_its_depth() {
    let messages: Vec<Message> = lines("kraken/depth_delta.jsonl").iter().map(of_kraken).collect();
    let verified = verified(&messages, ChecksumForm::KRAKEN, 1_000);
    // The snapshots carry none.
    assert!(messages.is_empty() || verified == BTreeMap::from([("XMR/USD".into(), 846), ("ETH/CHF".into(), 317)]));
}

#[test]
fn one_wrong_digit_and_one_lost_message_are_found_by_the_checksum_and_a_snapshot_repairs() {
    for (path, form, depth) in [
        ("okx/depth_delta.jsonl", ChecksumForm::OKX, 400),
        ("bitget_v1_mix/depth_delta.jsonl", ChecksumForm::BITGET, 0),
        ("kraken/depth_delta.jsonl", ChecksumForm::KRAKEN, 1_000),
    ] {
        let read = if path.starts_with("kraken") { of_kraken } else { of_action };
        let messages: Vec<Message> = lines(path).iter().map(read).collect();
        let Some(symbol) = messages.first().map(|message| message.symbol.clone()) else { return };
        let messages: Vec<Message> = messages.into_iter().filter(|message| message.symbol == symbol).collect();
        let play = |messages: &[Message]| {
            let mut run = Run::new(messages, &symbol, form, depth);
            let rule = *run.slot.rule();
            let steps: Vec<Step> = messages.iter().map(|message| run.step(rule, message)).collect();
            let stale = steps.iter().position(|&step| step == Step::Stale(StaleReason::Checksum));
            if let Some(at) = stale {
                assert!(steps[at + 1..].iter().all(|&step| step == Step::Ignored), "a stale book takes no change");
                assert_eq!(run.slot.needs(), Some(Repair::Resubscribe));
                assert!(matches!(run.step(rule, &messages[0]), Step::Rebuilt(_)), "a snapshot repairs");
                assert_eq!((run.slot.state(), run.slot.needs()), (BookState::Live, None));
            }
            stale
        };
        assert_eq!(play(&messages), None, "{path}");
        let mut found = [0, 0];
        for at in 1..messages.len().min(60) {
            let mut damaged = messages.clone();
            if let Some((_, qty)) = damaged[at].bids.iter_mut().find(|(_, qty)| !qty.starts_with('0')) {
                qty.insert(0, '1');
                found[0] += usize::from(play(&damaged).is_some());
            }
            let mut lost = messages.clone();
            lost.remove(at);
            found[1] += usize::from(play(&lost).is_some());
        }
        // A change far from the touch is not among the levels that are summed up: that is what a checksum cannot see.
        assert!(found[0] > 5 && found[1] > 5, "{path}: {found:?}");
    }
}

/// A chain of ids, by one of the seam's ways to count.
#[derive(Clone, Copy, Debug)]
enum Chain {
    Previous,
    Number,
    Range,
}

impl SequenceRule for Chain {
    fn repair(&self) -> Repair {
        match self {
            Self::Previous | Self::Number => Repair::Resubscribe,
            Self::Range => Repair::NeedSnapshot,
        }
    }

    fn judge(&self, last: Option<&SequenceIds>, kind: BookKind, ids: &SequenceIds) -> Verdict {
        match (kind, last) {
            (BookKind::Snapshot | BookKind::Partial, _) => Verdict::Reset,
            (BookKind::Delta, None) => Verdict::NeedSnapshot,
            (BookKind::Delta, Some(last)) => match self {
                Self::Previous => by_previous(last, ids),
                Self::Number => by_number(last, ids),
                Self::Range => by_range(last, ids),
            },
        }
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no id"))
}

/// The steps of one book's messages, of which only the ids are played: a level of each side stands for all.
fn chained(rule: Chain, messages: &[(BookKind, SequenceIds)]) -> Vec<Step> {
    let level = |price| [Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(1) }];
    let mut slot =
        Slot::new(Symbol::new(0).unwrap(), 0, rule, BookSettings { depth_kept: 2, ..BookSettings::for_depth(0) });
    let steps = messages.iter().map(|&(kind, ids)| {
        let update = BookUpdate { meta: meta(), kind, ids, depth: 0, state: None, bids: &level(1), asks: &level(2) };
        slot.update(&update, None).step
    });
    let steps = steps.collect();
    assert!(slot.view().book.best(Side::Buy).known().is_some() || messages.is_empty());
    steps
}

/// How many messages follow, and where the first gap is.
fn summary(steps: &[Step]) -> (usize, Option<usize>) {
    let followed = steps.iter().filter(|step| matches!(step, Step::Applied(_) | Step::Rebuilt(_))).count();
    (followed, steps.iter().position(|step| matches!(step, Step::Stale(_))))
}

#[test]
fn the_recorded_chains_of_other_venues_follow_and_their_recorded_gap_is_found() {
    if frames().is_none() {
        return;
    }
    let ids = |first, last, previous| SequenceIds { first, last, previous, cross: None };
    let kind = |is_snapshot| if is_snapshot { BookKind::Snapshot } else { BookKind::Delta };

    let deribit = |path: &str| {
        let mut books: BTreeMap<String, Vec<(BookKind, SequenceIds)>> = BTreeMap::new();
        for line in lines(path) {
            let data = &line["params"]["data"];
            let (last, previous) = (number(&data["change_id"]), data["prev_change_id"].as_u64());
            let name = data["instrument_name"].as_str().unwrap().to_owned();
            books.entry(name).or_default().push((kind(previous.is_none()), ids(last, last, previous)));
        }
        books
    };
    let options = deribit("deribit/depth_delta.jsonl");
    assert!(options.values().any(|messages| messages.len() > 1));
    for (name, messages) in &options {
        assert_eq!(summary(&chained(Chain::Previous, messages)), (messages.len(), None), "{name}");
    }
    // One message between the fourth and the fifth was never recorded.
    let perpetual = &deribit("deribit/depth_delta.cap2.jsonl")["BTC-PERPETUAL"];
    assert_eq!(summary(&chained(Chain::Previous, perpetual)), (4, Some(4)));

    for (path, id, count) in
        [("lighter/depth_delta.jsonl", "offset", 1_501), ("kraken_futures/depth_delta.jsonl", "seq", 1_241)]
    {
        // The first of each is the snapshot.
        let message = |(at, line): (usize, &Value)| (kind(at == 0), ids(number(&line[id]), number(&line[id]), None));
        let mut messages: Vec<_> = lines(path).iter().enumerate().map(message).collect();
        assert_eq!(summary(&chained(Chain::Number, &messages)), (count, None), "{path}");
        messages.remove(700);
        assert_eq!(summary(&chained(Chain::Number, &messages)), (700, Some(700)), "{path}");
    }

    let ranged: [(&str, &str, [&str; 3]); 3] = [
        ("gate/depth_delta.jsonl", "/result", ["s", "U", "u"]),
        ("gate_futures/depth_delta.jsonl", "/result", ["s", "U", "u"]),
        ("kucoin/depth_delta.jsonl", "/data", ["symbol", "sequenceStart", "sequenceEnd"]),
    ];
    for (path, data, [symbol, first, last]) in ranged {
        let mut books: BTreeMap<String, Vec<(BookKind, SequenceIds)>> = BTreeMap::new();
        for line in lines(path) {
            let data = line.pointer(data).unwrap();
            let name = data[symbol].as_str().unwrap().to_owned();
            books
                .entry(name)
                .or_default()
                .push((BookKind::Delta, ids(number(&data[first]), number(&data[last]), None)));
        }
        for (name, mut messages) in books {
            let before = ids(0, messages[0].1.first - 1, None);
            messages.insert(0, (BookKind::Snapshot, before));
            assert_eq!(summary(&chained(Chain::Range, &messages)), (messages.len(), None), "{path}: {name}");
        }
    }
}

#[test]
fn a_chain_whose_numbering_starts_again_behind_a_message_that_follows_goes_on() {
    // OKX at maintenance: `seqId` < `prevSeqId`, yet `prevSeqId` is the one before.
    let message = |last, previous| {
        let kind = if previous == u64::MAX { BookKind::Snapshot } else { BookKind::Delta };
        (kind, SequenceIds { first: last, last, previous: (previous != u64::MAX).then_some(previous), cross: None })
    };
    let messages =
        [(900, u64::MAX), (905, 900), (905, 905), (3, 905), (5, 3)].map(|(last, previous)| message(last, previous));
    assert_eq!(summary(&chained(Chain::Previous, &messages)), (5, None));
    let lost = [messages[0], messages[1], messages[4]];
    assert_eq!(chained(Chain::Previous, &lost)[2], Step::Skipped, "it may be a repeat: of the numbering before");
}
