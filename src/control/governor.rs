//! What the whole process may ask of a venue from one address: connects, subscribes, REST. One for the process; every
//! connection machine and every REST request asks it first.
//!
//! ```text
//!                    budget (host, source address)
//! connect ──►  line ─► 80 % of the venue's connects a window, 10 a second   ─┐
//! request ──►  line ─► subscribes a second, all connections together         ├─► Now | At (a place in the line)
//! rest    ──►  line ─► 50 % of the venue's weight, 90 % with everybody else ─┘
//!                ▲
//! answers: 429, 418, 403 hold connects and REST; the used weight leaves less or nothing
//! ```
//! A place in a line is a promise in the order of asking: a thousand connections that lose their venue at once come back
//! one after the other, each knowing when, and none asks twice. When its time has come it is redeemed, which is when it is
//! granted and counted: what a venue said in between is obeyed. What goes out counts, not what succeeds.
//!
//! Never reads a clock: `now` is CLOCK_MONOTONIC and comes in as an argument; the wall clock may jump as it likes.

use super::after;
use super::line::{Line, NoPlace, Turn, Window};
use crate::market::MonoNs;
use crate::venue::Protocol;
use serde::Serialize;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use url::{Host, Url};

/// Budgets in one process. Keys beyond it share the last one: stricter than their own, never looser.
const BUDGET_COUNT_MAX: usize = 1_024;

/// Subscribe requests a second, of all connections to one host together, where nothing else is set.
const REQUESTS_PER_SECOND: u32 = 50;

/// Share of the venue's REST weight, where nothing else is set: the desk's own orders come from the same address.
const REST_SHARE_PERCENT: u8 = 50;

/// Shortest time away after a 429 that asks for none at all.
const HOLD_MIN: Duration = Duration::from_secs(1);

/// Time away after a 429 without `Retry-After` from a venue that states no window.
const HOLD_UNSTATED: Duration = Duration::from_secs(60);

/// Shortest ban: time away after a 418 without `Retry-After`. Source: Binance bans from 2 minutes to 3 days.
const BAN_MIN: Duration = Duration::from_secs(120);

/// Longest ban. A `Retry-After` beyond it is a mistake, and would silence the process for good.
const BAN_MAX: Duration = Duration::from_secs(3 * 24 * 3_600);

/// Whom a venue counts together.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct BudgetKey {
    /// The host, in small letters. An address literal has its port too (`127.0.0.1:9443`): it is no domain, and only its
    /// port tells two servers apart.
    pub host: Box<str>,
    /// The local address asked from; `None` where the kernel chooses.
    pub source: Option<IpAddr>,
}

impl BudgetKey {
    /// The key of a URL's host, asked from this address.
    #[must_use]
    pub fn of(url: &Url, source: Option<IpAddr>) -> Self {
        let host = match (url.host(), url.port_or_known_default()) {
            (Some(Host::Domain(name)), _) => name.to_ascii_lowercase(),
            (Some(address), Some(port)) => format!("{address}:{port}"),
            (Some(address), None) => address.to_string(),
            (None, _) => String::new(),
        };
        Self { host: host.into(), source }
    }
}

/// What a venue allows one address, and how much of it we take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BudgetLimits {
    /// The venue's new connections, and the window; `None` where it states no limit.
    pub connects: Option<(u32, Duration)>,
    /// Subscribe requests a second, all connections together; `None`: not paced.
    pub requests_per_second: Option<u32>,
    /// The venue's REST weight, and the window; `None` where it states no limit.
    pub rest_weight: Option<(u32, Duration)>,
    /// Our part of that weight.
    pub rest_share_percent: u8,
    /// Time away after an HTTP status 403, where the venue means "too many requests" by it.
    pub forbidden_for: Option<Duration>,
}

impl BudgetLimits {
    /// The venue's limits, with the default pace and share.
    #[must_use]
    pub fn of(protocol: &dyn Protocol) -> Self {
        let rest = protocol.rest_limits();
        Self {
            connects: protocol.limits().connects,
            requests_per_second: Some(REQUESTS_PER_SECOND),
            rest_weight: rest.weight,
            rest_share_percent: REST_SHARE_PERCENT,
            forbidden_for: rest.forbidden_for,
        }
    }

