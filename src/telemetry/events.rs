//! What happens to connections, as it happens: one event each, for logs, `tickwire ctl events` and programs.
//!
//! ```text
//! drivers, manager, watchdog ──publish──► EventBus ──broadcast──► subscribers (each at its own pace, bounded)
//!                                             └── the last ones are kept, for whoever asks later
//! ```
//! A subscriber that does not keep up loses the oldest, and is told how many. Nothing here is on a hot core.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast;

/// Events a subscriber may be behind.
const BACKLOG: usize = 4_096;

/// Events kept for whoever asks later.
const KEPT: usize = 256;

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ControlEvent {
    /// When: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// To which connection, by its name; `engine` or `core N` where it is about none.
    pub connection: String,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// A symbol whose tick or lot is another than it was. Exact decimal texts; `null`: the venue has switched the rule off.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TickChange {
    /// Its native name.
    pub symbol: String,
    /// The tick before.
    pub tick_before: Option<String>,
    /// The tick.
    pub tick: Option<String>,
    /// The lot (the step of quantities) before.
    pub lot_before: Option<String>,
    /// The lot.
    pub lot: Option<String>,
}

impl fmt::Display for TickChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.symbol)?;
        let sizes = [("tick", &self.tick_before, &self.tick), ("lot", &self.lot_before, &self.lot)];
        for (what, before, now) in sizes.into_iter().filter(|(_, before, now)| before != now) {
            let text = |size: &Option<String>| size.clone().unwrap_or_else(|| "none".to_owned());
            write!(f, " {what} {} -> {}", text(before), text(now))?;
        }
        Ok(())
    }
}

