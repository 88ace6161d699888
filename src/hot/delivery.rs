//! What happens to the messages of one visit: read, decode, route, and a count of what became of each.
//!
//! ```text
//! read, stamped ─► every whole message: server ping? ─► decode ─► pulse ─► (legs) ─► (kept book) ─► route ─► handler
//!                                        └─► cold side (control)
//! ```
//! Called by the core's loop for each socket that may have bytes, and for each message of a connection on the cold side.

use super::arbitrate::Place;
use super::clock::{Clock, Ticks};
use super::conflation::{Conflation, Held};
use super::connection::{Closed, HotConnection};
use super::legs::{Judgement, Mark, Marked, Overlap, Overlaps, Role};
use super::outbox::Outbox;
use super::pulse::{Marks, Pulses};
use super::ring::Feed;
use super::router::{Router, take_unrouted};
use super::shelf::Shelf;
use super::stages::Sampler;
use super::stats::{ConnectionStats, CoreStats, Current, SocketStats};
use super::stream::ReadOutcome;
use super::trails::{Hole, MissingIds, Step as TrailStep, Trails};
use crate::book::{BookEvent, Step};
use crate::limits::{LEG_PLACES, VISIT_BYTES_MAX};
use crate::market::{
    AggTrade, Backlog, BookUpdate, EventKind, Gap, GapReason, Kline, Liquidation, MarkPrice, Meta, MonoNs, Quote,
    Received, StreamKind, Ticker, Trade, TradeId,
};
use crate::venue::{
    DecodeError, Decoded, Decoder, DecoderScratch, HotSymbols, Payload, Reason, Reasons, ServerPing, Sink, Tier,
};

/// What a message needs on its way to the handlers.
pub(super) struct Desk<S> {
    pub(super) symbols: HotSymbols,
    pub(super) scratch: DecoderScratch,
    pub(super) router: Router<S>,
    pub(super) state: S,
    pub(super) shelf: Shelf,
    pub(super) overlaps: Overlaps,
    pub(super) trails: Trails,
    pub(super) conflation: Conflation,
    pub(super) marks: Marks,
    pub(super) latency_sample_every: u32,
}

/// What stays the same during one visit.
pub(super) struct Pass<'a> {
    pub(super) slot: u16,
    pub(super) leg: u8,
    /// Set while the slot is in an overlap.
    pub(super) role: Option<Role>,
    /// Of the quotes of one visit only the newest of each symbol is delivered.
    pub(super) conflates_quotes: bool,
    pub(super) stats: &'a ConnectionStats,
    pub(super) socket: &'a SocketStats,
    pub(super) server_ping: Option<&'a ServerPing>,
    pub(super) core: &'a CoreStats,
    pub(super) clock: &'a Clock,
}

impl<'a> Pass<'a> {
    /// A pass that reads nothing.
    pub(super) fn new(
        (slot, role): (u16, Option<Role>),
        feed: &'a Feed,
        core: &'a CoreStats,
        clock: &'a Clock,
    ) -> Self {
        let Feed { leg, stats, socket, .. } = feed;
        Self { slot, leg: *leg, role, conflates_quotes: false, stats, socket, server_ping: None, core, clock }
    }
}

