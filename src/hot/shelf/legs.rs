//! One book of each leg, where the changes of a leg are net of that leg's own last message; the furthest is published.
//!
//! ```text
//! leg A ─► its own book ──► published: what every reader of the shelf sees ─► on_book, board, copies
//! leg B ─► its own book ─┐       ▲
//! leg C ─► its own book ─┴ beside┘ exchanged, box for box, by the message that makes it the furthest
//! ```
//! - *Furthest*: live before not live, then the higher [`reach`](crate::book::SequenceRule::reach) (Bybit's `seq`). A book beside is exchanged for
//!   the published one by a message that brings it further; one that lags is kept up to date and told of to nobody.
//! - *Nothing goes back while live.* Where the published book is cut off or opens a gap and no live one is as far yet, it stays
//!   published as it stands, live: what it holds is the venue's at its ids. A leg that comes as far goes on with it. Where none
//!   does within a second, it is told stale, by the core's housekeeping; where the book's levels themselves were replaced by
//!   older ones, at once.
//! - *Behind a stale book a leg is believed while it speaks*: a book whose topic has been silent for a second is none to begin
//!   with again.
//! - *A book is a connection's* by the slot that feeds it: a leg that comes takes one that nobody feeds any more. Where each is
//!   fed (its streams have moved to other sockets, say) a snapshot takes the one beside that was fed longest ago.
//!
//! Made on the cold side, and goes back there: nothing here allocates or frees.

use super::{NO_SLOT, Shelf, Taken};
use crate::book::{Changes, Outcome, Repair, Slot, Step};
use crate::limits::{LEG_BOOK_WAIT_NS, LEG_PLACES, SNAPSHOT_BOOK_LEVEL_COUNT_MAX};
use crate::market::{BookKind, BookState, BookUpdate, Level, MonoNs, Side, StaleReason, Symbol, touch};
use crate::venue::VenueSequence;

/// Books of one symbol that are kept beside the published one: one for each further leg.
#[derive(Debug)]
pub struct LegBooks {
    symbol: Symbol,
    others: [Option<Beside>; LEG_PLACES - 1],
    /// The place of the leg whose book is published.
    leg: u8,
    /// When it took its last message.
    fed_at: MonoNs,
    claim: Claim,
}

#[derive(Debug)]
struct Beside {
    book: Box<Slot<VenueSequence>>,
    feeder: u16,
    leg: u8,
    fed_at: MonoNs,
}

/// What is said of the published book.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Claim {
    /// What it says itself.
    Own,
    /// It is live, where it stands, though nothing joins it since this time: no live one is as far.
    Held(MonoNs),
    /// It is stale, though it says that it is live: it lies behind what was published. The next message settles it.
    Back,
}

/// Which book is a connection's.
enum Whose {
    Published,
    Beside(usize),
    Nobodys,
}

/// How the published book was before something happened.
#[derive(Clone, Copy, Debug)]
struct Before {
    state: BookState,
    reach: u64,
}

impl LegBooks {
    /// So many more books of this symbol: at most as many as there are places beside the first.
    #[must_use]
    pub fn new(symbol: Symbol, count: usize, make: impl Fn() -> Slot<VenueSequence>) -> Self {
        let beside =
            |at| (at < count).then(|| Beside { book: Box::new(make()), feeder: NO_SLOT, leg: 0, fed_at: MonoNs(0) });
        Self { symbol, others: std::array::from_fn(beside), leg: 0, fed_at: MonoNs(0), claim: Claim::Own }
    }

    /// Whose books they are.
    #[must_use]
    pub const fn symbol(&self) -> Symbol {
        self.symbol
    }

    fn books(&self) -> impl Iterator<Item = &Beside> {
        self.others.iter().flatten()
    }

    fn books_mut(&mut self) -> impl Iterator<Item = &mut Beside> {
        self.others.iter_mut().flatten()
    }

    pub(super) fn is_fed_by(&self, slot: u16) -> bool {
        self.books().any(|beside| beside.feeder == slot)
    }

    /// Takes these books too, as many as there is room for.
    fn take_in(&mut self, more: &mut Self) {
        let mut more = more.others.iter_mut().filter(|beside| beside.is_some());
        for place in self.others.iter_mut().filter(|place| place.is_none()) {
            *place = more.next().and_then(Option::take);
        }
    }

