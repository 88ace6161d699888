//! Missing trades that were fetched elsewhere, on their way to the strategy behind the marker that told of them.
//!
//! ```text
//! Notice::Missing ─► cold side, REST ─► Command::Refill ─► some a turn, flagged ─► handler        the box goes back
//! ```
//! Never holds up what is live: a turn of the core's loop delivers a few of them, after its sockets. Of each id once: those
//! that have come meanwhile are left out.

use super::delivery::Routed;
use super::router::{Router, take_unrouted};
use super::stats::{ConnectionStats, CoreStats};
use super::trails::{MissingIds, Trails};
use crate::market::{AggTrade, StreamKind, Symbol, TradeId};
use crate::venue::TradeBatch;
use std::sync::Arc;

/// Streams that were interrupted: each is marked at its next event, if it had one before.
#[derive(Debug)]
pub struct Interruption {
    /// They were subscribed again on a connection that stood; otherwise their connection was lost.
    pub is_resubscribed: bool,
    /// Which.
    pub streams: Vec<(Symbol, StreamKind)>,
}

/// The answer to one hole. Without events nothing comes, and the core forgets the hole.
#[derive(Debug)]
pub struct Refill {
    /// The slot that told of the hole; for the report of a handler that panics.
    pub slot: u16,
    /// The hole as it was told.
    pub ids: MissingIds,
    /// What was fetched of it, flagged as refilled.
    pub events: TradeBatch,
    /// The counters of the connection that told of the hole.
    pub stats: Arc<ConnectionStats>,
    /// How many have been looked at.
    pub(super) next: usize,
}

impl Refill {
    /// An answer.
    #[must_use]
    pub const fn new(slot: u16, ids: MissingIds, events: TradeBatch, stats: Arc<ConnectionStats>) -> Self {
        Self { slot, ids, events, stats, next: 0 }
    }

    /// Delivers the next one, and gives its id to `remember`: a leg that is far behind may still bring it. False where there
    /// is none left.
    pub(super) fn deliver_next<S>(
        &mut self,
        (trails, remember): (&mut Trails, impl FnOnce(TradeId)),
        (router, state): (&Router<S>, &mut S),
        core: &CoreStats,
    ) -> bool {
        let at = self.next;
        self.next += 1;
        match &self.events {
            TradeBatch::Trades(trades) => trades.get(at).is_some_and(|trade| {
                let TradeId::Number(id) = trade.id else { return true };
                self.deliver(trade, id, (trails, remember), core, |trade| router.trade(state, trade))
            }),
            TradeBatch::AggTrades(trades) => {
                let route = |trade: &AggTrade| router.agg_trade(state, trade);
                trades.get(at).is_some_and(|trade| self.deliver(trade, trade.id, (trails, remember), core, route))
            }
        }
    }

    fn deliver<E: Routed>(
        &self,
        event: &E,
        id: u64,
        (trails, remember): (&mut Trails, impl FnOnce(TradeId)),
        core: &CoreStats,
        route: impl FnOnce(&E),
    ) -> bool {
        let meta = event.meta();
        let is_of_hole = meta.symbol == self.ids.symbol && event.stream_kind() == self.ids.stream_kind;
        if is_of_hole && trails.refill(meta.symbol, event.stream_kind(), id) {
            remember(TradeId::Number(id));
            core.current.at_event(self.slot, E::KIND, meta.symbol);
            self.stats.ids_refilled.add(1);
            self.stats.events.add(1);
            route(event);
            self.stats.unrouted.add(take_unrouted());
            core.current.at_nothing();
        } else {
            self.stats.refills_unneeded.add(1);
        }
        true
    }
}
