//! Numbers out of text, eight bytes at a time. Used by both tiers; called several times per message.
//!
//! ```text
//! "61837.63"   ^ 0x30 ..   ->  digit values, first digit in the lowest byte   digit_count: how many lead
//! 61837 << 24              ->  right-aligned, zeros in front                  three multiplications: the value
//! ```
//! Plain `u64` arithmetic inside one register: no `unsafe`, no read behind the slice. What the quick way does not take
//! goes to [`parse_fixed`], which alone decides what is an error.

use crate::market::{TradeId, ValueError, parse_fixed};

/// A byte in every byte of a word.
const fn each(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

const POWERS_OF_TEN: [u64; 19] = {
    let mut powers = [1; 19];
    let mut at = 1;
    while at < 19 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// How many bytes from the start of the word are digits: 0 to 8.
#[inline(always)]
pub(super) fn digit_count(word: u64) -> usize {
    let values = word ^ each(b'0');
    // A value of ten or more carries into the top bit of its byte; the mask keeps it from the next byte.
    let others = (((values & each(0x7f)) + each(0x76)) | values) & each(0x80);
    (others.trailing_zeros() / 8) as usize
}

/// The value of the first `count` bytes of a word, which are digits.
#[inline(always)]
pub(super) fn leading_digits(word: u64, count: usize) -> u64 {
    debug_assert!(count <= 8 && digit_count(word) >= count);
    leading_values(word ^ each(b'0'), count)
}

/// The number that the first `count` digit values of a word make.
#[inline(always)]
fn leading_values(values: u64, count: usize) -> u64 {
    if count == 0 {
        return 0;
    }
    // Shifting puts zeros where more significant digits would stand.
    let values = values << (64 - 8 * count);
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let upper = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let lower = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    upper.wrapping_add(lower) >> 32
}

/// `value * 10^count + digits`, for the next `count` digits of a number of at most 19 digits.
#[inline(always)]
pub(super) fn append(value: u64, digits: u64, count: usize) -> u64 {
    value.wrapping_mul(POWERS_OF_TEN[count]).wrapping_add(digits)
}

/// The eight bytes at `at`, zeros behind the end of the text.
#[inline(always)]
pub(super) fn load(text: &[u8], at: usize) -> u64 {
    match text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => load_end(text, at),
    }
}

/// [`load`] less than eight bytes before the end.
#[inline(never)]
fn load_end(text: &[u8], at: usize) -> u64 {
    if at >= text.len() {
        return 0;
    }
    match text.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last) >> (8 * (at + 8 - text.len())),
        None => load_short(text) >> (8 * at),
    }
}

/// A text of fewer than eight bytes as one word.
#[inline(always)]
fn load_short(text: &[u8]) -> u64 {
    match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        // The two loads overlap where the text is shorter than eight bytes; both say the same there.
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (text.len() - 4))
        }
        _ => text.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// The digits of an unsigned number with at most 15 of them before the point and 8 behind it, before its scale is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits {
    /// What stands before the point.
    whole: u64,
    /// The values of the digits behind it, one a byte, the first in the lowest; zeros behind the last.
    decimals: u64,
}

impl Digits {
    /// Not read. No scale makes an `i64` of it.
    const UNREAD: Self = Self { whole: u64::MAX, decimals: 0 };

    /// The number at the front of a text, and its length in bytes. `None` is "not the common form", not an error; what
    /// stands behind the length is the caller's to judge.
    #[inline(always)]
    pub(super) fn read(text: &[u8]) -> Option<(Self, usize)> {
        let mut word = load(text, 0);
        let mut count = digit_count(word);
        let mut whole = leading_digits(word, count);
        let mut length = count;
        if count == 8 {
            word = load(text, 8);
            count = digit_count(word);
            if count == 8 {
                return None;
            }
            whole = append(whole, leading_digits(word, count), count);
            length += count;
        }
        if length == 0 {
            return None;
        }
        if (word >> (8 * count)) & 0xff != u64::from(b'.') {
            return Some((Self { whole, decimals: 0 }, length));
        }
        let word = load(text, length + 1);
        let count = digit_count(word);
        if count == 0 {
            return None;
        }
        let decimals = (word ^ each(b'0')) & (u64::MAX >> (64 - 8 * count));
        Some((Self { whole, decimals }, length + 1 + count))
    }

    /// The mantissa at `scale` decimals, if it is exact and fits.
    #[inline(always)]
    fn grid(self, scale: usize) -> Option<i64> {
        let scaled = self.whole.checked_mul(*POWERS_OF_TEN.get(scale)?)?;
        let kept = scale.min(8);
        if kept < 8 && self.decimals >> (8 * kept) != 0 {
            return None;
        }
        let fraction = leading_values(self.decimals, kept) * POWERS_OF_TEN[scale - kept];
        i64::try_from(scaled.checked_add(fraction)?).ok()
    }
}

/// A number's text, with its digits where whoever found its end had read them already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a> {
    pub(super) text: &'a [u8],
    digits: Digits,
}

impl<'a> Number<'a> {
    /// Of a text that consists of these digits.
    #[inline(always)]
    pub(super) fn new(text: &'a [u8], digits: Digits) -> Self {
        Self { text, digits }
    }

