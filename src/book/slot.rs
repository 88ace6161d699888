//! One symbol's book: its rule, its state, and every edge between the states.
//!
//! ```text
//!            a snapshot, or a message that is one
//! Waiting ────────────────────────────────────────► Live ──┐ a message that follows
//!    │                                              ▲   │◄─┘
//!    │ what changes a book that never came          │   │ gap, checksum, crossed, tick, cut connection, ...
//!    └───────────► Stale(reason) ───────────────────┘◄──┘
//!                    frozen where it stood; changes are kept where a snapshot is under way
//! ```
//! A stale book is frozen, not emptied: what it holds was true at its ids. Nothing is served of it without the word `Stale`.

use super::hold::{Held, Hold};
use super::levels::{Book, Changes};
use super::sequence::{Repair, SequenceRule, Verdict};
use crate::limits::{BOOK_LEVEL_COUNT_MAX, BOOK_SKIPPED_COUNT_MAX, BOOK_TOP_LEVELS_DEFAULT};
use crate::market::{BookState, BookUpdate, SequenceIds, StaleReason, StreamKind, Symbol};

/// How a book is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BookSettings {
    /// Levels kept a side.
    pub depth_kept: usize,
    /// How many of the best levels of a side count as its top.
    pub top_levels: usize,
    /// Messages in a row after which the best bid may be at or above the best ask before the book counts as wrong. 0: none.
    pub crossed_updates_max: u32,
}

impl BookSettings {
    /// All that a channel of this depth sends; for one without a bound, as many levels as a book may have.
    #[must_use]
    pub fn for_depth(depth: u16) -> Self {
        let depth_kept = if depth == 0 { BOOK_LEVEL_COUNT_MAX } else { usize::from(depth) };
        Self { depth_kept, top_levels: BOOK_TOP_LEVELS_DEFAULT, crossed_updates_max: 0 }
    }
}

/// What became of a message or a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The book is live and this is in it; what changed.
    Applied(Changes),
    /// The book was replaced and is live, whatever it was before; what is different now.
    Rebuilt(Changes),
    /// The book has all of it already, or what is further.
    Skipped,
    /// Kept until the snapshot comes. `restarted`: what was kept before was forgotten, for this reason.
    Held {
        /// [`StaleReason::Gap`], [`StaleReason::WentBack`] or [`StaleReason::HoldOverflow`].
        restarted: Option<StaleReason>,
    },
    /// The book is not live and no snapshot is under way: the message is of no use.
    Ignored,
    /// The book has just turned stale, or a snapshot did not make it live; this message is not in it.
    Stale(StaleReason),
    /// A snapshot that is of no use: of an earlier fetch, or older than a live book.
    Late,
}

/// What became of a message or a snapshot, and what must be done now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// What became of it.
    pub step: Step,
    /// The book's state is another than before.
    pub has_turned: bool,
    /// What the cold side is asked for. Said once; [`Slot::needs`] says it until it is done.
    pub repair: Option<Repair>,
}

impl Outcome {
    #[inline]
    const fn of(step: Step) -> Self {
        Self { step, has_turned: false, repair: None }
    }

    /// True if whoever brought the message brings what the book is made of, not only what another has brought before.
    #[inline]
    #[must_use]
    pub const fn feeds(&self) -> bool {
        !matches!(self.step, Step::Skipped)
    }

    /// True if a strategy is told: the book has changed, or its state has.
    #[inline]
    #[must_use]
    pub const fn is_news(&self) -> bool {
        matches!(self.step, Step::Applied(_) | Step::Rebuilt(_)) || self.has_turned
    }
}

/// Which fetch of a snapshot an answer belongs to: a later one, or a change of the symbol's scales, makes it worthless.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ticket(u32);

/// A book and what is known about it, for one read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Whether it can be trusted.
    pub state: BookState,
    /// The ids of the message or snapshot that it stands at; none while nothing has come.
    pub ids: Option<SequenceIds>,
    /// What it holds. Of a book that is not live: what it held when it was.
    pub book: &'a Book,
}

impl<'a> View<'a> {
    /// The book, if it can be trusted.
    #[inline]
    #[must_use]
    pub fn live(&self) -> Option<&'a Book> {
        self.state.is_live().then_some(self.book)
    }
}

