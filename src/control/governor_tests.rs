//! The governor: shares, answers that hold back, a thousand connections at once.

use super::*;
use crate::market::Venue;
use crate::venue::protocol;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn s(at: u64) -> MonoNs {
    MonoNs(at * SECOND)
}

fn key(host: &str) -> BudgetKey {
    BudgetKey { host: host.into(), source: None }
}

fn of(venue: Venue) -> (Governor, BudgetId) {
    let mut governor = Governor::default();
    let id = governor.budget(key("host"), BudgetLimits::of(protocol(venue)));
    (governor, id)
}

fn answer(status: u16) -> RestAnswer {
    RestAnswer { status, ..RestAnswer::default() }
}

fn at(permit: Permit) -> MonoNs {
    match permit {
        Permit::At { at, .. } => at,
        other => panic!("no place: {other:?}"),
    }
}

#[test]
fn a_key_is_the_domain_without_its_port_and_an_address_with_it() {
    let of = |url: &str| BudgetKey::of(&Url::parse(url).unwrap(), None).host;
    assert_eq!(&*of("wss://Stream.Binance.com:9443/ws"), "stream.binance.com");
    assert_eq!(of("wss://stream.bybit.com/v5/public/spot"), of("wss://stream.bybit.com/v5/public/linear"));
    assert_eq!(&*of("ws://127.0.0.1:9001"), "127.0.0.1:9001");
    assert_eq!(&*of("http://[::1]/"), "[::1]:80");
    let source = Some(IpAddr::from([10, 0, 0, 1]));
    let url = Url::parse("https://api.bybit.com").unwrap();
    assert_ne!(BudgetKey::of(&url, source), BudgetKey::of(&url, None), "a venue counts addresses apart");
}

#[test]
fn a_thousand_that_lose_their_venue_at_once_come_back_within_its_limit_and_in_order() {
    let (mut governor, id) = of(Venue::BinanceSpot);
    // 80 % of 300 in 300 s, 10 a second: 240 in the first 24 s, the next from 300 s on.
    let mut waiting = std::collections::VecDeque::new();
    let mut granted = Vec::new();
    for number in 0..1_000 {
        match governor.connect(id, s(7)) {
            Permit::Now => granted.push((s(7), number)),
            Permit::At { at, ticket } => waiting.push_back((at, ticket, number)),
            Permit::Refused(why) => panic!("{why}"),
        }
    }
    assert_eq!((granted.len(), waiting.len()), (10, 990));
    let status = governor.status(s(7)).budgets.remove(0).connects;
    assert_eq!((status.used, status.allowed, status.window_ms, status.waiting), (10, Some(240), 300_000, 990));
    // The last is number 1,000: the 40th of the fifth window.
    assert_eq!(status.last_in_ms, Some(1_203_000));
    while let Some((at, ticket, number)) = waiting.pop_front() {
        assert_eq!(governor.redeem(ticket, at), Some(Permit::Now), "{number} at its promised time");
        granted.push((at, number));
    }
    assert!(granted.is_sorted(), "in the order of asking");
    for (first, &(from, _)) in granted.iter().enumerate() {
        let within = |length: u64| granted[first..].iter().take_while(|(at, _)| at.0 < from.0 + length).count();
        assert!(within(300 * SECOND) <= 240 && within(SECOND) <= 10, "from {from:?}");
    }
    let status = governor.status(s(2_000)).budgets.remove(0).connects;
    assert_eq!((status.granted, status.delayed, status.waiting), (1_000, 990, 0));
}

