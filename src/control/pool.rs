//! Which streams go on which connection, and how a set of connections fares.
//!
//! ```text
//! channels × symbols ─► by class of path ─► cut at the venue's streams and characters per connection
//!                       /public  /market    [ .. 200 ] [ .. 200 ] [ 17 ]
//! ```
//! The streams of one symbol stay beside each other, so a symbol is torn over two connections only at a cut.

use super::subscriptions::{arg_chars, check_limits};
use super::{PlanError, State, Status};
use crate::market::Venue;
use crate::venue::{Channel, ChannelKind, ChannelScope, Form, Limits, StreamClass, protocol};
use std::collections::HashSet;

/// What the operator sets below the venue's limits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PlanLimits {
    /// Streams one connection carries; `None`: the venue's limit.
    pub streams_per_connection: Option<u32>,
}

/// One connection to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlannedConnection {
    /// The class of data its path carries.
    pub class: StreamClass,
    /// Path and query of its upgrade request.
    pub path: String,
    /// What it is to be subscribed to, by the venue's names.
    pub streams: Vec<Box<str>>,
}

/// Spreads the streams of these channels and symbols over as few connections as the venue's limits allow.
///
/// # Errors
/// [`PlanError`]: nothing to subscribe to, a stream twice, an override above the venue's limit, or one stream that alone
/// is longer than a connection may send.
pub fn plan(
    venue: Venue,
    form: Form,
    channels: &[Channel],
    symbols: &[String],
    overrides: PlanLimits,
) -> Result<Vec<PlannedConnection>, PlanError> {
    let protocol = protocol(venue);
    let limits = limits_of(protocol.limits(), overrides)?;
    let mut connections: Vec<Filling> = Vec::new();
    let mut seen = HashSet::new();
    for (channel, stream) in streams(venue, channels, symbols) {
        if !seen.insert(stream.clone()) {
            return Err(PlanError::Duplicate { stream });
        }
        let class = protocol.class(channel);
        // A bare partial depth names neither its symbol nor its stream: only a connection of its own tells whose it is.
        let is_alone = form == Form::Raw
            && matches!(channel.kind, ChannelKind::PartialDepth { .. })
            && matches!(venue, Venue::BinanceSpot | Venue::BinanceUsdm);
        let chars = arg_chars(&stream);
        let open = connections.iter_mut().rev().find(|open| !is_alone && !open.is_alone && open.class == class);
        let at = match open {
            Some(open) if check_limits(&limits, open.streams.len() + 1, open.chars + chars).is_ok() => open,
            _ => {
                check_limits(&limits, 1, chars)?;
                connections.push(Filling { class, is_alone, chars: 0, streams: Vec::new() });
                connections.last_mut().expect("just pushed")
            }
        };
        at.chars += chars;
        at.streams.push(stream.into());
    }
    if connections.is_empty() {
        return Err(PlanError::Empty);
    }
    let planned = |filling: Filling| PlannedConnection {
        class: filling.class,
        path: protocol.path(form, filling.class),
        streams: filling.streams,
    };
    Ok(connections.into_iter().map(planned).collect())
}

/// How a set of connections fares.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Health {
    /// Connections.
    pub connections: usize,
    /// Those that are ready.
    pub ready: usize,
    /// Streams wanted on all of them.
    pub wanted: usize,
    /// Streams confirmed.
    pub active: usize,
    /// Streams refused.
    pub refused: usize,
}

impl Health {
    /// True if every connection is ready and no stream was refused.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.ready == self.connections && self.refused == 0
    }
}

/// Sums up the connections' statuses.
pub fn health<'a>(statuses: impl IntoIterator<Item = &'a Status>) -> Health {
    statuses.into_iter().fold(Health::default(), |health, status| Health {
        connections: health.connections + 1,
        ready: health.ready + usize::from(status.state == State::Ready),
        wanted: health.wanted + status.wanted,
        active: health.active + status.active,
        refused: health.refused + status.refused,
    })
}

/// A connection that still takes streams.
struct Filling {
    class: StreamClass,
    is_alone: bool,
    chars: usize,
    streams: Vec<Box<str>>,
}

fn limits_of(limits: Limits, overrides: PlanLimits) -> Result<Limits, PlanError> {
    let Some(found) = overrides.streams_per_connection else { return Ok(limits) };
    let limit = limits.streams_per_connection.unwrap_or(u32::MAX);
    if found == 0 || found > limit {
        return Err(PlanError::OverLimit { found, limit });
    }
    Ok(Limits { streams_per_connection: Some(found), ..limits })
}

