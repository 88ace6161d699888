//! Tier two, second half: any JSON, with anything unknown in it.
//!
//! ```text
//! message ──copy──► pristine        as it came: for exact number texts, and for whoever keeps a sample of an error
//!    │
//!    └─simd-json (rewrites it)──► tape: one node per value and key, in document order
//!                                   0        1     2        3     4    ...
//!                                   object   "e"   "trade"  "E"   1723161255343
//! ```
//! Buffers and tape are reused and warmed up in `new`, so that no message within [`WARM_BYTES`] allocates. A longer one
//! grows them once, and they stay grown; `limits.max_message_bytes` bounds that.
//!
//! A member that comes twice counts as it came last. A string's escapes are resolved. A number that is not an integer
//! is never read as the float simd-json makes of it: its text is looked up in the pristine copy.

use super::number::Number;
use super::shape::{Kind, Learned, MEMBER_COUNT_MAX, Member, Slots};
use super::{DecodeError, Reason};
use simd_json::{Buffers, Node, StaticNode, Tape};
use std::cell::Cell;
use std::fmt;
use std::mem;

/// Message bytes for which all buffers are there from the start: the longest message seen on the wire has 19 KiB.
const WARM_BYTES: usize = 256 * 1024;

/// Deepest nesting accepted. No venue nests deeper than six.
const DEPTH_MAX: usize = 64;

/// The parser's buffers, for one core.
pub(super) struct JsonScratch {
    pristine: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl fmt::Debug for JsonScratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonScratch").field("pristine_bytes", &self.pristine.len()).finish_non_exhaustive()
    }
}

impl JsonScratch {
    /// Allocates, and parses one long and deep document so that the parser has allocated too.
    pub(super) fn new() -> Self {
        let mut scratch = Self {
            pristine: Vec::with_capacity(WARM_BYTES),
            buffers: Buffers::with_max_depth(WARM_BYTES, DEPTH_MAX),
            tape: Tape(Vec::new()),
        };
        let depth = DEPTH_MAX / 2;
        let numbers = (WARM_BYTES - 2 * depth) / 2 - 1;
        let document = format!("{}{}0{}", "[".repeat(depth), "0,".repeat(numbers), "]".repeat(depth));
        let warmed = scratch.read(&mut document.into_bytes(), |_| Ok(()));
        assert_eq!(warmed, Ok(()), "the parser reads its own warm-up");
        scratch.pristine.clear();
        scratch
    }

    /// Forgets the last message.
    #[inline]
    pub(super) fn forget(&mut self) {
        self.pristine.clear();
    }

    /// Keeps a message that nobody parses, as it came.
    pub(super) fn keep(&mut self, message: &[u8]) {
        self.pristine.clear();
        self.pristine.extend_from_slice(message);
    }

    /// The last message that came here, as it came.
    pub(super) fn pristine(&self) -> &[u8] {
        &self.pristine
    }

    /// Parses a message (rewriting it) and walks its tape.
    ///
    /// # Errors
    /// [`Reason::NotJson`], or the walk's own.
    pub(super) fn read<R>(
        &mut self,
        message: &mut [u8],
        walk: impl FnOnce(&Document<'_>) -> Result<R, DecodeError>,
    ) -> Result<R, DecodeError> {
        self.keep(message);
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let result = match simd_json::fill_tape(message, &mut self.buffers, &mut tape) {
            Ok(()) => walk(&Document { nodes: &tape.0, pristine: &self.pristine, walked: Cell::new((0, 0)) }),
            Err(_) => Err(DecodeError::new(Reason::NotJson, "")),
        };
        self.tape = tape.reset();
        result
    }
}

/// One parsed message. Nodes are named by their position on the tape.
pub(super) struct Document<'d> {
    nodes: &'d [Node<'d>],
    pristine: &'d [u8],
    /// How far the pristine copy was walked for number texts: (nodes passed, bytes passed). Numbers are asked for in
    /// document order, so the whole message is walked once however many are asked for.
    walked: Cell<(usize, usize)>,
}

