//! From the hot core to a lane: which slots wait, and in which order. Two structures, one for each idea of order.
//!
//! ```text
//! Ring                         | turn, what | turn, what | ...    turn: whose it is, so the lane looks at nothing else
//!                              head: lane takes, or the core where the oldest gives way     tail: the core puts
//! drop_oldest, block           one ring of places
//! latest: Newest               one word for each symbol and stream: the place that waits, or none
//!                              a ring of those whose word was none, in that order
//! both                         returned ring: places that the lane has emptied
//! ```
//! A line that one core has written takes long to reach another (100 to 200 ns), and lines that are found through each other
//! add up. So a lane that waits looks at the entry itself, which says by its turn that it has been put, and the place in it
//! leads to the slot: two lines, one behind the other, as with a bare ring.
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

/// What was put, and when.
#[derive(Debug, Default)]
#[repr(align(16))]
struct Entry {
    /// One more than the number of its put; zero before the first.
    turn: AtomicU64,
    what: AtomicU64,
}

/// Words in the order in which they were put.
///
/// Invariant: `head <= tail` but while a put is being finished, both only grow, and `tail - head` is at most what `entries` has
/// room for: the caller's promise.
#[derive(Debug)]
struct Ring {
    entries: Box<[Entry]>,
    /// Next to be taken, by either side.
    head: Apart<AtomicU64>,
    /// Next to be put, by the core. The lane looks at it to count and never to take.
    tail: Apart<AtomicU64>,
}

impl Ring {
    fn new(count: usize) -> Self {
        let entries = (0..count.next_power_of_two()).map(|_| Entry::default()).collect();
        Self { entries, head: Apart::default(), tail: Apart::default() }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked: the low bits are what is wanted")]
    fn entry(&self, at: u64) -> &Entry {
        &self.entries[at as usize & (self.entries.len() - 1)]
    }

    /// Puts a word at the end. By the core only, and never more than there is room for.
    #[inline]
    fn put(&self, what: u64) {
        let tail = self.tail.0.load(Ordering::Relaxed);
        debug_assert!(tail - self.head.0.load(Ordering::Relaxed) < self.entries.len() as u64, "there is room");
        let entry = self.entry(tail);
        entry.what.store(what, Ordering::Relaxed);
        entry.turn.store(tail + 1, Ordering::Release);
        self.tail.0.store(tail + 1, Ordering::Relaxed);
    }

    /// Takes the oldest, from either side. Each word that was put is taken once. Tries again only where the other side has
    /// just taken one.
    fn take(&self) -> Option<u64> {
        let mut head = self.head.0.load(Ordering::Acquire);
        loop {
            let entry = self.entry(head);
            let turn = entry.turn.load(Ordering::Acquire);
            if turn <= head {
                return None;
            }
            if turn == head + 1 {
                // While `head` has this value the entry is not overwritten: that takes as many puts as there are entries, for
                // which there is no room. So where it still has it then, this is the word that was put here, and it is won
                // once, by one side, because `head` only grows.
                let what = entry.what.load(Ordering::Relaxed);
                match self.head.0.compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return Some(what),
                    Err(moved) => head = moved,
                }
            } else {
                // The entry has been put again since: `head` has moved.
                head = self.head.0.load(Ordering::Acquire);
            }
        }
    }

    /// Words that wait.
    fn count(&self) -> usize {
        let head = self.head.0.load(Ordering::Acquire);
        usize::try_from(self.tail.0.load(Ordering::Relaxed).saturating_sub(head)).unwrap_or(usize::MAX)
    }

    /// Whether something waits, by a look at the entry alone.
    fn has_more(&self) -> bool {
        let head = self.head.0.load(Ordering::Relaxed);
        self.entry(head).turn.load(Ordering::Relaxed) > head
    }
}

/// A ring of places. Whoever takes a word out of it has its place.
#[derive(Debug)]
struct Places(Ring);

impl Places {
    /// Puts a place at the end. By the core only.
    #[inline]
    fn put(&self, place: Place) {
        self.0.put(u64::from(place.into_raw()));
    }

    /// Takes the oldest, from either side.
    #[expect(clippy::cast_possible_truncation, reason = "it was a u32 when it was put")]
    fn take(&self) -> Option<Place> {
        let raw = self.0.take()?;
        // SAFETY: words come into this ring from places alone, and the ring gives each of them once.
        Some(unsafe { Place::from_raw(raw as u32) })
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
    InOrder(Arc<Places>),
    Newest(Arc<Newest>, Arc<Ring>),
}

#[derive(Debug)]
enum Takes {
    InOrder(Arc<Places>),
    Newest(Arc<Newest>, Arc<Ring>),
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
            let ring = Arc::new(Places(Ring::new(slots)));
            (Puts::InOrder(Arc::clone(&ring)), Takes::InOrder(ring))
        }
        Policy::Latest => {
            let newest = Arc::new(Newest::new());
            // A key is in it at most once: it comes in where its word was none, and a place is in one word.
            let waiting = Arc::new(Ring::new(slots));
            (Puts::Newest(Arc::clone(&newest), Arc::clone(&waiting)), Takes::Newest(newest, waiting))
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
            Puts::Newest(newest, waiting) => {
                let key = key(symbol, stream);
                match newest.swap(key, place.into_raw()) {
                    Some(older) => {
                        self.free.push(older);
                        true
                    }
                    None => {
                        waiting.put(key as u64);
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
            // What was put between the two is newer, and is taken with it.
            Takes::Newest(newest, waiting) => newest.swap(usize::try_from(waiting.take()?).ok()?, NONE),
        }
    }

    fn ring(&self) -> &Ring {
        match &self.takes {
            Takes::InOrder(places) => &places.0,
            Takes::Newest(_, waiting) => waiting,
        }
    }

    /// Places that wait.
    pub(super) fn waiting(&self) -> usize {
        self.ring().count()
    }

    /// Whether a place waits, by a look at what is looked at anyway.
    pub(super) fn has_more(&self) -> bool {
        self.ring().has_more()
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
