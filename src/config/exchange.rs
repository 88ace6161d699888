//! Reads an exchange's file: `[exchange]`, `[defaults]`, `[[connection]]`, `[[request]]`.
//!
//! ```text
//! ConnectionConfig::new (the venue's defaults) ──► [defaults] over it ──► [[connection]] over that
//! ```
//! The defaults are read once for each connection, because the venue decides what they are laid over.

use super::apply::{
    apply_auth, apply_headers, apply_heartbeat, apply_liveness, apply_reconnect, apply_rest, apply_rotation,
    apply_socket, apply_subscription, apply_timeouts,
};
use super::book::apply_book;
use super::check::{shown_url, url_fault};
use super::place::{Place, Places};
use super::reader::{Section, Source};
use super::request::{self, PlacedRequest};
use super::{ConnectionConfig, Host, InstrumentConfig, Transport};
use crate::hot::RecordOpener;
use crate::market::{Instrument, InstrumentKind, Venue};
use crate::venue::{Channel, Form};
use std::cell::RefCell;
use toml_edit::Item;
use url::Url;

/// A connection as its file says it, with the places of its keys.
pub(super) struct Placed {
    pub(super) connection: ConnectionConfig,
    pub(super) places: Places,
}

impl Placed {
    /// A connection built in code, which has no place but its name.
    pub(super) fn in_code(connection: ConnectionConfig) -> Self {
        let key = format!("connection[{}]", connection.name);
        Self { connection, places: Places::new(Place { key, ..Place::default() }) }
    }
}

/// What one file holds.
pub(super) struct File {
    /// Its exchange's name.
    pub(super) name: String,
    /// Those of its connections whose venue is known.
    pub(super) placed: Vec<Placed>,
    /// Those of its request connections whose URL and codec are known.
    pub(super) requests: Vec<PlacedRequest>,
}

/// Reads one file.
pub(super) fn read(source: &Source, root: &toml_edit::Table, host: &Host<'_>) -> File {
    let scratch = RefCell::new(Places::default());
    let mut file = Section::new(source, root, 1, "", &scratch);
    let mut name = String::new();
    if let Some(mut exchange) = file.table("exchange") {
        if let Some(text) = exchange.text("name") {
            if !is_name(&text) {
                let place = scratch.borrow().of("exchange.name");
                source.push(place.error(format!("{text:?}"), NAME_ALLOWED));
            }
            name = text;
        }
        exchange.finish();
    }
    let defaults = file.item("defaults");
    if let Some((item, place)) = &defaults
        && item.as_table_like().is_none()
    {
        file.wrong_type(item, place, "a table");
    }
    let tables = file.tables("connection");
    let request_tables = file.tables("request");
    if tables.is_empty() && !file.has("connection") && !file.has("request") {
        let allowed = "at least one [[connection]] with name, venue, symbols and channels";
        source.push(file.here().error("no connection", allowed));
    }
    let mut placed = Vec::new();
    for (index, (table, line)) in tables.into_iter().enumerate() {
        let label = table.get("name").and_then(Item::as_str).map_or_else(|| index.to_string(), str::to_owned);
        let places = RefCell::new(Places::new(source.place(line, format!("connection[{label}]"))));
        let section = Section::new(source, table, line, format!("connection[{label}]"), &places);
        if let Some(mut connection) = read_connection(section, defaults.as_ref(), &places, host) {
            if !name.is_empty() {
                connection.exchange.clone_from(&name);
            }
            placed.push(Placed { connection, places: places.into_inner() });
        }
    }
    let read_request = |(index, table)| request::read(source, index, table, host);
    let requests = request_tables.into_iter().enumerate().filter_map(read_request).collect();
    file.finish();
    if name.is_empty() {
        name = placed.first().map(|placed| placed.connection.exchange.clone()).unwrap_or_default();
    }
    File { name, placed, requests }
}

pub(super) const NAME_ALLOWED: &str = "1 to 64 letters, digits, `-`, `_`, `.` or `:`";

