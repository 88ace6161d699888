//! The embedded exchange: speaks the four venues' protocols over real sockets on loopback, with faults on request.
//!
//! ```text
//!                       ┌── ws, wss   exchange.rs ─► handshake.rs ─► connection.rs ─► binance.rs, bybit*.rs (what is asked)
//! start(SimOptions) ────┤                                 ▲  ▲ outbox.rs
//!   one set a venue     │   synthetic: market.rs (book.rs) ─► line.rs ─► *_feed.rs                 (what is said)
//!                       │     tape.rs ──┘ its own clock      recorded: frames.rs ─► player
//!                       ├── http(s)   rest.rs: instrument list, depth, trades by id
//!                       └── faults.rs (fault_spec.rs): what goes wrong on request     limiter.rs: the venues' limits
//! ```
//! Used by `tickwire sim`, `tickwire demo` and the whole-engine tests. It is a second, independent reading of each venue's
//! protocol: it uses `market` and `limits` alone, so that one mistake is not made twice. It prints nothing, listens on
//! loopback only, and is bounded everywhere: connections, buffers, histories, patience.

mod binance;
mod binance_feed;
mod book;
mod bybit;
mod bybit_feed;
mod bybit_private;
mod connection;
pub mod echo;
mod exchange;
mod fault_spec;
mod faults;
mod frames;
mod handshake;
mod json_rpc;
mod limiter;
mod line;
mod listing;
mod market;
mod outbox;
mod protocol;
mod rest;
mod rest_limits;
mod rest_trades;
mod stats;
mod tape;
mod text;
mod tls;

pub use bybit_private::Credentials;
pub use fault_spec::{FAULT_HELP, FaultSpecError};
pub use faults::{Fault, FaultRule, Faults, Kill, Span, Which};
pub use frames::Pace;
pub use stats::{Exclusion, SimStats, VenueStats};
pub use tape::{Tape, TapeTrade};

use crate::market::Venue;
use exchange::{Exchange, Feed};
use faults::PendingFaults;
use frames::Recording;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tls::Identity;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Most symbols a venue lists: what the engine itself can hold.
const SYMBOLS_MAX: u32 = 16_384;
const _: () = assert!(SYMBOLS_MAX as usize == crate::limits::SYMBOL_COUNT_MAX);

/// Whether the exchange speaks TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsMode {
    /// `ws` and `http` only.
    Off,
    /// `wss` and `https` beside them.
    On,
}

/// Where the messages come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A seeded market: a true book per symbol, everything else derived from it.
    Synthetic {
        /// The same seed names the same market.
        seed: u64,
        /// Messages per second on each connection that has subscriptions.
        rate: f64,
        /// Symbols per venue.
        symbols: u32,
    },
    /// Recorded frames.
    Frames {
        /// The directory that holds one folder a venue.
        dir: PathBuf,
        /// How fast they are played.
        pace: Pace,
    },
}

/// What is to be served.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// The venues; one listener each for every scheme.
    pub venues: Vec<Venue>,
    /// With or without TLS.
    pub tls: TlsMode,
    /// Where the messages come from.
    pub source: Source,
    /// A loopback address; ports are chosen by the kernel.
    pub listen: IpAddr,
    /// After this the exchange stops by itself.
    pub duration: Option<Duration>,
    /// Where the CA's PEM is written; by default a file in the temporary directory, removed at the end.
    pub ca_path: Option<PathBuf>,
    /// What goes wrong; nothing by default.
    pub faults: Faults,
    /// How often Binance's connections are pinged; by default as the venue does (20 s spot, 3 min USD-M).
    pub ping_interval: Option<Duration>,
    /// The synthetic market lives by itself, `rate` moments a second at each venue, and every connection follows with its
    /// own cursors: all connections are told the same trades and quotes, each at its own moment. Without it a market moves
    /// when a connection asks for messages, `rate` a second for each.
    pub is_tape: bool,
    /// Who may authenticate on Bybit's private path.
    pub credentials: Credentials,
    /// Playback of frames begins when no request has come for this long.
    pub start_quiet: Duration,
}

impl Default for SimOptions {
    /// All venues without TLS on 127.0.0.1: 20 symbols each, 1,000 messages per second and connection, seed 1.
    fn default() -> Self {
        Self {
            venues: Venue::ALL.into(),
            tls: TlsMode::Off,
            source: Source::Synthetic { seed: 1, rate: 1_000.0, symbols: 20 },
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            duration: None,
            ca_path: None,
            faults: Faults::default(),
            ping_interval: None,
            is_tape: false,
            credentials: Credentials::default(),
            start_quiet: Duration::from_millis(500),
        }
    }
}

