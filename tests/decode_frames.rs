//! Recorded frames of the four venues, decoded by the engine and read a second time, independently, with `serde_json`
//! and the exchanges' documents: both must say the same, field by field.
//!
//! The second reading is written here and calls nothing of `tickwire::venue`. Both sides end as a list of
//! (field, text), numbers as decimal text without trailing zeros, so nothing is compared through a float.
//!
//! Needs `TICKWIRE_FRAMES`, the folder with the recorded frames; skips without it, unless `CI` is `true`.

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use tickwire::market::{
    AggTrade, BookUpdate, Decimal, Kline, KlineInterval, Level, Liquidation, MarkPrice, Meta, MonoNs, Price, Qty,
    Quote, Received, Side, SymbolTable, Ticker, TickerFields, Trade, TradeId, Venue, VenueTime,
};
use tickwire::venue::{Decoded, Decoder, DecoderScratch, Form, HotSymbols, Reason, Sink, Tier};

const RECEIVED: Received = Received { mono: MonoNs(7), wall_ns: 11 };

/// One event as text, whoever read it.
type Fields = BTreeMap<&'static str, String>;

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

fn frames() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("TICKWIRE_FRAMES") {
        return Some(folder.into());
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must set TICKWIRE_FRAMES");
    eprintln!("skipped: TICKWIRE_FRAMES is not set");
    None
}

/// Decimal text without zeros that say nothing.
fn trimmed(text: &str) -> String {
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() || digits.starts_with('.') { format!("0{digits}") } else { digits.to_owned() };
    if digits == "0" { digits } else { format!("{sign}{digits}") }
}

fn decimals(text: &str) -> u8 {
    trimmed(text).split_once('.').map_or(0, |(_, decimals)| u8::try_from(decimals.len()).unwrap())
}

// ------------------------------------------------------------------------------------------------ what the engine said

struct Ledger<'a> {
    symbols: &'a HotSymbols,
    names: &'a HashMap<usize, String>,
    events: Vec<Fields>,
    refused: Vec<Reason>,
}

impl Ledger<'_> {
    fn begin(&self, kind: &'static str, meta: &Meta) -> (Fields, u8, u8) {
        assert_eq!(meta.received, RECEIVED, "the stamp is handed on");
        let mut fields = Fields::new();
        fields.insert("kind", kind.into());
        fields.insert("symbol", self.names[&meta.symbol.index()].clone());
        time(&mut fields, "event_time", meta.event_time);
        time(&mut fields, "matching_time", meta.matching_time);
        let (price_scale, qty_scale) = self.symbols.scales(meta.symbol);
        (fields, price_scale, qty_scale)
    }
}

fn time(fields: &mut Fields, name: &'static str, time: Option<VenueTime>) {
    if let Some(time) = time {
        assert_eq!(time.ns() % 1_000_000, 0);
        fields.insert(name, (time.ns() / 1_000_000).to_string());
    }
}

fn number(fields: &mut Fields, name: &'static str, value: Decimal) {
    fields.insert(name, trimmed(&value.to_string()));
}

fn optional(fields: &mut Fields, name: &'static str, value: Option<Decimal>) {
    if let Some(value) = value {
        number(fields, name, value);
    }
}

fn count(fields: &mut Fields, name: &'static str, value: Option<u64>) {
    if let Some(value) = value {
        fields.insert(name, value.to_string());
    }
}

fn price_text(value: Price, scale: u8) -> String {
    trimmed(&value.at_scale(scale).to_string())
}

fn qty_text(value: Qty, scale: u8) -> String {
    trimmed(&value.at_scale(scale).to_string())
}

fn levels_text(levels: &[Level], price_scale: u8, qty_scale: u8) -> String {
    let levels = levels
        .iter()
        .map(|level| format!("{}x{}", price_text(level.price, price_scale), qty_text(level.qty, qty_scale)));
    levels.collect::<Vec<_>>().join(" ")
}

fn side_text(side: Side) -> String {
    if side == Side::Buy { "buy".into() } else { "sell".into() }
}

