//! What a channel's messages are expected to look like, written once, as data.
//!
//! ```text
//!                  ┌─ tier one (scan.rs): walks the members in a known order; every byte is checked when it has built
//! shape (members) ─┼─ tier two (any_order.rs, then tape.rs): looks each member up, in any order
//!                  └─ the tests' generator: makes messages
//! both tiers ──► Slots (integers and byte ranges) ──► one builder per event kind ──► event
//! ```
//! Because both tiers fill the same slots from the same table and share the builder, they cannot differ in meaning.

use super::cursor::{Cursor, LEAD_BYTES_MAX, Stride};
use super::number::Number;
use super::scan::{End, Reader};
use crate::market::Symbol;
use std::mem::MaybeUninit;

/// Most members of one object that a shape names.
pub(super) const MEMBER_COUNT_MAX: usize = 32;

/// Most members of one object whose order can be learned.
const STEP_COUNT_MAX: usize = 24;

/// Longest unknown key that can be learned, in bytes.
const STEP_KEY_BYTES: usize = 16;

/// Keys that make an object something else wherever its shape does not name them: then the tape says what it is.
const FOREIGN: [&str; 11] =
    ["stream", "data", "e", "lastUpdateId", "result", "code", "error", "success", "op", "ret_msg", "retCode"];

/// Whether a key makes an object something else.
pub(super) fn is_foreign(key: &[u8]) -> bool {
    FOREIGN.iter().any(|foreign| foreign.as_bytes() == key)
}

/// The JSON form of a member nobody reads. Only tier one and the generator care: tier two ignores any value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Json {
    /// An integer.
    Int,
    /// A string.
    Text,
    /// The same, and nearly always this one.
    Usual(&'static str),
    /// A string that is a price: as [`Kind::Price`].
    Price,
    /// `true` or `false`.
    Bool,
}

/// What a member's value is, and what of it goes to its slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A JSON integer, not negative: slot's `int`.
    Int,
    /// The same where it mostly has as many digits as the integer before it.
    NextInt,
    /// A time in milliseconds since the epoch, as [`Self::Int`]. Tier one is soonest where it has thirteen digits.
    Time,
    /// A string: slot's `number`, of which nobody reads the digits.
    Text,
    /// The same of a symbol's name, which is looked up or whose place is asked for, of any letters. An object has one.
    Symbol,
    /// The same of a topic, which is often longer than a window and says what symbol it is of before the symbol's own member
    /// does.
    Topic,
    /// The same of what often is a UUID.
    Id,
    /// A decimal number in a string: slot's `number`. Tier two also takes a JSON number, by its exact text. Who builds must read each
    /// one that is there, refuse the message, or say that it does neither: see [`Cursor::number`].
    Decimal,
    /// The same of a price: the prices of one object mostly have as many bytes.
    Price,
    /// `true` (1) or `false` (0): slot's `int`.
    Bool,
    /// The same of something that is seldom the case, or nearly always.
    Flag,
    /// One of these strings: its position in the slot's `int`.
    Word(&'static [Word]),
    /// The same where the next message's is most probably this one's.
    Case(&'static [Word]),
    /// `[]` or `[[price, quantity], ...]`, of which only the first is wanted: `int` 0 or 1, `number` and `more`.
    Touch,
    /// `[[price, quantity], ...]`: `int` is its place on the tape; the scanners give them to their [`super::scan::Reader`].
    Levels,
    /// An object or array with a shape of its own: `int` is its place on the tape; the scanners give it to their
    /// [`super::scan::Reader`].
    Nested,
    /// Present in the documents, used by nobody.
    Ignored(Json),
}

impl Kind {
    /// Whether its value is a string that somebody reads.
    #[inline(always)]
    pub(super) const fn is_quoted(self) -> bool {
        matches!(
            self,
            Self::Text
                | Self::Symbol
                | Self::Topic
                | Self::Id
                | Self::Decimal
                | Self::Price
                | Self::Word(_)
                | Self::Case(_)
        )
    }
}

/// One of a few strings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Word {
    pub(super) text: &'static str,
    /// Its bytes and a closing quote, shifted to a number's upper end; zero where they are more than eight.
    closed: u64,
}

