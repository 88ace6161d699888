//! The lanes as a core and a thread see them: what becomes of every event, under each policy.

use super::super::core::Strategy;
use super::super::router::{Router, take_unrouted};
use super::slot::Crosses;
use super::*;
use crate::book::{Book, BookEvent, View};
use crate::limits::SAMPLE_BYTES;
use crate::market::{
    AggTrade, BookKind, BookState, BookUpdate, Decimal, EventKind, Kline, KlineInterval, Level, Liquidation, MarkPrice,
    Meta, Price, Qty, Quote, Received, SequenceIds, Side, Symbol, SymbolSpec, Ticker, Trade, TradeId, Venue,
};
use proptest::prelude::{Just, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Tried;
use std::collections::VecDeque;

fn settings(policy: Policy, slots: usize) -> LaneSettings {
    LaneSettings {
        name: "test-0".to_owned(),
        strategy: "test".to_owned(),
        core: 0,
        cpu: None,
        policy,
        slots,
        levels: 4,
        idle: LaneIdle::Yield,
        hop_sample_every: 1,
    }
}

fn meta(symbol: usize) -> Meta {
    let symbol = Symbol::new(symbol).unwrap();
    Meta { symbol, received: Received::default(), event_time: None, matching_time: None }
}

fn trade(symbol: usize, id: u64) -> Trade {
    Trade {
        meta: meta(symbol),
        id: TradeId::Number(id),
        price: Price::from_mantissa(100),
        qty: Qty::from_mantissa(5),
        taker: Side::Buy,
        sequence: None,
        is_block: false,
        is_rpi: false,
        is_refilled: false,
    }
}

fn quote(symbol: usize, update_id: u64) -> Quote {
    Quote { meta: meta(symbol), bid: Level::default(), ask: Level::default(), update_id, sequence: None }
}

fn level(price: i64) -> Level {
    Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(1) }
}

fn book<'a>(bids: &'a [Level], asks: &'a [Level]) -> BookUpdate<'a> {
    let ids = SequenceIds { first: 1, last: 2, previous: None, cross: Some(3) };
    BookUpdate { meta: meta(0), kind: BookKind::Delta, ids, depth: 0, state: None, bids, asks }
}

fn kline(symbol: usize, interval: KlineInterval, trade_count: u64) -> Kline {
    let zero = Decimal::ZERO;
    Kline {
        meta: meta(symbol),
        interval,
        open_time: None,
        close_time: None,
        open: zero,
        high: zero,
        low: zero,
        close: zero,
        volume: zero,
        turnover: zero,
        trade_count: Some(trade_count),
        taker_buy_volume: None,
        is_closed: false,
    }
}

fn spec(index: usize) -> SymbolSpec {
    SymbolSpec {
        symbol: Symbol::new(index).unwrap(),
        venue: Venue::BinanceSpot,
        name: format!("S{index}USDT").into(),
        price_scale: 2,
        qty_scale: 5,
        instrument: None,
    }
}

/// Tells a lane of the symbols below this number.
fn tell(ends: &LaneEnds, count: usize) {
    (0..count).for_each(|index| ends.symbols.send(Box::new(spec(index))).unwrap());
}

/// A lane whose state is a list of what its handlers were given, as text.
type Seen = Vec<String>;

fn see(seen: &mut Seen, event: &impl std::fmt::Debug) {
    seen.push(format!("{event:?}"));
}

fn see_all(seen: &mut Seen, router: &mut Router<Seen>, spec: &SymbolSpec) {
    seen.push(spec.name.to_string());
    let symbol = spec.symbol;
    router.on_trade(symbol, see);
    router.on_agg_trade(symbol, see);
    router.on_quote(symbol, see);
    router.on_ticker(symbol, see);
    router.on_book_delta(symbol, |seen, event| see(seen, event));
    router.on_kline(symbol, see);
    router.on_mark_price(symbol, see);
    router.on_liquidation(symbol, see);
}

/// Runs a lane on this thread until it has delivered what waits.
fn drained<L>(receiver: LaneReceiver, strategy: Strategy<L>, stats: &LaneStats) -> L {
    stats.enter(LanePhase::Draining);
    LaneThread::new(receiver, strategy).run().unwrap()
}

// ---------------------------------------------------------------------------------------------- events

