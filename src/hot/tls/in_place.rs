//! Records opened where they lie, in the buffer that the frames are read from: TLS 1.3's record layer, client's side.
//!
//! ```text
//! ReadBuffer: | plaintext, not parsed |  | header | ciphertext | tag | header | ciphertext ..  | free
//!                                     ▲           └ opened ┘
//!                                     └ joined where a frame is cut: the shorter of the two moves
//! ```
//! rustls did the handshake and keeps the secrets (`KernelConnection`): it makes the keys after a key update and stores
//! the tickets. Everything behind the handshake is here: record numbers, padding, alerts, key updates in both directions,
//! the limit of records a key may seal. No byte of a record is handed on before its tag is verified.
//!
//! The common record (whole, unpadded application data) reads straight down in [`Records::open_next`], allocates nothing
//! and copies nothing; everything else is cold. A key update allocates, inside rustls. A ticket that reaches the hot core
//! is counted and dropped: storing it would lock.

use super::super::read_buffer::ReadBuffer;
use super::super::stream::{ReadOutcome, StreamError};
use super::post_handshake::{Joiner, PostHandshake};
use super::traffic_key::{ALERT, APPLICATION_DATA, HANDSHAKE, TAG_BYTES, TrafficKey};
use super::{
    RECORD_BODY_BYTES_MAX, RECORD_HEADER_BYTES, RECORD_PLAINTEXT_BYTES_MAX, Records, Window, begins_with_record,
};
use crate::limits::{TLS_RECORD_BYTES_MAX, VISIT_BYTES_MAX};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::{CipherSuite, ProtocolVersion};

/// A record's shortest body: no content, a type, a tag.
const RECORD_BODY_BYTES_MIN: usize = 1 + TAG_BYTES;

/// Records without plaintext that one call opens, so that a peer that sends nothing else cannot hold the core.
const FRUITLESS_PER_CALL_MAX: u32 = 16;

/// Empty records, key updates and warnings in a row that a peer may send (rustls and OpenSSL draw the line here too).
const IDLE_RECORDS_MAX: u32 = 32;

/// Records kept back of what a key may seal: a key update, an alert and close_notify always have their number.
const RECORDS_KEPT_BACK: u64 = 4;

/// Alerts (RFC 8446 section 6).
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const LEVEL_WARNING: u8 = 1;
const LEVEL_FATAL: u8 = 2;

/// Our key update, which asks for none in return (RFC 8446 section 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// What the peer did wrong, and the alert that tells it so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Refused {
    error: StreamError,
    alert: u8,
}

impl Refused {
    pub(super) const UNEXPECTED_MESSAGE: Self = Self { error: StreamError::TlsProtocol, alert: 10 };
    const BAD_RECORD_MAC: Self = Self { error: StreamError::TlsBadRecord, alert: 20 };
    const RECORD_OVERFLOW: Self = Self { error: StreamError::TlsBadRecord, alert: 22 };
    pub(super) const ILLEGAL_PARAMETER: Self = Self { error: StreamError::TlsBadRecord, alert: 47 };
    pub(super) const DECODE_ERROR: Self = Self { error: StreamError::TlsBadRecord, alert: 50 };
    const INTERNAL_ERROR: Self = Self { error: StreamError::TlsOther, alert: 80 };
}

/// What happened beside the data.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TlsCounts {
    /// Key updates of the peer that were followed.
    pub key_updates: u64,
    /// Session tickets that came too late to be stored.
    pub tickets_dropped: u64,
}

/// How the reading side ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// close_notify.
    Notified,
    /// An alert of the peer, or one of ours.
    Failed(StreamError),
}

/// What one record came to.
enum Opened {
    /// So many bytes of plaintext are new in the read buffer.
    Payload(usize),
    /// No plaintext, but the record is dealt with.
    Nothing,
    /// No whole record is there.
    More,
    /// The peer will send nothing more.
    End,
}