/// One symbol's book under its venue's rule. Made on the cold side; nothing here allocates after [`Slot::new`].
#[derive(Debug)]
pub struct Slot<R> {
    symbol: Symbol,
    stream_kind: StreamKind,
    rule: R,
    settings: BookSettings,
    book: Book,
    state: BookState,
    /// Of the last message or snapshot in the book.
    ids: Option<SequenceIds>,
    /// A message has followed the snapshot: the stream and the book have met.
    has_joined: bool,
    /// Levels a side that its channel keeps; 0 where it names every change.
    window: u16,
    crossed_in_row: u32,
    skipped_in_row: u32,
    needs: Option<Repair>,
    hold: Option<Box<Hold>>,
    ticket: Ticket,
}

impl<R: SequenceRule> Slot<R> {
    /// A book of one symbol from the channel of this depth, of which nothing has come.
    #[must_use]
    pub fn new(symbol: Symbol, depth: u16, rule: R, settings: BookSettings) -> Self {
        let depth_kept = settings.depth_kept.min(BOOK_LEVEL_COUNT_MAX);
        let book = match depth {
            0 => Book::new(depth_kept, settings.top_levels),
            window => Book::for_window(window, depth_kept, settings.top_levels),
        };
        Self {
            symbol,
            stream_kind: StreamKind::of_depth(depth),
            rule,
            settings,
            book,
            state: BookState::Waiting,
            ids: None,
            has_joined: false,
            window: depth,
            crossed_in_row: 0,
            skipped_in_row: 0,
            needs: None,
            hold: None,
            ticket: Ticket(0),
        }
    }

    /// Whose book it is.
    #[must_use]
    pub const fn symbol(&self) -> Symbol {
        self.symbol
    }

    /// Which of the symbol's streams it is made of.
    #[inline]
    #[must_use]
    pub const fn stream_kind(&self) -> StreamKind {
        self.stream_kind
    }

    /// How its messages follow each other.
    #[must_use]
    pub const fn rule(&self) -> &R {
        &self.rule
    }

    /// The latest fetch of a snapshot, over or not.
    pub(super) const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Whether it can be trusted.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> BookState {
        self.state
    }

    /// What must be done to make it live, until it is.
    #[must_use]
    pub const fn needs(&self) -> Option<Repair> {
        self.needs
    }

    /// How far it is, comparable between connections: see [`SequenceRule::reach`]. 0 while nothing has come.
    #[inline]
    #[must_use]
    pub fn reach(&self) -> u64 {
        self.ids.as_ref().map_or(0, |ids| self.rule.reach(ids))
    }

