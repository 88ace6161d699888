//! Paints the live table in place, at the foot of the terminal's scrollback.
//!
//! ```text
//! $ tickwire run ...
//! log lines, scrolling up            <- printed above the table
//! tickwire  3.0 s  2/2 ready  ...    <- moved up to and painted over on each interval
//! connection  state  messages/s ...
//! _                                  <- the cursor rests here
//! ```
//! Never takes the terminal over: no raw mode, no second screen, no hidden cursor, no question to the terminal. So there
//! is nothing to restore, whatever ends the process, Ctrl-C stays a signal, and a terminal that answers nothing (a CI
//! log, a recorder) is served as well as any other.

use ratatui::crossterm::cursor::MoveToPreviousLine;
use ratatui::crossterm::queue;
use ratatui::crossterm::style::{Attribute, Color as TerminalColor, Print, SetAttribute, SetForegroundColor};
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use std::io::{self, Write};

/// A table that is painted over itself.
///
/// Invariant: the cursor stands at the start of the line after the last one painted.
#[derive(Debug)]
pub struct LiveTable<W: Write> {
    out: W,
    has_color: bool,
    /// Width in columns of each line painted last.
    painted: Vec<usize>,
}

impl<W: Write> LiveTable<W> {
    /// A table not painted yet. `has_color` false leaves colours out and keeps bold and faint.
    pub const fn new(out: W, has_color: bool) -> Self {
        Self { out, has_color, painted: Vec::new() }
    }

    /// Paints `lines` over the table painted before, with the lines of `above` left for good above it. `columns` and
    /// `rows` are the terminal's size now: longer lines are cut, and lines that do not fit are counted in the last.
    ///
    /// # Errors
    /// What writing gives.
    pub fn paint(&mut self, (columns, rows): (u16, u16), above: &[String], lines: &[Line<'_>]) -> io::Result<()> {
        queue!(self.out, BeginSynchronizedUpdate)?;
        self.erase(columns)?;
        for line in above {
            queue!(self.out, Print(line.trim_end()), Print("\r\n"))?;
        }
        let columns = usize::from(columns);
        // One row stays for the cursor. A terminal that gives no size is taken at its word only for the cut.
        let rows_free = usize::from(rows).saturating_sub(1).max(1);
        let shown = if lines.len() <= rows_free { lines.len() } else { rows_free - 1 };
        for line in &lines[..shown] {
            let width = self.line(columns, line)?;
            self.painted.push(width);
        }
        if shown < lines.len() {
            let rest = Line::raw(format!("... and {} lines more", lines.len() - shown));
            let width = self.line(columns, &rest)?;
            self.painted.push(width);
        }
        queue!(self.out, EndSynchronizedUpdate)?;
        self.out.flush()
    }

    /// Removes the table, so that what is written next stands in its place.
    ///
    /// # Errors
    /// What writing gives.
    pub fn clear(&mut self, columns: u16) -> io::Result<()> {
        self.erase(columns)?;
        self.out.flush()
    }

    /// The writer, for what follows the table.
    pub const fn writer(&mut self) -> &mut W {
        &mut self.out
    }

    /// Moves to the first row of the table and clears from there. A terminal made narrower since has broken long lines
    /// into several rows.
    fn erase(&mut self, columns: u16) -> io::Result<()> {
        let columns = usize::from(columns).max(1);
        let rows: usize = self.painted.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        self.painted.clear();
        if rows > 0 {
            let rows = u16::try_from(rows).unwrap_or(u16::MAX);
            queue!(self.out, MoveToPreviousLine(rows), Clear(ClearType::FromCursorDown))?;
        }
        Ok(())
    }

    /// Writes one line, cut to `columns`; returns how wide it came out.
    fn line(&mut self, columns: usize, line: &Line<'_>) -> io::Result<usize> {
        let mut width = 0;
        for grapheme in line.styled_graphemes(Style::new()) {
            let next = width + Span::raw(grapheme.symbol).width();
            if next > columns {
                break;
            }
            width = next;
            self.styled(grapheme.symbol, grapheme.style)?;
        }
        queue!(self.out, Print("\r\n"))?;
        Ok(width)
    }

    fn styled(&mut self, symbol: &str, style: Style) -> io::Result<()> {
        let color = style.fg.and_then(terminal_color).filter(|_| self.has_color);
        let is_bold = style.add_modifier.contains(Modifier::BOLD);
        let is_faint = style.add_modifier.contains(Modifier::DIM);
        if let Some(color) = color {
            queue!(self.out, SetForegroundColor(color))?;
        }
        if is_bold {
            queue!(self.out, SetAttribute(Attribute::Bold))?;
        }
        if is_faint {
            queue!(self.out, SetAttribute(Attribute::Dim))?;
        }
        queue!(self.out, Print(symbol))?;
        if color.is_some() || is_bold || is_faint {
            queue!(self.out, SetAttribute(Attribute::Reset))?;
        }
        Ok(())
    }
}

/// The colours the tables use, in the operator's own palette.
const fn terminal_color(color: Color) -> Option<TerminalColor> {
    match color {
        Color::Red => Some(TerminalColor::DarkRed),
        Color::Green => Some(TerminalColor::DarkGreen),
        Color::Yellow => Some(TerminalColor::DarkYellow),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::live_lines;
    use super::super::snapshot::tests::report;
    use super::*;

    /// A terminal of few words: printable text, line ends, "up n lines", "clear from here", styles ignored.
    fn screen(bytes: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(bytes).expect("we write UTF-8");
        let (mut rows, mut row) = (vec![String::new()], 0);
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '\r' => {}
                '\n' => {
                    row += 1;
                    if row == rows.len() {
                        rows.push(String::new());
                    }
                }
                '\u{1b}' => {
                    assert_eq!(rest.next(), Some('['));
                    let mut argument = String::new();
                    let command = loop {
                        let character = rest.next().expect("a command ends");
                        if character.is_ascii_alphabetic() {
                            break character;
                        }
                        argument.push(character);
                    };
                    match command {
                        'F' => row -= argument.parse::<usize>().expect("a count"),
                        'J' => {
                            rows.truncate(row + 1);
                            rows[row].clear();
                        }
                        'm' | 'h' | 'l' => {}
                        other => panic!("unexpected command {other}"),
                    }
                }
                _ => rows[row].push(character),
            }
        }
        rows
    }

