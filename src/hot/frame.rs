//! Cuts received bytes into messages where they lie: the client's half of RFC 6455, section 5, whole and strict.
//!
//! ```text
//! ReadBuffer: | whole frame | whole frame | part of a frame      |
//!                 │ in place                  │ over IN_PLACE_BYTES_MAX, or fragmented
//!                 ▼                           ▼
//!              &mut payload            spill: | fragments joined ... | padding |  ──► &mut payload
//! ```
//! The common frame (unfragmented text or binary, whole in the buffer) costs one compare and a length; everything else
//! leaves through `advance_slow`, and every frame where text is validated as it arrives. Called by the connection, once per message. Does no I/O and never allocates after
//! `new`.

use super::read_buffer::ReadBuffer;
use super::utf8::{NotUtf8, Utf8Stream};
use crate::limits::{FRAGMENT_COUNT_MAX, READ_BUFFER_BYTES, READ_PADDING_BYTES, VISIT_BYTES_MAX};
use crate::venue::Payload;

/// A partial frame up to this long waits in the read buffer; a longer one moves to the spill as it arrives. What is left
/// of the buffer always holds a whole visit, so that a partial frame never blocks the next read.
pub const IN_PLACE_BYTES_MAX: usize = READ_BUFFER_BYTES - VISIT_BYTES_MAX;

/// What a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DataKind {
    /// UTF-8 text; validated only in strict mode.
    Text,
    /// Bytes.
    Binary,
}

/// One whole message, fragments joined.
#[derive(Debug, Eq, PartialEq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: DataKind,
    /// Its bytes, which the caller may rewrite.
    pub payload: Payload<'a>,
}

/// One step of the peer's conversation.
#[derive(Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A ping with its payload.
    Ping(&'a [u8]),
    /// A pong with its payload.
    Pong(&'a [u8]),
    /// The peer closes: its code, if it gave one, and its reason.
    Close(Option<u16>, &'a str),
}

/// How a peer broke RFC 6455, or a limit of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// Section 5.2: RSV bits are zero unless an extension was agreed, and none is ever offered.
    #[error("reserved bits {bits:#05b} are set, but no extension was offered: all three must be 0")]
    ReservedBits {
        /// RSV1 to RSV3, RSV1 first.
        bits: u8,
    },
    /// Section 5.2.
    #[error("opcode {opcode:#x} is reserved: allowed are 0x0, 0x1, 0x2, 0x8, 0x9, 0xa")]
    ReservedOpcode {
        /// The opcode.
        opcode: u8,
    },
    /// Section 5.1: a server must not mask.
    #[error("the server's frame is masked: a server must not mask")]
    Masked,
    /// Section 5.5.
    #[error("control frame {opcode:#x} is fragmented: a control frame must be whole")]
    ControlFragmented {
        /// Its opcode.
        opcode: u8,
    },
    /// Section 5.5. The length is the header's seven bits: 126 and 127 announce a longer form.
    #[error("control frame {opcode:#x} announces length {length}: at most 125 bytes are allowed")]
    ControlTooLong {
        /// Its opcode.
        opcode: u8,
        /// The seven length bits.
        length: u8,
    },
    /// Section 5.2: the shortest form must be used.
    #[error("length {length_bytes} is encoded in {form_bits} bits: the shortest form that holds it must be used")]
    LengthNotMinimal {
        /// The length.
        length_bytes: u64,
        /// 16 or 64.
        form_bits: u8,
    },
    /// Section 5.2.
    #[error("64-bit length {length_bytes:#x} has its top bit set: it must be 0")]
    LengthTopBit {
        /// The length as sent.
        length_bytes: u64,
    },
    /// Section 5.4.
    #[error("continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// Section 5.4.
    #[error("data frame {opcode:#x} inside a fragmented message: only continuation and control frames are allowed")]
    InterruptedMessage {
        /// Its opcode.
        opcode: u8,
    },
    /// `limits::FRAGMENT_COUNT_MAX`.
    #[error("message of more than {count_max} fragments")]
    TooManyFragments {
        /// The limit.
        count_max: u32,
    },
    /// `max_message_bytes`: counted from the header, before the payload has arrived.
    #[error("message of at least {length_bytes} bytes: at most {length_bytes_max} are allowed (max_message_bytes)")]
    MessageTooBig {
        /// Bytes announced so far, all fragments together.
        length_bytes: u64,
        /// The limit.
        length_bytes_max: u64,
    },
    /// Section 8.1, in strict mode.
    #[error("text message is not UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// Offset in the message of the first character that is not one.
        offset: u64,
    },
    /// Section 5.5.1: a close frame's payload is empty or begins with a two-byte code.
    #[error("close frame with a payload of 1 byte: 0, or 2 and more, are allowed")]
    CloseLengthOne,
    /// Section 7.4.
    #[error("close code {code}: allowed are 1000-1003, 1007-1014 and 3000-4999")]
    InvalidCloseCode {
        /// The code.
        code: u16,
    },
    /// Section 5.5.1.
    #[error("close reason is not UTF-8 at byte {offset}")]
    CloseReasonNotUtf8 {
        /// Offset in the reason.
        offset: u8,
    },
}

