//! Messages in their venues' words, as several legs carry them: numbers vary as a market's do, in constant lengths.

use std::fmt::Write as _;
use tickwire::market::{StreamKind, Venue};

/// The number before the first of a symbol: a venue counts for long before anybody subscribes. A 1 would begin a numbering.
pub(crate) const BASE: u64 = 50_093_239_000;

/// What a stream carries, one of each identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Known again by a window of ids.
    Trade,
    /// The furthest number speaks.
    Quote,
    /// Ranges of ids that join.
    Depth,
    /// Changes to a snapshot of each leg's own.
    BybitBook,
    /// No identity: one leg leads.
    None,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Trade, Self::Quote, Self::Depth, Self::BybitBook, Self::None];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::Quote => "quote",
            Self::Depth => "depth",
            Self::BybitBook => "bybit-book",
            Self::None => "none",
        }
    }

    pub(crate) const fn venue(self) -> Venue {
        match self {
            Self::BybitBook => Venue::BybitLinear,
            Self::Trade | Self::Quote | Self::Depth | Self::None => Venue::BinanceSpot,
        }
    }

    pub(crate) const fn stream_kind(self) -> StreamKind {
        match self {
            Self::Trade => StreamKind::TRADE,
            Self::Quote => StreamKind::QUOTE,
            Self::Depth => StreamKind::BOOK,
            Self::BybitBook => StreamKind::of_depth(50),
            Self::None => StreamKind::TICKER,
        }
    }

    /// Appends the frame of the `n`-th message of this symbol, from 0. Its id is `BASE` + `n` + 1; of depth it
    /// has the ten ids that end with `BASE` + 10 `n` + 10.
    pub(crate) fn frame(self, name: &str, n: u64, frames: &mut Vec<u8>) {
        frame(&self.message(name, n), frames);
    }

    fn message(self, name: &str, n: u64) -> String {
        let (id, stream, time) = (BASE + n + 1, name.to_ascii_lowercase(), 1_700_000_000_000 + n);
        let price = 61_000 + mixed(n, 1) % 1_000;
        let (cents, qty) = (mixed(n, 2) % 100, 1 + mixed(n, 3) % 99_999);
        match self {
            Self::Trade => format!(
                r#"{{"stream":"{stream}@trade","data":{{"e":"trade","E":{time},"s":"{name}","t":{id},"p":"{price}.{cents:02}000000","q":"0.{qty:05}000","T":{time},"m":{},"M":true}}}}"#,
                mixed(n, 4).is_multiple_of(2),
            ),
            Self::Quote => spot_quote(name, id),
            // Ten ids a batch, each joining the last.
            Self::Depth => format!(
                r#"{{"stream":"{stream}@depth@100ms","data":{{"e":"depthUpdate","E":{time},"s":"{name}","U":{},"u":{},"b":[{}],"a":[{}]}}}}"#,
                BASE + 10 * n + 1,
                BASE + 10 * n + 10,
                levels(n, 61_000),
                levels(n + 1, 61_010),
            ),
            Self::BybitBook => format!(
                r#"{{"topic":"orderbook.50.{name}","type":"{}","ts":{time},"data":{{"s":"{name}","b":[{}],"a":[{}],"u":{id},"seq":{id}}},"cts":{time}}}"#,
                if n == 0 { "snapshot" } else { "delta" },
                levels(n, 61_000),
                levels(n + 1, 61_010),
            ),
            Self::None => format!(
                r#"{{"stream":"{stream}@ticker","data":{{"e":"24hrTicker","E":{time},"s":"{name}","p":"12.{cents:02}","P":"0.100","w":"{price}.00","x":"{price}.00","c":"{price}.{cents:02}","Q":"0.{qty:05}","b":"{price}.00","B":"0.{qty:05}","a":"{price}.99","A":"0.{qty:05}","o":"{price}.00","h":"{price}.00","l":"{price}.00","v":"10000.0","q":"18.0","O":0,"C":{time},"F":1,"L":{id},"n":{id}}}}}"#,
            ),
        }
    }
}

/// Appends a quote of a symbol that marks a place among the messages.
pub(crate) fn mark(venue: Venue, name: &str, number: u64, frames: &mut Vec<u8>) {
    let text = match venue {
        Venue::BinanceSpot | Venue::BinanceUsdm => spot_quote(name, number),
        Venue::BybitSpot | Venue::BybitLinear => format!(
            r#"{{"topic":"orderbook.1.{name}","ts":1672304486868,"type":"snapshot","data":{{"s":"{name}","b":[["16493.50","0.006"]],"a":[["16493.60","0.006"]],"u":{number},"seq":{number}}},"cts":1672304486860}}"#
        ),
    };
    frame(&text, frames);
}

fn spot_quote(name: &str, id: u64) -> String {
    let (price, qty) = (61_000 + mixed(id, 1) % 1_000, 1 + mixed(id, 2) % 99_999);
    format!(
        r#"{{"stream":"{}@bookTicker","data":{{"u":{id},"s":"{name}","b":"{price}.01000000","B":"0.{qty:05}000","a":"{price}.02000000","A":"0.{qty:05}000"}}}}"#,
        name.to_ascii_lowercase(),
    )
}

fn levels(n: u64, from: u64) -> String {
    let mut text = String::new();
    for at in 0..5 {
        let comma = if at == 0 { "" } else { "," };
        let (price, cents, qty) = (from + at, mixed(n, at) % 100, mixed(n, at) % 99_999);
        write!(text, r#"{comma}["{price}.{cents:02}000000","0.{qty:05}000"]"#).expect("a string takes all");
    }
    text
}

fn frame(text: &str, frames: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).expect("a short message").to_be_bytes();
    assert!(text.len() >= 126, "a frame of the middle length");
    frames.extend_from_slice(&[0x81, 126, length[0], length[1]]);
    frames.extend_from_slice(text.as_bytes());
}

/// A number that looks like chance, the same in every run.
pub(crate) fn mixed(n: u64, salt: u64) -> u64 {
    let mixed = (n ^ (salt << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}
