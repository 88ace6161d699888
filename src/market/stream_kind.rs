//! Kinds of stream: which of a symbol's streams an event belongs to.
//!
//! ```text
//! channel `depth20@100ms` ─► StreamKind BOOK_20 ◄─ event BookUpdate { depth: 20 }
//!           cold side                               hot core
//! ```
//! (Symbol, StreamKind) names one subscription on both sides of the rings without a text. Two channels whose messages become
//! the same events share a kind of stream (Binance `ticker` and `miniTicker`, `depth` and `depth@100ms`).

use super::{AggTrade, BookUpdate, EventKind, Kline, KlineInterval, Liquidation, MarkPrice, Quote, Ticker, Trade};
use std::fmt;

/// One of at most 32 kinds of stream a symbol may have: the kind of event, with the depth of a book or the interval of a
/// candle.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct StreamKind(u8);

/// (name, kind) by kind of stream.
const STREAM_KINDS: [(&str, EventKind); 32] = [
    ("trade", EventKind::Trade),
    ("agg_trade", EventKind::AggTrade),
    ("quote", EventKind::Quote),
    ("ticker", EventKind::Ticker),
    ("mark_price", EventKind::MarkPrice),
    ("liquidation", EventKind::Liquidation),
    ("book", EventKind::Book),
    ("book_5", EventKind::Book),
    ("book_10", EventKind::Book),
    ("book_20", EventKind::Book),
    ("book_50", EventKind::Book),
    ("book_200", EventKind::Book),
    ("book_1000", EventKind::Book),
    ("book_other", EventKind::Book),
    ("kline_1s", EventKind::Kline),
    ("kline_1m", EventKind::Kline),
    ("kline_3m", EventKind::Kline),
    ("kline_5m", EventKind::Kline),
    ("kline_15m", EventKind::Kline),
    ("kline_30m", EventKind::Kline),
    ("kline_1h", EventKind::Kline),
    ("kline_2h", EventKind::Kline),
    ("kline_4h", EventKind::Kline),
    ("kline_6h", EventKind::Kline),
    ("kline_8h", EventKind::Kline),
    ("kline_12h", EventKind::Kline),
    ("kline_1d", EventKind::Kline),
    ("kline_3d", EventKind::Kline),
    ("kline_1w", EventKind::Kline),
    ("kline_1M", EventKind::Kline),
    ("kline_other", EventKind::Kline),
    ("gap", EventKind::Gap),
];

const _: () = assert!(STREAM_KINDS.len() <= StreamKind::COUNT, "a kind of stream is below StreamKind::COUNT");

impl StreamKind {
    /// Every kind of stream is below this: the size of a table by kind of stream.
    pub const COUNT: usize = 32;

    /// Single fills.
    pub const TRADE: Self = Self(0);
    /// Fills joined by taker order and price.
    pub const AGG_TRADE: Self = Self(1);
    /// Best bid and ask.
    pub const QUOTE: Self = Self(2);
    /// Rolling statistics.
    pub const TICKER: Self = Self(3);
    /// Mark, index, funding.
    pub const MARK_PRICE: Self = Self(4);
    /// Liquidations.
    pub const LIQUIDATION: Self = Self(5);
    /// Changes of the unbounded book.
    pub const BOOK: Self = Self(6);

    /// Candles of a length that has no kind of stream of its own.
    pub const KLINE_OTHER: Self = Self(30);

    /// Markers of holes in the other streams: no venue's stream, and yet one of its own to whoever keeps events by stream.
    pub const GAP: Self = Self(31);

    /// Every kind of stream, in their order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..STREAM_KINDS.len()).filter_map(Self::new)
    }

    /// The kind of stream with this index, if there is one.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "below StreamKind::COUNT")]
    pub const fn new(index: usize) -> Option<Self> {
        if index < STREAM_KINDS.len() { Some(Self(index as u8)) } else { None }
    }

    /// The kind of stream of a book by its channel's depth in levels a side; 0 where it is unbounded.
    #[inline]
    #[must_use]
    pub const fn of_depth(levels: u16) -> Self {
        Self(match levels {
            0 => 6,
            5 => 7,
            10 => 8,
            20 => 9,
            50 => 10,
            200 => 11,
            1_000 => 12,
            _ => 13,
        })
    }

    /// The kind of stream of candles of this length, in whichever unit the venue writes it: 60 minutes are an hour.
    #[inline]
    #[must_use]
    pub const fn of_interval(interval: KlineInterval) -> Self {
        use KlineInterval::{Days, Hours, Minutes, Months, Seconds, Weeks};
        Self(match interval {
            Seconds(1) => 14,
            Minutes(1) | Seconds(60) => 15,
            Minutes(3) => 16,
            Minutes(5) => 17,
            Minutes(15) => 18,
            Minutes(30) => 19,
            Hours(1) | Minutes(60) => 20,
            Hours(2) | Minutes(120) => 21,
            Hours(4) | Minutes(240) => 22,
            Hours(6) | Minutes(360) => 23,
            Hours(8) | Minutes(480) => 24,
            Hours(12) | Minutes(720) => 25,
            Days(1) | Hours(24) | Minutes(1_440) => 26,
            Days(3) => 27,
            Weeks(1) | Days(7) => 28,
            Months(1) => 29,
            _ => 30,
        })
    }

    /// Position in every table by kind of stream: below [`StreamKind::COUNT`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The kind of its events.
    #[must_use]
    pub const fn kind(self) -> EventKind {
        STREAM_KINDS[self.index()].1
    }

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        STREAM_KINDS[self.index()].0
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! stream_kinds {
    ($($event:ty, |$this:ident| $stream_kind:expr;)*) => {
        $(
            impl $event {
                /// Which of its symbol's streams it belongs to.
                #[inline]
                #[must_use]
                pub const fn stream_kind(&self) -> StreamKind {
                    let $this = self;
                    $stream_kind
                }
            }
        )*
    };
}

