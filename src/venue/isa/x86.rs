//! The questions answered with SSE4.1; with AVX-512 too, but for lists of levels ([`avx512`]). Where that is here the same walk
//! is compiled for AVX2, whose instructions have three operands and take two windows at a time: compiled for AVX-512 it is no
//! sooner.
//!
//! ```text
//! "61837.63",...   where is the first point, where the first quote?
//! - '0', shuffle by (point + scale)  ─► right-aligned, point taken out, zeros in front
//!                                    ─► none above nine? ─► 16 digits, pairwise: the value
//! ```
//! Shuffle controls and masks are cut out of two short tables at the right offset: one load each.

use super::super::levels::{Listing, forward};
use super::super::number::UUID_BYTES;
use super::avx512;
use super::{DIGIT_COUNT_MAX, Isa, NumberEnds, TIME_DIGITS, WINDOW, Work};
use crate::market::Level;
use std::arch::x86_64::{
    __m128i, __m256i, _MM_HINT_T0, _mm_add_epi8, _mm_and_si128, _mm_andnot_si128, _mm_blend_epi16, _mm_blendv_epi8,
    _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_madd_epi16, _mm_maddubs_epi16,
    _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_packus_epi16, _mm_packus_epi32, _mm_prefetch, _mm_set1_epi8,
    _mm_set1_epi16, _mm_set1_epi32, _mm_shuffle_epi8, _mm_slli_si128, _mm_sub_epi8, _mm_subs_epu8, _mm_testz_si128,
    _mm_xor_si128, _mm256_add_epi8, _mm256_add_epi64, _mm256_and_si256, _mm256_andnot_si256, _mm256_castsi128_si256,
    _mm256_castsi256_si128, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_extracti128_si256, _mm256_inserti128_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_movemask_epi8, _mm256_mul_epu32, _mm256_or_si256,
    _mm256_packus_epi32, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_epi64x,
    _mm256_shuffle_epi8, _mm256_srli_epi64, _mm256_sub_epi8, _mm256_subs_epu8, _mm256_testz_si256,
};

/// The CPU has SSE4.1.
#[derive(Clone, Copy, Debug)]
pub(in crate::venue) struct Sse41(());

/// The CPU has what [`super::Cpu::Avx512`] names, AVX2 among it, and SSE4.1.
#[derive(Clone, Copy, Debug)]
pub(in crate::venue) struct Avx512(Sse41);

impl Sse41 {
    /// The proof, if the CPU has it.
    pub(in crate::venue) fn new() -> Option<Self> {
        is_x86_feature_detected!("sse4.1").then_some(Self(()))
    }

    #[inline(always)]
    fn read_levels(self, padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing> {
        // SAFETY: `self` proves that the CPU has SSE4.1.
        unsafe { levels_sse41(self, padded, scales, levels) }
    }
}

impl Avx512 {
    /// The proof, if the CPU has it.
    pub(in crate::venue) fn new() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("avx512bitalg")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        Sse41::new().filter(|_| has_all).map(Self)
    }

