//! Prices and quantities as exact fixed-point numbers.
//!
//! A value on a symbol's grid is an `i64` mantissa at the symbol's scale ([`Price`], [`Qty`]); a value off the grid
//! (mark, index, funding, volumes) carries its own scale ([`Decimal`]). Text that does not fit exactly is an error,
//! never a rounding.

use crate::limits::SCALE_MAX;
use std::fmt;

/// Why a number's text could not become a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// The text is empty.
    #[error("the number is empty")]
    Empty,
    /// A byte that is neither a digit, a sign in front, nor the one point.
    #[error("byte {byte:#04x} at {at} is not part of a decimal number")]
    NotANumber {
        /// The byte.
        byte: u8,
        /// Its position in the text.
        at: usize,
    },
    /// A non-zero digit behind the last decimal the scale has.
    #[error("more than {scale} decimals: the value is off the symbol's grid")]
    OffGrid {
        /// The symbol's scale: decimals behind the point.
        scale: u8,
    },
    /// The mantissa leaves its integer.
    #[error("the value does not fit its fixed-point type")]
    Overflow,
}

/// Reads decimal text (`-12.3400`) as a mantissa at `scale` decimals: `parse_fixed(b"12.3400", 2) == Ok(1234)`.
///
/// Zeros beyond the scale are exact and accepted; exponents are not part of any venue's price text and are refused.
///
/// # Errors
/// Every [`ValueError`]; nothing is rounded.
pub fn parse_fixed(text: &[u8], scale: u8) -> Result<i64, ValueError> {
    debug_assert!(scale <= SCALE_MAX);
    let (negative, digits_at) = match text.first() {
        None => return Err(ValueError::Empty),
        Some(b'-') => (true, 1),
        Some(_) => (false, 0),
    };
    let mut mantissa: i64 = 0;
    let mut decimals: Option<u8> = None;
    let mut digit_count = 0_usize;
    for (at, &byte) in text.iter().enumerate().skip(digits_at) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            digit_count += 1;
            if let Some(seen) = decimals {
                if seen == scale {
                    if digit != 0 {
                        return Err(ValueError::OffGrid { scale });
                    }
                    continue;
                }
                decimals = Some(seen + 1);
            }
            mantissa =
                mantissa.checked_mul(10).and_then(|m| m.checked_add(i64::from(digit))).ok_or(ValueError::Overflow)?;
        } else if byte == b'.' && decimals.is_none() && digit_count > 0 && at + 1 < text.len() {
            decimals = Some(0);
        } else {
            return Err(ValueError::NotANumber { byte, at });
        }
    }
    if digit_count == 0 {
        return Err(ValueError::Empty);
    }
    let missing = scale - decimals.unwrap_or(0);
    let mantissa = mantissa.checked_mul(10_i64.pow(u32::from(missing))).ok_or(ValueError::Overflow)?;
    Ok(if negative { -mantissa } else { mantissa })
}

macro_rules! grid_value {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(transparent)]
        pub struct $name(i64);

        impl $name {
            /// Nothing: zero at every scale.
            pub const ZERO: Self = Self(0);

            /// From a mantissa at the symbol's scale.
            #[must_use]
            pub const fn from_mantissa(mantissa: i64) -> Self {
                Self(mantissa)
            }

            /// The mantissa at the symbol's scale.
            #[must_use]
            pub const fn mantissa(self) -> i64 {
                self.0
            }

            /// Reads the venue's text at the symbol's scale.
            ///
            /// # Errors
            /// Every [`ValueError`]: the text is not a number, or not exactly on the grid.
            pub fn parse(text: &[u8], scale: u8) -> Result<Self, ValueError> {
                parse_fixed(text, scale).map(Self)
            }

            /// The same value with its scale attached, for printing or for arithmetic across symbols.
            #[must_use]
            pub fn at_scale(self, scale: u8) -> Decimal {
                Decimal::new(i128::from(self.0), scale)
            }

            /// The nearest `f64`, for ratios and displays: not exact.
            #[must_use]
            pub fn to_f64(self, scale: u8) -> f64 {
                self.at_scale(scale).to_f64()
            }
        }
    };
}

grid_value! {
    /// A price: mantissa at the symbol's price scale, in quote currency per unit of base.
    Price
}
grid_value! {
    /// A quantity: mantissa at the symbol's quantity scale, in the venue's unit for the symbol (base coin, or contracts).
    Qty
}

/// A decimal number that carries its own scale: `mantissa / 10^scale`, exact for up to 38 digits.
///
/// Two values compare by what they are worth, whatever their scales.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decimal {
    mantissa: Mantissa,
    scale: u8,
}

/// An `i128` that begins at a multiple of eight, as everything else of an event does: a [`Decimal`] is 24 bytes and not 32.
#[derive(Clone, Copy, Default)]
#[repr(C, packed(8))]
struct Mantissa(i128);

