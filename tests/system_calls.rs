//! What a hot thread asks of the kernel once it is warm: bytes, and where it waits whether there are any. Nothing else, however it
//! waits, over ws and wss.
//!
//! ```text
//! strace ─ starts ─► tickwire demo          a file for each thread
//!    └────────────────────────────────────► the hot one's: starts, connects │ message after message, looked at here │ ends
//! ```
//! Where strace is not installed the tests say that they skip, and fail where `CI` is `true`.

#[path = "support/installed.rs"]
mod installed;

use installed::installed;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder of a test's own; gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tickwire-system-calls-{}-{name}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        Self(folder)
    }

    /// What the one hot thread asked, a line a call.
    fn of_hot_thread(&self) -> String {
        let files = std::fs::read_dir(&self.0).expect("it is there").map(|file| file.expect("a file").path());
        let is_hot = |calls: &String| calls.contains("prctl(PR_SET_NAME, \"hot-");
        let mut hot = files.map(|path| std::fs::read_to_string(path).expect("strace writes ASCII")).filter(is_hot);
        let calls = hot.next().expect("a thread names itself hot");
        assert!(hot.next().is_none(), "there is one hot core");
        calls
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The name of a call.
fn name(line: &str) -> &str {
    line.split('(').next().unwrap_or_default()
}

/// Whether a call brought bytes.
fn has_bytes(line: &str) -> bool {
    let result = line.rsplit(" = ").next().and_then(|result| result.parse::<u64>().ok());
    name(line) == "recvfrom" && result.is_some_and(|bytes| bytes > 0)
}

/// Runs the demo under strace, and finds nothing but these calls in the midst of its messages.
fn nothing_else(strace: &Path, arguments: &[&str], allowed: &[&str]) {
    let folder = Folder::new(&arguments.join(""));
    let mut command = Command::new(strace);
    command.arg("-ff").arg("-o").arg(folder.0.join("calls")).arg(env!("CARGO_BIN_EXE_tickwire"));
    command.args(["demo", "--duration", "2", "--json"]).args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    let output = command.output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let calls = folder.of_hot_thread();
    let calls: Vec<&str> = calls.lines().collect();
    let reads: Vec<usize> = (0..calls.len()).filter(|&at| has_bytes(calls[at])).collect();
    assert!(reads.len() > 400, "{arguments:?}: {} reads: {error}", reads.len());
    // Before a quarter of them it may have been told what to connect to and to subscribe to, and behind nine tenths that it ends.
    let warm = &calls[reads[reads.len() / 4]..reads[reads.len() * 9 / 10]];
    let others: Vec<&&str> = warm.iter().filter(|call| !allowed.contains(&name(call))).take(10).collect();
    assert!(others.is_empty(), "{arguments:?}: beside {allowed:?}: {others:#?}");
    eprintln!(
        "{arguments:?}: {} calls, {} of them brought bytes, none but {allowed:?}",
        warm.len(),
        reads.len() * 13 / 20
    );
}

#[test]
fn once_warm_a_hot_thread_reads_and_waits_and_asks_the_kernel_nothing_else() {
    let Some(strace) = installed("strace") else { return };
    nothing_else(&strace, &["--idle", "spin"], &["recvfrom"]);
    nothing_else(&strace, &["--idle", "yield"], &["recvfrom", "sched_yield"]);
    nothing_else(&strace, &["--idle", "park"], &["recvfrom", "epoll_wait"]);
}

#[test]
fn so_it_is_over_wss_whose_records_it_opens_itself() {
    let Some(strace) = installed("strace") else { return };
    nothing_else(&strace, &["--idle", "spin", "--tls"], &["recvfrom"]);
    nothing_else(&strace, &["--idle", "park", "--tls"], &["recvfrom", "epoll_wait"]);
}
