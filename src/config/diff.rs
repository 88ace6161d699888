//! What a second reading of a configuration changes, and what of it a running engine can take.
//!
//! ```text
//! old, new ──► per connection: venue the same? ──► settings, one by one ──► at once | next connect | rotation | refused
//!                                              └──► after: what can be taken ──► streams added, removed, moved
//! after of all ──► check: would it still be a configuration? ──no──► blocked: nothing is taken
//! ```
//! Called by the engine (reload, add, remove) and shown by the command line. Compares values, decides nothing by time, and
//! repeats no header's and no credential's value.

use super::{Config, ConfigFiles, ConnectionConfig, EngineConfig, ExchangeConfig, InstrumentConfig, LaneConfig};
use crate::market::Venue;
use crate::venue::ChannelScope;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

/// Streams and symbols named before a list is cut short, for a person.
const NAMED_MAX: usize = 8;

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Now.
    AtOnce,
    /// With the connection's next socket.
    NextConnect,
    /// Now, by a successor that takes over without a gap.
    Rotation,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtOnce => "at once",
            Self::NextConnect => "from the next connect on",
            Self::Rotation => "by a rotation",
        })
    }
}

/// A stream of a connection, in the venue's words.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct StreamName {
    /// The channel.
    pub channel: String,
    /// The symbol; empty for an all-market channel.
    pub symbol: String,
}

/// What is subscribed and unsubscribed on a connection that stays.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StreamsChange {
    /// Its name.
    pub connection: String,
    /// To subscribe.
    pub added: Vec<StreamName>,
    /// To unsubscribe.
    pub removed: Vec<StreamName>,
}

/// Streams of one symbol that another connection carries from now on. They are among those added and removed, or among
/// those of an added or a removed connection: moving them is subscribing there before unsubscribing here.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SymbolMove {
    /// The symbol's venue.
    pub venue: &'static str,
    /// Its native name; empty for all-market channels.
    pub symbol: String,
    /// The connection that had it.
    pub from: String,
    /// The connection that has it.
    pub to: String,
    /// The core of the one.
    pub from_core: usize,
    /// The core of the other.
    pub to_core: usize,
    /// The channels that move.
    pub channels: Vec<String>,
}

/// A setting that a running engine takes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SettingChange {
    /// The connection.
    pub connection: String,
    /// The key: `rotation.after_s`.
    pub key: String,
    /// What it was.
    pub old: String,
    /// What it is.
    pub new: String,
    /// When it takes effect.
    pub effect: Effect,
}

/// A change that a running engine does not take.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RefusedChange {
    /// The connection; `None` for the process.
    pub connection: Option<String>,
    /// The key: `core`.
    pub key: String,
    /// What it is, and stays.
    pub old: String,
    /// What was asked for.
    pub new: String,
    /// Why it stays.
    pub why: String,
}

/// All that differs between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Connections to open, by name.
    pub added: Vec<String>,
    /// Connections to close, by name.
    pub removed: Vec<String>,
    /// Streams of connections that stay.
    pub streams: Vec<StreamsChange>,
    /// Symbols that another connection carries.
    pub moved: Vec<SymbolMove>,
    /// Settings that are taken.
    pub changed: Vec<SettingChange>,
    /// What is not taken.
    pub refused: Vec<RefusedChange>,
    /// Set where what is left without the refused would be no configuration: nothing is taken then, and this is why.
    pub blocked: Option<String>,
    /// The connections as they shall be: added and changed ones.
    #[serde(skip)]
    after: Vec<ConnectionConfig>,
    /// The names of all connections, in their new order.
    #[serde(skip)]
    order: Vec<String>,
    /// The exchanges and files of the new configuration.
    #[serde(skip)]
    exchanges: Vec<ExchangeConfig>,
    #[serde(skip)]
    files: ConfigFiles,
}

const AT_START: &str = "read once, when the process starts";
const BUDGET: &str = "the venue's REST budget and instrument list are set up when the process starts";
const BY_CORE: &str = "its symbols live on their hot core: remove the connection, and add it there under another name";
const BY_SOCKET: &str = "the sockets in use are read by it: remove the connection, and add it under another name";
const BY_LEGS: &str =
    "legs and what tells their events apart are made together: remove the connection, and add it under another name";
