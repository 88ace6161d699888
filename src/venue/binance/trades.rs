//! Binance's trades by id, for what a stream left out.
//!
//! ```text
//! spot   trade      GET /api/v3/historicalTrades?fromId   weight 25      [{"id":..,"price":"..","qty":"..","time":..,..}]
//! spot   aggregate  GET /api/v3/aggTrades?fromId          weight 4       [{"a":..,"p":"..","q":"..","f":..,"l":..,"T":..,..}]
//! USD-M  aggregate  GET /fapi/v1/aggTrades?fromId         weight 20
//! USD-M  trade      historicalTrades asks for an API key there: not asked
//! ```
//! Each answer begins at `fromId` and holds up to `limit` (1,000) by rising id. Sources: binance-spot-api-docs, rest-api.md,
//! "Old trade lookup" and "Compressed/Aggregate trades list"; USD-M "Compressed/Aggregate Trades List", "Old Trades Lookup".

use crate::market::{
    AggTrade, Meta, Price, Qty, Received, Side, StreamKind, SymbolSpec, Trade, TradeId, Venue, VenueTime,
};
use crate::venue::instruments::percent_encoded;
use crate::venue::trades::{TRADES_PAGE_MAX, TradeBatch, TradesQuery};
use serde::Deserialize;

pub(in crate::venue) fn query(
    venue: Venue,
    stream_kind: StreamKind,
    symbol: &str,
    first_id: u64,
    count: u32,
) -> Option<TradesQuery> {
    let is_spot = venue == Venue::BinanceSpot;
    let (path, weight) = match stream_kind {
        StreamKind::TRADE if is_spot => ("/api/v3/historicalTrades", 25),
        StreamKind::AGG_TRADE if is_spot => ("/api/v3/aggTrades", 4),
        StreamKind::AGG_TRADE => ("/fapi/v1/aggTrades", 20),
        _ => return None,
    };
    let (symbol, limit) = (percent_encoded(symbol), count.clamp(1, TRADES_PAGE_MAX));
    Some(TradesQuery { path: format!("{path}?symbol={symbol}&fromId={first_id}&limit={limit}"), weight })
}

/// A row of `historicalTrades`. What else it holds is computed from these.
#[derive(Deserialize)]
struct TradeRow<'a> {
    id: u64,
    #[serde(borrow)]
    price: &'a str,
    #[serde(borrow)]
    qty: &'a str,
    time: i64,
    #[serde(rename = "isBuyerMaker")]
    is_buyer_maker: bool,
}

/// A row of `aggTrades`.
#[derive(Deserialize)]
struct AggTradeRow<'a> {
    a: u64,
    #[serde(borrow)]
    p: &'a str,
    #[serde(borrow)]
    q: &'a str,
    #[serde(borrow, default)]
    nq: Option<&'a str>,
    f: u64,
    l: u64,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

const fn taker(is_buyer_maker: bool) -> Side {
    if is_buyer_maker { Side::Sell } else { Side::Buy }
}

