//! Tier one: the expected shape and nothing else.
//!
//! ```text
//! {"e":"trade","E":1723161255343,"s":"BTCUSDT", ...      every byte between values is compared,
//!  ^^^^^^^^^^^^ ^^^^             ^^^^^       ^            every digit checked, every kept string plain ASCII
//!  lead + word lead             lead   text
//! ```
//! Walks one message's bytes from left to right and leaves values in slots; the caller publishes only when the last byte
//! was as expected. `None` means "not this shape": the caller asks tier two. Never reads outside the slice, never
//! allocates, never changes the message.

use super::number::{Digits, Number, append, digit_count, leading_digits, load};
use super::shape::{Expectation, Json, Kind, Learned, Member, Shape, Slots, Step, required};

/// The bytes not yet walked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the first byte.
    #[inline(always)]
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// True if nothing is ahead.
    #[inline(always)]
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Steps over exactly these bytes.
    #[inline(always)]
    pub(super) fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// A string whose opening quote was walked already, up to and over its closing quote. Plain ASCII only: a
    /// backslash, a control byte or a byte of a multi-byte character belongs to tier two.
    #[inline(always)]
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let mut at = 0;
        loop {
            // Behind the message's end stand zeros, which end a string too.
            let ends = string_ends(load(self.rest, at));
            if ends != 0 {
                return self.close(at + (ends.trailing_zeros() / 8) as usize);
            }
            at += 8;
        }
    }

    /// The string that ends before byte `at`, if that byte is its quote.
    #[inline(always)]
    fn close(&mut self, at: usize) -> Option<&'a [u8]> {
        let (text, rest) = self.rest.split_at_checked(at)?;
        self.rest = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// A decimal number in a string whose opening quote was walked already, up to and over its closing quote. Its digits
    /// are read on the way to its end; what they mean (its scale) is not known here. A string that is no number of the
    /// common form is taken as it is.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Option<Number<'a>> {
        if let Some((digits, length)) = Digits::read(self.rest)
            && let Some(text) = self.close(length)
        {
            return Some(Number::new(text, digits));
        }
        // The cursor goes by value, so that its address is never taken and it stays in registers.
        let (number, cursor) = self.number_rare()?;
        *self = cursor;
        Some(number)
    }

    #[cold]
    #[inline(never)]
    fn number_rare(mut self) -> Option<(Number<'a>, Self)> {
        let text = self.text()?;
        Some((Number::unread(text), self))
    }

    /// A JSON integer that is not negative and has at most 19 digits.
    #[inline(always)]
    pub(super) fn uint(&mut self) -> Option<u64> {
        let first = load(self.rest, 0);
        let mut length = digit_count(first);
        let mut value = leading_digits(first, length);
        let mut count = length;
        while count == 8 {
            let word = load(self.rest, length);
            count = digit_count(word);
            if length + count > 19 {
                return None;
            }
            value = append(value, leading_digits(word, count), count);
            length += count;
        }
        // JSON has no leading zeros, and what follows the digits is compared by whoever comes next.
        if length == 0 || (length > 1 && first & 0xff == u64::from(b'0')) {
            return None;
        }
        self.rest = self.rest.get(length..)?;
        Some(value)
    }

    /// `true` or `false`.
    #[inline(always)]
    pub(super) fn bool(&mut self) -> Option<bool> {
        if self.literal(b"true").is_some() {
            return Some(true);
        }
        self.literal(b"false").map(|()| false)
    }

    /// Any scalar: a plain string, a number, `true`, `false` or `null`.
    fn skip_scalar(&mut self) -> Option<()> {
        match *self.rest.first()? {
            b'"' => {
                self.literal(b"\"")?;
                self.text().map(|_| ())
            }
            b't' | b'f' => self.bool().map(|_| ()),
            b'n' => self.literal(b"null"),
            _ => self.skip_number(),
        }
    }

    /// A number by the grammar of RFC 8259 section 6, but for exponents, which tier two may take.
    fn skip_number(&mut self) -> Option<()> {
        if self.rest.first() == Some(&b'-') {
            self.rest = &self.rest[1..];
        }
        let whole = self.digits()?;
        if whole.len() > 1 && whole[0] == b'0' {
            return None;
        }
        if self.rest.first() == Some(&b'.') {
            self.rest = &self.rest[1..];
            self.digits()?;
        }
        Some(())
    }

    /// One digit or more; at most 18, so that no parser can call the number too large.
    fn digits(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest;
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 || count > 18 {
            return None;
        }
        let (digits, rest) = rest.split_at(count);
        self.rest = rest;
        Some(digits)
    }
}