impl FrameError {
    /// Every name, in the order of [`Self::index`].
    pub const ALL_NAMES: [&'static str; 15] = [
        "reserved_bits",
        "reserved_opcode",
        "masked",
        "control_fragmented",
        "control_too_long",
        "length_not_minimal",
        "length_top_bit",
        "unexpected_continuation",
        "interrupted_message",
        "too_many_fragments",
        "message_too_big",
        "invalid_utf8",
        "close_length_one",
        "invalid_close_code",
        "close_reason_not_utf8",
    ];

    /// Its position in [`Self::ALL_NAMES`]: the name is what the report counts by.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::ReservedBits { .. } => 0,
            Self::ReservedOpcode { .. } => 1,
            Self::Masked => 2,
            Self::ControlFragmented { .. } => 3,
            Self::ControlTooLong { .. } => 4,
            Self::LengthNotMinimal { .. } => 5,
            Self::LengthTopBit { .. } => 6,
            Self::UnexpectedContinuation => 7,
            Self::InterruptedMessage { .. } => 8,
            Self::TooManyFragments { .. } => 9,
            Self::MessageTooBig { .. } => 10,
            Self::InvalidUtf8 { .. } => 11,
            Self::CloseLengthOne => 12,
            Self::InvalidCloseCode { .. } => 13,
            Self::CloseReasonNotUtf8 { .. } => 14,
        }
    }

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL_NAMES[self.index()]
    }

    /// The code to close with (RFC 6455 section 7.4.1): 1002 protocol error, 1007 not UTF-8, 1009 too big.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::InvalidUtf8 { .. } | Self::CloseReasonNotUtf8 { .. } => 1007,
            Self::MessageTooBig { .. } | Self::TooManyFragments { .. } => 1009,
            _ => 1002,
        }
    }
}

/// Where a message lies until the next [`FrameCursor::advance`] or [`ReadBuffer::compact`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    kind: DataKind,
    is_in_spill: bool,
    start: usize,
    length_bytes: usize,
}

impl Placed {
    /// The message, which lies in the read buffer.
    #[inline(always)]
    fn in_buffer(self, buffer: &mut ReadBuffer) -> Message<'_> {
        self.of(buffer.whole())
    }

    /// The message, in the memory where it lies.
    #[inline(always)]
    fn of(self, memory: &mut [u8]) -> Message<'_> {
        let payload = memory.get_mut(self.start..).and_then(|padded| Payload::new(padded, self.length_bytes));
        Message { kind: self.kind, payload: payload.expect("both memories end with padding") }
    }
}

/// A control frame's payload in the read buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ControlPayload {
    start: usize,
    length_bytes: usize,
}

