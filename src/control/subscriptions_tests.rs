use super::*;
use crate::market::Venue;
use crate::venue::protocol;
use proptest::prelude::*;
use std::collections::BTreeSet;

const LIMITS: Limits = Limits {
    streams_per_connection: Some(1_024),
    args_per_request: Some(10),
    request_bytes_max: None,
    args_chars_per_connection: Some(21_000),
    messages_per_second: Some(5),
    connects: None,
    connections_max: None,
    connection_age_max: None,
};

fn streams(count: usize) -> Vec<Box<str>> {
    (0..count).map(|n| format!("s{n}@trade").into()).collect()
}

fn subscriptions(count: usize) -> Subscriptions {
    new(LIMITS, SubscriptionSettings::default(), &streams(count)).unwrap()
}

fn new(limits: Limits, settings: SubscriptionSettings, streams: &[Box<str>]) -> Result<Subscriptions, PlanError> {
    Subscriptions::new(protocol(Venue::BinanceSpot), limits, settings, streams.to_vec())
}

fn ok(id: u64) -> Ack {
    Ack { id: Some(id), result: AckResult::Accepted }
}

fn refusal() -> Refusal {
    Refusal { code: Some(2), message: "Invalid topic".to_owned() }
}

fn refused(id: u64) -> Ack {
    Ack { id: Some(id), result: AckResult::Refused(refusal()) }
}

fn s(seconds: u64) -> MonoNs {
    MonoNs(seconds * 1_000_000_000)
}

/// Sends one request and gives its streams.
fn send(subscriptions: &mut Subscriptions, id: u64, at: MonoNs) -> Option<(Operation, Vec<String>)> {
    let request = subscriptions.batch_requests(id, at)?;
    Some((request.operation, request.streams.map(str::to_owned).collect()))
}

fn counts(subscriptions: &Subscriptions) -> [usize; 5] {
    [SlotSet::Wanted, SlotSet::Unsent, SlotSet::Pending, SlotSet::Active, SlotSet::Refused]
        .map(|set| subscriptions.count(set))
}

#[test]
fn batches_hold_what_the_venue_and_the_operator_both_allow() {
    let mut ten = subscriptions(25);
    let lens: Vec<_> = (1..).map_while(|id| send(&mut ten, id, s(0))).map(|(_, names)| names.len()).collect();
    assert_eq!(lens, [10, 10, 5]);
    let unlimited = Limits { args_per_request: None, ..LIMITS };
    let mut default = new(unlimited, SubscriptionSettings::default(), &streams(450)).unwrap();
    let lens: Vec<_> = (1..).map_while(|id| send(&mut default, id, s(0))).map(|(_, names)| names.len()).collect();
    assert_eq!(lens, [200, 200, 50]);
}

#[test]
fn an_ack_confirms_exactly_its_own_batch() {
    let mut all = subscriptions(25);
    for id in 1..=3 {
        send(&mut all, id, s(0)).unwrap();
    }
    assert_eq!(all.confirm(ok(2), false), AckOutcome::Confirmed);
    assert_eq!(counts(&all), [25, 0, 15, 10, 0]);
    let active: Vec<_> = all.slots(SlotSet::Active).map(|(slot, _)| slot.index()).collect();
    assert_eq!(active, (10..20).collect::<Vec<_>>());
    assert!(!all.is_settled());
    all.confirm(ok(1), false);
    all.confirm(ok(3), false);
    assert_eq!(counts(&all), [25, 0, 0, 25, 0]);
    assert!(all.is_settled());
}

#[test]
fn an_ack_without_an_id_confirms_the_oldest_request() {
    let mut all = subscriptions(20);
    send(&mut all, 1, s(0)).unwrap();
    send(&mut all, 2, s(0)).unwrap();
    all.confirm(Ack { id: None, result: AckResult::Accepted }, false);
    let active: Vec<_> = all.slots(SlotSet::Active).map(|(slot, _)| slot.index()).collect();
    assert_eq!(active, (0..10).collect::<Vec<_>>());
}