/// In the top bit of each byte: is this a quote, a backslash, a control byte or not ASCII? Exact for the lowest such
/// byte (a borrow can only mark a byte above one that is marked rightly), and only the lowest is used.
#[inline(always)]
fn string_ends(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    // Bytes with their top bit set are marked by `word` itself, so no term needs to leave them out.
    let below = |x: u64, bound: u64| x.wrapping_sub(ONES * bound);
    (below(quote, 1) | below(backslash, 1) | below(word, 0x20) | word) & TOPS
}

/// What tier one makes of an object's members.
pub(super) trait Reader<'a> {
    /// What it builds.
    type Event;

    /// Forgets what an attempt with another order left.
    fn restart(&mut self) {}

    /// Walks the whole value of a [`Kind::Nested`] member, or refuses it.
    fn nested(&mut self, _cursor: &mut Cursor<'a>) -> Option<()> {
        None
    }

    /// Builds from the slots. A method and not a closure, because it must be inlined in every order's walk: only then
    /// do the slots stay in registers.
    fn build(&mut self, slots: &Slots<'a>) -> Option<Self::Event>;
}

/// Walks one object of shape `S` in the order its connection expects, or in another one the shape knows, and `end`
/// behind it; then builds from its slots. The cursor moves only on success.
#[inline(always)]
pub(super) fn expect<'a, S: Shape, R: Reader<'a>>(
    expectation: &mut Expectation,
    cursor: &mut Cursor<'a>,
    end: &[u8],
    reader: &mut R,
) -> Option<R::Event> {
    let (order, learned) = expectation.first();
    if let Some((event, ahead)) = walk::<S, R>(order, learned, *cursor, end, reader) {
        *cursor = ahead;
        return Some(event);
    }
    expect_other::<S, R>(expectation, cursor, end, reader)
}

#[cold]
#[inline(never)]
fn expect_other<'a, S: Shape, R: Reader<'a>>(
    expectation: &mut Expectation,
    cursor: &mut Cursor<'a>,
    end: &[u8],
    reader: &mut R,
) -> Option<R::Event> {
    let start = *cursor;
    let (event, ahead) = expectation
        .attempt_others(S::ORDERS.len(), |order, learned| walk::<S, R>(order, learned, start, end, reader))?;
    *cursor = ahead;
    Some(event)
}

/// One attempt with one order: the event, and the cursor behind it.
#[inline(always)]
fn walk<'a, S: Shape, R: Reader<'a>>(
    order: usize,
    learned: &Learned,
    start: Cursor<'a>,
    end: &[u8],
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    const { assert!(S::ORDERS.len() <= 3, "as many orders as are written out here") };
    reader.restart();
    match order {
        0 if !S::ORDERS.is_empty() => walk_known::<S, R, 0>(start, end, reader),
        1 if S::ORDERS.len() > 1 => walk_known::<S, R, 1>(start, end, reader),
        2 if S::ORDERS.len() > 2 => walk_known::<S, R, 2>(start, end, reader),
        _ => walk_learned::<S, R>(learned, start, end, reader),
    }
}

/// The slots are this function's own: where the order is a constant they never reach memory.
#[inline(always)]
fn walk_known<'a, S: Shape, R: Reader<'a>, const ORDER: usize>(
    start: Cursor<'a>,
    end: &[u8],
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    let mut ahead = start;
    let mut slots = Slots::new();
    scan_known::<S, ORDER>(&mut ahead, &mut slots, reader)?;
    ahead.literal(end)?;
    Some((reader.build(&slots)?, ahead))
}

#[inline(never)]
fn walk_learned<'a, S: Shape, R: Reader<'a>>(
    learned: &Learned,
    start: Cursor<'a>,
    end: &[u8],
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    let mut ahead = start;
    let mut slots = Slots::new();
    scan_learned(S::MEMBERS, learned, &mut ahead, &mut slots, reader)?;
    ahead.literal(end)?;
    Some((reader.build(&slots)?, ahead))
}

/// The members of one order of a shape, as slots; the first order for a number no order has.
const fn order_of<S: Shape>(order: usize) -> &'static [usize] {
    if order < S::ORDERS.len() { S::ORDERS[order] } else { S::ORDERS[0] }
}

