//! What a connection's control plane says of itself: its reports, and its status. Owned by whoever asks.

use super::{Leg, LivenessCounters, LivenessCounts, SilentKind, State, SubscriptionCounters};
use crate::market::Venue;
use std::time::Duration;

/// What a person or a strategy may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Report {
    /// The upgrade is done.
    Connected {
        /// Which socket of the connection; a machine alone says the first.
        leg: Leg,
    },
    /// The venue accepted our credentials.
    Authenticated {
        /// Which socket of the connection; a machine alone says the first.
        leg: Leg,
    },
    /// Every wanted subscription is confirmed or refused.
    Ready,
    /// The connection was lost; the next attempt follows.
    Reconnecting {
        /// Failures in a row, from 1.
        attempt: u32,
        /// Wait before the attempt.
        delay: Duration,
        /// Why it was lost.
        reason: String,
    },
    /// A stream was refused, by the venue or because there is no room for it.
    Refused {
        /// The stream.
        stream: String,
        /// Why.
        reason: String,
    },
    /// No attempt is left.
    GaveUp {
        /// Why the last one failed.
        reason: String,
    },
    /// A confirmed subscription has no data.
    Silent {
        /// The stream.
        stream: String,
        /// It never had any on this connection, or it stopped.
        kind: SilentKind,
        /// For how long.
        silent: Duration,
    },
    /// A silent subscription has data again.
    Recovered {
        /// The stream.
        stream: String,
        /// How long it had none.
        silent: Duration,
    },
    /// A silent subscription is ended and asked for again.
    Resubscribing {
        /// The stream.
        stream: String,
    },
    /// A silent subscription is to be carried by another socket.
    MoveWanted {
        /// The stream.
        stream: String,
    },
    /// Most subscriptions of the connection are silent: it is to be replaced.
    MostlySilent,
    /// The venue says that it is about to go.
    GoingAway,
    /// The old socket of a rotation was lost before the successor was confirmed; the successor goes on.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// A successor begins to connect beside the socket that speaks.
    Rotating {
        /// What for.
        reason: String,
    },
    /// A successor's connect failed, or it was lost before it spoke; the next attempt follows.
    SuccessorFailed {
        /// Failures in a row, from 1.
        attempt: u32,
        /// Wait before the attempt.
        delay: Duration,
        /// Why.
        reason: String,
    },
    /// One socket took over from another.
    Rotated {
        /// The socket that spoke.
        from: Leg,
        /// The one that speaks now.
        to: Leg,
        /// From the begin of the hand-over to its end.
        took: Duration,
        /// What for.
        reason: String,
        /// Chained subscriptions whose hand-over could not be joined: a hole is possible there.
        unjoined: u32,
    },
    /// A rotation was asked for, or was due, and did not come about.
    NotRotated {
        /// Why.
        reason: String,
    },
    /// Over.
    Closed,
}

/// What one connection's control plane knows, for outputs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Its venue.
    pub venue: Venue,
    /// Where it stands.
    pub state: State,
    /// Failures in a row.
    pub attempt: u32,
    /// Streams wanted.
    pub wanted: usize,
    /// Streams wanted and not yet sent.
    pub unsent: usize,
    /// Streams in requests that await their answers.
    pub pending: usize,
    /// Streams confirmed.
    pub active: usize,
    /// Streams the venue refused.
    pub refused: usize,
    /// Requests, acks, refusals and timeouts.
    pub subscriptions: SubscriptionCounters,
    /// Subscriptions by what is known of their data.
    pub liveness: LivenessCounts,
    /// Silences, and what was done about them.
    pub silences: LivenessCounters,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Our pings, of every form.
    pub pings_sent: u64,
    /// Texts that waited too long for the connection and were dropped.
    pub sends_dropped: u64,
    /// Answers to our pings.
    pub pongs: u64,
    /// Times the connection was lost for silence.
    pub stale: u64,
    /// Control messages nobody could read.
    pub unknown_control: u64,
    /// The start of the last of them.
    pub last_unknown_control: Option<String>,
    /// Events that the state had no use for.
    pub illegal_events: u64,
    /// The last of them: the state it met, and its name.
    pub last_illegal_event: Option<(State, &'static str)>,
    /// The last refusal.
    pub last_refusal: Option<String>,
    /// Why the connection was last lost.
    pub last_loss: Option<String>,
}
