//! The same thing on several venues.

use super::Symbol;
use crate::limits::INSTRUMENT_COUNT_MAX;
use std::collections::HashMap;

/// Dense id of an [`Instrument`], in the order of first appearance.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InstrumentId(u16);

impl InstrumentId {
    /// Position in the instrument table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What kind of contract it is. Two symbols are the same instrument only if this agrees.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum InstrumentKind {
    /// Spot.
    Spot,
    /// A perpetual swap.
    Perpetual,
    /// A dated future, by the venue's delivery date (`YYMMDD`, or its own text where it gives none).
    Future(Box<str>),
}

/// One thing that trades on one venue or more: base, quote, kind. Names are upper case, as venues' lists give them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Instrument {
    /// What is bought and sold, `BTC`.
    pub base: Box<str>,
    /// What it is priced in, `USDT`.
    pub quote: Box<str>,
    /// Spot, perpetual or dated.
    pub kind: InstrumentKind,
}

/// Instruments and their symbols. Cold: built and read where symbols are added, never per message.
#[derive(Debug, Default)]
pub struct InstrumentTable {
    ids: HashMap<Instrument, InstrumentId>,
    instruments: Vec<(Instrument, Vec<Symbol>)>,
}

impl InstrumentTable {
    /// Links `symbol` to `instrument`, which gets an id if it is new. `None` when the table is full.
    pub fn link(&mut self, instrument: Instrument, symbol: Symbol) -> Option<InstrumentId> {
        let id = match self.ids.get(&instrument) {
            Some(&id) => id,
            None => {
                if self.instruments.len() == INSTRUMENT_COUNT_MAX {
                    return None;
                }
                let id = InstrumentId(u16::try_from(self.instruments.len()).ok()?);
                self.ids.insert(instrument.clone(), id);
                self.instruments.push((instrument, Vec::new()));
                id
            }
        };
        let symbols = &mut self.instruments[id.index()].1;
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
        Some(id)
    }

    /// The instrument of an id.
    #[must_use]
    pub fn get(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.get(id.index()).map(|(instrument, _)| instrument)
    }

    /// The symbols under which an instrument trades, in the order they were linked.
    #[must_use]
    pub fn symbols(&self, id: InstrumentId) -> &[Symbol] {
        self.instruments.get(id.index()).map_or(&[], |(_, symbols)| symbols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btc(kind: InstrumentKind) -> Instrument {
        Instrument { base: "BTC".into(), quote: "USDT".into(), kind }
    }

    #[test]
    fn the_same_thing_on_two_venues_is_one_instrument_and_a_perpetual_is_another() {
        let mut table = InstrumentTable::default();
        let [a, b, c] = [0, 1, 2].map(|index| Symbol::new(index).unwrap());
        let spot = table.link(btc(InstrumentKind::Spot), a).unwrap();
        assert_eq!(table.link(btc(InstrumentKind::Spot), b), Some(spot));
        let swap = table.link(btc(InstrumentKind::Perpetual), c).unwrap();
        assert_ne!(spot, swap);
        assert_eq!(table.symbols(spot), [a, b]);
        assert_eq!(table.symbols(swap), [c]);
    }

    #[test]
    fn linking_twice_changes_nothing() {
        let mut table = InstrumentTable::default();
        let symbol = Symbol::new(7).unwrap();
        let id = table.link(btc(InstrumentKind::Spot), symbol).unwrap();
        table.link(btc(InstrumentKind::Spot), symbol);
        assert_eq!(table.symbols(id), [symbol]);
    }
}
