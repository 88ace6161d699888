//! From the hot core to a lane: which slots wait, and in which order. Two structures, one for each idea of order.
//!
//! ```text
//! drop_oldest, block: Ring     | place | place | ...      head: lane takes, or the core where the oldest gives way
//!                              head            tail: the core puts
//! latest: Newest               one word for each symbol and stream: the place that waits, or none
//!                              dirty ring: whose word was none, in that order
//! both                         returned ring: places that the lane has emptied
//! ```
//! The core's side is wait-free: it never waits for the lane, whatever the lane is in the midst of. A core that takes the
//! oldest away races the lane for it by one compare-exchange, and where it loses, the lane has just taken one. The place that
//! is in the handler is in no queue, so nothing overwrites what a handler reads.

use super::Policy;
use super::pool::{Place, Pool};
use super::slot::Slot;
use crate::limits::SYMBOL_COUNT_MAX;
use crate::market::{StreamKind, Symbol};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Places taken home at a time, so that no event pays for a whole ring of them.
const REFILL: usize = 32;

/// One side's word, on cache lines of its own: two, since they are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// Places in the order in which they were put.
///
/// Invariant: `head <= tail`, both only grow, and `tail - head` is at most the pool's count, which `entries` has room for.
#[derive(Debug)]
struct Ring {
    entries: Box<[AtomicU32]>,
    /// Next to be taken, by either side.
    head: Apart<AtomicU64>,
    /// Next to be put, by the core.
    tail: Apart<AtomicU64>,
}

impl Ring {
    fn new(count: usize) -> Self {
        let entries = (0..count.next_power_of_two()).map(|_| AtomicU32::new(0)).collect();
        Self { entries, head: Apart::default(), tail: Apart::default() }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked: the low bits are what is wanted")]
    fn entry(&self, at: u64) -> &AtomicU32 {
        &self.entries[at as usize & (self.entries.len() - 1)]
    }

    /// Puts a place at the end. By the core only.
    #[inline]
    fn put(&self, place: Place) {
        let tail = self.tail.0.load(Ordering::Relaxed);
        self.entry(tail).store(place.into_raw(), Ordering::Relaxed);
        self.tail.0.store(tail + 1, Ordering::Release);
    }

    /// Takes the oldest, from either side. Tries again only where the other side has just taken one.
    fn take(&self) -> Option<Place> {
        let mut head = self.head.0.load(Ordering::Acquire);
        loop {
            if head == self.tail.0.load(Ordering::Acquire) {
                return None;
            }
            let raw = self.entry(head).load(Ordering::Relaxed);
            match self.head.0.compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: `head` only grows, so each of its values is won once, by one side. While it had this value its
                // entry could not be overwritten: that takes as many puts as there are entries, and there are no more places
                // than that. So `raw` is the place that was put there, and this is the one taking of it.
                Ok(_) => return Some(unsafe { Place::from_raw(raw) }),
                Err(moved) => head = moved,
            }
        }
    }

    fn count(&self) -> usize {
        let head = self.head.0.load(Ordering::Acquire);
        usize::try_from(self.tail.0.load(Ordering::Acquire).saturating_sub(head)).unwrap_or(usize::MAX)
    }
}

/// No place waits for this symbol and stream.
const NONE: u32 = u32::MAX;

/// Words of all symbols and streams.
const KEY_COUNT: usize = SYMBOL_COUNT_MAX * StreamKind::COUNT;

/// The newest place of each symbol and stream. Whoever swaps a place out of its word has it.
#[derive(Debug)]
struct Newest(Box<[AtomicU32]>);

impl Newest {
    fn new() -> Self {
        Self((0..KEY_COUNT).map(|_| AtomicU32::new(NONE)).collect())
    }

    /// Puts `raw` for a key and takes what was there.
    #[inline]
    fn swap(&self, key: usize, raw: u32) -> Option<Place> {
        let before = self.0[key & (KEY_COUNT - 1)].swap(raw, Ordering::AcqRel);
        // SAFETY: every number but NONE was put here from a place, and a swap takes it out, so that no other can.
        (before != NONE).then(|| unsafe { Place::from_raw(before) })
    }
}

const _: () = assert!(KEY_COUNT.is_power_of_two() && KEY_COUNT < NONE as usize, "a mask keeps a key inside, as a u32");

/// The key of a symbol's stream.
#[inline]
fn key(symbol: Symbol, stream: StreamKind) -> usize {
    symbol.index() * StreamKind::COUNT + stream.index()
}

