//! A line of waiting in front of sliding windows: who may go now, and when everybody else may. Owned by the governor, one
//! for each thing it paces.
//!
//! ```text
//!        granted (within the windows)        waiting, in the order they asked
//! ... x  x x    x x x │now                 a ──── b ──── c
//!     |<--- window --->|                   each with the time at which its place comes up
//! ```
//! A place is promised once and kept: it is never polled for, only redeemed when its time has come, or given back. What
//! is true at the moment of redeeming decides, so that a waiter who comes late costs nobody a window. A place given back
//! moves everybody behind it up. Weights let one line pace requests that cost differently.

use super::after;
use crate::market::MonoNs;
use std::collections::VecDeque;
use std::time::Duration;

/// Places in one line. A process owns far fewer sockets.
pub(super) const WAITING_MAX: usize = 4_096;

/// How long a place is kept for one who does not come when it is up. Long enough for a task that is held up, short enough
/// that one that died without giving it back holds nobody for long.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// No stretch of time this long, wherever it starts, holds more than this much.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Window {
    pub(super) budget: u64,
    pub(super) length: Duration,
}

/// What an outside measure leaves until it is forgotten.
#[derive(Clone, Copy, Debug)]
struct Room {
    left: u64,
    until: MonoNs,
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    at: MonoNs,
    weight: u32,
}

/// Invariant: sorted by `number`; `at` never falls from front to back.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: u64,
    weight: u32,
    /// When its place comes up, as things stand.
    at: MonoNs,
    /// When it was last told to come.
    told: MonoNs,
}

/// One's turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Granted and counted.
    Now,
    /// A place in the line, and when it comes up.
    At { number: u64, at: MonoNs },
}

/// Why there is no place in the line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoPlace {
    Full,
    TooHeavy { budget: u64 },
}

/// What became of those who asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct LineCounters {
    pub(super) granted: u64,
    pub(super) delayed: u64,
    pub(super) cancelled: u64,
    pub(super) lapsed: u64,
    pub(super) refused: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Line {
    windows: Vec<Window>,
    /// What was granted within the longest window, oldest first.
    granted: VecDeque<Grant>,
    waiting: VecDeque<Waiting>,
    next_number: u64,
    /// The latest time seen: callers on two threads may come in the wrong order.
    now: MonoNs,
    held_until: MonoNs,
    room: Option<Room>,
    has_moved_up: bool,
    pub(super) counters: LineCounters,
}

impl Line {
    pub(super) fn new(windows: Vec<Window>) -> Self {
        Self { windows, ..Self::default() }
    }

    /// Asks to go, at this weight (at least 1).
    pub(super) fn ask(&mut self, weight: u32, now: MonoNs) -> Result<Turn, NoPlace> {
        self.settle(now);
        let weight = weight.max(1);
        let budget = self.windows.iter().map(|window| window.budget).min().unwrap_or(u64::MAX);
        if u64::from(weight) > budget {
            self.counters.refused += 1;
            return Err(NoPlace::TooHeavy { budget });
        }
        if self.waiting.len() >= WAITING_MAX {
            self.counters.refused += 1;
            return Err(NoPlace::Full);
        }
        let number = self.next_number;
        self.next_number += 1;
        let index = self.waiting.len();
        self.waiting.push_back(Waiting { number, weight, at: MonoNs(u64::MAX), told: MonoNs(u64::MAX) });
        self.plan(index, index + 1);
        let turn = self.turn(index);
        if turn != Turn::Now {
            self.counters.delayed += 1;
        }
        Ok(turn)
    }

    /// The place with this number has come up, or may have. `None`: there is no such place, it was redeemed, given back,
    /// or kept in vain.
    pub(super) fn redeem(&mut self, number: u64, now: MonoNs) -> Option<Turn> {
        self.settle(now);
        let index = self.index(number)?;
        if self.waiting[index].at <= self.now {
            // Those ahead that have not come yet are counted as if they came now: they asked first. What was granted later
            // than planned may make this one wait after all.
            self.plan(index, index + 1);
            for behind in index + 1..self.waiting.len() {
                self.waiting[behind].at = self.waiting[behind].at.max(self.waiting[behind - 1].at);
            }
        }
        Some(self.turn(index))
    }

    /// Gives a place back, to those behind it. False if there is none of this number.
    pub(super) fn cancel(&mut self, number: u64, now: MonoNs) -> bool {
        self.settle(now);
        let Some(index) = self.index(number) else { return false };
        self.waiting.remove(index);
        self.counters.cancelled += 1;
        self.plan(index, self.waiting.len());
        true
    }

    /// Grants nothing before `until`. A hold is only ever made longer.
    pub(super) fn hold(&mut self, until: MonoNs, now: MonoNs) {
        self.settle(now);
        if until > self.held_until {
            self.held_until = until;
            self.plan(0, self.waiting.len());
        }
    }

