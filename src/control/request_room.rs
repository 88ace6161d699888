//! How much one request holds: shared by the store, which forms requests, and the planner, which foretells them.
//!
//! ```text
//! | frame header | {"method":"SUBSCRIBE","params":[ | "a", | "b", | .. | ],"id":18446744073709551615} |
//!       14             bytes_empty, both parts      arg_bytes each                          <= the limit of a frame
//! ```

use super::{PlanError, SubscriptionSettings};
use crate::limits::REQUEST_BYTES_DEFAULT;
use crate::venue::{Limits, Protocol};

/// Longest header of a client's frame (RFC 6455 section 5.2): two bytes, eight of length, four of mask.
const FRAME_HEADER_BYTES_MAX: usize = 14;

/// What fits in one request on one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestRoom {
    /// Streams, at most.
    pub streams_max: usize,
    /// Bytes of a request's frame, at most.
    pub bytes_max: usize,
    /// Bytes of a request without its streams, its frame's header included.
    bytes_empty: usize,
}

impl RequestRoom {
    /// What the venue and the operator both allow.
    #[must_use]
    pub fn of(protocol: &dyn Protocol, limits: &Limits, settings: &SubscriptionSettings) -> Self {
        let as_usize = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        let streams_max =
            as_usize(settings.batch_streams_max).min(limits.args_per_request.map_or(usize::MAX, as_usize));
        let bytes_max = limits.request_bytes_max.into_iter().chain(settings.request_bytes_max).min();
        Self {
            streams_max: streams_max.max(1),
            bytes_max: bytes_max.map_or(REQUEST_BYTES_DEFAULT, as_usize),
            bytes_empty: protocol.request_bytes_empty() + FRAME_HEADER_BYTES_MAX,
        }
    }

    /// True if a request of `count` streams and `arg_bytes` bytes of arguments takes one more of `more` bytes.
    #[must_use]
    pub const fn takes(&self, count: usize, arg_bytes: usize, more: usize) -> bool {
        count < self.streams_max && self.bytes_empty + arg_bytes + more <= self.bytes_max
    }

    /// Refuses a request of so many streams and bytes of arguments, of which `stream` is the first.
    pub(super) fn check(&self, stream: &str, count: usize, arg_bytes: usize) -> Result<(), PlanError> {
        let (bytes, limit) = (self.bytes_empty + arg_bytes, self.bytes_max);
        if bytes > limit {
            return Err(PlanError::TooManyBytes { stream: stream.to_owned(), bytes, limit });
        }
        if count > self.streams_max {
            return Err(PlanError::TooManyArgs { count, limit: self.streams_max });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Venue;
    use crate::venue::{arg_bytes, protocol};

    #[test]
    fn a_request_that_fits_is_no_longer_as_a_frame_than_the_limit() {
        for venue in Venue::ALL {
            let (protocol, limits) = (protocol(venue), protocol(venue).limits());
            let settings = SubscriptionSettings { request_bytes_max: Some(300), ..SubscriptionSettings::default() };
            let room = RequestRoom::of(protocol, &limits, &settings);
            let (mut streams, mut bytes) = (Vec::new(), 0);
            while room.takes(streams.len(), bytes, arg_bytes("quote\"@trade")) {
                streams.push("quote\"@trade");
                bytes += arg_bytes("quote\"@trade");
            }
            assert!(streams.len() > 5, "{venue}");
            let mut out = Vec::new();
            protocol.write_unsubscribe(u64::MAX, &mut streams.iter().copied(), &mut out);
            assert!(out.len() + FRAME_HEADER_BYTES_MAX <= 300, "{venue}: {}", out.len());
        }
    }

    #[test]
    fn the_stricter_of_venue_and_operator_holds_and_where_neither_says_anything_the_default() {
        let room = |venue, request_bytes_max| {
            let settings = SubscriptionSettings { request_bytes_max, ..SubscriptionSettings::default() };
            RequestRoom::of(protocol(venue), &protocol(venue).limits(), &settings)
        };
        assert_eq!(room(Venue::BinanceSpot, None).bytes_max, 4_096);
        assert_eq!(room(Venue::BinanceSpot, Some(9_000)).bytes_max, 4_096);
        assert_eq!(room(Venue::BinanceUsdm, Some(1_000)).bytes_max, 1_000);
        assert_eq!(room(Venue::BybitLinear, None).bytes_max, REQUEST_BYTES_DEFAULT);
        assert_eq!(room(Venue::BybitLinear, Some(9_000)).bytes_max, 9_000);
        assert_eq!((room(Venue::BybitSpot, None).streams_max, room(Venue::BybitLinear, None).streams_max), (10, 200));
    }
}
