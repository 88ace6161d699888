//! Over loopback: from the instant before the venue's write to the handler, and how many messages a core takes when there
//! is no pause between them.
//!
//! ```text
//! CPU a: venue ── write ──► socket ──► CPU b: client: frame, decode, route by symbol ──► handler: notes the time
//! ```
//! A contender runs for a slice of a fifth of a second, then the next one; the order rotates, and the figures are medians
//! over slices. tickwire and the floor never sleep, as their users let them; the others are as their users have them, on
//! tokio's current-thread runtime. Without a pause tickwire parks, so that it uses no more of its CPU than it needs either;
//! the figure then is the client thread's CPU time for a message. Both threads have a CPU and, where that is allowed, a
//! real-time priority, so that a neighbour meets the pauses between the slices.

use crate::race::{OURS, Outcome, Panel, Raced, median, quantile, rows};
use crate::tls_peer::{Key, SUITES, configs, handshaken, session};
use crate::typed::{self, Combined, SerdeJson, Shared, SonicRs, Typed};
use crate::venue::{CASE, Load, Session, Sums, serve};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::io::Read;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tickwire::engine::{available_cpus, confine_to};
use tickwire::hot::tls::RecordOpener;
use tickwire::hot::{
    Attachment, ColdPorts, Command, ConnectionSettings, ConnectionStats, Core, CoreSettings, CoreStats, Feed,
    HotConnection, Idle, Router, Strategy, Stream, mono_now, ports,
};
use tickwire::market::{SymbolSpec, SymbolTable, Trade};
use tickwire::telemetry::thread_allocations;
use tickwire::venue::{Cpu, Decoder, Form};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Messages at the start of a slice that warm caches and predictors and are not counted: 100 ms at the pace. The venue begins
/// when a client connects; an engine that makes its tables then is behind at first.
const WARM_UP: usize = 2_000;
const PACED: usize = WARM_UP + 3_500;
/// Messages without a pause, WARM_UP among them.
const SATURATED: usize = 131_072;
/// A slice that takes this long has lost its last message.
const SLICE_TIME_MAX: Duration = Duration::from_secs(30);
/// What the neighbours are given between two slices.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Client {
    Tickwire(RecordOpener),
    /// With serde_json.
    TungsteniteSerde,
    /// The others with sonic-rs.
    TungsteniteSonic,
    FastSonic,
    Floor,
}

type Contender = (&'static str, &'static str, Client);

const OWN: &str = env!("CARGO_PKG_VERSION");
const PLAIN: [Contender; 5] = [
    (OURS, OWN, Client::Tickwire(RecordOpener::InPlace)),
    ("tokio-tungstenite as shipped + serde_json", "0.30", Client::TungsteniteSerde),
    ("tokio-tungstenite as shipped + sonic-rs", "0.30", Client::TungsteniteSonic),
    ("fastwebsockets + sonic-rs", "0.10", Client::FastSonic),
    ("floor:recv alone", "", Client::Floor),
];
const OVER_TLS: [Contender; 6] = [
    (OURS, OWN, Client::Tickwire(RecordOpener::InPlace)),
    ("tickwire, by rustls", OWN, Client::Tickwire(RecordOpener::Rustls)),
    ("tokio-tungstenite as shipped + serde_json", "0.30", Client::TungsteniteSerde),
    ("tokio-tungstenite as shipped + sonic-rs", "0.30", Client::TungsteniteSonic),
    ("fastwebsockets + sonic-rs", "0.10", Client::FastSonic),
    ("floor:recv and AEAD in place", "", Client::Floor),
];

/// What a client's handlers have come to.
struct Handled {
    is_paced: bool,
    total: usize,
    count: usize,
    sums: Sums,
    /// By message: when its handler was called.
    at_ns: Vec<u64>,
    /// Allocations and CPU time of this thread behind the warm-up, then from there to the end.
    begun: (u64, u64),
    used: (u64, u64),
}