/// Walks one object in order `ORDER` of its shape. Every member is a constant here, so the compiler lays the whole walk
/// out in a straight line: no table is read, no kind is asked.
#[inline(always)]
fn scan_known<'a, S: Shape, const ORDER: usize>(
    cursor: &mut Cursor<'a>,
    slots: &mut Slots<'a>,
    reader: &mut impl Reader<'a>,
) -> Option<()> {
    macro_rules! steps {
        ($($at:literal)*) => { $(step::<S, ORDER, $at>(cursor, slots, reader)?;)* };
    }
    const { assert!(order_of::<S>(ORDER).len() <= 16, "as many steps as are written out here") };
    steps!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    close_object(S::MEMBERS, cursor, slots)
}

#[inline(always)]
fn step<'a, S: Shape, const ORDER: usize, const AT: usize>(
    cursor: &mut Cursor<'a>,
    slots: &mut Slots<'a>,
    reader: &mut impl Reader<'a>,
) -> Option<()> {
    if AT >= const { order_of::<S>(ORDER).len() } {
        return Some(());
    }
    let slot = const { if AT < order_of::<S>(ORDER).len() { order_of::<S>(ORDER)[AT] } else { 0 } };
    let member = const { &S::MEMBERS[if AT < order_of::<S>(ORDER).len() { order_of::<S>(ORDER)[AT] } else { 0 }] };
    let mut ahead = *cursor;
    if scan_lead(member, AT == 0, &mut ahead).is_some() {
        *cursor = ahead;
        return scan_value(member, slot, cursor, slots, reader);
    }
    if member.is_required { None } else { Some(()) }
}

/// Walks one object in a learned order: exactly these members.
fn scan_learned<'a>(
    members: &'static [Member],
    learned: &Learned,
    cursor: &mut Cursor<'a>,
    slots: &mut Slots<'a>,
    reader: &mut impl Reader<'a>,
) -> Option<()> {
    if learned.steps().is_empty() {
        return None;
    }
    for (at, step) in learned.steps().iter().enumerate() {
        match step {
            Step::Known(slot) => {
                let slot = usize::from(*slot);
                let member = members.get(slot)?;
                scan_lead(member, at == 0, cursor)?;
                scan_value(member, slot, cursor, slots, reader)?;
            }
            Step::Unknown { .. } => {
                cursor.literal(if at == 0 { b"{\"" } else { b",\"" })?;
                cursor.literal(step.unknown_key())?;
                cursor.literal(b"\":")?;
                cursor.skip_scalar()?;
                slots.has_other = true;
            }
        }
    }
    close_object(members, cursor, slots)
}

#[inline(always)]
fn close_object(members: &'static [Member], cursor: &mut Cursor<'_>, slots: &Slots<'_>) -> Option<()> {
    let required = required(members);
    if slots.present & required != required {
        return None;
    }
    cursor.literal(b"}")
}

/// Steps over what stands before a member's value: `{"key":` or `,"key":`, with a string's opening quote.
#[inline(always)]
fn scan_lead(member: &Member, is_first: bool, cursor: &mut Cursor<'_>) -> Option<()> {
    let lead = match member.kind {
        Kind::Text | Kind::Decimal | Kind::Word(_) | Kind::Ignored(Json::Text) => member.lead_quoted,
        _ => member.lead,
    };
    if is_first {
        cursor.literal(b"{")?;
        return cursor.literal(&lead.as_bytes()[1..]);
    }
    cursor.literal(lead.as_bytes())
}

#[inline(always)]
fn scan_value<'a>(
    member: &Member,
    slot: usize,
    cursor: &mut Cursor<'a>,
    slots: &mut Slots<'a>,
    reader: &mut impl Reader<'a>,
) -> Option<()> {
    match member.kind {
        Kind::Int => slots.set_int(slot, cursor.uint()?),
        Kind::Text => slots.set_text(slot, cursor.text()?),
        Kind::Decimal => slots.set_number(slot, cursor.number()?),
        Kind::Bool => slots.set_int(slot, u64::from(cursor.bool()?)),
        Kind::Word(words) => slots.set_int(slot, scan_word(words, cursor)?),
        Kind::Touch => scan_touch(slot, cursor, slots)?,
        Kind::Nested => {
            reader.nested(cursor)?;
            slots.set_int(slot, 0);
        }
        Kind::Levels => return None,
        Kind::Ignored(json) => {
            match json {
                Json::Int => cursor.uint().map(|_| ())?,
                Json::Text => cursor.text().map(|_| ())?,
                Json::Bool => cursor.bool().map(|_| ())?,
            }
            slots.has_other = true;
            slots.present |= 1 << slot;
        }
    }
    Some(())
}

