//! What control knows, in the words of the outputs: reports as events, machines as `tickwire ctl status` shows them.

use super::driver::Driver;
use super::legs::{LegIo, PulseAt};
use crate::control::{ConnectionMachine, Leg, Operation, Relay, RelayStatus, Report, SilentKind, SlotSet, State};
use crate::hot::{RecordOpener, mono_now};
use crate::market::{MonoNs, Venue};
use crate::telemetry::{
    ConnectionStatus, Happening, HeartbeatStatus, LegStatus, PendingRequestStatus, RaceStatus, RotationStatus,
    SampleReport, SubscriptionStatus,
};
use crate::venue::protocol;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a driver tells the reports. Cold: locked a few times a second.
#[derive(Clone, Debug, Default)]
pub(super) struct DriverStatus {
    pub(super) relay: Option<RelayStatus>,
    /// It could not even begin: nothing is left to subscribe.
    pub(super) has_failed: bool,
    pub(super) last_error: Option<String>,
    pub(super) samples: Vec<SampleReport>,
    pub(super) established: Option<String>,
    /// Who opens the TLS records of the last socket that the hot core got; `None` without TLS.
    pub(super) opener: Option<RecordOpener>,
    /// Connects whose records were to be opened in place and stayed with rustls.
    pub(super) tls_fallbacks: u64,
    /// Lost connections and failed connects by reason.
    pub(super) losses: BTreeMap<&'static str, u64>,
    /// Streams of symbols that the venue does not list: wanted, never asked for.
    pub(super) unlisted_streams: usize,
    /// Protocol pings of a cold connection.
    pub(super) cold_pings: u64,
    /// Missing ids that were not refilled, by reason.
    pub(super) not_refilled: BTreeMap<&'static str, u64>,
}

/// A status with its one writer.
pub(super) type SharedStatus = Arc<Mutex<DriverStatus>>;

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A report as an event; `None` for what is told in another way.
pub(super) fn happening(report: Report) -> Option<Happening> {
    Some(match report {
        Report::Connected { leg } => Happening::Connected { leg: leg.number() },
        Report::Authenticated { leg } => Happening::Authenticated { leg: leg.number() },
        Report::Ready => Happening::Ready,
        Report::Reconnecting { attempt, delay, reason } => {
            Happening::Reconnecting { attempt, delay_ms: ms(delay), reason }
        }
        Report::Refused { stream, reason } => Happening::Refused { stream, reason },
        Report::GaveUp { reason } => Happening::GaveUp { reason },
        Report::Silent { stream, kind, silent } => {
            let kind = match kind {
                SilentKind::NeverSpoke => "never_spoke",
                SilentKind::Stopped => "stopped",
            };
            Happening::Silent { stream, kind: kind.to_owned(), for_ms: ms(silent) }
        }
        Report::Recovered { stream, silent } => Happening::Recovered { stream, after_ms: ms(silent) },
        Report::Resubscribing { stream } => Happening::Repairing { stream, how: "resubscribe".to_owned() },
        Report::MoveWanted { stream } => Happening::Repairing { stream, how: "move".to_owned() },
        Report::Disconnected { reason } => Happening::Disconnected { reason },
        Report::Rotating { reason } => Happening::Rotating { reason },
        Report::SuccessorFailed { attempt, delay, reason } => {
            Happening::SuccessorFailed { attempt, delay_ms: ms(delay), reason }
        }
        Report::Rotated { from, to, took, reason, unjoined } => {
            Happening::Rotated { from: from.number(), to: to.number(), took_ms: ms(took), reason, unjoined }
        }
        Report::NotRotated { reason } => Happening::NotRotated { reason },
        Report::Closed => Happening::Closed,
        // The relay itself acts on these.
        Report::MostlySilent | Report::GoingAway => return None,
    })
}

/// A connection of which only this is known: it waits for its venue's instrument list, or its driver does not answer.
pub(super) fn bare(name: &str, venue: Venue, state: &str) -> ConnectionStatus {
    ConnectionStatus {
        name: name.to_owned(),
        venue: venue.name().to_owned(),
        state: state.to_owned(),
        ..ConnectionStatus::default()
    }
}

