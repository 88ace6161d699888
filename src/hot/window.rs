//! The last trade ids, so that a trade that comes a second time is known: by the id itself, not by how high it is.
//!
//! ```text
//! hash(tag, id) ─► set │ tags: 16 words, one cache line │ ids: 16 │ times: 16 │ next: which of them goes first
//! ```
//! Exact keys, no false answer for an id that is in it. Each set forgets its oldest for a new one. Allocated and brought
//! in whole by `new`, on the cold side; inserting is 16 comparisons at most and never allocates, clears or moves.

use crate::limits::TRADE_WINDOW_IDS;
use crate::market::{MonoNs, StreamKind, Symbol, TradeId};

/// Ids of one set. With 16 an id is lost before its time only where 16 newer ones fell into its set.
const WAYS: usize = 16;
const SET_COUNT: usize = TRADE_WINDOW_IDS / WAYS;

const _: () = assert!(SET_COUNT.is_power_of_two(), "the top bits of a hash choose a set");

/// One cache line of tags. 0: empty.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Tags([u32; WAYS]);

/// Trade ids of one overlap.
pub(super) struct Window {
    tags: Box<[Tags]>,
    ids: Box<[[u128; WAYS]]>,
    /// When each came, in units of `TIME_UNIT_NS`, the lower half of the number.
    times: Box<[[u32; WAYS]]>,
    next: Box<[u8]>,
}

/// So fine is a time known, ns. 32 bits of it come around after 4 minutes; no leg lags by as much.
const TIME_UNIT_NS: u64 = 64;

/// What became of an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Inserted {
    /// It is in the window already, since then.
    Known(MonoNs),
    /// It is new.
    New,
    /// It is new, and an older one was forgotten for it.
    Evicting,
}

impl Window {
    /// An empty window, every page of it brought in: 12.6 MB.
    pub(super) fn new() -> Self {
        Self {
            tags: brought_in(Tags([u32::MAX; WAYS]), Tags([EMPTY; WAYS]), SET_COUNT),
            ids: brought_in([u128::MAX; WAYS], [0; WAYS], SET_COUNT),
            times: brought_in([u32::MAX; WAYS], [0; WAYS], SET_COUNT),
            next: brought_in(u8::MAX, 0, SET_COUNT),
        }
    }

    /// When an id came that it remembers.
    pub(super) fn find(&self, symbol: Symbol, stream_kind: StreamKind, id: TradeId, now: MonoNs) -> Option<MonoNs> {
        let (tag, id) = key(symbol, stream_kind, id);
        let set = set_of(tag, id);
        self.position(set, tag, id).map(|at| self.time(set, at, now))
    }

    #[inline]
    fn position(&self, set: usize, tag: u32, id: u128) -> Option<usize> {
        let mut both = self.tags[set].0.iter().zip(&self.ids[set]);
        both.position(|(&known_tag, &known_id)| known_tag == tag && known_id == id)
    }

    fn time(&self, set: usize, at: usize, now: MonoNs) -> MonoNs {
        let ago = units(now).wrapping_sub(self.times[set][at]);
        MonoNs(now.0.saturating_sub(u64::from(ago) * TIME_UNIT_NS))
    }

    /// Remembers a trade's id.
    #[inline]
    pub(super) fn insert(&mut self, symbol: Symbol, stream_kind: StreamKind, id: TradeId, now: MonoNs) -> Inserted {
        let (tag, id) = key(symbol, stream_kind, id);
        let set = set_of(tag, id);
        if let Some(at) = self.position(set, tag, id) {
            return Inserted::Known(self.time(set, at, now));
        }
        let (tags, ids) = (&mut self.tags[set].0, &mut self.ids[set]);
        let at = usize::from(self.next[set]) % WAYS;
        self.next[set] = self.next[set].wrapping_add(1);
        let evicted = std::mem::replace(&mut tags[at], tag);
        let times = &mut self.times[set];
        let age = |at: usize| units(now).wrapping_sub(times[at]);
        // The next one is younger: where it seems to be older, the lower half of the number has wrapped since.
        let is_young = age(at) < EVICTED_YOUNG && age((at + 1) % WAYS) <= age(at);
        (ids[at], times[at]) = (id, units(now));
        if evicted != EMPTY && is_young { Inserted::Evicting } else { Inserted::New }
    }
}

/// An id that is older than half a minute, in units, will not be brought again: no leg lags so much.
const EVICTED_YOUNG: u32 = units(MonoNs(30_000_000_000));

#[expect(clippy::cast_possible_truncation, reason = "the lower half of the number is what is kept")]
const fn units(at: MonoNs) -> u32 {
    (at.0 / TIME_UNIT_NS) as u32
}

/// So many of `value`, with memory behind them. Written twice: zeros alone come from the allocator as pages that the first
/// write would have to wait for, on the hot core.
pub(super) fn brought_in<T: Copy>(other: T, value: T, count: usize) -> Box<[T]> {
    let mut all = vec![other; count];
    // So that the compiler cannot see that the first writing is for nothing.
    std::hint::black_box(&mut all).fill(value);
    all.into_boxed_slice()
}

/// No key has this tag: a kind is never 0.
const EMPTY: u32 = 0;

