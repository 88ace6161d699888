//! What keeps a connection up, held to its ranges: of market data and of requests alike.
//!
//! The second half of `check`: functions over one table's settings, called for a `[[connection]]` and, where it has the
//! same table, for a `[[request]]`. Adds to a list of errors; never stops at the first.

use super::check::{Examined, HOUR, MINUTE, MS, One, SECOND};
use super::exchange::{NAME_ALLOWED, Placed, is_name};
use super::request::{PlacedRequest, URL_ALLOWED, url_fault};
use super::{
    ConfigError, HeartbeatConfig, LimitsConfig, LivenessConfig, ReconnectConfig, RotationConfig, ServerPing,
    SocketConfig, TimeoutsConfig,
};
use crate::venue::protocol;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Smallest `max_message_bytes`: three times the longest depth message seen on the wire (19 KiB). A smaller limit would
/// close the connection on an ordinary message.
const MESSAGE_BYTES_MIN: usize = 64 * 1024;
/// Largest `max_message_bytes`: the spill is allocated up front, for each socket.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Socket buffers: below a page the kernel raises it anyway, above 1 GiB it does not grant it.
const SOCKET_BYTES: RangeInclusive<usize> = 4096..=1024 * 1024 * 1024;
/// Bytes of one request: a subscribe of one stream fits below, a frame that venues take ends above.
const REQUEST_BYTES: RangeInclusive<usize> = 256..=1024 * 1024;
/// Streams on one socket where the venue states no number.
const STREAMS_PER_CONNECTION_MAX: usize = 10_000;
/// Heavier than this says nothing more: a socket that carries one such symbol carries nothing else.
const WEIGHT_MAX: u32 = 1_000;
/// Bytes of a ping text or of its answer.
const PING_BYTES_MAX: usize = 512;
/// Largest `refill_trades_max`: a hundred pages of a venue's, 2,500 of its weight.
const REFILL_TRADES_MAX: u32 = 100_000;
const DAY: Duration = Duration::from_secs(86_400);

impl One<'_> {
    /// How streams are dealt over sockets and requests.
    pub(super) fn dealing(&mut self) {
        let connection = self.connection;
        let subscription = &connection.subscription;
        let stated = protocol(connection.venue).limits().streams_per_connection;
        let most = stated.and_then(|most| usize::try_from(most).ok()).unwrap_or(STREAMS_PER_CONNECTION_MAX);
        if let Some(streams) = subscription.streams_per_connection {
            let what = format!("streams on one connection ({})", connection.venue);
            self.range("subscription.streams_per_connection", streams, 1..=most, &what);
        }
        self.range("subscription.request_bytes_max", subscription.request_bytes_max, REQUEST_BYTES, "bytes");
        for (symbol, weight) in &subscription.weights {
            let key = format!("subscription.weights.{symbol}");
            self.range(&key, *weight, 1..=WEIGHT_MAX, "(a symbol that is not named weighs 1)");
            // The defaults of a file speak for all of its connections, of which one has the symbol.
            let is_default = self.places.of(&key).key.starts_with("defaults");
            if !is_default && !connection.symbols.is_empty() && !connection.symbols.contains(symbol) {
                self.refuse(&key, format!("\"{symbol}\""), "one of this connection's symbols");
            }
        }
    }

    /// Liveness, rotation, REST and credentials.
    pub(super) fn upkeep(&mut self) {
        let connection = self.connection;
        self.liveness(&connection.liveness);
        self.rotation(&connection.rotation);
        self.range(
            "refill_trades_max",
            connection.refill_trades_max,
            0..=REFILL_TRADES_MAX,
            "trades of one hole (0: off)",
        );
        self.range("rest.weight_share_percent", connection.rest.weight_share_percent, 1..=90, "percent");
        if let Some(relist) = connection.rest.relist
            && !(SECOND..=7 * DAY).contains(&relist)
        {
            self.refuse("rest.relist_s", relist.as_secs_f64(), "0 (never), or 1 to 604800 seconds");
        }
        if self.places.has("auth") || connection.auth.is_some() {
            let allowed = format!(
                "no [auth]: {} streams its market data to everybody; credentials belong to a [[request]]",
                connection.venue
            );
            self.refuse("auth", "credentials", allowed);
        }
    }

    fn liveness(&mut self, liveness: &LivenessConfig) {
        for (key, value) in [
            ("liveness.first_data_ms", liveness.first_data),
            ("liveness.trade_first_data_ms", liveness.trade_first_data),
        ] {
            optional_millis(self, key, value, 100 * MS..=DAY);
        }
        self.range("liveness.stale_factor", liveness.stale_factor, 2.0..=1_000.0, "times the usual gap");
        self.millis("liveness.stale_ms_min", liveness.stale_min, 100 * MS..=DAY);
        self.millis("liveness.stale_ms_max", liveness.stale_max, 100 * MS..=DAY);
        if liveness.stale_min > liveness.stale_max && liveness.stale_max >= 100 * MS {
            let (most, least) = (liveness.stale_max.as_millis(), liveness.stale_min.as_millis());
            self.refuse(
                "liveness.stale_ms_max",
                format!("{most}, below stale_ms_min = {least}"),
                format!("{least} or more"),
            );
        }
        self.range("liveness.connection_share_percent", liveness.connection_share_percent, 1..=100, "percent");
    }

    fn rotation(&mut self, rotation: &RotationConfig) {
        const AFTER: &str = "rotation.after_s";
        self.seconds("rotation.jitter_s", rotation.jitter, Duration::ZERO..=DAY);
        self.millis("rotation.overlap_ms", rotation.overlap, Duration::ZERO..=10 * MINUTE);
        self.millis("rotation.overlap_max_ms", rotation.overlap_max, SECOND..=10 * MINUTE);
        if rotation.overlap > rotation.overlap_max && rotation.overlap_max >= SECOND {
            let (most, least) = (rotation.overlap_max.as_millis(), rotation.overlap.as_millis());
            self.refuse(
                "rotation.overlap_max_ms",
                format!("{most}, below overlap_ms = {least}"),
                format!("{least} or more"),
            );
        }
        let Some(after) = rotation.after else { return };
        self.seconds(AFTER, after, SECOND..=30 * DAY);
        let venue = self.connection.venue;
        if let Some(age) = protocol(venue).limits().connection_age_max
            && after <= 30 * DAY
            && after + rotation.overlap_max >= age
        {
            let allowed = format!(
                "0 (never) or less than {}: {venue} cuts at {} seconds, and overlap_max_ms comes before",
                age.saturating_sub(rotation.overlap_max).as_secs_f64(),
                age.as_secs()
            );
            self.refuse(AFTER, after.as_secs_f64(), allowed);
        }
        if rotation.jitter >= after && rotation.jitter <= DAY {
            let allowed = format!("less than after_s = {}: it is taken off", after.as_secs_f64());
            self.refuse("rotation.jitter_s", rotation.jitter.as_secs_f64(), allowed);
        }
    }
}

