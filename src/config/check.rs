//! The values a connection may have: against each other, its venue's limits, this machine, and the other connections.
//!
//! Works on typed values with the places they came from, so that a configuration built in code is held to the same
//! rules as a file. Adds to a list of errors; never stops at the first.

use super::exchange::{NAME_ALLOWED, Placed, is_name};
use super::place::Places;
use super::{
    ConfigError, ConnectionConfig, EngineConfig, Host, InstrumentConfig, RestConfig, Transport, check_upkeep, engine,
};
use crate::hot::RecordOpener;
use crate::limits::{
    CONNECTION_COUNT_MAX, LEGGED_SOCKET_COUNT_MAX, SCALE_MAX, SYMBOL_COUNT_MAX, SYMBOL_NAME_BYTES_MAX,
};
use crate::market::{InstrumentKind, Venue};
use crate::venue::{ChannelScope, Heartbeat, protocol};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;
use url::Url;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const MS: Duration = Duration::from_millis(1);

/// Why a URL cannot be used, if it cannot.
pub(super) fn url_fault(url: &Url, schemes: &[&str]) -> Option<()> {
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    let is_usable = schemes.contains(&url.scheme()) && url.has_host() && is_bare && is_anonymous;
    (!is_usable).then_some(())
}

/// What an error repeats of a URL that cannot be used: nothing where it may hold a password, whether it parses or not.
pub(super) fn shown_url(text: &str) -> &str {
    if text.contains('@') { "a URL with a user name or a password" } else { text }
}

/// Checks each connection, then what they share.
pub(super) fn check(placed: &[Placed], engine: &EngineConfig, names_cores: bool, host: &Host<'_>) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for Placed { connection, places } in placed {
        let mut one = One { connection, examined: Examined { places, errors: &mut errors } };
        one.identity();
        one.core(engine, names_cores, host);
        one.symbols();
        one.channels();
        one.subscription();
        one.times();
        one.upkeep();
        one.book();
        one.legs();
        one.sizes();
        one.instruments();
    }
    together(placed, &mut errors);
    errors
}

/// One table under examination: where its keys stand, and what was wrong so far.
pub(super) struct Examined<'a> {
    pub(super) places: &'a Places,
    pub(super) errors: &'a mut Vec<ConfigError>,
}

impl Examined<'_> {
    pub(super) fn refuse(&mut self, key: &str, found: impl Display, allowed: impl Display) {
        self.errors.push(self.places.of(key).error(found, allowed));
    }

    /// A value outside of its range is refused; so is a float that is no number.
    pub(super) fn range<T: PartialOrd + Display>(&mut self, key: &str, value: T, range: RangeInclusive<T>, what: &str) {
        if !range.contains(&value) {
            self.refuse(key, value, format!("{} to {} {what}", range.start(), range.end()));
        }
    }

    pub(super) fn millis(&mut self, key: &str, value: Duration, range: RangeInclusive<Duration>) {
        self.range(key, value.as_millis(), range.start().as_millis()..=range.end().as_millis(), "milliseconds");
    }

    pub(super) fn seconds(&mut self, key: &str, value: Duration, range: RangeInclusive<Duration>) {
        self.range(key, value.as_secs_f64(), range.start().as_secs_f64()..=range.end().as_secs_f64(), "seconds");
    }
}

/// One connection under examination.
pub(super) struct One<'a> {
    pub(super) connection: &'a ConnectionConfig,
    pub(super) examined: Examined<'a>,
}

impl<'a> std::ops::Deref for One<'a> {
    type Target = Examined<'a>;

    fn deref(&self) -> &Examined<'a> {
        &self.examined
    }
}

impl<'a> std::ops::DerefMut for One<'a> {
    fn deref_mut(&mut self) -> &mut Examined<'a> {
        &mut self.examined
    }
}

