//! `wait`: how a spinning core should look for bytes on N sockets: a `recv` on each, one `epoll_wait(0)` in front, or
//! io_uring's multishot receive. One message of 150 bytes waits on each busy socket; the others are silent.
//!
//! ```text
//! this thread: k peers write ──► the pass, timed: what is ready? ─► its bytes ─► next ─► ... until k messages are in hand
//!
//! cargo bench --bench wait                    1 to 256 sockets, none to all of them busy
//! cargo bench --bench wait -- --test          a few passes of each, to see that it lives
//! ```
//! `pass`: the whole of it, which is how long no socket is looked at twice: the visit gap while this load lasts. `seen`: from
//! the pass's beginning to one message's bytes in hand. The contenders take turns pass by pass, in a rotating order, each on
//! sockets of its own. Writing is not timed. `hot/core.rs` chooses by what this prints.

use hdrhistogram::Histogram;
use io_uring::{IoUring, cqueue, opcode, types};
use std::alloc::Layout;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use tickwire::hot::{Clock, Poller, Ticks, Waker};

const SOCKET_COUNTS: [u16; 7] = [1, 2, 3, 4, 16, 64, 256];
const MESSAGE: [u8; 150] = [b'x'; 150];
/// Bytes that one receive may bring.
const READ_BYTES: usize = 2_048;
/// Buffers that the kernel may choose from: twice the sockets.
const BUFFER_COUNT: u16 = 512;
const BUFFER_GROUP: u16 = 1;

/// What a pass found: its length in bytes, and when.
type Seen<'a> = &'a mut dyn FnMut(usize);

/// Sockets, their peers, and one way to look at them.
struct Contender {
    peers: Vec<TcpStream>,
    way: Way,
}

enum Way {
    Recv { sockets: Vec<TcpStream>, buffer: Box<[u8]> },
    Epoll { sockets: Vec<TcpStream>, buffer: Box<[u8]>, poller: Box<Poller>, _waker: Waker },
    Ring(Box<Multishot>),
}

const NAMES: [&str; 3] = ["recv", "epoll", "io_uring"];

impl Contender {
    fn new(name: &str, count: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (mut sockets, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let socket = TcpStream::connect(address).expect("loopback");
            socket.set_nonblocking(true).expect("a socket");
            sockets.push(socket);
            let (peer, _) = listener.accept().expect("loopback");
            peer.set_nodelay(true).expect("a socket");
            peers.push(peer);
        }
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        let way = match name {
            "recv" => Way::Recv { sockets, buffer },
            "epoll" => {
                let waker = Waker::new().expect("a descriptor");
                let poller = Poller::new(&waker).expect("a descriptor");
                for (token, socket) in (0..).zip(&sockets) {
                    poller.add(socket.as_raw_fd(), token, false).expect("watched");
                }
                Way::Epoll { sockets, buffer, poller: Box::new(poller), _waker: waker }
            }
            _ => Way::Ring(Box::new(Multishot::new(sockets))),
        };
        Self { peers, way }
    }

    /// One look at every socket; tells each message that it finds.
    fn look(&mut self, seen: Seen<'_>) {
        match &mut self.way {
            Way::Recv { sockets, buffer } => sockets.iter_mut().for_each(|socket| read(socket, buffer, seen)),
            Way::Epoll { sockets, buffer, poller, .. } => {
                for at in 0..poller.wait(0) {
                    read(&mut sockets[usize::from(poller.token(at))], buffer, seen);
                }
            }
            Way::Ring(ring) => ring.look(seen),
        }
    }
}

