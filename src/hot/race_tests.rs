//! Tests of when a core with legs handles an event: in the visit that reads its first copy, by real bytes over real sockets, in
//! any order of reads. No clock: what is compared is the order alone.

use super::visit::{framed, quote};
use super::*;
use crate::hot::{Joining, Overlap};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// One message of a leg: what it is numbered from and to.
type Ids = (u64, u64);

/// What legs carry, and what a strategy has to hear of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Trades,
    Quotes,
    Depth,
}

impl Kind {
    const fn letter(self) -> char {
        match self {
            Self::Trades => 't',
            Self::Quotes => 'q',
            Self::Depth => 'b',
        }
    }

    fn message(self, (first, last): Ids) -> String {
        match self {
            Self::Trades => trade(last),
            Self::Quotes => quote("BTCUSDT", last),
            Self::Depth => format!(
                r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":{first},"u":{last},"b":[["1.00","0.10000"]],"a":[["1.01","0.00000"]]}}}}"#
            ),
        }
    }
}

/// What was to be heard so far, by the first copies alone.
struct Expected {
    kind: Kind,
    come: BTreeSet<Ids>,
    /// Of quotes and depth: how far it is.
    last: u64,
    heard: Vec<String>,
}

impl Expected {
    const fn new(kind: Kind) -> Self {
        Self { kind, come: BTreeSet::new(), last: 0, heard: Vec::new() }
    }

    fn hear(&mut self, id: u64) {
        self.last = id;
        self.heard.push(format!("{}{id}", self.kind.letter()));
    }

    /// A copy was read.
    fn read(&mut self, ids: Ids) {
        let is_first = self.come.insert(ids);
        match self.kind {
            Kind::Trades if is_first => self.hear(ids.1),
            Kind::Quotes if ids.1 > self.last => self.hear(ids.1),
            Kind::Trades | Kind::Quotes => {}
            Kind::Depth => {
                if self.last == 0 {
                    self.hear(ids.1);
                }
                // Whatever has come and joins, the one that begins first at first.
                let next = |this: &Self| {
                    let joins = |&&(first, last): &&Ids| first <= this.last + 1 && last > this.last;
                    // The one just read is not kept from the strategy by one that waited.
                    let just = Some(&ids).filter(joins);
                    just.or_else(|| this.come.iter().find(joins)).copied()
                };
                while let Some((_, last)) = next(self) {
                    self.hear(last);
                }
            }
        }
    }
}

/// Messages of one leg: so many ids, cut by these lengths, from an id on.
fn cut(kind: Kind, lengths: &[u64], from: u64) -> Vec<Ids> {
    const LAST: u64 = 60;
    const BASE: u64 = 9_000;
    let mut first = from;
    let mut all = Vec::new();
    let mut lengths = lengths.iter().cycle();
    while first <= LAST {
        // Trades and quotes are the same messages on every leg.
        let length = if kind == Kind::Depth { *lengths.next().expect("it goes around") } else { 1 };
        let last = (first + length - 1).min(LAST);
        all.push((BASE + first, BASE + last));
        first = last + 1;
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn in_any_order_of_reads_an_event_is_handled_in_the_visit_that_reads_its_first_copy_or_what_it_joins_to(
        kind in prop_oneof![Just(Kind::Trades), Just(Kind::Quotes), Just(Kind::Depth), Just(Kind::Depth)],
        legs in vec((vec(2_u64..7, 1..6), prop_oneof![Just(1_u64), 1_u64..40]), 2..4),
        first in 0_usize..2,
        reads in vec((0_usize..3, 1_usize..5), 0..40),
    ) {
        let mut bench = Bench::new();
        let stream_kind = match kind {
            Kind::Trades => StreamKind::TRADE,
            Kind::Quotes => StreamKind::QUOTE,
            Kind::Depth => StreamKind::BOOK,
        };
        let overlap = Overlap::of_legs(4, Venue::BinanceSpot, Duration::from_secs(2), [stream_kind]);
        bench.tell(Command::BeginOverlap(Box::new(overlap)));
        let mut playing = Vec::new();
        for (leg, (lengths, from)) in (0_u8..).zip(&legs) {
            // One has it all: where it speaks first, what others begin with lies ahead.
            let from = if leg == 0 { 1 } else { *from };
            let feed = Feed { joining: Some(Joining { id: 4, successor_of: None }), ..bench.feed(leg.into(), leg) };
            playing.push((bench.attach(feed), cut(kind, lengths, from).into_iter()));
        }
        let mut expected = Expected::new(kind);
        // By the reads that were drawn, and then all that is left, leg by leg.
        let rest = (0..legs.len()).map(|leg| (leg, usize::MAX));
        let drawn = reads.into_iter().filter(|read| read.0 < legs.len());
        for (leg, count) in std::iter::once((first, 1)).chain(drawn).chain(rest) {
            let (peer, feed) = &mut playing[leg];
            let messages: Vec<Ids> = feed.by_ref().take(count).collect();
            let bytes: Vec<u8> = messages.iter().flat_map(|&ids| framed(&kind.message(ids))).collect();
            peer.socket.write_all(&bytes).expect("written");
            let before = bench.connection.frames.get();
            let mut read = 0;
            while read < messages.len() {
                bench.until("the next visit", |core| core.stats.messages.get() > before + read as u64);
                let now = usize::try_from(bench.connection.frames.get() - before).expect("few");
                messages[read..now].iter().for_each(|&ids| expected.read(ids));
                read = now;
                // A jump in the ids of trades that the other leg does not fill in time is told besides.
                let heard: Vec<&str> = bench.heard().into_iter().filter(|heard| *heard != "gap").collect();
                prop_assert_eq!(&heard, &expected.heard, "after {} of {} by leg {}", read, messages.len(), leg);
            }
        }
        let stats = &bench.connection;
        prop_assert_eq!((stats.unparsed.get(), stats.window_evictions.get()), (0, 0));
        prop_assert_eq!(bench.notices().iter().filter(|notice| matches!(notice, Notice::Lost { .. })).count(), 0);
    }
}
