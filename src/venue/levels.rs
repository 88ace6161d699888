//! Lists of book levels, `[["price","quantity"],...]`: most of a book message's bytes.

use super::fields::{LevelScratch, Listed};
use super::isa::Isa;
use super::scan::Cursor;
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
    let mut cursor = Cursor::new(padded);
    cursor.literal(b"[")?;
    let mut count = 0;
    if cursor.literal(b"]").is_none() {
        cursor.literal(b"[\"")?;
        for level in levels.iter_mut() {
            if !cursor.has_step() {
                return None;
            }
            let price = cursor.number(isa)?;
            cursor.literal(b",\"")?;
            let qty = cursor.number(isa)?;
            level.price = Price::from_mantissa(price.grid(isa, scales.0).ok()?);
            level.qty = Qty::from_mantissa(qty.grid(isa, scales.1).ok()?);
            count += 1;
            if cursor.literal(b"],[\"").is_none() {
                break;
            }
        }
        cursor.literal(b"]]")?;
    }
    Some(Listing { count, length: padded.len() - cursor.ahead() })
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
        let [bids, asks] = self.places.map(|(start, end)| scratch.between(start, end));
        BookUpdate { meta: self.meta, kind: self.kind, ids: self.ids, depth: self.depth, bids, asks }
    }
}