impl ControlPayload {
    /// The bytes, at most 125.
    pub(super) fn bytes(self, buffer: &mut ReadBuffer) -> &[u8] {
        buffer.at(self.start..self.start + self.length_bytes)
    }
}

/// What the next bytes are, as places: the borrow comes after the decision.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// More bytes are needed.
    More,
    /// A whole message.
    Data(Placed),
    /// A ping.
    Ping(ControlPayload),
    /// A pong.
    Pong(ControlPayload),
    /// The peer closes: code, and its reason, which is UTF-8.
    Close(Option<u16>, ControlPayload),
}

/// A data frame whose payload is moving to the spill.
#[derive(Clone, Copy, Debug)]
struct Spilling {
    left_bytes: usize,
    is_last: bool,
}

/// Reads one connection's frames.
///
/// Invariant: `common_count` is 2 exactly while no message is open (fragmented or spilling) and text is not validated; only
/// then may a data frame be taken in place without a look at the state.
#[derive(Debug)]
pub struct FrameCursor {
    /// How many of the first bytes from 0x81 on are a common frame's: 2 or none. State and opcode in one compare.
    common_count: u8,
    strict_utf8: bool,
    max_message_bytes: usize,
    /// The kind of the message that is open in the spill.
    open: Option<DataKind>,
    spilling: Option<Spilling>,
    fragment_count: u32,
    fragment_total: u64,
    /// Capacity `max_message_bytes` and padding, so that it never grows.
    spill: Vec<u8>,
    utf8: Utf8Stream,
    /// Payload bytes of the partial text frame in the read buffer that are validated already.
    checked_bytes: usize,
}

impl FrameCursor {
    /// A cursor at the start of the conversation. With `strict_utf8`, text is validated as it arrives; without, the
    /// caller's decoder proves it.
    #[must_use]
    pub fn new(max_message_bytes: usize, strict_utf8: bool) -> Self {
        Self {
            common_count: if strict_utf8 { 0 } else { 2 },
            strict_utf8,
            max_message_bytes,
            open: None,
            spilling: None,
            fragment_count: 0,
            fragment_total: 0,
            // Address space only: the kernel gives pages when a message first reaches them, so that a connection that
            // never spills pays nothing, and one that does never allocates.
            spill: Vec::with_capacity(max_message_bytes + READ_PADDING_BYTES),
            utf8: Utf8Stream::default(),
            checked_bytes: 0,
        }
    }

    /// The next whole message or control frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`FrameError`]: the peer broke the protocol; the frame boundary may be lost, so the caller closes.
    ///
    /// Source: RFC 6455 section 5.
    #[inline]
    pub fn next_frame<'b>(&'b mut self, buffer: &'b mut ReadBuffer) -> Result<Option<Frame<'b>>, FrameError> {
        if buffer.is_drained() {
            return Ok(None);
        }
        match self.common(buffer) {
            Some(placed) => Ok(Some(Frame::Message(placed.in_buffer(buffer)))),
            None => self.next_uncommon(buffer),
        }
    }

    #[cold]
    #[inline(never)]
    fn next_uncommon<'b>(&'b mut self, buffer: &'b mut ReadBuffer) -> Result<Option<Frame<'b>>, FrameError> {
        Ok(match self.advance_slow(buffer)? {
            Step::More => None,
            Step::Data(placed) => Some(Frame::Message(self.message(buffer, placed))),
            Step::Ping(payload) => Some(Frame::Ping(payload.bytes(buffer))),
            Step::Pong(payload) => Some(Frame::Pong(payload.bytes(buffer))),
            Step::Close(code, reason) => {
                let reason = std::str::from_utf8(reason.bytes(buffer)).expect("advance validated the reason");
                Some(Frame::Close(code, reason))
            }
        })
    }

    /// Data frames that were a part of a fragmented or spilled message, since the start.
    #[must_use]
    pub fn fragment_total(&self) -> u64 {
        self.fragment_total
    }

