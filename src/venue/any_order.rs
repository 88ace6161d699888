//! Tier two, first half: a known shape in whatever order its members come, with white space anywhere and members nobody
//! knows.
//!
//! ```text
//! { "E" : 1723161255343, "new": [1, {}], "e": "trade", ...
//!   key ─► its slot, looked for where the last one was found ─► the value, as tier one reads it
//!   a key that no member has ─► its value is skipped, by the grammar
//! ```
//! Strict about values, as tier one: an escape, an exponent, a byte that is not ASCII but in a symbol's name, a member that
//! comes twice belong to the tape (tape.rs). What is taken means what the tape would make of it. A list or an object that needs
//! a member which comes behind it waits for the object's end. Never allocates, never changes the message; whatever follows the
//! message must not change what it says, so the last byte walked over must be the message's own.

use super::cursor::Cursor;
use super::isa::{Isa, NumberEnds, Portable, WINDOW, Work};
use super::levels::Listing;
use super::number::{Number, UUID_BYTES};
use super::scan::{End, Reader, scan_plain, scan_value};
use super::shape::{Expectation, Kind, Learned, Member, Shape, Slots, is_foreign, required};
use crate::market::{Level, Price, Qty};

/// Deepest nesting of a value that is skipped. The tape takes deeper ones.
const NESTING_MAX: u32 = 16;

/// How many members in a row may be missing before a key is looked for among all.
const MISSING_COUNT_MAX: usize = 3;

/// How many lists and objects of one object can wait for its end.
const LATE_COUNT_MAX: usize = 2;

/// These instructions, asked for members in any order.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnyOrder<I>(I);

/// Work that is to be done so.
pub(super) struct InAnyOrder<'w, W>(pub(super) &'w mut W);

impl<W: Work> Work for InAnyOrder<'_, W> {
    type Output = W::Output;

    #[inline(always)]
    fn run<I: Isa>(&mut self, isa: I) -> W::Output {
        self.0.run(AnyOrder(isa))
    }
}

impl<I: Isa> Isa for AnyOrder<I> {
    const IS_ANY_ORDER: bool = true;

    #[inline(always)]
    fn run<W: Work>(self, work: &mut W) -> W::Output {
        self.0.run(&mut InAnyOrder(work))
    }

    #[inline(always)]
    fn plain_end(self, window: &[u8; WINDOW]) -> usize {
        self.0.plain_end(window)
    }

    #[inline(always)]
    fn plain_end_of_two(self, windows: [&[u8; WINDOW]; 2]) -> usize {
        self.0.plain_end_of_two(windows)
    }

    #[inline(always)]
    fn are_plain(self, windows: [&[u8; WINDOW]; 3]) -> bool {
        self.0.are_plain(windows)
    }

    #[inline(always)]
    fn marks(self, window: &[u8; WINDOW], byte: u8) -> u32 {
        self.0.marks(window, byte)
    }

    #[inline(always)]
    fn quoted_ends(self, window: &[u8; WINDOW]) -> NumberEnds {
        self.0.quoted_ends(window)
    }

    #[inline(always)]
    fn uint(self, window: &[u8; WINDOW]) -> (u64, usize) {
        self.0.uint(window)
    }

    #[inline(always)]
    fn time(self, window: &[u8; WINDOW]) -> Option<u64> {
        self.0.time(window)
    }

    #[inline(always)]
    fn grid(self, window: &[u8; WINDOW], ends: NumberEnds, scale: u8) -> Option<i64> {
        self.0.grid(window, ends, scale)
    }

    #[inline(always)]
    fn grids(self, windows: [&[u8; WINDOW]; 2], ends: [NumberEnds; 2], scales: (u8, u8)) -> Option<[i64; 2]> {
        self.0.grids(windows, ends, scales)
    }

    #[inline(always)]
    fn decimal(self, window: &[u8; WINDOW], ends: NumberEnds) -> Option<(i64, u8)> {
        self.0.decimal(window, ends)
    }

    #[inline(always)]
    fn decimals(self, windows: [&[u8; WINDOW]; 2], ends: [NumberEnds; 2]) -> Option<[(i64, u8); 2]> {
        self.0.decimals(windows, ends)
    }

    #[inline(always)]
    fn key(self, window: &[u8; WINDOW], length: usize) -> u128 {
        self.0.key(window, length)
    }

    #[inline(always)]
    fn is_key(self, window: &[u8; WINDOW], length: usize, key: &u128) -> bool {
        self.0.is_key(window, length, key)
    }

