//! Bybit's messages, written from the synthetic market. Member order as recorded from the venue, which differs between
//! spot and linear.
//!
//! Source: bybit-exchange/docs v5/websocket/public (2026-07-24) and recordings of 2026-08.

use super::binance_feed::{change_ratio, levels, middle_e8, next_candle, next_funding_ms, next_liquidation, signed};
use super::book::SlotLevel;
use super::line::{Channel, Emitted, Line, Now, TickerValues};
use super::market::{Deal, SymbolMarket, SyntheticMarket, TOPIC_LOG, Topic, interval_ms};
use super::text::{Json, NumberText, Rng};
use crate::market::{KlineInterval, Venue};
use bytes::BytesMut;
use std::collections::VecDeque;

/// Writes the next message of `line`.
pub(super) fn emit(market: &mut SyntheticMarket, line: &mut Line, now: Now, out: &mut BytesMut) -> Emitted {
    let venue = market.venue;
    let json = &mut Json(out);
    let symbol = market.symbol(line.symbol.expect("every topic of this venue names a symbol"));
    match line.channel {
        Channel::Trade => trades(venue, symbol, line, now, json),
        Channel::Quote => {
            let mut lost = 0;
            let is_first = std::mem::take(&mut line.needs_snapshot);
            let (mut bid, mut ask) = (symbol.book.best_bid(), symbol.book.best_ask());
            let mut id = symbol.book.update_id();
            if is_first {
                line.cursor = symbol.last_quote;
            } else if symbol.is_tape {
                if let Some((record, forgotten)) = symbol.quote_after(line.cursor) {
                    (bid, ask, id, line.cursor, lost) =
                        (record.bid, record.ask, record.update_id, record.number, forgotten);
                }
            } else {
                symbol.touch_top();
                (bid, ask, id) = (symbol.book.best_bid(), symbol.book.best_ask(), symbol.book.update_id());
            }
            // Depth 1 puts `ts` first on both categories.
            json.s("{\"topic\":\"").s(&line.name).s("\",\"ts\":").u(now.ms()).s(",\"type\":\"snapshot\",\"data\":");
            book_data(venue, symbol, &[bid], &[ask], id, id, json);
            json.s(",\"cts\":").u(now.ms()).s("}");
            Emitted { events: 1, lost }
        }
        Channel::Book(depth) => book(venue, symbol, line, depth, now, json),
        Channel::Kline(interval) => {
            symbol.step(now.ms());
            kline(venue, symbol, line, interval, now, json);
            Emitted::ONE
        }
        Channel::Liquidation => {
            liquidation(venue, symbol, line, now, json);
            Emitted::ONE
        }
        _ if venue == Venue::BybitSpot => {
            symbol.step(now.ms());
            spot_ticker(symbol, line, now, json);
            Emitted::ONE
        }
        _ => {
            linear_ticker(symbol, line, now, json);
            Emitted::ONE
        }
    }
}

/// Opens an envelope: spot writes `ts` before `type`, linear after.
fn open(venue: Venue, line: &Line, kind: &str, now: Now, json: &mut Json<'_>) {
    json.s("{\"topic\":\"").s(&line.name);
    if venue == Venue::BybitSpot {
        json.s("\",\"ts\":").u(now.ms()).s(",\"type\":\"").s(kind).s("\"");
    } else {
        json.s("\",\"type\":\"").s(kind).s("\",\"ts\":").u(now.ms());
    }
    json.s(",\"data\":");
}

