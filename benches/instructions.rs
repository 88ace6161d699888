//! `instructions`: how many instructions a message costs, counted by valgrind: what a noisy neighbour does not change.
//! `scripts/instructions.sh` builds it, runs it under callgrind, and compares with the committed figures.
//!
//! ```text
//! frame/..                                bytes of a read to its messages
//! decode/<channel>/<instructions>             a message of the expected shape to its event
//! decode/<channel>/any_order/<instructions>   the same with a space in front, which no shape expects
//! decode/..array../<instructions>             an array of the whole market, of which the core knows some symbols
//!
//! cargo bench --bench instructions                    the rows' names
//! cargo bench --bench instructions -- --row NAME      one of them, to be counted
//! ```
//! A row's work is one call of `counted`, which is what callgrind is told to collect. The messages are those of the race but for
//! the arrays, always the same ones, and counted warm: a pass over all of them comes first, and is checked. callgrind knows
//! no AVX-512: what it counts is what machines without it run.

#[path = "peers/src/engine.rs"]
#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "bits of a mantissa are summed up")]
mod engine;
#[path = "peers/src/messages.rs"]
#[allow(dead_code, reason = "the race uses the rest")]
#[expect(clippy::cast_possible_truncation, reason = "32 of the bits are wanted")]
mod messages;

use engine::{Engine, Kept, Sum};
use messages::{Arena, Case, Listing, Message, frame, generated, mixed, universe};
use std::hint::black_box;
use tickwire::hot::frame::{Frame, FrameCursor};
use tickwire::hot::read_buffer::ReadBuffer;
use tickwire::limits::MESSAGE_BYTES_DEFAULT;
use tickwire::market::{AggTrade, BookUpdate, Kline, Liquidation, MarkPrice, Quote, Ticker, Trade};
use tickwire::venue::{Cpu, Reason, Sink, Tier};

const SYMBOLS: usize = 20;
const MESSAGES: usize = 256;

/// What callgrind counts: one call a row.
#[inline(never)]
fn counted(work: &mut dyn FnMut() -> u64) -> u64 {
    black_box(work())
}

/// What is done with all messages of a row.
type Work = Box<dyn FnMut() -> u64>;

/// Frames of one message each, received so many at a time.
fn frames(frames_a_read: usize) -> Work {
    let messages = generated(Case::BinanceSpotTrade, &universe(SYMBOLS), MESSAGES, usize::MAX);
    let read = |messages: &[Message]| {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| frame(&message.text, &mut bytes));
        bytes
    };
    let reads: Vec<Vec<u8>> = messages.chunks(frames_a_read).map(read).collect();
    let (mut buffer, mut cursor) = (ReadBuffer::new(), FrameCursor::new(MESSAGE_BYTES_DEFAULT, false));
    let expected: u64 = messages.iter().map(|message| message.text.len() as u64).sum();
    Box::new(move || {
        let mut seen = 0;
        for bytes in &reads {
            buffer.compact();
            buffer.free(bytes.len())[..bytes.len()].copy_from_slice(bytes);
            buffer.received(bytes.len());
            while let Some(frame) = cursor.next_frame(&mut buffer).expect("valid frames") {
                let Frame::Message(message) = frame else { panic!("only messages were sent") };
                seen += message.payload.len() as u64;
            }
        }
        assert_eq!(seen, expected, "every payload whole");
        seen
    })
}

/// One channel's messages, `space` in front of each, by these instructions.
fn decode(case: Case, cpu: Cpu, space: &[u8]) -> Work {
    let listing = Listing::generated(case, SYMBOLS);
    let messages = generated(case, &listing.names, MESSAGES, usize::MAX);
    let texts: Vec<Vec<u8>> = messages.iter().map(|message| [space, &message.text].concat()).collect();
    let mut arena = Arena::new(texts.iter().map(|text| &text[..]));
    let mut engine = Engine::new(&listing, cpu);
    let mut kept = Kept::new(&listing);
    let tier = if space.is_empty() { Tier::One } else { Tier::TwoAfterOne };
    for (at, message) in (0..).zip(&messages) {
        assert_eq!(engine.decode(arena.padded_mut(at), &mut kept), tier);
        assert_eq!(kept.take(), message.truth);
    }
    Box::new(move || {
        let mut sum = Sum::default();
        for at in (0..).take(MESSAGES) {
            engine.decode(arena.padded_mut(at), &mut sum);
        }
        sum.0
    })
}

/// Elements of an array, of which the core knows [`SYMBOLS`].
const ELEMENTS: usize = 100;

/// Counts what becomes of an array's elements.
#[derive(Debug, Default, PartialEq)]
struct Market {
    tickers: u64,
    unknown: u64,
    sum: u64,
}

