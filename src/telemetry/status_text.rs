//! A status for a person: tables that fit a terminal, and by name only what needs attention.
//!
//! ```text
//! CONNECTION      VENUE         STATE   LEGS  AGE     NEXT ROTATION  LAST BYTE  LAST DATA
//! binance-spot-a  binance-spot  ready   1     2h 03m  20h 41m        12 ms      12 ms
//! ```
//! Pure: a status in, a text out.

use super::lists::ListReport;
use super::render::duration_text;
use super::snapshot::Percentiles;
use super::stages::StageTimes;
use super::status::{
    BookReport, BookVenueStatus, BooksStatus, ConnectionStatus, CoreStatus, EngineStatus, GovernorStatus, LaneStatus,
    SubscriptionStatus,
};
use std::fmt::Write as _;

/// Silent or refused streams named for one connection before the list is cut short.
const NAMED_MAX: usize = 20;

/// The whole status, with a line end.
#[must_use]
pub fn status_text(status: &EngineStatus) -> String {
    let mut out = String::new();
    let halted = if status.halted { "HALTED" } else { "not halted" };
    line(&mut out, &format!("up {}, {halted}, {} events dropped", age(status.elapsed_ms), status.events_dropped));
    for halted in &status.halted_connections {
        line(&mut out, &format!("  halted by {}: {} (for {})", halted.name, halted.reason, age(halted.for_ms)));
    }
    connections(&mut out, status);
    race(&mut out, status);
    subscriptions(&mut out, status);
    for connection in &status.connections {
        attention(&mut out, connection);
    }
    pending(&mut out, status);
    governor(&mut out, &status.governor);
    books(&mut out, &status.books);
    lists(&mut out, &status.lists);
    if !status.cores.is_empty() {
        let rows = status.cores.iter().map(|core| {
            let overruns = format!("{} (longest {})", core.overruns, age(core.overrun_ms_max));
            let counted = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
            vec![
                core.cpu.to_string(),
                core.sockets.to_string(),
                age(core.beat_ms_ago),
                overruns,
                format!("{} (major {})", counted(core.page_faults), counted(core.page_faults_major)),
                counted(core.involuntary_switches),
                counted(core.voluntary_switches),
            ]
        });
        let heads = ["CORE", "SOCKETS", "LAST BEAT", "OVERRUNS", "PAGE FAULTS", "INVOLUNTARY", "VOLUNTARY SWITCHES"];
        table(&mut out, &heads, rows.collect());
        stages(&mut out, &status.cores);
    }
    if !status.lanes.is_empty() {
        lanes(&mut out, &status.lanes);
    }
    out
}

/// Where the time of the stamped messages went: a row for each core and stage that was measured.
fn stages(out: &mut String, cores: &[CoreStatus]) {
    let row = |core: &CoreStatus, (stage, times, _): (&str, &StageTimes, &str)| {
        let Percentiles { p50, p99, p999, max } = times.ns;
        let [p50, p99, p999, max] = [p50, p99, p999, max].map(duration_text);
        vec![core.cpu.to_string(), stage.to_owned(), times.count.to_string(), p50, p99, p999, max]
    };
    let measured = |core: &CoreStatus| core.stages.all().map(|stage| (stage.1.count > 0).then(|| row(core, stage)));
    let rows: Vec<_> = cores.iter().flat_map(measured).flatten().collect();
    if !rows.is_empty() {
        table(out, &["CORE", "STAGE", "COUNT", "P50", "P99", "P99.9", "MAX"], rows);
    }
    for core in cores.iter().filter(|core| core.stamps.counter_ns > 0.0) {
        line(out, &format!("core {}: {}", core.cpu, core.stamps));
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{}", text.trim_end()).expect("a String takes whatever is written to it");
}

/// A heading and its rows, each column as wide as its widest cell.
fn table(out: &mut String, heads: &[&str], rows: Vec<Vec<String>>) {
    let mut all = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    line(out, "");
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(out, &cells.collect::<Vec<_>>().join("  "));
    }
}

