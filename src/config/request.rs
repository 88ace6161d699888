//! `[[request]]`: connections that ask and are answered, instead of being streamed to.
//!
//! ```text
//! RequestConfig::new (the codec's defaults) ──► [[request]] over it
//! ```
//! `[defaults]` does not reach here: it is about market data.

use super::apply::{apply_auth, apply_headers, apply_heartbeat, apply_reconnect, apply_socket, apply_timeouts};
use super::check::shown_url;
use super::exchange::NAME_ALLOWED;
use super::place::Places;
use super::reader::{Section, Source};
use super::{AuthConfig, Header, HeartbeatConfig, Host, LimitsConfig, ReconnectConfig, SocketConfig};
use super::{TimeoutsConfig, TlsConfig};
use crate::venue::Heartbeat;
use std::cell::RefCell;
use std::time::Duration;
use toml_edit::{Item, TableLike};
use url::Url;

/// How requests and their answers are written.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum RequestCodec {
    /// JSON-RPC 2.0.
    #[default]
    JsonRpc,
    /// Binance's WebSocket API: `id`, `method`, `params`; `status` and `result` in the answer.
    Binance,
    /// Bybit v5: `req_id` (or `reqId`), `op`, `args`; `retCode` in the answer.
    Bybit,
}

impl RequestCodec {
    /// Every codec.
    pub const ALL: [Self; 3] = [Self::JsonRpc, Self::Binance, Self::Bybit];

    /// The word used in TOML.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonRpc => "json-rpc",
            Self::Binance => "binance",
            Self::Bybit => "bybit",
        }
    }

    /// True where we send the ping of the venue's own, every `heartbeat.interval`.
    #[must_use]
    pub const fn has_ping_of_its_own(self) -> bool {
        matches!(self, Self::Bybit)
    }

    /// Why a connection of this codec cannot authenticate, if it cannot.
    #[must_use]
    pub const fn auth_fault(self) -> Option<&'static str> {
        match self {
            Self::JsonRpc => {
                Some("JSON-RPC 2.0 has no authentication of its own: send credentials as [request.headers]")
            }
            Self::Binance | Self::Bybit => None,
        }
    }
}

/// One `[[request]]`: what is connected to, and how answers are found.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestConfig {
    /// Unique in the process, among connections too.
    pub name: String,
    /// `ws` or `wss`, host, port, path and query.
    pub url: Url,
    /// How requests are written.
    pub codec: RequestCodec,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Requests that wait for their answer at once, at most.
    pub pending_max: usize,
    /// Credentials; `None` does not authenticate.
    pub auth: Option<AuthConfig>,
    /// Headers of the upgrade request, in their order.
    pub headers: Vec<Header>,
    /// TCP options.
    pub socket: SocketConfig,
    /// Keeping alive.
    pub heartbeat: HeartbeatConfig,
    /// Coming back.
    pub reconnect: ReconnectConfig,
    /// Time-outs of connecting.
    pub timeouts: TimeoutsConfig,
    /// Trust.
    pub tls: TlsConfig,
    /// Sizes.
    pub limits: LimitsConfig,
}

