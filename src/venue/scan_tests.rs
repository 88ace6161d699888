//! Tests of the scanner, with every kind of instructions that the machine has.

use super::*;
use crate::limits::READ_PADDING_BYTES;
use crate::market::parse_fixed;
use crate::venue::Cpu;
use crate::venue::isa::Isas;
use crate::venue::isa::WINDOW;
use crate::venue::number::{UUID_BYTES, parse_uint, uuid};
use crate::venue::shape::{Word, orders, shape, words};
use proptest::prelude::*;

fn padded(text: &[u8]) -> Vec<u8> {
    [text, &[0; READ_PADDING_BYTES]].concat()
}

/// What is ahead of the cursor and belongs to the text.
fn left<'a>(cursor: &Cursor<'a>) -> &'a [u8] {
    &cursor.rest()[..cursor.ahead() - READ_PADDING_BYTES]
}

/// Runs a check with every kind of instructions that this machine has.
fn with_every_isa(check: impl FnMut(Cpu, &dyn Ask)) {
    struct Check<F>(Cpu, F);
    impl<F: FnMut(Cpu, &dyn Ask)> Work for Check<F> {
        type Output = ();
        fn run<I: Isa>(&mut self, isa: I) {
            (self.1)(self.0, &Asked(isa));
        }
    }
    let mut check = check;
    for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.is_here()) {
        Isas::new(cpu).run(&mut Check(cpu, &mut check));
    }
}

/// The cursor's questions, whichever the instructions.
trait Ask {
    fn uint(&self, cursor: &mut Cursor<'_>) -> Option<u64>;
    fn text<'a>(&self, cursor: &mut Cursor<'a>) -> Option<&'a [u8]>;
    fn number<'a>(&self, cursor: &mut Cursor<'a>) -> Option<Number<'a>>;
    fn grid(&self, number: Number<'_>, scale: u8) -> Result<i64, crate::market::ValueError>;
    fn skip_scalar(&self, cursor: &mut Cursor<'_>) -> Option<()>;
    fn uuid(&self, text: &[u8; UUID_BYTES]) -> Option<u128>;
}

struct Asked<I>(I);

/// Finds that a value is the same, and ends where it does, however many bytes it is said to have.
fn is_alike<'a, T: Copy + std::fmt::Debug + PartialEq>(
    start: &Cursor<'a>,
    behind: &Cursor<'_>,
    value: Option<T>,
    quote_bytes: usize,
    walk: impl Fn(&mut Cursor<'a>, Stride<'a>, &mut Option<usize>) -> Option<T>,
) {
    let length = value.map_or(0, |_| start.ahead() - behind.ahead() - quote_bytes);
    let lengths = (0..2 * WINDOW).chain([length, length + 1, usize::MAX]);
    for like in lengths.map(Some).chain([None]) {
        let (mut other, mut told) = (*start, like);
        assert_eq!(walk(&mut other, start.stride().expect("padded"), &mut told), value);
        if value.is_some() {
            assert_eq!((other.ahead(), told), (behind.ahead(), Some(length)), "said to have {like:?}");
        }
    }
}