/// A name that can stand in a table, a log line and a metric's label.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

fn read_connection(
    mut section: Section<'_>,
    defaults: Option<&(&Item, Place)>,
    places: &RefCell<Places>,
    host: &Host<'_>,
) -> Option<ConnectionConfig> {
    let name = section.text("name");
    if !section.has("name") {
        section.source.push(section.here().error("a [[connection]] without `name`", NAME_ALLOWED));
    }
    let venue = read_venue(&mut section);
    // Without a venue nothing that depends on one can be checked; the rest of the keys still can be read.
    let mut config = ConnectionConfig::new(name.unwrap_or_default(), venue.unwrap_or(Venue::BinanceSpot));
    config.core = host.cpus.first().copied().unwrap_or(config.core);
    if let Some((item, place)) = defaults
        && let Some(table) = item.as_table_like()
    {
        let mut defaults = Section::new(section.source, table, place.line.unwrap_or(1), "defaults", places);
        apply_shared(&mut defaults, &mut config, host);
        defaults.finish();
    }
    apply_shared(&mut section, &mut config, host);
    read_url(&mut section, "url", &["ws", "wss"], &mut config.url);
    read_url(&mut section, "rest_url", &["http", "https"], &mut config.rest_url);
    config.legs.read(&mut section);
    read_symbols(&mut section, &mut config);
    let channels = section.texts("channels").unwrap_or_default();
    if venue.is_some() {
        for (index, name) in channels.iter().enumerate() {
            match Channel::parse(config.venue, name) {
                Ok(channel) => config.channels.push(channel),
                Err(error) => {
                    let place = places.borrow().of(&format!("channels[{index}]"));
                    section.source.push(place.error(format!("\"{name}\""), error.allowed));
                }
            }
        }
    }
    read_instruments(&mut section, &mut config);
    section.finish();
    venue.map(|_| config)
}

fn read_venue(section: &mut Section<'_>) -> Option<Venue> {
    let names = Venue::ALL.map(Venue::name);
    if !section.has("venue") {
        let allowed = format!("venue = one of {}", names.join(", "));
        section.source.push(section.here().error("a [[connection]] without `venue`", allowed));
    }
    let words = Venue::ALL.map(|venue| (venue.name(), Some(venue)));
    let mut venue = None;
    section.choice("venue", &words, &mut venue);
    venue
}

/// A URL of these schemes, without path, query or credentials: the engine adds the venue's path.
fn read_url(section: &mut Section<'_>, key: &'static str, schemes: &[&str], into: &mut Url) {
    let Some(text) = section.text(key) else { return };
    let Some((_, place)) = section.item(key) else { return };
    let allowed = format!("{}://HOST[:PORT], without path: the venue's path is added", schemes.join(" or "));
    match Url::parse(&text) {
        Ok(url) if url_fault(&url, schemes).is_none() => *into = url,
        Ok(_) => section.source.push(place.error(shown_url(&format!("\"{text}\"")), allowed)),
        Err(error) => section.source.push(place.error(format!("{} ({error})", shown_url(&text)), allowed)),
    }
}

fn read_symbols(section: &mut Section<'_>, config: &mut ConnectionConfig) {
    let listed = section.texts("symbols");
    let file = section.text("symbols_file");
    if section.has("symbols")
        && let Some((_, place)) = section.item("symbols_file")
    {
        section.source.push(place.error("both `symbols` and `symbols_file`", "one of the two"));
    }
    if let Some(symbols) = listed {
        config.symbols = symbols;
    } else if let Some(file) = file {
        let path = section.source.folder().join(&file);
        match std::fs::read_to_string(&path) {
            Ok(text) => config.symbols = section.symbols_of(&path, &text),
            Err(error) => {
                let Some((_, place)) = section.item("symbols_file") else { return };
                let found = format!("{}: {error}", path.display());
                section.source.push(place.error(found, "a text file, one symbol a line, # for comments"));
            }
        }
    }
}

