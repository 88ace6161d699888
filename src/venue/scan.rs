//! Tier one: the expected shape and nothing else.
//!
//! ```text
//! {"e":"trade","E":1723161255343,"s":"BTCUSDT", ...      every byte between values is compared,
//!  ^^^^^^^^^^^^ ^^^^             ^^^^^       ^            every digit checked, every kept string plain ASCII
//!  lead + word lead             lead   text
//! ```
//! Walks one message's bytes from left to right and leaves values in slots; the caller publishes only when the last byte
//! was as expected. `None` means "not this shape": the caller asks tier two. Never allocates, never changes the message. It
//! may look at what is readable behind the message, but what it finds there changes nothing: the last byte it walks over must
//! be the message's own last.

use super::decode::Found;
use super::isa::{Isa, Portable, WINDOW, Work};
use super::number::{Number, parse_uint};
use super::shape::{Expectation, Json, Kind, Learned, Member, Shape, Slots, Step, required};
use crate::limits::READ_PADDING_BYTES;
use std::marker::PhantomData;

/// Bytes that one step may look at without asking whether they are there. Behind every message lie as many.
const STEP_BYTES: usize = READ_PADDING_BYTES;

/// The bytes not yet walked, those behind the message's end included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the first byte of a message and what is readable behind it.
    #[inline(always)]
    pub(super) fn new(padded: &'a [u8]) -> Self {
        Self { rest: padded }
    }

    /// How many readable bytes are ahead.
    #[inline(always)]
    pub(super) fn ahead(&self) -> usize {
        self.rest.len()
    }

    /// The bytes ahead.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether a whole step's bytes are readable. Asked once a step, so that the step's own questions need no answer.
    /// Never false inside a message.
    #[inline(always)]
    pub(super) fn has_step(&self) -> bool {
        self.rest.len() >= STEP_BYTES
    }

    /// Steps over so many bytes that someone else read.
    #[inline(always)]
    pub(super) fn skip(&mut self, length: usize) -> Option<()> {
        self.rest = self.rest.get(length..)?;
        Some(())
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
    pub(super) fn text(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        let window = self.rest.first_chunk::<WINDOW>()?;
        let mut end = isa.plain_end(window);
        if end == WINDOW {
            end = self.text_end(isa, WINDOW)?;
        }
        Some(Number::of_text(self.close(end)?, window))
    }

    /// [`Self::text`] for a name of which nothing foretells whether it is longer than one window: two are asked at once,
    /// without a branch between them.
    #[inline(always)]
    pub(super) fn name(&mut self, isa: impl Isa) -> Option<&'a [u8]> {
        let windows = self.rest.first_chunk::<{ 2 * WINDOW }>()?;
        let (first, second) = windows.split_first_chunk::<WINDOW>()?;
        let [first, second] = [isa.plain_end(first), isa.plain_end(second.first_chunk()?)];
        let mut end = first + if first == WINDOW { second } else { 0 };
        if end == 2 * WINDOW {
            end = self.text_end(isa, end)?;
        }
        self.close(end)
    }

    /// Where a string ends that does not before byte `at`.
    #[inline(always)]
    fn text_end(&self, isa: impl Isa, mut at: usize) -> Option<usize> {
        loop {
            let end = isa.plain_end(self.rest.get(at..)?.first_chunk::<WINDOW>()?);
            if end < WINDOW {
                return Some(at + end);
            }
            at += WINDOW;
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
    /// are looked at on the way to its end; what they mean (its scale) is not known here. A string that is no number of
    /// the common form is taken as it is.
    #[inline(always)]
    pub(super) fn number(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        let window = self.rest.first_chunk::<WINDOW>()?;
        if let Some(number) = Number::new(window, isa.number_ends(window))
            && self.close(number.text().len()).is_some()
        {
            return Some(number);
        }
        // The cursor goes by value, so that its address is never taken and it stays in registers.
        let (number, cursor) = self.number_rare()?;
        *self = cursor;
        Some(number)
    }

    #[cold]
    #[inline(never)]
    fn number_rare(mut self) -> Option<(Number<'a>, Self)> {
        // A function of its own is not compiled for the reader's instructions.
        let text = self.text(Portable)?;
        Some((Number::unread(text.text()), self))
    }

    /// A JSON integer that is not negative and has at most 19 digits.
    #[inline(always)]
    pub(super) fn uint(&mut self, isa: impl Isa) -> Option<u64> {
        let window = self.rest.first_chunk::<WINDOW>()?;
        let (value, length) = isa.uint(window);
        if length == WINDOW {
            let (value, cursor) = self.uint_long()?;
            *self = cursor;
            return Some(value);
        }
        // JSON has no leading zeros, and what follows the digits is compared by whoever comes next.
        if length == 0 || (length > 1 && window[0] == b'0') {
            return None;
        }
        self.rest = self.rest.get(length..)?;
        Some(value)
    }

    /// An integer of sixteen digits or more.
    #[cold]
    #[inline(never)]
    fn uint_long(mut self) -> Option<(u64, Self)> {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length > 19 || self.rest[0] == b'0' {
            return None;
        }
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some((parse_uint(digits)?, self))
    }

    /// `true` or `false`. Without a branch between them, for nothing foretells which a trade will be.
    #[inline(always)]
    pub(super) fn bool(&mut self) -> Option<bool> {
        let [a, b, c, d, e] = *self.rest.first_chunk::<5>()?;
        let word = u32::from_le_bytes([a, b, c, d]);
        let is_true = word == u32::from_le_bytes(*b"true");
        let is_false = (word == u32::from_le_bytes(*b"fals")) & (e == b'e');
        if !(is_true | is_false) {
            return None;
        }
        self.rest = self.rest.get(5 - usize::from(is_true)..)?;
        Some(is_true)
    }

    /// Any scalar: a plain string, a number, `true`, `false` or `null`.
    fn skip_scalar(&mut self, isa: impl Isa) -> Option<()> {
        match *self.rest.first()? {
            b'"' => {
                self.literal(b"\"")?;
                self.text(isa).map(|_| ())
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

/// What must follow an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Whatever the caller looks for next.
    Open,
    /// The message's end, and before it the brace of what was wrapped around the object.
    Message {
        /// Whether there is such a brace.
        is_wrapped: bool,
        /// Readable bytes behind the message.
        behind: usize,
    },
}

impl End {
    /// The end of a message that nothing is wrapped around.
    #[inline(always)]
    pub(super) fn whole(behind: usize) -> Self {
        Self::Message { is_wrapped: false, behind }
    }

    #[inline(always)]
    fn check(self, cursor: &mut Cursor<'_>) -> Option<()> {
        let Self::Message { is_wrapped, behind } = self else { return Some(()) };
        if is_wrapped {
            cursor.literal(b"}")?;
        }
        (cursor.ahead() == behind).then_some(())
    }
}

/// What tier one makes of an object's members.
pub(super) trait Reader<'a> {
    /// How it asks for bytes.
    type Isa: Isa;

    /// What it builds.
    type Event;

    /// How it asks for bytes.
    fn isa(&self) -> Self::Isa;

    /// Forgets what an attempt with another order left.
    fn restart(&mut self) {}

    /// Walks the whole value of a [`Kind::Nested`] member, or refuses it. `slots` has the members before it.
    fn nested(&mut self, _slots: &Slots<'a>, _cursor: &mut Cursor<'a>) -> Option<()> {
        None
    }

    /// Walks the whole value of a [`Kind::Levels`] member, or refuses it. `slots` has the members before it.
    fn levels(&mut self, _slot: usize, _slots: &Slots<'a>, _cursor: &mut Cursor<'a>) -> Option<()> {
        None
    }

    /// Builds from the slots; nothing is asked of the message behind this call. A method and not a closure, because it must
    /// be inlined in every order's walk: only then do the slots stay in registers.
    fn build(&mut self, slots: &Slots<'a>) -> Option<Self::Event>;
}

/// Writes a [`Reader`] of one object's members: `Name(more: Type, ...)`, and a function of `(slots, context, more ...)`.
/// With the event's type behind it what was built is put in a place, where it stays, uncopied; or, where there may be some,
/// behind those there are, as long as there is room.
macro_rules! reader {
    ($name:ident($($more:ident: $type:ty),*) -> $event:ty = $build:path) => {
        struct $name<'r, 'c, I> {
            context: &'r $crate::venue::fields::Context<'c, I>,
            $($more: $type),*
        }

        impl<'a, I: $crate::venue::isa::Isa> $crate::venue::scan::Reader<'a> for $name<'_, '_, I> {
            type Isa = I;
            type Event = $event;

            #[inline(always)]
            fn isa(&self) -> I {
                self.context.isa
            }

            #[inline(always)]
            fn build(&mut self, slots: &$crate::venue::shape::Slots<'a>) -> Option<$event> {
                $build(slots, self.context $(, self.$more)*).ok()
            }
        }
    };
    ($name:ident($($more:ident: $type:ty),*) = $build:path => some $event:ty, at most $count_max:expr) => {
        struct $name<'r, 'c, I> {
            context: &'r $crate::venue::fields::Context<'c, I>,
            events: &'r mut Vec<$event>,
            $($more: $type),*
        }

        impl<'a, I: $crate::venue::isa::Isa> $crate::venue::scan::Reader<'a> for $name<'_, '_, I> {
            type Isa = I;
            type Event = ();

            #[inline(always)]
            fn isa(&self) -> I {
                self.context.isa
            }

            #[inline(always)]
            fn build(&mut self, slots: &$crate::venue::shape::Slots<'a>) -> Option<()> {
                if self.events.len() >= $count_max.min(self.events.capacity()) {
                    return None;
                }
                self.events.push($build(slots, self.context $(, self.$more)*).ok()?);
                Some(())
            }
        }
    };
    ($name:ident = $build:path => $event:ty) => {
        struct $name<'r, 'c, I> {
            context: &'r $crate::venue::fields::Context<'c, I>,
            place: &'r mut Option<$event>,
        }

        impl<'a, I: $crate::venue::isa::Isa> $crate::venue::scan::Reader<'a> for $name<'_, '_, I> {
            type Isa = I;
            type Event = ();

            #[inline(always)]
            fn isa(&self) -> I {
                self.context.isa
            }

            #[inline(always)]
            fn build(&mut self, slots: &$crate::venue::shape::Slots<'a>) -> Option<()> {
                *self.place = Some($build(slots, self.context).ok()?);
                Some(())
            }
        }
    };
}
pub(super) use reader;

/// The messages of one channel, by what the venue's decoder gives to their walk.
pub(super) trait Messages<W> {
    /// Walks one, and leaves its events; or says that it is another.
    fn walk(walk: &mut W) -> Option<Found>;
}

/// One channel's walk, apart from the others: its values stay in registers where no other's are beside them.
pub(super) struct Apart<'r, W, M>(pub(super) &'r mut W, pub(super) M);

impl<W, M: Messages<W>> Work for Apart<'_, W, M> {
    type Output = Option<Found>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, _isa: I) -> Option<Found> {
        M::walk(self.0)
    }
}

/// Writes the [`Messages`] of a venue's channels for its `Walk`: a name, what is found, and how it is walked.
macro_rules! messages {
    ($($name:ident |$walk:ident| -> $found:ident $body:block)*) => {
        $(struct $name;

        impl<I: $crate::venue::isa::Isa> $crate::venue::scan::Messages<Walk<'_, '_, I>> for $name {
            #[inline(always)]
            fn walk($walk: &mut Walk<'_, '_, I>) -> Option<$crate::venue::decode::Found> {
                $body
                Some($crate::venue::decode::Found::$found)
            }
        })*
    };
}
pub(super) use messages;

/// Walks one object of shape `S` in the order its connection expects, or in another one the shape knows, and `end`
/// behind it; then builds from its slots. What was built, and the cursor behind the object.
#[inline(always)]
pub(super) fn expect<'a, S: Shape, R: Reader<'a>>(
    expectation: &mut Expectation,
    cursor: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    // Compiled only where it is ever asked.
    if const { R::Isa::HAS_QUOTES && S::HAS_WHOLE } && expectation.tries_whole() {
        reader.restart();
        let walked = S::walk_whole(expectation.first().0, cursor, end, reader);
        expectation.count_whole(walked.is_some());
        if walked.is_some() {
            return walked;
        }
    }
    let (order, learned) = expectation.first();
    reader.restart();
    let walked = if order < const { S::ORDERS.len() } {
        S::walk(order, cursor, end, reader)
    } else {
        walk_listed::<S, R>(None, learned, cursor, end, reader)
    };
    if walked.is_some() {
        return walked;
    }
    expect_other::<S, R>(expectation, cursor, end, reader)
}

/// The other orders, member by member: a connection comes here when its venue changes what it sends.
#[cold]
#[inline(never)]
fn expect_other<'a, S: Shape, R: Reader<'a>>(
    expectation: &mut Expectation,
    cursor: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    expectation.attempt_others(S::ORDERS.len(), |order, learned| {
        walk_listed::<S, R>(S::ORDERS.get(order).copied(), learned, cursor, end, reader)
    })
}

/// [`walk_table`] in a function of its own, compiled for the reader's instructions.
fn walk_listed<'a, S: Shape, R: Reader<'a>>(
    order: Option<&'static [usize]>,
    learned: &Learned,
    start: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    reader.isa().run(&mut Listed::<'_, 'a, S, R> { order, learned, start, end, reader, shape: PhantomData })
}

struct Listed<'w, 'a, S, R> {
    order: Option<&'static [usize]>,
    learned: &'w Learned,
    start: Cursor<'a>,
    end: End,
    reader: &'w mut R,
    shape: PhantomData<S>,
}

impl<'a, S: Shape, R: Reader<'a>> Work for Listed<'_, 'a, S, R> {
    type Output = Option<(R::Event, Cursor<'a>)>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, _isa: I) -> Self::Output {
        walk_table(S::MEMBERS, self.order, self.learned, self.start, self.end, self.reader)
    }
}

/// Walks one object in this order, member by member from the table.
#[inline(always)]
pub(super) fn walk_order<'a, R: Reader<'a>>(
    members: &'static [Member],
    order: &'static [usize],
    start: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    let mut ahead = start;
    let mut slots = Slots::new();
    scan_order(members, order, &mut ahead, &mut slots, reader)?;
    finish(members, &slots, ahead, end, reader)
}

/// Walks one object in one of the shape's orders, or in the learned one, member by member from the table.
#[inline(always)]
fn walk_table<'a, R: Reader<'a>>(
    members: &'static [Member],
    order: Option<&'static [usize]>,
    learned: &Learned,
    start: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    reader.restart();
    let mut ahead = start;
    let mut slots = Slots::new();
    match order {
        Some(order) => scan_order(members, order, &mut ahead, &mut slots, reader)?,
        None => scan_learned(members, learned, &mut ahead, &mut slots, reader)?,
    }
    finish(members, &slots, ahead, end, reader)
}

/// Behind the last member: its brace, what must follow, and the event.
#[inline(always)]
pub(super) fn finish<'a, R: Reader<'a>>(
    members: &'static [Member],
    slots: &Slots<'a>,
    mut cursor: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    let required = required(members);
    if slots.present & required != required {
        return None;
    }
    cursor.literal(b"}")?;
    end.check(&mut cursor)?;
    Some((reader.build(slots)?, cursor))
}

/// One member of a known order, whose slot the compiler knows: what the reader walks itself is compiled for those members
/// alone that it walks.
#[inline(always)]
pub(super) fn step<'a, S: Shape, const SLOT: usize, R: Reader<'a>>(
    is_first: bool,
    cursor: &mut Cursor<'a>,
    slots: &mut Slots<'a>,
    reader: &mut R,
) -> Option<()> {
    let member = const { &S::MEMBERS[SLOT] };
    if !begins(member, is_first, cursor)? {
        return Some(());
    }
    if const { matches!(S::MEMBERS[SLOT].kind, Kind::Nested | Kind::Levels) } {
        scan_value(member, SLOT, cursor, slots, reader)
    } else {
        scan_plain(member, SLOT, cursor, slots, reader.isa())
    }
}

/// Whether a member is next, whose lead is stepped over then; `None` if one must be that is not.
#[inline(always)]
fn begins(member: &'static Member, is_first: bool, cursor: &mut Cursor<'_>) -> Option<bool> {
    if !cursor.has_step() {
        return None;
    }
    let mut ahead = *cursor;
    if scan_lead(member, is_first, &mut ahead).is_some() {
        *cursor = ahead;
        return Some(true);
    }
    // The first of an order has the object's brace before it: without it there is no object.
    if member.is_required || is_first { None } else { Some(false) }
}

/// Walks one object in this order, but for the brace that closes it.
#[inline(always)]
fn scan_order<'a>(
    members: &'static [Member],
    order: &'static [usize],
    cursor: &mut Cursor<'a>,
    slots: &mut Slots<'a>,
    reader: &mut impl Reader<'a>,
) -> Option<()> {
    for (at, &slot) in order.iter().enumerate() {
        let member = members.get(slot)?;
        if begins(member, at == 0, cursor)? {
            scan_value(member, slot, cursor, slots, reader)?;
        }
    }
    Some(())
}