const BY_PLAN: &str = "streams are dealt over sockets when they are first subscribed";
const NO_CORE: &str = "hot cores are started with the process";
const BY_VENUE: &str = "another venue is another connection: nothing of it is changed; give it another name";
const BY_SYMBOL: &str = "a symbol keeps the scales and the instrument it was made with";
const REQUESTS: &str = "request connections are opened when the process starts";

impl Config {
    /// What has to be done to a running engine so that it does what `new` says.
    #[must_use]
    pub fn difference(old: &Self, new: &Self) -> Difference {
        let mut difference =
            Difference { exchanges: new.exchanges.clone(), files: new.files.clone(), ..Difference::default() };
        engine_refusals(old, new, &mut difference.refused);
        request_refusals(old, new, &mut difference.refused);
        let known: HashMap<&str, &ConnectionConfig> = by_name(&old.connections);
        for connection in &new.connections {
            let has_core = old.engine.cores.iter().any(|core| core.cpu == connection.core);
            match known.get(connection.name.as_str()) {
                Some(before) => difference.compare(before, connection, &old.connections),
                None if has_core => {
                    difference.added.push(connection.name.clone());
                    difference.after.push(connection.clone());
                }
                None => {
                    difference.refuse(Some(connection), "core", "no connection", &connection.core.to_string(), NO_CORE);
                    continue;
                }
            }
            difference.order.push(connection.name.clone());
        }
        let kept = by_name(&new.connections);
        let gone = old.connections.iter().filter(|connection| !kept.contains_key(connection.name.as_str()));
        difference.removed = gone.map(|connection| connection.name.clone()).collect();
        difference.hold_to_the_checks(old);
        difference.find_streams(old);
        difference
    }
}

fn by_name(connections: &[ConnectionConfig]) -> HashMap<&str, &ConnectionConfig> {
    connections.iter().map(|connection| (connection.name.as_str(), connection)).collect()
}

