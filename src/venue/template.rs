//! Texts with holes: the pings an operator writes into a TOML, and the answers to a server's ping.
//!
//! ```text
//! {"req_id":{id},"op":"ping"}     {"pong":{value}}
//!           ^^^^                           ^^^^^^^   a name in braces is a hole; other braces are JSON's own
//! ```
//! Checked once, when the configuration is read; writing cannot fail. Cold: once per ping.

use std::fmt;
use std::sync::Arc;

/// Bytes of a template at most: no venue's ping is longer than 100.
const TEMPLATE_BYTES_MAX: usize = 512;

/// A text that is no template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TemplateError {
    /// A hole of a name that has no meaning here.
    #[error("`{{{name}}}` is no placeholder: allowed are {allowed}")]
    Unknown {
        /// The name, without its braces.
        name: String,
        /// What is allowed, for people.
        allowed: &'static str,
    },
    /// Nothing to send.
    #[error("an empty text cannot be sent")]
    Empty,
    /// Too long.
    #[error("{bytes} bytes, at most {TEMPLATE_BYTES_MAX}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

/// A hole of a ping.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PingHole {
    Id,
    Milliseconds,
    Seconds,
}

/// What we send to keep a connection alive, in the venue's form: `{"id":"{id}","type":"ping"}`.
#[derive(Clone, Eq, PartialEq)]
pub struct PingTemplate(Arc<[Part<PingHole>]>);

impl PingTemplate {
    /// Reads a template. Its placeholders are `{id}` (a number, new for each ping), `{timestamp}` (milliseconds since
    /// the Unix epoch) and `{timestamp_s}` (seconds).
    ///
    /// # Errors
    /// [`TemplateError`]: an unknown placeholder, no text, or too much of it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        const ALLOWED: &str = "{id}, {timestamp} (milliseconds) and {timestamp_s} (seconds)";
        parts(text, ALLOWED, |name| match name {
            "id" => Some(PingHole::Id),
            "timestamp" => Some(PingHole::Milliseconds),
            "timestamp_s" => Some(PingHole::Seconds),
            _ => None,
        })
        .map(Self)
    }

    /// Writes the ping of this id to `out` (cleared first). `wall_ms`: milliseconds since the Unix epoch.
    pub fn write(&self, id: u64, wall_ms: u64, out: &mut Vec<u8>) {
        write(&self.0, out, |hole, out| {
            let number = match hole {
                PingHole::Id => id,
                PingHole::Milliseconds => wall_ms,
                PingHole::Seconds => wall_ms / 1_000,
            };
            out.extend_from_slice(number.to_string().as_bytes());
        });
    }
}

impl fmt::Debug for PingTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        write(&self.0, &mut text, |hole, out| {
            out.extend_from_slice(match hole {
                PingHole::Id => b"{id}",
                PingHole::Milliseconds => b"{timestamp}",
                PingHole::Seconds => b"{timestamp_s}",
            });
        });
        write!(f, "PingTemplate({})", String::from_utf8_lossy(&text))
    }
}

/// The only hole of a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Value;

/// What we answer to a server's ping: `{"pong":{value}}`, or a plain text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplyTemplate(Arc<[Part<Value>]>);

impl ReplyTemplate {
    /// Reads a template. Its placeholder is `{value}`: what the server's ping carried, as it stood there, a string with
    /// its quotes.
    ///
    /// # Errors
    /// [`TemplateError`]: an unknown placeholder, no text, or too much of it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parts(text, "{value}", |name| (name == "value").then_some(Value)).map(Self)
    }

    /// True if a ping without a value cannot be answered with it.
    #[must_use]
    pub fn needs_value(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Hole(Value)))
    }

    /// Writes the answer to `out` (cleared first).
    pub fn write(&self, value: &[u8], out: &mut Vec<u8>) {
        write(&self.0, out, |_, out| out.extend_from_slice(value));
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part<H> {
    Text(Box<str>),
    Hole(H),
}

fn parts<H>(
    text: &str,
    allowed: &'static str,
    hole_of: impl Fn(&str) -> Option<H>,
) -> Result<Arc<[Part<H>]>, TemplateError> {
    match text.len() {
        0 => return Err(TemplateError::Empty),
        bytes if bytes > TEMPLATE_BYTES_MAX => return Err(TemplateError::TooLong { bytes }),
        _ => {}
    }
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(brace) = rest.find('{') {
        let (before, from) = rest.split_at(brace);
        literal.push_str(before);
        let Some(name) = name_in_braces(from) else {
            literal.push('{');
            rest = &from[1..];
            continue;
        };
        let hole = hole_of(name).ok_or_else(|| TemplateError::Unknown { name: name.to_owned(), allowed })?;
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal).into()));
        }
        parts.push(Part::Hole(hole));
        rest = &from[name.len() + 2..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal.into()));
    }
    Ok(parts.into())
}

