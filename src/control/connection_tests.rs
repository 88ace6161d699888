use super::*;

const MS: u64 = 1_000_000;

fn refused_connect(reason: &str) -> Event<'_> {
    Event::ConnectFailed { reason, retry_after: None, status: None }
}

struct Bench {
    machine: ConnectionMachine,
    now: MonoNs,
    governor: Governor,
    budget: BudgetId,
}

impl Bench {
    fn new(venue: Venue, streams: &[&str]) -> Self {
        let streams = streams.iter().map(|&stream| stream.into()).collect();
        let machine = ConnectionMachine::new(ConnectionSettings::of_venue(venue, 1), streams).unwrap();
        Self::of(machine, MonoNs(5_000 * MS))
    }

    fn of(machine: ConnectionMachine, now: MonoNs) -> Self {
        let mut governor = Governor::default();
        let budget = unlimited(&mut governor);
        Self { machine, now, governor, budget }
    }

    fn up(venue: Venue, streams: &[&str]) -> Self {
        let mut bench = Self::new(venue, streams);
        assert_eq!(bench.event(Event::Start), [Action::Connect]);
        bench
    }

    fn event(&mut self, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut context = Context { wall_ms: 0, governor: &mut self.governor, budget: self.budget };
        self.machine.handle(event, self.now, &mut context, &mut actions);
        actions
    }

    fn texts(&mut self, event: Event<'_>) -> Vec<String> {
        let actions = self.event(event);
        let text = |action| match action {
            Action::Send(bytes) => Some(String::from_utf8(bytes).unwrap()),
            Action::Login(text) => Some(text.reveal().to_owned()),
            _ => None,
        };
        actions.into_iter().filter_map(text).collect()
    }

    /// Lets the next timer come.
    fn timer(&mut self) -> Vec<Action> {
        self.now = self.machine.next_timer().unwrap();
        self.event(Event::Timer)
    }
}

