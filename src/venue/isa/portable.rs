//! The questions answered in general registers: plain arithmetic, any 64-bit machine.
//!
//! ```text
//! "61837.63"  ^ 0x30 ..  ─► digit values, the first in the lowest byte
//! point taken out, cut behind the scale, shifted up  ─► right-aligned, zeros in front ─► two times eight digits: the value
//! ```

use super::super::levels::{Listing, forward};
use super::{DIGIT_COUNT_MAX, Isa, NumberEnds, WINDOW, Work};
use crate::market::Level;

/// No instruction is asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::venue) struct Portable;

/// A byte in every byte of a window.
const fn each(byte: u8) -> u128 {
    u128::from_le_bytes([byte; WINDOW])
}

/// In the top bit of each byte: is it above nine? `values` are bytes with the digits' bits turned to their values.
#[inline(always)]
fn above_nine(values: u128) -> u128 {
    // A value of ten or more carries into the top bit of its byte; the mask keeps it from the next byte.
    (((values & each(0x7f)) + each(0x76)) | values) & each(0x80)
}

/// The byte that the lowest set bit stands in; [`WINDOW`] for none.
#[inline(always)]
fn byte_of(marks: u128) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// The lowest `count` bytes.
#[inline(always)]
fn lowest(count: usize) -> u128 {
    if count >= WINDOW { u128::MAX } else { (1 << (8 * count)) - 1 }
}

/// The number that eight digit values make, the first in the lowest byte.
#[inline(always)]
fn eight(values: u64) -> u64 {
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let upper = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let lower = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    upper.wrapping_add(lower) >> 32
}

/// The number that sixteen digit values make.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves are taken apart")]
fn sixteen(values: u128) -> u64 {
    eight(values as u64) * 100_000_000 + eight((values >> 64) as u64)
}

impl Portable {
    /// As [`Isa::quoted_ends`] of a number whose text ends where its digits do, digits behind one point included.
    #[inline(always)]
    pub(in crate::venue) fn number_ends(self, window: &[u8; WINDOW]) -> NumberEnds {
        let values = u128::from_le_bytes(*window) ^ each(b'0');
        let others = above_nine(values);
        let whole = byte_of(others);
        if whole == WINDOW || window[whole] != b'.' {
            return NumberEnds { whole, end: whole };
        }
        NumberEnds { whole, end: byte_of(others & (others - 1)) }
    }
}

impl Isa for Portable {
    #[inline(never)]
    fn run<W: Work>(self, work: &mut W) -> W::Output {
        work.run(self)
    }

    #[inline(always)]
    fn plain_end(self, window: &[u8; WINDOW]) -> usize {
        // A byte of less than the bound borrows from its own top bit. A borrow can only mark a byte above one that is
        // marked rightly, and only the lowest is used. Bytes that are not ASCII are marked by the window itself.
        let window = u128::from_le_bytes(*window);
        let below = |values: u128, bound: u8| values.wrapping_sub(each(bound));
        let quotes = below(window ^ each(b'"'), 1);
        let backslashes = below(window ^ each(b'\\'), 1);
        byte_of((quotes | backslashes | below(window, 0x20) | window) & each(0x80))
    }

    #[inline(always)]
    fn quoted_ends(self, window: &[u8; WINDOW]) -> NumberEnds {
        // As in `plain_end`: only the lowest mark is right, and only the lowest is used.
        let window = u128::from_le_bytes(*window);
        let marks = |byte: u8| {
            let others = window ^ each(byte);
            others.wrapping_sub(each(1)) & !others & each(0x80)
        };
        let quotes = marks(b'"');
        NumberEnds { whole: byte_of(marks(b'.') | quotes), end: byte_of(quotes) }
    }

    #[inline(always)]
    fn uint(self, window: &[u8; WINDOW]) -> (u64, usize) {
        let values = u128::from_le_bytes(*window) ^ each(b'0');
        let length = byte_of(above_nine(values));
        if length == 0 || length == WINDOW {
            return (0, length);
        }
        (sixteen(values << (8 * (WINDOW - length))), length)
    }

    #[inline(always)]
    fn grid(self, window: &[u8; WINDOW], ends: NumberEnds, scale: u8) -> Option<i64> {
        let kept = ends.whole + usize::from(scale);
        if kept > DIGIT_COUNT_MAX || ends.whole == 0 || ends.end - ends.whole == 1 {
            return None;
        }
        let values = (u128::from_le_bytes(*window) ^ each(b'0')) & lowest(ends.end);
        let whole = lowest(ends.whole);
        let digits = (values & whole) | ((values >> 8) & !whole);
        if digits & !lowest(kept) != 0 || above_nine(digits) != 0 {
            return None;
        }
        i64::try_from(sixteen(digits << (8 * (WINDOW - kept)))).ok()
    }

    #[inline(always)]
    fn key(self, window: &[u8; WINDOW], length: usize) -> u128 {
        u128::from_le_bytes(*window) & lowest(length)
    }

    #[inline(never)]
    fn levels(self, padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing> {
        forward(self, padded, scales, levels)
    }
}
