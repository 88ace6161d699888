//! Connections that are lost come back by themselves and are subscribed again: to everything that is wanted, nothing
//! twice. The exchange's own view of the subscriptions is the witness, beside the engine's report.
//!
//! ```text
//! sim: Kill, Faults ──► socket lost ──► Engine: backoff, connect, resubscribe ──► sim.subscriptions() == wanted
//! ```

#[path = "support/stage.rs"]
mod stage;

use stage::{config, runtime, stream, until};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tickwire::config::{InstrumentConfig, Transport};
use tickwire::prelude::*;
use tickwire::sim::{self, Endpoints, Faults, Kill, SimHandle, SimOptions, Source, TlsMode, VenueEndpoints};
use tickwire::telemetry::{ConnectionReport, Report};
use tickwire::venue::Form;
use tokio::runtime::Runtime;

/// Enough for several requests at a connect: 60 streams of two channels.
const SYMBOLS: u32 = 30;

const BINANCE: [&str; 2] = ["trade", "bookTicker"];
/// Tickers come as changes to a snapshot: a connection that comes back must begin with a fresh one.
const BYBIT: [&str; 2] = ["publicTrade", "tickers"];

fn channels(venue: Venue) -> [&'static str; 2] {
    if matches!(venue, Venue::BinanceSpot | Venue::BinanceUsdm) { BINANCE } else { BYBIT }
}

fn streams(venue: Venue, symbols: &[String]) -> BTreeSet<String> {
    symbols.iter().flat_map(|symbol| channels(venue).map(|channel| stream(venue, channel, symbol))).collect()
}

fn options(venue: Venue, tls: TlsMode) -> SimOptions {
    let source = Source::Synthetic { seed: 7, rate: 2_000.0, symbols: SYMBOLS };
    SimOptions { venues: vec![venue], tls, source, ..SimOptions::default() }
}

/// A connection for these symbols that comes back quickly.
fn connection(venue: Venue, symbols: &[String]) -> ConnectionConfig {
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let mut connection = ConnectionConfig::new("one", venue).subscribed_to(&symbols, &channels(venue)).unwrap();
    connection.subscription.batch = connection.subscription.batch.min(25);
    connection.subscription.ack_timeout = Duration::from_secs(2);
    connection.reconnect.base = Duration::from_millis(20);
    connection.reconnect.cap = Duration::from_millis(100);
    connection
}

#[derive(Default)]
struct Nothing;

fn on_symbol(_: &mut Nothing, router: &mut Router<Nothing>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, |_, _| {});
    router.on_quote(spec.symbol, |_, _| {});
    router.on_ticker(spec.symbol, |_, _| {});
    router.on_agg_trade(spec.symbol, |_, _| {});
}

fn start(connection: ConnectionConfig, endpoints: &Endpoints) -> RunningEngine {
    let builder = Engine::builder(config(vec![connection], endpoints));
    builder.strategy("nothing", || Strategy { state: Nothing, on_symbol }).start().unwrap()
}

fn only(report: &Report) -> &ConnectionReport {
    let [connection] = &report.connections[..] else { panic!("one socket: {}", report.to_json()) };
    connection
}

/// What is expected once a connection is as it should be.
#[derive(Clone, Debug)]
struct Whole {
    venue: Venue,
    streams: BTreeSet<String>,
    refused: u64,
    reconnects: u64,
}

/// Waits until the connection is Ready, both sides agree on what is subscribed, and data flows again.
fn until_whole(runtime: &Runtime, engine: &RunningEngine, exchange: &SimHandle, whole: &Whole) {
    let events = until(runtime, &format!("{whole:?}"), || {
        let report = engine.report();
        let connection = only(&report);
        let subscriptions = &connection.subscriptions;
        let views = exchange.subscriptions(whole.venue);
        let is_whole = connection.is_ready()
            && connection.reconnects == whole.reconnects
            && views == [whole.streams.clone()]
            && subscriptions.active == whole.streams.len() as u64
            && (subscriptions.pending, subscriptions.refused) == (0, whole.refused);
        if is_whole { Ok(connection.events) } else { Err(format!("{}; {views:?}", report.to_json())) }
    });
    until(runtime, "data flows", || {
        let report = engine.report();
        if only(&report).events > events + 100 { Ok(()) } else { Err(report.to_json()) }
    });
}

/// Nothing was lost on the way that was not the fault's.
fn assert_clean(report: &Report) {
    let connection = only(report);
    assert_eq!((connection.unparsed, connection.unrouted, connection.tier_two), (0, 0, 0), "{}", report.to_json());
    assert!(report.failure.is_none(), "{}", report.to_json());
}