fn connections(out: &mut String, status: &EngineStatus) {
    let row = |connection: &ConnectionStatus| {
        let state = match (connection.attempt, connection.next_attempt_in_ms) {
            (0, _) => connection.state.clone(),
            (attempt, Some(wait)) => format!("{}, attempt {attempt} in {}", connection.state, age(wait)),
            (attempt, None) => format!("{}, attempt {attempt}", connection.state),
        };
        let rotation = match (connection.rotation.is_running, connection.rotation.next_in_ms) {
            (true, _) => "now".to_owned(),
            (false, Some(wait)) => format!("in {}", age(wait)),
            (false, None) => "never".to_owned(),
        };
        let oldest = connection.legs.iter().filter_map(|leg| leg.connected_for_ms).max();
        let data = connection.legs.iter().filter_map(|leg| leg.last_data_ms_ago).min();
        vec![
            connection.name.clone(),
            connection.venue.clone(),
            state,
            connection.legs.len().to_string(),
            optional(oldest),
            rotation,
            optional(connection.heartbeat.last_byte_ms_ago),
            optional(data),
            connection.reconnects.to_string(),
        ]
    };
    let heads =
        ["CONNECTION", "VENUE", "STATE", "LEGS", "AGE", "NEXT ROTATION", "LAST BYTE", "LAST DATA", "RECONNECTS"];
    table(out, &heads, status.connections.iter().map(row).collect());
}

/// Legs, where there are any: who brings how much first, and how late the others are.
fn race(out: &mut String, status: &EngineStatus) {
    let raced = |connection: &&ConnectionStatus| connection.race.won + connection.race.lost > 0;
    let row = |connection: &ConnectionStatus| {
        let (won, lost) = (connection.race.won, connection.race.lost);
        let Percentiles { p50, p99, max, .. } = connection.race.lag_ns;
        let [p50, p99, max] = [p50, p99, max].map(duration_text);
        let share = format!("{:.1} %", won as f64 * 100.0 / (won + lost) as f64);
        vec![connection.name.clone(), won.to_string(), lost.to_string(), share, p50, p99, max]
    };
    let rows: Vec<_> = status.connections.iter().filter(raced).map(row).collect();
    if !rows.is_empty() {
        table(out, &["LEG", "WON", "LOST", "SHARE", "LAG P50", "P99", "MAX"], rows);
    }
}

fn subscriptions(out: &mut String, status: &EngineStatus) {
    let row = |connection: &ConnectionStatus| {
        let count = |is: fn(&SubscriptionStatus) -> bool| {
            connection.subscriptions.iter().filter(|subscription| is(subscription)).count().to_string()
        };
        vec![
            connection.name.clone(),
            connection.subscriptions.len().to_string(),
            count(|subscription| subscription.sent),
            count(|subscription| subscription.acknowledged),
            count(|subscription| subscription.first_data),
            count(|subscription| subscription.fresh),
            count(SubscriptionStatus::is_silent),
            count(|subscription| subscription.refused.is_some()),
        ]
    };
    let heads = ["SUBSCRIPTIONS", "WANTED", "SENT", "ACKNOWLEDGED", "FIRST DATA", "FRESH", "SILENT", "REFUSED"];
    table(out, &heads, status.connections.iter().map(row).collect());
}

/// Streams that are silent or refused, by name, and why a connection was lost.
fn attention(out: &mut String, connection: &ConnectionStatus) {
    let silent: Vec<String> = connection
        .subscriptions
        .iter()
        .filter(|subscription| subscription.is_silent())
        .map(|subscription| match subscription.last_data_ms_ago {
            Some(ms) => format!("{} (last data {} ago)", subscription.stream, age(ms)),
            None => format!("{} (no data yet)", subscription.stream),
        })
        .collect();
    let refused: Vec<String> = connection
        .subscriptions
        .iter()
        .filter_map(|subscription| subscription.refused.as_ref().map(|why| format!("{} ({why})", subscription.stream)))
        .collect();
    for (what, streams) in [("silent", silent), ("refused", refused)] {
        if !streams.is_empty() {
            line(out, &format!("{what} on {}: {}", connection.name, listed(&streams)));
        }
    }
    if connection.state != "ready"
        && let Some(loss) = &connection.last_loss
    {
        line(out, &format!("lost {}: {loss}", connection.name));
    }
}

