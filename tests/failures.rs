//! What goes wrong, goes wrong on the whole engine: over real sockets, with a server that misbehaves on purpose. Each test reads
//! the words in which the engine says what happened.

mod venue_server;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use tickwire::config::{Config, ConnectionConfig, CoreConfig, EngineConfig, Idle};
use tickwire::engine::{Engine, RunningEngine, available_cpus};
use tickwire::hot::{Router, Strategy};
use tickwire::market::{AggTrade, MarkPrice, Price, SymbolSpec, Ticker, Trade, Venue};
use tickwire::sim::{self, SimOptions, Source};
use tickwire::telemetry::FailureKind;
use venue_server::{PATIENCE, Session, VenueServer, frame, until};

/// FIN and the opcodes of a server's frames.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;

fn trade(symbol: &str, price: &str, id: u64) -> String {
    format!(
        r#"{{"stream":"{}@trade","data":{{"e":"trade","E":1700000000000,"s":"{symbol}","t":{id},"p":"{price}","q":"0.00100000","T":1700000000000,"m":true,"M":true}}}}"#,
        symbol.to_lowercase()
    )
}

/// Tells the test what it is given: the price in cents.
struct Told {
    prices: Sender<i64>,
}

fn tell(told: &mut Told, trade: &Trade) {
    // A test that has seen enough listens no more.
    let _ = told.prices.send(trade.price.mantissa());
}

fn tell_trades(_: &mut Told, router: &mut Router<Told>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, tell);
}

fn engine_of(connection: ConnectionConfig, on_symbol: OnSymbol) -> (RunningEngine, Receiver<i64>) {
    let (prices_in, prices) = channel();
    let prices_in = Mutex::new(prices_in);
    let make = move || Strategy { state: Told { prices: prices_in.lock().unwrap().clone() }, on_symbol };
    let config = Config::from_connections(vec![connection]).unwrap();
    (Engine::builder(config).strategy("told", make).start().unwrap(), prices)
}

type OnSymbol = fn(&mut Told, &mut Router<Told>, &SymbolSpec);

/// The next `count` prices that the strategy was given.
fn told(prices: &Receiver<i64>, count: usize) -> Vec<i64> {
    (0..count).map(|_| prices.recv_timeout(PATIENCE).expect("a trade reaches the handler")).collect()
}

/// A Binance spot connection for the trades of BTCUSDT.
fn trades(server: &VenueServer) -> ConnectionConfig {
    server.connection("binance-a", Venue::BinanceSpot, &["BTCUSDT"], &["trade"])
}

/// A script for what `send` does after the subscription; then it waits for the engine to close.
fn serving(send: impl Fn(usize, &mut Session) + Send + Sync + 'static) -> VenueServer {
    VenueServer::start(move |number, session| {
        session.confirm_subscription();
        send(number, session);
        session.close_code();
    })
}

// ---------------------------------------------------------------------------------------------- handlers

fn panic_at_ninety(told: &mut Told, trade: &Trade) {
    assert!(trade.price != Price::from_mantissa(9_000), "the price is {}", trade.price.mantissa());
    tell(told, trade);
}