    /// Grants no more than `left` before `until`, on top of the windows. Replaces what was said before.
    pub(super) fn leave(&mut self, left: u64, until: MonoNs, now: MonoNs) {
        self.settle(now);
        self.room = Some(Room { left, until });
        self.plan(0, self.waiting.len());
    }

    /// Other windows from now on. Those who wait with a weight that no window can hold any more lose their place.
    pub(super) fn set_windows(&mut self, windows: Vec<Window>) {
        self.windows = windows;
        let budget = self.windows.iter().map(|window| window.budget).min().unwrap_or(u64::MAX);
        let before = self.waiting.len();
        self.waiting.retain(|waiting| u64::from(waiting.weight) <= budget);
        self.counters.lapsed += (before - self.waiting.len()) as u64;
        self.plan(0, self.waiting.len());
    }

    /// What was granted within the window that ends now.
    pub(super) fn used(&self, length: Duration, now: MonoNs) -> u64 {
        let in_window = self.granted.iter().rev().take_while(|grant| after(grant.at, length) > now);
        in_window.map(|grant| u64::from(grant.weight)).sum()
    }

    /// What may be granted at this moment on top of the windows, if that was said.
    pub(super) fn left(&self, now: MonoNs) -> Option<u64> {
        self.room.filter(|room| room.until > now).map(|room| room.left)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the last in the line may go, as things stand.
    pub(super) fn last_at(&self) -> Option<MonoNs> {
        self.waiting.back().map(|waiting| waiting.at)
    }

    /// True once after some place came up earlier than its owner was told.
    pub(super) fn take_moved_up(&mut self) -> bool {
        std::mem::take(&mut self.has_moved_up)
    }

    fn index(&self, number: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&number, |waiting| waiting.number).ok()
    }

    /// Grants the place at `index` if it is up; else tells its owner when to come.
    fn turn(&mut self, index: usize) -> Turn {
        let place = &mut self.waiting[index];
        if place.at > self.now {
            place.told = place.at;
            return Turn::At { number: place.number, at: place.at };
        }
        let weight = place.weight;
        self.waiting.remove(index);
        self.counters.granted += 1;
        if let Some(room) = &mut self.room {
            room.left = room.left.saturating_sub(u64::from(weight));
        }
        if !self.windows.is_empty() {
            self.granted.push_back(Grant { at: self.now, weight });
        }
        Turn::Now
    }

    /// Forgets what no longer counts, and the places whose owners did not come.
    fn settle(&mut self, now: MonoNs) {
        self.now = self.now.max(now);
        let longest = self.windows.iter().map(|window| window.length).max().unwrap_or_default();
        while self.granted.front().is_some_and(|grant| after(grant.at, longest) <= self.now) {
            self.granted.pop_front();
        }
        self.room = self.room.filter(|room| room.until > self.now);
        let before = self.waiting.len();
        self.waiting.retain(|waiting| after(waiting.told, KEPT_FOR) >= self.now);
        let lapsed = before - self.waiting.len();
        self.counters.lapsed += lapsed as u64;
        if lapsed > 0 || self.waiting.front().is_some_and(|front| front.at < self.now) {
            self.plan(0, self.waiting.len());
        }
    }

    /// Works out when the places from `from` to before `to` come up. Those ahead of `from` stay as they are.
    fn plan(&mut self, from: usize, to: usize) {
        let is_roomy = |room: &Room, at: MonoNs| at < room.until;
        let mut room = self.room;
        if let Some(room) = &mut room {
            let ahead = self.waiting.range(..from).filter(|waiting| is_roomy(room, waiting.at));
            let taken = ahead.map(|waiting| u64::from(waiting.weight)).sum();
            room.left = room.left.saturating_sub(taken);
        }
        for index in from..to {
            let mut at = self.earliest(index);
            let weight = u64::from(self.waiting[index].weight);
            if let Some(room) = room.as_mut().filter(|room| is_roomy(room, at)) {
                match room.left.checked_sub(weight) {
                    Some(left) => room.left = left,
                    None => at = room.until,
                }
            }
            let place = &mut self.waiting[index];
            place.at = at;
            self.has_moved_up |= at < place.told && place.told.0 != u64::MAX;
        }
    }

    /// The first moment, from now on and not before the place ahead, at which no window would be too full.
    fn earliest(&self, index: usize) -> MonoNs {
        let mut at = self.now.max(self.held_until);
        if let Some(ahead) = index.checked_sub(1) {
            at = at.max(self.waiting[ahead].at);
        }
        let planned = self.waiting.range(..index).rev().map(|waiting| (waiting.at, waiting.weight));
        let newest_first = planned.chain(self.granted.iter().rev().map(|grant| (grant.at, grant.weight)));
        for window in &self.windows {
            let mut sum = u64::from(self.waiting[index].weight);
            for (time, weight) in newest_first.clone() {
                sum += u64::from(weight);
                if sum > window.budget {
                    // Together with all that came after it, it is one too many: it must have left the window.
                    at = at.max(after(time, window.length));
                    break;
                }
            }
        }
        at
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
