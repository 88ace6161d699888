//! Numbers out of text. Used by both tiers; called several times per message.
//!
//! What the quick way ([`Isa`]) does not take is read in parts, and what that does not take goes to [`parse_fixed`] or, with its own
//! scale, [`Decimal::parse`], which alone decide what is an error.

use super::isa::{DIGIT_COUNT_MAX, Isa, NumberEnds, Portable, WINDOW, Work};
use crate::market::{Decimal, TradeId, Uuid, ValueError, pack, parse_fixed};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A byte in every byte of a word.
const fn each(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// A number's text, with its ends where whoever found it knows them.
///
/// Invariant: the bytes of the text lie behind `start`, and unless `whole` is [`Self::UNREAD`] at least a window, of a number's
/// at least two ([`Self::new`], [`Self::long`]); all of them are lent for `'a`. A pointer, for a reference to the text would not
/// reach behind it, and one beside it would be one word more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a> {
    start: NonNull<u8>,
    length: usize,
    lent: PhantomData<&'a [u8]>,
    /// As [`NumberEnds::whole`]; zero where it is not known.
    whole: usize,
}

impl<'a> Number<'a> {
    /// In the place of `whole` where nothing but the text is known: no number of a window ends there.
    const UNREAD: usize = WINDOW;

    /// The same where nothing but the text is known of a number that is longer than a window has digits.
    const LONG: usize = WINDOW + 1;

    /// Of the number that begins the first of these windows and ends so; `None` where it may go on behind it. What stands in it is
    /// looked at when it is read.
    #[inline(always)]
    pub(super) fn new(windows: &'a [u8; 2 * WINDOW], ends: NumberEnds) -> Option<Self> {
        (ends.end <= DIGIT_COUNT_MAX).then(|| Self::behind(windows, ends.end, ends.whole))
    }

    /// Of a number that ends in the second of these windows.
    #[inline(always)]
    pub(super) fn long(windows: &'a [u8; 2 * WINDOW], end: usize) -> Option<Self> {
        (end < windows.len()).then(|| Self::behind(windows, end, Self::LONG))
    }

    /// Of a text that nobody has read.
    #[inline(always)]
    pub(super) const fn unread(text: &'a [u8]) -> Self {
        Self::behind(text, text.len(), Self::UNREAD)
    }

    /// A text that is not looked at for digits, of which a window is readable.
    #[inline(always)]
    pub(super) fn of_text(ahead: &'a [u8], length: usize) -> Option<Self> {
        (ahead.len() >= WINDOW && ahead.len() >= length).then(|| Self::behind(ahead, length, 0))
    }

    /// Of the first bytes of these, which are as many and where the invariant asks for it a window.
    #[inline(always)]
    const fn behind(ahead: &'a [u8], length: usize, whole: usize) -> Self {
        Self { start: NonNull::from_ref(ahead).cast(), length, lent: PhantomData, whole }
    }

