//! What `tickwire check` prints: what would be connected and subscribed. Reads the configuration and the venue's
//! protocol; connects to nothing.

use super::{
    Config, ConfigPlan, ConnectionConfig, EngineConfig, LaneConfig, LivenessConfig, LockMemory, PlannedSocket,
    ReconnectConfig, ReconnectStrategy, RequestConfig, RotationConfig, Wait,
};
use crate::hot::RecordOpener;
use crate::hot::lanes::Policy;
use crate::venue::{Channel, ChannelScope, Heartbeat, StreamClass, offers_trades, protocol};
use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::time::Duration;

/// Symbols and streams named before a list is cut short.
const NAMED_MAX: usize = 8;

/// The whole configuration for a person, one paragraph a connection.
#[must_use]
pub fn describe(config: &Config) -> String {
    let mut out = String::new();
    let written = write_all(config, &mut out);
    written.expect("a String takes whatever is written to it");
    out
}

fn write_all(config: &Config, out: &mut String) -> fmt::Result {
    let plan = ConfigPlan::new(config);
    for connection in &config.connections {
        let sockets: Vec<_> =
            plan.sockets.iter().filter(|planned| planned.connection.name == connection.name).collect();
        write_connection(connection, &sockets, out)?;
        writeln!(out)?;
    }
    for request in &config.requests {
        write_request(request, out)?;
        writeln!(out)?;
    }
    for shared in shared_events(config) {
        writeln!(out, "{shared}")?;
    }
    write_engine(config, &config.engine, out)?;
    writeln!(
        out,
        "\n{}: {}, {}",
        count(config.connections.len(), "connection"),
        count(plan.sockets.len(), "socket"),
        count(plan.stream_count(), "stream")
    )
}

/// What two channels of a venue have in common where their events cannot be told apart: a note a pair.
fn shared_events(config: &Config) -> Vec<String> {
    // (venue, channel) to the symbols of every connection; none for the whole market.
    let mut channels: Vec<(&Channel, BTreeSet<&str>)> = Vec::new();
    for connection in &config.connections {
        for channel in &connection.channels {
            let symbols = match channel.scope {
                ChannelScope::PerSymbol => connection.symbols.iter().map(String::as_str).collect(),
                ChannelScope::AllMarket => BTreeSet::new(),
            };
            match channels.iter_mut().find(|(known, _)| *known == channel) {
                Some((_, known)) => known.extend(symbols),
                None => channels.push((channel, symbols)),
            }
        }
    }
    let mut notes = Vec::new();
    for (at, (one, of_one)) in channels.iter().enumerate() {
        for (other, of_other) in &channels[at + 1..] {
            if (one.venue, one.stream_kind()) != (other.venue, other.stream_kind()) {
                continue;
            }
            let shared: Vec<&str> = match (one.scope, other.scope) {
                (ChannelScope::PerSymbol, ChannelScope::PerSymbol) => of_one.intersection(of_other).copied().collect(),
                _ => of_one.union(of_other).copied().collect(),
            };
            let of = match (shared.is_empty(), one.scope, other.scope) {
                (false, ..) => listed(shared.into_iter()),
                (true, ChannelScope::AllMarket, ChannelScope::AllMarket) => "every symbol".to_owned(),
                (true, ..) => continue,
            };
            notes.push(format!(
                "note        {} and {} of {} give the same events of {of}: while one speaks, the other's silence is not seen",
                one.native, other.native, one.venue
            ));
        }
    }
    notes
}

