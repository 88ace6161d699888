//! Binance's messages, written from the synthetic market. Member order as recorded from the venue.
//!
//! Source: binance-spot-api-docs, web-socket-streams.md; USD-M stream pages and recordings of 2021 to 2024.

use super::book::SlotLevel;
use super::line::{Channel, Emitted, Line, Now};
use super::market::{Deal, SymbolMarket, SyntheticMarket, Window, interval_ms};
use super::text::{Json, NumberText, Rng};
use crate::market::{KlineInterval, Venue};
use bytes::BytesMut;

/// Symbols in one message of an all-market stream.
const ARRAY_SYMBOLS: usize = 5;
const DAY_MS: u64 = 86_400_000;
const FUNDING_MS: u64 = 8 * 3_600_000;

/// Writes the next message of `line` without the combined stream's wrapper.
pub(super) fn emit(
    market: &mut SyntheticMarket,
    line: &mut Line,
    now: Now,
    rng: &mut Rng,
    out: &mut BytesMut,
) -> Emitted {
    let venue = market.venue;
    let json = &mut Json(out);
    let Some(symbol) = line.symbol else { return all_market(market, line.channel, now, rng, json) };
    let symbol = market.symbol(symbol);
    match line.channel {
        Channel::Trade => trade(venue, symbol, line, now, json),
        Channel::AggTrade => aggregate(venue, symbol, line, now, json),
        Channel::Quote => {
            if let Some((record, lost)) = symbol.is_tape.then(|| symbol.quote_after(line.cursor)).flatten() {
                line.cursor = record.number;
                quote(venue, symbol, (record.update_id, record.bid, record.ask), now, json);
                return Emitted { events: 1, lost };
            }
            if line.cursor == symbol.book.update_id() {
                symbol.touch_top();
            }
            line.cursor = symbol.book.update_id();
            quote(venue, symbol, top(symbol), now, json);
            Emitted::ONE
        }
        Channel::Delta | Channel::Book(_) => delta(venue, symbol, line, now, json),
        Channel::Partial(depth) => partial(venue, symbol, line, depth, now, json),
        Channel::Ticker | Channel::AllTickers => {
            symbol.step(now.ms());
            ticker(venue, symbol, now, json);
            Emitted::ONE
        }
        Channel::Kline(interval) => {
            symbol.step(now.ms());
            kline(venue, symbol, line, interval, now, json);
            Emitted::ONE
        }
        Channel::MarkPrice => {
            symbol.step(now.ms());
            mark_price(symbol, now, json);
            Emitted::ONE
        }
        Channel::Liquidation | Channel::AllQuotes | Channel::AllMarks | Channel::AllLiquidations => {
            let deal = next_liquidation(symbol, line, now);
            liquidation(venue, symbol, &deal, now, json);
            Emitted::ONE
        }
    }
}

fn all_market(market: &mut SyntheticMarket, channel: Channel, now: Now, rng: &mut Rng, json: &mut Json<'_>) -> Emitted {
    let venue = market.venue;
    let pick = |rng: &mut Rng, market: &mut SyntheticMarket| {
        let index = rng.index(market.len());
        let symbol = market.symbol(u32::try_from(index).expect("listings are counted in u32"));
        symbol.step(now.ms());
        index
    };
    if matches!(channel, Channel::AllQuotes | Channel::AllLiquidations) {
        let index = pick(rng, market);
        let symbol = market.symbol(u32::try_from(index).expect("listings are counted in u32"));
        if channel == Channel::AllQuotes {
            quote(venue, symbol, top(symbol), now, json);
        } else {
            let deal = symbol.liquidate(now.ms());
            liquidation(venue, symbol, &deal, now, json);
        }
        return Emitted::ONE;
    }
    json.s("[");
    let count = ARRAY_SYMBOLS.min(market.len());
    let first = pick(rng, market);
    for step in 0..count {
        let index = (first + step) % market.len();
        let symbol = market.symbol(u32::try_from(index).expect("listings are counted in u32"));
        if step > 0 {
            json.s(",");
        }
        if channel == Channel::AllTickers { ticker(venue, symbol, now, json) } else { mark_price(symbol, now, json) }
    }
    json.s("]");
    Emitted { events: count as u64, lost: 0 }
}

