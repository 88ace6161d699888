//! What the symbols are, before anything is subscribed: from the TOML, or from the venue's instrument list by REST. One
//! task a venue, for as long as the engine runs. And what has become of them: where books are kept the list is asked for again
//! from time to time, and a tick that has changed is told (ticks.rs).
//!
//! ```text
//! at start:  wanted names ─┐                        ┌─► [[instrument]] of the TOML ─┐
//! ensure(names) ───────────┼─► who waits for what ──┤                               ├─► SymbolTable ─► AddSymbol to every
//! ensure(names) ───────────┘                        └─► one fetch of the list ──────┘                  core ─► answers
//! rest.relist_s, reload ───► when nobody else needs the ┘  (governed, retried with backoff)
//!                            venue's weight                 every list ─► Ticks ─► events, books that are worth nothing
//! ```
//! A driver subscribes only after its symbols are known: a price without a scale would be a guess. Callers that wait at
//! the same time share one fetch; one that came while a list was under way is not told "not listed" by that list.

use super::books::BookDesk;
use super::ticks::{News, Ticks};
use crate::config::ConnectionConfig;
use crate::control::BudgetLimits;
use crate::hot::Command;
use crate::market::{Instrument, InstrumentKind, SymbolSpec, SymbolTable, Venue};
use crate::net::{GovernedRest, InstrumentList, RestError, RestOptions, SharedGovernor};
use crate::telemetry::{EventBus, Happening, ListReport};
use crate::venue::{ChannelScope, InstrumentSpec, protocol};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// First and longest wait between two tries of an instrument list.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Longest wait that a server's `Retry-After` can cause here. What 429 and 418 ask for is the governor's, and longer.
const ASKED_LONGEST: Duration = Duration::from_secs(600);

/// Part of our share of the venue's weight beyond which the list is not asked for again, in percent: a book that is to be
/// repaired does not wait for a look at what rarely changes.
const LOOK_SHARE_PERCENT_MAX: u8 = 50;

/// Questions on their way to a listing, and callers that wait for one list. Further callers wait to ask.
const ASKS_MAX: usize = 64;
const WAITERS_MAX: usize = 1_024;

/// How far a venue's listing has come. Drivers of the venue watch it.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// True once every symbol of the start that will come has come.
    pub(super) is_known: bool,
    /// Names asked for that the venue does not list.
    pub(super) unlisted: Arc<BTreeSet<String>>,
    /// The last failure, while it is retried.
    pub(super) error: Option<Arc<str>>,
    /// What the lists said so far.
    pub(super) report: ListReport,
}

/// What became of the names asked for. Every other one is in the symbol table, and on its way to every core.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Listed {
    /// Names that the venue does not list.
    pub(super) unlisted: BTreeSet<String>,
    /// Names that the symbol table does not take, with its reason.
    pub(super) refused: BTreeMap<String, String>,
}

/// The listing has ended: its engine stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the venue's listing has ended")]
pub(super) struct ListingEnded;

/// The symbols of the process, shared by the cold side only.
pub(super) type Symbols = Arc<Mutex<SymbolTable>>;

/// A question to a listing.
enum Ask {
    Names { names: Vec<String>, stated: Vec<InstrumentSpec>, reply: oneshot::Sender<Listed> },
    All { reply: oneshot::Sender<Listed> },
    AddCore { core: mpsc::Sender<Command>, reply: oneshot::Sender<()> },
    Look,
}

/// How to ask a venue's listing. The listing lives as long as one of these.
#[derive(Clone, Debug)]
pub(super) struct ListingHandle {
    asks: mpsc::Sender<Ask>,
    progress: watch::Receiver<Listing>,
}

impl ListingHandle {
    /// Makes these names known: once it answers, each is in the symbol table and on its way to every core of the venue,
    /// or is named in the answer. What the operator states of symbols is not looked up. Waits as long as the venue takes;
    /// [`progress`](Self::progress) tells why.
    ///
    /// # Errors
    /// [`ListingEnded`].
    pub(super) async fn ensure_with(
        &self,
        names: Vec<String>,
        stated: Vec<InstrumentSpec>,
    ) -> Result<Listed, ListingEnded> {
        self.ask(|reply| Ask::Names { names, stated, reply }).await
    }

