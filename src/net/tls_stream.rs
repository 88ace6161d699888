//! rustls' unbuffered client over a tokio socket: for the handshake and the upgrade only.
//!
//! ```text
//! socket ──► incoming (ciphertext) ──► session ──► plaintext ──► HandoverIo
//!        ◄── outgoing (ciphertext) ◄──         ◄── bytes written
//! ```
//! The hot core opens records in its own buffer, so what is handed to it must be the session itself and every byte not
//! yet opened: tokio-rustls cannot give those back. Opens one record at a time, and none once its caller stops reading.
//! In the handshake the session is shown one record after the other, and so never one behind it: where records are to be
//! opened in place, it is taken over at that point ([`InPlaceIo`]).

use super::connect::TlsFailure;
use super::in_place_io::InPlaceIo;
use crate::hot::InPlaceRecords;
use crate::hot::tls::RECORD_HEADER_BYTES;
use crate::limits::TLS_RECORD_BYTES_MAX;
use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes asked of the socket in one read.
const CHUNK_BYTES: usize = 4096;

/// Most plaintext put into one record by one write (RFC 8446 section 5.1 allows 2^14).
const WRITE_BYTES_MAX: usize = 16 * 1024;

/// What the session wants next.
enum Next {
    /// Bytes from the socket; the handshake is not over.
    Handshake,
    /// Nothing: the handshake is over and everything received has been opened.
    Idle,
    /// A reader: plaintext is waiting.
    Plaintext,
    /// Nothing more will come: the peer has said so (close_notify).
    PeerClosed,
}

/// Everything the session and its successor need.
pub(super) struct TlsParts {
    pub(super) socket: TcpStream,
    pub(super) session: UnbufferedClientConnection,
    /// Received, not opened.
    pub(super) ciphertext: Vec<u8>,
    /// Opened, not read.
    pub(super) plaintext: Vec<u8>,
}

/// Invariant: `read <= plaintext.len()`, `sent <= outgoing.len()`, `shown <= incoming.len()`.
pub(super) struct TlsIo {
    socket: TcpStream,
    session: UnbufferedClientConnection,
    incoming: Vec<u8>,
    /// How much of `incoming` the session is shown: whole records.
    shown: usize,
    outgoing: Vec<u8>,
    sent: usize,
    plaintext: Vec<u8>,
    read: usize,
    is_peer_closed: bool,
}

impl TlsIo {
    /// Does the handshake.
    ///
    /// # Errors
    /// [`TlsFailure`]: the socket's, or rustls' (certificate, version, alert); the peer is sent rustls' alert.
    pub(super) async fn handshake(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, TlsFailure> {
        let session = UnbufferedClientConnection::new(config, name)?;
        let mut this = Self {
            socket,
            session,
            incoming: Vec::new(),
            shown: 0,
            outgoing: Vec::new(),
            sent: 0,
            plaintext: Vec::new(),
            read: 0,
            is_peer_closed: false,
        };
        std::future::poll_fn(|context| this.poll_handshake(context)).await?;
        Ok(this)
    }

    /// Version and cipher suite, as rustls names them.
    pub(super) fn negotiated(&self) -> (Option<String>, Option<String>) {
        let version = self.session.protocol_version().map(|version| format!("{version:?}"));
        let suite = self.session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        (version, suite)
    }

    /// Why its records cannot be opened in place; `None` where they can.
    pub(super) fn obstacle(&self) -> Option<&'static str> {
        InPlaceRecords::obstacle(&self.session)
    }

    /// The session taken over where its handshake has just ended, with no record behind it seen by rustls.
    ///
    /// # Errors
    /// rustls'.
    pub(super) fn into_in_place(self) -> Result<InPlaceIo, rustls::Error> {
        debug_assert!(self.sent == self.outgoing.len() && self.plaintext.is_empty() && self.shown == 0);
        let records = InPlaceRecords::new(self.session, self.incoming)?;
        Ok(InPlaceIo::new(self.socket, records))
    }

