//! The names of a connection's streams, interned. Owned by the subscription store.
//!
//! ```text
//! text      btcusdt@tradeethusdt@trade..        one arena
//! spans     [0..13][13..26]..                   by slot: dense, stable, never reused
//! by_name   slots in the order of their names   found by halving
//! ```
//! Only a new name allocates.

use super::SlotId;
use crate::venue::arg_bytes;

/// Where a name lies in the arena, and what it takes in a request.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: usize,
    arg_bytes: usize,
}

/// Every name a connection was ever asked for. Invariant: `by_name` holds each slot once, in the order of the names.
#[derive(Debug)]
pub(super) struct Names {
    text: String,
    spans: Vec<Span>,
    by_name: Vec<SlotId>,
}

impl Names {
    /// These names, in slots by their order. `Err`: a name that comes twice.
    pub(super) fn new(names: Vec<Box<str>>) -> Result<Self, String> {
        let mut this = Self {
            text: String::with_capacity(names.iter().map(|name| name.len()).sum()),
            spans: Vec::with_capacity(names.len()),
            by_name: Vec::with_capacity(names.len()),
        };
        for name in names {
            let slot = this.append(&name);
            this.by_name.push(slot);
        }
        let mut by_name = std::mem::take(&mut this.by_name);
        by_name.sort_by(|&a, &b| this.get(a).cmp(this.get(b)));
        if let Some(twice) = by_name.windows(2).find(|pair| this.get(pair[0]) == this.get(pair[1])) {
            return Err(this.get(twice[0]).to_owned());
        }
        this.by_name = by_name;
        Ok(this)
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn get(&self, slot: SlotId) -> &str {
        let span = self.spans[slot.index()];
        &self.text[span.start..span.start + span.len]
    }

    /// Bytes of the name in a request, with quotes, escapes and comma.
    pub(super) fn arg_bytes(&self, slot: SlotId) -> usize {
        self.spans[slot.index()].arg_bytes
    }

    pub(super) fn find(&self, name: &str) -> Option<SlotId> {
        self.position(name).ok().map(|position| self.by_name[position])
    }

    /// The slot of a name, made if it is new.
    pub(super) fn intern(&mut self, name: &str) -> SlotId {
        match self.position(name) {
            Ok(position) => self.by_name[position],
            Err(position) => {
                let slot = self.append(name);
                self.by_name.insert(position, slot);
                slot
            }
        }
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.by_name.binary_search_by(|&slot| self.get(slot).cmp(name))
    }

    fn append(&mut self, name: &str) -> SlotId {
        let slot = SlotId(u32::try_from(self.spans.len()).expect("fewer streams than a u32 counts fit in memory"));
        self.spans.push(Span { start: self.text.len(), len: name.len(), arg_bytes: arg_bytes(name) });
        self.text.push_str(name);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_has_one_slot_for_ever_and_every_slot_its_name(
            first in proptest::collection::hash_set("[a-f\"é]{0,3}", 0..20),
            later in proptest::collection::vec("[a-f\"é]{0,3}", 0..20),
        ) {
            let mut expected: Vec<Box<str>> = first.into_iter().map(Into::into).collect();
            let mut names = Names::new(expected.clone()).unwrap();
            for name in later {
                let known = expected.iter().position(|known| **known == *name);
                prop_assert_eq!(names.find(&name).map(SlotId::index), known);
                prop_assert_eq!(names.intern(&name).index(), known.unwrap_or(expected.len()));
                if known.is_none() {
                    expected.push(name.into());
                }
            }
            prop_assert_eq!(names.len(), expected.len());
            for (slot, name) in (0..).map(SlotId).zip(&expected) {
                prop_assert_eq!(names.get(slot), &**name);
                prop_assert_eq!(names.arg_bytes(slot), arg_bytes(name));
            }
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_named() {
        assert_eq!(Names::new(vec!["b".into(), "a".into(), "b".into()]).unwrap_err(), "b");
        assert_eq!(Names::new(Vec::new()).unwrap().len(), 0);
    }
}
