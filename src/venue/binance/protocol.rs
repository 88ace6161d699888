//! Binance's control plane: names, limits, requests, acks, instrument list. Used by control and config, once per
//! connection or command.
//!
//! ```text
//! "depth@100ms" ─► Channel ─► class /public | /market (USD-M) ─► path /public/stream ─► "btcusdt@depth@100ms"
//! {"result":null,"id":7}  ─► Ack Ok      {"code":2,"msg":..} , {"error":{"code":4,..}}  ─► Ack refused
//! ```
//! Sources: the spot stream specification of 2026-07-21; the USD-M connector of 2026-08-21 and the notice of
//! 2026-03-06 that split USD-M's paths by class of data. Never does I/O.

use crate::market::{Decimal, Instrument, InstrumentKind, SymbolSpec, Venue};
use crate::venue::instruments::{delivery_date, percent_encoded, readable, step_size};
use crate::venue::request;
use crate::venue::{
    Ack, Channel, ChannelError, ChannelKind, ChannelScope, ControlMessage, DepthError, DepthSnapshot, Form, Heartbeat,
    InstrumentError, InstrumentSpec, Limits, Protocol, Refusal, RestLimits, StreamClass,
};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// The protocol of one product line.
#[derive(Debug)]
pub struct Binance {
    venue: Venue,
}

/// Spot.
pub static SPOT: Binance = Binance { venue: Venue::BinanceSpot };
/// USD-M futures.
pub static USDM: Binance = Binance { venue: Venue::BinanceUsdm };

/// What spot has. `!ticker@arr` was withdrawn on 2026-03-26 and `!bookTicker` before it: both are still read, because
/// recordings have them, and both stay silent on the live venue.
const SPOT_CHANNELS: &str = "trade, aggTrade, bookTicker, ticker, miniTicker, depth, depth@100ms, depth5 depth10 depth20 (each also @100ms), kline_<1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M>, !miniTicker@arr, and from recordings !ticker@arr, !bookTicker; spot has no mark price and no liquidations";
const USDM_CHANNELS: &str = "trade, aggTrade, bookTicker, ticker, miniTicker, markPrice, markPrice@1s, forceOrder, depth, depth@0ms, depth@100ms, depth@500ms, depth5 depth10 depth20 (each also @100ms, @500ms), kline_<1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M>, !ticker@arr, !miniTicker@arr, !bookTicker, !markPrice@arr, !markPrice@arr@1s, !forceOrder@arr";

const KLINE_INTERVALS: [&str; 15] =
    ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"];

/// Snapshot sizes USD-M's REST accepts; spot takes any up to 5,000.
const USDM_DEPTH_LIMITS: [u16; 7] = [5, 10, 20, 50, 100, 500, 1_000];

impl Binance {
    fn is_usdm(&self) -> bool {
        self.venue == Venue::BinanceUsdm
    }

    fn channel_kind(&self, name: &str) -> Option<(ChannelKind, ChannelScope)> {
        let usdm = self.is_usdm();
        if let Some(all_market) = name.strip_prefix('!') {
            let kind = match all_market {
                "ticker@arr" | "miniTicker@arr" => ChannelKind::Ticker,
                "bookTicker" => ChannelKind::Quote,
                "markPrice@arr" | "markPrice@arr@1s" if usdm => ChannelKind::MarkPrice,
                "forceOrder@arr" if usdm => ChannelKind::Liquidation,
                _ => return None,
            };
            return Some((kind, ChannelScope::AllMarket));
        }
        let kind = match name {
            "trade" => ChannelKind::Trade,
            "aggTrade" => ChannelKind::AggTrade,
            "bookTicker" => ChannelKind::Quote,
            "ticker" | "miniTicker" => ChannelKind::Ticker,
            "markPrice" | "markPrice@1s" if usdm => ChannelKind::MarkPrice,
            "forceOrder" if usdm => ChannelKind::Liquidation,
            _ if name.starts_with("depth") => self.depth_kind(name)?,
            _ => {
                let interval = name.strip_prefix("kline_")?;
                if !KLINE_INTERVALS.contains(&interval) && (usdm || interval != "1s") {
                    return None;
                }
                ChannelKind::Kline
            }
        };
        Some((kind, ChannelScope::PerSymbol))
    }