impl Word {
    pub(super) const fn new(text: &'static str) -> Self {
        let (bytes, mut closed) = (text.as_bytes(), [0; 8]);
        if bytes.len() >= closed.len() {
            return Self { text, closed: 0 };
        }
        let behind = closed.len() - bytes.len() - 1;
        let mut at = 0;
        while at < bytes.len() {
            closed[behind + at] = bytes[at];
            at += 1;
        }
        closed[behind + at] = b'"';
        Self { text, closed: u64::from_le_bytes(closed) }
    }

    /// Its bytes and its closing quote, if it is next; 0 if it is not. One comparison where both together are a machine's word.
    #[inline(always)]
    pub(super) fn length_in(&self, stride: Stride<'_>) -> usize {
        let length = self.text.len() + 1;
        let is_here = if length <= 8 {
            stride.window().is_some_and(|window| u64::from_le_bytes(*window) << (8 * (8 - length)) == self.closed)
        } else {
            stride.is_text(self.text)
        };
        if is_here { length } else { 0 }
    }
}

/// Writes the [`Word`]s of a member.
macro_rules! words {
    ($($text:literal),*) => { &[$($crate::venue::shape::Word::new($text)),*] };
}
pub(super) use words;

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Its key.
    pub(super) key: &'static str,
    /// The first sixteen bytes of its key, zeros behind a shorter one.
    pub(super) packed: u128,
    /// What stands before its value, without white space and without what is before its key.
    pub(super) opening: Opening,
    /// What stands before its value.
    pub(super) leads: Leads,
    /// The same with the opening quote of a string.
    pub(super) leads_quoted: Leads,
    /// What its value is.
    pub(super) kind: Kind,
    /// Whether a message without it is refused.
    pub(super) is_required: bool,
}

/// Bytes that stand before a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lead {
    pub(super) text: &'static str,
    /// Its first four bytes, little endian.
    pub(super) first: u32,
    /// Its last four.
    pub(super) last: u32,
    /// Four from [`Self::PROBED_AT`] on: the first letters of a key, in which most of one shape differ. Zero of a short one.
    pub(super) probe: u32,
}

impl Lead {
    /// Behind a brace or a comma, and a quote.
    pub(super) const PROBED_AT: usize = 2;

    pub(super) const fn new(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) else {
            panic!("quotes, a key, a colon")
        };
        assert!(bytes.len() <= LEAD_BYTES_MAX, "a value is looked at in the step that took its lead");
        let probe = match bytes.split_at(Self::PROBED_AT).1.first_chunk() {
            Some(probe) => u32::from_le_bytes(*probe),
            None => 0,
        };
        Self { text, first: u32::from_le_bytes(*first), last: u32::from_le_bytes(*last), probe }
    }
}

/// What stands before a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leads {
    /// Of an object's first member: `{"key":`.
    pub(super) first: Lead,
    /// Of another one: `,"key":`.
    pub(super) other: Lead,
}

/// `"key":`, with the opening quote of a value that is a string somebody reads, as one word to compare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    word: u128,
    /// All bits of its bytes.
    mask: u128,
    /// Its bytes; 0 where it is longer than a window, which never begins with it then.
    pub(super) length: usize,
    /// Whether it has a string's opening quote.
    pub(super) is_quoted: bool,
}

impl Opening {
    pub(super) const fn new(key: &str, kind: Kind) -> Self {
        let key = key.as_bytes();
        let is_quoted = kind.is_quoted();
        let length = key.len() + 3 + is_quoted as usize;
        if length > 16 {
            return Self { word: 0, mask: u128::MAX, length: 0, is_quoted };
        }
        let (mut word, mut mask) = ([0; 16], [0; 16]);
        let mut at = 0;
        while at < length {
            word[at] = match at {
                0 => b'"',
                _ if at <= key.len() => key[at - 1],
                _ if at == key.len() + 2 => b':',
                _ => b'"',
            };
            mask[at] = 0xff;
            at += 1;
        }
        Self { word: u128::from_le_bytes(word), mask: u128::from_le_bytes(mask), length, is_quoted }
    }

