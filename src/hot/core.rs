//! The loop of one pinned thread: visits its connections, decodes, routes, and calls the strategy's functions.
//!
//! ```text
//! turn:  commands from the ring ─► visit each socket that may have bytes ─► housekeeping, if due ─► idle, if nothing came
//! visit: one read ─► one stamp ─► every whole message in the buffer: decode ─► route ─► handler ─► next read, within the budget
//! ```
//! Owns its connections, symbols, router and strategy state; shares nothing with another core. After start-up it never
//! locks, allocates, logs, formats or touches a file. Spends a syscall on a read, a poll, and the rare control write.

mod books;
mod waiting;

use super::clock::{Clock, Ticks};
use super::conflation::Conflation;
use super::connection::{Closed, ClosedBy, HotConnection, SendError};
use super::delivery::{Desk, Pass};
use super::legs::{Overlap, Overlaps, Role};
use super::outbox::Outbox;
use super::poller::{Poller, Waker};
use super::pulse::Marks;
use super::refill::{Interruption, Refill};
use super::ring::{Attachment, Command, Feed, HotPorts, Notice, Spent};
use super::router::Router;
use super::shelf::Shelf;
use super::stages::Sampler;
use super::stats::CoreStats;
use super::trails::{Hole, Trails};
use crate::limits::{CONNECTION_COUNT_MAX, LEG_PLACES, READ_PADDING_BYTES, RING_SLOTS, SAMPLE_BYTES, SYMBOL_COUNT_MAX};
use crate::market::{Backlog, EventKind, MonoNs, Received, Symbol, SymbolSpec, touch};
use crate::venue::{DecoderScratch, HotSymbols, Payload};
use rtrb::Consumer;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a core does when nothing came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Idle {
    /// Looks again at once. One whole CPU; the lowest latency.
    Spin,
    /// Gives the CPU to another runnable thread, then looks again.
    Yield,
    /// Sleeps in the kernel until a socket or a ring has something.
    #[default]
    Park,
}

/// How a core that never sleeps looks for bytes on its sockets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wait {
    /// By the number of its sockets now: the better of the two.
    #[default]
    Auto,
    /// A `recv` of each in turn.
    Recv,
    /// One `epoll_wait(0)` in front.
    Epoll,
}

/// A strategy's state, and the function that registers its handlers for a symbol.
#[derive(Debug)]
pub struct Strategy<S> {
    /// The strategy's own state, given to every handler.
    pub state: S,
    /// Called on the core's thread for every symbol, when it is added: at start or later. Registers handlers.
    pub on_symbol: fn(&mut S, &mut Router<S>, &SymbolSpec),
}

/// What a core is told at start.
#[derive(Clone, Copy, Debug)]
pub struct CoreSettings {
    /// What it does when nothing came.
    pub idle: Idle,
    /// How it looks for bytes, unless it parks.
    pub wait: Wait,
    /// One message of a connection in this many is stamped on its way; 1 stamps each, 0 none.
    pub latency_sample_every: u32,
    /// Heap allocations of the calling thread so far, where the process counts them.
    pub thread_allocations: fn() -> u64,
}

impl Default for CoreSettings {
    /// A core that parks, stamps one message in 64 and counts no allocations.
    fn default() -> Self {
        Self { idle: Idle::Park, wait: Wait::Auto, latency_sample_every: 64, thread_allocations: || 0 }
    }
}

/// What a handler was doing when it panicked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PanicReport {
    /// The panic's own words.
    pub what: String,
    /// Kind and symbol of the event that the handler was given.
    pub event: Option<(EventKind, Symbol)>,
    /// The slot of the connection it came from.
    pub slot: Option<u16>,
    /// The message, its first bytes.
    pub message: Vec<u8>,
}

