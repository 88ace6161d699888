//! A server's own ping in a text message: known before anything is decoded, on the hot core; answered on the cold side.
//!
//! ```text
//! ping                       ServerPing::Text("ping")     the message, byte for byte
//! {"ping":1492420473027}     ServerPing::Field("ping")    an object whose first member is the field
//!         ^^^^^^^^^^^^^ value, for the reply {"pong":{value}}
//! ```
//! A message of market data is refused at its length, its first byte, or its first key. What is claimed is a whole JSON
//! object, proven byte by byte: a claimed message is not decoded, so nothing that might be data may be claimed. Never
//! allocates, never reads outside the message.

use super::template::ReplyTemplate;
use crate::limits::SERVER_PING_BYTES_MAX;

/// How a server's ping looks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerPing {
    /// Exactly this text: `ping`; `{"type":"ping"}`.
    Text(Box<str>),
    /// A JSON object whose first member has this name, and a number or a string as its value (HTX:
    /// `{"ping":1492420473027}`).
    Field(Box<str>),
}

impl ServerPing {
    /// `None`: no ping. `Some(None)`: the exact text. `Some(Some(value))`: the field's value as it stands in the
    /// message, a string with its quotes; it is part of `message`.
    ///
    /// An object with the field is claimed if it has at most [`SERVER_PING_BYTES_MAX`] bytes, nothing nested inside and
    /// no number with an exponent.
    #[inline]
    #[must_use]
    pub fn recognise<'m>(&self, message: &'m [u8]) -> Option<Option<&'m [u8]>> {
        if message.len() > SERVER_PING_BYTES_MAX {
            return None;
        }
        match self {
            Self::Text(text) => (message == text.as_bytes()).then_some(None),
            Self::Field(name) => Walk::first_value(message, name.as_bytes()).map(Some),
        }
    }
}

/// A server's ping together with what it is answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerPingRule {
    ping: ServerPing,
    reply: ReplyTemplate,
}

/// A ping and a reply that do not go together.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ServerPingError {
    /// The reply repeats a value, and the ping has none.
    #[error("the reply has a {{value}}, but a ping that is one text carries none: name the ping's JSON field instead")]
    NoValue,
    /// A text or a name that no ping can have.
    #[error(
        "a server's ping is 1 to {SERVER_PING_BYTES_MAX} bytes, and the name of its field has no quote, backslash or control character"
    )]
    Impossible,
}

impl ServerPingRule {
    /// Puts a ping and its reply together.
    ///
    /// # Errors
    /// [`ServerPingError`]: the pair could never answer anything.
    pub fn new(ping: ServerPing, reply: ReplyTemplate) -> Result<Self, ServerPingError> {
        let (ServerPing::Text(text) | ServerPing::Field(text)) = &ping;
        let is_field = matches!(ping, ServerPing::Field(_));
        if text.is_empty() || text.len() > SERVER_PING_BYTES_MAX || is_field && text.bytes().any(is_no_plain) {
            return Err(ServerPingError::Impossible);
        }
        if !is_field && reply.needs_value() {
            return Err(ServerPingError::NoValue);
        }
        Ok(Self { ping, reply })
    }

    /// What the hot core looks for.
    #[must_use]
    pub const fn ping(&self) -> &ServerPing {
        &self.ping
    }

    /// Writes the answer to `message` to `out` (cleared first); false, and nothing written, if it is no ping.
    pub fn answer(&self, message: &[u8], out: &mut Vec<u8>) -> bool {
        let value = self.ping.recognise(message);
        if let Some(value) = value {
            self.reply.write(value.unwrap_or_default(), out);
        }
        value.is_some()
    }
}

