//! From the checked configuration to what each socket needs: one plan a socket.

use super::EngineError;
use crate::config::{self, ConnectionConfig, ReconnectStrategy, RequestCodec, RequestConfig, Transport};
use crate::control::{
    self, Authentication, Credentials, HeartbeatSettings, LivenessSettings, Ping, PlanError, ReconnectSettings,
    RetryStrategy,
};
use crate::hot;
use crate::market::Venue;
use crate::net;
use crate::venue::{Form, Heartbeat, PingTemplate, ReplyTemplate, ServerPing, ServerPingRule, StreamClass, protocol};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything one socket's driver needs.
#[derive(Debug)]
pub(super) struct SocketPlan {
    /// Unique: the connection's name, with the class or number of the socket where one is not enough, and that of the leg.
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
    pub(super) rotation: control::RotationSettings,
    /// Our share of the venue's REST weight, in percent.
    pub(super) rest_share_percent: u8,
    /// Of the quotes that lie received at a visit, only the newest of each symbol is delivered.
    pub(super) conflate_quotes: bool,
    /// Missing trades of one hole that are fetched at most; 0: none.
    pub(super) refill_trades_max: u32,
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

/// The sockets of one connection, on this core, each with the class of its streams, and of each its legs.
pub(super) fn sockets(
    config: &ConnectionConfig,
    core: usize,
    tls: &mut TlsConfigs,
) -> Result<Vec<(StreamClass, Vec<SocketPlan>)>, EngineError> {
    let refused = |error: PlanError| EngineError::Plan { connection: config.name.clone(), error };
    let planned = config.plan().map_err(refused)?;
    if let Some(violation) = planned.violations.into_iter().next() {
        return Err(refused(violation.fault));
    }
    let total = planned.connections.len();
    let planned = planned.connections.into_iter().enumerate().map(|(index, planned)| {
        let name = planned.socket_name(&config.name, index, total);
        Ok((planned.class, legs(config, core, &name, planned.class, &planned.names(), tls)?))
    });
    planned.collect()
}

/// One socket of a connection, with these streams of one class: each of its legs, of which there is one at least.
pub(super) fn legs(
    config: &ConnectionConfig,
    core: usize,
    name: &str,
    class: StreamClass,
    streams: &[Box<str>],
    tls: &mut TlsConfigs,
) -> Result<Vec<SocketPlan>, EngineError> {
    let of_leg = |leg| {
        let mut config = config.clone();
        config.url = config.legs.url(leg).cloned().unwrap_or(config.url);
        config.socket.source_address = config.legs.source_address(leg).or(config.socket.source_address);
        socket(&config, core, &config.legs.name(name, leg), class, streams.to_vec(), tls)
    };
    (0..config.legs.count.max(1)).map(of_leg).collect()
}

fn socket(
    config: &ConnectionConfig,
    core: usize,
    name: &str,
    class: StreamClass,
    streams: Vec<Box<str>>,
    tls: &mut TlsConfigs,
) -> Result<SocketPlan, EngineError> {
    let tls = tls.get(config.tls.ca_file.as_ref())?;
    let path = protocol(config.venue).path(config.form, class);
    let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query)));
    let mut url = config.url.clone();
    url.set_path(path);
    url.set_query(query);
    let is_cold = config.transport == Transport::Cold;
    Ok(SocketPlan {
        name: name.to_owned(),
        venue: config.venue,
        form: config.form,
        transport: config.transport,
        core,
        connect: connect_options(config, url, tls),
        cold: is_cold.then(|| net::WebSocketOptions {
            max_message_bytes: config.limits.max_message_bytes,
            ..net::WebSocketOptions::default()
        }),
        control: control_settings(config)
            .map_err(|what| EngineError::Settings { connection: config.name.clone(), what })?,
        rotation: rotation_settings(config),
        rest_share_percent: u8::try_from(config.rest.weight_share_percent).unwrap_or(100),
        conflate_quotes: config.conflate_quotes,
        refill_trades_max: config.refill_trades_max,
        raw_stream: (config.form == Form::Raw && streams.len() == 1).then(|| streams[0].to_string()),
        streams,
        config: Arc::new(config.clone()),
    })
}

