//! `[connection.book]`: which level-2 books a connection's hot core keeps, and how deep they are known.
//!
//! ```text
//! channels ──► the one that a book is made of: without a bound before the deepest ──► levels kept, top, snapshots
//! ```
//! Every field is one key of the table. Where snapshots come by REST (Binance) they are asked for twice: first with as many
//! levels as the cheapest request gives, so that all books are live soon, then with `snapshot_depth`, as the budget allows.

use super::check::One;
use super::reader::Section;
use super::{ConnectionConfig, RestConfig};
use crate::book::BookSettings;
use crate::control::SnapshotDepth;
use crate::limits::{BOOK_LEVEL_COUNT_MAX, BOOK_TOP_LEVELS_DEFAULT};
use crate::market::Venue;
use crate::venue::{Channel, ChannelKind, ChannelScope, protocol};
use std::fmt::Write;

/// Levels a side that a book is known to in the end, where nothing else is said: at 50 of 3,000 weight a minute (Binance spot),
/// 500 symbols take a quarter of an hour; 5,000 levels would take five times as long.
const SNAPSHOT_DEPTH_DEFAULT: u16 = 1_000;

/// Fewest levels that a book may be kept or known to: fewer are used up by an ordinary second of a busy market.
const DEPTH_MIN: usize = 5;

/// Most messages that a book may stay crossed: a minute of the fastest stream.
const CROSSED_MAX: u32 = 1_000;

/// Which books are kept, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BookConfig {
    /// The hot core keeps a book of every symbol that has a book channel here.
    pub keep: bool,
    /// Levels kept a side; `None`: all that the channel sends, 10,000 where it has no bound.
    pub depth: Option<usize>,
    /// How many of the best levels of a side count as its top.
    pub top_levels: usize,
    /// Messages in a row after which the best bid may be at or above the best ask before the book counts as wrong.
    pub crossed_updates_max: u32,
    /// Levels a side of the first snapshot; `None`: as many as the venue's cheapest request gives.
    pub snapshot_depth_first: Option<u16>,
    /// Levels a side of the snapshot that follows as the budget allows; `None`: 1,000.
    pub snapshot_depth: Option<u16>,
}

impl Default for BookConfig {
    fn default() -> Self {
        Self {
            keep: true,
            depth: None,
            top_levels: BOOK_TOP_LEVELS_DEFAULT,
            crossed_updates_max: 0,
            snapshot_depth_first: None,
            snapshot_depth: None,
        }
    }
}

impl BookConfig {
    /// How a book from a channel of this depth (0: without a bound) is kept.
    #[must_use]
    pub fn settings(&self, depth: u16) -> BookSettings {
        let all = BookSettings::for_depth(depth);
        BookSettings {
            depth_kept: self.depth.map_or(all.depth_kept, |depth| depth.min(all.depth_kept)),
            top_levels: self.top_levels,
            crossed_updates_max: self.crossed_updates_max,
        }
    }

    /// The snapshots that a book of this venue is made of, shallow first; none where its stream brings them.
    #[must_use]
    pub fn snapshots(&self, venue: Venue) -> Vec<SnapshotDepth> {
        let protocol = protocol(venue);
        let Some(first) = protocol.depth_first() else { return Vec::new() };
        let last = self.depth_last(venue).0;
        let first = self.snapshot_depth_first.unwrap_or(first).min(last);
        let depth = |levels| SnapshotDepth { levels, weight: protocol.depth_weight(levels) };
        let mut depths = vec![depth(first)];
        depths.extend((last > first).then(|| depth(last)));
        depths
    }

    /// How many levels a side a book of this venue is known to in the end, and which setting says so.
    fn depth_last(&self, venue: Venue) -> (u16, &'static str) {
        let asked = match self.snapshot_depth {
            Some(levels) => (levels, "snapshot_depth"),
            None => (SNAPSHOT_DEPTH_DEFAULT, "the default snapshot_depth"),
        };
        let kept = self.depth.map(|depth| (u16::try_from(depth).unwrap_or(u16::MAX), "depth"));
        let most = (protocol(venue).depth_max(), "the venue's most");
        [Some(asked), kept, Some(most)].into_iter().flatten().min_by_key(|&(levels, _)| levels).unwrap_or(asked)
    }
}

