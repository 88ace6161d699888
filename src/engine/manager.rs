//! What is connected and subscribed, and how that changes while the engine runs: the pool of sockets behind the handle.
//!
//! ```text
//! Handle (library, control socket, SIGHUP) ──► Manager ──► listing: are the symbols known?
//!                                                │    └──► which socket has room? a new one? ──► driver: Subscribe
//!                                                └── moves of silent subscriptions from one socket to another
//! ```
//! Every change is made of the same steps as a start: symbols first, then streams on a socket of their class. State is
//! behind one lock that is never held while anything is waited for; changes themselves are made one after the other.

use super::books::{Wanted, WantedBooks};
use super::driver::{Driver, DriverCommand};
use super::group::{Group, Seat};
use super::handle::HandleError;
use super::listing::{self, ListingHandle, VenueListing};
use super::managed::{Managed, ManagedLeg, ManagedSocket, State, streams};
use super::plan::{self, SocketPlan, TlsConfigs};
use super::refill::{RefillHandle, Refiller};
use super::report;
use super::shared::{CoreLink, Move, Shared};
use super::status::SharedStatus;
use super::{ColdFailure, EngineError, supervised};
use crate::config::{Config, ConfigFiles, ConnectionConfig, Difference, Effect, Transport, book_depth, is_better_book};
use crate::control::PlanError;
use crate::hot::ConnectionStats;
use crate::market::Venue;
use crate::telemetry::{ConnectionStatus, Happening, ListReport};
use crate::venue::{Channel, ChannelScope, StreamClass, protocol};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait for one driver.
const COMMANDS_MAX: usize = 4_096;

/// How long a run-time change waits for the venue's instrument list.
const LISTING_WAIT: Duration = Duration::from_secs(30);

/// How long one connection's status is waited for.
const STATUS_WAIT: Duration = Duration::from_secs(2);

/// How long a stream that is moved may take to be gone from its old socket.
const GONE_WAIT: Duration = Duration::from_secs(30);

/// Sockets a connection may have beyond those that it was planned with, for streams that moved or joined.
const EXTRA_SOCKETS_MAX: usize = 8;

/// See the module.
pub(super) struct Manager {
    pub(super) shared: Arc<Shared>,
    pub(super) cores: Arc<[CoreLink]>,
    runtime: tokio::runtime::Handle,
    stop: watch::Receiver<bool>,
    cold_failure: ColdFailure,
    listings: Mutex<HashMap<Venue, ListingHandle>>,
    /// By venue: begun with its listing.
    refills: Mutex<HashMap<Venue, RefillHandle>>,
    state: Mutex<State>,
    /// Held by whoever changes something, across what has to be waited for.
    changing: tokio::sync::Mutex<()>,
    drivers: Mutex<tokio::task::JoinSet<()>>,
}

/// The right to change what is connected and subscribed: one change after the other.
pub(super) struct Changing<'a>(#[expect(dead_code, reason = "held, not looked at")] tokio::sync::MutexGuard<'a, ()>);

impl Manager {
    /// Nothing is connected yet: [`connect_all`](Self::connect_all) does that.
    pub(super) fn new(
        config: Config,
        shared: Arc<Shared>,
        cores: Vec<CoreLink>,
        runtime: tokio::runtime::Handle,
        stop: watch::Receiver<bool>,
        cold_failure: ColdFailure,
    ) -> Self {
        Self {
            shared,
            cores: cores.into(),
            runtime,
            stop,
            cold_failure,
            listings: Mutex::default(),
            refills: Mutex::default(),
            state: Mutex::new(State { config, tls: TlsConfigs::default(), managed: Vec::new() }),
            changing: tokio::sync::Mutex::new(()),
            drivers: Mutex::new(tokio::task::JoinSet::new()),
        }
    }

    /// Connects everything that the configuration names.
    ///
    /// # Errors
    /// [`EngineError`]: a plan, trust, or more sockets than a core has.
    pub(super) fn connect_all(&self) -> Result<(), EngineError> {
        let connections = self.state().config.connections.clone();
        for connection in connections {
            self.add_one(connection)?;
        }
        Ok(())
    }