    #[inline(always)]
    fn read_levels(self, padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing> {
        // SAFETY: `self` proves that the CPU has what it is compiled for.
        unsafe { avx512::levels(self, padded, scales, levels) }
    }
}

#[inline(never)]
#[target_feature(enable = "sse4.1")]
fn run<W: Work, I: Isa>(work: &mut W, isa: I) -> W::Output {
    work.run(isa)
}

/// Three operands an instruction instead of two, so nothing is copied before it is changed.
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run_avx2<W: Work, I: Isa>(work: &mut W, isa: I) -> W::Output {
    work.run(isa)
}

#[inline(never)]
#[target_feature(enable = "sse4.1")]
fn levels_sse41(isa: Sse41, padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing> {
    forward(isa, padded, scales, levels)
}

/// Sixteen of them from `16 + n` on are `n, n + 1, ...`.
const STEPS: [u8; 48] = table(0);

/// Sixteen of them from `16 - n` on: all bits in the first `n`.
const FIRST: [u8; 48] = table(1);

/// Sixteen of them from `n` on: all bits in the last `n`.
const LAST: [u8; 48] = table(2);

const fn table(which: u8) -> [u8; 48] {
    let mut table = [0; 48];
    let mut at = 0_u8;
    while at < 48 {
        table[at as usize] = match which {
            0 => at.wrapping_sub(16),
            1 if at < 16 => 0xff,
            2 if at >= 16 => 0xff,
            _ => 0,
        };
        at += 1;
    }
    table
}

/// Sixteen bytes of a table from `at` on. The mask lets the compiler see that they are there.
#[inline(always)]
fn cut(table: &[u8; 48], at: usize) -> &[u8; WINDOW] {
    debug_assert!(at < 32);
    table[at & 31..].first_chunk().expect("the mask keeps it inside")
}

/// What stands in a window.
#[inline(always)]
fn load(_: Sse41, window: &[u8; WINDOW]) -> __m128i {
    // SAFETY: the sixteen bytes are there, and the load asks for no alignment.
    unsafe { _mm_loadu_si128(window.as_ptr().cast()) }
}

/// A byte in every byte.
#[inline(always)]
fn each(_: Sse41, byte: u8) -> __m128i {
    // SAFETY: the CPU has it.
    unsafe { _mm_set1_epi8(byte.cast_signed()) }
}

/// One bit for each byte that has its top bit set.
#[inline(always)]
fn bits(_: Sse41, marks: __m128i) -> u32 {
    // SAFETY: the CPU has it.
    unsafe { _mm_movemask_epi8(marks) }.cast_unsigned()
}

/// One bit for each byte that is this one.
#[inline(always)]
fn bits_of(isa: Sse41, window: __m128i, byte: u8) -> u32 {
    // SAFETY: the CPU has it.
    bits(isa, unsafe { _mm_cmpeq_epi8(window, each(isa, byte)) })
}

/// Asks for the line that this begins in. Needs no proof: the hint is of SSE, which every x86-64 has.
#[inline(always)]
pub(super) fn fetch<T>(place: *const T) {
    // SAFETY: the CPU has it, and a prefetch never faults, wherever it points.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
}

/// All bits of each byte that no plain string has, the quote that ends it among them.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has SSE4.1")]
fn not_plain(isa: Sse41, window: &[u8; WINDOW]) -> __m128i {
    let window = load(isa, window);
    // SAFETY: the CPU has it. As signed bytes, what is not ASCII lies below the space too.
    unsafe {
        let quotes = _mm_cmpeq_epi8(window, each(isa, b'"'));
        let backslashes = _mm_cmpeq_epi8(window, each(isa, b'\\'));
        _mm_or_si128(_mm_or_si128(quotes, backslashes), _mm_cmplt_epi8(window, each(isa, b' ')))
    }
}

/// Digit values; what is no digit becomes something above nine.
#[inline(always)]
fn values(isa: Sse41, window: __m128i) -> __m128i {
    // SAFETY: the CPU has it.
    unsafe { _mm_sub_epi8(window, each(isa, b'0')) }
}

/// One bit for each byte that is no digit, and all behind them.
#[inline(always)]
fn others(isa: Sse41, values: __m128i) -> u32 {
    // SAFETY: the CPU has it.
    let at_most_nine = unsafe { _mm_min_epu8(values, each(isa, 9)) };
    // SAFETY: the CPU has it.
    !bits(isa, unsafe { _mm_cmpeq_epi8(at_most_nine, values) })
}

#[inline(always)]
fn quoted_ends(isa: Sse41, window: &[u8; WINDOW]) -> NumberEnds {
    let window = load(isa, window);
    let quotes = bits_of(isa, window, b'"');
    let marks = bits_of(isa, window, b'.') | quotes;
    NumberEnds { whole: marks.trailing_zeros() as usize, end: quotes.trailing_zeros() as usize }
}

/// The number that sixteen digit values make, the first in the lowest byte.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has SSE4.1")]
fn sixteen(_: Sse41, values: __m128i) -> u64 {
    // SAFETY: the CPU has it.
    let eights = unsafe {
        let twos = _mm_maddubs_epi16(values, _mm_set1_epi16(0x010a));
        let fours = _mm_madd_epi16(twos, _mm_set1_epi32(0x0001_0064));
        _mm_madd_epi16(_mm_packus_epi32(fours, fours), _mm_set1_epi32(0x0001_2710))
    };
    // SAFETY: as above.
    let both = unsafe { _mm_cvtsi128_si64(eights) }.cast_unsigned();
    (both & 0xffff_ffff) * 100_000_000 + (both >> 32)
}

#[inline(always)]
fn uint(isa: Sse41, window: &[u8; WINDOW]) -> (u64, usize) {
    let values = values(isa, load(isa, window));
    let length = others(isa, values).trailing_zeros() as usize;
    // Bytes before the first get a control below zero, which makes zeros.
    let control = load(isa, cut(&STEPS, length));
    // SAFETY: the CPU has it.
    (sixteen(isa, unsafe { _mm_shuffle_epi8(values, control) }), length)
}

/// Bytes that a time leaves in a window.
const TIME_SHIFT: i32 = 3;
const _: () = assert!(TIME_DIGITS + TIME_SHIFT.unsigned_abs() as usize == WINDOW);

#[inline(always)]
fn time(isa: Sse41, window: &[u8; WINDOW]) -> Option<u64> {
    let values = values(isa, load(isa, window));
    if others(isa, values) & ((2 << TIME_DIGITS) - 1) != 1 << TIME_DIGITS || window[0] == b'0' {
        return None;
    }
    // Right-aligned: what stands behind is shifted out, and zeros come in front.
    // SAFETY: the CPU has it.
    Some(sixteen(isa, unsafe { _mm_slli_si128::<TIME_SHIFT>(values) }))
}

#[inline(always)]
fn grid(isa: Sse41, window: &[u8; WINDOW], ends: NumberEnds, scale: u8) -> Option<i64> {
    let kept = ends.whole + usize::from(scale);
    if kept > DIGIT_COUNT_MAX || ends.whole == 0 || ends.end - ends.whole == 1 {
        return None;
    }
    let number = load(isa, cut(&FIRST, WINDOW - ends.end));
    // SAFETY: the CPU has it.
    let values = unsafe { _mm_and_si128(values(isa, load(isa, window)), number) };
    // Where each digit comes from: all are moved up to the window's end, those before the point one byte further.
    // SAFETY: the CPU has it.
    let control = unsafe { _mm_sub_epi8(load(isa, cut(&STEPS, kept)), load(isa, cut(&LAST, usize::from(scale)))) };
    // SAFETY: the CPU has it.
    let digits = unsafe { _mm_shuffle_epi8(values, control) };
    // What stands behind the last decimal of the scale must be zeros, and what is kept digits.
    let kept_bytes = load(isa, cut(&FIRST, DIGIT_COUNT_MAX - kept));
    // SAFETY: the CPU has it.
    let excess = unsafe { _mm_andnot_si128(kept_bytes, values) };
    // SAFETY: the CPU has it.
    let above_nine = unsafe { _mm_subs_epu8(digits, each(isa, 9)) };
    // SAFETY: the CPU has it.
    let wrong = unsafe { _mm_or_si128(excess, above_nine) };
    // SAFETY: the CPU has it.
    if unsafe { _mm_testz_si128(wrong, wrong) } == 0 {
        return None;
    }
    Some(sixteen(isa, digits).cast_signed())
}

/// All bits in the bytes before a number's decimals, once its digits are at the window's end. Asked for by how many bytes stand from
/// its point on, the point among them: one more than it has decimals, 0 without a point.
const BEFORE_DECIMALS: [[u8; WINDOW]; WINDOW] = {
    let mut tables = [[0; WINDOW]; WINDOW];
    let mut behind = 1;
    while behind < WINDOW {
        let mut at = 0;
        while at <= WINDOW - behind {
            tables[behind][at] = 0xff;
            at += 1;
        }
        behind += 1;
    }
    tables
};

/// [`grid`] where nothing stands behind the last decimal, so that nothing is to be cut away or looked at there: all bytes but the
/// point are moved to the window's end, and none from behind the number.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has SSE4.1")]
#[expect(clippy::cast_possible_truncation, reason = "fewer decimals than a window has bytes")]
fn decimal(isa: Sse41, window: &[u8; WINDOW], ends: NumberEnds) -> Option<(i64, u8)> {
    let behind = ends.end - ends.whole;
    if ends.whole == 0 || behind == 1 {
        return None;
    }
    let steps = load(isa, cut(&STEPS, ends.end));
    let before = load(isa, &BEFORE_DECIMALS[behind % WINDOW]);
    // SAFETY: the CPU has it.
    let (digits, above_nine) = unsafe {
        // What stands before the point moves one byte less.
        let digits = _mm_shuffle_epi8(values(isa, load(isa, window)), _mm_add_epi8(steps, before));
        (digits, _mm_subs_epu8(digits, each(isa, 9)))
    };
    // SAFETY: the CPU has it.
    if unsafe { _mm_testz_si128(above_nine, above_nine) } == 0 {
        return None;
    }
    Some((sixteen(isa, digits).cast_signed(), behind.saturating_sub(1) as u8))
}

/// What stands in two windows, the first one below.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has AVX2")]
fn load_both(isa: Avx512, [first, second]: [&[u8; WINDOW]; 2]) -> __m256i {
    // SAFETY: the CPU has it.
    unsafe { _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(isa.0, first)), load(isa.0, second)) }
}