/// The name at the start of `{name}...`. No JSON has a bare name in braces, so nothing else is meant by one.
fn name_in_braces(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('{')?.split_once('}')?;
    let is_name =
        !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    is_name.then_some(name)
}

fn write<H>(parts: &[Part<H>], out: &mut Vec<u8>, mut write_hole: impl FnMut(&H, &mut Vec<u8>)) {
    out.clear();
    for part in parts {
        match part {
            Part::Text(text) => out.extend_from_slice(text.as_bytes()),
            Part::Hole(hole) => write_hole(hole, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ping(template: &str) -> String {
        let mut out = b"what was there before".to_vec();
        PingTemplate::parse(template).unwrap().write(7, 1_492_420_473_027, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_ping_of_each_venue_is_written_as_its_documents_have_it() {
        for (template, written) in [
            ("ping", "ping"),
            (r#"{"req_id":"{id}","op":"ping"}"#, r#"{"req_id":"7","op":"ping"}"#),
            (r#"{"id":"{id}","type":"ping"}"#, r#"{"id":"7","type":"ping"}"#),
            (r#"{"method":"ping","req_id":{id}}"#, r#"{"method":"ping","req_id":7}"#),
            (r#"{"time":{timestamp_s},"channel":"futures.ping"}"#, r#"{"time":1492420473,"channel":"futures.ping"}"#),
            ("{timestamp}", "1492420473027"),
            (r#"{"a":{},"b":[{"c":{id}}]}"#, r#"{"a":{},"b":[{"c":7}]}"#),
        ] {
            assert_eq!(ping(template), written);
        }
    }

    #[test]
    fn an_answer_carries_the_value_as_it_stood() {
        let reply = ReplyTemplate::parse(r#"{"pong":{value}}"#).unwrap();
        for (value, written) in [("1492420473027", r#"{"pong":1492420473027}"#), ("\"a\"", r#"{"pong":"a"}"#)] {
            let mut out = Vec::new();
            reply.write(value.as_bytes(), &mut out);
            assert_eq!(out, written.as_bytes());
        }
        assert!(reply.needs_value());
        assert!(!ReplyTemplate::parse("pong").unwrap().needs_value());
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_is_allowed() {
        let message = |text: &str| PingTemplate::parse(text).unwrap_err().to_string();
        assert_eq!(
            message(r#"{"id":{ids}}"#),
            "`{ids}` is no placeholder: allowed are {id}, {timestamp} (milliseconds) and {timestamp_s} (seconds)"
        );
        assert_eq!(message(""), "an empty text cannot be sent");
        assert_eq!(message(&"x".repeat(513)), "513 bytes, at most 512");
        let reply = ReplyTemplate::parse(r#"{"pong":{id}}"#).unwrap_err();
        assert_eq!(reply.to_string(), "`{id}` is no placeholder: allowed are {value}");
    }

    proptest! {
        #[test]
        fn a_text_is_written_as_it_is_or_refused_for_a_name_in_braces(text in "[{}a-zé_\":,0-9 ]{1,60}") {
            match PingTemplate::parse(&text) {
                Ok(template) => {
                    let mut out = Vec::new();
                    template.write(42, 1_000, &mut out);
                    let expected = text.replace("{id}", "42").replace("{timestamp}", "1000").replace("{timestamp_s}", "1");
                    prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
                }
                Err(TemplateError::Unknown { name, .. }) => {
                    let in_braces = format!("{{{name}}}");
                    prop_assert!(text.contains(&in_braces));
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }

        #[test]
        fn holes_anywhere_are_filled(before in "[a-z\":,]{0,9}", between in "[a-z\":,]{0,9}", after in "[a-z\":,}]{0,9}", id: u64, wall_ms: u64) {
            let mut out = Vec::new();
            PingTemplate::parse(&format!("{before}{{id}}{between}{{timestamp}}{after}")).unwrap().write(id, wall_ms, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{before}{id}{between}{wall_ms}{after}"));
        }
    }
}
