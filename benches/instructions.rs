//! `instructions`: how many instructions a message costs, counted by valgrind: what a noisy neighbour does not change.
//! `scripts/instructions.sh` builds it, runs it under callgrind, and compares with the committed figures.
//!
//! ```text
//! frame/..                                bytes of a read to its messages
//! decode/<channel>/<instructions>             a message of the expected shape to its event
//! decode/<channel>/any_order/<instructions>   the same with a space in front, which no shape expects
//!
//! cargo bench --bench instructions                    the rows' names
//! cargo bench --bench instructions -- --row NAME      one of them, to be counted
//! ```
//! A row's work is one call of `counted`, which is what callgrind is told to collect. The messages are those of the race,
//! always the same ones, and counted warm: a pass over all of them comes first, and is checked. callgrind knows no AVX-512:
//! what it counts is what machines without it run.

#[path = "peers/src/engine.rs"]
#[expect(clippy::cast_sign_loss, reason = "bits of a mantissa are summed up")]
mod engine;
#[path = "peers/src/messages.rs"]
#[allow(dead_code, reason = "the race uses the rest")]
#[expect(clippy::cast_possible_truncation, reason = "32 of the bits are wanted")]
mod messages;

use engine::{Engine, Kept, Sum};
use messages::{Arena, Case, Message, frame, generated, universe};
use std::hint::black_box;
use tickwire::hot::frame::{Frame, FrameCursor};
use tickwire::hot::read_buffer::ReadBuffer;
use tickwire::limits::MESSAGE_BYTES_DEFAULT;
use tickwire::venue::{Cpu, Tier};

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
    let names = universe(SYMBOLS);
    let messages = generated(case, &names, MESSAGES, usize::MAX);
    let texts: Vec<Vec<u8>> = messages.iter().map(|message| [space, &message.text].concat()).collect();
    let mut arena = Arena::new(texts.iter().map(|text| &text[..]));
    let mut engine = Engine::new(case, &names, cpu);
    let tier = if space.is_empty() { Tier::One } else { Tier::TwoAfterOne };
    for (at, message) in (0..).zip(&messages) {
        let mut kept = Kept::default();
        assert_eq!(engine.decode(arena.padded_mut(at), &mut kept), tier);
        assert_eq!(kept.0, message.truth);
    }
    Box::new(move || {
        let mut sum = Sum::default();
        for at in (0..).take(MESSAGES) {
            engine.decode(arena.padded_mut(at), &mut sum);
        }
        sum.0
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
