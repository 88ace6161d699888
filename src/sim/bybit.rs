//! Bybit's v5 protocol as the embedded exchange reads it: paths, topics, operations. Spot and linear.
//!
//! ```text
//! GET /v5/public/spot|linear ──► Session ◄── {"req_id":"1","op":"subscribe","args":[..]}
//!                                   └──► reply in the category's own form, topics added, topics removed
//! ```
//! Called by a connection for its upgrade and for each text message. Does no I/O.
//!
//! Source: bybit-exchange/docs v5/websocket (2026-07-24); the whole-request refusal: ccxt issue 30284 (2026-09).

use super::faults::names;
use super::line::Channel;
use super::protocol::{Outcome, quoted};
use super::stats::Violation;
use crate::market::{KlineInterval, Venue};
use serde_json::Value;
use std::collections::BTreeSet;

/// Characters all topics of one connection may have together.
pub(super) const ARGS_CHARACTERS_MAX: usize = 21_000;
/// Topics one subscribe request may name on spot.
pub(super) const SPOT_ARGS_MAX: usize = 10;

/// One connection's state on the venue's side.
#[derive(Clone, Debug)]
pub(super) struct Session {
    venue: Venue,
    connection_id: String,
    pub(super) topics: BTreeSet<String>,
}

impl Session {
    /// Opens a session; `None` where the venue answers 404.
    pub(super) fn open(venue: Venue, path: &str, connection_id: String) -> Option<Self> {
        let expected = if venue == Venue::BybitSpot { "/v5/public/spot" } else { "/v5/public/linear" };
        (path == expected).then(|| Self { venue, connection_id, topics: BTreeSet::new() })
    }