/// A session whose keys are held here.
pub struct InPlaceRecords {
    opening: TrafficKey,
    /// Records without plaintext since the last one with; above 0 too while a handshake message is incomplete.
    fruitless: u32,
    /// Those of them that are bounded.
    idle: u32,
    ended: Option<Ended>,
    joiner: Joiner,
    counts: TlsCounts,
    sealing: TrafficKey,
    /// Records of data that one key seals.
    sealed_max: u64,
    /// A key update was asked for, and there was no room for it.
    owes_key_update: bool,
    outgoing: Window,
    kernel: KernelConnection<ClientConnectionData>,
    /// Ciphertext that came before the read buffer did, and how much of it has gone there.
    handed: Vec<u8>,
    handed_bytes: usize,
}

impl std::fmt::Debug for InPlaceRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InPlaceRecords")
            .field("ended", &self.ended)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl InPlaceRecords {
    /// Why this session's records cannot be opened in place; `None` where they can.
    #[must_use]
    pub fn obstacle(session: &UnbufferedClientConnection) -> Option<&'static str> {
        if session.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Some("the server speaks no TLS 1.3");
        }
        match session.negotiated_cipher_suite().map(|suite| suite.suite()) {
            Some(
                CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS13_AES_256_GCM_SHA384
                | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            ) => None,
            _ => Some("the cipher suite is not known here"),
        }
    }

    /// Takes the session over. It has finished its handshake, has nothing to send, was shown no record behind the
    /// handshake, and its configuration has `enable_secret_extraction`; `ciphertext` is what was received behind it.
    ///
    /// # Errors
    /// rustls': one of these does not hold, or there is an [`obstacle`](Self::obstacle).
    pub fn new(session: UnbufferedClientConnection, ciphertext: Vec<u8>) -> Result<Self, rustls::Error> {
        let refused = |why: &str| rustls::Error::General(format!("records cannot be opened in place: {why}"));
        if let Some(obstacle) = Self::obstacle(&session) {
            return Err(refused(obstacle));
        }
        let (secrets, kernel) = session.dangerous_into_kernel_connection()?;
        if secrets.rx.0 != 0 {
            // rustls may hold a part of a ticket, which would be lost with it.
            return Err(refused("rustls has opened records behind the handshake"));
        }
        let unknown = || refused("the cipher suite is not known here");
        let limit = kernel.negotiated_cipher_suite().tls13().map_or(0, |suite| suite.common.confidentiality_limit);
        Ok(Self {
            opening: TrafficKey::new(secrets.rx).ok_or_else(unknown)?,
            fruitless: 0,
            idle: 0,
            ended: None,
            joiner: Joiner::keeping_tickets(),
            counts: TlsCounts::default(),
            sealing: TrafficKey::new(secrets.tx).ok_or_else(unknown)?,
            sealed_max: limit.saturating_sub(RECORDS_KEPT_BACK),
            owes_key_update: false,
            // One record of ours, and as much again for key updates and an alert behind it.
            outgoing: Window::new(2 * TLS_RECORD_BYTES_MAX),
            kernel,
            handed: ciphertext,
            handed_bytes: 0,
        })
    }

    /// Leaves the cold side and its buffer: gives the plaintext in it, keeps its ciphertext for the next one, and stores
    /// no tickets from now on.
    pub fn hand_over(&mut self, buffer: &ReadBuffer) -> Vec<u8> {
        let mut ciphertext = buffer.ciphertext().to_vec();
        ciphertext.extend_from_slice(&self.handed[self.handed_bytes..]);
        (self.handed, self.handed_bytes) = (ciphertext, 0);
        self.joiner.forget_tickets();
        buffer.pending().to_vec()
    }

    /// What happened since the last call; `None`: nothing.
    #[inline]
    pub fn take_counts(&mut self) -> Option<TlsCounts> {
        if self.counts == TlsCounts::default() { None } else { Some(std::mem::take(&mut self.counts)) }
    }

    /// One record. The common one reads straight down.
    #[inline]
    fn open_one(&mut self, buffer: &mut ReadBuffer) -> Result<Opened, StreamError> {
        if let [APPLICATION_DATA, _, _, high, low, body @ ..] = buffer.ciphertext() {
            let body_bytes = usize::from(u16::from_be_bytes([*high, *low]));
            if (RECORD_BODY_BYTES_MIN..=RECORD_BODY_BYTES_MAX).contains(&body_bytes) && body.len() >= body_bytes {
                let record_bytes = RECORD_HEADER_BYTES + body_bytes;
                let inner = match self.opening.open(buffer.first_record(record_bytes)) {
                    Ok(inner) => inner,
                    Err(error) => return self.not_opened(error, buffer),
                };
                if self.fruitless == 0
                    && let [content @ .., APPLICATION_DATA] = inner
                    && !content.is_empty()
                    && content.len() <= RECORD_PLAINTEXT_BYTES_MAX
                {
                    let content_bytes = content.len();
                    buffer.opened(record_bytes, RECORD_HEADER_BYTES, content_bytes);
                    return Ok(Opened::Payload(content_bytes));
                }
                let inner_bytes = inner.len();
                return self.opened_rare(buffer, record_bytes, inner_bytes);
            }
        }
        self.without_record(buffer)
    }

    #[cold]
    #[inline(never)]
    fn not_opened(&mut self, error: StreamError, buffer: &mut ReadBuffer) -> Result<Opened, StreamError> {
        let refused =
            if error == StreamError::TlsBadRecord { Refused::BAD_RECORD_MAC } else { Refused::INTERNAL_ERROR };
        Err(self.fail(Refused { error, ..refused }, buffer))
    }

    /// No whole record of application data begins here: more must come, or the peer is wrong, or the end was reached.
    #[cold]
    #[inline(never)]
    fn without_record(&mut self, buffer: &mut ReadBuffer) -> Result<Opened, StreamError> {
        match self.ended {
            Some(Ended::Notified) => return Ok(Opened::End),
            Some(Ended::Failed(error)) => return Err(error),
            None => {}
        }
        let refused = match buffer.ciphertext() {
            [kind, ..] if *kind != APPLICATION_DATA => Refused::UNEXPECTED_MESSAGE,
            [_, _, _, high, low, ..] => match usize::from(u16::from_be_bytes([*high, *low])) {
                ..RECORD_BODY_BYTES_MIN => Refused::DECODE_ERROR,
                RECORD_BODY_BYTES_MIN..=RECORD_BODY_BYTES_MAX => return Ok(self.take_handed(buffer)),
                _ => Refused::RECORD_OVERFLOW,
            },
            _ => return Ok(self.take_handed(buffer)),
        };
        Err(self.fail(refused, buffer))
    }

    /// Moves ciphertext that was handed over into the buffer, as far as it fits.
    fn take_handed(&mut self, buffer: &mut ReadBuffer) -> Opened {
        let rest = &self.handed[self.handed_bytes..];
        if rest.is_empty() {
            return Opened::More;
        }
        let free = buffer.free_for_ciphertext(rest.len());
        let taken = free.len();
        free.copy_from_slice(&rest[..taken]);
        buffer.ciphertext_received(taken);
        self.handed_bytes += taken;
        if taken == 0 { Opened::More } else { Opened::Nothing }
    }

    /// A record that is authentic, and padded, empty, not application data, or the first with data behind such.
    #[cold]
    #[inline(never)]
    fn opened_rare(
        &mut self,
        buffer: &mut ReadBuffer,
        record_bytes: usize,
        inner_bytes: usize,
    ) -> Result<Opened, StreamError> {
        let inner = &buffer.ciphertext()[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + inner_bytes];
        // Behind the type there is padding, any number of zeros (RFC 8446 section 5.4).
        let Some(content_bytes) = inner.iter().rposition(|&byte| byte != 0) else {
            return Err(self.fail(Refused::UNEXPECTED_MESSAGE, buffer));
        };
        if inner_bytes > RECORD_PLAINTEXT_BYTES_MAX + 1 {
            return Err(self.fail(Refused::RECORD_OVERFLOW, buffer));
        }
        let (content, kind) = (&inner[..content_bytes], inner[content_bytes]);
        let opened = match kind {
            APPLICATION_DATA if self.joiner.is_midway() => Err(Refused::UNEXPECTED_MESSAGE),
            APPLICATION_DATA if content_bytes > 0 => {
                (self.fruitless, self.idle) = (0, 0);
                Ok(Opened::Payload(content_bytes))
            }
            APPLICATION_DATA => self.idle().map(|()| Opened::Nothing),
            HANDSHAKE => self.handshake(content).map(|()| Opened::Nothing),
            ALERT => self.alert(content),
            _ => Err(Refused::UNEXPECTED_MESSAGE),
        };
        match opened {
            Ok(Opened::Payload(bytes)) => {
                buffer.opened(record_bytes, RECORD_HEADER_BYTES, bytes);
                Ok(Opened::Payload(bytes))
            }
            Ok(opened) => {
                self.fruitless = self.fruitless.saturating_add(1);
                buffer.skip_ciphertext(record_bytes);
                if let Some(ended) = self.ended {
                    self.end(buffer);
                    if let Ended::Failed(error) = ended {
                        return Err(error);
                    }
                }
                Ok(opened)
            }
            Err(refused) => Err(self.fail(refused, buffer)),
        }
    }

    /// Counts a record that brings nothing and is not bounded by what it brings.
    fn idle(&mut self) -> Result<(), Refused> {
        self.idle += 1;
        if self.idle > IDLE_RECORDS_MAX { Err(Refused::UNEXPECTED_MESSAGE) } else { Ok(()) }
    }

    fn handshake(&mut self, mut fragment: &[u8]) -> Result<(), Refused> {
        if fragment.is_empty() {
            // RFC 8446 section 5.1.
            return Err(Refused::UNEXPECTED_MESSAGE);
        }
        while let Some(message) = self.joiner.next(&mut fragment)? {
            match message {
                PostHandshake::Ticket => match self.joiner.ticket() {
                    Some(ticket) => self.kernel.handle_new_session_ticket(ticket).map_err(|_| Refused::DECODE_ERROR)?,
                    None => self.counts.tickets_dropped += 1,
                },
                // The record behind it has another key, so it must end its own (RFC 8446 section 5.1).
                PostHandshake::KeyUpdate { .. } if !fragment.is_empty() => return Err(Refused::UNEXPECTED_MESSAGE),
                PostHandshake::KeyUpdate { is_requested } => self.follow_key_update(is_requested)?,
            }
        }
        Ok(())
    }

    fn follow_key_update(&mut self, is_requested: bool) -> Result<(), Refused> {
        self.idle()?;
        let secrets = self.kernel.update_rx_secret().map_err(|_| Refused::INTERNAL_ERROR)?;
        self.opening = TrafficKey::new(secrets).ok_or(Refused::INTERNAL_ERROR)?;
        self.counts.key_updates += 1;
        if is_requested {
            // One answer serves for all that were asked before it went (RFC 8446 section 4.6.3).
            self.owes_key_update = true;
            self.change_sealing_key().map_err(|_| Refused::INTERNAL_ERROR)?;
        }
        Ok(())
    }

    /// Says that our next record has another key, and takes that key. Where there is no room, the next write does it.
    fn change_sealing_key(&mut self) -> Result<(), StreamError> {
        if !self.queue(&KEY_UPDATE, HANDSHAKE) {
            return Ok(());
        }
        let secrets = self.kernel.update_tx_secret().map_err(|_| StreamError::TlsOther)?;
        self.sealing = TrafficKey::new(secrets).ok_or(StreamError::TlsOther)?;
        self.owes_key_update = false;
        Ok(())
    }

    fn alert(&mut self, content: &[u8]) -> Result<Opened, Refused> {
        let &[_, description] = content else { return Err(Refused::DECODE_ERROR) };
        match description {
            CLOSE_NOTIFY => {
                self.ended = Some(Ended::Notified);
                Ok(Opened::End)
            }
            // Says only that a close_notify will follow (RFC 8446 section 6.1).
            USER_CANCELED => self.idle().map(|()| Opened::Nothing),
            // Every other one is fatal, whatever its level says (RFC 8446 section 6.2).
            description => {
                self.ended = Some(Ended::Failed(StreamError::TlsAlert { description }));
                Ok(Opened::End)
            }
        }
    }

    /// Ends the reading side by an error of the peer's, and tells it.
    fn fail(&mut self, refused: Refused, buffer: &mut ReadBuffer) -> StreamError {
        // Where there is no room the peer reads nothing anyway.
        let _ = self.queue(&[LEVEL_FATAL, refused.alert], ALERT);
        self.ended = Some(Ended::Failed(refused.error));
        self.end(buffer);
        refused.error
    }

    /// Nothing behind the end is ever opened.
    fn end(&mut self, buffer: &mut ReadBuffer) {
        buffer.skip_ciphertext(buffer.ciphertext().len());
        self.handed_bytes = self.handed.len();
    }

    /// Seals a message of the protocol's own. False where there is no room for it.
    fn queue(&mut self, content: &[u8], kind: u8) -> bool {
        self.outgoing.make_room(RECORD_HEADER_BYTES + content.len() + RECORD_BODY_BYTES_MIN);
        let sealed = self.sealing.seal(content, kind, self.outgoing.free());
        self.outgoing.fill(sealed.unwrap_or(0));
        sealed.is_some()
    }
}

