//! One venue's address as it counts us: connects, REST weight, and for how long it told us to stay away.
//!
//! ```text
//! Connect ──► within five minutes? within our own share and our own pace? not before the venue's word?   else: violation
//! REST    ──► our share of the window; what the last answer left; not before the venue's word?            else: violation
//!         ◄── 200 | 429 | 418 | 403, with Retry-After or without, and the weight that everybody used
//! ```

use super::dialect::HostName;
use super::random::Random;
use crate::{MINUTE, SECOND};
use std::collections::VecDeque;
use std::time::Duration;
use tickwire::control::{BudgetId, BudgetKey, BudgetLimits, Governor, RestAnswer, Ticket};
use tickwire::venue::protocol;

/// Our part of the venue's connects, by the governor's documents.
const CONNECT_SHARE_PERCENT: u64 = 80;
/// Connects a second, by the governor's documents.
const CONNECTS_A_SECOND: usize = 10;
/// Subscribe requests a second of all connections to one host, by the governor's documents.
const REQUESTS_A_SECOND: usize = 50;
/// Our part of the venue's REST weight, by the governor's documents.
const REST_SHARE_PERCENT: u64 = 50;
/// Part of the weight that everybody may have used before we stand back, by the governor's documents.
const REST_CEILING_PERCENT: u64 = 90;

/// What happened at these times, as long as it counts.
#[derive(Debug, Default)]
struct Recent(VecDeque<(u64, u64)>);

impl Recent {
    fn sum_with(&mut self, now: u64, amount: u64, window: u64) -> u64 {
        while self.0.front().is_some_and(|&(at, _)| at + window <= now) {
            self.0.pop_front();
        }
        self.0.push_back((now, amount));
        self.0.iter().map(|&(_, amount)| amount).sum()
    }
}

/// A REST request that waits for its turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestTurn {
    pub(crate) ticket: Ticket,
    pub(crate) weight: u64,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: HostName,
    pub(crate) streams: BudgetId,
    pub(crate) rest: BudgetId,
    /// Nothing is accepted before.
    pub(crate) down_until: u64,
    /// While it is down: whether a connect hangs, is refused, or is answered by HTTP.
    pub(crate) outage: Outage,
    /// We were told not to come before.
    pub(crate) stay_away_until: u64,
    asked_connects: Recent,
    asked_connects_a_second: Recent,
    seen_connects: Recent,
    requests: Recent,
    rest_ours: Recent,
    rest_window: u64,
    rest_used_by_all: u64,
    /// The weight used by all that the last answer told, when, and what we sent since.
    told: Option<(u64, u64, u64)>,
    /// Until when the venue refuses REST, once it refused.
    penalty_until: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outage {
    Refuses,
    Hangs,
    /// An HTTP status instead of an upgrade.
    Unavailable,
}

impl Host {
    pub(crate) fn new(name: HostName, governor: &mut Governor) -> Self {
        let limits = BudgetLimits::of(protocol(name.venue()));
        let mut budget = |host: &str| governor.budget(BudgetKey { host: host.into(), source: None }, limits);
        let (streams, rest) = (budget(name.stream_host()), budget(name.rest_host()));
        governor.hold_together(streams, rest);
        Self {
            name,
            streams,
            rest,
            down_until: 0,
            outage: Outage::Refuses,
            stay_away_until: 0,
            asked_connects: Recent::default(),
            asked_connects_a_second: Recent::default(),
            seen_connects: Recent::default(),
            requests: Recent::default(),
            rest_ours: Recent::default(),
            rest_window: 0,
            rest_used_by_all: 0,
            told: None,
            penalty_until: 0,
        }
    }

