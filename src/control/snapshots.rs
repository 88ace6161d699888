//! Which book is repaired next, how deep, and when: for all books of the process, within each venue's budget.
//!
//! ```text
//! board: live? needs? ──seen──►┌──────────────┐──► Begin(symbol, levels)    the weight is granted; changes are kept, then GET
//!                              │   Snapshots  │──► Resubscribe(symbol)      one topic again, nothing else
//! ended: joined, late, failed ►└──────────────┘──► End(symbol)              nothing is kept for it any more
//!                                 ▲ governor       Told: live, stale, repaired, all of a venue live
//! ```
//! A book that is not live goes first, the busiest first, with the shallowest snapshot; live ones are deepened with what is
//! left, step by step, until the depth asked for is known. The weight is asked for before anything is kept: what waits for the
//! budget occupies no buffer. A part of the budget is never used for deepening, so that a gap does not wait for a window.
//! Failures of one symbol double its wait and nobody else's. Sans-IO; `now` and the governor come in as arguments.

use super::after;
use super::governor::{BudgetId, Governor, NotPermitted, Permit, Ticket};
use super::rolling::Rolling;
use super::snapshot_report::{
    BookPlan, BookSeen, Estimate, Fetch, FetchEnd, SnapshotAction, SnapshotDepth, SnapshotReport, SnapshotSettings,
    SnapshotStatus,
};
use crate::book::Repair;
use crate::market::{BookState, MonoNs, StaleReason, Symbol};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Idle,
    /// A snapshot is under way: the depth's position.
    Fetching {
        fetch: Fetch,
        depth: usize,
        until: MonoNs,
    },
    /// Its topic was asked for again.
    Resubscribing {
        until: MonoNs,
    },
}

#[derive(Debug)]
struct Kept {
    plan: BookPlan,
    phase: Phase,
    state: BookState,
    needs: Option<Repair>,
    activity: u64,
    /// Tries in a row that came to nothing.
    failures: u32,
    /// No try before.
    ready_at: MonoNs,
    /// The core keeps changes for it in one of its buffers.
    is_holding: bool,
    /// Position of the depth that is known, while it is live.
    known: usize,
    /// The shallowest that is of use: a shallower one was used up.
    depth_min: usize,
    kept_at: MonoNs,
    was_live: bool,
    live_since: MonoNs,
    /// When and why it turned stale.
    stale: Option<(MonoNs, StaleReason)>,
}

impl Kept {
    fn last_depth(&self) -> usize {
        self.plan.depths.len().saturating_sub(1)
    }

    fn is_deep(&self) -> bool {
        self.state.is_live() && self.known >= self.last_depth()
    }

    /// The snapshot to ask for next: its depth's position, and whether it only deepens.
    fn wants(&self, now: MonoNs) -> Option<(usize, bool)> {
        if self.phase != Phase::Idle || self.ready_at > now || self.plan.depths.is_empty() {
            return None;
        }
        if self.needs == Some(Repair::NeedSnapshot) {
            return Some((self.depth_min.min(self.last_depth()), false));
        }
        (self.state.is_live() && self.known < self.last_depth()).then_some((self.known + 1, true))
    }

    /// Its first snapshot may be asked for at any moment: what that takes is not used for deepening. Where nothing has come of
    /// it for two windows, nothing may ever.
    fn is_expected(&self, window: Duration, now: MonoNs) -> bool {
        !self.state.is_live() && !self.plan.depths.is_empty() && now < self.expected_until(window)
    }

    fn expected_until(&self, window: Duration) -> MonoNs {
        after(self.stale.map_or(self.kept_at, |(since, _)| since), 2 * window)
    }

    fn wants_resubscribe(&self, now: MonoNs) -> bool {
        self.phase == Phase::Idle && self.ready_at <= now && self.needs == Some(Repair::Resubscribe)
    }
}

/// A place in the governor's line, for a request of this weight.
#[derive(Clone, Copy, Debug)]
struct Place {
    ticket: Ticket,
    weight: u32,
    at: MonoNs,
}