fn subscribe_requests(exchange: &SimHandle, venue: Venue) -> u64 {
    exchange.stats().venue(venue).unwrap().subscribe_requests
}

/// A way to lose the connection, and what it takes to be whole again.
struct Loss {
    name: &'static str,
    kills: &'static [Kill],
    /// Cut at the second request of the next connection, before its answer.
    cuts_second_batch: bool,
    /// Connections established until it is whole again.
    connections: u64,
    /// Subscribe requests heard on connections that were lost before they were whole.
    requests_lost: u64,
}

const LOSSES: [Loss; 6] = [
    Loss { name: "mid-frame", kills: &[Kill::MidFrame], cuts_second_batch: false, connections: 1, requests_lost: 0 },
    Loss { name: "reset", kills: &[Kill::Reset], cuts_second_batch: false, connections: 1, requests_lost: 0 },
    Loss {
        name: "close 1001",
        kills: &[Kill::Close(1001)],
        cuts_second_batch: false,
        connections: 1,
        requests_lost: 0,
    },
    Loss {
        name: "mid-handshake",
        kills: &[Kill::MidHandshake, Kill::Reset],
        cuts_second_batch: false,
        connections: 1,
        requests_lost: 0,
    },
    Loss {
        name: "in the first batch",
        kills: &[Kill::MidBatch, Kill::Reset],
        cuts_second_batch: false,
        connections: 2,
        requests_lost: 1,
    },
    Loss { name: "between batches", kills: &[Kill::Reset], cuts_second_batch: true, connections: 2, requests_lost: 2 },
];

/// Loses the connection in every one of these ways, one after the other, and sees it come back each time.
fn lose_and_come_back(venue: Venue, tls: TlsMode, losses: &[&Loss], change: impl FnOnce(&mut ConnectionConfig)) {
    let runtime = runtime();
    let exchange = runtime.block_on(sim::start(options(venue, tls))).unwrap();
    let symbols = exchange.symbols(venue);
    let mut config = connection(venue, &symbols);
    change(&mut config);
    let batch = config.subscription.batch;
    let mut whole = Whole { venue, streams: streams(venue, &symbols), refused: 0, reconnects: 0 };
    let batches = whole.streams.len().div_ceil(batch) as u64;
    assert!(batches > 1, "several batches are what this is about");
    let engine = start(config, exchange.endpoints());
    until_whole(&runtime, &engine, &exchange, &whole);
    let mut requests = batches;
    assert_eq!(subscribe_requests(&exchange, venue), requests, "at first");
    let mut killed = 0;
    for loss in losses {
        if loss.cuts_second_batch {
            exchange.set_faults(&Faults { cut_before_ack: vec![(venue, requests + 2)], ..Faults::default() });
        }
        for &kill in loss.kills {
            exchange.kill_connections(venue, kill);
        }
        whole.reconnects += loss.connections;
        until_whole(&runtime, &engine, &exchange, &whole);
        requests += loss.requests_lost + batches;
        assert_eq!(subscribe_requests(&exchange, venue), requests, "{}: each stream is asked for once", loss.name);
        killed += loss.kills.len() as u64 + u64::from(loss.cuts_second_batch);
        assert_eq!(exchange.stats().venue(venue).unwrap().connections_killed, killed, "{}", loss.name);
    }
    let report = engine.stop();
    assert_clean(&report);
    let stats = runtime.block_on(exchange.stop());
    let stats = stats.venue(venue).unwrap();
    assert_eq!((stats.request_errors, stats.rate_limit_closes, stats.slow_clients_dropped), (0, 0, 0), "{stats:?}");
}

fn every_loss() -> Vec<&'static Loss> {
    LOSSES.iter().collect()
}

fn losses(names: &[&str]) -> Vec<&'static Loss> {
    let losses: Vec<_> = LOSSES.iter().filter(|loss| names.contains(&loss.name)).collect();
    assert_eq!(losses.len(), names.len(), "{names:?}");
    losses
}

#[test]
fn a_binance_spot_connection_lost_in_any_way_comes_back_subscribed() {
    lose_and_come_back(Venue::BinanceSpot, TlsMode::Off, &every_loss(), |_| {});
}

#[test]
fn a_bybit_spot_connection_lost_in_any_way_comes_back_subscribed_ten_topics_at_a_time() {
    lose_and_come_back(Venue::BybitSpot, TlsMode::Off, &every_loss(), |connection| {
        assert_eq!(connection.subscription.batch, 10, "what the venue allows");
    });
}

