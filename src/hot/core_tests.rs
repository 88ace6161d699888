//! Tests of a core, turned by hand, with real loopback sockets: what its commands do and what it tells.

use super::*;
use crate::hot::clock::mono_now;
use crate::hot::connection::ConnectionSettings;
use crate::hot::ring::{ColdPorts, ports};
use crate::hot::stats::{ConnectionStats, Doing, SocketStats};
use crate::hot::stream::Stream;
use crate::hot::tls::RecordOpener;
use crate::market::{GapReason, MonoNs, StreamKind, SymbolTable, Trade, TradeId, Venue};
use crate::venue::{Decoder, Form, ServerPing};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

#[path = "race_tests.rs"]
mod race;
#[path = "visit_tests.rs"]
mod visit;

/// What the handler was given, and what the core said it was on meanwhile.
#[derive(Default)]
struct Told {
    trades: Vec<u64>,
    stats: Option<Arc<CoreStats>>,
    doing: Vec<Option<Doing>>,
    /// Every event in its order: `t7` a trade, `q7` a quote, `b7` a batch of a book up to that id, `gap` a marker.
    heard: Vec<String>,
    received: Vec<Received>,
}

fn on_trade(told: &mut Told, trade: &Trade) {
    let TradeId::Number(id) = trade.id else { panic!("Binance numbers its trades") };
    told.trades.push(id);
    told.heard.push(format!("t{id}"));
    told.received.push(trade.meta.received);
    told.doing.extend(told.stats.as_ref().map(|stats| stats.current.get()));
}

fn settings(idle: Idle, wait: Wait, latency_sample_every: u32) -> CoreSettings {
    CoreSettings { idle, wait, latency_sample_every, ..CoreSettings::default() }
}

struct Bench {
    core: Core<Told>,
    cold: ColdPorts,
    stats: Arc<CoreStats>,
    symbol: Symbol,
    connection: Arc<ConnectionStats>,
}

/// A connection's other end.
struct Peer {
    socket: TcpStream,
    stats: Arc<SocketStats>,
}

impl Bench {
    fn new() -> Self {
        Self::stamping(1)
    }

    /// A core that stamps one message in so many.
    fn stamping(every: u32) -> Self {
        Self::with(settings(Idle::Yield, Wait::Auto, every))
    }

    fn with(settings: CoreSettings) -> Self {
        let (hot, cold) = ports().expect("descriptors");
        let stats = Arc::new(CoreStats::new(0));
        let state = Told { stats: Some(Arc::clone(&stats)), ..Told::default() };
        let on_symbol = |_: &mut Told, router: &mut Router<Told>, spec: &SymbolSpec| {
            router.on_trade(spec.symbol, on_trade);
            router.on_quote(spec.symbol, |told, quote| told.heard.push(format!("q{}", quote.update_id)));
            router.on_book_delta(spec.symbol, |told, book| told.heard.push(format!("b{}", book.ids.last)));
            router.on_gap(spec.symbol, |told, _| told.heard.push("gap".to_owned()));
        };
        let core = Core::new(settings, hot, Arc::clone(&stats), Strategy { state, on_symbol }).expect("a poller");
        let mut table = SymbolTable::default();
        let symbol = table.add(Venue::BinanceSpot, "BTCUSDT", 2, 5, None).expect("room");
        let mut bench = Self { core, cold, stats, symbol, connection: Arc::default() };
        bench.tell(Command::AddSymbol(Box::new(table.spec(symbol).expect("just added").clone())));
        bench
    }

    fn tell(&mut self, command: Command) {
        self.cold.push(command).expect("room in the ring");
        self.core.turn();
    }

    fn feed(&self, slot: u16, leg: u8) -> Feed {
        let decoder = Decoder::new(Venue::BinanceSpot, Form::Combined, None);
        Feed { leg, ..Feed::new(slot, decoder, Arc::clone(&self.connection)) }
    }

    fn attach(&mut self, feed: Feed) -> Peer {
        self.attach_with(feed, &ConnectionSettings::default())
    }

