//! One message to its numbers: tickwire's decoder, and the usual libraries with types written for the very message.
//!
//! A library's contender borrows its texts, parses prices and quantities as `f64`, and finds its symbol's number by its name
//! in a map of the usual kind with a soon hash: it does less than tickwire, which also checks that each number lies on its
//! symbol's grid. barter-data's types are read as that library reads them, and no symbol is looked up. Every contender's answer is compared with what the generator knows of every message before
//! anything is timed. "any shape" is tickwire on the same messages with a space in front: not of the expected shape.

use crate::barter::Reader;
use crate::engine::{Engine, Kept, Sum};
use crate::messages::{Arena, Case, Message, generated, universe};
use crate::race::{Contender, OURS, Over, Raced, run};
use crate::typed::{Combined, Family, Library, SerdeJson, SimdJson, SonicRs, Typed, checked, used, with_family};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use tickwire::venue::{Cpu, Tier};

/// What all messages of a race take together, at most: they stay in the second cache.
const BYTES_MAX: usize = 384 << 10;
const MESSAGES_MAX: usize = 1_024;

/// The race of one case over a universe of so many symbols.
pub(crate) fn race(case: Case, symbols: usize, rounds: usize, cpu: Cpu) -> Raced {
    let names = universe(symbols);
    let messages = generated(case, &names, MESSAGES_MAX, BYTES_MAX);
    let arena = Arena::new(messages.iter().map(|message| &message.text[..]));
    let floor = Over(arena.clone(), |arena: &mut Arena, at| {
        u64::from(arena.text(at).iter().fold(0_u8, |sum, byte| sum ^ byte))
    });
    let reader = Reader::of(case);
    messages.iter().for_each(|message| reader.check(&message.text, &message.truth, &names));
    let by_barter = Over(arena.clone(), move |arena: &mut Arena, at| (reader.take)(arena.text(at)));

    let mut contenders = vec![ours(OURS, case, &names, &messages, cpu, Tier::One)];
    if cpu == Cpu::Avx512 {
        contenders.push(ours("tickwire, no AVX-512", case, &names, &messages, Cpu::Sse41, Tier::One));
    }
    contenders.push(ours("tickwire, any shape", case, &names, &messages, cpu, Tier::TwoAfterOne));
    contenders.extend([
        Contender { name: "floor:every byte once", version: "", course: Box::new(floor) },
        Contender { name: "barter-data", version: "0.13", course: Box::new(by_barter) },
    ]);
    with_family!(case, F => contenders.extend([
        library::<F, _>(SerdeJson, &names, &messages),
        library::<F, _>(SonicRs, &names, &messages),
        library::<F, _>(SimdJson::new(), &names, &messages),
    ]));
    run("decode", &format!("{}, {symbols} symbols", case.name()), messages.len(), rounds, &mut contenders)
}

/// tickwire with these instructions, by this tier, checked on every message.
fn ours(
    name: &'static str,
    case: Case,
    names: &[String],
    messages: &[Message],
    cpu: Cpu,
    tier: Tier,
) -> Contender<'static> {
    let space: &[u8] = if tier == Tier::TwoAfterOne { b" " } else { b"" };
    let texts: Vec<Vec<u8>> = messages.iter().map(|message| [space, &message.text].concat()).collect();
    let mut arena = Arena::new(texts.iter().map(|text| &text[..]));
    let mut engine = Engine::new(case, names, cpu);
    for (at, message) in (0..).zip(messages) {
        let mut kept = Kept::default();
        assert_eq!(engine.decode(arena.padded_mut(at), &mut kept), tier);
        assert_eq!(kept.0, message.truth);
    }
    let course = Over(arena, move |arena: &mut Arena, at| {
        let mut sum = Sum::default();
        engine.decode(arena.padded_mut(at), &mut sum);
        sum.0
    });
    Contender { name, version: env!("CARGO_PKG_VERSION"), course: Box::new(course) }
}

/// A library with the type written for these messages and a map of the symbols, checked on every message.
fn library<F: Family, L: Library + 'static>(
    mut library: L,
    names: &[String],
    messages: &[Message],
) -> Contender<'static> {
    let symbols: HashMap<String, usize, RandomState> = names.iter().cloned().zip(0..).collect();
    for Message { text, truth } in messages {
        let mut copy = text.clone();
        {
            let message = library.read::<Combined<F::Message<'_>>>(&mut copy).data;
            checked(&message, truth, names);
            assert_eq!(symbols[message.symbol()], truth.symbol);
        }
        assert_eq!(copy, *text, "nothing is escaped, so nothing is rewritten: no copy has to be charged");
    }
    let arena = Arena::new(messages.iter().map(|message| &message.text[..]));
    let course = Over(arena, move |arena: &mut Arena, at| {
        let message = library.read::<Combined<F::Message<'_>>>(arena.text_mut(at)).data;
        used(&message) ^ symbols[message.symbol()] as u64
    });
    Contender { name: L::NAME, version: L::VERSION, course: Box::new(course) }
}
