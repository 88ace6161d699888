//! The synthetic market of one venue: every symbol's book, its executions, and what is computed from them.
//!
//! ```text
//! step ──► Book ──► depth, quotes, partial depth
//!            │
//!            └─► Deal ──► trades, aggregates, liquidations
//!                   └───► candles, 24-hour statistics ──► klines, tickers, mark price
//! ```
//! Pulled: a connection that asks for a message first gets what it has not seen (so that two connections hear the same
//! trades); only when it has seen everything does the market move on. As a tape: the market lives by itself, moment by
//! moment, and every connection follows with its own cursors over a bounded history, so that the connections cannot push
//! each other on. Called under the venue's lock, for at most a millisecond's worth of messages. Never reads a clock: the
//! time comes in.

use super::book::{Book, Execution, SLOTS, SlotLevel};
use super::listing::{Listing, SyntheticListing};
use super::text::Rng;
use crate::market::{KlineInterval, Venue};
use std::collections::{HashMap, VecDeque};

/// Executions kept a symbol, for connections that ask less often than another one makes the market move.
const DEALS: usize = 1_024;
/// Deals, and quotes, a tape keeps of all symbols together, and of one at least and at most.
const TAPE_RECORDS: usize = 262_144;
const TAPE_RECORDS_MIN: usize = 256;
const TAPE_RECORDS_MAX: usize = 16_384;
/// Decimals of a price at most: what venues pad theirs to.
const DECIMALS_MAX: u8 = 8;
/// One deal of a tape in so many is a liquidation.
const LIQUIDATION_EVERY: u64 = 200;
/// Rendered book messages kept a topic (Bybit), for the same reason.
pub(super) const TOPIC_LOG: usize = 256;

/// An execution as the venue publishes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deal {
    /// Aggregate id: one per execution, without a gap.
    pub(super) id: u64,
    /// Id of its first fill; the others follow.
    pub(super) first_trade_id: u64,
    pub(super) execution: Execution,
    pub(super) price: u64,
    pub(super) time_ms: u64,
    /// Update id of the book behind it.
    pub(super) sequence: u64,
    /// Whether the price is above (1), at (0) or below (-1) the deal before.
    pub(super) direction: i8,
    /// Whether the price before differed from this one, or how the last difference went.
    pub(super) last_direction: i8,
    pub(super) is_liquidation: bool,
}

impl Deal {
    pub(super) fn last_trade_id(&self) -> u64 {
        self.first_trade_id + u64::from(self.execution.fill_count) - 1
    }
}

/// What happened in one stretch of time: 24 hours, or one candle.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    pub(super) open_time_ms: u64,
    pub(super) open: u64,
    pub(super) high: u64,
    pub(super) low: u64,
    pub(super) close: u64,
    /// Units of quantity.
    pub(super) volume: u128,
    /// Units of price times units of quantity.
    pub(super) turnover: u128,
    pub(super) buy_volume: u128,
    pub(super) buy_turnover: u128,
    pub(super) first_trade_id: u64,
    pub(super) last_trade_id: u64,
    pub(super) trade_count: u64,
}

impl Window {
    fn at(price: u64, open_time_ms: u64, next_trade_id: u64) -> Self {
        Self {
            open_time_ms,
            open: price,
            high: price,
            low: price,
            close: price,
            first_trade_id: next_trade_id,
            last_trade_id: next_trade_id,
            ..Self::default()
        }
    }

    /// The same at another price scale.
    fn rescale(&mut self, rescale: impl Fn(u128) -> u128) {
        for price in [&mut self.open, &mut self.high, &mut self.low, &mut self.close] {
            *price = u64::try_from(rescale(u128::from(*price))).unwrap_or(u64::MAX);
        }
        (self.turnover, self.buy_turnover) = (rescale(self.turnover), rescale(self.buy_turnover));
    }

