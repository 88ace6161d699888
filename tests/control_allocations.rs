//! The subscription store allocates nothing after start-up: counted by the allocator itself, over a hundred connections.
//!
//! ```text
//! request_slot × 1,500 ─► batch_requests ─► written to one buffer ─► confirm: accepted | refused and halved | in part
//!          ▲                                                              │
//!          └───────────────────── disconnected, × 100 ◄───────────────────┘
//! ```
//! The answers are made outside the count: reading them is the protocol's work, and their words are the venue's.

use tickwire::control::{AckOutcome, Operation, SlotSet, SubscriptionSettings, Subscriptions};
use tickwire::market::{MonoNs, Venue};
use tickwire::telemetry::{CountingAllocator, is_counting, thread_allocations};
use tickwire::venue::{Ack, AckResult, Refusal, protocol};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const STREAM_COUNT: usize = 1_500;

/// One in this many streams is one that the venue does not have.
const BAD_EVERY: usize = 100;

/// Counts what `work` allocates on this thread.
fn counted<T>(allocations: &mut u64, work: impl FnOnce() -> T) -> T {
    let before = thread_allocations();
    let done = work();
    *allocations += thread_allocations() - before;
    done
}

fn refusal() -> Refusal {
    Refusal { code: Some(2), message: "Invalid request: unknown variant".to_owned() }
}

/// Takes one connection from its first request to the last answer. Gives the allocations and the requests.
fn subscribed(all: &mut Subscriptions, ids: &mut u64, names: &[Box<str>], out: &mut Vec<u8>) -> (u64, u64) {
    let (mut allocations, mut requests, mut now) = (0, 0, MonoNs(1));
    for name in names {
        counted(&mut allocations, || all.request_subscription(name)).expect("it has room");
    }
    loop {
        *ids += 1;
        now = MonoNs(now.0 + 1_000_000);
        let id = *ids;
        let asked = counted(&mut allocations, || {
            let request = all.batch_requests(id, now)?;
            let (operation, first_bad) = (request.operation, request.streams.clone().find(|name| name.contains("BAD")));
            let (len, is_bad) = (request.streams.len(), first_bad.is_some());
            request.write(protocol(Venue::BinanceSpot), id, out);
            Some((operation, len, is_bad))
        });
        let Some((operation, len, is_bad)) = asked else { break };
        requests += 1;
        // A batch with bad streams is refused as a whole or, every third, in part by name.
        let result = match (operation, is_bad) {
            (Operation::Unsubscribe, _) | (_, false) => AckResult::Accepted,
            _ if id.is_multiple_of(3) => {
                let bad = names.iter().filter(|name| name.contains("BAD"));
                let sent = std::str::from_utf8(out).expect("JSON");
                let failed = bad.filter(|name| sent.contains(&***name)).map(|name| (name.to_string(), refusal()));
                AckResult::Partial { failed: failed.collect() }
            }
            _ => AckResult::Refused(refusal()),
        };
        let outcome = counted(&mut allocations, || all.confirm(Ack { id: Some(id), result }, false));
        assert_ne!(outcome, AckOutcome::Unmatched);
        assert!(is_bad || outcome == AckOutcome::Confirmed, "{outcome:?} for {len} streams");
        counted(&mut allocations, || while all.take_refused().is_some() {});
    }
    (allocations, requests)
}

#[test]
fn a_hundred_connections_of_fifteen_hundred_streams_cost_no_allocation() {
    assert!(is_counting(), "the allocator of this program counts");
    let name = |n: usize| format!("coin{n}{}usdt@depth@100ms", if n.is_multiple_of(BAD_EVERY) { "BAD" } else { "" });
    let names: Vec<Box<str>> = (0..STREAM_COUNT).map(|n| name(n).into()).collect();
    let venue = protocol(Venue::BinanceSpot);
    let mut limits = venue.limits();
    limits.streams_per_connection = None;
    let mut all = Subscriptions::new(venue, limits, SubscriptionSettings::default(), names.clone()).expect("it fits");
    let (mut ids, mut out) = (0, Vec::with_capacity(8 * 1024));
    let (mut total, mut requests_total) = (0, 0);
    for connection in 0..=100 {
        let (allocations, requests) = subscribed(&mut all, &mut ids, &names, &mut out);
        assert!(all.is_settled());
        assert_eq!(all.count(SlotSet::Refused), STREAM_COUNT / BAD_EVERY, "connection {connection}");
        assert_eq!(all.count(SlotSet::Active), STREAM_COUNT - STREAM_COUNT / BAD_EVERY);
        total += allocations;
        requests_total += requests;
        // Some are renewed, as silent ones are.
        for name in names.iter().step_by(7) {
            let slot = all.slot(name).expect("it has one");
            counted(&mut total, || all.resubscribe(slot));
        }
        let (allocations, _) = subscribed(&mut all, &mut ids, &[], &mut out);
        total += allocations;
        assert!(all.is_settled());
        counted(&mut total, || all.disconnected());
    }
    assert!(requests_total > 101 * 50, "batches were halved: {requests_total} requests");
    assert!(all.counters().splits > 1_000, "{:?}", all.counters());
    assert_eq!(total, 0, "allocations of the store in {requests_total} requests");
}

#[test]
fn the_count_would_see_an_allocation() {
    assert!(is_counting());
    let mut allocations = 0;
    let mut all = Subscriptions::new(
        protocol(Venue::BinanceSpot),
        protocol(Venue::BinanceSpot).limits(),
        SubscriptionSettings::default(),
        Vec::new(),
    )
    .expect("empty");
    counted(&mut allocations, || all.request_subscription("btcusdt@trade")).expect("it has room");
    assert!(allocations > 0, "a name never heard of is kept somewhere");
}
