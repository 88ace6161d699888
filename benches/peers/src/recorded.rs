//! Recorded messages of every channel that the decoder reads: what is known of each, and their races.
//!
//! ```text
//! TICKWIRE_FRAMES/<file>.jsonl ─► the lines of a channel ─► a reading of its own ─► what each says, each symbol's grid
//! ```
//! Live captures where there are any. A channel that nobody has captured is raced over what others kept of it one by one,
//! or over its documents' examples, and its case says so; so it does where tickwire's first tier does not read it. Of Bybit's
//! books barter-data takes the topics `orderbook.1` and `orderbook.50` alone, and there are no captures of them.

use crate::barter::Reader;
use crate::decode::{BYTES_MAX, Given, MESSAGES_MAX, race};
use crate::messages::{Listing, Message, Truth};
use crate::race::Raced;
use crate::reading::{self, Channel, Event, Tickers, exact, read};
use crate::typed::{self, Combined};
use barter_data::exchange::binance::book::l1::BinanceOrderBookL1;
use barter_data::exchange::binance::futures::l2::BinanceFuturesOrderBookL2Update;
use barter_data::exchange::binance::futures::liquidation::BinanceLiquidation;
use barter_data::exchange::binance::spot::l2::BinanceSpotOrderBookL2Update;
use barter_data::exchange::binance::trade::BinanceTrade;
use barter_data::exchange::bybit::trade::BybitTrade;
use rust_decimal::Decimal;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tickwire::market::Venue;
use tickwire::venue::Cpu;

/// Few messages are taken again and again, each time at another place, until there are so many: a pass over one alone would
/// be the clock's.
const MESSAGES_MIN: usize = 256;

/// How a channel's messages came to be on disk.
#[derive(Clone, Copy)]
enum Origin {
    /// As they were sent, one behind the other.
    Live,
    /// One by one, in some project's tests.
    Kept,
    /// One by one, and written anew by who kept them.
    Rewritten,
    /// In the venue's documents.
    Documented,
}

impl Origin {
    const fn name(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::Kept => ", kept singly",
            Self::Rewritten => ", kept singly and rewritten",
            Self::Documented => ", documented",
        }
    }
}

/// A channel of a venue, with its recorded messages.
pub(crate) struct Recorded {
    venue: Venue,
    channel: &'static str,
    /// Below the folder with the recorded frames.
    file: &'static str,
    /// What a line of that file contains if it is one of them.
    part: &'static str,
    origin: Origin,
    reading: Channel,
    barter: Option<Reader>,
    race: fn(&Given, usize, Cpu) -> Raced,
}

/// A line a channel: its venue and name, its file and what its lines contain, where they come from; how a message is read, as
/// which type, and as which of barter-data's.
macro_rules! recorded {
    ($($venue:ident $channel:literal, $file:literal $part:literal $origin:ident:
        $reading:ident, $family:ident $(, $barter:ty)?;)*) => {
        pub(crate) const ALL: &[Recorded] = &[$(Recorded {
            venue: Venue::$venue,
            channel: $channel,
            file: $file,
            part: $part,
            origin: Origin::$origin,
            reading: reading::$reading,
            barter: recorded!(@barter $($barter)?),
            race: race::<typed::$family>,
        }),*];
    };
    (@barter) => { None };
    (@barter $barter:ty) => { Some(Reader::by::<$barter>()) };
}