#[test]
fn rest_never_takes_more_than_its_share() {
    let (mut governor, id) = of(Venue::BinanceSpot);
    for _ in 0..12 {
        assert_eq!(governor.rest(id, 250, s(0)), Permit::Now);
    }
    assert_eq!(at(governor.rest(id, 1, s(0))), s(60), "3,000 of 6,000 are ours");
    let too_heavy = Permit::Refused(NotPermitted::TooHeavy { weight: 3_001, budget: 3_000 });
    assert_eq!(governor.rest(id, 3_001, s(0)), too_heavy);
    let (mut governor, id) = of(Venue::BybitLinear);
    for _ in 0..300 {
        assert_eq!(governor.rest(id, 1, s(0)), Permit::Now);
    }
    assert_eq!(at(governor.rest(id, 1, s(0))), s(5));
}

#[test]
fn requests_are_paced_over_all_connections() {
    let (mut governor, id) = of(Venue::BybitSpot);
    for _ in 0..50 {
        assert_eq!(governor.request(id, s(1)), Permit::Now);
    }
    let Permit::At { at, ticket } = governor.request(id, s(1)) else { panic!("the 51st waits") };
    assert_eq!(at, s(2));
    // What REST is told is no matter of an open connection's messages.
    governor.rest_answered(id, answer(418), s(1));
    assert_eq!(governor.redeem(ticket, s(2)), Some(Permit::Now));
}

#[test]
fn what_others_on_the_address_use_leaves_less_for_us() {
    let (mut governor, id) = of(Venue::BinanceSpot);
    let used = |used_weight| RestAnswer { status: 200, used_weight: Some(used_weight), retry_after: None };
    // 90 % of 6,000 is 5,400.
    governor.rest_answered(id, used(5_350), s(10));
    assert_eq!(governor.rest(id, 50, s(11)), Permit::Now);
    assert_eq!(at(governor.rest(id, 1, s(11))), s(70), "until the window has surely turned");
    assert_eq!(governor.status(s(12)).budgets[0].rest_used_by_all, Some(5_350));
    let (mut governor, id) = of(Venue::BinanceSpot);
    governor.rest_answered(id, used(6_000), s(10));
    assert_eq!(at(governor.rest(id, 1, s(10))), s(70));
    assert_eq!(governor.connect(id, s(10)), Permit::Now, "use is no refusal: connects go on");
    governor.rest_answered(id, used(3), s(12));
    assert_eq!(governor.status(s(80)).budgets[0].rest_used_by_all, None, "old news");
}

#[test]
fn each_refusal_holds_back_for_its_time() {
    let after_s = |seconds| Some(Duration::from_secs(seconds));
    for (venue, status, retry_after, held_s) in [
        (Venue::BinanceSpot, 429, after_s(7), Some(7)),
        (Venue::BinanceSpot, 429, None, Some(60)),
        (Venue::BinanceSpot, 429, after_s(0), Some(1)),
        (Venue::BybitSpot, 429, None, Some(5)),
        (Venue::BinanceUsdm, 418, after_s(300), Some(300)),
        (Venue::BinanceUsdm, 418, None, Some(120)),
        (Venue::BinanceUsdm, 418, after_s(u64::MAX), Some(3 * 86_400)),
        (Venue::BybitLinear, 403, None, Some(600)),
        (Venue::BybitLinear, 403, after_s(900), Some(900)),
        (Venue::BinanceSpot, 403, None, None),
        (Venue::BinanceSpot, 503, after_s(60), None),
        (Venue::BinanceSpot, 200, None, None),
    ] {
        let (mut governor, id) = of(venue);
        governor.rest_answered(id, RestAnswer { status, used_weight: None, retry_after }, s(10));
        let until = held_s.map(|held| s(10 + held));
        assert_eq!(governor.held_until(id, s(10)), until, "{venue} {status} {retry_after:?}");
        match until {
            Some(until) => {
                assert_eq!((at(governor.connect(id, s(10))), at(governor.rest(id, 1, s(10)))), (until, until))
            }
            None => assert_eq!((governor.connect(id, s(10)), governor.rest(id, 1, s(10))), (Permit::Now, Permit::Now)),
        }
        let shown = governor.status(s(10)).budgets.remove(0);
        assert_eq!(shown.held_by_status, until.map(|_| status));
        assert_eq!(shown.held_for_ms, held_s.map(|held| held * 1_000));
    }
}

