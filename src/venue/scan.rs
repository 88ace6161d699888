//! Tier one: the expected shape and nothing else.
//!
//! ```text
//! {"e":"trade","E":1723161255343,"s":"BTCUSDT", ...      every byte between values is compared,
//!  ^^^^^^^^^^^^ ^^^^             ^^^^^       ^            every digit checked, every kept string plain ASCII (or a name)
//!  lead + word lead             lead   text               (a decimal's when it is read)
//! ```
//! Walks one message's bytes from left to right and leaves values in slots; the caller publishes only when the last byte
//! was as expected. `None` means "not this shape": the caller asks tier two. Never allocates, never changes the message. It
//! may look at what is readable behind the message, but what it finds there changes nothing: the last byte it walks over must
//! be the message's own last.

use super::any_order;
use super::cursor::{Cursor, Stride};
use super::decode::Found;
use super::isa::{Isa, WINDOW, Work};
use super::number::Number;
use super::shape::{Expectation, Json, Kind, Learned, Member, Named, Shape, Slots, Step, required};
use std::hint::cold_path;
use std::marker::PhantomData;

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

    /// The same with white space anywhere, and members that nobody knows behind a wrapped object.
    #[inline(always)]
    pub(super) fn check_spaced(self, isa: impl Isa, cursor: &mut Cursor<'_>) -> Option<()> {
        let Self::Message { is_wrapped, behind } = self else { return Some(()) };
        if is_wrapped {
            while any_order::goes_on(cursor)? {
                let (key, _) = any_order::key(isa, cursor)?;
                any_order::skip_unknown(isa, key, cursor)?;
            }
        }
        while cursor.ahead() > behind && cursor.rest().first().is_some_and(|byte| b" \t\n\r".contains(byte)) {
            cursor.skip(1)?;
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

    /// Whether it takes a message of which it has not read every [`Kind::Decimal`] and [`Kind::Price`]: then each is found to be a plain string where it
    /// is walked over.
    const LEAVES_UNREAD: bool = false;

    /// How it asks for bytes.
    fn isa(&self) -> Self::Isa;

    /// Forgets what an attempt with another order left.
    fn restart(&mut self) {}

    /// How long the symbol's name most probably is, in bytes; 0 where nothing says so.
    #[inline(always)]
    fn name_length(&self) -> usize {
        0
    }

    /// The same of the name at this window's beginning, if that is as expected: how many bytes it has, and what is known of it.
    #[inline(always)]
    fn known_ahead(&self, _window: &[u8; WINDOW]) -> Option<(usize, Named)> {
        None
    }

    /// The symbol's name was walked over: what is known of it, which the rest of the walk need not wait for. `None` where the message
    /// is refused for it.
    #[inline(always)]
    fn named(&self, _name: Number<'a>) -> Option<Named> {
        Some(Named::NOTHING)
    }

    /// The same of a [`Kind::Topic`], which names the symbol among others: how long the symbol's name most probably is, in bytes,
    /// and its place.
    #[inline(always)]
    fn topic(&self, _topic: Number<'a>) -> (usize, usize) {
        (0, 0)
    }

    /// Whether the slots have what [`Self::nested`] and [`Self::levels`] need of them.
    #[inline(always)]
    fn is_ready(&self, _slots: &Slots<'a>) -> bool {
        true
    }

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

/// Writes a [`Reader`] of one object's members: `Name(more: Type, ...)`, and a function of `(slots, context, more ..., place)` that
/// builds in the place where the event stays, uncopied: in the one that there is; where there may be `some`, behind those there
/// are, as long as there is room; of `each` the function's refusal is no refusal of the message.
macro_rules! reader {
    ($name:ident($($more:ident: $type:ty),*) = $build:path => some $event:ty) => {
        $crate::venue::scan::reader!(@of $name { events: &'r mut $crate::venue::row::Row<$event> $(, $more: $type)* }, |this, slots| {
            $build(slots, this.context, $(this.$more,)* this.events.next()?).ok()?;
            this.events.keep();
            Some(())
        });
    };
    ($name:ident = $build:path => each $event:ty) => {
        $crate::venue::scan::reader!(@of $name { elements: &'r mut $crate::venue::elements::Elements<$event> }, leaves unread, |this, slots| {
            let built = $build(slots, this.context, this.elements.next()?).map(|_| ());
            this.elements.push(built)
        });
    };
    ($name:ident($($more:ident: $type:ty),*) = $build:path => $place:ty) => {
        $crate::venue::scan::reader!(@of $name { place: &'r mut $place $(, $more: $type)* }, |this, slots| {
            $build(slots, this.context, $(this.$more,)* this.place).ok()?;
            Some(())
        });
    };
    (@of $name:ident { $($field:ident: $type:ty),* }, $(leaves $unread:ident,)? |$this:ident, $slots:ident| $build:expr) => {
        struct $name<'r, 'c, I> {
            context: &'r $crate::venue::fields::Context<'c, I>,
            $($field: $type),*
        }

        impl<'a, I: $crate::venue::isa::Isa> $crate::venue::scan::Reader<'a> for $name<'_, '_, I> {
            type Isa = I;
            type Event = ();
            $($crate::venue::scan::reader!(@leaves $unread);)?

            #[inline(always)]
            fn isa(&self) -> I {
                self.context.isa
            }

            #[inline(always)]
            fn name_length(&self) -> usize {
                self.context.name_length
            }

            #[inline(always)]
            fn known_ahead(&self, window: &[u8; $crate::venue::isa::WINDOW]) -> Option<(usize, $crate::venue::shape::Named)> {
                self.context.known_ahead(window)
            }

            #[inline(always)]
            fn named(&self, name: $crate::venue::number::Number<'a>) -> Option<$crate::venue::shape::Named> {
                $crate::venue::scan::reader!(@named self.context, name, $($unread)?)
            }

            #[inline(always)]
            fn build(&mut self, $slots: &$crate::venue::shape::Slots<'a>) -> Option<()> {
                let $this = self;
                $build
            }
        }
    };
    (@leaves unread) => {
        const LEAVES_UNREAD: bool = true;
    };
    // An element of a symbol that nobody asked for is refused alone, once it is walked.
    (@named $context:expr, $name:ident, unread) => { Some($context.fetched($name)) };
    (@named $context:expr, $name:ident,) => { $context.known_as($name) };
}
pub(super) use reader;

/// The messages of one channel, by what the venue's decoder gives to their walk.
pub(super) trait Messages<W> {
    /// Walks one, and leaves its events; or says that it is another.
    fn walk<I: Isa>(walk: &mut W, isa: I) -> Option<Found>;
}

/// One channel's walk, apart from the others: its values stay in registers where no other's are beside them.
pub(super) struct Apart<'r, W, M>(pub(super) &'r mut W, pub(super) M);

impl<W, M: Messages<W>> Work for Apart<'_, W, M> {
    type Output = Option<Found>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, isa: I) -> Option<Found> {
        M::walk(self.0, isa)
    }
}