    /// The bytes from the text's first on, where they are known to be there.
    #[inline(always)]
    fn window(self) -> Option<&'a [u8; WINDOW]> {
        if self.whole == Self::UNREAD {
            return None;
        }
        // SAFETY: by the invariant they are.
        Some(unsafe { self.start.cast::<[u8; WINDOW]>().as_ref() })
    }

    /// The same of a number whose integer digits are known to end in it, behind one at least.
    #[inline(always)]
    fn digits(self) -> Option<&'a [u8; WINDOW]> {
        if matches!(self.whole, 1..Self::UNREAD) { self.window() } else { None }
    }

    /// The same of two, and where their parts end.
    #[inline(always)]
    fn digits_of_both([first, second]: [Self; 2]) -> Option<([&'a [u8; WINDOW]; 2], [NumberEnds; 2])> {
        Some(([first.digits()?, second.digits()?], [first.ends(), second.ends()]))
    }

    /// Where its parts end, of one that has [`Self::digits`].
    #[inline(always)]
    fn ends(self) -> NumberEnds {
        NumberEnds { whole: self.whole, end: self.length }
    }

    /// Two windows, of a number.
    #[inline(always)]
    fn windows(self) -> Option<&'a [u8; 2 * WINDOW]> {
        if matches!(self.whole, 0 | Self::UNREAD) {
            return None;
        }
        // SAFETY: by the invariant they are there.
        Some(unsafe { self.start.cast::<[u8; 2 * WINDOW]>().as_ref() })
    }

    /// Whether it is a plain string. Where it is no number whose end alone was looked for, it was found to be one when it was taken.
    #[inline(always)]
    pub(super) fn is_plain(self, isa: impl Isa) -> bool {
        let plain_end = match (self.whole, self.windows()) {
            (Self::LONG, Some(windows)) => {
                let (first, second) = windows.split_at(WINDOW);
                match (first.first_chunk(), second.first_chunk()) {
                    (Some(first), Some(second)) => isa.plain_end_of_two([first, second]),
                    _ => 0,
                }
            }
            // Longer than a number that is not long.
            _ if self.length > DIGIT_COUNT_MAX => return true,
            _ => self.window().map_or(usize::MAX, |window| isa.plain_end(window)),
        };
        plain_end >= self.length
    }

    /// The first sixteen bytes of the text, zeros behind a shorter one.
    #[inline(always)]
    pub(super) fn key(self, isa: impl Isa) -> u128 {
        match self.window() {
            Some(window) => isa.key(window, self.length.min(WINDOW)),
            None => pack(self.text()),
        }
    }

    /// How many bytes of the text stand behind the last of these among its first sixteen; 0 where there is none.
    #[inline(always)]
    pub(super) fn length_behind(self, isa: impl Isa, byte: u8) -> usize {
        let marks = self.window().map_or(0, |window| isa.marks(window, byte));
        let start = u32::BITS - marks.leading_zeros();
        if start == 0 { 0 } else { self.length.saturating_sub(start as usize) }
    }

    /// Its text.
    #[inline(always)]
    pub(super) fn text(self) -> &'a [u8] {
        // SAFETY: by the invariant they are there.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// A price at `scale` decimals: exactly [`parse_fixed`], sooner.
    ///
    /// # Errors
    /// Those of [`parse_fixed`].
    #[inline(always)]
    pub(super) fn grid(self, isa: impl Isa, scale: u8) -> Result<i64, ValueError> {
        match self.common_grid(isa, scale) {
            Some(mantissa) => Ok(mantissa),
            None => isa.run(&mut OtherGrid { number: self, scale, is_unsigned: false }),
        }
    }

    /// A quantity at `scale` decimals: as [`Self::grid`], and never below zero.
    ///
    /// # Errors
    /// Those of [`parse_fixed`]; the sign of what is below zero is not a number's.
    #[inline(always)]
    pub(super) fn unsigned_grid(self, isa: impl Isa, scale: u8) -> Result<i64, ValueError> {
        match self.common_grid(isa, scale) {
            Some(mantissa) => Ok(mantissa),
            None => isa.run(&mut OtherGrid { number: self, scale, is_unsigned: true }),
        }
    }

    /// [`Self::grid`] of a price and [`Self::unsigned_grid`] of a quantity, at these scales of theirs.
    ///
    /// # Errors
    /// The price's, with 0; or the quantity's, with 1.
    #[inline(always)]
    pub(super) fn grids(numbers: [Self; 2], isa: impl Isa, scales: (u8, u8)) -> Result<[i64; 2], (usize, ValueError)> {
        if let Some((windows, ends)) = Self::digits_of_both(numbers)
            && let Some(mantissas) = isa.grids(windows, ends, scales)
        {
            return Ok(mantissas);
        }
        isa.run(&mut OtherGrids { numbers, scales })
    }

    /// What the quick way makes of it: it takes no sign, so this is never below zero.
    #[inline(always)]
    fn common_grid(self, isa: impl Isa, scale: u8) -> Option<i64> {
        isa.grid(self.digits()?, self.ends(), scale)
    }

    /// A value with its own scale, to be written where it stays: exactly [`Decimal::parse`], sooner.
    ///
    /// # Errors
    /// Those of [`Decimal::parse`]; what was in its place is there then.
    #[inline(always)]
    pub(super) fn decimal(self, isa: impl Isa, place: &mut Decimal) -> Result<(), ValueError> {
        if let Some(window) = self.digits()
            && let Some((mantissa, scale)) = isa.decimal(window, self.ends())
        {
            *place = Decimal::new(i128::from(mantissa), scale);
            return Ok(());
        }
        isa.run(&mut OtherDecimal { number: self, place })
    }

    /// [`Self::decimal`] of two.
    ///
    /// # Errors
    /// The first one's, with 0; or the second one's, with 1.
    #[inline(always)]
    pub(super) fn decimals(
        numbers: [Self; 2],
        isa: impl Isa,
        places: [&mut Decimal; 2],
    ) -> Result<(), (usize, ValueError)> {
        if let Some((windows, ends)) = Self::digits_of_both(numbers)
            && let Some(mantissas) = isa.decimals(windows, ends)
        {
            for (place, (mantissa, scale)) in places.into_iter().zip(mantissas) {
                *place = Decimal::new(i128::from(mantissa), scale);
            }
            return Ok(());
        }
        isa.run(&mut OtherDecimals { numbers, places })
    }

    /// An integer: exactly [`parse_uint`], sooner.
    #[inline(always)]
    pub(super) fn uint(self, isa: impl Isa) -> Option<u64> {
        if let Some(window) = self.digits()
            && let (value, digit_count) = isa.uint(window)
            && digit_count == self.length
        {
            return Some(value);
        }
        parse_uint(self.text())
    }

    /// Its parts, each read in a window of its own, so that it may be longer than a window has digits, or below zero. `None` where it
    /// is not of that form, which is no error.
    #[inline(always)]
    fn parts(self, isa: impl Isa) -> Option<Parts> {
        let windows = self.windows()?;
        let window = |at: usize| windows.get(at..)?.first_chunk();
        let is_negative = windows[0] == b'-';
        let start = usize::from(is_negative);
        let (whole, digit_count) = isa.uint(window(start)?);
        let point = start + digit_count;
        // The bytes behind the point's place are a window.
        if digit_count == 0 || point >= WINDOW {
            return None;
        }
        let (fraction, scale) = match self.length {
            end if end == point => (0, 0),
            _ if windows[point] == b'.' => isa.uint(window(point + 1)?),
            _ => return None,
        };
        let has_point = point != self.length;
        let is_whole = point + usize::from(has_point) + scale == self.length;
        (is_whole && scale < WINDOW && (scale != 0) == has_point).then_some(Parts {
            is_negative,
            whole,
            fraction,
            scale,
        })
    }
}

