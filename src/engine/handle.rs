//! The handle of a running engine: everything that can be changed and asked while it runs. For programs, and behind the
//! control socket.

use super::books::report_of;
use super::client::{RequestClient, RequestClientStatus};
use super::lanes::LaneHandle;
use super::manager::Manager;
use super::report::lane_report;
use super::watchdog::Who;
use crate::book::BookCopy;
use crate::config::{Config, ConnectionConfig, Difference, ReloadError};
use crate::limits::BOOK_LEVEL_COUNT_MAX;
use crate::market::{Symbol, Venue};
use crate::net::{ControlHandler, ControlRequest, ControlResponse};
use crate::telemetry::{
    BookReport, ControlEvent, CoreStatus, EngineStatus, GovernorStatus, HaltedConnection, Happening, LaneStatus,
    RequestStatus,
};
use crate::venue::Channel;
use serde_json::json;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// Events that a client of the control socket may be behind.
pub(super) const TEXTS_BACKLOG: usize = 4_096;

/// How long a command of the control socket may take.
const COMMAND_WAIT: Duration = Duration::from_secs(60);

/// Why something was not done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandleError {
    /// No connection, and no socket of one, has this name.
    #[error("no connection is called `{name}`: there are {known}")]
    NoSuchConnection {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The venue has no such channel.
    #[error("{0}")]
    Channel(String),
    /// Nothing to do: no channel, or no symbol for a channel that is per symbol.
    #[error("nothing to subscribe: at least one channel, and a symbol where the channel is per symbol")]
    Nothing,
    /// Another connection carries the stream.
    #[error("stream `{stream}` is carried by connection `{owner}`: once is allowed")]
    Taken {
        /// The stream.
        stream: String,
        /// Who carries it.
        owner: String,
    },
    /// The venue does not list it.
    #[error("{venue} does not list {}", .symbols.join(", "))]
    NotListed {
        /// The venue.
        venue: Venue,
        /// The names.
        symbols: Vec<String>,
    },
    /// The venue's instrument list did not come in time.
    #[error("the instrument list of {venue} did not come within {waited:?}: {why}")]
    NoList {
        /// The venue.
        venue: Venue,
        /// How long it was waited for.
        waited: Duration,
        /// The last failure.
        why: String,
    },
    /// No book is kept of it.
    #[error("no book is kept of {symbol} on {venue}: `ctl status` names those that are")]
    NoBook {
        /// The venue.
        venue: Venue,
        /// The name.
        symbol: String,
    },
    /// The configuration does not allow it.
    #[error("{0}")]
    Config(String),
    /// Not at this moment.
    #[error("{0}")]
    NotNow(String),
}

/// A running engine, to be changed and asked. Cheap to clone; may be used from any runtime and any thread.
#[derive(Clone)]
pub struct Handle {
    pub(super) manager: Arc<Manager>,
    pub(super) clients: Arc<Mutex<Vec<RequestClient>>>,
    pub(super) started: Instant,
    /// The hot threads, as the kernel counts them.
    pub(super) threads: Arc<[super::report::Thread]>,
    pub(super) strategies: Arc<[String]>,
    /// Every event as one JSON text, for the control socket's clients.
    pub(super) texts: broadcast::Sender<Arc<str>>,
    /// Events that were lost before they were written, because too many came at once.
    pub(super) events_dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// Connects these too.
    ///
    /// # Errors
    /// [`HandleError::Config`]: what is wrong with them, beside those in force.
    pub async fn add(&self, connections: Vec<ConnectionConfig>) -> Result<(), HandleError> {
        self.manager.add(&self.manager.changing().await, connections).await
    }

    /// Closes a connection with its closing handshake, and forgets it.
    ///
    /// # Errors
    /// [`HandleError::NoSuchConnection`].
    pub async fn remove(&self, connection: &str) -> Result<(), HandleError> {
        self.manager.remove(&self.manager.changing().await, connection).await
    }