recorded! {
    BinanceSpot "trade", "binance/trade" "" Live: trade, Trades, Combined<BinanceTrade>;
    BinanceSpot "aggTrade", "binance/agg_trade" "" Live: agg_trade, AggTrades;
    BinanceSpot "bookTicker", "binance/book_ticker" "" Live: quote, Quotes, Combined<BinanceOrderBookL1>;
    BinanceSpot "!bookTicker", "binance/book_ticker.single" "" Kept: quote, Quotes, Combined<BinanceOrderBookL1>;
    BinanceSpot "depth", "binance/depth_delta" "" Live: book, Books, Combined<BinanceSpotOrderBookL2Update>;
    BinanceSpot "depth20", "binance/depth_snapshot.single" "" Kept: partial_book, PartialBooks;
    BinanceSpot "kline_1m", "binance/kline" "" Live: kline, Klines;
    BinanceSpot "ticker", "binance/ticker.single" "@ticker\"" Kept: day_ticker, DayTickers;
    BinanceSpot "!ticker@arr", "binance/ticker.single" "!ticker@arr" Kept: day_ticker, ManyDayTickers;
    BinanceSpot "miniTicker", "docs_examples/binance/mini_ticker" "" Documented: mini_ticker, MiniTickers;

    BinanceUsdm "trade", "binance_usdm/trade" "" Live: trade, Trades, Combined<BinanceTrade>;
    BinanceUsdm "aggTrade", "binance_usdm/agg_trade" "" Live: agg_trade, AggTrades;
    BinanceUsdm "bookTicker", "binance_usdm/book_ticker" "" Live: quote, Quotes, Combined<BinanceOrderBookL1>;
    BinanceUsdm "!bookTicker", "binance_usdm/book_ticker.single" "!bookTicker" Kept: quote, Quotes,
        Combined<BinanceOrderBookL1>;
    BinanceUsdm "depth", "binance_usdm/depth_delta" "" Live: book, Books, Combined<BinanceFuturesOrderBookL2Update>;
    BinanceUsdm "depth20", "binance_usdm/depth_snapshot.single" "" Kept: book, Books,
        Combined<BinanceFuturesOrderBookL2Update>;
    BinanceUsdm "kline_1m", "binance_usdm/kline" "" Live: kline, Klines;
    BinanceUsdm "ticker", "binance_usdm/ticker.single" "@ticker\"" Kept: day_ticker, DayTickers;
    BinanceUsdm "!ticker@arr", "binance_usdm/ticker.single" "!ticker@arr" Kept: day_ticker, ManyDayTickers;
    BinanceUsdm "miniTicker", "docs_examples/binance_usdm/mini_ticker" "" Documented: mini_ticker, MiniTickers;
    BinanceUsdm "markPrice", "binance_usdm/mark_price.single" "@markPrice\"" Kept: mark_price, MarkPrices;
    BinanceUsdm "!markPrice@arr", "binance_usdm/mark_price.single" "!markPrice@arr" Kept: mark_price, ManyMarkPrices;
    BinanceUsdm "forceOrder", "binance_usdm/liquidation.single" "" Rewritten: force_order, ForceOrders,
        Combined<BinanceLiquidation>;

    BybitSpot "publicTrade", "bybit_spot/trade" "" Live: bybit_trade, BybitTrades, BybitTrade;
    BybitSpot "orderbook.200 delta", "bybit_spot/depth_delta" "\"delta\"" Live: book, Books;
    BybitSpot "orderbook.200 snapshot", "bybit_spot/depth_delta" "\"snapshot\"" Live: book, Books;
    BybitSpot "kline.1", "bybit_spot/kline" "" Live: bybit_kline, BybitCandles;
    BybitSpot "tickers", "bybit_spot/ticker" "" Live: bybit_ticker, BybitTickers;

    BybitLinear "publicTrade", "bybit_linear/trade" "" Live: bybit_trade, BybitTrades, BybitTrade;
    BybitLinear "orderbook.200 delta", "bybit_linear/depth_delta" "\"delta\"" Live: book, Books;
    BybitLinear "orderbook.200 snapshot", "bybit_linear/depth_delta" "\"snapshot\"" Live: book, Books;
    BybitLinear "orderbook.1", "docs_examples/bybit_linear/depth_delta" "\"snapshot\"" Documented:
        bybit_quote, BybitQuotes;
    BybitLinear "kline.1", "bybit_linear/kline" "" Live: bybit_kline, BybitCandles;
    BybitLinear "tickers", "bybit_linear/ticker" "" Live: bybit_ticker, BybitTickers;
    BybitLinear "tickers snapshot", "bybit_linear/ticker" "\"snapshot\"" Live: bybit_ticker, BybitTickers;
    BybitLinear "allLiquidation", "docs_examples/bybit_linear/liquidation" "" Documented:
        bybit_liquidation, BybitLiquidations;
    BybitLinear "liquidation", "bybit_linear/liquidation.single" "" Rewritten:
        bybit_old_liquidation, BybitOldLiquidations;
}

impl Recorded {
    /// Its race, over the messages below this folder.
    pub(crate) fn race(&self, root: &Path, rounds: usize, cpu: Cpu) -> Raced {
        let texts = self.texts(root);
        let mut listing = Listing { venue: self.venue, names: Vec::new(), grids: Vec::new() };
        let mut tickers = Tickers::new();
        let mut messages: Vec<Message> =
            texts.iter().map(|text| message(self.reading, text, &mut listing, &mut tickers)).collect();
        let count = messages.len();
        let bytes: usize = texts.iter().map(String::len).sum();
        let times = MESSAGES_MIN.div_ceil(count).min(BYTES_MAX / bytes).max(1);
        messages = messages.iter().cycle().take(times * count).cloned().collect();
        let Self { channel, origin, .. } = self;
        let plural = if count == 1 { "" } else { "s" };
        let case = format!("{} {channel}, {count} message{plural}{}", self.venue, origin.name());
        (self.race)(&Given { work: "decode recorded", case, listing, messages, barter: self.barter }, rounds, cpu)
    }

    /// Its messages, from the first, as many as a race takes.
    fn texts(&self, root: &Path) -> Vec<String> {
        let path = root.join(format!("{}.jsonl", self.file));
        let lines = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut bytes = 0;
        let fits = |line: &&str| {
            bytes += line.len();
            bytes <= BYTES_MAX
        };
        let texts = lines.lines().filter(|line| line.contains(self.part)).take(MESSAGES_MAX).take_while(fits);
        let texts: Vec<String> = texts.map(str::to_owned).collect();
        assert!(!texts.is_empty(), "{} has none of {}", path.display(), self.channel);
        texts
    }
}

/// A message with what it says; its symbols are listed, and their grids refined.
fn message(channel: Channel, text: &str, listing: &mut Listing, tickers: &mut Tickers) -> Message {
    let json: Value = serde_json::from_str(text).expect("JSON");
    let (mut truth, mut carried) = (Truth::default(), Vec::new());
    for Event { symbol, whole, levels, others } in read(channel, &json, tickers) {
        let at = listing.names.iter().position(|name| *name == symbol).unwrap_or_else(|| {
            listing.names.push(symbol);
            listing.grids.push((0, 0));
            listing.names.len() - 1
        });
        let grid = &mut listing.grids[at];
        for [price, qty] in &levels {
            *grid = (grid.0.max(decimals(price.value)), grid.1.max(decimals(qty.value)));
        }
        if truth.symbols.last() != Some(&at) {
            truth.symbols.push(at);
        }
        truth.number = truth.number.wrapping_add(whole);
        for number in levels.into_iter().flatten().chain(others) {
            if number.is_carried {
                carried.push(truth.numbers.len());
            }
            truth.numbers.push(exact(number.value));
        }
    }
    Message { text: text.as_bytes().to_vec(), truth, carried }
}

/// How many decimals a number needs.
fn decimals(number: Decimal) -> u8 {
    u8::try_from(number.normalize().scale()).expect("few decimals")
}