    fn attach_with(&mut self, feed: Feed, settings: &ConnectionSettings) -> Peer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (socket, _) = listener.accept().expect("accepts");
        let stats = Arc::clone(&feed.socket);
        self.attach_stream(feed, Stream::plain(ours).expect("non-blocking"), settings);
        Peer { socket, stats }
    }

    fn attach_stream(&mut self, feed: Feed, stream: Stream, settings: &ConnectionSettings) {
        let connection = HotConnection::new(stream, b"", settings).expect("a connection");
        self.tell(Command::Attach(Box::new(Attachment { connection, feed })));
    }

    /// Turns until it is so; a test that hangs fails instead.
    fn until(&mut self, what: &str, is_so: impl Fn(&Core<Told>) -> bool) {
        let started = Instant::now();
        while !is_so(&self.core) {
            self.core.turn();
            assert!(started.elapsed() < Duration::from_secs(20), "{what}: it did not come");
        }
    }

    /// Sends messages over a peer's socket and turns until the socket's core has read them.
    fn say(&mut self, peer: &mut Peer, messages: &[String]) {
        let frames = self.connection.frames.get() + messages.len() as u64;
        for message in messages {
            let length = u8::try_from(message.len()).expect("a short message");
            let mut frame = if length < 126 { vec![0x81, length] } else { vec![0x81, 126, 0, length] };
            frame.extend_from_slice(message.as_bytes());
            peer.socket.write_all(&frame).expect("written");
        }
        let stats = Arc::clone(&self.connection);
        self.until("every message", |_| stats.frames.get() == frames);
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.core.turn();
        std::iter::from_fn(|| self.cold.pop()).collect()
    }

    fn trades(&self) -> &[u64] {
        &self.core.desk.state.trades
    }
}

fn trade(id: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":{id},"p":"1.00","q":"0.10000","T":1700000000000,"m":true,"M":true}}}}"#
    )
}

fn ticker(id: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@miniTicker","data":{{"e":"24hrMiniTicker","E":{id},"s":"BTCUSDT","c":"1","o":"1","h":"1","l":"1","v":"1","q":"1"}}}}"#
    )
}

#[test]
fn a_symbol_that_is_told_twice_is_the_strategys_once() {
    let mut bench = Bench::new();
    let spec = bench.core.specs[0].clone();
    bench.tell(Command::AddSymbol(spec));
    assert_eq!(bench.core.specs.len(), 1);
    assert!(matches!(bench.notices()[..], [Notice::Spent(Spent::Symbol(_))]));
}

#[test]
fn a_slot_that_is_taken_or_is_none_gives_the_attachment_back_and_the_one_that_has_it_goes_on() {
    let mut bench = Bench::new();
    let mut first = bench.attach(bench.feed(7, 0));
    let _second = bench.attach(bench.feed(7, 0));
    let _third = bench.attach(bench.feed(u16::MAX, 0));
    let feed = bench.feed(7, 0);
    bench.tell(Command::AttachCold(Box::new(feed)));
    let notices = bench.notices();
    let spent = |notice: &&Notice| matches!(notice, Notice::Spent(Spent::Connection(_) | Spent::Feed(_)));
    assert_eq!(notices.iter().filter(spent).count(), 3, "{notices:?}");
    assert!(!notices.iter().any(|notice| matches!(notice, Notice::Lost { .. })), "the slot is not free");
    assert_eq!(bench.stats.attachments_refused.get(), 3);
    bench.say(&mut first, &[trade(1)]);
    assert_eq!(bench.trades(), [1]);
}

#[test]
fn what_cannot_be_sent_comes_back_and_is_counted() {
    let mut bench = Bench::new();
    let _peer = bench.attach(bench.feed(0, 0));
    bench.tell(Command::Send { slot: 0, text: b"sent".to_vec() });
    bench.tell(Command::Send { slot: 1, text: b"no such".to_vec() });
    bench.tell(Command::Send { slot: u16::MAX, text: b"no slot".to_vec() });
    bench.tell(Command::Ping { slot: 1 });
    bench.tell(Command::Close { slot: 0, code: 1000 });
    bench.tell(Command::Send { slot: 0, text: b"closing".to_vec() });
    let unsent: Vec<_> = bench
        .notices()
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Unsent { slot, text } => Some((slot, String::from_utf8(text).unwrap())),
            _ => None,
        })
        .collect();
    assert_eq!(unsent, [(1, "no such".into()), (u16::MAX, "no slot".into()), (0, "closing".into())]);
    assert_eq!(bench.stats.sends_dropped.get(), 4, "and the ping");
    bench.tell(Command::Message { slot: 3, payload: Vec::new(), received: Received::default() });
    assert_eq!(bench.stats.messages_dropped.get(), 1);
}