    /// Where the furthest of the live ones stands, of those that are eligible.
    fn furthest(&self, is_eligible: impl Fn(&Beside) -> bool) -> Option<usize> {
        let all = self.others.iter().enumerate().filter_map(|(at, beside)| Some((at, beside.as_ref()?)));
        let live = all.filter(|(_, beside)| beside.book.state().is_live() && is_eligible(beside));
        live.max_by_key(|(_, beside)| beside.book.reach()).map(|(at, _)| at)
    }

    /// What is published of this book's state.
    pub(super) fn published(&self, state: BookState) -> BookState {
        match self.claim {
            Claim::Own => state,
            Claim::Held(_) => BookState::Live,
            Claim::Back => BookState::Stale(StaleReason::WentBack),
        }
    }

    /// The book that the connection in this slot feeds; one that nobody feeds is its from now on, or at a snapshot the one beside
    /// that was fed longest ago.
    fn whose(&mut self, feeder: &mut u16, (slot, leg): (u16, u8), update: &BookUpdate<'_>) -> Whose {
        let now = update.meta.received.mono;
        let find = |others: &[Option<Beside>], feeder| {
            others.iter().position(|beside| beside.as_ref().is_some_and(|beside| beside.feeder == feeder))
        };
        // What is held is read until another is as far.
        let is_held = matches!(self.claim, Claim::Held(_));
        let at = match find(&self.others, slot) {
            _ if *feeder == slot => None,
            Some(own) => Some(own),
            None if *feeder == NO_SLOT && !is_held => None,
            None => {
                let free = find(&self.others, NO_SLOT);
                if free.is_none() && *feeder == NO_SLOT {
                    None
                } else {
                    let stolen = || if update.kind == BookKind::Delta { None } else { self.fed_longest_ago() };
                    match free.or_else(stolen) {
                        Some(at) => Some(at),
                        None => return Whose::Nobodys,
                    }
                }
            }
        };
        match at.and_then(|at| Some((at, self.others[at].as_mut()?))) {
            Some((at, beside)) => {
                (beside.feeder, beside.leg, beside.fed_at) = (slot, leg, now);
                Whose::Beside(at)
            }
            None => {
                (*feeder, self.leg, self.fed_at) = (slot, leg, now);
                Whose::Published
            }
        }
    }

    fn fed_longest_ago(&self) -> Option<usize> {
        let fed = self.others.iter().enumerate().filter_map(|(at, beside)| Some((beside.as_ref()?.fed_at, at)));
        fed.min().map(|(_, at)| at)
    }
}

impl Shelf {
    /// Keeps these books beside the published one from now on. What there is no book or no room for comes back.
    pub(in super::super) fn add_legs(&mut self, mut more: Box<LegBooks>) -> Option<Box<LegBooks>> {
        let symbol = more.symbol;
        let published = self.books.slot(symbol).map(Slot::stream_kind);
        if more.books().any(|beside| Some(beside.book.stream_kind()) != published) {
            return Some(more);
        }
        match &mut self.legs[symbol.index()] {
            Some(legs) => {
                legs.take_in(&mut more);
                Some(more)
            }
            none => {
                *none = Some(more);
                None
            }
        }
    }

    /// Gives back the books beside.
    pub(in super::super) fn remove_legs(&mut self, symbol: Symbol) -> Option<Box<LegBooks>> {
        self.legs[symbol.index()].take()
    }

    /// True if each leg has a book of its own of this message's stream.
    #[inline]
    pub(in super::super) fn has_legs(&self, update: &BookUpdate<'_>) -> bool {
        self.legs[update.meta.symbol.index()].is_some() && self.keeps(update)
    }

    /// True if each leg has a book of its own of this symbol.
    pub(in super::super) fn is_of_legs(&self, symbol: Symbol) -> bool {
        self.legs[symbol.index()].is_some()
    }

    /// The leg's own book takes its message.
    #[inline(never)]
    pub(super) fn update_of_leg(&mut self, from: (u16, u8), update: &BookUpdate<'_>) -> Option<Taken> {
        let symbol = update.meta.symbol;
        let mut legs = self.legs[symbol.index()].take()?;
        let taken = self.take_of_leg(&mut legs, from, update);
        self.legs[symbol.index()] = Some(legs);
        let (taken, is_other) = taken?;
        self.board.message(self.books.slot(symbol)?);
        if is_other {
            self.note(symbol, update.meta.received.mono);
        }
        Some(taken)
    }

