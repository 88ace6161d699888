//! The hot plane: once per packet, no allocation, no lock, no log line. In the order in which a byte meets it:
//!
//! ```text
//! socket ─► stream ─► read_buffer ─► frame (+ utf8) ─► (venue decode) ─► legs (+ arbitrate, window, early) ─► shelf ─► router ─► handler
//!                         connection ties these; core visits the connections of one pinned thread, delivery is one visit
//! socket ◄─ stream ◄─ outbound ◄─ encode        subscriptions, pongs, close frames: rare
//! shelf: the core's books, kept of what passed     board: how each of them is, for the cold side
//! lanes: threads beside the core, for handlers that are too slow for it
//! pulse: when each subscription last spoke        stages: stamps of one message in N     socket: what stream reads and writes
//! trails, refill: holes in the ids of trades, told and refilled   conflation: only the newest quote of what is received
//! ring, outbox: the only way in and out of a core   clock: when     stats: what is published     poller: how a core waits
//! ```

mod arbitrate;
mod board;
mod clock;
mod conflation;
pub mod connection;
mod core;
mod delivery;
mod early;
pub mod encode;
pub mod frame;
pub mod lanes;
mod lease;
mod legs;
mod outbound;
mod outbox;
mod poller;
mod pulse;
pub mod read_buffer;
mod refill;
mod ring;
mod router;
mod shelf;
mod socket;
mod stages;
mod stats;
pub mod stream;
pub mod tls;
mod trails;
mod utf8;
mod window;

pub use board::{Board, BookStatus};
pub use clock::{Clock, Ticks, mono_now, wall_now_ns};
pub use connection::{Closed, ClosedBy, ConnectionSettings, HotConnection, SendError};
pub use core::{Core, CoreSettings, Idle, PanicReport, Strategy, Wait};
pub use frame::{DataKind, FrameError, Message};
pub use lease::Halted;
pub use legs::{Joining, Overlap, OverlapProgress};
pub use poller::{Poller, Waker};
pub use pulse::Pulses;
pub use refill::{Interruption, Refill};
pub use ring::{Attachment, ColdPorts, Command, Feed, HotPorts, Notice, Spent, ports};
pub use router::Router;
pub use shelf::{BookStats, LegBooks};
pub use stages::{Stages, StampCost};
pub use stats::{Beat, ConnectionStats, CoreStats, Counter, Current, Doing, Histogram, SocketStats};
pub use stream::{ReadOutcome, Stream, StreamError};
pub use tls::{InPlaceRecords, RecordOpener, Records, TlsCounts};
pub use trails::MissingIds;
