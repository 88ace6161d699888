//! A [`Report`] as text for people. Pure functions: reports in, text out.
//!
//! ```text
//! log_line    one line an interval, where nobody watches           plain
//! live_lines  the table that is repainted while somebody watches   styled lines, painted by live.rs
//! final_text  what a run came to                                   plain
//! ```
//! Text that came from outside (names, a venue's words, samples of messages) has its control characters escaped, so
//! that no venue can write to the operator's terminal. Widths are those a terminal shows, not counts of bytes.

use super::books::BooksReport;
use super::snapshot::{ConnectionReport, HotThreadReport, LaneReport, Percentiles, Report};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use std::fmt::Write as _;

/// Characters shown of a refused message or an error.
const SAMPLE_CHARS_MAX: usize = 160;

/// Columns shown of a connection's name.
const NAME_WIDTH_MAX: usize = 32;

const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);

/// One interval as one line, without the line's end. Rates are over the time since `previous`, or since the start.
#[must_use]
pub fn log_line(report: &Report, previous: Option<&Report>) -> String {
    let ready = report.connections.iter().filter(|connection| connection.is_ready()).count();
    let mut line = format!(
        "{:.1}s ready {ready}/{} symbols {} messages/s {}",
        report.elapsed_s,
        report.connections.len(),
        report.symbols,
        rate_text(rate(report, previous, Report::frames)),
    );
    for (index, connection) in report.connections.iter().enumerate() {
        let times = connection.read_to_handler_ns;
        let _ = write!(
            line,
            " | {} {} {}/s read-to-handler p50 {} p99 {} p99.9 {} max {} age p50 {} p99 {}",
            printable(&connection.name, NAME_WIDTH_MAX),
            printable(&connection.state, NAME_WIDTH_MAX),
            rate_text(connection_rate(report, previous, index)),
            duration_text(times.p50),
            duration_text(times.p99),
            duration_text(times.p999),
            duration_text(times.max),
            age_text(connection, connection.venue_age_ms.p50),
            age_text(connection, connection.venue_age_ms.p99),
        );
        for (name, value) in [
            ("unparsed", connection.unparsed),
            ("unrouted", connection.unrouted),
            ("tier-two", connection.tier_two),
            ("reconnects", connection.reconnects),
            ("refused", connection.subscriptions.refused),
        ] {
            if value > 0 {
                let _ = write!(line, " {name} {}", count_text(value));
            }
        }
    }
    for thread in &report.hot_threads {
        if let Some(stages) = stages_text(thread) {
            let _ = write!(line, " | core {} {stages}", thread.core);
        }
    }
    for thread in report.hot_threads.iter().filter(|thread| thread.books.is_used()) {
        let _ = write!(line, " | core {} {}", thread.core, books_text(&thread.books));
    }
    for (index, lane) in report.lanes.iter().enumerate() {
        let _ = write!(
            line,
            " | lane {} {}/s hop p50 {} p99 {} waiting {}",
            printable(&lane.lane, NAME_WIDTH_MAX),
            rate_text(lane_rate(report, previous, index)),
            duration_text(lane.hop_ns.p50),
            duration_text(lane.hop_ns.p99),
            count_text(lane.waiting),
        );
        for (name, value) in [
            ("dropped", lane.dropped),
            ("replaced", lane.replaced),
            ("too-long", lane.too_long),
            ("held-core", lane.blocked),
        ] {
            if value > 0 {
                let _ = write!(line, " {name} {}", count_text(value));
            }
        }
    }
    if let Some(failure) = &report.failure {
        let _ = write!(line, " | failed: {}", printable(&failure.message, SAMPLE_CHARS_MAX));
    }
    line
}

