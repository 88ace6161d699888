//! Which leg's own book is subscribed again, and when: where each leg of a connection has a book of its own, for all such books
//! of the process.
//!
//! ```text
//! board: legs in need ──seen──► LegRepairs ──► (symbol, leg): that leg's one topic again, nothing else
//!                                   ▲ now          not live in time: again, after a wait that doubles
//! ```
//! No other leg is touched, and nobody is told: another leg's book is published meanwhile. Where none is live, the planner of
//! [`Snapshots`](super::Snapshots) tells of the book, and this repairs it all the same. Sans-IO.

use super::after;
use super::snapshot_report::SnapshotSettings;
use crate::limits::LEG_PLACES;
use crate::market::{MonoNs, Symbol};
use std::collections::BTreeMap;

/// One leg's book that was in need, or is.
#[derive(Clone, Copy, Debug)]
struct Need {
    symbol: Symbol,
    is_open: bool,
    /// Its topic was asked for again; until then it may become live.
    asked_until: Option<MonoNs>,
    /// Tries in a row that came to nothing, and books that did not last.
    failures: u32,
    /// No try before.
    ready_at: MonoNs,
    /// When it was met last.
    met_at: MonoNs,
}

/// See the module.
#[derive(Debug)]
pub struct LegRepairs {
    settings: SnapshotSettings,
    /// By symbol and place of the leg.
    needs: BTreeMap<(usize, u8), Need>,
    /// By symbol: topics of its legs that were asked for again so far.
    asked: BTreeMap<usize, u64>,
    wake_at: Option<MonoNs>,
}

impl LegRepairs {
    /// Nothing is in need.
    #[must_use]
    pub const fn new(settings: SnapshotSettings) -> Self {
        Self { settings, needs: BTreeMap::new(), asked: BTreeMap::new(), wake_at: None }
    }

    /// What the board says of a symbol's legs now: one bit for each place whose book is to be subscribed again.
    pub fn seen(&mut self, symbol: Symbol, legs_in_need: u8, now: MonoNs) {
        for leg in (0..LEG_PLACES).filter_map(|leg| u8::try_from(leg).ok()) {
            let is_open = legs_in_need & 1 << leg != 0;
            let known = self.needs.get(&(symbol.index(), leg)).copied();
            let need = match (known, is_open) {
                (None, false) => continue,
                (None, true) => Need { symbol, is_open, asked_until: None, failures: 0, ready_at: now, met_at: now },
                (Some(need), true) if need.is_open => need,
                (Some(need), true) => {
                    // One that does not last is not repaired as fast as it breaks.
                    let is_stable = now >= after(need.met_at, self.settings.stable_after);
                    let failures = if is_stable { 0 } else { need.failures };
                    let ready_at = if is_stable { now } else { after(now, self.settings.backoff(failures)) };
                    let failures = failures + u32::from(!is_stable);
                    Need { is_open, asked_until: None, failures, ready_at, ..need }
                }
                (Some(need), false) if need.is_open => Need { is_open, asked_until: None, met_at: now, ..need },
                (Some(need), false) => {
                    if now >= after(need.met_at, self.settings.stable_after) {
                        self.needs.remove(&(symbol.index(), leg));
                    }
                    continue;
                }
            };
            self.needs.insert((symbol.index(), leg), need);
        }
    }

    /// Looks after this symbol's legs no longer.
    pub fn forget(&mut self, symbol: Symbol) {
        self.needs.retain(|&(at, _), _| at != symbol.index());
    }

    /// Whose topic is to be subscribed again now: symbol and place of the leg. To be called after every other call, and when
    /// [`next_timer`](Self::next_timer) says.
    pub fn poll(&mut self, now: MonoNs, again: &mut Vec<(Symbol, u8)>) {
        let settings = self.settings;
        for need in self.needs.values_mut().filter(|need| need.is_open) {
            if need.asked_until.is_some_and(|until| until <= now) {
                need.asked_until = None;
                need.ready_at = after(now, settings.backoff(need.failures));
                need.failures += 1;
            }
        }
        let under_way = self.needs.values().filter(|need| need.asked_until.is_some()).count();
        let room = settings.resubscribes_max.saturating_sub(under_way);
        let is_due = |need: &Need| need.is_open && need.asked_until.is_none() && need.ready_at <= now;
        let due = self.needs.iter_mut().map(|(&(_, leg), need)| (leg, need)).filter(|(_, need)| is_due(need));
        let mut due: Vec<(u8, &mut Need)> = due.collect();
        // Those that never become live take their turn behind the others.
        due.sort_by_key(|(_, need)| need.ready_at);
        for (leg, need) in due.into_iter().take(room) {
            need.asked_until = Some(after(now, settings.resubscribe_within));
            *self.asked.entry(need.symbol.index()).or_default() += 1;
            again.push((need.symbol, leg));
        }
        let open = self.needs.values().filter(|need| need.is_open);
        let waits = open.filter_map(|need| need.asked_until.or((need.ready_at > now).then_some(need.ready_at)));
        self.wake_at = waits.min();
    }

