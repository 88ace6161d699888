//! A walk's place in a message, and what may be next: literals, texts, numbers, times, words. Every question steps over what
//! it took or, where it answers `None`, leaves the walk to be given up.

use super::isa::{Isa, Portable, TIME_DIGITS, WINDOW};
use super::number::{Number, UUID_BYTES, parse_uint};
use super::shape::Lead;
use crate::limits::READ_PADDING_BYTES;

/// Bytes that one step may look at without asking whether they are there. Behind every message lie as many.
const STEP_BYTES: usize = READ_PADDING_BYTES;

/// `false` and `true`, each with the mask of its bytes.
const BOOLS: [(u64, u64); 2] =
    [(u64::from_le_bytes(*b"false\0\0\0"), 0x00ff_ffff_ffff), (u64::from_le_bytes(*b"true\0\0\0\0"), 0xffff_ffff)];

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

    /// Steps over exactly this lead: two comparisons with constants where it has four to eight bytes.
    #[inline(always)]
    pub(super) fn lead(&mut self, lead: Lead) -> Option<()> {
        let length = lead.text.len();
        let Some(ahead) = self.rest.first_chunk::<8>().filter(|_| matches!(length, 4..=8)) else {
            return self.literal(lead.text.as_bytes());
        };
        let [first, last] = [0, length - 4];
        if u32::from_le_bytes(*ahead[first..].first_chunk()?) != lead.first
            || u32::from_le_bytes(*ahead[last..].first_chunk()?) != lead.last
        {
            return None;
        }
        self.skip(length)
    }

    /// Steps over exactly these bytes.
    #[inline(always)]
    pub(super) fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
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
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
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
        let window = self.rest.first_chunk::<WINDOW>()?;
        let end = isa.plain_end(window);
        let Some(behind) = window.get(end) else {
            let end = self.text_end(isa, WINDOW)?;
            return Some(Number::of_text(self.close(end)?, window));
        };
        if *behind != b'"' {
            return None;
        }
        self.skip(end + 1)?;
        Some(Number::of_text(&window[..end], window))
    }

    /// [`Self::text`] for a name of which nothing foretells whether it is longer than one window: two are asked at once,
    /// without a branch between them.
    #[inline(always)]
    pub(super) fn name(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        let windows = self.rest.first_chunk::<{ 2 * WINDOW }>()?;
        let (first, second) = windows.split_first_chunk()?;
        let end = isa.plain_end_of_two([first, second.first_chunk()?]);
        let Some(behind) = windows.get(end) else {
            let end = self.text_end(isa, 2 * WINDOW)?;
            return Some(Number::of_text(self.close(end)?, first));
        };
        if *behind != b'"' {
            return None;
        }
        self.skip(end + 1)?;
        Some(Number::of_text(&windows[..end], first))
    }

    /// [`Self::text`] that most probably has so many bytes, 0 for "unknown": where that is so, what stands behind it does not
    /// wait for its end to be found.
    #[inline(always)]
    pub(super) fn text_of(&mut self, isa: impl Isa, length: usize) -> Option<Number<'a>> {
        let window = self.rest.first_chunk::<WINDOW>()?;
        if matches!(length, 1..WINDOW) && isa.plain_end(window) == length && window[length] == b'"' {
            self.skip(length + 1)?;
            return Some(Number::of_text(&window[..length], window));
        }
        self.text(isa)
    }

    /// [`Self::text`] that most probably has as many bytes as a UUID's: as [`Self::text_of`].
    #[inline(always)]
    pub(super) fn id(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        let ahead = self.rest.first_chunk::<{ UUID_BYTES + 1 }>()?;
        let at = |at: usize| ahead[at..].first_chunk::<WINDOW>();
        let [first, middle, last] = [at(0)?, at(WINDOW)?, at(UUID_BYTES - WINDOW)?];
        if ahead[UUID_BYTES] == b'"' && isa.are_plain([first, middle, last]) {
            self.skip(ahead.len())?;
            return Some(Number::of_text(&ahead[..UUID_BYTES], first));
        }
        self.text(isa)
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

    /// A decimal number in a string whose opening quote was walked already, up to and over its closing quote. Only the
    /// quote is looked for: whoever takes it must read it as a number, or refuse the message, for else nobody has seen that
    /// there is no backslash before the quote.
    #[inline(always)]
    pub(super) fn number(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        let window = self.rest.first_chunk::<WINDOW>()?;
        let ends = isa.quoted_ends(window);
        if let Some(number) = Number::new(window, ends) {
            self.rest = self.rest.get(ends.end + 1..)?;
            return Some(number);
        }
        let (number, cursor) = self.number_rare()?;
        *self = cursor;
        Some(number)
    }

    /// [`Self::number`] that its reader may leave unread: a plain string.
    #[inline(always)]
    pub(super) fn plain_number(&mut self, isa: impl Isa) -> Option<Number<'a>> {
        let start = *self;
        let number = self.number(isa)?;
        let plain_end = isa.plain_end(start.rest.first_chunk()?);
        (plain_end >= number.text().len().min(WINDOW)).then_some(number)
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

    /// A time in milliseconds since the epoch: as [`Self::uint`]. That it has thirteen digits is predicted, so what stands
    /// behind it is read without waiting for its end to be found.
    #[inline(always)]
    pub(super) fn time(&mut self, isa: impl Isa) -> Option<u64> {
        if let Some(ms) = isa.time(self.rest.first_chunk()?) {
            self.rest = self.rest.get(TIME_DIGITS..)?;
            return Some(ms);
        }
        let (ms, cursor) = self.time_rare()?;
        *self = cursor;
        Some(ms)
    }

    #[cold]
    #[inline(never)]
    fn time_rare(mut self) -> Option<(u64, Self)> {
        Some((self.uint(Portable)?, self))
    }

    /// `true` or `false`. Without a branch between them, for nothing foretells which a trade will be.
    #[inline(always)]
    pub(super) fn bool(&mut self) -> Option<bool> {
        let window = u64::from_le_bytes(*self.rest.first_chunk()?);
        let is_true = window & 0xff == u64::from(b't');
        let (word, mask) = BOOLS[usize::from(is_true)];
        if window & mask != word {
            return None;
        }
        self.rest = self.rest.get(5 - usize::from(is_true)..)?;
        Some(is_true)
    }

    /// `true` or `false` of what is nearly always the same: by a branch, so that what stands behind it does not wait.
    #[inline(always)]
    pub(super) fn flag(&mut self) -> Option<bool> {
        let is_true = self.literal(b"true").is_some();
        if !is_true {
            self.literal(b"false")?;
        }
        Some(is_true)
    }

    /// Any scalar: a plain string, a number, `true`, `false` or `null`.
    pub(super) fn skip_scalar(&mut self, isa: impl Isa) -> Option<()> {
        match *self.rest.first()? {
            b'"' => {
                self.literal(b"\"")?;
                self.text(isa).map(|_| ())
            }
            b't' | b'f' => self.flag().map(|_| ()),
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