/// Writes the [`Messages`] of a venue's channels for what their walks are given: a name, what is found, and how it is walked. Bybit's are
/// told the instructions; Binance's know them, for a stream's name was read before.
macro_rules! messages {
    ($given:ty; $($name:ident |$walk:ident, $isa:ident| -> $found:ident $body:block)*) => {
        $($crate::venue::scan::messages!(@one { impl } $given, $name, $walk, $isa, $found, $body);)*
    };
    ($given:ty, $known:ident; $($name:ident |$walk:ident| -> $found:ident $body:block)*) => {
        $($crate::venue::scan::messages!(@one { impl<$known: $crate::venue::isa::Isa> } $given, $name, $walk, _isa, $found, $body);)*
    };
    (@one { $($impl:tt)* } $given:ty, $name:ident, $walk:ident, $isa:ident, $found:ident, $body:block) => {
        struct $name;

        $($impl)* $crate::venue::scan::Messages<$given> for $name {
            #[inline(always)]
            fn walk<I: $crate::venue::isa::Isa>($walk: &mut $given, $isa: I) -> Option<$crate::venue::decode::Found> {
                $body
                Some($crate::venue::decode::Found::$found)
            }
        }
    };
}
pub(super) use messages;

/// Walks one object of shape `S` in the order its connection expects, or in another one the shape knows (or in any order, for
/// who asks for that), and `end` behind it; then builds from its slots. What was built, and the cursor behind the object.
#[inline(always)]
pub(super) fn expect<'a, S: Shape, R: Reader<'a>>(
    expectation: &mut Expectation,
    cursor: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<(R::Event, Cursor<'a>)> {
    if const { <R::Isa as Isa>::IS_ANY_ORDER } {
        return any_order::walk::<S, R>(expectation, cursor, end, reader);
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

/// Walks an array of one object or more, each as [`expect`] does, and `end` behind it. The cursor behind that.
#[inline(always)]
pub(super) fn expect_array<'a, S: Shape, R: Reader<'a>>(
    expectation: &mut Expectation,
    mut cursor: Cursor<'a>,
    end: End,
    reader: &mut R,
) -> Option<Cursor<'a>> {
    let isa = reader.isa();
    cursor.token(isa, b"[")?;
    loop {
        (_, cursor) = expect::<S, _>(expectation, cursor, End::Open, reader)?;
        if cursor.token(isa, b",").is_none() {
            break;
        }
    }
    // White space before it was stepped over.
    cursor.literal(b"]")?;
    if const { <R::Isa as Isa>::IS_ANY_ORDER } {
        end.check_spaced(isa, &mut cursor)?;
    } else {
        end.check(&mut cursor)?;
    }
    Some(cursor)
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
    if slots.present() & required != required {
        return None;
    }
    cursor.literal(b"}")?;
    end.check(&mut cursor)?;
    Some((reader.build(slots)?, cursor))
}

/// One member of a known order, whose slot the compiler knows: what the reader walks itself is compiled for those members
/// alone that it walks. Apart where nothing is optimised: there a function has room for each value of whatever is inlined in it, and
/// a walk took five megabytes of a thread's two.
#[cfg_attr(not(unoptimised), inline(always))]
#[cfg_attr(unoptimised, inline(never))]
pub(super) fn step<'a, S: Shape, const SLOT: usize, R: Reader<'a>>(
    is_first: bool,
    cursor: &mut Cursor<'a>,
    slots: &mut Slots<'a>,
    reader: &mut R,
) -> Option<()> {
    let member = const { &S::MEMBERS[SLOT] };
    let Some(stride) = begin(member, is_first, cursor)? else { return Some(()) };
    match const { S::MEMBERS[SLOT].kind } {
        Kind::Nested | Kind::Levels | Kind::Topic => scan_value(member, SLOT, cursor, stride, slots, reader),
        // Who builds reads every one there is, or refuses the message.
        Kind::Decimal if const { !R::LEAVES_UNREAD } => {
            slots.set_number(SLOT, cursor.number_in(reader.isa(), stride)?);
            Some(())
        }
        Kind::Price if const { !R::LEAVES_UNREAD } => {
            let number = cursor.number_alike(reader.isa(), stride, &mut slots.like.price)?;
            slots.set_number(SLOT, number);
            Some(())
        }
        Kind::Symbol => {
            let window = stride.window()?;
            if const { !R::LEAVES_UNREAD }
                && let Some((length, named)) = reader.known_ahead(window)
            {
                cursor.take(stride, length + 1)?;
                slots.named = named;
                slots.set_number(SLOT, Number::of_text(window, length)?);
                return Some(());
            }
            let name = cursor.symbol_of(reader.isa(), stride, reader.name_length())?;
            slots.named = reader.named(name)?;
            slots.set_number(SLOT, name);
            Some(())
        }
        _ => scan_plain(member, SLOT, cursor, stride, slots, reader.isa()),
    }
}

/// Whether the next member's key seems to be this one: its first letters are its own. It is a guess, which the walk then proves or
/// refuses.
#[inline(always)]
pub(super) fn is_probably_next(member: &'static Member, cursor: &Cursor<'_>) -> bool {
    cursor.stride().is_some_and(|stride| stride.is_probed(&member.leads.other))
}

/// The stride that a member begins with its lead, if it is next; `None` outright if one must be next that is not.
#[inline(always)]
fn begin<'a>(member: &'static Member, is_first: bool, cursor: &Cursor<'a>) -> Option<Option<Stride<'a>>> {
    let mut stride = cursor.stride()?;
    if scan_lead(member, is_first, &mut stride).is_some() {
        return Some(Some(stride));
    }
    // The first of an order has the object's brace before it: without it there is no object.
    if member.is_required || is_first { None } else { Some(None) }
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
        if let Some(stride) = begin(member, at == 0, cursor)? {
            scan_value(member, slot, cursor, stride, slots, reader)?;
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
                let mut stride = cursor.stride()?;
                scan_lead(member, at == 0, &mut stride)?;
                scan_value(member, slot, cursor, stride, slots, reader)?;
            }
            Step::Unknown { .. } => {
                cursor.literal(if at == 0 { b"{\"" } else { b",\"" })?;
                cursor.literal(step.unknown_key())?;
                cursor.literal(b"\":")?;
                slots.has_other |= cursor.rest().first() != Some(&b'n');
                cursor.skip_scalar(reader.isa())?;
            }
        }
    }
    Some(())
}

