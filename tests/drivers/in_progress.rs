//! Connections over tcp that are not there at once (EINPROGRESS): the queue of their listener is full.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{Backlog, SockaddrIn, getsockname, listen};
use numpush::transfer::{Connecting, Ready};
use numpush::wire::Hello;
use numpush::{Error, Options};
use numpush_tests::{PATIENCE, bytes, eventually, record};

use crate::connecting::finish;

/// A listener whose queue is full, attempts that came into it, and one that is under way.
struct Full {
    listener: TcpListener,
    address: String,
    _queued: Vec<Connecting>,
    attempt: Connecting,
}

impl Full {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut queued = Vec::new();
        let _first = TcpStream::connect(&address).unwrap();
        // Not before it is in the queue is that full. The kernel drops who comes then, and they try again after a second.
        let here = (listener.as_fd(), Ready::READ);
        numpush_os::wait(&[here], Some(Instant::now() + PATIENCE)).unwrap();
        let address = format!("tcp://{address}");
        loop {
            let mut attempt = Options::new().start_connect(&address).unwrap();
            if !is_ready(&attempt) && attempt.try_finish().unwrap().is_none() {
                return Self {
                    listener,
                    address,
                    _queued: queued,
                    attempt,
                };
            }
            queued.push(attempt);
            assert!(queued.len() < 8, "the queue is never full");
        }
    }
}

fn is_ready(attempt: &Connecting) -> bool {
    let soon = Instant::now() + Duration::from_millis(50);
    let socket = (attempt.descriptor().unwrap(), attempt.wants());
    numpush_os::wait(&[socket], Some(soon)).unwrap()[0].any()
}

#[test]
fn an_attempt_succeeds_when_there_is_room() {
    let mut full = Full::new();
    let serving = std::thread::spawn(move || {
        // Those that have given up come first.
        let mut accepted = Vec::new();
        for _ in 0..8 {
            let (mut raw, _) = full.listener.accept().unwrap();
            let said = raw
                .write_all(&Hello::new(1 << 20).encode())
                .and_then(|()| raw.write_all(&record(&bytes(10, 1), 1)));
            accepted.push((raw, said));
        }
    });
    let mut connection = finish(&mut full.attempt).unwrap();
    assert!(connection.recv().unwrap().message == bytes(10, 1));
    // The thread waits for more of them.
    let address = full.address.trim_start_matches("tcp://");
    while !serving.is_finished() {
        drop(TcpStream::connect(address));
    }
    serving.join().unwrap();
}

#[test]
fn an_attempt_fails_when_its_listener_goes() {
    let Full {
        listener,
        mut attempt,
        ..
    } = Full::new();
    drop(listener);
    let error = finish(&mut attempt).unwrap_err();
    let Error::Io { source, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
    assert!(attempt.try_finish().unwrap().is_none() && attempt.descriptor().is_none());
}

#[test]
fn an_attempt_ends_when_it_is_dropped() {
    let Full { attempt, .. } = Full::new();
    let socket = attempt.descriptor().unwrap().as_raw_fd();
    let port = getsockname::<SockaddrIn>(socket).unwrap().port();
    drop(attempt);
    // State 2 is SYN_SENT; proc(5).
    let mine = format!(":{port:04X} ");
    eventually("the kernel goes on with it no more", || {
        let all = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let mut ours = all.lines().filter(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().unwrap_or_default();
            format!("{local} ").ends_with(&mine) && fields.nth(1) == Some("02")
        });
        ours.next().is_none()
    });
}

#[test]
fn a_wait_for_a_full_queue_ends_in_time() {
    let full = Full::new();
    let options = Options::new().connect_timeout(Duration::from_millis(100));
    let begin = Instant::now();
    let error = options.connect(&full.address).unwrap_err();
    let Error::Io { source, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(source.kind(), ErrorKind::TimedOut);
    assert!(begin.elapsed() < PATIENCE);
}
