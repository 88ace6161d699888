//! The engine's events as text, to be laid beside the second reading.

use crate::reading::{Fields, trimmed};
use tickwire::market::{
    AggTrade, BookUpdate, Decimal, Kline, KlineInterval, Level, Liquidation, MarkPrice, Meta, Price, Qty, Quote, Side,
    Ticker, TickerFields, Trade, TradeId, VenueTime,
};

/// The symbol of an event, and the scales its mantissas are at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid<'a> {
    pub(crate) name: &'a str,
    pub(crate) price_scale: u8,
    pub(crate) qty_scale: u8,
}

fn begin(of: &Grid<'_>, kind: &'static str, meta: &Meta) -> Fields {
    let mut fields = Fields::new();
    fields.insert("kind", kind.into());
    fields.insert("symbol", of.name.to_owned());
    time(&mut fields, "event_time", meta.event_time);
    time(&mut fields, "matching_time", meta.matching_time);
    fields
}

fn time(fields: &mut Fields, name: &'static str, time: Option<VenueTime>) {
    if let Some(time) = time {
        assert_eq!(time.ns() % 1_000_000, 0);
        fields.insert(name, (time.ns() / 1_000_000).to_string());
    }
}

fn number(fields: &mut Fields, name: &'static str, value: Decimal) {
    fields.insert(name, trimmed(&value.to_string()));
}

fn optional(fields: &mut Fields, name: &'static str, value: Option<Decimal>) {
    if let Some(value) = value {
        number(fields, name, value);
    }
}

fn count(fields: &mut Fields, name: &'static str, value: Option<u64>) {
    if let Some(value) = value {
        fields.insert(name, value.to_string());
    }
}

fn price_text(value: Price, scale: u8) -> String {
    trimmed(&value.at_scale(scale).to_string())
}

fn qty_text(value: Qty, scale: u8) -> String {
    trimmed(&value.at_scale(scale).to_string())
}

fn levels_text(levels: &[Level], price_scale: u8, qty_scale: u8) -> String {
    let levels = levels
        .iter()
        .map(|level| format!("{}x{}", price_text(level.price, price_scale), qty_text(level.qty, qty_scale)));
    levels.collect::<Vec<_>>().join(" ")
}

fn side_text(side: Side) -> String {
    if side == Side::Buy { "buy".into() } else { "sell".into() }
}

/// A [`Trade`].
pub(crate) fn trade(of: &Grid<'_>, event: &Trade) -> Fields {
    let mut fields = begin(of, "trade", &event.meta);
    let id = match event.id {
        TradeId::Number(id) => id.to_string(),
        TradeId::Uuid(id) => format!("{:032x}", id.bits()),
        TradeId::Hash(id) => format!("hash {id}"),
    };
    fields.insert("id", id);
    fields.insert("price", price_text(event.price, of.price_scale));
    fields.insert("qty", qty_text(event.qty, of.qty_scale));
    fields.insert("taker", side_text(event.taker));
    count(&mut fields, "sequence", event.sequence);
    fields.insert("is_block", event.is_block.to_string());
    fields.insert("is_rpi", event.is_rpi.to_string());
    fields
}

/// A [`AggTrade`].
pub(crate) fn agg_trade(of: &Grid<'_>, event: &AggTrade) -> Fields {
    let mut fields = begin(of, "agg_trade", &event.meta);
    count(&mut fields, "id", Some(event.id));
    fields.insert("price", price_text(event.price, of.price_scale));
    fields.insert("qty", qty_text(event.qty, of.qty_scale));
    optional(&mut fields, "qty_without_rpi", event.qty_without_rpi.map(|qty| qty.at_scale(of.qty_scale)));
    fields.insert("taker", side_text(event.taker));
    count(&mut fields, "first_trade_id", Some(event.first_trade_id));
    count(&mut fields, "last_trade_id", Some(event.last_trade_id));
    fields
}

/// A [`Quote`].
pub(crate) fn quote(of: &Grid<'_>, event: &Quote) -> Fields {
    let mut fields = begin(of, "quote", &event.meta);
    fields.insert("bid", levels_text(&[event.bid], of.price_scale, of.qty_scale));
    fields.insert("ask", levels_text(&[event.ask], of.price_scale, of.qty_scale));
    count(&mut fields, "update_id", Some(event.update_id));
    count(&mut fields, "sequence", event.sequence);
    fields
}

/// A [`Ticker`].
pub(crate) fn ticker(of: &Grid<'_>, event: &Ticker) -> Fields {
    let mut fields = begin(of, "ticker", &event.meta);
    count(&mut fields, "sequence", event.sequence);
    for (bit, name, value) in [
        (TickerFields::LAST_PRICE, "last_price", event.last_price.at_scale(of.price_scale)),
        (TickerFields::LAST_QTY, "last_qty", event.last_qty.at_scale(of.qty_scale)),
        (TickerFields::BID, "bid_price", event.bid.price.at_scale(of.price_scale)),
        (TickerFields::BID, "bid_qty", event.bid.qty.at_scale(of.qty_scale)),
        (TickerFields::ASK, "ask_price", event.ask.price.at_scale(of.price_scale)),
        (TickerFields::ASK, "ask_qty", event.ask.qty.at_scale(of.qty_scale)),
        (TickerFields::OPEN, "open", event.open),
        (TickerFields::HIGH, "high", event.high),
        (TickerFields::LOW, "low", event.low),
        (TickerFields::VOLUME, "volume", event.volume),
        (TickerFields::TURNOVER, "turnover", event.turnover),
        (TickerFields::CHANGE_RATIO, "change_ratio", event.change_ratio),
        (TickerFields::WEIGHTED_AVERAGE, "weighted_average", event.weighted_average),
        (TickerFields::MARK_PRICE, "mark_price", event.mark_price),
        (TickerFields::INDEX_PRICE, "index_price", event.index_price),
        (TickerFields::FUNDING_RATE, "funding_rate", event.funding_rate),
        (TickerFields::OPEN_INTEREST, "open_interest", event.open_interest),
        (TickerFields::OPEN_INTEREST_VALUE, "open_interest_value", event.open_interest_value),
    ] {
        if event.known.contains(bit) {
            number(&mut fields, name, value);
        }
    }
    if event.known.contains(TickerFields::NEXT_FUNDING_TIME) {
        time(&mut fields, "next_funding_time", event.next_funding_time);
    }
    if event.known.contains(TickerFields::TRADE_COUNT) {
        count(&mut fields, "trade_count", Some(event.trade_count));
    }
    fields.insert("changed", changed_text(event.changed));
    fields
}