#[test]
fn every_kind_of_event_comes_to_its_handler_as_it_was_sent() {
    let mut ends = lane(settings(Policy::Block, 16));
    tell(&ends, 1);
    let agg = AggTrade {
        meta: meta(0),
        id: 1,
        price: Price::from_mantissa(1),
        qty: Qty::from_mantissa(2),
        qty_without_rpi: None,
        taker: Side::Sell,
        first_trade_id: 3,
        last_trade_id: 4,
        is_refilled: false,
    };
    let mark = MarkPrice {
        meta: meta(0),
        mark: Decimal::new(5, 1),
        index: None,
        settlement: None,
        mark_average: None,
        funding_rate: None,
        next_funding_time: None,
    };
    let liquidation = Liquidation {
        meta: meta(0),
        position: Side::Buy,
        price: Price::from_mantissa(7),
        qty: Qty::from_mantissa(8),
        average_price: None,
    };
    let (bids, asks) = ([level(9), level(8)], [level(10)]);
    let mut sent = vec!["S0USDT".to_owned()];
    macro_rules! send {
        ($($event:expr;)*) => {
            $(
                ends.sender.send(&$event);
                sent.push(format!("{:?}", $event));
            )*
        };
    }
    send! {
        trade(0, 1);
        agg;
        quote(0, 2);
        Ticker { trade_count: 3, ..Ticker::unknown(meta(0)) };
        book(&bids, &asks);
        kline(0, KlineInterval::Minutes(1), 4);
        mark;
        liquidation;
        book(&[], &[]);
    };
    let seen = drained(ends.receiver, Strategy { state: Seen::new(), on_symbol: see_all }, &ends.stats);
    assert_eq!(seen, sent);
    let expected = LaneCounts { sent: 9, delivered: 9, ..LaneCounts::default() };
    assert_eq!((ends.stats.counts(), ends.stats.unrouted(), ends.stats.waiting_max()), (expected, 0, 9));
    assert_eq!(ends.stats.hop.filled().map(|(_, count)| count).sum::<u64>(), 9, "every hop is timed");
}

#[test]
fn a_book_crosses_whole_up_to_the_room_of_a_slot_and_beyond_it_is_counted_and_not_cut() {
    let levels: Vec<Level> = (0..5).map(level).collect();
    for policy in [Policy::Block, Policy::DropOldest, Policy::Latest] {
        let mut ends = lane(settings(policy, 8));
        tell(&ends, 1);
        for (bids, asks) in [(4, 0), (5, 0), (2, 3), (0, 5), (1, 3), (0, 4)] {
            ends.sender.send(&book(&levels[..bids], &levels[..asks]));
        }
        let counts = ends.stats.counts();
        assert_eq!((counts.sent, counts.too_long, counts.dropped), (6, 3, 0), "{policy:?}");
        let seen = drained(ends.receiver, Strategy { state: Seen::new(), on_symbol: see_all }, &ends.stats);
        let last = format!("{:?}", book(&[], &levels[..4]));
        let count = if policy == Policy::Latest { 1 } else { 3 };
        assert_eq!((seen.len(), seen.last()), (1 + count, Some(&last)), "{policy:?}");
        assert_eq!(ends.stats.counts().waiting, 0);
    }
}

#[test]
fn a_trade_and_when_it_was_sent_lie_on_the_first_two_lines_of_a_slot() {
    let mut slot = slot::Slot::new(4);
    trade(0, 1).cross(&mut slot);
    let mut router = Router::<usize>::new();
    router.otherwise_trade(|end, event| *end = std::ptr::from_ref(event).addr() + size_of::<Trade>());
    let mut end = 0;
    slot.deliver(&router, &mut end);
    let start = std::ptr::from_ref(&slot).addr();
    assert!(start.is_multiple_of(128) && (start..=start + 128).contains(&end), "{start:#x}, {end:#x}");
    assert!(std::ptr::from_ref(&slot.sent).addr() < start + 128);
}

#[test]
fn only_one_hop_in_so_many_is_timed() {
    let mut ends = lane(LaneSettings { hop_sample_every: 4, ..settings(Policy::Block, 16) });
    tell(&ends, 1);
    (0..9).for_each(|id| ends.sender.send(&trade(0, id)));
    drained(ends.receiver, Strategy { state: Seen::new(), on_symbol: see_all }, &ends.stats);
    assert_eq!(ends.stats.hop.filled().map(|(_, count)| count).sum::<u64>(), 3, "the first, the fifth, the ninth");
}

// ---------------------------------------------------------------------------------------------- policies

/// What a place holds, as (symbol, number).
fn number_of(receiver: &LaneReceiver, place: &pool::Place) -> (usize, u64) {
    let mut log = Vec::new();
    let mut router = Router::<Vec<(usize, u64)>>::new();
    router.otherwise_trade(|log, event| {
        let TradeId::Number(id) = event.id else { unreachable!() };
        log.push((event.meta.symbol.index(), id));
    });
    receiver.queue.slot(place).deliver(&router, &mut log);
    log[0]
}

