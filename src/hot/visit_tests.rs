//! Tests of what one visit tells of what lies behind an event, of quotes that are folded, and of holes, refilled and not.

use super::*;
use crate::hot::refill::{Interruption, Refill};
use crate::hot::trails::MissingIds;
use crate::limits::HOLE_COUNT_MAX;
use crate::market::{Level, Meta, Side};
use crate::venue::TradeBatch;

pub(super) fn framed(message: &str) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a short message");
    let mut frame = if length < 126 {
        vec![0x81, u8::try_from(length).expect("below 126")]
    } else {
        [&[0x81, 126][..], &length.to_be_bytes()].concat()
    };
    frame.extend_from_slice(message.as_bytes());
    frame
}

pub(super) fn quote(symbol: &str, update_id: u64) -> String {
    let stream = symbol.to_lowercase();
    format!(
        r#"{{"stream":"{stream}@bookTicker","data":{{"u":{update_id},"s":"{symbol}","b":"1.00","B":"0.10000","a":"1.01","A":"0.20000"}}}}"#
    )
}

impl Bench {
    /// Attaches a connection that has received these bytes: they are one visit's.
    fn attach_with_bytes(&mut self, feed: Feed, bytes: &[u8]) -> Peer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (socket, _) = listener.accept().expect("accepts");
        let stats = Arc::clone(&feed.socket);
        let stream = Stream::plain(ours).expect("non-blocking");
        let connection = HotConnection::new(stream, bytes, &ConnectionSettings::default()).expect("a connection");
        self.tell(Command::Attach(Box::new(Attachment { connection, feed })));
        self.core.turn();
        Peer { socket, stats }
    }

    pub(super) fn heard(&self) -> Vec<&str> {
        self.core.desk.state.heard.iter().map(String::as_str).collect()
    }

    fn conflating(&self, slot: u16) -> Feed {
        Feed { conflates_quotes: true, ..self.feed(slot, 0) }
    }

    fn add_ether(&mut self) {
        let mut table = SymbolTable::default();
        table.add(Venue::BinanceSpot, "BTCUSDT", 2, 5, None).expect("room");
        let symbol = table.add(Venue::BinanceSpot, "ETHUSDT", 2, 5, None).expect("room");
        self.tell(Command::AddSymbol(Box::new(table.spec(symbol).expect("just added").clone())));
    }

    fn refill(&mut self, ids: MissingIds, with: impl IntoIterator<Item = u64>) {
        let answer = self.answer(ids, with);
        self.tell(answer);
    }

    fn answer(&self, ids: MissingIds, with: impl IntoIterator<Item = u64>) -> Command {
        let meta = Meta { symbol: self.symbol, received: Received::default(), event_time: None, matching_time: None };
        let Level { price, qty } = Level::default();
        let trades = with.into_iter().map(|id| Trade {
            meta,
            id: TradeId::Number(id),
            price,
            qty,
            taker: Side::Buy,
            sequence: None,
            is_block: false,
            is_rpi: false,
            is_refilled: true,
        });
        let events = TradeBatch::Trades(trades.collect());
        Command::Refill(Box::new(Refill::new(3, ids, events, Arc::clone(&self.connection))))
    }

    fn missing(&mut self) -> Vec<MissingIds> {
        let of_hole = |notice| if let Notice::Missing { slot: 3, ids } = notice { Some(ids) } else { None };
        self.notices().into_iter().filter_map(of_hole).collect()
    }

    fn ids(&self, first: u64, last: u64) -> MissingIds {
        MissingIds { symbol: self.symbol, stream_kind: StreamKind::TRADE, first, last }
    }
}

