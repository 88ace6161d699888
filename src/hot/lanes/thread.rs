//! The lane's side: one thread that takes what the core sent, in its order, and calls the functions of its strategy.
//!
//! ```text
//! turn:  next event ─► its symbol known? (else: learn what the cold side told) ─► Router<L> ─► fn(&mut L, &Event)
//!        none waits ─► now and then: learn symbols ─► spin, yield or sleep
//! ```
//! A symbol's `on_symbol` is called before its first event: the cold side tells the lanes of it before it tells the core.
//! After its start a lane allocates only where it learns a symbol, or its handlers do.

use super::super::clock::{Clock, Ticks};
use super::super::core::Strategy;
use super::super::router::{Router, take_unrouted};
use super::LaneIdle;
use super::pool::Place;
use super::queue::Receiving;
use super::stats::{LanePhase, LaneStats};
use crate::limits::{SAMPLE_BYTES, SYMBOL_COUNT_MAX};
use crate::market::{EventKind, Symbol, SymbolSpec};
use fixedbitset::FixedBitSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

/// Why a lane's strategy with a handler for kept books ends at its first symbol.
const NO_BOOKS: &str = "on_book: kept books are read on their hot core alone; a lane gets the messages they are made of, \
                        with the book's state, by on_book_delta";

/// Looks in vain for which a lane that spins asks once for new symbols: asking takes as long as looking, and an event would
/// wait for it.
const LEARNED_EVERY: u32 = 64;

/// Events of a backlog for which it is counted once.
const COUNTED_EVERY: u32 = 16;

/// What a lane's thread receives by.
#[derive(Debug)]
pub struct LaneReceiver {
    pub(super) queue: Receiving,
    told: Receiver<Box<SymbolSpec>>,
    idle: LaneIdle,
    stats: Arc<LaneStats>,
}

impl LaneReceiver {
    pub(super) const fn new(
        queue: Receiving,
        told: Receiver<Box<SymbolSpec>>,
        idle: LaneIdle,
        stats: Arc<LaneStats>,
    ) -> Self {
        Self { queue, told, idle, stats }
    }
}

/// What a lane was doing when it panicked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LanePanic {
    /// The lane's name.
    pub lane: String,
    /// The panic's own words.
    pub what: String,
    /// Kind and symbol of the event that the handler was given.
    pub event: Option<(EventKind, Symbol)>,
    /// The event as the handler saw it, its beginning.
    pub shown: String,
}

/// One lane's thread. See the module.
#[derive(Debug)]
pub struct LaneThread<L> {
    receiver: LaneReceiver,
    state: L,
    router: Router<L>,
    on_symbol: fn(&mut L, &mut Router<L>, &SymbolSpec),
    clock: Clock,
    known: FixedBitSet,
    /// What the router took of each kind when the core was last told, a bit for each symbol.
    published: Box<[[u64; SYMBOL_COUNT_MAX / 64]]>,
    /// Symbols of which the core is to be told, while that is found out.
    changed: FixedBitSet,
    /// The event in the handler.
    in_hand: Option<Place>,
    /// Events until the backlog is counted again; zero where there was none.
    until_counted: u32,
    /// Looks in vain.
    looks: u32,
}

impl<L> LaneThread<L> {
    /// A lane with its strategy, ready to run. Allocates all that its loop will ever use.
    #[must_use]
    pub fn new(receiver: LaneReceiver, strategy: Strategy<L>) -> Self {
        let Strategy { state, on_symbol } = strategy;
        Self {
            receiver,
            state,
            router: Router::new(),
            on_symbol,
            clock: Clock::new(),
            known: FixedBitSet::with_capacity(SYMBOL_COUNT_MAX),
            published: vec![[0; SYMBOL_COUNT_MAX / 64]; EventKind::ALL.len()].into_boxed_slice(),
            changed: FixedBitSet::with_capacity(SYMBOL_COUNT_MAX),
            in_hand: None,
            until_counted: 0,
            looks: 0,
        }
    }