/// Walks one object in a learned order: exactly these members, but for the brace that closes it.
#[inline(always)]
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
                cursor.skip_scalar(reader.isa())?;
                slots.has_other = true;
            }
        }
    }
    Some(())
}

/// Steps over what stands before a member's value: `{"key":` or `,"key":`, with a string's opening quote.
#[inline(always)]
fn scan_lead(member: &Member, is_first: bool, cursor: &mut Cursor<'_>) -> Option<()> {
    let lead = member.lead_of_value();
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
        Kind::Nested => {
            reader.nested(slots, cursor)?;
            slots.set_int(slot, 0);
            Some(())
        }
        Kind::Levels => {
            reader.levels(slot, slots, cursor)?;
            slots.set_int(slot, 0);
            Some(())
        }
        _ => scan_plain(member, slot, cursor, slots, reader.isa()),
    }
}

/// A value that no reader walks itself.
#[inline(always)]
fn scan_plain<'a>(
    member: &Member,
    slot: usize,
    cursor: &mut Cursor<'a>,
    slots: &mut Slots<'a>,
    isa: impl Isa,
) -> Option<()> {
    match member.kind {
        Kind::Int => slots.set_int(slot, cursor.uint(isa)?),
        Kind::Text => slots.set_number(slot, cursor.text(isa)?),
        Kind::Decimal => slots.set_number(slot, cursor.number(isa)?),
        Kind::Bool => slots.set_int(slot, u64::from(cursor.bool()?)),
        Kind::Word(words) => slots.set_int(slot, scan_word(words, cursor)?),
        Kind::Touch => scan_touch(isa, slot, cursor, slots)?,
        Kind::Nested | Kind::Levels => return None,
        Kind::Ignored(json) => {
            match json {
                Json::Int => cursor.uint(isa).map(|_| ())?,
                Json::Text => cursor.text(isa).map(|_| ())?,
                Json::Bool => cursor.bool().map(|_| ())?,
            }
            slots.has_other = true;
            slots.present |= 1 << slot;
        }
    }
    Some(())
}

