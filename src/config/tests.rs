//! Every refusal, read as its reader reads it; and the files that ship.

use super::*;
use crate::hot::RecordOpener;
use crate::market::{InstrumentKind, Venue};
use crate::venue::{Form, protocol};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(super) const STRATEGIES: [&str; 3] = ["null", "print", "spread"];

/// A folder of this test's own, removed with it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tickwire-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind in the system's temporary files harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(super) fn environment(variable: &str) -> Option<String> {
    match variable {
        "DESK_TOKEN" => Some("hunter2".to_owned()),
        "DESK_KEY" => Some("hunter3".to_owned()),
        "DESK_SECRET" => Some("hunter4".to_owned()),
        "EMPTY" => Some(" ".to_owned()),
        "BROKEN" => Some("a\r\nHost: elsewhere".to_owned()),
        _ => None,
    }
}

/// A machine with two CPUs, whatever this one has.
pub(super) fn host() -> Host<'static> {
    Host { cpus: vec![0, 1], strategies: Some(&STRATEGIES), environment: &environment }
}

pub(super) fn load_text(text: &str) -> Result<Config, ConfigErrors> {
    let folder = Folder::new();
    let file = folder.file("x.toml", text);
    load_on(&[file], None, &host())
}

/// A good connection with some lines of its own, on line 1 and below; `more` starts on line 6.
pub(super) fn connection(more: &str) -> String {
    format!(
        "[[connection]]\nname = \"a\"\nvenue = \"binance-spot\"\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trade\"]\n{more}"
    )
}

/// The one error of a file: line, key, and words that must stand in what was found and what is allowed.
#[track_caller]
pub(super) fn refused(text: &str, line: usize, key: &str, found: &str, allowed: &str) {
    let errors = load_text(text).unwrap_err();
    assert_eq!(errors.iter().count(), 1, "{errors}");
    let error = errors.iter().next().unwrap();
    assert!(error.file.as_ref().unwrap().ends_with("x.toml"), "{error}");
    assert_eq!((error.line, error.key.as_str()), (Some(line), key), "{error}");
    assert!(error.found.contains(found), "{error}");
    assert!(error.allowed.contains(allowed), "{error}");
}

#[test]
fn the_files_that_ship_load_on_this_machine_together_and_one_by_one() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let [binance, bybit, engine] = ["binance", "bybit", "engine"].map(|name| configs.join(format!("{name}.toml")));
    let all = load(&[binance.clone(), bybit.clone(), engine.clone()], None, &STRATEGIES).unwrap();
    assert_eq!(all.connections.len(), 4);
    assert_eq!(all.engine.cores.len(), 1);
    let venues: Vec<Venue> = all.connections.iter().map(|connection| connection.venue).collect();
    assert_eq!(venues, Venue::ALL);
    for connection in &all.connections {
        assert_eq!(connection.symbols, ["BTCUSDT", "ETHUSDT", "SOLUSDT"]);
        assert!(connection.url.scheme() == "wss" && connection.rest_url.scheme() == "https");
        // What the files show as default is the default.
        let mut default = ConnectionConfig::new(&*connection.name, connection.venue);
        (default.symbols, default.channels) = (connection.symbols.clone(), connection.channels.clone());
        assert_eq!(*connection, default);
    }
    assert_eq!(all.engine.report_interval, EngineConfig::default().report_interval);
    for path in [binance, bybit] {
        load(std::slice::from_ref(&path), None, &STRATEGIES).unwrap();
        load(&[path], Some(&engine), &STRATEGIES).unwrap();
    }
    let text = describe(&all);
    assert!(text.contains("4 connections: 5 sockets"), "{text}");
}

#[test]
fn every_key_that_ships_commented_out_is_a_real_one() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    for name in ["binance.toml", "bybit.toml", "engine.toml"] {
        let shipped = std::fs::read_to_string(configs.join(name)).unwrap();
        let is_key = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let uncommented = |line: &str| match line.strip_prefix("# ") {
            // A file takes symbols or a symbols_file, and a spot symbol has no delivery: each is tested elsewhere.
            Some(key) if ["symbols_file", "ca_file", "delivery"].iter().any(|no| key.starts_with(no)) => String::new(),
            Some(key) if key.starts_with("[defaults.auth]") => String::new(),
            Some(key) if is_key(key) || key.starts_with('[') => key.to_owned(),
            _ => line.to_owned(),
        };
        let text: String = shipped.lines().map(|line| uncommented(line) + "\n").collect();
        let folder = Folder::new();
        // Only the first connection is a spot one with 4 requests a second; batches of 200 fit none of Bybit's spot.
        let text = text.replace("batch = 200", "batch = 10");
        let mut paths = vec![folder.file(name, &text)];
        if name == "engine.toml" {
            paths.push(folder.file("x.toml", &connection("")));
        }
        let config = load_on(&paths, None, &host()).unwrap_or_else(|errors| panic!("{errors}"));
        if name == "engine.toml" {
            assert_eq!(config.engine.cold_cores, [1]);
            assert_eq!(config.engine.cores[0].strategy.as_deref(), Some("spread"));
            assert!(config.engine.control_socket.is_some_and(|path| path.ends_with("tickwire.sock")));
        } else {
            let first = &config.connections[0];
            assert_eq!(first.socket.receive_buffer_bytes, Some(4_194_304));
            assert_eq!(first.headers.len(), 2);
            assert_eq!(first.instruments[0].symbol, "BTCUSDT");
            assert_eq!(first.subscription.weights["BTCUSDT"], 20);
            assert!(first.subscription.streams_per_connection.is_some());
            assert_eq!(first.heartbeat.protocol_ping, Some(Duration::from_secs(15)));
            assert!(first.heartbeat.text_ping.is_some() && first.heartbeat.server_ping.is_some());
            let codecs: Vec<&str> = config.requests.iter().map(|request| request.codec.name()).collect();
            assert_eq!(codecs, [name.trim_end_matches(".toml")]);
            assert!(config.requests[0].auth.is_some());
        }
    }
}

