//! The cold half of a venue: what to say to it, and what its control messages mean. Once per connection or command.

use super::{Channel, ChannelError, binance, bybit};
use crate::market::{Decimal, Instrument, Level, SymbolSpec, Venue, VenueTime};
use std::fmt;
use std::time::Duration;

/// How messages arrive on a connection.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Form {
    /// Wrapped with their stream's name: Binance `/stream`; every Bybit message (its `topic`).
    #[default]
    Combined,
    /// Bare payloads: Binance `/ws`. Partial depth then has no name at all and needs a connection of its own.
    Raw,
}

/// The class of data a path carries (Binance USD-M since 2026: the wrong class upgrades, acknowledges, and is silent).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StreamClass {
    /// The venue has one path for all.
    Only,
    /// `/public`.
    Public,
    /// `/market`.
    Market,
}

/// What a venue allows. A `None` is a limit the venue does not state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Streams (symbol and channel) one connection may carry.
    pub streams_per_connection: Option<u32>,
    /// Streams one SUBSCRIBE may name.
    pub args_per_request: Option<u32>,
    /// Bytes of one request, as a frame. Binance states none; reports from the field put it near 4 KB.
    pub request_bytes_max: Option<u32>,
    /// Characters of all arguments of one connection together (Bybit: 21,000).
    pub args_chars_per_connection: Option<u32>,
    /// Messages a second the client may send on one connection, pings and pongs included.
    pub messages_per_second: Option<u32>,
    /// New connections per address, and the window.
    pub connects: Option<(u32, Duration)>,
    /// Connections at once, per address.
    pub connections_max: Option<u32>,
    /// How long a connection may live.
    pub connection_age_max: Option<Duration>,
}

/// What a venue allows by REST, from one address, and how it tells what was used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RestLimits {
    /// Weight of all requests together, and the window; `None` where the venue states no limit.
    pub weight: Option<(u32, Duration)>,
    /// The header of every answer that tells the weight used in the window, by everybody on this address.
    pub used_weight_header: Option<&'static str>,
    /// Weight of one page of the instrument list.
    pub instruments_weight: u32,
    /// How long to stay away after an HTTP status 403, where the venue means "too many requests" by it.
    pub forbidden_for: Option<Duration>,
}

/// Who keeps the connection alive, by the venue's documents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heartbeat {
    /// The server sends WebSocket pings about this often; the hot core answers. Silence longer than `timeout` is a loss.
    ServerPing {
        /// About how often the server pings.
        interval: Duration,
        /// After this long without any byte the connection is stale.
        timeout: Duration,
    },
    /// We send the venue's own ping text this often and expect its pong, or data, within `timeout` after it.
    ClientText {
        /// How often to send.
        interval: Duration,
        /// How long to wait for any byte afterwards.
        timeout: Duration,
    },
}

/// An answer to a subscribe or unsubscribe request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ack {
    /// The request's id as the venue echoed it; `None` where it echoed none (the oldest request of its kind is meant).
    pub id: Option<u64>,
    /// What the venue says of it.
    pub result: AckResult,
}

/// What an answer says of its request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AckResult {
    /// All of it is done.
    Accepted,
    /// None of it is.
    Refused(Refusal),
    /// It is done but for these streams (Bybit option: `failTopics`).
    Partial {
        /// The streams the venue did not take, by its names, each with its words if it had any.
        failed: Vec<(String, Refusal)>,
    },
    /// The answer speaks of one stream alone, and the others have answers of their own (OKX).
    Stream {
        /// The stream, by the venue's name.
        stream: String,
        /// `Ok`, or why not.
        result: Result<(), Refusal>,
    },
}

impl From<Result<(), Refusal>> for AckResult {
    fn from(result: Result<(), Refusal>) -> Self {
        result.map_or_else(Self::Refused, |()| Self::Accepted)
    }
}

/// A venue's refusal, in its own words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}{}", Code(*code))]
pub struct Refusal {
    /// The venue's code, if it gave one.
    pub code: Option<i64>,
    /// The venue's message.
    pub message: String,
}

/// A refusal's code behind its message; written in place, because the store of subscriptions allocates nothing.
struct Code(Option<i64>);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |code| write!(f, " (code {code})"))
    }
}

/// What a control-plane message (one that is no market data) says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ControlMessage {
    /// An answer to subscribe or unsubscribe.
    Ack(Ack),
    /// An answer to our ping.
    Pong,
    /// The server is about to go (Binance `serverShutdown`): a reconnect is due.
    GoingAway,
    /// The server asks for this text in return.
    PingText(String),
    /// Something else: counted, with a sample.
    Unknown,
}

/// One row of a venue's instrument list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InstrumentSpec {
    /// Native name.
    pub name: String,
    /// Decimals of the tick size.
    pub price_scale: u8,
    /// Decimals of the quantity step.
    pub qty_scale: u8,
    /// The tick, without trailing zeros: every price is a multiple of it. `None` where the venue has switched it off.
    pub tick_size: Option<Decimal>,
    /// The quantity step, likewise.
    pub lot_size: Option<Decimal>,
    /// What it is.
    pub instrument: Instrument,
    /// True while it trades.
    pub is_trading: bool,
}

