#![expect(clippy::cast_possible_truncation, reason = "choices among a few")]

use super::shapes::{
    AggTradeShape, CandleShape, LiquidationOrderShape, MarkPriceShape, MiniTickerShape, QuoteShape, TickerShape,
    TradeShape,
};
use crate::market::{BookKind, Decimal, KlineInterval, Price, Qty, Side, TickerFields, TradeId, Venue};
use crate::venue::generate::{Generator, Style, every_number_is_read};
use crate::venue::ledger::{Bench, Event};
use crate::venue::shape::Shape;
use crate::venue::{Cpu, Decoded, Reason, Tier};
use proptest::prelude::*;
use serde_json::Value;

const TRADE: &str = r#"{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,"p":"16500.10","q":"0.250","T":1672515782130,"m":true,"M":true}"#;
const QUOTE: &str = r#"{"u":400900217,"s":"BTCUSDT","b":"25.35","B":"31.21000000","a":"25.36","A":"40.66000000"}"#;
const FUTURES_QUOTE: &str = r#"{"e":"bookTicker","u":400900217,"E":1568014460893,"T":1568014460891,"s":"BTCUSDT","b":"25.35","B":"31.21","a":"25.36","A":"40.66","st":1,"ps":"BTCUSDT"}"#;

fn spot() -> Bench {
    Bench::new(Venue::BinanceSpot, None)
}

fn usdm() -> Bench {
    Bench::new(Venue::BinanceUsdm, None)
}

fn one(bench: &mut Bench, message: &str, decoded: Decoded) -> Event {
    let (result, mut events) = bench.decode(message);
    assert_eq!(result, Ok(decoded), "{message}");
    assert_eq!(events.len(), 1, "{message}");
    events.remove(0)
}