/// A time that may be off, which is 0 in a file.
fn optional_millis(examined: &mut Examined<'_>, key: &str, value: Option<Duration>, range: RangeInclusive<Duration>) {
    if let Some(value) = value
        && !range.contains(&value)
    {
        let (least, most) = (range.start().as_millis(), range.end().as_millis());
        examined.refuse(key, value.as_millis(), format!("0 (off), or {least} to {most} milliseconds"));
    }
}

/// All of a heartbeat but `interval`, which is each protocol's own.
pub(super) fn heartbeat(examined: &mut Examined<'_>, heartbeat: &HeartbeatConfig) {
    examined.millis("heartbeat.timeout_ms", heartbeat.timeout, 10 * MS..=HOUR);
    optional_millis(examined, "heartbeat.protocol_ping_ms", heartbeat.protocol_ping, SECOND..=HOUR);
    examined.millis("heartbeat.text_ping_ms", heartbeat.text_ping_interval, SECOND..=HOUR);
    if let Some(template) = &heartbeat.text_ping {
        ping_text(examined, "heartbeat.text_ping", template, &["id", "timestamp"]);
    }
    match &heartbeat.server_ping {
        Some(ServerPing::Text { text, reply }) => {
            ping_text(examined, "heartbeat.server_ping.text", text, &[]);
            ping_text(examined, "heartbeat.server_ping.reply", reply, &["id", "timestamp"]);
        }
        Some(ServerPing::Field { field, reply }) => {
            ping_text(examined, "heartbeat.server_ping.field", field, &[]);
            ping_text(examined, "heartbeat.server_ping.reply", reply, &["value", "id", "timestamp"]);
        }
        None => {}
    }
}

/// A text with placeholders: `{word}`. What stands in braces and is no word, as JSON does, is text.
fn ping_text(examined: &mut Examined<'_>, key: &str, template: &str, words: &[&str]) {
    if template.is_empty() || template.len() > PING_BYTES_MAX || template.chars().any(char::is_control) {
        let found = format!("a text of {} bytes", template.len());
        examined.refuse(key, found, format!("1 to {PING_BYTES_MAX} bytes, without control characters"));
        return;
    }
    for part in template.split('{').skip(1) {
        let Some((word, _)) = part.split_once('}') else { continue };
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_word && !words.contains(&word) {
            let known: Vec<String> = words.iter().map(|word| format!("{{{word}}}")).collect();
            let allowed = if known.is_empty() { "a text without placeholders".into() } else { known.join(", ") };
            examined.refuse(key, format!("{{{word}}}"), allowed);
        }
    }
}

