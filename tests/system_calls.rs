//! What a hot thread asks of the kernel once it is warm: bytes, and where it waits whether there are any. Nothing else, in each
//! way to wait that the demo has, over ws and wss.
//!
//! ```text
//! strace ─ starts ─► tickwire demo          a file for each thread
//!    └────────────────────────────────────► the hot one's: starts, connects │ message after message, looked at here │ ends
//! ```
//! Where strace is not installed or may not trace the tests say that they skip, and fail where `CI` is `true`. The clock is read
//! without a call where the kernel lets it be (on x86-64 where its clock source is the TSC).

#[path = "support/folder.rs"]
mod folder;
#[path = "support/installed.rs"]
mod installed;

use folder::Folder;
use installed::installed;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The program at a time: two of them would take the same CPU from each other.
static ALONE: Mutex<()> = Mutex::new(());

/// strace, where it is here and may trace.
fn strace() -> Option<PathBuf> {
    let strace = installed("strace")?;
    let tried = Command::new(&strace).args(["-o", "/dev/null", "true"]).output().expect("it starts");
    if !tried.status.success() {
        let error = String::from_utf8_lossy(&tried.stderr);
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "strace must be allowed to trace in CI: {error}");
        eprintln!("skipped: strace may not trace: {error}");
        return None;
    }
    Some(strace)
}

impl Folder {
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

/// The name of a call.
fn name(line: &str) -> &str {
    line.split('(').next().unwrap_or_default()
}

/// Whether a call brought bytes.
fn has_bytes(line: &str) -> bool {
    let result = line.rsplit(" = ").next().and_then(|result| result.parse::<u64>().ok());
    name(line) == "recvfrom" && result.is_some_and(|bytes| bytes > 0)
}

/// Runs the demo under strace, and finds nothing but these calls while most of its messages come.
fn nothing_else(strace: &Path, arguments: &[&str], allowed: &[&str]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new();
    let mut command = Command::new(strace);
    command.arg("-ff").arg("-o").arg(folder.0.join("calls")).arg(env!("CARGO_BIN_EXE_tickwire"));
    command.args(["demo", "--duration", "4", "--json"]).args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    let output = command.output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let calls = folder.of_hot_thread();
    let reads = calls.lines().filter(|call| has_bytes(call)).count();
    assert!(reads > 400, "{arguments:?}: {reads} reads: {error}");
    // Before it was told what to connect to and to subscribe to, and of which books it gets snapshots, and behind that it ends.
    let mut others = Vec::new();
    let (mut longest, mut now) = (0, 0);
    for call in calls.lines() {
        if allowed.contains(&name(call)) {
            now += usize::from(has_bytes(call));
        } else {
            others.push((now, call));
            now = 0;
        }
        longest = longest.max(now);
    }
    others.retain(|(before, _)| *before > 0);
    assert!(
        longest >= reads / 2,
        "{arguments:?}: at most {longest} of {reads} reads in a row with nothing beside {allowed:?}: {others:#?}"
    );
    eprintln!("{arguments:?}: {longest} of {reads} reads with nothing beside {allowed:?}");
}

/// One name on x86-64, the other where there is no other.
const PARKED: [&str; 3] = ["recvfrom", "epoll_wait", "epoll_pwait"];

#[test]
fn once_warm_a_hot_thread_reads_and_waits_and_asks_the_kernel_nothing_else() {
    let Some(strace) = strace() else { return };
    nothing_else(&strace, &["--idle", "spin"], &["recvfrom"]);
    nothing_else(&strace, &["--idle", "yield"], &["recvfrom", "sched_yield"]);
    nothing_else(&strace, &["--idle", "park"], &PARKED);
}

#[test]
fn so_it_is_over_wss_whose_records_it_opens_itself() {
    let Some(strace) = strace() else { return };
    nothing_else(&strace, &["--idle", "spin", "--tls"], &["recvfrom"]);
    nothing_else(&strace, &["--idle", "park", "--tls"], &PARKED);
}
