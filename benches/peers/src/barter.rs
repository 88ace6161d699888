//! barter-data's public types of these channels' messages, as that library itself reads them: serde_json, prices and
//! quantities parsed to `f64` or `Decimal`, the subscription's name written out.

use crate::messages::{Case, Truth};
use crate::typed::Combined;
use barter_data::exchange::binance::book::l1::BinanceOrderBookL1;
use barter_data::exchange::binance::futures::l2::BinanceFuturesOrderBookL2Update;
use barter_data::exchange::binance::trade::BinanceTrade;
use barter_data::exchange::bybit::book::BybitOrderBookMessage;
use barter_data::exchange::bybit::trade::BybitTrade;
use serde::de::DeserializeOwned;
use std::hint::black_box;

/// What one of its messages says; no number where its type leaves it out.
pub(crate) struct Said {
    symbol: String,
    number: Option<u64>,
    levels: Vec<(i64, i64)>,
}

/// A message type of that library.
pub(crate) trait Barter: DeserializeOwned {
    fn said(&self) -> Said;
}

fn units(number: f64, scale: f64) -> i64 {
    (number * scale).round() as i64
}

/// A decimal number in units of 10^-`digits`.
macro_rules! units {
    ($number:expr, $digits:literal) => {
        i64::try_from($number.mantissa() * 10_i128.pow($digits) / 10_i128.pow($number.scale())).expect("small")
    };
}

/// `@trade|BTCUSDT`: the market is behind the bar.
fn market(subscription: &str) -> String {
    subscription.split_once('|').expect("a channel and a market").1.to_owned()
}

macro_rules! levels {
    ($($side:expr),*) => {{
        let mut levels = Vec::new();
        $(levels.extend($side.iter().map(|level| (units!(level.price, 2), units!(level.amount, 3))));)*
        levels
    }};
}

impl Barter for Combined<BinanceTrade> {
    fn said(&self) -> Said {
        let trade = &self.data;
        Said {
            symbol: market(&trade.subscription_id.0),
            number: u64::try_from(trade.time.timestamp_millis()).ok(),
            levels: vec![(units(trade.price, 100.0), units(trade.amount, 1_000.0))],
        }
    }
}

impl Barter for Combined<BinanceOrderBookL1> {
    fn said(&self) -> Said {
        let book = &self.data;
        let levels = vec![
            (units!(book.best_bid_price, 2), units!(book.best_bid_amount, 3)),
            (units!(book.best_ask_price, 2), units!(book.best_ask_amount, 3)),
        ];
        Said { symbol: market(&book.subscription_id.0), number: None, levels }
    }
}

impl Barter for Combined<BinanceFuturesOrderBookL2Update> {
    fn said(&self) -> Said {
        let book = &self.data;
        let levels = levels!(book.bids, book.asks);
        Said { symbol: market(&book.subscription_id.0), number: Some(book.last_update_id), levels }
    }
}

impl Barter for BybitTrade {
    fn said(&self) -> Said {
        let [trade] = &self.data[..] else { panic!("one trade a message was sent") };
        Said {
            symbol: market(&self.subscription_id.0),
            number: u64::try_from(trade.time.timestamp_millis()).ok(),
            levels: vec![(units(trade.price, 100.0), units(trade.amount, 1_000.0))],
        }
    }
}

impl Barter for BybitOrderBookMessage {
    fn said(&self) -> Said {
        let levels = levels!(self.data.bids, self.data.asks);
        Said { symbol: market(&self.subscription_id.0), number: Some(self.data.update_id), levels }
    }
}

fn read<B: Barter>(text: &[u8]) -> B {
    serde_json::from_slice(text).expect("a message of this type")
}

fn take<B: Barter>(text: &[u8]) -> u64 {
    black_box(read::<B>(text));
    text.len() as u64
}

/// How a message is read, and what it says then.
pub(crate) struct Reader {
    pub(crate) take: fn(&[u8]) -> u64,
    said: fn(&[u8]) -> Said,
}

impl Reader {
    /// That of a case.
    pub(crate) fn of(case: Case) -> Self {
        fn with<B: Barter>() -> Reader {
            Reader { take: take::<B>, said: |text| read::<B>(text).said() }
        }
        match case {
            Case::BinanceSpotTrade => with::<Combined<BinanceTrade>>(),
            Case::BinanceSpotQuote => with::<Combined<BinanceOrderBookL1>>(),
            Case::BinanceUsdmDepth50 => with::<Combined<BinanceFuturesOrderBookL2Update>>(),
            Case::BybitLinearTrade => with::<BybitTrade>(),
            Case::BybitLinearDelta5 | Case::BybitLinearSnapshot100 => with::<BybitOrderBookMessage>(),
        }
    }

    /// It must say exactly what the message says, but for the number that it may leave out.
    pub(crate) fn check(&self, text: &[u8], truth: &Truth, names: &[String]) {
        let Said { symbol, number, levels } = (self.said)(text);
        let symbol = names.iter().position(|name| *name == symbol).expect("a name of the universe");
        let number = number.unwrap_or(truth.number);
        assert_eq!(Truth { symbol, number, levels }, *truth);
    }
}
