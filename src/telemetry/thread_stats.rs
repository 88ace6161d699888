//! What the kernel says about one of our threads: page faults and context switches.
//!
//! ```text
//! hot thread, at start:  current_thread_id() ──► published
//! cold side, per report: read_thread_stats(id) ──► /proc/self/task/<id>/{stat,status}
//! ```
//! Read from the cold side, so that the hot thread makes no system call for it after it has said who it is.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What the kernel counted for one thread since it started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ThreadStats {
    /// Faults served without reading from a disk.
    pub page_faults_minor: u64,
    /// Faults that waited for a disk.
    pub page_faults_major: u64,
    /// Times the thread gave the core up (it waited).
    pub switches_voluntary: u64,
    /// Times the scheduler took the core away.
    pub switches_involuntary: u64,
}

impl ThreadStats {
    /// Minor and major page faults together.
    #[must_use]
    pub const fn page_faults(&self) -> u64 {
        self.page_faults_minor + self.page_faults_major
    }

    /// What was counted since an earlier reading of the same thread.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            page_faults_minor: self.page_faults_minor.saturating_sub(earlier.page_faults_minor),
            page_faults_major: self.page_faults_major.saturating_sub(earlier.page_faults_major),
            switches_voluntary: self.switches_voluntary.saturating_sub(earlier.switches_voluntary),
            switches_involuntary: self.switches_involuntary.saturating_sub(earlier.switches_involuntary),
        }
    }
}

/// A thread whose numbers could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ThreadStatsError {
    /// The file is not there (the thread has ended, or the system has no `/proc`) or cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file does not hold what proc(5) describes.
    #[error("{path}: no {field}")]
    Field {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        field: &'static str,
    },
}

/// The kernel's id of the calling thread, for [`read_thread_stats`]. Once, at the thread's start.
///
/// # Errors
/// [`ThreadStatsError`] where the system has no `/proc/thread-self`.
pub fn current_thread_id() -> Result<i32, ThreadStatsError> {
    let path = PathBuf::from("/proc/thread-self");
    match fs::read_link(&path) {
        Ok(target) => target
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok())
            .ok_or(ThreadStatsError::Field { path, field: "thread id" }),
        Err(error) => Err(ThreadStatsError::Read { path, error }),
    }
}

/// Reads one thread of this process.
///
/// # Errors
/// [`ThreadStatsError`], with the file and what it lacked.
///
/// Source: proc(5), `/proc/pid/task/tid/stat` fields 10 and 12, and `/proc/pid/task/tid/status`.
pub fn read_thread_stats(thread_id: i32) -> Result<ThreadStats, ThreadStatsError> {
    let (stat_path, stat) = read(thread_id, "stat")?;
    let (status_path, status) = read(thread_id, "status")?;
    let (page_faults_minor, page_faults_major) =
        page_faults(&stat).ok_or(ThreadStatsError::Field { path: stat_path, field: "minflt and majflt" })?;
    let field = |name: &'static str| {
        status_field(&status, name).ok_or(ThreadStatsError::Field { path: status_path.clone(), field: name })
    };
    Ok(ThreadStats {
        page_faults_minor,
        page_faults_major,
        switches_voluntary: field("voluntary_ctxt_switches")?,
        switches_involuntary: field("nonvoluntary_ctxt_switches")?,
    })
}

