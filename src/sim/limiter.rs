//! The venue's limits per source address: connects in a stretch of time, and REST weight.
//!
//! ```text
//! connects   [t0 t1 t2 ...... now]   a sliding window: the oldest leaves, the next may come
//! REST       |─ used ─────|          a fixed window; over it 429, and who goes on is banned (418; Bybit 403 at once)
//! ```
//! Called by the upgrade and by REST. Bounded: [`ADDRESSES_MAX`] addresses. No I/O; the time comes in.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Addresses remembered: loopback clients that bind one each. When full, the lowest goes.
const ADDRESSES_MAX: usize = 1_024;
/// Requests sent into a 429 until it becomes a ban.
const IGNORED_MAX: u32 = 3;

/// So much in so long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Limit {
    pub(super) count: u32,
    pub(super) window: Duration,
}

fn entry<T: Default>(table: &mut BTreeMap<IpAddr, T>, address: IpAddr) -> &mut T {
    if table.len() >= ADDRESSES_MAX && !table.contains_key(&address) {
        table.pop_first();
    }
    table.entry(address).or_default()
}

/// Connects per address.
#[derive(Debug, Default)]
pub(super) struct Connects(BTreeMap<IpAddr, VecDeque<Instant>>);

impl Connects {
    /// Counts an attempt. `Err` with the time until the next may come, if this one is over the limit.
    pub(super) fn admit(&mut self, address: IpAddr, limit: Limit, now: Instant) -> Result<(), Duration> {
        let attempts = entry(&mut self.0, address);
        while attempts.front().is_some_and(|&at| now - at >= limit.window) {
            attempts.pop_front();
        }
        // A refused attempt is an attempt; the oldest makes room, so that the list stays as long as the limit.
        let is_over = attempts.len() >= limit.count as usize;
        if is_over {
            attempts.pop_front();
        }
        attempts.push_back(now);
        match attempts.front() {
            Some(&oldest) if is_over => Err((oldest + limit.window).saturating_duration_since(now)),
            _ => Ok(()),
        }
    }
}

/// What REST says to a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Answered; so much is used.
    Admitted(u32),
    /// Over the limit: wait so long (429; Bybit 403).
    Slower(u32, Duration),
    /// Banned for so long (418; Bybit 403).
    Banned(u32, Duration),
}

#[derive(Debug, Default)]
struct Budget {
    opened: Option<Instant>,
    used: u32,
    ignored: u32,
    banned_until: Option<Instant>,
}

/// REST weight per address.
#[derive(Debug, Default)]
pub(super) struct Weights(BTreeMap<IpAddr, Budget>);

impl Weights {
    /// Counts a request of this weight. `ban` is what follows on too much; with `is_strict` at once, else behind
    /// [`IGNORED_MAX`] requests into a 429.
    pub(super) fn admit(
        &mut self,
        address: IpAddr,
        weight: u32,
        limit: Limit,
        (ban, is_strict): (Duration, bool),
        now: Instant,
    ) -> Verdict {
        let budget = entry(&mut self.0, address);
        if let Some(until) = budget.banned_until {
            if now < until {
                return Verdict::Banned(budget.used, until - now);
            }
            *budget = Budget::default();
        }
        let opened = *budget.opened.get_or_insert(now);
        let opened = if now - opened >= limit.window {
            *budget = Budget { opened: Some(now), ..Budget::default() };
            now
        } else {
            opened
        };
        budget.used = budget.used.saturating_add(weight);
        if budget.used <= limit.count {
            return Verdict::Admitted(budget.used);
        }
        budget.ignored += 1;
        if is_strict || budget.ignored > IGNORED_MAX {
            budget.banned_until = Some(now + ban);
            return Verdict::Banned(budget.used, ban);
        }
        Verdict::Slower(budget.used, opened + limit.window - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const LIMIT: Limit = Limit { count: 3, window: Duration::from_secs(10) };
    const BAN: (Duration, bool) = (Duration::from_secs(20), false);

    #[test]
    fn connects_beyond_the_limit_wait_for_the_oldest_to_leave() {
        let (mut connects, start) = (Connects::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        for s in 0..3 {
            assert_eq!(connects.admit(HOME, LIMIT, at(s)), Ok(()));
        }
        assert_eq!(connects.admit(HOME, LIMIT, at(3)), Err(Duration::from_secs(8)));
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(connects.admit(other, LIMIT, at(3)), Ok(()), "each address for itself");
        assert_eq!(connects.admit(HOME, LIMIT, at(11)), Ok(()));
    }

    #[test]
    fn too_much_weight_is_slowed_down_and_who_goes_on_is_banned() {
        let (mut weights, start) = (Weights::default(), Instant::now());
        assert_eq!(weights.admit(HOME, 2, LIMIT, BAN, start), Verdict::Admitted(2));
        for _ in 0..3 {
            assert!(
                matches!(weights.admit(HOME, 2, LIMIT, BAN, start), Verdict::Slower(_, wait) if wait == LIMIT.window)
            );
        }
        assert!(matches!(weights.admit(HOME, 2, LIMIT, BAN, start), Verdict::Banned(_, wait) if wait == BAN.0));
        let later = start + Duration::from_secs(15);
        assert!(matches!(weights.admit(HOME, 1, LIMIT, BAN, later), Verdict::Banned(..)), "a new window ends no ban");
        assert_eq!(weights.admit(HOME, 1, LIMIT, BAN, start + BAN.0), Verdict::Admitted(1));
    }

    #[test]
    fn a_strict_venue_bans_at_once() {
        let (mut weights, now) = (Weights::default(), Instant::now());
        assert!(matches!(weights.admit(HOME, 4, LIMIT, (BAN.0, true), now), Verdict::Banned(..)));
    }

    proptest! {
        #[test]
        fn no_stretch_as_long_as_the_window_admits_more_than_the_limit(
            steps in proptest::collection::vec(0_u64..6_000, 1..100)
        ) {
            let (mut connects, mut now, mut admitted) = (Connects::default(), Instant::now(), Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                if connects.admit(HOME, LIMIT, now).is_ok() {
                    admitted.push(now);
                }
            }
            for first in &admitted {
                let within = admitted.iter().filter(|&at| at >= first && *at - *first < LIMIT.window).count();
                prop_assert!(within <= LIMIT.count as usize);
            }
        }
    }
}
