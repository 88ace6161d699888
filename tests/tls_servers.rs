//! Records opened in place, from servers of other makers: `openssl s_server`, and nginx before a venue.
//!
//! ```text
//! connect, HotConnection ◄── TLS 1.3 ──► openssl s_server ◄─ stdin, stdout ─► the test speaks WebSocket and asks for key updates
//! the whole engine       ◄── TLS ──────► nginx ◄── ws ──► venue_server
//!                        ◄── TLS, one bit of it changed on the way ──► venue_server
//! ```
//! A server that is not installed fails the test where `CI` is `true`; elsewhere the test says that it skips.

#[path = "support/installed.rs"]
mod installed;
mod venue_server;

use installed::installed;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;
use tickwire::config::{Config, ConnectionConfig, TlsConfig};
use tickwire::engine::{Engine, RunningEngine};
use tickwire::hot::{Closed, ClosedBy, ConnectionSettings, HotConnection, RecordOpener, Router, Strategy};
use tickwire::limits::VISIT_BYTES_MAX;
use tickwire::market::{SymbolSpec, Trade, TradeId, Venue};
use tickwire::net::{ConnectOptions, Established, client_config, connect};
use tickwire::telemetry::ConnectionReport;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use venue_server::{PATIENCE, Session, VenueServer, frame, until};

/// Every suite whose records are opened in place, by OpenSSL's names.
const SUITES: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// A folder with a server's certificate and key, and the authority behind them; gone at the end.
struct Identity(PathBuf);