/// Every stream with its channel: the all-market ones, then symbol by symbol.
fn streams<'a>(
    venue: Venue,
    channels: &'a [Channel],
    symbols: &'a [String],
) -> impl Iterator<Item = (&'a Channel, String)> {
    let of_scope = move |scope| channels.iter().filter(move |channel| channel.scope == scope);
    let all_market = of_scope(ChannelScope::AllMarket).map(move |c| (c, protocol(venue).stream(c, "")));
    let per_symbol = symbols.iter().flat_map(move |symbol| {
        of_scope(ChannelScope::PerSymbol).map(move |channel| (channel, protocol(venue).stream(channel, symbol)))
    });
    all_market.chain(per_symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(venue: Venue, names: &[&str]) -> Vec<Channel> {
        names.iter().map(|name| Channel::parse(venue, name).unwrap()).collect()
    }

    fn symbols(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("COIN{n}USDT")).collect()
    }

    fn planned(venue: Venue, form: Form, names: &[&str], symbol_count: usize) -> Vec<PlannedConnection> {
        plan(venue, form, &channels(venue, names), &symbols(symbol_count), PlanLimits::default()).unwrap()
    }

    #[test]
    fn two_classes_are_two_connections() {
        let plan = planned(Venue::BinanceUsdm, Form::Combined, &["bookTicker", "aggTrade"], 3);
        let paths: Vec<_> = plan.iter().map(|c| (c.path.as_str(), c.streams.len())).collect();
        assert_eq!(paths, [("/public/stream", 3), ("/market/stream", 3)]);
        assert_eq!(&*plan[1].streams[2], "coin2usdt@aggTrade");
    }

    #[test]
    fn more_streams_than_a_connection_carries_are_spread_and_none_is_lost_or_doubled() {
        for (venue, names, per_connection) in
            [(Venue::BinanceUsdm, ["trade", "bookTicker"], 200), (Venue::BinanceSpot, ["trade", "bookTicker"], 1_024)]
        {
            let plan = planned(venue, Form::Combined, &names, 1_500);
            assert_eq!(plan.len(), 3_000_usize.div_ceil(per_connection));
            assert!(plan.iter().all(|connection| connection.streams.len() <= per_connection));
            let distinct: HashSet<_> = plan.iter().flat_map(|connection| &connection.streams).collect();
            assert_eq!(distinct.len(), 3_000);
        }
    }

    #[test]
    fn a_venue_that_counts_characters_is_cut_by_characters() {
        let plan = planned(Venue::BybitLinear, Form::Combined, &["publicTrade", "orderbook.50"], 1_000);
        assert_eq!(plan.iter().map(|c| c.streams.len()).sum::<usize>(), 2_000);
        assert!(plan.len() > 1);
        for connection in &plan {
            let chars: usize = connection.streams.iter().map(|stream| stream.len()).sum();
            assert!(chars <= 21_000, "{chars}");
        }
    }

    #[test]
    fn a_bare_partial_depth_has_a_connection_of_its_own() {
        let plan = planned(Venue::BinanceSpot, Form::Raw, &["trade", "depth5"], 2);
        let lens: Vec<_> = plan.iter().map(|connection| connection.streams.len()).collect();
        assert_eq!(lens, [2, 1, 1]);
        assert_eq!(planned(Venue::BinanceSpot, Form::Combined, &["trade", "depth5"], 2).len(), 1);
    }

    #[test]
    fn an_all_market_channel_needs_no_symbol() {
        let plan = planned(Venue::BinanceUsdm, Form::Combined, &["!markPrice@arr@1s"], 0);
        assert_eq!(plan[0].streams, ["!markPrice@arr@1s".into()]);
    }

    #[test]
    fn what_cannot_be_planned_is_refused_with_its_numbers() {
        let refused = |names: &[&str], symbols: &[&str], streams_per_connection| {
            let symbols: Vec<_> = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
            let channels = channels(Venue::BinanceUsdm, names);
            plan(Venue::BinanceUsdm, Form::Combined, &channels, &symbols, PlanLimits { streams_per_connection })
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&[], &["BTCUSDT"], None).contains("no stream"));
        assert!(refused(&["trade"], &[], None).contains("no stream"));
        assert!(refused(&["trade"], &["BTCUSDT", "btcusdt"], None).contains("`btcusdt@trade` twice"));
        assert!(refused(&["trade"], &["BTCUSDT"], Some(201)).contains("201 streams per connection"));
        assert!(refused(&["trade"], &["BTCUSDT"], Some(0)).contains("the venue allows 200"));
        let long = "X".repeat(30_000);
        let channels = channels(Venue::BybitSpot, &["tickers"]);
        let error = plan(Venue::BybitSpot, Form::Combined, &channels, &[long], PlanLimits::default()).unwrap_err();
        assert!(matches!(error, PlanError::TooManyChars { limit: 21_000, .. }));
    }
}
