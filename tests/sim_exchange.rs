//! The embedded exchange, seen by an ordinary WebSocket client over real loopback sockets.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tickwire::market::Venue;
use tickwire::sim::{self, Faults, Kill, Pace, SimHandle, SimOptions, Source, TlsMode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
type Client = WebSocketStream<Box<dyn Io>>;

/// No answer within this is a failure; nothing is ever waited for this long when things go well.
const PATIENCE: Duration = Duration::from_secs(20);

async fn connect(url: &str, ca: Option<&Path>) -> Result<Client, Error> {
    let address = url.split_once("://").unwrap().1.split('/').next().unwrap();
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let io: Box<dyn Io> = match ca {
        None => Box::new(tcp),
        Some(ca) => {
            use rustls::pki_types::pem::PemObject;
            let mut roots = rustls::RootCertStore::empty();
            roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            Box::new(connector.connect("127.0.0.1".try_into().unwrap(), tcp).await?)
        }
    };
    tokio_tungstenite::client_async(url, io).await.map(|(client, _)| client)
}

async fn open(handle: &SimHandle, venue: Venue, path: &str) -> Client {
    let url = format!("{}{path}", handle.endpoints().venue(venue).unwrap().ws);
    connect(&url, None).await.unwrap()
}

/// The next text message.
async fn text(client: &mut Client) -> String {
    loop {
        match tokio::time::timeout(PATIENCE, client.next()).await.expect("a message in time") {
            Some(Ok(Message::Text(text))) => return text.as_str().to_owned(),
            Some(Ok(Message::Close(frame))) => panic!("closed: {frame:?}"),
            Some(Ok(_)) => {}
            other => panic!("no message: {other:?}"),
        }
    }
}

async fn json(client: &mut Client) -> Value {
    serde_json::from_str(&text(client).await).unwrap()
}

/// Sends a request and returns the first message that is no market data.
async fn ask(client: &mut Client, request: &str) -> Value {
    client.send(Message::text(request)).await.unwrap();
    loop {
        let answer = json(client).await;
        if ["result", "code", "success"].iter().any(|key| answer.get(key).is_some()) {
            return answer;
        }
    }
}

fn synthetic(venue: Venue, rate: f64, seed: u64) -> SimOptions {
    SimOptions { venues: vec![venue], source: Source::Synthetic { seed, rate, symbols: 5 }, ..SimOptions::default() }
}

/// A plain HTTP GET; the status and the body.
async fn get(base: &str, path: &str) -> (u16, Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = base.strip_prefix("http://").unwrap();
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_path_the_venue_does_not_know_is_answered_404_and_counted() {
    let handle = sim::start(SimOptions::default()).await.unwrap();
    for (venue, path) in [
        (Venue::BinanceSpot, "/v5/public/spot"),
        (Venue::BinanceUsdm, "/private/ws"),
        (Venue::BybitSpot, "/v5/public/linear"),
        (Venue::BybitLinear, "/ws"),
    ] {
        let url = format!("{}{path}", handle.endpoints().venue(venue).unwrap().ws);
        match connect(&url, None).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 404, "{venue}{path}"),
            other => panic!("{venue}{path}: {:?}", other.map(|_| "upgraded")),
        }
    }
    let stats = handle.stop().await;
    assert!(stats.venues.values().all(|venue| venue.upgrades_refused == 1 && venue.connections_open == 0), "{stats:?}");
}

#[tokio::test]
async fn every_venue_upgrades_subscribes_and_sends_over_ws_and_wss() {
    let options = SimOptions { tls: TlsMode::On, ..SimOptions::default() };
    let handle = sim::start(options).await.unwrap();
    let ca = PathBuf::from(handle.endpoints().ca_file.clone().unwrap());
    let binance = r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}"#;
    let bybit = r#"{"op":"subscribe","req_id":"1","args":["publicTrade.BTCUSDT"]}"#;
    for (venue, path, request) in [
        (Venue::BinanceSpot, "/stream", binance),
        (Venue::BinanceUsdm, "/public/stream", binance),
        (Venue::BybitSpot, "/v5/public/spot", bybit),
        (Venue::BybitLinear, "/v5/public/linear", bybit),
    ] {
        let endpoints = handle.endpoints().venue(venue).unwrap();
        for (url, ca) in [(&endpoints.ws, None), (endpoints.wss.as_ref().unwrap(), Some(ca.as_path()))] {
            let mut client = connect(&format!("{url}{path}"), ca).await.unwrap();
            let answer = ask(&mut client, request).await;
            assert!(answer["success"] == true || answer["result"].is_null() && answer["id"] == 1, "{answer}");
            let data = json(&mut client).await;
            assert!(data["stream"] == "btcusdt@trade" || data["topic"] == "publicTrade.BTCUSDT", "{data}");
        }
        let views = handle.subscriptions(venue);
        assert!(views.iter().all(|view| view.len() == 1), "{views:?}");
    }
    let stats = handle.stop().await;
    assert!(stats.venues.values().all(|venue| venue.events_sent["trade"] > 0), "{stats:?}");
    assert!(!ca.exists(), "a temporary CA file is removed");
}