/// How long one thread of this process has run on a CPU, from any other thread.
///
/// # Errors
/// The kernel's, where there is no such thread.
///
/// Source: clock_getcpuclockid(3) and the kernel's `posix-timers.h`: a thread's CPU clock is `(~tid << 3) | 6`.
pub fn read_run_time(thread_id: i32) -> io::Result<Duration> {
    const PER_THREAD_SCHED: libc::clockid_t = 6;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the whole call; a clock id of no thread is an error, not a fault.
    let result = unsafe { libc::clock_gettime((!thread_id << 3) | PER_THREAD_SCHED, &raw mut time) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Ok(Duration::new(seconds, nanos))
}

/// Whether a thread of this process runs or would run, were it given a CPU: state `R`. One that waits for anything does not.
///
/// # Errors
/// [`ThreadStatsError`], with the file and what it lacked.
///
/// Source: proc(5), `/proc/pid/task/tid/stat` field 3.
pub fn is_runnable(thread_id: i32) -> Result<bool, ThreadStatsError> {
    let (path, stat) = read(thread_id, "stat")?;
    state(&stat).map(|state| state == 'R').ok_or(ThreadStatsError::Field { path, field: "state" })
}

fn read(thread_id: i32, file: &str) -> Result<(PathBuf, String), ThreadStatsError> {
    let path = PathBuf::from(format!("/proc/self/task/{thread_id}/{file}"));
    // A thread may carry any bytes as its name, and both files quote it.
    match fs::read(&path) {
        Ok(bytes) => Ok((path, String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => Err(ThreadStatsError::Read { path, error }),
    }
}

/// Field 3, behind the last `)`.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Fields 10 (minflt) and 12 (majflt). Counted from the last `)`, because the name before it may hold spaces and
/// parentheses.
fn page_faults(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    // The first field after the name is number 3.
    let minor = fields.nth(10 - 3)?.parse().ok()?;
    let major = fields.nth(1)?.parse().ok()?;
    Some((minor, major))
}

fn status_field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_has_run_and_one_that_sleeps_has_not() {
        let (told, hear) = std::sync::mpsc::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            told.send(current_thread_id().unwrap()).unwrap();
            wait.recv().unwrap();
            let mut spun = 0_u64;
            while read_run_time(current_thread_id().unwrap()).unwrap() < Duration::from_millis(20) {
                spun = std::hint::black_box(spun + 1);
            }
            told.send(0).unwrap();
            wait.recv().unwrap();
        });
        let id = hear.recv().unwrap();
        let before = read_run_time(id).unwrap();
        while is_runnable(id).unwrap() {
            std::thread::yield_now();
        }
        assert!(is_runnable(current_thread_id().unwrap()).unwrap(), "this one runs");
        go_on.send(()).unwrap();
        hear.recv().unwrap();
        let after = read_run_time(id).unwrap();
        assert!(before < Duration::from_millis(20) && after >= Duration::from_millis(20), "{before:?}, {after:?}");
        go_on.send(()).unwrap();
        thread.join().unwrap();
        // The kernel wakes whoever joins a moment before it forgets the thread.
        let joined = std::time::Instant::now();
        while read_run_time(id).is_ok() || is_runnable(id).is_ok() {
            assert!(joined.elapsed() < Duration::from_secs(20), "a thread that has ended");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_faults_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "123 (hot ) (1) R 1 123 123 0 -1 4194304 77 5 3 0 9 8";
        assert_eq!(page_faults(stat), Some((77, 3)));
    }

    #[test]
    fn a_truncated_or_foreign_file_gives_nothing() {
        for stat in ["", "123 (x", "123 (x)", "1 (x) R 1 1 1 0 -1 41 77", "1 (x) R 1 1 1 0 -1 41 77 5 x"] {
            assert_eq!(page_faults(stat), None, "{stat}");
        }
        assert_eq!(status_field("voluntary_ctxt_switches:\tmany\n", "voluntary_ctxt_switches"), None);
        assert_eq!(status_field("nonvoluntary_ctxt_switches:\t1\n", "voluntary_ctxt_switches"), None);
    }

    #[test]
    fn a_status_line_is_found_by_its_whole_name() {
        let status = "Name:\thot\nvoluntary_ctxt_switches:\t41\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(status_field(status, "voluntary_ctxt_switches"), Some(41));
        assert_eq!(status_field(status, "nonvoluntary_ctxt_switches"), Some(7));
    }

    #[test]
    fn another_thread_of_this_process_can_be_read_while_it_lives() {
        let (id_out, id_in) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                id_out.send(current_thread_id().expect("/proc is mounted")).expect("the test listens");
                // Ends when the test drops its end.
                let _ = released.recv();
            });
            let id = id_in.recv().expect("the thread says who it is");
            assert_ne!(id, current_thread_id().expect("/proc is mounted"));
            let earlier = read_thread_stats(id).expect("the thread lives");
            let later = read_thread_stats(id).expect("the thread lives");
            assert!(later.page_faults() >= earlier.page_faults(), "{earlier:?} {later:?}");
            assert!(later.switches_involuntary >= earlier.switches_involuntary, "{earlier:?} {later:?}");
            drop(release);
        });
    }

    #[test]
    fn a_thread_that_is_not_ours_is_an_error_that_names_the_file() {
        let error = read_thread_stats(i32::MAX).expect_err("no such thread").to_string();
        assert!(error.contains("/proc/self/task/2147483647/stat"), "{error}");
    }
}