    /// Makes every symbol known that the venue lists: what an all-market channel needs.
    ///
    /// # Errors
    /// [`ListingEnded`].
    pub(super) async fn ensure_all(&self) -> Result<Listed, ListingEnded> {
        self.ask(|reply| Ask::All { reply }).await
    }

    /// From now on this core is told of every symbol of the venue; those known already are on their way to it once this
    /// returns. A core that is told already is not told twice.
    ///
    /// # Errors
    /// [`ListingEnded`].
    pub(super) async fn add_core(&self, core: mpsc::Sender<Command>) -> Result<(), ListingEnded> {
        self.ask(|reply| Ask::AddCore { core, reply }).await
    }

    /// The list is to be asked for again as soon as nobody else needs the venue's weight, where books are kept.
    ///
    /// # Errors
    /// [`ListingEnded`].
    pub(super) async fn look(&self) -> Result<(), ListingEnded> {
        self.asks.send(Ask::Look).await.map_err(|_| ListingEnded)
    }

    /// How far it has come, and its last failure.
    pub(super) fn progress(&self) -> watch::Receiver<Listing> {
        self.progress.clone()
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, ListingEnded> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| ListingEnded)?;
        answer.await.map_err(|_| ListingEnded)
    }
}

/// One who waits for a list. The start is the one without a reply.
struct Waiter {
    missing: BTreeSet<String>,
    wants_all: bool,
    /// Lists that were begun before it asked: those cannot tell it that a name is not listed.
    lists_before: u64,
    listed: Listed,
    reply: Option<oneshot::Sender<Listed>>,
}

impl Waiter {
    fn is_gone(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    fn is_served(&self) -> bool {
        self.missing.is_empty() && !self.wants_all
    }
}

/// How long to wait before the list is asked for though nobody waits for it.
#[derive(Clone, Copy, Debug)]
struct LookWaits {
    /// After a list; `None`: for ever.
    every: Option<Duration>,
    /// Where others need the venue's weight.
    put_off: Duration,
    /// After a failure.
    retry: Duration,
}

impl LookWaits {
    const fn every(every: Option<Duration>) -> Self {
        Self { every, put_off: Duration::from_secs(5), retry: Duration::from_secs(300) }
    }
}

/// When that is.
struct Look {
    waits: LookWaits,
    /// `None`: not before somebody asks for it; while one is under way, not before it has ended.
    at: Option<Instant>,
    /// The list under way is for a look, too.
    is_under_way: bool,
}

impl Look {
    fn next_in(&mut self, wait: Option<Duration>) {
        self.at = wait.map(|wait| Instant::now() + wait);
    }

    /// A look is over. One that was asked for meanwhile stays due: the list that came may be from before.
    fn ended(&mut self, wait: Option<Duration>) {
        if self.at.is_none() {
            self.next_in(wait);
        }
    }

    fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }
}

/// Where the list is.
enum Fetch {
    Idle,
    /// After a failure.
    WaitUntil(Instant),
    UnderWay(Pin<Box<dyn Future<Output = Result<InstrumentList, RestError>> + Send>>),
}

impl Fetch {
    /// The list, or nothing when a wait is over. Never ends while idle. Safe to drop: it goes on where it was.
    async fn next(&mut self) -> Option<Result<InstrumentList, RestError>> {
        match self {
            Self::Idle => std::future::pending().await,
            Self::WaitUntil(at) => {
                tokio::time::sleep_until(*at).await;
                None
            }
            Self::UnderWay(list) => Some(list.await),
        }
    }
}

