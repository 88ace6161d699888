//! `tickwire doctor`: what the host does to a hot core, what it costs, and the line that fixes it.
//!
//! ```text
//! configuration, or --cores, or every CPU ──► Question ──► telemetry::host::examine ──► text | one line of JSON | fixes
//! ```

use super::args::DoctorArguments;
use super::check::print;
use super::exit::CommandError;
use crate::config;
use crate::engine::{host_question, hot_core};
use crate::telemetry::host::{
    Cpus, HostReport, HotCore, Level, Live, Question, allowed_cpus, examine, fix_lines, host_text,
};
use std::path::Path;

/// Prints the findings; with `--strict` a bad one is a failure.
pub(super) fn run(arguments: &DoctorArguments) -> Result<(), CommandError> {
    let root = arguments.root.as_deref().unwrap_or(Path::new("/"));
    let question = question(arguments, root)?;
    let live = if arguments.root.is_some() { Live::elsewhere() } else { Live::here() };
    let report = examine(root, &question, &live);
    print(&if arguments.json {
        report.to_json() + "\n"
    } else if arguments.fixes {
        fix_lines(&report)
    } else {
        host_text(&report)
    })?;
    if arguments.strict { verdict(&report) } else { Ok(()) }
}

/// The configured cores; those named; those of an engine file; or every CPU that this process may use.
fn question(arguments: &DoctorArguments, root: &Path) -> Result<Question, CommandError> {
    let spinning = |cpus: &Cpus| cpus.iter().map(|&cpu| HotCore { cpu, spins: true }).collect();
    if !arguments.configs.is_empty() {
        let config = config::load(&arguments.configs, arguments.engine.as_deref(), &crate::strategy::NAMES)
            .map_err(|errors| CommandError::Configuration(errors.into()))?;
        let question = host_question(&config);
        // Which CPUs a process may use there, the copy says.
        let allowed = question.allowed.filter(|_| arguments.root.is_none());
        return Ok(Question { allowed, ..question });
    }
    if let Some(cores) = &arguments.cores {
        return Ok(Question { cores: spinning(cores), ..Question::default() });
    }
    if let Some(path) = &arguments.engine {
        let engine = config::load_engine(path).map_err(|errors| CommandError::Configuration(errors.into()))?;
        if !engine.cores.is_empty() {
            let cores = engine.cores.iter().map(hot_core).collect();
            return Ok(Question { cores, cold_cores: engine.cold_cores, ..Question::default() });
        }
    }
    let unknown = |why: String| {
        CommandError::Configuration(anyhow::anyhow!(
            "which CPUs there are is not known ({why}): name them with --cores"
        ))
    };
    let allowed = allowed_cpus(root).map_err(unknown)?;
    if allowed.is_empty() {
        return Err(unknown("none is listed".to_owned()));
    }
    Ok(Question { cores: spinning(&allowed), ..Question::default() })
}

/// What is bad has been printed.
fn verdict(report: &HostReport) -> Result<(), CommandError> {
    match report.count(Level::Bad) {
        0 => Ok(()),
        1 => Err(CommandError::Runtime(anyhow::anyhow!("1 finding is bad: see what is printed"))),
        count => Err(CommandError::Runtime(anyhow::anyhow!("{count} findings are bad: see what is printed"))),
    }
}
