//! Lists of book levels with AVX-512: two levels, four numbers, at a time.
//!
//! ```text
//! ["16493.50","0.12"],["16493.00","3.4"],...      64 bytes ─► a mask each of quotes, commas, brackets, points, digits
//!  ^        ^ ^    ^                              the lowest eight quotes say where every other byte must stand;
//!  p0       p1 p2  p3                             masks are compared as integers: each byte is accounted for
//! four numbers ─permute─► four lanes of sixteen bytes ─shuffle─► right-aligned, point taken out ─► four mantissas
//! ```
//! No chain of "find the end of this number before the next begins": the only one is from pair to pair.

use super::super::levels::{Listing, forward_level};
use super::{Avx512, DIGIT_COUNT_MAX};
use crate::market::{Level, Price, Qty};
use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_cvtsi64_si128, _mm_popcnt_epi16, _mm512_add_epi8, _mm512_add_epi64,
    _mm512_castsi128_si512, _mm512_castsi512_si256, _mm512_cmpeq_epi8_mask, _mm512_cmpgt_epu8_mask,
    _mm512_cmple_epu8_mask, _mm512_cmplt_epu8_mask, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_maddubs_epi16,
    _mm512_mask_add_epi8, _mm512_mask_blend_epi8, _mm512_mask_cmpeq_epi8_mask, _mm512_mask_test_epi8_mask,
    _mm512_maskz_compress_epi8, _mm512_maskz_compress_epi64, _mm512_maskz_sub_epi8, _mm512_max_epu8, _mm512_min_epu8,
    _mm512_mul_epu32, _mm512_packus_epi32, _mm512_permutexvar_epi8, _mm512_set1_epi8, _mm512_set1_epi16,
    _mm512_set1_epi32, _mm512_set1_epi64, _mm512_shuffle_epi8, _mm512_srli_epi64, _mm512_sub_epi8, _pdep_u64,
};

/// Bytes looked at for one pair of levels.
const BLOCK: usize = 64;

/// 0, 1, ... 63.
const PLACES: [u8; BLOCK] = table(0);
/// 0, 1, ... 15, four times.
const LANE_PLACES: [u8; BLOCK] = table(1);
/// For each lane of sixteen bytes the same byte of a vector: 0, 2, 4, 6; the positions of opening quotes.
const OPENERS: [u8; BLOCK] = table(2);
/// 1, 3, 5, 7; the positions of closing quotes.
const CLOSERS: [u8; BLOCK] = table(3);

#[expect(clippy::cast_possible_truncation, reason = "64 places")]
const fn table(which: u8) -> [u8; BLOCK] {
    let mut table = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        table[at] = match which {
            0 => at as u8,
            1 => at as u8 % 16,
            2 => at as u8 / 16 * 2,
            _ => at as u8 / 16 * 2 + 1,
        };
        at += 1;
    }
    table
}

/// What stands in 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; BLOCK]) -> __m512i {
    // SAFETY: the 64 bytes are there, and the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// One bit for each byte that is this one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn bits_of(block: __m512i, byte: u8) -> u64 {
    _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(byte.cast_signed()))
}