#[test]
fn a_bybit_linear_connection_over_tls_lost_in_any_way_comes_back_subscribed() {
    lose_and_come_back(Venue::BybitLinear, TlsMode::On, &every_loss(), |_| {});
}

#[test]
fn a_raw_binance_connection_comes_back_subscribed() {
    lose_and_come_back(Venue::BinanceSpot, TlsMode::Off, &losses(&["reset", "mid-frame"]), |connection| {
        connection.form = Form::Raw;
    });
}

#[test]
fn a_cold_connection_lost_in_any_way_comes_back_subscribed() {
    lose_and_come_back(Venue::BinanceSpot, TlsMode::Off, &every_loss(), |connection| {
        connection.transport = Transport::Cold;
    });
}

#[test]
fn a_cold_connection_over_tls_comes_back_subscribed() {
    lose_and_come_back(Venue::BybitLinear, TlsMode::On, &losses(&["reset", "close 1001"]), |connection| {
        connection.transport = Transport::Cold;
    });
}

#[test]
fn a_start_that_fails_at_every_step_still_ends_whole() {
    for venue in [Venue::BinanceSpot, Venue::BybitLinear] {
        let runtime = runtime();
        let faults = Faults {
            cut_upgrade: vec![(venue, 1), (venue, 3)],
            // In the middle of a market message, after a few hundred of them.
            cut_mid_frame: vec![(venue, 2, 50_000)],
            // That connection has asked once to three times, so the fourth request is of the next that is established.
            cut_before_ack: vec![(venue, 4)],
            ..Faults::default()
        };
        let options = SimOptions { faults, ..options(venue, TlsMode::On) };
        let exchange = runtime.block_on(sim::start(options)).unwrap();
        let symbols = exchange.symbols(venue);
        let engine = start(connection(venue, &symbols), exchange.endpoints());
        // The first that is established is cut in a frame, the second before an answer: the third stays.
        let whole = Whole { venue, streams: streams(venue, &symbols), refused: 0, reconnects: 2 };
        until_whole(&runtime, &engine, &exchange, &whole);
        assert_clean(&engine.stop());
        let stats = exchange.stats();
        let stats = stats.venue(venue).unwrap();
        assert_eq!(
            (stats.connections_accepted, stats.connections_killed, stats.request_errors),
            (5, 4, 0),
            "{stats:?}"
        );
    }
}

#[test]
fn the_sockets_of_both_classes_of_usdm_come_back_each_with_its_own_streams() {
    let venue = Venue::BinanceUsdm;
    let runtime = runtime();
    let exchange = runtime.block_on(sim::start(options(venue, TlsMode::Off))).unwrap();
    let symbols = exchange.symbols(venue);
    let names: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let config = connection(venue, &symbols).subscribed_to(&names, &["bookTicker", "aggTrade"]).unwrap();
    let engine = start(config, exchange.endpoints());
    let of_channel = |channel| symbols.iter().map(|symbol| stream(venue, channel, symbol)).collect();
    let wanted: BTreeSet<BTreeSet<String>> = [of_channel("bookTicker"), of_channel("aggTrade")].into();
    for reconnects in 0..3 {
        until(&runtime, "both sockets are whole", || {
            let report = engine.report();
            let views = exchange.subscriptions(venue);
            let is_whole = report.connections.len() == 2
                && views.len() == 2
                && views.iter().cloned().collect::<BTreeSet<_>>() == wanted
                && report
                    .connections
                    .iter()
                    .all(|one| one.is_ready() && one.reconnects == reconnects && one.events > 0);
            if is_whole { Ok(()) } else { Err(format!("{}; {views:?}", report.to_json())) }
        });
        exchange.kill_connections(venue, Kill::Reset);
    }
    let stats = runtime.block_on(exchange.stop());
    assert_eq!(stats.venue(venue).unwrap().request_errors, 0);
}

/// A door that refuses everybody until it is opened, at an address that is known before.
struct Gate {
    /// Bound and not listening: the kernel refuses who knocks.
    socket: socket2::Socket,
    address: SocketAddr,
}

impl Gate {
    fn shut() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { socket, address }
    }

    /// Lets everybody through to `url`'s host.
    fn open(self, runtime: &Runtime, url: &str) {
        let host = url.split_once("://").unwrap().1.to_owned();
        self.socket.listen(16).unwrap();
        self.socket.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(self.socket.into()).unwrap();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = tokio::net::TcpStream::connect(&host).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
            }
        });
    }
}

