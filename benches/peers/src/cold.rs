//! One message alone, from its bytes to its handler, when everything else has used the caches since the last one.
//!
//! ```text
//! walk a buffer larger than the second cache ─► run much other code, its branches at random ─► the message arrives (its
//! bytes are copied to where it is received) ─► the clock ─► decode, route, handler ─► the clock
//! (which is a row of its own: "the clock alone" is in every other row, too)
//! ```
//! A library's contender decodes into the type written for the message and finds the handler by the symbol's name, in the
//! standard library's map. "tickwire, no AVX-512" walks as on a machine without it; what is before and behind a walk is the same
//! code in both. It takes its turn behind "tickwire" and finds that in the third cache, so it is sooner where
//! both do the same: the two are not to be compared here, and each library is beside "tickwire".

use crate::engine::{Engine, Kept, Sum};
use crate::messages::{Case, Listing, Message, generated, mixed};
use crate::race::{OURS, Outcome, Panel, Raced, quantile, rows, shuffle};
use crate::typed::{Family, Library, SerdeJson, SimdJson, SonicRs, Typed, checked, used, with_family};
use std::collections::HashMap;
use std::hint::black_box;
use tickwire::hot::{Clock, Router};
use tickwire::limits::READ_PADDING_BYTES;
use tickwire::market::{AggTrade, BookUpdate, Kline, Liquidation, MarkPrice, Quote, Symbol, Ticker, Trade};
use tickwire::telemetry::thread_allocations;
use tickwire::venue::{Cpu, Reason, Sink};

/// Which cases are raced: one of each kind of message.
pub(crate) const CASES: [Case; 4] =
    [Case::BinanceSpotTrade, Case::BinanceSpotQuote, Case::BybitLinearDelta5, Case::BinanceUsdmDepth50];

// ---------------------------------------------------------------------------------------------- the thrashing

/// Four times the second cache of a large server, and more pages than a TLB knows.
const WALK_BYTES: usize = 8 << 20;
const LINE_BYTES: usize = 64;

/// Some code, not like that of any other number: it keeps an instruction cache, a branch predictor and a few lines busy.
#[inline(never)]
fn other<const N: u64>(x: u64) -> u64 {
    let mut x = x.wrapping_add(N).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ N);
    if x & 1 == 0 {
        x = x.rotate_left(7) ^ N;
    }
    if x & 6 == 2 {
        x = x.wrapping_mul(N | 1);
    }
    if (x ^ N).is_multiple_of(3) {
        x ^= x >> 17;
    }
    x
}

/// Functions with every number of so many bits.
macro_rules! others {
    ($table:ident, $number:expr;) => {
        $table.push(other::<{ $number }> as fn(u64) -> u64);
    };
    ($table:ident, $number:expr; x $($bit:tt)*) => {
        others!($table, 2 * $number; $($bit)*);
        others!($table, 2 * $number + 1; $($bit)*);
    };
}

struct Thrash {
    buffer: Vec<u8>,
    others: Vec<fn(u64) -> u64>,
    state: u64,
}

impl Thrash {
    fn new() -> Self {
        let mut others = Vec::new();
        others!(others, 0; x x x x x x x x x x x);
        Self { buffer: vec![1; WALK_BYTES], others, state: 1 }
    }

    fn run(&mut self) {
        for line in self.buffer.chunks_mut(LINE_BYTES) {
            self.state = self.state.wrapping_add(u64::from(line[0]));
            line[0] = line[0].wrapping_add(1);
        }
        for turn in 0..self.others.len() as u64 {
            let at = mixed(self.state ^ turn, 7) as usize % self.others.len();
            self.state = black_box(self.others[at](self.state));
        }
    }
}

// ---------------------------------------------------------------------------------------------- contenders

/// Takes one message alone. It lies in front of its padding.
trait Alone {
    fn take(&mut self, padded: &mut [u8]);
    /// What the handler has seen so far, all together, so that nothing is left out.
    fn seen(&self) -> u64;
    /// Does nothing. Who has called it knows which contender it is.
    fn near(&self) {
        black_box(());
    }
}

/// The sink of a hot core: each event to the router, which calls the handler.
struct Routed<'r, S> {
    router: &'r Router<S>,
    state: &'r mut S,
}