/// The keys that `[defaults]` may give for every connection of the file.
fn apply_shared(section: &mut Section<'_>, config: &mut ConnectionConfig, host: &Host<'_>) {
    section.count("core", &mut config.core);
    section.choice("form", &[("combined", Form::Combined), ("raw", Form::Raw)], &mut config.form);
    section.choice("transport", &[("hot", Transport::Hot), ("cold", Transport::Cold)], &mut config.transport);
    section.flag("conflate_quotes", &mut config.conflate_quotes);
    section.count("refill_trades_max", &mut config.refill_trades_max);
    if let Some(table) = section.table("race") {
        config.legs.race.apply(table);
    }
    if let Some(table) = section.table("socket") {
        apply_socket(table, &mut config.socket);
    }
    if let Some(table) = section.table("subscription") {
        apply_subscription(table, &mut config.subscription);
    }
    if let Some(table) = section.table("heartbeat") {
        apply_heartbeat(table, &mut config.heartbeat);
    }
    if let Some(table) = section.table("liveness") {
        apply_liveness(table, &mut config.liveness);
    }
    if let Some(table) = section.table("reconnect") {
        apply_reconnect(table, &mut config.reconnect);
    }
    if let Some(table) = section.table("rotation") {
        apply_rotation(table, &mut config.rotation);
    }
    if let Some(table) = section.table("book") {
        apply_book(table, &mut config.book);
    }
    if let Some(table) = section.table("rest") {
        apply_rest(table, &mut config.rest);
    }
    if let Some(table) = section.table("auth") {
        apply_auth(table, &mut config.auth, host);
    }
    if let Some(mut table) = section.table("timeouts") {
        apply_timeouts(&mut table, &mut config.timeouts);
        table.millis("rest_ms", &mut config.timeouts.rest);
        table.finish();
    }
    if let Some(table) = section.table("headers") {
        apply_headers(&table, &mut config.headers, host);
    }
    if let Some(mut table) = section.table("tls") {
        table.path("ca_file", &mut config.tls.ca_file);
        let words = [RecordOpener::Rustls, RecordOpener::InPlace];
        table.choice("records", &words.map(|opener| (opener.name(), opener)), &mut config.tls.records);
        table.finish();
    }
    if let Some(mut table) = section.table("limits") {
        table.count("max_message_bytes", &mut config.limits.max_message_bytes);
        table.finish();
    }
}

fn read_instruments(section: &mut Section<'_>, config: &mut ConnectionConfig) {
    for (index, (table, line)) in section.tables("instrument").into_iter().enumerate() {
        let mut row = section.element("instrument", index, table, line);
        let symbol = row.text("symbol");
        let (mut price_scale, mut qty_scale) = (0, 0);
        row.count("price_scale", &mut price_scale);
        row.count("qty_scale", &mut qty_scale);
        for key in ["symbol", "price_scale", "qty_scale"] {
            if !row.has(key) {
                let found = format!("an [[connection.instrument]] without `{key}`");
                row.source.push(row.here().error(found, "symbol, price_scale and qty_scale"));
            }
        }
        let (base, quote, delivery) = (row.text("base"), row.text("quote"), row.text("delivery"));
        if row.has("base") != row.has("quote") || (row.has("delivery") && !row.has("base")) {
            let allowed = "base and quote together (and delivery, for a dated future), or none of them";
            row.source.push(row.here().error("a part of what the instrument is", allowed));
        }
        let is_spot = matches!(config.venue, Venue::BinanceSpot | Venue::BybitSpot);
        let kind = match delivery {
            Some(date) => InstrumentKind::Future(date.into()),
            None if is_spot => InstrumentKind::Spot,
            None => InstrumentKind::Perpetual,
        };
        let instrument =
            base.zip(quote).map(|(base, quote)| Instrument { base: base.into(), quote: quote.into(), kind });
        row.finish();
        if let Some(symbol) = symbol {
            config.instruments.push(InstrumentConfig { symbol, price_scale, qty_scale, instrument });
        }
    }
}
