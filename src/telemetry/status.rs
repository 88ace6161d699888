//! What a running engine knows of itself, as `tickwire ctl status --json` prints it.
//!
//! Filled by the engine, on the cold side, each time somebody asks. Ages are milliseconds at that moment; a `null` is
//! something that has not happened, or of which nothing is known. A field that is missing in a text reads as its default,
//! so that an older or a newer `ctl` can read an engine.

use super::lists::ListReport;
use super::snapshot::{LaneReport, Percentiles};
use super::stages::{StageReport, StampReport};
use serde::{Deserialize, Serialize};

/// Everything.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct EngineStatus {
    /// Since the start.
    pub elapsed_ms: u64,
    /// Some connection is down while it should be up.
    pub halted: bool,
    /// Those connections.
    pub halted_connections: Vec<HaltedConnection>,
    /// Every connection, one for each of its sockets.
    pub connections: Vec<ConnectionStatus>,
    /// Requests of the request connections that wait for their answer.
    pub requests: Vec<RequestStatus>,
    /// The budgets, one for each venue and source address.
    pub governor: Vec<GovernorStatus>,
    /// The hot cores.
    pub cores: Vec<CoreStatus>,
    /// The lanes beside them.
    pub lanes: Vec<LaneStatus>,
    /// The books on the hot cores.
    pub books: BooksStatus,
    /// What the venues' instrument lists say.
    pub lists: Vec<ListReport>,
    /// Events that somebody was too slow to be told of.
    pub events_dropped: u64,
}

/// A connection that is down while it should be up.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct HaltedConnection {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// For how long.
    pub for_ms: u64,
}

/// One logical connection.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ConnectionStatus {
    /// Its name.
    pub name: String,
    /// The venue's name.
    pub venue: String,
    /// CPU of its hot core.
    pub core: usize,
    /// `disconnected`, `connecting`, `connected`, `authenticating`, `ready`, `reconnecting`, `closing` or `closed`.
    pub state: String,
    /// Attempts since it was last ready.
    pub attempt: u32,
    /// Until the next attempt, while it waits for one.
    pub next_attempt_in_ms: Option<u64>,
    /// Times it came back.
    pub reconnects: u64,
    /// Why it was lost last.
    pub last_loss: Option<String>,
    /// Its sockets: one, or two during a rotation.
    pub legs: Vec<LegStatus>,
    /// Where it is one of several legs: how it does against the others.
    pub race: RaceStatus,
    /// When it is renewed.
    pub rotation: RotationStatus,
    /// How it is kept alive.
    pub heartbeat: HeartbeatStatus,
    /// Every stream, wanted or refused.
    pub subscriptions: Vec<SubscriptionStatus>,
    /// Subscribes and unsubscribes that wait for their answer.
    pub pending_requests: Vec<PendingRequestStatus>,
}

/// One socket of a connection.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct LegStatus {
    /// Its number, from 0 on over the connection's life.
    pub leg: u64,
    /// As a connection's.
    pub state: String,
    /// True for the one whose events count where they have no identity.
    pub is_lead: bool,
    /// Its age.
    pub connected_for_ms: Option<u64>,
    /// Since its last market data.
    pub last_data_ms_ago: Option<u64>,
}

/// How a leg does against the others that carry the same streams. All 0 where there are none.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RaceStatus {
    /// Events with an identity that it brought first.
    pub won: u64,
    /// Those that another had brought before, or something further.
    pub lost: u64,
    /// How long after the winner it brought what both brought, nanoseconds.
    pub lag_ns: Percentiles,
}

/// When a connection is renewed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RotationStatus {
    /// Until the successor connects; `null`: never.
    pub next_in_ms: Option<u64>,
    /// A successor is on its way.
    pub is_running: bool,
    /// Times it was renewed.
    pub done: u64,
    /// Times the successor was given up.
    pub failed: u64,
}

/// How a connection is kept alive.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct HeartbeatStatus {
    /// Since any byte came.
    pub last_byte_ms_ago: Option<u64>,
    /// Our pings.
    pub pings_sent: u64,
    /// The server's pings that were answered.
    pub pings_answered: u64,
    /// Times it was lost for silence.
    pub stale: u64,
}