/// How deep the books of a channel are: 0 where it has no bound; `None` for a channel without books.
#[must_use]
pub fn book_depth(channel: &Channel) -> Option<u16> {
    match channel.kind {
        ChannelKind::Depth { levels } | ChannelKind::PartialDepth { levels } => Some(levels),
        _ => None,
    }
}

/// Whether a book is rather made of a channel of the first depth than of one of the second: without a bound before the deepest.
#[must_use]
pub fn is_better_book(depth: u16, than: u16) -> bool {
    match (depth, than) {
        (0, than) => than != 0,
        (_, 0) => false,
        (depth, than) => depth > than,
    }
}

impl ConnectionConfig {
    /// The channel that books are made of here; `None`: no book is kept.
    #[must_use]
    pub fn book_channel(&self) -> Option<&Channel> {
        let mut best: Option<(&Channel, u16)> = None;
        let per_symbol = self.channels.iter().filter(|channel| channel.scope == ChannelScope::PerSymbol);
        for (channel, depth) in per_symbol.filter_map(|channel| Some((channel, book_depth(channel)?))) {
            if best.is_none_or(|(_, known)| is_better_book(depth, known)) {
                best = Some((channel, depth));
            }
        }
        best.map(|(channel, _)| channel).filter(|_| self.book.keep)
    }
}

/// Lays the table over the settings.
pub(super) fn apply_book(mut table: Section<'_>, book: &mut BookConfig) {
    table.flag("keep", &mut book.keep);
    optional(&mut table, "depth", &mut book.depth);
    table.count("top_levels", &mut book.top_levels);
    table.count("crossed_updates_max", &mut book.crossed_updates_max);
    optional(&mut table, "snapshot_depth_first", &mut book.snapshot_depth_first);
    optional(&mut table, "snapshot_depth", &mut book.snapshot_depth);
    table.finish();
}

fn optional<T: TryFrom<i64> + Default>(table: &mut Section<'_>, key: &'static str, into: &mut Option<T>) {
    let mut value = T::default();
    table.count(key, &mut value);
    if table.has(key) {
        *into = Some(value);
    }
}

impl One<'_> {
    /// Every key of the table held to its range.
    pub(super) fn book(&mut self) {
        let connection = self.connection;
        let (book, venue) = (&connection.book, connection.venue);
        if let Some(depth) = book.depth {
            self.range("book.depth", depth, DEPTH_MIN..=BOOK_LEVEL_COUNT_MAX, "levels a side");
        }
        self.range("book.top_levels", book.top_levels, 0..=BOOK_LEVEL_COUNT_MAX, "levels a side");
        self.range("book.crossed_updates_max", book.crossed_updates_max, 0..=CROSSED_MAX, "messages in a row");
        let most = protocol(venue).depth_max();
        for (key, levels) in
            [("book.snapshot_depth_first", book.snapshot_depth_first), ("book.snapshot_depth", book.snapshot_depth)]
        {
            let Some(levels) = levels else { continue };
            if protocol(venue).depth_first().is_none() {
                let allowed = format!("no such key: {venue} begins each book with a snapshot on its stream");
                self.refuse(key, levels, allowed);
            } else {
                let least = u16::try_from(DEPTH_MIN).unwrap_or(u16::MAX);
                self.range(key, levels, least..=most, &format!("levels a side ({venue})"));
            }
        }
        if let Some(first) = book.snapshot_depth_first
            && protocol(venue).depth_first().is_some()
            && let (last, key) = book.depth_last(venue)
            && first > last
        {
            let found = format!("{first}, above {key} = {last}");
            self.refuse("book.snapshot_depth_first", found, format!("{last} or less: the shallow one comes first"));
        }
        self.share_carries_a_snapshot();
    }

    /// A snapshot that costs more than our share of a window would never be asked for.
    fn share_carries_a_snapshot(&mut self) {
        let connection = self.connection;
        let RestConfig { weight_share_percent, .. } = connection.rest;
        let Some((weight, _)) = protocol(connection.venue).rest_limits().weight else { return };
        let share = u64::from(weight) * u64::from(weight_share_percent) / 100;
        let heaviest = connection.book.snapshots(connection.venue).last().copied();
        if let Some(SnapshotDepth { levels, weight }) = heaviest.filter(|depth| u64::from(depth.weight) > share)
            && connection.book_channel().is_some()
        {
            let found = format!("{levels} levels for a weight of {weight}");
            let allowed = format!(
                "a snapshot within rest.weight_share_percent = {weight_share_percent}: {share} a minute on {}",
                connection.venue
            );
            self.refuse("book.snapshot_depth", found, allowed);
        }
    }
}

