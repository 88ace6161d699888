//! The governor as the cold side shares it, and REST that asks it first. Called by the engine: instrument lists, depth
//! snapshots, tokens.
//!
//! ```text
//! get ──► governor: Now ────────────────────────► request ──► answer ──► governor is told ──► body
//!                   At ──► sleep ──► redeem ──┘
//!                           ▲ a place given back moves it up
//! ```
//! A caller that gives up while it waits gives its place back. What was sent counts, whatever became of it.

use super::rest::{InstrumentList, RestClient, RestError, RestOptions, RestReply};
use crate::control::{BudgetId, BudgetKey, BudgetLimits, Governor, GovernorSettings, Permit, RestAnswer, Ticket};
use crate::hot::mono_now;
use crate::market::MonoNs;
use crate::venue::Protocol;
use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Waits longer than this are logged.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// The process's one governor. Cold: locked for as long as one decision takes.
#[derive(Debug)]
pub struct SharedGovernor {
    governor: Mutex<Governor>,
    generation: watch::Sender<u64>,
}

impl SharedGovernor {
    /// A governor to be shared.
    #[must_use]
    pub fn new(settings: GovernorSettings) -> Arc<Self> {
        Arc::new(Self { governor: Mutex::new(Governor::new(settings)), generation: watch::Sender::new(0) })
    }

    /// The governor, locked. Who waits is woken when the guard goes, if a place came up earlier than told. Not to be held
    /// across an await.
    #[must_use]
    pub fn lock(&self) -> GovernorGuard<'_> {
        let governor = self.governor.lock().unwrap_or_else(PoisonError::into_inner);
        GovernorGuard { governor, generation: &self.generation }
    }

    /// Changes whenever a place came up earlier than its owner was told: who waits then redeems, and hears the new time.
    #[must_use]
    pub fn moved_up(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

/// The locked governor.
#[derive(Debug)]
pub struct GovernorGuard<'a> {
    governor: MutexGuard<'a, Governor>,
    generation: &'a watch::Sender<u64>,
}

impl Deref for GovernorGuard<'_> {
    type Target = Governor;

    fn deref(&self) -> &Governor {
        &self.governor
    }
}

impl DerefMut for GovernorGuard<'_> {
    fn deref_mut(&mut self) -> &mut Governor {
        &mut self.governor
    }
}

impl Drop for GovernorGuard<'_> {
    fn drop(&mut self) {
        let generation = self.governor.generation();
        self.generation.send_if_modified(|seen| std::mem::replace(seen, generation) != generation);
    }
}

/// A place in the line that is given back unless it is redeemed.
struct Place<'a> {
    governor: &'a SharedGovernor,
    now: fn() -> MonoNs,
    ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.governor.lock().cancel(ticket, (self.now)());
        }
    }
}

/// A REST client of one host that asks the governor before every request, and tells it every answer.
#[derive(Clone)]
pub struct GovernedRest {
    client: Arc<RestClient>,
    protocol: &'static dyn Protocol,
    governor: Arc<SharedGovernor>,
    budget: BudgetId,
    now: fn() -> MonoNs,
}

impl GovernedRest {
    /// Builds the client, and its budget: the URL's host, from the options' source address. Asks nothing yet.
    ///
    /// # Errors
    /// [`RestError`] of [`RestClient::new`].
    pub fn new(
        options: &RestOptions,
        protocol: &'static dyn Protocol,
        governor: Arc<SharedGovernor>,
        limits: BudgetLimits,
    ) -> Result<Self, RestError> {
        let used_weight_header = protocol.rest_limits().used_weight_header;
        let client = RestClient::new(&RestOptions { used_weight_header, ..options.clone() })?;
        let key = BudgetKey::of(&options.base_url, options.source_address);
        let budget = governor.lock().budget(key, limits);
        Ok(Self { client: Arc::new(client), protocol, governor, budget, now: mono_now })
    }

