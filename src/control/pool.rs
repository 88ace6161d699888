//! Which streams go on which connection and in which request, before any connection is made; and how a set of
//! connections fares.
//!
//! ```text
//! channels × symbols ─► groups that may share ─► packed by streams, characters, weight ─► requests ─► when, by the pace
//!                       class of path, alone?     [ BTC .. ] 110   [ ETH .. ] 110          [200][56]   0 s, 0 s, 1 s
//! ```
//! The streams of one symbol stay on one connection where they fit, heavy symbols are spread and asked for first. A plan
//! says what the machines will do, because it is made of their own parts: the store's [`RequestRoom`] and the [`Pacer`].
//! A limit that a plan cannot keep is listed, so that all of them can be shown at once.

use super::connection_room::{arg_chars, check_limits};
use super::packing::{Room, Unit, pack};
use super::{Pacer, PlanError, RequestRoom, State, Status, SubscriptionSettings, after};
use crate::market::{MonoNs, Venue};
use crate::venue::{Channel, ChannelKind, ChannelScope, Form, Limits, Protocol, StreamClass, arg_bytes, protocol};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

/// A stream for the whole market counts as this many symbols. A judgement: quiet symbols hardly add to it.
const ALL_MARKET_SYMBOLS: u64 = 50;

/// What else separates the streams of one path, beyond its room.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Separate {
    /// Nothing; the streams of one symbol stay together where they fit.
    #[default]
    None,
    /// Each channel has connections of its own.
    Channel,
    /// Shards: the streams of one symbol on one path are on one connection, whole or not at all, and those of the whole
    /// market have connections of their own.
    Symbol,
}

/// What the operator sets beside the venue's limits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PlanLimits {
    /// Streams one connection carries; `None`: the venue's limit.
    pub streams_per_connection: Option<u32>,
    /// Connections over which the streams of each group (class of path, and what `separate` makes) are spread at least,
    /// where the group has so many symbols.
    pub connections_min: u32,
    /// What has connections of its own.
    pub separate: Separate,
    /// How each connection asks: arguments and bytes per request, pace.
    pub subscriptions: SubscriptionSettings,
    /// Requests a second of all the connections of one venue and address together; `None`: only each one's own pace.
    pub process_requests_per_second: Option<u32>,
}

/// One stream of a plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlannedStream {
    /// The venue's name of it.
    pub name: Box<str>,
    /// Position of its channel in what was planned.
    pub channel: usize,
    /// Position of its symbol; `None` for an all-market channel.
    pub symbol: Option<usize>,
}

/// One request of a plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlannedRequest {
    /// The streams it names, by their position on the connection.
    pub streams: Range<usize>,
    /// Bytes of its text on the first connect. Later ids are longer: the limit on its frame reckons with the longest.
    pub bytes: usize,
}

/// One connection to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlannedConnection {
    /// The class of data its path carries.
    pub class: StreamClass,
    /// Path and query of its upgrade request.
    pub path: String,
    /// What it is to be subscribed to, in the order it is asked for: slot `n` of the connection's store is stream `n`.
    pub streams: Vec<PlannedStream>,
    /// How heavy it is: the weights of its streams' symbols and channels.
    pub weight: u64,
    /// The requests that subscribe it, in their order.
    pub requests: Vec<PlannedRequest>,
    /// Requests a second on this connection; `None` where nobody limits them.
    pub requests_per_second: Option<u32>,
    /// From the start of all to its connect, within the venue's connects per window.
    pub connect_after: Duration,
    /// From its connect to its last request, by its pace and the process's. Answers are taken to come in time.
    pub ready_in: Duration,
}

impl PlannedConnection {
    /// Bytes of its largest request.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.requests.iter().map(|request| request.bytes).max().unwrap_or(0)
    }

    /// Its streams' names, in the order they are asked for.
    #[must_use]
    pub fn names(&self) -> Vec<Box<str>> {
        self.streams.iter().map(|stream| stream.name.clone()).collect()
    }

    /// Its name where a connection of the configuration became `total` of them, of which it is number `index` from 0.
    #[must_use]
    pub fn socket_name(&self, connection: &str, index: usize, total: usize) -> String {
        let class = match self.class {
            _ if total == 1 => return connection.to_owned(),
            StreamClass::Only => "part",
            StreamClass::Public => "public",
            StreamClass::Market => "market",
        };
        format!("{connection}/{class}-{}", index + 1)
    }
}

