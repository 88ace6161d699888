//! Signatures against published vectors and an independent implementation (Python's `hmac`); answers, good and bad.

use super::*;
use crate::control::logins::{BINANCE_USER, BYBIT, DERIBIT, KUCOIN_HEADERS, OKX, OKX_HEADERS};
use proptest::prelude::*;
use serde_json::json;

const LOGINS: [&Login; 4] = [&BYBIT, &OKX, &DERIBIT, &BINANCE_USER];
/// The example secret of Binance's documents.
const BINANCE_SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
const BINANCE_KEY: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn at(wall_ms: u64) -> Moment {
    Moment { wall_ms, nonce: 0xabc, id: 7 }
}

fn message(login: &'static Login, credentials: &Credentials, moment: Moment) -> Value {
    serde_json::from_str(Authentication::new(login, credentials.clone()).message(moment).reveal()).unwrap()
}

#[test]
fn the_vectors_of_rfc_4231_come_out() {
    for (key, message, tag) in [
        (vec![0x0b; 20], b"Hi There".to_vec(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe".to_vec(),
            b"what do ya want for nothing?".to_vec(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (vec![0xaa; 20], vec![0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            vec![0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ] {
        assert_eq!(hex(&hmac_sha256(&key, &message)), tag);
    }
}

#[test]
fn binances_own_worked_examples_come_out() {
    let credentials = Credentials::new(BINANCE_KEY, BINANCE_SECRET);
    let rest = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000\
                &timestamp=1499827319559";
    let socket = format!(
        "apiKey={BINANCE_KEY}&newOrderRespType=ACK&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL\
         &symbol=BTCUSDT&timeInForce=GTC&timestamp=1645423376532&type=LIMIT"
    );
    for (text, signature) in [
        (rest, "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (&socket, "cc15477742bd704c29492d96c7ead9414dfd8e0ec4a00f947bb5bb454ddbd08a"),
    ] {
        assert_eq!(signed(text, &credentials, Encoding::Hex), signature);
    }
}

#[test]
fn each_venues_login_is_the_message_its_documents_show() {
    assert_eq!(
        message(&BYBIT, &Credentials::new("the-key", "the-secret"), at(1_662_350_390_000)),
        json!({"op": "auth", "args": ["the-key", 1_662_350_400_000_u64,
            "c23f59f497225a4188a1cc4e929e53b4cfb0a3f7c49592712786e87cc98f0038"]})
    );
    let okx = Credentials::new("the-key", "22582BD0CFF14C41EDBF1AB98506286D").with_passphrase("a \"phrase\"");
    assert_eq!(
        message(&OKX, &okx, at(1_538_054_050_999)),
        json!({"op": "login", "args": [{"apiKey": "the-key", "passphrase": "a \"phrase\"", "timestamp": "1538054050",
            "sign": "+LdIr8lkkvhr5hoA3g9TMC0+uQJ849ftAcocA/ouu4M="}]})
    );
    assert_eq!(
        message(&DERIBIT, &Credentials::new("AMANDA", "AMANDASECRECT"), at(1_576_074_319_000)),
        json!({"jsonrpc": "2.0", "id": 7, "method": "public/auth", "params": {"grant_type": "client_signature",
            "client_id": "AMANDA", "timestamp": 1_576_074_319_000_u64, "nonce": "0000000000000abc", "data": "",
            "signature": "17a02cdbb980bf9f73a3882b8f6d8ce78e9bc3eb6339ac045cf109b3dd94afc6"}})
    );
    assert_eq!(
        message(&BINANCE_USER, &Credentials::new(BINANCE_KEY, BINANCE_SECRET), at(1_645_423_376_532)),
        json!({"id": 7, "method": "userDataStream.subscribe.signature", "params": {"apiKey": BINANCE_KEY,
            "timestamp": 1_645_423_376_532_u64,
            "signature": "74448608dc93596b10b1c8c9cf871d140884b9e1463ab9371dcc47de69b39531"}})
    );
}

#[test]
fn a_login_by_headers_signs_the_same_way() {
    let shown = |headers: Vec<(String, Secret)>| -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {}", value.reveal())).collect()
    };
    let okx = Credentials::new("the-key", "22582BD0CFF14C41EDBF1AB98506286D").with_passphrase("phrase");
    assert_eq!(
        shown(OKX_HEADERS.headers(&okx, at(1_538_054_050_000))),
        [
            "OK-ACCESS-KEY: the-key",
            "OK-ACCESS-SIGN: +LdIr8lkkvhr5hoA3g9TMC0+uQJ849ftAcocA/ouu4M=",
            "OK-ACCESS-TIMESTAMP: 1538054050",
            "OK-ACCESS-PASSPHRASE: phrase"
        ]
    );
    let kucoin = Credentials::new("the-key", "the-secret").with_passphrase("the-passphrase");
    assert_eq!(
        shown(KUCOIN_HEADERS.headers(&kucoin, at(1_700_000_000_000))),
        [
            "KC-API-KEY: the-key",
            "KC-API-SIGN: YP/0ePYOE5CyJwQB6oxPGGpT2yEcnWUwTDj4Jw4hbYI=",
            "KC-API-TIMESTAMP: 1700000000000",
            "KC-API-PASSPHRASE: AVQMCS1S9zHyCb7aSU31lj49U5ZJnZPy21CBul7BdUM=",
            "KC-API-KEY-VERSION: 2"
        ]
    );
}

#[test]
fn nothing_that_is_signed_repeats_when_time_goes_on() {
    let credentials = Credentials::new("k", "s").with_passphrase("p");
    for login in LOGINS {
        let first = login.sign.signature(&credentials, at(1_000_000));
        let second = login.sign.signature(&credentials, at(1_001_000));
        assert_ne!(first, second, "{}", login.venue);
        assert!(!login.sign.parts.contains(&Part::Signature), "{}: a signature cannot sign itself", login.venue);
    }
}

#[test]
fn each_venues_answers_are_told_apart() {
    let accepted = AuthReply::Accepted;
    let refused = |code: Option<i64>, message: &str, is_retryable| {
        AuthReply::Refused(AuthRefusal { code, message: message.to_owned(), is_retryable })
    };
    for (login, text, expected) in [
        (&BYBIT, r#"{"success":true,"ret_msg":"","op":"auth","conn_id":"c"}"#, accepted.clone()),
        (&BYBIT, r#"{"retCode":0,"retMsg":"OK","op":"auth","connId":"c"}"#, accepted.clone()),
        (
            &BYBIT,
            r#"{"success":false,"ret_msg":"error:Invalid sign","op":"auth"}"#,
            refused(None, "error:Invalid sign", false),
        ),
        (
            &BYBIT,
            r#"{"success":false,"ret_msg":"Request expired","op":"auth"}"#,
            refused(None, "Request expired", true),
        ),
        (&BYBIT, r#"{"retCode":10004,"retMsg":"Error sign","op":"auth"}"#, refused(Some(10_004), "Error sign", false)),
        (&BYBIT, r#"{"retCode":10006,"retMsg":"x","op":"auth"}"#, refused(Some(10_006), "x", true)),
        (&BYBIT, r#"{"success":true,"ret_msg":"pong","op":"ping"}"#, AuthReply::NotMine),
        (&OKX, r#"{"event":"login","code":"0","msg":"","connId":"c"}"#, accepted.clone()),
        (
            &OKX,
            r#"{"event":"error","code":"60009","msg":"Login failed."}"#,
            refused(Some(60_009), "Login failed.", false),
        ),
        (&OKX, r#"{"event":"error","code":"60006","msg":"late"}"#, refused(Some(60_006), "late", true)),
        (&OKX, r#"{"event":"subscribe","arg":{}}"#, AuthReply::NotMine),
        (&DERIBIT, r#"{"jsonrpc":"2.0","id":7,"result":{"expires_in":900}}"#, accepted.clone()),
        (
            &DERIBIT,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":13004,"message":"invalid_credentials"}}"#,
            refused(Some(13_004), "invalid_credentials", false),
        ),
        (
            &DERIBIT,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":10028,"message":"too_many_requests"}}"#,
            refused(Some(10_028), "too_many_requests", true),
        ),
        (&DERIBIT, r#"{"jsonrpc":"2.0","id":8,"result":{}}"#, AuthReply::NotMine),
        (&DERIBIT, r#"{"jsonrpc":"2.0","id":7,"method":"heartbeat"}"#, AuthReply::NotMine),
        (&BINANCE_USER, r#"{"id":7,"status":200,"result":{"subscriptionId":0}}"#, accepted),
        (
            &BINANCE_USER,
            r#"{"id":7,"status":400,"error":{"code":-1021,"msg":"Timestamp for this request"}}"#,
            refused(Some(-1_021), "Timestamp for this request", true),
        ),
        (
            &BINANCE_USER,
            r#"{"id":7,"status":400,"error":{"code":-1022,"msg":"Signature"}}"#,
            refused(Some(-1_022), "Signature", false),
        ),
        (&BINANCE_USER, r#"{"id":7,"status":503}"#, refused(Some(503), "no reason given", true)),
    ] {
        let authentication = Authentication::new(login, Credentials::new("key", "secret"));
        assert_eq!(authentication.read(7, text.as_bytes()), expected, "{}: {text}", login.venue);
    }
}

#[test]
fn credentials_show_in_no_output_not_even_where_the_venue_quotes_them() {
    let credentials = Credentials::new("THE-KEY", "THE-SECRET").with_passphrase("THE-PHRASE");
    let authentication = Authentication::new(&BYBIT, credentials.clone());
    let reply = r#"{"op":"auth","success":false,"ret_msg":"key THE-KEY, THE-SECRET and THE-PHRASE are wrong"}"#;
    let AuthReply::Refused(refusal) = authentication.read(7, reply.as_bytes()) else { panic!("refused") };
    for text in [
        refusal.to_string(),
        format!("{refusal:?} {credentials:?} {authentication:?} {:?}", authentication.message(at(1))),
        format!("{:?}", OKX_HEADERS.headers(&credentials, at(1))),
    ] {
        assert!(!text.contains("THE-") && text.contains("***"), "{text}");
    }
}

proptest! {
    #[test]
    fn any_key_makes_a_message_that_is_json(key in "\\PC{0,40}", secret in "\\PC{0,80}", passphrase in "\\PC{0,20}", wall_ms: u64, nonce: u64, id: u64) {
        let credentials = Credentials::new(key, secret).with_passphrase(passphrase);
        for login in LOGINS {
            message(login, &credentials, Moment { wall_ms, nonce, id });
        }
    }

    #[test]
    fn no_bytes_make_the_reading_panic_or_log_in(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[\\[\\]{}\":,a-z0-9]{0,60}") {
        for login in LOGINS {
            let authentication = Authentication::new(login, Credentials::new("key", "secret"));
            for bytes in [&bytes[..], text.as_bytes()] {
                prop_assert_ne!(authentication.read(7, bytes), AuthReply::Accepted);
            }
        }
    }
}
