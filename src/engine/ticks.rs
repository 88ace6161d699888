//! What a venue's instrument list says of symbols that are known already: whose tick or lot has changed, and who trades no more.
//!
//! ```text
//! list ──► each known symbol: as it was in the list before? ──► News ──► events, counts, Command::TickChanged
//! ```
//! Sans-IO. The first list that a symbol is in is what later ones are compared with: only a change is news. Of a symbol that the
//! operator states no list was read, so one that is finer than stated is news at once.

use crate::market::{Decimal, Symbol, SymbolTable, Venue};
use crate::net::InstrumentList;
use crate::telemetry::TickChange;
use crate::venue::InstrumentSpec;
use std::collections::{HashMap, HashSet};

/// Whether a symbol trades, by the list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trading {
    Yes,
    Halted,
    Unlisted,
}

/// A symbol as the last list that had it said.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Tick and lot; `None` where no list has had it.
    sizes: Option<[Option<Decimal>; 2]>,
    trading: Trading,
    is_too_fine: bool,
}

/// What is new in a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct News {
    /// Whose tick or lot is another than it was.
    pub(super) changed: Vec<(Symbol, TickChange)>,
    /// Whose tick or lot has more decimals than the symbol's scales, and had not before.
    pub(super) too_fine: Vec<String>,
    /// Who was listed as trading, and is listed as not.
    pub(super) halted: Vec<String>,
    /// Who is not in the list any more.
    pub(super) unlisted: Vec<String>,
    /// Who trades again.
    pub(super) trading_again: Vec<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ticks {
    seen: HashMap<Symbol, Seen>,
}

impl Ticks {
    /// What the list says anew of the venue's symbols. Of those that a list of which the end was not read does not have, nothing.
    pub(super) fn compare(&mut self, venue: Venue, list: &InstrumentList, symbols: &SymbolTable) -> News {
        let mut news = News::default();
        let mut listed = HashSet::new();
        for row in &list.specs {
            // A name that comes twice is what its first row says, as everywhere.
            if let Some(symbol) = symbols.find(venue, &row.name)
                && let Some(spec) = symbols.spec(symbol)
                && listed.insert(symbol)
            {
                let is_too_fine = row.price_scale > spec.price_scale || row.qty_scale > spec.qty_scale;
                self.take(symbol, row, is_too_fine, &mut news);
            }
        }
        if list.is_complete {
            let gone = symbols.iter().filter(|spec| spec.venue == venue && !listed.contains(&spec.symbol));
            for spec in gone {
                let before = self.seen.get(&spec.symbol).copied();
                if before.is_none_or(|seen| seen.trading != Trading::Unlisted) {
                    news.unlisted.push(spec.name.to_string());
                }
                let is_too_fine = before.is_some_and(|seen| seen.is_too_fine);
                let sizes = before.and_then(|seen| seen.sizes);
                self.seen.insert(spec.symbol, Seen { sizes, trading: Trading::Unlisted, is_too_fine });
            }
        }
        news
    }

    /// One symbol's row.
    fn take(&mut self, symbol: Symbol, row: &InstrumentSpec, is_too_fine: bool, news: &mut News) {
        let trading = if row.is_trading { Trading::Yes } else { Trading::Halted };
        let sizes = [row.tick_size, row.lot_size];
        let now = Seen { sizes: Some(sizes), trading, is_too_fine };
        let before = self.seen.insert(symbol, now);
        let name = || row.name.clone();
        if let Some(before) = before.and_then(|seen| seen.sizes).filter(|before| *before != sizes) {
            let [[tick_before, lot_before], [tick, lot]] =
                [before, sizes].map(|sizes| sizes.map(|size| size.map(|size| size.to_string())));
            news.changed.push((symbol, TickChange { symbol: name(), tick_before, tick, lot_before, lot }));
        }
        if is_too_fine && !before.is_some_and(|seen| seen.is_too_fine) {
            news.too_fine.push(name());
        }
        match (before.map(|seen| seen.trading), trading) {
            (Some(Trading::Yes), Trading::Halted) => news.halted.push(name()),
            (Some(Trading::Halted | Trading::Unlisted), Trading::Yes) => news.trading_again.push(name()),
            _ => {}
        }
    }

