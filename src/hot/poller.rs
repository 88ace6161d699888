//! How a core waits: epoll over its sockets, and an eventfd by which a ring push wakes it.
//!
//! ```text
//! cold: push to the ring, then Waker::wake ──► eventfd ──┐
//! sockets readable ──────────────────────────────────────┴─► Poller::wait
//! ```
//! A core that spins never blocks here. The eventfd is written only while the other side says that it sleeps.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst, fence};

/// The token under which a poller reports its waker.
const WAKER_TOKEN: u64 = u64::MAX;

/// Readiness events taken by one wait. More than this many ready sockets are reported by the next one.
const EVENT_COUNT: usize = 64;

/// Wakes a sleeping reader of a ring. One side sleeps, any side wakes.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
    is_asleep: AtomicBool,
}

impl Waker {
    /// A waker whose sleeper is awake.
    ///
    /// # Errors
    /// The kernel's, when no file descriptor is left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointer; the flags are valid; the result is checked before use.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a descriptor that the call above has just opened and nobody else owns.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { event, is_asleep: AtomicBool::new(false) })
    }

    /// Called after a push: wakes the sleeper if it sleeps, at the cost of a fence and a load if it does not.
    pub fn wake(&self) {
        // The push must be visible before the flag is read, whatever ordering the ring itself uses.
        fence(SeqCst);
        if self.is_asleep.load(SeqCst) && self.is_asleep.swap(false, SeqCst) {
            let one = 1_u64;
            // SAFETY: the eight bytes of `one` are readable for the whole call. The counter cannot overflow: it is
            // written only after a change of `is_asleep`, and read by each waking.
            let _ = unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// Says that the sleeper is about to sleep. It must look at its rings once more after this, and before it sleeps:
    /// a push after that look finds the flag set, one before it is seen by the look.
    pub fn about_to_sleep(&self) {
        self.is_asleep.store(true, SeqCst);
        fence(SeqCst);
    }

    /// Says that the sleeper is awake. What was written, now or a moment later by a waker that was overtaken, is taken
    /// by the wait that sees it.
    pub fn awake(&self) {
        self.is_asleep.store(false, SeqCst);
    }

    /// Takes what was written, for a sleeper that was woken through the descriptor.
    pub fn drain(&self) {
        let mut count = 0_u64;
        // SAFETY: the eight bytes of `count` are writable for the whole call; the descriptor does not block.
        let _ = unsafe { libc::read(self.event.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

/// An epoll instance, level-triggered.
pub struct Poller {
    epoll: OwnedFd,
    events: [libc::epoll_event; EVENT_COUNT],
    ready: usize,
    has_waker: bool,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl Poller {
    /// A poller that watches `waker`.
    ///
    /// # Errors
    /// The kernel's, when no file descriptor is left.
    pub fn new(waker: &Waker) -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointer; the result is checked before use.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a descriptor that the call above has just opened and nobody else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let poller =
            Self { epoll, events: [libc::epoll_event { events: 0, u64: 0 }; EVENT_COUNT], ready: 0, has_waker: false };
        poller.control(libc::EPOLL_CTL_ADD, waker.as_raw_fd(), WAKER_TOKEN, false)?;
        Ok(poller)
    }

    /// Watches a socket for reading, and for writing too while `is_writing`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add(&self, fd: RawFd, token: u16, is_writing: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, u64::from(token), is_writing)
    }

    /// Changes what a watched socket is watched for.
    ///
    /// # Errors
    /// The kernel's.
    pub fn modify(&self, fd: RawFd, token: u16, is_writing: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, u64::from(token), is_writing)
    }

    /// Stops watching a socket. One already closed is no longer watched: the error says so and may be ignored.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, false)
    }

    /// Waits until something is ready or `timeout_ms` has passed (0: does not wait). Returns how many sockets are
    /// ready; [`Poller::token`] names them. An interrupted wait is an empty one.
    pub fn wait(&mut self, timeout_ms: i32) -> usize {
        let capacity = i32::try_from(EVENT_COUNT).expect("a small constant");
        // SAFETY: `events` is writable for `capacity` elements for the whole call.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), capacity, timeout_ms) };
        let count = usize::try_from(count).unwrap_or(0);
        // The waker is no socket: squeeze it out.
        self.ready = 0;
        self.has_waker = false;
        for at in 0..count {
            let event = self.events[at];
            if event.u64 == WAKER_TOKEN {
                self.has_waker = true;
            } else {
                self.events[self.ready] = event;
                self.ready += 1;
            }
        }
        self.ready
    }

    /// True if the last wait saw the waker's descriptor readable: [`Waker::drain`] is due, or every later wait returns at
    /// once.
    #[must_use]
    pub const fn has_waker(&self) -> bool {
        self.has_waker
    }

    /// The token of the n-th ready socket of the last wait.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "tokens were given as u16")]
    pub fn token(&self, at: usize) -> u16 {
        debug_assert!(at < self.ready);
        self.events[at].u64 as u16
    }

    /// Descriptors that the kernel watches for this poller, by its own list of them (proc(5), `fdinfo`).
    #[cfg(test)]
    pub(super) fn watched_count(&self) -> usize {
        let list = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.epoll.as_raw_fd())).expect("our own");
        list.lines().filter(|line| line.starts_with("tfd:")).count()
    }

    fn control(&self, operation: i32, fd: RawFd, token: u64, is_writing: bool) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLRDHUP | if is_writing { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: interest.cast_unsigned(), u64: token };
        // SAFETY: `event` is a valid epoll_event for the whole call; the kernel checks both descriptors.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    #[test]
    fn a_push_wakes_a_sleeper_and_costs_nothing_while_it_is_awake() {
        let waker = Arc::new(Waker::new().unwrap());
        let mut poller = Poller::new(&waker).unwrap();
        waker.wake();
        assert_eq!(poller.wait(0), 0, "nobody sleeps: nothing was written");
        waker.about_to_sleep();
        let other = Arc::clone(&waker);
        let thread = std::thread::spawn(move || other.wake());
        // Ten minutes: only a lost wake-up would wait for it.
        assert_eq!(poller.wait(600_000), 0, "woken by the waker, no socket ready");
        thread.join().unwrap();
        assert!(poller.has_waker());
        waker.awake();
        waker.drain();
        waker.about_to_sleep();
        assert_eq!((poller.wait(0), poller.has_waker()), (0, false), "what was written is taken");
    }

    #[test]
    fn a_waker_overtaken_between_its_flag_and_its_write_is_seen_by_the_next_wait() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new(&waker).unwrap();
        waker.about_to_sleep();
        // The sleeper comes back for a socket; the waker has swapped the flag and writes only now.
        waker.wake();
        waker.awake();
        poller.wait(0);
        assert!(poller.has_waker());
        waker.drain();
        poller.wait(0);
        assert!(!poller.has_waker(), "no wait returns at once for ever");
    }

    #[test]
    fn a_readable_socket_is_reported_by_its_token_until_it_is_removed() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new(&waker).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        poller.add(server.as_raw_fd(), 7, false).unwrap();
        assert_eq!(poller.wait(0), 0);
        client.write_all(b"x").unwrap();
        assert_eq!(poller.wait(600_000), 1);
        assert_eq!(poller.token(0), 7);
        poller.remove(server.as_raw_fd()).unwrap();
        assert_eq!(poller.wait(0), 0);
    }
}