#[test]
fn each_event_tells_how_many_bytes_lie_behind_its_message_and_whether_a_whole_one_is_among_them() {
    let frames: Vec<Vec<u8>> = (1..=4).map(|id| framed(&trade(id))).collect();
    let ping = vec![0x89, 0];
    for cut in 0..frames[3].len() {
        let mut bench = Bench::new();
        let bytes = [&frames[..3].concat(), &frames[3][..cut]].concat();
        bench.attach_with_bytes(bench.feed(3, 0), &bytes);
        let (one, two) = (frames[1].len() + frames[2].len() + cut, frames[2].len() + cut);
        let told: Vec<_> = bench.core.desk.state.received.iter().map(|received| received.backlog).collect();
        assert_eq!(told, [Backlog::new(one, true), Backlog::new(two, true), Backlog::new(cut, false)], "cut at {cut}");
    }
    let mut bench = Bench::new();
    bench.attach_with_bytes(bench.feed(3, 0), &[&frames[0][..], &ping].concat());
    assert!(!bench.core.desk.state.received[0].backlog.is_last_in_read(), "a ping counts as a frame");
}

#[test]
fn over_tls_records_that_are_not_opened_yet_lie_behind_too() {
    for opener in [RecordOpener::InPlace, RecordOpener::Rustls] {
        let mut bench = Bench::new();
        let (stream, mut peer) = crate::hot::stream::tests::pair(opener);
        bench.attach_stream(bench.feed(3, 0), stream, &ConnectionSettings::default());
        let mut said = 0;
        // Whether records arrive together is the kernel's to say.
        for round in 1.. {
            assert!(round < 2_000, "two records never came together");
            let pair: Vec<Vec<u8>> = (1..=2).map(|at| framed(&trade(said + at))).collect();
            said += 2;
            peer.say(&[&pair[0], &pair[1]]);
            bench.until("both", |core| core.desk.state.trades.len() as u64 == said);
            let [.., first, second] = &bench.core.desk.state.received[..] else { panic!("two at least") };
            assert_eq!(second.backlog, Backlog::NONE, "{opener:?}");
            if !first.backlog.is_last_in_read() {
                // A record is longer than what it holds.
                assert!(first.backlog.unread_bytes() as usize > pair[1].len(), "{opener:?} {:?}", first.backlog);
                assert_eq!(first.mono, second.mono, "they came with one read");
                break;
            }
        }
    }
}

#[test]
fn of_the_quotes_received_together_the_newest_of_each_symbol_comes_behind_all_else_and_the_rest_is_counted() {
    let messages =
        [quote("BTCUSDT", 1), trade(1), quote("ETHUSDT", 2), quote("BTCUSDT", 3), trade(2), quote("BTCUSDT", 4)];
    let bytes: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
    let mut bench = Bench::new();
    bench.add_ether();
    bench.attach_with_bytes(bench.conflating(3), &[&bytes[..], &[0x81]].concat());
    assert_eq!(bench.heard(), ["t1", "t2", "q4", "q2"]);
    assert_eq!((bench.connection.quotes_folded.get(), bench.connection.events.get()), (2, 4));
    assert_eq!(bench.connection.frames.get(), 6);
    let mut plain = Bench::new();
    plain.add_ether();
    plain.attach_with_bytes(plain.feed(3, 0), &bytes);
    assert_eq!(plain.heard(), ["q1", "t1", "q2", "q3", "t2", "q4"], "where nobody asked for it");
}

#[test]
fn a_quote_that_comes_alone_waits_for_nothing_and_one_before_a_loss_is_not_lost() {
    let mut bench = Bench::new();
    let mut peer = bench.attach(bench.conflating(3));
    for update_id in 1..=3 {
        bench.say(&mut peer, &[quote("BTCUSDT", update_id)]);
        assert_eq!(bench.heard().len() as u64, update_id);
    }
    assert_eq!(bench.connection.quotes_folded.get(), 0);
    // Two quotes, and the peer closes behind them.
    let bytes = [framed(&quote("BTCUSDT", 8)), framed(&quote("BTCUSDT", 9)), vec![0x88, 0]].concat();
    bench.attach_with_bytes(bench.conflating(4), &bytes);
    assert_eq!(bench.heard()[3..], ["q9"]);
    assert!(bench.core.desk.conflation.is_empty());
}