    /// Symbols whose tick or lot is finer than they are read.
    pub(super) fn too_fine(&self) -> u64 {
        self.seen.values().filter(|seen| seen.is_too_fine).count() as u64
    }

    /// Symbols that do not trade.
    pub(super) fn not_trading(&self) -> u64 {
        self.seen.values().filter(|seen| seen.trading != Trading::Yes).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Instrument, InstrumentKind};
    use proptest::prelude::*;

    const VENUE: Venue = Venue::BinanceSpot;

    fn size(text: &str) -> Option<Decimal> {
        (!text.is_empty()).then(|| Decimal::parse(text.as_bytes()).unwrap())
    }

    fn row(name: &str, tick: &str, lot: &str) -> InstrumentSpec {
        let scale = |text: &str| size(text).map_or(8, |size| size.scale());
        InstrumentSpec {
            name: name.to_owned(),
            price_scale: scale(tick),
            qty_scale: scale(lot),
            tick_size: size(tick),
            lot_size: size(lot),
            instrument: Instrument { base: "A".into(), quote: "B".into(), kind: InstrumentKind::Spot },
            is_trading: true,
        }
    }

    fn list(specs: &[InstrumentSpec]) -> InstrumentList {
        InstrumentList { specs: specs.to_vec(), is_complete: true }
    }

    /// A table with A at scales 2 and 3, and B at 2 and 3 on the same venue.
    fn table() -> SymbolTable {
        let mut table = SymbolTable::default();
        for name in ["A", "B"] {
            table.add(VENUE, name, 2, 3, None).unwrap();
        }
        table.add(Venue::BybitSpot, "C", 2, 3, None).unwrap();
        table
    }

    fn rows() -> [InstrumentSpec; 2] {
        [row("A", "0.01", "0.001"), row("B", "0.01", "0.001")]
    }

    #[test]
    fn a_tick_or_lot_that_is_another_is_told_once_with_both_values_and_nothing_else_is() {
        let (table, mut ticks) = (table(), Ticks::default());
        assert_eq!(ticks.compare(VENUE, &list(&rows()), &table), News::default(), "the first list is no news");
        let changed = [row("A", "0.1", "0.001"), row("B", "0.01", "0.01")];
        let news = ticks.compare(VENUE, &list(&changed), &table);
        let texts: Vec<String> = news.changed.iter().map(|(_, change)| change.to_string()).collect();
        assert_eq!(texts, ["A tick 0.01 -> 0.1", "B lot 0.001 -> 0.01"]);
        let symbols: Vec<Symbol> = news.changed.iter().map(|(symbol, _)| *symbol).collect();
        assert_eq!(symbols, [table.find(VENUE, "A").unwrap(), table.find(VENUE, "B").unwrap()]);
        assert!(news.too_fine.is_empty() && ticks.too_fine() == 0, "coarser fits");
        assert_eq!(ticks.compare(VENUE, &list(&changed), &table), News::default(), "told once");
    }

    #[test]
    fn the_same_decimals_with_another_step_are_a_change() {
        let (table, mut ticks) = (table(), Ticks::default());
        ticks.compare(VENUE, &list(&rows()), &table);
        let news = ticks.compare(VENUE, &list(&[row("A", "0.05", "0.001"), row("B", "0.01", "0.001")]), &table);
        assert_eq!(news.changed.len(), 1);
        assert!(news.too_fine.is_empty());
    }

    #[test]
    fn what_is_finer_than_the_scales_is_told_when_it_becomes_so_and_counted_while_it_is() {
        let (table, mut ticks) = (table(), Ticks::default());
        ticks.compare(VENUE, &list(&rows()), &table);
        let finer = [row("A", "0.001", "0.001"), row("B", "", "0.001")];
        let news = ticks.compare(VENUE, &list(&finer), &table);
        assert_eq!((news.changed.len(), &*news.too_fine), (2, &["A".to_owned(), "B".to_owned()][..]));
        assert_eq!(news.changed[1].1.to_string(), "B tick 0.01 -> none", "switched off: the precision is what holds");
        assert_eq!((ticks.compare(VENUE, &list(&finer), &table), ticks.too_fine()), (News::default(), 2));
        let news = ticks.compare(VENUE, &list(&rows()), &table);
        assert_eq!((news.changed.len(), news.too_fine.len(), ticks.too_fine()), (2, 0, 0));
        // And again: it is news again.
        assert_eq!(ticks.compare(VENUE, &list(&finer), &table).too_fine.len(), 2);
    }

