//! `tickwire run`: the engine with a configuration from files.

use super::args::{ConfigArguments, ReportArguments, RunArguments};
use super::books_out::BooksOut;
use super::exit::CommandError;
use super::output::Stdout;
use super::run_loop::{EngineHandle, run_loop};
use super::signals::Signals;
use crate::config::{self, Config, EndpointOverrides};
use crate::engine::{Engine, EngineBuilder, EngineError, RunningEngine, confine_to};
use crate::net::ControlSocketError;
use crate::strategy;
use crate::telemetry::{BookReport, Failure, Report};
use anyhow::Context as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

impl EngineHandle for RunningEngine {
    fn report(&self) -> Report {
        Self::report(self)
    }

    fn failure(&self) -> Option<Failure> {
        Self::failure(self)
    }

    fn summaries(&self) -> Vec<String> {
        Self::summaries(self)
    }

    fn reload(&self) -> Result<String, String> {
        let handle = self.handle();
        match self.block_on(async move { handle.reload(false).await }) {
            Some(Ok(difference)) => Ok(difference.to_string()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the engine stops".to_owned()),
        }
    }

    fn for_each_book(&self, give: &mut dyn FnMut(BookReport, usize) -> ControlFlow<()>) {
        Self::for_each_book(self, give);
    }

    fn stop(self) -> Report {
        Self::stop(self)
    }
}

/// Runs until the end that was asked for.
pub(super) fn run(arguments: &RunArguments, signals: &mut Signals) -> Result<(), CommandError> {
    let mut config = load(&arguments.config, &strategy::NAMES)?;
    if let Some(path) = &arguments.endpoints {
        point_at(&mut config, path).map_err(CommandError::Configuration)?;
    }
    let books_out = books_out(arguments)?;
    run_config(config, &arguments.report, (arguments.duration, books_out), signals, |builder| {
        builder.default_strategy(arguments.report.strategy_or_default())
    })
}

/// The same with strategies of the caller's own.
pub(super) fn run_with(
    arguments: &RunArguments,
    signals: &mut Signals,
    own_names: &[&str],
    build: impl FnOnce(EngineBuilder) -> EngineBuilder,
) -> Result<(), CommandError> {
    let names = [&strategy::NAMES, own_names].concat();
    let mut config = load(&arguments.config, &names)?;
    if let Some(path) = &arguments.endpoints {
        point_at(&mut config, path).map_err(CommandError::Configuration)?;
    }
    let books_out = books_out(arguments)?;
    run_config(config, &arguments.report, (arguments.duration, books_out), signals, |builder| {
        let builder = build(builder);
        match &arguments.report.strategy {
            Some(chosen) => builder.default_strategy(chosen),
            None => builder,
        }
    })
}

/// Reads and checks the files of a command.
pub(super) fn load(arguments: &ConfigArguments, strategies: &[&str]) -> Result<Config, CommandError> {
    config::load(&arguments.configs, arguments.engine.as_deref(), strategies)
        .map_err(|errors| CommandError::Configuration(errors.into()))
}

fn point_at(config: &mut Config, path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("endpoints: {}", path.display()))?;
    let endpoints = EndpointOverrides::parse(&text).with_context(|| path.display().to_string())?;
    Ok(config.point_at(&endpoints)?)
}

/// Where the books go at the end: made at once, so that what cannot be written is known before anything is started.
fn books_out(arguments: &RunArguments) -> Result<Option<BooksOut>, CommandError> {
    arguments.books_out.as_deref().map(BooksOut::create).transpose().map_err(CommandError::Configuration)
}

/// Starts an engine and watches it to its end.
pub(super) fn run_config(
    config: Config,
    report: &ReportArguments,
    (duration, books_out): (Option<Duration>, Option<BooksOut>),
    signals: &mut Signals,
    with_strategies: impl FnOnce(EngineBuilder) -> EngineBuilder,
) -> Result<(), CommandError> {
    let schedule = report.schedule(config.engine.report_interval, duration);
    let mut output = Stdout::choose(report.json);
    let cold_cores = config.engine.cold_cores.clone();
    let engine = with_strategies(Engine::builder(config)).start().map_err(start_error)?;
    // Reports are cold work: this thread leaves the hot CPUs too.
    confine_to(&cold_cores).context("cold_cores").map_err(CommandError::Runtime)?;
    signals.restart_clock();
    run_loop(engine, signals, schedule, &mut output, books_out)
}

/// What the configuration asked for wrongly, apart from what this machine did not give.
fn start_error(error: EngineError) -> CommandError {
    match error {
        EngineError::UnknownStrategy { .. }
        | EngineError::UnknownLaneStrategy { .. }
        | EngineError::NoSuchLane { .. }
        | EngineError::TooManySockets { .. }
        | EngineError::NoSuchCore { .. }
        | EngineError::Settings { .. }
        | EngineError::Plan { .. }
        // A path that somebody else's file or engine has: another path, or nothing, is to be configured.
        | EngineError::ControlSocket(ControlSocketError::InUse { .. } | ControlSocketError::NotASocket { .. }) => {
            CommandError::Configuration(error.into())
        }
        _ => CommandError::Runtime(error.into()),
    }
}
