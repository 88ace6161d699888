//! The hot plane: once per packet, no allocation, no lock, no log line.
//!
//! ```text
//! socket ─► stream ─► read_buffer ─► frame (+ utf8) ─► venue decode ─► router ─► handler
//!                         connection ties these
//! socket ◄─ stream ◄─ outbound ◄─ encode        subscriptions, pongs, close frames: rare
//! ```

pub mod connection;
pub mod encode;
pub mod frame;
mod outbound;
pub mod read_buffer;
pub mod stream;
mod utf8;
