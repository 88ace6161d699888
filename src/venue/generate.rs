//! Makes valid messages of a shape for the differential tests: the documented order, or any order, with white space,
//! unknown members and escapes. Tests only.
#![expect(clippy::cast_possible_truncation, reason = "choices among a few")]

use super::ledger::Bench;
use super::shape::{Json, Kind, Member, Shape};
use super::{Decoded, Tier};

/// A small generator of numbers (SplitMix64), so that a failing seed is the whole story.
pub(super) struct Generator {
    state: u64,
}

/// How far a message may stray from the documented form.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    /// Members in any order.
    pub(super) is_shuffled: bool,
    /// White space between tokens.
    pub(super) is_spaced: bool,
    /// Members nobody documented.
    pub(super) has_unknown: bool,
    /// Characters of strings written as escapes.
    pub(super) is_escaped: bool,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A time in milliseconds whose nanoseconds fit: mostly of thirteen digits, else of fewer.
    #[expect(clippy::cast_possible_truncation, reason = "below thirteen")]
    pub(super) fn time_ms(&mut self) -> u64 {
        let bound = if self.chance(20) { 10_u64.pow(self.below(13) as u32) } else { 9_000_000_000_000 };
        self.below(bound)
    }

    fn chance(&mut self, in_hundred: u64) -> bool {
        self.below(100) < in_hundred
    }

    /// A style that strays in any of the ways, or in none.
    pub(super) fn style(&mut self) -> Style {
        let mut one_in_three = || self.below(3) == 0;
        Style {
            is_shuffled: one_in_three(),
            is_spaced: one_in_three(),
            has_unknown: one_in_three(),
            is_escaped: one_in_three(),
        }
    }

    fn space(&mut self, style: Style) -> &'static str {
        if style.is_spaced { ["", " ", "\n", "\t ", "\r\n  "][self.below(5) as usize] } else { "" }
    }

    /// A string literal of plain text.
    pub(super) fn string(&mut self, text: &str, style: Style) -> String {
        let mut literal = String::from("\"");
        for character in text.chars() {
            if style.is_escaped && self.chance(10) {
                literal.push_str(&format!("\\u{:04x}", u32::from(character)));
            } else {
                literal.push(character);
            }
        }
        literal + "\""
    }

    /// A decimal on a grid of two decimals, with zeros behind it sometimes.
    pub(super) fn decimal(&mut self) -> String {
        let whole_digits = self.below(9);
        let whole = self.below(10_u64.pow(whole_digits as u32));
        match self.below(4) {
            0 => whole.to_string(),
            1 => format!("{whole}.{}", self.below(10)),
            2 => format!("{whole}.{:02}", self.below(100)),
            _ => format!("{whole}.{:02}000000", self.below(100)),
        }
    }

    /// An object with these members. `value` gives the text of members whose value is not left to chance.
    pub(super) fn object(
        &mut self,
        members: &[Member],
        order: &[usize],
        style: Style,
        mut value: impl FnMut(&mut Self, &str) -> Option<String>,
    ) -> String {
        // The first of an order is always there: it is what tells the order from the others.
        let mut order: Vec<usize> = order
            .iter()
            .enumerate()
            .filter(|&(at, &slot)| at == 0 || members[slot].is_required || self.chance(70))
            .map(|(_, &slot)| slot)
            .collect();
        if style.is_shuffled {
            for at in (1..order.len()).rev() {
                let other = self.below(at as u64 + 1) as usize;
                order.swap(at, other);
            }
        }
        let mut parts = Vec::new();
        for slot in order {
            if style.has_unknown && self.chance(15) {
                parts.push(self.unknown());
            }
            let member = &members[slot];
            let text = match value(self, member.key) {
                Some(text) => text,
                None => self.value(member.kind, style),
            };
            let [a, b] = [self.space(style), self.space(style)];
            parts.push(format!("\"{}\"{a}:{b}{text}", member.key));
        }
        let mut object = String::from("{");
        for (at, part) in parts.iter().enumerate() {
            object.push_str(if at == 0 { "" } else { "," });
            object.push_str(self.space(style));
            object.push_str(part);
            object.push_str(self.space(style));
        }
        object + "}"
    }

    /// An array of these.
    pub(super) fn array(&mut self, elements: &[String], style: Style) -> String {
        let mut array = String::from("[");
        for (at, element) in elements.iter().enumerate() {
            let [before, behind] = [self.space(style), self.space(style)];
            array.push_str(if at == 0 { "" } else { "," });
            array.push_str(&format!("{before}{element}{behind}"));
        }
        array + "]"
    }

    fn unknown(&mut self) -> String {
        let values = [
            "1",
            "-1.5e3",
            "null",
            "true",
            "\"x\\\"}\"",
            "{\"e\":\"trade\",\"p\":[1,{}]}",
            "[[\"1\",\"2\"],[]]",
            "\"plain\"",
        ];
        let value = values[self.below(values.len() as u64) as usize];
        format!("\"new{}\":{value}", self.below(3))
    }

    fn value(&mut self, kind: Kind, style: Style) -> String {
        match kind {
            Kind::Int | Kind::NextInt | Kind::Time | Kind::Ignored(Json::Int) => {
                let digits = self.below(19) as u32;
                self.below(10_u64.pow(digits)).to_string()
            }
            Kind::Bool | Kind::Flag | Kind::Ignored(Json::Bool) => (self.below(2) == 1).to_string(),
            Kind::Text | Kind::Symbol | Kind::Topic | Kind::Id | Kind::Ignored(Json::Text | Json::Price) => {
                let text = format!("t{}", self.below(1_000_000_000));
                self.string(&text, style)
            }
            Kind::Ignored(Json::Usual(usual)) => {
                let text = if self.below(2) == 0 { usual.to_owned() } else { format!("{usual}{}", self.below(10)) };
                self.string(&text, style)
            }
            Kind::Decimal | Kind::Price => {
                let text = self.decimal();
                self.string(&text, style)
            }
            Kind::Word(words) | Kind::Case(words) => {
                let word = words[self.below(words.len() as u64) as usize];
                self.string(word.text, style)
            }
            Kind::Touch => {
                if self.chance(20) {
                    return "[]".into();
                }
                let count = 1 + self.below(4).saturating_sub(1);
                let levels: Vec<_> =
                    (0..count).map(|_| format!("[\"{}\",\"{}\"]", self.decimal(), self.decimal())).collect();
                format!("[{}]", levels.join(","))
            }
            Kind::Levels => "[]".into(),
            Kind::Nested => "{}".into(),
        }
    }
}