#[test]
fn a_connection_is_ready_once_the_venue_confirmed_everything() {
    let mut bench = Bench::up(Venue::BinanceSpot, &["btcusdt@trade"]);
    let sent = bench.texts(Event::Connected);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].contains("btcusdt@trade") && sent[0].contains("\"id\":1"), "{}", sent[0]);
    assert_eq!(bench.machine.state(), State::Connected);
    let actions = bench.event(Event::Message(br#"{"result":null,"id":1}"#));
    assert_eq!(actions, [Action::Report(Report::Ready)]);
    let status = bench.machine.status();
    assert_eq!((status.wanted, status.active, status.pending, status.reconnects), (1, 1, 0, 0));
}

#[test]
fn a_lost_connection_comes_back_and_resubscribes_everything_with_a_new_id() {
    let mut bench = Bench::up(Venue::BybitLinear, &["tickers.A", "tickers.B"]);
    bench.event(Event::Connected);
    bench.event(Event::Message(br#"{"success":true,"ret_msg":"","req_id":"1","op":"subscribe"}"#));
    assert_eq!(bench.machine.state(), State::Ready);
    let actions = bench.event(Event::Lost { reason: "reset by peer", code: None });
    assert!(
        matches!(&actions[..], [Action::Report(Report::Reconnecting { attempt: 1, reason, .. })] if reason == "reset by peer")
    );
    assert_eq!(bench.timer(), [Action::Connect]);
    let sent = bench.texts(Event::Connected);
    assert!(sent[0].contains("tickers.A") && sent[0].contains("tickers.B") && sent[0].contains("\"req_id\":\"2\""));
    // The answer to the first connection's request is nobody's now.
    bench.event(Event::Message(br#"{"success":true,"ret_msg":"","req_id":"1","op":"subscribe"}"#));
    let status = bench.machine.status();
    assert_eq!((status.active, status.subscriptions.acks_unmatched, status.reconnects), (0, 1, 1));
    assert_eq!(status.last_loss.as_deref(), Some("reset by peer"));
}

#[test]
fn requests_keep_the_pace_and_leave_room_for_pongs() {
    let streams: Vec<_> = (0..2_000).map(|n| format!("c{n}@trade")).collect();
    let mut settings = ConnectionSettings::of_venue(Venue::BinanceSpot, 1);
    settings.limits.streams_per_connection = None;
    let names = streams.iter().map(|name| name.as_str().into()).collect();
    let mut bench = Bench::of(ConnectionMachine::new(settings, names).unwrap(), MonoNs(1_000_000 * MS));
    bench.event(Event::Start);
    assert_eq!(bench.texts(Event::Connected).len(), 4);
    assert_eq!(bench.machine.next_timer(), Some(MonoNs(bench.now.0 + 1_200 * MS)));
    assert_eq!(bench.timer().len(), 4);
    assert_eq!(bench.timer().len(), 2);
    assert_eq!(bench.machine.status().pending, 2_000);
}

#[test]
fn a_refused_stream_is_reported_with_the_venues_words_and_the_rest_is_ready() {
    let mut bench = Bench::up(Venue::BybitSpot, &["tickers.NOPE"]);
    bench.event(Event::Connected);
    let refusal = br#"{"success":false,"ret_msg":"Invalid topic: tickers.NOPE","req_id":"1","op":"subscribe"}"#;
    let report =
        Report::Refused { stream: "tickers.NOPE".to_owned(), reason: "Invalid topic: tickers.NOPE".to_owned() };
    let actions = bench.event(Event::Message(refusal));
    assert_eq!(actions, [Action::Report(report), Action::Report(Report::Ready)]);
    assert_eq!(bench.machine.status().last_refusal.as_deref(), Some("tickers.NOPE: Invalid topic: tickers.NOPE"));
}

#[test]
fn a_venue_that_answers_no_request_is_left_and_everything_is_asked_again_on_the_next_connection() {
    let mut bench = Bench::up(Venue::BybitLinear, &["tickers.A", "tickers.B", "tickers.NOPE"]);
    bench.event(Event::Connected);
    // All three are refused together, then by halves: A is confirmed, NOPE refused in the venue's words.
    let answer = |id, is_ok: bool| {
        let words = if is_ok { "" } else { "Invalid topic" };
        format!(r#"{{"success":{is_ok},"ret_msg":"{words}","req_id":"{id}","op":"subscribe"}}"#).into_bytes()
    };
    let halves = bench.texts(Event::Message(&answer(1, false)));
    assert!(halves.len() == 2 && halves[1].contains("tickers.B") && halves[1].contains("tickers.NOPE"), "{halves:?}");
    bench.event(Event::Message(&answer(2, true)));
    let quarters = bench.texts(Event::Message(&answer(3, false)));
    assert!(quarters.len() == 2 && quarters[1].contains("tickers.NOPE"), "{quarters:?}");
    bench.event(Event::Message(&answer(5, false)));
    assert_eq!((bench.machine.status().pending, bench.machine.status().refused), (1, 1));
    // B is never answered. Data keeps coming, so the connection is not stale.
    let lost = loop {
        bench.event(Event::DataSeen { last_seen: bench.now, messages: 0 });
        let actions = bench.timer();
        if actions.contains(&Action::Drop) {
            break actions;
        }
        assert_eq!(bench.machine.state(), State::Connected, "never ready while an answer is missing");
    };
    let [Action::Drop, Action::Report(Report::Reconnecting { attempt: 1, reason, .. })] = &lost[..] else {
        panic!("{lost:?}")
    };
    assert_eq!(reason, "the venue answers no request: subscribe tickers.B, no answer in 4 tries of 5000 ms");
    let status = bench.machine.status();
    assert_eq!(status.last_loss.as_ref(), Some(reason));
    assert_eq!((status.subscriptions.timeouts, status.unsent, status.refused), (4, 2, 1));
    assert_eq!(bench.timer(), [Action::Connect]);
    let sent = bench.texts(Event::Connected);
    assert!(sent[0].contains("tickers.A") && sent[0].contains("tickers.B") && !sent[0].contains("NOPE"), "{sent:?}");
}

#[test]
fn silence_is_pinged_and_then_a_loss() {
    let mut bench = Bench::up(Venue::BybitSpot, &[]);
    assert!(bench.event(Event::Connected).contains(&Action::Report(Report::Ready)));
    let pings = bench.timer();
    assert!(matches!(&pings[..], [Action::Send(text)] if text.windows(6).any(|w| w == b"\"ping\"")), "{pings:?}");
    bench.event(Event::Message(br#"{"op":"pong"}"#));
    assert_eq!(bench.machine.status().pongs, 1);
    // The hot core never said that it saw a byte.
    let actions = bench.timer();
    assert_eq!(actions[0], Action::Drop);
    assert!(
        matches!(&actions[1], Action::Report(Report::Reconnecting { reason, .. }) if reason == "stale: no byte for 30000 ms"),
        "{actions:?}"
    );
}

#[test]
fn a_venue_that_says_it_goes_is_reported_and_left_when_that_is_decided() {
    let mut bench = Bench::up(Venue::BinanceSpot, &[]);
    bench.event(Event::Connected);
    let actions = bench.event(Event::Message(br#"{"e":"serverShutdown","E":1}"#));
    assert_eq!(actions, [Action::Report(Report::GoingAway)]);
    assert_eq!(bench.machine.state(), State::Ready, "until then it is as good as any");
    let actions = bench.event(Event::Reconnect("the venue is going away"));
    assert_eq!(actions[0], Action::Drop);
    assert!(matches!(bench.machine.state(), State::Reconnecting { attempt: 1 }));
}

#[test]
fn pongs_do_not_reset_the_backoff_and_data_does_once_it_has_flowed() {
    let mut bench = Bench::up(Venue::BinanceSpot, &[]);
    bench.event(refused_connect("refused"));
    bench.timer();
    bench.event(Event::Connected);
    let seen = |bench: &mut Bench, messages| {
        bench.now = MonoNs(bench.now.0 + 11_000 * MS);
        bench.event(Event::DataSeen { last_seen: bench.now, messages });
        bench.machine.status().attempt
    };
    assert_eq!([0, 0, 0].map(|messages| seen(&mut bench, messages)), [1, 1, 1]);
    assert_eq!([5, 6].map(|messages| seen(&mut bench, messages)), [1, 0]);
}

#[test]
fn a_venue_that_says_when_to_come_back_is_not_asked_before_and_the_backoff_is_not_cut_short() {
    let wait = |retry_after| {
        let mut bench = Bench::up(Venue::BinanceSpot, &[]);
        let failed_at = bench.now;
        let actions = bench.event(Event::ConnectFailed { reason: "HTTP 429", retry_after, status: None });
        let [Action::Report(Report::Reconnecting { delay, .. })] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(bench.timer(), [Action::Connect]);
        assert_eq!(u128::from(bench.now.since_ns(failed_at)), delay.as_nanos(), "what is reported is what is done");
        *delay
    };
    let backoff = wait(None);
    assert!(backoff > Duration::ZERO && backoff <= ReconnectSettings::default().base, "{backoff:?}");
    let asked = Duration::from_secs(120);
    let waited = wait(Some(asked));
    assert!(waited >= asked && waited <= asked.mul_f64(1.1), "longer than any backoff, and spread: {waited:?}");
    assert_eq!(wait(Some(Duration::ZERO)), backoff, "shorter than this one");
}

#[test]
fn a_wait_beyond_the_end_of_time_does_not_wrap_into_the_past() {
    let mut bench = Bench::up(Venue::BinanceSpot, &[]);
    bench.event(Event::ConnectFailed { reason: "HTTP 418", retry_after: Some(Duration::MAX), status: Some(418) });
    assert_eq!(bench.machine.next_timer(), Some(MonoNs(u64::MAX)));
    bench.now = MonoNs(bench.now.0 + 86_400_000 * MS);
    assert_eq!(bench.event(Event::Timer), []);
}

#[test]
fn a_stop_closes_from_every_state_within_the_close_timeout() {
    let mut never = Bench::new(Venue::BinanceSpot, &[]);
    assert_eq!(never.event(Event::Stop), [Action::Report(Report::Closed)]);

    let mut connecting = Bench::up(Venue::BinanceSpot, &[]);
    assert_eq!(connecting.event(Event::Stop), [Action::Drop]);
    assert_eq!(connecting.event(Event::Connected), [Action::Drop], "it came through after all");
    assert_eq!(connecting.event(refused_connect("cancelled")), [Action::Report(Report::Closed)]);

    let mut ready = Bench::up(Venue::BinanceSpot, &[]);
    ready.event(Event::Connected);
    let stopped_at = ready.now;
    assert_eq!(ready.event(Event::Stop), [Action::Close { code: 1_000 }]);
    assert_eq!(ready.event(Event::Stop), [], "once is enough");
    assert_eq!(ready.timer(), [Action::Drop, Action::Report(Report::Closed)]);
    assert_eq!(ready.now.since_ns(stopped_at), 100 * MS);
    assert_eq!(ready.machine.next_timer(), None);

    let mut waiting = Bench::up(Venue::BinanceSpot, &[]);
    waiting.event(refused_connect("no route"));
    assert_eq!(waiting.event(Event::Stop), [Action::Report(Report::Closed)]);
}

#[test]
fn after_the_last_attempt_it_says_so_and_is_closed() {
    let mut settings = ConnectionSettings::of_venue(Venue::BinanceSpot, 1);
    settings.reconnect.attempts_max = Some(0);
    let mut bench = Bench::of(ConnectionMachine::new(settings, Vec::new()).unwrap(), MonoNs(1));
    bench.event(Event::Start);
    let reason = "no such host".to_owned();
    let expected = [Action::Report(Report::GaveUp { reason }), Action::Report(Report::Closed)];
    assert_eq!(bench.event(refused_connect("no such host")), expected);
    assert_eq!(bench.machine.state(), State::Closed);
}

#[test]
fn an_event_the_state_has_no_use_for_is_counted_and_changes_nothing() {
    let mut bench = Bench::new(Venue::BinanceSpot, &["a@trade"]);
    for event in [Event::Lost { reason: "x", code: None }, refused_connect("x"), Event::Message(b"{}"), Event::Closed] {
        assert_eq!(bench.event(event), []);
    }
    let status = bench.machine.status();
    assert_eq!((status.illegal_events, status.state), (4, State::Disconnected));
    assert_eq!(status.last_illegal_event, Some((State::Disconnected, "closed")));
}

#[test]
fn a_control_message_nobody_can_read_is_counted_and_its_start_kept() {
    let mut bench = Bench::up(Venue::BinanceSpot, &[]);
    bench.event(Event::Connected);
    bench.event(Event::Message(&[b'x'; 10_000]));
    bench.event(Event::Message(&[0xff, 0xfe]));
    let status = bench.machine.status();
    assert_eq!(status.unknown_control, 2);
    assert_eq!(status.last_unknown_control.as_deref(), Some("\u{fffd}\u{fffd}"));
}

#[test]
fn a_stream_added_or_removed_while_running_is_asked_for_at_once() {
    let mut bench = Bench::up(Venue::BybitSpot, &[]);
    bench.event(Event::Connected);
    assert!(bench.texts(Event::Subscribe("tickers.A"))[0].contains("\"subscribe\""));
    assert_eq!(bench.machine.state(), State::Connected);
    bench.event(Event::Message(br#"{"success":true,"ret_msg":"subscribe","op":"subscribe"}"#));
    assert_eq!(bench.machine.state(), State::Ready);
    assert!(bench.texts(Event::Unsubscribe("tickers.A"))[0].contains("\"unsubscribe\""));
    let long = "x".repeat(30_000);
    let actions = bench.event(Event::Subscribe(&long));
    assert!(
        matches!(&actions[..], [Action::Report(Report::Refused { reason, .. })] if reason.contains("the venue allows 21000")),
        "{actions:?}"
    );
}

#[test]
fn a_text_waits_until_everything_is_subscribed_and_then_keeps_the_venues_pace() {
    let mut bench = Bench::up(Venue::BinanceSpot, &["a@trade"]);
    let now = bench.now;
    for n in 0..9 {
        bench.machine.queue_send(format!("{{\"id\":{n}}}"), now).unwrap();
    }
    assert_eq!(bench.texts(Event::Connected).len(), 1, "the subscription alone");
    let released = bench.texts(Event::Message(br#"{"result":null,"id":1}"#));
    assert_eq!(released, ["{\"id\":0}", "{\"id\":1}", "{\"id\":2}"], "four messages a second, one was the request");
    assert_eq!(bench.machine.next_timer(), Some(MonoNs(bench.now.0 + 1_200 * MS)));
    assert_eq!(bench.timer().len(), 4);
    assert_eq!(bench.timer().len(), 2);
    bench.event(Event::Stop);
    assert_eq!(bench.machine.queue_send(String::new(), now), Err(SendRefused::Closed));
}