    #[inline(always)]
    fn uuid(self, text: &[u8; UUID_BYTES]) -> Option<u128> {
        self.0.uuid(text)
    }

    #[inline(always)]
    fn levels(self, padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing> {
        match self.0.levels(padded, scales, levels) {
            Some(listing) => Some(listing),
            None => spaced_levels(padded, scales, levels),
        }
    }
}

/// A list of levels with white space in it.
#[cold]
#[inline(never)]
fn spaced_levels(padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing> {
    let mut cursor = Cursor::new(padded);
    cursor.literal(b"[")?;
    cursor.space();
    let mut count = 0;
    if cursor.literal(b"]").is_none() {
        loop {
            cursor.space();
            let (price, qty) = spaced_level(&mut cursor)?;
            *levels.get_mut(count)? = Level {
                price: Price::from_mantissa(price.grid(Portable, scales.0).ok()?),
                qty: Qty::from_mantissa(qty.unsigned_grid(Portable, scales.1).ok()?),
            };
            count += 1;
            cursor.space();
            if cursor.literal(b"]").is_some() {
                break;
            }
            cursor.literal(b",")?;
        }
    }
    Some(Listing { count, length: padded.len() - cursor.ahead() })
}

/// `["price", "quantity"]`.
fn spaced_level<'a>(cursor: &mut Cursor<'a>) -> Option<(Number<'a>, Number<'a>)> {
    cursor.literal(b"[")?;
    cursor.space();
    cursor.literal(b"\"")?;
    let price = cursor.number(Portable)?;
    cursor.space();
    cursor.literal(b",")?;
    cursor.space();
    cursor.literal(b"\"")?;
    let qty = cursor.number(Portable)?;
    cursor.space();
    cursor.literal(b"]")?;
    Some((price, qty))
}

/// `[ ]` or `[ ["price", "quantity"] ]`.
fn spaced_touch<'a>(slot: usize, cursor: &mut Cursor<'a>, slots: &mut Slots<'a>) -> Option<()> {
    cursor.literal(b"[")?;
    cursor.space();
    if cursor.literal(b"]").is_some() {
        slots.set_int(slot, 0);
        return Some(());
    }
    let (price, qty) = spaced_level(cursor)?;
    cursor.space();
    cursor.literal(b"]")?;
    slots.set_touch(slot, price, qty);
    Some(())
}

/// Steps over this byte, and over white space before it. Asked for the byte first, because there mostly is none.
#[inline(always)]
fn mark(cursor: &mut Cursor<'_>, mark: &[u8; 1]) -> Option<()> {
    if cursor.literal(mark).is_some() {
        return Some(());
    }
    cursor.space();
    cursor.literal(mark)
}

/// A member's key, the colon behind it, and white space around them; the key, and its first sixteen bytes.
#[inline(always)]
pub(super) fn key<'a>(isa: impl Isa, cursor: &mut Cursor<'a>) -> Option<(&'a [u8], u128)> {
    mark(cursor, b"\"")?;
    let key = cursor.text(isa)?;
    mark(cursor, b":")?;
    cursor.space();
    cursor.stride()?;
    Some((key.text(), key.key(isa)))
}

/// What stands behind a member: true if a comma and so another one, false if the brace that closes the object.
#[inline(always)]
pub(super) fn goes_on(cursor: &mut Cursor<'_>) -> Option<bool> {
    if mark(cursor, b",").is_some() {
        return Some(true);
    }
    // White space before it was stepped over.
    cursor.literal(b"}")?;
    Some(false)
}

/// Any value by the grammar of RFC 8259, but for what tier one takes in no scalar.
#[inline(always)]
pub(super) fn skip_value(isa: impl Isa, cursor: &mut Cursor<'_>) -> Option<()> {
    if matches!(cursor.rest().first()?, b'{' | b'[') {
        *cursor = skip_nested(*cursor, NESTING_MAX)?;
        return Some(());
    }
    cursor.skip_scalar(isa)
}