    /// The next step. The common frame reads straight down.
    #[inline(always)]
    pub(super) fn advance(&mut self, buffer: &mut ReadBuffer) -> Result<Step, FrameError> {
        if buffer.is_drained() {
            return Ok(Step::More);
        }
        match self.common(buffer) {
            Some(placed) => Ok(Step::Data(placed)),
            None => self.advance_slow(buffer),
        }
    }

    /// Takes the common frame: whole, unfragmented, in the buffer, of up to 65,535 bytes. `None`, and nothing is taken, of any
    /// other. Four bytes are looked at before it is known whether they were received: what lies behind the received ones can
    /// be read, and cannot make a frame of them, for its length would end there too. Between the two forms of length there is
    /// no branch, because nothing foretells which a market's next message has.
    #[inline(always)]
    fn common(&self, buffer: &mut ReadBuffer) -> Option<Placed> {
        let [first, second, high, low] = buffer.ahead()?;
        let extended = usize::from(u16::from_be_bytes([high, low]));
        let is_short = second < 126;
        let header_bytes = if is_short { 2 } else { 4 };
        let length_bytes = if is_short { usize::from(second) } else { extended };
        // The shortest form must be used: the longer one has no length below 126, and 127 and a mask are not common.
        let is_form = is_short | ((second == 126) & (extended > 125));
        if first.wrapping_sub(0x81) >= self.common_count || !is_form || length_bytes > self.max_message_bytes {
            return None;
        }
        let start = buffer.take_whole(header_bytes, length_bytes)?;
        let kind = if first == 0x81 { DataKind::Text } else { DataKind::Binary };
        Some(Placed { kind, is_in_spill: false, start, length_bytes })
    }

    /// True where a whole frame lies in the buffer, by its length alone: whether it is a good one, [`Self::advance`] says.
    #[inline]
    pub(super) fn has_frame(buffer: &ReadBuffer) -> bool {
        match buffer.pending() {
            [_, short @ ..=125, rest @ ..] => rest.len() >= usize::from(*short),
            [_, 126, high, low, rest @ ..] => rest.len() >= usize::from(u16::from_be_bytes([*high, *low])),
            [_, 127, rest @ ..] => rest.split_first_chunk().is_some_and(|(length, rest)| {
                u64::try_from(rest.len()).is_ok_and(|received| received >= u64::from_be_bytes(*length))
            }),
            _ => false,
        }
    }

    /// The message at a place that [`Self::advance`] gave.
    #[inline]
    pub(super) fn message<'b>(&'b mut self, buffer: &'b mut ReadBuffer, placed: Placed) -> Message<'b> {
        if placed.is_in_spill { placed.of(&mut self.spill) } else { placed.in_buffer(buffer) }
    }

    #[cold]
    #[inline(never)]
    fn advance_slow(&mut self, buffer: &mut ReadBuffer) -> Result<Step, FrameError> {
        let step = self.advance_any(buffer);
        self.common_count = if self.open.is_none() && !self.strict_utf8 { 2 } else { 0 };
        step
    }

    fn advance_any(&mut self, buffer: &mut ReadBuffer) -> Result<Step, FrameError> {
        loop {
            if let Some(spilling) = self.spilling {
                if let Some(step) = self.spill_more(spilling, buffer)? {
                    return Ok(step);
                }
                continue;
            }
            let Some(header) = Header::read(buffer.pending())? else { return Ok(Step::More) };
            if header.is_control() {
                return control(header, buffer);
            }
            if let Some(step) = self.data(header, buffer)? {
                return Ok(step);
            }
        }
    }

