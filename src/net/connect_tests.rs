//! Connecting over real loopback sockets, with real TLS, to servers that behave and to servers that do not.

use super::*;
use crate::hot::{ConnectionSettings, HotConnection};
use crate::net::testing::{TestCa, echo, frame, listener, options, read_request, serve_one, switching_protocols};
use std::future::pending;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Short, because a test waits for its end; what is asserted is which time-out it was, not how long it took.
const SHORT: Duration = Duration::from_millis(100);

/// Receives `count` messages through the hot core's own connection.
async fn messages(established: Established, count: usize) -> Vec<Vec<u8>> {
    let settings = ConnectionSettings::default();
    let mut connection = HotConnection::new(established.stream, &established.leftover, &settings).unwrap();
    let mut received = Vec::new();
    loop {
        while let Some(message) = connection.next_message().unwrap() {
            received.push(message.payload.to_vec());
        }
        if received.len() >= count {
            return received;
        }
        // The server is a task on this very thread: let it run.
        tokio::task::yield_now().await;
        connection.read(64 * 1024).unwrap();
    }
}

/// Upgrades by hand and sends the answer with three frames behind it, split at `split`; then waits for the client to go.
async fn upgrade_with_frames(mut socket: impl AsyncRead + AsyncWrite + Unpin, split: usize) -> String {
    let request = read_request(&mut socket).await;
    let mut wire = switching_protocols(&request);
    for payload in [&b"one"[..], b"two", b"three"] {
        wire.extend_from_slice(&frame(0x81, payload));
    }
    let split = split.min(wire.len());
    socket.write_all(&wire[..split]).await.unwrap();
    socket.flush().await.unwrap();
    tokio::task::yield_now().await;
    socket.write_all(&wire[split..]).await.unwrap();
    socket.flush().await.unwrap();
    let _until_the_client_goes = socket.read(&mut [0; 64]).await;
    request
}

