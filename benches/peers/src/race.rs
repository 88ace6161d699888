//! How a race is run: contenders take turns over the same messages in an order that is new in every round.

use crate::messages::{Arena, mixed};
use serde::Serialize;
use std::hint::black_box;
use std::time::Instant;
use tickwire::telemetry::thread_allocations;

/// Name of the contender that the ratios are to.
pub(crate) const OURS: &str = "tickwire";

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) work: &'static str,
    pub(crate) case: String,
    pub(crate) contender: String,
    pub(crate) version: &'static str,
    /// Median over the rounds, for one message.
    pub(crate) ns: f64,
    /// The contender's time over tickwire's: above 1, tickwire is faster.
    pub(crate) ratio_to_tickwire: f64,
    /// Heap allocations of one message.
    pub(crate) allocations: f64,
}

/// What a race comes to: its rows, and where it is one of latencies their distributions, for the plot.
pub(crate) struct Raced {
    pub(crate) rows: Vec<Row>,
    pub(crate) panel: Option<Panel>,
}

/// Distributions that belong side by side.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// By contender: its samples in ns, rising.
    pub(crate) series: Vec<(&'static str, Vec<u64>)>,
}

/// What one contender came to.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) ns: f64,
    pub(crate) allocations: f64,
}

/// The rows of a race, beside [`OURS`] among them.
pub(crate) fn rows(work: &'static str, case: &str, outcomes: &[Outcome]) -> Vec<Row> {
    let ours = outcomes.iter().find(|outcome| outcome.name == OURS).map_or(f64::NAN, |outcome| outcome.ns);
    let row = |&Outcome { name, version, ns, allocations }: &Outcome| Row {
        work,
        case: case.to_owned(),
        contender: name.to_owned(),
        version,
        ns,
        ratio_to_tickwire: ns / ours,
        allocations,
    };
    outcomes.iter().map(row).collect()
}

/// Who takes part: a name and a version, what it brings near before its time begins, and one pass over the messages in
/// this order. Both give what they saw, so that nothing is left out.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) course: Box<dyn Course + 'a>,
}

/// What a contender runs over.
pub(crate) trait Course {
    /// Before the time begins.
    fn pull(&mut self) -> u64 {
        0
    }

    /// In its time.
    fn pass(&mut self, order: &[u32]) -> u64;
}

impl<F: FnMut(&[u32]) -> u64> Course for F {
    fn pass(&mut self, order: &[u32]) -> u64 {
        self(order)
    }
}

/// Messages, and what is done with one of them.
pub(crate) struct Over<F>(pub(crate) Arena, pub(crate) F);

impl<F: FnMut(&mut Arena, u32) -> u64> Course for Over<F> {
    fn pull(&mut self) -> u64 {
        self.0.pull()
    }

    fn pass(&mut self, order: &[u32]) -> u64 {
        let Self(arena, one) = self;
        order.iter().fold(0, |sum, &at| sum.wrapping_add(one(arena, at)))
    }
}

/// Runs one race of `count` messages, and gives a row a contender.
pub(crate) fn run(
    work: &'static str,
    case: &str,
    count: usize,
    rounds: usize,
    contenders: &mut [Contender<'_>],
) -> Raced {
    let mut order: Vec<u32> = (0..u32::try_from(count).expect("few messages")).collect();
    let mut taken: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::with_capacity(rounds)).collect();
    let mut allocated = vec![0; contenders.len()];
    // The first two rounds warm up what there is to warm.
    for round in 0..rounds + 2 {
        shuffle(&mut order, round as u64);
        for turn in 0..contenders.len() {
            let at = (turn + round) % contenders.len();
            let course = &mut contenders[at].course;
            black_box(course.pull());
            let before = thread_allocations();
            let started = Instant::now();
            black_box(course.pass(black_box(&order)));
            let ns = started.elapsed().as_nanos() as f64 / count as f64;
            if round >= 2 {
                taken[at].push(ns);
                allocated[at] += thread_allocations() - before;
            }
        }
    }
    let outcome = |(at, contender): (usize, &Contender<'_>)| Outcome {
        name: contender.name,
        version: contender.version,
        ns: median(&mut taken[at]),
        allocations: allocated[at] as f64 / (rounds * count) as f64,
    };
    let outcomes: Vec<Outcome> = contenders.iter().enumerate().map(outcome).collect();
    Raced { rows: rows(work, case, &outcomes), panel: None }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The value that so many thousandths of the rising samples do not exceed.
pub(crate) fn quantile(rising: &[u64], thousandths: usize) -> u64 {
    rising[(rising.len() * thousandths / 1_000).min(rising.len() - 1)]
}

/// Fisher and Yates' shuffle; the same in every run.
pub(crate) fn shuffle(order: &mut [u32], round: u64) {
    for at in (1..order.len()).rev() {
        let other = mixed(at as u64, 1_000 + round) % (at as u64 + 1);
        order.swap(at, usize::try_from(other).expect("below the length"));
    }
}