#[test]
fn an_ack_that_is_unknown_late_or_doubled_confirms_nothing() {
    let mut all = subscriptions(5);
    assert_eq!(all.confirm(ok(1), false), AckOutcome::Unmatched);
    assert_eq!(all.confirm(Ack { id: None, result: AckResult::Accepted }, false), AckOutcome::Unmatched);
    send(&mut all, 7, s(0)).unwrap();
    assert_eq!(all.confirm(ok(8), false), AckOutcome::Unmatched);
    assert_eq!(all.expire(s(5)), None);
    assert_eq!(all.confirm(ok(7), false), AckOutcome::Unmatched, "late");
    assert_eq!(counts(&all), [5, 5, 0, 0, 0]);
    send(&mut all, 9, s(6)).unwrap();
    assert_eq!(all.confirm(ok(9), false), AckOutcome::Confirmed);
    assert_eq!(all.confirm(ok(9), false), AckOutcome::Unmatched, "doubled");
    assert_eq!((all.counters().acks, all.counters().acks_unmatched, all.counters().timeouts), (1, 5, 1));
}

#[test]
fn nothing_is_asked_for_twice_while_it_is_asked_for_or_live() {
    let mut all = subscriptions(3);
    send(&mut all, 1, s(0)).unwrap();
    all.request_subscription("s1@trade").unwrap();
    assert_eq!(send(&mut all, 2, s(0)), None);
    all.confirm(ok(1), false);
    all.request_subscription("s1@trade").unwrap();
    assert_eq!(send(&mut all, 3, s(0)), None);
    assert!(all.is_settled());
}

#[test]
fn one_bad_symbol_in_a_batch_ends_alone_and_refused_and_the_rest_is_active() {
    for bad in 0..10 {
        let mut all = subscriptions(10);
        let (bad_name, mut id) = (format!("s{bad}@trade"), 0);
        while !all.is_settled() {
            id += 1;
            let (_, names) = send(&mut all, id, s(id)).unwrap();
            all.confirm(if names.contains(&bad_name) { refused(id) } else { ok(id) }, false);
        }
        assert_eq!(counts(&all), [10, 0, 0, 9, 1], "bad {bad}");
        let refusals: Vec<_> = all.refusals().map(|(name, why)| format!("{name}: {why}")).collect();
        assert_eq!(refusals, [format!("{bad_name}: Invalid topic (code 2)")]);
        assert!(id <= 9, "halving ten to one takes at most nine requests, took {id}");
    }
}

#[test]
fn a_request_nobody_answers_is_asked_again_and_then_the_connection_is_at_fault_not_its_streams() {
    let mut all = subscriptions(3);
    send(&mut all, 1, s(0)).unwrap();
    for id in 2..=4 {
        assert_eq!(all.expire(s(id * 10)), None, "before try {id}");
        assert_eq!(send(&mut all, id, s(id * 10)).unwrap().0, Operation::Subscribe, "try {id}");
    }
    assert_eq!(all.expire(s(44)), None, "the last try has its time too");
    let unanswered = all.expire(s(45)).unwrap();
    let expected = "the venue answers no request: subscribe s0@trade and 2 more, no answer in 4 tries of 5000 ms";
    assert_eq!(unanswered.to_string(), expected);
    assert_eq!((all.count(SlotSet::Refused), all.last_refusal(), all.counters().timeouts), (0, None, 4));
    // The next connection starts from nothing: every stream, every retry.
    all.disconnected();
    assert_eq!(counts(&all), [3, 3, 0, 0, 0]);
    assert_eq!(send(&mut all, 5, s(60)).unwrap().1.len(), 3);
    assert_eq!(all.expire(s(65)), None, "the retries are counted anew");
    send(&mut all, 6, s(66)).unwrap();
    all.confirm(ok(6), false);
    assert_eq!(counts(&all), [3, 0, 0, 3, 0]);
}

#[test]
fn an_unsubscribe_nobody_answers_says_so_too() {
    let mut all = subscriptions(1);
    send(&mut all, 1, s(0)).unwrap();
    all.confirm(ok(1), false);
    all.remove("s0@trade").unwrap();
    for id in 2..=4 {
        assert_eq!(send(&mut all, id, s(id * 10)).unwrap().0, Operation::Unsubscribe);
        assert_eq!(all.expire(s(id * 10 + 5)), None);
    }
    send(&mut all, 5, s(50)).unwrap();
    let unanswered = all.expire(s(55)).unwrap();
    assert_eq!((unanswered.operation, unanswered.stream_count), (Operation::Unsubscribe, 1));
    assert!(unanswered.to_string().contains("unsubscribe s0@trade, no answer in 4 tries"), "{unanswered}");
}

