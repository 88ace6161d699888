//! Binance's trades by id, from what the synthetic market remembers.
//!
//! ```text
//! GET /api/v3/historicalTrades?symbol&fromId&limit      spot: single fills
//! GET /api/v3/aggTrades, /fapi/v1/aggTrades             executions
//! ```
//! Rising ids from `fromId` on, at most `limit` of them; without `fromId` the newest. What the market has forgotten is not
//! there. USD-M's `historicalTrades` asks for an API key, which nobody has here.
//! Source: binance-spot-api-docs, rest-api.md, "Old trade lookup", "Compressed/Aggregate trades list"; USD-M market data.

use super::exchange::{Exchange, Feed};
use super::market::{Deal, SymbolMarket};
use super::rest::{Parameters, binance_error, body};
use super::text::{Json, NumberText};
use crate::market::Venue;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::BytesMut;
use std::collections::HashMap;
use std::sync::Arc;

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 1_000;

/// What was asked for: from which id on, and how many.
fn range(parameters: &HashMap<String, String>) -> Result<(Option<u64>, usize), Box<Response>> {
    let illegal = |name| Box::new(binance_error(-1100, &format!("Illegal characters found in parameter '{name}'")));
    let from = parameters.get("fromId").map(|id| id.parse()).transpose().map_err(|_error| illegal("fromId"))?;
    let limit = parameters.get("limit").map_or(Ok(LIMIT_DEFAULT), |limit| limit.parse());
    Ok((from, limit.map_err(|_error| illegal("limit"))?.clamp(1, LIMIT_MAX)))
}

/// Answers with what `write` makes of the symbol's market.
fn answer(
    exchange: &Exchange,
    parameters: &HashMap<String, String>,
    write: impl FnOnce(&SymbolMarket, (Option<u64>, usize), &mut Json<'_>),
) -> Response {
    let Some(name) = parameters.get("symbol") else {
        return binance_error(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.");
    };
    let range = match range(parameters) {
        Ok(range) => range,
        Err(refusal) => return *refusal,
    };
    let Feed::Synthetic { market, .. } = &exchange.feed else { return binance_error(-1121, "Invalid symbol.") };
    let mut market = market.lock().expect("no holder panics");
    let Some(index) = market.find(name) else { return binance_error(-1121, "Invalid symbol.") };
    let mut out = BytesMut::new();
    write(market.symbol(index), range, &mut Json(&mut out));
    body(StatusCode::OK, out.freeze())
}

/// Those of `all` from an id on, or the last ones, at most `limit`.
fn cut<T>(all: Vec<T>, (from, limit): (Option<u64>, usize), id: impl Fn(&T) -> u64) -> Vec<T> {
    let skipped = match from {
        Some(from) => all.iter().filter(|one| id(one) < from).count(),
        None => all.len().saturating_sub(limit),
    };
    all.into_iter().skip(skipped).take(limit).collect()
}

pub(super) async fn binance_trades(State(exchange): State<Arc<Exchange>>, Query(parameters): Parameters) -> Response {
    if exchange.venue == Venue::BinanceUsdm {
        return binance_error(-2014, "API-key format invalid.");
    }
    answer(&exchange, &parameters, |symbol, range, json| {
        let fills = symbol.deals.iter().flat_map(|deal| {
            let ids = deal.first_trade_id..=deal.last_trade_id();
            ids.zip(deal.execution.fills()).map(move |(id, &qty)| (id, deal, qty))
        });
        let (price_text, qty_text) =
            (symbol.listing.price_text(exchange.venue), symbol.listing.qty_text(exchange.venue));
        let scale = symbol.listing.price_scale + symbol.listing.qty_scale;
        let quote_text = NumberText { scale, decimals: scale.max(8), is_trimmed: false };
        json.s("[");
        for (at, (id, deal, qty)) in
            cut(fills.collect(), range, |fill: &(u64, &Deal, u64)| fill.0).into_iter().enumerate()
        {
            json.s(if at == 0 { "{\"id\":" } else { ",{\"id\":" }).u(id);
            json.s(",\"price\":\"").fixed(deal.price, price_text);
            json.s("\",\"qty\":\"").fixed(qty, qty_text);
            json.s("\",\"quoteQty\":\"").fixed(u128::from(deal.price) * u128::from(qty), quote_text);
            json.s("\",\"time\":").u(deal.time_ms);
            json.s(",\"isBuyerMaker\":").s(if deal.execution.is_buy { "false" } else { "true" });
            json.s(",\"isBestMatch\":true}");
        }
        json.s("]");
    })
}

pub(super) async fn binance_aggregates(
    State(exchange): State<Arc<Exchange>>,
    Query(parameters): Parameters,
) -> Response {
    let is_spot = exchange.venue == Venue::BinanceSpot;
    answer(&exchange, &parameters, |symbol, range, json| {
        let (price_text, qty_text) =
            (symbol.listing.price_text(exchange.venue), symbol.listing.qty_text(exchange.venue));
        json.s("[");
        for (at, deal) in cut(symbol.deals.iter().collect(), range, |deal: &&Deal| deal.id).into_iter().enumerate() {
            json.s(if at == 0 { "{\"a\":" } else { ",{\"a\":" }).u(deal.id);
            json.s(",\"p\":\"").fixed(deal.price, price_text);
            json.s("\",\"q\":\"").fixed(deal.execution.qty(), qty_text);
            json.s("\",\"f\":").u(deal.first_trade_id).s(",\"l\":").u(deal.last_trade_id());
            json.s(",\"T\":").u(deal.time_ms).s(",\"m\":").s(if deal.execution.is_buy { "false" } else { "true" });
            json.s(if is_spot { ",\"M\":true}" } else { "}" });
        }
        json.s("]");
    })
}
