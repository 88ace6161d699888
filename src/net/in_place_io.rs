//! A session whose records are opened in place, over a tokio socket: for the upgrade only.
//!
//! ```text
//! socket ──► ReadBuffer: | plaintext | ciphertext | ──► HandoverIo
//!        ◄── outgoing (records)                    ◄── bytes written
//! ```
//! The tickets of a server follow the handshake at once, before its 101: they are stored here, on the cold side. Opens one
//! record at a time, and none once its caller stops reading: the rest goes to the hot core as it came.

use crate::hot::read_buffer::ReadBuffer;
use crate::hot::{InPlaceRecords, ReadOutcome, Records, StreamError};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub(super) struct InPlaceIo {
    socket: TcpStream,
    records: Box<InPlaceRecords>,
    buffer: ReadBuffer,
}

/// What the hot core's stream is made of.
pub(super) struct InPlaceParts {
    pub(super) socket: TcpStream,
    /// With what was received and not opened.
    pub(super) records: Box<InPlaceRecords>,
    /// Opened, not read.
    pub(super) plaintext: Vec<u8>,
}

impl InPlaceIo {
    pub(super) fn new(socket: TcpStream, records: InPlaceRecords) -> Self {
        Self { socket, records: Box::new(records), buffer: ReadBuffer::new() }
    }

    /// Takes it apart.
    pub(super) fn into_parts(mut self) -> InPlaceParts {
        let plaintext = self.records.hand_over(&self.buffer);
        InPlaceParts { socket: self.socket, records: self.records, plaintext }
    }

    /// Waits until plaintext is pending; false at the end.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.buffer.pending().is_empty() {
            let opened = self.records.open_next(&mut self.buffer);
            // What the session answers (a key update, an alert) goes out; if the socket is full, with the next write.
            if let Poll::Ready(Err(error)) = self.poll_send(context)
                && opened.is_ok()
            {
                return Poll::Ready(Err(error));
            }
            match opened.map_err(invalid)? {
                Some(ReadOutcome::Bytes(_)) => {}
                Some(ReadOutcome::End) => return Poll::Ready(Ok(false)),
                Some(ReadOutcome::WouldBlock) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    let mut free = ReadBuf::new(self.records.free(&mut self.buffer).map_err(invalid)?);
                    ready!(Pin::new(&mut self.socket).poll_read(context, &mut free))?;
                    let count = free.filled().len();
                    self.records.received(&mut self.buffer, count);
                    if count == 0 {
                        return Poll::Ready(Ok(false));
                    }
                }
            }
        }
        Poll::Ready(Ok(true))
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.records.outgoing().is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(context, self.records.outgoing().used()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.records.outgoing_mut().discard(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn invalid(error: StreamError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for InPlaceIo {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if ready!(this.poll_open(context))? {
            let pending = this.buffer.pending();
            let count = pending.len().min(out.remaining());
            out.put_slice(&pending[..count]);
            this.buffer.consume(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for InPlaceIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_send(context))?;
        Poll::Ready(self.records.seal(bytes).map_err(invalid))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
