//! The record layer that opens TLS 1.3 where it lies, against a server in memory that holds its own keys and says what no
//! honest one would; and, case by case, what the fuzz target `tls_record` runs (`fuzz/bodies/`).
//!
//! `TICKWIRE_TLS_CASES` says how many cases; the default takes some seconds.

#[path = "../fuzz/bodies/tls_peer.rs"]
mod tls_peer;
#[path = "../fuzz/bodies/tls_record.rs"]
mod tls_record;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tickwire::hot::frame::{Frame, FrameCursor};
use tickwire::hot::read_buffer::ReadBuffer;
use tickwire::hot::{InPlaceRecords, ReadOutcome, Records, StreamError};
use tls_peer::{APPLICATION_DATA, HANDSHAKE, Peer, SUITES, session};

/// A record layer as the hot core gets it.
fn hot_session(suite: usize) -> (InPlaceRecords, Peer) {
    let (mut records, peer) = session(suite);
    assert!(records.hand_over(&ReadBuffer::new()).is_empty());
    (records, peer)
}

fn receive(records: &mut InPlaceRecords, buffer: &mut ReadBuffer, bytes: &[u8]) {
    let free = records.free(buffer).expect("no limit of its own");
    free[..bytes.len()].copy_from_slice(bytes);
    records.received(buffer, bytes.len());
}

fn taken(buffer: &mut ReadBuffer) -> Vec<u8> {
    let bytes = buffer.pending().to_vec();
    buffer.consume(bytes.len());
    bytes
}

#[test]
fn whatever_a_server_says_in_whatever_pieces_comes_to_what_the_rfc_says() {
    let count = std::env::var("TICKWIRE_TLS_CASES").map_or(4_000, |count| count.parse().expect("a count"));
    for seed in 0..count {
        let mut random = StdRng::seed_from_u64(seed);
        let mut input = vec![0; random.random_range(6..300)];
        random.fill_bytes(&mut input);
        // Most conversations in small pieces, or with a reader that keeps up: both are rare among random words.
        if seed % 3 == 0 {
            (input[1], input[2]) = (0, input[2] % 64);
        }
        if seed % 2 == 0 {
            (input[3], input[4]) = (0, input[4] % 8);
        }
        let outcome = std::panic::catch_unwind(|| tls_record::run(&input));
        assert!(outcome.is_ok(), "seed {seed}: {input:?}");
    }
}

#[test]
fn a_record_with_any_bit_changed_gives_nothing_and_ends_the_session() {
    for suite in 0..SUITES.len() {
        let record_bytes = session(suite).1.data(b"authentic").len();
        for bit in 0..record_bytes * 8 {
            let (mut records, mut peer) = hot_session(suite);
            let mut buffer = ReadBuffer::new();
            let mut wire = peer.data(b"authentic");
            wire[bit / 8] ^= 1 << (bit % 8);
            // Enough behind it to make any length a whole record.
            wire.extend(vec![0; 50_000]);
            receive(&mut records, &mut buffer, &wire);
            let expected = if bit < 8 { StreamError::TlsProtocol } else { StreamError::TlsBadRecord };
            for again in 0..2 {
                assert_eq!(records.open_next(&mut buffer), Err(expected), "bit {bit}, time {again}");
                assert!(buffer.pending().is_empty() && !records.has_record(&buffer), "bit {bit}");
            }
        }
    }
}

#[test]
fn records_split_at_any_byte_are_opened_when_they_are_whole_and_not_before() {
    for suite in 0..SUITES.len() {
        let length_bytes = {
            let mut peer = session(suite).1;
            peer.data(b"first").len() + peer.data(b"the second").len()
        };
        let (mut records, mut peer) = hot_session(suite);
        let mut buffer = ReadBuffer::new();
        for split in 0..=length_bytes {
            let wire = [peer.data(b"first"), peer.data(b"the second")].concat();
            let mut opened = Vec::new();
            for piece in [&wire[..split], &wire[split..]] {
                receive(&mut records, &mut buffer, piece);
                while let Some(outcome) = records.open_next(&mut buffer).expect("authentic") {
                    assert!(matches!(outcome, ReadOutcome::Bytes(_)));
                    opened.push(taken(&mut buffer));
                }
                assert!(!records.has_record(&buffer));
            }
            assert_eq!(opened, [&b"first"[..], b"the second"], "split at {split}");
        }
    }
}

