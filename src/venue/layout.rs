//! A whole object at once: where each of its bytes must stand, told from where its quotes stand.
//!
//! ```text
//! {"u":50093239212,"s":"BTCUSDT","b":"61837.63", ...     a mask of quotes for each 64 bytes ─► their places, in order
//! ~~~~~           ~~~~~~       ~~~~~~~                   literals: a quote's place and some bytes more, compared 64 at once
//!      ^^^^^^^^^^^       ^^^^^^^        ^^^^^^^^          values: all that lies between two literals
//! ```
//! A forward scan must find a value's end before it can look at the next one. Here no value waits for another, and a dozen
//! literals are two comparisons. The layout is made by the compiler from the shape that stands beside the venue. Every byte
//! is accounted for: literals are compared where the quotes say they stand, and a value is what is left between them, so it
//! has to be one from its first byte to its last. For objects whose members are all there, in an order that is known, within
//! [`OBJECT_BYTES`]; any other is walked forward ([`super::scan`]).

use super::isa::{Isa, WINDOW};
use super::number::Number;
use super::scan::{Cursor, scan_word};
use super::shape::{Json, Kind, MEMBER_COUNT_MAX, Member, Slots};
use crate::limits::READ_PADDING_BYTES;

/// Bytes of an object that are looked at: places are bytes.
pub(super) const OBJECT_BYTES: usize = 256;

/// Bytes of one look.
pub(super) const BLOCK: usize = 64;

/// Bytes that must be readable from an object's first on: a whole block from each place that a byte can name.
pub(super) const AHEAD_BYTES: usize = OBJECT_BYTES + BLOCK;

const _: () = assert!(READ_PADDING_BYTES >= AHEAD_BYTES, "they are there for every object, even for an empty one");

/// The longest literal.
const LITERAL_BYTES_MAX: usize = 48;

/// The last place that an object's last quote may have: a literal behind any of its quotes lies within [`OBJECT_BYTES`].
#[expect(clippy::cast_possible_truncation, reason = "below 256")]
const LAST_QUOTE_MAX: u8 = (OBJECT_BYTES - LITERAL_BYTES_MAX) as u8;

/// Blocks of literals.
const LITERAL_BLOCKS: usize = 2;

/// A place: so many bytes behind a quote, or behind the object's first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    /// Which quote of the object; [`START`] for none.
    quote: u8,
    /// Bytes behind it; two's complement.
    offset: u8,
}

/// No quote: from the object's first byte on.
const START: u8 = 0xff;

impl Place {
    const START: Self = Self { quote: START, offset: 0 };

    /// Bytes from the object's first on.
    #[inline(always)]
    fn among(self, quotes: &[u8; BLOCK]) -> usize {
        let quote = if self.quote == START { 0 } else { quotes[usize::from(self.quote) % BLOCK] };
        usize::from(quote.wrapping_add(self.offset))
    }
}

/// Where a value lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: Place,
    /// [`Place::START`] where no quote says it: of the last value, if it is no string.
    end: Place,
}

/// 64 bytes of an object's literals.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Literals {
    /// What they are.
    pub(super) bytes: [u8; BLOCK],
    /// The quote that says where each is, in `anchored`; the others are at their offset from the object's first byte.
    pub(super) quotes: [u8; BLOCK],
    /// How far it is behind that quote, in two's complement.
    pub(super) offsets: [u8; BLOCK],
    /// A bit for each byte whose place a quote says.
    pub(super) anchored: u64,
    /// A bit for each byte that there is.
    pub(super) filled: u64,
}

/// Where the bytes of one kind of object stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) literals: [Literals; LITERAL_BLOCKS],
    /// How many bytes the literals have.
    pub(super) literal_bytes: usize,
    /// By position in the order.
    spans: [Span; MEMBER_COUNT_MAX],
    /// Quotes that the object has.
    pub(super) quote_count: usize,
    /// The object's closing brace; [`Place::START`] where it stands behind the last value, and no quote says where.
    brace: Place,
}

/// What is being written of a layout: the literal that goes on now.
struct Writer {
    layout: Layout,
    /// Where this literal begins.
    anchor: Place,
    /// Bytes of it so far.
    length: usize,
}

impl Writer {
    /// One more byte of the literal.
    #[expect(clippy::cast_possible_truncation, reason = "far fewer quotes and bytes; asserted where a layout is made")]
    const fn push(&mut self, byte: u8) {
        let at = self.layout.literal_bytes;
        let block = &mut self.layout.literals[at / BLOCK];
        block.bytes[at % BLOCK] = byte;
        block.filled |= 1 << (at % BLOCK);
        if self.anchor.quote != START {
            block.quotes[at % BLOCK] = self.anchor.quote;
            block.anchored |= 1 << (at % BLOCK);
        }
        block.offsets[at % BLOCK] = self.anchor.offset.wrapping_add(self.length as u8);
        self.layout.literal_bytes += 1;
        self.length += 1;
        assert!(self.length <= LITERAL_BYTES_MAX, "so that no place wraps");
        if byte == b'"' {
            self.layout.quote_count += 1;
        }
    }

