//! Binance's protocol as the embedded exchange reads it: paths, stream names, commands. Spot and USD-M futures.
//!
//! ```text
//! GET /ws/<stream>  /stream?streams=a/b  ──► Session ◄── {"method":"SUBSCRIBE","params":[..],"id":1}
//!                                              └──► reply, streams added, streams removed
//! ```
//! Called by a connection for its upgrade and for each text message. Does no I/O.
//!
//! Source: binance-spot-api-docs, web-socket-streams.md (2026-07-21); USD-M: "Important WebSocket Change Notice"
//! (2026-03-06).

use super::faults::names;
use super::line::Channel;
use super::protocol::{Outcome, quoted};
use super::stats::Violation;
use super::text::percent_decoded;
use crate::market::{KlineInterval, Venue};
use serde_json::Value;
use std::collections::BTreeSet;

/// Streams one connection may have on spot.
pub(super) const STREAM_COUNT_MAX: usize = 1024;
/// On USD-M the documentation says 1024 on one page and 200 on another; a client does well to keep to the lower.
const USDM_STREAM_COUNT_MAX: usize = 200;

/// The class of data a USD-M path carries. The wrong class is acknowledged and silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    /// Spot: everything.
    All,
    /// `/public`, and paths without a class: books, quotes, trades.
    Public,
    /// `/market`: everything else.
    Market,
}

impl Class {
    /// Whether a connection of this class hears `stream`.
    pub(super) fn carries(self, stream: &str) -> bool {
        let is_public = stream == "!bookTicker"
            || stream.split_once('@').is_some_and(|(_, channel)| {
                channel == "bookTicker"
                    || channel == "trade"
                    || channel.starts_with("depth")
                    || channel.starts_with("rpiDepth")
            });
        match self {
            Self::All => true,
            Self::Public => is_public,
            Self::Market => !is_public,
        }
    }
}

/// One connection's state on the venue's side.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) class: Class,
    pub(super) is_combined: bool,
    /// Times in microseconds (`timeUnit=MICROSECOND`, spot).
    pub(super) is_microseconds: bool,
    pub(super) streams: BTreeSet<String>,
    /// Streams this connection may have.
    pub(super) stream_count_max: usize,
}

