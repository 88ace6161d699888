//! One connection's rotation as the hot core knows it: the successor's slot, taken beforehand, and the tables by which
//! events are told apart.
//!
//! ```text
//! begin ─► lease of the successor's slot, Overlap ─► BeginOverlap      attach of the successor takes that lease
//!                 └── progress, read while the core has it             end ─► EndOverlap
//! ```

use super::link::SlotNotice;
use super::shared::CoreLink;
use super::slots::SlotLease;
use crate::control::Leg;
use crate::hot::{Command, Overlap, OverlapProgress};
use crate::market::{StreamKind, Venue};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::mpsc;

/// Ids of overlaps: no two of the process are the same.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// A new one.
pub(super) fn next_id() -> u32 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// A slot, and what is heard of it.
pub(super) type Place = (SlotLease, mpsc::UnboundedReceiver<SlotNotice>);

/// See the module.
#[derive(Default)]
pub(super) struct OverlapIo {
    begun: Option<Begun>,
}

struct Begun {
    id: u32,
    successor: Leg,
    /// The successor's, until it is attached.
    place: Option<Place>,
    progress: Arc<OverlapProgress>,
}

/// A free slot of a core.
pub(super) fn take_place(core: &CoreLink, name: &str) -> Option<Place> {
    let (hearer, notices) = mpsc::unbounded_channel();
    Some((core.slots.take(&name.into(), hearer)?, notices))
}

impl OverlapIo {
    /// Begins an overlap of these kinds of stream, led from `leader`. `None` where the core has no slot left for a successor.
    ///
    /// Its tables are megabytes to be touched: not on a thread that other connections' timers need.
    pub(super) async fn begin(
        &mut self,
        core: &CoreLink,
        name: &str,
        (venue, stream_kinds): (Venue, BTreeSet<StreamKind>),
        leader: u16,
        successor: Leg,
    ) -> Option<Command> {
        let place = take_place(core, name)?;
        let id = next_id();
        let slot = place.0.slot();
        let made = tokio::task::spawn_blocking(move || Overlap::new(id, venue, leader, slot, stream_kinds));
        // Cancelled where the runtime ends.
        let overlap = made.await.ok()?;
        self.begun = Some(Begun { id, successor, place: Some(place), progress: overlap.progress() });
        Some(Command::BeginOverlap(Box::new(overlap)))
    }

    /// The slot a leg is to be attached in: the successor's own the first time, any other free one.
    pub(super) fn place(&mut self, leg: Leg, core: &CoreLink, name: &str) -> Option<Place> {
        let own = self.begun.as_mut().filter(|begun| begun.successor == leg).and_then(|begun| begun.place.take());
        own.or_else(|| take_place(core, name))
    }

    /// A leg's slot was not used after all.
    pub(super) fn give_back(&mut self, leg: Leg, place: Place) {
        if let Some(begun) = self.begun.as_mut().filter(|begun| begun.successor == leg && begun.place.is_none()) {
            begun.place = Some(place);
        }
    }

    /// Chained subscriptions that the successor has not joined yet; `None` where nothing overlaps.
    pub(super) fn unjoined(&self) -> Option<u32> {
        let unjoined = self.begun.as_ref()?.progress.unjoined.get();
        Some(u32::try_from(unjoined).unwrap_or(u32::MAX))
    }

    /// Ends it.
    pub(super) fn end(&mut self) -> Option<Command> {
        self.begun.take().map(|begun| Command::EndOverlap { id: begun.id })
    }
}
