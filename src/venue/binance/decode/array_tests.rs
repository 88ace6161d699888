//! Arrays of the whole market: whoever reads one says what the tape says, element by element.
#![expect(clippy::cast_possible_truncation, reason = "choices among a few")]

use super::shapes::{MarkPriceShape, MiniTickerShape, TickerShape};
use crate::market::Venue;
use crate::venue::elements::{MARK_PRICE_COUNT_MAX, TICKER_COUNT_MAX};
use crate::venue::generate::{Generator, Style};
use crate::venue::ledger::{Bench, Event};
use crate::venue::shape::Shape;
use crate::venue::{Cpu, DecodeError, Decoded, Reason, Tier};
use proptest::prelude::*;

/// One connection of each kind of instructions in the expected order, one in any order, and one of the tape.
struct Readers {
    expecting: Vec<(Cpu, Bench)>,
    in_any_order: Vec<(Cpu, Bench)>,
    tape: Bench,
}

type Answer = (Result<Decoded, DecodeError>, Vec<Event>);

impl Readers {
    fn new() -> Self {
        let of_each = || {
            let here = Cpu::ALL.into_iter().filter(|cpu| cpu.is_here());
            here.map(|cpu| (cpu, Bench::with_cpu(Venue::BinanceUsdm, None, cpu))).collect()
        };
        Self { expecting: of_each(), in_any_order: of_each(), tape: Bench::of_tape(Venue::BinanceUsdm, None) }
    }

    /// What tier one says, and whether the reader of any order needed no tape; after all of them were found to agree.
    fn read(&mut self, message: impl AsRef<[u8]>) -> (Answer, bool) {
        let message = message.as_ref();
        let what = |cpu: Cpu| format!("{cpu:?}: {}", String::from_utf8_lossy(message));
        let expected = self.tape.decode(message);
        let mut answers = Vec::new();
        for (cpu, bench) in &mut self.expecting {
            let answer = bench.decode(message);
            assert_eq!(answer.1, expected.1, "{}", what(*cpu));
            if answer.0 == Ok(Decoded::Data(Tier::One)) {
                assert!(matches!(expected.0, Ok(Decoded::Data(_))), "{}", what(*cpu));
                let json = serde_json::from_slice::<serde_json::Value>(message);
                assert!(json.is_ok(), "tier one took what is not JSON, {}", what(*cpu));
            } else {
                assert_eq!(answer.0, expected.0, "{}", what(*cpu));
            }
            answers.push(answer);
        }
        let mut is_without_tape = true;
        let spaced = [b" ", message].concat();
        for (cpu, bench) in &mut self.in_any_order {
            bench.scratch.begin();
            assert_eq!(bench.decode(&spaced), expected, "in any order, {}", what(*cpu));
            let is_refused = |event: &Event| matches!(event, Event::Refused(_));
            is_without_tape &=
                expected.0.is_ok() && (bench.scratch.pristine().is_empty() || expected.1.iter().any(is_refused));
        }
        for answer in &answers {
            assert_eq!(answer.0, answers[0].0, "{}", String::from_utf8_lossy(message));
        }
        (answers.swap_remove(0), is_without_tape)
    }

    fn agree(&mut self, message: &[u8]) {
        drop(self.read(message));
    }

    /// The events of an array that tier one takes.
    fn taken(&mut self, message: &str) -> Vec<Event> {
        let ((decoded, events), _) = self.read(message);
        assert_eq!(decoded, Ok(Decoded::Data(Tier::One)), "{message}");
        events
    }

    /// What the tape makes of an array that tier one does not take.
    fn left(&mut self, message: &str) -> Vec<Event> {
        let ((decoded, events), _) = self.read(message);
        assert_eq!(decoded, Ok(Decoded::Data(Tier::TwoAfterOne)), "{message}");
        events
    }
}

fn ticker(name: &str) -> String {
    format!(
        r#"{{"e":"24hrTicker","E":1653813900353,"s":"{name}","p":"213.70","P":"0.740","w":"28973.36","c":"29093.90","Q":"0.017","o":"28880.20","h":"29265.70","l":"28755.00","v":"173254.241","q":"5019757418.36","O":1653727500000,"C":1653813900348,"F":2299852977,"L":2301666553,"n":1813560}}"#
    )
}

fn mini_ticker(name: &str) -> String {
    format!(
        r#"{{"e":"24hrMiniTicker","E":1653813900353,"s":"{name}","c":"29093.90","o":"1.5","h":"2","l":"1","v":"10","q":"18"}}"#
    )
}

