//! How a venue writes a request and what its answers look like. Used by the request machine.
//!
//! ```text
//! id, method, params ─► write ─► text          bytes ─► read ─► replies: to whom, answered or refused
//! ```
//! [`JsonRpc`] is the stock one (JSON-RPC 2.0); [`BinanceCodec`] and [`BybitCodec`] are venues with rules of their own. A
//! codec keeps nothing between two calls: what is pending is the table's to know.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;

/// What tells one request from another.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RequestId {
    /// A number; all ids made here are.
    Number(u64),
    /// A text, as a caller may set.
    Text(Box<str>),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A refusal of a request, in the venue's words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}{}", .code.map(|code| format!(" (code {code})")).unwrap_or_default())]
pub struct RequestRefusal {
    /// The venue's code, if it gave one.
    pub code: Option<i64>,
    /// The venue's message.
    pub message: String,
    /// What it added (JSON-RPC's `data`): JSON.
    pub data: Option<String>,
}

/// Which request a reply is to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReplyTo {
    /// The one with this id.
    Id(RequestId),
    /// The oldest one of this method that was sent: the venue echoed no id.
    OldestOf(Box<str>),
    /// The oldest one that was sent, of any method: the venue echoed neither.
    Oldest,
    /// Nobody can say: an id that is null or no id of ours.
    Nobody,
}

/// One answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// Which request it is to.
    pub to: ReplyTo,
    /// The result as JSON text, or the refusal.
    pub outcome: Result<String, RequestRefusal>,
}

/// One venue's rule of requests and answers.
pub trait Codec: Send + Sync + fmt::Debug {
    /// Appends a request to `out`. `params` is left out where there is none.
    fn write(&self, id: u64, method: &str, params: Option<&RawValue>, out: &mut String);

    /// The id and the method that a caller has put into a request of its own; `None` where there is no id that an answer
    /// could be known by.
    fn request_id(&self, text: &str) -> Option<(RequestId, Box<str>)>;

    /// Appends the replies that a message holds, in order. False if it holds anything else too, or none: then it is for
    /// whoever listens. Any bytes may come.
    fn read(&self, bytes: &[u8], replies: &mut Vec<Reply>) -> bool;

    /// True for an answer to our ping text.
    fn is_pong(&self, bytes: &[u8]) -> bool {
        bytes == b"pong"
    }
}

/// JSON-RPC 2.0. The `jsonrpc` member of an answer is not looked at: who echoes our id answers us.
///
/// Source: <https://www.jsonrpc.org/specification>, sections 4 (request), 5 (response) and 6 (batch).
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonRpc;

/// Binance, both its WebSocket API (`status`, `result` or `error`) and its stream hosts (`result`, or a flat `code` and
/// `msg`, some of them without an id).
///
/// Source: Binance spot WebSocket API, "Request format" and "Response format"; WebSocket streams, "Live subscribing".
#[derive(Clone, Copy, Debug, Default)]
pub struct BinanceCodec;

/// Bybit v5: `req_id` on streams, `reqId` on order entry, always text; where it is not echoed the oldest request of the
/// answer's `op` is meant. The result is `data` where there is one, else the whole answer.
///
/// Source: Bybit v5 "WebSocket: Connect" and "WebSocket Trade Guideline".
#[derive(Clone, Copy, Debug, Default)]
pub struct BybitCodec;

/// What any of these messages may have at its top. Everything is kept as text, so that a `null` is told from nothing.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present", alias = "req_id", alias = "reqId")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", alias = "op")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    status: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", alias = "retCode", alias = "ret_code")]
    code: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", alias = "message", alias = "retMsg", alias = "ret_msg")]
    msg: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    success: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "type")]
    kind: Option<&'a RawValue>,
}

/// A member that is there, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Members<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        // serde takes an array for a struct as well; a message is an object.
        let is_object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        is_object.then(|| serde_json::from_slice(bytes).ok()).flatten()
    }

    /// The method, where it is a text.
    fn method(&self) -> Option<Box<str>> {
        self.method.and_then(text)
    }

    /// An error that is there and is not `null`.
    fn error(&self) -> Option<&'a RawValue> {
        self.error.filter(|error| error.get() != "null")
    }

    fn refusal(&self) -> RequestRefusal {
        RequestRefusal {
            code: self.code.and_then(number),
            message: self.msg.and_then(text).map_or_else(|| "no reason given".to_owned(), String::from),
            data: self.data.map(|data| data.get().to_owned()),
        }
    }
}

