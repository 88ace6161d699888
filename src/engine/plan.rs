//! From the checked configuration to what each socket needs: one plan a socket.

use super::EngineError;
use crate::config::{ConnectionConfig, ReconnectStrategy, Transport};
use crate::control::{self, HeartbeatSettings, PlanError, ReconnectSettings};
use crate::hot;
use crate::market::Venue;
use crate::net;
use crate::venue::{Form, Heartbeat, protocol};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

/// Everything one socket's driver needs.
#[derive(Debug)]
pub(super) struct SocketPlan {
    /// Unique: the connection's name, with the class or number of the socket where one is not enough.
    pub(super) name: String,
    pub(super) venue: Venue,
    pub(super) form: Form,
    pub(super) transport: Transport,
    /// Position of the core in the engine's list.
    pub(super) core: usize,
    pub(super) connect: net::ConnectOptions,
    /// Set for `transport = "cold"`.
    pub(super) cold: Option<net::WebSocketOptions>,
    pub(super) control: control::ConnectionSettings,
    /// On a raw connection with one stream: its name.
    pub(super) raw_stream: Option<String>,
    streams: Vec<Box<str>>,
    config: Arc<ConnectionConfig>,
}

/// TLS configurations by CA file: one each, because session tickets live in it.
#[derive(Debug, Default)]
pub(super) struct TlsConfigs(HashMap<Option<PathBuf>, Arc<rustls::ClientConfig>>);

impl TlsConfigs {
    pub(super) fn get(&mut self, ca_file: Option<&PathBuf>) -> Result<Arc<rustls::ClientConfig>, net::TlsError> {
        if let Some(config) = self.0.get(&ca_file.cloned()) {
            return Ok(Arc::clone(config));
        }
        let config = net::client_config(ca_file.map(PathBuf::as_path))?;
        self.0.insert(ca_file.cloned(), Arc::clone(&config));
        Ok(config)
    }
}

/// A number nobody can guess, for masks and jitter: drawn from the operating system by the standard library.
pub(super) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The sockets of one connection, on this core.
pub(super) fn sockets(
    config: &ConnectionConfig,
    core: usize,
    tls: &mut TlsConfigs,
) -> Result<Vec<SocketPlan>, EngineError> {
    let tls = tls.get(config.tls.ca_file.as_ref())?;
    let shared = Arc::new(config.clone());
    let refused = |error: PlanError| EngineError::Plan { connection: config.name.clone(), error };
    let planned = config.plan().map_err(refused)?;
    if let Some(violation) = planned.violations.into_iter().next() {
        return Err(refused(violation.fault));
    }
    let sockets = planned.connections;
    let total = sockets.len();
    let mut plans = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let mut url = config.url.clone();
        let (path, query) =
            socket.path.split_once('?').map_or((&*socket.path, None), |(path, query)| (path, Some(query)));
        url.set_path(path);
        url.set_query(query);
        let name = socket.socket_name(&config.name, index, total);
        let is_cold = config.transport == Transport::Cold;
        plans.push(SocketPlan {
            name,
            venue: config.venue,
            form: config.form,
            transport: config.transport,
            core,
            connect: connect_options(config, url, Arc::clone(&tls)),
            cold: is_cold.then(|| net::WebSocketOptions {
                max_message_bytes: config.limits.max_message_bytes,
                ..net::WebSocketOptions::default()
            }),
            control: control_settings(config),
            raw_stream: (config.form == Form::Raw && socket.streams.len() == 1)
                .then(|| socket.streams[0].name.to_string()),
            streams: socket.names(),
            config: Arc::clone(&shared),
        });
    }
    Ok(plans)
}

impl SocketPlan {
    /// The streams to subscribe, without those of symbols that the venue does not list.
    pub(super) fn streams_without(&self, unlisted: &BTreeSet<String>) -> Vec<Box<str>> {
        let protocol = protocol(self.venue);
        let excluded: HashSet<String> = self
            .config
            .channels
            .iter()
            .flat_map(|channel| unlisted.iter().map(|symbol| protocol.stream(channel, symbol)))
            .collect();
        self.streams.iter().filter(|stream| !excluded.contains(&***stream)).cloned().collect()
    }

    /// Streams it was planned with.
    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// True if the connection was asked for this symbol.
    pub(super) fn names(&self, symbol: &str) -> bool {
        self.config.symbols.iter().any(|wanted| wanted == symbol)
    }

    /// What the hot core's end of the connection is made with; the mask's seed is fresh each time.
    pub(super) fn hot_settings(&self) -> hot::ConnectionSettings {
        hot::ConnectionSettings {
            max_message_bytes: self.config.limits.max_message_bytes,
            mask_seed: random_seed(),
            ..hot::ConnectionSettings::default()
        }
    }
}

fn connect_options(config: &ConnectionConfig, url: url::Url, tls: Arc<rustls::ClientConfig>) -> net::ConnectOptions {
    let socket = &config.socket;
    net::ConnectOptions {
        url,
        headers: config
            .headers
            .iter()
            .map(|header| (header.name.clone(), net::Secret::new(header.value.expose())))
            .collect(),
        socket: net::SocketOptions {
            nodelay: socket.nodelay,
            receive_buffer_bytes: socket.receive_buffer_bytes,
            send_buffer_bytes: socket.send_buffer_bytes,
            keepalive: Some(net::Keepalive {
                idle: socket.keepalive_idle,
                interval: socket.keepalive_interval,
                probe_count: socket.keepalive_count,
            }),
            source_address: socket.source_address,
        },
        timeouts: net::Timeouts {
            dns: config.timeouts.dns,
            connect: config.timeouts.connect,
            tls: config.timeouts.tls,
            upgrade: config.timeouts.upgrade,
        },
        tls: Some(tls),
    }
}

fn control_settings(config: &ConnectionConfig) -> control::ConnectionSettings {
    let defaults = control::ConnectionSettings::of_venue(config.venue, random_seed());
    let reconnect = &config.reconnect;
    let (factor, cap) = match reconnect.strategy {
        ReconnectStrategy::Exponential | ReconnectStrategy::Never => (reconnect.factor, reconnect.cap),
        ReconnectStrategy::Fixed => (1.0, reconnect.base),
    };
    let attempts_max = match (reconnect.strategy, reconnect.attempts_max) {
        (ReconnectStrategy::Never, _) => Some(0),
        (_, 0) => None,
        (_, attempts) => Some(attempts),
    };
    let (interval, timeout) = (config.heartbeat.interval, config.heartbeat.timeout);
    control::ConnectionSettings {
        subscriptions: config.subscription_settings(),
        heartbeat: HeartbeatSettings::of_venue(match protocol(config.venue).heartbeat() {
            Heartbeat::ServerPing { .. } => Heartbeat::ServerPing { interval, timeout },
            Heartbeat::ClientText { .. } => Heartbeat::ClientText { interval, timeout },
        }),
        reconnect: ReconnectSettings {
            base: reconnect.base,
            factor,
            cap,
            attempts_max,
            jitter: reconnect.jitter,
            stable_after: reconnect.stable_after,
            ..defaults.reconnect
        },
        ..defaults
    }
}