impl Difference {
    /// True where the two were the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.blocked.is_none() && !self.is_live()
    }

    /// True where there is something to do.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let names = self.added.len() + self.removed.len() + self.streams.len() + self.changed.len();
        names + self.moved.len() > 0
    }

    /// A connection that is added or changed, as it shall be.
    #[must_use]
    pub fn connection(&self, name: &str) -> Option<&ConnectionConfig> {
        self.after.iter().find(|connection| connection.name == name)
    }

    /// The configuration of the engine after everything that can be taken has been: `old` where nothing can.
    #[must_use]
    pub fn apply(&self, old: &Config) -> Config {
        if self.blocked.is_some() {
            return old.clone();
        }
        let known = by_name(&old.connections);
        let of = |name: &String| self.connection(name).or_else(|| known.get(name.as_str()).copied()).cloned();
        let connections = self.order.iter().filter_map(of).collect();
        let (exchanges, files) = (self.exchanges.clone(), self.files.clone());
        Config { connections, exchanges, files, ..old.clone() }
    }

    fn refuse(&mut self, connection: Option<&ConnectionConfig>, key: &str, old: &str, new: &str, why: &str) {
        self.refused.push(RefusedChange {
            connection: connection.map(|connection| connection.name.clone()),
            key: key.into(),
            old: old.into(),
            new: new.into(),
            why: why.into(),
        });
    }

    /// One connection that is in both: each setting taken or refused, and what it shall be.
    fn compare(&mut self, old: &ConnectionConfig, new: &ConnectionConfig, all: &[ConnectionConfig]) {
        if old == new {
            return;
        }
        if old.venue != new.venue {
            self.refuse(Some(old), "venue", old.venue.name(), new.venue.name(), BY_VENUE);
            return;
        }
        let mut after = new.clone();
        for ((key, before, effect), (_, now, _)) in settings(old).into_iter().zip(settings(new)) {
            match effect {
                _ if before == now => {}
                Ok(effect) => self.change(old, key, before, now, effect),
                Err(why) => self.refuse(Some(old), key, &before, &now, why),
            }
        }
        self.compare_hidden(old, new);
        keep_refused(&mut after, old);
        self.compare_instruments(old, &mut after, all);
        if after != *old {
            self.after.push(after);
        }
    }

    fn change(&mut self, of: &ConnectionConfig, key: &str, old: String, new: String, effect: Effect) {
        self.changed.push(SettingChange { connection: of.name.clone(), key: key.into(), old, new, effect });
    }

    /// Headers and credentials: their names are told, their values never.
    fn compare_hidden(&mut self, old: &ConnectionConfig, new: &ConnectionConfig) {
        let headers = |connection: &ConnectionConfig| {
            let names: Vec<&str> = connection.headers.iter().map(|header| header.name.as_str()).collect();
            if names.is_empty() { "none".into() } else { names.join(", ") }
        };
        let auth = |connection: &ConnectionConfig| match &connection.auth {
            Some(auth) => format!("{} and {}", auth.key.variable, auth.secret.variable),
            None => "none".into(),
        };
        for (key, differs, before, now) in [
            ("headers", old.headers != new.headers, headers(old), headers(new)),
            ("auth", old.auth != new.auth, auth(old), auth(new)),
        ] {
            if differs {
                let now = if before == now { format!("{now} (with another value)") } else { now };
                self.change(old, key, before, now, Effect::Rotation);
            }
        }
    }

    /// What is said of symbols that are known already stays; of others, what is new is taken.
    fn compare_instruments(&mut self, old: &ConnectionConfig, after: &mut ConnectionConfig, all: &[ConnectionConfig]) {
        fn row<'a>(of: &'a [InstrumentConfig], symbol: &str) -> Option<&'a InstrumentConfig> {
            of.iter().find(|row| row.symbol == symbol)
        }
        let text = |row: Option<&InstrumentConfig>| match row {
            Some(row) => format!("price_scale {}, qty_scale {}, {:?}", row.price_scale, row.qty_scale, row.instrument),
            None => "from the venue's list".into(),
        };
        let known: BTreeSet<&str> = all
            .iter()
            .filter(|connection| connection.venue == old.venue)
            .flat_map(|connection| connection.symbols.iter().map(String::as_str))
            .collect();
        for symbol in after.symbols.iter().filter(|symbol| known.contains(symbol.as_str())) {
            let (before, now) = (row(&old.instruments, symbol), row(&after.instruments, symbol));
            // A symbol that comes from another connection was made there, by whatever was said there.
            if before == now || !old.symbols.contains(symbol) {
                continue;
            }
            let key = format!("instrument.{symbol}");
            self.refuse(Some(old), &key, &text(before), &text(now), BY_SYMBOL);
            match before {
                Some(before) if now.is_none() => after.instruments.push(before.clone()),
                Some(before) => {
                    let rows = after.instruments.iter_mut().filter(|row| row.symbol == *symbol);
                    rows.for_each(|row| row.clone_from(before));
                }
                None => after.instruments.retain(|row| row.symbol != *symbol),
            }
        }
    }

    /// Without the refused changes the others may contradict what stays: two connections with one stream, say.
    fn hold_to_the_checks(&mut self, old: &Config) {
        let after = self.apply(old);
        if after.connections == old.connections {
            return;
        }
        if let Err(errors) = Config::from_parts(after.connections, old.engine.clone()) {
            self.blocked = Some(errors.to_string());
            for names in [&mut self.added, &mut self.removed] {
                names.clear();
            }
            self.changed.clear();
            self.after.clear();
            self.order = old.connections.iter().map(|connection| connection.name.clone()).collect();
        }
    }

    /// Fills in which streams come, go and move, from the old connections and those that shall be.
    fn find_streams(&mut self, old: &Config) {
        let after = self.apply(old);
        let (before, now) = (by_name(&old.connections), by_name(&after.connections));
        for connection in &after.connections {
            let Some(known) = before.get(connection.name.as_str()) else { continue };
            let (had, has) = (streams_of(known), streams_of(connection));
            let named = |streams: std::collections::btree_set::Difference<'_, StreamName>| streams.cloned().collect();
            let (added, removed): (Vec<_>, Vec<_>) = (named(has.difference(&had)), named(had.difference(&has)));
            if added.len() + removed.len() > 0 {
                self.streams.push(StreamsChange { connection: connection.name.clone(), added, removed });
            }
        }
        let carriers = carriers_of(&old.connections);
        let mut moves: BTreeMap<(&str, &str, String), (Venue, Vec<String>)> = BTreeMap::new();
        for ((venue, stream), to) in carriers_of(&after.connections) {
            if let Some(&from) = carriers.get(&(venue, stream.clone()))
                && from != to
            {
                let entry = moves.entry((from, to, stream.symbol)).or_insert((venue, Vec::new()));
                entry.1.push(stream.channel);
            }
        }
        let core = |of: &HashMap<&str, &ConnectionConfig>, name: &str| of.get(name).map_or(0, |known| known.core);
        for ((from, to, symbol), (venue, channels)) in moves {
            let (from_core, to_core) = (core(&before, from), core(&now, to));
            let (venue, from, to) = (venue.name(), from.to_owned(), to.to_owned());
            self.moved.push(SymbolMove { venue, symbol, from, to, from_core, to_core, channels });
        }
    }
}

