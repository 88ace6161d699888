//! The control socket: a Unix socket of the owner's alone, on which a running engine is asked and answers.
//!
//! ```text
//! bind: folder locked ──► mode 0600 before the name exists ──► bound ──in use?──► somebody answers: refused
//!                                                                            └──► nobody: stale, replaced
//! serve: accept ──► a task a client:  read a line ──► handler ──► write the answer     (one at a time)
//!           └──► beyond `clients_max`: told so, and gone      └──► events, one a line, once it follows
//! end:   dropped ──► every client gone ──► the name removed, where it is still ours
//! ```
//! Called by the engine, on the cold runtime. A line has a bound, a client that does not read is dropped after a while, one
//! that says nothing too, and each is counted. Whatever bytes come, the answer is an object that says what is allowed.

use super::control_protocol::{ControlRequest, ControlResponse};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{File, Permissions, TryLockError};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Owner may read and write, which for a socket is to connect; nobody else anything.
const MODE: u32 = 0o600;

/// Clients that wait to be accepted.
const BACKLOG: i32 = 16;

/// Bytes of one read.
const READ_BYTES: usize = 4_096;

/// How often, and how far apart, the folder's lock is tried: two seconds together.
const LOCK_ATTEMPTS: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Answers requests. Cold: once per command.
pub trait ControlHandler: Send + Sync + 'static {
    /// Does what is asked, and tells how it went.
    fn handle(&self, request: ControlRequest) -> impl Future<Output = ControlResponse> + Send;

    /// The events from now on, each one JSON value in text, without a line end in it.
    fn events(&self) -> broadcast::Receiver<Arc<str>>;
}

/// Where the socket is, and what its clients may cost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ControlSocketOptions {
    /// Its path; the folder exists.
    pub path: PathBuf,
    /// Clients at once.
    pub clients_max: usize,
    /// Bytes of one request.
    pub line_bytes_max: usize,
    /// A client that takes no byte for this long is dropped.
    pub write_timeout: Duration,
    /// A client that follows no events and asks nothing for this long is dropped.
    pub idle_timeout: Duration,
}