impl Records for InPlaceRecords {
    #[inline]
    fn open_next(&mut self, buffer: &mut ReadBuffer) -> Result<Option<ReadOutcome>, StreamError> {
        for _ in 0..FRUITLESS_PER_CALL_MAX {
            match self.open_one(buffer)? {
                Opened::Payload(bytes) => return Ok(Some(ReadOutcome::Bytes(bytes))),
                Opened::Nothing => {}
                Opened::More => return Ok(None),
                Opened::End => return Ok(Some(ReadOutcome::End)),
            }
        }
        Ok(Some(ReadOutcome::WouldBlock))
    }

    #[inline]
    fn has_record(&self, buffer: &ReadBuffer) -> bool {
        begins_with_record(buffer.ciphertext()) || self.handed_bytes < self.handed.len()
    }

    #[inline]
    fn unopened_bytes(&self, buffer: &ReadBuffer) -> usize {
        buffer.ciphertext().len() + (self.handed.len() - self.handed_bytes)
    }

    #[inline]
    fn free<'b>(&'b mut self, buffer: &'b mut ReadBuffer) -> Result<&'b mut [u8], StreamError> {
        // Behind the end there is nothing to receive.
        Ok(if self.ended.is_some() { &mut [] } else { buffer.free_for_ciphertext(VISIT_BYTES_MAX) })
    }