/// How the books of each budget are, and those that are not live by name.
fn books(out: &mut String, books: &BooksStatus) {
    if books.is_unanswered {
        line(out, "books: whoever looks after them does not answer");
    }
    if books.venues.is_empty() {
        return;
    }
    let times = |took: Option<u64>, planned: Option<u64>| match (took, planned) {
        (Some(took), Some(planned)) => format!("{} (reckoned {})", age(took), age(planned)),
        (Some(took), None) => age(took),
        (None, Some(planned)) => format!("not yet (reckoned {})", age(planned)),
        (None, None) => "-".to_owned(),
    };
    let row = |venue: &BookVenueStatus| {
        vec![
            venue.venues.join(", "),
            venue.books.to_string(),
            venue.live.to_string(),
            venue.deep.to_string(),
            times(venue.took_ms, venue.planned_ms),
            times(venue.deep_took_ms, venue.deep_planned_ms),
            format!("{} (weight {})", venue.begun, venue.weight),
            venue.failed.to_string(),
            venue.resubscribed.to_string(),
            format!("{} ({} wait)", venue.in_flight + venue.resubscribing, venue.backing_off),
        ]
    };
    let heads =
        ["BOOKS", "KEPT", "LIVE", "DEEP", "ALL LIVE", "ALL DEEP", "SNAPSHOTS", "FAILED", "RESUBSCRIBED", "UNDER WAY"];
    table(out, &heads, books.venues.iter().map(row).collect());
    let not_live: Vec<String> = books
        .books
        .iter()
        .filter(|book| book.state != "live")
        .map(|book| {
            let why = book.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let since = book.for_ms.map(|ms| format!(" for {}", age(ms))).unwrap_or_default();
            let error = book.last_error.as_deref().map(|error| format!("; {error}")).unwrap_or_default();
            format!("{} {} ({}{why}{since}{error})", book.venue, book.symbol, book.state)
        })
        .collect();
    if !not_live.is_empty() {
        line(out, &format!("not live: {}", listed(&not_live)));
    }
}

/// What the venues' lists say, where there is more to it than that they were read.
fn lists(out: &mut String, lists: &[ListReport]) {
    let is_news = |list: &&ListReport| {
        list.lists_failed + list.lists_put_off + list.ticks_changed + list.ticks_too_fine + list.not_trading > 0
    };
    let row = |list: &ListReport| {
        let counts = [
            list.lists,
            list.lists_failed,
            list.lists_put_off,
            list.ticks_changed,
            list.ticks_too_fine,
            list.not_trading,
        ];
        std::iter::once(list.venue.clone()).chain(counts.map(|count| count.to_string())).collect()
    };
    let rows: Vec<Vec<String>> = lists.iter().filter(is_news).map(row).collect();
    if !rows.is_empty() {
        let heads = ["LIST", "READ", "FAILED", "PUT OFF", "TICKS CHANGED", "TOO FINE", "NOT TRADING"];
        table(out, &heads, rows);
    }
}

/// A book for a person: asks above bids, the best in the middle.
#[must_use]
pub fn book_text(book: &BookReport) -> String {
    let mut out = String::new();
    let sequence = book.sequence.map(|sequence| format!(", at {sequence}")).unwrap_or_default();
    let state = match &book.reason {
        Some(reason) => format!("STALE: {reason}"),
        None => book.state.clone(),
    };
    line(&mut out, &format!("{} {}  {state}{sequence}", book.venue, book.symbol));
    let width = |of: usize| book.bids.iter().chain(&book.asks).map(|level| level[of].len()).max().unwrap_or(0);
    let (price_width, qty_width) = (width(0), width(1));
    let rung = |side: &str, at: usize, known: usize, [price, qty]: &[String; 2]| {
        // Between those beyond the known range others may be missing.
        let mark = if at < known { "" } else { "  ?" };
        format!("  {side}  {price:>price_width$}  {qty:>qty_width$}{mark}")
    };
    for (at, level) in book.asks.iter().enumerate().rev() {
        line(&mut out, &rung("ask", at, book.asks_known, level));
    }
    line(&mut out, "");
    for (at, level) in book.bids.iter().enumerate() {
        line(&mut out, &rung("bid", at, book.bids_known, level));
    }
    out
}