/// [`grid`] of two numbers, each in its half of a register.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has AVX2")]
fn grids(isa: Avx512, windows: [&[u8; WINDOW]; 2], ends: [NumberEnds; 2], scales: (u8, u8)) -> Option<[i64; 2]> {
    let scales = [usize::from(scales.0), usize::from(scales.1)];
    let kept = [ends[0].whole + scales[0], ends[1].whole + scales[1]];
    for (ends, kept) in ends.into_iter().zip(kept) {
        if kept > DIGIT_COUNT_MAX || ends.whole == 0 || ends.end - ends.whole == 1 {
            return None;
        }
    }
    let number = load_both(isa, [cut(&FIRST, WINDOW - ends[0].end), cut(&FIRST, WINDOW - ends[1].end)]);
    let steps = load_both(isa, [cut(&STEPS, kept[0]), cut(&STEPS, kept[1])]);
    let decimals = load_both(isa, [cut(&LAST, scales[0]), cut(&LAST, scales[1])]);
    let kept_bytes = load_both(isa, [cut(&FIRST, DIGIT_COUNT_MAX - kept[0]), cut(&FIRST, DIGIT_COUNT_MAX - kept[1])]);
    // SAFETY: the CPU has it.
    let (digits, wrong) = unsafe {
        let values = _mm256_sub_epi8(load_both(isa, windows), _mm256_set1_epi8(b'0'.cast_signed()));
        let values = _mm256_and_si256(values, number);
        let digits = _mm256_shuffle_epi8(values, _mm256_sub_epi8(steps, decimals));
        let excess = _mm256_andnot_si256(kept_bytes, values);
        let above_nine = _mm256_subs_epu8(digits, _mm256_set1_epi8(9));
        (digits, _mm256_or_si256(excess, above_nine))
    };
    // SAFETY: as above.
    if unsafe { _mm256_testz_si256(wrong, wrong) } == 0 {
        return None;
    }
    Some(sixteens(isa, digits))
}