impl One<'_> {
    fn identity(&mut self) {
        let connection = self.connection;
        if !is_name(&connection.name) && (self.places.has("name") || !self.places.is_from_file()) {
            self.refuse("name", format!("{:?}", connection.name), NAME_ALLOWED);
        }
        for (key, url, schemes) in
            [("url", &connection.url, ["ws", "wss"]), ("rest_url", &connection.rest_url, ["http", "https"])]
        {
            if url_fault(url, &schemes).is_some() {
                self.refuse(key, url.scheme(), format!("{}://HOST[:PORT], without path", schemes.join(" or ")));
            }
        }
        check_upkeep::authority(&mut self.examined, connection.tls.ca_file.as_deref());
        let is_cold = connection.transport == Transport::Cold;
        // By default they are opened in place where they can be.
        if is_cold && connection.tls.records == RecordOpener::InPlace && self.places.has("tls.records") {
            let allowed = "\"rustls\", or transport = \"hot\": the cold runtime's records are rustls'";
            self.refuse("tls.records", "\"in_place\" with transport = \"cold\"", allowed);
        }
        if connection.conflate_quotes && is_cold {
            let allowed = "false, or transport = \"hot\": nothing is folded on the cold runtime";
            self.refuse("conflate_quotes", "true with transport = \"cold\"", allowed);
        }
    }

    fn core(&mut self, engine: &EngineConfig, names_cores: bool, host: &Host<'_>) {
        let core = self.connection.core;
        if engine.cores.iter().any(|known| known.cpu == core) && (names_cores || host.cpus.contains(&core)) {
            return;
        }
        let allowed = if names_cores {
            let cpus: Vec<usize> = engine.cores.iter().map(|known| known.cpu).collect();
            format!("the `cpu` of a [[core]] in the engine file: {}", engine::list(&cpus))
        } else {
            format!("a CPU this process may use: {}", engine::list(&host.cpus))
        };
        self.refuse("core", format!("CPU {core}"), allowed);
    }

    fn symbols(&mut self) {
        let connection = self.connection;
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (index, symbol) in connection.symbols.iter().enumerate() {
            let key = format!("symbols[{index}]");
            if symbol.is_empty() || symbol.len() > SYMBOL_NAME_BYTES_MAX {
                let found = format!("a name of {} bytes", symbol.len());
                self.refuse(&key, found, format!("1 to {SYMBOL_NAME_BYTES_MAX} bytes"));
            } else if symbol.chars().any(|c| c.is_whitespace() || c.is_control() || c == '@' || c == '/' || c == '"') {
                self.refuse(&key, format!("{symbol:?}"), "a native name, without white space, quotes, `@` or `/`");
            } else if symbol.bytes().any(|byte| byte.is_ascii_lowercase()) {
                // The venue's messages spell it in upper case: a lower-case name would subscribe and never match.
                let allowed =
                    format!("\"{}\": {} names its symbols in upper case", symbol.to_uppercase(), connection.venue);
                self.refuse(&key, format!("\"{symbol}\""), allowed);
            } else if let Some(first) = seen.insert(symbol, index) {
                let line = self.places.of(&format!("symbols[{first}]")).line;
                let before = line.map(|line| format!(" (first on line {line})")).unwrap_or_default();
                self.refuse(&key, format!("\"{symbol}\", a second time{before}"), "each symbol once in a connection");
            }
        }
        let needs_symbols = connection.channels.iter().find(|channel| channel.scope == ChannelScope::PerSymbol);
        if connection.symbols.is_empty()
            && !self.places.has("symbols[0]")
            && let Some(channel) = needs_symbols
        {
            let key = if self.places.has("symbols_file") { "symbols_file" } else { "symbols" };
            let allowed = format!("at least one symbol: `{}` is subscribed for each symbol", channel.native);
            self.refuse(key, "no symbol", allowed);
        }
    }

    fn channels(&mut self) {
        let connection = self.connection;
        if connection.channels.is_empty() && !self.places.has("channels[0]") {
            let allowed = format!("at least one channel of {}", connection.venue);
            self.refuse("channels", "no channel", allowed);
        }
        let mut natives = HashSet::new();
        for (index, channel) in connection.channels.iter().enumerate() {
            let key = format!("channels[{index}]");
            if channel.venue != connection.venue {
                let found = format!("`{}` of {}", channel.native, channel.venue);
                self.refuse(&key, found, format!("channels of {}", connection.venue));
            } else if !natives.insert(&channel.native) {
                self.refuse(
                    &key,
                    format!("\"{}\", a second time", channel.native),
                    "each channel once in a connection",
                );
            }
        }
    }

    fn subscription(&mut self) {
        let (subscription, venue) = (&self.connection.subscription, self.connection.venue);
        let limits = protocol(venue).limits();
        let most = limits.args_per_request.or(limits.streams_per_connection).unwrap_or(2000);
        let args_max = usize::try_from(most).unwrap_or(usize::MAX);
        self.range(
            "subscription.batch",
            subscription.batch,
            1..=args_max,
            &format!("streams in one request ({venue})"),
        );
        let rate_max = limits.messages_per_second.unwrap_or(100);
        let what = format!("requests a second ({venue}; pings and pongs count too)");
        self.range("subscription.requests_per_second", subscription.requests_per_second, 1..=rate_max, &what);
        self.millis("subscription.ack_timeout_ms", subscription.ack_timeout, 10 * MS..=5 * MINUTE);
        self.range("subscription.ack_retries", subscription.ack_retries, 0..=100, "retries");
        self.dealing();
    }

    fn times(&mut self) {
        let connection = self.connection;
        self.heartbeat();
        check_upkeep::reconnect(&mut self.examined, &connection.reconnect);
        check_upkeep::timeouts(&mut self.examined, &connection.timeouts);
        self.millis("timeouts.rest_ms", connection.timeouts.rest, 10 * MS..=5 * MINUTE);
    }

    fn heartbeat(&mut self) {
        const INTERVAL: &str = "heartbeat.interval_ms";
        let (heartbeat, venue) = (&self.connection.heartbeat, self.connection.venue);
        match protocol(venue).heartbeat() {
            Heartbeat::ServerPing { interval, .. } => {
                // Nothing of ours would follow it: the venue pings when it likes.
                if self.places.has(INTERVAL) || heartbeat.interval != interval {
                    let allowed = format!("{venue} pings by itself: only heartbeat.timeout_ms may be set");
                    self.refuse(INTERVAL, heartbeat.interval.as_millis(), allowed);
                }
            }
            // A venue counts our pings among the messages it allows a second, and one of those is left for them.
            Heartbeat::ClientText { .. } => self.millis(INTERVAL, heartbeat.interval, SECOND..=HOUR),
        }
        check_upkeep::heartbeat(&mut self.examined, heartbeat);
    }

    fn sizes(&mut self) {
        let connection = self.connection;
        check_upkeep::socket(&mut self.examined, &connection.socket);
        check_upkeep::limits(&mut self.examined, &connection.limits);
    }

    fn instruments(&mut self) {
        let connection = self.connection;
        let listed: HashSet<&str> = connection.symbols.iter().map(String::as_str).collect();
        let mut seen = HashSet::new();
        for (index, row) in connection.instruments.iter().enumerate() {
            let key = format!("instrument[{index}]");
            if !seen.insert(row.symbol.as_str()) {
                let found = format!("\"{}\", a second time", row.symbol);
                self.refuse(&format!("{key}.symbol"), found, "each symbol in one [[connection.instrument]]");
            } else if !listed.is_empty() && !listed.contains(row.symbol.as_str()) {
                let found = format!("\"{}\"", row.symbol);
                self.refuse(&format!("{key}.symbol"), found, "one of this connection's symbols");
            }
            self.range(&format!("{key}.price_scale"), row.price_scale, 0..=SCALE_MAX, "decimals");
            self.range(&format!("{key}.qty_scale"), row.qty_scale, 0..=SCALE_MAX, "decimals");
            if let Some(InstrumentKind::Future(date)) = row.instrument.as_ref().map(|instrument| &instrument.kind) {
                let key = format!("{key}.delivery");
                if matches!(connection.venue, Venue::BinanceSpot | Venue::BybitSpot) {
                    let found = format!("\"{date}\" on {}", connection.venue);
                    self.refuse(&key, found, "no delivery: what trades on a spot venue has none");
                } else if !is_delivery_date(date) {
                    self.refuse(&key, format!("\"{date}\""), "six digits, YYMMDD: the day of delivery");
                }
            }
        }
    }
}

