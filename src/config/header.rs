//! Headers of the upgrade request, whose values are never printed.

use crate::control::Secret;

/// One header of the upgrade request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value. Always hidden: a plain one costs nothing to hide.
    pub value: Secret,
    /// The environment variable the value came from; empty for a plain one.
    pub variable: String,
}

/// True for a header that carries a credential by its name; its value must not stand in a file.
pub(super) fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["key", "secret", "token", "auth", "passphrase", "password", "sign", "cookie"]
        .iter()
        .any(|word| name.contains(word))
}

/// Why a header of this name cannot be sent, if it cannot.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(is_token) {
        return Some("a header name: letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 section 5.6.2)");
    }
    if ["host", "upgrade", "connection"].contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
        return Some("any header but those of the upgrade itself (Host, Upgrade, Connection, Sec-WebSocket-*)");
    }
    None
}

/// True for a value a header can carry: no line break, no other control character (RFC 9110 section 5.5).
pub(super) fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headers_value_shows_in_no_debug_output() {
        let header = Header { name: "X-MBX-APIKEY".into(), value: Secret::new("hunter2"), variable: "KEY".into() };
        for text in [format!("{header:?}"), format!("{header:#?}")] {
            assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
        }
    }

    #[test]
    fn names_and_values_that_would_break_the_request_are_refused() {
        assert_eq!(name_fault("X-MBX-APIKEY"), None);
        for name in ["", "a b", "a:b", "Host", "sec-websocket-key"] {
            assert!(name_fault(name).is_some(), "{name}");
        }
        assert!(is_header_value("desk 7"));
        assert!(!is_header_value("a\r\nHost: b"));
        assert!(is_credential("X-MBX-APIKEY") && is_credential("Authorization") && !is_credential("User-Agent"));
    }
}