impl Pass<'_> {
    pub(super) fn read_within_budget<S>(
        &self,
        connection: &mut HotConnection,
        decoder: &mut Decoder,
        desk: &mut Desk<S>,
        outbox: &mut Outbox,
        sampler: &mut Sampler,
    ) -> Result<bool, Closed> {
        if connection.wants_write() {
            connection.flush()?;
        }
        let mut budget = VISIT_BYTES_MAX;
        let mut has_worked = false;
        while let ReadOutcome::Bytes(count) = connection.read(budget)? {
            has_worked = true;
            let at = connection.received_at();
            if let Some(kernel_ns) = connection.take_kernel_stamp() {
                self.core.stages.received(kernel_ns, self.clock.wall_ns(at));
            }
            if connection.is_tls() && sampler.is_next_due() {
                self.decrypted(at, desk.latency_sample_every);
            }
            self.drain(connection, decoder, at, desk, outbox, sampler)?;
            budget = budget.saturating_sub(count);
            if budget == 0 || !connection.has_buffered() {
                break;
            }
        }
        Ok(has_worked)
    }

    /// The record whose first message is to be stamped is open.
    #[cold]
    fn decrypted(&self, read_at: Ticks, every: u32) {
        if every > 0 {
            self.core.stages.read_to_decrypted.record(self.clock.elapsed_ns(read_at, self.clock.ticks()));
        }
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
        sampler: &mut Sampler,
    ) -> Result<(), Closed> {
        let received = self.clock.received(at);
        self.socket.last_seen_ns.set(received.mono.0);
        let pings_before = connection.counters().pings_received;
        let mut batch = self.batch(received, Some(at), desk, outbox, sampler);
        let drained = loop {
            match connection.next_with_backlog() {
                Ok(Some((message, backlog))) => batch.deliver(decoder, message.payload, backlog),
                Ok(None) => break Ok(()),
                Err(closed) => break Err(closed),
            }
        };
        batch.finish();
        self.stats.pings.add(connection.counters().pings_received - pings_before);
        drained
    }

    /// Delivers the quotes that were held while more lay behind them.
    #[cold]
    #[inline(never)]
    pub(super) fn deliver_held<S>(&self, desk: &mut Desk<S>, outbox: &mut Outbox, sampler: &mut Sampler) {
        let mut batch = self.batch(Received::default(), None, desk, outbox, sampler);
        while let Some(quote) = batch.delivery.conflation.take() {
            batch.delivery.hand_over(&quote);
        }
        batch.ask_for_refills();
        batch.finish();
    }

    /// Tells of the holes that no other connection will fill any more.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_overdue<S>(
        &self,
        desk: &mut Desk<S>,
        outbox: &mut Outbox,
        sampler: &mut Sampler,
        is_overdue: impl Fn(&Hole, MonoNs) -> bool,
    ) {
        let mut batch = self.batch(Received::default(), None, desk, outbox, sampler);
        while let Some(hole) = batch.delivery.trails.next_overdue(&is_overdue) {
            batch.delivery.tell_missing(&hole.gap, hole.ids);
        }
        batch.ask_for_refills();
        batch.finish();
    }

    /// An empty batch of messages that came with one read, or of one from the cold side, which has no `read_at`.
    #[inline]
    pub(super) fn batch<'b, S>(
        &'b self,
        received: Received,
        read_at: Option<Ticks>,
        desk: &'b mut Desk<S>,
        outbox: &'b mut Outbox,
        sampler: &'b mut Sampler,
    ) -> Batch<'b, S> {
        let Desk { symbols, scratch, router, state, shelf, overlaps, trails, conflation, marks, latency_sample_every } =
            desk;
        let Self { slot, leg, role, conflates_quotes, stats, core, clock, .. } = *self;
        let overlap = role.and_then(|role| overlaps.get(role));
        let is_shared = overlap.is_some();
        let is_watchful = trails.is_watchful();
        Batch {
            pass: self,
            received,
            read_at,
            symbols,
            scratch,
            overlap,
            latency_sample_every: *latency_sample_every,
            outbox,
            messages: 0,
            control_messages: 0,
            bytes: 0,
            delivery: Delivery {
                router,
                state,
                shelf,
                slot,
                leg,
                pulses: &core.pulses,
                marks,
                trails,
                conflation,
                conflates_quotes,
                is_shared,
                is_watchful,
                current: &core.current,
                stats,
                clock,
                sampler,
                events: 0,
                newest: NO_TIME,
                refused: Reasons::default(),
                is_stamped: false,
                is_uncommon: false,
            },
        }
    }
}

/// The messages of one read on their way to the handlers. What is the same for all of them is looked up once, and what is
/// counted of them is published once: when the batch ends, even if a handler panics.
pub(super) struct Batch<'a, S> {
    pass: &'a Pass<'a>,
    received: Received,
    read_at: Option<Ticks>,
    symbols: &'a HotSymbols,
    scratch: &'a mut DecoderScratch,
    /// The overlap this connection is in, if any, and its place in it.
    overlap: Option<(&'a mut Overlap, Place)>,
    latency_sample_every: u32,
    outbox: &'a mut Outbox,
    messages: u64,
    /// Those of them that were no data.
    control_messages: u64,
    bytes: u64,
    delivery: Delivery<'a, S>,
}

impl<S> Drop for Batch<'_, S> {
    #[inline]
    fn drop(&mut self) {
        let Pass { stats, socket, core, .. } = self.pass;
        let Delivery { pulses, marks, events, .. } = &mut self.delivery;
        pulses.mark_all(marks, self.received.mono);
        stats.frames.add(self.messages);
        stats.bytes.add(self.bytes);
        stats.events.add(*events);
        stats.unrouted.add(take_unrouted());
        socket.data_messages.add(self.messages - self.control_messages);
        core.messages.add(self.messages);
    }
}