    /// A data frame begins. `None`: its payload now moves to the spill.
    fn data(&mut self, header: Header, buffer: &mut ReadBuffer) -> Result<Option<Step>, FrameError> {
        let kind = match (header.opcode, self.open) {
            (0x0, None) => return Err(FrameError::UnexpectedContinuation),
            (0x0, Some(kind)) => kind,
            (opcode, Some(_)) => return Err(FrameError::InterruptedMessage { opcode }),
            (0x1, None) => DataKind::Text,
            (_, None) => DataKind::Binary,
        };
        let joined_bytes = if self.open.is_some() { self.spill.len() } else { 0 };
        let length_bytes = self.checked_length(joined_bytes, header.length_bytes)?;
        let whole_bytes = header.header_bytes.saturating_add(length_bytes);
        let fits = whole_bytes <= buffer.pending().len().max(IN_PLACE_BYTES_MAX);
        if self.open.is_none() && header.is_final && fits {
            return self.in_place(kind, header.header_bytes, length_bytes, buffer).map(Some);
        }
        if self.open.is_none() {
            self.open = Some(kind);
            self.fragment_count = 0;
            self.spill.clear();
            self.utf8.restart();
        }
        self.fragment_count += 1;
        self.fragment_total += 1;
        if self.fragment_count > FRAGMENT_COUNT_MAX {
            return Err(FrameError::TooManyFragments { count_max: FRAGMENT_COUNT_MAX });
        }
        buffer.take(header.header_bytes, 0);
        self.spilling = Some(Spilling { left_bytes: length_bytes, is_last: header.is_final });
        Ok(None)
    }

    /// The frame's length, if the message with it stays within the limit.
    fn checked_length(&self, joined_bytes: usize, length_bytes: u64) -> Result<usize, FrameError> {
        let left_bytes = self.max_message_bytes - joined_bytes;
        usize::try_from(length_bytes).ok().filter(|length| *length <= left_bytes).ok_or(FrameError::MessageTooBig {
            length_bytes: length_bytes.saturating_add(joined_bytes as u64),
            length_bytes_max: self.max_message_bytes as u64,
        })
    }

    /// An unfragmented frame that stays in the read buffer, whole or not.
    fn in_place(
        &mut self,
        kind: DataKind,
        header_bytes: usize,
        length_bytes: usize,
        buffer: &mut ReadBuffer,
    ) -> Result<Step, FrameError> {
        let payload = &buffer.pending()[header_bytes..];
        let arrived_bytes = payload.len().min(length_bytes);
        let is_whole = arrived_bytes == length_bytes;
        if self.strict_utf8 && kind == DataKind::Text {
            if self.checked_bytes == 0 {
                self.utf8.restart();
            }
            self.utf8.push(&payload[self.checked_bytes..arrived_bytes])?;
            self.checked_bytes = arrived_bytes;
            if is_whole {
                self.checked_bytes = 0;
                self.utf8.finish()?;
            }
        }
        if !is_whole {
            return Ok(Step::More);
        }
        let start = buffer.take(header_bytes, length_bytes);
        Ok(Step::Data(Placed { kind, is_in_spill: false, start, length_bytes }))
    }

    /// Moves what has arrived of the open frame to the spill. `None`: the frame ended, its message did not.
    fn spill_more(&mut self, spilling: Spilling, buffer: &mut ReadBuffer) -> Result<Option<Step>, FrameError> {
        let kind = self.open.expect("a frame spills only while a message is open");
        let take_bytes = spilling.left_bytes.min(buffer.pending().len());
        let start = buffer.take(0, take_bytes);
        let arrived = buffer.at(start..start + take_bytes);
        debug_assert!(self.spill.len() + arrived.len() <= self.max_message_bytes);
        self.spill.extend_from_slice(arrived);
        let is_checked = self.strict_utf8 && kind == DataKind::Text;
        if is_checked {
            self.utf8.push(arrived)?;
        }
        let left_bytes = spilling.left_bytes - take_bytes;
        if left_bytes > 0 {
            self.spilling = Some(Spilling { left_bytes, ..spilling });
            return Ok(Some(Step::More));
        }
        self.spilling = None;
        if !spilling.is_last {
            return Ok(None);
        }
        if is_checked {
            self.utf8.finish()?;
        }
        self.open = None;
        let length_bytes = self.spill.len();
        self.spill.resize(length_bytes + READ_PADDING_BYTES, 0);
        Ok(Some(Step::Data(Placed { kind, is_in_spill: true, start: 0, length_bytes })))
    }
}

