//! What answering a request leads to, the same for every venue.

use super::bybit_private::AuthEnd;
use super::stats::Violation;
use super::{binance, bybit, bybit_private};
use crate::market::Venue;
use std::collections::BTreeSet;
use std::time::Duration;

/// The answer to one request, and what it changed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Empty where none is given.
    pub(super) reply: String,
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) is_error: bool,
    pub(super) is_subscribe: bool,
    /// Streams asked for that were live already, on this connection.
    pub(super) duplicates: u64,
    /// The venue's limit it broke.
    pub(super) violation: Option<Violation>,
    /// The answer is to come so much later.
    pub(super) delay: Option<Duration>,
    /// The connection is closed with this code instead of an answer.
    pub(super) close: Option<u16>,
    pub(super) auth: Option<AuthEnd>,
    /// A stream it names is refused on order, not by the venue's rules.
    pub(super) is_bad_stream: bool,
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
    BybitPrivate(bybit_private::Session),
    /// No streams, ever.
    JsonRpc(BTreeSet<String>),
}

impl Session {
    /// Opens a session for an upgrade request; `None` where the venue has nothing under that path.
    pub(super) fn open(venue: Venue, path: &str, query: Option<&str>, connection: u64) -> Option<Self> {
        if path == "/jsonrpc" {
            return Some(Self::JsonRpc(BTreeSet::new()));
        }
        let connection_id = || format!("sim-{}-{connection}", venue.index());
        match venue {
            Venue::BinanceSpot | Venue::BinanceUsdm => binance::Session::open(venue, path, query).map(Self::Binance),
            Venue::BybitSpot | Venue::BybitLinear if path == "/v5/private" => {
                Some(Self::BybitPrivate(bybit_private::Session::open(connection_id())))
            }
            Venue::BybitSpot | Venue::BybitLinear => {
                bybit::Session::open(venue, path, connection_id()).map(Self::Bybit)
            }
        }
    }

    pub(super) fn subscriptions(&self) -> &BTreeSet<String> {
        match self {
            Self::Binance(session) => &session.streams,
            Self::Bybit(session) => &session.topics,
            Self::BybitPrivate(session) => &session.topics,
            Self::JsonRpc(none) => none,
        }
    }

    /// Whether a subscribed stream is heard on this connection.
    pub(super) fn carries(&self, stream: &str) -> bool {
        match self {
            Self::Binance(session) => session.class.carries(stream),
            Self::Bybit(_) => true,
            Self::BybitPrivate(_) | Self::JsonRpc(_) => false,
        }
    }

    pub(super) fn is_combined(&self) -> bool {
        matches!(self, Self::Binance(session) if session.is_combined)
    }

    pub(super) fn is_microseconds(&self) -> bool {
        matches!(self, Self::Binance(session) if session.is_microseconds)
    }
}