/// An instrument list that could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("instrument list of {venue}: {what}")]
pub struct InstrumentError {
    /// The venue.
    pub venue: Venue,
    /// What is wrong, with the place.
    pub what: String,
}

/// A depth snapshot as a venue's REST gave it, at its symbol's scales.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DepthSnapshot {
    /// The id of the last change in it.
    pub last_update_id: u64,
    /// When the venue published it, if it says.
    pub event_time: Option<VenueTime>,
    /// Bids, best first.
    pub bids: Vec<Level>,
    /// Asks, best first.
    pub asks: Vec<Level>,
}

/// A depth snapshot that could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("depth snapshot of {symbol} on {venue}: {what}")]
pub struct DepthError {
    /// The venue.
    pub venue: Venue,
    /// The symbol asked for.
    pub symbol: String,
    /// What is wrong, with the field.
    pub what: String,
}

/// The cold half of one venue. `&'static dyn`: called per connection or command, never per message.
pub trait Protocol: Sync {
    /// The venue.
    fn venue(&self) -> Venue;

    /// What the venue allows.
    fn limits(&self) -> Limits;

    /// What the venue allows by REST.
    fn rest_limits(&self) -> RestLimits;

    /// Weight of a depth snapshot with this many levels a side (0: the most there are), as [`depth_path`] asks for it.
    ///
    /// [`depth_path`]: Protocol::depth_path
    fn depth_weight(&self, levels: u16) -> u32;

    /// Production URL of the stream host, without path: `wss://stream.binance.com:9443`.
    fn default_url(&self) -> &'static str;

    /// Production URL of the REST host: `https://api.binance.com`.
    fn default_rest_url(&self) -> &'static str;

    /// Reads a channel's native name.
    ///
    /// # Errors
    /// [`ChannelError`] with what the venue has.
    fn channel(&self, name: &str) -> Result<Channel, ChannelError>;

    /// What a stream of this name carries: its channel, and its symbol in the venue's native spelling where it has one.
    /// The other way round of [`stream`](Self::stream).
    fn channel_of(&self, stream: &str) -> Option<(Channel, Option<String>)>;

    /// The class of path a channel's data comes on. Channels of two classes need two connections.
    fn class(&self, channel: &Channel) -> StreamClass;

    /// Path and query of the upgrade request for a connection that will subscribe by message:
    /// `/stream` (Binance spot, combined), `/market/ws` (USD-M, raw), `/v5/public/linear` (Bybit).
    fn path(&self, form: Form, class: StreamClass) -> String;

    /// The stream's name: `btcusdt@trade`, `publicTrade.BTCUSDT`; for an all-market channel the symbol is ignored.
    fn stream(&self, channel: &Channel, symbol: &str) -> String;

    /// Writes a SUBSCRIBE of these streams to `out` (cleared first), with this id. Allocates only where `out` is too small.
    fn write_subscribe(&self, id: u64, streams: &mut dyn Iterator<Item = &str>, out: &mut Vec<u8>);

    /// Writes an UNSUBSCRIBE of these streams to `out` (cleared first), with this id. Allocates only where `out` is too small.
    fn write_unsubscribe(&self, id: u64, streams: &mut dyn Iterator<Item = &str>, out: &mut Vec<u8>);

    /// Bytes of a request without its streams, at most: with the longest id, and the longer of the two words.
    fn request_bytes_empty(&self) -> usize {
        let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
        self.write_subscribe(u64::MAX, &mut std::iter::empty(), &mut subscribe);
        self.write_unsubscribe(u64::MAX, &mut std::iter::empty(), &mut unsubscribe);
        subscribe.len().max(unsubscribe.len())
    }

    /// Appends the venue's own ping text to `out` (cleared first); false if it has none.
    fn write_ping(&self, id: u64, out: &mut Vec<u8>) -> bool;

    /// Who keeps the connection alive.
    fn heartbeat(&self) -> Heartbeat;

    /// What a message that is no market data says. Any bytes may come; the answer for rubbish is `Unknown`.
    fn control_message(&self, bytes: &[u8]) -> ControlMessage;

    /// True if a refusal says that the stream is live already: what a retry meets whose first ack was lost.
    fn is_already_subscribed(&self, _refusal: &Refusal) -> bool {
        false
    }

    /// Path and query of one page of the instrument list; `cursor` is empty for the first page.
    fn instruments_path(&self, cursor: &str) -> String;

    /// Reads one page of the instrument list, and the next page's cursor if there is one.
    ///
    /// # Errors
    /// [`InstrumentError`]: not the documented shape, or a tick size that is no decimal.
    fn read_instruments(&self, body: &[u8]) -> Result<(Vec<InstrumentSpec>, Option<String>), InstrumentError>;

