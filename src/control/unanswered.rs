//! What is told of a request that nobody answered. Owned by whoever gives the connection up for it.

use super::Operation;
use std::fmt;
use std::time::Duration;

/// A request that was not answered, nor any of its retries: what the venue sends on this connection is unknown, and only
/// a new connection makes it known. It is no refusal: the venue said nothing against these streams.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unanswered {
    /// What it asked.
    pub operation: Operation,
    /// The first stream it named.
    pub stream: String,
    /// How many streams it named.
    pub stream_count: usize,
    /// How often it was sent.
    pub tries: u64,
    /// How long each try waited.
    pub ack_timeout: Duration,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match self.operation {
            Operation::Subscribe => "subscribe",
            Operation::Unsubscribe => "unsubscribe",
        };
        let others = Others(self.stream_count);
        let (stream, tries, each_ms) = (&self.stream, self.tries, self.ack_timeout.as_millis());
        write!(
            f,
            "the venue answers no request: {operation} {stream}{others}, no answer in {tries} tries of {each_ms} ms"
        )
    }
}

/// The rest of a request, of this many streams, of which one is named.
pub(super) struct Others(pub(super) usize);

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 1 { write!(f, " and {} more", self.0 - 1) } else { Ok(()) }
    }
}
