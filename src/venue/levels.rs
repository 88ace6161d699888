//! Lists of book levels, `[["price","quantity"],...]`: most of a book message's bytes.

use super::cursor::Cursor;
use super::fields::{LevelScratch, Listed};
use super::isa::Isa;
use super::number::Number;
use crate::market::{BookKind, BookUpdate, Level, Meta, Price, Qty, SequenceIds};

/// A list that was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Listing {
    /// Its levels.
    pub(super) count: usize,
    /// Its bytes, brackets included.
    pub(super) length: usize,
}

/// Reads a list from left to right, level by level. `None`: not of this form, a number that is off its grid, or more levels
/// than there is room for.
#[inline(always)]
pub(super) fn forward(isa: impl Isa, padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing> {
    match padded {
        [b'[', b']', ..] => return Some(Listing { count: 0, length: 2 }),
        [b'[', b'[', ..] => {}
        _ => return None,
    }
    let mut at = 1;
    for (place, level) in levels.iter_mut().enumerate() {
        at += forward_level(isa, padded.get(at..)?, scales, level)?;
        match padded.get(at)? {
            b',' => at += 1,
            b']' => return Some(Listing { count: place + 1, length: at + 1 }),
            _ => return None,
        }
    }
    None
}

/// Reads one level, `["price","quantity"]`; its bytes.
#[inline(always)]
pub(super) fn forward_level(isa: impl Isa, padded: &[u8], scales: (u8, u8), level: &mut Level) -> Option<usize> {
    let mut cursor = Cursor::new(padded);
    let mut stride = cursor.stride()?;
    stride.literal(b"[\"")?;
    let price = cursor.number_on(isa, &mut stride)?;
    stride.literal(b",\"")?;
    let qty = cursor.number_on(isa, &mut stride)?;
    stride.literal(b"]")?;
    let [price, qty] = Number::grids([price, qty], isa, scales).ok()?;
    *level = Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) };
    Some(padded.len() - cursor.behind(stride)?.ahead())
}

/// Both sides of one book message, as tier one reads them into a core's scratch.
pub(super) struct Sides<'s> {
    scratch: &'s mut LevelScratch,
    filled: usize,
    /// Where bids and asks begin and end.
    places: [(usize, usize); 2],
}

impl<'s> Sides<'s> {
    /// Nothing read.
    pub(super) fn new(scratch: &'s mut LevelScratch) -> Self {
        Self { scratch, filled: 0, places: [(0, 0); 2] }
    }

    /// Forgets what was read.
    pub(super) fn restart(&mut self) {
        self.filled = 0;
    }

    /// Reads one side: 0 bids, 1 asks.
    #[inline(always)]
    pub(super) fn read<I: Isa>(&mut self, side: usize, listed: Listed<I>, cursor: &mut Cursor<'_>) -> Option<()> {
        let scales = (listed.price_scale, listed.qty_scale);
        let room = self.scratch.room(self.filled);
        let Listing { count, length } = listed.isa.levels(cursor.rest(), scales, room)?;
        cursor.skip(length)?;
        self.places[side] = (self.filled, self.filled + count);
        self.filled += count;
        Some(())
    }

    /// Where bids and asks begin and end in the scratch.
    #[inline(always)]
    pub(super) fn places(&self) -> [(usize, usize); 2] {
        self.places
    }
}

/// A book message but for its levels, which lie in a core's scratch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BookHead {
    pub(super) meta: Meta,
    pub(super) kind: BookKind,
    pub(super) ids: SequenceIds,
    pub(super) depth: u16,
    /// Where bids and asks begin and end in the scratch.
    pub(super) places: [(usize, usize); 2],
}

