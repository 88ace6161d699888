//! The REST half of a venue: the instrument list, depth snapshots, and trades by id.
//!
//! ```text
//! GET /api/v3/exchangeInfo  /api/v3/depth          binance-spot
//! GET /fapi/v1/exchangeInfo /fapi/v1/depth         binance-usdm
//! GET /api/v3/historicalTrades  /api/v3/aggTrades  /fapi/v1/aggTrades      rest_trades.rs
//! GET /v5/market/instruments-info  /v5/market/orderbook      bybit-spot, bybit-linear (each its own category)
//! ```
//! Source: the venues' REST pages; a recording answers depth with the body that was recorded.

use super::binance_feed::levels;
use super::bybit_feed::{book_data, topic_at};
use super::exchange::{Exchange, Feed};
use super::faults::Fault;
use super::listing::Listing;
use super::rest_limits::{self, OldDepth};
use super::rest_trades::{binance_aggregates, binance_trades};
use super::text::{Json, NumberText};
use super::tls::MaybeTls;
use crate::market::Venue;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::BytesMut;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(super) type Parameters = Query<HashMap<String, String>>;

/// Serves REST until the exchange stops.
pub(super) async fn listen(exchange: Arc<Exchange>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
    let mut stop = exchange.stop.clone();
    let routes = match exchange.venue {
        Venue::BinanceSpot => Router::new()
            .route("/api/v3/exchangeInfo", get(binance_instruments))
            .route("/api/v3/depth", get(binance_depth))
            .route("/api/v3/historicalTrades", get(binance_trades))
            .route("/api/v3/aggTrades", get(binance_aggregates)),
        Venue::BinanceUsdm => Router::new()
            .route("/fapi/v1/exchangeInfo", get(binance_instruments))
            .route("/fapi/v1/depth", get(binance_depth))
            .route("/fapi/v1/historicalTrades", get(binance_trades))
            .route("/fapi/v1/aggTrades", get(binance_aggregates)),
        Venue::BybitSpot | Venue::BybitLinear => Router::new()
            .route("/v5/market/instruments-info", get(bybit_instruments))
            .route("/v5/market/orderbook", get(bybit_depth)),
    };
    let guard = axum::middleware::from_fn_with_state(Arc::clone(&exchange), rest_limits::guard);
    let routes = routes.layer(guard).with_state(exchange);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            Ok((tcp, peer)) = listener.accept() => {
                let routes = routes.clone().layer(Extension(peer.ip()));
                let (acceptor, service) = (acceptor.clone(), hyper_util::service::TowerToHyperService::new(routes));
                connections.spawn(async move {
                    if let Ok(stream) = MaybeTls::accept(tcp, acceptor.as_ref()).await {
                        let io = hyper_util::rt::TokioIo::new(stream);
                        // A client that breaks off has told itself why.
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                    }
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn body(status: StatusCode, text: impl Into<axum::body::Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text.into()).into_response()
}

pub(super) fn binance_error(code: i32, message: &str) -> Response {
    body(StatusCode::BAD_REQUEST, json!({"code": code, "msg": message}).to_string())
}

fn bybit_result(result: &Value) -> Response {
    let answer = json!({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now_ms()});
    body(StatusCode::OK, answer.to_string())
}

fn bybit_error(message: &str) -> Response {
    let answer = json!({"retCode": 10001, "retMsg": message, "result": {}, "retExtInfo": {}, "time": now_ms()});
    body(StatusCode::OK, answer.to_string())
}

/// One unit of a grid, as text: `0.01000000`.
fn unit(scale: u8, decimals: u8) -> String {
    number(1, scale, decimals)
}

fn number(mantissa: u64, scale: u8, decimals: u8) -> String {
    let mut out = BytesMut::new();
    Json(&mut out).fixed(mantissa, NumberText { scale, decimals: decimals.max(scale), is_trimmed: false });
    String::from_utf8_lossy(&out).into_owned()
}

async fn binance_instruments(State(exchange): State<Arc<Exchange>>, Query(parameters): Parameters) -> Response {
    let is_spot = exchange.venue == Venue::BinanceSpot;
    let mut wanted: Option<Vec<String>> = None;
    if let (true, Some(symbol)) = (is_spot, parameters.get("symbol")) {
        wanted = Some(vec![symbol.clone()]);
    } else if let (true, Some(symbols)) = (is_spot, parameters.get("symbols")) {
        let Ok(symbols) = serde_json::from_str(symbols) else {
            return binance_error(-1100, "Illegal characters found in parameter 'symbols'");
        };
        wanted = Some(symbols);
    }
    let listed = exchange.listings();
    let find = |name: &String| listed.iter().find(|listing| listing.name == *name);
    let listings: Vec<&Listing> = match &wanted {
        None => listed.iter().collect(),
        Some(names) => match names.iter().map(find).collect() {
            Some(listings) => listings,
            None => return binance_error(-1121, "Invalid symbol."),
        },
    };
    let symbols: Vec<Value> =
        listings.into_iter().map(|listing| if is_spot { spot_symbol(listing) } else { usdm_symbol(listing) }).collect();
    let weight = if is_spot { 6000 } else { 2400 };
    let answer = json!({
        "timezone": "UTC",
        "serverTime": now_ms(),
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight}],
        "exchangeFilters": [],
        "symbols": symbols,
    });
    body(StatusCode::OK, answer.to_string())
}

fn filters(listing: &Listing, decimals: u8) -> Value {
    let (tick, step) = (unit(listing.price_scale, decimals), unit(listing.qty_scale, decimals));
    json!([
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": number(10_000_000, 0, decimals), "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": number(9_000_000, 0, decimals), "stepSize": step},
    ])
}

fn spot_symbol(listing: &Listing) -> Value {
    json!({
        "symbol": listing.name, "status": if listing.is_trading { "TRADING" } else { "BREAK" },
        "baseAsset": listing.base, "baseAssetPrecision": 8,
        "quoteAsset": listing.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"], "icebergAllowed": true, "ocoAllowed": true,
        "isSpotTradingAllowed": true, "isMarginTradingAllowed": false,
        "filters": filters(listing, 8), "permissions": [], "permissionSets": [["SPOT"]],
    })
}

fn usdm_symbol(listing: &Listing) -> Value {
    let contract = if listing.is_dated() { "CURRENT_QUARTER" } else { "PERPETUAL" };
    json!({
        "symbol": listing.name, "pair": listing.pair(), "contractType": contract,
        "deliveryDate": 4_133_404_800_000_u64, "onboardDate": 1_569_398_400_000_u64,
        "status": if listing.is_trading { "TRADING" } else { "SETTLING" },
        "baseAsset": listing.base, "quoteAsset": listing.quote, "marginAsset": listing.quote,
        "pricePrecision": listing.price_text(Venue::BinanceUsdm).decimals, "quantityPrecision": listing.qty_scale,
        "baseAssetPrecision": 8, "quotePrecision": 8, "underlyingType": "COIN",
        "orderTypes": ["LIMIT", "MARKET"], "filters": filters(listing, 0),
    })
}

async fn binance_depth(
    State(exchange): State<Arc<Exchange>>,
    Extension(OldDepth(is_old)): Extension<OldDepth>,
    Query(parameters): Parameters,
) -> Response {
    let Some(name) = parameters.get("symbol") else {
        return binance_error(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.");
    };
    let (default, limit_max) = if exchange.venue == Venue::BinanceSpot { (100, 5_000) } else { (500, 1_000) };
    let Ok(limit) = parameters.get("limit").map_or(Ok(default), |limit| limit.parse::<usize>()) else {
        return binance_error(-1100, "Illegal characters found in parameter 'limit'");
    };
    match &exchange.feed {
        Feed::Frames(recording) => match recording.depths.get(name) {
            Some(recorded) => body(StatusCode::OK, recorded.clone()),
            None => binance_error(-1121, "Invalid symbol."),
        },
        Feed::Synthetic { market, .. } => {
            let mut market = market.lock().expect("no holder panics");
            let Some(index) = market.find(name) else { return binance_error(-1121, "Invalid symbol.") };
            let begun = is_old.then(|| {
                exchange.counters.strike(&Fault::OldDepth);
                market.begun(index)
            });
            let symbol = match &begun {
                Some(begun) => begun,
                None => &*market.symbol(index),
            };
            let (mut bids, mut asks) = (Vec::new(), Vec::new());
            symbol.book.top(true, limit.clamp(1, limit_max), &mut bids);
            symbol.book.top(false, limit.clamp(1, limit_max), &mut asks);
            let mut out = BytesMut::new();
            let json = &mut Json(&mut out);
            json.s("{\"lastUpdateId\":").u(symbol.book.update_id());
            if exchange.venue == Venue::BinanceUsdm {
                json.s(",\"E\":").u(now_ms()).s(",\"T\":").u(now_ms());
            }
            json.s(",\"bids\":");
            levels(exchange.venue, symbol, &bids, json);
            json.s(",\"asks\":");
            levels(exchange.venue, symbol, &asks, json);
            json.s("}");
            body(StatusCode::OK, out.freeze())
        }
    }
}

fn category(venue: Venue) -> &'static str {
    if venue == Venue::BybitSpot { "spot" } else { "linear" }
}

/// The category asked for, if this venue serves it; else the venue's error.
fn check_category(exchange: &Exchange, parameters: &HashMap<String, String>) -> Result<&'static str, Box<Response>> {
    let served = category(exchange.venue);
    match parameters.get("category") {
        Some(asked) if asked == served => Ok(served),
        Some(asked) => {
            Err(Box::new(bybit_error(&format!("params error: category {asked} is not served here, {served} is"))))
        }
        None => Err(Box::new(bybit_error("params error: category is required"))),
    }
}