    /// Whether a window begins with it.
    #[inline(always)]
    pub(super) fn is_at(self, window: u128) -> bool {
        window & self.mask == self.word && self.length != 0
    }
}

/// The members that a message must have, as a set of slots.
pub(super) const fn required(members: &[Member]) -> u32 {
    assert!(members.len() <= MEMBER_COUNT_MAX && MEMBER_COUNT_MAX <= 32, "one slot per member, and one bit");
    let mut set = 0;
    let mut slot = 0;
    while slot < members.len() {
        if members[slot].is_required {
            set |= 1 << slot;
        }
        slot += 1;
    }
    set
}

/// The first sixteen bytes of a key, little endian, zeros behind a shorter one: [`crate::market::pack`] for constants.
pub(super) const fn packed(key: &str) -> u128 {
    let key = key.as_bytes();
    let mut bytes = [0; 16];
    let mut at = 0;
    while at < key.len() && at < bytes.len() {
        bytes[at] = key[at];
        at += 1;
    }
    u128::from_le_bytes(bytes)
}

/// Whether an object has at most one symbol's name: what is found out of it is kept once ([`Slots::named`]).
pub(super) const fn has_one_name(members: &[Member]) -> bool {
    let (mut count, mut slot) = (0, 0);
    while slot < members.len() {
        if matches!(members[slot].kind, Kind::Symbol) {
            count += 1;
        }
        slot += 1;
    }
    count <= 1
}

/// Writes a shape: a module with one slot constant per member, and the table `MEMBERS`.
macro_rules! shape {
    ($(#[$doc:meta])* mod $name:ident { $($slot:ident = $key:literal $presence:ident $kind:expr;)* }) => {
        $(#[$doc])*
        #[allow(dead_code, reason = "the slot of an ignored member is named by the orders alone, or by nobody")]
        pub(super) mod $name {
            use $crate::venue::shape::{Json, Kind, Lead, Leads, Member};
            #[allow(unused_imports, reason = "not every shape has words")]
            use $crate::venue::shape::words;
            #[allow(unused_imports, reason = "not every shape uses every kind")]
            use Json as J;
            #[allow(unused_imports, reason = "not every shape uses every kind")]
            use Kind::*;
            #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "counts the members")]
            enum Index { $($slot),* }
            $(pub(in crate::venue) const $slot: usize = Index::$slot as usize;)*
            /// Every member, in documented order.
            pub(in crate::venue) const MEMBERS: &[Member] = &[$(Member {
                key: $key,
                packed: $crate::venue::shape::packed($key),
                opening: $crate::venue::shape::Opening::new($key, $kind),
                leads: Leads {
                    first: Lead::new(concat!("{\"", $key, "\":")),
                    other: Lead::new(concat!(",\"", $key, "\":")),
                },
                leads_quoted: Leads {
                    first: Lead::new(concat!("{\"", $key, "\":\"")),
                    other: Lead::new(concat!(",\"", $key, "\":\"")),
                },
                kind: $kind,
                is_required: $crate::venue::shape::shape!(@ $presence),
            }),*];
            const _: () = assert!($crate::venue::shape::has_one_name(MEMBERS), "a name is looked up once");
        }
    };
    (@ needs) => { true };
    (@ may) => { false };
}
pub(super) use shape;

/// Writes a [`Shape`] of a module that [`shape!`] wrote: its orders, the likeliest first. Members in parentheses are not looked
/// for, one by one, where one of those behind `unless` is seen to be next.
macro_rules! orders {
    ($($(#[$doc:meta])* $name:ident of $module:ident:
        $([$($slot:ident)* $(($($seldom:ident)*) unless $($next:ident)*: $($rest:ident)*)?])*;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name;

        impl $crate::venue::shape::Shape for $name {
            const MEMBERS: &'static [$crate::venue::shape::Member] = $module::MEMBERS;
            const ORDERS: &'static [&'static [usize]] = &[$(&[$($module::$slot,)* $($($module::$seldom,)* $($module::$rest,)*)?]),*];

            #[inline(always)]
            fn walk<'a, R: $crate::venue::scan::Reader<'a>>(
                order: usize,
                start: $crate::venue::cursor::Cursor<'a>,
                end: $crate::venue::scan::End,
                reader: &mut R,
            ) -> Option<(R::Event, $crate::venue::cursor::Cursor<'a>)> {
                #[allow(unused_imports, reason = "not every order has members that are seldom there")]
                use $crate::venue::scan::{finish, is_probably_next, step};
                let mut at = 0;
                $(
                    if order == at {
                        let mut cursor = start;
                        // Of this order alone: where the members are constants the slots never reach memory.
                        let mut slots = $crate::venue::shape::Slots::new();
                        let mut is_first = true;
                        $(
                            step::<Self, { $module::$slot }, R>(is_first, &mut cursor, &mut slots, reader)?;
                            is_first = false;
                        )*
                        $(
                            if !($(is_probably_next(&$module::MEMBERS[$module::$next], &cursor))||*) {
                                $(step::<Self, { $module::$seldom }, R>(is_first, &mut cursor, &mut slots, reader)?;)*
                            }
                            $(step::<Self, { $module::$rest }, R>(is_first, &mut cursor, &mut slots, reader)?;)*
                        )?
                        let _ = is_first;
                        return finish($module::MEMBERS, &slots, cursor, end, reader);
                    }
                    at += 1;
                )*
                let _ = at;
                None
            }
        }
    )*};
}
pub(super) use orders;

/// A shape that tier one can walk.
pub(super) trait Shape {
    /// The members; a member's position is its slot.
    const MEMBERS: &'static [Member];
    /// The orders in which the documents show them and the wire has them, as slots. Optional members may be absent.
    /// The first of an order must be there, whether or not the shape requires it.
    const ORDERS: &'static [&'static [usize]];

    /// Walks one object in one of [`Self::ORDERS`], and what must follow it; then builds. Written out member by member by
    /// [`orders!`], so that the compiler lays the whole walk out in a straight line: no table is read, no kind is asked.
    fn walk<'a, R: Reader<'a>>(
        order: usize,
        start: Cursor<'a>,
        end: End,
        reader: &mut R,
    ) -> Option<(R::Event, Cursor<'a>)>;
}

/// How many bytes the last values of an object had of which the next one mostly has as many; `None` before there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alike {
    /// [`Kind::Int`], [`Kind::NextInt`], and those that are ignored.
    pub(super) int: Option<usize>,
    /// [`Kind::Price`].
    pub(super) price: Option<usize>,
}

/// What a walk has found out of a symbol by its name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named {
    /// Where the symbols' index is to be looked at first; 0 where nothing says so.
    Near(usize),
    /// The symbol, and the scales of its prices and quantities.
    Found(Symbol, (u8, u8)),
}

