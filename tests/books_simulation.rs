//! Books under faults, simulated: synthetic markets are the truth, and their messages are lost, repeated, delayed, cut
//! elsewhere by a second connection and interrupted; snapshots come in mid-stream, late, stale or never; ticks change and
//! numberings start again.
//!
//! ```text
//! TICKWIRE_SEED (first), TICKWIRE_SEEDS (count), TICKWIRE_STOP (at the first that fails), TICKWIRE_SEEN (tell what was)
//!                                                       ─► a world each: market ─► world (faults, repairs, checks)
//! ```
//! After every event a book that is not marked stale equals the truth at its id, as far as it says it knows; one that is not
//! live is being repaired; and some moments after the last fault all are live. Where nothing went wrong none was ever stale.
//! `scripts/simulation_bites.sh` breaks one rule after the other and shows that a seed catches it.

#[path = "books_simulation/market.rs"]
mod market;
#[path = "simulation/random.rs"]
#[allow(dead_code, reason = "not every kind of chance is needed here")]
mod random;
#[path = "books_simulation/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// Seeds where nothing else is asked for.
const SEEDS: u64 = 2_000;

/// Lines of a failing world that are told.
const TOLD_LINES: usize = 40;

/// What a run of the usual length must have seen: a simulation that walks past its own faults proves nothing.
const MUST_HAVE_SEEN: [&str; 20] = [
    "applied",
    "calm",
    "held",
    "ignored",
    "late",
    "rebuilt",
    "skipped",
    "checksum",
    "disconnected",
    "fault",
    "gap",
    "held again: gap",
    "held again: hold_overflow",
    "held again: went_back",
    "no hold",
    "no_snapshot",
    "range_exhausted",
    "refused",
    "snapshot_too_old",
    "tick_changed",
];

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no number")),
        Err(_) => default,
    }
}

#[test]
fn books_that_are_not_stale_are_true_and_stale_ones_are_repaired() {
    let (first, count) = (number("TICKWIRE_SEED", 1), number("TICKWIRE_SEEDS", SEEDS));
    let stops = std::env::var_os("TICKWIRE_STOP").is_some();
    let (mut failed, mut events, mut seen) = (0_u64, 0_u64, BTreeMap::<&str, u64>::new());
    for seed in first..first.saturating_add(count) {
        let mut world = World::new(seed);
        let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
        events += world.events;
        for (what, count) in &world.seen {
            *seen.entry(what).or_default() += count;
        }
        if let Err(panic) = lived {
            failed += 1;
            let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            eprintln!("seed {seed} fails: {}", words.unwrap_or("a panic without words").replace('\n', " "));
            if failed <= 3 {
                world.log.iter().rev().take(TOLD_LINES).rev().for_each(|line| eprintln!("  {line}"));
            }
            eprintln!("replay: TICKWIRE_SEED={seed} TICKWIRE_SEEDS=1 cargo test --test books_simulation");
            if stops {
                break;
            }
        }
    }
    if std::env::var_os("TICKWIRE_SEEN").is_some() {
        seen.iter().for_each(|(what, count)| eprintln!("{count:>10} {what}"));
    }
    eprintln!("seeds {count} events {events} failed {failed}");
    assert_eq!(failed, 0);
    if count >= SEEDS {
        let missed: Vec<_> = MUST_HAVE_SEEN.iter().filter(|&&what| !seen.contains_key(what)).collect();
        assert!(missed.is_empty(), "{count} seeds, and none of them has seen {missed:?}: that path was not walked");
    }
}
