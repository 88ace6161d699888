//! A rotation under load, by the strategy's own ledger: from the first trade to the last, none lost and none repeated.

#[path = "support/ledger.rs"]
mod ledger;

use ledger::{SYMBOLS, Stage, assert_counted, rotated, stage};
use std::time::{Duration, Instant};
use tickwire::prelude::*;
use tickwire::sim::Kill;
use tickwire::telemetry::Happening;

/// Three hand-overs in a row, asked for.
fn rotate_in_a_row(venue: Venue) {
    let mut stage = Stage::new(venue, 2_000.0, "leg-skew=0..20ms", |_| {});
    let sockets = stage.engine.report().connections.len();
    for _ in 0..3 {
        stage.rotate();
    }
    stage.assert_whole();
    assert_counted(&mut stage, 3 * sockets);
}

#[test]
fn binance_spot_rotated_three_times_loses_and_repeats_nothing() {
    rotate_in_a_row(Venue::BinanceSpot);
}

#[test]
fn usdm_rotated_three_times_loses_and_repeats_nothing() {
    rotate_in_a_row(Venue::BinanceUsdm);
}

#[test]
fn bybit_spot_rotated_three_times_loses_and_repeats_nothing() {
    rotate_in_a_row(Venue::BybitSpot);
}

#[test]
fn bybit_linear_rotated_three_times_loses_and_repeats_nothing() {
    rotate_in_a_row(Venue::BybitLinear);
}

#[test]
fn a_connection_of_age_and_one_with_notice_are_rotated_by_themselves() {
    let aged = |connection: &mut ConnectionConfig| connection.rotation.after = Some(Duration::from_secs(2));
    let mut stage = Stage::new(Venue::BinanceSpot, 2_000.0, "leg-skew=0..20ms", aged);
    stage.until_happened("two by age", |all| rotated(all) >= 2);
    stage.assert_whole();
    drop(stage);
    let mut stage = Stage::new(Venue::BinanceSpot, 2_000.0, "leg-skew=0..20ms", |_| {});
    stage.exchange.kill_connections(Venue::BinanceSpot, Kill::Notice);
    stage.until_happened("by notice", |all| rotated(all) == 1);
    stage.assert_whole();
    assert_counted(&mut stage, 1);
}

#[test]
fn twenty_thousand_messages_a_second_on_each_of_two_connections_lose_and_repeat_nothing() {
    let mut stage = Stage::new(Venue::BinanceSpot, 20_000.0, "leg-skew=0..20ms", |connection| {
        connection.rotation.overlap = Duration::from_secs(1);
    });
    let frames = |stage: &Stage| stage.engine.report().connections.iter().map(|one| one.frames).sum::<u64>();
    stage.rotate_until_both_speak();
    let (before, begun) = (frames(&stage), Instant::now());
    stage.until_happened("rotated", |all| rotated(all) == 1);
    let rate = (frames(&stage) - before) as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{rate:.0} messages a second on two connections during the overlap, as the engine counts frames");
    stage.assert_whole();
    assert_counted(&mut stage, 1);
}

#[test]
fn an_old_socket_lost_in_the_overlap_takes_nothing_with_it() {
    for venue in [Venue::BinanceSpot, Venue::BybitSpot, Venue::BybitLinear] {
        let mut stage = Stage::new(venue, 2_000.0, "leg-skew=0..20ms", |connection| {
            connection.rotation.overlap = Duration::from_secs(5);
        });
        stage.rotate_until_both_speak();
        stage.reset(1);
        stage.until_happened("the successor took over", |all| rotated(all) == 1);
        stage.until_calm();
        stage.assert_whole();
        assert_eq!(stage.exchange.subscriptions(venue).len(), 1, "{venue}");
    }
}

#[test]
fn a_successor_lost_in_the_overlap_leaves_the_old_socket_whole_and_its_books_live() {
    for venue in [Venue::BinanceSpot, Venue::BybitSpot, Venue::BybitLinear] {
        let mut stage = Stage::new(venue, 2_000.0, "leg-skew=0..20ms", |connection| {
            connection.rotation.overlap = Duration::from_secs(5);
        });
        let snapshots = |stage: &Stage| stage.ledger.lock().unwrap().values().map(|seen| seen.snapshots).sum::<u64>();
        stage.rotate_until_both_speak();
        let before = snapshots(&stage);
        stage.reset(2);
        stage.until_happened("it came to nothing", |all| {
            all.iter().any(|what| matches!(what, Happening::NotRotated { .. }))
        });
        stage.until_calm();
        if venue != Venue::BinanceSpot {
            let begun = Instant::now();
            while snapshots(&stage) < before + u64::from(SYMBOLS) {
                assert!(begun.elapsed() < stage::PATIENCE, "{venue}: {} snapshots", snapshots(&stage) - before);
                std::thread::sleep(Duration::from_millis(20));
            }
            // The changes go on behind a whole book; the book itself is the old socket's own.
            assert!(stage.ledger.lock().unwrap().values().all(|seen| seen.kept.stale == 0), "{venue}");
        }
        stage.assert_whole();
        assert_eq!(rotated(stage.happened()), 0, "{venue}");
        // The next one is made as if nothing had been.
        stage.exchange.pause_tape(false);
        stage.rotate();
        stage.assert_whole();
    }
}
