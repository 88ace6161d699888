//! One seed's world: markets, connections that lose, repeat, delay and cut, a cold side that repairs, and the books under
//! test. After every event: what is live is the truth at its id, what is not live is being repaired.
//!
//! ```text
//! Market ─► Leg ─► drop | repeat | delay ─► Books ─► Outcome ─► begin_fetch, resubscribe ─► answers late, stale, never
//!    │                                        │
//!    └──── states[(epoch, id)] ───────────────┴─► equal
//! ```

use crate::market::{CHECKSUM, Dialect, Leg, Market, Message, SLOTS, price};
use crate::random::Random;
use std::collections::BTreeMap;
use std::fmt;
use tickwire::book::{
    Book, BookSettings, BookState, Books, FetchError, Known, Outcome, Repair, SequenceRule, Slot, StaleReason, Step,
    Ticket, Verdict,
};
use tickwire::market::{BookKind, BookUpdate, Meta, MonoNs, Received, SequenceIds, Side, Symbol, Venue};
use tickwire::venue::VenueSequence;

/// Moments of a world before nothing goes wrong any more.
const MOMENTS: u64 = 400;
/// The same of a world in which no snapshot is answered: long enough for every buffer to be full.
const MOMENTS_WITHOUT_ANSWERS: u64 = 1_200;

/// Moments after the last fault within which every book must be live again: the snapshots under way, and two fetches.
const REPAIR_MOMENTS_MAX: u64 = 150;
/// The same where the numbering may have started again: so many messages must lie behind first.
const REPAIR_MOMENTS_AFTER_RESTART_MAX: u64 = 700;
/// A fetch without an answer is repeated after this.
const FETCH_TIMEOUT: u64 = 40;

/// A rule of a venue, or of the one that has nothing but checksums.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Venue(VenueSequence),
    Summed,
}

impl SequenceRule for Rule {
    fn repair(&self) -> Repair {
        match self {
            Self::Venue(rule) => rule.repair(),
            Self::Summed => Repair::Resubscribe,
        }
    }

    fn judge(&self, last: Option<&SequenceIds>, kind: BookKind, ids: &SequenceIds) -> Verdict {
        match (self, kind, last) {
            (Self::Venue(rule), ..) => rule.judge(last, kind, ids),
            (Self::Summed, BookKind::Delta, Some(_)) => Verdict::Apply,
            (Self::Summed, BookKind::Delta, None) => Verdict::NeedSnapshot,
            (Self::Summed, BookKind::Snapshot | BookKind::Partial, _) => Verdict::Reset,
        }
    }

    fn verify(&self, book: &Book, checksum: u32) -> bool {
        match self {
            Self::Venue(rule) => rule.verify(book, checksum),
            Self::Summed => CHECKSUM.of(book, 0, 0) == checksum,
        }
    }
}

/// How bad a world is, in thousandths for each message or moment.
#[derive(Clone, Copy, Debug)]
struct Weather {
    drop: u64,
    repeat: u64,
    delay: u64,
    cut: u64,
    restart: u64,
    tick: u64,
    deeper: u64,
    snapshot: u64,
    lost_answer: u64,
    refused_answer: u64,
    answer_moments_max: u64,
    answer_lag_max: usize,
}

impl Weather {
    const CALM: Self = Self {
        drop: 0,
        repeat: 0,
        delay: 0,
        cut: 0,
        restart: 0,
        tick: 0,
        deeper: 5,
        snapshot: 5,
        lost_answer: 0,
        refused_answer: 0,
        answer_moments_max: 8,
        answer_lag_max: 3,
    };