    /// What becomes of a message, and whether a state or need may be another.
    fn take_of_leg(&mut self, legs: &mut LegBooks, from: (u16, u8), update: &BookUpdate<'_>) -> Option<(Taken, bool)> {
        let symbol = update.meta.symbol;
        let now = update.meta.received.mono;
        let before = self.before(legs)?;
        let is_known = self.feeders[symbol.index()] == from.0 || legs.is_fed_by(from.0);
        let (outcome, own, news) = match legs.whose(&mut self.feeders[symbol.index()], from, update) {
            Whose::Published => {
                let outcome = self.books.update(update, None)?;
                let slot = self.books.slot(symbol)?;
                let (own, reach) = (slot.state(), slot.reach());
                let goes_on = own.is_live() && before.state.is_live() && reach >= before.reach;
                let news = if goes_on {
                    legs.claim = Claim::Own;
                    outcome.is_news().then_some(outcome.step)
                } else {
                    let changes = changes_of(outcome.step);
                    self.elect(legs, (before, changes), now, true)
                };
                (outcome, own, news)
            }
            Whose::Beside(at) => {
                let beside = legs.others[at].as_mut()?;
                let reach_before = beside.book.reach();
                let was_live = beside.book.state().is_live();
                let outcome = self.books.update_beside(&mut beside.book, update);
                let own = beside.book.state();
                let was_level = was_live && reach_before == before.reach;
                (outcome, own, self.after_beside(legs, at, (before, was_level), outcome, now))
            }
            Whose::Nobodys => {
                self.counts.without_book += 1;
                return Some((Taken { own: BookState::Waiting, news: None }, false));
            }
        };
        let state = legs.published(self.books.slot(symbol)?.state());
        // A book that somebody feeds again may have been in need before.
        let is_other = !is_known || outcome.has_turned || outcome.repair.is_some() || state != before.state;
        Some((Taken { own, news }, is_other))
    }

    /// A book beside has taken a message. `was_level`: it stood where the published one does.
    fn after_beside(
        &mut self,
        legs: &mut LegBooks,
        at: usize,
        (before, was_level): (Before, bool),
        outcome: Outcome,
        now: MonoNs,
    ) -> Option<Step> {
        let book = &legs.others[at].as_ref()?.book;
        let changes = changes_of(outcome.step);
        if !book.state().is_live() || !before.state.is_live() {
            return self.elect(legs, (before, None), now, true);
        }
        if book.reach() > before.reach {
            let changes = match changes.filter(|_| was_level) {
                Some(changes) => changes,
                None => book.view().book.differences(self.books.slot(legs.symbol)?.view().book),
            };
            self.publish_other(legs, at);
            let is_rebuilt = matches!(outcome.step, Step::Rebuilt(_));
            return Some(if is_rebuilt { Step::Rebuilt(changes) } else { Step::Applied(changes) });
        }
        self.counts.beside += u64::from(changes.is_some());
        match legs.claim {
            Claim::Held(_) => self.elect(legs, (before, None), now, true),
            Claim::Own | Claim::Back => None,
        }
    }