#[test]
fn an_event_marks_its_subscription_on_its_leg_and_a_control_message_marks_nothing() {
    let mut bench = Bench::new();
    let mut peer = bench.attach(bench.feed(0, 1));
    bench.say(&mut peer, &[r#"{"result":null,"id":1}"#.to_owned()]);
    let marks = |bench: &Bench| {
        StreamKind::all()
            .flat_map(|stream_kind| [(stream_kind, 0), (stream_kind, 1)])
            .filter(|&(stream_kind, leg)| bench.stats.pulses.last_data(bench.symbol, stream_kind, leg) != MonoNs(0))
            .collect::<Vec<_>>()
    };
    assert_eq!(marks(&bench), []);
    assert_eq!((peer.stats.data_messages.get(), bench.connection.control_messages.get()), (0, 1));
    bench.say(&mut peer, &[trade(1)]);
    assert_eq!(marks(&bench), [(StreamKind::TRADE, 1)]);
    let at = bench.stats.pulses.last_data(bench.symbol, StreamKind::TRADE, 1);
    assert_eq!(at.0, peer.stats.last_seen_ns.get());
    assert!((1..=at.0).contains(&peer.stats.connected_ns.get()));
    assert_eq!(peer.stats.data_messages.get(), 1);
}

#[test]
fn while_a_handler_runs_the_core_says_on_what_and_afterwards_on_nothing() {
    let mut bench = Bench::new();
    let mut peer = bench.attach(bench.feed(9, 0));
    let before = bench.stats.beat();
    bench.say(&mut peer, &[trade(1)]);
    let expected = Doing { slot: 9, event: Some((EventKind::Trade, bench.symbol)) };
    assert_eq!(bench.core.desk.state.doing, [Some(expected)]);
    let after = bench.stats.beat();
    assert_eq!(after.current, None);
    assert!(after.turns > before.turns);
}

#[test]
fn a_venues_own_ping_goes_to_the_cold_side_undecoded_and_is_no_data() {
    let mut bench = Bench::new();
    let feed = Feed { server_ping: Some(Box::new(ServerPing::Text("ping".into()))), ..bench.feed(0, 0) };
    let mut peer = bench.attach(feed);
    bench.say(&mut peer, &["ping".to_owned(), trade(1), "pong".to_owned()]);
    let controls: Vec<_> = bench
        .notices()
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Control { slot: 0, message } => Some(message),
            _ => None,
        })
        .collect();
    assert_eq!(controls, [b"ping"]);
    assert_eq!((peer.stats.data_messages.get(), bench.connection.unparsed.get()), (2, 1), "`pong` is no JSON");
}

#[test]
fn in_a_rotation_each_trade_is_given_once_each_leg_is_alive_and_the_tables_come_back() {
    let mut bench = Bench::new();
    let mut old = bench.attach(bench.feed(3, 0));
    let overlap = Overlap::new(17, Venue::BinanceSpot, 3, 8, [StreamKind::TRADE, StreamKind::TICKER]);
    let progress = overlap.progress();
    bench.tell(Command::BeginOverlap(Box::new(overlap)));
    bench.say(&mut old, &[trade(1), trade(2)]);
    let mut new = bench.attach(bench.feed(8, 1));
    bench.say(&mut new, &[trade(2), trade(3), ticker(1)]);
    bench.say(&mut old, &[trade(3), trade(4), ticker(1)]);
    assert_eq!(bench.trades(), [1, 2, 3, 4]);
    assert_eq!(bench.connection.repeated.get(), 3, "two trades, and a ticker before the promotion");
    for (leg, peer) in [(0, &old), (1, &new)] {
        let at = bench.stats.pulses.last_data(bench.symbol, StreamKind::TRADE, leg);
        assert_eq!(at.0, peer.stats.last_seen_ns.get(), "a repeat proves that leg {leg} speaks");
    }
    bench.tell(Command::Promote { slot: 8 });
    bench.say(&mut new, &[ticker(2)]);
    bench.say(&mut old, &[ticker(2)]);
    assert_eq!((progress.leads_passed.get(), bench.connection.repeated.get()), (1, 4));
    bench.tell(Command::Close { slot: 3, code: 0 });
    bench.say(&mut new, &[trade(4), trade(5)]);
    assert_eq!(bench.trades(), [1, 2, 3, 4, 5], "the old leg is gone: late repeats are still known");
    bench.notices();
    bench.tell(Command::EndOverlap { id: 17 });
    let notices = bench.notices();
    assert!(matches!(&notices[..], [Notice::Spent(Spent::Overlap(overlap))] if overlap.id() == 17), "{notices:?}");
    bench.say(&mut new, &[trade(5)]);
    assert_eq!(bench.trades(), [1, 2, 3, 4, 5, 5], "alone, a leg is believed");
    assert_eq!(bench.stats.overlaps_unknown.get(), 0);
}