fn price<'a, 'b>(json: &'a mut Json<'b>, key: &str, value: u64, text: NumberText) -> &'a mut Json<'b> {
    json.s(key).fixed(value, text).s("\"")
}

fn trade(venue: Venue, symbol: &mut SymbolMarket, line: &mut Line, now: Now, json: &mut Json<'_>) -> Emitted {
    let (deal, place, lost) = symbol.trade_after(line.cursor, now.ms());
    let id = deal.first_trade_id + place as u64;
    line.cursor = id;
    let listing = &symbol.listing;
    let is_spot = venue == Venue::BinanceSpot;
    json.s("{\"e\":\"trade\",\"E\":").u(now.stamp());
    if !is_spot {
        json.s(",\"T\":").u(now.of_ms(deal.time_ms));
    }
    json.s(",\"s\":\"").s(&listing.name).s("\",\"t\":").u(id);
    price(json, ",\"p\":\"", deal.price, listing.price_text(venue));
    price(json, ",\"q\":\"", deal.execution.fills()[place], listing.qty_text(venue));
    let buyer_is_maker = if deal.execution.is_buy { "false" } else { "true" };
    if is_spot {
        json.s(",\"T\":").u(now.of_ms(deal.time_ms)).s(",\"m\":").s(buyer_is_maker).s(",\"M\":true}");
    } else {
        json.s(",\"X\":\"MARKET\",\"m\":").s(buyer_is_maker).s("}");
    }
    Emitted { events: 1, lost }
}

fn aggregate(venue: Venue, symbol: &mut SymbolMarket, line: &mut Line, now: Now, json: &mut Json<'_>) -> Emitted {
    let (deal, lost) = symbol.deal_after(line.cursor, now.ms());
    line.cursor = deal.id;
    let listing = &symbol.listing;
    json.s("{\"e\":\"aggTrade\",\"E\":").u(now.stamp());
    if venue == Venue::BinanceSpot {
        json.s(",\"s\":\"").s(&listing.name).s("\",\"a\":").u(deal.id);
    } else {
        json.s(",\"a\":").u(deal.id).s(",\"s\":\"").s(&listing.name).s("\"");
    }
    price(json, ",\"p\":\"", deal.price, listing.price_text(venue));
    price(json, ",\"q\":\"", deal.execution.qty(), listing.qty_text(venue));
    json.s(",\"f\":").u(deal.first_trade_id).s(",\"l\":").u(deal.last_trade_id());
    json.s(",\"T\":").u(now.of_ms(deal.time_ms));
    json.s(",\"m\":").s(if deal.execution.is_buy { "false" } else { "true" });
    json.s(if venue == Venue::BinanceSpot { ",\"M\":true}" } else { "}" });
    Emitted { events: 1, lost }
}

/// Update id, best bid, best ask.
type Top = (u64, SlotLevel, SlotLevel);

fn top(symbol: &SymbolMarket) -> Top {
    (symbol.book.update_id(), symbol.book.best_bid(), symbol.book.best_ask())
}

/// The liquidation a line hears next: on a tape one that happened, else one that is made now.
pub(super) fn next_liquidation(symbol: &mut SymbolMarket, line: &mut Line, now: Now) -> Deal {
    let happened = symbol.is_tape.then(|| symbol.liquidation_after(line.cursor).ok()).flatten();
    let deal = happened.unwrap_or_else(|| symbol.liquidate(now.ms()));
    line.cursor = deal.id;
    deal
}