    /// The `limit` of a snapshot with this many levels a side; 0: the most there are.
    fn depth_limit(&self, levels: u16) -> u16 {
        let wanted = if levels == 0 { u16::MAX } else { levels };
        if self.is_usdm() {
            USDM_DEPTH_LIMITS.into_iter().find(|&limit| limit >= wanted).unwrap_or(1_000)
        } else {
            wanted.min(5_000)
        }
    }

    fn depth_kind(&self, name: &str) -> Option<ChannelKind> {
        let (base, speed) = name.split_once('@').map_or((name, None), |(base, speed)| (base, Some(speed)));
        let speed_exists = match speed {
            None | Some("100ms") => true,
            Some("500ms") => self.is_usdm(),
            // Undocumented, used in production by two recorders; only the diff stream has it.
            Some("0ms") => self.is_usdm() && base == "depth",
            Some(_) => false,
        };
        let kind = match base {
            "depth" => ChannelKind::Depth { levels: 0 },
            "depth5" => ChannelKind::PartialDepth { levels: 5 },
            "depth10" => ChannelKind::PartialDepth { levels: 10 },
            "depth20" => ChannelKind::PartialDepth { levels: 20 },
            _ => return None,
        };
        speed_exists.then_some(kind)
    }

    fn instrument_error(&self, what: String) -> InstrumentError {
        InstrumentError { venue: self.venue, what }
    }

    fn instrument(&self, row: Row) -> Result<InstrumentSpec, InstrumentError> {
        let size = |filter: &str, precision: Option<u8>| -> Result<(u8, Option<Decimal>), InstrumentError> {
            let found = row.filters.iter().find(|f| f.filter_type == filter);
            let step = match filter {
                "PRICE_FILTER" => found.and_then(|f| f.tick_size.as_deref()),
                _ => found.and_then(|f| f.step_size.as_deref()),
            };
            let step = step
                .ok_or_else(|| self.instrument_error(format!("{}: filter {filter} is missing its step", row.symbol)))?;
            match step_size(step) {
                Ok(Some(size)) => Ok((size.scale(), Some(size))),
                // A step of zero switches the filter off: the symbol's precision is then all that holds.
                Ok(None) => precision
                    .map(|precision| (precision, None))
                    .ok_or_else(|| self.instrument_error(format!("{}: {filter} is off, no precision", row.symbol))),
                Err(what) => Err(self.instrument_error(format!("{}: {filter} `{step}`: {what}", row.symbol))),
            }
        };
        let (price_scale, tick_size) = size("PRICE_FILTER", row.price_precision.or(row.quote_precision))?;
        let (qty_scale, lot_size) = size("LOT_SIZE", row.quantity_precision.or(row.base_asset_precision))?;
        let kind = match row.contract_type.as_deref() {
            None if !self.is_usdm() => InstrumentKind::Spot,
            // `TRADIFI_PERPETUAL` and `PERPETUAL DELIVERING` are perpetuals too.
            Some(contract) if contract.contains("PERPETUAL") => InstrumentKind::Perpetual,
            _ => InstrumentKind::Future(match row.delivery_date.and_then(delivery_date) {
                Some(date) => date.into(),
                None => row.symbol.as_str().into(),
            }),
        };
        Ok(InstrumentSpec {
            price_scale,
            qty_scale,
            tick_size,
            lot_size,
            instrument: Instrument { base: row.base_asset.into(), quote: row.quote_asset.into(), kind },
            is_trading: row.status == "TRADING",
            name: row.symbol,
        })
    }
}

/// The members of `exchangeInfo` that are read; others are the venue's business.
#[derive(Deserialize)]
struct ExchangeInfo {
    symbols: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    symbol: String,
    status: String,
    base_asset: String,
    quote_asset: String,
    contract_type: Option<String>,
    delivery_date: Option<i64>,
    price_precision: Option<u8>,
    quantity_precision: Option<u8>,
    quote_precision: Option<u8>,
    base_asset_precision: Option<u8>,
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    filter_type: String,
    tick_size: Option<String>,
    step_size: Option<String>,
}

