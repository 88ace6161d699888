//! The contract for machines: what `run --json` and `demo --json` print, one object on one line.
//!
//! ```text
//! Report ── connections[] ── read_to_handler_ns, visit_gap_ns, venue_age_ms, subscriptions, samples
//!        ── hot_threads[] ── stages, stamps, books
//!        ── lanes[]
//!        ── lists[]
//! ```
//! Plain data. Every counter is a total since the engine started, so a consumer that missed a line lost nothing: rates
//! are differences. Keys are stable: they may be joined by others, never renamed, moved or given another unit.
//! A percentile of nothing recorded is 0; `frames` says whether there was anything to record.

use super::books::BooksReport;
use super::lists::ListReport;
use super::stages::{StageReport, StampReport};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything the engine says about itself at one moment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// True for the last report of a run and for no other.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Seconds since the engine started.
    pub elapsed_s: f64,
    /// One entry for each socket of each configured connection, core by core, in the order of the configuration.
    pub connections: Vec<ConnectionReport>,
    /// One entry for each hot core.
    pub hot_threads: Vec<HotThreadReport>,
    /// Symbols known to the engine.
    pub symbols: usize,
    /// One entry for each lane beside a hot core; empty without any.
    #[serde(default)]
    pub lanes: Vec<LaneReport>,
    /// One entry for each venue: what its instrument list says.
    #[serde(default)]
    pub lists: Vec<ListReport>,
    /// True while some connection is down that should be up.
    pub halted: bool,
    /// Why the engine is ending by itself; `null` while it is not.
    pub failure: Option<Failure>,
}