/// [`sixteen`] of two.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has AVX2")]
fn sixteens(_: Avx512, digits: __m256i) -> [i64; 2] {
    // SAFETY: the CPU has it.
    unsafe {
        let twos = _mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x010a));
        let fours = _mm256_madd_epi16(twos, _mm256_set1_epi32(0x0001_0064));
        let eights = _mm256_madd_epi16(_mm256_packus_epi32(fours, fours), _mm256_set1_epi32(0x0001_2710));
        let upper = _mm256_mul_epu32(eights, _mm256_set1_epi64x(100_000_000));
        let mantissas = _mm256_add_epi64(upper, _mm256_srli_epi64::<32>(eights));
        let second = _mm256_extracti128_si256::<1>(mantissas);
        [_mm_cvtsi128_si64(_mm256_castsi256_si128(mantissas)), _mm_cvtsi128_si64(second)]
    }
}

/// [`decimal`] of two numbers, each in its half of a register.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has AVX2")]
#[expect(clippy::cast_possible_truncation, reason = "fewer decimals than a window has bytes")]
fn decimals(isa: Avx512, windows: [&[u8; WINDOW]; 2], ends: [NumberEnds; 2]) -> Option<[(i64, u8); 2]> {
    let behind = [ends[0].end - ends[0].whole, ends[1].end - ends[1].whole];
    for (ends, behind) in ends.into_iter().zip(behind) {
        if ends.whole == 0 || behind == 1 {
            return None;
        }
    }
    let steps = load_both(isa, [cut(&STEPS, ends[0].end), cut(&STEPS, ends[1].end)]);
    let before = load_both(isa, [&BEFORE_DECIMALS[behind[0] % WINDOW], &BEFORE_DECIMALS[behind[1] % WINDOW]]);
    // SAFETY: the CPU has it.
    let (digits, above_nine) = unsafe {
        let values = _mm256_sub_epi8(load_both(isa, windows), _mm256_set1_epi8(b'0'.cast_signed()));
        let digits = _mm256_shuffle_epi8(values, _mm256_add_epi8(steps, before));
        (digits, _mm256_subs_epu8(digits, _mm256_set1_epi8(9)))
    };
    // SAFETY: as above.
    if unsafe { _mm256_testz_si256(above_nine, above_nine) } == 0 {
        return None;
    }
    let [first, second] = sixteens(isa, digits);
    let scales = behind.map(|behind| behind.saturating_sub(1) as u8);
    Some([(first, scales[0]), (second, scales[1])])
}

