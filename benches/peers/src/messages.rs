//! What is raced over: messages to the venues' documented shapes, all different, and what each of them says.

use std::ops::Range;
use tickwire::limits::READ_PADDING_BYTES;
use tickwire::market::{Decimal, Venue};

/// What one message says. Every contender must find exactly this.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Truth {
    /// Which of the listed symbols, in the message's order; one that is named several times in a row stands here once.
    pub(crate) symbols: Vec<usize>,
    /// Its whole numbers, of all its events together. Trades: venue time in ms. Quotes and books: the last update id.
    pub(crate) number: u64,
    /// Of each event price and quantity of its levels, in the message's order, and behind them what else it has.
    pub(crate) numbers: Vec<Decimal>,
}

/// A message and its truth.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) text: Vec<u8>,
    pub(crate) truth: Truth,
    /// Which of the numbers a message before it said: where a venue sends what has changed, an event has the rest, too.
    pub(crate) carried: Vec<usize>,
}

/// What a venue lists: names as its messages write them, and how many decimals their prices and quantities have.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) venue: Venue,
    pub(crate) names: Vec<String>,
    pub(crate) grids: Vec<(u8, u8)>,
}

impl Listing {
    /// The universe of a case's generated messages.
    pub(crate) fn generated(case: Case, count: usize) -> Self {
        Self { venue: case.venue(), names: universe(count), grids: vec![GRID; count] }
    }
}

/// Decimals of a generated price, and of a quantity.
const GRID: (u8, u8) = (2, 3);

/// Messages one behind the other, each with readable bytes behind it, as in a read buffer. Every contender has its own.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Arena {
    /// Of all of them, in their order.
    pub(crate) fn new<'m>(texts: impl IntoIterator<Item = &'m [u8]>) -> Self {
        let mut arena = Self { bytes: Vec::new(), places: Vec::new() };
        for text in texts {
            let start = arena.bytes.len();
            arena.bytes.extend_from_slice(text);
            arena.places.push(start..arena.bytes.len());
            arena.bytes.resize(arena.bytes.len() + READ_PADDING_BYTES, 0);
        }
        arena
    }

    /// A message.
    pub(crate) fn text(&self, at: u32) -> &[u8] {
        &self.bytes[self.places[at as usize].clone()]
    }

    /// A message, for who rewrites it.
    pub(crate) fn text_mut(&mut self, at: u32) -> &mut [u8] {
        &mut self.bytes[self.places[at as usize].clone()]
    }

    /// A message and what is readable behind it.
    pub(crate) fn padded_mut(&mut self, at: u32) -> &mut [u8] {
        let place = self.places[at as usize].clone();
        &mut self.bytes[place.start..place.end + READ_PADDING_BYTES]
    }

    /// Looks at every byte, so that all are in the second cache, as what was just received is.
    pub(crate) fn pull(&self) -> u64 {
        let places: usize = self.places.iter().map(|place| place.start).sum();
        self.bytes.iter().fold(places as u64, |sum, &byte| sum.wrapping_add(u64::from(byte)))
    }
}

/// A channel of a venue, by its shape.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Case {
    BinanceSpotTrade,
    BinanceSpotQuote,
    BinanceUsdmDepth50,
    BybitLinearTrade,
    BybitLinearDelta5,
    BybitLinearSnapshot100,
}

impl Case {
    pub(crate) const ALL: [Self; 6] = [
        Self::BinanceSpotTrade,
        Self::BinanceSpotQuote,
        Self::BinanceUsdmDepth50,
        Self::BybitLinearTrade,
        Self::BybitLinearDelta5,
        Self::BybitLinearSnapshot100,
    ];

    pub(crate) const fn venue(self) -> Venue {
        match self {
            Self::BinanceSpotTrade | Self::BinanceSpotQuote => Venue::BinanceSpot,
            Self::BinanceUsdmDepth50 => Venue::BinanceUsdm,
            Self::BybitLinearTrade | Self::BybitLinearDelta5 | Self::BybitLinearSnapshot100 => Venue::BybitLinear,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BinanceSpotTrade => "binance-spot trade",
            Self::BinanceSpotQuote => "binance-spot bookTicker",
            Self::BinanceUsdmDepth50 => "binance-usdm depth, 50 levels",
            Self::BybitLinearTrade => "bybit-linear publicTrade",
            Self::BybitLinearDelta5 => "bybit-linear orderbook.50 delta, 5 levels",
            Self::BybitLinearSnapshot100 => "bybit-linear orderbook.50 snapshot, 100 levels",
        }
    }
}

/// A number that looks like chance, the same in every run.
pub(crate) fn mixed(n: u64, salt: u64) -> u64 {
    let mixed = (n ^ (salt << 40)).wrapping_add(0x51).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 32)
}

/// Before the first trade or update id of each symbol.
const FIRST_ID: u64 = 50_093_239_212;

/// The names of a universe: short and long ones, as venues have them.
pub(crate) fn universe(count: usize) -> Vec<String> {
    const MAJORS: [&str; 5] = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"];
    let name = |n: usize| match MAJORS.get(n) {
        Some(major) => (*major).to_owned(),
        None => format!("{}{n}USDT", ["AB", "LONG", "1000CAT", "Q"][n % 4]),
    };
    (0..count).map(name).collect()
}

/// Half of the messages are of the first five symbols, as the market's are.
fn symbol_of(n: u64, count: usize) -> usize {
    let picked = mixed(n, 90);
    let bound = if picked.is_multiple_of(2) { 5 } else { count as u64 };
    usize::try_from((picked >> 8) % bound).expect("below the count")
}