/// Longest time between two housekeepings.
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// Longest sleep of a parked core: its housekeeping is late by this much at most.
const PARK_MS: i32 = 50;
/// Longest sleep while connections close, so that the end is noticed in time.
const STOPPING_PARK_MS: i32 = 5;
/// How long a connection that cannot be written to any more may still be read: the peer's last words and its close code
/// come within that.
const MUTE_WAIT_NS: u64 = 1_000_000_000;
/// How long a peer has to answer our close frame: `stop` ends within 150 ms whatever the peers do.
const CLOSE_WAIT_NS: u64 = 80_000_000;
/// Commands taken in one turn, so that a full ring does not keep the sockets waiting.
const COMMANDS_PER_TURN: usize = 32;
/// How long the other connection of an overlap has to bring what one left out, before it is told as missing: legs lag each other
/// by far less.
const HOLE_WAIT_NS: u64 = 1_000_000_000;
/// Refilled trades delivered in one turn, so that none of them keeps the sockets waiting.
const REFILLED_PER_TURN: usize = 32;
/// Refills that may be under way at a time; one more is given back with nothing of it delivered, and counted.
const REFILL_COUNT_MAX: usize = 64;
/// Up to this many sockets a spinning core reads each in turn; above it asks the kernel which are ready. By
/// `cargo bench --bench wait` an empty `recv` costs 1.5 empty `epoll_wait`s, and `epoll_wait` costs the same for 1 socket
/// and for 256. A frame waits half an empty turn on average; behind an `epoll_wait` it also waits for that call to
/// return: with one of two sockets busy the two are even, with one of three the kernel wins by 8 %.
const DIRECT_SOCKET_COUNT_MAX: usize = 2;

/// One connection as its core holds it.
#[derive(Default)]
struct Slot {
    owned: Owned,
    /// When the socket was last looked at: its last read, or the wait that found it silent.
    looked: Ticks,
    /// True until the bytes that came behind the 101 were delivered.
    is_new: bool,
    /// The core's `watched_ns` at that time.
    watched_ns: u64,
    /// True while the poller watches for writability.
    is_writing: bool,
    /// When our close frame was sent.
    closing_since: Option<Ticks>,
    /// When the writing side was found to have failed.
    mute_since: Option<Ticks>,
    /// What of its messages is looked at closer.
    sampler: Sampler,
    /// Set while it is in an overlap.
    role: Option<Role>,
}

#[derive(Default)]
enum Owned {
    #[default]
    Nothing,
    Hot(Box<Attachment>),
    Cold(Box<Feed>),
}

/// One hot core. See the module.
pub struct Core<S> {
    settings: CoreSettings,
    clock: Clock,
    poller: Poller,
    /// Up to this many sockets are read in turn by a core that never sleeps.
    direct_socket_count_max: usize,
    /// The poller watches every live socket; else it watches none.
    is_watching: bool,
    waker: Arc<Waker>,
    commands: Consumer<Command>,
    outbox: Outbox,
    stats: Arc<CoreStats>,
    slots: Box<[Slot]>,
    /// Slots that own a hot connection, in no order.
    live: Vec<u16>,
    desk: Desk<S>,
    on_symbol: fn(&mut S, &mut Router<S>, &SymbolSpec),
    /// Kept as they came: a box opened here would be freed here.
    #[expect(clippy::vec_box, reason = "moving a spec out of its box would free the box on the hot thread")]
    specs: Vec<Box<SymbolSpec>>,
    /// The message of a cold connection while it is decoded.
    cold_message: Vec<u8>,
    /// The last reading of the clock. A visit begins at it: it is read anew behind whatever takes time.
    now: Ticks,
    housekept: Ticks,
    /// Time spent in waits that watch every socket, ever; a socket's gap leaves it out.
    watched_ns: u64,
    allocations_at_start: u64,
    /// Some connection holds bytes that no readiness will announce.
    has_buffered: bool,
    /// What is being delivered refilled.
    refills: VecDeque<Box<Refill>>,
    stopping_since: Option<Ticks>,
    /// What is published of the books stays as it is.
    are_books_final: bool,
}

