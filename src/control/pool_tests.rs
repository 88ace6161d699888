use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn channels(venue: Venue, names: &[&str]) -> Vec<Channel> {
    names.iter().map(|name| Channel::parse(venue, name).unwrap()).collect()
}

fn symbols(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("COIN{n}USDT")).collect()
}

fn even(_: &str) -> u32 {
    1
}

fn with(venue: Venue, form: Form, names: &[&str], symbol_count: usize, limits: &PlanLimits) -> Result<Plan, PlanError> {
    plan(venue, form, &channels(venue, names), &symbols(symbol_count), limits, &even)
}

fn planned(venue: Venue, form: Form, names: &[&str], symbol_count: usize) -> Vec<PlannedConnection> {
    let plan = with(venue, form, names, symbol_count, &PlanLimits::default()).unwrap();
    assert_eq!(plan.violations, []);
    plan.connections
}

fn lens(connections: &[PlannedConnection]) -> Vec<usize> {
    connections.iter().map(|connection| connection.streams.len()).collect()
}

#[test]
fn two_classes_are_two_connections() {
    let plan = planned(Venue::BinanceUsdm, Form::Combined, &["bookTicker", "aggTrade"], 3);
    let paths: Vec<_> = plan.iter().map(|c| (c.path.as_str(), c.streams.len())).collect();
    assert_eq!(paths, [("/public/stream", 3), ("/market/stream", 3)]);
    let last = PlannedStream { name: "coin2usdt@aggTrade".into(), channel: 1, symbol: Some(2) };
    assert_eq!(plan[1].streams[2], last);
}

#[test]
fn more_streams_than_a_connection_carries_are_spread_and_none_is_lost_or_doubled() {
    for (venue, names, per_connection) in
        [(Venue::BinanceUsdm, ["trade", "bookTicker"], 200), (Venue::BinanceSpot, ["trade", "bookTicker"], 1_024)]
    {
        let plan = planned(venue, Form::Combined, &names, 1_500);
        assert_eq!(plan.len(), 3_000_usize.div_ceil(per_connection));
        assert!(plan.iter().all(|connection| connection.streams.len() <= per_connection));
        let distinct: HashSet<_> = plan.iter().flat_map(PlannedConnection::names).collect();
        assert_eq!(distinct.len(), 3_000);
    }
}

#[test]
fn a_venue_that_counts_characters_is_cut_by_characters() {
    let plan = planned(Venue::BybitLinear, Form::Combined, &["publicTrade", "orderbook.50"], 1_000);
    assert_eq!(lens(&plan).iter().sum::<usize>(), 2_000);
    assert!(plan.len() > 1);
    for connection in &plan {
        let chars: usize = connection.streams.iter().map(|stream| stream.name.len()).sum();
        assert!(chars <= 21_000, "{chars}");
    }
}

#[test]
fn a_bare_partial_depth_has_a_connection_of_its_own() {
    let plan = planned(Venue::BinanceSpot, Form::Raw, &["trade", "depth5"], 2);
    assert_eq!(lens(&plan), [2, 1, 1]);
    assert_eq!(planned(Venue::BinanceSpot, Form::Combined, &["trade", "depth5"], 2).len(), 1);
}

#[test]
fn an_all_market_channel_needs_no_symbol() {
    let plan = planned(Venue::BinanceUsdm, Form::Combined, &["!markPrice@arr@1s"], 0);
    assert_eq!(plan[0].streams, [PlannedStream { name: "!markPrice@arr@1s".into(), channel: 0, symbol: None }]);
}