#[test]
fn a_disconnect_makes_all_unsent_but_what_was_refused() {
    let mut all = subscriptions(11);
    send(&mut all, 1, s(0)).unwrap();
    all.confirm(ok(1), false);
    send(&mut all, 2, s(0)).unwrap();
    all.confirm(refused(2), false);
    assert_eq!(counts(&all), [11, 0, 0, 10, 1]);
    all.disconnected();
    assert_eq!(counts(&all), [11, 10, 0, 0, 1]);
    let (_, names) = send(&mut all, 3, s(1)).unwrap();
    assert_eq!(names.len(), 10);
    assert!(!names.contains(&"s10@trade".to_owned()));
    // Only the operator asks for a refused stream again.
    all.request_subscription("s10@trade").unwrap();
    assert_eq!(send(&mut all, 4, s(1)).unwrap().1, ["s10@trade"]);
}

#[test]
fn a_stream_removed_while_it_is_asked_for_is_unsubscribed_once_confirmed() {
    let mut all = subscriptions(2);
    send(&mut all, 1, s(0)).unwrap();
    all.remove("s1@trade").unwrap();
    assert_eq!(send(&mut all, 2, s(0)), None, "nothing is known of it yet");
    all.confirm(ok(1), false);
    assert_eq!(send(&mut all, 2, s(0)), Some((Operation::Unsubscribe, vec!["s1@trade".to_owned()])));
    // Wanted again meanwhile: first the answer, then a new subscription.
    all.request_subscription("s1@trade").unwrap();
    assert_eq!(send(&mut all, 3, s(0)), None);
    all.confirm(ok(2), false);
    assert_eq!(send(&mut all, 3, s(0)), Some((Operation::Subscribe, vec!["s1@trade".to_owned()])));
}

#[test]
fn a_stream_removed_after_an_unanswered_request_may_be_live_and_is_unsubscribed() {
    let mut all = subscriptions(2);
    send(&mut all, 1, s(0)).unwrap();
    assert_eq!(all.expire(s(5)), None);
    all.remove("s0@trade").unwrap();
    assert_eq!(send(&mut all, 2, s(5)), Some((Operation::Subscribe, vec!["s1@trade".to_owned()])));
    assert_eq!(send(&mut all, 3, s(5)), Some((Operation::Unsubscribe, vec!["s0@trade".to_owned()])));
}

#[test]
fn a_retry_that_meets_its_own_subscription_is_confirmed_by_it() {
    let mut all = subscriptions(1);
    send(&mut all, 1, s(0)).unwrap();
    assert_eq!(all.expire(s(5)), None);
    send(&mut all, 2, s(5)).unwrap();
    assert_eq!(all.confirm(refused(2), true), AckOutcome::Confirmed);
    assert_eq!(counts(&all), [1, 0, 0, 1, 0]);
}

#[test]
fn what_one_connection_cannot_carry_is_an_error_with_both_numbers() {
    let of = |count| new(LIMITS, SubscriptionSettings::default(), &streams(count));
    assert_eq!(of(1_025).unwrap_err(), PlanError::TooManyStreams { count: 1_025, limit: 1_024 });
    let long: Vec<Box<str>> = (0..50).map(|n| format!("{n:0>500}").into()).collect();
    let error = new(LIMITS, SubscriptionSettings::default(), &long).unwrap_err();
    assert_eq!(error, PlanError::TooManyChars { chars: 25_150, limit: 21_000 });
    let twice = vec!["a".into(), "b".into(), "a".into()];
    let error = new(LIMITS, SubscriptionSettings::default(), &twice).unwrap_err();
    assert_eq!(error, PlanError::Duplicate { stream: "a".to_owned() });
    let mut full = of(1_024).unwrap();
    assert!(matches!(full.request_subscription("one@more"), Err(PlanError::TooManyStreams { count: 1_025, .. })));
    full.remove("s3@trade").unwrap();
    full.request_subscription("one@more").unwrap();
    assert_eq!(full.remove("never@there"), None);
}

