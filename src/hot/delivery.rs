//! What happens to the messages of one visit: read, decode, route, and a count of what became of each.
//!
//! ```text
//! read ─► stamp ─► every whole message: server ping? ─► decode ─► pulse ─► (legs) ─► route ─► handler
//!                                        └─► cold side (control)
//! ```
//! Called by the core's loop for each socket that may have bytes, and for each message of a connection on the cold side.

use super::clock::{Clock, Ticks};
use super::connection::{Closed, HotConnection};
use super::legs::{Marked, Overlap, Overlaps, Role, Side};
use super::outbox::Outbox;
use super::pulse::{Marks, Pulses};
use super::router::{Router, take_unrouted};
use super::stats::{ConnectionStats, CoreStats, Current, SocketStats};
use super::stream::ReadOutcome;
use crate::limits::VISIT_BYTES_MAX;
use crate::market::{
    AggTrade, BookUpdate, EventKind, Kline, Liquidation, MarkPrice, Meta, Quote, Received, Ticker, Trade,
};
use crate::venue::{DecodeError, Decoded, Decoder, DecoderScratch, HotSymbols, Reason, ServerPing, Sink, Tier};

/// What a message needs on its way to the handlers.
pub(super) struct Desk<S> {
    pub(super) symbols: HotSymbols,
    pub(super) scratch: DecoderScratch,
    pub(super) router: Router<S>,
    pub(super) state: S,
    pub(super) overlaps: Overlaps,
    pub(super) marks: Marks,
    pub(super) latency_sample_every: u32,
    pub(super) until_sample: u32,
}

/// What stays the same during one visit.
pub(super) struct Pass<'a> {
    pub(super) slot: u16,
    pub(super) leg: u8,
    /// Set while the slot is in an overlap.
    pub(super) role: Option<Role>,
    pub(super) stats: &'a ConnectionStats,
    pub(super) socket: &'a SocketStats,
    pub(super) server_ping: Option<&'a ServerPing>,
    pub(super) core: &'a CoreStats,
    pub(super) clock: &'a Clock,
}

impl Pass<'_> {
    pub(super) fn read_within_budget<S>(
        &self,
        connection: &mut HotConnection,
        decoder: &mut Decoder,
        desk: &mut Desk<S>,
        outbox: &mut Outbox,
        sampled: &mut u16,
    ) -> Result<bool, Closed> {
        if connection.wants_write() {
            connection.flush()?;
        }
        let mut budget = VISIT_BYTES_MAX;
        let mut has_worked = false;
        while let ReadOutcome::Bytes(count) = connection.read(budget)? {
            has_worked = true;
            let at = self.clock.ticks();
            self.drain(connection, decoder, at, desk, outbox, sampled)?;
            budget = budget.saturating_sub(count);
            if budget == 0 || !connection.has_buffered() {
                break;
            }
        }
        Ok(has_worked)
    }

    /// Delivers every whole message in the buffer, stamped `at`.
    #[inline]
    pub(super) fn drain<S>(
        &self,
        connection: &mut HotConnection,
        decoder: &mut Decoder,
        at: Ticks,
        desk: &mut Desk<S>,
        outbox: &mut Outbox,
        sampled: &mut u16,
    ) -> Result<(), Closed> {
        let received = self.clock.received(at);
        self.socket.last_seen_ns.set(received.mono.0);
        let mut data_messages = 0;
        let pings_before = connection.counters().pings_received;
        let drained = loop {
            match connection.next_message() {
                Ok(Some(message)) => {
                    let is_data = self.deliver(decoder, message.payload, received, Some(at), desk, outbox, sampled);
                    data_messages += u64::from(is_data);
                }
                Ok(None) => break Ok(()),
                Err(closed) => break Err(closed),
            }
        };
        self.core.pulses.mark_all(&mut desk.marks, received.mono);
        self.socket.data_messages.add(data_messages);
        self.stats.pings.add(connection.counters().pings_received - pings_before);
        drained
    }

    /// Decodes one message, gives its events to the router, and counts what became of it. False for a control-plane
    /// message. The marks of its events wait for the caller.
    #[inline]
    #[expect(
        clippy::too_many_arguments,
        reason = "split borrows of one core: a struct of them would be built per message"
    )]
    pub(super) fn deliver<S>(
        &self,
        decoder: &mut Decoder,
        payload: &mut [u8],
        received: Received,
        read_at: Option<Ticks>,
        desk: &mut Desk<S>,
        outbox: &mut Outbox,
        sampled: &mut u16,
    ) -> bool {
        let stats = self.stats;
        stats.frames.add(1);
        stats.bytes.add(payload.len() as u64);
        self.core.messages.add(1);
        // The one place where a venue's own ping in a message is recognised: before decoding, and only where the connection
        // was told to expect one.
        if let Some(ping) = self.server_ping
            && ping.recognise(payload).is_some()
        {
            outbox.control(self.slot, payload, stats);
            return false;
        }
        let current = &self.core.current;
        current.at_message(self.slot);
        desk.scratch.begin();
        let mut delivery = Delivery {
            router: &desk.router,
            state: &mut desk.state,
            slot: self.slot,
            leg: self.leg,
            overlap: self.role.and_then(|role| desk.overlaps.get(role)),
            pulses: &self.core.pulses,
            marks: &mut desk.marks,
            current,
            stats,
            events: 0,
            newest: None,
            refused: None,
        };
        let mut is_data = true;
        let decoded = decoder.decode(payload, received, &desk.symbols, &mut desk.scratch, &mut delivery);
        let Delivery { events, newest, refused, .. } = delivery;
        stats.events.add(events);
        match decoded {
            Ok(Decoded::Data(Tier::One | Tier::TwoOnly)) => {}
            Ok(Decoded::Data(Tier::TwoAfterOne)) => stats.tier_two.add(1),
            // Only tier two finds a control message, and it may have rewritten it.
            Ok(Decoded::Control) => {
                is_data = false;
                outbox.control(self.slot, desk.scratch.pristine(), stats);
            }
            Err(error) => {
                count_refusal(error.reason, stats);
                keep_sample(error, self.slot, &desk.scratch, outbox, sampled);
            }
        }
        if let Some(reason) = refused {
            keep_sample(DecodeError::new(reason, ""), self.slot, &desk.scratch, outbox, sampled);
        }
        let unrouted = take_unrouted();
        if unrouted > 0 {
            stats.unrouted.add(unrouted);
        }
        self.measure(received, read_at, newest, desk);
        current.at_nothing();
        is_data
    }

    #[inline]
    fn measure<S>(&self, received: Received, read_at: Option<Ticks>, newest: Option<i64>, desk: &mut Desk<S>) {
        desk.until_sample -= 1;
        if desk.until_sample == 0 {
            desk.until_sample = desk.latency_sample_every;
            let now = self.clock.ticks();
            let taken_ns = match read_at {
                Some(read_at) => self.clock.elapsed_ns(read_at, now),
                None => self.clock.mono(now).since_ns(received.mono),
            };
            self.stats.read_to_handler.record(taken_ns);
        }
        if let Some(event_time_ns) = newest {
            match u64::try_from(received.wall_ns - event_time_ns) {
                Ok(age_ns) => self.stats.venue_age.record(age_ns),
                Err(_) => {
                    self.stats.from_the_future.add(1);
                    self.stats.venue_age.record(0);
                }
            }
        }
    }
}