fn streams_of(connection: &ConnectionConfig) -> BTreeSet<StreamName> {
    let mut streams = BTreeSet::new();
    for channel in &connection.channels {
        let named = |symbol: &str| StreamName { channel: channel.native.to_string(), symbol: symbol.to_owned() };
        match channel.scope {
            ChannelScope::PerSymbol => streams.extend(connection.symbols.iter().map(|symbol| named(symbol))),
            ChannelScope::AllMarket => drop(streams.insert(named(""))),
        }
    }
    streams
}

/// Which connection carries each stream: one, by the checks of a configuration.
fn carriers_of(connections: &[ConnectionConfig]) -> BTreeMap<(Venue, StreamName), &str> {
    let of = |connection: &ConnectionConfig| streams_of(connection).into_iter().collect::<Vec<_>>();
    let named = connections.iter().flat_map(|connection| {
        of(connection).into_iter().map(move |stream| ((connection.venue, stream), connection.name.as_str()))
    });
    named.collect()
}

fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

fn optional<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "unset".to_owned(), |value| value.to_string())
}

type Setting = (&'static str, String, Result<Effect, &'static str>);

/// Every setting of a connection but its name, venue, streams, instruments, headers and credentials: key, value, and what
/// a change of it means. A field that is missing here does not compile.
fn settings(connection: &ConnectionConfig) -> Vec<Setting> {
    let ConnectionConfig { name: _, exchange, venue: _, url, rest_url, symbols: _, channels: _, form, core, .. } =
        connection;
    let ConnectionConfig { transport, legs, book, rest, auth: _, headers: _, tls, limits, instruments: _, .. } =
        connection;
    let ConnectionConfig { conflate_quotes, refill_trades_max, .. } = connection;
    let super::TlsConfig { ca_file, records } = tls;
    let super::BookConfig { keep, depth, top_levels, crossed_updates_max, snapshot_depth_first, snapshot_depth } = book;
    let mut settings = vec![
        ("exchange", exchange.clone(), Ok(Effect::AtOnce)),
        ("url", url.to_string(), Ok(Effect::Rotation)),
        ("rest_url", rest_url.to_string(), Err(BUDGET)),
        ("form", format!("{form:?}").to_lowercase(), Err(BY_SOCKET)),
        ("core", core.to_string(), Err(BY_CORE)),
        ("transport", transport.name().to_owned(), Err(BY_SOCKET)),
        ("book.keep", keep.to_string(), Ok(Effect::AtOnce)),
        ("book.depth", optional(*depth), Ok(Effect::AtOnce)),
        ("book.top_levels", top_levels.to_string(), Ok(Effect::AtOnce)),
        ("book.crossed_updates_max", crossed_updates_max.to_string(), Ok(Effect::AtOnce)),
        ("book.snapshot_depth_first", optional(*snapshot_depth_first), Ok(Effect::AtOnce)),
        ("book.snapshot_depth", optional(*snapshot_depth), Ok(Effect::AtOnce)),
        ("conflate_quotes", conflate_quotes.to_string(), Ok(Effect::Rotation)),
        ("refill_trades_max", refill_trades_max.to_string(), Ok(Effect::AtOnce)),
        ("rest.weight_share_percent", rest.weight_share_percent.to_string(), Err(BUDGET)),
        ("rest.relist_s", seconds(rest.relist.unwrap_or_default()), Err(BUDGET)),
        ("tls.ca_file", optional(ca_file.as_ref().map(|file| file.display())), Ok(Effect::Rotation)),
        ("tls.records", records.name().to_owned(), Ok(Effect::Rotation)),
        ("limits.max_message_bytes", limits.max_message_bytes.to_string(), Ok(Effect::Rotation)),
    ];
    settings.extend(leg_settings(legs));
    settings.extend(socket_settings(connection));
    settings.extend(subscription_settings(connection));
    settings.extend(upkeep_settings(connection));
    settings
}