/// An object or an array, of so many more below it.
#[cold]
#[inline(never)]
fn skip_nested(mut cursor: Cursor<'_>, depth: u32) -> Option<Cursor<'_>> {
    let depth = depth.checked_sub(1)?;
    let is_object = cursor.literal(b"{").is_some();
    if !is_object {
        cursor.literal(b"[")?;
    }
    let close: &[u8] = if is_object { b"}" } else { b"]" };
    cursor.space();
    if cursor.literal(close).is_some() {
        return Some(cursor);
    }
    loop {
        if is_object {
            key(Portable, &mut cursor)?;
        }
        cursor.space();
        if matches!(cursor.rest().first()?, b'{' | b'[') {
            cursor = skip_nested(cursor, depth)?;
        } else {
            cursor.skip_scalar(Portable)?;
        }
        cursor.space();
        if cursor.literal(close).is_some() {
            return Some(cursor);
        }
        cursor.literal(b",")?;
    }
}

/// Skips the value of a member that nobody knows, unless its key says that the object is another one.
#[inline(always)]
pub(super) fn skip_unknown(isa: impl Isa, key: &[u8], cursor: &mut Cursor<'_>) -> Option<()> {
    if is_foreign(key) {
        return None;
    }
    skip_value(isa, cursor)
}

/// The member of this key, looked for from `expected` on: they mostly come in documented order.
#[inline(always)]
fn find(members: &'static [Member], expected: usize, key: &[u8], packed: u128) -> Option<usize> {
    let mut slot = expected;
    for _ in 0..members.len() {
        if slot >= members.len() {
            slot = 0;
        }
        let member = &members[slot];
        if member.packed == packed
            && member.key.len() == key.len()
            && (key.len() <= WINDOW || member.key.as_bytes() == key)
        {
            return Some(slot);
        }
        slot += 1;
    }
    None
}

/// The next member in documented order, or one of a few behind it, where its key and what is around it stand there without
/// white space; the cursor is at its value then, behind the quote of one whose opening has it ([`super::shape::Opening::is_quoted`]).
#[inline(always)]
fn next_documented(members: &'static [Member], expected: usize, cursor: &mut Cursor<'_>) -> Option<usize> {
    let window = u128::from_le_bytes(*cursor.rest().first_chunk()?);
    let end = members.len().min(expected + 1 + MISSING_COUNT_MAX);
    let mut slot = expected;
    while slot < end {
        let opening = members[slot].opening;
        if opening.is_at(window) {
            cursor.skip(opening.length)?;
            return Some(slot);
        }
        slot += 1;
    }
    None
}

/// A list or an object that waits for members behind it.
#[derive(Clone, Copy)]
struct Late<'a> {
    slot: usize,
    cursor: Cursor<'a>,
    /// How much is ahead of a cursor that stands behind its value.
    ahead: usize,
}

/// Walks one object of shape `S`, and `end` behind it; then builds from its slots. What was built, and the cursor behind the
/// object. The order that its members came in is expected next.
#[inline(always)]
pub(super) fn walk<'a, S: Shape, R: Reader<'a>>(
    expectation: &mut Expectation,
    start: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    let (event, cursor, fingerprint) = walk_members(S::MEMBERS, start, end, reader)?;
    if expectation.is_new(fingerprint) {
        learn(expectation, S::MEMBERS, S::ORDERS, start, fingerprint);
    }
    Some((event, cursor))
}