impl RequestConfig {
    /// A connection with every default of its codec.
    #[must_use]
    pub fn new(name: impl Into<String>, url: Url, codec: RequestCodec) -> Self {
        let seconds = Duration::from_secs;
        let heartbeat = match codec {
            RequestCodec::Binance => Heartbeat::ServerPing { interval: seconds(20), timeout: seconds(60) },
            RequestCodec::JsonRpc => Heartbeat::ServerPing { interval: seconds(20), timeout: seconds(60) },
            RequestCodec::Bybit => Heartbeat::ClientText { interval: seconds(20), timeout: seconds(10) },
        };
        let mut heartbeat = HeartbeatConfig::of_venue(heartbeat);
        if codec == RequestCodec::JsonRpc {
            // Nothing says who would ping: without a frame of ours a quiet connection would look like a dead one.
            heartbeat.protocol_ping = Some(seconds(20));
        }
        Self {
            name: name.into(),
            url,
            codec,
            timeout: seconds(5),
            pending_max: 1_024,
            auth: None,
            headers: Vec::new(),
            socket: SocketConfig::default(),
            heartbeat,
            reconnect: ReconnectConfig::default(),
            timeouts: TimeoutsConfig::default(),
            tls: TlsConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

/// A request connection as its file says it, with the places of its keys.
pub(super) struct PlacedRequest {
    pub(super) request: RequestConfig,
    pub(super) places: Places,
}

/// Reads one `[[request]]`; `None` where it has no URL or no codec that could be read.
pub(super) fn read(
    source: &Source,
    index: usize,
    (table, line): (&dyn TableLike, usize),
    host: &Host<'_>,
) -> Option<PlacedRequest> {
    let label = table.get("name").and_then(Item::as_str).map_or_else(|| index.to_string(), str::to_owned);
    let key = format!("request[{label}]");
    let places = RefCell::new(Places::new(source.place(line, &*key)));
    let mut section = Section::new(source, table, line, key, &places);
    let name = section.text("name");
    for (key, allowed) in [
        ("name", NAME_ALLOWED),
        ("url", "url = \"wss://HOST[:PORT]/PATH\""),
        ("codec", "codec = \"json-rpc\", \"binance\" or \"bybit\""),
    ] {
        if !section.has(key) {
            source.push(section.here().error(format!("a [[request]] without `{key}`"), allowed));
        }
    }
    let url = read_url(&mut section);
    let mut codec = None;
    section.choice("codec", &RequestCodec::ALL.map(|codec| (codec.name(), Some(codec))), &mut codec);
    let (known_url, known_codec) = (url.is_some(), codec.is_some());
    let placeholder = || Url::parse("wss://localhost").expect("a URL");
    let mut config =
        RequestConfig::new(name.unwrap_or_default(), url.unwrap_or_else(placeholder), codec.unwrap_or_default());
    section.millis("timeout_ms", &mut config.timeout);
    section.count("pending_max", &mut config.pending_max);
    read_tables(&mut section, &mut config, host);
    section.finish();
    (known_url && known_codec).then(|| PlacedRequest { request: config, places: places.into_inner() })
}

fn read_tables(section: &mut Section<'_>, config: &mut RequestConfig, host: &Host<'_>) {
    if let Some(table) = section.table("auth") {
        apply_auth(table, &mut config.auth, host);
    }
    if let Some(table) = section.table("headers") {
        apply_headers(&table, &mut config.headers, host);
    }
    if let Some(table) = section.table("socket") {
        apply_socket(table, &mut config.socket);
    }
    if let Some(table) = section.table("heartbeat") {
        apply_heartbeat(table, &mut config.heartbeat);
    }
    if let Some(table) = section.table("reconnect") {
        apply_reconnect(table, &mut config.reconnect);
    }
    if let Some(mut table) = section.table("timeouts") {
        apply_timeouts(&mut table, &mut config.timeouts);
        table.finish();
    }
    if let Some(mut table) = section.table("tls") {
        table.path("ca_file", &mut config.tls.ca_file);
        table.finish();
    }
    if let Some(mut table) = section.table("limits") {
        table.count("max_message_bytes", &mut config.limits.max_message_bytes);
        table.finish();
    }
}

/// What is wrong with the URL of a request connection, if anything is.
pub(super) fn url_fault(url: &Url) -> Option<()> {
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    let is_usable = matches!(url.scheme(), "ws" | "wss") && url.has_host() && is_anonymous && url.fragment().is_none();
    (!is_usable).then_some(())
}

pub(super) const URL_ALLOWED: &str = "ws or wss://HOST[:PORT]/PATH, without user name, password or fragment";

fn read_url(section: &mut Section<'_>) -> Option<Url> {
    let text = section.text("url")?;
    let (_, place) = section.item("url")?;
    match Url::parse(&text) {
        Ok(url) if url_fault(&url).is_none() => Some(url),
        Ok(_) => {
            section.source.push(place.error(shown_url(&format!("\"{text}\"")), URL_ALLOWED));
            None
        }
        Err(error) => {
            let found = format!("\"{text}\"");
            section.source.push(place.error(format!("{} ({error})", shown_url(&found)), URL_ALLOWED));
            None
        }
    }
}