impl Handled {
    fn new(load: &Load) -> Self {
        let at_ns = vec![0; if load.is_paced { load.total } else { 0 }];
        let (is_paced, total) = (load.is_paced, load.total);
        Self { is_paced, total, count: 0, sums: Sums::default(), at_ns, begun: (0, 0), used: (0, 0) }
    }

    /// One message has reached its handler.
    #[inline]
    fn note(&mut self, at: impl FnOnce() -> usize) {
        if self.is_paced {
            self.at_ns[at()] = mono_now().0;
        }
        self.count += 1;
        if self.count == WARM_UP || self.count == self.total {
            self.measure();
        }
    }

    #[cold]
    fn measure(&mut self) {
        let now = (thread_allocations(), thread_cpu_ns());
        if self.is_complete() {
            self.used = (now.0 - self.begun.0, now.1 - self.begun.1);
        } else {
            self.begun = now;
        }
    }

    fn is_complete(&self) -> bool {
        self.count == self.total
    }
}

/// CPU time of this thread, ns.
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result, and nothing keeps it.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(outcome, 0, "every Linux has the clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// This thread on that CPU, above all that has no real-time priority. False where only the former is allowed.
fn claim(cpu: usize) -> bool {
    confine_to(&[cpu]).expect("one of this process's CPUs");
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: `priority` is valid for the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) == 0 }
}

// ---------------------------------------------------------------------------------------------- clients

/// The strategy of tickwire's client.
struct Mine {
    handled: Handled,
    cold: ColdPorts,
}

fn on_trade(mine: &mut Mine, trade: &Trade) {
    let sums = &mut mine.handled.sums;
    sums.units = sums.units.wrapping_add(trade.price.mantissa()).wrapping_add(trade.qty.mantissa());
    let time = trade.meta.matching_time.expect("every trade has one");
    mine.handled.note(|| Load::at(time.ns().cast_unsigned() / 1_000_000));
    if mine.handled.is_complete() {
        mine.cold.push(Command::Stop).expect("room in the ring");
    }
}

fn on_symbol(_mine: &mut Mine, router: &mut Router<Mine>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, on_trade);
}

fn by_tickwire(stream: Stream, load: &Load, cpu: Cpu) -> Handled {
    let (hot, mut cold) = ports().expect("descriptors");
    let core_stats = Arc::new(CoreStats::new(0));
    let stats = Arc::new(ConnectionStats::default());
    let mut table = SymbolTable::default();
    for name in &load.names {
        let symbol = table.add(CASE.venue(), name, 2, 3, None).expect("room");
        cold.push(Command::AddSymbol(Box::new(table.spec(symbol).expect("just added").clone()))).expect("room");
    }
    let connection = HotConnection::new(stream, b"", &ConnectionSettings::default()).expect("a connection");
    let feed = Feed::new(0, Decoder::with_cpu(CASE.venue(), Form::Combined, None, cpu), Arc::clone(&stats));
    cold.push(Command::Attach(Box::new(Attachment { connection, feed }))).expect("room");
    let idle = if load.is_paced { Idle::Spin } else { Idle::Park };
    let settings = CoreSettings { idle, ..CoreSettings::default() };
    let state = Mine { handled: Handled::new(load), cold };
    let core = Core::new(settings, hot, core_stats, Strategy { state, on_symbol }).expect("a poller");
    let mine = core.run().expect("no handler panics");
    assert_eq!((stats.unparsed.get(), stats.unrouted.get()), (0, 0));
    mine.handled
}

