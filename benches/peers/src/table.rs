//! The rows as text: one line a case with its best other and its floor, and every contender's figures by work.

use crate::race::{OURS, Row};
use std::fmt::Write as _;

/// Neither tickwire in any of its ways, nor a floor.
fn is_other(row: &Row) -> bool {
    !row.contender.starts_with(OURS) && !row.contender.starts_with("floor:")
}

/// One line a case and way of tickwire's: how many times its time the best other takes, and how many times the floor it takes.
pub(crate) fn summary(rows: &[Row]) -> String {
    let mut text = String::from(
        "\n| work | case | by | the best other takes | which is | ns | floor, ns | times the floor |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for race in rows.chunk_by(|a, b| (a.work, &a.case) == (b.work, &b.case)) {
        let best = race.iter().filter(|row| is_other(row)).min_by(|a, b| a.ns.total_cmp(&b.ns));
        let floor = race.iter().find(|row| row.contender.starts_with("floor:"));
        for ours in race.iter().filter(|row| row.contender.starts_with(OURS)) {
            let (ratio, name) = best.map_or(("-".to_owned(), "-"), |row| {
                let behind = if row.ns < ours.ns { ": **behind**" } else { "" };
                (format!("{:.2} times as long{behind}", row.ns / ours.ns), &row.contender)
            });
            let (floor_ns, times) = floor.map_or(("-".to_owned(), "-".to_owned()), |row| {
                (format!("{:.1}", row.ns), format!("{:.2}", ours.ns / row.ns))
            });
            let Row { work, case, contender, ns, .. } = ours;
            let _ =
                writeln!(text, "| {work} | {case} | {contender} | {ratio} | {name} | {ns:.1} | {floor_ns} | {times} |");
        }
    }
    text
}

/// What of a row stands in a cell.
type Show = fn(&Row) -> String;

/// By work: how many times tickwire's time each contender takes, then the times, then the allocations.
pub(crate) fn details(rows: &[Row]) -> String {
    let mut text = String::new();
    for races in rows.chunk_by(|a, b| a.work == b.work) {
        let mut contenders: Vec<&str> = Vec::new();
        for row in races {
            if !contenders.contains(&&*row.contender) {
                contenders.push(&row.contender);
            }
        }
        let heads: [(&str, Show); 3] = [
            ("times tickwire's time", |row| format!("{:.2}", row.ratio_to_tickwire)),
            ("ns a message", |row| format!("{:.1}", row.ns)),
            ("allocations a message", |row| format!("{:.2}", row.allocations)),
        ];
        for (head, show) in heads {
            let _ = writeln!(text, "\n| {}: {head} | {} |", races[0].work, contenders.join(" | "));
            let _ = writeln!(text, "| --- |{}", " --- |".repeat(contenders.len()));
            for race in races.chunk_by(|a, b| a.case == b.case) {
                let cell = |name: &&str| race.iter().find(|row| row.contender == *name).map_or("-".to_owned(), show);
                let cells: Vec<String> = contenders.iter().map(cell).collect();
                let _ = writeln!(text, "| {} | {} |", race[0].case, cells.join(" | "));
            }
        }
        let _ = write!(text, "\n{}", means(races));
    }
    text
}

/// Geometric means over the cases of a work: of the best others, by each way of tickwire's, and of each contender.
fn means(races: &[Row]) -> String {
    let mean = |ratios: &[f64]| (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let mut text = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for row in races {
        let name = &*row.contender;
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        if name.starts_with(OURS) {
            let best = |race: &[Row]| {
                let others = race.iter().filter(|row| is_other(row)).map(|row| row.ns).reduce(f64::min)?;
                Some(others / race.iter().find(|row| row.contender == name)?.ns)
            };
            let best: Vec<f64> = races.chunk_by(|a, b| a.case == b.case).filter_map(best).collect();
            if !best.is_empty() {
                let least = best.iter().copied().fold(f64::INFINITY, f64::min);
                let (work, mean) = (row.work, mean(&best));
                let _ = writeln!(
                    text,
                    "{work}, {name}: the best other takes {mean:.2} times as long (geometric mean), {least:.2} at least"
                );
            }
        }
        if name != OURS {
            let same = races.iter().filter(|row| row.contender == name).map(|row| row.ratio_to_tickwire);
            let _ = writeln!(text, "- {name}: {:.2} times tickwire's time", mean(&same.collect::<Vec<f64>>()));
        }
    }
    text
}
