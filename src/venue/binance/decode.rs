//! Binance messages to events.

use crate::market::{Received, Venue};
use crate::venue::{DecodeError, Decoded, Form, HotSymbols, Reason, Sink};

/// Parser buffers and levels of one core.
#[derive(Debug)]
pub struct Scratch;

impl Scratch {
    pub(in crate::venue) fn new() -> Self {
        Self
    }
}

/// One connection's decoder.
#[derive(Debug)]
pub struct Decoder;

impl Decoder {
    pub(in crate::venue) fn new(_venue: Venue, _form: Form, _raw_stream: Option<&str>) -> Self {
        Self
    }

    pub(in crate::venue) fn decode<S: Sink>(
        &mut self,
        _message: &mut [u8],
        _received: Received,
        _symbols: &HotSymbols,
        _scratch: &mut Scratch,
        _sink: &mut S,
    ) -> Result<Decoded, DecodeError> {
        Err(DecodeError::new(Reason::UnknownShape, ""))
    }
}