fn trades(venue: Venue, symbol: &mut SymbolMarket, line: &mut Line, now: Now, json: &mut Json<'_>) -> Emitted {
    let (deal, lost) = symbol.deal_after(line.cursor, now.ms());
    line.cursor = deal.id;
    let listing = &symbol.listing;
    let (price_text, qty_text) = (listing.price_text(venue), listing.qty_text(venue));
    let side = if deal.execution.is_buy { "Buy" } else { "Sell" };
    open(venue, line, "snapshot", now, json);
    for (index, &fill) in deal.execution.fills().iter().enumerate() {
        json.s(if index == 0 { "[" } else { "," });
        let id = deal.first_trade_id + index as u64;
        if venue == Venue::BybitSpot {
            json.s("{\"i\":\"22900000").u(id).s("\",\"T\":").u(deal.time_ms);
            json.s(",\"p\":\"").fixed(deal.price, price_text).s("\",\"v\":\"").fixed(fill, qty_text);
            json.s("\",\"S\":\"").s(side).s("\",\"seq\":").u(deal.sequence).s(",\"s\":\"").s(&listing.name);
            json.s("\",\"BT\":false,\"RPI\":false}");
        } else {
            json.s("{\"T\":").u(deal.time_ms).s(",\"s\":\"").s(&listing.name).s("\",\"S\":\"").s(side);
            json.s("\",\"v\":\"").fixed(fill, qty_text).s("\",\"p\":\"").fixed(deal.price, price_text);
            json.s("\",\"L\":\"").s(tick_direction(&deal, index)).s("\",\"i\":\"");
            uuid(symbol.salt, id, json);
            json.s("\",\"BT\":false,\"RPI\":false,\"seq\":").u(deal.sequence).s("}");
        }
    }
    json.s("]}");
    Emitted { events: u64::from(deal.execution.fill_count), lost }
}

fn tick_direction(deal: &Deal, index: usize) -> &'static str {
    match (if index == 0 { deal.direction } else { 0 }, deal.last_direction) {
        (1, _) => "PlusTick",
        (-1, _) => "MinusTick",
        (_, -1) => "ZeroMinusTick",
        _ => "ZeroPlusTick",
    }
}

