//! Who pings, and when silence is a loss. Owned by the connection machine.
//!
//! ```text
//! we ping:     connected ──interval──► ping ──interval──► ping ...       each ping has an interval of its own
//!                                       └──timeout without a byte──► Stale
//! they ping:               last byte ───silence_max──────────────────► Stale
//!              {"ping":149..} ─────────► {"pong":149..}                  protocol pings: answered by the hot core
//! ```
//! Any number of our pings and the server's own can be active at once. Any byte counts: data, pong, the server's ping.
//! Where we ping, the wait starts at the first ping that no byte followed: later pings, of any kind, do not put it off,
//! and silence before a ping is no loss, for a quiet market is silent too. So a connection that died is found within the
//! shortest interval + timeout.
//!
//! The hot core writes when it last saw a byte; the machine is told of it from time to time. Knows no socket.

use super::after;
use crate::market::MonoNs;
use crate::venue::{Heartbeat, PingTemplate, ServerPingRule};
use std::time::Duration;

/// No ping is due more often, so that an interval of zero is no endless loop.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What we send to keep a connection alive. Cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ping {
    /// The venue's own ping text.
    Text,
    /// A WebSocket ping frame.
    Protocol,
    /// A text of the operator's.
    Template(PingTemplate),
}

/// One of our pings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PingSettings {
    /// What we send.
    pub ping: Ping,
    /// How often we send it. The configuration allows no less than a second, so that pings alone never use
    /// up a venue's messages.
    pub interval: Duration,
}

/// A connection's heartbeat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeartbeatSettings {
    /// What we send. Empty: only the server pings.
    pub pings: Vec<PingSettings>,
    /// The connection is lost, whatever the kernel thinks, after this long without any byte since our first unanswered
    /// ping.
    pub timeout: Duration,
    /// It is lost too after this long without any byte at all, pinged or not: for servers that ping, a few of their
    /// intervals. `None`: only an unanswered ping tells.
    pub silence_max: Option<Duration>,
    /// The server's ping in a text message, and our answer. Its protocol pings need no rule: the hot core answers them.
    pub server_ping: Option<ServerPingRule>,
}

impl HeartbeatSettings {
    /// What the venue's documents ask for.
    #[must_use]
    pub fn of_venue(heartbeat: Heartbeat) -> Self {
        let (pings, timeout, silence_max) = match heartbeat {
            Heartbeat::ServerPing { timeout, .. } => (Vec::new(), timeout, Some(timeout)),
            Heartbeat::ClientText { interval, timeout } => {
                (vec![PingSettings { ping: Ping::Text, interval }], timeout, None)
            }
        };
        Self { pings, timeout, silence_max, server_ping: None }
    }

    /// The same, and this ping of ours beside.
    #[must_use]
    pub fn and_ping(mut self, ping: Ping, interval: Duration) -> Self {
        self.pings.push(PingSettings { ping, interval });
        self
    }

    /// How long a connection that died can go unnoticed, if [`HeartbeatMonitor::poll`] is called when due: since its
    /// last byte. `None`: for ever, for nobody pings.
    #[must_use]
    pub fn detection_max(&self) -> Option<Duration> {
        let by_ping = self.pings.iter().map(|ping| ping.interval.saturating_add(self.timeout));
        by_ping.chain(self.silence_max).min()
    }
}

/// What is due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Beat {
    /// Send this ping.
    Ping(Ping),
    /// Nothing was heard for too long.
    Stale {
        /// For how long.
        silent_ns: u64,
    },
}

/// One connection's heartbeat while it is up.
#[derive(Debug)]
pub struct HeartbeatMonitor {
    settings: HeartbeatSettings,
    /// When each ping is due next; as long as `settings.pings`.
    ping_at: Box<[MonoNs]>,
    /// `None` while the connection is down.
    up: Option<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// When a byte was last seen.
    last_seen: MonoNs,
    /// When the first ping went out that no byte followed.
    unanswered_since: Option<MonoNs>,
}

impl HeartbeatMonitor {
    /// Down until [`connected`](Self::connected).
    #[must_use]
    pub fn new(settings: HeartbeatSettings) -> Self {
        let ping_at = vec![MonoNs(u64::MAX); settings.pings.len()].into();
        Self { settings, ping_at, up: None }
    }

    /// The upgrade is done: its last byte counts as seen.
    pub fn connected(&mut self, now: MonoNs) {
        for (at, ping) in self.ping_at.iter_mut().zip(&self.settings.pings) {
            *at = after(now, ping.interval.max(INTERVAL_MIN));
        }
        self.up = Some(Times { last_seen: now, unanswered_since: None });
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.up = None;
    }

