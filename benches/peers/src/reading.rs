//! What a recorded message says, by a reading that shares nothing with any contender: `serde_json`'s values, walked by code
//! written after the venues' documents, one function a channel. Numbers stay decimal: nothing is rounded.

use rust_decimal::Decimal;
use serde_json::Value;
use std::collections::HashMap;

/// A number, and whether a message before this one said it.
#[derive(Clone, Copy)]
pub(crate) struct Number {
    pub(crate) value: Decimal,
    pub(crate) is_carried: bool,
}

/// What one event says.
pub(crate) struct Event {
    /// The symbol, as the message writes it.
    pub(crate) symbol: String,
    /// Its whole numbers together.
    pub(crate) whole: u64,
    /// Price and quantity.
    pub(crate) levels: Vec<[Number; 2]>,
    /// What else it has, in the order in which an event of its kind is compared.
    pub(crate) others: Vec<Number>,
}

/// What Bybit's tickers have said, by symbol and member, since their snapshots.
pub(crate) type Tickers = HashMap<String, HashMap<&'static str, Decimal>>;

/// A channel's reading: of the whole message, and of its data or of one element of them.
pub(crate) type Channel = fn(&Value, &Value, &mut Tickers) -> Event;

/// The events of a message.
pub(crate) fn read(channel: Channel, message: &Value, tickers: &mut Tickers) -> Vec<Event> {
    match &message["data"] {
        Value::Array(elements) => elements.iter().map(|element| channel(message, element, tickers)).collect(),
        data => vec![channel(message, data, tickers)],
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn whole(value: &Value) -> u64 {
    value.as_u64().expect("a whole number")
}

/// The same number as a truth has it.
pub(crate) fn exact(number: Decimal) -> tickwire::market::Decimal {
    tickwire::market::Decimal::new(number.mantissa(), u8::try_from(number.scale()).expect("28 at most"))
}

fn decimal(value: &Value) -> Decimal {
    Decimal::from_str_exact(text(value)).expect("a decimal number")
}

fn number(value: &Value) -> Number {
    Number { value: decimal(value), is_carried: false }
}

/// These members' numbers.
fn numbers(data: &Value, keys: &[&str]) -> Vec<Number> {
    keys.iter().map(|key| number(&data[*key])).collect()
}

/// Price and quantity of these members.
fn level(data: &Value, [price, qty]: [&str; 2]) -> [Number; 2] {
    [number(&data[price]), number(&data[qty])]
}

/// What an event has that has no such number.
const NOTHING: Number = Number { value: Decimal::ZERO, is_carried: true };

/// The levels of both sides, so many of each at most.
fn sides(data: &Value, keys: [&str; 2], count_max: usize) -> Vec<[Number; 2]> {
    let levels = |key| data[key].as_array().expect("levels").iter().take(count_max);
    let level = |level: &Value| [number(&level[0]), number(&level[1])];
    keys.into_iter().flat_map(levels).map(level).collect()
}

fn sum(data: &Value, keys: &[&str]) -> u64 {
    keys.iter().map(|key| whole(&data[*key])).fold(0, u64::wrapping_add)
}

fn event(symbol: &str, whole: u64, levels: Vec<[Number; 2]>, others: Vec<Number>) -> Event {
    Event { symbol: symbol.to_owned(), whole, levels, others }
}

// ---------------------------------------------------------------------------------------------- Binance

pub(crate) fn trade(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    event(text(&data["s"]), whole(&data["T"]), vec![level(data, ["p", "q"])], vec![])
}

pub(crate) fn agg_trade(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    event(text(&data["s"]), sum(data, &["a", "f", "l", "T"]), vec![level(data, ["p", "q"])], vec![])
}

pub(crate) fn quote(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    event(text(&data["s"]), whole(&data["u"]), vec![level(data, ["b", "B"]), level(data, ["a", "A"])], vec![])
}

/// Bybit's, too.
pub(crate) fn book(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    event(text(&data["s"]), whole(&data["u"]), sides(data, ["b", "a"], usize::MAX), vec![])
}

/// Only the stream says whose it is.
pub(crate) fn partial_book(message: &Value, data: &Value, _: &mut Tickers) -> Event {
    let symbol = text(&message["stream"]).split_once('@').expect("a symbol and a channel").0;
    event(symbol, whole(&data["lastUpdateId"]), sides(data, ["bids", "asks"], usize::MAX), vec![])
}

pub(crate) fn kline(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    let candle = &data["k"];
    let is_closed = u64::from(candle["x"].as_bool().expect("a flag"));
    let others = numbers(candle, &["o", "h", "l", "c", "v", "q", "V"]);
    event(text(&data["s"]), sum(candle, &["t", "T", "n"]) + is_closed, vec![], others)
}

/// A ticker's levels are those of its last trade, of its bid and of its ask.
pub(crate) fn mini_ticker(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    let levels = vec![[number(&data["c"]), NOTHING], [NOTHING; 2], [NOTHING; 2]];
    event(text(&data["s"]), whole(&data["E"]), levels, numbers(data, &["o", "h", "l", "v", "q"]))
}

pub(crate) fn day_ticker(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    let side = |keys: [&str; 2]| if data[keys[0]].is_null() { [NOTHING; 2] } else { level(data, keys) };
    let mut others = numbers(data, &["o", "h", "l", "v", "q"]);
    let ratio = decimal(&data["P"]) * Decimal::new(1, 2);
    let trades = Decimal::from(whole(&data["n"]));
    let exact = |value| Number { value, is_carried: false };
    others.extend([exact(ratio), number(&data["w"]), exact(trades)]);
    event(
        text(&data["s"]),
        whole(&data["E"]),
        vec![level(data, ["c", "Q"]), side(["b", "B"]), side(["a", "A"])],
        others,
    )
}

pub(crate) fn mark_price(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    event(text(&data["s"]), whole(&data["T"]), vec![], numbers(data, &["p", "i", "P", "r"]))
}

pub(crate) fn force_order(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    let order = &data["o"];
    event(text(&order["s"]), whole(&order["T"]), vec![level(order, ["p", "q"])], numbers(order, &["ap"]))
}

// ---------------------------------------------------------------------------------------------- Bybit

pub(crate) fn bybit_trade(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    event(text(&data["s"]), whole(&data["T"]), vec![level(data, ["p", "v"])], vec![])
}

/// A book of one level a side, as it is sent.
pub(crate) fn bybit_quote(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    event(text(&data["s"]), whole(&data["u"]), sides(data, ["b", "a"], 1), vec![])
}

/// Only the topic says whose it is.
pub(crate) fn bybit_kline(message: &Value, data: &Value, _: &mut Tickers) -> Event {
    let symbol = text(&message["topic"]).rsplit_once('.').expect("a channel and a symbol").1;
    let is_closed = u64::from(data["confirm"].as_bool().expect("a flag"));
    let others = numbers(data, &["open", "high", "low", "close", "volume", "turnover"]);
    event(symbol, sum(data, &["start", "end"]) + is_closed, vec![], others)
}

/// The prices and quantities of a ticker's levels.
const TICKER_LEVELS: [[&str; 2]; 3] = [["lastPrice", ""], ["bid1Price", "bid1Size"], ["ask1Price", "ask1Size"]];

/// Its other numbers. A venue's tickers have one of both index prices.
const TICKER_OTHERS: [&str; 13] = [
    "prevPrice24h",
    "highPrice24h",
    "lowPrice24h",
    "volume24h",
    "turnover24h",
    "price24hPcnt",
    "markPrice",
    "indexPrice",
    "usdIndexPrice",
    "fundingRate",
    "nextFundingTime",
    "openInterest",
    "openInterestValue",
];

/// A snapshot says all there is; a member that a change leaves out is as it was, an empty one is no more.
pub(crate) fn bybit_ticker(message: &Value, data: &Value, tickers: &mut Tickers) -> Event {
    let symbol = text(&data["symbol"]);
    let known = tickers.entry(symbol.to_owned()).or_default();
    if message["type"] == "snapshot" {
        known.clear();
    }
    for key in TICKER_LEVELS.as_flattened().iter().chain(&TICKER_OTHERS) {
        match data[*key].as_str() {
            Some("") => drop(known.remove(key)),
            Some(_) => drop(known.insert(key, decimal(&data[*key]))),
            None => {}
        }
    }
    let found = |key: &&str| known.get(*key).map(|&value| Number { value, is_carried: data[*key].is_null() });
    let levels = TICKER_LEVELS.map(|keys| keys.map(|key| found(&key).unwrap_or(NOTHING)));
    event(symbol, whole(&message["ts"]), levels.to_vec(), TICKER_OTHERS.iter().filter_map(found).collect())
}

pub(crate) fn bybit_liquidation(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    event(text(&data["s"]), whole(&data["T"]), vec![level(data, ["p", "v"])], vec![])
}

/// Under the topic that was before.
pub(crate) fn bybit_old_liquidation(_: &Value, data: &Value, _: &mut Tickers) -> Event {
    event(text(&data["symbol"]), whole(&data["time"]), vec![level(data, ["price", "qty"])], vec![])
}