/// A text member.
fn text(value: &RawValue) -> Option<Box<str>> {
    serde_json::from_str(value.get()).ok()
}

/// A number member, or a text that is one.
fn number(value: &RawValue) -> Option<i64> {
    serde_json::from_str(value.get()).ok().or_else(|| text(value)?.parse().ok())
}

/// An id member: a text, or a whole number, which some servers echo as a float.
fn id(value: &RawValue) -> Option<RequestId> {
    if let Some(text) = text(value) {
        return Some(RequestId::Text(text));
    }
    let number = value.get();
    let whole = match number.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0') => whole,
        _ => number,
    };
    whole.parse().ok().map(RequestId::Number)
}

fn reply_to(member: Option<&RawValue>) -> ReplyTo {
    member.and_then(id).map_or(ReplyTo::Nobody, ReplyTo::Id)
}

/// The refusal that an error object is; one that is no object is its own message.
fn refusal(error: &RawValue) -> RequestRefusal {
    match Members::of(error.get().as_bytes()) {
        Some(members) => members.refusal(),
        None => RequestRefusal { code: None, message: error.get().to_owned(), data: None },
    }
}

/// `{"method":..,"params":..` in the way JSON-RPC and Binance share.
fn write_call(out: &mut String, head: &str, id: u64, method: &str, params: Option<&RawValue>) {
    out.push_str(head);
    out.push_str(r#""id":"#);
    out.push_str(&id.to_string());
    out.push_str(r#","method":"#);
    out.push_str(&quoted(method));
    if let Some(params) = params {
        out.push_str(r#","params":"#);
        out.push_str(params.get());
    }
    out.push('}');
}

/// The text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn call_id(text: &str) -> Option<(RequestId, Box<str>)> {
    let members = Members::of(text.as_bytes())?;
    Some((id(members.id?)?, members.method().unwrap_or_default()))
}

impl JsonRpc {
    /// Reads one response object.
    fn response(value: &[u8]) -> Option<Reply> {
        let members = Members::of(value)?;
        // A response names an id, be it null; what names a method is a call to us.
        let (Some(_), None) = (members.id, members.method) else { return None };
        let outcome = match (members.error(), members.result) {
            (Some(error), _) => Err(refusal(error)),
            (None, Some(result)) => Ok(result.get().to_owned()),
            (None, None) => return None,
        };
        Some(Reply { to: reply_to(members.id), outcome })
    }
}

impl Codec for JsonRpc {
    fn write(&self, id: u64, method: &str, params: Option<&RawValue>, out: &mut String) {
        write_call(out, r#"{"jsonrpc":"2.0","#, id, method, params);
    }

    fn request_id(&self, text: &str) -> Option<(RequestId, Box<str>)> {
        call_id(text)
    }

    fn read(&self, bytes: &[u8], replies: &mut Vec<Reply>) -> bool {
        let Ok(batch) = serde_json::from_slice::<Vec<&RawValue>>(bytes) else {
            let reply = Self::response(bytes);
            let is_reply = reply.is_some();
            replies.extend(reply);
            return is_reply;
        };
        let mut is_only_replies = !batch.is_empty();
        for value in batch {
            match Self::response(value.get().as_bytes()) {
                Some(reply) => replies.push(reply),
                None => is_only_replies = false,
            }
        }
        is_only_replies
    }
}

impl Codec for BinanceCodec {
    fn write(&self, id: u64, method: &str, params: Option<&RawValue>, out: &mut String) {
        write_call(out, "{", id, method, params);
    }

    fn request_id(&self, text: &str) -> Option<(RequestId, Box<str>)> {
        call_id(text)
    }

    fn read(&self, bytes: &[u8], replies: &mut Vec<Reply>) -> bool {
        let Some(members) = Members::of(bytes) else { return false };
        let status = members.status.and_then(number).unwrap_or(200);
        let is_flat_error = members.code.is_some() && members.msg.is_some();
        let outcome = match (members.error(), members.result) {
            (Some(error), _) => Err(refusal(error)),
            (None, _) if is_flat_error => Err(members.refusal()),
            (None, _) if members.id.is_some() && status != 200 => {
                Err(RequestRefusal { code: Some(status), message: "no reason given".to_owned(), data: None })
            }
            (None, Some(result)) if members.id.is_some() => Ok(result.get().to_owned()),
            _ => return false,
        };
        replies.push(Reply { to: reply_to(members.id), outcome });
        true
    }
}

impl Codec for BybitCodec {
    fn write(&self, id: u64, method: &str, params: Option<&RawValue>, out: &mut String) {
        out.push_str(&format!(r#"{{"req_id":"{id}","op":{}"#, quoted(method)));
        if let Some(params) = params {
            out.push_str(r#","args":"#);
            out.push_str(params.get());
        }
        out.push('}');
    }

    fn request_id(&self, text: &str) -> Option<(RequestId, Box<str>)> {
        call_id(text).map(|(id, method)| (bybit_id(id), method))
    }

    fn read(&self, bytes: &[u8], replies: &mut Vec<Reply>) -> bool {
        let Some(members) = Members::of(bytes) else { return false };
        let op = members.method();
        let is_command = members.kind.is_some_and(|kind| kind.get() == "\"COMMAND_RESP\"");
        let is_pong = op.as_deref() == Some("pong");
        let verdict = match (members.success.map(RawValue::get), members.code.and_then(number)) {
            (Some("true"), _) | (None, Some(0)) => true,
            (Some("false"), _) | (None, Some(_)) => false,
            _ if is_pong => true,
            _ => return false,
        };
        if op.is_none() && !is_command {
            return false;
        }
        let echoed = members.id.and_then(id).filter(|id| *id != RequestId::Text("".into()));
        let to = match (echoed, op) {
            (Some(id), _) => ReplyTo::Id(bybit_id(id)),
            (None, Some(_)) if is_pong => ReplyTo::OldestOf("ping".into()),
            (None, Some(op)) => ReplyTo::OldestOf(op),
            (None, None) => ReplyTo::Oldest,
        };
        let whole = || String::from_utf8_lossy(bytes).into_owned();
        let outcome = match verdict {
            true => Ok(members.data.map_or_else(whole, |data| data.get().to_owned())),
            false => Err(members.refusal()),
        };
        replies.push(Reply { to, outcome });
        true
    }

    fn is_pong(&self, bytes: &[u8]) -> bool {
        Members::of(bytes).is_some_and(|members| {
            members.method.is_some_and(|op| op.get() == "\"pong\"")
                || members.msg.is_some_and(|message| message.get() == "\"pong\"")
        })
    }
}

/// Bybit's ids are text: ours come back as they went out, and are numbers again.
fn bybit_id(id: RequestId) -> RequestId {
    match &id {
        RequestId::Text(text) => match text.parse::<u64>() {
            Ok(number) if number.to_string() == **text => RequestId::Number(number),
            _ => id,
        },
        RequestId::Number(_) => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(codec: &dyn Codec, text: &str) -> (bool, Vec<Reply>) {
        let mut replies = Vec::new();
        (codec.read(text.as_bytes(), &mut replies), replies)
    }

    fn one(codec: &dyn Codec, text: &str) -> Reply {
        let (is_only_replies, mut replies) = read(codec, text);
        assert!(is_only_replies && replies.len() == 1, "{text}: {replies:?}");
        replies.remove(0)
    }

    fn to(number: u64) -> ReplyTo {
        ReplyTo::Id(RequestId::Number(number))
    }

    fn refused(code: Option<i64>, message: &str, data: Option<&str>) -> Result<String, RequestRefusal> {
        Err(RequestRefusal { code, message: message.to_owned(), data: data.map(str::to_owned) })
    }

    #[test]
    fn a_request_is_written_as_each_rule_has_it() {
        let params = serde_json::value::to_raw_value(&json!(["a"])).unwrap();
        for (codec, with, without) in [
            (
                &JsonRpc as &dyn Codec,
                r#"{"jsonrpc":"2.0","id":5,"method":"m\"","params":["a"]}"#,
                r#"{"jsonrpc":"2.0","id":5,"method":"m\""}"#,
            ),
            (&BinanceCodec, r#"{"id":5,"method":"m\"","params":["a"]}"#, r#"{"id":5,"method":"m\""}"#),
            (&BybitCodec, r#"{"req_id":"5","op":"m\"","args":["a"]}"#, r#"{"req_id":"5","op":"m\""}"#),
        ] {
            for (params, expected) in [(Some(&*params), with), (None, without)] {
                let mut out = String::new();
                codec.write(5, "m\"", params, &mut out);
                assert_eq!(out, expected);
                assert_eq!(codec.request_id(&out), Some((RequestId::Number(5), "m\"".into())));
            }
        }
    }

    #[test]
    fn the_answers_of_the_json_rpc_specification_are_read() {
        for (text, to, outcome) in [
            (r#"{"jsonrpc": "2.0", "result": 19, "id": 3}"#, to(3), Ok("19".to_owned())),
            (
                r#"{"jsonrpc":"2.0","result":null,"id":"1"}"#,
                ReplyTo::Id(RequestId::Text("1".into())),
                Ok("null".into()),
            ),
            (r#"{"id":3.0,"result":{"a":1e400}}"#, to(3), Ok(r#"{"a":1e400}"#.into())),
            (r#"{"id":3,"result":1,"error":null}"#, to(3), Ok("1".into())),
            (
                r#"{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}"#,
                ReplyTo::Id(RequestId::Text("1".into())),
                refused(Some(-32_601), "Method not found", None),
            ),
            (
                r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error","data":{"at":[1]}},"id":null}"#,
                ReplyTo::Nobody,
                refused(Some(-32_700), "Parse error", Some(r#"{"at":[1]}"#)),
            ),
            (r#"{"id":-1,"error":"no"}"#, ReplyTo::Nobody, refused(None, "\"no\"", None)),
        ] {
            assert_eq!(one(&JsonRpc, text), Reply { to, outcome }, "{text}");
        }
        for text in [
            r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"c"}}"#,
            r#"{"jsonrpc":"2.0","id":3,"method":"server_asks"}"#,
            r#"{"id":3}"#,
            r#"{"result":3}"#,
            r#"{"id":3,"id":4,"result":1}"#,
            "[]",
            "[1]",
            "3",
            "",
        ] {
            assert_eq!(read(&JsonRpc, text), (false, Vec::new()), "{text}");
        }
    }

    #[test]
    fn a_batch_gives_each_of_its_answers_and_says_whether_there_is_more_in_it() {
        let answers = r#"{"id":1,"result":7},{"id":2,"error":{"code":-1,"message":"m"}}"#;
        let (is_only_replies, replies) = read(&JsonRpc, &format!("[{answers}]"));
        assert!(is_only_replies);
        assert_eq!(replies[0], Reply { to: to(1), outcome: Ok("7".into()) });
        assert_eq!(replies[1], Reply { to: to(2), outcome: refused(Some(-1), "m", None) });
        let (is_only_replies, replies) = read(&JsonRpc, &format!(r#"[{answers},{{"method":"notice"}}]"#));
        assert_eq!((is_only_replies, replies.len()), (false, 2));
    }

    #[test]
    fn both_of_binances_forms_are_read() {
        for (text, to, outcome) in [
            (r#"{"result":null,"id":1}"#, to(1), Ok("null".to_owned())),
            (r#"{"id":1,"status":200,"result":{"a":1},"rateLimits":[]}"#, to(1), Ok(r#"{"a":1}"#.into())),
            (
                r#"{"id":"x","status":400,"error":{"code":-1102,"msg":"Mandatory"}}"#,
                ReplyTo::Id(RequestId::Text("x".into())),
                refused(Some(-1_102), "Mandatory", None),
            ),
            (r#"{"error":{"code":4,"msg":"Too many"},"id":19}"#, to(19), refused(Some(4), "Too many", None)),
            (r#"{"code":2,"msg":"Invalid request"}"#, ReplyTo::Nobody, refused(Some(2), "Invalid request", None)),
            (r#"{"code":2,"msg":"Invalid","id":8}"#, to(8), refused(Some(2), "Invalid", None)),
            (r#"{"id":1,"status":503}"#, to(1), refused(Some(503), "no reason given", None)),
        ] {
            assert_eq!(one(&BinanceCodec, text), Reply { to, outcome }, "{text}");
        }
        for text in [r#"{"e":"trade","s":"BTCUSDT"}"#, r#"{"stream":"s","data":{}}"#, r#"{"id":1}"#, "{}", "x"] {
            assert_eq!(read(&BinanceCodec, text), (false, Vec::new()), "{text}");
        }
    }

    #[test]
    fn bybits_answers_are_found_by_id_or_by_what_they_answer() {
        let subscribed = r#"{"success":true,"ret_msg":"","conn_id":"c","op":"subscribe"}"#;
        let command = r#"{"success":true,"conn_id":"c","data":{"failTopics":[]},"type":"COMMAND_RESP"}"#;
        let pong = r#"{"op":"pong","args":["1"],"conn_id":"c"}"#;
        for (text, to, outcome) in [
            (r#"{"success":true,"req_id":"7","op":"subscribe","data":1}"#, to(7), Ok("1".to_owned())),
            (subscribed, ReplyTo::OldestOf("subscribe".into()), Ok(subscribed.to_owned())),
            (command, ReplyTo::Oldest, Ok(r#"{"failTopics":[]}"#.to_owned())),
            (pong, ReplyTo::OldestOf("ping".into()), Ok(pong.to_owned())),
            (
                r#"{"success":false,"ret_msg":"bad topic","req_id":"","op":"subscribe"}"#,
                ReplyTo::OldestOf("subscribe".into()),
                refused(None, "bad topic", None),
            ),
            (
                r#"{"reqId":"order-1","retCode":10403,"retMsg":"slow down","op":"order.create","data":{}}"#,
                ReplyTo::Id(RequestId::Text("order-1".into())),
                refused(Some(10_403), "slow down", Some("{}")),
            ),
            (
                r#"{"reqId":"9","retCode":0,"retMsg":"OK","op":"order.create","data":{"o":1}}"#,
                to(9),
                Ok(r#"{"o":1}"#.into()),
            ),
        ] {
            assert_eq!(one(&BybitCodec, text), Reply { to, outcome }, "{text}");
        }
        for text in [r#"{"topic":"orderbook.1.BTCUSDT","type":"snapshot","data":{}}"#, r#"{"op":"x"}"#, "[]"] {
            assert_eq!(read(&BybitCodec, text), (false, Vec::new()), "{text}");
        }
        assert!(BybitCodec.is_pong(br#"{"success":true,"ret_msg":"pong","op":"ping"}"#) && JsonRpc.is_pong(b"pong"));
        assert!(!BybitCodec.is_pong(subscribed.as_bytes()) && !JsonRpc.is_pong(b"pong!"));
        // An id that only looks like one of ours is another.
        assert_eq!(BybitCodec.request_id(r#"{"req_id":"007","op":"x"}"#).unwrap().0, RequestId::Text("007".into()));
    }

    #[test]
    fn a_request_without_an_id_that_could_come_back_has_none() {
        for text in [r#"{"method":"m"}"#, r#"{"id":null}"#, r#"{"id":-1}"#, r#"{"id":1.5}"#, r#"{"id":[]}"#, "[]", "x"]
        {
            assert_eq!(JsonRpc.request_id(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_codec_panic_and_every_request_is_json(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[\\[\\]{}\":,.a-z0-9]{0,60}", id: u64, method in "\\PC{0,20}") {
            for codec in [&JsonRpc as &dyn Codec, &BinanceCodec, &BybitCodec] {
                for bytes in [&bytes[..], text.as_bytes()] {
                    codec.read(bytes, &mut Vec::new());
                    codec.is_pong(bytes);
                }
                codec.request_id(&text);
                let mut out = String::new();
                codec.write(id, &method, None, &mut out);
                prop_assert!(serde_json::from_str::<Value>(&out).unwrap().is_object());
                prop_assert_eq!(codec.request_id(&out), Some((RequestId::Number(id), method.as_str().into())));
            }
        }
    }
}
