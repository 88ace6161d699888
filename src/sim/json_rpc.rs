//! A JSON-RPC 2.0 peer on `/jsonrpc` of every venue: what a request/response client is tested against.
//!
//! ```text
//! echo   result = params                     delay  {"ms": 200}: as echo, so much later
//! error  {"code": -32000, "message": ".."}   never  no answer      close  {"code": 1008}: closed instead of answered
//! ```
//! A request without `id` is a notification: done, never answered. Does no I/O.
//!
//! Source: JSON-RPC 2.0 Specification (2013-01-04).

use super::protocol::Outcome;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest delay a request may ask for.
const DELAY_MS_MAX: u64 = 600_000;

/// Answers one text message.
pub(super) fn handle(text: &str) -> Outcome {
    let refuse = |id: &Value, code: i64, message: &str| {
        let error = json!({"code": code, "message": message});
        Outcome::error(json!({"jsonrpc": "2.0", "error": error, "id": id}).to_string())
    };
    let Ok(request) = serde_json::from_str::<Value>(text) else { return refuse(&Value::Null, -32700, "Parse error") };
    let id = request.get("id").cloned();
    let is_id = id.as_ref().is_none_or(|id| id.is_null() || id.is_string() || id.is_number());
    let method = request.get("method").and_then(Value::as_str);
    let (Some(method), true, Some("2.0")) = (method, is_id, request.get("jsonrpc").and_then(Value::as_str)) else {
        return refuse(&Value::Null, -32600, "Invalid Request");
    };
    let params = request.get("params").cloned().unwrap_or(Value::Null);
    let id_text = id.clone().unwrap_or(Value::Null);
    let result =
        |params: &Value| Outcome::reply(json!({"jsonrpc": "2.0", "result": params, "id": id_text}).to_string());
    let outcome = match method {
        "echo" => result(&params),
        "never" => Outcome::default(),
        "error" => {
            let code = params.get("code").and_then(Value::as_i64).unwrap_or(-32000);
            let message = params.get("message").and_then(Value::as_str).unwrap_or("Server error");
            refuse(&id_text, code, message)
        }
        "delay" => match params.get("ms").and_then(Value::as_u64) {
            Some(ms @ 0..=DELAY_MS_MAX) => Outcome { delay: Some(Duration::from_millis(ms)), ..result(&params) },
            _ => refuse(&id_text, -32602, "Invalid params"),
        },
        "close" => {
            let code = params.get("code").and_then(Value::as_u64).unwrap_or(1000);
            match u16::try_from(code) {
                Ok(code @ (1000..=1003 | 1007..=1014 | 3000..=4999)) => {
                    Outcome { close: Some(code), ..Outcome::default() }
                }
                _ => refuse(&id_text, -32602, "Invalid params"),
            }
        }
        _ => refuse(&id_text, -32601, "Method not found"),
    };
    match id {
        Some(_) => outcome,
        None => Outcome { reply: String::new(), ..outcome },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Value {
        serde_json::from_str(&handle(text).reply).unwrap()
    }

    #[test]
    fn a_request_is_answered_with_its_own_id_and_params() {
        let echoed = answer(r#"{"jsonrpc":"2.0","method":"echo","params":[1,"x"],"id":"a-7"}"#);
        assert_eq!(echoed, json!({"jsonrpc": "2.0", "result": [1, "x"], "id": "a-7"}));
        let late = handle(r#"{"jsonrpc":"2.0","method":"delay","params":{"ms":20},"id":9}"#);
        assert_eq!(late.delay, Some(Duration::from_millis(20)));
        assert!(late.reply.contains(r#""id":9"#));
        let error = answer(r#"{"jsonrpc":"2.0","method":"error","params":{"code":5,"message":"no"},"id":1}"#);
        assert_eq!(error["error"], json!({"code": 5, "message": "no"}));
    }

    #[test]
    fn never_and_a_notification_get_no_answer() {
        assert!(handle(r#"{"jsonrpc":"2.0","method":"never","id":1}"#).reply.is_empty());
        assert!(handle(r#"{"jsonrpc":"2.0","method":"echo","params":[1]}"#).reply.is_empty());
        assert_eq!(handle(r#"{"jsonrpc":"2.0","method":"close","params":{"code":1012},"id":1}"#).close, Some(1012));
    }

    #[test]
    fn nonsense_gets_the_code_of_the_specification() {
        for (text, code) in [
            ("{", -32700),
            ("[]", -32600),
            (r#"{"jsonrpc":"1.0","method":"echo","id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":"buy","id":1}"#, -32601),
            (r#"{"jsonrpc":"2.0","method":"delay","params":{"ms":-1},"id":1}"#, -32602),
            (r#"{"jsonrpc":"2.0","method":"close","params":{"code":1006},"id":1}"#, -32602),
        ] {
            assert_eq!(answer(text)["error"]["code"], code, "{text}");
        }
    }
}