/// One subscription: the four bits, and when its data came last.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct SubscriptionStatus {
    /// The stream's name: `btcusdt@trade`.
    pub stream: String,
    /// The channel.
    pub channel: String,
    /// The symbol; empty for an all-market channel.
    pub symbol: String,
    /// Asked for.
    pub sent: bool,
    /// Confirmed by the venue.
    pub acknowledged: bool,
    /// Data has come.
    pub first_data: bool,
    /// Data comes as often as usual.
    pub fresh: bool,
    /// The venue's words, where it refused.
    pub refused: Option<String>,
    /// Since its last data.
    pub last_data_ms_ago: Option<u64>,
}

impl SubscriptionStatus {
    /// Confirmed by the venue, and no data, or none any more.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.refused.is_none() && self.acknowledged && !(self.first_data && self.fresh)
    }
}

/// A subscribe or an unsubscribe that waits for its answer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct PendingRequestStatus {
    /// Its id.
    pub id: u64,
    /// `subscribe` or `unsubscribe`.
    pub operation: String,
    /// Streams in it.
    pub streams: usize,
    /// Since it was sent.
    pub age_ms: u64,
}

/// A request of a request connection that waits for its answer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RequestStatus {
    /// The request connection.
    pub connection: String,
    /// Its id, as it went out.
    pub id: String,
    /// What it asks.
    pub method: String,
    /// Since it was sent.
    pub age_ms: u64,
}

/// The budget of one venue and source address.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct GovernorStatus {
    /// The venue.
    pub venue: String,
    /// The address connected from; `null`: the kernel chooses.
    pub source_address: Option<String>,
    /// Connects in the venue's window so far.
    pub connects_used: u64,
    /// Connects allowed in it; `null`: no limit is stated.
    pub connects_max: Option<u64>,
    /// Connections that wait for their turn.
    pub connects_waiting: u64,
    /// Requests of the second now.
    pub requests_used: u64,
    /// Requests allowed a second.
    pub requests_max: u64,
    /// REST weight of the venue's window so far.
    pub weight_used: u64,
    /// REST weight for this process; `null`: no limit is stated.
    pub weight_max: Option<u64>,
    /// Until the venue may be asked again after it said stop; `null`: now.
    pub blocked_for_ms: Option<u64>,
}

/// One hot core.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct CoreStatus {
    /// Its CPU.
    pub cpu: usize,
    /// Sockets it reads.
    pub sockets: usize,
    /// Since it last came around.
    pub beat_ms_ago: u64,
    /// Times it did not come around for longer than the watchdog allows.
    pub overruns: u64,
    /// The longest of them.
    pub overrun_ms_max: u64,
    /// Page faults of its thread since its loop began, minor and major; `null` where the system does not say.
    pub page_faults: Option<u64>,
    /// Those that waited for a disk.
    pub page_faults_major: Option<u64>,
    /// Times the scheduler took the CPU away from it.
    pub involuntary_switches: Option<u64>,
    /// Times it gave the CPU up: it slept.
    pub voluntary_switches: Option<u64>,
    /// Where the time of its stamped messages went.
    pub stages: StageReport,
    /// What stamping them costs.
    pub stamps: StampReport,
}

/// The books that are kept.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct BooksStatus {
    /// How they are made live, by budget.
    pub venues: Vec<BookVenueStatus>,
    /// Every book.
    pub books: Vec<BookRow>,
    /// Whoever looks after them did not answer within two seconds: nothing is known of them.
    pub is_unanswered: bool,
}

