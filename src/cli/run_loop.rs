//! Watches an engine from its start to its end, and shows what it reports.
//!
//! ```text
//! 0        1x interval   2x interval  ...  duration, a signal, a failure, or a reader that went away   (SIGHUP: reload, on)
//! start    report        report            stop ──► final report
//! ```
//! Deadlines are multiples of the interval from the start, so that no delay adds up; one that was missed is left out,
//! because every report holds totals. Called by `run` and `demo`. Reads no clock of its own.

use super::books_out::BooksOut;
use super::exit::CommandError;
use super::output::Output;
use super::signals::{Wait, Wake};
use crate::telemetry::{BookReport, Failure, Report};
use anyhow::Context as _;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

/// How long an engine that fails by itself may go unnoticed.
const FAILURE_POLL: Duration = Duration::from_millis(20);

/// A running engine, as the command line sees it.
pub trait EngineHandle {
    /// Totals since the start.
    fn report(&self) -> Report;
    /// Why the engine is ending by itself, if it is.
    fn failure(&self) -> Option<Failure>;
    /// What the strategies show of themselves, one text each.
    fn summaries(&self) -> Vec<String> {
        Vec::new()
    }
    /// Reads the configuration again and applies what differs: what was done, or why nothing was.
    ///
    /// # Errors
    /// Why nothing was changed.
    fn reload(&self) -> Result<String, String> {
        Err("this engine cannot read its configuration again".to_owned())
    }
    /// Gives every book as it is now, one after the other, and how many are still to come; until it is told to stop.
    fn for_each_book(&self, _give: &mut dyn FnMut(BookReport, usize) -> ControlFlow<()>) {}
    /// Closes every connection and ends; the last report.
    fn stop(self) -> Report;
}

/// When to report, and when to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Schedule {
    /// Between two reports. Never zero.
    pub(super) interval: Duration,
    /// From the start to the end; `None` runs until a signal.
    pub(super) duration: Option<Duration>,
}

impl Schedule {
    /// The first multiple of the interval after `now`.
    fn report_after(&self, now: Duration) -> Duration {
        let interval_ns = self.interval.as_nanos().max(1);
        let passed = now.as_nanos() / interval_ns;
        duration_of_ns((passed + 1) * interval_ns)
    }

    fn is_over(&self, now: Duration) -> bool {
        self.duration.is_some_and(|duration| now >= duration)
    }
}

fn duration_of_ns(ns: u128) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// Runs until the schedule's end, a signal, a failure, or a reader that went away, then gives the books to `books_out` if that
/// is wanted, stops the engine and shows the final report.
///
/// # Errors
/// The engine's failure, or an output that failed other than by its reader going away.
pub(super) fn run_loop<E: EngineHandle>(
    engine: E,
    wait: &mut impl Wait,
    schedule: Schedule,
    output: &mut impl Output,
    books_out: Option<BooksOut>,
) -> Result<(), CommandError> {
    let watched = watch(&engine, wait, schedule, output);
    // Before anything is closed: as the books are, not as they are left.
    let books_written = books_out.map_or(Ok(()), |out| out.write(&engine));
    let summaries = engine.summaries();
    let mut report = engine.stop();
    report.is_final = true;
    let (failure, written) = match watched {
        Ok(failure) => (failure, Ok(())),
        Err(error) => (None, Err(error)),
    };
    report.failure = report.failure.or(failure);
    // After a failed write the final report could only fail as well.
    let written = written.and_then(|()| output.finish(&report, &summaries));
    if let Some(failure) = report.failure {
        return Err(failure.into());
    }
    books_written.map_err(CommandError::Runtime)?;
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing the report").map_err(CommandError::Runtime)
        }
        // Who stopped reading wants no more, and no complaint.
        _ => Ok(()),
    }
}

fn watch(
    engine: &impl EngineHandle,
    wait: &mut impl Wait,
    schedule: Schedule,
    output: &mut impl Output,
) -> io::Result<Option<Failure>> {
    let mut report_at = schedule.report_after(Duration::ZERO);
    loop {
        if let Some(failure) = engine.failure() {
            return Ok(Some(failure));
        }
        let now = wait.now();
        if schedule.is_over(now) {
            return Ok(None);
        }
        if now >= report_at {
            output.interval(&engine.report())?;
            report_at = schedule.report_after(now);
            continue;
        }
        let deadline = report_at.min(schedule.duration.unwrap_or(Duration::MAX)).min(now + FAILURE_POLL);
        match wait.until(deadline) {
            Wake::Deadline => {}
            Wake::Stop => return Ok(None),
            Wake::Reload => reload(engine),
        }
    }
}

