use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOW: MonoNs = MonoNs(1_000_000_000);

fn not_refilled(plan: &RefillPlan) -> Vec<(NotRefilled, u64)> {
    plan.not_refilled().collect()
}

fn answer(plan: &mut RefillPlan, ids: impl IntoIterator<Item = u64>, now: MonoNs) -> Vec<u64> {
    plan.page_began();
    let taken = ids.into_iter().filter(|&id| plan.take(id)).collect();
    plan.page_ended(now);
    taken
}

#[test]
fn a_hole_of_two_pages_is_asked_for_page_by_page_and_no_further() {
    let mut plan = RefillPlan::new(10, 1_509, 5_000, 1_000);
    assert_eq!(plan.step(NOW), RefillStep::Ask { first: 10, count: 1_000 });
    assert_eq!(answer(&mut plan, 10..1_010, NOW).len(), 1_000);
    assert_eq!(plan.step(NOW), RefillStep::Ask { first: 1_010, count: 500 });
    // A venue that answers more than was asked for.
    assert_eq!(answer(&mut plan, 1_005..1_900, NOW).len(), 500);
    assert_eq!((plan.step(NOW), plan.fetched()), (RefillStep::Done, 1_500));
    assert_eq!(not_refilled(&plan), []);
}

#[test]
fn of_a_hole_that_is_too_large_the_last_ids_are_fetched_and_the_others_counted() {
    let mut plan = RefillPlan::new(1, 5_000, 1_000, 1_000);
    assert_eq!(plan.step(NOW), RefillStep::Ask { first: 4_001, count: 1_000 });
    answer(&mut plan, 4_001..=5_000, NOW);
    assert_eq!((plan.step(NOW), plan.fetched()), (RefillStep::Done, 1_000));
    assert_eq!(not_refilled(&plan), [(NotRefilled::TooMany, 4_000)]);
    let exactly = RefillPlan::new(1, 1_000, 1_000, 1_000);
    assert_eq!(exactly.step(NOW), RefillStep::Ask { first: 1, count: 1_000 });
}

#[test]
fn where_refilling_is_off_nothing_is_asked_for() {
    let plan = RefillPlan::new(7, 9, 0, 1_000);
    assert_eq!((plan.step(NOW), not_refilled(&plan)), (RefillStep::Done, vec![(NotRefilled::Off, 3)]));
}

#[test]
fn a_refusal_ends_it_at_once_and_a_time_out_after_three_tries_further_and_further_apart() {
    for why in [NotRefilled::RateLimited, NotRefilled::Refused, NotRefilled::Unreadable, NotRefilled::HeldOff] {
        let mut plan = RefillPlan::new(7, 9, 100, 1_000);
        plan.failed(why, NOW);
        assert_eq!((plan.step(NOW), not_refilled(&plan)), (RefillStep::Done, vec![(why, 3)]));
    }
    let mut plan = RefillPlan::new(7, 9, 100, 1_000);
    plan.failed(NotRefilled::TimedOut, NOW);
    let second = MonoNs(NOW.0 + 250_000_000);
    assert_eq!(plan.step(NOW), RefillStep::Wait(second));
    assert_eq!(plan.step(second), RefillStep::Ask { first: 7, count: 3 });
    plan.failed(NotRefilled::Failed, second);
    assert_eq!(plan.step(second), RefillStep::Wait(MonoNs(second.0 + 500_000_000)));
    plan.failed(NotRefilled::TimedOut, second);
    assert_eq!((plan.step(second), not_refilled(&plan)), (RefillStep::Done, vec![(NotRefilled::TimedOut, 3)]));
}

#[test]
fn an_answer_that_brings_something_begins_the_tries_anew_and_what_it_leaves_out_is_not_there() {
    let mut plan = RefillPlan::new(1, 10, 100, 1_000);
    plan.failed(NotRefilled::TimedOut, NOW);
    plan.failed(NotRefilled::TimedOut, NOW);
    assert_eq!(answer(&mut plan, [1, 2, 5], NOW), [1, 2, 5]);
    assert_eq!(plan.step(NOW), RefillStep::Ask { first: 6, count: 5 });
    for _ in 0..3 {
        assert_eq!(answer(&mut plan, [], NOW), Vec::<u64>::new());
    }
    assert_eq!((plan.step(NOW), plan.fetched()), (RefillStep::Done, 3));
    assert_eq!(not_refilled(&plan), [(NotRefilled::NotThere, 7)]);
}

