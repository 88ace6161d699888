//! Several legs of one connection, by the strategy's own ledger: first message wins, none is lost and none repeated, whichever
//! leg is late, cut, silent, replaced or too slow.

#[path = "support/ledger.rs"]
mod ledger;

use ledger::{Stage, rotated, stage};
use std::time::{Duration, Instant};
use tickwire::prelude::*;
use tickwire::sim::Faults;
use tickwire::telemetry::{ConnectionReport, Happening, Report};

const SKEW: &str = "leg-skew=0..20ms";

fn legs(venue: Venue, count: usize, rate: f64, faults: &str, change: impl FnOnce(&mut ConnectionConfig)) -> Stage {
    let mut stage = Stage::new(venue, rate, faults, |connection| {
        connection.legs.count = count;
        change(connection);
    });
    until_all_speak(&mut stage, count);
    stage
}

fn sockets(stage: &Stage) -> usize {
    stage.exchange.subscriptions(stage.venue).len()
}

/// Asks until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < stage::PATIENCE, "not yet: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until every leg is ready, and each of its streams has brought something: a book's changes come ten times a second, and
/// a leg that is cut before another has begun takes with it what nobody else was told.
fn until_all_speak(stage: &mut Stage, count: usize) {
    let classes = stage.engine.report().connections.len() / count;
    stage.until_speaking(count * classes);
    until("every stream of every leg speaks", || {
        let handle = stage.engine.handle();
        let status = stage.engine.block_on(async move { handle.status().await }).expect("it runs");
        let speaks = |one: &tickwire::telemetry::ConnectionStatus| {
            one.state == "ready" && one.subscriptions.iter().all(|stream| stream.acknowledged && stream.first_data)
        };
        status.connections.iter().all(speaks)
    });
}

/// The sum of a counter over the legs.
fn sum(report: &Report, of: fn(&ConnectionReport) -> u64) -> u64 {
    report.connections.iter().map(of).sum()
}

/// The ledger is the tape, nothing went back or came twice, and there was a race.
fn assert_raced(stage: &mut Stage) {
    stage.assert_whole();
    let report = stage.engine.report();
    for one in &report.connections {
        assert!(one.name.contains("/leg-"), "{}", one.name);
        // A leg that is far behind may win nothing; what it lost it was late for.
        assert!(one.lost == 0 || one.lag_ns.max > 0, "{}: {:?}", one.name, one.lag_ns);
    }
    assert!(sum(&report, |one| one.won) > 0 && sum(&report, |one| one.lost) > 0, "{}", report.to_json());
    let bad = (sum(&report, |one| one.window_evictions), sum(&report, |one| one.unparsed));
    assert_eq!(bad, (0, 0), "{}", report.to_json());
    let twice: u64 = stage.ledger.lock().unwrap().values().map(|seen| seen.quotes_twice).sum();
    assert_eq!(twice, 0, "each quote once");
}

fn is_bybit(venue: Venue) -> bool {
    matches!(venue, Venue::BybitSpot | Venue::BybitLinear)
}

/// Each leg has a book of its own: the strategy heard of none that it could not trust, and of the furthest, whoever had it.
fn assert_books_stayed_live(stage: &Stage) {
    let kept: Vec<_> = stage.ledger.lock().unwrap().values().map(|seen| seen.kept).collect();
    assert!(kept.iter().all(|kept| kept.told > 10 && (kept.stale, kept.back) == (0, 0)), "{kept:?}");
    let report = stage.engine.report();
    let books = report
        .hot_threads
        .iter()
        .map(|thread| &thread.books)
        .fold((0, 0, 0), |sum, books| (sum.0 + books.takeovers, sum.1 + books.beside, sum.2 + books.without_book));
    assert!(books.0 > 0 && books.1 > 0 && books.2 == 0, "takeovers, beside, without a book: {books:?}");
}

/// Cuts one leg after the other, `rounds` times, each once all are back.
fn cut_in_turn(venue: Venue, count: usize, rate: f64, rounds: u64) {
    let mut stage = legs(venue, count, rate, SKEW, |_| {});
    let rows = stage.engine.report().connections.len();
    let mut accepted = rows as u64;
    for round in 0..rounds {
        let before = sum(&stage.engine.report(), |one| one.reconnects);
        // The oldest connection that is left: every leg in its turn.
        stage.reset(round + 1);
        until("one came back", || sum(&stage.engine.report(), |one| one.reconnects) > before);
        assert!(!stage.engine.report().halted, "{venue}: one leg is enough");
        stage.exchange.set_faults(&Faults::parse(SKEW, 3).unwrap());
        until_all_speak(&mut stage, count);
        accepted += 1;
    }
    assert_eq!(sum(&stage.engine.report(), |one| one.reconnects), rounds, "{accepted} connections");
    assert_raced(&mut stage);
    if is_bybit(venue) {
        assert_books_stayed_live(&stage);
    }
}

