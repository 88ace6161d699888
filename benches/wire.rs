//! `wire`: from the instant before the venue's write to the strategy's function, over loopback, through the whole
//! engine: socket, (TLS,) frame, decode, route, handler. `ws`, `wss` and `wss` with its records opened in place, `park` and
//! `spin`, in one run; then 16 and 64 connections on one core, a tenth of them busy, beside tokio-tungstenite and serde_json
//! on tokio's multi-thread runtime.
//!
//! ```text
//! cargo bench --bench wire                    4 rounds of each, 20,000 trades a round, one every 50 us
//! cargo bench --bench wire -- --crowds        the crowds alone
//! cargo bench --bench wire -- --test          a few messages of each, to see that it lives
//! ```
//! The rounds of the contenders are interleaved and their order rotates, so that a noisy neighbour meets them all. On a
//! machine with two CPUs the venue has the first one, with the engine's cold threads, and the hot core the last one; tokio's
//! threads may run on every CPU, and so on the venue's too. Compare the rows, not machines.

use futures_util::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tickwire::config::{Config, ConnectionConfig, CoreConfig, EngineConfig, Idle, InstrumentConfig, TlsConfig};
use tickwire::engine::{Engine, available_cpus, confine_to};
use tickwire::hot::{RecordOpener, Router, Strategy, mono_now};
use tickwire::market::{SymbolSpec, Trade, TradeId, Venue};
use tickwire::telemetry::{ConnectionReport, Percentiles, Report};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// One message every 50 microseconds: a busy symbol, never a queue.
const PACE_NS: u64 = 50_000;
/// Messages at the start of a round that warm caches and predictors and are not counted.
const WARM_UP: usize = 500;

/// A round takes about a second; one that takes this long has lost its last message.
const ROUND_TIME_MAX: Duration = Duration::from_secs(60);

/// When each trade was about to be written, and when its handler was called: ns on CLOCK_MONOTONIC, by trade id.
struct Times {
    sent: Box<[AtomicU64]>,
    handled: Box<[AtomicU64]>,
}

impl Times {
    fn new(count: usize) -> Arc<Self> {
        let zeros = || (0..count).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { sent: zeros(), handled: zeros() })
    }

    fn is_complete(&self) -> bool {
        self.handled.iter().all(|handled| handled.load(Ordering::Acquire) > 0)
    }

    /// Latencies of every handled message behind the warm-up.
    fn latencies_ns(&self) -> impl Iterator<Item = u64> {
        self.sent.iter().zip(&self.handled).skip(WARM_UP).filter_map(|(sent, handled)| {
            let handled = handled.load(Ordering::Acquire);
            (handled > 0).then(|| handled.saturating_sub(sent.load(Ordering::Relaxed)))
        })
    }
}

struct Mine {
    times: Arc<Times>,
}

fn on_trade(mine: &mut Mine, trade: &Trade) {
    let TradeId::Number(id) = trade.id else { panic!("Binance numbers its trades") };
    let at = usize::try_from(id).expect("a small number");
    mine.times.handled[at].store(mono_now().0, Ordering::Release);
}

fn on_symbol(_mine: &mut Mine, router: &mut Router<Mine>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, on_trade);
}

#[derive(Clone, Copy)]
struct Contender {
    name: &'static str,
    tls: Option<RecordOpener>,
    idle: Idle,
}

const CONTENDERS: [Contender; 6] = [
    Contender { name: "ws/park", tls: None, idle: Idle::Park },
    Contender { name: "ws/spin", tls: None, idle: Idle::Spin },
    Contender { name: "wss/park", tls: Some(RecordOpener::Rustls), idle: Idle::Park },
    Contender { name: "wss/spin", tls: Some(RecordOpener::Rustls), idle: Idle::Spin },
    Contender { name: "wss/park, in place", tls: Some(RecordOpener::InPlace), idle: Idle::Park },
    Contender { name: "wss/spin, in place", tls: Some(RecordOpener::InPlace), idle: Idle::Spin },
];