impl fmt::Debug for Mantissa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(digits) = *self;
        digits.fmt(f)
    }
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self::new(0, 0);

    /// `mantissa / 10^scale`.
    #[must_use]
    pub const fn new(mantissa: i128, scale: u8) -> Self {
        Self { mantissa: Mantissa(mantissa), scale }
    }

    /// The digits without their point.
    #[must_use]
    pub const fn mantissa(self) -> i128 {
        self.mantissa.0
    }

    /// How many of the digits stand behind the point.
    #[must_use]
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// Reads decimal text, keeping every decimal it has (trailing zeros too).
    ///
    /// # Errors
    /// [`ValueError`]: not a number, more than 38 digits, or more than 38 decimals.
    pub fn parse(text: &[u8]) -> Result<Self, ValueError> {
        let (negative, digits_at) = match text.first() {
            None => return Err(ValueError::Empty),
            Some(b'-') => (true, 1),
            Some(_) => (false, 0),
        };
        let mut mantissa: i128 = 0;
        let mut scale: Option<u8> = None;
        let mut digit_count = 0_usize;
        for (at, &byte) in text.iter().enumerate().skip(digits_at) {
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                digit_count += 1;
                if let Some(seen) = scale {
                    if seen == 38 {
                        return Err(ValueError::Overflow);
                    }
                    scale = Some(seen + 1);
                }
                mantissa = mantissa
                    .checked_mul(10)
                    .and_then(|m| m.checked_add(i128::from(digit)))
                    .ok_or(ValueError::Overflow)?;
            } else if byte == b'.' && scale.is_none() && digit_count > 0 && at + 1 < text.len() {
                scale = Some(0);
            } else {
                return Err(ValueError::NotANumber { byte, at });
            }
        }
        if digit_count == 0 {
            return Err(ValueError::Empty);
        }
        Ok(Self::new(if negative { -mantissa } else { mantissa }, scale.unwrap_or(0)))
    }

    /// The nearest `f64`: not exact.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "the method promises the nearest, not the exact")]
    pub fn to_f64(self) -> f64 {
        self.mantissa() as f64 / 10_f64.powi(i32::from(self.scale))
    }

    /// Mantissa without trailing zeros, and the scale that goes with it: equal values have equal forms.
    fn trimmed(self) -> (i128, u8) {
        let (mut mantissa, mut scale) = (self.mantissa(), self.scale);
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        (mantissa, scale)
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.trimmed() == other.trimmed()
    }
}

impl Eq for Decimal {}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa() < 0 { "-" } else { "" };
        let digits = self.mantissa().unsigned_abs().to_string();
        let scale = usize::from(self.scale);
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_on_the_grid_is_its_mantissa() {
        for (text, scale, mantissa) in [
            ("61837.63000000", 2, 6_183_763),
            ("0.00000001", 8, 1),
            ("12", 3, 12_000),
            ("-0.5", 1, -5),
            ("0", 0, 0),
            ("9223372036854775807", 0, i64::MAX),
        ] {
            assert_eq!(parse_fixed(text.as_bytes(), scale), Ok(mantissa), "{text} at {scale}");
        }
    }

    #[test]
    fn a_digit_beyond_the_scale_is_an_error_not_a_rounding() {
        assert_eq!(parse_fixed(b"1.005", 2), Err(ValueError::OffGrid { scale: 2 }));
        assert_eq!(parse_fixed(b"1.5", 0), Err(ValueError::OffGrid { scale: 0 }));
    }

    #[test]
    fn a_mantissa_that_leaves_the_integer_is_an_overflow() {
        assert_eq!(parse_fixed(b"9223372036854775808", 0), Err(ValueError::Overflow));
        assert_eq!(parse_fixed(b"9223372036.854775808", 9), Err(ValueError::Overflow));
        assert_eq!(parse_fixed(b"92233720368547758", 3), Err(ValueError::Overflow));
    }

    #[test]
    fn what_is_not_a_decimal_number_is_refused_with_its_byte() {
        for text in ["", "-", ".5", "5.", "1..2", "1e5", "+1", "1,5", " 1", "1 ", "0x1", "NaN", "--1", "1-", "-."] {
            assert!(parse_fixed(text.as_bytes(), 8).is_err(), "{text:?}");
            assert!(Decimal::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert_eq!(parse_fixed(b"1e5", 2), Err(ValueError::NotANumber { byte: b'e', at: 1 }));
    }

    #[test]
    fn a_decimal_keeps_its_digits_and_compares_by_worth() {
        let turnover = Decimal::parse(b"191907024.69597728").unwrap();
        assert_eq!(turnover.to_string(), "191907024.69597728");
        assert_eq!(Decimal::parse(b"1.50").unwrap(), Decimal::parse(b"1.5").unwrap());
        assert_eq!(Decimal::parse(b"-0.00038167").unwrap().to_string(), "-0.00038167");
        assert_eq!(Price::from_mantissa(5).at_scale(2).to_string(), "0.05");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_the_same(mantissa in -i64::MAX..i64::MAX, scale in 0_u8..=18) {
            let printed = Price::from_mantissa(mantissa).at_scale(scale).to_string();
            prop_assert_eq!(parse_fixed(printed.as_bytes(), scale), Ok(mantissa));
            prop_assert_eq!(Decimal::parse(printed.as_bytes()).unwrap().mantissa(), i128::from(mantissa));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(text in proptest::collection::vec(any::<u8>(), 0..48), scale in 0_u8..=18) {
            let _ = parse_fixed(&text, scale);
            let _ = Decimal::parse(&text);
        }
    }
}