    const fn push_all(&mut self, bytes: &[u8], from: usize) {
        let mut at = from;
        while at < bytes.len() {
            self.push(bytes[at]);
            at += 1;
        }
    }

    /// Where the byte behind the literal stands.
    #[expect(clippy::cast_possible_truncation, reason = "as in `push`")]
    const fn place(&self) -> Place {
        Place { quote: self.anchor.quote, offset: self.anchor.offset.wrapping_add(self.length as u8) }
    }

    /// The next literal, behind a value: its first quote is its own first byte behind a string, and its second behind
    /// anything else, where a comma stands first.
    #[expect(clippy::cast_possible_truncation, reason = "as in `push`")]
    const fn begin(&mut self, is_behind_string: bool) {
        let offset = if is_behind_string { 0 } else { 0xff };
        self.anchor = Place { quote: self.layout.quote_count as u8, offset };
        self.length = 0;
    }
}

impl Layout {
    /// Of an object that has exactly these members, in this order.
    pub(super) const fn new(members: &[Member], order: &[usize]) -> Self {
        const NONE: Literals =
            Literals { bytes: [0; BLOCK], quotes: [0; BLOCK], offsets: [0; BLOCK], anchored: 0, filled: 0 };
        let layout = Self {
            literals: [NONE; LITERAL_BLOCKS],
            literal_bytes: 0,
            spans: [Span { start: Place::START, end: Place::START }; MEMBER_COUNT_MAX],
            quote_count: 0,
            brace: Place::START,
        };
        let mut writer = Writer { layout, anchor: Place::START, length: 0 };
        // Whether a value stands before the next literal, and whether it is a string.
        let mut behind_value = None;
        let mut at = 0;
        while at < order.len() {
            let member = &members[order[at]];
            if let Some(is_string) = behind_value {
                writer.layout.spans[at - 1].end = writer.begin_behind(is_string);
            }
            let lead = member.lead_of_value().as_bytes();
            if at == 0 {
                writer.push(b'{');
                writer.push_all(lead, 1);
            } else {
                writer.push_all(lead, 0);
            }
            behind_value = if let Some(word) = member.only_word() {
                writer.push_all(word.as_bytes(), 0);
                writer.push(b'"');
                None
            } else {
                writer.layout.spans[at].start = writer.place();
                Some(member.is_string())
            };
            at += 1;
        }
        if !matches!(behind_value, Some(false)) {
            if let Some(is_string) = behind_value {
                writer.layout.spans[at - 1].end = writer.begin_behind(is_string);
            }
            writer.layout.brace = writer.place();
            writer.push(b'}');
        }
        assert!(writer.layout.quote_count < BLOCK, "their places fit a block");
        writer.layout
    }
}

impl Writer {
    /// Begins the literal behind a value, with the value's closing quote if it is a string. Where the value ends.
    const fn begin_behind(&mut self, is_string: bool) -> Place {
        self.begin(is_string);
        let end = self.place();
        if is_string {
            self.push(b'"');
        }
        end
    }
}

/// An object whose literals all stand where its quotes say.
pub(super) struct Laid<'a> {
    layout: &'static Layout,
    start: Cursor<'a>,
    ahead: &'a [u8; AHEAD_BYTES],
    quotes: [u8; BLOCK],
    /// Where the last value taken ends.
    reached: usize,
}

impl<'a> Laid<'a> {
    /// The object at the front, if its literals are this layout's.
    #[inline(always)]
    pub(super) fn new(isa: impl Isa, layout: &'static Layout, start: Cursor<'a>) -> Option<Self> {
        let ahead = start.rest().first_chunk()?;
        let quotes = isa.quotes(layout, ahead)?;
        (quotes[layout.quote_count - 1] <= LAST_QUOTE_MAX).then_some(Self { layout, start, ahead, quotes, reached: 0 })
    }

