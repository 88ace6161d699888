//! The command line: one file per subcommand.
//!
//! ```text
//! args ──► run, demo ──► engine ──► run_loop (signals, deadlines) ──► output: JSON lines | log lines | live table
//!      ──► check     ──► config
//!      ──► doctor    ──► the host's files
//!      ──► sim       ──► the embedded exchange
//!      ──► ctl       ──► the control socket of an engine that runs
//! ```
//! Reports go to stdout, logs and errors to stderr. An error is printed once, here, and becomes the exit code.
//! Nothing of the engine is decided in this room.

mod args;
mod books_out;
mod check;
mod ctl;
mod demo;
mod doctor;
mod exit;
mod logging;
mod output;
mod run;
mod run_loop;
mod signals;
mod sim;

pub use args::Arguments;
pub use exit::{CommandError, EXIT_CONFIGURATION, EXIT_HANDLER_PANICKED, EXIT_RUNTIME};
pub use run_loop::EngineHandle;

use crate::engine::EngineBuilder;
use anyhow::Context as _;
use args::Command;
use clap::Parser as _;
use signals::Signals;
use std::io::Write as _;
use std::process::ExitCode;

/// Reads the process's arguments, does what they say, and prints what went wrong. Exits by itself only where the
/// arguments are refused or ask for help.
#[must_use]
pub fn main() -> ExitCode {
    ended(execute(Arguments::parse().command))
}

fn ended(result: Result<(), CommandError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::release();
            // Where stderr is gone the exit code still says it.
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
            error.exit_code()
        }
    }
}

/// `tickwire run` for a program of one's own: reads the process's arguments, runs the engine with this strategy on every
/// core that names none, and prints what went wrong.
#[must_use]
pub fn run_with<S: 'static>(
    name: &str,
    make: impl Fn() -> crate::hot::Strategy<S> + Send + Sync + 'static,
) -> ExitCode {
    run_with_all(&[name], |builder| builder.strategy(name, make))
}

/// The same for a program with several strategies of its own, for cores and for lanes, or with a partition: `build` registers
/// them with the builder, `names` are theirs. The one registered last runs where no file names another.
#[must_use]
pub fn run_with_all(names: &[&str], build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> ExitCode {
    let arguments = args::OwnArguments::parse();
    ended(start().and_then(|mut signals| run::run_with(&arguments.run, &mut signals, names, build)))
}

fn start() -> Result<Signals, CommandError> {
    logging::start().map_err(CommandError::Configuration)?;
    Signals::install_with_reload().context("signals").map_err(CommandError::Runtime)
}

fn execute(command: Command) -> Result<(), CommandError> {
    logging::start().map_err(CommandError::Configuration)?;
    let signals = || Signals::install().context("signals").map_err(CommandError::Runtime);
    match command {
        Command::Demo(arguments) => demo::run(&arguments, &mut signals()?),
        Command::Run(arguments) => {
            let signals = Signals::install_with_reload().context("signals").map_err(CommandError::Runtime);
            run::run(&arguments, &mut signals?)
        }
        Command::Check(arguments) => check::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Sim(arguments) => sim::run(arguments, &mut signals()?),
        Command::Ctl(arguments) => ctl::run(&arguments),
    }
}