/// The name of a socket that a connection gets beyond those it was planned with.
pub(super) fn socket_name(connection: &str, class: StreamClass, number: usize) -> String {
    let class = match class {
        StreamClass::Only => "part",
        StreamClass::Public => "public",
        StreamClass::Market => "market",
    };
    format!("{connection}/{class}-{number}")
}

/// True if a socket of this connection that carries these streams carries one more.
pub(super) fn has_room(config: &ConnectionConfig, carried: &BTreeSet<Box<str>>, stream: &str) -> bool {
    let chars = |stream: &str| stream.chars().count() + 3;
    let limits = protocol(config.venue).limits();
    let streams_max = config.subscription.streams_per_connection.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
    let streams_max = streams_max.into_iter().chain(limits.streams_per_connection).min();
    let fits =
        |count: usize, max: Option<u32>| max.is_none_or(|max| count <= usize::try_from(max).unwrap_or(usize::MAX));
    let all_chars = carried.iter().map(|stream| chars(stream)).sum::<usize>() + chars(stream);
    fits(carried.len() + 1, streams_max) && fits(all_chars, limits.args_chars_per_connection)
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

    /// Where its venue's REST is.
    pub(super) fn rest_url(&self) -> &url::Url {
        &self.config.rest_url
    }

    /// How its legs race.
    pub(super) fn race(&self) -> control::RaceSettings {
        self.config.legs.race.settings()
    }

    /// The streams it was planned with.
    pub(super) fn streams(&self) -> &[Box<str>] {
        &self.streams
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
    pub(super) fn hot_settings(&self, kernel_stamps: bool) -> hot::ConnectionSettings {
        hot::ConnectionSettings {
            max_message_bytes: self.config.limits.max_message_bytes,
            mask_seed: random_seed(),
            kernel_stamps,
            ..hot::ConnectionSettings::default()
        }
    }
}

fn connect_options(config: &ConnectionConfig, url: url::Url, tls: Arc<rustls::ClientConfig>) -> net::ConnectOptions {
    let options = options(url, &config.headers, &config.socket, &config.timeouts, tls);
    net::ConnectOptions { opener: config.tls.records, ..options }
}

/// How a request connection is connected.
pub(super) fn request_options(config: &RequestConfig, tls: Arc<rustls::ClientConfig>) -> net::ConnectOptions {
    options(config.url.clone(), &config.headers, &config.socket, &config.timeouts, tls)
}

fn options(
    url: url::Url,
    headers: &[config::Header],
    socket: &config::SocketConfig,
    timeouts: &config::TimeoutsConfig,
    tls: Arc<rustls::ClientConfig>,
) -> net::ConnectOptions {
    net::ConnectOptions {
        url,
        headers: headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
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
        avoided: Vec::new(),
        timeouts: net::Timeouts {
            dns: timeouts.dns,
            connect: timeouts.connect,
            tls: timeouts.tls,
            upgrade: timeouts.upgrade,
        },
        tls: Some(tls),
        opener: hot::RecordOpener::Rustls,
    }
}

/// How a connection behaves.
///
/// # Errors
/// What cannot be, in words: a template of the heartbeat, or credentials for a venue that takes none.
fn control_settings(config: &ConnectionConfig) -> Result<control::ConnectionSettings, String> {
    let defaults = control::ConnectionSettings::of_venue(config.venue, random_seed());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: from 1 to 1000")]
    let factor = config.liveness.stale_factor.round() as u32;
    Ok(control::ConnectionSettings {
        subscriptions: config.subscription_settings(),
        heartbeat: heartbeat_settings(config)?,
        reconnect: reconnect_settings(&config.reconnect, random_seed()),
        liveness: LivenessSettings {
            factor,
            fresh_min: config.liveness.stale_min,
            fresh_max: config.liveness.stale_max,
            connection_share_percent: u8::try_from(config.liveness.connection_share_percent).unwrap_or(100),
            is_repairing: config.liveness.repair,
            ..LivenessSettings::default()
        },
        first_data_within: config.liveness.first_data,
        first_trade_within: config.liveness.trade_first_data,
        auth: authentication(config)?,
        ..defaults
    })
}

/// How a lost connection comes back.
pub(super) fn reconnect_settings(config: &config::ReconnectConfig, seed: u64) -> ReconnectSettings {
    ReconnectSettings {
        strategy: match config.strategy {
            ReconnectStrategy::Exponential => RetryStrategy::Exponential,
            ReconnectStrategy::Fixed => RetryStrategy::Fixed,
            ReconnectStrategy::Never => RetryStrategy::Never,
        },
        base: config.base,
        factor: config.factor,
        cap: config.cap,
        attempts_max: (config.attempts_max > 0).then_some(config.attempts_max),
        jitter: config.jitter,
        stable_after: config.stable_after,
        offset: config.offset,
        immediate_first: config.immediate_first,
        seed,
        ..ReconnectSettings::default()
    }
}

fn heartbeat_settings(config: &ConnectionConfig) -> Result<HeartbeatSettings, String> {
    heartbeat(&config.heartbeat, protocol(config.venue).heartbeat())
}

/// How a request connection is kept alive.
pub(super) fn request_heartbeat(config: &RequestConfig) -> Result<HeartbeatSettings, String> {
    let (interval, timeout) = (config.heartbeat.interval, config.heartbeat.timeout);
    heartbeat(
        &config.heartbeat,
        match config.codec {
            RequestCodec::Bybit => Heartbeat::ClientText { interval, timeout },
            RequestCodec::Binance | RequestCodec::JsonRpc => Heartbeat::ServerPing { interval, timeout },
        },
    )
}

fn heartbeat(config: &config::HeartbeatConfig, of_venue: Heartbeat) -> Result<HeartbeatSettings, String> {
    let (interval, timeout) = (config.interval, config.timeout);
    let mut settings = HeartbeatSettings::of_venue(match of_venue {
        Heartbeat::ServerPing { .. } => Heartbeat::ServerPing { interval, timeout },
        Heartbeat::ClientText { .. } => Heartbeat::ClientText { interval, timeout },
    });
    if let Some(interval) = config.protocol_ping {
        settings = settings.and_ping(Ping::Protocol, interval);
    }
    if let Some(text) = &config.text_ping {
        let template = PingTemplate::parse(text).map_err(|error| format!("heartbeat.text_ping: {error}"))?;
        settings = settings.and_ping(Ping::Template(template), config.text_ping_interval);
    }
    if let Some(ping) = &config.server_ping {
        let (ping, reply) = match ping {
            config::ServerPing::Text { text, reply } => (ServerPing::Text(text.as_str().into()), reply),
            config::ServerPing::Field { field, reply } => (ServerPing::Field(field.as_str().into()), reply),
        };
        let reply = ReplyTemplate::parse(reply).map_err(|error| format!("heartbeat.server_ping.reply: {error}"))?;
        let rule = ServerPingRule::new(ping, reply).map_err(|error| format!("heartbeat.server_ping: {error}"))?;
        settings.server_ping = Some(rule);
    }
    Ok(settings)
}

/// How the venue's login is made with the connection's credentials, if it has any.
fn authentication(config: &ConnectionConfig) -> Result<Option<Authentication>, String> {
    let Some(auth) = &config.auth else { return Ok(None) };
    let login = match config.venue {
        Venue::BybitSpot | Venue::BybitLinear => &control::logins::BYBIT,
        Venue::BinanceSpot | Venue::BinanceUsdm => {
            return Err(format!("auth: {} has no login on its stream hosts", config.venue));
        }
    };
    let mut credentials = Credentials::new(auth.key.value.reveal(), auth.secret.value.reveal());
    if let Some(passphrase) = &auth.passphrase {
        credentials = credentials.with_passphrase(passphrase.value.reveal());
    }
    Ok(Some(Authentication::new(login, credentials)))
}

fn rotation_settings(config: &ConnectionConfig) -> control::RotationSettings {
    let rotation = &config.rotation;
    control::RotationSettings {
        // A quote that does not change is repeated every 3 s (Bybit): within that, what the old socket said last is known.
        lead_in: Duration::from_secs(4),
        after: rotation.after,
        jitter: rotation.jitter,
        overlap: rotation.overlap,
        overlap_max: rotation.overlap_max,
        on_notice: rotation.on_notice,
        seed: random_seed(),
        ..control::RotationSettings::default()
    }
}
