//! The socket of one connection, plain or TLS, never blocking. What touches it is in `socket`.
//!
//! ```text
//! plain: socket ── recv ─────────────────────────────────► ReadBuffer
//! TLS:   socket ── recv ──► Records │rec│rec│par.. ──► one record's payload ──► ReadBuffer
//!        socket ◄─ send ─── Records │ encrypted, not taken yet │ ◄── plaintext
//! ```
//! A TLS record that was received is opened before the socket is read again, one a call, so that the first frame of a
//! burst never waits for the burst. Called by the connection. Allocates nothing after construction, but for what rustls
//! allocates where it opens the records ([`tls`](super::tls)).

use super::clock::Ticks;
use super::read_buffer::ReadBuffer;
use super::socket::{Socket, receive, send};
use super::tls::{InPlaceRecords, RecordOpener, Records, RustlsRecords, TlsCounts, Window};
use crate::market::Backlog;
use rustls::client::UnbufferedClientConnection;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

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
    /// TLS over TCP, after its handshake, its records opened by rustls.
    Rustls(Socket, Box<RustlsRecords>),
    /// The same, its records opened in the read buffer.
    InPlace(Socket, Box<InPlaceRecords>),
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
        let records = RustlsRecords::new(session, ciphertext);
        let socket = Socket::new(socket)?;
        Ok(Self::Rustls(socket, Box::new(records.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?)))
    }

    /// The same, its records opened in the read buffer. `records` holds what was read from the socket and not opened.
    ///
    /// # Errors
    /// The socket's own.
    pub fn tls_in_place(socket: TcpStream, records: Box<InPlaceRecords>) -> io::Result<Self> {
        Ok(Self::InPlace(Socket::new(socket)?, records))
    }

    /// The socket, for a poll.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }

    #[inline]
    fn socket(&self) -> &Socket {
        let (Self::Plain(socket) | Self::Rustls(socket, _) | Self::InPlace(socket, _)) = self;
        socket
    }

    #[inline]
    fn socket_mut(&mut self) -> &mut Socket {
        let (Self::Plain(socket) | Self::Rustls(socket, _) | Self::InPlace(socket, _)) = self;
        socket
    }

    /// Asks for the kernel's stamps: see [`Self::take_kernel_stamp`].
    ///
    /// # Errors
    /// The kernel's, where it cannot stamp.
    pub(super) fn stamp_in_kernel(&mut self) -> io::Result<()> {
        self.socket_mut().stamp_in_kernel()
    }

    /// When the bytes of the last read came: at the return of the `recv` that brought them, over TLS before any of them was
    /// opened.
    #[inline]
    pub(super) fn received_at(&self) -> Ticks {
        self.socket().received_at()
    }

    /// The kernel's stamp of the last `recv`, once, in ns since the epoch; `None` where nobody asked for it.
    #[inline]
    pub(super) fn take_kernel_stamp(&mut self) -> Option<i64> {
        self.socket_mut().take_kernel_stamp()
    }

    /// Who opens its TLS records; `None`: there are none.
    #[must_use]
    pub fn opener(&self) -> Option<RecordOpener> {
        match self {
            Self::Plain(_) => None,
            Self::Rustls(..) => Some(RecordOpener::Rustls),
            Self::InPlace(..) => Some(RecordOpener::InPlace),
        }
    }

    /// What happened beside the data since the last call, where records are opened in place; `None`: nothing.
    #[inline]
    pub fn take_tls_counts(&mut self) -> Option<TlsCounts> {
        match self {
            Self::Plain(_) | Self::Rustls(..) => None,
            Self::InPlace(_, records) => records.take_counts(),
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
        match self {
            Self::Plain(socket) => {
                buffer.compact();
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
            Self::Rustls(socket, records) => read_record(socket, &mut **records, buffer),
            Self::InPlace(socket, records) => read_record(socket, &mut **records, buffer),
        }
    }

    /// True while a whole TLS record is received and not opened: the socket may then be silent although there is data,
    /// and a parked core must not sleep. `buffer` is the one that [`Self::read`] fills.
    #[inline]
    #[must_use]
    pub fn has_buffered(&self, buffer: &ReadBuffer) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Rustls(_, records) => records.has_record(buffer),
            Self::InPlace(_, records) => records.has_record(buffer),
        }
    }

    /// What is received and not opened behind the plaintext in the buffer. Nothing, without TLS.
    #[inline]
    pub(super) fn behind(&self, buffer: &ReadBuffer) -> Backlog {
        match self {
            Self::Plain(_) => Backlog::NONE,
            Self::Rustls(_, records) => Backlog::new(records.unopened_bytes(buffer), records.has_record(buffer)),
            Self::InPlace(_, records) => Backlog::new(records.unopened_bytes(buffer), records.has_record(buffer)),
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
            Self::Rustls(socket, records) => write_records(socket, &mut **records, bytes),
            Self::InPlace(socket, records) => write_records(socket, &mut **records, bytes),
        }
    }

    /// Pushes what was accepted and not sent. True when nothing is left.
    ///
    /// # Errors
    /// [`StreamError`]: nothing more can be written.
    pub fn flush(&mut self) -> Result<bool, StreamError> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Rustls(socket, records) => flush(socket, records.outgoing_mut()),
            Self::InPlace(socket, records) => flush(socket, records.outgoing_mut()),
        }
    }

    /// True while accepted bytes wait, encrypted, for [`Self::flush`].
    #[inline]
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Rustls(_, records) => !records.outgoing().is_empty(),
            Self::InPlace(_, records) => !records.outgoing().is_empty(),
        }
    }

    /// Tells the peer, over TLS, that nothing more will come (RFC 8446 section 6.1), as far as the socket takes it.
    pub fn close_notify(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Rustls(_, records) => records.close_notify(),
            Self::InPlace(_, records) => records.close_notify(),
        }
        // Best effort: the caller is about to close the socket, and an error here says that it is gone.
        let _ = self.flush();
    }

    /// Ends the stream: close_notify, FIN, and a bounded look at what the peer has still sent, because a socket closed
    /// over unread bytes sends a reset that can overtake our last words.
    pub fn shut_down(&mut self) {
        self.close_notify();
        let socket = self.socket_mut();
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

/// One record's payload: of those received already, or else of what one `recv` brings.
#[inline]
fn read_record<R: Records>(
    socket: &mut Socket,
    records: &mut R,
    buffer: &mut ReadBuffer,
) -> Result<ReadOutcome, StreamError> {
    if let Some(outcome) = open_record(socket, records, buffer)? {
        socket.receive_first();
        return Ok(outcome);
    }
    let free = records.free(buffer)?;
    if free.is_empty() {
        return Ok(ReadOutcome::WouldBlock);
    }
    match receive(socket, free)? {
        ReadOutcome::Bytes(bytes) => {
            records.received(buffer, bytes);
            Ok(open_record(socket, records, buffer)?.unwrap_or(ReadOutcome::WouldBlock))
        }
        outcome => Ok(outcome),
    }
}

/// One record's payload, of those received; what the session has to say for itself goes out at once.
#[inline]
fn open_record<R: Records>(
    socket: &mut Socket,
    records: &mut R,
    buffer: &mut ReadBuffer,
) -> Result<Option<ReadOutcome>, StreamError> {
    let opened = records.open_next(buffer);
    if matches!(opened, Ok(Some(ReadOutcome::Bytes(_)))) {
        return opened;
    }
    answer(socket, records.outgoing_mut());
    opened
}

/// Sends what a session answers (a key update, an alert) as far as the socket takes it. Its error shows again at the next
/// write, and the reading side goes on: what the peer said before is still to be heard.
fn answer(socket: &mut Socket, outgoing: &mut Window) {
    if !outgoing.is_empty() {
        let _ = flush(socket, outgoing);
    }
}

fn write_records<R: Records>(socket: &mut Socket, records: &mut R, bytes: &[u8]) -> Result<usize, StreamError> {
    let mut accepted = 0;
    while accepted < bytes.len() && flush(socket, records.outgoing_mut())? {
        accepted += records.seal(&bytes[accepted..])?;
    }
    flush(socket, records.outgoing_mut())?;
    Ok(accepted)
}

fn flush(socket: &mut Socket, outgoing: &mut Window) -> Result<bool, StreamError> {
    while !outgoing.is_empty() {
        let sent = send(socket, outgoing.used())?;
        if sent == 0 {
            return Ok(false);
        }
        outgoing.discard(sent);
    }
    Ok(true)
}

#[cfg(test)]
#[path = "stream_tests.rs"]
pub(super) mod tests;