impl<S> Core<S> {
    /// A core with its strategy, ready to run. Allocates all that the loop will ever use, and writes to it, so that no
    /// message waits for the kernel to give memory: to be called on the thread that will run it. The ring of commands is
    /// written by its other end; a symbol's memory comes with the symbol, a connection's with the connection.
    ///
    /// # Errors
    /// The kernel's, when no file descriptor is left.
    pub fn new(
        settings: CoreSettings,
        ports: HotPorts,
        stats: Arc<CoreStats>,
        strategy: Strategy<S>,
    ) -> std::io::Result<Self> {
        let clock = Clock::new();
        let now = clock.ticks();
        let slots = (0..CONNECTION_COUNT_MAX).map(|_| Slot::default()).collect();
        let HotPorts { commands, mut notices, waker, cold_waker, mut pool } = ports;
        touch_stack();
        if let Ok(mut room) = notices.write_chunk_uninit(RING_SLOTS) {
            let (front, back) = room.as_mut_slices();
            touch::slots(front);
            touch::slots(back);
        }
        pool.iter_mut().for_each(|buffer| touch::slots(buffer.spare_capacity_mut()));
        let waiting = VecDeque::from(touch::vec(4 * CONNECTION_COUNT_MAX));
        let board = Arc::clone(&stats.board);
        let outbox = Outbox { notices, waker: cold_waker, pool, waiting };
        Ok(Self {
            settings,
            clock,
            poller: Poller::new(&waker)?,
            direct_socket_count_max: match settings.wait {
                Wait::Auto => DIRECT_SOCKET_COUNT_MAX,
                Wait::Recv => usize::MAX,
                Wait::Epoll => 0,
            },
            is_watching: settings.idle == Idle::Park,
            waker,
            commands,
            outbox,
            stats,
            slots,
            live: Vec::with_capacity(CONNECTION_COUNT_MAX),
            desk: Desk {
                symbols: HotSymbols::new(),
                scratch: DecoderScratch::new(),
                router: Router::new(),
                state: strategy.state,
                shelf: Shelf::new(board),
                overlaps: Overlaps::default(),
                trails: Trails::new(),
                conflation: Conflation::new(),
                marks: Marks::new(),
                latency_sample_every: settings.latency_sample_every,
            },
            on_symbol: strategy.on_symbol,
            specs: touch::vec(SYMBOL_COUNT_MAX),
            cold_message: Vec::new(),
            now,
            housekept: now,
            watched_ns: 0,
            allocations_at_start: 0,
            has_buffered: false,
            refills: VecDeque::from(touch::vec(REFILL_COUNT_MAX)),
            stopping_since: None,
            are_books_final: false,
        })
    }