#[test]
fn a_hole_is_told_before_the_event_behind_it_and_its_refill_is_asked_for_once() {
    let mut bench = Bench::new();
    let mut peer = bench.attach(bench.feed(3, 0));
    bench.say(&mut peer, &[trade(10), trade(11), trade(15), trade(16)]);
    assert_eq!(bench.heard(), ["t10", "t11", "gap", "t15", "t16"]);
    let hole = bench.ids(12, 14);
    assert_eq!(bench.missing(), [hole]);
    assert_eq!(bench.missing(), []);
    bench.say(&mut peer, &[trade(13)]);
    bench.refill(hole, [11, 12, 13, 14, 15]);
    bench.core.turn();
    assert_eq!(bench.heard()[5..], ["t13", "t12", "t14"], "what is missing, and that alone");
    bench.say(&mut peer, &[trade(12), trade(17)]);
    assert_eq!(bench.heard()[8..], ["t17"], "twelve had come");
    let stats = &bench.connection;
    assert_eq!((stats.gaps[GapReason::IdJump as usize].get(), stats.ids_missing.get()), (1, 3));
    assert_eq!((stats.ids_late.get(), stats.ids_refilled.get(), stats.refills_unneeded.get()), (1, 2, 3));
    assert_eq!((stats.refills_repeated.get(), stats.ids_back.get()), (1, 0));
    let spent = bench.notices().into_iter().any(|notice| matches!(notice, Notice::Spent(Spent::Refill(_))));
    assert!(spent, "the box comes back to be freed");
}

#[test]
fn a_long_refill_is_delivered_a_few_a_turn_between_live_events() {
    let mut bench = Bench::new();
    let mut peer = bench.attach(bench.feed(3, 0));
    bench.say(&mut peer, &[trade(1), trade(1_000)]);
    let hole = bench.ids(2, 999);
    assert_eq!(bench.missing(), [hole]);
    bench.refill(hole, 2..1_000);
    let (mut turns, mut live) = (0, 1_000);
    while bench.trades().len() < 1_000 {
        let before = bench.trades().len();
        bench.core.turn();
        let delivered = bench.trades().len() - before;
        assert!((1..=REFILLED_PER_TURN).contains(&delivered), "{delivered}");
        turns += 1;
        if turns % 8 == 0 {
            live += 1;
            bench.say(&mut peer, &[trade(live)]);
            assert!(bench.trades().contains(&live), "live ones are not held up");
        }
    }
    assert!(turns > 20, "{turns}");
}

#[test]
fn more_refills_than_a_core_takes_come_back_and_no_hole_is_left_behind() {
    let mut bench = Bench::new();
    let mut peer = bench.attach(bench.feed(3, 0));
    let hole_count = 2 * REFILL_COUNT_MAX as u64;
    for at in 0..=hole_count {
        bench.say(&mut peer, &[trade(1 + 10 * at)]);
    }
    let holes = bench.missing();
    assert_eq!(holes.len() as u64, hole_count);
    // All before the next turn: one at a time they would be delivered as fast as they come.
    for hole in holes {
        let answer = bench.answer(hole, hole.first..=hole.last);
        bench.cold.push(answer).unwrap();
    }
    bench.core.turn();
    bench.until("all of them answered", |core| core.refills.is_empty());
    let refilled = bench.connection.ids_refilled.get();
    assert!(refilled > 0 && refilled.is_multiple_of(9), "{refilled}");
    let without_room = bench.connection.refills_without_room.get();
    assert!(without_room > 0, "the answers came at once");
    assert_eq!(refilled + without_room, 9 * hole_count, "each is delivered or counted");
    bench.say(&mut peer, &[trade(2)]);
    assert_eq!(bench.connection.ids_late.get(), 0, "nothing is thought missing any more");
}