#[test]
fn where_the_oldest_gives_way_the_newest_are_there_in_order_and_the_one_in_the_handler_is_untouched() {
    let mut ends = lane(settings(Policy::DropOldest, 4));
    (0..4).for_each(|id| ends.sender.send(&trade(0, id)));
    let in_hand = ends.receiver.queue.take().unwrap();
    (4..10).for_each(|id| ends.sender.send(&trade(0, id)));
    assert_eq!(number_of(&ends.receiver, &in_hand), (0, 0));
    assert_eq!(ends.receiver.queue.waiting(), 3);
    ends.receiver.queue.give_back(in_hand);
    for expected in 7..10 {
        let place = ends.receiver.queue.take().unwrap();
        assert_eq!(number_of(&ends.receiver, &place), (0, expected));
        ends.receiver.queue.give_back(place);
    }
    assert!(ends.receiver.queue.take().is_none());
    assert_eq!(ends.stats.counts().dropped, 6);
}

#[test]
fn where_the_newest_counts_streams_of_a_symbol_are_told_apart() {
    let mut ends = lane(settings(Policy::Latest, 8));
    tell(&ends, 2);
    let (minute, hour) = (KlineInterval::Minutes(1), KlineInterval::Hours(1));
    for number in 0..3 {
        ends.sender.send(&kline(0, minute, number));
        ends.sender.send(&kline(0, hour, number));
        ends.sender.send(&quote(0, number));
        ends.sender.send(&quote(1, number));
    }
    let seen = drained(ends.receiver, Strategy { state: Seen::new(), on_symbol: see_all }, &ends.stats);
    let newest =
        [format!("{:?}", kline(0, minute, 2)), format!("{:?}", kline(0, hour, 2)), format!("{:?}", quote(0, 2))];
    assert_eq!(seen[2..5], newest, "in the order in which each began to wait");
    assert_eq!(seen[5], format!("{:?}", quote(1, 2)));
    let counts = LaneCounts { sent: 12, delivered: 4, replaced: 8, ..LaneCounts::default() };
    assert_eq!(ends.stats.counts(), counts);
}

#[test]
fn the_newest_of_more_streams_than_there_are_slots_is_counted_as_dropped() {
    let mut ends = lane(settings(Policy::Latest, 2));
    (0..4).for_each(|symbol| ends.sender.send(&trade(symbol, 7)));
    let counts = ends.stats.counts();
    assert_eq!((counts.dropped, counts.replaced, ends.receiver.queue.waiting()), (2, 0, 2));
}

#[test]
fn a_core_that_waits_for_a_full_lane_is_let_go_when_the_engine_stops_and_what_it_held_is_counted() {
    let mut ends = lane(settings(Policy::Block, 2));
    let stats = Arc::clone(&ends.stats);
    let core = std::thread::spawn(move || {
        (0..3).for_each(|id| ends.sender.send(&trade(0, id)));
        ends.sender
    });
    while stats.blocked() == 0 {
        std::thread::yield_now();
    }
    stats.enter(LanePhase::Closing);
    drop(core.join().unwrap());
    let counts = stats.counts();
    assert_eq!((counts.sent, counts.dropped, counts.waiting, stats.blocked()), (3, 1, 2, 1));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize),
    Take,
    GiveBack,
}

fn steps() -> impl Tried<Value = Vec<Step>> {
    let step = prop_oneof![4 => (0_usize..5).prop_map(Step::Send), 2 => Just(Step::Take), 2 => Just(Step::GiveBack)];
    proptest::collection::vec(step, 1..300)
}

/// A lane by hand beside a model of it: the model is told what was taken, and what is in the handler.
struct ByHand {
    ends: LaneEnds,
    in_hand: Option<pool::Place>,
    delivered: u64,
}

impl ByHand {
    fn new(policy: Policy, slots: usize) -> Self {
        Self { ends: lane(settings(policy, slots)), in_hand: None, delivered: 0 }
    }

    /// What is taken: `None` where one is in the handler already, or none waits.
    fn take(&mut self) -> Option<(usize, u64)> {
        if self.in_hand.is_none() {
            self.in_hand = self.ends.receiver.queue.take();
            return self.in_hand.as_ref().map(|place| number_of(&self.ends.receiver, place));
        }
        None
    }

    fn give_back(&mut self) {
        if let Some(place) = self.in_hand.take() {
            self.ends.receiver.queue.give_back(place);
            self.delivered += 1;
        }
    }
}

