//! Recorded frames: read from a folder, put back in their order, played to who subscribed.
//!
//! ```text
//! DIR/binance/_arrival_order.csv ─┐
//! DIR/binance/<channel>.jsonl ────┼──► Recording ──► player (one a venue) ──► connections subscribed to the stream
//! DIR/binance/rest_depth_...jsonl ┘        └──► listings (names, scales), REST depth
//! ```
//! The main captures come first, interleaved as they arrived; files with another source follow, one after the other.

use super::SimError;
use super::exchange::{Batch, Exchange};
use super::faults::Kill;
use super::listing::Listing;
use super::stats::{Exclusion, count};
use crate::market::{EventKind, Venue};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How fast a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As recorded.
    Recorded,
    /// This many times as fast as recorded.
    Multiple(f64),
    /// As fast as the connections take it.
    FlatOut,
}

/// Time between frames of files that have no recorded times.
const UNTIMED_GAP_US: u64 = 1_000;
/// Most frames of one batch, and most of its bytes: few enough to stay smooth, many enough to share a write.
const BATCH_FRAMES: usize = 256;
const BATCH_BYTES: usize = 128 * 1024;
/// A connection that does not take a batch for this long is not waited for any more.
const BATCH_PATIENCE: Duration = Duration::from_secs(5);

/// One recorded frame.
#[derive(Debug)]
pub(super) struct Frame {
    /// The stream or topic it belongs to; `None` for a frame that goes to everybody (recorded acknowledgements).
    stream: Option<Arc<str>>,
    /// As recorded.
    text: Utf8Bytes,
    /// Without the combined stream's wrapper, for raw connections.
    bare: Option<Utf8Bytes>,
    at_us: u64,
    kind: Option<EventKind>,
    events: u64,
}

/// Everything recorded of one venue.
#[derive(Debug, Default)]
pub(super) struct Recording {
    frames: Vec<Frame>,
    pub(super) exclusions: Vec<Exclusion>,
    pub(super) listings: Vec<Listing>,
    /// REST depth bodies by symbol.
    pub(super) depths: BTreeMap<String, String>,
    streams: std::collections::HashSet<Arc<str>>,
}

/// The folder of a venue in the recorded data.
fn folder(venue: Venue) -> &'static str {
    match venue {
        Venue::BinanceSpot => "binance",
        Venue::BinanceUsdm => "binance_usdm",
        Venue::BybitSpot => "bybit_spot",
        Venue::BybitLinear => "bybit_linear",
    }
}

