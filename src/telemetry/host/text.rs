//! A [`HostReport`] as text: for a person, at most 100 columns but for commands, and as lines for a script.
//!
//! ```text
//! BAD      interrupts, CPU 1
//!   is     arrive here, counted since boot: 36 virtio1-req.0 133064 times
//!   costs  each one takes the core away for 2 to 20 µs, the network's with all packets that it brings
//!   fix    echo 0 > /proc/irq/36/smp_affinity_list
//! ```

use super::cpus::{Cpus, to_list};
use super::{Finding, Fix, HostReport, Level};
use std::fmt::Write as _;

/// Columns of a line that is no command.
const COLUMNS: usize = 100;

/// Columns before what a line says.
const INDENT: usize = 9;

/// Files that take the same value before they are one loop.
const LOOP_MIN: usize = 3;

/// The whole report, with a line end.
#[must_use]
pub fn host_text(report: &HostReport) -> String {
    let mut out = String::new();
    let counts = [Level::Bad, Level::Note, Level::Unknown, Level::Ok].map(|level| report.count(level));
    let [bad, notes, unknown, ok] = counts;
    put(
        &mut out,
        "",
        &format!("{}: {bad} bad, {notes} to note, {unknown} unknown, {ok} as it should be", asked(report)),
    );
    let mut is_brief = false;
    for finding in &report.findings {
        // What is well, or not known, takes one line; all of these are last.
        if finding.level == Level::Ok || finding.level == Level::Unknown {
            if !std::mem::replace(&mut is_brief, true) {
                out.push('\n');
            }
            let what = format!("{}: {}", subject(finding), finding.fact);
            put(&mut out, head(finding.level), &what);
            continue;
        }
        out.push('\n');
        put(&mut out, head(finding.level), &subject(finding));
        put(&mut out, "  is", &finding.fact);
        put(&mut out, "  costs", finding.cost);
        for line in lines(&finding.fixes) {
            writeln!(out, "  {:<width$}{line}", "fix", width = INDENT - 2).expect("a String takes whatever is written");
        }
    }
    out
}