    /// We decided to connect.
    pub(crate) fn connect_asked(&mut self, now: u64) {
        let until = self.stay_away_until;
        assert!(now >= until, "{:?}: a connect {} ms before the venue allows it", self.name, (until - now) / 1_000_000);
        let ours = self.name.connects_max() * CONNECT_SHARE_PERCENT / 100;
        let count = self.asked_connects.sum_with(now, 1, 5 * MINUTE);
        assert!(count <= ours, "{:?}: {count} connects within five minutes, our share is {ours}", self.name);
        let count = self.asked_connects_a_second.sum_with(now, 1, SECOND);
        assert!(count <= CONNECTS_A_SECOND as u64, "{:?}: {count} connects within a second", self.name);
    }

    /// It arrived.
    pub(crate) fn connect_seen(&mut self, now: u64) {
        let count = self.seen_connects.sum_with(now, 1, 5 * MINUTE);
        let limit = self.name.connects_max();
        assert!(count <= limit, "{:?}: {count} connects within five minutes, the venue allows {limit}", self.name);
    }

    /// A subscribe or unsubscribe request was sent, on any connection.
    pub(crate) fn request_sent(&mut self, now: u64) {
        let count = self.requests.sum_with(now, 1, SECOND);
        assert!(
            count <= REQUESTS_A_SECOND as u64,
            "{:?}: {count} requests within a second, all connections together",
            self.name
        );
    }

    /// We were told to stay away.
    pub(crate) fn told_to_stay_away(&mut self, answer: RestAnswer, now: u64) {
        let asked = answer.retry_after.map(nanos);
        let wait = match answer.status {
            429 => asked.unwrap_or_else(|| self.name.rest_weight().1).max(SECOND),
            418 => asked.unwrap_or(2 * MINUTE).max(SECOND),
            403 if self.name == HostName::Bybit => asked.unwrap_or_default().max(10 * MINUTE),
            _ => return,
        };
        self.stay_away_until = self.stay_away_until.max(now + wait);
    }

    /// A REST request goes out: is it ours to send?
    pub(crate) fn rest_sent(&mut self, weight: u64, now: u64) {
        let until = self.stay_away_until;
        assert!(now >= until, "{:?}: REST {} ms before the venue allows it", self.name, (until - now) / 1_000_000);
        let (limit, window) = self.name.rest_weight();
        let (ours, share) = (self.rest_ours.sum_with(now, weight, window), limit * REST_SHARE_PERCENT / 100);
        assert!(ours <= share, "{:?}: REST weight {ours} in one window, our share is {share}", self.name);
        if let Some((used, at, since)) = &mut self.told
            && *at + window > now
        {
            *since += weight;
            let left = (limit * REST_CEILING_PERCENT / 100).saturating_sub(*used);
            assert!(
                *since <= left,
                "{:?}: REST weight {since} sent where everybody's {used} left {left} of the venue's",
                self.name
            );
        }
    }

    /// It arrived: what the venue answers. Others on this address use as much as they like.
    pub(crate) fn rest_answer(&mut self, weight: u64, others: u64, random: &mut Random, now: u64) -> RestAnswer {
        let (limit, window) = self.name.rest_weight();
        if self.rest_window != now / window {
            (self.rest_window, self.rest_used_by_all) = (now / window, 0);
        }
        self.rest_used_by_all += weight + others;
        let is_over = self.rest_used_by_all > limit;
        let used_weight = self.name.tells_weight().then(|| u32::try_from(self.rest_used_by_all).unwrap_or(u32::MAX));
        let is_again = now < self.penalty_until;
        if !is_over && !is_again {
            return RestAnswer { status: 200, used_weight, retry_after: None };
        }
        let status = match (self.name, is_again) {
            (HostName::Bybit, _) => 403,
            (_, true) => 418,
            (_, false) => 429,
        };
        let wait = random.between(1, 90) * SECOND;
        self.penalty_until = now + wait;
        let retry_after = random.percent(60).then(|| Duration::from_nanos(wait));
        RestAnswer { status, used_weight, retry_after }
    }

    /// The answer is heard.
    pub(crate) fn rest_heard(&mut self, answer: RestAnswer, now: u64) {
        if let Some(used) = answer.used_weight {
            self.told = Some((u64::from(used), now, 0));
        }
        self.told_to_stay_away(answer, now);
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
