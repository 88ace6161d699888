//! Times as the engine and the venues tell them, and what waits behind what has just come. Every time is nanoseconds; the
//! type says which clock.

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

/// When the bytes of an event were received: the return of the read that brought its last byte, on both clocks; and what
/// had been received behind it by then.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Received {
    /// On CLOCK_MONOTONIC.
    pub mono: MonoNs,
    /// On CLOCK_REALTIME: nanoseconds since the Unix epoch.
    pub wall_ns: i64,
    /// What lay behind its message, received and not looked at.
    pub backlog: Backlog,
}

/// What lay behind a message on its connection when it was taken to be decoded: in this process, received and unread. All
/// events of one message say the same.
///
/// What is not in it: bytes in the kernel's queue of the socket or still on the network, of which nobody is told without a
/// system call, and every other connection. So `is_last_in_read` is no promise that the event is the newest there is; that it
/// is false is a proof that it is not.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
#[repr(transparent)]
pub struct Backlog(u32);

impl Backlog {
    /// Nothing lies behind.
    pub const NONE: Self = Self(0);

    /// Set where a whole frame or record lies behind.
    const HAS_MORE: u32 = 1 << 31;

    /// So many bytes behind a message; `has_more`: at least one whole frame, or TLS record, is among them.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "no more than 31 bits are left")]
    pub const fn new(unread_bytes: usize, has_more: bool) -> Self {
        let most = (Self::HAS_MORE - 1) as usize;
        let bytes = if unread_bytes > most { most } else { unread_bytes };
        Self(bytes as u32 | if has_more { Self::HAS_MORE } else { 0 })
    }

    /// Bytes received behind the message: frames, or parts of one, as plaintext; and over TLS the records behind them that
    /// are not opened yet, as they came.
    #[inline]
    #[must_use]
    pub const fn unread_bytes(self) -> u32 {
        self.0 & !Self::HAS_MORE
    }

    /// True where no whole frame and no whole TLS record lies behind: what remains, if anything, is a part of one. A ping
    /// that lies behind counts as a frame.
    #[inline]
    #[must_use]
    pub const fn is_last_in_read(self) -> bool {
        self.0 & Self::HAS_MORE == 0
    }
}

impl std::fmt::Debug for Backlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backlog")
            .field("unread_bytes", &self.unread_bytes())
            .field("is_last_in_read", &self.is_last_in_read())
            .finish()
    }
}

/// A time the venue stated: nanoseconds since the Unix epoch, never zero, so that an `Option` of it is 8 bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct VenueTime(NonZeroI64);

impl VenueTime {
    /// Most milliseconds since the epoch whose nanoseconds do not overflow: in the year 2262.
    pub const MS_MAX: i64 = i64::MAX / 1_000_000;

    /// From milliseconds since the epoch; `None` for zero or for a value whose nanoseconds overflow.
    #[inline]
    #[must_use]
    pub fn from_ms(ms: i64) -> Option<Self> {
        if (-Self::MS_MAX..=Self::MS_MAX).contains(&ms) { Self::from_ns(ms * 1_000_000) } else { None }
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
    fn a_backlog_keeps_its_bytes_and_whether_more_lies_whole_among_them() {
        for bytes in [0, 1, 127 * 1024, (1 << 31) - 1, 1 << 31, usize::MAX] {
            for has_more in [false, true] {
                let backlog = Backlog::new(bytes, has_more);
                assert_eq!(backlog.unread_bytes() as usize, bytes.min((1 << 31) - 1));
                assert_eq!(backlog.is_last_in_read(), !has_more);
            }
        }
        assert!(Backlog::NONE.is_last_in_read() && Backlog::default() == Backlog::NONE);
    }

    #[test]
    fn milliseconds_that_overflow_nanoseconds_are_no_time() {
        assert_eq!(VenueTime::from_ms(i64::MAX), None);
        assert_eq!(VenueTime::from_ms(0), None);
        assert_eq!(VenueTime::from_ms(1_700_000_000_123).map(VenueTime::ns), Some(1_700_000_000_123_000_000));
    }
}