    #[test]
    fn a_stated_symbol_that_is_finer_at_the_venue_is_told_by_the_first_list() {
        let (table, mut ticks) = (table(), Ticks::default());
        let news = ticks.compare(VENUE, &list(&[row("A", "0.0001", "0.001"), row("B", "0.01", "0.001")]), &table);
        assert_eq!((news.changed.len(), &*news.too_fine), (0, &["A".to_owned()][..]));
    }

    #[test]
    fn who_stops_trading_or_is_gone_is_told_once_and_so_is_who_comes_back() {
        let (table, mut ticks) = (table(), Ticks::default());
        ticks.compare(VENUE, &list(&rows()), &table);
        let mut halted = rows();
        halted[0].is_trading = false;
        let news = ticks.compare(VENUE, &list(&halted), &table);
        assert_eq!(news, News { halted: vec!["A".into()], ..News::default() });
        let news = ticks.compare(VENUE, &list(&rows()[..1]), &table);
        let expected = News { unlisted: vec!["B".into()], trading_again: vec!["A".into()], ..News::default() };
        assert_eq!(news, expected, "C is another venue's");
        assert_eq!(ticks.not_trading(), 1);
        assert_eq!(ticks.compare(VENUE, &list(&rows()[..1]), &table), News::default());
        // Listed again, with another tick than before it went.
        let news = ticks.compare(VENUE, &list(&[rows()[0].clone(), row("B", "0.1", "0.001")]), &table);
        assert_eq!((news.changed.len(), &*news.trading_again), (1, &["B".to_owned()][..]));
    }

    #[test]
    fn a_list_that_was_not_read_to_its_end_takes_nobody_off() {
        let (table, mut ticks) = (table(), Ticks::default());
        ticks.compare(VENUE, &list(&rows()), &table);
        let part = InstrumentList { specs: rows()[..1].to_vec(), is_complete: false };
        assert_eq!(ticks.compare(VENUE, &part, &table), News::default());
    }

    #[test]
    fn a_name_that_comes_twice_is_what_its_first_row_says_and_others_names_are_nobodys() {
        let (table, mut ticks) = (table(), Ticks::default());
        ticks.compare(VENUE, &list(&rows()), &table);
        let [a, b] = rows();
        let twice = [a, row("A", "0.1", "1"), b, row("C", "1", "1"), row("UNKNOWN", "1", "1")];
        assert_eq!(ticks.compare(VENUE, &list(&twice), &table), News::default());
    }

    proptest! {
        /// Each list is compared with the one before, and with nothing else.
        #[test]
        fn by_any_history_a_symbol_is_changed_where_its_row_differs_from_its_last_one(
            lists in proptest::collection::vec((0_usize..4, 0_usize..4, any::<bool>()), 1..20)
        ) {
            const TICKS: [&str; 3] = ["0.01", "0.1", "0.0001"];
            let (table, mut ticks) = (table(), Ticks::default());
            let mut last: [Option<usize>; 2] = [None; 2];
            for (a, b, is_complete) in lists {
                let named = [("A", a), ("B", b)];
                let there: Vec<_> = named.iter().filter(|(_, tick)| *tick < 3).collect();
                let specs = there.iter().map(|(name, tick)| row(name, TICKS[*tick], "0.001")).collect();
                let news = ticks.compare(VENUE, &InstrumentList { specs, is_complete }, &table);
                let differs = |at: usize, tick: usize| tick < 3 && last[at].is_some_and(|last| last != tick);
                let expected: Vec<&str> =
                    named.iter().enumerate().filter(|&(at, &(_, tick))| differs(at, tick)).map(|(_, (name, _))| *name).collect();
                let told: Vec<&str> = news.changed.iter().map(|(_, change)| change.symbol.as_str()).collect();
                prop_assert_eq!(told, expected);
                for (at, &(_, tick)) in named.iter().enumerate().filter(|(_, (_, tick))| *tick < 3) {
                    last[at] = Some(tick);
                }
                let too_fine = last.iter().filter(|last| **last == Some(2)).count() as u64;
                prop_assert_eq!(ticks.too_fine(), too_fine);
            }
        }
    }
}