/// What `tickwire check` says of a connection's books.
pub(super) fn write_books(connection: &ConnectionConfig, out: &mut String) -> std::fmt::Result {
    let Some(channel) = connection.book_channel() else {
        let has_any = connection.channels.iter().any(|channel| book_depth(channel).is_some());
        return if has_any { writeln!(out, "  books        none kept (book.keep)") } else { Ok(()) };
    };
    let settings = connection.book.settings(book_depth(channel).unwrap_or_default());
    write!(out, "  books        of {}, up to {} levels a side; ", channel.native, settings.depth_kept)?;
    match connection.book.snapshots(connection.venue).as_slice() {
        [] => writeln!(out, "snapshots on the stream, a gap is repaired by subscribing that one again"),
        depths => {
            let texts: Vec<String> =
                depths.iter().map(|depth| format!("{} levels (weight {})", depth.levels, depth.weight)).collect();
            writeln!(out, "snapshots by REST: {}", texts.join(", then "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{connection, load_text, refused};
    use super::super::{Config, describe};
    use super::*;

    fn of(venue: Venue, channels: &[&str]) -> ConnectionConfig {
        ConnectionConfig::new("a", venue).subscribed_to(&["BTCUSDT"], channels).unwrap()
    }

    #[test]
    fn a_book_is_made_of_the_channel_without_a_bound_or_of_the_deepest() {
        let channel =
            |venue, channels: &[&str]| of(venue, channels).book_channel().map(|channel| channel.native.to_string());
        assert_eq!(channel(Venue::BinanceSpot, &["depth20", "trade", "depth@100ms"]).as_deref(), Some("depth@100ms"));
        assert_eq!(channel(Venue::BinanceSpot, &["depth5", "depth20", "depth10"]).as_deref(), Some("depth20"));
        let bybit = channel(Venue::BybitLinear, &["orderbook.50", "orderbook.200", "orderbook.1", "tickers"]);
        assert_eq!(bybit.as_deref(), Some("orderbook.200"));
        assert_eq!(channel(Venue::BybitLinear, &["orderbook.1"]), None, "a best bid and ask is no book");
        assert_eq!(channel(Venue::BinanceSpot, &["trade"]), None);
        let mut none = of(Venue::BinanceSpot, &["depth"]);
        none.book.keep = false;
        assert_eq!(none.book_channel(), None);
    }

    #[test]
    fn snapshots_begin_with_the_cheapest_and_are_never_deeper_than_what_is_kept_or_there_is() {
        let depths = |venue, book: BookConfig| {
            book.snapshots(venue).iter().map(|depth| (depth.levels, depth.weight)).collect::<Vec<_>>()
        };
        let with = |first: Option<u16>, last: Option<u16>, depth: Option<usize>| BookConfig {
            snapshot_depth_first: first,
            snapshot_depth: last,
            depth,
            ..BookConfig::default()
        };
        assert_eq!(depths(Venue::BinanceSpot, BookConfig::default()), [(100, 5), (1_000, 50)]);
        assert_eq!(depths(Venue::BinanceUsdm, BookConfig::default()), [(50, 2), (1_000, 20)]);
        assert_eq!(depths(Venue::BybitSpot, BookConfig::default()), []);
        assert_eq!(depths(Venue::BinanceSpot, with(None, Some(5_000), None)), [(100, 5), (5_000, 250)]);
        assert_eq!(depths(Venue::BinanceUsdm, with(None, Some(5_000), None)), [(50, 2), (1_000, 20)]);
        assert_eq!(depths(Venue::BinanceSpot, with(Some(500), Some(500), None)), [(500, 25)]);
        assert_eq!(depths(Venue::BinanceSpot, with(None, None, Some(20))), [(20, 5)]);
        assert_eq!(with(None, None, Some(20)).settings(0).depth_kept, 20);
        assert_eq!(with(None, None, Some(500)).settings(50).depth_kept, 50, "a channel's own depth is the most");
        assert_eq!(BookConfig::default().settings(0).depth_kept, BOOK_LEVEL_COUNT_MAX);
    }

    #[test]
    fn every_key_reaches_its_field_and_a_connection_wins_over_the_defaults() {
        let text = format!(
            "[defaults.book]\ndepth = 9_000\ncrossed_updates_max = 2\n{}",
            connection(
                "[connection.book]\ndepth = 2_000\ntop_levels = 3\nsnapshot_depth_first = 20\nsnapshot_depth = 500\nkeep = false\n"
            )
        );
        let expected = BookConfig {
            keep: false,
            depth: Some(2_000),
            top_levels: 3,
            crossed_updates_max: 2,
            snapshot_depth_first: Some(20),
            snapshot_depth: Some(500),
        };
        assert_eq!(load_text(&text).unwrap().connections[0].book, expected);
    }

    #[test]
    fn a_value_out_of_its_range_is_refused_with_the_range() {
        for (line, found, allowed) in [
            ("book.depth = 4", "4", "5 to 10000 levels a side"),
            ("book.depth = 10001", "10001", "5 to 10000 levels a side"),
            ("book.top_levels = 10001", "10001", "0 to 10000 levels a side"),
            ("book.crossed_updates_max = 1001", "1001", "0 to 1000 messages in a row"),
            ("book.snapshot_depth = 5001", "5001", "5 to 5000 levels a side (binance-spot)"),
            ("book.snapshot_depth_first = 4", "4", "5 to 5000 levels a side (binance-spot)"),
            ("book.keep = 1", "1 (a value of type integer)", "true or false"),
            (
                "book.depht = 7",
                "unknown key `depht`",
                "the keys here are keep, depth, top_levels, crossed_updates_max, snapshot_depth_first, snapshot_depth",
            ),
        ] {
            let key = line.split(" = ").next().unwrap();
            refused(&connection(line), 6, &format!("connection[a].{key}"), found, allowed);
        }
    }

    #[test]
    fn snapshots_are_refused_where_the_stream_brings_them_and_where_our_share_never_carries_one() {
        let mut bybit = of(Venue::BybitLinear, &["orderbook.50"]);
        bybit.book.snapshot_depth = Some(50);
        let mut spot = of(Venue::BinanceSpot, &["depth"]);
        (spot.rest.weight_share_percent, spot.book.snapshot_depth) = (1, Some(5_000));
        let mut turned = of(Venue::BinanceSpot, &["depth"]);
        (turned.book.snapshot_depth_first, turned.book.snapshot_depth) = (Some(500), Some(100));
        let mut alone = of(Venue::BinanceSpot, &["depth"]);
        alone.book.snapshot_depth_first = Some(2_000);
        let mut kept = of(Venue::BinanceSpot, &["depth"]);
        (kept.book.snapshot_depth_first, kept.book.depth) = (Some(50), Some(20));
        for (connection, what) in [
            (bybit, "begins each book with a snapshot on its stream"),
            (spot, "rest.weight_share_percent = 1: 60 a minute on binance-spot"),
            (turned, "500, above snapshot_depth = 100"),
            (alone, "2000, above the default snapshot_depth = 1000"),
            (kept, "50, above depth = 20"),
        ] {
            let errors = Config::from_connections(vec![connection]).unwrap_err().to_string();
            assert!(errors.contains(what), "{errors}");
        }
    }

    #[test]
    fn the_check_says_what_books_are_made_of() {
        let text = |connection| describe(&Config::from_connections(vec![connection]).unwrap());
        let spot = text(of(Venue::BinanceSpot, &["depth", "trade"]));
        let expected = "books        of depth, up to 10000 levels a side; snapshots by REST: 100 levels (weight 5), then 1000 levels (weight 50)\n";
        assert!(spot.contains(expected), "{spot}");
        let bybit = text(of(Venue::BybitLinear, &["orderbook.50"]));
        assert!(
            bybit.contains("books        of orderbook.50, up to 50 levels a side; snapshots on the stream"),
            "{bybit}"
        );
        assert!(!text(of(Venue::BinanceSpot, &["trade"])).contains("books"));
        let mut none = of(Venue::BinanceSpot, &["depth"]);
        none.book.keep = false;
        assert!(text(none).contains("books        none kept (book.keep)"));
    }
}