    /// Subscribes one stream of a connection again, on the leg in this place alone, where one is named; false if none of its
    /// sockets carries it, or has room to be told.
    pub(super) fn resubscribe(&self, name: &str, stream: &str, place: Option<u8>) -> bool {
        let state = self.state();
        let Ok(managed) = state.find(name) else { return false };
        let socket = managed.sockets.iter().find(|socket| socket.streams.contains(stream));
        // Which leg is in which place, each leg's driver knows.
        let command = || DriverCommand::Resubscribe { stream: stream.into(), place };
        let tell = |leg: &ManagedLeg| leg.commands.try_send(command()).is_ok();
        socket.is_some_and(|socket| socket.legs.iter().filter(|leg| tell(leg)).count() > 0)
    }

    /// The books that the streams of every connection ask for: of several of a symbol the one without a bound, else the
    /// deepest.
    fn want_books(&self, joining: Option<(&str, &[Box<str>])>) {
        let state = self.state();
        let mut wanted = WantedBooks::new();
        for managed in &state.managed {
            let config = &managed.config;
            let protocol = protocol(config.venue);
            let Ok(core) = self.core_of(config) else { continue };
            let joining = joining.filter(|(name, _)| *name == config.name).map_or(&[][..], |(_, streams)| streams);
            let streams = managed.sockets.iter().flat_map(|socket| &socket.streams);
            for stream in streams.chain(joining).filter(|_| config.book.keep) {
                let Some((channel, Some(symbol))) = protocol.channel_of(stream) else { continue };
                let Some(depth) = book_depth(&channel) else { continue };
                let key = (config.venue.name(), Box::from(symbol));
                if wanted.get(&key).is_some_and(|(_, known)| !is_better_book(depth, known.depth)) {
                    continue;
                }
                let one = Wanted {
                    connection: config.name.clone(),
                    stream: stream.clone(),
                    depth,
                    legs: if channel.is_snapshot_book() { config.legs.count } else { 1 },
                    core,
                    settings: config.book.settings(depth),
                    // What is complete in every message needs no other.
                    snapshots: if depth == 0 { config.book.snapshots(config.venue) } else { Vec::new() },
                    heaviness: config.weight(&key.1),
                };
                wanted.insert(key, (config.venue, one));
            }
        }
        drop(state);
        self.shared.books.want(wanted);
    }

    /// Does what [`want_books`](Self::want_books) says.
    async fn settle_books(&self, joining: Option<(&str, &[Box<str>])>) {
        self.want_books(joining);
        self.shared.books.settle(&self.shared, &self.cores).await;
    }

    /// The rows of the report: every socket, in the order of connections.
    pub(super) fn rows(&self) -> Vec<Arc<report::Socket>> {
        self.state()
            .managed
            .iter()
            .flat_map(|managed| managed.sockets.iter().flat_map(|socket| &socket.legs))
            .map(|leg| Arc::clone(&leg.row))
            .collect()
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Config {
        self.state().config.clone()
    }

    /// Waits until every driver has ended.
    pub(super) async fn join(&self) {
        let mut drivers = std::mem::take(&mut *self.drivers.lock().unwrap_or_else(PoisonError::into_inner));
        while drivers.join_next().await.is_some() {}
    }

    /// Waits until nobody changes anything. What is read and changed under it is one change.
    pub(super) async fn changing(&self) -> Changing<'_> {
        Changing(self.changing.lock().await)
    }

    /// Connects these too.
    pub(super) async fn add(
        &self,
        _held: &Changing<'_>,
        connections: Vec<ConnectionConfig>,
    ) -> Result<(), HandleError> {
        let config = {
            let config = &self.state().config;
            let mut all = config.connections.clone();
            all.extend(connections.iter().cloned());
            Config::from_parts(all, config.engine.clone()).map_err(|errors| HandleError::Config(errors.to_string()))?
        };
        if config.engine.cores != self.state().config.engine.cores {
            return Err(HandleError::Config("a connection names a core that is not running".to_owned()));
        }
        for connection in connections {
            // Where the venue is known, the listing of its start is over: what this one names is asked for.
            if self.listing_of(connection.venue).is_some() {
                let needs_all = connection.channels.iter().any(|channel| channel.scope == ChannelScope::AllMarket);
                self.ensure_listed(&connection, &connection.symbols, needs_all).await?;
            }
            if connection.legs.count > 1 {
                self.state().has_room_for_legs(connection.core, connection.sockets().len())?;
            }
            self.add_one(connection.clone()).map_err(|error| HandleError::Config(error.to_string()))?;
            self.state().config.connections.push(connection);
        }
        Ok(())
    }

