//! What differs is found, told, and nothing else; what is applied is what was asked for.

use super::*;
use crate::config::tests::{Folder, connection, host, load_text};
use crate::config::{Header, LivenessConfig, ReloadError, RequestCodec, RequestConfig, Secret, load, load_on};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use std::path::Path;

const STRATEGIES: [&str; 1] = ["null"];

fn spot(name: &str, symbols: &[&str], channels: &[&str]) -> ConnectionConfig {
    ConnectionConfig::new(name, Venue::BinanceSpot).subscribed_to(symbols, channels).unwrap()
}

fn config(connections: Vec<ConnectionConfig>) -> Config {
    Config::from_connections(connections).unwrap()
}

fn stream(channel: &str, symbol: &str) -> StreamName {
    StreamName { channel: channel.into(), symbol: symbol.into() }
}

/// One changed connection: its keys that are taken, with their effect, and those that are refused.
fn changed(change: impl FnOnce(&mut ConnectionConfig)) -> (Vec<(String, Effect)>, Vec<String>) {
    let old = config(vec![spot("a", &["BTCUSDT"], &["trade"])]);
    let mut new = old.clone();
    change(&mut new.connections[0]);
    let difference = Config::difference(&old, &new);
    assert_eq!(difference.blocked, None);
    let after = difference.apply(&old);
    if difference.refused.is_empty() {
        assert_eq!(after.connections, new.connections);
    }
    assert!(!Config::difference(&after, &new).is_live(), "applied once, nothing is left to apply");
    let taken = difference.changed.iter().map(|change| (change.key.clone(), change.effect)).collect();
    (taken, difference.refused.iter().map(|refused| refused.key.clone()).collect())
}

#[test]
fn equal_configurations_do_not_differ() {
    let one = config(vec![spot("a", &["BTCUSDT"], &["trade"]), spot("b", &["ETHUSDT"], &["trade"])]);
    let difference = Config::difference(&one, &one.clone());
    assert!(difference.is_empty() && !difference.is_live());
    assert_eq!(difference.to_string(), "nothing differs\n");
    assert_eq!(difference.apply(&one), one);
}

