//! What each exchange says: one folder per exchange, two halves each.
//!
//! ```text
//! hot half    decode       bytes of one message -> typed events, given to a Sink        (used by hot): shapes.rs what the
//!                          venue's messages look like, tier_one.rs how they are walked, mod.rs any other form of them
//!             sequence.rs  how the messages of one book follow each other: the rules of the seam in `book`
//! cold half   protocol.rs  names, limits, requests, acks, heartbeat, instrument list    (used by control, config)
//! shared      channel.rs   which data a subscription asks for
//!             request.rs   requests as JSON text, without allocating (cold)
//!             identity.rs  by what an event is recognised that another connection brought before
//!             server_ping.rs  a server's ping in a text message: known on the hot core, answered on the cold side
//!             trades.rs    trades asked for by id, and what the answer holds (cold)
//!             instruments.rs  steps, dates and names in an instrument list (cold)
//!             shape.rs     what a message is expected to look like, as data
//!             any_order.rs a known shape in any order, with white space and unknown members (tier two)
//!             tape.rs      any JSON: simd-json with reusable buffers (tier two, where that refuses)
//!             elements.rs  arrays of independent events, until they are given to the sink
//!             scan.rs      the expected shape only: every literal and digit checked (tier one)
//!             template.rs  texts with holes: pings we write, answers to a server's ping
//!             isa          what the scanner asks of the CPU: portable, SSE4.1, AVX-512
//!             number.rs    numbers out of text
//!             levels.rs    lists of book levels
//!             fields.rs    what a shape's values mean: grid prices, times, symbols
//! ```

mod any_order;
mod channel;
mod cursor;
mod decode;
mod elements;
mod fields;
#[cfg(test)]
mod generate;
mod identity;
mod instruments;
mod isa;
#[cfg(test)]
mod ledger;
mod levels;
mod number;
mod protocol;
mod request;
mod row;
mod scan;
mod sequence;
mod server_ping;
mod shape;
mod tape;
mod template;
mod trades;

pub mod binance;
pub mod bybit;

pub use channel::{Channel, ChannelError, ChannelKind, ChannelScope};
pub use decode::{DecodeError, Decoded, Decoder, DecoderScratch, HotSymbols, Payload, Reason, Reasons, Sink, Tier};
pub use identity::{Identity, has_consecutive_ids, identity};
pub use isa::Cpu;
pub use protocol::{
    Ack, AckResult, ControlMessage, DepthError, DepthSnapshot, Form, Heartbeat, InstrumentError, InstrumentSpec,
    Limits, Protocol, Refusal, RestLimits, StreamClass, protocol,
};
pub use request::arg_bytes;
pub use sequence::VenueSequence;
pub use server_ping::{ServerPing, ServerPingError, ServerPingRule};
pub use template::{PingTemplate, ReplyTemplate, TemplateError};
pub use trades::{TRADES_PAGE_MAX, TradeBatch, TradesError, TradesQuery, offers_trades, read_trades, trades_query};