impl Named {
    pub(super) const NOTHING: Self = Self::Near(0);
}

/// The values of one object, by member. What both tiers fill and every builder reads. What no member was read into is never
/// written, so that an object costs what its members cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots<'a> {
    /// True if the object had a member that the engine does not carry, and that is not `null`.
    pub(super) has_other: bool,
    /// What is known of the symbol by its name.
    pub(super) named: Named,
    /// What a [`Kind::Topic`] says of the symbol's name: its length and its place, 0 where it says nothing.
    pub(super) topic: (usize, usize),
    /// How many bytes values had that are mostly alike.
    pub(super) like: Alike,
    /// The members that were there and whose values nobody reads, as a set of slots.
    ignored: u32,
    /// The members whose integer was written.
    with_int: u32,
    /// The members whose number was.
    with_number: u32,
    /// The members whose second number was.
    with_more: u32,
    /// An integer, a bool, a word's position, a place on the tape.
    ints: [MaybeUninit<u64>; MEMBER_COUNT_MAX],
    /// The bytes of a string, or a number.
    numbers: [MaybeUninit<Number<'a>>; MEMBER_COUNT_MAX],
    /// The second number of a [`Kind::Touch`].
    more: [MaybeUninit<Number<'a>>; MEMBER_COUNT_MAX],
}

impl<'a> Slots<'a> {
    /// No member yet.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            ignored: 0,
            has_other: false,
            named: Named::NOTHING,
            topic: (0, 0),
            like: Alike { int: None, price: None },
            with_int: 0,
            with_number: 0,
            with_more: 0,
            ints: [MaybeUninit::uninit(); MEMBER_COUNT_MAX],
            numbers: [MaybeUninit::uninit(); MEMBER_COUNT_MAX],
            more: [MaybeUninit::uninit(); MEMBER_COUNT_MAX],
        }
    }

    /// Which members were there, as a set of slots.
    #[inline(always)]
    pub(super) fn present(&self) -> u32 {
        self.ignored | self.with_int | self.with_number | self.with_more
    }

    /// True if the member was there.
    #[inline(always)]
    pub(super) fn has(&self, slot: usize) -> bool {
        self.has_any(1 << slot)
    }

    /// True if one of these was there, a set of slots.
    #[inline(always)]
    pub(super) fn has_any(&self, slots: u32) -> bool {
        self.present() & slots != 0
    }

    /// The integer of a member; zero if it was absent.
    #[inline(always)]
    pub(super) fn int(&self, slot: usize) -> u64 {
        if self.with_int & (1 << slot) == 0 {
            return 0;
        }
        // SAFETY: its bit is set nowhere but where it was written.
        unsafe { self.ints[slot].assume_init() }
    }

    /// The integer of an optional member.
    #[inline(always)]
    pub(super) fn int_if(&self, slot: usize) -> Option<u64> {
        if self.has(slot) { Some(self.int(slot)) } else { None }
    }

    /// The text of a member; empty if it was absent.
    #[inline(always)]
    pub(super) fn text(&self, slot: usize) -> &'a [u8] {
        self.number(slot).text()
    }

    /// The number of a member; of an empty text if it was absent.
    #[inline(always)]
    pub(super) fn number(&self, slot: usize) -> Number<'a> {
        self.number_if(slot).unwrap_or(Number::unread(&[]))
    }

    /// The number of an optional member.
    #[inline(always)]
    pub(super) fn number_if(&self, slot: usize) -> Option<Number<'a>> {
        if self.with_number & (1 << slot) == 0 {
            return None;
        }
        // SAFETY: its bit is set nowhere but where it was written.
        Some(unsafe { self.numbers[slot].assume_init() })
    }

    /// The second number of a [`Kind::Touch`].
    #[inline(always)]
    pub(super) fn more(&self, slot: usize) -> Number<'a> {
        if self.with_more & (1 << slot) == 0 {
            return Number::unread(&[]);
        }
        // SAFETY: its bit is set nowhere but where it was written.
        unsafe { self.more[slot].assume_init() }
    }

    #[inline(always)]
    pub(super) fn set_int(&mut self, slot: usize, int: u64) {
        self.ints[slot].write(int);
        self.with_int |= 1 << slot;
    }

    #[inline(always)]
    pub(super) fn set_text(&mut self, slot: usize, text: &'a [u8]) {
        self.set_number(slot, Number::unread(text));
    }

    #[inline(always)]
    pub(super) fn set_number(&mut self, slot: usize, number: Number<'a>) {
        self.numbers[slot].write(number);
        self.with_number |= 1 << slot;
    }

    #[inline(always)]
    pub(super) fn set_touch(&mut self, slot: usize, price: Number<'a>, qty: Number<'a>) {
        self.set_int(slot, 1);
        self.set_number(slot, price);
        self.more[slot].write(qty);
        self.with_more |= 1 << slot;
    }

    /// The member was there; nobody reads what it says.
    #[inline(always)]
    pub(super) fn set_ignored(&mut self, slot: usize) {
        self.ignored |= 1 << slot;
    }

    /// The member was `null`: as if it were absent.
    pub(super) fn clear(&mut self, slot: usize) {
        let kept = !(1 << slot);
        self.ignored &= kept;
        self.with_int &= kept;
        self.with_number &= kept;
        self.with_more &= kept;
    }
}

