//! Times as the engine and the venues tell them. Every one is nanoseconds; the type says which clock.

use std::num::NonZeroI64;

/// Nanoseconds on CLOCK_MONOTONIC (as the core's TSC clock follows it). Only differences mean anything.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// Nanoseconds from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// When the bytes of an event were received: the return of the read that brought its last byte, on both clocks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Received {
    /// On CLOCK_MONOTONIC.
    pub mono: MonoNs,
    /// On CLOCK_REALTIME: nanoseconds since the Unix epoch.
    pub wall_ns: i64,
}

/// A time the venue stated: nanoseconds since the Unix epoch, never zero, so that an `Option` of it is 8 bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct VenueTime(NonZeroI64);

impl VenueTime {
    /// From milliseconds since the epoch; `None` for zero or for a value whose nanoseconds overflow.
    #[must_use]
    pub fn from_ms(ms: i64) -> Option<Self> {
        ms.checked_mul(1_000_000).and_then(Self::from_ns)
    }

    /// From microseconds since the epoch; `None` for zero or overflow.
    #[must_use]
    pub fn from_us(us: i64) -> Option<Self> {
        us.checked_mul(1_000).and_then(Self::from_ns)
    }

    /// From nanoseconds since the epoch; `None` for zero.
    #[must_use]
    pub fn from_ns(ns: i64) -> Option<Self> {
        NonZeroI64::new(ns).map(Self)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn ns(self) -> i64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optional_venue_time_takes_eight_bytes() {
        assert_eq!(size_of::<Option<VenueTime>>(), 8);
    }

    #[test]
    fn milliseconds_that_overflow_nanoseconds_are_no_time() {
        assert_eq!(VenueTime::from_ms(i64::MAX), None);
        assert_eq!(VenueTime::from_ms(0), None);
        assert_eq!(VenueTime::from_ms(1_700_000_000_123).map(VenueTime::ns), Some(1_700_000_000_123_000_000));
    }
}
