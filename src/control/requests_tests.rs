//! Each end of a request, one by one, and any interleaving of them.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn ms(at: u64) -> MonoNs {
    MonoNs(at * 1_000_000)
}

fn table(pending_max: usize, remembered_max: usize) -> Requests {
    Requests::new(RequestSettings { pending_max, remembered_max })
}

fn number(id: u64) -> RequestId {
    RequestId::Number(id)
}

fn answer(id: u64) -> Reply {
    Reply { to: ReplyTo::Id(number(id)), outcome: Ok(id.to_string()) }
}

/// Opens a request and sends it.
fn asked(requests: &mut Requests, id: u64, at: u64) -> RequestTicket {
    let ticket = requests.open(number(id), "m", SECOND, ms(at)).unwrap();
    assert!(requests.sent(ticket));
    ticket
}

#[test]
fn answers_find_their_requests_in_any_order_by_number_and_by_text() {
    let mut requests = table(8, 8);
    let first = asked(&mut requests, 1, 0);
    let text = requests.open(RequestId::Text("1".into()), "m", SECOND, ms(0)).unwrap();
    assert!(requests.sent(text) && !requests.sent(text), "sent once");
    let reply = Reply { to: ReplyTo::Id(RequestId::Text("1".into())), outcome: Ok("a".into()) };
    assert_eq!(requests.answered(reply), Some(Ended { ticket: text, outcome: Outcome::Answered("a".into()) }));
    assert_eq!(requests.answered(answer(1)), Some(Ended { ticket: first, outcome: Outcome::Answered("1".into()) }));
    assert!(requests.is_empty());
}

#[test]
fn an_answer_without_an_id_is_the_oldest_sent_requests_of_its_method() {
    let mut requests = table(8, 8);
    let unsent = requests.open(number(1), "subscribe", SECOND, ms(0)).unwrap();
    let older = requests.open(number(2), "subscribe", SECOND, ms(1)).unwrap();
    let ping = requests.open(number(3), "ping", SECOND, ms(2)).unwrap();
    assert!(requests.sent(older) && requests.sent(ping));
    let mut ended_by = |to| requests.answered(Reply { to, outcome: Ok(String::new()) }).map(|ended| ended.ticket);
    assert_eq!(ended_by(ReplyTo::OldestOf("ping".into())), Some(ping));
    assert_eq!(ended_by(ReplyTo::Nobody), None);
    assert_eq!(ended_by(ReplyTo::Oldest), Some(older));
    assert_eq!(ended_by(ReplyTo::OldestOf("subscribe".into())), None);
    assert!(requests.is_pending(unsent));
    assert_eq!(requests.counters().unmatched_answers, 2);
}

#[test]
fn a_late_a_repeated_and_an_unknown_answer_are_told_apart() {
    let mut requests = table(8, 8);
    asked(&mut requests, 1, 0);
    let mut ended = Vec::new();
    assert_eq!(requests.next_timer(), Some(ms(1_000)));
    requests.expire(ms(999), &mut ended);
    assert!(ended.is_empty());
    requests.expire(ms(1_000), &mut ended);
    assert!(matches!(ended[..], [Ended { outcome: Outcome::TimedOut, .. }]));
    asked(&mut requests, 2, 1_000);
    assert!(requests.answered(answer(2)).is_some());
    assert_eq!([1, 2, 2, 3].map(|id| requests.answered(answer(id))), [None, None, None, None]);
    let counters = requests.counters();
    assert_eq!((counters.late_answers, counters.repeated_answers, counters.unmatched_answers), (1, 2, 1));
}

#[test]
fn what_was_not_sent_in_time_says_so_and_its_answer_is_nobodys() {
    let mut requests = table(8, 8);
    requests.open(number(1), "m", SECOND, ms(0)).unwrap();
    assert_eq!(requests.answered(answer(1)), None, "it was never sent");
    let mut ended = Vec::new();
    requests.expire(ms(5_000), &mut ended);
    assert!(matches!(ended[..], [Ended { outcome: Outcome::NotSent(NotSent::NotInTime), .. }]));
    assert_eq!(requests.answered(answer(1)), None);
    assert_eq!(requests.counters().unmatched_answers, 2);
}

