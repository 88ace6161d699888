//! Recorded books: what each began with, and every message behind it, on its symbol's grid. Used by `benches/book.rs` and by
//! the race.

use serde_json::Value;
use std::fs;
use std::path::Path;
use tickwire::market::{Level, Price, Qty, parse_fixed};

/// Bids, then asks.
pub(crate) type Sides = [Vec<Level>; 2];

/// One symbol's book as it was recorded.
pub(crate) struct Capture {
    /// The venue's folder.
    pub(crate) name: &'static str,
    /// Digits behind the point of a price and of a quantity.
    #[allow(dead_code, reason = "not every bench turns mantissas back into numbers")]
    pub(crate) scales: (u8, u8),
    /// What it began with.
    pub(crate) snapshot: Sides,
    /// What each message changed, in their order.
    pub(crate) messages: Vec<Sides>,
}

impl Capture {
    /// The books that are raced, from the folder with the recorded frames.
    pub(crate) fn all(root: &Path) -> [Self; 3] {
        [("binance", (2, 8)), ("binance_usdm", (1, 8)), ("bybit_linear", (1, 8))]
            .map(|(folder, scales)| Self::read(root, folder, scales))
    }

    fn read(root: &Path, folder: &'static str, scales: (u8, u8)) -> Self {
        let text = |file: &str| fs::read_to_string(root.join(folder).join(file)).expect("a recorded file");
        let mut messages = Vec::new();
        for line in text("depth_delta.jsonl").lines() {
            let message: Value = serde_json::from_str(line).expect("JSON");
            let data = &message["data"];
            if data["s"] == "BTCUSDT" {
                messages.push((data["u"].as_u64().expect("an id"), sides(&data["b"], &data["a"], scales)));
            }
        }
        let snapshot = match fs::read_to_string(root.join(folder).join("rest_depth_snapshot_BTCUSDT.jsonl")) {
            Ok(body) => {
                let body: Value = serde_json::from_str(&body).expect("JSON");
                let last = body["lastUpdateId"].as_u64().expect("an id");
                messages.retain(|message| message.0 > last);
                sides(&body["bids"], &body["asks"], scales)
            }
            // The first message of the stream is the snapshot.
            Err(_) => messages.remove(0).1,
        };
        Self { name: folder, scales, snapshot, messages: messages.into_iter().map(|message| message.1).collect() }
    }
}

fn sides(bids: &Value, asks: &Value, (price_scale, qty_scale): (u8, u8)) -> Sides {
    let mantissa =
        |text: &Value, scale| parse_fixed(text.as_str().expect("a text").as_bytes(), scale).expect("on the grid");
    let level = |level: &Value| Level {
        price: Price::from_mantissa(mantissa(&level[0], price_scale)),
        qty: Qty::from_mantissa(mantissa(&level[1], qty_scale)),
    };
    [bids, asks].map(|side| side.as_array().expect("levels").iter().map(level).collect())
}