#[test]
fn a_handler_that_panics_is_reported_with_its_event_and_the_rest_stops_cleanly() {
    let (closes_in, closes) = channel();
    let server = VenueServer::start(move |_, session| {
        session.confirm_subscription();
        session.send(trade("BTCUSDT", "100.00", 1));
        session.send(trade("BTCUSDT", "90.00", 2));
        session.send(trade("BTCUSDT", "80.00", 3));
        let _ = closes_in.send(session.close_code());
    });
    let (engine, prices) = engine_of(trades(&server), |_, router, spec| router.on_trade(spec.symbol, panic_at_ninety));
    assert_eq!(told(&prices, 1), [10_000]);
    until(&engine, "the failure", |report| report.failure.is_some());
    let failure = engine.failure().expect("just seen");
    assert_eq!(failure.kind, FailureKind::HandlerPanicked);
    let cpu = engine.report().hot_threads[0].core;
    let expected = format!(
        "a handler panicked on Trade of binance-spot BTCUSDT, connection binance-a, CPU {cpu}: the price is 9000; message: {}",
        trade("BTCUSDT", "90.00", 2)
    );
    assert_eq!(failure.message, expected);
    assert_eq!(engine.failure().as_ref(), Some(&failure), "it stays known");
    assert_eq!(closes.recv_timeout(PATIENCE).unwrap(), None, "the core took its connections with it");
    let last = engine.stop();
    assert!(last.is_final);
    assert_eq!(last.failure, Some(failure));
    assert_eq!(last.connections[0].events, 2, "the last read is counted up to the event that was being handled");
    assert!(prices.try_recv().is_err(), "nothing was delivered after the panic");
}

fn registered_but_not_bitcoin(told: &mut Told, router: &mut Router<Told>, spec: &SymbolSpec) {
    tell_trades(told, router, spec);
    if &*spec.name == "ETHUSDT" {
        // The symbols come in the configuration's order: this one is the second.
        assert!(router.unregister(tickwire::market::EventKind::Trade, tickwire::market::Symbol::new(0).unwrap()));
    }
}

#[test]
fn the_events_of_an_unregistered_handler_are_counted_as_unrouted() {
    let server = serving(|_, session| {
        for id in 0..10 {
            session.send(trade("BTCUSDT", "1.00", id));
            session.send(trade("ETHUSDT", "2.00", id));
        }
    });
    let connection = server.connection("binance-a", Venue::BinanceSpot, &["BTCUSDT", "ETHUSDT"], &["trade"]);
    let (engine, prices) = engine_of(connection, registered_but_not_bitcoin);
    assert_eq!(told(&prices, 10), [200; 10]);
    until(&engine, "ten events without a handler", |report| report.connections[0].unrouted == 10);
    let last = engine.stop();
    assert_eq!((last.connections[0].events, last.connections[0].unparsed), (20, 0));
}

#[test]
fn two_hot_cores_run_two_strategies_and_the_panic_of_one_does_not_end_the_other() {
    let cpus = available_cpus();
    let &[first, second, ..] = cpus.as_slice() else {
        eprintln!("skipped: this machine gives {} CPU, two are needed", cpus.len());
        return;
    };
    let (go_in, go) = channel::<()>();
    let go = Mutex::new(go);
    let (closes_in, closes) = channel();
    let fails = serving(|_, session| session.send(trade("BTCUSDT", "90.00", 1)));
    let lives = VenueServer::start(move |_, session| {
        session.confirm_subscription();
        session.send(trade("ETHUSDT", "3.00", 1));
        let _ = go.lock().unwrap().recv();
        session.send(trade("ETHUSDT", "4.00", 2));
        let _ = closes_in.send(session.close_code());
    });
    let mut connections = vec![
        fails.connection("fails", Venue::BinanceSpot, &["BTCUSDT"], &["trade"]),
        lives.connection("lives", Venue::BinanceSpot, &["ETHUSDT"], &["trade"]),
    ];
    (connections[0].core, connections[1].core) = (first, second);
    let core = |cpu, name: &str| CoreConfig { strategy: Some(name.to_owned()), ..CoreConfig::new(cpu) };
    let cores = vec![core(first, "fragile"), core(second, "told")];
    let config = Config::from_parts(connections, EngineConfig { cores, ..EngineConfig::default() }).unwrap();
    let (prices_in, prices) = channel();
    let prices_in = Mutex::new(prices_in);
    let state = move || Told { prices: prices_in.lock().unwrap().clone() };
    let state = std::sync::Arc::new(state);
    let for_fragile = std::sync::Arc::clone(&state);
    let engine = Engine::builder(config)
        .strategy("fragile", move || Strategy {
            state: for_fragile(),
            on_symbol: |_, router, spec| router.on_trade(spec.symbol, panic_at_ninety),
        })
        .strategy("told", move || Strategy { state: state(), on_symbol: tell_trades })
        .start()
        .unwrap();
    assert_eq!(told(&prices, 1), [300]);
    until(&engine, "the first core's failure", |report| report.failure.is_some());
    assert!(engine.failure().unwrap().message.contains(&format!("connection fails, CPU {first}: ")));
    go_in.send(()).unwrap();
    assert_eq!(told(&prices, 1), [400], "the other core goes on until it is stopped");
    let last = engine.stop();
    assert_eq!(closes.recv_timeout(PATIENCE).unwrap(), Some(1000), "closed by its handshake");
    assert_eq!(last.hot_threads.iter().map(|thread| thread.core).collect::<Vec<_>>(), [first, second]);
}