impl Sink for Ledger<'_> {
    fn trade(&mut self, event: &Trade) {
        let (mut fields, price_scale, qty_scale) = self.begin("trade", &event.meta);
        let id = match event.id {
            TradeId::Number(id) => id.to_string(),
            TradeId::Uuid(id) => format!("{id:032x}"),
            TradeId::Hash(id) => format!("hash {id}"),
        };
        fields.insert("id", id);
        fields.insert("price", price_text(event.price, price_scale));
        fields.insert("qty", qty_text(event.qty, qty_scale));
        fields.insert("taker", side_text(event.taker));
        count(&mut fields, "sequence", event.sequence);
        fields.insert("is_block", event.is_block.to_string());
        fields.insert("is_rpi", event.is_rpi.to_string());
        self.events.push(fields);
    }

    fn agg_trade(&mut self, event: &AggTrade) {
        let (mut fields, price_scale, qty_scale) = self.begin("agg_trade", &event.meta);
        count(&mut fields, "id", Some(event.id));
        fields.insert("price", price_text(event.price, price_scale));
        fields.insert("qty", qty_text(event.qty, qty_scale));
        optional(&mut fields, "qty_without_rpi", event.qty_without_rpi.map(|qty| qty.at_scale(qty_scale)));
        fields.insert("taker", side_text(event.taker));
        count(&mut fields, "first_trade_id", Some(event.first_trade_id));
        count(&mut fields, "last_trade_id", Some(event.last_trade_id));
        self.events.push(fields);
    }

    fn quote(&mut self, event: &Quote) {
        let (mut fields, price_scale, qty_scale) = self.begin("quote", &event.meta);
        fields.insert("bid", levels_text(&[event.bid], price_scale, qty_scale));
        fields.insert("ask", levels_text(&[event.ask], price_scale, qty_scale));
        count(&mut fields, "update_id", Some(event.update_id));
        count(&mut fields, "sequence", event.sequence);
        self.events.push(fields);
    }

    fn ticker(&mut self, event: &Ticker) {
        let (mut fields, price_scale, qty_scale) = self.begin("ticker", &event.meta);
        count(&mut fields, "sequence", event.sequence);
        for (bit, name, value) in [
            (TickerFields::LAST_PRICE, "last_price", event.last_price.at_scale(price_scale)),
            (TickerFields::LAST_QTY, "last_qty", event.last_qty.at_scale(qty_scale)),
            (TickerFields::BID, "bid_price", event.bid.price.at_scale(price_scale)),
            (TickerFields::BID, "bid_qty", event.bid.qty.at_scale(qty_scale)),
            (TickerFields::ASK, "ask_price", event.ask.price.at_scale(price_scale)),
            (TickerFields::ASK, "ask_qty", event.ask.qty.at_scale(qty_scale)),
            (TickerFields::OPEN, "open", event.open),
            (TickerFields::HIGH, "high", event.high),
            (TickerFields::LOW, "low", event.low),
            (TickerFields::VOLUME, "volume", event.volume),
            (TickerFields::TURNOVER, "turnover", event.turnover),
            (TickerFields::CHANGE_RATIO, "change_ratio", event.change_ratio),
            (TickerFields::WEIGHTED_AVERAGE, "weighted_average", event.weighted_average),
            (TickerFields::MARK_PRICE, "mark_price", event.mark_price),
            (TickerFields::INDEX_PRICE, "index_price", event.index_price),
            (TickerFields::FUNDING_RATE, "funding_rate", event.funding_rate),
            (TickerFields::OPEN_INTEREST, "open_interest", event.open_interest),
            (TickerFields::OPEN_INTEREST_VALUE, "open_interest_value", event.open_interest_value),
        ] {
            if event.known.contains(bit) {
                number(&mut fields, name, value);
            }
        }
        if event.known.contains(TickerFields::NEXT_FUNDING_TIME) {
            time(&mut fields, "next_funding_time", event.next_funding_time);
        }
        if event.known.contains(TickerFields::TRADE_COUNT) {
            count(&mut fields, "trade_count", Some(event.trade_count));
        }
        fields.insert("changed", changed_text(event.changed));
        self.events.push(fields);
    }

    fn book(&mut self, event: &BookUpdate<'_>) {
        let (mut fields, price_scale, qty_scale) = self.begin("book", &event.meta);
        fields.insert("book_kind", format!("{:?}", event.kind));
        count(&mut fields, "first", Some(event.ids.first));
        count(&mut fields, "last", Some(event.ids.last));
        count(&mut fields, "previous", event.ids.previous);
        count(&mut fields, "cross", event.ids.cross);
        count(&mut fields, "depth", Some(event.depth.into()));
        fields.insert("bids", levels_text(event.bids, price_scale, qty_scale));
        fields.insert("asks", levels_text(event.asks, price_scale, qty_scale));
        self.events.push(fields);
    }

    fn kline(&mut self, event: &Kline) {
        let (mut fields, ..) = self.begin("kline", &event.meta);
        fields.insert("interval", interval_text(event.interval));
        time(&mut fields, "open_time", event.open_time);
        time(&mut fields, "close_time", event.close_time);
        number(&mut fields, "open", event.open);
        number(&mut fields, "high", event.high);
        number(&mut fields, "low", event.low);
        number(&mut fields, "close", event.close);
        number(&mut fields, "volume", event.volume);
        number(&mut fields, "turnover", event.turnover);
        count(&mut fields, "trade_count", event.trade_count);
        optional(&mut fields, "taker_buy_volume", event.taker_buy_volume);
        fields.insert("is_closed", event.is_closed.to_string());
        self.events.push(fields);
    }

    fn mark_price(&mut self, event: &MarkPrice) {
        let (mut fields, ..) = self.begin("mark_price", &event.meta);
        number(&mut fields, "mark", event.mark);
        optional(&mut fields, "index", event.index);
        optional(&mut fields, "settlement", event.settlement);
        optional(&mut fields, "mark_average", event.mark_average);
        optional(&mut fields, "funding_rate", event.funding_rate);
        time(&mut fields, "next_funding_time", event.next_funding_time);
        self.events.push(fields);
    }

    fn liquidation(&mut self, event: &Liquidation) {
        let (mut fields, price_scale, qty_scale) = self.begin("liquidation", &event.meta);
        fields.insert("position", side_text(event.position));
        fields.insert("price", price_text(event.price, price_scale));
        fields.insert("qty", qty_text(event.qty, qty_scale));
        optional(&mut fields, "average_price", event.average_price);
        self.events.push(fields);
    }

    fn refused(&mut self, reason: Reason) {
        self.refused.push(reason);
    }
}