impl<I: Isa> Ask for Asked<I> {
    fn uint(&self, cursor: &mut Cursor<'_>) -> Option<u64> {
        let [start, mut other] = [*cursor; 2];
        let time = other.time(self.0, cursor.stride().expect("padded"));
        let uint = cursor.uint(self.0);
        assert_eq!(time, uint, "a time is an integer");
        assert!(uint.is_none() || other.ahead() == cursor.ahead());
        is_alike(&start, cursor, uint, 0, |cursor, stride, like| cursor.uint_alike(self.0, stride, like));
        uint
    }
    fn text<'a>(&self, cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
        let mut other = *cursor;
        let name = other.name(self.0);
        let start = *cursor;
        let stride = start.stride().expect("padded");
        let text = cursor.text(self.0);
        assert_eq!(name.map(Number::text), text.map(Number::text), "a name is a text");
        for length in 0..2 * WINDOW {
            let mut other = start;
            let symbol = other.symbol_of(self.0, stride, length).map(Number::text);
            if let Some(text) = text {
                assert_eq!(symbol, Some(text.text()), "whatever length it is said to have");
                assert_eq!(other.ahead(), cursor.ahead());
            } else if let Some(symbol) = symbol {
                let name = std::str::from_utf8(symbol).expect("a name");
                assert!(!name.is_ascii() && !name.contains(['"', '\\']) && name.chars().all(|char| char >= ' '));
                assert_eq!(other.ahead() + symbol.len() + 1, start.ahead());
            }
        }
        for byte in *b"\"@." {
            let window = start.rest().first_chunk::<WINDOW>().unwrap();
            let marks = (0..WINDOW).filter(|&at| window[at] == byte).fold(0, |marks, at| marks | 1 << at);
            assert_eq!(self.0.marks(window, byte), marks);
        }
        let mut behind_id = start;
        assert_eq!(behind_id.id(self.0, stride).map(Number::text), text.map(Number::text), "so is an id");
        is_alike(&start, cursor, text.map(Number::text), 1, |cursor, stride, like| {
            cursor.text_alike(self.0, stride, like).map(Number::text)
        });
        for usual in ["0", "MARKET", "BTCUSDT", "a longer text than one window has"] {
            let mut behind_usual = start;
            let walked = behind_usual.usual(self.0, usual, stride);
            assert_eq!(walked.is_some(), text.is_some(), "nor does what it usually is change anything");
            assert!(text.is_none() || behind_usual.ahead() == cursor.ahead(), "{usual}");
        }
        let text = text?;
        assert_eq!((other.ahead(), behind_id.ahead()), (cursor.ahead(), cursor.ahead()));
        let mut packed = text.text().to_vec();
        packed.resize(packed.len().max(WINDOW), 0);
        assert_eq!(text.key(self.0).to_le_bytes(), packed[..WINDOW]);
        let window = start.rest().first_chunk().unwrap();
        for length in 0..=WINDOW {
            let key = self.0.key(window, length);
            assert!(self.0.is_key(window, length, &key));
            assert!((0..128).all(|bit| !self.0.is_key(window, length, &(key ^ 1 << bit))), "not one bit of it another");
        }
        Some(text.text())
    }
    fn number<'a>(&self, cursor: &mut Cursor<'a>) -> Option<Number<'a>> {
        let [start, mut plain, mut text] = [*cursor; 3];
        let read = plain.plain_number(self.0, cursor.stride().expect("padded"));
        assert_eq!(
            read.map(Number::text),
            text.text(self.0).map(Number::text),
            "one that may be left unread is a text"
        );
        let number = cursor.number(self.0)?;
        is_alike(&start, cursor, Some(number.text()), 1, |cursor, stride, like| {
            cursor.number_alike(self.0, stride, like).map(Number::text)
        });
        is_alike(&start, &plain, read.map(Number::text), 1, |cursor, stride, like| {
            cursor.plain_alike(self.0, stride, like).map(Number::text)
        });
        assert_eq!(number.uint(self.0), parse_uint(number.text()));
        match read {
            Some(read) => {
                assert_eq!((number.text(), cursor.ahead()), (read.text(), text.ahead()));
                assert_eq!(plain.ahead(), text.ahead());
            }
            None => {
                assert!((0..=18).all(|scale| number.grid(self.0, scale).is_err()), "what is not plain is no number")
            }
        }
        Some(number)
    }
    fn grid(&self, number: Number<'_>, scale: u8) -> Result<i64, crate::market::ValueError> {
        let decimal = crate::market::Decimal::parse(number.text());
        let mut place = crate::market::Decimal::new(-1, 7);
        let read = number.decimal(self.0, &mut place);
        assert_eq!(read.map(|()| (place, place.scale())), decimal.map(|decimal| (decimal, decimal.scale())));
        const OTHER: &[u8; 2 * WINDOW] = b"12.34\"9.99999999                ";
        let other = Number::new(OTHER, self.0.quoted_ends(OTHER.first_chunk().unwrap())).unwrap();
        for (at, numbers) in [(0, [number, other]), (1, [other, number])] {
            let [mut first, mut second] = [crate::market::Decimal::ZERO; 2];
            let read = Number::decimals(numbers, self.0, [&mut first, &mut second]);
            let places = [(first, first.scale()), (second, second.scale())];
            assert_eq!(
                read.map(|()| places[at]),
                decimal.map(|decimal| (decimal, decimal.scale())).map_err(|error| (at, error))
            );
            assert!(read.is_err() || places[1 - at] == (crate::market::Decimal::new(1_234, 2), 2));
        }
        let price = number.grid(self.0, scale);
        // Both at once are each of them alone, wherever the other one stands.
        let [behind, before] = [(number, other, (scale, 2)), (other, number, (2, scale))]
            .map(|(price, qty, scales)| Number::grids([price, qty], self.0, scales));
        assert_eq!(behind, price.map(|price| [price, 1_234]).map_err(|error| (0, error)));
        let qty = number.unsigned_grid(self.0, scale);
        assert_eq!(before, qty.map(|qty| [1_234, qty]).map_err(|error| (1, error)));
        price
    }
    fn skip_scalar(&self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.skip_scalar(self.0)
    }
    fn uuid(&self, text: &[u8; UUID_BYTES]) -> Option<u128> {
        self.0.uuid(text)
    }
}

