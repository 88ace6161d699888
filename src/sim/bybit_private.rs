//! Bybit's private socket as the embedded exchange reads it: `/v5/private`, its auth, its ping.
//!
//! ```text
//! {"op":"auth","args":[key, expires_ms, hex HMAC-SHA256(secret, "GET/realtime" + expires_ms)]} ──► may subscribe
//! ```
//! Whatever is wrong with an auth (key, signature, time), the venue says `Params Error` and no more; which it was is
//! counted. Topics are acknowledged and silent: this exchange has no accounts. Does no I/O; the time comes in.
//!
//! Source: bybit-exchange/docs v5/ws/connect, "Authentication"; refusals as reported by clients (pybit 152, 300).

use super::protocol::{Outcome, quoted};
use serde_json::Value;
use std::collections::BTreeSet;

/// Who may authenticate.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// API key.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

impl Default for Credentials {
    /// `sim-key` and `sim-secret`: there is nothing to protect.
    fn default() -> Self {
        Self { key: "sim-key".into(), secret: "sim-secret".into() }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("key", &self.key).field("secret", &"...").finish()
    }
}

/// What became of an auth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AuthEnd {
    Accepted,
    /// Not the documented form, or another key.
    Malformed,
    Expired,
    WrongSignature,
}

/// One private connection's state on the venue's side.
#[derive(Clone, Debug)]
pub(super) struct Session {
    connection_id: String,
    is_authenticated: bool,
    pub(super) topics: BTreeSet<String>,
}

impl Session {
    pub(super) fn open(connection_id: String) -> Self {
        Self { connection_id, is_authenticated: false, topics: BTreeSet::new() }
    }