fn leg_settings(legs: &super::LegsConfig) -> Vec<Setting> {
    let super::LegsConfig { count, urls, source_addresses, race } = legs;
    let super::RaceConfig { failover, replace, window, share_percent_max, lag_min, windows, hold_off } = race;
    let now = Ok(Effect::AtOnce);
    let listed = |all: Vec<String>| if all.is_empty() { "unset".to_owned() } else { all.join(", ") };
    vec![
        ("legs", count.to_string(), Err(BY_LEGS)),
        ("legs_urls", listed(urls.iter().map(ToString::to_string).collect()), Err(BY_LEGS)),
        ("legs_source_addresses", listed(source_addresses.iter().map(ToString::to_string).collect()), Err(BY_LEGS)),
        ("race.failover_ms", ms(*failover), Err(BY_LEGS)),
        ("race.replace", replace.to_string(), now),
        ("race.window_s", seconds(*window), now),
        ("race.share_percent_max", share_percent_max.to_string(), now),
        ("race.lag_us_min", lag_min.as_micros().to_string(), now),
        ("race.windows", windows.to_string(), now),
        ("race.hold_off_s", seconds(*hold_off), now),
    ]
}

fn socket_settings(connection: &ConnectionConfig) -> Vec<Setting> {
    let super::SocketConfig {
        nodelay,
        receive_buffer_bytes,
        send_buffer_bytes,
        keepalive_idle,
        keepalive_interval,
        keepalive_count,
        source_address,
    } = &connection.socket;
    let super::TimeoutsConfig { dns, connect, tls, upgrade, rest } = &connection.timeouts;
    let (rotation, next) = (Ok(Effect::Rotation), Ok(Effect::NextConnect));
    vec![
        ("socket.nodelay", nodelay.to_string(), rotation),
        ("socket.receive_buffer_bytes", optional(*receive_buffer_bytes), rotation),
        ("socket.send_buffer_bytes", optional(*send_buffer_bytes), rotation),
        ("socket.keepalive_idle_s", seconds(*keepalive_idle), rotation),
        ("socket.keepalive_interval_s", seconds(*keepalive_interval), rotation),
        ("socket.keepalive_count", keepalive_count.to_string(), rotation),
        ("socket.source_address", optional(*source_address), rotation),
        ("timeouts.dns_ms", ms(*dns), next),
        ("timeouts.connect_ms", ms(*connect), next),
        ("timeouts.tls_ms", ms(*tls), next),
        ("timeouts.upgrade_ms", ms(*upgrade), next),
        ("timeouts.rest_ms", ms(*rest), Err(BUDGET)),
    ]
}

fn subscription_settings(connection: &ConnectionConfig) -> Vec<Setting> {
    let super::SubscriptionConfig {
        batch,
        requests_per_second,
        ack_timeout,
        ack_retries,
        streams_per_connection,
        request_bytes_max,
        weights,
        separate,
    } = &connection.subscription;
    let next = Ok(Effect::NextConnect);
    let weights: Vec<String> = weights.iter().map(|(symbol, weight)| format!("{symbol} = {weight}")).collect();
    vec![
        ("subscription.batch", batch.to_string(), next),
        ("subscription.requests_per_second", requests_per_second.to_string(), next),
        ("subscription.ack_timeout_ms", ms(*ack_timeout), next),
        ("subscription.ack_retries", ack_retries.to_string(), next),
        ("subscription.streams_per_connection", optional(*streams_per_connection), Err(BY_PLAN)),
        ("subscription.request_bytes_max", request_bytes_max.to_string(), next),
        ("subscription.weights", weights.join(", "), next),
        ("subscription.separate", separate.name().to_owned(), Err(BY_PLAN)),
    ]
}