/// What can happen.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// A socket's upgrade is done.
    Connected {
        /// Which socket of the connection, from 1.
        leg: u32,
    },
    /// The venue accepted our credentials.
    Authenticated {
        /// Which socket.
        leg: u32,
    },
    /// Every wanted subscription is confirmed or refused.
    Ready,
    /// The connection was lost, or could not be made; the next attempt follows.
    Reconnecting {
        /// Failures in a row, from 1.
        attempt: u32,
        /// Wait before the attempt, milliseconds.
        delay_ms: u64,
        /// Why.
        reason: String,
    },
    /// A successor begins to connect beside the socket that speaks.
    Rotating {
        /// What for.
        reason: String,
    },
    /// A successor could not connect, or was lost before it spoke.
    SuccessorFailed {
        /// Failures in a row, from 1.
        attempt: u32,
        /// Wait before the attempt, milliseconds.
        delay_ms: u64,
        /// Why.
        reason: String,
    },
    /// One socket took over from another.
    Rotated {
        /// The socket that spoke.
        from: u32,
        /// The one that speaks now.
        to: u32,
        /// From begin to end of the hand-over, milliseconds.
        took_ms: u64,
        /// What for.
        reason: String,
        /// Chained subscriptions that could not be joined: a hole is possible there.
        unjoined: u32,
    },
    /// A rotation was due or asked for, and did not come about.
    NotRotated {
        /// Why.
        reason: String,
    },
    /// A subscription that was confirmed has no data.
    Silent {
        /// The stream.
        stream: String,
        /// `never_spoke` or `stopped`.
        kind: String,
        /// For how long, milliseconds.
        for_ms: u64,
    },
    /// Something is done about a silent subscription.
    Repairing {
        /// The stream.
        stream: String,
        /// `resubscribe` or `move`.
        how: String,
    },
    /// A silent subscription speaks again.
    Recovered {
        /// The stream.
        stream: String,
        /// How long it was silent, milliseconds.
        after_ms: u64,
    },
    /// A stream was moved to another socket.
    Moved {
        /// The stream.
        stream: String,
        /// The socket that carries it now.
        to: String,
    },
    /// A stream was refused, by the venue or because there is no room for it.
    Refused {
        /// The stream.
        stream: String,
        /// Why.
        reason: String,
    },
    /// A socket is gone.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// No attempt is left.
    GaveUp {
        /// Why the last one failed.
        reason: String,
    },
    /// The connection is over for good.
    Closed,
    /// What it takes to make a venue's books live, reckoned before it is done.
    BooksPlanned {
        /// Books that need a request.
        books: u64,
        /// Weight of their first snapshots.
        weight: u64,
        /// Our share of the venue's window; `null`: it states no limit.
        budget: Option<u64>,
        /// Until all are live, milliseconds.
        live_in_ms: u64,
        /// Weight of the deeper snapshots.
        deep_weight: u64,
        /// Until all are known as deep as asked for, milliseconds.
        deep_in_ms: u64,
    },
    /// Every book of a venue is live.
    BooksAllLive {
        /// Books.
        books: u64,
        /// Since the first of them was kept, milliseconds.
        took_ms: u64,
        /// What was reckoned, milliseconds; 0 where their streams bring the snapshots.
        planned_ms: u64,
    },
    /// Every book of a venue is known as deep as asked for.
    BooksAllDeep {
        /// Books.
        books: u64,
        /// Since the first of them was kept, milliseconds.
        took_ms: u64,
        /// What was reckoned, milliseconds.
        planned_ms: u64,
    },
    /// Books are live for the first time.
    BooksLive {
        /// Whose.
        symbols: Vec<String>,
        /// Since they are kept, at most, milliseconds.
        after_ms: u64,
    },
    /// Books cannot be trusted any more.
    BooksStale {
        /// Why: `gap`, `disconnected`, ...
        reason: String,
        /// Whose.
        symbols: Vec<String>,
    },
    /// Books are live again.
    BooksRepaired {
        /// Why they were not.
        reason: String,
        /// Whose.
        symbols: Vec<String>,
        /// For how long they were not, at most, milliseconds.
        after_ms: u64,
    },
    /// The venue has changed the tick or the lot of symbols: their books are rebuilt. What is finer than the engine reads these
    /// symbols is `ticks_too_fine`, too.
    TicksChanged {
        /// Whose, from what to what.
        changes: Vec<TickChange>,
    },
    /// Ticks or lots that have more decimals than the engine reads of these symbols: a price or quantity that is not on the
    /// grid known at the start is refused, and counted as `off_grid`, until the process is started again.
    TicksTooFine {
        /// Whose.
        symbols: Vec<String>,
    },
    /// Symbols do not trade any more.
    NotTrading {
        /// `halted`: the list says so; `unlisted`: it has no row of them that can be read.
        reason: String,
        /// Which.
        symbols: Vec<String>,
    },
    /// Symbols trade again.
    TradingAgain {
        /// Which.
        symbols: Vec<String>,
    },
    /// Some connection is down that should be up.
    Halted {
        /// Which.
        connections: Vec<String>,
    },
    /// Everything that should be up is up again.
    Resumed {
        /// How long it was not, milliseconds.
        after_ms: u64,
    },
    /// A hot loop stood still.
    Overrun {
        /// Its CPU.
        core: usize,
        /// How long, milliseconds; so far, where `is_over` is false.
        for_ms: u64,
        /// `handler`: our own code ran all the time; `blocked`: it waited, for a lock, a file or a sleep; `core_taken`: the
        /// thread would have run and was not given its CPU; `unknown`: the kernel does not say.
        cause: String,
        /// What it was on: kind, symbol and connection of the event.
        on: String,
        /// True once the loop turns again.
        is_over: bool,
    },
    /// A lane stood still on one event.
    LaneOverrun {
        /// Its name.
        lane: String,
        /// How long, milliseconds; so far, where `is_over` is false.
        for_ms: u64,
        /// As for a hot loop.
        cause: String,
        /// What it was on: kind and symbol of the event.
        on: String,
        /// True once the lane turns again.
        is_over: bool,
    },
    /// Trades are missing of a stream.
    Missing {
        /// The symbol.
        symbol: String,
        /// `trade` or `agg_trade`.
        stream: String,
        /// First missing id.
        first: u64,
        /// Last missing id.
        last: u64,
    },
    /// What could be fetched of missing trades is on its way to the strategy.
    Refilled {
        /// The symbol; empty where it was not looked up.
        symbol: String,
        /// `trade` or `agg_trade`.
        stream: String,
        /// First id of the hole.
        first: u64,
        /// Last id of the hole.
        last: u64,
        /// How many were fetched.
        fetched: u64,
        /// How many were not, and why: `3 rate_limited`; empty where none is left.
        not_refilled: String,
    },
    /// The configuration was read again.
    Reloaded {
        /// What changed, or was refused, in words.
        summary: String,
    },
}