/// One venue's listing as a task.
pub(super) struct VenueListing {
    venue: Venue,
    rest: GovernedRest,
    cores: Vec<mpsc::Sender<Command>>,
    symbols: Symbols,
    progress: watch::Sender<Listing>,
    asks: mpsc::Receiver<Ask>,
    /// What the TOML states, until the start has taken it.
    stated: Vec<InstrumentSpec>,
    waiters: Vec<Waiter>,
    fetch: Fetch,
    lists_begun: u64,
    retry_wait: Duration,
    look: Look,
    ticks: Ticks,
    books: BookDesk,
    events: EventBus,
}

impl VenueListing {
    /// The listing of one venue for these connections, all of that venue. `cores` are those that own one of them.
    pub(super) fn new(
        connections: &[&ConnectionConfig],
        rest: GovernedRest,
        cores: Vec<mpsc::Sender<Command>>,
        symbols: Symbols,
        news: (BookDesk, EventBus),
    ) -> (Self, ListingHandle) {
        let is_all = |connection: &&ConnectionConfig| {
            connection.channels.iter().any(|channel| channel.scope == ChannelScope::AllMarket)
        };
        let names = connections.iter().flat_map(|connection| connection.symbols.iter().cloned()).collect();
        let stated = connections.iter().flat_map(|connection| stated_instruments(connection)).collect();
        let wants_all = connections.iter().any(is_all);
        let waits = LookWaits::every(connections[0].rest.relist);
        Self::of(connections[0].venue, (names, wants_all, stated), rest, cores, symbols, (waits, news))
    }

    fn of(
        venue: Venue,
        (missing, wants_all, stated): (BTreeSet<String>, bool, Vec<InstrumentSpec>),
        rest: GovernedRest,
        cores: Vec<mpsc::Sender<Command>>,
        symbols: Symbols,
        (waits, (books, events)): (LookWaits, (BookDesk, EventBus)),
    ) -> (Self, ListingHandle) {
        let report = ListReport { venue: venue.name().to_owned(), ..ListReport::default() };
        let (progress, watching) = watch::channel(Listing { report, ..Listing::default() });
        let (asks_in, asks) = mpsc::channel(ASKS_MAX);
        let start = Waiter { missing, wants_all, lists_before: 0, listed: Listed::default(), reply: None };
        let listing = Self {
            venue,
            rest,
            cores,
            symbols,
            progress,
            asks,
            stated,
            waiters: vec![start],
            fetch: Fetch::Idle,
            lists_begun: 0,
            retry_wait: RETRY_FIRST,
            look: Look { waits, at: None, is_under_way: false },
            ticks: Ticks::default(),
            books,
            events,
        };
        (listing, ListingHandle { asks: asks_in, progress: watching })
    }

    /// Runs until nobody can ask any more and nobody waits.
    pub(super) async fn run(mut self) {
        let mut start = self.waiters.pop().expect("the start waits first");
        let stated = std::mem::take(&mut self.stated);
        self.take_stated(stated, &mut start).await;
        self.waiters.push(start);
        self.look.next_in(self.look.waits.every);
        let mut is_open = true;
        loop {
            // Questions that came together share the list that is begun after them.
            while self.waiters.len() < WAITERS_MAX
                && let Ok(ask) = self.asks.try_recv()
            {
                self.asked(ask).await;
            }
            self.answer();
            self.begin();
            if !is_open && self.waiters.is_empty() {
                return;
            }
            let look_at = self.look.at.filter(|_| matches!(self.fetch, Fetch::Idle));
            tokio::select! {
                ask = self.asks.recv(), if is_open && self.waiters.len() < WAITERS_MAX => match ask {
                    Some(ask) => self.asked(ask).await,
                    None => is_open = false,
                },
                () = tokio::time::sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {}
                list = self.fetch.next() => {
                    self.fetch = Fetch::Idle;
                    match list {
                        None => {}
                        Some(Ok(list)) => self.take(&list).await,
                        Some(Err(error)) => self.failed(&error),
                    }
                }
            }
        }
    }