/// The digits before a number's point and behind it, as two integers of fifteen digits at most.
struct Parts {
    is_negative: bool,
    whole: u64,
    fraction: u64,
    /// Digits behind the point.
    scale: usize,
}

impl Parts {
    /// With every decimal that it has.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "fewer decimals than a window has bytes")]
    fn decimal(&self) -> Decimal {
        let digits = i128::from(self.whole) * i128::from(TENS[self.scale]) + i128::from(self.fraction);
        Decimal::new(if self.is_negative { -digits } else { digits }, self.scale as u8)
    }

    /// At `scale` decimals; `None` where it is not exact or too large, which others say.
    #[inline(always)]
    fn grid(&self, scale: u8) -> Option<i64> {
        let scale = usize::from(scale);
        let fraction = if scale >= self.scale {
            self.fraction.checked_mul(*TENS.get(scale - self.scale)?)?
        } else {
            let excess = TENS[self.scale - scale];
            if !self.fraction.is_multiple_of(excess) {
                return None;
            }
            self.fraction / excess
        };
        let digits = self.whole.checked_mul(*TENS.get(scale)?)?.checked_add(fraction)?;
        let digits = i64::try_from(digits).ok()?;
        Some(if self.is_negative { -digits } else { digits })
    }
}

/// Powers of ten.
const TENS: [u64; 20] = {
    let mut tens = [1; 20];
    let mut at = 1;
    while at < tens.len() {
        tens[at] = 10 * tens[at - 1];
        at += 1;
    }
    tens
};