#[test]
fn only_so_many_requests_await_their_answers_at_once() {
    let settings = SubscriptionSettings { in_flight_max: 2, ..SubscriptionSettings::default() };
    let mut all = new(LIMITS, settings, &streams(30)).unwrap();
    assert!(send(&mut all, 1, s(0)).is_some() && send(&mut all, 2, s(0)).is_some());
    assert!(!all.has_request());
    assert_eq!(send(&mut all, 3, s(0)), None);
    all.confirm(ok(1), false);
    assert!(send(&mut all, 3, s(0)).is_some());
}

#[test]
fn a_batch_is_cut_before_its_request_is_longer_than_a_frame_may_be() {
    let limits = Limits { args_per_request: None, request_bytes_max: Some(4_096), ..LIMITS };
    let long: Vec<Box<str>> = (0..300).map(|n| format!("{n:0>40}@depth").into()).collect();
    let mut all = new(limits, SubscriptionSettings::default(), &long).unwrap();
    let (mut out, mut seen) = (Vec::new(), 0);
    for id in 1.. {
        let Some(request) = all.batch_requests(id, s(0)) else { break };
        seen += request.streams.len();
        request.write(protocol(Venue::BinanceSpot), id, &mut out);
        assert!(out.len() < 4_096, "{}", out.len());
        assert!(seen == 300 || out.len() > 4_000, "no shorter than it has to be: {}", out.len());
    }
    assert_eq!(seen, 300);
    let tight = SubscriptionSettings { request_bytes_max: Some(100), ..SubscriptionSettings::default() };
    let error = new(limits, tight, &long).unwrap_err();
    assert!(matches!(error, PlanError::TooManyBytes { limit: 100, .. }), "{error}");
    let mut short = new(limits, tight, &streams(1)).unwrap();
    assert!(matches!(short.request_subscription(&long[7]), Err(PlanError::TooManyBytes { .. })));
    assert_eq!((short.len(), counts(&short)), (1, [1, 1, 0, 0, 0]), "nothing of it stays");
}

#[test]
fn what_is_renewed_is_ended_first_and_asked_for_once_the_end_is_answered() {
    let mut all = subscriptions(3);
    assert!(!all.resubscribe(SlotId(1)), "not active yet");
    send(&mut all, 1, s(0)).unwrap();
    assert!(!all.resubscribe(SlotId(1)), "asked for already");
    all.confirm(ok(1), false);
    assert!(all.resubscribe(SlotId(1)));
    assert!(!all.is_settled());
    let one = vec!["s1@trade".to_owned()];
    assert_eq!(send(&mut all, 2, s(1)), Some((Operation::Unsubscribe, one.clone())));
    assert_eq!(send(&mut all, 3, s(1)), None, "never two live at once");
    // The answer is lost: the end is asked for again, not the start.
    assert_eq!(all.expire(s(6)), None);
    assert_eq!(send(&mut all, 4, s(6)), Some((Operation::Unsubscribe, one.clone())));
    all.confirm(ok(4), false);
    assert_eq!(send(&mut all, 5, s(6)), Some((Operation::Subscribe, one)));
    all.confirm(ok(5), false);
    assert_eq!(counts(&all), [3, 0, 0, 3, 0]);
    assert!(all.is_settled());
    // A new connection has nothing to renew; nor is a stream that nobody wants any more.
    assert!(all.resubscribe(SlotId(0)));
    all.disconnected();
    assert_eq!(send(&mut all, 6, s(7)).unwrap().0, Operation::Subscribe);
    all.confirm(ok(6), false);
    assert!(all.is_settled());
    all.remove("s0@trade").unwrap();
    assert!(!all.resubscribe(SlotId(0)));
}

#[test]
fn an_answer_that_names_what_failed_refuses_that_and_confirms_the_rest() {
    let mut all = subscriptions(10);
    send(&mut all, 1, s(0)).unwrap();
    all.remove("s9@trade").unwrap();
    let failed = ["s3@trade", "s7@trade", "s9@trade"].map(|name| (name.to_owned(), refusal())).to_vec();
    let outcome = all.confirm(Ack { id: Some(1), result: AckResult::Partial { failed } }, false);
    assert_eq!(outcome, AckOutcome::Partial { refused: 3 });
    assert_eq!(counts(&all), [9, 0, 0, 7, 2], "who is no longer wanted is not refused, but gone");
    let told: Vec<_> = std::iter::from_fn(|| all.take_refused()).map(SlotId::index).collect();
    assert_eq!(told, [3, 7]);
    assert!(all.is_settled());
}

