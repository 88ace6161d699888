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
use std::arch::asm;
use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_cvtsi64_si128, _mm_loadu_si128, _mm_popcnt_epi16, _mm512_add_epi8, _mm512_add_epi64,
    _mm512_broadcast_i32x4, _mm512_castsi128_si512, _mm512_castsi512_si256, _mm512_cmpeq_epi8_mask,
    _mm512_cmpgt_epu8_mask, _mm512_cmple_epu8_mask, _mm512_cmplt_epu8_mask, _mm512_loadu_si512, _mm512_madd_epi16,
    _mm512_maddubs_epi16, _mm512_mask_add_epi8, _mm512_mask_blend_epi8, _mm512_mask_cmpeq_epi8_mask,
    _mm512_mask_test_epi8_mask, _mm512_maskz_compress_epi8, _mm512_maskz_compress_epi64, _mm512_maskz_sub_epi8,
    _mm512_max_epu8, _mm512_min_epu8, _mm512_mul_epu32, _mm512_packus_epi32, _mm512_permutexvar_epi8, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_epi64, _mm512_shuffle_epi8, _mm512_slli_epi16, _mm512_srli_epi64, _mm512_sub_epi8,
    _pdep_u64,
};

/// Bytes looked at for one pair of levels.
const BLOCK: usize = 64;

/// What the constants are made from: mostly four bytes that a register is filled with.
///
/// The 64 bytes of a register are read for one of them alone. A load that has the low twelve bits of its address in common with
/// a store shortly before it waits for that: the walk's stores to its stack met the constants' in one process of ten, by where the
/// stack lay, and each book message took 20 ns more there. Four bytes meet a sixteenth as many.
#[repr(C, align(64))]
struct Source {
    /// Each lane's number, doubled.
    openers: [u8; BLOCK],
    /// 0, 1, ... 15.
    lane_places: [u8; 16],
    quote: i32,
    comma: i32,
    point: i32,
    zero: i32,
    open: i32,
    close: i32,
    one: i32,
    nine: i32,
    digits_max: i32,
    tens: i32,
    hundreds: i32,
    myriads: i32,
}

static SOURCE: Source = Source {
    openers: table(true),
    lane_places: *table(false).first_chunk().expect("sixteen of them"),
    quote: each(b'"'),
    comma: each(b','),
    point: each(b'.'),
    zero: each(b'0'),
    open: each(b'['),
    close: each(b']'),
    one: each(1),
    nine: each(9),
    #[expect(clippy::cast_possible_truncation, reason = "15")]
    digits_max: each(DIGIT_COUNT_MAX as u8),
    tens: 0x010a_010a,
    hundreds: 0x0001_0064,
    myriads: 0x0001_2710,
};

const fn each(byte: u8) -> i32 {
    i32::from_le_bytes([byte; 4])
}

#[expect(clippy::cast_possible_truncation, reason = "64 places")]
const fn table(is_of_lanes: bool) -> [u8; BLOCK] {
    let mut table = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        table[at] = if is_of_lanes { at as u8 / 16 * 2 } else { at as u8 };
        at += 1;
    }
    table
}

/// Where it lies, which the compiler must not know: what it knows it lays out in full.
#[inline(always)]
fn source() -> &'static Source {
    let at: *const Source;
    // SAFETY: an address is taken, nothing is read or written.
    unsafe { asm!("lea {}, [rip + {}]", out(reg) at, sym SOURCE, options(pure, nomem, nostack, preserves_flags)) };
    // SAFETY: it is a static's.
    unsafe { &*at }
}

/// Whole registers: they fit into those that there are.
#[derive(Clone, Copy)]
struct Constants {
    /// For each lane of sixteen bytes the same byte of a vector: 0, 2, 4, 6; the positions of opening quotes.
    openers: __m512i,
    /// 1, 3, 5, 7; the positions of closing quotes.
    closers: __m512i,
    /// 0, 1, ... 15, four times.
    lane_places: __m512i,
    /// 0, 1, ... 63.
    places: __m512i,
    quote: __m512i,
    comma: __m512i,
    point: __m512i,
    zero: __m512i,
    open: __m512i,
    close: __m512i,
    one: __m512i,
    nine: __m512i,
    digits_max: __m512i,
    tens: __m512i,
    hundreds: __m512i,
    myriads: __m512i,
}

