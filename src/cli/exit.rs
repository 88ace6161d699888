//! What a command's end means to the shell that called it.

use crate::telemetry::{Failure, FailureKind};
use std::fmt;
use std::process::ExitCode;

/// Exit code of a failure while running.
pub const EXIT_RUNTIME: u8 = 1;

/// Exit code of a configuration or a usage that was refused; nothing was started.
pub const EXIT_CONFIGURATION: u8 = 2;

/// Exit code of a run that a strategy's handler ended by panicking.
pub const EXIT_HANDLER_PANICKED: u8 = 3;

/// Why a command did not end cleanly.
#[derive(Debug)]
pub enum CommandError {
    /// What was asked for cannot be: nothing was started.
    Configuration(anyhow::Error),
    /// It could be asked for, and failed.
    Runtime(anyhow::Error),
    /// A strategy's handler panicked.
    HandlerPanicked(anyhow::Error),
}

impl CommandError {
    /// The code that the process exits with.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) => EXIT_CONFIGURATION,
            Self::Runtime(_) => EXIT_RUNTIME,
            Self::HandlerPanicked(_) => EXIT_HANDLER_PANICKED,
        }
    }

    /// The same, as `main` returns it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Configuration(error) | Self::Runtime(error) | Self::HandlerPanicked(error)) = self;
        // With every cause, on one line.
        write!(f, "{error:#}")
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::HandlerPanicked => Self::HandlerPanicked(failure.into()),
            FailureKind::Runtime => Self::Runtime(failure.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_own_exit_code_and_keeps_its_words() {
        let failed = |kind| CommandError::from(Failure { kind, message: "core 1: index 9 of 3".into() });
        assert_eq!(failed(FailureKind::HandlerPanicked).code(), 3);
        assert_eq!(failed(FailureKind::Runtime).code(), 1);
        assert_eq!(failed(FailureKind::Runtime).to_string(), "core 1: index 9 of 3");
        let error = anyhow::anyhow!("no such file").context("configs/binance.toml");
        let error = CommandError::Configuration(error);
        assert_eq!((error.code(), error.to_string().as_str()), (2, "configs/binance.toml: no such file"));
    }
}
