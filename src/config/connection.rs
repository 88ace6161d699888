//! One connection's settings, checked or built in code, with their defaults.

use super::{
    AuthConfig, BookConfig, Header, HeartbeatConfig, LegsConfig, LivenessConfig, ReconnectConfig, RestConfig,
    RotationConfig,
};
use crate::control::{self, Plan, PlanError, PlanLimits, PlannedConnection, SubscriptionSettings};
use crate::hot::RecordOpener;
use crate::limits::MESSAGE_BYTES_DEFAULT;
use crate::market::{Instrument, Venue};
use crate::venue::{Channel, ChannelError, ChannelScope, Form, protocol};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Streams one SUBSCRIBE names where the venue allows more, or states nothing. Binance has acknowledged requests of
/// more than 436 streams and sent nothing.
pub const BATCH_DEFAULT: usize = 200;

/// Trades of one hole that are fetched where nothing else is said: a page of Binance's, some seconds of its busiest symbol.
const REFILL_TRADES_MAX_DEFAULT: u32 = 1_000;

/// Requests a second where the venue states no limit.
const REQUESTS_PER_SECOND_DEFAULT: u32 = 10;

/// Bytes of one request where nothing else is said. Binance closes a connection that sends a longer frame than 4 KiB;
/// Bybit states no limit of one request, and 64 KiB hold the 21,000 characters it allows a connection.
const fn request_bytes_max_default(venue: Venue) -> usize {
    match venue {
        Venue::BinanceSpot | Venue::BinanceUsdm => 4_096,
        Venue::BybitSpot | Venue::BybitLinear => 65_536,
    }
}

/// Who reads the socket.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Transport {
    /// The hot core itself, in place.
    #[default]
    Hot,
    /// The cold runtime; data crosses a ring to the owning core.
    Cold,
}

impl Transport {
    /// The word used in TOML and in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
        }
    }
}

/// Options of the TCP socket, set before it connects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketConfig {
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// `SO_RCVBUF`; `None` leaves the kernel's autotuning on.
    pub receive_buffer_bytes: Option<usize>,
    /// `SO_SNDBUF`; `None` leaves the kernel's autotuning on.
    pub send_buffer_bytes: Option<usize>,
    /// Silence before the first TCP keep-alive probe.
    pub keepalive_idle: Duration,
    /// Time between probes.
    pub keepalive_interval: Duration,
    /// Unanswered probes before the kernel gives the connection up.
    pub keepalive_count: u32,
    /// Local address to connect from; `None` lets the kernel choose.
    pub source_address: Option<IpAddr>,
}

impl Default for SocketConfig {
    fn default() -> Self {
        Self {
            nodelay: true,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
            keepalive_idle: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(10),
            keepalive_count: 3,
            source_address: None,
        }
    }
}

/// How subscriptions are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubscriptionConfig {
    /// Streams in one request, at most.
    pub batch: usize,
    /// Requests a second, at most.
    pub requests_per_second: u32,
    /// How long to wait for the answer to one request.
    pub ack_timeout: Duration,
    /// How often an unanswered request is sent again.
    pub ack_retries: u32,
    /// Streams on one socket, at most; `None`: what the venue allows.
    pub streams_per_connection: Option<usize>,
    /// Bytes of one request, at most.
    pub request_bytes_max: usize,
    /// Symbols that are heavier than others, which weigh 1: they are spread over the sockets and subscribed first.
    pub weights: BTreeMap<String, u32>,
    /// What each socket is for.
    pub separate: Separate,
}

/// How the streams of a connection are dealt over its sockets.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Separate {
    /// As few sockets as the venue's limits allow.
    #[default]
    None,
    /// Each socket carries one channel (type of data).
    Channel,
    /// All streams of one symbol are on one socket (shards).
    Symbol,
}

impl Separate {
    /// The word used in TOML and in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Channel => "channel",
            Self::Symbol => "symbol",
        }
    }
}

/// How long each step towards a ready connection may take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TimeoutsConfig {
    /// Name look-up.
    pub dns: Duration,
    /// TCP connect.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// WebSocket upgrade.
    pub upgrade: Duration,
    /// One REST request, whole.
    pub rest: Duration,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            dns: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            tls: Duration::from_secs(5),
            upgrade: Duration::from_secs(5),
            rest: Duration::from_secs(10),
        }
    }
}

