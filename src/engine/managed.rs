//! What carries a connection: its sockets, and of each its legs; and the streams that channels and symbols make.
//!
//! ```text
//! [[connection]] ─► socket (a class of streams, as many as fit) ─► leg, leg, ... each with a driver that takes commands
//! ```
//! Held by the manager, which decides what each of them is told.

use super::driver::DriverCommand;
use super::report;
use crate::market::Venue;
use crate::venue::{Channel, ChannelScope, StreamClass, protocol};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;

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
