//! What peers send that mean no good. None ends the process, nor takes more than a little memory, nor keeps others out.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use numpush::Options;
use numpush::transfer::Budget;
use numpush_tests::{PATIENCE, Peer, again, bytes, say};

use crate::raw::{connect, greeting, long_head, ready};

pub(crate) const ROLE: &str = "NUMPUSH_TEST_ZMQ_ROLE";

/// Receives until it has a message of ours, and says how much memory it had at most.
pub(crate) fn victim() {
    let options = Options::new().recv_timeout(Duration::from_millis(10));
    let options = options.budget(Budget::new().max_bytes(64 << 20));
    let mut listener = options.listen("zmq+tcp://127.0.0.1:0").unwrap();
    let mut receiver = listener.accept().unwrap();
    let before = numpush_os::peak_memory().unwrap();
    say("listening", listener.address());
    let received = loop {
        if let Ok(received) = receiver.recv() {
            break received;
        }
    };
    assert_eq!(received.message, bytes(1000, 1));
    say("grown", numpush_os::peak_memory().unwrap() - before);
}

/// A victim goes on after `attack`, which gets its endpoint, and has grown by less than 64 MiB.
fn survives(attack: impl FnOnce(&str)) {
    let mut victim = Peer::start(again("peer").env(ROLE, "victim"));
    let endpoint = victim.hears("listening");
    attack(&endpoint);
    let options = Options::new().send_timeout(PATIENCE);
    let options = options.connect_timeout(PATIENCE);
    let mut sender = options.connect(&endpoint).unwrap();
    sender.send(&bytes(1000, 1)).unwrap();
    let grown: u64 = victim.hears("grown").parse().unwrap();
    assert!(grown < 64 << 20, "{} MiB", grown >> 20);
    victim.ends_well();
}

/// Writes until the peer has had enough, or all of it.
fn flood(socket: &mut TcpStream, bytes: &[u8]) {
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let _ = socket.write_all(bytes);
}

/// M18: these 73 bytes made the allocator abort the process.
#[test]
fn a_frame_that_claims_what_nobody_has() {
    for len in [1 << 36, (1 << 63) - 1, 1 << 63, u64::MAX] {
        survives(|endpoint| {
            let mut socket = TcpStream::connect(endpoint.replace("zmq+tcp://", "")).unwrap();
            socket.write_all(&greeting(0)).unwrap();
            socket.write_all(&long_head(len, false)).unwrap();
            let mut socket = connect(endpoint, 1, "PUSH");
            socket.write_all(&long_head(len, false)).unwrap();
            flood(&mut socket, b"\x93NPM and nothing");
        });
    }
}

#[test]
fn frames_without_end() {
    survives(|endpoint| {
        let mut socket = connect(endpoint, 1, "PUSH");
        // Eight million empty frames of one message.
        for _ in 0..256 {
            flood(&mut socket, &[1, 0].repeat(32 << 10));
        }
    });
}

#[test]
fn a_claim_that_is_within_the_limit() {
    survives(|endpoint| {
        let message = numpush::Message::from(numpush::Buffer::from(vec![0; 1 << 30]));
        let encoder = numpush::wire::Encoder::new(&message, numpush::wire::Flags::default());
        let encoder = encoder.unwrap();
        let len = 64 + encoder.preamble().header_len as usize;
        let mut all = long_head(len as u64, true);
        all.extend(&encoder.head()[..len]);
        all.extend(long_head(1 << 30, false));
        for _ in 0..3 {
            flood(&mut connect(endpoint, 1, "PUSH"), &all);
        }
    });
}

#[test]
fn handshakes_byte_by_byte_and_commands_without_end() {
    survives(|endpoint| {
        let address = endpoint.replace("zmq+tcp://", "");
        let mut all: Vec<_> = (0..128)
            .map(|_| TcpStream::connect(&address).unwrap())
            .collect();
        let mut hello = Vec::from(greeting(1));
        hello.extend(ready("PUSH"));
        for byte in &hello[..hello.len() - 1] {
            for socket in &mut all {
                // Some are given up for those who came later.
                let _ = socket.write_all(&[*byte]);
            }
        }
        let mut pings = connect(endpoint, 1, "PUSH");
        pings.set_nonblocking(true).unwrap();
        // Nobody reads the answers.
        for _ in 0..1000 {
            if pings
                .write_all(&b"\x04\x07\x04PING\x00\x00".repeat(1000))
                .is_err()
            {
                break;
            }
        }
        let mut long = connect(endpoint, 1, "PUSH");
        let mut command = long_head(512 << 20, false);
        command[0] = 6;
        flood(&mut long, &command);
        flood(
            &mut TcpStream::connect(&address).unwrap(),
            b"GET / HTTP/1.1\r\n\r\n",
        );
    });
}

/// Each of these headers became its bytes and twice as much room, for as long as its peer liked.
#[test]
fn headers_that_never_end() {
    survives(|endpoint| {
        // A frame with so many columns may have such a header.
        let mut head = [0; 64];
        head[..6].copy_from_slice(b"\x93NPM\x01\x03");
        head[8..12].copy_from_slice(&(1u32 << 20).to_le_bytes());
        head[12..16].copy_from_slice(&2000u32.to_le_bytes());
        let mut frames = long_head(64 + (1 << 20), true);
        frames.extend(head);
        frames.resize(9 + 64 + (1 << 20), 7);
        let mut peers: Vec<_> = (0..100).map(|_| connect(endpoint, 1, "PUSH")).collect();
        std::thread::scope(|scope| {
            for peer in &mut peers {
                let frames = &frames;
                // Those for whom there is no room wait in the kernel.
                peer.set_write_timeout(Some(Duration::from_millis(100)))
                    .unwrap();
                scope.spawn(move || peer.write_all(&frames[..frames.len() - 1]));
            }
        });
        drop(peers);
    });
}
