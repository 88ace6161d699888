//! Who pings, and when silence is a loss. Owned by the connection machine.
//!
//! ```text
//! connected ──interval──► ping ──interval──► ping ...        (venue text, protocol ping, or none: the server pings)
//! last byte ─────────stale_after─────────► Stale             (any byte counts: data, pong, the server's ping)
//! ```
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
    /// How often; at least a second, so that pings alone never use up a venue's messages.
    pub interval: Duration,
    /// After this long without any byte the connection is lost, whatever the kernel thinks.
    pub stale_after: Duration,
}

impl HeartbeatSettings {
    /// What the venue's documents ask for.
    #[must_use]
    pub const fn of_venue(heartbeat: Heartbeat) -> Self {
        match heartbeat {
            Heartbeat::ServerPing { interval, timeout } => Self { ping: Ping::None, interval, stale_after: timeout },
            Heartbeat::ClientText { interval, timeout } => {
                Self { ping: Ping::Text, interval, stale_after: interval.saturating_add(timeout) }
            }
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
    /// When the next ping is due and when a byte was last seen; `None` while the connection is down.
    up: Option<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    ping_at: MonoNs,
    last_seen: MonoNs,
}

impl HeartbeatMonitor {
    /// Down until [`connected`](Self::connected).
    #[must_use]
    pub fn new(settings: HeartbeatSettings) -> Self {
        let interval = settings.interval.max(Duration::from_secs(1));
        Self { settings: HeartbeatSettings { interval, ..settings }, up: None }
    }

    /// The upgrade is done: its last byte counts as seen.
    pub fn connected(&mut self, now: MonoNs) {
        self.up = Some(Times { ping_at: after(now, self.settings.interval), last_seen: now });
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.up = None;
    }

    /// A byte was seen at `last_seen`. Earlier times than known change nothing.
    pub fn seen(&mut self, last_seen: MonoNs) {
        if let Some(times) = &mut self.up {
            times.last_seen = times.last_seen.max(last_seen);
        }
    }

    /// What is due at `now`. A ping is due once per interval: after a late call the missed ones are not made up for.
    pub fn poll(&mut self, now: MonoNs) -> Option<Beat> {
        let times = self.up.as_mut()?;
        if now >= after(times.last_seen, self.settings.stale_after) {
            return Some(Beat::Stale { silent_ns: now.since_ns(times.last_seen) });
        }
        if self.settings.ping == Ping::None || now < times.ping_at {
            return None;
        }
        times.ping_at = after(now, self.settings.interval);
        Some(Beat::Ping(self.settings.ping))
    }

    /// When [`poll`](Self::poll) has something to say at the earliest.
    #[must_use]
    pub fn next_timer(&self) -> Option<MonoNs> {
        let times = self.up?;
        let stale_at = after(times.last_seen, self.settings.stale_after);
        Some(if self.settings.ping == Ping::None { stale_at } else { stale_at.min(times.ping_at) })
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
    fn any_byte_keeps_it_alive_and_an_old_report_changes_nothing() {
        let mut monitor = HeartbeatMonitor::new(client_text());
        monitor.connected(s(0));
        monitor.seen(s(25));
        monitor.seen(s(3));
        assert_eq!(monitor.poll(s(54)), Some(Beat::Ping(Ping::Text)));
        assert!(matches!(monitor.poll(s(55)), Some(Beat::Stale { .. })));
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
            interval: Duration::ZERO,
            stale_after: Duration::from_secs(3_600),
        };
        let mut monitor = HeartbeatMonitor::new(settings);
        monitor.connected(s(0));
        assert_eq!(monitor.poll(s(50)), Some(Beat::Ping(Ping::Protocol)));
        assert_eq!(monitor.poll(s(50)), None);
        assert_eq!(monitor.next_timer(), Some(s(51)), "an interval of zero is a second");
    }
}
