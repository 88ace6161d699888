//! Keeps the upgrade from swallowing what stands behind it. Wrapped around the stream while tokio-tungstenite upgrades.
//!
//! ```text
//! received:  | HTTP/1.1 101 ... \r\n\r\n | first frames, in the same segment |
//!            0     released          head_end                              len
//!            to tungstenite, never past head_end      to whoever reads on
//! ```
//! tungstenite's own `into_inner` drops what its codec has read ahead, without a word: an exchange that greets in the
//! segment of its 101 would lose that greeting. Nothing is released before the head is whole, so a server that sends it
//! byte by byte is served as well as any. Bounded: a head longer than [`HEAD_BYTES_MAX`] is an error.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Longest response head, in bytes. Exchanges send under 1 KiB, their proxies' cookies included.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Bytes asked of the stream in one read.
const CHUNK_BYTES: usize = 4096;

/// Invariant: `released <= head_end <= received.len()`.
pub(super) struct HandoverIo<S> {
    inner: S,
    received: Vec<u8>,
    released: usize,
    head_end: Option<usize>,
}

impl<S> HandoverIo<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, received: Vec::new(), released: 0, head_end: None }
    }

    /// The stream, and every byte received behind the head.
    pub(super) fn into_parts(mut self) -> (S, Vec<u8>) {
        let rest = self.received.split_off(self.head_end.unwrap_or(self.received.len()));
        (self.inner, rest)
    }
}

impl<S: AsyncRead + Unpin> HandoverIo<S> {
    /// Receives until `wanted` bytes of the body are there or the peer has closed. Cancel safe: keeps what has come.
    pub(super) async fn receive_body(&mut self, wanted: usize) -> io::Result<()> {
        let mut chunk = [0; CHUNK_BYTES];
        while self.body().len() < wanted {
            match self.inner.read(&mut chunk).await? {
                0 => break,
                count => self.received.extend_from_slice(&chunk[..count]),
            }
        }
        Ok(())
    }

    /// What has been received behind the head.
    pub(super) fn body(&self) -> &[u8] {
        &self.received[self.head_end.unwrap_or(self.received.len())..]
    }
}

/// The offset behind the empty line that ends a head. A bare line feed ends a line too: RFC 9112 section 2.2 allows a
/// reader to take it so, and the parser that gets these bytes does.
fn find_head_end(received: &[u8], from: usize) -> Option<usize> {
    (from..received.len()).filter(|&at| received[at] == b'\n').find_map(|at| match received.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for HandoverIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if let Some(head_end) = this.head_end {
                let ready = &this.received[this.released..head_end];
                if ready.is_empty() {
                    let what = "the server's answer ended before it was an HTTP response";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
                }
                let count = ready.len().min(out.remaining());
                out.put_slice(&ready[..count]);
                this.released += count;
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; CHUNK_BYTES];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            // The empty line may have begun in the bytes before: at most a line feed and a carriage return.
            let from = this.received.len().saturating_sub(2);
            this.received.extend_from_slice(chunk.filled());
            this.head_end = find_head_end(&this.received, from);
            if this.head_end.unwrap_or(this.received.len()) > HEAD_BYTES_MAX {
                let what = format!("response head over the limit of {HEAD_BYTES_MAX} bytes");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HandoverIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n";

    #[tokio::test]
    async fn not_a_byte_behind_the_empty_line_is_released_wherever_the_segments_split() {
        let mut wire = HEAD.to_vec();
        wire.extend_from_slice(b"\x81\x02hi\r\n\r\n");
        for split in 0..=wire.len() {
            let (mut server, client) = tokio::io::duplex(wire.len() + 1);
            let mut io = HandoverIo::new(client);
            server.write_all(&wire[..split]).await.unwrap();
            let mut head = vec![0; HEAD.len()];
            let read = io.read_exact(&mut head);
            let (read, ()) = tokio::join!(read, async {
                tokio::task::yield_now().await;
                server.write_all(&wire[split..]).await.unwrap();
            });
            read.unwrap();
            assert_eq!(head, HEAD, "split at byte {split}");
            let error = io.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            drop(server);
            let (mut client, mut rest) = io.into_parts();
            client.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, &wire[HEAD.len()..], "split at byte {split}");
        }
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line_in_either_spelling() {
        assert_eq!(find_head_end(b"a\r\nb\r\n\r\nc\r\n\r\n", 0), Some(8));
        assert_eq!(find_head_end(b"a\nb\n\nc", 0), Some(5));
        assert_eq!(find_head_end(b"a\r\n\nc", 0), Some(4));
        assert_eq!(find_head_end(b"a\r\nb\r\n\r", 0), None);
        assert_eq!(find_head_end(b"", 0), None);
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused_at_the_limit() {
        let (mut server, client) = tokio::io::duplex(4096);
        let writer = tokio::spawn(async move { while server.write_all(b"X-Filler: 0123456789\r\n").await.is_ok() {} });
        let mut io = HandoverIo::new(client);
        let error = io.read(&mut [0; 8]).await.unwrap_err();
        assert!(error.to_string().contains("65536"), "{error}");
        drop(io);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_closes_within_the_head_is_an_end_of_file() {
        let (mut server, client) = tokio::io::duplex(64);
        server.write_all(b"HTTP/1.1 101").await.unwrap();
        drop(server);
        assert_eq!(HandoverIo::new(client).read(&mut [0; 8]).await.unwrap(), 0);
    }
}