    /// Subscribes every one of these channels, in the venue's words, for every one of these symbols; symbols unknown so
    /// far are looked up first. Gives the streams that are new. What the venue then says of each is an event.
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn subscribe(
        &self,
        connection: &str,
        channels: &[&str],
        symbols: &[&str],
    ) -> Result<Vec<String>, HandleError> {
        let (channels, symbols) = self.named(connection, channels, symbols)?;
        let streams = self.manager.subscribe(&self.manager.changing().await, connection, &channels, &symbols).await?;
        Ok(streams.into_iter().map(String::from).collect())
    }

    /// Ends every one of these channels for every one of these symbols. Gives the streams that were wanted until now.
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn unsubscribe(
        &self,
        connection: &str,
        channels: &[&str],
        symbols: &[&str],
    ) -> Result<Vec<String>, HandleError> {
        let (channels, symbols) = self.named(connection, channels, symbols)?;
        let streams = self.manager.unsubscribe(&self.manager.changing().await, connection, &channels, &symbols).await?;
        Ok(streams.into_iter().map(String::from).collect())
    }

    /// Sends a text as it is on one connection (its first socket), or on one socket by its own name.
    ///
    /// # Errors
    /// [`HandleError`]: not connected, or no such connection.
    pub async fn send_to(&self, connection: &str, text: &str) -> Result<(), HandleError> {
        self.manager.send_to(connection, text).await
    }

    /// Sends a text as it is on every socket, of one venue or of all. Gives how many took it.
    pub async fn broadcast(&self, venue: Option<Venue>, text: &str) -> usize {
        self.manager.broadcast(venue, text).await
    }

    /// Drops a connection's sockets and makes them again.
    ///
    /// # Errors
    /// [`HandleError::NoSuchConnection`].
    pub async fn reconnect(&self, connection: &str) -> Result<(), HandleError> {
        self.manager.reconnect(connection).await
    }

    /// Replaces a connection's sockets, make before break.
    ///
    /// # Errors
    /// [`HandleError::NotNow`] with the reason: not connected, or a rotation is under way.
    pub async fn rotate(&self, connection: &str) -> Result<(), HandleError> {
        self.manager.rotate(connection).await
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.manager.config()
    }

    /// Reads the configuration's files again and gives what differs; applies it, unless this is a `dry_run`. Then the venues'
    /// instrument lists are asked for again too, where books are kept: as soon as nobody else needs a venue's weight.
    ///
    /// # Errors
    /// [`HandleError::Config`]: the files cannot be read, or what they say cannot be; or, but for a dry run, nothing of it
    /// can be taken, because what is left without the refused changes would be no configuration.
    pub async fn reload(&self, is_dry_run: bool) -> Result<Difference, HandleError> {
        // What is in force must not change between the reading and the applying.
        let changing = self.manager.changing().await;
        let old = self.config();
        let names: Vec<&str> = self.strategies.iter().map(String::as_str).collect();
        let new = old.reread(&names).map_err(|error: ReloadError| HandleError::Config(error.to_string()))?;
        let difference = Config::difference(&old, &new);
        if !is_dry_run && difference.blocked.is_some() {
            return Err(HandleError::Config(difference.to_string()));
        }
        if !is_dry_run && difference.is_live() {
            self.manager.apply(&changing, &old, &difference).await?;
            let summary = difference.to_string().lines().collect::<Vec<_>>().join("; ");
            self.manager.shared.events.publish("engine", Happening::Reloaded { summary });
        }
        if !is_dry_run {
            self.manager.look_at_lists().await;
        }
        Ok(difference)
    }

    /// Connects what one more exchange file names.
    ///
    /// # Errors
    /// [`HandleError::Config`].
    pub async fn add_file(&self, path: &Path) -> Result<Vec<String>, HandleError> {
        let config = self.config().with_file(path).map_err(|error| HandleError::Config(error.to_string()))?;
        self.add_from(config).await
    }

