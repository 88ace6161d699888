//! The tape: a market that lives by its own clock, and what it knows to be true.
//!
//! ```text
//! every millisecond: rate x elapsed moments ──► SyntheticMarket ──► bounded history ◄── each connection's cursors
//!                                                      └──► Tape: the trades as they were, for a test's ledger
//! ```
//! One task a venue. It can be paused, so that every connection comes to the same end and can be compared with it.

use super::book::SLOTS;
use super::bybit_feed::trade_id_text;
use super::exchange::{Exchange, Feed, stopped};
use super::market::SymbolMarket;
use super::text::Json;
use crate::market::Venue;
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// A trade as the market knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TapeTrade {
    /// Its number: one more than the trade before, whatever the venue calls it.
    pub number: u64,
    /// Its id, as the venue's messages spell it.
    pub id: String,
    /// When it happened, in milliseconds since the epoch.
    pub time_ms: u64,
}

/// What a symbol's market knows to be true.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tape {
    /// Number of the first trade there ever was (it may be forgotten by now).
    pub first_trade: u64,
    /// Number of the last trade; `first_trade - 1` before there was one.
    pub last_trade: u64,
    /// The trades still known, oldest first, without a gap. Bounded: 1,024 executions while the market is pulled, 256 to
    /// 16,384 (by the number of symbols) on a tape.
    pub trades: Vec<TapeTrade>,
    /// The book's update id.
    pub update_id: u64,
    /// Every bid at that id, best first: price and quantity as the venue's messages spell them.
    pub bids: Vec<(String, String)>,
    /// Every ask, likewise.
    pub asks: Vec<(String, String)>,
    venue: Venue,
    salt: u64,
}

impl Tape {
    pub(super) fn of(venue: Venue, symbol: &SymbolMarket) -> Self {
        let id = |number| trade_id_text(venue, symbol.salt, number);
        let trades = symbol.known_trades().map(|(number, time_ms)| TapeTrade { number, id: id(number), time_ms });
        Self {
            first_trade: symbol.first_trade_id(),
            last_trade: symbol.last_trade_id(),
            trades: trades.collect(),
            update_id: symbol.book.update_id(),
            bids: levels(venue, symbol, true),
            asks: levels(venue, symbol, false),
            venue,
            salt: symbol.salt,
        }
    }

    /// The id of a trade, known or forgotten, as the venue's messages spell it; `None` for one that never was.
    #[must_use]
    pub fn trade_id(&self, number: u64) -> Option<String> {
        (self.first_trade..=self.last_trade).contains(&number).then(|| trade_id_text(self.venue, self.salt, number))
    }
}

fn levels(venue: Venue, symbol: &SymbolMarket, is_bid: bool) -> Vec<(String, String)> {
    let (price, qty) = (symbol.listing.price_text(venue), symbol.listing.qty_text(venue));
    let text = |number: u64, text| {
        let mut out = BytesMut::new();
        Json(&mut out).fixed(number, text);
        String::from_utf8_lossy(&out).into_owned()
    };
    let mut levels = Vec::new();
    symbol.book.top(is_bid, SLOTS, &mut levels);
    levels.into_iter().map(|(slot, units)| (text(symbol.price(slot), price), text(units, qty))).collect()
}

/// Lets a venue's tape live until the exchange stops.
pub(super) async fn run(exchange: Arc<Exchange>) {
    let Feed::Synthetic { market, rate, .. } = &exchange.feed else { return };
    let mut stop = exchange.stop.clone();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut since, mut lived) = (Instant::now(), 0_u64);
    loop {
        tokio::select! { biased;
            () = stopped(&mut stop) => return,
            _ = ticks.tick() => {}
        }
        if exchange.is_paused.load(Ordering::Relaxed) {
            (since, lived) = (Instant::now(), 0);
            continue;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is not negative")]
        let (due, second) = ((since.elapsed().as_secs_f64() * rate) as u64, rate.ceil() as u64);
        let behind = due.saturating_sub(lived);
        let moments = behind.min(second.max(1));
        exchange.counters.messages_late.fetch_add(behind - moments, Ordering::Relaxed);
        lived = due;
        if moments > 0 {
            market.lock().expect("no holder panics").advance(moments, super::connection::wall_ns() / 1_000_000);
        }
    }
}