#[test]
fn an_answer_whose_failures_were_not_asked_for_is_a_refusal_of_nobody_knows_whom() {
    let mut all = subscriptions(10);
    send(&mut all, 1, s(0)).unwrap();
    let failed = vec![("NOPE".to_owned(), refusal())];
    let outcome = all.confirm(Ack { id: None, result: AckResult::Partial { failed } }, false);
    assert_eq!((outcome, all.counters().splits), (AckOutcome::Split, 1));
    let none = AckResult::Partial { failed: Vec::new() };
    send(&mut all, 2, s(0)).unwrap();
    assert_eq!(all.confirm(Ack { id: Some(2), result: none }, false), AckOutcome::Confirmed);
    assert_eq!(counts(&all), [10, 5, 0, 5, 0]);
}

#[test]
fn a_venue_that_answers_for_each_stream_confirms_each_alone_and_the_request_ends_with_the_last() {
    let answer = |id, stream: &str, result| Ack { id, result: AckResult::Stream { stream: stream.to_owned(), result } };
    let mut all = subscriptions(15);
    send(&mut all, 1, s(0)).unwrap();
    send(&mut all, 2, s(0)).unwrap();
    // Without an id, the request that named it; out of order.
    assert_eq!(all.confirm(answer(None, "s12@trade", Ok(())), false), AckOutcome::Confirmed);
    assert_eq!(all.confirm(answer(Some(2), "s10@trade", Err(refusal())), false), AckOutcome::Refused(SlotId(10)));
    assert_eq!(all.confirm(answer(Some(1), "s13@trade", Ok(())), false), AckOutcome::Unmatched, "another's stream");
    assert_eq!(all.confirm(answer(None, "s12@trade", Ok(())), false), AckOutcome::Unmatched, "doubled");
    assert_eq!(all.confirm(answer(None, "s99@trade", Ok(())), false), AckOutcome::Unmatched, "never heard of");
    assert_eq!(counts(&all), [15, 0, 13, 1, 1]);
    for n in 0..10 {
        assert_eq!(all.confirm(answer(Some(1), &format!("s{n}@trade"), Ok(())), false), AckOutcome::Confirmed);
    }
    assert_eq!(all.next_timer(), Some(s(5)), "the second request still has streams without an answer");
    // One refusal for all that is left is split as ever.
    assert_eq!(all.confirm(refused(2), false), AckOutcome::Split);
    assert_eq!(counts(&all), [15, 3, 0, 11, 1]);
}

#[test]
fn the_words_of_a_refusal_are_cut_where_their_room_ends() {
    let mut all = subscriptions(1);
    send(&mut all, 1, s(0)).unwrap();
    let words = Refusal { code: None, message: "é".repeat(2_000) };
    all.confirm(Ack { id: Some(1), result: AckResult::Refused(words) }, false);
    let note = all.last_refusal().unwrap();
    assert!(note.starts_with("s0@trade: éé") && (REFUSAL_BYTES_MAX - 1..=REFUSAL_BYTES_MAX).contains(&note.len()));
}

/// What can happen to a store, by number.
#[derive(Clone, Debug)]
enum Step {
    Send,
    Answer { nth: usize, kind: u8 },
    Add(u8),
    Remove(u8),
    Renew(u8),
    Expire,
    Disconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Send),
        6 => (0..4_usize, any::<u8>()).prop_map(|(nth, kind)| Step::Answer { nth, kind }),
        2 => (0..24_u8).prop_map(Step::Add),
        2 => (0..24_u8).prop_map(Step::Remove),
        2 => (0..24_u8).prop_map(Step::Renew),
        1 => Just(Step::Expire),
        1 => Just(Step::Disconnect),
    ]
}

/// A venue that does what it is asked, and says so in every way there is.
#[derive(Default)]
struct Model {
    live: BTreeSet<String>,
    asked: Vec<(u64, Operation, Vec<String>)>,
}

