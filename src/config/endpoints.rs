//! Points a checked configuration at other hosts: those that `tickwire sim` prints as its first line.

use super::Config;
use super::check::{shown_url, url_fault};
use crate::market::Venue;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use url::Url;

/// Where each venue is served instead of at its production hosts.
///
/// `{"venues":{"binance-spot":{"ws":"ws://..","wss":"wss://.."|null,"rest":"http://..","rests":"https://.."|null}},
/// "ca_file":"..."|null}`
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct EndpointOverrides {
    /// By the venue's name.
    pub venues: BTreeMap<String, VenueEndpoints>,
    /// PEM file of the authority behind the `wss` endpoints.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// One venue's hosts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct VenueEndpoints {
    /// Plain WebSocket.
    #[serde(default)]
    pub ws: Option<String>,
    /// WebSocket over TLS; taken where it is given.
    #[serde(default)]
    pub wss: Option<String>,
    /// Plain REST.
    #[serde(default)]
    pub rest: Option<String>,
    /// REST over TLS; taken together with `wss`.
    #[serde(default)]
    pub rests: Option<String>,
}

/// Endpoints that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not the documented JSON.
    #[error("endpoints: {0}; allowed is the first line that `tickwire sim` prints")]
    Json(#[from] serde_json::Error),
    /// A venue the configuration needs is not among them.
    #[error("endpoints: no `{venue}`, which connection `{connection}` needs; found {found}")]
    Missing {
        /// The venue.
        venue: Venue,
        /// The connection.
        connection: String,
        /// The venues there are.
        found: String,
    },
    /// A venue without a URL of the kind that is needed, or with one of another scheme.
    #[error("endpoints: {venue}: {what}")]
    Url {
        /// The venue.
        venue: Venue,
        /// What is wrong, and what is allowed.
        what: String,
    },
    /// The authority's file is not there.
    #[error("endpoints: ca_file {path}: {error}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        error: std::io::Error,
    },
}

impl EndpointOverrides {
    /// Reads the first line of a text: what stands below it in a log of `tickwire sim` is no matter.
    ///
    /// # Errors
    /// [`EndpointError::Json`].
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        // A person may have formatted the object over several lines, so the whole text is tried first.
        serde_json::from_str(text).or_else(|error| {
            serde_json::from_str(text.lines().next().unwrap_or("")).map_err(|_| EndpointError::Json(error))
        })
    }
}

impl VenueEndpoints {
    /// The pair to use: over TLS where the WebSocket is offered over TLS.
    fn chosen(&self, venue: Venue) -> Result<(Url, Url), EndpointError> {
        let fault = |what: String| EndpointError::Url { venue, what };
        let url = self.wss.as_ref().or(self.ws.as_ref()).ok_or_else(|| fault("neither `wss` nor `ws`".into()))?;
        let is_tls = self.wss.is_some();
        let rest = if is_tls { self.rests.as_ref().or(self.rest.as_ref()) } else { self.rest.as_ref() };
        let rest = rest.ok_or_else(|| fault("no `rest`".into()))?;
        let parsed = |text: &str, schemes: [&str; 2]| {
            let url = Url::parse(text).ok().filter(|url| url_fault(url, &schemes).is_none());
            url.ok_or_else(|| fault(format!("{}: allowed is {}://HOST[:PORT]", shown_url(text), schemes.join(" or "))))
        };
        Ok((parsed(url, ["ws", "wss"])?, parsed(rest, ["http", "https"])?))
    }
}

impl Config {
    /// Points every connection at these endpoints: over TLS where a venue offers it, with their authority. Request
    /// connections stay where they are: the endpoints name none. What is read again later is pointed there too.
    ///
    /// # Errors
    /// [`EndpointError`]; nothing is changed then.
    pub fn point_at(&mut self, endpoints: &EndpointOverrides) -> Result<(), EndpointError> {
        if let Some(path) = &endpoints.ca_file {
            let opened = std::fs::File::open(path);
            opened.map_err(|error| EndpointError::CaFile { path: path.clone(), error })?;
        }
        let mut chosen = Vec::with_capacity(self.connections.len());
        for connection in &self.connections {
            let endpoint = endpoints.venues.get(connection.venue.name()).ok_or_else(|| EndpointError::Missing {
                venue: connection.venue,
                connection: connection.name.clone(),
                found: endpoints.venues.keys().cloned().collect::<Vec<_>>().join(", "),
            })?;
            chosen.push(endpoint.chosen(connection.venue)?);
        }
        for (connection, (url, rest_url)) in self.connections.iter_mut().zip(chosen) {
            (connection.url, connection.rest_url) = (url, rest_url);
            if endpoints.ca_file.is_some() {
                connection.tls.ca_file.clone_from(&endpoints.ca_file);
            }
        }
        self.endpoints = Some(endpoints.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConnectionConfig;

    fn config() -> Config {
        let connection = ConnectionConfig::new("a", Venue::BinanceSpot);
        Config::from_connections(vec![connection.subscribed_to(&["BTCUSDT"], &["trade"]).unwrap()]).unwrap()
    }

    #[test]
    fn a_config_is_pointed_over_tls_where_that_is_offered_and_plainly_where_it_is_not() {
        let both = r#"{"venues":{"binance-spot":{"ws":"ws://127.0.0.1:1","wss":"wss://localhost:2",
            "rest":"http://127.0.0.1:3","rests":"https://localhost:4"}},"ca_file":null}"#;
        let mut config = config();
        config.point_at(&EndpointOverrides::parse(both).unwrap()).unwrap();
        assert_eq!(config.connections[0].url.as_str(), "wss://localhost:2/");
        assert_eq!(config.connections[0].rest_url.as_str(), "https://localhost:4/");
        let plain = r#"{"venues":{"binance-spot":{"ws":"ws://127.0.0.1:1","wss":null,"rest":"http://127.0.0.1:3",
            "rests":null}},"ca_file":null}"#;
        config.point_at(&EndpointOverrides::parse(plain).unwrap()).unwrap();
        assert_eq!(config.connections[0].url.as_str(), "ws://127.0.0.1:1/");
        assert_eq!(config.connections[0].rest_url.as_str(), "http://127.0.0.1:3/");
    }

    #[test]
    fn a_line_below_the_first_does_not_matter() {
        let text = "{\"venues\":{}}\nsim: 3 connections\n";
        assert_eq!(EndpointOverrides::parse(text).unwrap().ca_file, None);
    }

    #[test]
    fn what_cannot_be_used_is_named_and_changes_nothing() {
        for (text, says) in [
            (r#"{"venues":{"bybit-spot":{"ws":"ws://127.0.0.1:1"}}}"#, "no `binance-spot`"),
            (r#"{"venues":{"binance-spot":{"ws":"ws://127.0.0.1:1"}}}"#, "no `rest`"),
            (r#"{"venues":{"binance-spot":{"rest":"http://127.0.0.1:1"}}}"#, "neither `wss` nor `ws`"),
            (r#"{"venues":{"binance-spot":{"ws":"http://h:1","rest":"http://h:1"}}}"#, "allowed is ws or wss"),
            (r#"{"venues":{},"ca_file":"/nowhere/ca.pem"}"#, "ca_file /nowhere/ca.pem"),
        ] {
            let mut config = config();
            let before = config.clone();
            let error = config.point_at(&EndpointOverrides::parse(text).unwrap()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert_eq!(config, before);
        }
        let error = EndpointOverrides::parse("[]").unwrap_err().to_string();
        assert!(error.contains("tickwire sim"), "{error}");
    }
}
