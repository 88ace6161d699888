//! A walk's place in a message, and what may be next: literals, texts, numbers, times, words. Every question steps over what
//! it took or, where it answers `None`, leaves the walk to be given up.

use super::isa::{Isa, Portable, TIME_DIGITS, WINDOW};
use super::number::{Number, UUID_BYTES, parse_uint};
use super::shape::{Lead, Word};
use crate::limits::{READ_PADDING_BYTES, SYMBOL_NAME_BYTES_MAX};
use std::hint::{black_box, cold_path};

/// Bytes that one step may look at without asking whether they are there. Behind every message lie as many.
const STRIDE_BYTES: usize = READ_PADDING_BYTES;

/// Longest lead of a member.
pub(super) const LEAD_BYTES_MAX: usize = STRIDE_BYTES - 2 * WINDOW;

/// `false` and `true`, each with the mask of its bytes.
const BOOLS: [(u64, u64); 2] =
    [(u64::from_le_bytes(*b"false\0\0\0"), 0x00ff_ffff_ffff), (u64::from_le_bytes(*b"true\0\0\0\0"), 0xffff_ffff)];

/// The bytes not yet walked, those behind the message's end included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

/// The bytes of one step from its beginning, and how many of them it has taken: what stands before a value, and the value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stride<'a> {
    ahead: &'a [u8; STRIDE_BYTES],
    taken: usize,
}

