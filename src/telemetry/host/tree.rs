//! Reads the kernel's files below a root folder: `/`, or a copy of a machine's `/proc` and `/sys`.
//!
//! Paths are given, and named in errors, as they are on the machine itself. What is missing, what may not be read and what
//! does not hold what it should are told apart; nothing is guessed.

use super::cpus::{self, Cpus};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::str::FromStr;

/// Longest file that is read: `/proc/interrupts` of a machine with hundreds of CPUs takes some megabytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Longest part of a file that an error repeats.
const QUOTED_CHARS_MAX: usize = 40;

/// Why a fact is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is not there, or may not be read.
    #[error("{path}: {}", words(.error))]
    Read { path: String, error: io::Error },
    /// It holds something else.
    #[error("{path}: `{found}` is not {wanted}")]
    Form { path: String, found: String, wanted: &'static str },
    /// There is no file for it.
    #[error("{0}")]
    Other(String),
}

/// The system's words without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

impl Unreadable {
    pub(super) fn form(path: &str, found: &str, wanted: &'static str) -> Self {
        let mut quoted: String = found.trim().chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
        if found.trim().chars().nth(QUOTED_CHARS_MAX).is_some() {
            quoted.push('…');
        }
        Self::Form { path: path.to_owned(), found: quoted, wanted }
    }
}

/// The files of one machine.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file; what is no UTF-8 in it is replaced.
    pub(super) fn text(&self, path: &str) -> Result<String, Unreadable> {
        let failed = |error| Unreadable::Read { path: path.to_owned(), error };
        let file = self.at(path);
        // A pipe would be waited on for ever.
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("is no file")));
        }
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(&file).map_err(failed)?;
        opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text of a file of one word or line, without white space around it.
    pub(super) fn word(&self, path: &str) -> Result<String, Unreadable> {
        let text = self.text(path)?;
        let word = text.trim();
        if word.chars().any(char::is_control) {
            return Err(Unreadable::form(path, word, "one line of text"));
        }
        Ok(word.to_owned())
    }

    /// A number.
    pub(super) fn number<T: FromStr>(&self, path: &str) -> Result<T, Unreadable> {
        let text = self.word(path)?;
        text.parse().map_err(|_| Unreadable::form(path, &text, "a number"))
    }

    /// A list of CPUs.
    pub(super) fn cpu_list(&self, path: &str) -> Result<Cpus, Unreadable> {
        let text = self.text(path)?;
        cpus::from_list(&text).ok_or_else(|| Unreadable::form(path, &text, "a list of CPUs"))
    }

    /// A mask of CPUs.
    pub(super) fn cpu_mask(&self, path: &str) -> Result<Cpus, Unreadable> {
        let text = self.text(path)?;
        cpus::from_mask(&text).ok_or_else(|| Unreadable::form(path, &text, "a mask of CPUs"))
    }

    /// The word in brackets among those that may be chosen: `always [madvise] never`.
    pub(super) fn chosen(&self, path: &str) -> Result<String, Unreadable> {
        let text = self.text(path)?;
        let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        let chosen = chosen.map(|(word, _)| word.to_owned()).filter(|word| !word.is_empty());
        chosen.ok_or_else(|| Unreadable::form(path, &text, "a list of words with one in brackets"))
    }

    /// Names in a folder, rising.
    pub(super) fn names(&self, folder: &str) -> Result<Vec<String>, Unreadable> {
        let failed = |error| Unreadable::Read { path: folder.to_owned(), error };
        let entries = std::fs::read_dir(self.at(folder)).map_err(failed)?;
        let name = |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        let mut names = entries.map(name).collect::<io::Result<Vec<String>>>().map_err(failed)?;
        names.sort_unstable();
        Ok(names)
    }

    /// Names in a folder that begin with `prefix` and go on as a number, with that number, rising.
    pub(super) fn numbered(&self, folder: &str, prefix: &str) -> Result<Vec<(usize, String)>, Unreadable> {
        let number = |name: &str| name.strip_prefix(prefix)?.parse().ok();
        let names = self.names(folder)?.into_iter();
        let mut found: Vec<(usize, String)> = names.filter_map(|name| Some((number(&name)?, name))).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// What was read of a file that a kernel may lack: `None` where it is absent though `anchor`, a folder that every kernel
    /// with such files has, is there. Without the anchor nothing is known.
    pub(super) fn within<T>(&self, anchor: &str, read: Result<T, Unreadable>) -> Result<Option<T>, Unreadable> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(Unreadable::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound && self.has(anchor) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// True if there is something at this path, whatever it is.
    pub(super) fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// Words of the kernel's command line that begin with `key=`, what stands behind it.
    pub(super) fn boot_words(&self, key: &str) -> Result<Vec<String>, Unreadable> {
        let line = self.text("/proc/cmdline")?;
        let of = |word: &str| word.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')).map(str::to_owned);
        Ok(line.split_ascii_whitespace().filter_map(of).collect())
    }
}

/// A field of a file of `name: value` lines, as `/proc/self/status` is.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
}