    /// True if it keeps every level that its channel does.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.window > 0 && self.settings.depth_kept >= usize::from(self.window)
    }

    /// Bytes that its book holds on the heap, used or not.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.book.heap_bytes()
    }

    /// True while changes are kept for a snapshot that is under way.
    #[must_use]
    pub const fn is_holding(&self) -> bool {
        self.hold.is_some()
    }

    /// The book, with what is known about it.
    #[inline]
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { state: self.state, ids: self.ids, book: &self.book }
    }

    /// The ids that the next message must follow.
    #[inline]
    fn position(&self) -> Option<&SequenceIds> {
        self.ids.as_ref().filter(|_| self.state.is_live())
    }

    /// Takes the next message of the stream. `checksum`: the one that came with it, if the venue sends any.
    #[inline]
    pub fn update(&mut self, update: &BookUpdate<'_>, checksum: Option<u32>) -> Outcome {
        match self.rule.judge(self.position(), update.kind, &update.ids) {
            Verdict::Apply => {
                if self.hold.is_some() {
                    self.keep(update, checksum);
                }
                let held = Held { kind: update.kind, ids: &update.ids, checksum, bids: update.bids, asks: update.asks };
                let changes = match self.follow(&held) {
                    Ok(changes) => changes,
                    Err(reason) => return self.turn_stale(reason),
                };
                self.checked(changes)
                    .map_or_else(|reason| self.turn_stale(reason), |()| Outcome::of(Step::Applied(changes)))
            }
            Verdict::Reset => self.reset(update, checksum),
            Verdict::Skip => self.skip(update, checksum),
            Verdict::Gap => {
                let reason = if self.has_joined { StaleReason::Gap } else { StaleReason::SnapshotTooOld };
                let outcome = self.turn_stale(reason);
                self.keep(update, checksum);
                outcome
            }
            Verdict::NeedSnapshot => self.without_base(update, checksum),
        }
    }

    /// Applies a message that follows, and takes its ids.
    #[inline]
    fn follow(&mut self, held: &Held<'_>) -> Result<Changes, StaleReason> {
        let changes = self.book.apply(held.bids, held.asks, self.window);
        self.ids = Some(*held.ids);
        self.has_joined = true;
        self.skipped_in_row = 0;
        match held.checksum {
            Some(checksum) if !self.rule.verify(&self.book, checksum) => Err(StaleReason::Checksum),
            Some(_) | None => Ok(changes),
        }
    }

    /// Whether a book that has just changed can still be right.
    #[inline]
    fn checked(&mut self, changes: Changes) -> Result<(), StaleReason> {
        if changes.contains(Changes::CROSSED) {
            self.crossed_in_row += 1;
            if self.crossed_in_row > self.settings.crossed_updates_max {
                return Err(StaleReason::Crossed);
            }
        } else {
            self.crossed_in_row = 0;
        }
        if self.book.is_touch_known() { Ok(()) } else { Err(StaleReason::RangeExhausted) }
    }

    /// A message that is a whole book.
    #[cold]
    fn reset(&mut self, update: &BookUpdate<'_>, checksum: Option<u32>) -> Outcome {
        let changes = self.book.replace(update.bids, update.asks, update.depth);
        self.ids = Some(update.ids);
        // It is of the stream itself: what follows has met it.
        self.has_joined = true;
        if checksum.is_some_and(|checksum| !self.rule.verify(&self.book, checksum)) {
            return self.turn_stale(StaleReason::Checksum);
        }
        self.rebuilt(changes)
    }

    /// The book has just been replaced: it is live if it can be right.
    fn rebuilt(&mut self, changes: Changes) -> Outcome {
        (self.crossed_in_row, self.skipped_in_row) = (0, 0);
        if let Err(reason) = self.checked(changes) {
            return self.turn_stale(reason);
        }
        let has_turned = !self.state.is_live();
        self.state = BookState::Live;
        self.needs = None;
        Outcome { step: Step::Rebuilt(changes), has_turned, repair: None }
    }

    #[cold]
    fn skip(&mut self, update: &BookUpdate<'_>, checksum: Option<u32>) -> Outcome {
        self.skipped_in_row += 1;
        if self.skipped_in_row <= BOOK_SKIPPED_COUNT_MAX {
            return Outcome::of(Step::Skipped);
        }
        let outcome = self.turn_stale(StaleReason::WentBack);
        self.keep(update, checksum);
        outcome
    }

    /// A change of a book that is not there.
    #[cold]
    fn without_base(&mut self, update: &BookUpdate<'_>, checksum: Option<u32>) -> Outcome {
        let is_new = self.needs.is_none();
        match self.rule.repair() {
            Repair::Resubscribe if is_new => self.turn_stale(StaleReason::NoSnapshot),
            Repair::Resubscribe => Outcome::of(Step::Ignored),
            Repair::NeedSnapshot => {
                let step = self.keep(update, checksum);
                // The stream is up: a snapshot is of use from now on.
                self.needs = Some(Repair::NeedSnapshot);
                Outcome { step, has_turned: false, repair: self.needs.filter(|_| is_new) }
            }
        }
    }

    #[cold]
    fn turn_stale(&mut self, reason: StaleReason) -> Outcome {
        let has_turned = self.state != BookState::Stale(reason);
        // What a stale book skips it goes on counting, however many snapshots fail to join meanwhile.
        if self.state.is_live() {
            (self.crossed_in_row, self.skipped_in_row) = (0, 0);
        }
        self.state = BookState::Stale(reason);
        self.needs = Some(self.rule.repair());
        Outcome { step: Step::Stale(reason), has_turned, repair: self.needs }
    }

    /// Keeps a message for the snapshot that is under way, if one is.
    #[cold]
    fn keep(&mut self, update: &BookUpdate<'_>, checksum: Option<u32>) -> Step {
        let Some(hold) = &mut self.hold else { return Step::Ignored };
        let mut restarted = match hold.last().map(|last| self.rule.judge(Some(last), update.kind, &update.ids)) {
            None | Some(Verdict::Apply) => None,
            Some(Verdict::Gap | Verdict::NeedSnapshot | Verdict::Reset) => Some(StaleReason::Gap),
            Some(Verdict::Skip) => {
                // A live book counts what it skips itself.
                self.skipped_in_row += u32::from(!self.state.is_live());
                if self.skipped_in_row <= BOOK_SKIPPED_COUNT_MAX {
                    return Step::Skipped;
                }
                Some(StaleReason::WentBack)
            }
        };
        self.skipped_in_row = 0;
        if restarted.is_some() {
            hold.restart();
        }
        if !hold.push(update, checksum) {
            restarted = Some(StaleReason::HoldOverflow);
        }
        Step::Held { restarted }
    }

    /// A snapshot is about to be asked for: from now on changes are kept in this buffer. Of a live book too, which stays live
    /// and is exchanged for the snapshot (a deeper one) when it comes.
    ///
    /// The request must be sent after this, so that the snapshot is not older than what is kept.
    pub fn begin_fetch(&mut self, mut hold: Box<Hold>) -> Ticket {
        hold.clear();
        self.hold = Some(hold);
        self.next_ticket()
    }

    /// A fetch that follows one without an answer: what is kept stays.
    pub fn repeat_fetch(&mut self) -> Ticket {
        self.next_ticket()
    }

    fn next_ticket(&mut self) -> Ticket {
        self.ticket = Ticket(self.ticket.0.wrapping_add(1));
        self.ticket
    }

    /// Gives the buffer back: no snapshot is under way any more.
    pub fn end_fetch(&mut self) -> Option<Box<Hold>> {
        self.hold.take()
    }

    /// The snapshot that was fetched. `update.depth`: how many levels a side were asked for.
    ///
    /// Where the kept changes join it, the book is live at the last of them. Where they do not, the book is as it was before: a
    /// live one needs nothing, another needs a later snapshot, for which what is kept stays.
    pub fn snapshot(&mut self, ticket: Ticket, update: &BookUpdate<'_>) -> Outcome {
        if ticket != self.ticket {
            return Outcome::of(Step::Late);
        }
        if let Err(reason) = self.joins(&update.ids) {
            // Of a book that is live nothing is needed: it stays what it is.
            return if self.state.is_live() { Outcome::of(Step::Late) } else { self.turn_stale(reason) };
        }
        let mut changes = self.book.replace(update.bids, update.asks, update.depth);
        self.ids = Some(update.ids);
        self.has_joined = false;
        // Out of its place, so that what it holds can be read while the book changes.
        let hold = self.hold.take();
        let followed = self.replay(hold.as_deref(), &mut changes);
        self.hold = hold;
        match followed {
            Ok(()) => self.rebuilt(changes),
            Err(reason) => self.turn_stale(reason),
        }
    }

    /// Whether a snapshot with these ids and all that is kept make one chain that ends no earlier than the book does.
    fn joins(&self, snapshot: &SequenceIds) -> Result<(), StaleReason> {
        let too_old = || match &self.hold {
            Some(hold) if hold.has_overflown() => StaleReason::HoldOverflow,
            Some(_) | None => StaleReason::SnapshotTooOld,
        };
        let mut last = *snapshot;
        for held in self.hold.iter().flat_map(|hold| hold.iter()) {
            match self.rule.judge(Some(&last), held.kind, held.ids) {
                Verdict::Apply => last = *held.ids,
                Verdict::Skip => {}
                Verdict::Gap | Verdict::NeedSnapshot | Verdict::Reset => return Err(too_old()),
            }
        }
        match self.position() {
            Some(position) if last.last < position.last => Err(too_old()),
            Some(_) | None => Ok(()),
        }
    }

    /// Applies what is kept and follows. What does not was found by [`Self::joins`].
    fn replay(&mut self, hold: Option<&Hold>, changes: &mut Changes) -> Result<(), StaleReason> {
        for held in hold.into_iter().flat_map(Hold::iter) {
            let last = self.ids.as_ref();
            if self.rule.judge(last, held.kind, held.ids) == Verdict::Apply {
                // What is crossed is so now or not: only the last word counts.
                *changes = changes.but(Changes::CROSSED) | self.follow(&held)?;
            }
        }
        Ok(())
    }

    /// Marks the book stale from outside: its connection is gone, another check has failed. A fetch that is under way is of
    /// no use any more.
    ///
    /// After [`StaleReason::Disconnected`] nothing is asked for until the stream is back: what it begins with then is the
    /// snapshot, or says that one is needed.
    pub fn quarantine(&mut self, reason: StaleReason) -> Outcome {
        self.next_ticket();
        if let Some(hold) = &mut self.hold {
            hold.clear();
        }
        let outcome = self.turn_stale(reason);
        if reason != StaleReason::Disconnected {
            return outcome;
        }
        self.needs = None;
        Outcome { repair: None, ..outcome }
    }

    /// The symbol's tick or lot has changed: what the book holds, what is kept and what is under way are at other scales.
    pub fn tick_changed(&mut self) -> Outcome {
        self.book.clear();
        self.ids = None;
        self.quarantine(StaleReason::TickChanged)
    }
}