impl ControlSocketOptions {
    /// A socket at this path: 16 clients, requests of up to 256 KiB (an exchange file's text fits).
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            clients_max: 16,
            line_bytes_max: 256 * 1024,
            write_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketError {
    /// Somebody answers there.
    #[error("control_socket {path}: another engine serves it; allowed is a path of its own for each engine")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Something else stands there, and is left alone.
    #[error("control_socket {path}: a file that is no socket; allowed is a path where nothing is")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("control_socket {path}: {what}: {error}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

/// What the control socket did so far.
#[derive(Debug, Default)]
pub struct ControlSocketStats {
    clients: AtomicU64,
    requests: AtomicU64,
    refused_clients: AtomicU64,
    bad_requests: AtomicU64,
    slow_clients: AtomicU64,
    idle_clients: AtomicU64,
    events_lost: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct ControlSocketCounts {
    /// Clients accepted.
    pub clients: u64,
    /// Requests handled.
    pub requests: u64,
    /// Clients sent away because there were too many.
    pub refused_clients: u64,
    /// Lines that were no request: garbage, too long, cut off, no UTF-8.
    pub bad_requests: u64,
    /// Clients dropped because they did not read.
    pub slow_clients: u64,
    /// Clients dropped because they asked nothing.
    pub idle_clients: u64,
    /// Events that a client was too slow to be told of.
    pub events_lost: u64,
}

impl ControlSocketStats {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> ControlSocketCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ControlSocketCounts {
            clients: of(&self.clients),
            requests: of(&self.requests),
            refused_clients: of(&self.refused_clients),
            bad_requests: of(&self.bad_requests),
            slow_clients: of(&self.slow_clients),
            idle_clients: of(&self.idle_clients),
            events_lost: of(&self.events_lost),
        }
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// The name of the socket, removed at the end where it is still ours.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl Drop for Name {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|id| id == self.id) {
            // It was there a moment ago; if it is gone now, that is what was wanted.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// A bound control socket.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    options: ControlSocketOptions,
    stats: Arc<ControlSocketStats>,
    name: Name,
}

impl ControlSocket {
    /// Makes the socket. Called within a tokio runtime.
    ///
    /// # Errors
    /// [`ControlSocketError`]; what stood at the path still stands there then.
    pub fn bind(options: ControlSocketOptions) -> Result<Self, ControlSocketError> {
        let path = options.path.clone();
        let fault = |what: &'static str| {
            let path = path.clone();
            move |error| ControlSocketError::Io { path, what, error }
        };
        // Two engines that find the same stale socket must not both replace it: one of them would replace the other's.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let lock = File::open(folder).map_err(fault("its folder"))?;
        locked(&lock).map_err(fault("locking its folder"))?;
        let listener = match bound(&path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(&path)?;
                bound(&path)
            }
            other => other,
        };
        let listener = listener.map_err(fault("binding"))?;
        drop(lock);
        let name = Name { id: identity(&path).map_err(fault("looking at it"))?, path: path.clone() };
        // Where the system does not take the mode from the socket, it is set now: before anything can be accepted.
        std::fs::set_permissions(&path, Permissions::from_mode(MODE)).map_err(fault("its mode"))?;
        listener.listen(BACKLOG).map_err(fault("listening"))?;
        listener.set_nonblocking(true).map_err(fault("listening"))?;
        let listener = std::os::unix::net::UnixListener::from(OwnedFd::from(listener));
        let listener = UnixListener::from_std(listener).map_err(fault("listening"))?;
        Ok(Self { listener, options, stats: Arc::default(), name })
    }

    /// Its counters, for as long as anybody wants them.
    #[must_use]
    pub fn stats(&self) -> Arc<ControlSocketStats> {
        Arc::clone(&self.stats)
    }

    /// Serves until it is dropped; the clients and the socket's name go with it.
    pub async fn serve<H: ControlHandler>(self, handler: Arc<H>) {
        let Self { listener, options, stats, name } = self;
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = clients.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) if clients.len() >= options.clients_max => {
                    count(&stats.refused_clients, 1);
                    let error = format!("{} clients are connected already", options.clients_max);
                    // Non-blocking: who is not wanted is not waited for.
                    let _ = stream.try_write(ControlResponse::refused(error, "fewer at once").to_line().as_bytes());
                }
                Ok((stream, _)) => {
                    count(&stats.clients, 1);
                    let client = Client {
                        stream,
                        line: Vec::new(),
                        scanned: 0,
                        is_skipping: false,
                        options: options.clone(),
                        stats: Arc::clone(&stats),
                    };
                    let handler = Arc::clone(&handler);
                    clients.spawn(async move { client.serve(&*handler).await });
                }
                Err(error) => {
                    // Out of descriptors, say: it may pass, and must not become a loop that never sleeps.
                    tracing::warn!(path = %name.path.display(), %error, "control socket: accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Locks the folder, which another engine holds only for as long as it binds.
fn locked(folder: &File) -> io::Result<()> {
    for _ in 0..LOCK_ATTEMPTS {
        match folder.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, "somebody holds it"))
}

/// A socket of ours with the path as its name, not listening yet.
fn bound(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The name gets its mode from the socket when it is bound, so that there is no moment in which others could connect.
    let file = File::from(OwnedFd::from(socket));
    file.set_permissions(Permissions::from_mode(MODE))?;
    let socket = Socket::from(OwnedFd::from(file));
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// Removes a socket at which nobody answers.
fn remove_stale(path: &Path) -> Result<(), ControlSocketError> {
    let fault = |what, error| ControlSocketError::Io { path: path.to_owned(), what, error };
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault("looking at it", error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ControlSocketError::NotASocket { path: path.to_owned() });
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(ControlSocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| fault("removing a stale one", error))
        }
        // A full backlog is somebody's, and a socket we may not use is not ours to remove.
        Err(error) => Err(fault("asking who serves it", error)),
    }
}

/// One client.
struct Client {
    stream: UnixStream,
    /// Received and not yet handled: at most `line_bytes_max` and one read.
    line: Vec<u8>,
    /// Bytes of `line` known to hold no line end.
    scanned: usize,
    /// True while the rest of a line that is too long goes by.
    is_skipping: bool,
    options: ControlSocketOptions,
    stats: Arc<ControlSocketStats>,
}

/// Why a client is served no longer.
#[derive(Debug, Eq, PartialEq)]
enum End {
    /// It went, or its socket failed.
    Gone,
    /// It does not read.
    Slow,
    /// It asks nothing.
    Idle,
}

impl Client {
    async fn serve<H: ControlHandler>(mut self, handler: &H) {
        match self.converse(handler).await {
            End::Gone => {}
            End::Slow => count(&self.stats.slow_clients, 1),
            End::Idle => count(&self.stats.idle_clients, 1),
        }
    }

    async fn converse<H: ControlHandler>(&mut self, handler: &H) -> End {
        let mut events: Option<broadcast::Receiver<Arc<str>>> = None;
        loop {
            while let Some(line) = self.next_line() {
                if let Err(end) = self.answer(line, handler, &mut events).await {
                    return end;
                }
            }
            let mut read = [0_u8; READ_BYTES];
            let waited = tokio::select! {
                // An event that is due goes out before the next request is read: an asker cannot starve itself.
                biased;
                event = next_event(&mut events) => Waited::Event(event),
                read = self.stream.read(&mut read) => Waited::Read(read),
                () = tokio::time::sleep(self.options.idle_timeout), if events.is_none() => Waited::Nothing,
            };
            let told = match waited {
                Waited::Event(Ok(event)) => self.write(&format!("{{\"event\":{event}}}\n")).await,
                Waited::Event(Err(RecvError::Lagged(lost))) => {
                    count(&self.stats.events_lost, lost);
                    self.write(&format!("{{\"events_lost\":{lost}}}\n")).await
                }
                Waited::Event(Err(RecvError::Closed)) | Waited::Read(Err(_)) => return End::Gone,
                Waited::Read(Ok(0)) => return self.end_of_requests().await,
                Waited::Read(Ok(bytes)) => self.received(&read[..bytes]).await,
                Waited::Nothing => return End::Idle,
            };
            if let Err(end) = told {
                return end;
            }
        }
    }

    /// Takes bytes in; a line that grows too long is answered at once, and its rest goes by unread.
    async fn received(&mut self, bytes: &[u8]) -> Result<(), End> {
        let bytes = match (self.is_skipping, bytes.iter().position(|&byte| byte == b'\n')) {
            (true, None) => return Ok(()),
            (true, Some(end)) => &bytes[end + 1..],
            (false, _) => bytes,
        };
        self.is_skipping = false;
        self.line.extend_from_slice(bytes);
        let is_whole = self.line[self.scanned..].contains(&b'\n');
        if is_whole || self.line.len() <= self.options.line_bytes_max {
            return Ok(());
        }
        (self.is_skipping, self.scanned) = (true, 0);
        self.line.clear();
        self.refuse_line("a line without end so far").await
    }

    async fn refuse_line(&mut self, error: &str) -> Result<(), End> {
        count(&self.stats.bad_requests, 1);
        let allowed = format!("one JSON object a line, of at most {} bytes", self.options.line_bytes_max);
        self.write(&ControlResponse::refused(error, allowed).to_line()).await
    }

    /// The next whole line, without its end.
    fn next_line(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.line[self.scanned..].iter().position(|&byte| byte == b'\n') else {
            self.scanned = self.line.len();
            return None;
        };
        let rest = self.line.split_off(self.scanned + end + 1);
        let mut line = std::mem::replace(&mut self.line, rest);
        self.scanned = 0;
        line.pop();
        Some(line)
    }

    async fn answer<H: ControlHandler>(
        &mut self,
        line: Vec<u8>,
        handler: &H,
        events: &mut Option<broadcast::Receiver<Arc<str>>>,
    ) -> Result<(), End> {
        if line.len() > self.options.line_bytes_max {
            return self.refuse_line("a line that is too long").await;
        }
        let request = match ControlRequest::parse(&line) {
            Ok(request) => request,
            Err(response) => {
                count(&self.stats.bad_requests, 1);
                return self.write(&response.to_line()).await;
            }
        };
        count(&self.stats.requests, 1);
        // Before the answer, so that nothing between it and the first event is missed.
        let followed = matches!(request, ControlRequest::Events { follow: true }).then(|| handler.events());
        let response = handler.handle(request).await;
        if matches!(response, ControlResponse::Done(_)) && followed.is_some() {
            *events = followed;
        }
        self.write(&response.to_line()).await
    }

    /// The client has said all it will say: half a line is answered, for it may be waiting for that.
    async fn end_of_requests(&mut self) -> End {
        if self.line.is_empty() {
            return End::Gone;
        }
        self.refuse_line("half a line: the client ended before it did").await.err().unwrap_or(End::Gone)
    }

    async fn write(&mut self, text: &str) -> Result<(), End> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // By the piece: a long answer to a slow reader is fine, as long as it does read.
            match timeout(self.options.write_timeout, self.stream.write(rest)).await {
                Ok(Ok(0) | Err(_)) => return Err(End::Gone),
                Ok(Ok(bytes)) => rest = &rest[bytes..],
                Err(_) => return Err(End::Slow),
            }
        }
        Ok(())
    }
}

/// What ended a client's wait.
enum Waited {
    Event(Result<Arc<str>, RecvError>),
    Read(io::Result<usize>),
    Nothing,
}

/// The next event; never, for a client that follows none.
async fn next_event(events: &mut Option<broadcast::Receiver<Arc<str>>>) -> Result<Arc<str>, RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}
