//! Symbols: a dense id for (venue, native name), and the look-up from the bytes of a message.
//!
//! ```text
//! cold:  SymbolTable   (venue, name) -> Symbol    HashMap, hands out ids, never takes one back
//! hot:   SymbolIndex   name bytes   -> Symbol     with its scales; one per venue and core, open addressing on the packed name,
//!                                                 as large as its symbols need
//! ```
//! The index packs the first 16 bytes of a name into a `u128` and compares it with the length in one step; only names
//! longer than 16 bytes, and those that no JSON string holds as they are, are compared to their end. Neither ever removes an
//! entry: an id means the same thing for as long as the process lives.

use super::table::{Table, Zeroed};
use super::{Instrument, InstrumentId, Venue};
use crate::limits::{SCALE_MAX, SYMBOL_COUNT_MAX, SYMBOL_NAME_BYTES_MAX};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A symbol of one venue. Dense from 0, assigned in the order of addition, never reused while the process lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct Symbol(u16);

impl Symbol {
    /// The symbol with this index, if it is below [`SYMBOL_COUNT_MAX`].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "SYMBOL_COUNT_MAX fits a u16, asserted in limits.rs")]
    pub const fn new(index: usize) -> Option<Self> {
        if index < SYMBOL_COUNT_MAX { Some(Self(index as u16)) } else { None }
    }

    /// Position in every dense table: below [`SYMBOL_COUNT_MAX`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What the engine knows of a symbol before its first message: what the venue's instrument list or the TOML says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SymbolSpec {
    /// The dense id.
    pub symbol: Symbol,
    /// The venue.
    pub venue: Venue,
    /// The native name, as the venue's messages spell it (`BTCUSDT`).
    pub name: Arc<str>,
    /// Decimals of a price on this symbol's grid.
    pub price_scale: u8,
    /// Decimals of a quantity on this symbol's grid.
    pub qty_scale: u8,
    /// What it is, if the venue's list or the TOML says.
    pub instrument: Option<(InstrumentId, Arc<Instrument>)>,
}

/// Why a symbol could not be added.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SymbolTableError {
    /// All ids are given out.
    #[error("no more than {SYMBOL_COUNT_MAX} symbols fit in one process")]
    Full,
    /// The name is empty or too long.
    #[error("symbol name of {length_bytes} bytes: from 1 to {SYMBOL_NAME_BYTES_MAX} are allowed")]
    NameLength {
        /// Bytes of the name given.
        length_bytes: usize,
    },
    /// A scale beyond 18 decimals.
    #[error("scale {scale}: at most {SCALE_MAX} decimals are allowed")]
    Scale {
        /// The scale given.
        scale: u8,
    },
}

/// All symbols of the process. Cold.
#[derive(Debug, Default)]
pub struct SymbolTable {
    ids: HashMap<(Venue, Arc<str>), Symbol>,
    specs: Vec<SymbolSpec>,
    instruments: super::InstrumentTable,
}

impl SymbolTable {
    /// The symbol of (venue, name), added if it is new. Adding a known one returns it unchanged.
    ///
    /// # Errors
    /// [`SymbolTableError`].
    pub fn add(
        &mut self,
        venue: Venue,
        name: &str,
        price_scale: u8,
        qty_scale: u8,
        instrument: Option<Instrument>,
    ) -> Result<Symbol, SymbolTableError> {
        if name.is_empty() || name.len() > SYMBOL_NAME_BYTES_MAX {
            return Err(SymbolTableError::NameLength { length_bytes: name.len() });
        }
        if let Some(scale) = [price_scale, qty_scale].into_iter().find(|&scale| scale > SCALE_MAX) {
            return Err(SymbolTableError::Scale { scale });
        }
        let name: Arc<str> = name.into();
        if let Some(&symbol) = self.ids.get(&(venue, Arc::clone(&name))) {
            return Ok(symbol);
        }
        let symbol = Symbol::new(self.specs.len()).ok_or(SymbolTableError::Full)?;
        let instrument = instrument.and_then(|instrument| {
            let id = self.instruments.link(instrument.clone(), symbol)?;
            Some((id, Arc::new(instrument)))
        });
        self.ids.insert((venue, Arc::clone(&name)), symbol);
        self.specs.push(SymbolSpec { symbol, venue, name, price_scale, qty_scale, instrument });
        Ok(symbol)
    }

