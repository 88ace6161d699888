//! What the tasks of the cold side share: the process's budgets, its events, its symbols, and whether it is whole.
//!
//! ```text
//! driver, driver, ... ──► Whole: what is down ──► Halted lease ──► strategies (one load)
//!                     ──► Governor, EventBus, SymbolTable            each behind its own lock, held for a moment
//! ```

use super::books::BookDesk;
use super::lanes::LaneHandle;
use super::legs::PulseAt;
use super::listing::Symbols;
use super::plan::SocketPlan;
use super::slots::SlotTable;
use crate::control::{BudgetId, BudgetKey, BudgetLimits};
use crate::hot::{Command, CoreStats, Halted, Pulses, mono_now};
use crate::market::{MonoNs, Symbol, Venue};
use crate::net::SharedGovernor;
use crate::telemetry::{EventBus, Happening};
use crate::venue::protocol;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// One core, as the cold side commands and reads it.
#[derive(Clone, Debug)]
pub(super) struct CoreLink {
    pub(super) cpu: usize,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) slots: SlotTable,
    pub(super) pulses: Arc<Pulses>,
    pub(super) stats: Arc<CoreStats>,
}

impl CoreLink {
    /// When a subscription's last data came on a leg.
    pub(super) fn last_data(&self, venue: Venue, shared: &Shared, at: PulseAt, leg: u8) -> MonoNs {
        match at {
            PulseAt::Nowhere => MonoNs(0),
            PulseAt::Symbol(symbol, stream_kind) => self.pulses.last_data(symbol, stream_kind, leg),
            PulseAt::Market(stream_kind) => {
                let symbols = shared.symbols_of(venue);
                symbols
                    .into_iter()
                    .map(|symbol| self.pulses.last_data(symbol, stream_kind, leg))
                    .max()
                    .unwrap_or_default()
            }
        }
    }
}

/// A subscription that is to be carried by another socket.
#[derive(Debug)]
pub(super) struct Move {
    /// The socket that carries it.
    pub(super) from: String,
    pub(super) stream: Box<str>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) governor: Arc<SharedGovernor>,
    pub(super) events: EventBus,
    pub(super) whole: Whole,
    pub(super) symbols: Symbols,
    pub(super) books: BookDesk,
    pub(super) moves: mpsc::UnboundedSender<Move>,
    pub(super) requests_per_second: u32,
    /// Hot connections ask the kernel for receive stamps.
    pub(super) kernel_stamps: bool,
    /// Every lane, core by core.
    pub(super) lanes: Vec<LaneHandle>,
    pub(super) beats: super::watchdog::Beats,
}

impl Shared {
    /// The budget that a socket's connects and requests come from.
    ///
    /// What a venue holds against an address it holds on its stream host and on its REST host.
    pub(super) fn budget(&self, plan: &SocketPlan) -> BudgetId {
        let key = BudgetKey::of(&plan.connect.url, plan.connect.socket.source_address);
        let limits = BudgetLimits {
            requests_per_second: Some(self.requests_per_second),
            rest_share_percent: plan.rest_share_percent,
            ..BudgetLimits::of(protocol(plan.venue))
        };
        let mut governor = self.governor.lock();
        let budget = governor.budget(key, limits);
        let rest = governor.budget(BudgetKey::of(plan.rest_url(), plan.connect.socket.source_address), limits);
        governor.hold_together(budget, rest);
        budget
    }

    /// A symbol in words: its venue and name.
    pub(super) fn symbol_name(&self, symbol: Symbol) -> String {
        let symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        symbols.spec(symbol).map_or_else(|| symbol.to_string(), |spec| format!("{} {}", spec.venue, spec.name))
    }

    pub(super) fn symbols_of(&self, venue: Venue) -> Vec<Symbol> {
        let symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        symbols.iter().filter(|spec| spec.venue == venue).map(|spec| spec.symbol).collect()
    }
}

/// Which connections are down that should be up, and the lease that says so to strategies.
#[derive(Debug)]
pub(super) struct Whole {
    halted: Halted,
    lease: Duration,
    events: EventBus,
    state: Mutex<WholeState>,
}

