//! Tokens over real loopback sockets, from a small server.

use super::*;
use crate::net::testing::{TestCa, read_request, serve_one};
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER as RETRY_AFTER_NAME;
use axum::routing::post;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::AsyncWriteExt;

const TOKEN: &str = "s3cret/+token";

async fn serve(router: Router) -> TokenBootstrap {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    TokenBootstrap::kucoin(Url::parse(&format!("http://{address}/api/v1/bullet-public?key=in-the-query")).unwrap())
}

fn answers(answer: impl Fn(u32) -> String + Clone + Send + Sync + 'static) -> Router {
    let asked = Arc::new(AtomicU32::new(0));
    let handler = async move || answer(asked.fetch_add(1, Ordering::Relaxed));
    Router::new().route("/api/v1/bullet-public", post(handler))
}

fn kucoin(token: &str, endpoint: &str) -> String {
    let server = serde_json::json!({"endpoint": endpoint, "pingInterval": 18_000, "pingTimeout": 10_000});
    serde_json::json!({"code": "200000", "data": {"token": token, "instanceServers": [server]}}).to_string()
}

fn known() -> Url {
    Url::parse("ws://known.example/ws").unwrap()
}

async fn failed(bootstrap: &TokenBootstrap) -> TokenError {
    let error = bootstrap.run(&known()).await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}"), format!("{bootstrap:?}")] {
        assert!(!text.contains("s3cret") && !text.contains("in-the-query"), "{text}");
    }
    error
}

#[tokio::test]
async fn a_token_and_its_endpoint_make_the_url_afresh_each_time() {
    let bootstrap =
        serve(answers(|count| kucoin(&format!("{TOKEN}{count}"), "wss://ws.kucoin.example/endpoint?a=b"))).await;
    for count in 0..2 {
        let url = bootstrap.run(&known()).await.unwrap();
        assert_eq!(url.as_str(), format!("wss://ws.kucoin.example/endpoint?a=b&token=s3cret%2F%2Btoken{count}"));
    }
}

#[tokio::test]
async fn where_the_answer_names_no_endpoint_the_known_one_is_used() {
    let mut bootstrap = serve(answers(|_| r#"{"t":"s3cret"}"#.to_owned())).await;
    bootstrap.token_pointer = "/t".to_owned();
    bootstrap.endpoint_pointer = None;
    bootstrap.query_name = "auth key".to_owned();
    assert_eq!(bootstrap.run(&known()).await.unwrap().as_str(), "ws://known.example/ws?auth+key=s3cret");
}

#[tokio::test]
async fn an_answer_without_what_was_asked_for_says_where_it_was_looked_for() {
    for (answer, pointer) in [
        ("s3cret", ""),
        (r#"{"data":{}}"#, "/data/token"),
        (r#"{"data":{"token":7}}"#, "/data/token"),
        (r#"{"data":{"token":""}}"#, "/data/token"),
        (r#"{"data":{"token":"s3cret","instanceServers":[]}}"#, "/data/instanceServers/0/endpoint"),
    ] {
        let bootstrap = serve(answers(move |_| answer.to_owned())).await;
        let error = failed(&bootstrap).await;
        assert!(matches!(&error, TokenError::Missing { pointer: at, .. } if at == pointer), "{answer}: {error}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_no_websocket_is_refused() {
    for (endpoint, expected) in [("nonsense", "is no URL"), ("https://host/", "is no WebSocket")] {
        let bootstrap = serve(answers(move |_| kucoin(TOKEN, endpoint))).await;
        let error = failed(&bootstrap).await;
        assert!(matches!(error, TokenError::Endpoint { what, .. } if what == expected), "{error}");
    }
}

#[tokio::test]
async fn a_token_that_came_encrypted_never_goes_out_in_the_clear() {
    for (endpoint, is_good) in [("ws://host/", false), ("wss://host/", true)] {
        let ca = TestCa::new();
        let acceptor = ca.acceptor("localhost");
        let (address, _served) = serve_one(async move |socket| {
            let mut socket = acceptor.accept(socket).await.unwrap();
            read_request(&mut socket).await;
            let body = kucoin(TOKEN, endpoint);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            socket.write_all((head + &body).as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
        })
        .await;
        let mut bootstrap =
            TokenBootstrap::kucoin(Url::parse(&format!("https://localhost:{}/", address.port())).unwrap());
        bootstrap.tls = Some(ca.client());
        if is_good {
            assert_eq!(bootstrap.run(&known()).await.unwrap().as_str(), "wss://host/?token=s3cret%2F%2Btoken");
        } else {
            let error = failed(&bootstrap).await;
            assert!(matches!(error, TokenError::Endpoint { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn a_refusal_tells_status_wait_and_words_but_no_header_of_ours() {
    let refuse = async || {
        (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER_NAME, "7")], "key s3cret-key is over its limit".to_owned())
    };
    let mut bootstrap = serve(Router::new().route("/api/v1/bullet-public", post(refuse))).await;
    bootstrap.headers = vec![("KC-API-KEY".to_owned(), Secret::new("s3cret-key"))];
    let error = failed(&bootstrap).await;
    let TokenError::Refused { status, retry_after, body, .. } = &error else { panic!("{error}") };
    assert_eq!((*status, *retry_after), (429, Some(Duration::from_secs(7))));
    assert_eq!(body, "key *** is over its limit");
}

#[tokio::test]
async fn a_server_that_never_ends_is_stopped_by_time_and_by_size() {
    let mut bootstrap = serve(answers(|_| "x".repeat(1_000))).await;
    bootstrap.max_body_bytes = 999;
    assert!(matches!(failed(&bootstrap).await, TokenError::TooLong { max_body_bytes: 999, .. }));

    let (address, _held) = serve_one(async |socket| {
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    bootstrap.url = Url::parse(&format!("http://{address}/")).unwrap();
    bootstrap.timeout = Duration::from_millis(100);
    assert!(matches!(failed(&bootstrap).await, TokenError::TimedOut { .. }));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_before_it_is() {
    for url in ["ftp://host/", "https://user:s3cret@host/"] {
        let error = failed(&TokenBootstrap::kucoin(Url::parse(url).unwrap())).await;
        assert!(matches!(error, TokenError::Url { .. }), "{error}");
    }
    let mut bootstrap = TokenBootstrap::kucoin(Url::parse("http://127.0.0.1:1/").unwrap());
    assert!(matches!(failed(&bootstrap).await, TokenError::Request { .. }), "nobody listens");
    bootstrap.headers = vec![("X-Key".to_owned(), Secret::new("s3cret\n"))];
    assert!(matches!(failed(&bootstrap).await, TokenError::Header { .. }));
}