/// A price or a quantity that the quick way did not take: out of line, and compiled for the reader's instructions.
struct OtherGrid<'a> {
    number: Number<'a>,
    scale: u8,
    is_unsigned: bool,
}

impl Work for OtherGrid<'_> {
    type Output = Result<i64, ValueError>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, isa: I) -> Self::Output {
        let Self { number, scale, is_unsigned } = *self;
        match number.parts(isa).and_then(|parts| parts.grid(scale)) {
            Some(mantissa) if mantissa >= 0 || !is_unsigned => Ok(mantissa),
            _ if is_unsigned => parse_unsigned(number.text(), scale),
            _ => parse_unread(number.text(), scale),
        }
    }
}

/// A price and a quantity of which the quick way did not take both.
struct OtherGrids<'a> {
    numbers: [Number<'a>; 2],
    scales: (u8, u8),
}

impl Work for OtherGrids<'_> {
    type Output = Result<[i64; 2], (usize, ValueError)>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, isa: I) -> Self::Output {
        let [price, qty] = self.numbers;
        let price = price.grid(isa, self.scales.0).map_err(|error| (0, error))?;
        Ok([price, qty.unsigned_grid(isa, self.scales.1).map_err(|error| (1, error))?])
    }
}

/// A value with its own scale that the quick way did not take.
struct OtherDecimal<'p, 'a> {
    number: Number<'a>,
    place: &'p mut Decimal,
}

impl Work for OtherDecimal<'_, '_> {
    type Output = Result<(), ValueError>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, isa: I) -> Self::Output {
        match self.number.parts(isa) {
            Some(parts) => {
                *self.place = parts.decimal();
                Ok(())
            }
            None => parse_decimal(self.number.text(), self.place),
        }
    }
}