#[test]
fn heavy_symbols_are_spread_and_asked_for_first() {
    let weights = |symbol: &str| match symbol {
        "COIN7USDT" => 90,
        "COIN3USDT" => 80,
        _ => 1,
    };
    let limits = PlanLimits { connections_min: 2, ..PlanLimits::default() };
    let venue = Venue::BinanceSpot;
    let plan = plan(venue, Form::Combined, &channels(venue, &["trade", "kline_1m"]), &symbols(40), &limits, &weights);
    let connections = plan.unwrap().connections;
    let firsts: Vec<&str> = connections.iter().map(|connection| &*connection.streams[0].name).collect();
    assert_eq!(firsts, ["coin7usdt@trade", "coin3usdt@trade"]);
    // 38 light ones of 5 make up for the 50 between the two, and the rest is shared.
    assert_eq!((connections[0].weight, connections[1].weight), (520, 520));
    for connection in &connections {
        let pairs = connection.streams.chunks(2);
        assert!(pairs.into_iter().all(|pair| pair[0].symbol == pair[1].symbol), "a symbol stays on one connection");
    }
}

#[test]
fn channels_or_symbols_have_connections_of_their_own_where_the_operator_says_so() {
    let of = |separate, connections_min| {
        let limits = PlanLimits { separate, connections_min, ..PlanLimits::default() };
        let channels = ["trade", "bookTicker", "!miniTicker@arr"];
        lens(&with(Venue::BinanceSpot, Form::Combined, &channels, 5, &limits).unwrap().connections)
    };
    assert_eq!(of(Separate::None, 0), [11]);
    assert_eq!(of(Separate::Channel, 0), [1, 5, 5]);
    assert_eq!(of(Separate::Symbol, 0), [1, 10]);
    assert_eq!(of(Separate::Symbol, 3), [1, 4, 4, 2]);
    assert_eq!(of(Separate::Channel, 2), [1, 3, 2, 3, 2], "an all-market stream cannot be spread");
    let limits = PlanLimits { streams_per_connection: Some(3), ..PlanLimits::default() };
    let plan = with(Venue::BinanceSpot, Form::Combined, &["trade", "aggTrade"], 4, &limits).unwrap();
    assert_eq!(lens(&plan.connections), [2, 2, 2, 2], "no symbol is torn where its streams fit on one");
    let one = PlanLimits { streams_per_connection: Some(1), ..PlanLimits::default() };
    let plan = with(Venue::BinanceSpot, Form::Combined, &["trade", "aggTrade"], 2, &one).unwrap();
    assert_eq!(lens(&plan.connections), [1, 1, 1, 1], "and is torn where they do not");
    let shards = PlanLimits { separate: Separate::Symbol, ..one };
    let plan = with(Venue::BinanceSpot, Form::Combined, &["trade", "aggTrade"], 2, &shards).unwrap();
    assert_eq!(lens(&plan.connections), [2, 2], "but for a shard");
    let fault = PlanError::TooManyStreams { count: 2, limit: 1 };
    assert_eq!(plan.violations[1], Violation { connection: Some(1), fault });
}

#[test]
fn requests_are_those_that_the_store_will_form_and_are_ready_when_its_pacer_says() {
    use crate::control::Subscriptions;
    for (venue, names) in [(Venue::BinanceSpot, ["trade", "depth@100ms"]), (Venue::BybitSpot, ["tickers", "kline.1"])] {
        let settings = SubscriptionSettings { in_flight_max: 10_000, ..SubscriptionSettings::default() };
        let limits = PlanLimits { subscriptions: settings, ..PlanLimits::default() };
        for connection in with(venue, Form::Combined, &names, 700, &limits).unwrap().connections {
            let venue_limits = protocol(venue).limits();
            let mut store = Subscriptions::new(protocol(venue), venue_limits, settings, connection.names()).unwrap();
            let (mut pacer, mut now, mut out) = (Pacer::of(&venue_limits, &settings), MonoNs(0), Vec::new());
            for (request, id) in connection.requests.iter().zip(1..) {
                now = pacer.next_at(now);
                let formed = store.batch_requests(id, now).unwrap();
                let names: Vec<&str> = formed.streams.clone().collect();
                let planned = &connection.streams[request.streams.clone()];
                assert_eq!(names, planned.iter().map(|stream| &*stream.name).collect::<Vec<_>>());
                formed.write(protocol(venue), id, &mut out);
                assert_eq!(out.len(), request.bytes);
                pacer.sent(now);
            }
            assert!(store.batch_requests(10_000, now).is_none());
            assert_eq!(connection.ready_in, Duration::from_nanos(now.0), "{venue}");
        }
    }
}

