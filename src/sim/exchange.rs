//! One venue of the embedded exchange: what its listeners, connections, player and REST share.

use super::bybit_private::Credentials;
use super::faults::{Fault, Kill, PendingFaults, Span};
use super::frames::Recording;
use super::limiter::{Connects, Weights};
use super::listing::Listing;
use super::market::SyntheticMarket;
use super::protocol::Session;
use super::stats::{Counters, VenueStats};
use super::{bybit, handshake};
use crate::market::{EventKind, Venue};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Connections one listener serves at the same time.
const CONNECTION_COUNT_MAX: usize = 1_024;
/// What closing connections have to say good-bye when the exchange stops.
pub(super) const STOP_PATIENCE: Duration = Duration::from_millis(60);

/// Where the messages come from.
pub(super) enum Feed {
    Synthetic { market: Mutex<SyntheticMarket>, seed: u64, rate: f64, is_tape: bool },
    Frames(Arc<Recording>),
}

/// Messages for one connection, to be written together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Utf8Bytes>,
    pub(super) events: Vec<(EventKind, u64)>,
    /// Dropped when the batch is written or lost: the player of a recording waits for that.
    pub(super) _written: Vec<mpsc::Sender<()>>,
}

/// An open connection, as the others see it.
pub(super) struct Client {
    pub(super) session: Mutex<Session>,
    pub(super) kill: mpsc::Sender<Kill>,
    pub(super) frames: mpsc::Sender<Batch>,
}

/// One venue.
pub(super) struct Exchange {
    pub(super) venue: Venue,
    pub(super) feed: Feed,
    pub(super) listings: Mutex<Vec<Listing>>,
    pub(super) counters: Counters,
    pub(super) faults: Mutex<PendingFaults>,
    /// Changes when other faults are ordered.
    pub(super) faults_changed: watch::Sender<u64>,
    pub(super) connects: Mutex<Connects>,
    pub(super) weights: Mutex<Weights>,
    pub(super) credentials: Credentials,
    /// The tape stands still.
    pub(super) is_paused: AtomicBool,
    pub(super) stop: watch::Receiver<bool>,
    /// When a connection last asked for something.
    pub(super) activity: watch::Sender<Option<Instant>>,
    pub(super) playback_finished: watch::Sender<bool>,
    pub(super) ping_interval: Option<Duration>,
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Exchange {
    pub(super) fn new(
        venue: Venue,
        feed: Feed,
        listings: Vec<Listing>,
        ping_interval: Option<Duration>,
        faults: PendingFaults,
        credentials: Credentials,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let counters = Counters::default();
        if let Feed::Frames(recording) = &feed {
            counters.frames_total.store(recording.len() as u64, Ordering::Relaxed);
        }
        Self {
            venue,
            feed,
            listings: Mutex::new(listings),
            counters,
            faults: Mutex::new(faults),
            faults_changed: watch::Sender::new(0),
            connects: Mutex::default(),
            weights: Mutex::default(),
            credentials,
            is_paused: AtomicBool::new(false),
            stop,
            activity: watch::Sender::new(None),
            playback_finished: watch::Sender::new(false),
            ping_interval,
            clients: Mutex::new(BTreeMap::new()),
        }
    }

    /// Whether a Bybit topic has a handler here.
    pub(super) fn is_topic(&self, topic: &str) -> bool {
        let is_known = bybit::parse_topic(self.venue, topic).is_some_and(|(symbol, _)| self.is_listed(symbol));
        is_known || matches!(&self.feed, Feed::Frames(recording) if recording.has_stream(topic))
    }

    fn is_listed(&self, symbol: &str) -> bool {
        match &self.feed {
            Feed::Synthetic { market, .. } => market.lock().expect("no holder panics").find(symbol).is_some(),
            Feed::Frames(_) => self.listings().iter().any(|listing| listing.name == symbol),
        }
    }

    /// What is listed now.
    pub(super) fn listings(&self) -> MutexGuard<'_, Vec<Listing>> {
        self.listings.lock().expect("no holder panics")
    }

    /// The connections open now, oldest first.
    pub(super) fn clients(&self) -> Vec<Arc<Client>> {
        self.clients.lock().expect("no holder panics").values().cloned().collect()
    }