impl Constants {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new() -> Self {
        let source = source();
        let openers = load(&source.openers);
        // SAFETY: the sixteen bytes are there, and the load asks for no alignment.
        let sixteen = unsafe { _mm_loadu_si128(source.lane_places.as_ptr().cast()) };
        let lane_places = _mm512_broadcast_i32x4(sixteen);
        let one = _mm512_set1_epi32(source.one);
        Self {
            openers,
            closers: _mm512_add_epi8(openers, one),
            lane_places,
            // Sixteen more from lane to lane: eight times what is two more.
            places: _mm512_add_epi8(lane_places, _mm512_slli_epi16(openers, 3)),
            quote: _mm512_set1_epi32(source.quote),
            comma: _mm512_set1_epi32(source.comma),
            point: _mm512_set1_epi32(source.point),
            zero: _mm512_set1_epi32(source.zero),
            open: _mm512_set1_epi32(source.open),
            close: _mm512_set1_epi32(source.close),
            one,
            nine: _mm512_set1_epi32(source.nine),
            digits_max: _mm512_set1_epi32(source.digits_max),
            tens: _mm512_set1_epi32(source.tens),
            hundreds: _mm512_set1_epi32(source.hundreds),
            myriads: _mm512_set1_epi32(source.myriads),
        }
    }
}

/// What stands in 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; BLOCK]) -> __m512i {
    // SAFETY: the 64 bytes are there, and the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
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
    let lanes = Lanes::new(scales);
    let (mut at, mut count) = (1, 0);
    while let Some((read, length)) = lanes.read::<false>(padded, at, levels, count) {
        at += length;
        count += read;
        match padded.get(at)? {
            b',' => at += 1,
            b']' => return Some(Listing { count, length: at + 1 }),
            _ => return None,
        }
    }
    mixed(isa, padded, scales, levels, at, count)
}

