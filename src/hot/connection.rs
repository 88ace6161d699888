//! One WebSocket connection on its hot core: stream, read buffer, frame cursor and outbound queue as one thing.
//!
//! ```text
//!            read                     next_message
//! Stream ─────────► ReadBuffer ─► FrameCursor ─► Message          (data: to the caller)
//!    ▲                               │ ping, pong, close          (control: handled here)
//!    └────────────── Outbound ◄──────┘
//! send_*, flush ────────▲
//! ```
//! The core's loop calls `read` once a visit and drains `next_message`. Pings are answered and the
//! closing handshake is completed inside. Never blocks, and never allocates after `new` but for what rustls allocates where
//! it opens the TLS records.

use super::clock::Ticks;
use super::encode::{CONTROL_PAYLOAD_BYTES_MAX, Opcode, frame_bytes};
use super::frame::{ControlPayload, FrameCursor, FrameError, Message, Placed, Step, is_close_code};
use super::outbound::Outbound;
use super::read_buffer::ReadBuffer;
use super::stream::{ReadOutcome, Stream, StreamError};
use super::tls::TlsCounts;
use crate::limits::{MESSAGE_BYTES_DEFAULT, WRITE_BUFFER_BYTES};
use crate::market::Backlog;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::RawFd;

/// What a connection is made with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionSettings {
    /// Longest message accepted, fragments joined.
    pub max_message_bytes: usize,
    /// Validate text messages as they arrive. Off for market data: the decoder proves what it accepts.
    pub strict_utf8: bool,
    /// Seed of the masking keys, drawn from the operating system on the cold side.
    pub mask_seed: u64,
    /// Bytes of encoded messages that may wait for the socket.
    pub write_buffer_bytes: usize,
    /// Ask the kernel when it received what is read; each read is then a `recvmsg`.
    pub kernel_stamps: bool,
}

impl Default for ConnectionSettings {
    /// The limits' defaults, and a seed from the operating system (the standard library's own source of it).
    fn default() -> Self {
        Self {
            max_message_bytes: MESSAGE_BYTES_DEFAULT,
            strict_utf8: false,
            mask_seed: RandomState::new().build_hasher().finish(),
            write_buffer_bytes: WRITE_BUFFER_BYTES,
            kernel_stamps: false,
        }
    }
}

/// Who or what ended a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClosedBy {
    /// The peer's close frame, which was answered.
    Peer,
    /// Our close frame, answered by the peer's or by the end of the stream.
    Us,
    /// Our close frame, which the peer did not answer in time.
    CloseTimedOut,
    /// We took it down without a close frame.
    Dropped,
    /// The peer broke the protocol; it was told so with the error's close code.
    Protocol(FrameError),
    /// The transport failed.
    Transport(StreamError),
    /// The stream ended without a close frame.
    End,
    /// We dropped it: the peer takes nothing of what waits to be sent.
    PeerNotReading,
}

/// A connection that has ended. Once given, it is given again by every later call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Closed {
    /// The close code: the peer's if it sent one, ours after a protocol error.
    pub code: Option<u16>,
    /// Who or what ended it.
    pub by: ClosedBy,
}