    pub(super) fn enter(&self, connection: u64, client: Arc<Client>) {
        self.clients.lock().expect("no holder panics").insert(connection, client);
        self.counters.connections_open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self, connection: u64) {
        if self.clients.lock().expect("no holder panics").remove(&connection).is_some() {
            self.counters.connections_open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn has_subscriptions(&self) -> bool {
        let clients = self.clients();
        clients.iter().any(|client| !client.session.lock().expect("no holder panics").subscriptions().is_empty())
    }

    pub(super) fn note_request(&self) {
        self.activity.send_replace(Some(Instant::now()));
    }

    pub(super) fn stats(&self) -> VenueStats {
        let mut stats = self.counters.read();
        stats.playback_finished = *self.playback_finished.borrow();
        if let Feed::Frames(recording) = &self.feed {
            stats.exclusions.clone_from(&recording.exclusions);
        }
        stats
    }
}

/// Returns when the exchange stops, or its handle is gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The value's guard must not live in the caller's future.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// A port that is listened on, or held closed: bound, so that nobody else gets it, and refusing every connect.
enum Door {
    Open(TcpListener),
    Closed(TcpSocket),
    /// Between the two, and after a failure: tried again at the next look.
    Unbound,
}

impl Door {
    /// Accepts a connection; never, while the port is closed.
    async fn accept(&self) -> Option<TcpStream> {
        match self {
            // A connection that was gone before it was accepted is nobody's business.
            Self::Open(listener) => listener.accept().await.ok().map(|(tcp, _)| tcp),
            Self::Closed(_) | Self::Unbound => std::future::pending().await,
        }
    }

    /// Closes or opens the port, if it is not as it should be.
    fn set(self, is_closed: bool, address: SocketAddr) -> Self {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.ok()?;
            socket.set_reuseaddr(true).ok()?;
            socket.bind(address).ok()?;
            Some(socket)
        };
        match (self, is_closed) {
            (door @ Self::Open(_), false) | (door @ Self::Closed(_), true) => door,
            (Self::Closed(socket), false) => socket.listen(BACKLOG).map_or(Self::Unbound, Self::Open),
            (door @ (Self::Open(_) | Self::Unbound), true) => {
                drop(door);
                bound().map_or(Self::Unbound, Self::Closed)
            }
            (Self::Unbound, false) => {
                bound().and_then(|socket| socket.listen(BACKLOG).ok()).map_or(Self::Unbound, Self::Open)
            }
        }
    }
}

/// Connects the kernel keeps until they are accepted.
const BACKLOG: u32 = 1_024;
/// How soon a port that could not be bound is tried again.
const BIND_RETRY: Duration = Duration::from_millis(5);

/// Accepts WebSocket connections until the exchange stops; then gives them a moment to close.
pub(super) async fn listen(exchange: Arc<Exchange>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
    let mut stop = exchange.stop.clone();
    let mut ordered = exchange.faults_changed.subscribe();
    let mut connections = JoinSet::new();
    let Ok(address) = listener.local_addr() else { return };
    let mut door = Door::Open(listener);
    loop {
        let now = Instant::now();
        let (is_refusing, change_at) =
            exchange.faults.lock().expect("no holder panics").refuses_connects(exchange.venue, now);
        if is_refusing && matches!(door, Door::Open(_)) {
            exchange.counters.strike(&Fault::RefuseConnects(Span::until(Duration::ZERO)));
        }
        door = door.set(is_refusing, address);
        let retry_at = matches!(door, Door::Unbound).then(|| now + BIND_RETRY);
        let look_at = change_at.into_iter().chain(retry_at).min();
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => break,
            Ok(()) = ordered.changed() => {}
            () = tokio::time::sleep_until(look_at.unwrap_or(now)), if look_at.is_some() => {}
            accepted = door.accept(), if connections.len() < CONNECTION_COUNT_MAX => {
                let Some(tcp) = accepted else { continue };
                let number = exchange.counters.connections_accepted.fetch_add(1, Ordering::Relaxed) + 1;
                connections.spawn(handshake::serve(Arc::clone(&exchange), tcp, acceptor.clone(), number));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    let farewell = async { while connections.join_next().await.is_some() {} };
    // What has not closed by then is aborted when the set is dropped.
    let _ = tokio::time::timeout(STOP_PATIENCE, farewell).await;
}