#[test]
fn connections_come_and_go_and_streams_are_named() {
    let old = config(vec![spot("a", &["BTCUSDT"], &["trade"]), spot("b", &["ETHUSDT"], &["trade"])]);
    let new = config(vec![spot("c", &["SOLUSDT"], &["trade"]), spot("a", &["BTCUSDT", "XRPUSDT"], &["bookTicker"])]);
    let difference = Config::difference(&old, &new);
    assert_eq!((difference.added.as_slice(), difference.removed.as_slice()), (&["c".into()][..], &["b".into()][..]));
    let expected = StreamsChange {
        connection: "a".into(),
        added: vec![stream("bookTicker", "BTCUSDT"), stream("bookTicker", "XRPUSDT")],
        removed: vec![stream("trade", "BTCUSDT")],
    };
    assert_eq!(difference.streams, [expected]);
    assert_eq!(difference.apply(&old).connections, new.connections);
    let text = difference.to_string();
    for line in [
        "open         c\n",
        "close        b\n",
        "subscribe    a: bookTicker of BTCUSDT, bookTicker of XRPUSDT (2)\n",
        "unsubscribe  a: trade of BTCUSDT (1)\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let json = serde_json::to_value(&difference).unwrap();
    assert_eq!(json["streams"][0]["added"][1]["symbol"], "XRPUSDT");
    assert!(json["blocked"].is_null() && json.get("after").is_none());
}

#[test]
fn a_symbol_that_another_connection_carries_has_moved() {
    let old = config(vec![spot("a", &["BTCUSDT", "ETHUSDT"], &["trade"]), spot("b", &["SOLUSDT"], &["trade"])]);
    let new = config(vec![spot("a", &["BTCUSDT"], &["trade"]), spot("b", &["SOLUSDT", "ETHUSDT"], &["trade"])]);
    let difference = Config::difference(&old, &new);
    let [moved] = difference.moved.as_slice() else { panic!("{difference}") };
    assert_eq!((moved.symbol.as_str(), moved.from.as_str(), moved.to.as_str()), ("ETHUSDT", "a", "b"));
    assert_eq!((moved.channels.as_slice(), moved.venue), (&["trade".to_owned()][..], "binance-spot"));
    assert_eq!(difference.streams.len(), 2);
    assert!(difference.to_string().contains("move         trade of ETHUSDT (binance-spot): a to b\n"), "{difference}");
}

#[test]
fn each_setting_is_taken_when_it_can_be_and_refused_by_name_where_it_cannot() {
    let at_once = |key: &str| (vec![(key.to_owned(), Effect::AtOnce)], Vec::<String>::new());
    assert_eq!(changed(|a| a.liveness.repair = false), at_once("liveness.repair"));
    assert_eq!(changed(|a| a.liveness.first_data = None), at_once("liveness.first_data_ms"));
    assert_eq!(changed(|a| a.rotation.after = None), at_once("rotation.after_s"));
    assert_eq!(changed(|a| a.reconnect.immediate_first = true), at_once("reconnect.immediate_first"));
    assert_eq!(changed(|a| a.exchange = "desk".into()), at_once("exchange"));
    assert_eq!(changed(|a| a.book.keep = false), at_once("book.keep"));
    assert_eq!(changed(|a| a.book.depth = Some(100)), at_once("book.depth"));
    assert_eq!(changed(|a| a.book.snapshot_depth = Some(500)), at_once("book.snapshot_depth"));
    let next = |key: &str| (vec![(key.to_owned(), Effect::NextConnect)], Vec::<String>::new());
    let minute = Duration::from_secs(60);
    assert_eq!(changed(|a| a.heartbeat.protocol_ping = Some(minute)), next("heartbeat.protocol_ping_ms"));
    assert_eq!(changed(|a| a.timeouts.dns = minute), next("timeouts.dns_ms"));
    assert_eq!(changed(|a| a.subscription.batch = 7), next("subscription.batch"));
    let rotation = |key: &str| (vec![(key.to_owned(), Effect::Rotation)], Vec::<String>::new());
    assert_eq!(changed(|a| a.url = url::Url::parse("ws://127.0.0.1:1").unwrap()), rotation("url"));
    assert_eq!(changed(|a| a.socket.nodelay = false), rotation("socket.nodelay"));
    assert_eq!(changed(|a| a.tls.records = crate::hot::RecordOpener::Rustls), rotation("tls.records"));
    let header = || Header { name: "User-Agent".into(), value: Secret::new("hunter2"), variable: String::new() };
    assert_eq!(changed(|a| a.headers.push(header())), rotation("headers"));
    let refused = |key: &str| (Vec::new(), vec![key.to_owned()]);
    assert_eq!(changed(|a| a.core = 7_777), refused("core"));
    assert_eq!(changed(|a| a.venue = Venue::BybitSpot), refused("venue"));
    assert_eq!(changed(|a| a.transport = crate::config::Transport::Cold), refused("transport"));
    assert_eq!(changed(|a| a.form = crate::venue::Form::Raw), refused("form"));
    assert_eq!(changed(|a| a.rest_url = url::Url::parse("http://h:1").unwrap()), refused("rest_url"));
    assert_eq!(changed(|a| a.rest.weight_share_percent = 1), refused("rest.weight_share_percent"));
    assert_eq!(changed(|a| a.rest.relist = None), refused("rest.relist_s"));
    assert_eq!(changed(|a| a.timeouts.rest = minute), refused("timeouts.rest_ms"));
    assert_eq!(
        changed(|a| a.subscription.separate = crate::config::Separate::Channel),
        refused("subscription.separate")
    );
    assert_eq!(
        changed(|a| a.subscription.streams_per_connection = Some(5)),
        refused("subscription.streams_per_connection")
    );
}

#[test]
fn a_refused_setting_stays_while_the_others_are_taken() {
    let old = config(vec![spot("a", &["BTCUSDT"], &["trade"])]);
    let mut new = old.clone();
    new.connections[0].core = 7_777;
    new.connections[0].symbols.push("ETHUSDT".into());
    new.connections[0].liveness = LivenessConfig { repair: false, ..LivenessConfig::default() };
    let difference = Config::difference(&old, &new);
    let after = difference.apply(&old).connections.remove(0);
    assert_eq!((after.core, after.liveness.repair), (old.connections[0].core, false));
    assert_eq!(after.symbols, ["BTCUSDT", "ETHUSDT"]);
    let refused = &difference.refused[0];
    assert_eq!(
        (refused.connection.as_deref(), refused.key.as_str(), refused.new.as_str()),
        (Some("a"), "core", "7777")
    );
    let text = difference.to_string();
    assert!(text.contains("refused      a: core stays ") && text.contains(", not 7777: its symbols live on"), "{text}");
    assert!(text.contains("set          a: liveness.repair true -> false, at once\n"), "{text}");
}

#[test]
fn a_connection_on_a_core_that_does_not_run_is_not_added() {
    let old = config(vec![spot("a", &["BTCUSDT"], &["trade"])]);
    let mut new = old.clone();
    new.connections.push(ConnectionConfig { core: 7_777, ..spot("b", &["ETHUSDT"], &["trade"]) });
    let difference = Config::difference(&old, &new);
    assert!(difference.added.is_empty() && difference.apply(&old) == old);
    assert!(difference.refused[0].why.contains("started with the process"), "{difference}");
}

#[test]
fn what_would_be_wrong_without_the_refused_is_blocked_as_a_whole() {
    // b takes BTCUSDT over from a, which keeps it: a may not become another venue's.
    let old = config(vec![spot("a", &["BTCUSDT"], &["trade"]), spot("b", &["ETHUSDT"], &["trade"])]);
    let bybit = ConnectionConfig::new("a", Venue::BybitSpot).subscribed_to(&["BTCUSDT"], &["publicTrade"]).unwrap();
    let new = config(vec![bybit, spot("b", &["BTCUSDT", "ETHUSDT"], &["trade"])]);
    let difference = Config::difference(&old, &new);
    assert!(
        difference.blocked.as_ref().is_some_and(|why| why.contains("each stream on one connection")),
        "{difference}"
    );
    assert!(!difference.is_live() && !difference.is_empty());
    assert_eq!(difference.apply(&old), old);
    assert!(difference.to_string().contains("blocked      nothing is changed"), "{difference}");
}

#[test]
fn the_scales_of_a_known_symbol_stay_and_those_of_a_new_one_are_taken() {
    let row = |symbol: &str, price_scale| InstrumentConfig {
        symbol: symbol.into(),
        price_scale,
        qty_scale: 3,
        instrument: None,
    };
    let mut old = config(vec![spot("a", &["BTCUSDT"], &["trade"])]);
    old.connections[0].instruments = vec![row("BTCUSDT", 2)];
    let mut new = old.clone();
    new.connections[0].symbols.push("ETHUSDT".into());
    new.connections[0].instruments = vec![row("BTCUSDT", 1), row("ETHUSDT", 4)];
    let difference = Config::difference(&old, &new);
    assert_eq!(difference.refused.len(), 1, "{difference}");
    assert_eq!(difference.refused[0].key, "instrument.BTCUSDT");
    let after = difference.apply(&old).connections.remove(0);
    assert_eq!(after.instruments, [row("BTCUSDT", 2), row("ETHUSDT", 4)]);
    new.connections[0].instruments = Vec::new();
    let after = Config::difference(&old, &new).apply(&old).connections.remove(0);
    assert_eq!(after.instruments, [row("BTCUSDT", 2)], "a row that is taken away stays too");
}

#[test]
fn no_value_of_a_header_is_told() {
    let mut old = config(vec![spot("a", &["BTCUSDT"], &["trade"])]);
    let header = |value: &str| Header { name: "X-Desk".into(), value: Secret::new(value), variable: "DESK".into() };
    old.connections[0].headers = vec![header("hunter1")];
    let mut new = old.clone();
    new.connections[0].headers = vec![header("hunter2")];
    let difference = Config::difference(&old, &new);
    let shown = format!("{difference}{difference:?}{}", serde_json::to_string(&difference).unwrap());
    assert!(!shown.contains("hunter") && shown.contains("X-Desk (with another value)"), "{shown}");
}

#[test]
fn the_process_and_its_requests_are_refused_key_by_key() {
    let old = config(vec![spot("a", &["BTCUSDT"], &["trade"])]);
    let mut new = old.clone();
    new.engine.cold_cores = vec![7_777];
    new.engine.control_socket = Some("x.sock".into());
    new.engine.cores[0].idle = crate::config::Idle::Spin;
    new.engine.watchdog.overrun = Duration::from_secs(1);
    new.engine.governor.connects_per_second = 1;
    new.requests = vec![RequestConfig::new("r", url::Url::parse("wss://h").unwrap(), RequestCodec::JsonRpc)];
    let difference = Config::difference(&old, &new);
    let keys: Vec<&str> = difference.refused.iter().map(|refused| refused.key.as_str()).collect();
    let expected = [
        "[[core]]",
        "cold_cores",
        "control_socket",
        "watchdog.overrun_ms",
        "governor.connects_per_second",
        "[[request]]",
    ];
    assert_eq!(keys, expected);
    assert!(!difference.is_live() && difference.apply(&old) == old);
}

#[test]
fn files_are_read_again_and_one_more_is_added() {
    let folder = Folder::new();
    let file = folder.file("x.toml", &connection(""));
    let config = load(std::slice::from_ref(&file), None, &STRATEGIES).unwrap();
    assert!(Config::difference(&config, &config.reread(&STRATEGIES).unwrap()).is_empty());
    folder.file("x.toml", &connection("liveness.repair = false\n"));
    let difference = Config::difference(&config, &config.reread(&STRATEGIES).unwrap());
    assert_eq!(difference.changed.len(), 1, "{difference}");
    let more = folder.file("y.toml", &connection("").replace("\"a\"", "\"b\"").replace("BTC", "ETH"));
    let both = config.with_file(&more).unwrap();
    assert_eq!(Config::difference(&config, &both).added, ["b"]);
    assert_eq!(Config::difference(&config, &both).apply(&config), both, "its files too");
    assert_eq!(both.reread(&STRATEGIES).unwrap().connections.len(), 2, "the added file is one of its files");
    let text = config.with_text(&connection("").replace("\"a\"", "\"c\"").replace("BTC", "SOL")).unwrap();
    assert_eq!(text.connections[1].name, "c");
    assert_eq!(text.reread(&STRATEGIES).unwrap().connections.len(), 1, "a text is in no file");
    for (text, says) in [
        (connection(""), "added:2: connection[a].name\n  found:   \"a\", a second time"),
        (String::new(), "added:1\n  found:   no connection"),
        ("[[request]]\nname = \"r\"\nurl = \"wss://h\"\ncodec = \"bybit\"".into(), "connections: requests are opened"),
    ] {
        let error = config.with_text(&text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(config.with_file(Path::new("/nowhere/z.toml")).unwrap_err().to_string().contains("No such file"));
    folder.file("x.toml", "[[connection]\n");
    assert!(matches!(config.reread(&STRATEGIES), Err(ReloadError::Config(_))));
    let in_code = Config::from_connections(vec![spot("a", &["BTCUSDT"], &["trade"])]).unwrap();
    assert!(matches!(in_code.reread(&STRATEGIES), Err(ReloadError::NoFiles)));
    let silent = load_on(&[file], None, &host());
    assert!(silent.is_err() && load_text(&connection("")).is_ok());
}

/// A configuration in which each symbol is on one connection: by its row of names.
fn any_config() -> impl Strategy<Value = Config> {
    let symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT"];
    let names = ["a", "b", "c", "d"];
    let owner = proptest::collection::vec(proptest::option::weighted(0.8, 0..names.len()), symbols.len());
    let channels = proptest::sample::subsequence(vec!["trade", "bookTicker", "ticker"], 1..=3);
    let each = (channels, 1_u32..4, any::<bool>(), 1_u64..4);
    let order = Just(names.to_vec()).prop_shuffle();
    (owner, proptest::collection::vec(each, names.len()), order).prop_filter_map("no connection", move |parts| {
        let (owners, each, order) = parts;
        let mut connections = Vec::new();
        for name in order {
            let index = names.iter().position(|known| *known == name)?;
            let owned: Vec<&str> = symbols
                .iter()
                .zip(&owners)
                .filter(|(_, owner)| **owner == Some(index))
                .map(|(symbol, _)| *symbol)
                .collect();
            if owned.is_empty() {
                continue;
            }
            let (channels, retries, repair, seconds) = &each[index];
            let mut connection = spot(name, &owned, channels);
            connection.subscription.ack_retries = *retries;
            connection.liveness.repair = *repair;
            connection.socket.keepalive_idle = Duration::from_secs(*seconds);
            connections.push(connection);
        }
        Config::from_connections(connections).ok()
    })
}

fn streams(config: &Config) -> BTreeMap<(String, StreamName), ()> {
    let of = |connection: &ConnectionConfig| {
        let name = connection.name.clone();
        streams_of(connection).into_iter().map(move |stream| ((name.clone(), stream), ()))
    };
    config.connections.iter().flat_map(of).collect()
}

proptest! {
    #[test]
    fn what_is_applied_to_the_old_gives_the_new(old in any_config(), new in any_config()) {
        let difference = Config::difference(&old, &new);
        prop_assert_eq!(&difference.blocked, &None);
        prop_assert_eq!(&difference.refused, &Vec::new());
        let after = difference.apply(&old);
        prop_assert_eq!(&after.connections, &new.connections);
        prop_assert!(Config::difference(&after, &new).is_empty());
        prop_assert_eq!(difference.is_empty(), same_set(&old, &new));
    }

    #[test]
    fn the_streams_that_are_told_lead_from_the_old_to_the_new(old in any_config(), new in any_config()) {
        let difference = Config::difference(&old, &new);
        let mut live = streams(&old);
        live.retain(|(name, _), ()| !difference.removed.contains(name));
        for name in &difference.added {
            for stream in streams_of(difference.connection(name).unwrap()) {
                live.insert((name.clone(), stream), ());
            }
        }
        for change in &difference.streams {
            for stream in &change.removed {
                prop_assert!(live.remove(&(change.connection.clone(), stream.clone())).is_some());
            }
            for stream in &change.added {
                prop_assert!(live.insert((change.connection.clone(), stream.clone()), ()).is_none());
            }
        }
        prop_assert_eq!(live, streams(&new));
        for moved in &difference.moved {
            for channel in &moved.channels {
                let stream = stream(channel, &moved.symbol);
                prop_assert!(streams(&old).contains_key(&(moved.from.clone(), stream.clone())));
                prop_assert!(streams(&new).contains_key(&(moved.to.clone(), stream)));
            }
        }
    }
}

/// The same connections, in whatever order.
fn same_set(a: &Config, b: &Config) -> bool {
    a.connections.len() == b.connections.len() && a.connections.iter().all(|one| b.connections.contains(one))
}