#[test]
fn a_uuid_is_read_in_either_case_and_refused_at_every_byte_that_is_not_its_own() {
    let text = b"a9188A0a-82bc-50DE-be60-03eedbe3cdd7";
    with_every_isa(|cpu, ask| {
        assert_eq!(ask.uuid(text), Some(0xa918_8a0a_82bc_50de_be60_03ee_dbe3_cdd7), "{cpu:?}");
        for (at, byte) in (0..UUID_BYTES).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut changed = *text;
            changed[at] = byte;
            assert_eq!(ask.uuid(&changed), uuid(&changed), "{cpu:?}: {byte:#04x} at {at}");
        }
    });
}

shape! {
    /// One of each kind that a trade or a quote has.
    mod sample {
        KIND = "e" needs Word(words!["sample"]);
        ID = "u" needs Int;
        NAME = "s" needs Text;
        SIDE = "S" needs Word(words!["Buy", "Sell"]);
        PRICE = "p" needs Decimal;
        IS_LAST = "m" needs Bool;
    }
}

orders! {
    /// The last value is no string; it is one.
    SampleShape of sample:
        [KIND ID NAME SIDE PRICE IS_LAST]
        [ID KIND IS_LAST PRICE SIDE NAME];
}

/// What the values of a sample are: id, name, side, price, and whether it is the last.
type Sample = (u64, Vec<u8>, u64, i64, u64);

const PRICE_SCALE: u8 = 4;

struct SampleReader<I>(I);

impl<'a, I: Isa> Reader<'a> for SampleReader<I> {
    type Isa = I;
    type Event = Sample;

    fn isa(&self) -> I {
        self.0
    }

    fn build(&mut self, slots: &Slots<'a>) -> Option<Sample> {
        use sample::{ID, IS_LAST, NAME, PRICE, SIDE};
        let price = slots.number(PRICE).grid(self.0, PRICE_SCALE).ok()?;
        Some((slots.int(ID), slots.text(NAME).to_vec(), slots.int(SIDE), price, slots.int(IS_LAST)))
    }
}

/// Walks a text that is wrapped in nothing, in one order.
struct WalkSample<'t>(usize, &'t [u8]);

