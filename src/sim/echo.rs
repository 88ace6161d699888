//! A plain RFC 6455 echo server for tests: `ws` and, on request, `wss`.

use super::SimError;
use super::tls::{Identity, MaybeTls};
use futures_util::{SinkExt, StreamExt};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A running echo server; it ends when this is dropped.
pub struct EchoServer {
    ws: String,
    wss: Option<String>,
    ca_path: Option<PathBuf>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
}

impl EchoServer {
    /// The plain endpoint, `ws://127.0.0.1:port`.
    #[must_use]
    pub fn ws(&self) -> &str {
        &self.ws
    }

    /// The TLS endpoint, if it was asked for.
    #[must_use]
    pub fn wss(&self) -> Option<&str> {
        self.wss.as_deref()
    }

    /// The PEM file of the CA that signed the TLS endpoint's certificate.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_path.as_deref()
    }

    /// Stops listening and drops every connection.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for listener in self.listeners.drain(..) {
            // A listener that panicked has stopped, too.
            let _ = listener.await;
        }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(path) = &self.ca_path {
            // It lies in the temporary directory; the worst is that it stays there.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Starts an echo server on a loopback port the kernel chooses: `ws`, and `wss` too if `tls`.
///
/// # Errors
/// [`SimError`]: no port, no certificate, or no place for the CA's file.
pub async fn start(tls: bool) -> Result<EchoServer, SimError> {
    let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (stop, stopped) = watch::channel(false);
    let mut listeners = Vec::new();
    let mut bind = async |acceptor: Option<TlsAcceptor>| {
        let listener = TcpListener::bind((listen, 0)).await.map_err(SimError::Listen)?;
        let address = listener.local_addr().map_err(SimError::Listen)?;
        listeners.push(tokio::spawn(run(listener, acceptor, stopped.clone())));
        Ok(address)
    };
    let ws = format!("ws://{}", bind(None).await?);
    let (mut wss, mut ca_path) = (None, None);
    if tls {
        let identity = Identity::make(listen, None)?;
        wss = Some(format!("wss://{}", bind(Some(identity.acceptor)).await?));
        ca_path = Some(identity.ca_path);
    }
    Ok(EchoServer { ws, wss, ca_path, stop, listeners })
}

async fn run(listener: TcpListener, acceptor: Option<TlsAcceptor>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            Ok((tcp, _)) = listener.accept() => { connections.spawn(echo(tcp, acceptor.clone())); }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Sends back every text and binary message until the client closes. `None` once the connection is gone.
async fn echo(tcp: TcpStream, acceptor: Option<TlsAcceptor>) -> Option<()> {
    let stream = MaybeTls::accept(tcp, acceptor.as_ref()).await.ok()?;
    let (mut sink, stream) = tokio_tungstenite::accept_async(stream).await.ok()?.split();
    // What has arrived is answered in one write: `ready_chunks` gives all of it, or waits for the first.
    let mut chunks = stream.ready_chunks(256);
    while let Some(messages) = chunks.next().await {
        for message in messages {
            let message = message.ok()?;
            if message.is_text() || message.is_binary() {
                sink.feed(message).await.ok()?;
            }
        }
        // After a close frame the flush sends our answer to it and then fails, as it should.
        sink.flush().await.ok()?;
    }
    Some(())
}
