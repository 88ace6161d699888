//! The embedded exchange when it misbehaves, seen by an ordinary WebSocket client over real loopback sockets: one fact a
//! test.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickwire::market::Venue;
use tickwire::sim::{self, Faults, Kill, SimHandle, SimOptions, Source, TlsMode, VenueStats};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
type Client = WebSocketStream<Box<dyn Io>>;

/// No answer within this is a failure; nothing is ever waited for this long when things go well.
const PATIENCE: Duration = Duration::from_secs(20);
/// What has not come within this does not come: silence can only be waited for.
const SILENCE: Duration = Duration::from_millis(300);

const SPOT: Venue = Venue::BinanceSpot;
const LINEAR: Venue = Venue::BybitLinear;
const SPOT_PATH: &str = "/ws";
const LINEAR_PATH: &str = "/v5/public/linear";
const SUBSCRIBE_SPOT: &str = r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","ethusdt@trade"],"id":1}"#;
const SUBSCRIBE_LINEAR: &str =
    r#"{"op":"subscribe","req_id":"1","args":["publicTrade.BTCUSDT","publicTrade.ETHUSDT"]}"#;

fn options(venue: Venue, rate: f64, spec: &str) -> SimOptions {
    SimOptions {
        venues: vec![venue],
        source: Source::Synthetic { seed: 1, rate, symbols: 5 },
        faults: Faults::parse(spec, 1).unwrap(),
        ..SimOptions::default()
    }
}

async fn start(venue: Venue, spec: &str) -> SimHandle {
    sim::start(options(venue, 1_000.0, spec)).await.unwrap()
}

fn address(url: &str) -> &str {
    url.split_once("://").unwrap().1.split('/').next().unwrap()
}

async fn connect(handle: &SimHandle, venue: Venue, path: &str) -> Result<Client, Error> {
    let url = format!("{}{path}", handle.endpoints().venue(venue).unwrap().ws);
    let tcp = TcpStream::connect(address(&url)).await?;
    tcp.set_nodelay(true)?;
    let io: Box<dyn Io> = Box::new(tcp);
    tokio_tungstenite::client_async(url, io).await.map(|(client, _)| client)
}

async fn open(handle: &SimHandle, venue: Venue) -> Client {
    let path = if venue == SPOT { SPOT_PATH } else { LINEAR_PATH };
    connect(handle, venue, path).await.unwrap()
}

async fn next(client: &mut Client) -> Option<Result<Message, Error>> {
    tokio::time::timeout(PATIENCE, client.next()).await.expect("something in time")
}

/// The next text message.
async fn json(client: &mut Client) -> Value {
    loop {
        match next(client).await {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("no message: {other:?}"),
        }
    }
}

fn is_answer(message: &Value) -> bool {
    ["result", "code", "success", "error"].iter().any(|key| message.get(key).is_some()) || message["op"] == "pong"
}

async fn answer(client: &mut Client) -> Value {
    loop {
        let message = json(client).await;
        if is_answer(&message) {
            return message;
        }
    }
}

async fn ask(client: &mut Client, request: &str) -> Value {
    client.send(Message::text(request)).await.unwrap();
    answer(client).await
}

/// The close code, or `None` for an end without a close frame.
async fn end(client: &mut Client) -> Option<u16> {
    loop {
        match next(client).await {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| u16::from(frame.code)),
            Some(Ok(_)) => {}
            _ => return None,
        }
    }
}

/// Text messages that come within a while.
async fn heard(client: &mut Client, time: Duration) -> Vec<Value> {
    let mut heard = Vec::new();
    let deadline = tokio::time::Instant::now() + time;
    while let Ok(Some(Ok(message))) = tokio::time::timeout_at(deadline, client.next()).await {
        if let Message::Text(text) = message {
            heard.push(serde_json::from_str(&text).unwrap());
        }
    }
    heard
}

fn stats(handle: &SimHandle, venue: Venue) -> VenueStats {
    handle.stats().venue(venue).unwrap().clone()
}

fn struck(handle: &SimHandle, venue: Venue, name: &str) -> u64 {
    stats(handle, venue).faults.get(name).copied().unwrap_or(0)
}

/// Status and head of a refused upgrade.
async fn refused(handle: &SimHandle, venue: Venue) -> (u16, Option<String>) {
    let path = if venue == SPOT { SPOT_PATH } else { LINEAR_PATH };
    match connect(handle, venue, path).await {
        Err(Error::Http(response)) => {
            let wait = response.headers().get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
            (response.status().as_u16(), wait)
        }
        other => panic!("{:?}", other.map(|_| "upgraded")),
    }
}