    fn of(random: &mut Random) -> Self {
        let mut sometimes = |often: u64, max: u64| if random.percent(often) { random.between(1, max) } else { 0 };
        Self {
            drop: sometimes(60, 40),
            repeat: sometimes(60, 150),
            delay: sometimes(40, 60),
            cut: sometimes(40, 10),
            restart: sometimes(15, 6),
            tick: sometimes(25, 8),
            deeper: sometimes(50, 30),
            snapshot: sometimes(50, 60),
            lost_answer: if sometimes(1, 1) == 1 { 1_000 } else { sometimes(40, 300) },
            refused_answer: sometimes(40, 300),
            answer_moments_max: 3 + sometimes(60, 60) + 10 * sometimes(5, 60),
            answer_lag_max: usize::try_from(sometimes(70, 120)).unwrap(),
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// A message of the stream, on this connection's life.
    Stream { life: u32, message: Message },
    /// An answer to a fetch, read with the tick that was in force when it was asked for.
    Answer { ticket: Ticket, tick: i64, message: Message },
    /// The venue refuses a fetch.
    Refusal { ticket: Ticket },
    /// The topic is subscribed (again).
    Subscribed { life: u32 },
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
enum What {
    Told(Outcome),
    Lost(SequenceIds),
    Cut,
    Restarted,
    Tick(i64),
}

/// Something that happened, when and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    now: u64,
    desk: usize,
    what: What,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} desk {}: ", self.now, self.desk)?;
        match self.what {
            What::Told(outcome) => write!(f, "{outcome:?}"),
            What::Lost(ids) => write!(f, "{ids:?} is lost"),
            What::Cut => f.write_str("the connection is cut"),
            What::Restarted => f.write_str("the numbering starts again"),
            What::Tick(tick) => write!(f, "the tick is {tick}"),
        }
    }
}

/// One symbol: its market, its connections, its repair.
struct Desk {
    symbol: Symbol,
    market: Market,
    legs: Vec<Leg>,
    /// Which life of the connection is on: what an earlier one still brings is not delivered.
    life: u32,
    tick: i64,
    /// Of the book: which numbering it stands in.
    book_epoch: u32,
    fetch: Option<(Ticket, u64)>,
    is_resubscribing: bool,
    depth_asked: u16,
    /// When it was live last, once nothing goes wrong any more.
    live_at: u64,
}

