//! What a venue documents, read a second time: its words and its limits. Nothing here is taken from the code under test.
//!
//! ```text
//! bytes ─► Heard { id, asked: Subscribe | Unsubscribe | Ping | Login }      answer ─► bytes
//! ```
//! Sources: Binance's stream specifications of 2026-07-21 (spot) and 2026-03-06 (USD-M, paths by class); Bybit's
//! documents of 2026-07-24.

use crate::{HOUR, MINUTE, SECOND};
use serde_json::{Value, json};
use tickwire::market::Venue;

/// The key of every account here.
pub(crate) const KEY: &str = "a-key";

/// One kind of socket at one venue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialect {
    BinanceSpot,
    BinanceUsdmPublic,
    BinanceUsdmMarket,
    BybitSpot,
    /// As it was recorded: acks in the order of the requests, without ids.
    BybitSpotWithoutIds,
    BybitLinear,
}

/// Who counts an address's connects and REST weight together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HostName {
    BinanceSpot,
    BinanceUsdm,
    Bybit,
}

/// What a request asks.
#[derive(Debug)]
pub(crate) enum Asked {
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
    Ping,
    /// Good until this time of day, in ms.
    Login {
        expires_ms: i64,
    },
}

/// A request as the venue reads it.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) id: Value,
    pub(crate) asked: Asked,
}

impl Dialect {
    pub(crate) const ALL: [Self; 6] = [
        Self::BinanceSpot,
        Self::BinanceUsdmPublic,
        Self::BinanceUsdmMarket,
        Self::BybitSpot,
        Self::BybitSpotWithoutIds,
        Self::BybitLinear,
    ];

    pub(crate) const fn venue(self) -> Venue {
        match self {
            Self::BinanceSpot => Venue::BinanceSpot,
            Self::BinanceUsdmPublic | Self::BinanceUsdmMarket => Venue::BinanceUsdm,
            Self::BybitSpot | Self::BybitSpotWithoutIds => Venue::BybitSpot,
            Self::BybitLinear => Venue::BybitLinear,
        }
    }

    pub(crate) const fn host(self) -> HostName {
        match self {
            Self::BinanceSpot => HostName::BinanceSpot,
            Self::BinanceUsdmPublic | Self::BinanceUsdmMarket => HostName::BinanceUsdm,
            Self::BybitSpot | Self::BybitSpotWithoutIds | Self::BybitLinear => HostName::Bybit,
        }
    }

    pub(crate) const fn is_binance(self) -> bool {
        matches!(self, Self::BinanceSpot | Self::BinanceUsdmPublic | Self::BinanceUsdmMarket)
    }

    pub(crate) const fn has_ids(self) -> bool {
        !matches!(self, Self::BybitSpotWithoutIds)
    }

    /// Messages a second on one connection, everything counted.
    pub(crate) const fn messages_a_second(self) -> Option<usize> {
        match self {
            Self::BinanceSpot => Some(5),
            Self::BinanceUsdmPublic | Self::BinanceUsdmMarket => Some(10),
            _ => None,
        }
    }

    pub(crate) const fn streams_max(self) -> Option<usize> {
        match self {
            Self::BinanceSpot => Some(1_024),
            Self::BinanceUsdmPublic | Self::BinanceUsdmMarket => Some(200),
            _ => None,
        }
    }

    pub(crate) const fn args_max(self) -> Option<usize> {
        match self {
            Self::BybitSpot | Self::BybitSpotWithoutIds => Some(10),
            _ => None,
        }
    }

    /// Characters of the arguments of one connection together.
    pub(crate) const fn chars_max(self) -> Option<usize> {
        if self.is_binance() { None } else { Some(21_000) }
    }

    /// How long a socket lives, where the venue says so.
    pub(crate) const fn age_max(self) -> Option<u64> {
        if self.is_binance() { Some(24 * HOUR) } else { None }
    }

    /// How often the server sends a ping frame.
    pub(crate) const fn server_ping_every(self) -> Option<u64> {
        match self {
            Self::BinanceSpot => Some(20 * SECOND),
            Self::BinanceUsdmPublic | Self::BinanceUsdmMarket => Some(180 * SECOND),
            _ => None,
        }
    }

    /// After how long without a byte in either direction we must have let go of a socket.
    pub(crate) const fn dead_after(self) -> u64 {
        match self {
            Self::BinanceSpot => MINUTE,
            Self::BinanceUsdmPublic | Self::BinanceUsdmMarket => 10 * MINUTE,
            _ => 30 * SECOND,
        }
    }

    /// The name of a stream. Two classes of data have two kinds of names on USD-M.
    pub(crate) fn stream(self, link: usize, number: usize) -> String {
        match self {
            Self::BinanceSpot | Self::BinanceUsdmPublic => format!("c{link}x{number}usdt@trade"),
            Self::BinanceUsdmMarket => format!("c{link}x{number}usdt@aggTrade"),
            _ => format!("publicTrade.C{link}X{number}USDT"),
        }
    }

    /// Whether a stream of this name comes on this path at all.
    pub(crate) fn carries(self, stream: &str) -> bool {
        match self {
            Self::BinanceUsdmPublic => stream.ends_with("@trade"),
            Self::BinanceUsdmMarket => stream.ends_with("@aggTrade"),
            _ => true,
        }
    }

