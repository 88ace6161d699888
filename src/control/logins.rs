//! How each venue logs in, as data: what is signed, what is sent, how the answer reads.
//!
//! ```text
//! BYBIT           "GET/realtime" expires                    hex      {"op":"auth","args":[key, expires, signature]}
//! OKX             timestamp_s "GET/users/self/verify"       base64   {"op":"login","args":[{..}]}
//! OKX_HEADERS     the same                                  base64   OK-ACCESS-KEY, -SIGN, -TIMESTAMP, -PASSPHRASE
//! DERIBIT         timestamp_ms \n nonce \n                  hex      JSON-RPC public/auth, client_signature
//! BINANCE_USER    apiKey=..&timestamp=..                    hex      userDataStream.subscribe.signature
//! KUCOIN_HEADERS  timestamp_ms "POST/api/v1/bullet-private" base64   KC-API-* of a REST request
//! ```
//! What counts as worth another try: a timestamp too old (it is made afresh), too many requests, a venue that is down.
//! Everything else is refused for good.

use super::auth::{Encoding, HeaderLogin, Login, LoginReply, Part, StringToSign};
use Part::{ExpiresMs, Id, Key, Nonce, Passphrase, Signature, SignedPassphrase, Text, TimestampMs, TimestampS};

/// How long a Bybit login is good for: time enough for a slow line, too short to be of use to who reads it later.
const BYBIT_LOGIN_MS: u64 = 10_000;

/// Bybit's private streams and its order entry, v5.
///
/// Source: Bybit v5 "WebSocket: Connect", section "Authentication"; "Error Codes" for 10002 (outside the time window),
/// 10006 (too many visits), 10016 (service error).
pub static BYBIT: Login = Login {
    venue: "bybit",
    sign: StringToSign { parts: &[Text("GET/realtime"), ExpiresMs(BYBIT_LOGIN_MS)], encoding: Encoding::Hex },
    message: &[
        Text(r#"{"op":"auth","args":[""#),
        Key,
        Text(r#"","#),
        ExpiresMs(BYBIT_LOGIN_MS),
        Text(r#",""#),
        Signature,
        Text(r#""]}"#),
    ],
    reply: LoginReply::OpAuth,
    retryable_codes: &[10_002, 10_006, 10_016],
    retryable_words: &["expire", "too many", "try again"],
};

/// OKX: private channels and the deep books.
///
/// Source: OKX v5 "WebSocket: Login"; its error table for 60006 (timestamp expired), 60014 (too many requests), 63999
/// (internal error), 64008 (the service goes down for an upgrade).
pub static OKX: Login = Login {
    venue: "okx",
    sign: StringToSign { parts: OKX_TO_SIGN, encoding: Encoding::Base64 },
    message: &[
        Text(r#"{"op":"login","args":[{"apiKey":""#),
        Key,
        Text(r#"","passphrase":""#),
        Passphrase,
        Text(r#"","timestamp":""#),
        TimestampS,
        Text(r#"","sign":""#),
        Signature,
        Text(r#""}]}"#),
    ],
    reply: LoginReply::EventLogin,
    retryable_codes: &[60_006, 60_014, 63_999, 64_008],
    retryable_words: &[],
};

const OKX_TO_SIGN: &[Part] = &[TimestampS, Text("GET/users/self/verify")];

/// OKX's binary (SBE) market data, which logs in by the headers of its upgrade. That the string to sign and the form of
/// the timestamp are those of [`OKX`] is unconfirmed.
pub static OKX_HEADERS: HeaderLogin = HeaderLogin {
    venue: "okx",
    sign: StringToSign { parts: OKX_TO_SIGN, encoding: Encoding::Base64 },
    headers: &[
        ("OK-ACCESS-KEY", &[Key]),
        ("OK-ACCESS-SIGN", &[Signature]),
        ("OK-ACCESS-TIMESTAMP", &[TimestampS]),
        ("OK-ACCESS-PASSPHRASE", &[Passphrase]),
    ],
};

/// Deribit: raw and private channels. The `data` that its string to sign ends with is empty.
///
/// Source: docs.deribit.com, `public/auth` with `client_signature`; its error table for 10028 (too many requests), 10047
/// (too many matching engine requests), 11051 (maintenance).
pub static DERIBIT: Login = Login {
    venue: "deribit",
    sign: StringToSign { parts: &[TimestampMs, Text("\n"), Nonce, Text("\n")], encoding: Encoding::Hex },
    message: &[
        Text(r#"{"jsonrpc":"2.0","id":"#),
        Id,
        Text(r#","method":"public/auth","params":{"grant_type":"client_signature","client_id":""#),
        Key,
        Text(r#"","timestamp":"#),
        TimestampMs,
        Text(r#","nonce":""#),
        Nonce,
        Text(r#"","data":"","signature":""#),
        Signature,
        Text(r#""}}"#),
    ],
    reply: LoginReply::ById,
    retryable_codes: &[10_028, 10_047, 11_051],
    retryable_words: &["too_many_requests", "timestamp", "nonce"],
};

/// Binance spot: user data on the WebSocket API with an HMAC key (`session.logon` takes Ed25519 keys only). Accepted means
/// subscribed.
///
/// Source: Binance spot WebSocket API, "Request security" and `userDataStream.subscribe.signature`; its error table for
/// -1021 (timestamp outside the window), -1003 and -1015 (too many requests), -1000, -1001, -1006, -1007 and -1008 (the
/// venue's own trouble).
pub static BINANCE_USER: Login = Login {
    venue: "binance",
    sign: StringToSign { parts: &[Text("apiKey="), Key, Text("&timestamp="), TimestampMs], encoding: Encoding::Hex },
    message: &[
        Text(r#"{"id":"#),
        Id,
        Text(r#","method":"userDataStream.subscribe.signature","params":{"apiKey":""#),
        Key,
        Text(r#"","timestamp":"#),
        TimestampMs,
        Text(r#","signature":""#),
        Signature,
        Text(r#""}}"#),
    ],
    reply: LoginReply::ById,
    retryable_codes: &[-1_000, -1_001, -1_003, -1_006, -1_007, -1_008, -1_015, -1_021, 418, 429, 500, 503],
    retryable_words: &[],
};

/// KuCoin: the headers of the REST request that answers with a private token.
///
/// Source: KuCoin "Authentication", key version 2, and `POST /api/v1/bullet-private`.
pub static KUCOIN_HEADERS: HeaderLogin = HeaderLogin {
    venue: "kucoin",
    sign: StringToSign { parts: &[TimestampMs, Text("POST/api/v1/bullet-private")], encoding: Encoding::Base64 },
    headers: &[
        ("KC-API-KEY", &[Key]),
        ("KC-API-SIGN", &[Signature]),
        ("KC-API-TIMESTAMP", &[TimestampMs]),
        ("KC-API-PASSPHRASE", &[SignedPassphrase]),
        ("KC-API-KEY-VERSION", &[Text("2")]),
    ],
};
