use super::*;
use crate::market::{Instrument, Meta, Received, Uuid, Venue};
use proptest::prelude::*;
use std::collections::BTreeSet;

const TRADE: StreamKind = StreamKind::TRADE;
const SLOT: u16 = 3;

fn symbol(index: usize) -> Symbol {
    Symbol::new(index).unwrap()
}

fn trails(venue: Venue, count: usize) -> Trails {
    let mut trails = Trails::new();
    for index in 0..count {
        let no_instrument: Option<Instrument> = None;
        let mut table = crate::market::SymbolTable::default();
        for at in 0..=index {
            table.add(venue, &format!("S{at}"), 2, 2, no_instrument.clone()).unwrap();
        }
        trails.add(table.spec(symbol(index)).unwrap());
    }
    trails
}

fn number(id: u64) -> TradeId {
    TradeId::Number(id)
}

fn missing(first: u64, last: u64) -> MissingIds {
    MissingIds { symbol: symbol(0), stream_kind: TRADE, first, last }
}

fn gap(ids: MissingIds) -> Gap {
    let meta = Meta { symbol: ids.symbol, received: Received::default(), event_time: None, matching_time: None };
    Gap {
        meta,
        stream_kind: ids.stream_kind,
        before: Some(number(ids.first - 1)),
        after: Some(number(ids.last + 1)),
        missing: Some(ids.count()),
        outage_ns: 0,
        reason: GapReason::IdJump,
    }
}

/// What becomes of an id: `None` where it simply follows.
fn come(trails: &mut Trails, id: TradeId) -> Option<Step> {
    (!trails.follows(symbol(0), TRADE, id)).then(|| trails.step(symbol(0), TRADE, id, false))
}

#[test]
fn consecutive_ids_follow_and_one_that_is_left_out_is_a_hole_of_one() {
    let mut trails = trails(Venue::BinanceSpot, 1);
    assert_eq!(come(&mut trails, number(100)), Some(Step::First));
    assert_eq!(come(&mut trails, number(101)), None);
    let jump = Step::Jump { before: number(101), missing: missing(102, 102), reason: GapReason::IdJump };
    assert_eq!(come(&mut trails, number(103)), Some(jump));
    assert_eq!(come(&mut trails, number(104)), None);
}

#[test]
fn trades_and_aggregates_of_each_symbol_have_rows_of_their_own() {
    let mut trails = trails(Venue::BinanceUsdm, 2);
    for (at, stream_kind) in [(0, TRADE), (0, StreamKind::AGG_TRADE), (1, TRADE), (1, StreamKind::AGG_TRADE)] {
        for id in [10 * (at as u64 + 1), 10 * (at as u64 + 1) + 1] {
            let follows = trails.follows(symbol(at), stream_kind, number(id));
            let step = (!follows).then(|| trails.step(symbol(at), stream_kind, number(id), false));
            assert_eq!(step, (id % 10 == 0).then_some(Step::First), "{stream_kind} of {at}");
        }
    }
}

#[test]
fn an_interrupted_stream_tells_what_is_missing_or_that_nothing_is() {
    for (is_resubscribed, reason) in [(false, GapReason::ConnectionLost), (true, GapReason::Resubscribed)] {
        let mut trails = trails(Venue::BinanceSpot, 1);
        trails.interrupt(symbol(0), TRADE, is_resubscribed, true);
        assert_eq!(come(&mut trails, number(100)), Some(Step::First), "nothing came before");
        trails.interrupt(symbol(0), TRADE, is_resubscribed, true);
        assert_eq!(come(&mut trails, number(101)), Some(Step::WithoutLoss));
        trails.interrupt(symbol(0), TRADE, is_resubscribed, true);
        trails.interrupt(symbol(0), TRADE, !is_resubscribed, true);
        let jump = Step::Jump { before: number(101), missing: missing(102, 149), reason };
        assert_eq!(come(&mut trails, number(150)), Some(jump), "the first interruption is the reason");
        assert_eq!(come(&mut trails, number(151)), None);
    }
}