impl<S> Batch<'_, S> {
    /// Decodes one message, gives its events to the router, and counts what became of it.
    #[inline(always)]
    pub(super) fn deliver(&mut self, decoder: &mut Decoder, payload: Payload<'_>, backlog: Backlog) {
        self.received.backlog = backlog;
        self.messages += 1;
        self.bytes += payload.len() as u64;
        let Pass { slot, stats, .. } = *self.pass;
        self.delivery.begin();
        // The one place where a venue's own ping in a message is recognised: before decoding, and only where the connection
        // was told to expect one.
        if let Some(ping) = self.pass.server_ping
            && ping.recognise(&payload).is_some()
        {
            self.control_messages += 1;
            self.outbox.control(slot, &payload, stats);
            return;
        }
        if self.delivery.sampler.count() {
            self.begin_stamps();
        }
        self.scratch.begin();
        let decoded = match &mut self.overlap {
            None => decoder.decode(payload, &self.received, self.symbols, self.scratch, &mut self.delivery),
            Some((overlap, place)) => {
                let mut judged = Judged { delivery: &mut self.delivery, overlap, place: *place };
                judged.decode(decoder, payload, &self.received, self.symbols, self.scratch)
            }
        };
        match decoded {
            Ok(Decoded::Data(Tier::One | Tier::TwoOnly)) => {}
            Ok(Decoded::Data(Tier::TwoAfterOne)) => stats.tier_two.add(1),
            // Only tier two finds a control message, and it may have rewritten it.
            Ok(Decoded::Control) => {
                self.control_messages += 1;
                self.outbox.control(slot, self.scratch.pristine(), stats);
            }
            Err(error) => {
                count_refusal(error.reason, stats);
                keep_sample(error, slot, self.scratch, self.outbox, &mut self.delivery.sampler.reasons_kept);
            }
        }
        if self.delivery.is_uncommon {
            self.after_uncommon();
        }
        self.note_age();
    }

    /// The message is one to be stamped. Its first event is to be stopped at: there lies the stamp of its decoding.
    #[cold]
    #[inline(never)]
    fn begin_stamps(&mut self) {
        let Delivery { sampler, clock, marks, is_stamped, is_uncommon, .. } = &mut self.delivery;
        if sampler.framed(self.latency_sample_every, clock) {
            marks.stop_at_next();
            (*is_stamped, *is_uncommon) = (true, true);
        }
    }

    /// A message that was stamped, or elements of it refused, or one that came behind a hole, or that changed what the cold side
    /// knows of a book.
    #[cold]
    #[inline(never)]
    fn after_uncommon(&mut self) {
        let Pass { slot, stats, core, .. } = *self.pass;
        let Delivery { sampler, clock, marks, is_stamped, refused, .. } = &mut self.delivery;
        if *is_stamped {
            sampler.handled((self.read_at, self.received), clock, &core.stages, &stats.read_to_handler);
            marks.go_on();
        }
        for reason in refused.iter() {
            let error = DecodeError::new(reason, "");
            keep_sample(error, slot, self.scratch, self.outbox, &mut sampler.reasons_kept);
        }
        (*is_stamped, *refused) = (false, Reasons::default());
        if self.delivery.shelf.take_changed() {
            self.outbox.waker.wake();
        }
        self.ask_for_refills();
    }

    fn ask_for_refills(&mut self) {
        self.outbox.ask(self.delivery.trails);
    }

    #[inline]
    fn note_age(&mut self) {
        let Pass { stats, .. } = *self.pass;
        let newest = self.delivery.newest;
        if newest != NO_TIME {
            match u64::try_from(self.received.wall_ns - newest) {
                Ok(age_ns) => stats.venue_age.record(age_ns),
                Err(_) => {
                    stats.from_the_future.add(1);
                    stats.venue_age.record(0);
                }
            }
        }
    }

    /// The last message of the batch was delivered. Dropped without this by a panic, which has to tell what the core is on.
    #[inline]
    pub(super) fn finish(self) {
        self.delivery.current.at_nothing();
    }
}