// ---------------------------------------------------------------------------------------------- messages

#[test]
fn an_unknown_symbol_in_an_all_market_array_is_counted_and_the_others_are_delivered_until_it_is_added() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = SimOptions {
        venues: vec![Venue::BinanceUsdm],
        source: Source::Synthetic { seed: 1, rate: 1.0, symbols: 4 },
        ..SimOptions::default()
    };
    // Its instrument list says what the whole market is; its WebSocket is not used.
    let exchange = runtime.block_on(sim::start(options)).unwrap();
    let listed: Vec<String> = exchange.symbols(Venue::BinanceUsdm);
    let names = [listed[0].clone(), "NOBODYUSDT".to_owned(), listed[1].clone()];
    let (again_in, again) = channel::<()>();
    let again = Mutex::new(again);
    let server = serving(move |_, session| {
        let element = |name: &String| {
            format!(
                r#"{{"e":"markPriceUpdate","E":1562305380000,"s":"{name}","p":"1","i":"1","P":"1","r":"0","T":1562306400000}}"#
            )
        };
        let elements = names.iter().map(element).collect::<Vec<_>>().join(",");
        let array = format!(r#"{{"stream":"!markPrice@arr@1s","data":[{elements}]}}"#);
        session.send(&array);
        if again.lock().unwrap().recv().is_ok() {
            session.send(&array);
        }
    });
    let mut connection = server.connection("usdm", Venue::BinanceUsdm, &[], &["!markPrice@arr@1s"]);
    connection.rest_url = exchange.endpoints().venue(Venue::BinanceUsdm).unwrap().rest.parse().unwrap();
    let (engine, prices) = engine_of(connection, |told, router, spec| {
        if &*spec.name == "NOBODYUSDT" {
            let _ = told.prices.send(-1);
        }
        router.on_mark_price(spec.symbol, |told: &mut Told, event: &MarkPrice| {
            let _ = told.prices.send(i64::try_from(event.meta.symbol.index()).unwrap());
        });
    });
    let symbols = told(&prices, 2);
    // Events are counted once their message is done: a handler is heard before that.
    let report = until(&engine, "the unknown symbol and the others", |report| {
        report.connections[0].unrouted == 1 && report.connections[0].events == 2
    });
    let by_name = engine.symbols();
    let found: Vec<&str> = symbols.iter().map(|&at| &*by_name[usize::try_from(at).unwrap()].name).collect();
    assert_eq!(found, [&listed[0], &listed[1]]);
    let connection = &report.connections[0];
    assert_eq!(connection.unparsed, 0);
    assert_eq!(connection.unparsed_reasons.get("unknown_symbol"), Some(&1));

    let added = engine.add_symbol(Venue::BinanceUsdm, "NOBODYUSDT", (2, 3), None).unwrap();
    assert_eq!(engine.add_symbol(Venue::BinanceUsdm, "NOBODYUSDT", (2, 3), None), Ok(added), "twice is once");
    assert_eq!(told(&prices, 1), [-1], "the core has learned it");
    again_in.send(()).unwrap();
    assert_eq!(told(&prices, 3)[1], i64::try_from(added.index()).unwrap());
    assert_eq!(engine.stop().connections[0].unrouted, 1, "not a second time");
    runtime.block_on(exchange.stop());
}

