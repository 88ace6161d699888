//! One connection's life: its states, the legal edges between them, and no others. Owned by the connection machine.
//!
//! ```text
//! Disconnected ─Start► Connecting ─Connected► Connected ◄─Settled / Unsettled─► Ready
//!                       ▲      │               ▲  │                               │
//!                       │      │  Authenticated│  ▼Authenticate                   │
//!                       │      │           Authenticating                         │
//!                  Retry│      └──────Lost────────┴──────────────Lost─────────────┘
//!                  Reconnecting{attempt} ◄────────┘        Stop (from any but Closed) ─► Closing ─Closed► Closed
//!                       └─GiveUp► Closed
//! ```
//! An edge that a state does not have is counted and changes nothing: late events of a socket that is already gone are
//! a fact of life, not a reason to panic. Where credentials are given, nothing is subscribed before the venue has accepted
//! them, on every connection anew.

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Never started.
    Disconnected,
    /// A connect is under way.
    Connecting,
    /// The upgrade is done; some wanted subscription is not yet confirmed or refused.
    Connected,
    /// The upgrade is done and our credentials are sent; the venue's answer is awaited.
    Authenticating,
    /// Every wanted subscription is confirmed or refused.
    Ready,
    /// Waiting before the next attempt.
    Reconnecting {
        /// Failures in a row, from 1.
        attempt: u32,
    },
    /// The close handshake, or the end of an abandoned connect, is awaited.
    Closing,
    /// Over, for good.
    Closed,
}

impl State {
    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "Disconnected",
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
            Self::Authenticating => "Authenticating",
            Self::Ready => "Ready",
            Self::Reconnecting { .. } => "Reconnecting",
            Self::Closing => "Closing",
            Self::Closed => "Closed",
        }
    }

    /// True while the socket is up.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Connected | Self::Authenticating | Self::Ready)
    }
}

/// What moves a connection from one state to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edge {
    /// The operator wants it up.
    Start,
    /// The upgrade is done.
    Connected,
    /// Our credentials were sent.
    Authenticate,
    /// The venue accepted them.
    Authenticated,
    /// Every wanted subscription is confirmed or refused.
    Settled,
    /// A subscription was added, removed or lost.
    Unsettled,
    /// The connect failed or the socket is gone; another attempt will follow.
    Lost {
        /// Failures in a row, from 1.
        attempt: u32,
    },
    /// The wait is over.
    Retry,
    /// No attempt is left.
    GiveUp,
    /// The operator wants it down.
    Stop,
    /// The socket is closed.
    Closed,
}

impl Edge {
    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Connected => "connected",
            Self::Authenticate => "authenticate",
            Self::Authenticated => "authenticated",
            Self::Settled => "settled",
            Self::Unsettled => "unsettled",
            Self::Lost { .. } => "lost",
            Self::Retry => "retry",
            Self::GiveUp => "give_up",
            Self::Stop => "stop",
            Self::Closed => "closed",
        }
    }
}

/// One connection's state and the illegal edges it was asked to take.
#[derive(Debug)]
pub struct Session {
    state: State,
    illegal_count: u64,
    last_illegal: Option<(State, &'static str)>,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session that was never started.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Disconnected, illegal_count: 0, last_illegal: None }
    }

    /// Takes an edge. Returns false, counts it and changes nothing if the state does not have it.
    pub fn take(&mut self, edge: Edge) -> bool {
        match Self::target(self.state, edge) {
            Some(state) => {
                self.state = state;
                true
            }
            None => {
                self.note_illegal(edge.name());
                false
            }
        }
    }

