//! REST over real loopback sockets, against a small server.

use super::*;
use crate::market::Venue;
use crate::net::testing::{TestCa, serve_one};
use crate::venue::protocol;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use std::collections::HashMap;
use std::sync::Mutex;

async fn serve(router: Router) -> RestOptions {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    RestOptions::new(Url::parse(&format!("http://{address}")).unwrap())
}

/// A list read without a governor.
async fn instruments(
    options: &RestOptions,
    protocol: &'static dyn Protocol,
    wanted: Option<&HashSet<String>>,
) -> Result<InstrumentList, RestError> {
    let client = RestClient::new(options)?;
    let mut pages = client.pages(protocol, wanted);
    loop {
        let path = pages.path()?;
        let body = client.get(&path).await?.body;
        if let Some(list) = pages.take(&path, &body)? {
            return Ok(list);
        }
    }
}

/// Bybit's instrument list: two symbols a page, as many pages as asked, each naming the next by its number.
async fn pages(page_count: u32) -> (RestOptions, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let handler = async move |State(asked): State<Arc<Mutex<Vec<String>>>>,
                              Query(query): Query<HashMap<String, String>>| {
        let cursor = query.get("cursor").cloned().unwrap_or_default();
        let page: u32 = cursor.parse().unwrap_or(0);
        asked.lock().unwrap().push(cursor);
        let next = if page + 1 < page_count { (page + 1).to_string() } else { String::new() };
        let row = |name: String| {
            serde_json::json!({
                "symbol": name, "baseCoin": name.trim_end_matches("USDT"), "quoteCoin": "USDT", "status": "Trading",
                "contractType": "LinearPerpetual", "settleCoin": "USDT", "deliveryTime": "0", "priceScale": "2",
                "priceFilter": {"tickSize": "0.10", "minPrice": "0.10", "maxPrice": "199999.80"},
                "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxOrderQty": "100"},
            })
        };
        let list = [row(format!("A{page}USDT")), row(format!("B{page}USDT"))];
        axum::Json(serde_json::json!({
            "retCode": 0, "retMsg": "OK",
            "result": {"category": "linear", "list": list, "nextPageCursor": next},
            "retExtInfo": {}, "time": 1
        }))
    };
    let path = protocol(Venue::BybitLinear).instruments_path("");
    let path = path.split('?').next().unwrap().to_owned();
    let router = Router::new().route(&path, get(handler)).with_state(Arc::clone(&asked));
    (serve(router).await, asked)
}

#[tokio::test]
async fn an_instrument_list_is_read_to_its_last_page() {
    let (options, asked) = pages(3).await;
    let list = instruments(&options, protocol(Venue::BybitLinear), None).await.unwrap();
    assert!(list.is_complete);
    let names: Vec<&str> = list.specs.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["A0USDT", "B0USDT", "A1USDT", "B1USDT", "A2USDT", "B2USDT"]);
    assert_eq!(*asked.lock().unwrap(), ["", "1", "2"]);
}

#[tokio::test]
async fn it_ends_with_the_page_that_holds_the_last_wanted_name() {
    let (options, asked) = pages(50).await;
    let wanted = HashSet::from(["A0USDT".to_owned(), "B1USDT".to_owned()]);
    let list = instruments(&options, protocol(Venue::BybitLinear), Some(&wanted)).await.unwrap();
    let names: Vec<&str> = list.specs.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["A0USDT", "B0USDT", "A1USDT", "B1USDT"], "every row of the pages read");
    assert!(!list.is_complete, "more would have come");
    assert_eq!(asked.lock().unwrap().len(), 2);
    let wanted = HashSet::from(["A0USDT".to_owned(), "NOTLISTED".to_owned()]);
    let (options, asked) = pages(3).await;
    let list = instruments(&options, protocol(Venue::BybitLinear), Some(&wanted)).await.unwrap();
    assert_eq!((list.is_complete, asked.lock().unwrap().len()), (true, 3));
}

