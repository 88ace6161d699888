//! Watches each hot loop's beat from the cold side: a handler that overruns, or a core that was taken away, is an event
//! with its duration and the message it was on.
//!
//! ```text
//! every 10 ms:  turns, current (two loads) ─► changed? ─► well
//!                                          └► the same for longer than overrun_ms ─► Overrun, once; and again when it is over
//! ```
//! A loop that works turns all the time, and a parked one at least every 50 ms. Which cause it was, the kernel says: a
//! thread that ran all the while was in our own code; one that did not run waited there, or was not given its core.

use super::shared::{CoreLink, Shared};
use crate::hot::Doing;
use crate::telemetry::{Happening, is_runnable, read_run_time};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a beat is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the watchdog saw of each core, for the status.
#[derive(Debug, Default)]
pub(super) struct Beats(Mutex<HashMap<usize, Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    changed_at: Instant,
    overruns: u64,
    overrun_max: Duration,
}

impl Beats {
    /// Milliseconds since a core last came around, its overruns, and the longest of them in milliseconds.
    pub(super) fn of(&self, cpu: usize) -> (u64, u64, u64) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&cpu).copied();
        seen.map_or((0, 0, 0), |seen| (ms(seen.changed_at.elapsed()), seen.overruns, ms(seen.overrun_max)))
    }

    fn note(&self, cpu: usize, overrun: Option<Duration>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let seen = all.entry(cpu).or_insert(Seen { changed_at: now, overruns: 0, overrun_max: Duration::ZERO });
        seen.changed_at = now;
        if let Some(overrun) = overrun {
            seen.overruns += 1;
            seen.overrun_max = seen.overrun_max.max(overrun);
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One core's beat as it was last seen to change.
#[derive(Debug)]
struct Beat {
    turns: u64,
    changed_at: Instant,
    /// What the thread had run by then, if the kernel says.
    run_time: Option<Duration>,
    /// Once the overrun was told: what it is on, and why it did not run where it did not.
    told: Option<(String, &'static str)>,
}

/// Watches until the engine stops.
pub(super) async fn run(shared: Arc<Shared>, cores: Vec<CoreLink>, overrun: Duration) {
    let mut beats: Vec<Option<Beat>> = cores.iter().map(|_| None).collect();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for (core, beat) in cores.iter().zip(&mut beats) {
            if core.stats.is_running.load(Ordering::Acquire) {
                look(&shared, core, beat, overrun);
            } else {
                *beat = None;
            }
        }
    }
}

fn look(shared: &Shared, core: &CoreLink, beat: &mut Option<Beat>, overrun: Duration) {
    let now = Instant::now();
    let turns = core.stats.turns.get();
    let thread_id = core.stats.thread_id.load(Ordering::Relaxed);
    let run_time = || read_run_time(thread_id).ok();
    let stuck = match beat {
        Some(beat) if beat.turns == turns => beat,
        before => {
            let over = before.take().and_then(|before| Some((before.told?, before.changed_at, before.run_time)));
            *before = Some(Beat { turns, changed_at: now, run_time: run_time(), told: None });
            shared.beats.note(core.cpu, over.as_ref().map(|(_, since, _)| now - *since));
            if let Some(((on, otherwise), since, ran)) = over {
                let cause = cause(now - since, ran.zip(run_time()), otherwise);
                tell(shared, core, on, (now - since, cause), true);
            }
            return;
        }
    };
    let stood = now - stuck.changed_at;
    if stood > overrun && stuck.told.is_none() {
        let current = core.stats.beat().current;
        // A parked loop sleeps by right: only where it is on a message does a sleep say that a handler waits.
        let otherwise = match is_runnable(thread_id) {
            Ok(false) if current.is_some() => "blocked",
            Ok(_) => "core_taken",
            Err(_) => "unknown",
        };
        if core.stats.turns.get() != turns {
            // It came around while it was looked at: the next look tells nothing, or tells all.
            return;
        }
        let on = describe(shared, core, current);
        let cause = cause(stood, stuck.run_time.zip(run_time()), otherwise);
        stuck.told = Some((on.clone(), otherwise));
        tell(shared, core, on, (stood, cause), false);
    }
}

/// Why a core stood still: its handler, if it ran for half of the time (before and after are what it had run).
fn cause(stood: Duration, ran: Option<(Duration, Duration)>, otherwise: &'static str) -> &'static str {
    match ran {
        Some((before, after)) if after.saturating_sub(before) * 2 >= stood => "handler",
        Some(_) => otherwise,
        None => "unknown",
    }
}

fn tell(shared: &Shared, core: &CoreLink, on: String, (stood, cause): (Duration, &str), is_over: bool) {
    let happening = Happening::Overrun { core: core.cpu, for_ms: ms(stood), cause: cause.to_owned(), on, is_over };
    shared.events.publish(&format!("core {}", core.cpu), happening);
}

/// What a core is on, in words.
fn describe(shared: &Shared, core: &CoreLink, doing: Option<Doing>) -> String {
    let Some(doing) = doing else { return "nothing of a connection".to_owned() };
    let connection = core.slots.name(doing.slot);
    let connection = connection.as_deref().unwrap_or("a connection that has gone");
    let Some((kind, symbol)) = doing.event else { return format!("a message of {connection}") };
    let symbols = shared.symbols.lock().unwrap_or_else(PoisonError::into_inner);
    let symbol =
        symbols.spec(symbol).map_or_else(|| symbol.to_string(), |spec| format!("{} {}", spec.venue, spec.name));
    format!("{kind:?} of {symbol}, connection {connection}")
}