/// What one message that cannot be used is counted and shown as. A good trade before and after it is delivered.
fn refused(message: &[u8], opcode: u8, reason: &str, field: &str) {
    let bytes = frame(opcode, message);
    let server = serving(move |_, session| {
        session.send(trade("BTCUSDT", "1.00", 1));
        session.send_raw(&bytes);
        session.send(trade("BTCUSDT", "2.00", 2));
    });
    let (engine, prices) = engine_of(trades(&server), tell_trades);
    assert_eq!(told(&prices, 2), [100, 200], "{reason}");
    until(&engine, "the sample", |report| !report.connections[0].samples.is_empty());
    let last = engine.stop();
    let connection = &last.connections[0];
    assert_eq!((connection.unparsed, connection.events, connection.reconnects), (1, 2, 0), "{reason}");
    assert_eq!(connection.unparsed_reasons.get(reason), Some(&1), "{:?}", connection.unparsed_reasons);
    let [sample] = connection.samples.as_slice() else { panic!("one sample: {:?}", connection.samples) };
    assert_eq!((sample.reason.as_str(), sample.field.as_str()), (reason, field));
    assert_eq!(sample.message_bytes, message.len() as u64);
    let shown = String::from_utf8_lossy(&message[..message.len().min(tickwire::limits::SAMPLE_BYTES)]);
    assert_eq!(sample.text, shown, "the message as it came");
}

#[test]
fn a_value_that_does_not_fit_its_scale_is_off_grid_and_its_message_is_kept_as_it_came() {
    // White space and an escape: the scanner gives the message to tier two, which parses in place.
    refused(
        br#"{"stream":"btcusdt@trade", "data":{"e":"trade","E":1700000000000,"s":"BTC\u0055SDT","t":7,"p":"90.001","q":"1","T":1700000000000,"m":true,"M":true}}"#,
        TEXT,
        "off_grid",
        "p",
    );
}

#[test]
fn a_message_that_is_not_json_is_counted_and_shown() {
    refused(b"Service temporarily unavailable", TEXT, "not_json", "");
}

