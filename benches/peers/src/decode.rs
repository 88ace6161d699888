//! One message to its numbers: tickwire's decoder, and the usual libraries with types written for the very message.
//!
//! A library's contender borrows its texts, parses prices and quantities as `f64`, and finds its symbol's number by its name
//! in a map of the usual kind with a soon hash: it does less than tickwire, which also checks that each number lies on its
//! symbol's grid and keeps the tickers of which a venue sends changes. barter-data's types are read as that library reads
//! them, and no symbol is looked up. Every contender's answer is compared with what is known of every message before
//! anything is timed: of generated ones by the generator, of recorded ones by a reading of its own. "any shape" is tickwire
//! on the same messages with a space in front: not of the expected shape.

use crate::barter::Reader;
use crate::engine::{Engine, Kept, Sum};
use crate::messages::{Arena, Case, Listing, Message, generated};
use crate::race::{Contender, OURS, Over, Raced, run, shuffle};
use crate::typed::{Family, Library, SerdeJson, SimdJson, SonicRs, Typed, checked, used, with_family};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use tickwire::venue::{Cpu, Tier};

/// What all messages of a race take together, at most: they stay in the second cache.
pub(crate) const BYTES_MAX: usize = 384 << 10;
pub(crate) const MESSAGES_MAX: usize = 1_024;

/// What is decoded in one race.
pub(crate) struct Given {
    pub(crate) work: &'static str,
    pub(crate) case: String,
    pub(crate) listing: Listing,
    pub(crate) messages: Vec<Message>,
    /// barter-data's, where that library reads these messages.
    pub(crate) barter: Option<Reader>,
}

/// The race of one generated case over a universe of so many symbols.
pub(crate) fn generated_race(case: Case, symbols: usize, rounds: usize, cpu: Cpu) -> Raced {
    let listing = Listing::generated(case, symbols);
    let messages = generated(case, &listing.names, MESSAGES_MAX, BYTES_MAX);
    let barter = Some(Reader::of(case));
    let given =
        Given { work: "decode", case: format!("{}, {symbols} symbols", case.name()), listing, messages, barter };
    let raced = with_family!(case, F => race::<F>(&given, rounds, cpu));
    assert_eq!(raced.rows[0].case, given.case, "generated to the expected shape");
    raced
}

/// One race, with types of this family.
pub(crate) fn race<F: Family>(given: &Given, rounds: usize, cpu: Cpu) -> Raced {
    let arena = Arena::new(given.messages.iter().map(|message| &message.text[..]));
    let floor = Over(arena.clone(), |arena: &mut Arena, at| {
        u64::from(arena.text(at).iter().fold(0_u8, |sum, byte| sum ^ byte))
    });
    let (tickwire, missed) = ours(OURS, given, cpu, b"");
    let mut contenders = vec![tickwire];
    if cpu == Cpu::Avx512 {
        contenders.push(ours("tickwire, no AVX-512", given, Cpu::Sse41, b"").0);
    }
    contenders.push(ours("tickwire, any shape", given, cpu, b" ").0);
    contenders.push(Contender { name: "floor:every byte once", version: "", course: Box::new(floor) });
    if let Some(reader) = given.barter {
        given.messages.iter().for_each(|message| reader.check(message, &given.listing.names));
        let by_barter = Over(arena, move |arena: &mut Arena, at| (reader.take)(arena.text(at)));
        contenders.push(Contender { name: "barter-data", version: "0.13", course: Box::new(by_barter) });
    }
    contenders.extend([
        library::<F, _>(SerdeJson, given),
        library::<F, _>(SonicRs, given),
        library::<F, _>(SimdJson::new(), given),
    ]);
    let count = given.messages.len();
    let case = match missed {
        0 => given.case.clone(),
        _ if missed == count => format!("{}, not of the expected shape", given.case),
        _ => format!("{}, {} % not of the expected shape", given.case, (100 * missed).div_ceil(count)),
    };
    run(given.work, &case, count, rounds, &mut contenders)
}

/// tickwire with these instructions and these bytes in front of each message, checked on every message; and how many of them
/// were not of the shape that its first tier expects.
fn ours(name: &'static str, given: &Given, cpu: Cpu, before: &[u8]) -> (Contender<'static>, usize) {
    let Given { listing, messages, .. } = given;
    let texts: Vec<Vec<u8>> = messages.iter().map(|message| [before, &message.text].concat()).collect();
    let mut arena = Arena::new(texts.iter().map(|text| &text[..]));
    let mut engine = Engine::new(listing, cpu);
    let mut kept = Kept::new(listing);
    for (at, message) in (0..).zip(messages) {
        engine.decode(arena.padded_mut(at), &mut kept);
        assert_eq!(kept.take(), message.truth, "{}", String::from_utf8_lossy(&message.text));
    }
    // As they are raced: what the decoder has learned of one shape helps with the next in their own order alone.
    let mut order: Vec<u32> = (0..).take(messages.len()).collect();
    shuffle(&mut order, 0);
    let missed = |at| engine.decode(arena.padded_mut(at), &mut Sum::default()) != Tier::One;
    let missed = order.into_iter().map(missed).filter(|&is_missed| is_missed).count();
    assert!(before.is_empty() || missed == messages.len(), "what is in front is of no expected shape");
    let course = Over(arena, move |arena: &mut Arena, at| {
        let mut sum = Sum::default();
        engine.decode(arena.padded_mut(at), &mut sum);
        sum.0
    });
    (Contender { name, version: env!("CARGO_PKG_VERSION"), course: Box::new(course) }, missed)
}

/// A library with the type written for these messages and a map of the symbols, checked on every message.
fn library<F: Family, L: Library + 'static>(mut library: L, given: &Given) -> Contender<'static> {
    let Given { listing, messages, .. } = given;
    let symbols: HashMap<String, usize, RandomState> = listing.names.iter().cloned().zip(0..).collect();
    for message in messages {
        let mut copy = message.text.clone();
        checked(&library.read::<F::Message<'_>>(&mut copy), message, &listing.names);
        assert_eq!(copy, message.text, "nothing is escaped, so nothing is rewritten: no copy has to be charged");
    }
    let arena = Arena::new(messages.iter().map(|message| &message.text[..]));
    let course = Over(arena, move |arena: &mut Arena, at| {
        let message = library.read::<F::Message<'_>>(arena.text_mut(at));
        let mut places = 0;
        message.symbols(|name| places ^= symbols[name] as u64);
        used(&message) ^ places
    });
    Contender { name: L::NAME, version: L::VERSION, course: Box::new(course) }
}