#[tokio::test]
async fn the_wrong_class_and_unknown_streams_are_acknowledged_and_silent() {
    let handle = sim::start(synthetic(Venue::BinanceUsdm, 2_000.0, 1)).await.unwrap();
    let mut client = open(&handle, Venue::BinanceUsdm, "/market/ws").await;
    let request =
        r#"{"method":"SUBSCRIBE","params":["btcusdt@bookTicker","nobody@aggTrade","btcusdt@aggTrade"],"id":1}"#;
    assert!(ask(&mut client, request).await["result"].is_null());
    for _ in 0..200 {
        assert_eq!(json(&mut client).await["e"], "aggTrade");
    }
    assert_eq!(handle.subscriptions(Venue::BinanceUsdm)[0].len(), 3);
}

#[tokio::test]
async fn more_messages_a_second_than_the_venue_takes_close_with_1008() {
    for (venue, path, allowed) in [(Venue::BinanceSpot, "/ws", 5), (Venue::BinanceUsdm, "/public/ws", 10)] {
        let handle = sim::start(synthetic(venue, 1.0, 1)).await.unwrap();
        let mut client = open(&handle, venue, path).await;
        for _ in 0..=allowed {
            client.feed(Message::Ping("x".into())).await.unwrap();
        }
        client.flush().await.unwrap();
        let code = loop {
            match client.next().await {
                Some(Ok(Message::Close(frame))) => break u16::from(frame.unwrap().code),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, 1008, "{venue}");
        assert_eq!(handle.stop().await.venue(venue).unwrap().rate_limit_closes, 1);
    }
}

#[tokio::test]
async fn bybit_refuses_a_request_whole_and_answers_the_json_ping() {
    let handle = sim::start(synthetic(Venue::BybitLinear, 1.0, 1)).await.unwrap();
    let mut client = open(&handle, Venue::BybitLinear, "/v5/public/linear").await;
    let answer = ask(&mut client, r#"{"op":"subscribe","args":["tickers.BTCUSDT","tickers.NOBODYUSDT"]}"#).await;
    assert_eq!(answer["ret_msg"], "error:handler not found,topic:tickers.NOBODYUSDT");
    assert!(handle.subscriptions(Venue::BybitLinear)[0].is_empty());
    assert_eq!(ask(&mut client, r#"{"op":"ping","req_id":"7"}"#).await["req_id"], "7");
    let stats = handle.stop().await;
    let stats = stats.venue(Venue::BybitLinear).unwrap();
    assert_eq!((stats.requests_received, stats.request_errors), (2, 1));
}

#[tokio::test]
async fn a_server_ping_is_answered_and_a_client_that_never_answers_is_dropped() {
    let mut options = synthetic(Venue::BinanceSpot, 1.0, 1);
    options.ping_interval = Some(Duration::from_millis(20));
    let handle = sim::start(options).await.unwrap();
    let mut client = open(&handle, Venue::BinanceSpot, "/ws").await;
    let ping = tokio::time::timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap();
    assert!(ping.is_ping());
    client.flush().await.unwrap();
    // Unread pings are unanswered pings.
    let mut stats = handle.stats();
    while stats.venue(Venue::BinanceSpot).unwrap().silent_clients_dropped == 0 {
        tokio::task::yield_now().await;
        stats = handle.stats();
    }
    assert!(stats.venue(Venue::BinanceSpot).unwrap().pongs_received >= 1);
}

/// A book kept as the venue's documentation says.
#[derive(Default)]
struct LocalBook {
    bids: BTreeMap<i64, String>,
    asks: BTreeMap<i64, String>,
}

fn cents(price: &str) -> i64 {
    tickwire::market::parse_fixed(price.as_bytes(), 8).unwrap()
}

impl LocalBook {
    fn apply(&mut self, bids: &Value, asks: &Value) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in levels.as_array().unwrap() {
                let (price, qty) = (cents(level[0].as_str().unwrap()), level[1].as_str().unwrap());
                if number(&level[1]) == 0.0 {
                    side.remove(&price)
                } else {
                    side.insert(price, qty.to_owned())
                };
            }
        }
    }

    fn assert_top(&self, bid: [&Value; 2], ask: [&Value; 2]) {
        let (best_bid, best_ask) = (self.bids.last_key_value().unwrap(), self.asks.first_key_value().unwrap());
        assert!(best_bid.0 < best_ask.0, "crossed");
        for (best, quote) in [(best_bid, bid), (best_ask, ask)] {
            assert_eq!((*best.0, best.1.as_str()), (cents(quote[0].as_str().unwrap()), quote[1].as_str().unwrap()));
        }
    }
}

#[tokio::test]
async fn the_binance_book_rebuilt_from_deltas_and_snapshot_agrees_with_every_quote() {
    for (venue, path, rest) in [
        (Venue::BinanceSpot, "/ws", "/api/v3/depth?symbol=BTCUSDT&limit=5000"),
        (Venue::BinanceUsdm, "/public/ws", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"),
    ] {
        let handle = sim::start(synthetic(venue, 5_000.0, 3)).await.unwrap();
        let mut client = open(&handle, venue, path).await;
        let request = r#"{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms","btcusdt@bookTicker"],"id":1}"#;
        ask(&mut client, request).await;
        let mut events = vec![json(&mut client).await];
        let (status, snapshot) = get(&handle.endpoints().venue(venue).unwrap().rest, rest).await;
        assert_eq!(status, 200);
        let snapshot_id = snapshot["lastUpdateId"].as_u64().unwrap();
        let mut book = LocalBook::default();
        book.apply(&snapshot["bids"], &snapshot["asks"]);
        let (mut last, mut agreed, mut applied) = (None, 0, 0);
        let mut quotes: BTreeMap<u64, Value> = BTreeMap::new();
        while applied < 2_000 {
            let event = if events.is_empty() { json(&mut client).await } else { events.remove(0) };
            let update_id = event["u"].as_u64().unwrap();
            if event["e"] != "depthUpdate" {
                quotes.insert(update_id, event);
                continue;
            }
            let first = event["U"].as_u64().unwrap();
            match last {
                None if update_id <= snapshot_id => continue,
                None => assert!(first <= snapshot_id + 1 || event["pu"] == snapshot_id, "{first} after {snapshot_id}"),
                Some(last) if venue == Venue::BinanceSpot => assert_eq!(first, last + 1),
                Some(last) => assert!(event["pu"] == last && first > last, "{event} after {last}"),
            }
            book.apply(&event["b"], &event["a"]);
            (last, applied) = (Some(update_id), applied + 1);
            if let Some(quote) = quotes.remove(&update_id) {
                book.assert_top([&quote["b"], &quote["B"]], [&quote["a"], &quote["A"]]);
                agreed += 1;
            }
        }
        assert!(agreed > 500, "{venue}: {agreed} quotes compared");
    }
}

#[tokio::test]
async fn the_bybit_book_chains_by_one_and_keeps_its_depth_for_every_listener() {
    for (venue, path) in [(Venue::BybitSpot, "/v5/public/spot"), (Venue::BybitLinear, "/v5/public/linear")] {
        let handle = sim::start(synthetic(venue, 5_000.0, 3)).await.unwrap();
        let mut seen: Vec<BTreeMap<u64, Value>> = Vec::new();
        let mut clients = [open(&handle, venue, path).await, open(&handle, venue, path).await];
        for client in &mut clients {
            ask(client, r#"{"op":"subscribe","args":["orderbook.50.BTCUSDT"]}"#).await;
        }
        for client in &mut clients {
            let (mut book, mut last, mut deltas) = (LocalBook::default(), None, BTreeMap::new());
            for _ in 0..1_000 {
                let event = json(client).await;
                let (data, id) = (&event["data"], event["data"]["u"].as_u64().unwrap());
                match last {
                    None => assert_eq!(event["type"], "snapshot"),
                    Some(last) => assert_eq!((&event["type"], id), (&"delta".into(), last + 1)),
                }
                book.apply(&data["b"], &data["a"]);
                assert_eq!((book.bids.len(), book.asks.len()), (50, 50));
                if event["type"] == "delta" {
                    deltas.insert(id, data.clone());
                }
                last = Some(id);
            }
            seen.push(deltas);
        }
        let shared = seen[0].iter().filter(|(id, delta)| seen[1].get(id).is_some_and(|other| other == *delta)).count();
        let common = seen[0].keys().filter(|id| seen[1].contains_key(id)).count();
        assert!(common > 100 && shared == common, "{shared} of {common} updates are the same for both");
    }
}

#[tokio::test]
async fn a_linear_ticker_begins_with_a_snapshot_and_then_tells_only_what_changed() {
    let handle = sim::start(synthetic(Venue::BybitLinear, 2_000.0, 3)).await.unwrap();
    let mut client = open(&handle, Venue::BybitLinear, "/v5/public/linear").await;
    ask(&mut client, r#"{"op":"subscribe","args":["tickers.ETHUSDT"]}"#).await;
    let snapshot = json(&mut client).await;
    assert_eq!(snapshot["type"], "snapshot");
    let mut state = snapshot["data"].as_object().unwrap().clone();
    assert!(state.len() > 20);
    for _ in 0..500 {
        let delta = json(&mut client).await;
        let changed = delta["data"].as_object().unwrap();
        assert!(delta["type"] == "delta" && changed.len() > 1, "{delta}");
        for (key, value) in changed.iter().filter(|(key, _)| *key != "symbol") {
            assert_ne!(state.insert(key.clone(), value.clone()).as_ref(), Some(value), "{key} did not change");
        }
        assert!(number(&state["bid1Price"]) < number(&state["ask1Price"]));
    }
}

/// What a market said, without the times.
async fn said(seed: u64) -> Vec<String> {
    let handle = sim::start(synthetic(Venue::BinanceSpot, 20_000.0, seed)).await.unwrap();
    let mut client = open(&handle, Venue::BinanceSpot, "/stream").await;
    let request = r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","ethusdt@bookTicker","btcusdt@depth"],"id":1}"#;
    ask(&mut client, request).await;
    let mut said = Vec::new();
    for _ in 0..2_000 {
        let mut message = json(&mut client).await;
        let data = message["data"].as_object_mut().unwrap();
        data.remove("E");
        data.remove("T");
        said.push(message.to_string());
    }
    said
}

#[tokio::test]
async fn a_seed_names_one_market() {
    let first = said(11).await;
    assert_eq!(first, said(11).await);
    assert_ne!(first, said(12).await);
}

#[tokio::test]
async fn connections_are_lost_in_every_way_and_the_next_one_is_served() {
    let handle = sim::start(synthetic(Venue::BinanceSpot, 1_000.0, 1)).await.unwrap();
    let (venue, request) = (Venue::BinanceSpot, r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}"#);
    for how in [Kill::MidFrame, Kill::Reset, Kill::Close(1012)] {
        let mut client = open(&handle, venue, "/ws").await;
        ask(&mut client, request).await;
        handle.kill_connections(venue, how);
        let end = loop {
            match tokio::time::timeout(PATIENCE, client.next()).await.unwrap() {
                Some(Ok(Message::Close(frame))) => break Some(u16::from(frame.unwrap().code)),
                Some(Ok(_)) => {}
                _ => break None,
            }
        };
        assert_eq!(end, if let Kill::Close(code) = how { Some(code) } else { None }, "{how:?}");
    }
    handle.kill_connections(venue, Kill::MidHandshake);
    let url = format!("{}/ws", handle.endpoints().venue(venue).unwrap().ws);
    assert!(connect(&url, None).await.is_err(), "the upgrade is cut");
    handle.kill_connections(venue, Kill::MidBatch);
    let mut client = open(&handle, venue, "/ws").await;
    client.send(Message::text(request)).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, client.next()).await.unwrap();
    assert!(!matches!(answer, Some(Ok(Message::Text(_)))), "reset before the acknowledgement: {answer:?}");
    let mut client = open(&handle, venue, "/ws").await;
    assert!(ask(&mut client, request).await["result"].is_null());
    assert_eq!(handle.stop().await.venue(venue).unwrap().connections_killed, 5);
}

#[tokio::test]
async fn a_connection_is_cut_behind_exactly_the_payload_that_was_ordered() {
    let mut options = synthetic(Venue::BinanceSpot, 1_000.0, 1);
    options.faults = Faults { cut_mid_frame: vec![(Venue::BinanceSpot, 1, 5_000)], ..Faults::default() };
    let handle = sim::start(options).await.unwrap();
    let mut client = open(&handle, Venue::BinanceSpot, "/ws/btcusdt@trade").await;
    let mut received = 0;
    while let Some(Ok(message)) = tokio::time::timeout(PATIENCE, client.next()).await.unwrap() {
        received += message.len();
    }
    assert!((4_000..=5_000).contains(&received), "{received} bytes of whole messages");
}

#[tokio::test]
async fn instruments_are_listed_in_each_venues_shape_and_paged_on_linear() {
    let options =
        SimOptions { source: Source::Synthetic { seed: 1, rate: 1.0, symbols: 1_203 }, ..SimOptions::default() };
    let handle = sim::start(options).await.unwrap();
    let rest = |venue| handle.endpoints().venue(venue).unwrap().rest.clone();
    let (_, spot) = get(&rest(Venue::BinanceSpot), "/api/v3/exchangeInfo").await;
    assert_eq!(spot["symbols"].as_array().unwrap().len(), 1_203);
    assert_eq!(spot["symbols"][0]["filters"][0]["tickSize"], "0.01000000");
    let (status, refused) = get(&rest(Venue::BinanceSpot), "/api/v3/exchangeInfo?symbol=NOBODY").await;
    assert_eq!((status, &refused["code"]), (400, &(-1121).into()));
    let (_, usdm) = get(&rest(Venue::BinanceUsdm), "/fapi/v1/exchangeInfo").await;
    assert_eq!(
        (&usdm["symbols"][0]["contractType"], &usdm["symbols"][0]["pair"]),
        (&"PERPETUAL".into(), &"BTCUSDT".into())
    );
    let (_, all) = get(&rest(Venue::BybitSpot), "/v5/market/instruments-info?category=spot").await;
    assert_eq!(all["result"]["list"].as_array().unwrap().len(), 1_203);
    let (mut names, mut cursor, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let path = format!("/v5/market/instruments-info?category=linear&limit=500&cursor={cursor}");
        let (_, page) = get(&rest(Venue::BybitLinear), &path).await;
        for item in page["result"]["list"].as_array().unwrap() {
            assert!(names.insert(item["symbol"].as_str().unwrap().to_owned()), "listed twice: {item}");
        }
        pages += 1;
        cursor = page["result"]["nextPageCursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!((names.len(), pages), (1_203, 3));
    for bad in
        ["category=option", "category=linear&limit=0", "category=linear&symbol=NOBODY", "category=linear&cursor=x", ""]
    {
        let (_, refused) = get(&rest(Venue::BybitLinear), &format!("/v5/market/instruments-info?{bad}")).await;
        assert_eq!(refused["retCode"], 10_001, "{bad}");
    }
    let (_, book) =
        get(&rest(Venue::BybitLinear), "/v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=50").await;
    assert_eq!((book["result"]["b"].as_array().unwrap().len(), &book["result"]["s"]), (50, &"BTCUSDT".into()));
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused_with_what_is_allowed() {
    let with = |source| SimOptions { source, ..SimOptions::default() };
    for (options, text) in [
        (SimOptions { listen: [0, 0, 0, 0].into(), ..SimOptions::default() }, "loopback only: 0.0.0.0"),
        (SimOptions { venues: vec![], ..SimOptions::default() }, "no venue"),
        (with(Source::Synthetic { seed: 1, rate: 0.0, symbols: 1 }), "rate 0"),
        (with(Source::Synthetic { seed: 1, rate: 1.0, symbols: 0 }), "from 1 to 16384"),
        (with(Source::Frames { dir: "/nonexistent".into(), pace: Pace::FlatOut }), "frames: binance/:0:"),
        (with(Source::Frames { dir: "/nonexistent".into(), pace: Pace::Multiple(-1.0) }), "pace -1"),
    ] {
        let error = sim::start(options).await.err().expect(text).to_string();
        assert!(error.contains(text), "{error}");
    }
}

/// A directory of frames that is removed when dropped.
struct FramesDir(PathBuf);

impl FramesDir {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("tickwire-sim-{}-{name}", std::process::id()));
        for (file, text) in files {
            let path = dir.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(dir)
    }
}

impl Drop for FramesDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn frames_are_played_in_their_order_to_who_subscribed_and_the_rest_is_counted() {
    let trade = |id: u32| {
        format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","s":"BTCUSDT","t":{id},"p":"61837.63000000","q":"0.02000000"}}}}"#
        )
    };
    let quote = |id: u32| {
        format!(
            r#"{{"stream":"btcusdt@bookTicker","data":{{"u":{id},"s":"BTCUSDT","b":"1.5","B":"1","a":"1.6","A":"1"}}}}"#
        )
    };
    let dir = FramesDir::new(
        "order",
        &[
            ("binance/trade.jsonl", &format!("{}\n{}\n", trade(1), trade(2))),
            ("binance/book_ticker.jsonl", &format!("{}\n", quote(9))),
            ("binance/trade.single.jsonl", &format!("{}\n", trade(7))),
            (
                "binance/agg_trade.jsonl",
                "{\"stream\":\"xusdt@aggTrade\",\"data\":{\"e\":\"aggTrade\",\"s\":\"XUSDT\",\"p\":\"1\",\"q\":\"1\"}}\n",
            ),
            (
                "binance/rest_depth_snapshot_BTCUSDT.jsonl",
                "{\"lastUpdateId\":5,\"bids\":[[\"1.123\",\"1\"]],\"asks\":[]}\n",
            ),
            (
                "binance/_arrival_order.csv",
                "recv_offset_us,channel\n-5,trade\n0,book_ticker\n3,rest_depth_snapshot\n9,trade\n",
            ),
        ],
    );
    let source = Source::Frames { dir: dir.0.clone(), pace: Pace::Recorded };
    let start_quiet = Duration::from_millis(30);
    let options = SimOptions { venues: vec![Venue::BinanceSpot], source, start_quiet, ..SimOptions::default() };
    let handle = sim::start(options).await.unwrap();
    let rest = handle.endpoints().venue(Venue::BinanceSpot).unwrap().rest.clone();
    let (_, info) = get(&rest, "/api/v3/exchangeInfo?symbol=BTCUSDT").await;
    assert_eq!(info["symbols"][0]["filters"][0]["tickSize"], "0.00100000");
    assert_eq!(get(&rest, "/api/v3/depth?symbol=BTCUSDT&limit=100").await.1["lastUpdateId"], 5);
    let mut raw = open(&handle, Venue::BinanceSpot, "/ws").await;
    let mut combined = open(&handle, Venue::BinanceSpot, "/stream").await;
    let request = r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@bookTicker"],"id":1}"#;
    ask(&mut raw, request).await;
    ask(&mut combined, request).await;
    handle.wait_playback(Venue::BinanceSpot).await;
    let wrapped = [trade(1), quote(9), trade(2), trade(7)];
    for expected in wrapped {
        assert_eq!(text(&mut combined).await, expected);
        let bare: Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(json(&mut raw).await, bare["data"]);
    }
    let stats = handle.stop().await;
    let stats = stats.venue(Venue::BinanceSpot).unwrap();
    assert_eq!((stats.frames_total, stats.frames_played, stats.frames_unsent), (5, 4, 1));
    assert!(stats.playback_finished && stats.exclusions.len() == 1, "{stats:?}");
    assert!(stats.exclusions[0].reason.contains("REST body"));
}

/// Every stream of a venue's recording, read from the files by the test itself.
fn recorded_streams(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let text: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| Some(line.get("stream").or(line.get("topic"))?.as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn the_recorded_frames_are_all_played_flat_out_to_a_subscriber_of_everything() {
    let Ok(dir) = std::env::var("TICKWIRE_FRAMES") else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "TICKWIRE_FRAMES must be set in CI");
        eprintln!("skipped: TICKWIRE_FRAMES is not set");
        return;
    };
    let source = Source::Frames { dir: dir.clone().into(), pace: Pace::FlatOut };
    let options = SimOptions { tls: TlsMode::On, source, ..SimOptions::default() };
    let handle = sim::start(options).await.unwrap();
    let ca = PathBuf::from(handle.endpoints().ca_file.clone().unwrap());
    for (venue, folder, paths) in [
        (Venue::BinanceSpot, "binance", &["/stream"][..]),
        (Venue::BinanceUsdm, "binance_usdm", &["/public/stream", "/market/stream"]),
        (Venue::BybitSpot, "bybit_spot", &["/v5/public/spot"]),
        (Venue::BybitLinear, "bybit_linear", &["/v5/public/linear"]),
    ] {
        let streams = recorded_streams(&Path::new(&dir).join(folder));
        let streams: Vec<_> = streams.into_iter().filter(|stream| !stream.ends_with("USD")).collect();
        let request = match venue {
            Venue::BinanceSpot | Venue::BinanceUsdm => {
                serde_json::json!({"method": "SUBSCRIBE", "params": streams, "id": 1})
            }
            _ => serde_json::json!({"op": "subscribe", "args": streams}),
        };
        let mut readers = Vec::new();
        for path in paths {
            let url = format!("{}{path}", handle.endpoints().venue(venue).unwrap().wss.clone().unwrap());
            let mut client = connect(&url, Some(&ca)).await.unwrap();
            let answer = ask(&mut client, &request.to_string()).await;
            assert!(answer["success"] == true || answer["result"].is_null() && answer.get("id").is_some(), "{answer}");
            readers.push(tokio::spawn(async move {
                let mut count = 0;
                while let Some(Ok(message)) = client.next().await {
                    count += u64::from(message.is_text());
                }
                count
            }));
        }
        handle.wait_playback(venue).await;
        handle.kill_connections(venue, Kill::Close(1000));
        let mut received = 0;
        for reader in readers {
            received += reader.await.unwrap();
        }
        let stats = handle.stats();
        let stats = stats.venue(venue).unwrap();
        assert_eq!((stats.frames_unsent, stats.frames_played), (0, stats.frames_total), "{venue}");
        assert_eq!(received, stats.frames_total, "{venue}");
    }
}

#[tokio::test]
async fn the_rate_is_never_exceeded_and_the_end_after_the_duration_is_orderly() {
    let mut options = synthetic(Venue::BinanceSpot, 20_000.0, 1);
    options.duration = Some(Duration::from_secs(2));
    let handle = sim::start(options).await.unwrap();
    let start = std::time::Instant::now();
    let mut client = open(&handle, Venue::BinanceSpot, "/stream?streams=btcusdt@trade/btcusdt@bookTicker").await;
    let mut count = 0_u64;
    let code = loop {
        match client.next().await {
            Some(Ok(Message::Close(frame))) => break u16::from(frame.unwrap().code),
            Some(Ok(message)) => count += u64::from(message.is_text()),
            other => panic!("no orderly end: {other:?}"),
        }
    };
    // Holds on a machine of any speed: what was sent was due in the time that has passed.
    assert!(count as f64 <= 20_000.0 * start.elapsed().as_secs_f64(), "{count} messages");
    handle.wait_stopped().await;
    let stats = handle.stop().await;
    let stats = stats.venue(Venue::BinanceSpot).unwrap();
    assert_eq!((code, count), (1001, stats.messages_sent));
    assert_eq!(stats.events_sent.values().sum::<u64>(), count);
}

#[tokio::test]
async fn the_echo_server_returns_what_it_gets_over_ws_and_wss() {
    let server = sim::echo::start(true).await.unwrap();
    for (url, ca) in [(server.ws(), None), (server.wss().unwrap(), server.ca_file())] {
        let mut client = connect(url, ca).await.unwrap();
        for number in 0..1_000 {
            client.feed(Message::text(number.to_string())).await.unwrap();
        }
        client.flush().await.unwrap();
        for number in 0..1_000 {
            assert_eq!(text(&mut client).await, number.to_string());
        }
        client.send(Message::binary(vec![0; 70_000])).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap().len(), 70_000);
        client.close(None).await.unwrap();
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_))) | None));
    }
    server.stop().await;
}