#[tokio::test]
async fn a_list_without_end_is_stopped_at_the_limit() {
    let (mut options, asked) = pages(u32::MAX).await;
    options.max_pages = 4;
    let error = instruments(&options, protocol(Venue::BybitLinear), None).await.unwrap_err();
    assert!(matches!(error, RestError::Pages { max_pages: 4, .. }), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_body_that_is_no_instrument_list_names_the_url() {
    let options = serve(Router::new().fallback(async || "{\"what\":1}")).await;
    let error = instruments(&options, protocol(Venue::BinanceSpot), None).await.unwrap_err();
    assert!(matches!(error, RestError::Instruments { .. }), "{error}");
    assert!(error.to_string().starts_with("GET http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn a_refusal_carries_status_retry_after_and_the_bodys_beginning() {
    let answer = (StatusCode::IM_A_TEAPOT, [("Retry-After", "120")], "x".repeat(2000));
    let options = serve(Router::new().fallback(async move || answer.clone())).await;
    let error = RestClient::new(&options).unwrap().get("/api").await.unwrap_err();
    let RestError::Refused { status: 418, retry_after, body, .. } = &error else { panic!("{error}") };
    assert_eq!((*retry_after, body.len()), (Some(Duration::from_secs(120)), SAMPLE_BYTES));
    assert!(error.to_string().contains("HTTP status 418, retry after 120 s: xxx"), "{error}");
}

#[tokio::test]
async fn every_answer_tells_the_used_weight_and_one_that_is_no_number_is_none() {
    for (status, value, used_weight) in [
        (StatusCode::OK, "1234", Some(1234)),
        (StatusCode::TOO_MANY_REQUESTS, " 6001 ", Some(6001)),
        (StatusCode::NOT_FOUND, "1", Some(1)),
        (StatusCode::OK, "-1", None),
        (StatusCode::OK, "99999999999", None),
        (StatusCode::OK, "many", None),
    ] {
        let answer = (status, [("x-mbx-used-weight-1m", value), ("Retry-After", "3")], "body");
        let mut options = serve(Router::new().fallback(async move || answer)).await;
        for (header, expected) in [(Some("X-MBX-USED-WEIGHT-1M"), used_weight), (None, None)] {
            options.used_weight_header = header;
            let mut answer = RestAnswer::default();
            let _ = RestClient::new(&options).unwrap().ask("/", &mut answer).await;
            let retry_after = Some(Duration::from_secs(3));
            assert_eq!(answer, RestAnswer { status: status.as_u16(), used_weight: expected, retry_after }, "{value}");
        }
    }
}

#[tokio::test]
async fn an_answer_whose_body_fails_has_told_its_head_and_none_at_all_has_no_status() {
    let answer = ([("used", "77")], "x".repeat(1000));
    let mut options = serve(Router::new().fallback(async move || answer.clone())).await;
    (options.used_weight_header, options.max_body_bytes) = (Some("used"), 10);
    let mut answer = RestAnswer::default();
    let error = RestClient::new(&options).unwrap().ask("/", &mut answer).await.unwrap_err();
    assert!(matches!(error, RestError::TooLong { .. }), "{error}");
    assert_eq!(answer, RestAnswer { status: 200, used_weight: Some(77), retry_after: None });
    let (address, served) = serve_one(async |socket: tokio::net::TcpStream| drop(socket)).await;
    let options = RestOptions::new(Url::parse(&format!("http://{address}")).unwrap());
    let mut answer = RestAnswer::default();
    let error = RestClient::new(&options).unwrap().ask("/", &mut answer).await.unwrap_err();
    assert!(matches!(error, RestError::Request { .. }), "{error}");
    assert_eq!(answer, RestAnswer::default());
    served.await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let answer = (StatusCode::FOUND, [("Location", "http://127.0.0.1:9/")]);
    let options = serve(Router::new().fallback(async move || answer)).await;
    let error = RestClient::new(&options).unwrap().get("/").await.unwrap_err();
    assert!(matches!(error, RestError::Refused { status: 302, .. }), "{error}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let mut options = serve(Router::new().fallback(async || "x".repeat(1000))).await;
    options.max_body_bytes = 1000;
    assert_eq!(RestClient::new(&options).unwrap().get("/").await.unwrap().body.len(), 1000);
    options.max_body_bytes = 999;
    let error = RestClient::new(&options).unwrap().get("/").await.unwrap_err();
    assert!(matches!(error, RestError::TooLong { max_body_bytes: 999, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_hits_the_time_out() {
    let mut options = serve(Router::new().fallback(async || std::future::pending::<String>().await)).await;
    options.timeout = Duration::from_millis(100);
    let error = RestClient::new(&options).unwrap().get("/slow").await.unwrap_err();
    assert!(error.to_string().ends_with("/slow: no end after the time-out of 100ms"), "{error}");
}

#[tokio::test]
async fn https_trusts_the_ca_file_and_nobody_else() {
    let ca = TestCa::new();
    for is_trusted in [true, false] {
        let acceptor = ca.acceptor("127.0.0.1");
        let (address, served) = serve_one(async move |socket: tokio::net::TcpStream| {
            use tokio::io::AsyncWriteExt;
            let Ok(mut stream) = acceptor.accept(socket).await else { return };
            crate::net::testing::read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            stream.flush().await.unwrap();
        })
        .await;
        let mut options = RestOptions::new(Url::parse(&format!("https://{address}")).unwrap());
        options.tls = is_trusted.then(|| ca.client());
        let answer = RestClient::new(&options).unwrap().get("/").await;
        match answer {
            Ok(reply) => assert!(is_trusted && reply.body == b"ok"),
            Err(error) => assert!(!is_trusted && error.to_string().contains("UnknownIssuer"), "{error}"),
        }
        served.await.unwrap();
    }
}

#[tokio::test]
async fn headers_are_sent_and_never_shown() {
    let echo = async |headers: HeaderMap| headers["x-key"].to_str().unwrap().to_owned();
    let mut options = serve(Router::new().fallback(echo)).await;
    options.headers = vec![("X-Key".to_owned(), Secret::new("s3cret"))];
    assert!(!format!("{options:?}").contains("s3cret"));
    assert_eq!(RestClient::new(&options).unwrap().get("/").await.unwrap().body, b"s3cret");
    options.headers = vec![("X-Key".to_owned(), Secret::new("s3cret\n"))];
    assert_eq!(RestClient::new(&options).unwrap_err().to_string(), "header `X-Key` cannot be sent");
}

#[tokio::test]
async fn urls_that_cannot_be_asked_are_refused() {
    for url in ["ftp://host/", "http://user:p4ss@host/"] {
        let text = RestClient::new(&RestOptions::new(Url::parse(url).unwrap())).unwrap_err().to_string();
        assert!(!text.contains("p4ss"), "{text}");
    }
    let client = RestClient::new(&RestOptions::new(Url::parse("http://127.0.0.1:9").unwrap())).unwrap();
    for path in ["", "api", "//127.0.0.1:8/"] {
        assert!(matches!(client.get(path).await, Err(RestError::Url { .. })), "{path}");
    }
}
