//! Compiled-in strategies, chosen by name per core. Each is plain functions over its own state; a user's own is the
//! same thing in their own crate (`examples/twenty_lines.rs`).

mod null;
mod print;
mod spread;

pub use null::null;
pub use print::{Printer, print};
pub use spread::{SpreadRow, SpreadTable, spread};

/// The names a core's `strategy` key may have.
pub const NAMES: [&str; 3] = ["null", "print", "spread"];