/// The same from a level on that is not read with its neighbour. Apart: where nothing is called the constants stay in registers.
#[inline(never)]
#[target_feature(
    enable = "sse4.1,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,bmi1,bmi2,lzcnt,popcnt"
)]
fn mixed(
    isa: Avx512,
    padded: &[u8],
    scales: (u8, u8),
    levels: &mut [Level],
    mut at: usize,
    mut count: usize,
) -> Option<Listing> {
    let lanes = Lanes::new(scales);
    loop {
        if let Some((read, length)) = lanes.read::<true>(padded, at, levels, count) {
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

/// What the numbers of a list are read with.
#[derive(Clone, Copy)]
struct Lanes {
    constants: Constants,
    /// A price's and a quantity's scale in the lanes of price, quantity, price, quantity.
    scales: __m512i,
    /// Where a number's digits come from, but for the number's own place: one more behind the point.
    alignment: __m512i,
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    #[expect(clippy::cast_possible_wrap, reason = "scales of at most 18")]
    fn new((price, qty): (u8, u8)) -> Self {
        let constants = Constants::new();
        let (price, qty) = (_mm512_set1_epi8(price as i8), _mm512_set1_epi8(qty as i8));
        let scales = _mm512_mask_blend_epi8(0xffff_0000_ffff_0000, price, qty);
        let Constants { lane_places, one, digits_max, .. } = constants;
        // As many digits as a number may have, fifteen, is a lane's last place, too.
        let decimals = _mm512_cmpgt_epu8_mask(_mm512_add_epi8(lane_places, scales), digits_max);
        let places = _mm512_sub_epi8(_mm512_sub_epi8(lane_places, digits_max), one);
        Self { constants, scales, alignment: _mm512_mask_add_epi8(places, decimals, places, one) }
    }

    /// The two levels there, or the last one of the list, into the places from this one on: as [`pair`]. Each loop has one of its own,
    /// which is inlined there.
    #[inline]
    #[target_feature(
        enable = "sse4.1,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,bmi1,bmi2,lzcnt,popcnt"
    )]
    fn read<const IS_MIXED: bool>(
        &self,
        padded: &[u8],
        at: usize,
        levels: &mut [Level],
        count: usize,
    ) -> Option<(usize, usize)> {
        let block = padded.get(at..)?.first_chunk()?;
        pair::<IS_MIXED>(load(block), self, levels.get_mut(count..count + 2)?)
    }
}

/// The level at the front, where two are not to be had at once. Apart, so that it takes no register from those.
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn one(isa: Avx512, padded: &[u8], scales: (u8, u8), level: &mut Level) -> Option<usize> {
    forward_level(isa, padded, scales, level)
}

/// The mantissas of four numbers, each at the front of its lane. `values` are their digits' values, with anything where their
/// points are and zeros behind them; `lengths` is each lane's in all its bytes, `filled` those that count.
#[inline]
#[target_feature(
    enable = "sse4.1,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,bmi1,bmi2,lzcnt,popcnt"
)]
fn mantissas<const IS_MIXED: bool>(
    values: __m512i,
    points: u64,
    lengths: __m512i,
    filled: u64,
    &Lanes { constants, scales, alignment }: &Lanes,
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
    let whole = _mm512_min_epu8(_mm512_permutexvar_epi8(constants.openers, _mm512_castsi128_si512(before)), lengths);
    let kept = _mm512_add_epi8(whole, scales);
    let is_long = _mm512_cmpgt_epu8_mask(_mm512_max_epu8(lengths, kept), constants.digits_max);
    // What stands behind the last decimal of the scale must be zeros.
    let is_off_grid = _mm512_mask_test_epi8_mask(_mm512_cmpgt_epu8_mask(constants.lane_places, kept), values, values);
    if is_long & filled | is_off_grid != 0 {
        return None;
    }
    let digits = _mm512_shuffle_epi8(values, _mm512_add_epi8(alignment, kept));
    let twos = _mm512_maddubs_epi16(digits, constants.tens);
    let fours = _mm512_madd_epi16(twos, constants.hundreds);
    let eights = _mm512_madd_epi16(_mm512_packus_epi32(fours, fours), constants.myriads);
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
fn pair<const IS_MIXED: bool>(block: __m512i, lanes: &Lanes, room: &mut [Level]) -> Option<(usize, usize)> {
    let constants = &lanes.constants;
    let quotes = _mm512_cmpeq_epi8_mask(block, constants.quote);
    let first_end = _pdep_u64(0b1000, quotes);
    let all_commas = _mm512_cmpeq_epi8_mask(block, constants.comma);
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
    let points = _mm512_cmpeq_epi8_mask(block, constants.point) & within;
    let values = _mm512_sub_epi8(block, constants.zero);
    let digits = _mm512_cmple_epu8_mask(values, constants.nine) & within;
    let structure = opening | closing | commas | open_brackets | close_brackets;
    let is_expected = (opening == 0b10 | closing_prices << 2 | link << 4)
        & (all_commas & within == commas)
        & (_mm512_cmpeq_epi8_mask(block, constants.open) & within == open_brackets)
        & (_mm512_cmpeq_epi8_mask(block, constants.close) & within == close_brackets)
        & (digits | points | structure == within)
        // No number is empty or begins or ends with its point.
        & ((opening << 1 & (closing | points)) | (closing >> 1 & points) == 0);
    if !is_expected {
        return None;
    }
    let positions = _mm512_maskz_compress_epi8(quotes, constants.places);
    let starts = _mm512_permutexvar_epi8(constants.openers, positions);
    let ends = _mm512_permutexvar_epi8(constants.closers, positions);
    // Each number moves to the front of its lane; what stands behind its end is nothing.
    let places = _mm512_add_epi8(_mm512_add_epi8(starts, constants.one), constants.lane_places);
    let filled = if is_pair { u64::MAX } else { 0xffff_ffff };
    let is_number = _mm512_cmplt_epu8_mask(places, ends) & filled;
    let numbers = _mm512_permutexvar_epi8(places, block);
    let values = _mm512_maskz_sub_epi8(is_number, numbers, constants.zero);
    let points = _mm512_mask_cmpeq_epi8_mask(is_number, numbers, constants.point);
    let length = _mm512_sub_epi8(_mm512_sub_epi8(ends, starts), constants.one);
    let [price, qty, next_price, next_qty] = mantissas::<IS_MIXED>(values, points, length, filled, lanes)?;
    let [first, second] = room else { return None };
    // The second is nothing where there is none, and whoever comes next writes over it.
    *first = Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) };
    *second = Level { price: Price::from_mantissa(next_price), qty: Qty::from_mantissa(next_qty) };
    Some((1 + usize::from(is_pair), reach.trailing_zeros() as usize))
}