    /// Reads a request.
    pub(crate) fn read(self, text: &[u8]) -> Heard {
        let request: Value = serde_json::from_slice(text).expect("a request is JSON");
        let (op, args, id) = if self.is_binance() { ("method", "params", "id") } else { ("op", "args", "req_id") };
        let word = request[op].as_str().unwrap_or_else(|| panic!("a request without `{op}`: {request}"));
        let names = || -> Vec<String> {
            let args = request[args].as_array().unwrap_or_else(|| panic!("a request without `{args}`: {request}"));
            args.iter().map(|name| name.as_str().expect("a stream is a text").to_owned()).collect()
        };
        let asked = match (self.is_binance(), word) {
            (true, "SUBSCRIBE") | (false, "subscribe") => Asked::Subscribe(names()),
            (true, "UNSUBSCRIBE") | (false, "unsubscribe") => Asked::Unsubscribe(names()),
            (false, "ping") => Asked::Ping,
            (false, "auth") => {
                assert_eq!(request["args"][0], KEY, "the key that was given");
                let signature = request["args"][2].as_str().expect("a signature is a text");
                assert!(signature.len() == 64 && signature.bytes().all(|digit| digit.is_ascii_hexdigit()));
                Asked::Login { expires_ms: request["args"][1].as_i64().expect("a time in ms") }
            }
            _ => panic!("the venue knows no `{word}`: {request}"),
        };
        Heard { id: request[id].clone(), asked }
    }

    /// The answer to a request.
    pub(crate) fn answer(self, word: &str, id: &Value, outcome: Result<(), String>) -> Vec<u8> {
        let answer = match (self, outcome) {
            (dialect, Ok(())) if dialect.is_binance() => json!({"result": null, "id": id}),
            (dialect, Err(message)) if dialect.is_binance() => json!({"code": 2, "msg": message, "id": id}),
            (Self::BybitSpotWithoutIds, outcome) => json!({
                "success": outcome.is_ok(), "ret_msg": outcome.err().unwrap_or_default(), "conn_id": "c", "op": word
            }),
            (_, outcome) => json!({
                "success": outcome.is_ok(), "ret_msg": outcome.err().unwrap_or_default(), "conn_id": "c",
                "req_id": id, "op": word
            }),
        };
        answer.to_string().into_bytes()
    }

    /// The answer to a ping text.
    pub(crate) fn pong(self) -> Vec<u8> {
        json!({"success": true, "ret_msg": "pong", "conn_id": "c", "op": "ping"}).to_string().into_bytes()
    }

    /// The answer to a login.
    pub(crate) fn login_answer(self, refusal: Option<&str>) -> Vec<u8> {
        json!({"success": refusal.is_none(), "ret_msg": refusal.unwrap_or_default(), "op": "auth", "conn_id": "c"})
            .to_string()
            .into_bytes()
    }

    /// The word that the server is about to go, where the venue has one.
    pub(crate) fn notice(self) -> Option<&'static [u8]> {
        self.is_binance().then_some(br#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#)
    }
}

impl HostName {
    pub(crate) const ALL: [Self; 3] = [Self::BinanceSpot, Self::BinanceUsdm, Self::Bybit];

    pub(crate) const fn stream_host(self) -> &'static str {
        match self {
            Self::BinanceSpot => "stream.binance.com",
            Self::BinanceUsdm => "fstream.binance.com",
            Self::Bybit => "stream.bybit.com",
        }
    }

    pub(crate) const fn rest_host(self) -> &'static str {
        match self {
            Self::BinanceSpot => "api.binance.com",
            Self::BinanceUsdm => "fapi.binance.com",
            Self::Bybit => "api.bybit.com",
        }
    }

    pub(crate) const fn venue(self) -> Venue {
        match self {
            Self::BinanceSpot => Venue::BinanceSpot,
            Self::BinanceUsdm => Venue::BinanceUsdm,
            Self::Bybit => Venue::BybitSpot,
        }
    }

    /// New connections of one address within five minutes.
    pub(crate) const fn connects_max(self) -> u64 {
        match self {
            Self::BinanceSpot | Self::BinanceUsdm => 300,
            Self::Bybit => 500,
        }
    }

    /// REST weight, and the window.
    pub(crate) const fn rest_weight(self) -> (u64, u64) {
        match self {
            Self::BinanceSpot => (6_000, MINUTE),
            Self::BinanceUsdm => (2_400, MINUTE),
            Self::Bybit => (600, 5 * SECOND),
        }
    }

    /// Whether every answer tells the weight used.
    pub(crate) const fn tells_weight(self) -> bool {
        !matches!(self, Self::Bybit)
    }

    /// Weights of the requests the model's REST user makes.
    pub(crate) const fn rest_prices(self) -> &'static [u64] {
        match self {
            Self::BinanceSpot => &[5, 20, 25, 50, 250, 250],
            Self::BinanceUsdm => &[1, 2, 5, 10, 20, 20],
            Self::Bybit => &[1],
        }
    }
}