    /// Closes a connection, and forgets it.
    pub(super) async fn remove(&self, _held: &Changing<'_>, name: &str) -> Result<(), HandleError> {
        let removed = {
            let mut state = self.state();
            let at = state.managed.iter().position(|managed| managed.config.name == name);
            let at = at.ok_or_else(|| state.unknown(name))?;
            state.config.connections.retain(|connection| connection.name != name);
            state.managed.remove(at)
        };
        for socket in &removed.sockets {
            for leg in &socket.legs {
                let (done, is_done) = oneshot::channel();
                let is_sent = leg.commands.send(DriverCommand::Remove(done)).await.is_ok();
                // A driver that has ended, or ends before it hears this, forgets nothing any more; one that is only slow does.
                if !is_sent || matches!(tokio::time::timeout(STATUS_WAIT, is_done).await, Ok(Err(_))) {
                    self.shared.whole.forget(&socket.name);
                }
            }
        }
        self.settle_books(None).await;
        Ok(())
    }

    /// Subscribes every one of these channels for every one of these symbols on a connection. Symbols unknown so far are
    /// looked up first. Gives the streams that are new.
    pub(super) async fn subscribe(
        &self,
        _held: &Changing<'_>,
        name: &str,
        channels: &[Channel],
        symbols: &[String],
    ) -> Result<Vec<Box<str>>, HandleError> {
        let (connection, taken) = {
            let state = self.state();
            let managed = state.find(name)?;
            (managed.config.clone(), state.all_streams(managed.config.venue))
        };
        let venue = connection.venue;
        let wanted = streams(venue, channels, symbols);
        if wanted.is_empty() {
            return Err(HandleError::Nothing);
        }
        if let Some((_, stream)) =
            wanted.iter().find(|(_, stream)| taken.get(&**stream).is_some_and(|owner| owner != name))
        {
            let owner = taken[&**stream].clone();
            return Err(HandleError::Taken { stream: stream.to_string(), owner });
        }
        let needs_all = channels.iter().any(|channel| channel.scope == ChannelScope::AllMarket);
        self.ensure_listed(&connection, symbols, needs_all).await?;
        let new: Vec<_> = wanted.into_iter().filter(|(_, stream)| !taken.contains_key(&**stream)).collect();
        let mut by_class: Vec<(StreamClass, Vec<Box<str>>)> = Vec::new();
        for (channel, stream) in &new {
            let class = protocol(venue).class(channel);
            match by_class.iter_mut().find(|(known, _)| *known == class) {
                Some((_, streams)) => streams.push(stream.clone()),
                None => by_class.push((class, vec![stream.clone()])),
            }
        }
        let joining: Vec<Box<str>> = new.iter().map(|(_, stream)| stream.clone()).collect();
        self.settle_books(Some((name, &joining))).await;
        for (class, streams) in by_class {
            self.place(name, class, streams, None).await?;
        }
        self.note_wanted(name, channels, symbols);
        Ok(new.into_iter().map(|(_, stream)| stream).collect())
    }

    /// Ends every one of these channels for every one of these symbols, and waits until they are gone, for a while. Gives
    /// the streams that were live.
    pub(super) async fn unsubscribe(
        &self,
        _held: &Changing<'_>,
        name: &str,
        channels: &[Channel],
        symbols: &[String],
    ) -> Result<Vec<Box<str>>, HandleError> {
        let venue = self.state().find(name)?.config.venue;
        let unwanted: HashSet<Box<str>> =
            streams(venue, channels, symbols).into_iter().map(|(_, stream)| stream).collect();
        let (mut ended, mut going) = (Vec::new(), Vec::new());
        let commands: Vec<_> = {
            let mut state = self.state();
            let managed = state.find_mut(name)?;
            let commands = managed.sockets.iter_mut().flat_map(|socket| {
                let here: Vec<Box<str>> =
                    socket.streams.iter().filter(|name| unwanted.contains(*name)).cloned().collect();
                socket.streams.retain(|name| !unwanted.contains(name));
                ended.extend(here.iter().cloned());
                let legs = if here.is_empty() { Vec::new() } else { socket.commands() };
                legs.into_iter().map(move |commands| (commands, here.clone()))
            });
            commands.collect()
        };
        for (commands, streams) in commands {
            let (reply, gone) = oneshot::channel();
            let _ = commands.send(DriverCommand::Unsubscribe(streams, reply)).await;
            going.push(gone);
        }
        self.note_unwanted(name, channels, symbols);
        self.settle_books(None).await;
        // Whoever asks for one of them elsewhere next must not have it twice. A driver that has ended sends nothing.
        let deadline = tokio::time::Instant::now() + GONE_WAIT;
        for gone in going {
            if tokio::time::timeout_at(deadline, gone).await.is_err() {
                tracing::warn!(
                    connection = name,
                    "the venue has not confirmed within {GONE_WAIT:?} what was unsubscribed"
                );
            }
        }
        Ok(ended)
    }

