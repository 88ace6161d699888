#![expect(clippy::cast_possible_truncation, reason = "choices among a few")]

use super::shapes::{CandleShape, EnvelopeShape, LiquidationShape, QuoteShape, TickerShape, TradeShape, ticker};
use crate::market::{BookKind, Decimal, KlineInterval, Level, Price, Qty, Side, TickerFields, TradeId, Uuid, Venue};
use crate::venue::generate::{Generator, Style, every_number_is_read};
use crate::venue::ledger::{Bench, Event};
use crate::venue::shape::{Kind, Shape};
use crate::venue::{Cpu, Decoded, Reason, Tier};
use proptest::prelude::*;

const TRADES: &str = r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,"RPI":true,"seq":7},{"T":1672304486866,"s":"BTCUSDT","S":"Sell","v":"0.002","p":"16578.4","L":"MinusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023b0","BT":true}]}"#;
const SPOT_TRADE: &str = r#"{"topic":"publicTrade.BTCUSDT","ts":1672304486868,"type":"snapshot","data":[{"i":"2290000001189048101","T":1672304486865,"p":"16578.50","v":"0.001","S":"Buy","seq":112488547164,"s":"BTCUSDT","BT":false,"RPI":false}]}"#;
const OLD_LIQUIDATION: &str = r#"{"topic":"liquidation.BTCUSDT","data":{"symbol":"BTCUSDT","side":"Sell","price":"0.04","qty":"2","time":1739502302929}}"#;
const OLD_LIQUIDATION_LATER: &str = r#"{"topic":"liquidation.BTCUSDT","type":"snapshot","ts":1739502303204,"data":{"price":"0.04","side":"Sell","size":"2","symbol":"BTCUSDT","updatedTime":1739502302929}}"#;
const QUOTE: &str = r#"{"topic":"orderbook.1.BTCUSDT","ts":1672304486868,"type":"snapshot","data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[],"u":18521288,"seq":7961638724},"cts":1672304486860}"#;
const TICKER: &str = r#"{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","tickDirection":"PlusTick","price24hPcnt":"0.017103","lastPrice":"17216.00","markPrice":"17217.33","openInterest":"68744.761","nextFundingTime":"1673280000000","fundingRate":"-0.000212","bid1Price":"17215.50","bid1Size":"84.489"},"cs":24987956059,"ts":1673272861686}"#;
const TICKER_DELTA: &str = r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","bid1Size":"1","fundingRate":""},"cs":24987956060,"ts":1673272861786}"#;

fn linear() -> Bench {
    Bench::new(Venue::BybitLinear, None)
}

fn good(bench: &mut Bench, message: &str, tier: Tier) -> Vec<Event> {
    let (decoded, events) = bench.decode(message);
    assert_eq!(decoded, Ok(Decoded::Data(tier)), "{message}");
    events
}

#[test]
fn a_depth_that_the_venue_has_is_read_as_any_other() {
    let depths = (0..=1_100).chain([65_535, 65_536]).map(|depth| depth.to_string());
    for depth in depths.chain(["", "050", "0050", "5", "50x", "2000", "10000", "+50", "50 "].map(str::to_owned)) {
        for behind in ["", ".", ".BTCUSDT", ".50.BTCUSDT"] {
            let topic = format!("orderbook.{depth}{behind}");
            let expected = super::depth_of(&topic.as_bytes()["orderbook.".len()..]);
            assert_eq!(super::book_depth(topic.as_bytes()), expected, "{topic}");
        }
    }
    assert_eq!(super::book_depth(b"orderbook.50.BTCUSDT"), Some(50));
    for topic in ["", "orderbook", "orderbook.", "orderbooks.50.BTCUSDT", "Orderbook.50.BTCUSDT"] {
        assert_eq!(super::book_depth(topic.as_bytes()), None, "{topic}");
    }
}