#[test]
fn ids_that_are_not_consecutive_tell_of_an_interruption_alone() {
    for (venue, ids) in [
        (Venue::BybitSpot, [number(5), number(900), number(901)]),
        (Venue::BybitLinear, [7 << 64 | 3, 1, u128::MAX].map(|bits| TradeId::Uuid(Uuid::from_bits(bits)))),
    ] {
        let mut trails = trails(venue, 1);
        for id in ids {
            assert_eq!(come(&mut trails, id), None);
        }
        trails.interrupt(symbol(0), TRADE, false, true);
        let unknown = Step::Unknown { before: ids[2], reason: GapReason::ConnectionLost };
        let next = if venue == Venue::BybitSpot { number(902) } else { ids[0] };
        assert_eq!(come(&mut trails, next), Some(unknown), "although it is one more");
        assert_eq!(come(&mut trails, ids[1]), None);
    }
}

#[test]
fn a_late_id_is_delivered_and_changes_nothing_but_a_new_numbering_is_followed() {
    let mut trails = trails(Venue::BinanceSpot, 1);
    come(&mut trails, number(1_000));
    assert_eq!(come(&mut trails, number(7)), Some(Step::Back));
    assert_eq!(come(&mut trails, number(1_001)), None);
    assert_eq!(come(&mut trails, number(1)), Some(Step::Back));
    assert_eq!(come(&mut trails, number(2)), Some(Step::Back));
    assert_eq!(come(&mut trails, number(3)), None, "the numbers started again");
}

#[test]
fn a_hole_that_is_filled_by_the_other_leg_is_never_told() {
    let mut trails = trails(Venue::BinanceSpot, 1);
    come(&mut trails, number(100));
    come(&mut trails, number(104));
    assert!(trails.open(missing(101, 103), SLOT, gap(missing(101, 103)), MonoNs(5)));
    assert!(trails.has_opened());
    for (id, is_whole) in [(102, false), (101, false), (103, true)] {
        assert_eq!(come(&mut trails, number(id)), Some(Step::Filled { is_whole }), "{id}");
    }
    assert!(!trails.has_opened() && trails.next_overdue(|_, _| true).is_none());
    assert_eq!(come(&mut trails, number(105)), None);
}

#[test]
fn what_the_other_leg_does_not_fill_is_told_piece_by_piece_with_true_ids() {
    let mut trails = trails(Venue::BinanceSpot, 1);
    come(&mut trails, number(100));
    come(&mut trails, number(110));
    assert!(trails.open(missing(101, 109), SLOT, gap(missing(101, 109)), MonoNs(5)));
    come(&mut trails, number(105));
    assert!(trails.next_overdue(|_, opened| opened > MonoNs(5)).is_none(), "it has its time");
    let mut told = Vec::new();
    while let Some(hole) = trails.next_overdue(|hole, _| hole.slot == SLOT) {
        told.push((hole.gap.before.unwrap(), hole.gap.missing.unwrap(), hole.gap.after.unwrap()));
    }
    told.sort_by_key(|(_, count, _)| *count);
    assert_eq!(told, [(number(100), 4, number(105)), (number(105), 4, number(110))]);
    assert!(!trails.has_opened());
}

#[test]
fn a_refilled_id_is_delivered_once_whatever_comes_meanwhile_or_later() {
    let mut trails = trails(Venue::BinanceSpot, 1);
    come(&mut trails, number(100));
    come(&mut trails, number(106));
    assert_eq!(trails.ask(missing(101, 105), SLOT, gap(missing(101, 105))), 0);
    assert_eq!(trails.next_asked(), Some((SLOT, missing(101, 105))));
    assert_eq!(trails.next_asked(), None);
    assert_eq!(come(&mut trails, number(103)), Some(Step::Filled { is_whole: false }), "late, and live");
    let refilled: Vec<u64> = (99..108).filter(|&id| trails.refill(symbol(0), TRADE, id)).collect();
    assert_eq!(refilled, [101, 102, 104, 105]);
    assert_eq!(trails.end_refill(missing(101, 105)), 0);
    for id in [101, 102, 104, 105] {
        assert_eq!(come(&mut trails, number(id)), Some(Step::Repeated), "{id}");
        assert!(!trails.refill(symbol(0), TRADE, id), "{id}");
    }
    assert_eq!(come(&mut trails, number(107)), None);
}

