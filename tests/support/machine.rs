//! A machine's `/proc` and `/sys` as files in a folder of one test.
//!
//! ```text
//! tests/host/*.txt:   == /proc/uptime      the path of a file
//!                     10000.00 79000.00    its lines, to the next path
//! ```

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const BARE_METAL: &str = include_str!("../host/bare_metal.txt");
pub(crate) const VIRTUAL_MACHINE: &str = include_str!("../host/virtual_machine.txt");

/// The files, removed with its end.
pub(crate) struct Machine(pub(crate) PathBuf);

impl Machine {
    pub(crate) fn empty() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tickwire-host-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder of our own");
        Self(path)
    }

    pub(crate) fn of(text: &str) -> Self {
        let machine = Self::empty();
        for (path, content) in files(text) {
            machine.write(path, content);
        }
        machine
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let file = self.at(path);
        std::fs::create_dir_all(file.parent().expect("a file in a folder")).expect("a folder of our own");
        std::fs::write(file, content).expect("a file of our own");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It lies in the temporary folder; the worst is that it stays there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Paths and contents.
pub(crate) fn files(text: &str) -> Vec<(&str, &str)> {
    text.split("== ").skip(1).map(|part| part.split_once('\n').expect("a path and its lines")).collect()
}
