//! Bybit's control plane (v5 public): names, limits, requests, acks, instrument list. Used by control and config, once
//! per connection or command.
//!
//! ```text
//! "orderbook.50" ─► Channel ─► "orderbook.50.BTCUSDT"        the category is the path: /v5/public/linear
//! {"success":true,"op":"subscribe","req_id":"7"} ─► Ack Ok    {"success":false,"ret_msg":..} ─► Ack refused
//! {"ret_msg":"pong","op":"ping"} , {"op":"pong"} ─► Pong
//! ```
//! Source: the venue's documentation repository of 2026-07-24. Never does I/O.

use crate::market::{Decimal, Instrument, InstrumentKind, SymbolSpec, Venue};
use crate::venue::instruments::{delivery_date, percent_encoded, readable, step_size};
use crate::venue::request;
use crate::venue::{
    Ack, AckResult, Channel, ChannelError, ChannelKind, ChannelScope, ControlMessage, DepthError, DepthSnapshot, Form,
    Heartbeat, InstrumentError, InstrumentSpec, Limits, Protocol, Refusal, RestLimits, StreamClass,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// The protocol of one category.
#[derive(Debug)]
pub struct Bybit {
    venue: Venue,
}

/// Spot.
pub static SPOT: Bybit = Bybit { venue: Venue::BybitSpot };
/// Linear: USDT and USDC perpetuals and futures.
pub static LINEAR: Bybit = Bybit { venue: Venue::BybitLinear };

const SPOT_CHANNELS: &str = "publicTrade, orderbook.<1 50 200 1000>, tickers, kline.<1 3 5 15 30 60 120 240 360 720 D W M>; spot has no liquidations and no mark price";
const LINEAR_CHANNELS: &str = "publicTrade, orderbook.<1 50 200 1000>, tickers (with mark price and funding), kline.<1 3 5 15 30 60 120 240 360 720 D W M>, allLiquidation, and liquidation (deprecated since 2025-02)";

const KLINE_INTERVALS: [&str; 13] = ["1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M"];

impl Bybit {
    fn is_linear(&self) -> bool {
        self.venue == Venue::BybitLinear
    }

    fn category(&self) -> &'static str {
        if self.is_linear() { "linear" } else { "spot" }
    }

    fn channel_kind(&self, name: &str) -> Option<ChannelKind> {
        match name {
            "publicTrade" => Some(ChannelKind::Trade),
            "orderbook.1" => Some(ChannelKind::Quote),
            "orderbook.50" => Some(ChannelKind::Depth { levels: 50 }),
            "orderbook.200" => Some(ChannelKind::Depth { levels: 200 }),
            "orderbook.1000" => Some(ChannelKind::Depth { levels: 1_000 }),
            "tickers" => Some(ChannelKind::Ticker),
            "allLiquidation" | "liquidation" if self.is_linear() => Some(ChannelKind::Liquidation),
            _ => {
                let interval = name.strip_prefix("kline.")?;
                KLINE_INTERVALS.contains(&interval).then_some(ChannelKind::Kline)
            }
        }
    }

    fn instrument_error(&self, what: String) -> InstrumentError {
        InstrumentError { venue: self.venue, what }
    }

    fn instrument(&self, row: Row) -> Result<InstrumentSpec, InstrumentError> {
        let size = |member: &str, step: Option<&str>| -> Result<Decimal, InstrumentError> {
            let step = step.ok_or_else(|| self.instrument_error(format!("{}: {member} is missing", row.symbol)))?;
            match step_size(step) {
                Ok(Some(size)) => Ok(size),
                Ok(None) => Err(self.instrument_error(format!("{}: {member} `{step}` is zero", row.symbol))),
                Err(what) => Err(self.instrument_error(format!("{}: {member} `{step}`: {what}", row.symbol))),
            }
        };
        let tick_size = size("priceFilter.tickSize", row.price_filter.tick_size.as_deref())?;
        let lot = &row.lot_size_filter;
        let lot_size = if self.is_linear() {
            size("lotSizeFilter.qtyStep", lot.qty_step.as_deref())?
        } else {
            size("lotSizeFilter.basePrecision", lot.base_precision.as_deref())?
        };
        let kind = match row.contract_type.as_deref() {
            _ if !self.is_linear() => InstrumentKind::Spot,
            Some(contract) if contract.contains("Perpetual") => InstrumentKind::Perpetual,
            _ => {
                let date = row.delivery_time.as_deref().and_then(|ms| ms.parse().ok()).and_then(delivery_date);
                InstrumentKind::Future(date.map_or_else(|| row.symbol.as_str().into(), Into::into))
            }
        };
        Ok(InstrumentSpec {
            price_scale: tick_size.scale(),
            qty_scale: lot_size.scale(),
            tick_size: Some(tick_size),
            lot_size: Some(lot_size),
            instrument: Instrument { base: row.base_coin.into(), quote: row.quote_coin.into(), kind },
            is_trading: row.status == "Trading",
            name: row.symbol,
        })
    }
}