impl Recording {
    /// Reads a venue's folder.
    ///
    /// # Errors
    /// [`SimError::Frames`] with file and line: a file that cannot be read, a line that is not JSON, an arrival order that
    /// does not fit its files.
    pub(super) fn load(venue: Venue, dir: &Path) -> Result<Self, SimError> {
        let folder_name = folder(venue);
        let path = dir.join(folder_name);
        let refuse = |file: &str, line: usize, what: String| SimError::Frames {
            file: format!("{folder_name}/{file}"),
            line,
            what,
        };
        let mut recording = Self::default();
        let mut scales = Scales::default();
        let mut channels: BTreeMap<String, Vec<Option<Frame>>> = BTreeMap::new();
        let entries = std::fs::read_dir(&path).map_err(|error| refuse("", 0, error.to_string()))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| refuse("", 0, error.to_string()))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        for name in &names {
            let Some(channel) = name.strip_suffix(".jsonl") else { continue };
            let text = std::fs::read_to_string(path.join(name)).map_err(|error| refuse(name, 0, error.to_string()))?;
            if let Some(symbol) = channel.strip_prefix("rest_depth_snapshot_") {
                let lines = text.lines().count() as u64;
                recording.exclude(folder_name, name, lines, "a REST body: it answers the REST depth request");
                recording.depths.insert(symbol.to_owned(), text.lines().next().unwrap_or("").to_owned());
                let body = serde_json::from_str(&text).map_err(|error| refuse(name, 1, error.to_string()))?;
                scales.see_levels(symbol, &body, &["bids", "asks"]);
                continue;
            }
            let mut frames = Vec::new();
            for (index, line) in text.lines().enumerate() {
                let value: Value =
                    serde_json::from_str(line).map_err(|error| refuse(name, index + 1, error.to_string()))?;
                let stream = value.get("stream").or_else(|| value.get("topic")).and_then(Value::as_str);
                if venue == Venue::BybitLinear && stream.is_some_and(|topic| topic.ends_with("USD")) {
                    let reason = format!("{}: an inverse contract, another product", stream.unwrap_or(""));
                    recording.exclude(folder_name, name, 1, &reason);
                    // The line keeps its place, so that the arrival order still fits.
                    frames.push(None);
                    continue;
                }
                let (kind, events) = scales.see(venue, stream.unwrap_or(""), &value);
                let stream = stream.map(Arc::from);
                recording.streams.extend(stream.clone());
                frames.push(Some(Frame { stream, text: line.into(), bare: bare_of(line), at_us: 0, kind, events }));
            }
            channels.insert(channel.to_owned(), frames);
        }
        let order = std::fs::read_to_string(path.join("_arrival_order.csv")).unwrap_or_default();
        recording.arrange(channels, &order).map_err(|(line, what)| refuse("_arrival_order.csv", line, what))?;
        recording.listings = scales.listings();
        Ok(recording)
    }

    fn exclude(&mut self, folder: &str, name: &str, lines: u64, reason: &str) {
        let file = format!("{folder}/{name}");
        self.exclusions.push(Exclusion { file, lines, reason: reason.into() });
    }

    /// Puts the frames in the order of their arrival; what the order does not name follows, file by file.
    fn arrange(
        &mut self,
        mut channels: BTreeMap<String, Vec<Option<Frame>>>,
        order: &str,
    ) -> Result<(), (usize, String)> {
        let mut next: HashMap<&str, usize> = HashMap::new();
        let mut rows = Vec::new();
        for (index, row) in order.lines().enumerate().skip(1) {
            let (offset, channel) = row.split_once(',').ok_or((index + 1, format!("`{row}` is not offset,channel")))?;
            let offset: i64 =
                offset.parse().map_err(|_| (index + 1, format!("`{offset}` is not a number of microseconds")))?;
            if channel != "rest_depth_snapshot" {
                rows.push((index + 1, offset, channel));
            }
        }
        let start = rows.iter().map(|&(_, offset, _)| offset).min().unwrap_or(0);
        let mut end_us = 0;
        for (line, offset, channel) in rows {
            let place = next.entry(channel).or_default();
            let frames = channels.get_mut(channel).ok_or_else(|| (line, format!("there is no {channel}.jsonl")))?;
            let frame =
                frames.get_mut(*place).ok_or_else(|| (line, format!("{channel}.jsonl has only {place} lines")))?;
            *place += 1;
            end_us = u64::try_from(offset - start).unwrap_or(0).max(end_us);
            if let Some(frame) = frame.take() {
                self.frames.push(Frame { at_us: end_us, ..frame });
            }
        }
        for frame in channels.into_values().flatten().flatten() {
            end_us += UNTIMED_GAP_US;
            self.frames.push(Frame { at_us: end_us, ..frame });
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// True if some frame belongs to this stream.
    pub(super) fn has_stream(&self, stream: &str) -> bool {
        self.streams.contains(stream)
    }
}

/// The `data` of a combined frame, as its bytes stand: `{"stream":"..","data":DATA}`.
fn bare_of(line: &str) -> Option<Utf8Bytes> {
    let rest = line.strip_prefix("{\"stream\":\"")?;
    let (_, data) = rest.split_once("\",\"data\":")?;
    data.strip_suffix('}').map(Utf8Bytes::from)
}

/// Finest grid seen of each symbol.
#[derive(Debug, Default)]
struct Scales(BTreeMap<String, (u8, u8)>);

/// Decimals of a number's text behind which only zeros follow.
fn decimals(value: &Value) -> u8 {
    let text = value.as_str().unwrap_or("");
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction.trim_end_matches('0'));
    u8::try_from(fraction.len()).unwrap_or(u8::MAX)
}