#[test]
fn a_place_promised_before_a_ban_is_no_way_around_it() {
    let (mut governor, id) = of(Venue::BinanceSpot);
    for _ in 0..10 {
        assert_eq!(governor.connect(id, s(0)), Permit::Now);
    }
    let Permit::At { at, ticket } = governor.connect(id, s(0)) else { panic!("the 11th waits") };
    assert_eq!(at, s(1));
    governor.rest_answered(id, answer(418), s(0));
    let later = Some(Permit::At { at: s(120), ticket });
    assert_eq!(governor.redeem(ticket, s(1)), later);
    governor.rest_answered(id, answer(429), s(100));
    assert_eq!(governor.redeem(ticket, s(120)), Some(Permit::At { at: s(160), ticket }));
    assert_eq!(governor.redeem(ticket, s(160)), Some(Permit::Now));
    assert_eq!(governor.redeem(ticket, s(160)), None, "it is redeemed once");
    let answers = governor.status(s(160)).budgets[0].answers;
    assert_eq!(answers, AnswerCounters { too_many_requests: 1, banned: 1, forbidden: 0 });
}

#[test]
fn hosts_held_together_share_a_ban_and_nothing_else() {
    let mut governor = Governor::default();
    let limits = BudgetLimits::of(protocol(Venue::BinanceSpot));
    let [stream, rest, other] = ["stream", "api", "other"].map(|host| governor.budget(key(host), limits));
    governor.rest_answered(rest, answer(418), s(0));
    assert_eq!(governor.connect(stream, s(1)), Permit::Now);
    governor.hold_together(stream, rest);
    assert_eq!(at(governor.connect(stream, s(1))), s(120), "a ban in force is shared at once");
    governor.rest_answered(stream, answer(429), s(100));
    assert_eq!([stream, rest, other].map(|id| governor.held_until(id, s(100))), [Some(s(160)), Some(s(160)), None]);
    assert_eq!(governor.status(s(100)).budgets[1].connects.granted, 0);
}

#[test]
fn asked_for_twice_the_strictest_limits_hold() {
    let mut governor = Governor::default();
    let minute = Duration::from_secs(60);
    let loose = BudgetLimits {
        connects: Some((100, minute)),
        requests_per_second: None,
        rest_weight: Some((100, minute)),
        rest_share_percent: 100,
        forbidden_for: None,
    };
    let strict = BudgetLimits {
        connects: Some((100, minute * 10)),
        requests_per_second: Some(1),
        rest_weight: Some((1_000, minute)),
        rest_share_percent: 10,
        forbidden_for: Some(minute),
    };
    let id = governor.budget(key("a"), loose);
    let Permit::Now = governor.rest(id, 100, s(0)) else { panic!("within the first limits") };
    let waiting = at(governor.rest(id, 100, s(0)));
    assert_eq!(waiting, s(60));
    assert_eq!(governor.budget(key("a"), strict), id);
    assert_eq!(governor.budget(key("a"), loose), id, "a looser one changes nothing");
    let status = governor.status(s(1)).budgets.remove(0);
    assert_eq!((status.connects.allowed, status.connects.window_ms), (Some(80), 600_000));
    assert_eq!((status.requests.allowed, status.rest.allowed), (Some(1), Some(10)));
    assert_eq!((status.rest.waiting, status.rest.lapsed), (0, 1), "too heavy for the new limits");
    assert_eq!(governor.rest(id, 11, s(61)), Permit::Refused(NotPermitted::TooHeavy { weight: 11, budget: 10 }));
}

