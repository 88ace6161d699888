//! Small tools of the embedded exchange: a generator of random numbers that never changes, and JSON written by hand.
//!
//! ```text
//! seed ──► Rng ──► book, trades          the same numbers on every machine, in every version
//! value ──► Json ──► reused BytesMut     no intermediate String, no float
//! ```
//! Called by every file that makes messages. Never allocates but where the buffer grows.

use bytes::BytesMut;

/// SplitMix64: tiny, and the same for ever, so that a seed names one market.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    /// A generator for one purpose: each (seed, stream) pair gives unrelated numbers.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        rng.next();
        rng
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound` (which is not zero).
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        self.next() % bound
    }

    /// An index below `bound`.
    pub(super) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("below a usize")
    }

    /// True in `percent` of a hundred cases.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// How a venue writes one kind of number of one symbol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NumberText {
    /// Decimals of the mantissa.
    pub(super) scale: u8,
    /// Decimals written at least (Binance spot pads everything to 8).
    pub(super) decimals: u8,
    /// Trailing zeros are dropped (Bybit spot).
    pub(super) is_trimmed: bool,
}

/// Appends JSON text to a buffer.
pub(super) struct Json<'a>(pub(super) &'a mut BytesMut);

impl Json<'_> {
    /// Literal text.
    pub(super) fn s(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// An unsigned integer.
    pub(super) fn u(&mut self, value: impl Into<u128>) -> &mut Self {
        let value = value.into();
        let mut digits = [0_u8; 40];
        let mut at = digits.len();
        // 64-bit division is several times cheaper, and nearly every number fits.
        if let Ok(mut small) = u64::try_from(value) {
            loop {
                at -= 1;
                digits[at] = b'0' + u8::try_from(small % 10).expect("a digit");
                small /= 10;
                if small == 0 {
                    break;
                }
            }
        } else {
            let mut big = value;
            while big > 0 {
                at -= 1;
                digits[at] = b'0' + u8::try_from(big % 10).expect("a digit");
                big /= 10;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
        self
    }

    /// A fixed-point number, without quotes.
    pub(super) fn fixed(&mut self, mantissa: impl Into<u128>, text: NumberText) -> &mut Self {
        let mantissa = mantissa.into();
        let unit = 10_u128.pow(u32::from(text.scale));
        let (whole, fraction) = match (u64::try_from(mantissa), u64::try_from(unit)) {
            (Ok(mantissa), Ok(unit)) => (u128::from(mantissa / unit), u128::from(mantissa % unit)),
            _ => (mantissa / unit, mantissa % unit),
        };
        self.u(whole);
        if text.is_trimmed && fraction == 0 {
            return self;
        }
        if text.scale > 0 || text.decimals > 0 {
            self.s(".");
        }
        if text.scale > 0 {
            let start = self.0.len();
            self.u(unit + fraction);
            // The leading 1 kept the zeros; the point already stands where it goes.
            self.0.copy_within(start + 1.., start);
            self.0.truncate(self.0.len() - 1);
        }
        if text.is_trimmed {
            while self.0.last() == Some(&b'0') {
                self.0.truncate(self.0.len() - 1);
            }
        } else {
            for _ in text.scale..text.decimals {
                self.s("0");
            }
        }
        self
    }
}

/// `text` with its `%XX` escapes decoded; `None` if an escape or the UTF-8 is broken. `+` stays `+`: it is part of
/// stream names (`kline_1d@+08:00`).
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = text.get(at + 1..at + 3)?;
            decoded.push(u8::from_str_radix(hex, 16).ok()?);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(mantissa: u64, scale: u8, decimals: u8, is_trimmed: bool) -> String {
        let mut out = BytesMut::new();
        Json(&mut out).fixed(mantissa, NumberText { scale, decimals, is_trimmed });
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_each_venue_writes_them() {
        assert_eq!(fixed(6_183_763, 2, 8, false), "61837.63000000");
        assert_eq!(fixed(618_002, 1, 2, false), "61800.20");
        assert_eq!(fixed(651_400, 1, 1, true), "65140");
        assert_eq!(fixed(14_000, 6, 6, true), "0.014");
        assert_eq!(fixed(0, 3, 3, false), "0.000");
        assert_eq!(fixed(5, 0, 0, false), "5");
        assert_eq!(fixed(5, 8, 8, false), "0.00000005");
    }

    #[test]
    fn every_mantissa_reads_back_as_itself() {
        let mut rng = Rng::new(1, 1);
        for _ in 0..2_000 {
            let (mantissa, scale) = (rng.below(1 << 50), u8::try_from(rng.below(12)).unwrap());
            let text = fixed(mantissa, scale, scale, rng.percent(50));
            assert_eq!(
                crate::market::parse_fixed(text.as_bytes(), scale),
                Ok(i64::try_from(mantissa).unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_refused() {
        assert_eq!(percent_decoded("%21bookTicker").as_deref(), Some("!bookTicker"));
        assert_eq!(percent_decoded("kline_1d@+08:00").as_deref(), Some("kline_1d@+08:00"));
        assert_eq!(percent_decoded("%2"), None);
        assert_eq!(percent_decoded("%zz"), None);
        assert_eq!(percent_decoded("%ff"), None);
    }
}
