use crate::limits::READ_PADDING_BYTES;
use crate::market::Venue;
use crate::venue::ledger::{Bench, Event, Ledger, RECEIVED};
use crate::venue::{Decoded, Payload, Reason, Tier};

const TRADE: &str = r#"{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,"p":"16500.10","q":"0.250","T":1672515782130,"m":true,"M":true}"#;
const DEPTH: &str = r#"{"e":"depthUpdate","E":1672515782136,"s":"BTCUSDT","U":157,"u":160,"b":[["0.24","10"],["0.23","0"]],"a":[["0.26","1.5"]]}"#;
const CANDLE: &str = r#"{"e":"kline","E":1672515782136,"s":"BTCUSDT","k":{"t":1672515780000,"T":1672515839999,"s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}"#;
const TRADES: &str = r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"7","BT":false},{"T":1672304486866,"s":"ETHUSDT","S":"Sell","v":"1","p":"1.5","i":"8","BT":true}]}"#;
const BOOK: &str = r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["16493.50","0"]],"a":[["16611.00","0.029"],["16612.00","0.213"]],"u":177400507,"seq":66544703342},"cts":1672304484976}"#;
const QUOTE: &str = r#"{"topic":"orderbook.1.BTCUSDT","ts":1672304486868,"type":"snapshot","data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[],"u":18521288,"seq":7961638724},"cts":1672304486860}"#;

fn bench(message: &str) -> Bench {
    Bench::new(if message.contains("topic") { Venue::BybitLinear } else { Venue::BinanceSpot }, None)
}

/// What a message gives to a decoder that never saw another, and whether the tape was asked.
fn read(message: &str) -> (Vec<Event>, bool) {
    let mut bench = bench(message);
    let (decoded, events) = bench.decode(message);
    assert!(matches!(decoded, Ok(Decoded::Data(_))), "{decoded:?}: {message}");
    (events, !bench.scratch.pristine().is_empty())
}

/// Spaces wherever JSON allows some.
fn spaced(message: &str) -> String {
    let mut spaced = String::from("\n");
    let mut is_inside = false;
    for character in message.chars() {
        is_inside ^= character == '"';
        let is_mark = !is_inside && "{}[],:".contains(character);
        spaced.push_str(if is_mark { " " } else { "" });
        spaced.push(character);
        spaced.push_str(if is_mark { "\t\r\n" } else { "" });
    }
    spaced
}

#[test]
fn white_space_and_unknown_members_change_nothing_and_need_no_tape() {
    for message in [TRADE, DEPTH, CANDLE, TRADES, BOOK, QUOTE] {
        let expected = read(message).0;
        assert_eq!(read(&spaced(message)), (expected.clone(), false), "{message}");
        let unknown = r#"{"a":[1,-2.5,{"b":[[],{}]},"x"],"c":null}"#;
        for (place, added) in [("{\"", "{\"new\":U,\""), ("\"}", "\",\"new\":U}"), ("\",\"", "\",\"new\":U,\"")] {
            if let Some(at) = message.find(place) {
                let (before, behind) = message.split_at(at);
                let added = behind.replacen(place, &added.replace('U', unknown), 1);
                assert_eq!(read(&format!("{before}{added}")), (expected.clone(), false), "{message}");
            }
        }
    }
}

#[test]
fn a_space_behind_the_kind_alone_needs_no_tape() {
    for message in [TRADE, CANDLE, DEPTH] {
        let end = message.find("\",\"E\"").unwrap() + 1;
        let spaced = format!("{} {}", &message[..end], &message[end..]);
        assert_eq!(read(&spaced), (read(message).0, false), "{spaced}");
    }
}

#[test]
fn a_list_or_an_object_waits_for_the_members_that_it_needs() {
    let depth = r#"{"a":[["0.26","1.5"]],"b":[["0.24","10"],["0.23","0"]],"u":160,"U":157,"s":"BTCUSDT","E":1672515782136,"e":"depthUpdate"}"#;
    assert_eq!(read(depth), (read(DEPTH).0, false));
    let (head, candle) = CANDLE.split_at(CANDLE.find("\"k\"").unwrap());
    let turned = format!("{{{},{}}}", &candle[..candle.len() - 1], head[1..].trim_end_matches(','));
    assert_eq!(read(&turned), (read(CANDLE).0, false));
    let book = r#"{"data":{"a":[["16611.00","0.029"],["16612.00","0.213"]],"b":[["16493.50","0"]],"seq":66544703342,"u":177400507,"s":"BTCUSDT"},"cts":1672304484976,"ts":1672304484978,"type":"delta","topic":"orderbook.50.BTCUSDT"}"#;
    assert_eq!(read(book), (read(BOOK).0, false));
}