    /// Sends a text on one connection, by the name of the connection or of one of its sockets.
    pub(super) async fn send_to(&self, name: &str, text: &str) -> Result<(), HandleError> {
        let commands = self.state().sockets_of(name)?.into_iter().next().ok_or(HandleError::Nothing)?;
        send(&commands, text).await
    }

    /// Sends a text on every socket, of one venue or of all. Gives how many took it.
    pub(super) async fn broadcast(&self, venue: Option<Venue>, text: &str) -> usize {
        let commands: Vec<_> = {
            let state = self.state();
            let of_venue =
                state.managed.iter().filter(|managed| venue.is_none_or(|venue| managed.config.venue == venue));
            of_venue.flat_map(|managed| managed.sockets.iter().flat_map(ManagedSocket::commands)).collect()
        };
        let mut sent = 0;
        for commands in commands {
            sent += usize::from(send(&commands, text).await.is_ok());
        }
        sent
    }

    /// Drops a connection's sockets and makes them again.
    pub(super) async fn reconnect(&self, name: &str) -> Result<(), HandleError> {
        let sockets = self.state().sockets_of(name)?;
        for commands in sockets {
            let _ = commands.send(DriverCommand::Reconnect).await;
        }
        Ok(())
    }

    /// Replaces a connection's sockets, make before break.
    pub(super) async fn rotate(&self, name: &str) -> Result<(), HandleError> {
        let sockets = self.state().sockets_of(name)?;
        for commands in sockets {
            let (reply, answer) = oneshot::channel();
            let _ = commands.send(DriverCommand::Rotate(reply)).await;
            if let Ok(Err(why)) = answer.await {
                return Err(HandleError::NotNow(why));
            }
        }
        Ok(())
    }

    /// Applies what differs from `old`, which is in force.
    pub(super) async fn apply(
        &self,
        held: &Changing<'_>,
        old: &Config,
        difference: &Difference,
    ) -> Result<(), HandleError> {
        let new = difference.apply(old);
        for name in &difference.removed {
            self.remove(held, name).await?;
        }
        for change in &difference.streams {
            if !difference.added.contains(&change.connection) && !difference.removed.contains(&change.connection) {
                self.change_streams(held, &change.connection, &change.removed, false).await?;
            }
        }
        for change in &difference.streams {
            if !difference.added.contains(&change.connection) && !difference.removed.contains(&change.connection) {
                self.change_streams(held, &change.connection, &change.added, true).await?;
            }
        }
        let added = new.connections.iter().filter(|connection| difference.added.contains(&connection.name));
        let added: Vec<_> = added.cloned().collect();
        if !added.is_empty() {
            self.add(held, added).await?;
        }
        let mut changed: Vec<&str> = difference.changed.iter().map(|change| change.connection.as_str()).collect();
        changed.dedup();
        for name in changed {
            let Some(connection) = difference.connection(name) else { continue };
            self.replace_settings(connection).await?;
            let needs_rotation =
                |change: &&crate::config::SettingChange| change.connection == name && change.effect == Effect::Rotation;
            if difference.changed.iter().any(|change| needs_rotation(&change))
                && let Err(error) = self.rotate(name).await
            {
                // It takes the settings with its next socket, which is on its way.
                tracing::warn!(connection = name, %error, "not rotated for its new settings");
            }
        }
        let mut state = self.state();
        state.config = new;
        Ok(())
    }

    async fn change_streams(
        &self,
        held: &Changing<'_>,
        name: &str,
        streams: &[crate::config::StreamName],
        is_added: bool,
    ) -> Result<(), HandleError> {
        let venue = self.venue_of(name)?;
        let mut by_channel: Vec<(Channel, Vec<String>)> = Vec::new();
        for stream in streams {
            let channel =
                Channel::parse(venue, &stream.channel).map_err(|error| HandleError::Channel(error.to_string()))?;
            let symbol = Some(stream.symbol.clone()).filter(|symbol| !symbol.is_empty());
            match by_channel.iter_mut().find(|(known, _)| *known == channel) {
                Some((_, symbols)) => symbols.extend(symbol),
                None => by_channel.push((channel, symbol.into_iter().collect())),
            }
        }
        for (channel, symbols) in by_channel {
            if is_added {
                self.subscribe(held, name, &[channel], &symbols).await?;
            } else {
                self.unsubscribe(held, name, &[channel], &symbols).await?;
            }
        }
        Ok(())
    }

