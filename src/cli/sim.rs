//! `tickwire sim`: the embedded exchange as a process of its own.
//!
//! ```text
//! stdout   one line: the endpoints, as JSON
//! stderr   a line every few seconds, and the summary
//! ```

use super::args::{PaceArgument, SimArguments};
use super::exit::CommandError;
use super::signals::{Signals, Wait as _, Wake};
use crate::market::Venue;
use crate::sim::{self, Faults, Pace, SimError, SimOptions, SimStats, Source, TlsMode};
use anyhow::Context as _;
use std::io::{self, Write as _};
use std::time::Duration;

/// Between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Serves until the end that was asked for.
pub(super) fn run(arguments: SimArguments, signals: &mut Signals) -> Result<(), CommandError> {
    let (is_quiet, duration) = (arguments.quiet, arguments.duration);
    let runtime = tokio::runtime::Runtime::new().context("runtime").map_err(CommandError::Runtime)?;
    let exchange = runtime.block_on(sim::start(options(arguments))).map_err(start_error)?;
    signals.restart_clock();
    let endpoints = serde_json::to_string(exchange.endpoints()).context("endpoints").map_err(CommandError::Runtime)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{endpoints}").and_then(|()| out.flush()).context("stdout").map_err(CommandError::Runtime)?;
    loop {
        let now = signals.now();
        if duration.is_some_and(|duration| now >= duration) {
            break;
        }
        let deadline = (now + PROGRESS_INTERVAL).min(duration.unwrap_or(Duration::MAX));
        if signals.until(deadline) == Wake::Stop {
            break;
        }
        if !is_quiet {
            show("serving", &exchange.stats());
        }
    }
    let stats = runtime.block_on(exchange.stop());
    if !is_quiet {
        show("served", &stats);
    }
    Ok(())
}

fn options(arguments: SimArguments) -> SimOptions {
    let source = match arguments.frames {
        Some(dir) => Source::Frames { dir, pace: pace(arguments.pace) },
        None => Source::Synthetic { seed: arguments.seed, rate: arguments.rate, symbols: u32::from(arguments.symbols) },
    };
    let venues = if arguments.venues.is_empty() { Venue::ALL.into() } else { arguments.venues };
    let tls = if arguments.tls { TlsMode::On } else { TlsMode::Off };
    // The duration is kept here, so that the summary is printed at its end and not after it.
    let faults = Faults { rules: arguments.faults, seed: arguments.fault_seed, ..Faults::default() };
    let is_tape = arguments.tape;
    SimOptions { venues, tls, source, ca_path: arguments.ca, faults, is_tape, ..SimOptions::default() }
}

const fn pace(pace: PaceArgument) -> Pace {
    match pace {
        PaceArgument::Recorded => Pace::Recorded,
        PaceArgument::FlatOut => Pace::FlatOut,
        PaceArgument::Multiple(multiple) => Pace::Multiple(multiple),
    }
}

/// What was asked for wrongly, apart from what this machine did not give.
fn start_error(error: SimError) -> CommandError {
    match error {
        SimError::Listen(_) | SimError::Certificate(_) => CommandError::Runtime(error.into()),
        _ => CommandError::Configuration(error.into()),
    }
}

/// One line a venue on stderr: its counters, as they name themselves.
fn show(title: &str, stats: &SimStats) {
    let mut stderr = io::stderr().lock();
    for (venue, stats) in &stats.venues {
        let counters = serde_json::to_string(stats).unwrap_or_default();
        // Where stderr is gone there is nobody left to tell.
        let _ = writeln!(stderr, "{title} {venue} {counters}");
    }
}
