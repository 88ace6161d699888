//! A venue's own ping, sent as a message: recognised before it is decoded.

/// How a venue's ping message looks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerPing {
    /// These bytes and no others.
    Text(Box<[u8]>),
}

impl ServerPing {
    /// True if the message is the venue's ping.
    #[inline]
    #[must_use]
    pub fn recognise(&self, message: &[u8]) -> bool {
        match self {
            Self::Text(text) => message == &**text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_text_is_the_ping() {
        let ping = ServerPing::Text(b"ping"[..].into());
        assert!(ping.recognise(b"ping"));
        for other in [&b""[..], b"pin", b"ping ", b"Ping", b"pong"] {
            assert!(!ping.recognise(other));
        }
    }
}