/// A [`BookUpdate`].
pub(crate) fn book(of: &Grid<'_>, event: &BookUpdate<'_>) -> Fields {
    let mut fields = begin(of, "book", &event.meta);
    fields.insert("book_kind", format!("{:?}", event.kind));
    count(&mut fields, "first", Some(event.ids.first));
    count(&mut fields, "last", Some(event.ids.last));
    count(&mut fields, "previous", event.ids.previous);
    count(&mut fields, "cross", event.ids.cross);
    count(&mut fields, "depth", Some(event.depth.into()));
    fields.insert("bids", levels_text(event.bids, of.price_scale, of.qty_scale));
    fields.insert("asks", levels_text(event.asks, of.price_scale, of.qty_scale));
    fields
}

/// A [`Kline`].
pub(crate) fn kline(of: &Grid<'_>, event: &Kline) -> Fields {
    let mut fields = begin(of, "kline", &event.meta);
    fields.insert("interval", interval_text(event.interval));
    time(&mut fields, "open_time", event.open_time);
    time(&mut fields, "close_time", event.close_time);
    number(&mut fields, "open", event.open);
    number(&mut fields, "high", event.high);
    number(&mut fields, "low", event.low);
    number(&mut fields, "close", event.close);
    number(&mut fields, "volume", event.volume);
    number(&mut fields, "turnover", event.turnover);
    count(&mut fields, "trade_count", event.trade_count);
    optional(&mut fields, "taker_buy_volume", event.taker_buy_volume);
    fields.insert("is_closed", event.is_closed.to_string());
    fields
}

/// A [`MarkPrice`].
pub(crate) fn mark_price(of: &Grid<'_>, event: &MarkPrice) -> Fields {
    let mut fields = begin(of, "mark_price", &event.meta);
    number(&mut fields, "mark", event.mark);
    optional(&mut fields, "index", event.index);
    optional(&mut fields, "settlement", event.settlement);
    optional(&mut fields, "mark_average", event.mark_average);
    optional(&mut fields, "funding_rate", event.funding_rate);
    time(&mut fields, "next_funding_time", event.next_funding_time);
    fields
}

/// A [`Liquidation`].
pub(crate) fn liquidation(of: &Grid<'_>, event: &Liquidation) -> Fields {
    let mut fields = begin(of, "liquidation", &event.meta);
    fields.insert("position", side_text(event.position));
    fields.insert("price", price_text(event.price, of.price_scale));
    fields.insert("qty", qty_text(event.qty, of.qty_scale));
    optional(&mut fields, "average_price", event.average_price);
    fields
}

fn interval_text(interval: KlineInterval) -> String {
    match interval {
        KlineInterval::Seconds(count) => format!("{count} s"),
        KlineInterval::Minutes(count) => format!("{count} m"),
        KlineInterval::Hours(count) => format!("{count} h"),
        KlineInterval::Days(count) => format!("{count} d"),
        KlineInterval::Weeks(count) => format!("{count} w"),
        KlineInterval::Months(count) => format!("{count} M"),
    }
}

const CHANGED_NAMES: [(TickerFields, &str); 19] = [
    (TickerFields::LAST_PRICE, "last_price"),
    (TickerFields::LAST_QTY, "last_qty"),
    (TickerFields::BID, "bid"),
    (TickerFields::ASK, "ask"),
    (TickerFields::OPEN, "open"),
    (TickerFields::HIGH, "high"),
    (TickerFields::LOW, "low"),
    (TickerFields::VOLUME, "volume"),
    (TickerFields::TURNOVER, "turnover"),
    (TickerFields::CHANGE_RATIO, "change_ratio"),
    (TickerFields::WEIGHTED_AVERAGE, "weighted_average"),
    (TickerFields::MARK_PRICE, "mark_price"),
    (TickerFields::INDEX_PRICE, "index_price"),
    (TickerFields::FUNDING_RATE, "funding_rate"),
    (TickerFields::NEXT_FUNDING_TIME, "next_funding_time"),
    (TickerFields::OPEN_INTEREST, "open_interest"),
    (TickerFields::OPEN_INTEREST_VALUE, "open_interest_value"),
    (TickerFields::TRADE_COUNT, "trade_count"),
    (TickerFields::OTHER, "other"),
];

fn changed_text(changed: TickerFields) -> String {
    let mut names: Vec<_> =
        CHANGED_NAMES.iter().filter(|(bit, _)| changed.contains(*bit)).map(|(_, name)| *name).collect();
    names.sort_unstable();
    names.join(" ")
}
