//! The machine by hand, one rule at a time, and under any interleaving of events.

use super::*;
use crate::control::logins::{BYBIT, DERIBIT};
use crate::control::{BybitCodec, Credentials, JsonRpc, RequestRefusal};
use crate::venue::{PingTemplate, ReplyTemplate, ServerPing, ServerPingRule};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SECOND: Duration = Duration::from_secs(1);
const WALL_MS: u64 = 1_700_000_000_000;

/// A machine, its clock, and what it wanted.
struct Bench {
    machine: RequestMachine,
    now: MonoNs,
    actions: Vec<RequestAction>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut RequestMachineSettings)) -> Self {
        let mut settings = RequestMachineSettings::new(Arc::new(JsonRpc), 7);
        settings.reconnect.base = Duration::from_millis(100);
        change(&mut settings);
        Self { machine: RequestMachine::new(settings), now: MonoNs(1_000_000_000), actions: Vec::new() }
    }

    fn with_login(login: &'static super::super::Login) -> Self {
        Self::new(|settings| {
            settings.authentication = Some(Authentication::new(login, Credentials::new("key", "secret")));
            if std::ptr::eq(login, &raw const BYBIT) {
                settings.codec = Arc::new(BybitCodec);
            }
        })
    }

    fn ready() -> Self {
        let mut bench = Self::new(|_| {});
        bench.connect();
        assert_eq!(bench.machine.state(), State::Ready);
        bench
    }

    fn handle(&mut self, event: RequestEvent<'_>) -> Vec<RequestAction> {
        self.machine.handle(event, self.now, &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn connect(&mut self) -> Vec<RequestAction> {
        if self.machine.state() == State::Disconnected {
            assert_eq!(self.handle(RequestEvent::Start), [RequestAction::Connect]);
        }
        self.handle(RequestEvent::Connected { wall_ms: WALL_MS })
    }

    fn message(&mut self, text: &str) -> Vec<RequestAction> {
        self.handle(RequestEvent::Message(text.as_bytes()))
    }

    fn wait(&mut self, wait: Duration) -> Vec<RequestAction> {
        self.now = after(self.now, wait);
        self.handle(RequestEvent::Timer)
    }

    fn request(&mut self, method: &str) -> RequestTicket {
        self.machine.request(method, None, SECOND, self.now, &mut self.actions)
    }

    fn transmit(&mut self) -> Option<String> {
        match self.machine.poll_transmit(self.now)? {
            Transmit::Login(message) => Some(message.reveal().to_owned()),
            Transmit::Text(text) => Some(text),
            Transmit::ProtocolPing => Some("<ping>".to_owned()),
        }
    }
}

fn ends(actions: &[RequestAction]) -> Vec<(RequestTicket, Outcome)> {
    let ended = |action: &RequestAction| match action {
        RequestAction::Ended(ended) => Some((ended.ticket, ended.outcome.clone())),
        _ => None,
    };
    actions.iter().filter_map(ended).collect()
}

fn reports(actions: &[RequestAction]) -> Vec<&RequestReport> {
    actions
        .iter()
        .filter_map(|action| match action {
            RequestAction::Report(report) => Some(report),
            _ => None,
        })
        .collect()
}

#[test]
fn what_is_asked_before_the_connection_is_ready_leaves_once_it_is_in_order() {
    let mut bench = Bench::new(|_| {});
    bench.handle(RequestEvent::Start);
    let ticket = bench.request("a");
    bench.machine.send("note".to_owned(), bench.now).unwrap();
    assert_eq!(bench.transmit(), None);
    assert_eq!(reports(&bench.connect()), [&RequestReport::Connected, &RequestReport::Ready]);
    assert_eq!(bench.transmit().as_deref(), Some(r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#));
    assert_eq!(bench.transmit().as_deref(), Some("note"));
    assert_eq!(bench.transmit(), None);
    let actions = bench.message(r#"{"jsonrpc":"2.0","id":1,"result":5}"#);
    assert_eq!(ends(&actions), [(ticket, Outcome::Answered("5".into()))]);
    assert!(!actions.contains(&RequestAction::Unsolicited));
}

#[test]
fn a_login_goes_before_all_else_on_every_connect_and_is_made_afresh() {
    let mut bench = Bench::with_login(&DERIBIT);
    bench.request("first");
    bench.connect();
    assert_eq!(bench.machine.state(), State::Authenticating);
    let login = bench.transmit().unwrap();
    assert!(login.contains("public/auth") && login.contains("1700000000000"), "{login}");
    assert_eq!(bench.transmit(), None, "nothing else before its answer");
    let actions = bench.message(r#"{"jsonrpc":"2.0","id":2,"result":{"token_type":"bearer"}}"#);
    assert_eq!(reports(&actions), [&RequestReport::Authenticated, &RequestReport::Ready]);
    assert!(bench.transmit().unwrap().contains("first"));

    bench.handle(RequestEvent::Lost { reason: "reset", close_code: None });
    bench.request("second");
    assert_eq!(bench.wait(Duration::from_millis(100)), [RequestAction::Connect], "the second request waits");
    bench.request("third");
    bench.connect();
    let again = bench.transmit().unwrap();
    assert!(again.contains("public/auth") && again != login, "another nonce: {again}");
    assert_eq!(bench.transmit(), None);
}

#[test]
fn a_refusal_for_good_closes_and_tells_whoever_waits_that_nothing_was_sent() {
    let mut bench = Bench::with_login(&BYBIT);
    let ticket = bench.request("order.create");
    bench.connect();
    bench.transmit().unwrap();
    let actions = bench.message(r#"{"success":false,"ret_msg":"Invalid sign","op":"auth"}"#);
    let refusal = AuthRefusal { code: None, message: "Invalid sign".into(), is_retryable: false };
    assert!(actions.contains(&RequestAction::Close { code: 1_000 }));
    assert_eq!(ends(&actions), [(ticket, Outcome::NotSent(NotSent::AuthRefused(refusal.clone())))]);
    let actions = bench.handle(RequestEvent::Closed);
    assert_eq!(reports(&actions), [&RequestReport::Closed(RequestEnd::AuthRefused(refusal.clone()))]);
    assert_eq!((bench.machine.state(), bench.machine.next_timer(bench.now)), (State::Closed, None), "not tried again");
    bench.request("late");
    assert!(matches!(&ends(&bench.actions)[..], [(_, Outcome::NotSent(NotSent::AuthRefused(_)))]));
    assert_eq!(bench.machine.send("x".into(), bench.now), Err(NotSent::AuthRefused(refusal)));
}

#[test]
fn a_refusal_that_a_fresh_timestamp_may_cure_is_tried_again() {
    let mut bench = Bench::with_login(&BYBIT);
    bench.connect();
    bench.transmit().unwrap();
    let actions = bench.message(r#"{"success":false,"ret_msg":"request expired","op":"auth"}"#);
    assert!(actions.contains(&RequestAction::Drop));
    assert!(matches!(reports(&actions)[..], [RequestReport::AuthRefused(_), RequestReport::Reconnecting { .. }]));
    assert_eq!(bench.machine.status(bench.now).logins_refused, 1);
}

#[test]
fn a_login_that_is_not_answered_in_time_is_a_loss() {
    let mut bench = Bench::with_login(&DERIBIT);
    bench.connect();
    bench.transmit().unwrap();
    let waited = bench.machine.next_timer(bench.now).unwrap();
    assert_eq!(waited, after(bench.now, Duration::from_secs(10)));
    assert!(bench.wait(Duration::from_secs(9)).is_empty());
    let actions = bench.wait(SECOND);
    assert!(actions.contains(&RequestAction::Drop));
    let [RequestReport::Reconnecting { reason, .. }] = reports(&actions)[..] else { panic!("{actions:?}") };
    assert_eq!(reason, "no answer to the login within 10s");
}

#[test]
fn signed_headers_that_are_refused_are_not_tried_again() {
    let mut bench = Bench::new(|_| {});
    bench.handle(RequestEvent::Start);
    let ticket = bench.request("a");
    let failed = RequestEvent::ConnectFailed { reason: "HTTP status 401", retry_after: None, is_auth_refusal: true };
    let actions = bench.handle(failed);
    assert!(matches!(&ends(&actions)[..], [(of, Outcome::NotSent(NotSent::AuthRefused(_)))] if *of == ticket));
    assert_eq!(bench.machine.state(), State::Closed);
}

#[test]
fn when_the_socket_goes_what_was_sent_is_unknown_and_what_waits_goes_out_on_the_next() {
    let mut bench = Bench::ready();
    let sent = bench.request("sent");
    bench.transmit().unwrap();
    let waiting = bench.request("waiting");
    let actions = bench.handle(RequestEvent::Lost { reason: "reset by peer", close_code: None });
    assert_eq!(ends(&actions), [(sent, Outcome::Unknown { reason: "reset by peer".into() })]);
    assert_eq!(bench.wait(Duration::from_millis(100)), [RequestAction::Connect]);
    bench.connect();
    assert!(bench.transmit().unwrap().contains("waiting"));
    assert_eq!(ends(&bench.message(r#"{"id":2,"result":1}"#)), [(waiting, Outcome::Answered("1".into()))]);
}

#[test]
fn what_waits_too_long_is_dropped_and_said_to_be() {
    let mut bench = Bench::new(|settings| settings.send_wait = Duration::from_millis(500));
    bench.handle(RequestEvent::Start);
    let ticket = bench.request("a");
    bench.machine.send("note".into(), bench.now).unwrap();
    assert_eq!(bench.machine.next_timer(bench.now), Some(after(bench.now, Duration::from_millis(500))));
    assert!(bench.wait(Duration::from_millis(500)).is_empty());
    assert_eq!(bench.machine.status(bench.now).sends_dropped, 1);
    let actions = bench.wait(Duration::from_millis(500));
    assert_eq!(ends(&actions), [(ticket, Outcome::NotSent(NotSent::NotInTime))]);
    bench.connect();
    assert_eq!(bench.transmit(), None, "neither leaves late");
}

#[test]
fn limits_refuse_by_name() {
    let mut bench = Bench::new(|settings| {
        settings.queued_max = 2;
        settings.message_bytes_max = 60;
        settings.requests.pending_max = 1;
    });
    let long = "x".repeat(60);
    bench.request(&long);
    bench.machine.request_raw(r#"{"method":"m"}"#.into(), SECOND, bench.now, &mut bench.actions);
    bench.request("a");
    bench.request("b");
    bench.machine.send("x".into(), bench.now).unwrap();
    let refusals: Vec<NotSent> = ends(&bench.actions)
        .into_iter()
        .map(|(_, outcome)| match outcome {
            Outcome::NotSent(why) => why,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        refusals,
        [
            NotSent::TooLong { length_bytes: 96, length_bytes_max: 60 },
            NotSent::NoId,
            NotSent::TableFull { pending_max: 1 }
        ]
    );
    assert_eq!(bench.machine.send("y".into(), bench.now), Err(NotSent::QueueFull { queued_max: 2 }));
    let counters = bench.machine.status(bench.now).requests;
    assert_eq!((counters.opened, counters.not_sent), (4, 3));
}

#[test]
fn a_callers_own_id_is_kept_and_ours_go_round_it() {
    let mut bench = Bench::ready();
    let raw = r#"{"jsonrpc":"2.0","id":1,"method":"theirs"}"#;
    let theirs = bench.machine.request_raw(raw.into(), SECOND, bench.now, &mut bench.actions);
    let ours = bench.request("ours");
    assert_eq!(bench.transmit().as_deref(), Some(raw));
    assert!(bench.transmit().unwrap().contains(r#""id":2"#));
    assert_eq!(ends(&bench.message(r#"{"id":2,"result":2}"#)), [(ours, Outcome::Answered("2".into()))]);
    let refused = RequestRefusal { code: Some(3), message: "no".into(), data: None };
    let answer = r#"{"id":1,"error":{"code":3,"message":"no"}}"#;
    assert_eq!(ends(&bench.message(answer)), [(theirs, Outcome::Refused(refused))]);
}

#[test]
fn the_venues_messages_a_second_are_kept() {
    let mut bench = Bench::new(|settings| settings.messages_per_second = Some(2));
    bench.connect();
    for method in ["a", "b", "c"] {
        bench.request(method);
    }
    assert!(bench.transmit().is_some() && bench.transmit().is_some());
    assert!(!bench.machine.has_transmit(bench.now) && bench.transmit().is_none());
    let next = bench.machine.next_timer(bench.now).unwrap();
    assert_eq!(next, after(bench.now, SECOND), "one second after the first");
    bench.machine.abandon(RequestTicket(3));
    assert_eq!(bench.machine.status(bench.now).queued, 0, "what nobody wants is not sent");
}

#[test]
fn a_silent_peer_is_pinged_and_then_lost() {
    let mut bench = Bench::ready();
    assert!(bench.wait(Duration::from_secs(15)).is_empty());
    assert_eq!(bench.transmit().as_deref(), Some("<ping>"));
    bench.now = after(bench.now, SECOND);
    bench.handle(RequestEvent::Seen);
    assert!(bench.wait(Duration::from_secs(14)).is_empty());
    assert_eq!(bench.transmit().as_deref(), Some("<ping>"));
    let actions = bench.wait(Duration::from_secs(10));
    assert!(actions.contains(&RequestAction::Drop));
    assert!(matches!(reports(&actions)[..], [RequestReport::Reconnecting { .. }]));
}

#[test]
fn the_answer_to_our_ping_text_is_no_answer_to_a_request_unless_one_asks_for_it() {
    let mut bench = Bench::new(|settings| settings.codec = Arc::new(BybitCodec));
    bench.connect();
    let pong = r#"{"success":true,"ret_msg":"pong","conn_id":"c","op":"ping"}"#;
    assert!(bench.message(pong).is_empty());
    let ticket = bench.request("ping");
    bench.transmit().unwrap();
    assert_eq!(ends(&bench.message(pong)), [(ticket, Outcome::Answered(pong.into()))]);
    let status = bench.machine.status(bench.now);
    assert_eq!((status.pongs, status.requests.unmatched_answers, status.unsolicited), (1, 0, 0));
}

#[test]
fn closing_ends_everything_at_once_and_a_peer_that_does_not_close_is_dropped() {
    let mut bench = Bench::ready();
    let sent = bench.request("sent");
    bench.transmit().unwrap();
    let waiting = bench.request("waiting");
    bench.machine.send("note".into(), bench.now).unwrap();
    let actions = bench.handle(RequestEvent::Stop);
    assert!(actions.contains(&RequestAction::Close { code: 1_000 }));
    assert_eq!(
        ends(&actions),
        [(sent, Outcome::Unknown { reason: "closed by us".into() }), (waiting, Outcome::NotSent(NotSent::Closed))]
    );
    assert_eq!(bench.transmit(), None);
    assert!(bench.message(r#"{"id":1,"result":1}"#).is_empty(), "too late");
    let actions = bench.wait(Duration::from_millis(100));
    assert_eq!(actions, [RequestAction::Drop, RequestAction::Report(RequestReport::Closed(RequestEnd::Closed))]);
    assert!(bench.handle(RequestEvent::Stop).is_empty());
    let status = bench.machine.status(bench.now);
    assert_eq!((status.sends_dropped, status.state, status.illegal_events), (1, "Closed", 0));
}

#[test]
fn stopping_while_it_connects_or_waits_is_over_at_once() {
    let mut connecting = Bench::new(|_| {});
    connecting.handle(RequestEvent::Start);
    let over = RequestAction::Report(RequestReport::Closed(RequestEnd::Closed));
    assert_eq!(connecting.handle(RequestEvent::Stop), [RequestAction::Drop, over.clone()]);
    let mut waiting = Bench::ready();
    waiting.handle(RequestEvent::Lost { reason: "x", close_code: None });
    assert_eq!(waiting.handle(RequestEvent::Stop), [over]);
    assert_eq!(waiting.machine.next_timer(waiting.now), None);
}

#[test]
fn after_the_last_attempt_whoever_waits_is_told() {
    let mut bench = Bench::new(|settings| settings.reconnect.attempts_max = Some(0));
    bench.handle(RequestEvent::Start);
    let ticket = bench.request("a");
    let failed = RequestEvent::ConnectFailed { reason: "refused", retry_after: None, is_auth_refusal: false };
    let actions = bench.handle(failed);
    assert_eq!(ends(&actions), [(ticket, Outcome::NotSent(NotSent::GaveUp { reason: "refused".into() }))]);
}

#[test]
fn a_venue_that_asks_us_to_stay_away_is_obeyed() {
    let mut bench = Bench::new(|_| {});
    bench.handle(RequestEvent::Start);
    let retry_after = Some(Duration::from_secs(60));
    bench.handle(RequestEvent::ConnectFailed { reason: "429", retry_after, is_auth_refusal: false });
    assert!(bench.wait(Duration::from_secs(60) - Duration::from_millis(1)).is_empty());
    assert_eq!(bench.wait(Duration::from_secs(7)), [RequestAction::Connect], "and up to a tenth more");
}

#[test]
fn a_policy_close_waits_longer_than_a_loss_and_a_login_refused_for_good_as_long_as_is_wanted() {
    let mut bench = Bench::ready();
    let actions = bench.handle(RequestEvent::Lost { reason: "too many", close_code: Some(1_008) });
    let [RequestReport::Reconnecting { delay, .. }] = reports(&actions)[..] else { panic!("{actions:?}") };
    assert!(*delay >= SECOND, "a loss is retried within 100 ms: {delay:?}");

    let mut bench = Bench::with_login(&DERIBIT);
    bench.machine.settings.reconnect.auth_wait = Some(Duration::from_secs(300));
    bench.machine.backoff = Backoff::new(bench.machine.settings.reconnect.clone());
    bench.connect();
    bench.transmit().unwrap();
    let actions = bench.message(r#"{"id":1,"error":{"code":13004,"message":"invalid_credentials"}}"#);
    let [RequestReport::AuthRefused(_), RequestReport::Reconnecting { delay, .. }] = reports(&actions)[..] else {
        panic!("{actions:?}")
    };
    assert!(*delay >= Duration::from_secs(300), "{delay:?}");
}

#[test]
fn a_servers_ping_text_is_answered_at_once_and_ours_carry_id_and_time() {
    let mut bench = Bench::new(|settings| {
        let ping = ServerPing::Text(r#"{"op":"test_request"}"#.into());
        let reply = ReplyTemplate::parse("answer").unwrap();
        settings.heartbeat.server_ping = Some(ServerPingRule::new(ping, reply).unwrap());
        let template = PingTemplate::parse(r#"{"ping":{timestamp},"id":{id}}"#).unwrap();
        settings.heartbeat.pings = vec![PingSettings { ping: Ping::Template(template), interval: SECOND }];
    });
    bench.connect();
    assert!(bench.message(r#"{"op":"test_request"}"#).is_empty(), "it is nobody else's");
    assert_eq!(bench.transmit().as_deref(), Some("answer"));
    assert!(bench.wait(SECOND).is_empty());
    assert_eq!(bench.transmit().as_deref(), Some(r#"{"ping":1700000001000,"id":1}"#));
    assert_eq!((bench.transmit(), bench.machine.status(bench.now).server_pings), (None, 1));
}

/// One step of a hostile day.
#[derive(Clone, Debug)]
enum Step {
    Request(u64),
    Raw(u64),
    Send,
    Abandon(usize),
    Transmit,
    Connected,
    ConnectFailed,
    Lost,
    Answer(u64),
    Refuse(u64),
    Login(bool),
    Rubbish(String),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..2_000_u64).prop_map(Step::Request),
        1 => (0..6_u64).prop_map(Step::Raw),
        1 => Just(Step::Send),
        1 => (0..10_usize).prop_map(Step::Abandon),
        6 => Just(Step::Transmit),
        3 => Just(Step::Connected),
        1 => Just(Step::ConnectFailed),
        1 => Just(Step::Lost),
        3 => (0..12_u64).prop_map(Step::Answer),
        1 => (0..12_u64).prop_map(Step::Refuse),
        3 => any::<bool>().prop_map(Step::Login),
        1 => "[\\[\\]{}\":,a-z0-9]{0,30}".prop_map(Step::Rubbish),
        3 => (0..5_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn on_any_day_every_request_ends_once_nothing_leaves_before_the_login_and_all_is_bounded(steps in proptest::collection::vec(step(), 0..150), has_login: bool) {
        let mut bench = if has_login { Bench::with_login(&DERIBIT) } else { Bench::new(|_| {}) };
        bench.machine.settings.queued_max = 5;
        bench.machine.requests = Requests::new(RequestSettings { pending_max: 4, remembered_max: 3 });
        let mut all = Vec::new();
        let mut abandoned = BTreeSet::new();
        let mut ended: BTreeMap<RequestTicket, Outcome> = BTreeMap::new();
        let mut actions = bench.handle(RequestEvent::Start);
        let mut login_id = None;
        let mut steps = steps;
        steps.push(Step::Lost);
        for step in steps.into_iter().map(Some).chain([None]) {
            let state = bench.machine.state();
            match step {
                Some(Step::Request(timeout_ms)) => {
                    all.push(bench.machine.request("m", None, Duration::from_millis(timeout_ms), bench.now, &mut bench.actions));
                }
                Some(Step::Raw(id)) => {
                    let text = format!(r#"{{"id":{id},"method":"raw"}}"#);
                    all.push(bench.machine.request_raw(text, SECOND, bench.now, &mut bench.actions));
                }
                Some(Step::Send) => drop(bench.machine.send("note".into(), bench.now)),
                Some(Step::Abandon(index)) => {
                    if let Some(&ticket) = all.get(index) && !ended.contains_key(&ticket) && bench.machine.requests.is_pending(ticket) {
                        abandoned.insert(ticket);
                        bench.machine.abandon(ticket);
                    }
                }
                Some(Step::Transmit) => {
                    let is_due = bench.machine.has_transmit(bench.now);
                    let given = bench.machine.poll_transmit(bench.now);
                    prop_assert_eq!(given.is_some(), is_due);
                    match given {
                        Some(Transmit::Login(message)) => {
                            prop_assert_eq!(state, State::Authenticating);
                            let id = serde_json::from_str::<serde_json::Value>(message.reveal()).unwrap()["id"].as_u64();
                            prop_assert_ne!(id, login_id, "a login of its own each time");
                            login_id = id;
                        }
                        Some(Transmit::Text(_)) => prop_assert_eq!(state, State::Ready),
                        Some(Transmit::ProtocolPing) => prop_assert!(state.is_up()),
                        None => {}
                    }
                }
                // The caller reports what can happen to the socket it has.
                Some(Step::Connected) if state == State::Connecting => actions.extend(bench.connect()),
                Some(Step::ConnectFailed) if state == State::Connecting => {
                    let failed = RequestEvent::ConnectFailed { reason: "no", retry_after: None, is_auth_refusal: false };
                    actions.extend(bench.handle(failed));
                }
                Some(Step::Lost) if state.is_up() => actions.extend(bench.handle(RequestEvent::Lost { reason: "gone", close_code: None })),
                Some(Step::Answer(id)) if state.is_up() => actions.extend(bench.message(&format!(r#"{{"id":{id},"result":0}}"#))),
                Some(Step::Refuse(id)) if state.is_up() && login_id != Some(id) => {
                    actions.extend(bench.message(&format!(r#"{{"id":{id},"error":{{"code":1,"message":"no"}}}}"#)));
                }
                Some(Step::Login(is_accepted)) if state == State::Authenticating => {
                    if let Some(id) = login_id {
                        let outcome = if is_accepted { r#""result":{}"# } else { r#""error":{"code":10028,"message":"slow down"}"# };
                        actions.extend(bench.message(&format!(r#"{{"id":{id},{outcome}}}"#)));
                    }
                }
                Some(Step::Rubbish(text)) if state.is_up() => actions.extend(bench.message(&text)),
                Some(Step::Wait(wait_ms)) => actions.extend(bench.wait(Duration::from_millis(wait_ms))),
                Some(_) => {}
                None => {
                    actions.extend(bench.handle(RequestEvent::Stop));
                    actions.extend(bench.handle(RequestEvent::Timer));
                }
            }
            actions.append(&mut bench.actions);
            for (ticket, outcome) in ends(&actions) {
                prop_assert!(!abandoned.contains(&ticket), "{:?} was let go of", ticket);
                prop_assert!(ended.insert(ticket, outcome).is_none(), "{:?} ended twice", ticket);
            }
            actions.clear();
            prop_assert!(bench.machine.queue.len() <= 5 && bench.machine.requests.len() <= 4);
            prop_assert!(bench.machine.next_timer(bench.now).is_none_or(|at| at > bench.now));
        }
        prop_assert!(bench.machine.requests.is_empty() && bench.machine.queue.is_empty());
        prop_assert_eq!(ended.len() + abandoned.len(), all.len());
        prop_assert_eq!(bench.machine.status(bench.now).illegal_events, 0);
    }
}