impl Work for WalkSample<'_> {
    type Output = Option<Sample>;

    fn run<I: Isa>(&mut self, isa: I) -> Option<Sample> {
        // Quotes and digits behind the message, so that whoever takes one of them for its own is found out.
        let behind = b"\"7,\"".repeat(READ_PADDING_BYTES / 4);
        let padded = [self.1, &behind].concat();
        let end = End::whole(behind.len());
        SampleShape::walk(self.0, Cursor::new(&padded), end, &mut SampleReader(isa)).map(|(sample, _)| sample)
    }
}

/// The same by a reader that is not ours.
fn sample_by_json(text: &[u8]) -> Option<Sample> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let side = ["Buy", "Sell"].iter().position(|&side| value["S"] == side)?;
    let price = parse_fixed(value["p"].as_str()?.as_bytes(), PRICE_SCALE).ok()?;
    let name = value["s"].as_str()?.as_bytes().to_vec();
    (value["e"] == "sample").then_some((value["u"].as_u64()?, name, side as u64, price, value["m"].as_bool()?.into()))
}

#[test]
fn an_object_means_the_same_to_every_kind_of_instructions_whatever_byte_of_it_is_another_and_wherever_it_is_cut() {
    let texts: [&[u8]; 2] = [
        br#"{"e":"sample","u":1234567,"s":"BTCUSDT","S":"Sell","p":"61837.63","m":true}"#,
        br#"{"u":9876543210987654321,"e":"sample","m":false,"p":"0.0001","S":"Buy","s":"A-NAME-OF-MORE-THAN-A-WINDOW"}"#,
    ];
    let walked = |order, text: &[u8]| {
        let mut answers = Cpu::ALL.into_iter().filter(|cpu| cpu.is_here());
        let answer = |cpu| Isas::new(cpu).run(&mut WalkSample(order, text));
        let first = answer(answers.next().expect("the portable one is everywhere"));
        answers.for_each(|cpu| assert_eq!(answer(cpu), first, "{cpu:?}: {}", String::from_utf8_lossy(text)));
        if first.is_some() {
            assert_eq!(first, sample_by_json(text), "{}", String::from_utf8_lossy(text));
        }
        first
    };
    for (order, text) in texts.into_iter().enumerate() {
        assert!(walked(order, text).is_some());
        assert_eq!(walked(1 - order, text), None, "another order");
        let mut taken = 0;
        for at in 0..text.len() {
            for byte in (0..=255).filter(|&byte| byte != text[at]) {
                let mut text = text.to_vec();
                text[at] = byte;
                taken += usize::from(walked(order, &text).is_some());
            }
            assert_eq!(walked(order, &text[..at]), None, "cut at {at}");
        }
        assert!(taken > 7 * 90, "{taken}: any plain byte of a name");
    }
}

fn is_string_end(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || !(0x20..0x80).contains(&byte)
}

#[test]
fn an_integer_is_read_at_every_length_whatever_stands_behind_it() {
    with_every_isa(|cpu, ask| {
        for length in 1..=19 {
            let digits = &"1234567890123456789"[..length];
            for tail in ["", "}", ",\"key\":1}", "aaaaaaaaaaaaaaaaaaaa"] {
                let bytes = padded(format!("{digits}{tail}").as_bytes());
                let mut cursor = Cursor::new(&bytes);
                assert_eq!(ask.uint(&mut cursor), digits.parse().ok(), "{cpu:?}: {digits}{tail}");
                assert_eq!(left(&cursor), tail.as_bytes());
            }
        }
        for refused in
            ["", "01", "00000000000", "0123456789012", "-1", "12345678901234567890", "a", "\"1\"", "0000000000000000"]
        {
            assert_eq!(ask.uint(&mut Cursor::new(&padded(refused.as_bytes()))), None, "{cpu:?}: {refused}");
        }
    });
}

