//! Lays the tables that `[defaults]`, `[[connection]]` and `[[request]]` share over the settings they are about.
//!
//! One function a table: reads the keys the file gives, leaves every other value as it is, and refuses what is no key.
//! Types are checked here, ranges in `check`. No error repeats a header's or a credential's value.

use super::Secret;
use super::header::{Header, is_credential, is_header_value, name_fault};
use super::place::Place;
use super::reader::Section;
use super::{
    AuthConfig, Credential, HeartbeatConfig, Host, LivenessConfig, ReconnectConfig, ReconnectStrategy, RestConfig,
    RotationConfig, Separate, ServerPing, SocketConfig, SubscriptionConfig, TimeoutsConfig,
};
use toml_edit::Item;

pub(super) fn apply_socket(mut table: Section<'_>, socket: &mut SocketConfig) {
    table.flag("nodelay", &mut socket.nodelay);
    table.bytes("receive_buffer_bytes", &mut socket.receive_buffer_bytes);
    table.bytes("send_buffer_bytes", &mut socket.send_buffer_bytes);
    table.seconds("keepalive_idle_s", &mut socket.keepalive_idle);
    table.seconds("keepalive_interval_s", &mut socket.keepalive_interval);
    table.count("keepalive_count", &mut socket.keepalive_count);
    if let Some(text) = table.text("source_address")
        && let Some((_, place)) = table.item("source_address")
    {
        match text.parse() {
            Ok(address) => socket.source_address = Some(address),
            Err(_) => table.source.push(place.error(format!("\"{text}\""), "an IPv4 or IPv6 address of this machine")),
        }
    }
    table.finish();
}

pub(super) fn apply_subscription(mut table: Section<'_>, subscription: &mut SubscriptionConfig) {
    table.count("batch", &mut subscription.batch);
    table.count("requests_per_second", &mut subscription.requests_per_second);
    table.millis("ack_timeout_ms", &mut subscription.ack_timeout);
    table.count("ack_retries", &mut subscription.ack_retries);
    let mut streams = subscription.streams_per_connection.unwrap_or_default();
    table.count("streams_per_connection", &mut streams);
    if table.has("streams_per_connection") {
        subscription.streams_per_connection = Some(streams);
    }
    table.count("request_bytes_max", &mut subscription.request_bytes_max);
    let words = [Separate::None, Separate::Channel, Separate::Symbol];
    table.choice("separate", &words.map(|word| (word.name(), word)), &mut subscription.separate);
    if let Some(weights) = table.table("weights") {
        const ALLOWED: &str = "a whole number, 1 to 1000: SYMBOL = WEIGHT";
        for (symbol, item, place) in weights.entries() {
            match item.as_integer().map(u32::try_from) {
                Some(Ok(weight)) => drop(subscription.weights.insert(symbol.to_owned(), weight)),
                _ => weights.wrong_type(item, &place, ALLOWED),
            }
        }
    }
    table.finish();
}

pub(super) fn apply_heartbeat(mut table: Section<'_>, heartbeat: &mut HeartbeatConfig) {
    table.millis("interval_ms", &mut heartbeat.interval);
    table.millis("timeout_ms", &mut heartbeat.timeout);
    table.millis_or_off("protocol_ping_ms", &mut heartbeat.protocol_ping);
    if let Some(text) = table.text("text_ping") {
        heartbeat.text_ping = Some(text);
    }
    table.millis("text_ping_ms", &mut heartbeat.text_ping_interval);
    if let Some(mut ping) = table.table("server_ping") {
        const ALLOWED: &str =
            "{ text = \"ping\", reply = \"pong\" } or { field = \"ping\", reply = '{\"pong\":{value}}' }";
        let (text, field, reply) = (ping.text("text"), ping.text("field"), ping.text("reply"));
        let is_one_of_two = ping.has("text") != ping.has("field") && ping.has("reply");
        match (text, field, reply) {
            (Some(text), None, Some(reply)) if is_one_of_two => {
                heartbeat.server_ping = Some(ServerPing::Text { text, reply });
            }
            (None, Some(field), Some(reply)) if is_one_of_two => {
                heartbeat.server_ping = Some(ServerPing::Field { field, reply });
            }
            _ if !is_one_of_two => {
                let found = "a server_ping without `reply`, or not with one of `text` and `field`";
                ping.source.push(ping.here().error(found, ALLOWED));
            }
            // A value of another type has been refused already.
            _ => {}
        }
        ping.finish();
    }
    table.finish();
}

pub(super) fn apply_liveness(mut table: Section<'_>, liveness: &mut LivenessConfig) {
    table.millis_or_off("first_data_ms", &mut liveness.first_data);
    table.millis_or_off("trade_first_data_ms", &mut liveness.trade_first_data);
    table.ratio("stale_factor", &mut liveness.stale_factor);
    table.millis("stale_ms_min", &mut liveness.stale_min);
    table.millis("stale_ms_max", &mut liveness.stale_max);
    table.count("connection_share_percent", &mut liveness.connection_share_percent);
    table.flag("repair", &mut liveness.repair);
    table.finish();
}

pub(super) fn apply_reconnect(mut table: Section<'_>, reconnect: &mut ReconnectConfig) {
    let words = [ReconnectStrategy::Exponential, ReconnectStrategy::Fixed, ReconnectStrategy::Never];
    table.choice("strategy", &words.map(|strategy| (strategy.name(), strategy)), &mut reconnect.strategy);
    table.millis("base_ms", &mut reconnect.base);
    table.ratio("factor", &mut reconnect.factor);
    table.millis("cap_ms", &mut reconnect.cap);
    table.ratio("jitter", &mut reconnect.jitter);
    table.count("attempts_max", &mut reconnect.attempts_max);
    table.millis("stable_after_ms", &mut reconnect.stable_after);
    table.millis("offset_ms", &mut reconnect.offset);
    table.flag("immediate_first", &mut reconnect.immediate_first);
    table.finish();
}

