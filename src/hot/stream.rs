//! The socket of one connection, plain or TLS, never blocking. What touches it is in `socket`.
//!
//! ```text
//! plain: socket ── recv ──────────────────────────────► ReadBuffer
//! TLS:   socket ── recv ──► incoming │rec│rec│par.. ──► one record's payload ──► ReadBuffer
//!        socket ◄─ send ─── outgoing │ encrypted, not taken yet │ ◄── plaintext
//! ```
//! A TLS record that was received is opened before the socket is read again, one a call, so that the first frame of a
//! burst never waits for the burst. Called by the connection. Our side allocates nothing after construction; rustls
//! allocates one vector for each record's payload.

use super::clock::Ticks;
use super::read_buffer::ReadBuffer;
use super::socket::{Socket, receive, send};
use crate::limits::{TLS_RECORD_BYTES_MAX, VISIT_BYTES_MAX};
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// Plaintext of one record (RFC 8446 section 5.1).
const RECORD_PLAINTEXT_BYTES_MAX: usize = 16 * 1024;

/// Type, version and length of a record (RFC 8446 section 5.1).
const RECORD_HEADER_BYTES: usize = 5;

/// Reads that [`Stream::shut_down`] may spend on bytes nobody wants any more.
const DISCARD_READS_MAX: usize = 16;

/// How a transport failed. Numbers only: the text is made where it is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StreamError {
    /// The socket.
    #[error("socket: {kind} (os error {os_code})")]
    Io {
        /// Its class.
        kind: ErrorKind,
        /// `errno`, 0 where there is none.
        os_code: i32,
    },
    /// The peer sent a fatal TLS alert.
    #[error("TLS: the peer sent alert {description}")]
    TlsAlert {
        /// RFC 8446 section 6.
        description: u8,
    },
    /// A record that is malformed, too long, or fails authentication.
    #[error("TLS: a record is malformed or fails authentication")]
    TlsBadRecord,
    /// A well-formed record that the protocol forbids at this point.
    #[error("TLS: the peer broke the protocol")]
    TlsProtocol,
    /// Anything else rustls refuses.
    #[error("TLS: the session failed")]
    TlsOther,
}

impl StreamError {
    /// Every name [`Self::name`] can give.
    pub const ALL_NAMES: [&'static str; 8] = [
        "connection_reset",
        "broken_pipe",
        "timed_out",
        "socket_error",
        "tls_alert",
        "tls_bad_record",
        "tls_protocol",
        "tls_other",
    ];

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Io { kind: ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted, .. } => "connection_reset",
            Self::Io { kind: ErrorKind::BrokenPipe | ErrorKind::NotConnected, .. } => "broken_pipe",
            Self::Io { kind: ErrorKind::TimedOut, .. } => "timed_out",
            Self::Io { .. } => "socket_error",
            Self::TlsAlert { .. } => "tls_alert",
            Self::TlsBadRecord => "tls_bad_record",
            Self::TlsProtocol => "tls_protocol",
            Self::TlsOther => "tls_other",
        }
    }
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Io { kind: error.kind(), os_code: error.raw_os_error().unwrap_or(0) }
    }
}

impl From<rustls::Error> for StreamError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(description) => Self::TlsAlert { description: description.into() },
            rustls::Error::DecryptError | rustls::Error::PeerSentOversizedRecord | rustls::Error::InvalidMessage(_) => {
                Self::TlsBadRecord
            }
            rustls::Error::PeerMisbehaved(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. } => Self::TlsProtocol,
            _ => Self::TlsOther,
        }
    }
}

/// What one read gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadOutcome {
    /// So many plaintext bytes, at least one, are new in the read buffer.
    Bytes(usize),
    /// Nothing to hand over now; a poll of the socket tells when.
    WouldBlock,
    /// The peer will send nothing more.
    End,
}