    /// Finds the book to be published where the one that is does not simply go on, and what is to be told of it. `changes`: what
    /// the message did to the published one. `may_wait`: a book that no other is as far as may be held; housekeeping, which runs
    /// behind the reads, says when it has been for long enough.
    #[cold]
    fn elect(
        &mut self,
        legs: &mut LegBooks,
        (before, changes): (Before, Option<Changes>),
        now: MonoNs,
        may_wait: bool,
    ) -> Option<Step> {
        let published = self.books.slot(legs.symbol)?;
        let (own, reach) = (published.state(), published.reach());
        // What a leg that says nothing any more holds was live once, and may be of any age: behind a book that is stale it is
        // believed while the leg speaks.
        let speaks = |beside: &Beside| before.state.is_live() || now.since_ns(beside.fed_at) <= LEG_BOOK_WAIT_NS;
        let furthest = legs.furthest(speaks);
        let beside = furthest.and_then(|at| Some((at, &legs.others[at].as_ref()?.book)));
        if !before.state.is_live() {
            let further = beside.filter(|(_, book)| !own.is_live() || book.reach() > reach);
            // What the published one holds need not be what was told last.
            let in_doubt = if legs.claim == Claim::Back { IN_DOUBT } else { Changes::NONE };
            legs.claim = Claim::Own;
            if let Some((at, book)) = further {
                let changes = book.view().book.differences(published.view().book) | in_doubt;
                self.publish_other(legs, at);
                return Some(Step::Rebuilt(changes));
            }
            return match own {
                BookState::Live => Some(Step::Rebuilt(changes.unwrap_or(IN_DOUBT) | in_doubt)),
                BookState::Stale(reason) => (own != before.state).then_some(Step::Stale(reason)),
                BookState::Waiting => None,
            };
        }
        if own.is_live() && reach >= before.reach {
            legs.claim = Claim::Own;
            return None;
        }
        if let Some((at, book)) = beside.filter(|(_, book)| book.reach() >= before.reach) {
            // As far as what was published it holds the same. Further on it was published before: where that were not so, what
            // is different is not known.
            let is_further = book.reach() > before.reach;
            self.publish_other(legs, at);
            return is_further.then_some(Step::Rebuilt(IN_DOUBT));
        }
        let BookState::Stale(reason) = own else {
            legs.claim = Claim::Back;
            self.may_be_held = true;
            return Some(Step::Stale(StaleReason::WentBack));
        };
        let since = if let Claim::Held(since) = legs.claim { since } else { now };
        if beside.is_some() && reason.leaves_levels_true() && may_wait {
            legs.claim = Claim::Held(since);
            self.may_be_held = true;
            return None;
        }
        legs.claim = Claim::Own;
        Some(Step::Stale(reason))
    }

    /// The next symbol, from this one on, whose book waits for a leg that is as far, where that is due, and what is told of it.
    #[cold]
    pub(in super::super) fn next_overdue(&mut self, from: usize, now: MonoNs) -> Option<(Symbol, Option<Step>)> {
        let is_due = |claim| match claim {
            Claim::Own => false,
            Claim::Held(since) => now.since_ns(since) > LEG_BOOK_WAIT_NS,
            Claim::Back => true,
        };
        if from == 0 {
            self.may_be_held = self.legs.iter().flatten().any(|legs| legs.claim != Claim::Own);
        }
        let is_due = |legs: &Option<Box<LegBooks>>| legs.as_ref().is_some_and(|legs| is_due(legs.claim));
        let at = from + self.legs.get(from..)?.iter().position(is_due)?;
        let mut legs = self.legs[at].take()?;
        let symbol = legs.symbol;
        let news = self.before(&legs).and_then(|before| self.elect(&mut legs, (before, None), now, false));
        self.legs[at] = Some(legs);
        self.note(symbol, now);
        Some((symbol, news))
    }

    /// True where some book may wait for a leg that is as far.
    pub(in super::super) const fn may_be_held(&self) -> bool {
        self.may_be_held
    }

    /// Exchanges the published book for one beside.
    fn publish_other(&mut self, legs: &mut LegBooks, at: usize) {
        let Some(beside) = &mut legs.others[at] else { return };
        self.books.exchange(&mut beside.book);
        std::mem::swap(&mut self.feeders[legs.symbol.index()], &mut beside.feeder);
        std::mem::swap(&mut legs.leg, &mut beside.leg);
        std::mem::swap(&mut legs.fed_at, &mut beside.fed_at);
        legs.claim = Claim::Own;
        self.counts.takeovers += 1;
    }

    fn before(&self, legs: &LegBooks) -> Option<Before> {
        let slot = self.books.slot(legs.symbol)?;
        Some(Before { state: legs.published(slot.state()), reach: slot.reach() })
    }

    /// The connection in this slot is gone: the leg's book is cut off. What is told of the published one; `None` too where each
    /// leg has no book of its own.
    pub(in super::super) fn cut_off_leg(&mut self, symbol: Symbol, slot: u16, now: MonoNs) -> Option<Step> {
        let mut legs = self.legs[symbol.index()].take()?;
        let news = self.cut_off(&mut legs, slot, now);
        self.legs[symbol.index()] = Some(legs);
        self.note(symbol, now);
        news
    }