proptest! {
    #[test]
    fn where_the_oldest_gives_way_a_lane_is_a_list_that_loses_its_head(slots in 2_usize..6, steps in steps()) {
        let mut lane = ByHand::new(Policy::DropOldest, slots);
        let (mut model, mut is_in_hand, mut dropped) = (VecDeque::new(), false, 0);
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(symbol) => {
                    if model.len() + usize::from(is_in_hand) == slots {
                        model.pop_front();
                        dropped += 1;
                    }
                    model.push_back((symbol, id as u64));
                    lane.ends.sender.send(&trade(symbol, id as u64));
                }
                Step::Take => {
                    let expected = if is_in_hand { None } else { model.pop_front() };
                    is_in_hand |= expected.is_some();
                    prop_assert_eq!(lane.take(), expected);
                }
                Step::GiveBack => {
                    lane.give_back();
                    is_in_hand = false;
                }
            }
            prop_assert_eq!(lane.ends.receiver.queue.waiting(), model.len());
            let counts = lane.ends.stats.counts();
            prop_assert_eq!(counts.dropped, dropped);
            let there = (model.len() + usize::from(is_in_hand)) as u64;
            prop_assert_eq!(counts.sent, dropped + lane.delivered + there);
        }
    }

    #[test]
    fn where_the_newest_counts_a_lane_is_a_list_of_symbols_with_a_value_each(steps in steps()) {
        // Five symbols, one in the handler, one to write.
        let mut lane = ByHand::new(Policy::Latest, 7);
        let (mut model, mut is_in_hand, mut replaced) = (VecDeque::<(usize, u64)>::new(), false, 0);
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(symbol) => {
                    match model.iter_mut().find(|(waiting, _)| *waiting == symbol) {
                        Some(waiting) => {
                            waiting.1 = id as u64;
                            replaced += 1;
                        }
                        None => model.push_back((symbol, id as u64)),
                    }
                    lane.ends.sender.send(&trade(symbol, id as u64));
                }
                Step::Take => {
                    let expected = if is_in_hand { None } else { model.pop_front() };
                    is_in_hand |= expected.is_some();
                    prop_assert_eq!(lane.take(), expected);
                }
                Step::GiveBack => {
                    lane.give_back();
                    is_in_hand = false;
                }
            }
            prop_assert_eq!(lane.ends.receiver.queue.waiting(), model.len());
            let counts = lane.ends.stats.counts();
            prop_assert_eq!((counts.dropped, counts.replaced), (0, replaced));
        }
    }

    #[test]
    fn where_the_core_waits_a_lane_with_room_is_a_list(slots in 2_usize..6, steps in steps()) {
        let mut lane = ByHand::new(Policy::Block, slots);
        let (mut model, mut is_in_hand) = (VecDeque::new(), false);
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                // One thread cannot wait for itself.
                Step::Send(_) if model.len() + usize::from(is_in_hand) == slots => {}
                Step::Send(symbol) => {
                    model.push_back((symbol, id as u64));
                    lane.ends.sender.send(&trade(symbol, id as u64));
                }
                Step::Take => {
                    let expected = if is_in_hand { None } else { model.pop_front() };
                    is_in_hand |= expected.is_some();
                    prop_assert_eq!(lane.take(), expected);
                }
                Step::GiveBack => {
                    lane.give_back();
                    is_in_hand = false;
                }
            }
            prop_assert_eq!(lane.ends.receiver.queue.waiting(), model.len());
            prop_assert_eq!((lane.ends.stats.counts().dropped, lane.ends.stats.blocked()), (0, 0));
        }
    }
}

// ---------------------------------------------------------------------------------------------- two threads

const STRESS_COUNT: u64 = 100_000;
const STRESS_SYMBOLS: usize = 7;

/// The numbers that a lane was given, and of each symbol the last.
#[derive(Default)]
struct Numbers {
    count: u64,
    last: [Option<u64>; STRESS_SYMBOLS],
    /// One that was not above the one before it: of its symbol, or of all.
    backwards: u64,
    newest: Option<u64>,
}

fn note_number(numbers: &mut Numbers, trade: &Trade) {
    let TradeId::Number(id) = trade.id else { unreachable!("sent as a number") };
    let last = &mut numbers.last[trade.meta.symbol.index()];
    let is_in_order = last.is_none_or(|last| last < id);
    numbers.backwards += u64::from(!is_in_order);
    *last = Some(id);
    numbers.newest = numbers.newest.max(Some(id));
    numbers.count += 1;
    // A torn or overwritten event would not agree with itself.
    assert_eq!(trade.price.mantissa(), i64::try_from(id).unwrap() * 3, "{trade:?}");
    assert_eq!(trade.meta.symbol.index(), usize::try_from(id).unwrap() % STRESS_SYMBOLS, "{trade:?}");
    if id.is_multiple_of(1_000) {
        // A lane that stalls now and then, so that every policy has its work.
        (0..200).for_each(|_| std::thread::yield_now());
    }
}