async fn bybit_instruments(State(exchange): State<Arc<Exchange>>, Query(parameters): Parameters) -> Response {
    let category = match check_category(&exchange, &parameters) {
        Ok(category) => category,
        Err(refusal) => return *refusal,
    };
    let is_spot = category == "spot";
    let listed = exchange.listings();
    let matching: Vec<&Listing> = match parameters.get("symbol") {
        None => listed.iter().collect(),
        Some(name) => listed.iter().filter(|listing| listing.name == *name).collect(),
    };
    if matching.is_empty() && parameters.contains_key("symbol") {
        return bybit_error("params error: symbol invalid");
    }
    // Spot has no pages: it answers everything at once, whatever `limit` and `cursor` say.
    let (start, limit) = if is_spot {
        (0, matching.len())
    } else {
        let limit = parameters.get("limit").map_or(Ok(500), |limit| limit.parse::<usize>());
        let start = parameters.get("cursor").filter(|cursor| !cursor.is_empty());
        let start = start.map_or(Ok(0), |cursor| cursor.trim_start_matches("from:").parse::<usize>());
        match (start, limit) {
            (Ok(start), Ok(limit @ 1..=1_000)) => (start, limit),
            (Ok(_), _) => return bybit_error("params error: limit must be from 1 to 1000"),
            (Err(_), _) => return bybit_error("params error: cursor invalid"),
        }
    };
    let page: Vec<Value> =
        matching.iter().skip(start).take(limit).map(|listing| bybit_symbol(listing, is_spot)).collect();
    let end = start + page.len();
    let cursor = if end < matching.len() { format!("from:{end}") } else { String::new() };
    let mut result = json!({"category": category, "list": page});
    if !is_spot {
        result["nextPageCursor"] = cursor.into();
    }
    bybit_result(&result)
}