/// Reads the list at the front of `padded`: exactly [`super::super::levels::forward`], sooner.
#[inline(never)]
#[target_feature(
    enable = "sse4.1,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,bmi1,bmi2,lzcnt,popcnt"
)]
pub(super) fn levels(isa: Avx512, padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing> {
    match padded {
        [b'[', b']', ..] => return Some(Listing { count: 0, length: 2 }),
        [b'[', b'[', ..] => {}
        _ => return None,
    }
    let scales_of = by_lane(scales);
    let alignment = alignment(scales_of);
    let mut at = 1;
    let mut count = 0;
    loop {
        let read = match (padded.get(at..).and_then(<[u8]>::first_chunk), levels.get_mut(count..count + 2)) {
            (Some(block), Some(room)) => pair(load(block), alignment, scales_of, room),
            _ => None,
        };
        if let Some((read, length)) = read {
            at += length;
            count += read;
        } else {
            at += one(isa, padded.get(at..)?, scales, levels.get_mut(count)?)?;
            count += 1;
        }
        match padded.get(at)? {
            b',' => at += 1,
            b']' => return Some(Listing { count, length: at + 1 }),
            _ => return None,
        }
    }
}

/// The level at the front, where two are not to be had at once. Apart, so that it takes no register from those.
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn one(isa: Avx512, padded: &[u8], scales: (u8, u8), level: &mut Level) -> Option<usize> {
    forward_level(isa, padded, scales, level)
}

/// A price's and a quantity's scale in the lanes of price, quantity, price, quantity.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(clippy::cast_possible_wrap, reason = "scales of at most 18")]
fn by_lane((price, qty): (u8, u8)) -> __m512i {
    _mm512_mask_blend_epi8(0xffff_0000_ffff_0000, _mm512_set1_epi8(price as i8), _mm512_set1_epi8(qty as i8))
}

/// Where a number's digits come from, but for the number's own place: one more behind the point.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn alignment(scales: __m512i) -> __m512i {
    let lane_places = load(&LANE_PLACES);
    let decimals = _mm512_cmpgt_epu8_mask(_mm512_add_epi8(lane_places, scales), _mm512_set1_epi8(15));
    let places = _mm512_sub_epi8(lane_places, _mm512_set1_epi8(16));
    _mm512_mask_add_epi8(places, decimals, places, _mm512_set1_epi8(1))
}

/// The mantissas of four numbers, each at the front of its lane. `values` are their digits' values, with anything where their
/// points are and zeros behind them; `lengths` is each lane's in all its bytes, `lanes` those that count.
#[inline]
#[target_feature(
    enable = "sse4.1,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,bmi1,bmi2,lzcnt,popcnt"
)]
fn mantissas(
    values: __m512i,
    points: u64,
    lengths: __m512i,
    lanes: u64,
    alignment: __m512i,
    scales: __m512i,
) -> Option<[i64; 4]> {
    // In each sixteen bits: a bit on top, so that there is a lowest one; it is the point's, if there is one.
    const TOPS: u64 = 0x8000_8000_8000_8000;
    const ONES: u64 = 0x0001_0001_0001_0001;
    let marks = points | TOPS;
    if marks & (marks - ONES) & !TOPS != 0 {
        // A number with two points, or with one at the lane's end.
        return None;
    }
    let before: __m128i = _mm_popcnt_epi16(_mm_cvtsi64_si128(((marks - ONES) & !marks).cast_signed()));
    let whole = _mm512_min_epu8(_mm512_permutexvar_epi8(load(&OPENERS), _mm512_castsi128_si512(before)), lengths);
    let kept = _mm512_add_epi8(whole, scales);
    #[expect(clippy::cast_possible_truncation, reason = "15")]
    let digits_max = _mm512_set1_epi8(DIGIT_COUNT_MAX as i8);
    let is_long = _mm512_cmpgt_epu8_mask(_mm512_max_epu8(lengths, kept), digits_max);
    // What stands behind the last decimal of the scale must be zeros.
    let is_off_grid = _mm512_mask_test_epi8_mask(_mm512_cmpgt_epu8_mask(load(&LANE_PLACES), kept), values, values);
    if is_long & lanes | is_off_grid != 0 {
        return None;
    }
    let digits = _mm512_shuffle_epi8(values, _mm512_add_epi8(alignment, kept));
    let twos = _mm512_maddubs_epi16(digits, _mm512_set1_epi16(0x010a));
    let fours = _mm512_madd_epi16(twos, _mm512_set1_epi32(0x0001_0064));
    let eights = _mm512_madd_epi16(_mm512_packus_epi32(fours, fours), _mm512_set1_epi32(0x0001_2710));
    let upper = _mm512_mul_epu32(eights, _mm512_set1_epi64(100_000_000));
    let mantissas = _mm512_add_epi64(upper, _mm512_srli_epi64(eights, 32));
    let four: __m256i = _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0b0101_0101, mantissas));
    // SAFETY: both are thirty-two bytes of plain bits.
    Some(unsafe { std::mem::transmute::<__m256i, [i64; 4]>(four) })
}