/// One connection's transport.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Plain(Socket),
    /// TLS over TCP, after its handshake.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// A plain stream over a connected socket, which becomes non-blocking.
    ///
    /// # Errors
    /// The socket's own.
    pub fn plain(socket: TcpStream) -> io::Result<Self> {
        Ok(Self::Plain(Socket::new(socket)?))
    }

    /// A TLS stream over a connected socket, which becomes non-blocking. `session` has finished its handshake;
    /// `ciphertext` is what was read from the socket and the handshake did not consume.
    ///
    /// # Errors
    /// The socket's own; `InvalidData` where the session refuses `ciphertext`.
    pub fn tls(socket: TcpStream, session: UnbufferedClientConnection, ciphertext: &[u8]) -> io::Result<Self> {
        let tls = TlsStream::new(Socket::new(socket)?, session, ciphertext);
        Ok(Self::Tls(Box::new(tls.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?)))
    }

    /// The socket, for a poll.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        match self {
            Self::Plain(socket) => socket.as_raw_fd(),
            Self::Tls(tls) => tls.socket.as_raw_fd(),
        }
    }

    /// One `recv` of at most `budget_bytes`; over TLS one record's payload, which the budget does not cut, and `recv`
    /// only where no whole record is left from the last one. Where the buffer has no room the answer is
    /// [`ReadOutcome::WouldBlock`]: drain it first.
    ///
    /// # Errors
    /// [`StreamError`]: the stream is of no more use.
    #[inline]
    pub fn read(&mut self, buffer: &mut ReadBuffer, budget_bytes: usize) -> Result<ReadOutcome, StreamError> {
        buffer.compact();
        match self {
            Self::Plain(socket) => {
                let free = buffer.free(budget_bytes);
                if free.is_empty() {
                    return Ok(ReadOutcome::WouldBlock);
                }
                let outcome = receive(socket, free)?;
                if let ReadOutcome::Bytes(bytes) = outcome {
                    buffer.received(bytes);
                }
                Ok(outcome)
            }
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Asks for the kernel's stamps: see [`Self::take_kernel_stamp`].
    ///
    /// # Errors
    /// The kernel's, where it cannot stamp.
    pub(super) fn stamp_in_kernel(&mut self) -> io::Result<()> {
        self.socket().stamp_in_kernel()
    }

    /// When the bytes of the last read came: at the return of the `recv` that brought them, over TLS before any of them was
    /// opened.
    #[inline]
    pub(super) fn received_at(&self) -> Ticks {
        match self {
            Self::Plain(socket) => socket.received_at(),
            Self::Tls(tls) => tls.socket.received_at(),
        }
    }

    /// The kernel's stamp of the last `recv`, once, in ns since the epoch; `None` where nobody asked for it.
    #[inline]
    pub(super) fn take_kernel_stamp(&mut self) -> Option<i64> {
        self.socket().take_kernel_stamp()
    }

    #[inline]
    fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &mut tls.socket,
        }
    }

    /// True while a whole TLS record is received and not opened: the socket may then be silent although there is data,
    /// and a parked core must not sleep.
    #[inline]
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.has_record(),
        }
    }

    /// Gives the socket plaintext without waiting, and says how much of it was accepted. Over TLS an accepted byte may
    /// still wait, encrypted, for [`Self::flush`]; nothing is accepted before that is empty.
    ///
    /// # Errors
    /// [`StreamError`]: nothing more can be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, StreamError> {
        match self {
            Self::Plain(socket) => send(socket, bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    /// Pushes what was accepted and not sent. True when nothing is left.
    ///
    /// # Errors
    /// [`StreamError`]: nothing more can be written.
    pub fn flush(&mut self) -> Result<bool, StreamError> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// True while accepted bytes wait, encrypted, for [`Self::flush`].
    #[inline]
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => !tls.outgoing.is_empty(),
        }
    }

    /// Tells the peer, over TLS, that nothing more will come (RFC 8446 section 6.1), as far as the socket takes it.
    pub fn close_notify(&mut self) {
        if let Self::Tls(tls) = self {
            tls.close_notify();
        }
    }

    /// Ends the stream: close_notify, FIN, and a bounded look at what the peer has still sent, because a socket closed
    /// over unread bytes sends a reset that can overtake our last words.
    pub fn shut_down(&mut self) {
        self.close_notify();
        let socket = self.socket();
        // An error here means that the peer is gone already, which is where this leads.
        let _ = socket.shutdown(Shutdown::Write);
        let mut unwanted = [0; 4096];
        for _ in 0..DISCARD_READS_MAX {
            if !matches!(receive(socket, &mut unwanted), Ok(ReadOutcome::Bytes(_))) {
                break;
            }
        }
    }
}

/// A fixed buffer whose used part is `start..end`.
#[derive(Debug)]
struct Window {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Window {
    fn new(capacity_bytes: usize) -> Self {
        Self { bytes: vec![0; capacity_bytes].into_boxed_slice(), start: 0, end: 0 }
    }