/// The live table: a header, one row for each connection, one line for the hot threads, and the last errors.
#[must_use]
pub fn live_lines(report: &Report, previous: Option<&Report>) -> Vec<Line<'static>> {
    let ready = report.connections.iter().filter(|connection| connection.is_ready()).count();
    let mut lines = vec![Line::from(vec![
        Span::styled("tickwire", HEADING),
        Span::raw(format!(
            "  {:.1} s   {ready}/{} ready   {} symbols   {} messages/s",
            report.elapsed_s,
            report.connections.len(),
            count_text(report.symbols as u64),
            rate_text(rate(report, previous, Report::frames)),
        )),
    ])];
    for thread in &report.hot_threads {
        lines.push(Line::styled(format!("core {}", hot_thread_text(thread)), FAINT));
        lines.extend(stages_text(thread).map(|stages| Line::styled(format!("core {}: {stages}", thread.core), FAINT)));
        if thread.books.is_used() {
            lines.push(books_line(thread.core, &thread.books));
        }
    }
    lines.push(Line::default());
    let columns = [
        Column::left("connection"),
        Column::left("state"),
        Column::right("messages/s"),
        Column::right("read-to-handler p50"),
        Column::right("p99"),
        Column::right("p99.9"),
        Column::right("max"),
        Column::right("data age p50"),
        Column::right("p99"),
        Column::right("errors"),
    ];
    let rows: Vec<_> = report
        .connections
        .iter()
        .enumerate()
        .map(|(index, connection)| live_row(connection, connection_rate(report, previous, index)))
        .collect();
    lines.extend(table(&columns, &rows));
    if !report.lanes.is_empty() {
        lines.push(Line::default());
        lines.extend(lanes_table(report));
    }
    for connection in report.connections.iter().filter(|connection| !connection.is_ready()) {
        if let Some(error) = &connection.last_error {
            let text =
                format!("{}: {}", printable(&connection.name, NAME_WIDTH_MAX), printable(error, SAMPLE_CHARS_MAX));
            lines.push(Line::styled(text, Color::Red));
        }
    }
    if let Some(failure) = &report.failure {
        lines.push(Line::styled(format!("failed: {}", printable(&failure.message, SAMPLE_CHARS_MAX)), Color::Red));
    }
    lines
}

fn live_row(connection: &ConnectionReport, rate: f64) -> Vec<Span<'static>> {
    let times = connection.read_to_handler_ns;
    let state_style = if connection.is_ready() { Color::Green } else { Color::Yellow };
    let errors = connection.errors();
    let error_style = if errors > 0 { Style::from(Color::Red) } else { Style::new() };
    vec![
        Span::raw(printable(&connection.name, NAME_WIDTH_MAX)),
        Span::styled(printable(&connection.state, NAME_WIDTH_MAX), state_style),
        Span::raw(rate_text(rate)),
        Span::raw(duration_text(times.p50)),
        Span::raw(duration_text(times.p99)),
        Span::raw(duration_text(times.p999)),
        Span::raw(duration_text(times.max)),
        Span::raw(age_text(connection, connection.venue_age_ms.p50)),
        Span::raw(age_text(connection, connection.venue_age_ms.p99)),
        Span::styled(count_text(errors), error_style),
    ]
}

/// What a run came to: totals, percentiles, hot threads, and samples of what was refused. Ends with a line's end.
#[must_use]
pub fn final_text(report: &Report) -> String {
    let mut text = format!(
        "tickwire: {:.1} s, {} connections, {} symbols, {} messages, {} events\n",
        report.elapsed_s,
        report.connections.len(),
        count_text(report.symbols as u64),
        count_text(report.frames()),
        count_text(report.events()),
    );
    if let Some(failure) = &report.failure {
        let _ = writeln!(text, "failed: {}", printable(&failure.message, SAMPLE_CHARS_MAX));
    }
    section(&mut text, "Messages", &totals_table(report));
    section(&mut text, "Times (percentiles of the whole run)", &times_table(report));
    let threads: Vec<Line<'_>> =
        report.hot_threads.iter().map(|thread| Line::raw(format!("core {}", hot_thread_text(thread)))).collect();
    section(&mut text, "Hot threads", &threads);
    section(&mut text, "Stages (of stamped messages; all connections of a core)", &stages_table(report));
    section(&mut text, "Books", &books_table(report));
    if !report.lanes.is_empty() {
        let mut lanes = lanes_table(report);
        lanes.extend(report.lanes.iter().filter(|lane| lane.holds_core).map(|lane| Line::raw(held_text(lane))));
        section(&mut text, "Lanes", &lanes);
    }
    section(&mut text, "Refused", &refused_lines(report));
    let errors: Vec<Line<'_>> = report
        .connections
        .iter()
        .filter_map(|connection| {
            let error = printable(connection.last_error.as_deref()?, SAMPLE_CHARS_MAX);
            Some(Line::raw(format!("{}: {error}", printable(&connection.name, NAME_WIDTH_MAX))))
        })
        .collect();
    section(&mut text, "Last errors", &errors);
    text
}