type Handler = fn(&mut Handled, &typed::Trade<'_>);

/// What a user's program does with a message: its type, its symbol's handler.
struct User<L> {
    _library: PhantomData<L>,
    routes: HashMap<String, Handler>,
    handled: Handled,
}

impl<L: Shared> User<L> {
    fn new(load: &Load) -> Self {
        let handler: Handler = |handled, trade| {
            trade.numbers(|number| handled.sums.floats += number);
            handled.note(|| Load::at(trade.number()));
        };
        let routes = load.names.iter().map(|name| (name.clone(), handler)).collect();
        Self { _library: PhantomData, routes, handled: Handled::new(load) }
    }

    fn take(&mut self, text: &[u8]) {
        let message: Combined<typed::Trade<'_>> = L::read_shared(text);
        let handler = self.routes.get(message.data.symbol()).expect("a name of the universe");
        handler(&mut self.handled, &message.data);
    }
}

async fn by_tungstenite<S: AsyncRead + AsyncWrite + Unpin, L: Shared>(stream: S, mut user: User<L>) -> Handled {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    while !user.handled.is_complete() {
        let message = socket.next().await.expect("not yet the end").expect("valid frames");
        user.take(message.to_text().expect("text").as_bytes());
    }
    user.handled
}

async fn by_fast<S: AsyncRead + AsyncWrite + Unpin, L: Shared>(stream: S, mut user: User<L>) -> Handled {
    let mut socket = fastwebsockets::WebSocket::after_handshake(stream, fastwebsockets::Role::Client);
    while !user.handled.is_complete() {
        let frame = socket.read_frame().await.expect("valid frames");
        user.take(&frame.payload);
    }
    user.handled
}

async fn by<S: AsyncRead + AsyncWrite + Unpin>(client: Client, stream: S, load: &Load) -> Handled {
    match client {
        Client::TungsteniteSerde => by_tungstenite(stream, User::<SerdeJson>::new(load)).await,
        Client::TungsteniteSonic => by_tungstenite(stream, User::<SonicRs>::new(load)).await,
        Client::FastSonic => by_fast(stream, User::<SonicRs>::new(load)).await,
        Client::Tickwire(_) | Client::Floor => unreachable!("they need no runtime"),
    }
}

/// Clients of tokio's runtime.
fn on_tokio(client: Client, address: SocketAddr, is_tls: bool, load: &Load) -> Handled {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(address).await.expect("the venue listens");
        socket.set_nodelay(true).expect("a socket");
        if !is_tls {
            return by(client, socket, load).await;
        }
        let connector = tokio_rustls::TlsConnector::from(configs(SUITES[0]).client);
        let name = "localhost".try_into().expect("a name");
        by(client, connector.connect(name, socket).await.expect("a handshake"), load).await
    })
}

/// Bytes that a record has beside its frame: header, type, tag.
const RECORD_REST_BYTES: usize = 5 + 1 + 16;

