//! Keeps every book live: looks at the cores' boards, does what the planner says, and tells what happened.
//!
//! ```text
//! board changed (link), twice a second ─► rows ─► Snapshots::seen ─┐
//! FetchBegun ─► GET, weight granted before ─► Snapshot ─► core     ├─► poll ─► BeginFetch, EndFetch, Resubscribe, events
//! SnapshotTaken ─────────────────────────► Snapshots::ended ───────┘
//! ```
//! One task for the process. A need is what a row says, not a message: nothing is lost by looking late.

use super::super::manager::Manager;
use super::super::shared::Shared;
use super::{BookNotice, Made};
use crate::book::{BookSnapshot, FetchError, Step, Ticket};
use crate::control::{
    BookPlan, BookSeen, BudgetId, Fetch, FetchEnd, LegRepairs, SnapshotAction, SnapshotReport, SnapshotSettings,
    SnapshotStatus, Snapshots,
};
use crate::hot::{Command, mono_now, wall_now_ns};
use crate::limits::BOOK_FETCH_COUNT_MAX;
use crate::market::{Backlog, MonoNs, Received, SequenceIds, StaleReason, Symbol, SymbolSpec};
use crate::telemetry::{BookRow, BookVenueStatus, BooksStatus, Happening};
use crate::venue::{DepthSnapshot, protocol};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// How often the boards are looked at where nobody says that they have changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the keeper is told.
#[derive(Debug)]
pub(in super::super) enum Message {
    /// A core was told to keep this book.
    Keep { symbol: Symbol, made: Box<Made>, at: MonoNs },
    /// A book goes on, and is looked after in another way.
    Change { symbol: Symbol, made: Box<Made> },
    /// A core was told to keep it no longer.
    Forget { symbol: Symbol },
    /// The venue has changed this symbol's tick or lot.
    TickChanged { symbol: Symbol },
    /// A core says something.
    Notice(BookNotice),
    /// Somebody asks how the books are.
    Status(oneshot::Sender<BooksStatus>),
}

/// A snapshot that was asked for, or could not be.
struct Answered {
    symbol: Symbol,
    fetch: Fetch,
    ticket: Ticket,
    levels: u16,
    snapshot: Result<DepthSnapshot, String>,
}

/// A book that is looked after.
struct Looked {
    made: Made,
    spec: SymbolSpec,
    since: MonoNs,
    last_error: Option<String>,
}

/// See the module.
pub(in super::super) struct Keeper {
    manager: Arc<Manager>,
    heard: mpsc::UnboundedReceiver<Message>,
    stop: watch::Receiver<bool>,
    planner: Snapshots,
    /// Books of legs that are to be subscribed again.
    legs: LegRepairs,
    books: BTreeMap<usize, (Symbol, Looked)>,
    /// Fetches that a core was asked to begin, in the order of asking.
    beginning: HashMap<Symbol, VecDeque<(Fetch, u16)>>,
    /// Snapshots on their way to a core: the fetch, and how deep the book is with it.
    taking: HashMap<(Symbol, Ticket), (Fetch, u16)>,
    requests: JoinSet<Answered>,
    /// What each budget's books were last reckoned to take, as it was told.
    planned: BTreeMap<BudgetId, crate::control::Estimate>,
    actions: Vec<SnapshotAction>,
}

/// What woke it.
enum Woken {
    Heard(Option<Message>),
    Answered(Option<Result<Answered, tokio::task::JoinError>>),
    Look,
    Timer,
    Stop,
}