/// Everything that is known of one connection.
pub(super) fn connection(driver: &Driver, relay: &Relay, legs: &[LegIo]) -> ConnectionStatus {
    let now = mono_now();
    let (current, machine) = relay.current();
    let status = relay.status();
    let in_ms = |at: MonoNs| at.since_ns(now) / 1_000_000;
    let ago_ms = |at: MonoNs| now.since_ns(at) / 1_000_000;
    let attached = legs.iter().find(|io| io.leg == current).and_then(|io| io.attached.as_ref());
    // Of a socket that is not there nothing is fresh.
    let place = attached.map_or(current.parity(), |attached| attached.place);
    let last_byte = attached.map(|attached| {
        let last = attached.cold_seen.max(MonoNs(attached.socket.last_seen_ns.get()));
        ago_ms(last)
    });
    let is_waiting = matches!(machine.state(), State::Reconnecting { .. } | State::Connecting);
    ConnectionStatus {
        name: driver.plan.name.clone(),
        venue: driver.plan.venue.name().to_owned(),
        core: driver.core.cpu,
        state: machine.state().name().to_lowercase(),
        attempt: status.machine.attempt,
        next_attempt_in_ms: machine.next_timer().filter(|_| is_waiting).map(in_ms),
        reconnects: status.machine.reconnects,
        last_loss: status.machine.last_loss.clone(),
        legs: relay
            .machines()
            .map(|(leg, machine)| leg_status(driver, machine, legs, (leg, leg == current), now))
            .collect(),
        race: RaceStatus {
            won: driver.stats.won.get(),
            lost: driver.stats.lost.get(),
            lag_ns: super::report::percentiles(&driver.stats.lag),
        },
        rotation: RotationStatus {
            next_in_ms: relay.rotates_at().map(in_ms),
            is_running: relay.is_rotating(),
            done: status.counters.rotations + status.counters.takeovers,
            failed: status.counters.rotations_failed,
        },
        heartbeat: HeartbeatStatus {
            last_byte_ms_ago: last_byte,
            pings_sent: status.machine.pings_sent,
            pings_answered: driver.stats.pings.get(),
            stale: status.machine.stale,
        },
        subscriptions: subscriptions(driver, machine, place, now),
        pending_requests: machine
            .subscriptions()
            .in_flight()
            .map(|(id, operation, streams, sent_at, _)| PendingRequestStatus {
                id,
                operation: match operation {
                    Operation::Subscribe => "subscribe",
                    Operation::Unsubscribe => "unsubscribe",
                }
                .to_owned(),
                streams,
                age_ms: ago_ms(sent_at),
            })
            .collect(),
    }
}

fn leg_status(
    driver: &Driver,
    machine: &ConnectionMachine,
    legs: &[LegIo],
    (leg, is_lead): (Leg, bool),
    now: MonoNs,
) -> LegStatus {
    let attached = legs.iter().find(|io| io.leg == leg).and_then(|io| io.attached.as_ref());
    let connected = attached.map(|attached| MonoNs(attached.socket.connected_ns.get())).filter(|at| at.0 > 0);
    let last_data = attached.and_then(|attached| {
        let of = |&pulse: &PulseAt| driver.core.last_data(driver.plan.venue, &driver.shared, pulse, attached.place);
        attached.pulses.iter().map(of).max().filter(|&last| connected.is_some_and(|connected| last > connected))
    });
    LegStatus {
        leg: u64::from(leg.number()),
        state: machine.state().name().to_lowercase(),
        is_lead,
        connected_for_ms: connected.map(|at| now.since_ns(at) / 1_000_000),
        last_data_ms_ago: last_data.map(|at| now.since_ns(at) / 1_000_000),
    }
}

fn subscriptions(driver: &Driver, machine: &ConnectionMachine, place: u8, now: MonoNs) -> Vec<SubscriptionStatus> {
    let protocol = protocol(driver.plan.venue);
    let subscriptions = machine.subscriptions();
    let wanted = subscriptions.slots(SlotSet::Wanted).map(|(slot, stream)| {
        let bits = machine.liveness().bits(slot);
        let (channel, symbol) = match protocol.channel_of(stream) {
            Some((channel, symbol)) => (channel.native.to_string(), symbol.unwrap_or_default()),
            None => (String::new(), String::new()),
        };
        let pulse = super::legs::pulse_of(&driver.shared, &driver.plan, stream);
        let last = driver.core.last_data(driver.plan.venue, &driver.shared, pulse, place);
        SubscriptionStatus {
            stream: stream.to_owned(),
            channel,
            symbol,
            sent: bits.sent,
            acknowledged: bits.acknowledged,
            first_data: bits.first_data,
            fresh: bits.fresh,
            refused: subscriptions.reason(slot).map(ToString::to_string),
            last_data_ms_ago: (bits.first_data && last.0 > 0).then(|| now.since_ns(last) / 1_000_000),
        }
    });
    wanted.collect()
}