impl<S> Sink for Routed<'_, S> {
    fn trade(&mut self, event: &Trade) {
        self.router.trade(self.state, event);
    }
    fn quote(&mut self, event: &Quote) {
        self.router.quote(self.state, event);
    }
    fn book(&mut self, event: &BookUpdate<'_>) {
        self.router.book_delta(self.state, event);
    }
    fn agg_trade(&mut self, _event: &AggTrade) {}
    fn ticker(&mut self, _event: &Ticker) {}
    fn kline(&mut self, _event: &Kline) {}
    fn mark_price(&mut self, _event: &MarkPrice) {}
    fn liquidation(&mut self, _event: &Liquidation) {}
    fn refused(&mut self, reason: Reason) {
        panic!("refused: {reason:?}");
    }
}

struct Tickwire<S> {
    engine: Engine,
    router: Router<S>,
    state: S,
}

impl<S: Sink> Tickwire<S> {
    fn new(listing: &Listing, cpu: Cpu, state: S) -> Self {
        let mut router = Router::new();
        for symbol in (0..listing.names.len()).filter_map(Symbol::new) {
            router.on_trade(symbol, |state: &mut S, event| state.trade(event));
            router.on_quote(symbol, |state: &mut S, event| state.quote(event));
            router.on_book_delta(symbol, |state: &mut S, event| state.book(event));
        }
        Self { engine: Engine::new(listing, cpu), router, state }
    }

    fn decode(&mut self, padded: &mut [u8]) {
        self.engine.decode(padded, &mut Routed { router: &self.router, state: &mut self.state });
    }
}

impl Alone for Tickwire<Sum> {
    fn take(&mut self, padded: &mut [u8]) {
        self.decode(padded);
    }

    fn seen(&self) -> u64 {
        self.state.0
    }
}

/// What a user's handlers have seen.
#[derive(Default)]
struct Seen {
    sum: u64,
    /// By which route the last message went.
    route: usize,
}

/// A user's program: a library, and handlers by the symbol's name.
struct User<F: Family, L> {
    library: L,
    routes: HashMap<String, (usize, Handler<F>)>,
    seen: Seen,
}

type Handler<F> = for<'t> fn(&mut Seen, usize, &<F as Family>::Message<'t>);

impl<F: Family, L: Library> User<F, L> {
    fn new(library: L, names: &[String]) -> Self {
        let handler: Handler<F> = |seen, route, message| {
            seen.route = route;
            seen.sum = seen.sum.wrapping_add(used(message));
        };
        let routes = (0..).zip(names).map(|(at, name)| (name.clone(), (at, handler))).collect();
        Self { library, routes, seen: Seen::default() }
    }
}

impl<F: Family, L: Library> Alone for User<F, L> {
    fn take(&mut self, padded: &mut [u8]) {
        let length = padded.len() - READ_PADDING_BYTES;
        let message: F::Message<'_> = self.library.read(&mut padded[..length]);
        let &(route, handler) = self.routes.get(message.symbol()).expect("a name of the universe");
        handler(&mut self.seen, route, &message);
    }

    fn seen(&self) -> u64 {
        self.seen.sum
    }
}

/// The user of this library, checked on every message.
fn user<F: Family + 'static, L: Library + 'static>(library: L, names: &[String], messages: &[Message]) -> Entry {
    let mut user = User::<F, L>::new(library, names);
    for message in messages {
        let reference: F::Message<'_> = serde_json::from_slice(&message.text).expect("JSON");
        checked(&reference, message, names);
        let expected = user.seen.sum.wrapping_add(used(&reference));
        user.take(&mut padded(&message.text));
        assert_eq!(user.seen.sum, expected, "read");
        assert_eq!([user.seen.route], message.truth.symbols[..], "routed by its name");
    }
    Entry { name: L::NAME, version: L::VERSION, alone: Box::new(user) }
}

/// The clock alone.
struct Nothing;

impl Alone for Nothing {
    fn take(&mut self, padded: &mut [u8]) {
        black_box(padded);
    }

    fn seen(&self) -> u64 {
        0
    }
}

struct Entry {
    name: &'static str,
    version: &'static str,
    alone: Box<dyn Alone>,
}

