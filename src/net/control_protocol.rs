//! What is said on the control socket: one JSON object a line, in both directions.
//!
//! ```text
//! client ──► {"command":"rotate","connection":"binance-spot-a"}
//!        ◄── {"ok":true, ...}   or   {"ok":false,"error":"..","allowed":".."}
//! client ──► {"command":"events","follow":true}
//!        ◄── {"ok":true, ...}
//!        ◄── {"event":{ ... }}      one a line, until the client goes
//!        ◄── {"events_lost":17}     where the client was too slow to be told of all
//! ```
//! Reads and writes text; opens nothing. A request that is wrong gets an answer that says what is allowed.

use crate::limits::BOOK_LEVEL_COUNT_MAX;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Every command, for the answers that name them.
const COMMANDS: &str =
    "status, book, subscribe, unsubscribe, add, remove, send, broadcast, reconnect, rotate, reload or events";

/// Levels a side that a book may be asked for.
const BOOK_DEPTH_ALLOWED: &str = "1 to 10000 levels a side";
const _: () = assert!(BOOK_LEVEL_COUNT_MAX == 10_000, "the answer above names it");

/// Something asked of a running engine.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// Everything there is to know.
    Status {},
    /// One book as it is now.
    Book {
        /// The venue.
        venue: String,
        /// The native name.
        symbol: String,
        /// Levels a side, at most.
        depth: usize,
    },
    /// Subscribes every channel for every symbol on a connection.
    Subscribe {
        /// Its name.
        connection: String,
        /// Channels, in the venue's words.
        channels: Vec<String>,
        /// Native names; empty where every channel is for the whole market.
        #[serde(default)]
        symbols: Vec<String>,
    },
    /// Takes every channel for every symbol off a connection.
    Unsubscribe {
        /// Its name.
        connection: String,
        /// Channels, in the venue's words.
        channels: Vec<String>,
        /// Native names; empty where every channel is for the whole market.
        #[serde(default)]
        symbols: Vec<String>,
    },
    /// Opens the connections of an exchange file. One of the two is given.
    Add {
        /// The file's text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        toml: Option<String>,
        /// The file's path, as the engine sees it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// Closes a connection for good.
    Remove {
        /// Its name.
        connection: String,
    },
    /// Sends a text on a connection.
    Send {
        /// Its name.
        connection: String,
        /// The text, as it goes out.
        text: String,
    },
    /// Sends a text on every connection that is ready.
    Broadcast {
        /// The text, as it goes out.
        text: String,
        /// Only those of this venue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        venue: Option<String>,
    },
    /// Drops a connection and makes it again.
    Reconnect {
        /// Its name.
        connection: String,
    },
    /// Replaces a connection's socket without a gap.
    Rotate {
        /// Its name.
        connection: String,
    },
    /// Reads the configuration's files again, and applies what differs. Instrument lists are asked for again where books are kept.
    Reload {
        /// Only tells what differs.
        #[serde(default)]
        dry_run: bool,
    },
    /// The last events; with `follow` those to come as well, one a line.
    Events {
        /// Goes on until the client goes.
        #[serde(default)]
        follow: bool,
    },
}

impl ControlRequest {
    /// Reads one line.
    ///
    /// # Errors
    /// The answer that says what is wrong with it and what is allowed.
    pub fn parse(line: &[u8]) -> Result<Self, ControlResponse> {
        let text = std::str::from_utf8(line)
            .map_err(|error| ControlResponse::refused(format!("no UTF-8: {error}"), "one JSON object a line"))?;
        let allowed = format!("{{\"command\":C, ...}} with C one of {COMMANDS}");
        let request: Self = serde_json::from_str(text).map_err(|error| {
            // serde counts lines; there is one.
            let what = error.to_string();
            ControlResponse::refused(what.split(" at line ").next().unwrap_or(&what), allowed)
        })?;
        match request.fault() {
            Some((error, allowed)) => Err(ControlResponse::refused(error, allowed)),
            None => Ok(request),
        }
    }

    /// What the types cannot say.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Add { toml, file } if toml.is_some() == file.is_some() => {
                Some(("`add` with both or none of `toml` and `file`", "one of the two"))
            }
            Self::Book { depth, .. } if !(1..=BOOK_LEVEL_COUNT_MAX).contains(depth) => {
                Some(("a depth out of its range", BOOK_DEPTH_ALLOWED))
            }
            Self::Subscribe { channels, .. } | Self::Unsubscribe { channels, .. } if channels.is_empty() => {
                Some(("no channel", "at least one channel, in the venue's words"))
            }
            Self::Send { text, .. } | Self::Broadcast { text, .. } if text.is_empty() => {
                Some(("an empty text", "the text to send"))
            }
            _ => None,
        }
    }

    /// The line that asks it, with its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("texts and flags are always JSON") + "\n"
    }
}

/// What a running engine answers.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlResponse {
    /// Done; with what there is to tell.
    Done(Map<String, Value>),
    /// Not done.
    Refused {
        /// What is wrong.
        error: String,
        /// What is allowed instead; empty where that helps nobody.
        allowed: String,
    },
}

impl ControlResponse {
    /// Done, with nothing to tell.
    #[must_use]
    pub fn done() -> Self {
        Self::Done(Map::new())
    }