impl Session {
    /// Opens a session from the request's path and query; `None` where the venue answers 404.
    pub(super) fn open(venue: Venue, path: &str, query: Option<&str>) -> Option<Self> {
        let (class, path) = match venue {
            Venue::BinanceSpot => (Class::All, path),
            _ => match (path.strip_prefix("/public"), path.strip_prefix("/market")) {
                (Some(rest), _) => (Class::Public, rest),
                (_, Some(rest)) => (Class::Market, rest),
                _ => (Class::Public, path),
            },
        };
        let stream_count_max = if venue == Venue::BinanceSpot { STREAM_COUNT_MAX } else { USDM_STREAM_COUNT_MAX };
        let mut session =
            Self { class, is_combined: false, is_microseconds: false, streams: BTreeSet::new(), stream_count_max };
        match path.trim_end_matches('/') {
            "/ws" => {}
            "/stream" => session.is_combined = true,
            path => {
                let streams = path.strip_prefix("/ws/")?;
                session.add_path_streams(streams)?;
            }
        }
        for parameter in query.unwrap_or("").split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=')? {
                ("streams", streams) if session.is_combined => session.add_path_streams(streams)?,
                ("timeUnit", unit) if venue == Venue::BinanceSpot => {
                    session.is_microseconds = unit.eq_ignore_ascii_case("microsecond");
                }
                _ => {}
            }
        }
        (session.streams.len() <= stream_count_max).then_some(session)
    }

    fn add_path_streams(&mut self, streams: &str) -> Option<()> {
        for stream in streams.split('/').filter(|stream| !stream.is_empty()) {
            self.streams.insert(percent_decoded(stream)?);
        }
        Some(())
    }

    /// Answers one text message. A subscribe that names one of `bad_streams` (streams or symbols) is refused whole.
    pub(super) fn handle(&mut self, text: &str, bad_streams: &[String]) -> Outcome {
        let request: Value = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(error) => {
                return Outcome::error(format!(r#"{{"code":3,"msg":{}}}"#, quoted(&format!("Invalid JSON: {error}"))));
            }
        };
        let id = request.get("id");
        let malformed = |what: &str| {
            let id = id.map(|id| format!(r#","id":{id}"#)).unwrap_or_default();
            Outcome::error(format!(r#"{{"code":2,"msg":{}{id}}}"#, quoted(&format!("Invalid request: {what}"))))
        };
        let Some(method) = request.get("method") else { return malformed("missing field `method`") };
        let Some(id) = id else { return malformed("missing field `id`") };
        if !is_request_id(id) {
            return Outcome::error(
                r#"{"code":2,"msg":"Invalid request: request ID must be an integer, a string of up to 36 characters, or null"}"#
                    .into(),
            );
        }
        match method.as_str() {
            Some("SUBSCRIBE") => match stream_names(&request) {
                Err(what) => malformed(&what),
                Ok(names) => self.subscribe(names, id, bad_streams, malformed),
            },
            Some("UNSUBSCRIBE") => match stream_names(&request) {
                Err(what) => malformed(&what),
                Ok(names) => {
                    let removed = names.into_iter().filter(|name| self.streams.remove(name)).collect();
                    Outcome { removed, ..Outcome::reply(format!(r#"{{"result":null,"id":{id}}}"#)) }
                }
            },
            Some("LIST_SUBSCRIPTIONS") => {
                let list = serde_json::to_string(&self.streams).expect("strings are JSON");
                Outcome::reply(format!(r#"{{"result":{list},"id":{id}}}"#))
            }
            Some("SET_PROPERTY") => self.set_property(&request, id, malformed),
            Some("GET_PROPERTY") => match request.pointer("/params/0").and_then(Value::as_str) {
                Some("combined") => Outcome::reply(format!(r#"{{"result":{},"id":{id}}}"#, self.is_combined)),
                Some(_) => unknown_property(id),
                None => malformed("missing field `params`"),
            },
            _ => malformed(&format!(
                "unknown variant {method}, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
            )),
        }
    }

    fn subscribe(
        &mut self,
        asked: Vec<String>,
        id: &Value,
        bad_streams: &[String],
        malformed: impl Fn(&str) -> Outcome,
    ) -> Outcome {
        if let Some(bad) = asked.iter().find(|stream| bad_streams.iter().any(|bad| bad == "*" || names(stream, bad))) {
            let refused = malformed(&format!("unknown stream `{bad}`"));
            return Outcome { is_subscribe: true, is_bad_stream: true, ..refused };
        }
        let new = asked.iter().filter(|name| !self.streams.contains(*name)).collect::<BTreeSet<_>>().len();
        if self.streams.len() + new > self.stream_count_max {
            let (total, most) = (self.streams.len() + new, self.stream_count_max);
            let refused = malformed(&format!("too many parameters: {total} streams on one connection, at most {most}"));
            return Outcome { is_subscribe: true, violation: Some(Violation::StreamsPerConnection), ..refused };
        }
        // A second subscription to the same stream is accepted and changes nothing.
        let asked_count = asked.len();
        let added: Vec<String> = asked.into_iter().filter(|name| self.streams.insert(name.clone())).collect();
        let duplicates = (asked_count - added.len()) as u64;
        Outcome { added, duplicates, is_subscribe: true, ..Outcome::reply(format!(r#"{{"result":null,"id":{id}}}"#)) }
    }

    fn set_property(&mut self, request: &Value, id: &Value, malformed: impl Fn(&str) -> Outcome) -> Outcome {
        match (request.pointer("/params/0").and_then(Value::as_str), request.pointer("/params/1")) {
            (Some("combined"), Some(Value::Bool(combined))) => {
                self.is_combined = *combined;
                Outcome::reply(format!(r#"{{"result":null,"id":{id}}}"#))
            }
            (Some("combined"), Some(_)) => {
                Outcome::error(format!(r#"{{"code":1,"msg":"Invalid value type: expected Boolean","id":{id}}}"#))
            }
            (Some(_), _) => unknown_property(id),
            (None, _) => malformed("missing field `params`"),
        }
    }
}

fn unknown_property(id: &Value) -> Outcome {
    Outcome::error(format!(r#"{{"code":0,"msg":"Unknown property","id":{id}}}"#))
}

/// A signed 64-bit integer, an alphanumeric string of at most 36 characters, or null.
fn is_request_id(id: &Value) -> bool {
    match id {
        Value::Null => true,
        Value::Number(number) => number.is_i64(),
        Value::String(text) => {
            text.len() <= 36 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        }
        _ => false,
    }
}

fn stream_names(request: &Value) -> Result<Vec<String>, String> {
    let params = request.get("params").ok_or("missing field `params`")?;
    let params = params.as_array().filter(|params| !params.is_empty()).ok_or("params must be a list of streams")?;
    params
        .iter()
        .map(|name| name.as_str().map(str::to_owned).ok_or_else(|| format!("stream name must be a string, not {name}")))
        .collect()
}

/// What a stream's name asks for: the symbol in upper case, if it is of one symbol, and the channel. `None` for a stream
/// this exchange has nothing to say on: it is acknowledged and stays silent, as on the venue.
pub(super) fn parse_stream(venue: Venue, stream: &str) -> Option<(Option<String>, Channel)> {
    let is_futures = venue == Venue::BinanceUsdm;
    match stream {
        "!bookTicker" if is_futures => return Some((None, Channel::AllQuotes)),
        "!ticker@arr" if is_futures => return Some((None, Channel::AllTickers)),
        "!markPrice@arr" | "!markPrice@arr@1s" if is_futures => return Some((None, Channel::AllMarks)),
        "!forceOrder@arr" if is_futures => return Some((None, Channel::AllLiquidations)),
        _ => {}
    }
    let (symbol, channel) = stream.split_once('@')?;
    if symbol != symbol.to_lowercase() {
        // The venue knows lower-case names only.
        return None;
    }
    let channel = match channel {
        "trade" => Channel::Trade,
        "aggTrade" => Channel::AggTrade,
        "bookTicker" => Channel::Quote,
        "ticker" => Channel::Ticker,
        "depth" | "depth@100ms" => Channel::Delta,
        "depth@0ms" | "depth@500ms" if is_futures => Channel::Delta,
        "markPrice" | "markPrice@1s" if is_futures => Channel::MarkPrice,
        "forceOrder" if is_futures => Channel::Liquidation,
        channel => match channel.strip_prefix("kline_") {
            Some(interval) => Channel::Kline(parse_interval(venue, interval.trim_end_matches("@+08:00"))?),
            None => Channel::Partial(parse_partial(venue, channel.strip_prefix("depth")?)?),
        },
    };
    Some((Some(symbol.to_uppercase()), channel))
}

fn parse_partial(venue: Venue, text: &str) -> Option<u16> {
    let (levels, speed) = text.split_once('@').map_or((text, ""), |(levels, speed)| (levels, speed));
    let is_known = match venue {
        Venue::BinanceSpot => ["", "100ms", "1000ms"].contains(&speed),
        _ => ["", "100ms", "250ms", "500ms"].contains(&speed),
    };
    let levels = levels.parse().ok()?;
    (is_known && [5, 10, 20].contains(&levels)).then_some(levels)
}

fn parse_interval(venue: Venue, text: &str) -> Option<KlineInterval> {
    Some(match text {
        "1s" if venue == Venue::BinanceSpot => KlineInterval::Seconds(1),
        "1m" => KlineInterval::Minutes(1),
        "3m" => KlineInterval::Minutes(3),
        "5m" => KlineInterval::Minutes(5),
        "15m" => KlineInterval::Minutes(15),
        "30m" => KlineInterval::Minutes(30),
        "1h" => KlineInterval::Hours(1),
        "2h" => KlineInterval::Hours(2),
        "4h" => KlineInterval::Hours(4),
        "6h" => KlineInterval::Hours(6),
        "8h" => KlineInterval::Hours(8),
        "12h" => KlineInterval::Hours(12),
        "1d" => KlineInterval::Days(1),
        "3d" => KlineInterval::Days(3),
        "1w" => KlineInterval::Weeks(1),
        "1M" => KlineInterval::Months(1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot() -> Session {
        Session::open(Venue::BinanceSpot, "/ws", None).unwrap()
    }

    #[test]
    fn the_path_chooses_form_class_and_streams() {
        let session =
            Session::open(Venue::BinanceSpot, "/stream", Some("streams=a@trade/b@trade&timeUnit=microsecond"));
        let session = session.unwrap();
        assert!(session.is_combined && session.is_microseconds);
        assert_eq!(session.streams.into_iter().collect::<Vec<_>>(), ["a@trade", "b@trade"]);
        let raw = Session::open(Venue::BinanceSpot, "/ws/btcusdt@trade", None).unwrap();
        assert!(!raw.is_combined && raw.streams.contains("btcusdt@trade"));
        let market = Session::open(Venue::BinanceUsdm, "/market/stream", None).unwrap();
        assert_eq!(market.class, Class::Market);
        assert_eq!(Session::open(Venue::BinanceUsdm, "/ws", None).unwrap().class, Class::Public);
        for path in ["/", "/wss", "/v5/public/spot", "/public/ws"] {
            assert!(Session::open(Venue::BinanceSpot, path, None).is_none(), "{path}");
        }
    }

    #[test]
    fn a_class_carries_its_own_streams_only() {
        for (stream, is_public) in [
            ("btcusdt@bookTicker", true),
            ("!bookTicker", true),
            ("btcusdt@depth20@100ms", true),
            ("btcusdt@trade", true),
            ("btcusdt@aggTrade", false),
            ("btcusdt@kline_1m", false),
            ("!markPrice@arr", false),
        ] {
            assert_eq!(Class::Public.carries(stream), is_public, "{stream}");
            assert_eq!(Class::Market.carries(stream), !is_public, "{stream}");
            assert!(Class::All.carries(stream));
        }
    }

    #[test]
    fn commands_are_acknowledged_with_their_id_in_every_documented_form() {
        let mut session = spot();
        let outcome = session.handle(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","nobody@trade"],"id":1}"#, &[]);
        assert_eq!(outcome.reply, r#"{"result":null,"id":1}"#);
        assert_eq!(outcome.added, ["btcusdt@trade", "nobody@trade"]);
        let again = session.handle(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":"abc"}"#, &[]);
        assert_eq!((again.reply.as_str(), again.added.len()), (r#"{"result":null,"id":"abc"}"#, 0));
        let list = session.handle(r#"{"method":"LIST_SUBSCRIPTIONS","id":null}"#, &[]);
        assert_eq!(list.reply, r#"{"result":["btcusdt@trade","nobody@trade"],"id":null}"#);
        let removed = session.handle(r#"{"method":"UNSUBSCRIBE","params":["nobody@trade","x"],"id":-5}"#, &[]);
        assert_eq!(
            (removed.reply.as_str(), removed.removed),
            (r#"{"result":null,"id":-5}"#, vec!["nobody@trade".into()])
        );
        assert_eq!(
            session.handle(r#"{"method":"SET_PROPERTY","params":["combined",true],"id":5}"#, &[]).reply,
            r#"{"result":null,"id":5}"#
        );
        assert_eq!(
            session.handle(r#"{"method":"GET_PROPERTY","params":["combined"],"id":2}"#, &[]).reply,
            r#"{"result":true,"id":2}"#
        );
    }

    #[test]
    fn bad_requests_get_the_documented_code() {
        for (request, start) in [
            ("not json", r#"{"code":3,"msg":"Invalid JSON"#),
            (r#"{"params":["a"],"id":1}"#, r#"{"code":2,"msg":"Invalid request: missing field `method`","id":1}"#),
            (r#"{"method":"SUBSCRIBE","params":["a"]}"#, r#"{"code":2,"msg":"Invalid request: missing field `id`"}"#),
            (
                r#"{"method":"SUBSCRIBE","id":1}"#,
                r#"{"code":2,"msg":"Invalid request: missing field `params`","id":1}"#,
            ),
            (r#"{"method":"SUBSCRIBE","params":[5],"id":1}"#, r#"{"code":2,"#),
            (r#"{"method":"SUBSCRIBE","params":["a"],"id":1.5}"#, r#"{"code":2,"#),
            (r#"{"method":"BUY","params":["a"],"id":1}"#, r#"{"code":2,"#),
            (
                r#"{"method":"SET_PROPERTY","params":["colour",true],"id":1}"#,
                r#"{"code":0,"msg":"Unknown property","id":1}"#,
            ),
            (
                r#"{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}"#,
                r#"{"code":1,"msg":"Invalid value type: expected Boolean","id":1}"#,
            ),
        ] {
            let outcome = spot().handle(request, &[]);
            assert!(outcome.is_error && outcome.reply.starts_with(start), "{request}: {}", outcome.reply);
            assert!(serde_json::from_str::<Value>(&outcome.reply).is_ok(), "{}", outcome.reply);
        }
    }

    #[test]
    fn the_1025th_stream_is_refused_with_its_whole_request() {
        let mut session = spot();
        let names: Vec<_> = (0..1_024).map(|n| format!("s{n}@trade")).collect();
        let request = serde_json::json!({"method": "SUBSCRIBE", "params": names, "id": 1}).to_string();
        assert!(!session.handle(&request, &[]).is_error);
        let over = session.handle(r#"{"method":"SUBSCRIBE","params":["a@trade"],"id":2}"#, &[]);
        assert!(over.is_error && over.reply.contains("1025 streams") && over.added.is_empty(), "{}", over.reply);
        assert_eq!(session.streams.len(), STREAM_COUNT_MAX);
    }

    #[test]
    fn a_live_stream_asked_for_again_is_counted_and_a_bad_one_refuses_its_request() {
        let mut session = spot();
        let ask = r#"{"method":"SUBSCRIBE","params":["a@trade","b@trade","a@trade"],"id":1}"#;
        assert_eq!(session.handle(ask, &[]).duplicates, 1);
        assert_eq!(session.handle(ask, &[]).duplicates, 3);
        let refused =
            session.handle(r#"{"method":"SUBSCRIBE","params":["c@trade","bad@trade"],"id":2}"#, &["BAD".into()]);
        assert!(refused.is_error && refused.is_subscribe, "{}", refused.reply);
        assert_eq!(refused.reply, r#"{"code":2,"msg":"Invalid request: unknown stream `bad@trade`","id":2}"#);
        assert_eq!(session.streams.len(), 2);
    }

    #[test]
    fn usdm_takes_200_streams_a_connection() {
        let mut session = Session::open(Venue::BinanceUsdm, "/public/ws", None).unwrap();
        let names: Vec<_> = (0..201).map(|n| format!("s{n}@trade")).collect();
        let request = serde_json::json!({"method": "SUBSCRIBE", "params": names, "id": 1}).to_string();
        assert_eq!(session.handle(&request, &[]).violation, Some(Violation::StreamsPerConnection));
    }

    #[test]
    fn stream_names_say_symbol_and_channel() {
        let parse = |name: &str| parse_stream(Venue::BinanceSpot, name);
        assert_eq!(parse("btcusdt@depth@100ms"), Some((Some("BTCUSDT".into()), Channel::Delta)));
        assert_eq!(parse("btcusdt@depth20@100ms"), Some((Some("BTCUSDT".into()), Channel::Partial(20))));
        assert_eq!(parse("btcusdt@kline_1M"), Some((Some("BTCUSDT".into()), Channel::Kline(KlineInterval::Months(1)))));
        for unknown in
            ["BTCUSDT@trade", "btcusdt", "btcusdt@depth7", "btcusdt@depth@0ms", "btcusdt@markPrice", "!bookTicker"]
        {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
        assert_eq!(parse_stream(Venue::BinanceUsdm, "!bookTicker"), Some((None, Channel::AllQuotes)));
    }
}