/// One member of a learned order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// A member of the shape.
    Known(u8),
    /// A member the shape does not name, with a scalar value: skipped, checked.
    Unknown {
        /// The key, zeros behind it.
        key: [u8; STEP_KEY_BYTES],
        /// Its length in bytes.
        length: u8,
    },
}

impl Step {
    /// The key of an unknown member.
    pub(super) fn unknown_key(&self) -> &[u8] {
        match self {
            Self::Known(_) => &[],
            Self::Unknown { key, length } => &key[..usize::from(*length)],
        }
    }
}

/// An order of members that tier two saw last, so that tier one can expect it next. Never allocates.
#[derive(Clone, Debug)]
pub(super) struct Learned {
    steps: [Step; STEP_COUNT_MAX],
    count: usize,
    is_usable: bool,
}

impl Learned {
    /// Nothing learned.
    pub(super) const fn new() -> Self {
        Self { steps: [Step::Known(0); STEP_COUNT_MAX], count: 0, is_usable: false }
    }

    /// Begins to learn a new order.
    pub(super) fn restart(&mut self) {
        self.count = 0;
        self.is_usable = true;
    }

    /// The next member is this one of the shape.
    pub(super) fn push_known(&mut self, slot: usize) {
        match u8::try_from(slot) {
            Ok(slot) if !self.steps().contains(&Step::Known(slot)) => self.push(Step::Known(slot)),
            _ => self.is_usable = false,
        }
    }