/// The venue: answers the subscription of each connection, then sends trades at the pace, to the busy ones of them in turn,
/// and waits for the close.
fn serve<S: std::io::Read + std::io::Write>(mut sockets: Vec<WebSocket<S>>, busy: usize, times: &Times) {
    // It never sleeps: on a CPU of a contender's it would measure the kernel's time slices.
    confine_to(&available_cpus()[..1]).expect("one of this process's CPUs");
    for socket in &mut sockets {
        let request = socket.read().expect("a subscription");
        let id: serde_json::Value = serde_json::from_str(request.to_text().expect("text")).expect("JSON");
        let ack = format!(r#"{{"result":null,"id":{}}}"#, id["id"]);
        socket.send(Message::text(ack)).expect("the client reads");
    }
    let mut due = mono_now().0 + 20_000_000;
    for (id, sent) in times.sent.iter().enumerate() {
        // Spread over the connections, so that no order of reading favours the busy ones.
        let at = (id % busy) * sockets.len() / busy;
        let name = symbol_name(at);
        let stream = name.to_ascii_lowercase();
        let text = format!(
            r#"{{"stream":"{stream}@trade","data":{{"e":"trade","E":1723161255343,"s":"{name}","t":{id},"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}}}"#
        );
        let message = Message::text(text);
        while mono_now().0 < due {
            std::hint::spin_loop();
        }
        due = due.max(mono_now().0 - 10 * PACE_NS) + PACE_NS;
        sent.store(mono_now().0, Ordering::Release);
        sockets[at].send(message).expect("the client reads");
    }
    for socket in &mut sockets {
        while socket.read().is_ok() {}
    }
}

/// The symbol of a connection, three letters and the quote's.
fn symbol_name(connection: usize) -> String {
    let letter = |index: usize| char::from(b'A' + u8::try_from(index % 26).expect("below 26"));
    format!("{}{}CUSDT", letter(connection / 26), letter(connection))
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("a client");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// One round of one contender: latencies of its messages, in ns.
fn round(contender: Contender, count: usize, tls: &Tls) -> Vec<u64> {
    let times = Times::new(count);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let (for_server, config) = (Arc::clone(&times), Arc::clone(&tls.server));
    let server = std::thread::spawn(move || {
        let stream = accept(&listener);
        if contender.tls.is_some() {
            let session = rustls::ServerConnection::new(config).expect("a certificate");
            let stream = rustls::StreamOwned::new(session, stream);
            serve(vec![tungstenite::accept(stream).expect("an upgrade")], 1, &for_server);
        } else {
            serve(vec![tungstenite::accept(stream).expect("an upgrade")], 1, &for_server);
        }
    });
    let report = run(config_for(contender, 1, port, tls), &times);
    assert_eq!(report.connections[0].tls.as_deref(), contender.tls.map(RecordOpener::name));
    server.join().expect("the venue ends");
    all_latencies(&times)
}

/// Runs the engine until the last trade has its handler.
fn run(config: Config, times: &Arc<Times>) -> Report {
    let for_handler = Arc::clone(times);
    let engine = Engine::builder(config)
        .strategy("wire", move || Strategy { state: Mine { times: Arc::clone(&for_handler) }, on_symbol })
        .start()
        .expect("the engine starts");
    let deadline = Instant::now() + ROUND_TIME_MAX;
    while !times.is_complete() {
        assert!(engine.failure().is_none(), "{:?}", engine.failure());
        assert!(Instant::now() < deadline, "the last trade did not come: {}", engine.report().to_json());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let report = engine.stop();
    assert!(report.connections.iter().all(|connection| connection.unparsed == 0));
    report
}

fn all_latencies(times: &Times) -> Vec<u64> {
    let latencies: Vec<u64> = times.latencies_ns().collect();
    assert_eq!(latencies.len(), times.sent.len() - WARM_UP, "every message reached its handler");
    latencies
}

fn config_for(contender: Contender, connections: usize, port: u16, tls: &Tls) -> Config {
    let scheme = if contender.tls.is_some() { "wss" } else { "ws" };
    let cpus = available_cpus();
    let (&hot, others) = cpus.split_last().expect("one CPU");
    let cold_cores = if others.is_empty() { vec![hot] } else { others.to_vec() };
    let connection = |at: usize| {
        let symbol = symbol_name(at);
        let mut connection = ConnectionConfig::new(format!("wire-{at}"), Venue::BinanceSpot)
            .subscribed_to(&[&symbol], &["trade"])
            .expect("Binance has trades");
        connection.url = format!("{scheme}://127.0.0.1:{port}").parse().expect("a URL");
        connection.core = hot;
        connection.tls = TlsConfig { ca_file: Some(tls.ca_file.clone()), records: contender.tls.unwrap_or_default() };
        connection.instruments = vec![InstrumentConfig { symbol, price_scale: 2, qty_scale: 5, instrument: None }];
        connection
    };
    let mut config =
        Config::from_connections((0..connections).map(connection).collect()).expect("a valid configuration");
    config.engine.governor.connects_per_second = 1_000;
    config.engine = EngineConfig {
        cores: vec![CoreConfig { idle: contender.idle, ..CoreConfig::new(hot) }],
        cold_cores,
        ..config.engine
    };
    config
}

/// So many connections on one core, and so many of them busy.
const CROWDS: [(usize, usize); 2] = [(16, 2), (64, 7)];
const CROWD_CONTENDERS: [&str; 3] = ["tickwire, spin", "tickwire, park", "tokio, multi-thread"];

/// What one contender came to with a crowd.
struct Crowd {
    latencies: Histogram<u64>,
    /// The largest p99 of a busy connection's visit gap in any round, ns; tokio does not say.
    gap_ns: Option<u64>,
}

/// One round of one contender with a crowd of connections.
fn crowd_round(contender: usize, (connections, busy): (usize, usize), count: usize, tls: &Tls, crowd: &mut Crowd) {
    let times = Times::new(count);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let for_server = Arc::clone(&times);
    let server = std::thread::spawn(move || {
        let accept = |_| tungstenite::accept(accept(&listener)).expect("an upgrade");
        serve((0..connections).map(accept).collect(), busy, &for_server);
    });
    if CROWD_CONTENDERS[contender].starts_with("tokio") {
        run_on_tokio(connections, port, &times);
    } else {
        let idle = if contender == 0 { Idle::Spin } else { Idle::Park };
        let report = run(config_for(Contender { name: "", tls: None, idle }, connections, port, tls), &times);
        let is_busy = |connection: &&ConnectionReport| connection.events > 0;
        let gap_ns = report.connections.iter().filter(is_busy).map(|connection| connection.visit_gap_ns.p99).max();
        crowd.gap_ns = crowd.gap_ns.max(gap_ns);
    }
    server.join().expect("the venue ends");
    for latency_ns in all_latencies(&times) {
        crowd.latencies.record(latency_ns).expect("the range grows by itself");
    }
}

/// A trade as a program of tokio's would read it.
#[derive(serde::Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    data: Bare<'a>,
}

#[derive(serde::Deserialize)]
struct Bare<'a> {
    #[serde(rename = "s")]
    symbol: &'a str,
    #[serde(rename = "t")]
    id: usize,
    #[serde(rename = "p")]
    price: &'a str,
    #[serde(rename = "q")]
    qty: &'a str,
}

/// One task a connection, on as many threads as there are CPUs, until the last trade is handled.
fn run_on_tokio(connections: usize, port: u16, times: &Arc<Times>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let mut readers = tokio::task::JoinSet::new();
        for at in 0..connections {
            let times = Arc::clone(times);
            // One after the other, as the venue takes them.
            let tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("the venue listens");
            tcp.set_nodelay(true).expect("a socket");
            let url = format!("ws://127.0.0.1:{port}/");
            let (mut socket, _) = tokio_tungstenite::client_async(url, tcp).await.expect("an upgrade");
            readers.spawn(async move {
                socket.send(Message::text(format!(r#"{{"method":"SUBSCRIBE","id":{at}}}"#))).await.expect("sent");
                socket.next().await.expect("an answer").expect("an answer");
                while let Some(Ok(message)) = socket.next().await {
                    let Message::Text(text) = message else { continue };
                    let Wrapped { data } = serde_json::from_str(&text).expect("a trade");
                    let exact = (data.price.parse::<f64>().expect("a price"), data.qty.parse::<f64>().expect("a size"));
                    std::hint::black_box((data.symbol, exact));
                    times.handled[data.id].store(mono_now().0, Ordering::Release);
                }
            });
        }
        let deadline = Instant::now() + ROUND_TIME_MAX;
        while !times.is_complete() {
            assert!(Instant::now() < deadline, "the last trade did not come");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Dropped sockets end the venue's reads.
        readers.shutdown().await;
    });
}

/// Both crowds, the contenders in turn, and a table of each.
#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
fn crowds(rounds: usize, count: usize, tls: &Tls) {
    for (connections, busy) in CROWDS {
        let empty = || Crowd { latencies: Histogram::new(3).expect("three digits are allowed"), gap_ns: None };
        let mut results = CROWD_CONTENDERS.map(|_| empty());
        for round in 0..rounds {
            for at in 0..results.len() {
                let contender = (at + round) % results.len();
                crowd_round(contender, (connections, busy), count, tls, &mut results[contender]);
            }
        }
        println!(
            "\n{connections} connections on one core, {busy} of them busy: wire-to-handler, ns, and p99 of the visit gap"
        );
        println!("{:<20} {:>9} {:>9} {:>9} {:>11} {:>9}", "", "p50", "p99", "p99.9", "max", "gap p99");
        for (name, Crowd { latencies, gap_ns }) in CROWD_CONTENDERS.iter().zip(&results) {
            let Percentiles { p50, p99, p999, max } = Percentiles::of(latencies);
            let gap = gap_ns.map_or("-".to_owned(), |ns| ns.to_string());
            println!("{name:<20} {p50:>9} {p99:>9} {p999:>9} {max:>11} {gap:>9}");
        }
    }
}

/// A certificate authority for this run, its file, and the venue's side of TLS.
struct Tls {
    ca_file: std::path::PathBuf,
    server: Arc<rustls::ServerConfig>,
}

impl Tls {
    fn new() -> Self {
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).expect("a certificate");
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = leaf.signed_by(&key, &issuer).expect("a certificate");
        let ca_file = std::env::temp_dir().join(format!("tickwire-wire-{}.pem", std::process::id()));
        std::fs::write(&ca_file, authority_certificate.pem()).expect("the temp dir is writable");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .expect("the key fits");
        Self { ca_file, server: Arc::new(server) }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (rounds, count) = if is_test { (1, WARM_UP + 500) } else { (4, 20_000) };
    let tls = Tls::new();
    if std::env::args().any(|argument| argument == "--crowds") {
        return crowds(rounds, count, &tls);
    }
    let mut histograms = CONTENDERS.map(|_| Histogram::<u64>::new(3).expect("three digits are allowed"));
    for round_index in 0..rounds {
        for at in 0..CONTENDERS.len() {
            let contender = (at + round_index) % CONTENDERS.len();
            for latency_ns in round(CONTENDERS[contender], count, &tls) {
                histograms[contender].record(latency_ns).expect("the range grows by itself");
            }
        }
    }
    println!("wire-to-handler over loopback, ns ({rounds} rounds of {count} trades, one per {PACE_NS} ns)");
    println!("{:<18} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}", "", "messages", "p50", "p99", "p99.9", "max", "p50 ratio");
    let mut base = None;
    for (contender, histogram) in CONTENDERS.iter().zip(&histograms) {
        let Percentiles { p50, p99, p999, max } = Percentiles::of(histogram);
        let base = *base.get_or_insert(p50);
        #[expect(clippy::cast_precision_loss, reason = "a ratio to two digits")]
        let ratio = p50 as f64 / base as f64;
        println!(
            "{:<18} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9.2}",
            contender.name,
            histogram.len(),
            p50,
            p99,
            p999,
            max,
            ratio
        );
    }
    crowds(rounds, count, &tls);
}