    /// Of a text that nobody has read.
    #[inline(always)]
    pub(super) const fn unread(text: &'a [u8]) -> Self {
        Self { text, digits: Digits::UNREAD }
    }

    /// A price or quantity at `scale` decimals: exactly [`parse_fixed`], sooner.
    ///
    /// # Errors
    /// Those of [`parse_fixed`].
    #[inline(always)]
    pub(super) fn grid(self, scale: u8) -> Result<i64, ValueError> {
        match self.digits.grid(usize::from(scale)) {
            Some(mantissa) => Ok(mantissa),
            None => parse_unread(self.text, scale),
        }
    }
}

/// Out of line: a number of tier one comes here only where its digits say nothing.
#[inline(never)]
fn parse_unread(text: &[u8], scale: u8) -> Result<i64, ValueError> {
    parse_grid(text, scale)
}

/// Reads a price's or quantity's text at `scale` decimals: exactly [`parse_fixed`], sooner.
///
/// # Errors
/// Those of [`parse_fixed`].
#[inline(always)]
pub(super) fn parse_grid(text: &[u8], scale: u8) -> Result<i64, ValueError> {
    if let Some((digits, length)) = Digits::read(text)
        && length == text.len()
        && let Some(mantissa) = digits.grid(usize::from(scale))
    {
        return Ok(mantissa);
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
    let mut value = 0_u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// A trade's identity from the venue's text: digits are a number, a UUID its 128 bits, anything else its FNV-1a hash.
/// A number with a leading zero is text: `01` and `1` are two ids.
#[inline]
pub(super) fn trade_id(text: &[u8]) -> TradeId {
    if let Some(uuid) = uuid(text) {
        return TradeId::Uuid(uuid);
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
fn uuid(text: &[u8]) -> Option<u128> {
    let text: &[u8; 36] = text.try_into().ok()?;
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
                    Number::unread(text.as_bytes()).grid(scale),
                    parse_fixed(text.as_bytes(), scale),
                    "{text} at {scale}"
                );
            }
        }
    }

    #[test]
    fn an_id_is_a_number_a_uuid_or_a_hash() {
        assert_eq!(trade_id(b"2290000001189048101"), TradeId::Number(2_290_000_001_189_048_101));
        assert_eq!(
            trade_id(b"a9188a0a-82bc-50de-be60-03eedbe3cdd7"),
            TradeId::Uuid(0xa918_8a0a_82bc_50de_be60_03ee_dbe3_cdd7)
        );
        assert_eq!(
            trade_id(b"a9188a0a-82bc-50de-be60-03eedbe3cdg7"),
            TradeId::Hash(fnv1a(b"a9188a0a-82bc-50de-be60-03eedbe3cdg7"))
        );
        assert_eq!(trade_id(b"a"), TradeId::Hash(0xaf63_dc4c_8601_ec8c), "the published FNV-1a vector");
        assert_eq!(trade_id(b""), TradeId::Hash(0xcbf2_9ce4_8422_2325));
        assert!(matches!(trade_id(b"99999999999999999999"), TradeId::Hash(_)), "leaves a u64");
        assert_ne!(trade_id(b"01"), trade_id(b"1"));
    }

    proptest! {
        #[test]
        fn grid_numbers_agree_with_the_plain_parser(text in "-?[0-9]{0,18}(\\.[0-9]{0,12})?0{0,6}", scale in 0_u8..=18) {
            prop_assert_eq!(Number::unread(text.as_bytes()).grid(scale), parse_fixed(text.as_bytes(), scale));
        }

        #[test]
        fn common_prices_agree_with_the_plain_parser(whole in 0_u64..1_000_000_000, decimals in "[0-9]{1,8}", scale in 0_u8..=9) {
            let text = format!("{whole}.{decimals}");
            prop_assert_eq!(Number::unread(text.as_bytes()).grid(scale), parse_fixed(text.as_bytes(), scale));
        }

        #[test]
        fn any_bytes_agree_with_the_plain_parser(text in proptest::collection::vec(prop_oneof![any::<u8>(), b'0'..=b'9', Just(b'.'), Just(b'-')], 0..24), scale in 0_u8..=18) {
            prop_assert_eq!(Number::unread(&text).grid(scale), parse_fixed(&text, scale));
        }

        #[test]
        fn eight_hexadecimal_digits_agree_with_the_standard_library(text in "[0-9a-fA-F]{7}[ -~]") {
            let word = u64::from_le_bytes(text.as_bytes().try_into().unwrap());
            let expected = if text.starts_with('+') { None } else { u32::from_str_radix(&text, 16).ok() };
            prop_assert_eq!(eight_hex(word), expected);
        }

        #[test]
        fn leading_digits_agree_with_the_standard_library(text in "[0-9]{0,8}", tail in "[^0-9]{8}") {
            let bytes: Vec<u8> = text.bytes().chain(tail.bytes()).take(8).collect();
            let word = u64::from_le_bytes(bytes.try_into().unwrap());
            prop_assert_eq!(digit_count(word), text.len());
            prop_assert_eq!(leading_digits(word, text.len()), text.parse().unwrap_or(0));
        }
    }
}