/// `YYMMDD`, as the venues' instrument lists are read: a date of another form would link to no other venue's future.
fn is_delivery_date(text: &str) -> bool {
    let is_in = |range: std::ops::Range<usize>, days: RangeInclusive<u8>| {
        text.get(range).and_then(|digits| digits.parse().ok()).is_some_and(|number| days.contains(&number))
    };
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit()) && is_in(2..4, 1..=12) && is_in(4..6, 1..=31)
}

/// What no connection can know alone: names, the core of each symbol, what a venue is asked for all, streams that come
/// twice, and how much one process and one core carry.
fn together(placed: &[Placed], errors: &mut Vec<ConfigError>) {
    one_answer_per_venue(placed, errors);
    each_stream_once(placed, errors);
    let mut names: HashMap<&str, &Placed> = HashMap::new();
    let mut owners: HashMap<(Venue, &str), &ConnectionConfig> = HashMap::new();
    let mut sockets_by_core: HashMap<usize, usize> = HashMap::new();
    let mut legged_by_core: HashMap<usize, usize> = HashMap::new();
    for placed in placed {
        let Placed { connection, places } = placed;
        match names.get(connection.name.as_str()) {
            Some(first) if !connection.name.is_empty() => {
                let at = first.places.of("name");
                let file = at.file.map(|file| format!(" (first in {})", file.display())).unwrap_or_default();
                let found = format!("\"{}\", a second time{file}", connection.name);
                errors.push(places.of("name").error(found, "each name once in the process"));
            }
            _ => drop(names.insert(&connection.name, placed)),
        }
        for (index, symbol) in connection.symbols.iter().enumerate() {
            let owner = *owners.entry((connection.venue, symbol)).or_insert(connection);
            if owner.core != connection.core {
                let found = format!("\"{symbol}\" of {} on core {}", connection.venue, connection.core);
                let allowed = format!(
                    "core {}, where \"{}\" has it: all legs of a symbol are on one core",
                    owner.core, owner.name
                );
                errors.push(places.of(&format!("symbols[{index}]")).error(found, allowed));
            }
        }
        if owners.len() > SYMBOL_COUNT_MAX {
            let found = format!("{} symbols up to here", owners.len());
            errors.push(places.of("symbols").error(found, format!("{SYMBOL_COUNT_MAX} symbols in one process")));
            return;
        }
        let sockets = sockets_by_core.entry(connection.core).or_default();
        let planned = connection.sockets().len();
        *sockets += planned * connection.legs.count;
        if connection.legs.count > 1 {
            let legged = legged_by_core.entry(connection.core).or_default();
            *legged += planned;
            if *legged > LEGGED_SOCKET_COUNT_MAX {
                let found = format!("{legged} sockets with legs on core {} up to here", connection.core);
                let allowed = format!("{LEGGED_SOCKET_COUNT_MAX} sockets with legs on one core");
                errors.push(places.of("legs").error(found, allowed));
                return;
            }
        }
        if *sockets > CONNECTION_COUNT_MAX {
            let found = format!("{sockets} sockets on core {} up to here", connection.core);
            errors.push(places.of("channels").error(found, format!("{CONNECTION_COUNT_MAX} sockets on one core")));
            return;
        }
    }
}