stream_kinds! {
    Trade, |_event| StreamKind::TRADE;
    AggTrade, |_event| StreamKind::AGG_TRADE;
    Quote, |_event| StreamKind::QUOTE;
    Ticker, |_event| StreamKind::TICKER;
    BookUpdate<'_>, |event| StreamKind::of_depth(event.depth);
    Kline, |event| StreamKind::of_interval(event.interval);
    MarkPrice, |_event| StreamKind::MARK_PRICE;
    Liquidation, |_event| StreamKind::LIQUIDATION;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_stream_kind_has_a_name_and_a_number_of_its_own_below_the_count() {
        let names: BTreeSet<&str> = StreamKind::all().map(StreamKind::name).collect();
        assert_eq!(names.len(), STREAM_KINDS.len());
        for (index, stream_kind) in StreamKind::all().enumerate() {
            assert_eq!(stream_kind.index(), index);
            assert!(stream_kind.index() < StreamKind::COUNT);
        }
        assert_eq!(StreamKind::new(STREAM_KINDS.len()), None);
    }

    #[test]
    fn the_named_stream_kinds_are_of_the_kinds_their_names_say() {
        let named = [
            (StreamKind::TRADE, EventKind::Trade),
            (StreamKind::AGG_TRADE, EventKind::AggTrade),
            (StreamKind::QUOTE, EventKind::Quote),
            (StreamKind::TICKER, EventKind::Ticker),
            (StreamKind::MARK_PRICE, EventKind::MarkPrice),
            (StreamKind::LIQUIDATION, EventKind::Liquidation),
            (StreamKind::BOOK, EventKind::Book),
        ];
        for (stream_kind, kind) in named {
            assert_eq!(stream_kind.kind(), kind, "{stream_kind}");
        }
        let depths = [0, 5, 10, 20, 50, 200, 1_000, 7].map(|levels| StreamKind::of_depth(levels).name());
        let expected = ["book", "book_5", "book_10", "book_20", "book_50", "book_200", "book_1000", "book_other"];
        assert_eq!(depths, expected);
    }

    #[test]
    fn an_interval_is_one_stream_kind_in_every_unit_and_no_two_intervals_share_one() {
        use KlineInterval::{Days, Hours, Minutes, Months, Seconds, Weeks};
        let same: [&[KlineInterval]; 16] = [
            &[Seconds(1)],
            &[Minutes(1), Seconds(60)],
            &[Minutes(3)],
            &[Minutes(5)],
            &[Minutes(15)],
            &[Minutes(30)],
            &[Hours(1), Minutes(60)],
            &[Hours(2), Minutes(120)],
            &[Hours(4), Minutes(240)],
            &[Hours(6), Minutes(360)],
            &[Hours(8), Minutes(480)],
            &[Hours(12), Minutes(720)],
            &[Days(1), Hours(24), Minutes(1_440)],
            &[Days(3)],
            &[Weeks(1), Days(7)],
            &[Months(1)],
        ];
        let mut seen = BTreeSet::new();
        for intervals in same {
            let stream_kinds: BTreeSet<StreamKind> =
                intervals.iter().map(|&interval| StreamKind::of_interval(interval)).collect();
            assert_eq!(stream_kinds.len(), 1, "{intervals:?}");
            assert!(
                stream_kinds
                    .iter()
                    .all(|stream_kind| stream_kind.kind() == EventKind::Kline && stream_kind.name() != "kline_other")
            );
            assert!(seen.insert(stream_kinds), "{intervals:?}");
        }
        assert_eq!(StreamKind::of_interval(Minutes(7)).name(), "kline_other");
    }
}