/// Tells how it went, line by line: a configuration that is wrong changes nothing and ends nothing.
fn reload(engine: &impl EngineHandle) {
    match engine.reload() {
        Ok(done) => done.lines().for_each(|line| tracing::info!("reload: {line}")),
        Err(refused) => refused.lines().for_each(|line| tracing::warn!("reload refused: {line}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::exit::EXIT_HANDLER_PANICKED;
    use super::*;
    use crate::telemetry::FailureKind;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// A clock that moves only when it is waited for, each time `late` behind what was asked.
    struct Script {
        now: Duration,
        late: Duration,
        stop_at: Option<Duration>,
        reload_at: Option<Duration>,
        shared: Rc<Cell<Duration>>,
    }

    impl Wait for Script {
        fn now(&self) -> Duration {
            self.now
        }

        fn until(&mut self, deadline: Duration) -> Wake {
            assert!(deadline > self.now, "a wait for {deadline:?} at {:?} would spin", self.now);
            if self.stop_at.is_some_and(|stop_at| stop_at <= deadline) {
                self.now = self.stop_at.take().expect("just seen");
                return Wake::Stop;
            }
            if self.reload_at.is_some_and(|reload_at| reload_at <= deadline) {
                self.now = self.reload_at.take().expect("just seen");
                return Wake::Reload;
            }
            self.now = deadline + self.late;
            self.shared.set(self.now);
            Wake::Deadline
        }
    }

    /// An engine whose reports say what time it is.
    struct Engine {
        now: Rc<Cell<Duration>>,
        fails_at: Option<Duration>,
        stopped: Rc<Cell<u32>>,
        reloaded: Rc<Cell<u32>>,
    }

    impl EngineHandle for Engine {
        fn reload(&self) -> Result<String, String> {
            self.reloaded.set(self.reloaded.get() + 1);
            Err("x.toml:1\n  found:   no connection".to_owned())
        }

        fn report(&self) -> Report {
            Report { elapsed_s: self.now.get().as_secs_f64(), ..Report::default() }
        }

        fn failure(&self) -> Option<Failure> {
            self.fails_at
                .filter(|&at| self.now.get() >= at)
                .map(|_| Failure { kind: FailureKind::HandlerPanicked, message: "core 0: boom".into() })
        }

        fn stop(self) -> Report {
            self.stopped.set(self.stopped.get() + 1);
            self.report()
        }
    }

    #[derive(Default)]
    struct Ledger {
        intervals: RefCell<Vec<f64>>,
        last: RefCell<Option<Report>>,
        breaks_with: Option<io::ErrorKind>,
    }

    impl Output for Ledger {
        fn interval(&mut self, report: &Report) -> io::Result<()> {
            if let Some(kind) = self.breaks_with {
                return Err(kind.into());
            }
            self.intervals.borrow_mut().push(report.elapsed_s);
            Ok(())
        }

        fn finish(&mut self, report: &Report, _summaries: &[String]) -> io::Result<()> {
            assert!(self.last.borrow().is_none(), "one final report");
            *self.last.borrow_mut() = Some(report.clone());
            Ok(())
        }
    }

    struct Run {
        late_ms: u64,
        stop_at_ms: Option<u64>,
        reload_at_ms: Option<u64>,
        fails_at_ms: Option<u64>,
        duration_ms: Option<u64>,
        breaks_with: Option<io::ErrorKind>,
    }

    const QUIET: Run = Run {
        late_ms: 0,
        stop_at_ms: None,
        reload_at_ms: None,
        fails_at_ms: None,
        duration_ms: None,
        breaks_with: None,
    };

    /// Runs a script at an interval of one second; gives what was shown, and that the engine was stopped once.
    fn run(script: &Run) -> (Ledger, Result<(), CommandError>) {
        let now = Rc::new(Cell::new(Duration::ZERO));
        let stopped = Rc::new(Cell::new(0));
        let fails_at = script.fails_at_ms.map(Duration::from_millis);
        let reloaded = Rc::new(Cell::new(0));
        let engine =
            Engine { now: Rc::clone(&now), fails_at, stopped: Rc::clone(&stopped), reloaded: Rc::clone(&reloaded) };
        let mut wait = Script {
            now: Duration::ZERO,
            late: Duration::from_millis(script.late_ms),
            stop_at: script.stop_at_ms.map(Duration::from_millis),
            reload_at: script.reload_at_ms.map(Duration::from_millis),
            shared: now,
        };
        let duration = script.duration_ms.map(Duration::from_millis);
        let schedule = Schedule { interval: Duration::from_secs(1), duration };
        let mut ledger = Ledger { breaks_with: script.breaks_with, ..Ledger::default() };
        let result = run_loop(engine, &mut wait, schedule, &mut ledger, None);
        assert_eq!(stopped.get(), 1, "stopped once, however it ends");
        assert_eq!(reloaded.get(), u32::from(script.reload_at_ms.is_some()));
        (ledger, result)
    }

    #[test]
    fn each_interval_is_reported_on_its_second_and_the_end_is_the_final_report() {
        let (ledger, result) = run(&Run { duration_ms: Some(4_000), ..QUIET });
        assert!(result.is_ok());
        assert_eq!(*ledger.intervals.borrow(), [1.0, 2.0, 3.0], "the fourth is the final one");
        let last = ledger.last.take().expect("a final report");
        assert!(last.is_final && (last.elapsed_s - 4.0).abs() < 1e-9);
    }

    #[test]
    fn delays_do_not_add_up_and_a_missed_deadline_is_left_out() {
        let (ledger, _) = run(&Run { duration_ms: Some(4_500), late_ms: 10, ..QUIET });
        let whole: Vec<String> = ledger.intervals.borrow().iter().map(|at| format!("{:.0}", at.floor())).collect();
        assert_eq!(whole, ["1", "2", "3", "4"]);
        let (ledger, _) = run(&Run { duration_ms: Some(6_000), late_ms: 2_500, ..QUIET });
        assert!(ledger.intervals.borrow().len() < 3, "no burst of late reports: {:?}", ledger.intervals);
    }

    #[test]
    fn a_signal_stops_the_engine_and_ends_cleanly() {
        let (ledger, result) = run(&Run { stop_at_ms: Some(1_500), ..QUIET });
        assert!(result.is_ok());
        assert_eq!(*ledger.intervals.borrow(), [1.0]);
        assert!(ledger.last.take().is_some_and(|report| report.is_final));
    }

    #[test]
    fn a_reload_that_is_refused_ends_nothing_and_delays_no_report() {
        let (ledger, result) = run(&Run { duration_ms: Some(3_000), reload_at_ms: Some(1_500), ..QUIET });
        assert!(result.is_ok());
        assert_eq!(*ledger.intervals.borrow(), [1.0, 2.0]);
    }

    #[test]
    fn a_handler_that_panics_ends_the_run_with_its_own_code_and_words() {
        let (ledger, result) = run(&Run { fails_at_ms: Some(300), ..QUIET });
        let error = result.expect_err("it failed");
        assert_eq!((error.code(), error.to_string().as_str()), (EXIT_HANDLER_PANICKED, "core 0: boom"));
        let last = ledger.last.take().expect("a final report even so");
        assert_eq!(last.failure.map(|failure| failure.message).as_deref(), Some("core 0: boom"));
        assert!(last.elapsed_s < 0.35, "noticed within a poll, not at the next interval");
    }

    #[test]
    fn a_reader_that_went_away_ends_the_run_quietly_and_another_fault_does_not() {
        let (ledger, result) = run(&Run { breaks_with: Some(io::ErrorKind::BrokenPipe), ..QUIET });
        assert!(result.is_ok());
        assert!(ledger.last.take().is_none(), "nothing more is written");
        let (_, result) = run(&Run { breaks_with: Some(io::ErrorKind::StorageFull), ..QUIET });
        let error = result.expect_err("a full disk is a failure");
        assert_eq!(error.code(), 1);
        assert!(error.to_string().starts_with("writing the report: "), "{error}");
    }

    #[test]
    fn the_next_report_is_the_next_multiple_whatever_the_time_is() {
        let schedule = Schedule { interval: Duration::from_millis(300), duration: None };
        for (now_ms, next_ms) in [(0, 300), (299, 300), (300, 600), (301, 600), (1_000, 1_200)] {
            assert_eq!(schedule.report_after(Duration::from_millis(now_ms)), Duration::from_millis(next_ms));
        }
    }
}
