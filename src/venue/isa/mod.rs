//! What the scanner asks of the CPU, sixteen bytes at a time, and who answers.
//!
//! ```text
//! Cpu (chosen once, at start) ─► Avx512 │ Sse41 │ Portable ─► one copy of the scanner each, compiled for it
//! ```
//! A value of [`Avx512`] or [`Sse41`] is a proof: it is only made where the CPU was asked. The questions take a window of
//! sixteen bytes and not a slice, so that no answer depends on where a message ends; what stands behind a value is the
//! caller's to judge.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::levels::Listing;
use super::number::{UUID_BYTES, uuid};
use crate::market::Level;

pub(super) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx512, Sse41};

/// Asks for every line of something that begins at one. Before anyone has said which instructions there are.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no hint there"))]
pub(super) fn fetch_all<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..size_of::<T>().div_ceil(64) {
        x86::fetch((&raw const *place).cast::<u8>().wrapping_add(64 * line));
    }
}

/// How far into a message its lines are asked for at its beginning. Further on the CPU has seen where the walk goes.
#[cfg(target_arch = "x86_64")]
const FETCHED_BYTES: usize = 256;

/// Asks for the first lines of a message that is walked next, so that the walk does not wait for one after the other; as
/// many of every message, for to reckon how many it has takes longer than to ask for one that it has not. Changes nothing
/// else, and may do nothing.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no hint there"))]
pub(super) fn fetch_message(message: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..FETCHED_BYTES / 64 {
        x86::fetch(message.as_ptr().wrapping_add(64 * line));
    }
}

/// Asks for the line that this begins in, as [`fetch_message`] for a message's.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no hint there"))]
pub(super) fn fetch_one<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    x86::fetch(place);
}

/// Bytes that one question is about.
pub(super) const WINDOW: usize = 16;

/// Most digits of a number that a window can answer for: the sixteenth byte must be seen to be none.
pub(super) const DIGIT_COUNT_MAX: usize = WINDOW - 1;

/// Digits of a time in milliseconds, from September 2001 to November 2286.
pub(super) const TIME_DIGITS: usize = 13;

/// Where the parts of a number in quotes end that begins at a window's first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NumberEnds {
    /// Where the first point is; where there is none before its end, the end.
    pub(super) whole: usize,
    /// Where the first quote is; [`WINDOW`] or more where there is none.
    pub(super) end: usize,
}

/// The questions.
pub(super) trait Isa: Copy + std::fmt::Debug {
    /// Whether the walk takes members in any order, and white space (`any_order.rs`).
    const IS_ANY_ORDER: bool = false;

    /// Does the work in a function of its own that is compiled for these instructions (with AVX-512: for AVX2).
    fn run<W: Work>(self, work: &mut W) -> W::Output;

    /// Where a plain string ends: the first quote, backslash, control byte or byte that is not ASCII; [`WINDOW`] or more if
    /// there is none.
    fn plain_end(self, window: &[u8; WINDOW]) -> usize;

    /// The same of two windows: twice [`WINDOW`] or more if there is none.
    #[inline(always)]
    fn plain_end_of_two(self, windows: [&[u8; WINDOW]; 2]) -> usize {
        let [first, second] = [self.plain_end(windows[0]), self.plain_end(windows[1])];
        if first < WINDOW { first } else { WINDOW + second }
    }

    /// Whether no plain string ends in any of these.
    #[inline(always)]
    fn are_plain(self, windows: [&[u8; WINDOW]; 3]) -> bool {
        windows.into_iter().all(|window| self.plain_end(window) >= WINDOW)
    }

    /// One bit for each byte that is this one, the first byte's the lowest.
    #[inline(always)]
    fn marks(self, window: &[u8; WINDOW], byte: u8) -> u32 {
        window.iter().rev().fold(0, |marks, &other| marks << 1 | u32::from(other == byte))
    }

    /// Where the first point and the first quote are. Says nothing of what stands between: [`Self::grid`] looks at every byte.
    fn quoted_ends(self, window: &[u8; WINDOW]) -> NumberEnds;

    /// The digits at the front as an integer, and how many they are. [`WINDOW`] digits may go on: no value then.
    fn uint(self, window: &[u8; WINDOW]) -> (u64, usize);

    /// [`Self::uint`] of exactly [`TIME_DIGITS`] digits, the first of them not zero.
    #[inline(always)]
    fn time(self, window: &[u8; WINDOW]) -> Option<u64> {
        let (value, length) = self.uint(window);
        (length == TIME_DIGITS && window[0] != b'0').then_some(value)
    }

