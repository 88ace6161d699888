//! What goes wrong on request.

use crate::market::Venue;

/// Faults ordered beforehand; none by default. Connections are counted per venue from 1, in the order they are accepted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Faults {
    /// Connections to cut in the middle of a frame: venue, which connection, after how many bytes of payload.
    pub cut_mid_frame: Vec<(Venue, u64, u64)>,
    /// Connections to cut in the middle of the upgrade: venue, which connection.
    pub cut_upgrade: Vec<(Venue, u64)>,
    /// Subscribe requests, counted per venue from 1, that are read and never answered: the connection is reset.
    pub cut_before_ack: Vec<(Venue, u64)>,
}

/// A way to lose connections, now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kill {
    /// Each open connection gets half of a frame, then a reset.
    MidFrame,
    /// Each open connection is reset.
    Reset,
    /// Each open connection gets a close frame with this code.
    Close(u16),
    /// The next connection gets half of the answer to its upgrade, then a reset. Open ones stay.
    MidHandshake,
    /// The connection that sends the next subscribe request is reset before the acknowledgement. Open ones stay until then.
    MidBatch,
}

/// The faults that wait for one venue's connections.
#[derive(Debug, Default)]
pub(super) struct PendingFaults {
    pub(super) ordered: Faults,
    pub(super) upgrades: u32,
    pub(super) batches: u32,
}

impl PendingFaults {
    /// True if this connection's upgrade is to be cut.
    pub(super) fn takes_upgrade(&mut self, venue: Venue, connection: u64) -> bool {
        take_one(&mut self.upgrades) || self.ordered.cut_upgrade.contains(&(venue, connection))
    }

    /// True if this subscribe request is never to be answered.
    pub(super) fn takes_batch(&mut self, venue: Venue, request: u64) -> bool {
        take_one(&mut self.batches) || self.ordered.cut_before_ack.contains(&(venue, request))
    }

    /// Payload bytes after which this connection is to be cut.
    pub(super) fn cut_after(&self, venue: Venue, connection: u64) -> Option<u64> {
        let mut cuts = self.ordered.cut_mid_frame.iter();
        cuts.find(|cut| (cut.0, cut.1) == (venue, connection)).map(|cut| cut.2)
    }
}

fn take_one(count: &mut u32) -> bool {
    let is_left = *count > 0;
    *count = count.saturating_sub(1);
    is_left
}
