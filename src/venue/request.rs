//! Requests as JSON text, written into a buffer that the caller keeps. Used by the protocols (cold half).
//!
//! ```text
//! {"op":"subscribe","args":[  "a","b\"c"  ],"req_id":"7"}
//!                             list()        number()
//! ```
//! Allocates nothing where the buffer is large enough, so that a reconnect costs what it did the first time.

use std::io::Write as _;

/// Appends a list of texts: `["a","b"]`.
pub(super) fn list(texts: &mut dyn Iterator<Item = &str>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, text) in texts.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        quoted(text, out);
    }
    out.push(b']');
}

/// Appends a whole number.
pub(super) fn number(number: u64, out: &mut Vec<u8>) {
    write!(out, "{number}").expect("a Vec takes whatever is written to it");
}

/// Appends a text in quotes, escaped as RFC 8259 section 7 demands: quote, backslash, and the control characters.
fn quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => write!(out, "\\u{byte:04x}").expect("a Vec takes whatever is written to it"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Bytes that one text takes in a list, with its quotes and its comma.
#[must_use]
pub fn arg_bytes(text: &str) -> usize {
    const QUOTES_AND_COMMA: usize = 3;
    let escaped = |byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum::<usize>() + QUOTES_AND_COMMA
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_reads_back_as_what_was_written_and_is_as_long_as_was_said(
            texts in proptest::collection::vec("[\\x00-\\x7f]{0,12}|\\PC{0,12}", 0..6),
        ) {
            let mut out = Vec::new();
            list(&mut texts.iter().map(String::as_str), &mut out);
            let read: Vec<String> = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&read, &texts);
            // The brackets are two bytes, and the last text has no comma.
            let said: usize = texts.iter().map(|text| arg_bytes(text)).sum::<usize>() + 2 - usize::from(!texts.is_empty());
            prop_assert_eq!(out.len(), said);
        }
    }
}
