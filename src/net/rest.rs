//! REST: GET with a bound on time, size and pages. Called by the engine at start (instrument lists) and for snapshots.
//!
//! ```text
//! get:         request ──► status, used weight, Retry-After ──► body        (the governor is told the middle one)
//! instruments: page "" ──► read ──► cursor ──► next page ... ──► no cursor, or every wanted name found
//! ```
//! Tries once: retries, and the budget of an address, are `control`'s; [`GovernedRest`](super::GovernedRest) asks for a
//! permit first, and whatever goes to a venue goes through it. Follows no redirect and uses no proxy, as the
//! WebSocket path does, so that both leave by the same way.

use super::connect::{Secret, body_text, retry_text};
use super::retry_after;
use super::tls::TlsError;
use crate::control::{NotPermitted, RestAnswer};
use crate::limits::SAMPLE_BYTES;
use crate::venue::{InstrumentError, InstrumentSpec, Protocol};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use std::collections::HashSet;
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use url::Url;

/// What to ask, and within which bounds.
#[derive(Clone, Debug)]
pub struct RestOptions {
    /// `http://` or `https://` with host and port; a path in it is replaced by each request's.
    pub base_url: Url,
    /// Own headers of every request.
    pub headers: Vec<(String, Secret)>,
    /// Trust, from [`client_config`](super::client_config). `None`: Mozilla's roots.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// One request from its beginning to the last byte of its body.
    pub timeout: Duration,
    /// Longest body. Binance's spot instrument list is about 17 MB.
    pub max_body_bytes: usize,
    /// Most pages of one instrument list. Bybit needs 1 or 2.
    pub max_pages: u32,
    /// The local address to connect from; `None` lets the kernel choose.
    pub source_address: Option<IpAddr>,
    /// The header that tells the weight used by everybody on this address, where the venue has one.
    pub used_weight_header: Option<&'static str>,
}

