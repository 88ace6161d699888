//! `wire`: from the instant before the venue's write to the strategy's function, over loopback, through the whole
//! engine: socket, (TLS,) frame, decode, route, handler. `ws`, `wss` and `wss` with its records opened in place, `park` and
//! `spin`, in one run.
//!
//! ```text
//! cargo bench --bench wire                    4 rounds of each, 20,000 trades a round, one every 50 us
//! cargo bench --bench wire -- --test          a few messages of each, to see that it lives
//! ```
//! The rounds of the contenders are interleaved and their order rotates, so that a noisy neighbour meets them all. On a
//! machine with two CPUs the venue, the hot core and the cold threads share them: compare the rows, not machines.

use hdrhistogram::Histogram;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tickwire::config::{Config, ConnectionConfig, CoreConfig, EngineConfig, Idle, InstrumentConfig, TlsConfig};
use tickwire::engine::{Engine, available_cpus};
use tickwire::hot::{RecordOpener, Router, Strategy, mono_now};
use tickwire::market::{SymbolSpec, Trade, TradeId, Venue};
use tickwire::telemetry::Percentiles;
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

/// The venue: accepts one connection, answers the subscription, then sends trades at the pace and waits for the close.
fn serve<S: std::io::Read + std::io::Write>(mut socket: WebSocket<S>, times: &Times) {
    let request = socket.read().expect("a subscription");
    let id: serde_json::Value = serde_json::from_str(request.to_text().expect("text")).expect("JSON");
    let ack = format!(r#"{{"result":null,"id":{}}}"#, id["id"]);
    socket.send(Message::text(ack)).expect("the client reads");
    let mut due = mono_now().0 + 20_000_000;
    for (id, sent) in times.sent.iter().enumerate() {
        let text = format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":{id},"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}}}"#
        );
        let message = Message::text(text);
        while mono_now().0 < due {
            std::hint::spin_loop();
        }
        due = due.max(mono_now().0 - 10 * PACE_NS) + PACE_NS;
        sent.store(mono_now().0, Ordering::Release);
        socket.send(message).expect("the client reads");
    }
    while socket.read().is_ok() {}
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
            serve(tungstenite::accept(stream).expect("an upgrade"), &for_server);
        } else {
            serve(tungstenite::accept(stream).expect("an upgrade"), &for_server);
        }
    });
    let for_handler = Arc::clone(&times);
    let engine = Engine::builder(config_for(contender, port, tls))
        .strategy("wire", move || Strategy { state: Mine { times: Arc::clone(&for_handler) }, on_symbol })
        .start()
        .expect("the engine starts");
    let deadline = Instant::now() + ROUND_TIME_MAX;
    while times.handled.last().expect("not empty").load(Ordering::Acquire) == 0 {
        assert!(engine.failure().is_none(), "{:?}", engine.failure());
        assert!(Instant::now() < deadline, "the last trade did not come: {}", engine.report().to_json());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let report = engine.stop();
    assert_eq!(report.connections[0].unparsed, 0);
    assert_eq!(report.connections[0].tls.as_deref(), contender.tls.map(RecordOpener::name));
    server.join().expect("the venue ends");
    let latencies: Vec<u64> = times.latencies_ns().collect();
    assert_eq!(latencies.len(), count - WARM_UP, "every message reached its handler");
    latencies
}

fn config_for(contender: Contender, port: u16, tls: &Tls) -> Config {
    let scheme = if contender.tls.is_some() { "wss" } else { "ws" };
    let cpus = available_cpus();
    let hot = *cpus.last().expect("one CPU");
    let mut connection = ConnectionConfig::new("wire", Venue::BinanceSpot)
        .subscribed_to(&["BTCUSDT"], &["trade"])
        .expect("Binance has trades");
    connection.url = format!("{scheme}://127.0.0.1:{port}").parse().expect("a URL");
    connection.core = hot;
    connection.tls = TlsConfig { ca_file: Some(tls.ca_file.clone()), records: contender.tls.unwrap_or_default() };
    connection.instruments =
        vec![InstrumentConfig { symbol: "BTCUSDT".into(), price_scale: 2, qty_scale: 5, instrument: None }];
    let mut config = Config::from_connections(vec![connection]).expect("a valid configuration");
    config.engine = EngineConfig {
        cores: vec![CoreConfig { cpu: hot, idle: contender.idle, strategy: None }],
        cold_cores: cpus,
        ..config.engine
    };
    config
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
}
