//! Tests of the scanner, with every kind of instructions that the machine has.

use super::*;
use crate::market::parse_fixed;
use crate::venue::Cpu;
use crate::venue::isa::Isas;
use crate::venue::layout::BLOCK;
use crate::venue::number::{UUID_BYTES, uuid};
use proptest::prelude::*;

fn padded(text: &[u8]) -> Vec<u8> {
    [text, &[0; READ_PADDING_BYTES]].concat()
}

/// What is ahead of the cursor and belongs to the text.
fn left<'a>(cursor: &Cursor<'a>) -> &'a [u8] {
    &cursor.rest[..cursor.ahead() - READ_PADDING_BYTES]
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
    /// `None` where these instructions never answer.
    fn four(&self, numbers: [&str; 4], scales: (u8, u8)) -> Option<Option<[i64; 4]>>;
}

struct Asked<I>(I);

impl<I: Isa> Ask for Asked<I> {
    fn uint(&self, cursor: &mut Cursor<'_>) -> Option<u64> {
        cursor.uint(self.0)
    }
    fn text<'a>(&self, cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
        let mut other = *cursor;
        let name = other.name(self.0);
        let text = cursor.text(self.0);
        assert_eq!(name, text.map(Number::text), "a name is a text");
        let text = text?;
        assert_eq!(other.ahead(), cursor.ahead());
        let mut packed = text.text().to_vec();
        packed.resize(packed.len().max(WINDOW), 0);
        assert_eq!(text.key(self.0).to_le_bytes(), packed[..WINDOW]);
        let length = text.text().len();
        if length < BLOCK {
            let block = text.text().iter().copied().chain([b'"']).chain([0; BLOCK]).take(BLOCK).collect::<Vec<_>>();
            let block = block.first_chunk().unwrap();
            assert!(self.0.is_plain(block, length) && !self.0.is_plain(block, length + 1), "the quote is not plain");
        }
        Some(text.text())
    }
    fn number<'a>(&self, cursor: &mut Cursor<'a>) -> Option<Number<'a>> {
        cursor.number(self.0)
    }
    fn grid(&self, number: Number<'_>, scale: u8) -> Result<i64, crate::market::ValueError> {
        let decimal = crate::market::Decimal::parse(number.text());
        assert_eq!(number.decimal(self.0), decimal);
        number.grid(self.0, scale)
    }
    fn skip_scalar(&self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.skip_scalar(self.0)
    }
    fn uuid(&self, text: &[u8; UUID_BYTES]) -> Option<u128> {
        self.0.uuid(text)
    }
    fn four(&self, numbers: [&str; 4], scales: (u8, u8)) -> Option<Option<[i64; 4]>> {
        // What stands behind a number is no part of it, digits least of all.
        let windows = numbers.map(|number| [number.as_bytes(), &[b'7'; WINDOW]].concat());
        let windows = windows.each_ref().map(|window| window.first_chunk().unwrap());
        I::HAS_QUOTES.then(|| self.0.four(windows, numbers.map(str::len), scales))
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

#[test]
fn four_numbers_at_once_mean_what_each_means_alone() {
    let numbers = ["0", "7", "12.5", "61837.63000000", "0.00000001", "9999999.9999999", "123456789012345", "100.0"];
    let refused = ["", "1.", ".1", "1..2", "1.2.3", "-1", "1e5", "12345678901234567", "1234567890.12345", "1 ", "a"];
    with_every_isa(|cpu, ask| {
        for scale in 0..=15 {
            for (at, number) in numbers.into_iter().chain(refused).enumerate() {
                // In each lane, beside three that are common.
                for lane in 0..4 {
                    let mut four = ["1", "22.0", "333", "4444.00"];
                    four[lane] = number;
                    let Some(found) = ask.four(four, (scale, scale)) else { continue };
                    let alone = four.map(|number| ask.grid(Number::unread(number.as_bytes()), scale).ok());
                    if let Some(found) = found {
                        assert_eq!(found.map(Some), alone, "{cpu:?}: {four:?} at {scale}");
                    }
                    let whole = number.find('.').unwrap_or(number.len());
                    let is_common = at < numbers.len() && whole + usize::from(scale) <= 15 && scale <= 11;
                    assert!(found.is_some() || !is_common || alone[lane].is_none(), "{cpu:?}: {four:?} at {scale}");
                }
            }
        }
    });
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
        for refused in ["", "01", "00000000000", "-1", "12345678901234567890", "a", "\"1\"", "0000000000000000"] {
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
    let read = |words: &'static [&'static str], text: &str| {
        let bytes = padded(text.as_bytes());
        let mut cursor = Cursor::new(&bytes);
        scan_word(words, &mut cursor).map(|position| (position, left(&cursor).to_vec()))
    };
    const SIDES: &[&str] = &["Buy", "Sell"];
    assert_eq!(read(SIDES, "Buy\",\"v\""), Some((0, b",\"v\"".to_vec())));
    assert_eq!(read(SIDES, "Sell\""), Some((1, vec![])));
    assert_eq!(read(&["trade"], "trade\"x"), Some((0, b"x".to_vec())));
    assert_eq!(read(&["a", "ab", "abc"], "abc\""), Some((2, vec![])));
    for refused in ["", "\"", "Buy", "Buyer\"", "Sel\"", "sell\"", "BuySell\""] {
        assert_eq!(read(SIDES, refused), None, "{refused}");
    }
}

#[test]
fn a_bool_is_one_of_two_words() {
    let read = |text: &str| {
        let bytes = padded(text.as_bytes());
        let mut cursor = Cursor::new(&bytes);
        cursor.bool().map(|is_true| (is_true, left(&cursor).to_vec()))
    };
    assert_eq!(read("true"), Some((true, vec![])));
    assert_eq!(read("false"), Some((false, vec![])));
    assert_eq!(read("truee"), Some((true, b"e".to_vec())));
    assert_eq!(read("false,"), Some((false, b",".to_vec())));
    for refused in ["", "t", "tru", "fals", "falsy", "True", "null"] {
        assert_eq!(read(refused), None, "{refused}");
    }
}

proptest! {
    #[test]
    fn a_string_ends_where_the_plain_loop_says(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), 0x20_u8..0x7f], 0..40)) {
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
            assert_eq!(number.map(Number::text), expected, "{cpu:?}: {text}");
            if let Some(number) = number {
                assert_eq!(left(&cursor), left(&plain));
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
