//! Programs of others that a test needs.

use std::path::{Path, PathBuf};

/// A program's path; `None`, and a word about it, where it is not installed and need not be.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let places = std::env::var("PATH").unwrap_or_default();
    let places = places.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    let found = places.map(|place| Path::new(place).join(program)).find(|path| path.is_file());
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{program} must be installed in CI");
        eprintln!("skipped: {program} is not installed");
    }
    found
}
