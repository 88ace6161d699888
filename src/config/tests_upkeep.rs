//! The keys that keep a connection up, and those of requests and of the process: each reaches its field, each refusal is read
//! as its reader reads it.

use super::tests::{Folder, connection, engine_refused, host, load_text, refused};
use super::*;
use crate::market::Venue;
use crate::venue::Heartbeat;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn every_upkeep_key_reaches_its_field_and_a_connection_wins_over_the_defaults() {
    let config = load_text(
        r#"
[defaults.subscription]
streams_per_connection = 9
separate = "channel"
[defaults.subscription.weights]
BTCUSDT = 5
DOGEUSDT = 2
[defaults.heartbeat]
text_ping_ms = 7_000
protocol_ping_ms = 5_000
[defaults.liveness]
first_data_ms = 0
stale_factor = 3
[defaults.rotation]
after_s = 100
[[connection]]
name = "a"
venue = "binance-usdm"
symbols = ["BTCUSDT", "ETHUSDT"]
channels = ["aggTrade"]
[connection.subscription]
streams_per_connection = 8
request_bytes_max = 512
weights = { BTCUSDT = 6, ETHUSDT = 3 }
separate = "symbol"
[connection.heartbeat]
protocol_ping_ms = 4_000
text_ping = '{"op":"ping","id":"{id}","at":{timestamp}}'
server_ping = { field = "ping", reply = '{"pong":{value}}' }
[connection.liveness]
trade_first_data_ms = 60_000
stale_ms_min = 200
stale_ms_max = 300
connection_share_percent = 70
repair = false
[connection.rotation]
jitter_s = 1.5
overlap_ms = 10
overlap_max_ms = 1_000
on_notice = false
[connection.rest]
weight_share_percent = 20
relist_s = 90
"#,
    )
    .unwrap();
    let a = &config.connections[0];
    let subscription = &a.subscription;
    assert_eq!((subscription.streams_per_connection, subscription.request_bytes_max), (Some(8), 512));
    assert_eq!(subscription.separate, Separate::Symbol);
    let weights: Vec<(&str, u32)> = subscription.weights.iter().map(|(symbol, weight)| (&**symbol, *weight)).collect();
    assert_eq!(weights, [("BTCUSDT", 6), ("DOGEUSDT", 2), ("ETHUSDT", 3)], "symbol by symbol, as headers are");
    let heartbeat = HeartbeatConfig {
        interval: ms(180_000),
        timeout: ms(600_000),
        protocol_ping: Some(ms(4_000)),
        text_ping: Some(r#"{"op":"ping","id":"{id}","at":{timestamp}}"#.into()),
        text_ping_interval: ms(7_000),
        server_ping: Some(ServerPing::Field { field: "ping".into(), reply: r#"{"pong":{value}}"#.into() }),
    };
    assert_eq!(a.heartbeat, heartbeat);
    let liveness = LivenessConfig {
        first_data: None,
        trade_first_data: Some(ms(60_000)),
        stale_factor: 3.0,
        stale_min: ms(200),
        stale_max: ms(300),
        connection_share_percent: 70,
        repair: false,
    };
    assert_eq!(a.liveness, liveness);
    let rotation = RotationConfig {
        after: Some(ms(100_000)),
        jitter: ms(1_500),
        overlap: ms(10),
        overlap_max: ms(1_000),
        on_notice: false,
    };
    assert_eq!(a.rotation, rotation);
    assert_eq!(a.rest, RestConfig { weight_share_percent: 20, relist: Some(ms(90_000)) });
    let text = connection("heartbeat.server_ping = { text = \"ping\", reply = \"pong\" }\nrotation.after_s = 0\n");
    let a = load_text(&text).unwrap().connections.remove(0);
    assert_eq!(a.heartbeat.server_ping, Some(ServerPing::Text { text: "ping".into(), reply: "pong".into() }));
    assert_eq!(a.rotation.after, None);
}

#[test]
fn the_defaults_are_those_that_the_files_show() {
    let binance = ConnectionConfig::new("a", Venue::BinanceSpot);
    assert_eq!((binance.subscription.request_bytes_max, binance.subscription.streams_per_connection), (4_096, None));
    assert_eq!(ConnectionConfig::new("b", Venue::BybitSpot).subscription.request_bytes_max, 65_536);
    assert_eq!(binance.liveness.first_data, Some(ms(30_000)));
    assert_eq!((binance.liveness.stale_min, binance.liveness.stale_max), (ms(5_000), ms(600_000)));
    assert_eq!((binance.rotation.overlap, binance.rotation.overlap_max), (ms(2_000), ms(30_000)));
    assert_eq!((binance.rotation.jitter, binance.rest.weight_share_percent), (ms(1_800_000), 50));
    assert_eq!((binance.heartbeat.protocol_ping, binance.heartbeat.text_ping_interval), (None, ms(20_000)));
    let engine = EngineConfig::default();
    assert_eq!((engine.watchdog.overrun, engine.halted_lease), (ms(100), ms(1_000)));
    let governor = GovernorConfig { connect_share_percent: 80, connects_per_second: 10, requests_per_second: 50 };
    assert_eq!((engine.governor, engine.control_socket), (governor, None));
}

#[test]
fn an_upkeep_value_out_of_its_range_is_refused_with_the_range() {
    for (line, key, found, allowed) in [
        ("subscription.streams_per_connection = 0", "", "0", "1 to 1024 streams on one connection (binance-spot)"),
        ("subscription.streams_per_connection = 1025", "", "1025", "1 to 1024"),
        ("subscription.request_bytes_max = 255", "", "255", "256 to 1048576 bytes"),
        ("subscription.request_bytes_max = 1048577", "", "1048577", "256 to 1048576 bytes"),
        ("subscription.weights.BTCUSDT = 0", "", "0", "1 to 1000"),
        ("subscription.weights.BTCUSDT = 1001", "", "1001", "1 to 1000"),
        ("subscription.weights.BTCUSDT = -1", "", "-1 (a value of type integer)", "1 to 1000"),
        ("subscription.weights.ETHUSDT = 2", "", "\"ETHUSDT\"", "one of this connection's symbols"),
        ("subscription.separate = \"core\"", "", "\"core\"", "one of \"none\", \"channel\", \"symbol\""),
        ("heartbeat.protocol_ping_ms = 999", "", "999", "0 (off), or 1000 to 3600000 milliseconds"),
        ("heartbeat.text_ping_ms = 0", "", "0", "1000 to 3600000 milliseconds"),
        ("heartbeat.text_ping = \"\"", "", "a text of 0 bytes", "1 to 512 bytes"),
        ("heartbeat.text_ping = \"{time}\"", "", "{time}", "{id}, {timestamp}"),
        ("heartbeat.text_ping = \"{value}\"", "", "{value}", "{id}, {timestamp}"),
        ("heartbeat.text_ping = \"a\\nb\"", "", "a text of 3 bytes", "without control characters"),
        ("liveness.first_data_ms = 99", "", "99", "0 (off), or 100 to 86400000 milliseconds"),
        ("liveness.trade_first_data_ms = 86400001", "", "86400001", "0 (off), or 100 to 86400000"),
        ("liveness.stale_factor = 1", "", "1", "2 to 1000 times the usual gap"),
        ("liveness.stale_factor = nan", "", "NaN", "2 to 1000"),
        ("liveness.stale_ms_min = 0", "", "0", "100 to 86400000 milliseconds"),
        ("liveness.stale_ms_max = 0", "", "0", "100 to 86400000 milliseconds"),
        ("liveness.stale_ms_max = 4999", "", "4999, below stale_ms_min = 5000", "5000 or more"),
        ("liveness.connection_share_percent = 0", "", "0", "1 to 100 percent"),
        ("liveness.connection_share_percent = 101", "", "101", "1 to 100 percent"),
        ("liveness.repair = 1", "", "1 (a value of type integer)", "true or false"),
        ("reconnect.offset_ms = 3600001", "", "3600001", "0 to 3600000 milliseconds"),
        ("rotation.after_s = 86400", "", "86400", "0 (never) or less than 86370: binance-spot cuts at 86400 seconds"),
        ("rotation.after_s = 0.5", "rotation.after_s", "0.5", "1 to 2592000 seconds"),
        ("rotation.jitter_s = 82800", "", "82800", "less than after_s = 82800: it is taken off"),
        ("rotation.jitter_s = 86401", "", "86401", "0 to 86400 seconds"),
        ("rotation.overlap_ms = 600001", "rotation.overlap_ms", "600001", "0 to 600000 milliseconds"),
        ("rotation.overlap_max_ms = 999", "", "999", "1000 to 600000 milliseconds"),
        ("rotation.overlap_max_ms = 1000", "", "1000, below overlap_ms = 2000", "2000 or more"),
        ("refill_trades_max = 100_001", "", "100001", "0 to 100000 trades of one hole (0: off)"),
        ("refill_trades_max = -1", "", "-1 (a value of type integer)", "a whole number, not negative"),
        ("conflate_quotes = 1", "", "1 (a value of type integer)", "true or false"),
        ("rest.weight_share_percent = 0", "", "0", "1 to 90 percent"),
        ("rest.weight_share_percent = 91", "", "91", "1 to 90 percent"),
        ("rest.relist_s = 0.9", "", "0.9", "0 (never), or 1 to 604800 seconds"),
        ("rest.relist_s = 604801", "", "604801", "0 (never), or 1 to 604800 seconds"),
        ("rest.relist_s = -1", "", "-1 (a value of type integer)", "a number of seconds, not negative"),
    ] {
        let key = if key.is_empty() { line.split(" = ").next().unwrap() } else { key };
        // What follows from one wrong value is let be: a share of time here, a bound there.
        let more = match key {
            "rotation.after_s" => "\nrotation.jitter_s = 0",
            "rotation.overlap_ms" => "\nrotation.overlap_max_ms = 600000",
            _ => "",
        };
        let text = connection(&format!("{line}{more}"));
        if key == "rotation.overlap_ms" {
            let errors = load_text(&text).unwrap_err().to_string();
            assert!(errors.contains(found) && errors.contains(allowed), "{errors}");
            continue;
        }
        refused(&text, 6, &format!("connection[a].{key}"), found, allowed);
    }
    let text = format!("[defaults.subscription]\nweights = {{ ETHUSDT = 2 }}\n{}", connection(""));
    load_text(&text).expect("the defaults speak for the whole file");
    let text = format!("[defaults.subscription]\nweights = {{ ETHUSDT = 0 }}\n{}", connection(""));
    refused(&text, 2, "defaults.subscription.weights.ETHUSDT", "0", "1 to 1000");
}

#[test]
fn a_server_ping_is_one_of_two_kinds_and_is_answered() {
    let key = "connection[a].heartbeat.server_ping";
    for (ping, found) in [
        ("{ text = \"ping\" }", "without `reply`"),
        ("{ reply = \"pong\" }", "not with one of `text` and `field`"),
        ("{ text = \"ping\", field = \"ping\", reply = \"pong\" }", "not with one of"),
    ] {
        refused(&connection(&format!("heartbeat.server_ping = {ping}")), 6, key, found, "{ text = \"ping\", reply =");
    }
    for (ping, key, found, allowed) in [
        ("{ text = \"ping\", reply = \"{value}\" }", ".reply", "{value}", "{id}, {timestamp}"),
        ("{ text = \"{id}\", reply = \"pong\" }", ".text", "{id}", "without placeholders"),
        ("{ field = \"\", reply = \"pong\" }", ".field", "a text of 0 bytes", "1 to 512 bytes"),
        ("{ field = 1, reply = \"pong\" }", ".field", "1 (a value of type integer)", "a text in quotes"),
        ("{ feild = \"p\", field = \"p\", reply = \"q\" }", ".feild", "unknown key", "did you mean `field`?"),
    ] {
        let text = connection(&format!("heartbeat.server_ping = {ping}"));
        refused(&text, 6, &format!("connection[a].heartbeat.server_ping{key}"), found, allowed);
    }
}

#[test]
fn credentials_come_from_the_environment_alone_and_are_refused_where_nobody_asks_for_them() {
    let good = "key = { env = \"DESK_KEY\" }\nsecret = { env = \"DESK_SECRET\" }\n";
    let allowed = "no [auth]: binance-spot streams its market data to everybody";
    refused(&connection(&format!("[connection.auth]\n{good}")), 6, "connection[a].auth", "credentials", allowed);
    refused(&format!("[defaults.auth]\n{good}{}", connection("")), 1, "defaults.auth", "credentials", allowed);
    let request = |auth: &str| {
        let head = "[[request]]\nname = \"r\"\nurl = \"wss://ws-api.binance.com/ws-api/v3\"\ncodec = \"binance\"\n";
        format!("{head}[request.auth]\n{auth}{}", connection(""))
    };
    let config = load_text(&request(good)).unwrap();
    let auth = config.requests[0].auth.as_ref().unwrap();
    assert_eq!((auth.key.value.reveal(), auth.secret.value.reveal()), ("hunter3", "hunter4"));
    assert_eq!((auth.key.variable.as_str(), auth.passphrase.is_none()), ("DESK_KEY", true));
    assert!(!format!("{config:?}").contains("hunter"));
    let key = |key: &str| format!("request[r].auth.{key}");
    let plain = good.replace("{ env = \"DESK_KEY\" }", "\"hunter5\"");
    refused(&request(&plain), 6, &key("key"), "a credential written in the file", "{ env = \"VARIABLE\" }");
    assert!(!format!("{:?}", load_text(&request(&plain)).unwrap_err()).contains("hunter5"));
    refused(
        &request(&good.replace("DESK_SECRET", "NOT_SET")),
        7,
        &key("secret"),
        "NOT_SET, which is not set",
        "is set",
    );
    refused(&request(&good.replace("DESK_SECRET", "EMPTY")), 7, &key("secret"), "EMPTY, which is empty", "holds");
    refused(&request(&good.replace("{ env = \"DESK_KEY\" }", "5")), 6, &key("key"), "type integer", "{ env =");
    refused(&request("key = { env = \"DESK_KEY\" }\n"), 5, "request[r].auth", "without `secret`", "key and secret");
    let three = format!("{good}passphrase = {{ env = \"DESK_TOKEN\" }}\n");
    refused(&request(&three), 8, &key("passphrase"), "a passphrase", "binance asks for no passphrase");
    let rpc = request(good).replace("\"binance\"\n", "\"json-rpc\"\n");
    refused(&rpc, 5, "request[r].auth", "credentials", "JSON-RPC 2.0 has no authentication of its own");
}

#[test]
fn every_key_of_a_request_reaches_its_field() {
    let config = load_text(&format!(
        r#"{}
[[request]]
name = "r"
url = "ws://127.0.0.1:9/v5/trade?x=1"
codec = "bybit"
timeout_ms = 11
pending_max = 12
headers = {{ User-Agent = "desk" }}
socket.nodelay = false
reconnect.base_ms = 13
tls = {{}}
limits.max_message_bytes = 70_000
[request.heartbeat]
interval_ms = 2_000
timeout_ms = 14
[request.timeouts]
dns_ms = 15
connect_ms = 16
tls_ms = 17
upgrade_ms = 18
"#,
        connection("")
    ))
    .unwrap();
    let mut expected =
        RequestConfig::new("r", url::Url::parse("ws://127.0.0.1:9/v5/trade?x=1").unwrap(), RequestCodec::Bybit);
    (expected.timeout, expected.pending_max) = (ms(11), 12);
    expected.headers = vec![Header { name: "User-Agent".into(), value: Secret::new("desk"), variable: String::new() }];
    (expected.socket.nodelay, expected.reconnect.base, expected.limits.max_message_bytes) = (false, ms(13), 70_000);
    (expected.heartbeat.interval, expected.heartbeat.timeout) = (ms(2_000), ms(14));
    let rest = expected.timeouts.rest;
    expected.timeouts = TimeoutsConfig { dns: ms(15), connect: ms(16), tls: ms(17), upgrade: ms(18), rest };
    assert_eq!(config.requests, [expected]);
    assert_eq!(config.files.configs.len(), 1);
}

#[test]
fn every_error_of_a_request_is_refused_with_its_place() {
    let with = |from: &str, to: &str| {
        let head = "[[request]]\nname = \"r\"\nurl = \"wss://h/p\"\ncodec = \"json-rpc\"\n";
        format!("{}{}", head.replace(from, to), connection(""))
    };
    let more = |line: &str| with("codec", &format!("{line}\ncodec"));
    load_text(&with("", "")).unwrap();
    refused(&with("name = \"r\"\n", ""), 1, "request[0]", "without `name`", "1 to 64 letters");
    refused(&with("url = \"wss://h/p\"\n", ""), 1, "request[r]", "without `url`", "wss://HOST");
    refused(&with("codec = \"json-rpc\"\n", ""), 1, "request[r]", "without `codec`", "\"binance\"");
    refused(&with("\"r\"", "\"a\""), 2, "request[a].name", "\"a\", a second time", "each name once");
    refused(&with("wss", "https"), 3, "request[r].url", "https://h/p", "ws or wss://HOST");
    refused(&with("json-rpc", "fix"), 4, "request[r].codec", "\"fix\"", "\"json-rpc\", \"binance\", \"bybit\"");
    refused(&more("timeout_ms = 9"), 4, "request[r].timeout_ms", "9", "10 to 300000");
    refused(&more("pending_max = 0"), 4, "request[r].pending_max", "0", "1 to 65536 requests");
    refused(&more("timeouts.rest_ms = 9"), 4, "request[r].timeouts.rest_ms", "unknown key", "dns_ms");
    let allowed = "json-rpc has no ping of its own";
    refused(&more("heartbeat.interval_ms = 5000"), 4, "request[r].heartbeat.interval_ms", "5000", allowed);
    refused(&more("socket.keepalive_count = 0"), 4, "request[r].socket.keepalive_count", "0", "1 to 100");
    refused(&more("limits.max_message_bytes = 1"), 4, "request[r].limits.max_message_bytes", "1", "65536 to");
    refused(&more("headers.X-Token = \"t\""), 4, "request[r].headers.X-Token", "a credential written", "{ env");
    refused(&more("symbols = []"), 4, "request[r].symbols", "unknown key", "the keys here are");
    let unread = load_text(&with("wss://h", "wss://desk:hunter2@h:99999")).unwrap_err().to_string();
    assert!(unread.contains("a user name or a password") && !unread.contains("hunter2"), "{unread}");
    let errors = load_text(&with("wss://h", "wss://desk:hunter2@h")).unwrap_err().to_string();
    assert!(errors.contains("a user name or a password") && !errors.contains("hunter2"), "{errors}");
    let errors = load_text("[[request]]\nname = \"r\"\nurl = \"wss://h/p\"\ncodec = \"bybit\"\n").unwrap_err();
    assert!(errors.to_string().contains("no connection"), "{errors}");
}

#[test]
fn a_request_built_in_code_is_held_to_the_same_rules() {
    let connection = ConnectionConfig::new("a", Venue::BinanceSpot).subscribed_to(&["BTCUSDT"], &["trade"]).unwrap();
    let config = Config::from_connections(vec![connection]).unwrap();
    let url = || url::Url::parse("wss://h/p").unwrap();
    let good = RequestConfig::new("r", url(), RequestCodec::Binance);
    let with_one = config.clone().with_requests(vec![good.clone()]).unwrap();
    assert_eq!(with_one.requests, std::slice::from_ref(&good));
    let errors = config.clone().with_requests(vec![good.clone(), good]).unwrap_err().to_string();
    assert!(errors.contains("\"r\", a second time"), "{errors}");
    let errors = config.with_requests(vec![RequestConfig::new("a", url(), RequestCodec::JsonRpc)]).unwrap_err();
    assert!(errors.to_string().contains("\"a\", a second time"), "{errors}");
}

#[test]
fn a_codec_that_nobody_pings_for_pings_by_frame() {
    let url = url::Url::parse("wss://h/p").unwrap();
    for codec in RequestCodec::ALL {
        let heartbeat = RequestConfig::new("r", url.clone(), codec).heartbeat;
        assert_eq!(heartbeat.protocol_ping.is_some(), codec == RequestCodec::JsonRpc, "{}", codec.name());
    }
    let client = Heartbeat::ClientText { interval: ms(20_000), timeout: ms(10_000) };
    assert_eq!(RequestConfig::new("r", url, RequestCodec::Bybit).heartbeat, HeartbeatConfig::of_venue(client));
}

#[test]
fn one_venue_has_one_share_of_its_weight() {
    let second = connection("").replace("\"a\"", "\"b\"").replace("BTC", "ETH");
    let text = format!("{}rest.weight_share_percent = 20\n{second}", connection(""));
    let key = "connection[b].rest.weight_share_percent";
    refused(&text, 7, key, "50", "20, as connection \"a\" has it (");
    load_text(&format!("{text}rest.weight_share_percent = 20\n")).expect("the same twice");
    let text = format!("{}rest.relist_s = 0\n{second}", connection(""));
    refused(&text, 7, "connection[b].rest.relist_s", "3600", "0, as connection \"a\" has it (");
    let never = load_text(&format!("{text}rest.relist_s = 0\n")).expect("the same twice");
    assert_eq!(never.connections[1].rest.relist, None);
}

#[test]
fn every_key_of_the_process_reaches_its_field_and_is_held_to_its_range() {
    let folder = Folder::new();
    let engine = "control_socket = \"c.sock\"\nhalted_lease_ms = 200\n[watchdog]\noverrun_ms = 70\n[governor]\n\
        connect_share_percent = 1\nconnects_per_second = 2\nrequests_per_second = 3\n";
    let paths = [folder.file("x.toml", &connection("")), folder.file("desk.toml", engine)];
    let config = load_on(&paths, None, &host()).unwrap();
    let governor = GovernorConfig { connect_share_percent: 1, connects_per_second: 2, requests_per_second: 3 };
    assert_eq!(config.engine.governor, governor);
    assert_eq!((config.engine.watchdog.overrun, config.engine.halted_lease), (ms(70), ms(200)));
    assert_eq!(config.engine.control_socket.as_deref(), Some(&*paths[1].with_file_name("c.sock")));
    assert_eq!(config.files, ConfigFiles { configs: paths.to_vec(), engine: None });
    engine_refused("[watchdog]\noverrun_ms = 59\n", 2, "watchdog.overrun_ms", "59", "60 to 60000 milliseconds");
    engine_refused(
        "[watchdog]\noverun_ms = 100\n",
        2,
        "watchdog.overun_ms",
        "unknown key",
        "did you mean `overrun_ms`?",
    );
    engine_refused("halted_lease_ms = 99\n", 1, "halted_lease_ms", "99", "100 to 60000 milliseconds");
    for (key, most) in [("connect_share_percent", 100), ("connects_per_second", 1_000), ("requests_per_second", 10_000)]
    {
        for value in [0, most + 1] {
            let text = format!("[governor]\n{key} = {value}\n");
            engine_refused(&text, 2, &format!("governor.{key}"), &value.to_string(), &format!("1 to {most}"));
        }
    }
    engine_refused("control_socket = \"gone/c.sock\"\n", 1, "control_socket", "gone: no such folder", "that exists");
    let long = format!("control_socket = \"{}\"\n", "a".repeat(120));
    engine_refused(&long, 1, "control_socket", "a path of", "1 to 107 bytes");
}