/// Answers the upgrade with these bytes, then closes.
async fn refused_with(answer: &'static str) -> ConnectError {
    let (address, served) = serve_one(async |mut socket: TcpStream| {
        read_request(&mut socket).await;
        socket.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let error = connect(&options("ws", address)).await.unwrap_err();
    served.await.unwrap();
    error
}

#[tokio::test]
async fn frames_in_the_segment_of_the_101_arrive_wherever_it_is_split() {
    // The head is 129 bytes, the frames 17.
    for split in (0..150).chain([usize::MAX]) {
        let (address, served) = serve_one(move |socket| upgrade_with_frames(socket, split)).await;
        let established = connect(&options("ws", address)).await.unwrap();
        assert_eq!(established.peer, address);
        assert_eq!(messages(established, 3).await, [&b"one"[..], b"two", b"three"], "split at byte {split}");
        served.await.unwrap();
    }
}

#[tokio::test]
async fn over_tls_they_arrive_as_well_within_one_record_and_over_two() {
    let ca = TestCa::new();
    let client = ca.client();
    for opener in [RecordOpener::Rustls, RecordOpener::InPlace] {
        for split in (0..150).step_by(7).chain([129, usize::MAX]) {
            let acceptor = ca.acceptor("127.0.0.1");
            let (address, served) = serve_one(async move |socket: TcpStream| {
                upgrade_with_frames(acceptor.accept(socket).await.unwrap(), split).await
            })
            .await;
            let mut options = options("wss", address);
            options.tls = Some(Arc::clone(&client));
            options.opener = opener;
            let established = connect(&options).await.unwrap();
            assert_eq!(established.tls_version.as_deref(), Some("TLSv1_3"));
            assert!(established.tls_cipher.as_deref().unwrap().starts_with("TLS13_"));
            assert_eq!((established.opener(), established.obstacle), (Some(opener), None));
            assert_eq!(messages(established, 3).await, [&b"one"[..], b"two", b"three"], "split at byte {split}");
            served.await.unwrap();
        }
    }
}

/// One connect whose records are to be opened in place: what it came to, and what kind of handshake the server saw.
async fn in_place(
    client: &Arc<rustls::ClientConfig>,
    acceptor: tokio_rustls::TlsAcceptor,
) -> (Established, rustls::HandshakeKind) {
    let (address, served) = serve_one(async move |socket: TcpStream| {
        let mut socket = acceptor.accept(socket).await.unwrap();
        let kind = socket.get_ref().1.handshake_kind().unwrap();
        let request = read_request(&mut socket).await;
        socket.write_all(&[&switching_protocols(&request)[..], &frame(0x81, b"data")].concat()).await.unwrap();
        (kind, socket)
    })
    .await;
    let mut options = options("wss", address);
    options.tls = Some(Arc::clone(client));
    options.opener = RecordOpener::InPlace;
    let established = connect(&options).await.unwrap();
    let (kind, _socket) = served.await.unwrap();
    (established, kind)
}

#[tokio::test]
async fn the_tickets_of_a_session_that_is_opened_in_place_resume_the_next_one() {
    let ca = TestCa::new();
    let (client, acceptor) = (ca.client(), ca.acceptor("127.0.0.1"));
    for expected in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed, rustls::HandshakeKind::Resumed] {
        let (established, kind) = in_place(&client, acceptor.clone()).await;
        assert_eq!((established.opener(), kind), (Some(RecordOpener::InPlace), expected));
        assert_eq!(messages(established, 1).await, [b"data"]);
    }
}

#[tokio::test]
async fn what_cannot_be_opened_in_place_stays_with_rustls_and_says_why() {
    let ca = TestCa::new();
    let old = ca.acceptor_of("127.0.0.1", &[&rustls::version::TLS12]);
    let (established, _) = in_place(&ca.client(), old).await;
    assert_eq!(established.tls_version.as_deref(), Some("TLSv1_2"));
    assert_eq!(established.opener(), Some(RecordOpener::Rustls));
    assert_eq!(established.obstacle, Some("the server speaks no TLS 1.3"));
    assert_eq!(messages(established, 1).await, [b"data"]);

    let mut closed = (*ca.client()).clone();
    closed.enable_secret_extraction = false;
    let (established, _) = in_place(&Arc::new(closed), ca.acceptor("127.0.0.1")).await;
    assert_eq!(established.opener(), Some(RecordOpener::Rustls));
    assert_eq!(established.obstacle, Some("the TLS configuration keeps its secrets"));
    assert_eq!(messages(established, 1).await, [b"data"]);
}

#[tokio::test]
async fn own_headers_are_sent_and_no_extension_is_offered() {
    let (address, served) = serve_one(|socket| upgrade_with_frames(socket, usize::MAX)).await;
    let mut options = options("ws", address);
    options.headers =
        vec![("X-Api-Key".to_owned(), Secret::new("s3cret")), ("User-Agent".to_owned(), Secret::new("desk"))];
    assert!(!format!("{options:?}").contains("s3cret"));
    drop(connect(&options).await.unwrap());
    let request = served.await.unwrap();
    assert!(request.starts_with("GET /stream?key=in-the-query HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-api-key: s3cret\r\n"), "{request}");
    assert!(request.contains("user-agent: desk\r\n"), "{request}");
    assert!(!request.to_lowercase().contains("sec-websocket-extensions"), "{request}");
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
    for (name, value) in [
        ("X Key", "v4lue"),
        ("X-Key", "v4lue\r\nHost: other"),
        ("Host", "v4lue"),
        ("Sec-WebSocket-Extensions", "v4lue"),
    ] {
        let mut options = options("ws", "127.0.0.1:9".parse().unwrap());
        options.headers = vec![(name.to_owned(), Secret::new(value))];
        let text = format!("{0} {0:?}", connect(&options).await.unwrap_err());
        assert!(text.contains(&format!("header `{name}`")) && !text.contains("v4lue"), "{text}");
    }
}

#[tokio::test]
async fn urls_that_cannot_be_connected_to_are_refused_and_never_shown_whole() {
    for (url, what) in [
        ("http://127.0.0.1:1/p4th", "the scheme must be ws or wss"),
        ("ws://user:p4th@127.0.0.1:1/", "user information in a URL is not allowed"),
        ("data:p4th", "the scheme must be ws or wss"),
    ] {
        let text = connect(&ConnectOptions::new(Url::parse(url).unwrap())).await.unwrap_err().to_string();
        assert!(text.contains(what) && !text.contains("p4th"), "{text}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_error() {
    // No label may be longer than 63 characters (RFC 1035), so no resolver is asked.
    let url = format!("ws://{}/", "a".repeat(70));
    let error = connect(&ConnectOptions::new(Url::parse(&url).unwrap())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dns { .. }), "{error}");
    assert!(error.to_string().contains("DNS look-up (time-out 5s)"), "{error}");
}

#[tokio::test]
async fn a_resolver_that_says_nothing_hits_its_own_time_out() {
    let target = Target::of(&options("ws", "127.0.0.1:9".parse().unwrap())).unwrap();
    let error = within(Step::Dns, SHORT, &target, pending::<()>()).await.unwrap_err();
    assert_eq!(error.to_string(), "ws://127.0.0.1:9: DNS look-up: no end after the time-out of 100ms");
}

#[tokio::test]
async fn a_closed_port_is_a_connect_error_that_names_the_address() {
    let (listener, address) = listener().await;
    drop(listener);
    let error = connect(&options("ws", address)).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Connect { attempts, .. } if attempts.len() == 1), "{error}");
    assert!(error.to_string().contains(&format!("{address}: Connection refused")), "{error}");
}

