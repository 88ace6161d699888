//! The request/response client over real sockets, against a server that answers as each test tells it to.
//!
//! ```text
//! RequestClient ◄── ws or wss on loopback ──► listener: one task a connection, the test's script with its number
//! ```
//! What the client does is seen from the server and from its status. Nothing waits for a time where it can wait for a fact.

#[path = "support/certificate.rs"]
mod certificate;

use axum::Router;
use axum::routing::post;
use certificate::certificate;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tickwire::control::logins::{BYBIT, OKX_HEADERS};
use tickwire::control::{
    Authentication, BudgetLimits, BybitCodec, Credentials, GovernorSettings, HeartbeatSettings, JsonRpc, NotSent, Ping,
    PingSettings, RequestEnd, RequestRefusal,
};
use tickwire::engine::{RequestClient, RequestClientOptions, RequestClientStatus, RequestError};
use tickwire::market::Venue;
use tickwire::net::{Message, SharedGovernor, TokenBootstrap, client_config};
use tickwire::venue::protocol;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{self, protocol::CloseFrame};
use url::Url;

/// Nothing is waited for this long when things go well.
const PATIENCE: Duration = Duration::from_secs(30);

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One connection of the client, as the server's script sees it.
struct Peer {
    socket: WebSocketStream<Box<dyn Io>>,
    path: String,
}

impl Peer {
    /// The next text; `None` once the client has gone.
    async fn text(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await? {
                Ok(tungstenite::Message::Text(text)) => return Some(text.to_string()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next request.
    async fn request(&mut self) -> Option<Value> {
        let text = self.text().await?;
        Some(serde_json::from_str(&text).expect("a request is JSON"))
    }

    async fn send(&mut self, message: impl ToString) {
        // The client may have gone, which the test sees elsewhere.
        let _ = self.socket.send(tungstenite::Message::text(message.to_string())).await;
    }

    /// Answers a request with its own method.
    async fn answer(&mut self, request: &Value) {
        self.send(json!({"jsonrpc": "2.0", "id": request["id"], "result": request["method"]})).await;
    }

    async fn answer_all(&mut self) {
        while let Some(request) = self.request().await {
            self.answer(&request).await;
        }
    }

    /// Lets the client in.
    async fn log_in(&mut self) -> Option<Value> {
        let login = self.request().await?;
        self.send(json!({"success": true, "ret_msg": "", "op": "auth", "conn_id": "c"})).await;
        Some(login)
    }

    /// Reads until the client closes: its close code.
    async fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some(Ok(message)) = self.socket.next().await {
            if let tungstenite::Message::Close(Some(CloseFrame { code: found, .. })) = message {
                code = Some(found.into());
            }
        }
        code
    }
}

type Script = Arc<dyn Fn(usize, Peer) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A listener on loopback, for as long as the test's runtime.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start<F>(script: impl Fn(usize, Peer) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.unwrap(), None, |_| true, script)
    }