impl Identity {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tickwire-tls-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let names = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let certificate = names.signed_by(&key, &ca).expect("a certificate");
        for (name, pem) in [("ca.pem", ca.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())] {
            std::fs::write(folder.join(name), pem).expect("written");
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server's process, which ends with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `openssl s_server`, which prints what it receives and sends what it is given; lines that begin with some letters it
/// takes as orders.
struct OpenSsl {
    port: u16,
    stdin: ChildStdin,
    printed: Receiver<Vec<u8>>,
    /// Printed and not looked at yet.
    seen: Vec<u8>,
    _server: Server,
}

impl OpenSsl {
    fn start(program: &Path, identity: &Identity, arguments: &[&str]) -> Self {
        let mut server = Command::new(program)
            .args(["s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-cert"])
            .arg(identity.path("cert.pem"))
            .arg("-key")
            .arg(identity.path("key.pem"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let (stdin, mut stdout) = (server.stdin.take().expect("piped"), server.stdout.take().expect("piped"));
        let (sender, printed) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut this = Self { port: 0, stdin, printed, seen: Vec::new(), _server: Server(server) };
        let line = this.wait_for("a port", |seen| {
            let start = find(seen, b"ACCEPT ")?;
            let end = start + seen[start..].iter().position(|&byte| byte == b'\n')?;
            Some((String::from_utf8_lossy(&seen[start..end]).into_owned(), end))
        });
        this.port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("ACCEPT address:port");
        this
    }

    /// Waits until what it printed holds something, and takes all up to its end.
    fn wait_for<T>(&mut self, what: &str, find: impl Fn(&[u8]) -> Option<(T, usize)>) -> T {
        loop {
            if let Some((found, end)) = find(&self.seen) {
                self.seen.drain(..end);
                return found;
            }
            match self.printed.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(error) => panic!("{what}: {error}; printed: {}", String::from_utf8_lossy(&self.seen)),
            }
        }
    }

    /// Reads the upgrade's request and answers it, with these bytes behind the answer.
    fn upgrade(&mut self, behind: &[u8]) {
        let request = self.wait_for("a request", |seen| {
            let start = find(seen, b"GET /")?;
            let end = start + find(&seen[start..], b"\r\n\r\n")? + 4;
            Some((String::from_utf8_lossy(&seen[start..end]).into_owned(), end))
        });
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        self.say(&[head.as_bytes(), behind].concat());
    }

    fn say(&mut self, bytes: &[u8]) {
        self.stdin.write_all(bytes).expect("it reads");
        self.stdin.flush().expect("a pipe");
    }

    /// Waits for a masked text message of the client's.
    fn hear(&mut self, text: &str) {
        let masked = |bytes: &[u8]| match bytes {
            [0x81, length, mask @ ..] if usize::from(*length) == 0x80 + text.len() && mask.len() >= 4 + text.len() => {
                let (mask, payload) = mask.split_at(4);
                payload[..text.len()].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).eq(text.bytes())
            }
            _ => false,
        };
        self.wait_for(text, |seen| (0..seen.len()).find(|&at| masked(&seen[at..])).map(|at| ((), at + 6 + text.len())));
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Connects to a server that this answers, its records to be opened in place.
fn connected(identity: &Identity, openssl: &mut OpenSsl, behind: &[u8]) -> Established {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let url = format!("wss://127.0.0.1:{}/stream", openssl.port).parse().expect("a URL");
    let mut options = ConnectOptions::new(url);
    options.tls = Some(client_config(Some(&identity.path("ca.pem"))).expect("a CA"));
    options.opener = RecordOpener::InPlace;
    let connecting = runtime.spawn(async move { connect(&options).await });
    openssl.upgrade(behind);
    runtime.block_on(connecting).expect("no panic").expect("connected")
}

/// The client's end, polled until something comes.
struct Client {
    connection: HotConnection,
    key_updates: u64,
}

impl Client {
    fn new(established: Established) -> Self {
        assert_eq!((established.opener(), established.obstacle), (Some(RecordOpener::InPlace), None));
        let settings = ConnectionSettings::default();
        let connection = HotConnection::new(established.stream, &established.leftover, &settings).expect("it fits");
        Self { connection, key_updates: 0 }
    }

    /// Repeats `done` over what comes until it answers.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self, Option<Vec<u8>>) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            while let Some(message) = self.connection.next_message().expect("open") {
                let message = message.payload.to_vec();
                if let Some(value) = done(self, Some(message)) {
                    return value;
                }
            }
            self.connection.read(VISIT_BYTES_MAX).expect("open");
            self.key_updates += self.connection.take_tls_counts().unwrap_or_default().key_updates;
            if let Some(value) = done(self, None) {
                return value;
            }
            assert!(started.elapsed() < PATIENCE, "{what}");
        }
    }

    fn expect(&mut self, expected: &[u8]) {
        self.until("a message", |_, message| {
            message.map(|message| assert!(message == expected, "{} bytes", message.len()))
        });
    }

    fn closed(&mut self) -> Closed {
        let started = Instant::now();
        loop {
            if let Err(closed) = self.connection.read(VISIT_BYTES_MAX) {
                return closed;
            }
            assert!(started.elapsed() < PATIENCE, "the end");
        }
    }
}

/// Only characters that begin no order of `s_server`'s.
fn digits(count: usize) -> Vec<u8> {
    b"0123456789".iter().copied().cycle().take(count).collect()
}

#[test]
fn openssl_is_understood_with_every_suite_padded_and_cut_and_through_key_updates_of_both_sides() {
    let Some(program) = installed("openssl") else { return };
    let identity = Identity::new();
    let arguments: [&[&str]; 4] =
        [&[], &["-record_padding", "512"], &["-max_send_frag", "512"], &["-num_tickets", "9"]];
    for suite in SUITES {
        for arguments in arguments {
            let arguments = [&["-ciphersuites", suite][..], arguments].concat();
            let mut openssl = OpenSsl::start(&program, &identity, &arguments);
            let greeting = [frame(0x81, b"0"), frame(0x81, b"1")].concat();
            let mut client = Client::new(connected(&identity, &mut openssl, &greeting));
            client.expect(b"0");
            client.expect(b"1");
            for (round, order) in [&b"k\n"[..], b"K\n", b"K\n", b"k\n"].into_iter().enumerate() {
                for length in [1, 125, 126, 1_000, 16_384, 40_000] {
                    let payload = digits(length);
                    openssl.say(&frame(0x81, &payload));
                    client.expect(&payload);
                }
                // All of it has been read, so the order begins what it reads next.
                openssl.say(order);
                client.until("a key update", |client, _| (client.key_updates > round as u64).then_some(()));
                let text = format!("round {round} {suite}");
                client.connection.send_text(text.as_bytes()).expect("sent");
                openssl.hear(&text);
            }
            // It drops the connection without close_notify.
            openssl.say(b"Q\n");
            assert_eq!(client.closed(), Closed { code: None, by: ClosedBy::End }, "{arguments:?}");
        }
    }
}

#[test]
fn the_tickets_that_openssl_sends_resume_a_session_that_is_opened_in_place() {
    let Some(program) = installed("openssl") else { return };
    let identity = Identity::new();
    let mut openssl = OpenSsl::start(&program, &identity, &["-ciphersuites", SUITES[0]]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let url = format!("wss://127.0.0.1:{}/stream", openssl.port).parse().expect("a URL");
    let mut options = ConnectOptions::new(url);
    options.tls = Some(client_config(Some(&identity.path("ca.pem"))).expect("a CA"));
    options.opener = RecordOpener::InPlace;
    for is_resumed in [false, true, true] {
        let options = options.clone();
        let connecting = runtime.spawn(async move { connect(&options).await });
        // It prints this while it accepts.
        let mark: &[u8] = if is_resumed { b"Reused session-id" } else { b"CIPHER is" };
        openssl.wait_for("a handshake", |seen| find(seen, mark).map(|at| ((), at + mark.len())));
        openssl.upgrade(&frame(0x81, b"0"));
        let established = runtime.block_on(connecting).expect("no panic").expect("connected");
        let mut client = Client::new(established);
        client.expect(b"0");
        client.connection.abandon();
    }
}

/// The venue's words: so many trades of this id, a hundred in a write.
fn say_trades(session: &mut Session, id: usize, count: u64) {
    let trade = format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":{id},"p":"67241.12000000","q":"0.00350000","T":1700000000000,"m":true,"M":true}}}}"#
    );
    let block: Vec<u8> = (0..100).flat_map(|_| frame(0x81, trade.as_bytes())).collect();
    for _ in 0..count / 100 {
        if !session.send_raw(&block) {
            return;
        }
    }
    session.close_code();
}

/// How many trades of id 0 and of id 1 have come.
type Seen = Arc<[AtomicU64; 2]>;

fn on_trade(seen: &mut Seen, trade: &Trade) {
    let TradeId::Number(id) = trade.id else { panic!("Binance numbers its trades") };
    seen[usize::try_from(id).expect("0 or 1")].fetch_add(1, Ordering::Release);
}

/// An engine that counts what comes.
fn engine(connection: ConnectionConfig) -> (RunningEngine, Seen) {
    let config = Config::from_connections(vec![connection]).expect("a configuration that works");
    let seen = Seen::default();
    let state = Arc::clone(&seen);
    let on_symbol = |_: &mut Seen, router: &mut Router<Seen>, spec: &SymbolSpec| router.on_trade(spec.symbol, on_trade);
    let make = move || Strategy { state: Arc::clone(&state), on_symbol };
    (Engine::builder(config).strategy("counts", make).start().expect("it starts"), seen)
}

/// What a run of the engine came to, whose venue stands behind nginx.
fn behind_nginx(program: &Path, protocols: &str, suite: &str, record_bytes: usize) -> ConnectionReport {
    const COUNT: u64 = 30_000;
    let identity = Identity::new();
    let venue = VenueServer::start(|_, session| {
        session.confirm_subscription();
        say_trades(session, 0, COUNT);
    });
    let mut connection = venue.connection("binance", Venue::BinanceSpot, &["BTCUSDT"], &["trade"]);
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let folder = identity.0.display();
    let suites = if suite.is_empty() { String::new() } else { format!("ssl_conf_command Ciphersuites {suite};") };
    let paths =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path {folder}/{what};"));
    let config = format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
         events {{}}
         http {{ access_log off; {}
           server {{
             listen 127.0.0.1:{port} ssl;
             ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
             ssl_protocols {protocols}; {suites} ssl_buffer_size {record_bytes};
             location / {{
               proxy_pass http://{}; proxy_http_version 1.1;
               proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_busy_buffers_size 32k;
               proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";
             }} }} }}",
        paths.join(" "),
        connection.url.socket_addrs(|| None).expect("an address")[0],
    );
    let file = identity.path("nginx.conf");
    std::fs::write(&file, config).expect("written");
    // What is wrong with its configuration it says there, before it has a log.
    let stderr = std::fs::File::create(identity.path("stderr")).expect("a file of our own");
    let nginx = Command::new(program).arg("-p").arg(&identity.0).arg("-c").arg(&file).stderr(stderr).spawn();
    let mut server = Server(nginx.expect("it starts"));
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = || {
            let read = |name| std::fs::read_to_string(identity.path(name)).unwrap_or_default();
            read("stderr") + &read("error.log")
        };
        assert!(server.0.try_wait().expect("a child").is_none(), "nginx ended: {}", log());
        assert!(started.elapsed() < PATIENCE, "nginx does not listen: {}", log());
        std::thread::yield_now();
    }
    connection.url = format!("wss://127.0.0.1:{port}").parse().expect("a URL");
    connection.tls = TlsConfig { ca_file: Some(identity.path("ca.pem")), records: RecordOpener::InPlace };
    let (engine, seen) = engine(connection);
    until(&engine, "every message", |_| seen[0].load(Ordering::Acquire) >= COUNT);
    let report = engine.stop().connections.remove(0);
    assert_eq!((report.events, report.unparsed, report.reconnects), (COUNT, 0, 0), "{suite} {record_bytes}");
    report
}