#[test]
fn a_string_that_is_not_plain_is_refused_wherever_the_byte_stands() {
    with_every_isa(|cpu, ask| {
        for length in 0..70 {
            let plain = "A".repeat(length);
            for tail in ["\"", "\",\"b\":\"62.5\""] {
                let text = format!("{plain}{tail}");
                assert_eq!(ask.text(&mut Cursor::new(&padded(text.as_bytes()))), Some(plain.as_bytes()));
                for bad in [0x00, 0x1f, b'\\', 0x80, 0xff, b'\n'] {
                    let mut bytes = text.clone().into_bytes();
                    bytes.insert(length / 2, bad);
                    assert_eq!(ask.text(&mut Cursor::new(&padded(&bytes))), None, "{cpu:?}: {bad:#04x} in {text}");
                }
            }
            assert_eq!(ask.text(&mut Cursor::new(&padded(plain.as_bytes()))), None, "no closing quote");
        }
    });
}

#[test]
fn a_word_is_one_of_those_that_there_are_and_its_quote() {
    let read = |words: &'static [Word], text: &str| {
        let bytes = padded(text.as_bytes());
        let [mut cursor, mut by_case] = [Cursor::new(&bytes); 2];
        let stride = cursor.stride().expect("padded");
        let word = cursor.word(words, stride);
        assert_eq!((by_case.case(words, stride), left(&by_case)), (word, left(&cursor)), "with a branch or without");
        word.map(|position| (position, left(&cursor).to_vec()))
    };
    const SIDES: &[Word] = words!["Buy", "Sell"];
    assert_eq!(read(SIDES, "Buy\",\"v\""), Some((0, b",\"v\"".to_vec())));
    assert_eq!(read(SIDES, "Sell\""), Some((1, vec![])));
    assert_eq!(read(const { words!["trade"] }, "trade\"x"), Some((0, b"x".to_vec())));
    assert_eq!(read(const { words!["a", "ab", "abc"] }, "abc\""), Some((2, vec![])));
    // Of the most bytes that are compared at once, and of one more.
    const LONG: &[Word] = words!["bookTic", "bookTick", "bookTicker"];
    for (position, word) in (0..).zip(LONG) {
        assert_eq!(read(LONG, &format!("{}\"x", word.text)), Some((position, b"x".to_vec())));
        for at in 0..=word.text.len() {
            let mut text = format!("{}\"x", word.text).into_bytes();
            text[at] ^= 1;
            assert_eq!(read(LONG, std::str::from_utf8(&text).unwrap()), None, "byte {at} of {}", word.text);
        }
    }
    for refused in ["", "\"", "Buy", "Buyer\"", "Sel\"", "sell\"", "BuySell\""] {
        assert_eq!(read(SIDES, refused), None, "{refused}");
    }
}

#[test]
fn a_number_is_of_digits_and_one_point_at_most_and_ends_at_its_quote() {
    with_every_isa(|cpu, ask| {
        for whole in ["", "0", "7", "12345678901234", "123456789012345", "1234567890123456"] {
            for rest in ["", ".", ".5", ".5.", "..5", "5.5.5", "a", ".a", "5\u{1}", "-", " "] {
                let text = format!("{whole}{rest}");
                for behind in ["", ",\"5.5\",\"1.5.5\"", "aaaaaaaaaaaaaaaa"] {
                    let bytes = padded(format!("{text}\"{behind}").as_bytes());
                    let mut cursor = Cursor::new(&bytes);
                    let number = ask.number(&mut cursor);
                    // What is no number is taken as it is, and refused when it is read.
                    let Some(number) = number else {
                        assert!(text.len() >= WINDOW && text.contains('\u{1}'), "{cpu:?}: {text}");
                        continue;
                    };
                    assert_eq!((number.text(), left(&cursor)), (text.as_bytes(), behind.as_bytes()), "{cpu:?}");
                    assert_eq!(ask.grid(number, 3), parse_fixed(text.as_bytes(), 3), "{cpu:?}: {text}");
                }
            }
        }
    });
}