impl Closed {
    /// True after a closing handshake.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        matches!(self.by, ClosedBy::Peer | ClosedBy::Us)
    }

    /// The name used in every output and as a counter's reason.
    #[must_use]
    pub const fn reason_name(&self) -> &'static str {
        match self.by {
            ClosedBy::Peer => "closed_by_peer",
            ClosedBy::Us => "closed_by_us",
            ClosedBy::CloseTimedOut => "close_timed_out",
            ClosedBy::Dropped => "dropped",
            ClosedBy::Protocol(error) => error.name(),
            ClosedBy::Transport(error) => error.name(),
            ClosedBy::End => "end_without_close",
            ClosedBy::PeerNotReading => "peer_not_reading",
        }
    }
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.by {
            ClosedBy::Peer => f.write_str("closed by the peer")?,
            ClosedBy::Us => f.write_str("closed by us")?,
            ClosedBy::CloseTimedOut => f.write_str("closed by us, and the peer did not answer in time")?,
            ClosedBy::Dropped => f.write_str("dropped by us")?,
            ClosedBy::Protocol(error) => write!(f, "protocol error: {error}")?,
            ClosedBy::Transport(error) => write!(f, "transport: {error}")?,
            ClosedBy::End => f.write_str("the stream ended without a close frame")?,
            ClosedBy::PeerNotReading => f.write_str("dropped: the peer takes nothing of what waits to be sent")?,
        }
        match self.code {
            Some(code) => write!(f, " (code {code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Closed {}

/// A message that was not queued. Nothing of it was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// It does not fit behind what waits already.
    #[error("frame of {frame_bytes} bytes: {free_bytes} are free in the write buffer")]
    Full {
        /// Bytes of the encoded frame.
        frame_bytes: usize,
        /// Bytes free now.
        free_bytes: usize,
    },
    /// A ping's payload is over the RFC's limit.
    #[error("control payload of {payload_bytes} bytes: at most 125 are allowed")]
    ControlTooLong {
        /// Its length.
        payload_bytes: usize,
    },
    /// A close frame was sent: no frame may follow it.
    #[error("the connection is closing")]
    Closing,
    /// The connection has ended, or its writing side has.
    #[error("{0}")]
    Closed(Closed),
}

/// What one connection has done since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnectionCounters {
    /// Messages given to the caller.
    pub messages: u64,
    /// Data frames that were a part of a fragmented message, or of one too long for the read buffer.
    pub fragments: u64,
    /// Plaintext bytes received.
    pub bytes_received: u64,
    /// Pings received.
    pub pings_received: u64,
    /// Pings that were forgotten for a later one before they could be answered.
    pub pings_superseded: u64,
    /// Pongs received.
    pub pongs_received: u64,
    /// Pongs queued for the socket.
    pub pongs_sent: u64,
    /// Messages and pings queued for the socket.
    pub messages_sent: u64,
    /// Plaintext bytes the socket accepted.
    pub bytes_sent: u64,
}

/// One open WebSocket connection.
#[derive(Debug)]
pub struct HotConnection {
    stream: Stream,
    buffer: ReadBuffer,
    cursor: FrameCursor,
    outbound: Outbound,
    counters: ConnectionCounters,
    /// Where the last message lies, for the report of a handler that panics.
    last: Option<Placed>,
    /// True once the cursor has asked for more bytes than there are.
    is_drained: bool,
    /// What the last read left unopened, over TLS.
    behind: Backlog,
    is_close_sent: bool,
    /// The writing side's failure. The reading side goes on: what the peer said before is still to be heard.
    write_error: Option<StreamError>,
    closed: Option<Closed>,
    close_reason: [u8; CONTROL_PAYLOAD_BYTES_MAX],
    close_reason_bytes: usize,
}

impl HotConnection {
    /// Brings the memory in that it reads into. On the thread that will read, before its first read.
    pub(super) fn touch(&mut self) {
        self.buffer.touch();
    }

    /// A connection after its upgrade. `leftover` is plaintext that arrived behind the 101 response.
    ///
    /// # Errors
    /// `InvalidInput`: more leftover than the read buffer holds. The kernel's, where it was asked for stamps and has none.
    pub fn new(mut stream: Stream, leftover: &[u8], settings: &ConnectionSettings) -> io::Result<Self> {
        let mut buffer = ReadBuffer::new();
        if !buffer.append(leftover) {
            let text = format!("{} bytes behind the upgrade: at most {}", leftover.len(), buffer.free_bytes());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if settings.kernel_stamps {
            stream.stamp_in_kernel()?;
        }
        Ok(Self {
            stream,
            buffer,
            cursor: FrameCursor::new(settings.max_message_bytes, settings.strict_utf8),
            outbound: Outbound::new(settings.write_buffer_bytes, settings.mask_seed),
            counters: ConnectionCounters { bytes_received: leftover.len() as u64, ..ConnectionCounters::default() },
            last: None,
            is_drained: leftover.is_empty(),
            behind: Backlog::NONE,
            is_close_sent: false,
            write_error: None,
            closed: None,
            close_reason: [0; CONTROL_PAYLOAD_BYTES_MAX],
            close_reason_bytes: 0,
        })
    }

    /// The socket, for a poll.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.stream.raw_fd()
    }