/// Why the exchange cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Somebody else could reach it.
    #[error("the embedded exchange listens on loopback only: {0} is not a loopback address")]
    NotLoopback(IpAddr),
    /// Nothing to serve.
    #[error("no venue to serve: at least one of binance-spot, binance-usdm, bybit-spot, bybit-linear is needed")]
    NoVenue,
    /// A rate that is no rate.
    #[error("rate {0}: messages per second from above 0 to 1000000 are allowed")]
    Rate(f64),
    /// No symbols, or more than fit.
    #[error("{0} symbols per venue: from 1 to {SYMBOLS_MAX} are allowed")]
    Symbols(u32),
    /// A multiple that is no pace.
    #[error("pace {0}: a multiple from above 0 to 1000000 is allowed")]
    Pace(f64),
    /// A recording that cannot be played.
    #[error("frames: {file}:{line}: {what}")]
    Frames {
        /// Folder and file.
        file: String,
        /// The line, from 1; 0 where it is about the whole file.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// No port.
    #[error("cannot listen: {0}")]
    Listen(io::Error),
    /// No certificate.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
    /// No place for the CA's PEM.
    #[error("cannot write the CA to {path}: {error}")]
    CaFile {
        /// Where it was to go.
        path: PathBuf,
        /// Why it did not.
        error: io::Error,
    },
}

/// Where a venue is served. WebSocket URLs are bases: the venue's own path goes behind them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VenueEndpoints {
    /// `ws://127.0.0.1:port`
    pub ws: String,
    /// `wss://127.0.0.1:port`, if TLS is on.
    pub wss: Option<String>,
    /// `http://127.0.0.1:port`
    pub rest: String,
    /// `https://127.0.0.1:port`, if TLS is on.
    pub rests: Option<String>,
}

/// Everything served, as `tickwire sim` prints it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Endpoints {
    /// By the venues' names.
    pub venues: BTreeMap<String, VenueEndpoints>,
    /// The CA's PEM file, if TLS is on.
    pub ca_file: Option<String>,
}

impl Endpoints {
    /// A venue's endpoints, if it is served.
    #[must_use]
    pub fn venue(&self, venue: Venue) -> Option<&VenueEndpoints> {
        self.venues.get(venue.name())
    }
}

/// A running exchange. Dropping it stops it without waiting.
pub struct SimHandle {
    endpoints: Endpoints,
    exchanges: Vec<Arc<Exchange>>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    temporary_ca: Option<PathBuf>,
}