#[derive(Debug)]
enum Puts {
    InOrder(Arc<Ring>),
    Newest(Arc<Newest>, Producer<u32>),
}

#[derive(Debug)]
enum Takes {
    InOrder(Arc<Ring>),
    Newest(Arc<Newest>, Consumer<u32>),
}

/// The core's end.
#[derive(Debug)]
pub(super) struct Sending {
    pool: Arc<Pool>,
    free: Vec<Place>,
    returned: Consumer<Place>,
    puts: Puts,
}

/// The lane's end.
#[derive(Debug)]
pub(super) struct Receiving {
    pool: Arc<Pool>,
    returned: Producer<Place>,
    takes: Takes,
}

/// Both ends of a queue with this many slots.
pub(super) fn queue(policy: Policy, slots: usize, levels: usize) -> (Sending, Receiving) {
    let (pool, free) = Pool::new(slots, levels);
    let (give, returned) = RingBuffer::new(slots);
    let (puts, takes) = match policy {
        Policy::DropOldest | Policy::Block => {
            let ring = Arc::new(Ring::new(slots));
            (Puts::InOrder(Arc::clone(&ring)), Takes::InOrder(ring))
        }
        Policy::Latest => {
            let newest = Arc::new(Newest::new());
            // A key is in it at most once: it comes in where its word was none, and a place is in one word.
            let (dirty, waiting) = RingBuffer::new(slots);
            (Puts::Newest(Arc::clone(&newest), dirty), Takes::Newest(newest, waiting))
        }
    };
    let sending = Sending { pool: Arc::clone(&pool), free, returned, puts };
    (sending, Receiving { pool, returned: give, takes })
}

impl Sending {
    /// A place to write to; `None` where all of them wait or are in the handler.
    #[inline]
    pub(super) fn place(&mut self) -> Option<Place> {
        match self.free.pop() {
            Some(place) => Some(place),
            None => self.refill(),
        }
    }

    #[cold]
    fn refill(&mut self) -> Option<Place> {
        for _ in 0..REFILL {
            let Ok(place) = self.returned.pop() else { break };
            self.free.push(place);
        }
        self.free.pop()
    }

    /// Takes away the place that has waited longest; `None` where none waits, or the queue keeps no order.
    pub(super) fn oldest(&mut self) -> Option<Place> {
        match &self.puts {
            Puts::InOrder(ring) => ring.take(),
            Puts::Newest(..) => None,
        }
    }

    /// The slot of a place, to write.
    #[inline]
    pub(super) fn slot<'a>(&'a self, place: &'a mut Place) -> &'a mut Slot {
        self.pool.get_mut(place)
    }

    /// Hands a written place over. True if it took the place of an older one of its symbol and stream.
    #[inline]
    pub(super) fn put(&mut self, place: Place, symbol: Symbol, stream: StreamKind) -> bool {
        match &mut self.puts {
            Puts::InOrder(ring) => {
                ring.put(place);
                false
            }
            Puts::Newest(newest, dirty) => {
                let key = key(symbol, stream);
                match newest.swap(key, place.into_raw()) {
                    Some(older) => {
                        self.free.push(older);
                        true
                    }
                    None => {
                        let key = u32::try_from(key).expect("KEY_COUNT is below NONE");
                        dirty.push(key).expect("as many as there are places");
                        false
                    }
                }
            }
        }
    }
}

impl Receiving {
    /// The next place, to read; `None` where none waits.
    pub(super) fn take(&mut self) -> Option<Place> {
        match &mut self.takes {
            Takes::InOrder(ring) => ring.take(),
            // What was put between the pop and the swap is newer, and is taken with it.
            Takes::Newest(newest, dirty) => newest.swap(dirty.pop().ok()? as usize, NONE),
        }
    }

    /// Places that wait.
    pub(super) fn waiting(&self) -> usize {
        match &self.takes {
            Takes::InOrder(ring) => ring.count(),
            Takes::Newest(_, dirty) => dirty.slots(),
        }
    }

    /// The slot of a place, to read.
    pub(super) fn slot<'a>(&'a self, place: &'a Place) -> &'a Slot {
        self.pool.get(place)
    }

    /// Gives an emptied place back to the core.
    pub(super) fn give_back(&mut self, place: Place) {
        self.returned.push(place).expect("as many as there are places");
    }
}