#[test]
fn a_trade_is_read_bare_and_wrapped_at_tier_one() {
    let mut bench = spot();
    let bare = one(&mut bench, TRADE, Decoded::Data(Tier::One));
    let Event::Trade(trade) = &bare else { panic!("{bare:?}") };
    assert_eq!(trade.id, TradeId::Number(12345));
    assert_eq!((trade.price, trade.qty), (Price::from_mantissa(1_650_010), Qty::from_mantissa(250)));
    assert_eq!(trade.taker, Side::Sell, "the buyer was the maker");
    assert_eq!(trade.meta.event_time.unwrap().ns(), 1_672_515_782_136_000_000);
    assert_eq!(trade.meta.matching_time.unwrap().ns(), 1_672_515_782_130_000_000);
    let wrapped = format!(r#"{{"stream":"btcusdt@trade","data":{TRADE}}}"#);
    assert_eq!(one(&mut bench, &wrapped, Decoded::Data(Tier::One)), bare);
    let turned = format!(r#"{{"data":{TRADE},"stream":"btcusdt@trade"}}"#);
    assert_eq!(one(&mut bench, &turned, Decoded::Data(Tier::TwoAfterOne)), bare);
}

#[test]
fn a_stream_foretells_its_channel_only_behind_a_plain_name_and_what_it_foretells_is_not_believed() {
    let expected = one(&mut spot(), TRADE, Decoded::Data(Tier::One));
    let name = "btcusdt@trade";
    for at in 0.."btcusdt".len() {
        for bad in ["\"", "\\", "\n", "\u{1f}", "\\u0062"] {
            let wrapped = format!(r#"{{"stream":"{}{bad}{}","data":{TRADE}}}"#, &name[..at], &name[at + 1..]);
            if serde_json::from_str::<Value>(&wrapped).is_ok() {
                assert_eq!(one(&mut spot(), &wrapped, Decoded::Data(Tier::TwoAfterOne)), expected);
            } else {
                let (result, events) = spot().decode(&wrapped);
                assert!(result.is_err() && events.is_empty(), "{wrapped}");
            }
        }
    }
    for (channel, payload) in CHANNELS {
        let own = format!(r#"{{"stream":"btcusdt@{channel}","data":{payload}}}"#);
        let alone = one(&mut usdm(), payload, Decoded::Data(Tier::One));
        assert_eq!(one(&mut usdm(), &own, Decoded::Data(Tier::One)), alone, "{channel}");
        for (_, payload) in CHANNELS.iter().filter(|(other, _)| *other != channel) {
            let wrapped = format!(r#"{{"stream":"btcusdt@{channel}","data":{payload}}}"#);
            let turned = format!(r#"{{"data":{payload},"stream":"btcusdt@{channel}"}}"#);
            let found = usdm().decode(&wrapped);
            assert_eq!(found, usdm().decode(turned), "{wrapped}");
            assert_ne!(found.0, Ok(Decoded::Data(Tier::One)), "{wrapped}");
        }
        // What lies behind a message in its buffer may go on as the message does.
        for length in 0..own.len() {
            let (cut, behind) = own.as_bytes().split_at(length);
            let (result, events) = usdm().decode_before(cut, behind);
            assert!(result.is_err() && events.is_empty(), "{length} bytes of {own}");
        }
    }
}

#[test]
fn a_name_is_taken_as_it_stands_only_where_a_json_string_holds_it_so() {
    let names = ["AB", "A\"B", "A\\B", "A\nB", "A\u{1f}B", "\"", "\\", "币安人生", "ABCDEFGHIJKLMNOP"];
    for (at, name) in names.into_iter().enumerate() {
        for cpu in Cpu::ALL {
            let mut bench = Bench::with_cpu(Venue::BinanceSpot, None, cpu).knowing(Venue::BinanceSpot, &names);
            let mut tape = Bench::of_tape(Venue::BinanceSpot, None).knowing(Venue::BinanceSpot, &names);
            let escaped = serde_json::to_string(name).unwrap();
            let escaped = escaped.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            // Streams that say the name's length, one more, one less, and nothing; and of its length some that are looked up at its place,
            // for which one bit of each byte does not count.
            let lengths = [name.len(), name.len() + 1, name.len() - 1, 0].map(|length| "a".repeat(length));
            let alike = ["ab", "a|b", "a*b", "a?b", "a\u{2}b", "|", "\u{2}", "abcdefghijklmnop"].map(String::from);
            for stream in lengths.into_iter().chain(alike) {
                for written in [name, escaped] {
                    let payload = TRADE.replace("BTCUSDT", written);
                    let message = format!(r#"{{"stream":"{stream}@trade","data":{payload}}}"#);
                    let (decoded, events) = bench.decode(&message);
                    let (by_tape, expected) = tape.decode(&message);
                    assert_eq!((decoded.is_ok(), &events), (by_tape.is_ok(), &expected), "{message}");
                    assert_eq!(decoded.is_ok(), serde_json::from_str::<Value>(&message).is_ok(), "{message}");
                    if let Ok(decoded) = decoded {
                        assert!(
                            matches!(&events[..], [Event::Trade(trade)] if trade.meta.symbol.index() == at),
                            "{message}"
                        );
                        assert_eq!(decoded == Decoded::Data(Tier::One), name == escaped, "{message}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_message_is_of_the_symbol_that_its_payload_names_whatever_its_stream_begins_with() {
    for (channel, payload) in CHANNELS {
        let alone = one(&mut usdm(), payload, Decoded::Data(Tier::One));
        for name in ["ethusdt", "BTCUSDT", "btcusdc", "x", "btcusdtbtcusdt", "btcusdtbtcusdtbtcusdt"] {
            let wrapped = format!(r#"{{"stream":"{name}@{channel}","data":{payload}}}"#);
            assert_eq!(one(&mut usdm(), &wrapped, Decoded::Data(Tier::One)), alone, "{wrapped}");
        }
    }
}

/// The streams whose channel is foretold, each with a payload.
const CHANNELS: [(&str, &str); 8] = [
    ("trade", TRADE),
    ("bookTicker", FUTURES_QUOTE),
    (
        "depth@100ms",
        r#"{"e":"depthUpdate","E":1571889248277,"T":1571889248276,"s":"BTCUSDT","U":390497796,"u":390497878,"pu":390497794,"b":[["7403.89","0.002"]],"a":[]}"#,
    ),
    (
        "aggTrade",
        r#"{"e":"aggTrade","E":1672515782136,"s":"BTCUSDT","a":12345,"p":"0.50","q":"100","f":100,"l":105,"T":1672515782136,"m":true}"#,
    ),
    (
        "ticker",
        r#"{"e":"24hrTicker","E":1672515782136,"s":"BTCUSDT","p":"0.15","P":"250.00","w":"0.18","c":"0.25","Q":"10","o":"0.10","h":"0.25","l":"0.10","v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}"#,
    ),
    (
        "miniTicker",
        r#"{"e":"24hrMiniTicker","E":1672515782136,"s":"BTCUSDT","c":"0.25","o":"0.10","h":"0.25","l":"0.10","v":"10000","q":"18"}"#,
    ),
    (
        "markPrice",
        r#"{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15","i":"11784.62","P":"11784.25","r":"0.00038167","T":1562306400000}"#,
    ),
    (
        "kline_1m",
        r#"{"e":"kline","E":1638747660000,"s":"BTCUSDT","k":{"t":1638747660000,"T":1638747719999,"s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}"#,
    ),
];

#[test]
fn quotes_of_both_product_lines_are_read_at_tier_one() {
    let event = one(&mut spot(), QUOTE, Decoded::Data(Tier::One));
    let Event::Quote(quote) = event else { panic!() };
    assert_eq!((quote.bid.price.mantissa(), quote.ask.qty.mantissa()), (2535, 40660));
    assert_eq!((quote.meta.event_time, quote.update_id), (None, 400_900_217));
    let mut bench = usdm();
    let first = one(&mut bench, FUTURES_QUOTE, Decoded::Data(Tier::One));
    let older = r#"{"e":"bookTicker","u":400900217,"s":"BTCUSDT","b":"25.35","B":"31.21","a":"25.36","A":"40.66","T":1568014460891,"E":1568014460893}"#;
    assert_eq!(one(&mut bench, older, Decoded::Data(Tier::One)), first);
}

#[test]
fn an_order_nobody_documented_is_read_by_tier_two_once_and_by_tier_one_from_then_on() {
    let mut bench = spot();
    let drifted = r#"{"zz":-1.5,"s":"BTCUSDT","e":"trade","q":"0.250","p":"16500.10","E":1672515782136,"t":12345,"m":true,"T":1672515782130}"#;
    let expected = one(&mut spot(), TRADE, Decoded::Data(Tier::One));
    assert_eq!(one(&mut bench, drifted, Decoded::Data(Tier::TwoAfterOne)), expected);
    assert_eq!(one(&mut bench, drifted, Decoded::Data(Tier::One)), expected);
    assert_eq!(one(&mut bench, TRADE, Decoded::Data(Tier::One)), expected, "the documented order is not forgotten");
    let nested = drifted.replace("-1.5", "{}");
    assert_eq!(one(&mut bench, &nested, Decoded::Data(Tier::TwoAfterOne)), expected);
    assert_eq!(one(&mut bench, &nested, Decoded::Data(Tier::TwoAfterOne)), expected, "a nested value is not learned");
}

#[test]
fn a_number_without_quotes_is_read_exactly() {
    let mut bench = spot();
    let drifted = TRADE.replace("\"16500.10\"", "16500.10").replace("\"0.250\"", "0.250");
    assert_eq!(
        one(&mut bench, &drifted, Decoded::Data(Tier::TwoAfterOne)),
        one(&mut spot(), TRADE, Decoded::Data(Tier::One))
    );
    assert_eq!(bench.refusal(TRADE.replace("\"16500.10\"", "1.65e4")), (Reason::BadNumber, "p"));
    assert_eq!(bench.refusal(TRADE.replace("\"16500.10\"", "16500.101")), (Reason::OffGrid, "p"));
}

#[test]
fn a_book_whose_members_move_is_read_by_tier_two_once() {
    let update = r#"{"e":"depthUpdate","s":"BTCUSDT","U":157,"E":5,"zz":"new","u":160,"a":[["0.26","1"]],"b":[["0.24","10"],["0.23","2"]]}"#;
    let partial = r#"{"asks":[["0.26","1"]],"bids":[["0.24","10"],["0.23","2"]],"lastUpdateId":160}"#;
    for (payload, stream) in [(update, "btcusdt@depth@100ms"), (partial, "btcusdt@depth5")] {
        let mut bench = spot();
        let message = format!(r#"{{"stream":"{stream}","data":{payload}}}"#);
        let event = one(&mut bench, &message, Decoded::Data(Tier::TwoAfterOne));
        let Event::Book { ids, bids, asks, .. } = &event else { panic!("{event:?}") };
        assert_eq!((ids.last, bids.len(), asks.len(), bids[1].price.mantissa()), (160, 2, 1, 23), "{stream}");
        assert_eq!(one(&mut bench, &message, Decoded::Data(Tier::One)), event, "the order was learned: {stream}");
        assert_eq!(one(&mut bench, &message, Decoded::Data(Tier::One)), event, "{stream}");
    }
}

#[test]
fn an_object_without_its_brace_is_no_object() {
    let mut bench = usdm();
    // The order of a quote that begins with an optional member is the preferred one from here on.
    one(&mut bench, FUTURES_QUOTE, Decoded::Data(Tier::One));
    let message = r#"{"stream":"btcusdt@bookTicker","data":,"u":400900217,"s":"BTCUSDT","b":"25.35","B":"31.21","a":"25.36","A":"40.66"}}"#;
    assert_eq!(bench.refusal(message), (Reason::NotJson, ""));
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    let twice = TRADE.replace("\"t\":12345", "\"t\":1,\"t\":12345");
    assert_eq!(
        one(&mut spot(), &twice, Decoded::Data(Tier::TwoAfterOne)),
        one(&mut spot(), TRADE, Decoded::Data(Tier::One))
    );
}

#[test]
fn each_refusal_names_its_reason_and_member() {
    let mut bench = spot();
    assert_eq!(bench.refusal(TRADE.replace("BTCUSDT", "XRPUSDT")), (Reason::UnknownSymbol, "s"));
    assert_eq!(bench.refusal(TRADE.replace("16500.10", "16500.101")), (Reason::OffGrid, "p"));
    assert_eq!(bench.refusal(TRADE.replace("16500.10", "")), (Reason::BadNumber, "p"));
    assert_eq!(bench.refusal(TRADE.replace("\"t\":12345", "\"t\":-1")), (Reason::BadNumber, "t"));
    assert_eq!(bench.refusal(TRADE.replace("\"t\":12345", "\"t\":99999999999999999999999")), (Reason::BadNumber, "t"));
    assert_eq!(bench.refusal(TRADE.replace("\"t\":12345,", "")), (Reason::MissingField, "t"));
    assert_eq!(bench.refusal(TRADE.replace("\"t\":12345", "\"t\":\"12345\"")), (Reason::WrongType, "t"));
    assert_eq!(bench.refusal(TRADE.replace("\"m\":true", "\"m\":1")), (Reason::WrongType, "m"));
    assert_eq!(bench.refusal(TRADE.replace("\"trade\"", "\"newTrade\"")), (Reason::UnknownShape, "e"));
    assert_eq!(bench.refusal("{}"), (Reason::UnknownShape, ""));
    assert_eq!(bench.refusal("[]x"), (Reason::NotJson, ""));
    assert_eq!(bench.refusal(b"\xff\xfe".as_slice()), (Reason::NotJson, ""));
    assert_eq!(
        bench.refusal(TRADE.as_bytes().iter().map(|&byte| if byte == b'1' { 0xff } else { byte }).collect::<Vec<_>>()),
        (Reason::NotJson, "")
    );
    assert_eq!(bench.refusal(r#"{"lastUpdateId":1,"bids":[],"asks":[]}"#), (Reason::UnknownShape, "stream"));
    let rpi = r#"{"stream":"btcusdt@rpiDepth@500ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"pu":0,"b":[],"a":[]}}"#;
    assert_eq!(bench.refusal(rpi), (Reason::UnknownShape, "stream"));
}

#[test]
fn a_truncated_message_is_not_json_wherever_it_ends() {
    let mut bench = spot();
    for message in [TRADE, QUOTE, FUTURES_QUOTE] {
        for length in 0..message.len() {
            assert_eq!(bench.refusal(&message[..length]).0, Reason::NotJson, "{length} of {message}");
        }
    }
}

#[test]
fn control_messages_are_not_data() {
    let mut bench = spot();
    for message in [
        r#"{"result":null,"id":1}"#,
        r#"{"id":2,"result":["btcusdt@trade"]}"#,
        r#"{"code":2,"msg":"Invalid request: unknown"}"#,
        r#"{"error":{"code":4,"msg":"Too many subscriptions"},"id":19}"#,
        r#"{"e":"serverShutdown","E":1770123456789}"#,
        r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#,
    ] {
        assert_eq!(bench.decode(message), (Ok(Decoded::Control), vec![]), "{message}");
    }
}

#[test]
fn partial_depth_is_named_by_its_stream() {
    let payload = r#"{"lastUpdateId":160,"bids":[["0.24","10"]],"asks":[["0.26","100"],["0.27",1.5]]}"#;
    let wrapped = format!(r#"{{"stream":"btcusdt@depth5@100ms","data":{payload}}}"#);
    let event = one(&mut spot(), &wrapped, Decoded::Data(Tier::TwoAfterOne));
    let Event::Book { kind, ids, depth, bids, asks, .. } = &event else { panic!("{event:?}") };
    assert_eq!((*kind, ids.first, ids.last, *depth), (BookKind::Partial, 160, 160, 5));
    assert_eq!((bids.len(), asks[1].price.mantissa(), asks[1].qty.mantissa()), (1, 27, 1500));
    let mut raw = Bench::new(Venue::BinanceSpot, Some("btcusdt@depth5@100ms"));
    assert_eq!(one(&mut raw, payload, Decoded::Data(Tier::TwoAfterOne)), event);
    assert_eq!(one(&mut raw, payload, Decoded::Data(Tier::TwoAfterOne)), event, "the stream's name is kept");
    let update = r#"{"e":"depthUpdate","E":123456789,"T":123456788,"s":"BTCUSDT","ps":"BTCUSDT","st":1,"U":157,"u":160,"pu":149,"b":[["0.24","10"]],"a":[]}"#;
    for (stream, kind, depth) in
        [("btcusdt@depth20", BookKind::Partial, 20), ("btcusdt@depth@100ms", BookKind::Delta, 0)]
    {
        let message = format!(r#"{{"stream":"{stream}","data":{update}}}"#);
        let event = one(&mut usdm(), &message, Decoded::Data(Tier::One));
        let Event::Book { kind: found, depth: found_depth, ids, .. } = event else { panic!() };
        assert_eq!((found, found_depth, ids.previous, ids.first), (kind, depth, Some(149), 157));
    }
}

#[test]
fn more_levels_than_the_scratch_holds_are_refused_and_as_many_are_taken() {
    let limit = crate::limits::LEVEL_COUNT_MAX;
    let message = |count: usize| {
        let levels = vec![r#"["1","1"]"#; count].join(",");
        format!(r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[{levels}],"a":[["1",2]]}}"#)
    };
    let mut bench = spot();
    let event = one(&mut bench, &message(limit - 1), Decoded::Data(Tier::TwoAfterOne));
    assert!(matches!(event, Event::Book { bids, asks, .. } if bids.len() == limit - 1 && asks.len() == 1));
    assert_eq!(bench.refusal(message(limit)), (Reason::TooManyLevels, "a"));
}

#[test]
fn statistics_keep_their_own_scale_and_percent_becomes_a_ratio() {
    let payload = r#"{"e":"24hrTicker","E":123456789,"s":"BTCUSDT","p":"0.0015","P":"-0.786","w":"0.0018","c":"0.25","Q":"10","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}"#;
    let event = one(&mut usdm(), payload, Decoded::Data(Tier::One));
    let Event::Ticker(ticker) = event else { panic!() };
    assert_eq!(ticker.change_ratio, Decimal::parse(b"-0.00786").unwrap());
    assert_eq!((ticker.last_price.mantissa(), ticker.trade_count), (25, 18151));
    assert!(ticker.known.contains(TickerFields::WEIGHTED_AVERAGE) && !ticker.known.contains(TickerFields::BID));
    let mini = r#"{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker","E":1,"s":"NOBODY","c":"1","o":"1","h":"1","l":"1","v":"1","q":"1"},{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"1","o":"1","h":"1","l":"1","v":"1","q":"1"},7]}"#;
    let (decoded, events) = usdm().decode(mini);
    assert_eq!(decoded, Ok(Decoded::Data(Tier::TwoAfterOne)));
    assert_eq!(events[0], Event::Refused(Reason::UnknownSymbol));
    assert!(matches!(&events[1], Event::Ticker(_)));
    assert_eq!(events[2..], [Event::Refused(Reason::UnknownShape)]);
}

#[test]
fn half_a_side_of_a_ticker_is_none_and_must_be_a_number() {
    let payload = |members: &str| {
        format!(
            r#"{{"e":"24hrTicker","E":1,"s":"BTCUSDT","p":"0","P":"0.1","w":"1","x":"1","c":"1","Q":"1"{members},"o":"1","h":"1","l":"1","v":"123456789012.5","q":"-123456789012345678901234567890.12345678","O":0,"C":1,"F":0,"L":1,"n":2}}"#
        )
    };
    let both = TickerFields::BID | TickerFields::ASK;
    for (members, known) in [
        ("", TickerFields::NONE),
        (r#","b":"1.5","B":"1""#, TickerFields::BID),
        (r#","b":"1.5""#, TickerFields::NONE),
        (r#","B":"1","A":"2""#, TickerFields::NONE),
        (r#","b":"1.5","B":"1","a":"1.6","A":"1""#, both),
        (r#","b":"1.5","B":"1","a":"1.6""#, TickerFields::BID),
    ] {
        let Event::Ticker(ticker) = one(&mut spot(), &payload(members), Decoded::Data(Tier::One)) else { panic!() };
        assert_eq!(TickerFields(ticker.known.0 & both.0), known, "{members}");
        assert_eq!(ticker.volume, Decimal::parse(b"123456789012.5").unwrap());
        assert_eq!(ticker.turnover, Decimal::parse(b"-123456789012345678901234567890.12345678").unwrap());
    }
    for (member, field) in [("b", "b"), ("B", "b"), ("a", "a"), ("A", "a")] {
        let half = payload(&format!(r#","{member}":"1.5x""#));
        assert_eq!(spot().refusal(half), (Reason::BadNumber, field));
    }
}

#[test]
fn a_ticker_has_nothing_of_the_one_whose_place_it_takes() {
    let full = |symbol: &str, price: &str, members: &str| {
        format!(
            r#"{{"e":"24hrTicker","E":{},"s":"{symbol}","P":"{price}","w":"{price}","c":"{price}","Q":"{price}"{members},"o":"{price}","h":"{price}","l":"{price}","v":"{price}","q":"{price}","n":{}}}"#,
            price.len(),
            members.len()
        )
    };
    let mini = |symbol: &str, price: &str, last: &str| {
        format!(
            r#"{{"e":"24hrMiniTicker","E":{},"s":"{symbol}","c":"{price}","o":"{price}","h":"{price}","l":"{price}","v":"{price}","q":"{last}}}"#,
            symbol.len()
        )
    };
    let messages = [
        full("BTCUSDT", "1.5", ""),
        full("ETHUSDT", "1.55", ""),
        full("BTCUSDT", "2.5", r#","b":"1.5","B":"1","a":"1.6","A":"1""#),
        full("ETHUSDT", "2.55", r#","b":"2.5","B":"3","a":"2.6","A":"5""#),
        full("BTCUSDT", "3.5", r#","b":"1.4","B":"2""#),
        full("BTCUSDT", "4.5", r#","b":"1.3","a":"1.7","A":"3""#),
        full("BTCUSDT", "4.5", r#","b":"1.3","a":"1.7","A":"3""#).replace("\"P\":", "\"p\":\"0\",\"P\":"),
        mini("BTCUSDT", "5.5", "5.5\""),
        mini("ETHUSDT", "5.55", "5\",\"st\":1"),
        // Refused: at the last member, and as nobody asked for it.
        mini("BTCUSDT", "6.5", "x\""),
        mini("XRPUSDT", "6.5", "6\""),
        full("BTCUSDT", "x", r#","b":"1.2","B":"4""#),
    ];
    for (first, second) in messages.iter().flat_map(|first| messages.iter().map(move |second| (first, second))) {
        let alone = [first, second].map(|message| spot().decode(message));
        let mut bench = spot();
        assert_eq!([first, second].map(|message| bench.decode(message)), alone, "{first} {second}");
        for array in [format!("[{first},{second},{first}]"), format!("[{second},{first},{first},{second}]")] {
            assert_eq!(bench.decode(&array), spot().decode(&array), "{array}");
        }
    }
}

#[test]
fn a_sell_order_of_the_venue_is_a_liquidated_long() {
    let payload = r#"{"e":"forceOrder","E":1568014460893,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014","p":"9910","ap":"9910.12345678","X":"FILLED","l":"0.014","z":"0.014","T":1568014460893}}"#;
    let Event::Liquidation(event) = one(&mut usdm(), payload, Decoded::Data(Tier::One)) else { panic!() };
    assert_eq!((event.position, event.price.mantissa()), (Side::Buy, 991_000));
    assert_eq!(event.average_price, Some(Decimal::parse(b"9910.12345678").unwrap()));
}

#[test]
fn klines_mark_prices_and_aggregates_are_read() {
    let candle = r#"{"e":"kline","E":1638747660000,"s":"BTCUSDT","k":{"t":1638747660000,"T":1638747719999,"s":"BTCUSDT","i":"1M","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0010","v":"1000","n":100,"x":true,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}"#;
    let Event::Kline(event) = one(&mut usdm(), candle, Decoded::Data(Tier::One)) else { panic!() };
    assert_eq!((event.interval, event.is_closed, event.trade_count), (KlineInterval::Months(1), true, Some(100)));
    assert_eq!(usdm().refusal(candle.replace("1M", "1q")), (Reason::WrongType, "i"));
    let mark = r#"{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","i":"11784.62659091","P":"11784.25641265","r":"","T":0,"st":1}"#;
    let Event::MarkPrice(event) = one(&mut usdm(), mark, Decoded::Data(Tier::One)) else { panic!() };
    assert_eq!((event.funding_rate, event.next_funding_time, event.mark_average), (None, None, None));
    assert_eq!(event.index, Some(Decimal::parse(b"11784.62659091").unwrap()));
    let aggregate = r#"{"e":"aggTrade","E":123456789,"s":"BTCUSDT","a":5933014,"p":"0.01","q":"100","nq":"90","f":100,"l":105,"T":123456785,"m":false,"st":1}"#;
    let Event::AggTrade(event) = one(&mut usdm(), aggregate, Decoded::Data(Tier::One)) else { panic!() };
    assert_eq!(
        (event.id, event.qty_without_rpi, event.taker),
        (5_933_014, Some(Qty::from_mantissa(90_000)), Side::Buy)
    );
    let insurance = r#"{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":5,"p":"0","q":"0","X":"NA","m":true}"#;
    assert!(matches!(one(&mut usdm(), insurance, Decoded::Data(Tier::One)), Event::Trade(_)), "delivered as it is");
}

fn generated<S: Shape>(generator: &mut Generator, order: usize, style: Style) -> String {
    let order = S::ORDERS[order % S::ORDERS.len()];
    generator.object(S::MEMBERS, order, style, |generator, key| match key {
        "s" => {
            let name = ["BTCUSDT", "ETHUSDT"][usize::from(generator.below(2) == 1)];
            Some(generator.string(name, style))
        }
        "E" | "T" => Some(generator.time_ms().to_string()),
        _ => None,
    })
}

#[test]
fn every_number_of_every_channel_is_read_or_the_message_refused() {
    let bare = |data: &str| data.to_owned();
    every_number_is_read::<TradeShape>(spot, bare);
    every_number_is_read::<AggTradeShape>(spot, bare);
    every_number_is_read::<QuoteShape>(spot, bare);
    every_number_is_read::<TickerShape>(spot, bare);
    every_number_is_read::<MiniTickerShape>(spot, bare);
    every_number_is_read::<MarkPriceShape>(usdm, bare);
    every_number_is_read::<CandleShape>(spot, |data| {
        format!(r#"{{"e":"kline","E":1672515782136,"s":"BTCUSDT","k":{data}}}"#)
    });
    every_number_is_read::<LiquidationOrderShape>(usdm, |data| {
        format!(r#"{{"e":"forceOrder","E":1672515782136,"o":{data}}}"#)
    });
}

/// Any message tier one takes must say the same to tier two, which a space in front forces.
fn both_tiers_agree(message: &[u8]) -> Result<Decoded, TestCaseError> {
    let mut bench = spot();
    let (first, events) = bench.decode(message);
    let mut spaced = vec![b' '];
    spaced.extend_from_slice(message);
    let expected = Bench::of_tape(Venue::BinanceSpot, None).decode(message);
    prop_assert_eq!(&spot().decode(&spaced), &expected);
    match (first, expected.0) {
        (Ok(Decoded::Data(_)), Ok(Decoded::Data(_))) => prop_assert_eq!(events, expected.1),
        (first, expected) => prop_assert_eq!(first, expected),
    }
    if first == Ok(Decoded::Data(Tier::One)) {
        prop_assert!(serde_json::from_slice::<Value>(message).is_ok(), "tier one took what is not JSON");
    }
    Ok(first.unwrap_or(Decoded::Control))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn generated_messages_mean_the_same_at_both_tiers(seed in any::<u64>(), is_trade in any::<bool>(), is_wrapped in any::<bool>()) {
        let mut generator = Generator::new(seed);
        let style = generator.style();
        let order = generator.below(3) as usize;
        let payload = if is_trade { generated::<TradeShape>(&mut generator, order, style) } else { generated::<QuoteShape>(&mut generator, order, style) };
        let stream = if is_trade { "btcusdt@trade" } else { "btcusdt@bookTicker" };
        let message = if is_wrapped { format!(r#"{{"stream":"{stream}","data":{payload}}}"#) } else { payload };
        let decoded = both_tiers_agree(message.as_bytes())?;
        let strays = style.is_shuffled || style.is_spaced || style.has_unknown || style.is_escaped;
        if !strays {
            prop_assert_eq!(decoded, Decoded::Data(Tier::One), "{}", message);
        }
    }

    #[test]
    fn one_changed_byte_is_refused_or_read_as_any_json_reader_would(seed in any::<u64>(), is_trade in any::<bool>(), at in any::<prop::sample::Index>(), byte in prop_oneof![any::<u8>(), 0x20_u8..0x7f], change in 0..3) {
        let mut generator = Generator::new(seed);
        let payload = if is_trade { generated::<TradeShape>(&mut generator, seed as usize % TradeShape::ORDERS.len(), Style::default()) } else { generated::<QuoteShape>(&mut generator, seed as usize % QuoteShape::ORDERS.len(), Style::default()) };
        let mut message = payload.into_bytes();
        let at = at.index(message.len());
        match change {
            0 => message[at] = byte,
            1 => { message.remove(at); }
            _ => message.insert(at, byte),
        }
        let mut bench = spot();
        let (decoded, events) = bench.decode(&message);
        if decoded == Ok(Decoded::Data(Tier::One)) {
            let value: Value = serde_json::from_slice(&message).expect("tier one took what is not JSON");
            match &events[..] {
                [Event::Trade(event)] => {
                    prop_assert_eq!(event.id, TradeId::Number(value["t"].as_u64().unwrap()));
                    prop_assert_eq!(event.price.at_scale(2), Decimal::parse(value["p"].as_str().unwrap().as_bytes()).unwrap());
                    prop_assert_eq!(event.qty.at_scale(3), Decimal::parse(value["q"].as_str().unwrap().as_bytes()).unwrap());
                    prop_assert_eq!(event.taker == Side::Sell, value["m"].as_bool().unwrap());
                    prop_assert_eq!(event.meta.event_time.map_or(0, |time| time.ns() / 1_000_000), value["E"].as_i64().unwrap());
                    prop_assert_eq!(event.meta.matching_time.map_or(0, |time| time.ns() / 1_000_000), value["T"].as_i64().unwrap());
                }
                [Event::Quote(event)] => {
                    prop_assert_eq!(event.update_id, value["u"].as_u64().unwrap());
                    for (key, found) in [("b", event.bid.price.at_scale(2)), ("B", event.bid.qty.at_scale(3)), ("a", event.ask.price.at_scale(2)), ("A", event.ask.qty.at_scale(3))] {
                        prop_assert_eq!(found, Decimal::parse(value[key].as_str().unwrap().as_bytes()).unwrap());
                    }
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (decoded, events) = spot().decode(&bytes);
        prop_assert!(decoded.is_err() || events.iter().all(|event| matches!(event, Event::Refused(_))));
    }
}