    /// Runs until [`Command::Stop`] and the closing handshakes. A panic of a handler ends the loop and is returned
    /// with the event and the message that it was given; the connections are closed by dropping the core.
    pub fn run(mut self) -> Result<S, Box<PanicReport>> {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.stats.stamp_cost.measure(self.settings.latency_sample_every, &self.clock, &self.stats.stages);
            self.allocations_at_start = (self.settings.thread_allocations)();
            self.now = self.clock.ticks();
            self.stats.is_running.store(true, Ordering::Release);
            while !self.has_stopped() {
                self.turn();
            }
            self.housekeeping(self.clock.ticks());
        }));
        self.stats.is_running.store(false, Ordering::Release);
        match ended {
            Ok(()) => Ok(self.desk.state),
            Err(payload) => Err(Box::new(self.panic_report(payload.as_ref()))),
        }
    }

    fn has_stopped(&self) -> bool {
        let Some(since) = self.stopping_since else { return false };
        let waited_ns = self.clock.elapsed_ns(since, self.clock.ticks());
        self.live.is_empty() || waited_ns > CLOSE_WAIT_NS
    }

    fn turn(&mut self) {
        self.stats.turns.add(1);
        if !self.commands.is_empty() {
            self.take_commands();
            self.now = self.clock.ticks();
        }
        if !self.outbox.waiting.is_empty() {
            self.outbox.retry();
            self.now = self.clock.ticks();
        }
        if self.is_watching != self.asks_kernel() {
            self.watch(!self.is_watching);
            self.now = self.clock.ticks();
        }
        let has_worked = match self.settings.idle {
            Idle::Park => self.visit_after_sleep(),
            Idle::Spin | Idle::Yield if self.is_watching => self.visit_ready(0),
            Idle::Spin | Idle::Yield => self.visit_all(),
        };
        if !self.refills.is_empty() {
            self.deliver_refilled();
        }
        let now = self.clock.ticks();
        self.now = now;
        // A counter that was reset lies before the last housekeeping: only this one finds out.
        if now < self.housekept || self.clock.elapsed_ns(self.housekept, now) >= HOUSEKEEPING_NS {
            self.housekeeping(now);
            self.now = self.clock.ticks();
        }
        if !has_worked {
            match self.settings.idle {
                // With sockets a turn is a call of the kernel: a pause behind it only makes the turn longer.
                Idle::Spin if self.live.is_empty() => std::hint::spin_loop(),
                Idle::Spin | Idle::Park => {}
                Idle::Yield => {
                    std::thread::yield_now();
                    self.now = self.clock.ticks();
                }
            }
        }
    }

    /// Takes what one socket has, within the budget. True if anything came.
    fn visit(&mut self, slot_index: u16) -> bool {
        let slot = &mut self.slots[usize::from(slot_index)];
        let Owned::Hot(attachment) = &mut slot.owned else { return false };
        let Attachment { connection, feed } = &mut **attachment;
        let Feed { decoder, stats, socket, server_ping, leg, conflates_quotes, .. } = feed;
        let started = self.now;
        let unwatched_ns =
            self.clock.elapsed_ns(slot.looked, started).saturating_sub(self.watched_ns - slot.watched_ns);
        stats.visit_gap.record(unwatched_ns);
        slot.looked = started;
        slot.watched_ns = self.watched_ns;
        let server_ping = server_ping.as_deref();
        let pass = Pass {
            slot: slot_index,
            leg: *leg,
            role: slot.role,
            conflates_quotes: *conflates_quotes,
            stats,
            socket,
            server_ping,
            core: &self.stats,
            clock: &self.clock,
        };
        let was_new = std::mem::take(&mut slot.is_new);
        let outcome = if was_new {
            pass.drain(connection, decoder, started, &mut self.desk, &mut self.outbox, &mut slot.sampler)
        } else {
            Ok(())
        };
        let outcome = outcome.and_then(|()| {
            pass.read_within_budget(connection, decoder, &mut self.desk, &mut self.outbox, &mut slot.sampler)
        });
        if !self.desk.conflation.is_empty() {
            pass.deliver_held(&mut self.desk, &mut self.outbox, &mut slot.sampler);
        }
        if let Some(counts) = connection.take_tls_counts() {
            stats.key_updates.add(counts.key_updates);
            stats.tickets_dropped.add(counts.tickets_dropped);
        }
        match outcome {
            Ok(has_worked) => {
                if connection.write_failure().is_some() {
                    slot.mute_since.get_or_insert(started);
                }
                self.has_buffered |= connection.has_buffered();
                let wants_write = connection.wants_write();
                if wants_write != slot.is_writing && self.is_watching {
                    slot.is_writing = wants_write;
                    let _ = self.poller.modify(connection.raw_fd(), slot_index, wants_write);
                }
                let has_worked = has_worked || was_new;
                if has_worked {
                    self.now = self.clock.ticks();
                }
                has_worked
            }
            Err(closed) => {
                self.lose(slot_index, closed);
                self.now = self.clock.ticks();
                true
            }
        }
    }

    #[cold]
    fn lose(&mut self, slot_index: u16, closed: Closed) {
        self.tell_overdue(|index, _, _| index == slot_index);
        let Some(slot) = self.slots.get_mut(usize::from(slot_index)) else { return };
        let Slot { owned, role, .. } = std::mem::take(slot);
        let spent = match owned {
            Owned::Nothing => return,
            Owned::Cold(feed) => Spent::Feed(feed),
            Owned::Hot(attachment) => {
                if self.is_watching {
                    let _ = self.poller.remove(attachment.connection.raw_fd());
                }
                self.live.retain(|&live| live != slot_index);
                Spent::Connection(attachment)
            }
        };
        let returned = role.and_then(|role| self.desk.overlaps.lose(role));
        self.lose_books(slot_index, role);
        self.outbox.deliver(Notice::Lost { slot: slot_index, closed, spent });
        if let Some((slot, has_snapshot_passed)) = returned {
            self.outbox.deliver(Notice::LeadReturned { slot, has_snapshot_passed });
        }
    }

    #[cold]
    fn take_commands(&mut self) {
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.commands.pop() else { return };
            match command {
                Command::Attach(attachment) => self.attach(attachment),
                Command::AttachCold(feed) => self.attach_cold(feed),
                Command::Message { slot, payload, received } => self.cold_message(slot, payload, received),
                Command::Send { slot, text } => self.send(slot, text),
                Command::Ping { slot } => self.ping(slot),
                Command::Close { slot, code } => self.close(slot, code),
                Command::BeginOverlap(overlap) => self.begin_overlap(overlap),
                Command::Promote { slot } => {
                    let is_known = self.desk.overlaps.promote(slot);
                    self.stats.overlaps_unknown.add(u64::from(!is_known));
                }
                Command::EndOverlap { id } => self.end_overlap(id),
                Command::Interrupted(interruption) => self.interrupted(interruption),
                Command::Refill(refill) => self.refill(refill),
                Command::AddSymbol(spec) => self.add_symbol(spec),
                Command::AddBook(slot) => self.add_book(slot),
                Command::AddLegBooks(books) => self.add_leg_books(books),
                Command::RemoveBook { symbol } => self.remove_book(symbol),
                Command::BeginFetch { symbol } => self.begin_fetch(symbol),
                Command::Snapshot(snapshot) => self.take_snapshot(snapshot),
                Command::EndFetch { symbol } => self.desk.shelf.end_fetch(symbol),
                Command::Quarantine { symbol, reason } => self.quarantine(symbol, reason),
                Command::TickChanged { symbol } => self.tick_changed(symbol),
                Command::ReadBook(copy) => self.read_book(copy),
                Command::Recycle(mut buffer) => {
                    buffer.clear();
                    self.outbox.pool.push(buffer);
                }
                Command::Stopping => self.publish_books_at_last(),
                Command::Stop => self.stop(),
            }
        }
    }

    fn attach(&mut self, mut attachment: Box<Attachment>) {
        let index = attachment.feed.slot;
        let now = self.clock.ticks();
        attachment.connection.touch();
        attachment.feed.stats.touch();
        attachment.feed.decoder.connection_started();
        attachment.feed.socket.connected_ns.set(self.clock.mono(now).0);
        let fd = attachment.connection.raw_fd();
        let Some(slot) = free_slot(&mut self.slots, index) else {
            return self.refuse(Spent::Connection(attachment));
        };
        let joined = self.desk.overlaps.attach(index, attachment.feed.leg, attachment.feed.joining);
        *slot = Slot {
            owned: Owned::Hot(attachment),
            looked: now,
            watched_ns: self.watched_ns,
            is_new: true,
            role: joined.unwrap_or(None),
            ..Slot::default()
        };
        self.live.push(index);
        self.has_buffered = true;
        if joined.is_err() {
            return self.drop_unjoined(index);
        }
        if self.is_watching
            && let Err(error) = self.poller.add(fd, index, false)
        {
            self.lose(index, transport_failed(error));
        }
    }

    fn attach_cold(&mut self, mut feed: Box<Feed>) {
        feed.stats.touch();
        feed.decoder.connection_started();
        feed.socket.connected_ns.set(self.clock.mono(self.clock.ticks()).0);
        let Some(slot) = free_slot(&mut self.slots, feed.slot) else {
            return self.refuse(Spent::Feed(feed));
        };
        let index = feed.slot;
        let joined = self.desk.overlaps.attach(index, feed.leg, feed.joining);
        *slot = Slot { owned: Owned::Cold(feed), role: joined.unwrap_or(None), ..Slot::default() };
        if joined.is_err() {
            self.drop_unjoined(index);
        }
    }

    /// A leg whose overlap this core does not have, or whose place is taken: all that it brings would be delivered twice.
    #[cold]
    fn drop_unjoined(&mut self, slot: u16) {
        self.stats.overlaps_unknown.add(1);
        self.lose(slot, Closed { code: None, by: ClosedBy::Dropped });
    }

    /// Gives back what asked for a slot that is taken, or is none. Its connection was never this core's, so no `Lost`
    /// follows: one would free the slot of another.
    #[cold]
    fn refuse(&mut self, spent: Spent) {
        self.stats.attachments_refused.add(1);
        self.outbox.deliver(Notice::Spent(spent));
    }

    fn begin_overlap(&mut self, overlap: Box<Overlap>) {
        let owned = &mut self.slots;
        let has = |slot: u16| owned.get(usize::from(slot)).is_some_and(|slot| !matches!(slot.owned, Owned::Nothing));
        match self.desk.overlaps.begin(overlap, has) {
            Ok(roles) => {
                for (slot, role) in roles.into_iter().flatten() {
                    if let Some(slot) = owned.get_mut(usize::from(slot)) {
                        slot.role = Some(role).filter(|_| !matches!(slot.owned, Owned::Nothing));
                    }
                }
            }
            Err(overlap) => {
                self.stats.overlaps_refused.add(1);
                let slot = overlap.rotation().map(|[leader, _]| leader);
                self.outbox.deliver(Notice::OverlapRefused { slot, overlap });
            }
        }
    }

    fn end_overlap(&mut self, id: u32) {
        let Some(overlap) = self.desk.overlaps.end(id) else { return self.stats.overlaps_unknown.add(1) };
        for slot in &mut self.slots {
            // The place of an overlap that has ended is free: a role that names it has ended too.
            slot.role = slot.role.filter(|&role| self.desk.overlaps.get(role).is_some());
        }
        self.outbox.deliver(Notice::Spent(Spent::Overlap(overlap)));
        self.tell_overdue(|_, role, _| role.is_none());
    }

    /// Tells of the holes that wait for the other connection and need not wait any more: by the slot that left each, its role,
    /// and since when it waits.
    fn tell_overdue(&mut self, is_overdue: impl Fn(u16, Option<Role>, MonoNs) -> bool) {
        if !self.desk.trails.has_opened() {
            return;
        }
        for (index, slot) in (0_u16..).zip(&mut self.slots) {
            let Slot { owned, role, sampler, .. } = slot;
            let feed = match owned {
                Owned::Nothing => continue,
                Owned::Hot(attachment) => &attachment.feed,
                Owned::Cold(feed) => feed,
            };
            let pass = Pass::new((index, *role), feed, &self.stats, &self.clock);
            let is_due = |hole: &Hole, opened| hole.slot == index && is_overdue(index, *role, opened);
            pass.tell_overdue(&mut self.desk, &mut self.outbox, sampler, is_due);
        }
    }

    fn interrupted(&mut self, interruption: Box<Interruption>) {
        let is_resubscribed = interruption.is_resubscribed;
        for &(symbol, stream_kind) in &interruption.streams {
            let places = (0..LEG_PLACES).filter_map(|place| u8::try_from(place).ok());
            let has_spoken =
                places.map(|leg| self.stats.pulses.last_data(symbol, stream_kind, leg)).any(|last| last != MonoNs(0));
            self.desk.trails.interrupt(symbol, stream_kind, is_resubscribed, has_spoken);
        }
        self.outbox.deliver(Notice::Spent(Spent::Interruption(interruption)));
    }

    fn refill(&mut self, refill: Box<Refill>) {
        if self.refills.len() < REFILL_COUNT_MAX {
            self.refills.push_back(refill);
        } else {
            let stats = Arc::clone(&refill.stats);
            let was_fetched = !refill.events.is_empty();
            let left = self.end_refill(refill);
            // Of an empty answer the cold side has said why.
            if was_fetched {
                stats.refills_without_room.add(left);
            }
        }
    }

    /// Delivers some of the trades that were missing.
    #[cold]
    fn deliver_refilled(&mut self) {
        for _ in 0..REFILLED_PER_TURN {
            let Some(refill) = self.refills.front_mut() else { return };
            let Desk { trails, router, state, overlaps, .. } = &mut self.desk;
            let role = self.slots.get(usize::from(refill.slot)).and_then(|slot| slot.role);
            let (symbol, stream_kind) = (refill.ids.symbol, refill.ids.stream_kind);
            let now = self.clock.mono(self.clock.ticks());
            let remember = |id| {
                if let Some((overlap, _)) = role.and_then(|role| overlaps.get(role)) {
                    overlap.remember(symbol, stream_kind, id, now);
                }
            };
            if !refill.deliver_next((trails, remember), (router, state), &self.stats)
                && let Some(refill) = self.refills.pop_front()
            {
                self.end_refill(refill);
            }
        }
    }

    /// Gives an answer back. How many of its ids are still missing, and will not be refilled.
    fn end_refill(&mut self, refill: Box<Refill>) -> u64 {
        let left = self.desk.trails.end_refill(refill.ids);
        self.outbox.deliver(Notice::Spent(Spent::Refill(refill)));
        left
    }

    fn add_symbol(&mut self, spec: Box<SymbolSpec>) {
        // Told twice (by its listing and by a program, say), it is the strategy's once.
        let is_known = self.desk.symbols.find(spec.venue, spec.name.as_bytes()).is_some();
        if is_known || self.specs.len() == self.specs.capacity() {
            self.outbox.deliver(Notice::Spent(Spent::Symbol(spec)));
            return;
        }
        self.desk.symbols.add(&spec);
        self.desk.trails.add(&spec);
        (self.on_symbol)(&mut self.desk.state, &mut self.desk.router, &spec);
        self.specs.push(spec);
    }

    fn send(&mut self, slot: u16, text: Vec<u8>) {
        let sent = match hot_connection(&mut self.slots, slot) {
            Some(connection) => connection.send_text(&text),
            None => Err(SendError::Closing),
        };
        let notice = match sent {
            Ok(()) => {
                self.has_buffered = true;
                Notice::Spent(Spent::Buffer(text))
            }
            Err(_) => {
                self.stats.sends_dropped.add(1);
                Notice::Unsent { slot, text }
            }
        };
        self.outbox.deliver(notice);
        // A connection that is closing, or closed, tells so by itself.
        if matches!(sent, Err(SendError::Full { .. })) {
            self.lose(slot, Closed { code: None, by: ClosedBy::PeerNotReading });
        }
    }

    /// A ping that does not fit waits behind data that proves more than the ping would: it is counted, no more.
    fn ping(&mut self, slot: u16) {
        let sent = hot_connection(&mut self.slots, slot).map(|connection| connection.send_ping(b""));
        self.stats.sends_dropped.add(u64::from(!matches!(sent, Some(Ok(())))));
        self.has_buffered = true;
    }

    fn close(&mut self, slot_index: u16, code: u16) {
        let Some(slot) = self.slots.get_mut(usize::from(slot_index)) else { return };
        match &mut slot.owned {
            Owned::Hot(attachment) if code != 0 => {
                attachment.connection.start_close(code, "");
                slot.closing_since.get_or_insert(self.clock.ticks());
                self.has_buffered = true;
            }
            Owned::Hot(_) | Owned::Cold(_) => self.lose(slot_index, Closed { code: None, by: ClosedBy::Dropped }),
            Owned::Nothing => {}
        }
    }

    /// What the reports show of the books is how they were until now: that all are cut off from here on is no news.
    fn publish_books_at_last(&mut self) {
        if !self.are_books_final {
            self.desk.shelf.publish(&self.stats.books);
        }
        self.are_books_final = true;
    }

    fn stop(&mut self) {
        self.publish_books_at_last();
        self.stopping_since = Some(self.clock.ticks());
        for at in 0..self.live.len() {
            self.close(self.live[at], 1000);
        }
    }

    /// One message of a connection on the cold side, handled here so that handlers run on their core's thread only.
    fn cold_message(&mut self, slot_index: u16, payload: Vec<u8>, received: Received) {
        let slot = self.slots.get_mut(usize::from(slot_index));
        let Some(Slot { owned: Owned::Cold(feed), sampler, role, .. }) = slot else {
            self.stats.messages_dropped.add(1);
            self.outbox.deliver(Notice::Spent(Spent::Buffer(payload)));
            return;
        };
        self.cold_message = payload;
        let Feed { decoder, stats, socket, server_ping, leg, .. } = &mut **feed;
        socket.last_seen_ns.set(received.mono.0);
        let server_ping = server_ping.as_deref();
        let pass = Pass {
            slot: slot_index,
            leg: *leg,
            role: *role,
            // Each message comes by itself: nothing is known of what lies behind.
            conflates_quotes: false,
            stats,
            socket,
            server_ping,
            core: &self.stats,
            clock: &self.clock,
        };
        let message = Payload::of_vec(&mut self.cold_message);
        let mut batch = pass.batch(received, None, &mut self.desk, &mut self.outbox, sampler);
        batch.deliver(decoder, message, Backlog::NONE);
        batch.finish();
        let payload = std::mem::take(&mut self.cold_message);
        self.outbox.deliver(Notice::Spent(Spent::Buffer(payload)));
    }

    #[cold]
    fn housekeeping(&mut self, now: Ticks) {
        self.housekept = now;
        self.clock.reanchor();
        self.stats.clock_error_ns_max.set(self.clock.error_ns_max());
        self.stats.clock_steps.set(self.clock.steps());
        self.stats.allocations.set((self.settings.thread_allocations)() - self.allocations_at_start);
        if !self.are_books_final {
            self.desk.shelf.publish(&self.stats.books);
        }
        if self.commands.is_abandoned() && self.stopping_since.is_none() {
            // The cold side is gone: nobody could attach, detach or stop any more.
            self.stop();
        }
        let mono = self.clock.mono(now);
        self.tell_overdue(|_, _, opened| mono.since_ns(opened) > HOLE_WAIT_NS);
        self.tell_overdue_books(mono);
        // What the ring had no room for.
        self.outbox.ask(&mut self.desk.trails);
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let has_waited = |since: Option<Ticks>, ns| since.is_some_and(|at| self.clock.elapsed_ns(at, now) > ns);
            let closed = if has_waited(slot.closing_since, CLOSE_WAIT_NS) {
                Closed { code: None, by: ClosedBy::CloseTimedOut }
            } else if has_waited(slot.mute_since, MUTE_WAIT_NS)
                && let Owned::Hot(attachment) = &slot.owned
                && let Some(closed) = attachment.connection.write_failure()
            {
                closed
            } else {
                continue;
            };
            self.lose(u16::try_from(index).expect("at most CONNECTION_COUNT_MAX slots"), closed);
        }
    }

    fn panic_report(&mut self, payload: &(dyn std::any::Any + Send)) -> PanicReport {
        let what = panic_words(payload);
        let doing = self.stats.current.get();
        let (slot, event) = (doing.map(|doing| doing.slot), doing.and_then(|doing| doing.event));
        let owned = slot.and_then(|slot| self.slots.get_mut(usize::from(slot)));
        let message = match owned.map(|slot| &mut slot.owned) {
            Some(Owned::Hot(attachment)) => attachment.connection.last_message(),
            Some(Owned::Cold(_)) => {
                let length = self.cold_message.len().saturating_sub(READ_PADDING_BYTES);
                &self.cold_message[..length]
            }
            Some(Owned::Nothing) | None => &[],
        };
        // Tier two may have rewritten the message; it kept it as it came.
        let pristine = self.desk.scratch.pristine();
        let message = if pristine.is_empty() { message } else { pristine };
        PanicReport { what, event, slot, message: message[..message.len().min(SAMPLE_BYTES)].to_vec() }
    }
}

