//! The WebSocket upgrade (RFC 6455 section 4.1), by tokio-tungstenite over a [`HandoverIo`]. Shared by both transports.
//!
//! ```text
//! GET /path  Host, Upgrade, Connection, Sec-WebSocket-Key/-Version, own headers ──►
//!                                                    ◄── 101, or a status with its Retry-After and the body's beginning
//! ```
//! Offers no extension: per-message deflate costs the hot core microseconds a message and saves bytes it does not pay for.

use super::connect::{ConnectError, ConnectOptions, Step};
use super::dial::{Target, within};
use super::handover::HandoverIo;
use super::retry_after;
use crate::limits::SAMPLE_BYTES;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use tokio_tungstenite::tungstenite::{Error, handshake::client::Response};

/// Headers the upgrade sets itself; a second value would make the request another one than was checked.
const OWN_HEADERS: [&str; 7] = [
    "host",
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-accept",
];

/// How long the body of a refusal is waited for, where the server does not say how long it is.
const BODY_WAIT: Duration = Duration::from_millis(250);

/// The upgrade request.
pub(super) fn request(options: &ConnectOptions, target: &Target) -> Result<Request<()>, ConnectError> {
    let mut request = options.url.as_str().into_client_request().map_err(|_error| ConnectError::Url {
        host: target.label.clone(),
        what: "path and query cannot stand in a request line",
    })?;
    for (name, value) in &options.headers {
        let refused = |what| ConnectError::Header { host: target.label.clone(), name: name.clone(), what };
        let header = HeaderName::try_from(name.as_str()).map_err(|_error| refused("the name is no header name"))?;
        if OWN_HEADERS.contains(&header.as_str()) {
            return Err(refused("the upgrade sets it itself"));
        }
        let mut value = HeaderValue::try_from(value.reveal())
            .map_err(|_error| refused("the value holds a character that no header may (it is not shown)"))?;
        value.set_sensitive(true);
        request.headers_mut().append(header, value);
    }
    Ok(request)
}

/// Upgrades. What stands behind the 101 stays in `io`.
pub(super) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut HandoverIo<S>,
    request: Request<()>,
    target: &Target,
    timeout: Duration,
) -> Result<(), ConnectError> {
    within(Step::Upgrade, timeout, target, async {
        let host = || target.label.clone();
        match tokio_tungstenite::client_async(request, &mut *io).await {
            Ok((_codec, response)) => match response.headers().get(header::SEC_WEBSOCKET_EXTENSIONS) {
                None => Ok(()),
                Some(found) => Err(ConnectError::Extension {
                    host: host(),
                    found: String::from_utf8_lossy(found.as_bytes()).into_owned(),
                }),
            },
            Err(Error::Http(response)) => Err(refusal(io, &response, host()).await),
            Err(error) => Err(ConnectError::Upgrade { host: host(), timeout, source: Box::new(error) }),
        }
    })
    .await?
}

/// Reads as much of a refusal's body as its sample holds. A body that does not come is no second error.
async fn refusal<S: AsyncRead + Unpin>(io: &mut HandoverIo<S>, response: &Response, host: String) -> ConnectError {
    let length = text_of(response.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let wanted = length.unwrap_or(SAMPLE_BYTES).min(SAMPLE_BYTES);
    let _partial_is_fine = tokio::time::timeout(BODY_WAIT, io.receive_body(wanted)).await;
    let body = &io.body()[..io.body().len().min(wanted)];
    let retry_after =
        text_of(response.headers(), header::RETRY_AFTER).and_then(|value| retry_after::parse(value, SystemTime::now()));
    let body = String::from_utf8_lossy(body).into_owned();
    ConnectError::Refused { host, status: response.status().as_u16(), retry_after, body }
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