/// ` (FILE:LINE)`, for an error that names another key; empty for a configuration built in code.
fn seen_at(places: &Places, key: &str) -> String {
    let at = places.of(key);
    match (at.file, at.line) {
        (Some(file), Some(line)) => format!(" ({}:{line})", file.display()),
        _ => String::new(),
    }
}

/// A venue's instrument list is asked for at one place and its symbols are known once: two connections must not say it differently.
fn one_answer_per_venue(placed: &[Placed], errors: &mut Vec<ConfigError>) {
    let mut first_of: HashMap<Venue, &Placed> = HashMap::new();
    let mut stated: HashMap<(Venue, &str), (&Placed, usize, &InstrumentConfig)> = HashMap::new();
    for placed in placed {
        let Placed { connection, places } = placed;
        let first = *first_of.entry(connection.venue).or_insert(placed);
        if first.connection.rest_url != connection.rest_url {
            let allowed = format!(
                "{}, as connection \"{}\" has it{}: the instrument list of a venue is asked for at one place",
                first.connection.rest_url,
                first.connection.name,
                seen_at(&first.places, "rest_url")
            );
            errors.push(places.of("rest_url").error(&connection.rest_url, allowed));
        }
        let share = |rest: &RestConfig| rest.weight_share_percent.to_string();
        let relist = |rest: &RestConfig| rest.relist.unwrap_or_default().as_secs_f64().to_string();
        for (key, said, first_said, why) in [
            (
                "rest.weight_share_percent",
                share(&connection.rest),
                share(&first.connection.rest),
                "a venue has one budget for one address",
            ),
            (
                "rest.relist_s",
                relist(&connection.rest),
                relist(&first.connection.rest),
                "a venue has one instrument list",
            ),
        ] {
            if said != first_said {
                let (name, seen) = (&first.connection.name, seen_at(&first.places, key));
                errors.push(
                    places.of(key).error(said, format!("{first_said}, as connection \"{name}\" has it{seen}: {why}")),
                );
            }
        }
        for (index, row) in connection.instruments.iter().enumerate() {
            let key = (connection.venue, row.symbol.as_str());
            let (first, at, said) = *stated.entry(key).or_insert((placed, index, row));
            // A second row within one connection is refused there, whatever it says.
            if std::ptr::eq(first, placed) || said == row {
                continue;
            }
            let found = format!("\"{}\" of {} with other values: {}", row.symbol, connection.venue, values(row));
            let allowed = format!(
                "{}, as connection \"{}\" states it{}",
                values(said),
                first.connection.name,
                seen_at(&first.places, &format!("instrument[{at}].symbol"))
            );
            errors.push(places.of(&format!("instrument[{index}].symbol")).error(found, allowed));
        }
    }
}

