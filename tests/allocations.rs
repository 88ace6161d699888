//! The steady hot loop allocates nothing: counted by the allocator itself, over real sockets, with a server that writes as fast as
//! the engine reads.
//!
//! ```text
//! server threads: frames made beforehand ──► ws or wss ──► hot core ──► handler: notes its thread's count
//! ```
//! What is compared is the hot thread's own count at its first event and at its last.

#[path = "support/certificate.rs"]
mod certificate;
mod venue_server;

use certificate::certificate;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tickwire::config::{Config, ConnectionConfig, EndpointOverrides, LaneConfig, TlsConfig};
use tickwire::control::{
    Expectation, Liveness, LivenessSettings, SlotId, SlotSet, SubscriptionSettings, Subscriptions, Verdict,
};
use tickwire::engine::Engine;
use tickwire::hot::lanes::Policy;
use tickwire::hot::{RecordOpener, Router, Strategy};
use tickwire::market::{MonoNs, SymbolSpec, Venue};
use tickwire::sim::{self, Faults, SimOptions, Source};
use tickwire::telemetry::{CountingAllocator, Report, StageReport, is_counting, thread_allocations};
use tickwire::venue::{ServerPing, protocol};
use venue_server::{Session, VenueServer, frame, until};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// FIN and text.
const TEXT: u8 = 0x81;

/// What the hot thread notes: written by it alone, read when all is over.
#[derive(Default)]
struct Marks {
    events: AtomicU64,
    /// The thread's allocations at the last event of the warm-up, and at the last event of all.
    warm: AtomicU64,
    last: AtomicU64,
}

struct State {
    marks: Arc<Marks>,
    warm_up_events: u64,
}

fn note<E: ?Sized>(state: &mut State, _event: &E) {
    let events = state.marks.events.load(Ordering::Relaxed) + 1;
    let now = thread_allocations();
    if events <= state.warm_up_events {
        state.marks.warm.store(now, Ordering::Relaxed);
    }
    state.marks.last.store(now, Ordering::Relaxed);
    state.marks.events.store(events, Ordering::Release);
}

fn note_everything(_: &mut State, router: &mut Router<State>, spec: &SymbolSpec) {
    let symbol = spec.symbol;
    router.on_trade(symbol, note);
    router.on_quote(symbol, note);
    router.on_ticker(symbol, note);
    router.on_mark_price(symbol, note);
    router.on_kline(symbol, note);
    router.on_book_delta(symbol, |state, event| note(state, event));
}

/// What a run came to.
struct Outcome {
    report: Report,
    /// Events that reached a handler.
    events: u64,
    /// Allocations of the hot thread after its warm-up, to the last event.
    allocations: u64,
}

/// Runs the engine until `message_count` messages of market data have come.
fn run(connections: Vec<ConnectionConfig>, message_count: u64, warm_up_events: u64) -> Outcome {
    let config = Config::from_connections(connections).expect("a configuration that works");
    run_configured(config, message_count, warm_up_events)
}

fn run_configured(config: Config, message_count: u64, warm_up_events: u64) -> Outcome {
    assert!(is_counting(), "the allocator of this program counts");
    let marks = Arc::new(Marks::default());
    let noted = Arc::clone(&marks);
    let make =
        move || Strategy { state: State { marks: Arc::clone(&noted), warm_up_events }, on_symbol: note_everything };
    let engine = Engine::builder(config).strategy("notes", make).start().expect("it starts");
    until(&engine, "every message", |report| messages(report) >= message_count);
    let report = engine.stop();
    let allocations = marks.last.load(Ordering::Acquire) - marks.warm.load(Ordering::Acquire);
    Outcome { report, events: marks.events.load(Ordering::Acquire), allocations }
}

/// Messages of market data: acks are control-plane messages.
fn messages(report: &Report) -> u64 {
    report.connections.iter().map(|connection| connection.frames.saturating_sub(connection.control_messages)).sum()
}

/// Messages put together in one write of the server, over ws.
const BLOCK_MESSAGES: u64 = 100;

/// Sends `message_count` messages, cycling through these, in blocks.
fn send(session: &mut Session, message_count: u64, messages: &[String]) {
    let framed = |at: u64| frame(TEXT, messages[usize::try_from(at).unwrap() % messages.len()].as_bytes());
    let block: Vec<u8> = (0..BLOCK_MESSAGES).flat_map(framed).collect();
    assert!(message_count.is_multiple_of(BLOCK_MESSAGES) && BLOCK_MESSAGES.is_multiple_of(messages.len() as u64));
    for _ in 0..message_count / BLOCK_MESSAGES {
        if !session.send_raw(&block) {
            return;
        }
    }
}

