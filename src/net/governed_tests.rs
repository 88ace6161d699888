//! REST through the governor, over real loopback sockets. No time is measured: the server notes, at each request, whether
//! the governor had forbidden it.

use super::*;
use crate::market::Venue;
use crate::venue::protocol;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use std::collections::VecDeque;
use std::time::Duration;
use url::Url;

/// What the server does next, and what it saw.
#[derive(Default)]
struct Script {
    answers: VecDeque<(StatusCode, HeaderMap)>,
    /// For each request, its path, and whether its budget was held when it came.
    seen: Vec<(String, bool)>,
    watched: Option<(Arc<SharedGovernor>, BudgetId)>,
}

struct Venued {
    script: Arc<Mutex<Script>>,
    governor: Arc<SharedGovernor>,
    rest: GovernedRest,
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// A server that answers with the script, then with 200 and an empty body.
async fn venue(limits: BudgetLimits, answers: &[(StatusCode, HeaderMap)]) -> Venued {
    let script = Arc::new(Mutex::new(Script { answers: answers.iter().cloned().collect(), ..Script::default() }));
    let of_server = Arc::clone(&script);
    let handler = async move |uri: axum::http::Uri| {
        let mut script = of_server.lock().unwrap();
        let (governor, budget) = script.watched.clone().unwrap();
        let is_held = governor.lock().held_until(budget, mono_now()).is_some();
        script.seen.push((uri.path().to_owned(), is_held));
        script.answers.pop_front().unwrap_or((StatusCode::OK, HeaderMap::new())).into_response()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = RestOptions::new(Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    let governor = SharedGovernor::new(GovernorSettings::default());
    let rest = GovernedRest::new(&options, protocol(Venue::BinanceSpot), Arc::clone(&governor), limits).unwrap();
    script.lock().unwrap().watched = Some((Arc::clone(&governor), rest.budget()));
    Venued { script, governor, rest }
}

fn limits() -> BudgetLimits {
    BudgetLimits::of(protocol(Venue::BinanceSpot))
}

/// A limit of which the half, ours, is this weight in a window.
fn limits_of(weight: u32, window: Duration) -> BudgetLimits {
    BudgetLimits { rest_weight: Some((2 * weight, window)), ..limits() }
}

impl Venued {
    fn seen(&self) -> Vec<(String, bool)> {
        self.script.lock().unwrap().seen.clone()
    }

    fn status(&self) -> crate::control::BudgetStatus {
        self.governor.lock().status(mono_now()).budgets.remove(0)
    }
}

/// Lets it run until it waits, which it is expected to do; gives it back.
async fn waits<T: Send + 'static>(
    venue: &Venued,
    get: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let before = venue.status().rest.waiting;
    let task = tokio::spawn(get);
    while venue.status().rest.waiting == before {
        assert!(!task.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test]
async fn after_a_429_nothing_goes_before_retry_after() {
    let retry = (StatusCode::TOO_MANY_REQUESTS, headers(&[("Retry-After", "1")]));
    let venue = venue(limits(), &[retry]).await;
    let error = venue.rest.get("/first", 1).await.unwrap_err();
    assert!(matches!(error, RestError::Refused { status: 429, .. }), "{error}");
    let gets = ["/second", "/third"].map(|path| {
        let rest = venue.rest.clone();
        tokio::spawn(async move { rest.get(path, 1).await.map(|reply| reply.answer.status) })
    });
    for get in gets {
        assert_eq!(get.await.unwrap().unwrap(), 200);
    }
    let seen = venue.seen();
    assert_eq!(seen.iter().map(|(_, is_held)| *is_held).collect::<Vec<_>>(), [false; 3], "{seen:?}");
    let status = venue.status();
    assert_eq!((status.answers.too_many_requests, status.rest.granted, status.rest.delayed), (1, 3, 2));
}

#[tokio::test]
async fn a_ban_stops_rest_and_connects_and_who_gives_up_gives_its_place_back() {
    let venue = venue(limits(), &[(StatusCode::IM_A_TEAPOT, HeaderMap::new())]).await;
    let error = venue.rest.get("/first", 1).await.unwrap_err();
    assert!(matches!(error, RestError::Refused { status: 418, .. }), "{error}");
    let rest = venue.rest.clone();
    let second = waits(&venue, async move { rest.get("/second", 1).await }).await;
    let permit = venue.governor.lock().connect(venue.rest.budget(), mono_now());
    assert!(matches!(permit, Permit::At { .. }), "{permit:?}");
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    let status = venue.status();
    assert_eq!((status.rest.waiting, status.rest.cancelled, status.held_by_status), (0, 1, Some(418)));
    assert_eq!(venue.seen().len(), 1);
}

#[tokio::test]
async fn the_used_weight_of_a_success_holds_the_next_back_until_less_is_used() {
    let nearly_full = (StatusCode::OK, headers(&[("X-MBX-USED-WEIGHT-1M", "5400")]));
    let venue = venue(limits(), &[nearly_full]).await;
    let reply = venue.rest.get("/first", 1).await.unwrap();
    assert_eq!(reply.answer.used_weight, Some(5_400));
    assert_eq!((venue.status().rest_used_by_all, venue.status().rest_limit), (Some(5_400), Some(6_000)));
    let rest = venue.rest.clone();
    let second = waits(&venue, async move { rest.get("/second", 1).await }).await;
    assert_eq!(venue.seen().len(), 1);
    // Another answer says that the window has turned: who waits is woken by it, long before the minute is over.
    let turned = RestAnswer { status: 200, used_weight: Some(1), retry_after: None };
    venue.governor.lock().rest_answered(venue.rest.budget(), turned, mono_now());
    second.await.unwrap().unwrap();
    assert_eq!(venue.seen().len(), 2);
}

#[tokio::test]
async fn many_at_once_are_let_through_in_the_order_of_asking() {
    let venue = venue(limits_of(3, Duration::from_millis(40)), &[]).await;
    let mut gets = Vec::new();
    for number in 0..12 {
        let rest = venue.rest.clone();
        let get = async move { rest.get(&format!("/{number}"), 1).await.map(drop) };
        if number < 3 {
            get.await.unwrap();
        } else {
            gets.push(tokio::spawn(get));
        }
    }
    for get in gets {
        get.await.unwrap().unwrap();
    }
    let mut paths: Vec<usize> = venue.seen().iter().map(|(path, _)| path[1..].parse().unwrap()).collect();
    // Those of one window may overtake each other on the wire, never those of another.
    for window in paths.chunks_mut(3) {
        window.sort_unstable();
    }
    assert_eq!(paths, (0..12).collect::<Vec<_>>());
    assert_eq!((venue.status().rest.granted, venue.status().rest.waiting), (12, 0));
}

#[tokio::test]
async fn what_is_heavier_than_our_share_is_not_asked() {
    let venue = venue(limits_of(100, Duration::from_secs(1)), &[]).await;
    let error = venue.rest.depth("BTCUSDT", 5_000).await.unwrap_err().to_string();
    let expected = "not asked: a request of weight 250 is over our share of the venue's budget, 100";
    assert!(error.starts_with("GET /api/v3/depth?symbol=BTCUSDT&limit=5000: ") && error.ends_with(expected), "{error}");
    venue.rest.depth("BTCUSDT", 100).await.unwrap();
    assert_eq!(venue.status().rest.used, 5);
    assert_eq!(venue.seen().len(), 1);
}

#[tokio::test]
async fn every_page_of_an_instrument_list_is_paid_for() {
    let venue = venue(limits(), &[]).await;
    let error = venue.rest.instruments(None).await.unwrap_err();
    assert!(matches!(error, RestError::Instruments { .. }), "an empty body is no list: {error}");
    assert_eq!((venue.status().rest.used, venue.seen().len()), (20, 1));
}
