//! Bybit's control plane: names, limits, requests, acks, instrument list.

use crate::market::Venue;
use crate::venue::{
    Channel, ChannelError, ControlMessage, Form, Heartbeat, InstrumentError, InstrumentSpec, Limits, Protocol,
    StreamClass,
};
use std::time::Duration;

/// The protocol of one product line.
#[derive(Debug)]
pub struct Bybit {
    venue: Venue,
}

/// BybitSpot.
pub static SPOT: Bybit = Bybit { venue: Venue::BybitSpot };
/// BybitLinear.
pub static LINEAR: Bybit = Bybit { venue: Venue::BybitLinear };

impl Protocol for Bybit {
    fn venue(&self) -> Venue {
        self.venue
    }

    fn limits(&self) -> Limits {
        Limits {
            streams_per_connection: None,
            args_per_request: None,
            args_chars_per_connection: None,
            messages_per_second: None,
            connects: None,
            connection_age_max: None,
        }
    }

    fn default_url(&self) -> &'static str {
        ""
    }

    fn default_rest_url(&self) -> &'static str {
        ""
    }

    fn channel(&self, name: &str) -> Result<Channel, ChannelError> {
        Err(ChannelError { venue: self.venue, name: name.to_owned(), allowed: "" })
    }

    fn class(&self, _channel: &Channel) -> StreamClass {
        StreamClass::Only
    }

    fn path(&self, _form: Form, _class: StreamClass) -> String {
        String::new()
    }

    fn stream(&self, _channel: &Channel, _symbol: &str) -> String {
        String::new()
    }

    fn write_subscribe(&self, _id: u64, _streams: &[&str], _out: &mut Vec<u8>) {}

    fn write_unsubscribe(&self, _id: u64, _streams: &[&str], _out: &mut Vec<u8>) {}

    fn write_ping(&self, _id: u64, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat::ServerPing { interval: Duration::from_secs(20), timeout: Duration::from_secs(60) }
    }

    fn control_message(&self, _bytes: &[u8]) -> ControlMessage {
        ControlMessage::Unknown
    }

    fn instruments_path(&self, _cursor: &str) -> String {
        String::new()
    }

    fn read_instruments(&self, _body: &[u8]) -> Result<(Vec<InstrumentSpec>, Option<String>), InstrumentError> {
        Ok((Vec::new(), None))
    }

    fn depth_path(&self, _symbol: &str, _levels: u16) -> String {
        String::new()
    }
}