impl Scales {
    fn see_price(&mut self, symbol: &str, value: Option<&Value>) {
        let scale = self.0.entry(symbol.into()).or_default();
        scale.0 = scale.0.max(value.map_or(0, decimals));
    }

    fn see_qty(&mut self, symbol: &str, value: Option<&Value>) {
        let scale = self.0.entry(symbol.into()).or_default();
        scale.1 = scale.1.max(value.map_or(0, decimals));
    }

    fn see_levels(&mut self, symbol: &str, data: &Value, sides: &[&str]) {
        for side in sides {
            for level in data.get(side).and_then(Value::as_array).into_iter().flatten() {
                self.see_price(symbol, level.get(0));
                self.see_qty(symbol, level.get(1));
            }
        }
    }

    /// Takes note of a frame's symbols and grids; tells its kind and how many events it holds.
    fn see(&mut self, venue: Venue, stream: &str, frame: &Value) -> (Option<EventKind>, u64) {
        let data = frame.get("data").unwrap_or(frame);
        let items: Vec<&Value> = data.as_array().map_or_else(|| vec![data], |items| items.iter().collect());
        let kind = match venue {
            Venue::BinanceSpot | Venue::BinanceUsdm => {
                let symbol = stream.split('@').next().unwrap_or("").to_uppercase();
                items.iter().filter_map(|item| self.see_binance(&symbol, item)).last()
            }
            Venue::BybitSpot | Venue::BybitLinear => {
                let symbol = stream.rsplit('.').next().unwrap_or("");
                items.iter().filter_map(|item| self.see_bybit(symbol, stream, item)).last()
            }
        };
        (kind, items.len() as u64)
    }

    fn see_binance(&mut self, stream_symbol: &str, item: &Value) -> Option<EventKind> {
        let nested = item.get("o").filter(|order| order.is_object());
        let symbol = nested.unwrap_or(item).get("s").and_then(Value::as_str).unwrap_or(stream_symbol);
        let (kind, prices, quantities): (_, &[&str], &[&str]) = match item.get("e").and_then(Value::as_str) {
            Some("trade") => (EventKind::Trade, &["p"], &["q"]),
            Some("aggTrade") => (EventKind::AggTrade, &["p"], &["q"]),
            Some("24hrTicker") => (EventKind::Ticker, &["c", "b", "a"], &["Q", "B", "A"]),
            Some("kline") => (EventKind::Kline, &[], &[]),
            Some("markPriceUpdate") => (EventKind::MarkPrice, &[], &[]),
            Some("forceOrder") => (EventKind::Liquidation, &["p"], &["q"]),
            None | Some("bookTicker") if item.get("B").is_some() => (EventKind::Quote, &["b", "a"], &["B", "A"]),
            _ => (EventKind::Book, &[], &[]),
        };
        self.0.entry(symbol.into()).or_default();
        let fields = nested.unwrap_or(item);
        prices.iter().for_each(|key| self.see_price(symbol, fields.get(key)));
        quantities.iter().for_each(|key| self.see_qty(symbol, fields.get(key)));
        if let Some(candle) = item.get("k") {
            ["o", "h", "l", "c"].iter().for_each(|key| self.see_price(symbol, candle.get(key)));
            self.see_qty(symbol, candle.get("v"));
        }
        if kind == EventKind::Book {
            self.see_levels(symbol, item, &["b", "a", "bids", "asks"]);
        }
        Some(kind)
    }