fn padded(text: &[u8]) -> Vec<u8> {
    let mut padded = text.to_vec();
    padded.resize(text.len() + READ_PADDING_BYTES, 0);
    padded
}

/// tickwire with these instructions, checked on every message.
fn ours(name: &'static str, listing: &Listing, messages: &[Message], cpu: Cpu) -> Entry {
    let mut checked = Tickwire::new(listing, cpu, Kept::new(listing));
    for Message { text, truth, .. } in messages {
        checked.decode(&mut padded(text));
        assert_eq!(checked.state.take(), *truth, "decoded and routed");
    }
    let alone = Box::new(Tickwire::new(listing, cpu, Sum::default()));
    Entry { name, version: env!("CARGO_PKG_VERSION"), alone }
}

/// Messages that take turns.
const MESSAGES_MAX: usize = 256;

/// The race of one case over a universe of so many symbols: so many messages by each contender.
pub(crate) fn race(case: Case, symbols: usize, samples: usize, cpu: Cpu) -> Raced {
    let listing = &Listing::generated(case, symbols);
    let names = &listing.names[..];
    let messages = &generated(case, names, MESSAGES_MAX, usize::MAX)[..];
    let mut entries = vec![ours(OURS, listing, messages, cpu)];
    if cpu == Cpu::Avx512 {
        entries.push(ours("tickwire, no AVX-512", listing, messages, Cpu::Sse41));
    }
    with_family!(case, F => entries.extend([
        user::<F, _>(SerdeJson, names, messages),
        user::<F, _>(SonicRs, names, messages),
        user::<F, _>(SimdJson::new(), names, messages),
    ]));
    entries.push(Entry { name: "floor:the clock alone", version: "", alone: Box::new(Nothing) });

    let clock = Clock::new();
    let mut thrash = Thrash::new();
    let mut taken: Vec<Vec<u64>> = entries.iter().map(|_| Vec::with_capacity(samples)).collect();
    let mut allocated = vec![0; entries.len()];
    let mut received = Vec::with_capacity(64 << 10);
    let mut order: Vec<u32> = (0..).take(messages.len()).collect();
    for sample in 0..samples {
        if sample % order.len() == 0 {
            shuffle(&mut order, sample as u64);
        }
        let text = &messages[order[sample % order.len()] as usize].text;
        for turn in 0..entries.len() {
            let at = (turn + sample) % entries.len();
            thrash.run();
            received.clear();
            received.extend_from_slice(text);
            received.resize(text.len() + READ_PADDING_BYTES, 0);
            // Which contender it is nobody has to find out in a program: the table of its functions is no part of the message.
            entries[at].alone.near();
            let before = thread_allocations();
            // The first reading brings the clock near, as a stamped read has it.
            black_box(clock.ticks());
            fence();
            let started = clock.ticks();
            fence();
            entries[at].alone.take(black_box(&mut received));
            fence();
            let ended = clock.ticks();
            taken[at].push(clock.elapsed_ns(started, ended));
            allocated[at] += thread_allocations() - before;
        }
    }
    black_box(entries.iter().map(|entry| entry.alone.seen()).fold(thrash.state, u64::wrapping_add));
    taken.iter_mut().for_each(|taken| taken.sort_unstable());

    let name = format!("{}, {symbols} symbols", case.name());
    let mut all = Vec::new();
    for (figure, thousandths) in [("p50", 500), ("p99", 990)] {
        let outcome = |(at, entry): (usize, &Entry)| Outcome {
            name: entry.name,
            version: entry.version,
            ns: quantile(&taken[at], thousandths) as f64,
            allocations: allocated[at] as f64 / samples as f64,
        };
        let outcomes: Vec<Outcome> = entries.iter().enumerate().map(outcome).collect();
        all.extend(rows("cold", &format!("{name}, {figure}"), &outcomes));
    }
    let series = entries.iter().map(|entry| entry.name).zip(taken).collect();
    Raced { rows: all, panel: Some(Panel { title: format!("one message alone, cold: {name}"), series }) }
}

/// What comes behind it does not begin before what stands in front of it has ended.
fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has SSE2, of which it is a part; it touches no memory.
    unsafe {
        std::arch::x86_64::_mm_lfence();
    }
}