/// Keeps the first message of its reason on a connection, as it came: only tier two refuses, and it kept a copy.
#[cold]
fn keep_sample(error: DecodeError, slot: u16, scratch: &DecoderScratch, outbox: &mut Outbox, sampled: &mut u16) {
    let bit = 1 << error.reason as u16;
    if *sampled & bit == 0 && outbox.sample(slot, error, scratch.pristine()) {
        *sampled |= bit;
    }
}

fn count_refusal(reason: Reason, stats: &ConnectionStats) {
    stats.reasons[reason as usize].add(1);
    match reason {
        Reason::UnknownSymbol => stats.unrouted.add(1),
        _ => stats.unparsed.add(1),
    }
}

/// The sink of one message: routes each event.
struct Delivery<'a, S> {
    router: &'a Router<S>,
    state: &'a mut S,
    slot: u16,
    leg: u8,
    /// The overlap this connection is in, if any, and its side of it.
    overlap: Option<(&'a mut Overlap, Side)>,
    pulses: &'a Pulses,
    /// Marks of the events since the read.
    marks: &'a mut Marks,
    current: &'a Current,
    stats: &'a ConnectionStats,
    events: u64,
    /// Newest venue time of the message's events, ns since the epoch.
    newest: Option<i64>,
    /// Why the first element that gave no event gave none.
    refused: Option<Reason>,
}

impl<S> Delivery<'_, S> {
    #[inline]
    fn note(&mut self, kind: EventKind, meta: &Meta) {
        self.events += 1;
        self.current.at_event(self.slot, kind, meta.symbol);
        if let Some(time) = meta.event_time {
            self.newest = self.newest.max(Some(time.ns()));
        }
    }
}

macro_rules! route {
    ($($method:ident, $kind:ident, $event:ty;)*) => {
        impl<S> Sink for Delivery<'_, S> {
            $(
                #[inline]
                fn $method(&mut self, event: &$event) {
                    let Meta { symbol, received, .. } = event.meta;
                    self.marks.add(self.pulses, (symbol, event.lane(), self.leg), received.mono);
                    if let Some((overlap, side)) = &mut self.overlap
                        && !overlap.judge(*side, symbol, event.lane(), event.mark(), self.stats)
                    {
                        return;
                    }
                    self.note(EventKind::$kind, &event.meta);
                    self.router.$method(self.state, event);
                }
            )*

            fn refused(&mut self, reason: Reason) {
                self.refused.get_or_insert(reason);
                count_refusal(reason, self.stats);
            }
        }
    };
}

route! {
    trade, Trade, Trade;
    agg_trade, AggTrade, AggTrade;
    quote, Quote, Quote;
    ticker, Ticker, Ticker;
    book, Book, BookUpdate<'_>;
    kline, Kline, Kline;
    mark_price, MarkPrice, MarkPrice;
    liquidation, Liquidation, Liquidation;
}