fn level(n: u64, salt: u64) -> (i64, i64) {
    let signed = |value: u64| i64::try_from(value).expect("small");
    let size = [9, 900, 90_000, 9_000_000][usize::try_from(mixed(n, salt + 1) % 4).expect("below 4")];
    (signed(6_000_000 + mixed(n, salt) % 900_000), signed(1 + mixed(n, salt + 2) % size))
}

fn price((price, _): (i64, i64)) -> String {
    format!("{}.{:02}", price / 100, price % 100)
}

fn qty((_, qty): (i64, i64)) -> String {
    format!("{}.{:03}", qty / 1_000, qty % 1_000)
}

fn list(levels: &[(i64, i64)]) -> String {
    let levels: Vec<String> = levels.iter().map(|&level| format!(r#"["{}","{}"]"#, price(level), qty(level))).collect();
    format!("[{}]", levels.join(","))
}

/// Messages of a case, so many at most, and of so many bytes together.
pub(crate) fn generated(case: Case, names: &[String], count_max: usize, bytes_max: usize) -> Vec<Message> {
    let mut bytes = 0;
    let fits = |message: &Message| {
        bytes += message.text.len();
        bytes <= bytes_max
    };
    // Each symbol counts for itself, as a venue does: an id that is left out would be a hole.
    let mut next_ids = vec![FIRST_ID; names.len()];
    let numbered = |n| {
        let next = &mut next_ids[symbol_of(n, names.len())];
        *next += 1;
        message(case, n, *next, names)
    };
    (0..count_max as u64).map(numbered).take_while(fits).collect()
}

/// A text in the frame that a server puts it in, behind what is there already.
pub(crate) fn frame(text: &[u8], frames: &mut Vec<u8>) {
    assert!(text.len() >= 126, "a frame of the middle length");
    frames.extend([0x81, 126]);
    frames.extend(u16::try_from(text.len()).expect("a 16-bit length").to_be_bytes());
    frames.extend_from_slice(text);
}

/// Venue time of the first message; each is a millisecond later than the one before.
pub(crate) const FIRST_TIME_MS: u64 = 1_700_000_000_000;

/// The `n`-th message of a case, of one of these symbols, with this id.
fn message(case: Case, n: u64, id: u64, names: &[String]) -> Message {
    let symbol = symbol_of(n, names.len());
    let name = &names[symbol];
    let stream = name.to_ascii_lowercase();
    let time = FIRST_TIME_MS + n;
    let count = match case {
        Case::BinanceSpotTrade | Case::BybitLinearTrade => 1,
        Case::BinanceSpotQuote => 2,
        Case::BinanceUsdmDepth50 => 50,
        Case::BybitLinearDelta5 => 5,
        Case::BybitLinearSnapshot100 => 100,
    };
    let levels: Vec<_> = (0..count).map(|at| level(n, 3 * at)).collect();
    // Deltas are lopsided, the others even.
    let (bids, asks) = levels.split_at(levels.len().div_ceil(2));
    let is_even = mixed(n, 91).is_multiple_of(2);
    let (text, number) = match case {
        Case::BinanceSpotTrade => (
            format!(
                r#"{{"stream":"{stream}@trade","data":{{"e":"trade","E":{time},"s":"{name}","t":{id},"p":"{}000000","q":"{}00000","T":{time},"m":{is_even},"M":true}}}}"#,
                price(levels[0]),
                qty(levels[0])
            ),
            time,
        ),
        Case::BinanceSpotQuote => (
            format!(
                r#"{{"stream":"{stream}@bookTicker","data":{{"u":{id},"s":"{name}","b":"{}000000","B":"{}00000","a":"{}000000","A":"{}00000"}}}}"#,
                price(levels[0]),
                qty(levels[0]),
                price(levels[1]),
                qty(levels[1])
            ),
            id,
        ),
        Case::BinanceUsdmDepth50 => (
            format!(
                r#"{{"stream":"{stream}@depth@100ms","data":{{"e":"depthUpdate","E":{time},"T":{time},"s":"{name}","U":{},"u":{id},"pu":{},"b":{},"a":{}}}}}"#,
                id - 3,
                id - 5,
                list(bids),
                list(asks)
            ),
            id,
        ),
        Case::BybitLinearTrade => (
            format!(
                r#"{{"topic":"publicTrade.{name}","type":"snapshot","ts":{time},"data":[{{"T":{time},"s":"{name}","S":"{}","v":"{}","p":"{}","L":"PlusTick","i":"{:08x}-d8dd-5b31-9112-a178eb6023af","BT":false,"RPI":false,"seq":{id}}}]}}"#,
                if is_even { "Buy" } else { "Sell" },
                qty(levels[0]),
                price(levels[0]),
                mixed(n, 92) as u32
            ),
            time,
        ),
        Case::BybitLinearDelta5 | Case::BybitLinearSnapshot100 => {
            let kind = if case == Case::BybitLinearDelta5 { "delta" } else { "snapshot" };
            let text = format!(
                r#"{{"topic":"orderbook.50.{name}","type":"{kind}","ts":{time},"data":{{"s":"{name}","b":{},"a":{},"u":{id},"seq":{id}}},"cts":{time}}}"#,
                list(bids),
                list(asks)
            );
            (text, id)
        }
    };
    let decimals = |(price, qty): (i64, i64)| [Decimal::new(price.into(), GRID.0), Decimal::new(qty.into(), GRID.1)];
    let numbers = levels.into_iter().flat_map(decimals).collect();
    Message { text: text.into_bytes(), truth: Truth { symbols: vec![symbol], number, numbers }, carried: Vec::new() }
}
