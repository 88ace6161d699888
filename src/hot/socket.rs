//! A connected socket that never blocks, and when its last bytes came: by our clock always, by the kernel's where asked for.
//!
//! ```text
//! network card ──► kernel's stamp (CLOCK_REALTIME) ──► socket ── recv, or recvmsg with a stamp ──► our stamp (ticks)
//! ```
//! Used by the stream, plain and TLS. With [`Socket::stamp_in_kernel`] a read is one `recvmsg` with room for one control
//! message; without, it is one plain `recv`. Allocates nothing after construction.

use super::clock::{TickSource, Ticks};
use super::stream::{ReadOutcome, StreamError};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// See the module.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    source: TickSource,
    received_at: Ticks,
    has_received: bool,
    kernel: KernelStamps,
}

/// The kernel's stamps of received bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum KernelStamps {
    /// Nobody asked for them.
    Off,
    /// Asked for; the last read's, until it is taken: ns since the epoch on CLOCK_REALTIME.
    On(Option<i64>),
}

impl Socket {
    /// A connected socket, which becomes non-blocking.
    ///
    /// # Errors
    /// The socket's own.
    pub(super) fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        let source = TickSource::detect();
        Ok(Self { tcp, source, received_at: source.ticks(), has_received: false, kernel: KernelStamps::Off })
    }

    /// Asks the kernel to stamp what it receives from now on (`SO_TIMESTAMPNS`). Over TCP the stamp of a read is that of
    /// its last segment.
    ///
    /// # Errors
    /// The kernel's, where it cannot.
    pub(super) fn stamp_in_kernel(&mut self) -> io::Result<()> {
        let on: libc::c_int = 1;
        let on_bytes = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("a small constant");
        // SAFETY: `on` is readable for the whole call and `on_bytes` is its size; the kernel checks the descriptor.
        let result = unsafe {
            libc::setsockopt(self.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), on_bytes)
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        self.kernel = KernelStamps::On(None);
        Ok(())
    }

    /// When the last read that brought bytes returned; before the first, when the socket came here.
    #[inline]
    pub(super) fn received_at(&self) -> Ticks {
        self.received_at
    }

    /// What is taken before a first read was received by the handshake, on the cold side: it counts as received now.
    #[inline]
    pub(super) fn receive_first(&mut self) {
        if !self.has_received {
            self.received_at = self.source.ticks();
        }
    }

    /// The kernel's stamp of the last read that brought bytes, once: ns since the epoch on CLOCK_REALTIME. `None` where
    /// nobody asked for it, or the bytes came before that.
    #[inline]
    pub(super) fn take_kernel_stamp(&mut self) -> Option<i64> {
        match &mut self.kernel {
            KernelStamps::Off => None,
            KernelStamps::On(stamp) => stamp.take(),
        }
    }

    /// Ends one direction, or both.
    ///
    /// # Errors
    /// The socket's own.
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.tcp.shutdown(how)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

/// One `recv` into a part that is not empty, stamped at its return.
#[inline]
pub(super) fn receive(socket: &mut Socket, free: &mut [u8]) -> Result<ReadOutcome, StreamError> {
    loop {
        let read = match &mut socket.kernel {
            KernelStamps::Off => socket.tcp.read(free),
            KernelStamps::On(stamp) => receive_stamped(&socket.tcp, free, stamp),
        };
        return match read {
            Ok(0) => Ok(ReadOutcome::End),
            Ok(bytes) => {
                socket.received_at = socket.source.ticks();
                socket.has_received = true;
                Ok(ReadOutcome::Bytes(bytes))
            }
            Err(error) => match error.raw_os_error() {
                // By the number: this is what a core that spins does most, and the kind is looked up in a table of them all.
                Some(libc::EAGAIN) => Ok(ReadOutcome::WouldBlock),
                Some(libc::EINTR) => continue,
                _ => Err(error.into()),
            },
        };
    }
}