/// A loop that knows every message's length beforehand: at a pace it never sleeps, without a pause it does.
fn by_floor(mut socket: TcpStream, mut key: Option<Key>, load: &Load) -> Handled {
    let mut handled = Handled::new(load);
    socket.set_nonblocking(load.is_paced).expect("a socket");
    let mut buffer = vec![0; 128 << 10];
    let (mut filled, mut next) = (0, load.frames.iter().cycle());
    let rest_bytes = if key.is_some() { RECORD_REST_BYTES } else { 0 };
    let mut bytes = next.next().expect("one message").len() + rest_bytes;
    while !handled.is_complete() {
        let count = match socket.read(&mut buffer[filled..]) {
            Ok(0) => panic!("not yet the end"),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => panic!("{error}"),
        };
        filled += count;
        let mut taken = 0;
        while filled - taken >= bytes && !handled.is_complete() {
            let message = &mut buffer[taken..][..bytes];
            let frame = match &mut key {
                Some(key) => key.open_in_place(message),
                None => message,
            };
            // Behind the frame of a record stands its type.
            let frame = &frame[..bytes - rest_bytes];
            handled.sums.ends += u64::from(frame[4]) + u64::from(frame[frame.len() - 1]);
            let at = handled.count;
            handled.note(|| at);
            taken += bytes;
            bytes = next.next().expect("a cycle").len() + rest_bytes;
        }
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
    handled
}

// ---------------------------------------------------------------------------------------------- slices

/// One slice of one client: when each message was sent, and what became of them.
fn slice(client: Client, is_tls: bool, load: &Load, decode: Cpu, cpus: [usize; 2]) -> (Vec<u64>, Handled) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let address = listener.local_addr().expect("bound");
    let sent: Vec<AtomicU64> = (0..load.frames.len()).map(|_| AtomicU64::new(0)).collect();
    let connect = || {
        let socket = TcpStream::connect(address).expect("the venue listens");
        socket.set_nodelay(true).expect("a socket");
        socket
    };
    // Both ends of a session whose handshake is made in memory.
    let (session, run): (Session, Box<dyn FnOnce() -> Handled + Send + '_>) = match (client, is_tls) {
        (Client::Tickwire(_), false) => {
            (Session::Plain, Box::new(|| by_tickwire(Stream::plain(connect()).expect("a socket"), load, decode)))
        }
        (Client::Tickwire(RecordOpener::InPlace), true) => {
            let (records, peer) = session(0);
            let stream = move || Stream::tls_in_place(connect(), Box::new(records)).expect("a socket");
            (Session::Peer(Box::new(peer)), Box::new(move || by_tickwire(stream(), load, decode)))
        }
        (Client::Tickwire(RecordOpener::Rustls), true) => {
            let (records, peer) = handshaken(0);
            let stream = move || Stream::tls(connect(), records, &[]).expect("a socket");
            (Session::Peer(Box::new(peer)), Box::new(move || by_tickwire(stream(), load, decode)))
        }
        (Client::Floor, false) => (Session::Plain, Box::new(|| by_floor(connect(), None, load))),
        (Client::Floor, true) => {
            (Session::Known(Box::new(Key::known())), Box::new(|| by_floor(connect(), Some(Key::known()), load)))
        }
        (_, false) => (Session::Plain, Box::new(move || on_tokio(client, address, false, load))),
        (_, true) => {
            let mut server = rustls::ServerConnection::new(configs(SUITES[0]).server).expect("a session");
            server.set_buffer_limit(None);
            (Session::Rustls(Box::new(server)), Box::new(move || on_tokio(client, address, true, load)))
        }
    };
    let handled = std::thread::scope(|scope| {
        let venue = scope.spawn(|| {
            claim(cpus[0]);
            let (socket, _) = listener.accept().expect("a client");
            serve(socket, session, load, &sent);
        });
        let client = scope.spawn(move || {
            claim(cpus[1]);
            run()
        });
        venue.join().expect("the venue sends all");
        let deadline = Instant::now() + SLICE_TIME_MAX;
        while !client.is_finished() {
            if Instant::now() > deadline {
                eprintln!("the last message did not come to its handler");
                std::process::exit(1);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        client.join().expect("the client reads all")
    });
    let Sums { units, floats, ends } = load.expected;
    let expected = match client {
        Client::Tickwire(_) => Sums { units, ..Sums::default() },
        Client::TungsteniteSerde | Client::TungsteniteSonic | Client::FastSonic => Sums { floats, ..Sums::default() },
        Client::Floor => Sums { ends, ..Sums::default() },
    };
    assert_eq!((handled.count, handled.sums), (load.total, expected), "each message once, and right");
    assert!(handled.at_ns.iter().all(|&ns| ns > 0), "every message has its time");
    std::thread::sleep(PAUSE);
    (sent.into_iter().map(AtomicU64::into_inner).collect(), handled)
}

/// Two CPUs of this process; `None` where it has one, on which a loop that never sleeps would keep the venue from writing.
fn two_cpus() -> Option<[usize; 2]> {
    let cpus = available_cpus();
    let (&last, others) = cpus.split_last()?;
    let cpus = [*others.last()?, last];
    let is_first = std::thread::scope(|scope| scope.spawn(move || claim(last)).join().expect("a thread"));
    if !is_first {
        eprintln!("no real-time priority for the threads of the wire: neighbours are in their figures");
    }
    Some(cpus)
}

/// Wire to handler at a pace: median and 99th percentile. No rows where this process has one CPU.
pub(crate) fn race(is_tls: bool, slices: usize, decode: Cpu) -> Raced {
    let Some(cpus) = two_cpus() else {
        eprintln!("one CPU: nothing over the wire");
        return Raced { rows: Vec::new(), panel: None };
    };
    let load = Load::new(PACED, true);
    let contenders: &[Contender] = if is_tls { &OVER_TLS } else { &PLAIN };
    let mut quantiles = vec![[Vec::new(), Vec::new()]; contenders.len()];
    let mut all: Vec<Vec<u64>> = vec![Vec::new(); contenders.len()];
    let mut allocated = vec![0; contenders.len()];
    for round in 0..slices {
        for turn in 0..contenders.len() {
            let at = (turn + round) % contenders.len();
            let (sent, handled) = slice(contenders[at].2, is_tls, &load, decode, cpus);
            let mut taken: Vec<u64> =
                sent.iter().zip(&handled.at_ns).skip(WARM_UP).map(|(sent, at)| at.saturating_sub(*sent)).collect();
            taken.sort_unstable();
            for (values, thousandths) in quantiles[at].iter_mut().zip([500, 990]) {
                values.push(quantile(&taken, thousandths) as f64);
            }
            all[at].append(&mut taken);
            allocated[at] += handled.used.0;
        }
    }
    all.iter_mut().for_each(|taken| taken.sort_unstable());
    let (work, scheme) = if is_tls { ("wire, wss", "wss") } else { ("wire, ws", "ws") };
    let case = format!("{} of {} B every 50 us over {scheme}", CASE.name(), load.message_bytes());
    let messages = (slices * (PACED - WARM_UP)) as f64;
    let mut raced = Vec::new();
    for (which, figure) in ["p50", "p99"].into_iter().enumerate() {
        let outcome = |(at, &(name, version, _)): (usize, &Contender)| Outcome {
            name,
            version,
            ns: median(&mut quantiles[at][which].clone()),
            allocations: allocated[at] as f64 / messages,
        };
        let outcomes: Vec<Outcome> = contenders.iter().enumerate().map(outcome).collect();
        raced.extend(rows(work, &format!("{case}, {figure}"), &outcomes));
    }
    let series = contenders.iter().map(|contender| contender.0).zip(all).collect();
    Raced { rows: raced, panel: Some(Panel { title: format!("wire to handler: {case}"), series }) }
}

/// CPU time of the client's thread for a message, without a pause between them.
pub(crate) fn saturated(slices: usize, decode: Cpu) -> Raced {
    let Some(cpus) = two_cpus() else { return Raced { rows: Vec::new(), panel: None } };
    let load = Load::new(SATURATED, false);
    let mut taken = vec![Vec::new(); PLAIN.len()];
    let mut allocated = vec![0; PLAIN.len()];
    let messages = (load.total - WARM_UP) as f64;
    for round in 0..slices {
        for turn in 0..PLAIN.len() {
            let at = (turn + round) % PLAIN.len();
            let (_, handled) = slice(PLAIN[at].2, false, &load, decode, cpus);
            taken[at].push(handled.used.1 as f64 / messages);
            allocated[at] += handled.used.0;
        }
    }
    let outcome = |(at, &(name, version, _)): (usize, &Contender)| Outcome {
        name,
        version,
        ns: median(&mut taken[at].clone()),
        allocations: allocated[at] as f64 / messages / slices as f64,
    };
    let outcomes: Vec<Outcome> = PLAIN.iter().enumerate().map(outcome).collect();
    let case = format!("{} of {} B, decoded and routed, of one core", CASE.name(), load.message_bytes());
    Raced { rows: rows("throughput", &case, &outcomes), panel: None }
}