#[test]
fn where_the_successor_is_lost_the_old_leg_leads_on_and_its_driver_is_told() {
    let mut bench = Bench::new();
    let mut old = bench.attach(bench.feed(3, 0));
    let overlap = Overlap::new(1, Venue::BinanceSpot, 3, 8, [StreamKind::TRADE, StreamKind::TICKER]);
    bench.tell(Command::BeginOverlap(Box::new(overlap)));
    let mut new = bench.attach(bench.feed(8, 1));
    bench.tell(Command::Promote { slot: 8 });
    bench.say(&mut new, &[trade(1), ticker(1)]);
    bench.tell(Command::Close { slot: 8, code: 0 });
    let notices = bench.notices();
    assert!(
        matches!(
            &notices[..],
            [.., Notice::Lost { slot: 8, .. }, Notice::LeadReturned { slot: 3, has_snapshot_passed: false }]
        ),
        "{notices:?}"
    );
    let events = bench.connection.events.get();
    bench.say(&mut old, &[trade(1), trade(2), ticker(2)]);
    assert_eq!(bench.trades(), [1, 2]);
    assert_eq!(bench.connection.events.get(), events + 2);
    // The slot is another's now, who is in no overlap.
    let mut stranger = bench.attach(bench.feed(8, 0));
    bench.say(&mut stranger, &[trade(2)]);
    assert_eq!(bench.trades(), [1, 2, 2]);
}

#[test]
fn an_overlap_the_core_cannot_take_comes_back_and_what_it_does_not_have_is_counted() {
    let mut bench = Bench::new();
    let overlap = |id, leader, successor| Box::new(Overlap::new(id, Venue::BybitSpot, leader, successor, []));
    bench.tell(Command::BeginOverlap(overlap(1, 0, 1)));
    // Its leader was lost before the command came, so a second one of that slot is no clash; one of the successor is.
    bench.tell(Command::BeginOverlap(overlap(2, 1, 2)));
    let notices = bench.notices();
    assert!(
        matches!(&notices[..], [Notice::OverlapRefused { slot: Some(1), overlap }] if overlap.id() == 2),
        "{notices:?}"
    );
    bench.tell(Command::Promote { slot: 5 });
    bench.tell(Command::EndOverlap { id: 5 });
    assert_eq!((bench.stats.overlaps_refused.get(), bench.stats.overlaps_unknown.get()), (1, 2));
}

/// Values in each histogram of the core's stages, and of a connection's whole.
fn stage_counts(bench: &Bench) -> [u64; 6] {
    let count = |histogram: &crate::hot::stats::Histogram| histogram.filled().map(|(_, count)| count).sum();
    let [kernel, decrypted, framed, decoded, handled] = bench.stats.stages.all().map(|(_, histogram)| count(histogram));
    [kernel, decrypted, framed, decoded, handled, count(&bench.connection.read_to_handler)]
}

#[test]
fn every_stage_of_every_message_is_measured_where_one_in_one_is_stamped() {
    let mut bench = Bench::new();
    let mut peer = bench.attach(bench.feed(0, 0));
    bench.say(&mut peer, &(1..=200).map(trade).collect::<Vec<_>>());
    assert_eq!(bench.trades().len(), 200);
    assert_eq!(stage_counts(&bench), [0, 0, 200, 200, 200, 200], "no kernel's stamp, no TLS");
    let of = |at: usize| bench.stats.stages.all()[at].1.max();
    assert!(of(2).max(of(3)).max(of(4)) <= bench.connection.read_to_handler.max() + 1, "no part is above the whole");
    // Marks were not lost over it: the subscription has spoken.
    assert!(bench.stats.pulses.last_data(bench.symbol, StreamKind::TRADE, 0) > MonoNs(0));
}