    fn used(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn discard(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves the used part to the front where less than `bytes` are free behind it.
    fn make_room(&mut self, bytes: usize) {
        if self.bytes.len() - self.end < bytes && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }
}

/// TLS after its handshake, on rustls' unbuffered client.
pub struct TlsStream {
    socket: Socket,
    session: UnbufferedClientConnection,
    incoming: Window,
    outgoing: Window,
    /// The payload of the record that `new` opened, until the first read takes it.
    first_record: Vec<u8>,
    /// True once rustls has seen all of `incoming` and asked for more: what is left is no whole record, or a part of a
    /// handshake message that rustls joins in place.
    is_drained: bool,
    has_ended: bool,
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).field("has_ended", &self.has_ended).finish()
    }
}

/// What rustls asked for, once its borrow is over.
enum Asked {
    /// Payload went to the read buffer.
    Opened(usize),
    /// Call it again.
    Again,
    /// It needs more ciphertext.
    More,
    /// The peer closed.
    Closed,
}

impl TlsStream {
    fn new(socket: Socket, session: UnbufferedClientConnection, ciphertext: &[u8]) -> Result<Self, StreamError> {
        // Twice the longest record at least, so that a partial one never blocks the next read; longer where the
        // handshake left more than that.
        let mut incoming = Window::new(VISIT_BYTES_MAX.max(2 * TLS_RECORD_BYTES_MAX).max(ciphertext.len()));
        incoming.bytes[..ciphertext.len()].copy_from_slice(ciphertext);
        incoming.end = ciphertext.len();
        // One record of ours, and as much again for what rustls itself has to say (a key update, an alert).
        let outgoing = Window::new(2 * TLS_RECORD_BYTES_MAX);
        let first_record = Vec::new();
        let mut tls = Self { socket, session, incoming, outgoing, first_record, is_drained: false, has_ended: false };
        tls.settle()?;
        Ok(tls)
    }

    /// Brings rustls to a known point: a record just opened, or everything seen. The handshake may have handed it over
    /// while it was joining a ticket's records, and then a write must show it those bytes (see `with_traffic`).
    fn settle(&mut self) -> Result<(), StreamError> {
        let mut first_record = Vec::new();
        loop {
            let asked = self.process(|payload| {
                first_record.extend_from_slice(payload);
                true
            });
            match asked? {
                Asked::Again | Asked::Opened(0) => continue,
                Asked::Opened(_) => {}
                Asked::More => self.is_drained = true,
                Asked::Closed => self.has_ended = true,
            }
            self.first_record = first_record;
            return Ok(());
        }
    }

    /// True while a whole record waits to be opened (RFC 8446 section 5.1: the length is in bytes 3 and 4), or the header
    /// of one that is too long: rustls refuses that at once, and waiting for the rest of it would be waiting for ever.
    fn has_record(&self) -> bool {
        let waiting = &self.incoming.bytes[self.incoming.start..self.incoming.end];
        if !self.first_record.is_empty() {
            return true;
        }
        match waiting {
            [_, _, _, high, low, record @ ..] if !self.is_drained => {
                let record_bytes = usize::from(u16::from_be_bytes([*high, *low]));
                record.len() >= record_bytes || record_bytes > TLS_RECORD_BYTES_MAX - RECORD_HEADER_BYTES
            }
            _ => false,
        }
    }

    fn read(&mut self, buffer: &mut ReadBuffer) -> Result<ReadOutcome, StreamError> {
        if buffer.free_bytes() < RECORD_PLAINTEXT_BYTES_MAX {
            return Ok(ReadOutcome::WouldBlock);
        }
        if !self.first_record.is_empty() {
            return Ok(self.take_first_record(buffer));
        }
        if self.has_ended {
            return Ok(ReadOutcome::End);
        }
        if self.has_record() {
            let outcome = self.open_record(buffer)?;
            if outcome != ReadOutcome::WouldBlock {
                return Ok(outcome);
            }
        }
        self.incoming.make_room(TLS_RECORD_BYTES_MAX);
        let end = self.incoming.end;
        if end == self.incoming.bytes.len() {
            // A handshake message that fills the whole buffer: no ticket or key update is that long.
            return Err(StreamError::TlsProtocol);
        }
        match receive(&mut self.socket, &mut self.incoming.bytes[end..])? {
            ReadOutcome::Bytes(bytes) => {
                self.incoming.end += bytes;
                self.is_drained = false;
                if self.has_record() { self.open_record(buffer) } else { Ok(ReadOutcome::WouldBlock) }
            }
            outcome => Ok(outcome),
        }
    }

    #[cold]
    fn take_first_record(&mut self, buffer: &mut ReadBuffer) -> ReadOutcome {
        let record = std::mem::take(&mut self.first_record);
        // The handshake received it, on the cold side.
        self.socket.receive_now();
        // `read` has made sure of the room.
        let fits = buffer.append(&record);
        debug_assert!(fits);
        ReadOutcome::Bytes(record.len())
    }

    /// Opens records until one has payload; tickets and key updates have none.
    fn open_record(&mut self, buffer: &mut ReadBuffer) -> Result<ReadOutcome, StreamError> {
        loop {
            let asked = self.process(|payload| buffer.append(payload));
            match asked.inspect_err(|_| self.send_alert())? {
                Asked::Again | Asked::Opened(0) => {}
                Asked::Opened(bytes) => return Ok(ReadOutcome::Bytes(bytes)),
                Asked::More => {
                    self.is_drained = true;
                    self.flush()?;
                    return Ok(ReadOutcome::WouldBlock);
                }
                Asked::Closed => {
                    self.has_ended = true;
                    return Ok(ReadOutcome::End);
                }
            }
        }
    }

