//! Sets of CPUs in the kernel's two written forms: lists (`0-3,8`) and masks (`f,00000001`).

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// CPU numbers, rising, each once.
pub type Cpus = BTreeSet<usize>;

/// A number beyond this in a file is no CPU of any kernel, but somebody's mistake.
const CPU_MAX: usize = 65_535;

/// Reads a list of CPUs as a person or the kernel writes it: `0-3,8`.
///
/// # Errors
/// What is allowed.
pub fn parse_list(text: &str) -> Result<Cpus, String> {
    let cpus = from_list(text).filter(|cpus| !cpus.is_empty());
    cpus.ok_or_else(|| "allowed are numbers of CPUs, and ranges, with commas between: 2,4-7".to_owned())
}

/// Reads a list: numbers and ranges with commas between; `(null)`, as the kernel writes a list it does not have, is empty.
/// `None` for anything else.
///
/// Source: the kernel's `admin-guide/cputopology`, and `lib/vsprintf` (`%*pbl`).
pub(super) fn from_list(text: &str) -> Option<Cpus> {
    let text = text.trim();
    let mut cpus = Cpus::new();
    if text.is_empty() || text == "(null)" {
        return Some(cpus);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

fn number(text: &str) -> Option<usize> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&cpu| is_plain && cpu <= CPU_MAX)
}

/// Reads a mask: hexadecimal words of 32 bits with commas between, the highest first. `None` for anything else.
///
/// Source: the kernel's `lib/vsprintf` (`%*pb`).
pub(super) fn from_mask(text: &str) -> Option<Cpus> {
    let text = text.trim();
    if text.is_empty() || text.len() > CPU_MAX / 3 {
        return None;
    }
    let mut cpus = Cpus::new();
    for (word, digits) in text.rsplit(',').enumerate() {
        let is_plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u32::from_str_radix(digits, 16).ok().filter(|_| is_plain)?;
        cpus.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| word * 32 + bit));
    }
    Some(cpus)
}

/// Writes a list: `0-3,8`; empty for none.
#[must_use]
pub fn to_list(cpus: &Cpus) -> String {
    let mut text = String::new();
    let mut rest = cpus.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while rest.next_if_eq(&(last + 1)).is_some() {
            last += 1;
        }
        let comma = if text.is_empty() { "" } else { "," };
        let range = if last == first { String::new() } else { format!("-{last}") };
        write!(text, "{comma}{first}{range}").expect("a String takes whatever is written to it");
    }
    text
}

/// Writes a mask that the kernel reads.
pub(super) fn to_mask(cpus: &Cpus) -> String {
    let words = cpus.last().map_or(1, |last| last / 32 + 1);
    let word =
        |at: usize| (0..32).filter(|bit| cpus.contains(&(at * 32 + bit))).fold(0_u32, |bits, bit| bits | 1 << bit);
    let text: Vec<String> = (0..words)
        .rev()
        .map(|at| if at + 1 == words { format!("{:x}", word(at)) } else { format!("{:08x}", word(at)) })
        .collect();
    text.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        for text in ["", "0", "0-1", "0,2", "0-3,8,10-11", "255"] {
            assert_eq!(to_list(&from_list(text).unwrap()), text);
        }
        assert_eq!(from_list("(null)\n"), Some(Cpus::new()));
        assert_eq!(from_list("1,0,1\n"), Some(Cpus::from([0, 1])));
    }

    #[test]
    fn a_mask_is_read_as_it_was_written_over_any_number_of_words() {
        for text in ["0", "1", "f", "80000000", "1,00000000", "f0,00000001,80000000"] {
            assert_eq!(to_mask(&from_mask(text).unwrap()), text);
        }
        assert_eq!(from_mask("00000000,00000003\n"), Some(Cpus::from([0, 1])));
    }

    #[test]
    fn what_is_no_list_and_no_mask_is_none() {
        for text in ["x", "1-", "-1", "3-1", "1,,2", "1;2", "+1", "99999999", "0-99999999999999999999", "1 2"] {
            assert_eq!(from_list(text), None, "{text}");
        }
        for text in ["", "x", "+1", "123456789", "1,,2", "1,", "-1", "0x1"] {
            assert_eq!(from_mask(text), None, "{text}");
        }
    }
}