#[test]
fn the_first_of_a_burst_is_pending_while_the_others_are_still_sealed() {
    let (mut records, mut peer) = hot_session(0);
    let mut buffer = ReadBuffer::new();
    let mut wire = [peer.data(b"one"), peer.data(b"two")].concat();
    // The third is not authentic: that nobody knows before it is opened.
    let third = wire.len() + 8;
    wire.extend(peer.data(b"three"));
    wire[third] ^= 1;
    receive(&mut records, &mut buffer, &wire);
    for expected in [&b"one"[..], b"two"] {
        assert!(records.has_record(&buffer));
        assert_eq!(records.open_next(&mut buffer), Ok(Some(ReadOutcome::Bytes(3))));
        assert_eq!(taken(&mut buffer), expected);
    }
    assert_eq!(records.open_next(&mut buffer), Err(StreamError::TlsBadRecord));
}

/// Text frames with payloads of these lengths, in one row.
fn frames(lengths: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut bytes, mut payloads) = (Vec::new(), Vec::new());
    for (number, &length) in lengths.iter().enumerate() {
        let payload: Vec<u8> = (0..length).map(|at| (at + number).to_le_bytes()[0] % 26 + b'a').collect();
        match length {
            0..126 => bytes.extend([0x81, u8::try_from(length).unwrap()]),
            126..65_536 => bytes.extend([&[0x81, 126][..], &u16::try_from(length).unwrap().to_be_bytes()].concat()),
            _ => bytes.extend([&[0x81, 127][..], &(length as u64).to_be_bytes()].concat()),
        }
        bytes.extend_from_slice(&payload);
        payloads.push(payload);
    }
    (bytes, payloads)
}

#[test]
fn frames_cut_by_records_anywhere_are_whole_again_and_many_frames_of_one_record_too() {
    let lengths: Vec<usize> =
        (0..60).map(|at| at * at).chain([0, 1, 125, 126, 16_384, 40_000, 65_536, 200_000, 3, 0, 150]).collect();
    let (bytes, payloads) = frames(&lengths);
    for record_bytes in [7, 64, 150, 1_000, 4_096, 16_383, 16_384] {
        for piece_bytes in [1_400, 16_411, 65_536] {
            let (mut records, mut peer) = hot_session(record_bytes % SUITES.len());
            let wire: Vec<u8> = bytes.chunks(record_bytes).flat_map(|content| peer.data(content)).collect();
            let (mut buffer, mut cursor) = (ReadBuffer::new(), FrameCursor::new(1 << 20, true));
            let mut received = Vec::new();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let room = records.free(&mut buffer).expect("room").len();
                let count = room.min(piece_bytes).min(rest.len());
                assert!(count > 0, "a partial frame never blocks the next read");
                receive(&mut records, &mut buffer, &rest[..count]);
                rest = &rest[count..];
                while records.open_next(&mut buffer).expect("authentic").is_some() {
                    while let Some(frame) = cursor.next_frame(&mut buffer).expect("well-formed") {
                        let Frame::Message(message) = frame else { panic!("only messages were sent") };
                        received.push(message.payload.to_vec());
                    }
                }
            }
            assert!(received == payloads, "records of {record_bytes} in pieces of {piece_bytes}");
        }
    }
}

