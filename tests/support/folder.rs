//! Folders of tests.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of one test's own, below the temporary one; gone at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // A process may have several tests, and a program several processes.
        let name = format!("tickwire-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        // One of a process that was killed and had the same number, perhaps.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("a folder of our own");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The worst is that it stays there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