/// What an `[[connection.instrument]]` says, in one line.
fn values(row: &InstrumentConfig) -> String {
    let InstrumentConfig { price_scale, qty_scale, instrument, .. } = row;
    let what = match instrument {
        None => String::new(),
        Some(it) => match &it.kind {
            InstrumentKind::Future(date) => format!(", {}/{} of {date}", it.base, it.quote),
            InstrumentKind::Spot | InstrumentKind::Perpetual => format!(", {}/{}", it.base, it.quote),
        },
    };
    format!("price_scale {price_scale}, qty_scale {qty_scale}{what}")
}

/// Two connections with one stream would deliver every event of it twice: nothing arbitrates between them yet.
fn each_stream_once(placed: &[Placed], errors: &mut Vec<ConfigError>) {
    // By venue, channel, and symbol; the symbol of an all-market stream is empty.
    let mut carriers: HashMap<(Venue, &str, &str), (&Placed, usize)> = HashMap::new();
    for placed in placed {
        let Placed { connection, places } = placed;
        for (index, channel) in connection.channels.iter().enumerate() {
            let mut twice: Vec<&str> = Vec::new();
            let mut first: Option<(&Placed, usize)> = None;
            let symbols = match channel.scope {
                ChannelScope::PerSymbol => connection.symbols.iter().map(String::as_str).collect(),
                ChannelScope::AllMarket => vec![""],
            };
            for symbol in symbols {
                let key = (connection.venue, &*channel.native, symbol);
                let carrier = *carriers.entry(key).or_insert((placed, index));
                // What one connection names twice is refused there.
                if !std::ptr::eq(carrier.0, placed) {
                    first.get_or_insert(carrier);
                    twice.push(symbol);
                }
            }
            let Some((first, at)) = first else { continue };
            let of = match twice.as_slice() {
                [""] | [] => String::new(),
                [symbol] => format!(" of \"{symbol}\""),
                [symbol, others @ ..] => format!(" of \"{symbol}\" and {} more", others.len()),
            };
            let found = format!(
                "\"{}\"{of}, which connection \"{}\" carries{}",
                channel.native,
                first.connection.name,
                seen_at(&first.places, &format!("channels[{at}]"))
            );
            let allowed = "each stream on one connection; `legs` on it carries it over several sockets";
            errors.push(places.of(&format!("channels[{index}]")).error(found, allowed));
        }
    }
}
