//! Reads what the hot cores and the control plane publish, and puts it before people and machines.
//!
//! ```text
//! hot, control ──published──► engine ──► Report (snapshot.rs) ──► one JSON line        machines
//! /proc/self/task (thread_stats.rs) ──►                       ──► log line, tables     render.rs
//! the allocator's counters (allocator.rs) ──►                 ──► the live table       live.rs
//! what happens to connections             ──► events.rs       ──► subscribers
//! the machine's /proc and /sys            ──► host/           ──► findings: `tickwire doctor`, warnings at the start
//! ```
//! Called by the engine (which fills a [`Report`]) and by the command line (which shows it). Nothing here runs on a hot
//! core except the allocator's two counter updates, which a steady hot core never reaches, and nothing here decides.

mod allocator;
mod books;
mod events;
pub mod host;
mod lists;
mod live;
mod render;
mod snapshot;
mod stages;
mod status;
mod status_text;
mod thread_stats;

pub use allocator::{AllocationCounts, CountingAllocator, is_counting, thread_allocations, thread_counts};
pub use books::BooksReport;
pub use events::{ControlEvent, EventBus, Happening, TickChange};
pub use lists::ListReport;
pub use live::LiveTable;
pub use render::{final_text, live_lines, log_line};
pub use snapshot::{
    AgePercentiles, ConnectionReport, Failure, FailureKind, HotThreadReport, LaneReport, Percentiles, Report,
    SampleReport, SubscriptionCounts,
};
pub use stages::{StageReport, StageTimes, StampReport};
pub use status::{
    BookReport, BookRow, BookVenueStatus, BooksStatus, ConnectionStatus, CoreStatus, EngineStatus, GovernorStatus,
    HaltedConnection, HeartbeatStatus, LaneStatus, LegStatus, PendingRequestStatus, RaceStatus, RequestStatus,
    RotationStatus, SubscriptionStatus,
};
pub use status_text::{book_text, status_text};
pub use thread_stats::{
    ThreadStats, ThreadStatsError, current_thread_id, is_runnable, read_run_time, read_thread_stats,
};