/// Starts the exchange on the current tokio runtime. When this returns, it accepts connections.
///
/// # Errors
/// [`SimError`].
pub async fn start(options: SimOptions) -> Result<SimHandle, SimError> {
    check(&options)?;
    let identity = match options.tls {
        TlsMode::Off => None,
        TlsMode::On => Some(Identity::make(options.listen, options.ca_path.as_deref())?),
    };
    let (stop, stopped) = watch::channel(false);
    let ca_file = identity.as_ref().map(|identity| identity.ca_path.display().to_string());
    let temporary_ca =
        identity.as_ref().filter(|identity| identity.is_temporary).map(|identity| identity.ca_path.clone());
    let mut handle = SimHandle {
        endpoints: Endpoints { venues: BTreeMap::new(), ca_file },
        exchanges: Vec::new(),
        stop,
        listeners: Vec::new(),
        temporary_ca,
    };
    let venues: BTreeSet<Venue> = options.venues.iter().copied().collect();
    for venue in venues {
        handle.serve(venue, &options, identity.as_ref(), stopped.clone()).await?;
    }
    if let Some(duration) = options.duration {
        let stop = handle.stop.clone();
        handle.listeners.push(tokio::spawn(async move {
            let mut stopped = stop.subscribe();
            tokio::select! {
                () = tokio::time::sleep(duration) => { stop.send_replace(true); }
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        }));
    }
    Ok(handle)
}

fn check(options: &SimOptions) -> Result<(), SimError> {
    if !options.listen.is_loopback() {
        return Err(SimError::NotLoopback(options.listen));
    }
    if options.venues.is_empty() {
        return Err(SimError::NoVenue);
    }
    let is_allowed = |number: f64| number > 0.0 && number <= 1_000_000.0;
    match options.source {
        Source::Synthetic { rate, .. } if !is_allowed(rate) => Err(SimError::Rate(rate)),
        Source::Synthetic { symbols, .. } if !(1..=SYMBOLS_MAX).contains(&symbols) => Err(SimError::Symbols(symbols)),
        Source::Frames { pace: Pace::Multiple(multiple), .. } if !is_allowed(multiple) => Err(SimError::Pace(multiple)),
        _ => Ok(()),
    }
}

fn feed(venue: Venue, source: &Source, is_tape: bool) -> Result<(Feed, Vec<listing::Listing>), SimError> {
    match source {
        Source::Synthetic { seed, rate, symbols } => {
            let synthetic = listing::synthetic_listings(venue, *seed, *symbols);
            let listings = synthetic.iter().map(|item| item.listing.clone()).collect();
            let market = Mutex::new(market::SyntheticMarket::new(venue, *seed, synthetic, is_tape));
            Ok((Feed::Synthetic { market, seed: *seed, rate: *rate, is_tape }, listings))
        }
        Source::Frames { dir, .. } => {
            let recording = Recording::load(venue, dir)?;
            let listings = recording.listings.clone();
            Ok((Feed::Frames(Arc::new(recording)), listings))
        }
    }
}

impl SimHandle {
    async fn serve(
        &mut self,
        venue: Venue,
        options: &SimOptions,
        identity: Option<&Identity>,
        stopped: watch::Receiver<bool>,
    ) -> Result<(), SimError> {
        let (feed, listings) = feed(venue, &options.source, options.is_tape)?;
        let faults = PendingFaults::new(options.faults.clone());
        let credentials = options.credentials.clone();
        let exchange = Exchange::new(venue, feed, listings, options.ping_interval, faults, credentials, stopped);
        let exchange = Arc::new(exchange);
        if options.is_tape {
            self.listeners.push(tokio::spawn(tape::run(Arc::clone(&exchange))));
        }
        if let (Feed::Frames(recording), Source::Frames { pace, .. }) = (&exchange.feed, &options.source) {
            let player = frames::play(Arc::clone(&exchange), Arc::clone(recording), *pace, options.start_quiet);
            self.listeners.push(tokio::spawn(player));
        }
        let mut urls = Vec::new();
        for acceptor in [None, identity.map(|identity| identity.acceptor.clone())] {
            // Without TLS the second turn has no identity to serve with.
            if acceptor.is_none() && !urls.is_empty() {
                break;
            }
            let schemes = if acceptor.is_some() { ["wss", "https"] } else { ["ws", "http"] };
            for scheme in schemes {
                let listener = TcpListener::bind((options.listen, 0)).await.map_err(SimError::Listen)?;
                let address = listener.local_addr().map_err(SimError::Listen)?;
                urls.push(format!("{scheme}://{address}"));
                let (exchange, acceptor) = (Arc::clone(&exchange), acceptor.clone());
                self.listeners.push(if scheme.starts_with("ws") {
                    tokio::spawn(exchange::listen(exchange, listener, acceptor))
                } else {
                    tokio::spawn(rest::listen(exchange, listener, acceptor))
                });
            }
        }
        let mut urls = urls.into_iter();
        let (ws, rest) = (urls.next().unwrap_or_default(), urls.next().unwrap_or_default());
        let endpoints = VenueEndpoints { ws, wss: urls.next(), rest, rests: urls.next() };
        self.endpoints.venues.insert(venue.name().to_owned(), endpoints);
        self.exchanges.push(exchange);
        Ok(())
    }

    fn exchange(&self, venue: Venue) -> Option<&Arc<Exchange>> {
        self.exchanges.iter().find(|exchange| exchange.venue == venue)
    }

    /// Where everything is served.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        let venues = self.exchanges.iter().map(|exchange| (exchange.venue.name().to_owned(), exchange.stats()));
        SimStats { venues: venues.collect() }
    }

    /// Native names of the symbols a venue lists, in the list's order; empty for a venue that is not served.
    #[must_use]
    pub fn symbols(&self, venue: Venue) -> Vec<String> {
        let Some(exchange) = self.exchange(venue) else { return Vec::new() };
        exchange.listings().iter().map(|listing| listing.name.clone()).collect()
    }

    /// Gives a symbol of a synthetic market another tick: one unit of this many decimals. From now on its instrument list, its
    /// levels and its trades are on that grid, with prices about where they were, and no message says so. False where
    /// nothing was changed: for a recording, a symbol that is not listed, more than 8 decimals, or a tick too coarse for the
    /// book.
    pub fn change_tick(&self, venue: Venue, symbol: &str, decimals: u8) -> bool {
        let Some(exchange) = self.exchange(venue) else { return false };
        let Feed::Synthetic { market, .. } = &exchange.feed else { return false };
        let is_changed = market.lock().expect("no holder panics").change_tick(symbol, decimals);
        if is_changed && let Some(listing) = exchange.listings().iter_mut().find(|listing| listing.name == symbol) {
            listing.price_scale = decimals;
        }
        is_changed
    }

    /// Says in a venue's instrument list whether a symbol trades. Its streams go on either way. False for one that is not listed.
    pub fn set_trading(&self, venue: Venue, symbol: &str, is_trading: bool) -> bool {
        let Some(exchange) = self.exchange(venue) else { return false };
        let mut listings = exchange.listings();
        let listing = listings.iter_mut().find(|listing| listing.name == symbol);
        listing.map(|listing| listing.is_trading = is_trading).is_some()
    }

    /// The exchange's own view of what each open connection of a venue is subscribed to, oldest connection first.
    #[must_use]
    pub fn subscriptions(&self, venue: Venue) -> Vec<BTreeSet<String>> {
        let clients = self.exchange(venue).map(|exchange| exchange.clients()).unwrap_or_default();
        clients.iter().map(|client| client.session.lock().expect("no holder panics").subscriptions().clone()).collect()
    }

    /// Loses connections of a venue in the given way, now or at the next opportunity.
    pub fn kill_connections(&self, venue: Venue, how: Kill) {
        let Some(exchange) = self.exchange(venue) else { return };
        match how {
            Kill::MidHandshake => exchange.faults.lock().expect("no holder panics").upgrades += 1,
            Kill::MidBatch => exchange.faults.lock().expect("no holder panics").batches += 1,
            Kill::MidFrame | Kill::Reset | Kill::Close(_) | Kill::Notice | Kill::HalfOpen | Kill::Deaf => {
                for client in exchange.clients() {
                    // A full queue means that it is being killed already.
                    let _ = client.kill.try_send(how);
                }
            }
        }
    }

    /// Replaces the faults ordered before, for all venues, open connections included: an age that has passed already
    /// brings its fault at once, windows count from now, a half-open connection that is ordered no more goes on. Counts go
    /// on from where they are.
    pub fn set_faults(&self, faults: &Faults) {
        for exchange in &self.exchanges {
            exchange.faults.lock().expect("no holder panics").order(faults.clone());
            exchange.faults_changed.send_modify(|orders| *orders += 1);
        }
    }

    /// What a symbol's market knows to be true; `None` for a recording, a symbol that is not listed, and one that nobody
    /// has asked for yet.
    #[must_use]
    pub fn tape(&self, venue: Venue, symbol: &str) -> Option<Tape> {
        let Feed::Synthetic { market, .. } = &self.exchange(venue)?.feed else { return None };
        market.lock().expect("no holder panics").known_symbol(symbol).map(|symbol| Tape::of(venue, symbol))
    }

    /// Lets the tapes stand still, or live on. Connections go on telling what has happened.
    pub fn pause_tape(&self, is_paused: bool) {
        for exchange in &self.exchanges {
            exchange.is_paused.store(is_paused, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Waits until every recorded frame of a venue was sent and written. With a synthetic source, or for a venue that is
    /// not served, it never returns.
    pub async fn wait_playback(&self, venue: Venue) {
        match self.exchange(venue) {
            Some(exchange) => {
                let mut finished = exchange.playback_finished.subscribe();
                // The sender lives as long as the exchange, which this handle keeps.
                let _ = finished.wait_for(|finished| *finished).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until the exchange stops by itself, after its `duration`; without one it never returns.
    pub async fn wait_stopped(&self) {
        let mut stopped = self.stop.subscribe();
        // The sender lives in this handle.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Closes every connection (code 1001), stops listening, and gives the last counters. Takes less than 100 ms.
    pub async fn stop(mut self) -> SimStats {
        self.stop.send_replace(true);
        let listeners = std::mem::take(&mut self.listeners);
        let ends = async {
            for listener in listeners {
                // A listener that panicked has stopped, too.
                let _ = listener.await;
            }
        };
        let _ = tokio::time::timeout(exchange::STOP_PATIENCE + Duration::from_millis(30), ends).await;
        self.stats()
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(path) = &self.temporary_ca {
            // It lies in the temporary directory; the worst is that it stays there.
            let _ = std::fs::remove_file(path);
        }
    }
}