fn listed(streams: &[String]) -> String {
    let named = streams.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match streams.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn pending(out: &mut String, status: &EngineStatus) {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for connection in &status.connections {
        rows.extend(connection.pending_requests.iter().map(|request| {
            let what = format!("{} of {} streams", request.operation, request.streams);
            vec![connection.name.clone(), request.id.to_string(), what, age(request.age_ms)]
        }));
    }
    rows.extend(status.requests.iter().map(|request| {
        vec![request.connection.clone(), request.id.clone(), request.method.clone(), age(request.age_ms)]
    }));
    if !rows.is_empty() {
        table(out, &["PENDING", "ID", "REQUEST", "AGE"], rows);
    }
}

fn governor(out: &mut String, budgets: &[GovernorStatus]) {
    if budgets.is_empty() {
        return;
    }
    let of = |used: u64, most: Option<u64>| match most {
        Some(most) => format!("{used} of {most}"),
        None => used.to_string(),
    };
    let row = |budget: &GovernorStatus| {
        vec![
            budget.venue.clone(),
            budget.source_address.clone().unwrap_or_else(|| "any".to_owned()),
            of(budget.connects_used, budget.connects_max),
            budget.connects_waiting.to_string(),
            of(budget.requests_used, Some(budget.requests_max)),
            of(budget.weight_used, budget.weight_max),
            budget.blocked_for_ms.map_or_else(|| "no".to_owned(), |ms| format!("for {}", age(ms))),
        ]
    };
    let heads = ["BUDGET", "FROM", "CONNECTS", "WAITING", "REQUESTS/S", "REST WEIGHT", "BLOCKED"];
    table(out, &heads, budgets.iter().map(row).collect());
}

fn lanes(out: &mut String, lanes: &[LaneStatus]) {
    let row = |lane: &LaneStatus| {
        let LaneStatus { report, beat_ms_ago, overruns, overrun_ms_max } = lane;
        let held = match report.holds_core {
            true => format!("core {} {} times, {}", report.core, report.blocked, age(report.blocked_ns / 1_000_000)),
            false => "-".to_owned(),
        };
        let us = |ns: u64| format!("{}.{} us", ns / 1_000, ns % 1_000 / 100);
        vec![
            report.lane.clone(),
            report.strategy.clone(),
            report.policy.clone(),
            report.delivered.to_string(),
            report.dropped.to_string(),
            report.replaced.to_string(),
            report.too_long.to_string(),
            format!("{} of {} (most {})", report.waiting, report.slots, report.waiting_max),
            held,
            format!("{} (p99 {})", us(report.hop_ns.p50), us(report.hop_ns.p99)),
            age(*beat_ms_ago),
            format!("{overruns} (longest {})", age(*overrun_ms_max)),
        ]
    };
    let heads = [
        "LANE",
        "STRATEGY",
        "POLICY",
        "DELIVERED",
        "DROPPED",
        "REPLACED",
        "TOO LONG",
        "WAITING",
        "HELD",
        "HOP",
        "LAST BEAT",
        "OVERRUNS",
    ];
    table(out, &heads, lanes.iter().map(row).collect());
}

fn optional(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), age)
}