    /// When the bytes of the last read came, see [`Stream::received_at`].
    #[inline]
    pub(super) fn received_at(&self) -> Ticks {
        self.stream.received_at()
    }

    /// The kernel's stamp of the last read, once.
    #[inline]
    pub(super) fn take_kernel_stamp(&mut self) -> Option<i64> {
        self.stream.take_kernel_stamp()
    }

    /// True over TLS: between the return of a read and its first frame lies the opening of a record.
    #[inline]
    pub(super) fn is_tls(&self) -> bool {
        self.stream.opener().is_some()
    }

    /// One read of the socket, at most `budget_bytes` (over TLS: one record). The caller drains [`Self::next_message`]. Writes
    /// that wait are pushed first. Never answers [`ReadOutcome::End`].
    ///
    /// # Errors
    /// [`Closed`]: the connection has ended.
    #[inline]
    pub fn read(&mut self, budget_bytes: usize) -> Result<ReadOutcome, Closed> {
        if let Some(closed) = self.closed {
            return Err(closed);
        }
        if self.wants_write() {
            self.push();
        }
        match self.stream.read(&mut self.buffer, budget_bytes) {
            Ok(ReadOutcome::Bytes(bytes)) => {
                self.counters.bytes_received += bytes as u64;
                self.is_drained = false;
                self.behind = self.stream.behind(&self.buffer);
                Ok(ReadOutcome::Bytes(bytes))
            }
            Ok(ReadOutcome::WouldBlock) => Ok(ReadOutcome::WouldBlock),
            Ok(ReadOutcome::End) if self.is_close_sent => Err(self.conclude(None, ClosedBy::Us)),
            Ok(ReadOutcome::End) => Err(self.conclude(None, ClosedBy::End)),
            Err(error) => Err(self.conclude(None, ClosedBy::Transport(error))),
        }
    }