/// Keeps the first message of its reason on a connection, as it came: whoever refused it kept a copy, if there is no sample yet.
#[cold]
fn keep_sample(error: DecodeError, slot: u16, scratch: &DecoderScratch, outbox: &mut Outbox, kept: &mut Reasons) {
    if !kept.contains(error.reason) && outbox.sample(slot, error, scratch.pristine()) {
        kept.insert(error.reason);
    }
}

fn count_refusal(reason: Reason, stats: &ConnectionStats) {
    stats.reasons[reason as usize].add(1);
    match reason {
        Reason::UnknownSymbol => stats.unrouted.add(1),
        _ => stats.unparsed.add(1),
    }
}

/// No event of a message had a venue time.
const NO_TIME: i64 = i64::MIN;

/// The sink of a batch outside of an overlap: marks each event and routes it.
pub(super) struct Delivery<'a, S> {
    router: &'a Router<S>,
    state: &'a mut S,
    shelf: &'a mut Shelf,
    slot: u16,
    leg: u8,
    pulses: &'a Pulses,
    /// Marks of the events since the read.
    marks: &'a mut Marks,
    trails: &'a mut Trails,
    conflation: &'a mut Conflation,
    conflates_quotes: bool,
    /// Another connection carries the same streams: what this one leaves out the other may bring.
    is_shared: bool,
    /// Some stream without ids was interrupted and has not spoken since.
    is_watchful: bool,
    current: &'a Current,
    stats: &'a ConnectionStats,
    clock: &'a Clock,
    sampler: &'a mut Sampler,
    /// Events of the batch that went to the router.
    events: u64,
    /// Newest venue time of the message's events, ns since the epoch.
    newest: i64,
    /// Why elements of the message gave no event.
    refused: Reasons,
    /// The message is one that is stamped.
    is_stamped: bool,
    /// There is something to be done behind the message: it is stamped, an element was refused, a book's state or need changed,
    /// or a refill is to be asked for. One branch for all.
    is_uncommon: bool,
}