pub(super) fn apply_rotation(mut table: Section<'_>, rotation: &mut RotationConfig) {
    let mut after = rotation.after.unwrap_or_default();
    table.seconds("after_s", &mut after);
    rotation.after = (!after.is_zero()).then_some(after);
    table.seconds("jitter_s", &mut rotation.jitter);
    table.millis("overlap_ms", &mut rotation.overlap);
    table.millis("overlap_max_ms", &mut rotation.overlap_max);
    table.flag("on_notice", &mut rotation.on_notice);
    table.finish();
}

pub(super) fn apply_rest(mut table: Section<'_>, rest: &mut RestConfig) {
    table.count("weight_share_percent", &mut rest.weight_share_percent);
    let mut relist = rest.relist.unwrap_or_default();
    table.seconds("relist_s", &mut relist);
    rest.relist = (!relist.is_zero()).then_some(relist);
    table.finish();
}

/// All time-outs but those of REST, which not every connection has. Leaves the table open.
pub(super) fn apply_timeouts(table: &mut Section<'_>, timeouts: &mut TimeoutsConfig) {
    table.millis("dns_ms", &mut timeouts.dns);
    table.millis("connect_ms", &mut timeouts.connect);
    table.millis("tls_ms", &mut timeouts.tls);
    table.millis("upgrade_ms", &mut timeouts.upgrade);
}

/// The variable of `{ env = "VARIABLE" }`, where an item is that.
fn variable_of(item: &Item) -> Option<&str> {
    let inner = item.as_table_like().filter(|inner| inner.len() == 1)?;
    inner.get("env").and_then(Item::as_str)
}

/// A value from the environment; where the variable is not set, an error at the key.
fn from_environment(table: &Section<'_>, variable: &str, place: &Place, host: &Host<'_>) -> Option<String> {
    let value = (host.environment)(variable);
    if value.is_none() {
        let found = format!("environment variable {variable}, which is not set");
        table.source.push(place.error(found, "a variable that is set, in UTF-8, when tickwire starts"));
    }
    value
}

/// Headers: plain texts, or `{ env = "VARIABLE" }`. No error repeats a value.
pub(super) fn apply_headers(table: &Section<'_>, headers: &mut Vec<Header>, host: &Host<'_>) {
    const ALLOWED: &str = "a text in quotes, or { env = \"VARIABLE\" }";
    for (name, item, place) in table.entries() {
        if let Some(allowed) = name_fault(name) {
            table.source.push(place.error(format!("header `{name}`"), allowed));
            continue;
        }
        let (value, variable) = match (item.as_str(), variable_of(item)) {
            (Some(_), _) if is_credential(name) => {
                refuse_plain(table, &place);
                continue;
            }
            (Some(text), _) => (text.to_owned(), ""),
            (None, Some(variable)) => match from_environment(table, variable, &place, host) {
                Some(value) => (value, variable),
                None => continue,
            },
            (None, None) => {
                table.source.push(place.error(format!("a value of type {}", item.type_name()), ALLOWED));
                continue;
            }
        };
        if !is_header_value(&value) || value.is_empty() {
            let found = "a value that is empty or holds a line break or another control character";
            table.source.push(place.error(found, "text without control characters"));
            continue;
        }
        headers.retain(|header| !header.name.eq_ignore_ascii_case(name));
        headers.push(Header { name: name.to_owned(), value: Secret::new(value), variable: variable.to_owned() });
    }
}

fn refuse_plain(table: &Section<'_>, place: &Place) {
    let found = "a credential written in the file (not repeated here)";
    table.source.push(place.error(found, "{ env = \"VARIABLE\" }: the environment holds secrets, files do not"));
}

/// Credentials, each `{ env = "VARIABLE" }`. The table is whole: it replaces that of the defaults.
pub(super) fn apply_auth(mut table: Section<'_>, auth: &mut Option<AuthConfig>, host: &Host<'_>) {
    let here = table.here();
    for key in ["key", "secret"] {
        if !table.has(key) {
            let allowed = "key and secret, each { env = \"VARIABLE\" }";
            table.source.push(here.error(format!("an auth without `{key}`"), allowed));
        }
    }
    let (key, secret) = (credential(&mut table, "key", host), credential(&mut table, "secret", host));
    let passphrase = credential(&mut table, "passphrase", host);
    if let (Some(key), Some(secret)) = (key, secret) {
        *auth = Some(AuthConfig { key, secret, passphrase });
    }
    table.finish();
}

fn credential(table: &mut Section<'_>, key: &'static str, host: &Host<'_>) -> Option<Credential> {
    let (item, place) = table.item(key)?;
    if item.as_str().is_some() {
        refuse_plain(table, &place);
        return None;
    }
    let Some(variable) = variable_of(item) else {
        table.source.push(place.error(format!("a value of type {}", item.type_name()), "{ env = \"VARIABLE\" }"));
        return None;
    };
    let value = from_environment(table, variable, &place, host)?;
    if value.trim().is_empty() {
        let found = format!("environment variable {variable}, which is empty");
        table.source.push(place.error(found, "a variable that holds the credential"));
        return None;
    }
    Some(Credential { value: Secret::new(value), variable: variable.to_owned() })
}
