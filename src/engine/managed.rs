//! What carries a connection: its sockets, and of each its legs; and the streams that channels and symbols make.
//!
//! ```text
//! [[connection]] ─► socket (a class of streams, as many as fit) ─► leg, leg, ... each with a driver that takes commands
//! ```
//! Held by the manager, which decides what each of them is told.

use super::driver::DriverCommand;
use super::handle::HandleError;
use super::plan::TlsConfigs;
use super::report;
use crate::config::{Config, ConnectionConfig};
use crate::limits::LEGGED_SOCKET_COUNT_MAX;
use crate::market::Venue;
use crate::venue::{Channel, ChannelScope, StreamClass, protocol};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The configuration in force, and what carries it.
pub(super) struct State {
    pub(super) config: Config,
    pub(super) tls: TlsConfigs,
    pub(super) managed: Vec<Managed>,
}

/// One `[[connection]]` and the sockets that carry it.
pub(super) struct Managed {
    pub(super) config: ConnectionConfig,
    pub(super) sockets: Vec<ManagedSocket>,
    pub(super) planned_sockets: usize,
    pub(super) next_number: usize,
}

/// A socket, or the legs of one, which all carry its streams.
pub(super) struct ManagedSocket {
    pub(super) name: String,
    pub(super) class: StreamClass,
    pub(super) streams: BTreeSet<Box<str>>,
    pub(super) legs: Vec<ManagedLeg>,
}

pub(super) struct ManagedLeg {
    pub(super) name: String,
    pub(super) commands: mpsc::Sender<DriverCommand>,
    pub(super) row: Arc<report::Socket>,
}

impl ManagedSocket {
    /// Where each of its legs takes commands.
    pub(super) fn commands(&self) -> Vec<mpsc::Sender<DriverCommand>> {
        self.legs.iter().map(|leg| leg.commands.clone()).collect()
    }

    pub(super) fn has_leg(&self, name: &str) -> bool {
        self.legs.iter().any(|leg| leg.name == name)
    }
}

impl State {
    pub(super) fn unknown(&self, name: &str) -> HandleError {
        let known = self.managed.iter().map(|managed| managed.config.name.as_str()).collect::<Vec<_>>().join(", ");
        HandleError::NoSuchConnection { name: name.to_owned(), known }
    }

    pub(super) fn find(&self, name: &str) -> Result<&Managed, HandleError> {
        self.managed.iter().find(|managed| managed.config.name == name).ok_or_else(|| self.unknown(name))
    }

    pub(super) fn find_mut(&mut self, name: &str) -> Result<&mut Managed, HandleError> {
        match self.managed.iter().position(|managed| managed.config.name == name) {
            Some(at) => Ok(&mut self.managed[at]),
            None => Err(self.unknown(name)),
        }
    }

    /// Each socket with legs has a lasting overlap on its core, and a core has so many: one that is refused would come back
    /// and be refused for ever.
    pub(super) fn has_room_for_legs(&self, cpu: usize, more: usize) -> Result<(), HandleError> {
        let with_legs = |managed: &&Managed| managed.config.core == cpu && managed.config.legs.count > 1;
        let legged: usize = self.managed.iter().filter(with_legs).map(|managed| managed.sockets.len()).sum();
        if legged + more > LEGGED_SOCKET_COUNT_MAX {
            return Err(HandleError::NotNow(format!(
                "core {cpu} has {legged} sockets with legs, and {more} more are asked for: at most {LEGGED_SOCKET_COUNT_MAX}"
            )));
        }
        Ok(())
    }

    pub(super) fn socket_mut(&mut self, name: &str) -> Option<&mut ManagedSocket> {
        self.managed.iter_mut().flat_map(|managed| &mut managed.sockets).find(|socket| socket.name == name)
    }

    /// The drivers of a connection, of one socket, or of one leg.
    pub(super) fn sockets_of(&self, name: &str) -> Result<Vec<mpsc::Sender<DriverCommand>>, HandleError> {
        let mut sockets = self.managed.iter().flat_map(|managed| &managed.sockets);
        let one = sockets.clone().find(|socket| socket.name == name);
        let leg = sockets.find_map(|socket| socket.legs.iter().find(|leg| leg.name == name));
        match (self.find(name), one, leg) {
            (Ok(managed), ..) => Ok(managed.sockets.iter().flat_map(ManagedSocket::commands).collect()),
            (Err(_), Some(socket), _) => Ok(socket.commands()),
            (Err(_), None, Some(leg)) => Ok(vec![leg.commands.clone()]),
            (Err(error), None, None) => Err(error),
        }
    }

    /// Every stream of a venue that some connection carries, and which.
    pub(super) fn all_streams(&self, venue: Venue) -> HashMap<Box<str>, String> {
        let of_venue = self.managed.iter().filter(|managed| managed.config.venue == venue);
        of_venue
            .flat_map(|managed| {
                let streams = managed.sockets.iter().flat_map(|socket| socket.streams.iter().cloned());
                streams.map(|stream| (stream, managed.config.name.clone()))
            })
            .collect()
    }
}

/// Every stream of these channels and symbols, with its channel.
pub(super) fn streams(venue: Venue, channels: &[Channel], symbols: &[String]) -> Vec<(Channel, Box<str>)> {
    let protocol = protocol(venue);
    let mut streams = Vec::new();
    for channel in channels {
        match channel.scope {
            ChannelScope::AllMarket => streams.push((channel.clone(), protocol.stream(channel, "").into())),
            ChannelScope::PerSymbol => {
                streams.extend(symbols.iter().map(|symbol| (channel.clone(), protocol.stream(channel, symbol).into())));
            }
        }
    }
    let mut seen = HashSet::new();
    streams.retain(|(_, stream): &(Channel, Box<str>)| seen.insert(stream.clone()));
    streams
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_takes_no_more_sockets_with_legs_than_it_has_overlaps_for() {
        let sockets = |count: usize| {
            let socket = |number: usize| ManagedSocket {
                name: format!("socket-{number}"),
                class: StreamClass::Only,
                streams: BTreeSet::new(),
                legs: Vec::new(),
            };
            (0..count).map(socket).collect::<Vec<_>>()
        };
        let managed = |name: &str, core: usize, legs: usize, count: usize| {
            let mut config = ConnectionConfig::new(name, Venue::BinanceSpot);
            (config.core, config.legs.count) = (core, legs);
            Managed { config, sockets: sockets(count), planned_sockets: count, next_number: count + 1 }
        };
        let managed = vec![
            managed("one leg", 1, 1, 100),
            managed("elsewhere", 2, 3, 9),
            managed("a", 1, 2, 16),
            managed("b", 1, 3, LEGGED_SOCKET_COUNT_MAX - 17),
        ];
        let one = ConnectionConfig::new("one", Venue::BinanceSpot).subscribed_to(&["BTCUSDT"], &["trade"]).unwrap();
        let config = Config::from_connections(vec![one]).unwrap();
        let mut state = State { config, tls: TlsConfigs::default(), managed };
        assert!(state.has_room_for_legs(1, 1).is_ok() && state.has_room_for_legs(1, 2).is_err());
        state.managed[2].sockets = sockets(17);
        let error = state.has_room_for_legs(1, 1).unwrap_err();
        assert!(
            matches!(&error, HandleError::NotNow(why) if why.contains("core 1 has 24 sockets with legs")),
            "{error}"
        );
        assert!(state.has_room_for_legs(2, 15).is_ok());
    }
}
