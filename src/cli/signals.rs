//! SIGINT and SIGTERM, as something a loop can wait for.
//!
//! ```text
//! SIGINT, SIGTERM ──► thread "signals" ──first──► Stop ──► the command's loop: stop, report, exit 0
//!                                      └─second─► exit 130 at once, with the log lines still held back
//! ```
//! Installed before anything is started, so that a signal during start-up is not lost. A thread of its own, because the
//! command's thread is busy while it stops, which is when the second Ctrl-C comes.

use super::logging;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// What ended a wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wake {
    /// The time that was waited for has come.
    Deadline,
    /// The process was asked to end.
    Stop,
}

/// A clock and the wish to end, for a command's loop; a script in tests.
pub(super) trait Wait {
    /// Time since the loop's clock was started.
    fn now(&self) -> Duration;
    /// Waits until `deadline` on the same clock, or until the process is asked to end.
    fn until(&mut self, deadline: Duration) -> Wake;
}

/// The process's signals, and the real clock.
#[derive(Debug)]
pub(super) struct Signals {
    stop: Receiver<()>,
    started_at: Instant,
}

impl Signals {
    /// Takes SIGINT and SIGTERM over.
    ///
    /// # Errors
    /// What the system says where it gives no thread or no signal handler.
    pub(super) fn install() -> io::Result<Self> {
        let (stop_sender, stop) = channel();
        let (installed_sender, installed) = channel();
        let listen = move || match listener() {
            Ok((runtime, interrupt, terminate)) => {
                let _ = installed_sender.send(Ok(()));
                runtime.block_on(listen(interrupt, terminate, stop_sender));
            }
            Err(error) => {
                let _ = installed_sender.send(Err(error));
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen)?;
        let lost = || io::Error::other("the signal thread ended before it began");
        installed.recv().map_err(|_| lost())??;
        Ok(Self { stop, started_at: Instant::now() })
    }

    /// Starts the clock again from zero.
    pub(super) fn restart_clock(&mut self) {
        self.started_at = Instant::now();
    }
}

type Listener = (tokio::runtime::Runtime, tokio::signal::unix::Signal, tokio::signal::unix::Signal);

fn listener() -> io::Result<Listener> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let interrupt = signal(SignalKind::interrupt())?;
    let terminate = signal(SignalKind::terminate())?;
    drop(guard);
    Ok((runtime, interrupt, terminate))
}

/// The code a shell gives a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 128 + 2;

async fn listen(
    mut interrupt: tokio::signal::unix::Signal,
    mut terminate: tokio::signal::unix::Signal,
    stop: Sender<()>,
) {
    let mut is_asked = false;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if is_asked {
            logging::release();
            std::process::exit(EXIT_INTERRUPTED);
        }
        is_asked = true;
        // Nobody listening any more means that the command is ending already.
        let _ = stop.send(());
    }
}

impl Wait for Signals {
    fn now(&self) -> Duration {
        self.started_at.elapsed()
    }

    fn until(&mut self, deadline: Duration) -> Wake {
        match self.stop.recv_timeout(deadline.saturating_sub(self.now())) {
            Err(RecvTimeoutError::Timeout) => Wake::Deadline,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Wake::Stop,
        }
    }
}