    /// The strictest of both in each thing. Of two limits with different windows that is the lower rate.
    fn strictest(self, other: Self) -> Self {
        Self {
            connects: strictest(self.connects, other.connects, is_lower_rate),
            requests_per_second: strictest(self.requests_per_second, other.requests_per_second, |a, b| a < b),
            rest_weight: strictest(self.rest_weight, other.rest_weight, is_lower_rate),
            rest_share_percent: self.rest_share_percent.min(other.rest_share_percent),
            forbidden_for: self.forbidden_for.max(other.forbidden_for),
        }
    }
}

fn strictest<T: Copy>(a: Option<T>, b: Option<T>, is_stricter: impl Fn(T, T) -> bool) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if is_stricter(b, a) { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn is_lower_rate((count, window): (u32, Duration), (other_count, other_window): (u32, Duration)) -> bool {
    let rate = |count: u32, window: Duration| u128::from(count) * window.as_nanos();
    (rate(count, other_window), count) < (rate(other_count, window), other_count)
}

/// What the governor keeps free, on every budget.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GovernorSettings {
    /// Our part of the venue's connects, so that a person can still connect by hand.
    pub connect_share_percent: u8,
    /// Connects a second, so that not all knock at the same moment; at least 1.
    pub connects_per_second: u32,
    /// Part of the venue's REST weight that may be used by everybody on this address together, as the venue's header
    /// tells it, before we stand back.
    pub rest_ceiling_percent: u8,
}

impl Default for GovernorSettings {
    fn default() -> Self {
        Self { connect_share_percent: 80, connects_per_second: 10, rest_ceiling_percent: 90 }
    }
}

/// A budget of one governor.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BudgetId(u16);

/// A place in a line. Redeemed when its time has come, or given back.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use = "a place that is neither redeemed nor cancelled holds up those behind it"]
pub struct Ticket {
    budget: BudgetId,
    thing: Thing,
    number: u64,
}

/// What a line is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Thing {
    Connect,
    Request,
    Rest,
}

/// When one may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Permit {
    /// At once. It is counted as done.
    Now,
    /// Not yet: a place in the line. To be redeemed at `at`, which then may say `Now`, or a later time if the venue has
    /// held us back since.
    At {
        /// When the place comes up.
        at: MonoNs,
        /// The place.
        ticket: Ticket,
    },
    /// Never, as things stand.
    Refused(NotPermitted),
}

/// Why there is no place in the line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotPermitted {
    /// The line is full.
    #[error("too many are waiting for the venue's budget already")]
    LineFull,
    /// One request would cost more than our whole share.
    #[error("a request of weight {weight} is over our share of the venue's budget, {budget}")]
    TooHeavy {
        /// What it costs.
        weight: u32,
        /// Our share in one window.
        budget: u64,
    },
}

/// What an HTTP answer says of a budget: REST's, or a refused upgrade's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RestAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The venue's weight used in its window, by everybody on this address, where a header tells it.
    pub used_weight: Option<u32>,
    /// How long the server asks us to stay away.
    pub retry_after: Option<Duration>,
}

/// Nothing is asked before `until`.
#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    until: MonoNs,
    status: u16,
}