    /// Connects what a text in TOML names.
    ///
    /// # Errors
    /// [`HandleError::Config`].
    pub async fn add_text(&self, toml: &str) -> Result<Vec<String>, HandleError> {
        let config = self.config().with_text(toml).map_err(|error| HandleError::Config(error.to_string()))?;
        self.add_from(config).await
    }

    async fn add_from(&self, config: Config) -> Result<Vec<String>, HandleError> {
        let known: Vec<String> = self.config().connections.into_iter().map(|connection| connection.name).collect();
        let new: Vec<_> =
            config.connections.into_iter().filter(|connection| !known.contains(&connection.name)).collect();
        let names = new.iter().map(|connection| connection.name.clone()).collect();
        self.add(new).await?;
        self.manager.remember_files(config.files);
        Ok(names)
    }

    /// Every event from now on. A receiver that falls far behind loses the oldest, and is told how many.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<ControlEvent>> {
        self.manager.shared.events.subscribe()
    }

    /// The connections that are down while they should be up.
    #[must_use]
    pub fn halted_connections(&self) -> Vec<String> {
        self.manager.shared.whole.list()
    }

    /// The request connections of the configuration, by name.
    #[must_use]
    pub fn request_client(&self, name: &str) -> Option<RequestClient> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.iter().find(|client| client.status().name == name).cloned()
    }

    /// One book as it is now, with this many levels a side at most. Its hot core copies it between two turns, some nanoseconds
    /// for each level.
    ///
    /// # Errors
    /// [`HandleError::NoBook`], or [`HandleError::NotNow`] where its core does not answer.
    pub async fn book(&self, venue: Venue, symbol: &str, depth: usize) -> Result<BookReport, HandleError> {
        let shared = &self.manager.shared;
        let no_book = || HandleError::NoBook { venue, symbol: symbol.to_owned() };
        let spec = {
            let symbols = shared.symbols.lock().unwrap_or_else(PoisonError::into_inner);
            symbols.find(venue, symbol).and_then(|symbol| symbols.spec(symbol).cloned())
        };
        let spec = spec.ok_or_else(no_book)?;
        let made = shared.books.made(spec.symbol).ok_or_else(no_book)?;
        let core = &self.manager.cores[made.wanted.core];
        let copy = shared.books.read(spec.symbol, depth.min(BOOK_LEVEL_COUNT_MAX), core).await;
        let copy = copy.ok_or_else(|| HandleError::NotNow(format!("core {} does not answer", core.cpu)))?;
        if copy.state.is_none() {
            // It is on its way to its core, or has just been ended.
            return Err(no_book());
        }
        Ok(report_of(&spec, Some(&copy)))
    }

    /// Every book as it is now, with this many levels a side at most, by venue and symbol. One whose core does not answer is
    /// there, as `unread`.
    pub async fn books(&self, depth: usize) -> Vec<BookReport> {
        let mut books = Vec::new();
        self.for_each_book(depth, |book, _| {
            books.push(book);
            ControlFlow::Continue(())
        })
        .await;
        books
    }

    /// Gives every book as [`books`](Self::books) does, one after the other, and how many are still to come, until it is told
    /// to stop: of two thousand deep ones a few are in memory at a time.
    pub async fn for_each_book(&self, depth: usize, mut give: impl FnMut(BookReport, usize) -> ControlFlow<()>) {
        let shared = &self.manager.shared;
        let report = |symbol: Symbol, copy: Option<Box<BookCopy>>, left: usize| {
            let spec = shared.symbols.lock().unwrap_or_else(PoisonError::into_inner).spec(symbol).cloned();
            match spec {
                Some(spec) => give(report_of(&spec, copy.as_deref()), left),
                None => ControlFlow::Continue(()),
            }
        };
        shared.books.read_each(depth.min(BOOK_LEVEL_COUNT_MAX), &self.manager.cores, report).await;
    }

    /// Everything that a person would ask for.
    pub async fn status(&self) -> EngineStatus {
        let now = crate::hot::mono_now();
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let shared = &self.manager.shared;
        let connections = self.manager.statuses().await;
        let books = shared.books.status().await;
        let halted: Vec<HaltedConnection> = shared
            .whole
            .since()
            .into_iter()
            .map(|(name, since)| {
                let reason = self.manager.last_error(&name).unwrap_or_default();
                HaltedConnection { name, reason, for_ms: ms(since.elapsed()) }
            })
            .collect();
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = clients.iter().flat_map(|client| requests_of(&client.status())).collect();
        drop(clients);
        EngineStatus {
            elapsed_ms: ms(self.started.elapsed()),
            halted: !halted.is_empty(),
            halted_connections: halted,
            connections,
            requests,
            governor: shared.governor.lock().status(now).budgets.iter().map(governor_status).collect(),
            cores: self.manager.cores.iter().map(|core| self.core_status(core)).collect(),
            lanes: shared.lanes.iter().enumerate().map(|(index, lane)| self.lane_status(index, lane)).collect(),
            books,
            lists: self.manager.lists(),
            events_dropped: self.events_dropped.load(Ordering::Relaxed),
        }
    }

    fn core_status(&self, core: &super::shared::CoreLink) -> CoreStatus {
        let (beat_ms_ago, overruns, overrun_ms_max) = self.manager.shared.beats.of(Who::Core(core.cpu));
        let thread = self.threads.iter().find(|thread| thread.cpu() == core.cpu);
        let since_start = thread.and_then(super::report::Thread::since_start);
        CoreStatus {
            cpu: core.cpu,
            sockets: core.slots.taken(),
            beat_ms_ago,
            overruns,
            overrun_ms_max,
            page_faults: since_start.map(|since| since.page_faults()),
            page_faults_major: since_start.map(|since| since.page_faults_major),
            involuntary_switches: since_start.map(|since| since.switches_involuntary),
            voluntary_switches: since_start.map(|since| since.switches_voluntary),
            stages: super::report::stages(&core.stats.stages),
            stamps: super::report::stamps(&core.stats.stamp_cost),
        }
    }

    fn lane_status(&self, index: usize, lane: &LaneHandle) -> LaneStatus {
        let (beat_ms_ago, overruns, overrun_ms_max) = self.manager.shared.beats.of(Who::Lane(index));
        LaneStatus { report: lane_report(&lane.stats), beat_ms_ago, overruns, overrun_ms_max }
    }

    fn named(
        &self,
        connection: &str,
        channels: &[&str],
        symbols: &[&str],
    ) -> Result<(Vec<Channel>, Vec<String>), HandleError> {
        let venue = self.manager.venue_of(connection)?;
        let channels = channels.iter().map(|name| Channel::parse(venue, name)).collect::<Result<_, _>>();
        let channels = channels.map_err(|error| HandleError::Channel(error.to_string()))?;
        Ok((channels, symbols.iter().map(|&symbol| symbol.to_owned()).collect()))
    }

    /// Writes every event as one JSON text for the control socket's clients, for as long as the engine runs.
    pub(super) async fn write_events(self) {
        let mut events = self.events();
        loop {
            match events.recv().await {
                Ok(event) => {
                    let text = serde_json::to_string(&*event).unwrap_or_default();
                    // Nobody listening is no fault.
                    let _ = self.texts.send(text.into());
                }
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    self.events_dropped.fetch_add(lost, Ordering::Relaxed);
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    async fn answer(&self, request: ControlRequest) -> Result<ControlResponse, HandleError> {
        let texts = |names: &[String]| -> Vec<String> { names.to_vec() };
        Ok(match request {
            ControlRequest::Book { venue, symbol, depth } => {
                let venue = venue.parse::<Venue>().map_err(HandleError::Config)?;
                ControlResponse::with(&self.book(venue, &symbol, depth).await?)
            }
            ControlRequest::Status {} => ControlResponse::with(&self.status().await),
            ControlRequest::Subscribe { connection, channels, symbols } => {
                let (channels, symbols) = (refs(&channels), refs(&symbols));
                let streams = self.subscribe(&connection, &channels, &symbols).await?;
                ControlResponse::with(&json!({ "subscribed": texts(&streams) }))
            }
            ControlRequest::Unsubscribe { connection, channels, symbols } => {
                let (channels, symbols) = (refs(&channels), refs(&symbols));
                let streams = self.unsubscribe(&connection, &channels, &symbols).await?;
                ControlResponse::with(&json!({ "unsubscribed": texts(&streams) }))
            }
            ControlRequest::Add { toml: Some(toml), .. } => {
                ControlResponse::with(&json!({ "added": self.add_text(&toml).await? }))
            }
            ControlRequest::Add { file, .. } => {
                let file = file.unwrap_or_default();
                ControlResponse::with(&json!({ "added": self.add_file(Path::new(&file)).await? }))
            }
            ControlRequest::Remove { connection } => {
                self.remove(&connection).await?;
                ControlResponse::done()
            }
            ControlRequest::Send { connection, text } => {
                self.send_to(&connection, &text).await?;
                ControlResponse::done()
            }
            ControlRequest::Broadcast { text, venue } => {
                let venue = venue.map(|name| name.parse::<Venue>()).transpose().map_err(HandleError::Config)?;
                ControlResponse::with(&json!({ "sent": self.broadcast(venue, &text).await }))
            }
            ControlRequest::Reconnect { connection } => {
                self.reconnect(&connection).await?;
                ControlResponse::done()
            }
            ControlRequest::Rotate { connection } => {
                self.rotate(&connection).await?;
                ControlResponse::done()
            }
            ControlRequest::Reload { dry_run } => {
                let difference = self.reload(dry_run).await?;
                let mut answer = serde_json::to_value(&difference).unwrap_or_default();
                answer["text"] = difference.to_string().into();
                ControlResponse::with(&answer)
            }
            ControlRequest::Events { .. } => {
                let (recent, _) = self.manager.shared.events.subscribe_with_history();
                ControlResponse::with(&json!({ "events": recent.iter().map(|event| &**event).collect::<Vec<_>>() }))
            }
        })
    }
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn requests_of(status: &RequestClientStatus) -> Vec<RequestStatus> {
    let pending = status.machine.pending.iter();
    pending
        .map(|request| RequestStatus {
            connection: status.name.clone(),
            id: request.id.to_string(),
            method: request.method.clone(),
            age_ms: request.age_ms,
        })
        .collect()
}

fn governor_status(budget: &crate::control::BudgetStatus) -> GovernorStatus {
    GovernorStatus {
        venue: budget.host.clone(),
        source_address: budget.source_address.clone(),
        connects_used: budget.connects.used,
        connects_max: budget.connects.allowed,
        connects_waiting: budget.connects.waiting as u64,
        requests_used: budget.requests.used,
        requests_max: budget.requests.allowed.unwrap_or_default(),
        weight_used: budget.rest.used,
        weight_max: budget.rest.allowed,
        blocked_for_ms: budget.held_for_ms,
    }
}

impl ControlHandler for Handle {
    async fn handle(&self, request: ControlRequest) -> ControlResponse {
        match tokio::time::timeout(COMMAND_WAIT, self.answer(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => ControlResponse::refused(error.to_string(), ""),
            Err(_) => ControlResponse::refused(format!("not done within {COMMAND_WAIT:?}; it may go on"), ""),
        }
    }

    fn events(&self) -> broadcast::Receiver<Arc<str>> {
        self.texts.subscribe()
    }
}