    fn lines(texts: &[&str]) -> Vec<Line<'static>> {
        texts.iter().map(|text| Line::raw((*text).to_owned())).collect()
    }

    #[test]
    fn a_repaint_stands_where_the_table_stood_and_log_lines_stay_above() {
        let mut table = LiveTable::new(Vec::new(), true);
        table.paint((80, 24), &[], &lines(&["one", "two"])).expect("a Vec takes all");
        table.paint((80, 24), &["a log line\n".into()], &lines(&["three"])).expect("a Vec takes all");
        table.paint((80, 24), &[], &lines(&["four", "five", "six"])).expect("a Vec takes all");
        assert_eq!(screen(&table.out), ["a log line", "four", "five", "six", ""]);
    }

    #[test]
    fn a_cleared_table_leaves_its_place_to_what_follows() {
        let mut table = LiveTable::new(Vec::new(), false);
        table.paint((80, 24), &[], &lines(&["one", "two"])).expect("a Vec takes all");
        table.clear(80).expect("a Vec takes all");
        write!(table.writer(), "final").expect("a Vec takes all");
        assert_eq!(screen(&table.out), ["final"]);
        table.clear(80).expect("nothing painted, nothing moved");
        assert_eq!(screen(&table.out), ["final"]);
    }

    #[test]
    fn lines_are_cut_at_the_width_and_wide_characters_are_not_halved() {
        let mut table = LiveTable::new(Vec::new(), true);
        table.paint((5, 24), &[], &lines(&["abcdefgh", "深圳深圳"])).expect("a Vec takes all");
        assert_eq!(screen(&table.out), ["abcde", "深圳", ""]);
        assert_eq!(table.painted, [5, 4]);
    }

    #[test]
    fn lines_that_do_not_fit_the_height_are_counted() {
        let mut table = LiveTable::new(Vec::new(), true);
        table.paint((80, 4), &[], &lines(&["a", "b", "c", "d"])).expect("a Vec takes all");
        assert_eq!(screen(&table.out), ["a", "b", "... and 2 lines more", ""]);
        for rows in 0..2 {
            let mut table = LiveTable::new(Vec::new(), true);
            table.paint((80, rows), &[], &lines(&["a", "b"])).expect("a Vec takes all");
            assert_eq!(screen(&table.out), ["... and 2 lines more", ""]);
        }
    }

    #[test]
    fn a_terminal_made_narrower_is_cleared_from_the_rows_its_lines_were_broken_into() {
        let mut table = LiveTable::new(Vec::new(), true);
        table.paint((80, 24), &[], &lines(&[&"x".repeat(70), "", "y"])).expect("a Vec takes all");
        table.out.clear();
        table.clear(20).expect("a Vec takes all");
        // 70 columns in rows of 20 are four rows; the empty line and the last are one each.
        assert_eq!(table.out, b"\x1b[6F\x1b[J");
    }

    #[test]
    fn without_colour_nothing_is_coloured() {
        let mut report = report(1);
        report.connections[0].unparsed = 1;
        let lines = live_lines(&report, None);
        let painted = |has_color| {
            let mut table = LiveTable::new(Vec::new(), has_color);
            table.paint((200, 24), &[], &lines).expect("a Vec takes all");
            String::from_utf8(table.out).expect("we write UTF-8")
        };
        let red = format!("{}", SetForegroundColor(TerminalColor::DarkRed));
        assert!(painted(true).contains(&red));
        assert!(!painted(false).contains(&red));
        assert_eq!(screen(painted(true).as_bytes()), screen(painted(false).as_bytes()));
    }
}