/// Which certificates are trusted, and who opens the records.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsConfig {
    /// PEM file of the only authorities to trust, instead of those of the web; `None` trusts those of the web.
    pub ca_file: Option<PathBuf>,
    /// Who opens the TLS records of a hot connection: this engine, in place, by default. What cannot be opened in place is
    /// rustls', and counted. The records of a cold connection, and of one that makes requests, are rustls' always.
    pub records: RecordOpener,
}

/// Sizes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitsConfig {
    /// Bytes of one message, fragments joined. A longer one closes the connection with code 1009.
    pub max_message_bytes: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { max_message_bytes: MESSAGE_BYTES_DEFAULT }
    }
}

/// What the operator says of a symbol, so that the venue's instrument list is not asked about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InstrumentConfig {
    /// Native name.
    pub symbol: String,
    /// Decimals of a price.
    pub price_scale: u8,
    /// Decimals of a quantity.
    pub qty_scale: u8,
    /// What it is; `None` links it with no symbol of another venue.
    pub instrument: Option<Instrument>,
}

/// One `[[connection]]`: what is connected to, what is subscribed, and how. A connection whose streams do not fit on one
/// socket (too many, or of two classes) becomes several sockets.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionConfig {
    /// Unique in the process.
    pub name: String,
    /// The exchange as its file names it: shown by `tickwire check`, used nowhere else.
    pub exchange: String,
    /// The venue.
    pub venue: Venue,
    /// `ws` or `wss`, host and port. The path is the venue's, by form and class of stream.
    pub url: Url,
    /// `http` or `https`, host and port; the same for every connection of a venue, whose instrument list is asked for
    /// with the REST settings of its first connection (`timeouts.rest`, `tls`, `socket.source_address`).
    pub rest_url: Url,
    /// Native names, each once.
    pub symbols: Vec<String>,
    /// Channels, each once. Every per-symbol channel is subscribed for every symbol.
    pub channels: Vec<Channel>,
    /// Wrapped or bare messages.
    pub form: Form,
    /// CPU number of the hot core that owns the connection and its symbols.
    pub core: usize,
    /// Who reads the socket.
    pub transport: Transport,
    /// Of the quotes that lie received when a hot core looks at the socket, only the newest of each symbol is delivered. Trades,
    /// books and all else are delivered as they are.
    pub conflate_quotes: bool,
    /// Trades that are fetched by REST at most where a stream has left some out, for each hole: the last of it. 0: none.
    pub refill_trades_max: u32,
    /// How many connections carry the same streams, and how they race.
    pub legs: LegsConfig,
    /// TCP options.
    pub socket: SocketConfig,
    /// Subscribing.
    pub subscription: SubscriptionConfig,
    /// Keeping alive.
    pub heartbeat: HeartbeatConfig,
    /// Watching each subscription.
    pub liveness: LivenessConfig,
    /// Coming back.
    pub reconnect: ReconnectConfig,
    /// Renewing.
    pub rotation: RotationConfig,
    /// Books on the hot core.
    pub book: BookConfig,
    /// What REST may use; the same for every connection of a venue.
    pub rest: RestConfig,
    /// Credentials; `None` does not authenticate.
    pub auth: Option<AuthConfig>,
    /// Time-outs.
    pub timeouts: TimeoutsConfig,
    /// Headers of the WebSocket upgrade request, in their order; no REST request carries them.
    pub headers: Vec<Header>,
    /// Trust, and who opens TLS records.
    pub tls: TlsConfig,
    /// Sizes.
    pub limits: LimitsConfig,
    /// Symbols whose scales the operator gives.
    pub instruments: Vec<InstrumentConfig>,
}