/// What tells a trade from every other, as a tag and an id.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a kind of stream is below 256 and a symbol below 65,536, by their types"
)]
fn key(symbol: Symbol, stream_kind: StreamKind, id: TradeId) -> (u32, u128) {
    let (kind, id) = match id {
        TradeId::Number(number) => (1_u32, u128::from(number)),
        TradeId::Uuid(uuid) => (2, uuid.bits()),
        TradeId::Hash(hash) => (3, u128::from(hash)),
    };
    (kind << 24 | (stream_kind.index() as u32) << 16 | (symbol.index() as u32), id)
}

/// The set of a key: neighbouring ids and symbols fall into sets of their own.
#[expect(clippy::cast_possible_truncation, reason = "both halves of the id, and the top bits of the hash")]
fn set_of(tag: u32, id: u128) -> usize {
    let folded = (id as u64) ^ ((id >> 64) as u64).rotate_left(29);
    let mixed = (folded ^ u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> (64 - SET_COUNT.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Uuid;

    const NOW: MonoNs = MonoNs(700_000_000_000);

    fn symbol(index: usize) -> Symbol {
        Symbol::new(index).unwrap()
    }

    fn is_known(inserted: Inserted) -> bool {
        matches!(inserted, Inserted::Known(_))
    }

    #[test]
    fn how_long_ago_an_id_came_is_known_to_its_unit_though_the_clock_of_the_window_comes_around() {
        let mut window = Window::new();
        let around_ns = (1_u64 << 32) * TIME_UNIT_NS;
        for first in [1, around_ns - 1_000, around_ns, 7 * around_ns + 5] {
            let id = TradeId::Number(first);
            assert_eq!(window.insert(symbol(1), StreamKind::TRADE, id, MonoNs(first)), Inserted::New);
            for lag_ns in [0, 63, 64, 2_000, 20_000_000, 200_000_000_000] {
                let now = MonoNs(first + lag_ns);
                let Inserted::Known(at) = window.insert(symbol(1), StreamKind::TRADE, id, now) else { panic!("new") };
                assert!(now.since_ns(at).abs_diff(lag_ns) <= TIME_UNIT_NS, "{lag_ns} behind {first}");
                assert_eq!(window.find(symbol(1), StreamKind::TRADE, id, now), Some(at));
            }
        }
    }

    #[test]
    fn an_id_is_new_once_and_known_from_then_on_whatever_came_in_between() {
        let mut window = Window::new();
        let ids = (0..1_000).map(|id| TradeId::Number(3_735_683_259 + id));
        for id in ids.clone() {
            assert!(!is_known(window.insert(symbol(1), StreamKind::TRADE, id, NOW)));
        }
        for id in ids.rev() {
            assert!(is_known(window.insert(symbol(1), StreamKind::TRADE, id, NOW)), "an older id behind a newer one");
        }
    }

    #[test]
    fn the_same_digits_of_another_symbol_stream_kind_or_kind_are_another_trade() {
        let mut window = Window::new();
        for id in [
            TradeId::Number(7),
            TradeId::Hash(7),
            TradeId::Uuid(Uuid::from_bits(7)),
            TradeId::Uuid(Uuid::from_bits(7 << 64)),
        ] {
            for stream_kind in [StreamKind::TRADE, StreamKind::AGG_TRADE] {
                for index in [0, 1, crate::limits::SYMBOL_COUNT_MAX - 1] {
                    assert!(!is_known(window.insert(symbol(index), stream_kind, id, NOW)));
                    assert!(is_known(window.insert(symbol(index), stream_kind, id, NOW)));
                }
            }
        }
    }

    #[test]
    fn eight_seconds_of_twenty_thousand_trades_a_second_push_out_none() {
        let mut window = Window::new();
        for id in 0..8 * 20_000 {
            let inserted =
                window.insert(symbol(id % 5), StreamKind::TRADE, TradeId::Number(50_000_000 + id as u64 / 5), NOW);
            assert_eq!(inserted, Inserted::New, "after {id} ids");
        }
    }

    #[test]
    fn neighbouring_ids_of_many_symbols_fill_the_window_evenly_and_evictions_are_told() {
        let mut window = Window::new();
        let mut evictions = 0;
        let count = TRADE_WINDOW_IDS as u64 / 4;
        for id in 0..count {
            let index = usize::try_from(id % 50).unwrap();
            let inserted =
                window.insert(symbol(index), StreamKind::TRADE, TradeId::Number(50_000_000_000 + id / 50), NOW);
            assert!(!is_known(inserted));
            evictions += u64::from(inserted == Inserted::Evicting);
        }
        assert!(evictions < 20, "{evictions} of {count} ids were lost in a window filled to a quarter");
        for id in 0..8 * count {
            let inserted = window.insert(
                symbol(99),
                StreamKind::TRADE,
                TradeId::Uuid(Uuid::from_bits(u128::from(id) << 70 | u128::from(id))),
                NOW,
            );
            evictions += u64::from(inserted == Inserted::Evicting);
        }
        let held = window.tags.iter().flat_map(|tags| tags.0).filter(|&tag| tag != EMPTY).count() as u64;
        assert_eq!(evictions + held, 9 * count, "what is not held was told");
    }
}