#[test]
fn padding_is_taken_off_up_to_the_longest_record_and_refused_beyond() {
    for (content_bytes, padding_bytes, is_allowed) in
        [(1, 0, true), (1, 1, true), (100, 255, true), (1, 16_383, true), (1, 16_384, false), (16_384, 1, false)]
    {
        let (mut records, mut peer) = hot_session(1);
        let mut buffer = ReadBuffer::new();
        let content = vec![b'c'; content_bytes];
        receive(&mut records, &mut buffer, &peer.sealing.seal(APPLICATION_DATA, &content, padding_bytes));
        let opened = records.open_next(&mut buffer);
        if is_allowed {
            assert_eq!(opened, Ok(Some(ReadOutcome::Bytes(content_bytes))), "{padding_bytes} bytes of padding");
            assert!(taken(&mut buffer) == content);
        } else {
            assert_eq!(opened, Err(StreamError::TlsBadRecord), "{padding_bytes} bytes of padding");
        }
    }
}

#[test]
fn a_peer_that_sends_only_empty_records_is_refused_and_never_holds_the_core() {
    let (mut records, mut peer) = hot_session(0);
    let mut buffer = ReadBuffer::new();
    let wire: Vec<u8> = (0..33).flat_map(|_| peer.data(b"")).collect();
    receive(&mut records, &mut buffer, &wire);
    let mut turns = 0;
    let error = loop {
        match records.open_next(&mut buffer) {
            // The core looks at its other sockets, and comes back without a word of the poller.
            Ok(outcome) => assert_eq!(outcome, Some(ReadOutcome::WouldBlock)),
            Err(error) => break error,
        }
        assert!(records.has_record(&buffer));
        turns += 1;
    };
    assert_eq!((error, turns), (StreamError::TlsProtocol, 2));
}

#[test]
fn a_peer_that_asks_for_keys_and_reads_nothing_neither_grows_nor_stops_us_and_is_answered_in_the_end() {
    let (mut records, mut peer) = hot_session(2);
    let mut buffer = ReadBuffer::new();
    for _ in 0..3_000 {
        let wire = [peer.key_update(true), peer.data(b"x")].concat();
        receive(&mut records, &mut buffer, &wire);
        assert_eq!(records.open_next(&mut buffer), Ok(Some(ReadOutcome::Bytes(1))));
        taken(&mut buffer);
    }
    let queued = records.outgoing().used().to_vec();
    assert!(queued.len() < 40_000, "{} bytes", queued.len());
    let update = (HANDSHAKE, vec![24, 0, 0, 1, 0]);
    assert!(peer.hear(&queued).iter().all(|heard| *heard == update));
    records.outgoing_mut().discard(queued.len());
    assert_eq!(records.seal(b"data"), Ok(4));
    let heard = peer.hear(records.outgoing().used());
    assert_eq!(heard, [update, (APPLICATION_DATA, b"data".to_vec())], "one answer for all that were still owed");
    assert_eq!(records.take_counts().expect("counted").key_updates, 3_000);
    assert_eq!(records.take_counts(), None);
}

#[test]
fn ciphertext_that_was_handed_over_comes_first_however_much_it_is() {
    let (mut records, mut peer) = session(0);
    let mut buffer = ReadBuffer::new();
    receive(&mut records, &mut buffer, &[peer.data(b"HTTP/1.1 101"), peer.data(b"first")].concat());
    assert_eq!(records.open_next(&mut buffer), Ok(Some(ReadOutcome::Bytes(12))));
    buffer.consume(8);
    // A third record, half of it.
    let third = peer.data(b"third");
    receive(&mut records, &mut buffer, &third[..9]);
    assert_eq!(records.hand_over(&buffer), b" 101");

    let mut buffer = ReadBuffer::new();
    assert!(buffer.append(b" 101"), "the leftover");
    assert!(records.has_record(&buffer));
    assert_eq!(records.open_next(&mut buffer), Ok(Some(ReadOutcome::Bytes(5))));
    assert_eq!(buffer.pending(), b" 101first");
    assert_eq!(records.open_next(&mut buffer), Ok(None));
    receive(&mut records, &mut buffer, &third[9..]);
    assert_eq!(records.open_next(&mut buffer), Ok(Some(ReadOutcome::Bytes(5))));
    assert_eq!(buffer.pending(), b" 101firstthird");
}