/// The books that draw on one budget.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct BookVenueStatus {
    /// The venues: one, unless several share a host.
    pub venues: Vec<String>,
    /// Books kept.
    pub books: u64,
    /// Live ones.
    pub live: u64,
    /// Live and known as deep as asked for.
    pub deep: u64,
    /// Snapshots under way.
    pub in_flight: u64,
    /// Topics that were subscribed again and are not live yet.
    pub resubscribing: u64,
    /// Books that wait after a failure.
    pub backing_off: u64,
    /// Snapshots begun since the start.
    pub begun: u64,
    /// Weight of them.
    pub weight: u64,
    /// Those that made a book live, or deeper.
    pub joined: u64,
    /// Those that failed, did not join, or were of no use.
    pub failed: u64,
    /// Topics subscribed again since the start.
    pub resubscribed: u64,
    /// From the first book to all live, as reckoned; `null`: nothing is fetched.
    pub planned_ms: Option<u64>,
    /// The same, measured; `null`: not yet.
    pub took_ms: Option<u64>,
    /// From the first book to all as deep as asked for, as reckoned.
    pub deep_planned_ms: Option<u64>,
    /// The same, measured.
    pub deep_took_ms: Option<u64>,
}

/// One book.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct BookRow {
    /// The venue.
    pub venue: String,
    /// The native name.
    pub symbol: String,
    /// The connection that its stream is on.
    pub connection: String,
    /// The stream that it is made of.
    pub stream: String,
    /// CPU of the hot core that keeps it.
    pub core: usize,
    /// `waiting`, `live` or `stale`.
    pub state: String,
    /// Why it is stale.
    pub reason: Option<String>,
    /// `need_snapshot` or `resubscribe`.
    pub needs: Option<String>,
    /// Legs whose own book of it is to be subscribed again; the state is that of the furthest.
    pub legs_in_need: u64,
    /// Since when.
    pub for_ms: Option<u64>,
    /// The last id in it.
    pub sequence: Option<u64>,
    /// Messages of its stream so far.
    pub messages: u64,
    /// How deep its snapshot was, levels a side; `null`: not live, or its stream brings the snapshots.
    pub known_levels: Option<u16>,
    /// What its last request failed of.
    pub last_error: Option<String>,
}

/// A book as text: one line of `--books-out`, and what `tickwire ctl book --json` prints.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct BookReport {
    /// The venue.
    pub venue: String,
    /// The native name.
    pub symbol: String,
    /// `waiting`, `live` or `stale`; `unread` where its core did not answer.
    pub state: String,
    /// Why it is stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last id in it; `null` while nothing has come.
    pub sequence: Option<u64>,
    /// Price and quantity of every bid that is held, best first.
    pub bids: Vec<[String; 2]>,
    /// The same of the asks.
    pub asks: Vec<[String; 2]>,
    /// How many of the bids, from the best on, have no unknown ones between them.
    pub bids_known: usize,
    /// The same of the asks.
    pub asks_known: usize,
}

/// One lane: what the reports say of it, and its sign of life.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct LaneStatus {
    /// As in every report.
    #[serde(flatten)]
    pub report: LaneReport,
    /// Since it last came around.
    pub beat_ms_ago: u64,
    /// Times it stood on one event for longer than `overrun_ms`.
    pub overruns: u64,
    /// The longest of them.
    pub overrun_ms_max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_missing_has_its_default() {
        let status = EngineStatus {
            connections: vec![ConnectionStatus { name: "a".into(), ..ConnectionStatus::default() }],
            events_dropped: 3,
            ..EngineStatus::default()
        };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<EngineStatus>(&text).unwrap(), status);
        let older = r#"{"ok":true,"halted":true,"connections":[{"name":"a","new":1}]}"#;
        let read: EngineStatus = serde_json::from_str(older).unwrap();
        assert!(read.halted && read.connections[0].name == "a" && read.cores.is_empty());
    }

    #[test]
    fn silent_is_what_is_acknowledged_and_has_no_data() {
        let bits = |acknowledged, first_data, fresh, refused: Option<&str>| SubscriptionStatus {
            acknowledged,
            first_data,
            fresh,
            refused: refused.map(str::to_owned),
            ..SubscriptionStatus::default()
        };
        assert!(bits(true, false, false, None).is_silent() && bits(true, true, false, None).is_silent());
        assert!(!bits(true, true, true, None).is_silent() && !bits(false, false, false, None).is_silent());
        assert!(!bits(true, false, false, Some("no such symbol")).is_silent());
    }
}