impl<'a> Stride<'a> {
    /// So many bytes behind those that were taken. A step has them: no lead is longer than leaves two windows
    /// ([`LEAD_BYTES_MAX`]).
    #[inline(always)]
    pub(super) fn window<const COUNT: usize>(&self) -> Option<&'a [u8; COUNT]> {
        self.ahead.get(self.taken..)?.first_chunk()
    }

    /// Takes exactly this lead: two comparisons with constants where it has four to eight bytes; of a longer one four bytes are
    /// compared first, for they say of most others that they are another; not where it is sure to be this one or none.
    #[inline(always)]
    pub(super) fn lead(&mut self, lead: &'static Lead, is_sure: bool) -> Option<()> {
        let length = lead.text.len();
        let Some(ahead) = self.window::<8>().filter(|_| matches!(length, 4..=8)) else {
            if !is_sure && !self.is_probed(lead) {
                return None;
            }
            return self.literal(lead.text.as_bytes());
        };
        let [first, last] = [0, length - 4];
        if u32::from_le_bytes(*ahead[first..].first_chunk()?) != lead.first
            || u32::from_le_bytes(*ahead[last..].first_chunk()?) != lead.last
        {
            return None;
        }
        self.taken += length;
        Some(())
    }

    /// Whether a few of its bytes are where this lead has them that tell it from most others.
    #[inline(always)]
    pub(super) fn is_probed(&self, lead: &'static Lead) -> bool {
        let probed = self.window::<8>().and_then(|ahead| ahead.get(Lead::PROBED_AT..)?.first_chunk());
        probed.is_some_and(|probed| u32::from_le_bytes(*probed) == lead.probe)
    }

    /// Whether this string is next, with its closing quote.
    #[inline(always)]
    pub(super) fn is_text(&self, text: &'static str) -> bool {
        let Some(ahead) = self.ahead.get(self.taken..) else { return false };
        ahead.starts_with(text.as_bytes()) & (ahead.get(text.len()) == Some(&b'"'))
    }

    /// How many bytes were taken.
    #[inline(always)]
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes a number in a string whose opening quote was taken already, and its closing quote. `None` where it is longer than a
    /// window has digits, and where no string ends. As [`Cursor::number`].
    #[inline(always)]
    fn number(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        let windows = self.window()?;
        let number = Number::new(windows, isa.quoted_ends(windows.first_chunk()?))?;
        self.taken += number.text().len() + 1;
        Some(number)
    }

    /// The same where it may be longer, and end in a second window. Not seldom in a day's statistics; but it must not lie in the way
    /// of trades and quotes.
    #[inline(always)]
    fn any_number(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        let windows = self.window()?;
        let (first, second) = windows.split_first_chunk()?;
        let number = match Number::new(windows, isa.quoted_ends(first)) {
            Some(number) => number,
            None => {
                cold_path();
                Number::long(windows, WINDOW + isa.marks(second.first_chunk()?, b'"').trailing_zeros() as usize)?
            }
        };
        self.taken += number.text().len() + 1;
        Some(number)
    }

    /// Takes exactly these bytes, if a step is as long.
    #[inline(always)]
    pub(super) fn literal(&mut self, literal: &[u8]) -> Option<()> {
        if !self.ahead.get(self.taken..)?.starts_with(literal) {
            return None;
        }
        self.taken += literal.len();
        Some(())
    }
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

    /// A whole step's bytes. Asked for once a step, so that the step's own questions need no answer. `None` nowhere inside a
    /// message.
    #[inline(always)]
    pub(super) fn stride(&self) -> Option<Stride<'a>> {
        Some(Stride { ahead: self.rest.first_chunk()?, taken: 0 })
    }

    /// Steps over what a step from here has taken, and so many bytes more of it: at once, so that a step costs one addition.
    #[inline(always)]
    pub(super) fn take(&mut self, stride: Stride<'a>, more: usize) -> Option<()> {
        self.skip(stride.taken + more)
    }

    /// What a step from here has taken is stepped over.
    #[inline(always)]
    pub(super) fn behind(mut self, stride: Stride<'a>) -> Option<Self> {
        self.take(stride, 0)?;
        Some(self)
    }

    /// Steps over so many bytes of a value that was walked from what a step took, and what closes it. It most probably has as many as
    /// `like` says: where that is so, what stands behind it does not wait for its end to be found, for a branch says where it is. As
    /// many as it had is what the next one is said to have.
    #[inline(always)]
    fn take_alike(
        &mut self,
        stride: Stride<'a>,
        length: usize,
        closing: usize,
        like: &mut Option<usize>,
    ) -> Option<()> {
        match *like {
            None => {
                *like = Some(length);
                self.take(stride, length + closing)
            }
            Some(like) if length == like => self.take(stride, like + closing),
            Some(_) => {
                *like = Some(length);
                // Both ways end at the same byte, and a compiler that saw that would make them one, which waits.
                self.take(stride, black_box(length) + closing)
            }
        }
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
        let mut stride = self.stride()?;
        stride.literal(literal)?;
        self.take(stride, 0)?;
        Some(())
    }

    /// Steps over white space (RFC 8259 section 2), of which there is none in most messages.
    #[inline(always)]
    pub(super) fn space(&mut self) {
        if self.rest.first().is_some_and(|&byte| byte <= b' ') {
            // The cursor goes by value, so that its address is never taken and it stays in registers.
            *self = self.spaced();
        }
    }

    #[cold]
    #[inline(never)]
    fn spaced(mut self) -> Self {
        let is_space = |byte: &&u8| b" \t\n\r".contains(byte);
        let count = self.rest.iter().take_while(is_space).count();
        self.rest = self.rest.get(count..).unwrap_or_default();
        self
    }

    /// Steps over exactly these bytes, and over white space before them where members come in any order.
    #[inline(always)]
    pub(super) fn token<I: Isa>(&mut self, _isa: I, token: &[u8]) -> Option<()> {
        if const { I::IS_ANY_ORDER } {
            self.space();
        }
        self.literal(token)
    }

    /// A string whose opening quote was walked already, up to and over its closing quote. Plain ASCII only: a
    /// backslash, a control byte or a byte of a multi-byte character belongs to the tape.
    #[inline(always)]
    pub(super) fn text(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        self.text_in(isa, self.stride()?)
    }

    /// [`Self::text`] whose opening quote a step took last.
    #[inline(always)]
    pub(super) fn text_in(&mut self, isa: impl Isa, stride: Stride<'a>) -> Option<Number<'a>> {
        let window = stride.window()?;
        let end = isa.plain_end(window);
        let Some(behind) = window.get(end) else { return self.text_behind(isa, stride, WINDOW) };
        if *behind != b'"' {
            return None;
        }
        self.take(stride, end + 1)?;
        Number::of_text(window, end)
    }

    /// [`Self::text_in`] that most probably is as long as the last one.
    #[inline(always)]
    pub(super) fn text_alike(
        &mut self,
        isa: impl Isa,
        stride: Stride<'a>,
        like: &mut Option<usize>,
    ) -> Option<Number<'a>> {
        let text = { *self }.text_in(isa, stride)?;
        self.take_alike(stride, text.text().len(), 1, like)?;
        Some(text)
    }

    /// [`Self::text_in`] of what is nearly always this text: then it is compared, and what stands behind it does not wait for its end
    /// to be found.
    #[inline(always)]
    pub(super) fn usual(&mut self, isa: impl Isa, text: &'static str, stride: Stride<'a>) -> Option<()> {
        if stride.is_text(text) { self.take(stride, text.len() + 1) } else { self.text_in(isa, stride).map(|_| ()) }
    }

    /// [`Self::text_in`] for a name of which nothing foretells whether it is longer than one window: two are asked at once,
    /// without a branch between them.
    #[inline(always)]
    pub(super) fn name_in(&mut self, isa: impl Isa, stride: Stride<'a>) -> Option<Number<'a>> {
        let windows = stride.window::<{ 2 * WINDOW }>()?;
        let (first, second) = windows.split_first_chunk()?;
        let end = isa.plain_end_of_two([first, second.first_chunk()?]);
        let Some(behind) = windows.get(end) else { return self.text_behind(isa, stride, 2 * WINDOW) };
        if *behind != b'"' {
            return None;
        }
        self.take(stride, end + 1)?;
        Number::of_text(windows, end)
    }

    /// The same of a step that took nothing.
    #[inline(always)]
    pub(super) fn name(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        self.name_in(isa, self.stride()?)
    }

    /// [`Self::text_in`] of a symbol's name, in which venues write characters that are not ASCII, too: in a whole market's array
    /// there are such names, and they must not cost all the others. Most probably it has so many bytes, 0 for "unknown": where that
    /// is so, what stands behind it does not wait for its end to be found.
    #[inline(always)]
    pub(super) fn symbol_of(&mut self, isa: impl Isa, stride: Stride<'a>, length: usize) -> Option<Number<'a>> {
        let window = stride.window::<WINDOW>()?;
        if matches!(length, 1..WINDOW) && isa.plain_end(window) == length && window[length] == b'"' {
            self.take(stride, length + 1)?;
            return Number::of_text(window, length);
        }
        let mut ahead = *self;
        if let Some(name) = ahead.text_in(isa, stride) {
            *self = ahead;
            return Some(name);
        }
        let (name, ahead) = self.symbol_rare(stride.taken)?;
        *self = ahead;
        Some(name)
    }

    /// A name in UTF-8, without an escape.
    #[cold]
    #[inline(never)]
    fn symbol_rare(mut self, taken: usize) -> Option<(Number<'a>, Self)> {
        self.skip(taken)?;
        let rest = self.rest;
        let is_end = |&byte: &u8| byte < b' ' || matches!(byte, b'"' | b'\\');
        let end = rest.iter().take(SYMBOL_NAME_BYTES_MAX + 1).position(is_end)?;
        let name = rest.get(..end).filter(|name| std::str::from_utf8(name).is_ok())?;
        self.skip(end)?;
        self.literal(b"\"")?;
        Some((Number::unread(name), self))
    }

    /// [`Self::text_in`] that most probably has as many bytes as a UUID's: as [`Self::symbol_of`].
    #[inline(always)]
    pub(super) fn id(&mut self, isa: impl Isa, stride: Stride<'a>) -> Option<Number<'a>> {
        if let Some(ahead) = stride.window::<{ UUID_BYTES + 1 }>() {
            let at = |at: usize| ahead[at..].first_chunk::<WINDOW>();
            let [first, middle, last] = [at(0)?, at(WINDOW)?, at(UUID_BYTES - WINDOW)?];
            if ahead[UUID_BYTES] == b'"' && isa.are_plain([first, middle, last]) {
                self.take(stride, ahead.len())?;
                return Number::of_text(ahead, UUID_BYTES);
            }
        }
        self.text_in(isa, stride)
    }

    /// The string behind what a stride took, with no end among so many bytes.
    #[inline(always)]
    fn text_behind(&mut self, isa: impl Isa, stride: Stride<'a>, mut at: usize) -> Option<Number<'a>> {
        self.take(stride, 0)?;
        let rest = self.rest;
        let end = loop {
            let end = isa.plain_end(rest.get(at..)?.first_chunk::<WINDOW>()?);
            if end < WINDOW {
                break at + end;
            }
            at += WINDOW;
        };
        if rest.get(end) != Some(&b'"') {
            return None;
        }
        self.skip(end + 1)?;
        Number::of_text(rest, end)
    }

    /// A decimal number in a string whose opening quote was walked already, up to and over its closing quote. Only the
    /// quote is looked for: whoever takes it must read it as a number, or refuse the message, for else nobody has seen that
    /// there is no backslash before the quote.
    #[inline(always)]
    pub(super) fn number(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        self.number_in(isa, self.stride()?)
    }

    /// [`Self::number`] whose opening quote a step took last.
    #[inline(always)]
    pub(super) fn number_in(&mut self, isa: impl Isa, mut stride: Stride<'a>) -> Option<Number<'a>> {
        if let Some(number) = stride.any_number(isa) {
            self.take(stride, 0)?;
            return Some(number);
        }
        let (number, cursor) = self.number_rare(stride.taken)?;
        *self = cursor;
        Some(number)
    }

    /// The same, with more to come in the step: behind a number that is longer than a window has digits it is another step.
    #[inline(always)]
    pub(super) fn number_on(&mut self, isa: impl Isa, stride: &mut Stride<'a>) -> Option<Number<'a>> {
        if let Some(number) = stride.number(isa) {
            return Some(number);
        }
        let (number, cursor) = self.number_rare(stride.taken)?;
        *self = cursor;
        *stride = self.stride()?;
        Some(number)
    }

    /// [`Self::number_in`] that most probably is as long as the last one.
    #[inline(always)]
    pub(super) fn number_alike(
        &mut self,
        isa: impl Isa,
        stride: Stride<'a>,
        like: &mut Option<usize>,
    ) -> Option<Number<'a>> {
        let number = { *self }.number_in(isa, stride)?;
        self.take_alike(stride, number.text().len(), 1, like)?;
        Some(number)
    }

    /// [`Self::number_in`] that its reader may leave unread: a plain string.
    #[inline(always)]
    pub(super) fn plain_number(&mut self, isa: impl Isa, stride: Stride<'a>) -> Option<Number<'a>> {
        let number = self.number_in(isa, stride)?;
        let length = number.text().len();
        // Nothing but that must be asked of nearly all of them.
        let is_plain = if length < WINDOW { isa.plain_end(stride.window()?) >= length } else { number.is_plain(isa) };
        is_plain.then_some(number)
    }

    /// [`Self::plain_number`] that most probably is as long as the last one.
    #[inline(always)]
    pub(super) fn plain_alike(
        &mut self,
        isa: impl Isa,
        stride: Stride<'a>,
        like: &mut Option<usize>,
    ) -> Option<Number<'a>> {
        let number = { *self }.plain_number(isa, stride)?;
        self.take_alike(stride, number.text().len(), 1, like)?;
        Some(number)
    }

    #[cold]
    #[inline(never)]
    fn number_rare(mut self, taken: usize) -> Option<(Number<'a>, Self)> {
        self.skip(taken)?;
        // A function of its own is not compiled for the reader's instructions.
        let mut stride = self.stride()?;
        if let Some(number) = stride.any_number(Portable) {
            self.take(stride, 0)?;
            return Some((number, self));
        }
        let text = self.text(Portable)?;
        Some((Number::unread(text.text()), self))
    }

    /// A JSON integer that is not negative and has at most 19 digits.
    #[inline(always)]
    pub(super) fn uint(&mut self, isa: impl Isa) -> Option<u64> {
        self.uint_in(isa, self.stride()?)
    }

    /// [`Self::uint`] behind what a step took.
    #[inline(always)]
    pub(super) fn uint_in(&mut self, isa: impl Isa, stride: Stride<'a>) -> Option<u64> {
        let window = stride.window::<WINDOW>()?;
        let (value, length) = isa.uint(window);
        if length == WINDOW {
            let (value, cursor) = self.uint_long(stride.taken)?;
            *self = cursor;
            return Some(value);
        }
        // JSON has no leading zeros, and what follows the digits is compared by whoever comes next.
        if length == 0 || (length > 1 && window[0] == b'0') {
            return None;
        }
        self.take(stride, length)?;
        Some(value)
    }

    /// [`Self::uint_in`] that most probably is as long as the last one.
    #[inline(always)]
    pub(super) fn uint_alike(&mut self, isa: impl Isa, stride: Stride<'a>, like: &mut Option<usize>) -> Option<u64> {
        let mut ahead = *self;
        let value = ahead.uint_in(isa, stride)?;
        self.take_alike(stride, self.ahead() - stride.taken - ahead.ahead(), 0, like)?;
        Some(value)
    }

    /// An integer of sixteen digits or more.
    #[cold]
    #[inline(never)]
    fn uint_long(mut self, taken: usize) -> Option<(u64, Self)> {
        self.skip(taken)?;
        let rest = self.rest;
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length > 19 || rest.first() == Some(&b'0') {
            return None;
        }
        self.skip(length)?;
        Some((parse_uint(rest.get(..length)?)?, self))
    }

    /// A time in milliseconds since the epoch: as [`Self::uint_in`]. That it has thirteen digits is predicted, so what stands
    /// behind it is read without waiting for its end to be found.
    #[inline(always)]
    pub(super) fn time(&mut self, isa: impl Isa, stride: Stride<'a>) -> Option<u64> {
        if let Some(ms) = isa.time(stride.window()?) {
            self.take(stride, TIME_DIGITS)?;
            return Some(ms);
        }
        let (ms, cursor) = self.time_rare(stride.taken)?;
        *self = cursor;
        Some(ms)
    }

    #[cold]
    #[inline(never)]
    fn time_rare(mut self, taken: usize) -> Option<(u64, Self)> {
        self.skip(taken)?;
        Some((self.uint(Portable)?, self))
    }

    /// `true` or `false`. Without a branch between them, for nothing foretells which a trade will be.
    #[inline(always)]
    pub(super) fn bool(&mut self, stride: Stride<'a>) -> Option<bool> {
        let window = u64::from_le_bytes(*stride.window()?);
        let is_true = window & 0xff == u64::from(b't');
        let (word, mask) = BOOLS[usize::from(is_true)];
        if window & mask != word {
            return None;
        }
        self.take(stride, 5 - usize::from(is_true))?;
        Some(is_true)
    }

    /// `true` or `false` of what is nearly always the same: by a branch, so that what stands behind it does not wait.
    #[inline(always)]
    pub(super) fn flag(&mut self, mut stride: Stride<'a>) -> Option<bool> {
        let is_true = stride.literal(b"true").is_some();
        if !is_true {
            stride.literal(b"false")?;
        }
        self.take(stride, 0)?;
        Some(is_true)
    }

    /// One of a few strings, and its closing quote: its position among them. Between two there is no branch, for nothing foretells
    /// a trade's side.
    #[inline(always)]
    pub(super) fn word(&mut self, words: &'static [Word], stride: Stride<'a>) -> Option<u64> {
        let (position, length) = match words {
            // At most one of them is there: lengths and positions can be added up.
            [first, second] => {
                let [first, second] = [first.length_in(stride), second.length_in(stride)];
                (u64::from(second != 0), first + second)
            }
            words => return self.case(words, stride),
        };
        if length == 0 {
            return None;
        }
        self.take(stride, length)?;
        Some(position)
    }

    /// One of a few strings, and its closing quote: word by word, for the next message's is most probably this one's.
    #[inline(always)]
    pub(super) fn case(&mut self, words: &'static [Word], stride: Stride<'a>) -> Option<u64> {
        for (word, position) in words.iter().zip(0..) {
            let length = word.length_in(stride);
            if length != 0 {
                self.take(stride, length)?;
                return Some(position);
            }
        }
        None
    }

    /// Any scalar: a plain string, a number, `true`, `false` or `null`.
    pub(super) fn skip_scalar(&mut self, isa: impl Isa) -> Option<()> {
        match *self.rest.first()? {
            b'"' => {
                self.literal(b"\"")?;
                self.text(isa).map(|_| ())
            }
            b't' | b'f' => self.flag(self.stride()?).map(|_| ()),
            b'n' => self.literal(b"null"),
            _ => self.skip_number(),
        }
    }

    /// The text of a JSON number, as it stands.
    #[cold]
    pub(super) fn number_text(&mut self) -> Option<&'a [u8]> {
        let start = self.rest;
        self.skip_number()?;
        start.get(..start.len() - self.rest.len())
    }

    /// A number by the grammar of RFC 8259 section 6, but for exponents, which tier two may take.
    fn skip_number(&mut self) -> Option<()> {
        if self.rest.first() == Some(&b'-') {
            self.skip(1)?;
        }
        let whole = self.digits()?;
        if whole.len() > 1 && whole[0] == b'0' {
            return None;
        }
        if self.rest.first() == Some(&b'.') {
            self.skip(1)?;
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
        self.skip(count)?;
        rest.get(..count)
    }
}
