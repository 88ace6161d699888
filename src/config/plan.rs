//! The plan of a whole configuration: every socket with its requests, and when it is ready. Read by `tickwire check`.
//!
//! ```text
//! connections ─► each one's sockets ─► those to one host from one address share its connects ─► what breaks a limit
//! ```
//! Connects to nothing.

use super::{Config, ConnectionConfig};
use crate::control::{PlannedConnection, check_connections, schedule};
use crate::market::Venue;
use crate::venue::protocol;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use url::Url;

/// One socket of a configuration.
#[derive(Clone, Debug)]
pub struct PlannedSocket<'a> {
    /// The connection it is of.
    pub connection: &'a ConnectionConfig,
    /// Which of its legs, from 0; 0 too where it has one alone.
    pub leg: usize,
    /// Its name as every output has it.
    pub name: String,
    /// What it carries, and when.
    pub socket: PlannedConnection,
}

impl<'a> PlannedSocket<'a> {
    /// Where it connects to, without the path.
    #[must_use]
    pub fn url(&self) -> &'a Url {
        self.connection.legs.url(self.leg).unwrap_or(&self.connection.url)
    }

    /// Where it connects from; `None`: the kernel chooses.
    #[must_use]
    pub fn source_address(&self) -> Option<IpAddr> {
        self.connection.legs.source_address(self.leg).or(self.connection.socket.source_address)
    }
}

/// Every socket of a configuration, in the order they are connected.
#[derive(Clone, Debug)]
pub struct ConfigPlan<'a> {
    /// The sockets.
    pub sockets: Vec<PlannedSocket<'a>>,
    /// The limits that the plan does not keep, one sentence each; empty for a plan that works.
    pub violations: Vec<String>,
    /// The pace of the process: requests a second to one venue.
    requests_per_second: u32,
}

/// What connects are counted against: host, port and source address.
type Place<'a> = (Option<&'a str>, Option<u16>, Option<IpAddr>);

impl<'a> ConfigPlan<'a> {
    /// Plans every connection, and lets those that share a venue's host and a source address share its connects.
    #[must_use]
    pub fn new(config: &'a Config) -> Self {
        let requests_per_second = config.engine.governor.requests_per_second;
        let mut this = Self { sockets: Vec::new(), violations: Vec::new(), requests_per_second };
        for connection in &config.connections {
            this.add(connection);
        }
        this.schedule();
        this.check_connections();
        this
    }

