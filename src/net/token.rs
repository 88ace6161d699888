//! A connection's URL, asked for by REST: for venues that give out a token, and the host it is good for, before each
//! connect (KuCoin). Called by whoever connects, afresh on every connect.
//!
//! ```text
//! POST /api/v1/bullet-public ──► {"data":{"token":"..","instanceServers":[{"endpoint":"wss://.."}]}}
//!                                          └────────────────────────────────────┴──► wss://..?token=..
//! ```
//! Tries once, follows no redirect, uses no proxy. The token is in no error and in no output, and neither is any query; an
//! `https` answer cannot lead to an unencrypted socket.

use super::connect::{Secret, body_text, retry_text};
use super::retry_after;
use super::tls::TlsError;
use crate::limits::SAMPLE_BYTES;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::Value;
use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use url::Url;

/// How the token is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenMethod {
    /// GET.
    Get,
    /// POST with an empty body.
    Post,
}

/// Where a token comes from and where it goes.
#[derive(Clone)]
pub struct TokenBootstrap {
    /// How it is asked for.
    pub method: TokenMethod,
    /// `http://` or `https://`, with its path.
    pub url: Url,
    /// Own headers, signed ones perhaps.
    pub headers: Vec<(String, Secret)>,
    /// Where the token stands in the answer: a JSON pointer (RFC 6901), `/data/token`.
    pub token_pointer: String,
    /// Where the URL to connect to stands; `None`: the one that is known goes on being used.
    pub endpoint_pointer: Option<String>,
    /// The name in the query that the token goes by.
    pub query_name: String,
    /// Trust, from [`client_config`](super::client_config). `None`: Mozilla's roots.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// All of it, to the last byte of the answer.
    pub timeout: Duration,
    /// Longest answer.
    pub max_body_bytes: usize,
    /// The local address to connect from; `None` lets the kernel choose.
    pub source_address: Option<IpAddr>,
}

impl fmt::Debug for TokenBootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBootstrap")
            .field("method", &self.method)
            .field("url", &shown(&self.url))
            .field("headers", &self.headers)
            .field("token_pointer", &self.token_pointer)
            .field("endpoint_pointer", &self.endpoint_pointer)
            .field("query_name", &self.query_name)
            .finish_non_exhaustive()
    }
}