fn note_numbers(_: &mut Numbers, router: &mut Router<Numbers>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, note_number);
}

/// Sends from this thread what a lane on another takes.
fn stress(policy: Policy, slots: usize) -> (Numbers, LaneCounts) {
    let mut ends = lane(settings(policy, slots));
    tell(&ends, STRESS_SYMBOLS);
    let LaneEnds { receiver, stats, .. } = ends;
    let strategy = Strategy { state: Numbers::default(), on_symbol: note_numbers };
    let thread = std::thread::spawn(move || LaneThread::new(receiver, strategy).run());
    for id in 0..STRESS_COUNT {
        let price = Price::from_mantissa(i64::try_from(id).unwrap() * 3);
        let symbol = usize::try_from(id).unwrap() % STRESS_SYMBOLS;
        ends.sender.send(&Trade { price, ..trade(symbol, id) });
    }
    stats.enter(LanePhase::Draining);
    let numbers = thread.join().unwrap().unwrap();
    (numbers, stats.counts())
}

#[test]
fn under_block_nothing_is_lost_and_nothing_comes_twice_or_out_of_order() {
    for slots in [2, 64] {
        let (numbers, counts) = stress(Policy::Block, slots);
        assert_eq!((numbers.count, numbers.backwards), (STRESS_COUNT, 0), "{slots} slots");
        let all = LaneCounts { sent: STRESS_COUNT, delivered: STRESS_COUNT, ..LaneCounts::default() };
        assert_eq!(counts, all, "{slots} slots");
    }
}

#[test]
fn under_drop_oldest_every_event_is_delivered_or_counted_and_the_last_ones_are_there() {
    for slots in [2, 64] {
        let (numbers, counts) = stress(Policy::DropOldest, slots);
        assert_eq!((numbers.backwards, numbers.newest), (0, Some(STRESS_COUNT - 1)), "{slots} slots");
        assert_eq!(counts.delivered, numbers.count, "{slots} slots");
        assert_eq!(counts.delivered + counts.dropped, STRESS_COUNT, "{slots} slots");
        assert_eq!((counts.sent, counts.waiting, counts.replaced), (STRESS_COUNT, 0, 0), "{slots} slots");
    }
}

#[test]
fn under_latest_the_last_value_of_every_symbol_arrives() {
    for slots in [STRESS_SYMBOLS + 2, 64] {
        let (numbers, counts) = stress(Policy::Latest, slots);
        for (symbol, last) in numbers.last.into_iter().enumerate() {
            let expected = (0..STRESS_COUNT).rev().find(|id| id % STRESS_SYMBOLS as u64 == symbol as u64);
            assert_eq!(last, expected, "symbol {symbol}, {slots} slots");
        }
        assert_eq!((numbers.backwards, counts.dropped), (0, 0), "{slots} slots");
        assert_eq!(counts.delivered + counts.replaced, STRESS_COUNT, "{slots} slots");
        assert_eq!((counts.delivered, counts.waiting), (numbers.count, 0), "{slots} slots");
    }
}

#[test]
fn a_backlog_is_counted_where_it_begins_and_as_it_grows_and_not_for_each_event() {
    let ends = lane(settings(Policy::Block, 256));
    tell(&ends, 1);
    let LaneEnds { receiver, mut sender, stats, .. } = ends;
    let mut thread = LaneThread::new(receiver, Strategy { state: Seen::new(), on_symbol: see_all });
    let mut send = |count: u64| (0..count).for_each(|id| sender.send(&trade(0, id)));
    let mut most_after = |turns: usize| {
        (0..turns).for_each(|_| assert!(thread.turn()));
        stats.waiting_max()
    };
    send(1);
    assert_eq!(most_after(1), 1, "one alone is no backlog");
    send(20);
    assert_eq!(most_after(1), 20);
    send(100);
    assert_eq!(most_after(15), 20, "the next count is the sixteenth event's");
    assert_eq!(most_after(1), 104, "of 119 that there were, fifteen are delivered");
    assert_eq!(most_after(200), 104);
    send(110);
    assert_eq!(most_after(1), 110, "where a backlog begins it is counted at once");
}

// ---------------------------------------------------------------------------------------------- the thread