    /// Answers one text message. `is_topic` says whether the exchange serves a topic; a subscribe that names one of
    /// `bad_topics` (topics or symbols) is refused like one that it does not serve.
    pub(super) fn handle(&mut self, text: &str, bad_topics: &[String], is_topic: impl Fn(&str) -> bool) -> Outcome {
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return self.answer(false, "error:invalid json", None, "");
        };
        let request_id = request.get("req_id").and_then(Value::as_str);
        match request.get("op").and_then(Value::as_str) {
            // Spot echoes no id in a pong.
            Some("ping") if self.venue == Venue::BybitSpot => self.answer(true, "pong", None, "ping"),
            Some("ping") => self.answer(true, "pong", request_id, "ping"),
            Some("subscribe") => {
                let outcome = self.subscribe(&request, request_id, bad_topics, is_topic);
                Outcome { is_subscribe: true, ..outcome }
            }
            Some("unsubscribe") => match topics_of(&request) {
                None => self.answer(false, "error:args must be a list of topics", request_id, "unsubscribe"),
                Some(topics) => {
                    let removed =
                        topics.iter().filter(|topic| self.topics.remove(**topic)).map(|&t| t.into()).collect();
                    Outcome {
                        removed,
                        ..self.answer(true, self.success_text("unsubscribe"), request_id, "unsubscribe")
                    }
                }
            },
            Some(op) => self.answer(false, &format!("error:unknown op,op:{op}"), request_id, op),
            None => self.answer(false, "error:op is missing", request_id, ""),
        }
    }

    /// One bad topic refuses the whole request.
    fn subscribe(
        &mut self,
        request: &Value,
        request_id: Option<&str>,
        bad_topics: &[String],
        is_topic: impl Fn(&str) -> bool,
    ) -> Outcome {
        let refuse = |why: &str| self.answer(false, why, request_id, "subscribe");
        let Some(topics) = topics_of(request) else { return refuse("error:args must be a list of topics") };
        if self.venue == Venue::BybitSpot && topics.len() > SPOT_ARGS_MAX {
            return Outcome { violation: Some(Violation::ArgsPerRequest), ..refuse("error:args size >10") };
        }
        let (mut seen, mut first_duplicate, mut duplicates) = (BTreeSet::new(), None, 0);
        for &topic in &topics {
            let is_bad_stream = bad_topics.iter().any(|bad| bad == "*" || names(topic, bad));
            if is_bad_stream || !is_topic(topic) {
                let refused = refuse(&format!("error:handler not found,topic:{topic}"));
                return Outcome { is_bad_stream, ..refused };
            }
            if self.topics.contains(topic) || !seen.insert(topic) {
                first_duplicate.get_or_insert(topic);
                duplicates += 1;
            }
        }
        if let Some(topic) = first_duplicate {
            return Outcome { duplicates, ..refuse(&format!("error:already subscribed,topic:{topic}")) };
        }
        let characters: usize = self.topics.iter().map(String::len).chain(topics.iter().map(|topic| topic.len())).sum();
        if characters > ARGS_CHARACTERS_MAX {
            let refused = refuse(&format!("error:args of {characters} characters, at most {ARGS_CHARACTERS_MAX}"));
            return Outcome { violation: Some(Violation::ArgsCharacters), ..refused };
        }
        let added: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        self.topics.extend(added.iter().cloned());
        Outcome { added, ..self.answer(true, self.success_text("subscribe"), request_id, "subscribe") }
    }

    /// Spot repeats the operation where linear leaves the text empty.
    fn success_text(&self, op: &'static str) -> &'static str {
        if self.venue == Venue::BybitSpot { op } else { "" }
    }

    fn answer(&self, success: bool, message: &str, request_id: Option<&str>, op: &str) -> Outcome {
        // Linear always has `req_id`, empty if the request had none; spot only where the request had one.
        let request_id = match request_id {
            Some(id) => format!(r#""req_id":{},"#, quoted(id)),
            None if self.venue == Venue::BybitLinear => r#""req_id":"","#.to_owned(),
            None => String::new(),
        };
        let reply = format!(
            r#"{{"success":{success},"ret_msg":{},"conn_id":"{}",{request_id}"op":{}}}"#,
            quoted(message),
            self.connection_id,
            quoted(op)
        );
        if success { Outcome::reply(reply) } else { Outcome::error(reply) }
    }
}

fn topics_of(request: &Value) -> Option<Vec<&str>> {
    let args = request.get("args")?.as_array()?;
    if args.is_empty() {
        return None;
    }
    args.iter().map(Value::as_str).collect()
}

/// What a topic asks for: symbol and channel; `None` if the venue has no handler for it.
pub(super) fn parse_topic(venue: Venue, topic: &str) -> Option<(&str, Channel)> {
    let (kind, rest) = topic.split_once('.')?;
    let parsed = match kind {
        "publicTrade" => (rest, Channel::Trade),
        "tickers" => (rest, Channel::Ticker),
        "allLiquidation" if venue == Venue::BybitLinear => (rest, Channel::Liquidation),
        "orderbook" => {
            let (depth, symbol) = rest.split_once('.')?;
            let channel = match depth {
                "1" => Channel::Quote,
                "50" | "200" | "1000" => Channel::Book(depth.parse().ok()?),
                _ => return None,
            };
            (symbol, channel)
        }
        "kline" => {
            let (interval, symbol) = rest.split_once('.')?;
            let interval = match interval {
                "1" | "3" | "5" | "15" | "30" => KlineInterval::Minutes(interval.parse().ok()?),
                "60" | "120" | "240" | "360" | "720" => KlineInterval::Hours(interval.parse::<u16>().ok()? / 60),
                "D" => KlineInterval::Days(1),
                "W" => KlineInterval::Weeks(1),
                "M" => KlineInterval::Months(1),
                _ => return None,
            };
            (symbol, Channel::Kline(interval))
        }
        _ => return None,
    };
    (!parsed.0.is_empty()).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(venue: Venue) -> Session {
        let path = if venue == Venue::BybitSpot { "/v5/public/spot" } else { "/v5/public/linear" };
        Session::open(venue, path, "c-1".into()).unwrap()
    }

    fn known(topic: &str) -> bool {
        !topic.contains("NOBODY")
    }

    #[test]
    fn each_category_answers_in_its_own_form() {
        let subscribe = r#"{"req_id":"1","op":"subscribe","args":["publicTrade.BTCUSDT"]}"#;
        let ping = r#"{"req_id":"100001","op":"ping"}"#;
        let (mut spot, mut linear) = (session(Venue::BybitSpot), session(Venue::BybitLinear));
        assert_eq!(
            spot.handle(subscribe, &[], known).reply,
            r#"{"success":true,"ret_msg":"subscribe","conn_id":"c-1","req_id":"1","op":"subscribe"}"#
        );
        assert_eq!(
            linear.handle(subscribe, &[], known).reply,
            r#"{"success":true,"ret_msg":"","conn_id":"c-1","req_id":"1","op":"subscribe"}"#
        );
        assert_eq!(
            spot.handle(ping, &[], known).reply,
            r#"{"success":true,"ret_msg":"pong","conn_id":"c-1","op":"ping"}"#
        );
        assert_eq!(
            linear.handle(r#"{"op":"ping"}"#, &[], known).reply,
            r#"{"success":true,"ret_msg":"pong","conn_id":"c-1","req_id":"","op":"ping"}"#
        );
    }

    #[test]
    fn one_bad_or_duplicate_topic_refuses_the_whole_request() {
        let mut session = session(Venue::BybitLinear);
        let bad = session.handle(r#"{"op":"subscribe","args":["tickers.BTCUSDT","tickers.NOBODY"]}"#, &[], known);
        assert!(bad.is_error && bad.reply.contains("error:handler not found,topic:tickers.NOBODY"), "{}", bad.reply);
        assert!(session.topics.is_empty());
        session.handle(r#"{"op":"subscribe","args":["tickers.BTCUSDT"]}"#, &[], known);
        for args in [r#"["tickers.ETHUSDT","tickers.BTCUSDT"]"#, r#"["tickers.BTCUSDT","tickers.BTCUSDT"]"#] {
            let twice = session.handle(&format!(r#"{{"op":"subscribe","args":{args}}}"#), &[], known);
            assert!(twice.reply.contains("error:already subscribed,topic:tickers.BTCUSDT"), "{}", twice.reply);
        }
        assert_eq!(session.topics.len(), 1);
    }

    #[test]
    fn the_limits_of_each_category_hold() {
        let topics: Vec<_> = (0..11).map(|n| format!("tickers.S{n}USDT")).collect();
        let request = serde_json::json!({"op": "subscribe", "args": topics}).to_string();
        assert!(session(Venue::BybitSpot).handle(&request, &[], known).reply.contains("error:args size >10"));
        assert!(!session(Venue::BybitLinear).handle(&request, &[], known).is_error);
        let long: Vec<_> = (0..700).map(|n| format!("orderbook.50.SYMBOL{n:05}USDT")).collect();
        let request = serde_json::json!({"op": "subscribe", "args": long}).to_string();
        let mut linear = session(Venue::BybitLinear);
        assert!(!linear.handle(&request, &[], known).is_error);
        let over: Vec<_> = (0..100).map(|n| format!("publicTrade.SYMBOL{n:05}USDT")).collect();
        let refused = linear.handle(&serde_json::json!({"op": "subscribe", "args": over}).to_string(), &[], known);
        assert!(refused.is_error && refused.reply.contains("at most 21000"), "{}", refused.reply);
    }

    #[test]
    fn nonsense_is_answered_and_never_believed() {
        for request in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"op":5}"#,
            r#"{"op":"buy"}"#,
            r#"{"op":"subscribe"}"#,
            r#"{"op":"subscribe","args":[1]}"#,
            r#"{"op":"subscribe","args":[]}"#,
        ] {
            let outcome = session(Venue::BybitSpot).handle(request, &[], known);
            assert!(
                outcome.is_error && outcome.reply.starts_with(r#"{"success":false"#),
                "{request}: {}",
                outcome.reply
            );
        }
    }

    #[test]
    fn topics_say_symbol_and_channel() {
        let parse = |topic| parse_topic(Venue::BybitSpot, topic);
        assert_eq!(parse("orderbook.50.BTCUSDT"), Some(("BTCUSDT", Channel::Book(50))));
        assert_eq!(parse("orderbook.1.BTCUSDT"), Some(("BTCUSDT", Channel::Quote)));
        assert_eq!(parse("kline.240.BTCUSDT"), Some(("BTCUSDT", Channel::Kline(KlineInterval::Hours(4)))));
        for bad in
            ["orderbook.500.BTCUSDT", "kline.2.BTCUSDT", "allLiquidation.BTCUSDT", "tickers.", "tickers", "x.BTCUSDT"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
