//! Any conversation of a TLS 1.3 server through the record layer that opens in place: see `bodies/tls_record.rs`, which
//! `tests/tls_records.rs` runs by seed. Run it with `cargo +nightly fuzz run tls_record`.
#![no_main]

#[path = "../bodies/tls_peer.rs"]
mod tls_peer;
#[path = "../bodies/tls_record.rs"]
mod tls_record;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tls_record::run(input));
