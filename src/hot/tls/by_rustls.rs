//! Records opened by rustls' unbuffered client: every version and suite it knows, for a vector and a copy a record.

use super::super::read_buffer::ReadBuffer;
use super::super::stream::{ReadOutcome, StreamError};
use super::{RECORD_PLAINTEXT_BYTES_MAX, Records, Window, begins_with_record};
use crate::limits::{TLS_RECORD_BYTES_MAX, VISIT_BYTES_MAX};
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};

/// A session after its handshake, with its ciphertext in both directions.
pub struct RustlsRecords {
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

impl std::fmt::Debug for RustlsRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RustlsRecords").field("has_ended", &self.has_ended).finish_non_exhaustive()
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

impl RustlsRecords {
    /// `session` has finished its handshake; `ciphertext` was received and the handshake did not consume it.
    ///
    /// # Errors
    /// [`StreamError`]: the session refuses `ciphertext`.
    pub fn new(session: UnbufferedClientConnection, ciphertext: &[u8]) -> Result<Self, StreamError> {
        // Twice the longest record at least, so that a partial one never blocks the next read; longer where the
        // handshake left more than that.
        let mut incoming = Window::new(VISIT_BYTES_MAX.max(2 * TLS_RECORD_BYTES_MAX).max(ciphertext.len()));
        incoming.free()[..ciphertext.len()].copy_from_slice(ciphertext);
        incoming.fill(ciphertext.len());
        // One record of ours, and as much again for what rustls itself has to say (a key update, an alert).
        let outgoing = Window::new(2 * TLS_RECORD_BYTES_MAX);
        let first_record = Vec::new();
        let mut records = Self { session, incoming, outgoing, first_record, is_drained: false, has_ended: false };
        records.settle()?;
        Ok(records)
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

    #[cold]
    fn take_first_record(&mut self, buffer: &mut ReadBuffer) -> ReadOutcome {
        let record = std::mem::take(&mut self.first_record);
        // `open_next` has made sure of the room.
        let fits = buffer.append(&record);
        debug_assert!(fits);
        ReadOutcome::Bytes(record.len())
    }

    /// Opens records until one has payload; tickets and key updates have none.
    fn open_record(&mut self, buffer: &mut ReadBuffer) -> Result<Option<ReadOutcome>, StreamError> {
        loop {
            let asked = self.process(|payload| buffer.append(payload));
            match asked.inspect_err(|_| self.queue_alert())? {
                Asked::Again | Asked::Opened(0) => {}
                Asked::Opened(bytes) => return Ok(Some(ReadOutcome::Bytes(bytes))),
                Asked::More => {
                    self.is_drained = true;
                    return Ok(None);
                }
                Asked::Closed => {
                    self.has_ended = true;
                    return Ok(Some(ReadOutcome::End));
                }
            }
        }
    }

    /// One turn of rustls over what is received; a record's payload goes to `sink`, which says whether it fit.
    fn process(&mut self, mut sink: impl FnMut(&[u8]) -> bool) -> Result<Asked, StreamError> {
        let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(self.incoming.used_mut());
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
                match data.encode(self.outgoing.free()) {
                    Ok(encoded) => {
                        self.outgoing.fill(encoded);
                        Ok(Asked::Again)
                    }
                    // A peer that makes rustls answer again and again and reads nothing.
                    Err(_) => Err(StreamError::TlsProtocol),
                }
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It is in `outgoing`, which is sent before anything else is written.
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
            let incoming: &mut [u8] = if self.is_drained { self.incoming.used_mut() } else { &mut [] };
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(incoming);
            let done = match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let (written, value) = act(&mut traffic, self.outgoing.free()).ok_or(StreamError::TlsOther)?;
                    self.outgoing.fill(written);
                    Some(value)
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let encoded = data.encode(self.outgoing.free()).map_err(|_| StreamError::TlsProtocol)?;
                    self.outgoing.fill(encoded);
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

    /// After an error rustls has an alert for the peer.
    #[cold]
    fn queue_alert(&mut self) {
        self.outgoing.make_room(RECORD_PLAINTEXT_BYTES_MAX);
        while let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
            self.session.process_tls_records(&mut [])
        {
            match data.encode(self.outgoing.free()) {
                Ok(encoded) => self.outgoing.fill(encoded),
                Err(_) => break,
            }
        }
    }
}

impl Records for RustlsRecords {
    fn open_next(&mut self, buffer: &mut ReadBuffer) -> Result<Option<ReadOutcome>, StreamError> {
        buffer.compact();
        if buffer.free_bytes() < RECORD_PLAINTEXT_BYTES_MAX {
            return Ok(Some(ReadOutcome::WouldBlock));
        }
        if !self.first_record.is_empty() {
            return Ok(Some(self.take_first_record(buffer)));
        }
        if self.has_ended {
            return Ok(Some(ReadOutcome::End));
        }
        if self.has_record(buffer) { self.open_record(buffer) } else { Ok(None) }
    }

    fn has_record(&self, _: &ReadBuffer) -> bool {
        !self.first_record.is_empty() || (!self.is_drained && begins_with_record(self.incoming.used()))
    }

    fn unopened_bytes(&self, _: &ReadBuffer) -> usize {
        self.first_record.len() + self.incoming.used().len()
    }

    fn free<'b>(&'b mut self, _: &'b mut ReadBuffer) -> Result<&'b mut [u8], StreamError> {
        self.incoming.make_room(TLS_RECORD_BYTES_MAX);
        let free = self.incoming.free();
        // A handshake message that fills the whole buffer: no ticket or key update is that long.
        if free.is_empty() { Err(StreamError::TlsProtocol) } else { Ok(free) }
    }

    fn received(&mut self, _: &mut ReadBuffer, bytes: usize) {
        self.incoming.fill(bytes);
        self.is_drained = false;
    }

    fn seal(&mut self, plaintext: &[u8]) -> Result<usize, StreamError> {
        let piece = &plaintext[..plaintext.len().min(RECORD_PLAINTEXT_BYTES_MAX)];
        self.with_traffic(|traffic, free| traffic.encrypt(piece, free).ok().map(|written| (written, piece.len())))
    }

    #[cold]
    fn close_notify(&mut self) {
        self.outgoing.make_room(RECORD_PLAINTEXT_BYTES_MAX);
        // Where the session refuses, it has failed already, and the peer has been told that.
        let _ = self.with_traffic(|traffic, free| traffic.queue_close_notify(free).ok().map(|bytes| (bytes, ())));
    }

    fn outgoing(&self) -> &Window {
        &self.outgoing
    }

    fn outgoing_mut(&mut self) -> &mut Window {
        &mut self.outgoing
    }
}