    /// Streams of all sockets.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.sockets.iter().map(|planned| planned.socket.streams.len()).sum()
    }

    /// Requests of all sockets.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.sockets.iter().map(|planned| planned.socket.requests.len()).sum()
    }

    /// From the start until the last subscription is asked for.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        let times = self.sockets.iter().map(|planned| planned.socket.connect_after + planned.socket.ready_in);
        times.max().unwrap_or_default()
    }

    fn add(&mut self, connection: &'a ConnectionConfig) {
        let plan = match connection.plan() {
            Ok(plan) => plan,
            Err(error) => return self.violations.push(format!("{}: {error}", connection.name)),
        };
        let total = plan.connections.len();
        let legs = connection.legs.count.max(1);
        let named = plan.connections.into_iter().enumerate().flat_map(|(index, socket)| {
            let name = socket.socket_name(&connection.name, index, total);
            (0..legs).map(move |leg| {
                let (name, socket) = (connection.legs.name(&name, leg), socket.clone());
                PlannedSocket { connection, leg, name, socket }
            })
        });
        let first = self.sockets.len();
        self.sockets.extend(named);
        // What concerns an address is reckoned over all connections, once.
        for (index, violation) in
            plan.violations.iter().filter_map(|violation| Some((violation.connection?, violation)))
        {
            self.violations.push(format!("{}: {}", self.sockets[first + index * legs].name, violation.fault));
        }
    }

    fn schedule(&mut self) {
        // In the order of the first connection to each.
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut places: HashMap<Place<'_>, usize> = HashMap::new();
        for (index, planned) in self.sockets.iter().enumerate() {
            let (url, address) = (planned.url(), planned.source_address());
            let place = *places.entry((url.host_str(), url.port_or_known_default(), address)).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[place].push(index);
        }
        for group in groups {
            let connection = self.sockets[group[0]].connection;
            let (limits, rate) = (protocol(connection.venue).limits(), Some(self.requests_per_second));
            let mut members = group.iter().copied().peekable();
            let sockets = self.sockets.iter_mut().enumerate();
            let of_group = sockets.filter(|(index, _)| members.next_if_eq(index).is_some());
            schedule(&limits, rate, of_group.map(|(_, planned)| &mut planned.socket));
        }
    }

    fn check_connections(&mut self) {
        let mut counts: Vec<((Venue, Option<IpAddr>), usize)> = Vec::new();
        for planned in &self.sockets {
            let key = (planned.connection.venue, planned.source_address());
            match counts.iter_mut().find(|(known, _)| *known == key) {
                Some((_, count)) => *count += 1,
                None => counts.push((key, 1)),
            }
        }
        for ((venue, _), count) in counts {
            if let Some(violation) = check_connections(&protocol(venue).limits(), count) {
                self.violations.push(format!("{venue}: {}", violation.fault));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(name: &str, venue: Venue, symbol_count: usize, channel: &str) -> ConnectionConfig {
        let symbols: Vec<String> = (0..symbol_count).map(|n| format!("COIN{n}USDT")).collect();
        let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
        ConnectionConfig::new(name, venue).subscribed_to(&symbols, &[channel]).unwrap()
    }

    fn unchecked(connections: Vec<ConnectionConfig>) -> Config {
        let checked = Config::from_connections(vec![connection("a", Venue::BinanceSpot, 1, "trade")]).unwrap();
        Config { connections, ..checked }
    }

    #[test]
    fn connections_to_one_host_from_one_address_share_its_connects() {
        let mut connections: Vec<ConnectionConfig> =
            (0..301).map(|n| connection(&format!("c{n}"), Venue::BinanceSpot, 1, "trade")).collect();
        connections[300].symbols = vec!["LAST".to_owned()];
        let mut elsewhere = connection("elsewhere", Venue::BinanceSpot, 1, "trade");
        elsewhere.socket.source_address = Some("192.0.2.1".parse().unwrap());
        connections.push(elsewhere);
        // Not checked: one core would have to own all of these sockets.
        let config = unchecked(connections);
        let plan = ConfigPlan::new(&config);
        let after: Vec<u64> = plan.sockets.iter().map(|planned| planned.socket.connect_after.as_secs()).collect();
        assert_eq!((after[299], after[300], after[301]), (0, 300, 0));
        assert_eq!(plan.ready_in(), Duration::from_secs(300));
        assert_eq!((plan.stream_count(), plan.request_count(), plan.violations.len()), (302, 302, 0));
    }

    #[test]
    fn what_breaks_a_limit_is_named_by_its_socket() {
        let mut bad = connection("long", Venue::BybitLinear, 2, "tickers");
        bad.symbols[1] = "X".repeat(30_000);
        let empty = ConnectionConfig::new("empty", Venue::BinanceSpot);
        let config = unchecked(vec![bad, empty]);
        let plan = ConfigPlan::new(&config);
        assert_eq!(plan.violations.len(), 2, "{:?}", plan.violations);
        assert!(plan.violations[0].starts_with("long/part-2: 30011 characters of stream names on one connection"));
        assert!(plan.violations[1].starts_with("empty: no stream to subscribe to"));
    }

    #[test]
    fn each_leg_is_a_socket_that_connects_and_subscribes_by_its_own_address() {
        let mut legged = connection("two", Venue::BinanceSpot, 3, "trade");
        legged.legs.count = 3;
        legged.legs.source_addresses =
            ["192.0.2.1", "192.0.2.2", "192.0.2.1"].map(|text| text.parse().unwrap()).to_vec();
        legged.legs.urls =
            ["ws://127.0.0.1:1/", "ws://127.0.0.1:1/", "ws://127.0.0.1:2/"].map(|text| text.parse().unwrap()).to_vec();
        let config = Config::from_connections(vec![legged]).unwrap();
        let plan = ConfigPlan::new(&config);
        let named: Vec<_> = plan
            .sockets
            .iter()
            .map(|planned| (&*planned.name, planned.url().port(), planned.source_address()))
            .collect();
        let from = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        assert_eq!(
            named,
            [("two/leg-1", Some(1), from(1)), ("two/leg-2", Some(1), from(2)), ("two/leg-3", Some(2), from(1))]
        );
        assert_eq!((plan.stream_count(), plan.request_count()), (9, 3), "each subscribes all");
    }
}