#[test]
fn a_refill_that_brings_nothing_leaves_no_hole_behind() {
    let mut trails = trails(Venue::BinanceSpot, 1);
    come(&mut trails, number(100));
    come(&mut trails, number(106));
    trails.ask(missing(101, 105), SLOT, gap(missing(101, 105)));
    assert_eq!(trails.end_refill(missing(101, 105)), 5);
    assert!(!trails.refill(symbol(0), TRADE, 103), "it is no longer missing");
    assert_eq!(trails.end_refill(missing(101, 105)), 0, "twice");
}

#[test]
fn a_full_table_makes_room_by_what_was_told_and_never_grows() {
    let mut trails = trails(Venue::BinanceSpot, 1);
    for at in 0..HOLE_COUNT_MAX as u64 {
        let ids = missing(10 * at + 1, 10 * at + 2);
        assert!(trails.open(ids, SLOT, gap(ids), MonoNs(1)));
    }
    let more = missing(100_001, 100_002);
    assert!(!trails.open(more, SLOT, gap(more), MonoNs(1)), "it is to be told at once");
    assert_eq!(trails.ask(more, SLOT, gap(more)), more.count(), "all wait for the other leg");
    let hole = trails.next_overdue(|_, _| true).unwrap();
    assert_eq!(trails.ask(hole.ids, hole.slot, hole.gap), 0);
    assert_eq!(trails.ask(more, SLOT, gap(more)), hole.ids.count(), "in the place of one that was told");
    assert_eq!(trails.holes.len(), HOLE_COUNT_MAX);
}

#[test]
fn a_stream_without_a_row_is_marked_once_if_it_had_spoken() {
    let mut trails = trails(Venue::BybitLinear, 2);
    trails.interrupt(symbol(0), StreamKind::QUOTE, false, false);
    assert!(!trails.is_watchful(), "it never spoke");
    trails.interrupt(symbol(0), StreamKind::QUOTE, false, true);
    trails.interrupt(symbol(0), StreamKind::QUOTE, true, true);
    trails.interrupt(symbol(1), StreamKind::KLINE_OTHER, true, true);
    assert!(trails.is_watchful());
    assert_eq!(trails.take_pending(symbol(1), StreamKind::QUOTE), None);
    assert_eq!(trails.take_pending(symbol(0), StreamKind::QUOTE), Some(GapReason::ConnectionLost));
    assert_eq!(trails.take_pending(symbol(0), StreamKind::QUOTE), None);
    assert_eq!(trails.take_pending(symbol(1), StreamKind::KLINE_OTHER), Some(GapReason::Resubscribed));
    assert!(!trails.is_watchful());
}

#[test]
fn an_eviction_is_told_once_for_each_overlap_and_stream() {
    let mut trails = trails(Venue::BinanceSpot, 1);
    come(&mut trails, number(100));
    assert!(trails.evicted(symbol(0), TRADE, 1) && !trails.evicted(symbol(0), TRADE, 1));
    assert!(trails.evicted(symbol(0), TRADE, 2) && trails.evicted(symbol(0), StreamKind::AGG_TRADE, 2));
    assert_eq!(come(&mut trails, number(101)), None, "and the row is as it was");
}