pub(super) fn reconnect(examined: &mut Examined<'_>, reconnect: &ReconnectConfig) {
    examined.millis("reconnect.base_ms", reconnect.base, MS..=HOUR);
    examined.millis("reconnect.cap_ms", reconnect.cap, MS..=HOUR);
    examined.millis("reconnect.stable_after_ms", reconnect.stable_after, MS..=HOUR);
    examined.millis("reconnect.offset_ms", reconnect.offset, Duration::ZERO..=HOUR);
    examined.range("reconnect.factor", reconnect.factor, 1.0..=10.0, "times the delay before");
    let jitter = "(the random part of a delay; never 0, or all connections would come back at once)";
    examined.range("reconnect.jitter", reconnect.jitter, 0.01..=1.0, jitter);
    if reconnect.base > reconnect.cap && reconnect.cap >= MS {
        let found = format!("{}, below base_ms = {}", reconnect.cap.as_millis(), reconnect.base.as_millis());
        examined.refuse("reconnect.cap_ms", found, format!("{} or more", reconnect.base.as_millis()));
    }
}

/// All time-outs but that of REST.
pub(super) fn timeouts(examined: &mut Examined<'_>, timeouts: &TimeoutsConfig) {
    for (key, value) in [
        ("timeouts.dns_ms", timeouts.dns),
        ("timeouts.connect_ms", timeouts.connect),
        ("timeouts.tls_ms", timeouts.tls),
        ("timeouts.upgrade_ms", timeouts.upgrade),
    ] {
        examined.millis(key, value, 10 * MS..=5 * MINUTE);
    }
}

pub(super) fn socket(examined: &mut Examined<'_>, socket: &SocketConfig) {
    examined.seconds("socket.keepalive_idle_s", socket.keepalive_idle, SECOND..=HOUR);
    examined.seconds("socket.keepalive_interval_s", socket.keepalive_interval, SECOND..=HOUR);
    examined.range("socket.keepalive_count", socket.keepalive_count, 1..=100, "probes");
    for (key, bytes) in [
        ("socket.receive_buffer_bytes", socket.receive_buffer_bytes),
        ("socket.send_buffer_bytes", socket.send_buffer_bytes),
    ] {
        if let Some(bytes) = bytes {
            examined.range(key, bytes, SOCKET_BYTES, "bytes");
        }
    }
}

pub(super) fn limits(examined: &mut Examined<'_>, limits: &LimitsConfig) {
    let bytes = limits.max_message_bytes;
    examined.range("limits.max_message_bytes", bytes, MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX, "bytes");
}

pub(super) fn authority(examined: &mut Examined<'_>, ca_file: Option<&Path>) {
    let Some(file) = ca_file else { return };
    let allowed = "a PEM file with at least one certificate";
    match std::fs::read_to_string(file) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => {}
        Ok(_) => examined.refuse("tls.ca_file", format!("{}: no certificate in it", file.display()), allowed),
        Err(error) => examined.refuse("tls.ca_file", format!("{}: {error}", file.display()), allowed),
    }
}

/// Checks each request connection, and that its name is no other connection's.
pub(super) fn check_requests(requests: &[PlacedRequest], connections: &[Placed], errors: &mut Vec<ConfigError>) {
    let name_of = |placed: &Placed| (placed.connection.name.clone(), placed.places.of("name").file);
    let mut names: HashMap<String, Option<PathBuf>> = connections.iter().map(name_of).collect();
    for PlacedRequest { request, places } in requests {
        let mut examined = Examined { places, errors: &mut *errors };
        if !is_name(&request.name) && (places.has("name") || !places.is_from_file()) {
            examined.refuse("name", format!("{:?}", request.name), NAME_ALLOWED);
        } else if let Some(first) = names.insert(request.name.clone(), places.of("name").file)
            && !request.name.is_empty()
        {
            let file = first.map(|file| format!(" (first in {})", file.display())).unwrap_or_default();
            let found = format!("\"{}\", a second time{file}", request.name);
            examined.refuse("name", found, "each name once in the process");
        }
        if url_fault(&request.url).is_some() {
            examined.refuse("url", request.url.scheme(), URL_ALLOWED);
        }
        examined.millis("timeout_ms", request.timeout, 10 * MS..=5 * MINUTE);
        examined.range("pending_max", request.pending_max, 1..=65_536, "requests");
        const INTERVAL: &str = "heartbeat.interval_ms";
        if request.codec.has_ping_of_its_own() {
            examined.millis(INTERVAL, request.heartbeat.interval, SECOND..=HOUR);
        } else if places.has(INTERVAL) {
            let allowed = format!("protocol_ping_ms or text_ping_ms: {} has no ping of its own", request.codec.name());
            examined.refuse(INTERVAL, request.heartbeat.interval.as_millis(), allowed);
        }
        heartbeat(&mut examined, &request.heartbeat);
        reconnect(&mut examined, &request.reconnect);
        timeouts(&mut examined, &request.timeouts);
        socket(&mut examined, &request.socket);
        limits(&mut examined, &request.limits);
        authority(&mut examined, request.tls.ca_file.as_deref());
        if let Some(fault) = request.codec.auth_fault()
            && (places.has("auth") || request.auth.is_some())
        {
            examined.refuse("auth", "credentials", format!("no [request.auth]: {fault}"));
        } else if request.auth.as_ref().is_some_and(|auth| auth.passphrase.is_some()) {
            let allowed = format!("key and secret: {} asks for no passphrase", request.codec.name());
            examined.refuse("auth.passphrase", "a passphrase", allowed);
        }
    }
}