    /// `admits` sees each upgrade request; one that it does not admit is answered with 401.
    fn listen<F>(
        listener: TcpListener,
        tls: Option<tokio_rustls::TlsAcceptor>,
        admits: impl Fn(&Request) -> bool + Clone + Send + Sync + 'static,
        script: impl Fn(usize, Peer) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let script: Script = Arc::new(move |number, peer| Box::pin(script(number, peer)));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (script, tls, admits) = (Arc::clone(&script), tls.clone(), admits.clone());
                tokio::spawn(async move {
                    socket.set_nodelay(true).unwrap();
                    let socket: Box<dyn Io> = match tls {
                        None => Box::new(socket),
                        Some(tls) => Box::new(tls.accept(socket).await.unwrap()),
                    };
                    let mut path = String::new();
                    #[expect(clippy::result_large_err, reason = "the library's own signature")]
                    let on_request = |request: &Request, response: Response| {
                        path = request.uri().to_string();
                        if admits(request) {
                            return Ok(response);
                        }
                        let mut refusal = ErrorResponse::new(Some("no".to_owned()));
                        *refusal.status_mut() = tungstenite::http::StatusCode::UNAUTHORIZED;
                        Err(refusal)
                    };
                    // A client may be stopped while it connects, or be refused.
                    if let Ok(socket) = tokio_tungstenite::accept_hdr_async(socket, on_request).await {
                        script(number, Peer { socket, path }).await;
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn options(&self) -> RequestClientOptions {
        let url = Url::parse(&format!("ws://{}/ws", self.address)).unwrap();
        let mut options = RequestClientOptions::new("desk", url, Arc::new(JsonRpc));
        options.machine.reconnect.base = Duration::from_millis(1);
        options.machine.reconnect.cap = Duration::from_millis(20);
        options.request_timeout = PATIENCE;
        options
    }

    fn bybit_options(&self) -> RequestClientOptions {
        let mut options = self.options();
        options.machine.codec = Arc::new(BybitCodec);
        options.machine.authentication = Some(Authentication::new(&BYBIT, Credentials::new("KEY", "SECRET")));
        options
    }

    fn client(&self) -> RequestClient {
        RequestClient::connect(self.options()).0
    }
}

/// Waits until the client's status is as it should be.
async fn until(
    client: &RequestClient,
    what: &str,
    is_so: impl Fn(&RequestClientStatus) -> bool,
) -> RequestClientStatus {
    let waiting = async {
        loop {
            let status = client.status();
            if is_so(&status) {
                return status;
            }
            // A status is read, not announced.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let status = tokio::time::timeout(PATIENCE, waiting).await;
    status.unwrap_or_else(|_| panic!("not seen in {PATIENCE:?}: {what}\n{:#?}", client.status()))
}

/// Nothing is under way, and every request has ended exactly once.
fn assert_balanced(client: &RequestClient) {
    let status = client.status().machine;
    let counters = status.requests;
    assert!(status.pending.is_empty() && status.queued == 0, "{status:#?}");
    let ended = counters.answered
        + counters.refused
        + counters.timed_out
        + counters.unknown
        + counters.not_sent
        + counters.abandoned;
    assert_eq!(counters.opened, ended, "{counters:?}");
}

/// Three requests answered in the opposite order.
async fn reverse(_: usize, mut peer: Peer) {
    let mut requests = Vec::new();
    while requests.len() < 3 {
        let Some(request) = peer.request().await else { return };
        requests.push(request);
    }
    for request in requests.iter().rev() {
        peer.answer(request).await;
    }
    peer.close_code().await;
}

async fn assert_each_finds_its_own(client: &RequestClient) {
    let (a, b, c) =
        tokio::join!(client.request("a", ()), client.request("b", [1]), client.request("c", json!({"x": 1})));
    assert_eq!([a.unwrap(), b.unwrap(), c.unwrap()], ["a", "b", "c"]);
    assert!(client.is_connected());
    assert_eq!(client.close().await, RequestEnd::Closed);
    assert!(!client.is_connected());
    assert_balanced(client);
}

#[tokio::test]
async fn answers_in_any_order_find_who_asked() {
    let server = Server::start(reverse).await;
    assert_each_finds_its_own(&server.client()).await;
}

#[tokio::test]
async fn and_so_they_do_over_tls() {
    let (config, ca) = certificate("localhost");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::listen(listener, Some(config.into()), |_| true, reverse);
    let mut options = server.options();
    options.connect.url = Url::parse(&format!("wss://localhost:{}/ws", server.address.port())).unwrap();
    let file = std::env::temp_dir().join(format!("tickwire-requests-{}.pem", std::process::id()));
    std::fs::write(&file, ca).unwrap();
    options.connect.tls = Some(client_config(Some(&file)).unwrap());
    std::fs::remove_file(&file).unwrap();
    assert_each_finds_its_own(&RequestClient::connect(options).0).await;
}

#[tokio::test]
async fn an_answer_that_comes_late_is_counted_and_one_that_never_comes_ends_the_request_all_the_same() {
    let server = Server::start(async |_, mut peer: Peer| {
        let late = peer.request().await.unwrap();
        let never = peer.request().await.unwrap();
        assert_eq!(never["method"], "never");
        // By now both have timed out: this one is asked for after them.
        let third = peer.request().await.unwrap();
        peer.answer(&late).await;
        peer.answer(&third).await;
        peer.answer(&third).await;
        peer.send(json!({"id": 77, "result": 1})).await;
        peer.answer_all().await;
    })
    .await;
    let client = server.client();
    client.ready().await.unwrap();
    let hasty = client.with_timeout(Duration::from_millis(50));
    let (late, never) = tokio::join!(hasty.request("late", ()), hasty.request("never", ()));
    let timeout = Duration::from_millis(50);
    assert_eq!([late, never], [Err(RequestError::TimedOut { timeout }), Err(RequestError::TimedOut { timeout })]);
    assert_eq!(client.request("third", ()).await.unwrap(), "third");
    let status = until(&client, "all answers seen", |status| status.machine.requests.unmatched_answers > 0).await;
    let counters = status.machine.requests;
    assert_eq!((counters.timed_out, counters.answered), (2, 1));
    assert_eq!((counters.late_answers, counters.repeated_answers, counters.unmatched_answers), (1, 1, 1));
    assert_balanced(&client);
}

#[tokio::test]
async fn when_the_server_dies_what_it_had_is_unknown_and_what_it_had_not_goes_to_the_next() {
    let server = Server::start(async |number, mut peer: Peer| {
        if number == 0 {
            peer.request().await.unwrap();
            // Not even a close frame.
            peer.socket.get_mut().shutdown().await.unwrap();
            return;
        }
        peer.answer_all().await;
    })
    .await;
    let client = server.client();
    let lost = client.request("lost", ()).await.unwrap_err();
    assert!(matches!(lost, RequestError::Unknown { .. }), "{lost}");
    assert_eq!(client.request("kept", ()).await.unwrap(), "kept");
    let status = client.status();
    assert_eq!((status.machine.connects, status.machine.requests.unknown), (2, 1));
    assert!(status.machine.last_loss.is_some());
    assert_balanced(&client);
}

#[tokio::test]
async fn a_close_by_the_venue_is_told_with_its_code() {
    let server = Server::start(async |_, mut peer: Peer| {
        peer.request().await.unwrap();
        let frame = CloseFrame { code: 1008.into(), reason: "too many".into() };
        peer.socket.close(Some(frame)).await.unwrap();
        peer.answer_all().await;
    })
    .await;
    let client = server.client();
    let reason = "closed by the venue with code 1008 too many".to_owned();
    assert_eq!(client.request("a", ()).await, Err(RequestError::Unknown { reason }));
    // A rule of the venue was broken: that is not for trying again at once, as a loss is.
    assert_eq!((client.status().machine.state, server.connections()), ("Reconnecting", 1));
}

#[tokio::test]
async fn each_connection_logs_in_afresh_before_anything_else_is_sent() {
    let (seen_in, mut seen) = mpsc::unbounded_channel();
    let server = Server::start(move |number, mut peer: Peer| {
        let seen = seen_in.clone();
        async move {
            let login = peer.request().await.unwrap();
            // Whoever sends before it is let in has sent by now.
            let early = tokio::time::timeout(Duration::from_millis(100), peer.text()).await;
            assert!(early.is_err(), "sent before the login was answered: {early:?}");
            peer.send(json!({"success": true, "ret_msg": "", "op": "auth"})).await;
            let request = peer.request().await.unwrap();
            seen.send((login, request.clone())).unwrap();
            if number == 0 {
                return;
            }
            peer.send(json!({"success": true, "op": request["op"], "req_id": request["req_id"], "data": 5})).await;
            peer.close_code().await;
        }
    })
    .await;
    let client = RequestClient::connect(server.bybit_options()).0;
    let first = client.request("order.create", [1]).await;
    assert!(matches!(first, Err(RequestError::Unknown { .. })), "{first:?}");
    assert_eq!(client.request("order.cancel", [2]).await.unwrap(), 5);
    let (first_login, first_request) = seen.recv().await.unwrap();
    let (second_login, second_request) = seen.recv().await.unwrap();
    assert_eq!((&first_request["op"], &second_request["op"]), (&json!("order.create"), &json!("order.cancel")));
    for login in [&first_login, &second_login] {
        assert_eq!((&login["op"], &login["args"][0]), (&json!("auth"), &json!("KEY")));
    }
    assert_ne!(first_login["args"], second_login["args"], "another time, another signature");
    assert_eq!(client.status().machine.logins, 2);
}

#[tokio::test]
async fn a_login_that_is_refused_for_good_is_not_tried_again() {
    let server = Server::start(async |_, mut peer: Peer| {
        peer.request().await.unwrap();
        peer.send(json!({"success": false, "ret_msg": "API key KEY is invalid", "op": "auth"})).await;
        peer.close_code().await;
    })
    .await;
    let client = RequestClient::connect(server.bybit_options()).0;
    let error = client.request("order.create", ()).await.unwrap_err();
    let RequestError::NotSent(NotSent::AuthRefused(refusal)) = &error else { panic!("{error}") };
    assert!(!refusal.is_retryable);
    assert_eq!(error.to_string(), "not sent: login refused: API key *** is invalid");
    assert!(matches!(client.ready().await, Err(RequestEnd::AuthRefused(_))));
    assert!(matches!(client.close().await, RequestEnd::AuthRefused(_)), "it is over already");
    let later = client.request("later", ()).await.unwrap_err();
    assert!(matches!(later, RequestError::NotSent(NotSent::AuthRefused(_))), "{later}");
    assert_eq!((server.connections(), client.status().machine.logins_refused), (1, 1));
    assert_balanced(&client);
}

#[tokio::test]
async fn a_login_answered_late_or_refused_for_its_time_is_tried_again() {
    let server = Server::start(async |number, mut peer: Peer| match number {
        // Never answered.
        0 => drop(peer.close_code().await),
        1 => {
            peer.request().await.unwrap();
            peer.send(json!({"retCode": 10002, "retMsg": "request expired", "op": "auth"})).await;
            peer.close_code().await;
        }
        _ => {
            peer.log_in().await.unwrap();
            let request = peer.request().await.unwrap();
            peer.send(json!({"retCode": 0, "retMsg": "OK", "op": request["op"], "reqId": request["req_id"]})).await;
            peer.close_code().await;
        }
    })
    .await;
    let mut options = server.bybit_options();
    options.machine.auth_timeout = Duration::from_millis(100);
    let client = RequestClient::connect(options).0;
    client.request("order.create", ()).await.unwrap();
    let status = client.status().machine;
    assert_eq!((status.connects, status.logins, status.logins_refused), (3, 1, 1));
    assert_eq!(status.last_login_refusal.as_deref(), Some("login refused: request expired (code 10002)"));
}

#[tokio::test]
async fn closing_ends_what_is_under_way_and_takes_leave_in_order() {
    let (code_in, mut code) = mpsc::unbounded_channel();
    let server = Server::start(move |_, mut peer: Peer| {
        let code = code_in.clone();
        async move {
            peer.request().await.unwrap();
            code.send(None).unwrap();
            code.send(peer.close_code().await).unwrap();
        }
    })
    .await;
    let client = server.client();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request("a", ()).await }
    });
    assert_eq!(code.recv().await, Some(None), "the request is on its way");
    assert_eq!(client.close().await, RequestEnd::Closed);
    let reason = "closed by us".to_owned();
    assert_eq!(asking.await.unwrap(), Err(RequestError::Unknown { reason }));
    assert_eq!(code.recv().await, Some(Some(1_000)));
    assert_eq!(client.request("b", ()).await, Err(RequestError::NotSent(NotSent::Closed)));
    assert_eq!(client.send("c"), Err(NotSent::Closed));
    assert_balanced(&client);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_leaves_the_table() {
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let server = Server::start(move |_, mut peer: Peer| {
        let released = Arc::clone(&released);
        async move {
            let request = peer.request().await.unwrap();
            released.notified().await;
            peer.answer(&request).await;
            peer.answer_all().await;
        }
    })
    .await;
    let client = server.client();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request("a", ()).await }
    });
    let status = until(&client, "sent", |status| status.machine.pending.iter().any(|pending| pending.is_sent)).await;
    let shown = serde_json::to_value(&status).unwrap();
    assert_eq!((&shown["name"], &shown["state"]), (&json!("desk"), &json!("Ready")));
    assert_eq!((&shown["pending"][0]["id"], &shown["pending"][0]["method"]), (&json!("1"), &json!("a")));
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert_balanced(&client);
    release.notify_one();
    until(&client, "its answer is late", |status| status.machine.requests.late_answers == 1).await;
    assert_eq!(client.status().machine.requests.abandoned, 1);
}

#[tokio::test]
async fn a_request_written_by_the_caller_keeps_its_id_and_a_refusal_its_words() {
    let server = Server::start(async |_, mut peer: Peer| {
        let request = peer.request().await.unwrap();
        assert_eq!(request["id"], "mine");
        let error = json!({"code": -32602, "message": "Invalid params", "data": {"at": 1}});
        peer.send(json!([{"jsonrpc": "2.0", "id": "mine", "error": error}])).await;
        peer.answer_all().await;
    })
    .await;
    let client = server.client();
    let refused = client.request_raw(r#"{"jsonrpc":"2.0","id":"mine","method":"m"}"#).await;
    let (code, message, data) = (Some(-32_602), "Invalid params".to_owned(), Some(r#"{"at":1}"#.to_owned()));
    assert_eq!(refused, Err(RequestError::Refused(RequestRefusal { code, message, data })));
    assert_eq!(client.request_raw(r#"{"id":"mine","method":"again"}"#).await.unwrap(), "\"again\"");
    let no_id = client.request_raw(r#"{"method":"m"}"#).await;
    assert_eq!(no_id, Err(RequestError::NotSent(NotSent::NoId)));
    let long = client.request("m", "x".repeat(1 << 20)).await;
    assert!(matches!(long, Err(RequestError::NotSent(NotSent::TooLong { .. }))), "{long:?}");
    assert!(client.is_connected());
}

#[tokio::test]
async fn messages_that_answer_nothing_go_to_whoever_listens_and_what_is_too_much_is_counted() {
    let server = Server::start(async |_, mut peer: Peer| {
        assert_eq!(peer.text().await.unwrap(), "hello");
        assert_eq!(peer.request().await.unwrap(), json!({"op": "go"}));
        for number in 0..5 {
            peer.send(json!({"method": "notice", "params": number})).await;
        }
        peer.socket.send(tungstenite::Message::binary(&b"bytes"[..])).await.unwrap();
        peer.answer_all().await;
    })
    .await;
    let mut options = server.options();
    options.unsolicited_max = 2;
    let (client, mut unsolicited) = RequestClient::connect(options);
    client.send("hello").unwrap();
    client.send_json(&json!({"op": "go"})).unwrap();
    let status = until(&client, "all six", |status| status.machine.unsolicited == 6).await;
    assert_eq!((status.machine.sends, status.unsolicited_dropped), (2, 4));
    for number in 0..2 {
        let text = json!({"method": "notice", "params": number}).to_string();
        assert_eq!(unsolicited.recv().await, Some(Message::Text(text.into())));
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_holds_no_caller_longer_than_its_time() {
    // Receive buffers of a few kilobytes, and nobody reads.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(16).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    let server = Server::listen(
        listener,
        None,
        |_| true,
        async |_, peer: Peer| {
            pending::<()>().await;
            drop(peer);
        },
    );
    let mut options = server.options();
    options.connect.socket.send_buffer_bytes = Some(4_096);
    options.request_timeout = Duration::from_millis(200);
    let client = RequestClient::connect(options).0;
    client.ready().await.unwrap();
    let long = "x".repeat(200_000);
    let (a, b, c) = tokio::join!(client.request("a", &long), client.request("b", &long), client.request("c", ()));
    assert!(matches!(a, Err(RequestError::TimedOut { .. })), "{a:?}");
    for waiting in [b, c] {
        assert_eq!(waiting, Err(RequestError::NotSent(NotSent::NotInTime)), "the first still fills the socket");
    }
    client.close().await;
    assert_balanced(&client);
}

#[tokio::test]
async fn a_peer_that_went_without_a_word_is_found_by_our_pings() {
    let server = Server::start(async |number, mut peer: Peer| {
        if number == 0 {
            // Reads no more, and so answers no ping: half open.
            pending::<()>().await;
        }
        peer.answer_all().await;
    })
    .await;
    let mut options = server.options();
    let (interval, timeout) = (Duration::from_millis(50), Duration::from_millis(100));
    let pings = vec![PingSettings { ping: Ping::Protocol, interval }];
    options.machine.heartbeat = HeartbeatSettings { pings, timeout, silence_max: None, server_ping: None };
    let client = RequestClient::connect(options).0;
    let lost = client.request("a", ()).await.unwrap_err();
    assert!(matches!(&lost, RequestError::Unknown { reason } if reason.starts_with("silent for")), "{lost}");
    assert_eq!(client.request("b", ()).await.unwrap(), "b");
}

#[tokio::test]
async fn the_connection_closes_when_the_last_handle_is_dropped() {
    let (code_in, mut code) = mpsc::unbounded_channel();
    let server = Server::start(move |_, mut peer: Peer| {
        let code = code_in.clone();
        async move { code.send(peer.close_code().await).unwrap() }
    })
    .await;
    let client = server.client();
    let other = client.clone();
    client.ready().await.unwrap();
    drop(client);
    assert!(other.is_connected());
    drop(other);
    assert_eq!(code.recv().await, Some(Some(1_000)));
}

#[tokio::test]
async fn headers_are_signed_for_each_upgrade_and_their_refusal_is_for_good() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    let admits = move |request: &Request| {
        let value = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
        let mut seen = seen.lock().unwrap();
        seen.push((value("OK-ACCESS-KEY"), value("OK-ACCESS-SIGN").len(), value("OK-ACCESS-PASSPHRASE")));
        seen.len() < 2
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::listen(listener, None, admits, async |_, mut peer: Peer| {
        peer.request().await.unwrap();
    });
    let mut options = server.options();
    options.header_login = Some((&OKX_HEADERS, Credentials::new("KEY", "SECRET").with_passphrase("PHRASE")));
    let client = RequestClient::connect(options).0;
    let first = client.request("a", ()).await.unwrap_err();
    assert!(matches!(first, RequestError::Unknown { .. }), "{first}");
    let second = client.request("b", ()).await.unwrap_err();
    let RequestError::NotSent(NotSent::AuthRefused(refusal)) = second else { panic!("{second}") };
    assert_eq!(refusal.code, Some(401));
    assert_eq!(server.connections(), 2, "not tried again");
    let expected = ("KEY".to_owned(), 44, "PHRASE".to_owned());
    assert_eq!(*keys.lock().unwrap(), [expected.clone(), expected]);
}

#[tokio::test]
async fn a_token_is_asked_for_before_each_connect() {
    let (path_in, mut path) = mpsc::unbounded_channel();
    let server = Server::start(move |number, mut peer: Peer| {
        let paths = path_in.clone();
        async move {
            paths.send(peer.path.clone()).unwrap();
            if number > 0 {
                peer.answer_all().await;
            }
        }
    })
    .await;
    let asked = Arc::new(AtomicU32::new(0));
    let endpoint = format!("ws://{}/endpoint", server.address);
    let handler = async move || {
        let token = format!("t{}", asked.fetch_add(1, Ordering::SeqCst));
        axum::Json(json!({"data": {"token": token, "instanceServers": [{"endpoint": endpoint}]}}))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/bullet-public", post(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut options = server.options();
    options.token = Some(TokenBootstrap::kucoin(Url::parse(&format!("http://{address}/bullet-public")).unwrap()));
    let client = RequestClient::connect(options).0;
    assert_eq!(path.recv().await.unwrap(), "/endpoint?token=t0");
    assert_eq!(path.recv().await.unwrap(), "/endpoint?token=t1");
    assert_eq!(client.request("a", ()).await.unwrap(), "a");
}

#[tokio::test]
async fn the_governor_is_asked_before_each_connect() {
    let (seen_in, mut seen) = mpsc::unbounded_channel();
    let server = Server::start(move |_, peer: Peer| {
        let seen = seen_in.clone();
        async move {
            seen.send(Instant::now()).unwrap();
            drop(peer);
        }
    })
    .await;
    let window = Duration::from_millis(700);
    let mut limits = BudgetLimits::of(protocol(Venue::BinanceSpot));
    limits.connects = Some((1, window));
    let mut options = server.options();
    options.governor = Some((SharedGovernor::new(GovernorSettings::default()), limits));
    let client = RequestClient::connect(options).0;
    let (first, second) = (seen.recv().await.unwrap(), seen.recv().await.unwrap());
    assert!(second - first > window / 2, "the backoff alone is 20 ms at most: {:?}", second - first);
    assert_eq!(client.close().await, RequestEnd::Closed, "whoever waits for the governor can be stopped");
}

#[test]
fn a_runtime_that_ends_ends_what_is_under_way() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (servers, clients, callers) = (runtime(), runtime(), runtime());
    let (got_in, mut got) = mpsc::unbounded_channel();
    let server = servers.block_on(Server::start(move |_, mut peer: Peer| {
        let got = got_in.clone();
        async move {
            got.send(peer.request().await).unwrap();
            peer.close_code().await;
        }
    }));
    let client = clients.block_on(async { server.client() });
    let asking = callers.spawn({
        let client = client.clone();
        async move { client.request("a", ()).await }
    });
    callers.block_on(got.recv()).unwrap().unwrap();
    clients.shutdown_timeout(PATIENCE);
    let ended = callers.block_on(async { tokio::time::timeout(PATIENCE, asking).await }).expect("never hung").unwrap();
    assert!(matches!(ended, Err(RequestError::Unknown { .. })), "{ended:?}");
    assert_eq!(client.status().machine.state, "Closed");
    assert_balanced(&client);
}

#[tokio::test]
async fn while_the_venue_is_down_a_request_waits_its_time_and_was_surely_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = Url::parse(&format!("ws://{address}/")).unwrap();
    let mut options = RequestClientOptions::new("desk", url, Arc::new(JsonRpc));
    options.request_timeout = Duration::from_millis(100);
    options.machine.requests.pending_max = 1;
    let client = RequestClient::connect(options).0;
    let (first, second) = tokio::join!(client.request("a", ()), client.request("b", ()));
    assert_eq!(first, Err(RequestError::NotSent(NotSent::NotInTime)));
    assert_eq!(second, Err(RequestError::NotSent(NotSent::TableFull { pending_max: 1 })));
    assert!(!client.is_connected() && client.status().machine.last_loss.is_some());
    assert_eq!(client.close().await, RequestEnd::Closed);
    assert_balanced(&client);
}
