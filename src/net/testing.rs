//! What the tests of this room stand on: a certificate authority, and loopback servers that do as they are told.

use super::{ConnectOptions, client_config};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Url;

/// A number no other caller in this process gets.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A file that lives as long as the value.
pub(super) struct TempFile(PathBuf);

impl TempFile {
    pub(super) fn new(text: &str) -> Self {
        let name = format!("tickwire-net-{}-{}.pem", std::process::id(), next_number());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A certificate authority of its own.
pub(super) struct TestCa(CertifiedIssuer<'static, KeyPair>);

impl TestCa {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Two authorities of one name would be told apart by their signatures alone.
        let name = format!("tickwire test CA {}", next_number());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A client configuration that trusts it.
    pub(super) fn client(&self) -> Arc<rustls::ClientConfig> {
        client_config(Some(TempFile::new(&self.pem()).path())).unwrap()
    }

    /// A server that carries this name.
    pub(super) fn acceptor(&self, name: &str) -> tokio_rustls::TlsAcceptor {
        self.acceptor_of(name, rustls::ALL_VERSIONS)
    }

    /// The same, which speaks these versions only.
    pub(super) fn acceptor_of(
        &self,
        name: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> tokio_rustls::TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        Arc::new(config).into()
    }
}

/// A listener on loopback.
pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves one connection.
pub(super) async fn serve_one<F, R>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> (SocketAddr, ServedOne<R>)
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let (listener, address) = listener().await;
    let served = tokio::spawn(async move {
        let (socket, _peer) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        serve(socket).await
    });
    (address, served)
}

pub(super) type ServedOne<R> = tokio::task::JoinHandle<R>;

pub(super) fn options(scheme: &str, address: SocketAddr) -> ConnectOptions {
    ConnectOptions::new(Url::parse(&format!("{scheme}://{address}/stream?key=in-the-query")).unwrap())
}

/// Reads one request head.
pub(super) async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// The 101 that answers a request.
pub(super) fn switching_protocols(request: &str) -> Vec<u8> {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
    .into_bytes()
}

/// An unmasked frame of up to 125 bytes.
pub(super) fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte, u8::try_from(payload.len()).unwrap()];
    frame.extend_from_slice(payload);
    frame
}

/// Echoes with tokio-tungstenite until the client closes.
pub(super) async fn echo(socket: impl AsyncRead + AsyncWrite + Unpin) {
    use futures_util::{SinkExt, StreamExt};
    let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            socket.send(message).await.unwrap();
        }
    }
}