#[derive(Debug, Default)]
struct WholeState {
    /// What is down, and since when.
    down: BTreeMap<String, Instant>,
    /// When the first of them went down.
    since: Option<Instant>,
    /// The engine is stopping: what closes from here on is missing to nobody, and up is nothing.
    is_ended: bool,
}

impl Whole {
    pub(super) fn new(halted: Halted, lease: Duration, events: EventBus) -> Self {
        Self { halted, lease, events, state: Mutex::default() }
    }

    /// This connection is down and should not be.
    pub(super) fn down(&self, name: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_ended || state.down.contains_key(name) {
            return;
        }
        state.down.insert(name.to_owned(), Instant::now());
        // Under the lock, so that no renewal that saw nothing down comes after it.
        self.halted.revoke();
        let is_first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        if is_first {
            self.events.publish("engine", Happening::Halted { connections: state.down.keys().cloned().collect() });
        }
    }

    /// This connection is up.
    pub(super) fn up(&self, name: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.down.remove(name).is_some() && state.down.is_empty() && !state.is_ended {
            self.resume(&mut state);
        }
    }

    /// The engine is stopping: halted from here on, whatever closes. Says no more.
    pub(super) fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_ended = true;
        self.halted.revoke();
    }

    /// This connection is no longer wanted.
    pub(super) fn forget(&self, name: &str) {
        self.up(name);
    }

    /// Renews the lease, if nothing is down. To be called several times within a lease.
    pub(super) fn renew(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.down.is_empty() && !state.is_ended {
            self.halted.renew(self.until());
        }
    }

    /// How often to renew.
    pub(super) fn renew_every(&self) -> Duration {
        self.lease / 4
    }

    /// What is down.
    pub(super) fn list(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).down.keys().cloned().collect()
    }

    /// What is down, and since when.
    pub(super) fn since(&self) -> Vec<(String, Instant)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.down.iter().map(|(name, &since)| (name.clone(), since)).collect()
    }

    fn resume(&self, state: &mut WholeState) {
        self.halted.renew(self.until());
        let after = state.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.events.publish("engine", Happening::Resumed { after_ms });
    }

    fn until(&self) -> MonoNs {
        MonoNs(mono_now().0.saturating_add(u64::try_from(self.lease.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_that_is_down_halts_and_the_last_that_comes_up_resumes() {
        let (halted, events) = (Halted::new(), EventBus::new());
        let mut heard = events.subscribe();
        let whole = Whole::new(halted.clone(), Duration::from_secs(60), events);
        whole.renew();
        assert!(!halted.is_halted(mono_now()), "nothing is down");
        whole.down("a");
        whole.down("b");
        whole.down("a");
        assert!(halted.is_halted(mono_now()));
        whole.renew();
        assert!(halted.is_halted(mono_now()), "a renewal while something is down renews nothing");
        assert_eq!(whole.list(), ["a", "b"]);
        whole.up("a");
        assert!(halted.is_halted(mono_now()));
        whole.forget("b");
        assert!(!halted.is_halted(mono_now()));
        let happenings: Vec<_> = std::iter::from_fn(|| heard.try_recv().ok()).map(|event| event.what.clone()).collect();
        assert!(matches!(happenings[..], [Happening::Halted { .. }, Happening::Resumed { .. }]), "{happenings:?}");
    }

    #[test]
    fn an_engine_that_stops_is_halted_and_what_closes_then_is_no_news() {
        let (halted, events) = (Halted::new(), EventBus::new());
        let mut heard = events.subscribe();
        let whole = Whole::new(halted.clone(), Duration::from_secs(60), events);
        whole.down("a");
        whole.end();
        whole.forget("a");
        whole.down("b");
        whole.up("b");
        whole.renew();
        assert!(halted.is_halted(mono_now()));
        let happenings: Vec<_> = std::iter::from_fn(|| heard.try_recv().ok()).map(|event| event.what.clone()).collect();
        assert!(matches!(happenings[..], [Happening::Halted { .. }]), "{happenings:?}");
    }
}