/// Two values of which the quick way did not take both.
struct OtherDecimals<'p, 'a> {
    numbers: [Number<'a>; 2],
    places: [&'p mut Decimal; 2],
}

impl Work for OtherDecimals<'_, '_> {
    type Output = Result<(), (usize, ValueError)>;

    #[inline(always)]
    fn run<I: Isa>(&mut self, isa: I) -> Self::Output {
        let Self { numbers: [first, second], places: [first_place, second_place] } = self;
        first.decimal(isa, first_place).map_err(|error| (0, error))?;
        second.decimal(isa, second_place).map_err(|error| (1, error))
    }
}

/// Out of line, as [`parse_unread`].
#[inline(never)]
fn parse_decimal(text: &[u8], place: &mut Decimal) -> Result<(), ValueError> {
    *place = Decimal::parse(text)?;
    Ok(())
}

/// Out of line: a number of tier one comes here only where its window says nothing.
#[inline(never)]
fn parse_unread(text: &[u8], scale: u8) -> Result<i64, ValueError> {
    parse_grid(text, scale)
}

/// Out of line, as [`parse_unread`].
#[inline(never)]
fn parse_unsigned(text: &[u8], scale: u8) -> Result<i64, ValueError> {
    match parse_grid(text, scale)? {
        ..0 => Err(ValueError::NotANumber { byte: b'-', at: 0 }),
        mantissa => Ok(mantissa),
    }
}

/// Reads a price's or quantity's text at `scale` decimals: exactly [`parse_fixed`], sooner.
///
/// # Errors
/// Those of [`parse_fixed`].
#[inline(always)]
fn parse_grid(text: &[u8], scale: u8) -> Result<i64, ValueError> {
    if text.len() <= DIGIT_COUNT_MAX {
        let window = pack(text).to_le_bytes();
        let ends = Portable.number_ends(&window);
        if ends.end == text.len()
            && let Some(mantissa) = Portable.grid(&window, ends, scale)
        {
            return Ok(mantissa);
        }
    }
    parse_rare(text, scale)
}

#[cold]
#[inline(never)]
fn parse_rare(text: &[u8], scale: u8) -> Result<i64, ValueError> {
    parse_fixed(text, scale)
}

/// Reads an unsigned integer of decimal digits only.
#[inline]
pub(super) fn parse_uint(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    let (few, eights) = text.as_rchunks();
    let mut value = 0_u64;
    for &byte in few {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = 10 * value + u64::from(digit);
    }
    for &eight in eights {
        value = value.checked_mul(100_000_000)?.checked_add(eight_digits(u64::from_le_bytes(eight))?)?;
    }
    Some(value)
}

/// The value of eight decimal digits, the first in the lowest byte.
#[inline]
fn eight_digits(word: u64) -> Option<u64> {
    // What differs from a zero's digit in a high bit, or does so six further up, is none. No byte carries into the next one.
    let values = word ^ each(b'0');
    if (values | ((values & each(0x7f)) + each(6))) & each(0xf0) != 0 {
        return None;
    }
    // Neighbours become one number, three times; products wrap where nothing is kept.
    let twos = (values.wrapping_mul(1 + (10 << 8)) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos.wrapping_mul(1 + (100 << 16)) >> 16) & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(1 + (10_000 << 32)) >> 32)
}

/// Bytes of a UUID's text.
pub(super) const UUID_BYTES: usize = 36;

/// A trade's identity from the venue's text: digits are a number, a UUID its 128 bits, anything else its FNV-1a hash.
/// A number with a leading zero is text: `01` and `1` are two ids.
#[inline(always)]
pub(super) fn trade_id(isa: impl Isa, text: &[u8]) -> TradeId {
    if let Some(uuid) = text.try_into().ok().and_then(|text| isa.uuid(text)) {
        return TradeId::Uuid(Uuid::from_bits(uuid));
    }
    match parse_uint(text) {
        Some(number) if text[0] != b'0' || text.len() == 1 => TradeId::Number(number),
        _ => TradeId::Hash(fnv1a(text)),
    }
}

/// FNV-1a, 64 bits. Source: IETF draft-eastlake-fnv.
fn fnv1a(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The 128 bits of `8-4-4-4-12` hexadecimal text (RFC 9562 section 4).
#[inline]
pub(super) fn uuid(text: &[u8; UUID_BYTES]) -> Option<u128> {
    if [text[8], text[13], text[18], text[23]] != [b'-'; 4] {
        return None;
    }
    let word = |a: usize, b: usize| {
        let half = |at: usize| u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]);
        eight_hex(u64::from(half(a)) | u64::from(half(b)) << 32)
    };
    let [a, b, c, d] = [word(0, 4)?, word(9, 14)?, word(19, 24)?, word(28, 32)?];
    Some(u128::from(a) << 96 | u128::from(b) << 64 | u128::from(c) << 32 | u128::from(d))
}