fn quote(venue: Venue, symbol: &SymbolMarket, (update_id, bid, ask): Top, now: Now, json: &mut Json<'_>) {
    let listing = &symbol.listing;
    let (price_text, qty_text) = (listing.price_text(venue), listing.qty_text(venue));
    json.s(if venue == Venue::BinanceSpot { "{\"u\":" } else { "{\"e\":\"bookTicker\",\"u\":" });
    json.u(update_id).s(",\"s\":\"").s(&listing.name).s("\"");
    price(json, ",\"b\":\"", symbol.price(bid.0), price_text);
    price(json, ",\"B\":\"", bid.1, qty_text);
    price(json, ",\"a\":\"", symbol.price(ask.0), price_text);
    price(json, ",\"A\":\"", ask.1, qty_text);
    if venue != Venue::BinanceSpot {
        json.s(",\"T\":").u(now.stamp()).s(",\"E\":").u(now.stamp());
    }
    json.s("}");
}

/// Writes `[["price","qty"],...]`.
pub(super) fn levels(venue: Venue, symbol: &SymbolMarket, levels: &[(u16, u64)], json: &mut Json<'_>) {
    let (price_text, qty_text) = (symbol.listing.price_text(venue), symbol.listing.qty_text(venue));
    json.s("[");
    for (index, &(slot, qty)) in levels.iter().enumerate() {
        json.s(if index == 0 { "[\"" } else { ",[\"" });
        json.fixed(symbol.price(slot), price_text).s("\",\"");
        // Bybit deletes with a bare zero.
        if qty == 0 && matches!(venue, Venue::BybitSpot | Venue::BybitLinear) {
            json.s("0");
        } else {
            json.fixed(qty, qty_text);
        }
        json.s("\"]");
    }
    json.s("]");
}

fn delta(venue: Venue, symbol: &mut SymbolMarket, line: &mut Line, now: Now, json: &mut Json<'_>) -> Emitted {
    if line.cursor == symbol.book.update_id() {
        symbol.step(now.ms());
        symbol.step(now.ms());
    }
    let mut changes = super::book::Changes::default();
    symbol.book.changes_since(line.cursor, &mut changes);
    let (previous, last) = (line.cursor, symbol.book.update_id());
    line.cursor = last;
    json.s("{\"e\":\"depthUpdate\",\"E\":").u(now.stamp());
    let first = if venue == Venue::BinanceSpot {
        previous + 1
    } else {
        json.s(",\"T\":").u(now.stamp());
        // Ids are shared between symbols: the first of this event may lie well above the last of the one before.
        changes.first_id.unwrap_or(previous + 1)
    };
    json.s(",\"s\":\"").s(&symbol.listing.name).s("\",\"U\":").u(first).s(",\"u\":").u(last);
    if venue != Venue::BinanceSpot {
        json.s(",\"pu\":").u(previous);
    }
    json.s(",\"b\":");
    levels(venue, symbol, &changes.bids, json);
    json.s(",\"a\":");
    levels(venue, symbol, &changes.asks, json);
    json.s("}");
    Emitted::ONE
}

fn partial(
    venue: Venue,
    symbol: &mut SymbolMarket,
    line: &mut Line,
    depth: u16,
    now: Now,
    json: &mut Json<'_>,
) -> Emitted {
    symbol.step(now.ms());
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    symbol.book.top(true, usize::from(depth), &mut bids);
    symbol.book.top(false, usize::from(depth), &mut asks);
    let last = symbol.book.update_id();
    if venue == Venue::BinanceSpot {
        json.s("{\"lastUpdateId\":").u(last).s(",\"bids\":");
        levels(venue, symbol, &bids, json);
        json.s(",\"asks\":");
    } else {
        json.s("{\"e\":\"depthUpdate\",\"E\":").u(now.stamp()).s(",\"T\":").u(now.stamp());
        json.s(",\"s\":\"").s(&symbol.listing.name).s("\",\"U\":").u(line.cursor + 1).s(",\"u\":").u(last);
        json.s(",\"pu\":").u(line.cursor).s(",\"b\":");
        levels(venue, symbol, &bids, json);
        json.s(",\"a\":");
    }
    levels(venue, symbol, &asks, json);
    json.s("}");
    line.cursor = last;
    Emitted::ONE
}

