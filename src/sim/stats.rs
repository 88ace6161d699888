//! What the exchange counted.

use super::faults::{FAULT_NAMES, Fault};
use crate::market::{EventKind, Venue};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of event, in the order of their discriminants, with the name they have in a report.
const KINDS: [(EventKind, &str); 8] = [
    (EventKind::Trade, "trade"),
    (EventKind::AggTrade, "agg_trade"),
    (EventKind::Quote, "quote"),
    (EventKind::Ticker, "ticker"),
    (EventKind::Book, "book"),
    (EventKind::Kline, "kline"),
    (EventKind::MarkPrice, "mark_price"),
    (EventKind::Liquidation, "liquidation"),
];

/// A limit of the venue that a client broke.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Violation {
    MessagesPerSecond,
    StreamsPerConnection,
    ArgsPerRequest,
    ArgsCharacters,
    ConnectsPerAddress,
    RestWeight,
    /// A request that came into a 429, before `Retry-After` had passed.
    RestIgnored,
}

/// Names of the limits, in the order of their discriminants.
pub(super) const VIOLATION_NAMES: [&str; 7] = [
    "messages_per_second",
    "streams_per_connection",
    "args_per_request",
    "args_characters",
    "connects_per_address",
    "rest_weight",
    "rest_retry_after_ignored",
];

/// Those that counted something.
fn by_name(names: &[&str], counts: &[AtomicU64]) -> BTreeMap<String, u64> {
    let counted = names.iter().zip(counts).map(|(name, count)| ((*name).to_owned(), count.load(Ordering::Relaxed)));
    counted.filter(|(_, count)| *count > 0).collect()
}

/// All counters, by the venues' names.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SimStats {
    /// One entry a venue served.
    pub venues: BTreeMap<String, VenueStats>,
}

impl SimStats {
    /// A venue's counters, if it is served.
    #[must_use]
    pub fn venue(&self, venue: Venue) -> Option<&VenueStats> {
        self.venues.get(venue.name())
    }
}

/// Frames of a recording that are not played, and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Exclusion {
    /// The file, as folder and name.
    pub file: String,
    /// How many of its lines are left out.
    pub lines: u64,
    /// Why.
    pub reason: String,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One venue's counters since the start.
        #[derive(Clone, Debug, Default, Serialize)]
        pub struct VenueStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Faults that struck, by name.
            pub faults: BTreeMap<String, u64>,
            /// Limits of the venue that a client broke, by name.
            pub limit_violations: BTreeMap<String, u64>,
            /// Events sent, by kind; an all-market array or a trade message may hold several.
            pub events_sent: BTreeMap<String, u64>,
            /// True once every recorded frame was sent.
            pub playback_finished: bool,
            /// What of the recording is not played.
            pub exclusions: Vec<Exclusion>,
        }

        /// The live counters.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
            events: [AtomicU64; KINDS.len()],
            faults: [AtomicU64; FAULT_NAMES.len()],
            violations: [AtomicU64; VIOLATION_NAMES.len()],
        }

        impl Counters {
            pub(super) fn read(&self) -> VenueStats {
                let events = KINDS.iter().zip(&self.events);
                let events = events.map(|((_, name), count)| ((*name).to_owned(), count.load(Ordering::Relaxed)));
                VenueStats {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    faults: by_name(&FAULT_NAMES, &self.faults),
                    limit_violations: by_name(&VIOLATION_NAMES, &self.violations),
                    events_sent: events.filter(|(_, count)| *count > 0).collect(),
                    playback_finished: false,
                    exclusions: Vec::new(),
                }
            }
        }
    };
}

counters! {
    /// TCP connections accepted on the WebSocket listeners.
    connections_accepted,
    /// WebSocket connections open now.
    connections_open,
    /// Upgrades refused: a path the venue does not know, or a request that is none.
    upgrades_refused,
    /// Messages sent: data and answers.
    messages_sent,
    /// Ping frames sent.
    pings_sent,
    /// Pong frames received.
    pongs_received,
    /// Ping frames received.
    pings_received,
    /// Text messages received.
    requests_received,
    /// Of those, subscribe requests.
    subscribe_requests,
    /// Requests answered with an error.
    request_errors,
    /// Connections closed for too many messages in one second.
    rate_limit_closes,
    /// Connections dropped because they did not read.
    slow_clients_dropped,
    /// Connections dropped because no pong came, or nothing at all for ten minutes.
    silent_clients_dropped,
    /// Connections lost on request.
    connections_killed,
    /// Messages that came due and were not made, because the exchange fell more than a second behind its rate.
    messages_late,
    /// Events a slow stream never got, because another connection made the market move on without it.
    events_skipped,
    /// REST requests received.
    rest_requests,
    /// Of those, answered: with what was asked for, or with a limit.
    rest_answers,
    /// Streams that were asked for while they were live on the same connection.
    duplicate_subscriptions,
    /// `serverShutdown` events sent.
    notices_sent,
    /// Data messages made and not sent, because a fault silences them.
    messages_suppressed,
    /// Auth requests received.
    auth_requests,
    /// Of those, accepted.
    auth_accepted,
    /// Refused: not the documented form, or another key.
    auth_malformed,
    /// Refused: expired.
    auth_expired,
    /// Refused: the signature is not that of the secret, or on order.
    auth_wrong_signature,
    /// Frames of the recording.
    frames_total,
    /// Frames that at least one connection got.
    frames_played,
    /// Frames that nobody was subscribed to when their turn came.
    frames_unsent,
}

impl Counters {
    /// Counts a fault that struck.
    pub(super) fn strike(&self, fault: &Fault) {
        if let Some(index) = fault.index() {
            self.strike_at(index);
        }
    }

    pub(super) fn strike_at(&self, index: usize) {
        count(&self.faults[index]);
    }

    pub(super) fn violate(&self, violation: Violation) {
        count(&self.violations[violation as usize]);
    }

    pub(super) fn add_events(&self, kind: EventKind, count: u64) {
        self.events[kind as usize].fetch_add(count, Ordering::Relaxed);
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_counted_under_its_own_name() {
        let counters = Counters::default();
        counters.violate(Violation::RestIgnored);
        counters.violate(Violation::MessagesPerSecond);
        let counted = counters.read().limit_violations;
        assert_eq!(counted.keys().collect::<Vec<_>>(), ["messages_per_second", "rest_retry_after_ignored"]);
    }

    #[test]
    fn every_kind_is_counted_under_its_own_name() {
        let counters = Counters::default();
        for (index, (kind, _)) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            counters.add_events(kind, index as u64 + 1);
        }
        let events = counters.read().events_sent;
        assert!(KINDS.iter().all(|(kind, name)| events[*name] == *kind as u64 + 1), "{events:?}");
    }
}