impl Model {
    /// Does request `nth` and answers it.
    fn answer(&mut self, nth: usize, kind: u8) -> Option<Vec<Ack>> {
        let (id, operation, names) = (nth < self.asked.len()).then(|| self.asked.remove(nth))?;
        let is_bad = |name: &String| operation == Operation::Subscribe && (name == "s3@trade" || name == "s4@trade");
        let bad: Vec<String> = names.iter().filter(|name| is_bad(name)).cloned().collect();
        let does_all = !kind.is_multiple_of(3) || bad.is_empty();
        for name in names.iter().filter(|name| does_all && !is_bad(name)) {
            if operation == Operation::Subscribe {
                assert!(self.live.insert(name.clone()), "{name} asked for while it is live");
            } else {
                self.live.remove(name);
            }
        }
        let answer = |result| Ack { id: Some(id), result };
        Some(match kind % 3 {
            0 if bad.is_empty() => vec![answer(AckResult::Accepted)],
            0 => vec![refused(id)],
            1 => vec![answer(AckResult::Partial { failed: bad.into_iter().map(|name| (name, refusal())).collect() })],
            _ => {
                let result = |name: &String| if is_bad(name) { Err(refusal()) } else { Ok(()) };
                let of = |name: &String| AckResult::Stream { stream: name.clone(), result: result(name) };
                names.iter().map(|name| answer(of(name))).collect()
            }
        })
    }
}

proptest! {
    /// Without lost answers the venue itself is the witness: it is never asked for what is live.
    #[test]
    fn whatever_happens_no_slot_is_in_two_places_and_the_venue_ends_with_what_is_wanted(steps in proptest::collection::vec(step(), 1..120)) {
        let settings = SubscriptionSettings { batch_streams_max: 6, in_flight_max: 4, ..SubscriptionSettings::default() };
        let mut all = new(Limits { args_per_request: None, ..LIMITS }, settings, &streams(12)).unwrap();
        let (mut model, mut id) = (Model::default(), 0);
        let drain = std::iter::repeat_n([Step::Send, Step::Answer { nth: 0, kind: 0 }], 200).flatten();
        let hostile = steps.len();
        for (at, step) in steps.into_iter().chain(drain).enumerate() {
            match step {
                Step::Send => {
                    id += 1;
                    let has_request = all.has_request();
                    let request = send(&mut all, id, s(0));
                    prop_assert_eq!(request.is_some(), has_request);
                    model.asked.extend(request.map(|(operation, names)| (id, operation, names)));
                }
                Step::Answer { nth, kind } => {
                    for ack in model.answer(nth, kind).into_iter().flatten() {
                        prop_assert_ne!(all.confirm(ack, false), AckOutcome::Unmatched);
                    }
                }
                Step::Add(n) => drop(all.request_subscription(&format!("s{n}@trade")).unwrap()),
                Step::Remove(n) => drop(all.remove(&format!("s{n}@trade"))),
                Step::Renew(n) => drop(all.slot(&format!("s{n}@trade")).map(|slot| all.resubscribe(slot))),
                Step::Expire => prop_assert_eq!(all.expire(s(4)), None, "nothing is due"),
                Step::Disconnect => {
                    all.disconnected();
                    model = Model::default();
                }
            }
            let in_two = |a: &FixedBitSet, b: &FixedBitSet| !a.is_disjoint(b);
            prop_assert!(!in_two(&all.pending, &all.active) && !in_two(&all.pending, &all.queued));
            prop_assert!(!in_two(&all.active, &all.queued) && !in_two(&all.active, &all.refused));
            prop_assert!(all.refused.is_subset(&all.wanted) && all.untold.is_subset(&all.refused));
            let in_batches = |batches: &mut dyn Iterator<Item = Batch>| {
                let mut set = FixedBitSet::with_capacity(all.len());
                batches.for_each(|batch| all.links.iter(batch.slots).for_each(|slot| assert!(!set.put(slot.index()))));
                set
            };
            prop_assert_eq!(&in_batches(&mut all.in_flight.iter().map(|request| request.batch)), &all.pending);
            prop_assert_eq!(&in_batches(&mut all.queue.iter().copied()), &all.queued);
            prop_assert!(at < hostile || all.in_flight.len() <= 4);
        }
        prop_assert!(all.is_settled());
        let active: BTreeSet<String> = all.slots(SlotSet::Active).map(|(_, name)| name.to_owned()).collect();
        prop_assert_eq!(&active, &model.live);
        let wanted = all.slots(SlotSet::Wanted).filter(|(_, name)| !["s3@trade", "s4@trade"].contains(name));
        prop_assert_eq!(active, wanted.map(|(_, name)| name.to_owned()).collect());
    }
}
