//! Fetches the trades that a hot core misses, one venue's after another's: the performer of `control`'s refill plan.
//!
//! ```text
//! core ─ Missing ─► link ─► driver ─ ask ─► refiller of the venue ─► plan ─► REST, governed ─► Command::Refill ─► core
//! ```
//! One task a venue, begun with its listing. Every ask is answered, by nothing where nothing came: the core keeps a hole until
//! then. What was not refilled is counted with its reason, told and logged.

use super::driver::Driver;
use super::legs::{PulseAt, pulse_of};
use super::listing::Symbols;
use super::status::SharedStatus;
use crate::control::{NotRefilled, RefillPlan, RefillStep, Rolling};
use crate::hot::{Command, ConnectionStats, Interruption, MissingIds, Refill, mono_now, wall_now_ns};
use crate::market::{Backlog, MonoNs, Received, SymbolSpec, Venue};
use crate::net::{GovernedRest, RestError, SharedGovernor};
use crate::telemetry::{EventBus, Happening};
use crate::venue::{TRADES_PAGE_MAX, TradeBatch, protocol, read_trades, trades_query};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Refills that may wait for one venue: a lost connection of 200 symbols asks for 400 at once.
const WAITING_MAX: usize = 1_024;

/// How long a hole may wait for its turn, and then one question of it, the wait for the venue's budget included. Later, its
/// trades are history.
const PATIENCE: Duration = Duration::from_secs(60);

/// Part of our share of the venue's weight that refills may take, in percent: books that are to be repaired do not wait for
/// trades that are late already.
const SHARE_PERCENT_MAX: u8 = 25;

/// A hole to be refilled, and whom its fate concerns.
#[derive(Debug)]
pub(super) struct RefillAsk {
    pub(super) slot: u16,
    pub(super) ids: MissingIds,
    pub(super) asked_at: MonoNs,
    /// At most so many of it; 0: none.
    pub(super) trades_max: u32,
    pub(super) connection: Arc<str>,
    pub(super) stats: Arc<ConnectionStats>,
    pub(super) status: SharedStatus,
    pub(super) core: mpsc::Sender<Command>,
}

/// How a venue's refiller is asked.
#[derive(Clone, Debug)]
pub(super) struct RefillHandle {
    asks: mpsc::Sender<RefillAsk>,
    events: EventBus,
}

/// One venue's refiller as a task.
pub(super) struct Refiller {
    venue: Venue,
    rest: GovernedRest,
    governor: Arc<SharedGovernor>,
    symbols: Symbols,
    events: EventBus,
    asks: mpsc::Receiver<RefillAsk>,
    /// What it has taken of the venue's weight.
    taken: Rolling,
}

impl RefillHandle {
    /// Asks for a hole. Answers it at once where it cannot wait.
    pub(super) async fn ask(&self, ask: RefillAsk) {
        let why = if ask.trades_max == 0 { Some(NotRefilled::Off) } else { None };
        let (ask, why) = match why {
            Some(why) => (ask, why),
            None => match self.asks.try_send(ask) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(ask) | mpsc::error::TrySendError::Closed(ask)) => {
                    (ask, NotRefilled::QueueFull)
                }
            },
        };
        let mut plan = RefillPlan::new(ask.ids.first, ask.ids.last, u64::from(ask.trades_max), TRADES_PAGE_MAX);
        plan.give_up(why);
        let events = TradeBatch::empty(ask.ids.stream_kind);
        answer(ask, "", &plan, events, &self.events).await;
    }
}

impl Refiller {
    /// A venue's refiller, and how it is asked.
    pub(super) fn new(
        venue: Venue,
        rest: GovernedRest,
        governor: Arc<SharedGovernor>,
        symbols: Symbols,
        events: EventBus,
    ) -> (Self, RefillHandle) {
        let (asks_in, asks) = mpsc::channel(WAITING_MAX);
        let handle = RefillHandle { asks: asks_in, events: events.clone() };
        (Self { venue, rest, governor, symbols, events, asks, taken: Rolling::default() }, handle)
    }

    /// Runs until nobody can ask any more.
    pub(super) async fn run(mut self) {
        while let Some(ask) = self.asks.recv().await {
            self.refill(ask).await;
        }
    }

    async fn refill(&mut self, ask: RefillAsk) {
        let MissingIds { symbol, stream_kind, first, last } = ask.ids;
        let spec = self.symbols.lock().unwrap_or_else(PoisonError::into_inner).spec(symbol).cloned();
        let mut plan = RefillPlan::new(first, last, u64::from(ask.trades_max), TRADES_PAGE_MAX);
        plan.turn_came(Duration::from_nanos(mono_now().since_ns(ask.asked_at)), PATIENCE);
        let mut events = TradeBatch::empty(stream_kind);
        let Some(spec) = spec else { unreachable!("a core knows no symbol that the table does not") };
        loop {
            match plan.step(mono_now()) {
                RefillStep::Done => break,
                RefillStep::Wait(until) => {
                    tokio::time::sleep(Duration::from_nanos(until.since_ns(mono_now()))).await;
                }
                RefillStep::Ask { first, count } => match self.page(&spec, &ask, first, count).await {
                    Ok(page) => {
                        plan.page_began();
                        events.take_from(page, |id| plan.take(id));
                        plan.page_ended(mono_now());
                    }
                    Err(why) => plan.failed(why, mono_now()),
                },
            }
        }
        answer(ask, &spec.name, &plan, events, &self.events).await;
    }

