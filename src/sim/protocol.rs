//! What answering a request leads to, the same for every venue.

use super::{binance, bybit};
use crate::market::Venue;
use std::collections::BTreeSet;

/// The answer to one request, and what it changed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) reply: String,
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) is_error: bool,
    pub(super) is_subscribe: bool,
}

impl Outcome {
    pub(super) fn reply(reply: String) -> Self {
        Self { reply, ..Self::default() }
    }
    pub(super) fn error(reply: String) -> Self {
        Self { reply, is_error: true, ..Self::default() }
    }
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

/// One connection, as its venue sees it.
#[derive(Clone, Debug)]
pub(super) enum Session {
    Binance(binance::Session),
    Bybit(bybit::Session),
}

impl Session {
    /// Opens a session for an upgrade request; `None` where the venue has nothing under that path.
    pub(super) fn open(venue: Venue, path: &str, query: Option<&str>, connection: u64) -> Option<Self> {
        match venue {
            Venue::BinanceSpot | Venue::BinanceUsdm => binance::Session::open(venue, path, query).map(Self::Binance),
            Venue::BybitSpot | Venue::BybitLinear => {
                bybit::Session::open(venue, path, format!("sim-{}-{connection}", venue.index())).map(Self::Bybit)
            }
        }
    }

    pub(super) fn subscriptions(&self) -> &BTreeSet<String> {
        match self {
            Self::Binance(session) => &session.streams,
            Self::Bybit(session) => &session.topics,
        }
    }

    /// Whether a subscribed stream is heard on this connection.
    pub(super) fn carries(&self, stream: &str) -> bool {
        match self {
            Self::Binance(session) => session.class.carries(stream),
            Self::Bybit(_) => true,
        }
    }

    pub(super) fn is_combined(&self) -> bool {
        matches!(self, Self::Binance(session) if session.is_combined)
    }

    pub(super) fn is_microseconds(&self) -> bool {
        matches!(self, Self::Binance(session) if session.is_microseconds)
    }
}