impl ConnectionConfig {
    /// A connection to a venue's production hosts with every default, on the lowest CPU this process may use. It still
    /// needs [`symbols and channels`](Self::subscribed_to).
    #[must_use]
    pub fn new(name: impl Into<String>, venue: Venue) -> Self {
        let protocol = protocol(venue);
        let limits = protocol.limits();
        let args_max = limits.args_per_request.and_then(|args| usize::try_from(args).ok()).unwrap_or(usize::MAX);
        Self {
            name: name.into(),
            exchange: venue.name().split('-').next().unwrap_or_default().to_owned(),
            venue,
            url: Url::parse(protocol.default_url()).expect("a venue's default URL is one: tested for every venue"),
            rest_url: Url::parse(protocol.default_rest_url())
                .expect("a venue's default REST URL is one: tested for every venue"),
            symbols: Vec::new(),
            channels: Vec::new(),
            form: Form::default(),
            core: super::cpus().first().copied().unwrap_or(0),
            transport: Transport::default(),
            conflate_quotes: false,
            refill_trades_max: REFILL_TRADES_MAX_DEFAULT,
            legs: LegsConfig::default(),
            socket: SocketConfig::default(),
            subscription: SubscriptionConfig {
                batch: BATCH_DEFAULT.min(args_max),
                // One message a second is left for pings and pongs, which venues count too.
                requests_per_second: limits
                    .messages_per_second
                    .map_or(REQUESTS_PER_SECOND_DEFAULT, |most| most.saturating_sub(1).max(1)),
                ack_timeout: Duration::from_secs(5),
                ack_retries: 3,
                streams_per_connection: None,
                request_bytes_max: request_bytes_max_default(venue),
                weights: BTreeMap::new(),
                separate: Separate::default(),
            },
            heartbeat: HeartbeatConfig::of_venue(protocol.heartbeat()),
            liveness: LivenessConfig::default(),
            reconnect: ReconnectConfig::default(),
            rotation: RotationConfig::of_venue(protocol),
            book: BookConfig::default(),
            rest: RestConfig::default(),
            auth: None,
            timeouts: TimeoutsConfig::default(),
            headers: Vec::new(),
            tls: TlsConfig::default(),
            limits: LimitsConfig::default(),
            instruments: Vec::new(),
        }
    }

    /// The same connection with these symbols and channels, in the venue's own words.
    ///
    /// # Errors
    /// [`ChannelError`]: the venue has no such channel.
    pub fn subscribed_to(mut self, symbols: &[&str], channels: &[&str]) -> Result<Self, ChannelError> {
        self.symbols = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
        self.channels = channels.iter().map(|name| Channel::parse(self.venue, name)).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Streams to subscribe: every per-symbol channel for every symbol, every all-market channel once.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        let per_symbol = self.channels.iter().filter(|channel| channel.scope == ChannelScope::PerSymbol).count();
        per_symbol * self.symbols.len() + (self.channels.len() - per_symbol)
    }

    /// The sockets these streams need, as the engine will make them: split by class, and where the venue's limit of one
    /// connection is reached. Empty where no plan exists, which the checks of a configuration say why.
    #[must_use]
    pub fn sockets(&self) -> Vec<PlannedConnection> {
        self.plan().map(|plan| plan.connections).unwrap_or_default()
    }

    /// The same with the limits that these sockets would not keep. Other connections to the venue are not reckoned with:
    /// [`ConfigPlan`](super::ConfigPlan) does that.
    ///
    /// # Errors
    /// [`PlanError`]: there is no plan at all.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let weights = |symbol: &str| self.weight(symbol);
        control::plan(self.venue, self.form, &self.channels, &self.symbols, &self.plan_limits(), &weights)
    }

    /// What the plan keeps to beside the venue's limits.
    #[must_use]
    pub fn plan_limits(&self) -> PlanLimits {
        PlanLimits {
            streams_per_connection: self
                .subscription
                .streams_per_connection
                .map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
            separate: match self.subscription.separate {
                Separate::None => control::Separate::None,
                Separate::Channel => control::Separate::Channel,
                Separate::Symbol => control::Separate::Symbol,
            },
            subscriptions: self.subscription_settings(),
            ..PlanLimits::default()
        }
    }

    /// How heavy a symbol is.
    #[must_use]
    pub fn weight(&self, symbol: &str) -> u32 {
        self.subscription.weights.get(symbol).copied().unwrap_or(1)
    }

    /// How each of its sockets asks.
    #[must_use]
    pub fn subscription_settings(&self) -> SubscriptionSettings {
        SubscriptionSettings {
            batch_streams_max: u32::try_from(self.subscription.batch).unwrap_or(u32::MAX),
            request_bytes_max: Some(u32::try_from(self.subscription.request_bytes_max).unwrap_or(u32::MAX)),
            ack_timeout: self.subscription.ack_timeout,
            retries_max: self.subscription.ack_retries,
            messages_per_second: Some(self.subscription.requests_per_second),
            // What the venue allows beyond this rate is what is left for pings and pongs.
            share_percent: 100,
            ..SubscriptionSettings::default()
        }
    }
}