    fn cut_off(&mut self, legs: &mut LegBooks, slot: u16, now: MonoNs) -> Option<Step> {
        let before = self.before(legs)?;
        let feeder = &mut self.feeders[legs.symbol.index()];
        if *feeder == slot {
            *feeder = NO_SLOT;
            self.books.quarantine(legs.symbol, StaleReason::Disconnected)?;
            return self.elect(legs, (before, None), now, true);
        }
        let beside = legs.books_mut().find(|beside| beside.feeder == slot)?;
        beside.feeder = NO_SLOT;
        let _ = self.books.quarantine_beside(&mut beside.book, StaleReason::Disconnected);
        match legs.claim {
            Claim::Held(_) | Claim::Back => self.elect(legs, (before, None), now, true),
            Claim::Own => None,
        }
    }

    /// Marks the books beside stale, and lets the published one speak for itself.
    pub(super) fn tell_legs(&mut self, symbol: Symbol, tell: impl Fn(&mut Slot<VenueSequence>) -> Outcome) {
        let Some(legs) = &mut self.legs[symbol.index()] else { return };
        legs.claim = Claim::Own;
        for beside in legs.books_mut() {
            let _ = tell(&mut beside.book);
        }
    }

    /// Places of the legs whose own book is to be subscribed again, one bit each; none where legs have no books of their own. Of a
    /// book that nobody feeds there is nothing to subscribe.
    pub(super) fn legs_in_need(&self, symbol: Symbol) -> u8 {
        let Some(legs) = &self.legs[symbol.index()] else { return 0 };
        let bit = |feeder: u16, leg: u8, book: &Slot<VenueSequence>| {
            u8::from(feeder != NO_SLOT && book.needs() == Some(Repair::Resubscribe)) << leg
        };
        let published = self.books.slot(symbol).map_or(0, |book| bit(self.feeders[symbol.index()], legs.leg, book));
        legs.books().fold(published, |bits, beside| bits | bit(beside.feeder, beside.leg, &beside.book))
    }

    /// The live book that the connection in this slot feeds, as the snapshot that its stream could have begun with here. `like`:
    /// its last message.
    #[cold]
    pub(in super::super) fn whole<'a>(&'a mut self, slot: u16, like: &BookUpdate<'_>) -> Option<BookUpdate<'a>> {
        let symbol = like.meta.symbol;
        let beside = self.legs[symbol.index()].as_ref()?.books().find(|beside| beside.feeder == slot);
        let book = match beside {
            Some(beside) => &*beside.book,
            None => self.books.slot(symbol).filter(|_| self.feeders[symbol.index()] == slot)?,
        };
        if !book.state().is_live() || !book.keeps_all() {
            return None;
        }
        let ids = book.view().ids?;
        let [bids, asks] = &mut self.whole;
        for (side, levels) in [(Side::Buy, &mut *bids), (Side::Sell, &mut *asks)] {
            levels.clear();
            levels.extend(book.view().book.held(side).take(SNAPSHOT_BOOK_LEVEL_COUNT_MAX));
        }
        let BookUpdate { meta, depth, .. } = *like;
        Some(BookUpdate { meta, kind: BookKind::Snapshot, ids, depth, state: Some(BookState::Live), bids, asks })
    }
}

/// Where it cannot be told what is different from what was told last.
const IN_DOUBT: Changes =
    Changes::ANY.and(Changes::TOP_BIDS).and(Changes::TOP_ASKS).and(Changes::BEST_BID).and(Changes::BEST_ASK);

/// What a message did to its book.
const fn changes_of(step: Step) -> Option<Changes> {
    match step {
        Step::Applied(changes) | Step::Rebuilt(changes) => Some(changes),
        Step::Skipped | Step::Held { .. } | Step::Ignored | Step::Stale(_) | Step::Late => None,
    }
}

/// Room for the levels of a whole book of the deepest stream that begins with a snapshot.
pub(super) fn whole_room() -> [Vec<Level>; 2] {
    std::array::from_fn(|_| touch::vec(SNAPSHOT_BOOK_LEVEL_COUNT_MAX))
}

#[cfg(test)]
#[path = "legs_tests.rs"]
mod tests;