/// `12 ms`, `4.2 s`, `3m 07s`, `2h 03m`, `1d 02h`.
fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{LaneReport, Percentiles};
    use super::super::stages::{StageReport, StampReport};
    use super::super::status::*;
    use super::*;

    #[test]
    fn an_age_is_as_exact_as_a_person_needs_it() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_999, "59.9 s"),
            (187_000, "3m 07s"),
            (7_380_000, "2h 03m"),
            (93_600_000, "1d 02h"),
        ] {
            assert_eq!(age(ms), text);
        }
    }

    #[test]
    fn books_of_which_nothing_is_known_are_not_shown_as_none() {
        let text = |is_unanswered| {
            let books = BooksStatus { is_unanswered, ..BooksStatus::default() };
            status_text(&EngineStatus { books, ..EngineStatus::default() })
        };
        assert!(text(true).contains("books: whoever looks after them does not answer\n"), "{}", text(true));
        assert!(!text(false).contains("books"), "{}", text(false));
    }

    #[test]
    fn what_needs_attention_is_named_and_the_rest_is_counted() {
        let subscription = |stream: &str, first_data, refused: Option<&str>| SubscriptionStatus {
            stream: stream.into(),
            sent: true,
            acknowledged: refused.is_none(),
            first_data,
            fresh: first_data,
            refused: refused.map(str::to_owned),
            ..SubscriptionStatus::default()
        };
        let connection = ConnectionStatus {
            name: "a".into(),
            venue: "binance-spot".into(),
            state: "reconnecting".into(),
            attempt: 3,
            next_attempt_in_ms: Some(1_500),
            last_loss: Some("the peer closed (1006)".into()),
            legs: vec![LegStatus { connected_for_ms: Some(61_000), last_data_ms_ago: Some(4), ..LegStatus::default() }],
            rotation: RotationStatus { next_in_ms: Some(7_200_000), ..RotationStatus::default() },
            subscriptions: vec![
                subscription("btcusdt@trade", true, None),
                subscription("ethusdt@trade", false, None),
                subscription("nope@trade", false, Some("invalid symbol")),
            ],
            pending_requests: vec![PendingRequestStatus {
                id: 9,
                operation: "subscribe".into(),
                streams: 2,
                age_ms: 5,
            }],
            ..ConnectionStatus::default()
        };
        let status = EngineStatus {
            halted: true,
            halted_connections: vec![HaltedConnection { name: "a".into(), reason: "reconnecting".into(), for_ms: 10 }],
            connections: vec![connection],
            governor: vec![GovernorStatus {
                venue: "binance-spot".into(),
                connects_used: 3,
                connects_max: Some(240),
                blocked_for_ms: Some(2_000),
                ..GovernorStatus::default()
            }],
            cores: vec![
                CoreStatus {
                    cpu: 1,
                    sockets: 2,
                    overruns: 1,
                    overrun_ms_max: 120,
                    stages: StageReport {
                        read_to_framed_ns: StageTimes {
                            count: 7,
                            ns: Percentiles { p50: 45, p99: 900, p999: 4_100, max: 31_000 },
                        },
                        ..StageReport::default()
                    },
                    stamps: StampReport { every: 64, counter_ns: 8.2, hot_ns: 41.0, cold_ns: None },
                    ..CoreStatus::default()
                },
                CoreStatus {
                    cpu: 3,
                    page_faults: Some(14),
                    page_faults_major: Some(2),
                    involuntary_switches: Some(5),
                    voluntary_switches: Some(977),
                    ..CoreStatus::default()
                },
            ],
            lanes: vec![LaneStatus {
                report: LaneReport {
                    lane: "model-1".into(),
                    policy: "block".into(),
                    holds_core: true,
                    core: 1,
                    slots: 64,
                    waiting: 3,
                    waiting_max: 60,
                    blocked: 4,
                    blocked_ns: 9_000_000,
                    hop_ns: Percentiles { p50: 1_250, p99: 80_000, ..Percentiles::default() },
                    ..LaneReport::default()
                },
                overruns: 2,
                overrun_ms_max: 1_500,
                ..LaneStatus::default()
            }],
            lists: vec![
                ListReport {
                    venue: "binance-spot".into(),
                    lists: 9,
                    ticks_changed: 2,
                    ticks_too_fine: 1,
                    ..ListReport::default()
                },
                ListReport { venue: "bybit-spot".into(), lists: 9, ..ListReport::default() },
            ],
            ..EngineStatus::default()
        };
        let text = status_text(&status);
        for words in [
            "LIST          READ  FAILED  PUT OFF  TICKS CHANGED  TOO FINE  NOT TRADING\n",
            "binance-spot  9     0       0        2              1         0\n",
            "HALTED",
            "halted by a: reconnecting (for 10 ms)",
            "reconnecting, attempt 3 in 1.5 s",
            "1m 01s",
            "in 2h 00m",
            "silent on a: ethusdt@trade (no data yet)\n",
            "refused on a: nope@trade (invalid symbol)\n",
            "lost a: the peer closed (1006)\n",
            "subscribe of 2 streams",
            "3 of 240",
            "for 2.0 s",
            "1 (longest 120 ms)",
            "- (major -)",
            "14 (major 2)  5            977",
            "1     read to framed  7      45 ns  900 ns  4.1 µs  31.0 µs\n",
            "core 1: one message in 64 is stamped and pays 41 ns; one reading of the counter 8.2 ns\n",
            "model-1",
            "3 of 64 (most 60)",
            "core 1 4 times, 9 ms",
            "1.2 us (p99 80.0 us)",
            "2 (longest 1.5 s)",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("kernel to read"), "a stage that was not measured: {text}");
        assert!(!text.contains("btcusdt@trade"), "what is well is not named: {text}");
        assert!(!text.contains("bybit-spot"), "a list without news: {text}");
        assert!(text.lines().all(|line| line == line.trim_end()), "no white space at a line's end");
    }

    #[test]
    fn a_long_list_is_cut_short_and_says_so() {
        let streams: Vec<String> = (0..25).map(|index| format!("s{index}")).collect();
        assert!(listed(&streams).ends_with("s19 and 5 more"));
        assert_eq!(listed(&streams[..1]), "s0");
    }
}
