//! A line by itself: windows, order, places given back.

use super::*;
use proptest::prelude::*;

fn ms(at: u64) -> MonoNs {
    MonoNs(at * 1_000_000)
}

fn line(windows: &[(u64, u64)]) -> Line {
    let window = |&(budget, length_ms)| Window { budget, length: Duration::from_millis(length_ms) };
    Line::new(windows.iter().map(window).collect())
}

/// The place and its time; panics where it may go now.
fn place(turn: Result<Turn, NoPlace>) -> (u64, MonoNs) {
    match turn {
        Ok(Turn::At { number, at }) => (number, at),
        other => panic!("no place: {other:?}"),
    }
}

#[test]
fn both_windows_hold_at_once() {
    let mut line = line(&[(3, 1_000), (2, 100)]);
    assert_eq!(line.ask(1, ms(0)), Ok(Turn::Now));
    assert_eq!(line.ask(1, ms(0)), Ok(Turn::Now));
    assert_eq!(place(line.ask(1, ms(0))).1, ms(100));
    assert_eq!(place(line.ask(1, ms(0))).1, ms(1_000));
    assert_eq!(place(line.ask(1, ms(0))).1, ms(1_000));
    assert_eq!(place(line.ask(1, ms(0))).1, ms(1_100));
}

#[test]
fn a_place_given_back_moves_those_behind_it_up_and_says_so() {
    let mut line = line(&[(1, 100)]);
    assert_eq!(line.ask(1, ms(0)), Ok(Turn::Now));
    let places: Vec<_> = (0..3).map(|_| place(line.ask(1, ms(0))).0).collect();
    assert!(!line.take_moved_up());
    assert!(line.cancel(places[0], ms(10)));
    assert!(line.take_moved_up());
    assert!(!line.cancel(places[0], ms(10)), "it is given back once");
    assert_eq!(line.redeem(places[0], ms(10)), None);
    assert_eq!(line.redeem(places[1], ms(10)), Some(Turn::At { number: places[1], at: ms(100) }));
    assert_eq!(line.redeem(places[1], ms(100)), Some(Turn::Now));
    assert_eq!(line.redeem(places[2], ms(100)), Some(Turn::At { number: places[2], at: ms(200) }));
}

#[test]
fn one_who_is_late_keeps_its_turn_and_one_who_never_comes_loses_it() {
    let mut line = line(&[(1, 100)]);
    assert_eq!(line.ask(1, ms(0)), Ok(Turn::Now));
    let first = place(line.ask(1, ms(0))).0;
    let second = place(line.ask(1, ms(0))).0;
    // The first has not come at 100: the second is not let past it.
    assert_eq!(line.redeem(second, ms(250)), Some(Turn::At { number: second, at: ms(350) }));
    assert_eq!(line.redeem(first, ms(260)), Some(Turn::Now));
    assert_eq!(line.redeem(second, ms(350)), Some(Turn::At { number: second, at: ms(360) }));
    assert_eq!(line.redeem(second, ms(360)), Some(Turn::Now));
    let dead = place(line.ask(1, ms(360))).0;
    let next = place(line.ask(1, ms(360))).0;
    assert_eq!(line.redeem(next, ms(560)), Some(Turn::At { number: next, at: ms(660) }));
    assert_eq!(line.redeem(next, ms(5_461)), Some(Turn::Now));
    assert_eq!(line.redeem(dead, ms(5_461)), None);
    assert_eq!(line.counters, LineCounters { granted: 4, delayed: 4, lapsed: 1, ..LineCounters::default() });
}

#[test]
fn what_is_heavier_than_a_window_or_finds_the_line_full_is_refused() {
    let mut line = line(&[(10, 100)]);
    assert_eq!(line.ask(11, ms(0)), Err(NoPlace::TooHeavy { budget: 10 }));
    assert_eq!(line.ask(10, ms(0)), Ok(Turn::Now));
    for _ in 0..WAITING_MAX {
        place(line.ask(10, ms(0)));
    }
    assert_eq!(line.ask(1, ms(0)), Err(NoPlace::Full));
    assert_eq!((line.waiting(), line.counters.refused), (WAITING_MAX, 2));
}

#[test]
fn what_others_leave_is_all_that_goes_until_it_is_forgotten() {
    let mut line = line(&[(100, 1_000)]);
    line.leave(30, ms(1_000), ms(0));
    assert_eq!(line.ask(20, ms(0)), Ok(Turn::Now));
    assert_eq!(place(line.ask(20, ms(0))).1, ms(1_000));
    // Light enough for what is left, but one that asked before it waits.
    let light = place(line.ask(5, ms(0)));
    assert_eq!(light.1, ms(1_000));
    line.leave(50, ms(1_200), ms(200));
    assert!(line.take_moved_up());
    assert_eq!(line.last_at(), Some(ms(200)));
}

#[test]
fn a_line_without_windows_keeps_no_list() {
    let mut line = line(&[]);
    for _ in 0..1_000 {
        assert_eq!(line.ask(7, ms(1)), Ok(Turn::Now));
    }
    assert!(line.granted.is_empty() && line.waiting.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Ask(u32),
    /// Redeem a place, by its position among ours, wherever its time stands.
    Redeem(usize),
    Cancel(usize),
    Hold(u64),
    Leave(u64, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..150_u64).prop_map(Step::Wait),
        6 => (1..6_u32).prop_map(Step::Ask),
        6 => (0..20_usize).prop_map(Step::Redeem),
        1 => (0..20_usize).prop_map(Step::Cancel),
        1 => (0..300_u64).prop_map(Step::Hold),
        1 => (0..20_u64, 0..300_u64).prop_map(|(left, length)| Step::Leave(left, length)),
    ];
    proptest::collection::vec(step, 1..300)
}