#[derive(Debug)]
struct Budget {
    key: BudgetKey,
    limits: BudgetLimits,
    connects: Line,
    requests: Line,
    rest: Line,
    /// Budgets that are held back together have one number.
    group: u16,
    hold: Hold,
    used_by_all: Option<(u32, MonoNs)>,
    answers: AnswerCounters,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Governor {
    settings: GovernorSettings,
    budgets: Vec<Budget>,
    ids: HashMap<BudgetKey, BudgetId>,
    keys_shared: u64,
    generation: u64,
}

impl Governor {
    /// Without any budget yet.
    #[must_use]
    pub fn new(settings: GovernorSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The budget of a key. Asked for again, the strictest limits hold for all.
    pub fn budget(&mut self, key: BudgetKey, limits: BudgetLimits) -> BudgetId {
        if let Some(&id) = self.ids.get(&key) {
            self.tighten(id, limits);
            return id;
        }
        if self.budgets.len() >= BUDGET_COUNT_MAX {
            self.keys_shared += 1;
            let last = BudgetId(u16::try_from(self.budgets.len() - 1).expect("BUDGET_COUNT_MAX fits a u16"));
            self.tighten(last, limits);
            return last;
        }
        let index = u16::try_from(self.budgets.len()).expect("BUDGET_COUNT_MAX fits a u16");
        self.budgets.push(Budget {
            key: key.clone(),
            limits,
            connects: Line::new(self.settings.connect_windows(&limits)),
            requests: Line::new(request_windows(&limits)),
            rest: Line::new(rest_windows(&limits)),
            group: index,
            hold: Hold::default(),
            used_by_all: None,
            answers: AnswerCounters::default(),
        });
        self.ids.insert(key, BudgetId(index));
        BudgetId(index)
    }

    fn tighten(&mut self, id: BudgetId, limits: BudgetLimits) {
        let settings = self.settings;
        let budget = self.at(id);
        let limits = budget.limits.strictest(limits);
        if limits != budget.limits {
            budget.limits = limits;
            budget.connects.set_windows(settings.connect_windows(&limits));
            budget.requests.set_windows(request_windows(&limits));
            budget.rest.set_windows(rest_windows(&limits));
            self.note_moves(id);
        }
    }

    /// These two are held back together from now on: a venue that bans an address bans it on its stream host and on its
    /// REST host.
    pub fn hold_together(&mut self, one: BudgetId, other: BudgetId) {
        let (group, joining) = (self.at(one).group, self.at(other).group);
        for budget in &mut self.budgets {
            if budget.group == joining {
                budget.group = group;
            }
        }
        for hold in [self.at(one).hold, self.at(other).hold] {
            self.hold(group, hold, MonoNs::default());
        }
    }

    /// Asks to open a connection.
    pub fn connect(&mut self, id: BudgetId, now: MonoNs) -> Permit {
        self.ask(id, Thing::Connect, 1, now)
    }

    /// Asks to send a subscribe or unsubscribe request.
    pub fn request(&mut self, id: BudgetId, now: MonoNs) -> Permit {
        self.ask(id, Thing::Request, 1, now)
    }

    /// Asks to send a REST request of this weight.
    pub fn rest(&mut self, id: BudgetId, weight: u32, now: MonoNs) -> Permit {
        self.ask(id, Thing::Rest, weight, now)
    }

    fn ask(&mut self, id: BudgetId, thing: Thing, weight: u32, now: MonoNs) -> Permit {
        let turn = self.at(id).line(thing).ask(weight, now);
        self.note_moves(id);
        match turn {
            Ok(Turn::Now) => Permit::Now,
            Ok(Turn::At { number, at }) => Permit::At { at, ticket: Ticket { budget: id, thing, number } },
            Err(NoPlace::Full) => Permit::Refused(NotPermitted::LineFull),
            Err(NoPlace::TooHeavy { budget }) => Permit::Refused(NotPermitted::TooHeavy { weight, budget }),
        }
    }

    /// The time of a place has come, or [`generation`](Self::generation) has changed. `None`: the place is no more. It
    /// was redeemed or given back, or its owner did not come within 5 s of its time: ask afresh.
    pub fn redeem(&mut self, ticket: Ticket, now: MonoNs) -> Option<Permit> {
        let turn = self.at(ticket.budget).line(ticket.thing).redeem(ticket.number, now);
        self.note_moves(ticket.budget);
        turn.map(|turn| match turn {
            Turn::Now => Permit::Now,
            Turn::At { at, .. } => Permit::At { at, ticket },
        })
    }

    /// Gives a place back, to those behind it. False if it is no more.
    pub fn cancel(&mut self, ticket: Ticket, now: MonoNs) -> bool {
        let is_known = self.at(ticket.budget).line(ticket.thing).cancel(ticket.number, now);
        self.note_moves(ticket.budget);
        is_known
    }

    /// Changes whenever a place came up earlier than its owner was told. Who waits may then redeem and hear the new time;
    /// who does not is granted at the old one.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What an HTTP answer says: of a REST request, or of an upgrade that was refused.
    ///
    /// - 429: nothing until `Retry-After`, or for the venue's window if it names none.
    /// - 418: banned until `Retry-After`, or for 2 minutes. 403: away for the venue's time, where it has one.
    /// - the used weight: what is left below the ceiling is all we take before the venue's window has surely turned.
    pub fn rest_answered(&mut self, id: BudgetId, answer: RestAnswer, now: MonoNs) {
        let ceiling_percent = self.settings.rest_ceiling_percent;
        let budget = self.at(id);
        let window = budget.limits.rest_weight.map_or(HOLD_UNSTATED, |(_, window)| window);
        if let (Some(used), Some((weight, _))) = (answer.used_weight, budget.limits.rest_weight) {
            budget.used_by_all = Some((used, now));
            let left = share(weight, ceiling_percent).saturating_sub(u64::from(used));
            budget.rest.leave(left, after(now, window), now);
        }
        let wait = match answer.status {
            429 => {
                budget.answers.too_many_requests += 1;
                Some(answer.retry_after.unwrap_or(window).max(HOLD_MIN))
            }
            418 => {
                budget.answers.banned += 1;
                Some(answer.retry_after.unwrap_or(BAN_MIN).max(HOLD_MIN))
            }
            403 => {
                budget.answers.forbidden += 1;
                budget.limits.forbidden_for.map(|wait| wait.max(answer.retry_after.unwrap_or_default()))
            }
            _ => None,
        };
        let group = budget.group;
        self.note_moves(id);
        if let Some(wait) = wait {
            let until = after(now, wait.min(BAN_MAX));
            self.hold(group, Hold { until, status: answer.status }, now);
        }
    }

    fn hold(&mut self, group: u16, hold: Hold, now: MonoNs) {
        for budget in self.budgets.iter_mut().filter(|budget| budget.group == group) {
            if hold.until > budget.hold.until {
                budget.hold = hold;
            }
            budget.connects.hold(hold.until, now);
            budget.rest.hold(hold.until, now);
        }
    }

    /// Our part of the venue's REST weight, and the window it is for; `None`: no limit is stated.
    #[must_use]
    pub fn rest_share(&self, id: BudgetId) -> Option<(u64, Duration)> {
        let window = rest_windows(&self.budgets[usize::from(id.0)].limits).into_iter().next()?;
        Some((window.budget, window.length))
    }

    /// True where a request of this weight would keep nobody waiting: nobody is in the line, nothing is held back, and it takes no
    /// more than this part of our share with what is used of it, nor of what the venue says that others leave. For what may come
    /// at any time, and goes behind everything else.
    #[must_use]
    pub fn is_quiet(&self, id: BudgetId, weight: u32, percent_max: u8, now: MonoNs) -> bool {
        let (budget, percent_max) = (&self.budgets[usize::from(id.0)], u64::from(percent_max.min(100)));
        let leaves_room = |window: &Window| {
            let used = budget.rest.used(window.length, now) + u64::from(weight);
            used <= window.budget * percent_max / 100
        };
        let is_left = budget.rest.left(now).is_none_or(|left| u64::from(weight) <= left * percent_max / 100);
        budget.hold.until <= now
            && budget.rest.waiting() == 0
            && is_left
            && rest_windows(&budget.limits).iter().all(leaves_room)
    }

    /// Until when nothing is asked of this budget, if it is held at all.
    #[must_use]
    pub fn held_until(&self, id: BudgetId, now: MonoNs) -> Option<MonoNs> {
        Some(self.budgets[usize::from(id.0)].hold.until).filter(|&until| until > now)
    }

    /// Every budget as it stands.
    #[must_use]
    pub fn status(&self, now: MonoNs) -> GovernorStatus {
        let budgets = self.budgets.iter().map(|budget| budget.status(&self.settings, now)).collect();
        GovernorStatus { budgets, keys_shared: self.keys_shared }
    }

    fn at(&mut self, id: BudgetId) -> &mut Budget {
        &mut self.budgets[usize::from(id.0)]
    }

    fn note_moves(&mut self, id: BudgetId) {
        let budget = self.at(id);
        let lines = [&mut budget.connects, &mut budget.requests, &mut budget.rest];
        let moved = lines.map(Line::take_moved_up).contains(&true);
        self.generation += u64::from(moved);
    }
}

/// Our part of a venue's count, at least one.
fn share(count: u32, percent: u8) -> u64 {
    (u64::from(count) * u64::from(percent.min(100)) / 100).max(1)
}

impl GovernorSettings {
    fn connect_windows(&self, limits: &BudgetLimits) -> Vec<Window> {
        let smooth = Window { budget: u64::from(self.connects_per_second.max(1)), length: Duration::from_secs(1) };
        let venue =
            limits.connects.map(|(count, length)| Window { budget: share(count, self.connect_share_percent), length });
        venue.into_iter().chain([smooth]).collect()
    }
}

fn request_windows(limits: &BudgetLimits) -> Vec<Window> {
    let paced = limits.requests_per_second;
    paced.map(|rate| Window { budget: u64::from(rate.max(1)), length: Duration::from_secs(1) }).into_iter().collect()
}

fn rest_windows(limits: &BudgetLimits) -> Vec<Window> {
    let weight = limits.rest_weight;
    let ours = |(weight, length)| Window { budget: share(weight, limits.rest_share_percent), length };
    weight.map(ours).into_iter().collect()
}

impl Budget {
    fn line(&mut self, thing: Thing) -> &mut Line {
        match thing {
            Thing::Connect => &mut self.connects,
            Thing::Request => &mut self.requests,
            Thing::Rest => &mut self.rest,
        }
    }

