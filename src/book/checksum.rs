//! CRC32 (IEEE) over the digits of a book's best levels, as venues print them: the only proof of health where messages carry
//! no ids, and a second one where they do.
//!
//! The digits come from the mantissas: what a venue prints of a number follows from the number and the symbol's scales, so
//! no text has to be kept.

use super::levels::Book;
use crate::market::{Level, Side};

/// How a venue prints the numbers that it sums up.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Digits {
    /// Without the point and without zeros in front: the mantissa.
    Bare,
    /// With every decimal of the scale.
    Padded,
    /// Without zeros behind the last digit that says something.
    Trimmed,
}

/// What a venue's checksum is taken of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ChecksumForm {
    digits: Digits,
    /// Bid and ask in turns, joined by colons; else all asks and then all bids, joined by nothing.
    is_interleaved: bool,
    levels: usize,
}

impl ChecksumForm {
    /// OKX before 2026-06 (the field is 0 since): 25 levels, `bid:qty:ask:qty:...`, each number as it was sent, which is
    /// without zeros at its end.
    ///
    /// Source: OKX v5 API guide, "Checksum".
    pub const OKX: Self = Self { digits: Digits::Trimmed, is_interleaved: true, levels: 25 };

    /// Bitget, API v1 (later ones have none): 25 levels, `bid:qty:ask:qty:...`, each number as it was sent, with all decimals.
    ///
    /// Source: Bitget API v1, "Checksum".
    pub const BITGET: Self = Self { digits: Digits::Padded, is_interleaved: true, levels: 25 };

    /// Kraken: 10 levels, the asks from the lowest up, then the bids from the highest down, each price and quantity without
    /// its point and without zeros in front.
    ///
    /// Source: Kraken WebSocket v1 and v2, "Book checksum".
    pub const KRAKEN: Self = Self { digits: Digits::Bare, is_interleaved: false, levels: 10 };

    /// The checksum of a book whose symbol has these scales. Venues that state it as a signed number mean the same bits.
    #[must_use]
    pub fn of(self, book: &Book, price_scale: u8, qty_scale: u8) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        let mut is_first = true;
        let mut add = |level: Level| {
            for (mantissa, scale) in [(level.price.mantissa(), price_scale), (level.qty.mantissa(), qty_scale)] {
                if self.is_interleaved && !is_first {
                    sum.update(b":");
                }
                is_first = false;
                add_number(&mut sum, mantissa, scale, self.digits);
            }
        };
        let (mut bids, mut asks) = (book.held(Side::Buy).take(self.levels), book.held(Side::Sell).take(self.levels));
        if self.is_interleaved {
            loop {
                let pair = (bids.next(), asks.next());
                pair.0.into_iter().chain(pair.1).for_each(&mut add);
                if pair == (None, None) {
                    break;
                }
            }
        } else {
            asks.chain(bids).for_each(add);
        }
        sum.finalize()
    }
}

/// Longest text of a number: every digit of an `i64`, zeros of a scale beyond them, sign and point.
const NUMBER_BYTES_MAX: usize = 40;

/// Adds a number as the venue prints it.
fn add_number(sum: &mut crc32fast::Hasher, mantissa: i64, scale: u8, digits: Digits) {
    let (mut value, mut scale) = (mantissa.unsigned_abs(), scale);
    if digits == Digits::Trimmed {
        while scale > 0 && value.is_multiple_of(10) {
            value /= 10;
            scale -= 1;
        }
    }
    let has_point = digits != Digits::Bare && scale > 0;
    let mut text = [0_u8; NUMBER_BYTES_MAX];
    let mut at = NUMBER_BYTES_MAX;
    let mut push = |byte: u8| {
        at -= 1;
        text[at] = byte;
    };
    let mut place = 0_u8;
    loop {
        if has_point && place == scale {
            push(b'.');
        }
        push(b'0' + (value % 10) as u8);
        value /= 10;
        place += 1;
        if value == 0 && (!has_point || place > scale) {
            break;
        }
    }
    if mantissa < 0 {
        push(b'-');
    }
    sum.update(&text[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_printed_as_each_venue_prints_it() {
        let sum = |mantissa, scale, digits| {
            let mut sum = crc32fast::Hasher::new();
            add_number(&mut sum, mantissa, scale, digits);
            sum.finalize()
        };
        for (mantissa, scale, digits, text) in [
            (11_350, 2, Digits::Padded, "113.50"),
            (5, 4, Digits::Padded, "0.0005"),
            (5_000, 0, Digits::Padded, "5000"),
            (5_160, 3, Digits::Trimmed, "5.16"),
            (60_000, 3, Digits::Trimmed, "60"),
            (0, 3, Digits::Trimmed, "0"),
            (3, 8, Digits::Trimmed, "0.00000003"),
            (219_268_000, 5, Digits::Bare, "219268000"),
            (79_681, 8, Digits::Bare, "79681"),
            (-1_250, 3, Digits::Trimmed, "-1.25"),
            (i64::MIN, 18, Digits::Padded, "-9.223372036854775808"),
        ] {
            assert_eq!(sum(mantissa, scale, digits), crc32fast::hash(text.as_bytes()), "{text}");
        }
    }
}
