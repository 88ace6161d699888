//! Logging in: what to sign, what to send after the upgrade or in its headers, and what the answer says. Used by the
//! request machine, and by whoever connects with signed headers.
//!
//! ```text
//! credentials, moment ─► string to sign ─► HMAC-SHA256 ─► hex | base64 ─► message, or headers of the upgrade
//! answer ─► Accepted | Refused (for good, or worth another try) | NotMine
//! ```
//! A venue's way to log in is data: the parts its string to sign is made of, the parts of its message, the form of its
//! answer ([`logins`](super::logins) has them). Everything is made afresh on every connect: the caller hands in the
//! wall clock and a nonce. Holds no clock, sends nothing, and shows no key, secret or signature in any output.

use super::Secret;
use crate::limits::SAMPLE_BYTES;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt::{self, Write as _};

/// What a venue knows an account by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// The public part. Hidden all the same: it names the account.
    pub key: Secret,
    /// The secret that signs.
    pub secret: Secret,
    /// The passphrase, where the venue has one (OKX, KuCoin).
    pub passphrase: Option<Secret>,
}

impl Credentials {
    /// A key and its secret.
    #[must_use]
    pub fn new(key: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { key: Secret::new(key), secret: Secret::new(secret), passphrase: None }
    }

    /// The same with a passphrase.
    #[must_use]
    pub fn with_passphrase(mut self, passphrase: impl Into<String>) -> Self {
        self.passphrase = Some(Secret::new(passphrase));
        self
    }

    /// The text without what it may not show: venues like to quote a key in the words that refuse it.
    fn scrubbed(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in [Some(&self.key), Some(&self.secret), self.passphrase.as_ref()].into_iter().flatten() {
            if !secret.reveal().is_empty() {
                text = text.replace(secret.reveal(), "***");
            }
        }
        let mut end = text.len().min(SAMPLE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    }
}

/// What is different each time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// A number that was not used before.
    pub nonce: u64,
    /// The id of the login, where it is a request.
    pub id: u64,
}

/// One part of a text that is put together for a login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// These very characters.
    Text(&'static str),
    /// The credentials' key.
    Key,
    /// The credentials' passphrase; nothing where there is none.
    Passphrase,
    /// The passphrase, signed as the string to sign is (KuCoin, key version 2).
    SignedPassphrase,
    /// Now, in milliseconds since the Unix epoch.
    TimestampMs,
    /// Now, in whole seconds since the Unix epoch.
    TimestampS,
    /// Now and this many milliseconds, since the Unix epoch.
    ExpiresMs(u64),
    /// The nonce: 16 hexadecimal digits.
    Nonce,
    /// The login's id.
    Id,
    /// The signature; nothing in a string to sign.
    Signature,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Base64 with padding (RFC 4648 section 4).
    Base64,
}

/// What is signed, by HMAC-SHA256 (RFC 2104) with the secret as it stands, and how the signature is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StringToSign {
    /// Its parts, in order.
    pub parts: &'static [Part],
    /// How the signature is written.
    pub encoding: Encoding,
}

impl StringToSign {
    /// The signature of this moment.
    #[must_use]
    pub fn signature(&self, credentials: &Credentials, moment: Moment) -> Secret {
        let text = written(self.parts, credentials, moment, self.encoding, "", str::to_owned);
        Secret::new(signed(&text, credentials, self.encoding))
    }
}

/// A login by message: sent after each upgrade, before anything else.
#[derive(Clone, Copy, Debug)]
pub struct Login {
    /// The venue, for outputs.
    pub venue: &'static str,
    /// What is signed.
    pub sign: StringToSign,
    /// The message: JSON, each part but `Text` escaped to stand within quotes.
    pub message: &'static [Part],
    /// How the answer reads.
    pub reply: LoginReply,
    /// Codes of a refusal that another try, with a fresh timestamp or later, may not meet.
    pub retryable_codes: &'static [i64],
    /// Words of such a refusal, in lower case, for venues that give no code.
    pub retryable_words: &'static [&'static str],
}

/// How a venue answers a login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoginReply {
    /// By the id: `{"id":7,"result":..}`, or `{"id":7,"error":{"code":..,"message" or "msg":..}}`; a `status` other than
    /// 200 refuses (JSON-RPC 2.0, Binance).
    ById,
    /// `{"op":"auth","success":true}` or `{"op":"auth","retCode":0}`; words in `ret_msg` or `retMsg` (Bybit).
    OpAuth,
    /// `{"event":"login","code":"0"}`, or `{"event":"error","code":"60009","msg":..}` (OKX).
    EventLogin,
}

/// Why a login was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("login refused: {message}{}", .code.map(|code| format!(" (code {code})")).unwrap_or_default())]
pub struct AuthRefusal {
    /// The venue's code, if it gave one.
    pub code: Option<i64>,
    /// The venue's words, without the key it may quote.
    pub message: String,
    /// True where a fresh timestamp or a later try may do; false where key, signature or permission are wrong, and
    /// another try is the same refusal again, until the venue bans the address.
    pub is_retryable: bool,
}

/// What a message says of a login under way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthReply {
    /// We are who we say.
    Accepted,
    /// We are not.
    Refused(AuthRefusal),
    /// The message is about something else.
    NotMine,
}

/// A login with somebody's credentials.
#[derive(Clone, Debug)]
pub struct Authentication {
    login: &'static Login,
    credentials: Credentials,
}

impl Authentication {
    /// This account's login.
    #[must_use]
    pub const fn new(login: &'static Login, credentials: Credentials) -> Self {
        Self { login, credentials }
    }