fn totals_table(report: &Report) -> Vec<Line<'static>> {
    let columns = [
        Column::left("connection"),
        Column::left("venue"),
        Column::left("state"),
        Column::left("transport"),
        Column::right("messages"),
        Column::right("events"),
        Column::right("bytes"),
        Column::right("unparsed"),
        Column::right("unrouted"),
        Column::right("tier two"),
        Column::right("reconnects"),
        Column::right("subscribed"),
    ];
    let row = |connection: &ConnectionReport| {
        let subscriptions = connection.subscriptions;
        vec![
            Span::raw(printable(&connection.name, NAME_WIDTH_MAX)),
            Span::raw(printable(&connection.venue, NAME_WIDTH_MAX)),
            Span::raw(printable(&connection.state, NAME_WIDTH_MAX)),
            Span::raw(printable(&connection.transport, NAME_WIDTH_MAX)),
            Span::raw(count_text(connection.frames)),
            Span::raw(count_text(connection.events)),
            Span::raw(count_text(connection.bytes)),
            Span::raw(count_text(connection.unparsed)),
            Span::raw(count_text(connection.unrouted)),
            Span::raw(count_text(connection.tier_two)),
            Span::raw(count_text(connection.reconnects)),
            Span::raw(format!("{}/{}", subscriptions.active, subscriptions.wanted)),
        ]
    };
    table(&columns, &report.connections.iter().map(row).collect::<Vec<_>>())
}

fn times_table(report: &Report) -> Vec<Line<'static>> {
    let columns = [
        Column::left("connection"),
        Column::right("read-to-handler p50"),
        Column::right("p99"),
        Column::right("p99.9"),
        Column::right("max"),
        Column::right("visit gap p50"),
        Column::right("p99"),
        Column::right("p99.9"),
        Column::right("max"),
        Column::right("data age p50"),
        Column::right("p99"),
    ];
    let row = |connection: &ConnectionReport| {
        let mut cells = vec![Span::raw(printable(&connection.name, NAME_WIDTH_MAX))];
        for times in [connection.read_to_handler_ns, connection.visit_gap_ns] {
            cells.extend([times.p50, times.p99, times.p999, times.max].map(|ns| Span::raw(duration_text(ns))));
        }
        cells.push(Span::raw(age_text(connection, connection.venue_age_ms.p50)));
        cells.push(Span::raw(age_text(connection, connection.venue_age_ms.p99)));
        cells
    };
    table(&columns, &report.connections.iter().map(row).collect::<Vec<_>>())
}

/// A row for each core and stage that was measured, and what stamping costs each core.
fn stages_table(report: &Report) -> Vec<Line<'static>> {
    let columns = [
        Column::left("core"),
        Column::left("stage"),
        Column::right("count"),
        Column::right("p50"),
        Column::right("p99"),
        Column::right("p99.9"),
        Column::right("max"),
        Column::left("what it is"),
    ];
    let rows = report.hot_threads.iter().flat_map(|thread| {
        thread.stages.all().into_iter().filter(|(_, times, _)| times.count > 0).map(|(stage, times, what)| {
            let Percentiles { p50, p99, p999, max } = times.ns;
            let mut cells =
                vec![Span::raw(thread.core.to_string()), Span::raw(stage), Span::raw(count_text(times.count))];
            cells.extend([p50, p99, p999, max].map(|ns| Span::raw(duration_text(ns))));
            cells.push(Span::raw(what));
            cells
        })
    });
    let rows: Vec<_> = rows.collect();
    let mut lines = if rows.is_empty() { Vec::new() } else { table(&columns, &rows) };
    for thread in &report.hot_threads {
        match thread.stages.kernel_ahead {
            0 => {}
            ahead => lines.push(Line::raw(format!(
                "core {}: {} kernel stamps lie after the read: a clock is off; they count as 0",
                thread.core,
                count_text(ahead)
            ))),
        }
        lines.push(Line::raw(format!("core {}: {}", thread.core, thread.stamps)));
    }
    lines
}

