//! The control plane: once per connection or command; sans-IO.
//!
//! ```text
//!            events + now                                    actions
//! engine ──► Relay ──────────► ConnectionMachine ──────────────────────► engine / net
//!            rotation: one, or two while a successor takes over; of each leg
//!                             │ session        which state, which edge
//!                             │ subscriptions  wanted ► pending ► active | refused
//!                             │ liveness       which subscription speaks, which is silent, what to do (rate: its own)
//!                             │ heartbeat      when to ping, when silence is a loss
//!                             │ reconnect      how long to wait before the next attempt
//!                             │ pace           the venue's messages a second
//! governor (one for the process): what all machines together may ask of a venue from one address
//! snapshots: which book is repaired next, how deep and when, within the governor's budget
//! leg_repairs: which leg's own book of one topic is subscribed again, and when
//! refill: which missing trades are asked for next, and what became of each id
//! rolling: what one use of a budget took within the window, so that what can wait leaves room for what cannot
//! race: which leg of a connection keeps losing, and is to be replaced
//! pool: which streams go on which connection and in which request, before any machine is made
//!
//! engine ──► RequestMachine: session, auth + logins, heartbeat, reconnect, pace, and
//!                  requests       what was asked, by id, until when
//!                  codec          how a venue writes a request and answers it
//! ```
//! Every room is a plain state machine: events and `now` in, actions out. No socket, clock, task or randomness inside
//! (jitter comes from a seed in the settings), so tests and the simulation drive the very code that runs in production.

mod auth;
mod codec;
mod connection;
mod connection_room;
mod governor;
mod heartbeat;
mod leg_repairs;
mod line;
mod liveness;
pub mod logins;
mod names;
mod pace;
mod packing;
mod pool;
mod race;
mod rate;
mod reconnect;
mod refill;
mod report;
mod request_machine;
mod request_room;
mod requests;
mod rolling;
mod rotation;
mod secret;
mod sends;
mod session;
mod slot_list;
mod snapshot_report;
mod snapshots;
mod subscriptions;
mod turn;
mod unanswered;
mod watch;

pub use auth::{
    AuthRefusal, AuthReply, Authentication, Credentials, Encoding, HeaderLogin, Login, LoginReply, Moment, Part,
    StringToSign,
};
pub use codec::{BinanceCodec, BybitCodec, Codec, JsonRpc, Reply, ReplyTo, RequestId, RequestRefusal};
pub use connection::{Action, ConnectionMachine, ConnectionSettings, Context, Event};
pub use connection_room::PlanError;
pub use governor::{
    AnswerCounters, BudgetId, BudgetKey, BudgetLimits, BudgetStatus, Governor, GovernorSettings, GovernorStatus,
    LineStatus, NotPermitted, Permit, RestAnswer, Ticket,
};
pub use heartbeat::{Beat, HeartbeatMonitor, HeartbeatSettings, Ping, PingSettings};
pub use leg_repairs::LegRepairs;
pub use liveness::{
    Bits, Expectation, Learned, Liveness, LivenessCounters, LivenessCounts, LivenessSettings, Repair, Silence,
    SilentKind, Verdict,
};
pub use pace::Pacer;
pub use pool::{
    Health, Plan, PlanLimits, PlannedConnection, PlannedRequest, PlannedStream, Separate, Violation, channel_weight,
    check_connections, health, plan, schedule,
};
pub use race::{Losing, Race, RaceCounts, RaceSettings};
pub use reconnect::{Backoff, Cause, ReconnectSettings, RetryStrategy};
pub use refill::{NotRefilled, RefillPlan, RefillStep};
pub use report::{Report, Status};
pub use request_machine::{
    RequestAction, RequestEnd, RequestEvent, RequestMachine, RequestMachineSettings, RequestReport, RequestStatus,
    Transmit,
};
pub use request_room::RequestRoom;
pub use requests::{
    Ended, NotSent, Outcome, PendingRequest, RequestCounters, RequestSettings, RequestTicket, Requests,
};
pub use rolling::Rolling;
pub use rotation::{Leg, Relay, RelayAction, RelayCounters, RelayEvent, RelayStatus, RotationSettings};
pub use secret::Secret;
pub use sends::SendRefused;
pub use session::{Edge, Session, State};
pub use snapshot_report::{
    BookPlan, BookSeen, Estimate, Fetch, FetchEnd, SnapshotAction, SnapshotDepth, SnapshotReport, SnapshotSettings,
    SnapshotStatus,
};
pub use snapshots::Snapshots;
pub use subscriptions::{
    AckOutcome, Operation, Request, SlotId, SlotSet, Streams, SubscriptionCounters, SubscriptionSettings, Subscriptions,
};

use crate::market::MonoNs;
use std::time::Duration;

/// `at` plus `duration`, saturating: a deadline that never comes instead of one that wrapped into the past.
fn after(at: MonoNs, duration: Duration) -> MonoNs {
    MonoNs(at.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
}