    /// Answers one text message. With `is_refused` an auth fails, however good it is.
    pub(super) fn handle(&mut self, text: &str, known: &Credentials, now_ms: u64, is_refused: bool) -> Outcome {
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return self.answer(false, "Params Error", None, "");
        };
        let request_id = request.get("req_id").and_then(Value::as_str);
        match request.get("op").and_then(Value::as_str).unwrap_or("") {
            "auth" => {
                let end = if is_refused { AuthEnd::WrongSignature } else { check(&request, known, now_ms) };
                self.is_authenticated |= end == AuthEnd::Accepted;
                let is_accepted = end == AuthEnd::Accepted;
                let answer =
                    self.answer(is_accepted, if is_accepted { "" } else { "Params Error" }, request_id, "auth");
                Outcome { auth: Some(end), ..answer }
            }
            "ping" => {
                let request_id = request_id.map(|id| format!(r#""req_id":{},"#, quoted(id))).unwrap_or_default();
                let id = &self.connection_id;
                Outcome::reply(format!(r#"{{{request_id}"op":"pong","args":["{now_ms}"],"conn_id":"{id}"}}"#))
            }
            op @ ("subscribe" | "unsubscribe") => {
                if !self.is_authenticated {
                    return self.answer(false, "Request not authorized", request_id, op);
                }
                let args = request.get("args").and_then(Value::as_array).filter(|args| !args.is_empty());
                let topics: Option<Vec<&str>> = args.and_then(|args| args.iter().map(Value::as_str).collect());
                let Some(topics) = topics else { return self.answer(false, "Params Error", request_id, op) };
                for topic in topics {
                    if op == "subscribe" {
                        self.topics.insert(topic.to_owned())
                    } else {
                        self.topics.remove(topic)
                    };
                }
                Outcome { is_subscribe: op == "subscribe", ..self.answer(true, "", request_id, op) }
            }
            op => self.answer(false, &format!("error:unknown op,op:{op}"), request_id, op),
        }
    }

    fn answer(&self, success: bool, message: &str, request_id: Option<&str>, op: &str) -> Outcome {
        let request_id = request_id.map(|id| format!(r#""req_id":{},"#, quoted(id))).unwrap_or_default();
        let reply = format!(
            r#"{{{request_id}"success":{success},"ret_msg":{},"op":{},"conn_id":"{}"}}"#,
            quoted(message),
            quoted(op),
            self.connection_id
        );
        if success { Outcome::reply(reply) } else { Outcome::error(reply) }
    }
}

fn check(request: &Value, known: &Credentials, now_ms: u64) -> AuthEnd {
    let args = request.get("args").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let [Value::String(key), expires, Value::String(signature)] = args else { return AuthEnd::Malformed };
    // Clients send the number as one, or as text; what is signed is its digits.
    let expires = match expires {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return AuthEnd::Malformed,
    };
    let (Ok(expires_ms), true, Some(signature)) = (expires.parse::<u64>(), *key == known.key, unhex(signature)) else {
        return AuthEnd::Malformed;
    };
    if expires_ms <= now_ms {
        return AuthEnd::Expired;
    }
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, known.secret.as_bytes());
    let signed = format!("GET/realtime{expires}");
    match aws_lc_rs::hmac::verify(&secret, signed.as_bytes(), &signature) {
        Ok(()) => AuthEnd::Accepted,
        Err(_) => AuthEnd::WrongSignature,
    }
}

/// Lower-case hexadecimal digits, as the venue wants them.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HMAC-SHA256 of `GET/realtime1700000000000` under `sim-secret`, as `openssl dgst -sha256 -hmac` prints it.
    const SIGNATURE: &str = "941bac7d530bf9d62ba4f469f95a1cc8c83012a761df536cb9b7c6911636d837";
    const EXPIRES: u64 = 1_700_000_000_000;

    fn auth(key: &str, expires: &str, signature: &str, now_ms: u64) -> Outcome {
        let request = format!(r#"{{"op":"auth","args":["{key}",{expires},"{signature}"]}}"#);
        Session::open("c-1".into()).handle(&request, &Credentials::default(), now_ms, false)
    }

    #[test]
    fn a_good_signature_is_accepted_in_the_documented_shape() {
        for expires in ["1700000000000", "\"1700000000000\""] {
            let outcome = auth("sim-key", expires, SIGNATURE, EXPIRES - 1);
            assert_eq!(outcome.reply, r#"{"success":true,"ret_msg":"","op":"auth","conn_id":"c-1"}"#);
            assert_eq!(outcome.auth, Some(AuthEnd::Accepted));
        }
    }

    #[test]
    fn whatever_is_wrong_with_an_auth_is_a_params_error_and_counted_for_what_it_is() {
        let wrong = SIGNATURE.replace(['0', '1'], "2");
        for (key, expires, signature, now_ms, end) in [
            ("sim-key", "1700000000000", wrong.as_str(), 0, AuthEnd::WrongSignature),
            ("sim-key", "1700000000001", SIGNATURE, 0, AuthEnd::WrongSignature),
            ("sim-key", "1700000000000", SIGNATURE, EXPIRES, AuthEnd::Expired),
            ("other", "1700000000000", SIGNATURE, 0, AuthEnd::Malformed),
            ("sim-key", "true", SIGNATURE, 0, AuthEnd::Malformed),
            ("sim-key", "1700000000000", "xyz", 0, AuthEnd::Malformed),
            ("sim-key", "1700000000000", &SIGNATURE.to_uppercase(), 0, AuthEnd::Malformed),
        ] {
            let outcome = auth(key, expires, signature, now_ms);
            assert_eq!(outcome.reply, r#"{"success":false,"ret_msg":"Params Error","op":"auth","conn_id":"c-1"}"#);
            assert_eq!(outcome.auth, Some(end), "{key} {expires}");
        }
    }

    #[test]
    fn nothing_is_subscribed_before_an_auth() {
        let (mut session, known) = (Session::open("c-1".into()), Credentials::default());
        let subscribe = r#"{"req_id":"7","op":"subscribe","args":["order"]}"#;
        let refused = session.handle(subscribe, &known, 0, false);
        assert!(refused.is_error && refused.reply.contains("Request not authorized"), "{}", refused.reply);
        assert!(session.topics.is_empty());
        let good = format!(r#"{{"op":"auth","args":["sim-key",{EXPIRES},"{SIGNATURE}"]}}"#);
        assert!(session.handle(&good, &known, 0, true).is_error, "refused on order");
        session.handle(&good, &known, 0, false);
        assert!(!session.handle(subscribe, &known, 0, false).is_error);
        assert!(session.topics.contains("order"));
        let pong = session.handle(r#"{"op":"ping","req_id":"test"}"#, &known, 5, false).reply;
        assert_eq!(pong, r#"{"req_id":"test","op":"pong","args":["5"],"conn_id":"c-1"}"#);
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert!(!format!("{:?}", Credentials::default()).contains("sim-secret"));
    }
}
