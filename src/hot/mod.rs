//! The hot plane: once per packet, no allocation, no lock, no log line. In the order in which a byte meets it:
//!
//! ```text
//! stream ─► read_buffer ─► frame ─► connection ─► (venue decode) ─► router ─► handler
//!                                   core: the loop that visits the connections of one pinned thread
//! ring: the only way in and out      clock: when      stats: what is published      poller: how a core waits
//! ```

mod clock;
mod poller;

mod router;
mod stats;

pub use clock::{Clock, Ticks, mono_now, wall_now_ns};
pub use poller::{Poller, Waker};
pub use router::Router;
pub use stats::{ConnectionStats, CoreStats, Counter, Histogram};