    /// The next whole message of what was read, or `None` until more is read. Control frames are handled on the way.
    ///
    /// # Errors
    /// [`Closed`]: the peer closed, or broke the protocol and was told so.
    #[inline]
    pub fn next_message(&mut self) -> Result<Option<Message<'_>>, Closed> {
        Ok(self.next_with_backlog()?.map(|(message, _)| message))
    }

    /// The same, with what lies behind the message.
    ///
    /// # Errors
    /// As [`Self::next_message`].
    #[inline(always)]
    pub(super) fn next_with_backlog(&mut self) -> Result<Option<(Message<'_>, Backlog)>, Closed> {
        loop {
            if let Some(closed) = self.closed {
                return Err(closed);
            }
            match self.cursor.advance(&mut self.buffer) {
                Ok(Step::Data(placed)) => {
                    self.counters.messages += 1;
                    self.last = Some(placed);
                    let backlog = self.backlog();
                    return Ok(Some((self.cursor.message(&mut self.buffer, placed), backlog)));
                }
                Ok(Step::More) => {
                    self.is_drained = true;
                    self.counters.fragments = self.cursor.fragment_total();
                    return Ok(None);
                }
                Ok(Step::Ping(payload)) => self.answer_ping(payload),
                Ok(Step::Pong(_)) => self.counters.pongs_received += 1,
                Ok(Step::Close(code, reason)) => self.answer_close(code, reason),
                Err(error) => self.refuse(error),
            }
        }
    }

    /// What lies behind the message that was just cut.
    #[inline]
    fn backlog(&self) -> Backlog {
        match self.buffer.pending().len() {
            0 => self.behind,
            pending_bytes => {
                let has_more = !self.behind.is_last_in_read() || FrameCursor::has_frame(&self.buffer);
                Backlog::new(pending_bytes + self.behind.unread_bytes() as usize, has_more)
            }
        }
    }

    /// True while there may be messages although the socket is silent: bytes not drained, or whole TLS records.
    #[inline]
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        !self.is_drained || self.stream.has_buffered(&self.buffer)
    }

    /// What happened beside the data since the last call, where TLS records are opened in place; `None`: nothing.
    #[inline]
    pub fn take_tls_counts(&mut self) -> Option<TlsCounts> {
        self.stream.take_tls_counts()
    }

    /// Queues a text message, which the caller knows to be UTF-8, and writes as much as the socket takes.
    ///
    /// # Errors
    /// [`SendError`]: nothing was queued.
    pub fn send_text(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send(Opcode::Text, payload)
    }

    /// Queues a binary message and writes as much as the socket takes.
    ///
    /// # Errors
    /// [`SendError`]: nothing was queued.
    pub fn send_binary(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send(Opcode::Binary, payload)
    }

    /// Queues a ping and writes as much as the socket takes. Its pong is counted when it comes.
    ///
    /// # Errors
    /// [`SendError`]: nothing was queued.
    pub fn send_ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(SendError::ControlTooLong { payload_bytes: payload.len() });
        }
        self.send(Opcode::Ping, payload)
    }

    /// Bytes free for encoded frames. A message takes 6 bytes more than its payload, 8 from 126 bytes on, 14 from 64 KiB
    /// on.
    #[must_use]
    pub fn free_send_bytes(&self) -> usize {
        self.outbound.free_bytes()
    }

    /// Pushes what waits. True when nothing is left.
    ///
    /// # Errors
    /// [`Closed`]: the connection has ended, or can no longer be written to.
    pub fn flush(&mut self) -> Result<bool, Closed> {
        if let Some(closed) = self.closed {
            return Err(closed);
        }
        let is_empty = self.push();
        match self.write_error {
            Some(error) => Err(Closed { code: None, by: ClosedBy::Transport(error) }),
            None => Ok(is_empty),
        }
    }

    /// Why nothing can be written any more, although reading may go on.
    #[must_use]
    pub fn write_failure(&self) -> Option<Closed> {
        self.write_error.map(|error| Closed { code: None, by: ClosedBy::Transport(error) })
    }

    /// True while anything waits for the socket to take it.
    #[inline]
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.write_error.is_none() && (self.outbound.is_waiting() || self.stream.has_unsent())
    }

    /// Begins the closing handshake: a close frame goes behind what waits, and no message after it. Messages may still
    /// arrive; the peer's close frame, or the end of the stream, ends the connection by [`ClosedBy::Us`]. How long to
    /// wait for that is the caller's to decide.
    ///
    /// A code that may not be sent (RFC 6455 section 7.4) goes as no code at all; a reason over 123 bytes is cut at a
    /// character. Twice is once.
    pub fn start_close(&mut self, code: u16, reason: &str) {
        debug_assert!(is_close_code(code), "close code {code} may not be sent");
        self.queue_close(Some(code).filter(|code| is_close_code(*code)), reason);
        self.push();
    }

    /// The last message that [`Self::next_message`] gave, as its receiver left it. Empty before the first; meaningless
    /// after the next read.
    #[must_use]
    pub fn last_message(&mut self) -> &[u8] {
        match self.last {
            Some(placed) => self.cursor.message(&mut self.buffer, placed).payload.into_bytes(),
            None => &[],
        }
    }

    /// What this connection has done so far.
    #[must_use]
    pub fn counters(&self) -> &ConnectionCounters {
        &self.counters
    }

    /// The reason in the peer's close frame; empty where it gave none.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        std::str::from_utf8(&self.close_reason[..self.close_reason_bytes]).unwrap_or_default()
    }

    /// Ends the connection without waiting for the peer: what waits is pushed once, then the socket is shut down and
    /// closed. Dropping the connection closes the socket without that courtesy.
    pub fn abandon(mut self) {
        if self.closed.is_none() {
            self.push();
            self.stream.shut_down();
        }
    }

    fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), SendError> {
        if let Some(closed) = self.closed {
            return Err(SendError::Closed(closed));
        }
        if self.is_close_sent {
            return Err(SendError::Closing);
        }
        if !self.outbound.queue_message(opcode, payload) {
            self.push();
            if !self.outbound.queue_message(opcode, payload) && self.write_error.is_none() {
                let free_bytes = self.outbound.free_bytes();
                return Err(SendError::Full { frame_bytes: frame_bytes(payload.len()), free_bytes });
            }
        }
        self.push();
        match self.write_error {
            Some(error) => Err(SendError::Closed(Closed { code: None, by: ClosedBy::Transport(error) })),
            None => {
                self.counters.messages_sent += 1;
                Ok(())
            }
        }
    }

    /// Writes as far as the socket takes it. True when nothing is left. A failure is kept in `write_error`.
    fn push(&mut self) -> bool {
        if self.write_error.is_some() {
            return true;
        }
        match self.try_push() {
            Ok(is_empty) => is_empty,
            Err(error) => {
                self.write_error = Some(error);
                self.outbound.clear();
                true
            }
        }
    }

    fn try_push(&mut self) -> Result<bool, StreamError> {
        loop {
            while !self.outbound.waiting().is_empty() {
                let accepted = self.stream.write(self.outbound.waiting())?;
                if accepted == 0 {
                    return Ok(false);
                }
                self.outbound.written(accepted);
                self.counters.bytes_sent += accepted as u64;
            }
            if self.is_close_sent || !self.outbound.queue_pong() {
                return self.stream.flush();
            }
            self.counters.pongs_sent += 1;
        }
    }

    #[cold]
    fn answer_ping(&mut self, payload: ControlPayload) {
        self.counters.pings_received += 1;
        if self.is_close_sent || self.write_error.is_some() {
            return;
        }
        let is_superseding = self.outbound.remember_ping(payload.bytes(&mut self.buffer));
        self.counters.pings_superseded += u64::from(is_superseding);
        // Behind messages that wait, so that a caller who keeps the buffer full cannot starve the pong.
        self.counters.pongs_sent += u64::from(self.outbound.queue_pong());
        self.push();
    }

    #[cold]
    fn answer_close(&mut self, code: Option<u16>, reason: ControlPayload) {
        if code.is_some() {
            let reason = reason.bytes(&mut self.buffer);
            self.close_reason[..reason.len()].copy_from_slice(reason);
            self.close_reason_bytes = reason.len();
        }
        let by = if self.is_close_sent { ClosedBy::Us } else { ClosedBy::Peer };
        self.queue_close(code, "");
        self.push();
        self.conclude(code, by);
    }

    #[cold]
    fn refuse(&mut self, error: FrameError) {
        self.queue_close(Some(error.close_code()), "");
        self.push();
        self.conclude(Some(error.close_code()), ClosedBy::Protocol(error));
    }

    fn queue_close(&mut self, code: Option<u16>, reason: &str) {
        if self.is_close_sent || self.closed.is_some() || self.write_error.is_some() {
            return;
        }
        self.is_close_sent = true;
        let mut payload = [0; CONTROL_PAYLOAD_BYTES_MAX];
        let mut payload_bytes = 0;
        if let Some(code) = code {
            let reason = &reason.as_bytes()[..reason.floor_char_boundary(CONTROL_PAYLOAD_BYTES_MAX - 2)];
            payload[..2].copy_from_slice(&code.to_be_bytes());
            payload[2..2 + reason.len()].copy_from_slice(reason);
            payload_bytes = 2 + reason.len();
        }
        self.outbound.queue_close(&payload[..payload_bytes]);
    }

    #[cold]
    fn conclude(&mut self, code: Option<u16>, by: ClosedBy) -> Closed {
        let closed = Closed { code, by };
        self.counters.fragments = self.cursor.fragment_total();
        self.closed = Some(closed);
        self.is_drained = true;
        self.stream.shut_down();
        closed
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