    fn see_bybit(&mut self, symbol: &str, topic: &str, item: &Value) -> Option<EventKind> {
        let (kind, prices, quantities): (_, &[&str], &[&str]) = match topic.split('.').next()? {
            "publicTrade" => (EventKind::Trade, &["p"], &["v"]),
            "orderbook" if topic.starts_with("orderbook.1.") => (EventKind::Quote, &[], &[]),
            "orderbook" => (EventKind::Book, &[], &[]),
            "tickers" => (
                EventKind::Ticker,
                &["lastPrice", "bid1Price", "ask1Price", "highPrice24h", "lowPrice24h"],
                &["bid1Size", "ask1Size"],
            ),
            "kline" => (EventKind::Kline, &["open", "high", "low", "close"], &["volume"]),
            "allLiquidation" => (EventKind::Liquidation, &["p"], &["v"]),
            "liquidation" => (EventKind::Liquidation, &["price"], &["qty"]),
            _ => return None,
        };
        prices.iter().for_each(|key| self.see_price(symbol, item.get(key)));
        quantities.iter().for_each(|key| self.see_qty(symbol, item.get(key)));
        self.see_levels(symbol, item, &["b", "a"]);
        Some(kind)
    }

    fn listings(&self) -> Vec<Listing> {
        self.0.iter().map(|(name, &(price, qty))| Listing::named(name, price, qty)).collect()
    }
}

/// Plays a venue's recording: waits for the first subscriptions and for `start_quiet` without a request, then sends
/// every frame once. Returns when all that was sent has been written, or when the exchange stops.
pub(super) async fn play(exchange: Arc<Exchange>, recording: Arc<Recording>, pace: Pace, start_quiet: Duration) {
    let mut stop = exchange.stop.clone();
    tokio::select! {
        _ = stop.wait_for(|stopped| *stopped) => {}
        () = play_all(&exchange, &recording, pace, start_quiet) => {
            exchange.playback_finished.send_replace(true);
        }
    }
}

async fn play_all(exchange: &Exchange, recording: &Recording, pace: Pace, start_quiet: Duration) {
    let mut activity = exchange.activity.subscribe();
    loop {
        let last = *activity.borrow_and_update();
        match last.filter(|_| exchange.has_subscriptions()) {
            None => {
                if activity.changed().await.is_err() {
                    return;
                }
            }
            Some(last) => tokio::select! {
                () = tokio::time::sleep_until(last + start_quiet) => break,
                _ = activity.changed() => {}
            },
        }
    }
    let start = Instant::now();
    let (written, mut all_written) = mpsc::channel::<()>(1);
    let mut at = 0;
    while at < recording.frames.len() {
        let speed = match pace {
            Pace::Recorded => Some(1.0),
            Pace::Multiple(multiple) => Some(multiple),
            Pace::FlatOut => None,
        };
        let due_us = |frame: &Frame| {
            #[expect(clippy::cast_precision_loss, reason = "a recording of centuries would be off by a microsecond")]
            speed.map(|speed| Duration::from_secs_f64(frame.at_us as f64 / 1e6 / speed))
        };
        if let Some(due) = due_us(&recording.frames[at]) {
            tokio::time::sleep_until(start + due).await;
        }
        let elapsed = start.elapsed();
        let mut end = at;
        let mut bytes = 0;
        while end < recording.frames.len() && end - at < BATCH_FRAMES && bytes < BATCH_BYTES {
            if end > at && due_us(&recording.frames[end]).is_some_and(|due| due > elapsed) {
                break;
            }
            bytes += recording.frames[end].text.len();
            end += 1;
        }
        send_batch(exchange, &recording.frames[at..end], &written).await;
        at = end;
    }
    drop(written);
    // Ends when the last batch, with its copy of the sender, has been written or its connection is gone.
    all_written.recv().await;
}