/// The members of `instruments-info` that are read; others are the venue's business.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    ret_code: i64,
    #[serde(default)]
    ret_msg: String,
    #[serde(default)]
    result: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    list: Vec<Row>,
    next_page_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    symbol: String,
    status: String,
    base_coin: String,
    quote_coin: String,
    contract_type: Option<String>,
    delivery_time: Option<String>,
    price_filter: PriceFilter,
    lot_size_filter: LotSizeFilter,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PriceFilter {
    tick_size: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LotSizeFilter {
    qty_step: Option<String>,
    base_precision: Option<String>,
}

/// The id of a reply: `Some(None)` where it has none (spot leaves `req_id` out, linear may write an empty one), `None`
/// where it has one that we can never have sent.
fn reply_id(id: Option<&Value>) -> Option<Option<u64>> {
    match id {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) if text.is_empty() => Some(None),
        Some(Value::String(text)) => text.parse().ok().map(Some),
        Some(_) => None,
    }
}

/// `{"req_id":"7","op":"ping"`: everything that comes before the arguments, if there are any.
fn open_request(op: &str, id: u64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(br#"{"req_id":""#);
    request::number(id, out);
    out.extend_from_slice(br#"","op":""#);
    out.extend_from_slice(op.as_bytes());
    out.push(b'"');
}

fn write_request(op: &str, id: u64, streams: &mut dyn Iterator<Item = &str>, out: &mut Vec<u8>) {
    open_request(op, id, out);
    out.extend_from_slice(br#","args":"#);
    request::list(streams, out);
    out.push(b'}');
}

/// An answer of the form that option and spread give: neither `op` nor `req_id`, and what was not taken by name.
fn read_command_response(message: &Map<String, Value>) -> Option<Ack> {
    if message.get("type").and_then(Value::as_str) != Some("COMMAND_RESP") {
        return None;
    }
    let words = message.get("ret_msg").and_then(Value::as_str).filter(|words| !words.is_empty());
    let refusal = Refusal { code: None, message: words.unwrap_or("among the failed topics").to_owned() };
    let text = |value: &Value| Some((value.as_str()?.to_owned(), refusal.clone()));
    let failed = message.get("data")?.get("failTopics")?.as_array()?;
    let failed: Vec<_> = failed.iter().map(text).collect::<Option<_>>()?;
    let result = match (message.get("success")?.as_bool()?, failed.is_empty()) {
        (true, true) => AckResult::Accepted,
        (_, false) => AckResult::Partial { failed },
        (false, true) => AckResult::Refused(refusal),
    };
    Some(Ack { id: None, result })
}

impl Protocol for Bybit {
    fn venue(&self) -> Venue {
        self.venue
    }

    fn limits(&self) -> Limits {
        Limits {
            streams_per_connection: None,
            args_per_request: if self.is_linear() { None } else { Some(10) },
            request_bytes_max: None,
            args_chars_per_connection: Some(21_000),
            messages_per_second: None,
            connects: Some((500, Duration::from_secs(300))),
            connections_max: Some(1_000),
            connection_age_max: None,
        }
    }

    fn rest_limits(&self) -> RestLimits {
        RestLimits {
            weight: Some((600, Duration::from_secs(5))),
            used_weight_header: None,
            instruments_weight: 1,
            forbidden_for: Some(Duration::from_secs(600)),
        }
    }

    fn depth_weight(&self, _levels: u16) -> u32 {
        1
    }

    fn default_url(&self) -> &'static str {
        "wss://stream.bybit.com"
    }

    fn default_rest_url(&self) -> &'static str {
        "https://api.bybit.com"
    }

    fn channel(&self, name: &str) -> Result<Channel, ChannelError> {
        let kind = self.channel_kind(name).ok_or_else(|| ChannelError {
            venue: self.venue,
            name: name.to_owned(),
            allowed: if self.is_linear() { LINEAR_CHANNELS } else { SPOT_CHANNELS },
        })?;
        Ok(Channel { venue: self.venue, kind, scope: ChannelScope::PerSymbol, native: name.into() })
    }

    fn channel_of(&self, stream: &str) -> Option<(Channel, Option<String>)> {
        let (channel, symbol) = stream.rsplit_once('.')?;
        Some((self.channel(channel).ok()?, Some(symbol.to_owned())))
    }

    fn class(&self, _channel: &Channel) -> StreamClass {
        StreamClass::Only
    }

    fn path(&self, _form: Form, _class: StreamClass) -> String {
        format!("/v5/public/{}", self.category())
    }

    fn stream(&self, channel: &Channel, symbol: &str) -> String {
        format!("{}.{symbol}", channel.native)
    }

    fn write_subscribe(&self, id: u64, streams: &mut dyn Iterator<Item = &str>, out: &mut Vec<u8>) {
        write_request("subscribe", id, streams, out);
    }

    fn write_unsubscribe(&self, id: u64, streams: &mut dyn Iterator<Item = &str>, out: &mut Vec<u8>) {
        write_request("unsubscribe", id, streams, out);
    }

    fn write_ping(&self, id: u64, out: &mut Vec<u8>) -> bool {
        open_request("ping", id, out);
        out.push(b'}');
        true
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat::ClientText { interval: Duration::from_secs(20), timeout: Duration::from_secs(10) }
    }

    fn control_message(&self, bytes: &[u8]) -> ControlMessage {
        let Ok(Value::Object(message)) = serde_json::from_slice::<Value>(bytes) else {
            return ControlMessage::Unknown;
        };
        let text = |member: &str| message.get(member).and_then(Value::as_str).unwrap_or_default();
        // On spot and linear the pong's `op` still says `ping`; on the other sockets it says `pong`.
        if text("ret_msg") == "pong" || text("op") == "pong" {
            return ControlMessage::Pong;
        }
        if let Some(ack) = read_command_response(&message) {
            return ControlMessage::Ack(ack);
        }
        let Some(id) = reply_id(message.get("req_id")) else {
            return ControlMessage::Unknown;
        };
        match (message.get("success").and_then(Value::as_bool), text("op")) {
            (Some(true), "subscribe" | "unsubscribe") => ControlMessage::Ack(Ack { id, result: AckResult::Accepted }),
            // A request the venue could not read comes back with an empty `op`.
            (Some(false), "subscribe" | "unsubscribe" | "") => {
                let refusal = Refusal { code: None, message: text("ret_msg").to_owned() };
                ControlMessage::Ack(Ack { id, result: AckResult::Refused(refusal) })
            }
            _ => ControlMessage::Unknown,
        }
    }

    fn is_already_subscribed(&self, refusal: &Refusal) -> bool {
        refusal.message.contains("already subscribed")
    }

    fn instruments_path(&self, cursor: &str) -> String {
        let base = format!("/v5/market/instruments-info?category={}&limit=1000", self.category());
        if cursor.is_empty() { base } else { format!("{base}&cursor={}", percent_encoded(cursor)) }
    }

    fn read_instruments(&self, body: &[u8]) -> Result<(Vec<InstrumentSpec>, Option<String>), InstrumentError> {
        let reply: Reply = serde_json::from_slice(body).map_err(|error| self.instrument_error(error.to_string()))?;
        if reply.ret_code != 0 {
            return Err(self.instrument_error(format!("{} (code {})", reply.ret_msg, reply.ret_code)));
        }
        let page: Page =
            serde_json::from_value(reply.result).map_err(|error| self.instrument_error(format!("result: {error}")))?;
        let specs = readable(page.list.into_iter().map(|row| self.instrument(row)))?;
        // The cursor comes already percent-encoded from the venue; decoded here, it is encoded once in the next path.
        let next = page.next_page_cursor.filter(|cursor| !cursor.is_empty()).map(|cursor| decoded(&cursor));
        Ok((specs, next))
    }

    fn depth_path(&self, symbol: &str, levels: u16) -> String {
        let limit = if levels == 0 { 1_000 } else { levels.min(1_000) };
        let symbol = percent_encoded(symbol);
        format!("/v5/market/orderbook?category={}&symbol={symbol}&limit={limit}", self.category())
    }

    /// The topic's first message is the snapshot: nothing is asked by REST.
    fn read_depth(&self, spec: &SymbolSpec, _body: &[u8]) -> Result<DepthSnapshot, DepthError> {
        let what = "its books start from their stream".to_owned();
        Err(DepthError { venue: self.venue, symbol: spec.name.to_string(), what })
    }

    fn depth_first(&self) -> Option<u16> {
        None
    }

    fn depth_max(&self) -> u16 {
        1_000
    }
}

/// A cursor without its percent-encoding.
fn decoded(cursor: &str) -> String {
    // A plus is a plus in the venue's base64-like cursors, not a space.
    let cursor = cursor.replace('+', "%2B");
    url::form_urlencoded::parse(format!("c={cursor}").as_bytes()).next().map(|(_, v)| v.into_owned()).unwrap_or(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_documented_channel_is_read_as_its_kind() {
        for protocol in [&SPOT, &LINEAR] {
            for (name, expected) in [
                ("publicTrade", ChannelKind::Trade),
                ("orderbook.1", ChannelKind::Quote),
                ("orderbook.50", ChannelKind::Depth { levels: 50 }),
                ("orderbook.200", ChannelKind::Depth { levels: 200 }),
                ("orderbook.1000", ChannelKind::Depth { levels: 1_000 }),
                ("tickers", ChannelKind::Ticker),
                ("kline.1", ChannelKind::Kline),
                ("kline.D", ChannelKind::Kline),
            ] {
                let channel = protocol.channel(name).unwrap();
                assert_eq!((channel.kind, channel.scope), (expected, ChannelScope::PerSymbol), "{name}");
            }
        }
        assert_eq!(LINEAR.channel("allLiquidation").unwrap().kind, ChannelKind::Liquidation);
        assert_eq!(LINEAR.channel("liquidation").unwrap().kind, ChannelKind::Liquidation);
    }

    #[test]
    fn a_channel_the_category_does_not_have_is_refused_with_what_it_has() {
        // Depth 500 was removed on 2025-09-11.
        for name in ["", "trade", "orderbook", "orderbook.500", "kline.7", "kline.", "allLiquidation", "liquidation"] {
            let error = SPOT.channel(name).unwrap_err().to_string();
            assert!(error.contains("bybit-spot") && error.contains("publicTrade"), "{error}");
        }
        let error = LINEAR.channel("markPrice").unwrap_err().to_string();
        assert!(error.contains("bybit-linear") && error.contains("allLiquidation"), "{error}");
    }

    #[test]
    fn the_category_is_the_path_and_the_topic_ends_with_the_symbol() {
        assert_eq!(SPOT.path(Form::Combined, StreamClass::Only), "/v5/public/spot");
        assert_eq!(LINEAR.path(Form::Raw, StreamClass::Only), "/v5/public/linear");
        assert_eq!(LINEAR.stream(&LINEAR.channel("kline.1").unwrap(), "BTCUSDT"), "kline.1.BTCUSDT");
        assert_eq!(SPOT.stream(&SPOT.channel("publicTrade").unwrap(), "BTCUSDT"), "publicTrade.BTCUSDT");
    }

    #[test]
    fn a_request_has_its_id_as_text() {
        let mut out = b"left over".to_vec();
        let parsed = |out: &[u8]| serde_json::from_slice::<Value>(out).unwrap();
        SPOT.write_subscribe(1, &mut ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT"].into_iter(), &mut out);
        assert_eq!(
            parsed(&out),
            json!({"req_id":"1","op":"subscribe","args":["orderbook.50.BTCUSDT","publicTrade.BTCUSDT"]})
        );
        SPOT.write_unsubscribe(2, &mut ["publicTrade.BTCUSDT"].into_iter(), &mut out);
        assert_eq!(parsed(&out), json!({"req_id":"2","op":"unsubscribe","args":["publicTrade.BTCUSDT"]}));
        assert!(LINEAR.write_ping(100_001, &mut out));
        assert_eq!(parsed(&out), json!({"req_id":"100001","op":"ping"}));
    }

    #[test]
    fn all_four_forms_of_pong_are_heard() {
        for text in [
            r#"{"success":true,"ret_msg":"pong","conn_id":"c","op":"ping"}"#,
            r#"{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"","op":"ping"}"#,
            r#"{"args":["1672916271846"],"op":"pong"}"#,
            r#"{"req_id":"test","op":"pong","args":["1675418560633"],"conn_id":"c"}"#,
        ] {
            assert_eq!(LINEAR.control_message(text.as_bytes()), ControlMessage::Pong, "{text}");
        }
    }

    #[test]
    fn acks_with_and_without_an_id_and_refusals_are_read() {
        let ack = |id| ControlMessage::Ack(Ack { id, result: AckResult::Accepted });
        let refused = |id, message: &str| {
            let refusal = Refusal { code: None, message: message.to_owned() };
            ControlMessage::Ack(Ack { id, result: AckResult::Refused(refusal) })
        };
        for (text, expected) in [
            (r#"{"success":true,"ret_msg":"subscribe","conn_id":"c","req_id":"1","op":"subscribe"}"#, ack(Some(1))),
            (r#"{"success":true,"ret_msg":"subscribe","conn_id":"c","op":"subscribe"}"#, ack(None)),
            (r#"{"success":true,"ret_msg":"","conn_id":"c","req_id":"","op":"subscribe"}"#, ack(None)),
            (r#"{"success":true,"ret_msg":"","conn_id":"c","req_id":"8","op":"unsubscribe"}"#, ack(Some(8))),
            (
                r#"{"success":false,"ret_msg":"error:handler not found,topic:publicTrade.NOPE","conn_id":"c","req_id":"3","op":"subscribe"}"#,
                refused(Some(3), "error:handler not found,topic:publicTrade.NOPE"),
            ),
            (
                r#"{"success":false,"ret_msg":"Params Error","conn_id":"c","req_id":"","op":""}"#,
                refused(None, "Params Error"),
            ),
        ] {
            assert_eq!(SPOT.control_message(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn an_answer_that_names_what_failed_is_a_partial_one() {
        let heard = |failed: &str, success: bool| {
            let text = format!(
                r#"{{"success":{success},"conn_id":"c","data":{{"failTopics":{failed},"successTopics":["a"]}},"type":"COMMAND_RESP"}}"#
            );
            LINEAR.control_message(text.as_bytes())
        };
        let ack = |result| ControlMessage::Ack(Ack { id: None, result });
        let refusal = Refusal { code: None, message: "among the failed topics".to_owned() };
        assert_eq!(heard("[]", true), ack(AckResult::Accepted));
        assert_eq!(heard("[]", false), ack(AckResult::Refused(refusal.clone())));
        assert_eq!(heard(r#"["b"]"#, true), ack(AckResult::Partial { failed: vec![("b".to_owned(), refusal)] }));
        assert_eq!(heard("[7]", true), ControlMessage::Unknown);
        assert_eq!(heard("7", true), ControlMessage::Unknown);
    }

    #[test]
    fn only_its_own_words_say_that_a_topic_was_already_live() {
        let refusal = |message: &str| Refusal { code: None, message: message.to_owned() };
        assert!(SPOT.is_already_subscribed(&refusal("error:already subscribed,topic:publicTrade.BTCUSDT")));
        assert!(!SPOT.is_already_subscribed(&refusal("error:handler not found,topic:publicTrade.NOPE")));
    }

    #[test]
    fn what_is_no_ack_is_never_taken_for_one() {
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"success":true}"#,
            r#"{"success":true,"op":"auth"}"#,
            r#"{"success":"true","op":"subscribe"}"#,
            r#"{"success":true,"op":"subscribe","req_id":"x"}"#,
            r#"{"success":true,"op":"subscribe","req_id":7}"#,
            r#"{"success":false,"op":"auth","ret_msg":"no"}"#,
            r#"{"topic":"tickers.BTCUSDT","type":"snapshot","ts":1,"data":{}}"#,
        ] {
            assert_eq!(SPOT.control_message(text.as_bytes()), ControlMessage::Unknown, "{text}");
        }
    }

    fn row(symbol: &str, contract: &str, delivery: &str) -> Value {
        json!({"symbol":symbol,"contractType":contract,"status":"Trading","baseCoin":"BTC","quoteCoin":"USDT",
            "deliveryTime":delivery,"priceFilter":{"minPrice":"0.10","tickSize":"0.10"},
            "lotSizeFilter":{"qtyStep":"0.001","basePrecision":"0.000001"}})
    }

    fn page(list: &[Value], cursor: &str) -> String {
        json!({"retCode":0,"retMsg":"OK","result":{"category":"linear","list":list,"nextPageCursor":cursor}})
            .to_string()
    }

    #[test]
    fn linear_instruments_are_perpetual_or_dated_and_pages_follow_each_other() {
        let rows = [row("BTCUSDT", "LinearPerpetual", "0"), row("BTCUSDT-25DEC26", "LinearFutures", "1798185600000")];
        let (specs, next) = LINEAR.read_instruments(page(&rows, "first%3DBTC%26last%3DX").as_bytes()).unwrap();
        assert_eq!((specs[0].price_scale, specs[0].qty_scale, specs[0].is_trading), (1, 3, true));
        assert_eq!(specs[0].instrument.kind, InstrumentKind::Perpetual);
        assert_eq!(specs[1].instrument.kind, InstrumentKind::Future("261225".into()));
        let next = next.unwrap();
        assert_eq!(
            LINEAR.instruments_path(&next),
            "/v5/market/instruments-info?category=linear&limit=1000&cursor=first%3DBTC%26last%3DX"
        );
        assert_eq!(LINEAR.instruments_path(""), "/v5/market/instruments-info?category=linear&limit=1000");
        assert_eq!(LINEAR.read_instruments(page(&rows, "").as_bytes()).unwrap().1, None);
    }

    #[test]
    fn spot_quantities_take_the_base_precision() {
        let (specs, _) = SPOT.read_instruments(page(&[row("BTCUSDT", "", "")], "").as_bytes()).unwrap();
        assert_eq!((specs[0].price_scale, specs[0].qty_scale), (1, 6));
        assert_eq!((specs[0].tick_size, specs[0].lot_size), (Some(Decimal::new(1, 1)), Some(Decimal::new(1, 6))));
        assert_eq!(specs[0].instrument.kind, InstrumentKind::Spot);
    }

    #[test]
    fn a_list_that_cannot_be_read_says_where_and_why() {
        let message = |body: &str| LINEAR.read_instruments(body.as_bytes()).unwrap_err().to_string();
        assert!(message("<html>").contains("bybit-linear"));
        assert!(
            message(r#"{"retCode":10001,"retMsg":"params error","result":{}}"#).contains("params error (code 10001)")
        );
        assert!(message(r#"{"retCode":0,"retMsg":"OK"}"#).contains("result"));
        let bad = page(&[row("BTCUSDT", "LinearPerpetual", "0")], "").replace("0.001", "0.00");
        assert!(message(&bad).contains("BTCUSDT: lotSizeFilter.qtyStep `0.00` is zero"), "{}", message(&bad));
    }

    #[test]
    fn the_limits_are_the_documented_ones() {
        assert_eq!(SPOT.limits().args_per_request, Some(10));
        assert_eq!(LINEAR.limits().args_per_request, None);
        assert_eq!(LINEAR.limits().args_chars_per_connection, Some(21_000));
        assert_eq!(SPOT.limits().connects, Some((500, Duration::from_secs(300))));
        assert!(matches!(SPOT.heartbeat(), Heartbeat::ClientText { interval, .. } if interval.as_secs() == 20));
        assert_eq!(LINEAR.depth_path("BTCUSDT", 0), "/v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=1000");
        assert_eq!(SPOT.depth_path("BTCUSDT", 50), "/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=50");
    }
}