pub(crate) struct World {
    random: Random,
    weather: Weather,
    now: u64,
    desks: Vec<Desk>,
    books: Books<Rule>,
    queue: BTreeMap<(u64, u64), (usize, Event)>,
    queued: u64,
    has_restarted: bool,
    has_fault: bool,
    pub(crate) log: Vec<Line>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
    pub(crate) events: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let weather = if random.percent(15) { Weather::CALM } else { Weather::of(&mut random) };
        let mut books = Books::new(1 + random.index(2));
        let desks: Vec<Desk> = (0..1 + random.index(3)).map(|at| Self::desk(at, &mut random, &mut books)).collect();
        let mut world = Self {
            random,
            weather,
            now: 0,
            desks,
            books,
            queue: BTreeMap::new(),
            queued: 0,
            has_restarted: false,
            has_fault: false,
            log: Vec::new(),
            seen: BTreeMap::new(),
            events: 0,
        };
        for at in 0..world.desks.len() {
            world.subscribe(at);
        }
        world
    }

    fn desk(at: usize, random: &mut Random, books: &mut Books<Rule>) -> Desk {
        let dialect = Dialect::ALL[random.index(4)];
        let rule = match dialect {
            Dialect::BinanceSpot => Rule::Venue(VenueSequence::of(Venue::BinanceSpot)),
            Dialect::BinanceUsdm => Rule::Venue(VenueSequence::of(Venue::BinanceUsdm)),
            Dialect::Bybit => Rule::Venue(VenueSequence::of(Venue::BybitSpot)),
            Dialect::Checksummed => Rule::Summed,
        };
        let symbol = Symbol::new(at * 7).unwrap();
        let mut settings = BookSettings::for_depth(dialect.window());
        if !dialect.has_window() {
            settings.depth_kept = if random.percent(70) { SLOTS } else { 6 + random.index(20) };
        }
        books.add(Box::new(Slot::new(symbol, dialect.window(), rule, settings)));
        // Two connections that cut their messages elsewhere, where batches of both may be mixed.
        let leg_count = if dialect.has_window() { 1 } else { 1 + random.index(2) };
        Desk {
            symbol,
            market: Market::new(dialect, random),
            legs: vec![Leg::default(); leg_count],
            life: 0,
            tick: 1,
            book_epoch: 0,
            fetch: None,
            is_resubscribing: false,
            depth_asked: u16::try_from(6 + random.index(SLOTS)).unwrap(),
            live_at: 0,
        }
    }

    fn note(&mut self, desk: usize, what: What) {
        self.log.push(Line { now: self.now, desk, what });
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn schedule(&mut self, after: u64, desk: usize, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), (desk, event));
    }

    fn subscribe(&mut self, at: usize) {
        let desk = &mut self.desks[at];
        desk.life += 1;
        desk.is_resubscribing = true;
        let life = desk.life;
        let after = self.random.between(1, 5);
        self.schedule(after, at, Event::Subscribed { life });
    }

    /// Lives to its end. A violation panics.
    pub(crate) fn live(&mut self) {
        let moments = if self.weather.lost_answer == 1_000 { MOMENTS_WITHOUT_ANSWERS } else { MOMENTS };
        for _ in 0..moments {
            self.moment();
        }
        self.weather = Weather { deeper: 0, ..Weather::CALM };
        // What is under way comes first, however late.
        let last_answer = self.queue.last_key_value().map_or(self.now, |(&(at, _), _)| at);
        let calm_from = last_answer.max(self.now) + FETCH_TIMEOUT;
        let repair_max = if self.has_restarted { REPAIR_MOMENTS_AFTER_RESTART_MAX } else { REPAIR_MOMENTS_MAX };
        // Twice, so that what turns stale on the way has its time too.
        while self.now < calm_from + 2 * repair_max {
            self.moment();
            for desk in &mut self.desks {
                let state = self.books.view(desk.symbol).unwrap().state;
                if state.is_live() || self.now <= calm_from {
                    desk.live_at = self.now;
                }
                let dialect = desk.market.dialect;
                assert!(self.now - desk.live_at <= repair_max, "{dialect:?} {}: not repaired: {state:?}", desk.symbol);
            }
        }
        // A book that keeps few levels uses them up: that is no fault of anyone.
        let counts = self.books.counts();
        let stale = counts.stale.iter().sum::<u64>() - counts.stale_for(StaleReason::RangeExhausted);
        assert!(self.has_fault || stale == 0, "nothing went wrong, and yet {counts:?}");
        self.see(if self.has_fault { "fault" } else { "calm" });
    }

    fn moment(&mut self) {
        self.now += 1;
        for at in 0..self.desks.len() {
            self.market_moment(at);
        }
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= self.now
        {
            let (at, event) = entry.remove();
            self.events += 1;
            self.handle(at, event);
            self.check(at);
        }
        for at in 0..self.desks.len() {
            self.repair(at);
        }
    }

    /// The market moves, the venue speaks, and what can go wrong between does.
    fn market_moment(&mut self, at: usize) {
        let (weather, random) = (self.weather, &mut self.random);
        let desk = &mut self.desks[at];
        let before = desk.market.id;
        for _ in 0..random.between(0, 3) {
            desk.market.step(random);
        }
        desk.market.settle(before);
        if random.permille(weather.restart) && desk.market.dialect != Dialect::Checksummed {
            desk.market.restart();
            let before = desk.market.id;
            desk.market.step(random);
            desk.market.settle(before);
            (self.has_restarted, self.has_fault) = (true, true);
            self.note(at, What::Restarted);
        }
        for leg in 0..self.desks[at].legs.len() {
            self.speak(at, leg);
        }
        if self.random.permille(weather.cut) {
            self.has_fault = true;
            self.note(at, What::Cut);
            let symbol = self.desks[at].symbol;
            self.told(at, |books| books.quarantine(symbol, StaleReason::Disconnected));
            self.desks[at].legs.iter_mut().for_each(|leg| *leg = Leg::default());
            self.desks[at].fetch = None;
            self.subscribe(at);
            self.check(at);
        }
        if self.random.permille(weather.tick) && self.desks[at].market.dialect != Dialect::Checksummed {
            self.has_fault = true;
            self.desks[at].tick = if self.desks[at].tick == 1 { 10 } else { 1 };
            self.note(at, What::Tick(self.desks[at].tick));
            let symbol = self.desks[at].symbol;
            self.told(at, |books| books.tick_changed(symbol));
            self.desks[at].fetch = None;
            self.check(at);
        }
        let is_live = self.books.view(self.desks[at].symbol).unwrap().state.is_live();
        if self.random.permille(weather.deeper) && is_live && !self.desks[at].market.dialect.has_window() {
            self.fetch(at);
        }
    }

    fn speak(&mut self, at: usize, leg: usize) {
        let (weather, random) = (self.weather, &mut self.random);
        // Each connection cuts its messages where it likes.
        if self.desks[at].legs.len() > 1 && random.percent(50) {
            return;
        }
        let desk = &mut self.desks[at];
        let wants_snapshot = random.permille(weather.snapshot);
        let Some(message) = desk.market.message(&mut desk.legs[leg], random, wants_snapshot) else { return };
        let life = desk.life;
        if random.permille(weather.drop) {
            self.has_fault = true;
            self.note(at, What::Lost(message.ids));
            return;
        }
        // A second connection may well be behind the first: that is no fault.
        let mut after = if leg == 1 { 1 } else { 0 };
        if random.permille(weather.delay) {
            self.has_fault = true;
            after += random.between(1, 6);
        }
        let repeated = random.permille(weather.repeat).then(|| after + random.between(0, 3));
        // A snapshot sent twice is two snapshots.
        if let Some(after) = repeated.filter(|_| message.kind == BookKind::Delta && message.checksum.is_none()) {
            self.schedule(after, at, Event::Stream { life, message: message.clone() });
        }
        self.schedule(after, at, Event::Stream { life, message });
    }

    fn handle(&mut self, at: usize, event: Event) {
        match event {
            Event::Subscribed { life } => {
                let desk = &mut self.desks[at];
                if desk.life == life {
                    desk.is_resubscribing = false;
                    desk.legs.iter_mut().for_each(|leg| desk.market.subscribed(leg));
                }
            }
            Event::Stream { life, message } => {
                if self.desks[at].life != life {
                    return;
                }
                let tick = self.desks[at].tick;
                let told = self.deliver(at, &message, tick, |books, update| books.update(update, message.checksum));
                self.took(at, &message, told);
            }
            Event::Answer { ticket, tick, message } => {
                let told = self.deliver(at, &message, tick, |books, update| books.snapshot(ticket, update));
                if self.desks[at].fetch.is_some_and(|(mine, _)| mine == ticket) {
                    self.desks[at].fetch = None;
                }
                self.took(at, &message, told);
            }
            Event::Refusal { ticket } => {
                if self.desks[at].fetch.is_some_and(|(mine, _)| mine == ticket) {
                    self.desks[at].fetch = None;
                    self.books.end_fetch(self.desks[at].symbol);
                    self.see("refused");
                }
            }
        }
    }

    fn deliver(
        &mut self,
        at: usize,
        message: &Message,
        tick: i64,
        give: impl FnOnce(&mut Books<Rule>, &BookUpdate<'_>) -> Option<Outcome>,
    ) -> Step {
        let [bids, asks] = message.levels(tick);
        let received = Received { mono: MonoNs(self.now), wall_ns: 0, backlog: tickwire::market::Backlog::NONE };
        let meta = Meta { symbol: self.desks[at].symbol, received, event_time: None, matching_time: None };
        let update = BookUpdate {
            meta,
            kind: message.kind,
            ids: message.ids,
            depth: message.depth,
            state: None,
            bids: &bids,
            asks: &asks,
        };
        // An answer is of the book's own stream, whatever depth was asked for.
        self.told(at, |books| give(books, &update))
    }

    /// Notes an outcome, and that what it asks for is what the slot needs.
    fn told(&mut self, at: usize, tell: impl FnOnce(&mut Books<Rule>) -> Option<Outcome>) -> Step {
        let outcome = tell(&mut self.books).expect("a book is kept of it");
        self.note(at, What::Told(outcome));
        let slot = self.books.slot(self.desks[at].symbol).unwrap();
        assert!(outcome.repair.is_none() || outcome.repair == slot.needs() || slot.state().is_live());
        self.see(match outcome.step {
            Step::Applied(_) => "applied",
            Step::Rebuilt(_) => "rebuilt",
            Step::Skipped => "skipped",
            Step::Held { restarted: None } => "held",
            Step::Held { restarted: Some(StaleReason::Gap) } => "held again: gap",
            Step::Held { restarted: Some(StaleReason::WentBack) } => "held again: went_back",
            Step::Held { restarted: Some(_) } => "held again: hold_overflow",
            Step::Ignored => "ignored",
            Step::Stale(reason) => reason.name(),
            Step::Late => "late",
        });
        outcome.step
    }

    /// Which numbering the book stands in now.
    fn took(&mut self, at: usize, message: &Message, step: Step) {
        if matches!(step, Step::Applied(_) | Step::Rebuilt(_)) {
            self.desks[at].book_epoch = message.epoch;
        }
    }

    /// The cold side: what is not live is repaired, as far as there is room.
    fn repair(&mut self, at: usize) {
        let desk = &self.desks[at];
        let needs = self.books.slot(desk.symbol).unwrap().needs();
        let is_overdue = desk.fetch.is_some_and(|(_, asked)| self.now >= asked + FETCH_TIMEOUT);
        match needs {
            Some(Repair::NeedSnapshot) if desk.fetch.is_none() || is_overdue => self.fetch(at),
            Some(Repair::Resubscribe) if !desk.is_resubscribing && self.random.percent(30) => self.subscribe(at),
            None if is_overdue => {
                self.books.end_fetch(self.desks[at].symbol);
                self.desks[at].fetch = None;
            }
            _ => {}
        }
    }

    fn fetch(&mut self, at: usize) {
        let symbol = self.desks[at].symbol;
        let ticket = match self.books.begin_fetch(symbol) {
            Ok(ticket) => ticket,
            Err(FetchError::NoHold) => return self.see("no hold"),
            Err(FetchError::NoBook) => panic!("it has one"),
        };
        let (weather, random) = (self.weather, &mut self.random);
        let desk = &mut self.desks[at];
        desk.fetch = Some((ticket, self.now));
        if random.permille(weather.lost_answer) {
            return;
        }
        let after = random.between(1, weather.answer_moments_max);
        if random.permille(weather.refused_answer) {
            return self.schedule(after, at, Event::Refusal { ticket });
        }
        // It is taken when it is asked for, a little before, and comes later: or later, and is ahead of the stream.
        let lag = random.index(weather.answer_lag_max + 1);
        if random.percent(20) {
            for _ in 0..random.index(4) {
                desk.market.step(random);
            }
        }
        self.has_fault |= lag > 0;
        let (message, tick) = (desk.market.answer(desk.depth_asked, lag), desk.tick);
        self.schedule(after, at, Event::Answer { ticket, tick, message });
    }

    /// What is live is the truth at its id; what is not is being repaired.
    fn check(&mut self, at: usize) {
        let desk = &self.desks[at];
        let slot = self.books.slot(desk.symbol).unwrap();
        let view = slot.view();
        let Some(book) = view.live() else {
            // Where nothing is asked for, the stream is about to begin.
            let is_new = matches!(view.state, BookState::Waiting | BookState::Stale(StaleReason::Disconnected));
            assert!(slot.needs().is_some() || is_new, "{:?} and nobody repairs it", view.state);
            return;
        };
        assert_eq!(slot.needs(), None);
        let ids = view.ids.expect("a live book stands somewhere");
        let truth = desk.market.at(desk.book_epoch, ids.last);
        let truth = truth.unwrap_or_else(|| panic!("{ids:?} of numbering {} never was", desk.book_epoch));
        for side in [Side::Buy, Side::Sell] {
            let Known::Known(known_to) = book.known_to(side) else {
                panic!("{side:?}: nothing is known of a live book")
            };
            let is_known = |price| match (known_to, side) {
                (None, _) => true,
                (Some(to), Side::Buy) => price >= to,
                (Some(to), Side::Sell) => price <= to,
            };
            let expected = || {
                let all = truth.ordered(side).take(desk.market.depth());
                let levels = all.map(|(slot, qty)| (price(slot, desk.tick), qty));
                levels.take_while(|level| is_known(level.0))
            };
            let found = || book.levels(side).map(|level| (level.price, level.qty.mantissa()));
            if !found().eq(expected()) {
                let (found, expected): (Vec<_>, Vec<_>) = (found().collect(), expected().collect());
                panic!("{:?} {side:?} at {ids:?}: {found:?}, in truth {expected:?}", desk.market.dialect);
            }
            assert!(book.best(side) != Known::Unknown, "{side:?}: a live book without a best");
        }
    }
}