/// What in a name would make the JSON text of it another one, or none.
fn is_no_plain(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// A walk over a flat JSON object. Every method steps over what it names, or gives `None`.
struct Walk<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Walk<'m> {
    /// The value of the first member, if it is called `name` and all of `message` is an object without nesting.
    fn first_value(message: &'m [u8], name: &[u8]) -> Option<&'m [u8]> {
        let mut walk = Walk { message, at: 0 };
        walk.space();
        walk.byte(b'{')?;
        walk.space();
        walk.byte(b'"')?;
        // Here nearly every message that is no ping is refused.
        walk.literal(name)?;
        walk.byte(b'"')?;
        if name.iter().any(|&byte| is_no_plain(byte)) {
            return None;
        }
        walk.colon()?;
        let from = walk.at;
        walk.string().or_else(|| walk.number())?;
        let value = &message[from..walk.at];
        walk.space();
        while walk.byte(b',').is_some() {
            walk.space();
            walk.string()?;
            walk.colon()?;
            walk.scalar()?;
            walk.space();
        }
        walk.byte(b'}')?;
        walk.space();
        (walk.at == message.len() && std::str::from_utf8(message).is_ok()).then_some(value)
    }

    fn peek(&self) -> Option<u8> {
        self.message.get(self.at).copied()
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.message[self.at..].starts_with(literal).then(|| self.at += literal.len())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn colon(&mut self) -> Option<()> {
        self.space();
        self.byte(b':')?;
        self.space();
        Some(())
    }

    fn scalar(&mut self) -> Option<()> {
        self.string()
            .or_else(|| self.number())
            .or_else(|| self.literal(b"true"))
            .or_else(|| self.literal(b"false"))
            .or_else(|| self.literal(b"null"))
    }

    /// A string with its quotes. Halves of surrogate pairs are refused: whether two fit is not worth knowing here.
    fn string(&mut self) -> Option<()> {
        self.byte(b'"')?;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.message.get(self.at..self.at + 4)?;
                let is_surrogate = matches!(digits, [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..]);
                self.at += 4;
                (digits.iter().all(u8::is_ascii_hexdigit) && !is_surrogate).then_some(())
            }
            _ => None,
        }
    }

    /// A number without exponent. Every one of a ping's length is within what a float holds.
    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let number = self.unsigned();
        if number.is_none() {
            self.at = start;
        }
        number
    }

    fn unsigned(&mut self) -> Option<()> {
        let _ = self.byte(b'-');
        let is_zero = self.peek()? == b'0';
        let digits = self.digits();
        if digits == 0 || is_zero && digits > 1 {
            return None;
        }
        if self.byte(b'.').is_some() && self.digits() == 0 {
            return None;
        }
        (!matches!(self.peek(), Some(b'e' | b'E'))).then_some(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde::de::{IgnoredAny, MapAccess, Visitor};
    use serde_json::Value;

    /// The name and the value of an object's first member, as another reader of JSON has them.
    #[derive(Debug)]
    struct First(Option<(String, Value)>);

    impl<'de> Deserialize<'de> for First {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct FirstVisitor;
            impl<'de> Visitor<'de> for FirstVisitor {
                type Value = First;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<First, A::Error> {
                    let first = map.next_entry::<String, Value>()?;
                    while map.next_entry::<String, Value>()?.is_some() {}
                    Ok(First(first))
                }
            }
            deserializer.deserialize_map(FirstVisitor)
        }
    }

    fn field() -> ServerPing {
        ServerPing::Field("ping".into())
    }

    fn value(message: &str) -> Option<&str> {
        field().recognise(message.as_bytes()).map(|value| std::str::from_utf8(value.unwrap()).unwrap())
    }

    #[test]
    fn a_field_is_found_where_it_comes_first_and_its_value_is_kept_as_it_stands() {
        for (message, expected) in [
            (r#"{"ping":1492420473027}"#, "1492420473027"),
            (" {\t\"ping\"\r:\n -1.50 } ", "-1.50"),
            (r#"{"ping":"a\"b\u00e9\\"}"#, r#""a\"b\u00e9\\""#),
            (r#"{"ping":"é"}"#, "\"é\""),
            (r#"{"ping":0,"ts":"5","x":true,"y":null,"z":false}"#, "0"),
        ] {
            assert_eq!(value(message), Some(expected));
        }
    }

    #[test]
    fn what_is_no_ping_is_not_claimed() {
        for message in [
            "",
            "{",
            "{}",
            "ping",
            r#"{"ping":}"#,
            r#"{"ping":01}"#,
            r#"{"ping":1.}"#,
            r#"{"ping":1e999}"#,
            r#"{"ping":-}"#,
            r#"{"ping":true}"#,
            r#"{"ping":{}}"#,
            r#"{"ping":1,}"#,
            r#"{"ping":1}}"#,
            r#"{"ping":1} x"#,
            r#"{"ping":1,"data":{"p":"1"}}"#,
            r#"{"ts":1,"ping":1}"#,
            r#"{"ping2":1}"#,
            r#"{"pin":1}"#,
            r#"{"ping":"\ud800"}"#,
            "{\"ping\":\"\n\"}",
            r#"["ping",1]"#,
        ] {
            assert_eq!(value(message), None, "{message}");
        }
        assert_eq!(field().recognise(b"{\"ping\":\"\xff\"}"), None, "no UTF-8");
    }

    #[test]
    fn a_message_longer_than_a_ping_is_none_whatever_it_says() {
        let of_length = |length: usize| format!("{{\"ping\":1{}}}", " ".repeat(length - 10));
        assert_eq!(value(&of_length(SERVER_PING_BYTES_MAX)), Some("1"));
        assert_eq!(value(&of_length(SERVER_PING_BYTES_MAX + 1)), None);
    }

    #[test]
    fn a_text_is_known_byte_for_byte() {
        let ping = ServerPing::Text(r#"{"type":"ping"}"#.into());
        assert_eq!(ping.recognise(br#"{"type":"ping"}"#), Some(None));
        assert_eq!(ping.recognise(br#"{"type": "ping"}"#), None);
        assert_eq!(ServerPing::Text("ping".into()).recognise(b"ping"), Some(None));
        assert_eq!(ServerPing::Text("ping".into()).recognise(b"ping\n"), None);
    }

    #[test]
    fn a_rule_answers_its_ping_and_nothing_else() {
        let mut out = Vec::new();
        let htx = ServerPingRule::new(field(), ReplyTemplate::parse(r#"{"pong":{value}}"#).unwrap()).unwrap();
        assert!(htx.answer(br#"{"ping":1492420473027}"#, &mut out));
        assert_eq!(out, br#"{"pong":1492420473027}"#);
        assert!(!htx.answer(br#"{"pong":1}"#, &mut out));
        let text = ServerPing::Text("ping".into());
        let plain = ServerPingRule::new(text.clone(), ReplyTemplate::parse("pong").unwrap()).unwrap();
        assert!(plain.answer(b"ping", &mut out));
        assert_eq!(out, b"pong");
        let with_value = ReplyTemplate::parse("{value}").unwrap();
        assert_eq!(ServerPingRule::new(text, with_value.clone()), Err(ServerPingError::NoValue));
        for name in ["", "a\"b", "a\\b", "\n", &"x".repeat(SERVER_PING_BYTES_MAX + 1)] {
            let ping = ServerPing::Field(name.into());
            assert_eq!(ServerPingRule::new(ping, with_value.clone()), Err(ServerPingError::Impossible), "{name}");
        }
    }

    /// Holds a claim against the other reader.
    fn check_claim(name: &str, message: &[u8]) {
        let Some(claimed) = ServerPing::Field(name.into()).recognise(message) else { return };
        let First(first) = serde_json::from_slice(message).unwrap();
        let (first_name, first_value) = first.expect("an empty object has no first member");
        assert_eq!(first_name, name);
        assert!(first_value.is_number() || first_value.is_string());
        assert_eq!(serde_json::from_slice::<Value>(claimed.unwrap()).unwrap(), first_value);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_claim_is_made_that_another_reader_of_json_does_not_make(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            text in "[ \t]?\\{ ?\"ping\" ?: ?(-?[0-9.eE+-]{0,6}|\"([a-z\\\\/\"]|\\\\u[0-9a-fD]{3,4}){0,6}\"|true|\\{\\}) ?(,\"[a\\\\\"]{0,3}\":[0-9truefalsn\"\\[\\]{}.-]{0,6} ?){0,3}\\}? ?[}x]?",
            at in 0..40_usize,
        ) {
            check_claim("ping", &bytes);
            check_claim("ping", text.as_bytes());
            // Hostile bytes put into, and taken out of, what looks like a ping.
            let mut broken = text.into_bytes();
            let at = at.min(broken.len());
            broken.splice(at..at, bytes.iter().take(2).copied());
            check_claim("ping", &broken);
            broken.truncate(at);
            check_claim("ping", &broken);
        }

        #[test]
        fn no_name_of_a_field_makes_a_false_claim(name in "[a\"\\\\é\n]{0,4}", rest in "\":[01]\\}") {
            check_claim(&name, format!("{{\"{name}{rest}").as_bytes());
        }

        #[test]
        fn every_flat_object_with_the_field_first_is_claimed(value: i64, text in "\\PC{0,12}", second in "\\PC{0,6}", number in -1e6..1e6_f64) {
            // A float may be written with an exponent, which no ping has.
            let number = format!("{number:.3}");
            for first in [value.to_string(), serde_json::to_string(&text).unwrap(), number] {
                let message = format!("{{\"ping\": {first} , {}:{value}}}", serde_json::to_string(&second).unwrap());
                prop_assert_eq!(field().recognise(message.as_bytes()), Some(Some(first.as_bytes())));
            }
        }
    }

    #[test]
    fn the_other_reader_sees_only_whole_objects() {
        assert!(serde_json::from_str::<First>("{\"ping\":1").is_err());
        assert!(serde_json::from_str::<IgnoredAny>("{\"ping\":1}}").is_err());
        assert_eq!(serde_json::from_str::<First>("{}").unwrap().0, None);
    }
}
