//! The second reading of the venues' messages: with `serde_json` and the exchanges' documents alone.
//!
//! ```text
//! message ──► Reading::read ──► one (field, text) map an event, numbers as decimal text without zeros that say nothing
//! ```
//! Calls nothing of `tickwire::venue`, and compares nothing through a float.

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use tickwire::market::Venue;

/// One event as text, whoever read it.
pub(crate) type Fields = BTreeMap<&'static str, String>;

/// Decimal text without zeros that say nothing.
pub(crate) fn trimmed(text: &str) -> String {
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() || digits.starts_with('.') { format!("0{digits}") } else { digits.to_owned() };
    if digits == "0" { digits } else { format!("{sign}{digits}") }
}

fn decimals(text: &str) -> u8 {
    trimmed(text).split_once('.').map_or(0, |(_, decimals)| u8::try_from(decimals.len()).unwrap())
}

/// The second reading. Remembers Bybit's tickers, which are merged.
#[derive(Default)]
pub(crate) struct Reading {
    tickers: HashMap<String, Fields>,
    /// Most decimals of a price and of a quantity, by symbol: the grid.
    pub(crate) grids: BTreeMap<String, (u8, u8)>,
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

    /// The events of one message.
    pub(crate) fn read(&mut self, venue: Venue, message: &Value) -> Vec<Fields> {
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
