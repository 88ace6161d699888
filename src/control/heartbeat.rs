//! Who pings, and when silence is a loss. Owned by the connection machine.
//!
//! ```text
//! we ping:     connected ──interval──► ping ──interval──► ping ...
//!                                       └──timeout without a byte──► Stale
//! server pings:            last byte ─────timeout──────────────────► Stale
//! ```
//! Any byte counts: data, pong, the server's ping. Where we ping, the wait starts at the first ping that no byte followed:
//! later pings do not put it off, and silence before a ping is no loss, for a quiet market is silent too.
//!
//! The hot core writes when it last saw a byte; the machine is told of it from time to time. Knows no socket.

use super::after;
use crate::market::MonoNs;
use crate::venue::Heartbeat;
use std::time::Duration;

/// What we send to keep a connection alive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ping {
    /// Nothing: the server pings and the hot core answers.
    None,
    /// The venue's own ping text.
    Text,
    /// A WebSocket ping frame.
    Protocol,
}

/// A connection's heartbeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeartbeatSettings {
    /// What we send.
    pub ping: Ping,
    /// How often we send it; never zero. Unused where the server pings. The configuration allows no less than a second,
    /// so that pings alone never use up a venue's messages.
    pub interval: Duration,
    /// The connection is lost, whatever the kernel thinks, after this long without any byte: since our first unanswered
    /// ping, or, where the server pings, since the last byte.
    pub timeout: Duration,
}

impl HeartbeatSettings {
    /// What the venue's documents ask for.
    #[must_use]
    pub const fn of_venue(heartbeat: Heartbeat) -> Self {
        match heartbeat {
            Heartbeat::ServerPing { interval, timeout } => Self { ping: Ping::None, interval, timeout },
            Heartbeat::ClientText { interval, timeout } => Self { ping: Ping::Text, interval, timeout },
        }
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beat {
    /// Send this kind of ping.
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
    /// `None` while the connection is down.
    up: Option<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// When the next ping is due.
    ping_at: MonoNs,
    /// When a byte was last seen.
    last_seen: MonoNs,
    /// When the first ping went out that no byte followed.
    unanswered_since: Option<MonoNs>,
}

impl HeartbeatMonitor {
    /// Down until [`connected`](Self::connected).
    #[must_use]
    pub const fn new(settings: HeartbeatSettings) -> Self {
        Self { settings, up: None }
    }

    /// The upgrade is done: its last byte counts as seen.
    pub fn connected(&mut self, now: MonoNs) {
        self.up = Some(Times { ping_at: after(now, self.settings.interval), last_seen: now, unanswered_since: None });
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

    /// What is due at `now`. A ping is due once per interval: after a late call the missed ones are not made up for.
    pub fn poll(&mut self, now: MonoNs) -> Option<Beat> {
        let stale_at = self.stale_at();
        let times = self.up.as_mut()?;
        if stale_at.is_some_and(|stale_at| stale_at <= now) {
            return Some(Beat::Stale { silent_ns: now.since_ns(times.last_seen) });
        }
        if self.settings.ping == Ping::None || now < times.ping_at {
            return None;
        }
        times.ping_at = after(now, self.settings.interval);
        times.unanswered_since.get_or_insert(now);
        Some(Beat::Ping(self.settings.ping))
    }

    /// When [`poll`](Self::poll) has something to say at the earliest.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonoNs> {
        let ping_at = self.up.filter(|_| self.settings.ping != Ping::None).map(|times| times.ping_at);
        ping_at.into_iter().chain(self.stale_at()).min()
    }

    /// When silence is a loss, if nothing comes until then.
    fn stale_at(&self) -> Option<MonoNs> {
        let times = self.up?;
        let silent_since = match self.settings.ping {
            Ping::None => Some(times.last_seen),
            Ping::Text | Ping::Protocol => times.unanswered_since,
        };
        silent_since.map(|since| after(since, self.settings.timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> MonoNs {
        MonoNs(seconds * 1_000_000_000)
    }

    fn client_text() -> HeartbeatSettings {
        HeartbeatSettings::of_venue(Heartbeat::ClientText {
            interval: Duration::from_secs(20),
            timeout: Duration::from_secs(10),
        })
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
        let settings =
            HeartbeatSettings { ping: Ping::Text, interval: Duration::from_secs(3), timeout: Duration::from_secs(10) };
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
        let settings = HeartbeatSettings {
            ping: Ping::Protocol,
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(3_600),
        };
        let mut monitor = HeartbeatMonitor::new(settings);
        monitor.connected(s(0));
        assert_eq!(monitor.poll(s(50)), Some(Beat::Ping(Ping::Protocol)));
        assert_eq!(monitor.poll(s(50)), None);
        assert_eq!(monitor.next_timer(), Some(MonoNs(50_010_000_000)), "the interval is the one that was asked for");
    }
}