    async fn asked(&mut self, ask: Ask) {
        let (names, wants_all, stated, reply) = match ask {
            Ask::Names { names, stated, reply } => (names, false, stated, reply),
            Ask::All { reply } => (Vec::new(), true, Vec::new(), reply),
            Ask::AddCore { core, reply } => {
                self.add_core(core).await;
                let _ = reply.send(());
                return;
            }
            Ask::Look => return self.look.next_in(Some(Duration::ZERO)),
        };
        let missing = names.into_iter().collect();
        let lists_before = self.lists_begun;
        let mut waiter = Waiter { missing, wants_all, lists_before, listed: Listed::default(), reply: Some(reply) };
        self.take_stated(stated, &mut waiter).await;
        self.waiters.push(waiter);
    }

    /// Adds what is stated, and takes off the waiter's list what needs no looking up.
    async fn take_stated(&mut self, stated: Vec<InstrumentSpec>, waiter: &mut Waiter) {
        for spec in stated {
            waiter.missing.remove(&spec.name);
            if let Err(refused) = self.add(&spec).await {
                waiter.listed.refused.insert(spec.name, refused);
            }
        }
        let symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        waiter.missing.retain(|name| symbols.find(self.venue, name).is_none());
    }

    async fn add_core(&mut self, core: mpsc::Sender<Command>) {
        self.cores.retain(|core| !core.is_closed());
        if self.cores.iter().any(|known| known.same_channel(&core)) {
            return;
        }
        let known: Vec<SymbolSpec> = {
            let symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
            symbols.iter().filter(|spec| spec.venue == self.venue).cloned().collect()
        };
        for spec in known {
            let _ = core.send(Command::AddSymbol(Box::new(spec))).await;
        }
        self.cores.push(core);
    }

    /// Whether the list is to be asked for though nobody waits for it. Puts it off where it would be in somebody's way.
    fn is_look_due(&mut self) -> bool {
        if !self.look.is_due() || !matches!(self.fetch, Fetch::Idle) {
            return false;
        }
        if !self.books.keeps_any_of(self.venue) {
            self.look.next_in(self.look.waits.every);
            return false;
        }
        if !self.rest.is_quiet_for_a_list(LOOK_SHARE_PERCENT_MAX) {
            self.look.next_in(Some(self.look.waits.put_off));
            self.progress.send_modify(|listing| listing.report.lists_put_off += 1);
            return false;
        }
        true
    }

    /// Begins a list if somebody waits for one, or a look is due, and none is under way.
    fn begin(&mut self) {
        self.waiters.retain(|waiter| !waiter.is_gone());
        let is_look = self.is_look_due();
        if self.waiters.is_empty() && !is_look && !self.look.is_under_way {
            // Nobody is left to wait for it: a list under way is dropped, and its place in the governor's line with it.
            self.fetch = Fetch::Idle;
            self.retry_wait = RETRY_FIRST;
            return;
        }
        let is_due = match self.fetch {
            Fetch::Idle => true,
            Fetch::WaitUntil(at) => at <= Instant::now(),
            Fetch::UnderWay(_) => false,
        };
        if is_due {
            let wants_all = self.waiters.iter().any(|waiter| waiter.wants_all);
            let missing = self.waiters.iter().flat_map(|waiter| waiter.missing.iter().cloned());
            let mut wanted: Option<HashSet<String>> = (!wants_all).then(|| missing.collect());
            if let Some(wanted) = wanted.as_mut().filter(|_| is_look) {
                let symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
                let known = symbols.iter().filter(|spec| spec.venue == self.venue);
                wanted.extend(known.map(|spec| spec.name.to_string()));
            }
            self.look.is_under_way = is_look;
            if is_look {
                self.look.at = None;
            }
            let rest = self.rest.clone();
            self.lists_begun += 1;
            self.fetch = Fetch::UnderWay(Box::pin(async move { rest.instruments(wanted.as_ref()).await }));
        }
    }