#[test]
fn every_key_reaches_its_field_and_a_connection_wins_over_the_defaults() {
    let folder = Folder::new();
    folder.file("symbols.txt", "# majors\nBTCUSDT\n\nETHUSDT # the second\n");
    folder.file("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    let file = folder.file(
        "x.toml",
        r#"
[exchange]
name = "desk"
[defaults]
core = 1
[defaults.socket]
nodelay = false
receive_buffer_bytes = 65536
keepalive_idle_s = 1.5
[defaults.subscription]
batch = 7
ack_timeout_ms = 1_234
[[connection]]
name = "a"
venue = "binance-usdm"
url = "ws://127.0.0.1:9001"
rest_url = "http://127.0.0.1:9002"
symbols_file = "symbols.txt"
channels = ["aggTrade", "kline_1m"]
form = "raw"
transport = "cold"
socket = { send_buffer_bytes = 131072, keepalive_interval_s = 2, keepalive_count = 9, source_address = "127.0.0.1" }
[connection.subscription]
batch = 3
requests_per_second = 2
ack_retries = 0
[connection.heartbeat]
timeout_ms = 700
[connection.reconnect]
strategy = "fixed"
base_ms = 10
factor = 3
cap_ms = 20
jitter = 1
attempts_max = 4
stable_after_ms = 50
offset_ms = 60
immediate_first = true
[connection.timeouts]
dns_ms = 11
connect_ms = 12
tls_ms = 13
upgrade_ms = 14
rest_ms = 15
[connection.headers]
"X-MBX-APIKEY" = { env = "DESK_TOKEN" }
User-Agent = "desk"
[connection.tls]
ca_file = "ca.pem"
[connection.limits]
max_message_bytes = 100_000
[[connection.instrument]]
symbol = "BTCUSDT"
price_scale = 1
qty_scale = 3
base = "BTC"
quote = "USDT"
"#,
    );
    let config = load_on(&[file], None, &host()).unwrap();
    assert_eq!(config.exchanges[0].name, "desk");
    assert_eq!(config.engine.cores, [CoreConfig::new(1)]);
    assert_eq!(config.engine.cold_cores, [0]);
    let a = &config.connections[0];
    assert_eq!((a.name.as_str(), a.exchange.as_str(), a.venue, a.core), ("a", "desk", Venue::BinanceUsdm, 1));
    assert_eq!((a.url.as_str(), a.rest_url.as_str()), ("ws://127.0.0.1:9001/", "http://127.0.0.1:9002/"));
    assert_eq!(a.symbols, ["BTCUSDT", "ETHUSDT"]);
    assert_eq!(a.channels.iter().map(|channel| &*channel.native).collect::<Vec<_>>(), ["aggTrade", "kline_1m"]);
    assert_eq!((a.form, a.transport), (Form::Raw, Transport::Cold));
    let ms = Duration::from_millis;
    let socket = SocketConfig {
        nodelay: false,
        receive_buffer_bytes: Some(65_536),
        send_buffer_bytes: Some(131_072),
        keepalive_idle: ms(1_500),
        keepalive_interval: ms(2_000),
        keepalive_count: 9,
        source_address: Some(IpAddr::from([127, 0, 0, 1])),
    };
    assert_eq!(a.socket, socket);
    let subscription = SubscriptionConfig {
        batch: 3,
        requests_per_second: 2,
        ack_timeout: ms(1_234),
        ack_retries: 0,
        ..ConnectionConfig::new("a", a.venue).subscription
    };
    assert_eq!(a.subscription, subscription);
    let heartbeat = HeartbeatConfig::of_venue(protocol(a.venue).heartbeat());
    assert_eq!(a.heartbeat, HeartbeatConfig { interval: ms(180_000), timeout: ms(700), ..heartbeat });
    let reconnect = ReconnectConfig {
        strategy: ReconnectStrategy::Fixed,
        base: ms(10),
        factor: 3.0,
        cap: ms(20),
        jitter: 1.0,
        attempts_max: 4,
        stable_after: ms(50),
        offset: ms(60),
        immediate_first: true,
    };
    assert_eq!(a.reconnect, reconnect);
    let timeouts = TimeoutsConfig { dns: ms(11), connect: ms(12), tls: ms(13), upgrade: ms(14), rest: ms(15) };
    assert_eq!(a.timeouts, timeouts);
    let headers: Vec<_> = a.headers.iter().map(|header| (header.name.as_str(), header.value.reveal())).collect();
    assert_eq!(headers, [("X-MBX-APIKEY", "hunter2"), ("User-Agent", "desk")]);
    assert!(a.tls.ca_file.as_ref().unwrap().ends_with("ca.pem"));
    assert_eq!(a.limits.max_message_bytes, 100_000);
    assert_eq!((a.instruments[0].price_scale, a.instruments[0].qty_scale), (1, 3));
    assert_eq!(a.instruments[0].instrument.as_ref().unwrap().kind, InstrumentKind::Perpetual);
    let shown = format!("{config:?}{}", describe(&config));
    assert!(!shown.contains("hunter2") && shown.contains("DESK_TOKEN"), "{shown}");
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    refused(&connection("symbol = 1\n"), 6, "connection[a].symbol", "unknown key `symbol`", "did you mean `symbols`?");
    let key = "connection[a].socket.no_delay";
    refused(&connection("[connection.socket]\nno_delay = true\n"), 7, key, "`no_delay`", "did you mean `nodelay`?");
    refused(&connection("colour = 1\n"), 6, "connection[a].colour", "`colour`", "the keys here are name, venue");
    refused(&format!("{}\n[conection]\n", connection("")), 7, "conection", "`conection`", "did you mean `connection`?");
    let text = format!("[defaults.limits]\nmax_mesage_bytes = 1\n{}", connection(""));
    refused(&text, 2, "defaults.limits.max_mesage_bytes", "unknown key", "did you mean `max_message_bytes`?");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_what_stands_there() {
    for (line, key, found, allowed) in [
        ("core = \"0\"", "core", "\"0\" (a value of type string)", "a whole number"),
        ("core = -1", "core", "-1", "not negative"),
        ("url = 5", "url", "5 (a value of type integer)", "a text in quotes"),
        ("socket.nodelay = \"yes\"", "socket.nodelay", "\"yes\" (a value of type string)", "true or false"),
        ("timeouts.dns_ms = 1.5", "timeouts.dns_ms", "1.5 (a value of type float)", "whole number of milliseconds"),
        ("socket.keepalive_idle_s = -3", "socket.keepalive_idle_s", "-3", "a number of seconds"),
        ("socket.receive_buffer_bytes = \"1M\"", "socket.receive_buffer_bytes", "\"1M\"", "number of bytes"),
        ("reconnect.factor = \"two\"", "reconnect.factor", "\"two\"", "a number"),
        ("limits = 5", "limits", "5", "a table"),
        ("transport = \"warm\"", "transport", "\"warm\"", "one of \"hot\", \"cold\""),
        ("form = 1", "form", "1 (a value of type integer)", "one of \"combined\", \"raw\""),
        (
            "reconnect.strategy = \"sometimes\"",
            "reconnect.strategy",
            "\"sometimes\"",
            "\"exponential\", \"fixed\", \"never\"",
        ),
        ("instrument = 3", "instrument", "3", "[[instrument]]"),
        ("headers.User-Agent = 3", "headers.User-Agent", "a value of type integer", "{ env ="),
    ] {
        refused(&connection(line), 6, &format!("connection[a].{key}"), found, allowed);
    }
    let text = connection("").replace("[\"BTCUSDT\"]", "\"BTCUSDT\"");
    refused(&text, 4, "connection[a].symbols", "\"BTCUSDT\" (a value of type string)", "a list of texts");
    let text = connection("").replace("[\"BTCUSDT\"]", "[\n\"BTCUSDT\",\n7]");
    refused(&text, 6, "connection[a].symbols[1]", "7 (a value of type integer)", "a text in quotes");
    refused(&format!("defaults = 1\n{}", connection("")), 1, "defaults", "1 (a value of type integer)", "a table");
}

#[test]
fn a_value_out_of_its_range_is_refused_with_the_range() {
    for (line, key, found, allowed) in [
        ("core = 2", "core", "CPU 2", "a CPU this process may use: 0, 1"),
        ("subscription.batch = 0", "subscription.batch", "0", "1 to 1024 streams in one request (binance-spot)"),
        ("subscription.batch = 1025", "subscription.batch", "1025", "1 to 1024"),
        ("subscription.requests_per_second = 6", "subscription.requests_per_second", "6", "1 to 5 requests a second"),
        ("subscription.ack_timeout_ms = 0", "subscription.ack_timeout_ms", "0", "10 to 300000 milliseconds"),
        ("subscription.ack_retries = 101", "subscription.ack_retries", "101", "0 to 100"),
        ("heartbeat.timeout_ms = 0", "heartbeat.timeout_ms", "0", "10 to 3600000 milliseconds"),
        ("reconnect.base_ms = 0", "reconnect.base_ms", "0", "1 to 3600000 milliseconds"),
        ("reconnect.cap_ms = 0", "reconnect.cap_ms", "0", "1 to 3600000 milliseconds"),
        ("reconnect.cap_ms = 100", "reconnect.cap_ms", "100, below base_ms = 500", "500 or more"),
        ("reconnect.stable_after_ms = 0", "reconnect.stable_after_ms", "0", "1 to 3600000 milliseconds"),
        ("reconnect.factor = 0.5", "reconnect.factor", "0.5", "1 to 10"),
        ("reconnect.factor = nan", "reconnect.factor", "NaN", "1 to 10"),
        ("reconnect.jitter = 0", "reconnect.jitter", "0", "0.01 to 1"),
        ("timeouts.dns_ms = 0", "timeouts.dns_ms", "0", "10 to 300000 milliseconds"),
        ("timeouts.connect_ms = 0", "timeouts.connect_ms", "0", "10 to 300000"),
        ("timeouts.tls_ms = 0", "timeouts.tls_ms", "0", "10 to 300000"),
        ("timeouts.upgrade_ms = 0", "timeouts.upgrade_ms", "0", "10 to 300000"),
        ("timeouts.rest_ms = 300001", "timeouts.rest_ms", "300001", "10 to 300000"),
        ("socket.keepalive_idle_s = 0", "socket.keepalive_idle_s", "0", "1 to 3600 seconds"),
        ("socket.keepalive_interval_s = 0", "socket.keepalive_interval_s", "0", "1 to 3600 seconds"),
        ("socket.keepalive_count = 0", "socket.keepalive_count", "0", "1 to 100 probes"),
        ("socket.receive_buffer_bytes = 1", "socket.receive_buffer_bytes", "1", "4096 to 1073741824 bytes"),
        ("socket.send_buffer_bytes = 1", "socket.send_buffer_bytes", "1", "4096 to 1073741824 bytes"),
        ("socket.source_address = \"eth0\"", "socket.source_address", "\"eth0\"", "IPv4 or IPv6"),
        ("limits.max_message_bytes = 1000", "limits.max_message_bytes", "1000", "65536 to 67108864 bytes"),
        ("limits.max_message_bytes = 99999999", "limits.max_message_bytes", "99999999", "65536 to 67108864 bytes"),
    ] {
        refused(&connection(line), 6, &format!("connection[a].{key}"), found, allowed);
    }
}

#[test]
fn our_pings_are_a_second_apart_or_more() {
    let bybit = |ms: u64| {
        let line = format!("heartbeat.interval_ms = {ms}");
        connection(&line).replace("binance-spot", "bybit-spot").replace("trade", "publicTrade")
    };
    for ms in [0, 10, 999, 3_600_001] {
        let found = ms.to_string();
        let allowed = "1000 to 3600000 milliseconds";
        refused(&bybit(ms), 6, "connection[a].heartbeat.interval_ms", &found, allowed);
    }
    let heartbeat = load_text(&bybit(1_000)).unwrap().connections.remove(0).heartbeat;
    assert_eq!(heartbeat.interval, Duration::from_secs(1));
}

#[test]
fn an_interval_for_a_venue_that_pings_by_itself_is_refused_wherever_it_is_set() {
    let allowed = "binance-spot pings by itself: only heartbeat.timeout_ms may be set";
    // The venue's own interval too: the key has no effect.
    for ms in ["500", "20000"] {
        let line = format!("heartbeat.interval_ms = {ms}");
        refused(&connection(&line), 6, "connection[a].heartbeat.interval_ms", ms, allowed);
    }
    let text = format!("[defaults.heartbeat]\ninterval_ms = 5000\n{}", connection(""));
    refused(&text, 2, "defaults.heartbeat.interval_ms", "5000", allowed);
    let timeout = load_text(&connection("heartbeat.timeout_ms = 5000")).unwrap().connections[0].heartbeat.timeout;
    assert_eq!(timeout, Duration::from_secs(5));
    let mut in_code = ConnectionConfig::new("a", Venue::BinanceSpot).subscribed_to(&["BTCUSDT"], &["trade"]).unwrap();
    in_code.heartbeat.interval = Duration::from_secs(1);
    let errors = Config::from_connections(vec![in_code]).unwrap_err().to_string();
    assert!(errors.contains(allowed), "{errors}");
}

#[test]
fn a_batch_over_bybits_ten_is_refused_where_the_defaults_set_it() {
    let bybit = connection("").replace("binance-spot", "bybit-spot").replace("trade", "publicTrade");
    let text = format!(
        "[defaults.subscription]\nbatch = 11\n{bybit}{}",
        bybit.replace("\"a\"", "\"b\"").replace("BTC", "ETH")
    );
    refused(&text, 2, "defaults.subscription.batch", "11", "1 to 10 streams in one request (bybit-spot)");
}

#[test]
fn a_url_of_another_kind_is_refused_and_its_password_is_not_repeated() {
    let text = connection("url = \"https://stream.binance.com\"\n");
    refused(&text, 6, "connection[a].url", "https://stream.binance.com", "ws or wss://HOST[:PORT]");
    let text = connection("url = \"wss://stream.binance.com/ws\"\n");
    refused(&text, 6, "connection[a].url", "/ws", "without path: the venue's path is added");
    refused(&connection("url = \"stream\"\n"), 6, "connection[a].url", "relative URL without a base", "ws or wss");
    let text = connection("rest_url = \"wss://api.binance.com\"\n");
    refused(&text, 6, "connection[a].rest_url", "wss://", "http or https://HOST[:PORT]");
    for line in [
        "url = \"wss://desk:hunter2@h:1\"\n",
        "url = \"wss://desk:hunter2@h:99999\"\n",
        "url = [\"wss://desk:hunter2@h:1\"]\n",
        "rest_url = \"http://desk:hunter2@h:1:2\"\n",
    ] {
        let errors = load_text(&connection(line)).unwrap_err().to_string();
        assert!(errors.contains("a user name or a password") && !errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn a_credential_in_the_file_is_refused_and_not_repeated() {
    let errors = load_text(&connection("headers.X-MBX-APIKEY = \"hunter2\"\n")).unwrap_err();
    let text = errors.to_string();
    assert!(text.contains("x.toml:6: connection[a].headers.X-MBX-APIKEY"), "{text}");
    assert!(text.contains("a credential written in the file") && text.contains("{ env = \"VARIABLE\" }"), "{text}");
    assert!(!text.contains("hunter2") && !format!("{errors:?}").contains("hunter2"), "{text}");
    let key = "connection[a].headers.X-Key";
    let text = connection("headers.X-Key = { env = \"NOT_SET\" }\n");
    refused(&text, 6, key, "environment variable NOT_SET, which is not set", "a variable that is set");
    let text = connection("headers.X-Key = { env = \"BROKEN\" }\n");
    refused(&text, 6, key, "a line break", "without control characters");
    refused(&connection("headers.X-Key = { enf = \"K\" }\n"), 6, key, "inline table", "{ env =");
    refused(&connection("headers.Host = \"h\"\n"), 6, "connection[a].headers.Host", "header `Host`", "any header but");
    refused(&connection("headers.\"a b\" = \"h\"\n"), 6, "connection[a].headers.a b", "`a b`", "a header name");
}

#[test]
fn a_symbol_twice_lower_case_or_impossible_is_refused() {
    let with = |symbols: &str| connection("").replace("[\"BTCUSDT\"]", symbols);
    let key = "connection[a].symbols[1]";
    let text = with("[\"BTCUSDT\",\n\"BTCUSDT\"]");
    refused(&text, 5, key, "\"BTCUSDT\", a second time (first on line 4)", "each symbol once");
    refused(&with("[\"ETHUSDT\", \"btcusdt\"]"), 4, key, "\"btcusdt\"", "\"BTCUSDT\": binance-spot names");
    refused(&with("[\"ETHUSDT\", \"\"]"), 4, key, "a name of 0 bytes", "1 to 128 bytes");
    refused(&with("[\"ETHUSDT\", \"BTC USDT\"]"), 4, key, "\"BTC USDT\"", "without white space");
    refused(&with("[]"), 4, "connection[a].symbols", "no symbol", "`trade` is subscribed for each symbol");
    let text = connection("").replace("symbols = [\"BTCUSDT\"]\n", "");
    refused(&text, 1, "connection[a].symbols", "no symbol", "at least one symbol");
    load_text(&with("[\"币安人生USDT\"]")).expect("a venue lists names that are not ASCII");
}

#[test]
fn an_all_market_channel_needs_no_symbols() {
    let text = connection("").replace("binance-spot", "binance-usdm");
    let text = text.replace("symbols = [\"BTCUSDT\"]\n", "").replace("\"trade\"", "\"!markPrice@arr@1s\"");
    assert_eq!(load_text(&text).unwrap().connections[0].stream_count(), 1);
}

#[test]
fn a_symbol_file_is_named_with_its_own_lines() {
    let folder = Folder::new();
    folder.file("list.txt", "BTCUSDT\n# again\nBTCUSDT\n");
    let with = |more: &str| connection(more).replace("symbols = [\"BTCUSDT\"]\n", "");
    let file = folder.file("x.toml", &with("symbols_file = \"list.txt\"\n"));
    let errors = load_on(std::slice::from_ref(&file), None, &host()).unwrap_err();
    let error = errors.iter().next().unwrap();
    assert!(error.file.as_ref().unwrap().ends_with("list.txt") && error.line == Some(3), "{errors}");
    folder.file("list.txt", "# nothing yet\n");
    let errors = load_on(&[file], None, &host()).unwrap_err().to_string();
    assert!(errors.contains("x.toml:5: connection[a].symbols_file") && errors.contains("no symbol"), "{errors}");
    let text = with("symbols_file = \"nowhere.txt\"\n");
    refused(&text, 5, "connection[a].symbols_file", "nowhere.txt: No such file", "one symbol a line");
    let text = connection("symbols_file = \"list.txt\"\n");
    refused(&text, 6, "connection[a].symbols_file", "both `symbols` and `symbols_file`", "one of the two");
}

#[test]
fn a_channel_the_venue_lacks_is_refused_with_those_it_has() {
    let with = |channels: &str| connection("").replace("[\"trade\"]", channels);
    refused(&with("[\"trades\"]"), 5, "connection[a].channels[0]", "\"trades\"", "trade, aggTrade, bookTicker");
    let key = "connection[a].channels[1]";
    refused(&with("[\"trade\",\n\"publicTrade\"]"), 6, key, "\"publicTrade\"", "bookTicker");
    refused(&with("[\"trade\", \"trade\"]"), 5, key, "\"trade\", a second time", "each channel once");
    refused(&with("[]"), 5, "connection[a].channels", "no channel", "at least one channel of binance-spot");
}

#[test]
fn partial_depth_gets_a_raw_socket_of_its_own_because_its_messages_name_nothing() {
    let with = |channels: &str| connection("form = \"raw\"\n").replace("[\"trade\"]", channels);
    let sizes = |text: &str| {
        let config = load_text(text).expect("accepted");
        config.connections[0].sockets().iter().map(|socket| socket.streams.len()).collect::<Vec<_>>()
    };
    let raw = with("[\"trade\", \"aggTrade\", \"depth20\"]");
    assert_eq!(sizes(&raw), [2, 1]);
    assert_eq!(sizes(&raw.replace("raw", "combined")), [3], "wrapped it is named");
}

#[test]
fn names_and_venues_are_asked_for_and_checked() {
    let text = connection("").replace("name = \"a\"\n", "");
    refused(&text, 1, "connection[0]", "without `name`", "1 to 64 letters");
    let text = connection("").replace("\"a\"", "\"a b\"");
    refused(&text, 2, "connection[a b].name", "\"a b\"", "1 to 64 letters");
    let text = connection("").replace("venue = \"binance-spot\"\n", "");
    refused(&text, 1, "connection[a]", "without `venue`", "binance-spot, binance-usdm, bybit-spot, bybit-linear");
    let text = connection("").replace("binance-spot", "kraken");
    refused(&text, 3, "connection[a].venue", "\"kraken\"", "one of \"binance-spot\"");
    let text = format!("{}{}", connection(""), connection("").replace("binance-spot", "binance-usdm"));
    refused(&text, 7, "connection[a].name", "\"a\", a second time (first in", "each name once");
    let text = format!("[exchange]\nname = \"\"\n{}", connection(""));
    refused(&text, 2, "exchange.name", "\"\"", "1 to 64 letters");
}

#[test]
fn one_symbol_on_two_cores_is_refused_and_on_two_connections_of_one_core_is_not() {
    let second = connection("core = 1\n").replace("\"a\"", "\"b\"").replace("\"trade\"", "\"bookTicker\"");
    let text = format!("{}{second}", connection("core = 0\n"));
    let allowed = "core 0, where \"a\" has it";
    refused(&text, 10, "connection[b].symbols[0]", "\"BTCUSDT\" of binance-spot on core 1", allowed);
    load_text(&text.replace("core = 1", "core = 0")).expect("two streams of one symbol");
    let other = text.replacen("binance-spot", "binance-usdm", 1);
    assert_eq!(load_text(&other).unwrap().engine.cores.len(), 2, "spot and futures are two symbols");
}

#[test]
fn one_stream_on_two_connections_is_refused_in_one_file_or_in_two() {
    const ALLOWED: &str = "each stream on one connection; `legs` on it carries it over several sockets";
    let second = connection("").replace("\"a\"", "\"b\"");
    let text = format!("{}{second}", connection(""));
    let found = "\"trade\" of \"BTCUSDT\", which connection \"a\" carries (";
    refused(&text, 10, "connection[b].channels[0]", found, ALLOWED);
    refused(&text, 10, "connection[b].channels[0]", "x.toml:5)", ALLOWED);
    let three = text.replace("[\"BTCUSDT\"]", "[\"BTCUSDT\", \"ETHUSDT\", \"SOLUSDT\"]");
    refused(&three, 10, "connection[b].channels[0]", "of \"BTCUSDT\" and 2 more,", ALLOWED);
    for other in [
        second.replace("\"trade\"", "\"aggTrade\""),
        second.replace("BTC", "ETH"),
        second.replace("binance-spot", "binance-usdm"),
    ] {
        load_text(&format!("{}{other}", connection(""))).expect("another stream");
    }
    // For the whole market: one stream, whatever symbols stand beside it.
    let market = text.replace("binance-spot", "binance-usdm").replace("\"trade\"", "\"!forceOrder@arr\"");
    let market = market.replacen("symbols = [\"BTCUSDT\"]\n", "symbols = []\n", 1);
    refused(&market, 10, "connection[b].channels[0]", "\"!forceOrder@arr\", which connection \"a\"", ALLOWED);
    let folder = Folder::new();
    let files = [folder.file("one.toml", &connection("")), folder.file("two.toml", &second)];
    let errors = load_on(&files, None, &host()).unwrap_err().to_string();
    assert!(errors.contains("two.toml:5: connection[b].channels[0]"), "{errors}");
    assert!(errors.contains("one.toml:5)") && errors.contains(ALLOWED), "{errors}");
    let leg = |name: &str| ConnectionConfig::new(name, Venue::BinanceSpot).subscribed_to(&["BTCUSDT"], &["trade"]);
    let errors = Config::from_connections(vec![leg("a").unwrap(), leg("b").unwrap()]).unwrap_err();
    assert_eq!(errors.iter().count(), 1, "{errors}");
    assert!(errors.to_string().contains("carries\n") && errors.to_string().contains(ALLOWED), "{errors}");
}

#[test]
fn what_a_venue_is_asked_once_is_not_said_in_two_ways() {
    let second = |more: &str| connection(more).replace("\"a\"", "\"b\"").replace("\"trade\"", "\"aggTrade\"");
    let rest = "rest_url = \"http://127.0.0.1:1\"\n";
    let text = format!("{}{}", connection(rest), second(&rest.replace(":1\"", ":2\"")));
    let allowed = "http://127.0.0.1:1/, as connection \"a\" has it (";
    refused(&text, 12, "connection[b].rest_url", "http://127.0.0.1:2/", allowed);
    refused(&text, 12, "connection[b].rest_url", "http://127.0.0.1:2/", "x.toml:6): the instrument list of a venue");
    let silent = format!("{}{}", connection(rest), second(""));
    refused(&silent, 7, "connection[b].rest_url", "https://api.binance.com/", allowed);
    load_text(&text.replace(":2\"", ":1\"")).expect("the same twice");
    load_text(&silent.replacen("binance-spot", "binance-usdm", 1).replacen("trade", "aggTrade", 1))
        .expect("another venue has a host of its own");

    let row = "[[connection.instrument]]\nsymbol = \"BTCUSDT\"\nprice_scale = 2\nqty_scale = 5\n";
    let with = |other: &str| format!("{}{}", connection(row), second(other));
    load_text(&with(row)).expect("the same twice");
    load_text(&with("")).expect("said once, for both");
    let key = "connection[b].instrument[0].symbol";
    let found = "\"BTCUSDT\" of binance-spot with other values: price_scale 3, qty_scale 5";
    refused(
        &with(&row.replace('2', "3")),
        16,
        key,
        found,
        "price_scale 2, qty_scale 5, as connection \"a\" states it (",
    );
    refused(&with(&row.replace('5', "4")), 16, key, "qty_scale 4", "x.toml:7)");
    let linked = format!("{row}base = \"BTC\"\nquote = \"USDT\"\n");
    refused(&with(&linked), 16, key, "qty_scale 5, BTC/USDT", "qty_scale 5, as connection");
    load_text(
        &with(&row.replace('2', "3")).replacen("binance-spot", "binance-usdm", 1).replacen("trade", "aggTrade", 1),
    )
    .expect("two symbols of two venues");
}

#[test]
fn a_delivery_is_a_date_of_a_future_and_no_spot_symbol_has_one() {
    let with = |date: &str| {
        let row = "[[connection.instrument]]\nsymbol = \"BTCUSDT\"\nprice_scale = 2\nqty_scale = 5\nbase = \"BTC\"\n";
        connection(&format!("{row}quote = \"USDT\"\ndelivery = \"{date}\"\n"))
    };
    let key = "connection[a].instrument[0].delivery";
    refused(&with("261225"), 12, key, "\"261225\" on binance-spot", "no delivery");
    let future = |date: &str| with(date).replace("binance-spot", "binance-usdm").replace("\"trade\"", "\"aggTrade\"");
    let config = load_text(&future("261225")).unwrap();
    let instrument = config.connections[0].instruments[0].instrument.clone().unwrap();
    assert_eq!(instrument.kind, InstrumentKind::Future("261225".into()));
    for date in ["", "25DEC26", "20261225", "2612", "261325", "260025", "261200", "261232", "+61225", "26\u{661}25"] {
        refused(&future(date), 12, key, &format!("\"{date}\""), "six digits, YYMMDD");
    }
}

#[test]
fn an_authority_that_is_not_there_or_is_none_is_refused() {
    let text = connection("tls.ca_file = \"nowhere.pem\"\n");
    refused(&text, 6, "connection[a].tls.ca_file", "nowhere.pem: No such file", "a PEM file");
    let text = connection("tls.ca_file = \"x.toml\"\n");
    refused(&text, 6, "connection[a].tls.ca_file", "no certificate in it", "a PEM file");
}

#[test]
fn tls_records_are_opened_in_place_unless_a_connection_says_rustls_or_is_cold() {
    let opener = |text: &str| load_text(text).unwrap().connections[0].tls.records;
    assert_eq!(opener(&connection("")), RecordOpener::InPlace);
    assert_eq!(opener(&connection("tls.records = \"rustls\"\n")), RecordOpener::Rustls);
    assert!(load_text(&connection("transport = \"cold\"\n")).is_ok(), "rustls' always, and nobody said otherwise");
    let both = format!("[defaults.tls]\nrecords = \"in_place\"\n{}", connection("tls.records = \"rustls\"\n"));
    assert_eq!(opener(&both), RecordOpener::Rustls, "a connection wins over the defaults");
    let key = "connection[a].tls.records";
    refused(&connection("tls.records = \"ours\"\n"), 6, key, "\"ours\"", "one of \"rustls\", \"in_place\"");
    let cold = connection("tls.records = \"in_place\"\ntransport = \"cold\"\n");
    refused(&cold, 6, key, "\"in_place\" with transport = \"cold\"", "\"rustls\", or transport = \"hot\"");
    let cold = connection("conflate_quotes = true\ntransport = \"cold\"\n");
    let allowed = "false, or transport = \"hot\"";
    refused(&cold, 6, "connection[a].conflate_quotes", "true with transport = \"cold\"", allowed);
    load_text(&connection("conflate_quotes = false\ntransport = \"cold\"\n")).unwrap();
}

#[test]
fn an_instrument_is_whole_and_belongs_to_the_connection() {
    let with = |rows: &str| connection(&format!("[[connection.instrument]]\n{rows}"));
    let key = "connection[a].instrument[0]";
    let row = "symbol = \"BTCUSDT\"\nprice_scale = 2\nqty_scale = 5\n";
    load_text(&with(row)).unwrap();
    refused(&with(&row.replace("qty_scale = 5\n", "")), 6, key, "without `qty_scale`", "price_scale and qty_scale");
    refused(&with(&row.replace("BTC", "ETH")), 7, &format!("{key}.symbol"), "\"ETHUSDT\"", "this connection's symbols");
    refused(&with(&row.replace('2', "19")), 8, &format!("{key}.price_scale"), "19", "0 to 18 decimals");
    refused(&with(&format!("{row}base = \"BTC\"\n")), 6, key, "a part of what", "base and quote together");
    let twice = format!("{row}[[connection.instrument]]\n{row}");
    refused(
        &with(&twice),
        11,
        "connection[a].instrument[1].symbol",
        "a second time",
        "in one [[connection.instrument]]",
    );
}

#[test]
fn a_file_that_is_no_toml_or_not_there_or_empty_is_refused() {
    refused("[[connection]]\nname = \n", 2, "", "no TOML", "`key = value`");
    refused("a = 1\na = 2\n", 2, "", "no TOML: duplicate key", "TOML 1.0");
    refused("", 1, "", "no connection", "at least one [[connection]]");
    let errors = load_on(&[PathBuf::from("/nowhere/x.toml")], None, &host()).unwrap_err().to_string();
    assert!(errors.starts_with("/nowhere/x.toml\n  found:   No such file"), "{errors}");
    let errors = load_on(&[], None, &host()).unwrap_err().to_string();
    assert!(errors.contains("no exchange file"), "{errors}");
}

/// The one error of an engine file beside a good exchange file.
#[track_caller]
pub(super) fn engine_refused(text: &str, line: usize, key: &str, found: &str, allowed: &str) {
    let folder = Folder::new();
    let paths = [folder.file("x.toml", &connection(""))];
    let engine = folder.file("desk.toml", text);
    let errors = load_on(&paths, Some(&engine), &host()).unwrap_err();
    assert_eq!(errors.iter().count(), 1, "{errors}");
    let error = errors.iter().next().unwrap();
    assert!(error.file.as_ref().unwrap().ends_with("desk.toml"), "{error}");
    assert_eq!((error.line, error.key.as_str()), (Some(line), key), "{error}");
    assert!(error.found.contains(found) && error.allowed.contains(allowed), "{error}");
}

#[test]
fn every_error_of_an_engine_file_is_refused_with_its_place() {
    engine_refused("[[core]]\ncpu = 7\n[[core]]\ncpu = 0\n", 2, "core[0].cpu", "CPU 7", "may use: 0, 1");
    engine_refused("[[core]]\ncpu = 0\n[[core]]\ncpu = 0\n", 4, "core[1].cpu", "a second time", "in one [[core]]");
    let text = "[[core]]\nstrategy = \"spred\"\n";
    engine_refused(text, 2, "core[0].strategy", "\"spred\"", "did you mean \"spread\"? this build has null, print");
    engine_refused("[[core]]\nidle = \"sleep\"\n", 2, "core[0].idle", "\"sleep\"", "\"park\", \"spin\", \"yield\"");
    engine_refused("[[core]]\nwait = \"poll\"\n", 2, "core[0].wait", "\"poll\"", "\"auto\", \"recv\", \"epoll\"");
    let text = "[[core]]\nidle = \"park\"\nwait = \"recv\"\n";
    engine_refused(text, 3, "core[0].wait", "\"recv\", of a core that parks", "always asks the kernel");
    engine_refused("[[core]]\nidel = \"spin\"\n", 2, "core[0].idel", "unknown key", "did you mean `idle`?");
    engine_refused("cold_cores = [0, 9]\n", 1, "cold_cores[1]", "CPU 9", "may use: 0, 1");
    engine_refused("cold_cores = []\n", 1, "cold_cores", "[]", "at least one CPU number");
    engine_refused("cold_cores = [\"0\"]\n", 1, "cold_cores[0]", "type string", "a CPU number");
    let text = "cold_cores = [0]\n[[core]]\nidle = \"spin\"\n";
    engine_refused(text, 1, "cold_cores[0]", "where a hot core spins", "another CPU");
    engine_refused("report_interval_s = 0\n", 1, "report_interval_s", "0", "0.1 to 86400 seconds");
    engine_refused("lock_memory = true\n", 1, "lock_memory", "type boolean", "\"try\", \"require\", \"off\"");
    engine_refused("lock_memory = \"yes\"\n", 1, "lock_memory", "\"yes\"", "\"try\", \"require\", \"off\"");
    engine_refused("host_check = 1\n", 1, "host_check", "type integer", "true or false");
    let text = "latency_sample_every = 1_000_001\n";
    engine_refused(text, 1, "latency_sample_every", "1000001", "0 to 1000000: 1 stamps every message, 0 none");
    engine_refused("latency_sample_every = -1\n", 1, "latency_sample_every", "-1", "");
    engine_refused("kernel_stamps = 1\n", 1, "kernel_stamps", "type integer", "true or false");
    engine_refused("kernel_stamp = true\n", 1, "kernel_stamp", "unknown key", "did you mean `kernel_stamps`?");
}

#[test]
fn how_a_core_waits_is_read_and_told() {
    let folder = Folder::new();
    let exchange = folder.file("x.toml", &connection(""));
    for (word, wait) in [("auto", Wait::Auto), ("recv", Wait::Recv), ("epoll", Wait::Epoll)] {
        let text = format!("[[core]]\ncpu = 1\nidle = \"spin\"\nwait = \"{word}\"\n");
        let engine = folder.file("engine.toml", &text);
        let config = load_on(&[exchange.clone(), engine], None, &host()).unwrap();
        assert_eq!(config.engine.cores, [CoreConfig { idle: Idle::Spin, wait, ..CoreConfig::new(1) }]);
        let told = describe(&config);
        let expected = if wait == Wait::Auto { "idle spin, 1" } else { &format!("idle spin, wait {word}, 1") };
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_connection_on_a_core_the_engine_file_lacks_is_refused_and_a_silent_one_takes_the_first() {
    let folder = Folder::new();
    let engine = folder.file("engine.toml", "[[core]]\ncpu = 1\nidle = \"spin\"\nstrategy = \"null\"\n");
    let silent = folder.file("x.toml", &connection(""));
    let config = load_on(&[silent, engine.clone()], None, &host()).unwrap();
    assert_eq!(config.connections[0].core, 1);
    assert_eq!(
        config.engine.cores[0],
        CoreConfig { idle: Idle::Spin, strategy: Some("null".into()), ..CoreConfig::new(1) }
    );
    assert_eq!(config.engine.cold_cores, [0]);
    let wrong = folder.file("x.toml", &connection("core = 0\n"));
    let errors = load_on(&[wrong], Some(&engine), &host()).unwrap_err().to_string();
    assert!(errors.contains("x.toml:6: connection[a].core\n  found:   CPU 0"), "{errors}");
    assert!(errors.contains("the `cpu` of a [[core]] in the engine file: 1"), "{errors}");
    let other = folder.file("other.toml", "report_interval_s = 1\n");
    let good = folder.file("x.toml", &connection(""));
    let errors = load_on(&[good, other], Some(&engine), &host()).unwrap_err().to_string();
    assert!(errors.contains("a second engine file, after"), "{errors}");
}

#[test]
fn all_errors_of_all_files_come_at_once_in_the_order_of_files_and_lines() {
    let folder = Folder::new();
    let a = folder.file("a.toml", &connection("core = 9\nsymbol = 1\nlimits.max_message_bytes = 1\n"));
    let b = folder.file("b.toml", "[[connection]\n");
    let errors = load_on(&[b, a], None, &host()).unwrap_err();
    let places: Vec<_> = errors
        .iter()
        .map(|error| {
            let file = error.file.as_ref().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
            (file, error.line.unwrap())
        })
        .collect();
    let a = |line| ("a.toml".to_owned(), line);
    assert_eq!(places, [a(6), a(7), a(8), ("b.toml".to_owned(), 1)], "{errors}");
    let text = errors.to_string();
    assert_eq!(text.matches("\n  found:   ").count(), 4, "{text}");
    assert_eq!(text.matches("\n  allowed: ").count(), 4, "{text}");
}

#[test]
fn a_configuration_built_in_code_is_held_to_the_same_rules() {
    let good = ConnectionConfig::new("a", Venue::BybitLinear);
    let good = good.subscribed_to(&["BTCUSDT"], &["publicTrade", "orderbook.50"]).unwrap();
    let config = Config::from_connections(vec![good.clone()]).unwrap();
    assert_eq!(config.engine.cores, [CoreConfig::new(good.core)]);
    assert!(!config.engine.cold_cores.is_empty());
    assert_eq!(EngineConfig::for_connections(&config.connections), config.engine);
    let mut bad = good.clone();
    bad.symbols.push("BTCUSDT".into());
    bad.limits.max_message_bytes = 0;
    bad.core = 1_000_000;
    let errors = Config::from_connections(vec![bad]).unwrap_err();
    assert_eq!(errors.iter().count(), 3, "{errors}");
    let text = errors.to_string();
    assert!(text.contains("configuration: connection[a].limits.max_message_bytes\n  found:   0"), "{text}");
    let errors = Config::from_connections(Vec::new()).unwrap_err().to_string();
    assert!(errors.contains("no connection"), "{errors}");
    let errors = Config::from_connections(vec![good.clone(), good.clone()]).unwrap_err().to_string();
    assert!(errors.contains("\"a\", a second time"), "{errors}");
    let mut other = good;
    other.url = url::Url::parse("http://h:1").unwrap();
    other.name.clear();
    let errors = Config::from_connections(vec![other]).unwrap_err();
    assert_eq!(errors.iter().count(), 2, "{errors}");
}

#[test]
fn every_venue_has_defaults_that_pass_its_own_checks() {
    for (venue, channel) in Venue::ALL.into_iter().zip(["trade", "aggTrade", "publicTrade", "publicTrade"]) {
        let connection = ConnectionConfig::new("a", venue).subscribed_to(&["BTCUSDT"], &[channel]).unwrap();
        let args_max = protocol(venue).limits().args_per_request.unwrap_or(u32::MAX);
        assert!(u32::try_from(connection.subscription.batch).unwrap() <= args_max);
        Config::from_connections(vec![connection]).unwrap();
    }
}

#[test]
fn more_streams_than_one_connection_carries_become_several_sockets() {
    let symbols: Vec<String> = (0..150).map(|index| format!("S{index}USDT")).collect();
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let usdm = ConnectionConfig::new("a", Venue::BinanceUsdm);
    let usdm = usdm.subscribed_to(&symbols, &["bookTicker", "depth@100ms", "aggTrade"]).unwrap();
    let mut sizes: Vec<usize> = usdm.sockets().iter().map(|socket| socket.streams.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [150, 150, 150], "300 public streams at most 200 a socket, shared evenly, 150 of class market");
    let long: Vec<String> = (0..300).map(|index| format!("{index:0>99}")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let bybit = ConnectionConfig::new("b", Venue::BybitLinear).subscribed_to(&long, &["publicTrade"]).unwrap();
    for socket in bybit.sockets() {
        let chars: usize = socket.streams.iter().map(|stream| stream.name.chars().count()).sum();
        assert!(chars <= 21_000, "{chars}");
    }
    assert_eq!(bybit.sockets().iter().map(|socket| socket.streams.len()).sum::<usize>(), 300);
    Config::from_connections(vec![usdm, bybit]).unwrap();
}

#[test]
fn more_symbols_than_the_process_has_ids_for_are_refused() {
    let names: Vec<String> = (0..=crate::limits::SYMBOL_COUNT_MAX).map(|index| format!("S{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let connection = ConnectionConfig::new("a", Venue::BinanceSpot).subscribed_to(&names, &["trade"]).unwrap();
    let errors = Config::from_connections(vec![connection]).unwrap_err().to_string();
    assert!(errors.contains("16385 symbols") && errors.contains("16384 symbols in one process"), "{errors}");
}

#[test]
fn more_sockets_than_a_core_serves_are_refused() {
    let one = |index: usize| {
        let connection = ConnectionConfig::new(format!("one-{index}"), Venue::BinanceSpot);
        connection.subscribed_to(&[&format!("S{index}")], &["trade"]).unwrap()
    };
    Config::from_connections((0..256).map(one).collect()).unwrap();
    let errors = Config::from_connections((0..257).map(one).collect()).unwrap_err().to_string();
    assert!(errors.contains("257 sockets on core") && errors.contains("256 sockets on one core"), "{errors}");
}

#[test]
fn the_cpus_of_the_process_are_those_of_its_first_reading_on_a_confined_thread_too() {
    let before = cpus();
    let last = core_affinity::CoreId { id: *before.last().expect("a CPU") };
    let after = std::thread::spawn(move || {
        assert!(core_affinity::set_for_current(last));
        cpus()
    });
    assert_eq!(after.join().unwrap(), before);
}