#[test]
fn an_id_ends_at_its_quote_and_is_plain_whatever_its_length() {
    with_every_isa(|cpu, ask| {
        for length in 0..64 {
            let text = "0123456789abcdef-".repeat(4)[..length].to_owned();
            for behind in ["", ",\"BT\":false}", &"\"".repeat(48)] {
                let bytes = padded(format!("{text}\"{behind}").as_bytes());
                assert_eq!(ask.text(&mut Cursor::new(&bytes)), Some(text.as_bytes()), "{cpu:?}");
            }
            for (at, byte) in (0..length).flat_map(|at| [b'\\', b'\n', 0x80].map(|byte| (at, byte))) {
                let mut bytes = padded(format!("{text}\"").as_bytes());
                bytes[at] = byte;
                assert_eq!(ask.text(&mut Cursor::new(&bytes)), None, "{cpu:?}: {byte:#04x} at {at} of {length}");
            }
        }
    });
}

#[test]
fn a_bool_is_one_of_two_words() {
    let read = |text: &str| {
        let bytes = padded(text.as_bytes());
        let [mut cursor, mut by_flag] = [Cursor::new(&bytes); 2];
        let stride = cursor.stride().expect("padded");
        let is_true = cursor.bool(stride);
        assert_eq!((by_flag.flag(stride), left(&by_flag)), (is_true, left(&cursor)), "with a branch or without");
        is_true.map(|is_true| (is_true, left(&cursor).to_vec()))
    };
    assert_eq!(read("true"), Some((true, vec![])));
    assert_eq!(read("false"), Some((false, vec![])));
    assert_eq!(read("truee"), Some((true, b"e".to_vec())));
    assert_eq!(read("false,"), Some((false, b",".to_vec())));
    for refused in ["", "t", "tru", "trux", "txue", "fals", "falsy", "fxlse", "tfalse", "True", "null"] {
        assert_eq!(read(refused), None, "{refused}");
    }
}

proptest! {
    #[test]
    fn a_string_ends_where_the_plain_loop_says(bytes in proptest::collection::vec(prop_oneof![1 => any::<u8>(), 1 => Just(b'"'), 30 => 0x20_u8..0x7f], 0..64)) {
        let end = bytes.iter().position(|&byte| is_string_end(byte));
        let expected = end.filter(|&at| bytes[at] == b'"').map(|at| &bytes[..at]);
        with_every_isa(|_, ask| assert_eq!(ask.text(&mut Cursor::new(&padded(&bytes))), expected));
    }

    #[test]
    fn a_number_is_the_same_text_and_value_as_the_plain_string(
        text in prop_oneof!["-?[0-9]{0,18}(\\.[0-9]{0,12})?[0a\\\\]?", "[0-9]{1,7}\\.[0-9]{1,8}"],
        tail in "(\"(\\}|,\"key\":\"1.5\"\\})?)?",
        scale in 0_u8..=18,
    ) {
        let bytes = padded(format!("{text}{tail}").as_bytes());
        with_every_isa(|cpu, ask| {
            let [mut plain, mut cursor] = [Cursor::new(&bytes); 2];
            let expected = ask.text(&mut plain);
            let number = ask.number(&mut cursor);
            assert!(expected.is_none() || number.is_some(), "{cpu:?}: {text}");
            if let Some(number) = number {
                assert!(expected.is_none() || left(&cursor) == left(&plain));
                assert_eq!(ask.grid(number, scale), parse_fixed(number.text(), scale), "{cpu:?}: {text} at {scale}");
            }
        });
    }

    #[test]
    fn a_skipped_scalar_is_one_that_json_has(text in "(-?[0-9]{1,20}(\\.[0-9]{0,3})?|true|false|null|\"[a-z\\\\]{0,12}\"|[a-z]{1,5})") {
        with_every_isa(|_, ask| {
            let bytes = padded(text.as_bytes());
            let mut cursor = Cursor::new(&bytes);
            if ask.skip_scalar(&mut cursor).is_some() && left(&cursor).is_empty() {
                assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            }
        });
    }
}