fn upkeep_settings(connection: &ConnectionConfig) -> Vec<Setting> {
    let heartbeat = &connection.heartbeat;
    let super::LivenessConfig { first_data, trade_first_data, stale_factor, stale_min, stale_max, .. } =
        &connection.liveness;
    let super::LivenessConfig { connection_share_percent, repair, .. } = &connection.liveness;
    let super::ReconnectConfig { strategy, base, factor, cap, jitter, attempts_max, .. } = &connection.reconnect;
    let super::ReconnectConfig { stable_after, offset, immediate_first, .. } = &connection.reconnect;
    let super::RotationConfig { after, jitter: sooner, overlap, overlap_max, on_notice } = &connection.rotation;
    let (now, next) = (Ok(Effect::AtOnce), Ok(Effect::NextConnect));
    let off = |duration: Option<Duration>| ms(duration.unwrap_or_default());
    vec![
        ("heartbeat.interval_ms", ms(heartbeat.interval), next),
        ("heartbeat.timeout_ms", ms(heartbeat.timeout), next),
        ("heartbeat.protocol_ping_ms", off(heartbeat.protocol_ping), next),
        ("heartbeat.text_ping", optional(heartbeat.text_ping.as_deref()), next),
        ("heartbeat.text_ping_ms", ms(heartbeat.text_ping_interval), next),
        (
            "heartbeat.server_ping",
            heartbeat.server_ping.as_ref().map_or("unset".into(), |ping| format!("{ping:?}")),
            next,
        ),
        ("liveness.first_data_ms", off(*first_data), now),
        ("liveness.trade_first_data_ms", off(*trade_first_data), now),
        ("liveness.stale_factor", stale_factor.to_string(), now),
        ("liveness.stale_ms_min", ms(*stale_min), now),
        ("liveness.stale_ms_max", ms(*stale_max), now),
        ("liveness.connection_share_percent", connection_share_percent.to_string(), now),
        ("liveness.repair", repair.to_string(), now),
        ("reconnect.strategy", strategy.name().to_owned(), now),
        ("reconnect.base_ms", ms(*base), now),
        ("reconnect.factor", factor.to_string(), now),
        ("reconnect.cap_ms", ms(*cap), now),
        ("reconnect.jitter", jitter.to_string(), now),
        ("reconnect.attempts_max", attempts_max.to_string(), now),
        ("reconnect.stable_after_ms", ms(*stable_after), now),
        ("reconnect.offset_ms", ms(*offset), now),
        ("reconnect.immediate_first", immediate_first.to_string(), now),
        ("rotation.after_s", seconds(after.unwrap_or_default()), now),
        ("rotation.jitter_s", seconds(*sooner), now),
        ("rotation.overlap_ms", ms(*overlap), now),
        ("rotation.overlap_max_ms", ms(*overlap_max), now),
        ("rotation.on_notice", on_notice.to_string(), now),
    ]
}

/// Puts back what [`settings`] refuses.
fn keep_refused(after: &mut ConnectionConfig, old: &ConnectionConfig) {
    after.rest_url.clone_from(&old.rest_url);
    (after.form, after.core, after.transport) = (old.form, old.core, old.transport);
    after.rest.clone_from(&old.rest);
    after.timeouts.rest = old.timeouts.rest;
    after.subscription.streams_per_connection = old.subscription.streams_per_connection;
    after.subscription.separate = old.subscription.separate;
    let failover = old.legs.race.failover;
    after.legs = super::LegsConfig { race: super::RaceConfig { failover, ..after.legs.race }, ..old.legs.clone() };
}