fn interval_text(interval: KlineInterval) -> String {
    match interval {
        KlineInterval::Seconds(count) => format!("{count} s"),
        KlineInterval::Minutes(count) => format!("{count} m"),
        KlineInterval::Hours(count) => format!("{count} h"),
        KlineInterval::Days(count) => format!("{count} d"),
        KlineInterval::Weeks(count) => format!("{count} w"),
        KlineInterval::Months(count) => format!("{count} M"),
    }
}

const CHANGED_NAMES: [(TickerFields, &str); 19] = [
    (TickerFields::LAST_PRICE, "last_price"),
    (TickerFields::LAST_QTY, "last_qty"),
    (TickerFields::BID, "bid"),
    (TickerFields::ASK, "ask"),
    (TickerFields::OPEN, "open"),
    (TickerFields::HIGH, "high"),
    (TickerFields::LOW, "low"),
    (TickerFields::VOLUME, "volume"),
    (TickerFields::TURNOVER, "turnover"),
    (TickerFields::CHANGE_RATIO, "change_ratio"),
    (TickerFields::WEIGHTED_AVERAGE, "weighted_average"),
    (TickerFields::MARK_PRICE, "mark_price"),
    (TickerFields::INDEX_PRICE, "index_price"),
    (TickerFields::FUNDING_RATE, "funding_rate"),
    (TickerFields::NEXT_FUNDING_TIME, "next_funding_time"),
    (TickerFields::OPEN_INTEREST, "open_interest"),
    (TickerFields::OPEN_INTEREST_VALUE, "open_interest_value"),
    (TickerFields::TRADE_COUNT, "trade_count"),
    (TickerFields::OTHER, "other"),
];

fn changed_text(changed: TickerFields) -> String {
    let mut names: Vec<_> =
        CHANGED_NAMES.iter().filter(|(bit, _)| changed.contains(*bit)).map(|(_, name)| *name).collect();
    names.sort_unstable();
    names.join(" ")
}

// --------------------------------------------------------------------------------------- what the documents say it says

/// The second reading. Remembers Bybit's tickers, which are merged.
#[derive(Default)]
struct Reading {
    tickers: HashMap<String, Fields>,
    /// Most decimals of a price and of a quantity, by symbol: the grid.
    grids: BTreeMap<String, (u8, u8)>,
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is no string in {value}")).to_owned()
}

fn int(value: &Value, key: &str) -> String {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is no integer in {value}")).to_string()
}