#[test]
fn two_legs_of_binance_spot_cut_in_turn_lose_and_repeat_nothing() {
    cut_in_turn(Venue::BinanceSpot, 2, 2_000.0, 4);
}

#[test]
fn two_legs_of_usdm_cut_in_turn_lose_and_repeat_nothing() {
    cut_in_turn(Venue::BinanceUsdm, 2, 2_000.0, 4);
}

#[test]
fn two_legs_of_bybit_spot_cut_in_turn_lose_and_repeat_nothing_and_books_stay_live() {
    cut_in_turn(Venue::BybitSpot, 2, 2_000.0, 4);
}

#[test]
fn three_legs_of_bybit_linear_cut_in_turn_lose_and_repeat_nothing_and_books_stay_live() {
    cut_in_turn(Venue::BybitLinear, 3, 2_000.0, 6);
}

/// So many legs together bring 20,000 messages a second, for a while.
fn race_at_full_rate(count: usize) {
    let mut stage = legs(Venue::BinanceSpot, count, 20_000.0 / count as f64, SKEW, |_| {});
    let frames = |stage: &Stage| sum(&stage.engine.report(), |one| one.frames);
    let (before, begun) = (frames(&stage), Instant::now());
    until("three seconds' worth", || frames(&stage) - before > 60_000);
    let rate = (frames(&stage) - before) as f64 / begun.elapsed().as_secs_f64();
    assert_raced(&mut stage);
    let report = stage.engine.report();
    eprintln!("{rate:.0} messages a second on {count} legs, as the engine counts frames");
    for one in &report.connections {
        eprintln!("{}: won {}, lost {}, lag {:?}", one.name, one.won, one.lost, one.lag_ns);
    }
}

#[test]
fn two_legs_of_twenty_thousand_messages_a_second_together_lose_and_repeat_nothing() {
    race_at_full_rate(2);
}

#[test]
fn three_legs_of_twenty_thousand_messages_a_second_together_lose_and_repeat_nothing() {
    race_at_full_rate(3);
}