/// A plain HTTP GET: status, head, body.
async fn get(handle: &SimHandle, venue: Venue, path: &str) -> (u16, String, Value) {
    let base = handle.endpoints().venue(venue).unwrap().rest.clone();
    let mut tcp = TcpStream::connect(address(&base)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", address(&base));
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.expect("an answer in time").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn tcp_is_refused_during_the_window_and_served_behind_it() {
    let handle = start(SPOT, "refuse-connects=400ms").await;
    let url = handle.endpoints().venue(SPOT).unwrap().ws.clone();
    let begun = Instant::now();
    let mut refusals = 0;
    loop {
        match TcpStream::connect(address(&url)).await {
            // Reset: it was in the queue of the listener that was closed.
            Err(error) => assert!(matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset
            )),
            Ok(_) if begun.elapsed() > Duration::from_millis(350) => break,
            // Accepted by the kernel before the listener was closed.
            Ok(_) => {}
        }
        refusals += 1;
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refusals > 5, "{refusals}");
    assert!(ask(&mut open(&handle, SPOT).await, SUBSCRIBE_SPOT).await["result"].is_null());
    assert_eq!(struck(&handle, SPOT, "refuse-connects"), 1);
    handle.set_faults(&Faults::parse("refuse-connects=60s", 1).unwrap());
    while TcpStream::connect(address(&url)).await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "closed at run time, too");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_hung_tls_or_upgrade_says_nothing_and_stays_open() {
    let mut options = options(SPOT, 1.0, "hang-tls#1,hang-upgrade#2-");
    options.tls = TlsMode::On;
    let handle = sim::start(options).await.unwrap();
    let endpoints = handle.endpoints().venue(SPOT).unwrap().clone();
    for (url, hello) in [
        (endpoints.wss.unwrap(), b"\x16\x03\x01\x00\x05hello".to_vec()),
        (endpoints.ws, b"GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".to_vec()),
    ] {
        let mut tcp = TcpStream::connect(address(&url)).await.unwrap();
        tcp.write_all(&hello).await.unwrap();
        let read = tokio::time::timeout(SILENCE, tcp.read(&mut [0; 64])).await;
        assert!(read.is_err(), "{url}: {read:?}");
    }
    assert_eq!((struck(&handle, SPOT, "hang-tls"), struck(&handle, SPOT, "hang-upgrade")), (1, 1));
    let begun = Instant::now();
    handle.stop().await;
    assert!(begun.elapsed() < Duration::from_millis(500), "hung connections do not hold the exchange");
}

#[tokio::test]
async fn an_upgrade_is_answered_as_late_as_ordered() {
    let handle = start(SPOT, "slow-upgrade=300ms#1").await;
    let begun = Instant::now();
    open(&handle, SPOT).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let begun = Instant::now();
    open(&handle, SPOT).await;
    assert!(begun.elapsed() < Duration::from_millis(250), "the second is not struck");
}

#[tokio::test]
async fn an_upgrade_is_refused_with_the_status_and_says_when_to_come_again() {
    for (spec, expected) in [
        ("upgrade-403", (403, None)),
        ("upgrade-404", (404, None)),
        ("upgrade-429=30s", (429, Some("30".to_owned()))),
        ("upgrade-418=90s", (418, Some("90".to_owned()))),
        ("upgrade-503", (503, Some("1".to_owned()))),
    ] {
        let handle = start(SPOT, spec).await;
        assert_eq!(refused(&handle, SPOT).await, expected, "{spec}");
        handle.set_faults(&Faults::default());
        open(&handle, SPOT).await;
        assert_eq!(struck(&handle, SPOT, "upgrade-refused"), 1);
    }
}

#[tokio::test]
async fn the_101_and_the_first_frame_come_in_one_segment() {
    for (path, opcode) in [("/ws/btcusdt@trade", 0x81), ("/ws", 0x89)] {
        let handle = start(SPOT, "upgrade-with-frame").await;
        let url = handle.endpoints().venue(SPOT).unwrap().ws.clone();
        let mut tcp = TcpStream::connect(address(&url)).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = [0; 4096];
        let length = tokio::time::timeout(PATIENCE, tcp.read(&mut bytes)).await.unwrap().unwrap();
        let bytes = &bytes[..length];
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
        assert!(bytes.starts_with(b"HTTP/1.1 101") && bytes.len() > head, "{path}: only {length} bytes");
        assert_eq!(bytes[head], opcode, "{path}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_the_subscription_live() {
    let handle = start(LINEAR, "ack-loss#1").await;
    let mut client = open(&handle, LINEAR).await;
    client.send(Message::text(SUBSCRIBE_LINEAR)).await.unwrap();
    let heard = heard(&mut client, SILENCE).await;
    assert!(!heard.is_empty() && heard.iter().all(|message| !is_answer(message)), "data without an answer");
    let again = ask(&mut client, SUBSCRIBE_LINEAR).await;
    assert_eq!(again["ret_msg"], "error:already subscribed,topic:publicTrade.BTCUSDT");
    assert_eq!(stats(&handle, LINEAR).duplicate_subscriptions, 2);
    assert_eq!(struck(&handle, LINEAR, "ack-loss"), 1);
}

#[tokio::test]
async fn a_late_answer_comes_behind_the_data_it_announces() {
    let handle = start(SPOT, "ack-delay=200ms..250ms").await;
    let mut client = open(&handle, SPOT).await;
    let begun = Instant::now();
    client.send(Message::text(SUBSCRIBE_SPOT)).await.unwrap();
    assert_eq!(json(&mut client).await["e"], "trade");
    assert_eq!(answer(&mut client).await, json!({"result": null, "id": 1}));
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_answer_comes_twice() {
    let handle = start(SPOT, "ack-twice").await;
    let mut client = open(&handle, SPOT).await;
    let first = ask(&mut client, SUBSCRIBE_SPOT).await;
    assert_eq!(answer(&mut client).await, first);
}

#[tokio::test]
async fn an_answer_comes_behind_the_next_one() {
    let handle = start(SPOT, "ack-reorder#1").await;
    let mut client = open(&handle, SPOT).await;
    for id in [1, 2] {
        let request = json!({"method": "SUBSCRIBE", "params": [format!("s{id}@trade")], "id": id});
        client.send(Message::text(request.to_string())).await.unwrap();
    }
    let order = [answer(&mut client).await["id"].clone(), answer(&mut client).await["id"].clone()];
    assert_eq!(order, [json!(2), json!(1)]);
}

#[tokio::test]
async fn a_request_that_names_a_bad_stream_is_refused_whole() {
    let handle = start(SPOT, "bad-stream=ETHUSDT").await;
    let refusal = ask(&mut open(&handle, SPOT).await, SUBSCRIBE_SPOT).await;
    assert_eq!((&refusal["code"], &refusal["id"]), (&json!(2), &json!(1)), "{refusal}");
    assert!(handle.subscriptions(SPOT)[0].is_empty());
    let handle = start(LINEAR, "refuse-subscribe#1").await;
    let mut client = open(&handle, LINEAR).await;
    assert_eq!(ask(&mut client, SUBSCRIBE_LINEAR).await["success"], false);
    assert_eq!(ask(&mut client, SUBSCRIBE_LINEAR).await["success"], true);
    assert_eq!(struck(&handle, LINEAR, "refuse-subscribe"), 1);
}

#[tokio::test]
async fn a_silent_stream_is_acknowledged_and_the_others_speak() {
    let handle = start(SPOT, "silent-stream=ethusdt@trade").await;
    let mut client = open(&handle, SPOT).await;
    assert!(ask(&mut client, SUBSCRIBE_SPOT).await["result"].is_null());
    let heard = heard(&mut client, SILENCE).await;
    assert!(!heard.is_empty() && heard.iter().all(|message| message["s"] == "BTCUSDT"));
    assert!(stats(&handle, SPOT).messages_suppressed > 0);
    assert_eq!(struck(&handle, SPOT, "silent-stream"), 1);
}

#[tokio::test]
async fn a_share_of_the_streams_is_silent_and_a_new_subscribe_draws_again() {
    let mut options = options(SPOT, 20_000.0, "silent-after-ack=50%");
    options.source = Source::Synthetic { seed: 1, rate: 20_000.0, symbols: 100 };
    let handle = sim::start(options).await.unwrap();
    let names: Vec<String> = handle.symbols(SPOT).iter().map(|name| format!("{}@trade", name.to_lowercase())).collect();
    let mut client = open(&handle, SPOT).await;
    let mut speaking = Vec::new();
    for id in 0..2 {
        for method in ["UNSUBSCRIBE", "SUBSCRIBE"] {
            ask(&mut client, &json!({"method": method, "params": names, "id": id}).to_string()).await;
        }
        // What was under way belongs to the subscription before.
        heard(&mut client, Duration::from_millis(50)).await;
        let heard = heard(&mut client, SILENCE).await;
        speaking.push(heard.iter().map(|message| message["s"].to_string()).collect::<BTreeSet<_>>());
    }
    assert!((30..70).contains(&speaking[0].len()), "{}", speaking[0].len());
    assert_ne!(speaking[0], speaking[1]);
}

#[tokio::test]
async fn a_connection_falls_silent_behind_so_many_messages_and_goes_on_to_ping() {
    let mut options = options(SPOT, 1_000.0, "silent-after=100");
    // Pongs count as messages: five a second are allowed.
    options.ping_interval = Some(Duration::from_millis(400));
    let handle = sim::start(options).await.unwrap();
    let mut client = open(&handle, SPOT).await;
    ask(&mut client, SUBSCRIBE_SPOT).await;
    assert_eq!(heard(&mut client, 2 * SILENCE).await.len(), 100);
    assert!(next(&mut client).await.unwrap().unwrap().is_ping());
    client.send(Message::Ping("alive?".into())).await.unwrap();
    while !next(&mut client).await.unwrap().unwrap().is_pong() {}
    assert_eq!(struck(&handle, SPOT, "silent-after"), 1);
    handle.set_faults(&Faults::default());
    assert_eq!(json(&mut client).await["e"], "trade", "the fault is lifted");
}

#[tokio::test]
async fn each_stream_falls_silent_behind_so_many_messages() {
    let handle = start(SPOT, "stream-silent-after=10").await;
    let mut client = open(&handle, SPOT).await;
    ask(&mut client, SUBSCRIBE_SPOT).await;
    let heard = heard(&mut client, SILENCE).await;
    let of = |name: &str| heard.iter().filter(|message| message["s"] == name).count();
    assert_eq!((of("BTCUSDT"), of("ETHUSDT")), (10, 10));
}

#[tokio::test]
async fn a_half_open_connection_neither_reads_nor_writes_nor_closes_and_goes_on_when_it_is_lifted() {
    let handle = start(LINEAR, "half-open-after=200ms").await;
    let mut client = open(&handle, LINEAR).await;
    ask(&mut client, SUBSCRIBE_LINEAR).await;
    heard(&mut client, Duration::from_millis(300)).await;
    assert_eq!(struck(&handle, LINEAR, "half-open-after"), 1);
    client.send(Message::text(r#"{"op":"ping","req_id":"1"}"#)).await.unwrap();
    assert!(heard(&mut client, SILENCE).await.is_empty());
    let requests = stats(&handle, LINEAR).requests_received;
    assert_eq!((requests, stats(&handle, LINEAR).connections_open), (1, 1), "the ping was not read");
    handle.set_faults(&Faults::default());
    assert_eq!(answer(&mut client).await["ret_msg"], "pong");
}

#[tokio::test]
async fn a_deaf_connection_reads_and_never_answers() {
    let handle = start(LINEAR, "deaf-after=200ms").await;
    let mut client = open(&handle, LINEAR).await;
    ask(&mut client, SUBSCRIBE_LINEAR).await;
    heard(&mut client, Duration::from_millis(300)).await;
    client.send(Message::Ping("x".into())).await.unwrap();
    assert!(tokio::time::timeout(SILENCE, client.next()).await.is_err());
    drop(client);
    let begun = Instant::now();
    while stats(&handle, LINEAR).connections_open > 0 {
        assert!(begun.elapsed() < PATIENCE, "it reads the end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_connection_is_closed_at_its_age_with_the_code_or_reset() {
    for (spec, code) in [
        ("close-at=150ms", Some(1000)),
        ("close-1001=150ms", Some(1001)),
        ("close-1008=150ms", Some(1008)),
        ("close-1012=150ms", Some(1012)),
        ("close-1013=150ms", Some(1013)),
        ("close-4000=150ms", Some(4000)),
        ("reset-every=150ms", None),
    ] {
        let handle = start(SPOT, spec).await;
        let begun = Instant::now();
        let mut client = open(&handle, SPOT).await;
        assert_eq!(end(&mut client).await, code, "{spec}");
        assert!(begun.elapsed() >= Duration::from_millis(150), "{spec}");
        assert_eq!(stats(&handle, SPOT).connections_killed, 1, "{spec}");
    }
}

#[tokio::test]
async fn a_notice_comes_in_the_form_of_the_connection_before_the_cut() {
    let handle = start(SPOT, "shutdown-notice=100ms,close-1001=300ms").await;
    for path in ["/ws", "/stream"] {
        let begun = Instant::now();
        let mut client = connect(&handle, SPOT, path).await.unwrap();
        let notice = json(&mut client).await;
        let event = if path == "/stream" { &notice["data"] } else { &notice };
        assert_eq!(event["e"], "serverShutdown", "{notice}");
        assert!(event["E"].as_u64().unwrap() > 1_600_000_000_000);
        assert_eq!(notice.get("stream"), (path == "/stream").then(|| json!("!serverShutdown")).as_ref());
        assert!(begun.elapsed() < Duration::from_millis(290));
        assert_eq!(end(&mut client).await, Some(1001));
    }
    assert_eq!(stats(&handle, SPOT).notices_sent, 2);
}

#[tokio::test]
async fn connections_are_told_and_made_half_open_or_deaf_on_command() {
    let handle = start(SPOT, "").await;
    let mut client = open(&handle, SPOT).await;
    handle.kill_connections(SPOT, Kill::Notice);
    assert_eq!(json(&mut client).await["e"], "serverShutdown");
    ask(&mut client, SUBSCRIBE_SPOT).await;
    handle.kill_connections(SPOT, Kill::HalfOpen);
    heard(&mut client, Duration::from_millis(100)).await;
    assert!(heard(&mut client, SILENCE).await.is_empty());
    let mut other = open(&handle, SPOT).await;
    assert!(ask(&mut other, SUBSCRIBE_SPOT).await["result"].is_null(), "the next one is served");
    handle.kill_connections(SPOT, Kill::Deaf);
    heard(&mut other, Duration::from_millis(100)).await;
    assert!(heard(&mut other, SILENCE).await.is_empty());
    assert_eq!(stats(&handle, SPOT).connections_open, 2);
}

#[tokio::test]
async fn connects_over_the_limit_are_refused_and_counted() {
    for (venue, expected) in [(SPOT, (429, Some("1".to_owned()))), (LINEAR, (403, None))] {
        let handle = start(venue, "connect-limit=3/500ms").await;
        for _ in 0..3 {
            open(&handle, venue).await;
        }
        assert_eq!(refused(&handle, venue).await, expected);
        assert_eq!(stats(&handle, venue).limit_violations["connects_per_address"], 1);
        tokio::time::sleep(Duration::from_millis(510)).await;
        open(&handle, venue).await;
    }
}

#[tokio::test]
async fn the_limits_on_streams_and_args_are_counted_by_name() {
    let handle = start(SPOT, "stream-limit=2").await;
    let mut client = open(&handle, SPOT).await;
    ask(&mut client, SUBSCRIBE_SPOT).await;
    let over = ask(&mut client, r#"{"method":"SUBSCRIBE","params":["a@trade"],"id":2}"#).await;
    assert_eq!(over["code"], 2);
    let twice = ask(&mut client, SUBSCRIBE_SPOT).await;
    assert!(twice["result"].is_null(), "accepted silently: {twice}");
    let seen = stats(&handle, SPOT);
    assert_eq!((seen.limit_violations["streams_per_connection"], seen.duplicate_subscriptions), (1, 2));
    let handle = start(Venue::BybitSpot, "").await;
    let mut client = connect(&handle, Venue::BybitSpot, "/v5/public/spot").await.unwrap();
    let topics: Vec<String> = (0..11).map(|n| format!("kline.{n}.BTCUSDT")).collect();
    ask(&mut client, &json!({"op": "subscribe", "args": topics}).to_string()).await;
    assert_eq!(stats(&handle, Venue::BybitSpot).limit_violations["args_per_request"], 1);
}

#[tokio::test]
async fn rest_weight_is_told_slowed_down_and_banned() {
    let handle = start(SPOT, "rest-limit=12/60s").await;
    let depth = "/api/v3/depth?symbol=BTCUSDT&limit=100";
    for used in [5, 10] {
        let (status, head, _) = get(&handle, SPOT, depth).await;
        assert_eq!(status, 200);
        assert!(head.contains(&format!("x-mbx-used-weight-1m: {used}")), "{head}");
    }
    for _ in 0..3 {
        let (status, head, body) = get(&handle, SPOT, depth).await;
        assert_eq!((status, &body["code"]), (429, &json!(-1003)));
        assert!(head.contains("retry-after: "), "{head}");
    }
    for _ in 0..2 {
        let (status, head, _) = get(&handle, SPOT, depth).await;
        assert_eq!(status, 418);
        assert!(head.contains("retry-after: 1"), "two minutes: {head}");
    }
    let violations = stats(&handle, SPOT).limit_violations;
    assert_eq!((violations["rest_weight"], violations["rest_retry_after_ignored"]), (1, 4));
}

#[tokio::test]
async fn bybits_rest_bans_at_once() {
    let handle = start(LINEAR, "rest-limit=2/1s").await;
    let path = "/v5/market/instruments-info?category=linear&limit=1";
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(get(&handle, LINEAR, path).await.0);
    }
    assert_eq!(statuses, [200, 200, 403, 403]);
}

#[tokio::test]
async fn rest_is_refused_and_late_on_order() {
    let handle = start(SPOT, "rest-503=60s#1,rest-delay=200ms#2").await;
    let path = "/api/v3/exchangeInfo?symbol=BTCUSDT";
    let (status, head, _) = get(&handle, SPOT, path).await;
    assert!(status == 503 && head.contains("retry-after: "), "{head}");
    let begun = Instant::now();
    assert_eq!(get(&handle, SPOT, path).await.0, 200);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!((struck(&handle, SPOT, "rest-refused"), struck(&handle, SPOT, "rest-delayed")), (1, 1));
}

/// `openssl`'s word on a signature: not this crate's, not the exchange's.
fn signature(secret: &str, text: &str) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    openssl.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
    out.trim().rsplit(' ').next().unwrap().to_owned()
}

fn auth(secret: &str, in_ms: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let expires = i64::try_from(now).unwrap() + in_ms;
    let signature = signature(secret, &format!("GET/realtime{expires}"));
    json!({"op": "auth", "args": ["sim-key", expires, signature]}).to_string()
}

#[tokio::test]
async fn a_private_socket_takes_a_good_signature_and_no_other() {
    let handle = start(LINEAR, "auth-loss#4,auth-delay=200ms#5,auth-refused#6").await;
    let mut client = connect(&handle, LINEAR, "/v5/private").await.unwrap();
    let order = r#"{"op":"subscribe","args":["order"]}"#;
    assert_eq!(ask(&mut client, order).await["ret_msg"], "Request not authorized");
    for bad in [auth("other", 10_000), auth("sim-secret", -1)] {
        let refused = ask(&mut client, &bad).await;
        assert_eq!((&refused["success"], &refused["ret_msg"]), (&json!(false), &json!("Params Error")));
    }
    let accepted = ask(&mut client, &auth("sim-secret", 10_000)).await;
    assert_eq!((&accepted["success"], &accepted["op"]), (&json!(true), &json!("auth")));
    assert_eq!(ask(&mut client, order).await["success"], true);
    client.send(Message::text(auth("sim-secret", 10_000))).await.unwrap();
    assert!(heard(&mut client, SILENCE).await.is_empty(), "never answered");
    let begun = Instant::now();
    assert_eq!(ask(&mut client, &auth("sim-secret", 10_000)).await["success"], true);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(ask(&mut client, &auth("sim-secret", 10_000)).await["success"], false);
    let seen = stats(&handle, LINEAR);
    assert_eq!((seen.auth_requests, seen.auth_accepted, seen.auth_expired), (6, 3, 1));
    assert_eq!((seen.auth_wrong_signature, seen.auth_malformed), (2, 0));
}

#[tokio::test]
async fn the_json_rpc_peer_answers_errs_delays_keeps_silent_and_closes() {
    let handle = start(SPOT, "").await;
    let mut client = connect(&handle, SPOT, "/jsonrpc").await.unwrap();
    let call = |method: &str, params: Value, id: u64| {
        Message::text(json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).to_string())
    };
    client.feed(call("delay", json!({"ms": 200}), 1)).await.unwrap();
    client.feed(call("never", json!({}), 2)).await.unwrap();
    client.feed(call("error", json!({"code": 7, "message": "no"}), 3)).await.unwrap();
    // More requests a second than the stream hosts take: this is no stream.
    for id in 4..40 {
        client.feed(call("echo", json!([id]), id)).await.unwrap();
    }
    client.flush().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..38 {
        let answer = json(&mut client).await;
        if answer["id"] == 3 {
            assert_eq!(answer["error"]["code"], 7);
        }
        ids.push(answer["id"].as_u64().unwrap());
    }
    assert_eq!(ids, (3..40).chain([1]).collect::<Vec<_>>(), "the delayed one last, the silent one never");
    client.send(call("close", json!({"code": 1012}), 50)).await.unwrap();
    assert_eq!(end(&mut client).await, Some(1012));
}

/// What one connection's ledger says: trade ids and update ids, in the order they came.
#[derive(Default)]
struct Ledger {
    trades: Vec<String>,
    /// Update id and content of each quote.
    quotes: Vec<(u64, String)>,
    /// First and last update id of each delta.
    deltas: Vec<(u64, u64)>,
    messages: usize,
}

impl Ledger {
    fn note(&mut self, message: &Value) {
        self.messages += 1;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let data = message.get("data").unwrap_or(message);
        match (message["e"].as_str(), message["topic"].as_str().and_then(|topic| topic.split('.').next())) {
            (Some("trade"), _) => self.trades.push(text(&data["t"])),
            (Some("depthUpdate"), _) => self.deltas.push((data["U"].as_u64().unwrap(), data["u"].as_u64().unwrap())),
            (_, Some("publicTrade")) => {
                self.trades.extend(data.as_array().unwrap().iter().map(|trade| text(&trade["i"])))
            }
            (_, Some("orderbook")) | (None, None) if data.get("u").is_some() => {
                let levels = [&data["b"], &data["B"], &data["a"], &data["A"]].map(ToString::to_string).concat();
                self.quotes.push((data["u"].as_u64().unwrap(), levels));
            }
            _ => {}
        }
    }
}

/// Follows a connection until `is_over` and nothing comes any more.
async fn follow(mut client: Client, is_over: Arc<std::sync::atomic::AtomicBool>) -> Ledger {
    let mut ledger = Ledger::default();
    loop {
        match tokio::time::timeout(Duration::from_millis(500), client.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => ledger.note(&serde_json::from_str(&text).unwrap()),
            Ok(Some(Ok(_))) => {}
            Ok(other) => panic!("{other:?}"),
            Err(_) if is_over.load(std::sync::atomic::Ordering::Relaxed) => return ledger,
            Err(_) => {}
        }
    }
}

/// Two connections on one tape for a second, then the tape stands still until both have heard all of it.
async fn two_legs(venue: Venue, path: &str, request: &str, rate: f64) -> ([Ledger; 2], sim::Tape, VenueStats, f64) {
    let mut options = options(venue, rate, "leg-skew=0..20ms");
    options.is_tape = true;
    options.source = Source::Synthetic { seed: 1, rate, symbols: 5 };
    let handle = sim::start(options).await.unwrap();
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut legs = Vec::new();
    for _ in 0..2 {
        let mut client = connect(&handle, venue, path).await.unwrap();
        let answer = ask(&mut client, request).await;
        assert!(answer["success"] == true || answer["result"].is_null(), "{answer}");
        legs.push(tokio::spawn(follow(client, Arc::clone(&is_over))));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (begun, before) = (Instant::now(), stats(&handle, venue).messages_sent);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sent = stats(&handle, venue).messages_sent - before;
    #[expect(clippy::cast_precision_loss, reason = "a count of messages is small")]
    let rate = sent as f64 / begun.elapsed().as_secs_f64();
    handle.pause_tape(true);
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    let second = legs.pop().unwrap().await.unwrap();
    let first = legs.pop().unwrap().await.unwrap();
    let (tape, stats) = (handle.tape(venue, "BTCUSDT").unwrap(), stats(&handle, venue));
    ([first, second], tape, stats, rate)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_on_one_tape_are_told_every_trade_once_and_the_same_quotes() {
    let binance =
        r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@bookTicker","btcusdt@depth@100ms"],"id":1}"#;
    let bybit = r#"{"op":"subscribe","args":["publicTrade.BTCUSDT","orderbook.1.BTCUSDT"]}"#;
    for (venue, path, request) in
        [(SPOT, "/ws", binance), (LINEAR, LINEAR_PATH, bybit), (Venue::BybitSpot, "/v5/public/spot", bybit)]
    {
        let ([first, second], tape, stats, rate) = two_legs(venue, path, request, 20_000.0).await;
        eprintln!("{venue}: {rate:.0} messages a second on two connections, {} trades", first.trades.len());
        assert_eq!((stats.events_skipped, stats.messages_suppressed), (0, 0), "{venue}");
        for leg in [&first, &second] {
            let count = leg.trades.len() as u64;
            assert!(count > 2_000, "{venue}: {count} trades");
            let truth: Vec<String> =
                (tape.last_trade - count + 1..=tape.last_trade).map(|number| tape.trade_id(number).unwrap()).collect();
            assert!(leg.trades == truth, "{venue}: none lost, none repeated, in order");
        }
        assert!(first.trades.ends_with(&second.trades), "{venue}: the second begins later and hears the same");
        let common = first.quotes.len().min(second.quotes.len()) - 2;
        assert!(common > 1_000, "{venue}: {common} quotes");
        let last = |leg: &Ledger| leg.quotes[leg.quotes.len() - common..].to_vec();
        assert!(last(&first) == last(&second), "{venue}: the same quotes");
        if venue == SPOT {
            for leg in [&first, &second] {
                assert!(
                    leg.deltas.len() > 10 && leg.deltas.windows(2).all(|pair| pair[1].0 == pair[0].1 + 1),
                    "chained"
                );
            }
            let ends = |leg: &Ledger| leg.deltas.iter().map(|delta| delta.1).collect::<BTreeSet<_>>();
            let together = ends(&first).intersection(&ends(&second)).count();
            assert!(
                2 * together < second.deltas.len(),
                "each connection batches for itself: {together} ends in common"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bybit_book_on_a_tape_chains_for_both_connections_with_the_same_content() {
    let request = r#"{"op":"subscribe","args":["orderbook.50.BTCUSDT"]}"#;
    let ([first, second], ..) = two_legs(LINEAR, LINEAR_PATH, request, 2_000.0).await;
    for leg in [&first, &second] {
        assert!(
            leg.quotes.len() > 50 && leg.quotes.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1),
            "chained by one"
        );
    }
    let shared = second.quotes.len() - 1;
    assert_eq!(first.quotes[first.quotes.len() - shared..], second.quotes[1..]);
}

#[tokio::test]
async fn every_stream_of_a_tape_speaks_in_its_time() {
    for (venue, path, streams) in [
        (SPOT, "/ws", vec!["btcusdt@aggTrade", "btcusdt@ticker", "btcusdt@kline_1m", "btcusdt@depth5@100ms"]),
        (
            Venue::BinanceUsdm,
            "/market/stream",
            vec!["btcusdt@markPrice@1s", "btcusdt@forceOrder", "!ticker@arr", "!forceOrder@arr", "!markPrice@arr@1s"],
        ),
        (LINEAR, LINEAR_PATH, vec!["tickers.BTCUSDT", "kline.1.BTCUSDT", "allLiquidation.BTCUSDT"]),
        (Venue::BybitSpot, "/v5/public/spot", vec!["tickers.BTCUSDT", "orderbook.200.BTCUSDT"]),
    ] {
        let mut options = options(venue, 5_000.0, "");
        options.is_tape = true;
        let handle = sim::start(options).await.unwrap();
        let mut client = connect(&handle, venue, path).await.unwrap();
        let is_binance = path.contains("ws") || path.contains("stream");
        let request = if is_binance {
            json!({"method": "SUBSCRIBE", "params": streams, "id": 1})
        } else {
            json!({"op": "subscribe", "args": streams})
        };
        client.send(Message::text(request.to_string())).await.unwrap();
        let heard = heard(&mut client, Duration::from_millis(1_500)).await;
        let speaking: BTreeSet<String> = heard
            .iter()
            .filter(|message| !is_answer(message))
            .map(|message| {
                ["stream", "topic", "e", "lastUpdateId"].iter().find(|key| message.get(**key).is_some()).map_or(
                    String::new(),
                    |key| {
                        if *key == "lastUpdateId" { (*key).to_owned() } else { message[*key].to_string() }
                    },
                )
            })
            .collect();
        assert_eq!(speaking.len(), streams.len(), "{venue}: {speaking:?}");
    }
}

#[test]
fn the_command_line_teaches_the_faults_and_refuses_what_it_does_not_know() {
    let run = |arguments: &[&str]| {
        let tickwire = Path::new(env!("CARGO_BIN_EXE_tickwire"));
        let output = std::process::Command::new(tickwire).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, help, _) = run(&["sim", "--help"]);
    assert_eq!(code, Some(0));
    assert!(help.contains("silent-after-ack[=SHARE]") && help.contains("--fault-seed"), "{help}");
    let (code, _, error) = run(&["sim", "--faults", "close-at=60s,fire"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("`fire` is no fault"), "{error}");
    let served = ["sim", "--faults", "close-at=60s,ack-loss=5%", "--symbols", "4000", "--tape", "--duration", "0.05"];
    let (code, out, error) = run(&served);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.starts_with('{'));
}
