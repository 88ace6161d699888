//! What a running engine knows of itself, as `tickwire ctl status --json` prints it.
//!
//! Filled by the engine, on the cold side, each time somebody asks. Ages are milliseconds at that moment; a `null` is
//! something that has not happened, or of which nothing is known. A field that is missing in a text reads as its default,
//! so that an older or a newer `ctl` can read an engine.

use super::snapshot::LaneReport;
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