/// The measured stages of a core in a few words: p50 and p99 of each; `None` where none was.
fn stages_text(thread: &HotThreadReport) -> Option<String> {
    let mut text = String::new();
    for (stage, times, _) in thread.stages.all().into_iter().filter(|(_, times, _)| times.count > 0) {
        let Percentiles { p50, p99, .. } = times.ns;
        let _ = write!(text, " {} p50 {} p99 {}", stage.replace(' ', "-"), duration_text(p50), duration_text(p99));
    }
    (!text.is_empty()).then(|| format!("stages{text}"))
}

/// How many books a core keeps and how they are, and what they turned stale by.
fn books_text(books: &BooksReport) -> String {
    let BooksReport { live, waiting, stale, stale_reasons, .. } = books;
    let mut text =
        format!("books {} live {} waiting {} stale", count_text(*live), count_text(*waiting), count_text(*stale));
    for (reason, count) in stale_reasons {
        let _ = write!(text, " {} {}", printable(reason, NAME_WIDTH_MAX), count_text(*count));
    }
    text
}

fn books_line(core: usize, books: &BooksReport) -> Line<'static> {
    let style = if books.stale > 0 { Style::new().fg(Color::Yellow) } else { FAINT };
    Line::styled(format!("core {core}: {}", books_text(books)), style)
}

/// A row for each core that keeps books, and what they turned stale by.
fn books_table(report: &Report) -> Vec<Line<'static>> {
    let columns = [
        Column::left("core"),
        Column::right("live"),
        Column::right("waiting"),
        Column::right("stale"),
        Column::right("applied"),
        Column::right("rebuilt"),
        Column::right("skipped"),
        Column::right("held"),
        Column::right("ignored"),
        Column::right("late"),
        Column::right("hold gaps"),
        Column::right("overflows"),
        Column::right("beside"),
        Column::right("takeovers"),
        Column::left("turned stale by"),
    ];
    let rows = report.hot_threads.iter().filter(|thread| thread.books.is_used()).map(|thread| {
        let books = &thread.books;
        let mut cells = vec![Span::raw(thread.core.to_string())];
        cells.extend([books.live, books.waiting, books.stale].map(|count| Span::raw(count_text(count))));
        let became = [books.applied, books.rebuilt, books.skipped, books.held, books.ignored, books.late];
        cells.extend(became.map(|count| Span::raw(count_text(count))));
        cells.extend(
            [books.hold_gaps, books.hold_overflows, books.beside, books.takeovers]
                .map(|count| Span::raw(count_text(count))),
        );
        let reasons = books
            .stale_reasons
            .iter()
            .map(|(reason, &count)| format!("{} {}", printable(reason, NAME_WIDTH_MAX), count_text(count)));
        cells.push(Span::raw(reasons.collect::<Vec<_>>().join(", ")));
        cells
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() { Vec::new() } else { table(&columns, &rows) }
}

fn lanes_table(report: &Report) -> Vec<Line<'static>> {
    let columns = [
        Column::left("lane"),
        Column::left("strategy"),
        Column::left("policy"),
        Column::right("sent"),
        Column::right("delivered"),
        Column::right("dropped"),
        Column::right("replaced"),
        Column::right("too long"),
        Column::right("unrouted"),
        Column::right("waiting"),
        Column::right("most"),
        Column::right("hop p50"),
        Column::right("p99"),
        Column::right("p99.9"),
        Column::right("max"),
    ];
    let row = |lane: &LaneReport| {
        let mut cells: Vec<Span<'static>> =
            [&lane.lane, &lane.strategy, &lane.policy].map(|text| Span::raw(printable(text, NAME_WIDTH_MAX))).into();
        let became = [lane.sent, lane.delivered, lane.dropped, lane.replaced, lane.too_long, lane.unrouted];
        cells.extend(became.map(|count| Span::raw(count_text(count))));
        cells.extend([lane.waiting, lane.waiting_max].map(|count| Span::raw(count_text(count))));
        let hop = lane.hop_ns;
        cells.extend([hop.p50, hop.p99, hop.p999, hop.max].map(|ns| Span::raw(duration_text(ns))));
        cells
    };
    table(&columns, &report.lanes.iter().map(row).collect::<Vec<_>>())
}