impl<'d> Document<'d> {
    /// The node, or `null` where there is none.
    fn node(&self, at: usize) -> Node<'d> {
        self.nodes.get(at).copied().unwrap_or(Node::Static(StaticNode::Null))
    }

    /// The node behind this one and all it holds.
    fn next(&self, at: usize) -> usize {
        match self.node(at) {
            Node::Object { count, .. } | Node::Array { count, .. } => at + 1 + count,
            _ => at + 1,
        }
    }

    /// True if the node is an object.
    pub(super) fn is_object(&self, at: usize) -> bool {
        matches!(self.node(at), Node::Object { .. })
    }

    /// The members of an object, as (key, node); none for anything else.
    pub(super) fn members(&self, object: usize) -> impl Iterator<Item = (&'d str, usize)> {
        let length = if let Node::Object { len, .. } = self.node(object) { len } else { 0 };
        let mut at = object + 1;
        (0..length).map(move |_| {
            let key = if let Node::String(key) = self.node(at) { key } else { "" };
            let value = at + 1;
            at = self.next(value);
            (key, value)
        })
    }

    /// The elements of an array; `None` for anything else.
    pub(super) fn elements(&self, array: usize) -> Option<impl Iterator<Item = usize>> {
        let Node::Array { len, .. } = self.node(array) else { return None };
        let mut at = array + 1;
        Some((0..len).map(move |_| {
            let element = at;
            at = self.next(element);
            element
        }))
    }

    /// A string's text, escapes resolved.
    pub(super) fn string(&self, at: usize) -> Option<&'d str> {
        if let Node::String(text) = self.node(at) { Some(text) } else { None }
    }

    /// A decimal's text: a string's, or a number's exactly as it was written.
    pub(super) fn decimal(&self, at: usize) -> Option<&'d [u8]> {
        match self.node(at) {
            Node::String(text) => Some(text.as_bytes()),
            Node::Static(StaticNode::I64(_) | StaticNode::U64(_) | StaticNode::F64(_)) => Some(self.number_text(at)),
            _ => None,
        }
    }

    /// Walks the pristine copy, known to be JSON, to the token that became this node. Every string, scalar and opening
    /// bracket is a node; nothing else is.
    fn number_text(&self, wanted: usize) -> &'d [u8] {
        let (mut node, mut at) = self.walked.get();
        if node > wanted {
            (node, at) = (0, 0);
        }
        while let Some(&byte) = self.pristine.get(at) {
            if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b']' | b'}') {
                at += 1;
                continue;
            }
            if node == wanted {
                break;
            }
            at = self.token_end(at);
            node += 1;
        }
        self.walked.set((node, at));
        self.pristine.get(at..self.token_end(at)).unwrap_or_default()
    }

    /// Where the token that starts here ends.
    fn token_end(&self, start: usize) -> usize {
        let rest = self.pristine.get(start..).unwrap_or_default();
        let length = match rest.first() {
            Some(b'{' | b'[') => 1,
            Some(b'"') => {
                let mut at = 1;
                while let Some(&byte) = rest.get(at).filter(|&&byte| byte != b'"') {
                    at += if byte == b'\\' { 2 } else { 1 };
                }
                at + 1
            }
            _ => rest
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\n' | b'\r'))
                .unwrap_or(rest.len()),
        };
        (start + length).min(self.pristine.len())
    }

    /// Fills slots from an object's members, in document order, and notes that order in `learned`.
    ///
    /// # Errors
    /// [`Reason::WrongType`] for an object that is none or a member of another type, [`Reason::BadNumber`] for an integer
    /// that is negative or too large, [`Reason::MissingField`].
    pub(super) fn fill(
        &self,
        object: usize,
        members: &'static [Member],
        slots: &mut Slots<'d>,
        mut learned: Option<&mut Learned>,
    ) -> Result<(), DecodeError> {
        debug_assert!(members.len() <= MEMBER_COUNT_MAX);
        if !self.is_object(object) {
            return Err(DecodeError::new(Reason::WrongType, ""));
        }
        if let Some(learned) = learned.as_deref_mut() {
            learned.restart();
        }
        // Members mostly come in documented order: the next one is looked for where the last was found.
        let mut expected = 0;
        for (key, value) in self.members(object) {
            let slot =
                (expected..members.len()).chain(0..expected.min(members.len())).find(|&slot| members[slot].key == key);
            let Some(slot) = slot else {
                slots.has_other |= !matches!(self.node(value), Node::Static(StaticNode::Null));
                if let Some(learned) = learned.as_deref_mut() {
                    let is_scalar = !matches!(self.node(value), Node::Object { .. } | Node::Array { .. });
                    learned.push_unknown(key.as_bytes(), is_scalar);
                }
                continue;
            };
            expected = slot + 1;
            if let Some(learned) = learned.as_deref_mut() {
                learned.push_known(slot);
            }
            self.fill_member(&members[slot], slot, value, slots)?;
        }
        match members.iter().enumerate().find(|(slot, member)| member.is_required && !slots.has(*slot)) {
            Some((_, member)) => Err(DecodeError::new(Reason::MissingField, member.key)),
            None => Ok(()),
        }
    }

    /// The members of an object, and the order they came in.
    ///
    /// # Errors
    /// Those of [`Self::fill`].
    pub(super) fn filled(
        &self,
        object: usize,
        members: &'static [Member],
    ) -> Result<(Slots<'d>, Learned), DecodeError> {
        let mut slots = Slots::new();
        let mut learned = Learned::new();
        self.fill(object, members, &mut slots, Some(&mut learned))?;
        Ok((slots, learned))
    }

    fn fill_member(
        &self,
        member: &Member,
        slot: usize,
        value: usize,
        slots: &mut Slots<'d>,
    ) -> Result<(), DecodeError> {
        let wrong_type = DecodeError::new(Reason::WrongType, member.key);
        let node = self.node(value);
        if matches!(node, Node::Static(StaticNode::Null)) && !member.is_required {
            slots.clear(slot);
            return Ok(());
        }
        match member.kind {
            Kind::Int | Kind::NextInt | Kind::Time => match node {
                Node::Static(StaticNode::U64(int)) => slots.set_int(slot, int),
                Node::Static(StaticNode::I64(int)) => {
                    let int = u64::try_from(int).map_err(|_| DecodeError::new(Reason::BadNumber, member.key))?;
                    slots.set_int(slot, int);
                }
                Node::Static(StaticNode::F64(_)) => return Err(DecodeError::new(Reason::BadNumber, member.key)),
                _ => return Err(wrong_type),
            },
            Kind::Text | Kind::Symbol | Kind::Topic | Kind::Id => {
                slots.set_text(slot, self.string(value).ok_or(wrong_type)?.as_bytes())
            }
            Kind::Decimal | Kind::Price => slots.set_text(slot, self.decimal(value).ok_or(wrong_type)?),
            Kind::Bool | Kind::Flag => match node {
                Node::Static(StaticNode::Bool(is_true)) => slots.set_int(slot, u64::from(is_true)),
                _ => return Err(wrong_type),
            },
            Kind::Word(words) | Kind::Case(words) => {
                let text = self.string(value).ok_or(wrong_type)?;
                let position = words.iter().position(|word| word.text == text).ok_or(wrong_type)?;
                slots.set_int(slot, position as u64);
            }
            Kind::Touch => match self.elements(value).ok_or(wrong_type)?.next() {
                None => {
                    slots.clear(slot);
                    slots.set_int(slot, 0);
                }
                Some(level) => {
                    let (price, qty) = self.level(level).ok_or(wrong_type)?;
                    slots.set_touch(slot, Number::unread(price), Number::unread(qty));
                }
            },
            Kind::Levels => {
                if !matches!(node, Node::Array { .. }) {
                    return Err(wrong_type);
                }
                slots.set_int(slot, value as u64);
            }
            Kind::Nested => match node {
                Node::Object { .. } | Node::Array { .. } => slots.set_int(slot, value as u64),
                _ => return Err(wrong_type),
            },
            Kind::Ignored(_) => {
                slots.has_other = true;
                slots.set_ignored(slot);
            }
        }
        Ok(())
    }

    /// Price and quantity text of one level: the first two of its elements.
    pub(super) fn level(&self, at: usize) -> Option<(&'d [u8], &'d [u8])> {
        if let [Node::Array { len: 2.., .. }, Node::String(price), Node::String(qty), ..] = self.nodes.get(at..)? {
            return Some((price.as_bytes(), qty.as_bytes()));
        }
        let mut parts = self.elements(at)?;
        let price = self.decimal(parts.next()?)?;
        let qty = self.decimal(parts.next()?)?;
        Some((price, qty))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<R>(message: &[u8], walk: impl FnOnce(&Document<'_>) -> Result<R, DecodeError>) -> Result<R, DecodeError> {
        JsonScratch::new().read(&mut message.to_vec(), walk)
    }

    #[test]
    fn a_number_has_the_text_it_was_written_with() {
        let message =
            br#" {"s":"a\"}]{[,1.0","n":[ 1.10 , -0 ,1e2,12345678901234567890123.40, {"k\\":-3.50}] ,"last":7} "#;
        let texts = read(message, |document| {
            let mut texts = Vec::new();
            for at in 0..document.nodes.len() {
                if let Node::Static(_) = document.node(at) {
                    texts.push(String::from_utf8(document.decimal(at).unwrap().to_vec()).unwrap());
                }
            }
            let backwards = document.decimal(document.members(0).last().unwrap().1).unwrap().to_vec();
            let first = document.elements(document.members(0).nth(1).unwrap().1).unwrap().next().unwrap();
            assert_eq!(document.decimal(first).unwrap(), b"1.10", "after a later one");
            assert_eq!(backwards, b"7");
            Ok(texts)
        });
        assert_eq!(texts.unwrap(), ["1.10", "-0", "1e2", "12345678901234567890123.40", "-3.50", "7"]);
    }

    #[test]
    fn what_is_not_json_is_said_to_be_so() {
        for message in [
            &b""[..],
            b" ",
            b"{",
            b"{]",
            b"{\"a\":1",
            b"{\"a\":1}x",
            b"nul",
            b"\xff\xfe",
            b"{\"\xc3\x28\":1}",
            b"{\"a\":\"\n\"}",
        ] {
            assert_eq!(read(message, |_| Ok(())), Err(DecodeError::new(Reason::NotJson, "")), "{message:?}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(read(deep.as_bytes(), |_| Ok(())).unwrap_err().reason, Reason::NotJson);
    }

    #[test]
    fn the_pristine_copy_survives_what_the_parser_does_to_the_message() {
        let mut scratch = JsonScratch::new();
        let message = br#"{"a":"\u0041\n","b":[]}"#;
        let mut rewritten = message.to_vec();
        scratch.read(&mut rewritten, |_| Ok(())).unwrap();
        assert_eq!(scratch.pristine(), message);
        scratch.read(&mut b"{".to_vec(), |_| Ok(())).unwrap_err();
        assert_eq!(scratch.pristine(), b"{");
    }

    #[test]
    fn a_message_longer_than_the_warm_buffers_is_read_too() {
        let message = format!("[{}\"end\"]", "\"abc\",".repeat(WARM_BYTES));
        let count = read(message.as_bytes(), |document| Ok(document.elements(0).unwrap().count()));
        assert_eq!(count, Ok(WARM_BYTES + 1));
    }
}