async fn send_batch(exchange: &Exchange, frames: &[Frame], written: &mpsc::Sender<()>) {
    let mut is_taken = vec![false; frames.len()];
    for client in exchange.clients() {
        let mut batch = Batch { messages: Vec::new(), events: Vec::new(), _written: vec![written.clone()] };
        let mut wanted = Vec::new();
        {
            let session = client.session.lock().expect("no holder panics");
            for (index, frame) in frames.iter().enumerate() {
                let is_wanted = match &frame.stream {
                    None => true,
                    Some(stream) => session.subscriptions().contains(&**stream) && session.carries(stream),
                };
                if is_wanted {
                    let bare = frame.bare.as_ref().filter(|_| !session.is_combined());
                    batch.messages.push(bare.unwrap_or(&frame.text).clone());
                    batch.events.extend(frame.kind.map(|kind| (kind, frame.events)));
                    wanted.push(index);
                }
            }
        }
        if wanted.is_empty() {
            continue;
        }
        match client.frames.send_timeout(batch, BATCH_PATIENCE).await {
            Ok(()) => wanted.into_iter().for_each(|index| is_taken[index] = true),
            Err(SendTimeoutError::Timeout(_)) => {
                count(&exchange.counters.slow_clients_dropped);
                // A full queue means that it is being killed already.
                let _ = client.kill.try_send(Kill::Reset);
            }
            // It went away since the list was made: nobody is there to miss the frames.
            Err(SendTimeoutError::Closed(_)) => {}
        }
    }
    let played = is_taken.iter().filter(|is_taken| **is_taken).count() as u64;
    exchange.counters.frames_played.fetch_add(played, Ordering::Relaxed);
    exchange.counters.frames_unsent.fetch_add(frames.len() as u64 - played, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_form_of_a_combined_frame_is_its_data_as_it_stands() {
        let line = r#"{"stream":"a@trade","data":{"e":"trade","p":"1"}}"#;
        assert_eq!(bare_of(line).as_deref(), Some(r#"{"e":"trade","p":"1"}"#));
        assert_eq!(bare_of(r#"{"topic":"x","data":{}}"#), None);
    }

    #[test]
    fn the_finest_price_and_quantity_set_the_scales() {
        let mut scales = Scales::default();
        for frame in [
            r#"{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","p":"61837.60000000","q":"0.02000000"}}"#,
            r#"{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"1","A":"1"}}"#,
            r#"{"stream":"ethusdt@depth20","data":{"lastUpdateId":1,"bids":[["1782.5","6.483"]],"asks":[]}}"#,
            r#"{"stream":"!markPrice@arr","data":[{"e":"markPriceUpdate","s":"XRPUSDT","p":"0.58213344"}]}"#,
        ] {
            let value: Value = serde_json::from_str(frame).unwrap();
            let stream = value["stream"].as_str().unwrap().to_owned();
            scales.see(Venue::BinanceSpot, &stream, &value);
        }
        let seen: Vec<_> = scales.listings().into_iter().map(|l| (l.name, l.price_scale, l.qty_scale)).collect();
        assert_eq!(seen, [("BTCUSDT".into(), 2, 5), ("ETHUSDT".into(), 1, 3), ("XRPUSDT".into(), 0, 0)]);
    }

    #[test]
    fn an_arrival_order_that_does_not_fit_its_files_is_refused() {
        let frame = || Some(Frame { stream: None, text: "{}".into(), bare: None, at_us: 0, kind: None, events: 1 });
        for (order, what) in [
            ("recv_offset_us,channel\n0,trade\n1,trade\n", "trade.jsonl has only 1 lines"),
            ("recv_offset_us,channel\n0,quote\n", "there is no quote.jsonl"),
            ("recv_offset_us,channel\nx,trade\n", "`x` is not a number"),
            ("recv_offset_us,channel\n5\n", "is not offset,channel"),
        ] {
            let channels = BTreeMap::from([("trade".to_owned(), vec![frame()])]);
            let error = Recording::default().arrange(channels, order).unwrap_err();
            assert!(error.1.contains(what), "{order}: {error:?}");
        }
    }
}