/// A limit that a plan does not keep.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Position of the connection; `None` where it is all of them together.
    pub connection: Option<usize>,
    /// Which limit, with both numbers.
    pub fault: PlanError,
}

/// Connections, in the order they are to be made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// The connections.
    pub connections: Vec<PlannedConnection>,
    /// The limits that they do not keep.
    pub violations: Vec<Violation>,
}

/// How heavy a channel is where no weight says otherwise: about its messages, a candle's being 1. A judgement, and only
/// the ratios count.
#[must_use]
pub const fn channel_weight(kind: ChannelKind) -> u32 {
    match kind {
        ChannelKind::Quote | ChannelKind::Depth { .. } => 8,
        ChannelKind::Trade | ChannelKind::PartialDepth { .. } => 4,
        ChannelKind::AggTrade => 3,
        ChannelKind::Ticker => 2,
        ChannelKind::MarkPrice | ChannelKind::Kline | ChannelKind::Liquidation => 1,
    }
}

/// Spreads the streams of these channels and symbols over as few connections as the venue's limits and the operator's
/// wishes allow, evenly by weight. `weights`: how heavy a symbol is, by its native name; 1 where nothing is known.
///
/// # Errors
/// [`PlanError`]: nothing to subscribe to, a stream twice, or an override above the venue's limit. What can be planned but
/// breaks a limit is in [`Plan::violations`].
pub fn plan(
    venue: Venue,
    form: Form,
    channels: &[Channel],
    symbols: &[String],
    overrides: &PlanLimits,
    weights: &dyn Fn(&str) -> u32,
) -> Result<Plan, PlanError> {
    let protocol = protocol(venue);
    let limits = limits_of(protocol.limits(), overrides)?;
    Planner { protocol, form, limits, overrides }.plan(channels, symbols, weights)
}

/// Says when each connection is made and ready, of all the connections to one venue from one address, in their order:
/// never more connects in a window than the venue allows, and never more requests a second than the process allows.
pub fn schedule<'a>(
    limits: &Limits,
    process_requests_per_second: Option<u32>,
    connections: impl IntoIterator<Item = &'a mut PlannedConnection>,
) {
    let mut connections: Vec<&mut PlannedConnection> = connections.into_iter().collect();
    let mut process = Pacer::new(process_requests_per_second, 100);
    let mut pacers: Vec<Pacer> = Vec::new();
    // Who may send when, the least served first: (when, requests sent, connection).
    let mut next: BinaryHeap<Reverse<(MonoNs, usize, usize)>> = BinaryHeap::new();
    for (index, connection) in connections.iter_mut().enumerate() {
        connection.connect_after = limits.connects.map_or(Duration::ZERO, |(count, window)| {
            let full_windows = index / usize::try_from(count.max(1)).unwrap_or(usize::MAX);
            window.saturating_mul(u32::try_from(full_windows).unwrap_or(u32::MAX))
        });
        connection.ready_in = Duration::ZERO;
        pacers.push(Pacer::new(connection.requests_per_second, 100));
        if !connection.requests.is_empty() {
            next.push(Reverse((after(MonoNs(0), connection.connect_after), 0, index)));
        }
    }
    while let Some(Reverse((at, sent, index))) = next.pop() {
        let allowed = process.next_at(at);
        if allowed > at {
            next.push(Reverse((allowed, sent, index)));
            continue;
        }
        process.sent(at);
        pacers[index].sent(at);
        let connection = &mut connections[index];
        connection.ready_in = Duration::from_nanos(at.0).saturating_sub(connection.connect_after);
        if sent + 1 < connection.requests.len() {
            next.push(Reverse((pacers[index].next_at(at), sent + 1, index)));
        }
    }
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

/// What makes one venue's plan.
struct Planner<'a> {
    protocol: &'a dyn Protocol,
    form: Form,
    limits: Limits,
    overrides: &'a PlanLimits,
}

/// Streams that may share a connection have the same group.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Group {
    class: StreamClass,
    /// What `separate` keeps apart.
    apart: Option<(usize, Option<usize>)>,
}