fn put_int(fields: &mut Fields, name: &'static str, value: &Value, key: &str) {
    if let Some(int) = value[key].as_u64() {
        fields.insert(name, int.to_string());
    }
}

/// A time; zero is none.
fn put_time(fields: &mut Fields, name: &'static str, value: &Value, key: &str) {
    put_int(fields, name, value, key);
    if fields.get(name).is_some_and(|text| text == "0") {
        fields.remove(name);
    }
}

fn put_number(fields: &mut Fields, name: &'static str, value: &Value, key: &str) {
    if let Some(text) = value[key].as_str().filter(|text| !text.is_empty()) {
        fields.insert(name, trimmed(text));
    }
}

/// A percentage as a ratio, by moving the point in the text.
fn ratio(percent: &str) -> String {
    let (sign, digits) = percent.strip_prefix('-').map_or(("", percent), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = format!("00{whole}");
    let (whole, moved) = whole.split_at(whole.len() - 2);
    trimmed(&format!("{sign}{whole}.{moved}{fraction}"))
}

impl Reading {
    fn grid(&mut self, symbol: &str, price: &str, qty: &str) {
        let grid = self.grids.entry(symbol.to_owned()).or_default();
        *grid = (grid.0.max(decimals(price)), grid.1.max(decimals(qty)));
    }

    fn levels(&mut self, symbol: &str, levels: &Value, limit: usize) -> String {
        let mut texts = Vec::new();
        for level in levels.as_array().unwrap().iter().take(limit) {
            let (price, qty) = (level[0].as_str().unwrap(), level[1].as_str().unwrap());
            self.grid(symbol, price, qty);
            texts.push(format!("{}x{}", trimmed(price), trimmed(qty)));
        }
        texts.join(" ")
    }

    fn read(&mut self, venue: Venue, message: &Value) -> Vec<Fields> {
        match venue {
            Venue::BinanceSpot | Venue::BinanceUsdm => self.binance(message),
            Venue::BybitSpot | Venue::BybitLinear => self.bybit(message),
        }
    }

    fn binance(&mut self, message: &Value) -> Vec<Fields> {
        let stream = message["stream"].as_str().unwrap_or("");
        let data = if message["data"].is_null() { message } else { &message["data"] };
        match data {
            Value::Array(elements) => elements.iter().map(|data| self.binance_one(stream, data)).collect(),
            data => vec![self.binance_one(stream, data)],
        }
    }

    fn binance_one(&mut self, stream: &str, data: &Value) -> Fields {
        let kind = data["e"].as_str().unwrap_or("");
        let mut fields = Fields::new();
        put_time(&mut fields, "event_time", data, "E");
        let of_symbol = |data: &Value| text(data, "s");
        match kind {
            "trade" | "aggTrade" => {
                let symbol = of_symbol(data);
                self.grid(&symbol, &text(data, "p"), &text(data, "q"));
                fields.insert("symbol", symbol);
                put_time(&mut fields, "matching_time", data, "T");
                put_number(&mut fields, "price", data, "p");
                put_number(&mut fields, "qty", data, "q");
                fields.insert("taker", if data["m"] == true { "sell" } else { "buy" }.into());
                if kind == "trade" {
                    fields.insert("kind", "trade".into());
                    fields.insert("id", int(data, "t"));
                    fields.insert("is_block", "false".into());
                    fields.insert("is_rpi", "false".into());
                } else {
                    fields.insert("kind", "agg_trade".into());
                    fields.insert("id", int(data, "a"));
                    fields.insert("first_trade_id", int(data, "f"));
                    fields.insert("last_trade_id", int(data, "l"));
                    put_number(&mut fields, "qty_without_rpi", data, "nq");
                }
            }
            "bookTicker" | "" if data["B"].is_string() => {
                let symbol = of_symbol(data);
                for (price, qty, name) in [("b", "B", "bid"), ("a", "A", "ask")] {
                    self.grid(&symbol, &text(data, price), &text(data, qty));
                    let level = format!("{}x{}", trimmed(&text(data, price)), trimmed(&text(data, qty)));
                    fields.insert(name, level);
                }
                fields.insert("kind", "quote".into());
                fields.insert("symbol", symbol);
                put_time(&mut fields, "matching_time", data, "T");
                fields.insert("update_id", int(data, "u"));
            }
            "24hrTicker" | "24hrMiniTicker" => self.binance_ticker(data, &mut fields),
            "depthUpdate" => {
                let symbol = of_symbol(data);
                let depth: String =
                    stream.split("@depth").nth(1).unwrap_or("").chars().take_while(char::is_ascii_digit).collect();
                fields.insert("kind", "book".into());
                fields.insert("book_kind", if depth.is_empty() { "Delta" } else { "Partial" }.into());
                fields.insert("depth", if depth.is_empty() { "0".into() } else { depth });
                put_time(&mut fields, "matching_time", data, "T");
                fields.insert("first", int(data, "U"));
                fields.insert("last", int(data, "u"));
                put_int(&mut fields, "previous", data, "pu");
                fields.insert("bids", self.levels(&symbol, &data["b"], usize::MAX));
                fields.insert("asks", self.levels(&symbol, &data["a"], usize::MAX));
                fields.insert("symbol", symbol);
            }
            "kline" => {
                let candle = &data["k"];
                let interval = text(candle, "i");
                let (count, unit) = interval.split_at(interval.len() - 1);
                fields.insert("kind", "kline".into());
                fields.insert("symbol", of_symbol(data));
                fields.insert("interval", format!("{count} {unit}"));
                put_time(&mut fields, "open_time", candle, "t");
                put_time(&mut fields, "close_time", candle, "T");
                for (name, key) in [
                    ("open", "o"),
                    ("high", "h"),
                    ("low", "l"),
                    ("close", "c"),
                    ("volume", "v"),
                    ("turnover", "q"),
                    ("taker_buy_volume", "V"),
                ] {
                    put_number(&mut fields, name, candle, key);
                }
                fields.insert("trade_count", int(candle, "n"));
                fields.insert("is_closed", candle["x"].as_bool().unwrap().to_string());
                self.grids.entry(of_symbol(data)).or_default();
            }
            "markPriceUpdate" => {
                fields.insert("kind", "mark_price".into());
                fields.insert("symbol", of_symbol(data));
                for (name, key) in
                    [("mark", "p"), ("index", "i"), ("settlement", "P"), ("mark_average", "ap"), ("funding_rate", "r")]
                {
                    put_number(&mut fields, name, data, key);
                }
                put_time(&mut fields, "next_funding_time", data, "T");
                self.grids.entry(of_symbol(data)).or_default();
            }
            "forceOrder" => {
                let order = &data["o"];
                self.grid(&text(order, "s"), &text(order, "p"), &text(order, "q"));
                fields.insert("kind", "liquidation".into());
                fields.insert("symbol", text(order, "s"));
                // The order is the venue's: it sells what a long had.
                fields.insert("position", if order["S"] == "SELL" { "buy" } else { "sell" }.into());
                put_number(&mut fields, "price", order, "p");
                put_number(&mut fields, "qty", order, "q");
                put_number(&mut fields, "average_price", order, "ap");
                put_time(&mut fields, "matching_time", order, "T");
            }
            "" if data["lastUpdateId"].is_u64() => {
                let symbol = stream.split('@').next().unwrap().to_uppercase();
                let depth = stream.split("@depth").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
                fields.insert("kind", "book".into());
                fields.insert("book_kind", "Partial".into());
                fields.insert("depth", depth);
                fields.insert("first", int(data, "lastUpdateId"));
                fields.insert("last", int(data, "lastUpdateId"));
                fields.insert("bids", self.levels(&symbol, &data["bids"], usize::MAX));
                fields.insert("asks", self.levels(&symbol, &data["asks"], usize::MAX));
                fields.insert("symbol", symbol);
            }
            _ => panic!("no document describes {data}"),
        }
        fields
    }

    fn binance_ticker(&mut self, data: &Value, fields: &mut Fields) {
        let symbol = text(data, "s");
        let mut changed = vec!["high", "last_price", "low", "open", "turnover", "volume"];
        self.grid(&symbol, &text(data, "c"), "0");
        for (name, key) in
            [("last_price", "c"), ("open", "o"), ("high", "h"), ("low", "l"), ("volume", "v"), ("turnover", "q")]
        {
            put_number(fields, name, data, key);
        }
        if data["e"] == "24hrTicker" {
            changed.extend(["change_ratio", "last_qty", "other", "trade_count", "weighted_average"]);
            self.grid(&symbol, "0", &text(data, "Q"));
            put_number(fields, "last_qty", data, "Q");
            put_number(fields, "weighted_average", data, "w");
            fields.insert("change_ratio", ratio(&text(data, "P")));
            fields.insert("trade_count", int(data, "n"));
            if data["b"].is_string() {
                changed.extend(["ask", "bid"]);
                for (name, key) in [("bid_price", "b"), ("ask_price", "a"), ("bid_qty", "B"), ("ask_qty", "A")] {
                    put_number(fields, name, data, key);
                }
                self.grid(&symbol, &text(data, "b"), &text(data, "B"));
                self.grid(&symbol, &text(data, "a"), &text(data, "A"));
            }
        } else if data["st"].is_u64() {
            changed.push("other");
        }
        changed.sort_unstable();
        fields.insert("kind", "ticker".into());
        fields.insert("symbol", symbol);
        fields.insert("changed", changed.join(" "));
    }

    fn bybit(&mut self, message: &Value) -> Vec<Fields> {
        let topic: Vec<_> = message["topic"].as_str().unwrap().split('.').collect();
        let data = &message["data"];
        let mut common = Fields::new();
        put_time(&mut common, "event_time", message, "ts");
        match topic[..] {
            ["publicTrade", _] => data.as_array().unwrap().iter().map(|data| self.bybit_trade(&common, data)).collect(),
            ["orderbook", depth, _] => vec![self.bybit_book(common, message, depth)],
            ["tickers", _] => vec![self.bybit_ticker(&common, message)],
            ["kline", _, symbol] => data
                .as_array()
                .unwrap()
                .iter()
                .map(|data| {
                    let mut fields = common.clone();
                    fields.insert("kind", "kline".into());
                    fields.insert("symbol", symbol.into());
                    let interval = text(data, "interval");
                    fields.insert(
                        "interval",
                        match interval.as_str() {
                            "D" => "1 d".into(),
                            "W" => "1 w".into(),
                            "M" => "1 M".into(),
                            minutes => format!("{minutes} m"),
                        },
                    );
                    put_time(&mut fields, "open_time", data, "start");
                    put_time(&mut fields, "close_time", data, "end");
                    put_time(&mut fields, "matching_time", data, "timestamp");
                    for name in ["open", "high", "low", "close", "volume", "turnover"] {
                        put_number(&mut fields, name, data, name);
                    }
                    fields.insert("is_closed", data["confirm"].as_bool().unwrap().to_string());
                    self.grids.entry(symbol.to_owned()).or_default();
                    fields
                })
                .collect(),
            ["allLiquidation", _] => data
                .as_array()
                .unwrap()
                .iter()
                .map(|data| self.bybit_liquidation(&common, data, ["s", "S", "p", "v", "T"]))
                .collect(),
            ["liquidation", _] => {
                vec![self.bybit_liquidation(&common, data, ["symbol", "side", "price", "qty", "time"])]
            }
            _ => panic!("no document describes {message}"),
        }
    }

    fn bybit_trade(&mut self, common: &Fields, data: &Value) -> Fields {
        let mut fields = common.clone();
        self.grid(&text(data, "s"), &text(data, "p"), &text(data, "v"));
        fields.insert("kind", "trade".into());
        fields.insert("symbol", text(data, "s"));
        put_time(&mut fields, "matching_time", data, "T");
        fields.insert("id", text(data, "i").replace('-', ""));
        put_number(&mut fields, "price", data, "p");
        put_number(&mut fields, "qty", data, "v");
        fields.insert("taker", text(data, "S").to_lowercase());
        put_int(&mut fields, "sequence", data, "seq");
        fields.insert("is_block", data["BT"].as_bool().unwrap_or(false).to_string());
        fields.insert("is_rpi", data["RPI"].as_bool().unwrap_or(false).to_string());
        fields
    }

    fn bybit_book(&mut self, mut fields: Fields, message: &Value, depth: &str) -> Fields {
        let data = &message["data"];
        let symbol = text(data, "s");
        put_time(&mut fields, "matching_time", message, "cts");
        if depth == "1" {
            fields.insert("kind", "quote".into());
            fields.insert("bid", self.levels(&symbol, &data["b"], 1));
            fields.insert("ask", self.levels(&symbol, &data["a"], 1));
            fields.insert("update_id", int(data, "u"));
            put_int(&mut fields, "sequence", data, "seq");
        } else {
            fields.insert("kind", "book".into());
            fields.insert("book_kind", if message["type"] == "delta" { "Delta" } else { "Snapshot" }.into());
            fields.insert("depth", depth.into());
            fields.insert("first", int(data, "u"));
            fields.insert("last", int(data, "u"));
            put_int(&mut fields, "cross", data, "seq");
            fields.insert("bids", self.levels(&symbol, &data["b"], usize::MAX));
            fields.insert("asks", self.levels(&symbol, &data["a"], usize::MAX));
        }
        fields.insert("symbol", symbol);
        fields
    }

    fn bybit_liquidation(
        &mut self,
        common: &Fields,
        data: &Value,
        [symbol, side, price, qty, time]: [&str; 5],
    ) -> Fields {
        let mut fields = common.clone();
        self.grid(&text(data, symbol), &text(data, price), &text(data, qty));
        fields.insert("kind", "liquidation".into());
        fields.insert("symbol", text(data, symbol));
        fields.insert("position", text(data, side).to_lowercase());
        put_number(&mut fields, "price", data, price);
        put_number(&mut fields, "qty", data, qty);
        put_time(&mut fields, "matching_time", data, time);
        fields
    }

    fn bybit_ticker(&mut self, common: &Fields, message: &Value) -> Fields {
        let data = &message["data"];
        let symbol = text(data, "symbol");
        let mut known = if message["type"] == "snapshot" { Fields::new() } else { self.tickers[&symbol].clone() };
        let mut changed = Vec::new();
        for (key, value) in data.as_object().unwrap() {
            let (name, field): (&'static str, &'static str) = match key.as_str() {
                "symbol" => continue,
                "lastPrice" => ("last_price", "last_price"),
                "bid1Price" => ("bid_price", "bid"),
                "bid1Size" => ("bid_qty", "bid"),
                "ask1Price" => ("ask_price", "ask"),
                "ask1Size" => ("ask_qty", "ask"),
                "prevPrice24h" => ("open", "open"),
                "highPrice24h" => ("high", "high"),
                "lowPrice24h" => ("low", "low"),
                "volume24h" => ("volume", "volume"),
                "turnover24h" => ("turnover", "turnover"),
                "price24hPcnt" => ("change_ratio", "change_ratio"),
                "markPrice" => ("mark_price", "mark_price"),
                "indexPrice" | "usdIndexPrice" => ("index_price", "index_price"),
                "fundingRate" => ("funding_rate", "funding_rate"),
                "nextFundingTime" => ("next_funding_time", "next_funding_time"),
                "openInterest" => ("open_interest", "open_interest"),
                "openInterestValue" => ("open_interest_value", "open_interest_value"),
                _ => ("", "other"),
            };
            changed.push(field);
            if field == "other" {
                continue;
            }
            let value = value.as_str().unwrap();
            if value.is_empty() {
                known.remove(name);
                continue;
            }
            known.insert(name, trimmed(value));
            match name {
                "last_price" | "bid_price" | "ask_price" => self.grid(&symbol, value, "0"),
                "bid_qty" | "ask_qty" => self.grid(&symbol, "0", value),
                _ => {}
            }
        }
        self.tickers.insert(symbol.clone(), known.clone());
        changed.sort_unstable();
        changed.dedup();
        let mut fields = known;
        fields.extend(common.clone());
        fields.insert("kind", "ticker".into());
        fields.insert("symbol", symbol);
        fields.insert("changed", changed.join(" "));
        put_int(&mut fields, "sequence", message, "cs");
        fields
    }
}

// ----------------------------------------------------------------------------------------------------- one beside other

/// Every message of one folder, by file, in recorded order.
fn messages(folder: &str) -> Vec<(String, Vec<String>)> {
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

#[derive(Debug, Default, PartialEq)]
struct Tiers {
    one: usize,
    two_only: usize,
    two_after_one: usize,
}

/// Decodes every message of a folder both ways; how many of each file's messages each tier took.
fn compare(venue: Venue, folder: &str) -> BTreeMap<String, Tiers> {
    let files = messages(folder);
    let mut reading = Reading::default();
    let expected: Vec<Vec<Vec<Fields>>> = files
        .iter()
        .map(|(_, lines)| lines.iter().map(|line| reading.read(venue, &serde_json::from_str(line).unwrap())).collect())
        .collect();
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
            let mut ledger = Ledger { symbols: &symbols, names: &names, events: Vec::new(), refused: Vec::new() };
            let mut bytes = line.clone().into_bytes();
            match decoder.decode(&mut bytes, RECEIVED, &symbols, &mut scratch, &mut ledger) {
                Ok(Decoded::Data(Tier::One)) => counts.one += 1,
                Ok(Decoded::Data(Tier::TwoOnly)) => counts.two_only += 1,
                Ok(Decoded::Data(Tier::TwoAfterOne)) => counts.two_after_one += 1,
                other => panic!("{file}: {other:?} for {line}"),
            }
            assert_eq!(&ledger.events, expected, "{file}: {line}");
            assert_eq!(ledger.refused, [], "{file}: {line}");
        }
    }
    tiers
}