#[test]
fn a_message_is_of_the_symbol_that_its_data_names_whatever_its_topic_ends_with() {
    let expected = good(&mut linear(), TRADES, Tier::One);
    for name in ["ETHUSDT", "BTCUSDC", "btcusdt", "", "X", "BTCUSDTBTCUSDTBTCUSDT", "B.BTCUSDT"] {
        let message = TRADES.replace("publicTrade.BTCUSDT", &format!("publicTrade.{name}"));
        assert_eq!(good(&mut linear(), &message, Tier::One), expected, "{name}");
    }
    for message in [TICKER, OLD_LIQUIDATION, OLD_LIQUIDATION_LATER] {
        let expected = good(&mut linear(), message, Tier::One);
        for name in ["ETHUSDT", "BTCUSDC", "btcusdt", "", "X", "BTCUSDTBTCUSDTBTCUSDT", "B.BTCUSDT"] {
            let message = message.replace(".BTCUSDT\"", &format!(".{name}\""));
            assert_eq!(good(&mut linear(), &message, Tier::One), expected, "{message}");
        }
    }
}

#[test]
fn all_trades_of_a_message_are_read_at_tier_one() {
    let events = good(&mut linear(), TRADES, Tier::One);
    let [Event::Trade(first), Event::Trade(second)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(first.id, TradeId::Uuid(Uuid::from_bits(0x20f4_3950_d8dd_5b31_9112_a178_eb60_23af)));
    assert_eq!((first.price.mantissa(), first.qty.mantissa(), first.taker), (1_657_850, 1, Side::Buy));
    assert_eq!((first.sequence, first.is_rpi, second.is_block, second.sequence), (Some(7), true, true, None));
    assert_eq!(second.meta.event_time.unwrap().ns(), 1_672_304_486_868_000_000);
    assert_eq!(second.meta.matching_time.unwrap().ns(), 1_672_304_486_866_000_000);
    assert_eq!(good(&mut linear(), &format!(" {TRADES}"), Tier::TwoAfterOne), events);
    let spot = good(&mut Bench::new(Venue::BybitSpot, None), SPOT_TRADE, Tier::One);
    assert!(matches!(&spot[..], [Event::Trade(trade)] if trade.id == TradeId::Number(2_290_000_001_189_048_101)));
}

#[test]
fn a_bad_trade_is_refused_alone() {
    let mut bench = linear();
    let events = good(&mut bench, &TRADES.replace("16578.50", "16578.501"), Tier::TwoOnly);
    assert_eq!(events[0], Event::Refused(Reason::OffGrid));
    assert!(matches!(events[1], Event::Trade(_)) && events.len() == 2);
    assert_eq!(bench.refusal(TRADES.replace("snapshot", "delta")), (Reason::WrongType, "type"));
}

#[test]
fn depth_one_is_a_quote_and_an_empty_side_has_no_quantity() {
    let mut bench = linear();
    let events = good(&mut bench, QUOTE, Tier::One);
    let [Event::Quote(quote)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((quote.bid.price.mantissa(), quote.bid.qty.mantissa(), quote.ask), (1_649_350, 6, Level::default()));
    assert_eq!((quote.update_id, quote.sequence), (18_521_288, Some(7_961_638_724)));
    assert_eq!(quote.meta.matching_time.unwrap().ns(), 1_672_304_486_860_000_000);
    let turned = QUOTE
        .replace(
            r#""ts":1672304486868,"type":"snapshot","#,
            r#""cts":1672304486860,"type":"snapshot","ts":1672304486868,"#,
        )
        .replace(r#","cts":1672304486860}"#, "}");
    assert_eq!(good(&mut bench, &turned, Tier::TwoAfterOne), events);
    assert_eq!(good(&mut bench, &turned, Tier::One), events, "the order was learned");
    assert_eq!(bench.refusal(QUOTE.replace("snapshot", "delta")), (Reason::WrongType, "type"));
}

#[test]
fn books_carry_their_depth_and_both_sequences() {
    let message = r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["16493.50","0"]],"a":[["16611.00","0.029"],["16612.00","0.213"]],"u":177400507,"seq":66544703342},"cts":1672304484976}"#;
    let mut bench = linear();
    let events = good(&mut bench, message, Tier::One);
    let [Event::Book { kind, ids, depth, bids, asks, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*kind, *depth, bids.len(), asks.len()), (BookKind::Delta, 50, 1, 2));
    assert_eq!((ids.first, ids.last, ids.previous, ids.cross), (177_400_507, 177_400_507, None, Some(66_544_703_342)));
    for topic in ["orderbook.rpi.BTCUSDT", "orderbook.full.BTCUSDT", "priceLimit.BTCUSDT"] {
        assert_eq!(bench.refusal(message.replace("orderbook.50.BTCUSDT", topic)), (Reason::UnknownShape, "topic"));
    }
}