#[inline(always)]
fn walk_members<'a, R: Reader<'a>>(
    members: &'static [Member],
    start: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>, u64)> {
    reader.restart();
    let isa = reader.isa();
    let mut cursor = start;
    cursor.token(isa, b"{")?;
    let mut slots = Slots::new();
    let mut late: [Option<Late<'a>>; LATE_COUNT_MAX] = [None; LATE_COUNT_MAX];
    let mut fingerprint = 1;
    let mut expected = 0;
    // As `Slots::present`, which is many a look in memory.
    let mut present = 0_u32;
    loop {
        let (slot, is_quoted) = if let Some(slot) = next_documented(members, expected, &mut cursor) {
            (Some(slot), members[slot].opening.is_quoted)
        } else {
            let (key, packed) = key(isa, &mut cursor)?;
            let slot = find(members, expected, key, packed);
            if slot.is_none() {
                fingerprint = mix(fingerprint, packed);
                slots.has_other |= cursor.rest().first() != Some(&b'n');
                skip_unknown(isa, key, &mut cursor)?;
            }
            (slot, false)
        };
        if let Some(slot) = slot {
            let member = &members[slot];
            fingerprint = mix(fingerprint, member.packed);
            expected = slot + 1;
            if !is_quoted {
                cursor.space();
            }
            if present & (1 << slot) != 0 || cursor.stride().is_none() {
                return None;
            }
            if !is_quoted && !member.is_required && cursor.literal(b"null").is_some() {
                // As if it were absent; but no kind of message is told by its absence.
                if is_foreign(member.key.as_bytes()) {
                    return None;
                }
            } else {
                value(member, slot, is_quoted, &mut cursor, &mut slots, reader, &mut late)?;
                present |= 1 << slot;
            }
        }
        if !goes_on(&mut cursor)? {
            break;
        }
    }
    for Late { slot, mut cursor, ahead } in late.into_iter().flatten() {
        let stride = cursor.stride()?;
        scan_value(&members[slot], slot, &mut cursor, stride, &mut slots, reader)?;
        if cursor.ahead() != ahead {
            return None;
        }
    }
    debug_assert_eq!(present, slots.present());
    let required = required(members);
    if present & required != required {
        return None;
    }
    end.check_spaced(isa, &mut cursor)?;
    Some((reader.build(&slots)?, cursor, fingerprint))
}

/// One member's value, whose opening quote was walked already where it `is_quoted`.
#[inline(always)]
fn value<'a, R: Reader<'a>>(
    member: &Member,
    slot: usize,
    is_quoted: bool,
    cursor: &mut Cursor<'a>,
    slots: &mut Slots<'a>,
    reader: &mut R,
    late: &mut [Option<Late<'a>>; LATE_COUNT_MAX],
) -> Option<()> {
    let isa = reader.isa();
    match member.kind {
        Kind::Nested | Kind::Levels => {
            if reader.is_ready(slots) {
                let stride = cursor.stride()?;
                return scan_value(member, slot, cursor, stride, slots, reader);
            }
            let start = *cursor;
            skip_value(isa, cursor)?;
            *late.iter_mut().find(|late| late.is_none())? = Some(Late { slot, cursor: start, ahead: cursor.ahead() });
            // Its int is written once more where it is read.
            slots.set_int(slot, 0);
            Some(())
        }
        Kind::Ignored(_) => {
            skip_value(isa, cursor)?;
            slots.has_other = true;
            slots.set_ignored(slot);
            Some(())
        }
        Kind::Decimal | Kind::Price if !is_quoted && cursor.rest().first() != Some(&b'"') => {
            slots.set_text(slot, cursor.number_text()?);
            Some(())
        }
        Kind::Touch if !cursor.rest().starts_with(b"[[\"") => spaced_touch(slot, cursor, slots),
        kind if kind.is_quoted() => {
            if !is_quoted {
                cursor.literal(b"\"")?;
            }
            let stride = cursor.stride()?;
            scan_value(member, slot, cursor, stride, slots, reader)
        }
        _ => {
            let stride = cursor.stride()?;
            scan_plain(member, slot, cursor, stride, slots, isa)
        }
    }
}

/// What tells one order of keys from another.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "both halves are mixed in")]
fn mix(fingerprint: u64, packed: u128) -> u64 {
    (fingerprint ^ packed as u64 ^ (packed >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// Learns the order of an object that was walked. What cannot be learned is not walked again for each message.
#[cold]
#[inline(never)]
fn learn(
    expectation: &mut Expectation,
    members: &'static [Member],
    known: &'static [&'static [usize]],
    start: Cursor<'_>,
    fingerprint: u64,
) {
    if let Some(learned) = order_of(members, start) {
        expectation.learn(learned, known);
    }
    expectation.note(fingerprint);
}

fn order_of(members: &'static [Member], mut cursor: Cursor<'_>) -> Option<Learned> {
    let mut learned = Learned::new();
    learned.restart();
    let mut expected = 0;
    cursor.space();
    cursor.literal(b"{")?;
    loop {
        let (key, packed) = key(Portable, &mut cursor)?;
        let is_scalar = !matches!(cursor.rest().first(), Some(b'{' | b'['));
        match find(members, expected, key, packed) {
            Some(_) if cursor.literal(b"null").is_some() => return None,
            Some(slot) => {
                expected = slot + 1;
                learned.push_known(slot);
                // A name may be of any letters, as where it was walked.
                if matches!(members[slot].kind, Kind::Symbol) && cursor.literal(b"\"").is_some() {
                    cursor.symbol_of(Portable, cursor.stride()?, 0)?;
                } else {
                    skip_value(Portable, &mut cursor)?;
                }
            }
            None => {
                learned.push_unknown(key, is_scalar);
                skip_value(Portable, &mut cursor)?;
            }
        }
        if !goes_on(&mut cursor)? {
            return Some(learned);
        }
    }
}

#[cfg(test)]
#[path = "any_order_tests.rs"]
mod tests;