/// All messages of these files came through tier one, all others of the folder through tier two alone.
fn assert_tier_one(tiers: &BTreeMap<String, Tiers>, files: &[&str]) {
    for (file, counts) in tiers {
        let name = file.rsplit('/').next().unwrap();
        let total = counts.one + counts.two_only + counts.two_after_one;
        assert!(total > 0, "{file} is empty");
        let expected = if files.contains(&name) {
            Tiers { one: total, ..Tiers::default() }
        } else {
            Tiers { two_only: total, ..Tiers::default() }
        };
        assert_eq!(*counts, expected, "{file}");
    }
    if frames().is_some() {
        for file in files {
            assert!(tiers.keys().any(|name| name.ends_with(&format!("/{file}"))), "{file} was not there");
        }
    }
}

#[test]
fn binance_spot_frames_mean_what_the_documents_say() {
    let tiers = compare(Venue::BinanceSpot, "binance");
    assert_tier_one(&tiers, &["trade.jsonl", "book_ticker.jsonl", "book_ticker.single.jsonl"]);
}

#[test]
fn binance_usdm_frames_mean_what_the_documents_say() {
    let tiers = compare(Venue::BinanceUsdm, "binance_usdm");
    assert_tier_one(&tiers, &["trade.jsonl", "book_ticker.jsonl", "book_ticker.single.jsonl"]);
}