/// What a lane that may hold its core has done to it.
fn held_text(lane: &LaneReport) -> String {
    format!(
        "{}: policy block: core {} waits while it is full; it did so {} times, {} in all",
        printable(&lane.lane, NAME_WIDTH_MAX),
        lane.core,
        count_text(lane.blocked),
        duration_text(lane.blocked_ns),
    )
}

fn refused_lines(report: &Report) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for connection in &report.connections {
        let name = printable(&connection.name, NAME_WIDTH_MAX);
        for (reason, count) in &connection.unparsed_reasons {
            lines.push(Line::raw(format!("{name}: {} {}", printable(reason, NAME_WIDTH_MAX), count_text(*count))));
            for sample in connection.samples.iter().filter(|sample| sample.reason == *reason) {
                let field = match sample.field.as_str() {
                    "" => String::new(),
                    field => format!(" at `{}`", printable(field, NAME_WIDTH_MAX)),
                };
                let text = printable(&sample.text, SAMPLE_CHARS_MAX);
                lines.push(Line::raw(format!("  e.g. {} bytes{field}: {text}", count_text(sample.message_bytes))));
            }
        }
    }
    lines
}

fn section(text: &mut String, title: &str, lines: &[Line<'_>]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    for line in lines {
        let _ = writeln!(text, "  {}", line.to_string().trim_end());
    }
}

fn hot_thread_text(thread: &HotThreadReport) -> String {
    let unknown = |value: Option<u64>| value.map_or_else(|| "not counted".to_owned(), count_text);
    format!(
        "{}: {} messages, allocations {}, page faults {} (major {}), involuntary switches {}, voluntary {}",
        thread.core,
        count_text(thread.messages),
        unknown(thread.allocations),
        unknown(thread.page_faults),
        unknown(thread.page_faults_major),
        unknown(thread.involuntary_switches),
        unknown(thread.voluntary_switches),
    )
}

/// A column's heading, and the side its cells lean to.
struct Column {
    title: &'static str,
    is_right: bool,
}

impl Column {
    const fn left(title: &'static str) -> Self {
        Self { title, is_right: false }
    }

    const fn right(title: &'static str) -> Self {
        Self { title, is_right: true }
    }
}