/// Steps over what stands before a member's value: `{"key":` or `,"key":`, with a string's opening quote.
#[inline(always)]
fn scan_lead(member: &'static Member, is_first: bool, stride: &mut Stride<'_>) -> Option<()> {
    let is_quoted =
        member.opening.is_quoted || matches!(member.kind, Kind::Ignored(Json::Text | Json::Usual(_) | Json::Price));
    let leads = if is_quoted { &member.leads_quoted } else { &member.leads };
    stride.lead(if is_first { &leads.first } else { &leads.other }, member.is_required || is_first)
}

/// As [`step`], of whatever member.
#[cfg_attr(not(unoptimised), inline(always))]
#[cfg_attr(unoptimised, inline(never))]
pub(super) fn scan_value<'a>(
    member: &Member,
    slot: usize,
    cursor: &mut Cursor<'a>,
    stride: Stride<'a>,
    slots: &mut Slots<'a>,
    reader: &mut impl Reader<'a>,
) -> Option<()> {
    match member.kind {
        Kind::Topic => {
            let topic = cursor.name_in(reader.isa(), stride)?;
            slots.topic = reader.topic(topic);
            slots.set_number(slot, topic);
            Some(())
        }
        Kind::Symbol => {
            let name = cursor.symbol_of(reader.isa(), stride, 0)?;
            slots.named = reader.named(name)?;
            slots.set_number(slot, name);
            Some(())
        }
        Kind::Nested => {
            *cursor = cursor.behind(stride)?;
            reader.nested(slots, cursor)?;
            slots.set_int(slot, 0);
            Some(())
        }
        Kind::Levels => {
            *cursor = cursor.behind(stride)?;
            reader.levels(slot, slots, cursor)?;
            slots.set_int(slot, 0);
            Some(())
        }
        _ => scan_plain(member, slot, cursor, stride, slots, reader.isa()),
    }
}

