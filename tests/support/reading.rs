//! The second reading of the venues' messages: with `serde_json` and the exchanges' documents alone.
//!
//! ```text
//! message ──► Json ──► Reading::read ──► one (field, text) map an event, numbers as decimal text without zeros that say nothing
//! ```
//! Calls nothing of `tickwire::venue`, and compares nothing through a float. It may refuse a message, and does so where a
//! documented member is missing or is of another kind, but never guesses.

#[path = "json.rs"]
mod json;

pub(crate) use json::Json;
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

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A decimal, written as text or as a number: digits, and more behind a point. No venue writes an exponent.
fn decimal(value: &Json) -> Option<&str> {
    let (Json::Text(text) | Json::Number(text)) = value else { return None };
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, part)| (whole, Some(part)));
    let is_decimal = are_digits(whole.strip_prefix('-').unwrap_or(whole)) && fraction.is_none_or(are_digits);
    is_decimal.then_some(text)
}

/// A quantity: a decimal that is not below zero.
fn qty(value: &Json) -> Option<&str> {
    decimal(value).filter(|text| !trimmed(text).starts_with('-'))
}

/// A symbol's name; a stream's name has it in lower case.
fn symbol(value: &Json) -> Option<String> {
    Some(value.text()?.to_ascii_uppercase())
}

fn put_int(fields: &mut Fields, name: &'static str, value: &Json) -> Option<()> {
    if !value.is_null() {
        fields.insert(name, value.int()?.to_string());
    }
    Some(())
}

fn need_int(fields: &mut Fields, name: &'static str, value: &Json) -> Option<()> {
    fields.insert(name, value.int()?.to_string());
    Some(())
}

/// A time; zero is none.
fn need_time(fields: &mut Fields, name: &'static str, value: &Json) -> Option<()> {
    match value.int()? {
        0 => fields.remove(name),
        ms => fields.insert(name, ms.to_string()),
    };
    Some(())
}

fn put_time(fields: &mut Fields, name: &'static str, value: &Json) -> Option<()> {
    if value.is_null() { Some(()) } else { need_time(fields, name, value) }
}

fn need_decimal(fields: &mut Fields, name: &'static str, value: &Json) -> Option<()> {
    fields.insert(name, trimmed(decimal(value)?));
    Some(())
}

/// A decimal that may be missing or empty.
fn put_decimal(fields: &mut Fields, name: &'static str, value: &Json) -> Option<()> {
    if value.is_null() || value.text() == Some("") { Some(()) } else { need_decimal(fields, name, value) }
}

fn put_flag(fields: &mut Fields, name: &'static str, value: &Json) -> Option<()> {
    let is_set = if value.is_null() { false } else { value.bool()? };
    fields.insert(name, is_set.to_string());
    Some(())
}

/// A count without sign or point.
fn small(text: &str) -> Option<u16> {
    if are_digits(text) { text.parse().ok() } else { None }
}