    /// Runs until it is told to end, and what waits then is delivered. A panic of a handler ends it and is returned with the
    /// event.
    ///
    /// # Errors
    /// What a handler was doing when it panicked.
    pub fn run(mut self) -> Result<L, Box<LanePanic>> {
        let stats = Arc::clone(&self.receiver.stats);
        stats.is_running.store(true, Ordering::Release);
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| while self.turn() {}));
        stats.is_running.store(false, Ordering::Release);
        match ended {
            Ok(()) => Ok(self.state),
            Err(payload) => {
                // The core is not to wait for a lane that is gone.
                stats.enter(LanePhase::Cut);
                Err(Box::new(self.panic_report(payload.as_ref())))
            }
        }
    }

    /// One event, or one look where none waits. False once it is over.
    pub(super) fn turn(&mut self) -> bool {
        let stats = &self.receiver.stats;
        stats.lane.turns.add(1);
        // Read before the look: what was sent before the end is still found.
        let phase = stats.phase();
        if phase == LanePhase::Cut {
            return false;
        }
        if let Some(place) = self.receiver.queue.take() {
            self.note_waiting();
            self.deliver(place);
            return true;
        }
        if phase == LanePhase::Draining {
            self.learn();
            return false;
        }
        // Before its first event a symbol is learned in any case: here it is so that the core hears soon what is not wanted.
        self.looks = self.looks.wrapping_add(1);
        if self.receiver.idle != LaneIdle::Spin || self.looks.is_multiple_of(LEARNED_EVERY) {
            self.learn();
        }
        match self.receiver.idle {
            LaneIdle::Spin => std::hint::spin_loop(),
            LaneIdle::Yield => std::thread::yield_now(),
            LaneIdle::Sleep(time) => std::thread::sleep(time),
        }
        true
    }

    /// Notes how many events wait, the one that was just taken among them. Their count is the core's word, and a look at it
    /// takes it away from the core: it is asked for where a backlog begins, and then once in so many events.
    fn note_waiting(&mut self) {
        let waiting = if !self.receiver.queue.has_more() {
            self.until_counted = 0;
            1
        } else if self.until_counted > 0 {
            self.until_counted -= 1;
            return;
        } else {
            self.until_counted = COUNTED_EVERY - 1;
            1 + self.receiver.queue.waiting() as u64
        };
        if waiting > self.receiver.stats.lane.waiting_max.get() {
            self.receiver.stats.lane.waiting_max.set(waiting);
        }
    }

    fn deliver(&mut self, place: Place) {
        let what = self.receiver.queue.slot(&place).what().map(|(kind, meta)| (kind, meta.symbol));
        if what.is_some_and(|(_, symbol)| !self.known.contains(symbol.index())) {
            self.learn();
        }
        let place = self.in_hand.insert(place);
        let stats = &self.receiver.stats;
        let slot = self.receiver.queue.slot(place);
        if let Some((kind, symbol)) = what {
            stats.lane.current.at_event(0, kind, symbol);
        }
        if slot.sent != Ticks::default() {
            stats.hop.record(self.clock.elapsed_ns(slot.sent, self.clock.ticks()));
        }
        slot.deliver(&self.router, &mut self.state);
        stats.lane.current.at_nothing();
        stats.lane.unrouted.add(take_unrouted());
        stats.lane.delivered.add(1);
        if let Some(place) = self.in_hand.take() {
            self.receiver.queue.give_back(place);
        }
    }

    /// Learns the symbols that the cold side told of.
    #[cold]
    fn learn(&mut self) {
        while let Ok(spec) = self.receiver.told.try_recv() {
            // Told twice, it is the strategy's once.
            if !self.known.put(spec.symbol.index()) {
                (self.on_symbol)(&mut self.state, &mut self.router, &spec);
                assert!(!self.router.takes_any(EventKind::KeptBook), "{NO_BOOKS}");
                self.publish(spec.symbol);
            }
        }
    }

    /// Tells the core what the router takes: of a new symbol, and where its `on_symbol` changed something of another.
    fn publish(&mut self, new: Symbol) {
        let Self { router, known, published, changed, receiver, .. } = self;
        changed.insert(new.index());
        for (kind, published) in EventKind::ALL.into_iter().zip(published.iter_mut()) {
            for (at, published) in published.iter_mut().enumerate() {
                let taken = router.taken_word(kind, at);
                let mut differs = taken ^ std::mem::replace(published, taken);
                while differs != 0 {
                    changed.insert(at * 64 + differs.trailing_zeros() as usize);
                    differs &= differs - 1;
                }
            }
        }
        // Of a symbol that is not known yet nothing is said: its own `on_symbol` may still want more.
        for symbol in changed.intersection(known).filter_map(Symbol::new) {
            let taken = EventKind::ALL.into_iter().filter(|&kind| router.takes(kind, symbol));
            receiver.stats.set_wants(symbol, taken);
        }
        changed.clear();
    }

    fn panic_report(&self, payload: &(dyn std::any::Any + Send)) -> LanePanic {
        let slot = self.in_hand.as_ref().map(|place| self.receiver.queue.slot(place));
        let mut shown = slot.map(|slot| format!("{slot:?}")).unwrap_or_default();
        let length = (0..=SAMPLE_BYTES).rev().find(|&at| shown.is_char_boundary(at)).unwrap_or_default();
        shown.truncate(length);
        LanePanic {
            lane: self.receiver.stats.settings().name.clone(),
            what: super::super::core::panic_words(payload),
            event: slot.and_then(|slot| slot.what()).map(|(kind, meta)| (kind, meta.symbol)),
            shown,
        }
    }
}
