//! Where reports go: JSON lines for a machine, log lines for a file, a live table for a terminal.

use super::logging;
use crate::telemetry::{LiveTable, Report, final_text, live_lines, log_line};
use ratatui::crossterm::terminal;
use std::io::{self, IsTerminal as _, Write};

/// Size taken where a terminal does not say: the oldest one there is.
const TERMINAL_SIZE_DEFAULT: (u16, u16) = (80, 24);

/// Shows reports.
pub(super) trait Output {
    /// One interval has passed.
    fn interval(&mut self, report: &Report) -> io::Result<()>;
    /// The engine has ended; what its strategies show of themselves.
    fn finish(&mut self, report: &Report, summaries: &[String]) -> io::Result<()>;
}

/// The final report, and under it what the strategies show.
fn write_final(out: &mut impl Write, report: &Report, summaries: &[String]) -> io::Result<()> {
    write!(out, "{}", final_text(report))?;
    for summary in summaries {
        write!(out, "\nStrategy\n")?;
        for line in summary.lines() {
            writeln!(out, "  {line}")?;
        }
    }
    out.flush()
}

/// One JSON object on one line each.
#[derive(Debug)]
pub(super) struct JsonLines<W: Write>(W);

impl<W: Write> Output for JsonLines<W> {
    fn interval(&mut self, report: &Report) -> io::Result<()> {
        // One write for the line and its end, so that a reader never sees half of one.
        self.0.write_all((report.to_json() + "\n").as_bytes())?;
        self.0.flush()
    }

    fn finish(&mut self, report: &Report, _summaries: &[String]) -> io::Result<()> {
        self.interval(report)
    }
}

/// One line an interval, and the final report in full.
#[derive(Debug)]
pub(super) struct LogLines<W: Write> {
    out: W,
    previous: Option<Report>,
}

impl<W: Write> Output for LogLines<W> {
    fn interval(&mut self, report: &Report) -> io::Result<()> {
        writeln!(self.out, "{}", log_line(report, self.previous.as_ref()))?;
        self.previous = Some(report.clone());
        self.out.flush()
    }

    fn finish(&mut self, report: &Report, summaries: &[String]) -> io::Result<()> {
        write_final(&mut self.out, report, summaries)
    }
}

/// The live table, with log lines above it; then the final report in its place.
#[derive(Debug)]
pub(super) struct Live<W: Write> {
    table: LiveTable<W>,
    previous: Option<Report>,
}

impl<W: Write> Live<W> {
    fn new(out: W, has_color: bool) -> Self {
        logging::hold();
        Self { table: LiveTable::new(out, has_color), previous: None }
    }
}

fn terminal_size() -> (u16, u16) {
    // Some recorders have a terminal of no size.
    terminal::size().ok().filter(|&(columns, rows)| columns > 0 && rows > 0).unwrap_or(TERMINAL_SIZE_DEFAULT)
}

impl<W: Write> Output for Live<W> {
    fn interval(&mut self, report: &Report) -> io::Result<()> {
        self.table.paint(terminal_size(), &logging::take(), &live_lines(report, self.previous.as_ref()))?;
        self.previous = Some(report.clone());
        Ok(())
    }

    fn finish(&mut self, report: &Report, summaries: &[String]) -> io::Result<()> {
        self.table.clear(terminal_size().0)?;
        logging::release();
        write_final(self.table.writer(), report, summaries)
    }
}

impl<W: Write> Drop for Live<W> {
    fn drop(&mut self) {
        logging::release();
    }
}

/// The output a person or a machine gets on stdout.
#[derive(Debug)]
pub(super) enum Stdout {
    /// `--json`.
    Json(JsonLines<io::Stdout>),
    /// Not a terminal.
    Log(LogLines<io::Stdout>),
    /// A terminal.
    Live(Live<io::Stdout>),
}

impl Stdout {
    /// Chooses by `--json` and by what stdout is. `NO_COLOR` (no-color.org) is obeyed.
    pub(super) fn choose(is_json: bool) -> Self {
        let out = io::stdout();
        if is_json {
            Self::Json(JsonLines(out))
        } else if out.is_terminal() {
            let has_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            Self::Live(Live::new(out, has_color))
        } else {
            Self::Log(LogLines { out, previous: None })
        }
    }
}

impl Output for Stdout {
    fn interval(&mut self, report: &Report) -> io::Result<()> {
        match self {
            Self::Json(output) => output.interval(report),
            Self::Log(output) => output.interval(report),
            Self::Live(output) => output.interval(report),
        }
    }

    fn finish(&mut self, report: &Report, summaries: &[String]) -> io::Result<()> {
        match self {
            Self::Json(output) => output.finish(report, summaries),
            Self::Log(output) => output.finish(report, summaries),
            Self::Live(output) => output.finish(report, summaries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(elapsed_s: f64, is_final: bool) -> Report {
        Report { elapsed_s, is_final, ..Report::default() }
    }

    #[test]
    fn json_is_one_object_a_line_and_the_last_is_final() {
        let mut output = JsonLines(Vec::new());
        output.interval(&report(1.0, false)).expect("a Vec takes all");
        output.finish(&report(2.0, true), &[]).expect("a Vec takes all");
        let text = String::from_utf8(output.0).expect("JSON is UTF-8");
        let reports: Vec<Report> =
            text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
        assert_eq!(reports, [report(1.0, false), report(2.0, true)]);
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn without_a_terminal_there_is_a_line_an_interval_and_the_final_report_in_full() {
        let mut output = LogLines { out: Vec::new(), previous: None };
        output.interval(&report(1.0, false)).expect("a Vec takes all");
        output.interval(&report(2.0, false)).expect("a Vec takes all");
        output.finish(&report(3.0, true), &["quotes 7".to_owned()]).expect("a Vec takes all");
        let text = String::from_utf8(output.out).expect("we write UTF-8");
        let firsts: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap_or("")).collect();
        assert_eq!(firsts[..3], ["1.0s", "2.0s", "tickwire:"]);
        assert!(text.ends_with("\nStrategy\n  quotes 7\n"), "what the strategies show stands below: {text}");
        assert!(!text.contains('\u{1b}'), "no escape codes in a file");
    }
}