fn write_connection(connection: &ConnectionConfig, sockets: &[&PlannedSocket<'_>], out: &mut String) -> fmt::Result {
    let protocol = protocol(connection.venue);
    writeln!(
        out,
        "{}  {}  transport {}, core {}",
        connection.name,
        connection.venue,
        connection.transport.name(),
        connection.core
    )?;
    writeln!(out, "  exchange     {}", connection.exchange)?;
    writeln!(out, "  symbols      {}", listed(connection.symbols.iter().map(String::as_str)))?;
    writeln!(out, "  channels     {}", listed(connection.channels.iter().map(|channel| &*channel.native)))?;
    let limits = protocol.limits();
    let limit = limits.streams_per_connection.map(|most| format!(", at most {most} each")).unwrap_or_default();
    writeln!(out, "  streams      {} on {}{limit}", connection.stream_count(), count(sockets.len(), "socket"))?;
    for planned in sockets {
        write_socket(planned, out)?;
    }
    super::book::write_books(connection, out)?;
    let share = connection.rest.weight_share_percent;
    writeln!(out, "  rest         {}, at most {share} % of the address's weight", connection.rest_url)?;
    match connection.rest.relist.filter(|_| connection.book_channel().is_some()) {
        Some(relist) => writeln!(out, "  ticks        looked up again every {}", seconds(relist))?,
        None => writeln!(out, "  ticks        not looked up again for this connection")?,
    }
    match connection.refill_trades_max {
        0 => writeln!(out, "  missing      told; not refilled (refill_trades_max)")?,
        _ if !offers_trades(connection.venue) => {
            writeln!(out, "  missing      told; not refilled: this venue offers no trades by id")?;
        }
        most => writeln!(
            out,
            "  missing      told; up to {most} trades of a hole refilled by REST, where the venue offers it"
        )?,
    }
    if connection.conflate_quotes {
        writeln!(out, "  quotes       of those received together only the newest of each symbol")?;
    }
    let given = connection.instruments.len();
    match connection.symbols.len().saturating_sub(given) {
        0 if given > 0 => writeln!(out, "  scales       {} from the file", count(given, "symbol"))?,
        _ if given > 0 => writeln!(out, "  scales       {} from the file, the others by REST", count(given, "symbol"))?,
        _ => writeln!(out, "  scales       from the venue's instrument list, by REST")?,
    }
    write_keeping(connection, out)
}

/// One socket: where it connects, and how long its subscriptions take at the configured pace.
fn write_socket(planned: &PlannedSocket<'_>, out: &mut String) -> fmt::Result {
    let PlannedSocket { connection, socket, .. } = planned;
    let class = match socket.class {
        StreamClass::Only => "",
        StreamClass::Public => "class public, ",
        StreamClass::Market => "class market, ",
    };
    let url = planned.url().as_str().trim_end_matches('/');
    let leg = match connection.legs.count {
        1 => String::new(),
        count => format!("  (leg {} of {count})", planned.leg + 1),
    };
    writeln!(out, "    {url}{}{leg}", socket.path)?;
    let rate = socket.requests_per_second.map(|rate| format!(", {rate} a second")).unwrap_or_default();
    let wait = match socket.connect_after {
        Duration::ZERO => String::new(),
        wait => format!(", connected after {}", seconds(wait)),
    };
    writeln!(
        out,
        "      {class}{} in {} of at most {}{rate}: {} to send{wait}",
        count(socket.streams.len(), "stream"),
        count(socket.requests.len(), "request"),
        connection.subscription.batch,
        seconds(socket.ready_in)
    )?;
    writeln!(out, "      {}", listed(socket.streams.iter().map(|stream| &*stream.name)))
}

/// Heartbeat, silence, rotation, reconnect, time-outs, and what is not at its default.
fn write_keeping(connection: &ConnectionConfig, out: &mut String) -> fmt::Result {
    let (interval, timeout) = (seconds(connection.heartbeat.interval), seconds(connection.heartbeat.timeout));
    match protocol(connection.venue).heartbeat() {
        Heartbeat::ServerPing { .. } => {
            writeln!(
                out,
                "  heartbeat    the venue pings about every {interval}; lost after {timeout} without a byte"
            )?;
        }
        Heartbeat::ClientText { .. } => {
            writeln!(out, "  heartbeat    we ping every {interval}; lost after {timeout} without an answer")?;
        }
    }
    if let Some(every) = connection.heartbeat.protocol_ping {
        writeln!(out, "  heartbeat    and a ping frame every {}", seconds(every))?;
    }
    if connection.heartbeat.text_ping.is_some() {
        let every = seconds(connection.heartbeat.text_ping_interval);
        writeln!(out, "  heartbeat    and a text of our own every {every}")?;
    }
    write_liveness(&connection.liveness, out)?;
    write_rotation(&connection.rotation, out)?;
    write_reconnect(&connection.reconnect, out)?;
    let timeouts = &connection.timeouts;
    let steps = [timeouts.dns, timeouts.connect, timeouts.tls, timeouts.upgrade, timeouts.rest].map(seconds);
    let [dns, connect, tls, upgrade, rest] = steps;
    writeln!(out, "  time-outs    dns {dns}, connect {connect}, tls {tls}, upgrade {upgrade}, rest {rest}")?;
    writeln!(out, "  messages     up to {} bytes", connection.limits.max_message_bytes)?;
    for (what, bytes) in
        [("receive", connection.socket.receive_buffer_bytes), ("send", connection.socket.send_buffer_bytes)]
    {
        if let Some(bytes) = bytes {
            writeln!(out, "  socket       {what} buffer {bytes} bytes, fixed (no autotuning)")?;
        }
    }
    connection.legs.describe(out)?;
    if let Some(address) = connection.socket.source_address {
        writeln!(out, "  socket       from {address}")?;
    }
    for header in &connection.headers {
        match header.variable.as_str() {
            "" => writeln!(out, "  header       {}", header.name)?,
            variable => writeln!(out, "  header       {} (from the environment: {variable})", header.name)?,
        }
    }
    if connection.tls.records == RecordOpener::Rustls {
        writeln!(out, "  tls          records opened by rustls, an allocation and a copy each")?;
    }
    match &connection.tls.ca_file {
        Some(file) => writeln!(out, "  trust        only {}", file.display()),
        None => Ok(()),
    }
}

/// When a subscription counts as silent.
fn write_liveness(liveness: &LivenessConfig, out: &mut String) -> fmt::Result {
    let first =
        |wait: Option<Duration>| wait.map_or_else(|| "never".to_owned(), |wait| format!("after {}", seconds(wait)));
    let LivenessConfig { stale_factor, stale_min, stale_max, connection_share_percent, .. } = liveness;
    writeln!(
        out,
        "  silent       without first data {} (trades: {}); later after {stale_factor} of its usual gaps, {} to {}",
        first(liveness.first_data),
        first(liveness.trade_first_data),
        seconds(*stale_min),
        seconds(*stale_max),
    )?;
    match liveness.repair {
        true => writeln!(
            out,
            "               subscribed again, then moved; where over {connection_share_percent} % are silent, the connection is replaced"
        ),
        false => writeln!(out, "               reported, not repaired"),
    }
}

/// When a successor takes over.
fn write_rotation(rotation: &RotationConfig, out: &mut String) -> fmt::Result {
    let RotationConfig { after, jitter, overlap, on_notice, .. } = rotation;
    let age = after.map(|after| format!("at {} of age (up to {} sooner)", seconds(after), seconds(*jitter)));
    let notice = on_notice.then(|| "when the venue announces its end".to_owned());
    let when: Vec<String> = age.into_iter().chain(notice).chain(["on demand".to_owned()]).collect();
    write!(out, "  rotation     {}", when.join(", "))?;
    writeln!(out, "; both live for {}", seconds(*overlap))
}

fn write_reconnect(reconnect: &ReconnectConfig, out: &mut String) -> fmt::Result {
    let attempts = match reconnect.attempts_max {
        0 => "without limit".to_owned(),
        most => format!("at most {}", count(usize::try_from(most).unwrap_or(usize::MAX), "attempt")),
    };
    let (base, cap, jitter) = (seconds(reconnect.base), seconds(reconnect.cap), reconnect.jitter * 100.0);
    match reconnect.strategy {
        ReconnectStrategy::Exponential => writeln!(
            out,
            "  reconnect    after {base}, each delay {} times the last, up to {cap}, {jitter:.0} % random, {attempts}",
            reconnect.factor
        )?,
        ReconnectStrategy::Fixed => writeln!(out, "  reconnect    every {base}, {jitter:.0} % random, {attempts}")?,
        ReconnectStrategy::Never => return writeln!(out, "  reconnect    never"),
    }
    if reconnect.immediate_first {
        writeln!(out, "               the first at once")?;
    }
    match reconnect.offset {
        Duration::ZERO => Ok(()),
        offset => writeln!(out, "               and {} after the loss at the earliest", seconds(offset)),
    }
}

/// A request connection.
fn write_request(request: &RequestConfig, out: &mut String) -> fmt::Result {
    let RequestConfig { name, url, codec, timeout, pending_max, .. } = request;
    writeln!(out, "{name}  requests  codec {}", codec.name())?;
    writeln!(out, "  url          {url}")?;
    writeln!(out, "  requests     answered within {}, at most {pending_max} at once", seconds(*timeout))?;
    if let Some(auth) = &request.auth {
        let variables = [Some(&auth.key), Some(&auth.secret), auth.passphrase.as_ref()];
        let variables: Vec<&str> = variables.into_iter().flatten().map(|credential| &*credential.variable).collect();
        writeln!(out, "  auth         from the environment: {}", variables.join(", "))?;
    }
    write_reconnect(&request.reconnect, out)
}

fn write_engine(config: &Config, engine: &EngineConfig, out: &mut String) -> fmt::Result {
    for core in &engine.cores {
        let owned = config.connections.iter().filter(|connection| connection.core == core.cpu).count();
        let strategy = core.strategy.as_deref().map(|name| format!(", strategy {name}")).unwrap_or_default();
        let wait = match core.wait {
            Wait::Auto => String::new(),
            wait => format!(", wait {}", wait.name()),
        };
        let (idle, owned) = (core.idle.name(), count(owned, "connection"));
        writeln!(out, "hot core {}  idle {idle}{wait}{strategy}, {owned}", core.cpu)?;
    }
    for lane in &engine.lanes {
        write_lane(lane, out)?;
    }
    writeln!(out, "cold cores  {}", super::engine::list(&engine.cold_cores))?;
    let (overrun, lease) = (seconds(engine.watchdog.overrun), seconds(engine.halted_lease));
    writeln!(out, "watchdog    a core that stands still for {overrun} is told of; halted is believed for {lease}")?;
    writeln!(
        out,
        "memory      {}",
        match engine.lock_memory {
            LockMemory::Try => "locked where the system allows it, or a warning",
            LockMemory::Require => "locked, or the engine does not start",
            LockMemory::Off => "not locked (lock_memory)",
        }
    )?;
    match engine.host_check {
        true => writeln!(out, "host        looked at once at the start; what is bad for a hot core is logged")?,
        false => writeln!(out, "host        not looked at (host_check); `tickwire doctor` does")?,
    }
    let governor = &engine.governor;
    writeln!(
        out,
        "governor    {} % of a venue's connects, {} connects and {} requests a second to a venue",
        governor.connect_share_percent, governor.connects_per_second, governor.requests_per_second
    )?;
    match &engine.control_socket {
        Some(path) => writeln!(out, "control     {}", path.display())?,
        None => writeln!(out, "control     no socket (control_socket in the engine's file)")?,
    }
    let stamped = match engine.latency_sample_every {
        0 => "no message is stamped".to_owned(),
        every => format!("one message in {every} of a connection is stamped"),
    };
    let kernel = if engine.kernel_stamps { ", every read by the kernel too" } else { "" };
    writeln!(out, "report every {}, {stamped}{kernel}", seconds(engine.report_interval))
}

fn write_lane(lane: &LaneConfig, out: &mut String) -> fmt::Result {
    let strategy = lane.strategy.as_deref().map(|name| format!(", strategy {name}")).unwrap_or_default();
    let by = if lane.threads > 1 { format!(" by {}", lane.by.name()) } else { String::new() };
    let where_it_runs = match lane.cpus.as_slice() {
        [] => "on the cold cores".to_owned(),
        cpus => format!("pinned to {}", super::engine::list(cpus)),
    };
    let threads = count(lane.threads, "thread");
    writeln!(out, "lane {}  events of core {}{strategy}, {threads}{by}, {where_it_runs}", lane.name, lane.core)?;
    let full = match lane.policy {
        Policy::Latest => "a newer event takes the place of one that waits, by symbol and stream",
        Policy::DropOldest => "full, the oldest event is lost",
        Policy::Block => "full, HOLDS THE CORE until there is room",
    };
    writeln!(out, "  policy       {}: {full}", lane.policy.name())?;
    let (slots, levels, mb) = (lane.slots, lane.levels, (lane.level_bytes() as f64) / f64::from(1 << 20));
    writeln!(out, "  room         {slots} events, books of up to {levels} levels ({mb:.1} MB a thread)")?;
    writeln!(
        out,
        "  idle         {}; hop of one event in {} timed; told of after {} on one event",
        super::lane::idle_in_words(lane.idle),
        lane.hop_sample_every,
        seconds(lane.overrun)
    )
}

/// `3: BTCUSDT, ETHUSDT, SOLUSDT`, cut short where it is long.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let total = names.len();
    let mut named: Vec<&str> = names.take(NAMED_MAX).collect();
    if named.is_empty() {
        return "none".to_owned();
    }
    if total > NAMED_MAX {
        named.push("...");
    }
    format!("{total}: {}", named.join(", "))
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Venue;

    #[test]
    fn two_classes_on_one_connection_show_as_two_sockets_with_their_paths() {
        let connection = ConnectionConfig::new("usdm", Venue::BinanceUsdm);
        let connection = connection.subscribed_to(&["BTCUSDT", "ETHUSDT"], &["bookTicker", "aggTrade"]).unwrap();
        let text = describe(&Config::from_connections(vec![connection]).unwrap());
        assert!(text.contains("  exchange     binance\n"), "{text}");
        assert!(text.contains("4 on 2 sockets"), "{text}");
        assert!(text.contains("wss://fstream.binance.com/public/stream"), "{text}");
        assert!(text.contains("wss://fstream.binance.com/market/stream"), "{text}");
        assert!(text.contains("btcusdt@bookTicker, ethusdt@bookTicker"), "{text}");
        assert!(text.contains("1 connection: 2 sockets, 4 streams"), "{text}");
    }

    #[test]
    fn channels_whose_events_cannot_be_told_apart_are_named_with_their_symbols() {
        let of = |name: &str, symbols: &[&str], channels: &[&str]| {
            ConnectionConfig::new(name, Venue::BinanceSpot).subscribed_to(symbols, channels).unwrap()
        };
        let noted = |connections: Vec<ConnectionConfig>| {
            let text = describe(&Config::from_connections(connections).unwrap());
            text.lines().filter_map(|line| line.strip_prefix("note        ").map(str::to_owned)).collect::<Vec<_>>()
        };
        const SILENT: &str = "while one speaks, the other's silence is not seen";
        let two = vec![of("a", &["BTCUSDT", "ETHUSDT"], &["depth", "trade"]), of("b", &["ETHUSDT"], &["depth@100ms"])];
        let expected = format!("depth and depth@100ms of binance-spot give the same events of 1: ETHUSDT: {SILENT}");
        assert_eq!(noted(two), [expected]);
        let market = vec![of("a", &["BTCUSDT"], &["!miniTicker@arr", "ticker"])];
        let expected =
            format!("!miniTicker@arr and ticker of binance-spot give the same events of 1: BTCUSDT: {SILENT}");
        assert_eq!(noted(market), [expected]);
        let apart = vec![
            of("a", &["BTCUSDT"], &["depth", "depth20", "kline_1m", "kline_3m"]),
            of("b", &["ETHUSDT"], &["depth@100ms"]),
        ];
        assert_eq!(noted(apart), Vec::<String>::new());
    }

    #[test]
    fn what_keeps_a_connection_shows_with_its_limits_and_no_credential_does() {
        use crate::config::{AuthConfig, Credential, RequestCodec, Secret};

        let mut spot =
            ConnectionConfig::new("spot", Venue::BinanceSpot).subscribed_to(&["BTCUSDT"], &["trade"]).unwrap();
        spot.liveness.repair = false;
        spot.rotation.on_notice = false;
        spot.reconnect.offset = Duration::from_secs(3);
        spot.tls.records = RecordOpener::Rustls;
        let mut bybit = ConnectionConfig::new("bybit", Venue::BybitSpot);
        (bybit.refill_trades_max, bybit.conflate_quotes) = (0, true);
        let bybit = bybit.subscribed_to(&["BTCUSDT"], &["publicTrade", "orderbook.50"]).unwrap();
        let linear =
            ConnectionConfig::new("linear", Venue::BybitLinear).subscribed_to(&["BTCUSDT"], &["publicTrade"]).unwrap();
        let mut config = Config::from_connections(vec![spot, bybit, linear]).unwrap();
        config.engine.control_socket = Some("run/tickwire.sock".into());
        let credential = |variable: &str| Credential { value: Secret::new("hunter2"), variable: variable.into() };
        let auth = AuthConfig { key: credential("DESK_KEY"), secret: credential("DESK_SECRET"), passphrase: None };
        let mut orders = RequestConfig::new("orders", "ws://127.0.0.1:1/".parse().unwrap(), RequestCodec::Binance);
        orders.auth = Some(auth);
        let text = describe(&config.with_requests(vec![orders]).unwrap());
        for expected in [
            "  silent       without first data after 30 s (trades: never); later after 20 of its usual gaps, 5 s to 600 s\n",
            "               reported, not repaired\n",
            "               subscribed again, then moved; where over 50 % are silent, the connection is replaced\n",
            "  rotation     at 82800 s of age (up to 1800 s sooner), on demand; both live for 2 s\n",
            "  rotation     when the venue announces its end, on demand; both live for 2 s\n",
            "               and 3 s after the loss at the earliest\n",
            ", at most 50 % of the address's weight\n",
            "  ticks        looked up again every 3600 s\n",
            "  ticks        not looked up again for this connection\n",
            "  missing      told; up to 1000 trades of a hole refilled by REST, where the venue offers it\n",
            "  missing      told; not refilled (refill_trades_max)\n",
            "  missing      told; not refilled: this venue offers no trades by id\n",
            "  quotes       of those received together only the newest of each symbol\n",
            "orders  requests  codec binance\n",
            "  auth         from the environment: DESK_KEY, DESK_SECRET\n",
            "watchdog    a core that stands still for 0.1 s is told of; halted is believed for 1 s\n",
            "governor    80 % of a venue's connects, 10 connects and 50 requests a second to a venue\n",
            "control     run/tickwire.sock\n",
            "  tls          records opened by rustls, an allocation and a copy each\n",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    fn the_time_to_subscribe_follows_from_batch_and_pace() {
        let symbols: Vec<String> = (0..25).map(|index| format!("S{index}USDT")).collect();
        let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
        let mut connection = ConnectionConfig::new("spot", Venue::BybitSpot);
        connection.subscription.requests_per_second = 2;
        let connection = connection.subscribed_to(&symbols, &["publicTrade"]).unwrap();
        let text = describe(&Config::from_connections(vec![connection]).unwrap());
        assert!(text.contains("25 streams in 3 requests of at most 10, 2 a second: 1.2 s to send"), "{text}");
        assert!(text.contains("25: S0USDT, ") && text.contains("..."), "{text}");
    }
}