#[derive(Debug, Default)]
struct Group {
    place: Option<Place>,
    in_flight: usize,
    resubscribing: usize,
    /// What all snapshots took.
    fetched: Rolling,
    /// What deepening took of it.
    deepened: Rolling,
    since: MonoNs,
    planned: Option<Estimate>,
    took: Option<Duration>,
    deep_took: Option<Duration>,
    counts: SnapshotStatus,
}

/// See the module.
#[derive(Debug)]
pub struct Snapshots {
    settings: SnapshotSettings,
    books: BTreeMap<usize, Kept>,
    groups: BTreeMap<BudgetId, Group>,
    /// Buffers in use, by core.
    holds: Vec<usize>,
    next_fetch: u64,
    /// When there may be something to do, as the last poll saw it.
    wake_at: Option<MonoNs>,
}

impl Snapshots {
    /// No books yet.
    #[must_use]
    pub fn new(settings: SnapshotSettings) -> Self {
        let (books, groups) = (BTreeMap::new(), BTreeMap::new());
        Self { settings, books, groups, holds: Vec::new(), next_fetch: 0, wake_at: None }
    }

    /// Looks after this book from now on, of which nothing has come. A known one begins anew.
    pub fn keep(&mut self, plan: BookPlan, now: MonoNs) {
        self.forget(plan.symbol);
        if self.holds.len() <= plan.core {
            self.holds.resize(plan.core + 1, 0);
        }
        let has_books = self.books.values().any(|book| book.plan.budget == plan.budget);
        let group = self.groups.entry(plan.budget).or_default();
        if !has_books || group.deep_took.is_some() {
            group.since = now;
        }
        (group.planned, group.took, group.deep_took) = (None, None, None);
        let kept = Kept {
            phase: Phase::Idle,
            state: BookState::Waiting,
            needs: None,
            activity: 0,
            failures: 0,
            ready_at: MonoNs(0),
            is_holding: false,
            known: 0,
            depth_min: 0,
            kept_at: now,
            was_live: false,
            live_since: now,
            stale: None,
            plan,
        };
        self.books.insert(kept.plan.symbol.index(), kept);
    }

    /// Goes on with this book with other snapshots: what is known of it stays known.
    pub fn change(&mut self, symbol: Symbol, heaviness: u32, depths: Vec<SnapshotDepth>, now: MonoNs) {
        let Some(book) = self.books.get_mut(&symbol.index()) else { return };
        book.plan.heaviness = heaviness;
        if book.plan.depths == depths {
            return;
        }
        let known = book.plan.depths.get(book.known).map_or(0, |depth| depth.levels);
        book.known = depths.iter().rposition(|depth| depth.levels <= known).unwrap_or(0);
        book.plan.depths = depths;
        book.depth_min = book.depth_min.min(book.last_depth());
        // A try that is under way names its depth by its place.
        if let Phase::Fetching { depth, .. } = &mut book.phase {
            *depth = (*depth).min(book.plan.depths.len().saturating_sub(1));
        }
        if let Some(group) = self.groups.get_mut(&book.plan.budget) {
            (group.since, group.planned, group.took, group.deep_took) = (now, None, None, None);
        }
    }

    /// Looks after this book no longer; its core has given its buffer back with it.
    pub fn forget(&mut self, symbol: Symbol) {
        let Some(mut book) = self.books.remove(&symbol.index()) else { return };
        self.release(&mut book);
        self.leave(&mut book);
    }

    /// True while this try is under way: begun, and neither ended nor given up.
    #[must_use]
    pub fn is_under_way(&self, symbol: Symbol, fetch: Fetch) -> bool {
        let phase = self.books.get(&symbol.index()).map(|book| book.phase);
        matches!(phase, Some(Phase::Fetching { fetch: known, .. }) if known == fetch)
    }

    /// True while some try of this book is under way, or what is kept for it waits for the next.
    #[must_use]
    pub fn is_fetching(&self, symbol: Symbol) -> bool {
        self.books.get(&symbol.index()).is_some_and(|book| book.is_holding)
    }