    /// Waits until this weight is within the part of our share that refills may take.
    async fn within_share(&mut self, weight: u32) {
        loop {
            let Some(share) = self.governor.lock().rest_share(self.rest.budget()) else { return };
            let now = mono_now();
            let Some(until) = self.taken.free_at(share, SHARE_PERCENT_MAX, weight, now) else { return };
            tokio::time::sleep(Duration::from_nanos(until.since_ns(now))).await;
        }
    }

    /// One page of the venue's trades.
    async fn page(
        &mut self,
        spec: &SymbolSpec,
        ask: &RefillAsk,
        first: u64,
        count: u32,
    ) -> Result<TradeBatch, NotRefilled> {
        let stream_kind = ask.ids.stream_kind;
        let query = trades_query(protocol(self.venue), stream_kind, &spec.name, first, count);
        let query = query.ok_or(NotRefilled::NotOffered)?;
        self.within_share(query.weight).await;
        let now = mono_now();
        let held_until = self.governor.lock().held_until(self.rest.budget(), now);
        if held_until.is_some_and(|until| Duration::from_nanos(until.since_ns(now)) > PATIENCE) {
            return Err(NotRefilled::HeldOff);
        }
        let asked = tokio::time::timeout(PATIENCE, self.rest.get(&query.path, query.weight)).await;
        self.taken.spend(query.weight, mono_now());
        let reply = asked.map_err(|_| NotRefilled::TimedOut)?.map_err(|error| {
            tracing::warn!(venue = %self.venue, %error, "missing trades: not answered");
            why_not(&error)
        })?;
        let received = Received { mono: mono_now(), wall_ns: wall_now_ns(), backlog: Backlog::NONE };
        read_trades(stream_kind, spec, &reply.body, received).map_err(|error| {
            tracing::warn!(venue = %self.venue, %error, "missing trades: not readable");
            NotRefilled::Unreadable
        })
    }
}

impl Driver {
    /// What tells the core that the next event of each of these streams comes behind an interruption. `None`: it has none.
    pub(super) fn interruption<'a>(
        &self,
        streams: impl Iterator<Item = &'a str>,
        is_resubscribed: bool,
    ) -> Option<Command> {
        let mut interrupted = Vec::new();
        for stream in streams {
            match pulse_of(&self.shared, &self.plan, stream) {
                PulseAt::Symbol(symbol, stream_kind) => interrupted.push((symbol, stream_kind)),
                PulseAt::Market(stream_kind) => {
                    let symbols = self.shared.symbols_of(self.plan.venue);
                    interrupted.extend(symbols.into_iter().map(|symbol| (symbol, stream_kind)));
                }
                PulseAt::Nowhere => {}
            }
        }
        let interruption = Interruption { is_resubscribed, streams: interrupted };
        (!interruption.streams.is_empty()).then(|| Command::Interrupted(Box::new(interruption)))
    }

    /// Tells of missing trades, and has them fetched.
    pub(super) async fn ask_for_refill(&self, slot: u16, ids: MissingIds) {
        let happening = Happening::Missing {
            symbol: self.shared.symbol_name(ids.symbol),
            stream: ids.stream_kind.name().to_owned(),
            first: ids.first,
            last: ids.last,
        };
        self.shared.events.publish(&self.plan.name, happening);
        let ask = RefillAsk {
            slot,
            ids,
            asked_at: mono_now(),
            trades_max: self.plan.refill_trades_max,
            connection: self.plan.name.as_str().into(),
            stats: Arc::clone(&self.stats),
            status: Arc::clone(&self.status),
            core: self.core.commands.clone(),
        };
        self.refills.ask(ask).await;
    }
}

const fn why_not(error: &RestError) -> NotRefilled {
    match error {
        RestError::Refused { status: 429 | 418, .. } => NotRefilled::RateLimited,
        // What a server cannot do now it may do in a moment.
        RestError::Refused { status: 500..=599, .. } | RestError::Request { .. } => NotRefilled::Failed,
        RestError::TimedOut { .. } => NotRefilled::TimedOut,
        RestError::NotPermitted { .. } => NotRefilled::HeldOff,
        RestError::TooLong { .. } => NotRefilled::Unreadable,
        _ => NotRefilled::Refused,
    }
}

/// Counts and tells what became of a hole, and gives the core what there is of it.
async fn answer(ask: RefillAsk, symbol: &str, plan: &RefillPlan, events: TradeBatch, bus: &EventBus) {
    let RefillAsk { slot, ids, connection, stats, status, core, .. } = ask;
    let mut reasons = Vec::new();
    {
        let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
        for (why, count) in plan.not_refilled() {
            *status.not_refilled.entry(why.name()).or_default() += count;
            reasons.push(format!("{count} {}", why.name()));
        }
    }
    bus.publish(
        &connection,
        Happening::Refilled {
            symbol: symbol.to_owned(),
            stream: ids.stream_kind.name().to_owned(),
            first: ids.first,
            last: ids.last,
            fetched: plan.fetched(),
            not_refilled: reasons.join(", "),
        },
    );
    // A core that has ended misses nothing any more.
    let _ = core.send(Command::Refill(Box::new(Refill::new(slot, ids, events, stats)))).await;
}