#[test]
fn connects_wait_for_their_window_and_requests_for_the_process() {
    let venue = Venue::BinanceSpot;
    let limits = PlanLimits { streams_per_connection: Some(1), ..PlanLimits::default() };
    let plan = with(venue, Form::Combined, &["trade"], 650, &limits).unwrap();
    assert_eq!(plan.violations, []);
    let after = |index: usize| plan.connections[index].connect_after.as_secs();
    assert_eq!([0, 299, 300, 599, 600, 649].map(after), [0, 0, 300, 300, 600, 600]);
    let limits = PlanLimits {
        connections_min: 10,
        process_requests_per_second: Some(4),
        subscriptions: SubscriptionSettings { batch_streams_max: 1, ..SubscriptionSettings::default() },
        ..PlanLimits::default()
    };
    let plan = with(venue, Form::Combined, &["trade"], 20, &limits).unwrap();
    let ready: Vec<u64> = plan.connections.iter().map(|connection| connection.ready_in.as_secs()).collect();
    // Twenty requests, four a second: every connection its first before any its second.
    assert_eq!(ready, [2, 2, 3, 3, 3, 3, 4, 4, 4, 4]);
}

#[test]
fn more_connections_than_an_address_may_have_are_a_violation() {
    let limits = PlanLimits { streams_per_connection: Some(1), ..PlanLimits::default() };
    let plan = with(Venue::BybitLinear, Form::Combined, &["tickers"], 1_001, &limits).unwrap();
    let fault = PlanError::TooManyConnections { count: 1_001, limit: 1_000 };
    assert_eq!(plan.violations, [Violation { connection: None, fault }]);
}

#[test]
fn what_cannot_be_planned_is_refused_with_its_numbers() {
    let refused = |names: &[&str], symbols: &[&str], streams_per_connection| {
        let symbols: Vec<_> = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
        let channels = channels(Venue::BinanceUsdm, names);
        let limits = PlanLimits { streams_per_connection, ..PlanLimits::default() };
        plan(Venue::BinanceUsdm, Form::Combined, &channels, &symbols, &limits, &even).unwrap_err().to_string()
    };
    assert!(refused(&[], &["BTCUSDT"], None).contains("no stream"));
    assert!(refused(&["trade"], &[], None).contains("no stream"));
    assert!(refused(&["trade"], &["BTCUSDT", "btcusdt"], None).contains("`btcusdt@trade` twice"));
    assert!(refused(&["trade"], &["BTCUSDT"], Some(201)).contains("201 streams per connection"));
    assert!(refused(&["trade"], &["BTCUSDT"], Some(0)).contains("the venue allows 200"));
}

#[test]
fn what_breaks_a_limit_is_planned_alone_and_listed() {
    let (venue, long) = (Venue::BybitSpot, "X".repeat(70_000));
    let symbols = ["A".to_owned(), long, "B".to_owned()];
    let plan = plan(venue, Form::Combined, &channels(venue, &["tickers"]), &symbols, &PlanLimits::default(), &even);
    let plan = plan.unwrap();
    assert_eq!(lens(&plan.connections).iter().sum::<usize>(), 3);
    let alone = plan.connections.iter().position(|connection| connection.streams[0].name.len() > 70_000).unwrap();
    assert_eq!(plan.connections[alone].streams.len(), 1);
    let faults: Vec<_> = plan.violations.iter().map(|violation| (violation.connection, &violation.fault)).collect();
    assert!(matches!(faults[0], (Some(at), PlanError::TooManyChars { limit: 21_000, .. }) if at == alone));
    assert!(matches!(faults[1], (Some(at), PlanError::TooManyBytes { limit: 65_536, .. }) if at == alone));
    assert_eq!(faults.len(), 2);
}