impl<S> Delivery<'_, S> {
    /// The next message of the batch.
    #[inline]
    fn begin(&mut self) {
        self.newest = NO_TIME;
        self.is_uncommon = false;
        self.current.at_message(self.slot);
    }

    /// The whole way of one event. Ends in calls alone, so that nothing has to be kept over one of them.
    #[inline]
    fn take<E: Routed>(&mut self, event: &E) {
        if self.marks.is_full() {
            return self.take_stopped(event);
        }
        self.mark(event);
        self.hand_on(event);
    }

    #[cold]
    #[inline(never)]
    fn take_stopped<E: Routed>(&mut self, event: &E) {
        self.make_room(event.meta());
        self.stamp_decoded();
        self.take(event);
    }

    /// The table of marks is full, or was called so for the sake of a stamped message's first event.
    fn make_room(&mut self, meta: &Meta) {
        if self.marks.is_stopped() {
            self.marks.go_on();
        } else {
            self.pulses.mark_all(self.marks, meta.received.mono);
        }
    }

    fn stamp_decoded(&mut self) {
        if self.is_stamped {
            self.sampler.decoded(self.clock);
        }
    }

    #[inline]
    fn mark<E: Routed>(&mut self, event: &E) {
        self.marks.add(event.meta().symbol, event.stream_kind(), self.leg);
    }

    /// Hands an event on, unless it is one that has to wait, or that the strategy has had.
    #[inline]
    fn hand_on<E: Routed>(&mut self, event: &E) {
        match event.mark() {
            Mark::Id(id) => {
                let meta = event.meta();
                let stream_kind = event.stream_kind();
                if !self.trails.follows(meta.symbol, stream_kind, id) && !self.off_trail(meta, stream_kind, id) {
                    return;
                }
            }
            _ if self.conflates_quotes && event.as_quote().is_some() => {
                return event.as_quote().map_or((), |quote| self.hold(quote));
            }
            _ => {}
        }
        self.hand_over(event);
    }

    #[inline]
    fn hand_over<E: Routed>(&mut self, event: &E) {
        if self.is_watchful && !matches!(event.mark(), Mark::Id(_)) {
            self.tell_interrupted(event.meta(), event.stream_kind(), event.mark());
        }
        let meta = event.meta();
        self.events = self.events.wrapping_add(1);
        self.current.at_event(self.slot, E::KIND, meta.symbol);
        if let Some(time) = meta.event_time {
            self.newest = self.newest.max(time.ns());
        }
        event.route(self);
    }

    /// A message of a book: where none is kept of its stream, one branch more than any other event.
    #[inline]
    fn book_delta(&mut self, update: &BookUpdate<'_>) {
        if self.shelf.keeps(update) {
            return self.kept_book(update);
        }
        self.router.book_delta(self.state, update);
    }

    /// A message of a book that is kept. The book takes it first, so that whoever hears of it hears how the book is with it.
    #[inline(never)]
    fn kept_book(&mut self, update: &BookUpdate<'_>) {
        let symbol = update.meta.symbol;
        let Some(taken) = self.shelf.update((self.slot, self.leg), update) else {
            return self.router.book_delta(self.state, update);
        };
        if !self.router.takes(EventKind::KeptBook, symbol) || self.router.takes(EventKind::Book, symbol) {
            self.router.book_delta(self.state, &BookUpdate { state: Some(taken.own), ..*update });
        }
        self.tell_book(&update.meta, taken.news);
    }

    /// What is told of the published book.
    #[inline]
    fn tell_book(&mut self, meta: &Meta, news: Option<Step>) {
        let Self { shelf, router, state, slot, current, .. } = self;
        if let Some(step) = news
            && router.takes(EventKind::KeptBook, meta.symbol)
            && let Some(view) = shelf.view(meta.symbol)
        {
            current.at_event(*slot, EventKind::KeptBook, meta.symbol);
            router.book(state, &BookEvent { meta: *meta, step, view });
        }
        self.is_uncommon |= shelf.has_changed();
    }

    /// A message of a book that is kept for each leg, on one that does not lead: the leg's own book takes it. Where nobody leads
    /// any more, this leg does from here on, if its book is live: who hears the changes themselves hears it as a whole first.
    #[inline(never)]
    fn book_of_leg(&mut self, update: &BookUpdate<'_>, overlap: &mut Overlap, place: Place) {
        let meta = &update.meta;
        let Some(taken) = self.shelf.update((self.slot, self.leg), update) else { return };
        if taken.own.is_live()
            && overlap.may_lead(place, meta.symbol, update.stream_kind(), meta.received.mono)
            && let Some(whole) = self.shelf.whole(self.slot, update)
        {
            overlap.lead(place, meta.symbol, update.stream_kind());
            if self.router.takes(EventKind::Book, meta.symbol) {
                self.events = self.events.wrapping_add(1);
                self.current.at_event(self.slot, EventKind::Book, meta.symbol);
                self.router.book_delta(self.state, &whole);
            }
        }
        self.tell_book(&update.meta, taken.news);
    }

    /// A quote of a connection that conflates them: it waits while more lies behind it.
    #[inline(never)]
    fn hold(&mut self, quote: &Quote) {
        if self.conflation.is_empty() && quote.meta.received.backlog.is_last_in_read() {
            return self.hand_over(quote);
        }
        // The first behind an outage ends it, whether it is delivered or folded.
        if self.is_watchful {
            self.tell_interrupted(&quote.meta, quote.stream_kind(), quote.mark());
        }
        if let Some(time) = quote.meta.event_time {
            self.newest = self.newest.max(time.ns());
        }
        match self.conflation.hold(quote) {
            Held::New => {}
            Held::Replacing => self.stats.quotes_folded.add(1),
            Held::Full => self.hand_over(quote),
        }
    }

    /// An id does not follow the last one of its stream. False where the strategy has had the event.
    #[cold]
    #[inline(never)]
    fn off_trail(&mut self, meta: &Meta, stream_kind: StreamKind, id: TradeId) -> bool {
        let marker = |before, missing, reason, outage_ns| Gap {
            meta: Meta { event_time: None, matching_time: None, ..*meta },
            stream_kind,
            before: Some(before),
            after: Some(id),
            missing,
            outage_ns,
            reason,
        };
        match self.trails.step(meta.symbol, stream_kind, id, self.is_shared) {
            TrailStep::First => {}
            TrailStep::WithoutLoss => self.stats.gaps_without_loss.add(1),
            TrailStep::Jump { before, missing, reason } => {
                let gap = marker(before, Some(missing.count()), reason, self.outage_ns(meta, stream_kind));
                let may_be_filled = self.is_shared && reason == GapReason::IdJump;
                if !(may_be_filled && self.trails.open(missing, self.slot, gap, meta.received.mono)) {
                    self.tell_missing(&gap, missing);
                }
            }
            TrailStep::Unknown { before, reason } => {
                let gap = marker(before, None, reason, self.outage_ns(meta, stream_kind));
                self.tell(&gap);
            }
            TrailStep::Filled { is_whole } => {
                self.stats.ids_late.add(1);
                self.stats.gaps_filled.add(u64::from(is_whole));
            }
            TrailStep::Back => self.stats.ids_back.add(1),
            TrailStep::Repeated => {
                self.stats.refills_repeated.add(1);
                return false;
            }
        }
        true
    }

    /// A stream without consecutive ids may have been interrupted before this event.
    #[cold]
    #[inline(never)]
    fn tell_interrupted(&mut self, meta: &Meta, stream_kind: StreamKind, mark: Mark) {
        let Some(reason) = self.trails.take_pending(meta.symbol, stream_kind) else { return };
        self.is_watchful = self.trails.is_watchful();
        let gap = Gap {
            meta: Meta { event_time: None, matching_time: None, ..*meta },
            stream_kind,
            before: None,
            after: match mark {
                Mark::Id(id) => Some(id),
                Mark::Number(id) | Mark::Book { start: id, .. } => Some(TradeId::Number(id)),
                Mark::Nothing => None,
            },
            missing: None,
            outage_ns: self.outage_ns(meta, stream_kind),
            reason,
        };
        self.tell(&gap);
    }

    /// From the last event of this stream before this one to this one.
    fn outage_ns(&self, meta: &Meta, stream_kind: StreamKind) -> u64 {
        if self.marks.has_earlier(meta.symbol, stream_kind) {
            return 0;
        }
        let last_data = |leg| self.pulses.last_data(meta.symbol, stream_kind, leg);
        let last = (0..LEG_PLACES).filter_map(|leg| u8::try_from(leg).ok()).map(last_data).max();
        meta.received.mono.since_ns(last.unwrap_or_default())
    }

    /// Tells the strategy of a hole, and lets the cold side know what it may refill.
    fn tell_missing(&mut self, gap: &Gap, missing: MissingIds) {
        self.tell(gap);
        self.is_uncommon = true;
        let without_room = self.trails.ask(missing, self.slot, *gap);
        if without_room > 0 {
            self.stats.refills_without_room.add(without_room);
        }
    }

    /// An id of this event's stream was forgotten for its own, while two connections carry it.
    #[cold]
    #[inline(never)]
    fn tell_evicted(&mut self, meta: &Meta, stream_kind: StreamKind, mark: Mark, overlap: u32) {
        if let Mark::Id(id) = mark
            && self.trails.evicted(meta.symbol, stream_kind, overlap)
        {
            self.tell(&Gap {
                meta: Meta { event_time: None, matching_time: None, ..*meta },
                stream_kind,
                before: None,
                after: Some(id),
                missing: None,
                outage_ns: 0,
                reason: GapReason::WindowEvicted,
            });
        }
    }

    fn tell(&mut self, gap: &Gap) {
        self.stats.gaps[gap.reason as usize].add(1);
        self.stats.ids_missing.add(gap.missing.unwrap_or(0));
        self.current.at_event(self.slot, EventKind::Gap, gap.meta.symbol);
        self.router.gap(self.state, gap);
    }

    fn refuse(&mut self, reason: Reason) {
        self.refused.insert(reason);
        self.is_uncommon = true;
        count_refusal(reason, self.stats);
    }
}