/// One bit for each byte of two windows that no plain string has, the first window's the lowest.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has AVX2")]
fn not_plain_of_both(isa: Avx512, windows: [&[u8; WINDOW]; 2]) -> u32 {
    let both = load_both(isa, windows);
    // SAFETY: the CPU has it. As signed bytes, what is not ASCII lies below the space too.
    unsafe {
        let quotes = _mm256_cmpeq_epi8(both, _mm256_set1_epi8(b'"'.cast_signed()));
        let backslashes = _mm256_cmpeq_epi8(both, _mm256_set1_epi8(b'\\'.cast_signed()));
        let low = _mm256_cmpgt_epi8(_mm256_set1_epi8(b' '.cast_signed()), both);
        _mm256_movemask_epi8(_mm256_or_si256(_mm256_or_si256(quotes, backslashes), low)).cast_unsigned()
    }
}

#[inline(always)]
fn key(isa: Sse41, window: &[u8; WINDOW], length: usize) -> u128 {
    // SAFETY: the CPU has it.
    let kept = unsafe { _mm_and_si128(load(isa, window), load(isa, cut(&FIRST, WINDOW - length))) };
    // SAFETY: both are sixteen bytes of plain bits.
    unsafe { std::mem::transmute::<__m128i, u128>(kept) }
}

#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has SSE4.1")]
fn is_key(isa: Sse41, window: &[u8; WINDOW], length: usize, key: &u128) -> bool {
    let first = load(isa, cut(&FIRST, WINDOW - length));
    // SAFETY: the CPU has it; sixteen bytes of plain bits are there, and the load asks for no alignment.
    unsafe {
        let other = _mm_xor_si128(_mm_and_si128(load(isa, window), first), _mm_loadu_si128((&raw const *key).cast()));
        _mm_testz_si128(other, other) == 1
    }
}

/// Sixteen digits of a UUID as eight bytes, each in a lane of sixteen bits; `None` if one is no hexadecimal digit.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has SSE4.1")]
fn nibbles(isa: Sse41, text: __m128i) -> Option<__m128i> {
    // SAFETY: the CPU has it.
    let (values, is_hexadecimal) = unsafe {
        let digits = _mm_sub_epi8(text, each(isa, b'0'));
        let is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digits, each(isa, 9)), digits);
        let letters = _mm_sub_epi8(_mm_or_si128(text, each(isa, 0x20)), each(isa, b'a'));
        let is_letter = _mm_cmpeq_epi8(_mm_min_epu8(letters, each(isa, 5)), letters);
        let letters = _mm_add_epi8(letters, each(isa, 10));
        (_mm_blendv_epi8(letters, digits, is_digit), _mm_or_si128(is_digit, is_letter))
    };
    if bits(isa, is_hexadecimal) != 0xffff {
        return None;
    }
    // SAFETY: as above.
    Some(unsafe { _mm_maddubs_epi16(values, _mm_set1_epi16(0x0110)) })
}