/// A signed number: `-0.515`.
pub(super) fn signed<'a, 'b>(json: &'a mut Json<'b>, value: i128, scale: u8) -> &'a mut Json<'b> {
    if value < 0 {
        json.s("-");
    }
    json.fixed(value.unsigned_abs(), NumberText { scale, decimals: scale, is_trimmed: false })
}

/// Change since the window's open, as a ratio with `scale` decimals.
pub(super) fn change_ratio(window: &Window, scale: u8) -> i128 {
    (i128::from(window.close) - i128::from(window.open)) * 10_i128.pow(u32::from(scale))
        / i128::from(window.open.max(1))
}

fn ticker(venue: Venue, symbol: &SymbolMarket, now: Now, json: &mut Json<'_>) {
    let is_spot = venue == Venue::BinanceSpot;
    let (listing, day) = (&symbol.listing, &symbol.day);
    let (price_text, qty_text) = (listing.price_text(venue), listing.qty_text(venue));
    let turnover_text = NumberText {
        scale: listing.price_scale + listing.qty_scale,
        decimals: if is_spot { 8 } else { listing.price_scale + listing.qty_scale },
        is_trimmed: false,
    };
    let average = day.turnover.checked_div(day.volume).unwrap_or(u128::from(day.close));
    let last_qty = symbol.deals.back().map_or(0, |deal: &Deal| deal.execution.qty());
    json.s("{\"e\":\"24hrTicker\",\"E\":").u(now.stamp()).s(",\"s\":\"").s(&listing.name).s("\",\"p\":\"");
    let change = i128::from(day.close) - i128::from(day.open);
    if change < 0 {
        json.s("-");
    }
    json.fixed(change.unsigned_abs(), price_text).s("\",\"P\":\"");
    signed(json, change_ratio(day, 5), 3).s("\",\"w\":\"").fixed(average, price_text).s("\"");
    if is_spot {
        price(json, ",\"x\":\"", day.open, price_text);
    }
    price(json, ",\"c\":\"", day.close, price_text);
    price(json, ",\"Q\":\"", last_qty, qty_text);
    if is_spot {
        let (bid, ask) = (symbol.book.best_bid(), symbol.book.best_ask());
        price(json, ",\"b\":\"", symbol.price(bid.0), price_text);
        price(json, ",\"B\":\"", bid.1, qty_text);
        price(json, ",\"a\":\"", symbol.price(ask.0), price_text);
        price(json, ",\"A\":\"", ask.1, qty_text);
    }
    price(json, ",\"o\":\"", day.open, price_text);
    price(json, ",\"h\":\"", day.high, price_text);
    price(json, ",\"l\":\"", day.low, price_text);
    json.s(",\"v\":\"").fixed(day.volume, qty_text).s("\",\"q\":\"").fixed(day.turnover, turnover_text);
    json.s("\",\"O\":").u(now.of_ms(now.ms() - DAY_MS)).s(",\"C\":").u(now.stamp());
    json.s(",\"F\":").u(day.first_trade_id).s(",\"L\":").u(day.last_trade_id).s(",\"n\":").u(day.trade_count).s("}");
}

/// The candle a line hears next: the closed one, once, and from then on the one that forms.
pub(super) fn next_candle(
    symbol: &mut SymbolMarket,
    line: &mut Line,
    interval: KlineInterval,
    now: Now,
) -> (Window, bool) {
    let candles = symbol.candles(interval, now.ms());
    match candles.closed {
        Some(closed) if closed.open_time_ms == line.candle_open_ms => {
            line.candle_open_ms = candles.forming.open_time_ms;
            (closed, true)
        }
        _ => {
            line.candle_open_ms = candles.forming.open_time_ms;
            (candles.forming, false)
        }
    }
}