/// The sink of a batch in an overlap: marks each event, and routes those that the strategy has not had.
struct Judged<'a, 'd, S> {
    delivery: &'a mut Delivery<'d, S>,
    overlap: &'a mut Overlap,
    place: Place,
}

impl<S> Judged<'_, '_, S> {
    /// Decodes a message into this sink; out of the way of those that need no judgement. Not cold: where a connection has
    /// legs, all of its messages come here.
    #[inline(never)]
    fn decode(
        &mut self,
        decoder: &mut Decoder,
        payload: Payload<'_>,
        received: &Received,
        symbols: &HotSymbols,
        scratch: &mut DecoderScratch,
    ) -> Result<Decoded, DecodeError> {
        decoder.decode(payload, received, symbols, scratch, self)
    }

    fn take<E: Routed>(&mut self, event: &E) {
        let Self { delivery, overlap, place } = self;
        let Meta { symbol, received, .. } = *event.meta();
        while delivery.marks.is_full() {
            delivery.make_room(event.meta());
        }
        delivery.mark(event);
        let mark = (event.mark(), received.mono);
        let evicted_before = delivery.stats.window_evictions.get();
        let judgement = overlap.judge(*place, symbol, event.stream_kind(), mark, delivery.stats);
        if judgement == Judgement::Deliver {
            delivery.stamp_decoded();
            if delivery.stats.window_evictions.get() != evicted_before {
                delivery.tell_evicted(event.meta(), event.stream_kind(), event.mark(), overlap.id());
            }
            delivery.hand_on(event);
        }
        let Some(update) = event.as_book() else { return };
        if judgement == Judgement::Drop {
            if delivery.shelf.has_legs(update) {
                delivery.book_of_leg(update, overlap, *place);
            }
        } else if overlap.has_waiting(symbol, event.stream_kind()) {
            overlap.wait(update, judgement, |waited| delivery.hand_on(waited));
        }
    }
}