#[test]
fn a_message_cut_short_is_counted_and_shown() {
    refused(br#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000000,"s":"BTCUS"#, TEXT, "not_json", "");
}

#[test]
fn binary_garbage_is_counted_and_shown() {
    refused(b"\x00\xff\xfe{\"\x80\x00", BINARY, "not_json", "");
}

#[test]
fn a_long_message_of_no_known_shape_is_shown_by_its_beginning() {
    let long = format!(r#"{{"stream":"btcusdt@trade","data":{{"e":"news","pad":"{}"}}}}"#, "x".repeat(5_000));
    refused(long.as_bytes(), TEXT, "unknown_shape", "e");
}

#[test]
fn a_refusal_with_escapes_in_its_words_is_read_as_it_was_said() {
    let server = VenueServer::start(|_, session| {
        session.answer_request(|id| format!(r#"{{"code":2,"msg":"Invalid \"x\" \u0041 \/","id":{id}}}"#));
        session.close_code();
    });
    let (engine, _prices) = engine_of(trades(&server), tell_trades);
    let report = until(&engine, "refused", |report| report.connections[0].subscriptions.refused == 1);
    let error = report.connections[0].last_error.clone().unwrap_or_default();
    assert!(error.contains(r#"Invalid "x" A /"#), "{error}");
    assert_eq!(report.connections[0].control_unknown, 0);
}

#[test]
fn a_core_that_spins_and_one_that_yields_deliver_as_one_that_parks() {
    for idle in [Idle::Spin, Idle::Yield, Idle::Park] {
        let server = serving(|_, session| {
            for id in 0..100 {
                session.send(trade("BTCUSDT", "1.00", id));
            }
        });
        let (prices_in, prices) = channel();
        let prices_in = Mutex::new(prices_in);
        let make =
            move || Strategy { state: Told { prices: prices_in.lock().unwrap().clone() }, on_symbol: tell_trades };
        let mut config = Config::from_connections(vec![trades(&server)]).unwrap();
        config.engine.cores[0].idle = idle;
        let engine = Engine::builder(config).strategy("told", make).start().unwrap();
        assert_eq!(told(&prices, 100), [100; 100], "{idle:?}");
        assert_eq!(engine.stop().connections[0].unparsed, 0, "{idle:?}");
    }
}

// ---------------------------------------------------------------------------------------------- the wire

/// The first connection gets `bytes` after a trade; the second, after the engine came back, gets another trade.
fn loses(bytes: Vec<u8>, max_message_bytes: Option<usize>, code: u16, name: &str, words: &str) {
    let (codes_in, codes) = channel();
    let server = VenueServer::start(move |number, session| {
        session.confirm_subscription();
        if number > 0 {
            session.send(trade("BTCUSDT", "2.00", 2));
            session.close_code();
            return;
        }
        session.send(trade("BTCUSDT", "1.00", 1));
        session.send_raw(&bytes);
        let _ = codes_in.send(session.close_code());
    });
    let mut connection = trades(&server);
    if let Some(bytes) = max_message_bytes {
        connection.limits.max_message_bytes = bytes;
    }
    let (engine, prices) = engine_of(connection, tell_trades);
    assert_eq!(told(&prices, 2), [100, 200], "{words}: it comes back");
    assert_eq!(codes.recv_timeout(PATIENCE).unwrap(), Some(code), "{words}: the server is told");
    let report = until(&engine, "ready again", |report| report.connections[0].is_ready());
    let connection = &report.connections[0];
    assert_eq!(connection.reconnects, 1, "{words}");
    assert_eq!(connection.last_error.as_deref(), Some(words));
    let losses: Vec<_> = connection.losses.iter().map(|(name, &count)| (name.as_str(), count)).collect();
    assert_eq!(losses, [(name, 1)], "counted by its reason");
    assert_eq!(connection.unparsed, 0, "{words}");
}

#[test]
fn a_masked_frame_of_the_server_ends_the_connection_by_name() {
    let words = "protocol error: the server's frame is masked: a server must not mask (code 1002)";
    loses(vec![TEXT, 0x82, 0, 0, 0, 0, b'{', b'}'], None, 1002, "masked", words);
}

#[test]
fn a_reserved_bit_ends_the_connection_by_name() {
    let words =
        "protocol error: reserved bits 0b100 are set, but no extension was offered: all three must be 0 (code 1002)";
    loses(frame(TEXT | 0x40, b"{}"), None, 1002, "reserved_bits", words);
}

#[test]
fn a_reserved_opcode_ends_the_connection_by_name() {
    let words = "protocol error: opcode 0x3 is reserved: allowed are 0x0, 0x1, 0x2, 0x8, 0x9, 0xa (code 1002)";
    loses(frame(0x83, b"{}"), None, 1002, "reserved_opcode", words);
}

#[test]
fn a_control_frame_that_is_too_long_ends_the_connection_by_name() {
    let words = "protocol error: control frame 0x9 announces length 126: at most 125 bytes are allowed (code 1002)";
    loses(frame(PING, &[b'x'; 126]), None, 1002, "control_too_long", words);
}

#[test]
fn a_message_over_the_limit_ends_the_connection_before_it_is_read() {
    let words =
        "protocol error: message of at least 65537 bytes: at most 65536 are allowed (max_message_bytes) (code 1009)";
    let mut header = vec![TEXT, 127];
    header.extend_from_slice(&65_537_u64.to_be_bytes());
    loses(header, Some(65_536), 1009, "message_too_big", words);
}

#[test]
fn a_server_that_pings_and_never_reads_does_not_hold_the_data_up() {
    const COUNT: u64 = 20_000;
    let (done_in, done) = channel::<()>();
    let done = Mutex::new(done);
    let server = VenueServer::start_narrow(move |_, session| {
        session.confirm_subscription();
        let ping = frame(PING, &[b'p'; 125]);
        for id in 0..COUNT {
            let mut bytes = ping.clone();
            bytes.extend(frame(TEXT, trade("BTCUSDT", "1.00", id).as_bytes()));
            if !session.send_raw(&bytes) {
                return;
            }
        }
        // Held open, unread, until the test has seen enough.
        let _ = done.lock().unwrap().recv();
    });
    let mut connection = trades(&server);
    connection.socket.send_buffer_bytes = Some(4_096);
    let (engine, prices) = engine_of(connection, tell_trades);
    assert_eq!(told(&prices, 20_000).len(), 20_000);
    let report = until(&engine, "every ping counted", |report| report.connections[0].pings == COUNT);
    assert_eq!((report.connections[0].reconnects, report.connections[0].events), (0, COUNT));
    assert_eq!(report.connections[0].last_error, None);
    drop(done_in);
}

#[test]
fn a_server_that_takes_none_of_our_requests_is_dropped_by_name_and_tried_again() {
    let (connections_in, connections) = channel();
    let (done_in, done) = channel::<()>();
    let done = Mutex::new(done);
    let server = VenueServer::start_narrow(move |number, _session| {
        let _ = connections_in.send(number);
        // Nothing is read, and the connection stays open.
        let _ = done.lock().unwrap().recv();
    });
    // Requests of 100 KB, sent again because no answer comes: soon more than the socket and the write buffer hold.
    let names: Vec<String> = (0..1_000).map(|n| format!("{}{n:04}", "A".repeat(96))).collect();
    let symbols: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut connection = server.connection("deaf", Venue::BinanceSpot, &symbols, &["trade"]);
    connection.socket.send_buffer_bytes = Some(4_096);
    connection.subscription.batch = 1_000;
    connection.subscription.ack_timeout = std::time::Duration::from_millis(10);
    connection.subscription.ack_retries = 100;
    let (engine, _prices) = engine_of(connection, tell_trades);
    assert_eq!(connections.recv_timeout(PATIENCE), Ok(0));
    assert_eq!(connections.recv_timeout(PATIENCE), Ok(1), "it is tried again");
    let report = engine.report();
    let words = "dropped: the peer takes nothing of what waits to be sent";
    assert_eq!(report.connections[0].last_error.as_deref(), Some(words));
    drop(done_in);
}

// ---------------------------------------------------------------------------------------------- other events

#[test]
fn events_of_a_kind_nobody_asked_for_are_unrouted_and_no_error() {
    let server = serving(|_, session| {
        session.send(
            r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1700000000000,"s":"BTCUSDT","a":1,"p":"1.00","q":"1.00000","f":1,"l":2,"T":1700000000000,"m":true,"M":true}}"#,
        );
        session.send(trade("BTCUSDT", "1.00", 1));
    });
    let connection = server.connection("binance-a", Venue::BinanceSpot, &["BTCUSDT"], &["trade", "aggTrade", "ticker"]);
    let (engine, prices) = engine_of(connection, |_, router, spec| {
        router.on_trade(spec.symbol, tell);
        router.on_agg_trade(spec.symbol, |_: &mut Told, _: &AggTrade| {});
        router.on_ticker(spec.symbol, |_: &mut Told, _: &Ticker| {});
        assert!(router.unregister(tickwire::market::EventKind::AggTrade, spec.symbol));
    });
    assert_eq!(told(&prices, 1), [100]);
    let last = engine.stop();
    let connection = &last.connections[0];
    assert_eq!((connection.events, connection.unrouted, connection.unparsed), (2, 1, 0));
}