#[test]
fn a_symbol_that_is_told_of_late_is_learned_before_its_first_event_and_twice_is_once() {
    let mut ends = lane(settings(Policy::Block, 8));
    tell(&ends, 1);
    ends.sender.send(&trade(0, 1));
    ends.sender.send(&trade(1, 2));
    tell(&ends, 2);
    let seen = drained(ends.receiver, Strategy { state: Seen::new(), on_symbol: see_all }, &ends.stats);
    let expected =
        ["S0USDT".to_owned(), "S1USDT".to_owned(), format!("{:?}", trade(0, 1)), format!("{:?}", trade(1, 2))];
    assert_eq!(seen, expected);
}

fn see_trades_of_the_first(_: &mut Seen, router: &mut Router<Seen>, spec: &SymbolSpec) {
    match spec.symbol.index() {
        0 => router.on_trade(spec.symbol, see),
        // The third symbol gives the first back, and takes the second's quotes.
        2 => {
            assert!(router.unregister(EventKind::Trade, Symbol::new(0).unwrap()));
            router.on_quote(Symbol::new(1).unwrap(), see);
        }
        _ => {}
    }
}

#[test]
fn the_core_hears_what_a_lane_has_handlers_for_and_of_every_later_change() {
    let ends = lane(settings(Policy::Block, 8));
    let wants = |index: usize| {
        let symbol = Symbol::new(index).unwrap();
        EventKind::ALL.into_iter().filter(|&kind| ends.stats.wants(kind, symbol)).collect::<Vec<_>>()
    };
    assert_eq!(wants(0), EventKind::ALL, "nothing is known: everything is sent");
    tell(&ends, 2);
    let strategy = || Strategy { state: Seen::new(), on_symbol: see_trades_of_the_first };
    let mut thread = LaneThread::new(ends.receiver, strategy());
    thread.turn();
    assert_eq!((wants(0), wants(1)), (vec![EventKind::Trade], Vec::new()));
    assert_eq!(wants(2), EventKind::ALL);
    ends.symbols.send(Box::new(spec(2))).unwrap();
    thread.turn();
    assert_eq!((wants(0), wants(1), wants(2)), (Vec::new(), vec![EventKind::Quote], Vec::new()));
}

#[test]
fn a_lane_that_spins_asks_for_new_symbols_once_in_so_many_looks() {
    let ends = lane(LaneSettings { idle: LaneIdle::Spin, ..settings(Policy::Block, 8) });
    tell(&ends, 1);
    let mut thread = LaneThread::new(ends.receiver, Strategy { state: Seen::new(), on_symbol: see_all });
    let is_told = || !ends.stats.wants(EventKind::Gap, Symbol::new(0).unwrap());
    let learned_at = (1..1_000).find(|_| {
        thread.turn();
        is_told()
    });
    assert_eq!(learned_at, Some(64));
}

#[test]
fn an_event_without_a_handler_is_counted_as_unrouted_by_the_lane() {
    let mut ends = lane(settings(Policy::Block, 8));
    tell(&ends, 2);
    ends.sender.send(&trade(0, 1));
    ends.sender.send(&trade(1, 1));
    ends.sender.send(&quote(0, 1));
    let strategy = Strategy { state: Seen::new(), on_symbol: see_trades_of_the_first };
    let seen = drained(ends.receiver, strategy, &ends.stats);
    assert_eq!((seen.len(), ends.stats.counts().delivered, ends.stats.unrouted()), (1, 3, 2));
}

fn panic_at_seven(_: &mut (), trade: &Trade) {
    assert!(trade.id != TradeId::Number(7), "the id is seven");
}

#[test]
fn a_handler_that_panics_ends_its_lane_with_the_event_and_what_waits_is_left() {
    let mut ends = lane(settings(Policy::Block, 8));
    tell(&ends, 1);
    (6..9).for_each(|id| ends.sender.send(&trade(0, id)));
    let strategy = Strategy { state: (), on_symbol: |_, router, spec| router.on_trade(spec.symbol, panic_at_seven) };
    let panic = LaneThread::new(ends.receiver, strategy).run().unwrap_err();
    assert_eq!((panic.lane.as_str(), panic.what.as_str()), ("test-0", "the id is seven"));
    assert_eq!(panic.event, Some((EventKind::Trade, Symbol::new(0).unwrap())));
    assert_eq!(panic.shown, format!("{:?}", trade(0, 7)));
    assert_eq!((ends.stats.counts().delivered, ends.stats.counts().waiting), (1, 2));
    // The core does not wait for a lane that is gone.
    (9..20).for_each(|id| ends.sender.send(&trade(0, id)));
    assert!(ends.stats.counts().dropped > 0);
}