    /// Path and query of a depth snapshot, for venues whose books start from REST.
    fn depth_path(&self, symbol: &str, levels: u16) -> String;

    /// Reads a depth snapshot of this symbol: exact at its scales.
    ///
    /// # Errors
    /// [`DepthError`]: not the documented shape, a number off the symbol's grid, the venue's own refusal, or a venue whose books
    /// start from their stream.
    fn read_depth(&self, spec: &SymbolSpec, body: &[u8]) -> Result<DepthSnapshot, DepthError>;

    /// The levels a side to ask for first: as many as the cheapest request gives. `None`: the books start from their stream.
    fn depth_first(&self) -> Option<u16>;

    /// The most levels a side that a snapshot gives.
    fn depth_max(&self) -> u16;
}

/// The cold half of a venue.
#[must_use]
pub fn protocol(venue: Venue) -> &'static dyn Protocol {
    match venue {
        Venue::BinanceSpot => &binance::protocol::SPOT,
        Venue::BinanceUsdm => &binance::protocol::USDM,
        Venue::BybitSpot => &bybit::protocol::SPOT,
        Venue::BybitLinear => &bybit::protocol::LINEAR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::path::PathBuf;

    /// The recorded frames; `None` where there are none, which is an error in CI.
    fn frames() -> Option<PathBuf> {
        let frames = std::env::var_os("TICKWIRE_FRAMES").map(PathBuf::from);
        let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(frames.is_some() || !is_ci, "TICKWIRE_FRAMES must name the recorded frames in CI");
        if frames.is_none() {
            eprintln!("skipped: TICKWIRE_FRAMES is not set");
        }
        frames
    }

    fn recorded(venue: Venue, folder: &str) -> Vec<Value> {
        let Some(frames) = frames() else { return Vec::new() };
        let files = std::fs::read_dir(frames.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let texts = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .map(|path| std::fs::read_to_string(path).unwrap());
        let messages: Vec<_> = texts
            .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
            .collect();
        assert!(!messages.is_empty(), "{venue}: {folder} is empty");
        messages
    }

    #[test]
    fn every_recorded_stream_is_one_that_a_channel_and_a_symbol_give() {
        for (venue, folder) in [
            (Venue::BinanceSpot, "binance"),
            (Venue::BinanceUsdm, "binance_usdm"),
            (Venue::BybitSpot, "bybit_spot"),
            (Venue::BybitLinear, "bybit_linear"),
        ] {
            for message in recorded(venue, folder) {
                let name = message.get("stream").or(message.get("topic")).and_then(Value::as_str);
                let Some(name) = name else { continue };
                let is_binance = matches!(venue, Venue::BinanceSpot | Venue::BinanceUsdm);
                let (symbol, channel) = match is_binance {
                    true if name.starts_with('!') => ("", name),
                    true => name.split_once('@').unwrap(),
                    false => name.rsplit_once('.').map(|(channel, symbol)| (symbol, channel)).unwrap(),
                };
                let channel = Channel::parse(venue, channel).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(protocol(venue).stream(&channel, symbol), name);
                let (found, found_symbol) = protocol(venue).channel_of(name).unwrap();
                assert_eq!((&found, found_symbol.unwrap_or_default()), (&channel, symbol.to_uppercase()), "{name}");
                // Market data is never taken for an answer to us.
                assert_eq!(protocol(venue).control_message(message.to_string().as_bytes()), ControlMessage::Unknown);
            }
        }
    }

    #[test]
    fn every_recorded_ack_confirms() {
        for (venue, folder) in [(Venue::BybitSpot, "bybit_spot"), (Venue::BybitLinear, "bybit_linear")] {
            let messages = recorded(venue, folder);
            let acks: Vec<_> = messages.iter().filter(|message| message.get("op").is_some()).collect();
            assert_eq!(acks.is_empty(), messages.is_empty(), "{venue}: the recording has acks");
            for message in acks {
                let heard = protocol(venue).control_message(message.to_string().as_bytes());
                assert_eq!(heard, ControlMessage::Ack(Ack { id: None, result: AckResult::Accepted }), "{message}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_protocol_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:a-z0-9]{0,80}") {
            for venue in Venue::ALL {
                for bytes in [&bytes[..], text.as_bytes()] {
                    protocol(venue).control_message(bytes);
                    prop_assert!(protocol(venue).read_instruments(bytes).is_err());
                }
                let _ = protocol(venue).channel(&text);
                let _ = protocol(venue).channel_of(&text);
            }
        }

        #[test]
        fn a_request_is_json_whatever_the_stream_is_called(id: u64, stream in "\\PC{1,40}") {
            for venue in Venue::ALL {
                let mut out = Vec::new();
                protocol(venue).write_subscribe(id, &mut [&*stream].into_iter(), &mut out);
                let request: Value = serde_json::from_slice(&out).unwrap();
                let args = request.get("params").or(request.get("args")).unwrap();
                prop_assert_eq!(args, &serde_json::json!([&stream]));
            }
        }
    }
}
