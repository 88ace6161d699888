//! Hostile days, simulated: the real control plane, a clock that jumps, and one model venue per exchange that enforces
//! its documented limits and misbehaves by seed.
//!
//! ```text
//! TICKWIRE_SEED (first), TICKWIRE_SEEDS (count), TICKWIRE_STOP (at the first that fails), TICKWIRE_SEEN (tell what was)
//!                                               ─► a world each: day ─► world ─► acts, checks
//!                                                  relays + governor ◄─► hosts, sockets, dialects
//! seeds 400 simulated_hours 9600 steps 123456789 violations 0
//! ```
//! `cargo test --release --test simulation` runs the usual count; plain `cargo test` a few. A seed that fails prints its
//! number, the last events of its world and the command that replays it. `scripts/simulate.sh` runs as long as wanted.
//!
//! After every step: no limit of the venue and no promise of ours broken, no stream live twice unless a rotation is under
//! way, no illegal event, tables bounded, waits within their bounds, timers ahead of the clock, something always under
//! way, no healthy stream let go. At the end of every quiet period: everything Ready, the venue's view is what is wanted
//! without what it does not have, every request ended, no rotation hanging, nobody in a line.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test that runs itself says itself how it went")]

#[path = "simulation/acts.rs"]
mod acts;
#[path = "simulation/checks.rs"]
mod checks;
#[path = "simulation/day.rs"]
mod day;
#[path = "simulation/dialect.rs"]
mod dialect;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/host.rs"]
mod host;
#[path = "simulation/link.rs"]
mod link;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/socket.rs"]
mod socket;
#[path = "simulation/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use world::World;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Seeds where nothing else is asked for.
const SEEDS: u64 = if cfg!(debug_assertions) { 16 } else { 400 };

/// Failing seeds that are told in full.
const TOLD_MAX: u64 = 3;

/// What a run of the usual length must have seen: a simulation that walks past its own faults proves nothing.
const MUST_HAVE_SEEN: [&str; 31] = [
    "Authenticated",
    "Close(1008)",
    "Close(1012)",
    "Disconnected",
    "Dumb",
    "Mute",
    "Notice",
    "NotRotated",
    "REST 403",
    "REST 418",
    "REST 429",
    "Ready",
    "Reconnecting",
    "Recovered",
    "Refused",
    "Reset",
    "Resubscribing",
    "Rotated",
    "Rotating",
    "Silent",
    "SilentAll",
    "SilentMany",
    "SilentOne",
    "cut for its age",
    "login",
    "stale",
    "the venue answers no request",
    "upgrade 403",
    "upgrade 418",
    "upgrade 429",
    "upgrade 503",
];

/// The name under which this test can be filtered.
const NAME: &str = "simulation::hostile_days";

/// Where the panic hook leaves what it was told.
static LAST_WORDS: Mutex<String> = Mutex::new(String::new());

/// What came of the seeds.
#[derive(Default)]
struct Tally {
    seeds: u64,
    simulated_ns: u64,
    steps: u64,
    violations: u64,
    seen: BTreeMap<String, u64>,
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no number")),
        Err(_) => default,
    }
}

/// Whether libtest's arguments ask for this test: filters, `--skip`, `--exact`, `--list`, `--ignored`.
fn is_asked_for() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        println!("{NAME}: test");
        return false;
    }
    const TAKES_VALUE: [&str; 6] = ["--test-threads", "--format", "--color", "--logfile", "--shuffle-seed", "-Z"];
    let (mut filters, mut skipped) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--skip" {
            skipped.extend(rest.next());
        } else if let Some(word) = argument.strip_prefix("--skip=") {
            skipped.extend(arguments.iter().find(|whole| whole.ends_with(word)).map(|_| argument));
        } else if TAKES_VALUE.contains(&argument.as_str()) {
            rest.next();
        } else if !argument.starts_with('-') {
            filters.push(argument);
        }
    }
    let fits = |filter: &str| if has("--exact") { NAME == filter } else { NAME.contains(filter) };
    let is_chosen = filters.is_empty() || filters.iter().any(|filter| fits(filter));
    let is_skipped = skipped.iter().any(|word| fits(word.strip_prefix("--skip=").unwrap_or(word)));
    is_chosen && !is_skipped && !has("--ignored")
}

/// One seed's day.
fn run(seed: u64, tally: &mut Tally) {
    let mut world = None;
    let day = catch_unwind(AssertUnwindSafe(|| world.insert(World::new(seed)).live()));
    tally.seeds += 1;
    if let Some(world) = &world {
        tally.simulated_ns += world.now;
        tally.steps += world.steps;
        for (what, count) in &world.seen {
            *tally.seen.entry(what.clone()).or_default() += count;
        }
    }
    if day.is_ok() {
        return;
    }
    tally.violations += 1;
    let words = std::mem::take(&mut *LAST_WORDS.lock().expect("nobody panics with it"));
    eprintln!("seed {seed} fails: {words}");
    if tally.violations <= TOLD_MAX {
        for line in world.iter().flat_map(|world| &world.ring) {
            eprintln!("  {line}");
        }
    }
    eprintln!("replay: TICKWIRE_SEED={seed} TICKWIRE_SEEDS=1 cargo test --release --test simulation");
}

fn main() -> ExitCode {
    if !is_asked_for() {
        return ExitCode::SUCCESS;
    }
    let (first, count) = (number("TICKWIRE_SEED", 1), number("TICKWIRE_SEEDS", SEEDS));
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}: ", at.file(), at.line())).unwrap_or_default();
        let words = info.payload_as_str().unwrap_or("a panic without words");
        *LAST_WORDS.lock().expect("nobody panics with it") = format!("{place}{words}");
    }));
    let stops = std::env::var_os("TICKWIRE_STOP").is_some();
    let mut tally = Tally::default();
    for seed in first..first.saturating_add(count) {
        run(seed, &mut tally);
        if stops && tally.violations > 0 {
            break;
        }
    }
    if count >= SEEDS && tally.violations == 0 {
        for what in MUST_HAVE_SEEN.iter().filter(|&&what| !tally.seen.contains_key(what)) {
            eprintln!("{count} seeds, and none of them has seen `{what}`: that path was not walked");
            tally.violations += 1;
        }
    }
    if std::env::var_os("TICKWIRE_SEEN").is_some() {
        for (what, count) in &tally.seen {
            eprintln!("{count:>10} {what}");
        }
    }
    let hours = tally.simulated_ns / HOUR;
    let Tally { seeds, steps, violations, .. } = tally;
    println!("seeds {seeds} simulated_hours {hours} steps {steps} violations {violations}");
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