#[test]
fn where_nobody_takes_what_a_core_says_holes_wait_in_their_table_and_what_it_has_no_room_for_is_counted() {
    let mut bench = Bench::new();
    let mut peer = bench.attach(bench.feed(3, 0));
    let hole_count = (RING_SLOTS + 2 * HOLE_COUNT_MAX) as u64;
    for at in 0..=hole_count / 64 {
        let jumps: Vec<String> = (0..64).map(|jump| trade(1 + 10 * (64 * at + jump))).collect();
        bench.say(&mut peer, &jumps);
        assert!(bench.core.outbox.waiting.is_empty(), "nothing is kept in memory that grows");
    }
    let without_room = bench.connection.refills_without_room.get();
    assert!(without_room > 0);
    let mut asked = 0;
    loop {
        let holes = bench.missing();
        if holes.is_empty() {
            break;
        }
        asked += holes.iter().map(MissingIds::count).sum::<u64>();
        let now = bench.core.clock.ticks();
        bench.core.housekeeping(now);
    }
    assert!(asked + without_room >= bench.connection.ids_missing.get(), "{asked} asked, {without_room} counted");
}

#[test]
fn an_interrupted_stream_is_marked_at_its_first_event_and_a_stream_that_never_spoke_is_not() {
    let mut bench = Bench::new();
    let (symbol, mut peer) = (bench.symbol, bench.attach(bench.feed(3, 0)));
    let interrupted = |streams: &[StreamKind]| {
        let streams = streams.iter().map(|&stream_kind| (symbol, stream_kind)).collect();
        Command::Interrupted(Box::new(Interruption { is_resubscribed: false, streams }))
    };
    bench.tell(interrupted(&[StreamKind::TRADE, StreamKind::QUOTE]));
    bench.say(&mut peer, &[trade(5), quote("BTCUSDT", 1)]);
    assert_eq!(bench.heard(), ["t5", "q1"], "nothing came before");
    bench.tell(interrupted(&[StreamKind::TRADE, StreamKind::QUOTE, StreamKind::TICKER]));
    bench.say(&mut peer, &[trade(6), quote("BTCUSDT", 2), quote("BTCUSDT", 3), trade(7)]);
    assert_eq!(bench.heard()[2..], ["t6", "gap", "q2", "q3", "t7"], "the trades go on where they had stopped");
    let stats = &bench.connection;
    assert_eq!((stats.gaps_without_loss.get(), stats.gaps[GapReason::ConnectionLost as usize].get()), (1, 1));
    assert_eq!(bench.missing(), []);
}

#[test]
fn while_two_legs_speak_what_one_leaves_out_is_told_only_where_the_other_does_not_bring_it() {
    let mut bench = Bench::new();
    let mut old = bench.attach(bench.feed(3, 0));
    bench.say(&mut old, &[trade(1)]);
    let overlap = || Box::new(Overlap::new(9, Venue::BinanceSpot, 3, 4, [StreamKind::TRADE]));
    bench.tell(Command::BeginOverlap(overlap()));
    let mut new = bench.attach(bench.feed(4, 1));
    // The new one is ahead, and leaves one out; the old one follows and leaves out another.
    bench.say(&mut new, &[trade(4), trade(6)]);
    bench.say(&mut old, &[trade(2), trade(3), trade(4)]);
    assert_eq!(bench.heard(), ["t1", "t4", "t6", "t2", "t3"], "five may still come");
    assert_eq!(bench.connection.gaps_filled.get(), 1);
    bench.say(&mut old, &[trade(7)]);
    bench.tell(Command::Close { slot: 3, code: 0 });
    assert_eq!(bench.heard()[5..], ["t7"], "the new one left the hole, not the old one");
    bench.tell(Command::EndOverlap { id: 9 });
    assert_eq!(bench.heard()[6..], ["gap"]);
    assert_eq!(bench.connection.ids_missing.get(), 1);
    let asked: Vec<_> =
        bench.notices().into_iter().filter(|one| matches!(one, Notice::Missing { slot: 4, .. })).collect();
    assert_eq!(asked.len(), 1);
}