fn serving(message_count: u64, messages: Vec<String>) -> VenueServer {
    VenueServer::start(move |_, session| {
        session.confirm_subscription();
        send(session, message_count, &messages);
        session.close_code();
    })
}

fn binance_trade_and_quote() -> Vec<String> {
    vec![
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":3735683259,"p":"67241.12000000","q":"0.00350000","T":1700000000000,"m":true,"M":true}}"#.to_owned(),
        r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"67241.11000000","B":"4.02500000","a":"67241.12000000","A":"1.10000000"}}"#.to_owned(),
    ]
}

fn bybit_trade() -> Vec<String> {
    vec![
        r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1700000000000,"data":[{"T":1700000000000,"s":"BTCUSDT","S":"Buy","v":"0.003","p":"67241.10","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,"RPI":false,"seq":753843954913}]}"#.to_owned(),
    ]
}

#[test]
fn a_million_messages_over_ws_allocate_nothing() {
    const EACH: u64 = 500_000;
    let binance = serving(EACH, binance_trade_and_quote());
    let bybit = serving(EACH, bybit_trade());
    let connections = vec![
        binance.connection("binance", Venue::BinanceSpot, &["BTCUSDT"], &["trade", "bookTicker"]),
        bybit.connection("bybit", Venue::BybitLinear, &["BTCUSDT"], &["publicTrade"]),
    ];
    let Outcome { report, events, allocations } = run(connections, 2 * EACH, 1);
    assert_eq!((messages(&report), report.events(), events), (2 * EACH, 2 * EACH, 2 * EACH));
    for connection in &report.connections {
        let counts = (connection.unparsed, connection.unrouted, connection.tier_two, connection.reconnects);
        assert_eq!(counts, (0, 0, 0, 0), "{}", connection.name);
    }
    assert_eq!(allocations, 0, "between the first event and the last");
    let StageReport { read_to_framed_ns, decoded_to_handled_ns, .. } = report.hot_threads[0].stages;
    let stamped = read_to_framed_ns.count;
    assert!((2 * EACH / 80..2 * EACH / 50).contains(&stamped), "one in 64 is stamped: {stamped}");
    assert_eq!(decoded_to_handled_ns.count, stamped);
    assert_eq!(report.hot_threads[0].allocations, Some(0), "attaching, acks and closing among them");
}

#[test]
fn with_every_message_stamped_and_the_kernels_stamps_nothing_is_allocated_either() {
    const COUNT: u64 = 100_000;
    let binance = serving(COUNT, binance_trade_and_quote());
    let connection = binance.connection("binance", Venue::BinanceSpot, &["BTCUSDT"], &["trade", "bookTicker"]);
    let mut config = Config::from_connections(vec![connection]).expect("a configuration that works");
    (config.engine.latency_sample_every, config.engine.kernel_stamps) = (1, true);
    let Outcome { report, events, allocations } = run_configured(config, COUNT, 1);
    assert_eq!((messages(&report), events, allocations), (COUNT, COUNT, 0));
    let thread = &report.hot_threads[0];
    assert_eq!((thread.allocations, thread.stages.framed_to_decoded_ns.count), (Some(0), COUNT));
    let reads = thread.stages.kernel_to_read_ns.count;
    assert!((1..=COUNT).contains(&reads), "a stamp a read: {}", report.to_json());
    assert_eq!((thread.stamps.every, thread.stamps.counter_ns > 0.0), (1, true));
}

#[test]
fn lanes_of_every_policy_take_nothing_of_the_hot_threads_memory_and_nothing_of_their_own_once_warm() {
    const COUNT: u64 = 200_000;
    assert!(is_counting(), "the allocator of this program counts");
    let levels = (0..20).map(|at| format!(r#"["{}.10","0.{:05}"]"#, 60_000 + at, at + 1)).collect::<Vec<_>>().join(",");
    let mut messages = binance_trade_and_quote();
    for at in 0..2 {
        messages.push(format!(
            r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":{at},"u":{at},"b":[{levels}],"a":[{levels}]}}}}"#
        ));
    }
    let server = serving(COUNT, messages);
    let channels = ["trade", "bookTicker", "depth@100ms"];
    let mut config =
        Config::from_connections(vec![server.connection("binance", Venue::BinanceSpot, &["BTCUSDT"], &channels)])
            .expect("a configuration that works");
    let cpu = config.engine.cores[0].cpu;
    config.engine.cores[0].strategy = Some("null".to_owned());
    let policies = [Policy::Latest, Policy::DropOldest, Policy::Block];
    let lane = |policy: Policy| LaneConfig { policy, slots: 64, ..LaneConfig::new(policy.name(), cpu) };
    config.engine.lanes = policies.map(lane).to_vec();
    // One state a lane, in the order in which they are started.
    let marks = policies.map(|_| Arc::new(Marks::default()));
    let free = std::sync::Mutex::new(marks.iter().map(Arc::clone).collect::<std::collections::VecDeque<_>>());
    let make = move || {
        let marks = free.lock().expect("one lane at a time").pop_front().expect("three lanes");
        Strategy { state: State { marks, warm_up_events: 10 }, on_symbol: note_everything }
    };
    let engine = Engine::builder(config).strategy("notes", make).start().expect("it starts");
    until(&engine, "every message", |report| self::messages(report) >= COUNT);
    let report = engine.stop();
    assert_eq!(report.hot_threads[0].allocations, Some(0), "the core's, with three lanes beside it");
    for (marks, lane) in marks.iter().zip(&report.lanes) {
        let events = marks.events.load(Ordering::Acquire);
        assert!(events > 10 && events == lane.delivered && lane.too_long == 0, "{lane:?}");
        assert_eq!(lane.sent, lane.delivered + lane.lost() + lane.waiting, "{lane:?}");
        let allocations = marks.last.load(Ordering::Acquire) - marks.warm.load(Ordering::Acquire);
        assert_eq!(allocations, 0, "{lane:?}");
    }
    assert_eq!(report.lanes[2].delivered, COUNT, "the lane that the core waits for has all of them");
}

#[test]
fn arrays_of_the_whole_market_allocate_nothing() {
    const COUNT: u64 = 2_000;
    const ELEMENTS: u64 = 150;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let source = Source::Synthetic { seed: 1, rate: 1.0, symbols: 4 };
    let options = SimOptions { venues: vec![Venue::BinanceUsdm], source, ..SimOptions::default() };
    // Its instrument list says what the whole market is; its WebSocket is not used.
    let exchange = runtime.block_on(sim::start(options)).unwrap();
    let listed = exchange.symbols(Venue::BinanceUsdm)[0].clone();
    let array = |stream: &str, element: fn(&str) -> String| {
        let name = |at: u64| if at == 75 { listed.clone() } else { format!("X{at}USDT") };
        let elements: Vec<String> = (0..ELEMENTS).map(|at| element(&name(at))).collect();
        format!(r#"{{"stream":"{stream}","data":[{}]}}"#, elements.join(","))
    };
    let ticker = |name: &str| {
        format!(
            r#"{{"e":"24hrTicker","E":1700000000000,"s":"{name}","p":"1.50","P":"0.786","w":"67000.123456","c":"67001.00","Q":"0.1","o":"66000.00","h":"68000.00","l":"65000.00","v":"10000","q":"670000000.1","O":1699913600000,"C":1700000000000,"F":0,"L":18150,"n":18151}}"#
        )
    };
    let mark_price = |name: &str| {
        format!(
            r#"{{"e":"markPriceUpdate","E":1700000000000,"s":"{name}","p":"67000.123456","i":"67000.1","P":"67000.2","r":"0.0001","T":1700006400000}}"#
        )
    };
    let server = serving(COUNT, vec![array("!ticker@arr", ticker), array("!markPrice@arr@1s", mark_price)]);
    let channels = ["!ticker@arr", "!markPrice@arr@1s"];
    let mut connection = server.connection("usdm", Venue::BinanceUsdm, &[], &channels);
    connection.rest_url = exchange.endpoints().venue(Venue::BinanceUsdm).unwrap().rest.parse().unwrap();
    let Outcome { report, events, allocations } = run(vec![connection], COUNT, 1);
    assert_eq!((messages(&report), events, allocations), (COUNT, COUNT, 0));
    let connection = &report.connections[0];
    assert_eq!((connection.unparsed, connection.tier_two), (0, 0));
    assert_eq!(connection.unparsed_reasons.get("unknown_symbol"), Some(&(COUNT * (ELEMENTS - 1))));
    let [sample] = connection.samples.as_slice() else { panic!("one sample: {:?}", connection.samples) };
    assert!(sample.text.starts_with(r#"{"stream":"!ticker@arr","data":[{"e":"24hrTicker""#), "{sample:?}");
    assert_eq!(report.hot_threads[0].allocations, Some(0));
    runtime.block_on(exchange.stop());
}

#[test]
fn books_tickers_and_candles_in_any_order_allocate_nothing_once_warm() {
    tier_two_allocates_nothing(str::to_owned);
}

#[test]
fn books_tickers_and_candles_that_only_the_parser_of_any_json_reads_allocate_nothing_once_warm() {
    // An escape in what is read.
    tier_two_allocates_nothing(|message| message.replace("BTCUSDT\"", "BTC\\u0055SDT\""));
}

/// Messages with white space, which are not of the expected shape, in this form.
fn tier_two_allocates_nothing(form: fn(&str) -> String) {
    const EACH: u64 = 20_000;
    let levels = |count: u64| {
        let level = |at: u64| format!(r#"[ "{}.10", "0.{:03}" ]"#, 60_000 + at, at + 1);
        (0..count).map(level).collect::<Vec<_>>().join(",")
    };
    let binance = serving(
        EACH,
        [
            format!(
                r#"{{ "stream": "btcusdt@depth@100ms", "data": {{ "e": "depthUpdate", "E": 1700000000000, "s": "BTCUSDT", "U": 1, "u": 2, "b": [{}], "a": [{}] }} }}"#,
                levels(100),
                levels(80)
            ),
            r#"{ "stream": "btcusdt@ticker", "data": { "e": "24hrTicker", "E": 1700000000000, "s": "BTCUSDT", "p": "1.50", "P": "0.786", "w": "67000.123456", "x": "67000.00", "c": "67001.00", "Q": "0.1", "b": "67000.00", "B": "1.0", "a": "67001.00", "A": "1.0", "o": "66000.00", "h": "68000.00", "l": "65000.00", "v": "10000", "q": "670000000.1", "O": 1699913600000, "C": 1700000000000, "F": 0, "L": 18150, "n": 18151 } }"#.to_owned(),
            r#"{ "stream": "btcusdt@kline_1m", "data": { "e": "kline", "E": 1700000000000, "s": "BTCUSDT", "k": { "t": 1699999980000, "T": 1700000039999, "s": "BTCUSDT", "i": "1m", "f": 100, "L": 200, "o": "67000.10", "c": "67000.20", "h": "67000.25", "l": "67000.15", "v": "1000", "n": 100, "x": false, "q": "1.0000", "V": "500", "Q": "0.500", "B": "0" } } }"#.to_owned(),
            r#"{ "stream": "btcusdt@trade", "data": { "e": "trade", "E": 1700000000000, "s": "BTCUSDT", "t": 1, "p": "67241.12", "q": "0.0035", "T": 1700000000000, "m": true, "M": true } }"#.to_owned(),
        ]
        .map(|message| form(&message))
        .to_vec(),
    );
    let bybit = VenueServer::start(move |_, session| {
        session.confirm_subscription();
        session.send(r#"{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","tickDirection":"PlusTick","price24hPcnt":"0.017103","lastPrice":"17216.00","markPrice":"17217.33","openInterest":"68744.761","nextFundingTime":"1673280000000","fundingRate":"-0.000212","bid1Price":"17215.50","bid1Size":"84.489"},"cs":24987956059,"ts":1673272861686}"#);
        let delta = r#"{ "topic": "tickers.BTCUSDT", "type": "delta", "data": { "symbol": "BTCUSDT", "bid1Size": "1.5", "lastPrice": "17217.00" }, "cs": 24987956060, "ts": 1673272861786 }"#;
        send(session, EACH, &[form(delta)]);
        session.close_code();
    });
    let connections = vec![
        binance.connection(
            "binance",
            Venue::BinanceSpot,
            &["BTCUSDT"],
            &["depth@100ms", "ticker", "kline_1m", "trade"],
        ),
        bybit.connection("bybit", Venue::BybitLinear, &["BTCUSDT"], &["tickers"]),
    ];
    let Outcome { report, events, allocations } = run(connections, 2 * EACH + 1, 2_000);
    assert_eq!((messages(&report), report.events(), events), (2 * EACH + 1, 2 * EACH + 1, 2 * EACH + 1));
    for connection in &report.connections {
        assert_eq!((connection.unparsed, connection.unrouted), (0, 0), "{:?}", connection.samples);
        // All but Bybit's snapshot.
        assert!(connection.tier_two >= EACH, "{} of {EACH} by tier two", connection.tier_two);
    }
    assert_eq!(allocations, 0, "after the warm-up");
}

/// Runs the engine over wss, one message a record, which this opens: the most records, and so the most allocations, that
/// messages can come in.
fn run_wss(records: RecordOpener, count: u64) -> Outcome {
    let (tls, ca) = certificate("127.0.0.1");
    let name = format!("tickwire-allocations-{}-{}.pem", records.name(), std::process::id());
    let ca_file = std::env::temp_dir().join(name);
    std::fs::write(&ca_file, ca).expect("a file of our own");
    let server = VenueServer::start_tls(tls, move |_, session| {
        session.confirm_subscription();
        let frames: Vec<Vec<u8>> =
            binance_trade_and_quote().iter().map(|message| frame(TEXT, message.as_bytes())).collect();
        for at in 0..usize::try_from(count).unwrap() {
            if !session.send_raw(&frames[at % frames.len()]) {
                return;
            }
        }
        session.close_code();
    });
    let mut connection = server.connection("binance", Venue::BinanceSpot, &["BTCUSDT"], &["trade", "bookTicker"]);
    connection.tls = TlsConfig { ca_file: Some(ca_file.clone()), records };
    let outcome = run(vec![connection], count, 1);
    std::fs::remove_file(&ca_file).expect("still there");
    let tls = outcome.report.connections[0].tls.as_deref();
    assert_eq!((messages(&outcome.report), outcome.events, tls), (count, count, Some(records.name())));
    assert!(outcome.report.hot_threads[0].stages.read_to_decrypted_ns.count > 0, "{}", outcome.report.to_json());
    outcome
}

#[test]
fn over_wss_records_that_are_opened_in_place_allocate_nothing() {
    let Outcome { report, allocations, .. } = run_wss(RecordOpener::InPlace, 200_000);
    assert_eq!(allocations, 0, "between the first event and the last");
    assert_eq!(report.hot_threads[0].allocations, Some(0), "attaching, acks and closing among them");
    let connection = &report.connections[0];
    assert_eq!((connection.tls_fallbacks, connection.tickets_dropped, connection.reconnects), (0, 0, 0));
}

#[test]
fn over_wss_a_record_that_rustls_opens_allocates_twice_at_most_and_how_often_is_stated() {
    const COUNT: u64 = 100_000;
    let Outcome { allocations, .. } = run_wss(RecordOpener::Rustls, COUNT);
    let records = COUNT - 1;
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let each = allocations as f64 / records as f64;
    eprintln!("wss: {allocations} allocations of the hot thread for {records} records: {each:.3} a record");
    // The path behind the record is the one that allocates nothing over ws.
    assert!(allocations <= 2 * records, "{allocations} allocations for {records} records");
}

/// Rotates a connection of so many legs twice, under load, and says how often the hot thread allocated from a time when it was
/// warm until all was over.
fn allocations_of_rotations(venue: Venue, legs: usize) -> u64 {
    assert!(is_counting(), "the allocator of this program counts");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let options = SimOptions {
        venues: vec![venue],
        source: Source::Synthetic { seed: 5, rate: 5_000.0, symbols: 5 },
        faults: Faults::parse("leg-skew=0..20ms", 1).expect("a fault"),
        is_tape: true,
        ..SimOptions::default()
    };
    let exchange = runtime.block_on(sim::start(options)).expect("it starts");
    let symbols = exchange.symbols(venue);
    let names: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let channels = match venue {
        Venue::BinanceSpot | Venue::BinanceUsdm => ["trade", "bookTicker", "depth@100ms", "kline_1m"],
        Venue::BybitSpot | Venue::BybitLinear => ["publicTrade", "orderbook.1", "orderbook.50", "kline.1"],
    };
    let mut connection = ConnectionConfig::new("one", venue).subscribed_to(&names, &channels).expect("known");
    connection.rotation.overlap = Duration::from_millis(300);
    connection.legs.count = legs;
    let mut config = Config::from_connections(vec![connection]).expect("a configuration that works");
    let endpoints = serde_json::to_string(exchange.endpoints()).expect("JSON");
    config.point_at(&EndpointOverrides::parse(&endpoints).expect("endpoints")).expect("addresses");
    let marks = Arc::new(Marks::default());
    let noted = Arc::clone(&marks);
    let make =
        move || Strategy { state: State { marks: Arc::clone(&noted), warm_up_events: 1 }, on_symbol: note_everything };
    let engine = Engine::builder(config).strategy("notes", make).start().expect("it starts");
    until(&engine, "a warm core", |report| report.events() >= 10_000);
    let before = engine.report().hot_threads[0].allocations.expect("counted");
    for done in 1..=2 {
        let handle = engine.handle();
        // Until the overlap before has ended, there is no next one.
        until(&engine, "a rotation begins", |_| {
            let handle = handle.clone();
            engine.block_on(async move { handle.rotate("one").await }).expect("it runs").is_ok()
        });
        until(&engine, "it is over", |report| report.connections.iter().all(|leg| leg.rotations == done));
        until(&engine, "its tables are given back", |_| {
            let handle = handle.clone();
            let status = engine.block_on(async move { handle.status().await }).expect("it runs");
            status.connections.iter().all(|connection| !connection.rotation.is_running)
        });
    }
    let report = engine.stop();
    let after = report.hot_threads[0].allocations.expect("counted");
    let repeated: u64 = report.connections.iter().map(|leg| leg.repeated).sum();
    assert!(repeated > 1_000, "both legs spoke: {}", report.to_json());
    after - before
}

#[test]
fn a_rotation_under_load_allocates_nothing_on_the_hot_thread() {
    assert_eq!(
        allocations_of_rotations(Venue::BinanceSpot, 1),
        0,
        "from the first BeginOverlap to after the last EndOverlap"
    );
}

#[test]
fn legs_under_load_and_their_rotations_allocate_nothing_on_the_hot_thread() {
    let of = |venue| allocations_of_rotations(venue, 2);
    assert_eq!(of(Venue::BinanceSpot), 0, "races, batches that wait, and successors that join and leave");
    assert_eq!(of(Venue::BybitLinear), 0, "a book of each leg, and of each successor");
}

#[test]
fn liveness_allocates_nothing_once_there_is_room_whatever_is_silent() {
    const COUNT: usize = 1_000;
    let streams: Vec<Box<str>> = (0..COUNT).map(|n| format!("s{n}").into()).collect();
    let limits = protocol(Venue::BinanceSpot).limits();
    let subscriptions =
        Subscriptions::new(protocol(Venue::BinanceSpot), limits, SubscriptionSettings::default(), streams)
            .expect("a plan");
    let slots: Vec<SlotId> = subscriptions.slots(SlotSet::Wanted).map(|(slot, _)| slot).collect();
    let mut liveness = Liveness::new(LivenessSettings::default(), COUNT);
    let mut verdicts = [0_u64; 3];
    let before = thread_allocations();
    for round in 0..3 {
        let start = MonoNs((1 + round * 1_000) * 1_000_000_000);
        liveness.connected(start);
        for &slot in &slots {
            liveness.sent(slot, Expectation::within(Duration::from_secs(30)), start);
            liveness.acknowledged(slot, start);
        }
        for sample in 1..1_200_u64 {
            let now = MonoNs(start.0 + sample * 500_000_000);
            liveness.heard(now);
            for (n, &slot) in slots.iter().enumerate() {
                // A third is silent in the first round, and most stop half-way in the others.
                let is_speaking = if round == 0 { n % 3 > 0 } else { sample < 600 || n % 10 == 0 };
                liveness.seen(slot, if is_speaking { now } else { MonoNs(0) }, now);
            }
            liveness.poll(now, &mut |verdict| match verdict {
                Verdict::Silent { .. } => verdicts[0] += 1,
                Verdict::Recovered { .. } => verdicts[1] += 1,
                Verdict::Repair(_) => verdicts[2] += 1,
            });
            let _ = liveness.next_timer();
        }
        liveness.disconnected();
    }
    assert_eq!(thread_allocations() - before, 0);
    assert!(is_counting() && verdicts.iter().all(|&count| count > 0), "{verdicts:?}");
}

#[test]
fn a_servers_ping_is_known_without_an_allocation() {
    let ping = ServerPing::Field("ping".into());
    let before = thread_allocations();
    assert!(ping.recognise(br#"{"ping":1492420473027}"#).is_some());
    assert!(ping.recognise(br#"{"ping":1492420473027,"x":"\u00e9"}"#).is_some());
    assert!(ping.recognise(br#"{"ch":"market.btcusdt.trade.detail"}"#).is_none());
    assert_eq!(thread_allocations() - before, 0);
}