impl Happening {
    /// True for what a person should look at.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        matches!(
            self,
            Self::Reconnecting { .. }
                | Self::SuccessorFailed { .. }
                | Self::NotRotated { .. }
                | Self::Silent { .. }
                | Self::Refused { .. }
                | Self::Disconnected { .. }
                | Self::GaveUp { .. }
                | Self::BooksStale { .. }
                | Self::TicksChanged { .. }
                | Self::TicksTooFine { .. }
                | Self::NotTrading { .. }
                | Self::Halted { .. }
                | Self::Overrun { .. }
                | Self::LaneOverrun { .. }
                | Self::Missing { .. }
        ) || matches!(self, Self::Refilled { not_refilled, .. } if !not_refilled.is_empty())
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { leg } => write!(f, "connected (socket {leg})"),
            Self::Authenticated { leg } => write!(f, "authenticated (socket {leg})"),
            Self::Ready => f.write_str("ready: every wanted subscription is confirmed or refused"),
            Self::Reconnecting { attempt, delay_ms, reason } => {
                write!(f, "reconnecting, attempt {attempt} in {delay_ms} ms: {reason}")
            }
            Self::Rotating { reason } => write!(f, "rotating: {reason}"),
            Self::SuccessorFailed { attempt, delay_ms, reason } => {
                write!(f, "the successor failed, attempt {attempt} in {delay_ms} ms: {reason}")
            }
            Self::Rotated { from, to, took_ms, reason, unjoined } => {
                write!(f, "rotated: socket {to} took over from socket {from} in {took_ms} ms: {reason}")?;
                if *unjoined > 0 {
                    write!(f, "; {unjoined} chained subscriptions could not be joined")?;
                }
                Ok(())
            }
            Self::NotRotated { reason } => write!(f, "not rotated: {reason}"),
            Self::Silent { stream, kind, for_ms } => write!(f, "silent: {stream}, {kind} for {for_ms} ms"),
            Self::Repairing { stream, how } => write!(f, "repairing {stream}: {how}"),
            Self::Recovered { stream, after_ms } => write!(f, "recovered: {stream}, after {after_ms} ms"),
            Self::Moved { stream, to } => write!(f, "moved: {stream} to {to}"),
            Self::Refused { stream, reason } => write!(f, "subscription {stream} refused: {reason}"),
            Self::Disconnected { reason } => write!(f, "disconnected: {reason}"),
            Self::GaveUp { reason } => write!(f, "gave up: {reason}"),
            Self::Closed => f.write_str("closed"),
            Self::BooksPlanned { books, weight, budget, live_in_ms, deep_weight, deep_in_ms } => {
                let of = budget.map(|budget| format!(" of our {budget} a window")).unwrap_or_default();
                write!(f, "{books} books by snapshots, weight {weight}{of}: all live in about {live_in_ms} ms")?;
                if *deep_weight > 0 {
                    write!(f, "; as deep as asked for with {deep_weight} more, in about {deep_in_ms} ms")?;
                }
                Ok(())
            }
            Self::BooksAllLive { books, took_ms, planned_ms } => {
                write!(f, "every book ({books}) live after {took_ms} ms")?;
                // Where streams bring the snapshots nothing is reckoned.
                if *planned_ms > 0 { write!(f, " (reckoned: {planned_ms} ms)") } else { Ok(()) }
            }
            Self::BooksAllDeep { books, took_ms, planned_ms } => {
                write!(f, "every book ({books}) as deep as asked for after {took_ms} ms (reckoned: {planned_ms} ms)")
            }
            Self::BooksLive { symbols, after_ms } => write!(f, "books live after {after_ms} ms: {}", named(symbols)),
            Self::BooksStale { reason, symbols } => write!(f, "books stale ({reason}): {}", named(symbols)),
            Self::BooksRepaired { reason, symbols, after_ms } => {
                write!(f, "books live again after {after_ms} ms ({reason}): {}", named(symbols))
            }
            Self::TicksChanged { changes } => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                write!(f, "the venue has changed the grid of {}", named(&changes))
            }
            Self::TicksTooFine { symbols } => {
                write!(f, "finer than is read here, what does not fit is refused until a restart: {}", named(symbols))
            }
            Self::NotTrading { reason, symbols } => write!(f, "not trading ({reason}): {}", named(symbols)),
            Self::TradingAgain { symbols } => write!(f, "trading again: {}", named(symbols)),
            Self::Halted { connections } => write!(f, "halted: {} down", connections.join(", ")),
            Self::Resumed { after_ms } => write!(f, "everything is up again after {after_ms} ms"),
            Self::Overrun { core, for_ms, cause, on, is_over } => {
                let so_far = if *is_over { "" } else { " so far" };
                write!(f, "core {core} stood still for {for_ms} ms{so_far} ({cause}) on {on}")
            }
            Self::LaneOverrun { lane, for_ms, cause, on, is_over } => {
                let so_far = if *is_over { "" } else { " so far" };
                write!(f, "lane {lane} stood still for {for_ms} ms{so_far} ({cause}) on {on}")
            }
            Self::Missing { symbol, stream, first, last } => {
                write!(f, "missing: {stream} {first} to {last} of {symbol}")
            }
            Self::Refilled { symbol, stream, first, last, fetched, not_refilled } => {
                write!(f, "refilled: {fetched} of {stream} {first} to {last} {symbol}")?;
                if !not_refilled.is_empty() {
                    write!(f, "; not refilled: {not_refilled}")?;
                }
                Ok(())
            }
            Self::Reloaded { summary } => write!(f, "configuration read again: {summary}"),
        }
    }
}