    fn add(&mut self, deal: &Deal) {
        let qty = u128::from(deal.execution.qty());
        let turnover = qty * u128::from(deal.price);
        self.high = self.high.max(deal.price);
        self.low = self.low.min(deal.price);
        self.close = deal.price;
        self.volume += qty;
        self.turnover += turnover;
        if deal.execution.is_buy {
            self.buy_volume += qty;
            self.buy_turnover += turnover;
        }
        self.last_trade_id = deal.last_trade_id();
        self.trade_count += u64::from(deal.execution.fill_count);
    }
}

/// A candle series that somebody follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candles {
    interval: KlineInterval,
    pub(super) forming: Window,
    pub(super) closed: Option<Window>,
}

/// One depth of a book as Bybit publishes it: a numbered chain of deltas on a view of the best levels.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) depth: u16,
    pub(super) update_id: u64,
    pub(super) sequence: u64,
    pub(super) bids: Vec<(u16, u64)>,
    pub(super) asks: Vec<(u16, u64)>,
    /// The last deltas: their update id and their `data` object.
    pub(super) log: VecDeque<(u64, bytes::Bytes)>,
    /// When the tape may log the next one.
    pub(super) next_ms: u64,
}

/// The top of a book after it changed, as a tape keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuoteRecord {
    /// Without a gap within the symbol.
    pub(super) number: u64,
    pub(super) update_id: u64,
    pub(super) bid: SlotLevel,
    pub(super) ask: SlotLevel,
}

/// One symbol.
#[derive(Debug)]
pub(super) struct SymbolMarket {
    pub(super) listing: Listing,
    pub(super) book: Book,
    rng: Rng,
    lowest_price: u64,
    slot_price: u64,
    pub(super) deals: VecDeque<Deal>,
    next_deal_id: u64,
    next_trade_id: u64,
    pub(super) day: Window,
    pub(super) candles: Vec<Candles>,
    pub(super) topics: Vec<Topic>,
    last_direction: i8,
    /// Lives by itself: asking for a message moves nothing.
    pub(super) is_tape: bool,
    records_max: usize,
    quotes: VecDeque<QuoteRecord>,
    pub(super) last_quote: u64,
    first_trade_id: u64,
    /// Identity of the symbol's trade ids where a venue uses UUIDs.
    pub(super) salt: u64,
}

impl SymbolMarket {
    fn new(venue: Venue, seed: u64, index: usize, synthetic: &SyntheticListing, tape_records: Option<usize>) -> Self {
        let mut rng = Rng::new(seed, (venue.index() as u64) << 32 | index as u64);
        // USD-M shares its ids between symbols, so that they jump within one.
        let id_jump_max = if venue == Venue::BinanceUsdm { 60 } else { 1 };
        let book = Book::new(&mut rng, synthetic.qty_max, id_jump_max);
        let (lowest_price, slot_price) = slots_around(synthetic.price);
        let next_trade_id = 10_000_000 + rng.below(1 << 31);
        let day = Window::at(synthetic.price, 0, next_trade_id);
        Self {
            listing: synthetic.listing.clone(),
            salt: rng.next(),
            next_deal_id: 1_000_000 + rng.below(1 << 30),
            next_trade_id,
            book,
            rng,
            lowest_price,
            slot_price,
            deals: VecDeque::new(),
            day,
            candles: Vec::new(),
            topics: Vec::new(),
            last_direction: 1,
            is_tape: tape_records.is_some(),
            records_max: tape_records.unwrap_or(DEALS),
            quotes: VecDeque::new(),
            last_quote: 0,
            first_trade_id: next_trade_id,
        }
    }

    /// Prices are on a grid of this many decimals from now on, about where they were.
    fn change_tick(&mut self, price_scale: u8) {
        let from = std::mem::replace(&mut self.listing.price_scale, price_scale);
        let rescale = |number: u128| rescaled(number, from, price_scale);
        let middle = u128::from(self.lowest_price + self.slot_price * (SLOTS as u64) / 2);
        (self.lowest_price, self.slot_price) = slots_around(u64::try_from(rescale(middle)).unwrap_or(u64::MAX));
        // A finer grid is there to be used: prices where the old one had none.
        self.lowest_price += u64::from(price_scale > from && self.lowest_price.is_multiple_of(10));
        for deal in &mut self.deals {
            deal.price = u64::try_from(rescale(u128::from(deal.price))).unwrap_or(u64::MAX);
        }
        self.day.rescale(rescale);
        for candles in &mut self.candles {
            candles.forming.rescale(rescale);
            candles.closed.iter_mut().for_each(|closed| closed.rescale(rescale));
        }
    }

