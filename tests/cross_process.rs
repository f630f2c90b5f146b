//! Two real processes over each transport: many messages to and fro, a peer that is killed, a peer that is stopped.

use std::time::Duration;

use numpush::transfer::Operation;
use numpush::unix::SealedBufferMut;
use numpush::{Connection, Error, Message, Options};
use numpush_tests::{Peer, TempPath, again, bytes, open_descriptors, say};

const ROLE: &str = "NUMPUSH_TEST_ROLE";
const ENDPOINT: &str = "NUMPUSH_TEST_ENDPOINT";

/// Does nothing unless a test below started it, with a role to play.
#[test]
fn peer() {
    let (Ok(role), Ok(endpoint)) = (std::env::var(ROLE), std::env::var(ENDPOINT)) else {
        return;
    };
    match role.as_str() {
        "echo" => echo(&mut numpush::listen(&endpoint).unwrap()),
        "count" => count(&mut numpush::listen(&endpoint).unwrap()),
        "send-for-ever" => {
            let mut link = numpush::connect(&endpoint).unwrap();
            let message = bytes(1 << 20, 1);
            while link.send(&message).is_ok() {}
        }
        "hold" => {
            let mut link = numpush::connect(&endpoint).unwrap();
            let held = link.recv().unwrap();
            say("holding", held.message.payload_len());
            loop {
                std::thread::park();
            }
        }
        "survive" => a_killed_peer_is_noticed(&endpoint),
        other => panic!("no role {other:?}"),
    }
}

fn echo(listener: &mut numpush::Listener) {
    say("listening", listener.address());
    let mut link = listener.accept().unwrap();
    loop {
        match link.recv() {
            Ok(received) => drop(link.send(&received.message).unwrap()),
            Err(error) => {
                assert!(matches!(error, Error::Closed { .. }));
                return;
            }
        }
    }
}

fn count(listener: &mut numpush::Listener) {
    say("listening", listener.address());
    let mut link = listener.accept().unwrap();
    for turn in 0..50_u8 {
        assert_eq!(link.recv().unwrap().message, bytes(100_000, turn));
    }
    say("counted", 50);
}

fn start(role: &str, endpoint: &str) -> Peer {
    Peer::start(again("peer").env(ROLE, role).env(ENDPOINT, endpoint))
}

fn both_directions(endpoint: &str) {
    let mut peer = start("echo", endpoint);
    let mut link = numpush::connect(&peer.hears("listening")).unwrap();
    link.set_timeouts(Some(numpush_tests::PATIENCE), Some(numpush_tests::PATIENCE));
    for turn in 0..60_u8 {
        let message = bytes([64, 70_000, 2 << 20][usize::from(turn) % 3], turn)
            .with_attribute("turn", turn.to_string());
        link.send(&message).unwrap();
        assert_eq!(link.recv().unwrap().message, message);
    }
    link.close().unwrap();
    peer.ends_well();
}

fn one_way(endpoint: &str) {
    let mut peer = start("count", endpoint);
    let mut link = numpush::connect(&peer.hears("listening")).unwrap();
    for turn in 0..50 {
        link.send(&bytes(100_000, turn)).unwrap();
    }
    assert_eq!(peer.hears("counted"), "50");
    peer.ends_well();
}

#[test]
fn tcp_both_directions() {
    both_directions("tcp://127.0.0.1:0");
    both_directions("tcp://127.0.0.1:0?checksums=on");
}

#[test]
fn unix_both_directions() {
    let place = TempPath::new("both");
    both_directions(&format!("unix:{}", place.0.display()));
    assert!(!place.0.exists(), "the listener takes its path away");
    both_directions(&format!("unix:@numpush-test-both-{}", std::process::id()));
}

#[test]
fn file_both_directions() {
    let place = TempPath::new("spool");
    both_directions(&format!("file:{}/", place.0.display()));
    let left = std::fs::read_dir(&place.0).unwrap().count();
    assert_eq!(left, 0, "nothing is left in the folder");
}

#[test]
fn zmq_one_way() {
    one_way("zmq+tcp://127.0.0.1:0");
    one_way(&format!("zmq+ipc:{}", TempPath::new("ipc").0.display()));
}

#[test]
fn zmq_requests() {
    let mut peer = start("echo", "zmq+tcp://127.0.0.1:0?socket=rep");
    let mut link = numpush::connect(&format!("{}?socket=req", peer.hears("listening"))).unwrap();
    for turn in 0..20 {
        link.send(&bytes(70_000, turn)).unwrap();
        assert_eq!(link.recv().unwrap().message, bytes(70_000, turn));
    }
}