fn read(socket: &mut TcpStream, buffer: &mut [u8], seen: Seen<'_>) {
    match socket.read(buffer) {
        Ok(bytes) => seen(bytes),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

/// Multishot receives on every socket, into buffers that the kernel chooses from a ring that both sides share.
struct Multishot {
    ring: IoUring,
    sockets: Vec<TcpStream>,
    buffers: Box<[u8]>,
    /// `BUFFER_COUNT` entries, page-aligned.
    entries: *mut types::BufRingEntry,
    tail: u16,
}

impl Multishot {
    fn new(sockets: Vec<TcpStream>) -> Self {
        // Completions are made when this thread asks, and a flag in shared memory says whether it should: an empty look is
        // a load. Without it the kernel interrupts the thread to make them.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(u32::from(BUFFER_COUNT))
            .expect("io_uring is permitted, and the kernel is 6.1 at least");
        let layout = Layout::from_size_align(usize::from(BUFFER_COUNT) * size_of::<types::BufRingEntry>(), 4_096);
        // SAFETY: the layout has a size above zero.
        let entries = unsafe { std::alloc::alloc_zeroed(layout.expect("a power of two")) };
        assert!(!entries.is_null(), "no memory");
        // SAFETY: the memory is page-aligned, holds `BUFFER_COUNT` entries and is never freed.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, BUFFER_COUNT, BUFFER_GROUP, 0) }
            .expect("registered");
        let buffers = vec![0; usize::from(BUFFER_COUNT) * READ_BYTES].into_boxed_slice();
        let mut multishot = Self { ring, sockets, buffers, entries: entries.cast(), tail: 0 };
        (0..BUFFER_COUNT).for_each(|buffer| multishot.give_back(buffer));
        (0..multishot.sockets.len()).for_each(|socket| multishot.arm(socket));
        multishot.ring.submit().expect("submitted");
        multishot
    }

    fn arm(&mut self, socket: usize) {
        let fd = types::Fd(self.sockets[socket].as_raw_fd());
        let entry = opcode::RecvMulti::new(fd, BUFFER_GROUP).build().user_data(socket as u64);
        // SAFETY: the socket lives as long as the ring; the buffers are the group's.
        unsafe { self.ring.submission().push(&entry) }.expect("room");
    }

    /// The kernel may write into this buffer again.
    fn give_back(&mut self, buffer: u16) {
        let entry = self.entries.wrapping_add(usize::from(self.tail % BUFFER_COUNT));
        // SAFETY: the index is below `BUFFER_COUNT`, the number of entries, and the kernel reads this one only below the tail.
        let entry = unsafe { &mut *entry };
        entry.set_addr(self.buffers[usize::from(buffer) * READ_BYTES..].as_mut_ptr() as u64);
        entry.set_len(u32::try_from(READ_BYTES).expect("small"));
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the ring's base.
        let tail = unsafe { types::BufRingEntry::tail(self.entries) };
        // SAFETY: the tail is a valid, aligned word that this thread alone writes.
        unsafe { &*tail.cast::<AtomicU16>() }.store(self.tail, Ordering::Release);
    }

    fn look(&mut self, seen: Seen<'_>) {
        const GET_EVENTS: u32 = 1;
        if self.ring.submission().taskrun() {
            // SAFETY: no argument is passed.
            unsafe { self.ring.submitter().enter::<()>(0, 0, GET_EVENTS, None) }.expect("completions");
        }
        loop {
            let Some(completion) = self.ring.completion().next() else { break };
            let bytes = usize::try_from(completion.result()).expect("a receive that succeeds");
            let buffer = cqueue::buffer_select(completion.flags()).expect("in a buffer of the group");
            assert_eq!(self.buffers[usize::from(buffer) * READ_BYTES], MESSAGE[0]);
            seen(bytes);
            self.give_back(buffer);
            if !cqueue::more(completion.flags()) {
                self.arm(usize::try_from(completion.user_data()).expect("an index"));
                self.ring.submit().expect("submitted");
            }
        }
    }
}

/// Times of one contender under one load.
struct Times {
    pass: Histogram<u64>,
    seen: Histogram<u64>,
}

impl Times {
    fn new() -> Self {
        let empty = || Histogram::new(3).expect("three digits are allowed");
        Self { pass: empty(), seen: empty() }
    }
}

/// One pass: `busy` messages wait, from the socket at `first` on; ends with the last of them in hand.
fn pass(contender: &mut Contender, (first, busy): (usize, usize), clock: &Clock, times: Option<&mut Times>) {
    let count = contender.peers.len();
    for at in 0..busy {
        contender.peers[(first + at * count / busy) % count].write_all(&MESSAGE).expect("loopback");
    }
    let mut at = [Ticks::default(); 256];
    let mut found = 0;
    let mut bytes = 0;
    let started = clock.ticks();
    loop {
        contender.look(&mut |count| {
            at[found] = clock.ticks();
            found += 1;
            bytes += count;
        });
        if found >= busy {
            break;
        }
    }
    let ended = clock.ticks();
    assert_eq!(bytes, busy * MESSAGE.len(), "each message once");
    if let Some(times) = times {
        times.pass.record(clock.elapsed_ns(started, ended)).expect("the range grows by itself");
        for &at in &at[..found] {
            times.seen.record(clock.elapsed_ns(started, at)).expect("the range grows by itself");
        }
    }
}

/// The busy sockets of so many: none, one, a tenth, half, all.
fn loads(count: u16) -> Vec<u16> {
    let mut loads = vec![0, 1, count.div_ceil(10), count.div_ceil(2), count];
    loads.dedup();
    loads
}

#[expect(clippy::print_stdout, reason = "a bench's answer is its output")]
fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let clock = Clock::new();
    println!("ns; p50 and p99 of the pass, p50 and p99 of a message seen");
    println!("{:>7} {:>5}  {:^30} {:^30} {:^30}", "sockets", "busy", NAMES[0], NAMES[1], NAMES[2]);
    for count in SOCKET_COUNTS {
        let mut contenders = NAMES.map(|name| Contender::new(name, count));
        for busy in loads(count) {
            let mut times = NAMES.map(|_| Times::new());
            // As much time for each load: a pass over many messages takes longer.
            let passes = if is_test { 3 } else { 20_000 / (1 + usize::from(busy).max(usize::from(count) / 16)) + 500 };
            let warm_up = passes / 10;
            for round in 0..passes + warm_up {
                for turn in 0..NAMES.len() {
                    let at = (turn + round) % NAMES.len();
                    let measured = (round >= warm_up).then_some(&mut times[at]);
                    pass(&mut contenders[at], (round * 7, usize::from(busy)), &clock, measured);
                }
            }
            print!("{count:>7} {busy:>5} ");
            for Times { pass, seen } in &times {
                let of = |histogram: &Histogram<u64>, quantile| match histogram.is_empty() {
                    true => "-".to_owned(),
                    false => histogram.value_at_quantile(quantile).to_string(),
                };
                print!(" {:>7} {:>7}", of(pass, 0.5), of(pass, 0.99));
                print!(" {:>6} {:>7}", of(seen, 0.5), of(seen, 0.99));
            }
            println!();
        }
    }
}