fn bybit_symbol(listing: &Listing, is_spot: bool) -> Value {
    let (tick, step) = (unit(listing.price_scale, 0), unit(listing.qty_scale, 0));
    let status = if listing.is_trading { "Trading" } else { "Closed" };
    if is_spot {
        return json!({
            "symbol": listing.name, "baseCoin": listing.base, "quoteCoin": listing.quote, "innovation": "0",
            "status": status, "marginTrading": "none", "stTag": "0",
            "lotSizeFilter": {
                "basePrecision": step, "quotePrecision": "0.00000001", "minOrderQty": step,
                "maxOrderQty": "9000000", "minOrderAmt": "1", "maxOrderAmt": "8000000",
            },
            "priceFilter": {"tickSize": tick},
            "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
        });
    }
    let contract = if listing.is_dated() { "LinearFutures" } else { "LinearPerpetual" };
    json!({
        "symbol": listing.name, "contractType": contract, "status": status, "baseCoin": listing.base,
        "quoteCoin": listing.quote, "settleCoin": listing.quote, "launchTime": "1584230400000", "deliveryTime": "0",
        "deliveryFeeRate": "", "priceScale": listing.price_text(Venue::BybitLinear).decimals.to_string(),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": tick, "maxPrice": "1999999.80", "tickSize": tick},
        "lotSizeFilter": {
            "maxOrderQty": "1190.000", "minOrderQty": step, "qtyStep": step, "postOnlyMaxOrderQty": "1190.000",
            "maxMktOrderQty": "500.000", "minNotionalValue": "5",
        },
        "unifiedMarginTrade": true, "fundingInterval": 480, "copyTrading": "both", "isPreListing": false,
    })
}

async fn bybit_depth(State(exchange): State<Arc<Exchange>>, Query(parameters): Parameters) -> Response {
    if let Err(refusal) = check_category(&exchange, &parameters) {
        return *refusal;
    }
    let default = if exchange.venue == Venue::BybitSpot { 1 } else { 25 };
    let limit = parameters.get("limit").map_or(Ok(default), |limit| limit.parse::<usize>());
    let Ok(limit @ 1..=1_000) = limit else { return bybit_error("params error: limit must be from 1 to 1000") };
    let (Some(name), Feed::Synthetic { market, .. }) = (parameters.get("symbol"), &exchange.feed) else {
        return bybit_error("params error: symbol invalid");
    };
    let mut market = market.lock().expect("no holder panics");
    let Some(index) = market.find(name) else { return bybit_error("params error: symbol invalid") };
    let symbol = market.symbol(index);
    // The update id is that of the 1000-level stream.
    let at = topic_at(symbol, 1_000);
    let topic = &symbol.topics[at];
    let top = |side: &[(u16, u64)]| side[..limit.min(side.len())].to_vec();
    let mut out = BytesMut::new();
    let (bids, asks) = (top(&topic.bids), top(&topic.asks));
    book_data(exchange.venue, symbol, &bids, &asks, topic.update_id, topic.sequence, &mut Json(&mut out));
    let mut result: Value = serde_json::from_slice(&out).expect("the exchange writes JSON");
    result["ts"] = now_ms().into();
    result["cts"] = now_ms().into();
    bybit_result(&result)
}