/// In every order of a shape, once a connection expects it: no number is left unread, for its string is looked at nowhere else.
/// `around` makes a message of an object.
pub(super) fn every_number_is_read<S: Shape>(bench: fn() -> Bench, around: fn(&str) -> String) {
    let is_one = |bench: &mut Bench, message: &str| bench.decode(message).0 == Ok(Decoded::Data(Tier::One));
    for order in S::ORDERS {
        let numbers = order
            .iter()
            .map(|&slot| S::MEMBERS[slot])
            .filter(|member| matches!(member.kind, Kind::Decimal | Kind::Price));
        for key in numbers.map(|member| member.key) {
            let mut refused_count = 0;
            for (seed, text) in (0..8).flat_map(|seed| ["1\\u002e5", "1\u{1}", "1\u{e9}"].map(|text| (seed, text))) {
                let message = |text: &str| {
                    let object =
                        Generator::new(seed).object(S::MEMBERS, order, Style::default(), |generator, other| {
                            let kind = S::MEMBERS.iter().find(|member| member.key == other)?.kind;
                            Some(match (other, kind) {
                                _ if other == key => format!("\"{text}\""),
                                ("i", Kind::Text) => "\"1m\"".to_owned(),
                                ("interval", _) => "\"1\"".to_owned(),
                                ("nextFundingTime", _) => "\"1673280000000\"".to_owned(),
                                (_, Kind::Symbol) => "\"BTCUSDT\"".to_owned(),
                                (_, Kind::Time) => generator.time_ms().to_string(),
                                _ => return None,
                            })
                        });
                    around(&object)
                };
                let good = message(if key == "nextFundingTime" { "1673280000000" } else { "1.5" });
                let changed = message(text);
                // It may be absent.
                if good != changed {
                    let mut bench = bench();
                    assert!(is_one(&mut bench, &good) && is_one(&mut bench, &good), "{good}");
                    assert!(!is_one(&mut bench, &changed), "{changed}");
                    refused_count += 1;
                }
            }
            assert!(refused_count > 0, "{key} is there in some of them");
        }
    }
}
