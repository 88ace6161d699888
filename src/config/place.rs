//! Where the keys of one table stand, so that a check made later can name file and line.

use super::ConfigError;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

/// Where one key stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) file: Option<PathBuf>,
    pub(super) line: Option<usize>,
    pub(super) key: String,
}

impl Place {
    /// The error of this place.
    pub(super) fn error(&self, found: impl Display, allowed: impl Display) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            line: self.line,
            key: self.key.clone(),
            found: found.to_string(),
            allowed: allowed.to_string(),
        }
    }
}

/// Where a table and its keys stand. A key that is not in the file stands where its table begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    root: Place,
    by_key: BTreeMap<String, Place>,
}

impl Places {
    pub(super) fn new(root: Place) -> Self {
        Self { root, by_key: BTreeMap::new() }
    }

    /// Remembers where a key stands. A later one (a connection's own over a default) replaces an earlier one.
    pub(super) fn insert(&mut self, key: String, place: Place) {
        self.by_key.insert(key, place);
    }

    /// True where the key stands in a file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// Where `key` stands, or would stand.
    pub(super) fn of(&self, key: &str) -> Place {
        self.by_key.get(key).cloned().unwrap_or_else(|| {
            let root = &self.root;
            let joined = if root.key.is_empty() { key.to_owned() } else { format!("{}.{key}", root.key) };
            Place { file: root.file.clone(), line: root.line, key: joined }
        })
    }

    /// False for a configuration built in code.
    pub(super) fn is_from_file(&self) -> bool {
        self.root.file.is_some()
    }
}
