//! Watches each hot loop's beat, and each lane's, from the cold side: a handler that overruns, or a core that was taken away,
//! is an event with its duration and the message it was on.
//!
//! ```text
//! every 10 ms:  turns, current (two loads) ─► changed? ─► well
//!                                          └► the same for longer than overrun_ms ─► Overrun, once; and again when it is over
//! ```
//! A loop that works turns all the time, a parked one at least every 50 ms, and a lane at least once in its sleep. Which cause
//! it was, the kernel says: a thread that ran all the while was in our own code; one that did not run waited there, or was not
//! given its core.

use super::lanes::LaneHandle;
use super::shared::{CoreLink, Shared};
use crate::hot::{self, Doing};
use crate::telemetry::{Happening, is_runnable, read_run_time};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a beat is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Who has a beat.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Who {
    /// A hot core, by its CPU.
    Core(usize),
    /// A lane, by its position among all of them.
    Lane(usize),
}

/// What the watchdog saw of each core and lane, for the status.
#[derive(Debug, Default)]
pub(super) struct Beats(Mutex<HashMap<Who, Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    changed_at: Instant,
    overruns: u64,
    overrun_max: Duration,
}

impl Beats {
    /// Milliseconds since a loop last came around, its overruns, and the longest of them in milliseconds.
    pub(super) fn of(&self, who: Who) -> (u64, u64, u64) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&who).copied();
        seen.map_or((0, 0, 0), |seen| (ms(seen.changed_at.elapsed()), seen.overruns, ms(seen.overrun_max)))
    }

    fn note(&self, who: Who, overrun: Option<Duration>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let seen = all.entry(who).or_insert(Seen { changed_at: now, overruns: 0, overrun_max: Duration::ZERO });
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

/// One loop, as it is watched.
enum Loop<'a> {
    Core(&'a CoreLink),
    Lane(usize, &'a LaneHandle),
}

impl Loop<'_> {
    fn who(&self) -> Who {
        match self {
            Self::Core(core) => Who::Core(core.cpu),
            Self::Lane(index, _) => Who::Lane(*index),
        }
    }

    fn is_running(&self) -> bool {
        match self {
            Self::Core(core) => core.stats.is_running.load(Ordering::Acquire),
            Self::Lane(_, lane) => lane.stats.is_running.load(Ordering::Acquire),
        }
    }

    fn beat(&self) -> hot::Beat {
        match self {
            Self::Core(core) => core.stats.beat(),
            Self::Lane(_, lane) => lane.stats.beat(),
        }
    }

    fn thread_id(&self) -> i32 {
        match self {
            Self::Core(core) => core.stats.thread_id.load(Ordering::Relaxed),
            Self::Lane(_, lane) => lane.stats.thread_id.load(Ordering::Relaxed),
        }
    }

    /// What it is on, in words.
    fn describe(&self, shared: &Shared, doing: Option<Doing>) -> String {
        let event = doing.and_then(|doing| doing.event);
        let event = event.map(|(kind, symbol)| format!("{kind:?} of {}", shared.symbol_name(symbol)));
        match (self, doing) {
            (Self::Core(_), None) => "nothing of a connection".to_owned(),
            (Self::Core(core), Some(doing)) => {
                let connection = core.slots.name(doing.slot);
                let connection = connection.as_deref().unwrap_or("a connection that has gone");
                match event {
                    Some(event) => format!("{event}, connection {connection}"),
                    None => format!("a message of {connection}"),
                }
            }
            (Self::Lane(..), _) => event.unwrap_or_else(|| "no event".to_owned()),
        }
    }

    fn tell(&self, shared: &Shared, on: String, (stood, cause): (Duration, &str), is_over: bool) {
        let (for_ms, cause) = (ms(stood), cause.to_owned());
        match self {
            Self::Core(core) => {
                let happening = Happening::Overrun { core: core.cpu, for_ms, cause, on, is_over };
                shared.events.publish(&format!("core {}", core.cpu), happening);
            }
            Self::Lane(_, lane) => {
                let name = &lane.stats.settings().name;
                let happening = Happening::LaneOverrun { lane: name.clone(), for_ms, cause, on, is_over };
                shared.events.publish(&format!("lane {name}"), happening);
            }
        }
    }
}

/// One loop's beat as it was last seen to change.
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
    let mut loops: Vec<(Loop<'_>, Duration, Option<Beat>)> =
        cores.iter().map(|core| (Loop::Core(core), overrun, None)).collect();
    let lanes = shared.lanes.iter().enumerate();
    loops.extend(lanes.map(|(index, lane)| (Loop::Lane(index, lane), lane.overrun, None)));
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for (watched, overrun, beat) in &mut loops {
            if watched.is_running() {
                look(&shared, watched, beat, *overrun);
            } else {
                *beat = None;
            }
        }
    }
}

fn look(shared: &Shared, watched: &Loop<'_>, beat: &mut Option<Beat>, overrun: Duration) {
    let now = Instant::now();
    let turns = watched.beat().turns;
    let thread_id = watched.thread_id();
    let run_time = || read_run_time(thread_id).ok();
    let stuck = match beat {
        Some(beat) if beat.turns == turns => beat,
        before => {
            let over = before.take().and_then(|before| Some((before.told?, before.changed_at, before.run_time)));
            *before = Some(Beat { turns, changed_at: now, run_time: run_time(), told: None });
            shared.beats.note(watched.who(), over.as_ref().map(|(_, since, _)| now - *since));
            if let Some(((on, otherwise), since, ran)) = over {
                let cause = cause(now - since, ran.zip(run_time()), otherwise);
                watched.tell(shared, on, (now - since, cause), true);
            }
            return;
        }
    };
    let stood = now - stuck.changed_at;
    if stood > overrun && stuck.told.is_none() {
        let current = watched.beat().current;
        // A parked loop sleeps by right: only where it is on a message does a sleep say that a handler waits.
        let otherwise = match is_runnable(thread_id) {
            Ok(false) if current.is_some() => "blocked",
            Ok(_) => "core_taken",
            Err(_) => "unknown",
        };
        if watched.beat().turns != turns {
            // It came around while it was looked at: the next look tells nothing, or tells all.
            return;
        }
        let on = watched.describe(shared, current);
        let cause = cause(stood, stuck.run_time.zip(run_time()), otherwise);
        stuck.told = Some((on.clone(), otherwise));
        watched.tell(shared, on, (stood, cause), false);
    }
}

/// Why a loop stood still: its handler, if it ran for half of the time (before and after are what it had run).
fn cause(stood: Duration, ran: Option<(Duration, Duration)>, otherwise: &'static str) -> &'static str {
    match ran {
        Some((before, after)) if after.saturating_sub(before) * 2 >= stood => "handler",
        Some(_) => otherwise,
        None => "unknown",
    }
}