#[test]
fn a_book_whose_members_move_is_read_by_tier_two_once() {
    let message = r#"{"type":"delta","topic":"orderbook.50.BTCUSDT","data":{"u":7,"s":"BTCUSDT","a":[["16611.00","0.029"]],"b":[["16493.50","0"],["16493","1"]]},"ts":1672304484978}"#;
    let mut bench = linear();
    let events = good(&mut bench, message, Tier::TwoAfterOne);
    let [Event::Book { ids, bids, asks, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((ids.last, bids.len(), asks.len(), bids[1].price.mantissa()), (7, 2, 1, 1_649_300));
    assert_eq!(good(&mut bench, message, Tier::One), events, "the order was learned");
}

#[test]
fn a_ticker_is_merged_and_needs_its_snapshot_on_this_connection() {
    let mut bench = linear();
    assert_eq!(bench.refusal(TICKER_DELTA), (Reason::NoSnapshot, "type"));
    good(&mut bench, TICKER, Tier::One);
    let events = good(&mut bench, TICKER_DELTA, Tier::TwoAfterOne);
    let [Event::Ticker(merged)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((merged.bid.price.mantissa(), merged.bid.qty.mantissa()), (1_721_550, 1_000));
    assert_eq!(merged.mark_price, Decimal::parse(b"17217.33").unwrap());
    assert_eq!(merged.changed, TickerFields::BID | TickerFields::FUNDING_RATE);
    assert!(merged.known.contains(TickerFields::MARK_PRICE | TickerFields::NEXT_FUNDING_TIME));
    assert!(!merged.known.contains(TickerFields::FUNDING_RATE), "an empty text is not known");
    assert_eq!(bench.refusal(TICKER_DELTA.replace("\"1\"", "\"1.0001\"")), (Reason::OffGrid, "bid1Size"));
    assert_eq!(bench.refusal(TICKER_DELTA.replace("BTCUSDT", "ETHUSDT")), (Reason::NoSnapshot, "type"));
    bench.decoder.connection_started();
    assert_eq!(bench.refusal(TICKER_DELTA), (Reason::NoSnapshot, "type"));
}

#[test]
fn a_book_of_a_topic_without_a_symbol_or_with_a_quantity_below_zero_is_refused() {
    let book = r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"s":"BTCUSDT","b":[["2","1"]],"a":[],"u":2,"seq":3},"cts":4}"#;
    for form in [str::to_owned as fn(&str) -> String, |message| format!(" {message}")] {
        assert_eq!(linear().decode(form(book)).1.len(), 1);
        assert_eq!(linear().refusal(form(&book.replace(".BTCUSDT", ""))), (Reason::UnknownShape, "topic"));
        assert_eq!(linear().refusal(form(&book.replace("\"1\"", "\"-1\""))), (Reason::BadNumber, "b"));
        assert_eq!(linear().refusal(form(&book.replace("[\"2\",\"1\"", "[ \"2\",-1"))), (Reason::BadNumber, "b"));
    }
}

#[test]
fn a_topic_that_names_no_symbol_is_none_in_either_tier() {
    let liquidations = r#"{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1739502303204,"data":[{"T":1739502302929,"s":"BTCUSDT","S":"Sell","v":"2","p":"0.04"}]}"#;
    let kline = r#"{"topic":"kline.5.BTCUSDT","data":[{"start":1672324800000,"end":1672325099999,"interval":"5","open":"16649.5","close":"16677","high":"16677","low":"16608","volume":"2.081","turnover":"34666.4005","confirm":false,"timestamp":1672324988882}],"ts":1672324988882,"type":"snapshot"}"#;
    for (message, topics) in [
        (liquidations, &["allLiquidation"][..]),
        (kline, &["kline", "kline.5"]),
        (TICKER, &["tickers"]),
        (TRADES, &["publicTrade"]),
        (QUOTE, &["orderbook", "orderbook.1"]),
    ] {
        good(&mut linear(), message, Tier::One);
        let (start, rest) = message.split_once("\"topic\":\"").unwrap();
        let (_, rest) = rest.split_once('"').unwrap();
        for topic in topics {
            for space in ["", " "] {
                let message = format!("{space}{start}\"topic\":\"{topic}\"{rest}");
                let refused = linear().decode(&message).0.map_err(|error| error.reason);
                assert_eq!(refused, Err(Reason::UnknownShape), "{message}");
            }
        }
    }
}

#[test]
fn half_a_side_of_a_ticker_is_not_known_before_the_other_half() {
    let whole = TickerFields::BID | TickerFields::ASK;
    let message = |kind: &str, members: &str| {
        let data = format!(r#"{{"symbol":"BTCUSDT"{members}}}"#);
        format!(r#"{{"topic":"tickers.BTCUSDT","type":"{kind}","data":{data},"cs":1,"ts":1673272861786}}"#)
    };
    let mut bench = linear();
    let mut known = |kind: &str, members: &str| {
        let [Event::Ticker(ref ticker)] = bench.decode(message(kind, members)).1[..] else { panic!("{members}") };
        (TickerFields(ticker.known.0 & whole.0), ticker.bid)
    };
    let level = |price, qty| Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) };
    assert_eq!(
        known("snapshot", r#","bid1Price":"5","ask1Size":"7""#).0,
        TickerFields::NONE,
        "a zero would be invented"
    );
    assert_eq!(known("delta", r#","bid1Price":"5","bid1Size":"1""#), (TickerFields::BID, level(500, 1_000)));
    assert_eq!(known("delta", r#","bid1Size":"2""#), (TickerFields::BID, level(500, 2_000)), "the price is as it was");
    assert_eq!(known("delta", r#","bid1Size":"""#).0, TickerFields::NONE);
    assert_eq!(known("delta", r#","bid1Price":"6""#).0, TickerFields::NONE, "2 was its size before it was emptied");
    assert_eq!(known("delta", r#","bid1Price":"6","bid1Size":"3""#), (TickerFields::BID, level(600, 3_000)));
}

#[test]
fn tickers_of_many_symbols_are_each_merged_with_their_own_and_a_refused_change_is_none() {
    let mut generator = Generator::new(5);
    for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.is_here()) {
        let mut bench = Bench::with_cpu(Venue::BybitLinear, None, cpu);
        let mut model = [None::<(u64, u64)>; 2];
        for number in 1..3_000_u64 {
            let at = usize::try_from(generator.below(2)).unwrap();
            let (is_snapshot, what) = (generator.below(8) == 0, generator.below(4));
            let members = match what {
                0 => format!(r#","openInterest":"{number}""#),
                1 => format!(r#","turnover24h":"{number}.5""#),
                2 => format!(r#","openInterest":"{number}","turnover24h":"{number}.5""#),
                // Found behind what was merged already: nothing of it may stay.
                _ => format!(r#","openInterest":"{number}","fundingRate":"x""#),
            };
            let name = ["BTCUSDT", "ETHUSDT"][at];
            let kind = if is_snapshot { "snapshot" } else { "delta" };
            let message = format!(
                r#"{{"topic":"tickers.{name}","type":"{kind}","data":{{"symbol":"{name}"{members}}},"cs":{number},"ts":{number}}}"#
            );
            if generator.below(100) == 0 {
                bench.decoder.connection_started();
                model = [None; 2];
            }
            let known = if is_snapshot { Some((0, 0)) } else { model[at] };
            let (decoded, events) = bench.decode(&message);
            let (Some((interest, turnover)), 0..=2) = (known, what) else {
                assert!(decoded.is_err() && events.is_empty(), "{message}");
                continue;
            };
            let merged = (if what == 1 { interest } else { number }, if what == 0 { turnover } else { number });
            let [Event::Ticker(ref ticker)] = events[..] else { panic!("{message}: {decoded:?}") };
            let half = |number: u64| Decimal::new(i128::from(number) * 10 + 5, 1);
            assert_eq!((ticker.sequence, ticker.open_interest), (Some(number), Decimal::new(merged.0.into(), 0)));
            assert_eq!(ticker.turnover, if merged.1 == 0 { Decimal::ZERO } else { half(merged.1) });
            model[at] = Some(merged);
        }
    }
}

#[test]
fn klines_and_liquidations_are_read() {
    let kline = r#"{"topic":"kline.D.BTCUSDT","data":[{"start":1672324800000,"end":1672325099999,"interval":"D","open":"16649.5","close":"16677","high":"16677","low":"16608","volume":"2.081","turnover":"34666.4005","confirm":true,"timestamp":1672324988882}],"ts":1672324988882,"type":"snapshot"}"#;
    let events = good(&mut linear(), kline, Tier::One);
    assert!(
        matches!(&events[..], [Event::Kline(kline)] if kline.interval == KlineInterval::Days(1) && kline.is_closed)
    );
    let all = r#"{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1739502303204,"data":[{"T":1739502302929,"s":"BTCUSDT","S":"Sell","v":"2","p":"0.04"}]}"#;
    for message in [all, OLD_LIQUIDATION, OLD_LIQUIDATION_LATER] {
        let events = good(&mut linear(), message, Tier::One);
        let [Event::Liquidation(event)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((event.position, event.price.mantissa(), event.qty.mantissa()), (Side::Sell, 4, 2_000));
        assert_eq!(event.meta.matching_time.unwrap().ns(), 1_739_502_302_929_000_000);
    }
}

#[test]
fn a_liquidation_without_its_quantity_or_its_time_is_refused() {
    for (message, time, qty) in [
        (OLD_LIQUIDATION, r#","time":1739502302929"#, r#","qty":"2""#),
        (OLD_LIQUIDATION_LATER, r#","updatedTime":1739502302929"#, r#","size":"2""#),
    ] {
        for (left_out, field) in [(time, "updatedTime"), (qty, "size")] {
            assert!(message.contains(left_out));
            assert_eq!(linear().refusal(message.replace(left_out, "")), (Reason::MissingField, field));
        }
    }
}

/// A ticker message of these members.
fn ticker_message(symbol: &str, kind: &str, members: &[(&str, &str)]) -> String {
    let members: String = members.iter().map(|(key, value)| format!(r#","{key}":"{value}""#)).collect();
    format!(
        r#"{{"topic":"tickers.{symbol}","type":"{kind}","data":{{"symbol":"{symbol}"{members}}},"cs":7,"ts":1673272861786}}"#
    )
}

#[test]
fn each_member_of_a_ticker_is_changed_alone_and_forgotten_alone() {
    let ticker = |events: &[Event]| match events {
        [Event::Ticker(ticker)] => **ticker,
        events => panic!("{events:?}"),
    };
    let numbers = ticker::MEMBERS.iter().filter(|member| matches!(member.kind, Kind::Decimal | Kind::Price));
    let numbers: Vec<&str> = numbers.map(|member| member.key).collect();
    assert_eq!(numbers.len(), 18);
    for &changed in &numbers {
        // Both name the index's price: the one that comes last says it.
        let other_index = if changed == "usdIndexPrice" { "indexPrice" } else { "usdIndexPrice" };
        let with = |value_of: &dyn Fn(&str) -> String| -> Vec<(&str, String)> {
            let keys = numbers.iter().filter(|&&key| key != other_index);
            keys.map(|&key| (key, value_of(key))).collect()
        };
        let number = |key: &str, value: u32| {
            if key == "nextFundingTime" { format!("16732800{value:05}") } else { value.to_string() }
        };
        let snapshot_of = |symbol: &str, members: &[(&str, String)]| {
            let members: Vec<_> = members.iter().map(|(key, value)| (*key, value.as_str())).collect();
            ticker_message(symbol, "snapshot", &members)
        };
        let place = |key: &str| numbers.iter().position(|&other| other == key).unwrap() as u32;
        let old = with(&|key| number(key, 10 + place(key)));
        let new = with(&|key| number(key, if key == changed { 90 } else { 10 + place(key) }));
        let others = with(&|key| number(key, 50 + place(key)));
        let mut bench = linear();
        let told = ticker(&bench.decode(snapshot_of("BTCUSDT", &old)).1);
        let beside = ticker(&bench.decode(snapshot_of("ETHUSDT", &others)).1);
        let delta = ticker_message("BTCUSDT", "delta", &[(changed, &number(changed, 90))]);
        let merged = ticker(&bench.decode(&delta).1);
        let mut expected = ticker(&linear().decode(snapshot_of("BTCUSDT", &new)).1);
        assert_ne!(merged, told, "{changed}");
        expected.changed = merged.changed;
        assert_eq!((merged, merged.changed.0.count_ones()), (expected, 1), "{changed}");
        let emptied = ticker(&bench.decode(ticker_message("BTCUSDT", "delta", &[(changed, "")])).1);
        expected.known = TickerFields(expected.known.0 & !merged.changed.0);
        assert_eq!(emptied, expected, "{changed}");
        let mut unmoved = ticker(&bench.decode(ticker_message("ETHUSDT", "delta", &[])).1);
        unmoved.changed = beside.changed;
        assert_eq!(unmoved, beside, "{changed}");
    }
}

#[test]
fn of_a_touch_with_worse_levels_behind_it_the_best_is_taken() {
    let worse = r#"[["16493.50","0.006"],["16493.00","1.5"],["16492","7"]]"#;
    let deep = QUOTE.replace(r#"[["16493.50","0.006"]]"#, worse);
    let expected = good(&mut linear(), QUOTE, Tier::One);
    assert_eq!(good(&mut linear(), &deep, Tier::One), expected);
    assert_eq!(good(&mut linear(), &format!(" {deep}"), Tier::TwoAfterOne), expected);
    for cut in 1..worse.len() {
        let (_, events) = linear().decode(QUOTE.replace(r#"[["16493.50","0.006"]]"#, &worse[..cut]));
        assert_eq!(events, [], "{}", &worse[..cut]);
    }
    // Not of the shape, but what is wanted stands where it should.
    for strays in [r#"["16493.00",1.5]"#, r#"["16493.00"]"#, "[]", r#"["1","2","3"]"#, r#"[ "1","2"]"#, "0"] {
        let message = QUOTE.replace(r#""0.006"]"#, &format!(r#""0.006"],{strays}"#));
        assert_eq!(good(&mut linear(), &message, Tier::TwoAfterOne), expected, "{message}");
    }
}

#[test]
fn answers_are_control_messages_whatever_else_they_carry() {
    let mut bench = linear();
    for message in [
        r#"{"success":true,"ret_msg":"pong","conn_id":"a","op":"ping"}"#,
        r#"{"success":false,"ret_msg":"Invalid topic: x","conn_id":"a","req_id":"1","op":"subscribe"}"#,
        r#"{"args":["1672916271846"],"op":"pong"}"#,
        r#"{"topic":"publicTrade.BTCUSDT","success":true,"data":[]}"#,
    ] {
        assert_eq!(bench.decode(message), (Ok(Decoded::Control), vec![]), "{message}");
    }
    assert_eq!(bench.refusal(r#"{"data":[],"ts":1}"#), (Reason::UnknownShape, "topic"));
    assert_eq!(bench.refusal(r#"{"topic":"publicTrade.BTCUSDT"}"#), (Reason::MissingField, "data"));
    for length in 0..TRADES.len() {
        assert_eq!(bench.refusal(&TRADES[..length]).0, Reason::NotJson, "{length}");
    }
}

#[test]
fn every_number_of_a_trade_and_a_quote_is_read_for_its_string_is_looked_at_nowhere_else() {
    let messages: [(&str, &[&str]); 3] = [
        (TRADES, &["0.001", "16578.50", "0.002", "16578.4"]),
        (SPOT_TRADE, &["0.001", "16578.50"]),
        (QUOTE, &["16493.50", "0.006"]),
    ];
    for (message, numbers) in messages {
        // The second one is of the order that the first one came in.
        let decoded = |changed: &str| {
            let mut bench = linear();
            assert!(bench.decode(message.as_bytes()).0.is_ok());
            bench.decode(changed.as_bytes()).0
        };
        assert_eq!(decoded(message), Ok(Decoded::Data(Tier::One)), "{message}");
        for number in numbers {
            for text in ["\"1\\u002e5\"", "\"1\u{1}\"", "\"1\u{e9}\""] {
                let changed = message.replacen(&format!("\"{number}\""), text, 1);
                assert_ne!(changed, message);
                assert_ne!(decoded(&changed), Ok(Decoded::Data(Tier::One)), "{changed}");
            }
        }
    }
}

#[test]
fn every_number_of_every_channel_is_read_or_the_message_refused() {
    every_number_is_read::<TradeShape>(linear, |data| {
        format!(r#"{{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{data}]}}"#)
    });
    every_number_is_read::<TickerShape>(linear, |data| {
        format!(r#"{{"topic":"tickers.BTCUSDT","type":"snapshot","data":{data},"cs":1,"ts":1672304486868}}"#)
    });
    every_number_is_read::<CandleShape>(linear, |data| {
        format!(r#"{{"topic":"kline.1.BTCUSDT","data":[{data}],"ts":1672304486868,"type":"snapshot"}}"#)
    });
    every_number_is_read::<LiquidationShape>(linear, |data| {
        format!(r#"{{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{data}]}}"#)
    });
    // Which of its quantities there is depends on its age, so it cannot be written from its shape alone.
    for old in [OLD_LIQUIDATION, OLD_LIQUIDATION_LATER] {
        for number in [r#""0.04""#, r#""2""#] {
            for text in ["1\\u002e5", "1\u{1}", "1\u{e9}"] {
                let mut bench = linear();
                good(&mut bench, old, Tier::One);
                good(&mut bench, old, Tier::One);
                let changed = old.replace(number, &format!("\"{text}\""));
                assert_ne!(bench.decode(&changed).0, Ok(Decoded::Data(Tier::One)), "{changed}");
            }
        }
    }
}

fn generated(generator: &mut Generator, style: Style, is_trade: bool) -> String {
    let value = move |generator: &mut Generator, key: &str| match key {
        "s" => Some(generator.string("BTCUSDT", style)),
        "T" | "ts" | "cts" => Some(generator.time_ms().to_string()),
        "i" if generator.below(2) == 0 => {
            let (a, b) = (generator.next(), generator.next());
            let hex = format!("{a:016x}{b:016x}");
            Some(format!("\"{}-{}-{}-{}-{}\"", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
        }
        _ => None,
    };
    let data = if is_trade {
        let order = TradeShape::ORDERS[generator.below(2) as usize];
        let count = 1 + generator.below(4);
        let trades: Vec<_> = (0..count).map(|_| generator.object(TradeShape::MEMBERS, order, style, value)).collect();
        format!("[{}]", trades.join(","))
    } else {
        generator.object(QuoteShape::MEMBERS, QuoteShape::ORDERS[0], style, value)
    };
    let topic = if is_trade { "publicTrade.BTCUSDT" } else { "orderbook.1.BTCUSDT" };
    let order = EnvelopeShape::ORDERS[generator.below(2) as usize];
    let members: Vec<_> = order.to_vec();
    loop {
        let message = generator.object(EnvelopeShape::MEMBERS, &members, style, |generator, key| match key {
            "topic" => Some(generator.string(topic, style)),
            "type" => Some(generator.string("snapshot", style)),
            "data" => Some(data.clone()),
            key => value(generator, key),
        });
        // The shape lets `type` be absent (the oldest topics have none); these two must have it.
        if message.contains("\"type\"") {
            return message;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn generated_and_mutated_messages_mean_the_same_at_both_tiers(seed in any::<u64>(), is_trade in any::<bool>(), at in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f, change in 0..4) {
        let mut generator = Generator::new(seed);
        let style = if change == 3 { generator.style() } else { Style::default() };
        let mut message = generated(&mut generator, style, is_trade).into_bytes();
        let at = at.index(message.len());
        match change {
            0 => message[at] = byte,
            1 => { message.remove(at); }
            2 => message.insert(at, byte),
            _ => {}
        }
        let (first, events) = linear().decode(&message);
        let mut spaced = vec![b' '];
        spaced.extend_from_slice(&message);
        let (second, events_in_any_order) = linear().decode(&spaced);
        let (of_tape, expected) = Bench::of_tape(Venue::BybitLinear, None).decode(&message);
        prop_assert_eq!(&events, &expected, "{}", String::from_utf8_lossy(&message));
        prop_assert_eq!((second, &events_in_any_order), (of_tape, &expected), "{}", String::from_utf8_lossy(&message));
        if first == Ok(Decoded::Data(Tier::One)) {
            prop_assert_eq!(second, Ok(Decoded::Data(Tier::TwoAfterOne)));
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&message).is_ok());
        } else {
            prop_assert_eq!(first, second);
        }
        let strays = style.is_shuffled || style.is_spaced || style.has_unknown || style.is_escaped;
        if change == 3 && !strays {
            prop_assert_eq!(first, Ok(Decoded::Data(Tier::One)), "{}", String::from_utf8_lossy(&message));
        }
    }
}