pub(in crate::venue) fn read(
    stream_kind: StreamKind,
    spec: &SymbolSpec,
    body: &[u8],
    received: Received,
) -> Result<TradeBatch, String> {
    let meta = |time: i64| -> Result<Meta, String> {
        let matching_time = VenueTime::from_ms(time).ok_or_else(|| format!("time {time} is none"))?;
        Ok(Meta { symbol: spec.symbol, received, event_time: None, matching_time: Some(matching_time) })
    };
    let price = |id: u64, text: &str| {
        Price::parse(text.as_bytes(), spec.price_scale).map_err(|error| format!("price `{text}` of {id}: {error}"))
    };
    let qty = |id: u64, text: &str| {
        Qty::parse(text.as_bytes(), spec.qty_scale).map_err(|error| format!("quantity `{text}` of {id}: {error}"))
    };
    if stream_kind == StreamKind::AGG_TRADE {
        let rows: Vec<AggTradeRow<'_>> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let read = rows.into_iter().map(|row| {
            Ok(AggTrade {
                meta: meta(row.time)?,
                id: row.a,
                price: price(row.a, row.p)?,
                qty: qty(row.a, row.q)?,
                qty_without_rpi: row.nq.map(|nq| qty(row.a, nq)).transpose()?,
                taker: taker(row.m),
                first_trade_id: row.f,
                last_trade_id: row.l,
                is_refilled: true,
            })
        });
        return read.collect::<Result<_, String>>().map(TradeBatch::AggTrades);
    }
    let rows: Vec<TradeRow<'_>> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let read = rows.into_iter().map(|row| {
        Ok(Trade {
            meta: meta(row.time)?,
            id: TradeId::Number(row.id),
            price: price(row.id, row.price)?,
            qty: qty(row.id, row.qty)?,
            taker: taker(row.is_buyer_maker),
            sequence: None,
            is_block: false,
            is_rpi: false,
            is_refilled: true,
        })
    });
    read.collect::<Result<_, String>>().map(TradeBatch::Trades)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::SymbolTable;
    use crate::venue::{protocol, read_trades, trades_query};

    fn spec(venue: Venue) -> SymbolSpec {
        let mut symbols = SymbolTable::default();
        let symbol = symbols.add(venue, "BTCUSDT", 2, 5, None).unwrap();
        symbols.spec(symbol).unwrap().clone()
    }

    #[test]
    fn what_the_documents_show_is_read_and_flagged() {
        let spec = spec(Venue::BinanceSpot);
        let trades =
            br#"[{"id":28457,"price":"4.00000000","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,
            "isBuyerMaker":true,"isBestMatch":true}]"#;
        let TradeBatch::Trades(read) = read_trades(StreamKind::TRADE, &spec, trades, Received::default()).unwrap()
        else {
            panic!("trades")
        };
        assert_eq!((read[0].id, read[0].taker, read[0].is_refilled), (TradeId::Number(28_457), Side::Sell, true));
        assert_eq!((read[0].price.mantissa(), read[0].qty.mantissa()), (400, 1_200_000));
        assert_eq!(read[0].meta.matching_time, VenueTime::from_ms(1_499_865_549_590));
        let aggregates =
            br#"[{"a":26129,"p":"0.01","q":"4.70443","f":27781,"l":27783,"T":1498793709153,"m":false,"M":true}]"#;
        let read = read_trades(StreamKind::AGG_TRADE, &spec, aggregates, Received::default()).unwrap();
        let TradeBatch::AggTrades(read) = read else { panic!("aggregates") };
        assert_eq!((read[0].id, read[0].first_trade_id, read[0].last_trade_id), (26_129, 27_781, 27_783));
        assert_eq!((read[0].taker, read[0].qty_without_rpi, read[0].is_refilled), (Side::Buy, None, true));
    }

    #[test]
    fn an_answer_that_is_not_what_was_asked_for_is_refused_whole() {
        let spec = spec(Venue::BinanceSpot);
        let good = r#"{"id":1,"price":"4.00","qty":"1","time":5,"isBuyerMaker":true}"#;
        for (body, expected) in [
            ("", "EOF"),
            (r#"{"code":-1003,"msg":"Too many requests"}"#, "expected"),
            (good, "expected"),
            (&format!("[{good},{}]", good.replace("4.00", "4.001")), "price `4.001` of 1"),
            (&format!("[{}]", good.replace("\"1\"", "\"-\"")), "quantity `-` of 1"),
            (&format!("[{}]", good.replace("\"time\":5", "\"time\":0")), "time 0"),
            (&format!("[{}]", good.replace("\"id\":1", "\"id\":-1")), "invalid value"),
            (&format!("[{good}"), "EOF"),
        ] {
            let error = read_trades(StreamKind::TRADE, &spec, body.as_bytes(), Received::default()).unwrap_err();
            assert!(error.to_string().contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn each_stream_is_asked_where_the_venue_answers_everybody() {
        let query = |venue, stream_kind, count| trades_query(protocol(venue), stream_kind, "BTCUSDT", 7, count);
        for (venue, stream_kind, expected) in [
            (Venue::BinanceSpot, StreamKind::TRADE, Some(("/api/v3/historicalTrades", 25))),
            (Venue::BinanceSpot, StreamKind::AGG_TRADE, Some(("/api/v3/aggTrades", 4))),
            (Venue::BinanceUsdm, StreamKind::AGG_TRADE, Some(("/fapi/v1/aggTrades", 20))),
            (Venue::BinanceUsdm, StreamKind::TRADE, None),
            (Venue::BinanceSpot, StreamKind::QUOTE, None),
            (Venue::BybitSpot, StreamKind::TRADE, None),
            (Venue::BybitLinear, StreamKind::TRADE, None),
        ] {
            let expected = expected
                .map(|(path, weight)| TradesQuery { path: format!("{path}?symbol=BTCUSDT&fromId=7&limit=3"), weight });
            assert_eq!(query(venue, stream_kind, 3), expected, "{venue} {stream_kind}");
        }
        let most = query(Venue::BinanceSpot, StreamKind::TRADE, 5_000).unwrap();
        assert!(most.path.ends_with("&limit=1000"), "{}", most.path);
    }
}