#[test]
fn a_full_table_refuses_by_name_and_has_room_again_once_one_has_ended() {
    let mut requests = table(2, 8);
    asked(&mut requests, 1, 0);
    let second = asked(&mut requests, 2, 0);
    let (_, refusal) = requests.open(number(3), "m", SECOND, ms(0)).unwrap_err();
    assert_eq!(refusal, NotSent::TableFull { pending_max: 2 });
    assert!(requests.abandon(second) && !requests.abandon(second));
    asked(&mut requests, 3, 0);
}

#[test]
fn an_id_is_free_again_once_no_other_requests_answer_can_carry_it() {
    let mut requests = table(8, 1);
    let in_use = Err(NotSent::IdInUse { id: number(1) });
    let opened = |requests: &mut Requests| {
        requests
            .open(number(1), "m", SECOND, ms(0))
            .map(|ticket| assert!(requests.sent(ticket)))
            .map_err(|(_, why)| why)
    };
    assert_eq!(opened(&mut requests), Ok(()));
    assert_eq!(opened(&mut requests), in_use, "under way");
    assert!(requests.answered(answer(1)).is_some());
    assert_eq!(opened(&mut requests), Ok(()), "answered");
    requests.expire(ms(1_000), &mut Vec::new());
    assert_eq!(opened(&mut requests), in_use, "its answer may still come");
    requests.disconnected("gone", &mut Vec::new());
    assert_eq!(opened(&mut requests), Ok(()), "on this connection it cannot");
    assert_eq!(requests.fresh_id(), 2, "our own ids keep clear of a caller's");
}

#[test]
fn the_memory_of_ended_requests_is_bounded() {
    let mut requests = table(8, 2);
    for id in 1..=3 {
        asked(&mut requests, id, 0);
        assert!(requests.answered(answer(id)).is_some());
    }
    assert_eq!([1, 2, 3].map(|id| requests.answered(answer(id))), [None, None, None]);
    let counters = requests.counters();
    assert_eq!((counters.repeated_answers, counters.unmatched_answers), (2, 1));
    assert_eq!((requests.past.len(), requests.past_order.len()), (2, 2));
}

#[test]
fn when_the_socket_goes_what_was_sent_is_unknown_and_what_was_not_waits() {
    let mut requests = table(8, 8);
    let sent = asked(&mut requests, 1, 0);
    let unsent = requests.open(number(2), "m", SECOND, ms(0)).unwrap();
    let mut ended = Vec::new();
    requests.disconnected("reset", &mut ended);
    assert_eq!(ended, [Ended { ticket: sent, outcome: Outcome::Unknown { reason: "reset".into() } }]);
    ended.clear();
    requests.refuse_unsent(&NotSent::Closed, &mut ended);
    assert_eq!(ended, [Ended { ticket: unsent, outcome: Outcome::NotSent(NotSent::Closed) }]);
    assert!(requests.is_empty());
}

#[test]
fn the_list_of_what_is_under_way_says_how_old_and_how_long_yet() {
    let mut requests = table(8, 8);
    asked(&mut requests, 1, 100);
    requests.open(RequestId::Text("a".into()), "b", SECOND, ms(300)).unwrap();
    let shown = requests.pending(ms(400));
    assert_eq!(
        serde_json::to_string(&shown).unwrap(),
        r#"[{"id":"1","method":"m","age_ms":300,"left_ms":700,"is_sent":true},"#.to_owned()
            + r#"{"id":"\"a\"","method":"b","age_ms":100,"left_ms":900,"is_sent":false}]"#
    );
}

