//! The race: tickwire beside what else a Rust user would take, and beside the floor, measured in one run on the same
//! messages. `scripts/race.sh` builds and runs it.
//!
//! ```text
//! messages (all different, with what each says) ─► every contender checked on each ─► rounds: a new order of messages,
//! contenders in turn, another one first each time ─► medians, ratios, allocations ─► tables, JSON, a picture
//!
//! frame       bytes to messages                          cold        one message alone, everything else having been used
//! tls         a record to its frame                      path        the whole way on a hot core, beside decoding alone
//! decode      a message to its numbers, generated and    wire        loopback, ws and wss, from write to handler
//!             recorded ones                              throughput  the same without a pause between messages
//! book        recorded changes, kept
//! ```

mod barter;
mod books;
mod cold;
mod decode;
mod engine;
mod frame;
mod messages;
mod path;
mod plot;
mod race;
mod reading;
mod recorded;
#[path = "../../shared/recorded_book.rs"]
mod recorded_book;
mod table;
mod tls;
#[path = "../../shared/tls_contenders.rs"]
mod tls_contenders;
#[path = "../../../fuzz/bodies/tls_peer.rs"]
mod tls_peer;
mod typed;
mod venue;
mod wire;

use clap::{Parser, ValueEnum};
use race::Raced;
use std::path::{Path, PathBuf};
use tickwire::telemetry::CountingAllocator;
use tickwire::venue::Cpu;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Symbols of the small and of the large universe.
const UNIVERSES: [usize; 2] = [20, 2_000];

/// Races tickwire against the usual libraries, all in one run on the same messages, and prints tables: ratios first.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A tenth of the rounds: good for a look, too few for a figure.
    #[arg(long)]
    quick: bool,
    /// Keeps tickwire from AVX-512, as on a machine without it.
    #[arg(long)]
    no_avx512: bool,
    /// Only these kinds of work; all by default.
    #[arg(long, value_name = "WORK", value_delimiter = ',')]
    only: Vec<Work>,
    /// Also writes every row to this file: work, case, contender, version, ns, ratio_to_tickwire (above 1: tickwire is
    /// faster), allocations of one message.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draws the distributions of all races of latencies, side by side, into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Work {
    Frame,
    Tls,
    Decode,
    #[value(name = "decode recorded")]
    DecodeRecorded,
    Cold,
    Path,
    Wire,
    Throughput,
    Book,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let cpu = if arguments.no_avx512 { Cpu::Sse41 } else { Cpu::best() };
    eprintln!("tickwire's decoders use {}", cpu.name());
    let is_wanted = |work| arguments.only.is_empty() || arguments.only.contains(&work);
    let root = std::env::var_os("TICKWIRE_FRAMES").filter(|root| !root.is_empty());
    let root = root.as_deref().map(Path::new);
    if root.is_none() && [Work::DecodeRecorded, Work::Book].into_iter().any(is_wanted) {
        eprintln!(
            "recorded messages and books are not raced: TICKWIRE_FRAMES, the folder with recorded frames, is not set"
        );
    }
    // In how many turns each contender is measured.
    let turns = |quick: usize, full: usize| if arguments.quick { quick } else { full };
    let (rounds, samples, slices) = (turns(40, 400), turns(300, 3_000), turns(7, 31));
    let mut races: Vec<(Work, Box<dyn Fn() -> Raced + '_>)> = Vec::new();
    for payload_bytes in [150, 1_500] {
        races.push((Work::Frame, Box::new(move || frame::race(payload_bytes, rounds))));
    }
    for is_bulk in [false, true] {
        races.push((Work::Tls, Box::new(move || tls::race(is_bulk, rounds))));
    }
    for case in messages::Case::ALL {
        for symbols in UNIVERSES {
            races.push((Work::Decode, Box::new(move || decode::generated_race(case, symbols, rounds, cpu))));
        }
    }
    if let Some(root) = root {
        for recorded in recorded::ALL {
            races.push((Work::DecodeRecorded, Box::new(move || recorded.race(root, rounds, cpu))));
        }
    }
    for case in cold::CASES {
        for symbols in UNIVERSES {
            races.push((Work::Cold, Box::new(move || cold::race(case, symbols, samples, cpu))));
        }
    }
    for symbols in UNIVERSES {
        races.push((Work::Path, Box::new(move || path::race(symbols, slices, cpu))));
    }
    for is_tls in [false, true] {
        races.push((Work::Wire, Box::new(move || wire::race(is_tls, slices, cpu))));
    }
    races.push((Work::Throughput, Box::new(move || wire::saturated(slices, cpu))));
    if let Some(root) = root.filter(|_| is_wanted(Work::Book)) {
        for capture in recorded_book::Capture::all(root) {
            races.push((Work::Book, Box::new(move || books::race(&capture, rounds / 4))));
        }
    }
    races.retain(|(work, _)| is_wanted(*work));

    let (mut rows, mut panels) = (Vec::new(), Vec::new());
    let count = races.len();
    for (at, (_, race)) in races.iter().enumerate() {
        let raced = race();
        if let Some(row) = raced.rows.first() {
            eprintln!("{}/{count} {}, {}", at + 1, row.work, row.case);
        }
        rows.extend(raced.rows);
        panels.extend(raced.panel);
    }
    print!("{}{}", table::details(&rows), table::summary(&rows));
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&rows)? + "\n")?;
    }
    if let Some(file) = &arguments.svg {
        let footer = format!("tickwire {}, its decoders with {}", env!("CARGO_PKG_VERSION"), cpu.name());
        std::fs::write(file, plot::svg(&panels, &footer))?;
    }
    Ok(())
}