#[test]
fn nginx_is_understood_with_every_suite_and_length_of_record() {
    let Some(program) = installed("nginx") else { return };
    for suite in SUITES {
        for record_bytes in [512, 4_096, 16_384] {
            let report = behind_nginx(&program, "TLSv1.3", suite, record_bytes);
            assert_eq!((report.tls.as_deref(), report.tls_fallbacks), (Some("in_place"), 0));
        }
    }
}

#[test]
fn a_venue_that_speaks_no_tls_1_3_is_read_by_rustls_and_the_report_says_so() {
    let Some(program) = installed("nginx") else { return };
    let report = behind_nginx(&program, "TLSv1.2", "", 4_096);
    assert_eq!((report.tls.as_deref(), report.tls_fallbacks), (Some("rustls"), 1));
}

/// A way to a server on which one bit of the first connection's answers changes, at this byte.
fn damaging(server: SocketAddr, at: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let Ok(mut client) = client else { return };
            let Ok(mut server) = TcpStream::connect(server) else { return };
            let (mut from_client, mut to_server) =
                (client.try_clone().expect("a socket"), server.try_clone().expect("one"));
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            std::thread::spawn(move || {
                let (mut bytes, mut passed) = ([0; 4096], 0);
                while let Ok(count @ 1..) = server.read(&mut bytes) {
                    if number == 0 && (passed..passed + count).contains(&at) {
                        bytes[at - passed] ^= 1;
                    }
                    passed += count;
                    if client.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn one_bit_changed_on_the_way_ends_the_connection_by_name_and_the_next_one_has_everything() {
    const COUNT: u64 = 5_000;
    let identity = Identity::new();
    let read = |name| std::fs::read(identity.path(name)).expect("just written");
    let certificate = CertificateDer::from_pem_slice(&read("cert.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")).expect("a key");
    let tls = rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");
    let venue = VenueServer::start_tls(tls.into(), |number, session| {
        session.confirm_subscription();
        // The first connection goes on until it is lost.
        say_trades(session, number.min(1), if number == 0 { u64::MAX } else { COUNT });
    });
    let mut connection = venue.connection("binance", Venue::BinanceSpot, &["BTCUSDT"], &["trade"]);
    let server = connection.url.socket_addrs(|| None).expect("an address")[0];
    connection.url = format!("wss://127.0.0.1:{}", damaging(server, 1_000_000)).parse().expect("a URL");
    connection.tls = TlsConfig { ca_file: Some(identity.path("ca.pem")), records: RecordOpener::InPlace };
    let (engine, seen) = engine(connection);
    until(&engine, "every message of the next connection", |_| seen[1].load(Ordering::Acquire) >= COUNT);
    let report = engine.stop().connections.remove(0);
    assert_eq!((report.losses["tls_bad_record"], report.losses.len()), (1, 1), "{:?}", report.last_error);
    assert_eq!((report.reconnects, report.unparsed), (1, 0));
    let seen = [0, 1].map(|id: usize| seen[id].load(Ordering::Acquire));
    assert_eq!(seen[1], COUNT);
    // Of the first connection no message of the damaged record, nor of one behind it; most before it.
    assert!((1_000_000 / 2..1_000_000).contains(&(seen[0] * 150)), "{} trades", seen[0]);
}
