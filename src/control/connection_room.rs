//! How much one connection carries: shared by the store, which takes streams while it runs, and the planner; and what is
//! said of what does not fit.
//!
//! ```text
//! streams, at most (Binance: 1,024)      characters of all arguments together, at most (Bybit: 21,000)
//! ```

use crate::venue::Limits;

/// Quotes and comma around an argument. Whether the venue counts them is not documented, so they are counted.
const ARG_CHARS_OVERHEAD: usize = 3;

/// Streams that cannot be planned on a connection.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to subscribe to.
    #[error("no stream to subscribe to: at least one channel, and a symbol where the channel is per symbol")]
    Empty,
    /// The same stream twice.
    #[error("stream `{stream}` twice on one connection: once is allowed")]
    Duplicate {
        /// Its name.
        stream: String,
    },
    /// More streams than a connection carries.
    #[error("{count} streams on one connection: the venue allows {limit}")]
    TooManyStreams {
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// More characters of arguments than a connection may send.
    #[error("{chars} characters of stream names on one connection: the venue allows {limit}")]
    TooManyChars {
        /// How many, quotes and commas counted.
        chars: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A request that is longer than a frame may be.
    #[error("a request of {bytes} bytes, of `{}`: {limit} are allowed", .stream.chars().take(40).collect::<String>())]
    TooManyBytes {
        /// The first stream it names.
        stream: String,
        /// Its bytes, its frame's header included.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// More streams in a request than it may name.
    #[error("{count} streams in one request: {limit} are allowed")]
    TooManyArgs {
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// More connections from one address than the venue allows at once.
    #[error("{count} connections at once from one address: the venue allows {limit}")]
    TooManyConnections {
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A configured limit above the venue's.
    #[error("{found} streams per connection configured: the venue allows {limit}, and at least 1 is needed")]
    OverLimit {
        /// Configured.
        found: u32,
        /// The venue's.
        limit: u32,
    },
}

/// What one stream's name counts against the venue's characters per connection.
pub(super) fn arg_chars(stream: &str) -> usize {
    stream.chars().count() + ARG_CHARS_OVERHEAD
}

/// Whether one connection carries so many streams of so many characters.
pub(super) fn check_limits(limits: &Limits, count: usize, chars: usize) -> Result<(), PlanError> {
    let as_usize = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    if let Some(limit) = limits.streams_per_connection.map(as_usize).filter(|&limit| count > limit) {
        return Err(PlanError::TooManyStreams { count, limit });
    }
    if let Some(limit) = limits.args_chars_per_connection.map(as_usize).filter(|&limit| chars > limit) {
        return Err(PlanError::TooManyChars { chars, limit });
    }
    Ok(())
}