    /// The next member has this key, which the shape does not name.
    pub(super) fn push_unknown(&mut self, key: &[u8], is_scalar: bool) {
        let is_plain = key.iter().all(|&byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\');
        match u8::try_from(key.len()) {
            Ok(length) if is_plain && is_scalar && key.len() <= STEP_KEY_BYTES && !is_foreign(key) => {
                let mut padded = [0; STEP_KEY_BYTES];
                padded[..key.len()].copy_from_slice(key);
                self.push(Step::Unknown { key: padded, length });
            }
            _ => self.is_usable = false,
        }
    }

    fn push(&mut self, step: Step) {
        if self.count < STEP_COUNT_MAX {
            self.steps[self.count] = step;
            self.count += 1;
        } else {
            self.is_usable = false;
        }
    }

    /// The order learned; empty if there is none.
    pub(super) fn steps(&self) -> &[Step] {
        if self.is_usable { &self.steps[..self.count] } else { &[] }
    }
}

/// Which order one connection expects next for one shape: one of the shape's own, or the learned one.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    preferred: usize,
    learned: Learned,
    /// The order that the reader of any order saw last, if it was learned from.
    seen: u64,
    /// False where an order says nothing of the next one.
    learns: bool,
}

impl Expectation {
    /// The first documented order.
    pub(super) const fn new() -> Self {
        Self { preferred: 0, learned: Learned::new(), seen: 0, learns: true }
    }

    /// The documented orders and no other: of messages that never come in one order for long.
    pub(super) const fn of_documents() -> Self {
        Self { learns: false, ..Self::new() }
    }

    /// True if an object with this order of keys was not the last to be learned from.
    #[inline(always)]
    pub(super) fn is_new(&self, fingerprint: u64) -> bool {
        self.learns && self.seen != fingerprint
    }

    /// An object with this order of keys was learned from.
    pub(super) fn note(&mut self, fingerprint: u64) {
        self.seen = fingerprint;
    }

    /// The order to try first, and the learned one. Orders 0 to `known_count - 1` are the shape's own; `known_count` is
    /// the learned one.
    #[inline(always)]
    pub(super) fn first(&self) -> (usize, &Learned) {
        (self.preferred, &self.learned)
    }

    /// Runs `attempt` with each order but [`Self::first`] until one succeeds, and prefers that one from then on.
    pub(super) fn attempt_others<R>(
        &mut self,
        known_count: usize,
        mut attempt: impl FnMut(usize, &Learned) -> Option<R>,
    ) -> Option<R> {
        let order_count = known_count + usize::from(!self.learned.steps().is_empty());
        let first = self.preferred;
        for order in (first + 1..order_count).chain(0..first.min(order_count)) {
            if let Some(result) = attempt(order, &self.learned) {
                self.preferred = order;
                return Some(result);
            }
        }
        None
    }

    /// True if an order that no document shows is expected.
    pub(super) fn expects_learned(&self, known_count: usize) -> bool {
        self.preferred == known_count
    }