#[test]
fn legs_are_replaced_one_at_a_time_while_the_others_go_on() {
    for venue in [Venue::BinanceSpot, Venue::BybitLinear] {
        let mut stage = legs(venue, 2, 2_000.0, SKEW, |_| {});
        let handle = stage.engine.handle();
        stage.engine.block_on(async move { handle.rotate("one").await }).expect("it runs").expect("it may rotate");
        let mut most = 0;
        let begun = Instant::now();
        while rotated(stage.happened()) < 2 {
            most = most.max(sockets(&stage));
            assert!(begun.elapsed() < stage::PATIENCE, "{:?}", stage.happened());
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(most, 3, "{venue}: one more than there are legs");
        stage.until_calm();
        until_all_speak(&mut stage, 2);
        assert_raced(&mut stage);
        if is_bybit(venue) {
            assert_books_stayed_live(&stage);
        }
        let is_joined = |what: &Happening| !matches!(what, Happening::Rotated { unjoined: 1.., .. });
        assert!(stage.happened().iter().all(is_joined), "{:?}", stage.happened());
        assert_eq!(sum(&stage.engine.report(), |one| one.reconnects), 0, "{venue}");
        assert_eq!(sum(&stage.engine.report(), |one| one.rotations_failed), 0, "{venue}: whose turn it is not waits");
    }
}

#[test]
fn what_has_no_identity_is_taken_from_the_other_leg_when_the_first_falls_silent() {
    // Whichever leg led: the streams of the first connection stop while it stays up.
    let faults = format!("{SKEW},silent-after=1#1");
    let mut stage = legs(Venue::BinanceSpot, 2, 4_000.0, SKEW, |connection| {
        connection.legs.race.failover = Duration::from_millis(200);
    });
    stage.exchange.set_faults(&Faults::parse(&faults, 3).unwrap());
    let seen = |stage: &Stage| stage.ledger.lock().unwrap().values().map(|seen| seen.others).collect::<Vec<_>>();
    let first = seen(&stage);
    let messages = |stage: &Stage| stage.engine.report().connections.iter().map(|one| one.frames).collect::<Vec<_>>();
    let mut last: Vec<(u64, Instant)> = messages(&stage).into_iter().map(|now| (now, Instant::now())).collect();
    until("one leg is silent", || {
        for (last, now) in last.iter_mut().zip(messages(&stage)) {
            if now != last.0 {
                *last = (now, Instant::now());
            }
        }
        last.iter().any(|last| last.1.elapsed() > Duration::from_millis(300))
    });
    let before = seen(&stage);
    assert!(before.iter().zip(&first).all(|(before, first)| before >= first));
    until("tickers of every symbol go on", || seen(&stage).iter().zip(&before).all(|(now, before)| *now > before + 5));
    stage.exchange.set_faults(&Faults::parse(SKEW, 3).unwrap());
    stage.assert_whole();
}

#[test]
fn where_one_topic_of_a_leg_falls_silent_its_book_goes_on_by_the_other_and_that_leg_alone_is_repaired() {
    // Whichever leg led: first a topic of the one, then a topic of the other.
    for connection in [1, 2] {
        let mut stage = legs(Venue::BybitLinear, 2, 2_000.0, SKEW, |_| {});
        let symbol = stage.symbols[0].clone();
        let told = |stage: &Stage| {
            let spec = stage.engine.symbols().into_iter().find(|spec| *spec.name == *symbol).expect("it is listed");
            stage.ledger.lock().unwrap()[&spec.symbol.index()].kept
        };
        let status = |stage: &Stage| {
            let handle = stage.engine.handle();
            stage.engine.block_on(async move { handle.status().await }).expect("it runs").books
        };
        let suppressed = |stage: &Stage| stage.exchange.stats().venue(stage.venue).unwrap().messages_suppressed;
        let (before, resubscribed) = (suppressed(&stage), status(&stage).venues[0].resubscribed);
        let faults = format!("{SKEW},silent-stream=orderbook.50.{symbol}#{connection}");
        stage.exchange.set_faults(&Faults::parse(&faults, 3).unwrap());
        until("its messages are kept back", || suppressed(&stage) > before + 3);
        let silent_at = told(&stage).told;
        until("the book goes on", || told(&stage).told > silent_at + 20);
        // What was left out is a gap of that leg's own book.
        stage.exchange.set_faults(&Faults::parse(SKEW, 3).unwrap());
        until("that leg's topic was subscribed again, and its book is live", || {
            let books = status(&stage);
            books.venues[0].resubscribed > resubscribed && books.books.iter().all(|book| book.legs_in_need == 0)
        });
        assert_eq!(status(&stage).venues[0].resubscribed, resubscribed + 1, "that one alone");
        until_all_speak(&mut stage, 2);
        assert_books_stayed_live(&stage);
        let is_stale = |what: &Happening| matches!(what, Happening::BooksStale { .. });
        assert!(!stage.happened().iter().any(is_stale), "{:?}", stage.happened());
    }
}

#[test]
fn a_leg_that_keeps_losing_is_replaced_and_the_one_in_its_place_wins_again() {
    let faults = "leg-skew=40ms..60ms#1,leg-skew=0..20ms#2-";
    let mut stage = legs(Venue::BinanceSpot, 2, 2_000.0, faults, |connection| {
        let race = &mut connection.legs.race;
        (race.window, race.windows) = (Duration::from_secs(1), 2);
        race.lag_min = Duration::from_millis(5);
    });
    stage.until_happened("the slow leg is replaced", |all| {
        all.iter().any(|what| matches!(what, Happening::Rotated { reason, .. } if reason.contains("keeps losing")))
    });
    stage.until_calm();
    until_all_speak(&mut stage, 2);
    let won = |stage: &Stage| -> Vec<u64> { stage.engine.report().connections.iter().map(|one| one.won).collect() };
    let before = won(&stage);
    until("both win", || won(&stage).iter().zip(&before).all(|(now, before)| now > &(before + 100)));
    stage.assert_whole();
    assert_eq!(rotated(stage.happened()), 1, "it alone: {:?}", stage.happened());
}

#[test]
fn legs_that_go_to_other_places_are_added_and_removed_while_the_engine_runs() {
    let mut stage = legs(Venue::BinanceSpot, 2, 1_000.0, SKEW, |_| {});
    let handle = stage.engine.handle();
    let status = stage.engine.block_on(async move { handle.status().await }).expect("it runs");
    let names: Vec<&str> = status.connections.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["one/leg-1", "one/leg-2"]);
    assert!(status.connections.iter().all(|one| one.race.won > 0 && one.race.lost > 0), "{status:?}");
    let budget = status.governor.iter().map(|budget| budget.connects_used).sum::<u64>();
    assert_eq!(budget, 2, "each leg's connect is counted: {:?}", status.governor);
    let text = tickwire::telemetry::status_text(&status);
    assert!(text.contains("LEG") && text.contains("SHARE"), "{text}");
    stage.assert_whole();
    let handle = stage.engine.handle();
    stage.engine.block_on(async move { handle.remove("one").await }).expect("it runs").expect("it is there");
    until("both are closed", || sockets(&stage) == 0);
    until("nothing is missing", || !stage.engine.report().halted);
}