/// One connection, over all the times it was connected.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ConnectionReport {
    /// Its name in the configuration.
    pub name: String,
    /// `binance-spot`, `binance-usdm`, `bybit-spot` or `bybit-linear`.
    pub venue: String,
    /// `Listing` while the venue's instrument list is awaited, then its session's state: `Disconnected`, `Connecting`,
    /// `Connected`, `Ready`, `Reconnecting`, `Closing` or `Closed`. `Ready` means that every wanted subscription was
    /// confirmed or refused by the venue.
    pub state: String,
    /// `hot` or `cold`.
    pub transport: String,
    /// WebSocket messages received (text and binary, fragments joined), control-plane messages among them.
    pub frames: u64,
    /// Market events decoded and given to the router.
    pub events: u64,
    /// Messages that gave no event though they should have, and elements of arrays that did not; `unparsed_reasons`
    /// says why. Unknown symbols are `unrouted`.
    pub unparsed: u64,
    /// Events without a handler (the fallback had them), and elements of symbols that are not wanted.
    pub unrouted: u64,
    /// Messages that a tier-one scanner refused and tier two decoded: schema drift, an alarm.
    pub tier_two: u64,
    /// Times the connection was made again after the first.
    pub reconnects: u64,
    /// From the return of the read to the return of the handler, nanoseconds, of the messages that are stamped.
    pub read_to_handler_ns: Percentiles,
    /// How long nobody had looked at the socket when a visit began, nanoseconds: the core was busy elsewhere. A sleep that
    /// watches the socket does not count.
    pub visit_gap_ns: Percentiles,
    /// From the venue's event time to the return of the read, milliseconds, by this machine's clock.
    pub venue_age_ms: AgePercentiles,
    /// WebSocket pings received and answered.
    pub pings: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Acks, errors, pongs and notices handed to the control plane.
    pub control_messages: u64,
    /// What gave no event, by reason (`not_json`, `unknown_shape`, `missing_field`, `wrong_type`, `unknown_symbol`, `off_grid`,
    /// `bad_number`, `too_many_levels`, `no_snapshot`); a reason that never occurred is absent.
    pub unparsed_reasons: BTreeMap<String, u64>,
    /// Its subscriptions, by state.
    pub subscriptions: SubscriptionCounts,
    /// The last thing that went wrong, in words; `null` if nothing did.
    pub last_error: Option<String>,
    /// Lost connections and failed connects, by reason: `connect_failed`, `end_without_close`, `masked_frame`, ...
    pub losses: BTreeMap<String, u64>,
    /// Control-plane messages that the hot core could not hand over: its ring or pool was full, or the message too long.
    pub control_dropped: u64,
    /// Control-plane messages of no known meaning.
    pub control_unknown: u64,
    /// The last one of them, its first bytes; `null` without any.
    pub last_control_unknown: Option<String>,
    /// Answers that fit no request under way.
    pub acks_unmatched: u64,
    /// Requests that were not answered in time.
    pub ack_timeouts: u64,
    /// Events that another socket of a rotation or another leg had brought, or led: not delivered.
    pub repeated: u64,
    /// Changes of a book, in a rotation or of a leg, that joined to nothing yet when they came: they wait for what does.
    pub ahead: u64,
    /// Sockets replaced by a successor.
    pub rotations: u64,
    /// Rotations that came to nothing.
    pub rotations_failed: u64,
    /// Subscriptions that are silent now.
    pub silent: u64,
    /// Times a subscription fell silent.
    pub silences: u64,
    /// Silent subscriptions that were to be subscribed again.
    pub resubscribes: u64,
    /// Silent subscriptions that were to be given to another socket.
    pub moves: u64,
    /// Messages whose venue time lies after their receive stamp: a clock is off. They count as age 0.
    pub from_the_future: u64,
    /// Trade ids that left the window of a rotation or of legs for newer ones.
    pub window_evictions: u64,
    /// Markers of holes given to the strategy, by reason: `connection_lost`, `id_jump`, `resubscribed`, `window_evicted`; a
    /// reason that never occurred is absent.
    #[serde(default)]
    pub gaps: BTreeMap<String, u64>,
    /// Interruptions of a stream of trades after which its ids went on where they had stopped.
    #[serde(default)]
    pub gaps_without_loss: u64,
    /// Holes that one socket of a rotation left and the other filled before they were told.
    #[serde(default)]
    pub gaps_filled: u64,
    /// Trades and aggregates that were missing when their hole was told.
    #[serde(default)]
    pub ids_missing: u64,
    /// Those of them that were delivered refilled.
    #[serde(default)]
    pub ids_refilled: u64,
    /// Missing ones that were not fetched, by reason: `off`, `not_offered`, `too_many`, `queue_full`, `too_late`,
    /// `held_off`, `rate_limited`, `refused`, `timed_out`, `failed`, `unreadable`, `not_there`; and `no_room`, where the core
    /// keeps too many holes.
    #[serde(default)]
    pub ids_not_refilled: BTreeMap<String, u64>,
    /// Missing ones that came late on their stream after all.
    #[serde(default)]
    pub ids_late: u64,
    /// Trades and aggregates with an id at or before the last one of their stream, in no hole: delivered.
    #[serde(default)]
    pub ids_back: u64,
    /// Fetched and not delivered: they had come on their stream, or came there later.
    #[serde(default)]
    pub refills_unneeded: u64,
    /// Quotes that were not delivered because a newer one of their symbol lay behind them.
    #[serde(default)]
    pub quotes_folded: u64,
    /// Where it is one of several legs: events with an identity that it brought first.
    #[serde(default)]
    pub won: u64,
    /// Those that another leg had brought before, or something further. They are among `repeated`.
    #[serde(default)]
    pub lost: u64,
    /// How long after the winner it brought what both brought, nanoseconds between the two reads.
    #[serde(default)]
    pub lag_ns: Percentiles,
    /// Who opens the TLS records of its socket: `in_place` or `rustls`; `null` without TLS, on the cold runtime, and before
    /// the first connect.
    pub tls: Option<String>,
    /// Connects whose records were to be opened in place and stayed with rustls: TLS 1.2, an unknown cipher suite.
    pub tls_fallbacks: u64,
    /// Key updates of the server that were followed, where records are opened in place.
    pub key_updates: u64,
    /// Session tickets that came too late to be stored, where records are opened in place.
    pub tickets_dropped: u64,
    /// The first message refused for each reason, cut short.
    pub samples: Vec<SampleReport>,
}

/// One hot core's thread.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct HotThreadReport {
    /// The processor it is pinned to, as the operating system numbers them.
    pub core: usize,
    /// WebSocket messages it has handled.
    pub messages: u64,
    /// Memory blocks it has taken or resized since its loop began; `null` where the program does not count them.
    pub allocations: Option<u64>,
    /// Page faults since its loop began, minor and major; `null` where the system does not say.
    pub page_faults: Option<u64>,
    /// Times the scheduler took the core away from it; `null` where the system does not say.
    pub involuntary_switches: Option<u64>,
    /// Largest difference found between its clock and CLOCK_MONOTONIC, ns.
    pub clock_error_ns_max: u64,
    /// Times its clock stepped because it was more than a millisecond off: a suspended or paused machine.
    pub clock_steps: u64,
    /// Those of `page_faults` that waited for a disk.
    #[serde(default)]
    pub page_faults_major: Option<u64>,
    /// Times it gave the core up by itself: it slept; `null` where the system does not say.
    #[serde(default)]
    pub voluntary_switches: Option<u64>,
    /// Where the time of its stamped messages went.
    pub stages: StageReport,
    /// What stamping them costs.
    pub stamps: StampReport,
    /// The books it keeps.
    #[serde(default)]
    pub books: BooksReport,
}