    /// The mantissa at `scale` decimals of the number that ends so, at most [`DIGIT_COUNT_MAX`] bytes on. `None` where it is not
    /// exact or not of the common form (digits, one point at most and digits on both sides of it; the integer digits and the
    /// scale together at most [`DIGIT_COUNT_MAX`]), which is no error.
    fn grid(self, window: &[u8; WINDOW], ends: NumberEnds, scale: u8) -> Option<i64>;

    /// [`Self::grid`] of two numbers at two scales. `None` where it is `None` of one of them.
    #[inline(always)]
    fn grids(self, windows: [&[u8; WINDOW]; 2], ends: [NumberEnds; 2], scales: (u8, u8)) -> Option<[i64; 2]> {
        let first = self.grid(windows[0], ends[0], scales.0)?;
        Some([first, self.grid(windows[1], ends[1], scales.1)?])
    }

    /// [`Self::grid`] at as many decimals as the number has, and how many those are.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "fewer decimals than a window has bytes")]
    fn decimal(self, window: &[u8; WINDOW], ends: NumberEnds) -> Option<(i64, u8)> {
        let scale = ends.end.saturating_sub(ends.whole + 1) as u8;
        Some((self.grid(window, ends, scale)?, scale))
    }

    /// [`Self::decimal`] of two numbers. `None` where it is `None` of one of them.
    #[inline(always)]
    fn decimals(self, windows: [&[u8; WINDOW]; 2], ends: [NumberEnds; 2]) -> Option<[(i64, u8); 2]> {
        let first = self.decimal(windows[0], ends[0])?;
        Some([first, self.decimal(windows[1], ends[1])?])
    }

    /// The first `length` bytes, zeros behind them.
    fn key(self, window: &[u8; WINDOW], length: usize) -> u128;

    /// Whether that is [`Self::key`].
    #[inline(always)]
    fn is_key(self, window: &[u8; WINDOW], length: usize, key: &u128) -> bool {
        self.key(window, length) == *key
    }

    /// The 128 bits of a UUID's text, if it is one: exactly [`uuid`].
    #[inline(always)]
    fn uuid(self, text: &[u8; UUID_BYTES]) -> Option<u128> {
        uuid(text)
    }

    /// Reads the list of levels at the front of `padded`, at these scales of price and quantity, into `levels`.
    fn levels(self, padded: &[u8], scales: (u8, u8), levels: &mut [Level]) -> Option<Listing>;
}

/// Work that is compiled once for each kind of instructions.
pub(super) trait Work {
    /// What it gives.
    type Output;

    /// Does it. Must be inlined, or it is not compiled for the instructions it asks. By reference: what was just written
    /// member by member is slow to copy in larger pieces.
    fn run<I: Isa>(&mut self, isa: I) -> Self::Output;
}

/// The instructions of one decoder.
#[derive(Clone, Copy, Debug)]
pub(super) enum Isas {
    /// Asks for none.
    Portable,
    /// Proven.
    #[cfg(target_arch = "x86_64")]
    Sse41(Sse41),
    /// Proven.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Isas {
    /// The instructions asked for, or the next best that are here.
    pub(super) fn new(cpu: Cpu) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if cpu == Cpu::Avx512
                && let Some(isa) = Avx512::new()
            {
                return Self::Avx512(isa);
            }
            if cpu != Cpu::Portable
                && let Some(isa) = Sse41::new()
            {
                return Self::Sse41(isa);
            }
        }
        let _ = cpu;
        Self::Portable
    }

    /// Does the work with these instructions.
    #[inline(always)]
    pub(super) fn run<W: Work>(self, work: &mut W) -> W::Output {
        match self {
            Self::Portable => Portable.run(work),
            #[cfg(target_arch = "x86_64")]
            Self::Sse41(isa) => isa.run(work),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.run(work),
        }
    }
}

/// Which instructions the decoders use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cpu {
    /// Any 64-bit machine: eight bytes at a time in general registers.
    Portable,
    /// x86-64 with SSE4.1: sixteen bytes.
    Sse41,
    /// x86-64 with AVX-512 (BW, VL, VBMI, VBMI2, BITALG), and with AVX2, BMI1, BMI2, LZCNT and POPCNT, which CPUs that have that
    /// have too: of lists of levels sixty-four bytes, four numbers, at a time, a price and its quantity elsewhere at once, of everything
    /// else sixteen bytes.
    Avx512,
}

impl Cpu {
    /// All, slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Sse41, Self::Avx512];

    /// The best that this machine has.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|cpu| cpu.is_here()).unwrap_or(Self::Portable)
    }

    /// True if this machine has the instructions.
    #[must_use]
    pub fn is_here(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Sse41 => Sse41::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::new().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Sse41 | Self::Avx512 => false,
        }
    }

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Sse41 => "sse4.1",
            Self::Avx512 => "avx512",
        }
    }
}