fn kline(
    venue: Venue,
    symbol: &mut SymbolMarket,
    line: &mut Line,
    interval: KlineInterval,
    now: Now,
    json: &mut Json<'_>,
) {
    let (window, is_closed) = next_candle(symbol, line, interval, now);
    let listing = &symbol.listing;
    let (price_text, qty_text) = (listing.price_text(venue), listing.qty_text(venue));
    let scale = listing.price_scale + listing.qty_scale;
    let turnover_text =
        NumberText { scale, decimals: if venue == Venue::BinanceSpot { 8 } else { scale }, is_trimmed: false };
    let name = line.name.rsplit_once("kline_").map_or("1m", |(_, name)| name.trim_end_matches("@+08:00"));
    json.s("{\"e\":\"kline\",\"E\":").u(now.stamp()).s(",\"s\":\"").s(&listing.name).s("\",\"k\":{\"t\":");
    json.u(now.of_ms(window.open_time_ms)).s(",\"T\":").u(now.of_ms(window.open_time_ms + interval_ms(interval) - 1));
    json.s(",\"s\":\"").s(&listing.name).s("\",\"i\":\"").s(name).s("\",\"f\":").u(window.first_trade_id);
    json.s(",\"L\":").u(window.last_trade_id);
    price(json, ",\"o\":\"", window.open, price_text);
    price(json, ",\"c\":\"", window.close, price_text);
    price(json, ",\"h\":\"", window.high, price_text);
    price(json, ",\"l\":\"", window.low, price_text);
    json.s(",\"v\":\"").fixed(window.volume, qty_text).s("\",\"n\":").u(window.trade_count);
    json.s(if is_closed { ",\"x\":true" } else { ",\"x\":false" });
    json.s(",\"q\":\"").fixed(window.turnover, turnover_text).s("\",\"V\":\"").fixed(window.buy_volume, qty_text);
    json.s("\",\"Q\":\"").fixed(window.buy_turnover, turnover_text).s("\",\"B\":\"0\"}}");
}

/// The middle of the book at 8 decimals.
pub(super) fn middle_e8(symbol: &SymbolMarket) -> u64 {
    let sum = symbol.price(symbol.book.best_bid().0) + symbol.price(symbol.book.best_ask().0);
    sum * 10_u64.pow(8 - u32::from(symbol.listing.price_scale)) / 2
}

/// When funding is paid next.
pub(super) fn next_funding_ms(now: Now) -> u64 {
    (now.ms() / FUNDING_MS + 1) * FUNDING_MS
}

fn mark_price(symbol: &SymbolMarket, now: Now, json: &mut Json<'_>) {
    const E8: NumberText = NumberText { scale: 8, decimals: 8, is_trimmed: false };
    let mark = middle_e8(symbol);
    json.s("{\"e\":\"markPriceUpdate\",\"E\":").u(now.stamp()).s(",\"s\":\"").s(&symbol.listing.name).s("\"");
    price(json, ",\"p\":\"", mark, E8);
    price(json, ",\"P\":\"", mark - mark / 2_000, E8);
    price(json, ",\"i\":\"", mark - mark / 1_000, E8);
    price(json, ",\"r\":\"", symbol.salt % 60_000, E8);
    json.s(",\"T\":").u(now.of_ms(next_funding_ms(now))).s("}");
}

fn liquidation(venue: Venue, symbol: &SymbolMarket, deal: &Deal, now: Now, json: &mut Json<'_>) {
    debug_assert!(deal.is_liquidation);
    let listing = &symbol.listing;
    let (price_text, qty_text) = (listing.price_text(venue), listing.qty_text(venue));
    let qty = deal.execution.qty();
    json.s("{\"e\":\"forceOrder\",\"E\":").u(now.stamp()).s(",\"o\":{\"s\":\"").s(&listing.name).s("\",\"S\":\"");
    // The order's side: a long that is liquidated is sold.
    json.s(if deal.execution.is_buy { "BUY" } else { "SELL" }).s("\",\"o\":\"LIMIT\",\"f\":\"IOC\"");
    price(json, ",\"q\":\"", qty, qty_text);
    price(json, ",\"p\":\"", deal.price, price_text);
    price(json, ",\"ap\":\"", deal.price, price_text).s(",\"X\":\"FILLED\"");
    price(json, ",\"l\":\"", qty, qty_text);
    price(json, ",\"z\":\"", qty, qty_text);
    json.s(",\"T\":").u(now.of_ms(deal.time_ms)).s("}}");
}
