//! What stands before every REST request: the venue's budget per address, and what goes wrong on request.
//!
//! ```text
//! request ─► hang · late · status on order ─► weight ─► over? 429 + Retry-After, ignored: 418 (Bybit: 403 at once)
//!                                               └──► rest.rs; Binance's answers say X-MBX-USED-WEIGHT-1M
//! ```
//! Source: binance-spot-api-docs rest-api.md, "Limits" and the weights of each endpoint; Binance USD-M "General Info";
//! bybit-exchange/docs v5/rate-limit (600 requests in 5 seconds, then 403 for 10 minutes).

use super::exchange::{Exchange, stopped};
use super::faults::{Fault, Span};
use super::handshake::retry_after;
use super::limiter::{Limit, Verdict};
use super::stats::{Violation, count};
use crate::market::Venue;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// How long a request that is never answered is kept.
const HANG_PATIENCE: Duration = Duration::from_secs(600);

/// Weight of a request. Bybit counts requests.
fn weight(venue: Venue, path: &str, query: &str) -> u32 {
    let is_depth = path.ends_with("/depth");
    let limit =
        query.split('&').find_map(|pair| pair.strip_prefix("limit=")).and_then(|limit| limit.parse::<u32>().ok());
    match venue {
        Venue::BybitSpot | Venue::BybitLinear => 1,
        Venue::BinanceSpot if is_depth => match limit.unwrap_or(100) {
            0..=100 => 5,
            101..=500 => 25,
            501..=1_000 => 50,
            _ => 250,
        },
        Venue::BinanceSpot if path.ends_with("/historicalTrades") => 25,
        Venue::BinanceSpot if path.ends_with("/aggTrades") => 4,
        Venue::BinanceSpot => 20,
        Venue::BinanceUsdm if is_depth => match limit.unwrap_or(500) {
            0..=50 => 2,
            51..=100 => 5,
            101..=500 => 10,
            _ => 20,
        },
        Venue::BinanceUsdm if path.ends_with("Trades") => 20,
        Venue::BinanceUsdm => 1,
    }
}

/// The venue's own budget, how long a ban lasts, and whether it comes without a warning.
fn budget(venue: Venue) -> (Limit, Duration, bool) {
    match venue {
        Venue::BinanceSpot => (Limit { count: 6_000, window: MINUTE }, 2 * MINUTE, false),
        Venue::BinanceUsdm => (Limit { count: 2_400, window: MINUTE }, 2 * MINUTE, false),
        Venue::BybitSpot | Venue::BybitLinear => {
            (Limit { count: 600, window: Duration::from_secs(5) }, 10 * MINUTE, true)
        }
    }
}

/// What strikes one request.
#[derive(Default)]
struct Struck {
    status: Option<(u16, Duration)>,
    delay: Option<Duration>,
    is_hung: bool,
    limit: Option<Limit>,
    is_old: bool,
}

/// A depth snapshot is to be that of the book as it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct OldDepth(pub(super) bool);

fn struck(exchange: &Exchange, number: u64) -> Struck {
    let (venue, now) = (exchange.venue, Instant::now());
    let faults = exchange.faults.lock().expect("no holder panics");
    let span = |fault: &Fault| if let Fault::SlowRest(span) = fault { Some(*span) } else { None };
    Struck {
        status: faults.find(venue, number, |fault| match fault {
            Fault::RefuseRest { status, window } => faults.is_within(*window, now).map(|left| (*status, left)),
            _ => None,
        }),
        delay: faults.find(venue, number, span).map(|span| faults.draw(span, venue, number)),
        is_hung: faults.find(venue, number, |fault| (*fault == Fault::HangRest).then_some(())).is_some(),
        limit: faults.find(venue, number, |fault| match fault {
            Fault::RestLimit(count, window) => Some(Limit { count: *count, window: *window }),
            _ => None,
        }),
        is_old: faults.find(venue, number, |fault| (*fault == Fault::OldDepth).then_some(())).is_some(),
    }
}