#[test]
fn a_long_event_is_shown_by_its_beginning_when_its_handler_panics() {
    let mut ends = lane(LaneSettings { levels: 100, ..settings(Policy::Block, 8) });
    tell(&ends, 1);
    let levels: Vec<Level> = (0..100).map(level).collect();
    ends.sender.send(&book(&levels, &[]));
    let on_symbol = |_: &mut (), router: &mut Router<()>, spec: &SymbolSpec| {
        router.on_book_delta(spec.symbol, |_, book| panic!("{} bids", book.bids.len()));
    };
    let panic = LaneThread::new(ends.receiver, Strategy { state: (), on_symbol }).run().unwrap_err();
    assert_eq!((panic.what.as_str(), panic.shown.len()), ("100 bids", SAMPLE_BYTES));
}

#[test]
fn a_lane_that_is_cut_ends_before_the_next_event_and_says_what_is_left() {
    let mut ends = lane(settings(Policy::Block, 8));
    tell(&ends, 1);
    (0..3).for_each(|id| ends.sender.send(&trade(0, id)));
    ends.stats.enter(LanePhase::Cut);
    ends.stats.enter(LanePhase::Draining);
    let strategy = Strategy { state: Seen::new(), on_symbol: see_all };
    assert!(LaneThread::new(ends.receiver, strategy).run().unwrap().is_empty());
    assert_eq!((ends.stats.phase(), ends.stats.counts().waiting), (LanePhase::Cut, 3), "a life does not go back");
}

#[test]
fn a_lane_that_sleeps_spins_or_yields_delivers_what_comes_while_it_does() {
    for idle in [LaneIdle::Spin, LaneIdle::Yield, LaneIdle::Sleep(Duration::from_micros(50))] {
        let (seen_in, seen) = channel();
        let mut ends = lane(LaneSettings { idle, ..settings(Policy::Block, 8) });
        tell(&ends, 1);
        type Tells = Sender<TradeId>;
        let on_symbol = |_: &mut Tells, router: &mut Router<Tells>, spec: &SymbolSpec| {
            router.on_trade(spec.symbol, |tells, trade| tells.send(trade.id).unwrap());
        };
        let receiver = ends.receiver;
        let thread =
            std::thread::spawn(move || LaneThread::new(receiver, Strategy { state: seen_in, on_symbol }).run());
        for id in 0..100 {
            ends.sender.send(&trade(0, id));
            assert_eq!(seen.recv(), Ok(TradeId::Number(id)), "{idle:?}");
        }
        ends.stats.enter(LanePhase::Draining);
        drop(thread.join().unwrap().unwrap());
        assert!(ends.stats.beat().turns >= 100);
        assert_eq!(ends.stats.beat().current, None);
    }
}

// ---------------------------------------------------------------------------------------------- the core's side

fn see_quotes(_: &mut Seen, router: &mut Router<Seen>, spec: &SymbolSpec) {
    router.on_quote(spec.symbol, see);
}

fn see_trades(_: &mut Seen, router: &mut Router<Seen>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, see);
}

#[test]
fn a_core_calls_its_own_handler_and_sends_to_the_lanes_that_have_one_and_counts_what_nobody_wants() {
    take_unrouted();
    let ends = lane(settings(Policy::Block, 8));
    tell(&ends, 1);
    let mut thread = LaneThread::new(ends.receiver, Strategy { state: Seen::new(), on_symbol: see_trades });
    thread.turn();
    let set = LaneSet::new(vec![ends.sender], by_symbol);
    let Strategy { state: mut laned, on_symbol } =
        with_lanes(Strategy { state: Seen::new(), on_symbol: see_quotes }, vec![set]);
    let mut router = Router::new();
    on_symbol(&mut laned, &mut router, &spec(0));
    router.quote(&mut laned, &quote(0, 1));
    router.trade(&mut laned, &trade(0, 2));
    assert_eq!(take_unrouted(), 0, "each of them has a handler");
    router.kline(&mut laned, &kline(0, KlineInterval::Minutes(1), 3));
    assert_eq!(take_unrouted(), 1);
    assert_eq!(format!("{laned:?}").matches("update_id: 1").count(), 1, "the core's own");
    let counts = ends.stats.counts();
    assert_eq!((counts.sent, counts.waiting), (1, 1), "the lane wants trades only");
}