/// The value of eight hexadecimal digits, the first in the lowest byte.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the value was gathered into the low 32 bits")]
fn eight_hex(word: u64) -> Option<u32> {
    if word & each(0x80) != 0 {
        return None;
    }
    // Sums set a byte's top bit from the bound upwards; no byte carries, because none has its own top bit.
    let is_digit = (word + each(0x80 - b'0')) & !(word + each(0x80 - b':'));
    let lower = word | each(0x20);
    let is_letter = (lower + each(0x80 - b'a')) & !(lower + each(0x80 - b'g'));
    if (is_digit | is_letter) & each(0x80) != each(0x80) {
        return None;
    }
    let nibbles = (word & each(0x0f)) + 9 * ((word >> 6) & each(1));
    let bytes = ((nibbles << 4) | (nibbles >> 8)) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    Some(((halves | halves >> 16) as u32).swap_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_means_the_same_whichever_way_it_is_read() {
        for text in
            ["0", "1", "12.5", "61837.63000000", "0.00000001", "99999999.99999999", "123456789012345.1", "1.", ".1"]
        {
            for scale in 0..=18 {
                assert_eq!(
                    Number::unread(text.as_bytes()).grid(Portable, scale),
                    parse_fixed(text.as_bytes(), scale),
                    "{text} at {scale}"
                );
            }
        }
    }

    #[test]
    fn a_quantity_below_zero_is_none() {
        let quantity = |text: &str| Number::unread(text.as_bytes()).unsigned_grid(Portable, 3);
        assert_eq!((quantity("1.5"), quantity("0"), quantity("-0.000")), (Ok(1_500), Ok(0), Ok(0)));
        for text in ["-1", "-0.001", "-99999999999999.5"] {
            assert_eq!(quantity(text), Err(ValueError::NotANumber { byte: b'-', at: 0 }), "{text}");
            assert!(Number::unread(text.as_bytes()).grid(Portable, 3).is_ok(), "a price may be");
        }
        assert_eq!(quantity("-0.0001"), Err(ValueError::OffGrid { scale: 3 }));
    }

    #[test]
    fn an_id_is_a_number_a_uuid_or_a_hash() {
        assert_eq!(trade_id(Portable, b"2290000001189048101"), TradeId::Number(2_290_000_001_189_048_101));
        assert_eq!(
            trade_id(Portable, b"a9188a0a-82bc-50de-be60-03eedbe3cdd7"),
            TradeId::Uuid(Uuid::from_bits(0xa918_8a0a_82bc_50de_be60_03ee_dbe3_cdd7))
        );
        assert_eq!(
            trade_id(Portable, b"a9188a0a-82bc-50de-be60-03eedbe3cdg7"),
            TradeId::Hash(fnv1a(b"a9188a0a-82bc-50de-be60-03eedbe3cdg7"))
        );
        assert_eq!(trade_id(Portable, b"a"), TradeId::Hash(0xaf63_dc4c_8601_ec8c), "the published FNV-1a vector");
        assert_eq!(trade_id(Portable, b""), TradeId::Hash(0xcbf2_9ce4_8422_2325));
        assert!(matches!(trade_id(Portable, b"99999999999999999999"), TradeId::Hash(_)), "leaves a u64");
        assert_ne!(trade_id(Portable, b"01"), trade_id(Portable, b"1"));
    }

    proptest! {
        #[test]
        fn grid_numbers_agree_with_the_plain_parser(text in "-?[0-9]{0,18}(\\.[0-9]{0,12})?0{0,6}", scale in 0_u8..=18) {
            prop_assert_eq!(Number::unread(text.as_bytes()).grid(Portable, scale), parse_fixed(text.as_bytes(), scale));
        }

        #[test]
        fn common_prices_agree_with_the_plain_parser(whole in 0_u64..1_000_000_000, decimals in "[0-9]{1,8}", scale in 0_u8..=9) {
            let text = format!("{whole}.{decimals}");
            prop_assert_eq!(Number::unread(text.as_bytes()).grid(Portable, scale), parse_fixed(text.as_bytes(), scale));
        }

        #[test]
        fn any_bytes_agree_with_the_plain_parser(text in proptest::collection::vec(prop_oneof![any::<u8>(), b'0'..=b'9', Just(b'.'), Just(b'-')], 0..24), scale in 0_u8..=18) {
            prop_assert_eq!(Number::unread(&text).grid(Portable, scale), parse_fixed(&text, scale));
        }

        #[test]
        fn an_unsigned_integer_agrees_with_the_standard_library(digits in "[0-9]{0,22}", at in any::<prop::sample::Index>(), byte in any::<u8>(), is_changed in any::<bool>()) {
            let mut text = digits.into_bytes();
            if is_changed && !text.is_empty() {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let expected = std::str::from_utf8(&text).ok().filter(|text| text.len() <= 20 && !text.starts_with('+'));
            prop_assert_eq!(parse_uint(&text), expected.and_then(|text| text.parse().ok()));
        }

        #[test]
        fn eight_hexadecimal_digits_agree_with_the_standard_library(text in "[0-9a-fA-F]{7}[ -~]") {
            let word = u64::from_le_bytes(text.as_bytes().try_into().unwrap());
            let expected = if text.starts_with('+') { None } else { u32::from_str_radix(&text, 16).ok() };
            prop_assert_eq!(eight_hex(word), expected);
        }
    }
}