/// One `send`; 0 where the socket takes nothing now.
pub(super) fn send(socket: &mut Socket, bytes: &[u8]) -> Result<usize, StreamError> {
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        return match socket.tcp.write(bytes) {
            Ok(sent) => Ok(sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// The one control message there is room for, as the kernel lays it out: nothing to walk, nothing to cast.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    time: libc::timespec,
}

/// A `recv` that also brings the kernel's stamp.
#[inline(never)]
fn receive_stamped(tcp: &TcpStream, free: &mut [u8], stamp: &mut Option<i64>) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: free.as_mut_ptr().cast(), iov_len: free.len() };
    // SAFETY: integers of which zero is a value.
    let mut control: Control = unsafe { std::mem::zeroed() };
    // SAFETY: pointers and integers of which zero is a value: no name, no parts, no control messages.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: `message` points at one part, which is all of `free`, and at `control` with its size: both are writable for
    // the whole call, and the kernel writes within them.
    let received = unsafe { libc::recvmsg(tcp.as_raw_fd(), &raw mut message, 0) };
    let Ok(bytes) = usize::try_from(received) else { return Err(io::Error::last_os_error()) };
    let is_whole = message.msg_controllen as usize >= size_of::<Control>();
    let is_stamp = (control.header.cmsg_level, control.header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS);
    *stamp = (is_whole && is_stamp).then(|| control.time.tv_sec * 1_000_000_000 + control.time.tv_nsec);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::clock::{Clock, wall_now_ns};
    use std::net::TcpListener;

    /// A socket and its peer.
    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        (Socket::new(ours).unwrap(), peer)
    }

    /// The next bytes, waited for.
    fn next(socket: &mut Socket) -> Vec<u8> {
        let mut free = [0; 64];
        loop {
            match receive(socket, &mut free).unwrap() {
                ReadOutcome::Bytes(bytes) => return free[..bytes].to_vec(),
                ReadOutcome::WouldBlock => std::thread::yield_now(),
                ReadOutcome::End => panic!("the peer is there"),
            }
        }
    }

    #[test]
    fn the_kernels_stamp_lies_between_the_write_and_our_own_and_is_given_once() {
        let (mut socket, mut peer) = pair();
        socket.stamp_in_kernel().unwrap();
        let mut clock = Clock::new();
        // The kernel begins to stamp a moment after it is asked, for the whole machine; until then it has none to give.
        let mut stamped = 0;
        let mut rounds = 0;
        while stamped < 20 {
            rounds += 1;
            assert!(rounds < 10_000, "{stamped} stamps");
            clock.reanchor();
            let before_ns = wall_now_ns();
            peer.write_all(b"tick").unwrap();
            assert_eq!(next(&mut socket), b"tick");
            let (after_ns, read_ns) = (wall_now_ns(), clock.wall_ns(socket.received_at()));
            let Some(kernel_ns) = socket.take_kernel_stamp() else { continue };
            assert!(before_ns <= kernel_ns && kernel_ns <= after_ns, "{before_ns} {kernel_ns} {after_ns}");
            let slack_ns = i64::try_from(clock.error_ns_max()).unwrap() + 100_000;
            assert!(kernel_ns <= read_ns + slack_ns, "{kernel_ns} {read_ns}");
            assert_eq!(socket.take_kernel_stamp(), None, "once");
            stamped += 1;
        }
    }

    #[test]
    fn nobody_who_did_not_ask_has_a_kernels_stamp_and_bytes_and_end_are_the_same_with_it_and_without() {
        for is_asked in [false, true] {
            let (mut socket, mut peer) = pair();
            if is_asked {
                socket.stamp_in_kernel().unwrap();
            }
            assert_eq!(receive(&mut socket, &mut [0; 8]).unwrap(), ReadOutcome::WouldBlock);
            assert_eq!(socket.take_kernel_stamp(), None, "nothing came");
            peer.write_all(b"onetwo").unwrap();
            let started = socket.received_at();
            // A part that is shorter than what waits takes its own length, and the rest stays.
            let mut free = [0; 3];
            while receive(&mut socket, &mut free).unwrap() == ReadOutcome::WouldBlock {
                std::thread::yield_now();
            }
            assert_eq!(&free, b"one");
            assert!(socket.received_at() >= started);
            let first_at = socket.received_at();
            assert_eq!(next(&mut socket), b"two");
            assert!(socket.received_at() >= first_at);
            assert!(is_asked || socket.take_kernel_stamp().is_none());
            let last_at = socket.received_at();
            drop(peer);
            let ended = loop {
                match receive(&mut socket, &mut free).unwrap() {
                    ReadOutcome::WouldBlock => std::thread::yield_now(),
                    outcome => break outcome,
                }
            };
            assert_eq!(ended, ReadOutcome::End);
            assert_eq!(socket.received_at(), last_at, "an end is no bytes");
        }
    }

    #[test]
    fn a_socket_that_is_none_cannot_be_stamped() {
        let (mut socket, _peer) = pair();
        // A descriptor of another kind under the same type.
        let pipe = std::fs::File::open("/dev/null").unwrap();
        socket.tcp = TcpStream::from(std::os::fd::OwnedFd::from(pipe));
        assert!(socket.stamp_in_kernel().is_err());
        assert_eq!(socket.kernel, KernelStamps::Off);
    }
}