/// What was asked, in words.
fn asked(report: &HostReport) -> String {
    let parking: Cpus = report.cpus.difference(&report.spinning).copied().collect();
    let said = |cpus: &Cpus, how: &str| (!cpus.is_empty()).then(|| format!("CPU {} {how}", to_list(cpus)));
    let parts = [said(&report.spinning, "as a hot core that spins"), said(&parking, "as a hot core that sleeps")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

const fn head(level: Level) -> &'static str {
    match level {
        Level::Bad => "BAD",
        Level::Note => "NOTE",
        Level::Unknown => "unknown",
        Level::Ok => "ok",
    }
}

fn subject(finding: &Finding) -> String {
    match to_list(&finding.cpus) {
        none if none.is_empty() => finding.check.to_owned(),
        cpus => format!("{}, CPU {cpus}", finding.check),
    }
}

/// A text behind its head, broken between words.
fn put(out: &mut String, head: &str, text: &str) {
    let indent = if head.is_empty() { 0 } else { INDENT };
    let mut line = format!("{head:<indent$}");
    let mut is_empty = true;
    // A file of somebody else's machine says what it likes; the terminal is told none of it as a command.
    let text: String = text.chars().map(|character| if character.is_control() { '?' } else { character }).collect();
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(out, "{}", line.trim_end()).expect("a String takes whatever is written");
            line = " ".repeat(INDENT.max(2));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    writeln!(out, "{}", line.trim_end()).expect("a String takes whatever is written");
}

/// The lines of fixes, those that write one value into many files as a loop.
fn lines(fixes: &[Fix]) -> Vec<String> {
    let value = |fix: &Fix| match fix {
        Fix::Write { value, .. } => Some(value.clone()),
        _ => None,
    };
    let mut done: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for fix in fixes {
        let Some(written) = value(fix) else {
            lines.push(fix.line());
            continue;
        };
        if done.contains(&written) {
            continue;
        }
        let same: Vec<&Fix> = fixes.iter().filter(|other| value(other).as_ref() == Some(&written)).collect();
        match looped(&same) {
            Some(line) => lines.push(line),
            None => lines.extend(same.into_iter().map(Fix::line)),
        }
        done.push(written);
    }
    lines
}

/// One loop over files whose paths differ in one place; `None` where there are few.
fn looped(fixes: &[&Fix]) -> Option<String> {
    let paths: Vec<&str> = fixes
        .iter()
        .filter_map(|fix| match fix {
            Fix::Write { path, .. } => Some(path.as_str()),
            _ => None,
        })
        .collect();
    let (Some(first), Some(Fix::Write { value, .. })) = (paths.first(), fixes.first()) else { return None };
    if paths.len() < LOOP_MIN {
        return None;
    }
    // Between two folders, so that no number is cut.
    let folder = |length: usize| first[..length].rfind('/').map_or(0, |slash| slash + 1);
    let all = |holds: &dyn Fn(&str) -> bool| paths.iter().all(|path| holds(path));
    let before = (0..first.len()).rev().find(|&length| all(&|path| path.starts_with(&first[..length])))?;
    let before = &first[..folder(before)];
    let behind = (before.len()..first.len())
        .find(|&from| first[from..].starts_with('/') && all(&|path| path.ends_with(&first[from..])))?;
    let behind = &first[behind..];
    let middles: Vec<&str> = paths.iter().map(|path| &path[before.len()..path.len() - behind.len()]).collect();
    Some(format!("for n in {}; do echo {value} > {before}$n{behind}; done", middles.join(" ")))
}

/// What mends the host, a line a fix, fields between tabs: `write` or `try`, check, value, file, what it holds now; `boot`,
/// check, words; `hand`, check, text. Each once. For `scripts/tune-host.sh`.
#[must_use]
pub fn fix_lines(report: &HostReport) -> String {
    let mut lines: Vec<String> = Vec::new();
    for finding in report.findings.iter().filter(|finding| matches!(finding.level, Level::Bad | Level::Note)) {
        for fix in &finding.fixes {
            let check = finding.check;
            let line = match fix {
                Fix::Write { path, value, was, may_be_refused } => {
                    let kind = if *may_be_refused { "try" } else { "write" };
                    format!("{kind}\t{check}\t{value}\t{path}\t{was}\n")
                }
                Fix::Boot { words } => format!("boot\t{check}\t{words}\n"),
                Fix::Hand { text } => format!("hand\t{check}\t{text}\n"),
            };
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(level: Level, fixes: Vec<Fix>) -> Finding {
        let fact = "word ".repeat(60).trim_end().to_owned();
        Finding { check: "interrupts", cpus: Cpus::from([1, 2]), level, fact, cost: "much", fixes }
    }

    fn report(findings: Vec<Finding>) -> HostReport {
        HostReport { cpus: Cpus::from([1, 2]), spinning: Cpus::from([1]), findings }
    }

    fn moves(count: usize) -> Vec<Fix> {
        (0..count).map(|n| Fix::write(&format!("/proc/irq/{}/smp_affinity_list", 9 + n), "0", "0-2")).collect()
    }

    #[test]
    fn lines_end_at_a_hundred_columns_and_no_command_is_broken() {
        let long = Fix::hand("x".repeat(120));
        let text = host_text(&report(vec![finding(Level::Bad, vec![long]), finding(Level::Ok, Vec::new())]));
        let (commands, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("  fix"));
        assert_eq!(commands, [format!("  fix    {}", "x".repeat(120))]);
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS && *line == line.trim_end()), "{text}");
        assert!(text.starts_with("CPU 1 as a hot core that spins, CPU 2 as a hot core that sleeps: 1 bad, 0 to note,"));
        assert_eq!(text.matches("word").count(), 120);
    }

    #[test]
    fn one_value_for_many_files_is_one_loop_and_for_few_a_line_each() {
        assert_eq!(
            lines(&moves(2)).join("|"),
            "echo 0 > /proc/irq/9/smp_affinity_list|echo 0 > /proc/irq/10/smp_affinity_list"
        );
        assert_eq!(lines(&moves(3)), ["for n in 9 10 11; do echo 0 > /proc/irq/$n/smp_affinity_list; done"]);
        let states = [(1, 2), (1, 3), (2, 2)]
            .map(|(cpu, state)| Fix::write(&format!("/sys/cpu{cpu}/cpuidle/state{state}/disable"), "1", "0"));
        assert_eq!(
            lines(&states),
            ["for n in cpu1/cpuidle/state2 cpu1/cpuidle/state3 cpu2/cpuidle/state2; do echo 1 > /sys/$n/disable; done"]
        );
        let unlike = ["/a", "/b", "/c"].map(|path| Fix::write(path, "1", "0"));
        assert_eq!(lines(&unlike).len(), 3, "three files with nothing in common behind");
    }

    #[test]
    fn a_script_is_told_each_fix_once_and_nothing_of_what_is_well() {
        let fixes = vec![
            moves(1).remove(0),
            Fix::Write { path: "/p".into(), value: "1".into(), was: "0".into(), may_be_refused: true },
            Fix::Boot { words: "nohz_full=1".into() },
            Fix::hand("by hand"),
        ];
        let report = report(vec![
            finding(Level::Bad, fixes.clone()),
            finding(Level::Note, fixes),
            finding(Level::Ok, vec![Fix::hand("not this")]),
        ]);
        assert_eq!(
            fix_lines(&report),
            "write\tinterrupts\t0\t/proc/irq/9/smp_affinity_list\t0-2\ntry\tinterrupts\t1\t/p\t0\n\
             boot\tinterrupts\tnohz_full=1\nhand\tinterrupts\tby hand\n"
        );
    }
}