/// A value that no reader walks itself.
#[inline(always)]
pub(super) fn scan_plain<'a>(
    member: &Member,
    slot: usize,
    cursor: &mut Cursor<'a>,
    stride: Stride<'a>,
    slots: &mut Slots<'a>,
    isa: impl Isa,
) -> Option<()> {
    match member.kind {
        Kind::Int => {
            let ahead = cursor.ahead() - stride.taken();
            slots.set_int(slot, cursor.uint_in(isa, stride)?);
            slots.like.int = Some(ahead - cursor.ahead());
        }
        Kind::NextInt => {
            let int = cursor.uint_alike(isa, stride, &mut slots.like.int)?;
            slots.set_int(slot, int);
        }
        Kind::Time => slots.set_int(slot, cursor.time(isa, stride)?),
        Kind::Text => slots.set_number(slot, cursor.text_in(isa, stride)?),
        Kind::Id => slots.set_number(slot, cursor.id(isa, stride)?),
        Kind::Decimal => slots.set_number(slot, cursor.plain_number(isa, stride)?),
        Kind::Price => {
            let number = cursor.plain_alike(isa, stride, &mut slots.like.price)?;
            slots.set_number(slot, number);
        }
        Kind::Bool => slots.set_int(slot, u64::from(cursor.bool(stride)?)),
        Kind::Flag => slots.set_int(slot, u64::from(cursor.flag(stride)?)),
        Kind::Word(words) => slots.set_int(slot, cursor.word(words, stride)?),
        Kind::Case(words) => slots.set_int(slot, cursor.case(words, stride)?),
        Kind::Touch => scan_touch(isa, slot, cursor, stride, slots)?,
        // These are the reader's.
        Kind::Symbol | Kind::Topic | Kind::Nested | Kind::Levels => return None,
        Kind::Ignored(json) => {
            match json {
                Json::Int => cursor.uint_alike(isa, stride, &mut slots.like.int).map(|_| ())?,
                Json::Text => cursor.text_in(isa, stride).map(|_| ())?,
                Json::Usual(text) => cursor.usual(isa, text, stride)?,
                Json::Price => cursor.text_alike(isa, stride, &mut slots.like.price).map(|_| ())?,
                Json::Bool => cursor.flag(stride).map(|_| ())?,
            }
            slots.has_other = true;
            slots.set_ignored(slot);
        }
    }
    Some(())
}

/// `[]` or `[["price","quantity"]]`, behind which there may be worse levels.
#[inline(always)]
fn scan_touch<'a>(
    isa: impl Isa,
    slot: usize,
    cursor: &mut Cursor<'a>,
    stride: Stride<'a>,
    slots: &mut Slots<'a>,
) -> Option<()> {
    *cursor = cursor.behind(stride)?;
    if cursor.literal(b"[]").is_some() {
        slots.set_int(slot, 0);
        return Some(());
    }
    cursor.literal(b"[[\"")?;
    let price = cursor.number(isa)?;
    cursor.literal(b",\"")?;
    let qty = cursor.number(isa)?;
    while cursor.literal(b"]]").is_none() {
        cold_path();
        cursor.literal(b"],[\"")?;
        cursor.text(isa)?;
        cursor.literal(b",\"")?;
        cursor.text(isa)?;
    }
    slots.set_touch(slot, price, qty);
    Some(())
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