/// One lane: a thread beside a hot core that runs a strategy too slow for it. Of every event that was sent: delivered,
/// dropped, replaced, too long, or waiting; nothing else becomes of one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct LaneReport {
    /// The name of its `[[lane]]` and its number in it.
    pub lane: String,
    /// What it runs.
    pub strategy: String,
    /// CPU of the hot core whose events it gets.
    pub core: usize,
    /// CPU it is pinned to; `null` where it runs on the cold ones.
    pub cpu: Option<usize>,
    /// `latest`, `drop_oldest` or `block`.
    pub policy: String,
    /// True where the core waits for the lane when that is full: the core's promise to be held up by nothing is given up.
    pub holds_core: bool,
    /// Events that it holds at most.
    pub slots: usize,
    /// Events that the core had for it.
    pub sent: u64,
    /// Events whose handler has returned.
    pub delivered: u64,
    /// Events lost because it was full.
    pub dropped: u64,
    /// Events lost to a newer one of their symbol and stream.
    pub replaced: u64,
    /// Books lost because they have more levels than its slots have room for.
    pub too_long: u64,
    /// Events that wait or are in the handler; in the last report: what was left.
    pub waiting: u64,
    /// Most that waited at a time.
    pub waiting_max: u64,
    /// Times the core waited for it.
    pub blocked: u64,
    /// How long the core waited for it, nanoseconds, all together.
    pub blocked_ns: u64,
    /// Delivered events without a handler.
    pub unrouted: u64,
    /// From the core's hand-over to the call of the handler, nanoseconds, of a sample.
    pub hop_ns: Percentiles,
}

impl LaneReport {
    /// Events that were sent and will never be delivered.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.dropped + self.replaced + self.too_long
    }
}

/// Percentiles of a time, nanoseconds, over the whole run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of all values are at most this.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

impl Percentiles {
    /// Reads them from a histogram of nanoseconds; all zero from an empty one.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

impl Percentiles {
    /// Reads them from buckets in rising order, each as (the largest value it stands for, its count), and the exact
    /// maximum; all zero where every bucket is empty. No percentile is above the maximum.
    #[must_use]
    pub fn of_buckets(buckets: &(impl Iterator<Item = (u64, u64)> + Clone), max: u64) -> Self {
        let quantile = |per_mille| quantile(buckets.clone(), per_mille).unwrap_or_default().min(max);
        Self { p50: quantile(500), p99: quantile(990), p999: quantile(999), max }
    }
}

/// The value at or below which `per_mille` thousandths of all counted values lie; `None` of none.
fn quantile(buckets: impl Iterator<Item = (u64, u64)> + Clone, per_mille: u64) -> Option<u64> {
    let total: u64 = buckets.clone().map(|(_, count)| count).sum();
    let rank = u128::from(total) * u128::from(per_mille);
    let mut passed = 0_u128;
    buckets.into_iter().find_map(|(value, count)| {
        passed += u128::from(count) * 1_000;
        (count > 0 && passed >= rank).then_some(value)
    })
}

/// Percentiles of the data's age, milliseconds, over the whole run. Zero where this machine's clock is behind the
/// venue's, which `from_the_future` counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct AgePercentiles {
    /// Half of all values are at most this.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
}

impl AgePercentiles {
    /// Reads them from buckets of nanoseconds, as [`Percentiles::of_buckets`] does.
    #[must_use]
    pub fn of_buckets(buckets: &(impl Iterator<Item = (u64, u64)> + Clone), max_ns: u64) -> Self {
        let ns = Percentiles::of_buckets(buckets, max_ns);
        Self { p50: ns.p50 as f64 / 1e6, p99: ns.p99 as f64 / 1e6 }
    }
}