    /// The symbol of (venue, name), if it was added.
    #[must_use]
    pub fn find(&self, venue: Venue, name: &str) -> Option<Symbol> {
        self.ids.get(&(venue, Arc::from(name))).copied()
    }

    /// What is known of a symbol.
    #[must_use]
    pub fn spec(&self, symbol: Symbol) -> Option<&SymbolSpec> {
        self.specs.get(symbol.index())
    }

    /// Every symbol, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &SymbolSpec> {
        self.specs.iter()
    }

    /// How many symbols were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// True before the first symbol.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Instruments and the symbols under which each trades.
    #[must_use]
    pub fn instruments(&self) -> &super::InstrumentTable {
        &self.instruments
    }
}

/// Most slots of an index: four for each symbol there may be.
const SLOT_COUNT_MAX: usize = 4 * SYMBOL_COUNT_MAX;
const _: () = assert!(SLOT_COUNT_MAX.is_power_of_two());

/// Slots of an index without symbols: 8 KiB.
const SLOT_COUNT_MIN: usize = 256;
const _: () = assert!(SLOT_COUNT_MIN.is_power_of_two());

/// What a slot holds: 32 bytes, so two share a cache line. All zero where it holds nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SymbolPlace {
    key: u128,
    /// Bytes of the name, which its key is all of, and one more; [`Self::LONG`] of a longer one and of one that a message writes in
    /// another way than it is, [`Self::EMPTY`] of none.
    size: u32,
    symbol: u16,
    /// Of price and quantity: where the name is looked at anyway, so that they cost no line of their own.
    scales: (u8, u8),
}

// SAFETY: integers, of which zero is a value, and none of them has a destructor.
unsafe impl Zeroed for SymbolPlace {}

impl SymbolPlace {
    /// No name has this size or [`Self::LONG`].
    const EMPTY: u32 = 0;

    /// Its name is longer than its key, or has a byte that a JSON string has no place for.
    const LONG: u32 = u32::MAX;

    /// Whether its name is the one of which these are the first sixteen bytes and the length, if it is not a longer one.
    #[inline(always)]
    fn is_of(&self, key: u128, length: usize) -> bool {
        self.key == key && self.size as usize == length + 1
    }

    /// The same of its name in ASCII lower case.
    #[inline(always)]
    fn has_lower_case(&self, key: u128, length: usize) -> bool {
        Self { key: in_lower_case(self.key), ..*self }.is_of(key, length)
    }

    /// The first sixteen bytes of its name, zeros behind a shorter one.
    #[inline(always)]
    pub(crate) fn key(&self) -> &u128 {
        &self.key
    }

    /// The symbol, and its scales of price and quantity.
    #[inline(always)]
    pub(crate) fn listed(&self) -> (Symbol, (u8, u8)) {
        (Symbol(self.symbol), self.scales)
    }
}

/// From the bytes of a native name to its symbol and that one's scales, for one venue. Lives on a hot core.
///
/// As large as its symbols need: few symbols lie on few lines, and on few pages where there are no large ones. A name is in one
/// slot, where its ASCII lower case is looked for too (so Binance names it in a stream's name): a message that says both, and
/// the one long before the other, has its slot asked for by the first.
///
/// Invariant: at most half of the slots are filled, so every probe ends at an empty slot.
pub struct SymbolIndex {
    /// Of every size that the table may come to: the `n` slots of one size from slot `n` on.
    slots: Table<SymbolPlace, { 2 * SLOT_COUNT_MAX }>,
    /// How many slots it has now: a power of two.
    count: usize,
    /// What is left of a hash that is shifted right by so many bits is one of them.
    shift: u32,
    /// Names that are longer than 16 bytes or no plain strings of JSON, by symbol; none for the others. Shared with the symbol's
    /// spec: adding copies nothing.
    long_names: Box<[Option<Arc<str>>; SYMBOL_COUNT_MAX]>,
    filled: usize,
}

impl Default for SymbolIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SymbolIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SymbolIndex").field("filled", &self.filled).finish_non_exhaustive()
    }
}