    /// The message that logs in.
    #[must_use]
    pub fn message(&self, moment: Moment) -> Secret {
        let signature = self.login.sign.signature(&self.credentials, moment);
        let encoding = self.login.sign.encoding;
        Secret::new(written(self.login.message, &self.credentials, moment, encoding, signature.reveal(), escaped))
    }

    /// What a message says of the login with this id. Any bytes may come.
    #[must_use]
    pub fn read(&self, id: u64, bytes: &[u8]) -> AuthReply {
        let Ok(Value::Object(reply)) = serde_json::from_slice(bytes) else { return AuthReply::NotMine };
        let text = |name: &str| reply.get(name).and_then(Value::as_str);
        let code = |name: &str| reply.get(name).and_then(number);
        match self.login.reply {
            LoginReply::ById => {
                if reply.get("id").and_then(number) != i64::try_from(id).ok() || reply.contains_key("method") {
                    return AuthReply::NotMine;
                }
                let error = reply.get("error").filter(|error| !error.is_null());
                let status = code("status").unwrap_or(200);
                if error.is_none() && status == 200 {
                    return AuthReply::Accepted;
                }
                let words = error.and_then(|error| error.get("message").or(error.get("msg"))).and_then(Value::as_str);
                let error_code = error.and_then(|error| error.get("code")).and_then(number);
                self.refused(error_code.or(Some(status)), words)
            }
            LoginReply::OpAuth => {
                let verdict = reply.get("success").and_then(Value::as_bool).or(code("retCode").map(|code| code == 0));
                match (text("op"), verdict) {
                    (Some("auth"), Some(true)) => AuthReply::Accepted,
                    (Some("auth"), Some(false)) => {
                        self.refused(code("retCode").or(code("ret_code")), text("ret_msg").or(text("retMsg")))
                    }
                    _ => AuthReply::NotMine,
                }
            }
            LoginReply::EventLogin => match (text("event"), code("code")) {
                (Some("login"), Some(0) | None) => AuthReply::Accepted,
                // Nothing but the login was sent yet, so an error without a request's name is its answer.
                (Some("login" | "error"), code) => self.refused(code, text("msg")),
                _ => AuthReply::NotMine,
            },
        }
    }

    fn refused(&self, code: Option<i64>, words: Option<&str>) -> AuthReply {
        let message = self.credentials.scrubbed(words.unwrap_or("no reason given"));
        let lower = message.to_lowercase();
        let is_retryable = code.is_some_and(|code| self.login.retryable_codes.contains(&code))
            || self.login.retryable_words.iter().any(|&words| lower.contains(words));
        AuthReply::Refused(AuthRefusal { code, message, is_retryable })
    }
}

/// A login by headers of the upgrade, or of a REST request.
#[derive(Clone, Copy, Debug)]
pub struct HeaderLogin {
    /// The venue, for outputs.
    pub venue: &'static str,
    /// What is signed.
    pub sign: StringToSign,
    /// Name and value of each header.
    pub headers: &'static [(&'static str, &'static [Part])],
}

impl HeaderLogin {
    /// The headers of this moment. A value that no header can carry is refused, by name, when it is sent.
    #[must_use]
    pub fn headers(&self, credentials: &Credentials, moment: Moment) -> Vec<(String, Secret)> {
        let signature = self.sign.signature(credentials, moment);
        let value = |parts| {
            let text = written(parts, credentials, moment, self.sign.encoding, signature.reveal(), str::to_owned);
            Secret::new(text)
        };
        self.headers.iter().map(|&(name, parts)| (name.to_owned(), value(parts))).collect()
    }
}

/// Puts parts together; `quote` makes what is not ours fit for its place.
fn written(
    parts: &[Part],
    credentials: &Credentials,
    moment: Moment,
    encoding: Encoding,
    signature: &str,
    quote: fn(&str) -> String,
) -> String {
    let passphrase = credentials.passphrase.as_ref().map_or("", Secret::reveal);
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(characters) => text.push_str(characters),
            Part::Key => text.push_str(&quote(credentials.key.reveal())),
            Part::Passphrase => text.push_str(&quote(passphrase)),
            Part::SignedPassphrase => text.push_str(&signed(passphrase, credentials, encoding)),
            Part::TimestampMs => append(&mut text, moment.wall_ms),
            Part::TimestampS => append(&mut text, moment.wall_ms / 1_000),
            Part::ExpiresMs(later_ms) => append(&mut text, moment.wall_ms.saturating_add(*later_ms)),
            Part::Nonce => append(&mut text, format_args!("{:016x}", moment.nonce)),
            Part::Id => append(&mut text, moment.id),
            Part::Signature => text.push_str(signature),
        }
    }
    text
}

fn append(text: &mut String, value: impl fmt::Display) {
    // Writing to a String never fails.
    let _ = write!(text, "{value}");
}

/// The signature of `text`.
fn signed(text: &str, credentials: &Credentials, encoding: Encoding) -> String {
    let tag = hmac_sha256(credentials.secret.reveal().as_bytes(), text.as_bytes());
    match encoding {
        Encoding::Hex => tag.iter().fold(String::with_capacity(64), |mut text, byte| {
            append(&mut text, format_args!("{byte:02x}"));
            text
        }),
        Encoding::Base64 => STANDARD.encode(tag),
    }
}

/// HMAC-SHA256 (RFC 2104, RFC 4231).
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// The text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// A code, as a number or as a text that is one.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