#[tokio::test]
async fn a_server_whose_backlog_is_full_hits_the_connect_time_out() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // The queue holds one connection; whoever comes behind it gets no answer to its SYN.
    let _in_the_queue = TcpStream::connect(address).await.unwrap();
    let mut options = options("ws", address);
    options.timeouts.connect = SHORT;
    let error = connect(&options).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { step: Step::Connect, timeout: SHORT, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_hits_the_tls_or_the_upgrade_time_out() {
    for (scheme, step) in [("wss", Step::Tls), ("ws", Step::Upgrade)] {
        let (listener, address) = listener().await;
        let mut options = options(scheme, address);
        (options.timeouts.tls, options.timeouts.upgrade) = (SHORT, SHORT);
        let error = connect(&options).await.unwrap_err();
        let expected = format!("{scheme}://{address}: {step}: no end after the time-out of 100ms");
        assert_eq!(error.to_string(), expected);
        drop(listener);
    }
}

#[tokio::test]
async fn a_tls_server_that_never_answers_the_upgrade_hits_the_upgrade_time_out_and_the_socket_is_closed() {
    let ca = TestCa::new();
    let acceptor = ca.acceptor("127.0.0.1");
    let (address, served) = serve_one(async move |socket: TcpStream| {
        let mut stream = acceptor.accept(socket).await.unwrap();
        read_request(&mut stream).await;
        // The client's end closes although nobody took leave: a reset, or an end without close_notify.
        stream.read(&mut [0; 8]).await.map_or(0, |count| count)
    })
    .await;
    let mut options = options("wss", address);
    options.tls = Some(ca.client());
    options.timeouts.upgrade = SHORT;
    let error = connect(&options).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { step: Step::Upgrade, .. }), "{error}");
    assert_eq!(served.await.unwrap(), 0);
}

#[tokio::test]
async fn a_refusal_carries_status_retry_after_and_the_bodys_beginning() {
    let error = refused_with(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 17\r\nContent-Length: 8\r\n\r\ntoo many, and more",
    )
    .await;
    let ConnectError::Refused { status: 429, retry_after, body, .. } = &error else { panic!("{error}") };
    assert_eq!((*retry_after, body.as_str()), (Some(Duration::from_secs(17)), "too many"));
    assert!(error.to_string().ends_with("HTTP status 429, retry after 17 s: too many"), "{error}");

    let error = refused_with("HTTP/1.1 403 Forbidden\r\n\r\nnot \u{1b}[31myours").await;
    assert!(error.to_string().ends_with("HTTP status 403: not \\u{1b}[31myours"), "{error}");
}