impl RestOptions {
    /// Defaults: 5 s to connect, 30 s in all, 64 MiB, 100 pages.
    #[must_use]
    pub fn new(base_url: Url) -> Self {
        Self {
            base_url,
            headers: Vec::new(),
            tls: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            max_body_bytes: 64 * 1024 * 1024,
            max_pages: 100,
            source_address: None,
            used_weight_header: None,
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The base URL or a path cannot be asked.
    #[error("{url}: {what}")]
    Url {
        /// As given, without user information.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A configured header cannot be sent. Its value is not shown.
    #[error("header `{name}` cannot be sent")]
    Header {
        /// The header's name.
        name: String,
    },
    /// No TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The request failed before its answer was complete.
    #[error("GET {url}: {what}")]
    Request {
        /// The URL asked.
        url: String,
        /// The failure with all its causes.
        what: String,
    },
    /// It took too long.
    #[error("GET {url}: no end after the time-out of {timeout:?}")]
    TimedOut {
        /// The URL asked.
        url: String,
        /// The time-out that ran out: the connect's, or the request's.
        timeout: Duration,
    },
    /// The server answered with another status than 200.
    #[error("GET {url}: HTTP status {status}{}{}", retry_text(.retry_after), body_text(.body))]
    Refused {
        /// The URL asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How long the server asks us to stay away.
        retry_after: Option<Duration>,
        /// The beginning of the body, at most [`SAMPLE_BYTES`] bytes.
        body: String,
    },
    /// The body is longer than allowed.
    #[error("GET {url}: body over the limit of {max_body_bytes} bytes")]
    TooLong {
        /// The URL asked.
        url: String,
        /// The limit.
        max_body_bytes: usize,
    },
    /// An instrument list that cannot be read.
    #[error("GET {url}: {source}")]
    Instruments {
        /// The URL asked.
        url: String,
        /// What is wrong with it.
        source: InstrumentError,
    },
    /// The instrument list does not end.
    #[error("GET {url}: the instrument list did not end within {max_pages} pages")]
    Pages {
        /// The last URL asked.
        url: String,
        /// The limit.
        max_pages: u32,
    },
    /// It was not asked: the governor has no permit for it.
    #[error("GET {path}: not asked: {source}")]
    NotPermitted {
        /// The path and query.
        path: String,
        /// Why.
        source: NotPermitted,
    },
}

/// A body, and what its answer says of the budget.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestReply {
    /// The body of an answer with status 200.
    pub body: Vec<u8>,
    /// Status, used weight, `Retry-After`.
    pub answer: RestAnswer,
}

/// A REST client of one host. Keeps its connection between requests.
#[derive(Debug)]
pub struct RestClient {
    client: reqwest::Client,
    options: RestOptions,
}

impl RestClient {
    /// Builds the client; asks nothing yet.
    ///
    /// # Errors
    /// [`RestError::Url`], [`RestError::Header`], [`RestError::Tls`].
    pub fn new(options: &RestOptions) -> Result<Self, RestError> {
        let base = &options.base_url;
        let refused = |what| RestError::Url { url: base.host_str().unwrap_or_default().to_owned(), what };
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refused("the scheme must be http or https"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(refused("user information in a URL is not allowed, it would be logged: use a header"));
        }
        let tls = match &options.tls {
            Some(config) => Arc::clone(config),
            None => super::client_config(None)?,
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(&tls))
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .local_address(options.source_address)
            .default_headers(headers(options)?)
            .build()
            .map_err(|_error| refused("no HTTP client can be built for it"))?;
        Ok(Self { client, options: options.clone() })
    }

    /// The body behind a path and query, `/api/v3/exchangeInfo`.
    ///
    /// # Errors
    /// [`RestError`]; [`RestError::Refused`] for every status but 200.
    pub async fn get(&self, path_and_query: &str) -> Result<RestReply, RestError> {
        let mut answer = RestAnswer::default();
        let body = self.ask(path_and_query, &mut answer).await?;
        Ok(RestReply { body, answer })
    }

    /// As [`get`](Self::get). `answer` is filled as soon as the head of the answer is read, whatever becomes of its body;
    /// without an answer its status stays 0.
    pub(super) async fn ask(&self, path_and_query: &str, answer: &mut RestAnswer) -> Result<Vec<u8>, RestError> {
        let url = self.url(path_and_query)?;
        let request = self.client.get(url.clone());
        let url = String::from(url);
        let failed = |error| self.failure(&url, error);
        let mut response = request.send().await.map_err(failed)?;
        *answer = self.answer(&response);
        if answer.status != 200 {
            return Err(refusal(url, response, answer).await);
        }
        let max_body_bytes = self.options.max_body_bytes;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > max_body_bytes {
                return Err(RestError::TooLong { url, max_body_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What the head of an answer says. A used weight that is no number is none.
    fn answer(&self, response: &reqwest::Response) -> RestAnswer {
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        RestAnswer {
            status: response.status().as_u16(),
            used_weight: self.options.used_weight_header.and_then(text).and_then(|used| used.trim().parse().ok()),
            retry_after: text(RETRY_AFTER.as_str()).and_then(|value| retry_after::parse(value, SystemTime::now())),
        }
    }

    fn url(&self, path_and_query: &str) -> Result<Url, RestError> {
        let refused = |what| RestError::Url { url: path_and_query.to_owned(), what };
        // `//host/` would be a host, and no path.
        if !path_and_query.starts_with('/') || path_and_query.starts_with("//") {
            return Err(refused("a path must begin with one slash"));
        }
        self.options.base_url.join(path_and_query).map_err(|_error| refused("no path and query"))
    }

    fn failure(&self, url: &str, error: reqwest::Error) -> RestError {
        let url = url.to_owned();
        if error.is_timeout() {
            let timeout = if error.is_connect() { self.options.connect_timeout } else { self.options.timeout };
            return RestError::TimedOut { url, timeout };
        }
        // Each layer tells only its own part: the cause is what an operator needs.
        let error = error.without_url();
        let mut what = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            what.push_str(": ");
            what.push_str(&error.to_string());
            cause = error.source();
        }
        RestError::Request { url, what }
    }

    /// An instrument list to be read page by page: of the names in `wanted`, or of all.
    pub(super) fn pages<'a>(
        &'a self,
        protocol: &'static dyn Protocol,
        wanted: Option<&'a HashSet<String>>,
    ) -> InstrumentPages<'a> {
        let missing = wanted.map(|names| names.iter().map(String::as_str).collect());
        InstrumentPages { client: self, protocol, missing, cursor: String::new(), page_count: 0, specs: Vec::new() }
    }
}

/// What was read of an instrument list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InstrumentList {
    /// Every row of the pages read, in the venue's order.
    pub specs: Vec<InstrumentSpec>,
    /// True if the last page was read: a name that is not in `specs` is not listed.
    pub is_complete: bool,
}

/// The pages of an instrument list, one after the other.
pub(super) struct InstrumentPages<'a> {
    client: &'a RestClient,
    protocol: &'static dyn Protocol,
    /// Names wanted and not found yet; `None`: all are wanted.
    missing: Option<HashSet<&'a str>>,
    cursor: String,
    page_count: u32,
    specs: Vec<InstrumentSpec>,
}

impl InstrumentPages<'_> {
    /// Path and query of the next page.
    pub(super) fn path(&self) -> Result<String, RestError> {
        let path = self.protocol.instruments_path(&self.cursor);
        let max_pages = self.client.options.max_pages;
        if self.page_count >= max_pages {
            return Err(RestError::Pages { url: self.client.url(&path)?.into(), max_pages });
        }
        Ok(path)
    }

    /// Takes the page's body. The list, once the last page is read or every wanted name is found.
    pub(super) fn take(&mut self, path: &str, body: &[u8]) -> Result<Option<InstrumentList>, RestError> {
        let (page, next) = self
            .protocol
            .read_instruments(body)
            .or_else(|source| Err(RestError::Instruments { url: self.client.url(path)?.into(), source }))?;
        self.page_count += 1;
        if let Some(missing) = &mut self.missing {
            for spec in &page {
                missing.remove(spec.name.as_str());
            }
        }
        self.specs.extend(page);
        let is_complete = next.is_none();
        if is_complete || self.missing.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(Some(InstrumentList { specs: std::mem::take(&mut self.specs), is_complete }));
        }
        self.cursor = next.unwrap_or_default();
        Ok(None)
    }
}

async fn refusal(url: String, mut response: reqwest::Response, answer: &RestAnswer) -> RestError {
    let mut body = Vec::new();
    // A body that breaks off is no second error: its beginning is shown.
    while let (true, Ok(Some(chunk))) = (body.len() < SAMPLE_BYTES, response.chunk().await) {
        body.extend_from_slice(&chunk);
    }
    body.truncate(SAMPLE_BYTES);
    let RestAnswer { status, retry_after, .. } = *answer;
    RestError::Refused { url, status, retry_after, body: String::from_utf8_lossy(&body).into_owned() }
}

fn headers(options: &RestOptions) -> Result<HeaderMap, RestError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        let refused = || RestError::Header { name: name.clone() };
        let header = HeaderName::try_from(name.as_str()).map_err(|_error| refused())?;
        let mut value = HeaderValue::try_from(value.reveal()).map_err(|_error| refused())?;
        value.set_sensitive(true);
        headers.append(header, value);
    }
    Ok(headers)
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