    /// A byte was seen at `last_seen`. Earlier times than known change nothing.
    pub fn seen(&mut self, last_seen: MonoNs) {
        if let Some(times) = &mut self.up {
            times.last_seen = times.last_seen.max(last_seen);
            // A byte that came before the ping answers nothing, however late it is reported.
            times.unanswered_since = times.unanswered_since.filter(|&since| times.last_seen <= since);
        }
    }

    /// What is due at `now`; to be called until it gives `None`, for several pings may be due at once. A ping is due
    /// once per interval: after a late call the missed ones are not made up for.
    pub fn poll(&mut self, now: MonoNs) -> Option<Beat> {
        let stale_at = self.stale_at();
        let times = self.up.as_mut()?;
        if stale_at.is_some_and(|stale_at| stale_at <= now) {
            return Some(Beat::Stale { silent_ns: now.since_ns(times.last_seen) });
        }
        let (at, due) = self.ping_at.iter_mut().zip(&self.settings.pings).find(|(at, _)| **at <= now)?;
        *at = after(now, due.interval.max(INTERVAL_MIN));
        times.unanswered_since.get_or_insert(now);
        Some(Beat::Ping(due.ping.clone()))
    }

    /// When [`poll`](Self::poll) has something to say at the earliest.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonoNs> {
        self.up?;
        self.ping_at.iter().copied().chain(self.stale_at()).min()
    }

    /// If `message` is the server's ping, writes the answer to `out` (cleared first) and says true.
    pub fn answer(&self, message: &[u8], out: &mut Vec<u8>) -> bool {
        self.settings.server_ping.as_ref().is_some_and(|rule| rule.answer(message, out))
    }

    /// When silence is a loss, if nothing comes until then.
    fn stale_at(&self) -> Option<MonoNs> {
        let times = self.up?;
        let by_ping = times.unanswered_since.map(|since| after(since, self.settings.timeout));
        let by_silence = self.settings.silence_max.map(|max| after(times.last_seen, max));
        by_ping.into_iter().chain(by_silence).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::{ReplyTemplate, ServerPing};
    use proptest::prelude::*;

    fn s(seconds: u64) -> MonoNs {
        MonoNs(seconds * 1_000_000_000)
    }

    fn client_text() -> HeartbeatSettings {
        HeartbeatSettings::of_venue(Heartbeat::ClientText {
            interval: Duration::from_secs(20),
            timeout: Duration::from_secs(10),
        })
    }

    /// Our pings, each with its interval in seconds.
    fn pings(pings: &[(Ping, u64)], timeout_s: u64) -> HeartbeatSettings {
        let timeout = Duration::from_secs(timeout_s);
        let none = HeartbeatSettings { pings: Vec::new(), timeout, silence_max: None, server_ping: None };
        pings.iter().fold(none, |settings, (ping, s)| settings.and_ping(ping.clone(), Duration::from_secs(*s)))
    }

    fn template(text: &str) -> Ping {
        Ping::Template(PingTemplate::parse(text).unwrap())
    }

    #[test]
    fn a_client_that_pings_does_so_every_interval_and_is_stale_an_answer_time_after_it() {
        let mut monitor = HeartbeatMonitor::new(client_text());
        assert_eq!((monitor.poll(s(0)), monitor.next_timer()), (None, None), "down");
        monitor.connected(s(100));
        assert_eq!(monitor.next_timer(), Some(s(120)));
        assert_eq!(monitor.poll(s(119)), None);
        assert_eq!(monitor.poll(s(120)), Some(Beat::Ping(Ping::Text)));
        assert_eq!(monitor.poll(s(120)), None, "once");
        assert_eq!(monitor.next_timer(), Some(s(130)));
        assert_eq!(monitor.poll(s(130)), Some(Beat::Stale { silent_ns: 30_000_000_000 }));
    }

    #[test]
    fn the_wait_for_an_answer_starts_at_the_ping_however_short_the_silence_before_it() {
        let mut monitor = HeartbeatMonitor::new(client_text());
        monitor.connected(s(0));
        assert_eq!(monitor.poll(s(20)), Some(Beat::Ping(Ping::Text)));
        monitor.seen(s(25));
        assert_eq!(monitor.next_timer(), Some(s(40)), "answered");
        monitor.seen(s(39));
        assert_eq!(monitor.poll(s(40)), Some(Beat::Ping(Ping::Text)));
        assert_eq!(monitor.poll(s(49)), None);
        assert_eq!(monitor.poll(s(50)), Some(Beat::Stale { silent_ns: 11_000_000_000 }));
    }

    #[test]
    fn only_a_byte_after_the_ping_answers_it() {
        for (seen_at, is_stale) in [(3, true), (20, true), (21, false)] {
            let mut monitor = HeartbeatMonitor::new(client_text());
            monitor.connected(s(0));
            assert_eq!(monitor.poll(s(20)), Some(Beat::Ping(Ping::Text)));
            monitor.seen(s(seen_at));
            monitor.seen(s(1));
            assert_eq!(matches!(monitor.poll(s(30)), Some(Beat::Stale { .. })), is_stale, "seen at {seen_at} s");
        }
    }

    #[test]
    fn pings_that_go_out_while_one_is_unanswered_do_not_put_the_loss_off() {
        let settings = pings(&[(Ping::Text, 3)], 10);
        let mut monitor = HeartbeatMonitor::new(settings);
        monitor.connected(s(0));
        for at in [3, 6, 9, 12] {
            assert_eq!(monitor.poll(s(at)), Some(Beat::Ping(Ping::Text)));
        }
        assert_eq!(monitor.next_timer(), Some(s(13)));
        assert_eq!(monitor.poll(s(13)), Some(Beat::Stale { silent_ns: 13_000_000_000 }));
        // What was unanswered on one connection is nothing to the next.
        monitor.disconnected();
        monitor.connected(s(14));
        assert_eq!(monitor.next_timer(), Some(s(17)));
    }

    #[test]
    fn silence_that_nobody_pinged_into_is_no_loss() {
        let mut monitor = HeartbeatMonitor::new(client_text());
        monitor.connected(s(0));
        assert_eq!(monitor.poll(s(3_600)), Some(Beat::Ping(Ping::Text)), "a late call pings first");
        assert!(matches!(monitor.poll(s(3_610)), Some(Beat::Stale { .. })));
    }

    #[test]
    fn where_the_server_pings_we_only_listen() {
        let heartbeat = Heartbeat::ServerPing { interval: Duration::from_secs(20), timeout: Duration::from_secs(60) };
        let mut monitor = HeartbeatMonitor::new(HeartbeatSettings::of_venue(heartbeat));
        monitor.connected(s(0));
        assert_eq!(monitor.next_timer(), Some(s(60)));
        assert_eq!(monitor.poll(s(59)), None);
        assert!(matches!(monitor.poll(s(60)), Some(Beat::Stale { .. })));
        monitor.disconnected();
        assert_eq!(monitor.poll(s(600)), None);
    }

    #[test]
    fn a_late_poll_sends_one_ping_not_all_it_missed() {
        let settings = pings(&[], 3_600).and_ping(Ping::Protocol, Duration::from_millis(10));
        let mut monitor = HeartbeatMonitor::new(settings);
        monitor.connected(s(0));
        assert_eq!(monitor.poll(s(50)), Some(Beat::Ping(Ping::Protocol)));
        assert_eq!(monitor.poll(s(50)), None);
        assert_eq!(monitor.next_timer(), Some(MonoNs(50_010_000_000)), "the interval is the one that was asked for");
    }

    #[test]
    fn several_pings_go_out_side_by_side_each_at_its_own_interval() {
        let json = template("{\"id\":{id},\"op\":\"ping\"}");
        let mut monitor =
            HeartbeatMonitor::new(pings(&[(Ping::Protocol, 10), (json.clone(), 15), (Ping::Text, 30)], 60));
        monitor.connected(s(0));
        let mut sent = Vec::new();
        while let Some(at) = monitor.next_timer().filter(|&at| at <= s(30)) {
            monitor.seen(MonoNs(at.0 - 1));
            let Some(Beat::Ping(ping)) = monitor.poll(at) else { panic!("a timer without a ping") };
            sent.push((at.0 / 1_000_000_000, ping));
        }
        let (protocol, text) = (Ping::Protocol, Ping::Text);
        let expected = [
            (10, protocol.clone()),
            (15, json.clone()),
            (20, protocol.clone()),
            (30, protocol),
            (30, json),
            (30, text),
        ];
        assert_eq!(sent, expected);
        assert_eq!(monitor.poll(s(30)), None);
    }

    #[test]
    fn a_ping_of_one_kind_does_not_put_off_the_loss_that_another_began() {
        let mut monitor = HeartbeatMonitor::new(pings(&[(Ping::Protocol, 7), (Ping::Text, 8)], 10));
        monitor.connected(s(0));
        for at in [7, 8, 14, 16] {
            assert!(matches!(monitor.poll(s(at)), Some(Beat::Ping(_))), "{at}");
        }
        assert_eq!(monitor.next_timer(), Some(s(17)));
        assert_eq!(monitor.poll(s(17)), Some(Beat::Stale { silent_ns: 17_000_000_000 }));
    }

    #[test]
    fn a_server_that_pings_is_watched_beside_our_own_pings_and_the_earlier_loss_counts() {
        let server = Heartbeat::ServerPing { interval: Duration::from_secs(20), timeout: Duration::from_secs(60) };
        let settings = HeartbeatSettings::of_venue(server).and_ping(Ping::Protocol, Duration::from_secs(5));
        assert_eq!(settings.detection_max(), Some(Duration::from_secs(60)));
        let settings = HeartbeatSettings { timeout: Duration::from_secs(10), ..settings };
        assert_eq!(settings.detection_max(), Some(Duration::from_secs(15)));
        let mut monitor = HeartbeatMonitor::new(settings);
        monitor.connected(s(0));
        assert_eq!(monitor.poll(s(5)), Some(Beat::Ping(Ping::Protocol)));
        assert!(matches!(monitor.poll(s(15)), Some(Beat::Stale { .. })));
    }

    #[test]
    fn the_servers_ping_in_any_form_is_answered_by_its_rule() {
        let value = ReplyTemplate::parse("{\"pong\":{value}}").unwrap();
        let rule = ServerPingRule::new(ServerPing::Field("ping".into()), value).unwrap();
        let monitor = HeartbeatMonitor::new(HeartbeatSettings { server_ping: Some(rule), ..client_text() });
        let mut out = Vec::new();
        assert!(monitor.answer(b"{\"ping\":1492420473027}", &mut out));
        assert_eq!(out, b"{\"pong\":1492420473027}");
        assert!(!monitor.answer(b"ping", &mut out));
        assert!(!HeartbeatMonitor::new(client_text()).answer(b"ping", &mut out), "no rule");
    }

    /// Runs a monitor over arrivals at these times (ms) and gives when it was found stale and the last byte before.
    fn found_stale(settings: &HeartbeatSettings, mut arrivals_ms: Vec<u64>) -> (MonoNs, MonoNs) {
        arrivals_ms.sort_unstable();
        let mut arrivals = arrivals_ms.into_iter().map(|ms| MonoNs(ms * 1_000_000)).peekable();
        let mut monitor = HeartbeatMonitor::new(settings.clone());
        let (mut now, mut last_seen) = (s(0), s(0));
        monitor.connected(now);
        for _ in 0..1_000_000 {
            let timer = monitor.next_timer().expect("somebody watches");
            assert!(timer > now, "every beat was taken, so the next is later");
            if let Some(arrival) = arrivals.next_if(|&arrival| arrival <= timer) {
                (now, last_seen) = (arrival.max(now), arrival.max(last_seen));
                monitor.seen(arrival);
            } else {
                now = timer;
            }
            while let Some(beat) = monitor.poll(now) {
                if matches!(beat, Beat::Stale { .. }) {
                    return (now, last_seen);
                }
            }
        }
        panic!("a connection without bytes was never found stale");
    }

    proptest! {
        #[test]
        fn a_dead_connection_is_found_within_interval_and_timeout_whatever_came_before(
            intervals_ms in proptest::collection::vec(1_000..60_000_u64, 0..4),
            timeout_ms in 1_000..30_000_u64,
            silence_ms in proptest::option::of(1_000..90_000_u64),
            arrivals_ms in proptest::collection::vec(1..300_000_u64, 0..200),
        ) {
            let ms = Duration::from_millis;
            let mut settings = HeartbeatSettings { timeout: ms(timeout_ms), silence_max: silence_ms.map(ms), ..pings(&[], 0) };
            for (kind, &interval) in intervals_ms.iter().enumerate() {
                let ping = [Ping::Protocol, Ping::Text, template("ping {id}")][kind % 3].clone();
                settings = settings.and_ping(ping, ms(interval));
            }
            let Some(detection_max) = settings.detection_max() else { return Ok(()) };
            let (found_at, last_seen) = found_stale(&settings, arrivals_ms);
            let silence = u128::from(found_at.since_ns(last_seen));
            prop_assert!(silence <= detection_max.as_nanos(), "{silence} ns, at most {detection_max:?}");
            // And never early: an answer has its whole time, unless all silence is limited.
            let shortest = settings.timeout.min(settings.silence_max.unwrap_or(Duration::MAX));
            prop_assert!(silence >= shortest.as_nanos(), "{silence} ns is no silence");
        }
    }
}