/// One of a few strings, and its closing quote.
#[inline(always)]
fn scan_word(words: &'static [&'static str], cursor: &mut Cursor<'_>) -> Option<u64> {
    for (position, word) in words.iter().enumerate() {
        let mut ahead = *cursor;
        if ahead.literal(word.as_bytes()).is_some() && ahead.literal(b"\"").is_some() {
            *cursor = ahead;
            return Some(position as u64);
        }
    }
    None
}

/// `[]` or `[["price","quantity"]]`.
#[inline(always)]
fn scan_touch<'a>(slot: usize, cursor: &mut Cursor<'a>, slots: &mut Slots<'a>) -> Option<()> {
    if cursor.literal(b"[]").is_some() {
        slots.set_int(slot, 0);
        return Some(());
    }
    cursor.literal(b"[[\"")?;
    let price = cursor.number()?;
    cursor.literal(b",\"")?;
    let qty = cursor.number()?;
    cursor.literal(b"]]")?;
    slots.set_touch(slot, price, qty);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::parse_fixed;
    use proptest::prelude::*;

    fn is_string_end(byte: u8) -> bool {
        byte == b'"' || byte == b'\\' || !(0x20..0x80).contains(&byte)
    }

    #[test]
    fn an_integer_is_read_at_every_length_and_every_distance_from_the_end() {
        for length in 1..=19 {
            let digits = &"1234567890123456789"[..length];
            for tail in ["", "}", ",\"key\":1}", "aaaaaaaaaaaaaaaaaaaa"] {
                let text = format!("{digits}{tail}");
                let mut cursor = Cursor::new(text.as_bytes());
                assert_eq!(cursor.uint(), digits.parse().ok(), "{text}");
                assert_eq!(cursor.rest, tail.as_bytes());
            }
        }
        for refused in ["", "01", "00000000000", "-1", "12345678901234567890", "a", "\"1\""] {
            assert_eq!(Cursor::new(refused.as_bytes()).uint(), None, "{refused}");
        }
    }

    #[test]
    fn a_string_that_is_not_plain_is_refused_wherever_the_byte_stands() {
        for length in 0..20 {
            let plain = "A".repeat(length);
            for tail in ["\"", "\",\"b\":\"62.5\""] {
                let text = format!("{plain}{tail}");
                assert_eq!(Cursor::new(text.as_bytes()).text(), Some(plain.as_bytes()));
                for bad in [0x00, 0x1f, b'\\', 0x80, 0xff, b'\n'] {
                    let mut bytes = text.clone().into_bytes();
                    bytes.insert(length / 2, bad);
                    assert_eq!(Cursor::new(&bytes).text(), None, "{bad:#04x} in {text}");
                }
            }
            assert_eq!(Cursor::new(plain.as_bytes()).text(), None, "no closing quote");
        }
    }

    proptest! {
        #[test]
        fn a_string_ends_where_the_plain_loop_says(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), 0x20_u8..0x7f], 0..40)) {
            let end = bytes.iter().position(|&byte| is_string_end(byte));
            let expected = end.filter(|&at| bytes[at] == b'"').map(|at| &bytes[..at]);
            prop_assert_eq!(Cursor::new(&bytes).text(), expected);
        }

        #[test]
        fn a_number_is_the_same_text_and_value_as_the_plain_string(
            text in "-?[0-9]{0,18}(\\.[0-9]{0,12})?[0a\\\\]?",
            tail in "(\"(\\}|,\"key\":\"1.5\"\\})?)?",
            scale in 0_u8..=18,
        ) {
            let message = format!("{text}{tail}");
            let [mut plain, mut cursor] = [Cursor::new(message.as_bytes()); 2];
            let expected = plain.text();
            let number = cursor.number();
            prop_assert_eq!(number.map(|number| number.text), expected);
            if let Some(number) = number {
                prop_assert_eq!(cursor.rest, plain.rest);
                prop_assert_eq!(number.grid(scale), parse_fixed(number.text, scale));
            }
        }

        #[test]
        fn a_skipped_scalar_is_one_that_json_has(text in "(-?[0-9]{1,20}(\\.[0-9]{0,3})?|true|false|null|\"[a-z\\\\]{0,12}\"|[a-z]{1,5})") {
            let mut cursor = Cursor::new(text.as_bytes());
            if cursor.skip_scalar().is_some() && cursor.is_at_end() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
            }
        }
    }
}