/// A trade's id, as this venue's messages spell it.
pub(super) fn trade_id_text(venue: Venue, salt: u64, id: u64) -> String {
    let mut out = BytesMut::new();
    let json = &mut Json(&mut out);
    match venue {
        Venue::BybitLinear => uuid(salt, id, json),
        Venue::BybitSpot => {
            json.s("22900000").u(id);
        }
        Venue::BinanceSpot | Venue::BinanceUsdm => {
            json.u(id);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A UUID for a trade: the same for every connection that hears it.
fn uuid(salt: u64, id: u64, json: &mut Json<'_>) {
    let mut rng = Rng::new(salt, id);
    let bytes = [rng.next().to_be_bytes(), rng.next().to_be_bytes()].concat();
    for (index, byte) in bytes.into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            json.s("-");
        }
        // Version 5 and the RFC's variant, as the venue's own.
        let byte = match index {
            6 => 0x50 | byte & 0x0F,
            8 => 0x80 | byte & 0x3F,
            _ => byte,
        };
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("a nibble");
        let text = [digit(byte >> 4), digit(byte & 15)];
        json.s(text[0].encode_utf8(&mut [0; 4])).s(text[1].encode_utf8(&mut [0; 4]));
    }
}

/// Writes a book's `data` object.
pub(super) fn book_data(
    venue: Venue,
    symbol: &SymbolMarket,
    bids: &[SlotLevel],
    asks: &[SlotLevel],
    update_id: u64,
    sequence: u64,
    json: &mut Json<'_>,
) {
    json.s("{\"s\":\"").s(&symbol.listing.name).s("\",\"b\":");
    levels(venue, symbol, bids, json);
    json.s(",\"a\":");
    levels(venue, symbol, asks, json);
    json.s(",\"u\":").u(update_id).s(",\"seq\":").u(sequence).s("}");
}

/// The chain of one depth of a symbol, begun if nobody followed it before.
pub(super) fn topic_at(symbol: &mut SymbolMarket, depth: u16) -> usize {
    symbol.topics.iter().position(|topic| topic.depth == depth).unwrap_or_else(|| {
        let (mut bids, mut asks) = (Vec::new(), Vec::new());
        symbol.book.top(true, usize::from(depth), &mut bids);
        symbol.book.top(false, usize::from(depth), &mut asks);
        let update_id = 1_000_000 + symbol.salt % 10_000_000 + u64::from(depth);
        let sequence = symbol.book.update_id();
        symbol.topics.push(Topic { depth, update_id, sequence, bids, asks, log: VecDeque::new(), next_ms: 0 });
        symbol.topics.len() - 1
    })
}

fn book(
    venue: Venue,
    symbol: &mut SymbolMarket,
    line: &mut Line,
    depth: u16,
    now: Now,
    json: &mut Json<'_>,
) -> Emitted {
    let at = topic_at(symbol, depth);
    let topic = &symbol.topics[at];
    let is_forgotten =
        line.cursor < topic.update_id && topic.log.front().is_none_or(|&(oldest, _)| oldest > line.cursor + 1);
    let mut lost = 0;
    if std::mem::take(&mut line.needs_snapshot) || is_forgotten {
        lost = if is_forgotten && line.is_begun { topic.update_id - line.cursor } else { 0 };
        line.cursor = topic.update_id;
        open(venue, line, "snapshot", now, json);
        book_data(venue, symbol, &topic.bids, &topic.asks, topic.update_id, topic.sequence, json);
    } else {
        if line.cursor == topic.update_id {
            advance(venue, symbol, at, now);
        }
        line.cursor += 1;
        let log = &symbol.topics[at].log;
        let index = log.partition_point(|&(id, _)| id < line.cursor);
        open(venue, line, "delta", now, json);
        json.0.extend_from_slice(&log[index].1);
    }
    json.s(",\"cts\":").u(now.ms()).s("}");
    line.is_begun = true;
    Emitted { events: 1, lost }
}

/// Moves the market on until the view of one depth changes, and logs the change as the chain's next delta.
fn advance(venue: Venue, symbol: &mut SymbolMarket, at: usize, now: Now) {
    loop {
        symbol.step(now.ms());
        symbol.touch_top();
        if log_change(venue, symbol, at) {
            return;
        }
    }
}

/// On a tape: logs what changed in the view of one depth since the last delta, as often as the venue publishes it.
pub(super) fn follow(venue: Venue, symbol: &mut SymbolMarket, depth: u16, now_ms: u64) -> u64 {
    let at = topic_at(symbol, depth);
    let topic = &symbol.topics[at];
    if now_ms >= topic.next_ms && symbol.book.update_id() != topic.sequence {
        let interval_ms = match depth {
            50 => 20,
            200 => 100,
            _ => 200,
        };
        symbol.topics[at].next_ms = now_ms + interval_ms;
        log_change(venue, symbol, at);
    }
    symbol.topics[at].update_id
}

/// Logs the difference between a topic's view and the book, if there is one.
fn log_change(venue: Venue, symbol: &mut SymbolMarket, at: usize) -> bool {
    let depth = usize::from(symbol.topics[at].depth);
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    let (mut bid_changes, mut ask_changes) = (Vec::new(), Vec::new());
    symbol.book.top(true, depth, &mut bids);
    symbol.book.top(false, depth, &mut asks);
    let topic = &symbol.topics[at];
    difference(&topic.bids, &bids, std::cmp::Reverse, &mut bid_changes);
    difference(&topic.asks, &asks, |slot| slot, &mut ask_changes);
    if bid_changes.is_empty() && ask_changes.is_empty() {
        return false;
    }
    let (update_id, sequence) = (symbol.topics[at].update_id + 1, symbol.book.update_id());
    let mut data = BytesMut::with_capacity(512);
    book_data(venue, symbol, &bid_changes, &ask_changes, update_id, sequence, &mut Json(&mut data));
    let topic = &mut symbol.topics[at];
    (topic.update_id, topic.sequence, topic.bids, topic.asks) = (update_id, sequence, bids, asks);
    if topic.log.len() == TOPIC_LOG {
        topic.log.pop_front();
    }
    topic.log.push_back((update_id, data.freeze()));
    true
}

/// What leads from `old` to `new`, both sorted by `rank`: absolute quantities, zero for what is gone.
fn difference<K: Ord>(old: &[SlotLevel], new: &[SlotLevel], rank: impl Fn(u16) -> K, out: &mut Vec<SlotLevel>) {
    let (mut old_at, mut new_at) = (0, 0);
    loop {
        match (old.get(old_at), new.get(new_at)) {
            (None, None) => return,
            (Some(&(gone, _)), next) if next.is_none_or(|&(slot, _)| rank(gone) < rank(slot)) => {
                out.push((gone, 0));
                old_at += 1;
            }
            (before, Some(&level)) => {
                let is_same_slot = before.is_some_and(|&(slot, _)| slot == level.0);
                if before != Some(&level) {
                    out.push(level);
                }
                old_at += usize::from(is_same_slot);
                new_at += 1;
            }
            (Some(_), None) => unreachable!("the first guard holds when nothing is left of the new side"),
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
    let price_text = NumberText { is_trimmed: true, ..listing.price_text(venue) };
    let qty_text = NumberText { is_trimmed: true, ..listing.qty_text(venue) };
    let scale = listing.price_scale + listing.qty_scale;
    let turnover_text = NumberText { scale, decimals: scale, is_trimmed: true };
    let name = line.name.split('.').nth(1).unwrap_or("1");
    if venue == Venue::BybitSpot {
        json.s("{\"type\":\"snapshot\",\"topic\":\"").s(&line.name).s("\",\"data\":[{\"start\":");
    } else {
        json.s("{\"topic\":\"").s(&line.name).s("\",\"data\":[{\"start\":");
    }
    json.u(window.open_time_ms).s(",\"end\":").u(window.open_time_ms + interval_ms(interval) - 1);
    json.s(",\"interval\":\"").s(name).s("\",\"open\":\"").fixed(window.open, price_text);
    json.s("\",\"close\":\"").fixed(window.close, price_text).s("\",\"high\":\"").fixed(window.high, price_text);
    json.s("\",\"low\":\"").fixed(window.low, price_text).s("\",\"volume\":\"").fixed(window.volume, qty_text);
    json.s("\",\"turnover\":\"").fixed(window.turnover, turnover_text);
    json.s(if is_closed { "\",\"confirm\":true,\"timestamp\":" } else { "\",\"confirm\":false,\"timestamp\":" });
    json.u(now.ms()).s("}],\"ts\":").u(now.ms());
    json.s(if venue == Venue::BybitSpot { "}" } else { ",\"type\":\"snapshot\"}" });
}

fn liquidation(venue: Venue, symbol: &mut SymbolMarket, line: &mut Line, now: Now, json: &mut Json<'_>) {
    let deal = next_liquidation(symbol, line, now);
    let listing = &symbol.listing;
    open(venue, line, "snapshot", now, json);
    json.s("[{\"T\":").u(deal.time_ms).s(",\"s\":\"").s(&listing.name).s("\",\"S\":\"");
    // The position's side: the order that closes a long sells.
    json.s(if deal.execution.is_buy { "Sell" } else { "Buy" });
    json.s("\",\"v\":\"").fixed(deal.execution.qty(), listing.qty_text(venue));
    json.s("\",\"p\":\"").fixed(deal.price, listing.price_text(venue)).s("\"}]}");
}

fn spot_ticker(symbol: &SymbolMarket, line: &Line, now: Now, json: &mut Json<'_>) {
    let (listing, day) = (&symbol.listing, &symbol.day);
    let (price_text, qty_text) = (listing.price_text(Venue::BybitSpot), listing.qty_text(Venue::BybitSpot));
    let scale = listing.price_scale + listing.qty_scale;
    json.s("{\"topic\":\"").s(&line.name).s("\",\"ts\":").u(now.ms()).s(",\"type\":\"snapshot\",\"cs\":");
    json.u(symbol.book.update_id()).s(",\"data\":{\"symbol\":\"").s(&listing.name);
    json.s("\",\"lastPrice\":\"").fixed(day.close, price_text);
    json.s("\",\"highPrice24h\":\"").fixed(day.high, price_text).s("\",\"lowPrice24h\":\"").fixed(day.low, price_text);
    json.s("\",\"prevPrice24h\":\"").fixed(day.open, price_text).s("\",\"volume24h\":\"").fixed(day.volume, qty_text);
    json.s("\",\"turnover24h\":\"").fixed(day.turnover, NumberText { scale, decimals: scale, is_trimmed: true });
    json.s("\",\"price24hPcnt\":\"");
    signed(json, change_ratio(day, 4), 4).s("\",\"usdIndexPrice\":\"");
    json.fixed(middle_e8(symbol), NumberText { scale: 8, decimals: 8, is_trimmed: true }).s("\"}}");
}

/// Members of a linear ticker that change, with their keys, in recorded order.
const TICKER_KEYS: [&str; 14] = [
    "price24hPcnt",
    "lastPrice",
    "highPrice24h",
    "lowPrice24h",
    "markPrice",
    "indexPrice",
    "openInterestValue",
    "turnover24h",
    "volume24h",
    "nextFundingTime",
    "bid1Price",
    "bid1Size",
    "ask1Price",
    "ask1Size",
];

pub(super) fn ticker_values(symbol: &SymbolMarket, now: Now) -> TickerValues {
    let (day, book) = (&symbol.day, &symbol.book);
    let (bid, ask) = (book.best_bid(), book.best_ask());
    let middle = middle_e8(symbol);
    let unit = 10_u64.pow(8 - u32::from(symbol.listing.price_scale));
    let mark = middle / unit;
    [
        change_ratio(day, 6),
        i128::from(day.close),
        i128::from(day.high),
        i128::from(day.low),
        i128::from(mark),
        i128::from(mark - mark / 3_000),
        i128::from(mark) * 59_891,
        i128::try_from(day.turnover).unwrap_or(i128::MAX),
        i128::try_from(day.volume).unwrap_or(i128::MAX),
        i128::from(next_funding_ms(now)),
        i128::from(symbol.price(bid.0)),
        i128::from(bid.1),
        i128::from(symbol.price(ask.0)),
        i128::from(ask.1),
    ]
}

/// Members of a linear ticker's snapshot that never change here and stand behind this one, in recorded order.
fn unchanging(symbol: &SymbolMarket, key: &str, price_text: NumberText, json: &mut Json<'_>) {
    match key {
        "lastPrice" => json.s(",\"prevPrice24h\":\"").fixed(symbol.day.open, price_text).s("\""),
        "lowPrice24h" => json.s(",\"prevPrice1h\":\"").fixed(symbol.day.open, price_text).s("\""),
        "indexPrice" => json.s(",\"openInterest\":\"59891\""),
        "volume24h" => json.s(",\"fundingIntervalHour\":\"8\",\"fundingCap\":\"0.005\""),
        "nextFundingTime" => {
            let rate = NumberText { scale: 8, decimals: 8, is_trimmed: true };
            json.s(",\"fundingRate\":\"").fixed(symbol.salt % 60_000, rate).s("\"")
        }
        _ => json,
    };
}

fn linear_ticker(symbol: &mut SymbolMarket, line: &mut Line, now: Now, json: &mut Json<'_>) {
    let is_snapshot = std::mem::take(&mut line.needs_snapshot);
    let mut values = ticker_values(symbol, now);
    while !is_snapshot && !symbol.is_tape && line.ticker == Some(values) {
        symbol.step(now.ms());
        symbol.touch_top();
        values = ticker_values(symbol, now);
    }
    let listing = &symbol.listing;
    let (price_text, qty_text) = (listing.price_text(Venue::BybitLinear), listing.qty_text(Venue::BybitLinear));
    let plain = |scale| NumberText { scale, decimals: scale, is_trimmed: false };
    json.s("{\"topic\":\"").s(&line.name).s("\",\"type\":\"").s(if is_snapshot { "snapshot" } else { "delta" });
    json.s("\",\"data\":{\"symbol\":\"").s(&listing.name).s("\"");
    if is_snapshot {
        json.s(",\"tickDirection\":\"ZeroPlusTick\"");
    }
    for (index, (&key, &value)) in TICKER_KEYS.iter().zip(&values).enumerate() {
        if !is_snapshot && line.ticker.is_some_and(|seen| seen[index] == value) {
            continue;
        }
        json.s(",\"").s(key).s("\":\"");
        match key {
            "price24hPcnt" => signed(json, value, 6),
            "turnover24h" => json.fixed(value.unsigned_abs(), plain(listing.price_scale + listing.qty_scale)),
            "volume24h" | "bid1Size" | "ask1Size" => json.fixed(value.unsigned_abs(), qty_text),
            "nextFundingTime" => json.u(value.unsigned_abs()),
            _ => json.fixed(value.unsigned_abs(), price_text),
        };
        json.s("\"");
        if is_snapshot {
            unchanging(symbol, key, price_text, json);
        }
    }
    if is_snapshot {
        json.s(",\"preOpenPrice\":\"\",\"preQty\":\"\",\"curPreListingPhase\":\"\"");
    }
    json.s("},\"cs\":").u(symbol.book.update_id()).s(",\"ts\":").u(now.ms()).s("}");
    line.ticker = Some(values);
}