/// One connection's subscriptions (a channel of a symbol each), by state.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SubscriptionCounts {
    /// Asked for by the configuration or the strategy.
    pub wanted: u64,
    /// Confirmed by the venue.
    pub active: u64,
    /// Sent and not answered yet.
    pub pending: u64,
    /// Refused by the venue.
    pub refused: u64,
}

/// A message that gave no event.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SampleReport {
    /// Why, one of the keys of `unparsed_reasons`.
    pub reason: String,
    /// The member concerned, as the venue names it; empty where there is none.
    pub field: String,
    /// Length of the whole message in bytes.
    pub message_bytes: u64,
    /// Its beginning, invalid UTF-8 replaced.
    pub text: String,
}

/// Why an engine ends by itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// In words, with the core and the event concerned.
    pub message: String,
}

/// What kind of failure ends an engine; each has an exit code of its own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A strategy's handler panicked.
    HandlerPanicked,
    /// Anything else: a core that could not start or be pinned, the cold runtime gone.
    Runtime,
}

impl Report {
    /// This report as one JSON object on one line, without the line's end.
    ///
    /// # Panics
    /// Never: every key is text and every value is a number, a text or a list of them.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain structs with text keys always serialise")
    }

    /// WebSocket messages of all connections.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.connections.iter().map(|connection| connection.frames).sum()
    }

    /// Market events of all connections.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.connections.iter().map(|connection| connection.events).sum()
    }
}