    /// Done, with the fields of this value; a value that is no object is told as `result`.
    #[must_use]
    pub fn with(value: &impl Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(Value::Object(fields)) => Self::Done(fields),
            Ok(other) => Self::Done(Map::from_iter([("result".to_owned(), other)])),
            Err(error) => Self::refused(format!("the answer is no JSON: {error}"), ""),
        }
    }

    /// Not done.
    #[must_use]
    pub fn refused(error: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self::Refused { error: error.into(), allowed: allowed.into() }
    }

    /// Reads one line.
    ///
    /// # Errors
    /// Why it is no answer.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut fields: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        match fields.remove("ok") {
            Some(Value::Bool(true)) => Ok(Self::Done(fields)),
            Some(Value::Bool(false)) => {
                let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                Ok(Self::Refused { error: text("error"), allowed: text("allowed") })
            }
            _ => Err("no `ok` in it".to_owned()),
        }
    }

    /// The line that says it, with its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let value = match self {
            Self::Done(fields) => {
                let mut fields = fields.clone();
                fields.insert("ok".to_owned(), Value::Bool(true));
                Value::Object(fields)
            }
            Self::Refused { error, allowed } if allowed.is_empty() => json!({ "ok": false, "error": error }),
            Self::Refused { error, allowed } => json!({ "ok": false, "error": error, "allowed": allowed }),
        };
        value.to_string() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn parse(line: &str) -> Result<ControlRequest, ControlResponse> {
        ControlRequest::parse(line.as_bytes())
    }

    #[test]
    fn every_command_is_read_as_it_is_written() {
        let connection = || "a".to_owned();
        let (channels, symbols) = (vec!["trade".to_owned()], vec!["BTCUSDT".to_owned()]);
        for request in [
            ControlRequest::Status {},
            ControlRequest::Book { venue: "binance-spot".into(), symbol: "BTCUSDT".into(), depth: 5 },
            ControlRequest::Subscribe {
                connection: connection(),
                channels: channels.clone(),
                symbols: symbols.clone(),
            },
            ControlRequest::Unsubscribe { connection: connection(), channels, symbols },
            ControlRequest::Add { toml: Some("a\nb".into()), file: None },
            ControlRequest::Add { toml: None, file: Some("/x.toml".into()) },
            ControlRequest::Remove { connection: connection() },
            ControlRequest::Send { connection: connection(), text: "{\"op\":\"ping\"}".into() },
            ControlRequest::Broadcast { text: "x".into(), venue: Some("bybit-spot".into()) },
            ControlRequest::Broadcast { text: "x".into(), venue: None },
            ControlRequest::Reconnect { connection: connection() },
            ControlRequest::Rotate { connection: connection() },
            ControlRequest::Reload { dry_run: true },
            ControlRequest::Events { follow: true },
        ] {
            let line = request.to_line();
            assert_eq!(line.matches('\n').count(), 1, "one line: {line}");
            assert_eq!(parse(line.trim_end()), Ok(request), "{line}");
        }
        assert_eq!(parse(r#"{"command":"reload"}"#), Ok(ControlRequest::Reload { dry_run: false }));
        assert_eq!(parse(r#"{"command":"events"}"#), Ok(ControlRequest::Events { follow: false }));
    }

    #[test]
    fn what_is_no_command_is_answered_with_what_is_wrong_and_what_is_allowed() {
        for (line, error, allowed) in [
            ("", "EOF while parsing", "status, book, subscribe"),
            ("status", "expected value", "one of status"),
            ("[]", "", "\"command\""),
            ("{}", "missing field `command`", "one of status"),
            (r#"{"command":"stop"}"#, "unknown variant `stop`", "reload or events"),
            (r#"{"command":"rotate"}"#, "missing field `connection`", ""),
            (r#"{"command":"rotate","connection":"a","now":true}"#, "unknown field `now`", ""),
            (r#"{"command":"status","all":1}"#, "unknown field `all`", ""),
            (r#"{"command":"add"}"#, "both or none", "one of the two"),
            (r#"{"command":"add","toml":"","file":""}"#, "both or none", "one of the two"),
            (r#"{"command":"subscribe","connection":"a","channels":[]}"#, "no channel", "at least one"),
            (r#"{"command":"send","connection":"a","text":""}"#, "an empty text", ""),
            (r#"{"command":"book","venue":"binance-spot","symbol":"X","depth":0}"#, "a depth", "1 to 10000 levels"),
            (r#"{"command":"book","venue":"binance-spot","symbol":"X","depth":10001}"#, "a depth", "1 to 10000 levels"),
            (r#"{"command":"book","venue":"binance-spot"}"#, "missing field `symbol`", ""),
        ] {
            let Err(ControlResponse::Refused { error: found, allowed: told }) = parse(line) else { panic!("{line}") };
            assert!(found.contains(error) && told.contains(allowed), "{line}: {found}; {told}");
        }
        let Err(response) = ControlRequest::parse(b"{\"command\":\"\xff\"}") else { panic!("no UTF-8") };
        assert!(response.to_line().contains("no UTF-8"), "{response:?}");
        assert!(parse(&"[".repeat(100_000)).is_err(), "depth is bounded");
    }

    #[test]
    fn an_answer_is_one_object_on_one_line() {
        let done = ControlResponse::with(&json!({ "text": "a\nb", "n": 1 }));
        assert_eq!(done.to_line(), "{\"n\":1,\"ok\":true,\"text\":\"a\\nb\"}\n");
        assert_eq!(ControlResponse::parse(&done.to_line()), Ok(done));
        assert_eq!(ControlResponse::with(&7).to_line(), "{\"ok\":true,\"result\":7}\n");
        let refused = ControlResponse::refused("no such connection", "a, b");
        assert_eq!(ControlResponse::parse(&refused.to_line()), Ok(refused));
        assert!(!ControlResponse::refused("x", "").to_line().contains("allowed"));
        assert!(ControlResponse::parse("{}").is_err() && ControlResponse::parse("garbage").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Err(response) = ControlRequest::parse(&bytes) {
                let line = response.to_line();
                prop_assert_eq!(line.matches('\n').count(), 1);
                prop_assert!(ControlResponse::parse(&line).is_ok());
            }
        }
    }
}