#[test]
fn one_message_in_many_is_stamped_or_none_and_each_reaches_its_handler() {
    for (every, expected) in [(0, 0..=0), (16, 60..=200), (1_000_000, 1..=1)] {
        let mut bench = Bench::stamping(every);
        let mut peer = bench.attach(bench.feed(0, 0));
        bench.say(&mut peer, &(1..=2_000).map(trade).collect::<Vec<_>>());
        assert_eq!(bench.trades().len(), 2_000);
        let [_, _, framed, decoded, handled, whole] = stage_counts(&bench);
        assert!(expected.contains(&framed), "one in {every}: {framed}");
        assert_eq!((decoded, handled, whole), (framed, framed, framed));
    }
}

#[test]
fn a_message_without_an_event_is_no_stage_and_the_next_with_one_is() {
    let mut bench = Bench::stamping(1_000_000);
    let mut peer = bench.attach(bench.feed(0, 0));
    bench.say(&mut peer, &[r#"{"result":null,"id":1}"#.to_owned(), "no json".to_owned()]);
    assert_eq!(stage_counts(&bench), [0; 6], "an ack, and what is refused");
    assert_eq!(bench.connection.unparsed.get(), 1);
    bench.say(&mut peer, &(1..=16).map(trade).collect::<Vec<_>>());
    assert_eq!(stage_counts(&bench), [0, 0, 1, 1, 1, 1]);
}

#[test]
fn an_event_that_an_overlap_does_not_deliver_is_no_stage() {
    let mut bench = Bench::new();
    let mut leader = bench.attach(bench.feed(0, 0));
    let mut successor = bench.attach(bench.feed(1, 1));
    bench.tell(Command::BeginOverlap(Box::new(Overlap::new(1, Venue::BinanceSpot, 0, 1, [StreamKind::TRADE]))));
    bench.say(&mut leader, &(1..=300).map(trade).collect::<Vec<_>>());
    bench.say(&mut successor, &(1..=300).map(trade).collect::<Vec<_>>());
    assert_eq!((bench.trades().len(), bench.connection.repeated.get()), (300, 300));
    assert_eq!(stage_counts(&bench), [0, 0, 300, 300, 300, 300]);
    assert!(bench.stats.pulses.last_data(bench.symbol, StreamKind::TRADE, 1) > MonoNs(0), "the other leg speaks");
}

#[test]
fn the_kernels_stamps_are_of_reads_and_only_where_they_were_asked_for() {
    let mut bench = Bench::stamping(0);
    let settings = ConnectionSettings { kernel_stamps: true, ..ConnectionSettings::default() };
    let mut stamped = bench.attach_with(bench.feed(0, 0), &settings);
    let mut plain = bench.attach(bench.feed(1, 0));
    // The kernel begins to stamp a moment after it is asked.
    let mut said = 0;
    while stage_counts(&bench)[0] < 20 {
        said += 1;
        assert!(said < 10_000, "{:?}", stage_counts(&bench));
        bench.say(&mut stamped, &[trade(said)]);
    }
    let [reads, rest @ ..] = stage_counts(&bench);
    assert!(reads <= said && rest == [0; 5], "no message is stamped");
    bench.say(&mut plain, &(1..=100).map(|id| trade(said + id)).collect::<Vec<_>>());
    assert_eq!(stage_counts(&bench)[0], reads);
    assert_eq!(bench.trades().len() as u64, said + 100);
}

#[test]
fn what_stamping_costs_is_known_once_the_loop_runs() {
    let (hot, mut cold) = ports().expect("descriptors");
    let stats = Arc::new(CoreStats::new(0));
    let settings = settings(Idle::Park, Wait::Auto, 64);
    let strategy = Strategy { state: (), on_symbol: |&mut (), _, _| {} };
    let core = Core::new(settings, hot, Arc::clone(&stats), strategy).expect("a poller");
    cold.push(Command::Stop).expect("room in the ring");
    core.run().expect("no handler, no panic");
    assert_eq!(stats.stamp_cost.every.get(), 64);
    assert!(stats.stamp_cost.counter_ps.get() > 0 && stats.stamp_cost.hot_ps.get() > 0);
}

#[test]
fn however_a_core_waits_every_message_of_every_socket_comes_and_only_what_asks_the_kernel_asks_it() {
    let few = DIRECT_SOCKET_COUNT_MAX;
    let contenders = [
        (Idle::Yield, Wait::Recv, 70, false),
        (Idle::Yield, Wait::Epoll, 1, true),
        (Idle::Yield, Wait::Epoll, 70, true),
        (Idle::Spin, Wait::Auto, few, false),
        (Idle::Spin, Wait::Auto, few + 1, true),
        (Idle::Park, Wait::Auto, 1, true),
        // A core that parks has no other way.
        (Idle::Park, Wait::Recv, 1, true),
    ];
    for (idle, wait, count, asks) in contenders {
        let mut bench = Bench::with(settings(idle, wait, 64));
        let mut peers: Vec<Peer> = Vec::new();
        for slot in 0..u16::try_from(count).expect("few") {
            // Attached with others before it, it may have been looked at in another way.
            let peer = bench.attach(bench.feed(slot, 0));
            peers.push(peer);
        }
        let before_ns = bench.core.watched_ns;
        for (id, peer) in (1..).zip(&mut peers) {
            bench.say(peer, &[trade(id)]);
        }
        assert_eq!(bench.trades().len(), count, "{idle:?} {wait:?} {count}");
        assert_eq!(bench.core.watched_ns > before_ns, asks, "{idle:?} {wait:?} {count}");
    }
}

#[test]
fn sockets_that_a_core_reads_in_turn_are_watched_by_nobody_and_all_are_where_it_asks_the_kernel() {
    let mut bench = Bench::with(settings(Idle::Spin, Wait::Auto, 64));
    let few = u16::try_from(DIRECT_SOCKET_COUNT_MAX).expect("few");
    let mut ids = 1..;
    let mut peers: Vec<(u16, Peer)> = Vec::new();
    // Up over the number at which the core changes, down again, and up once more with other sockets.
    let ups_and_downs = [few, few + 2, few, few + 1, 0, few + 1];
    for wanted in ups_and_downs {
        while peers.len() < usize::from(wanted) {
            let slot = (0..).find(|slot| !peers.iter().any(|(taken, _)| taken == slot)).expect("a free slot");
            peers.push((slot, bench.attach(bench.feed(slot, 0))));
        }
        while peers.len() > usize::from(wanted) {
            let (slot, _) = peers.remove(0);
            bench.tell(Command::Close { slot, code: 0 });
        }
        let watched = if wanted > few { usize::from(wanted) } else { 0 };
        bench.core.turn();
        // The waker is watched, too.
        assert_eq!(bench.core.poller.watched_count(), watched + 1, "{wanted} sockets");
        for (_, peer) in &mut peers {
            bench.say(peer, &[trade(ids.next().expect("endless"))]);
        }
    }
    assert_eq!(*bench.trades(), (1..ids.start).collect::<Vec<u64>>(), "each in its turn");

    let mut parked = Bench::with(settings(Idle::Park, Wait::Recv, 64));
    let mut peer = parked.attach(parked.feed(0, 0));
    assert_eq!(parked.core.poller.watched_count(), 2, "a core that sleeps is woken by its sockets, however few");
    parked.say(&mut peer, &[trade(1)]);
}

#[test]
fn where_the_kernel_watches_no_more_sockets_the_newest_goes_and_the_others_are_read_on() {
    let mut bench = Bench::with(settings(Idle::Spin, Wait::Auto, 64));
    let few = u16::try_from(DIRECT_SOCKET_COUNT_MAX).expect("few");
    let mut peers: Vec<Peer> = (0..few).map(|slot| bench.attach(bench.feed(slot, 0))).collect();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let stream = Stream::plain(ours).expect("non-blocking");
    // What is on the list already cannot be put there: the kernel refuses it, as it does where it has no room.
    bench.core.poller.add(stream.raw_fd(), few, false).expect("watched");
    let feed = bench.feed(few, 0);
    bench.attach_stream(feed, stream, &ConnectionSettings::default());
    let lost: Vec<u16> = bench.notices().iter().filter_map(lost_slot).collect();
    assert_eq!((lost, bench.core.live.len()), (vec![few], DIRECT_SOCKET_COUNT_MAX));
    assert!(!bench.core.is_watching);
    assert_eq!(bench.core.poller.watched_count(), 1, "the waker alone");
    for (id, peer) in (1..).zip(&mut peers) {
        bench.say(peer, &[trade(id)]);
    }
}

fn lost_slot(notice: &Notice) -> Option<u16> {
    if let Notice::Lost { slot, .. } = notice { Some(*slot) } else { None }
}

#[test]
fn whatever_a_core_was_on_between_two_looks_at_a_socket_is_in_the_gap_between_them() {
    const AWAY_NS: u64 = 2_000_000;
    for (idle, wait) in [(Idle::Spin, Wait::Recv), (Idle::Yield, Wait::Recv)] {
        let mut bench = Bench::with(settings(idle, wait, 64));
        let mut peer = bench.attach(bench.feed(0, 0));
        let left = mono_now().0;
        while mono_now().0 < left + AWAY_NS {
            std::hint::spin_loop();
        }
        // The first of them began where the turn before them ended. Neither finds anything.
        bench.core.turn();
        bench.core.turn();
        let gap_ns = bench.connection.visit_gap.filled().last().map_or(0, |(largest, _)| largest);
        assert!(gap_ns >= AWAY_NS, "{idle:?} {wait:?}: {gap_ns}");
        let before = mono_now();
        bench.say(&mut peer, &[trade(1)]);
        let (after, received) = (mono_now(), bench.core.desk.state.received[0].mono);
        let slack_ns = bench.core.clock.error_ns_max() + 1_000_000;
        assert!(
            received.0 + slack_ns >= before.0 && received.0 <= after.0 + slack_ns,
            "{idle:?} {wait:?}: stamped as it came"
        );
    }
}

#[test]
fn what_waits_to_be_written_leaves_whether_its_socket_is_watched_or_not_and_where_that_changes_meanwhile() {
    for others in [0, u16::try_from(DIRECT_SOCKET_COUNT_MAX).expect("few")] {
        let mut bench = Bench::with(settings(Idle::Spin, Wait::Auto, 64));
        let settings = ConnectionSettings { write_buffer_bytes: 32 << 20, ..ConnectionSettings::default() };
        let mut reader = bench.attach_with(bench.feed(0, 0), &settings);
        // More than the kernel keeps of a loopback socket whose other end reads nothing.
        bench.tell(Command::Send { slot: 0, text: vec![b'x'; 24 << 20] });
        let is_waiting = |core: &Core<Told>| match &core.slots[0].owned {
            Owned::Hot(attachment) => attachment.connection.wants_write(),
            Owned::Nothing | Owned::Cold(_) => panic!("lost"),
        };
        assert!(is_waiting(&bench.core));
        let _peers: Vec<Peer> = (1..=others).map(|slot| bench.attach(bench.feed(slot, 0))).collect();
        bench.core.turn();
        assert_eq!((bench.core.is_watching, bench.core.slots[0].is_writing), (others > 0, others > 0));
        let drained = std::thread::spawn(move || {
            let mut frame = vec![0; (24 << 20) + 14];
            std::io::Read::read_exact(&mut reader.socket, &mut frame).expect("the whole frame");
            reader
        });
        bench.until("what waited", |core| !is_waiting(core));
        let _reader = drained.join().expect("it came");
        bench.core.turn();
        assert!(!bench.core.slots[0].is_writing, "nobody waits for room any more");
    }
}

#[test]
fn what_happens_beside_the_data_of_a_tls_connection_is_counted_even_where_no_data_follows() {
    let mut bench = Bench::new();
    let (stream, mut peer) = crate::hot::stream::tests::pair(RecordOpener::InPlace);
    bench.attach_stream(bench.feed(3, 0), stream, &ConnectionSettings::default());
    let stats = Arc::clone(&bench.connection);
    // The server's tickets come behind the handshake: nobody on a hot core may store them.
    bench.until("tickets", |_| stats.tickets_dropped.get() > 0);
    for round in 1..=3 {
        peer.tls.refresh_traffic_keys().expect("TLS 1.3");
        let message = trade(round);
        peer.say(&[&[&[0x81, 126, 0, u8::try_from(message.len()).expect("short")], message.as_bytes()].concat()]);
        bench.until("a key update and a trade", |core| {
            stats.key_updates.get() == round && core.desk.state.trades.len() as u64 == round
        });
    }
}