#[test]
fn keys_beyond_the_bound_share_the_last_budget() {
    let mut governor = Governor::default();
    let limits = BudgetLimits::of(protocol(Venue::BybitSpot));
    let ids: Vec<_> = (0..BUDGET_COUNT_MAX + 3).map(|n| governor.budget(key(&n.to_string()), limits)).collect();
    assert_eq!(ids[BUDGET_COUNT_MAX - 1..], [ids[BUDGET_COUNT_MAX - 1]; 4]);
    assert_eq!((governor.status(s(0)).keys_shared, governor.ids.len()), (3, BUDGET_COUNT_MAX));
}

#[test]
fn a_place_given_back_changes_the_generation_and_is_the_next_ones() {
    let (mut governor, id) = of(Venue::BinanceSpot);
    for _ in 0..10 {
        assert_eq!(governor.connect(id, s(0)), Permit::Now);
    }
    let tickets: Vec<_> = (0..11)
        .map(|_| match governor.connect(id, s(0)) {
            Permit::At { at, ticket } => (at, ticket),
            other => panic!("{other:?}"),
        })
        .collect();
    let last = tickets[10].1;
    assert_eq!((tickets[9].0, tickets[10].0, governor.generation()), (s(1), s(2), 0));
    assert!(governor.cancel(tickets[0].1, s(0)));
    assert_eq!(governor.generation(), 1);
    assert_eq!(governor.redeem(last, s(0)), Some(Permit::At { at: s(1), ticket: last }));
}

