//! Certificates made at start, and a stream that is TLS or not.
//!
//! ```text
//! start ──► CA ──► leaf (127.0.0.1, ::1, localhost, the listen address) ──► ServerConfig
//!            └──► PEM file, for a client's `ca_file`
//! ```

use super::SimError;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The server's identity, and where its CA was written.
pub(super) struct Identity {
    pub(super) acceptor: TlsAcceptor,
    pub(super) ca_path: PathBuf,
    /// True if the file's place was chosen here, so that it is removed at the end.
    pub(super) is_temporary: bool,
}

impl Identity {
    /// Makes a CA and a certificate, and writes the CA's PEM.
    pub(super) fn make(listen: IpAddr, ca_path: Option<&Path>) -> Result<Self, SimError> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let (ca_path, is_temporary) = match ca_path {
            Some(path) => (path.to_owned(), false),
            None => {
                let number = MADE.fetch_add(1, Ordering::Relaxed);
                let name = format!("tickwire-sim-ca-{}-{number}.pem", std::process::id());
                (std::env::temp_dir().join(name), true)
            }
        };
        let (config, ca_pem) = certificates(listen).map_err(|error| SimError::Certificate(error.to_string()))?;
        std::fs::write(&ca_path, ca_pem).map_err(|error| SimError::CaFile { path: ca_path.clone(), error })?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca_path, is_temporary })
    }
}

fn certificates(listen: IpAddr) -> Result<(ServerConfig, String), Box<dyn std::error::Error + Send + Sync>> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "tickwire embedded exchange CA");
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !names.contains(&listen.to_string()) {
        names.push(listen.to_string());
    }
    let leaf_key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "tickwire embedded exchange");
    let leaf = leaf.signed_by(&leaf_key, &issuer)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, ca_pem))
}

/// A TCP stream, or TLS on one.
pub(super) enum MaybeTls {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl MaybeTls {
    /// Accepts a connection: TLS if there is an acceptor, within 10 seconds.
    pub(super) async fn accept(tcp: TcpStream, acceptor: Option<&TlsAcceptor>) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        match acceptor {
            None => Ok(Self::Plain(tcp)),
            Some(acceptor) => match tokio::time::timeout(Duration::from_secs(10), acceptor.accept(tcp)).await {
                Ok(stream) => stream.map(|stream| Self::Tls(Box::new(stream))),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }

    /// Makes the drop of this stream a TCP reset.
    pub(super) fn reset_on_drop(&self) {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        };
        // A socket that refuses the option is gone already.
        let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}

impl AsyncRead for MaybeTls {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for MaybeTls {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