    /// The budgets that books were looked after from, in no order that matters.
    pub fn budgets(&self) -> impl Iterator<Item = BudgetId> + '_ {
        self.groups.keys().copied()
    }

    /// What a book's requests come from.
    #[must_use]
    pub fn budget_of(&self, symbol: Symbol) -> Option<BudgetId> {
        self.books.get(&symbol.index()).map(|book| book.plan.budget)
    }

    /// What the board says of a book now.
    pub fn seen(&mut self, symbol: Symbol, seen: BookSeen, now: MonoNs, actions: &mut Vec<SnapshotAction>) {
        let Some(mut book) = self.books.remove(&symbol.index()) else { return };
        book.activity = seen.activity;
        match (book.state.is_live(), seen.state) {
            (true, BookState::Stale(reason)) => self.turned_stale(&mut book, reason, now, actions),
            (false, BookState::Live) => self.turned_live(&mut book, now, actions),
            (false, BookState::Stale(reason)) if book.stale.is_none() => book.stale = Some((now, reason)),
            _ => {}
        }
        if seen.state == BookState::Stale(StaleReason::Disconnected) && seen.needs.is_none() {
            // Its core has let go of what was kept, unless it was told to keep only after that: then it keeps it for nobody,
            // whose answer is of no use any more.
            self.end_hold(&mut book, actions);
            self.leave(&mut book);
            (book.failures, book.ready_at) = (0, now);
        }
        (book.state, book.needs) = (seen.state, seen.needs);
        self.books.insert(symbol.index(), book);
    }

    fn turned_live(&mut self, book: &mut Kept, now: MonoNs, actions: &mut Vec<SnapshotAction>) {
        let symbol = book.plan.symbol;
        if matches!(book.phase, Phase::Resubscribing { .. }) {
            self.leave(book);
        }
        (book.state, book.needs, book.live_since, book.known) = (BookState::Live, None, now, 0);
        if book.plan.depths.is_empty() {
            book.known = book.last_depth();
        }
        let told = match book.stale.take() {
            Some((since, reason)) if book.was_live => {
                SnapshotReport::Repaired { symbol, reason, after: between(since, now) }
            }
            _ => SnapshotReport::Live { symbol, after: between(book.kept_at, now) },
        };
        book.was_live = true;
        actions.push(SnapshotAction::Told(told));
    }

    fn turned_stale(&mut self, book: &mut Kept, reason: StaleReason, now: MonoNs, actions: &mut Vec<SnapshotAction>) {
        book.stale = Some((now, reason));
        actions.push(SnapshotAction::Told(SnapshotReport::Stale { symbol: book.plan.symbol, reason }));
        let was_stable = now >= after(book.live_since, self.settings.stable_after);
        if was_stable {
            (book.failures, book.depth_min) = (0, 0);
        }
        book.ready_at = now;
        if reason == StaleReason::RangeExhausted {
            // What was known was too little: the next step is what helps.
            book.depth_min = (book.known + 1).min(book.last_depth());
        } else if !was_stable && reason != StaleReason::Disconnected {
            // One that does not last is not repaired as fast as it breaks.
            book.ready_at = after(now, self.fail(book));
        }
    }

    /// A try has ended. One that was given up, or of a book that is forgotten, changes nothing.
    pub fn ended(
        &mut self,
        symbol: Symbol,
        fetch: Fetch,
        end: FetchEnd,
        now: MonoNs,
        actions: &mut Vec<SnapshotAction>,
    ) {
        let Some(mut book) = self.books.remove(&symbol.index()) else { return };
        match book.phase {
            Phase::Fetching { fetch: known, depth, .. } if known == fetch => {
                self.leave(&mut book);
                self.take_end(&mut book, depth, end, now, actions);
            }
            _ => {}
        }
        self.books.insert(symbol.index(), book);
    }

    fn take_end(
        &mut self,
        book: &mut Kept,
        depth: usize,
        end: FetchEnd,
        now: MonoNs,
        actions: &mut Vec<SnapshotAction>,
    ) {
        let counts = &mut self.groups.entry(book.plan.budget).or_default().counts;
        match end {
            FetchEnd::Joined { .. } => counts.joined += 1,
            FetchEnd::Late | FetchEnd::NotJoined(_) | FetchEnd::Failed => counts.failed += 1,
            FetchEnd::NoHold | FetchEnd::NoBook => {}
        }
        match end {
            FetchEnd::Joined { levels } => {
                self.release(book);
                if !book.state.is_live() {
                    self.turned_live(book, now, actions);
                }
                // A venue may give more than was asked for.
                let known = book.plan.depths.iter().rposition(|depth| depth.levels <= levels);
                book.known = known.map_or(depth, |known| known.max(depth));
                book.ready_at = now;
            }
            FetchEnd::NotJoined(reason) => {
                if reason == StaleReason::RangeExhausted {
                    book.depth_min = (depth + 1).min(book.last_depth());
                }
                let wait = self.failed(book, now, actions);
                if wait > self.settings.kept_for {
                    self.end_hold(book, actions);
                }
            }
            FetchEnd::Late => {
                self.release(book);
                self.failed(book, now, actions);
            }
            FetchEnd::Failed => {
                self.failed(book, now, actions);
                self.end_hold(book, actions);
            }
            // Another room uses the core's buffers too. One will be free soon, but each try costs its weight.
            FetchEnd::NoHold | FetchEnd::NoBook => {
                self.release(book);
                book.ready_at = after(now, self.settings.backoff_base);
            }
        }
    }

    /// What is to be done now. To be called after every other call, and when [`next_timer`](Self::next_timer) says.
    pub fn poll(&mut self, governor: &mut Governor, now: MonoNs, actions: &mut Vec<SnapshotAction>) {
        self.give_up(now, actions);
        self.wake_at = None;
        let budgets: Vec<BudgetId> = self.groups.keys().copied().collect();
        for budget in budgets {
            self.plan(budget, governor);
            self.begin(budget, governor, now, actions);
            self.resubscribe(budget, now, actions);
            self.tell_all(budget, now, actions);
        }
        let timers = self.books.values().filter_map(|book| match book.phase {
            Phase::Fetching { until, .. } | Phase::Resubscribing { until } => Some(until),
            Phase::Idle => (book.ready_at > now).then_some(book.ready_at),
        });
        self.wake_at = timers.chain(self.wake_at).min();
    }

    /// When to poll again if nothing happens before.
    #[must_use]
    pub const fn next_timer(&self) -> Option<MonoNs> {
        self.wake_at
    }

    /// Ends what has taken too long.
    fn give_up(&mut self, now: MonoNs, actions: &mut Vec<SnapshotAction>) {
        let is_over = |book: &&Kept| match book.phase {
            Phase::Fetching { until, .. } | Phase::Resubscribing { until } => until <= now,
            Phase::Idle => false,
        };
        let over: Vec<usize> = self.books.values().filter(is_over).map(|book| book.plan.symbol.index()).collect();
        for at in over {
            let Some(mut book) = self.books.remove(&at) else { continue };
            if matches!(book.phase, Phase::Fetching { .. }) {
                self.groups.entry(book.plan.budget).or_default().counts.failed += 1;
            }
            self.leave(&mut book);
            self.failed(&mut book, now, actions);
            self.end_hold(&mut book, actions);
            self.books.insert(at, book);
        }
    }

    /// Begins as many snapshots as the budget, the cores' buffers and the bound on requests allow.
    fn begin(&mut self, budget: BudgetId, governor: &mut Governor, now: MonoNs, actions: &mut Vec<SnapshotAction>) {
        loop {
            let Some((at, depth, deepens)) = self.next(budget, governor, now) else {
                self.give_place_back(budget, governor, now);
                return;
            };
            let asked = self.books[&at].plan.depths[depth];
            match self.permit(budget, asked.weight, governor, now) {
                Permit::Now => self.started(at, depth, deepens, now, actions),
                Permit::At { at, ticket } => {
                    let place = Place { ticket, weight: asked.weight, at };
                    self.groups.entry(budget).or_default().place = Some(place);
                    self.wake(place.at);
                    return;
                }
                Permit::Refused(NotPermitted::TooHeavy { weight, budget: share }) => {
                    let Some(book) = self.books.get_mut(&at) else { return };
                    let told = SnapshotReport::TooHeavy {
                        symbol: book.plan.symbol,
                        levels: asked.levels,
                        weight,
                        budget: share,
                    };
                    actions.push(SnapshotAction::Told(told));
                    // As deep as we can afford is as deep as it gets.
                    book.plan.depths.truncate(depth);
                    book.depth_min = book.depth_min.min(book.last_depth());
                }
                Permit::Refused(NotPermitted::LineFull) => {
                    self.wake(after(now, self.settings.backoff_base));
                    return;
                }
            }
        }
    }

    /// The book that is most in need of a snapshot, and can have one: its place, the depth, and whether it only deepens.
    fn next(&mut self, budget: BudgetId, governor: &Governor, now: MonoNs) -> Option<(usize, usize, bool)> {
        let share = governor.rest_share(budget);
        let group = self.groups.entry(budget).or_default();
        let fetched = share.map_or(0, |(_, window)| group.fetched.used(window, now));
        if group.in_flight >= self.settings.in_flight_max {
            return None;
        }
        let per_core = self.settings.holds_per_core;
        let of_budget = self.books.iter().filter(|(_, book)| book.plan.budget == budget);
        let wanted = of_budget.filter_map(|(&at, book)| {
            let (depth, deepens) = book.wants(now)?;
            // The last buffer of a core is for a book that is not live.
            let kept_free = usize::from(deepens && per_core > 1);
            let has_room = book.is_holding || self.holds[book.plan.core] + kept_free < per_core;
            let key = (deepens, Reverse(book.activity), Reverse(book.plan.heaviness), at);
            has_room.then_some((key, depth))
        });
        let ((deepens, .., at), depth) = wanted.min_by_key(|&(key, _)| key)?;
        if deepens && let Some((share, window)) = share {
            let weight = self.books[&at].plan.depths[depth].weight;
            let percent = self.settings.deepening_percent;
            let most = share * u64::from(percent.min(100)) / 100;
            let expected =
                self.books.values().filter(|book| book.plan.budget == budget && book.is_expected(window, now));
            let (mut kept_free, mut expected_until) = (0, None);
            for book in expected {
                kept_free += book.plan.depths.first().map_or(0, |first| u64::from(first.weight));
                expected_until = expected_until.into_iter().chain([book.expected_until(window)]).min();
            }
            let mut free_at = group.deepened.free_at((share, window), percent, weight, now);
            if kept_free > 0 && fetched + kept_free + u64::from(weight) > most {
                free_at = expected_until.into_iter().chain(group.fetched.first_free_at(window)).min();
            }
            if let Some(free_at) = free_at {
                self.wake(free_at);
                return None;
            }
        }
        Some((at, depth, deepens))
    }

    /// The place that we have in the line, if it is for the same weight, or a new one.
    fn permit(&mut self, budget: BudgetId, weight: u32, governor: &mut Governor, now: MonoNs) -> Permit {
        let place = self.groups.entry(budget).or_default().place.take();
        match place {
            Some(place) if place.weight == weight => {
                governor.redeem(place.ticket, now).unwrap_or_else(|| governor.rest(budget, weight, now))
            }
            Some(place) => {
                governor.cancel(place.ticket, now);
                governor.rest(budget, weight, now)
            }
            None => governor.rest(budget, weight, now),
        }
    }

    fn give_place_back(&mut self, budget: BudgetId, governor: &mut Governor, now: MonoNs) {
        if let Some(place) = self.groups.entry(budget).or_default().place.take() {
            governor.cancel(place.ticket, now);
        }
    }

    fn started(&mut self, at: usize, depth: usize, deepens: bool, now: MonoNs, actions: &mut Vec<SnapshotAction>) {
        let Some(book) = self.books.get_mut(&at) else { return };
        let fetch = Fetch(self.next_fetch);
        self.next_fetch += 1;
        book.phase = Phase::Fetching { fetch, depth, until: after(now, self.settings.fetch_within) };
        if !std::mem::replace(&mut book.is_holding, true) {
            self.holds[book.plan.core] += 1;
        }
        let SnapshotDepth { levels, weight } = book.plan.depths[depth];
        let group = self.groups.entry(book.plan.budget).or_default();
        group.in_flight += 1;
        group.counts.begun += 1;
        group.counts.weight += u64::from(weight);
        group.fetched.spend(weight, now);
        if deepens {
            group.deepened.spend(weight, now);
        }
        actions.push(SnapshotAction::Begin { fetch, symbol: book.plan.symbol, levels });
    }

    fn resubscribe(&mut self, budget: BudgetId, now: MonoNs, actions: &mut Vec<SnapshotAction>) {
        let group = self.groups.entry(budget).or_default();
        let room = self.settings.resubscribes_max.saturating_sub(group.resubscribing);
        let of_budget = self.books.iter().filter(|(_, book)| book.plan.budget == budget);
        let mut wanted: Vec<_> = of_budget
            .filter(|(_, book)| book.wants_resubscribe(now))
            .map(|(&at, book)| (Reverse(book.activity), Reverse(book.plan.heaviness), at))
            .collect();
        wanted.sort_unstable();
        for (.., at) in wanted.into_iter().take(room) {
            let Some(book) = self.books.get_mut(&at) else { continue };
            book.phase = Phase::Resubscribing { until: after(now, self.settings.resubscribe_within) };
            group.resubscribing += 1;
            group.counts.resubscribed += 1;
            actions.push(SnapshotAction::Resubscribe { symbol: book.plan.symbol });
        }
    }

    /// Reckons once what the books of a budget will take.
    fn plan(&mut self, budget: BudgetId, governor: &Governor) {
        if self.groups.get(&budget).is_some_and(|group| group.planned.is_none()) {
            let estimate = self.estimate(budget, governor);
            self.groups.entry(budget).or_default().planned = Some(estimate);
        }
    }

    /// What it takes to make every book of a budget live and deep that is not yet, where nobody else uses the budget.
    #[must_use]
    pub fn estimate(&self, budget: BudgetId, governor: &Governor) -> Estimate {
        let books = || self.books.values().filter(|book| book.plan.budget == budget);
        let fetched = || books().filter(|book| !book.plan.depths.is_empty());
        let dead = fetched().filter(|book| !book.state.is_live());
        let first: Vec<u64> = dead.map(|book| u64::from(book.plan.depths[0].weight)).collect();
        let left = fetched().filter(|book| !book.is_deep()).flat_map(|book| {
            let known = if book.state.is_live() { book.known } else { 0 };
            &book.plan.depths[known + 1..]
        });
        let deeper: Vec<u64> = left.map(|depth| u64::from(depth.weight)).collect();
        let share = governor.rest_share(budget);
        let percent = u64::from(self.settings.deepening_percent.min(100));
        let deep_share = share.map(|(share, window)| (share * percent / 100, window));
        let trips = |count: usize| {
            let rounds = count.div_ceil(self.settings.in_flight_max.max(1));
            self.settings.round_trip * u32::try_from(rounds).unwrap_or(u32::MAX)
        };
        let live_in = windows(&first, share) + trips(first.len());
        let deep_in = live_in + windows(&deeper, deep_share) + trips(deeper.len());
        let (weight, deep_weight) = (first.iter().sum(), deeper.iter().sum());
        let budget = share.map(|(share, _)| share);
        let books = fetched().filter(|book| !book.is_deep()).count();
        Estimate { books, weight, budget, live_in, deep_weight, deep_in }
    }

    /// What was reckoned for a budget, once its books have been polled.
    #[must_use]
    pub fn planned(&self, budget: BudgetId) -> Option<Estimate> {
        self.groups.get(&budget).and_then(|group| group.planned)
    }

    fn tell_all(&mut self, budget: BudgetId, now: MonoNs, actions: &mut Vec<SnapshotAction>) {
        let Some(group) = self.groups.get_mut(&budget) else { return };
        let Some(planned) = group.planned.filter(|_| group.deep_took.is_none()) else { return };
        let (mut books, mut is_live, mut is_deep) = (0, true, true);
        for book in self.books.values().filter(|book| book.plan.budget == budget) {
            books += 1;
            is_live &= book.state.is_live();
            is_deep &= book.is_deep();
        }
        let took = between(group.since, now);
        if is_live && books > 0 && group.took.is_none() {
            group.took = Some(took);
            let all = SnapshotReport::AllLive { budget, books, took, planned: planned.live_in };
            actions.push(SnapshotAction::Told(all));
        }
        if is_deep && books > 0 {
            group.deep_took = Some(took);
            if planned.deep_weight > 0 {
                let all = SnapshotReport::AllDeep { budget, books, took, planned: planned.deep_in };
                actions.push(SnapshotAction::Told(all));
            }
        }
    }

    /// The books of a budget, as they stand.
    #[must_use]
    pub fn status(&self, budget: BudgetId, now: MonoNs) -> SnapshotStatus {
        let Some(group) = self.groups.get(&budget) else { return SnapshotStatus::default() };
        let books = || self.books.values().filter(|book| book.plan.budget == budget);
        let waits = |book: &&Kept| book.phase == Phase::Idle && book.failures > 0 && book.ready_at > now;
        let planned = group.planned.filter(|planned| planned.books > 0);
        SnapshotStatus {
            books: books().count(),
            live: books().filter(|book| book.state.is_live()).count(),
            deep: books().filter(|book| book.is_deep()).count(),
            in_flight: group.in_flight,
            resubscribing: group.resubscribing,
            backing_off: books().filter(waits).count(),
            planned_ms: planned.map(|planned| millis(planned.live_in)),
            took_ms: group.took.map(millis),
            deep_planned_ms: planned.filter(|planned| planned.deep_weight > 0).map(|planned| millis(planned.deep_in)),
            deep_took_ms: group
                .deep_took
                .filter(|_| planned.is_some_and(|planned| planned.deep_weight > 0))
                .map(millis),
            ..group.counts
        }
    }

    /// How deep a live book is known, in levels a side as they were asked for; `None`: not live, or as deep as its stream.
    #[must_use]
    pub fn known_levels(&self, symbol: Symbol) -> Option<u16> {
        let book = self.books.get(&symbol.index()).filter(|book| book.state.is_live())?;
        book.plan.depths.get(book.known).map(|depth| depth.levels)
    }

    /// A try came to nothing: counts it, and gives the wait before the next.
    fn fail(&self, book: &mut Kept) -> Duration {
        let wait = self.settings.backoff(book.failures);
        book.failures += 1;
        wait
    }

    fn failed(&self, book: &mut Kept, now: MonoNs, actions: &mut Vec<SnapshotAction>) -> Duration {
        let wait = self.fail(book);
        book.ready_at = after(now, wait);
        let told = SnapshotReport::Failed { symbol: book.plan.symbol, failures: book.failures, wait };
        actions.push(SnapshotAction::Told(told));
        wait
    }

    /// Its try is no longer under way.
    fn leave(&mut self, book: &mut Kept) {
        let group = self.groups.entry(book.plan.budget).or_default();
        match std::mem::replace(&mut book.phase, Phase::Idle) {
            Phase::Idle => {}
            Phase::Fetching { .. } => group.in_flight -= 1,
            Phase::Resubscribing { .. } => group.resubscribing -= 1,
        }
    }

    /// Its core has its buffer back.
    fn release(&mut self, book: &mut Kept) {
        if std::mem::replace(&mut book.is_holding, false) {
            self.holds[book.plan.core] -= 1;
        }
    }

    /// Its core is to take its buffer back.
    fn end_hold(&mut self, book: &mut Kept, actions: &mut Vec<SnapshotAction>) {
        if book.is_holding {
            self.release(book);
            actions.push(SnapshotAction::End { symbol: book.plan.symbol });
        }
    }

    fn wake(&mut self, at: MonoNs) {
        self.wake_at = self.wake_at.into_iter().chain([at]).min();
    }
}

/// How long requests of these weights wait for their windows: what one holds is granted at once, the rest when it has passed.
fn windows(weights: &[u64], share: Option<(u64, Duration)>) -> Duration {
    let Some((share, window)) = share else { return Duration::ZERO };
    let (mut passed, mut used) = (0, 0);
    for &weight in weights {
        if used > 0 && used + weight > share {
            (passed, used) = (passed + 1, 0);
        }
        used += weight;
    }
    window * passed
}

fn between(from: MonoNs, to: MonoNs) -> Duration {
    Duration::from_nanos(to.since_ns(from))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