#[test]
fn the_status_is_plain_json() {
    let (mut governor, id) = of(Venue::BinanceSpot);
    governor.rest_answered(id, RestAnswer { status: 429, used_weight: Some(9), retry_after: None }, s(0));
    let json = serde_json::to_value(governor.status(s(1))).unwrap();
    let budget = &json["budgets"][0];
    assert_eq!((&budget["host"], &budget["held_for_ms"]), (&"host".into(), &59_000.into()));
    assert_eq!((&budget["held_by_status"], &budget["rest_used_by_all"]), (&429.into(), &9.into()));
    assert_eq!(budget["answers"]["too_many_requests"], 1);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Connect,
    Rest(u32),
    Redeem(usize),
    Cancel(usize),
    Answer(u16, Option<u64>, Option<u32>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let status = prop_oneof![8 => Just(200_u16), 1 => Just(429), 1 => Just(418), 1 => Just(403)];
    let retry_after = proptest::option::of(0..200_u64);
    let step = prop_oneof![
        4 => (0..20_000_u64).prop_map(Step::Wait),
        4 => Just(Step::Connect),
        4 => (0..40_u32).prop_map(Step::Rest),
        6 => (0..12_usize).prop_map(Step::Redeem),
        1 => (0..12_usize).prop_map(Step::Cancel),
        1 => (status, retry_after, proptest::option::of(0..120_u32)).prop_map(|(a, b, c)| Step::Answer(a, b, c)),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn no_window_is_exceeded_and_no_ban_broken_whatever_happens(steps in steps()) {
        // Small limits, so that every one of them is met: 8 connects and 50 of weight 100 a minute are ours.
        let minute = Duration::from_secs(60);
        let limits = BudgetLimits {
            connects: Some((10, minute)), requests_per_second: None, rest_weight: Some((100, minute)),
            rest_share_percent: 50, forbidden_for: Some(Duration::from_secs(600)),
        };
        let mut governor = Governor::new(GovernorSettings { connects_per_second: 2, ..GovernorSettings::default() });
        let id = governor.budget(key("host"), limits);
        let ms = |at: u64| MonoNs(at * 1_000_000);
        let (mut now, mut held_until) = (0_u64, 0_u64);
        let (mut connects, mut rest, mut places) = (Vec::<u64>::new(), Vec::<(u64, u32)>::new(), Vec::new());
        for step in steps {
            let mut granted = None;
            match step {
                Step::Wait(wait) => now += wait,
                Step::Connect => match governor.connect(id, ms(now)) {
                    Permit::Now => granted = Some(None),
                    Permit::At { ticket, .. } => places.push((ticket, None)),
                    Permit::Refused(why) => prop_assert!(false, "{why}"),
                },
                Step::Rest(weight) => match governor.rest(id, weight, ms(now)) {
                    Permit::Now => granted = Some(Some(weight)),
                    Permit::At { ticket, .. } => places.push((ticket, Some(weight))),
                    Permit::Refused(why) => prop_assert!(false, "{why}"),
                },
                Step::Redeem(at) if at < places.len() => match governor.redeem(places[at].0, ms(now)) {
                    Some(Permit::Now) => granted = Some(places.remove(at).1),
                    Some(Permit::At { at, .. }) => prop_assert!(at > ms(now)),
                    _ => drop(places.remove(at)),
                },
                Step::Cancel(at) if at < places.len() => drop(governor.cancel(places.remove(at).0, ms(now))),
                Step::Redeem(_) | Step::Cancel(_) => {}
                Step::Answer(status, retry_after, used_weight) => {
                    let held = match status {
                        429 => retry_after.unwrap_or(60).max(1),
                        418 => retry_after.unwrap_or(120).max(1),
                        403 => retry_after.unwrap_or(0).max(600),
                        _ => 0,
                    };
                    held_until = held_until.max(now + held * 1_000);
                    let retry_after = retry_after.map(Duration::from_secs);
                    governor.rest_answered(id, RestAnswer { status, used_weight, retry_after }, ms(now));
                }
            }
            if let Some(weight) = granted {
                prop_assert!(now >= held_until, "granted at {now}, held until {held_until}");
                match weight {
                    None => connects.push(now),
                    Some(weight) => rest.push((now, weight.max(1))),
                }
            }
            let connects_within = |length: u64| connects.iter().filter(|&&at| at + length > now).count();
            prop_assert!(connects_within(60_000) <= 8 && connects_within(1_000) <= 2);
            let weight: u32 = rest.iter().filter(|&&(at, _)| at + 60_000 > now).map(|&(_, weight)| weight).sum();
            prop_assert!(weight <= 50);
        }
    }
}

#[test]
fn it_is_quiet_where_nobody_waits_nothing_is_held_and_enough_of_the_share_is_left() {
    let (mut governor, id) = of(Venue::BinanceSpot);
    let (share, _) = governor.rest_share(id).unwrap();
    let half = u32::try_from(share / 2).unwrap();
    assert!(governor.is_quiet(id, half, 50, s(1)) && !governor.is_quiet(id, half + 1, 50, s(1)), "of half the share");
    assert_eq!(governor.rest(id, half, s(1)), Permit::Now);
    assert!(!governor.is_quiet(id, 1, 50, s(1)) && governor.is_quiet(id, 1, 100, s(1)));
    let Permit::At { at, ticket } = governor.rest(id, half + 10, s(2)) else { panic!("more than is left") };
    assert!(!governor.is_quiet(id, 1, 100, s(2)), "somebody waits");
    assert!(governor.cancel(ticket, s(3)));
    assert!(governor.is_quiet(id, 1, 100, s(3)) && governor.is_quiet(id, half, 50, at), "the window has passed");
    governor.rest_answered(id, RestAnswer { retry_after: Some(Duration::from_secs(600)), ..answer(429) }, s(200));
    assert!(!governor.is_quiet(id, 1, 100, s(300)), "held");
}

#[test]
fn it_is_not_quiet_where_others_of_the_address_have_used_the_venues_weight() {
    let (mut governor, id) = of(Venue::BinanceSpot);
    assert!(governor.is_quiet(id, 20, 50, s(1)));
    governor.rest_answered(id, RestAnswer { used_weight: Some(1_000_000), ..answer(200) }, s(1));
    assert!(!governor.is_quiet(id, 20, 50, s(2)));
    assert_eq!(governor.rest_share(id).map(|(share, _)| share >= 40), Some(true), "of ours there is enough");
    assert!(governor.is_quiet(id, 20, 50, s(100)), "their window has passed");
}