fn refusal(venue: Venue, status: u16, wait: Duration) -> Response {
    let body = if matches!(venue, Venue::BinanceSpot | Venue::BinanceUsdm) {
        r#"{"code":-1003,"msg":"Too many requests; current limit of IP is exceeded."}"#
    } else {
        "access too frequent"
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if matches!(status.as_u16(), 418 | 429 | 503) {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after(wait));
    }
    response
}

/// Stands before every request.
pub(super) async fn guard(
    State(exchange): State<Arc<Exchange>>,
    Extension(address): Extension<IpAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let (venue, counters) = (exchange.venue, &exchange.counters);
    let number = counters.rest_requests.fetch_add(1, Ordering::Relaxed) + 1;
    let struck = struck(&exchange, number);
    let wait = if struck.is_hung { Some(HANG_PATIENCE) } else { struck.delay };
    if let Some(wait) = wait {
        counters.strike(&Fault::SlowRest(Span::exactly(wait)));
        let mut stop = exchange.stop.clone();
        tokio::select! { biased;
            () = stopped(&mut stop) => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    if let Some((status, left)) = struck.status {
        counters.strike(&Fault::RefuseRest { status, window: None });
        return refusal(venue, status, left);
    }
    request.extensions_mut().insert(OldDepth(struck.is_old));
    let (own, own_ban, is_strict) = budget(venue);
    // A scaled budget scales its ban.
    let (limit, ban) = match struck.limit {
        Some(limit) => (limit, own_ban.mul_f64(limit.window.as_secs_f64() / own.window.as_secs_f64())),
        None => (own, own_ban),
    };
    let weight = weight(venue, request.uri().path(), request.uri().query().unwrap_or(""));
    let verdict = {
        let mut weights = exchange.weights.lock().expect("no holder panics");
        weights.admit(address, weight, limit, (ban, is_strict), Instant::now())
    };
    let (used, mut response) = match verdict {
        Verdict::Admitted(used) => (used, next.run(request).await),
        Verdict::Slower(used, wait) => {
            // The first is a misjudgement, the next ones came although they were told.
            counters.violate(if used.saturating_sub(weight) <= limit.count {
                Violation::RestWeight
            } else {
                Violation::RestIgnored
            });
            (used, refusal(venue, 429, wait))
        }
        Verdict::Banned(used, wait) => {
            counters.violate(if is_strict { Violation::RestWeight } else { Violation::RestIgnored });
            (used, refusal(venue, if is_strict { 403 } else { 418 }, wait))
        }
    };
    if matches!(venue, Venue::BinanceSpot | Venue::BinanceUsdm) {
        let name = HeaderName::from_static("x-mbx-used-weight-1m");
        response.headers_mut().insert(name, HeaderValue::from(used));
    }
    count(&counters.rest_answers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_weighs_what_the_venue_says() {
        for (venue, path, query, expected) in [
            (Venue::BinanceSpot, "/api/v3/depth", "symbol=BTCUSDT&limit=5000", 250),
            (Venue::BinanceSpot, "/api/v3/depth", "limit=1000", 50),
            (Venue::BinanceSpot, "/api/v3/depth", "symbol=BTCUSDT", 5),
            (Venue::BinanceSpot, "/api/v3/exchangeInfo", "", 20),
            (Venue::BinanceSpot, "/api/v3/historicalTrades", "symbol=BTCUSDT&fromId=7&limit=1000", 25),
            (Venue::BinanceSpot, "/api/v3/aggTrades", "symbol=BTCUSDT&fromId=7", 4),
            (Venue::BinanceUsdm, "/fapi/v1/aggTrades", "symbol=BTCUSDT&fromId=7", 20),
            (Venue::BinanceUsdm, "/fapi/v1/depth", "symbol=BTCUSDT&limit=1000", 20),
            (Venue::BinanceUsdm, "/fapi/v1/depth", "", 10),
            (Venue::BinanceUsdm, "/fapi/v1/exchangeInfo", "", 1),
            (Venue::BybitSpot, "/v5/market/orderbook", "limit=200", 1),
        ] {
            assert_eq!(weight(venue, path, query), expected, "{venue} {path}?{query}");
        }
    }
}