/// Exactly [`super::super::number::uuid`], sixteen digits at a time.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one proof holds for all of them: the CPU has SSE4.1")]
fn uuid(isa: Sse41, text: &[u8; UUID_BYTES]) -> Option<u128> {
    /// No byte.
    const NO: u8 = 0x80;
    const SECOND: [u8; WINDOW] = [NO, NO, NO, NO, NO, NO, NO, NO, 1, 2, 3, 4, 6, 7, 8, 9];
    const THIRD: [u8; WINDOW] = [11, 12, 13, 14, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO];
    const FOURTH: [u8; WINDOW] = [NO, NO, NO, NO, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let at = |at: usize| text[at..].first_chunk::<WINDOW>().map(|window| load(isa, window));
    // All four hyphens are in the middle window: at 8, 13, 18 and 23.
    let [first, middle, last] = [at(0)?, at(8)?, at(20)?];
    if bits_of(isa, middle, b'-') & 0b1000_0100_0010_0001 != 0b1000_0100_0010_0001 {
        return None;
    }
    // SAFETY: the CPU has it.
    let (upper, lower) = unsafe {
        let second = _mm_shuffle_epi8(middle, load(isa, &SECOND));
        let upper = _mm_blend_epi16::<0b1111_0000>(first, second);
        let third = _mm_shuffle_epi8(middle, load(isa, &THIRD));
        (upper, _mm_or_si128(third, _mm_shuffle_epi8(last, load(isa, &FOURTH))))
    };
    // SAFETY: as above.
    let bytes = unsafe { _mm_packus_epi16(nibbles(isa, upper)?, nibbles(isa, lower)?) };
    // SAFETY: both are sixteen bytes of plain bits.
    Some(u128::from_be_bytes(unsafe { std::mem::transmute::<__m128i, [u8; WINDOW]>(bytes) }))
}

macro_rules! isa {
    ($($proof:ty, $run:ident: |$isa:ident| $sse41:expr, { $($own:item)* })*) => {
        $(impl Isa for $proof {
            #[inline(always)]
            fn run<W: Work>(self, work: &mut W) -> W::Output {
                // SAFETY: `self` proves that the CPU has what it is compiled for.
                unsafe { $run(work, self) }
            }

            #[inline(always)]
            fn plain_end(self, window: &[u8; WINDOW]) -> usize {
                let $isa = self;
                bits($sse41, not_plain($sse41, window)).trailing_zeros() as usize
            }

            #[inline(always)]
            fn are_plain(self, windows: [&[u8; WINDOW]; 3]) -> bool {
                let $isa = self;
                // Not by a closure: what calls it is a function of the standard library, and is not inlined.
                let [first, second, third] = windows;
                let [first, second, third] =
                    [not_plain($sse41, first), not_plain($sse41, second), not_plain($sse41, third)];
                // SAFETY: the CPU has it.
                let early = unsafe { _mm_or_si128(first, second) };
                // SAFETY: the CPU has it.
                bits($sse41, unsafe { _mm_or_si128(early, third) }) == 0
            }

            #[inline(always)]
            fn marks(self, window: &[u8; WINDOW], byte: u8) -> u32 {
                let $isa = self;
                bits_of($sse41, load($sse41, window), byte)
            }

            #[inline(always)]
            fn quoted_ends(self, window: &[u8; WINDOW]) -> NumberEnds {
                let $isa = self;
                quoted_ends($sse41, window)
            }

            #[inline(always)]
            fn uint(self, window: &[u8; WINDOW]) -> (u64, usize) {
                let $isa = self;
                uint($sse41, window)
            }

            #[inline(always)]
            fn time(self, window: &[u8; WINDOW]) -> Option<u64> {
                let $isa = self;
                time($sse41, window)
            }

            #[inline(always)]
            fn grid(self, window: &[u8; WINDOW], ends: NumberEnds, scale: u8) -> Option<i64> {
                let $isa = self;
                grid($sse41, window, ends, scale)
            }

            #[inline(always)]
            fn decimal(self, window: &[u8; WINDOW], ends: NumberEnds) -> Option<(i64, u8)> {
                let $isa = self;
                decimal($sse41, window, ends)
            }

            #[inline(always)]
            fn key(self, window: &[u8; WINDOW], length: usize) -> u128 {
                let $isa = self;
                key($sse41, window, length)
            }

            #[inline(always)]
            fn is_key(self, window: &[u8; WINDOW], length: usize, key: &u128) -> bool {
                let $isa = self;
                is_key($sse41, window, length, key)
            }

            #[inline(always)]
            fn uuid(self, text: &[u8; UUID_BYTES]) -> Option<u128> {
                let $isa = self;
                uuid($sse41, text)
            }

            #[inline(always)]
            fn levels(self, padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing> {
                self.read_levels(padded, scales, levels)
            }

            $(#[inline(always)] $own)*
        })*
    };
}

isa! {
    Sse41, run: |isa| isa, {
        fn plain_end_of_two(self, windows: [&[u8; WINDOW]; 2]) -> usize {
            let [first, second] = windows;
            let [first, second] = [bits(self, not_plain(self, first)), bits(self, not_plain(self, second))];
            (first | second << WINDOW).trailing_zeros() as usize
        }
    }
    Avx512, run_avx2: |isa| isa.0, {
        fn plain_end_of_two(self, windows: [&[u8; WINDOW]; 2]) -> usize {
            not_plain_of_both(self, windows).trailing_zeros() as usize
        }
        fn grids(self, windows: [&[u8; WINDOW]; 2], ends: [NumberEnds; 2], scales: (u8, u8)) -> Option<[i64; 2]> {
            grids(self, windows, ends, scales)
        }
        fn decimals(self, windows: [&[u8; WINDOW]; 2], ends: [NumberEnds; 2]) -> Option<[(i64, u8); 2]> {
            decimals(self, windows, ends)
        }
    }
}
