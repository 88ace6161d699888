//! The connection machine's eye on its subscriptions: what each owes, what it did, and what follows from that.
//!
//! ```text
//! request sent, ack ─► liveness ◄─ last data of each slot, sampled by the driver
//!                         └─► Silent, Recovered: told      Repair: resubscribe | move | replace the connection
//! ```

use super::{Action, ConnectionMachine, Expectation, Repair, Report, Silence, SlotId, SlotSet, Subscriptions, Verdict};
use crate::market::MonoNs;
use crate::venue::ChannelKind;
use std::time::Duration;

impl ConnectionMachine {
    /// A subscription's last data came at `last_data`, as the hot core noted it. Sampled about twice a second.
    pub fn seen(&mut self, slot: SlotId, last_data: MonoNs, now: MonoNs) {
        self.liveness.seen(slot, last_data, now);
    }

    /// The liveness of the subscriptions, to be read.
    #[must_use]
    pub const fn liveness(&self) -> &super::Liveness {
        &self.liveness
    }

    /// True if this connection, a successor, has had data of everything that speaks on its predecessor.
    #[must_use]
    pub fn speaks_for(&self, predecessor: &Self) -> bool {
        predecessor.subscriptions.slots(SlotSet::Active).all(|(slot, stream)| {
            let ours = self.subscriptions.slot(stream);
            !predecessor.liveness.bits(slot).fresh
                || ours.is_none_or(|ours| {
                    self.liveness.bits(ours).first_data || !self.subscriptions.is_in(ours, SlotSet::Wanted)
                })
        })
    }

    /// The subscriptions that are silent, with their streams.
    pub fn silences(&self) -> impl Iterator<Item = (&str, Silence)> {
        self.liveness.silent().map(|silence| (self.subscriptions.stream(silence.slot), silence))
    }

    /// Learns what streams owe that were not known before.
    pub(super) fn know_expectations(&mut self) {
        for at in self.expectations.len()..self.subscriptions.len() {
            let stream = self.subscriptions.stream(SlotId::at(at));
            let kind = self.protocol.0.channel_of(stream).map(|(channel, _)| channel.kind);
            let within = |limit: Option<Duration>| limit.map_or(Expectation::RATE, Expectation::within);
            self.expectations.push(match kind {
                None | Some(ChannelKind::Liquidation) => Expectation::NONE,
                Some(ChannelKind::Trade | ChannelKind::AggTrade) => within(self.first_within.trade),
                Some(_) => within(self.first_within.data),
            });
        }
    }

    /// Tells liveness which subscriptions are confirmed by now, and which have ended.
    pub(super) fn note_acks(&mut self, now: MonoNs) {
        for at in 0..self.subscriptions.len() {
            let slot = SlotId::at(at);
            let bits = self.liveness.bits(slot);
            if self.subscriptions.is_in(slot, SlotSet::Active) {
                if bits.sent && !bits.acknowledged {
                    self.liveness.acknowledged(slot, now);
                }
            } else if bits.sent
                && !self.subscriptions.may_be_live(slot)
                && !self.subscriptions.is_in(slot, SlotSet::Unsent)
            {
                self.liveness.ended(slot);
            }
        }
    }

    /// Says which subscriptions are silent, and does what can be done here about it.
    pub(super) fn judge(&mut self, now: MonoNs, actions: &mut Vec<Action>) {
        let mut verdicts = std::mem::take(&mut self.verdicts);
        self.liveness.poll(now, &mut |verdict| verdicts.push(verdict));
        for verdict in verdicts.drain(..) {
            let name = |subscriptions: &Subscriptions, slot| subscriptions.stream(slot).to_owned();
            let report = match verdict {
                Verdict::Silent { slot, kind, since } => {
                    let silent = Duration::from_nanos(now.since_ns(since));
                    Report::Silent { stream: name(&self.subscriptions, slot), kind, silent }
                }
                Verdict::Recovered { slot, silent_ns, .. } => Report::Recovered {
                    stream: name(&self.subscriptions, slot),
                    silent: Duration::from_nanos(silent_ns),
                },
                Verdict::Repair(Repair::Resubscribe(slot)) => {
                    if !self.subscriptions.resubscribe(slot) {
                        continue;
                    }
                    Report::Resubscribing { stream: name(&self.subscriptions, slot) }
                }
                Verdict::Repair(Repair::Move(slot)) => Report::MoveWanted { stream: name(&self.subscriptions, slot) },
                Verdict::Repair(Repair::Connection) => Report::MostlySilent,
            };
            actions.push(Action::Report(report));
        }
        self.verdicts = verdicts;
    }
}