impl BookHead {
    /// With its levels.
    #[inline(always)]
    pub(super) fn update<'s>(&self, scratch: &'s LevelScratch) -> BookUpdate<'s> {
        let [(bids_start, bids_end), (asks_start, asks_end)] = self.places;
        let (bids, asks) = (scratch.between(bids_start, bids_end), scratch.between(asks_start, asks_end));
        BookUpdate { meta: self.meta, kind: self.kind, ids: self.ids, depth: self.depth, state: None, bids, asks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::READ_PADDING_BYTES;
    use crate::venue::Cpu;
    use crate::venue::generate::Generator;
    use crate::venue::isa::{Isas, Work};

    struct Read<'a> {
        padded: &'a [u8],
        scales: (u8, u8),
        levels: &'a mut [Level],
    }

    impl Work for Read<'_> {
        type Output = Option<Listing>;
        fn run<I: Isa>(&mut self, isa: I) -> Option<Listing> {
            isa.levels(self.padded, self.scales, self.levels)
        }
    }

    /// What each kind of instructions makes of a list, levels included; they must all say the same.
    fn read(text: &[u8], scales: (u8, u8), room: usize) -> Option<(Listing, Vec<Level>)> {
        let padded = [text, &[0; READ_PADDING_BYTES]].concat();
        let mut answers = Cpu::ALL.into_iter().filter(|cpu| cpu.is_here()).map(|cpu| {
            let mut levels = vec![Level::default(); room];
            let listing = Isas::new(cpu).run(&mut Read { padded: &padded, scales, levels: &mut levels });
            listing.map(|listing| (listing, levels[..listing.count].to_vec()))
        });
        let first = answers.next().expect("the portable one is everywhere");
        for answer in answers {
            assert_eq!(answer, first, "{}", String::from_utf8_lossy(text));
        }
        first
    }

    fn number(generator: &mut Generator, decimals_max: u64) -> String {
        let whole_digits = u32::try_from(generator.below(8)).unwrap();
        let whole = generator.below(10_u64.pow(whole_digits + 1));
        match generator.below(decimals_max + 1) {
            0 => whole.to_string(),
            decimals => format!(
                "{whole}.{:0width$}",
                generator.below(10_u64.pow(u32::try_from(decimals).unwrap())),
                width = usize::try_from(decimals).unwrap()
            ),
        }
    }

    fn list(generator: &mut Generator, decimals_max: u64) -> (String, Vec<[String; 2]>) {
        let count = generator.below(12);
        let levels: Vec<[String; 2]> =
            (0..count).map(|_| [number(generator, decimals_max), number(generator, decimals_max)]).collect();
        let texts: Vec<String> = levels.iter().map(|[price, qty]| format!("[\"{price}\",\"{qty}\"]")).collect();
        (format!("[{}]", texts.join(",")), levels)
    }

    #[test]
    fn a_list_is_read_as_its_numbers_say_whatever_stands_behind_it() {
        let mut generator = Generator::new(7);
        for _ in 0..3_000 {
            let (text, numbers) = list(&mut generator, 3);
            let tail =
                ["", "}", ",\"a\":[[\"1.5\",\"2\"],[\"3\",\"4\"]]"][usize::try_from(generator.below(3)).unwrap()];
            let (listing, levels) = read(format!("{text}{tail}").as_bytes(), (3, 4), 12).expect("all on the grid");
            assert_eq!((listing.count, listing.length), (numbers.len(), text.len()));
            for (level, [price, qty]) in levels.iter().zip(&numbers) {
                assert_eq!(Ok(level.price.mantissa()), crate::market::parse_fixed(price.as_bytes(), 3));
                assert_eq!(Ok(level.qty.mantissa()), crate::market::parse_fixed(qty.as_bytes(), 4));
            }
        }
    }

    #[test]
    fn a_damaged_list_is_the_same_refusal_or_the_same_levels_to_every_kind_of_instructions() {
        let mut generator = Generator::new(11);
        let mut taken = 0;
        for _ in 0..100_000 {
            let (text, _) = list(&mut generator, 9);
            let mut bytes = text.into_bytes();
            for _ in 0..=generator.below(2) {
                let at = usize::try_from(generator.below(bytes.len() as u64)).unwrap();
                let byte = match generator.below(3) {
                    0 => b"\"[],.0129\\- "[usize::try_from(generator.below(12)).unwrap()],
                    _ => u8::try_from(generator.below(256)).unwrap(),
                };
                match generator.below(3) {
                    0 => bytes[at] = byte,
                    1 if bytes.len() > 1 => {
                        bytes.remove(at);
                    }
                    _ => bytes.insert(at, byte),
                }
            }
            let scale = u8::try_from(generator.below(10)).unwrap();
            if let Some((listing, _)) = read(&bytes, (scale, 9), 12) {
                taken += 1;
                let json = serde_json::from_slice::<Vec<[String; 2]>>(&bytes[..listing.length]);
                assert_eq!(json.expect("what is taken is JSON").len(), listing.count);
            }
        }
        assert!(taken > 1_000, "{taken} of them were still lists");
    }

    #[test]
    fn a_list_that_is_longer_than_the_room_is_refused() {
        assert!(read(br#"[["1","1"],["2","2"],["3","3"]]"#, (0, 0), 3).is_some());
        assert!(read(br#"[["1","1"],["2","2"],["3","3"]]"#, (0, 0), 2).is_none());
        assert_eq!(read(b"[]", (0, 0), 0).map(|(listing, _)| listing), Some(Listing { count: 0, length: 2 }));
        for text in [
            "",
            "[",
            "[[",
            "[[]]",
            "[[\"1\"]]",
            "[[\"1\",\"1\"]",
            "[[\"1\",\"1\"],]",
            "[[1,1]]",
            "[ [\"1\",\"1\"]]",
            "[[\"1\",\"-1\"]]",
        ] {
            assert!(read(text.as_bytes(), (0, 0), 3).is_none(), "{text}");
        }
    }
}