    /// From the next socket on, a connection is made as this configuration says.
    async fn replace_settings(&self, new: &ConnectionConfig) -> Result<(), HandleError> {
        let plans: Vec<_> = {
            let mut state = self.state();
            let State { managed, tls, config } = &mut *state;
            let Some(managed) = managed.iter_mut().find(|managed| managed.config.name == new.name) else {
                return Ok(());
            };
            managed.config = new.clone();
            if let Some(known) = config.connections.iter_mut().find(|connection| connection.name == new.name) {
                *known = new.clone();
            }
            let core = self.core_of(new).map_err(|error| HandleError::Config(error.to_string()))?;
            let mut plans = Vec::new();
            for socket in &managed.sockets {
                let streams: Vec<Box<str>> = socket.streams.iter().cloned().collect();
                let legs = plan::legs(new, core, &socket.name, socket.class, &streams, tls)
                    .map_err(|error| HandleError::Config(error.to_string()))?;
                plans.extend(socket.commands().into_iter().zip(legs));
            }
            plans
        };
        for (commands, plan) in plans {
            let _ = commands.send(DriverCommand::Plan(Box::new(plan))).await;
        }
        self.settle_books(None).await;
        Ok(())
    }

    /// Moves silent subscriptions to other sockets, as drivers ask for it.
    pub(super) async fn run_moves(self: Arc<Self>, mut moves: mpsc::UnboundedReceiver<Move>) {
        while let Some(Move { from, stream }) = moves.recv().await {
            if let Err(error) = self.move_stream(&from, &stream).await {
                tracing::warn!(connection = %from, %stream, %error, "a silent subscription could not be moved");
            }
        }
    }

    /// Ends a stream on its socket, waits until it is gone there, and asks for it on another one.
    async fn move_stream(&self, from: &str, stream: &str) -> Result<(), HandleError> {
        let _changing = self.changing.lock().await;
        let (name, class, commands) = {
            let mut state = self.state();
            let found = state.managed.iter_mut().find_map(|managed| {
                let socket = managed.sockets.iter_mut().find(|socket| socket.has_leg(from))?;
                // What one leg lacks the others bring: there is nothing to be moved, and nobody to wait for.
                let [leg] = &socket.legs[..] else { return None };
                let found = (managed.config.name.clone(), socket.class, leg.commands.clone());
                socket.streams.remove(stream).then_some(found)
            });
            // It was unsubscribed meanwhile, or its connection removed.
            let Some(found) = found else { return Ok(()) };
            found
        };
        let (reply, gone) = oneshot::channel();
        let _ = commands.send(DriverCommand::Unsubscribe(vec![stream.into()], reply)).await;
        let is_gone = tokio::time::timeout(GONE_WAIT, gone).await.is_ok_and(|gone| gone.is_ok());
        if !is_gone {
            // Never live twice: it stays where it is.
            let _ = commands.send(DriverCommand::Subscribe(vec![stream.into()])).await;
            if let Some(socket) = self.state().socket_mut(from) {
                socket.streams.insert(stream.into());
            }
            return Err(HandleError::NotNow("its old connection does not let go of it".to_owned()));
        }
        let to = self.place(&name, class, vec![stream.into()], Some(from)).await?;
        self.shared.events.publish(from, Happening::Moved { stream: stream.to_owned(), to });
        Ok(())
    }

    /// Gives streams of one class to sockets of a connection that have room, but not to `avoided`; makes sockets where
    /// there is none. Gives the name of the last socket that took any.
    async fn place(
        &self,
        name: &str,
        class: StreamClass,
        streams: Vec<Box<str>>,
        avoided: Option<&str>,
    ) -> Result<String, HandleError> {
        let mut left = streams;
        let mut told = Vec::new();
        {
            let mut state = self.state();
            let managed = state.find_mut(name)?;
            let sockets =
                managed.sockets.iter_mut().filter(|socket| socket.class == class && Some(&*socket.name) != avoided);
            for socket in sockets {
                let mut taken = Vec::new();
                left.retain(|stream| {
                    let takes = plan::has_room(&managed.config, &socket.streams, stream);
                    if takes {
                        socket.streams.insert(stream.clone());
                        taken.push(stream.clone());
                    }
                    !takes
                });
                if !taken.is_empty() {
                    told.push((socket.name.clone(), socket.commands(), taken));
                }
            }
        }
        let mut last = String::new();
        for (socket, legs, streams) in told {
            for commands in legs {
                let _ = commands.send(DriverCommand::Subscribe(streams.clone())).await;
            }
            last = socket;
        }
        while !left.is_empty() {
            last = self.add_socket(name, class, &mut left)?;
        }
        Ok(last)
    }