    /// Takes it apart. Call after a flush: what was not sent would be lost.
    pub(super) fn into_parts(mut self) -> TlsParts {
        debug_assert_eq!(self.sent, self.outgoing.len());
        let plaintext = self.plaintext.split_off(self.read);
        TlsParts { socket: self.socket, session: self.session, ciphertext: self.incoming, plaintext }
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TlsFailure>> {
        loop {
            let next = match self.advance(&[]) {
                Ok((next, _)) => next,
                Err(failure) => {
                    self.send_alert();
                    return Poll::Ready(Err(failure));
                }
            };
            ready!(self.poll_send(context))?;
            match next {
                Next::Idle | Next::Plaintext => return Poll::Ready(Ok(())),
                Next::Handshake => {
                    if !self.show_record() && ready!(self.poll_receive(context))? == 0 {
                        let what = "the server closed the connection during the TLS handshake";
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, what).into()));
                    }
                }
                Next::PeerClosed => {
                    let what = "the server ended the TLS session during its handshake";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, what).into()));
                }
            }
        }
    }

    /// Shows the session one more record. False if none is whole.
    fn show_record(&mut self) -> bool {
        let [kind, major, _, high, low, body @ ..] = &self.incoming[self.shown..] else { return false };
        let body_bytes = usize::from(u16::from_be_bytes([*high, *low]));
        let is_record = matches!(kind, 20..=23) && *major == 3 && body_bytes <= TLS_RECORD_BYTES_MAX;
        // What is no record is shown as it is, for rustls to refuse at once.
        let shown = if is_record { RECORD_HEADER_BYTES + body_bytes } else { RECORD_HEADER_BYTES + body.len() };
        let is_whole = self.shown + shown <= self.incoming.len();
        self.shown += if is_whole { shown } else { 0 };
        is_whole
    }

    /// Lets the session work on what it is shown until it wants something, and seals `data` once it can. Returns what it
    /// wants and how many bytes of `data` it took.
    fn advance(&mut self, data: &[u8]) -> Result<(Next, usize), TlsFailure> {
        let Self { session, incoming, shown, outgoing, plaintext, is_peer_closed, .. } = self;
        loop {
            let UnbufferedStatus { mut discard, state } = session.process_tls_records(&mut incoming[..*shown]);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    incoming.drain(..discard);
                    *shown -= discard;
                    return Err(error.into());
                }
            };
            let next = match state {
                ConnectionState::EncodeTlsData(mut encode) => {
                    append(outgoing, |room| match encode.encode(room) {
                        Ok(count) => Ok(Ok(count)),
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        Err(other) => Err(rustls::Error::General(other.to_string())),
                    })?;
                    None
                }
                ConnectionState::TransmitTlsData(transmit) => {
                    // It is queued in `outgoing`, which every caller sends before it waits for anything.
                    transmit.done();
                    None
                }
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plaintext.extend_from_slice(record.payload);
                    }
                    Some((Next::Plaintext, 0))
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    let taken = data.len().min(WRITE_BYTES_MAX);
                    if taken > 0 {
                        append(outgoing, |room| match traffic.encrypt(&data[..taken], room) {
                            Ok(count) => Ok(Ok(count)),
                            Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                            Err(other) => Err(rustls::Error::General(other.to_string())),
                        })?;
                    }
                    Some((Next::Idle, taken))
                }
                ConnectionState::BlockedHandshake => Some((Next::Handshake, 0)),
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    *is_peer_closed = true;
                    Some((Next::PeerClosed, 0))
                }
                other => {
                    let what = format!("a TLS state this client never asked for: {other:?}");
                    return Err(rustls::Error::General(what).into());
                }
            };
            incoming.drain(..discard);
            *shown -= discard;
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    /// Tells the peer why the handshake failed, as far as the socket takes it at once: the failure itself is reported
    /// either way.
    fn send_alert(&mut self) {
        // Asked once: the alert is the one thing waiting, and behind it rustls would look at the bad bytes again.
        if let Ok(ConnectionState::EncodeTlsData(mut encode)) =
            self.session.process_tls_records(&mut self.incoming).state
        {
            let mut alert = [0; 512];
            let Ok(count) = encode.encode(&mut alert) else { return };
            self.outgoing.extend_from_slice(&alert[..count]);
        }
        // The error of a socket that is failing anyway adds nothing to the one being reported.
        let _unsent = self.socket.try_write(&self.outgoing[self.sent..]);
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [0; CHUNK_BYTES];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut chunk))?;
        self.incoming.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            match ready!(Pin::new(&mut self.socket).poll_write(context, &self.outgoing[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

/// Appends what `write` writes, in as much room as it asks for.
fn append(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, usize>, rustls::Error>,
) -> Result<(), rustls::Error> {
    let start = out.len();
    let mut room = 1024;
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(Ok(count)) => {
                out.truncate(start + count);
                return Ok(());
            }
            Ok(Err(required)) => room = required.max(room + 1),
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        }
    }
}

impl AsyncRead for TlsIo {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let waiting = &this.plaintext[this.read..];
            if !waiting.is_empty() {
                let count = waiting.len().min(out.remaining());
                out.put_slice(&waiting[..count]);
                this.read += count;
                return Poll::Ready(Ok(()));
            }
            this.plaintext.clear();
            this.read = 0;
            if this.is_peer_closed {
                return Poll::Ready(Ok(()));
            }
            match this.advance(&[]).map_err(TlsFailure::into_io)?.0 {
                Next::Plaintext | Next::PeerClosed => {}
                Next::Handshake | Next::Idle if this.show_record() => {}
                Next::Handshake | Next::Idle => {
                    // An answer the session owes (a key update) goes out; if the socket is full, with the next write.
                    if let Poll::Ready(Err(error)) = this.poll_send(context) {
                        return Poll::Ready(Err(error));
                    }
                    if ready!(this.poll_receive(context))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for TlsIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_send(context))?;
        loop {
            // Records that stand before the write are opened first; they wait in `plaintext` for the reader.
            match self.advance(bytes).map_err(TlsFailure::into_io)? {
                (Next::Idle, taken) => return Poll::Ready(Ok(taken)),
                (Next::Plaintext, _) => {}
                (Next::Handshake | Next::PeerClosed, _) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