#[test]
fn the_highest_ids_there_can_be_overflow_nothing() {
    let mut plan = RefillPlan::new(u64::MAX - 1, u64::MAX, 100, 1_000);
    assert_eq!(plan.step(NOW), RefillStep::Ask { first: u64::MAX - 1, count: 2 });
    assert_eq!(answer(&mut plan, [u64::MAX - 1, u64::MAX], NOW).len(), 2);
    assert_eq!(plan.step(NOW), RefillStep::Done);
    let mut all = RefillPlan::new(0, u64::MAX, u64::MAX, u32::MAX);
    assert_eq!(all.step(NOW), RefillStep::Ask { first: 1, count: u32::MAX });
    all.give_up(NotRefilled::QueueFull);
    assert_eq!(not_refilled(&all), [(NotRefilled::TooMany, 1), (NotRefilled::QueueFull, u64::MAX)]);
    assert_eq!(RefillPlan::new(2, 1, 100, 1_000).step(NOW), RefillStep::Done, "an empty hole");
}

#[test]
fn a_hole_whose_turn_comes_too_late_is_given_up_and_counted() {
    let patience = Duration::from_secs(60);
    let mut plan = RefillPlan::new(10, 14, 3, 1_000);
    plan.turn_came(patience, patience);
    assert_eq!(plan.step(NOW), RefillStep::Ask { first: 12, count: 3 });
    plan.turn_came(patience + Duration::from_nanos(1), patience);
    assert_eq!(plan.step(NOW), RefillStep::Done);
    assert_eq!(not_refilled(&plan), [(NotRefilled::TooMany, 2), (NotRefilled::TooLate, 3)]);
}

#[derive(Clone, Debug)]
enum Answer {
    Ids(Vec<u64>),
    Failed(NotRefilled),
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let ids = proptest::collection::vec(0_u64..400, 0..60).prop_map(Answer::Ids);
    let failed = (0..NotRefilled::ALL.len()).prop_map(|at| Answer::Failed(NotRefilled::ALL[at]));
    proptest::collection::vec(prop_oneof![6 => ids, 1 => failed], 0..60)
}

proptest! {
    #[test]
    fn whatever_is_answered_each_id_is_taken_once_or_counted_and_nothing_outside_is_asked_for(
        first in 0_u64..200, length in 1_u64..200, trades_max in 0_u64..150, page_max in 1_u32..50, answers in answers()
    ) {
        let last = first + length - 1;
        let mut plan = RefillPlan::new(first, last, trades_max, page_max);
        let (mut now, mut taken, mut asked_before) = (NOW, BTreeSet::new(), 0);
        let mut answers = answers.into_iter();
        // Each question takes an id, or is one of three tries.
        for turn in 0.. {
            prop_assert!(turn <= 8 * length + 8, "it does not end");
            match plan.step(now) {
                RefillStep::Done => break,
                RefillStep::Wait(until) => { prop_assert!(until > now); now = until; }
                RefillStep::Ask { first: from, count } => {
                    prop_assert!(count >= 1 && count <= page_max);
                    prop_assert!(from >= first && from + u64::from(count) - 1 <= last);
                    prop_assert!(from >= asked_before, "back to {from}");
                    asked_before = from;
                    match answers.next().unwrap_or(Answer::Ids(Vec::new())) {
                        Answer::Ids(mut ids) => {
                            ids.sort_unstable();
                            for id in answer(&mut plan, ids, now) {
                                prop_assert!((first..=last).contains(&id) && taken.insert(id), "{id} twice or outside");
                            }
                        }
                        Answer::Failed(why) => plan.failed(why, now),
                    }
                }
            }
        }
        prop_assert_eq!(plan.fetched(), taken.len() as u64);
        prop_assert!(plan.fetched() <= trades_max);
        let counted: u64 = plan.not_refilled().map(|(_, count)| count).sum();
        prop_assert_eq!(plan.fetched() + counted, length);
        prop_assert!(!plan.take(first) && !plan.take(last), "after the end nothing is taken");
    }
}