/// Names, cut short where they are many.
fn named(symbols: &[String]) -> String {
    const NAMED_MAX: usize = 8;
    let named = symbols.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match symbols.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Where events go. Clones share it.
#[derive(Clone, Debug)]
pub struct EventBus {
    sender: broadcast::Sender<Arc<ControlEvent>>,
    kept: Arc<Mutex<VecDeque<Arc<ControlEvent>>>>,
}

impl Default for EventBus {
    fn default() -> Self {
        Self::new()
    }
}

impl EventBus {
    /// Without a subscriber.
    #[must_use]
    pub fn new() -> Self {
        Self { sender: broadcast::channel(BACKLOG).0, kept: Arc::default() }
    }

    /// Says what happened, stamped with the wall clock: to the log, to every subscriber, and to those who ask later.
    pub fn publish(&self, connection: &str, what: Happening) {
        if what.is_bad() {
            tracing::warn!(connection, "{what}");
        } else {
            tracing::info!(connection, "{what}");
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        let event = Arc::new(ControlEvent { at_ms, connection: connection.to_owned(), what });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&event));
        // Nobody listening is no fault.
        let _ = self.sender.send(event);
    }

    /// Everything from now on. A receiver that is more than 4,096 events behind loses the oldest and is told how many.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<ControlEvent>> {
        self.sender.subscribe()
    }

    /// The last events, oldest first, and everything from now on: none is missing in between and none comes twice.
    #[must_use]
    pub fn subscribe_with_history(&self) -> (Vec<Arc<ControlEvent>>, broadcast::Receiver<Arc<ControlEvent>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json_with_its_name_and_is_read_back() {
        let what = Happening::Reconnecting { attempt: 2, delay_ms: 500, reason: "reset \"by\" peer\n".into() };
        let event = ControlEvent { at_ms: 1_700_000_000_000, connection: "binance-a".into(), what };
        let json = serde_json::to_string(&event).unwrap();
        assert!(
            json.starts_with(r#"{"at_ms":1700000000000,"connection":"binance-a","event":"reconnecting","attempt":2"#),
            "{json}"
        );
        assert!(!json.contains('\n'));
        assert_eq!(serde_json::from_str::<ControlEvent>(&json).unwrap(), event);
    }

    #[test]
    fn a_changed_tick_says_from_what_to_what_and_nothing_of_what_stayed() {
        let text = |text: &str| Some(text.to_owned());
        let tick = TickChange {
            symbol: "BTCUSDT".into(),
            tick_before: text("0.01"),
            tick: text("0.1"),
            lot_before: text("1"),
            lot: text("1"),
        };
        let off = TickChange { symbol: "ETHUSDT".into(), lot_before: text("0.001"), ..TickChange::default() };
        let what = Happening::TicksChanged { changes: vec![tick, off] };
        let expected = "the venue has changed the grid of BTCUSDT tick 0.01 -> 0.1, ETHUSDT lot 0.001 -> none";
        assert_eq!(what.to_string(), expected);
        assert!(what.is_bad());
    }

    #[test]
    fn who_comes_late_gets_the_last_ones_and_every_one_that_follows_exactly_once() {
        let bus = EventBus::new();
        for attempt in 0..300 {
            bus.publish("a", Happening::Reconnecting { attempt, delay_ms: 0, reason: String::new() });
        }
        let (history, mut receiver) = bus.subscribe_with_history();
        assert_eq!(history.len(), KEPT);
        assert!(matches!(history[0].what, Happening::Reconnecting { attempt: 44, .. }));
        bus.publish("a", Happening::Closed);
        assert_eq!(receiver.try_recv().unwrap().what, Happening::Closed);
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn a_receiver_that_does_not_keep_up_is_told_how_many_it_lost() {
        let bus = EventBus::new();
        let mut receiver = bus.subscribe();
        for _ in 0..BACKLOG + 10 {
            bus.publish("a", Happening::Ready);
        }
        assert_eq!(receiver.try_recv(), Err(broadcast::error::TryRecvError::Lagged(10)));
        assert!(receiver.try_recv().is_ok());
    }
}