    fn failed(&mut self, error: &RestError) {
        let asked = match error {
            RestError::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        tracing::warn!(venue = %self.venue, %error, "instrument list: it will be asked for again");
        let is_look = std::mem::take(&mut self.look.is_under_way);
        self.progress.send_modify(|listing| {
            listing.report.lists_failed += 1;
            // Nobody misses what a look did not find out.
            if !self.waiters.is_empty() {
                listing.error = Some(error.to_string().into());
            }
        });
        if is_look {
            let retry = self.look.waits.every.map_or(self.look.waits.retry, |every| every.min(self.look.waits.retry));
            self.look.ended(Some(retry.max(asked).min(ASKED_LONGEST)));
        }
        if self.waiters.is_empty() {
            return;
        }
        self.fetch = Fetch::WaitUntil(Instant::now() + self.retry_wait.max(asked).min(ASKED_LONGEST));
        self.retry_wait = (self.retry_wait * 2).min(RETRY_LONGEST);
    }

    /// Adds what somebody waits for, and tells each waiter what the list says of its names.
    async fn take(&mut self, list: &InstrumentList) {
        self.retry_wait = RETRY_FIRST;
        if std::mem::take(&mut self.look.is_under_way) {
            self.look.ended(self.look.waits.every);
        }
        let wants_all = self.waiters.iter().any(|waiter| waiter.wants_all);
        let missing: HashSet<&String> = self.waiters.iter().flat_map(|waiter| &waiter.missing).collect();
        let wanted: Vec<&InstrumentSpec> =
            list.specs.iter().filter(|spec| wants_all || missing.contains(&spec.name)).collect();
        let mut found: HashMap<&str, Result<(), String>> = HashMap::new();
        for spec in wanted {
            if !found.contains_key(spec.name.as_str()) {
                found.insert(&spec.name, self.add(spec).await);
            }
        }
        let news = {
            let symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
            self.ticks.compare(self.venue, list, &symbols)
        };
        self.tell(news);
        let number = self.lists_begun;
        for waiter in &mut self.waiters {
            let Listed { unlisted, refused } = &mut waiter.listed;
            let is_final = list.is_complete && waiter.lists_before < number;
            waiter.missing.retain(|name| match found.get(name.as_str()) {
                Some(added) => {
                    refused.extend(added.clone().err().map(|why| (name.clone(), why)));
                    false
                }
                None => {
                    if is_final {
                        unlisted.insert(name.clone());
                    }
                    !is_final
                }
            });
            waiter.wants_all &= !is_final;
        }
    }

    /// Tells and counts what is new, and has the books rebuilt that are at another tick or lot.
    fn tell(&self, news: News) {
        let News { changed, too_fine, halted, unlisted, trading_again } = news;
        let (ticks_too_fine, not_trading) = (self.ticks.too_fine(), self.ticks.not_trading());
        self.progress.send_modify(|listing| {
            listing.error = None;
            listing.report.lists += 1;
            listing.report.ticks_changed += changed.len() as u64;
            (listing.report.ticks_too_fine, listing.report.not_trading) = (ticks_too_fine, not_trading);
        });
        let tell = |is_news: bool, what: Happening| {
            if is_news {
                self.events.publish(self.venue.name(), what);
            }
        };
        let (symbols, changes): (Vec<_>, Vec<_>) = changed.into_iter().unzip();
        tell(!changes.is_empty(), Happening::TicksChanged { changes });
        tell(!too_fine.is_empty(), Happening::TicksTooFine { symbols: too_fine });
        for (reason, symbols) in [("halted", halted), ("unlisted", unlisted)] {
            tell(!symbols.is_empty(), Happening::NotTrading { reason: reason.to_owned(), symbols });
        }
        tell(!trading_again.is_empty(), Happening::TradingAgain { symbols: trading_again });
        for symbol in symbols {
            self.books.tick_changed(symbol);
        }
    }

    /// Answers those who have all they can get.
    fn answer(&mut self) {
        let (served, waiting) = std::mem::take(&mut self.waiters).into_iter().partition(Waiter::is_served);
        self.waiters = waiting;
        for Waiter { listed, reply, .. } in served {
            for name in &listed.unlisted {
                tracing::error!(venue = %self.venue, symbol = %name, "the venue does not list this symbol: not subscribed");
            }
            self.progress.send_if_modified(|listing| {
                let is_start = reply.is_none();
                let is_news = !listed.unlisted.is_subset(&listing.unlisted);
                if is_news {
                    Arc::make_mut(&mut listing.unlisted).extend(listed.unlisted.iter().cloned());
                }
                listing.is_known |= is_start;
                is_start || is_news
            });
            if let Some(reply) = reply {
                // One who has given up needs no answer.
                let _ = reply.send(listed);
            }
        }
    }

    /// Adds a symbol, and tells every core. A known one changes nothing.
    ///
    /// # Errors
    /// Why the table does not take it.
    async fn add(&mut self, spec: &InstrumentSpec) -> Result<(), String> {
        let added = {
            let mut symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
            if symbols.find(self.venue, &spec.name).is_some() {
                return Ok(());
            }
            let instrument = Some(spec.instrument.clone()).filter(|instrument| !instrument.base.is_empty());
            symbols
                .add(self.venue, &spec.name, spec.price_scale, spec.qty_scale, instrument)
                .map(|symbol| symbols.spec(symbol).cloned())
        };
        let added: SymbolSpec = match added {
            Ok(Some(added)) => added,
            Ok(None) => unreachable!("the table holds what it has just added"),
            Err(error) => {
                tracing::error!(venue = %self.venue, symbol = %spec.name, %error, "symbol not added");
                return Err(error.to_string());
            }
        };
        // The venue lists it after all.
        self.progress.send_if_modified(|listing| {
            listing.unlisted.contains(&spec.name) && Arc::make_mut(&mut listing.unlisted).remove(&spec.name)
        });
        for core in &self.cores {
            // A core that has ended needs no symbols.
            let _ = core.send(Command::AddSymbol(Box::new(added.clone()))).await;
        }
        Ok(())
    }
}

/// A REST client of the venue of these settings, which asks the governor first.
///
/// # Errors
/// [`RestError`]: the client cannot be built.
pub(super) fn governed_rest(
    config: &ConnectionConfig,
    tls: Arc<rustls::ClientConfig>,
    governor: &Arc<SharedGovernor>,
) -> Result<GovernedRest, RestError> {
    let protocol = protocol(config.venue);
    let limits = BudgetLimits {
        rest_share_percent: u8::try_from(config.rest.weight_share_percent).unwrap_or(100),
        ..BudgetLimits::of(protocol)
    };
    GovernedRest::new(&rest_options(config, tls), protocol, Arc::clone(governor), limits)
}

/// How the venue's REST host is asked, by the first connection's settings. Its headers are the WebSocket upgrade's own and
/// may hold credentials: they go to no other host.
fn rest_options(config: &ConnectionConfig, tls: Arc<rustls::ClientConfig>) -> RestOptions {
    RestOptions {
        tls: Some(tls),
        connect_timeout: config.timeouts.connect + config.timeouts.tls,
        timeout: config.timeouts.rest,
        source_address: config.socket.source_address,
        ..RestOptions::new(config.rest_url.clone())
    }
}

/// What the TOML itself says of symbols.
pub(super) fn stated_instruments(config: &ConnectionConfig) -> impl Iterator<Item = InstrumentSpec> {
    let nothing = || Instrument { base: "".into(), quote: "".into(), kind: InstrumentKind::Spot };
    config.instruments.iter().map(move |stated| InstrumentSpec {
        name: stated.symbol.clone(),
        price_scale: stated.price_scale,
        qty_scale: stated.qty_scale,
        // The venue's list may say more than what is stated here.
        tick_size: None,
        lot_size: None,
        instrument: stated.instrument.clone().unwrap_or_else(nothing),
        is_trading: true,
    })
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