impl Planner<'_> {
    fn plan(&self, channels: &[Channel], symbols: &[String], weights: &dyn Fn(&str) -> u32) -> Result<Plan, PlanError> {
        let mut streams = self.streams(channels, symbols);
        if streams.is_empty() {
            return Err(PlanError::Empty);
        }
        let mut seen = HashSet::new();
        if let Some(twice) = streams.iter().find(|stream| !seen.insert(&*stream.name)) {
            return Err(PlanError::Duplicate { stream: twice.name.to_string() });
        }
        let room = self.room();
        let mut connections = Vec::new();
        for (class, units) in self.units(channels, symbols, &streams, weights) {
            let connections_min = usize::try_from(self.overrides.connections_min).unwrap_or(usize::MAX);
            for units in pack(units, &room, connections_min) {
                connections.push(self.connection(class, &units, &mut streams));
            }
        }
        schedule(&self.limits, self.overrides.process_requests_per_second, &mut connections);
        let violations = self.violations(&connections);
        Ok(Plan { connections, violations })
    }

    /// Every stream: the all-market ones, then symbol by symbol.
    fn streams(&self, channels: &[Channel], symbols: &[String]) -> Vec<PlannedStream> {
        let of_scope = |scope| channels.iter().enumerate().filter(move |(_, channel)| channel.scope == scope);
        let stream = |channel: &Channel, symbol: &str| self.protocol.stream(channel, symbol).into();
        let all_market = of_scope(ChannelScope::AllMarket).map(|(index, channel)| PlannedStream {
            name: stream(channel, ""),
            channel: index,
            symbol: None,
        });
        let per_symbol = symbols.iter().enumerate().flat_map(|(at, symbol)| {
            of_scope(ChannelScope::PerSymbol).map(move |(index, channel)| PlannedStream {
                name: stream(channel, symbol),
                channel: index,
                symbol: Some(at),
            })
        });
        all_market.chain(per_symbol).collect()
    }

    /// The units of each group, the groups in the order they first come: the streams of one symbol, cut only where one
    /// connection would not hold them and they need not be whole.
    fn units(
        &self,
        channels: &[Channel],
        symbols: &[String],
        streams: &[PlannedStream],
        weights: &dyn Fn(&str) -> u32,
    ) -> Vec<(StreamClass, Vec<Unit>)> {
        let weights: Vec<u64> = symbols.iter().map(|symbol| u64::from(weights(symbol))).collect();
        let (room, is_whole) = (self.room(), self.overrides.separate == Separate::Symbol);
        let mut positions: HashMap<Group, usize> = HashMap::new();
        let mut groups: Vec<(StreamClass, Vec<Unit>)> = Vec::new();
        for (index, stream) in streams.iter().enumerate() {
            let channel = &channels[stream.channel];
            let group = self.group(channel, stream);
            let at = *positions.entry(group).or_insert_with(|| {
                groups.push((group.class, Vec::new()));
                groups.len() - 1
            });
            let units = &mut groups[at].1;
            let chars = arg_chars(&stream.name);
            let weight = u64::from(channel_weight(channel.kind))
                * stream.symbol.map_or(ALL_MARKET_SYMBOLS, |symbol| weights[symbol]);
            let open = units.last_mut().filter(|unit| {
                let is_same = stream.symbol.is_some() && streams[unit.streams[0]].symbol == stream.symbol;
                // A shard that one connection cannot hold is a violation, not two.
                is_same && (is_whole || room.holds(unit.streams.len() + 1, unit.chars + chars))
            });
            match open {
                Some(unit) => {
                    unit.streams.push(index);
                    unit.chars += chars;
                    unit.weight += weight;
                }
                None => units.push(Unit { streams: vec![index], chars, weight }),
            }
        }
        groups
    }

    fn group(&self, channel: &Channel, stream: &PlannedStream) -> Group {
        // A bare partial depth names neither its symbol nor its stream: only a connection of its own tells whose it is.
        let is_alone = self.form == Form::Raw
            && matches!(channel.kind, ChannelKind::PartialDepth { .. })
            && matches!(channel.venue, Venue::BinanceSpot | Venue::BinanceUsdm);
        let apart = match (self.overrides.separate, stream.symbol) {
            _ if is_alone => Some((stream.channel, stream.symbol)),
            (Separate::None, _) | (Separate::Symbol, Some(_)) => None,
            (Separate::Channel, _) | (Separate::Symbol, None) => Some((stream.channel, None)),
        };
        Group { class: self.protocol.class(channel), apart }
    }

    fn room(&self) -> Room {
        let as_usize =
            |limit: Option<u32>| limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Room {
            streams_max: as_usize(self.limits.streams_per_connection),
            chars_max: as_usize(self.limits.args_chars_per_connection),
        }
    }

    /// The connection of these units, which takes their streams out of the table.
    fn connection(&self, class: StreamClass, units: &[Unit], table: &mut [PlannedStream]) -> PlannedConnection {
        let mut take = |index: usize| {
            let stream = &mut table[index];
            PlannedStream { name: std::mem::take(&mut stream.name), ..*stream }
        };
        let streams: Vec<PlannedStream> =
            units.iter().flat_map(|unit| &unit.streams).map(|&index| take(index)).collect();
        PlannedConnection {
            class,
            path: self.protocol.path(self.form, class),
            weight: units.iter().map(|unit| unit.weight).sum(),
            requests: self.requests(&streams),
            requests_per_second: Pacer::of(&self.limits, &self.overrides.subscriptions).budget(),
            connect_after: Duration::ZERO,
            ready_in: Duration::ZERO,
            streams,
        }
    }

    /// The requests that the store will form for these streams.
    fn requests(&self, streams: &[PlannedStream]) -> Vec<PlannedRequest> {
        let room = self.request_room();
        let (mut requests, mut text, mut start) = (Vec::new(), Vec::new(), 0);
        while start < streams.len() {
            let (mut end, mut bytes) = (start, 0);
            while let Some(more) = streams.get(end).map(|stream| arg_bytes(&stream.name)) {
                // A stream that is too long for any request still has one, which is a violation.
                if end > start && !room.takes(end - start, bytes, more) {
                    break;
                }
                (end, bytes) = (end + 1, bytes + more);
            }
            let id = u64::try_from(requests.len() + 1).unwrap_or(u64::MAX);
            self.protocol.write_subscribe(id, &mut streams[start..end].iter().map(|stream| &*stream.name), &mut text);
            requests.push(PlannedRequest { streams: start..end, bytes: text.len() });
            start = end;
        }
        requests
    }

    fn request_room(&self) -> RequestRoom {
        RequestRoom::of(self.protocol, &self.limits, &self.overrides.subscriptions)
    }

    /// What the finished connections do not keep, reckoned from what they hold and not from how they were packed.
    fn violations(&self, connections: &[PlannedConnection]) -> Vec<Violation> {
        let room = self.request_room();
        let mut violations = Vec::new();
        for (index, connection) in connections.iter().enumerate() {
            let chars = connection.streams.iter().map(|stream| arg_chars(&stream.name)).sum();
            let mut faults: Vec<PlanError> =
                check_limits(&self.limits, connection.streams.len(), chars).err().into_iter().collect();
            for request in &connection.requests {
                let streams = &connection.streams[request.streams.clone()];
                let bytes = streams.iter().map(|stream| arg_bytes(&stream.name)).sum();
                faults.extend(room.check(&streams[0].name, streams.len(), bytes).err());
            }
            violations.extend(faults.into_iter().map(|fault| Violation { connection: Some(index), fault }));
        }
        violations.extend(check_connections(&self.limits, connections.len()));
        violations
    }
}

/// Whether so many connections may be open at once from one address.
#[must_use]
pub fn check_connections(limits: &Limits, count: usize) -> Option<Violation> {
    let limit = usize::try_from(limits.connections_max?).unwrap_or(usize::MAX);
    (count > limit).then_some(Violation { connection: None, fault: PlanError::TooManyConnections { count, limit } })
}

fn limits_of(limits: Limits, overrides: &PlanLimits) -> Result<Limits, PlanError> {
    let Some(found) = overrides.streams_per_connection else { return Ok(limits) };
    let limit = limits.streams_per_connection.unwrap_or(u32::MAX);
    if found == 0 || found > limit {
        return Err(PlanError::OverLimit { found, limit });
    }
    Ok(Limits { streams_per_connection: Some(found), ..limits })
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