    /// Tier two decoded a message in this order: expect it next, unless the shape has it already (then something else,
    /// white space perhaps, kept tier one from it).
    pub(super) fn learn(&mut self, learned: Learned, known: &'static [&'static [usize]]) {
        self.seen = 0;
        let steps = learned.steps();
        if !self.learns || steps.is_empty() || known.iter().any(|order| is_within(steps, order)) {
            return;
        }
        self.learned = learned;
        self.preferred = known.len();
    }
}

/// True if the steps are members of the order, in the order's order.
fn is_within(steps: &[Step], order: &[usize]) -> bool {
    let mut order = order.iter();
    steps.iter().all(|step| match step {
        Step::Known(slot) => order.any(|&member| member == usize::from(*slot)),
        Step::Unknown { .. } => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_member_was_read_into_is_empty_and_so_is_what_was_taken_back() {
        let mut slots = Slots::new();
        for slot in 0..MEMBER_COUNT_MAX {
            let is_empty = |slots: &Slots<'_>| {
                !slots.has(slot)
                    && (slots.int(slot), slots.int_if(slot)) == (0, None)
                    && slots.text(slot).is_empty()
                    && slots.more(slot).text().is_empty()
            };
            assert!(is_empty(&slots), "{slot}");
            slots.set_int(slot, 7);
            assert_eq!((slots.int_if(slot), slots.text(slot)), (Some(7), &b""[..]), "an integer is no number");
            slots.clear(slot);
            assert!(is_empty(&slots), "{slot}");
            slots.set_text(slot, b"5");
            assert_eq!((slots.int_if(slot), slots.text(slot)), (Some(0), &b"5"[..]), "a number is no integer");
            slots.set_touch(slot, Number::unread(b"1"), Number::unread(b"2"));
            assert_eq!((slots.int(slot), slots.text(slot), slots.more(slot).text()), (1, &b"1"[..], &b"2"[..]));
            slots.clear(slot);
            assert!(is_empty(&slots), "{slot}");
        }
    }

    #[test]
    fn an_opening_is_where_its_key_stands_and_nowhere_else() {
        let window = |text: &[u8]| crate::market::pack(text);
        let opening = Opening::new("price", Kind::Decimal);
        assert!(opening.is_at(window(b"\"price\":\"1.5\",\"a")));
        for other in [&b"\"price\":1.5"[..], b"\"price\" :\"1", b"\"prices\":\"1", b"\"pric\":\"1", b""] {
            assert!(!opening.is_at(window(other)), "{other:?}");
        }
        let long = Opening::new("openInterestValue", Kind::Decimal);
        assert!(!long.is_at(0) && !long.is_at(window(b"\"openInterestVal")), "longer than a window");
    }

    #[test]
    fn an_order_that_worked_is_tried_first_the_next_time() {
        let mut expectation = Expectation::new();
        let others = |expectation: &mut Expectation, good: usize| {
            let mut tried = Vec::new();
            let found = expectation.attempt_others(3, |order, _| {
                tried.push(order);
                (order == good).then_some(order)
            });
            (found, tried)
        };
        assert_eq!(expectation.first().0, 0);
        assert_eq!(others(&mut expectation, 2), (Some(2), vec![1, 2]));
        assert_eq!(expectation.first().0, 2);
        assert_eq!(others(&mut expectation, 1), (Some(1), vec![0, 1]));
        assert_eq!(others(&mut expectation, 3), (None, vec![2, 0]), "the learned order is tried once there is one");
        assert_eq!(expectation.first().0, 1, "what failed is not preferred");
    }

    #[test]
    fn what_cannot_be_expected_again_is_not_learned() {
        let mut learned = Learned::new();
        learned.restart();
        learned.push_known(3);
        learned.push_unknown(b"zz", true);
        assert_eq!(learned.steps().len(), 2);
        learned.push_known(3);
        assert!(learned.steps().is_empty(), "a key twice");
        learned.restart();
        learned.push_unknown(b"zz", false);
        assert!(learned.steps().is_empty(), "a nested value");
        learned.restart();
        learned.push_unknown(b"a-key-of-seventeen", true);
        assert!(learned.steps().is_empty(), "a long key");
        learned.restart();
        (0..=STEP_COUNT_MAX).for_each(|slot| learned.push_known(slot));
        assert!(learned.steps().is_empty(), "too many members");
    }
}
