//! What the symbols are, before anything is subscribed: from the TOML, or from the venue's instrument list by REST.
//!
//! ```text
//! per venue:  wanted names ─► [[instrument]] of the TOML, else the list (retried with backoff) ─► SymbolTable
//!                                                                     └─► AddSymbol to every core of the venue
//! ```
//! A driver subscribes only after its venue's symbols are known: a price without a scale would be a guess.

use crate::config::ConnectionConfig;
use crate::hot::Command;
use crate::market::{Instrument, InstrumentKind, SymbolSpec, SymbolTable, Venue};
use crate::net::{RestError, RestOptions, instruments};
use crate::venue::{ChannelScope, InstrumentSpec, protocol};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// First and longest wait between two tries of an instrument list.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// How far a venue's listing has come. Drivers of the venue watch it.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// True once every symbol that will come has come.
    pub(super) is_known: bool,
    /// Wanted names that the venue does not list.
    pub(super) unlisted: Arc<BTreeSet<String>>,
    /// The last failure, while it is retried.
    pub(super) error: Option<Arc<str>>,
}

/// The symbols of the process, shared by the cold side only.
pub(super) type Symbols = Arc<Mutex<SymbolTable>>;

/// One venue's listing as a task.
pub(super) struct VenueListing {
    venue: Venue,
    rest: RestOptions,
    wanted: BTreeSet<String>,
    /// An all-market channel brings every symbol there is.
    wants_all: bool,
    stated: Vec<InstrumentSpec>,
    cores: Vec<mpsc::Sender<Command>>,
    symbols: Symbols,
    progress: watch::Sender<Listing>,
}

impl VenueListing {
    /// The listing of one venue for these connections, all of that venue. `cores` are those that own one of them.
    pub(super) fn new(
        connections: &[&ConnectionConfig],
        rest: RestOptions,
        cores: Vec<mpsc::Sender<Command>>,
        symbols: Symbols,
    ) -> (Self, watch::Receiver<Listing>) {
        let (progress, watching) = watch::channel(Listing::default());
        let venue = connections[0].venue;
        let wanted = connections.iter().flat_map(|connection| connection.symbols.iter().cloned()).collect();
        let is_all = |connection: &&ConnectionConfig| {
            connection.channels.iter().any(|channel| channel.scope == ChannelScope::AllMarket)
        };
        let stated = connections.iter().flat_map(|connection| stated_instruments(connection)).collect();
        let wants_all = connections.iter().any(is_all);
        (Self { venue, rest, wanted, wants_all, stated, cores, symbols, progress }, watching)
    }

    /// Runs until every symbol is known, however long the venue takes.
    pub(super) async fn run(self) {
        let stated: HashMap<&str, &InstrumentSpec> =
            self.stated.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let missing: HashSet<&str> =
            self.wanted.iter().map(String::as_str).filter(|name| !stated.contains_key(name)).collect();
        let listed = if missing.is_empty() && !self.wants_all { Vec::new() } else { self.fetch(&missing).await };
        let mut found = HashSet::new();
        let wanted = listed.iter().filter(|spec| self.wants_all || missing.contains(spec.name.as_str()));
        for spec in self.stated.iter().chain(wanted) {
            if found.insert(spec.name.as_str()) {
                self.add(spec).await;
            }
        }
        let unlisted: BTreeSet<String> =
            missing.into_iter().filter(|name| !found.contains(name)).map(str::to_owned).collect();
        for name in &unlisted {
            tracing::error!(venue = %self.venue, symbol = %name, "the venue does not list this symbol: not subscribed");
        }
        self.progress.send_modify(|listing| {
            *listing = Listing { is_known: true, unlisted: Arc::new(unlisted), error: None };
        });
    }

    async fn fetch(&self, missing: &HashSet<&str>) -> Vec<InstrumentSpec> {
        let wanted = (!self.wants_all).then(|| missing.iter().map(|&name| name.to_owned()).collect());
        let mut wait = RETRY_FIRST;
        loop {
            match instruments(&self.rest, protocol(self.venue), wanted.as_ref()).await {
                Ok(listed) => return listed,
                Err(error) => {
                    let asked = match &error {
                        RestError::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
                        _ => Duration::ZERO,
                    };
                    tracing::warn!(venue = %self.venue, %error, "instrument list: trying again");
                    self.progress.send_modify(|listing| listing.error = Some(error.to_string().into()));
                    tokio::time::sleep(wait.max(asked)).await;
                    wait = (wait * 2).min(RETRY_LONGEST);
                }
            }
        }
    }

    async fn add(&self, spec: &InstrumentSpec) {
        let added = {
            let mut symbols = self.symbols.lock().unwrap_or_else(PoisonError::into_inner);
            let instrument = Some(spec.instrument.clone()).filter(|instrument| !instrument.base.is_empty());
            symbols
                .add(self.venue, &spec.name, spec.price_scale, spec.qty_scale, instrument)
                .map(|symbol| symbols.spec(symbol).cloned())
        };
        let spec: SymbolSpec = match added {
            Ok(Some(spec)) => spec,
            Ok(None) => unreachable!("the table holds what it has just added"),
            Err(error) => {
                tracing::error!(venue = %self.venue, symbol = %spec.name, %error, "symbol not added");
                return;
            }
        };
        for core in &self.cores {
            // A core that has ended needs no symbols.
            let _ = core.send(Command::AddSymbol(Box::new(spec.clone()))).await;
        }
    }
}

/// How the venue's REST host is asked, by the first connection's settings. Its headers are the WebSocket upgrade's own and
/// may hold credentials: they go to no other host.
pub(super) fn rest_options(config: &ConnectionConfig, tls: Arc<rustls::ClientConfig>) -> RestOptions {
    RestOptions {
        tls: Some(tls),
        connect_timeout: config.timeouts.connect + config.timeouts.tls,
        timeout: config.timeouts.rest,
        source_address: config.socket.source_address,
        ..RestOptions::new(config.rest_url.clone())
    }
}

/// What the TOML itself says of symbols.
fn stated_instruments(config: &ConnectionConfig) -> impl Iterator<Item = InstrumentSpec> {
    let nothing = || Instrument { base: "".into(), quote: "".into(), kind: InstrumentKind::Spot };
    config.instruments.iter().map(move |stated| InstrumentSpec {
        name: stated.symbol.clone(),
        price_scale: stated.price_scale,
        qty_scale: stated.qty_scale,
        instrument: stated.instrument.clone().unwrap_or_else(nothing),
        is_trading: true,
    })
}