/// A peer is killed in mid-send: its link says so, another goes on, and no descriptor is left behind. Runs in a process
/// of its own, where no other test opens descriptors.
fn a_killed_peer_is_noticed(endpoint: &str) {
    let mut listener = numpush::listen(endpoint).unwrap();
    let address = listener.address();
    let accept =
        |listener: &mut numpush::Listener| listener.accept_for(numpush_tests::PATIENCE).unwrap();
    let mut bystander = numpush::connect(&address).unwrap();
    let mut beside = accept(&mut listener);
    // What a wait opens for the next ones is open before they are counted.
    let short = Duration::from_millis(100);
    assert!(listener.accept_for(short).unwrap_err().is_timeout());
    beside.set_timeouts(None, Some(short));
    assert!(beside.recv().unwrap_err().is_timeout());
    beside.set_timeouts(None, None);
    let before = open_descriptors();
    for _ in 0..5 {
        let mut peer = start("send-for-ever", &address);
        let mut link = accept(&mut listener);
        for _ in 0..10 {
            assert_eq!(link.recv().unwrap().message, bytes(1 << 20, 1));
        }
        peer.kill();
        let error = loop {
            if let Err(error) = link.recv() {
                break error;
            }
        };
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
        bystander.send(&bytes(1000, 9)).unwrap();
        assert_eq!(beside.recv().unwrap().message, bytes(1000, 9));
    }
    assert_eq!(
        open_descriptors(),
        before,
        "descriptors of dead peers are closed"
    );
}

#[test]
fn tcp_notices_a_killed_peer() {
    start("survive", "tcp://127.0.0.1:0").ends_well();
}

#[test]
fn unix_notices_a_killed_peer() {
    start(
        "survive",
        &format!("unix:{}", TempPath::new("killed").0.display()),
    )
    .ends_well();
}

#[test]
fn file_notices_a_killed_peer() {
    let place = TempPath::new("killed-spool");
    start("survive", &format!("file:{}/", place.0.display())).ends_well();
}

/// A receiver is killed while the sender is in the middle of a message.
fn a_killed_receiver_is_noticed(endpoint: &str) {
    let mut listener = numpush::listen(endpoint).unwrap();
    let mut peer = start("hold", &listener.address());
    let mut link = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    link.send(&bytes(1 << 20, 1)).unwrap();
    assert_eq!(peer.hears("holding"), (1 << 20).to_string());
    peer.kill();
    let error = send_until_it_fails(&mut link);
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    let again = link.send(&bytes(1, 1)).unwrap_err();
    assert!(
        matches!(again, Error::Failed { .. } | Error::Disconnected { .. }),
        "{again:?}"
    );
}

fn send_until_it_fails(link: &mut Connection) -> Error {
    let message = bytes(4 << 20, 2);
    loop {
        if let Err(error) = link.send(&message) {
            return error;
        }
    }
}

#[test]
fn senders_notice_a_killed_receiver() {
    a_killed_receiver_is_noticed("tcp://127.0.0.1:0");
    a_killed_receiver_is_noticed(&format!("unix:{}", TempPath::new("receiver").0.display()));
    let place = TempPath::new("receiver-spool");
    a_killed_receiver_is_noticed(&format!("file:{}/", place.0.display()));
}

/// F7, F28, F29: a stopped receiver costs the sender its timeout, and memory within the window.
#[test]
fn a_stopped_receiver_does_not_hang_the_sender() {
    for endpoint in [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix:{}", TempPath::new("stopped").0.display()),
    ] {
        let options = Options::new()
            .send_timeout(Duration::from_millis(300))
            .window(16 << 20);
        let mut listener = options.listen(&endpoint).unwrap();
        let mut peer = start("hold", &listener.address());
        let mut link = listener.accept_for(numpush_tests::PATIENCE).unwrap();
        link.send(&bytes(1000, 1)).unwrap();
        peer.hears("holding");
        peer.signal("-STOP");
        let error = send_until_it_fails(&mut link);
        // Over tcp the socket took a part of the last message.
        let cause = match &error {
            Error::Unfinished { source, .. } => source,
            error => error,
        };
        assert!(
            matches!(
                cause,
                Error::Timeout {
                    operation: Operation::Send,
                    ..
                }
            ),
            "{error:?}"
        );
        peer.signal("-CONT");
    }
}

/// A segment's memory belongs to whoever maps it: the receiver keeps what a killed sender sent.
#[test]
fn a_segment_outlives_its_sender() {
    let mut listener =
        numpush::listen(&format!("unix:{}", TempPath::new("outlive").0.display())).unwrap();
    let mut peer = start("send-for-ever", &listener.address());
    let mut link = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    let received = link.recv().unwrap();
    assert_eq!(
        received.transfer.path,
        numpush::transfer::TransferPath::Reference
    );
    peer.kill();
    drop(link);
    assert_eq!(received.message, bytes(1 << 20, 1));
}

/// Sealed memory goes through a third process without a copy anywhere.
#[test]
fn a_segment_is_passed_on_as_it_came() {
    let mut segment = SealedBufferMut::new(1 << 20).unwrap();
    segment.as_mut_slice().fill(3);
    let message = Message::new(numpush::model::Body::Bytes(segment.seal().unwrap()));
    let mut peer = start(
        "echo",
        &format!("unix:{}", TempPath::new("passed").0.display()),
    );
    let mut link = numpush::connect(&peer.hears("listening")).unwrap();
    for turn in 0..5 {
        let sent = link.send(&message).unwrap();
        let back = link.recv().unwrap();
        assert_eq!((sent.copied, back.transfer.copied), (0, 0));
        assert_eq!(
            back.transfer.path,
            numpush::transfer::TransferPath::Reference,
            "turn {turn}"
        );
        assert_eq!(back.message, message);
    }
    link.close().unwrap();
    peer.ends_well();
}