#[test]
fn a_wrapper_may_have_more_members_than_two() {
    let expected = read(TRADE).0;
    for wrapper in [
        r#"{"stream":"btcusdt@trade","data":D,"id":7}"#,
        r#" { "stream" : "btcusdt@trade" , "shard" : {"n":[1]} , "data" : D , "last" : null } "#,
    ] {
        assert_eq!(read(&wrapper.replace('D', TRADE)), (expected.clone(), false), "{wrapper}");
    }
}

#[test]
fn null_is_as_if_an_optional_member_were_absent_and_a_text_that_begins_so_is_a_text() {
    let expected = read(TRADE).0;
    for added in [r#""b":null,"#, r#""b": null ,"#, r#""b" :null,"#, r#""ps":null,"#, r#""ps":"nullUSDT","#] {
        assert_eq!(read(&TRADE.replace("\"T\"", &format!("{added}\"T\""))), (expected.clone(), false), "{added}");
    }
    let quote = r#"{"u":1,"s":"BTCUSDT","b":"25.35","B":"31.21","a":"25.36","A":"40.66","e":null}"#;
    assert_eq!(bench(quote).refusal(quote), (Reason::WrongType, "e"), "what it is must be told");
    let (decoded, events) = bench(TRADE).decode(TRADE.replace("\"16500.10\"", "null"));
    assert_eq!((decoded.unwrap_err().reason, events), (Reason::WrongType, vec![]));
}

#[test]
fn what_is_not_plain_is_left_to_the_tape() {
    let deep = format!("{{\"new\":{}{},", "[".repeat(20), "]".repeat(20));
    for (message, change) in [
        (TRADE, ("BTCUSDT", "BTC\\u0055SDT")),
        (TRADE, ("\"s\"", "\"\\u0073\"")),
        (TRADE, ("{", "{\"t\":1,")),
        (TRADE, ("{", "{\"new\":1e3,")),
        (TRADE, ("{", "{\"new\":\"\u{e9}\",")),
        (TRADE, ("{", "{\"new\":\"a\\n\",")),
        (TRADE, ("{", deep.as_str())),
        (TRADE, ("{", "{\"lastUpdateId\":1,")),
        (BOOK, ("[[\"16493.50\",\"0\"]]", "[[\"16493.50\",\"0\",\"1\"]]")),
        (QUOTE, ("[[\"16493.50\",\"0.006\"]]", "[[\"16493.50\",\"0.006\"],[\"1\",\"2\",\"3\"]]")),
    ] {
        let changed = message.replacen(change.0, change.1, 1);
        let (events, is_from_tape) = read(&changed);
        assert!(is_from_tape, "{changed}");
        assert_eq!(events.len(), 1, "{changed}");
    }
}

#[test]
fn what_stands_behind_a_message_is_not_of_it() {
    for message in [TRADE, DEPTH, CANDLE, TRADES, BOOK, QUOTE] {
        let whole = spaced(message);
        let mut bench = bench(message);
        for length in 0..whole.trim_end().len() {
            let mut bytes = [whole.as_bytes(), &[b' '; READ_PADDING_BYTES]].concat();
            let payload = Payload::new(&mut bytes, length).unwrap();
            let mut ledger = Ledger::default();
            let decoded =
                bench.decoder.decode(payload, &RECEIVED, &bench.symbols, &mut bench.scratch, &mut ledger).unwrap_err();
            assert_eq!((decoded.reason, ledger.events), (Reason::NotJson, vec![]), "{length}");
        }
    }
}

#[test]
fn an_order_is_learned_from_the_first_message_that_has_it() {
    let drifted = [
        (
            TRADE,
            r#"{"new":1,"s":"BTCUSDT","e":"trade","q":"0.250","p":"16500.10","E":1672515782136,"t":12345,"m":true,"T":1672515782130,"M":true}"#,
        ),
        (
            QUOTE,
            r#"{"new":"x","topic":"orderbook.1.BTCUSDT","data":{"seq":7961638724,"s":"BTCUSDT","a":[],"b":[["16493.50","0.006"]],"u":18521288},"cts":1672304486860,"type":"snapshot","ts":1672304486868}"#,
        ),
    ];
    for (message, drifted) in drifted {
        let expected = read(message).0;
        let mut bench = bench(message);
        assert_eq!(bench.decode(drifted), (Ok(Decoded::Data(Tier::TwoAfterOne)), expected.clone()), "{drifted}");
        assert_eq!(bench.decode(drifted).0, Ok(Decoded::Data(Tier::One)), "{drifted}");
        // White space keeps it from tier one and teaches nothing else.
        assert_eq!(bench.decode(spaced(message)), (Ok(Decoded::Data(Tier::TwoAfterOne)), expected.clone()));
        assert_eq!(bench.decode(message), (Ok(Decoded::Data(Tier::One)), expected.clone()));
        let again = [bench.decode(drifted).0, bench.decode(drifted).0];
        assert_eq!(again, [Ok(Decoded::Data(Tier::TwoAfterOne)), Ok(Decoded::Data(Tier::One))], "{drifted}");
    }
}
