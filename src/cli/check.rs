//! `tickwire check`: says what a configuration would connect and subscribe.

use super::args::CheckArguments;
use super::exit::CommandError;
use super::run;
use crate::config;
use anyhow::Context as _;
use std::io::{self, Write as _};

/// Prints the checked configuration for a person.
pub(super) fn run(arguments: &CheckArguments) -> Result<(), CommandError> {
    let config = run::load(&arguments.config, &crate::strategy::NAMES)?;
    let mut out = io::stdout().lock();
    match out.write_all(config::describe(&config).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("stdout").map_err(CommandError::Runtime)
        }
        _ => Ok(()),
    }
}