/// Everything a plan is made of, at random.
#[derive(Debug)]
struct Case {
    venue: Venue,
    form: Form,
    channels: Vec<Channel>,
    symbols: Vec<String>,
    limits: Limits,
    overrides: PlanLimits,
    weights: BTreeMap<String, u32>,
}

impl Case {
    fn plan(&self) -> Plan {
        let weights = |symbol: &str| self.weights.get(symbol).copied().unwrap_or(1);
        let protocol = protocol(self.venue);
        let planner = Planner { protocol, form: self.form, limits: self.limits, overrides: &self.overrides };
        planner.plan(&self.channels, &self.symbols, &weights).unwrap()
    }
}

fn case() -> impl Strategy<Value = Case> {
    const SPOT: [&str; 5] = ["trade", "depth5", "kline_1m", "bookTicker", "!miniTicker@arr"];
    const USDM: [&str; 5] = ["trade", "aggTrade", "markPrice@1s", "depth@100ms", "!ticker@arr"];
    const BYBIT: [&str; 5] = ["publicTrade", "orderbook.50", "tickers", "kline.1", "orderbook.1"];
    let names = |venue| match venue {
        Venue::BinanceSpot => SPOT,
        Venue::BinanceUsdm => USDM,
        Venue::BybitSpot | Venue::BybitLinear => BYBIT,
    };
    let what = (0..4_usize, any::<bool>(), 1..32_u8, proptest::collection::btree_map("[A-Z]{3,12}", 0..100_u32, 1..60));
    let room = (1..40_u32, 1..20_u32, 90..600_u32, 200..2_000_u32);
    let wishes = (0..5_u32, 0..3_u8, proptest::option::of(1..10_u32), 1..6_u32);
    (what, room, wishes).prop_map(move |((venue, is_raw, picked, weights), room, wishes)| {
        let venue = Venue::ALL[venue];
        let picked = names(venue).into_iter().enumerate().filter(|(at, _)| picked >> at & 1 == 1).map(|(_, name)| name);
        let limits = Limits {
            // A shard of five channels fits.
            streams_per_connection: Some(if wishes.1 == 2 { room.0.max(5) } else { room.0 }),
            args_per_request: Some(room.1),
            request_bytes_max: Some(room.2 + 100),
            args_chars_per_connection: Some(room.3),
            connects: Some((7, Duration::from_secs(300))),
            ..protocol(venue).limits()
        };
        let overrides = PlanLimits {
            connections_min: wishes.0,
            separate: [Separate::None, Separate::Channel, Separate::Symbol][usize::from(wishes.1)],
            process_requests_per_second: wishes.2,
            subscriptions: SubscriptionSettings {
                messages_per_second: Some(wishes.3),
                ..SubscriptionSettings::default()
            },
            ..PlanLimits::default()
        };
        let form = if is_raw { Form::Raw } else { Form::Combined };
        let channels = channels(venue, &picked.collect::<Vec<_>>());
        Case { venue, form, channels, symbols: weights.keys().cloned().collect(), limits, overrides, weights }
    })
}