#[derive(Clone, Debug)]
enum Act {
    /// The market goes on by so many ids, of which the stream leaves these out.
    Live(u64, Vec<u64>),
    Interrupt,
    /// One of the ids left out so far comes late.
    Late(usize),
    /// The oldest hole is answered with a part of its ids, in this order.
    Refill(Vec<u64>),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        5 => (1_u64..12, proptest::collection::vec(0_u64..12, 0..4)).prop_map(|(count, out)| Act::Live(count, out)),
        1 => Just(Act::Interrupt),
        2 => (0_usize..20).prop_map(Act::Late),
        3 => proptest::collection::vec(0_u64..20, 0..20).prop_map(Act::Refill),
    ];
    proptest::collection::vec(act, 1..80)
}

proptest! {
    #[test]
    fn by_any_history_each_id_is_delivered_at_most_once_and_every_one_left_out_was_told(acts in acts()) {
        let mut trails = trails(Venue::BinanceSpot, 1);
        let (mut next, mut delivered, mut left_out, mut told) = (100_u64, BTreeSet::new(), Vec::new(), BTreeSet::new());
        let mut asked: Vec<MissingIds> = Vec::new();
        come(&mut trails, number(99));
        for act in acts {
            match act {
                Act::Interrupt => trails.interrupt(symbol(0), TRADE, false, true),
                Act::Live(count, out) => for at in 0..count {
                    let id = next;
                    next += 1;
                    if out.contains(&at) {
                        left_out.push(id);
                        continue;
                    }
                    match come(&mut trails, number(id)) {
                        None | Some(Step::First | Step::WithoutLoss) => {}
                        Some(Step::Jump { missing, .. }) => {
                            for id in missing.first..=missing.last {
                                prop_assert!(told.insert(id), "{id} was told twice");
                            }
                            prop_assert_eq!(trails.ask(missing, SLOT, gap(missing)), 0);
                            asked.extend(trails.next_asked().map(|(_, ids)| ids));
                        }
                        step => prop_assert!(false, "{id}: {step:?}"),
                    }
                    prop_assert!(delivered.insert(id));
                },
                Act::Late(at) => if !left_out.is_empty() {
                    let id = left_out[at % left_out.len()];
                    match come(&mut trails, number(id)) {
                        Some(Step::Filled { .. }) => prop_assert!(delivered.insert(id), "{id} twice"),
                        Some(Step::Repeated) => prop_assert!(delivered.contains(&id)),
                        // Behind the last event: not told of yet. Or it came before, and this is a repeat of the venue's own.
                        _ => { prop_assume!(false); }
                    }
                },
                Act::Refill(ids) => if let Some(hole) = asked.first().copied() {
                    asked.remove(0);
                    for at in ids {
                        let id = hole.first + at;
                        if trails.refill(symbol(0), TRADE, id) {
                            prop_assert!(told.contains(&id) && delivered.insert(id), "{id} twice or never missing");
                        }
                    }
                    trails.end_refill(hole);
                },
            }
        }
        // The next live id closes the account: what was left out is told.
        if let Some(Step::Jump { missing, .. }) = come(&mut trails, number(next)) {
            told.extend(missing.first..=missing.last);
        }
        prop_assert!(left_out.iter().all(|id| told.contains(id)), "{left_out:?} {told:?}");
    }
}

#[test]
fn a_connection_that_lags_brings_what_came_before_the_firsts_and_that_is_no_new_numbering() {
    for (is_shared, first, is_old) in [(true, 5_000_000, true), (false, 5_000_000, false), (true, 90, false)] {
        let mut trails = trails(Venue::BinanceSpot, 1);
        let mut comes = |id| {
            let id = number(id);
            (!trails.follows(symbol(0), TRADE, id)).then(|| trails.step(symbol(0), TRADE, id, is_shared))
        };
        assert_eq!(comes(5_000_100), Some(Step::First));
        assert_eq!([comes(first), comes(first + 1)], [Some(Step::Back); 2]);
        // Where the numbers have not begun again, the stream goes on where it was.
        assert_eq!(comes(5_000_101).is_none(), is_old, "shared {is_shared}, back to {first}");
    }
}