    /// One turn of rustls over what is received; a record's payload goes to `sink`, which says whether it fit.
    fn process(&mut self, mut sink: impl FnMut(&[u8]) -> bool) -> Result<Asked, StreamError> {
        let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(self.incoming.used());
        let asked = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut opened_bytes = 0;
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    opened_bytes += record.payload.len();
                    if !sink(record.payload) {
                        return Err(StreamError::TlsOther);
                    }
                }
                Ok(Asked::Opened(opened_bytes))
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                self.outgoing.make_room(RECORD_PLAINTEXT_BYTES_MAX);
                let end = self.outgoing.end;
                match data.encode(&mut self.outgoing.bytes[end..]) {
                    Ok(encoded) => {
                        self.outgoing.end += encoded;
                        Ok(Asked::Again)
                    }
                    // A peer that makes rustls answer again and again and reads nothing.
                    Err(_) => Err(StreamError::TlsProtocol),
                }
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It is in `outgoing`, which is flushed before anything else is written.
                data.done();
                Ok(Asked::Again)
            }
            Ok(ConnectionState::WriteTraffic(_)) => Ok(Asked::More),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Asked::Closed),
            // The handshake was finished before the session came here.
            Ok(_) => Err(StreamError::TlsOther),
            Err(error) => Err(error.into()),
        };
        self.incoming.discard(discard);
        asked
    }

    /// Runs `act` in the state in which rustls encrypts, without opening a received record.
    fn with_traffic<T>(
        &mut self,
        mut act: impl FnMut(&mut WriteTraffic<'_, rustls::client::ClientConnectionData>, &mut [u8]) -> Option<(usize, T)>,
    ) -> Result<T, StreamError> {
        loop {
            // Where records may still be opened, rustls is shown none of them. Where all were, it must be shown the
            // rest: it may be joining a handshake message there.
            let incoming: &mut [u8] = if self.is_drained { self.incoming.used() } else { &mut [] };
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(incoming);
            let done = match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let end = self.outgoing.end;
                    let (written, value) =
                        act(&mut traffic, &mut self.outgoing.bytes[end..]).ok_or(StreamError::TlsOther)?;
                    self.outgoing.end += written;
                    Some(value)
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let end = self.outgoing.end;
                    let encoded = data.encode(&mut self.outgoing.bytes[end..]).map_err(|_| StreamError::TlsProtocol)?;
                    self.outgoing.end += encoded;
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                // The peer's close_notify, said once: the reading side has ended, the writing side has not.
                ConnectionState::PeerClosed => {
                    self.has_ended = true;
                    None
                }
                _ => return Err(StreamError::TlsOther),
            };
            self.incoming.discard(discard);
            if let Some(value) = done {
                return Ok(value);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, StreamError> {
        let mut accepted = 0;
        while accepted < bytes.len() && self.flush()? {
            let piece = &bytes[accepted..];
            let piece = &piece[..piece.len().min(RECORD_PLAINTEXT_BYTES_MAX)];
            accepted += self.with_traffic(|traffic, free| {
                traffic.encrypt(piece, free).ok().map(|written| (written, piece.len()))
            })?;
        }
        self.flush()?;
        Ok(accepted)
    }

    fn flush(&mut self) -> Result<bool, StreamError> {
        while !self.outgoing.is_empty() {
            let sent = send(&mut self.socket, &self.outgoing.bytes[self.outgoing.start..self.outgoing.end])?;
            if sent == 0 {
                return Ok(false);
            }
            self.outgoing.discard(sent);
        }
        Ok(true)
    }

    #[cold]
    fn close_notify(&mut self) {
        self.outgoing.make_room(RECORD_PLAINTEXT_BYTES_MAX);
        let queued = self.with_traffic(|traffic, free| traffic.queue_close_notify(free).ok().map(|bytes| (bytes, ())));
        if queued.is_ok() {
            // Best effort: the caller is about to close the socket, and an error here says that it is gone.
            let _ = self.flush();
        }
    }

    /// After an error rustls has an alert for the peer: sent as far as the socket takes it.
    #[cold]
    fn send_alert(&mut self) {
        self.outgoing.make_room(RECORD_PLAINTEXT_BYTES_MAX);
        while let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
            self.session.process_tls_records(&mut [])
        {
            let end = self.outgoing.end;
            match data.encode(&mut self.outgoing.bytes[end..]) {
                Ok(encoded) => self.outgoing.end += encoded,
                Err(_) => break,
            }
        }
        // Best effort: the session's own error is what is reported.
        let _ = self.flush();
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
