//! One direction's key: opens or seals one record after the other, where they lie, and allocates nothing.
//!
//! ```text
//! | 23 3 3 length | content .. | type | 0 0 .. | tag 16 |        nonce = iv xor the record's number
//! |  header: aad  |     inner plaintext, sealed  |        |        (RFC 8446 sections 5.2, 5.3)
//! ```

use super::super::stream::StreamError;
use super::RECORD_HEADER_BYTES;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Bytes of a tag: the same for every suite of TLS 1.3 there is (RFC 8446 appendix B.4).
pub(super) const TAG_BYTES: usize = 16;

/// Content types (RFC 8446 section 5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// A key with its record number.
pub(super) struct TrafficKey {
    key: LessSafeKey,
    iv_head: [u8; 4],
    iv_tail: u64,
    /// The number of the next record.
    sequence: u64,
}

impl TrafficKey {
    /// `None`: a suite that is not known here.
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Option<Self> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        let (iv_head, iv_tail) = iv.as_ref().split_first_chunk()?;
        Some(Self { key, iv_head: *iv_head, iv_tail: u64::from_be_bytes(iv_tail.try_into().ok()?), sequence })
    }

    /// The number of the next record: how many this key has opened or sealed.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    #[inline]
    fn nonce(&self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..4].copy_from_slice(&self.iv_head);
        nonce[4..].copy_from_slice(&(self.iv_tail ^ self.sequence).to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// Opens a whole record where it lies and gives its inner plaintext: content, type, padding.
    ///
    /// # Errors
    /// [`StreamError::TlsBadRecord`]: the tag is wrong, and what lies there now is meaningless.
    /// [`StreamError::TlsProtocol`]: the record numbers are used up (RFC 8446 section 5.3).
    #[inline]
    pub(super) fn open<'r>(&mut self, record: &'r mut [u8]) -> Result<&'r mut [u8], StreamError> {
        let Some((header, body)) = record.split_first_chunk_mut::<RECORD_HEADER_BYTES>() else {
            return Err(StreamError::TlsBadRecord);
        };
        let Some((inner, tag)) = body.split_last_chunk_mut::<TAG_BYTES>() else {
            return Err(StreamError::TlsBadRecord);
        };
        let next = self.sequence.checked_add(1).ok_or(StreamError::TlsProtocol)?;
        let opened = self.key.open_in_place_separate_tag(self.nonce(), Aad::from(&*header), &*tag, inner);
        self.sequence = next;
        opened.map_err(|_| StreamError::TlsBadRecord)
    }

    /// Seals `content`, then its type, into `out` as one record, and gives the record's length; `None` where `out` is too
    /// short. The caller keeps to the suite's limit of records (RFC 8446 section 5.5).
    pub(super) fn seal(&mut self, content: &[u8], kind: u8, out: &mut [u8]) -> Option<usize> {
        let body_bytes = content.len() + 1 + TAG_BYTES;
        let record = out.get_mut(..RECORD_HEADER_BYTES + body_bytes)?;
        let (header, body) = record.split_first_chunk_mut::<RECORD_HEADER_BYTES>()?;
        let [high, low] = u16::try_from(body_bytes).ok()?.to_be_bytes();
        *header = [APPLICATION_DATA, 3, 3, high, low];
        let (ciphertext, rest) = body.split_at_mut(content.len());
        let next = self.sequence.checked_add(1)?;
        let sealed =
            self.key.seal_out_of_place_scatter(self.nonce(), Aad::from(&*header), content, ciphertext, &[kind], rest);
        self.sequence = next;
        sealed.ok().map(|()| RECORD_HEADER_BYTES + body_bytes)
    }
}