/// One step of an interleaving.
#[derive(Clone, Debug)]
enum Step {
    Open { id: u64, timeout_ms: u64 },
    Send(usize),
    Answer { id: u64, is_refusal: bool },
    AnswerOldest,
    Wait(u64),
    Disconnect,
    Abandon(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u64, 0..3_000_u64).prop_map(|(id, timeout_ms)| Step::Open { id, timeout_ms }),
        4 => (0..12_usize).prop_map(Step::Send),
        4 => (0..14_u64, any::<bool>()).prop_map(|(id, is_refusal)| Step::Answer { id, is_refusal }),
        1 => Just(Step::AnswerOldest),
        2 => (0..2_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Disconnect),
        1 => (0..12_usize).prop_map(Step::Abandon),
    ]
}

proptest! {
    #[test]
    fn every_request_ends_exactly_once_and_the_table_is_empty_at_the_end(steps in proptest::collection::vec(step(), 0..120), pending_max in 1..6_usize, remembered_max in 0..5_usize) {
        let mut requests = table(pending_max, remembered_max);
        let mut tickets = Vec::new();
        let mut ends: BTreeMap<RequestTicket, Outcome> = BTreeMap::new();
        let (mut abandoned, mut answers) = (0_u64, 0_u64);
        let mut now = 0;
        for step in steps {
            let mut ended = Vec::new();
            match step {
                Step::Open { id, timeout_ms } => match requests.open(number(id), "m", Duration::from_millis(timeout_ms), ms(now)) {
                    Ok(ticket) => tickets.push(ticket),
                    Err((ticket, why)) => {
                        tickets.push(ticket);
                        ended.push(Ended { ticket, outcome: Outcome::NotSent(why) });
                    }
                },
                Step::Send(index) => {
                    if let Some(&ticket) = tickets.get(index) {
                        let was_pending = requests.is_pending(ticket);
                        prop_assert!(!requests.sent(ticket) || was_pending, "what has ended is not sent");
                    }
                }
                Step::Answer { id, is_refusal } => {
                    answers += 1;
                    let refusal = RequestRefusal { code: None, message: String::new(), data: None };
                    let outcome = if is_refusal { Err(refusal) } else { Ok(String::new()) };
                    ended.extend(requests.answered(Reply { to: ReplyTo::Id(number(id)), outcome }));
                }
                Step::AnswerOldest => {
                    answers += 1;
                    ended.extend(requests.answered(Reply { to: ReplyTo::Oldest, outcome: Ok(String::new()) }));
                }
                Step::Wait(wait_ms) => {
                    now += wait_ms;
                    requests.expire(ms(now), &mut ended);
                    prop_assert!(requests.next_timer().is_none_or(|at| at > ms(now)));
                }
                Step::Disconnect => requests.disconnected("gone", &mut ended),
                Step::Abandon(index) => {
                    if let Some(&ticket) = tickets.get(index) {
                        abandoned += u64::from(requests.abandon(ticket));
                    }
                }
            }
            for Ended { ticket, outcome } in ended {
                prop_assert!(ends.insert(ticket, outcome).is_none(), "{:?} ended twice", ticket);
                prop_assert!(!requests.is_pending(ticket));
            }
            prop_assert!(requests.len() <= pending_max && requests.past_order.len() <= remembered_max);
            prop_assert!(requests.past.len() <= requests.past_order.len());
        }
        let mut ended = Vec::new();
        requests.expire(MonoNs(u64::MAX), &mut ended);
        for Ended { ticket, outcome } in ended {
            prop_assert!(ends.insert(ticket, outcome).is_none());
        }
        prop_assert!(requests.is_empty() && requests.by_id.is_empty() && requests.deadlines.is_empty());
        let counters = requests.counters();
        prop_assert_eq!(ends.len() as u64 + abandoned, tickets.len() as u64);
        prop_assert_eq!(counters.opened, tickets.len() as u64);
        prop_assert_eq!(
            counters.answered + counters.refused + counters.timed_out + counters.unknown + counters.not_sent + counters.abandoned,
            counters.opened
        );
        prop_assert_eq!(
            counters.answered + counters.refused + counters.late_answers + counters.repeated_answers + counters.unmatched_answers,
            answers
        );
    }
}