#[tokio::test]
async fn a_redirect_and_an_ordinary_page_are_refusals() {
    for (answer, status) in [
        ("HTTP/1.1 301 Moved\r\nLocation: ws://other/\r\nContent-Length: 0\r\n\r\n", 301),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    ] {
        let error = refused_with(answer).await;
        assert!(matches!(error, ConnectError::Refused { status: found, .. } if found == status), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_or_breaks_off_is_an_upgrade_error() {
    for answer in ["\x15\x03\x01\x00\x02\x02\x28\r\n\r\n", "\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n", ""] {
        let error = refused_with(answer).await;
        assert!(matches!(error, ConnectError::Upgrade { .. }), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_accept_key_is_refused() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let error = refused_with(answer).await;
    assert!(error.to_string().contains("Sec-WebSocket-Accept"), "{error}");
}

#[tokio::test]
async fn an_extension_nobody_offered_is_refused_by_name() {
    let (address, served) = serve_one(async |mut socket: TcpStream| {
        let request = read_request(&mut socket).await;
        let answer = String::from_utf8(switching_protocols(&request)).unwrap();
        let answer = answer.replacen("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 1);
        socket.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let error = connect(&options("ws", address)).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Extension { found, .. } if found == "permessage-deflate"), "{error}");
    served.await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_host_and_one_of_an_unknown_ca_are_refused_and_the_server_is_told() {
    let ca = TestCa::new();
    for (client, name) in [(ca.client(), "other.test"), (TestCa::new().client(), "127.0.0.1")] {
        let acceptor = ca.acceptor(name);
        let (address, served) =
            serve_one(async move |socket: TcpStream| acceptor.accept(socket).await.map(drop).unwrap_err()).await;
        let mut options = options("wss", address);
        options.tls = Some(client);
        let error = connect(&options).await.unwrap_err();
        let source = match &error {
            ConnectError::Tls { source: TlsFailure::Tls(rustls::Error::InvalidCertificate(source)), .. } => source,
            _ => panic!("{error}"),
        };
        let is_expected = match name {
            "other.test" => matches!(source, rustls::CertificateError::NotValidForNameContext { .. }),
            _ => matches!(source, rustls::CertificateError::UnknownIssuer),
        };
        assert!(is_expected, "{error}");
        assert!(error.to_string().contains("TLS handshake (time-out 5s)"), "{error}");
        let told = served.await.unwrap().to_string();
        assert!(told.contains("alert"), "{told}");
    }
}

#[tokio::test]
async fn without_a_ca_file_a_private_certificate_is_refused() {
    let acceptor = TestCa::new().acceptor("127.0.0.1");
    let (address, served) = serve_one(async move |socket: TcpStream| acceptor.accept(socket).await.is_err()).await;
    let error = connect(&options("wss", address)).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    assert!(served.await.unwrap());
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_tls_error() {
    let (address, served) = serve_one(async |mut socket: TcpStream| {
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _until_the_client_goes = socket.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let error = connect(&options("wss", address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { source: TlsFailure::Tls(_), .. }), "{error}");
    served.await.unwrap();
}

#[tokio::test]
async fn what_the_kernel_granted_is_read_back_and_the_source_address_is_used() {
    let (address, served) = serve_one(async |socket: TcpStream| {
        let peer = socket.peer_addr().unwrap();
        echo(socket).await;
        peer
    })
    .await;
    let mut options = options("ws", address);
    options.socket = SocketOptions {
        nodelay: true,
        receive_buffer_bytes: Some(64 * 1024),
        send_buffer_bytes: Some(32 * 1024),
        keepalive: Some(Keepalive { idle: Duration::from_secs(30), interval: Duration::from_secs(5), probe_count: 3 }),
        source_address: Some("127.0.0.77".parse().unwrap()),
    };
    let established = connect(&options).await.unwrap();
    // Linux grants twice what was asked for (socket(7)).
    assert_eq!(
        established.granted,
        Granted { receive_buffer_bytes: 128 * 1024, send_buffer_bytes: 64 * 1024, nodelay: true }
    );
    let local = established.local;
    assert_eq!(local.ip(), options.socket.source_address.unwrap());
    drop(established);
    assert_eq!(served.await.unwrap(), local);
}

#[tokio::test]
async fn a_source_address_that_is_not_ours_is_named() {
    let (_listener, address) = listener().await;
    for (source, what) in [("192.0.2.1", "cannot be used"), ("::1", "other address family")] {
        let mut options = options("ws", address);
        options.socket.source_address = Some(source.parse().unwrap());
        let text = connect(&options).await.unwrap_err().to_string();
        assert!(text.contains(source) && text.contains(what), "{text}");
    }
}
