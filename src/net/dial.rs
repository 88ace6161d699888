//! From a URL to a connected socket: name, address, options, TCP. Shared by both transports.
//!
//! ```text
//! Target::of(url) ──► addresses (DNS, or the address itself) ──► for each, within its share of the time-out:
//!                     socket2: options, source address ──► non-blocking connect, awaited on tokio
//! ```
//! Options are set before connect because the receive buffer decides the window the SYN offers.

use super::connect::{Attempt, ConnectError, ConnectOptions, Granted, SocketOptions, Step, Timings, host_of};
use super::tls::client_config;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use url::Host;

/// A URL that has been checked.
pub(super) struct Target {
    /// Scheme, host and port: what an error may show. Path and query may hold keys.
    pub(super) label: String,
    /// True for `wss`.
    pub(super) is_secure: bool,
    host: Host<String>,
    port: u16,
}

/// A connected socket.
pub(super) struct Dialled {
    pub(super) socket: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) granted: Granted,
    /// DNS and TCP filled in.
    pub(super) timings: Timings,
}

impl Target {
    pub(super) fn of(options: &ConnectOptions) -> Result<Self, ConnectError> {
        let url = &options.url;
        let scheme = url.scheme();
        let label = host_of(url);
        let refused = |what| ConnectError::Url { host: label.clone(), what };
        let is_secure = match scheme {
            "ws" => false,
            "wss" => true,
            _ => return Err(refused("the scheme must be ws or wss")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("user information in a URL is not allowed, it would be logged: use a header"));
        }
        let host = url.host().ok_or_else(|| refused("the URL names no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| refused("the URL names no port"))?;
        Ok(Self { label, is_secure, host, port })
    }

    /// TLS configuration and the name the certificate must carry.
    pub(super) fn tls(
        &self,
        options: &ConnectOptions,
    ) -> Result<(Arc<rustls::ClientConfig>, ServerName<'static>), ConnectError> {
        let config = match &options.tls {
            Some(config) => Arc::clone(config),
            None => {
                client_config(None).map_err(|source| ConnectError::TlsConfig { host: self.label.clone(), source })?
            }
        };
        let name = match &self.host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| ConnectError::Url {
                host: self.label.clone(),
                what: "the host is no name a certificate could carry",
            })?,
            Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
        };
        Ok((config, name))
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Domain(name) => Ok(tokio::net::lookup_host((name.as_str(), self.port)).await?.collect()),
            Host::Ipv4(address) => Ok(vec![SocketAddr::new(IpAddr::V4(*address), self.port)]),
            Host::Ipv6(address) => Ok(vec![SocketAddr::new(IpAddr::V6(*address), self.port)]),
        }
    }
}

/// Awaits a step for no longer than its time-out.
pub(super) async fn within<T>(
    step: Step,
    timeout: Duration,
    target: &Target,
    work: impl Future<Output = T>,
) -> Result<T, ConnectError> {
    tokio::time::timeout(timeout, work).await.map_err(|_elapsed| ConnectError::TimedOut {
        host: target.label.clone(),
        step,
        timeout,
    })
}

/// Resolves and connects: each address in the resolver's order, those to be avoided last, until one answers.
pub(super) async fn dial(options: &ConnectOptions, target: &Target) -> Result<Dialled, ConnectError> {
    let started = Instant::now();
    let timeout = options.timeouts.dns;
    let mut addresses = within(Step::Dns, timeout, target, target.addresses())
        .await?
        .map_err(|source| ConnectError::Dns { host: target.label.clone(), timeout, source })?;
    let dns = started.elapsed();
    addresses.sort_by_key(|address| options.avoided.contains(&address.ip()));

    let started = Instant::now();
    let timeout = options.timeouts.connect;
    let mut attempts = Vec::new();
    for (index, &address) in addresses.iter().enumerate() {
        // An address that swallows the SYN must leave time for those behind it.
        let left = timeout.saturating_sub(started.elapsed());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, connect_to(address, &options.socket)).await {
            Ok(Ok((socket, local, granted))) => {
                let timings = Timings { dns, tcp: started.elapsed(), ..Timings::default() };
                return Ok(Dialled { socket, peer: address, local, granted, timings });
            }
            Ok(Err(source)) => attempts.push(Attempt { address, source }),
            Err(_elapsed) => {
                let what = format!("no answer in {share:?}, its share of the time-out");
                attempts.push(Attempt { address, source: io::Error::new(io::ErrorKind::TimedOut, what) });
            }
        }
    }
    let host = target.label.clone();
    if !attempts.is_empty() && attempts.iter().all(|attempt| attempt.source.kind() == io::ErrorKind::TimedOut) {
        return Err(ConnectError::TimedOut { host, step: Step::Connect, timeout });
    }
    Err(ConnectError::Connect { host, timeout, attempts })
}

async fn connect_to(address: SocketAddr, options: &SocketOptions) -> io::Result<(TcpStream, SocketAddr, Granted)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(keepalive) = options.keepalive {
        let parameters = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.probe_count);
        socket.set_tcp_keepalive(&parameters)?;
    }
    if let Some(source) = options.source_address {
        if source.is_ipv4() != address.is_ipv4() {
            let what = format!("the source address {source} is of the other address family");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, what));
        }
        socket.bind(&SocketAddr::new(source, 0).into()).map_err(|error| {
            io::Error::new(error.kind(), format!("the source address {source} cannot be used: {error}"))
        })?;
    }
    let socket = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    let local = socket.local_addr()?;
    let view = SockRef::from(&socket);
    let granted = Granted {
        receive_buffer_bytes: view.recv_buffer_size()?,
        send_buffer_bytes: view.send_buffer_size()?,
        nodelay: view.tcp_nodelay()?,
    };
    Ok((socket, local, granted))
}