#[test]
fn bybit_spot_frames_mean_what_the_documents_say() {
    let tiers = compare(Venue::BybitSpot, "bybit_spot");
    assert_tier_one(&tiers, &["trade.jsonl"]);
}

#[test]
fn bybit_linear_frames_mean_what_the_documents_say() {
    let tiers = compare(Venue::BybitLinear, "bybit_linear");
    assert_tier_one(&tiers, &["trade.jsonl"]);
}

#[test]
fn the_documents_own_examples_mean_what_they_say() {
    let tiers = compare(Venue::BinanceSpot, "docs_examples/binance");
    assert_tier_one(&tiers, &["trade.jsonl", "book_ticker.jsonl"]);
    let tiers = compare(Venue::BinanceUsdm, "docs_examples/binance_usdm");
    assert_tier_one(&tiers, &["trade.jsonl", "book_ticker.jsonl"]);
    assert_tier_one(&compare(Venue::BybitSpot, "docs_examples/bybit_spot"), &[]);
    let tiers = compare(Venue::BybitLinear, "docs_examples/bybit_linear");
    if let Some(depth) = tiers.get("docs_examples/bybit_linear/depth_delta.jsonl") {
        // Its depth-1 example shows two levels a side, which the wire never does: tier two takes the best of each.
        assert_eq!(*depth, Tiers { two_after_one: 1, ..Tiers::default() });
    }
}

#[test]
fn answers_and_refusals_are_control_messages_and_rest_bodies_are_no_data() {
    let Some(root) = frames() else { return };
    let mut scratch = DecoderScratch::new();
    let symbols = HotSymbols::new();
    let names = HashMap::new();
    let decode = |scratch: &mut DecoderScratch, venue, line: &str| {
        let mut ledger = Ledger { symbols: &symbols, names: &names, events: Vec::new(), refused: Vec::new() };
        let decoded = Decoder::new(venue, Form::Combined, None).decode(
            &mut line.to_owned().into_bytes(),
            RECEIVED,
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
    let mut ledger = Ledger { symbols: &listed, names: &names, events: Vec::new(), refused: Vec::new() };
    let refused = Decoder::new(Venue::BybitLinear, Form::Combined, None).decode(
        &mut delta.to_owned().into_bytes(),
        RECEIVED,
        &listed,
        &mut scratch,
        &mut ledger,
    );
    assert_eq!(refused.unwrap_err().reason, Reason::WrongType);
}