/// A frame's header, checked as far as the header alone allows.
#[derive(Clone, Copy, Debug)]
struct Header {
    is_final: bool,
    opcode: u8,
    header_bytes: usize,
    length_bytes: u64,
}

impl Header {
    const fn is_control(self) -> bool {
        self.opcode & 0x8 != 0
    }

    /// `None` until it is whole; but what is wrong with its first bytes is said before the rest arrives.
    fn read(pending: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(first) = pending.first() else { return Ok(None) };
        let (is_final, opcode) = (first & 0x80 != 0, first & 0x0F);
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBits { bits: (first & 0x70) >> 4 });
        }
        if !matches!(opcode, 0x0..=0x2 | 0x8..=0xA) {
            return Err(FrameError::ReservedOpcode { opcode });
        }
        if opcode & 0x8 != 0 && !is_final {
            return Err(FrameError::ControlFragmented { opcode });
        }
        let Some(second) = pending.get(1) else { return Ok(None) };
        if second & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        if opcode & 0x8 != 0 && *second > 125 {
            return Err(FrameError::ControlTooLong { opcode, length: *second });
        }
        let (header_bytes, length_bytes) = match (*second, &pending[2..]) {
            (126, [a, b, ..]) => (4, minimal(u64::from(u16::from_be_bytes([*a, *b])), 16)?),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (10, minimal(u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 64)?)
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (2, u64::from(short)),
        };
        Ok(Some(Self { is_final, opcode, header_bytes, length_bytes }))
    }
}

/// The length, if it needed this many bits.
const fn minimal(length_bytes: u64, form_bits: u8) -> Result<u64, FrameError> {
    let length_bytes_min = if form_bits == 16 { 126 } else { 0x1_0000 };
    if length_bytes >> 63 != 0 {
        return Err(FrameError::LengthTopBit { length_bytes });
    }
    if length_bytes < length_bytes_min {
        return Err(FrameError::LengthNotMinimal { length_bytes, form_bits });
    }
    Ok(length_bytes)
}

/// A control frame, once it is whole: at most 127 bytes, so that it always fits the buffer.
fn control(header: Header, buffer: &mut ReadBuffer) -> Result<Step, FrameError> {
    let length_bytes = usize::try_from(header.length_bytes).expect("a control frame has at most 125 bytes");
    if buffer.pending().len() < header.header_bytes + length_bytes {
        return Ok(Step::More);
    }
    let start = buffer.take(header.header_bytes, length_bytes);
    let payload = ControlPayload { start, length_bytes };
    match header.opcode {
        0x9 => Ok(Step::Ping(payload)),
        0xA => Ok(Step::Pong(payload)),
        _ => close(payload, buffer),
    }
}

/// A close frame's code and reason (RFC 6455 sections 5.5.1 and 7.4).
fn close(payload: ControlPayload, buffer: &mut ReadBuffer) -> Result<Step, FrameError> {
    let (code, reason) = match payload.bytes(buffer) {
        [] => return Ok(Step::Close(None, payload)),
        [_] => return Err(FrameError::CloseLengthOne),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !is_close_code(code) {
        return Err(FrameError::InvalidCloseCode { code });
    }
    if let Err(error) = std::str::from_utf8(reason) {
        let offset = u8::try_from(error.valid_up_to()).expect("a reason has at most 123 bytes");
        return Err(FrameError::CloseReasonNotUtf8 { offset });
    }
    let reason = ControlPayload { start: payload.start + 2, length_bytes: payload.length_bytes - 2 };
    Ok(Step::Close(Some(code), reason))
}

/// True for a code that may stand in a close frame (RFC 6455 section 7.4, and the IANA registry up to 1014).
#[must_use]
pub const fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

impl From<NotUtf8> for FrameError {
    fn from(error: NotUtf8) -> Self {
        Self::InvalidUtf8 { offset: error.offset as u64 }
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