    /// Counts an event that the present state has no use for.
    pub fn note_illegal(&mut self, event: &'static str) {
        self.illegal_count += 1;
        self.last_illegal = Some((self.state, event));
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Illegal edges so far.
    #[must_use]
    pub const fn illegal_count(&self) -> u64 {
        self.illegal_count
    }

    /// The last illegal edge: the state it met, and its name.
    #[must_use]
    pub const fn last_illegal(&self) -> Option<(State, &'static str)> {
        self.last_illegal
    }

    /// The table of legal edges.
    const fn target(state: State, edge: Edge) -> Option<State> {
        match (state, edge) {
            (State::Disconnected, Edge::Start) | (State::Reconnecting { .. }, Edge::Retry) => Some(State::Connecting),
            (State::Connecting, Edge::Connected)
            | (State::Authenticating, Edge::Authenticated)
            | (State::Ready, Edge::Unsettled) => Some(State::Connected),
            (State::Connected, Edge::Authenticate) => Some(State::Authenticating),
            (State::Connected, Edge::Settled) => Some(State::Ready),
            (State::Connecting | State::Connected | State::Authenticating | State::Ready, Edge::Lost { attempt }) => {
                Some(State::Reconnecting { attempt })
            }
            (State::Connecting | State::Connected | State::Authenticating | State::Ready, Edge::Stop) => {
                Some(State::Closing)
            }
            (State::Connecting | State::Connected | State::Authenticating | State::Ready, Edge::GiveUp)
            | (State::Disconnected | State::Reconnecting { .. }, Edge::Stop)
            | (State::Closing, Edge::Closed) => Some(State::Closed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EDGES: [Edge; 11] = [
        Edge::Start,
        Edge::Connected,
        Edge::Authenticate,
        Edge::Authenticated,
        Edge::Settled,
        Edge::Unsettled,
        Edge::Lost { attempt: 1 },
        Edge::Retry,
        Edge::GiveUp,
        Edge::Stop,
        Edge::Closed,
    ];

    #[test]
    fn a_connection_lives_its_whole_life_along_legal_edges() {
        let mut session = Session::new();
        for (edge, state) in [
            (Edge::Start, State::Connecting),
            (Edge::Lost { attempt: 1 }, State::Reconnecting { attempt: 1 }),
            (Edge::Retry, State::Connecting),
            (Edge::Connected, State::Connected),
            (Edge::Authenticate, State::Authenticating),
            (Edge::Authenticated, State::Connected),
            (Edge::Settled, State::Ready),
            (Edge::Unsettled, State::Connected),
            (Edge::Settled, State::Ready),
            (Edge::Stop, State::Closing),
            (Edge::Closed, State::Closed),
        ] {
            assert!(session.take(edge), "{}", edge.name());
            assert_eq!(session.state(), state);
        }
        assert_eq!(session.illegal_count(), 0);
    }

    #[test]
    fn each_state_has_exactly_its_own_edges() {
        let table: [(State, &[&str]); 8] = [
            (State::Disconnected, &["start", "stop"]),
            (State::Connecting, &["connected", "lost", "give_up", "stop"]),
            (State::Connected, &["authenticate", "settled", "lost", "give_up", "stop"]),
            (State::Authenticating, &["authenticated", "lost", "give_up", "stop"]),
            (State::Ready, &["unsettled", "lost", "give_up", "stop"]),
            (State::Reconnecting { attempt: 3 }, &["retry", "stop"]),
            (State::Closing, &["closed"]),
            (State::Closed, &[]),
        ];
        for (state, legal) in table {
            let names: Vec<_> =
                EDGES.into_iter().filter(|&e| Session::target(state, e).is_some()).map(Edge::name).collect();
            assert_eq!(names, legal, "{}", state.name());
        }
    }

    proptest! {
        #[test]
        fn an_illegal_edge_is_counted_by_name_and_changes_nothing(edges in proptest::collection::vec(0..EDGES.len(), 0..60)) {
            let mut session = Session::new();
            for edge in edges.into_iter().map(|index| EDGES[index]) {
                let (before, count) = (session.state(), session.illegal_count());
                if session.take(edge) {
                    prop_assert_eq!(session.illegal_count(), count);
                } else {
                    prop_assert_eq!(session.state(), before);
                    prop_assert_eq!(session.illegal_count(), count + 1);
                    prop_assert_eq!(session.last_illegal(), Some((before, edge.name())));
                }
            }
        }
    }
}
