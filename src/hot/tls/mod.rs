//! TLS after its handshake, without a socket: received ciphertext becomes plaintext in the read buffer, and plaintext
//! becomes records that wait to be sent. Two ways of it, chosen for each connection (`tls.records`):
//!
//! ```text
//! in_place   ReadBuffer: | plaintext |     | rec | rec | par.. |     opened where they lie: no copy, no allocation
//!                                     ◄─────┘
//! by_rustls  incoming:   | rec | rec | par.. | ──► one vector a record ──► copied into the ReadBuffer
//!
//! both       plaintext ──► outgoing: | records not taken by the socket yet | ──► stream
//! ```
//! In place: TLS 1.3 with AES-GCM or ChaCha20-Poly1305. Everything else is rustls'. Called by the stream, which alone has
//! the socket; on the cold side by the upgrade.

mod by_rustls;
mod in_place;
mod post_handshake;
mod traffic_key;
mod window;

pub use by_rustls::RustlsRecords;
pub use in_place::{InPlaceRecords, TlsCounts};
pub use window::Window;

use super::read_buffer::ReadBuffer;
use super::stream::{ReadOutcome, StreamError};

/// Plaintext of one record, at most (RFC 8446 section 5.1).
pub const RECORD_PLAINTEXT_BYTES_MAX: usize = 16 * 1024;

/// Type, version and length of a record (RFC 8446 section 5.1).
pub const RECORD_HEADER_BYTES: usize = 5;

/// Who opens the records of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum RecordOpener {
    /// rustls: every version and cipher suite it knows; one allocation and one copy a record.
    Rustls,
    /// This engine, in the buffer that the frames are read from.
    #[default]
    InPlace,
}

impl RecordOpener {
    /// The word used in TOML and in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rustls => "rustls",
            Self::InPlace => "in_place",
        }
    }
}

/// One connection's record layer, driven from outside: received bytes go into [`Self::free`], plaintext comes out of
/// [`Self::open_next`] into the read buffer, what is to be sent stands in [`Self::outgoing`].
pub trait Records {
    /// Opens what is received until one record has given plaintext; tickets and key updates give none, and may leave an
    /// answer in [`Self::outgoing`]. `None`: more must be received first. [`ReadOutcome::WouldBlock`]: call it again
    /// later, without receiving.
    ///
    /// # Errors
    /// [`StreamError`]: the session is over. An alert for the peer stands in [`Self::outgoing`].
    fn open_next(&mut self, buffer: &mut ReadBuffer) -> Result<Option<ReadOutcome>, StreamError>;

    /// True while [`Self::open_next`] has something to do although nothing more was received.
    fn has_record(&self, buffer: &ReadBuffer) -> bool;

    /// Bytes received and not opened.
    fn unopened_bytes(&self, buffer: &ReadBuffer) -> usize;

    /// Where received bytes go. Empty where there is no room before the read buffer is drained.
    ///
    /// # Errors
    /// [`StreamError`]: a message that no buffer is large enough for.
    fn free<'b>(&'b mut self, buffer: &'b mut ReadBuffer) -> Result<&'b mut [u8], StreamError>;

    /// So many bytes of the free part have been received.
    fn received(&mut self, buffer: &mut ReadBuffer, bytes: usize);

    /// Seals at most one record of plaintext into [`Self::outgoing`], which must be empty, and says how much of it.
    ///
    /// # Errors
    /// [`StreamError`]: nothing more can be written.
    fn seal(&mut self, plaintext: &[u8]) -> Result<usize, StreamError>;

    /// Seals close_notify (RFC 8446 section 6.1).
    fn close_notify(&mut self);

    /// Records that wait to be sent.
    fn outgoing(&self) -> &Window;

    /// The same, for taking off what was sent.
    fn outgoing_mut(&mut self) -> &mut Window;
}

/// Whether these bytes begin with a whole record, or with the header of one that is longer than any may be: that one is
/// refused at once, since waiting for the rest of it would be waiting for ever.
#[inline]
fn begins_with_record(ciphertext: &[u8]) -> bool {
    match ciphertext {
        [_, _, _, high, low, body @ ..] => {
            let body_bytes = usize::from(u16::from_be_bytes([*high, *low]));
            body.len() >= body_bytes || body_bytes > RECORD_BODY_BYTES_MAX
        }
        _ => false,
    }
}

/// Bytes of a record behind its header, at most (RFC 8446 section 5.2).
const RECORD_BODY_BYTES_MAX: usize = crate::limits::TLS_RECORD_BYTES_MAX - RECORD_HEADER_BYTES;