#[test]
fn an_engine_started_before_the_exchange_says_what_refuses_it_and_comes_up_with_it() {
    let venue = Venue::BybitSpot;
    let runtime = runtime();
    let (ws, rest) = (Gate::shut(), Gate::shut());
    let mut endpoints = Endpoints::default();
    let served = VenueEndpoints {
        ws: format!("ws://{}", ws.address),
        wss: None,
        rest: format!("http://{}", rest.address),
        rests: None,
    };
    endpoints.venues.insert(venue.name().to_owned(), served);
    let names = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT"].map(str::to_owned);
    let (ws_at, rest_at) = (ws.address, rest.address);
    let engine = start(connection(venue, &names), &endpoints);
    let refused_at = |address: SocketAddr| {
        until(&runtime, &format!("{address} refuses"), || {
            let report = engine.report();
            let error = only(&report).last_error.clone().unwrap_or_default().to_lowercase();
            let is_said = error.contains("refused") && error.contains(&address.to_string());
            if is_said && !only(&report).is_ready() { Ok(()) } else { Err(report.to_json()) }
        });
    };
    refused_at(rest_at);
    let exchange = runtime.block_on(sim::start(options(venue, TlsMode::Off))).unwrap();
    let at = exchange.endpoints().venue(venue).unwrap().clone();
    rest.open(&runtime, &at.rest);
    refused_at(ws_at);
    ws.open(&runtime, &at.ws);
    let whole = Whole { venue, streams: streams(venue, &names), refused: 0, reconnects: 0 };
    until_whole(&runtime, &engine, &exchange, &whole);
    assert_clean(&engine.stop());
}

#[test]
fn a_symbol_the_venue_does_not_list_is_named_and_the_others_are_subscribed() {
    for venue in [Venue::BinanceSpot, Venue::BybitLinear] {
        let runtime = runtime();
        let exchange = runtime.block_on(sim::start(options(venue, TlsMode::Off))).unwrap();
        let listed = exchange.symbols(venue);
        let mut asked = listed.clone();
        asked.insert(3, "NOSUCHUSDT".to_owned());
        let engine = start(connection(venue, &asked), exchange.endpoints());
        // Two channels of the unlisted symbol: wanted, and counted as refused.
        let whole = Whole { venue, streams: streams(venue, &listed), refused: 2, reconnects: 0 };
        until_whole(&runtime, &engine, &exchange, &whole);
        let report = engine.stop();
        let error = only(&report).last_error.clone().unwrap_or_default();
        assert!(error.contains("NOSUCHUSDT") && error.contains("instrument list"), "{error}");
        assert_clean(&report);
        assert_eq!(exchange.stats().venue(venue).unwrap().request_errors, 0, "the venue was never asked");
    }
}

#[test]
fn one_topic_the_venue_refuses_is_found_by_halving_and_the_others_are_active() {
    for venue in [Venue::BybitSpot, Venue::BybitLinear] {
        let runtime = runtime();
        let exchange = runtime.block_on(sim::start(options(venue, TlsMode::Off))).unwrap();
        let listed = exchange.symbols(venue);
        let mut asked = listed.clone();
        asked.insert(7, "NOSUCHUSDT".to_owned());
        let mut config = connection(venue, &asked);
        let scales = |symbol: &String| InstrumentConfig {
            symbol: symbol.clone(),
            price_scale: 8,
            qty_scale: 8,
            instrument: None,
        };
        config.instruments = asked.iter().map(scales).collect();
        // Halving takes requests; the venue states no limit of its own.
        config.subscription.requests_per_second = 100;
        let engine = start(config, exchange.endpoints());
        let mut whole = Whole { venue, streams: streams(venue, &listed), refused: 2, reconnects: 0 };
        until_whole(&runtime, &engine, &exchange, &whole);
        let error = only(&engine.report()).last_error.clone().unwrap_or_default();
        assert!(error.contains(".NOSUCHUSDT") && error.contains("handler not found"), "{error}");
        assert!(exchange.stats().venue(venue).unwrap().request_errors > 2, "batches were refused whole");
        // What was refused is not asked for again.
        let errors = exchange.stats().venue(venue).unwrap().request_errors;
        exchange.kill_connections(venue, Kill::Reset);
        whole.reconnects = 1;
        until_whole(&runtime, &engine, &exchange, &whole);
        assert_eq!(exchange.stats().venue(venue).unwrap().request_errors, errors);
        assert_clean(&engine.stop());
    }
}