fn engine_refusals(old: &Config, new: &Config, refused: &mut Vec<RefusedChange>) {
    let cpus = super::cpus();
    let is_derived = |engine: &EngineConfig| engine.cold_cores == super::engine::remaining(&cpus, &engine.cores);
    let cores = |engine: &EngineConfig| {
        let one = |core: &super::CoreConfig| {
            let strategy = core.strategy.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
            let wait = Some(core.wait.name()).filter(|&wait| wait != "auto");
            let wait = wait.map(|wait| format!(" {wait}")).unwrap_or_default();
            format!("{} {}{wait}{strategy}", core.cpu, core.idle.name())
        };
        engine.cores.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let values = |engine: &EngineConfig| {
        let EngineConfig { cores: _, lanes, cold_cores, report_interval, latency_sample_every, kernel_stamps, .. } =
            engine;
        let EngineConfig { control_socket, watchdog, governor, halted_lease, lock_memory, host_check, .. } = engine;
        [
            ("[[core]]", cores(engine)),
            ("[[lane]]", lanes.iter().map(LaneConfig::in_words).collect::<Vec<_>>().join("; ")),
            ("cold_cores", super::engine::list(cold_cores)),
            ("report_interval_s", seconds(*report_interval)),
            ("latency_sample_every", latency_sample_every.to_string()),
            ("kernel_stamps", kernel_stamps.to_string()),
            ("control_socket", optional(control_socket.as_ref().map(|path| path.display()))),
            ("watchdog.overrun_ms", ms(watchdog.overrun)),
            ("governor.connect_share_percent", governor.connect_share_percent.to_string()),
            ("governor.connects_per_second", governor.connects_per_second.to_string()),
            ("governor.requests_per_second", governor.requests_per_second.to_string()),
            ("halted_lease_ms", ms(*halted_lease)),
            ("lock_memory", lock_memory.name().to_owned()),
            ("host_check", host_check.to_string()),
        ]
    };
    for ((key, before), (_, now)) in values(&old.engine).into_iter().zip(values(&new.engine)) {
        // Cold cores that follow from the hot ones are said with them.
        let follows = key == "cold_cores" && is_derived(&old.engine) && is_derived(&new.engine);
        if before != now && !follows {
            let (key, why) = (key.to_owned(), if key == "[[core]]" { NO_CORE } else { AT_START }.to_owned());
            refused.push(RefusedChange { connection: None, key, old: before, new: now, why });
        }
    }
}

fn request_refusals(old: &Config, new: &Config, refused: &mut Vec<RefusedChange>) {
    let names: BTreeSet<&str> = old.requests.iter().chain(&new.requests).map(|request| request.name.as_str()).collect();
    for name in names {
        let of = |config: &Config| config.requests.iter().find(|request| request.name == name).cloned();
        let (before, now) = (of(old), of(new));
        if before == now {
            continue;
        }
        let text = |known: bool, other: &str| if known { other.to_owned() } else { "none".to_owned() };
        let (was, is) = (text(before.is_some(), "as it is"), text(now.is_some(), "other settings"));
        let (connection, key) = (Some(name.to_owned()), "[[request]]".to_owned());
        refused.push(RefusedChange { connection, key, old: was, new: is, why: REQUESTS.to_owned() });
    }
}

/// `trade of BTCUSDT, ticker of BTCUSDT, ...`
fn listed(streams: &[StreamName]) -> String {
    let one = |stream: &StreamName| match stream.symbol.as_str() {
        "" => stream.channel.clone(),
        symbol => format!("{} of {symbol}", stream.channel),
    };
    let mut named: Vec<String> = streams.iter().take(NAMED_MAX).map(one).collect();
    if streams.len() > NAMED_MAX {
        named.push(format!("and {} more", streams.len() - NAMED_MAX));
    }
    named.join(", ")
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing differs");
        }
        for (what, names) in [("open", &self.added), ("close", &self.removed)] {
            for name in names {
                writeln!(f, "{what:<13}{name}")?;
            }
        }
        for StreamsChange { connection, added, removed } in &self.streams {
            for (what, streams) in [("subscribe  ", added), ("unsubscribe", removed)] {
                if !streams.is_empty() {
                    writeln!(f, "{what}  {connection}: {} ({})", listed(streams), streams.len())?;
                }
            }
        }
        for SymbolMove { venue, symbol, from, to, from_core, to_core, channels } in &self.moved {
            let cores = if from_core == to_core { String::new() } else { format!(", core {from_core} to {to_core}") };
            let of = if symbol.is_empty() { String::new() } else { format!(" of {symbol}") };
            writeln!(f, "move         {}{of} ({venue}): {from} to {to}{cores}", channels.join(", "))?;
        }
        for SettingChange { connection, key, old, new, effect } in &self.changed {
            writeln!(f, "set          {connection}: {key} {old} -> {new}, {effect}")?;
        }
        for RefusedChange { connection, key, old, new, why } in &self.refused {
            let of = connection.as_deref().unwrap_or("the process");
            writeln!(f, "refused      {of}: {key} stays {old}, not {new}: {why}")?;
        }
        if let Some(why) = &self.blocked {
            writeln!(f, "blocked      nothing is changed, for without what is refused this would be wrong:\n{why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