    pub(super) fn price(&self, slot: u16) -> u64 {
        self.lowest_price + u64::from(slot) * self.slot_price
    }

    /// Id of the newest deal, from which a new subscriber listens on.
    pub(super) fn last_deal_id(&self) -> u64 {
        self.next_deal_id - 1
    }

    pub(super) fn last_trade_id(&self) -> u64 {
        self.next_trade_id - 1
    }

    /// The market lives for one moment, if it does not live by itself.
    pub(super) fn step(&mut self, now_ms: u64) {
        if self.is_tape {
            return;
        }
        if let Some(execution) = self.book.step(&mut self.rng) {
            self.record(execution, now_ms, false);
        }
    }

    /// The best level of one side changes, if the market does not live by itself.
    pub(super) fn touch_top(&mut self) {
        if !self.is_tape {
            self.book.touch_top(&mut self.rng);
        }
    }

    /// One moment of a tape: a deal, a change of the best level, or one deeper in the book.
    fn live(&mut self, now_ms: u64) {
        match self.rng.below(100) {
            0..45 => {
                let is_liquidation = self.rng.below(LIQUIDATION_EVERY) == 0;
                let execution = self.book.execute(&mut self.rng, None);
                self.record(execution, now_ms, is_liquidation);
            }
            45..90 => self.book.touch_top(&mut self.rng),
            _ => {
                if let Some(execution) = self.book.step(&mut self.rng) {
                    self.record(execution, now_ms, false);
                }
            }
        }
        self.note_quote();
    }

    fn note_quote(&mut self) {
        let (bid, ask) = (self.book.best_bid(), self.book.best_ask());
        if self.quotes.back().is_some_and(|last| (last.bid, last.ask) == (bid, ask)) {
            return;
        }
        if self.quotes.len() >= self.records_max {
            self.quotes.pop_front();
        }
        self.last_quote += 1;
        self.quotes.push_back(QuoteRecord { number: self.last_quote, update_id: self.book.update_id(), bid, ask });
    }

    /// The quote after `number` on a tape, and how many were forgotten in between.
    pub(super) fn quote_after(&self, number: u64) -> Option<(QuoteRecord, u64)> {
        let oldest = self.quotes.front()?.number;
        let wanted = (number + 1).max(oldest);
        let at = usize::try_from(wanted - oldest).ok()?;
        self.quotes.get(at).map(|record| (*record, wanted - number - 1))
    }