/// One of a few strings, and its closing quote. Between two there is no branch, for nothing foretells a trade's side.
#[inline(always)]
pub(super) fn scan_word(words: &'static [&'static str], cursor: &mut Cursor<'_>) -> Option<u64> {
    let (position, length) = match words {
        // At most one of them is there: lengths and positions can be added up.
        [first, second] => {
            let [first, second] = [word_length(first, cursor), word_length(second, cursor)];
            (u64::from(second != 0), first + second)
        }
        words => words
            .iter()
            .zip(0..)
            .map(|(word, position)| (position, word_length(word, cursor)))
            .find(|&(_, length)| length != 0)?,
    };
    if length == 0 {
        return None;
    }
    cursor.skip(length)?;
    Some(position)
}

/// The bytes of this word and its closing quote, if they are next; 0 if they are not.
#[inline(always)]
fn word_length(word: &'static str, cursor: &Cursor<'_>) -> usize {
    let is_here = cursor.rest.starts_with(word.as_bytes()) & (cursor.rest.get(word.len()) == Some(&b'"'));
    if is_here { word.len() + 1 } else { 0 }
}

/// `[]` or `[["price","quantity"]]`.
#[inline(always)]
fn scan_touch<'a>(isa: impl Isa, slot: usize, cursor: &mut Cursor<'a>, slots: &mut Slots<'a>) -> Option<()> {
    if cursor.literal(b"[]").is_some() {
        slots.set_int(slot, 0);
        return Some(());
    }
    cursor.literal(b"[[\"")?;
    let price = cursor.number(isa)?;
    cursor.literal(b",\"")?;
    let qty = cursor.number(isa)?;
    cursor.literal(b"]]")?;
    slots.set_touch(slot, price, qty);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::parse_fixed;
    use crate::venue::Cpu;
    use crate::venue::isa::Isas;
    use crate::venue::layout::BLOCK;
    use crate::venue::number::{UUID_BYTES, uuid};
    use proptest::prelude::*;

    fn padded(text: &[u8]) -> Vec<u8> {
        [text, &[0; READ_PADDING_BYTES]].concat()
    }

    /// What is ahead of the cursor and belongs to the text.
    fn left<'a>(cursor: &Cursor<'a>) -> &'a [u8] {
        &cursor.rest[..cursor.ahead() - READ_PADDING_BYTES]
    }

    /// Runs a check with every kind of instructions that this machine has.
    fn with_every_isa(check: impl FnMut(Cpu, &dyn Ask)) {
        struct Check<F>(Cpu, F);
        impl<F: FnMut(Cpu, &dyn Ask)> Work for Check<F> {
            type Output = ();
            fn run<I: Isa>(&mut self, isa: I) {
                (self.1)(self.0, &Asked(isa));
            }
        }
        let mut check = check;
        for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.is_here()) {
            Isas::new(cpu).run(&mut Check(cpu, &mut check));
        }
    }

    /// The cursor's questions, whichever the instructions.
    trait Ask {
        fn uint(&self, cursor: &mut Cursor<'_>) -> Option<u64>;
        fn text<'a>(&self, cursor: &mut Cursor<'a>) -> Option<&'a [u8]>;
        fn number<'a>(&self, cursor: &mut Cursor<'a>) -> Option<Number<'a>>;
        fn grid(&self, number: Number<'_>, scale: u8) -> Result<i64, crate::market::ValueError>;
        fn skip_scalar(&self, cursor: &mut Cursor<'_>) -> Option<()>;
        fn uuid(&self, text: &[u8; UUID_BYTES]) -> Option<u128>;
        /// `None` where these instructions never answer.
        fn four(&self, numbers: [&str; 4], scales: (u8, u8)) -> Option<Option<[i64; 4]>>;
    }

    struct Asked<I>(I);

    impl<I: Isa> Ask for Asked<I> {
        fn uint(&self, cursor: &mut Cursor<'_>) -> Option<u64> {
            cursor.uint(self.0)
        }
        fn text<'a>(&self, cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
            let mut other = *cursor;
            let name = other.name(self.0);
            let text = cursor.text(self.0);
            assert_eq!(name, text.map(Number::text), "a name is a text");
            let text = text?;
            assert_eq!(other.ahead(), cursor.ahead());
            let mut packed = text.text().to_vec();
            packed.resize(packed.len().max(WINDOW), 0);
            assert_eq!(text.key(self.0).to_le_bytes(), packed[..WINDOW]);
            let length = text.text().len();
            if length < BLOCK {
                let block = text.text().iter().copied().chain([b'"']).chain([0; BLOCK]).take(BLOCK).collect::<Vec<_>>();
                let block = block.first_chunk().unwrap();
                assert!(
                    self.0.is_plain(block, length) && !self.0.is_plain(block, length + 1),
                    "the quote is not plain"
                );
            }
            Some(text.text())
        }
        fn number<'a>(&self, cursor: &mut Cursor<'a>) -> Option<Number<'a>> {
            cursor.number(self.0)
        }
        fn grid(&self, number: Number<'_>, scale: u8) -> Result<i64, crate::market::ValueError> {
            let decimal = crate::market::Decimal::parse(number.text());
            assert_eq!(number.decimal(self.0), decimal);
            number.grid(self.0, scale)
        }
        fn skip_scalar(&self, cursor: &mut Cursor<'_>) -> Option<()> {
            cursor.skip_scalar(self.0)
        }
        fn uuid(&self, text: &[u8; UUID_BYTES]) -> Option<u128> {
            self.0.uuid(text)
        }
        fn four(&self, numbers: [&str; 4], scales: (u8, u8)) -> Option<Option<[i64; 4]>> {
            // What stands behind a number is no part of it, digits least of all.
            let windows = numbers.map(|number| [number.as_bytes(), &[b'7'; WINDOW]].concat());
            let windows = windows.each_ref().map(|window| window.first_chunk().unwrap());
            I::HAS_QUOTES.then(|| self.0.four(windows, numbers.map(str::len), scales))
        }
    }

    #[test]
    fn a_uuid_is_read_in_either_case_and_refused_at_every_byte_that_is_not_its_own() {
        let text = b"a9188A0a-82bc-50DE-be60-03eedbe3cdd7";
        with_every_isa(|cpu, ask| {
            assert_eq!(ask.uuid(text), Some(0xa918_8a0a_82bc_50de_be60_03ee_dbe3_cdd7), "{cpu:?}");
            for (at, byte) in (0..UUID_BYTES).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut changed = *text;
                changed[at] = byte;
                assert_eq!(ask.uuid(&changed), uuid(&changed), "{cpu:?}: {byte:#04x} at {at}");
            }
        });
    }

    #[test]
    fn four_numbers_at_once_mean_what_each_means_alone() {
        let numbers = ["0", "7", "12.5", "61837.63000000", "0.00000001", "9999999.9999999", "123456789012345", "100.0"];
        let refused =
            ["", "1.", ".1", "1..2", "1.2.3", "-1", "1e5", "12345678901234567", "1234567890.12345", "1 ", "a"];
        with_every_isa(|cpu, ask| {
            for scale in 0..=15 {
                for (at, number) in numbers.into_iter().chain(refused).enumerate() {
                    // In each lane, beside three that are common.
                    for lane in 0..4 {
                        let mut four = ["1", "22.0", "333", "4444.00"];
                        four[lane] = number;
                        let Some(found) = ask.four(four, (scale, scale)) else { continue };
                        let alone = four.map(|number| ask.grid(Number::unread(number.as_bytes()), scale).ok());
                        if let Some(found) = found {
                            assert_eq!(found.map(Some), alone, "{cpu:?}: {four:?} at {scale}");
                        }
                        let whole = number.find('.').unwrap_or(number.len());
                        let is_common = at < numbers.len() && whole + usize::from(scale) <= 15 && scale <= 11;
                        assert!(found.is_some() || !is_common || alone[lane].is_none(), "{cpu:?}: {four:?} at {scale}");
                    }
                }
            }
        });
    }

    fn is_string_end(byte: u8) -> bool {
        byte == b'"' || byte == b'\\' || !(0x20..0x80).contains(&byte)
    }

    #[test]
    fn an_integer_is_read_at_every_length_whatever_stands_behind_it() {
        with_every_isa(|cpu, ask| {
            for length in 1..=19 {
                let digits = &"1234567890123456789"[..length];
                for tail in ["", "}", ",\"key\":1}", "aaaaaaaaaaaaaaaaaaaa"] {
                    let bytes = padded(format!("{digits}{tail}").as_bytes());
                    let mut cursor = Cursor::new(&bytes);
                    assert_eq!(ask.uint(&mut cursor), digits.parse().ok(), "{cpu:?}: {digits}{tail}");
                    assert_eq!(left(&cursor), tail.as_bytes());
                }
            }
            for refused in ["", "01", "00000000000", "-1", "12345678901234567890", "a", "\"1\"", "0000000000000000"] {
                assert_eq!(ask.uint(&mut Cursor::new(&padded(refused.as_bytes()))), None, "{cpu:?}: {refused}");
            }
        });
    }

    #[test]
    fn a_string_that_is_not_plain_is_refused_wherever_the_byte_stands() {
        with_every_isa(|cpu, ask| {
            for length in 0..70 {
                let plain = "A".repeat(length);
                for tail in ["\"", "\",\"b\":\"62.5\""] {
                    let text = format!("{plain}{tail}");
                    assert_eq!(ask.text(&mut Cursor::new(&padded(text.as_bytes()))), Some(plain.as_bytes()));
                    for bad in [0x00, 0x1f, b'\\', 0x80, 0xff, b'\n'] {
                        let mut bytes = text.clone().into_bytes();
                        bytes.insert(length / 2, bad);
                        assert_eq!(ask.text(&mut Cursor::new(&padded(&bytes))), None, "{cpu:?}: {bad:#04x} in {text}");
                    }
                }
                assert_eq!(ask.text(&mut Cursor::new(&padded(plain.as_bytes()))), None, "no closing quote");
            }
        });
    }

    #[test]
    fn a_word_is_one_of_those_that_there_are_and_its_quote() {
        let read = |words: &'static [&'static str], text: &str| {
            let bytes = padded(text.as_bytes());
            let mut cursor = Cursor::new(&bytes);
            scan_word(words, &mut cursor).map(|position| (position, left(&cursor).to_vec()))
        };
        const SIDES: &[&str] = &["Buy", "Sell"];
        assert_eq!(read(SIDES, "Buy\",\"v\""), Some((0, b",\"v\"".to_vec())));
        assert_eq!(read(SIDES, "Sell\""), Some((1, vec![])));
        assert_eq!(read(&["trade"], "trade\"x"), Some((0, b"x".to_vec())));
        assert_eq!(read(&["a", "ab", "abc"], "abc\""), Some((2, vec![])));
        for refused in ["", "\"", "Buy", "Buyer\"", "Sel\"", "sell\"", "BuySell\""] {
            assert_eq!(read(SIDES, refused), None, "{refused}");
        }
    }

    #[test]
    fn a_bool_is_one_of_two_words() {
        let read = |text: &str| {
            let bytes = padded(text.as_bytes());
            let mut cursor = Cursor::new(&bytes);
            cursor.bool().map(|is_true| (is_true, left(&cursor).to_vec()))
        };
        assert_eq!(read("true"), Some((true, vec![])));
        assert_eq!(read("false"), Some((false, vec![])));
        assert_eq!(read("truee"), Some((true, b"e".to_vec())));
        assert_eq!(read("false,"), Some((false, b",".to_vec())));
        for refused in ["", "t", "tru", "fals", "falsy", "True", "null"] {
            assert_eq!(read(refused), None, "{refused}");
        }
    }

    proptest! {
        #[test]
        fn a_string_ends_where_the_plain_loop_says(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), 0x20_u8..0x7f], 0..40)) {
            let end = bytes.iter().position(|&byte| is_string_end(byte));
            let expected = end.filter(|&at| bytes[at] == b'"').map(|at| &bytes[..at]);
            with_every_isa(|_, ask| assert_eq!(ask.text(&mut Cursor::new(&padded(&bytes))), expected));
        }

        #[test]
        fn a_number_is_the_same_text_and_value_as_the_plain_string(
            text in prop_oneof!["-?[0-9]{0,18}(\\.[0-9]{0,12})?[0a\\\\]?", "[0-9]{1,7}\\.[0-9]{1,8}"],
            tail in "(\"(\\}|,\"key\":\"1.5\"\\})?)?",
            scale in 0_u8..=18,
        ) {
            let bytes = padded(format!("{text}{tail}").as_bytes());
            with_every_isa(|cpu, ask| {
                let [mut plain, mut cursor] = [Cursor::new(&bytes); 2];
                let expected = ask.text(&mut plain);
                let number = ask.number(&mut cursor);
                assert_eq!(number.map(Number::text), expected, "{cpu:?}: {text}");
                if let Some(number) = number {
                    assert_eq!(left(&cursor), left(&plain));
                    assert_eq!(ask.grid(number, scale), parse_fixed(number.text(), scale), "{cpu:?}: {text} at {scale}");
                }
            });
        }

        #[test]
        fn a_skipped_scalar_is_one_that_json_has(text in "(-?[0-9]{1,20}(\\.[0-9]{0,3})?|true|false|null|\"[a-z\\\\]{0,12}\"|[a-z]{1,5})") {
            with_every_isa(|_, ask| {
                let bytes = padded(text.as_bytes());
                let mut cursor = Cursor::new(&bytes);
                if ask.skip_scalar(&mut cursor).is_some() && left(&cursor).is_empty() {
                    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
                }
            });
        }
    }
}
