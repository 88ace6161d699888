//! What legs take of the memory, as the allocator was asked for it.

use crate::stage::{connected, connection};
use crate::words::Kind;
use std::sync::Arc;
use std::time::Duration;
use tickwire::hot::{ConnectionStats, Feed, Overlap};
use tickwire::market::{StreamKind, Venue};
use tickwire::telemetry::{is_counting, thread_counts};
use tickwire::venue::{Decoder, Form};

/// KiB that this thread asks for while it makes something.
fn kibibytes<T>(make: impl FnOnce() -> T) -> (u64, T) {
    let before = thread_counts().bytes;
    let made = make();
    ((thread_counts().bytes - before) / 1_024, made)
}

fn tables(venue: Venue, kinds: &[StreamKind]) -> u64 {
    let make = || Box::new(Overlap::of_legs(1, venue, Duration::from_secs(2), kinds.iter().copied()));
    kibibytes(make).0
}

#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
pub(crate) fn print() {
    assert!(is_counting());
    println!("memory of legs, KiB:");
    for kind in Kind::ALL {
        let kib = tables(kind.venue(), &[kind.stream_kind()]);
        println!("  tables of one socket's legs, {:<10} alone     {kib:>8}", kind.name());
    }
    let three = [StreamKind::TRADE, StreamKind::QUOTE, StreamKind::BOOK];
    println!("  tables of one socket's legs, trade, quote and depth {:>8}", tables(Venue::BinanceSpot, &three));
    let early = tables(Venue::BinanceSpot, &[StreamKind::BOOK]) - tables(Venue::BinanceSpot, &[StreamKind::QUOTE]);
    println!("  of them, room for batches of depth that came early  {early:>8}");
    let (ours, _peer) = connected();
    let received = socket2::SockRef::from(&ours).recv_buffer_size().expect("a socket") / 1_024;
    let (buffers, _connection) = kibibytes(|| Box::new(connection(ours)));
    let decoder = || Decoder::new(Venue::BinanceSpot, Form::Combined, None);
    let make = || Box::new(Feed::new(0, decoder(), Arc::new(ConnectionStats::default())));
    println!("  each leg: buffers of its connection                 {buffers:>8}");
    println!("  each leg: decoder and counters                      {:>8}", kibibytes(make).0);
    println!("  each leg: the kernel's receive buffer, loopback     {received:>8}");
}