impl Sink for Market {
    fn ticker(&mut self, event: &Ticker) {
        self.tickers += 1;
        self.sum = self.sum.wrapping_add(event.last_price.mantissa().unsigned_abs() ^ event.trade_count);
    }
    fn refused(&mut self, reason: Reason) {
        assert_eq!(reason, Reason::UnknownSymbol);
        self.unknown += 1;
    }
    fn wants_sample(&self, _reason: Reason) -> bool {
        false
    }
    fn trade(&mut self, _event: &Trade) {}
    fn agg_trade(&mut self, _event: &AggTrade) {}
    fn quote(&mut self, _event: &Quote) {}
    fn book(&mut self, _event: &BookUpdate<'_>) {}
    fn kline(&mut self, _event: &Kline) {}
    fn mark_price(&mut self, _event: &MarkPrice) {}
    fn liquidation(&mut self, _event: &Liquidation) {}
}

/// Arrays of USD-M's tickers by these instructions.
fn tickers(cpu: Cpu) -> Work {
    let listing = Listing::generated(Case::BinanceUsdmDepth50, SYMBOLS);
    let names = &listing.names;
    let element = |n: u64, at: usize| {
        let name = if at.is_multiple_of(ELEMENTS / SYMBOLS) {
            names[at * SYMBOLS / ELEMENTS].clone()
        } else {
            format!("{}{at}BUSD", ["AAVE", "1000PEPE", "OP", "LINK"][at % 4])
        };
        let number = |salt: u64, bound: u64| mixed(n * ELEMENTS as u64 + at as u64, salt) % bound;
        let price = |salt: u64| format!("{}.{:02}", 20_000 + number(salt, 80_000), number(salt + 1, 100));
        format!(
            r#"{{"e":"24hrTicker","E":1700000000000,"s":"{name}","p":"-{}","P":"-1.405","w":"{}34","c":"{}","Q":"0.{:03}","o":"{}","h":"{}","l":"{}","v":"{}","q":"{}","O":1699913600000,"C":1700000000000,"F":{},"L":{},"n":{}}}"#,
            price(1),
            price(3),
            price(5),
            number(7, 1_000),
            price(8),
            price(10),
            price(12),
            price(14),
            price(16),
            number(18, 3_000_000_000),
            number(19, 3_000_000_000),
            number(20, 3_000_000),
        )
    };
    let array = |n: u64| {
        let elements: Vec<String> = (0..ELEMENTS).map(|at| element(n, at)).collect();
        format!(r#"{{"stream":"!ticker@arr","data":[{}]}}"#, elements.join(","))
    };
    let texts: Vec<String> = (0..MESSAGES as u64).map(array).collect();
    let mut arena = Arena::new(texts.iter().map(String::as_bytes));
    let mut engine = Engine::new(&listing, cpu);
    Box::new(move || {
        let mut market = Market::default();
        for at in (0..).take(MESSAGES) {
            assert_eq!(engine.decode(arena.padded_mut(at), &mut market), Tier::One);
        }
        let known = (MESSAGES * SYMBOLS) as u64;
        assert_eq!((market.tickers, market.unknown), (known, (MESSAGES * ELEMENTS) as u64 - known));
        market.sum
    })
}

#[expect(clippy::print_stdout, reason = "the script reads it")]
fn main() {
    let mut rows: Vec<(String, Box<dyn Fn() -> Work>)> = Vec::new();
    rows.push(("frame/one_a_read".to_owned(), Box::new(|| frames(1))));
    rows.push(("frame/32_a_read".to_owned(), Box::new(|| frames(32))));
    for case in Case::ALL {
        for cpu in [Cpu::Portable, Cpu::Sse41].into_iter().filter(|cpu| cpu.is_here()) {
            let channel = case.name().replace(", ", "_").replace(' ', "_");
            rows.push((format!("decode/{channel}/{}", cpu.name()), Box::new(move || decode(case, cpu, b""))));
            let any_order = format!("decode/{channel}/any_order/{}", cpu.name());
            rows.push((any_order, Box::new(move || decode(case, cpu, b" "))));
        }
    }

    for cpu in [Cpu::Portable, Cpu::Sse41].into_iter().filter(|cpu| cpu.is_here()) {
        let row = format!("decode/binance-usdm_ticker_array_{SYMBOLS}_of_{ELEMENTS}/{}", cpu.name());
        rows.push((row, Box::new(move || tickers(cpu))));
    }

    let wanted = std::env::args().skip_while(|argument| argument != "--row").nth(1);
    for (name, prepare) in rows {
        let is_wanted = wanted.as_ref() == Some(&name);
        if wanted.is_none() || is_wanted {
            let mut work = prepare();
            let warm = work();
            assert!(!is_wanted || counted(&mut work) == warm, "the same messages give the same");
            println!("{name} {MESSAGES}");
        }
    }
}
