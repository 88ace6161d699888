//! The recorded frames on disk: where they are, which of their lines are stream messages.
//!
//! ```text
//! TICKWIRE_FRAMES/<folder>/<channel>.jsonl ──(without what is no stream message)──► (file, lines), by name
//! ```
//! Never asks which venue a line is of.

use std::fs;
use std::path::PathBuf;

/// A file that is not read as stream messages, and why.
const EXCLUDED: [(&str, &str); 5] = [
    ("rest_depth_snapshot_BTCUSDT.jsonl", "a REST body, not a stream message"),
    ("_arrival_order.csv", "the order of arrival, not messages"),
    ("error.jsonl", "control messages: asserted apart"),
    ("subscribe_ack.jsonl", "control messages: asserted apart"),
    ("error.single.jsonl", "control messages: asserted apart"),
];

/// Lines that are not this venue's data, by what they contain, and why.
const EXCLUDED_LINES: [(&str, &str, &str); 3] = [
    (
        "docs_examples/binance_usdm/kline.jsonl",
        "continuous_kline",
        "of a pair and contract type, not of a symbol: no channel of the engine",
    ),
    (
        "docs_examples/bybit_linear/depth_delta.jsonl",
        "\"type\":\"delta\"",
        "depth 1 is documented as snapshots only: refused, asserted apart",
    ),
    ("docs_examples/bybit_linear/ticker.jsonl", "tickers.BTC-6JAN23", "an option, another product with other members"),
];

/// The folder with the recorded frames; `None`, with a notice, where there is none to be tested.
pub(crate) fn frames() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("TICKWIRE_FRAMES") {
        return Some(folder.into());
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must set TICKWIRE_FRAMES");
    eprintln!("skipped: TICKWIRE_FRAMES is not set");
    None
}

/// Every message of one folder, by file, in recorded order.
pub(crate) fn messages(folder: &str) -> Vec<(String, Vec<String>)> {
    let Some(root) = frames() else { return Vec::new() };
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if EXCLUDED.iter().any(|(excluded, _)| *excluded == name) {
            continue;
        }
        let file = format!("{folder}/{name}");
        let content = fs::read_to_string(&path).unwrap();
        let lines = content
            .lines()
            .filter(|line| !EXCLUDED_LINES.iter().any(|(excluded, part, _)| *excluded == file && line.contains(part)));
        let lines = lines.map(str::to_owned).collect();
        files.push((file, lines));
    }
    files.sort();
    files
}