impl Keeper {
    pub(in super::super) fn new(
        manager: Arc<Manager>,
        heard: mpsc::UnboundedReceiver<Message>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let settings = SnapshotSettings {
            holds_per_core: BOOK_FETCH_COUNT_MAX,
            in_flight_max: BOOK_FETCH_COUNT_MAX,
            ..SnapshotSettings::default()
        };
        Self {
            manager,
            heard,
            stop,
            planner: Snapshots::new(settings),
            legs: LegRepairs::new(settings),
            books: BTreeMap::new(),
            beginning: HashMap::new(),
            taking: HashMap::new(),
            requests: JoinSet::new(),
            planned: BTreeMap::new(),
            actions: Vec::new(),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.manager.shared
    }

    /// Runs until the engine stops.
    pub(in super::super) async fn run(mut self) {
        let desk = self.shared().books.clone();
        let mut moved_up = self.shared().governor.moved_up();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let timer = self.planner.next_timer().into_iter().chain(self.legs.next_timer()).min();
            let wait = timer.map(|at| Duration::from_nanos(at.since_ns(mono_now())));
            let woken = tokio::select! {
                _ = self.stop.wait_for(|is_stopping| *is_stopping) => Woken::Stop,
                message = self.heard.recv() => Woken::Heard(message),
                answered = self.requests.join_next(), if !self.requests.is_empty() => Woken::Answered(answered),
                () = desk.changed().notified() => Woken::Look,
                _ = looks.tick() => Woken::Look,
                Ok(()) = moved_up.changed() => Woken::Timer,
                () = async { match wait { Some(wait) => tokio::time::sleep(wait).await, None => std::future::pending().await } } => Woken::Timer,
            };
            match woken {
                Woken::Stop | Woken::Heard(None) => return,
                Woken::Heard(Some(message)) => {
                    self.hear(message).await;
                    // What came together is planned together.
                    while let Ok(message) = self.heard.try_recv() {
                        self.hear(message).await;
                    }
                }
                Woken::Answered(Some(Ok(answered))) => self.answered(answered).await,
                Woken::Answered(Some(Err(error))) => tracing::error!(%error, "a depth request failed within"),
                Woken::Answered(None) | Woken::Timer => {}
                Woken::Look => self.look(),
            }
            self.poll().await;
        }
    }

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Keep { symbol, made, at } => self.keep(symbol, *made, at),
            Message::Change { symbol, made } => {
                if let Some((_, looked)) = self.books.get_mut(&symbol.index()) {
                    self.planner.change(symbol, made.wanted.heaviness, made.wanted.snapshots.clone(), mono_now());
                    looked.made = *made;
                }
            }
            Message::Forget { symbol } => {
                self.planner.forget(symbol);
                self.legs.forget(symbol);
                self.books.remove(&symbol.index());
            }
            Message::TickChanged { symbol } => self.command(symbol, Command::TickChanged { symbol }).await,
            Message::Notice(BookNotice::FetchBegun { symbol, begun }) => self.begun(symbol, begun).await,
            Message::Notice(BookNotice::SnapshotTaken { symbol, ticket, step }) => self.taken(symbol, ticket, step),
            Message::Status(reply) => drop(reply.send(self.status())),
        }
    }

    fn keep(&mut self, symbol: Symbol, made: Made, at: MonoNs) {
        let spec = {
            let symbols = self.shared().symbols.lock().unwrap_or_else(PoisonError::into_inner);
            symbols.spec(symbol).cloned()
        };
        let (Some(spec), Some(rest)) = (spec, self.shared().books.rest(made.venue)) else {
            tracing::error!(venue = %made.venue, symbol = %made.name, "a book that cannot be looked after");
            return;
        };
        let plan = BookPlan {
            symbol,
            budget: rest.budget(),
            core: made.wanted.core,
            heaviness: made.wanted.heaviness,
            depths: made.wanted.snapshots.clone(),
        };
        self.planner.keep(plan, at);
        self.books.insert(symbol.index(), (symbol, Looked { made, spec, since: at, last_error: None }));
    }

    /// Looks at the row of every book.
    fn look(&mut self) {
        for at in self.books.keys().copied().collect::<Vec<_>>() {
            self.look_at(at);
        }
    }

    fn look_at(&mut self, at: usize) {
        let Some((symbol, looked)) = self.books.get(&at) else { return };
        let board = &self.manager.cores[looked.made.wanted.core].stats.board;
        // A row that is older than the book is that of the one before.
        let Some(row) = board.get(*symbol).filter(|row| row.since >= looked.since) else { return };
        // Where each leg has a book, each is subscribed again by itself, whether the published one is live or not. A connection
        // without legs that has rotated has two.
        let has_legs = looked.made.wanted.legs > 1 || row.legs_in_need != 0;
        let needs = row.needs.filter(|_| !has_legs);
        let seen = BookSeen { state: row.state, needs, activity: row.messages };
        self.planner.seen(*symbol, seen, mono_now(), &mut self.actions);
        self.legs.seen(*symbol, row.legs_in_need, mono_now());
    }

    async fn poll(&mut self) {
        let mut again = Vec::new();
        self.legs.poll(mono_now(), &mut again);
        for (symbol, leg) in again {
            self.resubscribe(symbol, Some(leg));
        }
        loop {
            {
                let shared = Arc::clone(self.shared());
                let mut governor = shared.governor.lock();
                self.planner.poll(&mut governor, mono_now(), &mut self.actions);
            }
            self.tell_plans();
            let actions = std::mem::take(&mut self.actions);
            if actions.is_empty() {
                return;
            }
            let mut told = Vec::new();
            for action in actions {
                match action {
                    SnapshotAction::Begin { fetch, symbol, levels } => {
                        self.beginning.entry(symbol).or_default().push_back((fetch, levels));
                        self.command(symbol, Command::BeginFetch { symbol }).await;
                    }
                    SnapshotAction::End { symbol } => self.command(symbol, Command::EndFetch { symbol }).await,
                    SnapshotAction::Resubscribe { symbol } => self.resubscribe(symbol, None),
                    SnapshotAction::Told(report) => told.push(report),
                }
            }
            self.tell(told);
        }
    }

    async fn command(&self, symbol: Symbol, command: Command) {
        let Some((_, looked)) = self.books.get(&symbol.index()) else { return };
        // A core that has ended takes no more commands: the engine is stopping.
        let _ = self.manager.cores[looked.made.wanted.core].commands.send(command).await;
    }

    fn resubscribe(&self, symbol: Symbol, leg: Option<u8>) {
        let Some((_, looked)) = self.books.get(&symbol.index()) else { return };
        let stream = &looked.made.wanted.stream;
        if !self.manager.resubscribe(&looked.made.wanted.connection, stream, leg) {
            tracing::warn!(connection = %looked.made.wanted.connection, %stream, "nobody carries the stream of a book");
        }
    }

    /// Changes are kept: the snapshot is asked for.
    async fn begun(&mut self, symbol: Symbol, begun: Result<Ticket, FetchError>) {
        let Some((fetch, levels)) = self.beginning.get_mut(&symbol).and_then(VecDeque::pop_front) else { return };
        let Some((_, looked)) = self.books.get(&symbol.index()) else { return };
        let end = match begun {
            Err(FetchError::NoHold) => FetchEnd::NoHold,
            Err(FetchError::NoBook) => FetchEnd::NoBook,
            // Granted before the venue told us to stay away: what is sent now would earn a longer ban.
            Ok(_) if self.planner.is_under_way(symbol, fetch) && self.is_held_off(symbol) => {
                if let Some((_, looked)) = self.books.get_mut(&symbol.index()) {
                    looked.last_error = Some("not asked for: the venue holds us off".to_owned());
                }
                FetchEnd::Failed
            }
            Ok(ticket) if self.planner.is_under_way(symbol, fetch) => {
                let rest = self.shared().books.rest(looked.made.venue);
                let spec = looked.spec.clone();
                self.requests.spawn(async move {
                    let snapshot = match rest {
                        None => Err("its venue has no REST".to_owned()),
                        Some(rest) => match rest.depth_granted(&spec.name, levels).await {
                            Err(error) => Err(error.to_string()),
                            Ok(reply) => {
                                let read = protocol(spec.venue).read_depth(&spec, &reply.body);
                                read.map_err(|error| error.to_string())
                            }
                        },
                    };
                    Answered { symbol, fetch, ticket, levels, snapshot }
                });
                return;
            }
            Ok(_) => {
                // It was given up meanwhile; where another try has begun, that one keeps what is kept.
                if !self.planner.is_fetching(symbol) {
                    self.command(symbol, Command::EndFetch { symbol }).await;
                }
                return;
            }
        };
        self.planner.ended(symbol, fetch, end, mono_now(), &mut self.actions);
    }

    /// True while the venue has told us to ask nothing of the budget of this book.
    fn is_held_off(&self, symbol: Symbol) -> bool {
        let held = |budget| self.shared().governor.lock().held_until(budget, mono_now());
        self.planner.budget_of(symbol).and_then(held).is_some()
    }

    /// A request has ended: its snapshot goes to the core.
    async fn answered(&mut self, answered: Answered) {
        let Answered { symbol, fetch, ticket, levels, snapshot } = answered;
        let Some((_, looked)) = self.books.get_mut(&symbol.index()) else { return };
        if !self.planner.is_under_way(symbol, fetch) {
            return;
        }
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::warn!(venue = %looked.made.venue, symbol = %looked.made.name, %error, "depth snapshot");
                looked.last_error = Some(error);
                self.planner.ended(symbol, fetch, FetchEnd::Failed, mono_now(), &mut self.actions);
                return;
            }
        };
        looked.last_error = None;
        let most = snapshot.bids.len().max(snapshot.asks.len());
        let known =
            if most < usize::from(levels) { FetchEnd::WHOLE } else { u16::try_from(most).unwrap_or(u16::MAX - 1) };
        self.taking.insert((symbol, ticket), (fetch, known));
        let id = snapshot.last_update_id;
        let snapshot = BookSnapshot {
            symbol,
            ticket,
            ids: SequenceIds { first: id, last: id, previous: None, cross: None },
            depth: levels,
            received: Received { mono: mono_now(), wall_ns: wall_now_ns(), backlog: Backlog::NONE },
            event_time: snapshot.event_time,
            bids: snapshot.bids,
            asks: snapshot.asks,
        };
        self.command(symbol, Command::Snapshot(Box::new(snapshot))).await;
    }

    /// The core has taken a snapshot.
    fn taken(&mut self, symbol: Symbol, ticket: Ticket, step: Option<Step>) {
        let Some((fetch, levels)) = self.taking.remove(&(symbol, ticket)) else { return };
        let end = match step {
            Some(Step::Rebuilt(_)) => FetchEnd::Joined { levels },
            Some(Step::Stale(reason)) => FetchEnd::NotJoined(reason),
            None => FetchEnd::NoBook,
            Some(_) => FetchEnd::Late,
        };
        // What the row says came before the notice.
        self.look_at(symbol.index());
        self.planner.ended(symbol, fetch, end, mono_now(), &mut self.actions);
    }

    /// Tells what each budget's books will take, whenever that is reckoned anew.
    fn tell_plans(&mut self) {
        for budget in self.budgets() {
            let Some(plan) = self.planner.planned(budget).filter(|plan| plan.books > 0) else { continue };
            if self.planned.insert(budget, plan) != Some(plan) {
                let happening = Happening::BooksPlanned {
                    books: plan.books as u64,
                    weight: plan.weight,
                    budget: plan.budget,
                    live_in_ms: millis(plan.live_in),
                    deep_weight: plan.deep_weight,
                    deep_in_ms: millis(plan.deep_in),
                };
                self.shared().events.publish(&self.venues_of(budget).join(", "), happening);
            }
        }
    }

    fn budgets(&self) -> Vec<BudgetId> {
        self.planner.budgets().collect()
    }

    /// The venues whose books draw on a budget.
    fn venues_of(&self, budget: BudgetId) -> Vec<String> {
        let mut venues: Vec<String> = Vec::new();
        for (symbol, looked) in self.books.values() {
            let name = looked.made.venue.name();
            if self.planner.budget_of(*symbol) == Some(budget) && !venues.iter().any(|known| known == name) {
                venues.push(name.to_owned());
            }
        }
        venues
    }

    /// Says what happened: what is alike on one connection is one event.
    fn tell(&self, reports: Vec<SnapshotReport>) {
        let mut live: BTreeMap<&str, (Vec<String>, u64)> = BTreeMap::new();
        let mut stale: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        let mut repaired: BTreeMap<(&str, &str), (Vec<String>, u64)> = BTreeMap::new();
        let mut alls = Vec::new();
        for report in reports {
            match report {
                SnapshotReport::Live { symbol, after } => {
                    let Some((connection, name)) = self.of(symbol) else { continue };
                    let (symbols, longest_ms) = live.entry(connection).or_default();
                    symbols.push(name);
                    *longest_ms = (*longest_ms).max(millis(after));
                }
                SnapshotReport::Stale { symbol, reason } => {
                    let Some((connection, name)) = self.of(symbol) else { continue };
                    stale.entry((connection, reason.name())).or_default().push(name);
                }
                SnapshotReport::Repaired { symbol, reason, after } => {
                    let Some((connection, name)) = self.of(symbol) else { continue };
                    let (symbols, longest_ms) = repaired.entry((connection, reason.name())).or_default();
                    symbols.push(name);
                    *longest_ms = (*longest_ms).max(millis(after));
                }
                SnapshotReport::Failed { symbol, failures, wait } => self.tell_failed(symbol, failures, wait),
                SnapshotReport::TooHeavy { symbol, levels, weight, budget } => {
                    let Some((connection, symbol)) = self.of(symbol) else { continue };
                    tracing::error!(
                        connection,
                        symbol,
                        levels,
                        weight,
                        budget,
                        "a snapshot costs more than our share of the venue's weight"
                    );
                }
                SnapshotReport::AllLive { budget, books, took, planned } => {
                    let (books, took_ms, planned_ms) = (books as u64, millis(took), millis(planned));
                    alls.push((budget, Happening::BooksAllLive { books, took_ms, planned_ms }));
                }
                SnapshotReport::AllDeep { budget, books, took, planned } => {
                    let (books, took_ms, planned_ms) = (books as u64, millis(took), millis(planned));
                    alls.push((budget, Happening::BooksAllDeep { books, took_ms, planned_ms }));
                }
            }
        }
        let events = &self.shared().events;
        for ((connection, reason), symbols) in stale {
            events.publish(connection, Happening::BooksStale { reason: reason.to_owned(), symbols });
        }
        for (connection, (symbols, after_ms)) in live {
            events.publish(connection, Happening::BooksLive { symbols, after_ms });
        }
        for ((connection, reason), (symbols, after_ms)) in repaired {
            events.publish(connection, Happening::BooksRepaired { reason: reason.to_owned(), symbols, after_ms });
        }
        for (budget, all) in alls {
            events.publish(&self.venues_of(budget).join(", "), all);
        }
    }

    fn tell_failed(&self, symbol: Symbol, failures: u32, wait: Duration) {
        if let Some((connection, symbol)) = self.of(symbol) {
            let wait_ms = millis(wait);
            tracing::info!(connection, symbol, failures, wait_ms, "a book's repair came to nothing: tried again");
        }
    }

    /// The connection and the name of a book.
    fn of(&self, symbol: Symbol) -> Option<(&str, String)> {
        let (_, looked) = self.books.get(&symbol.index())?;
        Some((&looked.made.wanted.connection, looked.made.name.to_string()))
    }

    fn status(&self) -> BooksStatus {
        let now = mono_now();
        let venues = self.budgets().into_iter().map(|budget| {
            let SnapshotStatus {
                books,
                live,
                deep,
                in_flight,
                resubscribing,
                backing_off,
                begun,
                weight,
                joined,
                failed,
                resubscribed,
                planned_ms,
                took_ms,
                deep_planned_ms,
                deep_took_ms,
            } = self.planner.status(budget, now);
            let of_budget = self.books.values().filter(|(symbol, _)| self.planner.budget_of(*symbol) == Some(budget));
            let resubscribed = resubscribed + of_budget.map(|(symbol, _)| self.legs.asked(*symbol)).sum::<u64>();
            BookVenueStatus {
                venues: self.venues_of(budget),
                books: books as u64,
                live: live as u64,
                deep: deep as u64,
                in_flight: in_flight as u64,
                resubscribing: resubscribing as u64,
                backing_off: backing_off as u64,
                begun,
                weight,
                joined,
                failed,
                resubscribed,
                planned_ms,
                took_ms,
                deep_planned_ms,
                deep_took_ms,
            }
        });
        let venues = venues.filter(|venue| venue.books > 0).collect();
        let mut books: Vec<BookRow> =
            self.books.values().map(|(symbol, looked)| self.row(*symbol, looked, now)).collect();
        books.sort_by(|a, b| (&a.venue, &a.symbol).cmp(&(&b.venue, &b.symbol)));
        BooksStatus { venues, books, is_unanswered: false }
    }

    fn row(&self, symbol: Symbol, looked: &Looked, now: MonoNs) -> BookRow {
        let core = &self.manager.cores[looked.made.wanted.core];
        let row = core.stats.board.get(symbol).filter(|row| row.since >= looked.since);
        BookRow {
            venue: looked.made.venue.name().to_owned(),
            symbol: looked.made.name.to_string(),
            connection: looked.made.wanted.connection.clone(),
            stream: looked.made.wanted.stream.to_string(),
            core: core.cpu,
            state: row.map_or("waiting", |row| row.state.name()).to_owned(),
            reason: row.and_then(|row| row.state.reason()).map(StaleReason::name).map(str::to_owned),
            needs: row.and_then(|row| row.needs).map(|needs| needs.name().to_owned()),
            for_ms: row.map(|row| now.since_ns(row.since) / 1_000_000),
            sequence: row.map(|row| row.sequence).filter(|&sequence| sequence > 0),
            messages: row.map_or(0, |row| row.messages),
            legs_in_need: row.map_or(0, |row| u64::from(row.legs_in_need.count_ones())),
            known_levels: self.planner.known_levels(symbol),
            last_error: looked.last_error.clone(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
