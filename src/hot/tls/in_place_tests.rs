//! Tests of what cannot be reached from outside: the ends of the record numbers, and of what a key may seal.

use super::*;
use crate::hot::tls::traffic_key::TrafficKey;
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};

/// The same key for both directions, at this record number.
fn key(sequence: u64) -> TrafficKey {
    let secrets = ConnectionTrafficSecrets::Chacha20Poly1305 { key: AeadKey::from([7; 32]), iv: Iv::from([9; 12]) };
    TrafficKey::new((sequence, secrets)).expect("a suite that is known")
}

#[test]
fn what_a_key_seals_the_same_key_opens_at_the_same_number_and_at_no_other() {
    let mut record = [0; 64];
    let record_bytes = key(5).seal(b"content", APPLICATION_DATA, &mut record).expect("room");
    assert_eq!(record_bytes, RECORD_HEADER_BYTES + 7 + RECORD_BODY_BYTES_MIN);
    for sequence in 0..10 {
        let mut copy = record;
        let opened = key(sequence).open(&mut copy[..record_bytes]).map(|inner| inner.to_vec());
        let expected = if sequence == 5 { Ok(b"content\x17".to_vec()) } else { Err(StreamError::TlsBadRecord) };
        assert_eq!(opened, expected, "number {sequence}");
    }
    assert_eq!(key(0).seal(b"content", APPLICATION_DATA, &mut record[..record_bytes - 1]), None, "no room");
}

#[test]
fn the_last_record_number_is_never_passed() {
    let mut record = [0; 64];
    let mut sealing = key(u64::MAX - 1);
    let record_bytes = sealing.seal(b"last", APPLICATION_DATA, &mut record).expect("room");
    assert_eq!(sealing.seal(b"one more", APPLICATION_DATA, &mut [0; 64]), None);
    let mut opening = key(u64::MAX - 1);
    assert!(opening.open(&mut record[..record_bytes]).is_ok());
    assert_eq!(opening.open(&mut record[..record_bytes]), Err(StreamError::TlsProtocol));
}

#[test]
fn a_record_without_room_for_a_tag_is_none() {
    for length_bytes in 0..RECORD_HEADER_BYTES + TAG_BYTES {
        assert_eq!(key(0).open(&mut vec![0; length_bytes]), Err(StreamError::TlsBadRecord));
    }
}

impl InPlaceRecords {
    /// As if one key could seal only this many records of data.
    pub(in crate::hot) fn limit_sealed_records(&mut self, sealed_max: u64) {
        self.sealed_max = sealed_max;
    }

    /// As rustls has it for the suite.
    pub(in crate::hot) fn sealed_records_max(&self) -> u64 {
        self.sealed_max
    }
}