#[test]
fn a_lane_that_asks_for_kept_books_ends_and_says_what_it_gets_instead() {
    let by_symbol = |_: &mut (), router: &mut Router<()>, spec: &SymbolSpec| router.on_book(spec.symbol, |_, _| {});
    let for_all = |_: &mut (), router: &mut Router<()>, _: &SymbolSpec| router.otherwise_book(|_, _| {});
    let of_another = |_: &mut (), router: &mut Router<()>, _: &SymbolSpec| {
        router.on_book(Symbol::new(7).unwrap(), |_, _| {});
    };
    for on_symbol in [by_symbol, for_all, of_another] {
        let ends = lane(settings(Policy::Block, 8));
        tell(&ends, 1);
        ends.stats.enter(LanePhase::Draining);
        let panic = LaneThread::new(ends.receiver, Strategy { state: (), on_symbol }).run().unwrap_err();
        assert!(panic.what.contains("on_book_delta") && panic.event.is_none(), "{panic:?}");
    }
}

#[test]
fn a_core_with_lanes_hears_of_its_books_and_the_lanes_get_their_messages_with_the_state() {
    fn see_books(_: &mut Seen, router: &mut Router<Seen>, spec: &SymbolSpec) {
        router.on_book(spec.symbol, |seen, event| see(seen, &event.state()));
    }
    take_unrouted();
    let ends = lane(settings(Policy::Block, 8));
    tell(&ends, 2);
    let stats = Arc::clone(&ends.stats);
    let of_lane: fn(&mut Seen, &mut Router<Seen>, &SymbolSpec) = |_, router, spec| {
        if spec.symbol.index() == 0 {
            router.on_book_delta(spec.symbol, |seen, update| see(seen, &update.state));
        }
    };
    let mut thread = LaneThread::new(ends.receiver, Strategy { state: Seen::new(), on_symbol: of_lane });
    thread.turn();
    let set = LaneSet::new(vec![ends.sender], by_symbol);
    let strategy = Strategy { state: Seen::new(), on_symbol: see_books };
    let Strategy { state: mut laned, on_symbol } = with_lanes(strategy, vec![set]);
    let mut router = Router::new();
    (0..2).for_each(|symbol| on_symbol(&mut laned, &mut router, &spec(symbol)));
    let kept = Book::new(4, 2);
    for (symbol, state, unrouted) in
        [(0, Some(BookState::Waiting), 0), (1, Some(BookState::Waiting), 0), (1, None, 1), (0, None, 0)]
    {
        let update = BookUpdate { meta: meta(symbol), state, ..book(&[], &[]) };
        router.book_delta(&mut laned, &update);
        assert_eq!(take_unrouted(), unrouted, "symbol {symbol}, {state:?}");
        if let Some(state) = state {
            let view = View { state, ids: None, book: &kept };
            router.book(&mut laned, &BookEvent { meta: meta(symbol), step: crate::book::Step::Ignored, view });
        }
    }
    assert_eq!(format!("{laned:?}").matches("Waiting").count(), 2, "the core's own");
    stats.enter(LanePhase::Draining);
    assert_eq!(thread.run().unwrap(), ["Some(Waiting)", "None"]);
}

#[test]
fn every_event_goes_to_the_lane_that_the_partition_names_for_its_kind_and_symbol() {
    fn own(kind: EventKind, symbol: Symbol) -> usize {
        // Far above the count of lanes: the remainder is taken.
        300 + usize::from(kind == EventKind::Quote) + 2 * symbol.index()
    }
    let expected: [(Partition, [[usize; 2]; 3]); 3] =
        [(by_symbol, [[0, 0], [1, 1], [2, 2]]), (by_kind, [[0, 2], [0, 2], [0, 2]]), (own, [[0, 1], [2, 0], [1, 2]])];
    for (partition, lanes_of) in expected {
        let (mut senders, mut all) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let LaneEnds { sender, stats, .. } = lane(settings(Policy::Block, 64));
            senders.push(sender);
            all.push(stats);
        }
        let set = LaneSet::new(senders, partition);
        let nothing = Strategy { state: Seen::new(), on_symbol: |_, _, _| {} };
        let Strategy { state: mut laned, on_symbol } = with_lanes(nothing, vec![set]);
        let mut router = Router::new();
        for (symbol, [of_trades, of_quotes]) in lanes_of.into_iter().enumerate() {
            on_symbol(&mut laned, &mut router, &spec(symbol));
            let mut expected: Vec<u64> = all.iter().map(|stats| stats.counts().sent).collect();
            router.trade(&mut laned, &trade(symbol, 1));
            router.quote(&mut laned, &quote(symbol, 1));
            expected[of_trades] += 1;
            expected[of_quotes] += 1;
            assert_eq!(all.iter().map(|stats| stats.counts().sent).collect::<Vec<_>>(), expected, "symbol {symbol}");
        }
    }
}

#[test]
fn an_event_that_needs_no_room_for_levels_says_so() {
    assert_eq!(trade(0, 1).level_count(), 0);
    assert_eq!(book(&[level(1)], &[level(2), level(3)]).level_count(), 3);
}
