//! `legs/<count>/<kind>/...`: how late an event comes of several legs that race each other; `legs/arbitrate/<kind>/...`: what
//! finding its repeats costs; and the memory that legs take.
//!
//! ```text
//! cargo bench --bench legs                                  rounds of every row, interleaved and rotated
//! cargo bench --bench legs -- --rounds 40 --messages 4000   longer
//! cargo bench --bench legs -- --test                        a few messages of each, to see that it lives
//! ```
//! The race (`legs/race.rs`) sends the same messages over real sockets to one core, with delays that each leg has for itself
//! and that a seed draws. `alone/1`, `alone/2`: one leg by itself. `apart`: all legs on one core, which does not judge them,
//! and of each message the copy that is handled first, the least of its legs; `merged`: all legs, judged. `least of alone`: of
//! each message the least latency of the rows `alone`; `least drawn`: the least of its delays, as if nothing else took any
//! time. Latency counts from the venue's own time of a message, transit from the write of its first copy: `merged` less
//! `apart` is what arbitration adds to an event, beside the cost that the other part measures. Wants two CPUs of its own.
//!
//! The cost (`legs/cost.rs`) is a message's whole way through the core: `alone` of one connection without legs, `won` of the
//! leg that brings it first, `lost` of the one that brings it again; `by_hand` the same of two connections that know nothing
//! of each other and a strategy that finds the repeats itself.
//!
//! Asserted: each event once, in its order, and that wins and losses add up. All times are printed.

#[path = "legs/cost.rs"]
mod cost;
#[path = "legs/memory.rs"]
mod memory;
#[path = "legs/race.rs"]
mod race;
#[path = "legs/stage.rs"]
mod stage;
#[path = "legs/words.rs"]
mod words;

use race::{Contender, Floor, Way};
use tickwire::telemetry::CountingAllocator;
use words::Kind;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The value behind a flag of the command line.
fn number(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map_or(default, |text| text.parse().expect("a number"))
}

/// One kind with so many legs.
struct Heat {
    contenders: Vec<Contender>,
    floor: Floor,
}

impl Heat {
    fn all() -> Vec<Self> {
        let kinds = [Kind::Trade, Kind::Quote, Kind::Depth];
        let heat = |kind, legs| Self { contenders: Contender::all(kind, legs), floor: Floor::new() };
        [2, 3].into_iter().flat_map(|legs| kinds.map(|kind| heat(kind, legs))).collect()
    }

    /// Every contender once, each round another first.
    fn round(&mut self, round: usize, messages: usize) {
        let (seed, count) = (round as u64 + 1, self.contenders.len());
        let mut alone = Vec::new();
        for at in 0..count {
            let contender = &mut self.contenders[(at + round) % count];
            let ran = contender.round(seed, messages);
            if matches!(contender.way, Way::Alone(_)) {
                alone.push(ran);
            }
        }
        self.floor.record(seed, self.contenders[0].legs, &alone);
    }
}

#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let rounds = number("--rounds", if is_test { 1 } else { 20 });
    let messages = number("--messages", if is_test { race::WARM_UP + 100 } else { 2_000 });
    let chunks = number("--chunks", if is_test { cost::WARM_UP + 1 } else { 100 });
    assert!(messages > race::WARM_UP && chunks > cost::WARM_UP, "more than the warm-up");
    memory::print();
    let mut heats = Heat::all();
    let mut costs = cost::Contender::all();
    for round in 0..rounds {
        for heat in &mut heats {
            heat.round(round, messages);
        }
        for at in 0..costs.len() {
            let count = costs.len();
            costs[(at + round) % count].round(chunks);
        }
    }
    println!("\n({rounds} rounds of {chunks} chunks)");
    cost::print(&costs);
    println!("\nof {rounds} rounds of {messages} messages, 20,000 a second on each leg, ns");
    println!("{:<28} {:>8} {:>29} {:>29}", "", "messages", "latency p50, p99, p99.9", "transit p50, p99, p99.9");
    for heat in &heats {
        race::print(&heat.contenders, &heat.floor, cost::cost(&costs, heat.contenders[0].kind));
    }
}