    /// The liquidation after `deal_id` on a tape; else the last deal there is, from which to look on.
    pub(super) fn liquidation_after(&self, deal_id: u64) -> Result<Deal, u64> {
        let oldest = self.deals.front().map_or(0, |deal| deal.id);
        let skipped = usize::try_from((deal_id + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        self.deals.iter().skip(skipped).find(|deal| deal.is_liquidation).copied().ok_or(self.last_deal_id())
    }

    /// The trades still known, oldest first: number and time in milliseconds.
    pub(super) fn known_trades(&self) -> impl Iterator<Item = (u64, u64)> {
        self.deals.iter().flat_map(|deal| (deal.first_trade_id..=deal.last_trade_id()).map(|id| (id, deal.time_ms)))
    }

    /// Number of the first trade there ever was.
    pub(super) fn first_trade_id(&self) -> u64 {
        self.first_trade_id
    }

    /// The deal after `deal_id`, made now if there is none yet. Also tells how many were forgotten in between.
    pub(super) fn deal_after(&mut self, deal_id: u64, now_ms: u64) -> (Deal, u64) {
        if deal_id >= self.last_deal_id() {
            let execution = self.book.execute(&mut self.rng, None);
            self.record(execution, now_ms, false);
        }
        let oldest = self.deals.front().map_or(0, |deal| deal.id);
        let wanted = (deal_id + 1).max(oldest);
        let at = usize::try_from(wanted - oldest).expect("below DEALS");
        (self.deals[at], wanted - deal_id - 1)
    }

    /// The deal that holds the trade after `trade_id`, the trade's place in it, and how many trades were forgotten.
    pub(super) fn trade_after(&mut self, trade_id: u64, now_ms: u64) -> (Deal, usize, u64) {
        if trade_id >= self.last_trade_id() {
            let execution = self.book.execute(&mut self.rng, None);
            self.record(execution, now_ms, false);
        }
        let oldest = self.deals.front().map_or(0, |deal| deal.first_trade_id);
        let wanted = (trade_id + 1).max(oldest);
        let at = self.deals.partition_point(|deal| deal.last_trade_id() < wanted);
        let deal = self.deals[at];
        let place = usize::try_from(wanted - deal.first_trade_id).expect("at most two");
        (deal, place, wanted - trade_id - 1)
    }

    /// A liquidation: a deal like any other, forced.
    pub(super) fn liquidate(&mut self, now_ms: u64) -> Deal {
        let is_buy = self.rng.percent(50);
        let execution = self.book.execute(&mut self.rng, Some(is_buy));
        self.record(execution, now_ms, true)
    }

    fn record(&mut self, execution: Execution, time_ms: u64, is_liquidation: bool) -> Deal {
        let price = self.price(execution.slot);
        let direction = match price.cmp(&self.day.close) {
            std::cmp::Ordering::Less => -1,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => 1,
        };
        if direction != 0 {
            self.last_direction = direction;
        }
        let deal = Deal {
            id: self.next_deal_id,
            first_trade_id: self.next_trade_id,
            execution,
            price,
            time_ms,
            sequence: self.book.update_id(),
            direction,
            last_direction: self.last_direction,
            is_liquidation,
        };
        self.next_deal_id += 1;
        self.next_trade_id += u64::from(execution.fill_count);
        if self.day.open_time_ms == 0 {
            self.day.open_time_ms = time_ms;
        }
        self.day.add(&deal);
        for candles in &mut self.candles {
            candles.roll(deal.price, time_ms, deal.first_trade_id);
            candles.forming.add(&deal);
        }
        if self.deals.len() >= self.records_max {
            self.deals.pop_front();
        }
        self.deals.push_back(deal);
        if self.is_tape {
            self.note_quote();
        }
        deal
    }

    /// The candle series of an interval, started if nobody followed it before, rolled to `now_ms`.
    pub(super) fn candles(&mut self, interval: KlineInterval, now_ms: u64) -> Candles {
        let at = self.candles.iter().position(|candles| candles.interval == interval).unwrap_or_else(|| {
            let open_time_ms = opened_at(interval, now_ms);
            let forming = Window::at(self.day.close, open_time_ms, self.next_trade_id);
            self.candles.push(Candles { interval, forming, closed: None });
            self.candles.len() - 1
        });
        let candles = &mut self.candles[at];
        candles.roll(self.day.close, now_ms, self.next_trade_id);
        *candles
    }
}

/// The lowest price of the slots around this one, and how far they are apart: they cover about four per mille of the price, at
/// most fifty ticks apart.
fn slots_around(price: u64) -> (u64, u64) {
    let slot_price = (price / 256_000).clamp(1, 50);
    (price.saturating_sub(slot_price * (SLOTS as u64) / 2).max(1), slot_price)
}

/// A mantissa at another scale; what does not fit is cut off.
fn rescaled(mantissa: u128, from: u8, to: u8) -> u128 {
    match to.checked_sub(from) {
        Some(more) => mantissa * 10_u128.pow(u32::from(more)),
        None => mantissa / 10_u128.pow(u32::from(from - to)),
    }
}

impl Candles {
    fn roll(&mut self, price: u64, now_ms: u64, next_trade_id: u64) {
        let open_time_ms = opened_at(self.interval, now_ms);
        if open_time_ms > self.forming.open_time_ms {
            self.closed = Some(self.forming);
            self.forming = Window::at(price, open_time_ms, next_trade_id);
        }
    }
}

/// Length of an interval in milliseconds. A month is taken as 30 days: the market does not live that long.
pub(super) fn interval_ms(interval: KlineInterval) -> u64 {
    const MINUTE: u64 = 60_000;
    match interval {
        KlineInterval::Seconds(n) => u64::from(n) * 1_000,
        KlineInterval::Minutes(n) => u64::from(n) * MINUTE,
        KlineInterval::Hours(n) => u64::from(n) * 60 * MINUTE,
        KlineInterval::Days(n) => u64::from(n) * 1_440 * MINUTE,
        KlineInterval::Weeks(n) => u64::from(n) * 7 * 1_440 * MINUTE,
        KlineInterval::Months(n) => u64::from(n) * 30 * 1_440 * MINUTE,
    }
}

fn opened_at(interval: KlineInterval, now_ms: u64) -> u64 {
    now_ms - now_ms % interval_ms(interval)
}

/// All symbols of a venue. A symbol's market begins when somebody first asks for it.
#[derive(Debug)]
pub(super) struct SyntheticMarket {
    pub(super) venue: Venue,
    seed: u64,
    listings: Vec<SyntheticListing>,
    symbols: Vec<Option<Box<SymbolMarket>>>,
    by_name: HashMap<String, u32>,
    /// Symbols that somebody has asked for, in the order they were: those a tape lives for.
    active: Vec<u32>,
    /// Chooses whose moment it is; `None` while the market is pulled.
    tape: Option<Rng>,
}

impl SyntheticMarket {
    /// A market that moves when it is asked; with `is_tape`, one that lives by itself.
    pub(super) fn new(venue: Venue, seed: u64, listings: Vec<SyntheticListing>, is_tape: bool) -> Self {
        let tape = is_tape.then(|| Rng::new(seed, 0x7461_7065 ^ venue.index() as u64));
        let by_name = (0..).zip(&listings).map(|(index, item)| (item.listing.name.clone(), index)).collect();
        let symbols = listings.iter().map(|_| None).collect();
        Self { venue, seed, listings, symbols, by_name, active: Vec::new(), tape }
    }

    /// Position of a symbol by its upper-case name.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.listings.len()
    }

    pub(super) fn symbol(&mut self, index: u32) -> &mut SymbolMarket {
        let at = index as usize;
        if self.symbols[at].is_none() {
            self.active.push(index);
            self.symbols[at] = Some(self.begun(index));
        }
        self.symbols[at].as_deref_mut().expect("just made")
    }

    /// A symbol's market as it began: made by the seed, again and again the same.
    pub(super) fn begun(&self, index: u32) -> Box<SymbolMarket> {
        let at = index as usize;
        let records = (TAPE_RECORDS / self.listings.len().max(1)).clamp(TAPE_RECORDS_MIN, TAPE_RECORDS_MAX);
        let tape_records = self.tape.is_some().then_some(records);
        Box::new(SymbolMarket::new(self.venue, self.seed, at, &self.listings[at], tape_records))
    }

    /// Gives a symbol another tick. False where it is not listed, or the grid does not hold its book.
    pub(super) fn change_tick(&mut self, name: &str, price_scale: u8) -> bool {
        let Some(at) = self.find(name).map(|index| index as usize) else { return false };
        let synthetic = &mut self.listings[at];
        let price = rescaled(u128::from(synthetic.price), synthetic.listing.price_scale, price_scale.min(DECIMALS_MAX));
        let Ok(price) = u64::try_from(price) else { return false };
        if price_scale > DECIMALS_MAX || price < SLOTS as u64 {
            return false;
        }
        (synthetic.price, synthetic.listing.price_scale) = (price, price_scale);
        if let Some(symbol) = &mut self.symbols[at] {
            symbol.change_tick(price_scale);
        }
        true
    }

    /// A symbol that somebody has asked for before.
    pub(super) fn known_symbol(&self, name: &str) -> Option<&SymbolMarket> {
        self.find(name).and_then(|index| self.symbols[index as usize].as_deref())
    }

    /// The tape lives on for so many moments, each one symbol's.
    pub(super) fn advance(&mut self, moments: u64, now_ms: u64) {
        let Some(tape) = &mut self.tape else { return };
        if self.active.is_empty() {
            return;
        }
        for _ in 0..moments {
            let index = self.active[tape.index(self.active.len())] as usize;
            if let Some(symbol) = &mut self.symbols[index] {
                symbol.live(now_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::listing::synthetic_listings;

    fn market(seed: u64) -> SyntheticMarket {
        SyntheticMarket::new(Venue::BinanceSpot, seed, synthetic_listings(Venue::BinanceSpot, seed, 3), false)
    }

    #[test]
    fn another_tick_moves_every_price_to_the_new_grid_and_leaves_the_market_where_it_was() {
        for decimals in [1, 4] {
            let mut market = market(7);
            let name = market.listings[0].listing.name.clone();
            let at = market.find(&name).unwrap();
            let unit = |symbol: &SymbolMarket| 10_f64.powi(-i32::from(symbol.listing.price_scale));
            let symbol = market.symbol(at);
            symbol.candles(KlineInterval::Minutes(1), 1_000);
            for now_ms in 1_000..1_200 {
                symbol.step(now_ms);
            }
            let seen = |symbol: &SymbolMarket| {
                let deal = symbol.deals.back().unwrap().price;
                let prices =
                    [symbol.price(symbol.book.best_bid().0), deal, symbol.day.high, symbol.candles[0].forming.low];
                prices.map(|price| price as f64 * unit(symbol))
            };
            let (before, update_id) = (seen(symbol), symbol.book.update_id());
            assert!(market.change_tick(&name, decimals));
            let symbol = market.symbol(at);
            assert_eq!(
                (symbol.listing.price_scale, symbol.book.update_id()),
                (decimals, update_id),
                "no message says so"
            );
            for (before, after) in before.into_iter().zip(seen(symbol)) {
                assert!((before - after).abs() < before * 0.01, "{before} {after}");
            }
            if decimals > 2 {
                assert!((0..SLOTS).any(|slot| !symbol.price(u16::try_from(slot).unwrap()).is_multiple_of(100)));
            }
            // A symbol that nobody has asked for yet begins on it.
            assert_eq!(market.begun(at).listing.price_scale, decimals);
        }
    }

    #[test]
    fn a_tick_that_no_book_fits_on_and_a_symbol_that_is_not_listed_change_nothing() {
        let mut market = market(7);
        let name = market.listings[0].listing.name.clone();
        assert!(!market.change_tick(&name, 9) && !market.change_tick(&name, 255) && !market.change_tick("NOSUCH", 1));
        // The cheapest of the assets has a price of some thousand ticks.
        let cheap = synthetic_listings(Venue::BinanceSpot, 7, 30);
        let mut market = SyntheticMarket::new(Venue::BinanceSpot, 7, cheap, false);
        let cheap = market.find("XRPUSDT").unwrap() as usize;
        let before = market.listings[cheap].clone();
        assert!(!market.change_tick("XRPUSDT", 1));
        let after = &market.listings[cheap];
        assert_eq!((&after.listing, after.price), (&before.listing, before.price));
    }

    #[test]
    fn a_tape_moves_by_itself_only_and_keeps_every_trade_and_quote_in_order() {
        let listings = synthetic_listings(Venue::BybitLinear, 5, 40);
        let mut market = SyntheticMarket::new(Venue::BybitLinear, 5, listings, true);
        let symbol = market.symbol(0);
        let (first, before) = (symbol.last_trade_id(), symbol.book.update_id());
        symbol.step(1);
        symbol.touch_top();
        assert_eq!((symbol.last_trade_id(), symbol.book.update_id()), (first, before), "asking moves nothing");
        market.advance(5_000, 7);
        let symbol = market.symbol(0);
        let trades: Vec<_> = symbol.known_trades().collect();
        assert!(trades.iter().zip(first + 1..).all(|(trade, id)| *trade == (id, 7)), "ids without a gap");
        assert!(trades.len() > 2_500 && symbol.first_trade_id() == first + 1);
        let (mut number, mut update_id) = (0, 0);
        while let Some((record, lost)) = symbol.quote_after(number) {
            assert!(record.number == number + 1 && lost == 0 && record.update_id > update_id);
            (number, update_id) = (record.number, record.update_id);
        }
        assert!(number > 4_000 && number == symbol.last_quote, "{number}");
        let liquidation = symbol.liquidation_after(0).unwrap();
        assert!(liquidation.is_liquidation && symbol.liquidation_after(symbol.last_deal_id()).is_err());
    }

    #[test]
    fn a_market_as_it_began_is_the_same_whatever_happened_since() {
        let mut market = market(5);
        let begun = market.symbol(1).book.update_id();
        for _ in 0..100 {
            market.symbol(1).step(1);
        }
        assert!(market.symbol(1).book.update_id() >= begun + 100);
        assert_eq!(market.begun(1).book.update_id(), begun);
    }

    #[test]
    fn a_tape_forgets_the_oldest_and_says_how_many() {
        let listings = synthetic_listings(Venue::BinanceSpot, 5, 4_000);
        let mut market = SyntheticMarket::new(Venue::BinanceSpot, 5, listings, true);
        let start = market.symbol(0).last_deal_id();
        market.advance(2_000, 1);
        let symbol = market.symbol(0);
        assert_eq!(symbol.deals.len(), TAPE_RECORDS_MIN);
        let (deal, lost) = symbol.deal_after(start, 1);
        assert_eq!(lost, deal.id - start - 1);
        assert!(lost > 0 && symbol.quote_after(0).unwrap().1 > 0);
    }

    #[test]
    fn two_listeners_hear_the_same_trades_without_a_gap() {
        let mut market = market(5);
        let symbol = market.symbol(0);
        let start = symbol.last_trade_id();
        let mut heard = [Vec::new(), Vec::new()];
        let mut cursors = [start, start];
        for turn in 0..1_000 {
            let who = usize::from(turn % 3 == 0);
            let (deal, place, lost) = symbol.trade_after(cursors[who], 1);
            cursors[who] = deal.first_trade_id + place as u64;
            assert_eq!(lost, 0);
            heard[who].push((cursors[who], deal.price, deal.execution.fills()[place]));
        }
        assert!(heard[0].iter().zip(start + 1..).all(|(trade, id)| trade.0 == id), "ids without a gap");
        assert_eq!(heard[0][..heard[1].len()], heard[1][..]);
    }

    #[test]
    fn a_listener_that_slept_too_long_is_told_how_many_deals_it_lost() {
        let mut market = market(5);
        let symbol = market.symbol(1);
        let sleeper = symbol.last_deal_id();
        let mut cursor = sleeper;
        for _ in 0..DEALS + 10 {
            cursor = symbol.deal_after(cursor, 1).0.id;
        }
        assert_eq!(symbol.deal_after(sleeper, 1).1, 10);
    }

    #[test]
    fn a_candle_holds_exactly_the_deals_of_its_time() {
        let mut market = market(1);
        let symbol = market.symbol(0);
        symbol.candles(KlineInterval::Seconds(1), 1_000);
        let (mut volume, mut count) = (0, 0);
        for _ in 0..100 {
            let (deal, _) = symbol.deal_after(symbol.last_deal_id(), 1_500);
            volume += u128::from(deal.execution.qty());
            count += u64::from(deal.execution.fill_count);
        }
        let rolled = symbol.candles(KlineInterval::Seconds(1), 2_000);
        let closed = rolled.closed.unwrap();
        assert_eq!((closed.volume, closed.trade_count, closed.open_time_ms), (volume, count, 1_000));
        assert_eq!((rolled.forming.volume, rolled.forming.open, rolled.forming.open_time_ms), (0, closed.close, 2_000));
    }
}