    /// The whole value of the member at this position of the order, to its slot.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        isa: impl Isa,
        member: &Member,
        slot: usize,
        position: usize,
        slots: &mut Slots<'a>,
    ) -> Option<()> {
        if member.only_word().is_some() {
            slots.set_int(slot, 0);
            return Some(());
        }
        let Span { start, end } = self.layout.spans[position];
        let at = start.among(&self.quotes);
        let behind = end.among(&self.quotes);
        let ahead = &self.ahead[at..];
        let mut cursor = Cursor::new(ahead);
        match member.kind {
            Kind::Text | Kind::Decimal | Kind::Ignored(Json::Text) => {
                let text = self.ahead.get(at..behind)?;
                if matches!(member.kind, Kind::Decimal) {
                    // Its digits are looked at when its scale is known. More than a window has are walked forward.
                    if text.len() >= WINDOW {
                        return None;
                    }
                } else if !isa.is_plain(ahead.first_chunk()?, text.len()) {
                    return None;
                }
                slots.set_number(slot, Number::of_text(text, ahead.first_chunk()?));
                cursor.skip(text.len())?;
            }
            Kind::Int => slots.set_int(slot, cursor.uint(isa)?),
            Kind::Bool => slots.set_int(slot, u64::from(cursor.bool()?)),
            Kind::Word(words) => {
                slots.set_int(slot, scan_word(words, &mut cursor)?);
                // With its closing quote, which the next literal begins with.
                return (at + ahead.len() - cursor.ahead() == behind + 1).then_some(());
            }
            Kind::Ignored(json) => {
                match json {
                    Json::Int => cursor.uint(isa).map(|_| ())?,
                    _ => cursor.bool().map(|_| ())?,
                }
                slots.present |= 1 << slot;
            }
            Kind::Touch | Kind::Levels | Kind::Nested => return None,
        }
        if matches!(member.kind, Kind::Ignored(_)) {
            slots.has_other = true;
        }
        self.reached = at + ahead.len() - cursor.ahead();
        (end == Place::START || self.reached == behind).then_some(())
    }

    /// At the object's closing brace, or where it must be if no quote says where.
    #[inline(always)]
    pub(super) fn brace(&self) -> Option<Cursor<'a>> {
        let at = if self.layout.brace == Place::START { self.reached } else { self.layout.brace.among(&self.quotes) };
        let mut cursor = self.start;
        cursor.skip(at)?;
        Some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::Cpu;
    use crate::venue::isa::{Isas, Work};
    use crate::venue::scan::{End, Reader};
    use crate::venue::shape::{Shape, orders, shape};

    shape! {
        /// One of each kind that a layout takes.
        mod sample {
            KIND = "e" needs Word(&["sample"]);
            ID = "u" needs Int;
            NAME = "s" needs Text;
            SIDE = "S" needs Word(&["Buy", "Sell"]);
            PRICE = "p" needs Decimal;
            IS_LAST = "m" needs Bool;
        }
    }

    orders! {
        /// The last value is no string; it is one.
        SampleShape of sample:
            [KIND ID NAME SIDE PRICE IS_LAST]
            [ID KIND IS_LAST PRICE SIDE NAME]
            whole
            [KIND ID NAME SIDE PRICE IS_LAST]
            [ID KIND IS_LAST PRICE SIDE NAME];
    }

    /// What the values are.
    struct Values<I>(I);

    impl<'a, I: Isa> Reader<'a> for Values<I> {
        type Isa = I;
        type Event = (u64, &'a [u8], u64, i64, u64);

        fn isa(&self) -> I {
            self.0
        }

        fn build(&mut self, slots: &Slots<'a>) -> Option<Self::Event> {
            use sample::{ID, IS_LAST, NAME, PRICE, SIDE};
            let price = slots.number(PRICE).grid(self.0, 4).ok()?;
            Some((slots.int(ID), slots.text(NAME), slots.int(SIDE), price, slots.int(IS_LAST)))
        }
    }

    /// Walks an object both ways; the results, as they print.
    struct BothWays<'t> {
        order: usize,
        text: &'t [u8],
        at_once: Option<String>,
        forward: Option<String>,
    }

    impl Work for BothWays<'_> {
        type Output = ();

        fn run<I: Isa>(&mut self, isa: I) {
            let padded = [self.text, b"}", &[b'"'; AHEAD_BYTES]].concat();
            let end = End::Message { is_wrapped: true, behind: AHEAD_BYTES };
            let walk = |walked: Option<_>| walked.map(|(values, _): (_, Cursor<'_>)| format!("{values:?}"));
            let start = Cursor::new(&padded);
            self.at_once = walk(SampleShape::walk_whole(self.order, start, end, &mut Values(isa)));
            self.forward = walk(SampleShape::walk(self.order, start, end, &mut Values(isa)));
        }
    }

    fn both_ways(isas: Isas, order: usize, text: &[u8]) -> (Option<String>, Option<String>) {
        let mut both = BothWays { order, text, at_once: None, forward: None };
        isas.run(&mut both);
        (both.at_once, both.forward)
    }

    #[test]
    fn an_object_is_the_same_at_once_and_forward_whatever_byte_of_it_is_another() {
        let texts: [&[u8]; 2] = [
            br#"{"e":"sample","u":1234567,"s":"BTCUSDT","S":"Sell","p":"61837.63","m":true}"#,
            br#"{"u":9876543210987654321,"e":"sample","m":false,"p":"0.0001","S":"Buy","s":"A-NAME-OF-MORE-THAN-A-WINDOW"}"#,
        ];
        for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.is_here()) {
            let isas = Isas::new(cpu);
            for (order, text) in texts.into_iter().enumerate() {
                let (at_once, forward) = both_ways(isas, order, text);
                assert!(forward.is_some());
                assert_eq!(at_once, forward.filter(|_| cpu == Cpu::Avx512), "{cpu:?}: order {order}");
                for at in 0..text.len() {
                    let changed = (0..=255).map(|byte| [&text[..at], &[byte], &text[at + 1..]].concat());
                    let inserted = b"\"\\,:}{.0e ".iter().map(|&byte| [&text[..at], &[byte], &text[at..]].concat());
                    let removed = [[&text[..at], &text[at + 1..]].concat(), text[..at].to_vec()];
                    for text in changed.chain(inserted).chain(removed) {
                        let (at_once, forward) = both_ways(isas, order, &text);
                        let text = String::from_utf8_lossy(&text);
                        assert!(at_once.is_none() || at_once == forward, "{cpu:?}: {text}: {at_once:?}, {forward:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_object_that_is_longer_than_what_is_looked_at_is_walked_forward() {
        let object = |length: usize| {
            let name = "A".repeat(length);
            format!(r#"{{"e":"sample","u":1,"s":"{name}","S":"Sell","p":"61837.63","m":true}}"#).into_bytes()
        };
        let isas = Isas::new(Cpu::best());
        let taken = (0..400).map(|length| both_ways(isas, 0, &object(length)));
        let (mut at_once_count, mut last) = (0, 0);
        for (length, (at_once, forward)) in taken.enumerate() {
            assert!(forward.is_some());
            if at_once.is_some() {
                assert_eq!(at_once, forward);
                (at_once_count, last) = (at_once_count + 1, length);
            }
        }
        assert_eq!(
            at_once_count,
            if Cpu::best() == Cpu::Avx512 { last + 1 } else { 0 },
            "up to a length, and no longer"
        );
        assert!(last < OBJECT_BYTES);
    }

    /// The literals, each with the quote it hangs on and how far it is behind it.
    fn literals(layout: &Layout) -> Vec<(u8, Option<u8>, i8)> {
        (0..layout.literal_bytes)
            .map(|at| {
                let block = &layout.literals[at / BLOCK];
                let at = at % BLOCK;
                assert!(block.filled & (1 << at) != 0);
                let quote = (block.anchored & (1 << at) != 0).then_some(block.quotes[at]);
                (block.bytes[at], quote, block.offsets[at].cast_signed())
            })
            .collect()
    }

    #[test]
    fn every_byte_of_an_object_is_a_literals_or_a_values() {
        use sample::{ID, IS_LAST, KIND, NAME, PRICE, SIDE};
        let text = br#"{"e":"sample","u":123,"s":"BTCUSDT","S":"Sell","p":"61837.63","m":true}"#;
        for (order, text) in [
            (&[KIND, ID, NAME, SIDE, PRICE, IS_LAST][..], &text[..]),
            (&[ID, KIND, NAME], br#"{"u":123,"e":"sample","s":"BTCUSDT"}"#),
            (&[NAME, KIND], br#"{"s":"BTCUSDT","e":"sample"}"#),
            (&[IS_LAST, ID], br#"{"m":true,"u":123}"#),
            (&[KIND], br#"{"e":"sample"}"#),
        ] {
            let layout = Layout::new(sample::MEMBERS, order);
            let mut quotes = [0; BLOCK];
            let places = (0..).zip(text).filter(|&(_, &byte)| byte == b'"');
            quotes.iter_mut().zip(places).for_each(|(place, (at, _))| *place = at);
            assert_eq!(layout.quote_count, text.iter().filter(|&&byte| byte == b'"').count());

            let mut owners = vec![0; text.len() + 1];
            for (byte, quote, offset) in literals(&layout) {
                let place = Place { quote: quote.unwrap_or(START), offset: offset.cast_unsigned() };
                let at = place.among(&quotes);
                assert_eq!(text[at], byte, "at {at}");
                owners[at] += 1;
            }
            for (position, &slot) in order.iter().enumerate().filter(|&(_, &slot)| slot != KIND) {
                let Span { start, end } = layout.spans[position];
                let is_open = end == Place::START;
                let end = if is_open { text.len() - 1 } else { end.among(&quotes) };
                assert_eq!(is_open, position + 1 == order.len() && slot != NAME, "only behind the last");
                owners[start.among(&quotes)..end].iter_mut().for_each(|count| *count += 1);
                if is_open {
                    owners[end] += 1;
                }
            }
            owners.pop();
            assert!(owners.iter().all(|&count| count == 1), "{owners:?} of {}", String::from_utf8_lossy(text));
        }
    }
}
