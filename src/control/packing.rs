//! Puts units of streams into as few connections as their room allows, evenly by weight. Called by the planner, for the
//! streams of one group: those that may share a connection.
//!
//! ```text
//! units, heaviest first ─► how many connections? (first fit, or what the operator asks) ─► each to the lightest with room
//!  BTC 90 | ETH 80 | SOL 20 | XRP 20 ..                    2                              [BTC .. ] 110  [ETH SOL .. ] 110
//! ```
//! A unit is never torn: it is the streams of one symbol, as many as fit together. Bound: where connection L, as it is in
//! the end, still has room for a unit of H, H is heavier than L by that unit's weight at most, taken for the last unit
//! that H got. Deterministic: ties go to the connection with fewer streams, then to the first.

/// Streams that stay together.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Positions in the planner's table of streams.
    pub(super) streams: Vec<usize>,
    /// Characters of their arguments.
    pub(super) chars: usize,
    /// How heavy they are together.
    pub(super) weight: u64,
}

/// What one connection holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) streams_max: usize,
    pub(super) chars_max: usize,
}

impl Room {
    /// True if so many streams of so many characters fit.
    pub(super) const fn holds(&self, streams: usize, chars: usize) -> bool {
        streams <= self.streams_max && chars <= self.chars_max
    }
}

/// One connection while it is filled.
#[derive(Clone, Debug, Default)]
struct Filling {
    units: Vec<usize>,
    streams: usize,
    chars: usize,
    weight: u64,
}

impl Filling {
    /// An empty connection takes any unit: what is too much even so is the planner's to report.
    fn takes(&self, unit: &Unit, room: &Room) -> bool {
        self.units.is_empty() || room.holds(self.streams + unit.streams.len(), self.chars + unit.chars)
    }

    fn put(&mut self, index: usize, unit: &Unit) {
        self.units.push(index);
        self.streams += unit.streams.len();
        self.chars += unit.chars;
        self.weight += unit.weight;
    }
}

/// The units of each connection, heaviest first, over at least `connections_min` connections where there are so many
/// units.
pub(super) fn pack(mut units: Vec<Unit>, room: &Room, connections_min: usize) -> Vec<Vec<Unit>> {
    // Stable: equal weights stay in the order of their symbols.
    units.sort_by_key(|unit| std::cmp::Reverse(unit.weight));
    let mut count = first_fit(&units, room).max(connections_min.min(units.len()));
    let fillings = loop {
        // A connection for each unit always does.
        match balanced(&units, room, count) {
            Some(fillings) => break fillings,
            None => count += 1,
        }
    };
    let mut units: Vec<Option<Unit>> = units.into_iter().map(Some).collect();
    let taken = |filling: Filling| filling.units.into_iter().filter_map(|index| units[index].take()).collect();
    fillings.into_iter().map(taken).collect()
}

/// How many connections the units need if each goes to the first that has room.
fn first_fit(units: &[Unit], room: &Room) -> usize {
    let mut fillings: Vec<Filling> = Vec::new();
    let mut first_open = 0;
    for (index, unit) in units.iter().enumerate() {
        match fillings[first_open..].iter_mut().find(|filling| filling.takes(unit, room)) {
            Some(filling) => filling.put(index, unit),
            None => {
                let mut filling = Filling::default();
                filling.put(index, unit);
                fillings.push(filling);
            }
        }
        while fillings.get(first_open).is_some_and(|filling| filling.streams >= room.streams_max) {
            first_open += 1;
        }
    }
    fillings.len()
}

/// The units over this many connections, each to the lightest that has room; `None` if one found no room.
fn balanced(units: &[Unit], room: &Room, count: usize) -> Option<Vec<Filling>> {
    let mut fillings = vec![Filling::default(); count];
    for (index, unit) in units.iter().enumerate() {
        let open = fillings.iter_mut().filter(|filling| filling.takes(unit, room));
        open.min_by_key(|filling| (filling.weight, filling.streams))?.put(index, unit);
    }
    Some(fillings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(index: usize, (streams, chars, weight): (usize, usize, u64)) -> Unit {
        Unit { streams: vec![index; streams], chars, weight }
    }

    proptest! {
        #[test]
        fn every_unit_is_on_one_connection_within_its_room_and_the_load_is_even(
            shapes in proptest::collection::vec((1..4_usize, 1..60_usize, 0..50_u64), 1..60),
            streams_max in 3..20_usize,
            chars_max in 60..400_usize,
            connections_min in 0..6_usize,
        ) {
            let room = Room { streams_max, chars_max };
            let units: Vec<Unit> = shapes.iter().copied().enumerate().map(|(index, shape)| unit(index, shape)).collect();
            let packed = pack(units.clone(), &room, connections_min);
            let mut seen: Vec<usize> = packed.iter().flatten().map(|unit| unit.streams[0]).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..units.len()).collect::<Vec<_>>());
            prop_assert!(packed.len() >= connections_min.min(units.len()));
            let sums = |units: &Vec<Unit>| {
                let streams: usize = units.iter().map(|unit| unit.streams.len()).sum();
                let chars: usize = units.iter().map(|unit| unit.chars).sum();
                (streams, chars, units.iter().map(|unit| unit.weight).sum::<u64>())
            };
            for units in &packed {
                let (streams, chars, _) = sums(units);
                prop_assert!(!units.is_empty() && room.holds(streams, chars));
                prop_assert!(units.is_sorted_by_key(|unit| std::cmp::Reverse(unit.weight)));
            }
            for (heavy, light) in packed.iter().flat_map(|heavy| packed.iter().map(move |light| (heavy, light))) {
                let last = heavy.last().unwrap();
                let ((_, _, above), (streams, chars, below)) = (sums(heavy), sums(light));
                if room.holds(streams + last.streams.len(), chars + last.chars) {
                    prop_assert!(above <= below + last.weight, "{} over {} by more than {}", above, below, last.weight);
                }
            }
        }
    }

    #[test]
    fn heavy_units_are_spread_before_light_ones_fill_up() {
        let weights = [1, 90, 1, 80, 1, 20, 20, 1];
        let units = weights.into_iter().enumerate().map(|(index, weight)| unit(index, (1, 1, weight))).collect();
        let packed = pack(units, &Room { streams_max: 4, chars_max: 100 }, 0);
        let loads: Vec<Vec<u64>> = packed.iter().map(|units| units.iter().map(|unit| unit.weight).collect()).collect();
        assert_eq!(loads, [vec![90, 20, 1, 1], vec![80, 20, 1, 1]]);
    }

    #[test]
    fn a_unit_that_is_too_much_for_any_connection_is_alone_on_one() {
        let units = vec![unit(0, (1, 10, 1)), unit(1, (1, 1_000, 1)), unit(2, (1, 10, 1))];
        let packed = pack(units, &Room { streams_max: 9, chars_max: 100 }, 0);
        let mut lens: Vec<usize> = packed.iter().map(Vec::len).collect();
        lens.sort_unstable();
        assert_eq!(lens, [1, 2]);
    }
}