impl ConnectionReport {
    /// True once every wanted subscription is confirmed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.eq_ignore_ascii_case("ready")
    }

    /// What an operator should look at: messages unparsed or of an unexpected shape, subscriptions refused, connections
    /// lost.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.unparsed + self.tier_two + self.subscriptions.refused + self.losses.values().sum::<u64>()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::stages::StageTimes;
    use super::*;

    /// A report of two connections and one hot thread, `elapsed_s` seconds in, at 1,000 frames a second each.
    pub(in crate::telemetry) fn report(elapsed_s: u32) -> Report {
        let frames = u64::from(elapsed_s) * 1_000;
        let connection = |name: &str, venue: &str| ConnectionReport {
            name: name.into(),
            venue: venue.into(),
            state: "ready".into(),
            transport: "hot".into(),
            frames,
            events: frames - 2,
            read_to_handler_ns: Percentiles { p50: 410, p99: 1_250, p999: 18_400, max: 2_100_000 },
            visit_gap_ns: Percentiles { p50: 260, p99: 900, p999: 4_000, max: 950_000 },
            venue_age_ms: AgePercentiles { p50: 0.25, p99: 1.5 },
            bytes: frames * 150,
            control_messages: 2,
            subscriptions: SubscriptionCounts { wanted: 4, active: 4, pending: 0, refused: 0 },
            ..ConnectionReport::default()
        };
        Report {
            is_final: false,
            elapsed_s: f64::from(elapsed_s),
            connections: vec![connection("binance", "binance-spot"), connection("bybit", "bybit-linear")],
            hot_threads: vec![HotThreadReport {
                core: 1,
                messages: frames * 2,
                allocations: Some(0),
                page_faults: Some(12),
                involuntary_switches: Some(3),
                clock_error_ns_max: 80,
                clock_steps: 0,
                page_faults_major: Some(0),
                voluntary_switches: Some(1_041),
                stages: StageReport {
                    read_to_framed_ns: StageTimes {
                        count: frames / 32,
                        ns: Percentiles { p50: 45, p99: 900, p999: 4_100, max: 31_000 },
                    },
                    ..StageReport::default()
                },
                stamps: StampReport { every: 64, counter_ns: 8.2, hot_ns: 41.0, cold_ns: Some(402.0) },
                books: BooksReport {
                    live: 3,
                    stale: 1,
                    applied: frames / 2,
                    stale_reasons: BTreeMap::from([("gap".to_owned(), 2)]),
                    ..BooksReport::default()
                },
            }],
            symbols: 4,
            lanes: Vec::new(),
            lists: vec![ListReport {
                venue: "binance-spot".into(),
                lists: 3,
                ticks_changed: 1,
                ..ListReport::default()
            }],
            halted: false,
            failure: None,
        }
    }

    #[test]
    fn the_json_is_one_line_with_the_contracts_keys_in_their_order() {
        let json = report(2).to_json();
        assert!(!json.contains('\n'));
        let keys = [
            "{\"final\":false",
            "\"elapsed_s\":2.0",
            "\"connections\":[{",
            "\"name\":\"binance\"",
            "\"venue\":\"binance-spot\"",
            "\"state\":\"ready\"",
            "\"transport\":\"hot\"",
            "\"frames\":2000",
            "\"events\":1998",
            "\"unparsed\":0",
            "\"unrouted\":0",
            "\"tier_two\":0",
            "\"reconnects\":0",
            "\"read_to_handler_ns\":{\"p50\":410,\"p99\":1250,\"p999\":18400,\"max\":2100000}",
            "\"visit_gap_ns\":{\"p50\":260,\"p99\":900,\"p999\":4000,\"max\":950000}",
            "\"venue_age_ms\":{\"p50\":0.25,\"p99\":1.5}",
            "\"hot_threads\":[{\"core\":1,\"messages\":4000,\"allocations\":0,\"page_faults\":12,\"involuntary_switches\":3,",
            "\"stages\":{\"kernel_to_read_ns\":{\"count\":0,\"p50\":0,",
            "\"read_to_framed_ns\":{\"count\":62,\"p50\":45,\"p99\":900,\"p999\":4100,\"max\":31000}",
            "\"stamps\":{\"every\":64,\"counter_ns\":8.2,\"hot_ns\":41.0,\"cold_ns\":402.0}",
            "\"books\":{\"live\":3,\"waiting\":0,\"stale\":1,\"applied\":1000,",
            "\"stale_reasons\":{\"gap\":2}}",
            "\"symbols\":4",
            "\"lists\":[{\"venue\":\"binance-spot\",\"lists\":3,\"lists_failed\":0,\"lists_put_off\":0,\"ticks_changed\":1,",
            "\"ticks_too_fine\":0,\"not_trading\":0}]",
        ];
        let mut from = 0;
        for key in keys {
            let at = json[from..].find(key).unwrap_or_else(|| panic!("{key} is missing after byte {from} of {json}"));
            from += at + key.len();
        }
    }

    #[test]
    fn a_report_is_read_back_as_it_was_written() {
        let mut report = report(3);
        report.failure =
            Some(Failure { kind: FailureKind::HandlerPanicked, message: "core 1: \"quoted\"\nline".into() });
        report.connections[0].unparsed_reasons.insert("not_json".into(), 1);
        report.connections[0].samples.push(SampleReport { text: "{\u{1b}\n".into(), ..SampleReport::default() });
        let json = report.to_json();
        assert!(!json.contains('\n'));
        assert_eq!(serde_json::from_str::<Report>(&json).expect("our own JSON"), report);
    }

    #[test]
    fn percentiles_come_from_the_histogram_and_an_empty_one_gives_zeros() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3).expect("bounds in order");
        assert_eq!(Percentiles::of(&histogram), Percentiles::default());
        for value in 1..=1_000 {
            histogram.record(value).expect("in bounds");
        }
        assert_eq!(Percentiles::of(&histogram), Percentiles { p50: 500, p99: 990, p999: 999, max: 1_000 });
    }

    #[test]
    fn percentiles_of_buckets_are_those_of_the_values_counted() {
        let one_to_thousand = (1..=1_000).map(|value| (value, 1));
        let expected = Percentiles { p50: 500, p99: 990, p999: 999, max: 1_000 };
        assert_eq!(Percentiles::of_buckets(&one_to_thousand, 1_000), expected);
        assert_eq!(Percentiles::of_buckets(&std::iter::empty(), 0), Percentiles::default());
        assert_eq!(Percentiles::of_buckets(&[(9, 0)].into_iter(), 0), Percentiles::default());
        // A bucket may stand for values above the largest recorded; no percentile may.
        let one = Percentiles::of_buckets(&[(0, 0), (1_023, 1)].into_iter(), 1_000);
        assert_eq!(one, Percentiles { p50: 1_000, p99: 1_000, p999: 1_000, max: 1_000 });
        let age = AgePercentiles::of_buckets(&[(1_500_000, 99), (9_000_000, 1)].into_iter(), 9_000_000);
        assert_eq!(age, AgePercentiles { p50: 1.5, p99: 1.5 });
    }

    #[test]
    fn errors_are_what_an_operator_should_look_at() {
        let mut connection = report(1).connections.remove(0);
        assert_eq!(connection.errors(), 0);
        connection.unparsed = 1;
        connection.subscriptions.refused = 2;
        connection.losses.insert("end_without_close".into(), 4);
        connection.tier_two = 8;
        assert_eq!(connection.errors(), 15);
    }
}
