//! SIGINT, SIGTERM and SIGHUP, as something a loop can wait for.
//!
//! ```text
//! SIGINT, SIGTERM ──► thread "signals" ──first──► Stop ──► the command's loop: stop, report, exit 0
//!                                      └─second─► exit 130 at once, with the log lines still held back
//! SIGHUP (run)    ──►                  ─────────► Reload ──► the command's loop: read the files again, go on
//! ```
//! Installed before anything is started, so that a signal during start-up is not lost. A thread of its own, because the
//! command's thread is busy while it stops, which is when the second Ctrl-C comes.

use super::logging;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ended a wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wake {
    /// The time that was waited for has come.
    Deadline,
    /// The process was asked to end.
    Stop,
    /// The process was asked to read its configuration again.
    Reload,
}

/// A clock and the wish to end, for a command's loop; a script in tests.
pub(super) trait Wait {
    /// Time since the loop's clock was started.
    fn now(&self) -> Duration;
    /// Waits until `deadline` on the same clock, or until the process is asked for something.
    fn until(&mut self, deadline: Duration) -> Wake;
}

/// The process's signals, and the real clock.
#[derive(Debug)]
pub(super) struct Signals {
    asked: Receiver<Asked>,
    /// True while a reload waits to be taken: those that come meanwhile are the same one.
    is_reload_due: Arc<AtomicBool>,
    started_at: Instant,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Stop,
    Reload,
}

impl Signals {
    /// Takes SIGINT and SIGTERM over. SIGHUP ends the process, as it does where nobody takes it.
    ///
    /// # Errors
    /// What the system says where it gives no thread or no signal handler.
    pub(super) fn install() -> io::Result<Self> {
        Self::install_for(false)
    }

    /// Takes SIGHUP over as well: it asks for a reload.
    ///
    /// # Errors
    /// As [`Signals::install`].
    pub(super) fn install_with_reload() -> io::Result<Self> {
        Self::install_for(true)
    }

    fn install_for(reloads: bool) -> io::Result<Self> {
        let (asked_sender, asked) = channel();
        let (installed_sender, installed) = channel();
        let is_reload_due = Arc::new(AtomicBool::new(false));
        let is_due = Arc::clone(&is_reload_due);
        let listen = move || match listener(reloads) {
            Ok((runtime, listener)) => {
                let _ = installed_sender.send(Ok(()));
                runtime.block_on(listen(listener, asked_sender, &is_due));
            }
            Err(error) => {
                let _ = installed_sender.send(Err(error));
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen)?;
        let lost = || io::Error::other("the signal thread ended before it began");
        installed.recv().map_err(|_| lost())??;
        Ok(Self { asked, is_reload_due, started_at: Instant::now() })
    }

    /// Starts the clock again from zero.
    pub(super) fn restart_clock(&mut self) {
        self.started_at = Instant::now();
    }
}

/// The signals that are listened for.
struct Listener {
    interrupt: Signal,
    terminate: Signal,
    /// SIGHUP; `None` where it is left alone.
    hangup: Option<Signal>,
}

fn listener(reloads: bool) -> io::Result<(tokio::runtime::Runtime, Listener)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let interrupt = signal(SignalKind::interrupt())?;
    let terminate = signal(SignalKind::terminate())?;
    let hangup = if reloads { Some(signal(SignalKind::hangup())?) } else { None };
    drop(guard);
    Ok((runtime, Listener { interrupt, terminate, hangup }))
}

/// The code a shell gives a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 128 + 2;

async fn listen(mut listener: Listener, asked: Sender<Asked>, is_reload_due: &AtomicBool) {
    let mut is_asked = false;
    loop {
        let hangup = async {
            match &mut listener.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = listener.interrupt.recv() => {}
            _ = listener.terminate.recv() => {}
            _ = hangup => {
                if !is_reload_due.swap(true, Ordering::AcqRel) {
                    // Nobody listening any more means that the command is ending already.
                    let _ = asked.send(Asked::Reload);
                }
                continue;
            }
        }
        if is_asked {
            logging::release();
            std::process::exit(EXIT_INTERRUPTED);
        }
        is_asked = true;
        let _ = asked.send(Asked::Stop);
    }
}

impl Wait for Signals {
    fn now(&self) -> Duration {
        self.started_at.elapsed()
    }

    fn until(&mut self, deadline: Duration) -> Wake {
        match self.asked.recv_timeout(deadline.saturating_sub(self.now())) {
            Err(RecvTimeoutError::Timeout) => Wake::Deadline,
            Ok(Asked::Stop) | Err(RecvTimeoutError::Disconnected) => Wake::Stop,
            Ok(Asked::Reload) => {
                // Before the files are read: what is changed after that asks again.
                self.is_reload_due.store(false, Ordering::Release);
                Wake::Reload
            }
        }
    }
}
