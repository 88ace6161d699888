//! A hole in a stream, told in the stream.
//!
//! ```text
//! ... 104  105 ──╳── │ Gap { before: 105, after: 109, missing: 3 } │ 109  110 ...   106r 107r 108r
//!                                                                                  refilled: flagged, behind the marker
//! ```

use super::{Meta, StreamKind, TradeId};

/// Why events may be missing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum GapReason {
    /// The connection that carried the stream was lost, or given up, and another one carries it now.
    ConnectionLost,
    /// An id was left out on a connection that stood.
    IdJump,
    /// The stream was subscribed again on a connection that stood, because it was silent or had lost its snapshot.
    Resubscribed,
    /// While two connections carried the stream, more ids came than are remembered of it: nothing is missing, but a trade may
    /// come twice. Told once for each overlap and stream.
    WindowEvicted,
}

impl GapReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::ConnectionLost, Self::IdJump, Self::Resubscribed, Self::WindowEvicted];

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectionLost => "connection_lost",
            Self::IdJump => "id_jump",
            Self::Resubscribed => "resubscribed",
            Self::WindowEvicted => "window_evicted",
        }
    }
}

/// The marker of an outage: delivered before the first event behind it. While two connections carry a stream, a hole that one
/// of them leaves is told only once the other has had its time to fill it; its marker then comes behind later events.
///
/// An outage after which the ids go on where they had stopped has no marker: it is counted as closed without loss.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    /// The symbol, and when the first event behind the hole was received. The venue's times are not given.
    pub meta: Meta,
    /// Which of the symbol's streams.
    pub stream_kind: StreamKind,
    /// Id of the last event before the hole: of trades and aggregates. `None` for other streams, whose ids are not kept.
    pub before: Option<TradeId>,
    /// Id of the first event behind it: a trade's or aggregate's, or, as a number, the update id of a quote or the first one of
    /// a book's change. `None` where the stream has no ids.
    pub after: Option<TradeId>,
    /// How many ids lie between, where the venue's are consecutive (Binance's trades and aggregates). `None`: unknown.
    pub missing: Option<u64>,
    /// From the last event of the stream that came before to the first behind, in nanoseconds, by our receive stamps.
    pub outage_ns: u64,
    /// Why.
    pub reason: GapReason,
}