/// The two levels at the front of a block, or the last one of its list: how many, and their bytes with the comma between
/// them. `None` if they are not wholly there, or not of the common form. Without a branch between one and two.
#[inline]
#[target_feature(
    enable = "sse4.1,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,bmi1,bmi2,lzcnt,popcnt"
)]
fn pair(block: __m512i, alignment: __m512i, scales: __m512i, room: &mut [Level]) -> Option<(usize, usize)> {
    let quotes = bits_of(block, b'"');
    let first_end = _pdep_u64(0b1000, quotes);
    let all_commas = bits_of(block, b',');
    // The quote that ends the first level, if a comma and not a bracket stands behind the level's own bracket.
    let link = first_end & all_commas >> 2;
    let is_pair = link != 0;
    // The lowest eight, or four: opening and closing ones of the numbers.
    let quotes_of = if is_pair { quotes } else { quotes & ((first_end << 1).wrapping_sub(1)) };
    let opening = _pdep_u64(0b0101_0101, quotes_of);
    let closing_prices = _pdep_u64(0b0010_0010, quotes_of);
    let closing_qtys = _pdep_u64(0b1000_1000, quotes_of);
    let last_end = closing_qtys ^ link;
    if last_end == 0 || last_end >> 62 != 0 {
        return None;
    }
    // Up to the bracket behind the last level.
    let reach = last_end << 2;
    let within = reach.wrapping_sub(1);
    let closing = closing_prices | closing_qtys;
    let commas = closing_prices << 1 | link << 2;
    let open_brackets = 1 | link << 3;
    let close_brackets = closing_qtys << 1;
    let points = bits_of(block, b'.') & within;
    let values = _mm512_sub_epi8(block, _mm512_set1_epi8(b'0'.cast_signed()));
    let digits = _mm512_cmple_epu8_mask(values, _mm512_set1_epi8(9)) & within;
    let structure = opening | closing | commas | open_brackets | close_brackets;
    let is_expected = (opening == 0b10 | closing_prices << 2 | link << 4)
        & (all_commas & within == commas)
        & (bits_of(block, b'[') & within == open_brackets)
        & (bits_of(block, b']') & within == close_brackets)
        & (digits | points | structure == within)
        // No number is empty or begins or ends with its point.
        & ((opening << 1 & (closing | points)) | (closing >> 1 & points) == 0);
    if !is_expected {
        return None;
    }
    let positions = _mm512_maskz_compress_epi8(quotes, load(&PLACES));
    let starts = _mm512_permutexvar_epi8(load(&OPENERS), positions);
    let ends = _mm512_permutexvar_epi8(load(&CLOSERS), positions);
    let lane_places = load(&LANE_PLACES);
    // Each number moves to the front of its lane; what stands behind its end is nothing.
    let places = _mm512_add_epi8(_mm512_add_epi8(starts, _mm512_set1_epi8(1)), lane_places);
    let lanes = if is_pair { u64::MAX } else { 0xffff_ffff };
    let is_number = _mm512_cmplt_epu8_mask(places, ends) & lanes;
    let numbers = _mm512_permutexvar_epi8(places, block);
    let values = _mm512_maskz_sub_epi8(is_number, numbers, _mm512_set1_epi8(b'0'.cast_signed()));
    let points = _mm512_mask_cmpeq_epi8_mask(is_number, numbers, _mm512_set1_epi8(b'.'.cast_signed()));
    let length = _mm512_sub_epi8(_mm512_sub_epi8(ends, starts), _mm512_set1_epi8(1));
    let [price, qty, next_price, next_qty] = mantissas(values, points, length, lanes, alignment, scales)?;
    let [first, second] = room else { return None };
    // The second is nothing where there is none, and whoever comes next writes over it.
    *first = Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) };
    *second = Level { price: Price::from_mantissa(next_price), qty: Qty::from_mantissa(next_qty) };
    Some((1 + usize::from(is_pair), reach.trailing_zeros() as usize))
}