    /// Makes another socket of a connection, with as many of these streams as it carries.
    fn add_socket(&self, name: &str, class: StreamClass, left: &mut Vec<Box<str>>) -> Result<String, HandleError> {
        let mut state = self.state();
        let config = &state.find(name)?.config;
        if config.legs.count > 1 {
            state.has_room_for_legs(config.core, 1)?;
        }
        let State { managed, tls, .. } = &mut *state;
        let managed = managed.iter_mut().find(|managed| managed.config.name == name).ok_or(HandleError::Nothing)?;
        if managed.sockets.len() >= managed.planned_sockets + EXTRA_SOCKETS_MAX {
            return Err(HandleError::NotNow(format!(
                "connection `{name}` has {} sockets, {EXTRA_SOCKETS_MAX} more than it was planned with: at most that many",
                managed.sockets.len()
            )));
        }
        let mut streams = BTreeSet::new();
        left.retain(|stream| {
            let takes = plan::has_room(&managed.config, &streams, stream);
            if takes {
                streams.insert(stream.clone());
            }
            !takes
        });
        if streams.is_empty() {
            let chars = left[0].chars().count();
            return Err(HandleError::Config(PlanError::TooManyChars { chars, limit: 0 }.to_string()));
        }
        let core = self.core_of(&managed.config).map_err(|error| HandleError::Config(error.to_string()))?;
        let socket_name = plan::socket_name(&managed.config.name, class, managed.next_number);
        managed.next_number += 1;
        let listed: Vec<Box<str>> = streams.iter().cloned().collect();
        let plans = plan::legs(&managed.config, core, &socket_name, class, &listed, tls)
            .map_err(|error| HandleError::Config(error.to_string()))?;
        let socket = self.spawn_legs(&managed.config, &socket_name, plans, class, streams);
        managed.sockets.push(socket);
        Ok(socket_name)
    }

    fn add_one(&self, connection: ConnectionConfig) -> Result<(), EngineError> {
        let core = self.core_of(&connection)?;
        self.listing(&connection)?;
        let planned = plan::sockets(&connection, core, &mut self.state().tls)?;
        let (name, config) = (connection.name.clone(), connection.clone());
        let (planned_sockets, next_number) = (planned.len(), planned.len() + 1);
        self.state().managed.push(Managed { planned_sockets, next_number, config: connection, sockets: Vec::new() });
        // Before any driver runs: it makes the books of its streams first.
        let joining: Vec<Box<str>> = planned.iter().flat_map(|(_, legs)| legs[0].streams().iter().cloned()).collect();
        self.want_books(Some((&name, &joining)));
        let sockets: Vec<ManagedSocket> = planned
            .into_iter()
            .map(|(class, plans)| {
                let streams = plans[0].streams().iter().cloned().collect();
                let socket = plans[0].name.strip_suffix("/leg-1").unwrap_or(&plans[0].name).to_owned();
                self.spawn_legs(&config, &socket, plans, class, streams)
            })
            .collect();
        if let Ok(managed) = self.state().find_mut(&name) {
            managed.sockets = sockets;
        }
        Ok(())
    }

    /// Starts the drivers of one socket's legs.
    fn spawn_legs(
        &self,
        config: &ConnectionConfig,
        name: &str,
        plans: Vec<SocketPlan>,
        class: StreamClass,
        streams: BTreeSet<Box<str>>,
    ) -> ManagedSocket {
        let stream_kinds = config.channels.iter().map(Channel::stream_kind);
        let seats = match plans.len() {
            1 => vec![None],
            count => {
                let race = config.legs.race;
                let how = (count, race.failover, race.settings());
                Group::seats(name, config.venue, stream_kinds, how).into_iter().map(Some).collect()
            }
        };
        let legs = plans.into_iter().zip(seats).map(|(plan, seat)| self.spawn(plan, seat)).collect();
        ManagedSocket { name: name.to_owned(), class, streams, legs }
    }

