//! Messages as a user of a JSON library writes their types: texts borrowed, prices and quantities parsed as `f64`.

use crate::messages::Truth;
use serde::Deserialize;
use std::hint::black_box;

/// What a message's type, as a user writes it, says.
pub(crate) trait Typed {
    fn symbol(&self) -> &str;
    fn number(&self) -> u64;
    fn levels(&self, each: impl FnMut(f64, f64));
}

fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

type Pairs<'a> = Vec<[&'a str; 2]>;

fn pairs(lists: [&Pairs<'_>; 2], mut each: impl FnMut(f64, f64)) {
    for [price, qty] in lists.into_iter().flatten() {
        each(number(price), number(qty));
    }
}

#[derive(Deserialize)]
pub(crate) struct Combined<T> {
    pub(crate) data: T,
}

#[derive(Deserialize)]
pub(crate) struct SpotTrade<'a> {
    s: &'a str,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: u64,
    t: u64,
    m: bool,
}

impl Typed for SpotTrade<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        black_box((self.t, self.m));
        self.time
    }
    fn levels(&self, mut each: impl FnMut(f64, f64)) {
        each(number(self.p), number(self.q));
    }
}

#[derive(Deserialize)]
pub(crate) struct SpotQuote<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_qty: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_qty: &'a str,
}

impl Typed for SpotQuote<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        self.u
    }
    fn levels(&self, mut each: impl FnMut(f64, f64)) {
        each(number(self.b), number(self.bid_qty));
        each(number(self.a), number(self.ask_qty));
    }
}

#[derive(Deserialize)]
pub(crate) struct Book<'a> {
    s: &'a str,
    u: u64,
    #[serde(borrow)]
    b: Pairs<'a>,
    #[serde(borrow)]
    a: Pairs<'a>,
}

impl Typed for Book<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        self.u
    }
    fn levels(&self, each: impl FnMut(f64, f64)) {
        pairs([&self.b, &self.a], each);
    }
}

#[derive(Deserialize)]
pub(crate) struct BybitTrade<'a> {
    #[serde(rename = "T")]
    time: u64,
    s: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
    v: &'a str,
    p: &'a str,
    i: &'a str,
    seq: u64,
}

impl Typed for Vec<BybitTrade<'_>> {
    fn symbol(&self) -> &str {
        self[0].s
    }
    fn number(&self) -> u64 {
        self[0].time
    }
    fn levels(&self, mut each: impl FnMut(f64, f64)) {
        for trade in self {
            black_box((trade.side, trade.i, trade.seq));
            each(number(trade.p), number(trade.v));
        }
    }
}

/// A type of message, for texts of any lifetime.
pub(crate) trait Family {
    type Message<'t>: Typed + Deserialize<'t>;
}

macro_rules! families {
    ($($family:ident: $message:ty;)*) => {$(
        pub(crate) struct $family;

        impl Family for $family {
            type Message<'t> = $message;
        }
    )*};
}

families! {
    SpotTrades: SpotTrade<'t>;
    SpotQuotes: SpotQuote<'t>;
    Books: Book<'t>;
    BybitTrades: Vec<BybitTrade<'t>>;
}

/// Does something with the family of a case.
macro_rules! with_family {
    ($case:expr, $family:ident => $then:expr) => {
        match $case {
            Case::BinanceSpotTrade => {
                type $family = crate::typed::SpotTrades;
                $then
            }
            Case::BinanceSpotQuote => {
                type $family = crate::typed::SpotQuotes;
                $then
            }
            Case::BybitLinearTrade => {
                type $family = crate::typed::BybitTrades;
                $then
            }
            Case::BinanceUsdmDepth50 | Case::BybitLinearDelta5 | Case::BybitLinearSnapshot100 => {
                type $family = crate::typed::Books;
                $then
            }
        }
    };
}

pub(crate) use with_family;

/// A JSON library, as its users call it.
pub(crate) trait Library {
    const NAME: &'static str;
    const VERSION: &'static str;

    fn read<'t, T: Deserialize<'t>>(&mut self, text: &'t mut [u8]) -> T;
}

/// One that leaves the text as it is, and so may be given what others hold, too.
pub(crate) trait Shared: Library {
    fn read_shared<'t, T: Deserialize<'t>>(text: &'t [u8]) -> T;
}

pub(crate) struct SerdeJson;

impl Library for SerdeJson {
    const NAME: &'static str = "serde_json";
    const VERSION: &'static str = "1.0";

    fn read<'t, T: Deserialize<'t>>(&mut self, text: &'t mut [u8]) -> T {
        Self::read_shared(text)
    }
}

impl Shared for SerdeJson {
    fn read_shared<'t, T: Deserialize<'t>>(text: &'t [u8]) -> T {
        serde_json::from_slice(text).expect("JSON")
    }
}

pub(crate) struct SonicRs;

impl Library for SonicRs {
    const NAME: &'static str = "sonic-rs";
    const VERSION: &'static str = "0.5";

    fn read<'t, T: Deserialize<'t>>(&mut self, text: &'t mut [u8]) -> T {
        Self::read_shared(text)
    }
}

impl Shared for SonicRs {
    fn read_shared<'t, T: Deserialize<'t>>(text: &'t [u8]) -> T {
        sonic_rs::from_slice(text).expect("JSON")
    }
}

/// With the buffers that it lets its users keep.
pub(crate) struct SimdJson(simd_json::Buffers);

impl SimdJson {
    pub(crate) fn new() -> Self {
        Self(simd_json::Buffers::new(16 << 10))
    }
}

impl Library for SimdJson {
    const NAME: &'static str = "simd-json";
    const VERSION: &'static str = "0.19";

    fn read<'t, T: Deserialize<'t>>(&mut self, text: &'t mut [u8]) -> T {
        simd_json::serde::from_slice_with_buffers(text, &mut self.0).expect("JSON")
    }
}

/// What a typed message adds to the sum of a pass.
pub(crate) fn used(message: &impl Typed) -> u64 {
    let mut sum = message.number() ^ message.symbol().len() as u64;
    message.levels(|price, qty| sum = sum.wrapping_add(price.to_bits() ^ qty.to_bits()));
    sum
}

/// A message's type must say exactly what the message says.
pub(crate) fn checked(message: &impl Typed, truth: &Truth, names: &[String]) {
    let mut levels = Vec::new();
    message.levels(|price, qty| levels.push(((price * 100.0).round() as i64, (qty * 1_000.0).round() as i64)));
    let symbol = names.iter().position(|name| name == message.symbol()).expect("a name of the universe");
    assert_eq!(Truth { symbol, number: message.number(), levels }, *truth);
}