/// An event, as far as its way to the handler needs to know it.
pub(super) trait Routed: Marked {
    const KIND: EventKind;
    fn meta(&self) -> &Meta;
    fn stream_kind(&self) -> StreamKind;
    /// Hands it to its handler.
    fn route<S>(&self, delivery: &mut Delivery<'_, S>);

    /// The event, if it is a book's.
    #[inline]
    fn as_book(&self) -> Option<&BookUpdate<'_>> {
        None
    }

    /// The event, if it is a quote.
    #[inline]
    fn as_quote(&self) -> Option<&Quote> {
        None
    }
}

macro_rules! route {
    ($($method:ident, $kind:ident, $event:ty, |$delivery:ident, $of:ident| $route:expr $(, $own:item)?;)*) => {
        $(impl Routed for $event {
            const KIND: EventKind = EventKind::$kind;

            #[inline]
            fn meta(&self) -> &Meta {
                &self.meta
            }

            #[inline]
            fn stream_kind(&self) -> StreamKind {
                self.stream_kind()
            }

            #[inline]
            fn route<S>(&self, $delivery: &mut Delivery<'_, S>) {
                let $of = self;
                $route;
            }

            $(#[inline] $own)?
        })*

        impl<S> Sink for Delivery<'_, S> {
            $(
                #[inline]
                fn $method(&mut self, event: &$event) {
                    self.take(event);
                }
            )*

            fn refused(&mut self, reason: Reason) {
                self.refuse(reason);
            }

            fn wants_sample(&self, reason: Reason) -> bool {
                !self.sampler.reasons_kept.contains(reason)
            }
        }

        impl<S> Sink for Judged<'_, '_, S> {
            $(
                fn $method(&mut self, event: &$event) {
                    self.take(event);
                }
            )*

            fn refused(&mut self, reason: Reason) {
                self.delivery.refuse(reason);
            }

            fn wants_sample(&self, reason: Reason) -> bool {
                self.delivery.wants_sample(reason)
            }
        }
    };
}

route! {
    trade, Trade, Trade, |to, event| to.router.trade(to.state, event);
    agg_trade, AggTrade, AggTrade, |to, event| to.router.agg_trade(to.state, event);
    quote, Quote, Quote, |to, event| to.router.quote(to.state, event), fn as_quote(&self) -> Option<&Quote> { Some(self) };
    ticker, Ticker, Ticker, |to, event| to.router.ticker(to.state, event);
    book, Book, BookUpdate<'_>, |to, event| to.book_delta(event), fn as_book(&self) -> Option<&BookUpdate<'_>> { Some(self) };
    kline, Kline, Kline, |to, event| to.router.kline(to.state, event);
    mark_price, MarkPrice, MarkPrice, |to, event| to.router.mark_price(to.state, event);
    liquidation, Liquidation, Liquidation, |to, event| to.router.liquidation(to.state, event);
}

/// A marker reaches a handler like any event; what comes from a venue is never one.
impl Marked for Gap {
    #[inline]
    fn mark(&self) -> Mark {
        Mark::Nothing
    }
}

impl Routed for Gap {
    const KIND: EventKind = EventKind::Gap;

    #[inline]
    fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Its own: by the stream it tells of, a lane that keeps the newest of each would lose it to an event, or an event to it.
    #[inline]
    fn stream_kind(&self) -> StreamKind {
        StreamKind::GAP
    }

    #[inline]
    fn route<S>(&self, delivery: &mut Delivery<'_, S>) {
        delivery.router.gap(delivery.state, self);
    }
}