    /// Its budget.
    #[must_use]
    pub const fn budget(&self) -> BudgetId {
        self.budget
    }

    /// True where a page of the instrument list would keep nobody waiting, by [`Governor::is_quiet`].
    #[must_use]
    pub fn is_quiet_for_a_list(&self, percent_max: u8) -> bool {
        let weight = self.protocol.rest_limits().instruments_weight;
        self.governor.lock().is_quiet(self.budget, weight, percent_max, (self.now)())
    }

    /// The body behind a path and query, of this weight. Waits for the governor's permit, however long: a ban lasts up to
    /// days. [`Governor::held_until`] tells beforehand.
    ///
    /// # Errors
    /// [`RestError`]; tried once.
    pub async fn get(&self, path_and_query: &str, weight: u32) -> Result<RestReply, RestError> {
        self.permitted(path_and_query, weight).await?;
        self.granted(path_and_query).await
    }

    /// Asks without asking the governor, and tells it the answer.
    async fn granted(&self, path_and_query: &str) -> Result<RestReply, RestError> {
        let mut answer = RestAnswer::default();
        let result = self.client.ask(path_and_query, &mut answer).await;
        if answer.status != 0 {
            self.governor.lock().rest_answered(self.budget, answer, (self.now)());
        }
        result.map(|body| RestReply { body, answer })
    }

    /// The venue's instrument list: all of it, or as many pages as hold the names in `wanted`.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn instruments(&self, wanted: Option<&HashSet<String>>) -> Result<InstrumentList, RestError> {
        let weight = self.protocol.rest_limits().instruments_weight;
        let mut pages = self.client.pages(self.protocol, wanted);
        loop {
            let path = pages.path()?;
            let reply = self.get(&path, weight).await?;
            if let Some(list) = pages.take(&path, &reply.body)? {
                return Ok(list);
            }
        }
    }

    /// A depth snapshot's body, with this many levels a side (0: the most there are).
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn depth(&self, symbol: &str, levels: u16) -> Result<RestReply, RestError> {
        self.get(&self.protocol.depth_path(symbol, levels), self.protocol.depth_weight(levels)).await
    }

    /// The same for one who was granted its weight already, by [`Governor::rest`] on [`budget`](Self::budget): what must be
    /// done between the grant and the request can be done then.
    ///
    /// # Errors
    /// [`RestError`]; tried once.
    pub async fn depth_granted(&self, symbol: &str, levels: u16) -> Result<RestReply, RestError> {
        self.granted(&self.protocol.depth_path(symbol, levels)).await
    }

    async fn permitted(&self, path: &str, weight: u32) -> Result<(), RestError> {
        let mut place = Place { governor: &self.governor, now: self.now, ticket: None };
        let mut moved_up = self.governor.moved_up();
        let mut is_told = false;
        loop {
            let now = (self.now)();
            let permit = {
                let mut governor = self.governor.lock();
                let redeemed = place.ticket.and_then(|ticket| governor.redeem(ticket, now));
                redeemed.unwrap_or_else(|| governor.rest(self.budget, weight, now))
            };
            let wait = match permit {
                Permit::Now => {
                    place.ticket = None;
                    return Ok(());
                }
                Permit::Refused(source) => {
                    place.ticket = None;
                    return Err(RestError::NotPermitted { path: path.to_owned(), source });
                }
                Permit::At { at, ticket } => {
                    place.ticket = Some(ticket);
                    Duration::from_nanos(at.since_ns(now))
                }
            };
            if wait >= LONG_WAIT && !std::mem::replace(&mut is_told, true) {
                tracing::info!(path, wait_ms = wait.as_millis(), "REST waits for the venue's budget");
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // The sender lives in the governor that we hold.
                _ = moved_up.changed() => {}
            }
        }
    }
}

impl std::fmt::Debug for GovernedRest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GovernedRest")
            .field("client", &self.client)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "governed_tests.rs"]
mod tests;
