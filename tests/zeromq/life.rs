//! Peers that say nothing: whether they are still there, how long a drop waits for them, and messages that nobody can have.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use numpush::zmq::{Kind, Socket};
use numpush::{Buffer, Error, Options};
use numpush_tests::{PATIENCE, Peer, bytes, eventually, python_with};

use crate::kinds::{bound, connected, message, options};
use crate::raw;

fn listening(kind: Kind, options: &Options) -> (Socket, String) {
    let mut socket = Socket::new(kind, options).unwrap();
    let address = socket.bind("zmq+tcp://127.0.0.1:0").unwrap();
    (socket, address)
}

/// The whole command that a peer of ours says next.
fn hears(socket: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    socket.read_exact(&mut head).unwrap();
    let mut command = vec![0; head[1].into()];
    socket.read_exact(&mut command).unwrap();
    command
}

const PONG: &[u8] = b"\x04\x05\x04PONG";

#[test]
fn a_peer_that_says_nothing_is_asked_and_then_given_up() {
    let every = Duration::from_secs(2);
    let (mut socket, address) = listening(Kind::Pull, &options().heartbeat(every));
    let mut peer = raw::connect(&address, 1, "PUSH");
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    // No call is made: the thread of all sockets asks. The peer is told to do the same after four seconds.
    assert_eq!(hears(&mut peer), b"\x04PING\x00\x28");
    peer.write_all(PONG).unwrap();
    assert_eq!(hears(&mut peer), b"\x04PING\x00\x28");
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it has ended");
    let why = format!("{:?}", socket.take_refused().unwrap());
    assert!(why.contains("it said nothing for 2s"), "{why}");
}

/// A peer may ask to be given up itself.
#[test]
fn a_peer_that_promised_to_speak_and_does_not_is_given_up() {
    let (mut socket, address) = listening(Kind::Pull, &options());
    let mut peer = raw::connect(&address, 1, "PUSH");
    peer.write_all(b"\x04\x07\x04PING\x00\x05").unwrap();
    assert_eq!(hears(&mut peer), b"\x04PONG");
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it has ended");
    let why = format!("{:?}", socket.take_refused().unwrap());
    assert!(why.contains("it said nothing for 500ms"), "{why}");
}

/// What it says lies behind a message that nobody takes.
#[test]
fn a_peer_that_is_not_read_is_not_given_up() {
    let options = options().heartbeat(Duration::from_millis(500));
    let (mut socket, address) = listening(Kind::Pull, &options);
    let mut peer = raw::connect(&address, 1, "PUSH");
    peer.write_all(&raw::framed(&bytes(100_000, 1))).unwrap();
    // Pulses that say so, each after 300 ms: by then it would have been asked and given up.
    for _ in 0..8 {
        while hears(&mut peer) != b"\x04PONG" {}
    }
    assert!(message(socket.recv().unwrap()) == bytes(100_000, 1));
}

const STANDS: &str = r#"
import sys, zmq
context = zmq.Context()
socket = context.socket(zmq.PULL)
socket.connect(sys.argv[1])
while True:
    print("got:", len(socket.recv()), flush=True)
"#;

#[test]
fn a_libzmq_peer_that_is_stopped_is_given_up_and_comes_back() {
    let Some(python) = python_with("zmq") else {
        return;
    };
    let (mut socket, address) = listening(Kind::Push, &options().heartbeat(Duration::from_secs(1)));
    let address = address.replace("zmq+", "");
    let mut peer = Peer::start(Command::new(python).args(["-c", STANDS, &address]));
    socket.send_frames(&[Buffer::borrowed(b"abc")]).unwrap();
    assert_eq!(peer.hears("got"), "3");
    peer.signal("-STOP");
    eventually("its end", || socket.status().peers == 0);
    peer.signal("-CONT");
    // It goes to whoever comes, which is the same one again.
    socket.send_frames(&[Buffer::borrowed(b"abcd")]).unwrap();
    assert_eq!(peer.hears("got"), "4");
}

#[test]
fn a_drop_waits_as_long_as_it_is_told() {
    let sent = |linger: Option<Duration>| {
        let (mut socket, address) = listening(Kind::Push, &options().linger(linger));
        let reader = raw::connect(&address, 1, "PULL");
        // More than the kernels take.
        for _ in 0..16 {
            socket.send(&bytes(4 << 20, 1)).unwrap();
        }
        (socket, reader)
    };
    let all = |mut reader: TcpStream| {
        let mut count = 0;
        let mut piece = vec![0; 1 << 20];
        while let Ok(read @ 1..) = reader.read(&mut piece) {
            count += read;
        }
        count > 64 << 20
    };
    let (socket, reader) = sent(Some(Duration::ZERO));
    drop(socket);
    assert!(!all(reader), "it has waited");
    for linger in [None, Some(PATIENCE)] {
        let (socket, reader) = sent(linger);
        let reads = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            all(reader)
        });
        let begun = Instant::now();
        drop(socket);
        assert!(begun.elapsed() < PATIENCE);
        assert!(reads.join().unwrap(), "it has not waited");
    }
}

#[test]
fn a_router_drops_what_nobody_can_have_if_it_is_told_to() {
    let (mut router, address) = bound(Kind::Router);
    let sent = router.send_with(&[b"nobody"], &bytes(10, 1));
    assert!(matches!(sent, Err(Error::UnknownPeer { .. })), "{sent:?}");
    router.set_mandatory(false);
    router.send_with(&[b"nobody"], &bytes(10, 1)).unwrap();
    assert_eq!(router.status().dropped, 1);
    let mut dealer = connected(Kind::Dealer, &address);
    dealer.send(&bytes(1, 1)).unwrap();
    let name = router.recv().unwrap().envelope.remove(0);
    router.send_with(&[&name], &bytes(10, 2)).unwrap();
    assert!(message(dealer.recv().unwrap()) == bytes(10, 2));
    assert_eq!(router.status().dropped, 1);
}