/// Stack that the loop may reach: its deepest calls take some kilobytes each, a handler what it likes.
const STACK_BYTES: usize = 256 * 1024;

/// Brings the memory of the thread's stack in.
#[inline(never)]
fn touch_stack() {
    let mut stack = [0; STACK_BYTES];
    touch::bytes(&mut stack);
}

/// A panic's own words.
pub(super) fn panic_words(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// The end of a connection that the kernel would not watch.
fn transport_failed(error: std::io::Error) -> Closed {
    Closed { code: None, by: ClosedBy::Transport(error.into()) }
}

/// The slot with this number, if it exists and owns nothing.
fn free_slot(slots: &mut [Slot], index: u16) -> Option<&mut Slot> {
    slots.get_mut(usize::from(index)).filter(|slot| matches!(slot.owned, Owned::Nothing))
}

/// The hot connection in a slot, if there is one.
fn hot_connection(slots: &mut [Slot], index: u16) -> Option<&mut HotConnection> {
    match slots.get_mut(usize::from(index)) {
        Some(Slot { owned: Owned::Hot(attachment), .. }) => Some(&mut attachment.connection),
        _ => None,
    }
}

impl Slot {
    fn holds_bytes(&self) -> bool {
        match &self.owned {
            Owned::Hot(attachment) => {
                let connection = &attachment.connection;
                self.is_new || connection.has_buffered() || connection.wants_write() != self.is_writing
            }
            Owned::Nothing | Owned::Cold(_) => false,
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
