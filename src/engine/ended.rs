//! Hears of hot threads and lanes that end, and says why where one panicked.
//!
//! ```text
//! hot thread, lane ── ended, its panic ──► Ended ──► Failure, in words: event, symbol, connection or lane, message or event
//! ```

use super::RunningEngine;
use crate::hot::PanicReport;
use crate::hot::lanes::LanePanic;
use crate::market::{EventKind, Symbol};
use crate::telemetry::{Failure, FailureKind};
use std::sync::{PoisonError, mpsc as std_mpsc};
use std::time::Instant;

/// A thread has ended, and why, where it panicked.
#[derive(Debug)]
pub(super) enum EndedThread {
    Core {
        cpu: usize,
        panic: Option<Box<PanicReport>>,
    },
    /// A lane, by its position among all of them.
    Lane {
        index: usize,
        panic: Option<Box<LanePanic>>,
    },
}

/// What has ended so far.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) from_threads: std_mpsc::Receiver<EndedThread>,
    /// The first failure.
    pub(super) panic: Option<Failure>,
    /// Hot threads that have ended.
    pub(super) cores: usize,
    /// Lanes that have ended.
    pub(super) lanes: usize,
}

impl Ended {
    fn count(&mut self, thread: &EndedThread) {
        match thread {
            EndedThread::Core { .. } => self.cores += 1,
            EndedThread::Lane { .. } => self.lanes += 1,
        }
    }

    /// A thread that ended although nobody stopped it.
    pub(super) fn note(&mut self, thread: EndedThread, engine: &RunningEngine) {
        self.count(&thread);
        let failure = match thread {
            EndedThread::Core { cpu, panic: Some(panic) } => {
                Failure { kind: FailureKind::HandlerPanicked, message: engine.describe(cpu, &panic) }
            }
            EndedThread::Lane { panic: Some(panic), .. } => {
                Failure { kind: FailureKind::HandlerPanicked, message: engine.describe_lane(&panic) }
            }
            EndedThread::Core { cpu, panic: None } => {
                Failure { kind: FailureKind::Runtime, message: format!("the hot thread of CPU {cpu} ended by itself") }
            }
            EndedThread::Lane { index, panic: None } => {
                let lane = engine.manager.shared.lanes.get(index);
                let name = lane.map_or_else(String::new, |lane| lane.stats.settings().name.clone());
                Failure { kind: FailureKind::Runtime, message: format!("lane {name} ended by itself") }
            }
        };
        tracing::error!("{}", failure.message);
        self.panic.get_or_insert(failure);
    }

    fn note_stopping(&mut self, thread: EndedThread, engine: &RunningEngine) {
        match thread {
            EndedThread::Core { panic: None, .. } | EndedThread::Lane { panic: None, .. } => self.count(&thread),
            EndedThread::Core { .. } | EndedThread::Lane { .. } => self.note(thread, engine),
        }
    }
}

impl RunningEngine {
    /// A panic in words: which handler, on what event of which symbol, and the message it came in.
    fn describe(&self, cpu: usize, panic: &PanicReport) -> String {
        let event = self.in_words(panic.event);
        let table = self.cores.iter().find(|core| core.cpu == cpu).map(|core| &core.slots);
        let connection = panic.slot.zip(table).and_then(|(slot, table)| table.name(slot));
        let connection = connection.as_deref().unwrap_or("no connection");
        format!(
            "a handler panicked {event}, connection {connection}, CPU {cpu}: {}; message: {}",
            panic.what,
            String::from_utf8_lossy(&panic.message)
        )
    }

    /// The same of a lane: there the event is what is left of the message.
    fn describe_lane(&self, panic: &LanePanic) -> String {
        let LanePanic { lane, what, event, shown } = panic;
        format!("a handler panicked {}, lane {lane}: {what}; event: {shown}", self.in_words(*event))
    }

    fn in_words(&self, event: Option<(EventKind, Symbol)>) -> String {
        let Some((kind, symbol)) = event else { return "outside of an event".to_owned() };
        format!("on {kind:?} of {}", self.manager.shared.symbol_name(symbol))
    }

    /// Hears of threads that end until `is_done`. False where that was not so in time.
    pub(super) fn wait_for_threads(&self, deadline: Instant, is_done: impl Fn(&Ended) -> bool) -> bool {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !is_done(&ended) {
            match ended.from_threads.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(thread) => ended.note_stopping(thread, self),
                Err(_) => return false,
            }
        }
        true
    }
}