/// Why there is no token. Shows the URL without its query, and nothing of a good answer.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The URL cannot be asked.
    #[error("token from {url}: {what}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A header cannot be sent. Its value is not shown.
    #[error("token from {url}: header `{name}` cannot be sent")]
    Header {
        /// The URL.
        url: String,
        /// The header's name.
        name: String,
    },
    /// No TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The request failed before its answer was complete.
    #[error("token from {url}: {what}")]
    Request {
        /// The URL.
        url: String,
        /// The failure with all its causes.
        what: String,
    },
    /// It took too long.
    #[error("token from {url}: no end after the time-out of {timeout:?}")]
    TimedOut {
        /// The URL.
        url: String,
        /// The time-out that ran out: the connect's, or the request's.
        timeout: Duration,
    },
    /// The server answered with another status than 200.
    #[error("token from {url}: HTTP status {status}{}{}", retry_text(.retry_after), body_text(.body))]
    Refused {
        /// The URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How long the server asks us to stay away.
        retry_after: Option<Duration>,
        /// The beginning of the body, without the headers' values.
        body: String,
    },
    /// The answer is longer than allowed.
    #[error("token from {url}: answer over the limit of {max_body_bytes} bytes")]
    TooLong {
        /// The URL.
        url: String,
        /// The limit.
        max_body_bytes: usize,
    },
    /// The answer has no such text where it should be.
    #[error("token from {url}: the answer has no text at {pointer}")]
    Missing {
        /// The URL.
        url: String,
        /// Where it was looked for; empty where the answer is no JSON at all.
        pointer: String,
    },
    /// The answer names a place that is not connected to.
    #[error("token from {url}: the endpoint it names {what}")]
    Endpoint {
        /// The URL.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl TokenBootstrap {
    /// KuCoin's, for this URL: POST, `/data/token`, `/data/instanceServers/0/endpoint`, `token`; 5 s to connect, 10 s in
    /// all, 64 KiB.
    ///
    /// Source: KuCoin "Get Public Token - Classic", `POST /api/v1/bullet-public`.
    #[must_use]
    pub fn kucoin(url: Url) -> Self {
        Self {
            method: TokenMethod::Post,
            url,
            headers: Vec::new(),
            token_pointer: "/data/token".to_owned(),
            endpoint_pointer: Some("/data/instanceServers/0/endpoint".to_owned()),
            query_name: "token".to_owned(),
            tls: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            max_body_bytes: 64 * 1024,
            source_address: None,
        }
    }

    /// Asks for a token: the URL to connect to, with the token in its query. `known` is where to connect if the answer
    /// does not say. Dropping the future ends the request.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn run(&self, known: &Url) -> Result<Url, TokenError> {
        let body = self.ask().await?;
        let missing = |pointer: &str| TokenError::Missing { url: shown(&self.url), pointer: pointer.to_owned() };
        let answer: Value = serde_json::from_slice(&body).map_err(|_error| missing(""))?;
        let text = |pointer: &str| {
            answer
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .ok_or_else(|| missing(pointer))
        };
        let token = text(&self.token_pointer)?;
        let refused = |what| TokenError::Endpoint { url: shown(&self.url), what };
        let mut url = match &self.endpoint_pointer {
            Some(pointer) => Url::parse(text(pointer)?).map_err(|_error| refused("is no URL"))?,
            None => known.clone(),
        };
        match (self.url.scheme(), url.scheme()) {
            (_, "wss") | ("http", "ws") => {}
            ("https", "ws") => return Err(refused("is not encrypted, and the token came encrypted")),
            _ => return Err(refused("is no WebSocket")),
        }
        url.query_pairs_mut().append_pair(&self.query_name, token);
        Ok(url)
    }

    async fn ask(&self) -> Result<Vec<u8>, TokenError> {
        let client = self.client()?;
        let url = self.url.clone();
        let request = match self.method {
            TokenMethod::Get => client.get(url),
            TokenMethod::Post => client.post(url).body(Vec::new()),
        };
        let failed = |error| self.failure(error);
        let mut response = request.send().await.map_err(failed)?;
        if response.status().as_u16() != 200 {
            return Err(self.refusal(response).await);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > self.max_body_bytes {
                return Err(TokenError::TooLong { url: shown(&self.url), max_body_bytes: self.max_body_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn client(&self) -> Result<reqwest::Client, TokenError> {
        let refused = |what| TokenError::Url { url: shown(&self.url), what };
        if !matches!(self.url.scheme(), "http" | "https") {
            return Err(refused("the scheme must be http or https"));
        }
        if !self.url.username().is_empty() || self.url.password().is_some() {
            return Err(refused("user information in a URL is not allowed, it would be logged: use a header"));
        }
        let tls = match &self.tls {
            Some(config) => Arc::clone(config),
            None => super::client_config(None)?,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let refused = || TokenError::Header { url: shown(&self.url), name: name.clone() };
            let header = HeaderName::try_from(name.as_str()).map_err(|_error| refused())?;
            let mut value = HeaderValue::try_from(value.reveal()).map_err(|_error| refused())?;
            value.set_sensitive(true);
            headers.append(header, value);
        }
        reqwest::Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(&tls))
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .local_address(self.source_address)
            .default_headers(headers)
            .build()
            .map_err(|_error| refused("no HTTP client can be built for it"))
    }

    fn failure(&self, error: reqwest::Error) -> TokenError {
        let url = shown(&self.url);
        if error.is_timeout() {
            let timeout = if error.is_connect() { self.connect_timeout } else { self.timeout };
            return TokenError::TimedOut { url, timeout };
        }
        let error = error.without_url();
        let mut what = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            what.push_str(": ");
            what.push_str(&error.to_string());
            cause = error.source();
        }
        TokenError::Request { url, what }
    }

    async fn refusal(&self, mut response: reqwest::Response) -> TokenError {
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after::parse(value.to_str().ok()?, SystemTime::now()));
        let mut body = Vec::new();
        // A body that breaks off is no second error: its beginning is shown.
        while let (true, Ok(Some(chunk))) = (body.len() < SAMPLE_BYTES, response.chunk().await) {
            body.extend_from_slice(&chunk);
        }
        let mut body = String::from_utf8_lossy(&body).into_owned();
        for (_, value) in &self.headers {
            if !value.reveal().is_empty() {
                body = body.replace(value.reveal(), "***");
            }
        }
        body = body.chars().take(SAMPLE_BYTES).collect();
        TokenError::Refused { url: shown(&self.url), status, retry_after, body }
    }
}

/// A URL as an error shows it: without user information, query and fragment.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
