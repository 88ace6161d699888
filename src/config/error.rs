//! What is wrong with a configuration: file, line, key, what was found, what is allowed. All of it at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The file, as its path was given; `None` for a configuration built in code.
    pub file: Option<PathBuf>,
    /// Line from 1; `None` where the whole file is meant, or there is none.
    pub line: Option<usize>,
    /// Dotted path of the key: `connection[binance-spot-a].subscription.batch`. Empty where the whole file is meant.
    pub key: String,
    /// What stands there. Never the value of a header.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or(Path::new("configuration")).display();
        match self.line {
            Some(line) => write!(f, "{file}:{line}")?,
            None => write!(f, "{file}")?,
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, "\n  found:   {}\n  allowed: {}", self.found, self.allowed)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong, in the order of files and lines. Never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Sorts by file and line and drops what was said twice (a bad default is met once for every connection). `Ok` where
    /// nothing is wrong.
    pub(super) fn gather(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        errors.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        let mut kept: Vec<ConfigError> = Vec::with_capacity(errors.len());
        for error in errors {
            let is_known =
                |other: &ConfigError| (&other.file, other.line, &other.key) == (&error.file, error.line, &error.key);
            // The first error about a key is the reader's (it is no number); what a check says of the default that
            // stood in for it would only mislead.
            if error.line.is_none() || !kept.iter().rev().take_while(|o| o.line == error.line).any(is_known) {
                kept.push(error);
            }
        }
        if kept.is_empty() { Ok(()) } else { Err(Self(kept)) }
    }

    /// Each error, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
