//! Whom to trust: one TLS configuration for WebSocket and REST. Built once, at start, from the configuration.
//!
//! ```text
//! webpki-roots (Mozilla's list) + the PEM certificates of `ca_file`  ──►  rustls::ClientConfig
//! ```
//! There is no way to switch verification off: a private exchange, or the embedded one, is trusted by naming its CA.

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why no TLS configuration could be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is no PEM.
    #[error("ca_file {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The file holds no certificate.
    #[error("ca_file {}: no CERTIFICATE section was found, at least one is needed", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// One of its certificates cannot be a trust anchor.
    #[error("ca_file {}: certificate {position} is refused: {source}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which one, counted from 1.
        position: usize,
        /// Why.
        source: rustls::Error,
    },
    /// The cryptography does not offer what TLS needs.
    #[error("TLS: {0}")]
    Provider(#[from] rustls::Error),
}

/// The TLS configuration of every connection: Mozilla's roots, or those of `ca_file` and no others if there is one.
///
/// TLS 1.2 and 1.3 by aws-lc-rs, ALPN `http/1.1` (RFC 6455 upgrades HTTP/1.1 only), session resumption on: share the
/// result between connections, because the tickets live in it and save a reconnect one round trip.
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match ca_file {
        None => rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        Some(path) => certificates(path)?,
    };
    // The provider is named, not taken from the process: two are compiled in by way of dependencies, and rustls would
    // otherwise panic over the choice at the first connection.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Secrets leave rustls only for a connection whose records are opened in place, and then not the process.
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<rustls::RootCertStore, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    let read_error = |source| TlsError::Read { path: path.to_owned(), source };
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(read_error)? {
        count += 1;
        roots.add(certificate.map_err(read_error)?).map_err(|source| TlsError::Certificate {
            path: path.to_owned(),
            position: count,
            source,
        })?;
    }
    if count == 0 { Err(TlsError::Empty { path: path.to_owned() }) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::{TempFile, TestCa};

    #[test]
    fn a_ca_file_is_the_only_authority_to_trust_and_without_one_the_public_web_is() {
        assert!(client_config(None).is_ok());
        let file = TempFile::new(&TestCa::new().pem());
        assert_eq!(certificates(file.path()).unwrap().len(), 1, "its certificate and no other");
        let config = client_config(Some(file.path())).unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1"]);
    }

    #[test]
    fn a_ca_file_that_is_missing_empty_or_no_certificate_is_refused_by_name() {
        let missing = client_config(Some(Path::new("/nonexistent/ca.pem"))).unwrap_err().to_string();
        assert!(missing.starts_with("ca_file /nonexistent/ca.pem: "), "{missing}");

        let empty = TempFile::new("no certificate here\n");
        let text = client_config(Some(empty.path())).unwrap_err().to_string();
        assert!(text.contains("no CERTIFICATE section was found"), "{text}");

        let broken = TempFile::new("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let text = client_config(Some(broken.path())).unwrap_err().to_string();
        assert!(text.contains("certificate 1 is refused"), "{text}");
    }
}