impl SymbolIndex {
    /// An empty index. Allocates all it will ever use: adding a symbol while the core runs does not.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: Table::zeroed(),
            count: SLOT_COUNT_MIN,
            shift: shift_of(SLOT_COUNT_MIN),
            long_names: vec![None; SYMBOL_COUNT_MAX].try_into().expect("as many as there are"),
            filled: 0,
        }
    }

    /// Makes `name` find `symbol`, and so its ASCII lower case where that is no name itself, of names that differ in case alone
    /// the one that was inserted first. Returns false, and changes nothing, if the name is empty, too long or already found, if
    /// it is longer than 16 bytes or no plain string of JSON and the symbol has such a name already, or if there is no room for it.
    ///
    /// An index that would be more than an eighth full doubles first, as long as it may, so that few names share the start of
    /// their probe. Over all insertions that adds some nanoseconds to each, but to the one that does it as much as there are
    /// names: to the last one there can be, of 4,096.
    pub fn insert(&mut self, name: &Arc<str>, symbol: Symbol) -> bool {
        let length = name.len();
        let is_plain = name.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\'));
        let is_long = length > 16 || !is_plain;
        let has_other = is_long && self.long_names[symbol.index()].is_some();
        if length == 0 || length > SYMBOL_NAME_BYTES_MAX || has_other || self.find(name.as_bytes()).is_some() {
            return false;
        }
        if self.filled >= self.count / 8 && self.count < SLOT_COUNT_MAX {
            self.double();
        }
        if self.filled >= self.count / 2 {
            return false;
        }
        let key = pack(name.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "at most SYMBOL_NAME_BYTES_MAX")]
        let mut size = length as u32 + 1;
        if is_long {
            size = SymbolPlace::LONG;
            self.long_names[symbol.index()] = Some(Arc::clone(name));
        }
        self.put(self.home(key, length), SymbolPlace { key, size, symbol: symbol.0, scales: (0, 0) });
        self.filled += 1;
        true
    }

    /// Into the first empty slot from this one on.
    fn put(&mut self, mut at: usize, place: SymbolPlace) {
        while self.slots[self.slot(at)].size != SymbolPlace::EMPTY {
            at += 1;
        }
        let slot = self.slot(at);
        self.slots[slot] = place;
    }

    /// Moves everything to the next size's slots, which nobody has used yet.
    #[cold]
    fn double(&mut self) {
        let old = self.count;
        // From an empty one on: of names that share a probe the first one stays it.
        let is_empty = |at: &usize| self.slots[old + at].size == SymbolPlace::EMPTY;
        let start = (0..old).find(is_empty).unwrap_or_default();
        self.count *= 2;
        self.shift = shift_of(self.count);
        for at in (start..old).chain(0..start) {
            let place = self.slots[old + at];
            let length = match place.size {
                SymbolPlace::EMPTY => continue,
                SymbolPlace::LONG => self.long_names[usize::from(place.symbol)].as_ref().map_or(0, |name| name.len()),
                size => size as usize - 1,
            };
            self.put(self.home(place.key, length), place);
        }
    }

    /// Where the probe for a name starts, and for its lower case: the top bits of its hash, on which all of it tells.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "folding 128 bits to 64, then keeping the top bits, is the hash"
    )]
    fn home(&self, key: u128, length: usize) -> usize {
        // One bit tells an ASCII letter's cases apart. That other bytes lose it too makes them no more alike than their hash.
        const CASES: u64 = u64::from_le_bytes([b' '; 8]);
        let [low, high] = [key as u64 | CASES, (key >> 64) as u64 | CASES];
        let folded = low ^ high.rotate_left(29) ^ (length as u64) << 56;
        (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    /// Where the slot lies that a probe is at, which goes on at the first one behind the last.
    #[inline(always)]
    fn slot(&self, at: usize) -> usize {
        self.first_slot(at & (self.count - 1))
    }

    /// Where the slot lies that a probe starts at.
    #[inline(always)]
    fn first_slot(&self, home: usize) -> usize {
        // The mask changes nothing: it lets the compiler see that the slot is there.
        (home | self.count) & (2 * SLOT_COUNT_MAX - 1)
    }

    /// From now on `name` gives these scales of price and quantity, in both spellings, where it finds `symbol`.
    pub(crate) fn set_scales(&mut self, name: &str, symbol: Symbol, scales: (u8, u8)) {
        let name = name.as_bytes();
        let key = pack(name);
        if let Some(at) = self.probe(self.home(key, name.len()), key, name)
            && self.slots[at].symbol == symbol.0
        {
            self.slots[at].scales = scales;
        }
    }

    /// The symbol of a native name.
    #[inline]
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Symbol> {
        self.find_packed(pack(name), name).map(|(symbol, _)| symbol)
    }

    /// [`Self::find`] for a name whose first sixteen bytes are at hand: `key` is [`pack`] of it. With the symbol's scales of
    /// price and quantity.
    #[inline]
    pub(crate) fn find_packed(&self, key: u128, name: &[u8]) -> Option<(Symbol, (u8, u8))> {
        self.find_packed_at(self.first_place(key, name.len()).0, key, name)
    }

    /// The same, where [`Self::first_place`] of most probably this name was asked for before: nearly every name is found there.
    /// No name may be inserted between the two.
    #[inline(always)]
    pub(crate) fn find_packed_at(&self, first_place: usize, key: u128, name: &[u8]) -> Option<(Symbol, (u8, u8))> {
        debug_assert_eq!(key, pack(name));
        let place = &self.slots[first_place & (2 * SLOT_COUNT_MAX - 1)];
        if place.is_of(key, name.len()) { Some(place.listed()) } else { self.find_elsewhere(key, name) }
    }

    #[inline(never)]
    fn find_elsewhere(&self, key: u128, name: &[u8]) -> Option<(Symbol, (u8, u8))> {
        Some(self.slots[self.probe(self.home(key, name.len()), key, name)?].listed())
    }

    /// What this place holds, if it is a name of so many bytes, 1 to 16, which its key is all of. A message has them as they are, and
    /// none of them ends a string.
    #[inline(always)]
    pub(crate) fn plain_at(&self, place: usize, length: usize) -> Option<&SymbolPlace> {
        let place = &self.slots[place & (2 * SLOT_COUNT_MAX - 1)];
        (place.size as usize == length + 1).then_some(place)
    }

    /// Where the probe for a name of this length starts whose first sixteen bytes these are; never 0.
    #[inline(always)]
    pub(crate) fn first_place(&self, key: u128, length: usize) -> (usize, &SymbolPlace) {
        let at = self.first_slot(self.home(key, length));
        (at, &self.slots[at])
    }

    /// The slot of this name, whose probe starts here; or of the one whose lower case it is, where none is exactly this.
    ///
    /// The first that is either is the right one: names that differ in case alone start at one slot and lie in the order in which
    /// they came, and a name is refused that was another's lower case before it came.
    #[inline(never)]
    fn probe(&self, mut at: usize, key: u128, name: &[u8]) -> Option<usize> {
        loop {
            let slot = self.slot(at);
            let place = &self.slots[slot];
            let is_it = match place.size {
                SymbolPlace::EMPTY => return None,
                SymbolPlace::LONG => self.is_long(place, key, name),
                _ => place.is_of(key, name.len()) || place.has_lower_case(key, name.len()),
            };
            if is_it {
                return Some(slot);
            }
            at += 1;
        }
    }

    /// Whether a name of [`SymbolPlace::LONG`] is this one, or has it for its lower case.
    #[cold]
    fn is_long(&self, place: &SymbolPlace, key: u128, name: &[u8]) -> bool {
        if place.key != key && in_lower_case(place.key) != key {
            return false;
        }
        let known = self.long_names[usize::from(place.symbol)].as_deref().map_or(&[][..], str::as_bytes);
        known == name || known.iter().map(u8::to_ascii_lowercase).eq(name.iter().copied())
    }
}

/// A key with its ASCII letters in lower case: all bytes at once, for a book whose symbol is named by its stream alone is looked up
/// so.
#[inline]
fn in_lower_case(key: u128) -> u128 {
    const EACH: u128 = u128::from_le_bytes([1; 16]);
    const TOP: u128 = 0x80 * EACH;
    // Seven bits of each byte and what takes the first one wanted to the eighth: no sum carries into the next byte.
    let low = key & !TOP;
    let from_a = low + (0x80 - b'A' as u128) * EACH;
    let behind_z = low + (0x80 - b'Z' as u128 - 1) * EACH;
    let is_upper = from_a & !behind_z & !key & TOP;
    key | is_upper >> 2
}

/// The first 16 bytes of a name, little endian, zeros behind a shorter one. Two overlapping loads, no loop.
#[inline]
pub(crate) fn pack(name: &[u8]) -> u128 {
    let load8 = |at: usize| u64::from_le_bytes(name[at..at + 8].try_into().expect("eight bytes"));
    let load4 = |at: usize| u64::from(u32::from_le_bytes(name[at..at + 4].try_into().expect("four bytes")));
    match name.len() {
        16.. => u128::from(load8(0)) | u128::from(load8(8)) << 64,
        length @ 8..16 => {
            // The second load ends at the name's end; what it shares with the first is shifted out.
            let high = if length == 8 { 0 } else { load8(length - 8) >> (8 * (16 - length)) };
            u128::from(load8(0)) | u128::from(high) << 64
        }
        length @ 4..8 => u128::from(load4(0) | (load4(length - 4) << (8 * (length - 4)))),
        _ => name.iter().rev().fold(0, |key, &byte| key << 8 | u128::from(byte)),
    }
}

/// See [`SymbolIndex::shift`].
const fn shift_of(count: usize) -> u32 {
    u64::BITS - count.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_byte_of_a_key_has_its_own_lower_case_whatever_stands_beside_it() {
        for byte in 0..=u8::MAX {
            for beside in [0, b'A' - 1, b'A', b'Z', b'z', 0x7f, 0x80, u8::MAX] {
                for at in 0..16 {
                    let mut key = [beside; 16];
                    key[at] = byte;
                    let expected = u128::from_le_bytes(key.map(|byte| byte.to_ascii_lowercase()));
                    assert_eq!(in_lower_case(u128::from_le_bytes(key)), expected, "{key:?}");
                }
            }
        }
    }

    #[test]
    fn a_symbol_is_found_by_every_length_of_name() {
        let mut index = SymbolIndex::new();
        let names: Vec<String> = (1..=SYMBOL_NAME_BYTES_MAX)
            .map(|length| "ABCDEFGHIJKLMNOPQRSTUVWXYZ".repeat(8)[..length].to_owned())
            .collect();
        for (id, name) in names.iter().enumerate() {
            assert!(index.insert(&name.as_str().into(), Symbol::new(id).unwrap()), "{name}");
        }
        for (id, name) in names.iter().enumerate() {
            assert_eq!(index.find(name.as_bytes()).map(Symbol::index), Some(id), "{name}");
        }
        assert_eq!(index.find(b"BTC"), None);
        assert_eq!(index.find(b""), None);
    }

    #[test]
    fn a_name_is_found_wherever_it_is_looked_for_first() {
        let mut index = SymbolIndex::new();
        let names: Vec<String> = (0..400).map(|n| format!("{n}{}USDT", "LONGER".repeat(n % 4))).collect();
        for (id, name) in names.iter().enumerate() {
            assert!(index.insert(&name.as_str().into(), Symbol::new(id).unwrap()));
        }
        let first_place = |name: &[u8]| index.first_place(pack(name), name.len()).0;
        let places: Vec<usize> = names.iter().map(|name| first_place(name.as_bytes())).collect();
        let find = |place, name: &str| index.find_packed_at(place, pack(name.as_bytes()), name.as_bytes());
        let mut at_once = 0;
        for (id, name) in names.iter().enumerate() {
            at_once += usize::from(index.slots[places[id]].is_of(pack(name.as_bytes()), name.len()));
            for place in [0, places[id], places[(id + 1) % places.len()], usize::MAX] {
                assert_eq!(find(place, name).map(|(symbol, _)| symbol.index()), Some(id), "{name} from {place}");
            }
        }
        // Half of them are longer than a slot has room for.
        assert!((150..=200).contains(&at_once), "{at_once} at their first place");
        for place in [0, places[0], usize::MAX] {
            assert_eq!([find(place, "NONE"), find(place, "")], [None; 2]);
        }
    }

    #[test]
    fn names_that_differ_only_behind_the_sixteenth_byte_are_two_symbols() {
        let mut index = SymbolIndex::new();
        let [a, b] = [0, 1].map(|id| Symbol::new(id).unwrap());
        assert!(index.insert(&"1000000MOGUSDT-26SEP25".into(), a));
        assert!(index.insert(&"1000000MOGUSDT-26DEC25".into(), b));
        assert_eq!(index.find(b"1000000MOGUSDT-26SEP25"), Some(a));
        assert_eq!(index.find(b"1000000MOGUSDT-26DEC25"), Some(b));
        assert_eq!(index.find(b"1000000MOGUSDT-26NON25"), None);
    }

    #[test]
    fn a_name_and_its_lower_case_find_the_same_symbol_and_a_second_owner_is_refused() {
        let mut index = SymbolIndex::new();
        let [a, b, c] = [0, 1, 2].map(|id| Symbol::new(id).unwrap());
        assert!(index.insert(&"币安人生USDT".into(), a));
        assert!(!index.insert(&"币安人生usdt".into(), b));
        assert!(index.insert(&"1000000MOGUSDT-26SEP25".into(), c));
        assert_eq!(index.find("币安人生usdt".as_bytes()), Some(a));
        assert_eq!(index.find(b"1000000mogusdt-26sep25"), Some(c));
    }

    #[test]
    fn a_name_that_no_json_string_holds_as_it_is_is_found_and_is_never_said_to_be_plain() {
        let mut index = SymbolIndex::new();
        for (id, name) in ["A\"B", "A\\B", "A\nB", "\0", "AB", "币安人生"].into_iter().enumerate() {
            let symbol = Symbol::new(id).unwrap();
            assert!(index.insert(&name.into(), symbol), "{name:?}");
            assert!(!index.insert(&name.into(), Symbol::new(9).unwrap()), "{name:?} is found already");
            let find = |name: &str| index.find(name.as_bytes());
            assert_eq!([find(name), find(&name.to_ascii_lowercase())], [Some(symbol); 2], "{name:?}");
            let (place, _) = index.first_place(pack(name.as_bytes()), name.len());
            let plain = index.plain_at(place, name.len()).map(|place| (*place.key(), place.listed().0));
            let is_plain = !name.contains(|char: char| char < ' ' || matches!(char, '"' | '\\'));
            assert_eq!(plain, is_plain.then(|| (pack(name.as_bytes()), symbol)), "{name:?}");
            assert!(index.plain_at(place, name.len() + 1).is_none(), "{name:?} is shorter");
        }
        assert!(index.plain_at(0, 0).is_none(), "no name is at place 0");
    }

    #[test]
    fn a_symbol_has_one_name_that_is_long_or_no_json_string() {
        let mut index = SymbolIndex::new();
        let [a, b] = [0, 1].map(|id| Symbol::new(id).unwrap());
        assert!(index.insert(&"A\"B".into(), a));
        for second in ["A\\B", "1000000MOGUSDT-26SEP25"] {
            assert!(!index.insert(&second.into(), a), "{second}");
            assert_eq!(index.find(second.as_bytes()), None);
        }
        assert!(index.insert(&"A\\B".into(), b) && index.insert(&"AB".into(), a));
    }

    #[test]
    fn a_name_gives_its_own_symbols_scales_in_both_spellings() {
        let mut index = SymbolIndex::new();
        let [a, b] = [0, 1].map(|id| Symbol::new(id).unwrap());
        let scales = |index: &SymbolIndex, name: &str| index.find_packed(pack(name.as_bytes()), name.as_bytes());
        for name in ["BTCUSDT", "1000000MOGUSDT-26SEP25"] {
            assert!(index.insert(&name.into(), a));
            index.set_scales(name, a, (2, 5));
            index.set_scales(name, b, (7, 7));
            index.set_scales(&"A".repeat(SYMBOL_NAME_BYTES_MAX + 1), a, (7, 7));
            let lower_case = name.to_ascii_lowercase();
            assert_eq!([scales(&index, name), scales(&index, &lower_case)], [Some((a, (2, 5))); 2], "{name}");
        }
        index.set_scales("ETHUSDT", a, (7, 7));
        assert_eq!(scales(&index, "ETHUSDT"), None, "no scales make a name known");
        index.set_scales("BTCUSDT", a, (3, 4));
        assert_eq!(scales(&index, "btcusdt"), Some((a, (3, 4))), "the last ones hold");
    }

    #[test]
    fn sixteen_thousand_symbols_fit_and_each_is_found_under_two_spellings() {
        let mut index = SymbolIndex::new();
        for id in 0..SYMBOL_COUNT_MAX {
            assert!(index.insert(&format!("COIN{id}USDT").into(), Symbol::new(id).unwrap()));
        }
        for id in 0..SYMBOL_COUNT_MAX {
            assert_eq!(index.find(format!("COIN{id}USDT").as_bytes()).map(Symbol::index), Some(id));
            assert_eq!(index.find(format!("coin{id}usdt").as_bytes()).map(Symbol::index), Some(id));
        }
    }

    #[test]
    fn an_index_that_is_half_full_takes_no_more_names() {
        let mut index = SymbolIndex::new();
        let symbol = Symbol::new(0).unwrap();
        for id in 0..SLOT_COUNT_MAX / 2 {
            assert!(index.insert(&format!("N{id}").into(), symbol));
        }
        assert!(!index.insert(&"ONE-TOO-MANY".into(), symbol));
        assert_eq!(index.find(b"ONE-TOO-MANY"), None);
    }

    #[test]
    fn names_that_differ_in_case_alone_are_each_their_own_and_their_lower_case_is_the_first_ones() {
        let mut index = SymbolIndex::new();
        let names = ["BTCUSDT", "btcUSDT", "BTCusdt", "1000000MOGUSDT-26SEP25", "1000000mogUSDT-26SEP25"];
        let symbols: Vec<Symbol> = (0..).map_while(Symbol::new).take(names.len()).collect();
        let check = |index: &SymbolIndex| {
            for (name, symbol) in names.iter().zip(&symbols) {
                assert_eq!(index.find(name.as_bytes()), Some(*symbol), "{name}");
            }
            assert_eq!(index.find(b"btcusdt"), Some(symbols[0]));
            assert_eq!(index.find(b"1000000mogusdt-26sep25"), Some(symbols[3]));
            assert_eq!(index.find(b"1000000MOGusdt-26SEP25"), None, "neither its name nor that in lower case");
            assert_eq!(index.find(b"BtcUsdt"), None);
        };
        for (name, symbol) in names.iter().zip(&symbols) {
            assert!(index.insert(&(*name).into(), *symbol), "{name}");
        }
        check(&index);
        for id in names.len()..3_000 {
            assert!(index.insert(&format!("COIN{id}USDT").into(), Symbol::new(id).unwrap()));
        }
        check(&index);
        // A name that is another one's lower case is its own symbol's when it comes first, and refused when it comes after.
        let mut index = SymbolIndex::new();
        assert!(index.insert(&"ethusdt".into(), symbols[0]) && index.insert(&"ETHUSDT".into(), symbols[1]));
        assert_eq!([&b"ethusdt"[..], b"ETHUSDT"].map(|name| index.find(name)), [Some(symbols[0]), Some(symbols[1])]);
        assert!(!index.insert(&"ethusdt".into(), symbols[2]));
    }

    #[test]
    fn a_name_and_its_lower_case_start_their_probe_at_one_slot() {
        let index = SymbolIndex::new();
        for name in
            ["BTCUSDT", "1000PEPEUSDT", "ETHUSDT_260925", "币安人生USDT", "BTC-26DEC25", "1000000MOGUSDT-26SEP25"]
        {
            let lower_case = name.to_ascii_lowercase();
            let home = |name: &str| index.home(pack(name.as_bytes()), name.len());
            assert_eq!(home(name), home(&lower_case), "{name}");
        }
    }

    #[test]
    fn the_table_gives_dense_ids_and_the_same_id_for_the_same_name() {
        let mut table = SymbolTable::default();
        let a = table.add(Venue::BinanceSpot, "BTCUSDT", 2, 5, None).unwrap();
        let b = table.add(Venue::BybitSpot, "BTCUSDT", 2, 6, None).unwrap();
        assert_eq!((a.index(), b.index()), (0, 1));
        assert_eq!(table.add(Venue::BinanceSpot, "BTCUSDT", 3, 3, None), Ok(a));
        assert_eq!(table.spec(a).unwrap().price_scale, 2);
        assert_eq!(table.find(Venue::BybitSpot, "BTCUSDT"), Some(b));
        assert_eq!(table.find(Venue::BybitLinear, "BTCUSDT"), None);
    }

    #[test]
    fn the_table_refuses_what_it_cannot_hold() {
        let mut table = SymbolTable::default();
        assert_eq!(
            table.add(Venue::BinanceSpot, "", 2, 5, None),
            Err(SymbolTableError::NameLength { length_bytes: 0 })
        );
        assert_eq!(table.add(Venue::BinanceSpot, "X", 19, 5, None), Err(SymbolTableError::Scale { scale: 19 }));
        for id in 0..SYMBOL_COUNT_MAX {
            table.add(Venue::BinanceSpot, &format!("S{id}"), 0, 0, None).unwrap();
        }
        assert_eq!(table.add(Venue::BinanceSpot, "ONE-MORE", 0, 0, None), Err(SymbolTableError::Full));
    }

    #[test]
    fn of_two_thousand_names_nearly_all_are_where_they_are_looked_for_first() {
        let mut index = SymbolIndex::new();
        let name = |id: usize| format!("{}{id}USDT", ["AB", "LONG", "1000CAT", "Q"][id % 4]);
        for id in 0..2_000 {
            assert!(index.insert(&name(id).as_str().into(), Symbol::new(id).unwrap()));
        }
        let is_first = |name: &String| {
            let key = pack(name.as_bytes());
            index.first_place(key, name.len()).1.is_of(key, name.len())
        };
        let count = (0..2_000).map(name).filter(is_first).count();
        assert!(count >= 1_850, "{count}");
        eprintln!("{count} of 2,000 names are where they are looked for first");
    }

    #[test]
    fn names_that_differ_by_their_quote_currency_do_not_share_the_start_of_their_probe() {
        let mut index = SymbolIndex::new();
        const BASES: [&str; 15] = [
            "BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK", "DOT", "LTC", "BCH", "TRX", "UNI", "ATOM",
            "NEAR",
        ];
        let names: Vec<String> =
            BASES.iter().flat_map(|base| ["USDT", "USDC"].map(|quote| format!("{base}{quote}"))).collect();
        for (id, name) in names.iter().enumerate() {
            assert!(index.insert(&name.as_str().into(), Symbol::new(id).unwrap()));
        }
        let home = |name: &String| index.home(pack(name.as_bytes()), name.len());
        for pair in names.chunks(2) {
            assert_ne!(home(&pair[0]), home(&pair[1]), "{pair:?}");
        }
        let homes: std::collections::HashSet<usize> = names.iter().map(home).collect();
        assert!(homes.len() + 3 >= names.len(), "{} of {}", homes.len(), names.len());
    }

    #[test]
    fn a_symbol_has_one_long_name() {
        let mut index = SymbolIndex::new();
        let a = Symbol::new(0).unwrap();
        assert!(index.insert(&"1000000MOGUSDT-26SEP25".into(), a));
        assert!(!index.insert(&"1000000MOGUSDT-26DEC25".into(), a));
        assert_eq!(index.find(b"1000000MOGUSDT-26DEC25"), None);
        assert_eq!(index.find(b"1000000MOGUSDT-26SEP25"), Some(a));
    }

    #[test]
    fn an_index_that_grows_keeps_every_name_and_its_scales() {
        let mut index = SymbolIndex::new();
        let name = |id: usize| format!("{}{id}USDT", ["COIN", "A-COIN-OF-A-LONG-NAME-"][id % 2]);
        let scales = |id: usize| (u8::try_from(id % 18).unwrap(), u8::try_from(id % 7).unwrap());
        for id in 0..1_000 {
            let symbol = Symbol::new(id).unwrap();
            assert!(index.insert(&name(id).as_str().into(), symbol));
            index.set_scales(&name(id), symbol, scales(id));
            // The first ones of both kinds, and the last.
            for known in (0..4.min(id)).chain([id]) {
                for spelling in [name(known), name(known).to_ascii_lowercase()] {
                    let found = index.find_packed(pack(spelling.as_bytes()), spelling.as_bytes());
                    assert_eq!(found, Some((Symbol::new(known).unwrap(), scales(known))), "{spelling} of {id}");
                }
            }
        }
        assert_eq!(index.count, 8_192, "at most an eighth full");
        assert_eq!(index.find(name(1_000).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_a_list(names in proptest::collection::vec("[A-Ba-b0]{1,3}|[A-Z0-9]{1,24}|[A-Ba-b]{16}[Aa]{1,2}", 1..200), probes in proptest::collection::vec("[A-Ba-b0]{0,3}|[A-Za-z0-9]{0,24}", 0..50)) {
            let mut index = SymbolIndex::new();
            let mut known: Vec<(&String, Symbol)> = Vec::new();
            let find = |known: &[(&String, Symbol)], name: &String| {
                let exactly = known.iter().find(|(other, _)| *other == name);
                exactly.or_else(|| known.iter().find(|(other, _)| other.to_ascii_lowercase() == *name)).map(|&(_, symbol)| symbol)
            };
            for (id, name) in names.iter().enumerate() {
                let symbol = Symbol::new(id).unwrap();
                let is_new = find(&known, name).is_none();
                prop_assert_eq!(index.insert(&name.as_str().into(), symbol), is_new, "{}", name);
                known.extend(is_new.then_some((name, symbol)));
            }
            for name in names.iter().chain(&probes) {
                prop_assert_eq!(index.find(name.as_bytes()), find(&known, name), "{}", name);
                let lower_case = name.to_ascii_lowercase();
                prop_assert_eq!(index.find(lower_case.as_bytes()), find(&known, &lower_case), "{}", lower_case);
            }
        }
    }
}