proptest! {
    #[test]
    fn no_window_no_hold_and_no_rest_is_ever_exceeded(windows in proptest::collection::vec((5..20_u64, 1..400_u64), 1..3), steps in steps()) {
        let mut line = line(&windows);
        let (mut now, mut ours, mut granted) = (0, Vec::<(u64, u32)>::new(), Vec::<(u64, u32)>::new());
        let (mut held_until, mut room) = (0, (u64::MAX, 0));
        for step in steps {
            let mut grant = |weight: u32, now: u64| {
                granted.push((now, weight));
                let within = |length: u64| granted.iter().filter(|&&(at, _)| at + length > now).map(|&(_, weight)| u64::from(weight)).sum::<u64>();
                for &(budget, length) in &windows {
                    prop_assert!(within(length) <= budget, "{} of {budget} in {length} ms at {now}", within(length));
                }
                prop_assert!(now >= held_until);
                if now < room.1 {
                    prop_assert!(u64::from(weight) <= room.0, "over what is left");
                    room.0 -= u64::from(weight);
                }
                Ok(())
            };
            match step {
                Step::Wait(wait) => now += wait,
                Step::Ask(weight) => match line.ask(weight, ms(now)).unwrap() {
                    Turn::Now => grant(weight, now)?,
                    Turn::At { number, at } => {
                        prop_assert!(at > ms(now));
                        ours.push((number, weight));
                    }
                },
                Step::Redeem(at) if at < ours.len() => match line.redeem(ours[at].0, ms(now)) {
                    Some(Turn::Now) => grant(ours.remove(at).1, now)?,
                    Some(Turn::At { at, .. }) => prop_assert!(at > ms(now)),
                    None => drop(ours.remove(at)),
                },
                Step::Cancel(at) if at < ours.len() => drop(line.cancel(ours.remove(at).0, ms(now))),
                Step::Hold(length) => {
                    held_until = held_until.max(now + length);
                    line.hold(ms(now + length), ms(now));
                }
                Step::Leave(left, length) => {
                    room = (left, now + length);
                    line.leave(left, ms(now + length), ms(now));
                }
                Step::Redeem(_) | Step::Cancel(_) => {}
            }
            let times: Vec<_> = line.waiting.iter().map(|waiting| waiting.at).collect();
            prop_assert!(times.is_sorted(), "{times:?}");
            prop_assert!(line.waiting.iter().map(|waiting| waiting.number).is_sorted());
        }
    }

    /// Everybody comes when told, no earlier and no later: then the order of grants is the order of asking, and each is
    /// granted at the very time it was first told, or earlier.
    #[test]
    fn who_comes_when_told_goes_in_order_and_never_later_than_promised(
        budget in 1..10_u64, length in 1..500_u64, burst in 1..5_u64,
        asks in proptest::collection::vec((0..100_u64, any::<bool>()), 1..100),
    ) {
        let mut line = line(&[(budget, length), (burst, 50)]);
        let (mut now, mut queue, mut order) = (0, Vec::<(u64, MonoNs)>::new(), Vec::new());
        let mut number = 0;
        let mut asks = asks.into_iter().peekable();
        loop {
            let due = queue.iter().map(|&(_, at)| at.0 / 1_000_000).min();
            let next_ask = asks.peek().map(|&(wait, _)| now + wait);
            match (due, next_ask) {
                (Some(due), ask) if ask.is_none_or(|ask| due <= ask) => {
                    if let Some(ask) = asks.peek_mut() {
                        ask.0 -= due.saturating_sub(now);
                    }
                    now = now.max(due);
                    let at = queue.iter().position(|&(_, at)| at <= ms(now)).unwrap();
                    let turn = line.redeem(queue[at].0, ms(now));
                    prop_assert_eq!(turn, Some(Turn::Now), "promised for {} at {}", due, now);
                    order.push(queue.remove(at).0);
                }
                (_, Some(ask)) => {
                    now = ask;
                    let (_, gives_up) = asks.next().unwrap();
                    match line.ask(1, ms(now)).unwrap() {
                        Turn::Now => {
                            prop_assert!(queue.is_empty(), "past those who wait");
                            order.push(number);
                        }
                        Turn::At { at, .. } => {
                            prop_assert!(queue.last().is_none_or(|last| last.1 <= at));
                            queue.push((number, at));
                        }
                    }
                    number += 1;
                    if gives_up && queue.len() > 1 {
                        line.cancel(queue.remove(0).0, ms(now));
                        prop_assert!(line.waiting.iter().zip(&queue).all(|(waiting, told)| waiting.at <= told.1));
                        // They are told, as the generation bids them to ask.
                        for place in &mut queue {
                            match line.redeem(place.0, ms(now)) {
                                Some(Turn::At { at, .. }) => place.1 = at,
                                Some(Turn::Now) => { order.push(place.0); place.1 = MonoNs(u64::MAX); }
                                None => prop_assert!(false, "a place was lost"),
                            }
                        }
                        queue.retain(|place| place.1.0 != u64::MAX);
                    }
                }
                (None, None) => break,
                (Some(_), None) => unreachable!("taken by the first arm"),
            }
        }
        prop_assert!(order.is_sorted(), "{order:?}");
        prop_assert_eq!(line.waiting(), 0);
    }
}