    /// Starts the driver of one leg.
    fn spawn(&self, plan: SocketPlan, seat: Option<Seat>) -> ManagedLeg {
        let stats: Arc<ConnectionStats> = Arc::default();
        let status = SharedStatus::default();
        let row = Arc::new(report::Socket {
            name: plan.name.clone(),
            venue: plan.venue,
            transport: match plan.transport {
                Transport::Hot => "hot",
                Transport::Cold => "cold",
            },
            stats: Arc::clone(&stats),
            status: Arc::clone(&status),
        });
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let listing = self.listings.lock().unwrap_or_else(PoisonError::into_inner)[&plan.venue].progress();
        let refills = self.refills.lock().unwrap_or_else(PoisonError::into_inner)[&plan.venue].clone();
        let name = plan.name.clone();
        let driver = Driver {
            core: self.cores[plan.core].clone(),
            cores: Arc::clone(&self.cores),
            plan,
            shared: Arc::clone(&self.shared),
            stats,
            status,
            listing,
            refills,
            commands: received,
            stop: self.stop.clone(),
            early: Vec::new(),
            seat,
        };
        let task = supervised(format!("the driver of {name}"), driver.run(), Arc::clone(&self.cold_failure));
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner).spawn_on(task, &self.runtime);
        ManagedLeg { name, commands, row }
    }

    /// The venue's listing, begun with the first connection of the venue.
    fn listing(&self, connection: &ConnectionConfig) -> Result<(), EngineError> {
        let venue = connection.venue;
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        if listings.contains_key(&venue) {
            return Ok(());
        }
        let mut state = self.state();
        let State { config, tls, .. } = &mut *state;
        let connections: Vec<&ConnectionConfig> =
            config.connections.iter().filter(|known| known.venue == venue).chain([connection]).collect();
        let first = connections[0];
        let rest = listing::governed_rest(first, tls.get(first.tls.ca_file.as_ref())?, &self.shared.governor)?;
        self.shared.books.set_rest(venue, rest.clone());
        let cores = self.cores.iter().filter(|core| connections.iter().any(|connection| connection.core == core.cpu));
        let cores = cores.map(|core| core.commands.clone()).collect();
        let Shared { governor, symbols, events, .. } = &*self.shared;
        let (refiller, refills) =
            Refiller::new(venue, rest.clone(), Arc::clone(governor), Arc::clone(symbols), events.clone());
        let task = supervised(format!("the refills of {venue}"), refiller.run(), Arc::clone(&self.cold_failure));
        self.runtime.spawn(task);
        self.refills.lock().unwrap_or_else(PoisonError::into_inner).insert(venue, refills);
        let (listing, handle) = VenueListing::new(
            &connections,
            rest,
            cores,
            Arc::clone(symbols),
            (self.shared.books.clone(), events.clone()),
        );
        let task = supervised(format!("the listing of {venue}"), listing.run(), Arc::clone(&self.cold_failure));
        self.runtime.spawn(task);
        listings.insert(venue, handle);
        Ok(())
    }

    /// What the venues' lists say, by venue.
    pub(super) fn lists(&self) -> Vec<ListReport> {
        let listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lists: Vec<_> = listings.values().map(|listing| listing.progress().borrow().report.clone()).collect();
        lists.sort_by(|a, b| a.venue.cmp(&b.venue));
        lists
    }

    /// Every venue's list is to be asked for again, where books are kept.
    pub(super) async fn look_at_lists(&self) {
        let listings: Vec<ListingHandle> =
            self.listings.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for listing in listings {
            // One that has ended tells nobody anything any more.
            let _ = listing.look().await;
        }
    }

    fn listing_of(&self, venue: Venue) -> Option<ListingHandle> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner).get(&venue).cloned()
    }

    /// Makes these names known, on the core of this connection too.
    async fn ensure_listed(
        &self,
        connection: &ConnectionConfig,
        symbols: &[String],
        needs_all: bool,
    ) -> Result<(), HandleError> {
        let venue = connection.venue;
        let ended = |_| HandleError::NotNow("the engine stops".to_owned());
        let Some(listing) = self.listing_of(venue) else { return Err(HandleError::Nothing) };
        if let Some(core) = self.cores.iter().find(|core| core.cpu == connection.core) {
            listing.add_core(core.commands.clone()).await.map_err(ended)?;
        }
        let stated = listing::stated_instruments(connection).collect();
        let ensure = async {
            if needs_all {
                // What an all-market channel brings may be of any symbol.
                listing.ensure_all().await?;
            }
            listing.ensure_with(symbols.to_vec(), stated).await
        };
        let listed = tokio::time::timeout(LISTING_WAIT, ensure).await;
        let listed = match listed {
            Ok(listed) => listed.map_err(ended)?,
            Err(_) => {
                let why = listing.progress().borrow().error.as_deref().unwrap_or("no answer yet").to_owned();
                return Err(HandleError::NoList { venue, waited: LISTING_WAIT, why });
            }
        };
        let missing: Vec<String> = listed.unlisted.into_iter().filter(|name| symbols.contains(name)).collect();
        if !missing.is_empty() {
            return Err(HandleError::NotListed { venue, symbols: missing });
        }
        match listed.refused.into_iter().next() {
            Some((name, why)) => Err(HandleError::Config(format!("{name}: {why}"))),
            None => Ok(()),
        }
    }

    /// The venue of a connection.
    pub(super) fn venue_of(&self, name: &str) -> Result<Venue, HandleError> {
        Ok(self.state().find(name)?.config.venue)
    }

    /// Why a socket was last in trouble.
    pub(super) fn last_error(&self, socket: &str) -> Option<String> {
        let row = self.rows().into_iter().find(|row| row.name == socket)?;
        row.status.lock().unwrap_or_else(PoisonError::into_inner).last_error.clone()
    }

    /// Everything that is known of every socket.
    pub(super) async fn statuses(&self) -> Vec<ConnectionStatus> {
        let sockets: Vec<(String, Venue, mpsc::Sender<DriverCommand>)> = {
            let state = self.state();
            let sockets = state.managed.iter().flat_map(|managed| {
                managed
                    .sockets
                    .iter()
                    .flat_map(|socket| &socket.legs)
                    .map(|leg| (leg.name.clone(), managed.config.venue, leg.commands.clone()))
            });
            sockets.collect()
        };
        // All are asked before any answer is waited for, so that one that hangs costs its own time alone.
        let asked = sockets.into_iter().map(|(name, venue, commands)| {
            let (reply, answer) = oneshot::channel();
            let is_asked = commands.try_send(DriverCommand::Status(reply)).is_ok();
            (name, venue, is_asked.then_some(answer))
        });
        let asked: Vec<_> = asked.collect();
        let deadline = tokio::time::Instant::now() + STATUS_WAIT;
        let mut statuses = Vec::new();
        for (name, venue, answer) in asked {
            let answer = match answer {
                Some(answer) => tokio::time::timeout_at(deadline, answer).await.ok().and_then(Result::ok),
                None => None,
            };
            // A driver that has ended answers nothing.
            statuses.push(answer.unwrap_or_else(|| super::status::bare(&name, venue, "unanswered")));
        }
        statuses
    }

    /// These files are read again on a reload.
    pub(super) fn remember_files(&self, files: ConfigFiles) {
        self.state().config.files = files;
    }

    /// The configuration in force knows what was subscribed.
    fn note_wanted(&self, name: &str, channels: &[Channel], symbols: &[String]) {
        let mut state = self.state();
        let Some(connection) = state.config.connections.iter_mut().find(|connection| connection.name == name) else {
            return;
        };
        // A configuration is channels times symbols: what is no such product is kept by the sockets alone.
        let is_product = channels.len() == connection.channels.len()
            || connection.channels.iter().all(|channel| channels.contains(channel));
        if is_product {
            for symbol in symbols.iter().filter(|symbol| !symbol.is_empty()) {
                if !connection.symbols.contains(symbol) {
                    connection.symbols.push(symbol.clone());
                }
            }
        }
    }

    /// The configuration in force forgets what was unsubscribed.
    fn note_unwanted(&self, name: &str, channels: &[Channel], symbols: &[String]) {
        let mut state = self.state();
        let Some(connection) = state.config.connections.iter_mut().find(|connection| connection.name == name) else {
            return;
        };
        if connection.channels.iter().all(|channel| channels.contains(channel)) {
            connection.symbols.retain(|symbol| !symbols.contains(symbol));
        }
    }

    fn core_of(&self, connection: &ConnectionConfig) -> Result<usize, EngineError> {
        let position = self.cores.iter().position(|core| core.cpu == connection.core);
        position.ok_or_else(|| EngineError::NoSuchCore { connection: connection.name.clone(), cpu: connection.core })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(commands: &mpsc::Sender<DriverCommand>, text: &str) -> Result<(), HandleError> {
    let (reply, sent) = oneshot::channel();
    let _ = commands.send(DriverCommand::Send(text.to_owned(), reply)).await;
    match sent.await {
        Ok(sent) => sent.map_err(HandleError::NotNow),
        Err(_) => Err(HandleError::NotNow("the connection has ended".to_owned())),
    }
}
