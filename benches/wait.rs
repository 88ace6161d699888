//! `wait/*`: one empty pass over N silent sockets: a `recv` on each against one `epoll_wait(0)` for all.
//!
//! `hot/core.rs` chooses between the two by the crossing point that this prints.

use criterion::{Criterion, criterion_group, criterion_main};
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use tickwire::hot::{Poller, Waker};

fn wait(c: &mut Criterion) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let mut group = c.benchmark_group("wait");
    for count in [1_u16, 2, 3, 4, 8, 16, 64, 256] {
        let waker = Waker::new().expect("a descriptor");
        let mut poller = Poller::new(&waker).expect("a descriptor");
        let mut sockets = Vec::new();
        let mut peers = Vec::new();
        for token in 0..count {
            let socket = TcpStream::connect(address).expect("loopback");
            socket.set_nonblocking(true).expect("a socket");
            poller.add(socket.as_raw_fd(), token, false).expect("watched");
            sockets.push(socket);
            peers.push(listener.accept().expect("loopback"));
        }
        assert_eq!(poller.wait(0), 0, "nothing is ready");
        let mut byte = [0; 64];
        group.bench_function(format!("recv/{count}"), |b| {
            b.iter(|| {
                for socket in &mut sockets {
                    let empty = socket.read(&mut byte).expect_err("nothing was sent");
                    assert_eq!(empty.kind(), ErrorKind::WouldBlock);
                }
            });
        });
        group.bench_function(format!("epoll/{count}"), |b| b.iter(|| poller.wait(0)));
    }
    group.finish();
}

criterion_group!(benches, wait);
criterion_main!(benches);
