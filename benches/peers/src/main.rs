//! The race: tickwire beside what else a Rust user would take, and beside the floor, measured in one run on the same
//! messages. `scripts/race.sh` builds and runs it.
//!
//! ```text
//! messages (all different, with what each says) ─► every contender checked on each ─► rounds: a new order of messages,
//! contenders in turn, another one first each time ─► medians, ratios, allocations ─► a table, and JSON
//! ```

mod decode;
mod frame;
mod messages;
mod race;

use clap::Parser;
use race::{OURS, Row};
use std::fmt::Write as _;
use std::path::PathBuf;
use tickwire::telemetry::CountingAllocator;
use tickwire::venue::Cpu;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Symbols of the small and of the large universe.
const UNIVERSES: [usize; 2] = [20, 2_000];

/// Races tickwire against the usual libraries, all in one run on the same messages, and prints one table: ratios first.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A tenth of the rounds: good for a look, too few for a figure.
    #[arg(long)]
    quick: bool,
    /// Keeps tickwire from AVX-512, as on a machine without it.
    #[arg(long)]
    no_avx512: bool,
    /// Also writes every row to this file: work, case, contender, version, ns, ratio_to_tickwire (above 1: tickwire is
    /// faster), allocations of one message.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let cpu = if arguments.no_avx512 { Cpu::Sse41 } else { Cpu::best() };
    eprintln!("tickwire's decoders use {}", cpu.name());
    let rounds = if arguments.quick { 40 } else { 400 };
    let mut rows = Vec::new();
    let mut races: Vec<Box<dyn Fn() -> Vec<Row>>> = Vec::new();
    for payload_bytes in [150, 1_500] {
        races.push(Box::new(move || frame::race(payload_bytes, rounds)));
    }
    for case in messages::Case::ALL {
        for symbols in UNIVERSES {
            races.push(Box::new(move || decode::race(case, symbols, rounds, cpu)));
        }
    }
    let count = races.len();
    for (at, race) in races.iter().enumerate() {
        let of_race = race();
        eprintln!("{}/{count} {} {}", at + 1, of_race[0].work, of_race[0].case);
        rows.extend(of_race);
    }
    print!("{}", table(&rows));
    if let Some(file) = arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&rows)? + "\n")?;
    }
    Ok(())
}

/// One line a race: how many times tickwire's time each of the others takes; then the times; then the allocations.
fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for races in rows.chunk_by(|a, b| a.work == b.work) {
        let contenders: Vec<&str> =
            races.chunk_by(|a, b| a.case == b.case).next().into_iter().flatten().map(|row| &*row.contender).collect();
        let heads: [(&str, fn(&Row) -> String); 3] = [
            ("times tickwire's time", |row| format!("{:.2}", row.ratio_to_tickwire)),
            ("ns a message", |row| format!("{:.1}", row.ns)),
            ("allocations a message", |row| format!("{:.2}", row.allocations)),
        ];
        for (head, show) in heads {
            let _ = writeln!(text, "\n| {}: {head} | {} |", races[0].work, contenders.join(" | "));
            let _ = writeln!(text, "| --- |{}", " --- |".repeat(contenders.len()));
            for race in races.chunk_by(|a, b| a.case == b.case) {
                let cells: Vec<String> = race.iter().map(show).collect();
                let _ = writeln!(text, "| {} | {} |", race[0].case, cells.join(" | "));
            }
        }
        let others = |race: &[Row]| {
            let library = |row: &&Row| row.contender != OURS && !row.contender.starts_with("floor:");
            race.iter().filter(library).map(|row| row.ratio_to_tickwire).fold(f64::INFINITY, f64::min)
        };
        let best: Vec<f64> = races.chunk_by(|a, b| a.case == b.case).map(others).collect();
        let mean = (best.iter().map(|ratio| ratio.ln()).sum::<f64>() / best.len() as f64).exp();
        let least = best.iter().copied().fold(f64::INFINITY, f64::min);
        let _ = writeln!(
            text,
            "\n{}: the best other takes {mean:.2} times as long (geometric mean), {least:.2} at least",
            races[0].work
        );
    }
    text
}