    fn status(&self, settings: &GovernorSettings, now: MonoNs) -> BudgetStatus {
        let line = |line: &Line, windows: &[Window]| {
            let window = windows.first();
            let length = window.map_or(Duration::ZERO, |window| window.length);
            LineStatus {
                used: line.used(length, now),
                allowed: window.map(|window| window.budget),
                window_ms: millis(length),
                waiting: line.waiting(),
                last_in_ms: line.last_at().map(|at| at.since_ns(now) / 1_000_000),
                granted: line.counters.granted,
                delayed: line.counters.delayed,
                cancelled: line.counters.cancelled,
                lapsed: line.counters.lapsed,
                refused: line.counters.refused,
            }
        };
        let is_held = self.hold.until > now;
        let rest_window = self.limits.rest_weight.map_or(Duration::ZERO, |(_, window)| window);
        BudgetStatus {
            host: self.key.host.to_string(),
            source_address: self.key.source.map(|source| source.to_string()),
            connects: line(&self.connects, &settings.connect_windows(&self.limits)),
            requests: line(&self.requests, &request_windows(&self.limits)),
            rest: line(&self.rest, &rest_windows(&self.limits)),
            rest_limit: self.limits.rest_weight.map(|(weight, _)| weight),
            rest_used_by_all: self.used_by_all.filter(|&(_, at)| after(at, rest_window) > now).map(|(used, _)| used),
            held_for_ms: is_held.then(|| self.hold.until.since_ns(now).div_ceil(1_000_000)),
            held_by_status: is_held.then_some(self.hold.status),
            answers: self.answers,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Answers that told us to stay away, since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct AnswerCounters {
    /// HTTP status 429.
    pub too_many_requests: u64,
    /// HTTP status 418.
    pub banned: u64,
    /// HTTP status 403.
    pub forbidden: u64,
}

/// One line of a budget, as it stands.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct LineStatus {
    /// Used by us in the window that ends now: connects, requests, or REST weight.
    pub used: u64,
    /// How much we allow ourselves in that window; `None`: no limit.
    pub allowed: Option<u64>,
    /// The window, in ms.
    pub window_ms: u64,
    /// Places in the line.
    pub waiting: usize,
    /// In how many ms the last of them comes up.
    pub last_in_ms: Option<u64>,
    /// Granted since the start.
    pub granted: u64,
    /// Had to wait, since the start.
    pub delayed: u64,
    /// Places given back, since the start.
    pub cancelled: u64,
    /// Places whose owner did not come within 5 s of its time, since the start.
    pub lapsed: u64,
    /// No place was given, since the start: the line was full, or one request heavier than our share.
    pub refused: u64,
}

/// One budget, as it stands.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct BudgetStatus {
    /// The host (see [`BudgetKey::host`]).
    pub host: String,
    /// The source address, if one is set.
    pub source_address: Option<String>,
    /// Connects.
    pub connects: LineStatus,
    /// Subscribe and unsubscribe requests.
    pub requests: LineStatus,
    /// REST weight.
    pub rest: LineStatus,
    /// The venue's REST weight in that window, all of it.
    pub rest_limit: Option<u32>,
    /// Weight used by everybody on this address, as the venue last told within the window.
    pub rest_used_by_all: Option<u32>,
    /// For how many ms more connects and REST are held back.
    pub held_for_ms: Option<u64>,
    /// The HTTP status that holds them back.
    pub held_by_status: Option<u16>,
    /// Answers that told us to stay away.
    pub answers: AnswerCounters,
}

/// The governor, as it stands.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct GovernorStatus {
    /// Every budget, in the order in which they were first asked for.
    pub budgets: Vec<BudgetStatus>,
    /// Keys that came after the last free budget and share it.
    pub keys_shared: u64,
}

#[cfg(test)]
#[path = "governor_tests.rs"]
mod tests;