    /// When to poll again if nothing happens before.
    #[must_use]
    pub const fn next_timer(&self) -> Option<MonoNs> {
        self.wake_at
    }

    /// Topics of this symbol's legs that were asked for again so far, ever.
    #[must_use]
    pub fn asked(&self, symbol: Symbol) -> u64 {
        self.asked.get(&symbol.index()).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SnapshotSettings;

    fn ms(at: u64) -> MonoNs {
        MonoNs(at * 1_000_000)
    }

    fn symbol(at: usize) -> Symbol {
        Symbol::new(at).unwrap()
    }

    /// What is asked for at this time.
    fn asked(repairs: &mut LegRepairs, at_ms: u64) -> Vec<(usize, u8)> {
        let mut again = Vec::new();
        repairs.poll(ms(at_ms), &mut again);
        again.into_iter().map(|(symbol, leg)| (symbol.index(), leg)).collect()
    }

    #[test]
    fn each_leg_in_need_is_asked_for_once_and_again_where_it_does_not_become_live_in_time() {
        let mut repairs = LegRepairs::new(SnapshotSettings::default());
        assert!(asked(&mut repairs, 0).is_empty() && repairs.next_timer().is_none());
        repairs.seen(symbol(7), 0b101, ms(1));
        repairs.seen(symbol(9), 0b010, ms(1));
        assert_eq!(asked(&mut repairs, 1), [(7, 0), (7, 2), (9, 1)]);
        repairs.seen(symbol(7), 0b101, ms(2));
        assert_eq!(asked(&mut repairs, 2), [], "they are under way");
        repairs.seen(symbol(7), 0b100, ms(50));
        repairs.seen(symbol(9), 0, ms(50));
        assert_eq!(repairs.next_timer(), Some(ms(10_001)));
        assert_eq!(asked(&mut repairs, 10_001), [], "it has failed: first it waits");
        assert_eq!(repairs.next_timer(), Some(ms(10_501)));
        assert_eq!(asked(&mut repairs, 10_501), [(7, 2)]);
        assert_eq!(asked(&mut repairs, 20_501), []);
        assert_eq!(asked(&mut repairs, 21_500), [], "the wait has doubled");
        assert_eq!(asked(&mut repairs, 21_501), [(7, 2)]);
        repairs.seen(symbol(7), 0, ms(21_600));
        assert_eq!((asked(&mut repairs, 99_000), repairs.next_timer()), (vec![], None));
        assert_eq!([7, 8, 9].map(|at| repairs.asked(symbol(at))), [4, 0, 1]);
    }

    #[test]
    fn a_book_that_breaks_as_soon_as_it_is_live_waits_longer_each_time_and_one_that_lasts_does_not() {
        let mut repairs = LegRepairs::new(SnapshotSettings::default());
        let mut now = 1;
        let mut waits = Vec::new();
        for _ in 0..6 {
            repairs.seen(symbol(3), 1, ms(now));
            let begun = now;
            while asked(&mut repairs, now).is_empty() {
                now = repairs.next_timer().unwrap().0 / 1_000_000;
            }
            waits.push(now - begun);
            now += 10;
            repairs.seen(symbol(3), 0, ms(now));
            now += 10;
        }
        assert_eq!(waits, [0, 500, 1_000, 2_000, 4_000, 8_000]);
        now += 10_000;
        repairs.seen(symbol(3), 1, ms(now));
        assert_eq!(asked(&mut repairs, now), [(3, 0)]);
    }

    #[test]
    fn a_leg_is_asked_for_within_minutes_however_many_others_never_become_live() {
        let settings = SnapshotSettings::default();
        let mut repairs = LegRepairs::new(settings);
        for at in 0..200 {
            repairs.seen(symbol(at), 1, ms(1));
        }
        repairs.seen(symbol(900), 1, ms(60_000));
        let mut now = 60_000;
        while !asked(&mut repairs, now).contains(&(900, 0)) {
            now = repairs.next_timer().map_or(now + 1, |at| at.0 / 1_000_000).max(now + 1);
            assert!(now < 600_000, "not within ten minutes");
        }
    }

    #[test]
    fn no_more_are_under_way_than_may_be_and_every_leg_has_its_turn() {
        let settings = SnapshotSettings { resubscribes_max: 3, ..SnapshotSettings::default() };
        let mut repairs = LegRepairs::new(settings);
        let mut left: std::collections::BTreeSet<(usize, u8)> = (0..10).flat_map(|at| [(at, 0), (at, 3)]).collect();
        for at in 0..10 {
            repairs.seen(symbol(at), 0b1001, ms(1));
        }
        let mut in_need = [0b1001_u8; 10];
        for now in 1..100 {
            let again = asked(&mut repairs, now);
            assert!(again.len() <= 3);
            for (at, leg) in again {
                assert!(left.remove(&(at, leg)), "once");
                in_need[at] &= !(1 << leg);
                repairs.seen(symbol(at), in_need[at], ms(now));
            }
        }
        assert!(left.is_empty(), "{left:?}");
        repairs.seen(symbol(4), 1, ms(200));
        repairs.forget(symbol(4));
        assert_eq!(asked(&mut repairs, 60_000), [], "it is forgotten");
    }
}