/// A taker's or a position's side, in Bybit's words.
fn side(value: &Json) -> Option<&'static str> {
    match value.text()? {
        "Buy" => Some("buy"),
        "Sell" => Some("sell"),
        _ => None,
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

/// Levels a side that Binance's stream carries; 0 for changes, and on a raw connection, where no stream is named.
fn binance_depth(stream: &str) -> Option<u16> {
    if stream.is_empty() {
        return Some(0);
    }
    let channel = stream.split_once('@')?.1;
    let (name, pace) = channel.split_once('@').unwrap_or((channel, "100ms"));
    small(pace.strip_suffix("ms")?)?;
    match name.strip_prefix("depth")? {
        "" => Some(0),
        levels @ ("5" | "10" | "20") => small(levels),
        _ => None,
    }
}

/// A trade's id of any text: a number, a UUID, or the text's hash (FNV-1a, 64 bits).
fn trade_id(text: &str) -> String {
    if are_digits(text) && (text == "0" || !text.starts_with('0')) && text.parse::<u64>().is_ok() {
        return text.to_owned();
    }
    let groups: Vec<_> = text.split('-').collect();
    let is_hexadecimal = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(is_hexadecimal) {
        return groups.concat().to_ascii_lowercase();
    }
    let mut hash = 14_695_981_039_346_656_037_u64;
    for byte in text.bytes() {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    format!("hash {hash}")
}

impl Reading {
    fn grid(&mut self, symbol: &str, price: &str, qty: &str) {
        let grid = self.grids.entry(symbol.to_owned()).or_default();
        *grid = (grid.0.max(decimals(price)), grid.1.max(decimals(qty)));
    }

    fn level(&mut self, symbol: &str, price: &Json, quantity: &Json) -> Option<String> {
        let (price, qty) = (decimal(price)?, qty(quantity)?);
        self.grid(symbol, price, qty);
        Some(format!("{}x{}", trimmed(price), trimmed(qty)))
    }

    fn levels(&mut self, symbol: &str, levels: &Json, limit: usize) -> Option<String> {
        let mut texts = Vec::new();
        for level in levels.elements()?.iter().take(limit) {
            let [price, qty, ..] = level.elements()? else { return None };
            texts.push(self.level(symbol, price, qty)?);
        }
        Some(texts.join(" "))
    }

    /// The best level of a side; zeros for an empty one.
    fn touch(&mut self, symbol: &str, levels: &Json) -> Option<String> {
        self.levels(symbol, levels, 1).map(|best| if best.is_empty() { "0x0".to_owned() } else { best })
    }

    /// Price and quantity of one fill.
    fn fill(&mut self, fields: &mut Fields, symbol: &str, price: &Json, quantity: &Json) -> Option<()> {
        let (price, qty) = (decimal(price)?, qty(quantity)?);
        self.grid(symbol, price, qty);
        fields.insert("price", trimmed(price));
        fields.insert("qty", trimmed(qty));
        fields.insert("symbol", symbol.to_owned());
        Some(())
    }

    /// The events of one message; `None` where the documents do not say what it means.
    pub(crate) fn read(&mut self, venue: Venue, message: &Json) -> Option<Vec<Fields>> {
        match venue {
            Venue::BinanceSpot | Venue::BinanceUsdm => self.binance(message),
            Venue::BybitSpot | Venue::BybitLinear => self.bybit(message),
        }
    }

    fn binance(&mut self, message: &Json) -> Option<Vec<Fields>> {
        self.binance_each(message)?.into_iter().collect()
    }

    /// The event of each element of an array, where the documents say what that one means; or the one of what is none.
    pub(crate) fn binance_each(&mut self, message: &Json) -> Option<Vec<Option<Fields>>> {
        let (stream, data) = match (message.get("stream"), message.get("data")) {
            (Json::Null, Json::Null) => ("", message),
            (stream, data) => (stream.text()?, data),
        };
        Some(match data {
            Json::Array(elements) => elements.iter().map(|data| self.binance_one(stream, data)).collect(),
            data => vec![self.binance_one(stream, data)],
        })
    }

    fn binance_one(&mut self, stream: &str, data: &Json) -> Option<Fields> {
        let mut fields = Fields::new();
        let kind = match data.get("e") {
            Json::Null => "",
            kind => kind.text().filter(|kind| !kind.is_empty())?,
        };
        match kind {
            // Spot's own, which have neither a kind nor a time.
            "" | "bookTicker" => put_time(&mut fields, "event_time", data.get("E"))?,
            _ => need_time(&mut fields, "event_time", data.get("E"))?,
        }
        match kind {
            "trade" | "aggTrade" => self.binance_trade(data, kind == "trade", &mut fields)?,
            "" if !data.get("lastUpdateId").is_null() => self.binance_partial(stream, data, &mut fields)?,
            "" | "bookTicker" => {
                let symbol = symbol(data.get("s"))?;
                fields.insert("bid", self.level(&symbol, data.get("b"), data.get("B"))?);
                fields.insert("ask", self.level(&symbol, data.get("a"), data.get("A"))?);
                fields.insert("kind", "quote".into());
                fields.insert("symbol", symbol);
                put_time(&mut fields, "matching_time", data.get("T"))?;
                need_int(&mut fields, "update_id", data.get("u"))?;
            }
            "24hrTicker" | "24hrMiniTicker" => self.binance_ticker(data, kind == "24hrTicker", &mut fields)?,
            "depthUpdate" => {
                let symbol = symbol(data.get("s"))?;
                let depth = binance_depth(stream)?;
                fields.insert("kind", "book".into());
                fields.insert("book_kind", if depth == 0 { "Delta" } else { "Partial" }.into());
                fields.insert("depth", depth.to_string());
                put_time(&mut fields, "matching_time", data.get("T"))?;
                need_int(&mut fields, "first", data.get("U"))?;
                need_int(&mut fields, "last", data.get("u"))?;
                put_int(&mut fields, "previous", data.get("pu"))?;
                fields.insert("bids", self.levels(&symbol, data.get("b"), usize::MAX)?);
                fields.insert("asks", self.levels(&symbol, data.get("a"), usize::MAX)?);
                fields.insert("symbol", symbol);
            }
            "kline" => self.binance_kline(data, &mut fields)?,
            "markPriceUpdate" => {
                fields.insert("kind", "mark_price".into());
                let symbol = symbol(data.get("s"))?;
                need_decimal(&mut fields, "mark", data.get("p"))?;
                for (name, key) in [("index", "i"), ("settlement", "P"), ("mark_average", "ap"), ("funding_rate", "r")]
                {
                    put_decimal(&mut fields, name, data.get(key))?;
                }
                put_time(&mut fields, "next_funding_time", data.get("T"))?;
                self.grid(&symbol, "0", "0");
                fields.insert("symbol", symbol);
            }
            "forceOrder" => {
                let order = data.get("o");
                self.fill(&mut fields, &symbol(order.get("s"))?, order.get("p"), order.get("q"))?;
                fields.insert("kind", "liquidation".into());
                // The order is the venue's: it sells what a long had.
                let position = match order.get("S").text()? {
                    "SELL" => "buy",
                    "BUY" => "sell",
                    _ => return None,
                };
                fields.insert("position", position.into());
                put_decimal(&mut fields, "average_price", order.get("ap"))?;
                put_time(&mut fields, "matching_time", order.get("T"))?;
            }
            _ => return None,
        }
        Some(fields)
    }

    fn binance_trade(&mut self, data: &Json, is_single: bool, fields: &mut Fields) -> Option<()> {
        self.fill(fields, &symbol(data.get("s"))?, data.get("p"), data.get("q"))?;
        need_time(fields, "matching_time", data.get("T"))?;
        // The buyer was the maker: the taker sold.
        fields.insert("taker", if data.get("m").bool()? { "sell" } else { "buy" }.into());
        if is_single {
            fields.insert("kind", "trade".into());
            need_int(fields, "id", data.get("t"))?;
            fields.insert("is_block", "false".into());
            fields.insert("is_rpi", "false".into());
            return Some(());
        }
        fields.insert("kind", "agg_trade".into());
        need_int(fields, "id", data.get("a"))?;
        need_int(fields, "first_trade_id", data.get("f"))?;
        need_int(fields, "last_trade_id", data.get("l"))?;
        put_decimal(fields, "qty_without_rpi", data.get("nq"))
    }

    /// Spot's partial book: only its stream says whose it is, and how deep.
    fn binance_partial(&mut self, stream: &str, data: &Json, fields: &mut Fields) -> Option<()> {
        let symbol = stream.split_once('@')?.0.to_ascii_uppercase();
        let depth = binance_depth(stream).filter(|&depth| depth != 0)?;
        fields.insert("kind", "book".into());
        fields.insert("book_kind", "Partial".into());
        fields.insert("depth", depth.to_string());
        need_int(fields, "first", data.get("lastUpdateId"))?;
        need_int(fields, "last", data.get("lastUpdateId"))?;
        fields.insert("bids", self.levels(&symbol, data.get("bids"), usize::MAX)?);
        fields.insert("asks", self.levels(&symbol, data.get("asks"), usize::MAX)?);
        fields.insert("symbol", symbol);
        Some(())
    }

    fn binance_kline(&mut self, data: &Json, fields: &mut Fields) -> Option<()> {
        let candle = data.get("k");
        let interval = candle.get("i").text()?;
        let (count, unit) = interval.split_at_checked(interval.len().checked_sub(1)?)?;
        if !["s", "m", "h", "d", "w", "M"].contains(&unit) {
            return None;
        }
        fields.insert("kind", "kline".into());
        fields.insert("interval", format!("{} {unit}", small(count)?));
        need_time(fields, "open_time", candle.get("t"))?;
        need_time(fields, "close_time", candle.get("T"))?;
        for (name, key) in [
            ("open", "o"),
            ("high", "h"),
            ("low", "l"),
            ("close", "c"),
            ("volume", "v"),
            ("turnover", "q"),
            ("taker_buy_volume", "V"),
        ] {
            need_decimal(fields, name, candle.get(key))?;
        }
        need_int(fields, "trade_count", candle.get("n"))?;
        fields.insert("is_closed", candle.get("x").bool()?.to_string());
        let symbol = symbol(data.get("s"))?;
        self.grid(&symbol, "0", "0");
        fields.insert("symbol", symbol);
        Some(())
    }

    fn binance_ticker(&mut self, data: &Json, is_full: bool, fields: &mut Fields) -> Option<()> {
        let symbol = symbol(data.get("s"))?;
        let mut changed = vec!["high", "last_price", "low", "open", "turnover", "volume"];
        let mut carried = vec!["e", "E", "s", "c", "o", "h", "l", "v", "q"];
        self.grid(&symbol, decimal(data.get("c"))?, "0");
        for (name, key) in
            [("last_price", "c"), ("open", "o"), ("high", "h"), ("low", "l"), ("volume", "v"), ("turnover", "q")]
        {
            need_decimal(fields, name, data.get(key))?;
        }
        if is_full {
            changed.extend(["change_ratio", "last_qty", "trade_count", "weighted_average"]);
            carried.extend(["Q", "w", "P", "n", "b", "B", "a", "A"]);
            let last_qty = qty(data.get("Q"))?;
            self.grid(&symbol, "0", last_qty);
            fields.insert("last_qty", trimmed(last_qty));
            need_decimal(fields, "weighted_average", data.get("w"))?;
            fields.insert("change_ratio", ratio(decimal(data.get("P"))?));
            need_int(fields, "trade_count", data.get("n"))?;
            for (side, names, keys) in
                [("bid", ["bid_price", "bid_qty"], ["b", "B"]), ("ask", ["ask_price", "ask_qty"], ["a", "A"])]
            {
                // One of the two alone is no side.
                if keys.iter().all(|key| !data.get(key).is_null()) {
                    let [price, qty] = [decimal(data.get(keys[0]))?, qty(data.get(keys[1]))?];
                    self.grid(&symbol, price, qty);
                    fields.extend([(names[0], trimmed(price)), (names[1], trimmed(qty))]);
                    changed.push(side);
                }
            }
        }
        if data.members()?.iter().any(|(key, value)| !carried.contains(&key.as_str()) && !value.is_null()) {
            changed.push("other");
        }
        changed.sort_unstable();
        fields.insert("kind", "ticker".into());
        fields.insert("symbol", symbol);
        fields.insert("changed", changed.join(" "));
        Some(())
    }

    fn bybit(&mut self, message: &Json) -> Option<Vec<Fields>> {
        let answers = ["success", "op", "ret_msg", "retCode"];
        if message.members()?.keys().any(|key| answers.contains(&key.as_str())) {
            return None;
        }
        let (channel, rest) = message.get("topic").text()?.split_once('.')?;
        let is_snapshot = match message.get("type") {
            Json::Null => None,
            Json::Text(text) if text == "snapshot" => Some(true),
            Json::Text(text) if text == "delta" => Some(false),
            _ => return None,
        };
        let data = message.get("data");
        let mut common = Fields::new();
        put_time(&mut common, "event_time", message.get("ts"))?;
        match channel {
            "publicTrade" if is_snapshot == Some(true) => {
                data.elements()?.iter().map(|data| self.bybit_trade(&common, data)).collect()
            }
            "orderbook" => {
                let depth = small(rest.split_once('.')?.0)?;
                put_time(&mut common, "matching_time", message.get("cts"))?;
                Some(vec![self.bybit_book(common, data, depth, is_snapshot?)?])
            }
            "tickers" => {
                put_int(&mut common, "sequence", message.get("cs"))?;
                Some(vec![self.bybit_ticker(common, data, is_snapshot?)?])
            }
            "kline" => {
                let symbol = rest.split_once('.')?.1.to_ascii_uppercase();
                data.elements()?.iter().map(|data| self.bybit_kline(&common, data, &symbol)).collect()
            }
            "allLiquidation" => data
                .elements()?
                .iter()
                .map(|data| self.bybit_liquidation(&common, data, ["s", "S", "p", "v", "T"]))
                .collect(),
            "liquidation" => {
                let said = |name: &str| !matches!(data.get(name), Json::Null);
                let qty = if said("size") { "size" } else { "qty" };
                let time = if said("time") { "time" } else { "updatedTime" };
                Some(vec![self.bybit_liquidation(&common, data, ["symbol", "side", "price", qty, time])?])
            }
            _ => None,
        }
    }

    fn bybit_trade(&mut self, common: &Fields, data: &Json) -> Option<Fields> {
        let mut fields = common.clone();
        self.fill(&mut fields, &symbol(data.get("s"))?, data.get("p"), data.get("v"))?;
        fields.insert("kind", "trade".into());
        need_time(&mut fields, "matching_time", data.get("T"))?;
        fields.insert("id", trade_id(data.get("i").text()?));
        fields.insert("taker", side(data.get("S"))?.into());
        put_int(&mut fields, "sequence", data.get("seq"))?;
        put_flag(&mut fields, "is_block", data.get("BT"))?;
        put_flag(&mut fields, "is_rpi", data.get("RPI"))?;
        Some(fields)
    }

    fn bybit_book(&mut self, mut fields: Fields, data: &Json, depth: u16, is_snapshot: bool) -> Option<Fields> {
        let symbol = symbol(data.get("s"))?;
        if depth == 1 {
            if !is_snapshot {
                return None;
            }
            fields.insert("kind", "quote".into());
            fields.insert("bid", self.touch(&symbol, data.get("b"))?);
            fields.insert("ask", self.touch(&symbol, data.get("a"))?);
            need_int(&mut fields, "update_id", data.get("u"))?;
            put_int(&mut fields, "sequence", data.get("seq"))?;
        } else {
            fields.insert("kind", "book".into());
            fields.insert("book_kind", if is_snapshot { "Snapshot" } else { "Delta" }.into());
            fields.insert("depth", depth.to_string());
            need_int(&mut fields, "first", data.get("u"))?;
            need_int(&mut fields, "last", data.get("u"))?;
            put_int(&mut fields, "cross", data.get("seq"))?;
            fields.insert("bids", self.levels(&symbol, data.get("b"), usize::MAX)?);
            fields.insert("asks", self.levels(&symbol, data.get("a"), usize::MAX)?);
        }
        fields.insert("symbol", symbol);
        Some(fields)
    }

    fn bybit_kline(&mut self, common: &Fields, data: &Json, symbol: &str) -> Option<Fields> {
        let mut fields = common.clone();
        fields.insert("kind", "kline".into());
        fields.insert("symbol", symbol.to_owned());
        let interval = match data.get("interval").text()? {
            "D" => "1 d".to_owned(),
            "W" => "1 w".to_owned(),
            "M" => "1 M".to_owned(),
            minutes => format!("{} m", small(minutes)?),
        };
        fields.insert("interval", interval);
        need_time(&mut fields, "open_time", data.get("start"))?;
        need_time(&mut fields, "close_time", data.get("end"))?;
        put_time(&mut fields, "matching_time", data.get("timestamp"))?;
        for name in ["open", "high", "low", "close", "volume", "turnover"] {
            need_decimal(&mut fields, name, data.get(name))?;
        }
        fields.insert("is_closed", data.get("confirm").bool()?.to_string());
        self.grid(symbol, "0", "0");
        Some(fields)
    }

    fn bybit_liquidation(
        &mut self,
        common: &Fields,
        data: &Json,
        [name, position, price, qty, time]: [&str; 5],
    ) -> Option<Fields> {
        let mut fields = common.clone();
        self.fill(&mut fields, &symbol(data.get(name))?, data.get(price), data.get(qty))?;
        fields.insert("kind", "liquidation".into());
        fields.insert("position", side(data.get(position))?.into());
        need_time(&mut fields, "matching_time", data.get(time))?;
        Some(fields)
    }

    /// A snapshot, or what has changed of what was told before.
    fn bybit_ticker(&mut self, common: Fields, data: &Json, is_snapshot: bool) -> Option<Fields> {
        let symbol = symbol(data.get("symbol"))?;
        let mut known = if is_snapshot { Fields::new() } else { self.tickers.get(&symbol)?.clone() };
        let mut changed = Vec::new();
        for (key, value) in data.members()? {
            let name = match key.as_str() {
                "symbol" | "bid1Price" | "bid1Size" | "ask1Price" | "ask1Size" => continue,
                "lastPrice" => "last_price",
                "prevPrice24h" => "open",
                "highPrice24h" => "high",
                "lowPrice24h" => "low",
                "volume24h" => "volume",
                "turnover24h" => "turnover",
                "price24hPcnt" => "change_ratio",
                "markPrice" => "mark_price",
                "indexPrice" | "usdIndexPrice" => "index_price",
                "fundingRate" => "funding_rate",
                "nextFundingTime" => "next_funding_time",
                "openInterest" => "open_interest",
                "openInterestValue" => "open_interest_value",
                _ => "other",
            };
            if value.is_null() {
                continue;
            }
            changed.push(name);
            if name == "other" {
                continue;
            }
            known.remove(name);
            put_decimal(&mut known, name, value)?;
            match name {
                "last_price" if known.contains_key(name) => self.grid(&symbol, decimal(value)?, "0"),
                // Milliseconds; zero is none.
                "next_funding_time" => match known.get(name).map(String::as_str) {
                    Some("0") => drop(known.remove(name)),
                    Some(_) if !are_digits(decimal(value)?) => return None,
                    _ => {}
                },
                _ => {}
            }
        }
        self.bybit_side(
            &symbol,
            data,
            ["bid1Price", "bid1Size"],
            ["bid", "bid_price", "bid_qty"],
            &mut known,
            &mut changed,
        )?;
        self.bybit_side(
            &symbol,
            data,
            ["ask1Price", "ask1Size"],
            ["ask", "ask_price", "ask_qty"],
            &mut known,
            &mut changed,
        )?;
        self.tickers.insert(symbol.clone(), known.clone());
        changed.sort_unstable();
        changed.dedup();
        let mut fields = known;
        fields.extend(common);
        fields.insert("kind", "ticker".into());
        fields.insert("symbol", symbol);
        fields.insert("changed", changed.join(" "));
        Some(fields)
    }

    /// One side of a ticker. It is known once a message has told both its price and its size, and until one empties either;
    /// half of what is not known says nothing.
    fn bybit_side(
        &mut self,
        symbol: &str,
        data: &Json,
        keys: [&str; 2],
        [side, price_name, qty_name]: [&'static str; 3],
        known: &mut Fields,
        changed: &mut Vec<&'static str>,
    ) -> Option<()> {
        let mut told = Fields::new();
        put_decimal(&mut told, price_name, data.get(keys[0]))?;
        put_decimal(&mut told, qty_name, data.get(keys[1]))?;
        let zero = "0".to_owned();
        let (price, qty) = (told.get(price_name).unwrap_or(&zero), told.get(qty_name).unwrap_or(&zero));
        if qty.starts_with('-') {
            return None;
        }
        self.grid(symbol, price, qty);
        let count = keys.iter().filter(|key| !data.get(key).is_null()).count();
        if count > 0 {
            changed.push(side);
        }
        if told.len() < count {
            known.remove(price_name);
            known.remove(qty_name);
        } else if count == 2 || known.contains_key(qty_name) {
            known.extend(told);
        }
        Some(())
    }
}