proptest! {
    #[test]
    fn every_stream_is_on_one_connection_in_one_request_and_no_limit_is_broken(case in case()) {
        let plan = case.plan();
        prop_assert_eq!(&plan, &case.plan(), "the same every time");
        let protocol = protocol(case.venue);
        let mut expected: Vec<String> = Vec::new();
        for channel in &case.channels {
            match channel.scope {
                ChannelScope::AllMarket => expected.push(protocol.stream(channel, "")),
                ChannelScope::PerSymbol => expected.extend(case.symbols.iter().map(|symbol| protocol.stream(channel, symbol))),
            }
        }
        let mut found: Vec<String> = plan.connections.iter().flat_map(PlannedConnection::names).map(Into::into).collect();
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(&plan.violations, &[]);
        for (at, connection) in plan.connections.iter().enumerate() {
            for stream in &connection.streams {
                let symbol = stream.symbol.map_or("", |symbol| &*case.symbols[symbol]);
                prop_assert_eq!(&*stream.name, protocol.stream(&case.channels[stream.channel], symbol));
                prop_assert_eq!(connection.class, protocol.class(&case.channels[stream.channel]));
            }
            let chars: usize = connection.streams.iter().map(|stream| stream.name.chars().count() + 3).sum();
            prop_assert!(connection.streams.len() <= case.limits.streams_per_connection.unwrap() as usize);
            prop_assert!(chars <= case.limits.args_chars_per_connection.unwrap() as usize);
            let mut next = 0;
            for request in &connection.requests {
                prop_assert_eq!(request.streams.start, next);
                next = request.streams.end;
                prop_assert!(!request.streams.is_empty());
                prop_assert!(request.streams.len() <= case.limits.args_per_request.unwrap() as usize);
                prop_assert!(request.bytes < case.limits.request_bytes_max.unwrap() as usize);
            }
            prop_assert_eq!(next, connection.streams.len());
            prop_assert_eq!(connection.connect_after.as_secs(), at as u64 / 7 * 300);
            let is_bare = |stream: &PlannedStream| {
                case.form == Form::Raw && case.venue == Venue::BinanceSpot && stream.name.ends_with("depth5")
            };
            prop_assert!(connection.streams.len() == 1 || !connection.streams.iter().any(is_bare));
        }
        // Who shares a connection by the operator's wish.
        for connection in &plan.connections {
            let first = &connection.streams[0];
            let may_share = |stream: &PlannedStream| match case.overrides.separate {
                Separate::None => true,
                Separate::Channel => stream.channel == first.channel,
                Separate::Symbol => stream.symbol.is_some() == first.symbol.is_some(),
            };
            prop_assert!(connection.streams.iter().all(may_share));
        }
        if case.overrides.separate == Separate::Symbol && case.form == Form::Combined {
            let mut shards: HashMap<(StreamClass, usize), usize> = HashMap::new();
            for (at, connection) in plan.connections.iter().enumerate() {
                for symbol in connection.streams.iter().filter_map(|stream| stream.symbol) {
                    prop_assert_eq!(*shards.entry((connection.class, symbol)).or_insert(at), at, "a torn shard");
                }
            }
        }
    }

    /// Every request at its earliest: neither a connection's second nor the process's holds more than it may.
    #[test]
    fn no_connection_is_ready_before_its_pace_and_the_processes_allow(case in case()) {
        let plan = case.plan();
        let sum: usize = plan.connections.iter().map(|connection| connection.requests.len()).sum();
        let in_bursts = |requests: usize, rate: u32| (requests.max(1) - 1) as u64 / u64::from(rate);
        // A burst of a connection comes behind the last by a second, and by what may be held up on its way.
        let paced = |bursts: u64| Duration::from_millis(1_200) * u32::try_from(bursts).unwrap();
        for connection in &plan.connections {
            let rate = connection.requests_per_second.unwrap();
            let alone = in_bursts(connection.requests.len(), rate);
            match case.overrides.process_requests_per_second {
                None => prop_assert_eq!(connection.ready_in, paced(alone)),
                Some(_) => prop_assert!(connection.ready_in >= paced(alone)),
            }
        }
        if let Some(rate) = case.overrides.process_requests_per_second {
            let last = plan.connections.iter().map(|connection| connection.connect_after + connection.ready_in).max();
            prop_assert!(last.unwrap() >= Duration::from_secs(in_bursts(sum, rate)));
        }
    }
}