/// The id of a reply: `Some(None)` where it has none, `None` where it has one that we can never have sent.
fn reply_id(id: Option<&Value>) -> Option<Option<u64>> {
    match id {
        None | Some(Value::Null) => Some(None),
        Some(Value::Number(number)) => number.as_u64().map(Some),
        Some(Value::String(text)) => text.parse().ok().map(Some),
        Some(_) => None,
    }
}

fn refusal(error: &Value) -> Option<Refusal> {
    let code = error.get("code")?.as_i64()?;
    let message = error.get("msg").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Refusal { code: Some(code), message })
}

fn write_request(method: &str, id: u64, streams: &mut dyn Iterator<Item = &str>, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(br#"{"method":""#);
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(br#"","params":"#);
    request::list(streams, out);
    out.extend_from_slice(br#","id":"#);
    request::number(id, out);
    out.push(b'}');
}

impl Protocol for Binance {
    fn venue(&self) -> Venue {
        self.venue
    }

    fn limits(&self) -> Limits {
        let usdm = self.is_usdm();
        Limits {
            // USD-M states 1,024 on one page and 200 on others: plan for the smaller.
            streams_per_connection: Some(if usdm { 200 } else { 1_024 }),
            args_per_request: None,
            // No document states it; clients that sent more were cut off, and say about 4 KB.
            request_bytes_max: Some(4_096),
            args_chars_per_connection: None,
            messages_per_second: Some(if usdm { 10 } else { 5 }),
            connects: Some((300, Duration::from_secs(300))),
            connections_max: None,
            connection_age_max: Some(Duration::from_secs(24 * 3_600)),
        }
    }

    fn rest_limits(&self) -> RestLimits {
        let usdm = self.is_usdm();
        RestLimits {
            weight: Some((if usdm { 2_400 } else { 6_000 }, Duration::from_secs(60))),
            used_weight_header: Some("X-MBX-USED-WEIGHT-1M"),
            instruments_weight: if usdm { 1 } else { 20 },
            forbidden_for: None,
        }
    }

    fn depth_weight(&self, levels: u16) -> u32 {
        match (self.is_usdm(), self.depth_limit(levels)) {
            (true, ..=50) => 2,
            (true, 51..=100) => 5,
            (true, 101..=500) => 10,
            (true, 501..) => 20,
            (false, ..=100) => 5,
            (false, 101..=500) => 25,
            (false, 501..=1_000) => 50,
            (false, 1_001..) => 250,
        }
    }

    fn default_url(&self) -> &'static str {
        if self.is_usdm() { "wss://fstream.binance.com" } else { "wss://stream.binance.com:9443" }
    }

    fn default_rest_url(&self) -> &'static str {
        if self.is_usdm() { "https://fapi.binance.com" } else { "https://api.binance.com" }
    }

    fn channel(&self, name: &str) -> Result<Channel, ChannelError> {
        let (kind, scope) = self.channel_kind(name).ok_or_else(|| ChannelError {
            venue: self.venue,
            name: name.to_owned(),
            allowed: if self.is_usdm() { USDM_CHANNELS } else { SPOT_CHANNELS },
        })?;
        Ok(Channel { venue: self.venue, kind, scope, native: name.into() })
    }

    fn channel_of(&self, stream: &str) -> Option<(Channel, Option<String>)> {
        if stream.starts_with('!') {
            return Some((self.channel(stream).ok()?, None));
        }
        let (symbol, channel) = stream.split_once('@')?;
        let channel = self.channel(channel).ok().filter(|channel| channel.scope == ChannelScope::PerSymbol)?;
        Some((channel, Some(symbol.to_uppercase())))
    }

    fn class(&self, channel: &Channel) -> StreamClass {
        if !self.is_usdm() {
            return StreamClass::Only;
        }
        match channel.kind {
            ChannelKind::Trade | ChannelKind::Quote | ChannelKind::Depth { .. } | ChannelKind::PartialDepth { .. } => {
                StreamClass::Public
            }
            ChannelKind::AggTrade
            | ChannelKind::Ticker
            | ChannelKind::Kline
            | ChannelKind::MarkPrice
            | ChannelKind::Liquidation => StreamClass::Market,
        }
    }

    fn path(&self, form: Form, class: StreamClass) -> String {
        let form = match form {
            Form::Combined => "/stream",
            Form::Raw => "/ws",
        };
        let class = match class {
            _ if !self.is_usdm() => "",
            StreamClass::Market => "/market",
            // USD-M's unrouted paths carry public data only, so that is what "the only class" means there.
            StreamClass::Public | StreamClass::Only => "/public",
        };
        format!("{class}{form}")
    }

    fn stream(&self, channel: &Channel, symbol: &str) -> String {
        match channel.scope {
            ChannelScope::AllMarket => channel.native.to_string(),
            ChannelScope::PerSymbol => format!("{}@{}", symbol.to_lowercase(), channel.native),
        }
    }

    fn write_subscribe(&self, id: u64, streams: &mut dyn Iterator<Item = &str>, out: &mut Vec<u8>) {
        write_request("SUBSCRIBE", id, streams, out);
    }

    fn write_unsubscribe(&self, id: u64, streams: &mut dyn Iterator<Item = &str>, out: &mut Vec<u8>) {
        write_request("UNSUBSCRIBE", id, streams, out);
    }

    fn write_ping(&self, _id: u64, out: &mut Vec<u8>) -> bool {
        out.clear();
        false
    }

    fn heartbeat(&self) -> Heartbeat {
        if self.is_usdm() {
            Heartbeat::ServerPing { interval: Duration::from_secs(180), timeout: Duration::from_secs(600) }
        } else {
            Heartbeat::ServerPing { interval: Duration::from_secs(20), timeout: Duration::from_secs(60) }
        }
    }

    fn control_message(&self, bytes: &[u8]) -> ControlMessage {
        let Ok(Value::Object(message)) = serde_json::from_slice::<Value>(bytes) else {
            return ControlMessage::Unknown;
        };
        let is = |member: &str, text: &str| message.get(member).and_then(Value::as_str) == Some(text);
        if is("e", "serverShutdown") || is("stream", "!serverShutdown") {
            return ControlMessage::GoingAway;
        }
        let Some(id) = reply_id(message.get("id")) else {
            return ControlMessage::Unknown;
        };
        // A result that is not null answers a question (LIST_SUBSCRIPTIONS, GET_PROPERTY), never a subscription.
        let result = match (message.get("result"), message.get("error")) {
            (_, Some(error)) if !error.is_null() => refusal(error).map(Err),
            (Some(Value::Null), _) => Some(Ok(())),
            (Some(_), _) => None,
            (None, _) => refusal(&Value::Object(message)).map(Err),
        };
        result.map_or(ControlMessage::Unknown, |result| ControlMessage::Ack(Ack { id, result: result.into() }))
    }

    fn instruments_path(&self, _cursor: &str) -> String {
        if self.is_usdm() { "/fapi/v1/exchangeInfo" } else { "/api/v3/exchangeInfo" }.to_owned()
    }

    fn read_instruments(&self, body: &[u8]) -> Result<(Vec<InstrumentSpec>, Option<String>), InstrumentError> {
        let info: ExchangeInfo = serde_json::from_slice(body).map_err(|error| {
            match serde_json::from_slice(body).ok().as_ref().and_then(refusal) {
                Some(refusal) => self.instrument_error(refusal.to_string()),
                None => self.instrument_error(error.to_string()),
            }
        })?;
        Ok((readable(info.symbols.into_iter().map(|row| self.instrument(row)))?, None))
    }

    fn depth_path(&self, symbol: &str, levels: u16) -> String {
        let path = if self.is_usdm() { "/fapi/v1/depth" } else { "/api/v3/depth" };
        format!("{path}?symbol={}&limit={}", percent_encoded(symbol), self.depth_limit(levels))
    }

    fn read_depth(&self, spec: &SymbolSpec, body: &[u8]) -> Result<DepthSnapshot, DepthError> {
        let refused = |what| DepthError { venue: self.venue, symbol: spec.name.to_string(), what };
        super::depth::read(spec, body).map_err(refused)
    }

    fn depth_first(&self) -> Option<u16> {
        Some(if self.is_usdm() { 50 } else { 100 })
    }

    fn depth_max(&self) -> u16 {
        self.depth_limit(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::AckResult;
    use serde_json::json;

    fn kind(protocol: &Binance, name: &str) -> ChannelKind {
        protocol.channel(name).unwrap_or_else(|error| panic!("{error}")).kind
    }

    #[test]
    fn every_documented_channel_is_read_as_its_kind() {
        for protocol in [&SPOT, &USDM] {
            assert_eq!(kind(protocol, "trade"), ChannelKind::Trade);
            assert_eq!(kind(protocol, "aggTrade"), ChannelKind::AggTrade);
            assert_eq!(kind(protocol, "bookTicker"), ChannelKind::Quote);
            assert_eq!(kind(protocol, "miniTicker"), ChannelKind::Ticker);
            assert_eq!(kind(protocol, "depth@100ms"), ChannelKind::Depth { levels: 0 });
            assert_eq!(kind(protocol, "depth5"), ChannelKind::PartialDepth { levels: 5 });
            assert_eq!(kind(protocol, "depth20@100ms"), ChannelKind::PartialDepth { levels: 20 });
            assert_eq!(kind(protocol, "!ticker@arr"), ChannelKind::Ticker);
            for interval in KLINE_INTERVALS {
                assert_eq!(kind(protocol, &format!("kline_{interval}")), ChannelKind::Kline);
            }
        }
        assert_eq!(kind(&SPOT, "kline_1s"), ChannelKind::Kline);
        for (name, expected) in [
            ("depth@0ms", ChannelKind::Depth { levels: 0 }),
            ("depth@500ms", ChannelKind::Depth { levels: 0 }),
            ("depth10@500ms", ChannelKind::PartialDepth { levels: 10 }),
            ("markPrice", ChannelKind::MarkPrice),
            ("markPrice@1s", ChannelKind::MarkPrice),
            ("forceOrder", ChannelKind::Liquidation),
            ("!markPrice@arr@1s", ChannelKind::MarkPrice),
            ("!forceOrder@arr", ChannelKind::Liquidation),
        ] {
            assert_eq!(kind(&USDM, name), expected, "{name}");
        }
        assert_eq!(USDM.channel("!bookTicker").unwrap().scope, ChannelScope::AllMarket);
        assert_eq!(USDM.channel("bookTicker").unwrap().scope, ChannelScope::PerSymbol);
    }

    #[test]
    fn a_snapshot_weighs_what_the_limit_in_its_path_costs() {
        for (protocol, weights) in [
            (
                &SPOT,
                [(1, 5), (100, 5), (101, 25), (500, 25), (501, 50), (1_000, 50), (1_001, 250), (0, 250)].as_slice(),
            ),
            (
                &USDM,
                [(1, 2), (50, 2), (51, 5), (100, 5), (101, 10), (500, 10), (501, 20), (5_000, 20), (0, 20)].as_slice(),
            ),
        ] {
            for &(levels, weight) in weights {
                assert_eq!(protocol.depth_weight(levels), weight, "{}: {levels} levels", protocol.venue);
            }
        }
        assert_eq!(SPOT.rest_limits().weight, Some((6_000, Duration::from_secs(60))));
        assert_eq!(USDM.rest_limits().weight, Some((2_400, Duration::from_secs(60))));
        assert_eq!((SPOT.rest_limits().instruments_weight, USDM.rest_limits().instruments_weight), (20, 1));
    }

    #[test]
    fn a_channel_the_product_line_does_not_have_is_refused_with_what_it_has() {
        for name in [
            "",
            "Trade",
            "trades",
            "depth7",
            "depth@",
            "depth@0ms",
            "depth@500ms",
            "depth5@0ms",
            "kline_",
            "kline_7m",
            "markPrice",
            "forceOrder",
            "!markPrice@arr",
            "!forceOrder@arr",
            "!",
            "!trade",
            "btcusdt@trade",
        ] {
            let error = SPOT.channel(name).unwrap_err().to_string();
            assert!(error.contains("binance-spot") && error.contains("bookTicker"), "{error}");
        }
        for name in ["kline_1s", "depth5@0ms", "depth@250ms", "!depth@arr", "publicTrade"] {
            let error = USDM.channel(name).unwrap_err().to_string();
            assert!(error.contains("binance-usdm") && error.contains("forceOrder"), "{error}");
        }
    }

    #[test]
    fn usdm_streams_go_to_the_path_of_their_class() {
        let path = |name: &str, form| USDM.path(form, USDM.class(&USDM.channel(name).unwrap()));
        for name in ["bookTicker", "!bookTicker", "depth@100ms", "depth5", "trade"] {
            assert_eq!(path(name, Form::Combined), "/public/stream", "{name}");
        }
        for name in ["aggTrade", "markPrice@1s", "kline_1m", "ticker", "miniTicker", "forceOrder", "!ticker@arr"] {
            assert_eq!(path(name, Form::Raw), "/market/ws", "{name}");
        }
        let trade = SPOT.channel("trade").unwrap();
        assert_eq!(SPOT.class(&trade), StreamClass::Only);
        assert_eq!(SPOT.path(Form::Combined, StreamClass::Only), "/stream");
        assert_eq!(SPOT.path(Form::Raw, StreamClass::Only), "/ws");
    }

    #[test]
    fn a_stream_name_has_its_symbol_in_lower_case_and_an_all_market_one_has_none() {
        assert_eq!(SPOT.stream(&SPOT.channel("depth@100ms").unwrap(), "BTCUSDT"), "btcusdt@depth@100ms");
        assert_eq!(SPOT.stream(&SPOT.channel("trade").unwrap(), "币安人生USDT"), "币安人生usdt@trade");
        assert_eq!(USDM.stream(&USDM.channel("!markPrice@arr@1s").unwrap(), "BTCUSDT"), "!markPrice@arr@1s");
    }

    #[test]
    fn a_request_has_an_integer_id_and_its_streams_in_order() {
        let mut out = b"left over".to_vec();
        SPOT.write_subscribe(312, &mut ["btcusdt@aggTrade", "quote\"@depth"].into_iter(), &mut out);
        let sent: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(sent, json!({"method":"SUBSCRIBE","params":["btcusdt@aggTrade","quote\"@depth"],"id":312}));
        USDM.write_unsubscribe(7, &mut ["btcusdt@depth"].into_iter(), &mut out);
        let sent: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(sent, json!({"method":"UNSUBSCRIBE","params":["btcusdt@depth"],"id":7}));
        assert!(!SPOT.write_ping(1, &mut out), "no JSON ping exists on the stream hosts");
        assert!(out.is_empty());
    }

    #[test]
    fn acks_and_both_shapes_of_error_are_read() {
        let ack = |id| ControlMessage::Ack(Ack { id, result: AckResult::Accepted });
        let refused = |id, code, message: &str| {
            let refusal = Refusal { code: Some(code), message: message.to_owned() };
            ControlMessage::Ack(Ack { id, result: AckResult::Refused(refusal) })
        };
        for (text, expected) in [
            (r#"{"result":null,"id":1}"#, ack(Some(1))),
            (r#"{"id":1000,"result":null}"#, ack(Some(1_000))),
            (r#"{"result":null,"id":"36"}"#, ack(Some(36))),
            (r#"{"result":null}"#, ack(None)),
            (r#"{"result":null,"id":null}"#, ack(None)),
            (r#"{"code":2,"msg":"Invalid request: x","id":9}"#, refused(Some(9), 2, "Invalid request: x")),
            (r#"{"code":3,"msg":"Invalid JSON: y"}"#, refused(None, 3, "Invalid JSON: y")),
            (
                r#"{"error":{"code":4,"msg":"Too many subscriptions"},"id":19}"#,
                refused(Some(19), 4, "Too many subscriptions"),
            ),
        ] {
            assert_eq!(SPOT.control_message(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_server_about_to_go_is_heard_in_both_forms() {
        for text in [
            r#"{"e":"serverShutdown","E":1770123456789}"#,
            r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#,
        ] {
            assert_eq!(SPOT.control_message(text.as_bytes()), ControlMessage::GoingAway, "{text}");
        }
    }

    #[test]
    fn what_is_no_ack_is_never_taken_for_one() {
        for text in [
            "",
            "{",
            "null",
            "[]",
            "7",
            "\u{0}",
            r#"{}"#,
            r#"{"id":1}"#,
            r#"{"result":["btcusdt@trade"],"id":3}"#,
            r#"{"result":true,"id":2}"#,
            r#"{"result":null,"id":-4}"#,
            r#"{"result":null,"id":"abc"}"#,
            r#"{"result":null,"id":[1]}"#,
            r#"{"error":"no","id":1}"#,
            r#"{"code":"2","msg":"x"}"#,
            r#"{"e":"trade","E":1,"s":"BTCUSDT"}"#,
            r#"{"stream":"btcusdt@trade","data":{}}"#,
        ] {
            assert_eq!(SPOT.control_message(text.as_bytes()), ControlMessage::Unknown, "{text}");
        }
    }

    const SPOT_INFO: &str = r#"{"timezone":"UTC","symbols":[
        {"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","baseAssetPrecision":8,"quoteAsset":"USDT",
         "quotePrecision":8,"filters":[
          {"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},
          {"filterType":"LOT_SIZE","minQty":"0.00001000","stepSize":"0.00001000"},{"filterType":"ICEBERG_PARTS","limit":10}]},
        {"symbol":"SHIBTRY","status":"BREAK","baseAsset":"SHIB","baseAssetPrecision":8,"quoteAsset":"TRY",
         "quotePrecision":6,"filters":[
          {"filterType":"LOT_SIZE","stepSize":"1.00000000"},{"filterType":"PRICE_FILTER","tickSize":"0.00000000"}]}]}"#;

    #[test]
    fn spot_scales_are_the_decimals_of_tick_and_step_without_trailing_zeros() {
        let (specs, next) = SPOT.read_instruments(SPOT_INFO.as_bytes()).unwrap();
        assert_eq!(next, None);
        let (btc, shib) = (&specs[0], &specs[1]);
        assert_eq!((btc.name.as_str(), btc.price_scale, btc.qty_scale, btc.is_trading), ("BTCUSDT", 2, 5, true));
        assert_eq!(btc.instrument.kind, InstrumentKind::Spot);
        assert_eq!((&*btc.instrument.base, &*btc.instrument.quote), ("BTC", "USDT"));
        // Its price filter is off, so the quote precision is what holds.
        assert_eq!((shib.price_scale, shib.qty_scale, shib.is_trading), (6, 0, false));
        let sizes =
            |spec: &InstrumentSpec| [spec.tick_size, spec.lot_size].map(|size| size.map(|size| size.to_string()));
        assert_eq!(sizes(btc), [Some("0.01".to_owned()), Some("0.00001".to_owned())]);
        assert_eq!(sizes(shib), [None, Some("1".to_owned())], "a filter that is off has no size");
    }

    #[test]
    fn usdm_contracts_are_perpetual_or_dated() {
        let row = |symbol: &str, contract: &str, delivery: i64| {
            json!({"symbol":symbol,"status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","contractType":contract,
                "deliveryDate":delivery,"pricePrecision":2,"quantityPrecision":3,"filters":[
                {"filterType":"PRICE_FILTER","tickSize":"0.10"},{"filterType":"LOT_SIZE","stepSize":"0.001"}]})
        };
        let body = json!({"symbols":[row("BTCUSDT","PERPETUAL",4_133_404_800_000),
            row("XAUUSDT","TRADIFI_PERPETUAL",4_133_404_800_000), row("BTCUSDT_261225","CURRENT_QUARTER",1_798_185_600_000)]});
        let (specs, _) = USDM.read_instruments(body.to_string().as_bytes()).unwrap();
        assert_eq!((specs[0].price_scale, specs[0].qty_scale), (1, 3));
        assert_eq!(specs[0].instrument.kind, InstrumentKind::Perpetual);
        assert_eq!(specs[1].instrument.kind, InstrumentKind::Perpetual);
        assert_eq!(specs[2].instrument.kind, InstrumentKind::Future("261225".into()));
    }

    #[test]
    fn a_list_that_cannot_be_read_says_where_and_why() {
        let message = |body: &str| SPOT.read_instruments(body.as_bytes()).unwrap_err().to_string();
        let names = |body: &str| {
            let (specs, _) = SPOT.read_instruments(body.as_bytes()).unwrap();
            specs.into_iter().map(|spec| spec.name).collect::<Vec<_>>()
        };
        assert!(message("{\"symbols\":[").contains("EOF"));
        assert!(message("{}").contains("symbols"));
        assert!(message(r#"{"code":-1003,"msg":"Too much request weight used"}"#).contains("(code -1003)"));
        let bad_tick = SPOT_INFO.replacen("\"tickSize\":\"0.01000000\"", "\"tickSize\":\"1e-2\"", 1);
        assert_eq!(names(&bad_tick), ["SHIBTRY"], "the other row stands");
        let no_filter = SPOT_INFO.replace("PRICE_FILTER", "OTHER");
        assert!(message(&no_filter).contains("PRICE_FILTER"), "no row stands");
    }

    #[test]
    fn a_depth_snapshot_asks_for_a_size_the_venue_has() {
        assert_eq!(SPOT.depth_path("BTCUSDT", 0), "/api/v3/depth?symbol=BTCUSDT&limit=5000");
        assert_eq!(SPOT.depth_path("BTCUSDT", 700), "/api/v3/depth?symbol=BTCUSDT&limit=700");
        assert_eq!(USDM.depth_path("BTCUSDT", 700), "/fapi/v1/depth?symbol=BTCUSDT&limit=1000");
        assert_eq!(USDM.depth_path("BTCUSDT", 20), "/fapi/v1/depth?symbol=BTCUSDT&limit=20");
        assert_eq!(USDM.depth_path("BTCUSDT", 5_000), "/fapi/v1/depth?symbol=BTCUSDT&limit=1000");
        assert_eq!(SPOT.depth_path("币USDT", 5), "/api/v3/depth?symbol=%E5%B8%81USDT&limit=5");
        for protocol in [&SPOT, &USDM] {
            let first = protocol.depth_first().unwrap();
            assert!(
                (1..first).all(|levels| protocol.depth_weight(levels) == protocol.depth_weight(first)),
                "the cheapest"
            );
            assert!(protocol.depth_weight(first + 1) > protocol.depth_weight(first), "and the most levels for it");
        }
        assert_eq!((SPOT.depth_max(), USDM.depth_max()), (5_000, 1_000));
    }

    #[test]
    fn the_limits_are_the_documented_ones() {
        assert_eq!(SPOT.limits().streams_per_connection, Some(1_024));
        assert_eq!(SPOT.limits().messages_per_second, Some(5));
        assert_eq!(USDM.limits().streams_per_connection, Some(200));
        assert_eq!(USDM.limits().messages_per_second, Some(10));
        assert_eq!(USDM.limits().connects, Some((300, Duration::from_secs(300))));
        assert_eq!(SPOT.limits().connection_age_max, Some(Duration::from_secs(86_400)));
        assert!(matches!(SPOT.heartbeat(), Heartbeat::ServerPing { interval, .. } if interval.as_secs() == 20));
        assert!(matches!(USDM.heartbeat(), Heartbeat::ServerPing { interval, .. } if interval.as_secs() == 180));
    }
}