/// Rows under their headings, each column as wide as its widest cell, two spaces between.
fn table(columns: &[Column], rows: &[Vec<Span<'static>>]) -> Vec<Line<'static>> {
    let heading: Vec<_> = columns.iter().map(|column| Span::styled(column.title, HEADING)).collect();
    let all = || std::iter::once(&heading).chain(rows);
    let widths: Vec<usize> =
        (0..columns.len()).map(|index| all().map(|row| row[index].width()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<Span<'static>>| {
        let mut spans = Vec::with_capacity(row.len() * 2);
        for (index, (cell, column)) in row.iter().zip(columns).enumerate() {
            let gap = if index == 0 { 0 } else { 2 };
            let padding = widths[index] - cell.width();
            let (before, after) = if column.is_right { (gap + padding, 0) } else { (gap, padding) };
            spans.push(Span::raw(" ".repeat(before)));
            spans.push(cell.clone());
            spans.push(Span::raw(" ".repeat(after)));
        }
        Line::from(spans)
    };
    all().map(line).collect()
}

/// Differences of `total` a second since `previous`, or since the start.
fn rate(report: &Report, previous: Option<&Report>, total: impl Fn(&Report) -> u64) -> f64 {
    let (from_s, from) = previous.map_or((0.0, 0), |previous| (previous.elapsed_s, total(previous)));
    let seconds = report.elapsed_s - from_s;
    if seconds <= 0.0 {
        return 0.0;
    }
    total(report).saturating_sub(from) as f64 / seconds
}

fn connection_rate(report: &Report, previous: Option<&Report>, index: usize) -> f64 {
    rate(report, previous, |report| report.connections.get(index).map_or(0, |connection| connection.frames))
}

fn lane_rate(report: &Report, previous: Option<&Report>, index: usize) -> f64 {
    rate(report, previous, |report| report.lanes.get(index).map_or(0, |lane| lane.delivered))
}

fn rate_text(per_second: f64) -> String {
    if per_second >= 100_000.0 {
        format!("{:.0}k", per_second / 1_000.0)
    } else if per_second >= 10_000.0 {
        format!("{:.1}k", per_second / 1_000.0)
    } else {
        format!("{per_second:.0}")
    }
}

/// Nanoseconds in the unit that leaves one to three digits before the point.
pub(super) fn duration_text(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

fn age_text(connection: &ConnectionReport, age_ms: f64) -> String {
    if connection.frames == 0 { "-".to_owned() } else { format!("{age_ms:.1} ms") }
}

/// Digits in groups of three.
fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// At most `chars_max` characters of a text from outside, with control characters escaped.
fn printable(text: &str, chars_max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(chars_max * 4));
    for (index, character) in text.chars().enumerate() {
        if index == chars_max {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::report;
    use super::super::snapshot::{Failure, FailureKind, LaneReport, Percentiles, SampleReport};
    use super::super::stages::StageReport;
    use super::*;

    fn plain(lines: &[Line<'_>]) -> String {
        lines.iter().map(|line| line.to_string() + "\n").collect()
    }

    #[test]
    fn a_log_line_is_one_line_with_every_connection_its_rate_and_its_times() {
        let line = log_line(&report(3), Some(&report(2)));
        assert!(line.starts_with("3.0s ready 2/2 symbols 4 messages/s 2000 | binance ready 1000/s"), "{line}");
        assert!(line.contains("| bybit ready 1000/s read-to-handler p50 410 ns p99 1.2 µs p99.9 18.4 µs max 2.1 ms"));
        let cores = "age p50 0.2 ms p99 1.5 ms | core 1 stages read-to-framed p50 45 ns p99 900 ns \
                     | core 1 books 3 live 0 waiting 1 stale gap 2";
        assert!(line.ends_with(cores), "nothing wrong, nothing more said: {line}");
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_log_line_names_what_went_wrong_and_only_that() {
        let mut report = report(1);
        report.connections[1].unparsed = 1_234;
        report.connections[1].subscriptions.refused = 1;
        report.failure = Some(Failure { kind: FailureKind::Runtime, message: "core 1\ngone".into() });
        report.hot_threads[0].stages = StageReport::default();
        report.hot_threads[0].books = BooksReport::default();
        let line = log_line(&report, None);
        assert!(line.ends_with("p99 1.5 ms unparsed 1,234 refused 1 | failed: core 1\\ngone"), "{line}");
    }

    #[test]
    fn rates_are_differences_over_the_time_between_two_reports() {
        let (earlier, later) = (report(2), report(4));
        assert!((rate(&later, Some(&earlier), Report::frames) - 2_000.0).abs() < 1e-9);
        assert!((rate(&later, None, Report::frames) - 2_000.0).abs() < 1e-9);
        assert!(rate(&later, Some(&later), Report::frames).abs() < 1e-9, "no time passed");
        assert!(rate(&earlier, Some(&later), Report::frames).abs() < 1e-9, "given in the wrong order");
    }

    #[test]
    fn the_live_table_has_a_row_for_each_connection_with_columns_in_line() {
        let text = plain(&live_lines(&report(3), Some(&report(2))));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "tickwire  3.0 s   2/2 ready   4 symbols   2000 messages/s");
        assert_eq!(
            lines[1],
            "core 1: 6,000 messages, allocations 0, page faults 12 (major 0), involuntary switches 3, voluntary 1,041"
        );
        assert_eq!(lines[2], "core 1: stages read-to-framed p50 45 ns p99 900 ns");
        assert_eq!(lines[3], "core 1: books 3 live 0 waiting 1 stale gap 2");
        assert!(lines[5].starts_with("connection  state  messages/s  read-to-handler p50"), "{text}");
        assert!(lines[6].starts_with("binance     ready        1000               410 ns"), "{text}");
        assert!(lines[7].starts_with("bybit       ready        1000               410 ns"), "{text}");
        assert!(lines[5].ends_with("errors") && lines[6].ends_with("     0"));
        assert_eq!(lines.len(), 8);
        let mut without = report(3);
        without.hot_threads[0].books = BooksReport::default();
        assert_eq!(live_lines(&without, None).len(), 7, "who keeps no books is shown none");
    }

    #[test]
    fn a_connection_that_is_not_ready_shows_its_last_error_below_the_table() {
        let mut report = report(1);
        report.connections[0].state = "reconnecting".into();
        report.connections[0].last_error = Some("connection refused".into());
        report.connections[1].last_error = Some("long since recovered".into());
        let text = plain(&live_lines(&report, None));
        assert!(text.ends_with("binance: connection refused\n"), "{text}");
    }

    #[test]
    fn the_final_report_shows_totals_times_threads_and_samples_with_their_reason() {
        let mut report = report(10);
        report.is_final = true;
        report.hot_threads[0].stages.kernel_ahead = 2;
        report.connections[0].unparsed = 2;
        report.connections[0].unparsed_reasons.insert("off_grid".into(), 2);
        report.connections[0].samples.push(SampleReport {
            reason: "off_grid".into(),
            field: "p".into(),
            message_bytes: 151,
            text: "{\"e\":\"trade\",\"p\":\"1.123456789\"".into(),
        });
        let text = final_text(&report);
        assert!(text.starts_with("tickwire: 10.0 s, 2 connections, 4 symbols, 20,000 messages, 19,996 events\n"));
        for part in [
            "binance-spot",
            "bybit-linear",
            "1,500,000",
            "4/4",
            "410 ns",
            "950.0 µs",
            "core 1: 20,000 messages, allocations 0, page faults 12 (major 0), involuntary switches 3, voluntary 1,041",
            "core  stage           count    p50     p99   p99.9      max  what it is\n",
            "1     read to framed    312  45 ns  900 ns  4.1 µs  31.0 µs  to the frame found, behind the messages",
            "core 1: one message in 64 is stamped and pays 41 ns, 402 ns with cold caches; one reading of the counter 8.2 ns",
            "core 1: 2 kernel stamps lie after the read: a clock is off; they count as 0",
            "binance: off_grid 2\n    e.g. 151 bytes at `p`: {\"e\":\"trade\",\"p\":\"1.123456789\"",
        ] {
            assert!(text.contains(part), "{part} is missing from:\n{text}");
        }
        assert!(!text.contains("Last errors"));
    }

    #[test]
    fn books_show_how_they_are_what_became_of_their_messages_and_what_they_turned_stale_by() {
        let mut report = report(10);
        report.hot_threads[0].books.rebuilt = 6;
        let text = final_text(&report);
        assert!(text.contains("Books\n  core  live  waiting  stale  applied  rebuilt  skipped"), "{text}");
        assert!(text.contains("  1        3        0      1    5,000        6        0"), "{text}");
        assert!(text.contains("gap 2\n"), "{text}");
        assert!(log_line(&report, None).contains(" | core 1 books 3 live 0 waiting 1 stale gap 2"));
        report.hot_threads[0].books = BooksReport::default();
        assert!(!final_text(&report).contains("Books") && !log_line(&report, None).contains("books"));
    }

    #[test]
    fn lanes_show_what_became_of_their_events_and_one_that_holds_its_core_says_so() {
        let mut report = report(10);
        let fast = LaneReport {
            lane: "view-0".into(),
            strategy: "spread".into(),
            policy: "latest".into(),
            slots: 64,
            sent: 1_000,
            delivered: 990,
            replaced: 9,
            waiting: 1,
            waiting_max: 12,
            hop_ns: Percentiles { p50: 900, p99: 4_000, p999: 9_000, max: 1_500_000 },
            ..LaneReport::default()
        };
        let policy = "block".into();
        let held = LaneReport { policy, holds_core: true, core: 3, blocked: 2, blocked_ns: 7_000_000, ..fast.clone() };
        report.lanes = vec![fast, LaneReport { lane: "book-0".into(), ..held }];
        let text = final_text(&report);
        assert!(text.contains("Lanes\n  lane    strategy  policy   sent  delivered"), "{text}");
        assert!(text.contains("  view-0  spread    latest  1,000        990        0         9"), "{text}");
        let held = "book-0: policy block: core 3 waits while it is full; it did so 2 times, 7.0 ms in all\n";
        assert!(text.contains(held) && !text.contains("view-0: policy"), "{text}");
        let line = log_line(&report, None);
        assert!(
            line.contains(" | lane view-0 99/s hop p50 900 ns p99 4.0 µs waiting 1 replaced 9 | lane book-0"),
            "{line}"
        );
        assert!(line.ends_with("replaced 9 held-core 2"), "{line}");
        let live = plain(&live_lines(&report, None));
        assert!(live.contains("view-0  spread    latest"), "{live}");
    }

    #[test]
    fn a_report_without_connections_or_data_is_still_shown() {
        let empty = Report::default();
        assert_eq!(log_line(&empty, None), "0.0s ready 0/0 symbols 0 messages/s 0");
        assert!(final_text(&empty).starts_with("tickwire: 0.0 s, 0 connections"));
        let mut report = report(1);
        report.connections[0].frames = 0;
        assert!(log_line(&report, None).contains("age p50 - p99 -"), "no message, no age");
        report.hot_threads[0].allocations = None;
        assert!(final_text(&report).contains("allocations not counted"));
    }

    #[test]
    fn a_venues_words_cannot_reach_the_terminal_as_commands() {
        let mut report = report(1);
        report.connections[0].state = "reconnecting".into();
        report.connections[0].last_error = Some("\u{1b}[2J\r\nowned\u{9b}1m".into());
        report.connections[0].name = "a\u{7}b".into();
        let texts = [final_text(&report), plain(&live_lines(&report, None)), log_line(&report, None)];
        for text in texts {
            assert!(text.chars().all(|character| !character.is_control() || character == '\n'), "{text:?}");
            assert!(text.contains("a\\u{7}b"));
        }
    }

    #[test]
    fn columns_stay_in_line_under_wide_characters_and_long_names_are_cut() {
        let mut report = report(1);
        report.connections[0].name = "深圳".into();
        report.connections[1].name = "x".repeat(100);
        let lines = live_lines(&report, None);
        let widths: Vec<usize> = lines[5..8].iter().map(Line::width).collect();
        assert_eq!(widths, [widths[0]; 3]);
        assert!(lines[7].to_string().contains('…'));
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count_text), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 999, 1_000, 999_949, 1_000_000, 2_500_000_000].map(duration_text),
            ["0 ns", "999 ns", "1.0 µs", "999.9 µs", "1.0 ms", "2.5 s"]
        );
        assert_eq!([0.4, 9_999.0, 12_345.0, 1_234_567.0].map(rate_text), ["0", "9999", "12.3k", "1235k"]);
        assert_eq!(printable("abc", 3), "abc");
        assert_eq!(printable("abcd", 3), "abc…");
    }
}
