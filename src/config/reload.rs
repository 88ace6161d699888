//! Reads a configuration again, and adds connections to one that is in use.
//!
//! ```text
//! files remembered ──► load ──► pointed at the same endpoints ──► Config  (what differs: `diff`)
//! one more file, or a text ──► its connections beside those in use ──► the same checks ──► Config
//! ```
//! Called by the engine on SIGHUP and on commands. Changes nothing by itself.

use super::exchange::{self, Placed};
use super::place::Places;
use super::reader::Source;
use super::{Config, ConfigErrors, EndpointError, Host, Parts, load};
use std::path::Path;

/// Why a configuration was not read again.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It was built in code: there is no file.
    #[error("this configuration was not read from files; allowed is what `tickwire run CONFIG...` reads")]
    NoFiles,
    /// Something is wrong in the files.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The endpoints that replace those of the files do not serve what they ask for now.
    #[error(transparent)]
    Endpoints(#[from] EndpointError),
}

impl Config {
    /// Reads the same files again, and points what they say at the same endpoints. `strategies` are the names this build
    /// has.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn reread(&self, strategies: &[&str]) -> Result<Self, ReloadError> {
        if self.files.configs.is_empty() {
            return Err(ReloadError::NoFiles);
        }
        let config = load(&self.files.configs, self.files.engine.as_deref(), strategies)?;
        self.pointed(config)
    }

    /// This configuration with the connections of one more exchange file, which is read again with the others later.
    ///
    /// # Errors
    /// [`ReloadError`]: what is wrong in the file, or of its connections beside the others.
    pub fn with_file(&self, path: &Path) -> Result<Self, ReloadError> {
        let source = Source::open(path).map_err(|error| ConfigErrors::gather(vec![error]).unwrap_err())?;
        let mut config = self.with_source(source)?;
        if !config.files.configs.iter().any(|known| known == path) {
            config.files.configs.push(path.to_owned());
        }
        Ok(config)
    }

    /// This configuration with the connections of a text in TOML. No file holds them: reading the files again drops them.
    ///
    /// # Errors
    /// [`ReloadError`], where the text is called `added`.
    pub fn with_text(&self, toml: &str) -> Result<Self, ReloadError> {
        self.with_source(Source::of_text("added", toml))
    }

    fn with_source(&self, source: Source) -> Result<Self, ReloadError> {
        let environment = |variable: &str| std::env::var(variable).ok();
        let host = Host { cpus: super::cpus(), strategies: None, environment: &environment };
        let mut parts = Parts {
            exchanges: self.exchanges.clone(),
            placed: self.connections.iter().cloned().map(Placed::in_code).collect(),
            requests: Vec::new(),
            engine: Some((self.engine.clone(), Places::default())),
        };
        if let Some(document) = source.document() {
            let file = exchange::read(&source, document.as_table(), &host);
            for request in &file.requests {
                let place = request.places.of("");
                source.push(place.error("a [[request]]", "connections: requests are opened when the process starts"));
            }
            if file.placed.is_empty() && file.requests.is_empty() {
                let allowed = "at least one [[connection]] with name, venue, symbols and channels";
                source.push(source.place(1, "").error("no connection", allowed));
            }
            parts.exchanges.push(super::ExchangeConfig { name: file.name, file: source.file.clone() });
            parts.placed.extend(file.placed);
        }
        let config = parts.finish(&host, source.into_errors())?;
        let (files, requests) = (self.files.clone(), self.requests.clone());
        self.pointed(Self { files, requests, ..config })
    }

    fn pointed(&self, mut config: Self) -> Result<Self, ReloadError> {
        if let Some(endpoints) = &self.endpoints {
            config.point_at(endpoints)?;
        }
        Ok(config)
    }
}