fn mark_price(name: &str) -> String {
    format!(
        r#"{{"e":"markPriceUpdate","E":1653813900353,"s":"{name}","p":"1794.15","ap":"1.5","i":"1784.62","P":"1","r":"","T":1653818400000,"st":1}}"#
    )
}

/// Makes an element, by its symbol's name.
type Element = fn(&str) -> String;

/// An element of each kind, and the stream that it comes on.
const KINDS: [(Element, &str); 3] =
    [(ticker, "!ticker@arr"), (mini_ticker, "!miniTicker@arr"), (mark_price, "!markPrice@arr@1s")];

fn array(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}

fn wrapped(stream: &str, payload: &str) -> String {
    format!(r#"{{"stream":"{stream}","data":{payload}}}"#)
}

fn symbol_of(event: &Event) -> Option<usize> {
    match event {
        Event::Ticker(event) => Some(event.meta.symbol.index()),
        Event::MarkPrice(event) => Some(event.meta.symbol.index()),
        _ => None,
    }
}

const UNKNOWN: Event = Event::Refused(Reason::UnknownSymbol);

#[test]
fn an_array_is_read_at_tier_one_in_its_order_and_what_nobody_asked_for_is_counted_in_its_place() {
    let mut readers = Readers::new();
    for (element, stream) in KINDS {
        let names = ["XRPUSDT", "ETHUSDT", "A", "BTCUSDT_260327", "BTCUSDT", "ETHUSDT", "1000000MOGUSDT"];
        let bare = array(&names.map(element));
        let events = readers.taken(&bare);
        let found: Vec<_> = events.iter().map(symbol_of).collect();
        assert_eq!(found, [None, Some(1), None, None, Some(0), Some(1), None], "a symbol that comes twice, too");
        assert!(events.iter().all(|event| symbol_of(event).is_some() || *event == UNKNOWN));
        assert_eq!(readers.taken(&wrapped(stream, &bare)), events);
        assert_eq!(readers.taken(&wrapped("anything", &bare)), events, "an array is what its first element is");
        // The same as the element alone says.
        let alone = readers.read(element("ETHUSDT")).0;
        assert_eq!((alone.0, &alone.1[0]), (Ok(Decoded::Data(Tier::One)), &events[1]));
        assert_eq!(readers.taken(&array(&[element("BTCUSDT")])).len(), 1);
        assert_eq!(readers.taken(&array(&[element("NOBODY")])), [UNKNOWN]);
    }
}

#[test]
fn an_element_that_is_no_event_is_refused_alone_for_the_reason_that_the_tape_has() {
    let mut readers = Readers::new();
    for (from, to, reason) in [
        (r#""c":"29093.90""#, r#""c":"29093.901""#, Reason::OffGrid),
        (r#""c":"29093.90""#, r#""c":"""#, Reason::BadNumber),
        (r#""Q":"0.017""#, r#""Q":"-0.017""#, Reason::BadNumber),
        (r#""v":"173254.241""#, r#""v":"1-1""#, Reason::BadNumber),
        (r#""E":1653813900353"#, r#""E":9999999999999999"#, Reason::BadNumber),
    ] {
        let bad = ticker("BTCUSDT").replace(from, to);
        let message = array(&[ticker("ETHUSDT"), bad, ticker("BTCUSDT")]);
        let events = readers.taken(&message);
        assert_eq!((events.len(), &events[1]), (3, &Event::Refused(reason)), "{to}");
        assert_eq!([symbol_of(&events[0]), symbol_of(&events[2])], [Some(1), Some(0)]);
    }
    let unknown = ticker("XRPUSDT").replace("29093.90", "no number");
    assert_eq!(readers.taken(&array(&[unknown])), [UNKNOWN], "its numbers are nobody's");
}

#[test]
fn what_is_not_one_kind_of_elements_to_its_last_byte_is_left_to_the_tape() {
    let mut readers = Readers::new();
    let [first, second] = ["BTCUSDT", "ETHUSDT"].map(mini_ticker);
    let good = array(&[first.clone(), second.clone()]);
    assert_eq!(readers.taken(&good).len(), 2);
    let refused = |reason| Event::Refused(reason);
    assert_eq!(readers.left(&format!("[{good}]")), [refused(Reason::UnknownShape)], "an array in an array");
    assert_eq!(readers.left("[7,null,\"x\"]"), [0; 3].map(|_| refused(Reason::UnknownShape)));
    for (other, count) in [(ticker("ETHUSDT"), 1), (mark_price("ETHUSDT"), 1), ("{}".into(), 0), ("7".into(), 0)] {
        let events = readers.left(&array(&[first.clone(), other, second.clone()]));
        assert_eq!(events.iter().filter(|event| symbol_of(event).is_some()).count(), 2 + count);
    }
    let missing = readers.left(&array(&[first.replace(r#""c":"29093.90","#, ""), second.clone()]));
    assert_eq!((missing.len(), &missing[0]), (2, &refused(Reason::MissingField)));
    let wrong = readers.left(&array(&[first.clone(), second.replace(r#""c":"29093.90""#, r#""c":true"#)]));
    assert_eq!((wrong.len(), &wrong[1]), (2, &refused(Reason::WrongType)));
    let twice = array(&[first.replace(r#""c":"29093.90""#, r#""c":"1","c":"2""#), second.clone()]);
    assert_eq!(readers.left(&twice).len(), 2, "the last of two counts");
    let escaped = array(&[first.replace("BTC", "\\u0042TC"), second.clone()]);
    assert_eq!(readers.left(&escaped).len(), 2);
    let not_json = [
        format!("{good}x"),
        format!("{good}]"),
        format!("{good},{first}"),
        format!("[{good}"),
        format!("[,{first}]"),
        format!("[{first},]"),
        format!("[{first},,{second}]"),
        format!("[{first}{second}]"),
        format!("[{first}}}"),
        format!("[{}", &first[1..]),
        good[1..].to_owned(),
        good.replace("[", ""),
        wrapped("!miniTicker@arr", &format!("{good}x")),
        format!("{}}}", wrapped("!miniTicker@arr", &good)),
    ];
    for message in not_json {
        let ((decoded, events), _) = readers.read(&message);
        assert_eq!((decoded, events), (Err(DecodeError::new(Reason::NotJson, "")), vec![]), "{message}");
    }
}

#[test]
fn white_space_and_unknown_members_are_read_without_a_tape_and_their_order_is_expected_next() {
    let mut readers = Readers::new();
    for (element, stream) in KINDS {
        let expected = readers.taken(&array(&["BTCUSDT", "ETHUSDT"].map(element)));
        let spaced = format!("[ {} ,\n{}\t] ", element("BTCUSDT"), element("ETHUSDT")).replace(':', " : ");
        let ((decoded, events), is_without_tape) = readers.read(&spaced);
        assert_eq!((decoded, events, is_without_tape), (Ok(Decoded::Data(Tier::TwoAfterOne)), expected.clone(), true));
        let turned = |name: &str| {
            let name = format!(r#""s":"{name}""#);
            element("XX").replace(r#","s":"XX""#, "").replacen('{', &format!("{{{name},"), 1)
        };
        let turned = wrapped(stream, &array(&["BTCUSDT", "ETHUSDT"].map(turned)));
        let ((decoded, events), is_without_tape) = readers.read(&turned);
        assert_eq!((decoded, events, is_without_tape), (Ok(Decoded::Data(Tier::TwoAfterOne)), expected.clone(), true));
        assert_eq!(readers.taken(&turned), expected, "the order was learned");
        let added = |name: &str| element(name).replace(r#","E""#, r#","zz":-1.5,"E""#);
        let added = array(&["BTCUSDT", "ETHUSDT"].map(added));
        assert!(readers.read(&added).1, "{added}");
        let events = readers.taken(&added);
        assert_eq!(events.iter().map(symbol_of).collect::<Vec<_>>(), [Some(0), Some(1)]);
    }
}

#[test]
fn a_new_order_is_learned_from_an_element_whose_name_is_not_ascii_too() {
    let mut readers = Readers::new();
    for (element, stream) in KINDS {
        let turned = |name: &str| {
            let both = format!(r#","s":"{name}","E":"#);
            element("XX").replace(r#","s":"XX""#, "").replacen(r#","E":"#, &both, 1)
        };
        let message = wrapped(stream, &array(&["币安人生USDT", "BTCUSDT"].map(turned)));
        let ((decoded, events), _) = readers.read(&message);
        assert_eq!((decoded, events.len()), (Ok(Decoded::Data(Tier::TwoAfterOne)), 2));
        assert_eq!(readers.taken(&message), events, "{stream}");
        assert_eq!(readers.taken(&wrapped(stream, &array(&["BTCUSDT", "ETHUSDT"].map(turned)))).len(), 2);
    }
}

#[test]
fn names_that_are_not_ascii_cost_nobody_else_his_event() {
    let mut readers = Readers::new();
    for (element, stream) in KINDS {
        for name in ["币安人生USDT", "ÄUSDT", "我踏马来了USDT", "\u{7f}USDT", "🦀"] {
            let message = wrapped(stream, &array(&["BTCUSDT", name, "ETHUSDT"].map(element)));
            let events = readers.taken(&message);
            assert_eq!((events.len(), &events[1]), (3, &UNKNOWN), "{name}");
            assert!(symbol_of(&events[0]).is_some() && symbol_of(&events[2]).is_some());
        }
        for name in [&b"\xffUSDT"[..], b"\xe5\xb8USDT", b"\xc0\x80", b"\xed\xa0\x80", b"US\nDT", b"\xc3"] {
            let message = array(&["BTCUSDT", "*", "ETHUSDT"].map(element)).into_bytes();
            let at = message.iter().position(|&byte| byte == b'*').unwrap();
            let message = [&message[..at], name, &message[at + 1..]].concat();
            assert_eq!(readers.read(&message).0.0, Err(DecodeError::new(Reason::NotJson, "")), "{name:?}");
        }
    }
    let long = "X".repeat(200);
    assert_eq!(readers.taken(&array(&[mini_ticker(&long)])), [UNKNOWN]);
    assert_eq!(readers.left(&array(&[mini_ticker(&long.replacen('X', "Ä", 1))])), [UNKNOWN]);
}

#[test]
fn an_array_cut_anywhere_gives_nothing() {
    let mut readers = Readers::new();
    for (element, stream) in KINDS {
        let message = wrapped(stream, &array(&["BTCUSDT", "XRPUSDT", "ETHUSDT"].map(element)));
        for length in 0..message.len() {
            let ((decoded, events), _) = readers.read(&message[..length]);
            assert_eq!((decoded.map_err(|error| error.reason), events), (Err(Reason::NotJson), vec![]), "{length}");
        }
    }
}

#[test]
fn whatever_byte_of_an_array_is_another_all_readers_say_the_same() {
    let mut readers = Readers::new();
    for (element, stream) in KINDS {
        let message = wrapped(stream, &array(&["XRPUSDT", "ETHUSDT"].map(element))).into_bytes();
        for at in 0..message.len() {
            for byte in *b"\"\\{}[],:. -0e\x00\x7f\xc3" {
                let mut changed = message.clone();
                changed[at] = byte;
                readers.agree(&changed);
            }
            let mut other = message.clone();
            other.remove(at);
            readers.agree(&other);
            other.insert(at, message[at]);
            other.insert(at, message[at]);
            readers.agree(&other);
        }
    }
}

#[test]
fn as_many_elements_as_there_is_room_for_are_read_by_tier_one_and_more_by_the_tape() {
    let mut readers = Readers::new();
    for (element, count_max) in [(ticker as Element, TICKER_COUNT_MAX), (mark_price as Element, MARK_PRICE_COUNT_MAX)] {
        let mut elements = vec![element("XRPUSDT"); count_max - 1];
        elements.push(element("BTCUSDT"));
        let events = readers.taken(&array(&elements));
        assert_eq!((events.len(), symbol_of(&events[count_max - 1])), (count_max, Some(0)));
        elements.push(element("ETHUSDT"));
        let events = readers.left(&array(&elements));
        assert_eq!((events.len(), symbol_of(&events[count_max])), (count_max + 1, Some(1)));
        assert_eq!(readers.taken(&array(&elements[count_max..])).len(), 1, "what was left over is not there any more");
    }
}

#[test]
fn a_message_with_a_refused_element_is_kept_as_it_came() {
    let mut bench = Bench::new(Venue::BinanceUsdm, None);
    for (names, is_kept) in [(["BTCUSDT", "XRPUSDT"], true), (["BTCUSDT", "ETHUSDT"], false)] {
        let message = array(&names.map(ticker));
        bench.scratch.begin();
        assert_eq!(bench.decode(&message).0, Ok(Decoded::Data(Tier::One)));
        assert_eq!(bench.scratch.pristine(), if is_kept { message.as_bytes() } else { b"" });
    }
}

#[test]
fn an_array_without_elements_is_no_alarm() {
    let mut readers = Readers::new();
    for message in ["[]".to_owned(), wrapped("!miniTicker@arr", "[]")] {
        assert_eq!(readers.read(&message).0, (Ok(Decoded::Data(Tier::TwoOnly)), vec![]));
    }
}

#[test]
fn numbers_of_an_element_that_is_refused_before_they_are_read_are_plain_strings_too() {
    let mut readers = Readers::new();
    for (element, stream) in KINDS {
        let texts = ["12.5", "-12.5", "", "1234567890.12345678", "nonsense", "longer than one window of it"];
        for (text, damage) in
            texts.into_iter().flat_map(|text| [None, Some(b'\\'), Some(1), Some(0x80)].map(|byte| (text, byte)))
        {
            for at in 0..=text.len() {
                let mut text = text.as_bytes().to_vec();
                damage.into_iter().for_each(|byte| text.insert(at, byte));
                let message = wrapped(stream, &array(&[element("BTCUSDT"), element("XRPUSDT")]));
                let (before, number) = message.rsplit_once(r#""P":""#).or(message.rsplit_once(r#""v":""#)).unwrap();
                let (_, behind) = number.split_once('"').unwrap();
                let lead = if stream.contains("mini") { &br#""v":""#[..] } else { br#""P":""# };
                let message = [before.as_bytes(), lead, &text, b"\"", behind.as_bytes()].concat();
                let ((decoded, events), _) = readers.read(&message);
                let is_plain = damage.is_none();
                assert_eq!(decoded == Ok(Decoded::Data(Tier::One)), is_plain, "{}", String::from_utf8_lossy(&message));
                assert!(!is_plain || symbol_of(&events[0]).is_some() && events[1] == UNKNOWN);
            }
        }
    }
}

/// An element of a shape, of a symbol that is known or not.
fn generated<S: Shape>(generator: &mut Generator, style: Style) -> String {
    let order = S::ORDERS[generator.below(S::ORDERS.len() as u64) as usize];
    generator.object(S::MEMBERS, order, style, |generator, key| match key {
        "s" => {
            let name = ["BTCUSDT", "ETHUSDT", "XRPUSDT", "BTCUSDT_260327"][generator.below(4) as usize];
            Some(generator.string(name, style))
        }
        "E" | "T" => Some(generator.time_ms().to_string()),
        _ => None,
    })
}

fn generated_of(kind: u64, generator: &mut Generator, style: Style) -> String {
    match kind {
        0 => generated::<TickerShape>(generator, style),
        1 => generated::<MiniTickerShape>(generator, style),
        _ => generated::<MarkPriceShape>(generator, style),
    }
}

#[test]
fn generated_arrays_mean_the_same_to_all_readers_whole_and_damaged() {
    let mut readers = Readers::new();
    let (mut taken, mut without_tape) = (0, 0);
    for seed in 0..1_500 {
        let mut generator = Generator::new(seed);
        let (kind, count) = (generator.below(3), 1 + generator.below(6));
        let style = if generator.below(2) == 0 { Style::default() } else { generator.style() };
        let is_mixed = generator.below(10) == 0;
        let elements: Vec<String> = (0..count)
            .map(|at| generated_of(if is_mixed { (kind + at) % 3 } else { kind }, &mut generator, style))
            .collect();
        let mut message = generator.array(&elements, style);
        if generator.below(2) == 0 {
            message = wrapped(KINDS[kind as usize].1, &message);
        }
        let ((decoded, _), is_without_tape) = readers.read(&message);
        let is_one = decoded == Ok(Decoded::Data(Tier::One));
        taken += usize::from(is_one);
        without_tape += usize::from(is_without_tape);
        let strays = style.is_shuffled || style.is_spaced || style.has_unknown || style.is_escaped;
        assert!(is_one || strays || is_mixed, "{message}");
        let mut bytes = message.into_bytes();
        let at = generator.below(bytes.len() as u64) as usize;
        match generator.below(3) {
            0 => bytes[at] = generator.below(256) as u8,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, b"0\",:{}[] "[generator.below(9) as usize]),
        }
        readers.agree(&bytes);
    }
    assert!(taken > 700 && without_tape > taken, "{taken} {without_tape}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_array_followed_by_anything_says_what_it_says_alone(behind in proptest::collection::vec(any::<u8>(), 0..80), length in 0_usize..64) {
        // What lies behind a message in its buffer may go on as the message does.
        let message = array(&["BTCUSDT", "XRPUSDT"].map(mini_ticker));
        let cut = &message.as_bytes()[..message.len() - length.min(message.len())];
        let mut bench = Bench::new(Venue::BinanceUsdm, None);
        let expected = bench.decode(cut);
        let found = bench.decode_before(cut, &[&message.as_bytes()[cut.len()..], &behind].concat());
        prop_assert_eq!(found, expected);
    }
}