    #[inline]
    fn received(&mut self, buffer: &mut ReadBuffer, bytes: usize) {
        buffer.ciphertext_received(bytes);
    }

    fn seal(&mut self, plaintext: &[u8]) -> Result<usize, StreamError> {
        if self.owes_key_update || self.sealing.sequence() >= self.sealed_max {
            self.change_sealing_key()?;
        }
        let piece = &plaintext[..plaintext.len().min(RECORD_PLAINTEXT_BYTES_MAX)];
        let sealed = self.sealing.seal(piece, APPLICATION_DATA, self.outgoing.free()).ok_or(StreamError::TlsOther)?;
        self.outgoing.fill(sealed);
        Ok(piece.len())
    }

    #[cold]
    fn close_notify(&mut self) {
        // After a fatal alert nothing follows; where there is no room the peer reads nothing anyway.
        if !matches!(self.ended, Some(Ended::Failed(_))) {
            let _ = self.queue(&[LEVEL_WARNING, CLOSE_NOTIFY], ALERT);
        }
    }

    fn outgoing(&self) -> &Window {
        &self.outgoing
    }

    fn outgoing_mut(&mut self) -> &mut Window {
        &mut self.outgoing
    }
}

#[cfg(test)]
#[path = "in_place_tests.rs"]
mod tests;
