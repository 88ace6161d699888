//! barter-data's public types of these channels' messages, as that library itself reads them: serde_json, prices and
//! quantities parsed to `f64` or `Decimal`, the subscription's name written out.

use crate::messages::{Case, Message, Truth};
use crate::reading::exact;
use crate::typed::Combined;
use barter_data::exchange::binance::book::l1::BinanceOrderBookL1;
use barter_data::exchange::binance::futures::l2::BinanceFuturesOrderBookL2Update;
use barter_data::exchange::binance::futures::liquidation::BinanceLiquidation;
use barter_data::exchange::binance::spot::l2::BinanceSpotOrderBookL2Update;
use barter_data::exchange::binance::trade::BinanceTrade;
use barter_data::exchange::bybit::book::BybitOrderBookMessage;
use barter_data::exchange::bybit::trade::BybitTrade;
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use std::hint::black_box;

/// What one of its messages says; no number where its type leaves it out.
pub(crate) struct Said {
    symbol: String,
    number: Option<u64>,
    numbers: Vec<Decimal>,
}

/// A message type of that library.
pub(crate) trait Barter: DeserializeOwned {
    fn said(&self) -> Said;
}

/// The shortest decimal that this is the nearest number of.
fn shortest(number: f64) -> Decimal {
    Decimal::from_str_exact(&number.to_string()).expect("a short number")
}

/// `@trade|BTCUSDT`: the market is behind the bar.
fn market(subscription: &str) -> String {
    subscription.split_once('|').expect("a channel and a market").1.to_owned()
}

macro_rules! levels {
    ($($side:expr),*) => {{
        let mut numbers = Vec::new();
        $(numbers.extend($side.iter().flat_map(|level| [level.price, level.amount]));)*
        numbers
    }};
}

impl Barter for Combined<BinanceTrade> {
    fn said(&self) -> Said {
        let trade = &self.data;
        Said {
            symbol: market(&trade.subscription_id.0),
            number: u64::try_from(trade.time.timestamp_millis()).ok(),
            numbers: vec![shortest(trade.price), shortest(trade.amount)],
        }
    }
}

impl Barter for Combined<BinanceOrderBookL1> {
    fn said(&self) -> Said {
        let book = &self.data;
        let numbers = vec![book.best_bid_price, book.best_bid_amount, book.best_ask_price, book.best_ask_amount];
        Said { symbol: market(&book.subscription_id.0), number: None, numbers }
    }
}

macro_rules! changes {
    ($($book:ty),*) => {
        $(impl Barter for Combined<$book> {
            fn said(&self) -> Said {
                let book = &self.data;
                let symbol = market(&book.subscription_id.0);
                Said { symbol, number: Some(book.last_update_id), numbers: levels!(book.bids, book.asks) }
            }
        })*
    };
}

changes!(BinanceSpotOrderBookL2Update, BinanceFuturesOrderBookL2Update);

impl Barter for Combined<BinanceLiquidation> {
    fn said(&self) -> Said {
        let order = &self.data.order;
        Said {
            symbol: market(&order.subscription_id.0),
            number: u64::try_from(order.time.timestamp_millis()).ok(),
            numbers: vec![shortest(order.price), shortest(order.quantity)],
        }
    }
}

impl Barter for BybitTrade {
    fn said(&self) -> Said {
        let times = self.data.iter().map(|trade| u64::try_from(trade.time.timestamp_millis()).expect("a time"));
        Said {
            symbol: market(&self.subscription_id.0),
            number: Some(times.fold(0, u64::wrapping_add)),
            numbers: self.data.iter().flat_map(|trade| [trade.price, trade.amount].map(shortest)).collect(),
        }
    }
}

impl Barter for BybitOrderBookMessage {
    fn said(&self) -> Said {
        let numbers = levels!(self.data.bids, self.data.asks);
        Said { symbol: market(&self.subscription_id.0), number: Some(self.data.update_id), numbers }
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
#[derive(Clone, Copy)]
pub(crate) struct Reader {
    pub(crate) take: fn(&[u8]) -> u64,
    said: fn(&[u8]) -> Said,
}

impl Reader {
    /// By this type.
    pub(crate) const fn by<B: Barter>() -> Self {
        Self { take: take::<B>, said: |text| read::<B>(text).said() }
    }

    /// That of a generated case.
    pub(crate) fn of(case: Case) -> Self {
        match case {
            Case::BinanceSpotTrade => Self::by::<Combined<BinanceTrade>>(),
            Case::BinanceSpotQuote => Self::by::<Combined<BinanceOrderBookL1>>(),
            Case::BinanceUsdmDepth50 => Self::by::<Combined<BinanceFuturesOrderBookL2Update>>(),
            Case::BybitLinearTrade => Self::by::<BybitTrade>(),
            Case::BybitLinearDelta5 | Case::BybitLinearSnapshot100 => Self::by::<BybitOrderBookMessage>(),
        }
    }

    /// It must say exactly what the message says, but for what it leaves out: the number, or those at the end.
    pub(crate) fn check(&self, message: &Message, names: &[String]) {
        let Said { symbol, number, numbers } = (self.said)(&message.text);
        let Truth { symbols, number: true_number, numbers: true_numbers } = &message.truth;
        let symbol = names.iter().position(|name| *name == symbol).expect("a listed name");
        assert_eq!((&[symbol][..], number.unwrap_or(*true_number)), (&symbols[..], *true_number));
        let left_out = true_numbers.len() - numbers.len();
        assert!(left_out == 0 || numbers.len() == 2, "of a liquidation the average price is left out");
        let numbers: Vec<_> = numbers.into_iter().map(exact).collect();
        assert_eq!(numbers, true_numbers[..numbers.len()]);
    }
}
